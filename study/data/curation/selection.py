"""The whole selection, a pure function: clean, draw by template, cluster, fill clusters, split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from study.data.curation.cleaning import CountTokens, Dropped, Lengths, clean
from study.data.curation.clusters import Clustering, clustering
from study.data.curation.embedding import Embed, tfidf
from study.data.curation.instruction_records import Record
from study.data.curation.sampling import at_most, proportional, shuffled, topped_up
from study.data.curation.splitting import split
from study.errors import InputError
from study.seeds import derive_seed

StageCallback = Callable[[str, int, int], None]
"""Called with the name of the step, the number done and the total."""
NOT_DRAWN = "not drawn: its template has enough"
FULL = "not drawn: its cluster has enough"
MOST_CLUSTERS = 1000
"""Every record keeps its distance to every centre."""


@dataclass(frozen=True)
class Choices:
    """What to select, and how much of it."""

    lengths: Lengths = field(default_factory=Lengths)
    sample: int | None = None  # this many in total, each template's share
    per_template: int | None = None  # this many per template
    clusters: int = 10
    per_cluster: int = 1000
    dev: float = 0.1  # a share of the selection
    test: float = 0.1  # a share; the search never sees it
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible choices, one line per problem."""
        problems = [
            f"{name}: must be at least 1, got {value}"
            for name in ("sample", "per_template", "clusters", "per_cluster")
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if self.clusters > MOST_CLUSTERS:
            problems.append(f"clusters: must be at most {MOST_CLUSTERS:,}, got {self.clusters:,}")
        if self.sample is not None and self.per_template is not None:
            problems.append("sample, per_template: only one is allowed, got both")
        if not 0 < self.dev < 1:
            problems.append(f"dev: must be a share above 0 and below 1, got {self.dev}")
        if not 0 <= self.test < 1:
            problems.append(f"test: must be a share from 0 to below 1, got {self.test}")
        if self.dev + self.test >= 1 and not problems:
            problems.append(f"dev, test: must be below 1 together, got {self.dev} and {self.test}")
        if problems:
            raise InputError(problems)

    @property
    def shares(self) -> dict[str, float]:
        """Return the shares of the parts beside `train`."""
        return {"dev": self.dev} | ({"test": self.test} if self.test else {})


@dataclass(frozen=True)
class Cluster:
    """A cluster: its size, how much was taken, and its typical words and record."""

    size: int
    taken: int
    words: tuple[str, ...]
    typical: str


@dataclass(frozen=True)
class Curation:
    """What was selected, and why the rest was not; every record is in one of the two."""

    splits: Mapping[str, tuple[Record, ...]]  # train, dev, and test unless its share is 0
    dropped: tuple[Dropped, ...]
    clusters: tuple[Cluster, ...]
    cluster_of: Mapping[int, int]  # a record's number -> its cluster, from 0
    choices: Choices

    @property
    def selected(self) -> int:
        """Return how many records are in the splits."""
        return sum(map(len, self.splits.values()))


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


def curate(
    records: Sequence[Record],
    choices: Choices = Choices(),
    *,
    embed: Embed = tfidf,
    count_tokens: CountTokens | None = None,
    progress: StageCallback = _silent,
) -> Curation:
    """Select training data; the result does not depend on the order of the records.

    Args:
        records: All records, with distinct numbers.
        choices: What to select.
        embed: Turns inputs into vectors: `tfidf` or an `Encoder`.
        count_tokens: Counts the tokens of texts; needed if `lengths.max_tokens` is given.
        progress: Called after every step.

    Raises:
        InputError: nothing is left to select, or too little for a split.
    """
    seed = choices.seed
    progress("cleaning", 0, 0)
    kept, dropped = _usable(records, choices, count_tokens)
    drawn = shuffled(_drawn(kept, choices), seed, "clusters")
    vectors = embed(drawn, derive_seed(seed, "embedding"), partial(progress, "embedding"))
    progress("clustering", 0, 0)
    clusters = clustering(drawn, vectors, choices.clusters, derive_seed(seed, "k-means"))
    members = _members(drawn, clusters)
    quotas = topped_up(clusters.sizes, choices.per_cluster)
    selected = _filled(members, quotas, seed)
    return Curation(
        {name: tuple(part) for name, part in split(selected, choices.shares, seed).items()},
        (*dropped, *_left(kept, drawn, NOT_DRAWN), *_left(drawn, selected, FULL)),
        _clusters(clusters, quotas, drawn),
        {r.number: cluster for cluster, records in enumerate(members) for r in records},
        choices,
    )


def _usable(
    records: Sequence[Record], choices: Choices, count_tokens: CountTokens | None
) -> tuple[list[Record], list[Dropped]]:
    if choices.lengths.max_tokens is not None and count_tokens is None:
        raise InputError("max_tokens: needs a tokenizer, got none")
    ordered = shuffled(records, choices.seed, "order")
    kept, dropped = clean(ordered, choices.lengths, count_tokens)
    if not kept:
        reasons = Counter(record.reason for record in dropped)
        counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
        raise InputError(
            f"records: none of {len(dropped):,} is usable: {counts or 'there are none'}"
        )
    return kept, dropped


def _drawn(records: Sequence[Record], choices: Choices) -> list[Record]:
    """Return the sample, stratified by template, or all records if none is requested."""
    if choices.sample is not None:
        return proportional(records, choices.sample, choices.seed, "sample")
    if choices.per_template is not None:
        return at_most(records, choices.per_template, choices.seed, "sample")
    return list(records)


def _members(records: Sequence[Record], clusters: Clustering) -> list[list[Record]]:
    members: list[list[Record]] = [[] for _ in clusters.words]
    for record, label in zip(records, clusters.labels, strict=True):
        members[label].append(record)
    return members


def _filled(members: Sequence[Sequence[Record]], quotas: Sequence[int], seed: int) -> list[Record]:
    """Return the records drawn from every cluster, each template's share."""
    return [
        record
        for cluster, (records, quota) in enumerate(zip(members, quotas, strict=True))
        for record in proportional(records, quota, seed, f"cluster {cluster}")
    ]


def _clusters(
    clusters: Clustering, quotas: Sequence[int], records: Sequence[Record]
) -> tuple[Cluster, ...]:
    rows = zip(clusters.sizes, quotas, clusters.words, clusters.typical, strict=True)
    return tuple(Cluster(size, quota, words, records[i].source) for size, quota, words, i in rows)


def _left(before: Sequence[Record], after: Sequence[Record], reason: str) -> list[Dropped]:
    stayed = {record.number for record in after}
    return [Dropped(record, reason) for record in before if record.number not in stayed]
