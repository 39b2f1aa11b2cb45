"""What a study stores beside Optuna's trials: evaluations, statistics, outputs, provenance.

`schema` describes the tables.  The runner writes; the analysis reads, on a separate connection that
may be read-only.
"""

from __future__ import annotations

import json
import math
import re
import uuid
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Select,
    Table,
    bindparam,
    delete,
    inspect,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import DatabaseError, OperationalError

from study.errors import InputError
from study.metrics import Statistics
from study.store import schema
from study.store.outlasting import outlasting

LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can hold one, and no file in UTF-8
MOST_BYTES = 2**28  # of one split's texts, or of one metric's statistics
MOST_COMMAS = 10_000_000  # in one split's texts: more than it has texts


@dataclass(frozen=True)
class Evaluation:
    """One model on one split: its scores, their statistics (N, S) and its N outputs."""

    role: str  # search, baseline, confirm
    name: str  # a baseline's: base, default; otherwise empty
    trial_number: int | None
    seed: int
    split: str
    config: Mapping[str, Any]
    details: Mapping[str, Any]
    statistics: Mapping[str, Statistics] = field(repr=False)
    outputs: Sequence[str] = field(repr=False)

    @property
    def scores(self) -> dict[str, float]:
        """The corpus score of every metric."""
        return {name: statistics.score for name, statistics in self.statistics.items()}


@dataclass(frozen=True)
class EvaluationRow:
    """The key and facts of a stored evaluation, without its arrays."""

    evaluation_id: str
    role: str
    name: str
    trial_number: int | None
    seed: int
    split: str
    config: Mapping[str, Any]
    details: Mapping[str, Any]


@dataclass(frozen=True)
class ScoreRow:
    """One stored corpus score."""

    evaluation_id: str
    metric: str
    score: float
    signature: str
    n_examples: int


@dataclass(frozen=True)
class Examples:
    """The texts of one split, N each."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    groups: tuple[str, ...] = ()  # what each belongs to; empty where nothing says so


# ---------------------------------------------------------------- writing


@outlasting
def add_study(database: Engine, study_id: int, spec: str, provenance: Mapping[str, Any]) -> bool:
    """Record how a study is run, unless that is recorded already; return whether it was not."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    row = {"study_id": study_id, "spec": spec, "provenance": json.dumps(provenance)}
    with database.begin() as connection:
        added = connection.execute(
            schema.insert_or(connection, schema.studies)
            .values(**row, created_at=now)
            .on_conflict_do_nothing()
        )
        return bool(added.rowcount == 1)


@outlasting
def write_study(database: Engine, study_id: int, spec: str, provenance: Mapping[str, Any]) -> None:
    """Record how a study is run; resuming replaces the row but keeps its date."""
    if not add_study(database, study_id, spec, provenance):
        with database.begin() as connection:
            connection.execute(
                update(schema.studies)
                .where(schema.studies.c.study_id == study_id)
                .values(spec=spec, provenance=json.dumps(provenance))
            )


@outlasting
def add_facts(database: Engine, study_id: int, facts: Mapping[str, Any]) -> None:
    """Add facts to those that are recorded of how a study is run."""
    its = schema.studies.c.study_id == study_id
    with database.begin() as connection:
        recorded = connection.execute(select(schema.studies.c.provenance).where(its)).scalar_one()
        both = json.dumps({**json.loads(recorded), **facts})
        connection.execute(update(schema.studies).where(its).values(provenance=both))


@outlasting
def write_examples(database: Engine, study_id: int, split: str, examples: Examples) -> None:
    """Record the texts of one split, and what they belong to, once."""
    with database.begin() as connection:
        if examples.groups:
            connection.execute(
                schema.insert_or(connection, schema.groups)
                .values(study_id=study_id, split=split, groups=_pack_texts(examples.groups))
                .on_conflict_do_nothing()
            )
        connection.execute(
            schema.insert_or(connection, schema.examples)
            .values(
                study_id=study_id,
                split=split,
                n_examples=len(examples.sources),
                sources=_pack_texts(examples.sources),
                targets=_pack_texts(examples.targets),
            )
            .on_conflict_do_nothing()
        )


@outlasting
def write_evaluations(database: Engine, study_id: int, evaluations: Sequence[Evaluation]) -> None:
    """Record a model's evaluations in one transaction, replacing those with the same key."""
    with database.begin() as connection:
        for evaluation in evaluations:
            key = {
                "study_id": study_id,
                "role": evaluation.role,
                "name": evaluation.name,
                "trial_number": evaluation.trial_number,
                "seed": evaluation.seed,
                "split": evaluation.split,
            }
            _delete(connection, key)
            _insert(connection, key, evaluation)


def write_score(database: Engine, evaluation_id: str, statistics: Statistics) -> None:
    """Record another metric of a stored evaluation, replacing one of the same name."""
    scores = schema.scores
    with database.begin() as connection:
        connection.execute(
            delete(scores).where(
                scores.c.evaluation_id == evaluation_id, scores.c.metric == statistics.metric
            )
        )
        _insert_score(connection, evaluation_id, statistics)


@outlasting
def forget_evaluations(database: Engine, study_id: int, trial_number: int) -> None:
    """Remove the records of a trial that was lost before it was told."""
    with database.begin() as connection:
        key = {"study_id": study_id, "role": "search", "trial_number": trial_number}
        _delete(connection, key)


@outlasting
def forget_baselines(database: Engine, study_id: int) -> None:
    """Remove the baselines' evaluations, so that they are trained and scored again."""
    with database.begin() as connection:
        _delete(connection, {"study_id": study_id, "role": "baseline"})


def _delete(connection: Connection, key: Mapping[str, Any]) -> None:
    """Delete the evaluations with these column values, and everything that belongs to them."""
    wanted = [schema.evaluations.c[name] == value for name, value in key.items()]  # None: IS NULL
    ids = connection.scalars(select(schema.evaluations.c.evaluation_id).where(*wanted)).all()
    for evaluation_id in ids:
        for table in (schema.evaluations, schema.scores, schema.outputs):
            connection.execute(delete(table).where(table.c.evaluation_id == evaluation_id))


def _insert(connection: Connection, key: Mapping[str, Any], evaluation: Evaluation) -> None:
    evaluation_id = uuid.uuid4().hex
    connection.execute(
        schema.evaluations.insert().values(
            **key,
            evaluation_id=evaluation_id,
            config=json.dumps(evaluation.config),
            details=json.dumps(evaluation.details),
        )
    )
    for statistics in evaluation.statistics.values():
        _insert_score(connection, evaluation_id, statistics)
    if evaluation.outputs:
        connection.execute(
            schema.outputs.insert().values(
                evaluation_id=evaluation_id, outputs=_pack_texts(evaluation.outputs)
            )
        )


def _insert_score(connection: Connection, evaluation_id: str, statistics: Statistics) -> None:
    rows, columns = statistics.values.shape
    values = np.ascontiguousarray(statistics.values, dtype="<f8")
    connection.execute(
        schema.scores.insert().values(
            evaluation_id=evaluation_id,
            metric=statistics.metric,
            score=None if math.isnan(statistics.score) else statistics.score,
            signature=statistics.signature,
            n_examples=rows,
            n_statistics=columns,
            statistics=zlib.compress(values.tobytes()),
        )
    )


# ---------------------------------------------------------------- reading


def read_spec(database: Engine, study_id: int) -> str | None:
    """The resolved study file (TOML) of the study; None if optuna-study did not run it."""
    studies = schema.studies.c
    rows = _all(database, select(studies.spec).where(studies.study_id == study_id))
    return str(rows[0].spec) if rows else None


def read_provenance(database: Engine, study_id: int) -> dict[str, Any]:
    """Versions, hardware, data hashes and times of the study, with `created_at`."""
    studies = schema.studies.c
    columns = select(studies.provenance, studies.created_at)
    rows = _all(database, columns.where(studies.study_id == study_id))
    return {**json.loads(rows[0].provenance), "created_at": rows[0].created_at} if rows else {}


def read_examples(database: Engine, study_id: int) -> dict[str, Examples]:
    """The texts of every split."""
    examples = schema.examples.c
    columns = select(examples.split, examples.sources, examples.targets)
    rows = _all(database, columns.where(examples.study_id == study_id))
    groups = _read_groups(database, study_id)
    return {
        split: Examples(_unpack_texts(s), _unpack_texts(t), groups.get(split, ()))
        for split, s, t in rows
    }


def _read_groups(database: Engine, study_id: int) -> dict[str, tuple[str, ...]]:
    if not inspect(database).has_table(schema.groups.name):  # before version 3
        return {}
    groups = schema.groups.c
    rows = _all(database, select(groups.split, groups.groups).where(groups.study_id == study_id))
    return {split: _unpack_texts(packed) for split, packed in rows}


def read_evaluations(
    database: Engine,
    study_id: int,
    role: str | None = None,
    trials: Collection[int] | None = None,
) -> list[EvaluationRow]:
    """Every evaluation's key and facts, or those of one role; baselines first, then by trial.

    With `trials`, of Optuna's trials only these; everything else is included.
    """
    columns = schema.evaluations.c
    query = select(*_columns_of(EvaluationRow, schema.evaluations))
    query = query.where(columns.study_id == study_id, _among(trials))
    if role is not None:
        query = query.where(columns.role == role)
    order = (columns.role, columns.trial_number, columns.name, columns.seed, columns.split)
    rows = _all(database, query.order_by(*order))
    return [
        EvaluationRow(i, role, name, trial, seed, split, json.loads(config), json.loads(details))
        for i, role, name, trial, seed, split, config, details in rows
    ]


def read_scores(
    database: Engine, study_id: int, trials: Collection[int] | None = None
) -> list[ScoreRow]:
    """Every corpus score of the study; `trials` as in `read_evaluations`."""
    scores, evaluations = schema.scores.c, schema.evaluations.c
    query = (
        select(*_columns_of(ScoreRow, schema.scores))
        .join_from(
            schema.scores,
            schema.evaluations,
            evaluations.evaluation_id == scores.evaluation_id,
        )
        .where(evaluations.study_id == study_id, _among(trials))
    )
    return [
        ScoreRow(i, metric, math.nan if score is None else score, signature, n)
        for i, metric, score, signature, n in _all(database, query)
    ]


def _columns_of(row: type[EvaluationRow | ScoreRow], table: Table) -> list[Column[Any]]:
    """The columns of a table that a row holds, in the row's order."""
    return [table.c[field.name] for field in fields(row)]


def _among(trials: Collection[int] | None) -> ColumnElement[bool]:
    """The given trials and everything else; literals, since databases limit parameters."""
    if trials is None:
        return true()
    numbers = [int(number) for number in trials]
    given = bindparam("trials", numbers, Integer, expanding=True, literal_execute=True)
    evaluations = schema.evaluations.c
    return or_(evaluations.role != "search", evaluations.trial_number.in_(given))


def read_statistics(database: Engine, evaluation_id: str, metric: str) -> Statistics:
    """The per-example statistics (N, S) of one evaluation and metric; KeyError if not stored."""
    scores = schema.scores.c
    query = select(
        scores.metric,
        scores.signature,
        scores.n_examples,
        scores.n_statistics,
        scores.statistics,
    ).where(scores.evaluation_id == evaluation_id, scores.metric == metric)
    with _named_damage(f"statistics of {metric}"):
        rows = _all(database, query)
    if not rows:
        raise KeyError((evaluation_id, metric))
    name, signature, n_examples, n_statistics, blob = rows[0]
    with _named_damage(f"statistics of {name}"):
        content = _unpacked(blob, 8 * n_examples * n_statistics)
        values = np.frombuffer(content, dtype="<f8").reshape(n_examples, n_statistics)
    return Statistics(name, values.astype(np.float64), signature)


def read_outputs(database: Engine, evaluation_id: str) -> tuple[str, ...]:
    """The model's N outputs; KeyError if not stored."""
    outputs = schema.outputs.c
    query = select(outputs.outputs).where(outputs.evaluation_id == evaluation_id)
    with _named_damage("outputs"):
        rows = _all(database, query)
    if not rows:
        raise KeyError(evaluation_id)
    return _unpack_texts(rows[0].outputs)


@outlasting
def _all(database: Engine, query: Select[Any]) -> Sequence[Any]:
    with database.connect() as connection:
        return connection.execute(query).all()


def _pack_texts(texts: Sequence[str]) -> bytes:
    return zlib.compress(json.dumps(list(texts), ensure_ascii=False).encode(errors="replace"))


def _unpack_texts(blob: bytes) -> tuple[str, ...]:
    with _named_damage("texts"):
        content = _unpacked(blob, MOST_BYTES)
        if content.count(b",") > MOST_COMMAS:
            raise ValueError(f"more than {MOST_COMMAS:,} texts")
        return tuple(LONE_SURROGATE.sub("\ufffd", text) for text in json.loads(content))


def _unpacked(blob: bytes, most: int) -> bytes:
    """Return the unpacked bytes, limited because a small blob might expand beyond the memory."""
    if most > MOST_BYTES:
        raise ValueError(f"{most:,} bytes, more than the {MOST_BYTES:,} that are read")
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(blob, most + 1)
    if len(content) > most or not unpacker.eof:
        raise ValueError("its length differs from when it was written")
    return content


@contextmanager
def _named_damage(what: str) -> Iterator[None]:
    try:
        yield
    except OperationalError:  # for example locked: nothing is damaged
        raise
    except (ValueError, TypeError, RecursionError, zlib.error) as error:
        raise InputError(f"database: damaged {what}: {error}") from error
    except DatabaseError as error:
        raise InputError(f"database: damaged {what}: {error.orig}") from error
