"""The functions for scripts and notebooks: `from optuna_study import load, importances, …`.

An argument `study` accepts the result of `load`, a study of Optuna, or anything that `load` reads:
a run folder, a database file or a storage URL.  A user's mistake raises `InputError`, with one line
per problem.
Functions import what they need when called, so only training has to wait for torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

    from analysis.comparison.adapters import Adapters
    from analysis.comparison.confirmation import Confirmation
    from analysis.comparison.contrast import Contrast
    from analysis.importance.confounding import Confounding
    from analysis.importance.front import Front
    from analysis.importance.other_questions import Answer
    from analysis.importance.result import Importances
    from analysis.importance.tuning import Tuning
    from analysis.plots.trade_offs import TradeOff
    from analysis.studies.study_data import StudyData
    from analysis.surrogates.fits import Surface
    from study.engines.engine_choice import EngineChoice
    from study.finished.load_adapters import Adapted
    from study.runner import StudyRun
    from study.spec.sections import StudySpec
    from study.tasks.base import Task
    from study.views.base import View

    Study = StudyData | optuna.Study | str | Path
    Direction = Literal["maximize", "minimize"]
    Counted = Callable[[int, int], None]

# ---------------------------------------------------------------- train


def load_spec(file: str | Path, changes: Mapping[str, Any] | None = None) -> StudySpec:
    """Read and check a study file.

    Args:
        file: A TOML file, or the name of a shipped study such as `petroleum`.
        changes: New values by dotted key, such as `{"search.trials": 8}`.

    Returns:
        The study with all defaults filled in; `to_toml()` writes it as a study file.

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

    With `search.confirm`, the last six trials are left to `confirm(run.folder, seeds=2)`.

    Args:
        study: A study file, the name of a shipped study, or the result of `load_spec`.
        out: The run folder, for `study.db`, `spec.toml` and `adapters/`; `runs/NAME` by default.
        storage: An Optuna storage URL to use instead of `OUT/study.db`.
        choice: The engine, its slots and worker processes; one packing process by default.
        task: Your own task, instead of the one that the study file names.
        progress: Whether to show bars on standard error, as `optuna-study run` does.

    Returns:
        The folder and storage of the run, and whether it stopped before its budget was used.

    Raises:
        InputError: The study, its data, model, storage or folder cannot be used; recorded trials
            are kept.

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
    task: Task | None = None,
) -> Confirmation:
    """Retrain the best trials and the baselines on fresh seeds, and test the winner.

    Repeat the same call to continue after an interruption; finished trainings are kept.

    Args:
        run: The run folder of a study.
        top: How many of the best trials to retrain.
        trials: Numbers of more trials to retrain.
        seeds: How many fresh seeds to use per configuration.
        test: A file of held-out examples; the study's `data.test` by default.
        choice: The engine, its slots and worker processes; one packing process by default.
        trust_study: Whether to allow the code that the stored study names; review it first.
        progress: Whether to show bars on standard error, as `optuna-study confirm` does.
        task: The task of your own that the study was run with.

    Returns:
        The winner compared with every other model on held-out examples, and how much of its score
        was luck.

    Raises:
        InputError: `run` is not a run folder, there are no held-out examples, the study names code,
            or the best trial could not be retrained.

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
        task=task,
    )
    confirmation = confirmation_of(load(run, data.name))
    if confirmation is None:
        raise InputError(f"{run}: the best trial could not be retrained")
    return confirmation


def load_adapters(run: str | Path, *, trust_study: bool = False) -> Adapted:
    """Load the base of a study with all the adapters in its run folder.

    Args:
        run: The run folder of a study.
        trust_study: Whether to allow the code that the stored study names; review it first.

    Returns:
        An object with an ordinary PEFT `model`, the adapters' `names`, and `answers(text)`, which
        returns the answers of the base and of each adapter to a text.

    Raises:
        InputError: There are no adapters, the task does not produce text, the study names code, or
            the base cannot be loaded.

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
    """Read any Optuna study, from this program or another, without changing it.

    Args:
        target: A run folder, an SQLite or journal file, a storage URL, or a CSV file of results.
        study_name: The study to read, if the target contains several.
        space: For a CSV file, its search space: a shipped name, a TOML file, or Optuna's
            distributions by name.
        objective: For a CSV file, the column to explain.
        direction: For a CSV file, `maximize` or `minimize`.

    Returns:
        The study. `trials` and `scores` are tables, `outputs("best")` shows the outputs of the best
        trial, `best_trial` and `ranked()` are Optuna's trials.

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
    """Compute which parameters mattered, how much, and how certain that is (functional ANOVA).

    Args:
        study: A study, or where to read it.
        objective: The value to explain: any of `target_names(study)`; the first objective by
            default.
        direction: Whether to maximize or minimize it, if the study does not define that.
        best: A fraction, such as 0.1, to analyse only the best trials.
        pruned: `drop` ignores pruned trials, `last` uses their last report, `worst` gives them the
            worst value.
        subsets: Sets of parameters whose joint effects to compute too.
        surrogate: `auto`, `gp` or `forest`.
        evaluator: `fanova`, or `fanova-original` for the package of fANOVA's authors (an extra).
        resamples: The number of refits from which the intervals come.
        seed: The seed of the resampling.
        progress: Called with (done, total) from time to time.

    Returns:
        Shares of the variance with intervals and a verdict; `to_frame()` is a table,
        `plots.plot_importances(result)` a figure.

    Raises:
        InputError: The study has no such value, or its trials contradict each other.

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


def front(
    study: Study,
    objective: str | None = None,
    against: str | None = None,
    *,
    surrogate: str = "auto",
    seed: int = 0,
    progress: Counted | None = None,
) -> Front:
    """Compute what matters between two values, from the first alone to the second alone.

    Args:
        study: A study, or where to read it.
        objective: The first value: any of `target_names(study)`; the first objective by default.
        against: The second value, such as `general_bleu` for what is forgotten; the last objective
            by default.
        surrogate: `auto`, `gp` or `forest`.
        seed: The seed of the permutations.
        progress: Called with (done, total) from time to time.

    Returns:
        The importances of five weighted sums of both values.

    Raises:
        InputError: The study has no such value, or only one objective and no `against`.

    Example:
        >>> front("runs/petroleum", "bleu", "general_bleu")  # doctest: +SKIP
    """
    from analysis.importance.answers import front_of

    return front_of(_read(study), objective, against, seed, surrogate=surrogate, progress=progress)


def tuning(
    study: Study,
    objective: str | None = None,
    *,
    direction: Direction | None = None,
    margin: float | None = None,
    seed: int = 0,
) -> Tuning:
    """Compute what tuning each parameter gains over the default, and where the score is flat.

    Args:
        study: A study, or where to read it.
        objective: The value to gain in; the first objective by default.
        direction: Whether to maximize or minimize it, if the study does not define that.
        margin: How much less than the best is good enough, in the objective's units; by default
            the noise of one trial.
        seed: The seed of the posterior's draws.

    Returns:
        The gain of the best value of each parameter alone, and of all, with intervals; the ranges
        of values that are good enough. `sentences` says the gains in words.

    Raises:
        InputError: There are too few trials for an answer.

    Example:
        >>> tuning("runs/petroleum").sentences  # doctest: +SKIP
    """
    from analysis.importance.answers import tuning_of

    return tuning_of(_read(study), objective, seed, direction=direction, margin=margin)


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
    """Answer a question other than which parameters cause the variance.

    Args:
        study: A study, or where to read it.
        question: `best`: which parameters decide if a trial is among the best; `gain`: which
            changes produced the gain over the default; `local`: which parameters still matter near
            the best trial.
        objective: The value to explain; the first objective by default.
        direction: Whether to maximize or minimize it, if the study does not define that.
        best: The fraction for `best`; 0.1 by default.
        surrogate: `auto`, `gp` or `forest`.
        seed: The seed of the surrogate.

    Returns:
        The share of each parameter, or the steps from the default to the best.

    Raises:
        InputError: There are too few trials for an answer.

    Example:
        >>> answer("runs/petroleum", "gain").steps  # doctest: +SKIP
    """
    from analysis.importance.answers import answer_of

    return answer_of(
        _read(study), question, objective, surrogate, seed, direction=direction, quantile=best
    )


def confounding(study: Study, objective: str | None = None, *, seed: int = 0) -> Confounding | None:
    """Compute how α, rank and learning rate act together, and which product explains it best.

    Args:
        study: A study, or where to read it.
        objective: The value to explain; the first objective by default.
        seed: The seed of the refits.

    Returns:
        Their joint effect, and how much of it each product explains; None if fewer than two of them
        varied.

    Raises:
        InputError: The study has no such value, or its trials contradict each other.

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
    """Compute the mean of a value over two parameters, averaging over all others.

    Args:
        study: A study, or where to read it.
        parameters: The two parameters; α and the learning rate by default.
        objective: The value; the first objective by default.
        seed: The seed of the refits.

    Returns:
        The surface, which `plots.plot_surface(result, study)` draws; None if the study did not vary
        α and the learning rate.

    Raises:
        InputError: A named parameter did not vary.

    Example:
        >>> surface("runs/petroleum", ("alpha", "rank"))  # doctest: +SKIP
    """
    from analysis.importance.answers import surface_of

    return surface_of(_read(study), parameters, objective, seed)


def target_names(study: Study) -> list[str]:
    """List the values that can be explained: objectives, stored metrics, costs.

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
    """Relate the score to each cost: trainable parameters, seconds, memory.

    Args:
        study: A study, or where to read it.
        objective: The objective; the first by default.

    Returns:
        One entry per cost that differs between trials; `plots.plot_trade_off(study, entry)` draws
        it.

    Raises:
        InputError: The study has no such objective.

    Example:
        >>> [trade_off.cost for trade_off in trade_offs("runs/petroleum")]  # doctest: +SKIP
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
    """Compare the best trials of two studies, or the adapters of one study with its base.

    The tests are paired by example. `comparison.compare_trials(study, 3, 7)` compares any two
    trials of one study.

    Args:
        a: A study, or where to read it.
        b: The other study; without it, the adapters of `a` are compared with its base.
        metric: The metric to compare; for one study, one or several, and all by default.
        split: The examples to compare on: `dev` or `general`.
        trials: For one study, the trial numbers of the adapters; by default all, or the best five
            if there are more than nine.
        seed: The seed of the resampling.

    Returns:
        For two studies, the difference with its interval and p-value; for one, scores and
        differences for every adapter and metric.

    Raises:
        InputError: The studies did not score the same examples with the same metric, or there are
            no stored scores to compare.

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
        raise InputError("compare: two studies allow one metric and no trials")
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
    """Write a report on one or more studies: one HTML page that needs no network.

    Args:
        study: A study, or where to read it; or a list of them.
        out: The file to write.
        surrogate: `auto`, `gp` or `forest`.
        resamples: The number of refits from which the intervals come; by default it depends on the
            size of the study.
        seed: The seed of the resampling.
        progress: Called with (done, total) from time to time.

    Returns:
        The path of the page.

    Raises:
        InputError: There is no study to read, or the file cannot be written.

    Example:
        >>> report("runs/petroleum", "page.html")  # doctest: +SKIP
    """
    from reports.build import report_page
    from reports.page.render import render, write

    if isinstance(study, Sequence) and not isinstance(study, str):
        studies = [_read(item) for item in study]
    else:
        studies = [_read(study)]
    page = report_page(
        studies,
        surrogate=surrogate,
        resamples=resamples,
        seed=seed,
        progress=progress,
    )
    return write(render(page), Path(out))


def _read(study: Study) -> StudyData:
    from analysis.studies.study_data import StudyData

    if isinstance(study, StudyData):
        return study
    if isinstance(study, (str, Path)):
        return load(study)
    import optuna

    if not isinstance(study, optuna.Study):
        raise TypeError(
            "study: must be a study of `load`, an Optuna study, or where to read one (a run "
            f"folder, file or URL), got {type(study).__name__}"
        )
    from analysis.studies.load import of_optuna

    return of_optuna(study)
