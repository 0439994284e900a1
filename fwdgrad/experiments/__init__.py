"""The experiments of the papers, one module each, and what came of them: ``fwdgrad reproduce NAME``.

Nothing of the library loads them. They are written with its public names, as a user's would be.

    >>> from fwdgrad import experiments
    >>> experiments.names()[:3]
    ('uoro-1a', 'uoro-1b', 'uoro-1c')
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

import fwdgrad as fg
from fwdgrad.experiments.frame import Criterion, Experiment, Reproduction, carried_out

__all__ = ["Criterion", "Experiment", "Reproduction", "named", "names", "reproduce"]

MODULES = {
    "uoro-1a": "variance_in_time",
    "uoro-1b": "variance_in_size",
    "uoro-1c": "copying",
    "uoro-2a": "balancing",
    "uoro-2b": "brackets",
    "uoro-4": "anbn",
    "nobacktrack-1": "characters",
    "slides-leaky": "leaky",
    "estimators": "deciding",
}
"""Where each experiment is."""


def names() -> tuple[str, ...]:
    """The names of all experiments."""
    return tuple(MODULES)


def named(name: str) -> Experiment:
    """The experiment of a name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in MODULES:
        raise fg.errors.UnknownNameError(
            f"reproduce: there is no experiment {name!r}. {fg.errors.did_you_mean(name, MODULES)}"
        )
    experiment = importlib.import_module(f"fwdgrad.experiments.{MODULES[name]}").EXPERIMENT
    assert isinstance(experiment, Experiment)
    return experiment


def reproduce(
    name: str,
    quick: bool = False,
    *,
    steps: int | None = None,
    seeds: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> Reproduction:
    """Make the runs of an experiment, and hold them against what the paper says.

    Args:
        name: of `names`.
        quick: short runs, for a look; they may tell nothing of what takes long.
        steps: length of each run; the paper's, or what two cores can do, unless given.
        seeds: runs of each setting; as many as the experiment has unless given.
        folder: where records are kept, in NAME.jsonl: a run that is there is not made again.
        n_jobs: runs at a time, in processes of their own, −1 for one on every core.
        progress: True for a bar, or a function called with (runs done, runs in all).

    Returns:
        Records, table, criteria and verdict; ``print`` it.

    Raises:
        UnknownNameError: there is no such experiment.
        DeclarationError: a number is not what it should be, or every run failed.
        DataError: the file of records cannot be read or written.

    Example:
        >>> from fwdgrad.experiments import reproduce
        >>> reproduce("uoro-2a", quick=True)  # doctest: +SKIP
        Reproduction of uoro-2a: comes out
    """
    return carried_out(named(name), quick, steps=steps, seeds=seeds, folder=folder, n_jobs=n_jobs, progress=progress)
