"""Packages that load their names on first use, so that importing one stays fast."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, *loaded: str
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__all__`, `__getattr__` and `__dir__` of a package.

    The package offers what its `if TYPE_CHECKING:` block imports, so that type checkers and Python
    read one list; what the block takes from a package is a module of it.  `loaded` names are in the
    package, or soon will be.
    """
    homes = {
        alias.asname or alias.name: (str(node.module), alias.name)
        for block in ast.parse(inspect.getsource(sys.modules[package])).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    offered = sorted({*homes, *loaded})

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {offered}")
        module, original = homes[name]
        home = import_module(module)
        if hasattr(home, "__path__"):
            return import_module(f"{module}.{original}")
        return getattr(home, original)

    return offered, load, lambda: offered
