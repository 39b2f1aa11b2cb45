"""Base against adapters in words, on the page and in the terminal alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.wording import interval, listing, number
from study.metrics import METRICS

if TYPE_CHECKING:
    from analysis.comparison.adapters import Adapters, SeedNoise


def title(found: Adapters) -> str:
    """Who is compared, on what, and how many tests that makes."""
    count = len(found.adapters)
    return (
        f"{found.study}: the base against {count} adapter{'s' * (count > 1)} on {found.n_examples} "
        f"{found.split} examples; * is p < 0.05, corrected for {found.family} "
        f"test{'s' * (found.family != 1)}"
    )


def gaming(found: Adapters) -> list[str]:
    """A line for each flag; one where there is none; nothing where outputs are no free text."""
    if found.examined is None:
        return []
    if not found.examined.flagged:
        gained = [v for v in found.examined.verdicts if v.gains]
        return [NO_FLAG] if gained else []
    return [f"Metric gaming: {v.adapter} {v.words}." for v in found.examined.flagged]


NO_FLAG = (
    "No sign of metric gaming: where single words gain, bigrams follow, and length, repetition and "
    "vocabulary stay in bounds."
)


def noise(found: Adapters, metric: str) -> list[str]:
    """What the seed alone did, by one metric."""
    return [_noise(n, metric) for n in found.noise if n.metric == metric]


def _noise(found: SeedNoise, metric: str) -> str:
    scores = listing(number(score) for score in found.scores)
    return (
        f"Seed noise: {listing(found.names)} are one configuration ({found.twins}) trained with "
        f"other seeds: {METRICS[metric].label} {scores}, a difference of "
        f"{number(abs(found.largest))} (95 % interval {interval(found.ci)}). Adapters that differ "
        "no more than that may differ by their seeds alone."
    )


def caution(found: Adapters) -> list[str]:
    """What a reader must know before using the table."""
    said = []
    if found.left_out:
        said.append(
            f"{found.left_out} trials of lower score are not shown. The best of many flatter, all "
            "the more on the examples that chose them; the p-values are corrected for every trial."
        )
    if any("synonyms:none" in signature for signature in found.signatures.values()):
        said.append("METEOR counts no synonyms here: figures with WordNet are higher.")
    return said
