"""Databases of wrong values and in odd places: read or refused in one line, and never changed."""

from __future__ import annotations

import itertools
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from analysis import load
from study.errors import InputError
from tests.fuzz.command import accepted, command, fingerprint
from tests.fuzz.damage import study_bytes
from tests.synthetic import write_foreign_study

pytestmark = pytest.mark.whole

# ---------------------------------------------------------------- wrong values in sound pages

WRONG_VALUES = {
    "trials of one number": "UPDATE trials SET number = 0",
    "negative numbers": "UPDATE trials SET number = -number - 1",
    "a version of two heads": "INSERT INTO alembic_version VALUES ('v2.6.0.a')",
    "a parameter's JSON": "UPDATE trial_params SET distribution_json = '{'",
    "an unknown distribution": (
        "UPDATE trial_params SET distribution_json = "
        '\'{"name": "Os", "attributes": {"command": "true"}}\''
    ),
    "an endless range": (
        'UPDATE trial_params SET distribution_json = \'{"name": "FloatDistribution", '
        '"attributes": {"low": 0, "high": Infinity, "log": false, "step": null}}\''
    ),
    "a range beyond 64 bits": (
        'UPDATE trial_params SET distribution_json = \'{"name": "IntDistribution", '
        '"attributes": {"low": 0, "high": 1' + 400 * "0" + ', "log": false, "step": 1}}\''
    ),
    "a choice counted from the end": (
        "UPDATE trial_params SET param_value = -1 WHERE distribution_json LIKE '%choices%'"
    ),
    "half of a choice": (
        "UPDATE trial_params SET param_value = 0.5 WHERE distribution_json LIKE '%choices%'"
    ),
    "no direction": "UPDATE study_directions SET direction = 'NOT_SET'",
    "an unknown state": "UPDATE trials SET state = 'PICKLED'",
    "no value": "DELETE FROM trial_values",
    "a value of text": "UPDATE trial_values SET value = 'x'",
    "a time that is none": "UPDATE trials SET datetime_start = 'yesterday'",
    "an attribute's JSON": "UPDATE trial_user_attributes SET value_json = 'nonsense'",
    "a study's attribute": "UPDATE study_user_attributes SET value_json = '['",
    "a study file that is no TOML": "UPDATE run_studies SET spec = 'a = ['",
    "a study file of no sections": "UPDATE run_studies SET spec = 'method = [1]'",
    "provenance that is a list": "UPDATE run_studies SET provenance = '[1]'",
    "a study's name in bytes": "UPDATE studies SET study_name = x'ff00'",
    "texts that are not compressed": "UPDATE run_examples SET sources = x'00'",
    "fewer references": (
        "UPDATE run_examples SET targets = (SELECT outputs FROM run_outputs LIMIT 0)"
    ),
    "a score of text": "UPDATE run_scores SET score = 'high'",
    "a configuration that is a list": "UPDATE run_evaluations SET config = '[]'",
    "a method that is a list": "UPDATE run_evaluations SET config = '{\"method\": [1]}'",
    "details that are none": "UPDATE run_evaluations SET details = 'x'",
    "a seed of text": "UPDATE run_evaluations SET seed = 'x'",
    "no schema version": "DELETE FROM run_schema",
    "a later schema": "UPDATE run_schema SET version = 99",
    "no Optuna version": "DELETE FROM alembic_version",
    "a later Optuna": "UPDATE alembic_version SET version_num = 'v99.0.0'",
}


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_wrong_values_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    """What cannot be a study's is named, and the database left alone."""
    changed_copy(tmp_path, WRONG_VALUES[name])
    before = fingerprint(tmp_path)
    ran = command("show", tmp_path)
    assert (ran.status, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith((f"{tmp_path}", "database: "))
    assert fingerprint(tmp_path) == before


WRONG_DETAILS = {
    "outputs": "UPDATE run_outputs SET outputs = x'00'",
    "statistics": "UPDATE run_scores SET statistics = x'789c0300000000'",
    "their number": "UPDATE run_scores SET n_examples = 3",
    "a bomb": None,
}


@pytest.mark.parametrize("name", WRONG_DETAILS)
def test_wrong_details_are_refused_where_they_are_read(tmp_path: Path, name: str) -> None:
    """Outputs and statistics are read late: `show` does without, what needs them says so."""
    changed_copy(tmp_path, WRONG_DETAILS[name] or "SELECT 1")
    if name == "a bomb":
        plant_bomb(tmp_path / "study.db")
    data = load(tmp_path)
    with pytest.raises(InputError) as refused:
        data.outputs("best" if name == "outputs" else "base")
    (line,) = refused.value.problems
    assert "damaged" in line


def plant_bomb(database: Path) -> None:
    """Put statistics into a database that are 200 MB when unpacked, from 200 kB."""
    import zlib

    bomb = zlib.compress(bytes(200_000_000), 9)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE run_scores SET statistics = ?", (bomb,))
        connection.commit()


def changed_copy(folder: Path, statement: str) -> None:
    """Copy a sound database and change it by a statement, which leaves one file."""
    (folder / "study.db").write_bytes(study_bytes())
    with closing(sqlite3.connect(folder / "study.db")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        try:
            connection.execute(statement)
        except sqlite3.IntegrityError:  # a column that must hold something: an empty text does
            connection.execute("UPDATE run_examples SET targets = sources || x'00'")
        connection.commit()


def test_a_damaged_study_is_not_continued(tmp_path: Path) -> None:
    """`run` refuses what it cannot read, before anything is trained."""
    changed_copy(tmp_path, WRONG_VALUES["an unknown distribution"])
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text("source\ttarget\na\tb\n")
    files = '[base]\nmodel = "embedded"\n[data]\ntrain = "train.tsv"\ndev = "dev.tsv"\n'
    (tmp_path / "petroleum.toml").write_text(f'{files}[search]\nspace = "lora-narrow"\n')
    ran = command("run", tmp_path / "petroleum.toml", "--out", tmp_path, "--workers", "1")
    assert ran.status == 2
    (line,) = ran.err.splitlines()
    assert "cannot read the study: ValueError: Unknown distribution class: Os" in line


# ---------------------------------------------------------------- surroundings


def test_things_that_are_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a study, a device, a loop, a socket's name, an empty or foreign file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty-folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "study.db").mkdir()
    os.mkfifo(tmp_path / "pipe")
    targets = ("empty-folder", "empty", "loop", "text", ".", "study.db", "pipe", "/dev/null")
    targets += ("/dev/zero", "/", "..", " ", "\x1b[31m", "-", "sqlite:///", "a://b", "://", "x\0y")
    before = sorted(os.listdir(tmp_path))
    for target, name in itertools.product(targets, ("show", "report")):
        ran = command(name, "--", target)
        assert (ran.status, ran.out) == (2, ""), target
        assert len(ran.err.splitlines()) == 1, ran.err
    assert sorted(os.listdir(tmp_path)) == before


def test_a_log_of_garbage_beside_a_database(tmp_path: Path) -> None:
    """A log that is none is ignored by SQLite, and stays where it is."""
    (tmp_path / "study.db").write_bytes(study_bytes())
    (tmp_path / "study.db-wal").write_bytes(b"\x07" * 5000)
    content = (tmp_path / "study.db").read_bytes()
    assert accepted("show", tmp_path)
    assert (tmp_path / "study.db").read_bytes() == content


def test_a_medium_that_cannot_be_written(tmp_path: Path) -> None:
    """A read-only folder is read; a report goes where it is asked to."""
    (tmp_path / "study.db").write_bytes(study_bytes())
    (tmp_path / "study.db").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert accepted("show", tmp_path)
        assert os.listdir(tmp_path) == ["study.db"]
    finally:
        tmp_path.chmod(0o755)


def test_reading_while_somebody_writes(tmp_path: Path) -> None:
    """An open transaction does not stop a reader, and a reader changes nothing under it."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    write_foreign_study(url)
    with closing(sqlite3.connect(tmp_path / "x.db")) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE trials SET state = 'FAIL'")
        before = fingerprint(tmp_path)
        assert command("show", url).status == 0
        after = fingerprint(tmp_path)
        writer.rollback()
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed <= {"x.db-shm"}  # where readers leave their marks while somebody writes
