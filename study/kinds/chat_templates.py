"""Chat templates by name, for a base without one: how a conversation becomes text.

They are Jinja, as in a tokenizer's `chat_template`.  Each turn is written the same way wherever it
comes in a conversation, and an answer ends with one token, so that generation can stop there.
"""

from __future__ import annotations

from collections.abc import Mapping

LLAMA3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
"""Llama 3's published prompt format, without tools and dates."""

CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{{ '\n' }}{% endif %}"
)
"""The format of Qwen and many others; needs their two tokens."""

GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}"
    "{% if not loop.first %}"
    "{{ raise_exception('a system message must come first') }}"
    "{% endif %}"
    "{% else %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% if loop.index0 == 1 and messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] | trim }}{{ '\n\n' }}"
    "{% endif %}"
    "{{ message['content'] | trim }}<end_of_turn>{{ '\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model{{ '\n' }}{% endif %}"
)
"""Gemma's format: a system message becomes the beginning of the first turn."""

PLAIN_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] | trim }}"
    "{{ eos_token if message['role'] == 'assistant' else '' }}{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""Words instead of special tokens: works with every tokenizer that names an end of text."""

CHAT_TEMPLATES: Mapping[str, str] = {
    "chatml": CHATML_TEMPLATE,
    "gemma": GEMMA_TEMPLATE,
    "llama3": LLAMA3_TEMPLATE,
    "plain": PLAIN_CHAT_TEMPLATE,
}
"""A name in `data.chat_template` -> the template."""


def is_template(text: str) -> bool:
    """Return whether a text is a template itself, not the name of one."""
    return "{{" in text or "{%" in text


def template_fault(text: str) -> str | None:
    """Return why a text is no Jinja template, with the line; None if it is one.

    Nothing of it is run.  The tags are those that transformers' templates may have.
    """
    from jinja2 import Environment, TemplateSyntaxError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import Node
    from jinja2.parser import Parser

    class Generation(Extension):
        """The block that marks an answer; here only its place matters."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

        def parse(self, parser: Parser) -> Node | list[Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    try:
        Environment(extensions=[Generation, loopcontrols]).parse(text)
    except (TemplateSyntaxError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        reason = "nested too deeply" if line is None else f"line {line} of the template: {error}"
        return f"must be a Jinja template; {' '.join(reason.split())[:200]}"
    return None
