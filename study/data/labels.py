"""The classes that the labels of a corpus name, or the numbers that they are, and their faults.

Labels are texts until all splits are read, since one row does not tell whether 1 is a class, an
index or a number.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from study.data.origins import ClassName
from study.errors import InputError, did_you_mean
from study.metrics.numbers import last_number

HIDDEN = "-1"
"""GLUE writes it where it keeps the labels secret, and some corpora where annotators disagreed."""
WHOLE = re.compile(r"[-+]?\d+")
WRITTEN_AS_FLOAT = re.compile(r"([-+]?\d+)\.0*")
FEW = 10  # dev examples of a class
FEWEST_TO_REPEAT = 20  # labels among which some must be equal
ALL_DIFFERENT = 0.9  # of the labels: identifiers or dates, not classes
SHOWN = 12  # classes in a line
LARGE = 10.0  # root mean square of numbers that a new head, which starts near 0, reaches slowly
Labels = Mapping[str, Sequence[str]]
"""The labels of each split, in the order of its rows."""


def label_text(value: Any) -> str | None:
    """Return a label as text, empty if it is missing; None if it can be no label."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    return repr(value) if isinstance(value, (int, float)) else None


def normal_label(label: str) -> str:
    """Return a label as it is compared with a model's: without case, with underscores."""
    return label.strip().lower().replace("-", "_").replace(" ", "_")


# ---------------------------------------------------------------- classes


def classes_of(
    read: Labels, stated: Sequence[str], known: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, list[str]], list[str]]:
    """Return the classes in order, each split's labels without white space, and remarks.

    The order is the study file's; else that of a known layout, if these are its labels; else that
    of a hub dataset; else sorted, numbers as numbers.

    Args:
        read: The labels as they were read, without missing ones.
        stated: The classes that the study file names, or none.
        known: The classes that the layout of the columns is known to have, or none.

    Raises:
        InputError: with one line per fault of the labels.
    """
    used = {label.strip() for labels in read.values() for label in labels}
    whole, remarks = ({}, []) if used <= {*stated} else _whole_numbers(used)
    texts = {
        split: [whole.get(label.strip(), label.strip()) for label in labels]
        for split, labels in read.items()
    }
    used = {label for labels in texts.values() for label in labels}
    if stated:
        check_distinct(stated)
        return tuple(stated), texts, remarks
    if known and used <= {*known, *map(str, range(len(known)))}:
        return tuple(known), texts, remarks
    check_distinct(Counter(label for labels in read.values() for label in labels))
    _check_classes(texts, used)
    named = {
        label.names for labels in read.values() for label in labels if isinstance(label, ClassName)
    }
    if len(named) == 1 and used <= {*(order := named.pop())}:
        return tuple(order), texts, remarks
    is_whole = all(map(WHOLE.fullmatch, used))
    return tuple(sorted(used, key=int if is_whole else str)), texts, remarks


def _whole_numbers(used: set[str]) -> tuple[dict[str, str], list[str]]:
    """Return whole numbers that are written as 1.0, each with its usual form, and a remark."""
    found = {label: m[1] for label in used if (m := WRITTEN_AS_FLOAT.fullmatch(label))}
    if not found or not all(label in found or WHOLE.fullmatch(label) for label in used):
        return {}, []
    written = sorted(found, key=lambda label: int(found[label]))
    names = [found[label] for label in written]
    return found, [f"labels {_some(written)} are whole numbers, read as {_some(names)}"]


def check_repeated(labels: Sequence[str], column: str) -> None:
    """Refuse a column of which nearly all values differ, as identifiers and dates do."""
    different = len({label.strip() for label in labels})
    if len(labels) >= FEWEST_TO_REPEAT and different > ALL_DIFFERENT * len(labels):
        raise InputError(
            f"data.train: {column}: {different:,} of {len(labels):,} labels are different, so they "
            "are no classes; name the column of the classes in data.label_column, or list all "
            'labels in data.labels; for numbers, task = "regression"'
        )


def check_distinct(labels: Sequence[str] | Counter[str]) -> None:
    """Refuse labels that are probably one: a model's outputs could not tell them apart."""
    rows = labels if isinstance(labels, Counter) else {}
    spelled: dict[str, list[str]] = {}
    for label in labels:
        count = f" ({rows[label]:,})" if label in rows else ""
        spelled.setdefault(normal_label(label), []).append(f"{str(label)!r}{count}")
    problems = [
        f"data: labels {' and '.join(same)} differ only in case or in spaces, hyphens "
        "and underscores; write each label in one way"
        for same in spelled.values()
        if len(same) > 1
    ]
    if problems:
        raise InputError(problems)


def _check_classes(texts: Labels, used: set[str]) -> None:
    """Refuse labels that are no names, and splits with other labels than train."""
    problems = []
    for split, labels in texts.items():
        if hidden := labels.count(HIDDEN):
            all_or_some = "every label is" if hidden == len(labels) else _are(hidden)
            problems.append(
                f"data.{split}: {all_or_some} {HIDDEN}, which stands for a hidden label in GLUE; "
                f"remove these rows, or list '{HIDDEN}' in data.labels if it is a class"
            )
        if missing := sum(label.lower() == "nan" for label in labels):
            problems.append(
                f"data.{split}: {_are(missing)} 'nan', a missing value; remove these rows, "
                "or list the label in data.labels if it is a class"
            )
    if fractions := sorted(used)[:3] if _are_fractions(used) else []:
        problems.append(
            f"data: labels must be names or whole numbers, got {_some(fractions)}; "
            'allowed: task = "regression" for numbers, or the names in data.labels'
        )
    trained = dict.fromkeys(texts["train"])
    for split, labels in texts.items():
        if others := [label for label in dict.fromkeys(labels) if label not in trained]:
            problems.append(
                f"data.{split}: labels that train lacks: {_some(sorted(others))}"
                f"{did_you_mean(min(others), trained)}; add examples to train, remove these rows, "
                "or list all labels in data.labels"
            )
    if len(used) == 1:
        problems.append(
            f"data: all labels are {min(used)!r}; needed: at least two classes, or all of them in "
            "data.labels"
        )
    if problems:
        raise InputError(problems)


def _are(count: int) -> str:
    return "1 label is" if count == 1 else f"{count:,} labels are"


def _are_fractions(used: set[str]) -> bool:
    """Return whether all labels are numbers, and not all of them whole."""
    numbers = [_number(label) for label in used]
    return all(n is not None for n in numbers) and not all(map(WHOLE.fullmatch, used))


def class_remarks(labels: Sequence[str], train: Sequence[str], dev: Sequence[str]) -> list[str]:
    """Return a line with each class's share of train, and one per split with few of a class."""
    counts, in_dev = Counter(train), Counter(dev)
    percent = whole_percent([counts[label] for label in labels])
    shares = [f"{_named(label)} {share}" for label, share in zip(labels, percent, strict=True)]
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    remarks = [f"train: {len(labels)} classes: {', '.join(shares[:SHOWN])}{more}"]
    if unseen := [label for label in labels if not counts[label]]:
        remarks.append(f"train has no example of {_some(unseen)}")
    single = sum(counts[label] == 1 for label in labels)
    if len(labels) > SHOWN and single > len(labels) / 2:
        remarks.append(f"{single:,} classes have one example in train: are these labels?")
    if missing := [label for label in labels if not in_dev[label]]:
        remarks.append(f"dev has no example of {_some(missing)}")
    if few := [f"{_named(n)} {in_dev[n]}" for n in labels if 0 < in_dev[n] < FEW]:
        remarks.append(f"dev has fewer than {FEW} examples of a class: {_some(few)}")
    return remarks


def _named(label: str) -> str:
    """Return a class as it stands before a number: in quotes where it could be read as one."""
    return repr(label[:40]) if re.search(r"\d", label) else label[:40]


def whole_percent(counts: Sequence[int]) -> list[str]:
    """Return the shares of a whole in whole per cent that sum to 100, by largest remainders.

    A share that is not 0 but rounds to it is written as below 1.
    """
    whole = sum(counts) or 1
    floors = [100 * count // whole for count in counts]
    missing = 100 - sum(floors) if any(counts) else 0
    by_remainder = sorted(range(len(counts)), key=lambda i: (-(100 * counts[i] % whole), i))
    for index in by_remainder[:missing]:
        floors[index] += 1
    shares = zip(floors, counts, strict=True)
    return [f"{floor} %" if floor or not count else "< 1 %" for floor, count in shares]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


# ---------------------------------------------------------------- numbers


def number_text(label: str, where: str, column: str) -> str:
    """Return a number in the form that the metrics of numbers read; InputError if it is none."""
    value = _number(label)
    if value is None:
        point = _number(label.replace(",", ".")) is not None
        cure = "write a point" if point else 'allowed: task = "classification" for names'
        raise InputError(
            f"{where}: {column}: must be a number such as 3.5, got {label[:40]!r}; {cure}"
        )
    return repr(value)


def _number(label: str) -> float | None:
    """Return the number that a whole label is, if it is finite."""
    text = label.strip()
    value = last_number(text)
    try:
        return value if value is not None and value == float(text) else None
    except ValueError:
        return None


def number_remarks(read: Labels) -> list[str]:
    """Return a line with the distribution of train's numbers, and one if they are large.

    Raises:
        InputError: all numbers of train are equal, or those of a split hidden.
    """
    values = {split: [float(label) for label in labels] for split, labels in read.items()}
    hidden = [s for s, numbers in values.items() if {*numbers} == {float(HIDDEN)}]
    if hidden:
        raise InputError(
            [f"data.{s}: every label is {HIDDEN}, which hides labels in GLUE" for s in hidden]
        )
    numbers = values["train"]
    low, high, mean = min(numbers), max(numbers), sum(numbers) / len(numbers)
    if low == high:
        raise InputError(f"data.train: all labels are {low:g}; needed: different numbers")
    spread = math.sqrt(sum((n - mean) ** 2 for n in numbers) / len(numbers))
    remarks = [
        f"train: numbers from {low:g} to {high:g}: mean {mean:.3g}, standard deviation {spread:.3g}"
    ]
    if math.hypot(mean, spread) > LARGE:
        remarks.append(
            "the numbers are large for a new head, which starts near 0; scale them to about -1 to 1"
        )
    return remarks
