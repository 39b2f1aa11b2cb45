"""Tokens that a base never learnt are told from those that it did."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from study.bases.untrained_tokens import MANY_ALIKE, looks_untrained


def rows(reserved: int) -> torch.Tensor:
    """Rows of 64 learnt tokens, then of reserved ones that nobody trained."""
    generator = torch.Generator().manual_seed(0)
    learnt = torch.randn(64, 32, generator=generator)
    one = torch.randn(1, 32, generator=generator)
    return torch.cat([learnt, one + 0.1 * torch.randn(reserved, 32, generator=generator)])


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "lm_head.weight"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_like_many_others_is_untrained(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    """In the layer that gives the logits, whatever else the file holds; a few are no sign."""
    other = {"model.embed_tokens.weight": torch.randn(99, 32)} if name[0] == "l" else {}
    weights = {**other, name: rows(MANY_ALIKE + 1).to(dtype), "model.norm.weight": torch.ones(32)}
    save_file(weights, tmp_path / "model.safetensors")
    assert looks_untrained(str(tmp_path), 64)
    assert not looks_untrained(str(tmp_path), 3)
    assert not looks_untrained(str(tmp_path), 10_000)
    save_file({**weights, name: rows(MANY_ALIKE).to(dtype)}, tmp_path / "model.safetensors")
    assert not looks_untrained(str(tmp_path), 64)


def test_a_base_without_readable_weights_is_left_alone(tmp_path: Path) -> None:
    """Nothing is said of a folder without weights, of a damaged file or of a name on the hub."""
    assert not looks_untrained(str(tmp_path), 0)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    assert not looks_untrained(str(tmp_path), 0)
    assert not looks_untrained("nobody/nothing", 0)
