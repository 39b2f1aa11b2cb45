"""The benchmark looks searches up in tables of curves and counts their steps rightly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search_curves import diverged_at, table_of
from benchmarks.search_steps import BUDGET, METHODS, SHIPPED, Curves, Search, quantile

STEPS, RUNG = 60, 20
MODULES = ("qv", "attention", "attention+ffn")


@pytest.fixture
def curves(tmp_path: Path) -> Curves:
    """Forty configurations whose score is best where lr · alpha is 0.016, three of them good."""
    rng = np.random.default_rng(0)
    lines = [
        "n,learning_rate,alpha,rank,dropout,target_modules,steps,final,failed,diverged,score_20"
    ]
    for n in range(40):
        rate, alpha = 10 ** rng.uniform(-5, -1), int(rng.choice([8, 16, 32, 64, 128]))
        final = -abs(math.log10(rate * alpha / 0.016))
        diverged = 20 if final < -1.5 else ""
        values = (rate, alpha, 8, 0.1, MODULES[n % 3])
        lines.append(f"{n},{','.join(map(str, values))},{STEPS},{final},,{diverged},{final / 2}")
    path = tmp_path / "made-up.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Curves.read(str(path), 3)


@pytest.mark.parametrize("name", ["random", "tpe, packs of 8", "ladder + lora"])
def test_a_search_spends_its_budget_on_different_configurations(curves: Curves, name: str) -> None:
    """Without pruning every trial costs all its steps, and none is trained twice."""
    search = Search(curves, METHODS[name], 0).run()
    places = [place for _, place in search.done]
    assert len(set(places)) == len(places) >= BUDGET
    costs = [cost for cost, _ in search.done]
    assert all(cost % STEPS == 0 for cost in costs)
    assert min(costs) == STEPS * METHODS[name].slots
    assert not search.dropped


def test_the_incumbent_is_the_best_so_far(curves: Curves) -> None:
    """Its score only rises, its regret only falls, and the first good one is the hit."""
    search = Search(curves, METHODS["random"], 1).run()
    finals = [curves.finals[place] for _, place in search.incumbents()]
    assert finals == sorted(finals)
    assert search.regret(6) >= search.regret(24) >= 0
    good = [cost for cost, place in search.done if curves.good[place]]
    assert search.hit == (min(good) if good else math.inf)


def test_the_ladder_finds_the_product_at_once(curves: Curves) -> None:
    """Its first two rungs surround the best product, so it needs fewer steps than chance."""
    hits = {
        name: [Search(curves, METHODS[name], seed).run().hit for seed in range(3)]
        for name in ("random", "ladder + lora")
    }
    assert quantile(np.array(hits["ladder + lora"]), 0.5) <= 4 * STEPS
    assert np.mean(np.minimum(hits["random"], 1e4)) > np.mean(hits["ladder + lora"])


def test_what_diverged_costs_only_the_steps_to_its_exit(curves: Curves) -> None:
    """The exit drops no configuration of the better half, and saves steps."""
    search = Search(curves, METHODS["ladder + lora + exit"], 0).run()
    assert search.dropped
    assert all(curves.diverged[place] <= RUNG for place in search.dropped)
    assert max(curves.finals[list(search.dropped)]) < np.median(curves.finals)
    assert not search.loses


def test_halving_drops_trials_at_the_first_rung(curves: Curves) -> None:
    """Some trials end there, and fewer steps are spent on each."""
    assert curves.first_rung == RUNG
    search = Search(curves, METHODS["tpe + halving"], 0).run()
    assert search.dropped
    assert len(search.used) == len(search.done) + len(search.dropped)


def test_the_shipped_tables_are_whole() -> None:
    """Both miniatures' curves are there, every final a number, with nine and three good ones."""
    tables = {path.stem: Curves.read(path.stem, 3) for path in SHIPPED.glob("*.csv")}
    assert {name: len(table.points) for name, table in tables.items()} == {
        "petroleum-wide": 224,
        "distilbert-mnli-wide": 112,
    }
    assert all(np.isfinite(table.finals).all() for table in tables.values())
    assert int(tables["distilbert-mnli-wide"].good.sum()) == 3
    better = [
        table.finals[np.isfinite(table.diverged)].max() < np.median(table.finals)
        for table in tables.values()
    ]
    assert all(better)


def test_divergence_is_a_mean_of_ten_losses() -> None:
    """One spike is none, ten high losses are, and nothing is judged before step 20."""
    calm = [1.0] * 40
    assert diverged_at(calm, 1.0) is None
    assert diverged_at([*calm[:25], 12.0, *calm[:14]], 1.0) is None
    assert diverged_at([*[9.0] * 10, *calm[:30]], 1.0) is None
    assert diverged_at([*calm[:20], *[9.0] * 20], 1.0) == 23
    assert diverged_at([*calm[:20], *[math.nan] * 20], 1.0) == 21


def test_recorded_curves_become_a_table(tmp_path: Path) -> None:
    """Repeats are left out, and only steps at which all have scores become columns."""
    (tmp_path / "x-trials.csv").write_text(
        "n,repeat,learning_rate,alpha,rank,dropout,target_modules,steps,failure,final_accuracy\n"
        "0,0,0.1,8,4,0.1,qv,2,,0.5\n0,1,0.1,8,4,0.1,qv,2,,0.6\n1,0,0.2,8,4,0.1,qv,1,it broke,\n"
    )
    (tmp_path / "x-dev.csv").write_text(
        "n,repeat,step,dev_loss,score\n0,0,1,1.0,0.4\n0,0,2,1.0,\n0,1,1,1.0,0.9\n1,0,1,1.0,0.2\n"
    )
    (tmp_path / "x-train.csv").write_text("n,repeat,1,2\n0,0,1.0,1.1\n0,1,1.0,1.1\n1,0,1.0,\n")
    table = table_of(str(tmp_path / "x"))
    assert list(table.n) == [0, 1]
    assert list(table.score_1) == [0.4, 0.2]
    assert table.failed.fillna(0).tolist() == [0, 1]
    assert table.final.fillna(-1).tolist() == [0.5, -1]
