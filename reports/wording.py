"""How numbers and names are written, on the page and in the terminal alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

BASELINE_WORDS = {"base": "the untrained base", "default": "the default configuration"}


def number(value: Any, digits: int = 3) -> str:
    """A number with few significant digits, thousands set apart; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(int(value))
    if not math.isfinite(value):
        return str(value)
    if 1 <= abs(value) < 10_000:
        return f"{value:.{max(digits - len(str(int(abs(value)))), 1)}f}"
    return f"{value:.{digits}g}"


def share(value: float) -> str:
    """A share of the variance, two decimals as the field writes it."""
    return f"{value:.2f}"


def signed(value: float) -> str:
    """A difference with its sign; a true minus."""
    return ("+" if value >= 0 else "−") + number(abs(float(value)), 3)


def interval(ci: tuple[float, float], write: Any = number) -> str:
    """An interval in words."""
    return f"{write(float(ci[0]))} to {write(float(ci[1]))}".replace("-", "−")


def configuration(params: Mapping[str, Any]) -> str:
    """A trial's parameters in one line."""
    return listing(f"{name} {number(value)}" for name, value in params.items())


def listing(items: Iterable[str]) -> str:
    """One, two and three things: "a", "a and b", "a, b and c"."""
    *most, last = list(items) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def baseline(name: str) -> str:
    """A baseline in words."""
    return BASELINE_WORDS.get(name, f"baseline {name}")


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{number(seconds, 2)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def moment(when: datetime | None) -> str:
    """A date and time to the minute."""
    return "" if when is None else when.strftime("%Y-%m-%d %H:%M")
