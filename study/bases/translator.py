"""The embedded translator: a small NLLB and its tokenizer, trained on the embedded corpus.

The architecture is NLLB-200's own (`M2M100ForConditionalGeneration`, Costa-jussà et al. 2022) at a
fraction of its size, and the tokenizer is NLLB's class (`NllbTokenizer`: BPE; source and target
each begin with their language code).  The result is a plain Hugging Face folder, so the same code
loads and adapts the small base and facebook/nllb-200-distilled-600M.

It differs from NLLB in three ways: one language pair; no layer drop, and by default no dropout (a
base that LoRA adapts runs in evaluation mode); and pieces that never cross punctuation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.bases.building import (
    Miniature,
    ModelRole,
    Recipe,
    both_sides,
    enlarge_norms,
    even_batches,
    learn_pieces,
)
from study.data.embedded import Pair, petroleum_corpus
from study.spec.base_and_data import DataSpec
from study.tasks.losses import IGNORED

if TYPE_CHECKING:
    import torch

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")  # NLLB's, in NLLB's order


@dataclass(frozen=True)
class TranslatorRecipe(Recipe):
    """How a small translator is built.  The defaults take about 40 s on one core."""

    model_class = "M2M100ForConditionalGeneration"
    ffn: int = 256
    norm_gain: float = 20.0
    steps: int = 1500
    learning_rate: float = 5e-3
    dropout: float = 0.0
    vocabulary_size: int = 3200  # at most; little text has fewer pieces
    source_language: str = "eng_Latn"
    target_language: str = "fra_Latn"

    def new_tokenizer(self, pairs: Sequence[Pair]) -> Any:
        """Return an `NllbTokenizer` trained on both sides of `pairs`."""
        from transformers import NllbTokenizer

        pieces = learn_pieces(both_sides(pairs), self.vocabulary_size, SPECIAL_TOKENS)
        learned = json.loads(pieces.to_str())["model"]
        return NllbTokenizer(
            vocab=learned["vocab"],
            merges=[tuple(merge) for merge in learned["merges"]],
            extra_special_tokens=[self.source_language, self.target_language],
            src_lang=self.source_language,
            tgt_lang=self.target_language,
            model_max_length=512,
        )

    def new_config(self, tokenizer: Any) -> Any:
        """Return NLLB's configuration at the recipe's size."""
        from transformers import M2M100Config

        # all are set, since M2M100Config's default dropouts and layer drops are not zero
        return M2M100Config(
            vocab_size=len(tokenizer),
            d_model=self.width,
            encoder_layers=self.layers,
            decoder_layers=self.layers,
            encoder_attention_heads=self.heads,
            decoder_attention_heads=self.heads,
            encoder_ffn_dim=self.ffn,
            decoder_ffn_dim=self.ffn,
            dropout=self.dropout,
            attention_dropout=self.dropout,
            activation_dropout=0.0,
            encoder_layerdrop=0.0,
            decoder_layerdrop=0.0,
            init_std=self.init_std,
            max_position_embeddings=512,
        )

    def batches(self, pairs: Sequence[Pair], tokenizer: Any) -> Iterator[dict[str, torch.Tensor]]:
        """Yield endless inputs: input_ids, attention_mask and labels, each (B, T).

        They have NLLB's form: language code, text, end; cut to `max_tokens`.
        """
        import torch
        from torch.nn.utils.rnn import pad_sequence

        cut = {"truncation": True, "max_length": self.max_tokens}
        sources = tokenizer([pair.source for pair in pairs], **cut)["input_ids"]
        targets = tokenizer(text_target=[pair.target for pair in pairs], **cut)["input_ids"]
        pad = tokenizer.pad_token_id
        for positions in even_batches([len(target) for target in targets], self):
            input_ids = pad_sequence(
                [torch.tensor(sources[i]) for i in positions], batch_first=True, padding_value=pad
            )
            labels = [torch.tensor(targets[i]) for i in positions]
            yield {
                "input_ids": input_ids,
                "attention_mask": (input_ids != pad).long(),
                "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
            }

    def finish(self, model: Any) -> None:
        """Enlarge every norm, and divide the linears that read its output."""
        encoder, decoder = model.model.encoder, model.model.decoder
        crossing = [layer.encoder_attn for layer in decoder.layers]
        readers: list[tuple[Any, list[Any]]] = [
            (
                encoder.layer_norm,
                [
                    linear
                    for attention in crossing
                    for linear in (attention.k_proj, attention.v_proj)
                ],
            )
        ]
        for layer in (*encoder.layers, *decoder.layers):
            attention = layer.self_attn
            inputs = [attention.q_proj, attention.k_proj, attention.v_proj]
            readers.append((layer.self_attn_layer_norm, inputs))
            readers.append((layer.final_layer_norm, [layer.fc1]))
        readers += [
            (layer.encoder_attn_layer_norm, [layer.encoder_attn.q_proj]) for layer in decoder.layers
        ]
        enlarge_norms(readers, self.norm_gain)


def embedded(data: DataSpec, role: ModelRole) -> Miniature[TranslatorRecipe, Pair]:
    """Return the embedded corpus's base; it has no teacher."""
    rows = petroleum_corpus(data.seed).base_train
    return Miniature(TranslatorRecipe(seed=data.seed), rows)
