"""What every result offers: a short table in a prompt and in a notebook, and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from analysis.document import Document


class Displayed:
    """A result that a prompt and a notebook show as a short document."""

    def document(self) -> Document:
        """Return the whole result as a document."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return the numbers and names as plain data, for `--json`."""
        return dict(as_json(self))

    def to_markdown(self) -> str:
        """Return the document as Markdown."""
        return self.document().to_markdown()

    def __repr__(self) -> str:
        return self.document().brief.to_text()

    def _repr_html_(self) -> str:
        return self.document().brief.to_html()


def as_json(value: Any) -> Any:
    """Return a result as plain JSON values: dataclasses by field, no NaN and no infinity.

    A field whose metadata says `json: False` is left out.
    """
    if is_dataclass(value):
        kept = (f.name for f in fields(value) if f.metadata.get("json", True))
        return {name: as_json(getattr(value, name)) for name in kept}
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return as_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def own_names(module: Mapping[str, Any]) -> list[str]:
    """The functions and classes that a module defines for others: what the Tab key offers."""
    home = module["__name__"]
    return [
        name
        for name, found in module.items()
        if getattr(found, "__module__", None) == home and not name.startswith("_")
    ]
