"""``fwdgrad learn``: from options to a learner, through the data, to the results."""

from __future__ import annotations

import argparse
import csv
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from fwdgrad import optimizers, plots, streams
from fwdgrad.cli import follow, loop, report
from fwdgrad.cli.builders import Builder
from fwdgrad.cli.choosing import job_for
from fwdgrad.cli.curve import Curve
from fwdgrad.cli.jobs import DataJob, Job, TextJob
from fwdgrad.cli.outputs import check_writable
from fwdgrad.comparison import choose
from fwdgrad.errors import CheckpointError, DataError, DeclarationError, UnlearnedWarning
from fwdgrad.estimators import Estimator, estimator_named
from fwdgrad.learning import checkpoint
from fwdgrad.learning.defaults import why_not_joint
from fwdgrad.learning.history import History
from fwdgrad.learning.learner import Learner
from fwdgrad.optimizers import JointFilter, Optimizer, schedules

__all__ = ["Interrupted", "learn"]

NOTE = "fwdgrad learn"
"""Where the note of a learner has what belongs to this command."""

SAMPLE = 300
"""Characters that are generated unless more or fewer are asked for."""

FIXED: dict[str, Any] = {
    "units": None,
    "estimator": None,
    "rank": 1,
    "optimizer": None,
    "rate": None,
    "decay": 0.0,
    "seed": 0,
    "engine": "auto",
    "inputs": None,
    "targets": None,
    "observe": None,
    "time": None,
    "unit": None,
    "likelihood": None,
}
"""Options that a run cannot change on the way, and their defaults; None is decided when more is known."""

MEASURED = 500
"""Samples by which `--estimator measured` chooses."""

RATES = {"sgd": 1e-2, "momentum": 1e-3, "adam": 3e-3, "adamw": 3e-3, "rmsprop": 1e-3, "adagrad": 0.05}
"""Learning rates for data, by optimizer."""

FREE = ("text", "data", "steps", "checkpoint_every")
"""Options that a checkpoint holds, too, but that may be given anew; the data have to be the same ones."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what became of the run."""


def learn(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises:
        FwdgradError: something in the options, the data or the system is wrong.
        Interrupted: on Ctrl-C, after saving.
    """
    if options.follow:
        follow.run(options)
        return
    if options.json or options.again or options.file == "-":
        raise DeclarationError("--json, --again and - go with --follow, which reads the standard input.")
    if options.file is not None:
        if options.data is not None:
            raise DeclarationError(f"{options.file} and --data {options.data}: give one of them.")
        options.data = options.file
    _check_outputs(options)
    note = None if options.resume is None else _read_note(options.resume)
    settings = _settle(options, note)
    job = job_for(Builder(options.system), settings)
    _check_kind(options, job)
    learner, curve = _start(job, settings) if note is None else _resume(options.resume, job, note)
    steps = settings["steps"] or _default_steps(job, settings)
    if settings["optimizer"] == "joint" and steps > len(job):
        raise DeclarationError(
            f"--steps {steps}: there are {len(job)} samples, and a filter goes through them once: they tell\n"
            "what they tell but once. `fwdgrad fit` goes through them as it must, --optimizer adagrad learns in passes."
        )
    if learner.steps > steps:
        raise DeclarationError(f"--steps {steps}: the checkpoint {options.resume} has {learner.steps} steps already.")
    target = options.save or options.resume
    learner.prepare(steps - learner.steps)

    def save() -> None:
        kept = {**settings, "system": options.system, "identity": job.identity, "curve": curve.note()}
        learner.note = {NOTE: kept}
        learner.save(target)

    print(report.heading(learner, job, settings["seed"], steps), flush=True)
    with _predictions(options.predictions, job) as keep, warnings.catch_warnings():
        # --observe says which outputs are seen
        warnings.filterwarnings("ignore", "of the .* targets so far all are missing", UnlearnedWarning)
        every = settings["checkpoint_every"]
        done = loop.run(
            learner, job, steps, curve, save=save if target else None, every=every, keep=keep, quiet=options.quiet
        )
    if target:
        save()
    if not done:
        kept = f"saved to {target}; --resume {target} continues" if target else "nothing was saved (no --save)"
        raise Interrupted(f"interrupted after {learner.steps} of {steps} steps; {kept}")
    _finish(learner, job, curve, options, settings["seed"])


def _default_steps(job: Job, settings: dict[str, Any]) -> int:
    """A filter goes through data once: they tell what they tell but once."""
    return len(job) if settings["optimizer"] == "joint" else job.default_steps


def _finish(learner: Learner, job: Job, curve: Curve, options: argparse.Namespace, seed: int) -> None:
    """Print, draw and generate what there is to see at the end."""
    history, references = curve.history(), {}
    if isinstance(job, TextJob):
        references = streams.references(job.read(learner.steps))
        history = replace(history, loss=job.bits(history.loss))
    print()
    print(report.losses(job, curve, references))
    if learner.steps > len(job) and references:
        print(f"The text was read {learner.steps / len(job):.3g} times; compressors read it once.")
    if isinstance(job, TextJob):
        count = SAMPLE if options.sample is None else options.sample
        if count:
            print(f"\n{count} characters generated, going on from there:\n")
            print(report.sample(learner, job, count, np.random.default_rng([seed, 1])))
    else:
        print("\n" + report.parameters(learner, job.truth))
        if isinstance(learner.optimizer, JointFilter) and learner.steps == len(job):
            print("\nLearned in one pass, as from a stream. `fwdgrad fit` finds what explains all of the data best.")
    if options.plot:
        plots.plot_history(history, options.plot, references, unit=job.unit)


# ---- options


def _settle(options: argparse.Namespace, note: dict[str, Any] | None) -> dict[str, Any]:
    """The options that matter to the run: given, from the checkpoint, or by default."""
    if note is None:
        made = {k: default if getattr(options, k) is None else getattr(options, k) for k, default in FIXED.items()}
        return made | {k: getattr(options, k) for k in FREE}
    for k in (*FIXED, "system"):
        given = getattr(options, k)
        file = k == "system" and ".py" in given  # a path may be written in many ways; the functions are compared
        if given is not None and given != note.get(k) and not file:
            raise CheckpointError(
                f"the checkpoint {options.resume} was made with {_option(k)}{_value(note.get(k))}, "
                f"not with {_value(given)}.\nMend: leave out what the checkpoint knows, or start anew without --resume."
            )
    return {k: note.get(k) for k in FIXED} | {
        k: note[k] if getattr(options, k) is None else getattr(options, k) for k in FREE
    }


def _option(name: str) -> str:
    return "" if name == "system" else f"--{name.replace('_', '-')} "


def _value(value: Any) -> str:
    return "its default" if value is None else ",".join(value) if isinstance(value, list) else str(value)


def _check_outputs(options: argparse.Namespace) -> None:
    """Find out before the work begins whether the results can be kept."""
    for name in ("save", "predictions"):
        check_writable(f"--{name}", getattr(options, name))
    if options.checkpoint_every and not (options.save or options.resume):
        raise DeclarationError("--checkpoint-every needs a file: --save FILE.")
    if options.plot:
        plots.check_target(options.plot)


def _check_kind(options: argparse.Namespace, job: Job) -> None:
    """Refuse options that do not go with a text, or with data."""
    if isinstance(job, TextJob):
        other, names = "text", ["inputs", "targets", "observe", "time", "unit", "predictions"]
    else:
        other, names = "data", ["sample"]
    for name in names:
        if getattr(options, name) is not None:
            raise DeclarationError(f"--{name} has no meaning when learning from {other}; leave it out.")


# ---- the learner


def _start(job: Job, settings: dict[str, Any]) -> tuple[Learner, Curve]:
    """A learner with what was asked for, and with defaults that suit the job; they are put into the settings."""
    text = isinstance(job, TextJob)
    settings["estimator"] = settings["estimator"] or ("uoro:16" if text else "auto")
    if settings["optimizer"] is None:
        settings["optimizer"] = "adam" if text else _by_default(job, settings)
    estimator = _estimator(settings["estimator"], settings["rank"], job, settings["engine"])
    if settings["optimizer"] == "joint":
        _check_joint(settings)
    elif settings["rate"] is None:
        settings["rate"] = _rate(text, settings["optimizer"], estimator)
    return Learner(job.system, estimator, _optimizer(settings), settings["seed"], settings["engine"]), Curve()


def _by_default(job: Job, settings: dict[str, Any]) -> str:
    """A filter on state and parameters for a small model of which nothing else is asked; AdaGrad for others."""
    plain = settings["estimator"] == "auto" and settings["rank"] == 1 and settings["rate"] is None
    once = (settings["steps"] or 0) <= len(job)
    plain = plain and once and not settings["decay"]
    return "joint" if plain and why_not_joint(job.system) is None else "adagrad"


def _check_joint(settings: dict[str, Any]) -> None:
    """A filter takes no rate and no estimator.

    Raises:
        DeclarationError: there is one.
    """
    for name, nothing in (("rate", None), ("decay", 0.0), ("rank", 1), ("estimator", "auto")):
        if settings[name] not in (nothing, None):
            raise DeclarationError(
                f"--{name} {settings[name]}: the joint filter has none. Leave it out, or give --optimizer adagrad."
            )


def _estimator(name: str, rank: int, job: Job, engine: str) -> Estimator | str:
    if name not in ("auto", "measured"):
        return estimator_named(name, rank)
    if rank != 1:
        raise DeclarationError("--rank needs an estimator to take copies of: --estimator uoro or nobacktrack.")
    if name == "auto":
        return name
    xs, ys = job.slice(0, min(MEASURED, len(job)))
    found = choose(job.system, xs, ys, replicas=8, engine="eager" if engine == "eager" else "auto")
    print(f"{found}\n", flush=True)
    return found.estimator


def _rate(text: bool, optimizer: str, estimator: Estimator | str) -> float:
    """A learning rate that suits the job: with Adam, the noisier the gradient the smaller."""
    if not text:
        return RATES[optimizer]
    if optimizer not in ("adam", "adamw"):
        return min(RATES[optimizer], 1e-2)
    if isinstance(estimator, str):  # "auto", which for a network is a random estimate
        return 3e-4
    steps = getattr(estimator.window, "length", None) or math.inf
    return 3e-4 if estimator.name in ("UORO", "NoBackTrack") and steps < 8 else 2e-3


def _optimizer(settings: dict[str, Any]) -> Optimizer:
    if settings["optimizer"] == "joint":
        return optimizers.JointFilter()
    rate, decay = settings["rate"], settings["decay"]
    return optimizers.NAMED[settings["optimizer"]](schedules.inverse_sqrt(rate, decay) if decay else rate)


def _read_note(path: str) -> dict[str, Any]:
    """What the command line put into a checkpoint."""
    note = checkpoint.read(path)[1].get("note") or {}
    if not isinstance(note.get(NOTE), dict) or not {*FIXED, *FREE, "identity", "curve"} <= note[NOTE].keys():
        raise CheckpointError(f"the checkpoint {path} was not written by `fwdgrad learn`; load it with Learner.load.")
    return note[NOTE]


def _resume(path: str, job: Job, note: dict[str, Any]) -> tuple[Learner, Curve]:
    if job.identity != note["identity"]:
        raise CheckpointError(
            f"the checkpoint {path} was made with other samples than those of {job.source}"
            f"{' (or another version of Python)' if job.built_in else ''}.\n"
            "Mend: give the file it was made with, or start anew without --resume."
        )
    return Learner.load(path, job.system), Curve.from_note(note["curve"])


# ---- predictions


@contextmanager
def _predictions(path: str | None, job: Job) -> Iterator[Callable[[int, History], None] | None]:
    """A function that writes the predictions of a block of steps; None if they are not wanted."""
    if path is None or not isinstance(job, DataJob):
        yield None
        return
    try:
        with open(path, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["step", *job.names])

            def keep(first: int, history: History) -> None:
                flat = np.asarray(history.predictions).reshape(len(history), -1)
                rows.writerows([first + k, *row] for k, row in enumerate(flat.tolist()))

            yield keep
    except OSError as error:
        raise DataError(f"--predictions: cannot write {path}: {error.strerror or error}.") from error
