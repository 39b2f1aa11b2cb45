"""A sweep: a search over a few values of one parameter, and which trials learned anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.comparison.compared_models import BASE
from analysis.comparison.confusion import classes_of, is_classification
from analysis.comparison.constant import constant_answer, constant_statistics
from analysis.comparison.contrast import Contrast, Resampled, comparable, corrected
from analysis.comparison.within_study import headline_metric
from analysis.wording import choice

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
    nothing, contrasts = _against_nothing(data, [t.number for t in trials], metric, seed)
    answered = {c.question: c for c in known}
    against = {c.a.name: answered.get(c.question, c) for c in contrasts}

    def row(who: Who, name: str, value: Any) -> SweepRow:
        scores = {m: score for m in data.metrics if (score := data.score(who, m)) is not None}
        return SweepRow(name, value, scores, against.get(name), _remark(data, who))

    rows = [row("base", "untrained base", None)] if "base" in data.baselines else []
    rows += [row(t.number, f"trial {t.number}", choice(t.params[parameter])) for t in trials]
    in_words = "the untrained base" if nothing == BASE else nothing
    return Sweep(parameter, data.metrics, in_words, tuple(rows))


def _against_nothing(
    data: StudyData, trials: Sequence[int], metric: str, seed: int
) -> tuple[str, list[Contrast]]:
    """The model that learned nothing, and every trial scored by the metric against it.

    It answers every example alike, or is the untrained base where no such answer has a score.
    """
    statistics = {}
    for number in trials:
        with suppress(LookupError):
            statistics[f"trial {number}"] = data.statistics(number, metric)
    constant = constant_statistics(data, metric)
    nothing = BASE if constant is None else f"always answering {constant_answer(data)}"
    try:
        reference = constant or data.statistics(BASE, metric)
    except LookupError:  # no base
        return nothing, []
    alike = [name for name, s in statistics.items() if comparable([reference, s])]
    models = Resampled(
        [nothing, *alike], [reference, *(statistics[name] for name in alike)], seed=seed
    )
    pairs = [(place, 0) for place in range(1, len(alike) + 1)]
    return nothing, corrected(models.contrasts(pairs))


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
