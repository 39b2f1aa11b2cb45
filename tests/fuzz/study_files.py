"""Wrong study files: presets, changed as a table, as a text and as bytes."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from study.spec.files import load_spec, presets
from study.spec.hyperparameters import searchable

WORDS = (
    "",
    " ",
    "embedded",
    "bleu",
    "general_loss",
    "comet",
    "train_seconds",
    "lora",
    "full",
    "qv",
)
WORDS += ("grid", "sobol", "gp", "asha", "lora-wide", "classification", "causal_translation")
WORDS += ("../../etc/passwd", "/dev/zero", "~nobody/x", "a\nb", "\x1b[31mred\x1b[0m")
WORDS += ("[red]markup[/red]", "<script>alert(1)</script>", "\u202e\u0000", "α" * 40, "\U0001f600")
WORDS += ("nothing.py:Task", "../nothing.py:Task", "own.py:", "(.*)*(.*)*(.*)*x")
WORDS += ("x" * 70_000, "{braces} %s %(x)s", "nan")
WHOLE = (0, 1, -1, 2, 7, 16, 64, 1025, 2**31 - 1, 2**31, 2**63, 10**9, 10**12, 10**40, -(10**400))
REAL = (0.0, -0.0, 0.1, 0.5, 1.0, 1.5, 5e-324, 1e-320, 1e-9, 1e300, 1.7976931348623157e308, -1e308)
NUMBERS = (*WHOLE, *REAL, float("nan"), float("inf"), float("-inf"))
KEYS = (
    "name",
    "seed",
    "low",
    "high",
    "log",
    "step",
    "choices",
    "value",
    "when",
    "balanced",
    "rank",
)
KEYS += ("alpha", "method", "parameters", "enqueue", "teacher", "labels", "train", "corpus")
KEYS += ("metrics", "directions", "", "a.b", "é", "x" * 3000, "\x07", "__class__", "model_config")
SECTIONS = ("base", "data", "method", "training", "distillation", "evaluation", "search")


def value(rng: random.Random, depth: int = 0) -> Any:
    """Return any value that a TOML file can hold."""
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind < 2:
        return rng.choice(WORDS)
    if kind < 4:
        return rng.choice(NUMBERS)
    if kind == 4:
        return rng.random() < 0.5
    if kind == 5:
        return rng.choice([tomllib.loads("x = 1979-05-27T07:32:00Z")["x"], [], {}, [[]], [{}]])
    if kind == 6:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        return {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randrange(3))}
    return nested(rng.choice([5, 60]))


def unshared(found: Any) -> Any:
    """Return a copy in which no table stands twice: moved into itself it would never end."""
    if isinstance(found, dict):
        return {key: unshared(inner) for key, inner in found.items()}
    return [unshared(inner) for inner in found] if isinstance(found, list) else found


def nested(depth: int) -> Any:
    """Return tables in tables."""
    found: Any = 1
    for _ in range(depth):
        found = {"a": found}
    return found


# ---------------------------------------------------------------- as a table


def tables_in(document: Any) -> list[Any]:
    """Return every table and list of a document, the document first."""
    if not isinstance(document, (dict, list)):
        return []
    inner = document.values() if isinstance(document, dict) else document
    return [document, *(table for part in inner for table in tables_in(part))]


def place(rng: random.Random, document: Any) -> tuple[Any, Any] | None:
    """Return a table or list and a key of it; None where there is nothing left."""
    filled = [table for table in tables_in(document) if table]
    if not filled:
        return None
    table = rng.choice(filled)
    return table, rng.choice(list(table) if isinstance(table, dict) else range(len(table)))


def drop(rng: random.Random, table: Any, key: Any, document: Any) -> None:
    """Take it out."""
    del table[key]


def rename(rng: random.Random, table: Any, key: Any, document: Any) -> None:
    """Give it a misspelt or another name."""
    if isinstance(table, dict):
        name = str(key)
        at = rng.randrange(len(name) + 1)
        table[rng.choice([name[:at] + name[at + 1 :], name.upper(), rng.choice(KEYS)])] = table.pop(
            key
        )


def move(rng: random.Random, table: Any, key: Any, document: Any) -> None:
    """Put it somewhere else, maybe into itself's sibling."""
    found = table.pop(key)
    where = rng.choice(tables_in(document))
    if isinstance(where, dict):
        where[str(key)] = found
    else:
        where.append(found)


def replace(rng: random.Random, table: Any, key: Any, document: Any) -> None:
    """Set it to anything."""
    table[key] = value(rng)


def wrap(rng: random.Random, table: Any, key: Any, document: Any) -> None:
    """Make a list or a table of it, a text of a number, a float of a whole number."""
    found = table[key]
    forms: list[Any] = [[found], {"value": found}, str(found)[:99], [found, found]]
    forms += [float(found)] if isinstance(found, int) and abs(found) < 1e300 else []
    table[key] = rng.choice(forms)


def add(rng: random.Random, table: Any, key: Any, document: Any) -> None:
    """Add what does not belong there, or a section that the preset does not have."""
    section = document.setdefault(rng.choice(SECTIONS), {})
    where = section if isinstance(section, dict) and rng.random() < 0.7 else table
    if isinstance(where, dict):
        where[rng.choice(KEYS)] = value(rng)
    else:
        where.append(value(rng))


def parameter(rng: random.Random, table: Any, key: Any, document: Any) -> None:
    """Search a hyperparameter by any combination of keys."""
    names = [*searchable(), "warmup", "name", "LEARNING_RATE"]
    ways: Mapping[str, Callable[[], Any]] = {
        "low": lambda: rng.choice(NUMBERS),
        "high": lambda: rng.choice(NUMBERS),
        "log": lambda: rng.random() < 0.5,
        "step": lambda: rng.choice(NUMBERS),
        "choices": lambda: [rng.choice([*NUMBERS, *WORDS]) for _ in range(rng.randrange(5))],
        "value": lambda: rng.choice([*NUMBERS, *WORDS]),
        "when": lambda: {rng.choice(names): value(rng, 2)},
        "balanced": lambda: rng.random() < 0.5,
    }
    search = document.setdefault("search", {})
    parameters = search.setdefault("parameters", {}) if isinstance(search, dict) else None
    if isinstance(parameters, dict):
        likely = rng.choice([("low", "high"), ("low", "high", "log"), ("choices",), ("value",), ()])
        keys = {*likely, *rng.sample(list(ways), rng.randrange(3))}
        parameters[rng.choice(names)] = {k: make() for k, make in ways.items() if k in keys}


def search(rng: random.Random, table: Any, key: Any, document: Any) -> None:
    """Search in another way: sampler, pruner, budget, enqueued points, objectives."""
    found = document.setdefault("search", {})
    if isinstance(found, dict):
        found["sampler"] = rng.choice(["random", "sobol", "tpe", "gp", "grid", "cmaes"])
        found["pruner"] = rng.choice(["none", "median", "hyperband", "asha"])
        found["trials"] = rng.choice([1, 64, 10**9, 2**63, 10**40])
        point = {rng.choice([*searchable(), "x"]): rng.choice([*NUMBERS, *WORDS])}
        found["enqueue"] = [point, {"alpha": 8, "rank": 8}][: rng.randrange(3)]


CHANGES = (drop, rename, move, replace, replace, wrap, add, parameter, parameter, search)


def table_mutant(rng: random.Random, document: dict[str, Any]) -> bytes:
    """Return a preset with one to three changes, written as TOML."""
    for _ in range(rng.randrange(1, 4)):
        found = place(rng, document)
        if found is not None:
            rng.choice(CHANGES)(rng, *found, document)
            document = unshared(document)
    return tomli_w.dumps(document).encode("utf-8", "surrogatepass")


# ---------------------------------------------------------------- as a text, as bytes


def text_mutant(rng: random.Random, document: dict[str, Any]) -> bytes:
    """Return a preset's text with lines and characters lost, doubled, changed or swapped."""
    lines = tomli_w.dumps(document).splitlines()
    for _ in range(rng.randrange(1, 4)):
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        line = lines[at]
        cut = rng.randrange(len(line) + 1)
        spot = rng.choice(
            ['"', "'''", "[", "]]", "=", "#", "\\", ",", "\t", "1_", "0x", "\x00", "é"]
        )
        ways = [line[:cut], line[:cut] + spot + line[cut:], line[:cut] + line[cut + 1 :], ""]
        ways += [lines[other], f"{line}\n{line}", f"{line}\n{lines[other]}", f"{line} = {spot}"]
        ways += ["[" * rng.choice([2, 999]) + line, line.replace("=", "= -"), line.swapcase()]
        lines[at] = rng.choice(ways)
    return "\n".join(lines).encode()


def byte_mutant(rng: random.Random, document: dict[str, Any]) -> bytes:
    """Return a preset in another encoding, with other line ends, or with damaged bytes."""
    text = "# é\n" + tomli_w.dumps(document)
    encoding = rng.choice(
        ["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp037"]
    )
    content = bytearray(
        text.replace("\n", rng.choice(["\n", "\r\n", "\r", "\x0b"])).encode(encoding)
    )
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(content))
        content[at : at + rng.randrange(4)] = rng.randbytes(rng.randrange(4))
    return bytes(content[: rng.choice([len(content), rng.randrange(len(content) + 1)])])


MUTATORS = (table_mutant, table_mutant, table_mutant, table_mutant, text_mutant, byte_mutant)


def study_file(rng: random.Random, folder: Path) -> tuple[str, bytes]:
    """Return the name and the content of a mutated preset."""
    path = presets()[rng.choice(sorted(presets()))]
    content = path.read_text(encoding="utf-8")
    if rng.random() < 0.4:  # as a run folder holds it: every key spelt out
        content = load_spec(path.stem).to_toml()
    return "mine.toml", rng.choice(MUTATORS)(rng, tomllib.loads(content))
