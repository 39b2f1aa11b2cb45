"""Preference pairs: one prompt with a chosen and a rejected answer, in TRL's formats.

The prompt has a column of its own, or is what both sides begin with.  In some published files it is
both, and is then read once.  Answers are turns, or texts that become turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from study.data.conversations import (
    Conversation,
    Format,
    conversation_of,
    listed,
    loaded,
    prompt_and,
    whole,
)
from study.data.embedded import Preference, preference_corpus
from study.data.readers import Corpus
from study.errors import InputError
from study.spec.base_and_data import SPLITS, DataSpec


@dataclass(frozen=True)
class PreferencePair:
    """Two conversations that differ in the last answer."""

    chosen: Conversation
    rejected: Conversation
    group: str = ""  # what it belongs to, such as a document
    repeats_prompt: bool = field(default=False, compare=False)  # its column prompt was not needed

    @property
    def prompt(self) -> str:
        """What train and dev must not share."""
        return self.chosen.prompt

    @property
    def turns_before(self) -> int:
        """The assistant's turns before the first question, which are left out."""
        return self.chosen.turns_before

    @property
    def turns_after(self) -> int:
        """The turns after the last answer, which are left out."""
        return self.chosen.turns_after

    @property
    def where(self) -> str:
        """The place that it was read from."""
        return self.chosen.where


# ---------------------------------------------------------------- formats


def _beginning_alike(name: str) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """Return what makes turns of a side whose prompt is what both sides begin with."""

    def turns(row: Mapping[str, Any]) -> Sequence[Any]:
        both = [row["chosen"], row["rejected"]]
        if not all(isinstance(side, str) and not side.lstrip().startswith("[") for side in both):
            return listed(row[name], name)
        pairs = enumerate(zip(*both, strict=False))
        end = next((i for i, (ours, theirs) in pairs if ours != theirs), min(map(len, both)))
        while end and row[name][end - 1].isalnum():  # the first words that differ are whole
            end -= 1
        prompt = row[name][:end]
        if not prompt.strip():
            raise InputError(
                f"{name}: must begin as the other side does, got {row[name]!r:.60}; or add a "
                "column prompt"
            )
        answer = row[name][len(prompt) :].strip()
        return [
            {"role": "user", "content": prompt.strip()},
            {"role": "assistant", "content": answer},
        ]

    return turns


_EXPLICIT, _IMPLICIT = ("prompt", "chosen", "rejected"), ("chosen", "rejected")
FORMATS = (
    Format("prompt, chosen, rejected", _EXPLICIT, prompt_and("chosen"), answer="chosen"),
    Format("chosen, rejected", _IMPLICIT, _beginning_alike("chosen"), answer="chosen"),
)
REJECTED = {
    FORMATS[0].name: Format("rejected", _EXPLICIT, prompt_and("rejected"), answer="rejected"),
    FORMATS[1].name: Format("rejected", _IMPLICIT, _beginning_alike("rejected"), answer="rejected"),
}
"""A format's name -> how its rejected side becomes turns."""


def load_preferences(data: DataSpec) -> Corpus[PreferencePair]:
    """Read the splits that `[data]` names; without a dev set, take one from the training rows.

    Raises:
        InputError: with one line per fault, and all of a file at once.
    """
    if data.origin != "embedded":
        found = loaded(data, FORMATS, pair_of, "pairs")
        repeated = sum(pair.repeats_prompt for split in SPLITS for pair in found.split(split))
        line = (
            f"pairs whose conversations repeat the column prompt, which is read once: {repeated:,}"
        )
        return replace(found, remarks=(*found.remarks, line)) if repeated else found
    corpus = preference_corpus(data.seed)

    def read(split: Sequence[Preference]) -> tuple[PreferencePair, ...]:
        rows = ({"prompt": p.source, "chosen": p.chosen, "rejected": p.rejected} for p in split)
        pairs = (pair_of(row, FORMATS[0], data.instruction, "embedded") for row in rows)
        return tuple(filter(None, pairs))

    return Corpus(read(corpus.train), read(corpus.dev), (), read(corpus.test))


def pair_of(
    row: Mapping[str, Any], form: Format, instruction: str, where: str
) -> PreferencePair | None:
    """Return a row's pair; None if both answers are the same, which teaches nothing.

    Raises:
        InputError: the sides differ before the last answer, or a side is not a conversation or
            has another prompt than the row.
    """
    chosen = conversation_of(row, form, instruction, where)
    rejected = conversation_of(row, REJECTED[form.name], instruction, where)
    if chosen.messages == rejected.messages:
        return None
    ours, theirs = chosen.turns, rejected.turns
    if ours[:-1] != theirs[:-1]:
        same = next(
            (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
            min(len(ours), len(theirs)),
        )
        raise InputError(
            f"{where}: chosen and rejected must differ in the last answer alone, got {len(ours)} "
            f"and {len(theirs)} turns that differ from turn {same + 1} on"
        )
    repeats = form is FORMATS[0] and any(whole(row, name) for name in _IMPLICIT)
    return PreferencePair(chosen, rejected, repeats_prompt=repeats)
