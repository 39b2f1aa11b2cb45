"""A folder that appears whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def appearing_whole(folder: Path) -> Iterator[Path]:
    """Yield an unfinished folder beside `folder`, which becomes it once all went well.

    Raises OSError where it cannot be written, or `folder` holds something by then.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        unfinished = Path(scratch) / "whole"
        unfinished.mkdir()
        yield unfinished
        unfinished.rename(folder)
