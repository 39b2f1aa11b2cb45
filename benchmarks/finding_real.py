"""The finding on real models: what matters for a checkpoint in a narrow and in a wide search space.

`run` trains one study of random trials and continues where it stopped; hours on two cores.  The
data are TSV or JSONL files of your own, which stay where they are.  At the end trials and scores,
but no texts, go to a small database, which `table` reads: anybody can analyse it again.

    python benchmarks/finding_real.py run gemma-narrow --base FOLDER --train train.tsv --dev dev.tsv
    python benchmarks/finding_real.py table benchmarks/finding/*.db
"""

from __future__ import annotations

import argparse
from pathlib import Path

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from rich.console import Console

import analysis
from analysis.importance.answers import answer_of, tuning_of
from analysis.studies.load import StudyData
from study.engines.engine_choice import EngineChoice
from study.runner import run_study
from study.spec.files import load_spec
from study.views.terminal import make_view

HOME = Path(__file__).parent / "finding"
# Rows of the dev file: generating an answer to each of 96 costs as much as ten steps; to classify
# one costs little, and an accuracy over 96 has a standard error of .05.
DEV_ROWS = {"gemma": 96, "minilm": 384}

TRANSLATION = """
task = "sft"
[data]
chat_template = "plain"
instruction = "Translate from English into French."
max_tokens = 64
[training]
batch_size = 8
steps = 40
report_every = 40
[evaluation]
objective = "bleu"
metrics = ["bleu", "chrf", "loss"]
"""
PARAPHRASE = """
task = "classification"
[data]
source_column = "question1"
target_column = "question2"
[training]
batch_size = 8
steps = 40
report_every = 40
[evaluation]
objective = "accuracy"
metrics = ["accuracy", "loss"]
"""
SPACE = """
[search.parameters.learning_rate]
low = {low}
high = {high}
log = true
[search.parameters.alpha]
choices = {alphas}
[search.parameters.rank]
choices = {ranks}
"""
ALPHAS = [2**i for i in range(9)]
NARROW = SPACE.format(low=2e-4, high=5e-4, alphas=ALPHAS, ranks=[8, 16])
WIDE = SPACE.format(low=1e-5, high=1e-1, alphas=ALPHAS[3:8], ranks=[4, 8, 16, 32])
COMMON = """
[method]
target_modules = "all-linear"
[search]
space = "none"
sampler = "random"
trials = {trials}
[search.parameters.dropout]
low = 0.0
high = 0.3
"""
STUDIES = {
    "gemma-narrow": (TRANSLATION, NARROW, 48),
    "gemma-wide": (TRANSLATION, WIDE, 48),
    "minilm-narrow": (PARAPHRASE, NARROW, 128),
    "minilm-wide": (PARAPHRASE, WIDE, 128),
}


def main() -> None:
    """Run a study, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("name", choices=STUDIES)
    for option in ("base", "train", "dev"):
        running.add_argument(f"--{option}", type=Path, required=True)
    running.add_argument("--out", type=Path, default=Path("runs/finding-real"))
    running.add_argument("--trials", type=int)
    running.add_argument("--slots", type=int, default=4)
    tables = commands.add_parser("table")
    tables.add_argument("databases", type=Path, nargs="+")
    options = parser.parse_args()
    if options.command == "run":
        run(options)
    else:
        table([analysis.load(path) for path in options.databases])


def run(options: argparse.Namespace) -> None:
    """Run or continue one study, then write its trials and scores."""
    what, space, trials = STUDIES[options.name]
    options.out.mkdir(parents=True, exist_ok=True)
    rows = DEV_ROWS[options.name.split("-")[0]]
    dev = options.out / f"dev-{rows}{options.dev.suffix}"
    lines = options.dev.read_text(encoding="utf-8").splitlines(keepends=True)
    header = options.dev.suffix == ".tsv"
    dev.write_text("".join(lines[: rows + header]), encoding="utf-8")
    file = options.out / f"{options.name}.toml"
    text = what + COMMON.format(trials=options.trials or trials) + space
    file.write_text(f'name = "{options.name}"\n' + text, encoding="utf-8")
    given = {"base.model": options.base, "data.train": options.train, "data.dev": dev}
    spec = load_spec(file, {key: str(path.resolve()) for key, path in given.items()})
    folder = options.out / options.name
    view = make_view(spec, Console(stderr=True))
    choice = EngineChoice(slots=options.slots)
    if run_study(spec, folder, view, choice=choice).stopped_early:
        raise SystemExit("stopped; the same command continues")
    HOME.mkdir(exist_ok=True)
    place = HOME / f"{options.name}.db"
    place.unlink(missing_ok=True)
    optuna.copy_study(
        from_study_name=options.name,
        from_storage=f"sqlite:///{folder / 'study.db'}",
        to_storage=f"sqlite:///{place}",
    )
    table([analysis.load(place)])


def table(studies: list[StudyData]) -> None:
    """Print each study's importances by four methods, the exponent and what tuning is worth."""
    for data in studies:
        _print_scores(data)
        _print_importances(data)
        if (joint := analysis.confounding_of(data)) is not None:
            print(f"\n{joint.summary}.")
            if joint.exponent is not None:
                print(f"{joint.exponent.sentence}.")
        worth = tuning_of(data)
        print()
        print("\n".join(worth.sentences))
        flat = [*worth.flat, *([worth.product] if worth.product else [])]
        print(
            f"Within {worth.margin:.2f} of the best: "
            + "; ".join(f"{r.name} {r.words}" for r in flat)
        )


def _print_scores(data: StudyData) -> None:
    values = sorted(data.value(trial) for trial in data.complete)
    print(f"\n### {data.name}: {len(values)} trials, {data.objective}\n")
    print("| worst | quarter | median | three quarters | best |")
    print("|---|---|---|---|---|")
    places = (0, len(values) // 4, len(values) // 2, 3 * len(values) // 4, -1)
    print("| " + " | ".join(f"{values[i]:.3g}" for i in places) + " |")


def _print_importances(data: StudyData) -> None:
    """Optuna's normalised fANOVA is how the 0.97 was computed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")  # shares are the same either way
    study.add_trials(list(data.complete))
    optunas = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    best = answer_of(data, "best").shares
    ours = analysis.importances_of(data)
    print("\n| parameter | Optuna's fANOVA | PED-ANOVA | ours | 95 % interval | beyond chance |")
    print("|---|---|---|---|---|---|")
    for p in ours.parameters:
        print(
            f"| {p.name} | {optunas.get(p.name, 0.0):.2f} | {best.get(p.name, 0.0):.2f} "
            f"| {p.importance:.2f} | {p.ci[0]:.2f} to {p.ci[1]:.2f} "
            f"| {'yes' if p.significant else 'no'} |"
        )
    said = "reliable" if ours.reliable else f"not reliable: {'; '.join(ours.reasons)}"
    print(f"\n{ours.surrogate}, held-out R² {ours.held_out_r2:.2f}; {said}")


if __name__ == "__main__":
    main()
