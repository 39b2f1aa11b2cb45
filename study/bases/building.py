"""What a miniature is and how it is built: its recipe, its training, its folder.

Each architecture has a recipe, and the text that it learns from, in a module of its own;
`study/bases/miniatures.py` lists them all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from study.bases.cache import library_versions, whole_folder

if TYPE_CHECKING:
    from study.data.embedded import Pair

ModelRole = Literal["base", "teacher"]
StepCallback = Callable[[int, int, float], None]
"""Called with the step, the number of steps and the loss while a miniature is trained."""


@dataclass(frozen=True)
class Recipe:
    """The size of a miniature, how it is made and how it is trained.

    Each architecture has its own recipe, with its own defaults.  The cache does not see the source:
    raise `version` when you change what a method returns for the same recipe and rows, not when you
    only rewrite it.
    """

    version: ClassVar[int] = 1
    model_class: ClassVar[str]  # transformers' class that makes a model of the configuration
    width: int = 64
    layers: int = 2
    heads: int = 4
    ffn: int = 176
    init_std: float = 0.05
    norm_gain: float = 4.0  # see enlarge_norms
    max_tokens: int = 48  # longer texts are cut
    steps: int = 700
    batch_size: int = 32
    learning_rate: float = 2e-2  # AdamW's peak
    matrix_learning_rate: float = 7e-3  # Muon's peak, where it trains the layers' matrices
    warmup_fraction: float = 0.1  # of the steps
    seed: int = 0  # for the initial weights and the order of the rows

    def new_tokenizer(self, rows: Sequence[Any]) -> Any:
        """Return a tokenizer learned from rows."""
        raise NotImplementedError

    def new_config(self, tokenizer: Any) -> Any:
        """Return the configuration: the recipe's size, and the tokenizer's vocabulary."""
        raise NotImplementedError

    def batches(self, rows: Sequence[Any], tokenizer: Any) -> Iterator[dict[str, Any]]:
        """Yield endless batches of the rows, each as `loss` takes it."""
        raise NotImplementedError

    def loss(self, model: Any, batch: Any) -> Any:
        """Return a batch's loss: the model's own, unless the recipe has another."""
        return model(**batch).loss

    def layers_for_muon(self, model: Any) -> Any:
        """Return the layers whose matrices Muon trains; None: AdamW trains all."""
        return None

    def finish(self, model: Any) -> None:
        """Change the trained model where the recipe says so."""


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)
Row = TypeVar("Row")


@dataclass(frozen=True)
class Miniature(Generic[AnyRecipe, Row]):
    """Everything that decides the weights of a small model that the project trains itself.

    The cache identifies it by the recipe, its version, the rows and the libraries.  Miniatures of
    the same `vocabulary_rows` share their vocabulary.
    """

    recipe: AnyRecipe
    rows: Sequence[Row]  # what it learns from: dataclasses of texts
    vocabulary_rows: Sequence[Row] = ()  # for the tokenizer, if not `rows`

    def digest(self) -> str:
        """Return a hash of everything that the weights depend on.

        Libraries count by their minor release (torch 2.13), which may change sums, initial weights
        or a tokenizer's merges.  A patch release fixes bugs and as a rule changes none of
        these, so it triggers no retraining; the folder's manifest records the exact versions.
        """
        releases = {n: ".".join(v.split(".")[:2]) for n, v in library_versions().items()}
        texts = [[list(vars(row).values()) for row in r] for r in (self.rows, self.vocabulary_rows)]
        decides = [self.recipe.version, asdict(self.recipe), texts, releases]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def learned_tokenizer(self) -> Any:
        """Return the tokenizer; this takes seconds, while training the model takes minutes."""
        return self.recipe.new_tokenizer(self.vocabulary_rows or self.rows)

    def new_model(self, tokenizer: Any) -> Any:
        """Return the model with random weights, drawn from PyTorch's global generator."""
        import transformers

        model_class = getattr(transformers, self.recipe.model_class)
        return model_class(self.recipe.new_config(tokenizer))

    def meta(self, make: Callable[[Any], Any] | None = None) -> Any:
        """Return the model on PyTorch's meta device: modules and shapes, but no memory.

        `make` makes it from its configuration, if a task needs another head than the trained one.
        """
        import torch

        tokenizer = self.learned_tokenizer()  # for the size of the vocabulary
        with torch.device("meta"):
            return make(self.recipe.new_config(tokenizer)) if make else self.new_model(tokenizer)


def build(
    miniature: Miniature[Any, Any], folder: Path, progress: StepCallback | None = None
) -> None:
    """Train a miniature and write it with its tokenizer to `folder` in Hugging Face format.

    The folder appears complete or not at all.  The same miniature gives the same bytes on the same
    machine with the same versions.  Raises FileExistsError if `folder` exists, ValueError if the
    miniature has no rows.
    """
    if not miniature.rows:
        raise ValueError("a miniature needs at least one row to learn from, got none")
    recipe = asdict(miniature.recipe)
    version = miniature.recipe.version
    facts = {"version": version, "recipe": recipe, "rows": len(miniature.rows)}
    with whole_folder(folder, facts) as unfinished:
        tokenizer = miniature.learned_tokenizer()
        _trained(miniature, tokenizer, progress).save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)


def _trained(miniature: Miniature[Any, Any], tokenizer: Any, progress: StepCallback | None) -> Any:
    """Return the trained model, and leave PyTorch's global generator unchanged."""
    import torch
    from torch.optim.lr_scheduler import LambdaLR

    recipe: Recipe = miniature.recipe
    warmup = max(round(recipe.steps * recipe.warmup_fraction), 1)

    def pace(step: int) -> float:
        """Return the learning rate's factor: linearly up in the warm-up, then linearly to 0."""
        return min((step + 1) / warmup, (recipe.steps - step) / max(recipe.steps - warmup, 1))

    batches = recipe.batches(miniature.rows, tokenizer)
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = miniature.new_model(tokenizer).train()
        optimizers = _optimizers(model, recipe)
        schedules = [LambdaLR(optimizer, pace) for optimizer in optimizers]
        for step, batch in zip(range(1, recipe.steps + 1), batches, strict=False):
            loss = recipe.loss(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for part in (*optimizers, *schedules):
                part.step()
            model.zero_grad()
            if progress is not None:
                progress(step, recipe.steps, loss.item())
    recipe.finish(model)
    return model.eval()


def _optimizers(model: Any, recipe: Recipe) -> list[Any]:
    """Return Muon for the matrices of the recipe's layers, if any, and AdamW for the rest.

    Jordan et al. 2024, "Muon": twice the progress of AdamW per step here, at the same cost.
    """
    import torch

    layers = recipe.layers_for_muon(model)
    matrices = [p for p in layers.parameters() if p.dim() == 2] if layers is not None else []
    by_muon = {id(matrix) for matrix in matrices}
    others = [p for p in model.parameters() if id(p) not in by_muon]
    adamw = torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    if not matrices:
        return [adamw]
    muon = torch.optim.Muon(
        matrices,
        lr=recipe.matrix_learning_rate,
        weight_decay=0.0,
        adjust_lr_fn="match_rms_adamw",
    )
    return [adamw, muon]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: a second one slows a model this small down, and changes the sums."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- what the architectures share ----------------------------------------------------------------


def both_sides(pairs: Iterable[Pair]) -> list[str]:
    """Return the texts of pairs, each source before its target."""
    return [text for pair in pairs for text in (pair.source, pair.target)]


def learn_pieces(texts: Iterable[str], size: int, special_tokens: Sequence[str]) -> Any:
    """Return a `tokenizers.Tokenizer` of at most `size` BPE pieces learned from the texts.

    An apostrophe ends its piece; every other punctuation mark is a piece of its own.
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


def fast_tokenizer(
    texts: Iterable[str], size: int, special_tokens: Sequence[str], **options: Any
) -> Any:
    """Return transformers' fast tokenizer over pieces learned from the texts.

    `options` name the special tokens (`pad_token`, `eos_token`, ...) and a chat template.
    """
    from tokenizers import decoders
    from transformers import PreTrainedTokenizerFast

    pieces = learn_pieces(texts, size, special_tokens)
    pieces.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        **options,
    )


def common_sizes(recipe: Recipe, tokenizer: Any) -> dict[str, Any]:
    """Return the options that the configurations of Llama, EuroBERT and BERT share."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": recipe.width,
        "intermediate_size": recipe.ffn,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "initializer_range": recipe.init_std,
        "pad_token_id": tokenizer.pad_token_id,
    }


def even_batches(lengths: Sequence[int], recipe: Recipe) -> Iterator[list[int]]:
    """Yield endless batches of positions of similar lengths, reshuffled every epoch."""
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
    """Scale each norm's output by `gain` and the linears that read it by its inverse.

    The model computes the same function.  To change the output of two layers as much as that of
    forty, a weight must move much further.  Larger inputs to the adapted projections make up for
    the missing depth, so that learning rates and α that suit a large model suit the miniature.
    """
    import torch

    with torch.no_grad():
        for norm, linears in readers:
            for parameter in norm.parameters():
                parameter *= gain
            for linear in linears:
                linear.weight /= gain
