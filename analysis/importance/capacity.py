"""Does the size of the adapter matter, or rank and target modules separately?

LoRA trains the rank times a number of parameters that the target modules determine, so rank and
modules may act only through the size.  Each trial's count shows what its modules contribute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from analysis.importance.confounding import (
    Confounding,
    Derived,
    Group,
    explained_by,
    factors,
    roles_in,
)
from analysis.surrogates.encoding import Array
from analysis.surrogates.fits import Fits

MODULES = ("target_modules", "modules", "lora_target_modules")


def capacity(fits: Fits, trainable: Sequence[float]) -> Confounding | None:
    """Return how far the trainable parameters explain the joint effect of rank and modules.

    `trainable` has one count per given trial, NaN where it is unknown.  None where rank and modules
    did not both vary, where there are too few trials, or where the counts are not the rank times a
    constant for each choice of modules.
    """
    encoding = fits.encoding
    rank = roles_in(factors(fits.distributions)).get("rank")
    modules = next((name for name in MODULES if name in encoding.names), None)
    if rank not in encoding.names or modules is None or not fits.say_something:
        return None
    if rank in encoding.inactive or modules in encoding.inactive:
        return None
    counts = np.asarray(trainable, dtype=float)[fits.kept]
    a_rank = _a_rank([p[rank] for p in fits.points], [p[modules] for p in fits.points], counts)
    choices = encoding.columns[encoding.names.index(modules)].values
    if a_rank is None or not set(choices) <= set(a_rank):
        return None
    group = Group(fits, {"rank": rank, "target_modules": modules}, {})
    return explained_by(group, _candidates(rank, modules, a_rank))


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
    """Return each choice's parameters per rank; None where that is not constant."""
    found: dict[Any, float] = {}
    for rank, choice, count in zip(ranks, modules, counts, strict=True):
        if not np.isfinite(count):
            continue
        known = found.setdefault(choice, count / rank)
        if not np.isclose(known, count / rank, rtol=1e-6) or count <= 0:
            return None
    return found
