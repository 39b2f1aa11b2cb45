"""Old names of modules that moved: each stands for the new module, loaded when it is used."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Moved(ModuleType):
    """Stands where a module was: its public names are those of its new homes.

    Private names, such as `__file__`, are looked up in no home: programs ask every loaded module
    for them, and that must not load the homes.
    """

    _homes: Sequence[str]

    def __init__(self, name: str, homes: Sequence[str]) -> None:
        super().__init__(name, f"Moved to {' and '.join(homes)}; imports from here keep working.")
        self._homes = homes
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name: str) -> Any:
        for home in () if name.startswith("_") else map(import_module, self._homes):
            if hasattr(home, name):
                return getattr(home, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({name for home in self._homes for name in dir(import_module(home))})


def leave_behind(package: str, moved: Mapping[str, str]) -> None:
    """Let each old name in a package stand for the modules, one or more, where its code is now."""
    for old, homes in moved.items():
        stand_in = Moved(f"{package}.{old}", homes.split())
        sys.modules[stand_in.__name__] = stand_in
        setattr(sys.modules[package], old, stand_in)
