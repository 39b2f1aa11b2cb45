"""The `[diffusion]` section of a study file, in LLaDA's terms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from study.spec.hyperparameters import Positive, Strict, rule


class DiffusionSpec(Strict):
    """The length of the answer, how generation fills it, and the least noise in training.

    Nie et al. 2025, "Large language diffusion models" (arXiv:2502.09992), and its `generate.py`.
    """

    length: Positive = 128
    steps: Positive = 128
    block_length: Positive = 32
    temperature: Annotated[float, Field(strict=True, ge=0)] = 0.0
    cfg_scale: Annotated[float, Field(strict=True, ge=0)] = 0.0
    remasking: Literal["low_confidence", "random"] = "low_confidence"
    fixed: dict[int, str] = Field(default_factory=dict)
    eps: Annotated[float, Field(strict=True, gt=0, lt=1)] = 1e-3
    mask_token: Annotated[str, Field(min_length=1)] | None = None

    @rule
    def _check_blocks(self) -> Iterator[str]:
        if self.length % self.block_length:
            yield f"block_length: must divide length = {self.length}, got {self.block_length}"
        elif self.steps % self.blocks:
            yield (
                f"steps: must be a multiple of the {self.blocks} blocks "
                f"(length / block_length), got {self.steps}"
            )

    @rule
    def _check_fixed(self) -> Iterator[str]:
        for position, word in self.fixed.items():
            if not word.strip():
                yield f"fixed: needs a word at position {position}, got {word!r}"
            if not 0 <= position < self.length:
                yield (
                    f"fixed: positions must be 0 to {self.length - 1} (length - 1), got {position}"
                )

    @property
    def blocks(self) -> int:
        """The number of blocks in which an answer is generated, one after the other."""
        return self.length // self.block_length
