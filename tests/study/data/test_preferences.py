"""A prompt that a pair's conversations repeat is read once, and another prompt is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from study.data.preferences import FORMATS, PreferencePair, load_preferences, pair_of
from study.errors import InputError
from study.spec.base_and_data import DataSpec
from tests.chat_fixtures import turn

ASKED, SYSTEM = turn("user", "Who?"), turn("system", "Be brief.")
GOOD, BAD = turn("assistant", "The well."), turn("assistant", "A pump.")
MORE = [turn("assistant", "Wait."), turn("user", "And?")]
SHAREGPT = {"from": "human", "value": "Who? "}


def pair(prompt: Any, before: list[dict[str, str]], instruction: str = "") -> PreferencePair:
    """Return the pair of a row whose two sides have these turns before the answer."""
    row = {"prompt": prompt, "chosen": [*before, GOOD], "rejected": [*before, BAD]}
    found = pair_of(row, FORMATS[0], instruction, "here")
    assert found is not None
    return found


REPEATED: dict[str, tuple[Any, list[dict[str, str]], list[dict[str, str]]]] = {
    "a text": ("Who?", [ASKED], [ASKED]),
    "turns": ([ASKED], [ASKED], [ASKED]),
    "ShareGPT": ("Who?", [SHAREGPT], [{**ASKED, "content": "Who? "}]),
    "several turns": ([ASKED, *MORE], [ASKED, *MORE], [ASKED, *MORE]),
    "the first of several turns": ("Who?", [ASKED, *MORE], [ASKED, *MORE]),
    "a system message in the sides": ("Who?", [SYSTEM, ASKED], [SYSTEM, ASKED]),
    "a system message in the prompt": ([SYSTEM, ASKED], [ASKED], [SYSTEM, ASKED]),
    "a system message in both": ([SYSTEM, ASKED], [SYSTEM, ASKED], [SYSTEM, ASKED]),
    "no prompt at all": ("", [ASKED], [ASKED]),
}


@pytest.mark.parametrize("name", REPEATED)
def test_a_prompt_that_both_sides_repeat_is_read_once(name: str) -> None:
    """The turns are those of the conversations, with the prompt's system message before them."""
    prompt, before, expected = REPEATED[name]
    found = pair(prompt, before)
    assert found.chosen.turns == [*expected, GOOD]
    assert found.rejected.turns == [*expected, BAD]
    assert found.repeats_prompt


def test_a_prompt_of_its_own_stays_before_the_answers() -> None:
    """Answers alone follow the prompt, and so does a conversation that goes on from its answer."""
    assert pair("Who?", []).chosen.turns == [ASKED, GOOD]
    assert pair([ASKED, MORE[0]], [MORE[1]]).chosen.turns == [ASKED, *MORE, GOOD]
    assert not pair("Who?", []).repeats_prompt


@pytest.mark.parametrize(
    ("prompt", "before"),
    [
        ("What?", [ASKED]),
        ("And?", [ASKED, *MORE]),
        ([turn("system", "Be long."), ASKED], [SYSTEM, ASKED]),
    ],
)
def test_another_prompt_than_the_conversations_is_refused(
    prompt: Any, before: list[dict[str, str]]
) -> None:
    """One line says what the side begins with and what the prompt is."""
    with pytest.raises(InputError) as refused:
        pair(prompt, before)
    (line,) = refused.value.problems
    assert line.startswith("here: chosen: must begin with the prompt or after it, got ")
    assert "'Who?'" in line
    assert "allowed: whole conversations that begin with the prompt, or answers" in line


def test_repeated_prompts_are_counted_once_for_all_files(tmp_path: Path) -> None:
    """One line says how many pairs repeat their prompt; without any there is none."""
    alone = [{"prompt": str(n), "chosen": "Yes.", "rejected": "No."} for n in range(8)]
    whole = [
        {"prompt": f"{n}?", **{s: [turn("user", f"{n}?"), a] for s, a in sides}}
        for n in range(5)
        for sides in [(("chosen", GOOD), ("rejected", BAD))]
    ]
    remarks = []
    for rows in (alone, alone + whole):
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        data = DataSpec(train=path, dev_share=0.2, instruction="Be brief.")
        remarks.append([r for r in load_preferences(data).remarks if "prompt, which" in r])
    line = "pairs whose conversations repeat the column prompt, which is read once: 5"
    assert remarks == [[], [line]]
