"""Set some of the training rows aside as the dev set, where a study file names none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from study.errors import InputError
from study.seeds import derive_seed

LARGEST_DEV = 400
R = TypeVar("R")


def split_off(
    rows: Sequence[R],
    share: float,
    seed: int,
    *,
    prompt: Callable[[R], str],
    label: Callable[[R], Hashable] = lambda row: None,
    called: tuple[str, str] = ("conversations", "prompt"),
) -> tuple[tuple[R, ...], tuple[R, ...], str]:
    """Return train, dev, and a remark; dev has at most `LARGEST_DEV` rows.

    Equal prompts stay on one side, and train keeps a row of every label.  The draw depends on the
    prompts and the seed, not on the order of the rows.

    Args:
        rows: The training rows.
        share: The share of the rows that becomes the dev set.
        seed: The seed of the draw.
        prompt: What train and dev must not share.
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
    return train, dev, remark
