"""QLoRA trains over 4 and 8 bits where the machine can, and says in one line where it cannot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load

from study.bases.load import load_base
from study.engines.build import make_engine
from study.engines.engine_choice import EngineChoice
from study.engines.mixed import MixedEngine
from study.engines.packed.linear import PackedLinear
from study.engines.sequential import SequentialEngine
from study.errors import InputError
from study.peft_methods import quantized
from study.peft_methods.attached import attach
from study.peft_methods.layers import quantized_bits
from study.peft_methods.quantized import check_quantization, quantized_linear
from study.peft_methods.targets import why_not_packed
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.trials import Checked, Finished, TrialResult, baseline_configs, search_config
from tests.engine_runs import Bench, bench_of, train_all

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


# ---------------------------------------------------------------- a base in 4 or 8 bits


@pytest.fixture
def quantized_bench(bits: int, make_spec: Callable[..., StudySpec]) -> Bench:
    """Return a bench whose trials all train over the same bits."""
    changes = {"method.name": "qlora", "method.quantization_bits": bits, "training.steps": 4}
    only_loss = {"evaluation.objective": "loss", "evaluation.metrics": ["loss"]}
    return bench_of(make_spec({**changes, **only_loss, "base.dtype": "float32"}))


POINTS = [
    {"learning_rate": 4e-3, "rank": 4, "alpha": 16, "dropout": 0.1, "target_modules": "qv"},
    {"learning_rate": 2e-3, "rank": 8, "alpha": 16, "dropout": 0.0},
    {"learning_rate": 4e-3, "rank": 4, "alpha": 8, "dropout": 0.2, "batch_size": 3},
]


@pytest.mark.filterwarnings("ignore:MatMul8bitLt:UserWarning")
def test_trials_over_one_quantised_base_pack(quantized_bench: Bench) -> None:
    """The base is quantised once; packed trials give what PEFT gives over it, alone."""
    bench = quantized_bench
    assert quantized_bits(bench.base.model) == bench.spec.method.quantization_bits
    configs = [search_config(bench.spec, n, point, n) for n, point in enumerate(POINTS)]
    notices: list[str] = []
    with closing(bench.engine(EngineChoice(slots=3))) as engine:
        assert isinstance(engine, MixedEngine)
        results, _ = train_all(engine, configs, notices)
    assert notices == []
    for config in configs:
        alone, together = bench.alone(config), results[config.number]
        assert together.metrics()["loss"] == pytest.approx(alone.metrics()["loss"], rel=1e-3)
        assert alone.adapter is not None
        assert together.adapter is not None
        ours, theirs = load(together.adapter.weights), load(alone.adapter.weights)
        assert ours.keys() == theirs.keys()
        for name, weight in theirs.items():
            assert (ours[name] - weight).norm() < 0.02 * weight.norm(), name


@pytest.mark.filterwarnings("ignore:MatMul8bitLt:UserWarning")
def test_a_wrong_gradient_over_a_quantised_base_is_found(
    quantized_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The self-check compares packed layers of bitsandbytes with PEFT's too."""
    original = PackedLinear.__call__

    def half(layer: PackedLinear, x: torch.Tensor) -> torch.Tensor:
        return original(layer, x / 2 + x.detach() / 2)

    monkeypatch.setattr(PackedLinear, "__call__", half)
    with closing(quantized_bench.engine(EngineChoice(slots=2))) as engine:
        assert isinstance(engine, SequentialEngine)
        (check,) = [e.check for e in engine.first_events if isinstance(e, Checked)]
        assert any("trains one trial at a time" in remark for remark in check.remarks)


def test_methods_side_by_side_keep_a_base_of_full_precision(
    bits: int, make_spec: Callable[..., StudySpec]
) -> None:
    """Other methods train over the base itself, so that quantised trials are not packed."""
    changes = {"search.parameters.method": {"choices": ["lora", "qlora"]}}
    bench = bench_of(make_spec({"method.quantization_bits": bits, **changes}))
    assert quantized_bits(bench.base.model) == 0
    config = search_config(bench.spec, 0, {"method": "qlora"}, 0)
    assert config.method is not None
    reason = why_not_packed(config.method, config.training, bench.base)
    assert reason == "method 'qlora' beside others, or in 4 and 8 bits"
