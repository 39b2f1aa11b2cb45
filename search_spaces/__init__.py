"""Search spaces over Optuna's distributions, shipped or your own.

The shipped spaces are the TOML files in this folder.  They use the same form as
`[search.parameters]` in a study file; write your own space in that form too.
"""

from __future__ import annotations

from pathlib import Path

from search_spaces.parameter import Parameter
from search_spaces.space import SearchSpace

__all__ = ["Parameter", "SearchSpace", "shipped_spaces"]


def shipped_spaces() -> dict[str, Path]:
    """Return the shipped search spaces: name -> file."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
