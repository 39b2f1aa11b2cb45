"""Reading studies: ours, anybody's, and what is none."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import optuna_study
from analysis import StudyData, answer_of, importances_of, load
from analysis.importance.answers import points_of
from analysis.importance.question import Question
from reports.study_document import study_document, study_json
from study.errors import InputError
from study.store.storage import INCOMPLETE
from tests.synthetic import SPACE, write_foreign_study

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    """A study of two objectives that somebody else ran."""
    path = tmp_path_factory.mktemp("foreign") / "optuna.db"
    write_foreign_study(f"sqlite:///{path}")
    return load(path)


# ---------------------------------------------------------------- our own


def test_the_trials_frame_has_a_row_a_trial_and_typed_columns(petroleum: StudyData) -> None:
    """Parameters keep their types, and a column is named as the study names it."""
    frame = petroleum.trials
    assert len(frame) == 69
    assert {"number", "state", "bleu", *SPACE, "chrf", "general_bleu"} <= set(frame.columns)
    assert frame.alpha.dtype.kind == "i"
    assert frame.learning_rate.dtype.kind == "f"
    assert list(frame.number) == list(range(69))


def test_only_complete_trials_have_an_objective(petroleum: StudyData) -> None:
    """Optuna gives a pruned trial its last report as value: it must not pass for a result."""
    frame = petroleum.trials
    assert frame.bleu.notna().equals(frame.state == "COMPLETE")
    assert frame[frame.state == "PRUNED"].last_value.notna().all()


def test_the_best_trial_is_optunas(petroleum: StudyData, petroleum_run: Path) -> None:
    """Our ranking agrees with Optuna's own."""
    study = optuna.load_study(
        study_name="petroleum", storage=f"sqlite:///{petroleum_run / 'study.db'}"
    )
    assert petroleum.best_trial is not None
    assert petroleum.best_trial.number == study.best_trial.number


def test_scores_are_tidy_and_agree_with_the_trials(petroleum: StudyData) -> None:
    """One row a role, trial, split and metric; the search's dev BLEU is the objective."""
    scores = petroleum.scores
    assert len(scores) == (64 + 2) * 2 * 3
    dev = scores[(scores.role == "search") & (scores.split == "dev") & (scores.metric == "bleu")]
    assert dev.set_index("trial").score.to_dict() == pytest.approx(
        petroleum.trials.bleu.dropna().to_dict()
    )
    assert scores.signature.str.len().min() > 0


@pytest.mark.parametrize("who", ["base", "default", "best", 0])
def test_outputs_stand_beside_source_and_reference(petroleum: StudyData, who: str | int) -> None:
    """Every model's outputs come with the texts and a score an example."""
    frame = petroleum.outputs(who, "general")
    assert list(frame.columns) == ["source", "target", "output", "bleu", "chrf", "loss"]
    assert len(frame) == 72


def test_statistics_reproduce_the_stored_score(petroleum: StudyData) -> None:
    """The corpus score follows from the per-example statistics."""
    stored = petroleum.score("best", "bleu")
    assert petroleum.statistics("best", "bleu").score == pytest.approx(stored)


def test_a_missing_evaluation_says_what_there_is(petroleum: StudyData) -> None:
    """A lookup that fails names what could have been asked for."""
    with pytest.raises(LookupError, match=r"no baseline evaluation of 'nobody'.*'base', 'default'"):
        petroleum.outputs("nobody")


def test_baselines_answer_for_objectives_on_every_split(petroleum: StudyData) -> None:
    """`general_bleu` as an objective is the baseline's score on the general examples."""
    assert petroleum.baseline_value("base", "general_bleu") == petroleum.score(
        "base", "bleu", "general"
    )
    assert petroleum.baseline_value("base", "train_seconds") == 1.5
    assert petroleum.baseline_value("base", "unheard_of") is None


def test_the_spec_comes_back_as_a_dict(petroleum: StudyData) -> None:
    """The study file in the database is the study file."""
    assert petroleum.spec is not None
    assert petroleum.spec["training"]["steps"] == 120


def test_importances_leave_out_what_is_no_sample(petroleum: StudyData) -> None:
    """Enqueued, pruned and failed trials are counted but not used."""
    result = importances_of(petroleum, surrogate="gp", resamples=2)
    assert result.trials["used"] == 63
    assert (result.trials["complete"], result.trials["pruned"], result.trials["failed"]) == (
        64,
        3,
        2,
    )
    assert result.parameters[0].name == "alpha"


# ---------------------------------------------------------------- anybody's


def test_a_foreign_study_has_frames_too(foreign: StudyData) -> None:
    """Several objectives, every state, a conditional parameter: all in one frame."""
    frame = foreign.trials
    assert len(frame) == 31
    assert set(frame.state) == {"COMPLETE", "FAIL", "PRUNED", "RUNNING", "WAITING"}
    assert frame.loc[frame.optimizer == "adam", "momentum"].isna().all()
    assert frame.loc[frame.state == "COMPLETE", ["value_0", "value_1"]].notna().all(axis=None)
    assert foreign.scores.empty
    assert foreign.spec is None


def test_the_pareto_front_is_optunas(foreign: StudyData) -> None:
    """Our vectorised front agrees with Optuna's own."""
    study = optuna.load_study(study_name=foreign.name, storage=f"sqlite:///{foreign.target}")
    assert {t.number for t in foreign.pareto_trials} == {t.number for t in study.best_trials}


def test_each_objective_has_importances(foreign: StudyData) -> None:
    """An objective is chosen by name; one that there is not is refused with what there is."""
    result = importances_of(foreign, "value_1", surrogate="gp", resamples=2)
    assert result.parameters[0].name == "layers"
    with pytest.raises(InputError, match="allowed: value_0, value_1"):
        importances_of(foreign, "bleu")


def test_a_study_without_trials_is_a_study(tmp_path: Path) -> None:
    """Nothing to say is no error."""
    optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="empty")
    data = load(tmp_path / "x.db")
    assert data.trials.empty
    assert data.best_trial is None
    assert data.pareto_trials == []
    assert data.counts == {}
    assert "empty" in data._repr_html_()


def test_a_journal_file_is_a_target(tmp_path: Path) -> None:
    """Optuna's other file format reads the same."""
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    study = optuna.create_study(storage=storage, study_name="j")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    path = tmp_path / "journal.log"
    assert len(load(path).complete) == 3
    assert load(path).sampled is None
    path.write_bytes(path.read_bytes()[:-9])  # the third trial's end
    assert len(load(path).complete) == 2
    assert load(path).sampled == INCOMPLETE
    assert INCOMPLETE in str(study_document(load(path)))
    assert study_json(load(path))["incomplete"] == INCOMPLETE


@pytest.mark.parametrize("form", ["sqlite:///{}/x.db", "{}/journal.log"])
def test_choices_that_were_tuples_are_tuples_again(tmp_path: Path, form: str) -> None:
    """Optuna stores them as lists, which nothing can count or group; and reading does not warn."""
    target = form.format(tmp_path)
    storage: Any = target if "://" in target else JournalStorage(JournalFileBackend(target))
    choices: Any = [(1, 2), (3, (4, None)), {"a": 1}]
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=storage, study_name="t", sampler=sampler)
    with pytest.warns(UserWarning, match="Choices for a categorical distribution"):
        study.optimize(lambda t: float(len(t.suggest_categorical("t", choices))), n_trials=50)
    data = load(target)
    assert isinstance(data.distributions["t"], CategoricalDistribution)
    assert data.distributions["t"].choices == ((1, 2), (3, (4, None)), '{"a": 1}')
    assert data.trials.t.nunique() == 3
    assert answer_of(data, "best").shares == {"t": 1.0}


@pytest.mark.whole
@pytest.mark.parametrize("form", ["sqlite:///{}/x.db", "{}/journal.log"])
def test_values_that_overflow_a_variance_are_no_values(tmp_path: Path, form: str) -> None:
    """One trial that diverged to 1e300 does not make a reliable importance of NaN."""
    target = form.format(tmp_path)
    storage: Any = target if "://" in target else JournalStorage(JournalFileBackend(target))
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=storage, sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        value = trial.suggest_float("x", 0, 1) * (-1e300 if trial.number == 3 else 1)
        trial.report(value, 1)
        return value

    study.optimize(objective, n_trials=30)
    data = load(target)
    assert data.frozen_trials[3].value == data.frozen_trials[3].intermediate_values[1] == -math.inf
    found = importances_of(data, resamples=2)
    assert found.parameters[0].importance > 0.9
    assert "1 trial has no finite value, or one beyond 1e150, and is left out" in found.remarks


def test_several_studies_ask_for_a_name(tmp_path: Path) -> None:
    """The message names the studies."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    for name in ("one", "two"):
        optuna.create_study(storage=url, study_name=name)
    with pytest.raises(InputError, match="several studies; choose one with --study-name: one, two"):
        load(url)
    assert load(url, "two").name == "two"
    with pytest.raises(InputError, match="no study 'three'"):
        load(url, "three")


def test_names_that_are_taken_get_a_prefix(tmp_path: Path) -> None:
    """A parameter named `state` and an attribute named as a parameter do not overwrite anything."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="clash")
    trial = study.ask({"state": FloatDistribution(0, 1), "x": FloatDistribution(0, 1)})
    trial.set_user_attr("x", "attribute")
    study.tell(trial, 1.0)
    frame = load(tmp_path / "x.db").trials
    assert frame.state[0] == "COMPLETE"
    assert 0 <= frame.params_state[0] <= 1
    assert frame.attrs_x[0] == "attribute"


def test_ranges_that_changed_are_widened_and_contradictions_left_out(tmp_path: Path) -> None:
    """A study may widen a range under way; one name with two meanings is left out, and said."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="s")
    for high in (1.0, 2.0):
        study.tell(study.ask({"x": FloatDistribution(0, high), "y": FloatDistribution(1, 2)}), 0.0)
    assert load(tmp_path / "x.db").distributions["x"] == FloatDistribution(0, 2)
    study.tell(study.ask({"y": FloatDistribution(1, 2, step=0.5)}), 1.0)
    data = load(tmp_path / "x.db")
    assert set(data.distributions) == {"x", "y"}
    assert any("y is left out" in remark for remark in points_of(data, Question()).remarks)


def test_a_retried_trial_is_a_sample(tmp_path: Path) -> None:
    """Only points that a person chose are left out; a retry repeats a sampled one."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="s")
    study.enqueue_trial({"x": 0.5})
    study.enqueue_trial({"x": 0.25}, user_attrs={"retry_of": 7})
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert list(load(tmp_path / "x.db").trials.enqueued) == [True, False, False]


def test_reading_changes_nothing(petroleum_run: Path, tmp_path: Path) -> None:
    """A study is read byte for byte as it was, without files appearing beside it."""
    copy = tmp_path / "run"
    copy.mkdir()  # of the database alone: others who read the shared one put files beside it
    shutil.copy(petroleum_run / "study.db", copy)
    before = (copy / "study.db").read_bytes()
    data = load(copy)
    data.outputs("best")
    assert (copy / "study.db").read_bytes() == before
    assert sorted(p.name for p in copy.iterdir()) == ["study.db"]


def test_markup_in_a_name_stays_text(tmp_path: Path) -> None:
    """What a notebook shows is escaped."""
    optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="<script>x</script>")
    assert "<script>" not in load(tmp_path / "x.db")._repr_html_()


def test_importing_stays_light() -> None:
    """`optuna-study show` loads neither pandas nor matplotlib nor torch."""
    code = (
        "import sys, analysis, reports, reports.study_document\n"
        "heavy = {'pandas', 'matplotlib', 'torch', 'sklearn', 'seaborn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---------------------------------------------------------------- a CSV file


def _csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "results.csv"
    path.write_text(text, encoding="utf-8")
    return path


CSV = "alpha,lr,f1,note\n8,1e-4,0.5,a\n16,2e-4,0.6,b\n,3e-4,0.7,c\n8,1e-4,,d\n"
CSV_SPACE = {"alpha": {"choices": [8, 16]}, "lr": FloatDistribution(1e-5, 1e-2, log=True)}


def test_a_csv_file_is_a_study(tmp_path: Path) -> None:
    """An empty parameter was not active, an empty objective is a failure, the rest is kept."""
    data = load(_csv(tmp_path, CSV), space=CSV_SPACE, objective="f1")
    assert data.counts == {"complete": 3, "fail": 1}
    assert data.best_trial is not None
    assert data.best_trial.params == {"lr": 3e-4}
    assert list(data.trials.note) == ["a", "b", "c", "d"]
    assert data.trials.alpha[0] == 8


def test_optunas_own_table_of_trials_is_a_csv_file(tmp_path: Path) -> None:
    """What it says of a trial's state is heeded: a pruned one has a value in it, but no result."""

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        trial.report(9.0, 1)
        if trial.number % 3 == 1:
            raise optuna.TrialPruned
        return x

    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=6)
    study.ask()
    study.trials_dataframe().to_csv(tmp_path / "t.csv", index=False)
    space = {"params_x": FloatDistribution(0, 1)}
    data = load(tmp_path / "t.csv", space=space, objective="value")
    assert data.counts == {"complete": 4, "pruned": 2, "fail": 1}
    assert data.best_trial is not None
    assert data.best_trial.value == study.best_value
    assert [t.intermediate_values for t in data.frozen_trials if t.state.name == "PRUNED"] == [
        {0: 9.0},
        {0: 9.0},
    ]


def test_a_csv_range_of_integers_is_one(tmp_path: Path) -> None:
    """A range over a column of integers becomes an integer distribution."""
    path = _csv(tmp_path, "rank,f1\n4,0.1\n8,0.2\n")
    data = load(path, space={"rank": {"low": 1, "high": 8}}, objective="f1", direction="minimize")
    assert data.distributions["rank"] == IntDistribution(1, 8)
    assert data.best_trial is not None
    assert data.best_trial.number == 0


@pytest.mark.parametrize(
    ("text", "space", "objective", "message"),
    [
        (CSV, None, "f1", "needs its search space declared"),
        (CSV, CSV_SPACE, "f2", "objective must name a column, got f2"),
        (CSV, CSV_SPACE, None, "objective must name a column"),
        (CSV, {"beta": FloatDistribution(0, 1)}, "f1", "no column for beta"),
        (
            CSV,
            {"lr": FloatDistribution(1, 2)},
            "f1",
            "line 2: lr: 1e-4 is out of range; allowed: 1 to 2",
        ),
        (CSV, {"alpha": {"choices": [8]}}, "f1", "line 3: alpha: '16' is not a choice; allowed: 8"),
        (CSV, CSV_SPACE, "note", "line 2: note: 'a' is not a number"),
        (CSV, "no-such-space", "f1", "neither a shipped space"),
        (CSV, {"lr": {"low": 1}}, "f1", "space, lr"),
        ("", CSV_SPACE, "f1", "contains no results"),
        ("alpha,lr,f1\n", CSV_SPACE, "f1", "contains no results"),
    ],
)
def test_a_wrong_csv_file_is_one_clear_problem(
    tmp_path: Path, text: str, space: object, objective: str | None, message: str
) -> None:
    """Where, which rule, what it got, what is allowed."""
    with pytest.raises(InputError, match=message):
        load(_csv(tmp_path, text), space=space, objective=objective)


def test_an_objective_that_is_not_finite_is_no_crash(tmp_path: Path) -> None:
    """`inf` is a value that Optuna stores; NaN in a file is a failed trial."""
    path = _csv(tmp_path, "lr,loss\n1e-4,inf\n1e-3,nan\n1e-3,1.0\n")
    space = {"lr": FloatDistribution(1e-5, 1e-2, log=True)}
    data = load(path, space=space, objective="loss", direction="minimize")
    assert data.counts == {"complete": 2, "fail": 1}
    assert math.isinf(data.trials.loss[0])


def test_na_in_a_csv_file_is_no_value(tmp_path: Path) -> None:
    """A cell that says NA is a parameter that was not active, as R and pandas write it."""
    path = tmp_path / "results.csv"
    path.write_text("rank,accuracy\n8,0.5\nNA,0.4\n16,NA\n")
    data = load(path, space={"rank": {"low": 4, "high": 32}}, objective="accuracy")
    assert [trial.params for trial in data.frozen_trials] == [{"rank": 8}, {}, {"rank": 16}]
    assert data.counts["fail"] == 1


def test_truth_values_of_a_csv_file_are_read_however_written(tmp_path: Path) -> None:
    """Other programs write true and TRUE where Python writes True."""
    path = _csv(tmp_path, "rs,f1\ntrue,0.1\nFALSE,0.2\nTrue,0.3\n")
    data = load(path, space={"rs": CategoricalDistribution([True, False])}, objective="f1")
    assert [t.params["rs"] for t in data.complete] == [True, False, True]


# ---------------------------------------------------------------- tables and Optuna's own studies


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x,y,y\n0.1,1,2\n", "more than one column is called y"),
        ("x,y\n0.1,1,7\n", "line 2: 3 cells, but 2 column names"),
    ],
)
def test_a_table_that_can_be_read_in_two_ways_is_refused(
    tmp_path: Path, text: str, problem: str
) -> None:
    """Neither of two columns of one name is taken, and no cell is dropped."""
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(InputError, match=problem):
        load(tmp_path / "runs.csv", space={"x": FloatDistribution(0, 1)}, objective="y")


def test_a_table_may_be_separated_by_semicolons(tmp_path: Path) -> None:
    """As many spreadsheets write it; an infinite value is no best trial."""
    (tmp_path / "runs.csv").write_text("x;y\n0.1;1\n0.2;inf\n0.3;2\n")
    study = load(tmp_path / "runs.csv", space={"x": FloatDistribution(0, 1)}, objective="y")
    assert [t.number for t in study.ranked()] == [2, 0]


def test_functions_take_a_study_of_optuna() -> None:
    """In memory too; anything else is a TypeError that says what is allowed."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert "value" in optuna_study.target_names(study)
    with pytest.raises(TypeError, match="must be a study of `load`, an Optuna study"):
        optuna_study.target_names(3)  # type: ignore[arg-type]
