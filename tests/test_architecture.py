"""Imports run one way and in no circle, rooms stay small, and what only reads loads no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests import architecture_tree
from tests.architecture_tree import ROOT

ORDER = ("search_spaces", "study", "analysis", "reports", "optuna_study")
"""A package may import those before it and itself."""
HEAVY = ("torch", "transformers", "peft", "datasets", "tokenizers")
OF_STUDY_FOR_ANALYSIS = (
    "study.errors",
    "study.store.folders",
    "study.freed_memory",
    "study.signals",
    "study.kinds",
    "study.spec.hyperparameters",
    "study.metrics",
    "study.lazy_names",
    "study.moved",
    "study.spec.sections",
    "study.spec.base_and_data",
    "study.spec.baselines",
    "study.spec.evaluation",
    "study.store",
    "study.spec.files",
    "study.spec.toml_text",
    "study.spec.trust",
    "study.spec.search",
    "study.spec.writing",
)
ONE_IDEA: frozenset[frozenset[str]] = frozenset()
"""Pairs of modules that may import each other because their classes are one idea, with a reason."""
MOST_FILES = 14  # side by side in a package, before they need rooms


def sources(package: str) -> list[Path]:
    """Every module of a package."""
    return sorted((ROOT / package).rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax of a module, for the tests of this file to read and not to change."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Every module that a file imports, and whether it does so when it is itself imported."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    tree = tree_of(path)
    inside = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_type_checking(outer)
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module, id(node) not in inside
            yield from ((f"{node.module}.{a.name}", id(node) not in inside) for a in node.names)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@pytest.mark.parametrize("package", ORDER)
def test_imports_run_one_way(package: str) -> None:
    """No package imports one that stands above it, not even inside a function."""
    above = ORDER[ORDER.index(package) + 1 :]
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sources(package)
        for module, _ in imports(path)
        if module.split(".")[0] in above
    ]
    assert wrong == []


def module_of(path: Path) -> str:
    """The name by which a file is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def circles(imported: Mapping[str, set[str]]) -> list[set[str]]:
    """The largest sets of modules that import each other, directly or through others."""
    reached = {module: _reached_from(module, imported) for module in imported}
    in_circles = {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in imported
        if module in reached[module]
    }
    return sorted(map(set, in_circles), key=sorted)


def _reached_from(start: str, imported: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    ahead = [*imported[start]]
    while ahead:
        module = ahead.pop()
        if module not in found:
            found.add(module)
            ahead += imported[module]
    return found


def test_circles_are_found() -> None:
    """Three modules in a circle, two in another, and those that only lead there."""
    imported = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": {"d"}, "f": {"e"}}
    assert circles(imported) == [{"a", "b", "c"}, {"d", "e"}]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_modules_import_each_other() -> None:
    """Not within functions, and not for types alone, except where two classes are one idea."""
    known = {module_of(path): path for package in ORDER for path in sources(package)}
    imported = {
        module: {name for name, _ in imports(path) if name in known and name != module}
        for module, path in known.items()
    }
    for module, path in known.items():  # `from package import module` imports the module alone
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and all(
                f"{node.module}.{alias.name}" in known for alias in node.names
            ):
                imported[module].discard(node.module or "")
    found = [circle for circle in circles(imported) if frozenset(circle) not in ONE_IDEA]
    assert found == []
    assert all(len(pair) == 2 for pair in ONE_IDEA)


@pytest.mark.parametrize("package", ["study", "analysis", "reports"])
def test_a_package_is_divided_into_rooms(package: str) -> None:
    """Few files lie beside the rooms, so that a newcomer reads the list at a glance."""
    assert len(list((ROOT / package).glob("*.py"))) <= MOST_FILES


def test_the_architecture_page_names_every_room_and_file() -> None:
    """docs/architecture.md shows the tree; `python tests/architecture_tree.py` writes it anew."""
    assert architecture_tree.shown() == architecture_tree.tree()


def test_search_spaces_know_only_optuna() -> None:
    """Where to search is said in Optuna's distributions and pydantic, nothing else of weight."""
    allowed = {"optuna", "pydantic", "search_spaces", *sys.stdlib_module_names}
    found = {m.split(".")[0] for path in sources("search_spaces") for m, _ in imports(path)}
    assert found <= allowed


@pytest.mark.parametrize("package", ["analysis", "reports"])
def test_what_reads_never_imports_torch(package: str) -> None:
    """Neither at once nor inside a function do analysis and reports load what trains."""
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sources(package)
        for module, _ in imports(path)
        if module.split(".")[0] in HEAVY
        or (module.startswith("study.") and not module.startswith(OF_STUDY_FOR_ANALYSIS))
    ]
    assert wrong == []


def test_the_command_line_imports_within_its_commands() -> None:
    """When door or command line are imported, of the four packages only the error comes along."""
    modules = sources("optuna_study")
    eager = {m for path in modules for m, at_once in imports(path) if at_once}
    assert {m for m in eager if m.split(".")[0] in ORDER[:-1]} == {
        "study.errors",
        "study.errors.InputError",
    }
    assert not {m for m in eager if m.split(".")[0] in (*HEAVY, "optuna", "pandas", "matplotlib")}


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after some code."""
    code += "\nimport sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(found.stdout.splitlines()[-1].split())


def test_analysis_and_reports_load_no_torch() -> None:
    """What `show`, `importance` and `report` import stays light."""
    store = ("saved_adapters", "provenance", "records", "storage")
    allowed = [*OF_STUDY_FOR_ANALYSIS, *(f"study.store.{name}" for name in store)]
    found = loaded_by(f"import analysis, reports, {', '.join(allowed)}")
    assert not found & {*HEAVY, "matplotlib", "pandas", "sklearn"}


def test_study_itself_is_nearly_empty() -> None:
    """`import study` loads what keeps old names alive, and otherwise the standard library alone."""
    assert {m for m, _ in imports(ROOT / "study" / "__init__.py")} == {
        "study.moved",
        "study.moved.leave_behind",
    }
    assert {m.split(".")[0] for m, _ in imports(ROOT / "study" / "moved.py")} <= {
        *sys.stdlib_module_names
    }
    assert loaded_by("import study") - loaded_by("pass") <= {"study", *sys.stdlib_module_names}


def test_the_command_line_loads_next_to_nothing() -> None:
    """`optuna-study --help` and the names of the door need neither Optuna nor numpy."""
    heavy = {*HEAVY, "optuna", "numpy", "pydantic", "scipy"}
    assert not loaded_by("import optuna_study.cli.app") & heavy
    assert not loaded_by("import optuna_study; dir(optuna_study); optuna_study.load") & heavy


def test_every_package_is_declared() -> None:
    """A package that pyproject does not name would be missing from an installation."""
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for package in ORDER
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert set(declared["tool"]["setuptools"]["packages"]) == packages


def test_every_module_says_what_it_is_for() -> None:
    """The first thing in every module is its docstring."""
    for package in ORDER:
        for path in sources(package):
            assert ast.get_docstring(tree_of(path)), path
