"""What building any small model needs: learnt pieces, seeded training, whole folders, a cache.

The bases themselves, their architectures and their corpora, stand in modules of their own.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from study.store.folders import appearing_whole, check_own

Progress = Callable[[int, int, float], None]
"""Called with step, total steps and loss."""

MANIFEST = "base.json"
LIBRARIES = ("torch", "transformers", "tokenizers")


class TrainingRecipe(Protocol):
    """How long and how fast a small model is trained."""

    @property
    def steps(self) -> int:
        """Optimizer steps."""

    @property
    def batch_size(self) -> int:
        """Examples a step."""

    @property
    def learning_rate(self) -> float:
        """Of AdamW, at its highest."""

    @property
    def warmup_fraction(self) -> float:
        """Of the steps, rising from zero."""

    @property
    def seed(self) -> int:
        """What initial weights and order of the examples are drawn from."""


class LlamaTraining(TrainingRecipe, Protocol):
    """The same for a model of Llama's layers."""

    @property
    def matrix_learning_rate(self) -> float:
        """Of Muon, for the layers' matrices."""

    @property
    def norm_gain(self) -> float:
        """What the norms are multiplied by in the end, and their readers divided by."""


# --- pieces --------------------------------------------------------------------------------------


def learn_pieces(texts: Iterable[str], size: int, special_tokens: Sequence[str]) -> Any:
    """Return a `tokenizers.Tokenizer` of at most `size` BPE pieces learnt from the texts.

    An apostrophe ends its piece, other punctuation stands alone.
    """
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
        vocab_size=size,
        special_tokens=list(special_tokens),
        limit_alphabet=max(size // 8, 100),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


# --- training ------------------------------------------------------------------------------------


def train_model(
    make: Callable[[], Any],
    batches: Iterable[Mapping[str, Any]],
    recipe: TrainingRecipe,
    progress: Progress | None,
    loss_of: Callable[[Any, Any], Any] = lambda model, batch: model(**batch).loss,
    optimizers_of: Callable[[Any], Sequence[Any]] | None = None,
) -> Any:
    """Make a model and train it; PyTorch's global generator is left as it was."""
    import torch
    from torch.optim.lr_scheduler import LambdaLR

    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = make().train()
        make_own = optimizers_of or (lambda model: [adamw(model.parameters(), recipe)])
        optimizers = make_own(model)
        schedules = [LambdaLR(each, lambda step: _pace(step, recipe)) for each in optimizers]
        for step, batch in zip(range(1, recipe.steps + 1), batches, strict=False):
            loss = loss_of(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for part in (*optimizers, *schedules):
                part.step()
            model.zero_grad()
            if progress is not None:
                progress(step, recipe.steps, loss.item())
    return model.eval()


def adamw(parameters: Iterable[Any], recipe: TrainingRecipe) -> Any:
    """Return the optimizer of a small model."""
    import torch

    return torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
    )


def muon_and_adamw(
    model: Any, layers: Any, recipe: TrainingRecipe, matrix_learning_rate: float
) -> list[Any]:
    """Return Muon for the matrices of a model's layers and AdamW for the rest.

    Jordan et al. 2024, "Muon": twice the progress of AdamW a step here, at the same price.
    """
    import torch

    matrices = [p for p in layers.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    muon = torch.optim.Muon(
        matrices, lr=matrix_learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    )
    return [adamw(others, recipe), muon]


def _pace(step: int, recipe: TrainingRecipe) -> float:
    """Return the learning rate's factor: linearly up in the warm-up, then linearly down to 0."""
    warmup = max(round(recipe.steps * recipe.warmup_fraction), 1)
    return min((step + 1) / warmup, (recipe.steps - step) / max(recipe.steps - warmup, 1))


def even_batches(lengths: Sequence[int], recipe: TrainingRecipe) -> Iterator[list[int]]:
    """Yield batches of positions without end, each of like lengths, reshuffled every epoch."""
    import torch

    generator = torch.Generator().manual_seed(recipe.seed)
    size = min(recipe.batch_size, len(lengths))
    while True:
        order = torch.randperm(len(lengths), generator=generator).tolist()
        pool = size * 32  # sorted by length within a pool, so that lengths and order stay random
        batches = []
        for start in range(0, len(order), pool):
            near = sorted(order[start : start + pool], key=lambda i: lengths[i])
            batches += [near[at : at + size] for at in range(0, len(near) - size + 1, size)]
        for position in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[position]


def enlarge_norms(readers: Iterable[tuple[Any, Sequence[Any]]], gain: float) -> None:
    """Multiply each norm's output by `gain` and divide the linears that read it: the same function.

    In a model of two layers a weight must move much further than in one of forty for the output to
    change as much.  Larger inputs to the adapted projections make up for the missing depth, so that
    the learning rates and α that suit the large model suit the miniature too.
    """
    import torch

    with torch.no_grad():
        for norm, linears in readers:
            for parameter in norm.parameters():
                parameter *= gain
            for linear in linears:
                linear.weight /= gain


def train_llama(
    make: Callable[[], Any],
    batches: Iterable[Mapping[str, Any]],
    recipe: LlamaTraining,
    progress: Progress | None,
    loss_of: Callable[[Any, Any], Any],
) -> Any:
    """Make a model of Llama's layers, causal or not, and train it; its norms are then enlarged."""

    def optimizers_of(model: Any) -> Sequence[Any]:
        return muon_and_adamw(model, model.model.layers, recipe, recipe.matrix_learning_rate)

    model = train_model(make, batches, recipe, progress, loss_of, optimizers_of)
    enlarge_norms(_llama_readers(model), recipe.norm_gain)
    return model


def _llama_readers(model: Any) -> list[tuple[Any, list[Any]]]:
    """Return every norm of a Llama's layers with the linears that read its output."""
    readers: list[tuple[Any, list[Any]]] = []
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        linears = [attention.q_proj, attention.k_proj, attention.v_proj]
        readers.append((layer.input_layernorm, linears))
        readers.append((layer.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj]))
    return readers


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


# --- folders and the cache -----------------------------------------------------------------------


def default_cache() -> Path:
    """Return where bases are kept: $OPTUNA_STUDY_CACHE or ~/.cache/optuna-study."""
    named = os.environ.get("OPTUNA_STUDY_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "optuna-study"


def cached(
    name: str, parts: Iterable[str], cache: Path | None, build: Callable[[Path], None]
) -> Path:
    """Return a folder of the cache, built on first use and named by a hash of all it depends on.

    `parts` are what it depends on beside the libraries' versions.  Two processes that ask at once
    build once; a damaged folder is built again.
    """
    cache = cache or default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    depends_on = [*parts, json.dumps(versions(), sort_keys=True)]
    folder = cache / f"{name}-{_digest(chr(10).join(depends_on).encode())[:16]}"
    check_own(folder, "folder")
    check_own(Path(f"{folder}.lock"), "file")
    with FileLock(f"{folder}.lock"):
        if not is_intact(folder):
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
    return folder


@contextmanager
def whole_folder(folder: Path, facts: Mapping[str, Any]) -> Iterator[Path]:
    """Yield an unfinished folder, which becomes `folder` with its manifest once all went well.

    Raises FileExistsError where `folder` exists.
    """
    if folder.exists():
        raise FileExistsError(
            f"base folder must not exist yet, but {folder} does: name another one"
        )
    with appearing_whole(folder) as unfinished:
        yield unfinished
        _write_manifest(unfinished, facts)


def _write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    files = {path.name: _digest(path.read_bytes()) for path in sorted(folder.iterdir())}
    manifest = {**facts, "versions": versions(), "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def is_intact(folder: Path) -> bool:
    """Tell whether `folder` is as `whole_folder` left it, byte for byte."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(_digest((folder / name).read_bytes()) == kept for name, kept in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def versions() -> dict[str, str]:
    """Return the versions of the libraries that a built model depends on."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def source_of(*files: str) -> list[str]:
    """Return this module's source and that of others: a base depends on how it is built."""
    return [Path(file).read_text(encoding="utf-8") for file in (__file__, *files)]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
