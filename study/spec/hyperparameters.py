"""The hyperparameters of one training: those a study file fixes and those a search may vary."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Self,
    TypeVar,
    get_args,
    get_origin,
)

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator
from typing_extensions import override

from study.kinds.methods import INITIAL_WEIGHTS, METHODS, InitialWeights, MethodName
from study.kinds.optimizers import OptimizerName
from study.kinds.table_names import NameIn

MOST, MOST_ROWS = 1_000_000_000, 65_536  # more than any study needs or any machine can hold
Positive = Annotated[int, Field(ge=1, le=MOST, strict=True)]
Fraction = Annotated[float, Field(strict=True, ge=0, le=1)]


Rule = Callable[[Any], Iterator[str]]
RULE, RULE_OF_SOUND = "_rule", "_rule_of_sound"


def rule(check: Rule) -> Rule:
    """Mark a method of a section that yields what is wrong with its values, a line each."""
    setattr(check, RULE, True)
    return check


def rule_of_sound(check: Rule) -> Rule:
    """Mark a rule that is asked only where those of `rule` found nothing, since it needs that."""
    setattr(check, RULE_OF_SOUND, True)
    return check


Row = TypeVar("Row")


def row_named(data: Any, key: str, table: Mapping[str, Row]) -> Row | None:
    """Return the row of a table that a section names before it is checked, if it names one."""
    name = data.get(key) if isinstance(data, Mapping) else None
    return table.get(name) if isinstance(name, str) else None


class Strict(BaseModel):
    """A frozen part of a study file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _ask_all_rules(self) -> Self:
        """Refuse with what all rules find, so that no fault hides another."""
        if faults := [*self._faults(RULE)] or [*self._faults(RULE_OF_SOUND)]:
            raise ValueError("\n".join(faults))
        return self

    def _faults(self, mark: str) -> Iterator[str]:
        for check in vars(type(self)).values():
            if hasattr(check, mark):
                try:
                    yield from check(self)
                except ValueError as error:  # of a check that sections share
                    yield str(error)

    @override
    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show only what has a value: a study should not fill the screen at a prompt."""
        return ((name, value) for name, value in super().__repr_args__() if value is not None)


class MethodSpec(Strict):
    """The PEFT method and the hyperparameters of all methods; METHODS lists which it uses."""

    name: MethodName = "lora"
    rank: Annotated[int, Field(ge=1, le=1024, strict=True)] = 8
    alpha: Annotated[float, Field(strict=True, gt=0)] = 8.0
    dropout: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    target_modules: Annotated[str, Field(min_length=1)] = "default"
    use_rslora: StrictBool = False
    loraplus_lr_ratio: Annotated[float, Field(strict=True, gt=0)] = 1.0
    init_lora_weights: InitialWeights = "default"
    pissa_niter: Annotated[int, Field(ge=0, le=64, strict=True)] = 0
    quantization_bits: Literal[4, 8] = 4
    num_virtual_tokens: Annotated[int, Field(ge=1, le=1024, strict=True)] = 8
    init_adapter: Annotated[str, Field(min_length=1)] | None = None
    init_adapter_sha256: str | None = None  # of its weights; filled in when a file is read

    @model_validator(mode="before")
    @classmethod
    def _apply_the_name(cls, data: Any) -> Any:
        """Set the values that the method's name implies; refuse values that contradict it."""
        if (kind := row_named(data, "name", METHODS)) is None:
            return data
        decided, name = kind.decides, data["name"]
        for key, value in decided.items():
            if data.get(key, value) != value:
                raise ValueError(
                    f"{key}: the method {name!r} implies {value!r}, got {data[key]!r}; leave it out"
                )
        return {**data, **decided}

    @property
    def own(self) -> dict[str, Any]:
        """The hyperparameters of this method, with their values."""
        dumped = self.model_dump(exclude={"init_adapter_sha256"})
        has = METHODS[self.name].has
        return {k: v for k, v in dumped.items() if has(k) and v is not None}

    @property
    def begins_in_weight(self) -> bool:
        """Whether B₀A₀ starts from the base's weight instead of zero."""
        return INITIAL_WEIGHTS[self.init_lora_weights] is not None

    @property
    def scale(self) -> float:
        """The factor on BA: alpha / rank, or alpha / sqrt(rank) with rsLoRA."""
        return self.alpha / (self.rank**0.5 if self.use_rslora else self.rank)


class TrainingSpec(Strict):
    """How one trial trains: an optimizer with a warm-up, a schedule and gradient clipping.

    `epochs`, if given, determine the number of steps once the examples are counted, and
    `warmup_steps` replaces `warmup_fraction`.
    """

    learning_rate: Annotated[float, Field(strict=True, gt=0)] = 3e-4
    steps: Positive = 120
    epochs: Annotated[float, Field(strict=True, gt=0, le=MOST)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=MOST_ROWS, strict=True)] = 16
    cutoff_tokens: Annotated[int, Field(ge=4, le=MOST, strict=True)] | None = None
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=MOST_ROWS, strict=True)] = 1
    optimizer: OptimizerName = "adamw"
    warmup_fraction: Fraction = 0.05
    warmup_steps: Annotated[int, Field(ge=0, le=MOST, strict=True)] | None = None
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: Annotated[float, Field(strict=True, ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(strict=True, gt=0)] = 1.0
    report_every: Positive = 30
    base_dropout: StrictBool = False
    beta: Annotated[float, Field(strict=True, gt=0)] | None = None

    @property
    def rows_per_step(self) -> int:
        """The examples of a step, in one pass or several."""
        return self.batch_size * self.gradient_accumulation_steps

    def counted(self, examples: int) -> Self:
        """Return a copy with `steps` computed from its epochs and the number of examples."""
        if self.epochs is None:
            return self
        steps = math.ceil(self.epochs * examples / self.rows_per_step)
        return self.model_copy(update={"steps": steps})


class DistillationSpec(Strict):
    """A teacher and its share of the loss: (1 − a)·CE + a·T²·KL(teacher‖student)."""

    teacher: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    labels: tuple[str, ...] = ()
    temperature: Annotated[float, Field(strict=True, gt=0)] = 2.0
    distillation_weight: Fraction = 0.5


class Hyperparameters(NamedTuple):
    """One training's hyperparameters by section; no method means the untrained base."""

    method: MethodSpec | None
    training: TrainingSpec
    distillation: DistillationSpec | None


SECTIONS: Mapping[type[Strict], str] = {
    MethodSpec: "method",
    TrainingSpec: "training",
    DistillationSpec: "distillation",
}
NOT_SEARCHED = frozenset(
    {
        *("report_every", "base_dropout", "name", "teacher", "revision", "labels"),
        *("init_adapter", "init_adapter_sha256"),
    }
)
"""Fields that hold for the whole study."""

FIELDS = {"method": "name"}
"""Hyperparameters whose name in a search differs from their name in the section."""


def searchable() -> dict[str, type[Strict]]:
    """Return every hyperparameter that a search may vary, with its section."""
    return {"method": MethodSpec} | {
        name: section
        for section in SECTIONS
        for name in section.model_fields
        if name not in NOT_SEARCHED
    }


def field_of(name: str) -> str:
    """Return a hyperparameter's field name in its section."""
    return FIELDS.get(name, name)


def section_of(name: str) -> str:
    """Return the name of a hyperparameter's section."""
    return SECTIONS[searchable()[name]]


Section = TypeVar("Section", bound=Strict)


def with_values(section: Section, values: Mapping[str, Any]) -> Section:
    """Return a section with the values that belong to it replaced.

    A new method brings the values that its name implies; those of the old method's name go.
    """
    changes = {field_of(n): v for n, v in values.items() if searchable()[n] is type(section)}
    fields = section.model_dump()
    if isinstance(section, MethodSpec):
        implied = METHODS[changes.get("name", section.name)].decides
        fields = {k: v for k, v in fields.items() if k not in METHODS[section.name].decides}
        changes = {k: v for k, v in changes.items() if k not in implied}
        fields |= implied
    return type(section)(**{**fields, **changes})


def is_integer(name: str) -> bool:
    """Say whether a hyperparameter takes whole numbers only."""
    return _annotation(name) is int


def is_choice(name: str) -> bool:
    """Say whether a hyperparameter takes one of a few named values only."""
    metadata = searchable()[name].model_fields[field_of(name)].metadata
    named = any(isinstance(mark, NameIn) for mark in metadata)
    return named or get_origin(_annotation(name)) is Literal


def limits_of(name: str) -> tuple[float, float]:
    """Return the lower and upper limit of a numeric hyperparameter; either may be exclusive."""
    field = searchable()[name].model_fields[field_of(name)]
    optional = [m for kind in get_args(field.annotation) for m in getattr(kind, "__metadata__", ())]
    bounds = [*field.metadata, *(b for m in optional for b in getattr(m, "metadata", ()))]
    limits = {
        key: getattr(b, key) for b in bounds for key in ("ge", "gt", "le", "lt") if hasattr(b, key)
    }
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    return -math.inf if low is None else low, math.inf if high is None else high


def _annotation(name: str) -> Any:
    """Return a field's type; for an optional field, the type without None."""
    annotation = searchable()[name].model_fields[field_of(name)].annotation
    given = [kind for kind in get_args(annotation) if kind is not type(None)]
    if get_origin(annotation) is Literal or len(given) != 1:
        return annotation
    return given[0] if get_origin(given[0]) is not Annotated else get_args(given[0])[0]
