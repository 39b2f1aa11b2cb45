"""Which trials of a search for the best configuration may explain anything: those drawn blindly.

A sampler that learns visits good regions more often, so shares computed from its points tell about
its path.  In a study with the goal `best` only points of the Sobol sequence count (or of another
sampler that ignores results), and importances need thirty of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from optuna.trial import FrozenTrial

from analysis.studies.study_data import StudyData
from analysis.studies.targets import Target, sampler_of
from study.errors import InputError
from study.kinds.goals import DRAWN, GOALS
from study.kinds.samplers import SAMPLERS


def drawn_only(data: StudyData, target: Target) -> tuple[Target, str]:
    """Return a target without what a model proposed, and a remark where that is less.

    Raises InputError if the study's goal needs more drawn trials than there are.
    """
    search = (data.spec or {}).get("search", {})
    goal = GOALS.get(str(search.get("goal"))) if isinstance(search, Mapping) else None
    if goal is None or not goal.needs_drawn:
        return target, ""
    sampler = SAMPLERS.get(sampler_of(data) or "")
    ignores_results = sampler is not None and not sampler.learns

    def is_drawn(trial: FrozenTrial) -> bool:
        return ignores_results or bool(trial.system_attrs.get(DRAWN))

    kept = [i for i, trial in enumerate(target.trials) if is_drawn(trial)]
    if len(kept) < goal.needs_drawn:
        raise InputError(
            f"{data.name}: importances need {goal.needs_drawn} trials drawn at random, got "
            f"{len(kept)} of {len(data.complete)}: a search for the best configuration takes most "
            "points from a list or from earlier results; run a study with --goal understand to "
            "learn what matters"
        )
    found = replace(
        target,
        trials=tuple(target.trials[i] for i in kept),
        values=tuple(target.values[i] for i in kept),
        pruned_trials=tuple(filter(is_drawn, target.pruned_trials)),
    )
    return found, f"only the {len(kept)} trials that no model proposed are used"
