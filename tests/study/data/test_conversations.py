"""Conversations are read in every published format, and a file's faults are said all at once."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.data.conversations import Conversation, load_conversations
from study.data.splitting import split_off
from study.errors import InputError
from study.spec.base_and_data import DataSpec
from tests.chat_fixtures import turn

ASKED, ANSWERED = turn("user", "Why?"), turn("assistant", "So.")
SYSTEM = turn("system", "Be brief.")
TURNS = [ASKED, ANSWERED]


def data(train: Path, **others: Any) -> DataSpec:
    """Return a `[data]` section as the task fills it."""
    values = {"instruction": "", "dev": train, **others}
    if values["dev"] is None:
        values["dev_share"] = 0.1
    return DataSpec(train=train, **values)


def lines(path: Path, *rows: Any) -> Path:
    """Write a JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, **others: Any) -> list[list[dict[str, Any]]]:
    """Return the turns of a file's rows."""
    return [conversation.turns for conversation in load_conversations(data(path, **others)).train]


FORMATS: dict[str, tuple[dict[str, Any], list[dict[str, str]]]] = {
    "messages": ({"messages": TURNS}, TURNS),
    "messages as JSON text": ({"messages": json.dumps(TURNS)}, TURNS),
    "parts of text": (
        {"messages": [turn("user", [{"type": "text", "text": "Why?"}]), ANSWERED]},  # type: ignore[arg-type]
        TURNS,
    ),
    "ShareGPT": (
        {
            "system": "Be brief.",
            "conversations": [
                {"from": "human", "value": "Why?"},
                {"from": "gpt", "value": "So."},
            ],
        },
        [SYSTEM, *TURNS],
    ),
    "texts of prompt and completion": ({"prompt": "Why?", "completion": "So."}, TURNS),
    "messages of prompt and completion": (
        {"prompt": [SYSTEM, ASKED], "completion": [ANSWERED]},
        [SYSTEM, *TURNS],
    ),
    "Alpaca": ({"instruction": "Why?", "input": "", "output": "So."}, TURNS),
    "Alpaca with an input": (
        {"instruction": "Say", "input": "it", "output": "So."},
        [turn("user", "Say\n\nit"), ANSWERED],
    ),
    "columns of the study file": ({"source": "Why?", "target": "So."}, TURNS),
    "turns after the last answer": ({"messages": [*TURNS, ASKED]}, TURNS),
    "a greeting before the first question": (
        {"messages": [SYSTEM, turn("assistant", "Hi!"), *TURNS]},
        [SYSTEM, *TURNS],
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_the_same_turns(tmp_path: Path, name: str) -> None:
    """A format is recognised by its columns, and becomes turns with role and content."""
    row, expected = FORMATS[name]
    assert read(lines(tmp_path / "train.jsonl", row)) == [expected]


def test_a_role_may_have_capitals(tmp_path: Path) -> None:
    """`User` and `Assistant` are what they say."""
    turns = [{**one, "role": one["role"].title()} for one in TURNS]
    assert read(lines(tmp_path / "train.jsonl", {"messages": turns})) == [TURNS]


def test_a_plain_text_has_no_turns(tmp_path: Path) -> None:
    """`text` is kept as it is, and a line says that all of it is trained."""
    path = lines(tmp_path / "train.jsonl", {"text": "Once."})
    corpus = load_conversations(data(path))
    assert corpus.train == (Conversation("", text="Once."),)
    assert corpus.remarks[0] == (
        "1 texts, all of whose tokens are trained, (text) from train.jsonl"
    )


def test_turns_after_the_last_answer_are_counted(tmp_path: Path) -> None:
    """They are left out, and a line says of how many conversations."""
    path = lines(tmp_path / "train.jsonl", {"messages": [*TURNS, ASKED]}, {"messages": TURNS})
    assert load_conversations(data(path)).remarks[1] == (
        "conversations whose turns after the last answer are left out: 1"
    )


def test_answers_before_the_first_question_are_counted(tmp_path: Path) -> None:
    """ShareGPT's conversations can begin with a greeting, which many templates refuse."""
    rows = [{"messages": [turn("assistant", "Hi!"), *TURNS]}, {"messages": TURNS}]
    corpus = load_conversations(data(lines(tmp_path / "train.jsonl", *rows)))
    assert corpus.train[0] == corpus.train[1]
    assert "conversations whose answers before the first question are left out: 1" in corpus.remarks


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    from datasets import Dataset

    Dataset.from_list(rows).to_parquet(path)


def _csv(path: Path, rows: list[dict[str, Any]]) -> None:
    import pandas as pd

    cells = [{key: json.dumps(value) for key, value in row.items()} for row in rows]
    pd.DataFrame(cells).to_csv(path, index=False)


def _saved(path: Path, rows: list[dict[str, Any]]) -> None:
    from datasets import Dataset

    Dataset.from_list(rows).save_to_disk(path)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Any]] = {
    "train.jsonl": lambda path, rows: lines(path, *rows),
    "train.json": lambda path, rows: path.write_text(json.dumps(rows, indent=1)),
    "lines.json": lambda path, rows: lines(path, *rows),
    "train.parquet": _parquet,
    "train.csv": _csv,
    "folder": _saved,
}


@pytest.mark.parametrize("name", WRITERS)
def test_each_kind_of_file_gives_the_same_turns(tmp_path: Path, name: str) -> None:
    """JSON, Parquet, CSV and a folder saved by `datasets` are read as JSONL is."""
    other = [SYSTEM, turn("user", 'With "quotes",\nlines, é'), ANSWERED]
    WRITERS[name](tmp_path / name, [{"messages": TURNS}, {"messages": other}])
    assert read(tmp_path / name) == [TURNS, other]


def test_a_saved_folder_of_splits_is_a_corpus(tmp_path: Path) -> None:
    """`data.corpus` takes train and validation, and without the latter sets a dev set aside."""
    from datasets import Dataset, DatasetDict

    rows = [{"messages": [turn("user", str(n)), ANSWERED]} for n in range(20)]
    train, dev = Dataset.from_list(rows), Dataset.from_list(rows[:3])
    DatasetDict(train=train, validation=dev).save_to_disk(tmp_path / "both")
    DatasetDict(train=train).save_to_disk(tmp_path / "one")
    train.save_to_disk(tmp_path / "table")
    sizes = {}
    for name in ("both", "one", "table"):
        corpus = load_conversations(DataSpec(corpus=str(tmp_path / name), dev_share=0.1))
        sizes[name] = (len(corpus.train), len(corpus.dev))
    assert sizes == {"both": (20, 3), "one": (18, 2), "table": (18, 2)}


def test_a_system_message_comes_from_the_study_file(tmp_path: Path) -> None:
    """`data.instruction` begins the conversations that have no system message of their own."""
    path = lines(
        tmp_path / "train.jsonl", {"messages": TURNS}, {"messages": [turn("system", "x"), *TURNS]}
    )
    first, second = read(path, instruction="Be brief.")
    assert first == [SYSTEM, *TURNS]
    assert second[0]["content"] == "x"


def test_what_templates_read_beside_the_content_is_kept(tmp_path: Path) -> None:
    """Tool calls, their results and the tools themselves reach the template."""
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    result = {"role": "tool", "content": "1", "tool_call_id": "a", "extra": None}
    row = {"messages": [ASKED, call, result, ANSWERED], "tools": [{"type": "function"}]}
    (conversation,) = load_conversations(data(lines(tmp_path / "t.jsonl", row))).train
    assert conversation.turns[1] == {**call, "content": ""}
    assert conversation.turns[2] == {"role": "tool", "content": "1", "tool_call_id": "a"}
    assert json.loads(conversation.tools) == row["tools"]


FAULTS: dict[str, tuple[Any, str]] = {
    "no list": ({"messages": 5}, "messages: must be a list of turns, got 5"),
    "a turn of text": ({"messages": ["hi"]}, "turn 1: must be an object with role and content"),
    "an unknown role": ({"messages": [turn("bot", "x")]}, "turn 1: unknown role, got 'bot'; allo"),
    "no content": ({"messages": [{"role": "user"}]}, "turn 1: content: must be text, got None"),
    "an image": (
        {"messages": [turn("user", [{"type": "image"}])]},  # type: ignore[arg-type]
        "turn 1: content: must be text, got [{'type': 'image'}]",
    ),
    "no answer": ({"messages": [ASKED]}, "must have a turn of the assistant's, got user"),
    "an answer to nothing": (
        {"messages": [ANSWERED]},
        "must begin with another turn than the assistant's, got assistant",
    ),
    "no turns": ({"messages": []}, "must have a turn of the assistant's, got no turns"),
    "an empty answer": (
        {"messages": [ASKED, turn("assistant", " ")]},
        "turn 2: the answer is empty",
    ),
    "an answer of no tool calls": (
        {"messages": [ASKED, {**turn("assistant", ""), "tool_calls": []}]},
        "turn 2: the answer is empty; allowed: text, or tool_calls",
    ),
    "half a surrogate": (
        {"messages": [turn("user", "\ud83d"), ANSWERED]},
        "turn 1: contains half a surrogate pair; must be Unicode text",
    ),
    "no answer of weight": (
        {"messages": [ASKED, {**ANSWERED, "weight": 0}]},
        "must train at least one answer, got weight 0 for all of them",
    ),
    "another format": (
        {"text": "x"},
        "no field 'messages' as in the first row, got 'text'; a file has one",
    ),
    "a null": ({"messages": None}, "messages: must have a value, got null"),
    "a role that is no text": ({"messages": [{"role": [1]}]}, "turn 1: unknown role, got [1]"),
    "tools that are no JSON": ({"messages": TURNS, "tools": "[x"}, "tools: Expecting value"),
    "no object": ([1], "must be a JSON object, got '[1]'"),
}


def test_a_completion_may_repeat_the_prompt(tmp_path: Path) -> None:
    """It is read once, also where a CSV file holds turns as JSON; a list in a text stays a text."""
    path = tmp_path / "train.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [(json.dumps(TURNS[:1]), json.dumps(TURNS)), ("Sort [3, 1].", '["a", 1]')]
        csv.writer(file).writerows([("prompt", "completion"), *rows])
    first, second = read(path)
    assert first == TURNS
    assert [turn["content"] for turn in second] == ["Sort [3, 1].", '["a", 1]']


def problems(path: Path) -> tuple[str, ...]:
    """Return the lines with which a file is refused."""
    with pytest.raises(InputError) as refused:
        load_conversations(data(path))
    return refused.value.problems


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"instruction": "a", "output": " "}, "output"),
        ({"prompt": "a", "completion": ""}, "completion"),
        ({"instruction": "", "input": " ", "output": "b"}, "instruction"),
        ({"prompt": "", "completion": "b"}, "prompt"),
    ],
)
def test_an_empty_text_is_named_by_its_column(
    tmp_path: Path, row: dict[str, str], column: str
) -> None:
    """Who writes no turns need not count them; an empty question is none."""
    path = lines(tmp_path / "train.jsonl", row)
    what = "answer" if column in ("output", "completion") else "question"
    assert f"line 1: {column}: the {what} is empty" in problems(path)[0]


def test_all_faults_of_a_file_are_said_at_once(tmp_path: Path) -> None:
    """Each bad row is one line with its place, the rule and what was found."""
    rows = [{"messages": TURNS}, *(row for row, _ in FAULTS.values())]
    path = lines(tmp_path / "train.jsonl", *rows)
    found = problems(path)
    assert len(found) == len(FAULTS)
    for number, (line, (_, expected)) in enumerate(zip(found, FAULTS.values(), strict=True), 2):
        assert line.startswith(f"{path}: line {number}: ")
        assert expected in line


def test_many_faults_are_counted(tmp_path: Path) -> None:
    """Three of a kind are shown, then the number of the others."""
    path = lines(tmp_path / "train.jsonl", {"messages": TURNS}, *([{"messages": 1}] * 30))
    found = problems(path)
    assert len(found) == 4
    cure = "correct the rows, or leave them out with data.bad_rows = 'drop' (init: --drop-bad-rows)"
    assert found[-1] == f"{path}: 27 more faults of these kinds; {cure}"


def test_faulty_rows_may_be_left_out(tmp_path: Path) -> None:
    """They are counted and the first is shown; a file with no other rows is refused."""
    path = lines(tmp_path / "train.jsonl", *([{"messages": TURNS}] * 2), *([{"messages": 1}] * 3))
    corpus = load_conversations(data(path, bad_rows="drop"))
    assert [row.turns for row in corpus.train] == [TURNS, TURNS]
    assert "faulty rows (first: line 3: messages: must be a list of turns, got 1) left out: 3" in (
        corpus.remarks
    )
    with pytest.raises(InputError, match="contains no conversations"):
        load_conversations(data(lines(path, {"messages": 1}), bad_rows="drop"))


def test_columns_of_no_format_are_refused_with_the_formats(tmp_path: Path) -> None:
    """The line says which columns there are, and which would be recognised."""
    (line,) = problems(lines(tmp_path / "train.jsonl", {"question": "Why?", "answer": "So."}))
    assert (
        "line 1: no columns of conversations, got 'question', 'answer'; allowed: messages" in line
    )
    assert "set data.source_column and data.target_column" in line
    path = lines(tmp_path / "train.jsonl", {"question": "Why?", "answer": "So."})
    assert read(path, source_column="question", target_column="answer") == [TURNS]


def conversations(*prompts: str) -> list[Conversation]:
    """Return conversations with these prompts and answers of their own."""
    return [
        Conversation(json.dumps([turn("user", prompt), turn("assistant", f"{n}")]))
        for n, prompt in enumerate(prompts)
    ]


def split_rows(
    rows: tuple[Conversation, ...], share: float, seed: int = 0
) -> tuple[tuple[Conversation, ...], tuple[Conversation, ...]]:
    """Split conversations by their prompts."""
    places = [row.where for row in rows]
    split_up = split_off(rows, share, seed, keys=[row.prompt for row in rows], places=places)
    train, dev = split_up.train, split_up.dev
    return train, dev


def test_a_split_keeps_equal_prompts_on_one_side() -> None:
    """No prompt is in train and dev, the share is met, and the rows' order does not matter."""
    rows = conversations(*(str(n % 40) for n in range(100)))
    train, dev = split_rows(rows, 0.2)
    assert sorted([*train, *dev], key=rows.index) == rows
    assert 15 <= len(dev) <= 20
    assert not {c.prompt for c in train} & {c.prompt for c in dev}
    assert set(split_rows(rows[::-1], 0.2)[1]) == set(dev)
    assert set(split_rows(rows, 0.2, seed=1)[1]) != set(dev)


def test_a_split_is_bounded_and_never_empty() -> None:
    """At most 400 are set aside; with few rows at least one; one prompt alone cannot be split."""
    assert len(split_rows(conversations(*map(str, range(9000))), 0.1)[1]) == 400
    train, dev = split_rows(conversations("a", "a", "a", "b", "b"), 0.1)
    assert (len(train), len(dev)) == (3, 2)
    with pytest.raises(InputError, match="all conversations have the same prompt, got 3"):
        split_rows(conversations("a", "a", "a"), 0.1)


def test_the_line_about_a_file(tmp_path: Path) -> None:
    """Number, format and file in one line, and how the dev set came about in another."""
    rows = [{"messages": [turn("user", str(n)), ANSWERED]} for n in range(1200)]
    path = lines(tmp_path / "train.jsonl", *rows)
    corpus = load_conversations(data(path, dev=None))
    assert corpus.remarks == (
        "1,200 conversations (messages) from train.jsonl",
        "120 of the train conversations are the dev set (data.dev_share), drawn by prompt, so that "
        "no prompt is on both sides",
    )
    assert (len(corpus.train), len(corpus.dev)) == (1080, 120)


def test_a_fault_of_a_column_names_that_column_and_its_line(tmp_path: Path) -> None:
    """An answer of a wrong type is not blamed on the prompt, nor missing columns on a row."""
    path = lines(tmp_path / "train.jsonl", {"prompt": "Why?", "completion": 7})
    with pytest.raises(InputError, match="completion: must be text or a list of turns, got 7"):
        load_conversations(data(path))
    table = tmp_path / "train.csv"
    table.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.csv: line 1: no columns of conversations"):
        load_conversations(data(table))
