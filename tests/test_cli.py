"""The commands as a user types them: exit statuses, one line a problem, and never a traceback."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import optuna
import pytest

import optuna_study
from study.spec import StudySpec
from study.view import View
from tests.synthetic import Shape, write_foreign_study, write_study

PAIRS = "source\ttarget\n" + "".join(f"word {i}\tmot {i}\n" for i in range(6))


class Ran(NamedTuple):
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def problems(self) -> list[str]:
        """The lines on standard error."""
        return self.err.splitlines()


Type = Callable[..., Ran]


@pytest.fixture
def type_(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Type:
    """Return a function that runs `optuna-study` with arguments, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    before = optuna.logging.get_verbosity()

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["optuna-study", *map(str, arguments)])
        status = 0
        try:
            optuna_study.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        found = capsys.readouterr()
        assert "Traceback" not in found.err + found.out
        optuna.logging.set_verbosity(before)
        return Ran(status, found.out, found.err)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as a finished study leaves it."""
    folder = tmp_path_factory.mktemp("cli") / "petroleum"
    return write_study(folder, Shape(complete=16, failed=1, pruned=1, examples=8))


# ---------------------------------------------------------------- what is asked rightly


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
    assert set(found) == {"studies", "spaces"}
    assert set(found["spaces"]) == {"lora-narrow", "lora-wide"}


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
    for command in (("show",), ("importance", "--surrogate", "forest")):
        ran = type_(*command, finished, "--json")
        assert ran.status == 0
        found = json.loads(ran.out, parse_constant=lambda name: pytest.fail(name))
        assert found["study"] == "petroleum"


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
    assert ran.problems == [f"{url}: holds several studies; choose by --study-name: theirs, others"]
    assert type_("show", url, "--study-name", "others").status == 0
    assert type_("show", url, "--study-name", "nobody's").status == 2


def test_studies_without_results(type_: Type, tmp_path: Path) -> None:
    """No study, no trial, one trial, an infinite value: shown, or refused in one line."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{tmp_path}/thin.db"
    storage = optuna.storages.RDBStorage(url)
    assert type_("show", url).problems == [f"{url}: holds no study"]
    study = optuna.create_study(storage=storage, study_name="thin")
    for tell in (None, 1.0, float("inf")):
        if tell is not None:
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            study.tell(trial, tell)
        shown = type_("show", url, "--json")
        assert shown.status == 0
        json.loads(shown.out, parse_constant=lambda name: pytest.fail(name))
        asked = type_("importance", url, "--surrogate", "forest", "--json")
        assert asked.status in (0, 2)
        assert asked.status == 0 or len(asked.problems) == 1


# ---------------------------------------------------------------- what is asked wrongly


def test_usage_errors(type_: Type) -> None:
    """Unknown commands and options, missing and unreadable arguments end with status 2."""
    for arguments in (
        ("shwo",),
        ("show",),
        ("show", "a", "b"),
        ("run", "--trails", "3"),
        ("run", "--trials", "many"),
        ("base", "a.tsv"),
        ("base", "a.tsv", "--out", "b", "--steps", "0"),
    ):
        ran = type_(*arguments)
        assert ran.status == 2, arguments
        assert ran.err


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "an unknown study": (("run", "petrolum"), "petrolum: no such study file or shipped study; did"),
    "no trials": (("run", "--trials", "0"), "petroleum.toml: search.trials: input should be"),
    "a negative seed": (("run", "--seed", "-1"), "petroleum.toml: seed: input should be greater"),
    "a huge seed": (("run", "--seed", str(2**31)), "petroleum.toml: seed: input should be less"),
    "no workers": (("run", "--workers", "0"), "--workers: must be 1 to 1024, got 0"),
    "no time": (("run", "--timeout", "nan"), "petroleum.toml: search.timeout_seconds: input sho"),
    "an unknown space": (("run", "--space", "wide"), "search.space: no shipped space and no file"),
    "a file as folder": (("run", "--out", "file"), "file: cannot use the run folder: File exists"),
    "a storage that is none": (("run", "--storage", "x"), "x: cannot open the storage: "),
    "a database in memory": (("run", "--storage", "sqlite://"), "sqlite://: names no file; allow"),
    "a folder as storage": (("run", "--storage", "sqlite:///."), ".: cannot read the file: Is a"),
    "a foreign database": (
        ("run", "--storage", "sqlite:///clinic.db"),
        "clinic.db: an SQLite data",
    ),
    "a study that is none": (("show", "nothing"), "nothing: no such file; a target is"),
    "a folder of runs": (("show", "many"), "study.db: no such file; run folders in it: many/one"),
    "a study without its folder": (
        ("show", "one"),
        "no such file; did you mean runs/one?; a target",
    ),
    "a foreign target": (("show", "clinic.db"), "clinic.db: an SQLite database without Optuna's"),
    "a text file": (("show", "file"), "file: neither an SQLite database nor an Optuna journal"),
    "a server without password": (
        ("show", "postgresql://u:s3cret@localhost:1/x"),
        "postgresql://u:***@localhost:1/x: cannot open the storage: ",
    ),
    "a name too long": (("show", "a" * 5000), "no such file"),
    "a missing corpus": (("base", "none.tsv", "--out", "b"), "none.tsv: cannot read the file: No"),
    "an existing base": (("base", "text.tsv", "--out", "file"), "file: exists already; a base is"),
    "no such column": (
        ("base", "text.tsv", "--out", "b", "--source-column", "en"),
        "text.tsv: line 1: no column 'en' in the header, got 'source', 'target'",
    ),
    "one column for both": (
        ("base", "text.tsv", "--out", "b", "--source-column", "target"),
        "target_column: must not be the source's, got 'target'",
    ),
    "a width of no heads": (
        ("base", "text.tsv", "--out", "b", "--width", "30"),
        "--width: must be a multiple of 4, got 30",
    ),
    "a width of no rotary heads": (
        ("base", "text.tsv", "--out", "b", "--architecture", "llama", "--width", "20"),
        "--width: must be a multiple of 8, got 20",
    ),
    "an unknown architecture": (
        ("base", "text.tsv", "--out", "b", "--architecture", "bert"),
        "--architecture: allowed are nllb, llama, eurobert, got 'bert'",
    ),
    "a folder that cannot be made": (
        ("base", "text.tsv", "--out", "file/b", "--steps", "1"),
        "file/b: cannot write the base: ",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line_and_status_2(type_: Type, tmp_path: Path, name: str) -> None:
    """The line says where and which rule, nothing is on standard output, nothing is left behind."""
    arguments, expected = WRONG[name]
    (tmp_path / "file").write_text("hello\n")
    (tmp_path / "text.tsv").write_text(PAIRS)
    for run in ("runs/one", "many/one"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "study.db").touch()
    with closing(sqlite3.connect(tmp_path / "clinic.db")) as clinic:
        clinic.execute("CREATE TABLE patients (id INTEGER)")
        clinic.commit()
    ran = type_(*arguments)
    assert ran.status == 2
    assert ran.out == ""
    (line,) = ran.problems
    assert expected in line
    assert "s3cret" not in line
    assert not (tmp_path / "b").exists()
    assert (tmp_path / "file").read_text() == "hello\n"


def test_a_study_files_mistakes_are_a_line_each(type_: Type, tmp_path: Path) -> None:
    """All that is wrong in a file is said at once, each with file and key."""
    path = tmp_path / "mine.toml"
    path.write_text("sed = 1\n[method]\nrank = 0\n[training]\nsteps = 'x'\n")
    for command in ("run", "check"):
        ran = type_(command, path)
        assert ran.status == 2
        assert [line.split(": ")[:2] for line in ran.problems] == [
            [str(path), "method.rank"],
            [str(path), "training.steps"],
            [str(path), "sed"],
        ]


@pytest.mark.parametrize("target", ["empty.tsv", "ragged.tsv", "latin.tsv", "none.tsv"])
def test_bad_data_ends_a_run_before_it_begins(
    type_: Type, tmp_path: Path, tiny_base: Path, target: str
) -> None:
    """A bad file is one line, and no study is begun."""
    (tmp_path / "good.tsv").write_text(PAIRS)
    (tmp_path / "empty.tsv").touch()
    (tmp_path / "ragged.tsv").write_text(PAIRS + "alone\n")
    (tmp_path / "latin.tsv").write_bytes(PAIRS.encode() + b"caf\xe9\tx\n")
    (tmp_path / "mine.toml").write_text(
        f'[base]\nmodel = "{tiny_base}"\n[data]\ntrain = "good.tsv"\ndev = "{target}"\n'
    )
    ran = type_("run", "mine.toml", "--workers", "1")
    assert ran.status == 2
    (line,) = ran.problems
    assert line.startswith(f"{tmp_path / target}: ")
    assert not list(tmp_path.rglob("study.db"))


def test_a_study_that_changed_is_refused_with_the_difference(
    type_: Type, tmp_path: Path, tiny_spec: StudySpec
) -> None:
    """Another number of steps under the same name is shown and not run."""
    path = tmp_path / "tiny.toml"
    content = tiny_spec.to_toml()
    path.write_text(content)
    folder = tmp_path / "runs" / "tiny"
    write_study(folder, Shape(complete=2, failed=0, enqueued=0, name="tiny", examples=4))
    _replace_spec(folder / "study.db", content.replace("steps = 4", "steps = 6"))
    before = type_("show", folder, "--json").out
    ran = type_("run", path, "--workers", "1")
    assert ran.status == 2
    assert ran.problems[0] == "tiny: training.steps: was 6, now 4"
    assert "start another study" in ran.problems[-1]
    assert type_("show", folder, "--json").out == before


def _replace_spec(database: Path, content: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE run_studies SET spec = ?", (content,))
        connection.commit()


def test_a_study_of_somebody_elses_is_not_continued(
    type_: Type, tmp_path: Path, tiny_spec: StudySpec
) -> None:
    """A storage that holds a foreign study of the same name is refused."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{tmp_path}/other.db"
    study = optuna.create_study(storage=url, study_name="tiny", direction="maximize")
    study.tell(study.ask(), 1.0)
    path = tmp_path / "tiny.toml"
    path.write_text(tiny_spec.to_toml())
    ran = type_("run", path, "--storage", url, "--workers", "1")
    assert ran.status == 2
    assert "optuna-study did not run; choose another name" in ran.problems[0]
    assert len(optuna.load_study(study_name="tiny", storage=url).trials) == 1


def test_a_report_that_cannot_be_written(type_: Type, tmp_path: Path) -> None:
    """A folder in the report's place is one line and status 2."""
    thin = write_study(tmp_path / "thin", Shape(complete=2, failed=0, enqueued=0, examples=4))
    (tmp_path / "page.html").mkdir()
    ran = type_("report", thin, "--out", tmp_path / "page.html", "--surrogate", "forest")
    assert ran.status == 2
    (line,) = ran.problems
    assert "page.html" in line


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
    assert line == "--study-name: must be given once for each of 2 targets, or not at all, got 1"


def test_a_damaged_database_is_one_line(type_: Type, tmp_path: Path, finished: Path) -> None:
    """Pages of garbage in the middle of a database end the command with status 2."""
    content = bytearray((finished / "study.db").read_bytes())
    content[8192:-4096] = b"\x5a" * len(content[8192:-4096])
    (tmp_path / "study.db").write_bytes(content)
    ran = type_("show", tmp_path)
    assert ran.status == 2
    assert len(ran.problems) == 1


def test_unknown_choices(type_: Type, finished: Path) -> None:
    """An unknown objective or surrogate is refused with what is allowed."""
    ran = type_("importance", finished, "--objective", "comet")
    assert ran.status == 2
    assert "allowed: bleu" in ran.problems[0]
    ran = type_("importance", finished, "--surrogate", "crystal")
    assert ran.status == 2
    assert len(ran.problems) == 1


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


def test_a_terminal_without_unicode(finished: Path) -> None:
    """Where standard output is ASCII, tables and JSON are still printed."""
    for options in ([], ["--json"]):
        ran = process("show", finished, *options, PYTHONIOENCODING="ascii", LC_ALL="C")
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "petroleum" in ran.stdout


def test_a_reader_that_went_away(finished: Path) -> None:
    """`optuna-study show … | head -1` ends quietly."""
    command = f"{sys.executable} -m optuna_study show {finished} --json | head -1"
    ran = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.stdout == "{\n"
    assert ran.stderr == ""


def test_compare_tests_the_best_of_two_studies(type_: Type, tmp_path: Path) -> None:
    """Studies on the same examples are compared; one target, or other examples, is one line."""
    write_study(tmp_path / "one", Shape(complete=6, examples=8))
    write_study(tmp_path / "other", Shape(complete=12, examples=8))
    found = json.loads(type_("compare", "one", "other", "--json").out)
    (comparison,) = found
    low, high = comparison["ci"]
    assert low <= comparison["difference"] <= high
    assert "paired bootstrap" in type_("compare", "one", "other").out
    refused = type_("compare", "one", "other", "--trials", "1,2")
    assert refused.status == 2
    assert refused.problems == ["--trials: goes with one study, got 2"]


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
        (("--trials", "x"), "--trials: got 'x'; allowed: numbers with commas, as in 3,5"),
        (("--trials", "1,99"), "--trials: petroleum stores no outputs on 'dev' of trial 99; "),
        (("--metric", "comet"), "--metric: petroleum does not store 'comet'; stored: bleu,"),
        (("--split", "test"), "petroleum: stores no evaluation of the untrained base on 'test'"),
    ):
        ran = type_("compare", "one", *wrong)
        assert ran.status == 2
        assert ran.problems[0].startswith(line)


def test_next_writes_a_study_file_that_can_be_checked(type_: Type, tmp_path: Path) -> None:
    """The file is written once, is a study file, and is never written over what somebody edited."""
    folder = write_study(tmp_path / "petroleum", Shape(complete=40))
    ran = type_("next", folder, "--resamples", 4)
    assert (ran.status, ran.err) == (0, "")
    path = folder / "next.toml"
    assert str(path) in ran.out
    assert max(map(len, ran.out.splitlines()[:-1])) <= 80
    assert type_("check", path).status == 0
    path.write_text(path.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    ran = type_("next", folder, "--resamples", 4)
    assert ran.status == 2
    assert ran.err.count("\n") == 1
    assert path.read_text(encoding="utf-8").endswith("# mine\n")


def test_next_of_a_study_that_somebody_else_ran(type_: Type, tmp_path: Path) -> None:
    """There is no study file to go on from; one line says so."""
    write_foreign_study(f"sqlite:///{tmp_path}/other.db")
    ran = type_("next", tmp_path / "other.db")
    assert ran.status == 2
    assert ran.err.count("\n") == 1


def test_a_csv_file_needs_its_space_declared(type_: Type, tmp_path: Path) -> None:
    """A table of results has importances once its space is declared, and one line before."""
    rows = "".join(f"{4 * (i % 8) + 4},{i % 8 / 8 + i / 1000}\n" for i in range(40))
    (tmp_path / "results.csv").write_text("rank,accuracy\n" + rows)
    (tmp_path / "space.toml").write_text("[parameters.rank]\nlow = 4\nhigh = 32\nstep = 4\n")
    refused = type_("importance", "results.csv", "--objective", "accuracy")
    assert refused.status == 2
    assert len(refused.problems) == 1
    told = ("--space", "space.toml", "--objective", "accuracy")
    found = json.loads(type_("importance", "results.csv", *told, "--json").out)
    assert found["parameters"][0]["name"] == "rank"
    assert found["parameters"][0]["significant"]


# ---------------------------------------------------------------- export


def test_export_writes_what_transformers_loads(
    type_: Type, make_spec: Callable[..., StudySpec], view: View, tmp_path: Path
) -> None:
    """The best trial by default, merged when asked, with the difference that the merge makes."""
    from transformers import AutoModelForSeq2SeqLM

    from study.engines.choice import EngineChoice
    from study.runner import run_study

    run_study(
        make_spec({"search.trials": 1}), tmp_path / "r", view, choice=EngineChoice("sequential")
    )
    plain = type_("export", "r")
    assert (plain.status, plain.err) == (0, "")
    assert plain.out.split() == ["trial", "0", "folder", "r/export/trial-00000"]
    merged = type_("export", "r", "--trial", 0, "--merge", "--out", "merged")
    assert (merged.status, merged.err) == (0, "")
    assert "checked  logits differ from adapter plus base by at most " in merged.out
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "merged").config.d_model == 16
    again = type_("export", "r")
    assert (again.status, len(again.problems)) == (2, 1)
    assert "exists already" in again.err
    missing = type_("export", "r", "--trial", 99)
    assert missing.status == 2
    assert missing.problems == [
        "r: no adapter of trial 99; kept are 0, see search.keep_adapters of the study"
    ]


def test_export_of_a_study_that_was_not_run_here(type_: Type, tmp_path: Path) -> None:
    """Somebody's database has no adapters beside it, nor how they were trained: one line."""
    write_foreign_study(f"sqlite:///{tmp_path / 'x.db'}")
    (tmp_path / "x.csv").write_text("rank,bleu\n8,1\n")
    for command in ("export", "confirm"):
        ran = type_(command, "x.db")
        assert ran.status == 2
        assert ran.problems == ["x.db: no run folder of optuna-study"]
    for command in ("export", "confirm", "next"):
        ran = type_(command, "x.csv")
        assert ran.status == 2
        assert ran.problems == ["x.csv: results in a CSV file are no study that optuna-study ran"]


def test_a_confirmation_that_was_stopped_at_once_says_so(
    type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is trained again yet: no table, no document, and a status that is no success."""
    write_study(tmp_path / "r", Shape(complete=2, failed=0, enqueued=0, examples=4))
    monkeypatch.setattr("study.confirming.confirm_study", lambda *_, **__: False)
    ran = type_("confirm", "r", "--json")
    assert (ran.status, ran.out) == (1, "")
    assert ran.problems == [
        "The best trial is not trained again yet: there is nothing to test.",
        "Not all of it is trained; the same command continues.",
    ]
