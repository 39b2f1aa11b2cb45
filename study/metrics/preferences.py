"""Metrics of preference pairs: how much likelier training made the chosen answer.

A pair's margin is (log p(chosen) − log r(chosen)) − (log p(rejected) − log r(rejected)) in nats,
for the model p and its reference r: DPO's implicit reward without β, so that trials of different β
are comparable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from study.kinds.metrics import Array

TIE = 1e-3
"""Smaller margins are rounding, as those of the untrained base, and count half."""
TIE_IN_16_BITS = 0.5
"""Nats.  Up to 0.30 for the untrained Gemma-3-270M in bfloat16, 20 to 70 once it is trained."""


def accuracy(losses: Array, references: Sequence[str]) -> tuple[Array, str]:
    """(N, 2): 1 where the margin is above zero, ½ for a tie; and 1."""
    margins = losses[:, 2]
    right = np.where(np.abs(margins) <= TIE, 0.5, margins > 0)
    ties = f"tie:{TIE:g}-nats-half,{TIE_IN_16_BITS:g}-in-16-bits"
    signature = f"preference-accuracy|margin:against-reference|{ties}|mean:pair"
    return np.stack([right, np.ones_like(right)], axis=1), signature


def margin(losses: Array, references: Sequence[str]) -> tuple[Array, str]:
    """(N, 2): the margin in nats, and 1."""
    margins = losses[:, 2]
    signature = "preference-margin|against-reference|nats|mean:pair"
    return np.stack([margins, np.ones_like(margins)], axis=1), signature
