"""`optuna-study base`: a small base model from your own parallel text."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from study.bases.building import Miniature, Recipe, StepCallback, build
from study.bases.llama import LlamaRecipe
from study.bases.masked import MaskedRecipe
from study.bases.translator import TranslatorRecipe
from study.data.readers import read_pairs
from study.errors import InputError, writing
from study.spec.base_and_data import DataSpec
from study.spec.problems import problems_of

LONGEST_ANSWER = 32
"""Length in tokens of the answers that a masked-diffusion base learns to fill."""


@dataclass(frozen=True)
class BaseOrder:
    """What the user chooses; everything else is as in the embedded base's recipe."""

    architecture: str  # a key of ARCHITECTURES
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
    progress: StepCallback,
) -> None:
    """Read the pairs and build a base of the chosen size, otherwise like the embedded one.

    Raises:
        InputError: the corpus cannot be read, the folder exists, or the base cannot be built.
    """
    if os.path.lexists(out):
        raise InputError(f"{out}: exists already; name a new folder")
    try:
        columns = DataSpec(source_column=source_column, target_column=target_column)
    except ValidationError as error:
        raise problems_of(error, "--source-column, --target-column", DataSpec) from None
    if order.architecture not in ARCHITECTURES:
        raise InputError(
            f"--architecture: must be one of {', '.join(ARCHITECTURES)}, got {order.architecture!r}"
        )
    architecture = ARCHITECTURES[order.architecture]
    if order.width % architecture.width_multiple:
        raise InputError(
            f"--width: must be a multiple of {architecture.width_multiple}, got {order.width}"
        )
    pairs = read_pairs(corpus, columns)
    from study.engines.process_settings import be_one_quiet_thread

    be_one_quiet_thread()
    with writing(out, "base"):
        build(Miniature(architecture.recipe(order), pairs), out, progress)


@dataclass(frozen=True)
class Architecture:
    """A kind of base that can be built from your own text."""

    recipe: Callable[[BaseOrder], Recipe]
    width_multiple: int  # the heads; twice as many with rotary positions


def _sizes(order: BaseOrder, ffn: int) -> dict[str, int]:
    """Return the fields that every recipe has."""
    return {
        "steps": order.steps,
        "vocabulary_size": order.vocabulary,
        "width": order.width,
        "ffn": ffn,
        "layers": order.layers,
        "seed": order.seed,
    }


def _nllb(order: BaseOrder) -> TranslatorRecipe:
    return TranslatorRecipe(
        source_language=order.source_language,
        target_language=order.target_language,
        **_sizes(order, 4 * order.width),
    )


def _llama(order: BaseOrder) -> LlamaRecipe:
    return LlamaRecipe(**_sizes(order, order.width * 8 // 3))


def _eurobert(order: BaseOrder) -> MaskedRecipe:
    return MaskedRecipe(length=LONGEST_ANSWER, **_sizes(order, order.width * 8 // 3))


ARCHITECTURES: Mapping[str, Architecture] = {
    "nllb": Architecture(_nllb, TranslatorRecipe.heads),
    "llama": Architecture(_llama, 2 * LlamaRecipe.heads),
    "eurobert": Architecture(_eurobert, 2 * MaskedRecipe.heads),
}
"""Value of `--architecture` -> how its base is built."""
