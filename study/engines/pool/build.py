"""Where trials are trained: in the parent, in processes beside it, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from study.engines.base import Engine
from study.engines.engine_choice import EngineChoice
from study.engines.pool.local_processes import ProcessLauncher
from study.engines.pool.pool import PoolEngine


@contextmanager
def reached(choice: EngineChoice, remark: Callable[[str], None]) -> Iterator[EngineChoice]:
    """Connect to the cluster, if one is named, and yield the choice with its workers counted.

    Raises:
        InputError: the cluster cannot be reached, or has no room for a worker.
    """
    if choice.ray is None:
        yield choice
        return
    from study.engines.pool.ray_cluster import connected

    with connected(choice.ray) as cluster:
        counted = cluster.counted(choice)
        remark(cluster.described(counted))
        yield counted


def pool_of(make_engine: Callable[..., Engine], choice: EngineChoice) -> PoolEngine | None:
    """Start the workers; None where the parent itself trains."""
    if choice.ray is not None:
        from study.engines.pool.ray_pool import RayLauncher

        return PoolEngine(RayLauncher(make_engine, choice), choice.workers)
    return PoolEngine(ProcessLauncher(make_engine), choice.workers) if choice.workers > 1 else None
