"""The shares of this package as an evaluator of Optuna's, for those who work with Optuna's own API.

    from optuna.importance import get_param_importances
    from optuna_study import ImportanceEvaluator

    get_param_importances(study, evaluator=ImportanceEvaluator(), normalize=False)

Optuna rescales shares to a sum of one unless told otherwise, which hides how much of the variance
is noise or interaction: `normalize=False` gives the shares that `importances` gives.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.importance import BaseImportanceEvaluator
from optuna.search_space import intersection_search_space
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from analysis.importance.reliability import MIN_TRIALS, doubts
from analysis.surrogates.choice import choose, fit
from analysis.surrogates.encoding import encode

log = logging.getLogger(__name__)


class ImportanceEvaluator(BaseImportanceEvaluator):
    """Main-effect shares of the variance, by the surrogate that predicts held-out trials better.

    As with Optuna's own evaluators, shares are of the parameters that every finished trial has, or
    over the trials that have all of `params`: conditional parameters are left out unless named.
    That, and why shares are unreliable, if they are, is logged as a warning.  They come without
    intervals and verdicts: `optuna_study.importances(study)` has these, for all parameters.
    """

    def __init__(self, *, surrogate: str = "auto", seed: int = 0) -> None:
        """Take `auto`, `gp` or `forest`; raises ValueError for another surrogate."""
        if surrogate not in (allowed := ("auto", "gp", "forest")):
            raise ValueError(f"surrogate: must be one of {', '.join(allowed)}, got {surrogate!r}")
        self._surrogate = surrogate
        self._seed = seed

    def evaluate(
        self,
        study: Study,
        params: list[str] | None = None,
        *,
        target: Callable[[FrozenTrial], float] | None = None,
    ) -> dict[str, float]:
        """Return each parameter's share, largest first; parameters that did not vary have zero.

        Raises ValueError for a parameter that no finished trial has, for search spaces that changed
        and for several objectives without `target`.
        """
        if target is None and len(study.directions) > 1:
            raise ValueError(
                "a study with several objectives needs `target`, such as "
                "`target=lambda t: t.values[0]`"
            )
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        space = _space(complete, params)
        every = {name for trial in complete for name in trial.params}
        if params is None and (left_out := sorted(every - space.keys())):
            log.warning(
                "no share for %s: not in every trial, or with another range; name them in `params` "
                "for the trials that have them all, or use optuna_study.importances(study)",
                ", ".join(left_out),
            )
        wanted = target or (lambda trial: float(trial.value or 0.0))
        measured = [
            (trial.params, value)
            for trial in complete
            if space.keys() <= trial.params.keys() and math.isfinite(value := wanted(trial))
        ]
        shares = dict.fromkeys(space, 0.0)
        values = np.array([value for _, value in measured])
        encoding = encode([point for point, _ in measured], space, self._seed)
        if len(measured) > 1 and encoding.columns and np.ptp(values) > 0:
            kind, r2 = "forest", 0.0  # too few trials to judge a surrogate by
            if len(measured) >= MIN_TRIALS:
                choice = choose(self._surrogate, encoding, values, self._seed)
                kind, r2 = choice.name, choice.held_out_r2[choice.name]
            main = fit(kind, encoding, values, self._seed).shares(pairs=False).main
            shares |= dict(zip(encoding.names, main.tolist(), strict=True))
            if reasons := doubts(len(values), len(encoding.columns), r2):
                log.warning("importances are not reliable: %s", "; ".join(reasons))
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _space(complete: list[FrozenTrial], params: list[str] | None) -> dict[str, BaseDistribution]:
    """Return the parameters that all finished trials share, or the named ones."""
    if params is None:
        return intersection_search_space(complete)
    having = [t.distributions for t in complete if t.distributions.keys() >= set(params)]
    if params and not having:
        raise ValueError(f"no finished trial has all of the parameters {', '.join(params)}")
    for name in params:
        if any(own[name] != having[0][name] for own in having):
            raise ValueError(f"the search space of {name} changed during the study")
    return {name: having[0][name] for name in sorted(params)}
