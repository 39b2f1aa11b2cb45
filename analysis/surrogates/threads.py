"""One thread for many small matrices.

A surrogate of a study factorises matrices of a hundred rows thousands of times.  BLAS with several
threads spends its time waking them: 64 trials took 13.9 s of two cores instead of 2.2 s of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread for a while."""
    import scipy.linalg
    import scipy.optimize  # noqa: F401  each brings a BLAS of its own; only what is loaded is kept
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1, user_api="blas"):
        yield
