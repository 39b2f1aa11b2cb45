"""Tell what fails in a base's own code, which its user can change, from what fails in ours."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from study.bases.load import BaseModel
from study.errors import InputError, reason_of


@contextmanager
def refusing_base(
    base: BaseModel,
    fails: str,
    instead: str = "another base",
    spared: Callable[[Exception], bool] = lambda _: False,
) -> Iterator[None]:
    """Refuse in one line what fails in the base's own code.

    Args:
        base: The base.
        fails: What it does, such as "fails on the data".
        instead: What to choose.
        spared: Whether an error is to be passed on, such as one of memory.

    Raises:
        InputError: it failed there; an error of ours stays what it is.
    """
    try:
        yield
    except Exception as error:  # whatever the model's code makes of its inputs
        if isinstance(error, InputError) or spared(error) or not _fails_inside(base.model, error):
            raise
        raise InputError(
            f"base.model: this {base.model_type!r} model {fails}, got {reason_of(error)}; "
            f"choose {instead}"
        ) from error


def _fails_inside(model: Any, error: BaseException) -> bool:
    """Return whether an error comes from the code that defines a model."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(f.f_globals.get("__name__") == type(model).__module__ for f in frames)
