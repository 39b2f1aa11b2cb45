"""The embedded masked-diffusion miniature: a small Llama without causal mask, cached.

That is LLaDA's architecture (Nie et al. 2025, arXiv:2502.09992), and in transformers EuroBERT's
(`EuroBertForMaskedLM`, Boizard et al. 2025, arXiv:2503.05500), here at a fraction of its size.  It
is trained by LLaDA's objective on the base's part of the embedded instructions, answers masked and
prompts not, and never on a scored split.
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
    even_batches,
    learn_pieces,
    source_of,
    train_llama,
    whole_folder,
)
from study.data.embedded import Pair, instruction_corpus
from study.data.instructions import InstructionFormat, Row
from study.spec.diffusion import DiffusionSpec
from study.spec.sections import DataSpec
from study.tasks import noise
from study.tasks.losses import IGNORED, masked_diffusion
from study.tasks.noise import counted_masks

if TYPE_CHECKING:
    import torch

SPECIAL_TOKENS = ("[PAD]", "<unk>", "[CLS]", "[SEP]", "[MASK]")  # BERT's, in its order


@dataclass(frozen=True)
class MaskedRecipe:
    """How a small base is built.  The defaults give the embedded one."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    ffn: int = 176
    init_std: float = 0.05
    norm_gain: float = 4.0  # see enlarge_norms
    vocabulary_size: int = 1_000  # an upper limit
    max_tokens: int = 96  # longer texts are cut
    length: int = 16  # of an answer's region
    steps: int = 900
    batch_size: int = 32
    learning_rate: float = 2e-2  # of embedding and norms
    matrix_learning_rate: float = 7e-3  # of all between them
    warmup_fraction: float = 0.1
    seed: int = 0


def embedded_masked(
    seed: int = 0, progress: Progress | None = None, cache: Path | None = None
) -> Path:
    """Return the folder of the embedded instructions' base model, built on first use."""
    recipe = MaskedRecipe(seed=seed)
    pairs = embedded_pairs(seed)
    texts = [f"{pair.source}\t{pair.target}" for pair in pairs]
    return cached(
        f"embedded-instructions-{seed}",
        [json.dumps(asdict(recipe), sort_keys=True), *source_of(__file__, noise.__file__), *texts],
        cache,
        lambda folder: build_masked(pairs, folder, recipe, progress),
    )


def embedded_pairs(seed: int) -> list[Pair]:
    """Return what the embedded base learns from."""
    return [Pair(row.source, row.target) for row in instruction_corpus(seed).base_train]


def build_masked(
    pairs: Sequence[Pair], folder: Path, recipe: MaskedRecipe, progress: Progress | None = None
) -> None:
    """Train a tokenizer and a model on instructions and answers; write both to `folder`.

    The folder appears whole or not at all.
    """
    if not pairs:
        raise ValueError("a base needs at least one instruction to learn from, but got none")
    with whole_folder(folder, {"recipe": asdict(recipe), "pairs": len(pairs)}) as unfinished:
        tokenizer = train_tokenizer(pairs, recipe)
        model = _train(pairs, tokenizer, recipe, progress)
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)


def train_tokenizer(pairs: Sequence[Pair], recipe: MaskedRecipe) -> Any:
    """Return a fast tokenizer with BERT's marks, pieces learnt from both sides."""
    from tokenizers import decoders
    from transformers import PreTrainedTokenizerFast

    texts = [text for pair in pairs for text in (pair.source, pair.target)]
    pieces = learn_pieces(texts, recipe.vocabulary_size, SPECIAL_TOKENS)
    pieces.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        pad_token="[PAD]",
        unk_token="<unk>",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def new_model(recipe: MaskedRecipe, tokenizer: Any) -> Any:
    """Return the model with random weights; draws from torch's global generator."""
    from transformers import EuroBertConfig, EuroBertForMaskedLM

    config = EuroBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.ffn,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=recipe.init_std,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
        mask_token_id=tokenizer.mask_token_id,
    )
    return EuroBertForMaskedLM(config)


def _train(
    pairs: Sequence[Pair], tokenizer: Any, recipe: MaskedRecipe, progress: Progress | None
) -> Any:
    data = DataSpec(max_tokens=recipe.max_tokens, instruction="")
    settings = DiffusionSpec(length=recipe.length, steps=1, block_length=recipe.length)
    form = InstructionFormat(tokenizer, data, settings)
    rows = [form.row(pair) for pair in pairs]
    return train_llama(
        lambda: new_model(recipe, tokenizer),
        _batches(rows, recipe, form),
        recipe,
        progress,
        _loss,
    )


def _batches(
    rows: Sequence[Row], recipe: MaskedRecipe, form: InstructionFormat
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield rows with some tokens of each answer masked: tensors (B, T), and scale (B,)."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    generator = torch.Generator().manual_seed(recipe.seed)
    for positions in even_batches([len(row.prompt) + len(row.answer) for row in rows], recipe):
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


def _loss(model: Any, batch: Any) -> torch.Tensor:
    """Return LLaDA's objective, mean over the rows."""
    from study.tasks.token_logits import token_logits

    labels, scale = batch.pop("labels"), batch.pop("scale")
    masked = labels != IGNORED
    logits = token_logits(model, batch, masked)
    return masked_diffusion(logits, labels, masked, scale).mean()
