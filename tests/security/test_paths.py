"""What a database names leads nowhere: files are read and written where the user said."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from analysis import load
from reports.build import page_of
from reports.next_file import next_name
from reports.results import analyse
from study.errors import InputError
from study.finished.export import export_trial
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter, trial_name
from study.trials import AdapterFiles
from tests.fuzz.command import command, fingerprint, quiet
from tests.security.hostile import ONE_WEIGHT, write_hostile
from tests.synthetic import Shape, write_study

OUTSIDE = ("../../outside", "/etc", "..", "adapters/../../outside", "trial-00000/../../../outside")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder of a few trials, beside a folder that is none of its business."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "adapter_model.safetensors").write_bytes(b"secret")
    folder = write_study(tmp_path / "run", Shape(complete=4, failed=0, enqueued=0, examples=4))
    change(folder, "UPDATE run_studies SET spec = ?", load_spec("petroleum").to_toml())
    return folder


def change(folder: Path, statement: str, *values: str) -> None:
    """Change the database of a run folder."""
    with closing(sqlite3.connect(folder / "study.db")) as connection:
        connection.execute(statement, values)
        connection.commit()


@pytest.mark.parametrize("path", OUTSIDE)
def test_the_paths_that_a_database_names_are_not_followed(
    run: Path, tmp_path: Path, path: str
) -> None:
    """An adapter is found by its trial's number; what the database says of its place is ignored."""
    before = fingerprint(tmp_path / "outside")
    places = json.dumps({str(number): path for number in range(9)})
    columns = "study_user_attributes (study_id, key, value_json)"
    change(run, f"INSERT INTO {columns} VALUES (1, 'adapters', ?)", places)
    ran = command("export", run, "--trial", 0)
    assert ran.status == 2
    assert "no adapter of trial 0; kept: none" in ran.err
    assert fingerprint(tmp_path / "outside") == before
    assert not (run / "export").exists()


def test_a_number_that_is_a_path_is_refused(run: Path) -> None:
    """SQLite would hold a text where a trial's number belongs."""
    change(run, "UPDATE trials SET number = '../../outside' WHERE number = 0")
    ran = command("export", run)
    assert (ran.status, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("linked", ["the folder", "a file"])
def test_links_are_not_followed(
    run: Path, tmp_path: Path, tiny_spec: StudySpec, linked: str
) -> None:
    """An adapter that is a link, or holds one, is not copied from wherever that leads."""
    save_adapter(run, trial_name(1), AdapterFiles("{}", ONE_WEIGHT))
    place = run / "adapters" / trial_name(0)
    if linked == "the folder":
        place.symlink_to(tmp_path / "outside", target_is_directory=True)
    else:
        save_adapter(run, trial_name(0), AdapterFiles("{}", ONE_WEIGHT))
        (place / "notes").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="contains a link"):
        export_trial(run, load_spec("petroleum"), 0)
    assert not (run / "export").exists()


def test_strange_names_among_the_adapters(run: Path) -> None:
    """A folder that somebody put there is no trial, and no traceback."""
    (run / "adapters" / "trial-best").mkdir(parents=True)
    with pytest.raises(InputError, match="no adapter of trial 7; kept: none"):
        export_trial(run, load_spec("petroleum"), 7)


@pytest.mark.slow
def test_a_report_replaces_a_link_and_follows_none(run: Path, tmp_path: Path) -> None:
    """Where the page's place is a link its target keeps its content; the user's umask holds."""
    (tmp_path / "precious").write_text("keep me")
    (run / "report.html").symlink_to(tmp_path / "precious")
    before = os.umask(0o077)
    try:
        with quiet():
            ran = command("report", run, "--surrogate", "forest")
    finally:
        os.umask(before)
    assert ran.status == 0
    assert (tmp_path / "precious").read_text() == "keep me"
    assert not (run / "report.html").is_symlink()
    assert (run / "report.html").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/cron.d/x", "..", "a/b", "\x00\n", "-rf", "é" * 300]
)
def test_a_file_named_after_a_study_stays_where_it_is(name: str) -> None:
    """`next` names a file after a study, whatever somebody has called it."""
    found = Path(f"{next_name(name)}.toml")
    assert found.name == str(found)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", found.name)


def test_the_next_name_counts_on() -> None:
    """Names of our own studies stay as they are."""
    assert next_name("petroleum") == "petroleum-2"
    assert next_name("petroleum-2") == "petroleum-3"


@pytest.mark.slow
def test_figures_and_tables_are_not_saved_elsewhere(tmp_path: Path) -> None:
    """Whatever a study calls its metrics, splits and parameters, its files lie where one says."""
    hostile = write_hostile(tmp_path / "hostile")
    with quiet():
        page = page_of(analyse(load(hostile), surrogate="forest", resamples=2))
    names = [figure.identifier for figure in page.figures()]
    names += [f"{section}-{table.name}" for section, table in page.tables()]
    assert len(names) > 5
    for name in names:
        assert re.fullmatch(r"[a-z0-9_-]{1,100}", name)


@pytest.mark.slow
def test_an_unknown_metric_names_no_file(run: Path, tmp_path: Path) -> None:
    """A metric of the database that this program does not know is refused or left out."""
    change(run, "UPDATE run_scores SET metric = '../../outside/x' WHERE metric = 'chrf'")
    before = fingerprint(tmp_path / "outside")
    with quiet():
        ran = command("report", run, "--figures", tmp_path / "figures", "--surrogate", "forest")
    assert ran.status in (0, 2), ran.err
    assert fingerprint(tmp_path / "outside") == before
