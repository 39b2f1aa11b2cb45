"""Reading creates and changes nothing; writing refuses what is not ours; passwords stay hidden."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from study.errors import InputError
from study.store import storage
from study.store.storage import (
    INCOMPLETE,
    close_after_writing,
    database_of,
    hidden,
    left_out,
    open_for_writing,
    open_read_only,
    sqlite_url,
    storage_problem,
)

pytestmark = pytest.mark.usefixtures("quiet_optuna")


def write_study(path: Path, trials: int = 3) -> Path:
    """An SQLite file with one study, written as a run writes it."""
    opened = open_for_writing(sqlite_url(path))
    study = optuna.create_study(storage=opened, study_name="x")
    study.optimize(lambda trial: trial.suggest_float("a", 0, 1), n_trials=trials)
    close_after_writing(opened)
    return path


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file of a folder and a hash of what it holds."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def trials_in(target: str | Path) -> int:
    """How many trials the first study of a target has."""
    opened = open_read_only(str(target))
    (study,) = opened.get_all_studies()
    return len(opened.get_all_trials(study._study_id))


def problem(target: str | Path, write: bool = False) -> str:
    """The one line with which a target is refused."""
    with pytest.raises(InputError) as refused:
        (open_for_writing if write else open_read_only)(str(target))
    (line,) = refused.value.problems
    assert line.isprintable()
    return line


# ---------------------------------------------------------------- reading


def test_every_form_of_a_target(tmp_path: Path) -> None:
    """The run folder, the file and its URL open the same study."""
    path = write_study(tmp_path / "study.db")
    for target in (tmp_path, path, sqlite_url(path), f"sqlite+pysqlite:///{path}"):
        assert trials_in(target) == 3


def test_reading_creates_and_changes_nothing(tmp_path: Path) -> None:
    """After a look at a study its folder holds the same files, byte for byte."""
    path = write_study(tmp_path / "study.db")
    before = fingerprint(tmp_path)
    assert list(before) == ["study.db"]  # the log was folded in
    assert trials_in(path) == 3
    assert fingerprint(tmp_path) == before


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "sqlite+pysqlite:///{}", "{}/"])
def test_a_missing_database_stays_missing(tmp_path: Path, form: str) -> None:
    """Asking for a file that is not there says so and makes none."""
    target = form.format(tmp_path / "sub" / "none.db")
    assert "no such file; a target is" in problem(target)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a b", "é", "~", "h#x", "p%41x", "c{0}", "c{", "a&b=c", "x;y"])
def test_folders_of_any_name(tmp_path: Path, name: str) -> None:
    """What means something in a URL or in Optuna's templates is part of a name all the same."""
    path = write_study(tmp_path / name / "study.db")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert trials_in(tmp_path / name) == trials_in(sqlite_url(path)) == 3


def test_a_question_mark_is_kept_or_refused(tmp_path: Path) -> None:
    """A path that the installed SQLAlchemy cannot put into a URL never names another file."""
    path = tmp_path / "what?" / "study.db"
    try:
        url = sqlite_url(path)
    except InputError as refused:
        url, lines = "", refused.problems
        assert "must not contain '?'" in lines[0]
    if url:
        write_study(path)
        assert trials_in(path) == 3
        assert [p.name for p in tmp_path.iterdir()] == ["what?"]


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "neither an SQLite database nor an Optuna journal"),
    "text": (b"hello\n", "neither an SQLite database nor an Optuna journal"),
    "other JSON": (b'{"a": 1}\n', "neither an SQLite database nor an Optuna journal"),
    "a JSON number": (b"5\n", "neither an SQLite database nor an Optuna journal"),
    "binary": (bytes(range(256)) * 9, "neither an SQLite database nor an Optuna journal"),
    "magic alone": (b"SQLite format 3\0", "cannot read the database"),
    "magic and garbage": (b"SQLite format 3\0" + b"\xff" * 8000, "cannot read the database"),
    "a damaged journal": (b'{"op_code": 0}\n{"op_co\n{}\n', "a damaged Optuna journal"),
    "no journal at all": (b'{"op_code": "x", "y": 1}\n', "a damaged Optuna journal"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_storage(tmp_path: Path, name: str) -> None:
    """Each is one line, and the file stays as it was."""
    content, expected = FILES[name]
    path = tmp_path / "study.db"
    path.write_bytes(content)
    assert expected in problem(path)
    assert path.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


def test_paths_that_no_system_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name too long, with a NUL or empty is no such file, not the study of the current folder."""
    write_study(tmp_path / "study.db")
    monkeypatch.chdir(tmp_path)
    for target in ("a" * 5000, "a\0b", ""):
        assert "no such file" in problem(target)


def foreign(path: Path, *tables: str) -> Path:
    """An SQLite file of somebody else's."""
    with closing(sqlite3.connect(path)) as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE {table} (id INTEGER)")
        connection.commit()
    return path


@pytest.mark.parametrize("tables", [("patients",), ("studies", "trials", "patients"), ()])
def test_somebody_elses_database_is_left_alone(tmp_path: Path, tables: tuple[str, ...]) -> None:
    """A foreign database, even a clinic's with studies and trials, is neither read nor written."""
    path = foreign(tmp_path / "clinic.db", *(tables or ("x",)))
    before = path.read_bytes()
    assert "an SQLite database without Optuna's tables" in problem(path)
    assert "an SQLite database without Optuna's tables" in problem(sqlite_url(path), write=True)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.whole
def test_a_damaged_database_is_one_line_for_the_command_line(tmp_path: Path) -> None:
    """Pages overwritten in the middle are noticed when opened, or named by `storage_problem`."""
    path = write_study(tmp_path / "study.db", trials=40)
    content = bytearray(path.read_bytes())
    content[8192:-4096] = b"\x5a" * len(content[8192:-4096])
    path.write_bytes(content)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one depends on SQLite
        trials_in(path)
    line = str(raised.value) if isinstance(raised.value, InputError) else None
    line = line or storage_problem(raised.value)
    assert line is not None
    assert "database" in line
    assert "\n" not in line


def test_a_truncated_database_is_refused(tmp_path: Path) -> None:
    """Half a file is no database."""
    path = write_study(tmp_path / "study.db", trials=20)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one depends on SQLite
        trials_in(path)
    assert isinstance(raised.value, InputError) or storage_problem(raised.value)


def test_other_exceptions_are_no_storage_problem() -> None:
    """A bug stays a bug, with its traceback."""
    assert storage_problem(ValueError("x")) is None
    assert storage_problem(KeyError("x")) is None


# ---------------------------------------------------------------- logs left behind

WRITER = """
import os, sys, time
import optuna
from study.store.storage import open_for_writing
optuna.logging.set_verbosity(optuna.logging.WARNING)
storage = open_for_writing(sys.argv[1])
study = optuna.create_study(storage=storage, study_name="x", load_if_exists=True)
for _ in range(5):
    study.tell(study.ask(), 1.0)
print("ready", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), 9)
"""


@pytest.mark.whole
def test_a_running_and_a_killed_writer_are_read_whole(tmp_path: Path) -> None:
    """What stands in the log only is seen while the writer runs and after it was killed."""
    path = tmp_path / "study.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, sqlite_url(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    with writer:
        assert writer.stdout.readline() == "ready\n"
        assert (tmp_path / "study.db-wal").stat().st_size > 0
        assert trials_in(path) == 5
        writer.stdin.write("\n")
        writer.stdin.flush()
        writer.wait(timeout=20)
    assert trials_in(path) == 5
    reopened = open_for_writing(sqlite_url(path))
    close_after_writing(reopened)
    log = tmp_path / "study.db-wal"  # empty, or gone with the last reader
    assert not log.exists() or log.stat().st_size == 0
    assert trials_in(path) == 5


def test_a_log_without_its_index_is_read(tmp_path: Path) -> None:
    """A database copied with its log, but without the index beside it, loses nothing."""
    path = tmp_path / "study.db"
    opened = open_for_writing(sqlite_url(path))
    study = optuna.create_study(storage=opened, study_name="x")
    study.tell(study.ask(), 1.0)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("study.db", "study.db-wal"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    close_after_writing(opened)
    assert trials_in(copy) == 1


# ---------------------------------------------------------------- older schemas


def make_older(path: Path) -> None:
    """Turn a database back into the schema of Optuna 3.1, which lacked an index."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX ix_trials_study_id")
        connection.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
        connection.commit()


def test_an_older_schema_is_upgraded_on_a_copy_only(tmp_path: Path) -> None:
    """An older study is read, and its file keeps its bytes and its version."""
    path = write_study(tmp_path / "study.db")
    make_older(path)
    before = fingerprint(tmp_path)
    assert trials_in(path) == 3
    assert fingerprint(tmp_path) == before


def test_an_older_schema_with_a_log_loses_nothing(tmp_path: Path) -> None:
    """The copy takes the log along."""
    path = write_study(tmp_path / "study.db")
    make_older(path)
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("INSERT INTO trials (number, study_id, state) VALUES (3, 1, 'COMPLETE')")
        writer.commit()
        assert trials_in(path) == 4


SCHEMA_OF_OPTUNA_2_3 = """
CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name VARCHAR(512) NOT NULL,
 direction VARCHAR(8) NOT NULL);
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE TABLE version_info (version_info_id INTEGER PRIMARY KEY, schema_version INTEGER,
 library_version VARCHAR(256));
CREATE TABLE study_user_attributes (study_user_attribute_id INTEGER PRIMARY KEY,
 study_id INTEGER, "key" VARCHAR(512), value_json VARCHAR(2048));
CREATE TABLE study_system_attributes (study_system_attribute_id INTEGER PRIMARY KEY,
 study_id INTEGER, "key" VARCHAR(512), value_json VARCHAR(2048));
CREATE TABLE trials (trial_id INTEGER PRIMARY KEY, number INTEGER, study_id INTEGER,
 state VARCHAR(8) NOT NULL, value FLOAT, datetime_start DATETIME, datetime_complete DATETIME);
CREATE TABLE trial_user_attributes (trial_user_attribute_id INTEGER PRIMARY KEY,
 trial_id INTEGER, "key" VARCHAR(512), value_json VARCHAR(2048));
CREATE TABLE trial_system_attributes (trial_system_attribute_id INTEGER PRIMARY KEY,
 trial_id INTEGER, "key" VARCHAR(512), value_json VARCHAR(2048));
CREATE TABLE trial_params (param_id INTEGER PRIMARY KEY, trial_id INTEGER,
 param_name VARCHAR(512), param_value FLOAT, distribution_json VARCHAR(2048),
 UNIQUE (trial_id, param_name));
CREATE TABLE trial_values (trial_value_id INTEGER PRIMARY KEY, trial_id INTEGER, step INTEGER,
 value FLOAT, UNIQUE (trial_id, step));
CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('v1.3.0.a');
INSERT INTO version_info VALUES (1, 12, '2.3.0');
INSERT INTO studies VALUES (1, 'old', 'MAXIMIZE');
INSERT INTO trials VALUES (1, 0, 1, 'COMPLETE', 0.5, '2020-11-05 10:00:00', '2020-11-05 10:00:01');
INSERT INTO trial_params VALUES (1, 1, 'x', 0.5,
 '{"name": "UniformDistribution", "attributes": {"low": 0, "high": 1}}');
INSERT INTO trial_values VALUES (1, 1, 7, 0.25);
"""
"""Its tables as that version made them; `trial_values` then held the reports to a pruner."""


def test_a_database_of_optuna_2_3_is_read_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A study of 2020 keeps its value, parameter and report, and Alembic says nothing."""
    path = tmp_path / "study.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_OF_OPTUNA_2_3)
    before = fingerprint(tmp_path)
    storage = open_read_only(str(path))
    (study,) = storage.get_all_studies()
    (trial,) = storage.get_all_trials(study._study_id)
    assert (trial.value, trial.params, trial.intermediate_values) == (0.5, {"x": 0.5}, {7: 0.25})
    assert fingerprint(tmp_path) == before
    assert not caplog.records
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("change", ["DELETE FROM version_info", "DROP TABLE alembic_version"])
def test_a_database_without_its_schemas_version_is_refused(tmp_path: Path, change: str) -> None:
    """One line says that no version is recorded."""
    path = write_study(tmp_path / "study.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
        connection.commit()
    assert "no schema version is recorded" in problem(path)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A database of a later Optuna is one line that says what to update, also for writers."""
    path = write_study(tmp_path / "study.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0'")
        connection.commit()
    assert "written by a newer Optuna (schema 'v99.0.0'); update this one" in problem(path)
    assert "cannot open the storage" in problem(sqlite_url(path), write=True)


# ---------------------------------------------------------------- journals


def write_journal(path: Path) -> Path:
    """A journal file with one study of three trials."""
    study = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(path))))
    study.optimize(lambda trial: trial.suggest_float("a", 0, 1), n_trials=3)
    return path


def test_a_journal_is_read_and_left_alone(tmp_path: Path) -> None:
    """A journal's trials are seen, and no lock or other file appears beside it."""
    path = write_journal(tmp_path / "journal.log")
    before = fingerprint(tmp_path)
    assert trials_in(path) == 3
    assert database_of(open_read_only(str(path))) is None
    assert fingerprint(tmp_path) == before


def test_a_journal_cut_in_its_last_line_is_read_up_to_there(tmp_path: Path) -> None:
    """A writer that died within a line loses that line only, and it is said."""
    path = write_journal(tmp_path / "journal.log")
    whole = path.read_bytes()
    for lost in (9, 1):
        path.write_bytes(whole[:-lost])
        assert trials_in(path) == 3
        assert left_out(open_read_only(str(path))) == INCOMPLETE
    for content in (whole, whole + b"\n"):
        path.write_bytes(content)
        assert left_out(open_read_only(str(path))) == ""


# ---------------------------------------------------------------- writing


def test_a_locked_database_is_refused_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that somebody else is writing is one line, after a short wait."""
    path = write_study(tmp_path / "study.db")
    monkeypatch.setattr(storage, "WRITE_TIMEOUT_SECONDS", 0.1)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert problem(sqlite_url(path), write=True).endswith("database is locked")
    assert trials_in(path) == 3


def test_runs_that_create_one_database_at_once_wait_for_each_other(tmp_path: Path) -> None:
    """SQLite refuses at once to set WAL mode while another run is about to set it."""
    path = tmp_path / "shared.db"
    with closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        ending = threading.Timer(0.2, other.rollback)
        ending.start()
        open_for_writing(sqlite_url(path))
        ending.join()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder in the file's place, a file in the folder's place, no file at all: one line."""
    (tmp_path / "file").write_text("x")
    assert "Is a directory" in problem(sqlite_url(tmp_path), write=True)
    assert "cannot write the database" in problem(sqlite_url(tmp_path / "file/x.db"), write=True)
    for url in ("sqlite://", "sqlite:///:memory:", "sqlite:///file:x.db?uri=true"):
        assert "does not name a file; allowed: sqlite:///FILE" in problem(url, write=True)
        assert "does not name a file; allowed: sqlite:///FILE" in problem(url)


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    """What `mktemp` made may be used."""
    path = tmp_path / "study.db"
    path.touch()
    assert trials_in(write_study(path)) == 3


def test_write_ahead_log(tmp_path: Path) -> None:
    """A run writes in WAL mode and leaves one file that can be copied alone."""
    path = tmp_path / "study.db"
    opened = open_for_writing(sqlite_url(path))
    assert isinstance(opened, RDBStorage)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    close_after_writing(opened)
    assert os.listdir(tmp_path) == ["study.db"]


# ---------------------------------------------------------------- URLs and passwords

URLS = [
    "postgresql://u:s3cret@h/db",
    "postgresql+psycopg://u:s3cret@h:5432/db",
    "postgresql://u:s3cret@h:port/db",
    "postgresql://u:s3@cret@h:port/db",
    "postgresql:/u:s3cret@h/db",
    "postgresql://:s3cret@h/db",
    "u:s3cret@h",
    "postgresql://h/db?user=u&password=s3cret",
    "postgresql://h/db?sslpassword=s3cret&user=u",
    "mysql://u:s3cret@h/db",
    "nothing://u:s3cret@h/db",
    "redis://:s3cret@h:6379",
]


@pytest.mark.parametrize("url", URLS)
def test_no_message_shows_a_password(url: str) -> None:
    """Whatever is wrong with a URL, its password is not in the line."""
    for line in (hidden(url), problem(url), problem(url, write=True)):
        assert "cret" not in line
        assert "***" in line


def test_what_is_not_secret_stays_readable() -> None:
    """User, host and database are shown, and paths are shown as they are."""
    assert hidden("postgresql://u:s3cret@h:5432/db?x=1") == "postgresql://u:***@h:5432/db?x=1"
    for plain in ("runs/petroleum", "sqlite:////tmp/é x.db", "postgresql://u@h/db", "C:\\runs"):
        assert hidden(plain) == plain


secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9)


@settings(deadline=None)
@given(secrets.map(lambda text: f"<<{text}>>"), st.sampled_from(["postgresql", "mysql+x", "a"]))
def test_any_password_is_hidden(password: str, scheme: str) -> None:
    """A password of any printable characters is replaced whole."""
    assert hidden(f"{scheme}://user:{password}@host/db") == f"{scheme}://user:***@host/db"


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that fails is one line in the driver's own words, for readers and writers."""
    monkeypatch.setattr(storage, "_sqlite_path", lambda url: None)  # as any server's URL
    for write in (False, True):
        line = problem(f"sqlite:///{tmp_path}/none/x.db", write=write)
        assert line.endswith("cannot open the storage: unable to open database file")
