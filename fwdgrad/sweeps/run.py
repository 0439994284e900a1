"""Running a function over a grid: each cell a call of its own, here, in processes or on a cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.support.arguments import entropy_of, integer, jobs, suggests
from fwdgrad.support.notice import Progress
from fwdgrad.support.parallel import calls
from fwdgrad.sweeps.cells import cells_of, takes_rng
from fwdgrad.sweeps.records import Record, RecordFile, Result, results_of
from fwdgrad.sweeps.report import Sweep

__all__ = ["sweep"]


@suggests
def sweep(
    learn: Callable[..., Any],
    grid: Any,
    *,
    replicas: int = 1,
    seed: int | np.random.Generator = 0,
    path: str | os.PathLike[str] | None = None,
    retry: bool = False,
    n_jobs: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> Sweep:
    """Call `learn` with every combination of some settings, and record what it returns.

    Args:
        learn: called as ``learn(rate=0.1, estimator="uoro")``, with the names of the grid; returns a number (recorded
            as "loss"), or numbers, rows of numbers (a learning curve) and texts by name. If it has an argument `rng`,
            it is given a generator.
        grid: values by name, all combinations of which are made; or a list of dicts, one a cell. A record holds
            numbers and texts; for anything else give values by name: ``{"estimator": {"rank 4": fg.UORO(rank=4)}}``.
        replicas: calls of each cell, each with a generator of its own.
        seed: an integer or a generator. The generator of replica r depends on `seed` and r alone: all settings meet
            the same data and noise, which makes them comparable, and adding a cell changes no other.
        path: file for the records, one line of JSON each, written when the cell ends. A sweep whose file is there goes
            on with the cells that are missing in it.
        retry: call those again that failed.
        n_jobs: cells at a time, in processes of their own, −1 for one on every core; None for one after the other in
            this process, or for what ``joblib.parallel_config`` says: with ``backend="dask"``, on its cluster.
        progress: True for a bar, or a function called with (cells done, cells in all).

    Returns:
        The records, in the order of the grid, with a table, a picture and the best of them; see `Sweep`.

    A cell that raises an exception is a record with that error, and the others go on. What `learn` captures (data,
    systems) is sent along with each cell; a file of records knows nothing of it, unless it is named in the grid, as in
    ``{"data": ["2024"], …}``. Records are the same for any number of jobs, but for the seconds.

    Raises:
        DeclarationError: the grid does not fit the function, the file belongs to another sweep, `learn` returns
            something that cannot be recorded; or every cell failed.
        DataError: the file cannot be read or written.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
        >>> def learn(estimator, rate, rng):
        ...     xs = rng.normal(size=(300, 1))
        ...     ys = system.simulate(xs, params={"a": 0.8}).outputs
        ...     learner = fg.Learner(system, estimator, fg.SGD(rate), seed=rng, engine="numpy")
        ...     return learner.run(xs, ys).recent(100)
        >>> found = fg.sweep(learn, {"estimator": ["rtrl", "uoro"], "rate": [0.001, 0.01]}, replicas=2)
        >>> len(found), found.best().settings["rate"]
        (8, 0.01)
    """
    if not callable(learn):
        raise DeclarationError(f"sweep(learn=…): expected a function, got {learn!r}.")
    cells = cells_of(learn, grid, integer("sweep", "replicas", replicas, 1))
    entropy = entropy_of("sweep", seed)
    if n_jobs is not None:
        n_jobs = jobs("sweep", n_jobs)
    names = list(dict.fromkeys(name for cell in cells for name in cell.settings))
    file = RecordFile(path, learn, names, entropy)
    found = {k: record for k, record in file.found.items() if not (retry and record.error is not None)}
    missing = [cell for cell in cells if cell.key not in found]
    random = takes_rng(learn)
    given = ((learn, k, cell.values, (entropy, cell.replica) if random else None) for k, cell in enumerate(missing))
    with Progress("sweep", progress, len(cells), "cell") as shown:
        shown.add(len(cells) - len(missing))
        with calls(_called, given, n_jobs, ordered=False) as results:
            for k, made, error, seconds in results:
                record = Record(missing[k].settings, missing[k].replica, made, error, seconds)
                file.add(record)
                found[record.key] = record
                shown.add(1)
    records = tuple(found[cell.key] for cell in cells)
    if all(record.error is not None for record in records):
        raise DeclarationError(
            f"sweep: all of {len(records)} cells failed, the first with {records[0].error}\n"
            + ("Mend: once the cause is gone, retry=True calls them again." if path is not None else "")
        )
    return Sweep(records, entropy)


def _called(
    learn: Callable[..., Any], number: int, values: dict[str, Any], seed: tuple[int, int] | None
) -> tuple[int, dict[str, Result], str | None, float]:
    """Number of the cell, what was returned, or why not, seconds."""
    if seed is not None:
        values = values | {"rng": np.random.default_rng(np.random.SeedSequence(seed[0], spawn_key=seed[1:]))}
    start = time.perf_counter()
    try:
        returned = learn(**values)
    except Exception as raised:  # as text: not every exception can be sent to another process
        lines = str(raised).splitlines()
        error = f"{type(raised).__name__}: {lines[0] if lines else ''}"
        return number, {}, error, time.perf_counter() - start
    seconds = time.perf_counter() - start
    return number, results_of(returned), None, seconds
