"""What is read is neither waited for nor written to: pipes, endless views, a database's files."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from analysis import load
from study.bases.safe_weights import check_adapter, check_model
from study.data.curation.instruction_records import Columns, read_records
from study.data.readers import read_pairs
from study.errors import InputError
from study.metrics.semantic import encoder_folder
from study.spec.base_and_data import DataSpec
from study.spec.files import read_toml
from study.spec.trust import checked_adapter_config
from study.store import schema
from study.store.folders import check_run_folder
from study.store.saved_adapters import saved_trials
from study.store.sqlite_file import CREATED_BY_OPTUNA
from study.store.storage import open_for_writing, open_read_only, sqlite_url
from tests.command_line import Type
from tests.fuzz.command import fingerprint
from tests.synthetic import Shape, write_study

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a small study."""
    return write_study(tmp_path / "run", Shape(complete=8, failed=0, enqueued=0, examples=2))


# ---------------------------------------------------------------- pipes


READERS: dict[str, Callable[[Path], object]] = {
    "corpus.tsv": lambda path: read_pairs(path, DataSpec(train=path, dev=path)),
    "corpus.jsonl": lambda path: read_records(str(path), Columns()),
    "results.csv": lambda path: load(path, space="lora-wide", objective="x"),
    "study.toml": read_toml,
    "adapter_config.json": checked_adapter_config,
    "study.db": lambda path: open_read_only(str(path)),
    "written.db": lambda path: open_for_writing(sqlite_url(path)),
    "tokenizer.json": lambda path: check_model(str(path.parent), "base.model"),
    "generation_config.json": lambda path: check_model(str(path.parent), "base.model"),
    "tokenizer_config.json": lambda path: check_adapter(path.parent),
    "modules.json": lambda path: encoder_folder(str(path.parent)),
    "1_Pooling/config.json": lambda path: encoder_folder(str(path.parents[1])),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_refused_at_once(tmp_path: Path, name: str) -> None:
    """Nobody writes into it, so whoever opened it would wait forever."""
    path = tmp_path / "folder" / name
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(InputError, match=r": must be a file, got a pipe, socket or device$"):
        READERS[name](path)


def test_links_are_read(tmp_path: Path) -> None:
    """A link to a file, and a file with a second name, are files."""
    (tmp_path / "file.toml").write_text("a = 1\n")
    (tmp_path / "link.toml").symlink_to(tmp_path / "file.toml")
    os.link(tmp_path / "file.toml", tmp_path / "hard.toml")
    assert read_toml(tmp_path / "link.toml") == read_toml(tmp_path / "hard.toml") == {"a": 1}


# ---------------------------------------------------------------- views and triggers


def altered(run: Path, *statements: str) -> Path:
    """Change a study's database as its owner could."""
    with closing(sqlite3.connect(run / "study.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return run / "study.db"


def refused_both_ways(path: Path, match: str) -> None:
    """Neither a reader nor a run opens it."""
    with pytest.raises(InputError, match=match):
        open_read_only(str(path))
    with pytest.raises(InputError, match=match):
        open_for_writing(sqlite_url(path))


@pytest.mark.parametrize("table", sorted(CREATED_BY_OPTUNA | set(schema.metadata.tables)))
def test_an_endless_view_in_place_of_a_table_is_refused(run: Path, table: str) -> None:
    """SQLite would compute its rows for as long as somebody reads them; case does not matter."""
    altered(run, f"DROP TABLE IF EXISTS {table}")
    for name in (table, table.upper()):
        path = altered(run, f'CREATE VIEW "{name}" AS {ENDLESS} x FROM c')
        refused_both_ways(path, f"holds a view, trigger or the like, '{name}'")
        altered(run, f"DROP VIEW {name}")


@pytest.mark.parametrize(
    "written",
    [
        "CREATE VIEW IF NOT EXISTS trials AS SELECT 1",
        "CREATE/**/VIEW trials AS SELECT 1",
        "CREATE VIEW main.trials AS SELECT 1",
        "create view trials AS SELECT 1",
    ],
)
def test_a_view_under_a_false_name_is_refused(run: Path, written: str) -> None:
    """SQLite goes by a view's own words, whatever the row says that holds them."""
    row = "INSERT INTO sqlite_master VALUES ('table', 'notes', 'notes', 0, ?)"
    with closing(sqlite3.connect(run / "study.db")) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'trials'")
        connection.execute(row, [written])
        connection.commit()
    refused_both_ways(run / "study.db", "holds a view|cannot read the database")


def test_a_trigger_is_refused(run: Path) -> None:
    """What a run writes would start it."""
    trigger = f"CREATE TRIGGER t AFTER INSERT ON trials BEGIN {ENDLESS} x FROM c; END"
    endless = trigger.replace("WITH RECURSIVE", "INSERT INTO trials (number) WITH RECURSIVE")
    path = altered(run, endless)
    refused_both_ways(path, "holds a view, trigger or the like, 't'")


def test_a_view_of_your_own_does_no_harm(run: Path) -> None:
    """Nobody reads it here."""
    altered(run, f"CREATE VIEW mine AS {ENDLESS} x FROM c")
    assert len(load(run).frozen_trials) == 8


# ---------------------------------------------------------------- beside a database


@pytest.fixture
def killed(run: Path, tmp_path: Path) -> Path:
    """A study that a killed run left: its log holds a row, and its index is gone."""
    left = tmp_path / "left"
    left.mkdir()
    with closing(sqlite3.connect(run / "study.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("UPDATE studies SET study_name = 'in the log'")
        connection.commit()
        for name in ("study.db", "study.db-wal"):
            shutil.copy(run / name, left / name)
    return left


@pytest.mark.parametrize("suffix", ["-shm", "-wal"])
@pytest.mark.parametrize("plant", [os.link, os.symlink])
def test_reading_writes_through_no_link(
    killed: Path, tmp_path: Path, suffix: str, plant: Callable[[Path, Path], None]
) -> None:
    """SQLite fills its index, so a link in its place is refused."""
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    (killed / f"study.db{suffix}").unlink(missing_ok=True)
    plant(precious, killed / f"study.db{suffix}")
    with pytest.raises(InputError, match=f"study.db{suffix}: must be a plain file"):
        load(killed)
    assert precious.read_text() == "keep me"


def test_a_log_is_read_without_a_trace(killed: Path) -> None:
    """No index appears beside it, and what stands in the log only is seen."""
    before = fingerprint(killed)
    assert load(killed).name == "in the log"
    assert fingerprint(killed) == before


# ---------------------------------------------------------------- run folders


@pytest.mark.parametrize(
    ("target", "got"),
    [
        ("nowhere", "a link to nowhere, which is broken"),
        ("loop", "a link to loop, which is broken"),
        ("file", "a link to file, which is no folder"),
    ],
)
def test_a_run_folder_that_is_none(tmp_path: Path, target: str, got: str) -> None:
    """The message says where the link leads; nothing is made there."""
    (tmp_path / "file").write_text("x")
    out = tmp_path / "loop"
    out.symlink_to(target)
    with pytest.raises(InputError, match=f"loop: must be a folder, got {got}"):
        check_run_folder(out)
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"]


def test_only_the_very_name_is_a_trials_folder(tmp_path: Path) -> None:
    """Numbers that no database holds and needless zeros belong to somebody else."""
    names = ("trial-00001", "trial-123456", ".trial-00002.unfinished")
    others = (f"trial-{'9' * 40}", "trial-000003", "trial-4", "trial-1234567890")
    for name in (*names, *others):
        (tmp_path / "adapters" / name).mkdir(parents=True)
    assert saved_trials(tmp_path) == {1, 2, 123456}


# ---------------------------------------------------------------- where a page is written


def test_a_page_is_not_written_over_the_study_it_shows(run: Path, type_: Type) -> None:
    """A database may be called study.html, and `--out` may name it."""
    shutil.copy(run / "study.db", run / "study.html")
    before = fingerprint(run)
    for options in ((run / "study.html",), (run, "--out", run / "study.db")):
        ran = type_("report", *options)
        assert ran.status == 2
        assert len(ran.problems) == 1
    assert fingerprint(run) == before


@pytest.mark.parametrize("content", ["<!-- mine --> notes", "# notes about <html>", "\0" * 9])
def test_a_page_replaces_only_pages(run: Path, type_: Type, content: str) -> None:
    """Another file in its place is somebody's, and is refused before anything is computed."""
    (run / "report.html").write_text(content)
    (line,) = type_("report", run).problems
    assert line.endswith("a file that holds no HTML is there; choose another --out")
    assert (run / "report.html").read_text() == content


@pytest.mark.parametrize("name", ["report.html", "report-error.log"])
def test_folders_in_the_way_of_a_page(run: Path, type_: Type, name: str) -> None:
    """They are named before the analysis."""
    (run / name).mkdir()
    ran = type_("report", run)
    assert ran.status == 2
    (line,) = ran.problems
    assert line.startswith(f"{run / name}: ")
    assert "folder" in line
