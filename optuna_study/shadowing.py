"""Check that Python finds this project's packages, not files of the user with the same names."""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("search_spaces", "study", "analysis", "reports")
HOME = Path(__file__).resolve().parent.parent
"""The folder of the packages, installed or in a clone."""


def own_packages_only() -> None:
    """Make sure that `study`, `analysis` and the others are the packages next to this one.

    A folder with such a name but no `__init__.py`, such as your `reports/`, is skipped.  Python
    would import it from an editable installation.

    Raises:
        ImportError: a module or package of the user has one of these names; the one-line message
            says which file it is and what to do.
    """
    for name in PACKAGES:
        if not (HOME / name / "__init__.py").is_file():
            continue  # another kind of installation: nothing to compare with
        spec = _spec_of(name)
        if name not in sys.modules and (spec is None or spec.origin is None):
            # a regular package anywhere on the path wins over a folder without __init__.py
            sys.path.append(str(HOME))
            spec = _spec_of(name)
        file = _file_of(spec)
        if file is None or not os.path.samefile(file, HOME / name / "__init__.py"):
            raise ImportError(
                f"{(file or name)!r}: hides the package {name!r} of optuna-study; rename it, start "
                "Python in another folder, or start it with -P"
            )


def _spec_of(name: str) -> ModuleSpec | None:
    """Return the module spec that `import` would use, or has used."""
    if name in sys.modules:
        return sys.modules[name].__spec__
    return find_spec(name)


def _file_of(spec: ModuleSpec | None) -> str | None:
    """Return the file of a module, or the first folder of a package without `__init__.py`."""
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or ()), None)
