"""What a person reads while a study runs: lines in a log, bars on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from study.spec.files import load_spec
from study.trials import baseline_configs, search_config
from study.views import plain
from study.views.base import Outcome, Planned, View
from study.views.plain import PlainView, clock
from study.views.terminal import LiveView, make_view

SPEC = load_spec("petroleum")


def shown(is_terminal: bool) -> tuple[View, str]:
    """Return the view of a short run, and all that it wrote."""
    written = io.StringIO()
    view = make_view(SPEC, Console(file=written, force_terminal=is_terminal, width=100))
    view.base_training(1, 10, 2.0)
    view.base_training(10, 10, 1.0)
    view.remarked("a remark with [brackets]")
    values = {"rank": 8, "alpha": 64.0, "learning_rate": 3e-4}
    configs = [search_config(SPEC, number, values, number) for number in range(10)]
    base = baseline_configs(SPEC)[0]
    with view.searching(Planned(20, 2, workers=1)):
        for config in (base, *configs):
            view.started(config)
        view.progressed(configs[1], 30, 41.5)
        view.ended(Outcome(base, "complete", "bleu", 1.0, counted=2))
        view.ended(Outcome(configs[0], "failed", "bleu", None, "the loss became nan", 3))
        for number, config in enumerate(configs[1:]):
            view.ended(Outcome(config, "complete", "bleu", 50.0 + number, counted=4 + number))
    return view, written.getvalue()


def test_a_log_gets_a_line_per_ended_training() -> None:
    """The line names the training, its value or reason, and how many trials count."""
    view, text = shown(is_terminal=False)
    assert isinstance(view, PlainView)
    lines = text.splitlines()
    assert lines[0] == "training the base model: step 1/10, loss 2.00"
    assert lines[2:6] == [
        "a remark with [brackets]",
        "petroleum: 20 trials, 2 already done; workers: 1",
        "untrained base: BLEU 1  [2/20]",
        "#0  r 8 α 64 dropout 0 lr 0.0003: failed: the loss became nan  [3/20]",
    ]
    assert lines[6].startswith("#1  r 8 α 64 dropout 0 lr 0.0003: BLEU 50  [4/20, ")
    assert len(lines) == 4 + 11


def test_a_log_gets_reports_and_signs_of_life_at_a_sensible_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reports come with step and value, five seconds apart; silence ends after a minute."""
    now = 0.0
    monkeypatch.setattr(plain.time, "monotonic", lambda: now)
    written = io.StringIO()
    view = make_view(SPEC, Console(file=written, force_terminal=False, width=100))
    configs = [search_config(SPEC, number, {"rank": 8}, number) for number in range(2)]
    with view.searching(Planned(20, 0, workers=1)):
        for second in range(200):
            now = float(second)
            for config in configs:
                value = 41.5 if second in (7, 9, 30) else None
                view.progressed(config, second, value)
    steps = [line.partition(": ")[2] for line in written.getvalue().splitlines()[1:]]
    assert steps == [
        "step 7/120, BLEU 41.5",
        "step 30/120, BLEU 41.5",
        "step 90/120",
        "step 150/120",
    ]
    assert written.getvalue().splitlines()[1].startswith("#0  ")


def test_a_terminal_keeps_lines_of_baselines_and_failures_only() -> None:
    """Bars show the first trainings and the best value; complete trials leave no line."""
    view, text = shown(is_terminal=True)
    assert isinstance(view, LiveView)
    assert "a remark with [brackets]" in text
    assert "untrained base: BLEU 1" in text
    assert "failed: the loss became nan" in text
    assert "#1  r 8 α 64 dropout 0 lr 0.0003: BLEU" not in text
    assert "best BLEU 58" in text


def test_times_are_as_short_as_can_be() -> None:
    """Hours appear only where there are any."""
    assert [clock(seconds) for seconds in (5, 65.4, 3605)] == ["0:05", "1:05", "1:00:05"]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_every_objective_is_told(is_terminal: bool) -> None:
    """A training of two objectives ends with both values, in a log and above the bars."""
    written = io.StringIO()
    view = make_view(SPEC, Console(file=written, force_terminal=is_terminal, width=100))
    config = search_config(SPEC, 0, {"rank": 8, "alpha": 64.0, "learning_rate": 3e-4}, 0)
    with view.searching(Planned(2, 0, workers=1)):
        view.started(config)
        view.ended(
            Outcome(config, "complete", "bleu", 50.0, further={"trainable_parameters": 24_576})
        )
    assert "BLEU 50, trainable parameters 2.46e+04" in written.getvalue()
