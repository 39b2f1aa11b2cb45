"""Work on several cores is the same work: in order, inherited as it is, done whatever dies."""

import os
import signal
from pathlib import Path

import pytest

from analysis import parallel
from analysis.parallel import each, every_core
from analysis.studies.load import importances_of, load

pytestmark = pytest.mark.whole


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it two on any machine."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


def test_a_process_of_its_own_only_where_a_command_asks() -> None:
    """A notebook's process stays alone."""
    assert set(each(lambda _: os.getpid(), range(4))) == {os.getpid()}


@pytest.mark.usefixtures("two_cores")
def test_results_come_in_order_from_children_that_inherit() -> None:
    """Neither function nor items can be pickled, and children have no children."""
    items = [lambda k=k: k for k in range(9)]
    with every_core():
        found = list(each(lambda item: (item(), os.getpid(), parallel._processes.get()), items))
    assert [value for value, _, _ in found] == list(range(9))
    assert os.getpid() not in {process for _, process, _ in found}
    assert {processes for _, _, processes in found} == {1}
    assert parallel._processes.get() == 1


@pytest.mark.usefixtures("two_cores")
def test_a_mistake_in_a_child_is_the_callers() -> None:
    """As if it had happened here."""
    with every_core(), pytest.raises(ZeroDivisionError):
        list(each(lambda k: 1 / k, [1, 0, 2]))


@pytest.mark.usefixtures("two_cores")
def test_what_a_killed_child_leaves_is_done_here() -> None:
    """The kernel kills what takes too much memory; the answer comes all the same."""
    here = os.getpid()

    def killed_in_a_child(k: int) -> int:
        if k == 2 and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return k * k

    with every_core():
        assert list(each(killed_in_a_child, range(5))) == [0, 1, 4, 9, 16]


@pytest.mark.usefixtures("two_cores")
def test_importances_are_the_same_on_one_core_and_on_two(petroleum_run: Path) -> None:
    """To the last digit: every part of the work has its own seed."""
    data = load(petroleum_run)
    alone = importances_of(data, resamples=4).to_json()
    with every_core():
        assert importances_of(data, resamples=4).to_json() == alone
