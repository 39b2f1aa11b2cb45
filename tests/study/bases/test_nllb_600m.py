"""The preset `nllb-600m` is real: the full-size architecture goes the same path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.preparing.trial_cost import trial_cost
from study.runner import run_study
from study.spec.files import load_spec


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """Write NLLB-200-distilled-600M's architecture with random weights in Hugging Face format."""
    from transformers import AutoTokenizer, M2M100ForConditionalGeneration

    from benchmarks.packed_fake import nllb_600m

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    config = nllb_600m(
        scale_embedding=True,
        decoder_start_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    folder = tmp_path_factory.mktemp("nllb") / "nllb-200-distilled-600M"
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_the_full_size_architecture_goes_the_same_path(
    full_size: Path, parallel_text: Path, tmp_path: Path, view: Any
) -> None:
    """One trial of two steps on 615 M parameters: 144 adapter pairs, 2,359,296 of them trained."""
    few = tmp_path / "dev.tsv"
    lines = (parallel_text / "dev.tsv").read_text(encoding="utf-8").splitlines()
    few.write_text("\n".join(lines[:5]) + "\n", encoding="utf-8")
    changes = {
        "base.model": str(full_size),
        "data.train": str(parallel_text / "train.tsv"),
        "data.dev": str(few),
        "training.steps": 2,
        "training.batch_size": 4,
        "training.report_every": 2,
        "evaluation.max_new_tokens": 4,
        "evaluation.metrics": ["bleu", "loss"],
        "search.space": "lora-narrow",
        "search.pruner": "none",
        "search.trials": 1,
        "search.parameters": {"rank": {"value": 8}},
    }
    spec = load_spec("nllb-600m", changes)
    cost = trial_cost(spec)
    assert cost["base_parameters"] == 615_073_792
    assert cost["adapters"]["least"] == {"pairs": 144, "parameters": 2_359_296}
    done = run_study(spec, tmp_path / "run", view)
    assert [outcome.state for outcome in view.outcomes] == ["complete"] * 3
    _check_adapter(done.folder / "adapters" / "trial-00000")


def _check_adapter(folder: Path) -> None:
    from safetensors import safe_open

    with safe_open(folder / "adapter_model.safetensors", "pt") as tensors:
        names = list(tensors.keys())
        count = sum(tensors.get_tensor(name).numel() for name in names)
    assert len(names) == 2 * 144
    assert count == 2_359_296
