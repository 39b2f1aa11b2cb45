"""Prompts are the template's own, answers are found in them, and the stop token is reserved."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from study.bases.llama import STUDENT
from study.data.chat import ChatFormat, stop_id, template_of
from study.data.embedded import CorpusRecipe, petroleum_corpus
from study.data.templates import DATE
from study.errors import InputError
from study.kinds.chat_templates import LLAMA3_TEMPLATE
from study.spec.base_and_data import INSTRUCTION, STOP_TOKEN

# What Meta's documentation of Llama 3 shows for a system message, a question and its answer.
PUBLISHED = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Translate from English into French.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n"
    "The well is deep.<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)


@pytest.fixture(scope="module")
def trained() -> Any:
    """The miniature's tokenizer."""
    return STUDENT.new_tokenizer(
        petroleum_corpus(0, CorpusRecipe(base_general=2000, base_lay=0, base_expert=0)).base_train
    )


@pytest.fixture
def tokenizer(trained: Any) -> Any:
    """A copy of it to change."""
    return PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer,
        eos_token="<|eot_id|>",
        bos_token="<|begin_of_text|>",
        unk_token="<unk>",
        chat_template=LLAMA3_TEMPLATE,
    )


def form(tokenizer: Any, **changes: Any) -> ChatFormat:
    """The format with the defaults of a study file."""
    return ChatFormat(
        tokenizer,
        changes.get("instruction", INSTRUCTION),
        changes.get("stop_token", STOP_TOKEN),
        changes.get("max_tokens", 128),
    )


def test_the_prompt_is_llama_3s_published_one(tokenizer: Any) -> None:
    """Marks, roles and blank lines stand as Meta documents them."""
    found = form(tokenizer).dialogue("The well is deep.", "Le puits est profond.")
    expected = tokenizer(PUBLISHED, add_special_tokens=False)["input_ids"]
    assert list(found.prompt) == expected
    assert tokenizer.unk_token_id not in found.prompt


def test_the_answer_is_the_target_and_the_stop_token(tokenizer: Any) -> None:
    """Labels hold the translation, nothing of the prompt, and the stop token at the end."""
    found = form(tokenizer).dialogue("The well is deep.", "Le puits est profond.")
    *translation, last = found.answer
    assert tokenizer.decode(translation) == "Le puits est profond."
    assert tokenizer.convert_ids_to_tokens(last) == "<|reserved_special_token_0|>"
    assert not found.is_cut


def test_the_tokenizers_own_template_is_used(tokenizer: Any) -> None:
    """A template of another form gives another prompt, with the same answer."""
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    found = form(tokenizer).dialogue("well", "puits")
    asked = f"[system]{INSTRUCTION}[user]well[assistant]"
    assert list(found.prompt) == tokenizer(asked, add_special_tokens=False)["input_ids"]


def test_todays_date_is_no_part_of_a_prompt(tokenizer: Any) -> None:
    """Llama 3.2's template asks for a date: it gets the same one every day."""
    tokenizer.chat_template = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
        "{% endif %}{{ date_string }}" + LLAMA3_TEMPLATE
    )
    found = form(tokenizer).dialogue("well", "puits")
    dated = tokenizer(DATE, add_special_tokens=False)["input_ids"]
    assert list(found.prompt[: len(dated)]) == dated


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}",
        "{% for m in messages %}{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}",
        "{{ messages[1]['content'] }}",
    ],
    ids=["changed", "not after the prompt", "left out"],
)
def test_an_answer_that_the_template_cannot_find(tokenizer: Any, template: str) -> None:
    """Where the answer does not stand right after the prompt, it is refused with the answer."""
    tokenizer.chat_template = template
    rule = r"^data: .*chat template must put the answer unchanged .*'puits'$"
    with pytest.raises(InputError, match=rule):
        form(tokenizer).dialogue("well", "puits")


def test_long_texts_are_cut_and_a_cut_answer_does_not_stop(tokenizer: Any) -> None:
    """Both sides keep so many tokens; a model is not taught to stop in the middle."""
    long = form(tokenizer, max_tokens=4).dialogue("the well " * 9, "le puits " * 9)
    assert long.is_cut
    assert len(long.answer) == 4
    assert "le puits le puits".startswith(tokenizer.decode(long.answer))
    whole = form(tokenizer, max_tokens=4).dialogue("the well", "le")
    assert not whole.is_cut
    assert whole.answer[-1] == form(tokenizer).stop


def test_spaces_around_a_text_do_not_matter(tokenizer: Any) -> None:
    """Templates trim; so is the answer, before it is looked for."""
    plain = form(tokenizer).dialogue("well", "puits")
    assert form(tokenizer).dialogue(" well\n", "  puits ") == plain


# ---------------------------------------------------------------- the stop token


def test_a_token_of_the_name_comes_before_a_reserved_one(tokenizer: Any) -> None:
    """A vocabulary that was resized for the stop token keeps it."""
    reserved = tokenizer.convert_tokens_to_ids("<|reserved_special_token_0|>")
    assert stop_id(tokenizer, STOP_TOKEN) == reserved
    assert stop_id(tokenizer, "<|eot_id|>") == tokenizer.eos_token_id
    tokenizer.add_tokens([STOP_TOKEN], special_tokens=True)
    assert stop_id(tokenizer, STOP_TOKEN) == len(tokenizer) - 1


class Bare:
    """A tokenizer without marks, template or reserved tokens."""

    chat_template = None
    eos_token = "</s>"

    def get_vocab(self) -> dict[str, int]:
        return {"</s>": 0, "well": 1}


def test_a_vocabulary_without_reserved_tokens_is_refused() -> None:
    """The line says what would do instead."""
    with pytest.raises(InputError, match=r"^data\.stop_token: .*nor a reserved token.*'</s>'"):
        stop_id(Bare(), STOP_TOKEN)


def test_a_tokenizer_that_cannot_chat_is_refused(tokenizer: Any) -> None:
    """Llama 3's marks are enough for its template; neither marks nor template is refused."""
    tokenizer.chat_template = None
    assert template_of(tokenizer) == LLAMA3_TEMPLATE
    with pytest.raises(InputError, match=r"^base\.model: its tokenizer has neither a chat"):
        template_of(Bare())
