"""Does it pay to follow `optuna-study next`?  The same number of trials, spent in two ways.

One way continues the study in its own space; the other spends the second half in the space that
`next` proposes after the first half.  Printed for each seed: the mean score of the second half's
trials, and the best score, both ways.  The first half is the same study.

    python benchmarks/next_study.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import statistics
import tomllib
from pathlib import Path

from rich.console import Console

import analysis
from analysis.next_study.proposal import proposal_of
from analysis.studies.study_data import StudyData, is_enqueued
from reports.next_file import next_file
from study.engines.engine_choice import EngineChoice
from study.hardware import available_cores
from study.runner import run_study
from study.spec.files import load_spec
from study.spec.sections import StudySpec, parse_spec
from study.views.terminal import make_view


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--preset", default="petroleum-wide")
    parser.add_argument("--half", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("runs/next"))
    options = parser.parse_args()
    print("| seed | continued: mean, best | as `next` says: mean, best |")
    print("|---|---|---|")
    for seed in options.seeds:
        continued, proposed = _both_ways(seed, options)
        print(f"| {seed} | {_scores(continued)} | {_scores(proposed)} |", flush=True)


def _both_ways(seed: int, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Return the scores of the second half's sampled trials: in the old space, in the new one."""
    half = options.half
    changed = {"seed": seed, "data.seed": seed, "search.trials": half}
    first = load_spec(options.preset, changed)
    folder = options.out / f"{options.preset}-{seed}"
    file = folder / "next.toml"
    if not file.exists():
        data = _run(first, folder)
        file.write_text(next_file(data, proposal_of(data)), encoding="utf-8")
    second = load_spec(options.preset, {**changed, "search.trials": 2 * half})
    continued = _values(_run(second, folder))[half:]
    spec = parse_spec(tomllib.loads(file.read_text(encoding="utf-8")), str(file))
    enqueued = len(spec.search.enqueue)
    search = spec.search.model_copy(update={"trials": half + enqueued})
    return continued, _values(_run(spec.model_copy(update={"search": search}), Path(f"{folder}-2")))


def _run(spec: StudySpec, folder: Path) -> StudyData:
    view = make_view(spec, Console(stderr=True))
    if run_study(spec, folder, view, choice=EngineChoice(workers=available_cores())).stopped_early:
        raise SystemExit("stopped; the same command continues")
    return analysis.load(folder)


def _values(data: StudyData) -> list[float]:
    return [data.value(trial) for trial in data.complete if not is_enqueued(trial)]


def _scores(values: list[float]) -> str:
    return f"{statistics.fmean(values):.1f}, {max(values):.1f}"


if __name__ == "__main__":
    main()
