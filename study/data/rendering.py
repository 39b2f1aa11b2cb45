"""Text of conversations by a chat template, with the place of each answer in it.

`study/data/templates.py` runs the template and bounds what it may need.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.data.templates import Span, TemplateError, bounded, rendered
from study.errors import InputError, reason_of, refusing
from study.kinds.chat_templates import CHAT_TEMPLATES, template_fault
from study.spec.files import read_text

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
NO_TEMPLATE = (
    "base.model: its tokenizer has no chat template, got none; set data.chat_template to a "
    f"file or one of {', '.join(CHAT_TEMPLATES)}"
)


def check_stored_template(folder: Path) -> None:
    """Read the chat template in a base's folder, without its tokenizer; nothing of it is run.

    Raises:
        InputError: there is none, or it is not Jinja.
    """
    template = _stored_template(folder)
    if not template:
        raise InputError(NO_TEMPLATE)
    if fault := template_fault(template):
        raise InputError(f"base.model: {folder}: its chat template: {fault}")


def _stored_template(folder: Path) -> str:
    """Return the template of a tokenizer's files; the default one if there are several."""
    file, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if file.is_file():
        return read_text(file)
    if not settings.is_file():
        return ""
    with refusing(f"{settings}: not JSON", ValueError, RecursionError):
        found = json.loads(read_text(settings))
    found = found.get("chat_template") if isinstance(found, dict) else None
    if isinstance(found, list):
        named = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}
        found = named.get("default", next(iter(named.values()), None))
    return found if isinstance(found, str) else ""


@dataclass(frozen=True)
class Written:
    """A conversation as text, and where the chosen answers are in it."""

    text: str
    spans: tuple[Span, ...]
    by_blocks: bool = False  # whether the template marks them itself


class Template:
    """A tokenizer's chat template."""

    def __init__(self, tokenizer: Any, chosen: str | None) -> None:
        """Take a tokenizer that has a template, and what the study file chose, for messages."""
        self._tokenizer = tokenizer
        named = f" {chosen!r}" if chosen in CHAT_TEMPLATES else ""
        self.name = f"data.chat_template{named}" if chosen else "the base model's chat template"

    def write(
        self, turns: Sequence[Any], tools: Any, answers: Sequence[int], where: str
    ) -> Written:
        """Return the text of a conversation and the spans of its turns `answers`, in order.

        Raises:
            TemplateError: the template fails, writes a turn differently when others follow, or
                leaves out the tool calls of an answer that has nothing else.
        """
        try:
            with bounded(where, self.name):
                template = str(self._tokenizer.get_chat_template(tools=tools))
                for i in answers:
                    self._check_calls(template, turns[: i + 1], tools, where)
                if GENERATION.search(template):
                    return self._marked(template, turns, tools, answers, where)
                whole, _ = rendered(self._tokenizer, template, turns, tools)
                spans = [self._span(template, turns, tools, i, whole, where) for i in answers]
                return Written(whole, tuple(spans))
        except InputError:
            raise
        except Exception as error:  # a template may raise anything
            rule = f"{self.name} cannot write this conversation: {_reason(error)}"
            raise TemplateError(where, rule, "") from error

    def _check_calls(self, template: str, turns: Sequence[Any], tools: Any, where: str) -> None:
        """Refuse a template that leaves out the tool calls of a last turn that has nothing else.

        Nothing but the end of the turn would be trained: the model would learn to say nothing.
        """
        *before, calling = turns
        is_trained = calling.get("weight") != 0
        if not is_trained or calling["content"].strip() or not calling.get("tool_calls"):
            return
        silent = {key: value for key, value in calling.items() if key != "tool_calls"}
        whole, _ = rendered(self._tokenizer, template, turns, tools)
        try:
            without, _ = rendered(self._tokenizer, template, [*before, silent], tools)
        except TemplateError:  # it took too long
            raise
        except Exception:  # a template that refuses the turn without its calls reads them
            return
        if whole == without:
            raise TemplateError(
                f"{where}: turn {len(turns)}",
                f"{self.name} must write the tool calls of an answer without text",
                ", got a turn without them; allowed: another data.chat_template, which writes "
                "tool calls",
            )

    def _marked(
        self, template: str, turns: Sequence[Any], tools: Any, answers: Sequence[int], where: str
    ) -> Written:
        """Return a text whose template marks the answers itself."""
        whole, blocks = rendered(self._tokenizer, template, turns, tools, marks=True)
        merged: list[Span] = []
        for start, stop in blocks:
            if merged and merged[-1][1] == start:
                merged[-1] = (merged[-1][0], stop)
            elif stop > start:
                merged.append((start, stop))
        said = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
        if len(merged) != len(said):
            raise TemplateError(
                where,
                f"{self.name} must mark each answer by one generation block",
                f", got {len(merged)} blocks for {len(said)} answers",
            )
        spans = tuple(merged[said.index(i)] for i in answers)
        return Written(whole, spans, by_blocks=True)

    def _span(
        self, template: str, turns: Sequence[Any], tools: Any, turn: int, whole: str, where: str
    ) -> Span:
        """Return where a turn is: what it adds to the text that asks for it."""
        asked, _ = rendered(self._tokenizer, template, turns[:turn], tools, asks=True)
        answered = whole
        if turn + 1 < len(turns):
            answered, _ = rendered(self._tokenizer, template, turns[: turn + 1], tools)
        for text in (asked, answered):
            if not whole.startswith(text):
                pairs = enumerate(zip(text, whole, strict=False))
                at = next((i for i, (own, other) in pairs if own != other), len(whole))
                last = " or data.train_on = 'last'" if turn + 1 < len(turns) else ""
                raise TemplateError(
                    f"{where}: turn {turn + 1}",
                    f"{self.name} must write a turn the same way whatever follows",
                    f", got {text[at : at + 40]!r} and in the whole conversation "
                    f"{whole[at : at + 40]!r}; allowed: another data.chat_template{last}",
                )
        return len(asked), len(answered)


def _reason(error: Exception) -> str:
    """Return a template's error, with its line if the template has a mistake."""
    line = getattr(error, "lineno", None)
    return f"{reason_of(error)}{f' (line {line} of the template)' if line else ''}"
