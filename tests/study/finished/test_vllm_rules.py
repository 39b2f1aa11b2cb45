"""A chat adapter as files: vLLM's documented rules for LoRA, and PEFT's own way to load one.

The rules are those of vLLM's `PEFTHelper` and `LoRAConfig`: plain LoRA on linear layers, no
trained copies of modules, no bias, no DoRA, and a rank that `--max-lora-rank` can be set to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file

from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter
from study.trials import TrialResult, search_config
from tests.engine_runs import Bench, bench_of

MakeSpec = Callable[..., StudySpec]
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # of --max-lora-rank
LINEAR = {f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")}  # of Llama
TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
PACKED = ("lora", "rslora", "loraplus", "pissa", "olora")


def broken_rules(folder: Path) -> list[str]:
    """Return the rules that an adapter's files break."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "adapter_model.safetensors")
    broken = [
        f"{key} = {config[key]!r}"
        for key, allowed in (
            ("peft_type", "LORA"),
            ("bias", "none"),
            ("use_dora", False),
            ("modules_to_save", None),
            ("trainable_token_indices", None),
            ("rank_pattern", {}),
            ("alpha_pattern", {}),
        )
        if config[key] != allowed
    ]
    if not config["r"] <= RANKS[-1]:
        broken.append(f"r = {config['r']}")
    if not set(config["target_modules"]) <= {end for n in LINEAR for end in (n, f"self_attn.{n}")}:
        broken.append(f"target_modules = {config['target_modules']}")
    for name, tensor in tensors.items():
        match = TENSOR.fullmatch(name)
        if match is None or match["module"].rpartition(".")[2] not in LINEAR:
            broken.append(name)
        elif tensor.dim() != 2 or tensor.shape[0 if match["side"] == "A" else 1] != config["r"]:
            broken.append(f"{name}: {tuple(tensor.shape)}")
    sides = {name.replace("lora_A", "lora_B") for name in tensors}
    return broken if sides == {name for name in tensors if "lora_B" in name} else [*broken, "sides"]


@pytest.fixture(scope="module")
def bench(make_chat_spec: MakeSpec) -> Bench:
    """The tiny chat study."""
    return bench_of(make_chat_spec())


def saved(result: TrialResult, folder: Path) -> Path:
    """Write a result's adapter."""
    assert result.adapter is not None, result.failure
    return save_adapter(folder, "trial-00000", result.adapter)


@pytest.mark.parametrize("modules", ["attention", "all-linear"])
@pytest.mark.parametrize("method", PACKED)
def test_packed_adapters_keep_the_rules(
    method: str, modules: str, bench: Bench, tmp_path: Path
) -> None:
    """Every method that trains plain LoRA saves what vLLM takes, PiSSA and OLoRA included."""
    values: dict[str, Any] = {"method": method, "rank": 4, "target_modules": modules, "steps": 1}
    config = search_config(bench.spec, 0, values, 0)
    assert broken_rules(saved(bench.together([config])[0], tmp_path)) == []


def test_an_adapter_of_peft_keeps_them_too_and_loads_by_its_folder(
    bench: Bench, tmp_path: Path
) -> None:
    """The sequential engine's files pass as well, and `AutoPeft…` needs nothing but the folder."""
    config = search_config(bench.spec, 0, {"rank": 4, "steps": 1}, 0)
    for number, result in enumerate((bench.alone(config), bench.together([config])[0])):
        folder = saved(result, tmp_path / str(number))
        assert broken_rules(folder) == []
        model = AutoPeftModelForCausalLM.from_pretrained(folder)
        assert model.peft_config["default"].task_type == "CAUSAL_LM"


@pytest.mark.parametrize(
    ("changes", "values", "rule"),
    [
        ({}, {"method": "dora"}, "use_dora = True"),
        ({"data.stop_token": "<|done|>"}, {}, "trainable_token_indices"),
    ],
)
def test_what_vllm_refuses_is_seen(
    changes: dict[str, Any],
    values: dict[str, Any],
    rule: str,
    make_chat_spec: MakeSpec,
    tmp_path: Path,
) -> None:
    """DoRA and a trained stop token are no plain LoRA: the check above is able to fail."""
    bench = bench_of(make_chat_spec(changes))
    config = search_config(bench.spec, 0, {"rank": 4, "steps": 1, **values}, 0)
    assert any(rule in broken for broken in broken_rules(saved(bench.alone(config), tmp_path)))
