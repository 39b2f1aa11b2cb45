"""A study that continues an existing adapter: what it fixes, where trials begin, what they give."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from study.errors import InputError
from study.peft_methods.init_adapter import stored_pairs
from study.spec.files import load_spec
from study.spec.sections import StudySpec, spec_from_toml
from study.store.saved_adapters import save_adapter
from study.trials import TrialResult, baseline_configs, search_config
from tests.engine_runs import Bench, bench_of

MakeSpec = Callable[..., StudySpec]
RATES = "[parameters.learning_rate]\nlow = 1e-3\nhigh = 1e-1\nlog = true\n"
DOUBLE = {"base.dtype": "float64"}


@pytest.fixture(scope="module")
def first(
    make_spec: MakeSpec, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrialResult]:
    """An adapter with rsLoRA's scale, trained for four steps, and its result."""
    bench = bench_of(make_spec(DOUBLE))
    values = {"rank": 4, "alpha": 16, "target_modules": "qv", "use_rslora": True}
    config = search_config(bench.spec, 0, {**values, "learning_rate": 5e-2}, 0)
    result = bench.alone(config)
    assert result.adapter is not None
    return save_adapter(tmp_path_factory.mktemp("first"), "default", result.adapter), result


@pytest.fixture(scope="module")
def continued(make_spec: MakeSpec, first: tuple[Path, TrialResult]) -> Bench:
    """A study that continues it and searches the learning rate."""
    space = first[0].parent / "rates.toml"
    space.write_text(RATES, encoding="utf-8")
    changes = {"method.init_adapter": str(first[0]), "search.space": str(space), **DOUBLE}
    return bench_of(make_spec(changes))


def test_the_adapter_fixes_what_it_is(continued: Bench, first: tuple[Path, TrialResult]) -> None:
    """Rank, α, scale and modules are its own; the hash is kept; the file can be stored."""
    method = continued.spec.method
    assert (method.rank, method.alpha, method.use_rslora) == (4, 16.0, True)
    assert method.init_adapter == str(first[0])
    assert len(method.init_adapter_sha256 or "") == 64
    again = spec_from_toml(continued.spec.to_toml(), "stored")
    assert again.method == method
    assert "init_adapter_sha256" not in search_config(again, 0, {}, 0).values


def test_the_untrained_base_is_the_base_with_the_adapter(
    continued: Bench, first: tuple[Path, TrialResult]
) -> None:
    """Its scores are those that the adapter had at the end of its training, in both engines."""
    base = baseline_configs(continued.spec)[0]
    expected = first[1].metrics()
    for result in (continued.alone(base), continued.together([base])[base.number]):
        assert result.metrics()["loss"] == pytest.approx(expected["loss"], rel=1e-6)
        assert result.splits["dev"].outputs == first[1].splits["dev"].outputs
        assert (result.metrics()["steps"], result.adapter) == (0, None)


def test_trials_begin_at_the_adapter_in_both_engines(continued: Bench) -> None:
    """Packed and sequential trials agree, and a tiny rate leaves the adapter where it was."""
    configs = [
        search_config(continued.spec, number, {"learning_rate": rate, "dropout": 0.2}, number)
        for number, rate in enumerate((1e-12, 3e-2))
    ]
    packed = continued.together(configs)
    for config in configs:
        alone, together = continued.alone(config), packed[config.number]
        assert together.metrics()["loss"] == pytest.approx(alone.metrics()["loss"], rel=1e-9)
    still = packed[0].adapter
    assert still is not None
    stored = load((Path(str(continued.spec.method.init_adapter)) / WEIGHTS).read_bytes())
    for name, tensor in load(still.weights).items():
        assert torch.allclose(tensor, stored[name], atol=1e-8)
    assert json.loads(still.config)["r"] == 4
    assert "init_adapter" not in still.config


WEIGHTS = "adapter_model.safetensors"


def test_what_the_adapter_fixes_is_not_searched(
    first: tuple[Path, TrialResult], make_spec: MakeSpec, tmp_path: Path
) -> None:
    """A searched or contradicted value is one clear line; the default space leaves these out."""
    with pytest.raises(InputError, match=r"search\.parameters\.rank: method\.init_adapter fixes"):
        make_spec({"method.init_adapter": str(first[0])})
    with pytest.raises(InputError, match=r"method\.rank: the adapter .* fixes it at 4, got 8"):
        make_spec({"method.init_adapter": str(first[0]), "method.rank": 8})
    file = tmp_path / "study.toml"
    file.write_text(f'[method]\ninit_adapter = "{first[0]}"\n', encoding="utf-8")
    assert sorted(load_spec(file).search.parameters) == ["dropout", "learning_rate"]
    with pytest.raises(InputError, match="works only with lora, got the method 'dora'"):
        load_spec(file, {"method.name": "dora"})


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"peft_type": "IA3"}, "peft_type must be 'LORA', got 'IA3'"),
        ({"use_dora": True}, "only plain LoRA can be continued, with use_dora = False, got True"),
        ({"modules_to_save": ["lm_head"]}, "with modules_to_save = None"),
        ({"r": "8"}, "r and lora_alpha must be positive numbers, got '8', 16"),
        ({"r": True}, "r and lora_alpha must be positive numbers, got True, 16"),
        ({"r": 10**400}, "r and lora_alpha must be positive numbers, got 1000"),
        ({"lora_alpha": 10**400}, "r and lora_alpha must be positive numbers, got 4, 1000"),
        ({"lora_alpha": math.nan}, "r and lora_alpha must be positive numbers, got 4, nan"),
    ],
)
def test_only_plain_lora_is_continued(
    change: dict[str, Any], rule: str, first: tuple[Path, TrialResult], tmp_path: Path
) -> None:
    """Another kind of adapter is refused with the field that says so."""
    adapter = copied(first[0], tmp_path / "adapter", change)
    file = tmp_path / "study.toml"
    file.write_text(f'[method]\ninit_adapter = "{adapter}"\n', encoding="utf-8")
    with pytest.raises(InputError, match=rule):
        load_spec(file)


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    """A missing folder and pickled weights are the same fault: no safetensors."""
    file = tmp_path / "study.toml"
    file.write_text('[method]\ninit_adapter = "nowhere"\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"method\.init_adapter: needs a folder with adapter_conf"):
        load_spec(file)


def test_weights_must_fit_the_base_and_stay_the_same(
    continued: Bench, first: tuple[Path, TrialResult], tmp_path: Path
) -> None:
    """Changed weights, missing modules, other shapes and no numbers are refused, each by name."""
    base, method = continued.base, continued.spec.method
    tensors = load((first[0] / WEIGHTS).read_bytes())
    one = min(tensors)
    faults = {
        "changed since the study began": {**tensors, one: tensors[one] + 1},
        "it lacks": {name: t for name, t in tensors.items() if name != one},
        "must have matrices A and B": {},
        "must be": {**tensors, one: tensors[one][:, :1].contiguous()},
        "must be finite floating-point numbers": {**tensors, one: tensors[one] * math.inf},
        "must be finite floating": {**tensors, one: tensors[one].to(torch.int64)},
    }
    for rule, weights in faults.items():
        adapter = copied(first[0], tmp_path / rule.replace(" ", "-"), {})
        (adapter / WEIGHTS).write_bytes(save(weights))
        digest = method.init_adapter_sha256 if "changed" in rule else None
        its = method.model_copy(update={"init_adapter": str(adapter)})
        its = its.model_copy(update={"init_adapter_sha256": digest})
        with pytest.raises(InputError, match=rule):
            stored_pairs(replace(base, decompositions={}), its)


def copied(source: Path, folder: Path, change: dict[str, Any]) -> Path:
    """Copy an adapter with some of its configuration changed."""
    folder.mkdir()
    config = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
    (folder / "adapter_config.json").write_text(json.dumps(config | change), encoding="utf-8")
    (folder / WEIGHTS).write_bytes((source / WEIGHTS).read_bytes())
    return folder
