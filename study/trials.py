"""The inputs and outputs of an engine: plain data, since it is sent between processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from study.errors import visible
from study.metrics import Statistics
from study.seeds import derive_seed
from study.spec.hyperparameters import (
    DistillationSpec,
    Hyperparameters,
    MethodSpec,
    TrainingSpec,
    with_values,
)
from study.spec.sections import StudySpec

Role = Literal["search", "baseline", "confirm"]
TEACHER = "teacher"
BASELINES = {"base": -1, "default": -2, "plain": -3, TEACHER: -4}
TRAINED_BASELINES = ("default", "plain")
"""Baselines are not Optuna trials; in an engine they have these numbers."""


@dataclass(frozen=True)
class TrialConfig:
    """The values and seed of one training: all that an engine needs.

    `method` is None for the untrained base and for the teacher, which are only evaluated.  A study
    that continues an adapter has that adapter in its untrained base, and no steps.
    `repeats` is the number of the trial that a confirmation repeats.
    """

    number: int
    seed: int
    training: TrainingSpec
    method: MethodSpec | None
    role: Role = "search"
    name: str = ""
    distillation: DistillationSpec | None = None
    repeats: int | None = None

    @property
    def evaluated(self) -> TrialConfig:
        """The same without what its training loss takes from it: its teacher and its β.

        So the losses of different trials are comparable.
        """
        training = self.training.model_copy(update={"beta": None})
        return replace(self, distillation=None, training=training)

    @property
    def is_trained(self) -> bool:
        """Whether it has steps: the untrained base and the teacher have none."""
        return self.method is not None and self.training.steps > 0

    @property
    def values(self) -> dict[str, Any]:
        """Every hyperparameter of this training, by name."""
        if self.method is None or not self.is_trained:
            return {}
        shown = {"method": self.method.name, **self.method.own}
        shown |= self.training.model_dump(exclude={"report_every"}, exclude_none=True)
        if self.distillation is not None:
            shown |= self.distillation.model_dump(exclude={"teacher", "revision", "labels"})
        return shown


def search_config(
    spec: StudySpec, number: int, values: Mapping[str, Any], seed_index: int
) -> TrialConfig:
    """Return the configuration of a trial.

    Its seed is derived from `seed_index`, which a retry shares with the first attempt.
    """
    method, training, distillation = spec.resolve(values)
    seed = derive_seed(spec.seed, seed_index)
    return TrialConfig(number, seed, training, method, distillation=distillation)


def called(number: int) -> int | str:
    """Return a trial's number, or the name of the baseline that has it."""
    return next((name for name, of_name in BASELINES.items() if of_name == number), number)


def default_values(spec: StudySpec) -> dict[str, Any]:
    """Return what the default LoRA has in place of the values that the search varies.

    They are PEFT's own, r 8, alpha 8 and no dropout, and the middle of a searched learning rate,
    step or epoch range; what the study file fixes holds for it too.  It adapts the modules that
    `[method]` names, otherwise the model's default ones.  In a study of full fine-tuning only, the
    default is full fine-tuning.
    """
    middle = spec.search.search_space.middle()
    pefts = MethodSpec(target_modules=spec.method.target_modules)  # its defaults are PEFT's
    default: dict[str, Any] = {n: getattr(pefts, n) for n in middle if hasattr(pefts, n)}
    default |= {"method": "lora"} if spec.trains_adapters else {}
    return default | {k: middle[k] for k in ("learning_rate", "steps", "epochs") if k in middle}


def baseline_configs(spec: StudySpec) -> list[TrialConfig]:
    """Return the untrained base, the default LoRA and, with a teacher, two baselines more.

    With a teacher there is `plain`, the default with the same seed but without the teacher's part
    in the loss: the difference between the two is the effect of distillation.  `teacher` is the
    teacher's own score.
    """
    parts = spec.resolve(default_values(spec))
    untrained = Hyperparameters(None, parts.training, None)
    begun = untrained
    if spec.method.init_adapter is not None:
        no_steps = parts.training.model_copy(update={"steps": 0, "epochs": None})
        begun = Hyperparameters(spec.method, no_steps, None)
    baselines = [_baseline(spec.seed, "base", begun)]
    seed = derive_seed(spec.seed, "default")
    baselines.append(_baseline(seed, "default", parts))
    if parts.distillation is not None:
        no_teacher = with_values(parts.distillation, {"distillation_weight": 0.0})
        baselines.append(_baseline(seed, "plain", parts._replace(distillation=no_teacher)))
        baselines.append(_baseline(spec.seed, TEACHER, untrained))
    return baselines


def _baseline(seed: int, name: str, parts: Hyperparameters) -> TrialConfig:
    method, training, distillation = parts
    return TrialConfig(
        BASELINES[name], seed, training, method, "baseline", name, distillation=distillation
    )


@dataclass(frozen=True)
class Progress:
    """The progress of a training; the value has the first objective's scale and direction.

    `is_report` says that it comes at a report, with or without a value, where a training may be put
    aside; `statistics` are those of the objectives that reports score, by objective, and `costs`
    its measurements so far.  `first_loss` is the training loss of the first step, which is the
    untrained model's, and `recent_loss` the mean of the latest ones; both are None where they are
    not known.
    """

    number: int
    step: int
    value: float | None
    first_loss: float | None = None
    recent_loss: float | None = None
    is_report: bool = False
    statistics: Mapping[str, Statistics] = field(default_factory=dict, repr=False, compare=False)
    costs: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class SplitResult:
    """One model on one split: statistics (N, S) by metric, N outputs and their texts.

    No outputs where none were generated, since nothing scores them.  `details` are numbers beside
    the scores, such as a teacher's scores on whole texts; `groups` (N,) are what they belong
    to, or empty.
    """

    statistics: Mapping[str, Statistics] = field(repr=False)
    outputs: tuple[str, ...] = field(repr=False)
    texts: tuple[tuple[str, str], ...] = field(repr=False)  # N pairs of source and reference
    details: Mapping[str, float] = field(default_factory=dict)
    groups: tuple[str, ...] = field(default=(), repr=False)

    @property
    def scores(self) -> dict[str, float]:
        """The corpus score of every metric."""
        return {name: statistics.score for name, statistics in self.statistics.items()}


@dataclass(frozen=True)
class AdapterFiles:
    """The two files of an adapter in PEFT's format, or of a whole model in transformers' format."""

    config: str = field(repr=False)
    weights: bytes = field(repr=False)
    config_name: str = "adapter_config.json"
    weights_name: str = "adapter_model.safetensors"


@dataclass(frozen=True)
class TrialResult:
    """The result of a training, or in `failure` the reason why there is none."""

    splits: Mapping[str, SplitResult] = field(default_factory=dict)
    details: Mapping[str, float] = field(default_factory=dict)
    adapter: AdapterFiles | None = None
    failure: str | None = None
    losses: tuple[tuple[int, float], ...] = ()  # step, mean training loss since the previous one

    def metrics(self) -> dict[str, float]:
        """Every number by name: `bleu` on the dev split, `general_bleu` on another, costs."""
        metrics = dict(self.details)
        for split, result in self.splits.items():
            prefix = "" if split == "dev" else f"{split}_"
            metrics |= {prefix + name: score for name, score in result.scores.items()}
        return metrics


@dataclass(frozen=True)
class Finished:
    """A training that ran to its end or failed."""

    number: int
    result: TrialResult


@dataclass(frozen=True)
class Interrupted:
    """A training that was lost, for example with its process, and will be retried."""

    number: int
    reason: str


@dataclass(frozen=True)
class Notice:
    """Something about the engine that the user should know."""

    text: str


@dataclass(frozen=True)
class Compared:
    """One comparison of two passes over the base."""

    what: str
    difference: float  # the largest, relative to the size of what is compared
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the difference; not if it is NaN."""
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class SelfCheck:
    """What an engine's passes gave beside the model's own, before the first trial.

    study/engines/checking/ explains it.
    """

    dtype: str
    rows: int  # examples in the pass
    compared: tuple[Compared, ...]
    seconds: float
    packs: bool  # whether trials are packed
    why_alone: str | None = None  # why they are not after all
    why_whole: str | None = None  # why logits are computed at every token

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know: nothing if every shortcut is the model's own computation."""
        alone = visible(f"trains one trial at a time: {self.why_alone}")
        whole = visible(f"computes all logits: {self.why_whole}")
        return (alone,) * bool(self.why_alone) + (whole,) * bool(self.why_whole)

    @property
    def verdict(self) -> str:
        """How trials are trained, and the largest difference, relative to its tolerance."""
        if self.why_alone:
            return "; ".join(self.remarks)
        agreeing = [compared for compared in self.compared if compared.agrees]
        parts = ["packs" if self.packs else "trains one trial at a time"]
        if agreeing:
            worst = max(agreeing, key=lambda compared: compared.difference / compared.tolerance)
            what = (
                "losses and gradients equal PEFT's"
                if self.packs
                else "losses equal the model's own"
            )
            within = f"within {worst.difference:.2g} (tolerance {worst.tolerance:.2g})"
            parts.append(f"{what} {within}")
        return "; ".join([*parts, *self.remarks])

    def to_json(self) -> dict[str, Any]:
        """Return everything, as it is recorded with the study."""
        return {
            "verdict": self.verdict,
            "rows": self.rows,
            "dtype": self.dtype,
            "seconds": self.seconds,
            "compared": {
                c.what: {
                    "difference": c.difference if math.isfinite(c.difference) else None,
                    "tolerance": c.tolerance,
                }
                for c in self.compared
            },
        }


@dataclass(frozen=True)
class Checked:
    """An engine's self-check, reported with its first events."""

    check: SelfCheck


@dataclass(frozen=True)
class Passes:
    """The training passes of a packed engine since its last report of them.

    `padded` counts tokens with padding, `real` without.
    """

    slots: int
    tokens_per_pass: int
    padded: int
    real: float

    def after(self, earlier: Passes) -> Passes:
        """Return these passes and the earlier ones."""
        return replace(self, padded=self.padded + earlier.padded, real=self.real + earlier.real)

    def facts(self) -> dict[str, Any]:
        """Return what is recorded with the study."""
        return {
            "slots_per_worker": self.slots,
            "tokens_per_pass": self.tokens_per_pass,
            "tokens_with_padding": self.padded,
            "share_of_padding": round(1.0 - self.real / self.padded, 3),
        }


Event = Progress | Finished | Interrupted | Notice | Checked | Passes
"""An engine's reports."""
