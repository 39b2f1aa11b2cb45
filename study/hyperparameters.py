"""The hyperparameters of one training: what a study file fixes and what a search may vary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool

Fraction = Annotated[float, Field(strict=True, ge=0, le=1)]


class Strict(BaseModel):
    """A frozen part of a study file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MethodSpec(Strict):
    """The PEFT method and its own hyperparameters."""

    name: Literal["lora", "full"] = "lora"
    rank: Annotated[int, Field(ge=1, le=1024, strict=True)] = 8
    alpha: Annotated[float, Field(strict=True, gt=0)] = 8.0
    dropout: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    target_modules: Annotated[str, Field(min_length=1)] = "attention"
    use_rslora: StrictBool = False
    loraplus_lr_ratio: Annotated[float, Field(strict=True, gt=0)] = 1.0
    init_lora_weights: Literal["default", "pissa"] = "default"

    @property
    def scale(self) -> float:
        """What multiplies BA: alpha / rank, or with rsLoRA alpha / sqrt(rank)."""
        return self.alpha / (self.rank**0.5 if self.use_rslora else self.rank)


class TrainingSpec(Strict):
    """How one trial trains: AdamW with a warm-up, a schedule and gradient clipping."""

    learning_rate: Annotated[float, Field(strict=True, gt=0)] = 3e-4
    steps: Annotated[int, Field(ge=1, strict=True)] = 120
    batch_size: Annotated[int, Field(ge=1, strict=True)] = 16
    warmup_fraction: Fraction = 0.05
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: Annotated[float, Field(strict=True, ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(strict=True, gt=0)] = 1.0
    report_every: Annotated[int, Field(ge=1, strict=True)] = 30
    base_dropout: StrictBool = False


class DistillationSpec(Strict):
    """A teacher, and how much of it goes into the loss: (1 − a)·CE + a·T²·KL(teacher‖student)."""

    teacher: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    labels: tuple[str, ...] = ()
    temperature: Annotated[float, Field(strict=True, gt=0)] = 2.0
    distillation_weight: Fraction = 0.5


class Hyperparameters(NamedTuple):
    """One training's hyperparameters, by section; without a method it is the untrained base."""

    method: MethodSpec | None
    training: TrainingSpec
    distillation: DistillationSpec | None


SECTIONS = (MethodSpec, TrainingSpec, DistillationSpec)
NOT_SEARCHED = frozenset({"report_every", "base_dropout", "name", "teacher", "revision", "labels"})
"""Fields that belong to the whole study."""


def searchable() -> dict[str, type[Strict]]:
    """Return every hyperparameter that a search may vary, with the section it stands in."""
    return {
        name: section
        for section in SECTIONS
        for name in section.model_fields
        if name not in NOT_SEARCHED
    }


Section = TypeVar("Section", bound=Strict)


def with_values(section: Section, values: Mapping[str, Any]) -> Section:
    """Return a section with those of the values that stand in it."""
    own = {name: value for name, value in values.items() if searchable()[name] is type(section)}
    return type(section)(**{**section.model_dump(), **own})


def is_integer(name: str) -> bool:
    """Say whether a hyperparameter takes whole numbers only."""
    return searchable()[name].model_fields[name].annotation is int
