"""Packed trials and, when those have drained, the ones that cannot be packed, over one base."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from study.engines.packed.packed_engine import PackedEngine
from study.engines.sequential import SequentialEngine
from study.trials import Event, Notice, TrialConfig, TrialResult


class MixedEngine:
    """A packed engine that hands what it cannot pack to a sequential one.

    `why_alone` returns the reason why a trial cannot be packed, or None.
    """

    def __init__(
        self,
        packed: PackedEngine,
        sequential: SequentialEngine,
        why_alone: Callable[[TrialConfig], str | None],
    ) -> None:
        self._packed = packed
        self._sequential = sequential
        self._why_alone = why_alone
        self._waiting: list[TrialConfig] = []
        self._said: set[str] = set()
        self._notices: list[Notice] = []

    @property
    def free_slots(self) -> int:
        """The packed engine's, and none while a trial is trained alone.

        As many trials may wait to be trained alone as there are slots: so slots stay full.
        """
        if self._is_alone or (self._waiting and not self._packed.is_busy):
            return 0
        return max(0, min(self._packed.free_slots, self._packed.slots - len(self._waiting)))

    @property
    def _is_alone(self) -> bool:
        return self._sequential.free_slots == 0

    def start(self, config: TrialConfig) -> None:
        """Pack the trial, or let it wait until the packed ones have drained."""
        reason = self._why_alone(config)
        if reason is None:
            self._packed.start(config)
            return
        self._waiting.append(config)
        if reason not in self._said:
            self._said.add(reason)
            self._notices.append(Notice(f"not packed, trained one at a time: {reason}"))

    def advance(self) -> Sequence[Event]:
        """Advance the packed trials while there are any, else those that wait, one by one."""
        notices, self._notices = self._notices, []
        if self._packed.is_busy:
            return [*notices, *self._packed.advance()]
        if not self._is_alone:
            self._packed.close()
            self._sequential.start(self._waiting.pop(0))
        events = self._sequential.advance()
        self._return_base()
        return [*notices, *events]

    def _return_base(self) -> None:
        if not self._is_alone:
            self._packed.open()

    def stop(self, number: int) -> TrialResult:
        """Stop a trial wherever it is trained."""
        if not self._is_alone:
            return self._packed.stop(number)
        result = self._sequential.stop(number)
        self._return_base()
        return result

    def close(self) -> None:
        """Give the base its own layers back."""
        self._sequential.close()
        self._packed.close()
