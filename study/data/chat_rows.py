"""Conversations as rows of tokens: a chat template writes them, and only the answers are trained.

Which text is the assistant's is said by the template itself, in its `{% generation %}` blocks.  For
a template without them a turn is what the template adds to the conversation before it; this needs a
template that never rewrites earlier turns, and others are refused with the turn that differs.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from study.bases.load import load_tokenizer, locate_base
from study.data.chat import special_ids, stop_id
from study.data.conversations import Conversation, Turn
from study.data.readers import Corpus
from study.data.remarks import length_limit
from study.data.rendering import NO_TEMPLATE, Template, Written
from study.data.templates import LimitError, TemplateError
from study.errors import Faults, InputError
from study.kinds.chat_templates import CHAT_TEMPLATES
from study.spec.base_and_data import SPLITS, DataSpec
from study.spec.sections import StudySpec

SHOWN_CHARACTERS = 600  # of a stretch of an example, in `check`


@dataclass(frozen=True)
class ChatExample:
    """A conversation as a person reads it, and as the model does.

    The last answer is what a metric compares; `source` is everything before it.
    """

    source: str
    target: str
    prompt: str  # what train and dev must not share
    conversation: str  # all of it, as JSON
    ids: NDArray[np.int32] = field(compare=False, repr=False)  # (T,)
    trained: NDArray[np.bool_] = field(compare=False, repr=False)  # (T,)
    prompt_tokens: int = field(compare=False, default=1)  # before the last answer
    tokens: int = field(compare=False, default=0)  # of the whole conversation: more if it was cut
    end: int = field(compare=False, default=-1)  # the token that ends an answer
    trained_text: str = field(compare=False, default="", repr=False)  # what the loss is of
    group: str = field(compare=False, default="")  # what it belongs to, such as a document

    @property
    def is_trained(self) -> bool:
        """Whether any token of it is trained."""
        return bool(self.trained.any())

    @property
    def rows(self) -> tuple[ChatExample, ...]:
        """What the model reads."""
        return (self,)


class Example(Protocol):
    """What a conversation or a pair of them is prepared as."""

    @property
    def target(self) -> str:
        """The answer that a metric compares."""

    @property
    def prompt(self) -> str:
        """What train and dev must not share."""

    @property
    def tokens(self) -> int:
        """The tokens before any cut."""

    @property
    def is_trained(self) -> bool:
        """Whether what is learnt begins before the cut."""

    @property
    def rows(self) -> tuple[ChatExample, ...]:
        """What the model reads."""


Row = TypeVar("Row", bound=Example)


def set_up(tokenizer: Any, data: DataSpec) -> None:
    """Give a tokenizer the study's chat template and, if the study trains one, its stop token.

    Raises:
        InputError: there is no template, or no such token.
    """
    if data.chat_template is not None:
        tokenizer.chat_template = CHAT_TEMPLATES.get(data.chat_template, data.chat_template)
    if not tokenizer.chat_template:
        raise InputError(NO_TEMPLATE)
    if data.stop_token is not None:
        stop = stop_id(tokenizer, data.stop_token)
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(stop)


def chat_examples(spec: StudySpec, corpus: Corpus[Conversation]) -> Corpus[ChatExample]:
    """Return conversations as rows, without those that are too long, and say how many these are.

    Raises:
        InputError: the template does not write a conversation, or one is too long and the study
            file refuses that; a line per conversation.
    """
    return prepared(spec, corpus, ConversationFormat.example)


def prepared(
    spec: StudySpec,
    corpus: Corpus[Any],
    write: Callable[[ConversationFormat, Any, int | None], Row],
) -> Corpus[Row]:
    """Return what a function writes of each example, as `chat_examples` does."""
    tokenizer, config = load_tokenizer(locate_base(spec), spec.base)
    limit = length_limit(tokenizer, config, spec.data.max_tokens)
    form = ConversationFormat(tokenizer, spec.data)
    cut = limit if spec.data.too_long == "truncate" else None
    splits: dict[str, tuple[Row, ...]] = {}
    faults, remarks = Faults(), list(corpus.remarks)
    for split in SPLITS:
        written, refused = [], dict[str, list[TemplateError]]()
        for conversation in corpus.split(split):
            with faults.collected():
                try:
                    row = write(form, conversation, cut)
                    if conversation.group:
                        row = replace(row, group=conversation.group)  # type: ignore[type-var]
                    written.append(row)
                except TemplateError as error:
                    refused.setdefault(error.rule, []).append(error)
                    if isinstance(error, LimitError):
                        break  # the others may take as long
        for rule, (first, *more) in refused.items():
            share = f"{1 + len(more):,} of {len(corpus.split(split)):,} {split} {corpus.unit}"
            faults.add(InputError(f"{rule}{first.got}; so for {share}, the first {first.where}"))
        faults.refuse(f"data.{split}")
        splits[split], lost = _fitting(written, limit, spec.data, split, corpus.unit)
        remarks += lost
        if written and not splits[split]:
            least = min(example.tokens for example in written)
            raise InputError(
                f"data.{split}: none of the {corpus.unit} has at most {limit:,} tokens, the "
                f"shortest {least:,}; raise data.max_tokens if the model reads more, or cut them: "
                "data.too_long = 'truncate'"
            )
    remarks += _shared(splits)
    _check_answers(spec, splits)
    return Corpus(
        splits["train"],
        splits["dev"],
        splits["general"],
        splits["test"],
        skipped=corpus.skipped,
        remarks=tuple(remarks),
        shown=_shown(splits["train"][0], tokenizer) if splits["train"] else (),
        unit=corpus.unit,
        columns=corpus.columns,
        places=corpus.places,
    )


def _shared(splits: Mapping[str, Sequence[Row]]) -> list[str]:
    known = {example.prompt for example in splits["train"]}
    shared = {s: sum(e.prompt in known for e in splits.get(s, ())) for s in ("dev", "test")}
    return [
        f"{count:,} of {len(splits[split]):,} {split} prompts also occur in train, which inflates "
        "scores"
        for split, count in shared.items()
        if count
    ]


def _check_answers(spec: StudySpec, splits: dict[str, tuple[Row, ...]]) -> None:
    """Refuse a metric that compares answers where a row is a plain text, without any."""
    metrics = spec.evaluation.metrics
    named = [name for name in metrics if spec.evaluation.row(name).reads_outputs]
    if named and any(not e.target for split in SPLITS[1:] for e in splits[split]):
        raise InputError(
            f"evaluation.metrics: {named[0]!r} compares answers, and a plain text has none; "
            "allowed: metrics of the loss alone, or conversations"
        )


class ConversationFormat:
    """Writes conversations as rows of one tokenizer's tokens."""

    def __init__(self, tokenizer: Any, data: DataSpec) -> None:
        """Take a fast tokenizer, and set its template and stop token.

        Raises:
            InputError: there is no template or no such token, or the tokenizer is slow.
        """
        if not tokenizer.is_fast:
            raise InputError(
                "base.model: must have a fast tokenizer (tokenizer.json), got a slow one"
            )
        set_up(tokenizer, data)
        self._tokenizer = tokenizer
        self._train_on = data.train_on or "assistant"
        self._template = Template(tokenizer, data.chat_template)
        self._special = special_ids(tokenizer)

    def example(self, conversation: Conversation, limit: int | None = None) -> ChatExample:
        """Return a conversation as a row that ends with its last answer.

        A row of more than `limit` tokens is cut at its end, and its last answer is then the last
        that begins before; if none does, nothing of it is trained.

        Raises:
            InputError: the template refuses it, rewrites a turn, or ends no answer with a token.
        """
        turns = conversation.turns
        if not turns:
            return self._plain(conversation, limit)
        tools = json.loads(conversation.tools) if conversation.tools else None
        answers = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
        if self._train_on != "assistant":
            answers = answers[-1:]
        written = self._template.write(turns, tools, answers, conversation.where)
        ids, spans, ends = self._tokens(written)
        tokens = spans[-1][1]
        if ends[-1] not in self._special:
            stop = written.spans[-1][1]
            raise TemplateError(
                f"{conversation.where}: turn {answers[-1] + 1}",
                f"{self._template.name} must end an answer with one special token, so that "
                "generation can stop",
                f", got {written.text[max(0, stop - 20) : stop]!r}; allowed: another "
                f"data.chat_template, such as {', '.join(CHAT_TEMPLATES)}",
            )
        trained = np.zeros(tokens, dtype=bool)
        for turn, (start, end) in zip(answers, spans, strict=True):
            trained[start:end] = turns[turn].get("weight") != 0
        if self._train_on == "all":
            trained[:] = True
        trained[0] = False  # nothing comes before it, so it is never predicted
        if not trained.any():
            raise InputError(
                f"{conversation.where}: turn {answers[-1] + 1}: must not have weight 0, since "
                f"data.train_on = {self._train_on!r} trains nothing else"
            )
        begun = [k for k, (start, _) in enumerate(spans) if limit is None or start < limit]
        last = begun[-1] if begun else 0
        answer = turns[answers[last]]
        return ChatExample(
            _read_aloud(turns[: answers[last]]),
            answer["content"] or json.dumps(answer["tool_calls"]),
            conversation.prompt,
            conversation.messages + conversation.tools,
            ids[:tokens][:limit],
            trained[:limit] & bool(begun),
            spans[last][0],
            tokens,
            ends[-1],
            written.text if self._train_on == "all" else _said(turns, answers[: last + 1]),
        )

    def _plain(self, conversation: Conversation, limit: int | None) -> ChatExample:
        """Return a plain text as a row, ended by the end-of-text token; all of it is trained."""
        listed = list(self._tokenizer(conversation.text, verbose=False)["input_ids"])
        end = self._tokenizer.eos_token_id
        if end is None:
            raise InputError("base.model: its tokenizer names no end of text to end a text with")
        ids = np.array(listed if listed[-1:] == [end] else [*listed, end], np.int32)
        trained = np.arange(len(ids)) > 0
        text = conversation.text
        row = ids[:limit], trained[:limit], 1, len(ids), int(end)
        return ChatExample(text, "", text, "", *row, text)

    def _tokens(
        self, written: Written
    ) -> tuple[NDArray[np.int32], list[tuple[int, int]], list[int]]:
        """Return the text's tokens (T,), the answers' spans in tokens, and the token ending each.

        A span ends with the token that ends the turn, in the template's block or right after it.
        White space after that counts only if the template's block contains it, as in TRL.
        """
        encoded = self._tokenizer(
            written.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        ids = np.array(encoded["input_ids"], np.int32)
        starts, ends = zip(*encoded["offset_mapping"], strict=True)
        spans, tokens = [], []
        for start, stop in written.spans:
            first, last = bisect_left(ends, start + 1), bisect_left(starts, stop)
            special = [i for i in range(first, last) if ids[i] in self._special]
            if special and not written.text[ends[special[-1]] : stop].strip():
                end = special[-1] + 1
                last = last if written.by_blocks else end
            elif last < len(ids) and ids[last] in self._special:
                last = end = last + 1
            else:
                end = last
            spans.append((first, last))
            tokens.append(int(ids[end - 1]))
        return ids, spans, tokens


def _said(turns: Sequence[Turn], answers: Sequence[int]) -> str:
    """Return the answers that are trained, one after the other."""
    trained = (turns[n] for n in answers if turns[n].get("weight") != 0)
    return "".join(turn["content"] or json.dumps(turn["tool_calls"]) for turn in trained)


def _read_aloud(turns: Sequence[Turn]) -> str:
    """Return turns as a person reads them: a single question alone, else a line per turn."""
    if len(turns) == 1:
        return str(turns[0]["content"])
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


# ---------------------------------------------------------------- lengths


def _fitting(
    examples: Sequence[Row], limit: int, data: DataSpec, split: str, unit: str = "conversations"
) -> tuple[tuple[Row, ...], list[str]]:
    """Return the examples of a split that fit, and what was done with the others."""
    long = [example for example in examples if example.tokens > limit]
    if not long:
        return tuple(examples), []
    of_split = f"{len(long):,} of {len(examples):,} {split} {unit}"
    verb, cut = ("has", "is") if len(long) == 1 else ("have", "are")
    part = f"{100 * len(long) / len(examples):.1f} %"
    counted = f"{of_split} ({part}) {verb} more than {limit:,} tokens"
    if data.too_long == "refuse":
        raise InputError(
            f"data.{split}: {counted}; allowed: data.too_long = 'drop' or 'truncate', or a larger "
            "data.max_tokens if the model reads more"
        )
    if data.too_long == "drop":
        return tuple(e for e in examples if e.tokens <= limit), [f"{counted} and {cut} left out"]
    kept = tuple(example for example in examples if example.is_trained)
    lost = len(examples) - len(kept)
    without = f"; left out, since no answer begins before the cut: {lost:,}" if lost else ""
    return kept, [f"{counted} and {cut} cut at the end{without}"]


# ---------------------------------------------------------------- an example to look at


def _shown(example: Row, tokenizer: Any) -> tuple[tuple[str, bool], ...]:
    """Return rows as stretches of text, each with whether its tokens are trained."""
    stretches: list[tuple[str, bool]] = []
    for row in example.rows:
        stretches += [("\n", False)] if stretches else []
        stretches += stretches_of(row.ids, row.trained, tokenizer)
    return tuple(stretches)


def stretches_of(
    ids: Sequence[int] | NDArray[np.int32],
    trained: Sequence[bool] | NDArray[np.bool_],
    tokenizer: Any,
) -> Iterator[tuple[str, bool]]:
    """Yield the tokens of a row (T,) as text, with whether they are trained; long ones are cut."""
    for is_trained, places in groupby(range(len(ids)), lambda i: bool(trained[i])):
        text = tokenizer.decode([int(ids[i]) for i in places])
        if len(text) > SHOWN_CHARACTERS:
            half = SHOWN_CHARACTERS // 2
            text = f"{text[:half]} … {text[-half:]}"
        yield text, is_trained
