"""Build a small base model and its tokenizer from parallel text, and keep the embedded one cached.

The architecture is NLLB-200's own (`M2M100ForConditionalGeneration`, Costa-jussà et al. 2022) at a
fraction of its size, the tokenizer its class (`NllbTokenizer`: BPE, source prefixed with its
language code, target begun by the target's).  What is written is a plain Hugging Face folder, so
the small base and facebook/nllb-200-distilled-600M are loaded and adapted by the same code.

Where we differ from NLLB: one language pair, no dropout and no layer drop unless asked for (a base
that LoRA adapts runs in evaluation mode), and pieces that never cross punctuation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.bases.building import (
    Progress,
    cached,
    enlarge_norms,
    even_batches,
    learn_pieces,
    source_of,
    train_model,
    whole_folder,
)
from study.data.embedded import Pair, petroleum_corpus

if TYPE_CHECKING:
    import torch

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")  # NLLB's, in NLLB's order
IGNORED = -100  # a label that counts for nothing


@dataclass(frozen=True)
class BaseRecipe:
    """How a small base is built.  The defaults give the embedded one in about 40 s on one core."""

    d_model: int = 64
    layers: int = 2  # encoder and decoder each
    heads: int = 4
    ffn: int = 256
    dropout: float = 0.0
    init_std: float = 0.05
    norm_gain: float = 20.0  # see enlarge_norms
    vocabulary_size: int = 3200  # an upper limit: little text has fewer pieces
    max_tokens: int = 48  # longer sentences are cut
    steps: int = 1500
    batch_size: int = 32
    learning_rate: float = 5e-3
    warmup_fraction: float = 0.1
    seed: int = 0
    source_language: str = "eng_Latn"
    target_language: str = "fra_Latn"


def embedded_base(
    seed: int = 0, progress: Progress | None = None, cache: Path | None = None
) -> Path:
    """Return the folder of the embedded corpus's base model, built on first use."""
    recipe = BaseRecipe(seed=seed)
    pairs = petroleum_corpus(seed).base_train
    texts = [f"{pair.source}\t{pair.target}" for pair in pairs]
    depends_on = [json.dumps(asdict(recipe), sort_keys=True), *source_of(__file__), *texts]
    return cached(
        f"embedded-{seed}",
        depends_on,
        cache,
        lambda folder: build_base(pairs, folder, recipe, progress),
    )


def build_base(
    pairs: Sequence[Pair], folder: Path, recipe: BaseRecipe, progress: Progress | None = None
) -> None:
    """Train a tokenizer and a model on `pairs` and write both to `folder` in Hugging Face format.

    The folder appears whole or not at all.  The same pairs and recipe give the same bytes on the
    same machine and versions.  Raises FileExistsError where `folder` exists, ValueError where there
    are no pairs.
    """
    if not pairs:
        raise ValueError("a base needs at least one sentence pair to learn from, but got none")
    with whole_folder(folder, {"recipe": asdict(recipe), "pairs": len(pairs)}) as unfinished:
        tokenizer = train_tokenizer(pairs, recipe)
        model = _train(pairs, tokenizer, recipe, progress)
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)


# --- the tokenizer -------------------------------------------------------------------------------


def train_tokenizer(pairs: Sequence[Pair], recipe: BaseRecipe) -> Any:
    """Return an `NllbTokenizer` whose BPE pieces are learnt from both sides of `pairs`."""
    from transformers import NllbTokenizer

    texts = (text for pair in pairs for text in (pair.source, pair.target))
    pieces = learn_pieces(texts, recipe.vocabulary_size, SPECIAL_TOKENS)
    learnt = json.loads(pieces.to_str())["model"]
    return NllbTokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(merge) for merge in learnt["merges"]],
        extra_special_tokens=[recipe.source_language, recipe.target_language],
        src_lang=recipe.source_language,
        tgt_lang=recipe.target_language,
        model_max_length=512,
    )


# --- the model -----------------------------------------------------------------------------------


def new_model(recipe: BaseRecipe, tokenizer: Any) -> Any:
    """Return the model with random weights; draws from torch's global generator."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    # M2M100Config's own dropouts and layer drops are not zero: all are named here.
    config = M2M100Config(
        vocab_size=len(tokenizer),
        d_model=recipe.d_model,
        encoder_layers=recipe.layers,
        decoder_layers=recipe.layers,
        encoder_attention_heads=recipe.heads,
        decoder_attention_heads=recipe.heads,
        encoder_ffn_dim=recipe.ffn,
        decoder_ffn_dim=recipe.ffn,
        dropout=recipe.dropout,
        attention_dropout=recipe.dropout,
        activation_dropout=0.0,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        init_std=recipe.init_std,
        max_position_embeddings=512,
    )
    return M2M100ForConditionalGeneration(config)


def _train(
    pairs: Sequence[Pair], tokenizer: Any, recipe: BaseRecipe, progress: Progress | None
) -> Any:
    batches = _batches(_encode(pairs, tokenizer, recipe), recipe)
    collated = (_collate(batch, tokenizer.pad_token_id) for batch in batches)
    model = train_model(lambda: new_model(recipe, tokenizer), collated, recipe, progress)
    enlarge_norms(_readers(model), recipe.norm_gain)
    return model


def _readers(model: Any) -> list[tuple[Any, list[Any]]]:
    """Return every norm with the linears that read its output."""
    encoder, decoder = model.model.encoder, model.model.decoder
    crossing = [layer.encoder_attn for layer in decoder.layers]
    readers: list[tuple[Any, list[Any]]] = [
        (encoder.layer_norm, [linear for each in crossing for linear in (each.k_proj, each.v_proj)])
    ]
    for layer in (*encoder.layers, *decoder.layers):
        own = layer.self_attn
        readers.append((layer.self_attn_layer_norm, [own.q_proj, own.k_proj, own.v_proj]))
        readers.append((layer.final_layer_norm, [layer.fc1]))
    return readers + [
        (each.encoder_attn_layer_norm, [each.encoder_attn.q_proj]) for each in decoder.layers
    ]


Encoded = tuple[list[int], list[int]]  # source and target ids of one pair


def _encode(pairs: Sequence[Pair], tokenizer: Any, recipe: BaseRecipe) -> list[Encoded]:
    """Return the pairs as ids, in NLLB's form: language code, text, end; cut to `max_tokens`."""
    cut = {"truncation": True, "max_length": recipe.max_tokens}
    sources = tokenizer([pair.source for pair in pairs], **cut)["input_ids"]
    targets = tokenizer(text_target=[pair.target for pair in pairs], **cut)["input_ids"]
    return list(zip(sources, targets, strict=True))


def _batches(encoded: Sequence[Encoded], recipe: BaseRecipe) -> Iterator[list[Encoded]]:
    for positions in even_batches([len(target) for _, target in encoded], recipe):
        yield [encoded[position] for position in positions]


def _collate(batch: Sequence[Encoded], pad: int) -> dict[str, torch.Tensor]:
    """Return the model's inputs: input_ids, attention_mask, labels, each (B, T)."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    sources = [torch.tensor(source) for source, _ in batch]
    targets = [torch.tensor(target) for _, target in batch]
    input_ids = pad_sequence(sources, batch_first=True, padding_value=pad)
    return {
        "input_ids": input_ids,
        "attention_mask": (input_ids != pad).long(),
        "labels": pad_sequence(targets, batch_first=True, padding_value=IGNORED),
    }
