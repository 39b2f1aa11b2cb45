"""Metrics of answers that are right or wrong, or right in part.

All but `token_f1` compare texts after the normalisation that `[evaluation.text]` asks for, which
their signatures state.
"""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

from study.errors import InputError, MetricError
from study.kinds.metrics import Array, TextOptions
from study.metrics.means import of_examples

ARTICLES = re.compile(r"\b(a|an|the)\b")
FENCED = re.compile(r"```(?:json)?(.*?)```", re.DOTALL | re.IGNORECASE)
NOT_JSON = object()


def normalized(text: str, options: TextOptions) -> str:
    """Return a text as it is compared."""
    if options.ignore_case:
        text = text.lower()
    if options.ignore_punctuation:
        text = "".join(c for c in text if not _is_punctuation(c))
    return " ".join(text.split()) if options.collapse_whitespace else text


@cache
def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


def _signed(options: TextOptions) -> str:
    return "|".join(
        (
            f"case:{'ignored' if options.ignore_case else 'exact'}",
            f"punctuation:{'ignored' if options.ignore_punctuation else 'exact'}",
            f"space:{'collapsed' if options.collapse_whitespace else 'exact'}",
        )
    )


def exact_match(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): whether output and reference are equal once normalised, and 1."""
    values = _compared(outputs, references, options, lambda output, target: output == target)
    return values, f"exact-match|{_signed(options)}"


def contains(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): whether the output contains the reference, both normalised, and 1.

    An empty reference is contained only in an empty output.
    """
    values = _compared(
        outputs,
        references,
        options,
        lambda output, target: target in output if target else not output,
    )
    return values, f"contains|{_signed(options)}"


def _compared(
    outputs: Sequence[str],
    references: Sequence[str],
    options: TextOptions,
    is_right: Callable[[str, str], bool],
) -> Array:
    """(N, 2): whether each pair of normalised texts is right, and 1."""
    pairs = zip(outputs, references, strict=True)
    return of_examples([is_right(normalized(o, options), normalized(r, options)) for o, r in pairs])


# ---------------------------------------------------------------- by a pattern


def regex(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): whether the pattern finds equal answers, once normalised, and 1.

    The answer is the pattern's first group, or without groups the whole match.  An output without
    an answer is wrong.

    Raises:
        InputError: there is no pattern, or it finds nothing in a reference.
        MetricError: it takes too long on a text.
    """
    if options.pattern is None:
        raise InputError("evaluation.regex.pattern: 'regex' needs a pattern, got none")
    right = []
    for number, (output, reference) in enumerate(zip(outputs, references, strict=True), 1):
        target = _answer(reference, number, options)
        if target is None:
            raise InputError(
                f"evaluation.regex.pattern: must find an answer in every reference, "
                f"got {reference!r:.60} in example {number}"
            )
        answer = _answer(output, number, options)
        right.append(
            answer is not None and normalized(answer, options) == normalized(target, options)
        )
    settings = f"which:{options.which}|{_signed(options)}"
    return of_examples(right), f"regex|pattern:{json.dumps(options.pattern)}|{settings}"


def _answer(text: str, number: int, options: TextOptions) -> str | None:
    """Return what the pattern takes out of a text; None if it does not match."""
    import regex as timed  # like `re`, but stops when the time is over

    pattern = timed.compile(options.pattern)
    try:
        matches = pattern.finditer(text, timeout=options.pattern_seconds)
        found = list(matches if options.which == "last" else islice(matches, 1))
    except TimeoutError:
        raise MetricError(
            f"regex: example {number}: the pattern took more than {options.pattern_seconds:g} s on "
            f"{text!r:.60}; see evaluation.regex"
        ) from None
    if not found:
        return None
    answer = found[-1][1] if pattern.groups else found[-1][0]
    return None if answer is None else str(answer)


# ---------------------------------------------------------------- by words


def token_f1(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): F1 of the words that output and reference share, and 1.

    As in SQuAD's official script (Rajpurkar et al. 2016, version 2.0): lower case, without ASCII
    punctuation and the words a, an, the.  If either has no words, F1 is 1 where both have none.
    """
    pairs = zip(outputs, references, strict=True)
    scores = [_f1(_squad_words(output), _squad_words(target)) for output, target in pairs]
    return of_examples(scores), "token-f1|mean:example|norm:squad|lang:en"


def _squad_words(text: str) -> list[str]:
    plain = "".join(c for c in text.lower() if c not in string.punctuation)
    return ARTICLES.sub(" ", plain).split()


def _f1(output: list[str], target: list[str]) -> float:
    if not output or not target:
        return float(output == target)
    shared = sum((Counter(output) & Counter(target)).values())
    return 2 * shared / (len(output) + len(target))


# ---------------------------------------------------------------- of JSON


def json_match(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): the share of the reference's fields that are equal in the output, and 1.

    A field is a value that is no object itself, by the keys that lead to it; a list is one value.
    Texts are normalised, numbers are equal by value, and true is not 1.  The output is read as a
    whole, or where that is no object, its only fenced block.

    Raises:
        InputError: a reference is not a JSON object.
    """
    scores = []
    for number, (output, reference) in enumerate(zip(outputs, references, strict=True), 1):
        wanted = _read(reference)
        if not isinstance(wanted, dict):
            raise InputError(
                "evaluation.metrics: json_match: every reference must be a JSON object, "
                f"got {reference!r:.60} in example {number}"
            )
        scores.append(_share(_read_output(output), wanted, options))
    return of_examples(scores), f"json-match|mean:example|fields:leaves|{_signed(options)}"


def _share(found: Any, wanted: Mapping[str, Any], options: TextOptions) -> float:
    if not isinstance(found, dict):
        return 0.0
    fields = dict(_fields(wanted, ()))
    given = dict(_fields(found, ()))
    equal = sum(
        _comparable(given.get(path, NOT_JSON), options) == _comparable(value, options)
        for path, value in fields.items()
    )
    return equal / len(fields) if fields else 1.0


def _fields(value: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    """Yield every field with the keys that lead to it; an empty object is one."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _fields(inner, (*above, key))
        else:
            yield (*above, key), inner


def _comparable(value: Any, options: TextOptions) -> Any:
    """Return a value that equals another where JSON's do; Python takes True for 1."""
    if isinstance(value, str):
        return normalized(value, options)
    if isinstance(value, list):
        return [_comparable(inner, options) for inner in value]
    if isinstance(value, dict):
        return {key: _comparable(inner, options) for key, inner in value.items()}
    return (bool, value) if isinstance(value, bool) else value


def _read_output(text: str) -> Any:
    found = _read(text)
    if isinstance(found, dict) or len(blocks := FENCED.findall(text)) != 1:
        return found
    return _read(blocks[0])


def _read(text: str) -> Any:
    """Return a JSON value; NOT_JSON for other texts, and for NaN and infinity."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOT_JSON


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
