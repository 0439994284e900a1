"""``fwdgrad sweep``: estimators, optimizers and rates on a system and its data, side by side."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.cli.builders import Builder
from fwdgrad.cli.choosing import job_for
from fwdgrad.cli.jobs import Job, TextJob
from fwdgrad.cli.outputs import check_writable, plot_option, quiet_option, sendable
from fwdgrad.engines.names import current_name
from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import estimator_named
from fwdgrad.learning.learner import Learner
from fwdgrad.optimizers import NAMED
from fwdgrad.plots import check_target
from fwdgrad.sweeps import sweep

__all__ = ["add", "run"]

ABOUT = """\
Learn a system once for every combination of estimators, optimizers and learning rates, and print what each ends with:
the mean loss over the last tenth of the steps. With --records a sweep that was interrupted or killed goes on where it
was, and more rates may be added.

  fwdgrad sweep tanh-rnn --estimators uoro,tbptt:10 --rates 0.0003,0.001,0.003 --steps 20000 --jobs 2
  fwdgrad sweep lotka-volterra --estimators rtrl --optimizers sgd,adam --replicas 3 --records sweep.jsonl --plot
"""

RATES = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1]
"""Unless others are given."""

LAST = 0.1
"""The part of the steps whose loss counts."""


def add(commands: Any, debug: argparse.ArgumentParser, files: Callable[[argparse._ArgumentGroup], None]) -> None:
    """Add the command, with the options `files` for its data."""
    command = commands.add_parser(
        "sweep",
        parents=[debug],
        help="which estimator, optimizer and rate learn a system best",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("system", metavar="SYSTEM", help="as for learn")
    data = command.add_argument_group("on what")
    files(data)
    data.add_argument("--units", metavar="N", type=int, help="size of the state (default: 64 for networks)")
    data.add_argument("--steps", metavar="N", type=int, help="samples to learn from (default: as for learn)")
    how = command.add_argument_group("what to try, and how")
    how.add_argument(
        "--estimators", metavar="A,B", type=_words, default=["auto"], help="names as for learn (default: auto)"
    )
    how.add_argument(
        "--optimizers",
        metavar="A,B",
        type=_words,
        default=["adam"],
        help=f"of {', '.join(NAMED)} (default: adam)",
    )
    shown = ",".join(map(str, RATES))
    how.add_argument("--rates", metavar="A,B", type=_numbers, default=RATES, help=f"learning rates (default: {shown})")
    how.add_argument("--replicas", metavar="N", type=int, default=1, help="runs of each (default: 1)")
    how.add_argument("--seed", metavar="N", type=int, default=0, help="of weights, noise and samples (default: 0)")
    how.add_argument("--engine", type=current_name, default="auto", help="what runs the steps (default: auto)")
    how.add_argument(
        "--jobs", metavar="N", type=int, default=1, help="processes; -1 for one on every core (default: 1)"
    )
    kept = command.add_argument_group("what to keep")
    kept.add_argument("--records", metavar="FILE", help="keep each result here; go on from what it has (JSON lines)")
    kept.add_argument("--csv", metavar="FILE", help="write the results as a table")
    plot_option(kept, "the loss against the rate", "sweep.png")
    quiet_option(kept)


def run(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises:
        FwdgradError: something in the options, the data or the system is wrong, or every run failed.
    """
    for name in ("records", "csv"):
        check_writable(f"--{name}", getattr(options, name))
    if options.plot:
        check_target(options.plot)
    for name in options.estimators:
        if name != "auto":
            estimator_named(name)
    for name in options.optimizers:
        if name not in NAMED:
            raise DeclarationError(f"--optimizers {name}: expected some of {', '.join(NAMED)}.")
    settings = {
        k: getattr(options, k) for k in ("text", "data", "inputs", "targets", "observe", "time", "units", "seed")
    }
    if options.steps is not None and options.steps < 1:
        raise DeclarationError(f"--steps {options.steps}: expected at least 1.")
    job = job_for(Builder(options.system), settings)
    steps = options.steps or job.default_steps
    grid = {
        # what the runs have in common, so that a file of records keeps others apart
        "system": [job.system.name],
        "samples": [job.identity[:12]],
        "units": [options.units],
        "steps": [steps],
        "estimator": options.estimators,
        "optimizer": options.optimizers,
        "rate": options.rates,
    }
    with sendable(options.system):
        found = sweep(
            functools.partial(_learned, job, options.engine),
            grid,
            replicas=options.replicas,
            seed=options.seed,
            path=options.records,
            n_jobs=options.jobs,
            progress=not options.quiet and sys.stderr.isatty(),
        )
    print(f"{job.system.name} on {job.source}: the mean {job.unit} over the last {LAST:.0%} of the steps\n")
    print(found)
    if options.csv:
        found.to_csv(options.csv)
    if options.plot:
        found.plot(options.plot, x="rate")


def _learned(
    job: Job,
    engine: str,
    *,
    steps: int,
    estimator: str,
    optimizer: str,
    rate: float,
    rng: np.random.Generator,
    **_: Any,
) -> dict[str, float]:
    """One run: its loss at the end, and over all steps."""
    chosen = estimator if estimator == "auto" else estimator_named(estimator)
    learner = Learner(job.system, chosen, NAMED[optimizer](rate), rng, engine)
    learner.prepare(steps)
    losses = []
    while learner.steps < steps:
        if job.again and learner.steps:
            learner.reset_state()
        xs, ys = job.slice(0, min(len(job), steps - learner.steps))
        losses.append(learner.run(xs, ys).loss)
    made = np.concatenate(losses)
    made = job.bits(made) if isinstance(job, TextJob) else made
    return {"loss": float(np.nanmean(made[-max(1, int(LAST * steps)) :])), "mean loss": float(np.nanmean(made))}


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in _words(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 0.1,0.01, got {text!r}") from None
