"""Find the module in which two passes over a model part, by recording what each module returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from study.tasks.token_logits import relative_difference, whole_logits

Call = tuple[str, int]  # a module's name, and how many of its calls came before


@contextmanager
def recorded(model: nn.Module) -> Iterator[dict[Call, Tensor]]:
    """Yield every module's first output, in the order in which modules return.

    The output head sees whole rows, so that every output can be divided by rows.
    """
    outputs: dict[Call, Tensor] = {}
    calls: Counter[str] = Counter()

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            if isinstance(first, Tensor) and first.dim() and first.is_floating_point():
                outputs[name, calls[name]] = first.detach().cpu()
            calls[name] += 1

        return hook

    handles = [m.register_forward_hook(keep(name)) for name, m in model.named_modules() if name]
    try:
        with torch.no_grad(), whole_logits():
            yield outputs
    finally:
        for handle in handles:
            handle.remove()


def first_difference(
    expected: Mapping[Call, Tensor],
    found: Mapping[Call, Tensor],
    rows: tuple[int, int, int],
    tolerance: float,
) -> tuple[str, float] | None:
    """Return the first module whose output differs between two recorded passes, and by how much.

    The expected pass has only some of the found one's `rows`: from the first number to the second,
    out of the third.
    """
    start, stop, count = rows
    for call, output in expected.items():
        ours = found.get(call)
        if ours is not None and len(ours) % count == 0:
            ours = ours[len(ours) * start // count : len(ours) * stop // count]
        if ours is None or ours.shape != output.shape:  # such as experts, which get some tokens
            continue
        difference = relative_difference(ours.double(), output.double())
        if not difference <= tolerance:
            return call[0], difference
    return None


def innermost_entered(model: nn.Module, run: Callable[[], Any]) -> str:
    """Return the name of the module in which a pass fails."""
    entered: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: entered.append(name)

    def leave(*_: Any) -> None:
        entered.pop()

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name or "the model")))
        handles.append(module.register_forward_hook(leave))
    try:
        with suppress(Exception):
            run()
    finally:
        for handle in handles:
            handle.remove()
    return entered[-1] if entered else "the loss"
