"""A sweep: a search over a few values of one parameter, and which trials learned anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.comparison.compared_models import BASE
from analysis.comparison.confusion import classes_of, is_classification
from analysis.comparison.contrast import Contrast, Resampled, comparable, corrected
from analysis.comparison.within_study import headline_metric
from analysis.wording import choice
from study.metrics import Statistics, text_statistics

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData, Who

MOST_ROWS = 12


@dataclass(frozen=True)
class SweepRow:
    """One level: its dev scores, and its test against a model that learned nothing."""

    name: str
    value: Any  # of the parameter; None for the untrained base
    scores: Mapping[str, float]
    against: Contrast | None  # the level minus the model that learned nothing, headline metric
    remark: str


@dataclass(frozen=True)
class Sweep:
    """All levels of one parameter, the untrained base first."""

    parameter: str
    metrics: tuple[str, ...]
    nothing: str  # the model that learned nothing, in words
    rows: tuple[SweepRow, ...]


def sweep_of(data: StudyData, seed: int = 0, known: Sequence[Contrast] = ()) -> Sweep | None:
    """Return a study of one searched parameter as a sweep; None for any other study.

    The levels are one family of tests.  `known` holds tests made already, such as those of all
    adapters against the base; their results are reused.
    """
    metric = headline_metric(data)
    trials = [t for t in data.complete if t.params]
    if len(data.distributions) != 1 or metric is None or not 0 < len(trials) <= MOST_ROWS:
        return None
    (parameter,) = data.distributions
    from analysis.surrogates.encoding import make_column

    level = make_column(parameter, data.distributions[parameter]).to_unit
    trials.sort(key=lambda t: level(t.params[parameter]), reverse=True)
    nothing = _learns_nothing(data)
    answered = {c.question: c for c in known}
    against = {
        c.a.name: answered.get(c.question, c)
        for c in _against_nothing(data, [t.number for t in trials], metric, nothing, seed)
    }

    def row(who: Who, name: str, value: Any) -> SweepRow:
        scores = {m: score for m in data.metrics if (score := data.score(who, m)) is not None}
        return SweepRow(name, value, scores, against.get(name), _remark(data, who))

    rows = [row("base", "untrained base", None)] if "base" in data.baselines else []
    rows += [row(t.number, f"trial {t.number}", choice(t.params[parameter])) for t in trials]
    in_words = "the untrained base" if nothing == BASE else nothing
    return Sweep(parameter, data.metrics, in_words, tuple(rows))


def _learns_nothing(data: StudyData) -> str:
    """The untrained base; for a classifier, the constant answer of the most frequent class."""
    return f"always answering {_majority(data)}" if is_classification(data) else BASE


def _against_nothing(
    data: StudyData, trials: Sequence[int], metric: str, nothing: str, seed: int
) -> list[Contrast]:
    """Every trial scored by the metric against the model that learned nothing."""
    statistics = {}
    for number in trials:
        with suppress(LookupError):
            statistics[f"trial {number}"] = data.statistics(number, metric)
    try:
        reference = (
            _majority_statistics(data, metric)
            if is_classification(data)
            else data.statistics(BASE, metric)
        )
    except (LookupError, ValueError):  # no base, or a metric that needs more than texts
        return []
    alike = [name for name, s in statistics.items() if comparable([reference, s])]
    models = Resampled(
        [nothing, *alike], [reference, *(statistics[name] for name in alike)], seed=seed
    )
    return corrected(models.contrasts([(place, 0) for place in range(1, len(alike) + 1)]))


def _majority(data: StudyData) -> str:
    labels, counts = np.unique(data.examples["dev"].targets, return_counts=True)
    return str(labels[counts.argmax()])


def _majority_statistics(data: StudyData, metric: str) -> Statistics:
    """The score of always answering the most frequent class, under the study's signature."""
    targets = data.examples["dev"].targets
    found = text_statistics(metric, [_majority(data)] * len(targets), targets)
    return replace(found, signature=data.statistics("best", metric).signature)


def _remark(data: StudyData, who: Who) -> str:
    """A classifier's most frequent answer, and whether it has collapsed."""
    if not is_classification(data):
        return ""
    try:
        found = classes_of(data, who)
    except LookupError:
        return ""
    name, share = found.mostly
    if found.is_collapsed:
        return f"collapsed: answers {name} for {100 * share:.0f} % of the examples"
    return f"{name} for {100 * share:.0f} % of the examples"


def learnt(row: SweepRow) -> str:
    """Whether a level is better than the model that learned nothing."""
    if row.against is None:
        return ""
    if not row.against.clear:
        return "not clearly better"
    return "better" if row.against.gain > 0 else "worse"
