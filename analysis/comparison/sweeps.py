"""A sweep: one parameter at few levels, each trial a row, and which of them learnt anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial

from analysis.comparison.bootstrap import Comparison, compare, compare_trials, headline_metric
from analysis.comparison.confusion import classes_of, is_classification
from study.metrics import Statistics, text_statistics

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData, Who

MOST_ROWS = 12


@dataclass(frozen=True)
class SweepRow:
    """One level: its scores on dev, and whether it is better than having learnt nothing."""

    name: str
    value: Any  # of the parameter; None for the untrained base
    scores: Mapping[str, float]
    against: Comparison | None  # the level minus what learns nothing, by the headline metric
    remark: str


@dataclass(frozen=True)
class Sweep:
    """All levels of one parameter, the untrained base first."""

    parameter: str
    metrics: tuple[str, ...]
    nothing: str  # what learns nothing, in words
    rows: tuple[SweepRow, ...]


def sweep_of(data: StudyData, seed: int = 0) -> Sweep | None:
    """Return a study of one searched parameter as a sweep; None for any other study."""
    metric = headline_metric(data)
    trials = [t for t in data.complete if t.params]
    if len(data.distributions) != 1 or metric is None or not 0 < len(trials) <= MOST_ROWS:
        return None
    (parameter,) = data.distributions
    trials.sort(key=lambda t: t.params[parameter], reverse=True)
    base = [_row(data, "base", None, metric, seed)] if "base" in data.baselines else []
    rows = [*base, *(_row(data, t.number, t, metric, seed, parameter) for t in trials)]
    return Sweep(parameter, data.metrics, _nothing(data), tuple(rows))


def _row(
    data: StudyData,
    who: Who,
    trial: FrozenTrial | None,
    metric: str,
    seed: int,
    parameter: str = "",
) -> SweepRow:
    scores = {m: data.score(who, m) for m in data.metrics}
    return SweepRow(
        name="untrained base" if trial is None else f"trial {trial.number}",
        value=None if trial is None else trial.params[parameter],
        scores={m: score for m, score in scores.items() if score is not None},
        against=None if trial is None else _against_nothing(data, who, metric, seed),
        remark=_remark(data, who),
    )


def _nothing(data: StudyData) -> str:
    if not is_classification(data):
        return "the untrained base"
    return f"always saying {_majority(data)}"


def _against_nothing(data: StudyData, who: Who, metric: str, seed: int) -> Comparison | None:
    """A level against the untrained base; a classifier against the largest class throughout."""
    try:
        if not is_classification(data):
            return compare_trials(data, who, "base", metric, seed=seed)
        own = data.statistics(who, metric)
        names = (f"trial {who}", _nothing(data))
        return compare(own, _majority_statistics(data, own), names=names, seed=seed)
    except (LookupError, ValueError):
        return None


def _majority(data: StudyData) -> str:
    labels, counts = np.unique(data.examples["dev"].targets, return_counts=True)
    return str(labels[counts.argmax()])


def _majority_statistics(data: StudyData, own: Statistics) -> Statistics:
    targets = data.examples["dev"].targets
    found = text_statistics(own.metric, [_majority(data)] * len(targets), targets)
    return Statistics(found.metric, found.values, own.signature)


def _remark(data: StudyData, who: Who) -> str:
    """What a classifier mostly says, where that is nearly all it says."""
    if not is_classification(data):
        return ""
    try:
        found = classes_of(data, who)
    except LookupError:
        return ""
    name, share = found.mostly
    if found.is_collapsed:
        return f"collapsed: says {name} of {100 * share:.0f} % of the examples"
    return f"says {name} most, of {100 * share:.0f} %"


def learnt(row: SweepRow) -> str:
    """Whether a level is better than what learns nothing."""
    if row.against is None:
        return ""
    if not row.against.clear:
        return "learnt nothing clear"
    return "learnt" if row.against.gain > 0 else "worse than nothing"
