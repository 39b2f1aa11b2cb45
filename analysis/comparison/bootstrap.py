"""Models and studies against each other: paired bootstrap over stored per-example statistics.

A corpus score such as BLEU is no mean of sentence scores, so its uncertainty comes from resampling
the examples, summing their sufficient statistics and aggregating anew (Koehn, 2004, "Statistical
significance tests for machine translation evaluation"; sacreBLEU's `significance.py`).  Both models
are resampled on the same examples.  The p-value is two-sided: how often the resampled difference
strays from its own mean, either way, by as much as was observed; sacreBLEU counts one side of the
absolute difference and so reports about half of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.display import Displayed, Shown, comparison_shown, own_names
from study.errors import InputError
from study.metrics import METRICS, Array, Statistics

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData, Who

RESAMPLES = 1000
CONFIDENCE = 0.95
CHUNK = 4_000_000  # drawn indices at a time: bounds the memory for large test sets
Interval = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """One model's corpus score with its bootstrap interval."""

    name: str
    metric: str
    split: str
    score: float
    ci: Interval


@dataclass(frozen=True, repr=False)
class Comparison(Displayed):
    """`a` against `b` on the same examples: the difference a - b, its interval and p-value."""

    a: Score
    b: Score
    difference: float
    ci: Interval
    p_value: float
    n_examples: int
    signature: str

    @property
    def gain(self) -> float:
        """The difference, positive where `a` is better."""
        return self.difference * METRICS[self.a.metric].sign

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.ci[0] > 0 or self.ci[1] < 0

    def _shown(self) -> Shown:
        return comparison_shown(self)

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers and names, for `--json`."""
        return {
            "metric": self.a.metric,
            "split": self.a.split,
            "a": {"name": self.a.name, "score": self.a.score, "ci": list(self.a.ci)},
            "b": {"name": self.b.name, "score": self.b.score, "ci": list(self.b.ci)},
            "difference": self.difference,
            "ci": list(self.ci),
            "p_value": self.p_value,
            "n_examples": self.n_examples,
            "signature": self.signature,
        }


def resampled_scores(
    statistics: Sequence[Statistics], resamples: int = RESAMPLES, seed: int = 0
) -> Array:
    """Score every model on the same resampled examples; shape (models, resamples).

    Raises ValueError where the models were not scored on the same number of examples.
    """
    sizes = {len(s.values) for s in statistics}
    if len(sizes) != 1:
        raise ValueError(f"a paired comparison needs the same examples, got {sorted(sizes)} rows")
    n = sizes.pop()
    rng = np.random.default_rng([seed, 5])
    chunk = max(CHUNK // max(n, 1), 1)
    parts = [
        _chunk(statistics, rng.integers(n, size=(min(chunk, resamples - start), n)))
        for start in range(0, resamples, chunk)
    ]
    return np.concatenate(parts, axis=1)


def _chunk(statistics: Sequence[Statistics], drawn: np.ndarray[Any, Any]) -> Array:
    """Score one chunk of resamples, `drawn` (resamples, N), as counts times statistics."""
    resamples, n = drawn.shape
    offsets = drawn + np.arange(resamples)[:, None] * n
    counts = np.bincount(offsets.ravel(), minlength=resamples * n).reshape(resamples, n)
    weights = counts.astype(np.float64)
    return np.array([METRICS[s.metric].aggregate(weights @ s.values) for s in statistics])


def compare(
    a: Statistics,
    b: Statistics,
    *,
    names: tuple[str, str] = ("a", "b"),
    split: str = "dev",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two models on the same N examples.

    Raises ValueError where metric, signature or number of examples differ: such scores are not
    comparable.
    """
    if (a.metric, a.signature) != (b.metric, b.signature):
        raise ValueError(
            f"scores are comparable under one signature only: {a.metric} ({a.signature}) "
            f"and {b.metric} ({b.signature})"
        )
    drawn = resampled_scores((a, b), resamples, seed)
    scores = [
        Score(name, s.metric, split, s.score, interval_of(row))
        for name, s, row in zip(names, (a, b), drawn, strict=True)
    ]
    difference = a.score - b.score
    differences = drawn[0] - drawn[1]
    strays = np.abs(differences - differences.mean()) >= abs(difference)
    return Comparison(
        a=scores[0],
        b=scores[1],
        difference=difference,
        ci=interval_of(differences),
        p_value=float((strays.sum() + 1) / (resamples + 1)),
        n_examples=len(a.values),
        signature=a.signature,
    )


def compare_trials(
    data: StudyData,
    a: Who = "best",
    b: Who = "base",
    metric: str | None = None,
    split: str = "dev",
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two models of one study: trial numbers, baseline names or "best".

    Raises LookupError where the study stores no statistics of one of them.
    """
    name = metric or headline_metric(data)
    if name is None:
        raise LookupError(f"study {data.name!r} stores no per-example statistics")
    return compare(
        data.statistics(a, name, split),
        data.statistics(b, name, split),
        names=(_label(data, a), _label(data, b)),
        split=split,
        resamples=resamples,
        seed=seed,
    )


def against_baselines(
    data: StudyData, metric: str | None = None, split: str = "dev", *, seed: int = 0
) -> list[Comparison]:
    """The best trial against every stored baseline; empty where there is nothing to compare."""
    result = []
    for baseline in data.baselines:
        try:
            result.append(compare_trials(data, "best", baseline, metric, split, seed=seed))
        except (LookupError, ValueError):
            continue  # another study's metric, or a baseline of another split
    return result


def model_scores(data: StudyData, metric: str | None = None, *, seed: int = 0) -> list[Score]:
    """The baselines' and the best trial's scores on every split, with bootstrap intervals."""
    splits = data.splits
    return scores_in([c for s in splits for c in against_baselines(data, metric, s, seed=seed)])


def scores_in(comparisons: Sequence[Comparison]) -> list[Score]:
    """The scores of all models in some comparisons, each once, the compared model last."""
    result: list[Score] = []
    for split in dict.fromkeys(c.a.split for c in comparisons):
        found = [c for c in comparisons if c.a.split == split]
        result += [c.b for c in found] + [c.a for c in found[:1]]
    return result


def example_scores(
    data: StudyData, metric: str | None = None, split: str = "dev"
) -> dict[str, Array]:
    """Every example scored alone, for the baselines and the best trial: name → (N,)."""
    name = metric or headline_metric(data)
    result: dict[str, Array] = {}
    for who in (*data.baselines, "best") if name else ():
        with suppress(LookupError):  # not evaluated on this split, or not by this metric
            result[_label(data, who)] = data.statistics(who, str(name), split).example_scores()
    return result


def headline_metric(data: StudyData) -> str | None:
    """The metric to compare models by: an objective with statistics, else the first stored one."""
    return next((m for m in (*data.objectives, *data.metrics) if m in data.metrics), None)


def compare_studies(
    one: StudyData, other: StudyData, metric: str | None = None, split: str = "dev", seed: int = 0
) -> Comparison:
    """The best trials of two studies on the same examples, under names that tell them apart.

    Raises InputError where they were not scored on the same texts, or not by the same metric.
    """
    from analysis.comparison.side_by_side import study_labels

    name = metric or headline_metric(one)
    if name is None or name not in other.metrics:
        raise InputError(f"{one.name} and {other.name}: no metric that both have scored")
    if one.examples.get(split) != other.examples.get(split):
        raise InputError(f"{one.name} and {other.name}: scored on different {split} examples")
    labels = study_labels([one, other])
    try:
        return compare(
            one.statistics("best", name, split),
            other.statistics("best", name, split),
            names=(labels[0], labels[1]),
            split=split,
            seed=seed,
        )
    except (LookupError, ValueError) as error:
        raise InputError(f"{one.name} and {other.name}: {error}") from error


def _label(data: StudyData, who: Who) -> str:
    if who == "best" and data.best_trial is not None:
        return f"trial {data.best_trial.number}"
    return f"trial {who}" if isinstance(who, int) else who


def interval_of(values: Array) -> Interval:
    """The percentile interval of resampled values (R,)."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def __dir__() -> list[str]:
    return own_names(globals())
