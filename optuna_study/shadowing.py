"""Whether Python finds this project's packages, or files of the user's that have their names."""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("search_spaces", "study", "analysis", "reports")
HOME = Path(__file__).resolve().parent.parent
"""The folder that holds the packages, whether they are installed or in a clone."""


def own_packages_only() -> None:
    """Make sure that `study`, `analysis` and the others are the ones beside this package.

    A folder of these names without an `__init__.py`, such as `reports/` with somebody's pages, is
    passed over as in an ordinary installation; in an editable one Python would take it.

    Raises:
        ImportError: a module or package of the user's has the name of one; the message is one
            line that says which file it is and what to do.
    """
    for name in PACKAGES:
        if not (HOME / name / "__init__.py").is_file():
            continue  # installed in some other way: nothing to compare with
        spec = _found(name)
        if name not in sys.modules and (spec is None or spec.origin is None):
            # a regular package anywhere on the path comes before a folder without __init__.py
            sys.path.append(str(HOME))
            spec = _found(name)
        file = _file_of(spec)
        if file is None or not os.path.samefile(file, HOME / name / "__init__.py"):
            raise ImportError(
                f"{(file or name)!r}: hides the package {name!r} of optuna-study, which needs that "
                "name; rename it, start Python in another folder, or start it with -P"
            )


def _found(name: str) -> ModuleSpec | None:
    """Return what `import` would take, or has taken already."""
    if name in sys.modules:
        return sys.modules[name].__spec__
    return find_spec(name)


def _file_of(spec: ModuleSpec | None) -> str | None:
    """Return the file of a module, or the first folder of a package without `__init__.py`."""
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or ()), None)
