"""PiSSA over a base that all slots share: W + s BA - s B₀A₀ in place of PEFT's changed W."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import torch

from study.bases.load import load_base
from study.engines.packed.bank import AdapterBank
from study.engines.packed.batch_rows import Rows
from study.peft_methods.adapters import attach_adapter, initial_pair
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from tests.engine_runs import Bench, dev_losses

PISSA: dict[str, Any] = {"init_lora_weights": "pissa", "target_modules": "attention+ffn"}
METHODS = [
    MethodSpec(rank=4, alpha=64.0, **PISSA),
    MethodSpec(rank=8, alpha=24.0, use_rslora=True, **PISSA),
]


def test_a_pack_begins_as_the_base(bench: Bench) -> None:
    """Before the first step each slot gives the base's losses, though A and B are not zero."""
    untouched = dev_losses(bench, bench.base.model)
    with closing(AdapterBank(bench.base, METHODS, len(METHODS))) as bank:
        bank.open()
        for slot, method in enumerate(METHODS):
            bank.attach(slot, method, seed=slot)
            assert all(layer.weights.B[slot].any() for layer in bank._lora.values())
            bank.lay_out([Rows(slot, len(untouched))])
            assert dev_losses(bench, bench.base.model) == pytest.approx(untouched, rel=1e-11)


@pytest.mark.parametrize("method", METHODS)
def test_the_sequential_engine_begins_as_the_base(bench: Bench, method: MethodSpec) -> None:
    """What PEFT's layers lack is what their adapters begin with; afterwards W is as it was."""
    untouched = dev_losses(bench, bench.base.model)
    before = {name: tensor.clone() for name, tensor in bench.base.model.state_dict().items()}
    adapter = attach_adapter(bench.base, method, seed=0)
    assert dev_losses(bench, bench.base.model) == pytest.approx(untouched, rel=1e-11)
    adapter.detach()
    after = bench.base.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("method", METHODS)
def test_the_initial_pair_is_pefts_own(
    make_spec: Callable[..., StudySpec], method: MethodSpec
) -> None:
    """Up to the signs of singular vectors: B₀A₀, and so the rest of W, are PEFT's."""
    from peft import LoraConfig, get_peft_model

    spec = make_spec()
    ours, theirs = (load_base(spec.base.model, spec.base) for _ in range(2))
    lora = LoraConfig(
        r=method.rank,
        lora_alpha=int(method.alpha),
        target_modules=["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
        use_rslora=method.use_rslora,
        init_lora_weights="pissa",
    )
    get_peft_model(theirs.model, lora)
    layers = {n: m for n, m in theirs.model.named_modules() if hasattr(m, "lora_A")}
    assert len(layers) == 16  # four linears in three attentions, two in either feed-forward
    for name, layer in layers.items():
        A0, B0 = initial_pair(ours, name, method, seed=0)
        W = ours.model.get_submodule(name).weight
        wanted = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        torch.testing.assert_close(B0 @ A0, wanted.detach(), rtol=1e-4, atol=1e-6)
        rest = W - method.scale * B0 @ A0
        torch.testing.assert_close(rest, layer.get_base_layer().weight, rtol=1e-4, atol=1e-5)
