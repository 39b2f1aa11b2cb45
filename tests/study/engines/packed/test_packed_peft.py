"""A pack of trials against PEFT used by hand, and against the sequential engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from study.peft_methods.adapters import Adapter
from study.spec.sections import StudySpec
from study.trials import TrialConfig, TrialResult
from tests.engine_runs import Bench, bench_of
from tests.peft_by_hand import METHODS, TARGETS, configs_of, peft_by_hand, wide

FEW = [
    wide(1e-5, 32, 128, "attention+ffn"),
    wide(1e-3, 8, 64, "attention"),
    wide(1e-1, 16, 32, "qv"),
]
CORNERS = [
    wide(rate, rank, alpha, targets)
    for rate, rank, alpha, targets in product(
        (1e-5, 1e-4, 1e-3, 1e-2, 1e-1), (4, 32), (8, 128), TARGETS
    )
]
# ---------------------------------------------------------------- how far apart


def apart(spec: StudySpec, found: TrialResult, wanted: TrialResult) -> np.ndarray[Any, Any]:
    """Return the relative distances (reports + 1,) of training losses, and of weights at the end.

    Matrices are compared by their largest elements; after a failure the distance is infinite.
    """
    reports = -(-spec.training.steps // spec.training.report_every)
    distances = np.full(reports + 1, np.inf)
    for at, ((_, a), (_, b)) in enumerate(zip(found.losses, wanted.losses, strict=False)):
        distances[at] = abs(a - b) / b
    if found.adapter is not None and wanted.adapter is not None:
        tensors, others = load(found.adapter.weights), load(wanted.adapter.weights)
        assert tensors.keys() == others.keys()
        distances[-1] = max(
            float((tensors[n] - t).abs().max() / t.abs().max().clamp(min=1e-30))
            for n, t in others.items()
        )
    return distances


def allowed(
    bench: Bench, config: TrialConfig, alone: TrialResult, floor: float, chaos: float
) -> np.ndarray[Any, Any]:
    """Return how far (reports + 1,) runs may lie apart that round differently.

    That is ten times what a change of A by one unit in the last place becomes, at the start or
    at every step, one report later.  Once that is more than `chaos` no two programs agree: at a
    rate of 0.1 and alpha 128 one such change of a double grew to 1e-9 within 30 steps, to 1e-6 or
    more within 100, and from 1e-13 to 1e-6 between two reports.
    """
    nudged = []
    for steps, seed in product((range(1), range(config.training.steps)), range(2)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Adapter, "begin_step", _nudging(Adapter.begin_step, steps, seed))
            nudged.append(apart(bench.spec, bench.alone(config), alone))
    worst = np.maximum.accumulate(np.max(nudged, axis=0))
    worst = np.append(worst[1:], worst[-1])
    return np.where(worst > chaos, np.inf, np.maximum(floor, 10 * worst))


def _nudging(begin: Callable[..., None], steps: range, seed: int) -> Callable[..., None]:
    """Return a `begin_step` that moves A to neighbouring numbers, up or down at random."""

    def begin_step(adapter: Adapter, step: int, first: int = 0) -> None:
        begin(adapter, step, first)
        if first:  # a later pass of the same step
            return
        generator = torch.Generator().manual_seed(1000 * seed + step)
        for weight in adapter.other_weights if step in steps else ():
            signs = torch.randint(0, 2, weight.shape, generator=generator) * 2 - 1
            weight.data = torch.nextafter(weight.data, signs.to(weight) * torch.inf)

    return begin_step


def hold(bench: Bench, points: Sequence[dict[str, Any]], floor: float, chaos: float) -> None:
    """Compare a pack, and PEFT by hand, with every trial's run in the sequential engine."""
    configs = configs_of(bench.spec, points)
    packed = bench.together(configs)
    problems, compared = [], []
    for config, point in zip(configs, points, strict=True):
        alone = bench.alone(config)
        others = packed[config.number], peft_by_hand(bench.spec, config)
        distances = np.array([apart(bench.spec, other, alone) for other in others])
        limit = np.full(distances.shape[1], floor)
        if (distances > floor).any():
            limit = allowed(bench, config, alone, floor, chaos)
        compared.append(np.isfinite(limit))
        too_far = np.argwhere(distances > limit).tolist()
        problems += [(point, at, distances[*at], limit[at[1]]) for at in too_far]
    assert not problems
    assert np.mean(compared) > 0.5


def bench_over(make_spec: Callable[..., StudySpec], dtype: str, steps: int) -> Bench:
    """Return the tiny study over the wide space at so many steps."""
    changes = {"training.steps": steps, "training.report_every": 5, "base.dtype": dtype}
    changes |= {"evaluation.report_examples": 1}
    measured = {"evaluation.metrics": ["loss"], "evaluation.objective": "loss"}
    return bench_of(make_spec({**changes, **measured, "search.space": "lora-wide"}))


@pytest.mark.whole
def test_packed_alone_and_by_hand_are_the_same_in_double_precision(
    make_spec: Callable[..., StudySpec],
) -> None:
    """Over 40 steps losses and weights agree to 1e-9, wherever rounding does not decide."""
    hold(bench_over(make_spec, "float64", 40), FEW, floor=1e-9, chaos=1e-9)


@pytest.mark.slow
def test_packed_alone_and_by_hand_are_the_same_in_single_precision(
    make_spec: Callable[..., StudySpec],
) -> None:
    """Over 40 steps they agree to ten times what one unit in the last place becomes."""
    hold(bench_over(make_spec, "float32", 40), FEW[1:2], floor=1e-6, chaos=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "floor", "chaos"), [("float64", 1e-9, 1e-9), ("float32", 1e-6, 1e-4)]
)
def test_every_corner_of_the_wide_space(
    make_spec: Callable[..., StudySpec], dtype: str, floor: float, chaos: float
) -> None:
    """Sixty corners, all packed at once, are over 100 steps the trials that PEFT trains by hand."""
    hold(bench_over(make_spec, dtype, 100), CORNERS, floor, chaos)


def test_one_pack_of_several_methods_is_trained_as_peft_trains_each(bench: Bench) -> None:
    """LoRA+ rates, rsLoRA scales, decay, clipping and batch sizes of one's own: PEFT's weights."""
    configs = configs_of(bench.spec, METHODS)
    packed = bench.together(configs)
    for config in configs:
        by_hand = peft_by_hand(bench.spec, config)
        assert (apart(bench.spec, packed[config.number], by_hand) <= 1e-9).all(), config.values
