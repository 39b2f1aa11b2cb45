-- The tables of optuna-study, beside Optuna's own in the same database.  Optuna's are never touched.
--
-- Version history
--   1  2026-11  first version
--   2  2026-11  run_parents and run_claims: several runs share one budget.  A study of version 1
--               gets its claims, made from its trials, when it is next run.
--
-- The types are understood by SQLite and PostgreSQL; {blob} is BLOB or BYTEA.
-- Optuna's studies.study_id is the key to everything here.

-- One row: the version of the tables below.
CREATE TABLE IF NOT EXISTS run_schema (
    version INTEGER NOT NULL
);

-- One row a study: how it was run.
CREATE TABLE IF NOT EXISTS run_studies (
    study_id INTEGER PRIMARY KEY,
    spec TEXT NOT NULL,               -- the resolved study file, TOML
    provenance TEXT NOT NULL,         -- JSON: versions, hardware, data hashes, seconds
    created_at TEXT NOT NULL          -- ISO 8601, UTC
);

-- The evaluated examples, once a split: what every output and statistic refers to by position.
CREATE TABLE IF NOT EXISTS run_examples (
    study_id INTEGER NOT NULL,
    split TEXT NOT NULL,              -- dev, general, test
    n_examples INTEGER NOT NULL,
    sources {blob} NOT NULL,          -- zlib-compressed JSON list of n_examples strings
    targets {blob} NOT NULL,          -- the references, likewise
    PRIMARY KEY (study_id, split)
);

-- One row an evaluation of one model on one split.
CREATE TABLE IF NOT EXISTS run_evaluations (
    evaluation_id TEXT PRIMARY KEY,   -- a random UUID
    study_id INTEGER NOT NULL,
    role TEXT NOT NULL,               -- search (an Optuna trial), baseline, confirm
    name TEXT NOT NULL,               -- of a baseline: base, default; otherwise empty
    trial_number INTEGER,             -- of an Optuna trial, else NULL
    seed BIGINT NOT NULL,             -- what the training drew its randomness from
    split TEXT NOT NULL,
    config TEXT NOT NULL,             -- JSON: the hyperparameters as trained
    details TEXT NOT NULL             -- JSON: train_seconds, trainable_parameters, peak_memory_bytes ...
);
CREATE INDEX IF NOT EXISTS run_evaluations_by_study ON run_evaluations (study_id, role, trial_number);

-- One row an evaluation and metric: the corpus score and what it was computed from.
CREATE TABLE IF NOT EXISTS run_scores (
    evaluation_id TEXT NOT NULL,
    metric TEXT NOT NULL,
    score DOUBLE PRECISION,           -- NULL where it is no number: a loss that became NaN
    signature TEXT NOT NULL,          -- what makes the score reproducible, in the metric's own words
    n_examples INTEGER NOT NULL,      -- N
    n_statistics INTEGER NOT NULL,    -- S
    statistics {blob} NOT NULL,       -- zlib-compressed little-endian float64, shape (N, S), row-major
    PRIMARY KEY (evaluation_id, metric)
);

-- One row an evaluation: what the model produced.
CREATE TABLE IF NOT EXISTS run_outputs (
    evaluation_id TEXT PRIMARY KEY,
    outputs {blob} NOT NULL           -- zlib-compressed JSON list of N strings
);

-- One row a run that is at work (`optuna-study run`): the others see by it that it lives.
CREATE TABLE IF NOT EXISTS run_parents (
    parent_id TEXT PRIMARY KEY,       -- a random UUID
    host TEXT NOT NULL,
    lock_file TEXT NOT NULL,          -- a name to show; nothing is opened by what stands here
    seen_at DOUBLE PRECISION NOT NULL -- seconds since 1970, by the clock of the database
);

-- One row a unit of the budget: each is trained once, by whoever takes it, and retried if lost.
-- Baselines have numbers below zero and are no part of the budget.
CREATE TABLE IF NOT EXISTS run_claims (
    study_id INTEGER NOT NULL,
    claim INTEGER NOT NULL,           -- 0, 1, 2 ...: what the training's seed is derived from
    sampled INTEGER NOT NULL,         -- how many before it are sampled: the index of its point
    enqueued INTEGER NOT NULL,        -- 1: the study file or a person chose the point
    point TEXT,                       -- JSON: what is known of the point before it is sampled
    state TEXT NOT NULL,              -- open, held, done; failed (a baseline, until the next run)
    parent TEXT,                      -- who holds it, or held it last
    attempt INTEGER NOT NULL,         -- 1, 2, 3: it was interrupted one time less
    origin INTEGER,                   -- of a retry: the number of the first attempt's trial
    waiting INTEGER,                  -- the id of an Optuna trial that waits to be this claim's
    PRIMARY KEY (study_id, claim)
);
CREATE INDEX IF NOT EXISTS run_claims_by_state ON run_claims (study_id, state);
