"""``fwdgrad fit``: the parameters that explain a table best, with what comes next, and a picture."""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fwdgrad.cli.builders import Builder
from fwdgrad.cli.choosing import job_for
from fwdgrad.cli.data import read_columns
from fwdgrad.cli.dates import said
from fwdgrad.cli.jobs import DataJob, TextJob
from fwdgrad.cli.models import chosen
from fwdgrad.cli.outputs import check_writable, plot_option, quiet_option
from fwdgrad.engines.names import TRACED, current_name
from fwdgrad.errors import DataError, DeclarationError, did_you_mean
from fwdgrad.filtering import filtered
from fwdgrad.fitting import Fit, Trajectory, fit
from fwdgrad.fitting.search import METHODS
from fwdgrad.learning.report import parameter_numbers
from fwdgrad.plots import check_target
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.system import System
from fwdgrad.system.parameters import per_stream, positive

__all__ = ["add", "run"]

FIT = """\
Find the parameters that explain a table best: least squares on the simulated model, or a filter where the state itself
is disturbed. Prints values with standard deviations and 95 % intervals, and what speaks against them.

  fwdgrad fit model.toml data.csv --time year --observe prey=hare,pred=lynx --plot
  fwdgrad fit model.txt doses.csv --time hour --subject patient --begin gut=dose
  fwdgrad fit model.txt doses.csv --time hour --subject patient --begin gut=dose --own clearance
  fwdgrad fit lakes.txt lakes.csv --time date --unit days --forecast 90 --plot --out lakes_fit.csv
  fwdgrad fit model.py:build --data run.npz --forecast 20 --out curves.csv
  fwdgrad fit level.txt nile.csv --time year --process 1000 --observation 10000
  fwdgrad fit lotka-volterra                     a simulation of its own, with moved parameters and noise

SYSTEM and DATA are as for `fwdgrad learn`. With --subject, rows with the same value in that column are a trajectory of
their own, and all share their parameters, but for those that --own names; each subject's noise is then found by itself.
--begin names the column that has, in the first row of each, what a state variable begins at. With --process the state
is filtered, and the noise in it is a parameter like others, in the model's units: a variance per unit of time, or per
sample of a model in discrete time.
"""


FURTHEST = 100_000
"""Samples of a forecast, at most: each is a step of a filter."""


def add(commands: Any, debug: argparse.ArgumentParser, data: Callable[[Any], None]) -> None:
    """The command's options.

    Args:
        commands: where it belongs.
        debug: what all commands have.
        data: adds the options that say what the samples are.
    """
    command = commands.add_parser(
        "fit",
        parents=[debug],
        help="the parameters that explain a table best",
        description=FIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("system", metavar="SYSTEM", help="as for learn")
    command.add_argument("file", metavar="DATA", nargs="?", help="the same as --data DATA")
    table = command.add_argument_group("what to fit")
    data(table)
    table.add_argument(
        "--subject", metavar="COLUMN", help="rows with the same value there are a trajectory of their own"
    )
    table.add_argument(
        "--begin",
        metavar="A=B,…",
        type=_pairs,
        help="state variable A begins at the value in column B of its first row",
    )
    table.add_argument(
        "--own",
        metavar="A,B",
        type=_pairs,
        help="with --subject: parameters of which each subject has a value of its own",
    )
    how = command.add_argument_group("how")
    how.add_argument("--method", choices=METHODS, default="auto", help="(default: auto, simulation if that will do)")
    how.add_argument(
        "--process",
        metavar="V",
        help="noise in the state, which is filtered: variances per unit of time, V for all or A=V,B=W for each state "
        "variable; they are learned, from there",
    )
    how.add_argument(
        "--observation",
        metavar="V",
        help="with --process, variances of the outputs' noise, likewise (default: those that the model says, known)",
    )
    how.add_argument("--units", metavar="N", type=int, help="size of the state")
    how.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of initial weights and of a simulation (default: 0)"
    )
    how.add_argument("--engine", type=current_name, choices=TRACED, default=TRACED[0], help="(default: auto)")
    keep = command.add_argument_group("what to keep")
    keep.add_argument("--json", action="store_true", help="print what was found as JSON")
    keep.add_argument("--forecast", metavar="N", type=int, help="print N samples more, for a model without inputs")
    keep.add_argument(
        "--out", metavar="FILE", help="write data, fitted outputs and deviations as CSV, with the forecast"
    )
    plot_option(keep, "data, fit, bands and the forecast", "fit.png")
    quiet_option(keep)


def run(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises:
        FwdgradError: something in the options, the data or the system is wrong, or nothing fits.
    """
    if options.file is not None:
        if options.data is not None:
            raise DeclarationError(f"{options.file} and --data {options.data}: give one of them.")
        options.data = options.file
    if options.own:
        _check_own(options)
    if options.plot:
        check_target(options.plot)
    check_writable("--out", options.out)
    job = job_for(Builder(options.system), vars(options) | {"text": options.text})
    if isinstance(job, TextJob) or not isinstance(job, DataJob):
        raise DeclarationError("fit: a text is not fitted, it is learned: fwdgrad learn.")
    if options.forecast is not None and (not 1 <= options.forecast <= FURTHEST or job.system.x is not None):
        raise DeclarationError(
            f"--forecast {options.forecast}: expected at least 1 sample and at most {FURTHEST}, of a model without "
            "inputs.\n"
            "With inputs, call fit.forecast(xs=…) in Python."
        )
    model = job.system
    if options.process is not None:
        job.system = _filtered(model, options.process, options.observation)
    elif options.observation is not None:
        raise DeclarationError("--observation: expected with --process, which filters the model; got it alone.")
    trajectories = _trajectories(job, model, options.begin)
    if options.own:
        job.system = _own(job, options)
        trajectories = [_side_by_side(job.system, trajectories)]
    found = fit(
        job.system,
        trajectories=trajectories,
        method=options.method,
        engine=options.engine,
        streams=len(job.groups) if options.own else None,
        progress=sys.stderr.isatty() and not options.quiet,
    )
    names = [f"{name} of {label}" for label in job.labels for name in job.names] if options.own else job.names
    if job.calendar is not None:
        told = f"{job.calendar.missing} of {job.calendar.count} dates are not in the table: not observed then"
        found = replace(found, calendar=job.calendar).remarked(*[told] * (job.calendar.missing > 0))
    if not options.json:
        print(_report(found, job))
    later = None if options.forecast is None else found.forecast(options.forecast)
    if options.json:
        print(json.dumps(_told(found, names, job.labels if options.own else [], later)))
    elif later is not None:
        print("\nforecast")
        for k, (mean, std) in enumerate(zip(later.mean, later.std, strict=True), 1):
            cells = [f"{a:.4g} ± {b:.2g}" for a, b in zip(np.ravel(mean), np.ravel(std), strict=True)]
            print(f"  {k}: {', '.join(cells)}")
    if options.out:
        _write(options.out, found, job, later)
    if options.plot:
        labels = None if options.own else job.labels or None
        found.plot(options.plot, names=names, trajectories=labels, forecast=later)
        print(f"drawn: {options.plot}", file=sys.stderr if options.json else sys.stdout)


def _told(found: Fit, names: list[str], subjects: list[str], later: Any) -> dict[str, Any]:
    """What was found, as JSON holds it: null where nothing is known.

    Args:
        found: the fit.
        names: of the outputs.
        subjects: those that have parameters of their own.
        later: a forecast.
    """

    def number(value: Any) -> float | None:
        return float(value) if np.isfinite(value) else None

    head = ("start", "value", "std", "low", "high")
    rows = parameter_numbers(found.system, found.params, found.std, found.interval)
    rows = {_labelled(name, found.system, subjects): values for name, values in rows.items()}
    shown, quality = _shown_time(found), zip(names, found.rmse, found.explained, strict=True)
    made: dict[str, Any] = {
        "model": found.system.name,
        "method": found.method,
        "observations": int(np.isfinite(found.targets).sum()),
        "parameters": {name: dict(zip(head, map(number, values), strict=True)) for name, values in rows.items()},
        "outputs": {name: {"rmse": number(e), "explained": number(r)} for name, e, r in quality},
        "remarks": found.remarks,
    }
    if later is not None:
        made["forecast"] = []
        for t, mean, std in zip(found.later(len(later.mean)), later.mean, later.std, strict=True):
            parts = zip(names, np.ravel(mean), np.ravel(std), strict=True)
            made["forecast"].append(
                {"time": shown(t), **{n: {"mean": number(a), "std": number(b)} for n, a, b in parts}}
            )
    return made


def _labelled(name: str, system: System, subjects: list[str]) -> str:
    """The name of a number, with that of the subject whose own it is."""
    whole, _, place = name.partition("[")
    if whole not in system.per_stream or not subjects:
        return name
    first, _, rest = place.rstrip("]").partition(",")
    return f"{whole}{f'[{rest.strip()}]' if rest else ''} of {subjects[int(first)]}"


def _check_own(options: argparse.Namespace) -> None:
    """Refuse what does not go with parameters of which each subject has one of its own."""
    if options.subject is None:
        raise DeclarationError("--own: expected with --subject COLUMN, which says whose a row is; got it alone.")
    for name in ("process", "forecast", "out"):
        if getattr(options, name) is not None:
            raise DeclarationError(f"--own and --{name} do not go together; call fg.fit(…, streams=…) in Python.")


def _own(job: DataJob, options: argparse.Namespace) -> System:
    """The system, with parameters of which each subject has one of its own.

    Raises:
        DeclarationError: there are no such parameters.
    """
    system, known = job.system, job.system.declared
    wrong = next((name for name in options.own if name not in job.system.trainable), None)
    if wrong is not None:
        raise DeclarationError(
            f"--own {wrong}: the model learns no such parameter. {did_you_mean(wrong, job.system.trainable)}"
        )
    made: System = system.replace(params={k: per_stream(p) if k in options.own else p for k, p in known.items()})
    return made


def _side_by_side(system: System, trajectories: list[Trajectory]) -> Trajectory:
    """All trajectories as one, of so many streams."""
    states, several = [t.state for t in trajectories], None
    if states[0] is not None:
        several = unflatten(system.state, [np.stack(leaf) for leaf in zip(*map(flatten, states), strict=True)])
    xs = None if system.x is None else [t.xs for t in trajectories]
    return Trajectory(xs, [t.ys for t in trajectories], several)


def _shown_time(found: Fit) -> Callable[[Any], Any]:
    """How a time is written: as a number, or a date."""
    return float if found.calendar is None else said


def _filtered(system: System, process: str, observation: str | None) -> System:
    """The model with noise in its state, whose variances are learned, and so are those of outputs if they are given."""
    state = system.state if isinstance(system.state, dict) else {}
    names = list(state)[: len(state) - 1] if system.steady else list(state)
    learned = _variances("--process", process, {k: state[k].size for k in names})
    outputs = dict.fromkeys(getattr(system, "output_names", ()), 1)
    seen = None if observation is None else _variances("--observation", observation, outputs)
    return filtered(system, learned, seen)


def _variances(option: str, text: str, sizes: dict[str, int]) -> Any:
    """A parameter that is a variance, or several: "0.1", or "a=0.1,b=0.2" with every name.

    Raises:
        DeclarationError: it is neither, or one of them is not above 0.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    named = {name.strip(): value for name, equals, value in pairs if equals}
    if named and (named.keys() != sizes.keys() or len(pairs) != len(sizes)):
        wanted = ",".join(f"{k}=V" for k in sizes) or "V"
        raise DeclarationError(f"{option} {text}: expected a variance V, or {wanted}.")
    try:
        values = [np.full(n, float(named[k])) for k, n in sizes.items()] if named else [np.array(float(text))]
    except ValueError:
        values = [np.zeros(1)]
    if not all(np.all((v > 0) & np.isfinite(v)) for v in values):
        raise DeclarationError(f"{option} {text}: expected variances, numbers above 0.")
    return positive(np.concatenate(values) if named else values[0])


def _trajectories(job: DataJob, system: System, begin: list[str] | None) -> list[Trajectory]:
    states = _beginnings(job, system, begin)
    return [
        Trajectory(_rows(job.xs, rows), _rows(job.ys, rows), state)
        for rows, state in zip(job.groups, states, strict=True)
    ]


def _beginnings(job: DataJob, system: System, begin: list[str] | None) -> list[Any]:
    """The state that each trajectory begins in; None for the declared one."""
    if begin is None:
        return [None] * len(job.groups)
    if not isinstance(system.state, dict):
        raise DeclarationError("--begin: expected a model whose state variables have names.")
    columns = chosen(begin, list(system.state), "--begin")
    values = read_columns(job.source, [], [*dict.fromkeys(columns.values())]).targets
    made = []
    for rows in job.groups:
        state = dict(system.state)
        for name, column in columns.items():
            value = values[column][rows[0]]
            if not np.all(np.isfinite(value)):
                raise DataError(
                    f"--begin {name}={column}: the cell in sample {rows[0]} is empty; a state has to be known."
                )
            state[name] = np.reshape(value, np.shape(system.state[name]))
        made.append(state)
    return made


def _rows(stream: Any, rows: np.ndarray) -> Any:
    return unflatten(stream, [np.asarray(leaf)[rows] for leaf in flatten(stream)])


def _report(found: Fit, job: DataJob) -> str:
    """What was found, with the truth where that is known."""
    text = (
        re.sub(r"\bstream (\d+)", lambda m: job.labels[int(m[1])], str(found))
        if found.system.per_stream
        else str(found)
    )
    lines = [f"data: {len(job)} samples in {job.source}", f"first sample: {job.first}", "", text]
    if found.system.per_stream:
        whose = ", ".join(f"[{k}] {label}" for k, label in enumerate(job.labels))
        lines.append(f"{', '.join(found.system.per_stream)}: a value of each, {whose}")
    if job.truth:
        known = ", ".join(f"{k} {float(v):.4g}" for k, v in job.truth.items() if np.ndim(v) == 0)
        lines.append(f"truth: {known}")
    return "\n".join(lines)


def _write(path: str, found: Fit, job: DataJob, later: Any) -> None:
    """A row for each sample: trajectory, time, and for each output what was observed, fitted, and its deviation."""
    names = job.names
    header = ["trajectory", "time", *(f"{n}{part}" for n in names for part in ("", "_fit", "_std"))]
    labels = job.labels or [str(k + 1) for k in range(len(found.starts))]
    order = np.concatenate([np.full(b - a, label) for label, (a, b) in zip(labels, _spans(found), strict=True)])
    columns = np.stack([found.targets, found.outputs, found.bands], axis=2).reshape(len(order), -1)
    show = _shown_time(found)
    rows = [[k, show(t), *row] for k, t, row in zip(order.tolist(), found.stamps, columns.tolist(), strict=True)]
    if later is not None:
        for t, mean, std in zip(found.later(len(later.mean)), later.mean, later.std, strict=True):
            pairs = zip(np.ravel(mean).tolist(), np.ravel(std).tolist(), strict=True)
            cells = [cell for a, b in pairs for cell in (float("nan"), a, b)]
            rows.append([labels[-1], show(t), *cells])
    try:
        with open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(header)
            table.writerows([["" if v != v else v for v in row] for row in rows])
    except OSError as error:
        raise DataError(f"--out: cannot write {path}: {error.strerror or error}.") from error


def _spans(found: Fit) -> list[tuple[int, int]]:
    return list(zip(found.starts, [*found.starts[1:], len(found.outputs)], strict=True))


def _pairs(text: str) -> list[str]:
    return [pair.strip() for pair in text.split(",") if pair.strip()]
