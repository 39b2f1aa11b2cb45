"""A real PostgreSQL server: several runs share a study on it, and its password stays secret."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random
from unittest import mock

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError

from analysis import load
from benchmarks import postgres
from benchmarks.storage_runs import cheap_spec, run_cheaply, start
from study.errors import InputError
from study.store import outlasting, records, schema
from study.store.ledger import open_ledger
from study.store.storage import database_of, open_for_writing, open_read_only
from tests.cheap_runs import assert_whole, look
from tests.study.store.test_storage import SCHEMA_OF_OPTUNA_2_3
from tests.study.test_crashes import finish, kill_often

pytestmark = pytest.mark.skipif(
    postgres.binaries() is None,
    reason="a PostgreSQL server is NOT tested: needs Debian's package postgresql",
)
Starter = Callable[..., ForkServerProcess]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Return the URL of a server that runs as long as these tests."""
    with postgres.server() as url:
        yield url


@pytest.fixture
def url(server: str) -> str:
    """Return the URL of an empty database."""
    return postgres.new_database(server)


@pytest.fixture
def begin() -> Iterator[Starter]:
    """Return `start`, whose processes end with the test."""
    begun: list[ForkServerProcess] = []

    def starter(*arguments: object, **options: object) -> ForkServerProcess:
        begun.append(start(*arguments, **options))  # type: ignore[arg-type]
        return begun[-1]

    yield starter
    for process in begun:
        process.kill()
        process.join()


def everything_stored(url: str) -> str:
    """Every row of every table, as text."""
    database = database_of(open_read_only(url))
    assert database is not None
    with database.connect() as connection:
        tables = sqlalchemy.inspect(database).get_table_names()
        return "\n".join(
            str(row)
            for table in tables
            for row in connection.execute(sqlalchemy.text(f"SELECT * FROM {table}"))
        )


@pytest.mark.whole
def test_two_runs_share_a_study_and_one_of_them_dies(
    begin: Starter, url: str, tmp_path: Path
) -> None:
    """The other trains what it left; the total is exact; the password is written nowhere."""
    outs = [tmp_path / "a", tmp_path / "b"]
    total = kill_often(begin, outs, url, trials=12, kills=2, longest=0.5)
    for process in [begin(cheap_spec(total), out, url) for out in outs]:
        finish(process)
    assert_whole(look(url), total)
    assert postgres.PASSWORD not in everything_stored(url)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not any(postgres.PASSWORD.encode() in path.read_bytes() for path in written)


@pytest.mark.slow
def test_runs_may_share_a_folder_too(begin: Starter, url: str, tmp_path: Path) -> None:
    """On a server two runs work in one folder, and neither deletes what the other saved."""
    for process in [begin(cheap_spec(12), tmp_path / "shared", url) for _ in range(2)]:
        finish(process)
    found = look(url)
    assert_whole(found, 12)
    best = sorted(found.complete().items(), key=lambda item: item[1])[:3]
    saved = {p.name for p in (tmp_path / "shared" / "adapters").glob("trial-*")}
    assert {f"trial-{number:05d}" for number, _ in best} <= saved
    assert len(saved) <= 4  # at the very end each may have seen the other's as not yet told


@pytest.mark.whole
def test_a_run_and_its_readers_never_say_the_password(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in a frame, a log, a message or a report, whatever goes wrong with the URL."""
    from analysis import load

    caplog.set_level(logging.DEBUG)
    assert not run_cheaply(cheap_spec(3), tmp_path, url, 0.0)
    data = load(url)
    said = [data.target, repr(data), data._repr_html_(), str(data.provenance), caplog.text]
    wrong = [url.replace("s3cret-", "s3cret-wrong-"), url + "x", url.replace("127.0.0.1", "[::2]")]
    wrong += [url.replace("postgresql", "postgrsql")]
    for each in wrong:
        for opening in (open_read_only, open_for_writing):
            with pytest.raises(InputError) as refused:
                opening(each)
            said += refused.value.problems
            assert len(refused.value.problems) == 1
    said += capfd.readouterr()
    assert "***" in said[0]
    assert not any("s3cret" in text for text in said)


@pytest.mark.whole
def test_reading_changes_nothing_on_a_server(url: str, tmp_path: Path) -> None:
    """A reader's every transaction is read-only."""
    assert not run_cheaply(cheap_spec(2), tmp_path, url, 0.0)
    database = database_of(open_read_only(url))
    assert database is not None
    with (
        database.connect() as connection,
        pytest.raises(sqlalchemy.exc.DBAPIError, match="read-only transaction"),
    ):
        connection.execute(sqlalchemy.text("DELETE FROM run_claims"))


def execute(url: str, lines: Iterable[str]) -> None:
    """Change a database as somebody else does."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for line in lines:
            connection.exec_driver_sql(line)
    engine.dispose()


def test_a_server_with_the_tables_of_optuna_2_3_is_read(
    url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A study of 2020 keeps its value, parameter and report, in a copy that is upgraded."""
    script = SCHEMA_OF_OPTUNA_2_3.replace("DATETIME", "TIMESTAMP")
    execute(url, filter(str.strip, script.split(";")))
    capfd.readouterr()
    (trial,) = load(url).frozen_trials
    assert (trial.value, trial.params, trial.intermediate_values) == (0.5, {"x": 0.5}, {7: 0.25})
    assert not caplog.records
    assert "".join(capfd.readouterr()) == ""
    engine = sqlalchemy.create_engine(url)
    assert not sqlalchemy.inspect(engine).has_table("study_directions"), "the server was changed"
    engine.dispose()


def test_other_versions_on_a_server(url: str) -> None:
    """An older version is read alike, also our own tables; a newer and an unknown one refused."""
    storage = open_for_writing(url)
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    study.optimize(lambda t: t.suggest_categorical("x", [None, "a"]) is None, n_trials=3)
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    schema.create_tables(storage.engine)
    records.write_study(storage.engine, study._study_id, 'name = "s"', {"seed": 3})
    storage.engine.dispose()
    before = load(url)
    execute(
        url,
        ["DROP INDEX ix_trials_study_id", "UPDATE alembic_version SET version_num = 'v3.0.0.d'"],
    )
    after = load(url)
    assert after.trials.equals(before.trials)
    assert (after.counts, after.provenance) == (before.counts, before.provenance)
    assert after.provenance["seed"] == 3
    execute(url, ["UPDATE alembic_version SET version_num = 'v99.0.0'"])
    with pytest.raises(InputError, match=r"written by a newer Optuna \(schema 'v99\.0\.0'\)"):
        load(url)
    execute(url, ["DELETE FROM version_info"])
    with pytest.raises(InputError, match="no schema version is recorded") as caught:
        load(url)
    assert postgres.PASSWORD not in str(caught.value)


@pytest.mark.slow
def test_a_hundred_kills_of_two_runs(begin: Starter, url: str, tmp_path: Path) -> None:
    """100 of 100 kills are survived with exact counts, on a server with two runs at a time."""
    outs = [tmp_path / "a", tmp_path / "b"]
    total = kill_often(begin, outs, url, trials=200, kills=100, longest=0.6)
    for process in [begin(cheap_spec(total), out, url) for out in outs]:
        finish(process)
    assert_whole(look(url), total)


@pytest.mark.slow
def test_eight_runs_lose_and_repeat_nothing_in_two_thousand_trials(
    begin: Starter, url: str, tmp_path: Path
) -> None:
    """2,000 trials by 8 runs: as many claims, points and evaluations, each once."""
    spec = cheap_spec(2000)
    runs = [begin(spec, tmp_path / str(n), url, seconds=0.0) for n in range(8)]
    for process in runs:
        process.join()
        assert process.exitcode == 0
    found = look(url)
    assert_whole(found, 2000)
    assert len({str(t.params) for t in found.trials}) == 2000


@pytest.mark.parametrize(
    ("restarts", "away"),
    [
        pytest.param(1, 1.0, marks=pytest.mark.whole),
        pytest.param(12, 3.0, marks=pytest.mark.slow),
    ],
)
def test_runs_outlast_a_server_that_restarts(
    begin: Starter, tmp_path: Path, restarts: int, away: float
) -> None:
    """Two runs go on when it is back, whether it ended in order or crashed; nothing is lost."""
    with postgres.server() as server:
        url, total = postgres.new_database(server), 30 + 30 * restarts
        runs = [begin(cheap_spec(total), tmp_path / n, url, seconds=0.05) for n in ("a", "b")]
        rng = Random(restarts)
        for number in range(restarts):
            _wait_for_trials(url, 5 + 20 * number)
            time.sleep(rng.uniform(0.0, 0.1))
            postgres.restart(server, ("immediate", "fast")[number % 2], away)
        for run in runs:
            finish(run)
        assert_whole(look(url), total)


@pytest.mark.slow
def test_kills_and_restarts_together_lose_nothing(begin: Starter, tmp_path: Path) -> None:
    """Runs are killed while their server crashes and returns; the totals are exact."""
    with postgres.server() as server:
        url, total, outs = postgres.new_database(server), 20, [tmp_path / "a", tmp_path / "b"]
        for mode in ("immediate", "fast") * 5:
            total = kill_often(begin, outs, url, trials=total, kills=2, longest=0.5)
            spec = cheap_spec(total := total + 40)
            running = [begin(spec, out, url, seconds=0.1) for out in outs]
            while look(url).parents < 2:  # a run that finds no server when it begins is refused
                time.sleep(0.02)
            postgres.restart(server, mode, away=0.5)
            for process in running:
                finish(process)
            assert_whole(look(url), total)


@pytest.mark.whole
def test_a_server_that_stays_away_is_given_up(url: str, server: str, tmp_path: Path) -> None:
    """One line when it goes, one when time is over; Ctrl-C is not made to wait."""
    remarks: list[str] = []
    spec = cheap_spec(3)
    with (
        open_ledger(url, spec, tmp_path, remarks.append) as ledger,
        mock.patch.object(outlasting, "AWAY_SECONDS", 0.5),
    ):
        postgres.stop(server)
        with pytest.raises((StorageInternalError, sqlalchemy.exc.OperationalError)):
            ledger.counted()
        postgres.start(server)
        assert ledger.counted() == 0
    assert remarks == ["the database server is away; trying again for 0 minutes"]


def _complete(url: str) -> int:
    try:
        return len(look(url).complete())
    except (InputError, ValueError, sqlalchemy.exc.SQLAlchemyError, subprocess.SubprocessError):
        return 0


def _wait_for_trials(url: str, count: int) -> None:
    while _complete(url) < count:
        time.sleep(0.02)
