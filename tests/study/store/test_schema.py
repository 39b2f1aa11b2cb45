"""The tables have the layout that their version promises, on both kinds of database."""

from __future__ import annotations

import sqlalchemy
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from study.store import schema

VERSION_3 = {
    "run_schema": ["version INTEGER NOT NULL"],
    "run_studies": [
        "study_id INTEGER KEY",
        "spec TEXT NOT NULL",
        "provenance TEXT NOT NULL",
        "created_at TEXT NOT NULL",
    ],
    "run_examples": [
        "study_id INTEGER NOT NULL KEY",
        "split TEXT NOT NULL KEY",
        "n_examples INTEGER NOT NULL",
        "sources BLOB NOT NULL",
        "targets BLOB NOT NULL",
    ],
    "run_groups": [
        "study_id INTEGER NOT NULL KEY",
        "split TEXT NOT NULL KEY",
        "groups BLOB NOT NULL",
    ],
    "run_evaluations": [
        "evaluation_id TEXT KEY",
        "study_id INTEGER NOT NULL",
        "role TEXT NOT NULL",
        "name TEXT NOT NULL",
        "trial_number INTEGER",
        "seed BIGINT NOT NULL",
        "split TEXT NOT NULL",
        "config TEXT NOT NULL",
        "details TEXT NOT NULL",
        "run_evaluations_by_study (study_id, role, trial_number)",
    ],
    "run_scores": [
        "evaluation_id TEXT NOT NULL KEY",
        "metric TEXT NOT NULL KEY",
        "score DOUBLE PRECISION",
        "signature TEXT NOT NULL",
        "n_examples INTEGER NOT NULL",
        "n_statistics INTEGER NOT NULL",
        "statistics BLOB NOT NULL",
    ],
    "run_outputs": ["evaluation_id TEXT KEY", "outputs BLOB NOT NULL"],
    "run_parents": [
        "parent_id TEXT KEY",
        "host TEXT NOT NULL",
        "lock_file TEXT NOT NULL",
        "seen_at DOUBLE PRECISION NOT NULL",
    ],
    "run_claims": [
        "study_id INTEGER NOT NULL KEY",
        "claim INTEGER NOT NULL KEY",
        "sampled INTEGER NOT NULL",
        "enqueued INTEGER NOT NULL",
        "point TEXT",
        "state TEXT NOT NULL",
        "parent TEXT",
        "attempt INTEGER NOT NULL",
        "origin INTEGER",
        "waiting INTEGER",
        "run_claims_by_state (study_id, state)",
    ],
}
"""Databases of this layout exist: change it with a new version and a way to read the old one."""


def test_the_layout_is_that_of_its_version() -> None:
    """SQLite shows exactly the columns, keys and indexes of version 3."""
    database = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    schema.create_tables(database)
    with database.connect() as connection:
        found = {name: _layout(connection, name) for name in schema.metadata.tables}
    database.dispose()
    assert schema.VERSION == 3
    assert found == VERSION_3


def _layout(connection: sqlalchemy.Connection, name: str) -> list[str]:
    """What SQLite says of a table: its columns, then the indexes that are not of a key."""
    columns = connection.exec_driver_sql(f"PRAGMA table_info({name})")
    indexes = sqlalchemy.inspect(connection).get_indexes(name)
    return [
        *(
            f"{column} {kind}{' NOT NULL' * needed}{' KEY' * bool(key)}"
            for _, column, kind, needed, _, key in columns
        ),
        *(f"{i['name']} ({', '.join(map(str, i['column_names']))})" for i in indexes),
    ]


def test_postgresql_has_the_same_layout() -> None:
    """PostgreSQL gets the same columns, BYTEA for BLOB, and fills in no key by itself."""
    for table in schema.metadata.tables.values():
        made = str(CreateTable(table).compile(dialect=postgresql.dialect()))
        columns = [line for line in VERSION_3[table.name] if "(" not in line]
        wanted = [line.replace(" KEY", "").replace("BLOB", "BYTEA") for line in columns]
        assert [line.strip(", \t") for line in made.splitlines()[2 : 2 + len(wanted)]] == wanted
