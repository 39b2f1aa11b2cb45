"""Damaged and foreign databases: read or refused in one line, and never changed by a byte."""

from __future__ import annotations

import itertools
import json
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from analysis import load
from reports import build_report
from study.errors import InputError
from tests.fuzz.command import accepted, command, fingerprint, in_time, quiet
from tests.synthetic import Shape, write_foreign_study, write_study

READING = (("show",), ("show", "--json"), ("importance", "--surrogate", "forest"))


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run folder as a finished study leaves it."""
    folder = tmp_path_factory.mktemp("sound") / "run"
    return write_study(folder, Shape(complete=10, failed=1, pruned=1, examples=4))


# ---------------------------------------------------------------- damage


def flipped(rng: random.Random, content: bytearray) -> None:
    """Flip a few bits."""
    for _ in range(rng.randrange(1, 4)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def noisy(rng: random.Random, content: bytearray) -> None:
    """Replace many bytes by others."""
    for _ in range(rng.choice([50, 500, 5000])):
        content[rng.randrange(len(content))] = rng.randrange(256)


def cut(rng: random.Random, content: bytearray) -> None:
    """Lose the end."""
    del content[rng.randrange(len(content)) :]


def blanked(rng: random.Random, content: bytearray) -> None:
    """Replace a stretch by zeros or by noise."""
    at, size = rng.randrange(len(content)), rng.choice([10, 100, 4096])
    hole = content[at : at + size]
    content[at : at + size] = rng.choice([bytes(len(hole)), rng.randbytes(len(hole))])


def swapped(rng: random.Random, content: bytearray) -> None:
    """Exchange two pages."""
    a, b = (4096 * rng.randrange(len(content) // 4096) for _ in range(2))
    content[a : a + 4096], content[b : b + 4096] = content[b : b + 4096], content[a : a + 4096]


def misspelt(rng: random.Random, content: bytearray) -> None:
    """Change what looks like text: numbers, JSON, the names of states and distributions."""
    for at in (rng.randrange(len(content)) for _ in range(rng.randrange(1, 30))):
        if chr(content[at]).isprintable():
            content[at] = rng.choice(b'0123456789{}[]",:aNeE.-\\x')


DAMAGES = (flipped, flipped, noisy, cut, blanked, swapped, misspelt, misspelt)


def damaged(content: bytes, number: int) -> bytes:
    """Return the bytes of a database with damage number so and so."""
    rng, changed = random.Random(f"database/{number}"), bytearray(content)
    rng.choice(DAMAGES)(rng, changed)
    return bytes(changed)


def try_commands(folder: Path, commands: tuple[tuple[str, ...], ...]) -> bool:
    """Run reading commands over a folder, which must stay as it is; say whether all could read."""
    before = fingerprint(folder)
    with quiet():
        read = [accepted(name, folder, *options) for name, *options in commands]
    assert fingerprint(folder) == before
    return all(read)


def count_readable(folder: Path, sound: Path, numbers: range, *commands: tuple[str, ...]) -> int:
    """Damage a database in many ways and read each; returns how many were readable still."""
    content, readable = (sound / "study.db").read_bytes(), 0
    for number in numbers:
        (folder / "study.db").write_bytes(damaged(content, number))
        try:
            readable += try_commands(folder, commands)
        except Exception as error:
            error.add_note(f"damage number {number}")
            raise
    return readable


def test_damaged_databases(tmp_path: Path, sound: Path) -> None:
    """Some are read, most are refused in a line, none is changed."""
    assert 0 < count_readable(tmp_path, sound, range(12), ("show", "--json")) < 12


@pytest.mark.slow
def test_hundreds_of_damaged_databases(tmp_path: Path, sound: Path) -> None:
    """Three hundred of them, by every command that reads."""
    commands = (*READING, ("compare", str(sound)), ("export",))
    assert count_readable(tmp_path, sound, range(300), *commands[:-1]) > 30
    assert count_readable(tmp_path, sound, range(60), ("export",)) == 0  # it keeps no adapters


def could_report(folder: Path) -> bool:
    """Write a report of a folder; False where that is refused in one line."""
    try:
        build_report(folder, folder / "r.html", surrogate="forest", resamples=2)
    except InputError as refused:
        if len(refused.problems) == 1:
            return False
        raise
    return True


@pytest.mark.slow
def test_reports_of_damaged_databases(tmp_path: Path, sound: Path) -> None:
    """A report is written, or refused in one line, outputs and statistics included."""
    content, written = (sound / "study.db").read_bytes(), 0
    for number in range(300, 400):
        (tmp_path / "study.db").write_bytes(damaged(content, number))
        try:
            with quiet(), in_time():
                written += could_report(tmp_path)
        except Exception as error:
            error.add_note(f"damage number {number}")
            raise
    assert written > 20


# ---------------------------------------------------------------- wrong values in sound pages

WRONG_VALUES = {
    "a parameter's JSON": "UPDATE trial_params SET distribution_json = '{'",
    "an unknown distribution": (
        "UPDATE trial_params SET distribution_json = "
        '\'{"name": "Os", "attributes": {"command": "true"}}\''
    ),
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
    "details that are none": "UPDATE run_evaluations SET details = 'x'",
    "a seed of text": "UPDATE run_evaluations SET seed = 'x'",
    "no schema version": "DELETE FROM run_schema",
    "a later schema": "UPDATE run_schema SET version = 99",
    "no Optuna version": "DELETE FROM alembic_version",
    "a later Optuna": "UPDATE alembic_version SET version_num = 'v99.0.0'",
}


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_wrong_values_are_refused_in_one_line(tmp_path: Path, sound: Path, name: str) -> None:
    """What cannot be a study's is named, and the database left alone."""
    changed_copy(tmp_path, sound, WRONG_VALUES[name])
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
def test_wrong_details_are_refused_where_they_are_read(
    tmp_path: Path, sound: Path, name: str
) -> None:
    """Outputs and statistics are read late: `show` does without, what needs them says so."""
    changed_copy(tmp_path, sound, WRONG_DETAILS[name] or "SELECT 1")
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


def changed_copy(folder: Path, sound: Path, statement: str) -> None:
    """Copy a sound database and change it by a statement, which leaves one file."""
    (folder / "study.db").write_bytes((sound / "study.db").read_bytes())
    with closing(sqlite3.connect(folder / "study.db")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        try:
            connection.execute(statement)
        except sqlite3.IntegrityError:  # a column that must hold something: an empty text does
            connection.execute("UPDATE run_examples SET targets = sources || x'00'")
        connection.commit()


def test_a_damaged_study_is_not_continued(tmp_path: Path, sound: Path) -> None:
    """`run` refuses what it cannot read, before anything is trained."""
    changed_copy(tmp_path, sound, WRONG_VALUES["an unknown distribution"])
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text("source\ttarget\na\tb\n")
    files = '[data]\ntrain = "train.tsv"\ndev = "dev.tsv"\n'
    (tmp_path / "petroleum.toml").write_text(f'{files}[search]\nspace = "lora-narrow"\n')
    ran = command("run", tmp_path / "petroleum.toml", "--out", tmp_path, "--workers", "1")
    assert ran.status == 2
    (line,) = ran.err.splitlines()
    assert "cannot read the study: ValueError: Unknown distribution class: Os" in line


# ---------------------------------------------------------------- journals


def journal(path: Path) -> bytes:
    """Write a journal file with one small study and return its bytes."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(path))))
    for _ in range(4):
        trial = study.ask()
        study.tell(trial, trial.suggest_float("a", 0, 1) + trial.suggest_categorical("b", [1, 2]))
    return path.read_bytes()


def mangled(content: bytes, number: int) -> bytes:
    """Return a journal with a line changed, dropped, doubled or with other values."""
    rng = random.Random(f"journal/{number}")
    lines = content.splitlines()
    at = rng.randrange(len(lines))
    entry = json.loads(lines[at])
    key = rng.choice(list(entry))
    other = rng.choice([None, -1, 10**30, "x", [], {}, 1.5, True])
    ways: list[Callable[[], bytes]] = [
        lambda: json.dumps({**entry, key: other}).encode(),
        lambda: json.dumps({k: v for k, v in entry.items() if k != key}).encode(),
        lambda: lines[at] + b"\n" + lines[at],
        lambda: lines[at][: rng.randrange(len(lines[at]))],
        lambda: lines[at].replace(b"0", rng.choice([b"7", b"-", b"\xff"])),
    ]
    lines[at] = rng.choice(ways)()
    return b"\n".join(lines) + b"\n"


def test_mangled_journals(tmp_path: Path) -> None:
    """A journal with a wrong line is read as far as it goes, or refused; it is not repaired."""
    content = journal(tmp_path / "sound.log")
    (tmp_path / "x").mkdir()
    read = 0
    for number in range(25):
        path = tmp_path / "x" / "journal.log"
        path.write_bytes(mangled(content, number))
        before = fingerprint(path.parent)
        with quiet():
            read += accepted("show", path)
        assert fingerprint(path.parent) == before
    assert 0 < read < 25


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
    for target, (name, *options) in itertools.product(targets, (READING[0], ("report",))):
        ran = command(name, *options, "--", target)
        assert (ran.status, ran.out) == (2, ""), target
        assert len(ran.err.splitlines()) == 1, ran.err
    assert sorted(os.listdir(tmp_path)) == before


def test_a_log_of_garbage_beside_a_database(tmp_path: Path, sound: Path) -> None:
    """A log that is none is ignored by SQLite, and stays where it is."""
    (tmp_path / "study.db").write_bytes((sound / "study.db").read_bytes())
    (tmp_path / "study.db-wal").write_bytes(b"\x07" * 5000)
    content = (tmp_path / "study.db").read_bytes()
    assert accepted("show", tmp_path)
    assert (tmp_path / "study.db").read_bytes() == content


def test_a_medium_that_cannot_be_written(tmp_path: Path, sound: Path) -> None:
    """A read-only folder is read; a report goes where it is asked to."""
    (tmp_path / "study.db").write_bytes((sound / "study.db").read_bytes())
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
