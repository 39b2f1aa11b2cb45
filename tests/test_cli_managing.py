"""Commands over the studies that a person has: list, rename, delete, continue, watch, change."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock

from analysis import load
from optuna_study.cli import running
from study import confirming
from study.bases.cache import cached
from study.engines.engine_choice import PACKED
from study.errors import InputError, did_you_mean
from study.kinds.goals import of_goal
from study.runner import StudyRun
from study.spec.files import changed_keys, load_spec, stored_spec
from study.store.ledger import open_ledger
from study.store.storage import sqlite_url
from tests.command_line import Type


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A run folder of the study `petroleum`, as its run left it."""
    folder = tmp_path / "runs" / "petroleum"
    shutil.copytree(finished, folder)
    (folder / "spec.toml").write_text(load(folder).spec_text or "", encoding="utf-8")
    (folder / "adapters" / "trial-00001").mkdir(parents=True)
    return folder


def _execute(run: Path, *lines: str) -> None:
    with closing(sqlite3.connect(run / "study.db")) as connection:
        for line in lines:
            connection.execute(line)
        connection.commit()


def test_list_shows_the_runs_of_a_folder(type_: Type, run: Path, tmp_path: Path) -> None:
    """Name, counts and best of each run; a damaged one has its problem; JSON holds the same."""
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "study.db").write_text("nothing")
    ran = type_("list")
    assert "runs/petroleum" in ran.out
    assert "neither" in ran.out
    broken, found = json.loads(type_("list", "runs", "--json").out)["runs"]
    assert "problem" in broken
    assert found["study"] == "petroleum"
    assert found["best"] == load(run).best_value
    assert type_("list", "nowhere").problems == ["nowhere: no such folder"]


def test_a_renamed_study_keeps_everything(type_: Type, run: Path, tmp_path: Path) -> None:
    """The database, the stored file and the folder have the new name; the trials are the same."""
    before = load(run).trials
    assert type_("rename", run, "oil").status == 0
    renamed = tmp_path / "runs" / "oil"
    data = load(renamed)
    assert (data.name, data.folder) == ("oil", renamed)
    assert load_spec(renamed / "spec.toml").name == "oil"
    assert data.trials.equals(before)
    assert "name: " in type_("rename", renamed, "a/b").err
    assert load(renamed).name == "oil"


def test_only_what_a_run_made_is_deleted(type_: Type, run: Path) -> None:
    """A person's own file and exported models stay, and are named."""
    (run / "notes.txt").write_text("mine")
    (run / "export").mkdir()
    ran = type_("delete", run, "--yes")
    assert ran.status == 0
    assert sorted(path.name for path in run.iterdir()) == ["export", "notes.txt"]
    assert "notes.txt" in ran.out
    assert "not a run folder" in type_("delete", run, "--yes").err


@pytest.mark.parametrize("command", [("delete", "--yes"), ("rename", "oil")])
def test_a_folder_with_a_run_at_work_is_left_alone(
    type_: Type, run: Path, command: tuple[str, str]
) -> None:
    """Nothing is deleted or renamed while a run holds the folder's lock."""
    with FileLock(run / ".lock"):
        ran = type_(command[0], run, command[1])
    assert ran.status == 2
    assert "another `optuna-study run` is working in this folder" in ran.err
    assert load(run).name == "petroleum"


def test_a_dead_run_is_not_running_for_ever(type_: Type, run: Path) -> None:
    """A trial without a live run is told as stopped, with the command that continues the study."""
    _execute(run, "UPDATE trials SET state = 'RUNNING' WHERE number = 3")
    ran = type_("show", run, "--watch")
    assert "1 stopped with their run" in ran.out
    assert f"to continue: optuna-study run {run}" in " ".join(ran.out.split())
    assert "running" not in load(run).counts
    lock = ".lock-" + "a" * 32
    row = f"'{'a' * 32}', 'elsewhere', '{lock}', (julianday('now') - 2440587.5) * 86400.0"
    _execute(run, f"INSERT INTO run_parents VALUES ({row})")
    assert load(run).counts["running"] == 1
    _execute(run, "UPDATE run_parents SET seen_at = seen_at - 1000")
    assert load(run).counts["stopped"] == 1


def test_a_renamed_copy_starts_no_second_study(run: Path) -> None:
    """A study of another name is refused in a run folder that holds one."""
    url = sqlite_url(run / "study.db")
    spec = stored_spec(load(run).spec_text, str(run), overrides={"name": "another"})
    refused = pytest.raises(InputError, match="holds the study 'petroleum', not 'another'")
    with refused, open_ledger(url, spec, run, print):
        pass
    assert load(run).name == "petroleum"


def test_a_run_folder_names_its_study(type_: Type, run: Path) -> None:
    """`run FOLDER` continues the stored study there, and changes are refused as for its file."""
    assert "--out" in type_("run", run, "--out", "elsewhere").err
    assert "search.trials: must be" in type_("run", run, "--set", "search.trials=0").err


def test_stored_code_needs_this_calls_consent(type_: Type, run: Path) -> None:
    """A run folder whose study names code is not continued without --trust-study."""
    spec = (load(run).spec_text or "").replace("[base]", "[base]\ntrust_remote_code = true")
    with closing(sqlite3.connect(run / "study.db")) as connection:
        connection.execute("UPDATE run_studies SET spec = ?", (spec,))
        connection.commit()
    assert "names code to run" in type_("run", run).err


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ("training.steps=40", "training.steps", 40),
        ("search.sampler = tpe", "search.sampler", "tpe"),
        ('evaluation.metrics=["bleu"]', "evaluation.metrics", ["bleu"]),
        ("name=a=b", "name", "a=b"),
        ("base.trust_remote_code=true", "base.trust_remote_code", True),
    ],
)
def test_any_key_can_be_set(change: str, key: str, value: object) -> None:
    """A value is TOML, or else plain text."""
    assert changed_keys([change]) == {key: value}


@pytest.mark.parametrize("change", ["steps", "=3", "a..b=3", ".a=3"])
def test_a_change_without_a_key_is_refused(change: str) -> None:
    """The line says what form a change has."""
    with pytest.raises(InputError, match="--set: must be KEY=VALUE"):
        changed_keys([change])


def test_paths_on_the_command_line_start_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of data that is set is looked for here, not beside the study file."""
    monkeypatch.chdir(tmp_path)
    study = tmp_path / "elsewhere" / "s.toml"
    study.parent.mkdir()
    study.write_text('[base]\nmodel = "embedded"\n[data]\ntrain = "x.tsv"\ndev = "y.tsv"\n')
    spec = load_spec(study, changed_keys(["data.train=a.tsv"]))
    assert spec.data.train == tmp_path / "a.tsv"


def test_a_refused_check_is_json_too(type_: Type, tmp_path: Path) -> None:
    """Every fault of the file is in the document, with near names, and the status stays 2."""
    (tmp_path / "s.toml").write_text(
        "[training]\nlr = 3\n[search.parameters.ranks]\nchoices = [1]\n"
        "[search.parameters.bs]\nchoices = [1]\n"
    )
    ran = type_("check", "s.toml", "--json")
    assert ran.status == 2
    problems = json.loads(ran.out)["problems"]
    assert problems == ran.problems
    for near in ("learning_rate", "rank", "batch_size"):
        assert sum(f"{near}?" in problem for problem in problems) == 1


@pytest.mark.parametrize(
    ("given", "meant"),
    [("lr", "learning_rate"), ("lora_alpha", "alpha"), ("alhpa", "alpha"), ("zzz", "")],
)
def test_what_is_meant(given: str, meant: str) -> None:
    """Initials, names of other libraries and slips lead to the name."""
    found = did_you_mean(given, ["alpha", "learning_rate", "rank"])
    assert found == (f"; did you mean {meant}?" if meant else "")


@pytest.mark.whole
def test_closed_output_is_no_traceback(run: Path) -> None:
    """With its standard output closed, as a daemon's may be, a command ends as always."""
    command = f'exec "{sys.executable}" -m optuna_study show "{run}" >&-'
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("json", ["--json", ""])
def test_output_that_cannot_be_written_is_one_line(json: str) -> None:
    """On a full disk the last buffer fails too: status 2, and Python adds nothing at its end."""
    command = f'exec "{sys.executable}" -m optuna_study list {json} >/dev/full'
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == "input or output: No space left on device\n"


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line says which folder it is, and how to choose another."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPTUNA_STUDY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(
        InputError, match=r"file/cache: cannot write the cache .* OPTUNA_STUDY_CACHE"
    ):
        cached("x", lambda folder: None)


def test_a_folder_whose_name_is_not_utf_8_is_read(run: Path, tmp_path: Path) -> None:
    """SQLite gets the bytes of a path that is no text."""
    odd = tmp_path / os.fsdecode(b"r\xffn")
    run.rename(odd)
    assert load(odd).name == "petroleum"


@pytest.mark.whole
def test_studies_of_one_storage_are_listed_shown_and_continued(
    type_: Type, run: Path, tmp_path: Path
) -> None:
    """A storage of several studies is listed by name; `run FOLDER` takes the one of its folder."""
    shared = tmp_path / "shared.db"
    (run / "study.db").rename(shared)
    url = sqlite_url(shared)
    optuna.create_study(storage=url, study_name="another")
    assert [row["study"] for row in json.loads(type_("list", url, "--json").out)["runs"]] == [
        "petroleum",
        "another",
    ]
    assert "--study-name STUDY" in type_("list", shared).out
    (row,) = json.loads(type_("list", "runs", "--json").out)["runs"]
    assert "in another storage: name that URL" in row["problem"]
    assert "in another storage: name that URL" in type_("show", run).err
    assert type_("show", url, "--study-name", "petroleum").status == 0
    assert "choose one with --study-name: petroleum, another" in type_("show", url).err
    ran = type_("run", run, "--storage", url, "--set", "training.steps=3")
    assert "training.steps: was" in ran.err
    wrong = type_("run", run, "--storage", url, "--study-name", "another")
    assert "not a run folder of optuna-study" in wrong.err
    assert "a study file names its" in type_("run", "petroleum", "--study-name", "x").err


def test_a_study_starts_from_an_earlier_one(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The eight best points that fit are enqueued in place of the ladder, and one line says so."""
    spec = load_spec("petroleum", of_goal("best"))
    started = running._started_from(spec, str(run))
    searched = set(spec.search.search_space.distributions)
    best = [{k: t.params[k] for k in searched} for t in load(run).ranked()[:8]]
    assert list(started.search.enqueue) == best
    assert started.starts == ()
    assert "starting from the 8 best points of" in capsys.readouterr().err
    space = {"loraplus_lr_ratio": {"low": 1.0, "high": 16.0}}
    other = load_spec("petroleum", {"search.space": "none", "search.parameters": space})
    with pytest.raises(InputError, match=r"--start-from: .*: none of its .* lies in this study's"):
        running._started_from(other, str(run))


def test_the_goal_of_the_command_line_replaces_the_files() -> None:
    """`--goal best` brings its sampler and ladder to a file that names another sampler."""
    best = load_spec("petroleum", of_goal("best")).search
    assert (best.goal, best.sampler, best.start, best.confirm) == ("best", "lora", "ladder", True)
    understood = load_spec("petroleum", of_goal("understand")).search
    assert (understood.sampler, understood.start, understood.confirm) == ("sobol", "none", False)


def test_a_run_that_is_continued_for_the_best_confirms(run: Path) -> None:
    """`--goal best` decides anew whether to confirm, whatever the run folder stored for a default.

    `--no-confirm` keeps its word.
    """
    stored = load(run).spec_text
    assert stored is not None
    assert not stored_spec(stored, str(run)).search.confirm
    changes = {**of_goal("best"), "search.trials": 64}
    assert stored_spec(stored, str(run), overrides=changes).search.confirm
    changes["search.confirm"] = False
    assert not stored_spec(stored, str(run), overrides=changes).search.confirm


def test_the_three_best_are_tested_again_at_the_end(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are trained on two fresh seeds each; where that cannot be, one line says why."""
    asked: list[tuple[list[int], int]] = []

    def confirm_study(spec: Any, out: Path, view: Any, candidates: Any, **options: Any) -> bool:
        asked.append(([candidate.number for candidate in candidates], options["seeds"]))
        raise InputError("data.test: confirming needs held-out examples, got none")

    monkeypatch.setattr(confirming, "confirm_study", confirm_study)
    spec = load_spec("petroleum", of_goal("best"))
    finished = StudyRun(run, sqlite_url(run / "study.db"), "petroleum", stopped_early=False)
    running._test_the_best(spec, finished, None, PACKED)
    assert asked == [([trial.number for trial in load(run).ranked()[:3]], 2)]
    assert "were not tested again: data.test: confirming needs" in capsys.readouterr().err
