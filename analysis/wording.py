"""How numbers and names are written, on the page and in the terminal alike."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import datetime
from typing import Any

from study.kinds.methods import METHODS
from study.metrics import METRICS, is_own_file, metric_label

BASELINE_WORDS = {
    "base": "the untrained base",
    "default": "default LoRA",
    "plain": "the default without its teacher",
    "teacher": "the teacher",
}
STATES = {"fail": "failed", "stopped": "stopped with their run"}
SPLITS = ("dev", "general", "test")
NO_NAMES = frozenset({"", "None", "True", "False", "NA", "N/A", "null"})
"""Texts that a reader takes for something else than a name."""
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # these turn what follows around
)
LONGEST_NAME = 48
NOT_FINITE = "no finite value, or one beyond 1e150"  # LARGEST in store/from_other_programs.py


def number(value: Any, digits: int = 3) -> str:
    """A number with few significant digits and separated thousands; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if isinstance(value, int) or (value.is_integer() and size < 1e15):
        return f"{int(value):,}" if size >= 10_000 else str(int(value))
    if 1e-3 <= size < 10_000:
        return f"{value:.{decimals(value, digits)}f}"
    mantissa, exponent = _power(value, digits - 1).split("e")
    return f"{float(mantissa):g}e{exponent}"


def _power(value: float, places: int) -> str:
    mantissa, exponent = f"{value:.{places}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def decimals(largest: float, digits: int = 3) -> int:
    """How many decimals show the largest of some numbers with `digits` significant digits."""
    if largest == 0 or not math.isfinite(largest):
        return 0
    return min(max(digits - 1 - math.floor(math.log10(abs(largest))), 0 if digits < 3 else 1), 6)


def alike(values: Iterable[Any]) -> Callable[[Any], str]:
    """A writer that gives a column's numbers the same decimals and keeps integers and text.

    Numbers that differ in their first three digits stay different.
    """
    numbers = [v for v in values if isinstance(v, float) and math.isfinite(v)]
    largest = max(map(abs, numbers), default=0.0)
    if largest >= 10_000 or all(v.is_integer() for v in numbers):
        return number
    if largest < 1e-2:
        return lambda v: _power(v, 2) if isinstance(v, float) and 0 < abs(v) < 1e-2 else number(v)
    finest = min((abs(v) for v in numbers if v), default=0.0)
    different = len({f"{v:.3g}" for v in numbers})
    every = range(decimals(largest), decimals(finest) + 1)
    fitting = (n for n in every if len({f"{v:.{n}f}" for v in numbers}) >= different)
    places = next(fitting, decimals(finest))
    if largest < 1 and any(
        0 < abs(v) < 1e-3 for v in numbers
    ):  # such as learning rates over several decades
        return number
    return lambda v: f"{v:.{places}f}" if isinstance(v, float) and math.isfinite(v) else number(v)


def share(value: float) -> str:
    """A share of the variance with two decimals, as is usual."""
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def percent(value: float) -> str:
    """A share of cases in per cent."""
    return f"{100 * value:.0f} %"


def signed(value: float) -> str:
    """A difference with its sign, a true minus."""
    return ("+" if value >= 0 else "−") + number(abs(float(value)), 3)


def alike_signed(values: Iterable[float]) -> Callable[[float], str]:
    """A writer that gives differences of one kind the same decimals, with their signs."""
    largest = max(map(abs, values), default=0.0)
    places = min(max(decimals(largest), 1), 3)
    if largest >= 10_000:  # a score that overflowed has no decimals to show
        return lambda v: ("+" if v >= 0 else "−") + number(abs(float(v)), 3)

    def write(v: float) -> str:
        text = f"{abs(v):.{places}f}"
        is_lost = v != 0 and float(text) == 0  # a difference that is none would be written
        return ("+" if v >= 0 else "−") + (number(abs(float(v)), 2) if is_lost else text)

    return write


def in_region(region: str) -> str:
    """The region of a search space that an answer is about, to end a title with; "" for all."""
    return f", where {region}" if region else ""


def interval(ci: tuple[float, float], write: Callable[[float], str] | None = None) -> str:
    """An interval in words; without `write`, both ends get their signs and the same decimals."""
    if write is None:
        same = alike([float(ci[0]), float(ci[1])])
        return " to ".join(("+" if end >= 0 else "−") + same(abs(float(end))) for end in ci)
    return " to ".join(write(float(end)) for end in ci)


def probability(p: float) -> str:
    """A p-value, no smaller than the resamples can resolve."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def count_of_examples(n: int, effective: int = 0) -> str:
    """Return "400", or where examples belong together "400 (effectively 100)"."""
    return f"{n} (effectively {effective})" if 0 < effective < n else str(n)


def counted(counts: Mapping[str, int]) -> str:
    """Trials by state in words."""
    return ", ".join(f"{number(n)} {STATES.get(state, state)}" for state, n in counts.items())


def configuration(params: Mapping[str, Any]) -> str:
    """A trial's parameters in one line."""
    return listing(f"{name} {setting(value)}" for name, value in params.items())


def choice(value: Any) -> Any:
    """A parameter's value for a cell or a label: a number, or a text that no other value has.

    A text that reads as something else, such as `None`, `nan`, `8` or a blank, is quoted.  An empty
    cell is left for a parameter that was not active.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        return value
    return repr(value) if isinstance(value, str) and _reads_as_another(value) else str(value)


def _reads_as_another(text: str) -> bool:
    if text in NO_NAMES or text != text.strip() or text[0] in "'\"":
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def columns_of(names: Iterable[str], prefix: str, taken: Container[str]) -> dict[str, str]:
    """The column of each name: the name itself, or with a prefix where the table has that one."""
    return {name: prefix + name if name in taken else name for name in names}


def setting(value: Any) -> str:
    """A parameter's value as a person writes it: 0.3 where a score would be 0.300."""
    text = number(choice(value))
    is_exact = isinstance(value, float) and "." in text and "e" not in text and float(text) == value
    return text.rstrip("0").rstrip(".") if is_exact else text


def listing(items: Iterable[str]) -> str:
    """One, two and three things: "a", "a and b", "a, b and c"."""
    *most, last = list(items) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def baseline(name: str, method: str = "lora") -> str:
    """A baseline in words; the default is LoRA, or a method that trains no adapter."""
    if name == "default" and not (method in METHODS and METHODS[method].is_adapter):
        return f"the default {method} training"
    return BASELINE_WORDS.get(name, f"baseline {name}")


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{number(seconds, 2)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def moment(when: datetime | None) -> str:
    """A date and time to the minute."""
    return "" if when is None else when.strftime("%Y-%m-%d %H:%M")


def label_of(objective: str) -> str:
    """An objective by the label of its metric: `general_bleu` is "BLEU (general)".

    Only for metrics that mean the same in every database; a `loss` stays a `loss`.
    """
    split, _, name = objective.partition("_")
    if split not in SPLITS:
        split, name = "", objective
    is_metric = not METRICS[name].is_loss if name in METRICS else is_own_file(name)
    if not is_metric:
        return objective.replace("_", " ") if split else objective
    return metric_label(name) + (f" ({split})" if split else "")


def shortened(text: Any, width: int = 24) -> str:
    """A label cut to a width, with an ellipsis."""
    line = " ".join(printable(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def named(parameter: str) -> str:
    """A parameter's name for a table: a blank one in quotes, a long one cut in the middle."""
    if not parameter.strip():
        return repr(parameter)
    half = LONGEST_NAME // 2
    is_long = len(parameter) > LONGEST_NAME
    return f"{parameter[:half]}…{parameter[-half:]}" if is_long else parameter


def printable(text: Any) -> str:
    """The text without control characters and lone surrogates, which no output can show."""
    return UNPRINTABLE.sub("\ufffd", str(text))
