"""A teacher that is asked once says the same as one that is asked anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from study.bases.load import BaseModel, load_base
from study.data.chat import ChatFormat, Dialogue
from study.data.readers import load_corpus
from study.spec.base_and_data import BaseModelSpec
from study.spec.sections import StudySpec
from study.tasks.teachers import Teacher

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64; in float32 padding moves the fifth digit


@pytest.fixture(scope="module")
def teacher(tiny_llamas: Path) -> BaseModel:
    """The tiny teacher in float64."""
    spec = BaseModelSpec(dtype="float64")
    return load_base(str(tiny_llamas / "teacher"), spec, "causal_translation")


@pytest.fixture(scope="module")
def asked(teacher: BaseModel, make_llama_spec: Callable[..., StudySpec]) -> list[Dialogue]:
    """The training pairs as dialogues."""
    data = make_llama_spec().data
    form = ChatFormat(teacher.tokenizer, data.instruction, data.stop_token, data.max_tokens)
    return [form.dialogue(p.source, p.target) for p in load_corpus(data).train]


def stop_of(asked: list[Dialogue]) -> int:
    """The stop token."""
    return asked[0].answer[-1]


def anew(model: Any, dialogue: Dialogue) -> torch.Tensor:
    """The logits (A, V) of one dialogue alone, by transformers' own forward."""
    ids = torch.tensor([dialogue.prompt + dialogue.answer])
    with torch.no_grad():
        logits: torch.Tensor = model(ids).logits[0, len(dialogue.prompt) - 1 : -1]
    return logits


def test_kept_logits_are_those_of_asking_anew(teacher: BaseModel, asked: list[Dialogue]) -> None:
    """Within 1e-10, but for the tokens that end a turn."""
    kept = Teacher(teacher, asked, stop_of(asked))
    logits = kept.logits(kept.states(asked[:5]))
    ends = [teacher.tokenizer.eos_token_id, stop_of(asked)]
    for row, dialogue in enumerate(asked[:5]):
        expected = anew(teacher.model, dialogue)
        found = logits[row, : len(dialogue.answer)]
        expected[:, ends] = found[:, ends] = 0.0
        torch.testing.assert_close(found, expected, **EXACT)


def test_what_ends_a_turn_counts_as_the_stop_token(
    teacher: BaseModel, asked: list[Dialogue]
) -> None:
    """The stop token gets the probability of all ends; the others keep none of it."""
    kept = Teacher(teacher, asked, stop_of(asked))
    found = kept.logits(kept.states(asked[:1])).softmax(-1)[0]
    expected = anew(teacher.model, asked[0]).softmax(-1)
    end = teacher.tokenizer.eos_token_id
    both = expected[:, end] + expected[:, stop_of(asked)]
    torch.testing.assert_close(found[:, stop_of(asked)], both)
    assert found[:, end].max() == 0.0


def test_the_order_of_questions_changes_no_bit(teacher: BaseModel, asked: list[Dialogue]) -> None:
    """Whoever asks first, the same dialogues are asked together."""
    forward = Teacher(teacher, asked, stop_of(asked))
    backward = Teacher(teacher, asked[::-1], stop_of(asked))
    first = [forward.states([d]) for d in asked]
    second = [backward.states([d]) for d in asked[::-1]][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_every_dialogue_is_asked_once(
    teacher: BaseModel, asked: list[Dialogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second trial's epochs cost the teacher nothing."""
    kept = Teacher(teacher, asked, stop_of(asked))
    kept.states(asked)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(type(teacher.model.base_model), "forward", refuse)
    assert kept.states(asked[::-1]).shape[0] == len(asked)
