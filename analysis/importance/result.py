"""What an importance analysis returns: numbers and words, nothing that computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.display import Displayed, Shown, importances_shown
from analysis.surrogates.encoding import Array

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ParameterImportance:
    """One main effect: its share, 95 % interval, chance line and verdict.

    `null` is the share that 95 of 100 parameters of no effect stay below on these trials;
    `significant` means beyond it, by a test that is adjusted for the number of parameters.
    """

    name: str
    importance: float
    ci: tuple[float, float]
    null: float
    significant: bool


@dataclass(frozen=True)
class InteractionImportance:
    """The share of two or more parameters beyond the effects of fewer of them.

    `ci` is None where it would cost too much: for a forest's subsets of three and more.
    """

    names: tuple[str, ...]
    importance: float
    ci: tuple[float, float] | None


@dataclass(frozen=True)
class Marginal:
    """The mean objective along one parameter, all others averaged out, with a 95 % band.

    `values` are external values in the parameter's own order; `mean`, `low`, `high` are (G,).
    """

    name: str
    values: tuple[Any, ...]
    mean: Array
    low: Array
    high: Array
    is_log: bool
    is_categorical: bool

    def to_json(self) -> dict[str, Any]:
        """Return the curve with its band as plain lists."""
        return {
            "name": self.name,
            "values": [None if value != value else value for value in self.values],  # a NaN
            "mean": self.mean.tolist(),
            "low": self.low.tolist(),
            "high": self.high.tolist(),
        }


@dataclass(frozen=True, repr=False)
class Importances(Displayed):
    """A study's importances and what they rest on.

    Shares are of the surrogate's variance over the unit cube, noise included.  `noise` is the
    noise's share of it; None for a forest, whose fully grown trees hold the noise in their effects.
    `surrogates` holds the held-out R² of each that was tried, `stability` how far refits on half
    the trials agree on the order, `sample` how far the trials are from a uniform sample, `policies`
    the main effects under each treatment of pruned trials (`policy` is the one taken), `excluded`
    why a parameter has no share, `sampler` what chose the points, `question` what is answered.
    """

    study: str
    objective: str
    direction: str
    evaluator: str
    surrogate: str
    trials: dict[str, int]
    reliable: bool
    reasons: tuple[str, ...]
    held_out_r2: float
    parameters: tuple[ParameterImportance, ...]
    interactions: tuple[InteractionImportance, ...]
    unexplained: float
    marginals: tuple[Marginal, ...] = ()
    noise: float | None = None
    excluded: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    surrogates: Mapping[str, float] = field(default_factory=dict)
    stability: Mapping[str, float] = field(default_factory=dict)
    sample: Mapping[str, Any] = field(default_factory=dict)
    policies: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    question: str = ""
    policy: str = "drop"
    quantile: float | None = None
    sampler: str | None = None

    def _shown(self) -> Shown:
        return importances_shown(self)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `optuna-study importance --json` prints."""
        return {
            "study": self.study,
            "objective": self.objective,
            "direction": self.direction,
            "evaluator": self.evaluator,
            "surrogate": self.surrogate,
            "trials": dict(self.trials),
            "reliable": self.reliable,
            "reasons": list(self.reasons),
            "held_out_r2": self.held_out_r2,
            "parameters": [
                {
                    "name": p.name,
                    "importance": p.importance,
                    "ci": list(p.ci),
                    "null": p.null,
                    "significant": p.significant,
                }
                for p in self.parameters
            ],
            "interactions": [
                {
                    "names": list(i.names),
                    "importance": i.importance,
                    "ci": None if i.ci is None else list(i.ci),
                }
                for i in self.interactions
            ],
            "unexplained": self.unexplained,
            "question": self.question,
            "quantile": self.quantile,
            "policy": self.policy,
            "sampler": self.sampler,
            "noise": self.noise,
            "excluded": dict(self.excluded),
            "remarks": list(self.remarks),
            "surrogates": dict(self.surrogates),
            "stability": dict(self.stability),
            "sample": dict(self.sample),
            "policies": {policy: dict(shares) for policy, shares in self.policies.items()},
            "marginals": [m.to_json() for m in self.marginals],
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row a parameter: name, importance, ci_low, ci_high, null, significant."""
        import pandas as pd

        return pd.DataFrame(
            [(p.name, p.importance, *p.ci, p.null, p.significant) for p in self.parameters],
            columns=["name", "importance", "ci_low", "ci_high", "null", "significant"],
        )
