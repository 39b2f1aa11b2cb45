"""What a row's loss must not depend on: tokens that come later, and the rows beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from study.tasks.base import Batch, Example

PADDED = 6  # rows of different lengths, each read alone and beside every longer one
LONGEST = 128  # tokens of the longest of them: some models treat long rows differently


def of_different_lengths(
    examples: Sequence[Example], length: Callable[[Example], int]
) -> list[Example]:
    """Return the last example of each of the shortest lengths, and a longer one."""
    by_length = {length(example): example for example in examples}
    lengths = sorted(by_length)
    longer = [n for n in lengths[PADDED:] if n <= LONGEST][-1:]
    return [by_length[n] for n in lengths[:PADDED] + longer]


def width_of(batch: Batch) -> int:
    """Return the tokens of a batch's rows, padding included."""
    return max(tensor.shape[1] for tensor in batch.inputs.values() if tensor.dim() > 1)


class Choices(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches `topk` over a row's tokens, as DeepSeek's sparse attention chooses what to read.

    Among equal scores, which a ReLU makes of all negative ones, the choice depends on the width.
    """

    def __init__(self, width: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._width, self.are_arbitrary = width, False

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute as usual; compare the last chosen score with the best that was left."""
        output = call(*args, **(kwargs or {}))
        if call is torch.ops.aten.topk.default and args[0].shape[-1] == self._width > args[1]:
            best = args[0].sort(dim=-1, descending=True).values[..., args[1] - 1 : args[1] + 1]
            is_tie = (best[..., 0] == best[..., 1]) & best[..., 0].isfinite()
            self.are_arbitrary |= bool(is_tie.any())
        return output


def with_another_last_token(batch: Batch, config: Any) -> tuple[dict[str, Any], ...] | None:
    """Return a model's inputs, and the same with another token at the end.

    None if no token is predicted from those before it.  As in training, nothing is cached: FSMT's
    decoder sees all tokens otherwise.
    """
    inputs: dict[str, Any] = {**batch.inputs, "use_cache": False}
    if getattr(config, "is_encoder_decoder", False) and batch.labels.dim() == 2:
        name, ids = "decoder_input_ids", batch.labels.clamp(min=0)
    elif "prompt_tokens" in batch.rows:
        name, ids = "input_ids", inputs["input_ids"]
    else:
        return None
    other = ids.clone()
    other[:, -1] = torch.where(ids[:, -1] == 1, 2, 1)  # any other one
    return {**inputs, name: ids}, {**inputs, name: other}
