"""Build a small base model and its tokenizer from parallel text, and keep the embedded one cached.

The architecture is NLLB-200's own (`M2M100ForConditionalGeneration`, Costa-jussà et al. 2022) at a
fraction of its size, the tokenizer its class (`NllbTokenizer`: BPE, source prefixed with its
language code, target begun by the target's).  What is written is a plain Hugging Face folder, so
the small base and facebook/nllb-200-distilled-600M are loaded and adapted by the same code.

Where we differ from NLLB: one language pair, no dropout and no layer drop unless asked for (a base
that LoRA adapts runs in evaluation mode), and pieces that never cross punctuation.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from study.data.embedded import Pair, petroleum_corpus

if TYPE_CHECKING:
    import torch

Progress = Callable[[int, int, float], None]

MANIFEST = "base.json"
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")  # NLLB's, in NLLB's order
LIBRARIES = ("torch", "transformers", "tokenizers")
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
    norm_gain: float = 20.0  # see _enlarge_norms
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
    """Return the folder of the embedded corpus's base model, built on first use.

    The cache is `cache`, $OPTUNA_STUDY_CACHE or ~/.cache/optuna-study.  A folder is named by a hash
    of all that it depends on: corpus, recipe, this module's source and the libraries' versions.
    Two processes that ask at once build once; a damaged folder is built again.
    """
    recipe = BaseRecipe(seed=seed)
    pairs = petroleum_corpus(seed).base_train
    cache = cache or default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"embedded-{seed}-{_key(pairs, recipe)}"
    with FileLock(f"{folder}.lock"):
        if not is_intact(folder):
            shutil.rmtree(folder, ignore_errors=True)
            build_base(pairs, folder, recipe, progress)
    return folder


def default_cache() -> Path:
    """Return where bases are kept: $OPTUNA_STUDY_CACHE or ~/.cache/optuna-study."""
    named = os.environ.get("OPTUNA_STUDY_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "optuna-study"


def build_base(
    pairs: Sequence[Pair], folder: Path, recipe: BaseRecipe, progress: Progress | None = None
) -> None:
    """Train a tokenizer and a model on `pairs` and write both to `folder` in Hugging Face format.

    The folder appears whole or not at all.  The same pairs and recipe give the same bytes on the
    same machine and versions.  Raises FileExistsError where `folder` exists, ValueError where there
    are no pairs.
    """
    if folder.exists():
        raise FileExistsError(
            f"base folder must not exist yet, but {folder} does: name another one"
        )
    if not pairs:
        raise ValueError("a base needs at least one sentence pair to learn from, but got none")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        unfinished = Path(scratch) / "base"
        tokenizer = train_tokenizer(pairs, recipe)
        model = _train(pairs, tokenizer, recipe, progress)
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        _write_manifest(unfinished, recipe, len(pairs))
        unfinished.rename(folder)


# --- the tokenizer -------------------------------------------------------------------------------


def train_tokenizer(pairs: Sequence[Pair], recipe: BaseRecipe) -> Any:
    """Return an `NllbTokenizer` whose BPE pieces are learnt from both sides of `pairs`."""
    from transformers import NllbTokenizer

    learnt = json.loads(_learn_pieces(pairs, recipe).to_str())["model"]
    return NllbTokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(merge) for merge in learnt["merges"]],
        extra_special_tokens=[recipe.source_language, recipe.target_language],
        src_lang=recipe.source_language,
        tgt_lang=recipe.target_language,
        model_max_length=512,
    )


def _learn_pieces(pairs: Sequence[Pair], recipe: BaseRecipe) -> Any:
    """Return learnt BPE: an apostrophe ends its piece, other punctuation stands alone."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True),
            pre_tokenizers.Split(Regex("['’]"), behavior="merged_with_previous"),
            pre_tokenizers.Split(Regex(r"[^\w\s▁'’-]"), behavior="isolated"),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        limit_alphabet=max(recipe.vocabulary_size // 8, 100),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for pair in pairs for text in _both(pair)), trainer)
    return tokenizer


def _both(pair: Pair) -> tuple[str, str]:
    return pair.source, pair.target


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
    import torch

    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = new_model(recipe, tokenizer).train()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _pace(step, recipe))
        batches = _batches(_encode(pairs, tokenizer, recipe), recipe)
        for step, batch in zip(range(1, recipe.steps + 1), batches, strict=False):
            loss = model(**_collate(batch, tokenizer.pad_token_id)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if progress is not None:
                progress(step, recipe.steps, loss.item())
    _enlarge_norms(model, recipe.norm_gain)
    return model.eval()


def _enlarge_norms(model: Any, gain: float) -> None:
    """Multiply the norms' output by `gain` and divide the weights that read it: the same function.

    In a model of two layers a weight must move much further than in one of forty for the output to
    change as much.  Larger inputs to the adapted projections make up for the missing depth, so that
    the learning rates and α that suit NLLB suit the miniature too.
    """
    import torch

    encoder, decoder = model.model.encoder, model.model.decoder
    crossing = [layer.encoder_attn for layer in decoder.layers]
    readers: list[tuple[Any, list[Any]]] = [
        (encoder.layer_norm, [linear for each in crossing for linear in (each.k_proj, each.v_proj)])
    ]
    for layer in (*encoder.layers, *decoder.layers):
        own = layer.self_attn
        readers.append((layer.self_attn_layer_norm, [own.q_proj, own.k_proj, own.v_proj]))
        readers.append((layer.final_layer_norm, [layer.fc1]))
    readers += [
        (each.encoder_attn_layer_norm, [each.encoder_attn.q_proj]) for each in decoder.layers
    ]
    with torch.no_grad():
        for norm, linears in readers:
            norm.weight *= gain
            norm.bias *= gain
            for linear in linears:
                linear.weight /= gain


def _pace(step: int, recipe: BaseRecipe) -> float:
    """Return the learning rate's factor: linearly up in the warm-up, then linearly down to 0."""
    warmup = max(round(recipe.steps * recipe.warmup_fraction), 1)
    return min((step + 1) / warmup, (recipe.steps - step) / max(recipe.steps - warmup, 1))


Encoded = tuple[list[int], list[int]]  # source and target ids of one pair


def _encode(pairs: Sequence[Pair], tokenizer: Any, recipe: BaseRecipe) -> list[Encoded]:
    """Return the pairs as ids, in NLLB's form: language code, text, end; cut to `max_tokens`."""
    cut = {"truncation": True, "max_length": recipe.max_tokens}
    sources = tokenizer([pair.source for pair in pairs], **cut)["input_ids"]
    targets = tokenizer(text_target=[pair.target for pair in pairs], **cut)["input_ids"]
    return list(zip(sources, targets, strict=True))


def _batches(encoded: Sequence[Encoded], recipe: BaseRecipe) -> Iterator[list[Encoded]]:
    """Yield batches without end, each of sentences of like length, reshuffled every epoch."""
    import torch

    generator = torch.Generator().manual_seed(recipe.seed)
    size = min(recipe.batch_size, len(encoded))
    while True:
        order = torch.randperm(len(encoded), generator=generator).tolist()
        pool = size * 32  # sorted by length within a pool, so that lengths and order stay random
        batches = []
        for start in range(0, len(order), pool):
            near = sorted(order[start : start + pool], key=lambda i: len(encoded[i][1]))
            batches += [near[at : at + size] for at in range(0, len(near) - size + 1, size)]
        for position in torch.randperm(len(batches), generator=generator).tolist():
            yield [encoded[index] for index in batches[position]]


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


@contextmanager
def _one_thread() -> Iterator[None]:
    """On a model this small a second thread costs more than it gives, and changes the sums."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- the cache -----------------------------------------------------------------------------------


def is_intact(folder: Path) -> bool:
    """Tell whether `folder` holds a base as `build_base` wrote it, byte for byte."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(_digest((folder / name).read_bytes()) == kept for name, kept in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _write_manifest(folder: Path, recipe: BaseRecipe, pair_count: int) -> None:
    manifest = {
        "recipe": asdict(recipe),
        "pairs": pair_count,
        "versions": _versions(),
        "files": {path.name: _digest(path.read_bytes()) for path in sorted(folder.iterdir())},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _key(pairs: Sequence[Pair], recipe: BaseRecipe) -> str:
    """Return a short hash of everything an embedded base depends on."""
    parts = [
        json.dumps(asdict(recipe), sort_keys=True),
        json.dumps(_versions(), sort_keys=True),
        Path(__file__).read_text(encoding="utf-8"),
        *(f"{pair.source}\t{pair.target}" for pair in pairs),
    ]
    return _digest("\n".join(parts).encode())[:16]


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
