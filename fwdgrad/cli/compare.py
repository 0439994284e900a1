"""``fwdgrad compare``: gradient estimators on a system and data, beside the exact gradient."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any

from fwdgrad.cli.builders import Builder
from fwdgrad.cli.choosing import job_for
from fwdgrad.cli.jobs import TextJob
from fwdgrad.cli.outputs import sendable
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
    with sendable(options.system):
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
    if options.json:
        rows = found.to_rows()
        print(json.dumps({k: {n: v if math.isfinite(v) else None for n, v in row.items()} for k, row in rows.items()}))
    else:
        print(found)
    if options.plot:
        found.plot(options.plot)
