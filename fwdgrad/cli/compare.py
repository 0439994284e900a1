"""``fwdgrad compare``: gradient estimators on a system and data, beside the exact gradient."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fwdgrad.cli.builders import Builder
from fwdgrad.cli.jobs import TextJob, job_for
from fwdgrad.comparison import compare
from fwdgrad.errors import DeclarationError
from fwdgrad.learning.learner import Learner
from fwdgrad.plots import check_target

__all__ = ["run"]

TEXT = 1000
"""Of a text, so many characters are read unless more or fewer are asked for."""


def run(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises:
        FwdgradError: something in the options, the data or the system is wrong, or something was not finite.
    """
    if options.plot:
        check_target(options.plot)
    settings = {
        k: getattr(options, k) for k in ("text", "data", "inputs", "targets", "observe", "time", "units", "seed")
    }
    job = job_for(Builder(options.system), settings)
    params: Any = None
    if options.params is not None:
        params = Learner.load(options.params, job.system).params
    steps = options.steps or (min(TEXT, len(job)) if isinstance(job, TextJob) else len(job))
    if steps > len(job):
        raise DeclarationError(f"--steps {steps}: there are {len(job)} samples in {job.source}. Give at most so many.")
    xs, ys = job.slice(0, steps)
    with _sendable(options.system):
        found = compare(
            job.system,
            xs,
            ys,
            options.estimators,
            options.replicas,
            start=options.start,
            every=options.every,
            params=params,
            seed=options.seed,
            engine=options.engine,
            n_jobs=options.jobs,
            progress=not options.quiet and sys.stderr.isatty(),
        )
    print(found)
    if options.plot:
        found.plot(options.plot)


@contextmanager
def _sendable(name: str) -> Iterator[None]:
    """What was defined in a user's file goes to other processes as it is: they could not import it."""
    file = name.rpartition(":")[0]
    module = sys.modules.get(Path(file).stem) if file.endswith(".py") else None
    if module is None:
        yield
        return
    try:
        from joblib.externals import cloudpickle
    except ImportError:  # since joblib 1.6 it is a package of its own
        import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)
