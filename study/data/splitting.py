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
    prompt: Callable[[R], str],
    places: Sequence[str],
    label: Callable[[R], Hashable] = lambda row: None,
    called: tuple[str, str] = ("conversations", "prompt"),
) -> Split[R]:
    """Return rows split into train and dev, which has at most `LARGEST_DEV` rows.

    Equal prompts stay on one side, and train keeps a row of every label.  The draw depends on the
    prompts and the seed, not on the order of the rows.

    Args:
        rows: The training rows.
        share: The share of the rows that becomes the dev set.
        seed: The seed of the draw.
        prompt: What train and dev must not share.
        places: Where each row was read.
        label: The class of a row, for a classification.
        called: What the rows and their prompts are called, for messages.

    Raises:
        InputError: all prompts are the same.
    """
    unit, asked = called
    by_prompt: dict[str, list[R]] = {}
    for row in rows:
        by_prompt.setdefault(prompt(row), []).append(row)
    if len(by_prompt) < 2:
        raise InputError(
            f"data.dev: needed, since all {unit} have the same {asked}, got "
            f"{len(rows):,} of one {asked}; allowed: a file of other {unit}"
        )
    wanted = max(1, min(LARGEST_DEV, round(share * len(rows))))
    drawn = sorted(by_prompt, key=lambda text: derive_seed(seed, "dev", text))
    left, chosen, count = Counter(map(label, rows)), set[str](), 0
    for text in drawn:
        taken = Counter(map(label, by_prompt[text]))
        keeps_all = all(left[name] > number for name, number in taken.items())
        if count + taken.total() <= wanted and keeps_all:
            chosen.add(text)
            count += taken.total()
            left -= taken
    if not chosen:
        chosen = {min(drawn, key=lambda text: len(by_prompt[text]))}
    train = tuple(row for row in rows if prompt(row) not in chosen)
    dev = tuple(row for row in rows if prompt(row) in chosen)
    remark = (
        f"{len(dev):,} of the train {unit} are the dev set (data.dev_share), drawn by {asked}, so "
        f"that no {asked} is on both sides"
    )
    sides = ("dev" if prompt(row) in chosen else "train" for row in rows)
    return Split(train, dev, remark, tuple(zip(places, sides, strict=True)))


def split_tsv(places: Sequence[tuple[str, str]]) -> str:
    """Return a table of the lines or rows of the training file, each with its side."""
    units = [place.rpartition(": ")[2].split(" ", 1) for place, _ in places]
    lines = [f"{number}\t{side}" for (_, number), (_, side) in zip(units, places, strict=True)]
    return "\n".join([f"{units[0][0]}\tsplit", *lines, ""])
