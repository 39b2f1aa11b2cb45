"""A small base from a file of parallel text: what `optuna-study base` does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from study.base_building import BaseRecipe, build_base
from study.base_models import TrainProgress
from study.data.readers import read_pairs
from study.errors import InputError
from study.spec import DataSpec
from study.spec_problems import problems_of


def build_from_corpus(
    corpus: Path,
    out: Path,
    *,
    source_column: str,
    target_column: str,
    recipe: Mapping[str, Any],
    progress: TrainProgress,
) -> None:
    """Read the pairs and build a base with the embedded one's recipe, changed where named.

    Raises:
        InputError: the corpus cannot be read, the folder exists, or the recipe cannot be built.
    """
    if out.exists():
        raise InputError(f"{out}: exists already; a base is written to a new folder")
    try:
        columns = DataSpec(source_column=source_column, target_column=target_column)
    except ValidationError as error:
        raise problems_of(error, "--source-column, --target-column", DataSpec) from None
    if recipe["d_model"] % BaseRecipe.heads:
        raise InputError(
            f"--width: must be a multiple of {BaseRecipe.heads}, got {recipe['d_model']}"
        )
    pairs = read_pairs(corpus, columns)
    from study.engines.process import be_one_quiet_thread

    be_one_quiet_thread()
    try:
        build_base(pairs, out, dataclasses.replace(BaseRecipe(), **recipe), progress)
    except OSError as error:
        raise InputError(f"{out}: cannot write the base: {error.strerror}") from error
