"""Base against adapters: numbers, family, twins, metrics computed afterwards, and refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from analysis import StudyData, load
from analysis.comparison.adapters import Adapters, against_base
from analysis.comparison.adapters_document import adapter_rows, full_table
from analysis.comparison.contrast import compare
from analysis.comparison.permutation import holm
from analysis.comparison.within_study import compare_trials
from study.errors import InputError
from tests.adapter_study import GAMER, METRICS, TWINS, write_adapter_study
from tests.synthetic import Shape, write_study

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    """Nine enqueued adapters by eight metrics."""
    return load(write_adapter_study(tmp_path_factory.mktemp("adapters"), 40))


@pytest.fixture(scope="module")
def found(study: StudyData) -> Adapters:
    """All adapters by all metrics."""
    return against_base(study)


def test_every_adapter_is_held_against_the_base_by_every_metric(
    study: StudyData, found: Adapters
) -> None:
    """Differences, means and sds are those of the stored scores; the objective comes first."""
    assert found.metrics[0] == "rouge1"
    assert set(found.metrics) == {*METRICS, "loss"}
    assert [m.name for m in found.adapters] == [f"trial {n}" for n in range(9)]
    assert len(found.contrasts) == found.family == 9 * 8
    for metric in ("rouge1", "bleu4", "loss"):
        base, own = (study.statistics(who, metric) for who in ("base", 2))
        c, (mean, sd) = found.of("trial 2", metric), found.spread("trial 2", metric)
        assert c.difference == pytest.approx(own.score - base.score)
        assert c.percent == pytest.approx(100 * (own.score - base.score) / base.score)
        assert mean == pytest.approx(own.example_scores().mean())
        assert sd == pytest.approx(own.example_scores().std(ddof=1))
    assert found.of("trial 2", "loss").gain == -found.of("trial 2", "loss").difference


def test_a_metric_of_the_whole_corpus_has_no_mean_per_example(found: Adapters) -> None:
    """No example has a macro F1 alone: the table shows no mean, programs get none, and no sd."""
    names = [model.name for model in (found.base, *found.adapters)]
    renamed = {(name, "macro_f1"): found.scores[name, "rouge1"] for name in names}
    contrasts = tuple(
        replace(c, a=replace(c.a, metric="macro_f1"), b=replace(c.b, metric="macro_f1"))
        for c in found.contrasts
    )
    examples = {(name, "macro_f1"): found.examples[name, "rouge1"] for name in names}
    whole = replace(
        found, metrics=("macro_f1",), scores=renamed, contrasts=contrasts, examples=examples
    )
    assert "mean ± sd" not in full_table(whole, ["macro_f1"]).columns
    assert "mean ± sd" in full_table(found, ["rouge1"]).columns
    assert {(row["mean"], row["sd"]) for row in adapter_rows(whole)} == {(None, None)}


def test_intervals_are_those_of_a_paired_comparison(study: StudyData, found: Adapters) -> None:
    """One adapter alone gets the interval that it gets among others, a wider one as picked."""
    alone = compare(study.statistics(2, "chrf"), study.statistics("base", "chrf"))
    assert found.of("trial 2", "chrf").interval == pytest.approx(alone.interval)
    picked = compare_trials(study, 2, "base", "chrf")
    assert picked.interval[0] < alone.interval[0] < alone.interval[1] < picked.interval[1]


def test_p_values_are_corrected_over_adapters_and_metrics(found: Adapters) -> None:
    """Holm's of the whole family: what is clear stays clear, what is not does not."""
    p_values = [c.p for c in found.contrasts]
    assert [c.p_adjusted for c in found.contrasts] == pytest.approx(list(holm(p_values)))
    assert found.of("trial 2", "bleu4").clear
    assert not found.of("trial 8", "rouge1").clear


def test_trials_of_one_configuration_show_what_the_seed_does(found: Adapters) -> None:
    """They bear one letter; their scores and the interval of the difference are kept."""
    twins = [m.name for m in found.adapters if m.twins == "a"]
    assert twins == [f"trial {number}" for number in TWINS]
    assert sum(bool(m.twins) for m in found.adapters) == 2
    noise = next(n for n in found.noise if n.metric == "bleu4")
    assert noise.names == tuple(twins)
    assert abs(noise.largest) == pytest.approx(abs(noise.scores[0] - noise.scores[1]))
    assert noise.ci[0] < noise.largest < noise.ci[1]
    assert noise.sd == pytest.approx(abs(noise.largest) / 2**0.5)


def test_the_adapter_that_games_is_flagged_and_no_other(found: Adapters) -> None:
    """With the reason in words."""
    assert found.examined is not None
    assert [v.adapter for v in found.examined.flagged] == [f"trial {GAMER}"]
    assert "% of bigrams are repeats" in found.examined.flagged[0].words


def test_a_metric_that_was_not_measured_is_computed_from_the_outputs(tmp_path: Path) -> None:
    """The same statistics as if the study had measured it, for base and adapters."""
    measured = load(write_adapter_study(tmp_path / "one", 10, metrics=("chrf", "rougeL", "bleu2")))
    bare = load(write_adapter_study(tmp_path / "two", 10, metrics=("chrf",)))
    names = ["rougeL", "bleu2"]
    one, two = (against_base(data, names, trials=[1]) for data in (measured, bare))
    assert one.contrasts == two.contrasts
    assert one.signatures == two.signatures


def test_of_many_trials_the_best_are_shown_and_all_are_corrected_for(
    petroleum: StudyData,
) -> None:
    """Five of 64, the default adapter, and a family of everything that was tried."""
    found = against_base(petroleum)
    best = sorted(t.number for t in petroleum.ranked()[:5])
    assert [m.who for m in found.adapters] == ["default", *best]
    assert found.left_out == 64 - 5
    assert petroleum.counts["pruned"] == 3
    assert found.family == (65 + 3) * 3
    chosen = against_base(petroleum, trials=[3, 0])
    assert [m.who for m in chosen.adapters] == [3, 0]
    assert chosen.family == 2 * 3


def test_the_other_split_is_compared_too(petroleum: StudyData) -> None:
    """What adaptation cost on general text."""
    found = against_base(petroleum, ["bleu"], "general", [0])
    difference = petroleum.score(0, "bleu", "general") - petroleum.score(  # type: ignore[operator]
        "base", "bleu", "general"
    )
    assert found.contrasts[0].difference == pytest.approx(difference)


def test_the_same_seed_gives_the_same_numbers(study: StudyData) -> None:
    """Nothing depends on global random state."""
    one, two, other = (against_base(study, ["chrf"], trials=[8], seed=s) for s in (1, 1, 2))
    assert one.contrasts == two.contrasts
    assert one.contrasts != other.contrasts


def test_classes_are_compared_and_not_examined(pairs: StudyData) -> None:
    """Outputs that are labels have neither bigrams nor a length."""
    found = against_base(pairs)
    assert "accuracy" in found.metrics
    assert found.examined is None


REFUSED = {
    "a metric of classes": ({"metrics": ["accuracy"]}, "--metric: adapters does not store"),
    "a metric that needs an encoder": (
        {"metrics": ["semantic_f1"]},
        "does not store 'semantic_f1'",
    ),
    "no metric at all": ({"metrics": ["blue"]}, "--metric: got 'blue'; allowed: bleu,"),
    "a trial that there is not": ({"trials": [1, 77]}, "of trial 77; allowed: 0, 1, 2"),
    "a split that there is not": ({"split": "test"}, "base on 'test'; evaluated splits: dev"),
}


@pytest.mark.parametrize(("asked", "line"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compared_is_a_line(study: StudyData, asked: dict, line: str) -> None:
    """What was asked, and what is allowed."""
    with pytest.raises(InputError) as raised:
        against_base(study, **asked)
    assert line in str(raised.value)


def test_studies_without_base_or_adapters_are_refused(tmp_path: Path) -> None:
    """Somebody else's database has no base; a study that has not begun has no adapter."""
    optuna.create_study(storage=f"sqlite:///{tmp_path}/foreign.db")
    with pytest.raises(InputError, match="stores no evaluation of the untrained base"):
        against_base(load(tmp_path / "foreign.db"))
    nothing = Shape(complete=0, failed=0, enqueued=0, examples=5)
    default = against_base(load(write_study(tmp_path / "begun", nothing)))
    assert [m.name for m in default.adapters] == ["default"]


def test_a_score_that_is_no_number_leaves_its_metric_out(tmp_path: Path) -> None:
    """Another trial's diverged loss does not spoil the other metrics."""
    from study.metrics import LOSS_SIGNATURE, Statistics
    from study.store import records
    from study.store.storage import close_after_writing, open_for_writing, sqlite_url

    folder = write_adapter_study(tmp_path, 12, ("chrf",))
    row = load(folder).evaluation(0)
    storage = open_for_writing(sqlite_url(folder / "study.db"))
    lost = Statistics("loss", np.full((12, 2), np.nan), LOSS_SIGNATURE)
    records.write_score(storage.engine, row.evaluation_id, lost)
    close_after_writing(storage)
    assert against_base(load(folder)).metrics == ("chrf",)
    storage = open_for_writing(sqlite_url(folder / "study.db"))
    other = load(folder).statistics(0, "chrf")
    changed = Statistics("chrf", other.values, "another chrF")
    records.write_score(storage.engine, row.evaluation_id, changed)
    close_after_writing(storage)
    with pytest.raises(InputError, match="no metric scored the base and the adapters alike"):
        against_base(load(folder))
