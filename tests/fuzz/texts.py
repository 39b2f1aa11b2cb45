"""Wrong corpora, tables of results and command lines, as people and their programs write them."""

from __future__ import annotations

import json
import random
from pathlib import Path

# ---------------------------------------------------------------- corpora

TEXTS = ("the well", "le puits", "", " ", "\u00a0\u200b", '"', "a\tb", "\x00", "\ufeff", "\ud800")
TEXTS += ("\\ud83d", "\U0001f600", "x" * 100_001, "1e999", "null", "-1", "\x1b[2J", "\u2028")
TEXTS += ("=cmd|' /C calc'!A0",)
VALUES = (*TEXTS, None, True, 0, -1, 10**400, 1e308, float("nan"), [], ["a"], {}, {"en": "a"})
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1", "cp1252")
COLUMNS = ("source", "target", "sentence1", "sentence2", "gold_label", "label", "", "source ")
ODD, ENDS = (0, 0, 0, 0, 1, -1), ("\n", "\n", "\r\n", "\r", "\n\n")


def tsv(rng: random.Random) -> str:
    """Return a TSV file of any columns and any cells, its rows as long as they happen to be."""
    columns = rng.choice([("source", "target"), rng.choices(COLUMNS, k=rng.randrange(5))])
    texts, odd = rng.choice([(TEXTS[:2], (0,)), (TEXTS, ODD)])
    rows = [columns] + [
        rng.choices(texts, k=max(len(columns) + rng.choice(odd), 0))
        for _ in range(rng.randrange(6))
    ]
    return rng.choice(ENDS).join("\t".join(row) for row in rows)


def jsonl(rng: random.Random) -> str:
    """Return a JSONL file of any objects, or of what is none."""
    lines = []
    values, kinds = rng.choice([(VALUES[:2], 1), (VALUES, 2)])
    for _ in range(rng.randrange(6)):
        keys = rng.choice([("source", "target"), rng.choices(COLUMNS, k=rng.randrange(5))][:kinds])
        line = json.dumps(
            {key: rng.choice(values) for key in keys}, ensure_ascii=rng.random() < 0.7
        )
        lines.append(rng.choice([line] * 9 + [line[:-1], f"[{line}]", "[" * 9999, "NaN", line * 2]))
    return rng.choice(ENDS).join(lines)


def corpus(rng: random.Random, folder: Path) -> tuple[str, bytes]:
    """Return the name and the content of a TSV or JSONL file in any encoding."""
    suffix = rng.choice([".tsv", ".jsonl"])
    text = tsv(rng) if suffix == ".tsv" else jsonl(rng)
    encoding = rng.choice(ENCODINGS)
    keep = "surrogatepass" if encoding.startswith("utf") else "replace"
    content = bytearray(text.encode(encoding, keep))
    if content and rng.random() < 0.2:
        content[rng.randrange(len(content))] = rng.randrange(256)
    return f"corpus{suffix}", bytes(content)


# ---------------------------------------------------------------- tables of results

CELLS = ("1", "8", "0.5", "-1", "1e400", "nan", "inf", "-inf", "", " ", "NA", "x", "true", "8.0")
CELLS += ('"', '"a\nb"', "=1+1", "+SUM(A1)", "@x", "\x00", "\x1b[2J", "9" * 400, "1,5", "²", "٣")
SPACE = '[parameters.rank]\nlow = 1\nhigh = 64\n[parameters."b"]\nchoices = ["x", true, 8]\n'


def declared_space(folder: Path) -> None:
    """Write the space that the tables are searched over."""
    (folder / "space.toml").write_text(SPACE)


def table(rng: random.Random, folder: Path) -> tuple[str, bytes]:
    """Return a CSV file: the declared columns and others, rows as long as they happen to be."""
    columns = ["rank", "b", "accuracy"]
    if rng.random() < 0.3:
        columns = rng.choices(["rank", "b", "accuracy", "rank", "", "__class__", "state"], k=4)
    likely = {"rank": ("1", "8", "64"), "b": ("x", "true", "8"), "accuracy": ("0.5", "0.7", "0")}
    odd = rng.choice([0.0, 0.0, 0.02, 0.3])
    rows = [columns]
    for _ in range(rng.choice([0, 1, 2, 12])):
        row = [rng.choice(CELLS if rng.random() < odd else likely.get(c, CELLS)) for c in columns]
        rows.append(row[: len(row) - (rng.random() < odd)] + ["9"] * (rng.random() < odd))
    line_end, separator = rng.choice(["\n", "\r\n"]), rng.choice([",", ",", ",", ";"])
    text = line_end.join(separator.join(row) for row in rows)
    return "results.csv", text.encode(
        rng.choice(["utf-8", "utf-8-sig", "utf-16"]) if odd else "utf-8"
    )


# ---------------------------------------------------------------- command lines

OPTIONS = {
    "show": ("--study-name", "--space", "--objective", "--direction", "--json"),
    "importance": ("--best", "--surrogate", "--question", "--pruned", "--resamples", "--subset"),
    "report": ("--out", "--surrogate", "--objective"),
    "compare": ("--metric", "--split"),
    "export": ("--trial", "--out", "--merge"),
    "comet": ("--model", "--command", "--gpus", "--batch-size"),
    "base": ("--out", "--steps", "--width", "--vocabulary", "--layers", "--seed"),
    "check": ("--json",),
    "list": ("--json", "--all"),
    "nothing": ("--help",),
}
NUMBERS = ("0", "-1", "1e9", "1.5", "x", "", "nan", "inf", "9" * 40, "0x10", " 1", "１", "\x00")
WORDS = (*NUMBERS, "file", "mine.toml", "loop", "/dev/null", "--", "-", "--json", "a" * 5000)


def place_to_work(folder: Path) -> None:
    """Write a tiny study file, a file and a loop of links."""
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_text("source\ttarget\na\tb\n")
    study = '[base]\nmodel = "embedded"\n[data]\ntrain = "train.tsv"\ndev = "dev.tsv"\n'
    (folder / "mine.toml").write_text(study)
    (folder / "file").write_text("keep me\n")
    (folder / "loop").symlink_to("loop")


def command_line(rng: random.Random, folder: Path) -> tuple[str, bytes]:
    """Return any command with any options and values, as a JSON list."""
    name = rng.choice(sorted(OPTIONS))
    words = [rng.choice([*OPTIONS[name], *WORDS]) for _ in range(rng.randrange(5))]
    return "command.json", json.dumps([name, *words]).encode()
