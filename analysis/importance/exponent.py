"""By which power of the rank does LoRA's update shrink: p in learning rate · α / r^p.

LoRA divides by r (p = 1), rsLoRA by √r (p = ½), and some studies follow the product alone (p = 0).
For each p on a grid the score is modelled as a curve of log(learning rate · α / r^p) plus curves of
the other parameters and noise.  The curve is a penalised spline or a random walk; which of them,
how smooth and how noisy is integrated out.  The posterior of p, flat on the grid before the trials,
gives the estimate and a 95 % interval.  Where rank or product do not move the score, the interval
covers the grid.

Where the score falls off a cliff, such as a learning rate beyond which training diverges, a few
trials at its edge would decide p: intervals then cover the truth in half of the studies only.  So a
cliff is looked for, and where there is one no p is given.  Nor is one given where the trials
contradict a curve of the product, such as where α does nothing, or where α and rank hardly varied
independently.

Studies are pooled by adding up their log-likelihoods: each has its own curve, all have one p.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.importance.design import features_of, few_columns, orthonormal, without
from analysis.surrogates.encoding import Array, Encoding
from analysis.wording import interval, listing, share

POWERS = np.linspace(-1.0, 2.0, 61)
KNOTS, STEPS = 12, 40
PENALTIES = np.logspace(-3, 6, 19)  # variance of the curve over that of the noise
NAMED = {0.0: "0 (the product alone)", 0.5: "½ (rsLoRA)", 1.0: "1 (LoRA)"}
MIN_TRIALS = 20
CLEAR = 3.0  # log-likelihood by which a cliff must be better
CONTRADICTED = 0.01  # the level at which learning rate and α must differ in effect
TIED = 0.95  # the correlation of log α and log rank from which they are one parameter
CLIFF = "the score falls off a cliff along learning rate · α; search below the cliff"
CLIPPED = 4.0  # quartile ranges beyond the quartiles; diverged trials count as that


@dataclass(frozen=True)
class Exponent:
    """The power of the rank with its 95 % interval.

    `log_likelihood` (P,) is over POWERS, for pooling studies.  Where the trials do not tell it, for
    the reason `unknown`, the interval is the whole grid and excludes nothing.
    """

    power: float
    ci: tuple[float, float]
    log_likelihood: Array = field(repr=False, metadata={"json": False})
    unknown: str = ""

    @property
    def excluded(self) -> tuple[float, ...]:
        """Which of 0, ½ and 1 the interval excludes."""
        return tuple(p for p in NAMED if not self.ci[0] <= p <= self.ci[1])

    @property
    def sentence(self) -> str:
        """The estimate and what it excludes, in words."""
        if self.unknown:
            return (
                "The trials do not tell by which power of the rank learning rate · α shrinks: "
                f"{self.unknown}"
            )
        out = listing(NAMED[p] for p in self.excluded)
        said = f"excludes {out}" if self.excluded else "excludes none of 0, ½ and 1"
        return (
            f"In learning rate · α / rank^p, p is {share(self.power)} (95 % interval "
            f"{interval(self.ci, share)}), which {said}"
        )


def exponent_of(
    encoding: Encoding,
    values: Array,
    points: Sequence[Mapping[str, Any]],
    roles: Mapping[str, str],
) -> Exponent | None:
    """Return the exponent of N trials; None where rank or the product did not vary, or N is small.

    `roles` maps alpha, rank and learning_rate to the parameters that varied.
    """
    acting = [role for role in ("alpha", "learning_rate") if role in roles]
    if "rank" not in roles or not acting or len(values) < MIN_TRIALS:
        return None
    rank, *factors = (np.log([float(p[roles[r]]) for p in points]) for r in ("rank", *acting))
    if "alpha" in roles and abs(np.corrcoef(factors[0], rank)[0, 1]) > TIED:
        return _unknown("α and rank hardly varied independently")
    others = [
        features_of(column, unit)
        for column, unit in zip(encoding.columns, encoding.units.T, strict=True)
        if column.name not in roles.values()
    ]
    beside = few_columns(len(values), others)
    low, high = np.quantile(values, [0.25, 0.75])
    reach = CLIPPED * (high - low) if high > low else np.inf
    score = np.clip(values, low - reach, high + reach)
    product = np.sum(factors, axis=0)
    found = [_log_likelihood(product - p * rank, beside, score) for p in POWERS]
    smooth, cliff = np.array(found).T
    if cliff.max() > smooth.max() + CLEAR:
        return _unknown(CLIFF)
    best = product - POWERS[smooth.argmax()] * rank
    if len(factors) == 2 and _contradicted(best, factors, rank, beside, score):
        return _unknown("learning rate and α do not act through their product alone")
    return _exponent(smooth)


def _unknown(reason: str) -> Exponent:
    ends = (float(POWERS[0]), float(POWERS[-1]))
    return Exponent(float(np.mean(ends)), ends, np.zeros(len(POWERS)), reason)


def _contradicted(
    place: Array, factors: Sequence[Array], rank: Array, beside: Array, score: Array
) -> bool:
    """Return whether curves of rank and factors apart fit better than one of their product.

    By Schwarz's criterion (1978), and by an F-test of a factor's own effect beside the product's.
    Each misses what the other finds: of simulated studies the F-test misses a sixth where α does
    nothing, the criterion a third where α acts beside the product too.
    """
    from scipy.stats import f

    def left(*curves: Array) -> tuple[float, int]:
        basis = orthonormal(np.column_stack([beside, *curves]))
        rest = without(basis, score)
        return max(float(rest @ rest), 1e-300), len(score) - basis.shape[1]

    z, own, other, r = (((x - x.mean()) / (x.std() or 1.0)) for x in (place, *factors, rank))
    curve = [z**k for k in range(1, 5)]
    together, freedom = left(*curve)
    apart, other_freedom = left(*(x**k for x in (own, other) for k in range(1, 5)), r, r**2)
    price = (freedom - other_freedom) * np.log(len(score))
    if other_freedom > 0 and len(score) * np.log(together / apart) > price + 2 * CLEAR:
        return True
    with_it, rest = left(*curve, own, own**2, own * z, own * z**2, own**2 * z)
    if rest < 1 or freedom <= rest:
        return False
    ratio = ((together - with_it) / (freedom - rest)) / (with_it / rest)
    return bool(f.sf(ratio, freedom - rest, rest) < CONTRADICTED)


def pooled(exponents: Sequence[Exponent]) -> Exponent:
    """Return the exponent that several studies share."""
    return _exponent(np.sum([e.log_likelihood for e in exponents], axis=0))


def _exponent(log_likelihood: Array) -> Exponent:
    from scipy.interpolate import CubicSpline

    fine = np.linspace(POWERS[0], POWERS[-1], 40 * (len(POWERS) - 1) + 1)
    height = CubicSpline(POWERS, log_likelihood)(fine)
    weight = np.exp(height - height.max())
    below = (np.cumsum(weight) - weight / 2) / weight.sum()
    low, middle, high = (float(np.interp(q, below, fine)) for q in (0.025, 0.5, 0.975))
    return Exponent(middle, (low, high), log_likelihood)


def _log_likelihood(place: Array, beside: Array, score: Array) -> tuple[float, float]:
    """Return the log-likelihood of a curve along (N,) places beside (N, Q) columns, and of a cliff.

    Linear coefficients have flat priors; variance and smoothness are integrated over a grid.
    """
    z = (place - place.mean()) / (place.std() or 1.0)
    smooth = orthonormal(np.column_stack([beside, z]))
    cliff, cuts = _cliff(z, smooth, score)
    found = []
    for fixed, price in ((smooth, 0.0), (cliff, np.log(cuts))):
        left = without(fixed, score)
        freedom, logs = len(score) - fixed.shape[1], []
        for curves in (_spline(z), _walk(z)):
            curves = without(fixed, curves)
            curves = curves * np.sqrt(len(z) / max(float((curves**2).sum()), 1e-300))
            u, s, _ = np.linalg.svd(curves, full_matrices=False)
            along = u.T @ left
            rest = max(float(left @ left - along @ along), 1e-12 * float(score @ score) + 1e-300)
            scale = 1.0 + PENALTIES[:, None] * s**2  # (λ, K)
            squares = (along**2 / scale).sum(axis=1) + rest
            logs.append(
                -0.5 * np.log(scale).sum(axis=1)
                - 0.5 * freedom * np.log(squares / float(score.var() or 1.0) / len(z))
                - price
            )
        found.append(float(np.logaddexp.reduce(np.concatenate(logs))))
    return found[0], found[1]


def _cliff(z: Array, fixed: Array, score: Array) -> tuple[Array, int]:
    """Return orthonormal columns and the step that explains most, and how many steps there were."""
    order = np.sort(np.unique(z))
    cuts = ((order[1:] + order[:-1]) / 2)[1:-1]
    if not len(cuts):
        return fixed, 1
    steps = without(fixed, (z[:, None] > cuts).astype(float))
    length = np.sqrt(np.maximum((steps**2).sum(axis=0), 1e-12))
    best = int(np.argmax(np.abs(score @ steps) / length))
    return np.column_stack([fixed, steps[:, best] / length[best]]), len(cuts)


def _spline(z: Array) -> Array:
    """Return the curves (N, K) of a cubic spline (Ruppert, Wand, Carroll 2003, ch. 13)."""
    knots = np.quantile(z, np.linspace(0, 1, KNOTS + 2)[1:-1])
    size, vectors = np.linalg.eigh(np.abs(knots[:, None] - knots) ** 3)
    raw = np.abs(z[:, None] - knots) ** 3
    return np.asarray(raw @ vectors / np.sqrt(np.maximum(np.abs(size), 1e-9)))


def _walk(z: Array) -> Array:
    """Return the steps (N, K) of a random walk over the quantiles."""
    knots = np.quantile(z, np.linspace(0, 1, STEPS + 2)[1:-1])
    return np.asarray(z[:, None] > knots, dtype=float)
