"""A chat template is a stranger's program: what it may need is bounded."""

from __future__ import annotations

import resource
import time
from typing import Any

import pytest

import study.data.templates
from study.data.chat import ChatFormat
from study.data.templates import LimitError, bounded, rendered
from study.errors import InputError
from tests.chat_fixtures import turn

GROWING = (
    "{{% set ns = namespace(a={0}) %}}"
    "{{% for i in range(99) %}}{{% set ns.a = {1} %}}{{% endfor %}}"
)
LARGE = {
    "a text": "{{ 'x' * 10**10 }}",
    "a text, not known beforehand": "{% set n = 10**5 %}{{ 'x' * (n * n) }}",
    "a list": "{{ ([0] * 10**9) | length }}",
    "center": "{{ 'x'.center(10**10) }}",
    "the filter center": "{{ 'x' | center(10**10) }}",
    "indent": "{{ 'x\ny' | indent(10**10) }}",
    "a percent sign": "{{ '%10000000000d' % 1 }}",
    "the filter format": "{{ '%2000000000d' | format(1) }}",
    "format": "{{ '{:>{}}'.format('x', 10**10) }}",
    "replace": "{% set a = 'x' * 10**5 %}{{ a.replace('x', a) }}",
    "join": "{% set a = 'x' * 10**5 %}{{ a | join(a) }}",
    "batch": "{{ [1] | batch(10**10, 0) | list }}",
    "tojson": "{{ {'a': 1} | tojson(indent=10**10) }}",
    "doubling": GROWING.format("'xx'", "ns.a + ns.a"),
    "doubling a list": GROWING.format("[1]", "ns.a + ns.a"),
    "letters of a text": "{{ ('x' * 10**8) | list | length }}",
}
"""What is made large -> a template."""
LONG = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a number, computed beforehand": "{{ 2 ** (10 ** 9) ** 9 }}",
    "a number": GROWING.format("10", "ns.a * ns.a"),
    "words": "{{ lipsum(n=10**9) }}",
}
"""What takes long -> a template."""


class Tokenizer:
    """What a template sees of a tokenizer."""

    special_tokens_map: dict[str, str] = {}  # noqa: RUF012 - as in transformers


def render(template: str) -> None:
    """Write a conversation of one turn."""
    with bounded("here", "the template"):
        rendered(Tokenizer(), template, [turn("user", "Why?")])


@pytest.mark.parametrize("kind", LARGE)
def test_the_memory_of_a_template_is_bounded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, before the memory is taken; afterwards the process may grow again."""
    monkeypatch.setattr(study.data.templates, "MEMORY", 2**26)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(LimitError) as refused:
        render(LARGE[kind])
    (line,) = refused.value.problems
    assert line == "here: the template: must need at most 64 MiB of memory, got more"
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.parametrize("kind", LONG)
def test_the_time_of_a_template_is_bounded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped wherever it is, also where Jinja computes constants and catches errors."""
    monkeypatch.setattr(study.data.templates, "SECONDS", 0.2)
    begun = time.monotonic()
    with pytest.raises(LimitError, match=r"^here: the template: must be done within 0\.2 s, got"):
        render(LONG[kind])
    assert time.monotonic() - begun < 10


def test_what_a_template_writes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that fits in memory, but would take minutes to tokenize, is refused."""
    monkeypatch.setattr(study.data.templates, "MOST_CHARACTERS", 50)
    with pytest.raises(ValueError, match="more than 50 characters, the limit"):
        render("{{ 'x' * 51 }}")


@pytest.mark.parametrize("template", [LARGE["a text"], LONG["loops"]])
def test_a_template_for_pairs_is_bounded_too(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs are written by the base's own template, within the same bounds."""
    monkeypatch.setattr(study.data.templates, "SECONDS", 0.2)
    tokenizer: Any = Tokenizer()
    with pytest.raises(InputError, match=r"^base\.model: its chat template: must .*, got more$"):
        ChatFormat(tokenizer, "Translate.", None, 20, template)
