"""The embedded masked-diffusion model: a small Llama without a causal mask.

This is the architecture of LLaDA (Nie et al. 2025, arXiv:2502.09992) and, in transformers, of
EuroBERT (`EuroBertForMaskedLM`, Boizard et al. 2025, arXiv:2503.05500) at a fraction of its size.
It is trained with LLaDA's objective on the base's share of the embedded instructions, never on a
scored split; only answers are masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.bases.building import (
    Miniature,
    ModelRole,
    Recipe,
    both_sides,
    common_sizes,
    even_batches,
    fast_tokenizer,
)
from study.bases.llama import enlarge_llama_norms
from study.data.embedded import Pair, instruction_corpus
from study.data.instructions import InstructionFormat
from study.spec.base_and_data import DataSpec
from study.spec.diffusion import DiffusionSpec
from study.tasks.losses import IGNORED, masked_diffusion
from study.tasks.noise import counted_masks
from study.tasks.token_logits import token_logits

if TYPE_CHECKING:
    import torch

SPECIAL_TOKENS = ("[PAD]", "<unk>", "[CLS]", "[SEP]", "[MASK]")  # BERT's, in its order


@dataclass(frozen=True)
class MaskedRecipe(Recipe):
    """How a small masked-diffusion model is built.  The defaults give the embedded one."""

    model_class = "EuroBertForMaskedLM"
    max_tokens: int = 96
    steps: int = 900
    vocabulary_size: int = 1_000  # at most; little text has fewer pieces
    length: int = 16  # tokens per answer

    def new_tokenizer(self, pairs: Sequence[Pair]) -> Any:
        """Return a fast tokenizer with BERT's special tokens, trained on both sides of `pairs`."""
        texts = both_sides(pairs)
        return fast_tokenizer(
            texts,
            self.vocabulary_size,
            SPECIAL_TOKENS,
            pad_token="[PAD]",
            unk_token="<unk>",
            cls_token="[CLS]",
            sep_token="[SEP]",
            mask_token="[MASK]",
        )

    def new_config(self, tokenizer: Any) -> Any:
        """Return EuroBERT's configuration at the recipe's size."""
        from transformers import EuroBertConfig

        return EuroBertConfig(
            **common_sizes(self, tokenizer),
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
            mask_token_id=tokenizer.mask_token_id,
        )

    def batches(self, pairs: Sequence[Pair], tokenizer: Any) -> Iterator[dict[str, torch.Tensor]]:
        """Yield endless rows (B, T), some tokens of each answer masked, and their scale (B,)."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        data = DataSpec(max_tokens=self.max_tokens, instruction="")
        settings = DiffusionSpec(length=self.length, steps=1, block_length=self.length)
        form = InstructionFormat(tokenizer, data, settings)
        rows = [form.row(pair) for pair in pairs]
        generator = torch.Generator().manual_seed(self.seed)
        for positions in even_batches([len(row.prompt) + len(row.answer) for row in rows], self):
            chosen = [rows[position] for position in positions]
            ids = pad_sequence(
                [torch.tensor(row.prompt + row.answer) for row in chosen],
                batch_first=True,
                padding_value=form.end,
            )
            drawn = [counted_masks(len(row.answer), 1, generator) for row in chosen]
            masked = pad_sequence(
                [
                    torch.cat([torch.zeros(len(row.prompt), dtype=torch.bool), masks[:, 0]])
                    for row, (masks, _) in zip(chosen, drawn, strict=True)
                ],
                batch_first=True,
            )
            lengths = torch.tensor([len(row.prompt) + len(row.answer) for row in chosen])
            yield {
                "input_ids": ids.masked_fill(masked, form.mask),
                "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long(),
                "labels": ids.masked_fill(~masked, IGNORED),
                "scale": torch.cat([scale for _, scale in drawn]),
            }

    def loss(self, model: Any, batch: Any) -> torch.Tensor:
        """Return LLaDA's objective, averaged over the rows."""
        labels, scale = batch.pop("labels"), batch.pop("scale")
        masked = labels != IGNORED
        logits = token_logits(model, batch, masked)
        return masked_diffusion(logits, labels, masked, scale).mean()

    def layers_for_muon(self, model: Any) -> Any:
        """Return EuroBERT's layers."""
        return model.model.layers

    def finish(self, model: Any) -> None:
        """Enlarge the norms."""
        enlarge_llama_norms(model, self.norm_gain)


def embedded(data: DataSpec, role: ModelRole) -> Miniature[MaskedRecipe, Pair]:
    """Return the embedded instructions' base; it has no teacher."""
    rows = instruction_corpus(data.seed).base_train
    return Miniature(MaskedRecipe(seed=data.seed), [Pair(r.source, r.target) for r in rows])
