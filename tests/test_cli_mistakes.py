"""What is asked wrongly: one line a problem, status 2, and never a traceback."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from optuna_study.cli import console
from study.spec.sections import StudySpec
from tests.command_line import Type
from tests.synthetic import Shape, write_foreign_study, write_study

PAIRS = "source\ttarget\n" + "".join(f"word {i}\tmot {i}\n" for i in range(6))


def test_usage_errors(type_: Type) -> None:
    """Unknown commands and options, missing and unreadable arguments are one line and status 2."""
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
        assert len(ran.problems) == 1
    assert ran.problems == ["--steps: must be at least 1, got '0'"]


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "an unknown study": (("run", "petrolum"), "petrolum: no such study file or shipped study; did"),
    "data for a study file": (
        ("check", "text.tsv"),
        "text.tsv: must be a study file, got data; `optuna-study init --model MODEL --data text",
    ),
    "a file for a folder of tables": (
        ("report", "one", "--csv", "t.csv"),
        "--csv: makes a folder of files, got t.csv; name a folder",
    ),
    "no trials": (("run", "--trials", "0"), "petroleum.toml: search.trials: must be"),
    "a negative seed": (("run", "--seed", "-1"), "petroleum.toml: seed: must be at least"),
    "a huge seed": (("run", "--seed", str(2**31)), "petroleum.toml: seed: must be below"),
    "a device that is none": (
        ("run", "--devices", "gpu0"),
        "--devices: must be cpu or different GPU numbers such as 0,1, got 'gpu0'",
    ),
    "a device twice": (
        ("run", "--devices", "0,00"),
        "--devices: must be cpu or different GPU numbers such as 0,1, got '0,00'",
    ),
    "devices of Ray": (
        ("run", "--devices", "0", "--ray", "local"),
        "--devices: Ray chooses devices; give either --devices or --ray",
    ),
    "no workers": (("run", "--workers", "0"), "--workers: must be 1 to 1024, got 0"),
    "no time": (("run", "--timeout", "nan"), "petroleum.toml: search.timeout_seconds: must be a "),
    "an unknown space": (
        ("run", "--space", "wide"),
        "search.space: neither a shipped space nor a file",
    ),
    "a file as folder": (("run", "--out", "file"), "file: must be a folder, got a plain file"),
    "an earlier study that is none": (
        ("run", "--start-from", "nothing"),
        "nothing: no such file; a target is",
    ),
    "too few trials to confirm": (
        ("run", "--confirm", "--trials", "5"),
        "petroleum.toml: search.confirm: 6 of the trials are trained again at the end, so trials",
    ),
    "a storage that is none": (("run", "--storage", "x"), "x: cannot open the storage: "),
    "a database in memory": (("run", "--storage", "sqlite://"), "does not name a file; allow"),
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
    "an existing base": (
        ("base", "text.tsv", "--out", "file"),
        "file: exists already; name a new folder",
    ),
    "a folder that cannot be made": (
        ("base", "text.tsv", "--out", "file/b", "--steps", "1"),
        "file/b: cannot write the base: ",
    ),
}


WRONG_BASES: dict[str, tuple[tuple[str, ...], str]] = {
    "no such column": (
        ("--source-column", "en"),
        "text.tsv: line 1: no column 'en' in the header, got 'source', 'target'",
    ),
    "one column for both": (
        ("--source-column", "target"),
        "target_column: must differ from source_column, got 'target'",
    ),
    "a width of no heads": (("--width", "30"), "--width: must be a multiple of 4, got 30"),
    "a width of no rotary heads": (
        ("--architecture", "llama", "--width", "20"),
        "--width: must be a multiple of 8, got 20",
    ),
    "an unknown architecture": (
        ("--architecture", "bert"),
        "--architecture: must be one of nllb, llama, eurobert, got 'bert'",
    ),
}
"""Options of `base text.tsv --out b`."""
WRONG |= {
    name: (("base", "text.tsv", "--out", "b", *options), line)
    for name, (options, line) in WRONG_BASES.items()
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
    assert "start a new study" in ran.problems[-1]
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
    for nameless in ("", ".", "/"):
        (line,) = type_("report", thin, "--out", nameless).problems
        assert line.endswith("cannot write the report: a folder is there; choose another --out")


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
    told = ("--space", "space.toml", "--objective", "accuracy", "--resamples", 4)
    found = json.loads(type_("importance", "results.csv", *told, "--json").out)
    assert found["parameters"][0]["name"] == "rank"
    assert found["parameters"][0]["significant"]


def test_export_of_a_study_that_was_not_run_here(type_: Type, tmp_path: Path) -> None:
    """Somebody's database has no adapters beside it, nor how they were trained: one line."""
    write_foreign_study(f"sqlite:///{tmp_path / 'x.db'}")
    (tmp_path / "x.csv").write_text("rank,bleu\n8,1\n")
    for command in ("export", "confirm"):
        ran = type_(command, "x.db")
        assert ran.status == 2
        assert ran.problems == ["x.db: not a run folder of optuna-study"]
    for command in ("export", "confirm", "next"):
        ran = type_(command, "x.csv")
        assert ran.status == 2
        assert ran.problems == [
            "x.csv: needs a study run by optuna-study, got a CSV file of results"
        ]


def test_a_terminal_wraps_lines_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence has lines of 80 columns and whole words; a path stays one line."""
    monkeypatch.setattr(console, "messages", lambda: Console(stderr=True, force_terminal=True))
    monkeypatch.setattr(console, "results", lambda: Console(force_terminal=True))
    monkeypatch.setenv("COLUMNS", "80")
    sentence = " ".join(["wording"] * 40)
    console.say(sentence)
    console.print_line("note", sentence)
    console.print_line("folder", Path("f" * 100))
    found = capsys.readouterr()
    for lines in (found.err.splitlines(), found.out.splitlines()[:-1]):
        assert len(lines) > 3
        assert max(map(len, lines)) <= 80
        assert {word for line in lines for word in line.split()} <= {"wording", "note"}
    assert found.out.splitlines()[-1] == f"folder   {'f' * 100}"
