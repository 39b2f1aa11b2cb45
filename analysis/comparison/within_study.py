"""The models of one study against each other: trials and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from analysis.comparison.bootstrap import RESAMPLES
from analysis.comparison.contrast import (
    Contrast,
    Question,
    Resampled,
    Score,
    comparable,
    compare,
    corrected,
)
from analysis.comparison.picked import Field, allowing_for_pick, field_of
from analysis.parallel import each
from study.metrics import Array, Statistics

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData, Who


def headline_metric(data: StudyData) -> str | None:
    """The metric to compare models by: an objective with statistics, else the first stored one."""
    return next((m for m in (*data.objectives, *data.metrics) if m in data.metrics), None)


def label_of_model(data: StudyData, who: Who) -> str:
    """A model's name: "trial 3" for a number or "best"; a baseline's name as it is."""
    if who == "best" and data.best_trial is not None:
        return f"trial {data.best_trial.number}"
    return f"trial {who}" if isinstance(who, int) else who


def compare_trials(
    data: StudyData,
    a: Who = "best",
    b: Who = "base",
    metric: str | None = None,
    split: str = "dev",
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Contrast:
    """Compare two models of one study: trial numbers, baseline names or "best".

    On the examples that the search picked by, a trial that is better was picked from all trials.

    Raises LookupError where the study stores no statistics of one of them.
    """
    name = metric or headline_metric(data)
    if name is None:
        raise LookupError(f"study {data.name!r} stores no per-example statistics")
    pair = data.statistics(a, name, split), data.statistics(b, name, split)
    names = label_of_model(data, a), label_of_model(data, b)
    found = compare(*pair, names=names, split=split, resamples=resamples, seed=seed)
    fields = field_of(data, a, name, split), field_of(data, b, name, split)
    return allowing_for_pick(found, pair, fields, seed=seed)


def best_against_baselines(
    data: StudyData, known: Sequence[Contrast] = (), *, seed: int = 0
) -> list[Contrast]:
    """The best trial against every baseline by every metric on every split.

    `known` holds tests made already, such as those of all adapters against the base; their results
    are reused.  The other tests are one family, corrected together.
    """
    answered = {c.question: c for c in known}
    family = len(data.metrics) * len(data.splits) * len(data.baselines)

    def tested(split: str) -> list[Contrast]:
        return _against_baselines(data, data.metrics, split, answered, family, seed)

    found = list(chain(*each(tested, data.splits)))
    new = iter(corrected([c for c in found if c.question not in answered]))
    found = [answered.get(c.question) or next(new) for c in found]
    return sorted(found, key=lambda c: data.metrics.index(c.metric))


def _against_baselines(
    data: StudyData,
    metrics: Sequence[str],
    split: str,
    known: Mapping[Question, Contrast],
    family: int,
    seed: int,
) -> list[Contrast]:
    """The best trial against the baselines that were scored alike; only new tests are computed.

    Pairs scored on the same number of examples are resampled together: resampling takes most of
    the time.
    """
    best = label_of_model(data, "best")
    questions: list[Question] = []
    fields: dict[str, Field | None] = {}
    pairs_by_size: dict[int, list[tuple[Statistics, str, Statistics]]] = {}
    for metric in metrics:
        scored = {}
        for who in ("best", *data.baselines):
            with suppress(LookupError):  # another study's metric, or a baseline of another split
                scored[label_of_model(data, who)] = data.statistics(who, metric, split)
        if (own := scored.pop(best, None)) is None:
            continue
        for baseline, other in scored.items():
            if comparable([own, other]):
                questions.append((best, baseline, metric, split))
                if questions[-1] not in known:
                    if metric not in fields:
                        fields[metric] = field_of(data, "best", metric, split)
                    pairs_by_size.setdefault(len(own.values), []).append((own, baseline, other))
    found = dict(known)
    for pairs in pairs_by_size.values():
        names = [name for _, baseline, _ in pairs for name in (best, baseline)]
        statistics = [s for own, _, other in pairs for s in (own, other)]
        models = Resampled(names, statistics, split, seed=seed)
        contrasts = models.contrasts([(2 * i, 2 * i + 1) for i in range(len(pairs))], family)
        found |= {
            c.question: allowing_for_pick(c, (own, other), (fields[c.metric], None), family, seed)
            for c, (own, _, other) in zip(contrasts, pairs, strict=True)
        }
    return [found[question] for question in questions]


def scores_in(contrasts: Sequence[Contrast]) -> list[Score]:
    """The scores of all models in some contrasts, each once, the compared model last."""
    result: list[Score] = []
    for split in dict.fromkeys(c.split for c in contrasts):
        found = [c for c in contrasts if c.split == split]
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
            statistics = data.statistics(who, str(name), split)
            result[label_of_model(data, who)] = statistics.example_scores()
    return result
