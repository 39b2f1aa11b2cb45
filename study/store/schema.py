"""The tables of optuna-study, in the same database as Optuna's, which are never changed.

Version history:
    1  2026-11  First version.
    2  2026-11  run_parents and run_claims: several runs share one budget.  A study of version 1
                gets claims for its trials when it is next run.
    3  2026-11  run_groups: what each example belongs to.

The types suit SQLite and PostgreSQL.  Optuna's studies.study_id is the key to everything here.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy import (
    DOUBLE_PRECISION,
    BigInteger,
    Column,
    Connection,
    Engine,
    Enum,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    column,
    func,
    select,
    table,
    update,
)
from sqlalchemy.schema import CreateIndex, CreateTable

from study.errors import InputError

VERSION = 3
READABLE = (1, 2, VERSION)  # versions 2 and 3 added tables that readers do without
CREATION_LOCK = 0x6F70_7475_6E61  # a number that only this program locks: "optuna"

metadata = MetaData()


def _key(name: str, kind: Any, *, required: bool = True) -> Any:
    """A column of the primary key; the database never fills it automatically."""
    return Column(name, kind, primary_key=True, autoincrement=False, nullable=not required)


def _needed(name: str, kind: Any) -> Any:
    return Column(name, kind, nullable=False)


schema = Table(  # one row: the version of the tables below
    "run_schema",
    metadata,
    _needed("version", Integer),
)

studies = Table(  # one row per study: how it was run
    "run_studies",
    metadata,
    _key("study_id", Integer, required=False),
    _needed("spec", Text),  # the resolved study file, TOML
    _needed("provenance", Text),  # JSON: versions, hardware, data hashes, seconds
    _needed("created_at", Text),  # ISO 8601, UTC
)

# The evaluated texts of one split: outputs and statistics refer to them by position.
examples = Table(
    "run_examples",
    metadata,
    _key("study_id", Integer),
    _key("split", Text),  # dev, general, test
    _needed("n_examples", Integer),
    _needed("sources", LargeBinary),  # zlib-compressed JSON list of n_examples strings
    _needed("targets", LargeBinary),  # the references, in the same form
)

# What each evaluated text belongs to, such as a document; only where the study says so.
# Databases before version 3 lack this table.
groups = Table(
    "run_groups",
    metadata,
    _key("study_id", Integer),
    _key("split", Text),
    _needed("groups", LargeBinary),  # zlib-compressed JSON list of n_examples strings
)

evaluations = Table(  # one row per evaluation of one model on one split
    "run_evaluations",
    metadata,
    _key("evaluation_id", Text, required=False),  # a random UUID
    _needed("study_id", Integer),
    _needed("role", Text),  # search (an Optuna trial), baseline, confirm
    _needed("name", Text),  # a baseline's: base, default; otherwise empty
    Column("trial_number", Integer),  # of an Optuna trial, else NULL
    _needed("seed", BigInteger),  # the seed of the training's randomness
    _needed("split", Text),
    _needed("config", Text),  # JSON: the hyperparameters as trained
    _needed("details", Text),  # JSON: train_seconds, trainable_parameters, peak_memory_bytes ...
    Index("run_evaluations_by_study", "study_id", "role", "trial_number"),
)

scores = Table(  # one row per evaluation and metric: the corpus score and what it is computed from
    "run_scores",
    metadata,
    _key("evaluation_id", Text),
    _key("metric", Text),
    Column("score", DOUBLE_PRECISION),  # NULL if it is not a number: a loss that became NaN
    _needed("signature", Text),  # what makes the score reproducible
    _needed("n_examples", Integer),  # N
    _needed("n_statistics", Integer),  # S
    _needed("statistics", LargeBinary),  # zlib-compressed little-endian float64 (N, S), row-major
)

outputs = Table(  # one row per evaluation: what the model produced
    "run_outputs",
    metadata,
    _key("evaluation_id", Text, required=False),
    _needed("outputs", LargeBinary),  # zlib-compressed JSON list of N strings
)

parents = Table(  # one row per run at work (`optuna-study run`): shows that it is alive
    "run_parents",
    metadata,
    _key("parent_id", Text, required=False),  # a random UUID
    _needed("host", Text),
    _needed("lock_file", Text),  # only shown; never opened
    _needed("seen_at", DOUBLE_PRECISION),  # seconds since 1970, by the clock of the database
)

# One row per unit of the budget: trained once, by the run that takes it, and retried if lost.
# Baselines have numbers below zero and are not part of the budget.
claims = Table(
    "run_claims",
    metadata,
    _key("study_id", Integer),
    _key("claim", Integer),  # 0, 1, 2 ...: the training's seed is derived from it
    _needed("sampled", Integer),  # the index of its point among sampled ones
    _needed("enqueued", Integer),  # 1: the study file or a person chose the point
    Column("point", Text),  # JSON: the values that are set before sampling
    _needed("state", Text),  # open, held, done; failed (a baseline, until the next run)
    Column("parent", Text),  # the run that holds it, or held it last
    _needed("attempt", Integer),  # 1, 2, 3: one more than the times it was interrupted
    Column("origin", Integer),  # for a retry: the number of the first attempt's trial
    Column("waiting", Integer),  # the id of a queued Optuna trial for this claim
    Index("run_claims_by_state", "study_id", "state"),
)


# ---------------------------------------------------------------- Optuna's tables, only read


def _of_trial(name: str, *columns: Any) -> Any:
    return table(name, column("trial_id", Integer), *columns)


trials = _of_trial(
    "trials",
    column("study_id", Integer),
    column("number", Integer),
    column("state", Enum("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING", name="trialstate")),
    column("datetime_start"),  # UTC; text in SQLite
    column("datetime_complete"),
)
trial_values = _of_trial(
    "trial_values",
    column("objective", Integer),
    column("value"),
    column("value_type", Enum("FINITE", "INF_POS", "INF_NEG", name="trialvaluetype")),
)
trial_params = _of_trial(
    "trial_params",
    column("param_id"),
    column("param_name"),
    column("param_value"),
    column("distribution_json"),
)
trial_user_attributes = _of_trial("trial_user_attributes", column("key"), column("value_json"))
trial_system_attributes = _of_trial("trial_system_attributes", column("key"), column("value_json"))
trial_reports = _of_trial(
    "trial_intermediate_values",
    column("step"),
    column("intermediate_value"),
    column("intermediate_value_type"),
)


# ---------------------------------------------------------------- creating and checking


def create_tables(database: Engine) -> None:
    """Create our tables if they are missing; refuse those of a later version."""
    with database.begin() as connection:
        if database.dialect.name == "postgresql":  # SQLite locks the whole file
            connection.execute(select(func.pg_advisory_xact_lock(CREATION_LOCK)))
        for made in metadata.tables.values():
            connection.execute(CreateTable(made, if_not_exists=True))
            for index in made.indexes:
                connection.execute(CreateIndex(index, if_not_exists=True))
        if connection.scalar(select(func.count()).select_from(schema)) == 0:
            connection.execute(schema.insert().values(version=VERSION))
        _check_version(connection)
        connection.execute(update(schema).values(version=VERSION))


def has_tables(database: Engine) -> bool:
    """Return whether this database holds our tables in a version that this program reads."""
    if not sqlalchemy.inspect(database).has_table(schema.name):
        return False
    with database.connect() as connection:
        _check_version(connection)
    return True


def _check_version(connection: Connection) -> None:
    stored = connection.scalar(select(func.max(schema.c.version)))
    if stored not in READABLE:
        raise InputError(
            f"database: the tables of optuna-study have schema version {stored}; "
            f"this program reads and writes version {VERSION}"
        )


def insert_or(connection: Connection, into: Table) -> Any:
    """Return an INSERT with ON CONFLICT support, in the database's dialect."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    return insert(into)
