"""Nothing is unpickled from disk or database, and nothing in them is run."""

from __future__ import annotations

import ast
import json
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest import mock

import numpy
import pytest
import torch

from study.store.saved_adapters import save_adapter
from study.trials import AdapterFiles
from tests.fuzz.command import command, quiet
from tests.security.hostile import payload
from tests.synthetic import Shape, write_study

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("search_spaces", "study", "analysis", "reports", "optuna_study")
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {"read_pickle", "from_pickle", "unpickle"}
ATTRIBUTES = {("torch", "load"), ("np", "load"), ("numpy", "load"), ("os", "system")}
READING = (
    ("show",),
    pytest.param(("importance", "--surrogate", "auto", "--resamples", "2"), marks=pytest.mark.slow),
    pytest.param(("report", "--out", "r.html"), marks=pytest.mark.slow),
    ("export",),
)


def forbidden(tree: ast.AST) -> list[str]:
    """Return what a module imports or calls that could run what it reads."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [getattr(node, "module", None) or "", *(a.name for a in node.names)]
            found += [n for n in names if n.split(".")[0] in MODULES]
        elif isinstance(node, ast.Call):
            call = node.func
            if isinstance(call, ast.Name) and call.id in CALLS:
                found.append(call.id)
            elif isinstance(call, ast.Attribute):
                owner = getattr(call.value, "id", "")
                if (owner, call.attr) in ATTRIBUTES or call.attr in METHODS:
                    found.append(f"{owner}.{call.attr}")
            found += [k.arg for k in node.keywords if k.arg in ("allow_pickle", "shell")]
    return found


def test_the_check_finds_what_it_is_for() -> None:
    """Each of the ways to run what is read is seen in a line of code."""
    for line in ("import pickle", "from joblib import load", "torch.load(x)", "eval(x)"):
        assert forbidden(ast.parse(line)), line
    for line in ("np.load(x, allow_pickle=True)", "pd.read_pickle(x)", "run(x, shell=True)"):
        assert forbidden(ast.parse(line)), line
    assert not forbidden(ast.parse("json.loads(x); model.eval(); re.compile(y)"))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_unpickles_or_evaluates(package: str) -> None:
    """Neither by itself nor through numpy, pandas, torch or a shell."""
    for path in (ROOT / package).rglob("*.py"):
        assert forbidden(ast.parse(path.read_text(encoding="utf-8"))) == [], path


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A run folder with a pickle in every place that holds bytes or text."""
    folder = write_study(tmp_path / "run", Shape(complete=8, failed=1, examples=4))
    evil = payload(tmp_path / "unpickled")
    with closing(sqlite3.connect(folder / "study.db")) as connection:
        for key in ("cma:optimizer:0", "cma:optimizer", "pickle"):  # as Optuna's CMA-ES keeps it
            for table, owner in (("trial_system", "trial"), ("study_system", "study")):
                columns = f"{table}_attributes ({owner}_id, key, value_json)"
                values = (key, json.dumps(evil.hex()))
                connection.execute(f"INSERT INTO {columns} VALUES (1, ?, ?)", values)
        connection.execute("UPDATE run_outputs SET outputs = ? WHERE rowid % 2 = 0", (evil,))
        connection.execute("UPDATE run_scores SET statistics = ? WHERE rowid % 2 = 0", (evil,))
        connection.commit()
    for number in range(9):
        files = AdapterFiles("{}", evil, weights_name="adapter_model.bin")
        save_adapter(folder, f"trial-{number:05d}", files)
    return folder


@pytest.mark.parametrize("asked", READING)
def test_planted_pickles_stay_closed(
    planted: Path, tmp_path: Path, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading commands do their work, or refuse, and the pickles in their way are not loaded."""
    monkeypatch.chdir(tmp_path)
    name, *options = asked
    with quiet(), no_pickles():
        ran = command(name, planted, *options)
    assert ran.status in (0, 2)
    assert not (tmp_path / "unpickled").exists()


@contextmanager
def no_pickles() -> Iterator[None]:
    """Let whoever loads a pickle fail the test."""

    def fail(*_: object, **__: object) -> None:
        pytest.fail("something was unpickled")

    with (
        mock.patch.multiple(pickle, load=fail, loads=fail, Unpickler=fail),
        mock.patch.object(torch, "load", fail),
        mock.patch.object(numpy.lib.format, "read_array", fail),
    ):
        yield


def test_a_pickled_adapter_is_refused_in_words(planted: Path) -> None:
    """Safetensors only; the line says so."""
    ran = command("export", planted, "--trial", 3)
    assert ran.status == 2
    (line,) = ran.err.splitlines()
    assert "no *.safetensors file, got adapter_model.bin; pickled weights are not loaded" in line
