"""The packed engine against Seq2SeqTrainer.hyperparameter_search with PEFT and Optuna.

Both search the embedded petroleum study: the same base, data, points of the space, steps, batch
size, dropout setting and evaluation at the end (plain_trainer.py says in which form the Trainer
runs).  The sides run alternately, each as whole processes on two cores.

Without pruning the measure is trials per minute; aim: 8 times one Trainer process.  What two such
processes side by side on one storage reach, and one with two threads, is printed as well.

    python benchmarks/packed_against_trainer.py --rounds 3

With --prune both halve successively on reports of 48 dev examples every 40 steps.  The two sides
train with different random draws, so for every seed the target is the lower of their two best
BLEU, which both reach; the measure is the time to the first trial that does.  Aim: 20 times less,
median over 5 seeds.  The time of the whole search, at whose end its best is known to be the best,
and the Trainer's without pruning are printed as well.

    python benchmarks/packed_against_trainer.py --prune --seeds 0 1 2 3 4
"""

from __future__ import annotations

import argparse
import statistics

from packed_sides import (
    Search,
    Side,
    alternately,
    parser_of,
    print_ratios,
    study_side,
    trainer_side,
)

STEPS, REPORT_EVERY = 120, 40
TWO_THREADS = ("--threads", "2")


def main() -> None:
    """Time the sides and print the ratios."""
    parser = parser_of(__doc__)
    parser.add_argument("--prune", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    if options.prune:
        _print_times_to_score(options)
    else:
        print_ratios(alternately(_whole_sides(options), options.rounds))


def _ours(options: argparse.Namespace, seed: int, pruner: str) -> Side:
    arguments = ["--engine", "packed", "--slots", options.slots, "--workers", str(options.workers)]
    return study_side(
        arguments,
        seed=seed,
        search__pruner=pruner,
        search__trials=options.trials,
        training__report_every=STEPS if pruner == "none" else REPORT_EVERY,
    )


# ---------------------------------------------------------------- without pruning


def _whole_sides(options: argparse.Namespace) -> dict[str, Side]:
    return {
        "packed": _ours(options, options.seeds[0], "none"),
        "one Trainer": trainer_side(1, options.trials, options.seeds[0]),
        "one Trainer, two threads": trainer_side(1, options.trials, options.seeds[0], *TWO_THREADS),
        "two Trainers": trainer_side(2, options.trials, options.seeds[0]),
    }


# ---------------------------------------------------------------- with pruning


def _print_times_to_score(options: argparse.Namespace) -> None:
    found = [alternately(_pruned_sides(options, seed), 1) for seed in options.seeds]
    ours = [one["packed, pruned"][0] for one in found]
    for name in ("one Trainer, pruned", "one Trainer"):
        theirs = [one[name][0] for one in found]
        print(f"\n{name}\n")
        print("| seed | target | packed s | Trainer s | ratio | whole searches' ratio |")
        print("|---|---|---|---|---|---|")
        rows = [_to_score(a, b) for a, b in zip(ours, theirs, strict=True)]
        for seed, (target, a, b, whole) in zip(options.seeds, rows, strict=True):
            print(f"| {seed} | {target:.1f} | {a:.1f} | {b:.1f} | {b / a:.1f} | {whole:.1f} |")
        _print_medians([b / a for _, a, b, _ in rows], [whole for *_, whole in rows])


def _pruned_sides(options: argparse.Namespace, seed: int) -> dict[str, Side]:
    return {
        "packed, pruned": _ours(options, seed, "asha"),
        "one Trainer, pruned": trainer_side(1, options.trials, seed, "--prune"),
        "one Trainer": trainer_side(1, options.trials, seed),
    }


def _to_score(ours: Search, theirs: Search) -> tuple[float, float, float, float]:
    """Return the target, the seconds of both sides to it, and the whole searches' ratio."""
    target = min(ours.best, theirs.best)
    whole = theirs.seconds / ours.seconds
    return target, ours.seconds_to(target), theirs.seconds_to(target), whole


def _print_medians(to_score: list[float], whole: list[float]) -> None:
    print(
        f"\nmedian ratio: {statistics.median(to_score):.2f} to the score, "
        f"{statistics.median(whole):.2f} of the whole searches"
    )


if __name__ == "__main__":
    main()
