"""Conversations in ShareGPT's form, and as tokens of a chat model with the prompt masked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from study.data.chat import ChatFormat
from study.data.curation.records import Record
from study.errors import InputError

IGNORED = -100
"""The label that PyTorch's cross-entropy leaves out."""


def conversation(record: Record, system: str = "") -> dict[str, list[dict[str, str]]]:
    """Return a record in ShareGPT's form: what the human asks, what the model is to answer."""
    turns = [("system", system)] if system else []
    turns += [("human", record.source), ("gpt", record.target)]
    return {"conversations": [{"from": who, "value": said} for who, said in turns]}


class ChatTokens:
    """Records as one tokenizer's tokens, in its chat template."""

    def __init__(self, location: str, system: str = "") -> None:
        """Load the tokenizer of a chat model, from a folder or the hub; without its weights.

        Raises:
            InputError: there is none, it knows no chat template, or no token ends its answers.
        """
        self.location = location
        self._tokenizer = _loaded(location)
        self.stop: str = self._tokenizer.eos_token
        if not self.stop:
            raise InputError(f"--tokenizer: {location!r} has no end-of-sequence token")
        try:
            self._form = ChatFormat(self._tokenizer, system, self.stop, max_tokens=2**31)
        except InputError as error:
            raise _of_the_option(error) from None

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, by itself."""
        if not texts:
            return []
        ids = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return list(map(len, ids))

    def rows(self, records: Sequence[Record]) -> Iterator[dict[str, list[int]]]:
        """Yield `input_ids` and `labels`, (T,) each: the prompt's labels are -100, never learnt.

        The answer ends with the end-of-sequence token, which is learnt.
        """
        for record in records:
            found = self._form.dialogue(record.source, record.target)
            masked = [IGNORED] * len(found.prompt)
            yield {
                "input_ids": [*found.prompt, *found.answer],
                "labels": [*masked, *found.answer],
            }


def _loaded(location: str) -> Any:
    from study.base_models import load_tokenizer, located
    from study.spec import BaseModelSpec

    if not Path(location).is_dir():  # of a folder the weights do not matter here
        located(location, None, "--tokenizer")
    try:
        return load_tokenizer(location, BaseModelSpec(model=location))[0]
    except InputError as error:
        raise _of_the_option(error) from None


def _of_the_option(error: InputError) -> InputError:
    """Return the error with the option's name where the study file's key stood."""
    return InputError([line.replace("base.model", "--tokenizer") for line in error.problems])
