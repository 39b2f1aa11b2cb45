"""How many more trials would decide what is undecided.

A share is a square of effects: beside a small one the chance line, the estimate's own error and so
the end of its interval all fall as 1 / N.  (Taken to fall as 1 / √N, as an interval around a large
share does, they made the estimate up to three times too many: `benchmarks/more_trials.py`.)
"""

from __future__ import annotations

import math
from collections.abc import Container

from analysis.importance.result import Importances, ParameterImportance

SMALL = 0.05  # the share below which a parameter is not worth searching
LEAST = 1.1  # times the trials: fewer more are not worth a word


def undecided(found: Importances) -> tuple[str, ...]:
    """Return the parameters that are neither beyond chance nor known to have a small share."""
    return tuple(p.name for p in found.parameters if is_open(p))


def is_open(effect: ParameterImportance) -> bool:
    """Say whether a share is neither beyond chance nor surely below SMALL."""
    return not effect.significant and effect.ci[1] >= SMALL


def more_trials(found: Importances, among: Container[str] | None = None) -> int | None:
    """Estimate how many more trials would decide every undecided parameter, or those of `among`.

    Decided is a share that rises above the chance line, or an interval that ends below SMALL; the
    sooner of the two.  An unreliable study needs as many again, at least.
    """
    used = found.trials["used"]
    open_ones = [p for p in found.parameters if is_open(p) and (among is None or p.name in among)]
    needed = [used * _growth(p) for p in open_ones]
    if not found.reliable:
        needed.append(2 * used)
    return math.ceil(max(needed) - used) if needed else None


def _growth(effect: ParameterImportance) -> float:
    visible = effect.null / effect.importance if effect.importance > 0 else math.inf
    return max(min(visible, effect.ci[1] / SMALL), LEAST)
