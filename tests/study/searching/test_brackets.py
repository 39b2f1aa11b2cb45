"""Who goes on from a rung: the best, once learning has begun; the others are kept for later."""

from __future__ import annotations

from study.kinds.schedules import SCHEDULES, Schedule
from study.searching.brackets import Arrival, Brackets, is_aside, is_paused, who_goes_on

SCHEDULE = Schedule((4, 2, 1), (1 / 6, 1 / 2))


def arrivals(scores: dict[int, float], clear: float = 0.0) -> dict[int, Arrival]:
    """Return trials at a rung, clear from a score on."""
    return {
        number: Arrival((score,), lambda is_clear=score > clear: is_clear)
        for number, score in scores.items()
    }


def begun(brackets: Brackets, numbers: range) -> None:
    """Begin trainings, as long as they are wanted."""
    for number in numbers:
        assert brackets.wants_new
        brackets.begin(number)


def taken(brackets: Brackets) -> list[int]:
    """Return who goes on now."""
    return list(iter(brackets.next, None))


def test_the_best_go_on_once_the_leader_is_clear() -> None:
    """Older ones at the rung compete, and ties go to the earlier trial."""
    everybody = arrivals({0: 3.0, 1: 5.0, 2: 5.0, 9: 7.0})
    assert who_goes_on(everybody, [0, 1, 2], 2) == ([9, 1], True)


def test_nobody_leaves_before_learning_has_begun() -> None:
    """While the leader is not clearly above the untrained model, all that arrived go on."""
    everybody = arrivals({0: 3.0, 1: 5.0, 9: 4.0}, clear=6.0)
    assert who_goes_on(everybody, [0, 1], 1) == ([1, 0], False)


def test_both_ends_of_the_front_go_on() -> None:
    """With two objectives the best in each stays, before one between them or below."""
    values = {0: (3.0, 3.0), 1: (5.0, 1.0), 2: (1.0, 5.0), 3: (4.0, 0.5), 9: (0.0, 0.0)}
    everybody = {
        number: Arrival(of, lambda is_first=number == 0: is_first) for number, of in values.items()
    }
    assert who_goes_on(everybody, [0, 1, 2, 3], 2) == ([1, 2], True)
    assert who_goes_on(everybody, [0, 1, 2, 3], 4) == ([1, 2, 0, 3], True)


def test_the_gate_opens_for_a_leader_only() -> None:
    """One that others of the rung dominate shows nothing, nor does one from an earlier bracket."""
    values = {0: (3.0, 3.0), 1: (5.0, 1.0), 2: (2.0, 2.0), 9: (9.0, 9.0)}
    everybody = {
        number: Arrival(of, lambda number=number: number in (2, 9)) for number, of in values.items()
    }
    assert who_goes_on(everybody, [0, 1, 2], 1) == ([0, 1, 2], False)


def test_a_bracket_shrinks_and_the_next_begins_when_it_ends() -> None:
    """Four begin, two and then one go on; freed slots stay empty until the last has ended."""
    brackets = Brackets(SCHEDULE)
    begun(brackets, range(4))
    assert not brackets.wants_new
    for number in (2, 0, 3):
        brackets.arrive(number, Arrival((float(number),), lambda: True))
        assert taken(brackets) == []
    brackets.arrive(1, Arrival((1.0,), lambda: True))
    assert taken(brackets) == [3, 2]
    assert [brackets.level_of(number) for number in (3, 2)] == [1, 1]
    brackets.arrive(3, Arrival((1.0,), lambda: True))
    brackets.arrive(2, Arrival((2.0,), lambda: True))
    assert taken(brackets) == [2]
    assert not brackets.wants_new
    brackets.end(2)
    assert brackets.wants_new
    assert brackets.left == [0, 1, 3]


def test_those_put_aside_compete_with_the_next_bracket() -> None:
    """A trial that lost to better ones comes back if the next are worse."""
    brackets = Brackets(SCHEDULE)
    begun(brackets, range(4))
    for number in range(4):
        brackets.arrive(number, Arrival((10.0 + number,), lambda: True))
    for number in taken(brackets):
        brackets.end(number)
    begun(brackets, range(4, 8))
    for number in range(4, 8):
        brackets.arrive(number, Arrival((float(number),), lambda: True))
    assert taken(brackets) == [1, 0]
    assert brackets.left == [4, 5, 6, 7]
    went = {d.number: d.goes_on for d in brackets.decisions()[-6:]}
    assert went == {0: True, 1: True, 4: False, 5: False, 6: False, 7: False}


def test_what_ends_leaves_its_place_in_the_bracket() -> None:
    """A bracket waits for nobody that failed, and an empty one makes room."""
    brackets = Brackets(SCHEDULE)
    begun(brackets, range(4))
    for number in range(3):
        brackets.end(number)
    brackets.arrive(3, Arrival((1.0,), lambda: True))
    assert taken(brackets) == [3]
    brackets.end(3)
    assert brackets.is_idle
    begun(brackets, range(4, 8))
    for number in range(4, 8):
        brackets.end(number)
    assert brackets.is_idle


def test_a_bracket_that_is_not_full_keeps_its_share() -> None:
    """With one of two places left in the budget one of two goes on, not both."""
    brackets = Brackets(SCHEDULE)
    begun(brackets, range(2))
    for number in range(2):
        brackets.arrive(number, Arrival((float(number),), lambda: True))
    assert taken(brackets) == []
    brackets.no_more()
    assert taken(brackets) == [1]


def test_idle_workers_take_the_next_bracket() -> None:
    """Where a free slot is a worker's, another bracket begins beside the first."""
    brackets = Brackets(SCHEDULE, fills=True)
    begun(brackets, range(6))
    for number in range(4):
        brackets.arrive(number, Arrival((float(number),), lambda: True))
    assert not brackets.wants_new  # those that go on are first
    assert taken(brackets) == [3, 2]
    assert brackets.wants_new


def test_a_rung_is_the_nearest_report() -> None:
    """Rungs differ, come before the end, and are as many as the reports allow."""
    bracket = SCHEDULES["bracket"]
    assert bracket.steps(120, 20) == (20, 60)
    assert bracket.steps(120, 40) == (40, 80)
    assert bracket.steps(120, 60) == (60,)
    assert bracket.steps(100, 100) == ()
    assert SCHEDULES["careful"].steps(1200, 100) == (200, 400, 800)
    for schedule in SCHEDULES.values():
        assert len(schedule.sizes) == len(schedule.rungs) + schedule.pauses


def test_a_trial_says_whether_it_waits() -> None:
    """Before a decision it is paused, after one against it it is put aside too."""
    entry = {"level": 0, "step": 10, "score": 1.0, "goes_on": None}
    assert is_paused({"rungs": [entry]})
    assert not is_aside({"rungs": [entry]})
    assert is_aside({"rungs": [{**entry, "goes_on": False}]})
    assert not is_paused({"rungs": [{**entry, "goes_on": True}]})
    assert not is_paused({})
