"""The sides that the packed_against_* scripts time: searches as whole processes, one after another.

A side searches in a new folder; what it told Optuna, and when, is read from its storage.  Seconds
count from the start of its processes, imports included; the base is built before.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from study.bases.load import locate_base
from study.spec.files import load_spec

STUDY = "petroleum"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}  # also for what no side sets itself
TRAINER = Path(__file__).with_name("plain_trainer.py")


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options that the scripts share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", default="auto")
    return parser


@dataclass(frozen=True)
class Told:
    """A trial's end: seconds from the start, and its BLEU unless it was pruned."""

    seconds: float
    bleu: float | None


@dataclass(frozen=True)
class Search:
    """One whole search: what was told, in time's order."""

    told: tuple[Told, ...]

    @property
    def seconds(self) -> float:
        """From the start to the last trial told."""
        return self.told[-1].seconds

    @property
    def trials_a_minute(self) -> float:
        """Trials over the time to the last."""
        return 60 * len(self.told) / self.seconds

    @property
    def scores(self) -> list[float]:
        """The BLEU of every trial that came to its end."""
        return [t.bleu for t in self.told if t.bleu is not None]

    @property
    def best(self) -> float:
        """The best BLEU."""
        return max(self.scores)

    def seconds_to(self, bleu: float) -> float:
        """From the start to the first trial that reached a score."""
        return next(t.seconds for t in self.told if t.bleu is not None and t.bleu >= bleu)


Side = Callable[[Path], Search]


def study_side(options: Sequence[str], **overrides: Any) -> Side:
    """`optuna-study run` on the petroleum study with some keys changed."""

    def search(folder: Path) -> Search:
        spec = load_spec(STUDY, {key.replace("__", "."): v for key, v in overrides.items()})
        (folder / "study.toml").write_text(spec.to_toml())
        command = [sys.executable, "-m", "optuna_study", "run", "study.toml", "--out", "."]
        return _timed([[*command, *options]], folder, f"sqlite:///{folder}/study.db")

    return search


def trainer_side(processes: int, trials: int, seed: int, *options: str) -> Side:
    """`hyperparameter_search` in so many processes, which share one storage and the trials."""

    def search(folder: Path) -> Search:
        storage = f"sqlite:///{folder}/trainer.db"
        optuna.create_study(study_name=STUDY, storage=storage, direction="maximize")
        shares = [len(range(i, trials, processes)) for i in range(processes)]
        command = [sys.executable, str(TRAINER), "--storage", storage, "--seed", str(seed)]
        return _timed([[*command, *options, "--trials", str(n)] for n in shares], folder, storage)

    return search


def _timed(commands: Sequence[Sequence[str]], folder: Path, storage: str) -> Search:
    """Run commands side by side and read what they told."""
    started = time.time()
    with (folder / "messages").open("w") as messages:
        running = [
            subprocess.Popen(c, cwd=folder, env=ENVIRONMENT, stdout=messages, stderr=messages)
            for c in commands
        ]
        codes = [process.wait() for process in running]
        if any(codes):
            raise SystemExit((folder / "messages").read_text())
    trials = optuna.load_study(study_name=STUDY, storage=storage).trials
    return Search(tuple(sorted((_told(t, started) for t in trials), key=lambda t: t.seconds)))


def _told(trial: optuna.trial.FrozenTrial, started: float) -> Told:
    assert trial.datetime_complete is not None
    is_complete = trial.state == optuna.trial.TrialState.COMPLETE
    return Told(trial.datetime_complete.timestamp() - started, trial.value if is_complete else None)


def alternately(sides: Mapping[str, Side], rounds: int) -> dict[str, list[Search]]:
    """Run every side once a round, in turn, and say what each took."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    locate_base(load_spec(STUDY))
    found: dict[str, list[Search]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            with tempfile.TemporaryDirectory() as folder:
                search = side(Path(folder))
            found[name].append(search)
            print(f"round {number + 1}  {name}: {_in_words(search)}", flush=True)
    return found


def _in_words(search: Search) -> str:
    pruned = len(search.told) - len(search.scores)
    return (
        f"{len(search.told)} trials, {pruned} pruned, {search.seconds:.1f} s, "
        f"{search.trials_a_minute:.1f} a minute, "
        f"BLEU median {statistics.median(search.scores):.1f}, best {search.best:.1f}"
    )


def print_ratios(found: Mapping[str, Sequence[Search]]) -> None:
    """Print the median trials per minute of every side, and the first side's over each other's."""
    medians = {n: statistics.median(s.trials_a_minute for s in f) for n, f in found.items()}
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"{name}: median {median:.1f} trials a minute; ratio {first / median:.2f}")
