"""What a run records comes back as it was, beside Optuna's tables and apart from other studies."""

from __future__ import annotations

import dataclasses
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from study.errors import InputError
from study.metrics import LOSS_SIGNATURE, Statistics, text_statistics
from study.store import records, schema
from study.store.records import Evaluation, Examples

STUDY = 1
OUTPUTS = ("le puits", "", "« la boue »\n\t\0 é 🛢")


@pytest.fixture
def database(tmp_path: Path) -> Engine:
    """A database with our tables."""
    made = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/study.db")
    schema.create_tables(made)
    return made


def evaluation(number: int | None = 0, split: str = "dev", name: str = "") -> Evaluation:
    """One evaluation of three examples."""
    references = ["le puits", "la boue", "la boue"]
    loss = Statistics("loss", np.array([[1.5, 3.0], [0.1, 1.0], [0.3, 2.0]]), LOSS_SIGNATURE)
    return Evaluation(
        role="search" if number is not None else "baseline",
        name=name,
        trial_number=number,
        seed=2**63 - 1,
        split=split,
        config={"rank": 8, "target_modules": "qv"},
        details={"train_seconds": 1.25},
        statistics={"bleu": text_statistics("bleu", OUTPUTS, references), "loss": loss},
        outputs=OUTPUTS,
    )


def stored(database: Engine) -> list[str]:
    """The identifiers of what is stored."""
    return [row.evaluation_id for row in records.read_evaluations(database, STUDY)]


def test_an_evaluation_comes_back(database: Engine) -> None:
    """Key, configuration, costs, scores, statistics and outputs are read as they were written."""
    made = evaluation()
    records.write_evaluations(database, STUDY, [made])
    (row,) = records.read_evaluations(database, STUDY)
    assert (row.role, row.name, row.trial_number, row.split) == ("search", "", 0, "dev")
    assert (row.seed, row.config, row.details) == (2**63 - 1, made.config, made.details)
    scores = {s.metric: s for s in records.read_scores(database, STUDY)}
    assert {m: s.score for m, s in scores.items()} == made.scores
    assert scores["bleu"].n_examples == 3
    assert scores["bleu"].signature == made.statistics["bleu"].signature
    for metric, statistics in made.statistics.items():
        found = records.read_statistics(database, row.evaluation_id, metric)
        assert found.metric == metric
        assert np.array_equal(found.values, statistics.values)
    assert records.read_outputs(database, row.evaluation_id) == OUTPUTS


def test_the_same_key_replaces(database: Engine) -> None:
    """A trial that is written again after a crash leaves one evaluation, with its parts."""
    records.write_evaluations(database, STUDY, [evaluation(), evaluation(1)])
    before = stored(database)
    records.write_evaluations(database, STUDY, [evaluation()])
    after = stored(database)
    assert len(after) == 2
    assert len(set(before) & set(after)) == 1
    for table in ("run_scores", "run_outputs"):
        with database.connect() as connection:
            found = connection.execute(text(f"SELECT DISTINCT evaluation_id FROM {table}"))
            assert {row[0] for row in found} == set(after)


def test_what_differs_in_its_key_stays(database: Engine) -> None:
    """Splits, seeds, baselines' names and studies keep evaluations apart."""
    different = [
        evaluation(),
        evaluation(split="general"),
        dataclasses.replace(evaluation(), seed=1),
        evaluation(None, name="base"),
        evaluation(None, name="default"),
        dataclasses.replace(evaluation(), role="confirm"),
    ]
    records.write_evaluations(database, STUDY, different)
    records.write_evaluations(database, STUDY + 1, different)
    assert len(stored(database)) == len(different)


def test_one_evaluation_that_fails_stores_none(database: Engine) -> None:
    """The evaluations of a trial are stored together or not at all."""
    broken = dataclasses.replace(evaluation(split="general"), config={"rank": object()})
    with pytest.raises(TypeError):
        records.write_evaluations(database, STUDY, [evaluation(), broken])
    assert stored(database) == []


def test_nothing_stored_is_a_key_error(database: Engine) -> None:
    """Asking for an unknown evaluation or metric says so."""
    records.write_evaluations(database, STUDY, [evaluation()])
    (known,) = stored(database)
    with pytest.raises(KeyError):
        records.read_statistics(database, known, "chrf")
    with pytest.raises(KeyError):
        records.read_outputs(database, "unknown")


def test_examples_are_written_once(database: Engine) -> None:
    """The texts of a split are those of the first run."""
    first = Examples(("the well", "é\n🛢"), ("le puits", ""))
    records.write_examples(database, STUDY, "dev", first)
    records.write_examples(database, STUDY, "dev", Examples(("other",), ("autre",)))
    records.write_examples(database, STUDY + 1, "dev", Examples((), ()))
    assert records.read_examples(database, STUDY) == {"dev": first}
    assert records.read_examples(database, STUDY + 1) == {"dev": Examples((), ())}


def test_groups_are_kept_beside_the_examples(database: Engine) -> None:
    """What each example belongs to is read again; a database before version 3 has none."""
    grouped = Examples(("a", "b"), ("c", "d"), ("page 1", "page 1"))
    records.write_examples(database, STUDY, "dev", grouped)
    records.write_examples(database, STUDY, "general", Examples(("a",), ("c",)))
    assert records.read_examples(database, STUDY)["dev"] == grouped
    assert records.read_examples(database, STUDY)["general"].groups == ()
    with database.begin() as connection:
        connection.execute(text("DROP TABLE run_groups"))
    assert records.read_examples(database, STUDY)["dev"] == Examples(("a", "b"), ("c", "d"))


def test_how_a_study_is_run(database: Engine) -> None:
    """A resumed study replaces its file and provenance and keeps its date."""
    assert records.read_spec(database, STUDY) is None
    assert records.read_provenance(database, STUDY) == {}
    records.write_study(database, STUDY, "seed = 1", {"workers": 1})
    with database.begin() as connection:
        connection.execute(text("UPDATE run_studies SET created_at = 'then'"))
    records.write_study(database, STUDY, "seed = 2", {"workers": 2})
    assert records.read_spec(database, STUDY) == "seed = 2"
    assert records.read_provenance(database, STUDY) == {"workers": 2, "created_at": "then"}
    with database.connect() as connection:
        assert connection.execute(text("SELECT created_at FROM run_studies")).all() == [("then",)]


def test_tables_are_made_once(database: Engine) -> None:
    """Making the tables again changes nothing, and there is one version."""
    records.write_evaluations(database, STUDY, [evaluation()])
    schema.create_tables(database)
    assert len(stored(database)) == 1
    with database.connect() as connection:
        versions = connection.execute(text("SELECT version FROM run_schema")).all()
    assert versions == [(schema.VERSION,)]


def test_optunas_tables_stay_untouched(tmp_path: Path) -> None:
    """Optuna's own tables have the same columns and rows with and without ours beside them."""
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=url, study_name="x")
    study.tell(study.ask(), 1.0)
    database = sqlalchemy.create_engine(url)
    before = {t: sqlalchemy.inspect(database).get_columns(t) for t in _tables(database)}
    assert not schema.has_tables(database)
    schema.create_tables(database)
    assert schema.has_tables(database)
    records.write_evaluations(database, STUDY, [evaluation()])
    after = {t: sqlalchemy.inspect(database).get_columns(t) for t in _tables(database)}
    ours = {t for t in after if t.startswith("run_")}
    assert str({t: c for t, c in after.items() if t not in ours}) == str(before)
    assert len(ours) == 9
    assert optuna.load_study(study_name="x", storage=url).best_value == 1.0


def _tables(database: Engine) -> list[str]:
    return sqlalchemy.inspect(database).get_table_names()


@pytest.mark.parametrize("version", [schema.VERSION + 1, 0, None])
def test_tables_of_another_version_are_refused(database: Engine, version: int | None) -> None:
    """Neither reading nor writing touches tables that this program does not know."""
    with database.begin() as connection:
        connection.execute(text("DELETE FROM run_schema"))
        connection.execute(text("INSERT INTO run_schema VALUES (:v)"), {"v": version or 0})
    for touch in (schema.has_tables, schema.create_tables):
        with pytest.raises(InputError, match=f"schema version {version or 0}; this program reads"):
            touch(database)


def test_a_score_that_is_no_number_is_stored_as_such(database: Engine) -> None:
    """A model that diverged has outputs and statistics like another; its loss is NaN."""
    nan = Statistics("loss", np.array([[math.nan, 3.0], [math.inf, 1.0], [0.0, 1.0]]), "x")
    made = dataclasses.replace(evaluation(), statistics={"loss": nan})
    records.write_evaluations(database, STUDY, [made])
    (row,) = records.read_scores(database, STUDY)
    assert math.isnan(row.score)
    found = records.read_statistics(database, row.evaluation_id, "loss").values
    assert np.array_equal(found, nan.values, equal_nan=True)


finite = st.floats(-1e150, 1e150)


@settings(deadline=None, max_examples=30)
@given(
    rows=st.lists(st.tuples(finite, st.floats(1e-3, 1e3)), min_size=1, max_size=20),
    texts=st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5),
)
def test_numbers_and_texts_come_back_exactly(
    rows: list[tuple[float, float]], texts: list[str]
) -> None:
    """Statistics keep every bit, and outputs every character."""
    database = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    schema.create_tables(database)
    values = np.array(rows)
    made = dataclasses.replace(
        evaluation(), statistics={"loss": Statistics("loss", values, "x")}, outputs=texts
    )
    records.write_evaluations(database, STUDY, [made])
    (key,) = stored(database)
    assert records.read_statistics(database, key, "loss").values.tobytes() == values.tobytes()
    assert records.read_outputs(database, key) == tuple(texts)
    database.dispose()


@pytest.mark.parametrize(
    ("table", "change", "expected"),
    [
        ("run_outputs", {"outputs": zlib.compress(b"[" + b"0," * 10_000_001 + b"0]")}, "texts"),
        ("run_outputs", {"outputs": zlib.compress(b"[" * 100_000)}, "recursion"),
        ("run_scores", {"n_examples": 2**27}, "more than the"),
    ],
)
def test_small_blobs_do_not_fill_the_memory(
    database: Engine, table: str, change: dict[str, Any], expected: str
) -> None:
    """They are refused before their texts are made, or before they are unpacked."""
    records.write_evaluations(database, STUDY, [evaluation()])
    ((column, value),) = change.items()
    with database.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET {column} = :value"), {"value": value})
    (row,) = records.read_evaluations(database, STUDY)

    def read() -> None:
        records.read_outputs(database, row.evaluation_id)
        records.read_statistics(database, row.evaluation_id, "loss")

    with pytest.raises(InputError, match=rf"^database: damaged .*{expected}"):
        read()
