"""Write a study file: TOML with comments that give reasons."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from study.errors import InputError, visible
from study.store.folders import check_own, write_whole

WIDTH = 97  # of a comment's text


def toml(document: Mapping[str, Any]) -> str:
    """Write TOML with lists of plain values on one line."""
    return re.sub(
        r"\[\n(( {4}[^\n{]*,\n)+)\]",
        lambda found: f"[{' '.join(found[1].split()).rstrip(',')}]",
        tomli_w.dumps(document),
    )


def comment(text: str) -> str:
    """Return a text as comment lines; no name in it can end the comment."""
    one_line = visible(" ".join(text.split()))
    return "".join(f"# {line}\n" for line in textwrap.wrap(one_line, WIDTH))


def write_new(path: Path, text: str) -> None:
    """Write a file that does not exist yet or has the same contents.

    Raises InputError where it has other contents, which a person may have edited, where it is a
    link, or where it cannot be written.
    """
    check_own(path, "file")
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
        raise InputError(f"{path}: exists with other contents; choose another --out")
    write_whole(path, text)
