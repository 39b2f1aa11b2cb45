"""Packed trials and trials that cannot be packed, over one base, one kind at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from study.engines.packed.packed_engine import PackedEngine
from study.engines.sequential import SequentialEngine
from study.trials import Event, Notice, TrialConfig, TrialResult


class MixedEngine:
    """Trains what cannot be packed in a sequential engine, once the packed trials have ended.

    `why_not_packed` returns the reason why a trial cannot be packed, or None if it can.  The first
    `advance` also reports the `first_events`.
    """

    def __init__(
        self,
        packed: PackedEngine,
        sequential: SequentialEngine,
        why_not_packed: Callable[[TrialConfig], str | None],
        first_events: Sequence[Event] = (),
    ) -> None:
        self._packed = packed
        self._sequential = sequential
        self._why_not_packed = why_not_packed
        self._waiting: list[tuple[TrialConfig, bytes | None]] = []
        self._given_reasons: set[str] = set()
        self._notices: list[Event] = [*first_events]

    @property
    def free_slots(self) -> int:
        """The packed engine's free slots; none while the sequential engine trains.

        To keep the slots full, as many trials may wait for the sequential engine as there are
        slots.
        """
        if self._is_sequential or (self._waiting and not self._packed.is_busy):
            return 0
        return max(0, min(self._packed.free_slots, self._packed.slots - len(self._waiting)))

    @property
    def _is_sequential(self) -> bool:
        return self._sequential.free_slots == 0

    def start(self, config: TrialConfig, state: bytes | None = None) -> None:
        """Pack the trial, or queue it until the packed ones have ended."""
        reason = self._why_not_packed(config)
        if reason is None:
            self._packed.start(config, state)
            return
        self._waiting.append((config, state))
        if reason not in self._given_reasons:
            self._given_reasons.add(reason)
            self._notices.append(Notice(f"not packed, trained one at a time: {reason}"))

    def advance(self) -> Sequence[Event]:
        """Advance the packed trials while there are any, then the waiting ones, one by one."""
        notices, self._notices = self._notices, []
        if self._packed.is_busy:
            return [*notices, *self._packed.advance()]
        if not self._is_sequential:
            self._packed.close()
            self._sequential.start(*self._waiting.pop(0))
        events = self._sequential.advance()
        self._return_base()
        return [*notices, *events]

    def _return_base(self) -> None:
        if not self._is_sequential:
            self._packed.open()

    def state(self, number: int) -> bytes | None:
        """Return a trial's state from the engine that trains it."""
        return (self._sequential if self._is_sequential else self._packed).state(number)

    def stop(self, number: int) -> TrialResult:
        """Stop a trial in the engine that trains it."""
        if not self._is_sequential:
            return self._packed.stop(number)
        result = self._sequential.stop(number)
        self._return_base()
        return result

    def close(self) -> None:
        """Restore the layers of the base."""
        self._sequential.close()
        self._packed.close()
