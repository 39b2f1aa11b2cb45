"""Damaged databases, journals and model folders: what is sound, with bytes or lines changed."""

from __future__ import annotations

import functools
import json
import random
import sqlite3
import tempfile
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study.bases.building import Miniature, build
from study.bases.translator import TranslatorRecipe
from study.data.embedded import CorpusRecipe, petroleum_corpus
from tests.synthetic import Shape, write_study

# ---------------------------------------------------------------- databases


@functools.cache
def study_bytes() -> bytes:
    """Return the database of a small study, as a finished run leaves it."""
    with tempfile.TemporaryDirectory() as folder:
        shape = Shape(complete=10, failed=1, pruned=1, examples=4)
        return (write_study(Path(folder), shape) / "study.db").read_bytes()


def two_studies(folder: Path) -> None:
    """Write a database to damage and one to compare it with."""
    (folder / "sound").mkdir()
    for place in (folder, folder / "sound"):
        (place / "study.db").write_bytes(study_bytes())


def flipped(rng: random.Random, content: bytearray) -> None:
    """Flip a few bits."""
    for _ in range(rng.randrange(1, 4)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def noisy(rng: random.Random, content: bytearray) -> None:
    """Replace many bytes by others."""
    for _ in range(rng.choice([50, 500, 5000])):
        content[rng.randrange(len(content))] = rng.randrange(256)


def cut(rng: random.Random, content: bytearray) -> None:
    """Lose the end."""
    del content[rng.randrange(len(content)) :]


def blanked(rng: random.Random, content: bytearray) -> None:
    """Replace a stretch by zeros or by noise."""
    at, size = rng.randrange(len(content)), rng.choice([10, 100, 4096])
    hole = content[at : at + size]
    content[at : at + size] = rng.choice([bytes(len(hole)), rng.randbytes(len(hole))])


def swapped(rng: random.Random, content: bytearray) -> None:
    """Exchange two pages."""
    a, b = (4096 * rng.randrange(len(content) // 4096) for _ in range(2))
    content[a : a + 4096], content[b : b + 4096] = content[b : b + 4096], content[a : a + 4096]


def misspelt(rng: random.Random, content: bytearray) -> None:
    """Change what looks like text: numbers, JSON, the names of states and distributions."""
    for at in (rng.randrange(len(content)) for _ in range(rng.randrange(1, 30))):
        if chr(content[at]).isprintable():
            content[at] = rng.choice(b'0123456789{}[]",:aNeE.-\\x')


VALUES = (
    None,
    -1,
    2**62,
    1e308,
    "",
    "nan",
    "../../etc/passwd",
    '"\\ud800"',
    '"<script>x</script>"',
    "{" * 9,
    "[" * 100_000,
    "1" * 5_000,
    b"\x00",
    zlib.compress(b"[" * 100_000),
    zlib.compress(b"[" + b"0," * 11_000_000 + b"0]"),
    zlib.compress(b'["\\ud800"]'),
    zlib.compress(bytes(2**25)),
)
"""What a column of a sound database may hold when somebody means harm."""


def valued(rng: random.Random, content: bytearray) -> None:
    """Set a column of a table to another value, in one row or in all."""
    journal_mode, content[18:20] = bytes(content[18:20]), b"\1\1"  # no log, in memory
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        opened.deserialize(bytes(content))
        named = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        table = rng.choice([name for (name,) in opened.execute(named)])
        columns = [row[1] for row in opened.execute(f"PRAGMA table_info({table})")]
        where = rng.choice(["", f" WHERE rowid = (SELECT max(rowid) FROM {table})"])
        with suppress(sqlite3.IntegrityError):  # a key that another row has
            change = f"UPDATE {table} SET {rng.choice(columns)} = ?{where}"
            opened.execute(change, [rng.choice(VALUES)])
        content[:] = opened.serialize()
    content[18:20] = journal_mode


DAMAGES = (flipped, flipped, noisy, cut, blanked, swapped, misspelt, misspelt, valued, valued)


def database(rng: random.Random, folder: Path) -> tuple[str, bytes]:
    """Return a database with one damage."""
    changed = bytearray((folder / "study.db").read_bytes())
    rng.choice(DAMAGES)(rng, changed)
    return "study.db", bytes(changed)


# ---------------------------------------------------------------- journals


def sound_journal(folder: Path) -> None:
    """Write a journal file with one small study."""
    backend = JournalFileBackend(str(folder / "journal.log"))
    study = optuna.create_study(storage=JournalStorage(backend))
    for _ in range(4):
        trial = study.ask()
        study.tell(trial, trial.suggest_float("a", 0, 1) + trial.suggest_categorical("b", [1, 2]))


def journal(rng: random.Random, folder: Path) -> tuple[str, bytes]:
    """Return a journal with a line changed, dropped, doubled or with other values."""
    lines = (folder / "journal.log").read_bytes().splitlines()
    at = rng.randrange(len(lines))
    entry = json.loads(lines[at])
    key = rng.choice(list(entry))
    other = rng.choice([None, -1, 10**30, "x", [], {}, 1.5, True])
    ways: list[Callable[[], bytes]] = [
        lambda: json.dumps({**entry, key: other}).encode(),
        lambda: json.dumps({k: v for k, v in entry.items() if k != key}).encode(),
        lambda: lines[at] + b"\n" + lines[at],
        lambda: lines[at][: rng.randrange(len(lines[at]))],
        lambda: lines[at].replace(b"0", rng.choice([b"7", b"-", b"\xff"])),
    ]
    lines[at] = rng.choice(ways)()
    return "journal.log", b"\n".join(lines) + b"\n"


# ---------------------------------------------------------------- model folders


def sound_model(folder: Path) -> None:
    """Write a barely trained model of NLLB's architecture."""
    recipe = TranslatorRecipe(width=16, layers=1, heads=2, ffn=32, steps=20, vocabulary_size=400)
    folder.rmdir()  # `build` lets it appear as a whole
    build(
        Miniature(
            recipe,
            petroleum_corpus(
                0, CorpusRecipe(base_general=2000, base_lay=0, base_expert=0)
            ).base_train,
        ),
        folder,
    )


def model_file(rng: random.Random, folder: Path) -> tuple[str, bytes]:
    """Return any file of a checkpoint, changed anywhere."""
    name = rng.choice(sorted(path.name for path in folder.iterdir() if path.is_file()))
    content = bytearray((folder / name).read_bytes())
    for _ in range(rng.choice([1, 3, 30])):
        at = rng.randrange(min(len(content), rng.choice([300, len(content)])))
        content[at] = rng.choice(b'0{}[]",:\x00\xff9a')
    return name, bytes(content)
