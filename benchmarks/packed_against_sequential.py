"""The packed engine against the sequential one: the same study, equally many workers.

Aim: 3 times the trials per minute on the embedded petroleum study.  The sides run alternately, each
as a whole `optuna-study run`; no evaluation on the way, no pruning.  Batches smaller than the
study's 16 say how it changes with the size of a step.

    python benchmarks/packed_against_sequential.py --rounds 3 --batch-sizes 16 4 1
"""

from __future__ import annotations

import argparse

from packed_sides import alternately, parser_of, print_ratios, study_side


def main() -> None:
    """Run both engines in turn for every batch size."""
    parser = parser_of(__doc__)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16])
    options = parser.parse_args()
    for batch_size in options.batch_sizes:
        print(f"batch size {batch_size}")
        sides = {name: _side(name, batch_size, options) for name in ("packed", "sequential")}
        print_ratios(alternately(sides, options.rounds))


def _side(engine: str, batch_size: int, options: argparse.Namespace) -> object:
    arguments = ["--engine", engine, "--slots", options.slots, "--workers", str(options.workers)]
    return study_side(
        arguments,
        training__batch_size=batch_size,
        training__report_every=120,
        search__trials=options.trials,
    )


if __name__ == "__main__":
    main()
