"""The commands as a user types them: exit statuses, one line a problem, and never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from analysis import load
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.views.base import View
from tests.command_line import Type
from tests.synthetic import Shape, write_foreign_study, write_study


def test_help_and_version(type_: Type) -> None:
    """Without arguments there is help; every command has its own; the version is one line."""
    assert "Usage" in type_().out + type_().err
    for command in (
        "run",
        "check",
        "list",
        "show",
        "importance",
        "report",
        "next",
        "confirm",
        "train",
        "init",
        "base",
    ):
        ran = type_(command, "--help")
        assert (ran.status, ran.err) == (0, "")
        assert "Usage" in ran.out
    assert type_("--version").out.strip().replace(".", "").isalnum()


def test_list(type_: Type) -> None:
    """The shipped studies and spaces, each with what it says of itself; the same as JSON."""
    ran = type_("list")
    assert ran.status == 0
    for name in ("petroleum", "petroleum-wide", "nllb-600m", "lora-narrow", "lora-wide"):
        assert name in ran.out
    found = json.loads(type_("list", "--json").out)
    assert set(found) == {"studies", "spaces", "runs"}
    assert set(found["spaces"]) == {"lora-narrow", "lora-wide"}


@pytest.mark.whole
def test_check(type_: Type, tiny_spec: StudySpec, tmp_path: Path) -> None:
    """A study file is printed as resolved, with what a trial costs; the same as JSON."""
    path = tmp_path / "tiny.toml"
    path.write_text(tiny_spec.to_toml(), encoding="utf-8")
    ran = type_("check", path)
    assert ran.status == 0
    assert "learning_rate" in ran.out
    assert "12 adapter pairs" in ran.out
    found = json.loads(type_("check", path, "--json").out)
    assert found["spec"]["name"] == "tiny"
    assert found["cost"]["adapters"]["most"]["pairs"] == 12


@pytest.mark.parametrize("form", ["{}", "{}/study.db", "sqlite:///{}/study.db"])
def test_show(type_: Type, finished: Path, form: str) -> None:
    """State, counts and best trials of a run folder, its file or its URL."""
    ran = type_("show", form.format(finished))
    assert (ran.status, ran.err) == (0, "")
    assert "petroleum" in ran.out
    assert "16" in ran.out


def test_json_is_one_document_and_nothing_else(type_: Type, finished: Path) -> None:
    """With `--json` standard output is one JSON document in which no number is NaN."""
    for command in (("show",), ("importance", "--surrogate", "forest", "--resamples", 4)):
        ran = type_(*command, finished, "--json")
        assert ran.status == 0
        found = json.loads(ran.out, parse_constant=lambda name: pytest.fail(name))
        assert found["study"] == "petroleum"


@pytest.mark.whole
def test_any_optuna_study_can_be_shown(type_: Type, tmp_path: Path) -> None:
    """A study that somebody else ran, of two objectives, with running and waiting trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{tmp_path}/other.db"
    write_foreign_study(url, "theirs")
    before = (tmp_path / "other.db").read_bytes()
    assert type_("show", url).status == 0
    json.loads(type_("show", url, "--json").out, parse_constant=lambda name: pytest.fail(name))
    assert (tmp_path / "other.db").read_bytes() == before
    write_foreign_study(url, "others")
    ran = type_("show", url)
    assert ran.status == 2
    assert ran.problems == [
        f"{url}: contains several studies; choose one with --study-name: theirs, others"
    ]
    assert type_("show", url, "--study-name", "others").status == 0
    assert type_("show", url, "--study-name", "nobody's").status == 2


@pytest.mark.whole
def test_studies_without_results(type_: Type, tmp_path: Path) -> None:
    """No study, no trial, one trial, an infinite value: shown, or refused in one line."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{tmp_path}/thin.db"
    storage = optuna.storages.RDBStorage(url)
    assert type_("show", url).problems == [f"{url}: contains no study"]
    study = optuna.create_study(storage=storage, study_name="thin")
    for tell in (None, 1.0, float("inf")):
        if tell is not None:
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            study.tell(trial, tell)
        shown = type_("show", url, "--json")
        assert shown.status == 0
        json.loads(shown.out, parse_constant=lambda name: pytest.fail(name))
        asked = type_("importance", url, "--surrogate", "forest", "--resamples", 4, "--json")
        assert asked.status in (0, 2)
        assert asked.status == 0 or len(asked.problems) == 1


@pytest.mark.usefixtures("one_figure", "small_forests")
def test_a_report_with_its_tables_and_figures(type_: Type, tmp_path: Path) -> None:
    """The page, a folder of tables, one of figures; a wrong format before anything is read."""
    thin = write_study(tmp_path / "thin", Shape(complete=3, failed=1, enqueued=0, examples=4))
    ran = type_("report", thin, "--csv", "tables", "--figures", "figures", "--format", "svg")
    assert ran.status == 0
    assert ran.out.splitlines()[0] == str(thin / "report.html")
    heading, first, *_ = (tmp_path / "tables" / "trials-all-trials.csv").read_text().splitlines()
    assert heading.startswith("trial,state,BLEU,")
    assert first.startswith("0,complete,")
    assert (tmp_path / "figures" / "history-0.svg").exists()
    assert type_("report", "nowhere", "--format", "gif").problems == [
        "--format: must be one of png, svg, pdf, got 'gif'"
    ]


@pytest.mark.usefixtures("one_figure", "small_forests")
def test_studies_of_one_storage_side_by_side(type_: Type, tmp_path: Path) -> None:
    """Named one by one; as many names as targets, or several of one target."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    for name in ("before", "after"):
        study = optuna.create_study(storage=url, study_name=name)
        for value in (1.0, 2.0):
            study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), value)
    ran = type_("report", url, "--study-name", "before", "--study-name", "after")
    assert ran.status == 0
    assert "before against after" in (tmp_path / "comparison.html").read_text("utf-8")
    (line,) = type_("report", url, url, "--study-name", "before").problems
    assert line == "--study-name: give it once for each of 2 targets, or not at all, got 1"


@pytest.mark.whole
def test_compare_tests_the_best_of_two_studies(type_: Type, tmp_path: Path) -> None:
    """Studies on the same examples are compared; one target, or other examples, is one line."""
    write_study(tmp_path / "one", Shape(complete=6, examples=8))
    write_study(tmp_path / "other", Shape(complete=12, examples=8))
    found = json.loads(type_("compare", "one", "other", "--json").out)
    (comparison,) = found
    assert comparison["metric"] == "bleu"
    names = [comparison[which]["name"] for which in "ab"]
    assert names == ["petroleum (one)", "petroleum (other)"]
    low, high = comparison["ci"]
    assert low <= comparison["difference"] <= high
    assert "paired bootstrap" in type_("compare", "one", "other").out
    refused = type_("compare", "one", "other", "--trials", "1,2")
    assert refused.status == 2
    assert refused.problems == ["--trials: works only with one study, got 2"]


def test_compare_holds_the_adapters_of_one_study_against_their_base(
    type_: Type, tmp_path: Path
) -> None:
    """Overview, chosen trials, a metric that was not measured, JSON and CSV."""
    write_study(tmp_path / "one", Shape(complete=4, failed=0, examples=8))
    assert "the base against 5 adapters on 8 dev examples" in type_("compare", "one").out
    options = ("--trials", "1,3", "--metric", "rouge2", "--metric", "chrf", "--csv", "out.csv")
    found = json.loads(type_("compare", "one", *options, "--json").out)
    assert [a["name"] for a in found["adapters"]] == ["trial 1", "trial 3"]
    assert found["metrics"] == ["rouge2", "chrf"]
    assert found["family"] == 4
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 3 * 2
    for wrong, line in (
        (("--trials", "x"), "--trials: must be numbers separated by commas, e.g. 3,5, got 'x'"),
        (("--trials", "1,99"), "--trials: petroleum stores no dev evaluation of trial 99; "),
        (("--metric", "comet"), "--metric: petroleum does not store 'comet'; stored: bleu,"),
        (("--split", "test"), "petroleum: stores no evaluation of the untrained base on 'test'"),
    ):
        ran = type_("compare", "one", *wrong)
        assert ran.status == 2
        assert ran.problems[0].startswith(line)


@pytest.mark.whole
def test_next_writes_a_study_file_that_can_be_checked(type_: Type, tmp_path: Path) -> None:
    """The file is written once, is a study file, and is never written over what somebody edited."""
    folder = write_study(tmp_path / "petroleum", Shape(complete=24, examples=8))
    ran = type_("next", folder, "--resamples", 4)
    assert (ran.status, ran.err) == (0, "")
    path = folder / "next.toml"
    assert str(path) in ran.out
    assert max(map(len, ran.out.splitlines()[:-1])) <= 80
    assert load_spec(path).name == "petroleum-2"
    path.write_text(path.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    ran = type_("next", folder, "--resamples", 4)
    assert ran.status == 2
    assert ran.err.count("\n") == 1
    assert path.read_text(encoding="utf-8").endswith("# mine\n")


@pytest.mark.whole
def test_export_writes_what_transformers_loads(
    type_: Type, make_spec: Callable[..., StudySpec], view: View, tmp_path: Path
) -> None:
    """The best trial by default, merged when asked, with the difference that the merge makes."""
    from transformers import AutoModelForSeq2SeqLM

    from study.engines.engine_choice import EngineChoice
    from study.runner import run_study

    run_study(
        make_spec({"search.trials": 1}), tmp_path / "r", view, choice=EngineChoice("sequential")
    )
    plain = type_("export", "r")
    nothing = plain.err  # two steps teach nothing, which a line says
    assert (plain.status, nothing.count("\n")) == (0, 1)
    assert "(BLEU 0) is no better than the untrained base with 0 " in nothing
    assert plain.out.split() == ["trial", "0", "folder", "r/export/trial-00000"]
    merged = type_("export", "r", "--trial", 0, "--merge", "--out", "merged")
    assert (merged.status, merged.err) == (0, nothing.replace("The best trial", "Trial 0"))
    assert "checked  logits differ from adapter plus base by at most " in merged.out
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "merged").config.d_model == 16
    again = type_("export", "r")
    assert (again.status, len(again.problems)) == (2, 1)
    assert "exists already" in again.err
    missing = type_("export", "r", "--trial", 99)
    assert missing.status == 2
    assert missing.problems == ["r: no adapter of trial 99; kept: 0 (see search.keep_adapters)"]


def test_export_says_that_nothing_was_gained(
    type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter that scores no more than a baseline is exported with a warning."""
    from study.finished.export import Exported

    write_study(tmp_path / "r", Shape(examples=8))
    monkeypatch.setattr(
        "study.finished.export.export_trial", lambda *_, **__: Exported(tmp_path / "out")
    )
    assert type_("export", "r").err == ""
    worst = load(tmp_path / "r").ranked()[-1].number
    ran = type_("export", "r", "--trial", worst)
    assert ran.status == 0
    assert ran.err.startswith(f"Trial {worst} (BLEU ")
    assert "is no better than default LoRA with " in ran.err
    assert "search on, or use that" in ran.err


def test_a_confirmation_that_was_stopped_at_once_says_so(
    type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is trained again yet: no table, no document, and a status that is no success."""
    write_study(tmp_path / "r", Shape(complete=2, failed=0, enqueued=0, examples=4))
    monkeypatch.setattr("study.confirming.confirm_study", lambda *_, **__: False)
    ran = type_("confirm", "r", "--json")
    assert (ran.status, ran.out) == (1, "")
    assert ran.problems == [
        "Nothing to test yet: the best trial has not been retrained.",
        "Some trainings are missing. Repeat the same command to continue.",
    ]


# ---------------------------------------------------------------- as a process


def process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "optuna_study", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
    )


@pytest.mark.whole
@pytest.mark.parametrize("options", [(), pytest.param(("--json",), marks=pytest.mark.slow)])
def test_a_terminal_without_unicode(finished: Path, options: tuple[str, ...]) -> None:
    """Where standard output is ASCII, tables and JSON are still printed."""
    ran = process("show", finished, *options, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "petroleum" in ran.stdout


@pytest.mark.whole
def test_a_reader_that_went_away(finished: Path) -> None:
    """`optuna-study show … | head -1` ends quietly."""
    command = f"{sys.executable} -m optuna_study show {finished} --json | head -1"
    ran = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.stdout == "{\n"
    assert ran.stderr == ""
