"""The finding on real models: what matters for a checkpoint in a narrow and in a wide search space.

`run` trains one study of random trials and continues where it stopped; hours on two cores.  The
data are TSV or JSONL files of your own, which stay where they are.  At the end trials and scores,
but no texts, go to a small database, which `table` reads: anybody can analyse it again.

    python benchmarks/finding_real.py run gemma-narrow --base FOLDER --train train.tsv --dev dev.tsv
    python benchmarks/finding_real.py table benchmarks/finding/*.db
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from rich.console import Console

import analysis
from analysis.importance.answers import answer_of, tuning_of
from analysis.importance.confounding import Confounding
from analysis.importance.result import Importances
from analysis.importance.tuning import Gain, Tuning
from analysis.studies.load import StudyData
from analysis.wording import interval, label_of, listing, share
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
    """Print the studies side by side: scores, parameters, products, and what to tune."""
    found = [Finding.of(data) for data in studies]
    places = ("worst", "quarter", "median", "three quarters", "best")
    _print_table(("study", "trials", "score", *places), [f.scores for f in found])
    methods = ("Optuna's fANOVA", "PED-ANOVA", "ours", "gain from tuning it alone", "good enough")
    _print_table(("study", "parameter", *methods), [row for f in found for row in f.parameters])
    print("\nIntervals are of 95 %; n.s.: chance alone could give that share.")
    joint = ("learning rate, α, rank together", "best column", "p of lr · α / rank^p", "flat range")
    _print_table(("study", *joint), [f.product for f in found])
    for one in found:
        print("\n" + "\n".join(one.sentences))


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


@dataclass(frozen=True)
class Finding:
    """All that is said of one study."""

    data: StudyData
    optunas: Mapping[str, float]
    best: Mapping[str, float]
    ours: Importances
    joint: Confounding | None
    worth: Tuning

    @classmethod
    def of(cls, data: StudyData) -> Finding:
        """Compute it; Optuna's normalised fANOVA is how the 0.97 was computed."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize")  # shares are the same either way
        study.add_trials(list(data.complete))
        return cls(
            data,
            get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)),
            answer_of(data, "best").shares,
            analysis.importances_of(data),
            analysis.confounding_of(data),
            tuning_of(data),
        )

    @property
    def scores(self) -> list[str]:
        """Quantiles of the scores, the worst first."""
        values = [self.data.value(trial) for trial in self.data.complete]
        spots = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
        if self.data.direction != "maximize":
            spots = spots[::-1]
        name = label_of(self.data.objective)
        return [self.data.name, str(len(values)), name, *(f"{v:.3g}" for v in spots)]

    @property
    def parameters(self) -> list[list[str]]:
        """A row per parameter, the one with our largest share first."""
        gains = {g.name: g for g in self.worth.gains}
        flat = {r.name: r.words for r in self.worth.flat}
        return [
            [
                self.data.name,
                p.name,
                f"{self.optunas.get(p.name, 0.0):.2f}",
                f"{self.best.get(p.name, 0.0):.2f}",
                f"{p.importance:.2f} ({interval(p.ci, share)}){'' if p.significant else ' n.s.'}",
                _gain(gains[p.name]) if p.name in gains else "",
                flat.get(p.name, ""),
            ]
            for p in self.ours.parameters
        ]

    @property
    def product(self) -> list[str]:
        """The joint share, the exponent of the rank, and the product that is flat."""
        flat = self.worth.product
        said = f"{flat.name}: {flat.words}" if flat else "none"
        if self.joint is None:
            return [self.data.name, "–", "–", "–", said]
        column, p = self.joint.best, self.joint.exponent
        return [
            self.data.name,
            f"{share(self.joint.joint)} ({interval(self.joint.joint_ci, share)})",
            f"{column.formula} explains {share(column.explained)}",
            "unknown" if p is None or p.unknown else f"{share(p.power)} ({interval(p.ci, share)})",
            said,
        ]

    @property
    def sentences(self) -> Iterator[str]:
        """What to tune, what not, and how sure that is."""
        worth, unit = self.worth, label_of(self.data.objective)
        yield f"**{self.data.name}**: gains are over the default, in {unit}.\n"
        if worth.reasons or not self.ours.reliable:
            reasons = dict.fromkeys((*worth.reasons, *self.ours.reasons))
            yield f"- Not reliable: {'; '.join(reasons)}."
        sure = [g for g in worth.gains if g.is_worth_it]
        yield f"- Tune {listing([g.name for g in sure]) if sure else 'nothing for certain'}."
        rest = [f"{g.name} (at most {g.ci[1]:.2g})" for g in worth.gains if not g.is_worth_it]
        if rest:
            yield f"- Leave {listing(rest)}."
        yield (
            f"- All together: {_gain(worth.together)}. Good enough is within {worth.margin:.2g} of "
            f"the best. {self.ours.surrogate}, held-out R² {self.ours.held_out_r2:.2f}."
        )


def _gain(gain: Gain) -> str:
    low, high = (f"{end:.2g}" for end in gain.ci)
    return f"+{gain.gain:.2g} ({low} to {high})" if gain.is_worth_it else f"at most {high}"


if __name__ == "__main__":
    main()
