"""Part of a study: the trials in a region of its search space, which an expression names.

An expression joins conditions on single parameters by `and`, such as `learning_rate < 1e-3 and
method in ['lora', 'rslora']`, so the region is a smaller search space of the same kind and a share
of the variance means the same there.  It is parsed and compared here, never evaluated as code.

A name that is no Python name, such as `lora-alpha` or `learning rate`, stands in quotes, or in
backticks as in the queries of pandas.
"""

from __future__ import annotations

import ast
import copy
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from study.errors import InputError, did_you_mean
from study.store.from_other_programs import silent_about_choices

LONGEST = 1000  # characters of an expression
ALLOWED = (
    "conditions on one parameter each, joined by `and`: learning_rate < 1e-3 and method == 'lora' "
    "and rank in [8, 16]; a name such as lora-alpha in quotes: 'lora-alpha' < 64"
)
COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda value, values: value in values,
    ast.NotIn: lambda value, values: value not in values,
}
ORDERED = {ast.Lt, ast.LtE, ast.Gt, ast.GtE}
MIRRORED = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`([^`]*)`""")  # a text, or a name in backticks
SLACK = 1e-9  # of a step, that a decimal number may miss a level by


@dataclass(frozen=True)
class Condition:
    """What one parameter must satisfy; `text` is how it was written."""

    name: str
    way: type[ast.cmpop]
    value: Any
    text: str

    def holds(self, value: Any) -> bool:
        """Whether a value satisfies it; texts and numbers have no common order."""
        try:
            return bool(COMPARED[self.way](value, self.value))
        except TypeError:
            return False


def parsed(expression: str) -> tuple[Condition, ...]:
    """Return the conditions of an expression; raises InputError that says what is allowed."""
    if len(expression) > LONGEST:
        raise _refused(f"must have at most {LONGEST} characters, got {len(expression)}")
    texts = QUOTED.sub(lambda m: m[0] if m[1] is None else repr(m[1]), expression.strip())
    try:
        tree = ast.parse(texts, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise _refused(f"cannot be read, got {expression!r}") from None
    parts = [tree]
    if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And):
        parts = tree.values
    return tuple(condition for part in parts for condition in _conditions(part))


def _conditions(node: ast.expr) -> Iterable[Condition]:
    """Yield the conditions of one comparison, two for `1e-4 < learning_rate < 1e-3`."""
    text = ast.unparse(node)
    if not isinstance(node, ast.Compare):
        raise _refused(f"{text!r} is no condition on one parameter")
    terms = [node.left, *node.comparators]
    for left, way, right in zip(terms, node.ops, terms[1:], strict=False):
        kind = type(way)
        if _name_in(left) is None or (_is_constant(left) and not _is_constant(right)):
            if kind not in {*ORDERED, ast.Eq, ast.NotEq}:
                raise _refused(f"{text!r} is no condition on one parameter")
            left, right, kind = right, left, MIRRORED.get(kind, kind)
        name = _name_in(left)
        if name is None or kind not in COMPARED:
            raise _refused(f"{text!r} is no condition on one parameter")
        if isinstance(right, ast.Name):
            raise _refused(f"{text!r}: write a text in quotes, as in {right.id!r}")
        if not _is_constant(right):
            raise _refused(f"{text!r}: compare with a number, a text or a list of these")
        value = ast.literal_eval(right)
        if isinstance(value, (list, tuple)) != (kind in (ast.In, ast.NotIn)):
            raise _refused(f"{text!r}: use `in` with a list, and other comparisons with one value")
        yield Condition(name, kind, value, text)


def _name_in(node: ast.expr) -> str | None:
    """Return the parameter that a node can name: a name, a dotted one, or a text in quotes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return ast.unparse(node) if isinstance(node, (ast.Name, ast.Attribute)) else None


def _is_constant(node: ast.expr) -> bool:
    """Whether a node is a number, a text, or a list of these."""
    if isinstance(node, (ast.List, ast.Tuple)):
        return all(not isinstance(e, (ast.List, ast.Tuple)) and _is_constant(e) for e in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        node = node.operand
        return isinstance(node, ast.Constant) and isinstance(node.value, (int, float))
    return isinstance(node, ast.Constant) and not isinstance(node.value, (bytes, complex))


def _refused(problem: str) -> InputError:
    return InputError(f"where: {problem}; allowed: {ALLOWED}")


def within(
    trials: Sequence[FrozenTrial],
    conditions: Sequence[Condition],
    space: Mapping[str, BaseDistribution],
) -> tuple[FrozenTrial, ...]:
    """Return the trials that satisfy all conditions, each as drawn from the narrowed space.

    A trial in which a named parameter was not active does not.  Raises InputError for a name that
    `space` lacks, and for conditions that leave nothing of a parameter or more than a range.
    """
    named = dict.fromkeys(c.name for c in conditions)
    if unknown := [name for name in named if name not in space]:
        raise InputError(
            f"where: no parameter {unknown[0]!r}{did_you_mean(unknown[0], space)}; "
            f"allowed: {', '.join(space)}"
        )
    of = {name: [c for c in conditions if c.name == name] for name in named}
    for name, own in of.items():
        _check_choices(space[name], own)
        narrowed(space[name], own)
    return tuple(
        _placed(trial, of)
        for trial in trials
        if all(c.name in trial.params and c.holds(trial.params[c.name]) for c in conditions)
    )


def _check_choices(distribution: BaseDistribution, conditions: Sequence[Condition]) -> None:
    """Raise InputError for a condition that names a choice which the parameter does not have."""
    if not isinstance(distribution, CategoricalDistribution):
        return
    for c in conditions:
        named = c.value if c.way in (ast.In, ast.NotIn) else [c.value]
        lacking = [value for value in named if value not in distribution.choices]
        if lacking and c.way not in ORDERED:
            choices = ", ".join(map(repr, distribution.choices))
            raise InputError(
                f"where: {c.text}: {c.name} has no choice {', '.join(map(repr, lacking))}; "
                f"allowed: {choices}"
            )


def _placed(trial: FrozenTrial, of: Mapping[str, Sequence[Condition]]) -> FrozenTrial:
    placed = copy.copy(trial)
    own = trial.distributions
    placed.distributions = own | {name: narrowed(own[name], found) for name, found in of.items()}
    return placed


def narrowed(distribution: BaseDistribution, conditions: Sequence[Condition]) -> BaseDistribution:
    """Return the part of a distribution that satisfies conditions on its parameter."""
    if isinstance(distribution, CategoricalDistribution):
        kept = tuple(v for v in distribution.choices if all(c.holds(v) for c in conditions))
        if not kept:
            raise _nothing_left(conditions)
        with silent_about_choices():
            return CategoricalDistribution(kept)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high = distribution.low, distribution.high
    for c in conditions:
        if c.way not in {*ORDERED, ast.Eq} or not isinstance(c.value, (int, float)):
            raise _refused(
                f"{c.text!r}: {c.name} is a range, which takes <, <=, >, >= and a number"
            )
        if c.way in (ast.Gt, ast.GtE, ast.Eq):
            low = max(low, _end(distribution, c.value, math.ceil, c.way is ast.Gt))
        if c.way in (ast.Lt, ast.LtE, ast.Eq):
            high = min(high, _end(distribution, c.value, math.floor, c.way is ast.Lt))
    if low > high:
        raise _nothing_left(conditions)
    if isinstance(distribution, IntDistribution):
        return IntDistribution(int(low), int(high), log=distribution.log, step=distribution.step)
    return FloatDistribution(low, high, log=distribution.log, step=distribution.step)


def _end(
    distribution: FloatDistribution | IntDistribution,
    value: float,
    inwards: Callable[[float], int],
    is_strict: bool,
) -> float:
    """Return a bound as an end of the range: on one of its levels, where it has steps."""
    if not distribution.step or not math.isfinite(value):
        return value
    place = (value - distribution.low) / distribution.step
    level = round(place) if abs(place - round(place)) <= SLACK else inwards(place)
    if is_strict and abs(place - level) <= SLACK:
        level += 1 if inwards is math.ceil else -1
    exact = Decimal(str(distribution.low)) + Decimal(str(distribution.step)) * level
    return float(exact)  # as Optuna computes levels, which refuses 0.1 * 3


def _nothing_left(conditions: Sequence[Condition]) -> InputError:
    said = " and ".join(dict.fromkeys(c.text for c in conditions))
    return InputError(f"where: no value of {conditions[0].name} in the search space has {said}")
