"""Recover lost trials: the first run that notices one fails it and reopens its claim.

If one run tells a trial late while another gives it up, the state of the Optuna trial decides: only
one of them changes it from RUNNING.  If that run dies before it settles the claim, the next run
that notices repeats the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from study.searching.brackets import is_paused
from study.store import live_runs, run_queries
from study.store.claims import Claim, Claims

MAX_ATTEMPTS = 3
ENDED = "the process that trained it ended"


def counts(trial: FrozenTrial) -> bool:
    """Return whether a trial counts towards the budget: it ended and was not interrupted."""
    return trial.state.is_finished() and not trial.user_attrs.get("interrupted")


def tell(study: optuna.Study, trial: optuna.Trial, state: TrialState, values: Any = None) -> bool:
    """Tell a trial; return False if it had already been told."""
    try:
        study.tell(trial, values, state)
    except (UpdateFinishedTrialError, ValueError):
        if _current(study, trial._trial_id).state.is_finished():
            return False
        raise
    return True


def interrupt(
    study: optuna.Study, claims: Claims, trial: optuna.Trial, claim: Claim, reason: str
) -> None:
    """Fail an interrupted trial and reopen its claim for a retry.

    After the third attempt it counts as failed.
    """
    is_given_up = claim.attempt >= MAX_ATTEMPTS
    if is_given_up:
        reason = f"interrupted {claim.attempt} times, most recently: {reason}"
    if not _fail(study, trial, reason, is_given_up):
        _settle(study, claims, claim)  # another run told it first
        return
    claims.forget_evaluations(trial.number)
    if is_given_up:
        claims.close(claim)
    else:
        claims.release(claim, trial.params, trial.number)


def recover(study: optuna.Study, claims: Claims, database: Engine, folder: Path) -> None:
    """Settle the claims of dead runs, and fail trials that no run holds."""
    live_runs.forget_the_dead(database, folder)
    for claim in claims.held_by_the_dead():
        _settle(study, claims, claim)
    running = run_queries.running(database, study._study_id)
    held = {claim.key for claim in (*claims.held(), *claims.offered())}
    for trial_id, key in running:
        if key not in held:
            _fail(study, optuna.Trial(study, trial_id), ENDED, is_given_up=False)


def _settle(study: optuna.Study, claims: Claims, claim: Claim) -> None:
    """Set a claim's state according to its trial."""
    trial_id = None if claim.is_baseline else claims.trial_of(claim)
    if trial_id is None:
        is_lost = claim.is_baseline and claim.attempt >= MAX_ATTEMPTS
        claims.close(claim, "failed") if is_lost else claims.release(claim)
        return
    storage = study._storage
    if _current(study, trial_id).state == TrialState.WAITING:
        storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    trial = _current(study, trial_id)
    if not trial.state.is_finished() and is_paused(trial.user_attrs):
        claims.offer(claim, trial_id)
    elif not trial.state.is_finished():
        interrupt(study, claims, optuna.Trial(study, trial_id), claim, ENDED)
    elif counts(trial):
        claims.close(claim)
    else:
        claims.forget_evaluations(trial.number)
        claims.release(claim, trial.params, trial.number)


def _fail(study: optuna.Study, trial: optuna.Trial, reason: str, is_given_up: bool) -> bool:
    try:
        trial.set_user_attr("failure", reason)
        if not is_given_up:
            trial.set_user_attr("interrupted", True)
    except UpdateFinishedTrialError:
        return False
    return tell(study, trial, TrialState.FAIL)


def _current(study: optuna.Study, trial_id: int) -> FrozenTrial:
    return study._storage.get_trial(trial_id)


# ---------------------------------------------------------------- studies of schema version 1


def adopt(study: optuna.Study, claims: Claims) -> None:
    """Add claims to a study that was recorded with schema version 1."""
    trials = study.get_trials(deepcopy=False) if claims.is_empty() else []
    if not trials:
        return
    adopted, index_of = _claims_of(trials)
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            key = adopted[index_of[trial.number]].key
            study._storage.set_trial_system_attr(trial._trial_id, run_queries.CLAIM, key)
    claims.add(adopted)


def _claims_of(trials: Sequence[FrozenTrial]) -> tuple[list[Claim], dict[int, int]]:
    """The claims of these trials, and the index of the claim by trial number.

    A retry comes after the trial it repeats, so the last attempt decides a claim's state.
    """
    claims: list[Claim] = []
    index_of: dict[int, int] = {}
    sampled = 0
    for trial in trials:
        attributes, origin = trial.user_attrs, trial.user_attrs.get("retry_of")
        is_enqueued = bool(attributes.get("enqueued"))
        if origin is None:
            claims.append(Claim(len(claims), sampled, is_enqueued))
            sampled += not is_enqueued
        index_of[trial.number] = len(claims) - 1 if origin is None else index_of[int(origin)]
        claim = claims[index_of[trial.number]]
        claim.attempt, claim.origin = int(attributes.get("attempt", 1)), origin
        claim.point = trial.system_attrs.get("fixed_params")
        _stand(claim, trial)
    return claims, index_of


def _stand(claim: Claim, trial: FrozenTrial) -> None:
    """Set a claim's state from its last trial."""
    claim.waiting = trial._trial_id if trial.state == TrialState.WAITING else None
    if trial.state == TrialState.RUNNING:
        claim.state, claim.parent = "held", "an earlier version"
    else:
        claim.state = "done" if counts(trial) else "open"
