"""Set some of the training rows aside as the dev set, where a study file names none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from study.errors import InputError
from study.seeds import derive_seed

LARGEST_DEV = 400
R = TypeVar("R")


@dataclass(frozen=True)
class Split(Generic[R]):
    """Training rows of which some are the dev set now."""

    train: tuple[R, ...]
    dev: tuple[R, ...]
    remark: str
    places: tuple[tuple[str, str], ...]  # of every row: where it was read, and `train` or `dev`


def split_off(
    rows: Sequence[R],
    share: float,
    seed: int,
    *,
    keys: Sequence[str],
    places: Sequence[str],
    label: Callable[[R], Hashable] = lambda row: None,
    called: tuple[str, str] = ("conversations", "prompt"),
) -> Split[R]:
    """Return rows split into train and dev, which has at most `LARGEST_DEV` rows.

    Rows of equal keys stay on one side, and train keeps a row of every label.  The draw depends on
    the keys and the seed, not on the order of the rows.

    Args:
        rows: The training rows.
        share: The share of the rows that becomes the dev set.
        seed: The seed of the draw.
        keys: What train and dev must not share, for each row: its prompt or group.
        places: Where each row was read.
        label: The class of a row, for a classification.
        called: What the rows and their keys are called, for messages.

    Raises:
        InputError: all keys are the same.
    """
    unit, asked = called
    by_key: dict[str, list[R]] = {}
    for row, key in zip(rows, keys, strict=True):
        by_key.setdefault(key, []).append(row)
    if len(by_key) < 2:
        raise InputError(
            f"data.dev: needed, since all {unit} have the same {asked}, got "
            f"{len(rows):,} of one {asked}; allowed: a file of other {unit}"
        )
    wanted = max(1, min(LARGEST_DEV, round(share * len(rows))))
    drawn = sorted(by_key, key=lambda key: derive_seed(seed, "dev", key))
    left, chosen, count = Counter(map(label, rows)), set[str](), 0
    for key in drawn:
        taken = Counter(map(label, by_key[key]))
        keeps_all = all(left[name] > number for name, number in taken.items())
        if count + taken.total() <= wanted and keeps_all:
            chosen.add(key)
            count += taken.total()
            left -= taken
    if not chosen:
        chosen = {min(drawn, key=lambda key: len(by_key[key]))}
    sides = ["dev" if key in chosen else "train" for key in keys]
    train, dev = (
        tuple(row for row, its in zip(rows, sides, strict=True) if its == side)
        for side in ("train", "dev")
    )
    remark = (
        f"{len(dev):,} of the train {unit} are the dev set (data.dev_share), drawn by {asked}, so "
        f"that no {asked} is on both sides"
    )
    return Split(train, dev, remark, tuple(zip(places, sides, strict=True)))


def linked(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return a key for each pair, equal for pairs that share a text, and for all linked by these.

    The key is the first text, in alphabetical order, of all that are linked.
    """
    parents: dict[str, str] = {}

    def root(text: str) -> str:
        while (above := parents.setdefault(text, text)) != text:
            text = parents[text] = parents[above]
        return text

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parents[high] = low
    return [root(first) for first, _ in pairs]


def split_tsv(places: Sequence[tuple[str, str]]) -> str:
    """Return a table of the lines or rows of the training file, each with its side."""
    units = [place.rpartition(": ")[2].split(" ", 1) for place, _ in places]
    lines = [f"{number}\t{side}" for (_, number), (_, side) in zip(units, places, strict=True)]
    return "\n".join([f"{units[0][0]}\tsplit", *lines, ""])
