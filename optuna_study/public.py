"""What scripts and notebooks call: `from optuna_study import load, importances, …`.

Wherever a function takes a study, it takes what `load` returns or anything that `load` reads: a run
folder, a database file or a storage URL.  A user's mistake raises `InputError`, with one line per
problem.  What a function needs is imported when it is called, so that only training waits for
torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from analysis.comparison.adapters import Adapters
    from analysis.comparison.confirmation import Confirmation
    from analysis.comparison.contrast import Contrast
    from analysis.importance.confounding import Confounding
    from analysis.importance.other_questions import Answer
    from analysis.importance.result import Importances
    from analysis.plots.trade_offs import TradeOff
    from analysis.studies.study_data import StudyData
    from analysis.surrogates.fits import Surface
    from study.engines.engine_choice import EngineChoice
    from study.finished.load_adapters import Adapted
    from study.runner import StudyRun
    from study.spec.sections import StudySpec
    from study.tasks.base import Task
    from study.views.base import View

    Study = StudyData | str | Path
    Direction = Literal["maximize", "minimize"]
    Counted = Callable[[int, int], None]

# ---------------------------------------------------------------- train


def load_spec(file: str | Path, changes: Mapping[str, Any] | None = None) -> StudySpec:
    """Read and check a study file.

    Args:
        file: A TOML file, or the name of a shipped study such as `petroleum`.
        changes: New values by dotted key, as the options of `optuna-study run` set them.

    Returns:
        The study, complete with all defaults; `to_toml()` writes it out again.

    Raises:
        InputError: There is no such file, or it is not a valid study.

    Example:
        >>> load_spec("petroleum", {"search.trials": 8}).search.trials
        8
    """
    from study.spec.files import load_spec

    return load_spec(file, changes)


def run_study(
    study: str | Path | StudySpec,
    out: str | Path | None = None,
    *,
    storage: str | None = None,
    choice: EngineChoice | None = None,
    task: Task | None = None,
    progress: bool = False,
) -> StudyRun:
    """Run a study, or continue it where it stopped.

    Args:
        study: A study file, the name of a shipped study, or what `load_spec` returned.
        out: The run folder, which gets `study.db`, `spec.toml` and `adapters/`; `runs/NAME` unless
            given.
        storage: An Optuna storage URL to use in place of `OUT/study.db`.
        choice: The engine, its slots and worker processes; one process that packs unless given.
        task: A task of your own in place of the one that the study file names.
        progress: Whether to show bars on standard error, as `optuna-study run` does.

    Returns:
        The folder and storage of the run, and whether it stopped before its budget was used.

    Raises:
        InputError: The study, its data, model, storage or folder cannot be used; trials that were
            recorded are kept.

    Example:
        >>> run = run_study("petroleum", progress=True)  # doctest: +SKIP
        >>> load(run.folder).best_trial.params           # doctest: +SKIP
    """
    from study import runner
    from study.engines.engine_choice import PACKED
    from study.spec.sections import StudySpec

    spec = study if isinstance(study, StudySpec) else load_spec(study)
    return runner.run_study(
        spec,
        Path("runs", spec.name) if out is None else Path(out),
        _view(spec, progress),
        storage=storage,
        choice=choice or PACKED,
        task=task,
    )


def confirm(
    run: str | Path,
    *,
    top: int = 3,
    trials: Sequence[int] = (),
    seeds: int = 5,
    test: str | Path | None = None,
    choice: EngineChoice | None = None,
    trust_study: bool = False,
    progress: bool = False,
) -> Confirmation:
    """Train the best trials and the baselines again on fresh seeds, and test the winner.

    The same call continues what was interrupted; what is done already is not trained again.

    Args:
        run: The run folder of a study.
        top: How many of the best trials to train again.
        trials: More trials to train again, by number.
        seeds: How many fresh seeds each gets.
        test: A file of held-out examples; the study's `data.test` unless given.
        choice: The engine, its slots and worker processes; one process that packs unless given.
        trust_study: Whether the code that the stored study names may run; review it first.
        progress: Whether to show bars on standard error, as `optuna-study confirm` does.

    Returns:
        The winner against each other model on held-out examples, and how much of its score was
        luck.

    Raises:
        InputError: It is not a run folder, there are no held-out examples, the study names code,
            or the best trial could not be trained again.

    Example:
        >>> confirm("runs/petroleum", top=1, seeds=5).tested  # doctest: +SKIP
    """
    from analysis.comparison.confirmation import confirmation_of
    from study.confirming import chosen_trials, confirm_study
    from study.engines.engine_choice import PACKED
    from study.errors import InputError
    from study.spec.files import stored_spec

    folder, data = Path(run), load(run)
    held_out = None if test is None else Path(test)
    spec = stored_spec(data.spec_text, str(folder), test=held_out, trust_study=trust_study)
    confirm_study(
        spec,
        folder,
        _view(spec, progress),
        chosen_trials(data.ranked(), top, trials),
        seeds=seeds,
        choice=choice or PACKED,
    )
    found = confirmation_of(load(run, data.name))
    if found is None:
        raise InputError(f"{run}: the best trial could not be trained again")
    return found


def load_adapters(run: str | Path, *, trust_study: bool = False) -> Adapted:
    """Load the base of a study with all adapters that its run folder holds.

    Args:
        run: The run folder of a study.
        trust_study: Whether the code that the stored study names may run; review it first.

    Returns:
        An object whose `model` is an ordinary PEFT model, with the adapters in `names`, and whose
        `answers(text)` says what the base and each adapter make of a text.

    Raises:
        InputError: There are no adapters, the task answers no text, the study names code, or the
            base cannot be loaded.

    Example:
        >>> load_adapters("runs/petroleum").answers("We test the drill bits.")  # doctest: +SKIP
    """
    from study.finished.load_adapters import load_adapters

    return load_adapters(run, load(run).spec_text, trust_study=trust_study)


def _view(spec: StudySpec, progress: bool) -> View:
    if not progress:
        from study.views.base import QUIET

        return QUIET
    from rich.console import Console

    from study.views.terminal import make_view

    return make_view(spec, Console(stderr=True))


# ---------------------------------------------------------------- read and ask


def load(
    target: str | Path,
    study_name: str | None = None,
    *,
    space: Mapping[str, BaseDistribution] | str | Path | None = None,
    objective: str | None = None,
    direction: Direction = "maximize",
) -> StudyData:
    """Read a study, without changing it: one of this program's or any other Optuna study.

    Args:
        target: A run folder, an SQLite or journal file, a storage URL, or a CSV file of results.
        study_name: Which study, where the target holds several.
        space: For a CSV file, its search space: a shipped one, a TOML file, or Optuna's
            distributions by name.
        objective: For a CSV file, the column to explain.
        direction: For a CSV file, whether larger values of it are better.

    Returns:
        The study. `trials` and `scores` are tables, `outputs("best")` shows what the best trial
        wrote, `best_trial` and `ranked()` are Optuna's trials.

    Raises:
        InputError: There is no study there, or it is damaged.

    Example:
        >>> study = load("runs/petroleum")  # doctest: +SKIP
        >>> study.trials.head()             # doctest: +SKIP
    """
    from analysis.studies.load import load

    return load(target, study_name, space=space, objective=objective, direction=direction)


def importances(
    study: Study,
    objective: str | None = None,
    *,
    direction: Direction | None = None,
    best: float | None = None,
    pruned: Literal["drop", "last", "worst"] = "drop",
    subsets: Sequence[Sequence[str]] = (),
    surrogate: str = "auto",
    evaluator: str = "fanova",
    resamples: int = 100,
    seed: int = 0,
    progress: Counted | None = None,
) -> Importances:
    """Say which parameters mattered, by how much, and whether to believe it (functional ANOVA).

    Args:
        study: A study, or where to read it.
        objective: The number to explain: any of `target_names(study)`; the first objective unless
            given.
        direction: Whether more of it is better, where the study does not say.
        best: A fraction, such as 0.1, to ask about the best trials in place of all.
        pruned: How pruned trials count: not at all, by their last report, or as the worst value.
        subsets: Sets of parameters whose joint effect is wanted besides.
        surrogate: `auto`, `gp` or `forest`.
        evaluator: `fanova`, or `fanova-original` for the authors' package, an extra.
        resamples: From how many refits the intervals come.
        seed: The seed of the resampling.
        progress: Called with (done, total) now and then.

    Returns:
        Shares of the variance with intervals, a chance line and a verdict; `to_frame()` is a table,
        `plots.plot_importances(result)` a figure.

    Raises:
        InputError: The study has no such number, or its trials contradict each other.

    Example:
        >>> importances("runs/petroleum", "general_bleu")  # doctest: +SKIP
    """
    from analysis.importance.answers import importances_of

    return importances_of(
        _read(study),
        objective,
        surrogate,
        seed,
        progress,
        resamples,
        direction=direction,
        evaluator=evaluator,
        policy=pruned,
        quantile=best,
        subsets=subsets,
    )


def answer(
    study: Study,
    question: Literal["best", "gain", "local"],
    objective: str | None = None,
    *,
    direction: Direction | None = None,
    best: float | None = None,
    surrogate: str = "auto",
    seed: int = 0,
) -> Answer:
    """Answer another question than where the variance comes from.

    Args:
        study: A study, or where to read it.
        question: `best`: what leads into the best fraction of the trials; `gain`: which changes
            bought the gain over the default; `local`: what still matters around the best trial.
        objective: The number to explain; the first objective unless given.
        direction: Whether more of it is better, where the study does not say.
        best: The fraction that `best` asks about; 0.1 unless given.
        surrogate: `auto`, `gp` or `forest`.
        seed: The seed of the surrogate.

    Returns:
        The share of each parameter, or the steps from the default to the best.

    Raises:
        InputError: There are too few trials to answer from.

    Example:
        >>> answer("runs/petroleum", "gain").steps  # doctest: +SKIP
    """
    from analysis.importance.answers import answer_of

    return answer_of(
        _read(study), question, objective, surrogate, seed, direction=direction, quantile=best
    )


def confounding(study: Study, objective: str | None = None, *, seed: int = 0) -> Confounding | None:
    """Say how α, rank and learning rate act together, and which product of them says it best.

    Args:
        study: A study, or where to read it.
        objective: The number to explain; the first objective unless given.
        seed: The seed of the refits.

    Returns:
        Their joint effect, and how much of it each coordinate explains; None where fewer than two
        of them varied.

    Raises:
        InputError: The study has no such number, or its trials contradict each other.

    Example:
        >>> confounding("runs/petroleum")  # doctest: +SKIP
    """
    from analysis.importance.answers import confounding_of

    return confounding_of(_read(study), objective, seed)


def surface(
    study: Study,
    parameters: tuple[str, str] | None = None,
    objective: str | None = None,
    *,
    seed: int = 0,
) -> Surface | None:
    """Compute the mean of one number over two parameters, all others averaged out.

    Args:
        study: A study, or where to read it.
        parameters: The two; α and the learning rate unless given.
        objective: The number; the first objective unless given.
        seed: The seed of the refits.

    Returns:
        The surface, which `plots.plot_surface(result, study)` draws; None where the study did not
        vary α and learning rate.

    Raises:
        InputError: A named parameter did not vary.

    Example:
        >>> surface("runs/petroleum", ("alpha", "rank"))  # doctest: +SKIP
    """
    from analysis.importance.answers import surface_of

    return surface_of(_read(study), parameters, objective, seed)


def target_names(study: Study) -> list[str]:
    """List what can be explained: objectives, stored metrics, costs.

    Args:
        study: A study, or where to read it.

    Returns:
        The names that `importances`, `answer` and the others take as `objective`.

    Raises:
        InputError: There is no study to read.

    Example:
        >>> target_names("runs/petroleum")[:2]  # doctest: +SKIP
        ['bleu', 'chrf']
    """
    from analysis.studies.targets import target_names

    return target_names(_read(study))


def trade_offs(study: Study, objective: str | None = None) -> list[TradeOff]:
    """Set the score against each cost: trainable parameters, seconds, memory.

    Args:
        study: A study, or where to read it.
        objective: The objective; the first unless given.

    Returns:
        One entry per cost that differs between trials; `plots.plot_trade_off(study, entry)` draws
        it.

    Raises:
        InputError: The study has no such objective.

    Example:
        >>> [found.cost for found in trade_offs("runs/petroleum")]  # doctest: +SKIP
    """
    from analysis.plots.trade_offs import trade_offs

    return trade_offs(_read(study), objective)


# ---------------------------------------------------------------- compare and report


@overload
def compare(
    a: Study,
    b: None = None,
    metric: str | Sequence[str] | None = None,
    split: str = "dev",
    *,
    trials: Sequence[int] = (),
    seed: int = 0,
) -> Adapters: ...


@overload
def compare(
    a: Study, b: Study, metric: str | None = None, split: str = "dev", *, seed: int = 0
) -> Contrast: ...


def compare(
    a: Study,
    b: Study | None = None,
    metric: str | Sequence[str] | None = None,
    split: str = "dev",
    *,
    trials: Sequence[int] = (),
    seed: int = 0,
) -> Adapters | Contrast:
    """Test the best of two studies against each other, or the adapters of one against its base.

    Both are tested example by example. `comparison.compare_trials(study, 3, 7)` tests any two
    trials of one study.

    Args:
        a: A study, or where to read it.
        b: The other study; without it, the base of `a` is tested against its adapters.
        metric: By which metric; for one study several may be named, and all are taken unless given.
        split: On which examples: `dev` or `general`.
        trials: Of one study, which adapters by the number of their trial; all unless given, and
            the best five where there are more than nine.
        seed: The seed of the resampling.

    Returns:
        For two studies the difference with its interval and p-value; for one, scores and
        differences for every adapter and metric.

    Raises:
        InputError: The studies did not score the same examples by the same metric, or nothing is
            stored to compare.

    Example:
        >>> compare("runs/petroleum", "runs/petroleum-wide")  # doctest: +SKIP
        >>> compare("runs/petroleum", trials=[3, 5])          # doctest: +SKIP
    """
    from study.errors import InputError

    if b is None:
        from analysis.comparison.adapters import against_base

        metrics = [metric] if isinstance(metric, str) else list(metric or ())
        return against_base(_read(a), metrics, split, trials, seed=seed)
    if trials or not (metric is None or isinstance(metric, str)):
        raise InputError("compare: two studies are compared by one metric and their best trials")
    from analysis.comparison.between_studies import compare_studies

    return compare_studies(_read(a), _read(b), metric, split, seed)


def report(
    study: Study | Sequence[Study],
    out: str | Path,
    *,
    surrogate: str = "auto",
    resamples: int | None = None,
    seed: int = 0,
    progress: Counted | None = None,
) -> Path:
    """Write a study, or several side by side, as one HTML page that needs no network.

    Args:
        study: A study, or where to read it; or a list of them.
        out: The file to write.
        surrogate: `auto`, `gp` or `forest`.
        resamples: From how many refits the intervals come; as many as the study's size affords
            unless given.
        seed: The seed of the resampling.
        progress: Called with (done, total) now and then.

    Returns:
        The path of the page.

    Raises:
        InputError: There is no study to read, or the file cannot be written.

    Example:
        >>> report("runs/petroleum", "page.html")  # doctest: +SKIP
    """
    from analysis.studies.study_data import StudyData
    from reports.build import report_page
    from reports.page.render import render, write

    studies = [study] if isinstance(study, (StudyData, str, Path)) else study
    page = report_page(
        [_read(one) for one in studies],
        surrogate=surrogate,
        resamples=resamples,
        seed=seed,
        progress=progress,
    )
    return write(render(page), Path(out))


def _read(study: Study) -> StudyData:
    from analysis.studies.study_data import StudyData

    return study if isinstance(study, StudyData) else load(study)
