"""Wrong inputs by the thousand: one table of their kinds, and one loop that tries them.

A mutant is determined by its kind and its number, so that one that fails can be made again:
`python -m tests.fuzz.mutants study-file 4711` prints it; with a folder as a third word it is
written there, beside what its commands need.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from reports import build_report
from study.bases.load import load_base, locate_base
from study.data.readers import load_corpus
from study.data.sentence_pairs import load_sentence_pairs
from study.errors import InputError
from study.make_sampler import pruner_for, sampler_for
from study.spec.base_and_data import DataSpec
from study.spec.files import load_spec
from study.spec.sections import spec_from_toml
from study.trials import baseline_configs, search_config
from tests.fuzz import damage, texts
from tests.fuzz.command import accepted, command, fingerprint, in_time, is_problem, quiet
from tests.fuzz.study_files import study_file

# ---------------------------------------------------------------- how a mutant is read


def commands(*lines: str) -> Callable[[Path], bool]:
    """Return a reader that runs commands in a mutant's folder: accepted where all do their work."""

    def read(path: Path) -> bool:
        with quiet():
            ran = [accepted(*line.split()) for line in lines]
        return all(ran)

    return read


def corpus(load: Callable[[DataSpec], Any]) -> Callable[[Path], bool]:
    """Return a reader of a corpus, whose examples must be there and can be written as UTF-8."""

    def read(path: Path) -> bool:
        examples = load(DataSpec(train=path, dev=path)).train
        assert examples
        for example in examples:
            str(example).encode("utf-8")
        return True

    return read


def use_study(path: Path) -> bool:
    """Do with a study what a run does before it trains: its files, its baselines, two trials."""
    spec = load_spec(path)
    content = spec.to_toml()
    again = spec_from_toml(content, "again")
    assert again == spec
    assert again.to_toml() == content
    assert baseline_configs(spec)[0].method is None
    assert 1 <= spec.search.budget <= spec.search.trials
    pruner_for(spec)
    directions = list(spec.evaluation.directions)
    study = optuna.create_study(directions=directions)
    for index in range(2):
        study.sampler = sampler_for(spec, index)
        trial = study.ask()
        values = spec.search.search_space.suggest(trial)
        assert search_config(spec, index, values, index).values.keys() >= values.keys()
        assert not any(isinstance(v, float) and math.isnan(v) for v in values.values())
        study.tell(trial, [1.0] * len(directions))
    return True


def any_command(path: Path) -> bool:
    """Run a command of any words, which is refused, or does its work where it needs no study."""
    name, *words = json.loads(path.read_bytes())
    with quiet():
        ran = command(name, *words)
    assert ran.status == 2 or (ran.status == 0 and name in ("list", "check")), (name, words, ran)
    return ran.status == 0


def write_report(path: Path) -> bool:
    """Write a report, outputs and statistics included."""
    with quiet():
        build_report(path.parent, path.parent.parent / "r.html", surrogate="forest", resamples=2)
    return True


def load_model(path: Path) -> bool:
    """Locate and load the folder of a model as a run does."""
    spec = load_spec("petroleum", {"base.model": str(path.parent)})
    with quiet(), in_time():
        load_base(locate_base(spec), spec.base)
    return True


# ---------------------------------------------------------------- the kinds


@dataclass(frozen=True)
class Source:
    """How mutants are made: number N from the random numbers of "seed/N"."""

    seed: str
    make: Callable[[random.Random, Path], tuple[str, bytes]]  # a mutant's name and content
    prepare: Callable[[Path], None] = lambda folder: None  # write what is sound, or lies beside it


@dataclass(frozen=True)
class Kind:
    """One kind of input: where it comes from, what reads it, and which outcomes are allowed."""

    source: Source
    read: Callable[[Path], bool]  # whether it is accepted; InputError where it is refused
    shares: tuple[float, float]  # the least and the largest share that is accepted
    default: range  # in every session
    slow: range  # in `nox -s slow`
    begins: tuple[str, ...] = ("{folder}/",)  # every line of a refusal
    most_lines: int = 1000

    def write(self, folder: Path, number: int) -> Path:
        """Write a mutant into its prepared folder."""
        rng = random.Random(f"{self.source.seed}/{number}")
        name, content = self.source.make(rng, folder)
        (folder / name).write_bytes(content)
        return folder / name


STUDY_FILE = Source("0", study_file)
WORDS = Source("words", texts.command_line, texts.place_to_work)
CORPUS = Source("corpus", texts.corpus)
TABLE = Source("csv", texts.table, texts.declared_space)
DATABASE = Source("database", damage.database, damage.two_studies)
JOURNAL = Source("journal", damage.journal, damage.sound_journal)
MODEL = Source("model", damage.model_file, damage.sound_model)
TOLD = "results.csv --space space.toml --objective accuracy"
read_text, read_pairs = corpus(load_corpus), corpus(load_sentence_pairs)
show_table = commands(f"show {TOLD}", f"show {TOLD} --json")
read_all = commands("show .", "show . --json", "importance . --surrogate forest", "compare . sound")
NONE = range(0)
KINDS = {
    "study-file": Kind(STUDY_FILE, use_study, (0.005, 0.5), range(200), range(10_000)),
    "command-line": Kind(WORDS, any_command, (0, 0.5), range(15), range(1000)),
    "parallel-text": Kind(CORPUS, read_text, (0.02, 0.5), range(150), range(5000)),
    "pairs": Kind(  # 2 of the default ones are accepted; labels are judged over all files
        CORPUS, read_pairs, (0.001, 0.5), range(250, 400), range(5000), ("{folder}/", "data")
    ),
    "table": Kind(TABLE, show_table, (0.1, 0.95), range(15), range(2000)),
    "database": Kind(DATABASE, commands("show . --json"), (0.05, 0.95), range(12), NONE),
    "database-read": Kind(DATABASE, read_all, (0.1, 0.95), NONE, range(300)),
    "no-adapters": Kind(DATABASE, commands("export ."), (0, 0), NONE, range(400, 500)),
    "report": Kind(DATABASE, write_report, (0.2, 0.95), NONE, range(300, 400), ("",), 1),
    "journal": Kind(JOURNAL, commands("show journal.log"), (0.04, 0.96), range(25), range(600)),
    "model": Kind(MODEL, load_model, (0.01, 0.99), NONE, range(150), ("base.model: ",), 1),
}


# ---------------------------------------------------------------- the loop


def prepared(name: str, folder: Path) -> Kind:
    """Make a folder for the mutants of a kind, with what lies beside them or is sound."""
    kind = KINDS[name]
    folder.mkdir()
    kind.source.prepare(folder)
    return kind


def accepts(kind: Kind, path: Path) -> bool:
    """Read a mutant; False where it is refused in lines that say where."""
    try:
        with in_time(), contextlib.chdir(path.parent):
            return kind.read(path)
    except InputError as refused:
        lines = refused.problems
    assert 1 <= len(lines) <= kind.most_lines
    assert len(set(lines)) == len(lines)
    for line in lines:
        assert is_problem(line), line
        assert line.startswith(tuple(b.format(folder=path.parent) for b in kind.begins)), line
    return False


def try_mutants(name: str, folder: Path, numbers: range) -> float:
    """Read mutants one after another; returns the share that was accepted.

    Each must be accepted or refused as its kind says, in time, and no file changed, left or lost.
    """
    kind, found = prepared(name, folder), 0
    sound = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for number in numbers:
        path = kind.write(folder, number)
        before = fingerprint(folder)
        try:
            found += accepts(kind, path)
            assert fingerprint(folder) == before
        except BaseException as error:  # one that hangs is none of the exceptions
            error.add_note(f"mutant {number}: python -m tests.fuzz.mutants {name} {number}")
            raise
        if path in sound:
            path.write_bytes(sound[path])
    return found / len(numbers)


def main(name: str, number: str, folder: str = "") -> None:
    """Print a mutant, or write it into a new folder beside what it is read with."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(folder or f"{scratch}/{name}")
        path = prepared(name, place).write(place, int(number))
        if not folder:
            sys.stdout.buffer.write(path.read_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
