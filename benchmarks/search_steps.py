"""How many training steps does a search take to a good configuration?  Looked up in real curves.

Every method proposes freely in the space `lora-wide` and is given one of the three nearest unused
configurations of the table, at random, with its own values; nearest in lr · alpha, learning rate,
rank, dropout and modules, in the same way for all methods.  Printed for each method: the median and
the 90th percentile, over the seeds, of the training steps of all trials until the best finished one
is a good configuration (a dash where that takes more than 24 full trainings), with the median's
bootstrap standard error; how many times fewer steps than TPE one at a time; the mean regret after
6, 12 and 24 full trainings; and how often the best configuration that was tried was dropped.

Good is within 1.5 BLEU of the best on petroleum once the noise of single seeds is smoothed away,
and among the `--best` (3) in other tables.  A table is a name in benchmarks/curves/, a CSV file
as benchmarks/search_curves.py writes it, or the prefix of recorded curves:

    python benchmarks/search_steps.py --seeds 100
    python benchmarks/search_steps.py --table PATH/minilm-real-mnli --best 5 --bar 0.424 --gate 0.51
    python benchmarks/search_steps.py --table petroleum-wide --method "ladder + lora" --seeds 1000
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.search_curves import VALUES, table_of
from study.kinds.schedules import RUNGS, SCHEDULES, Schedule
from study.searching.brackets import Arrival, Brackets
from study.searching.ladder import GrowingLadder, ladder
from study.searching.lora_sampler import LoraSampler
from study.spec.files import load_spec

Array = NDArray[np.float64]
SHIPPED = Path(__file__).parent / "curves"
BUDGET = 24  # full trainings
AFTER = (6, 12, 24)  # full trainings
WITHIN = {"petroleum-wide": 1.5}  # of the smoothed best; the best three elsewhere
BARS = {"petroleum-wide": 54.2, "distilbert-mnli-wide": 0.40}
"""The untrained model's score on dev, 2.5 standard errors of a difference better."""
GATES = {"petroleum-wide": 59.0, "distilbert-mnli-wide": 0.473}
"""The same on a report's 48 and 160 examples, of a paired difference: 3.7 BLEU and 0.053."""
MODULES = ("qv", "attention", "attention+ffn")
NEAREST = 3  # of these one is drawn, so that a start does not depend on one configuration's luck
NEAR = np.array([0.5, 2.0, 3.0, 3.0, 1.0])  # decades, decades, octaves, tenths of dropout, sets
SMOOTHING = np.array([0.8, 3.0, 4.0, 4.0, 2.0])  # where the smoothing's length scales start
SPACE = load_spec("petroleum-wide").search.search_space


# ---------------------------------------------------------------- tables


def features(point: Mapping[str, Any]) -> Array:
    """Return lr · alpha, learning rate, rank, dropout and modules on their scales, (5,)."""
    rate, alpha = math.log10(point["learning_rate"]), math.log10(point["alpha"])
    modules = MODULES.index(point["target_modules"])
    return np.array([rate + alpha, rate, math.log2(point["rank"]), point["dropout"] / 0.1, modules])


@dataclass(frozen=True)
class Curves:
    """N configurations with their scores at `rungs` and at the end."""

    name: str
    points: Sequence[Mapping[str, Any]]
    places: Array  # (N, 5)
    steps: int
    rungs: tuple[int, ...]
    scores: Array  # (N, rungs)
    finals: Array  # (N,)
    ends: Array  # (N,) steps after which training failed, or infinity
    diverged: Array  # (N,) steps after which it had diverged, or infinity
    quality: Array  # (N,) the final score, smoothed where the table asks for it
    good: NDArray[np.bool_]  # (N,)
    bar: float | None  # from which a score is clearly better than the untrained model's
    gate: float | None  # the same for scores on the way

    @classmethod
    def read(
        cls, source: str, best: int, bar: float | None = None, gate: float | None = None
    ) -> Curves:
        """Read a table."""
        shipped = SHIPPED / f"{source}.csv"
        rows = table_of(str(shipped) if shipped.exists() else source)
        name = Path(source).stem
        points = [{k: _plain(row[k]) for k in VALUES} for row in rows.to_dict("records")]
        places, steps = np.array([features(point) for point in points]), int(rows.steps.max())
        rungs = [int(c.removeprefix("score_")) for c in rows if c.startswith("score_")]
        finals = rows.final.astype(float)
        finals = finals.fillna(finals.min()).to_numpy()
        quality, within = finals, WITHIN.get(name)
        if within is None:
            good = finals >= np.sort(finals)[-best]
        else:
            quality = smoothed(places, finals)
            good = quality >= quality.max() - within
        scores = [rows[f"score_{rung}"].astype(float) for rung in rungs]
        return cls(
            name,
            points,
            places,
            steps,
            tuple(rungs),
            np.column_stack(scores),
            finals,
            rows.failed.astype(float).fillna(math.inf).to_numpy(),
            rows.diverged.astype(float).fillna(math.inf).to_numpy(),
            quality,
            good,
            BARS.get(name, bar),
            GATES.get(name, gate),
        )

    @property
    def first_rung(self) -> int:
        """The step nearest to a sixth of the training at which there are scores."""
        return min(self.rungs, key=lambda rung: abs(rung - self.steps / 6))

    def rungs_of(self, schedule: Schedule) -> list[int]:
        """Return the steps of a schedule's rungs: those with scores that are the nearest."""
        steps: list[int] = []
        for share in schedule.rungs:
            later = [rung for rung in self.rungs if rung > max([0, *steps])]
            steps.append(min(later, key=lambda rung: abs(rung - share * self.steps)))
        return steps

    @property
    def tick(self) -> int:
        """Steps between two looks at the trials in training."""
        return math.gcd(self.steps, *self.rungs)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def smoothed(places: Array, finals: Array) -> Array:
    """Return the scores without the luck of single seeds, where they are not far below the best."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    high, middle = np.quantile(finals, 0.95), np.median(finals)
    kept = finals > high - 2 * (high - middle)
    kernel = ConstantKernel(1.0) * Matern(SMOOTHING, (0.05, 50), nu=2.5)
    process = GaussianProcessRegressor(
        kernel + WhiteKernel(0.05, (1e-3, 1)), normalize_y=True, random_state=0
    )
    found = finals.copy()
    with warnings.catch_warnings():  # a coordinate without effect has the longest length
        warnings.simplefilter("ignore", ConvergenceWarning)
        found[kept] = process.fit(places[kept], finals[kept]).predict(places[kept])
    return found


# ---------------------------------------------------------------- methods


@dataclass(frozen=True)
class Method:
    """A way to search: a sampler, how many trials train at once, where it starts, what it drops."""

    sampler: Callable[[int, GrowingLadder | None], BaseSampler]
    slots: int = 1
    halves: bool = False  # successive halving, from the first rung
    shift: float | None = None  # of the ladder, in decades; None without a ladder
    exits: bool = False  # trials that diverge are stopped
    schedule: str = "none"  # which trials are put aside
    gated: bool = True  # not before one is clearly better than the untrained model


def _lora(seed: int, growing: GrowingLadder | None) -> BaseSampler:
    return LoraSampler(seed, search_space=SPACE.distributions, growing=growing)


def _tpe(seed: int, growing: GrowingLadder | None) -> BaseSampler:
    return TPESampler(seed=seed)


METHODS: Mapping[str, Method] = {
    "random": Method(lambda seed, growing: RandomSampler(seed=seed)),
    "tpe": Method(_tpe),
    "tpe, packs of 8": Method(_tpe, slots=8),
    "tpe + halving": Method(_tpe, halves=True),
    "tpe + halving, packs of 8": Method(_tpe, slots=8, halves=True),
    "lora": Method(_lora),
    "lora, packs of 8": Method(_lora, slots=8),
    "ladder + tpe": Method(_tpe, shift=0.0),
    "ladder + tpe, packs of 8": Method(_tpe, slots=8, shift=0.0),
    "ladder + lora": Method(_lora, shift=0.0),
    "ladder + lora, packs of 8": Method(_lora, slots=8, shift=0.0),
    "ladder + lora + exit": Method(_lora, shift=0.0, exits=True),
    "bracket": Method(_lora, schedule="bracket"),
    "bracket, packs of 8": Method(_lora, slots=8, schedule="bracket"),
    "ladder + bracket": Method(_lora, shift=0.0, schedule="bracket"),
    "ladder + bracket, packs of 8": Method(_lora, slots=8, shift=0.0, schedule="bracket"),
    "ladder + bracket without gate": Method(_lora, shift=0.0, schedule="bracket", gated=False),
    "ladder + careful": Method(_lora, shift=0.0, schedule="careful"),
    "ladder + careful, packs of 8": Method(_lora, slots=8, shift=0.0, schedule="careful"),
    "ladder +1 + bracket": Method(_lora, shift=1.0, schedule="bracket"),
    "ladder -1 + bracket": Method(_lora, shift=-1.0, schedule="bracket"),
    "ladder +1 + lora": Method(_lora, shift=1.0),
    "ladder -1 + lora": Method(_lora, shift=-1.0),
    "ladder -1.5 + lora": Method(_lora, shift=-1.5),
}
AGAINST = "tpe"


# ---------------------------------------------------------------- one search


@dataclass
class Search:
    """One search on a table: which configurations are used, and what ended when."""

    curves: Curves
    method: Method
    seed: int
    cost: int = 0
    used: set[int] = field(default_factory=set)
    done: list[tuple[int, int]] = field(default_factory=list)  # cost, configuration
    dropped: set[int] = field(default_factory=set)
    trials: dict[int, _Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the study, and the points to start from."""
        pruner: BasePruner = NopPruner()
        if self.method.halves:
            pruner = SuccessiveHalvingPruner(self.curves.first_rung, reduction_factor=2)
        shift, growing = self.method.shift, None
        if shift is not None and self.curves.bar is not None:
            growing = GrowingLadder(SPACE, {}, self.curves.bar, shift)
        sampler = self.method.sampler(self.seed, growing)
        self.study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        self.luck = np.random.default_rng(self.seed)
        self.starts: list[dict[str, Any]] = []
        if shift is not None:
            self.starts = ladder(SPACE, {}, shift)
        self.brackets: Brackets | None = None
        if self.method.schedule != "none":
            self.brackets = Brackets(SCHEDULES[self.method.schedule])

    @property
    def left(self) -> int:
        """How many configurations are unused."""
        return len(self.curves.points) - len(self.used)

    def run(self) -> Search:
        """Search until the budget is used."""
        most = BUDGET * self.curves.steps
        running: list[_Trial] = []
        while self.cost < most:
            while len(running) < self.method.slots and (trial := self._starting()) is not None:
                running.append(trial)
            if not running:
                break
            for trial in running:
                trial.step += self.curves.tick
            self.cost += self.curves.tick * len(running)
            running = [trial for trial in running if self._goes_on(trial)]
        return self

    def _starting(self) -> _Trial | None:
        """Return what to train next: a new trial, or one that goes on from its rung."""
        brackets = self.brackets
        if brackets is None:
            return self._next() if self.left else None
        if not self.left:
            brackets.no_more()
        if (place := brackets.next()) is not None:
            return self.trials[place]
        if not self.left or not brackets.wants_new:
            return None
        trial = self._next()
        self.trials[trial.place] = trial
        brackets.begin(trial.place)
        return trial

    def _waits(self, trial: _Trial) -> bool:
        """Return whether a trial has reached its rung, and let its bracket decide."""
        brackets, curves = self.brackets, self.curves
        if brackets is None:
            return False
        level = brackets.level_of(trial.place)
        rungs = curves.rungs_of(SCHEDULES[self.method.schedule])
        if level >= len(rungs) or trial.step != rungs[level]:
            return False
        score = float(curves.scores[trial.place, curves.rungs.index(trial.step)])
        trial.trial.report(score, trial.step)
        is_clear = not self.method.gated or curves.gate is None or score > curves.gate
        brackets.arrive(trial.place, Arrival((score,), lambda: is_clear))
        self._note_decisions()
        return True

    def _note_decisions(self) -> None:
        assert self.brackets is not None
        for decision in self.brackets.decisions():
            noted = [{"goes_on": decision.goes_on}]
            self.trials[decision.number].trial.set_user_attr(RUNGS, noted)

    def _ended(self, trial: _Trial) -> None:
        if self.brackets is not None:
            self.brackets.end(trial.place)
            self._note_decisions()

    def _next(self) -> _Trial:
        """Ask for a point, and train one of the nearest unused configurations in its place."""
        trial = self.study.ask()
        proposed = self.starts.pop(0) if self.starts else SPACE.suggest(trial)
        distances = (((self.curves.places - features(proposed)) / NEAR) ** 2).sum(axis=1)
        distances[list(self.used)] = math.inf
        place = int(self.luck.choice(np.argsort(distances)[: min(NEAREST, self.left)]))
        self.used.add(place)
        for name, distribution in SPACE.distributions.items():
            value = distribution.to_internal_repr(self.curves.points[place][name])
            self.study._storage.set_trial_param(trial._trial_id, name, value, distribution)
        return _Trial(optuna.Trial(self.study, trial._trial_id), place)

    def _goes_on(self, trial: _Trial) -> bool:
        curves, place = self.curves, trial.place
        if trial.step >= curves.ends[place]:
            self.study.tell(trial.trial, state=TrialState.FAIL)
            self._ended(trial)
            return False
        if trial.step >= curves.steps:
            self.study.tell(trial.trial, float(curves.finals[place]))
            self.done.append((self.cost, place))
            self._ended(trial)
            return False
        if trial.step not in curves.rungs:
            return True
        if self.method.halves:
            trial.trial.report(curves.scores[place, curves.rungs.index(trial.step)], trial.step)
        exits = self.method.exits and trial.step >= curves.diverged[place]
        if not (exits or trial.trial.should_prune()):
            return not self._waits(trial)
        self.study.tell(trial.trial, state=TrialState.PRUNED)
        self._ended(trial)
        self.dropped.add(place)
        return False

    def incumbents(self) -> list[tuple[int, int]]:
        """Return the costs at which the best finished configuration changed, and to which."""
        found: list[tuple[int, int]] = []
        for cost, place in self.done:
            if not found or self.curves.finals[place] > self.curves.finals[found[-1][1]]:
                found.append((cost, place))
        return found

    @property
    def hit(self) -> float:
        """The steps until the best finished configuration is a good one, or infinity."""
        hits = [cost for cost, place in self.incumbents() if self.curves.good[place]]
        return float(hits[0]) if hits and hits[0] <= BUDGET * self.curves.steps else math.inf

    def regret(self, trainings: int) -> float:
        """Return by how much the best falls short after a number of full trainings."""
        within = [p for c, p in self.incumbents() if c <= trainings * self.curves.steps]
        quality = self.curves.quality
        return float(quality.max() - (quality[within[-1]] if within else np.median(quality)))

    @property
    def loses(self) -> bool:
        """Whether the best configuration that was tried was dropped, or is still put aside."""
        gone = self.dropped | set([] if self.brackets is None else self.brackets.left)
        return max(self.used, key=lambda place: self.curves.finals[place]) in gone


@dataclass
class _Trial:
    trial: optuna.Trial
    place: int
    step: int = 0


# ---------------------------------------------------------------- the answers


def main() -> None:
    """Print a table of the methods for each table of curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", action="append", help="name, CSV file or prefix; repeatable")
    parser.add_argument("--method", action="append", choices=[*METHODS], help="repeatable")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--best", type=int, default=3, help="the good ones, where not smoothed")
    parser.add_argument("--bar", type=float, help="what is clearly above the untrained model")
    parser.add_argument("--gate", type=float, help="the same on a report's examples")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for source in options.table or sorted(path.stem for path in SHIPPED.glob("*.csv")):
        curves = Curves.read(source, options.best, options.bar, options.gate)
        print(
            f"\n{curves.name}: {len(curves.points)} configurations, {int(curves.good.sum())} good; "
            f"{curves.steps} steps each; {options.seeds} seeds\n"
        )
        print("| method | median | 90 % | against TPE | regret after 6, 12, 24 | best dropped |")
        print("|---|---|---|---|---|---|")
        wanted = options.method or [*METHODS]
        compared = None
        for name in dict.fromkeys([AGAINST, *wanted]):
            found = [Search(curves, METHODS[name], seed).run() for seed in range(options.seeds)]
            hits = np.array([search.hit for search in found])
            compared = hits if name == AGAINST else compared
            print(_row(name, found, hits, compared), flush=True)


def _row(name: str, found: Sequence[Search], hits: Array, compared: Array | None) -> str:
    median, p90 = (quantile(hits, share) for share in (0.5, 0.9))
    drawn = np.random.default_rng(0).integers(len(hits), size=(500, len(hits)))
    spread = np.array([quantile(hits[rows], 0.5) for rows in drawn])
    error = f" ± {spread.std():.0f}" if np.isfinite(spread).all() else ""
    times = "" if compared is None else f"{quantile(compared, 0.5) / median:.1f}"
    regrets = (f"{np.mean([search.regret(n) for search in found]):.3g}" for n in AFTER)
    lost = np.mean([search.loses for search in found])
    found_after = (f"{_steps(median)}{error}", _steps(p90), times)
    cells = (name, *found_after, ", ".join(regrets), f"{lost:.0%}")
    return f"| {' | '.join(cells)} |"


def quantile(values: Array, share: float) -> float:
    """Return the smallest value that this share of all does not exceed."""
    return float(np.sort(values)[max(0, math.ceil(share * len(values)) - 1)])


def _steps(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "–"


if __name__ == "__main__":
    main()
