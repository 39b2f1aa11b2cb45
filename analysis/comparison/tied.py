"""Which of the trials that were trained again is the best, and which are tied with it."""

from __future__ import annotations

from analysis.comparison.confirmation import Confirmation, Retrained, confirmation_among


def best_retrained(found: Confirmation) -> tuple[Retrained, tuple[Retrained, ...]] | None:
    """Return the trial with the best mean on fresh seeds, and those that it does not clearly beat.

    None if fewer than two trials were trained again.
    """
    trials = [model for model in (found.winner, *found.others) if model.trial is not None]
    if len(trials) < 2:
        return None
    sign = trials[0].test[0].row.sign
    best = max(trials, key=lambda model: sign * float(model.scores.mean()))
    tested = confirmation_among(found.metric, best, [m for m in trials if m is not best]).tested
    beaten = {test.b.name for test in tested if test.clear and test.gain > 0}
    return best, tuple(m for m in trials if m is not best and m.name not in beaten)
