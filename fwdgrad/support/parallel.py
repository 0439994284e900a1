"""Independent calls, made here, in threads, in other processes, or on a cluster, by joblib."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["calls"]


@contextmanager
def calls(
    function: Callable[..., Any],
    arguments: Iterable[tuple[Any, ...]],
    n_jobs: int | None,
    *,
    threads: bool = False,
    ordered: bool = True,
) -> Iterator[Iterator[Any]]:
    """What ``function(*a)`` returns, for each tuple `a` of `arguments`, as soon as it is there.

    Args:
        function: what is called; another process gets a copy of it.
        arguments: read as they are needed.
        n_jobs: how many at a time, −1 for one on every core; None for 1, or for what ``joblib.parallel_config`` says,
            whose backend (dask, say) is used in any case.
        threads: prefer threads to processes: for what lets other threads run.
        ordered: in the order of `arguments`, not in that of their ends.

    On the way out of the context, what others still do is cancelled, and joblib's warning of that is not shown.
    """
    import joblib  # not needed before

    # a new one each time: a second call of the same would not keep to threads
    parallel = joblib.Parallel(
        n_jobs=n_jobs,
        prefer="threads" if threads else None,
        return_as="generator" if ordered else "generator_unordered",
    )
    results = parallel(joblib.delayed(function)(*given) for given in arguments)
    try:
        yield results
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()
