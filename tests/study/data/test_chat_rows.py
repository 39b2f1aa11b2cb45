"""Which tokens of a conversation are trained, against expectations written by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import study.data.templates
from study.bases.building import fast_tokenizer
from study.data.chat_rows import ChatExample, ConversationFormat, _fitting, _shown
from study.data.conversations import Conversation
from study.data.corpora import corpus_of
from study.data.rendering import Template, check_stored_template
from study.errors import InputError
from study.kinds.chat_templates import CHAT_TEMPLATES, template_fault
from study.spec.base_and_data import DataSpec
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from tests.chat_fixtures import make_chat_spec, tiny_chat, turn

__all__ = ["make_chat_spec", "tiny_chat"]

SPECIAL = (
    *("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|reserved_special_token_0|>"),
)
TURNS = [
    turn("system", "Be brief."),
    turn("user", "Why?"),
    turn("assistant", "So."),
    turn("user", "And?"),
    turn("assistant", "No more."),
]
HEAD = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
TAIL = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
MARKED = (
    HEAD + "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}" + TAIL
)
"""ChatML with marks that leave out the end of the turn, as many published templates do."""
MARKED_WITH_END = MARKED.replace(
    "{{ m['content'] }}{% endgeneration %}", "{{ m['content'] }}<|im_end|>\n{% endgeneration %}"
).replace("{% endif %}<|im_end|>\n{% endfor", "<|im_end|>\n{% endif %}{% endfor")
FORGETTING = (
    HEAD + "{% if m['role'] == 'assistant' and loop.last %}<s>So</s>{% endif %}{{ m['content'] }}"
) + TAIL
"""As Qwen 3 and others write reasoning: it is dropped from all turns but the last."""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Return a tokenizer with the special tokens of several formats, and without a template."""
    texts = [t["content"] for t in TURNS] + ["system", "user", "assistant", "model", "\n"] * 9
    return fast_tokenizer(texts, 200, SPECIAL, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def form(tokenizer: Any, template: str | None = None, **data: Any) -> ConversationFormat:
    """Return the format of a tokenizer's copy, so that no test sees another's template."""
    from copy import deepcopy

    values = {"instruction": "", "stop_token": None, "train_on": "assistant", **data}
    return ConversationFormat(deepcopy(tokenizer), DataSpec(chat_template=template, **values))


def row(form: ConversationFormat, turns: Any = TURNS, **others: Any) -> ChatExample:
    """Return turns as a row."""
    return form.example(Conversation(json.dumps(turns), where="here"), **others)


def stretches(example: ChatExample, tokenizer: Any) -> list[str]:
    """Return the trained stretches of a row as text, without white space."""
    return ["".join(text.split()) for text, is_trained in _shown(example, tokenizer) if is_trained]


ENDS = {
    "chatml": "<|im_end|>",
    "gemma": "<end_of_turn>",
    "llama3": "<|eot_id|>",
    "plain": "</s>",
    MARKED: "<|im_end|>",
    MARKED_WITH_END: "<|im_end|>",
}


@pytest.mark.parametrize("template", ENDS)
def test_answers_and_their_ends_are_trained(tokenizer: Any, template: str) -> None:
    """Each answer with the token that ends it, and nothing else but white space in its block."""
    end = ENDS[template]
    example = row(form(tokenizer, template))
    assert stretches(example, tokenizer) == [f"So.{end}", f"Nomore.{end}"]
    assert example.end == tokenizer.convert_tokens_to_ids(end)
    assert (example.ids[-1] == example.end) == (template != MARKED_WITH_END)
    assert not example.trained[: example.prompt_tokens].all()
    rest = tokenizer.decode(example.ids[example.prompt_tokens :])
    assert "".join(rest.split()) == f"Nomore.{end}"
    assert (example.source.splitlines()[1], example.target) == ("user: Why?", "No more.")


@pytest.mark.parametrize("template", ["gemma", MARKED_WITH_END])
def test_a_line_end_does_not_end_an_answer(tokenizer: Any, template: str) -> None:
    """Gemma's tokenizer adds line ends as tokens; the end of the turn before it is what counts."""
    from copy import deepcopy

    from tokenizers import AddedToken

    gemma = deepcopy(tokenizer)
    gemma.add_tokens([AddedToken("\n", normalized=False), AddedToken("\n\n", normalized=False)])
    example = row(form(gemma, template))
    assert example.end == gemma.convert_tokens_to_ids(ENDS[template])
    assert stretches(example, gemma)[0] == f"So.{ENDS[template]}"


@pytest.mark.parametrize("template", [MARKED, MARKED_WITH_END])
def test_marks_are_those_of_transformers(tokenizer: Any, template: str) -> None:
    """What transformers masks as the assistant's is trained, token for token."""
    example = row(form(tokenizer, template))
    theirs = tokenizer.apply_chat_template(
        TURNS,
        chat_template=template,
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    assert theirs["input_ids"][: len(example.ids)] == example.ids.tolist()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    # the end of a turn is trained wherever the block ends; white space after it is not
    text = [t != end and bool(tokenizer.decode([t]).strip()) for t in example.ids.tolist()]
    assert [m for m, is_text in zip(example.trained.tolist(), text, strict=True) if is_text] == [
        bool(m) for m, is_text in zip(theirs["assistant_masks"], text, strict=False) if is_text
    ]
    assert example.trained[example.ids == end].tolist() == [False, False, True, False, True]


def test_the_prompt_is_what_generation_begins_with(tokenizer: Any) -> None:
    """The tokens before the last answer are those of the template's generation prompt."""
    for template in ("chatml", "gemma", "llama3", "plain"):
        example = row(form(tokenizer, template))
        asked = tokenizer.apply_chat_template(
            TURNS[:-1],
            chat_template=CHAT_TEMPLATES[template],
            add_generation_prompt=True,
            return_dict=False,
        )
        assert example.ids[: example.prompt_tokens].tolist() == asked


def test_what_is_trained_can_be_chosen(tokenizer: Any) -> None:
    """The last answer alone, or every token but the first."""
    last = row(form(tokenizer, "chatml", train_on="last"))
    assert stretches(last, tokenizer) == ["Nomore.<|im_end|>"]
    whole = row(form(tokenizer, "chatml", train_on="all"))
    assert whole.trained.tolist() == [False] + [True] * (len(whole.ids) - 1)
    assert whole.prompt_tokens == last.prompt_tokens


def test_an_answer_of_weight_0_is_context(tokenizer: Any) -> None:
    """OpenAI's `weight` leaves an answer out of the loss."""
    turns = [*TURNS[:2], {**TURNS[2], "weight": 0}, *TURNS[3:]]
    assert stretches(row(form(tokenizer, "chatml"), turns), tokenizer) == ["Nomore.<|im_end|>"]
    turns[-1] = {**turns[-1], "weight": 0}
    with pytest.raises(InputError, match="turn 5: must not have weight 0"):
        row(form(tokenizer, "chatml", train_on="last"), turns)


def test_a_template_that_rewrites_turns_is_refused_with_the_turn(tokenizer: Any) -> None:
    """One line names the turn and both texts; its last answer alone can be trained."""
    with pytest.raises(InputError) as refused:
        row(form(tokenizer, FORGETTING))
    (line,) = refused.value.problems
    assert line.startswith(
        "here: turn 3: data.chat_template must write a turn the same way whatever follows, got "
        "'<s>So</s>So."
    )
    assert line.endswith("allowed: another data.chat_template or data.train_on = 'last'")
    assert stretches(row(form(tokenizer, FORGETTING, train_on="last")), tokenizer) == [
        "<s>So</s>Nomore.<|im_end|>"
    ]


def test_an_answer_without_an_end_is_refused(tokenizer: Any) -> None:
    """Generation could not stop: the line says so, and names templates that end their answers."""
    endless = CHAT_TEMPLATES["plain"].replace("eos_token", "'.'")
    with pytest.raises(InputError, match=r"turn 5: .* must end an answer with one special token"):
        row(form(tokenizer, endless))


CALLING = MARKED_WITH_END.replace(
    "{% generation %}",
    "{% generation %}{% for c in m.tool_calls or [] %}{{ c.function.name }}.{% endfor %}",
)
CALLS = [
    turn("user", "Why?"),
    {**turn("assistant", ""), "tool_calls": [{"function": {"name": "So", "arguments": {}}}]},
    turn("tool", "So."),
    turn("assistant", "No more."),
]


@pytest.mark.parametrize("template", ["chatml", "plain", MARKED, MARKED_WITH_END])
def test_tool_calls_that_a_template_leaves_out_are_refused(tokenizer: Any, template: str) -> None:
    """An answer of nothing but its end would be trained: the line names the turn and the remedy."""
    with pytest.raises(InputError) as refused:
        row(form(tokenizer, template), CALLS)
    (line,) = refused.value.problems
    assert line.startswith("here: turn 2: data.chat_template")
    assert "must write the tool calls of an answer without text, got a turn without them" in line
    assert line.endswith("allowed: another data.chat_template, which writes tool calls")


def test_tool_calls_that_a_template_writes_are_trained(tokenizer: Any) -> None:
    """A call is an answer like any other, and a call that is not trained may be left out."""
    bare = CALLING.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    for template in (CALLING, bare):
        assert stretches(row(form(tokenizer, template), CALLS), tokenizer)[0] == "So.<|im_end|>"
    untrained = [CALLS[0], {**CALLS[1], "weight": 0}, *CALLS[2:]]
    for turns, train_on in ((untrained, "assistant"), (CALLS, "last")):
        example = row(form(tokenizer, "chatml", train_on=train_on), turns)
        assert stretches(example, tokenizer) == ["Nomore.<|im_end|>"]


BROKEN = {
    "a refusal": (
        "{{ raise_exception('no system message') }}",
        "cannot write this conversation: no system message",
    ),
    "a large range": ("{% for i in range(10**9) %}x{% endfor %}", "Range too big"),
    "an attribute of Python": ("{{ messages.__class__.__mro__ }}", "unsafe"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_error_of_a_template_is_one_line(tokenizer: Any, name: str) -> None:
    """Where, which template, and its reason."""
    template, expected = BROKEN[name]
    with pytest.raises(InputError, match=expected) as refused:
        row(form(tokenizer, template))
    assert refused.value.problems[0].startswith("here: data.chat_template")


def test_a_mistake_in_a_template_is_found_where_it_is_named(tmp_path: Path) -> None:
    """The study file is refused before data or tokenizer are read, with the template's line."""
    (tmp_path / "mine.jinja").write_text("{{ bos_token }}\n{% for %}", encoding="utf-8")
    for value in ("mine.jinja", "{{ bos_token }}{% for %}"):
        study = tmp_path / "study.toml"
        document = {"task": "sft", "base": {"model": "m"}, "data": {"train": "t.jsonl"}}
        document["data"] |= {"chat_template": value}
        study.write_text(tomli_w.dumps(document), encoding="utf-8")
        with pytest.raises(InputError) as refused:
            load_spec(study)
        (line,) = refused.value.problems
        assert "data.chat_template: " in line
        assert f"must be a Jinja template; line {1 + (value == 'mine.jinja')} of the" in line
    assert all(template_fault(template) is None for template in CHAT_TEMPLATES.values())
    assert template_fault("{% generation %}a{% break %}{% endgeneration %}") is None


@pytest.mark.parametrize("kind", ["a file", "in the settings", "several", "none", "a mistake"])
def test_the_template_of_a_base_is_read_without_its_tokenizer(tmp_path: Path, kind: str) -> None:
    """`check --quick` finds a base without a template, and a template that is no Jinja."""
    named = [{"name": "tools", "template": "{% for %}"}, {"name": "default", "template": "{{ 1 }}"}]
    found = {"in the settings": "{{ 1 }}", "several": named, "a mistake": "{% for %}"}
    settings = json.dumps({"chat_template": found.get(kind)})
    (tmp_path / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    if kind == "a file":
        (tmp_path / "chat_template.jinja").write_text("{{ 1 }}", encoding="utf-8")
    says = {"none": "its tokenizer has no chat template", "a mistake": "must be a Jinja template"}
    with pytest.raises(InputError, match=says[kind]) if kind in says else nullcontext():
        check_stored_template(tmp_path)


def test_a_template_that_fails_on_many_rows_is_one_line(
    make_chat_spec: Callable[..., StudySpec],
) -> None:
    """The template is named, and how many conversations it refuses, the first of them by line."""
    refuses = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InputError) as refused:
        corpus_of(make_chat_spec({"data.chat_template": refuses}))
    (line,) = refused.value.problems
    assert line.startswith(
        "data.chat_template cannot write this conversation: roles must alternate"
    )
    assert re.search(r"; so for \d+ of \d+ train conversations, the first .*jsonl: line \d+$", line)


def test_a_template_that_needs_too_much_is_tried_on_one_row(
    make_chat_spec: Callable[..., StudySpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other rows could take as long, or as much memory."""
    monkeypatch.setattr(study.data.templates, "SECONDS", 0.2)
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    for template in ("{{ 'x' * 10**10 }}", loops + "{{ 1 }}"):
        with pytest.raises(InputError, match=r", got more; so for 1 of \d+ train") as refused:
            corpus_of(make_chat_spec({"data.chat_template": template}))
        assert len(refused.value.problems) == 1


def test_a_template_that_asks_for_the_date_gets_one_date(tokenizer: Any) -> None:
    """A study does not depend on the day it is run."""
    dated = "{{ strftime_now('%Y-%m-%d') }}" + CHAT_TEMPLATES["chatml"]
    tokenizer.chat_template = dated
    written = Template(tokenizer, None).write(TURNS, None, [2, 4], "here")
    tokenizer.chat_template = None
    assert written.text.startswith("26 Jul 2024<|im_start|>system")


def test_a_base_without_a_template_needs_one(tokenizer: Any) -> None:
    """The line names the key and the shipped templates; a wrong name is refused like any key."""
    with pytest.raises(InputError, match=r"no chat template, got none; set data\.chat_template to"):
        form(tokenizer)
    with pytest.raises(ValueError, match="did you mean chatml"):
        DataSpec(chat_template="chatlm")


def test_a_stop_token_of_the_studys_own_ends_the_answers(tokenizer: Any) -> None:
    """With data.stop_token a reserved token is the end of text that the template writes."""
    example = row(form(tokenizer, "plain", stop_token="<|the_end|>"))
    assert stretches(example, tokenizer)[0] == "So.<|reserved_special_token_0|>"


def test_a_plain_text_is_trained_whole(tokenizer: Any) -> None:
    """Every token but the first, and an end of text after the last."""
    example = form(tokenizer, "plain").example(Conversation("", text="Be brief."))
    assert example.ids[-1] == tokenizer.eos_token_id
    assert example.trained.tolist() == [False] + [True] * (len(example.ids) - 1)
    assert (example.source, example.target) == ("Be brief.", "")


def test_long_rows_are_left_out_cut_or_refused_and_counted(tokenizer: Any) -> None:
    """The count, the share and the side are said; no row loses all its answers silently."""
    chat = form(tokenizer, "chatml")
    short, long = row(chat, TURNS[1:3]), row(chat)
    data, limit = DataSpec(), len(short.ids)
    drop = data.model_copy(update={"too_long": "drop"})
    assert _fitting([short, long, short, short], limit, drop, "train") == (
        (short, short, short),
        [f"1 of 4 train conversations (25.0 %) has more than {limit} tokens and is left out"],
    )
    with pytest.raises(InputError, match=r"1 of 2 dev conversations \(50\.0 %\) has more than"):
        _fitting([short, long], limit, data.model_copy(update={"too_long": "refuse"}), "dev")
    late = [turn("user", "Why? " * 20), TURNS[2]]
    cut = [row(chat, turns, limit=limit) for turns in (TURNS[1:], late, TURNS[1:3])]
    kept, remarks = _fitting(cut, limit, data, "train")
    assert kept == (cut[0], cut[2])
    assert remarks == [
        f"2 of 3 train conversations (66.7 %) have more than {limit} tokens and are cut at the end"
        "; left out, since no answer begins before the cut: 1"
    ]


def test_a_cut_row_keeps_the_answers_that_begin_before_the_cut(tokenizer: Any) -> None:
    """Its tokens are the first ones, and its last answer is one that is still in it."""
    chat = form(tokenizer, "chatml")
    whole = row(chat)
    limit = whole.prompt_tokens - 2
    cut = row(chat, limit=limit)
    assert cut.ids.tolist() == whole.ids[:limit].tolist()
    assert stretches(cut, tokenizer) == ["So.<|im_end|>"]
    assert cut.target == "So."
    assert tokenizer.decode(cut.ids[: cut.prompt_tokens]).strip().endswith("assistant")
    assert cut.tokens == whole.tokens


def test_examples_are_compared_by_what_they_say(tokenizer: Any) -> None:
    """Equal conversations are equal examples, whichever tokens they became."""
    example = row(form(tokenizer, "chatml"))
    assert example == replace(example, ids=example.ids[:3])
    assert example != row(form(tokenizer, "chatml"), TURNS[:3])


def test_an_instruction_is_said_to_be_a_system_message(
    make_chat_spec: Callable[..., StudySpec],
) -> None:
    """A person who writes it for pairs would not know otherwise what the model reads."""
    remarks = corpus_of(make_chat_spec({"data.instruction": "Be brief."})).remarks
    said = "data.instruction = 'Be brief.' is the system message of every one of the conversations"
    assert any(line.startswith(said) for line in remarks)
