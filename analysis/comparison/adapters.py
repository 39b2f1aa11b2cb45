"""The base against every adapter of a study: all metrics, paired, corrected for being many.

Each adapter is held against the untrained base on the same examples: the difference of the corpus
scores, its bootstrap interval, and a p-value that Holm's method corrects over adapters × metrics.
Where adapters were chosen for their scores, the family is all that they were chosen from.  Adapters
of one configuration that differ in their seed alone show what the seed alone does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from analysis.comparison.bootstrap import Interval, interval_of, resampled_scores
from analysis.comparison.compared_models import BASE, Model, compared_models, evaluated
from analysis.comparison.gaming import Examined, examine
from analysis.comparison.permutation import exchange_p_values, exchanges_for, holm
from analysis.display import own_names
from analysis.parallel import each
from study.errors import InputError
from study.metrics import METRICS, OF_CLASSES, Array, Statistics, TextOptions, text_statistics
from study.metrics.needs import missing_library, needs_encoder
from study.store import records

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData, Who
    from study.store.records import EvaluationRow

RESAMPLES = 2000
LEVEL = 0.05


@dataclass(frozen=True)
class ModelScore:
    """One model by one metric: the corpus score and its interval, the examples' mean and sd."""

    score: float
    ci: Interval
    mean: float
    sd: float


@dataclass(frozen=True)
class Contrast:
    """One adapter against the base by one metric: adapter less base."""

    adapter: str
    metric: str
    difference: float
    ci: Interval
    percent: float | None  # of the base's score; None where that is 0
    p_value: float
    p_holm: float
    is_least: bool  # no smaller p can come from so many exchanges

    @property
    def significant(self) -> bool:
        """Whether it differs from the base, all tests of the family considered."""
        return self.p_holm < LEVEL

    @property
    def gain(self) -> float:
        """The difference, positive where the adapter is better."""
        return self.difference * METRICS[self.metric].sign


@dataclass(frozen=True)
class SeedNoise:
    """What the seed alone did to one configuration by one metric."""

    twins: str
    metric: str
    names: tuple[str, ...]
    scores: tuple[float, ...]
    largest: float  # difference between two of them
    ci: Interval  # of that difference, from resampling the examples

    @property
    def sd(self) -> float:
        """The standard deviation of the scores over the seeds."""
        return float(np.std(self.scores, ddof=1))


@dataclass(frozen=True)
class Adapters:
    """Base against adapters on one split: everything that table, page and document show."""

    study: str
    split: str
    n_examples: int
    metrics: tuple[str, ...]
    base: Model
    adapters: tuple[Model, ...]
    scores: Mapping[tuple[str, str], ModelScore] = field(repr=False)  # (model, metric)
    contrasts: tuple[Contrast, ...] = field(repr=False)
    noise: tuple[SeedNoise, ...] = field(repr=False)
    examined: Examined | None = field(repr=False)  # None where the outputs are no free text
    family: int  # how many tests the p-values are corrected for
    exchanges: int  # from which the p-values come
    left_out: int  # adapters that scored less and are not shown
    signatures: Mapping[str, str] = field(repr=False)
    examples: Mapping[tuple[str, str], Array] = field(repr=False)  # (model, metric) -> (N,)

    def of(self, adapter: str, metric: str) -> Contrast:
        """The contrast of one adapter and metric."""
        return next(c for c in self.contrasts if (c.adapter, c.metric) == (adapter, metric))


def against_base(
    data: StudyData,
    metrics: Sequence[str] = (),
    split: str = "dev",
    trials: Sequence[int] = (),
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Adapters:
    """Compare the base with the adapters of a study, by all stored metrics unless some are named.

    A metric that is not stored is computed from the stored outputs.  Without `trials` all complete
    ones are taken, of more than nine the five best by the objective; and the default adapter.

    Raises:
        InputError: no base, no adapter, no such trial, or a metric that cannot be had.
    """
    rows = evaluated(data, split)
    models, left_out = compared_models(data, rows, trials, split)
    found = _all_statistics(data, [rows[model.who] for model in models], metrics)
    family = (len(models) - 1 + left_out) * len(found)
    exchanges = exchanges_for(family)

    def by(metric: str) -> tuple[list[ModelScore], list[Contrast], list[SeedNoise]]:
        drawn = resampled_scores(found[metric], resamples, seed)  # (models, resamples)
        return (
            list(map(_score, found[metric], drawn)),
            _contrasts(models, found[metric], drawn, exchanges, seed),
            _noise(models, metric, found[metric], drawn),
        )

    scores: dict[tuple[str, str], ModelScore] = {}
    contrasts: list[Contrast] = []
    noise: list[SeedNoise] = []
    for metric, (of_models, against, between) in zip(found, each(by, list(found)), strict=True):
        scores |= {(m.name, metric): score for m, score in zip(models, of_models, strict=True)}
        contrasts += against
        noise += between
    return Adapters(
        study=data.name,
        split=split,
        n_examples=len(next(iter(found.values()))[0].values),
        metrics=tuple(found),
        base=models[0],
        adapters=tuple(models[1:]),
        scores=scores,
        contrasts=_corrected(contrasts, family),
        noise=tuple(noise),
        examined=_examined(data, models, rows, split, contrasts, seed),
        family=family,
        exchanges=exchanges,
        left_out=left_out,
        signatures={metric: s[0].signature for metric, s in found.items()},
        examples=_each(models, found),
    )


def _each(
    models: Sequence[Model], found: Mapping[str, Sequence[Statistics]]
) -> dict[tuple[str, str], Array]:
    """Every example scored alone: (model, metric) -> (N,)."""
    return {
        (model.name, metric): one.example_scores()
        for metric, statistics in found.items()
        for model, one in zip(models, statistics, strict=True)
    }


# ---------------------------------------------------------------- which metrics


def _all_statistics(
    data: StudyData, rows: Sequence[EvaluationRow], wanted: Sequence[str]
) -> dict[str, list[Statistics]]:
    """Each metric's statistics of all models; what does not compare is left out unless wanted."""
    found = {}
    for metric in _metrics(data, wanted, rows):
        statistics = [_statistics(data, row, metric) for row in rows]
        if _comparable(statistics):
            found[metric] = statistics
        elif metric in wanted:
            raise InputError(f"{data.name}: {metric}: the models were scored in different ways")
    if not found:
        raise InputError(f"{data.name}: no metric by which base and adapters were scored alike")
    return found


def _metrics(
    data: StudyData, wanted: Sequence[str], rows: Sequence[EvaluationRow]
) -> tuple[str, ...]:
    """The metrics that are asked for; else those that every model has, the objective first."""
    stored = [
        {score.metric for score in data.score_rows if score.evaluation_id == row.evaluation_id}
        for row in rows
    ]
    common = set.intersection(*stored)
    for name in wanted:
        if name not in METRICS:
            raise InputError(f"--metric: got {name!r}; allowed: {', '.join(METRICS)}")
        if name not in common:
            _check_computable(data, name)
    if wanted:
        return tuple(dict.fromkeys(wanted))
    first = [name for name in data.objectives if name in common and name in METRICS]
    if not (found := tuple(dict.fromkeys([*first, *(m for m in METRICS if m in common)]))):
        raise InputError(f"{data.name}: stores no scores example by example")
    return found


def _check_computable(data: StudyData, name: str) -> None:
    """Refuse a metric that the stored outputs do not give."""
    is_classes = bool(OF_CLASSES & set(data.metrics))
    if METRICS[name].from_text is None or needs_encoder(name) or (name in OF_CLASSES) != is_classes:
        raise InputError(
            f"--metric: {data.name} does not store {name!r}; stored: {', '.join(data.metrics)}"
        )
    if line := missing_library(name):
        raise InputError(f"--metric: {line}")


def _statistics(data: StudyData, row: EvaluationRow, metric: str) -> Statistics:
    """The stored statistics of a metric, or those of the stored outputs."""
    assert data.database is not None
    try:
        return records.read_statistics(data.database, row.evaluation_id, metric)
    except KeyError:
        outputs = records.read_outputs(data.database, row.evaluation_id)
        given = (data.spec or {}).get("evaluation", {})
        options = TextOptions(synonyms=given.get("synonyms", "none"))
        return text_statistics(metric, outputs, data.examples[row.split].targets, options)


def _comparable(statistics: Sequence[Statistics]) -> bool:
    """Whether all have one signature and shape, and finite scores."""
    first = statistics[0]
    alike = all(s.signature == first.signature for s in statistics)
    same = all(s.values.shape == first.values.shape for s in statistics)
    return alike and same and all(np.isfinite(s.score) for s in statistics)


# ---------------------------------------------------------------- numbers


def _score(statistics: Statistics, drawn: Array) -> ModelScore:
    each = statistics.example_scores()
    each = each[np.isfinite(each)]
    sd = float(each.std(ddof=1)) if len(each) > 1 else 0.0
    return ModelScore(statistics.score, interval_of(drawn), float(each.mean()), sd)


def _contrasts(
    models: Sequence[Model],
    statistics: Sequence[Statistics],
    drawn: Array,
    exchanges: int,
    seed: int,
) -> list[Contrast]:
    """Every adapter against the base, p-values not yet corrected."""
    base, *others = statistics
    p_values = exchange_p_values(base, others, exchanges, seed)
    return [
        Contrast(
            adapter=model.name,
            metric=base.metric,
            difference=other.score - base.score,
            ci=interval_of(row - drawn[0]),
            percent=100 * (other.score / base.score - 1) if base.score else None,
            p_value=float(p),
            p_holm=float(p),
            is_least=bool(p * exchanges <= 1),
        )
        for model, other, row, p in zip(models[1:], others, drawn[1:], p_values, strict=True)
    ]


def _corrected(contrasts: Sequence[Contrast], family: int) -> tuple[Contrast, ...]:
    adjusted = holm([c.p_value for c in contrasts], family)
    return tuple(replace(c, p_holm=float(p)) for c, p in zip(contrasts, adjusted, strict=True))


def _noise(
    models: Sequence[Model], metric: str, statistics: Sequence[Statistics], drawn: Array
) -> list[SeedNoise]:
    found = []
    for letter in sorted({model.twins for model in models} - {""}):
        places = [i for i, model in enumerate(models) if model.twins == letter]
        scores = [statistics[i].score for i in places]
        i, j = max(combinations(places, 2), key=lambda p: abs(_apart(statistics, p)))
        names = tuple(models[place].name for place in places)
        apart, ci = _apart(statistics, (i, j)), interval_of(drawn[i] - drawn[j])
        found.append(SeedNoise(letter, metric, names, tuple(scores), apart, ci))
    return found


def _apart(statistics: Sequence[Statistics], pair: tuple[int, int]) -> float:
    return statistics[pair[0]].score - statistics[pair[1]].score


def _examined(
    data: StudyData,
    models: Sequence[Model],
    rows: Mapping[Who, EvaluationRow],
    split: str,
    contrasts: Sequence[Contrast],
    seed: int,
) -> Examined | None:
    """What the outputs look like, where they are free text and stored."""
    if OF_CLASSES & set(data.metrics) or split not in data.examples or data.database is None:
        return None
    outputs = {}
    for model in models:
        try:
            outputs[model.name] = records.read_outputs(data.database, rows[model.who].evaluation_id)
        except KeyError:
            continue
    if BASE not in outputs:
        return None
    gains = {
        model.name: {c.metric: c.gain for c in contrasts if c.adapter == model.name and c.ci[0] > 0}
        for model in models[1:]
    }
    return examine(outputs, data.examples[split].targets, gains, seed=seed)


def __dir__() -> list[str]:
    return own_names(globals())
