"""Train, dev and test without leaks: records with the same input stay in one split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from study.data.curation.cleaning import normalised
from study.data.curation.instruction_records import Record
from study.data.curation.sampling import apportion, shuffled, strata
from study.errors import InputError


def split(
    records: Sequence[Record], shares: Mapping[str, float], seed: int
) -> dict[str, list[Record]]:
    """Return `train` and the splits that `shares` names, each in random order.

    Inputs that are equal when normalised stay together.  Every template contributes its share,
    rounded; if all inputs differ, each split has exactly its share of the records.

    Raises:
        InputError: there are fewer distinct inputs than splits.
    """
    by_input = strata(shuffled(records, seed, "split"), lambda record: normalised(record.source))
    groups = list(by_input.values())
    parts = (*shares, "train")
    if len(groups) < len(parts):
        raise InputError(
            f"records: {len(groups)} distinct {'inputs are' if len(groups) > 1 else 'input is'} "
            f"left; needed: at least one for each of {', '.join(parts)}"
        )
    splits = {}
    for filled, (name, share) in enumerate(shares.items(), 1):
        wanted = max(1, round(share * len(records)))
        taken = _fitting(groups, wanted, spare=len(groups) - (len(parts) - filled))
        splits[name] = [record for i in taken for record in groups[i]]
        groups = [group for i, group in enumerate(groups) if i not in taken]
    return {"train": [record for group in groups for record in group], **splits}


def _fitting(groups: Sequence[list[Record]], wanted: int, spare: int) -> dict[int, None]:
    """Return the groups that fit the templates' quotas, in order; if none does, the smallest."""
    sizes = Counter[str]()
    for group in groups:
        sizes[group[0].template] += len(group)
    names = sorted(sizes)
    quotas = dict(zip(names, apportion([sizes[n] for n in names], wanted), strict=True))
    taken: dict[int, None] = {}
    for i, group in enumerate(groups):
        template = group[0].template
        if len(taken) < spare and len(group) <= quotas[template]:
            quotas[template] -= len(group)
            taken[i] = None
    return taken or {min(range(len(groups)), key=lambda i: len(groups[i])): None}
