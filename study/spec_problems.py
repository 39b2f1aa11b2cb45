"""What pydantic found, in the words of somebody who edits a study file."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from study.errors import InputError

UNION_BRANCHES = frozenset({"int", "float", "str", "bool", "StrictInt", "StrictFloat"})


def problems_of(error: ValidationError, where: str, model: type[BaseModel]) -> InputError:
    """Return one line a problem: file, key, rule, what it got, what is allowed."""
    lines = [_line(problem, where, model) for problem in error.errors(include_url=False)]
    return InputError(list(dict.fromkeys(lines)))


def _line(problem: Any, where: str, model: type[BaseModel]) -> str:
    location = [part for part in problem["loc"] if not _is_union_branch(part)]
    key = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        return f"{where}: {key}: unknown key{_hint(str(location[-1]), location[:-1], model)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return (
            f"{where}: {key}.{message}"
            if key and _names_a_key(message)
            else _join(where, key, message)
        )
    return _join(where, key, f"{message[:1].lower()}{message[1:]}, got {_short(problem['input'])}")


def _join(where: str, key: str, message: str) -> str:
    return f"{where}: {key}: {message}" if key else f"{where}: {message}"


def _names_a_key(message: str) -> bool:
    """Cross-field rules begin with the key that they are about: `sampler: grid needs …`."""
    head, colon, _ = message.partition(": ")
    return bool(colon) and " " not in head


def _hint(key: str, parents: list[Any], model: type[BaseModel]) -> str:
    allowed = _fields_at(parents, model)
    if not allowed:
        return ""
    close = difflib.get_close_matches(key, allowed, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{meant}; allowed: {', '.join(allowed)}"


def _fields_at(parents: list[Any], model: type[BaseModel]) -> list[str]:
    """Return the keys that a section knows, found by walking down from the root."""
    for parent in parents:
        field = model.model_fields.get(str(parent))
        nested = next(_models_in(field.annotation), None) if field is not None else None
        if nested is not None:
            model = nested
    return sorted(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    if get_origin(annotation) is not None:
        for argument in get_args(annotation):
            yield from _models_in(argument)


def _is_union_branch(part: Any) -> bool:
    return isinstance(part, str) and part in UNION_BRANCHES


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
