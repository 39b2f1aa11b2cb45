"""Start the engine that a choice names: in this process, in worker processes, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace

from study.bases.dtypes import SMALL, with_dtype
from study.engines.base import Engine
from study.engines.build import make_engine
from study.engines.engine_choice import AS_MANY_AS_FIT, EngineChoice
from study.engines.pass_size import usable_memory, worker_bytes
from study.engines.pool.devices import on_devices
from study.engines.pool.local_processes import ProcessLauncher
from study.engines.pool.pool import PoolEngine
from study.engines.process_settings import be_one_quiet_thread
from study.preparing.preparation import Inputs, Prepared, prepare
from study.spec.sections import StudySpec
from study.views.base import View

BEFORE_THE_FIRST_TRIAL = (
    "engine: comparing its passes with the model's own; a large base needs minutes on a CPU"
)


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
    spec: StudySpec, choice: EngineChoice, view: View, inputs: Inputs
) -> Iterator[StartedEngine]:
    """Prepare the study, yield an engine that is ready to train, and close it at the end.

    Workers start before the study is prepared: they import torch while the base is built or
    downloaded.  At least one of them has loaded the base when this yields.

    Raises:
        InputError: with every problem of base, data, methods and metrics; or the cluster cannot be
            joined.
    """
    may_shrink = choice.workers == AS_MANY_AS_FIT
    with on_devices(choice) as choice, connected_workers(choice, view.remarked) as choice:
        be_one_quiet_thread()
        pool = pool_of(make_engine, choice)
        with closing(pool) if pool is not None else nullcontext():
            prepared = prepare(spec, inputs, view.base_training)
            for remark in prepared.remarks:
                view.remarked(remark)
            workers = choice.workers_per_machine
            spec = with_dtype(spec, prepared.skeleton.model, workers, view.remarked)
            location, dtype = prepared.location, spec.base.dtype
            if sum(weight.numel() for weight in prepared.skeleton.model.parameters()) > SMALL:
                view.remarked(BEFORE_THE_FIRST_TRIAL)
            if pool is not None and may_shrink and choice.ray is None and not choice.devices:
                choice = _as_memory_allows(spec, prepared, choice, view.remarked)
                pool.keep(choice.workers)
            if pool is None:
                with closing(make_engine(spec, location, inputs.task, choice)) as engine:
                    yield StartedEngine(engine, location, choice, dtype)
            else:
                # workers make a file's task themselves: they do not know its class by name
                task = inputs.task if spec.own_task is None else None
                pool.load(spec, location, task, choice)
                pool.wait_for_the_first()
                yield StartedEngine(pool, location, choice, dtype)


def _as_memory_allows(
    spec: StudySpec, prepared: Prepared, choice: EngineChoice, remark: Callable[[str], None]
) -> EngineChoice:
    """Return the choice with no more workers than bases, and a pass each, fit into memory."""
    needed = worker_bytes(spec, prepared.skeleton, prepared.task)
    free = usable_memory()
    fitting = max(1, int(free // needed))
    if fitting >= choice.workers:
        return choice
    remark(
        f"memory: {fitting} of {choice.workers} workers, since each needs about "
        f"{needed / 2**30:.1f} of {free / 2**30:.1f} GB; --workers sets another number"
    )
    return replace(choice, workers=fitting)


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
        return PoolEngine(ProcessLauncher(build_engine, choice.devices), choice.workers)
    return None
