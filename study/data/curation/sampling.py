"""Sampling by stratum: how many records of each are taken, and which.

Every draw orders records by a hash of (seed, purpose, content) and takes the first ones, so the
order in which they are read does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from study.data.curation.instruction_records import Record
from study.seeds import derive_seed

S = TypeVar("S", bound=Hashable)


def shuffled(records: Iterable[Record], seed: int, purpose: str) -> list[Record]:
    """Return the records in an order that depends only on (seed, purpose, content)."""

    def place(record: Record) -> tuple[int, str, str, str]:
        content = (record.source, record.target, record.template)
        return derive_seed(seed, purpose, *content), *content

    return sorted(records, key=place)


def apportion(sizes: Sequence[int], total: int) -> list[int]:
    """Divide `total` in proportion to the sizes, by largest remainders (Hamilton's method).

    Every quota is its exact share rounded down or up.  They add up to `total`, or to the sum of the
    sizes if that is smaller.
    """
    whole = sum(sizes)
    if total >= whole:
        return list(sizes)
    quotas = [total * size // whole for size in sizes]
    remainders = sorted(range(len(sizes)), key=lambda i: -(total * sizes[i] % whole))
    for i in remainders[: total - sum(quotas)]:
        quotas[i] += 1
    return quotas


def topped_up(sizes: Sequence[int], quota: int) -> list[int]:
    """Return how many to take per stratum: `quota`, and more where others fall short.

    The numbers add up to `quota` times the number of sizes, or to the sum of the sizes if that is
    smaller.
    """
    quotas = [0] * len(sizes)
    missing = min(quota * len(sizes), sum(sizes))
    smallest_first = sorted(range(len(sizes)), key=lambda i: (sizes[i], -i))
    for done, i in enumerate(smallest_first):
        quotas[i] = min(sizes[i], missing // (len(sizes) - done))
        missing -= quotas[i]
    return quotas


def strata(records: Iterable[Record], key: Callable[[Record], S]) -> dict[S, list[Record]]:
    """Return the records of every stratum, in the order given."""
    records_by_key: dict[S, list[Record]] = defaultdict(list)
    for record in records:
        records_by_key[key(record)].append(record)
    return dict(records_by_key)


def proportional(records: Sequence[Record], total: int, seed: int, purpose: str) -> list[Record]:
    """Draw `total` records, each template's share rounded down or up."""
    by_template = _by_template(records, seed, purpose)
    quotas = apportion([len(members) for members in by_template.values()], total)
    return _first(by_template, quotas)


def at_most(records: Sequence[Record], quota: int, seed: int, purpose: str) -> list[Record]:
    """Draw `quota` records per template, or all if it has fewer."""
    by_template = _by_template(records, seed, purpose)
    return _first(by_template, [min(quota, len(members)) for members in by_template.values()])


def _by_template(records: Sequence[Record], seed: int, purpose: str) -> Mapping[str, list[Record]]:
    by_template = strata(shuffled(records, seed, purpose), lambda record: record.template)
    return dict(sorted(by_template.items()))


def _first(by_template: Mapping[str, list[Record]], quotas: Sequence[int]) -> list[Record]:
    pairs = zip(by_template.values(), quotas, strict=True)
    return [record for members, quota in pairs for record in members[:quota]]
