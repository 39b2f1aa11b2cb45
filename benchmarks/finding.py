"""The figures of docs/finding.md: what matters in a narrow and in a wide search space, by seed.

For every seed it generates the corpus, builds the base and runs both shipped studies with that
seed, then prints the importances with their intervals.  Studies are kept under --out, so an
interrupted run continues.

    python benchmarks/finding.py --seeds 0 1 2 3 4
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

import analysis
from analysis.importance.variance import Importances
from study.engines.engine_choice import EngineChoice
from study.hardware import available_cores
from study.runner import run_study
from study.spec.files import load_spec
from study.views.terminal import make_view

PRESETS = ("petroleum", "petroleum-wide")


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--trials", type=int, default=None)
    parser.add_argument("--surrogate", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/finding"))
    options = parser.parse_args()
    for preset in options.presets:
        studies = [_study(preset, seed, options) for seed in options.seeds]
        print(f"\n### {preset}\n")
        _print_scores(options.seeds, studies)
        found = [analysis.importances_of(data, surrogate=options.surrogate) for data in studies]
        _print_importances(options.seeds, found)
        _print_joint(options.seeds, [analysis.confounding_of(data) for data in studies])


def _study(preset: str, seed: int, options: argparse.Namespace) -> Any:
    """Run or continue one study; corpus, base and search all have the same seed."""
    spec = load_spec(preset, {"seed": seed, "data.seed": seed, "search.trials": options.trials})
    out = options.out / f"{preset}-{seed}"
    view = make_view(spec, Console(stderr=True))
    if run_study(spec, out, view, choice=EngineChoice(workers=available_cores())).stopped_early:
        raise SystemExit("stopped; the same command continues")
    return analysis.load(out)


def _print_scores(seeds: Iterable[int], studies: Iterable[Any]) -> None:
    print("| seed | base | default LoRA | worst | median | best | best trial |")
    print("|---|---|---|---|---|---|---|")
    for seed, data in zip(seeds, studies, strict=True):
        values = sorted(trial.values[0] for trial in data.complete)
        best = data.best_trial.params
        point = f"α {best['alpha']}, r {best['rank']}, lr {best['learning_rate']:.2g}"
        scores = [data.score("base", "bleu", "dev"), data.score("default", "bleu", "dev")]
        scores += [values[0], statistics.median(values), values[-1]]
        print(f"| {seed} | " + " | ".join(f"{s:.1f}" for s in scores) + f" | {point} |")


def _print_importances(seeds: Iterable[int], found: Iterable[Importances]) -> None:
    found = list(found)
    names = sorted({p.name for result in found for p in result.parameters})
    print("\n| seed | surrogate | held-out R² | " + " | ".join(names) + " |")
    print("|" + "---|" * (len(names) + 3))
    for seed, result in zip(seeds, found, strict=True):
        shares = {p.name: p for p in result.parameters}
        cells = [_cell(shares[name]) if name in shares else "" for name in names]
        head = f"| {seed} | {result.surrogate} | {result.held_out_r2:.2f} | "
        print(head + " | ".join(cells) + " |")


def _print_joint(seeds: Iterable[int], found: Iterable[Any]) -> None:
    """How much of the joint effect of α, rank and learning rate one column alone explains."""
    names = ("alpha", "learning_rate", "scale", "effective_lr", "rslora_effective_lr")
    print("\n| seed | joint share | " + " | ".join(names) + " |")
    print("|" + "---|" * (len(names) + 2))
    for seed, result in zip(seeds, found, strict=True):
        parts = {column.name: column for column in result.columns}
        cells = [_interval(parts[name].explained, parts[name].ci) for name in names]
        print(
            f"| {seed} | {_interval(result.joint, result.joint_ci)} | " + " | ".join(cells) + " |"
        )


def _interval(value: float, ci: tuple[float, float]) -> str:
    return f"{value:.2f} [{ci[0]:.2f}, {ci[1]:.2f}]"


def _cell(parameter: Any) -> str:
    mark = "" if parameter.significant else " (n.s.)"
    return _interval(parameter.importance, parameter.ci) + mark


if __name__ == "__main__":
    main()
