"""Read conversations in the published formats, and set some of them aside as the dev set.

A format is recognised by the columns of a file's first row.  What is wrong with a file is said at
once, a line per row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from study.data.origins import (
    bad_rows,
    check_unicode,
    group_of,
    has_dev,
    origins_of,
    place_of_columns,
    rows_of,
    spelled,
)
from study.data.readers import Corpus
from study.data.splitting import split_off
from study.errors import Faults, InputError, reason_of, refusing
from study.spec.base_and_data import DEV_SHARE, DataSpec

ROLES: Mapping[str, str] = {
    **{name: name for name in ("system", "developer", "user", "assistant", "tool")},
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "function": "tool",
}
"""A role in the published formats, ShareGPT's among them -> the role in a chat template."""
FURTHER = ("tool_calls", "tool_call_id", "name", "reasoning_content", "reasoning", "thinking")
"""What a turn may have besides role, content and weight; templates read it."""


class Conversational(Protocol):
    """What a row of a file becomes."""

    @property
    def prompt(self) -> str:
        """What train and dev must not share."""

    @property
    def turns_after(self) -> int:
        """The turns after the last answer, which are left out."""

    @property
    def where(self) -> str:
        """The place that it was read from."""

    @property
    def turns_before(self) -> int:
        """The assistant's turns before the first question, which are left out."""

    @property
    def group(self) -> str:
        """What it belongs to, such as a document; empty where nothing says so."""


Read = TypeVar("Read", bound=Conversational)
Turn = dict[str, Any]
"""A message: `role`, `content`, and perhaps others of FURTHER; `weight` 0 is not trained."""


@dataclass(frozen=True)
class Conversation:
    """One row: turns that end with the assistant's, or a plain text."""

    messages: str  # the turns as JSON; empty for a plain text
    tools: str = ""  # the tools that the template lists, as JSON; empty for none
    text: str = ""
    where: str = field(default="", compare=False)
    turns_before: int = field(default=0, compare=False)  # the first question; left out, as these:
    turns_after: int = field(default=0, compare=False)  # the last answer
    group: str = field(default="", compare=False)  # what it belongs to, such as a document

    @property
    def turns(self) -> list[Turn]:
        """The messages."""
        turns: list[Turn] = json.loads(self.messages) if self.messages else []
        return turns

    @property
    def prompt(self) -> str:
        """What train and dev must not share: everything before the first answer."""
        turns = self.turns
        first = next((i for i, turn in enumerate(turns) if turn["role"] == "assistant"), 0)
        return json.dumps(turns[:first]) if turns else self.text

    @property
    def answered(self) -> tuple[tuple[str, ...], str] | None:
        """What is asked, the last message last, and the last answer; None for a plain text."""
        if not (turns := self.turns):
            return None
        *before, last = turns
        asked = [str(turn.get("content")) for turn in before]
        return (self.tools, *asked), str(last.get("content"))


def asked(text: str, instruction: str) -> Conversation:
    """Return a question with an answer that stands in for one that is yet to be generated."""
    row = {"prompt": text, "completion": "…", "system": instruction}
    return conversation_of(row, FORMATS[2], "", "text")


# ---------------------------------------------------------------- formats


@dataclass(frozen=True)
class Format:
    """A published layout of conversations: its columns, and how a row becomes turns."""

    name: str
    columns: tuple[str, ...]
    turns: Callable[[Mapping[str, Any]], Sequence[Any]] | None  # None: a plain text
    is_own: bool = False  # named by the study file
    also: tuple[str, ...] = ("system", "tools")  # columns that are read if they are there
    answer: str = ""  # the column of the last turn, where turns have columns


TEXT_OR_TURNS = "text or a list of turns"
ROLE = re.compile(r'^\s*\[\s*\{.*"(role|from)"\s*:', re.DOTALL)


def question(*names: str) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """Return what makes two turns of a row: the question's columns, then the answer's."""

    def turns(row: Mapping[str, Any]) -> Sequence[Any]:
        *questions, answer = (_turns_in(row.get(name) or "") for name in names)
        if all(isinstance(part, str) for part in questions):
            asked = "\n\n".join(part for part in questions if part.strip())
            if not asked:
                raise InputError(f"{names[0]}: the question is empty")
            questions = [{"role": "user", "content": asked}]
        else:
            questions = listed(questions[0], names[0], TEXT_OR_TURNS)
        answers = [{"role": "assistant", "content": answer}]
        if not isinstance(answer, str):
            answers = listed(answer, names[-1], TEXT_OR_TURNS)
        return [*questions, *answers]

    return turns


def listed(value: Any, column: str, kinds: str = "a list of turns") -> list[Any]:
    """Return a column's list of turns, which a CSV file holds as JSON."""
    with refusing(column, ValueError, RecursionError):
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = json.loads(value)
    if not isinstance(value, list):
        raise InputError(f"{column}: must be {kinds}, got {value!r:.60}")
    return value


def prompt_and(name: str) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """Return what makes turns of a prompt and a side, which may repeat the prompt."""

    def turns(row: Mapping[str, Any]) -> Sequence[Any]:
        return whole(row, name) or question("prompt", name)(row)

    return turns


def whole(row: Mapping[str, Any], name: str) -> list[Turn]:
    """Return the turns of a side that repeats the prompt; none if it begins after the prompt.

    A system message may be in either of them.

    Raises:
        InputError: the side has a prompt of its own, which is another.
    """
    prompt, side = (_turns_in(value) for value in (row.get("prompt") or "", row[name]))
    if isinstance(side, str):
        return []
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}] if prompt.strip() else []
    asked, turns = _turns_of(prompt, "prompt"), _turns_of(side, name)
    before_answer = takewhile(lambda turn: turn["role"] != "assistant", turns)
    if not any(turn["role"] == "user" for turn in before_answer):
        return []
    (system, start), (own, rest) = _without_system(asked), _without_system(turns)
    begins = _plain(rest[: len(start)]) == _plain(start)
    if begins and (not system or not own or _plain(system) == _plain(own)):
        return [*(own or system), *rest]
    if asked and asked[-1]["role"] == "assistant" and not own:  # the side goes on from there
        return []
    raise InputError(
        f"{name}: must begin with the prompt or after it, got {_shortened(turns)} and the prompt "
        f"{_shortened(asked)}; allowed: whole conversations that begin with the prompt, or answers"
    )


def _turns_of(value: Any, column: str) -> list[Turn]:
    """Return the turns that a column holds."""
    given = enumerate(listed(value, column, TEXT_OR_TURNS), 1)
    return [turn_of(turn, f"{column}: turn {n}") for n, turn in given]


def _without_system(turns: Sequence[Turn]) -> tuple[list[Turn], list[Turn]]:
    """Return the system messages that turns begin with, and the other turns."""
    system = list(takewhile(lambda turn: turn["role"] in ("system", "developer"), turns))
    return system, list(turns[len(system) :])


def _plain(turns: Sequence[Turn]) -> list[tuple[str, str]]:
    """Return what must be equal in two turns for them to be the same."""
    return [(turn["role"], turn["content"].strip()) for turn in turns]


def _shortened(turns: Sequence[Turn]) -> str:
    """Return the beginning of turns, for messages."""
    return ", ".join(f"{turn['role']} {turn['content'][:24]!r}" for turn in turns[:2])


def _turns_in(value: Any) -> Any:
    """Return the turns that a text is, as JSON in a CSV file; any other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith("[") and ROLE.search(value):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


FORMATS = (
    Format("messages", ("messages",), lambda row: listed(row["messages"], "messages")),
    Format(
        "ShareGPT", ("conversations",), lambda row: listed(row["conversations"], "conversations")
    ),
    Format(
        "prompt, completion",
        ("prompt", "completion"),
        prompt_and("completion"),
        answer="completion",
    ),
    Format(
        "Alpaca",
        ("instruction", "output"),
        question("instruction", "input", "output"),
        also=("input", "system", "tools"),
        answer="output",
    ),
    Format("text", ("text",), None, also=()),
)


def _format(row: Mapping[str, Any], formats: Sequence[Format], where: str, unit: str) -> Format:
    """Return the first format whose columns the row has, in capitals or not."""
    for form in formats:
        if spelled(row, form.columns):
            return form
    allowed = "; ".join(", ".join(form.columns) for form in formats if not form.is_own)
    own = any(form.is_own for form in formats)
    rest = "; or set data.source_column and data.target_column" if own else ""
    raise InputError(
        f"{where}: no columns of {unit}, got {', '.join(map(repr, row))[:120]}; allowed: "
        f"{allowed}{rest}"
    )


ReadRow: TypeAlias = Callable[[Mapping[str, Any], Format, str, str], Read | None]
"""A row, its format, the study's instruction and the row's place -> an example."""

# ---------------------------------------------------------------- rows


def conversation_of(
    row: Mapping[str, Any], form: Format, instruction: str, where: str
) -> Conversation:
    """Return a row's conversation, in the given format.

    Raises:
        InputError: a column is empty, or its turns are not a conversation.
    """
    for name in form.columns:
        if name not in row:
            got = ", ".join(map(repr, row))[:80]
            raise InputError(
                f"{where}: no field {name!r} as in the first row, got {got}; a file has one format"
            )
        if row[name] is None:
            raise InputError(f"{where}: {name}: must have a value, got null")
    if form.turns is None:
        text = row[form.columns[0]]
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{where}: {form.columns[0]}: must be text, got {text!r:.60}")
        return Conversation("", text=check_unicode(text, f"{where}:"), where=where)
    try:
        found, tools = list(form.turns(row)), listed(row.get("tools") or [], "tools")
    except InputError as error:  # which names the column
        raise InputError(f"{where}: {reason_of(error)}") from None
    column = {len(found): form.answer} if form.answer else {}
    turns = [
        turn_of(turn, f"{where}: {column.get(n, f'turn {n}')}") for n, turn in enumerate(found, 1)
    ]
    system = row.get("system") or instruction
    if isinstance(system, str) and system and "system" not in [turn["role"] for turn in turns]:
        turns.insert(0, {"role": "system", "content": check_unicode(system, f"{where}:")})
    roles = ", ".join(turn["role"] for turn in turns[:6]) or "no turns"
    turns, before = _from_the_question(turns)
    answers = [n for n, turn in enumerate(turns) if turn["role"] == "assistant"]
    if not answers or answers[0] == 0:
        rule = "begin with another turn than" if answers else "have a turn of"
        raise InputError(f"{where}: must {rule} the assistant's, got {roles}")
    if all(turns[n].get("weight") == 0 for n in answers):
        raise InputError(f"{where}: must train at least one answer, got weight 0 for all of them")
    kept, rest = turns[: answers[-1] + 1], turns[answers[-1] + 1 :]
    listed_tools = json.dumps(tools) if tools else ""
    return Conversation(json.dumps(kept), listed_tools, "", where, before, len(rest))


def _from_the_question(turns: list[Turn]) -> tuple[list[Turn], int]:
    """Return turns without the assistant's before the first question, and how many these are.

    ShareGPT's conversations can begin with a greeting, which answers nothing.
    """
    lead = [*takewhile(lambda turn: turn["role"] in ("system", "developer", "assistant"), turns)]
    rest = turns[len(lead) :]
    kept = [turn for turn in lead if turn["role"] != "assistant"]
    return ([*kept, *rest], len(lead) - len(kept)) if rest else (turns, 0)


def turn_of(given: Any, where: str) -> Turn:
    """Return a turn with the names that chat templates read.

    Raises:
        InputError: it is not a turn, its role is unknown, or it is an empty answer.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"{where}: must be an object with role and content, got {given!r:.60}")
    named = given.get("role", given.get("from"))
    role = named.lower() if isinstance(named, str) else ""
    if role not in ROLES:
        raise InputError(f"{where}: unknown role, got {named!r:.40}; allowed: {', '.join(ROLES)}")
    content = given.get("content", given.get("value"))
    further = {key: given[key] for key in FURTHER if given.get(key) is not None}
    if isinstance(content, list) and all(_is_text(part) for part in content):
        content = "".join(part["text"] for part in content)
    if content is None and "tool_calls" in further:
        content = ""
    if not isinstance(content, str):
        raise InputError(f"{where}: content: must be text, got {content!r:.60}")
    if ROLES[role] == "assistant" and not (content.strip() or further.get("tool_calls")):
        also = "; allowed: text, or tool_calls" if "tool_calls" in given else ""
        raise InputError(f"{where}: the answer is empty{also}")
    if given.get("weight") == 0:
        further["weight"] = 0
    return {"role": ROLES[role], "content": check_unicode(content, f"{where}:"), **further}


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and isinstance(part.get("text"), str)


# ---------------------------------------------------------------- splits


def load_conversations(data: DataSpec) -> Corpus[Conversation]:
    """Read the splits that `[data]` names; without a dev set, take one from the training rows.

    Raises:
        InputError: with one line per fault, and all of a file at once.
    """
    columns = (data.source_column, data.target_column)
    own = Format(", ".join(columns), columns, question(*columns), is_own=True, answer=columns[1])
    return loaded(data, (own, *FORMATS), conversation_of, "conversations")


def loaded(
    data: DataSpec, formats: Sequence[Format], read: ReadRow[Read], unit: str
) -> Corpus[Read]:
    """Return the splits in one of some formats; `read` makes an example of a row.

    Rows for which it returns None are left out and counted.
    """
    origins = origins_of(data)
    if isinstance(origins["train"], str) and not has_dev(origins["train"], data.subset):
        del origins["dev"]
    remarks: list[str] = []
    found, faults, columns = dict[str, tuple[Read, ...]](), Faults(), tuple[str, ...]()
    for split, origin in origins.items():
        with faults.collected():
            found[split], form = _read(origin, data, split, remarks, formats, read, unit)
            columns = columns or (*form.columns, *form.also)
    faults.refuse()
    places: tuple[tuple[str, str], ...] = ()
    if "dev" not in found:
        split_up = split_off(
            found["train"],
            data.dev_share or DEV_SHARE,
            data.seed,
            keys=[row.group or row.prompt for row in found["train"]],
            places=[row.where for row in found["train"]],
            called=(unit, data.group or "prompt"),
        )
        found["train"], found["dev"], places = split_up.train, split_up.dev, split_up.places
        remarks.append(split_up.remark)
    elif data.train is None and data.dev_share not in (None, DEV_SHARE):
        remarks.append(f"data.dev_share = {data.dev_share} is not used: the dataset has a dev set")
    general, test = found.get("general", ()), found.get("test", ())
    splits = found["train"], found["dev"], general, test
    return Corpus(*splits, remarks=tuple(remarks), unit=unit, columns=columns, places=places)


def _read(
    origin: Path | str,
    data: DataSpec,
    split: str,
    remarks: list[str],
    formats: Sequence[Format],
    read: ReadRow[Read],
    unit: str,
) -> tuple[tuple[Read, ...], Format]:
    faults = Faults()
    where, rows = rows_of(origin, split, subset=data.subset, faults=faults)
    form, is_spelled_so = None, True
    examples: list[Read | None] = []
    for place, row in rows:
        if form is None:
            form = _format(row, formats, place_of_columns(where, place), unit)
            is_spelled_so = {*form.columns} <= {*row}
        if not is_spelled_so:
            row = {name.lower(): value for name, value in row.items()}
        with faults.collected():
            found = read(row, form, data.instruction, place)
            if found is not None and data.group is not None:
                found = replace(found, group=group_of(row, data, place))  # type: ignore[type-var]
            examples.append(found)
    faulty = bad_rows(faults, where, data)
    if form is None or not examples:
        raise InputError(f"{where}: contains no {unit}; allowed: at least one")
    kept = tuple(example for example in examples if example is not None)
    name = origin.name if isinstance(origin, Path) else where
    what = unit if form.turns else "texts, all of whose tokens are trained,"
    remarks.append(f"{len(kept):,} {what} ({form.name}) from {name}")
    remarks += [f"{reason} left out: {count:,}" for reason, count in faulty.items()]
    if same := len(examples) - len(kept):
        remarks.append(f"{unit} with equal answers left out: {same:,}")
    if earlier := sum(example.turns_before > 0 for example in kept):
        remarks.append(f"{unit} whose answers before the first question are left out: {earlier:,}")
    if later := sum(example.turns_after > 0 for example in kept):
        remarks.append(f"{unit} whose turns after the last answer are left out: {later:,}")
    return kept, form
