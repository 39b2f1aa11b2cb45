"""Make the sampler for a study's next point, and its pruner."""

from __future__ import annotations

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from study.kinds.samplers import PRUNERS, SAMPLERS, Draw, PointSampler, RandomPoints
from study.searching.ladder import GrowingLadder
from study.seeds import derive_seed
from study.spec.sections import StudySpec


def sampler_for(
    spec: StudySpec, index: int, enqueued: int | None = None, bar: float | None = None
) -> BaseSampler:
    """Return the sampler of the study's `index`-th sampled point.

    `enqueued` is the index of an enqueued point that leaves parameters open.  They are drawn at
    random, so that they do not use up the sequence; an adaptive sampler proposes them.  `bar` is
    the score from which a trial is clearly better than the untrained base, where that is known.
    """
    search = spec.search
    if enqueued is not None and not search.learns:
        return PointSampler(RandomPoints(derive_seed(spec.seed, "enqueued")), enqueued)
    space = search.search_space
    growing = None if bar is None else GrowingLadder(space, spec.fixed_product, bar)
    draw = Draw(spec.seed, index, space, search.balanced, growing)
    return SAMPLERS[search.sampler].make(draw)


def pruner_for(spec: StudySpec) -> BasePruner:
    """Return the pruner that the study file names."""
    return PRUNERS[spec.search.pruner].make(spec.training.report_every, spec.most_steps)
