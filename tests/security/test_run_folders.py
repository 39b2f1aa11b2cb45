"""A run writes and deletes its own files, whatever lies in its folder or stands in its database."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy
from filelock import FileLock

from analysis.document import Cell, Table
from benchmarks.storage_runs import cheap_spec, run_cheaply
from reports.page.figures import save as save_figure
from reports.page.files import save_figures, save_tables
from reports.page.parts import Figure, Figures, Page, Section
from study.bases.cache import cached
from study.errors import InputError
from study.finished.export import export_trial
from study.spec.files import load_spec
from study.spec.writing import write_new
from study.store import live_runs, schema
from study.store.folders import SIDECARS, check_run_folder
from study.store.saved_adapters import save_adapter, trial_name
from study.store.storage import open_for_writing, sqlite_url
from study.trials import AdapterFiles
from tests.fuzz.command import command, fingerprint
from tests.security.hostile import ONE_WEIGHT
from tests.synthetic import Shape, write_study

ID = "0123456789abcdef" * 2
FILES = ("spec.toml", "study.db", "report.html", ".lock", *(f"study.db{s}" for s in SIDECARS))
FOLDERS = ("adapters", "export", "adapters/trial-00000", "adapters/.trial-00001.unfinished")
INSIDE = "adapters/trial-00002/adapter_model.safetensors"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is none of a run's business."""
    folder = tmp_path / "outside"
    (folder / "trial-00000").mkdir(parents=True)
    (folder / "precious").write_text("keep me")
    (folder / "trial-00000" / "precious").write_text("keep me too")
    return folder


# ---------------------------------------------------------------- what a database says


@pytest.mark.parametrize(
    ("parent", "named"),
    [
        (ID, "absolute"),
        (ID, "relative"),
        (ID, "notes"),
        ("../../outside/precious", "absolute"),
        ("/../notes", "notes"),
        (f"{ID}\n", "absolute"),
    ],
)
def test_no_file_that_a_database_names_is_deleted(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, parent: str, named: str
) -> None:
    """A row of `run_parents` with this host's name costs nobody a file, whatever its path is."""
    out, precious = tmp_path / "run", outside / "precious"
    (out / ".lock-").mkdir(parents=True)
    (out / "notes").write_text("mine")
    monkeypatch.chdir(out)
    path = {"absolute": precious, "relative": "../outside/precious", "notes": out / "notes"}[named]
    assert not run_cheaply(cheap_spec(1), out, None, 0.0)
    before = fingerprint(outside)
    engine = sqlalchemy.create_engine(sqlite_url(out / "study.db"))
    for age in (1.0, live_runs.GRACE_SECONDS + 1):
        with engine.begin() as connection:
            connection.execute(
                sqlalchemy.text(
                    "INSERT OR REPLACE INTO run_parents "
                    f"VALUES (:p, :h, :l, {live_runs.CLOCKS['sqlite']} - :a)"
                ),
                {"p": parent, "h": socket.gethostname(), "l": str(path), "a": age},
            )
        live_runs.forget_the_dead(engine, out)
    assert not run_cheaply(cheap_spec(2), out, None, 0.0)
    assert fingerprint(outside) == before
    assert (out / "notes").read_text() == "mine"


def test_the_database_learns_no_path(tmp_path: Path) -> None:
    """What a run writes of its lock is a bare name: others need not know where its folder is."""
    storage = open_for_writing(sqlite_url(tmp_path / "study.db"))
    schema.create_tables(storage.engine)
    parent = live_runs.Parent(storage.engine, tmp_path)
    parent.begin()
    try:
        with storage.engine.connect() as connection:
            query = sqlalchemy.text("SELECT lock_file FROM run_parents")
            assert connection.execute(query).scalars().all() == [f".lock-{parent.id}"]
    finally:
        parent.end()


KILLED = """
import os, signal, sys
from pathlib import Path
import sqlalchemy
from study.store.live_runs import Parent
parent = Parent(sqlalchemy.create_engine("sqlite://"), Path(sys.argv[1]))
parent._renew = lambda: os.kill(os.getpid(), signal.SIGKILL)
parent.begin()
"""


def test_what_a_kill_leaves_is_cleaned_up(tmp_path: Path) -> None:
    """A run killed between its lock and its row leaves a lock that the next run removes."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".lock-*"))) == 1
    assert not run_cheaply(cheap_spec(1), tmp_path, None, 0.0)
    assert list(tmp_path.glob(".lock-*")) == []


def test_only_free_locks_of_ours_are_removed(tmp_path: Path, outside: Path) -> None:
    """A lock that is held, a link, a pipe, a folder and what only looks like a lock stay."""
    out = tmp_path / "run"
    out.mkdir()
    held, free, link, pipe, folder, hard = (
        out / f".lock-{digit * 32}" for digit in ("a", "b", "c", "d", "e", "f")
    )
    free.touch()
    link.symlink_to(outside / "precious")
    os.mkfifo(pipe)
    folder.mkdir()
    os.link(outside / "precious", hard)
    for name in (".lock-notes", f".lock-{'A' * 32}", f".lock-{'a' * 33}", f".lock-{'a' * 32}.txt"):
        (out / name).touch()
    before = fingerprint(outside)
    with FileLock(held):
        names = set(os.listdir(out))
        assert not run_cheaply(cheap_spec(1), out, None, 0.0)
        assert names - set(os.listdir(out)) == {free.name}
    assert fingerprint(outside) == before


# ---------------------------------------------------------------- what lies in a folder


def link(place: Path, target: Path) -> None:
    """A link where a run writes."""
    place.symlink_to(target)


def dangling(place: Path, target: Path) -> None:
    """A link to where nothing is yet."""
    place.symlink_to(target.with_name("new"))


def hard(place: Path, target: Path) -> None:
    """A second name of somebody's file."""
    os.link(target, place)


def pipe(place: Path, target: Path) -> None:
    """A pipe, on which a writer would wait for ever."""
    os.mkfifo(place)


def other_kind(place: Path, target: Path) -> None:
    """A file for a folder, and a folder for a file."""
    place.touch() if target.is_dir() else place.mkdir()


Planter = Callable[[Path, Path], None]
PLANTED = [
    *((name, plant) for name in (*FILES, INSIDE) for plant in (link, dangling, hard, pipe)),
    *((name, plant) for name in FOLDERS for plant in (link, dangling, pipe)),
    ("spec.toml", other_kind),
    ("adapters", other_kind),
]


@pytest.mark.parametrize(("name", "plant"), PLANTED)
def test_links_in_a_run_folder_are_refused(
    tmp_path: Path, outside: Path, name: str, plant: Planter
) -> None:
    """One line, status 2, nothing written: neither in the folder nor where a link leads."""
    place = tmp_path / "run" / name
    place.parent.mkdir(parents=True)
    plant(place, outside if name in FOLDERS or name == "adapters" else outside / "precious")
    before, names = fingerprint(outside), sorted((tmp_path / "run").rglob("*"))
    ran = command("run", "petroleum", "--out", tmp_path / "run")
    assert ran.status == 2
    (line,) = ran.err.splitlines()
    assert f"{place}: must be a plain " in line
    assert "; allowed: a plain " in line
    assert fingerprint(outside) == before
    assert sorted((tmp_path / "run").rglob("*")) == names
    assert sorted(os.listdir(outside)) == ["precious", "trial-00000"]


def test_confirm_refuses_them_too(tmp_path: Path, outside: Path) -> None:
    """It writes into the same folder."""
    run = write_study(tmp_path / "run", Shape(complete=4, failed=0, enqueued=0, examples=4))
    engine = sqlalchemy.create_engine(sqlite_url(run / "study.db"))
    with engine.begin() as connection:
        spec = {"s": load_spec("petroleum").to_toml()}
        connection.execute(sqlalchemy.text("UPDATE run_studies SET spec = :s"), spec)
    (run / "adapters").symlink_to(outside)
    ran = command("confirm", run)
    assert ran.status == 2
    (line,) = ran.err.splitlines()
    assert "must be a plain folder" in line


def test_a_run_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    """`runs -> /bigdisk/runs` is the user's own doing; links of no concern to us are let be."""
    real = tmp_path / "disk" / "run"
    real.mkdir(parents=True)
    (tmp_path / "run").symlink_to(real)
    (real / "notes").symlink_to("/etc/hostname")
    (real / "adapters").mkdir()
    (real / "adapters" / "best").symlink_to("trial-00000")
    assert not run_cheaply(cheap_spec(2), tmp_path / "run", None, 0.0)
    assert {"study.db", "spec.toml", "notes"} <= set(os.listdir(real))
    assert not (real / "spec.toml").is_symlink()


def test_a_link_that_appears_during_a_run_empties_nothing(tmp_path: Path, outside: Path) -> None:
    """Adapters are neither saved nor removed through a link that came after the run began."""
    check_run_folder(tmp_path)
    (tmp_path / "adapters").symlink_to(outside)
    before = fingerprint(outside)
    with pytest.raises(InputError, match="must be a plain folder"):
        save_adapter(tmp_path, trial_name(0), AdapterFiles("{}", ONE_WEIGHT))
    assert fingerprint(outside) == before


def test_a_linked_log_beside_a_named_database_is_refused(tmp_path: Path, outside: Path) -> None:
    """Where the user names the database, SQLite's files beside it are still looked at."""
    (tmp_path / "shared.db-wal").symlink_to(outside / "precious")
    with pytest.raises(InputError, match=r"shared\.db-wal: must be a plain file"):
        open_for_writing(sqlite_url(tmp_path / "shared.db"))
    assert (outside / "precious").read_text() == "keep me"


def test_an_export_follows_no_link(tmp_path: Path, outside: Path) -> None:
    """Neither a linked `export` folder nor a link in the place of `--out`."""
    save_adapter(tmp_path, trial_name(1), AdapterFiles('{"peft_type": "LORA"}', ONE_WEIGHT))
    (tmp_path / "export").symlink_to(outside)
    (tmp_path / "out").symlink_to(outside / "new")
    for out in (None, tmp_path / "export" / "mine"):
        with pytest.raises(InputError, match="export: must be a plain folder"):
            export_trial(tmp_path, load_spec("petroleum"), 1, out)
    with pytest.raises(InputError, match="exists already"):
        export_trial(tmp_path, load_spec("petroleum"), 1, tmp_path / "out")
    assert sorted(os.listdir(outside)) == ["precious", "trial-00000"]


def test_a_pipe_in_an_adapter_is_not_read(tmp_path: Path) -> None:
    """Copying it would wait for ever."""
    folder = save_adapter(
        tmp_path, trial_name(1), AdapterFiles('{"peft_type": "LORA"}', ONE_WEIGHT)
    )
    os.mkfifo(folder / "notes")
    with pytest.raises(InputError, match="contains a pipe, socket or device"):
        export_trial(tmp_path, load_spec("petroleum"), 1)


@pytest.mark.parametrize("plant", [link, dangling, pipe])
def test_other_files_that_are_written_follow_no_link(
    tmp_path: Path, outside: Path, plant: Planter
) -> None:
    """The next study file, a figure among the figures, and a folder of the cache."""
    before = fingerprint(outside)
    plant(tmp_path / "next.toml", outside / "precious")
    with pytest.raises(InputError, match=r"next\.toml: must be a plain file"):
        write_new(tmp_path / "next.toml", "name = 'x'\n")
    plant(tmp_path / "f.png", outside / "precious")
    with pytest.raises(InputError, match=r"f\.png: must be a plain file"):
        save_figure(Figure("f", lambda axes: None, "f"), tmp_path / "f.png")
    lock = Path(f"{cached('base', Path.mkdir, tmp_path / 'cache')}.lock")
    lock.unlink()
    plant(lock, outside / "precious")
    with pytest.raises(InputError, match=r"\.lock: must be a plain file"):
        cached("base", Path.mkdir, tmp_path / "cache")
    assert fingerprint(outside) == before
    assert not (outside / "new").exists()


def test_the_files_of_a_report_stay_in_their_folder(tmp_path: Path) -> None:
    """A figure is named after a metric, a table after its section, whatever they are called."""
    name = "bars-x/../../outside"
    figure = Figure(name, lambda axes: axes.plot([0, 1]), "alt")
    table = Table("scores", ("a",), ((Cell("1"),),))
    parts = (table, Figures((figure,)))
    page = Page("t", "", (), (), (), (Section(name, "s", "r", parts),), "")
    made = [*save_figures(page, tmp_path / "files"), *save_tables(page, tmp_path / "files")]
    assert len(made) == 2
    assert {path.parent for path in made} == {tmp_path / "files"}
    assert os.listdir(tmp_path) == ["files"]


def test_tables_whose_names_become_one_are_all_written(tmp_path: Path) -> None:
    """Two tables of a section keep a file each, whatever is left of the section's name."""
    tables = tuple(Table("scores", ("a",), ((Cell(text),),)) for text in "12")
    page = Page("t", "", (), (), (), (Section("bars x", "s", "r", tables),), "")
    made = save_tables(page, tmp_path)
    assert [path.name for path in made] == ["bars-x-scores.csv", "bars-x-scores~2.csv"]
    assert ["1" in path.read_text(encoding="utf-8") for path in made] == [True, False]


def test_a_new_base_follows_no_link(tmp_path: Path, outside: Path) -> None:
    """`base --out` and `curate --out` are folders that do not exist, and a link does."""
    (tmp_path / "new").symlink_to(outside / "new")
    for name in ("base", "curate"):
        ran = command(name, tmp_path / "none.tsv", "--out", tmp_path / "new")
        assert ran.status == 2
        assert "exists already" in ran.err
    assert not (outside / "new").exists()
