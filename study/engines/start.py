"""Start the engine that a choice names: in this process, in worker processes, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass

from study.bases.dtypes import with_dtype
from study.engines.base import Engine
from study.engines.build import make_engine
from study.engines.engine_choice import EngineChoice
from study.engines.pool.local_processes import ProcessLauncher
from study.engines.pool.pool import PoolEngine
from study.engines.process_settings import be_one_quiet_thread
from study.preparing.preparation import Inputs, prepare
from study.spec.sections import StudySpec
from study.tasks.base import Task
from study.views.base import View


@dataclass(frozen=True)
class StartedEngine:
    """An engine, the location of its base, and the choice with its number of workers.

    `dtype` is that of the base, if the study leaves the choice to the machine.
    """

    engine: Engine
    base_location: str
    choice: EngineChoice
    dtype: str | None = None


@contextmanager
def started_engine(
    spec: StudySpec, choice: EngineChoice, task: Task | None, view: View, inputs: Inputs
) -> Iterator[StartedEngine]:
    """Prepare the study, yield an engine that is ready to train, and close it at the end.

    Workers start before the study is prepared: they import torch while the base is built or
    downloaded.  At least one of them has loaded the base when this yields.

    Raises:
        InputError: with every problem of base, data, methods and metrics; or the cluster cannot be
            joined.
    """
    with connected_workers(choice, view.remarked) as choice:
        be_one_quiet_thread()
        pool = pool_of(make_engine, choice)
        with closing(pool) if pool is not None else nullcontext():
            prepared = prepare(spec, inputs, view.base_training, task)
            for remark in prepared.remarks:
                view.remarked(remark)
            workers = choice.workers_per_machine
            spec = with_dtype(spec, prepared.skeleton.model, workers, view.remarked)
            location, dtype = prepared.location, spec.base.dtype
            if pool is None:
                with closing(make_engine(spec, location, task, choice)) as engine:
                    yield StartedEngine(engine, location, choice, dtype)
            else:
                pool.load(spec, location, task, choice)
                pool.wait_for_the_first()
                yield StartedEngine(pool, location, choice, dtype)


@contextmanager
def connected_workers(
    choice: EngineChoice, remark: Callable[[str], None]
) -> Iterator[EngineChoice]:
    """Join the cluster, if the choice names one, and yield the choice with its number of workers.

    Raises:
        InputError: the cluster cannot be reached or cannot hold a worker.
    """
    if choice.ray is None:
        yield choice
        return
    from study.engines.pool.ray_cluster import connected

    with connected(choice.ray) as cluster:
        counted = cluster.counted(choice)
        remark(cluster.described(counted))
        yield counted


def pool_of(build_engine: Callable[..., Engine], choice: EngineChoice) -> PoolEngine | None:
    """Start the workers, each of which will build an engine; None if this process trains."""
    if choice.ray is not None:
        from study.engines.pool.ray_pool import RayLauncher

        return PoolEngine(RayLauncher(build_engine, choice), choice.workers)
    if choice.workers > 1:
        return PoolEngine(ProcessLauncher(build_engine), choice.workers)
    return None
