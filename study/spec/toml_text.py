"""Parse TOML that anybody may have written."""

from __future__ import annotations

import re
import tomllib
from typing import Any

MOST_CHARACTERS = 4_000_000
MOST_PARTS = 32  # of a dotted key; tomllib's time grows with their square
_PART = r"(?:\"[^\"\n]*+\"|'[^'\n]*+'|(?<![\w-])[\w-]++)[ \t]*+"
_LONG_KEY = re.compile(rf"(?:{_PART}\.[ \t]*+){{{MOST_PARTS}}}")


def parse_toml(content: str) -> dict[str, Any]:
    """Return the document; ValueError says what is wrong with it, RecursionError too deep."""
    if len(content) > MOST_CHARACTERS:
        raise ValueError(f"must have at most {MOST_CHARACTERS:,} characters, got {len(content):,}")
    if found := _LONG_KEY.search(content):
        line = content.count("\n", 0, found.start()) + 1
        raise ValueError(f"a dotted key of more than {MOST_PARTS} parts (at line {line})")
    return tomllib.loads(content)
