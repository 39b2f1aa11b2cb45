"""The base against every adapter of a study, by all metrics, as one family of tests.

Each adapter is compared with the untrained base on the same examples, and Holm's method corrects
the p-values over adapters × metrics.  Where adapters were chosen by their scores, the family is all
that they were chosen from, pruned trials included.  Adapters that differ only in their seed show
the effect of the seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from analysis.comparison.adapters_document import Adapters as Adapters
from analysis.comparison.adapters_document import SeedNoise as SeedNoise
from analysis.comparison.bootstrap import RESAMPLES
from analysis.comparison.compared_models import BASE, ComparedModel, compared_models, evaluated
from analysis.comparison.contrast import Contrast, Resampled, Score, comparable, corrected
from analysis.comparison.gaming import Examined, examine
from analysis.comparison.within_study import (
    best_against_baselines,
    headline_metric,
    scores_in,
)
from analysis.display import own_names
from analysis.parallel import each
from study.errors import InputError
from study.metrics import (
    METRICS,
    Statistics,
    scores_classes,
    scores_free_text,
    text_statistics,
)
from study.metrics.needs import missing_library
from study.store import records

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData, Who
    from study.store.records import EvaluationRow


def against_base(
    data: StudyData,
    metrics: Sequence[str] = (),
    split: str = "dev",
    trials: Sequence[int] = (),
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    examines: bool = True,
) -> Adapters:
    """Compare the base with the adapters of a study, by all stored metrics unless some are named.

    A metric that is not stored is computed from the stored outputs.  Without `trials` the default
    adapter and all complete trials are compared, or the five best of more than nine.  Outputs are
    not looked at for what inflates scores unless it `examines` them.

    Raises:
        InputError: no base, no adapter, no such trial, or a metric that cannot be computed.
    """
    rows = evaluated(data, split)
    models, left_out = compared_models(data, rows, trials, split)
    found = _all_statistics(data, [rows[model.who] for model in models], metrics)
    tried = data.counts.get("complete", 0) + data.counts.get("pruned", 0)
    unread = 0 if trials else max(tried - sum(isinstance(who, int) for who in rows), 0)
    family = (len(models) - 1 + left_out + unread) * len(found)
    names = [model.name for model in models]

    def tested(metric: str) -> tuple[tuple[Score, ...], list[Contrast], list[SeedNoise]]:
        resampled = Resampled(names, found[metric], split, resamples=resamples, seed=seed)
        contrasts = resampled.contrasts([(place, 0) for place in range(1, len(names))], family)
        return resampled.scores, contrasts, _noise(models, resampled)

    scores: dict[tuple[str, str], Score] = {}
    contrasts: list[Contrast] = []
    noise: list[SeedNoise] = []
    for of_models, against, between in each(tested, list(found)):
        scores |= {(score.name, score.metric): score for score in of_models}
        contrasts += against
        noise += between
    first = next(iter(found.values()))[0]
    return Adapters(
        study=data.name,
        split=split,
        n_examples=len(first.values),
        effective=first.effective,
        metrics=tuple(found),
        base=models[0],
        adapters=tuple(models[1:]),
        scores=scores,
        contrasts=tuple(corrected(contrasts, family)),
        noise=tuple(noise),
        examined=_examined(data, models, rows, split, contrasts, seed) if examines else None,
        family=family,
        left_out=left_out,
        signatures={metric: s[0].signature for metric, s in found.items()},
        examples={
            (name, metric): one.example_scores()
            for metric, statistics in found.items()
            for name, one in zip(names, statistics, strict=True)
        },
    )


def all_adapters(data: StudyData, seed: int = 0, *, examines: bool = True) -> Adapters | None:
    """`against_base` on the study's first split; None where there is nothing to compare."""
    split = data.splits[0] if data.splits else ""
    try:
        return against_base(data, split=split, seed=seed, examines=examines)
    except InputError:  # no base, no adapter, or no per-example scores
        return None


def against_baselines(
    data: StudyData, metric: str | None = None, split: str = "dev", *, seed: int = 0
) -> list[Contrast]:
    """The best trial against every stored baseline, with the p-values that the page shows.

    Empty where there is nothing to compare.
    """
    place = (metric or headline_metric(data), split)
    return [c for c in _as_on_the_page(data, seed) if (c.metric, c.split) == place]


def model_scores(data: StudyData, metric: str | None = None, *, seed: int = 0) -> list[Score]:
    """The baselines' and the best trial's scores on every split, with bootstrap intervals."""
    name = metric or headline_metric(data)
    return scores_in([c for c in _as_on_the_page(data, seed) if c.metric == name])


def _as_on_the_page(data: StudyData, seed: int) -> list[Contrast]:
    adapters = all_adapters(data, seed, examines=False)
    return best_against_baselines(data, adapters.contrasts if adapters else (), seed=seed)


# ---------------------------------------------------------------- which metrics


def _all_statistics(
    data: StudyData, rows: Sequence[EvaluationRow], wanted: Sequence[str]
) -> dict[str, list[Statistics]]:
    """Each metric's statistics of all models, without metrics that are not comparable.

    Raises InputError where one of them was asked for.
    """
    found = {}
    for metric in _metrics(data, wanted, rows):
        statistics = [_statistics(data, row, metric) for row in rows]
        if comparable(statistics):
            found[metric] = statistics
        elif metric in wanted:
            raise InputError(f"{data.name}: {metric}: the models were not scored alike")
    if not found:
        raise InputError(f"{data.name}: no metric scored the base and the adapters alike")
    return found


def _metrics(
    data: StudyData, wanted: Sequence[str], rows: Sequence[EvaluationRow]
) -> tuple[str, ...]:
    """The metrics asked for; otherwise those that every model has, the objective first."""
    stored = [
        {score.metric for score in data.score_rows if score.evaluation_id == row.evaluation_id}
        for row in rows
    ]
    common = set.intersection(*stored)
    for name in wanted:
        if name not in METRICS and name not in data.metrics:
            known = dict.fromkeys([*METRICS, *data.metrics])
            raise InputError(f"--metric: got {name!r}; allowed: {', '.join(known)}")
        if name not in common:
            _check_computable(data, name)
    if wanted:
        return tuple(dict.fromkeys(wanted))
    known = dict.fromkeys([*data.objectives, *METRICS, *data.metrics])
    if not (found := tuple(m for m in known if m in common and m in data.metrics)):
        raise InputError(f"{data.name}: stores no per-example scores")
    return found


def _check_computable(data: StudyData, name: str) -> None:
    """Refuse a metric that cannot be computed from the stored outputs."""
    metric, is_classes = METRICS.get(name), scores_classes(*data.metrics)
    is_computed = metric is not None and metric.from_text is not None and not metric.embeds
    if not is_computed or scores_classes(name) != is_classes:
        raise InputError(
            f"--metric: {data.name} does not store {name!r}; stored: {', '.join(data.metrics)}"
        )
    if line := missing_library(name):
        raise InputError(f"--metric: {line}")


def _statistics(data: StudyData, row: EvaluationRow, metric: str) -> Statistics:
    """The stored statistics of a metric, or those of the stored outputs."""
    assert data.database is not None
    try:
        return data.statistics_of(row, metric)
    except KeyError:
        try:
            outputs = records.read_outputs(data.database, row.evaluation_id)
        except KeyError:
            raise InputError(
                f"--metric: {data.name} stores neither {metric!r} nor outputs to score; stored: "
                f"{', '.join(data.metrics)}"
            ) from None
        targets = data.examples[row.split].targets
        found = text_statistics(metric, outputs, targets, data.text_options)
        return replace(found, clusters=data.clusters(row.split, len(outputs)))


# ---------------------------------------------------------------- seeds and outputs


def _noise(models: Sequence[ComparedModel], resampled: Resampled) -> list[SeedNoise]:
    """For each configuration trained with several seeds, the two models that differ most."""
    scores, found = resampled.scores, []
    for letter in sorted({model.twins for model in models} - {""}):
        places = [place for place, model in enumerate(models) if model.twins == letter]
        a, b = max(combinations(places, 2), key=lambda pair: abs(resampled.gap(*pair)))
        found.append(
            SeedNoise(
                letter,
                scores[0].metric,
                names=tuple(scores[place].name for place in places),
                scores=tuple(scores[place].score for place in places),
                largest=resampled.gap(a, b),
                ci=resampled.interval(a, b),
            )
        )
    return found


def _examined(
    data: StudyData,
    models: Sequence[ComparedModel],
    rows: Mapping[Who, EvaluationRow],
    split: str,
    contrasts: Sequence[Contrast],
    seed: int,
) -> Examined | None:
    """The features of the outputs, where these are free text and stored."""
    if not scores_free_text(*data.metrics) or split not in data.examples or data.database is None:
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
        model.name: {
            c.metric: c.gain for c in contrasts if c.a.name == model.name and c.interval[0] > 0
        }
        for model in models[1:]
    }
    texts = data.examples[split]
    return examine(
        outputs,
        texts.targets,
        gains,
        sources=texts.sources,
        clusters=data.clusters(split, len(texts.targets)),
        seed=seed,
    )


def __dir__() -> list[str]:
    return own_names(globals())
