"""The miniatures: small models that the project trains itself, so that nothing is downloaded.

A task's `embedded` base and `embedded` teacher are miniatures.  To add one, describe it in a new
module (`study/bases/translator.py` is the shortest) and add a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from study.bases import classifier, llama, masked, translator
from study.bases.building import Miniature, ModelRole, StepCallback, build
from study.bases.cache import cached
from study.spec.base_and_data import DataSpec

MINIATURES: Mapping[str, Callable[[DataSpec, ModelRole], Miniature[Any, Any]]] = {
    "nllb": translator.embedded,
    "llama": llama.embedded,
    "distilbert": classifier.embedded,
    "eurobert": masked.embedded,
}
"""Architecture -> its miniature for the embedded corpus of `[data]`."""


def embedded_folder(
    architecture: str,
    data: DataSpec,
    role: ModelRole = "base",
    progress: StepCallback | None = None,
    cache: Path | None = None,
) -> Path:
    """Return the folder of an embedded base or teacher, built on first use.

    Raises:
        InputError: there is no such embedded corpus.
    """
    miniature = MINIATURES[architecture](data, role)
    name = f"embedded-{architecture}-{role}-{data.seed}-{miniature.digest()[:16]}"
    return cached(name, lambda folder: build(miniature, folder, progress), cache)
