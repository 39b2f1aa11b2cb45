"""What a packed step needs on a GPU, counted without one: fake tensors have shapes but no data.

For the architectures of Llama-3.2-1B and NLLB-200-distilled-600M in bfloat16, with adapters of rank
16 on all linear layers and dropout: operations that launch a kernel, those of the weights' update
among them, values that the host waits for, and the peak of what a pass creates, in bytes per token,
with and without recomputed blocks.  The output head and the loss are left out.  Counts grow with
the depth: --layers shortens the model.

    python benchmarks/packed_fake.py --slots 32 --rows 4 --tokens 256
"""

from __future__ import annotations

import argparse
import weakref
from collections import Counter
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface, LlamaConfig, LlamaModel, M2M100Config, M2M100Model

from study.bases.load import BaseModel
from study.engines.packed import linear
from study.engines.packed.bank import AdapterBank
from study.engines.packed.batch_rows import Rows
from study.engines.packed.updates import BLOCK_BYTES, Move, SlotOptimizers
from study.engines.recomputing import recomputed_blocks
from study.spec.hyperparameters import MethodSpec

SYNCS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero")
FREE = ("aten::empty", "aten::detach", "aten::lift_fresh", "aten::_unsafe_view", "prim::")


def _flash(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Any, scaling: Any = None, **_: Any
) -> tuple[Tensor, None]:
    """Attend in one operation, as a GPU does and a fake CPU does not."""
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    y, _lse = attend(q, k, v, 0.0, getattr(module, "is_causal", False), scale=scaling)
    return y.transpose(1, 2).contiguous(), None


AttentionInterface.register("one_operation", _flash)
LIKE_A_GPU = {"attn_implementation": "one_operation", "dtype": torch.bfloat16}


@dataclass(frozen=True)
class Counted:
    """What one training step of all slots takes."""

    operations: int
    in_update: int  # of these: gradients to zero, means, clipping and AdamW
    syncs: int
    peak_bytes: int
    tokens: int

    @property
    def bytes_per_token(self) -> float:
        """Bytes of the peak for each of the pass's tokens."""
        return self.peak_bytes / self.tokens


class Counting(TorchDispatchMode):
    """Counts operations, and the bytes of the storages that they make."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.syncs = self.live = self.peak = 0
        self._storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        result = func(*args, **(kwargs or {}))
        name = func._schema.name
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.syncs += name in SYNCS
        if not func.is_view and not name.startswith(FREE):
            self.operations[name] += 1
        given = {t.untyped_storage()._cdata for t in tree_leaves(args) if isinstance(t, Tensor)}
        for tensor in made:
            if tensor.untyped_storage()._cdata not in given:  # no view, and not in place
                self._hold(tensor)
        return result

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._storages:
            self._storages.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self.live -= size


def llama(layers: int) -> nn.Module:
    """Return the blocks of Llama-3.2-1B."""
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
    )
    return LlamaModel._from_config(config, **LIKE_A_GPU)


def nllb_600m(layers: int = 12, **more: Any) -> M2M100Config:
    """Return the sizes of NLLB-200-distilled-600M, with so many blocks in encoder and decoder."""
    return M2M100Config(
        vocab_size=256206,
        d_model=1024,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_ffn_dim=4096,
        decoder_ffn_dim=4096,
        encoder_attention_heads=16,
        decoder_attention_heads=16,
        **more,
    )


def nllb(layers: int) -> nn.Module:
    """Return encoder and decoder of NLLB-200-distilled-600M, without dropout."""
    still = ("dropout", "attention_dropout", "encoder_layerdrop", "decoder_layerdrop")
    config = nllb_600m(layers, **dict.fromkeys(still, 0.0))
    return M2M100Model._from_config(config, **LIKE_A_GPU)


MODELS = {"llama-1b": (llama, 16), "nllb-600m": (nllb, 12)}


def counted(
    name: str,
    layers: int,
    slots: int,
    rows: int,
    tokens: int,
    recomputes: bool = False,
    ratio: float = 1.0,
) -> Counted:
    """Count one step of `slots` trials with `rows` rows of `tokens` tokens each.

    `ratio` is LoRA+'s: a rate of its own for the matrices B.
    """
    method = MethodSpec(rank=16, alpha=32.0, dropout=0.1, target_modules="all-linear")
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = MODELS[name][0](layers).eval().requires_grad_(False)
        base = BaseModel(model, None, "random")
        bank = AdapterBank(base, [method], slots)
        optimizers = SlotOptimizers(bank.weights, bank.grads, bank.b_start)
        moves = [Move(slot, "adamw", 1e-4, ratio * 1e-4, 0.01, 1) for slot in range(slots)]
        for slot in range(slots):
            bank.attach(slot, method, slot)
            optimizers.begin(slot, "adamw")
        bank.open()
        ids = torch.zeros(slots * rows, tokens, dtype=torch.long)
        inputs = {"input_ids": ids, "use_cache": False}
        if name == "nllb-600m":
            inputs["decoder_input_ids"] = ids
        counter = Counting()
        again = recomputed_blocks(model, recomputes)
        blocks = patch.dict(BLOCK_BYTES, cpu=BLOCK_BYTES["cuda"])
        # on a GPU each is one operation, of which PyTorch's compiler makes a kernel
        on_gpu = patch.multiple(
            linear,
            dropped=torch.ops.optuna_study.dropped,
            dropped_and_added=torch.ops.optuna_study.dropped_and_added,
        )
        with counter, again, blocks, on_gpu:
            bank.lay_out([Rows(slot, rows, 0, 1) for slot in range(slots)])
            states = model(**inputs).last_hidden_state
            torch.autograd.backward(states, torch.empty_like(states))
            in_passes = sum(counter.operations.values())
            bank.zero(range(slots))  # a step begins with it
            totals = torch.ones(slots, 2, dtype=torch.float64)
            bank.average_and_clip(range(slots), totals, [1.0] * slots)
            for block in optimizers.blocks(moves):
                optimizers.make(block)
        bank.close()
    operations = sum(counter.operations.values())
    in_update = operations - in_passes
    return Counted(operations, in_update, counter.syncs, counter.peak, slots * rows * tokens)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--layers", type=int, help="instead of the models' own number")
    options = parser.parse_args()
    print(
        "| model | recomputed | operations | of the update | syncs | KB per token | GB |\n"
        "|---|---|---|---|---|---|---|"
    )
    for name, (_, depth) in MODELS.items():
        for recomputes in (False, True):
            sizes = (options.slots, options.rows, options.tokens)
            found = counted(name, options.layers or depth, *sizes, recomputes)
            print(
                f"| {name} | {'yes' if recomputes else 'no'} | {found.operations:,} "
                f"| {found.in_update} | {found.syncs} | {found.bytes_per_token / 1e3:,.0f} "
                f"| {found.peak_bytes / 1e9:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
