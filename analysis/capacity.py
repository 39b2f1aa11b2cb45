"""How large the adapter is: rank and target modules, or simply the trainable parameters?

LoRA's parameters are the rank times a number that the target modules determine, so rank and modules
may act through their size alone.  Each trial's own count says what the modules contribute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.confounding import Confounding, Derived, Group, explained_by, roles_in
from analysis.encoding import Array, encode

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MODULES = ("target_modules", "modules", "lora_target_modules")


def capacity(
    points: Sequence[Mapping[str, Any]],
    values: ArrayLike,
    distributions: Mapping[str, BaseDistribution],
    trainable: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = 20,
) -> Confounding | None:
    """Return how far the trainable parameters (N,) explain what rank and modules do together.

    None where not both varied, where there are too few trials, or where the counts are not the rank
    times a constant of each choice of modules.
    """
    target = np.asarray(values, dtype=float)
    counts = np.asarray(trainable, dtype=float)
    finite = np.isfinite(target) & np.isfinite(counts)
    kept = [p for p, ok in zip(points, finite, strict=True) if ok]
    encoding, target = encode(kept, distributions, seed), target[finite]
    rank = roles_in(distributions).get("rank")
    modules = next((name for name in MODULES if name in encoding.names), None)
    if rank not in encoding.names or modules is None or len(target) < 10 or np.ptp(target) == 0:
        return None
    if rank in encoding.inactive or modules in encoding.inactive:
        return None
    a_rank = _a_rank([p[rank] for p in kept], [p[modules] for p in kept], counts[finite])
    choices = encoding.columns[encoding.names.index(modules)].values
    if a_rank is None or not set(choices) <= set(a_rank):
        return None
    group = Group(encoding, target, kept, {"rank": rank, "target_modules": modules}, {})
    return explained_by(group, _candidates(rank, modules, a_rank), seed, resamples)


def _candidates(rank: str, modules: str, a_rank: Mapping[Any, float]) -> list[Derived]:
    def size(v: Mapping[str, Any]) -> Array:
        return np.array([a_rank[m] for m in np.asarray(v["target_modules"]).tolist()])

    return [
        Derived(rank, rank, ("rank",), itemgetter("rank")),
        Derived(modules, modules, ("target_modules",), size),
        Derived(
            "trainable_parameters",
            "trainable parameters",
            ("rank", "target_modules"),
            lambda v: v["rank"] * size(v),
        ),
    ]


def _a_rank(
    ranks: Sequence[float], modules: Sequence[Any], counts: Array
) -> dict[Any, float] | None:
    """Return each choice's parameters a rank; None where that is no constant."""
    found: dict[Any, float] = {}
    for rank, choice, count in zip(ranks, modules, counts, strict=True):
        known = found.setdefault(choice, count / rank)
        if not np.isclose(known, count / rank, rtol=1e-6) or count <= 0:
            return None
    return found
