"""Pydantic's errors, reworded for people who edit a study file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from study.errors import InputError, did_you_mean

UNION_BRANCHES = {"bool": "boolean", "int": "integer", "float": "number", "str": "string"}
"""Names that pydantic appends to the location of a value with several allowed types."""

WORDS = {
    r"^\w+ should ": "must ",
    "dictionary": "table",
    "tuple": "list",
    " after validation": "",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
    "a valid integer": "an integer",
    "a valid ": "a ",
    r", unable to parse string as .*": "",
}
"""Patterns in pydantic's messages -> the words that this program uses."""


OTHER_NAMES = {
    "per_device_train_batch_size": "training.batch_size",
    "per_device_eval_batch_size": "evaluation.batch_size",
    "num_train_epochs": "training.epochs",
    "max_steps": "training.steps",
    "lr": "training.learning_rate",
    "lr_scheduler_type": "training.schedule",
    "warmup_ratio": "training.warmup_fraction",
    "optim": "training.optimizer",
    "eval_steps": "training.report_every",
    "logging_steps": "training.report_every",
    "max_length": "data.max_tokens",
    "max_seq_length": "data.max_tokens",
    "max_prompt_length": "data.max_tokens",
    "assistant_only_loss": "data.train_on = 'assistant'",
    "completion_only_loss": "data.train_on = 'last'",
    "chat_template_path": "data.chat_template",
    "r": "method.rank",
    "lora_alpha": "method.alpha",
    "lora_dropout": "method.dropout",
}
"""Names of TRL, transformers and PEFT -> the key that means the same here."""


def meant_by(name: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean …?` for a name that other programs use, or that resembles one."""
    if name in OTHER_NAMES:
        return f"; did you mean {OTHER_NAMES[name]}?"
    return did_you_mean(name, allowed)


def problems_of(error: ValidationError, where: str, model: type[BaseModel]) -> InputError:
    """Return one line per problem: file, key, rule, what it got, what is allowed."""
    places = groupby(error.errors(include_url=False), key=_location)
    found = [part for _, problems in places for part in _parts(_one_of(list(problems)))]
    return InputError(list(dict.fromkeys(_line(part, where, model) for part in found)))


WHOLE_OR_NOT = ("training", "evaluation")
"""Sections whose values need each other: with a faulty one, all are the defaults."""
NEEDED = ("name", "sampler")
"""Keys of the method and the search that others need."""


def without_faulty(document: Mapping[str, Any], problems: Iterable[Any]) -> dict[str, Any]:
    """Return a document without the values that problems name, where the others do not need them.

    What is left may be judged: it is not the study that was meant, but its other faults are.
    """
    rest = copied(document, depth=3)
    for problem in problems:
        section, *keys = problem["loc"] or ("",)
        if section == "search" and keys[:1] == ["parameters"]:
            continue
        if problem["type"] == "extra_forbidden":
            _drop(rest, problem["loc"])
        elif section in WHOLE_OR_NOT or (section in ("name", "seed") and not keys):
            rest.pop(section, None)
        elif section in ("method", "search") and keys and keys[0] not in NEEDED:
            _drop(rest, (section, keys[0]))
    return rest


def copied(document: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return a document whose tables, down to a depth, are its own."""
    return {
        key: copied(part, depth - 1) if depth > 1 and isinstance(part, Mapping) else part
        for key, part in document.items()
    }


def _drop(document: dict[str, Any], location: Sequence[Any]) -> None:
    *above, last = location
    table: Any = document
    for key in above:
        table = table.get(key) if isinstance(table, dict) else None
    if isinstance(table, dict):
        table.pop(last, None)


def _parts(problem: Any) -> list[Any]:
    """Return one problem per line of a check that found several."""
    if problem["type"] != "value_error":
        return [problem]
    return [{**problem, "msg": line} for line in str(problem["msg"]).split("\n")]


def _location(problem: Any) -> tuple[Any, ...]:
    """Return the problem's location in the document, without the branch of a union."""
    *above, last = problem["loc"] or ("",)
    branched = last in UNION_BRANCHES and problem["type"].startswith((last, "finite"))
    return tuple(above) if branched else tuple(problem["loc"])


def _one_of(problems: list[Any]) -> Any:
    """Return one problem for all the branches of a union that a value failed."""
    kinds = [UNION_BRANCHES.get(str(p["loc"][-1]), "") for p in problems if p["loc"]]
    infinite = next((p for p in problems if p["type"] == "finite_number"), None)
    if len(problems) == 1 or not all(kinds):
        return problems[0]
    allowed = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
    return infinite or {**problems[0], "msg": f"must be a {allowed}"}


def _line(problem: Any, where: str, model: type[BaseModel]) -> str:
    location = _location(problem)
    key = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        return f"{where}: {key}: unknown key{_hint(str(location[-1]), location[:-1], model)}"
    message = rule_of(problem)
    if problem["type"] == "value_error":
        return (
            f"{where}: {key}.{message}"
            if key and _names_a_key(message)
            else _join(where, key, message)
        )
    got = _short(problem["input"])
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        got += did_you_mean(problem["input"], re.findall(r"'([^']*)'", problem["ctx"]["expected"]))
    return _join(where, key, f"{message}, got {got}")


def rule_of(problem: Any) -> str:
    """Return the rule that a value broke, in this program's words."""
    if problem["type"] == "value_error":
        return str(problem["msg"]).removeprefix("Value error, ")
    message = str(problem["msg"]).split(" or instance of ")[0]
    for pattern, words in WORDS.items():
        message = re.sub(pattern, words, message)
    return message[:1].lower() + message[1:]


def _join(where: str, key: str, message: str) -> str:
    return f"{where}: {key}: {message}" if key else f"{where}: {message}"


def _names_a_key(message: str) -> bool:
    """Say whether a message starts with a key, as cross-field rules do: `sampler: grid needs …`."""
    head, colon, _ = message.partition(": ")
    return bool(colon) and " " not in head


def _hint(key: str, parents: tuple[Any, ...], model: type[BaseModel]) -> str:
    allowed = _fields_at(parents, model)
    if not allowed:
        return ""
    return f"{meant_by(key, allowed)}; allowed: {', '.join(allowed)}"


def _fields_at(parents: tuple[Any, ...], model: type[BaseModel]) -> list[str]:
    """Return the keys allowed in a section, by walking down from the root."""
    for parent in parents:
        field = model.model_fields.get(str(parent))
        nested = next(_models_in(field.annotation), None) if field is not None else None
        if nested is not None:
            model = nested
    return sorted(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if get_origin(annotation) is not None:
        for argument in get_args(annotation):
            yield from _models_in(argument)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation


def _short(value: Any) -> str:
    try:
        shown = repr(value)
    except RecursionError:
        return "a table nested too deeply"
    return shown if len(shown) <= 60 else shown[:57] + "..."


def fields_in(model: type[BaseModel], *above: str) -> Iterator[str]:
    """Yield the dotted name of every key that a document of this model may contain."""
    for name, field in model.model_fields.items():
        nested = next(_models_in(field.annotation), None)
        if nested is None or get_origin(field.annotation) is dict:
            yield ".".join((*above, name))
        else:
            yield from fields_in(nested, *above, name)
