"""Records as ShareGPT conversations, and as tokens of a chat model with the prompt masked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.data.chat import PLAIN_TEMPLATE, ChatFormat
from study.data.curation.instruction_records import Record
from study.data.instructions import LLADA_MASK, end_token
from study.errors import InputError, refusing
from study.store.folders import check_all_regular

IGNORED = -100
"""The label that PyTorch's cross-entropy ignores."""


def conversation(record: Record, system: str = "") -> dict[str, list[dict[str, str]]]:
    """Return a record in ShareGPT's format: the human's question, the model's answer."""
    turns = [("system", system)] if system else []
    turns += [("human", record.source), ("gpt", record.target)]
    return {"conversations": [{"from": who, "value": text} for who, text in turns]}


class ChatTokens:
    """Records as one tokenizer's tokens, in its chat template."""

    def __init__(self, location: str, system: str = "") -> None:
        """Load the tokenizer of a chat model, from a folder or the hub, without the weights.

        A masked language model without a chat template gets the plain one, as in a study.

        Raises:
            InputError: it does not exist, or lacks a chat template or a token to end an answer.
        """
        self.location = location
        self._tokenizer, architectures = _loaded(location)
        self.is_masked = LLADA_MASK in self._tokenizer.get_vocab() or any(
            name.endswith("ForMaskedLM") for name in architectures
        )
        is_plain = self.is_masked and not self._tokenizer.chat_template
        template = PLAIN_TEMPLATE if is_plain else None
        with _named_as_here():
            self.stop = end_token(self._tokenizer)
            without = "leave out --system"
            self._form = ChatFormat(self._tokenizer, system, self.stop, 2**31, template, without)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has on its own."""
        if not texts:
            return []
        ids = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return list(map(len, ids))

    def rows(self, records: Sequence[Record]) -> Iterator[dict[str, list[int]]]:
        """Yield `input_ids` and `labels`, (T,) each: -100 for the prompt, which is not learnt.

        The answer ends with the end-of-sequence token, which is learnt too.
        """
        for record in records:
            with _named_as_here():
                dialogue = self._form.dialogue(record.source, record.target)
            masked = [IGNORED] * len(dialogue.prompt)
            yield {
                "input_ids": [*dialogue.prompt, *dialogue.answer],
                "labels": [*masked, *dialogue.answer],
            }


@contextmanager
def _named_as_here() -> Iterator[None]:
    """Name the option of the command where a study file would name its base."""
    try:
        yield
    except InputError as error:
        lines = [line.replace("base.model", "--tokenizer") for line in error.problems]
        raise InputError(lines) from None


def _loaded(location: str) -> tuple[Any, Sequence[str]]:
    """Return a tokenizer and its model's architectures, without running custom code."""
    from transformers import AutoTokenizer, PretrainedConfig

    from study.bases.load import located

    if not Path(location).is_dir():  # the weights in a folder do not matter here
        located(location, None, "--tokenizer")
    else:
        check_all_regular(Path(location), f"--tokenizer: {location}")
    with refusing(f"--tokenizer: cannot load {location!r}"):
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
        config, _ = PretrainedConfig.get_config_dict(location)
    return tokenizer, config.get("architectures") or ()
