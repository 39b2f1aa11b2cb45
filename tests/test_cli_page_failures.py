"""Pages that fail: the results are printed all the same, one line says what failed, a log how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.plots import study_figures
from optuna_study.cli.console import PageFailures
from optuna_study.cli.running import _report_arguments
from study.runner import StudyRun
from study.store.storage import sqlite_url
from tests.analysis.comparison.test_confirmation import confirmed
from tests.command_line import Type
from tests.synthetic import Shape, write_study


def _fails(*_: Any, **__: Any) -> None:
    raise ValueError("not enough values\nto unpack from postgresql://me:secret@host/db")


pytestmark = pytest.mark.usefixtures("one_figure", "small_forests")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder whose study is finished: `run` trains nothing more."""
    folder = write_study(tmp_path / "r", Shape(complete=8, failed=0, enqueued=0, examples=4))
    done = StudyRun(folder, sqlite_url(folder / "study.db"), "petroleum", stopped_early=False)
    monkeypatch.setattr("study.runner.run_study", lambda *_, **__: done)
    return folder


@pytest.mark.whole
def test_a_figure_that_fails_costs_neither_the_results_nor_the_page(
    type_: Type, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence stands in its place; the line names it, the log, and the command."""
    monkeypatch.setattr(study_figures, "plot_history", _fails)
    ran = type_("run")
    assert ran.status == 1
    assert "Best trials" in ran.out
    assert "report " in ran.out
    (line,) = ran.problems
    assert line.startswith("figures missing from the report: history-0: ")
    assert line.endswith(f"; to retry: optuna-study report {folder}")
    page = (folder / "report.html").read_text()
    assert page.count("This figure could not be drawn.") == 1
    assert 'id="figure-slice-0"' in page
    log = (folder / "report-error.log").read_text()
    assert "in _fails" in log
    assert "secret" not in log + line


@pytest.mark.parametrize("part", ["reports.build.page_of", "reports.results.analyse"])
def test_the_results_are_printed_before_what_may_fail(
    type_: Type, folder: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Whatever the analysis or the page does, the trials are shown; an older page stays."""
    (folder / "report.html").write_text("older")
    monkeypatch.setattr(part, _fails)
    ran = type_("run")
    assert ran.status == 1
    assert "Best trials" in ran.out
    assert "report " not in ran.out
    assert ("with R²" in ran.out) == (part == "reports.build.page_of")
    (line,) = ran.problems
    assert line.startswith("the report failed: ValueError: not enough values\\nto unpack")
    assert f"; details: {folder / 'report-error.log'}; to retry: " in line
    assert "in _fails" in (folder / "report-error.log").read_text()
    assert (folder / "report.html").read_text() == "older"


@pytest.mark.whole
def test_a_confirmation_is_printed_before_its_page(
    type_: Type, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of the fresh seeds, the one line, and a status that is no success."""
    monkeypatch.setattr("study.confirming.confirm_study", lambda *_, **__: True)
    monkeypatch.setattr(
        "analysis.comparison.confirmation.confirmation_of", lambda _: confirmed(0.2)
    )
    monkeypatch.setattr("reports.build.page_of", _fails)
    ran = type_("confirm", folder)
    assert ran.status == 1
    assert "Confirmed" in ran.out
    (line,) = ran.problems
    assert line.startswith("the report failed: ValueError: ")
    assert line.endswith(f"; to retry: optuna-study report {folder}")


def test_a_link_in_the_place_of_the_log_is_not_followed(
    type_: Type, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it points at is left as it was."""
    other = folder.parent / "other.txt"
    other.write_text("mine")
    (folder / "report-error.log").symlink_to(other)
    monkeypatch.setattr("reports.build.page_of", _fails)
    assert type_("run").status == 1
    assert other.read_text() == "mine"
    assert "in _fails" in (folder / "report-error.log").read_text()


@pytest.mark.whole
def test_a_page_and_a_log_that_cannot_be_written(type_: Type, folder: Path) -> None:
    """Folders in their place: the results, and the one line without a log."""
    for name in ("report.html", "report-error.log"):
        (folder / name / "in the way").mkdir(parents=True)
    ran = type_("run", "--storage", "sqlite:///elsewhere.db")
    assert ran.status == 1
    assert "Best trials" in ran.out
    (line,) = ran.problems
    assert line.startswith(f"the report failed: {folder / 'report.html'}: cannot write the report")
    assert "details" not in line
    assert line.endswith(f"--study-name petroleum --out {folder / 'report.html'}")


@pytest.mark.whole
def test_the_report_alone_says_what_it_could_not_draw(
    type_: Type, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page and the other figures' files are written, and the status is no success."""
    monkeypatch.setattr(study_figures, "plot_history", _fails)
    where = ("--figures", "figures", "--format", "svg")
    ran = type_("report", folder, "--surrogate", "forest", *where)
    assert ran.status == 1
    assert ran.out.splitlines()[0] == str(folder / "report.html")
    (line,) = ran.problems
    assert line.startswith("figures missing from the report: history-0: ")
    made = {path.stem for path in Path("figures").iterdir()}
    assert "slice-0" in made
    assert "history-0" not in made


def test_a_report_that_fails_is_a_line_and_a_log(
    type_: Type, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where `run` writes it: the status is no success, and the older page stays."""
    (folder / "report.html").write_text("<!doctype html>older")
    monkeypatch.setattr("reports.build.page_of", _fails)
    ran = type_("report", folder, "--surrogate", "forest")
    assert (ran.status, ran.out) == (1, "")
    (line,) = ran.problems
    assert line.startswith("the report failed: ValueError: not enough values")
    assert line.endswith(f"; details: {folder / 'report-error.log'}")
    assert "in _fails" in (folder / "report-error.log").read_text()
    assert (folder / "report.html").read_text() == "<!doctype html>older"


def test_the_command_to_try_again_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that looks like an option is an argument there."""
    again = _report_arguments(None, Path("-r"), None)
    failures = PageFailures(Path("/proc/nowhere/report.html"), again)
    with failures.caught():
        _fails()
    assert capsys.readouterr().err.endswith("; to retry: optuna-study report ./-r\n")
