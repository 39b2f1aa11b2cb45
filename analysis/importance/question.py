"""A question with all its options, and the trials that it is about.

`Question` passes unchanged from the command line to the surrogate; `Points` are trials from a study
or elsewhere as plain points and values.  `answers.answer` brings the two together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.studies.trial_values import POLICIES, Pruned
from study.errors import InputError
from study.metrics import Array

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ALLOWED = {
    "kind": ("variance", "best", "gain", "local", "tuning", "front"),
    "surrogate": ("auto", "gp", "forest"),
    "evaluator": ("fanova", "fanova-original"),
    "policy": POLICIES,
    "direction": ("maximize", "minimize"),
}
ONLY_WITH = {
    "against": ("front",),
    "policy": ("variance",),
    "subsets": ("variance",),
    "evaluator": ("variance", "front"),
    "quantile": ("variance", "best"),
    "margin": ("tuning",),
}
DEFAULT_QUANTILE = 0.1  # for `best`, where none is given


class QuestionError(InputError, ValueError):
    """An invalid option: the `field` of the question, and the `rule` that it breaks."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field, self.rule = field, rule


@dataclass(frozen=True)
class Question:
    """A question about a study's trials; raises QuestionError for an invalid option.

    `kind` is the question: `variance` (where does it come from? fANOVA), `best` (what leads into
    the best fraction? PED-ANOVA), `gain` (which changes produced the gain over the default?
    ablation path), `local` (what still matters around the best?), `tuning` (what does tuning each
    parameter gain over the default?) or `front` (what matters between two values?).  `objective`
    is any of `target_names(study)`, the first for None, and `against` the second value of `front`,
    the last objective for None; `direction` is needed only where the study does not state it.

    `policy` says how pruned trials count.  `quantile` asks about the best configurations only:
    values worse than that quantile count as the quantile itself.  `margin` is how much less than
    the best is good enough, in the objective's units; None is one trial's noise.  `subsets` names
    groups of three or more parameters whose joint effect is wanted.  `evaluator` `fanova-original`
    takes shares from the package of the method's authors, where that is installed.
    """

    kind: str = "variance"
    objective: str | None = None
    direction: str | None = None
    against: str | None = None
    surrogate: str = "auto"
    evaluator: str = "fanova"
    policy: str = "drop"
    quantile: float | None = None
    margin: float | None = None
    subsets: tuple[tuple[str, ...], ...] = ()
    resamples: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every choice, and that each option goes with the kind."""
        object.__setattr__(self, "subsets", tuple(map(tuple, self.subsets)))
        for field, allowed in ALLOWED.items():
            got = getattr(self, field)
            if got not in allowed and not (field == "direction" and got is None):
                raise QuestionError(field, f"must be one of {', '.join(allowed)}, got {got!r}")
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise QuestionError("quantile", f"must be between 0 and 1, got {self.quantile:g}")
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise QuestionError("margin", f"must be zero or more, got {self.margin:g}")
        for field, kinds in ONLY_WITH.items():
            default = Question.__dataclass_fields__[field].default
            if getattr(self, field) != default and self.kind not in kinds:
                raise QuestionError(
                    field, f"applies only to the question {' or '.join(kinds)}, got {self.kind}"
                )
        for names in self.subsets:
            if len(set(names)) < 3:
                raise QuestionError(
                    "subsets",
                    f"must name at least three parameters, got {', '.join(names) or 'none'}; pairs "
                    "are always reported",
                )


@dataclass(frozen=True)
class Points:
    """N finished trials as plain points with their values, and facts about the study.

    `points` and `values` hold one entry per COMPLETE trial whose point was sampled; values may be
    NaN.  `pruned` holds each PRUNED trial's point and last report, `counts` the trials by state.
    `best` is the best configuration, enqueued ones included, `default` the one it is compared with.
    `ranges` holds each point's own distributions, where they differed between trials.  `region` is
    the part of the search space that they are from, as an expression.
    """

    points: Sequence[Mapping[str, Any]]
    values: ArrayLike
    distributions: Mapping[str, BaseDistribution]
    objective: str = "value"
    direction: str = "maximize"
    study: str = ""
    counts: Mapping[str, int] | None = None
    pruned: Sequence[Pruned] = ()
    best: Mapping[str, Any] | None = None
    default: Mapping[str, Any] | None = None
    sampler: str | None = None
    remarks: tuple[str, ...] = ()
    ranges: Sequence[Mapping[str, BaseDistribution]] = ()
    region: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError where points and values do not match."""
        values = np.asarray(self.values, dtype=float)
        if values.shape != (len(self.points),):
            raise ValueError(
                f"{len(self.points)} points need as many values, got an array of {values.shape}"
            )

    @property
    def measured(self) -> Array:
        """The values as numbers (N,)."""
        return np.asarray(self.values, dtype=float)

    @property
    def failed(self) -> int:
        """How many trials failed."""
        return (self.counts or {}).get("failed", 0)

    def finite(self) -> tuple[list[Mapping[str, Any]], Array]:
        """Return the points whose value is finite, and these values."""
        kept = np.isfinite(self.measured)
        return [p for p, ok in zip(self.points, kept, strict=True) if ok], self.measured[kept]
