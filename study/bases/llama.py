"""The embedded Llama miniature: a student and a larger teacher of one tokenizer, cached.

The architecture is Llama 3's own (`LlamaForCausalLM`, Grattafiori et al. 2024: RMSNorm, rotary
positions, grouped queries, SwiGLU, tied embeddings as in 3.2) at a fraction of its size, the
tokenizer a BPE with Llama 3's marks and chat template.  Both models answer the chat's question with
a translation.  The student has read what the embedded base has read: mostly everyday text, and
petroleum text more often in an outsider's words than in the trade's.  The teacher is larger and has
read the trade: new petroleum sentences in its own words, none of any scored split.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from study.bases.building import (
    Progress,
    cached,
    even_batches,
    learn_pieces,
    source_of,
    train_llama,
    whole_folder,
)
from study.data import chat
from study.data.embedded import CorpusRecipe, Pair, petroleum_corpus
from study.spec.sections import INSTRUCTION
from study.tasks.losses import IGNORED

if TYPE_CHECKING:
    import torch

Part = Literal["base", "teacher"]
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
class LlamaRecipe:
    """How one of the two is built.  The defaults give the student."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    key_value_heads: int = 2
    ffn: int = 176
    init_std: float = 0.05
    norm_gain: float = 4.0  # see enlarge_norms
    vocabulary_size: int = 3200  # an upper limit
    max_tokens: int = 48  # longer sides are cut
    steps: int = 700
    batch_size: int = 32
    learning_rate: float = 2e-2  # of embedding and norms
    matrix_learning_rate: float = 7e-3  # of all between them
    warmup_fraction: float = 0.1
    seed: int = 0


STUDENT = LlamaRecipe()
TEACHER = LlamaRecipe(width=96, ffn=256, steps=600)
TRADE = CorpusRecipe(base_general=6_000, base_lay=0, base_expert=10_000)
"""What the teacher has read."""


def embedded_llama(
    part: Part, seed: int = 0, progress: Progress | None = None, cache: Path | None = None
) -> Path:
    """Return the folder of the embedded student or teacher, built on first use."""
    recipe = replace(STUDENT if part == "base" else TEACHER, seed=seed)
    pieces_from = petroleum_corpus(seed).base_train
    pairs = pieces_from if part == "base" else petroleum_corpus(seed, TRADE).base_train
    texts = [f"{pair.source}\t{pair.target}" for pair in (*pieces_from, *pairs)]
    recipes = json.dumps(asdict(recipe), sort_keys=True)
    return cached(
        f"embedded-llama-{part}-{seed}",
        [recipes, *source_of(__file__, chat.__file__), *texts],
        cache,
        lambda folder: build_llama(pairs, folder, recipe, progress, pieces_from),
    )


def build_llama(
    pairs: Sequence[Pair],
    folder: Path,
    recipe: LlamaRecipe,
    progress: Progress | None = None,
    pieces_from: Sequence[Pair] | None = None,
) -> None:
    """Train a model on `pairs` and write it with its tokenizer in Hugging Face format.

    The pieces are learnt from `pieces_from`, else from `pairs`: models that share it share their
    vocabulary.  The folder appears whole or not at all.
    """
    if not pairs:
        raise ValueError("a base needs at least one sentence pair to learn from, but got none")
    with whole_folder(folder, {"recipe": asdict(recipe), "pairs": len(pairs)}) as unfinished:
        tokenizer = train_tokenizer(pieces_from or pairs, recipe)
        model = _train(pairs, tokenizer, recipe, progress)
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)


def train_tokenizer(pairs: Sequence[Pair], recipe: LlamaRecipe) -> Any:
    """Return a fast tokenizer with Llama 3's marks and template, pieces learnt from both sides."""
    from tokenizers import decoders
    from transformers import PreTrainedTokenizerFast

    texts = [text for pair in pairs for text in (pair.source, pair.target)]
    format_texts = [INSTRUCTION, "system", "user", "assistant"] * 100  # one piece a role
    pieces = learn_pieces([*texts, *format_texts], recipe.vocabulary_size, SPECIAL_TOKENS)
    pieces.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        unk_token="<unk>",
        bos_token="<|begin_of_text|>",
        eos_token=chat.END_OF_TURN,
        pad_token="<|pad|>",
        model_max_length=512,
        chat_template=chat.LLAMA3_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def new_model(recipe: LlamaRecipe, tokenizer: Any) -> Any:
    """Return the model with random weights; draws from torch's global generator."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.ffn,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=recipe.init_std,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def _train(
    pairs: Sequence[Pair], tokenizer: Any, recipe: LlamaRecipe, progress: Progress | None
) -> Any:
    # the miniature ends its turns as any chat model does; the stop token is what is learnt later
    form = chat.ChatFormat(tokenizer, INSTRUCTION, chat.END_OF_TURN, recipe.max_tokens)
    dialogues = [form.dialogue(pair.source, pair.target) for pair in pairs]
    batches = _batches(dialogues, recipe, tokenizer.pad_token_id)
    return train_llama(
        lambda: new_model(recipe, tokenizer),
        batches,
        recipe,
        progress,
        _loss,
    )


def _loss(model: Any, batch: Any) -> torch.Tensor:
    """Return the token cross-entropy; half of the time is the output head's, so only answers."""
    from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

    labels = batch.pop("labels")[:, 1:]  # (B, T - 1)
    # no mask: attention is causal, and padding stands on the right of all that counts
    hidden = model.model(**batch).last_hidden_state[:, :-1]  # (B, T - 1, D)
    answered = labels != IGNORED
    return F.cross_entropy(model.lm_head(hidden[answered]), labels[answered])


def _batches(
    dialogues: Sequence[chat.Dialogue], recipe: LlamaRecipe, pad: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the model's inputs: input_ids, attention_mask, labels (answers only), each (B, T)."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    lengths = [len(d.prompt) + len(d.answer) for d in dialogues]
    for positions in even_batches(lengths, recipe):
        chosen = [dialogues[position] for position in positions]
        ids = [torch.tensor(d.prompt + d.answer) for d in chosen]
        answers = [torch.tensor((IGNORED,) * len(d.prompt) + d.answer) for d in chosen]
        input_ids = pad_sequence(ids, batch_first=True, padding_value=pad)
        yield {
            "input_ids": input_ids,
            "labels": pad_sequence(answers, batch_first=True, padding_value=IGNORED),
        }
