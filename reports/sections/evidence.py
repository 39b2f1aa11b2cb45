"""What an importance rests on, in the same words on the page and in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.wording import counted, percent, share

if TYPE_CHECKING:
    from analysis.importance.compute import Importances

EVALUATORS = {"fanova": "functional ANOVA", "fanova-original": "the authors' fANOVA"}
SURROGATES = {"gp": "Gaussian process", "forest": "random forest"}
POLICY_WORDS = {"drop": "left out", "last": "last report", "worst": "worst value"}
STATES_OF_TRIALS = ("complete", "pruned", "failed")


def evidence(result: Importances) -> dict[str, str]:
    """Facts by name: trials, sampler, sample, surrogates, stability, noise."""
    states = {s: n for s, n in result.trials.items() if s in STATES_OF_TRIALS and n}
    facts = {"trials": counted(states) or "none"}
    facts["sampler"] = result.sampler or "unknown"
    if result.sample:
        facts["sample"] = _sample(result)
    if result.surrogates:
        facts["held-out R²"] = ", ".join(
            f"{SURROGATES.get(name, name)} {share(r2)}" for name, r2 in result.surrogates.items()
        )
    if result.stability:
        first, order = result.stability["first"], result.stability["order"]
        facts["stability"] = (
            f"of refits on half of the trials {percent(first)} agree on the first parameter, on "
            f"the order of two {percent(order)}"
        )
    if result.noise is not None:
        facts["noise"] = f"{share(result.noise)} of the variance"
    return facts


def _sample(result: Importances) -> str:
    verdict = "could be uniform" if result.sample["is_uniform"] else "is not uniform"
    return (
        f"{verdict}: largest distance {share(result.sample['distance'])} "
        f"({result.sample['parameter']}), largest rank correlation "
        f"{share(result.sample['correlation'])}"
    )


def policy_rows(result: Importances) -> list[tuple[str, list[str]]]:
    """Each parameter's share under every treatment of the pruned trials, – where it has none."""
    return [
        (
            p.name,
            [share(by[p.name]) if p.name in by else "–" for by in result.policies.values()],
        )
        for p in result.parameters
    ]


def policy_span(result: Importances) -> tuple[str, float, float] | None:
    """The parameter whose share depends most on the pruned trials, and from where to where."""
    spans = [
        (p.name, min(seen), max(seen))
        for p in result.parameters
        if len(seen := [by[p.name] for by in result.policies.values() if p.name in by]) > 1
    ]
    return max(spans, key=lambda span: span[2] - span[1], default=None)


def policy_verdict(result: Importances) -> str:
    """How much the answer depends on the treatment of pruned trials, in one sentence."""
    span = policy_span(result)
    if span is None:
        return ""
    name, low, high = span
    return (
        "Pruned trials can be left out, count with their last report or with the worst value: "
        f"by that the share of {name} lies between {share(low)} and {share(high)}; no other "
        "depends on it more."
    )
