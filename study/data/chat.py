"""Write examples in a chat model's format, and find the answer in them.

The format is the tokenizer's chat template, or Llama 3's for tokenizers that have its special
tokens but no template, such as those of Llama's base models.  An answer ends with the token that
the template writes there, or with a stop token that the study file names.  If the vocabulary lacks
that name, a reserved token represents it, so that the embedding keeps its size and an adapter loads
on the original base.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from study.data.templates import bounded, rendered
from study.errors import InputError, reason_of, refusing
from study.kinds.chat_templates import LLAMA3_TEMPLATE

RESERVED = re.compile(r"<\|reserved_special_token_\d+\|>")
HEADER, END_OF_TURN = "<|start_header_id|>", "<|eot_id|>"
WHITE = " \t\r\n\u2581"  # with SentencePiece's space
REFUSED = "base.model: its chat template fails"

PLAIN_TEMPLATE = (
    "{{ bos_token or cls_token }}{% for message in messages %}{{ message['content'] | trim }}"
    "{% if message['role'] != 'assistant' %}{{ sep_token or '\n' }}{% endif %}{% endfor %}"
)
"""For a tokenizer without a chat format, such as BERT's: messages with separators."""


@dataclass(frozen=True)
class Dialogue:
    """The ids of one example: what the model is given, and what it should answer."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]  # with the stop token at its end, unless the answer was cut
    is_cut: bool  # source or answer was longer than allowed


def up_to_the_end(ids: Sequence[int], ends: Container[int]) -> Sequence[int]:
    """Return the ids before the first one that ends an answer."""
    return ids[: next((i for i, token in enumerate(ids) if token in ends), len(ids))]


class ChatFormat:
    """Writes pairs of texts as dialogues for one tokenizer."""

    def __init__(
        self,
        tokenizer: Any,
        instruction: str,
        stop_token: str | None,
        max_tokens: int,
        template: str | None = None,
        no_instruction: str = 'set data.instruction = ""',
    ) -> None:
        """Find the template and the stop token.

        Args:
            tokenizer: A fast tokenizer of transformers.
            instruction: The text of the system message; empty for none.
            stop_token: A token of the vocabulary; if none has this name, the first reserved token
                represents it.  None: the token with which the template ends an answer, else the
                tokenizer's end of text.
            max_tokens: Source and answer are each cut to this many tokens.
            template: A chat template in place of the tokenizer's.
            no_instruction: What to do if the template refuses a system message, for messages.

        Raises:
            InputError: the tokenizer has no template, or the vocabulary has no such token.
        """
        self._tokenizer = tokenizer
        self._template = template or template_of(tokenizer)
        self._instruction = instruction
        self._no_instruction = no_instruction
        self._max_tokens = max_tokens
        self.stop = self._own_end() if stop_token is None else stop_id(tokenizer, stop_token)

    def dialogue(self, source: str, answer: str, max_tokens: int | None = None) -> Dialogue:
        """Return an example as ids; `max_tokens` lowers the limit for this one.

        Raises:
            InputError: the template refuses the messages, or changes the answer.
        """
        limit = min(self._max_tokens, max_tokens or self._max_tokens)
        question, source_is_cut = self._cut(source.strip(), limit)
        answered, answer_is_cut = self._cut(answer.strip(), limit)
        prompt = self._written(question)
        whole = self._written(question, answered)
        if not whole.startswith(prompt + answered):
            raise InputError(
                "data: the base model's chat template must put the answer unchanged right after "
                f"the prompt, got another text for {answered[:60]!r}"
            )
        ending = () if answer_is_cut else (self.stop,)
        ids = (*self._ids(answered), *ending)
        return Dialogue(tuple(self._ids(prompt)), ids, source_is_cut or answer_is_cut)

    def _own_end(self) -> int:
        """Return the token that ends an answer in the template, else the tokenizer's end of text.

        Raises:
            InputError: there is neither.
        """
        prompt, whole = self._written("?"), self._written("?", "!")
        special = special_ids(self._tokenizer)
        after = whole.removeprefix(f"{prompt}!") if whole.startswith(f"{prompt}!") else ""
        ends = [token for token in self._ids(after) if token in special]
        end = ends[0] if ends else self._tokenizer.eos_token_id
        if end is None:
            raise InputError(
                "data.stop_token: needed, since neither the chat template nor the tokenizer names "
                "what ends an answer, got none; name a token of the vocabulary"
            )
        return int(end)

    def _written(self, source: str, answer: str | None = None) -> str:
        messages = [{"role": "user", "content": source}]
        if self._instruction:
            messages.insert(0, {"role": "system", "content": self._instruction})
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
        with refusing(REFUSED, reason=partial(self._reason, messages)):
            return self._rendered(messages, is_prompt=answer is None)

    def _rendered(self, messages: Sequence[Mapping[str, str]], is_prompt: bool) -> str:
        with bounded("base.model", "its chat template"):
            return rendered(self._tokenizer, self._template, messages, asks=is_prompt)[0]

    def _reason(self, messages: Sequence[Mapping[str, str]], error: Exception) -> str:
        """Return why the template failed, and whether it accepts the messages without a system."""
        reason = reason_of(error) or type(error).__name__
        others = [message for message in messages if message["role"] != "system"]
        if len(others) == len(messages):
            return reason
        try:
            self._rendered(others, is_prompt=others[-1]["role"] == "user")
        except Exception:  # a template may raise anything
            return reason
        return f"{reason}; it refuses a system message: {self._no_instruction}"

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _cut(self, text: str, limit: int) -> tuple[str, bool]:
        """Return the text up to its last allowed token, and whether it was cut."""
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in encoded["offset_mapping"]]
        is_cut = len(ends) > limit
        return (text[: ends[limit - 1]].rstrip() if is_cut else text), is_cut


def special_ids(tokenizer: Any) -> set[int]:
    """Return the tokens that can end a turn: those beside the text's own pieces.

    White space is none of them, though Gemma's tokenizer adds line ends as tokens; the unknown
    token may stand for white space.
    """
    added = tokenizer.added_tokens_decoder.items()
    named = {i for i, token in added if token.content.strip(WHITE)}
    return {*tokenizer.all_special_ids, *named} - {tokenizer.unk_token_id}


def template_of(tokenizer: Any) -> str:
    """Return the tokenizer's chat template, or Llama 3's if it has Llama 3's special tokens.

    Raises:
        InputError: it has neither.
    """
    if tokenizer.chat_template:
        return str(tokenizer.get_chat_template())
    if {HEADER, END_OF_TURN} <= set(tokenizer.get_vocab()):
        return LLAMA3_TEMPLATE
    raise InputError(
        "base.model: its tokenizer has neither a chat template nor Llama 3's special tokens "
        f"({HEADER}, {END_OF_TURN}); this task needs a chat model"
    )


def stop_id(tokenizer: Any, stop_token: str) -> int:
    """Return the token of this name, or the first reserved token, which represents it.

    Raises:
        InputError: the vocabulary has neither.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    if stop_token in vocabulary:
        return vocabulary[stop_token]
    reserved = [number for token, number in vocabulary.items() if RESERVED.fullmatch(token)]
    if not reserved:
        raise InputError(
            f"data.stop_token: the vocabulary has neither {stop_token!r} nor a reserved token to "
            f"represent it; name a token it has, such as {tokenizer.eos_token!r}, or add it to the "
            "tokenizer, resize the model and use that as base.model"
        )
    return min(reserved)
