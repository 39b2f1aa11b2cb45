"""The tree in docs/architecture.md: every room and file with the first line of its docstring.

`python tests/architecture_tree.py` writes it there again; a test holds that it is up to date.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("search_spaces", "study", "analysis", "reports", "optuna_study")
BLOCK = re.compile(r"(?<=```text\n)search_spaces/.*?(?=```)", re.DOTALL)
WIDTH = 30  # of the column of names


def tree() -> str:
    """Return the tree of the packages as they are."""
    return "".join(line for package in PACKAGES for line in _lines(ROOT / package, 0))


def shown() -> str:
    """Return the tree as the page shows it."""
    return "".join(BLOCK.findall(PAGE.read_text(encoding="utf-8")))


def _lines(folder: Path, depth: int) -> Iterator[str]:
    """Yield a line for a room, then for each of its files and rooms."""
    yield _line(f"{folder.name}/", folder / "__init__.py", depth)
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py":
            yield _line(file.name, file, depth + 1)
    for room in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from _lines(room, depth + 1)


def _line(name: str, file: Path, depth: int) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return f"{'  ' * depth + name:<{WIDTH}} {docstring.partition(chr(10))[0]}".rstrip() + "\n"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub(lambda _: tree(), text), encoding="utf-8")
