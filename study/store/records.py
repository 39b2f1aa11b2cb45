"""What a run knows beyond Optuna's tables: evaluations, statistics, outputs, provenance.

The tables are described in `schema.sql`.  Writing is the runner's; reading is the analysis's, on
a connection of its own that may be read-only.
"""

from __future__ import annotations

import json
import math
import uuid
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import numpy as np
import sqlalchemy
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DatabaseError, OperationalError

from study.errors import InputError
from study.metrics import Statistics

SCHEMA_VERSION = 2
CREATION_LOCK = 0x6F70_7475_6E61  # any number that only this program locks: "optuna"
READABLE = (1, SCHEMA_VERSION)  # version 2 added tables that readers do not need
MOST_TEXT_BYTES = 2**30  # of one split's texts


@dataclass(frozen=True)
class Evaluation:
    """One model on one split: its scores, their statistics (N, S) and its N outputs."""

    role: str  # search, baseline, confirm
    name: str  # of a baseline: base, default; otherwise empty
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
    """The key and the facts of a stored evaluation, without its arrays."""

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


# ---------------------------------------------------------------- schema


def create_tables(database: Engine) -> None:
    """Create our tables where they are missing; later versions' are refused."""
    blob = "BYTEA" if database.dialect.name == "postgresql" else "BLOB"
    script = resources.files("study.store").joinpath("schema.sql").read_text(encoding="utf-8")
    statements = _without_comments(script).replace("{blob}", blob).split(";")
    with database.begin() as connection:
        if database.dialect.name == "postgresql":  # SQLite locks the whole file
            connection.execute(text("SELECT pg_advisory_xact_lock(:k)"), {"k": CREATION_LOCK})
        for statement in filter(str.strip, statements):
            connection.execute(text(statement))
        if connection.execute(text("SELECT count(*) FROM run_schema")).scalar() == 0:
            connection.execute(text("INSERT INTO run_schema VALUES (:v)"), {"v": SCHEMA_VERSION})
        _check_version(connection)
        connection.execute(text("UPDATE run_schema SET version = :v"), {"v": SCHEMA_VERSION})


def _without_comments(script: str) -> str:
    return "\n".join(line.split("--")[0] for line in script.splitlines())


def has_tables(database: Engine) -> bool:
    """Say whether this database holds our tables, in the version that this program reads."""
    if not sqlalchemy.inspect(database).has_table("run_schema"):
        return False
    with database.connect() as connection:
        _check_version(connection)
    return True


def _check_version(connection: Connection) -> None:
    found = connection.execute(text("SELECT max(version) FROM run_schema")).scalar()
    if found not in READABLE:
        raise InputError(
            f"database: the tables of optuna-study have schema version {found}; "
            f"this program reads and writes version {SCHEMA_VERSION}"
        )


# ---------------------------------------------------------------- writing


def add_study(database: Engine, study_id: int, spec: str, provenance: Mapping[str, Any]) -> bool:
    """Record how a study is run, unless that is known; returns whether it was not."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    values = {"i": study_id, "s": spec, "p": json.dumps(provenance), "c": now}
    with database.begin() as connection:
        added = connection.execute(
            text("INSERT INTO run_studies VALUES (:i, :s, :p, :c) ON CONFLICT DO NOTHING"), values
        )
    return added.rowcount == 1


def write_study(database: Engine, study_id: int, spec: str, provenance: Mapping[str, Any]) -> None:
    """Record how a study is run; a resumed one replaces its row and keeps its date."""
    if not add_study(database, study_id, spec, provenance):
        values = {"i": study_id, "s": spec, "p": json.dumps(provenance)}
        with database.begin() as connection:
            connection.execute(
                text("UPDATE run_studies SET spec = :s, provenance = :p WHERE study_id = :i"),
                values,
            )


def write_examples(database: Engine, study_id: int, split: str, examples: Examples) -> None:
    """Record the texts of one split, once."""
    with database.begin() as connection:
        connection.execute(
            text("INSERT INTO run_examples VALUES (:i, :s, :n, :src, :tgt) ON CONFLICT DO NOTHING"),
            {
                "i": study_id,
                "s": split,
                "n": len(examples.sources),
                "src": _pack_texts(examples.sources),
                "tgt": _pack_texts(examples.targets),
            },
        )


def write_evaluations(database: Engine, study_id: int, evaluations: Sequence[Evaluation]) -> None:
    """Record one model's evaluations in one transaction, replacing those of the same key."""
    with database.begin() as connection:
        for evaluation in evaluations:
            _delete(connection, study_id, evaluation)
            _insert(connection, study_id, evaluation)


def write_score(database: Engine, evaluation_id: str, statistics: Statistics) -> None:
    """Record one more metric of a stored evaluation, replacing what it had of it."""
    with database.begin() as connection:
        connection.execute(
            text("DELETE FROM run_scores WHERE evaluation_id = :id AND metric = :m"),
            {"id": evaluation_id, "m": statistics.metric},
        )
        _insert_score(connection, evaluation_id, statistics)


def forget_evaluations(database: Engine, study_id: int, trial_number: int) -> None:
    """Remove what was recorded of a trial that was lost before it was told."""
    with database.begin() as connection:
        _delete_where(
            connection, "role = 'search' AND trial_number = :t", i=study_id, t=trial_number
        )


def _delete(connection: Connection, study_id: int, evaluation: Evaluation) -> None:
    same_trial = "trial_number IS NULL" if evaluation.trial_number is None else "trial_number = :t"
    condition = f"role = :r AND name = :n AND {same_trial} AND seed = :e AND split = :s"
    _delete_where(connection, condition, **_key(study_id, evaluation))


def _delete_where(connection: Connection, condition: str, **values: Any) -> None:
    rows = connection.execute(
        text(f"SELECT evaluation_id FROM run_evaluations WHERE study_id = :i AND {condition}"),
        values,
    )
    for (evaluation_id,) in rows.all():
        for table in ("run_evaluations", "run_scores", "run_outputs"):
            connection.execute(
                text(f"DELETE FROM {table} WHERE evaluation_id = :id"), {"id": evaluation_id}
            )


def _key(study_id: int, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "i": study_id,
        "r": evaluation.role,
        "n": evaluation.name,
        "t": evaluation.trial_number,
        "e": evaluation.seed,
        "s": evaluation.split,
    }


def _insert(connection: Connection, study_id: int, evaluation: Evaluation) -> None:
    evaluation_id = uuid.uuid4().hex
    connection.execute(
        text("INSERT INTO run_evaluations VALUES (:id, :i, :r, :n, :t, :e, :s, :c, :d)"),
        {
            **_key(study_id, evaluation),
            "id": evaluation_id,
            "c": json.dumps(evaluation.config),
            "d": json.dumps(evaluation.details),
        },
    )
    for statistics in evaluation.statistics.values():
        _insert_score(connection, evaluation_id, statistics)
    connection.execute(
        text("INSERT INTO run_outputs VALUES (:id, :o)"),
        {"id": evaluation_id, "o": _pack_texts(evaluation.outputs)},
    )


def _insert_score(connection: Connection, evaluation_id: str, statistics: Statistics) -> None:
    rows, columns = statistics.values.shape
    connection.execute(
        text("INSERT INTO run_scores VALUES (:id, :m, :score, :sig, :n, :k, :b)"),
        {
            "id": evaluation_id,
            "m": statistics.metric,
            "score": None if math.isnan(statistics.score) else statistics.score,
            "sig": statistics.signature,
            "n": rows,
            "k": columns,
            "b": zlib.compress(np.ascontiguousarray(statistics.values, dtype="<f8").tobytes()),
        },
    )


# ---------------------------------------------------------------- reading


def read_spec(database: Engine, study_id: int) -> str | None:
    """The resolved study file (TOML) that the study was run with; None if not run by us."""
    row = _one(database, "SELECT spec FROM run_studies WHERE study_id = :i", i=study_id)
    return None if row is None else str(row[0])


def read_provenance(database: Engine, study_id: int) -> dict[str, Any]:
    """Versions, hardware, data hashes and times of the study; with `created_at`."""
    row = _one(
        database, "SELECT provenance, created_at FROM run_studies WHERE study_id = :i", i=study_id
    )
    return {} if row is None else {**json.loads(row[0]), "created_at": row[1]}


def read_examples(database: Engine, study_id: int) -> dict[str, Examples]:
    """The texts of every split."""
    rows = _all(
        database, "SELECT split, sources, targets FROM run_examples WHERE study_id = :i", i=study_id
    )
    return {split: Examples(_unpack_texts(s), _unpack_texts(t)) for split, s, t in rows}


def read_evaluations(
    database: Engine,
    study_id: int,
    role: str | None = None,
    trials: Collection[int] | None = None,
) -> list[EvaluationRow]:
    """Every evaluation's key and facts, baselines first, then by trial; or those of one role.

    Of Optuna's trials those of the given numbers, where some are given.
    """
    rows = _all(
        database,
        "SELECT evaluation_id, role, name, trial_number, seed, split, config, details "
        f"FROM run_evaluations e WHERE study_id = :i AND (:r = '' OR role = :r) {_among(trials)} "
        "ORDER BY role, trial_number, name, seed, split",
        i=study_id,
        r=role or "",
    )
    return [
        EvaluationRow(i, role, name, trial, seed, split, json.loads(config), json.loads(details))
        for i, role, name, trial, seed, split, config, details in rows
    ]


def read_scores(
    database: Engine, study_id: int, trials: Collection[int] | None = None
) -> list[ScoreRow]:
    """Every corpus score of the study, or of the given trials and of what is no trial."""
    rows = _all(
        database,
        "SELECT s.evaluation_id, s.metric, s.score, s.signature, s.n_examples FROM run_scores s "
        "JOIN run_evaluations e ON e.evaluation_id = s.evaluation_id "
        f"WHERE e.study_id = :i {_among(trials)}",
        i=study_id,
    )
    return [
        ScoreRow(i, metric, math.nan if score is None else score, signature, n)
        for i, metric, score, signature, n in rows
    ]


def _among(trials: Collection[int] | None) -> str:
    if trials is None:
        return ""
    numbers = ", ".join(str(int(number)) for number in trials) or "NULL"
    return f"AND (e.role <> 'search' OR e.trial_number IN ({numbers}))"


def read_statistics(database: Engine, evaluation_id: str, metric: str) -> Statistics:
    """The per-example statistics (N, S) of one evaluation and metric; KeyError if not stored."""
    with _named_damage(f"statistics of {metric}"):
        row = _one(
            database,
            "SELECT metric, signature, n_examples, n_statistics, statistics FROM run_scores "
            "WHERE evaluation_id = :id AND metric = :m",
            id=evaluation_id,
            m=metric,
        )
    if row is None:
        raise KeyError((evaluation_id, metric))
    name, signature, n_examples, n_statistics, blob = row
    with _named_damage(f"statistics of {name}"):
        content = _unpacked(blob, 8 * n_examples * n_statistics)
        values = np.frombuffer(content, dtype="<f8").reshape(n_examples, n_statistics)
    return Statistics(name, values.astype(np.float64), signature)


def read_outputs(database: Engine, evaluation_id: str) -> tuple[str, ...]:
    """What the model produced, N texts; KeyError if not stored."""
    query = "SELECT outputs FROM run_outputs WHERE evaluation_id = :id"
    with _named_damage("outputs"):
        row = _one(database, query, id=evaluation_id)
    if row is None:
        raise KeyError(evaluation_id)
    return _unpack_texts(row[0])


def _one(database: Engine, query: str, **values: Any) -> Any:
    return next(iter(_all(database, query, **values)), None)


def _all(database: Engine, query: str, **values: Any) -> Sequence[Any]:
    with database.connect() as connection:
        return connection.execute(text(query), values).all()


def _pack_texts(texts: Sequence[str]) -> bytes:
    return zlib.compress(json.dumps(list(texts), ensure_ascii=False).encode())


def _unpack_texts(blob: bytes) -> tuple[str, ...]:
    with _named_damage("texts"):
        return tuple(json.loads(_unpacked(blob, MOST_TEXT_BYTES)))


def _unpacked(blob: bytes, most: int) -> bytes:
    """Return what was packed; a small blob may claim to hold more than there is memory."""
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(blob, most + 1)
    if len(content) > most or not unpacker.eof:
        raise ValueError("not as long as it was when it was written")
    return content


@contextmanager
def _named_damage(what: str) -> Iterator[None]:
    try:
        yield
    except OperationalError:  # locked, say: nothing is damaged
        raise
    except (ValueError, TypeError, zlib.error) as error:
        raise InputError(f"database: damaged {what}: {error}") from error
    except DatabaseError as error:
        raise InputError(f"database: damaged {what}: {error.orig}") from error
