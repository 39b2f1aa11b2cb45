"""A small base from a file of parallel text: what `optuna-study base` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from study.bases.llama import LlamaRecipe, build_llama
from study.bases.load import TrainProgress
from study.bases.masked import MaskedRecipe, build_masked
from study.bases.translator import BaseRecipe, build_base
from study.data.embedded import Pair
from study.data.readers import read_pairs
from study.errors import InputError
from study.spec.problems import problems_of
from study.spec.sections import DataSpec

LONGEST_ANSWER = 32
"""Tokens of the region that a masked-diffusion base learns to fill."""


@dataclass(frozen=True)
class BaseOrder:
    """What a person asks for; all else is the embedded base's own recipe."""

    architecture: str  # a key of BUILDERS
    source_language: str
    target_language: str
    steps: int
    vocabulary: int
    width: int
    layers: int
    seed: int


def build_from_corpus(
    corpus: Path,
    out: Path,
    *,
    source_column: str,
    target_column: str,
    order: BaseOrder,
    progress: TrainProgress,
) -> None:
    """Read the pairs and build a base as the embedded one is built, changed where asked.

    Raises:
        InputError: the corpus cannot be read, the folder exists, or the base cannot be built.
    """
    if os.path.lexists(out):
        raise InputError(f"{out}: exists already; a base is written to a new folder")
    try:
        columns = DataSpec(source_column=source_column, target_column=target_column)
    except ValidationError as error:
        raise problems_of(error, "--source-column, --target-column", DataSpec) from None
    if order.architecture not in BUILDERS:
        raise InputError(
            f"--architecture: allowed are {', '.join(BUILDERS)}, got {order.architecture!r}"
        )
    is_rotary = order.architecture in ("llama", "eurobert")  # whose positions come in pairs
    multiple = BaseRecipe.heads * (2 if is_rotary else 1)
    if order.width % multiple:
        raise InputError(f"--width: must be a multiple of {multiple}, got {order.width}")
    pairs = read_pairs(corpus, columns)
    from study.engines.process_settings import be_one_quiet_thread

    be_one_quiet_thread()
    try:
        BUILDERS[order.architecture](pairs, out, order, progress)
    except OSError as error:
        raise InputError(f"{out}: cannot write the base: {error.strerror}") from error


def _nllb(pairs: Sequence[Pair], out: Path, order: BaseOrder, progress: TrainProgress) -> None:
    recipe = BaseRecipe(
        source_language=order.source_language,
        target_language=order.target_language,
        steps=order.steps,
        vocabulary_size=order.vocabulary,
        d_model=order.width,
        ffn=4 * order.width,
        layers=order.layers,
        seed=order.seed,
    )
    build_base(pairs, out, recipe, progress)


def _llama(pairs: Sequence[Pair], out: Path, order: BaseOrder, progress: TrainProgress) -> None:
    recipe = LlamaRecipe(
        steps=order.steps,
        vocabulary_size=order.vocabulary,
        width=order.width,
        ffn=order.width * 8 // 3,
        layers=order.layers,
        seed=order.seed,
    )
    build_llama(pairs, out, recipe, progress)


def _eurobert(pairs: Sequence[Pair], out: Path, order: BaseOrder, progress: TrainProgress) -> None:
    recipe = MaskedRecipe(
        steps=order.steps,
        vocabulary_size=order.vocabulary,
        width=order.width,
        ffn=order.width * 8 // 3,
        layers=order.layers,
        length=LONGEST_ANSWER,
        seed=order.seed,
    )
    build_masked(pairs, out, recipe, progress)


BUILDERS: Mapping[str, Callable[[Sequence[Pair], Path, BaseOrder, TrainProgress], None]] = {
    "nllb": _nllb,
    "llama": _llama,
    "eurobert": _eurobert,
}
