"""Packages that load their names on first use, so that importing one stays fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, str], *loaded: str
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__all__`, `__getattr__` and `__dir__` of a package.

    `modules` maps each module of the package to the names that the package takes from it; a module
    without names is offered itself.  `loaded` names are in the package already.
    """
    homes = {
        name: module for module, names in modules.items() for name in names.split() or [module]
    }
    offered = sorted({*homes, *loaded})

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {offered}")
        module = import_module(f"{package}.{homes[name]}")
        return module if name == homes[name] else getattr(module, name)

    return offered, load, lambda: offered
