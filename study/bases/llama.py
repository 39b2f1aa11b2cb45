"""The embedded Llama: a student and a larger teacher with the same tokenizer.

The architecture is Llama 3's own (`LlamaForCausalLM`, Grattafiori et al. 2024: RMSNorm, rotary
positions, grouped queries, SwiGLU, tied embeddings as in 3.2) at a fraction of its size; the
tokenizer is a BPE with Llama 3's special tokens and chat template.  Both models answer the chat's
question with a translation.  The student has read what the embedded base has read: mostly everyday
text, and petroleum text more often in an outsider's words than in the trade's.  The larger teacher
has read new petroleum sentences in the trade's words, none of them from a scored split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from study.bases.building import (
    Miniature,
    ModelRole,
    Recipe,
    both_sides,
    common_sizes,
    enlarge_norms,
    even_batches,
    fast_tokenizer,
)
from study.data import chat
from study.data.embedded import CorpusRecipe, Pair, petroleum_corpus
from study.kinds.chat_templates import LLAMA3_TEMPLATE
from study.spec.base_and_data import INSTRUCTION, DataSpec
from study.tasks.losses import IGNORED
from study.tasks.token_logits import token_logits

if TYPE_CHECKING:
    import torch

SPECIAL_TOKENS = (
    "<unk>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|pad|>",
    chat.HEADER,
    "<|end_header_id|>",
    chat.END_OF_TURN,
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "\n\n",
)


@dataclass(frozen=True)
class LlamaRecipe(Recipe):
    """How the student or the teacher is built.  The defaults give the student."""

    model_class = "LlamaForCausalLM"
    key_value_heads: int = 2
    vocabulary_size: int = 3200  # at most; little text has fewer pieces

    def new_tokenizer(self, pairs: Sequence[Pair]) -> Any:
        """Return a fast tokenizer with Llama 3's special tokens, trained on both sides."""
        texts = both_sides(pairs)
        format_texts = [INSTRUCTION, "system", "user", "assistant"] * 100  # one piece per role
        return fast_tokenizer(
            [*texts, *format_texts],
            self.vocabulary_size,
            SPECIAL_TOKENS,
            unk_token="<unk>",
            bos_token="<|begin_of_text|>",
            eos_token=chat.END_OF_TURN,
            pad_token="<|pad|>",
            chat_template=LLAMA3_TEMPLATE,
        )

    def new_config(self, tokenizer: Any) -> Any:
        """Return Llama's configuration at the recipe's size."""
        from transformers import LlamaConfig

        return LlamaConfig(
            **common_sizes(self, tokenizer),
            num_key_value_heads=self.key_value_heads,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )

    def batches(self, pairs: Sequence[Pair], tokenizer: Any) -> Iterator[dict[str, torch.Tensor]]:
        """Yield endless inputs: input_ids and labels (answers only), each (B, T)."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        # the miniature ends its turns like any chat model; a study trains the stop token later
        form = chat.ChatFormat(tokenizer, INSTRUCTION, chat.END_OF_TURN, self.max_tokens)
        dialogues = [form.dialogue(pair.source, pair.target) for pair in pairs]
        for positions in even_batches([len(d.prompt) + len(d.answer) for d in dialogues], self):
            chosen = [dialogues[position] for position in positions]
            ids = [torch.tensor(d.prompt + d.answer) for d in chosen]
            answers = [torch.tensor((IGNORED,) * len(d.prompt) + d.answer) for d in chosen]
            yield {
                "input_ids": pad_sequence(
                    ids, batch_first=True, padding_value=tokenizer.pad_token_id
                ),
                "labels": pad_sequence(answers, batch_first=True, padding_value=IGNORED),
            }

    def loss(self, model: Any, batch: Any) -> torch.Tensor:
        """Return the token cross-entropy of the answers.

        Needs no mask: attention is causal, and padding comes after everything that counts.
        """
        from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

        # a position's label is the next token; the last position has none
        labels = F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)  # (B, T)
        answered = labels != IGNORED
        logits = token_logits(model, {"input_ids": batch["input_ids"]}, answered)
        return F.cross_entropy(logits, labels[answered])

    def layers_for_muon(self, model: Any) -> Any:
        """Return Llama's layers."""
        return model.model.layers

    def finish(self, model: Any) -> None:
        """Enlarge the norms."""
        enlarge_llama_norms(model, self.norm_gain)


STUDENT = LlamaRecipe()
TEACHER = LlamaRecipe(width=96, ffn=256, steps=600)
TRADE = CorpusRecipe(base_general=6_000, base_lay=0, base_expert=10_000)
"""What the teacher has read."""


def embedded(data: DataSpec, role: ModelRole) -> Miniature[LlamaRecipe, Pair]:
    """Return the embedded student or teacher; both use the vocabulary of the student's text."""
    everyday = petroleum_corpus(data.seed).base_train
    if role == "base":
        return Miniature(replace(STUDENT, seed=data.seed), everyday)
    trade = petroleum_corpus(data.seed, TRADE).base_train
    return Miniature(replace(TEACHER, seed=data.seed), trade, vocabulary_rows=everyday)


def enlarge_llama_norms(model: Any, gain: float) -> None:
    """Enlarge the norms of a model with Llama's layers, causal or not."""
    readers = []
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        linears = [attention.q_proj, attention.k_proj, attention.v_proj]
        readers.append((layer.input_layernorm, linears))
        readers.append((layer.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj]))
    enlarge_norms(readers, gain)
