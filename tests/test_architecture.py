"""Imports run one way, and what only reads loads no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ("search_spaces", "study", "analysis", "reports", "optuna_study")
"""A package may import those before it and itself."""
HEAVY = ("torch", "transformers", "peft", "datasets", "tokenizers")
OF_STUDY_FOR_ANALYSIS = (
    "study.errors",
    "study.freed_memory",
    "study.spec.hyperparameters",
    "study.metrics",
    "study.spec.sections",
    "study.store",
    "study.spec.files",
    "study.spec.trust",
)


def sources(package: str) -> list[Path]:
    """Every module of a package."""
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports, and whether it does so when it is itself imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
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
    """When the command line is imported, of the four packages only the error comes along."""
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
    store = ("adapters", "provenance", "records", "storage")
    allowed = [*OF_STUDY_FOR_ANALYSIS, *(f"study.store.{name}" for name in store)]
    found = loaded_by(f"import analysis, reports, {', '.join(allowed)}")
    assert not found & {*HEAVY, "matplotlib", "pandas", "sklearn"}


def test_study_itself_is_empty() -> None:
    """`import study` loads nothing at all."""
    assert list(imports(ROOT / "study" / "__init__.py")) == []


def test_the_command_line_loads_next_to_nothing() -> None:
    """`optuna-study --help` needs neither Optuna nor numpy."""
    assert not loaded_by("import optuna_study") & {*HEAVY, "optuna", "numpy", "pydantic", "scipy"}


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
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
