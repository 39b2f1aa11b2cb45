"""QLoRA trains over 4 and 8 bits where the machine can, and says in one line where it cannot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from study.bases.load import load_base
from study.engines.build import make_engine
from study.engines.engine_choice import EngineChoice
from study.errors import InputError
from study.peft_methods import quantized
from study.peft_methods.attached import attach
from study.peft_methods.quantized import check_quantization, quantized_linear
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.trials import Finished, TrialResult, baseline_configs, search_config

QLORA = {"method.name": "qlora", "training.steps": 12, "training.report_every": 6}


def test_without_the_package_it_is_one_line_before_anything_is_loaded(
    make_spec: Callable[..., StudySpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the extra; the base is not even looked for."""
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package bitsandbytes, .*optuna-study\[quant"):
        make_engine(make_spec(QLORA), "no such base", None, EngineChoice())


def test_a_precision_that_it_does_not_know(
    make_spec: Callable[..., StudySpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Double precision is refused by its key."""
    monkeypatch.setattr(quantized, "find_spec", lambda name: object())
    spec = make_spec({**QLORA, "base.dtype": "float64"})
    with pytest.raises(InputError, match=r"base\.dtype: 'qlora' cannot compute in this type"):
        make_engine(spec, "no such base", None, EngineChoice())


def test_a_machine_that_cannot_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the package raises on a layer of the asked width becomes the reason."""
    broken = ModuleType("bitsandbytes")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel\nfor this device")

    broken.nn = ModuleType("bitsandbytes.nn")  # type: ignore[attr-defined]
    broken.nn.Linear4bit = broken.nn.Linear8bitLt = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bitsandbytes", broken)
    monkeypatch.setattr(quantized, "find_spec", lambda name: object())
    with pytest.raises(InputError, match="bits: 8 bits do not work on this machine: no kernel for"):
        check_quantization([8], "float32")


def trained(spec: StudySpec, base: Path, config: Any) -> TrialResult:
    """Train one trial to its end."""
    engine = make_engine(spec, str(base), None, EngineChoice("sequential"))
    engine.start(config)
    while True:
        for event in engine.advance():
            if isinstance(event, Finished):
                return event.result


@pytest.fixture(params=[4, 8])
def bits(request: pytest.FixtureRequest) -> int:
    """Return each width of a quantised weight, where the extra is installed."""
    pytest.importorskip("bitsandbytes", reason="4 and 8 bits are NOT tested: needs bitsandbytes")
    width: int = request.param
    return width


@pytest.mark.filterwarnings("ignore:MatMul8bitLt:UserWarning")
def test_it_learns_over_a_quantised_base(
    bits: int, make_spec: Callable[..., StudySpec], tiny_base: Path
) -> None:
    """The dev loss falls, and adapter files are LoRA's own."""
    spec = make_spec({**QLORA, "method.quantization_bits": bits})
    values = {"learning_rate": 4e-3, "rank": 4, "alpha": 16, "dropout": 0.1}
    result = trained(spec, tiny_base, search_config(spec, 0, values, 0))
    assert result.failure is None
    begun = trained(spec, tiny_base, baseline_configs(spec)[0]).metrics()["loss"]
    assert result.metrics()["loss"] < begun - 0.01
    assert result.adapter is not None
    assert '"LORA"' in result.adapter.config


@pytest.mark.filterwarnings("ignore:MatMul8bitLt:UserWarning")
def test_all_linears_but_the_head_are_quantised(
    bits: int, make_spec: Callable[..., StudySpec], tiny_base: Path
) -> None:
    """Weights take that many bits, and outputs are near those of full precision."""
    base = load_base(str(tiny_base), make_spec().base)
    linear = base.model.model.encoder.layers[0].fc1
    layer: Any = quantized_linear(linear, bits)
    x = torch.randn(4, linear.in_features, generator=torch.Generator().manual_seed(0))
    assert layer.weight.numel() * layer.weight.element_size() * 8 == bits * linear.weight.numel()
    exact = linear(x)
    assert 0 < (layer(x) - exact).norm() / exact.norm() < 0.2
    attached = attach(base, MethodSpec(name="qlora", quantization_bits=bits), 0)  # type: ignore[arg-type]
    kinds = {type(m).__name__ for m in base.model.modules() if "inear" in type(m).__name__}
    assert kinds == {"Linear", "Linear4bit" if bits == 4 else "Linear8bitLt"}  # A, B and the head
    attached.detach()
