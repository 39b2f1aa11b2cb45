"""A pool's workers forked from one process that has imported what this file imports."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager

import peft  # noqa: F401
import pytest
import transformers.models.m2m_100.modeling_m2m_100  # noqa: F401

import study.engines.build
import study.engines.pool.local_processes
import study.tasks.translation  # noqa: F401
import tests.mortal_engine  # noqa: F401


@contextmanager
def forked_workers() -> Iterator[None]:
    """Start workers at once.

    Without this, as in the slow tests and in a user's run, each imports everything by itself.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.engines.pool.local_processes._SPAWN", context)
        yield
