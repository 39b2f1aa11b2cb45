"""Where to search: named search spaces over Optuna's distributions.

The shipped spaces are the TOML files beside this one, in the form that a study file uses under
`[search.parameters]`; a space of one's own is a file of the same form.
"""

from __future__ import annotations

from pathlib import Path

from search_spaces.parameter import Parameter
from search_spaces.space import SearchSpace

__all__ = ["Parameter", "SearchSpace", "shipped_spaces"]


def shipped_spaces() -> dict[str, Path]:
    """Return the search spaces that ship: name -> file."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
