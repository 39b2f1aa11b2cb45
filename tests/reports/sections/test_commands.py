"""The commands of the provenance: they are what one types, and they give study and page again."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import StudyData, load
from reports import build_report
from reports.build import page_of
from reports.page.parts import Code
from reports.results import Results, analyse
from reports.sections.commands import commands
from tests.analysis.comparison.test_confirmation import confirmed
from tests.synthetic import Shape, write_foreign_study, write_study


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A small study of ours, too thin for a surrogate."""
    shape = Shape(complete=2, failed=0, enqueued=0, examples=4)
    data = load(write_study(tmp_path_factory.mktemp("c") / "r", shape))
    ran = replace(data, provenance={"engine": "packed", "workers": 2})
    return analyse(ran, surrogate="forest", resamples=2)


def typed(*studies: Results) -> list[str]:
    """The commands without their comments."""
    found = commands(studies)
    assert found is not None
    return [line for line in found.text.splitlines() if not line.startswith("#")]


def test_our_study_has_a_command_for_itself_and_one_for_its_page(results: Results) -> None:
    """With the engine and workers that it had, and the surrogate that was asked for."""
    run, report = map(shlex.split, typed(results))
    assert run[:3] == ["optuna-study", "run", "petroleum.toml"]
    assert run[3:] == ["--engine", "packed", "--workers", "2", "--out", "runs/petroleum"]
    target = results.data.target
    asked = ["--study-name", "petroleum", "--surrogate", "forest"]
    assert report == ["optuna-study", "report", target, *asked]


def test_a_confirmation_is_named_with_its_trials_and_seeds(results: Results) -> None:
    """The best by how many there are."""
    found = replace(results, confirmation=confirmed(0.2))
    _, confirm, _ = map(shlex.split, typed(found))
    assert confirm[:3] == ["optuna-study", "confirm", "runs/petroleum"]
    assert confirm[-2:] == ["--seeds", str(len(confirmed(0.2).winner.seeds))]


def test_studies_of_one_name_do_not_share_a_folder(results: Results) -> None:
    """Each has its own file and folder; one command makes the page of both."""
    first, second, report = map(shlex.split, typed(results, results))
    assert (first[2], second[2]) == ("petroleum-1.toml", "petroleum-2.toml")
    assert (first[-1], second[-1]) == ("runs/petroleum-1", "runs/petroleum-2")
    assert report.count("--study-name") == 2


def test_a_hidden_password_is_said_to_be_missing(results: Results) -> None:
    """The command cannot hold what the page must not."""
    data = replace(results.data, target="postgresql://me:***@host/db", spec_text=None)
    found = commands([replace(results, data=data)])
    assert found is not None
    assert "replace *** with the storage password" in found.text
    assert "'postgresql://me:***@host/db'" in found.text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "foreign"])
def test_the_page_command_makes_this_very_page(kind: str, tmp_path: Path) -> None:
    """Of a table with its declared space, and of somebody's database."""
    if kind == "csv":
        path = tmp_path / "a b.csv"
        rows = "".join(f"{x},{(x - 3) ** 2}\n" for x in (0.5, 1.0, 2.0, 2.5, 3.5))
        path.write_text(f"x,loss\n{rows}", encoding="utf-8")
        space = tmp_path / "space.toml"
        space.write_text("[x]\nlow = 0.0\nhigh = 4.0\n", encoding="utf-8")
        data = load(path, space=str(space), objective="loss", direction="minimize")
    else:
        path = tmp_path / "x.db"
        write_foreign_study(f"sqlite:///{path}")
        data = load(path)
    page = build_report(data, tmp_path / "page.html")
    _again(_command(data), tmp_path)
    made = tmp_path / f"{path.stem}.html"
    assert made.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")


def _command(data: StudyData) -> str:
    section = next(s for s in page_of(analyse(data)).sections if s.identifier == "provenance")
    code = next(p for p in section.parts if isinstance(p, Code) and p.title == "The commands")
    return code.text.splitlines()[-1]


def _again(command: str, folder: Path) -> None:
    words = shlex.split(command)
    assert words[0] == "optuna-study"
    line = [sys.executable, "-m", "optuna_study", *words[1:]]
    subprocess.run(line, cwd=folder, check=True, capture_output=True, timeout=300)
