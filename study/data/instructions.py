"""Instructions as a masked-diffusion model reads them: a prompt, and room for the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from study.data.chat import END_OF_TURN, PLAIN_TEMPLATE, ChatFormat, up_to_the_end
from study.data.embedded import Pair
from study.errors import InputError
from study.spec.base_and_data import DataSpec
from study.spec.diffusion import DiffusionSpec

LLADA_MASK = "<|mdm_mask|>"


@dataclass(frozen=True)
class Row:
    """The ids of an example."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]  # padded with end tokens to the declared length, unless it was cut


class InstructionFormat:
    """Writes pairs as rows in the tokenizer's chat template, or in the plain one without it."""

    def __init__(self, tokenizer: Any, data: DataSpec, settings: DiffusionSpec) -> None:
        """Find the tokens for masks, ends and fixed words.

        Raises:
            InputError: the tokenizer has no mask or end token, or a fixed word does not fit.
        """
        self.tokenizer = tokenizer
        self._length = settings.length
        self.mask = mask_id(tokenizer, settings.mask_token)
        end = end_token(tokenizer)
        template = None if tokenizer.chat_template else PLAIN_TEMPLATE
        self._form = ChatFormat(tokenizer, data.instruction, end, data.max_tokens, template)
        self.end = self._form.stop
        turn = tokenizer.get_vocab().get(END_OF_TURN, self.end)
        self.ends = sorted({self.end, turn})
        self.fixed = self._fixed_ids(settings)
        self._rows: dict[tuple[Pair, int | None], Row] = {}

    def row(self, pair: Pair, cutoff: int | None = None) -> Row:
        """Return a pair's ids, its texts cut at `cutoff` tokens or the study's limit."""
        if (pair, cutoff) not in self._rows:
            dialogue = self._form.dialogue(pair.source, pair.target, cutoff)
            answer = dialogue.answer[: self._length]
            if answer[-1:] == (self.end,):
                answer += (self.end,) * (self._length - len(answer))
            self._rows[pair, cutoff] = Row(dialogue.prompt, answer)
        return self._rows[pair, cutoff]

    def texts(self, answers: Sequence[Sequence[int]]) -> list[str]:
        """Return answers as text, each up to its first end token."""
        whole = [up_to_the_end(ids, self.ends) for ids in answers]
        texts = self.tokenizer.batch_decode(whole, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _fixed_ids(self, settings: DiffusionSpec) -> dict[int, int]:
        """Return the tokens of the fixed words by position in the answer."""
        tokens: dict[int, int] = {}
        for position, word in sorted(settings.fixed.items()):
            ids = self.tokenizer(word, add_special_tokens=False)["input_ids"]
            for place, token in enumerate(ids, position):
                if place in tokens or place >= settings.length:
                    what = "another fixed word" if place in tokens else "the end of the answer"
                    raise InputError(
                        f"diffusion.fixed: {word!r} takes {len(ids)} tokens from position "
                        f"{position} and runs into {what}; move it, or raise diffusion.length"
                    )
                tokens[place] = token
        return tokens


def mask_id(tokenizer: Any, named: str | None) -> int:
    """Return the mask token: the one given, the tokenizer's, or LLaDA's.

    Raises:
        InputError: the vocabulary has none of these.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    token = named or tokenizer.mask_token or LLADA_MASK
    if token not in vocabulary:
        got = f"got {named!r}" if named else "got none: the tokenizer names no mask"
        raise InputError(
            f"diffusion.mask_token: must be a token of the base model's vocabulary, {got}"
        )
    return vocabulary[token]


def end_token(tokenizer: Any) -> str:
    """Return the token that ends an answer: the tokenizer's end of text, or BERT's separator.

    Raises:
        InputError: the tokenizer has neither.
    """
    token = tokenizer.eos_token or tokenizer.sep_token
    if token is None:
        raise InputError(
            "base.model: its tokenizer must name an end-of-text token or a separator to end an "
            "answer, got neither"
        )
    return str(token)
