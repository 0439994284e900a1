"""``fwdgrad refine``: estimators on a system in continuous time, as δt → 0."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

from fwdgrad.cli.builders import Builder
from fwdgrad.cli.outputs import plot_option, quiet_option
from fwdgrad.engines.names import TRACED, current_name
from fwdgrad.errors import DataError, DeclarationError, NonFiniteError
from fwdgrad.estimators import RTRL
from fwdgrad.limits import Law, Multilevel, Refinement, diffusion, learning, multilevel, refine, same_law
from fwdgrad.limits.diffusion import SCALES
from fwdgrad.limits.learners import Learners
from fwdgrad.limits.timed import OfTime, Timed
from fwdgrad.plots import check_target
from fwdgrad.support.trees import flatten, map_leaves, unflatten
from fwdgrad.support.words import digits
from fwdgrad.system import System

__all__ = ["add", "run"]

REFINE = """\
Let δt → 0 on a system that is declared by its rate: do gradient estimators have a limit, and which? The parameters
are fixed at first: error of the mean, motion of the factors a step and variance, against δt, with the rescaling and
without, and the law of the estimate beside its limit. Then they are learned, from the system's own trajectory with
other parameters: the law of θ(t), and what multilevel Monte Carlo saves.

  fwdgrad refine van-der-pol --plot
  fwdgrad refine model.py:build --horizon 5 --finest 12 --replicas 2048

An input is held at the system's example input; --wave adds a sine to it. For another one, call fg.refine with a
function of the time.
"""

RUNGS = 6
"""Steps δt: the smallest, and as many as this less one, each twice as large."""

FINEST = 24
"""Halvings of the horizon, at most: 50 million steps."""

TRIES = 8
"""Learning rates that are tried, each a quarter of the one before, until the parameters stay where they can be."""

FAR = 0.5
"""Parameters that have moved by so much of their size, root mean square over replicas, are about to diverge."""

SIGNIFICANT = 0.01
"""Two laws differ if they would look so different in so many of cases only."""


def add(commands: Any, debug: argparse.ArgumentParser) -> None:
    """The command's options."""
    command = commands.add_parser(
        "refine",
        parents=[debug],
        help="what estimators become for δt → 0",
        description=REFINE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("system", metavar="SYSTEM", help="a name from the catalogue, or FILE.py:NAME")
    command.add_argument("--method", metavar="NAME", default="euler", help="the integrator (default: euler)")
    command.add_argument(
        "--horizon", metavar="T", type=float, help="time at the end (default: 60 times the system's dt)"
    )
    command.add_argument(
        "--finest", metavar="K", type=int, default=10, help="the smallest δt is T/(3·2^K) (default: 10, T/3072)"
    )
    command.add_argument(
        "--estimators", metavar="A,B", default="nobacktrack,uoro", help="names (default: nobacktrack,uoro)"
    )
    command.add_argument("--replicas", metavar="N", type=int, default=512, help="of what is random (default: 512)")
    command.add_argument("--noise", choices=("signs", "gaussian"), default="gaussian", help="(default: gaussian)")
    command.add_argument(
        "--rate",
        metavar="η",
        type=float,
        help="learning rate per unit time (default: one that moves the parameters by a few percent)",
    )
    command.add_argument(
        "--truth", metavar="F", type=float, default=1.3, help="data are those of F times the parameters (default: 1.3)"
    )
    command.add_argument(
        "--wave", metavar="A", type=float, default=0.0, help="add A sin(6π t/T) to the example input (default: 0)"
    )
    command.add_argument("--seed", metavar="N", type=int, default=0, help="of the noise (default: 0)")
    command.add_argument("--engine", type=current_name, choices=TRACED, default=TRACED[0], help="(default: auto)")
    command.add_argument(
        "--jobs", metavar="N", type=int, default=-1, help="threads; -1 for one on every core (default)"
    )
    plot_option(command, "all of it", "refinement.png")
    quiet_option(command)


def run(options: argparse.Namespace) -> None:
    """Carry out the command. What fails while learning ends the command only after the rest is shown.

    Raises:
        FwdgradError: something in the options or the system is wrong, or something was not finite.
    """
    if options.plot:
        check_target(options.plot)
    system = _system(options)
    horizon = float(60 * system.dt if options.horizon is None else options.horizon)  # type: ignore[operator]
    if not RUNGS - 1 <= options.finest <= FINEST:
        raise DeclarationError(f"--finest {options.finest}: expected {RUNGS - 1} to {FINEST}.")
    dts = [horizon / (3 * 2**k) for k in range(options.finest - RUNGS + 1, options.finest + 1)]
    if options.rate is not None and not options.rate > 0:
        raise DeclarationError(f"--rate {options.rate:g}: expected a positive number.")
    x_of_t = _input(system, horizon, options.wave)
    common: dict[str, Any] = {
        "seed": options.seed,
        "engine": options.engine,
        "n_jobs": options.jobs,
        "progress": not options.quiet and sys.stderr.isatty(),
    }
    names = [name.strip() for name in options.estimators.split(",")]
    with_rescaling = refine(system, x_of_t, horizon, dts, names, options.replicas, options.noise, **common)
    print(with_rescaling)
    ranked = [n for n, e in zip(names, with_rescaling.estimates.values(), strict=True) if e.of_rank_one]
    if not ranked:
        print("\nNone of these is random and of rank one, so that is all. Ask for nobacktrack or uoro for the rest.")
        if options.plot:
            with_rescaling.plot(options.plot)
        return
    # without scales all of rank one are the same
    without = refine(system, x_of_t, horizon, dts, ranked[:1], options.replicas, options.noise, rescale=False, **common)
    print(f"\n{without}")
    limit = diffusion(
        system, x_of_t, horizon, dts[2], options.replicas, seed=options.seed + 1, progress=common["progress"]
    )
    _print_laws(with_rescaling, limit.matrices)
    law = found = failed = None
    try:
        y_of_t = _data(system, x_of_t, horizon, options.truth)
        law, found = _learned(system, x_of_t, y_of_t, horizon, dts[1:], ranked[0], options, common)
    except (NonFiniteError, DataError) as error:
        failed = error
    if options.plot:
        from fwdgrad.limits.picture import draw_study

        draw_study(with_rescaling, without, limit, law, found, options.plot)
    if failed is not None:
        raise failed


def _system(options: argparse.Namespace) -> System:
    system = Builder(options.system)({}, {"seed": options.seed})
    if not isinstance(system.dt, float):
        raise DeclarationError(
            f"refine: {options.system} is not declared by a rate with a number dt, so it has no limit of small steps.\n"
            "Take a system of differential equations, such as van-der-pol."
        )
    return system.replace(method=options.method)


def _input(system: System, horizon: float, wave: float) -> OfTime | None:
    if system.x is None:
        if wave:
            raise DeclarationError(f"--wave {wave:g}: {system.name} has no input to add a wave to.")
        return None
    return lambda t: map_leaves(lambda leaf: leaf + wave * np.sin(6 * np.pi * t / horizon), system.x)


def _print_laws(found: Refinement, limit: np.ndarray) -> None:
    """Whether G̃ at the smallest δt is distributed as the limit that is known for it."""
    print("\nThe law at the smallest δt, against the limit of a scale for each state variable (Kolmogorov–Smirnov):")
    for label, e in found.estimates.items():
        if not e.random:
            continue
        if getattr(e.estimator.influence, "scale", None) != SCALES[0]:
            print(f"  {label}: not compared; its limit, if any, is another (UORO's: diffusion(scale='common'), signs)")
            continue
        values = same_law(e.matrices[-1], limit)
        bound = SIGNIFICANT / len(values)
        said = "the same, as far as can be seen" if min(values.values()) > bound else "different"
        print(f"  {label}: {said} (least p of {len(values)} functionals {min(values.values()):.2g}; "
              f"different if below {bound:.2g})")  # fmt: skip


def _data(system: System, x_of_t: OfTime | None, horizon: float, truth: float) -> OfTime:
    """The outputs of the system with other parameters, as a function of the time."""
    steps = 3 * 2**10
    dt = horizon / steps
    exact = system.replace(dt=dt, method="heun", substeps=1)
    params = {k: truth * v for k, v in system.params.items() if k in system.trainable}
    xs = None
    if x_of_t is not None:
        rows = [flatten(x_of_t(dt * k)) for k in range(steps)]
        xs = unflatten(system.x, [np.stack(column) for column in zip(*rows, strict=True)])
    outputs = exact.simulate(xs, steps=steps, params=params, first="next").outputs
    from scipy.interpolate import CubicSpline  # takes long to load

    # smooth, as the solver of the gradient flow halves its step at every kink
    return CubicSpline(dt * np.arange(1, steps + 1), outputs)


def _learned(
    system: System,
    x_of_t: OfTime | None,
    y_of_t: OfTime,
    horizon: float,
    dts: list[float],
    estimator: str,
    options: argparse.Namespace,
    common: dict[str, Any],
) -> tuple[Law, Multilevel]:
    """The law of learning, and the mean of the first parameter to a hundredth of its spread.

    At the rate that was asked for; else at the largest of some at which nothing diverges.
    """
    given, name = options.rate is not None, system.trainable[0]
    rate = options.rate if given else _rate(system, x_of_t, y_of_t, horizon)
    replicas = min(options.replicas, 256)
    rates = [rate] if given else [rate / 4**k for k in range(TRIES)]

    def functional(params: dict[str, np.ndarray]) -> np.ndarray:
        return params[name].reshape(len(params[name]), -1).mean(axis=1)

    for rate in rates:
        try:
            law = learning(
                system, x_of_t, y_of_t, horizon, dts[-4:], estimator, rate, replicas, options.noise, **common
            )
            if not given and _distance(system, law) > FAR:
                raise NonFiniteError(
                    f"refine: the noise moves the parameters by more than {FAR:g} of their size at the rate "
                    f"{digits(rate)}.\nGive a smaller one: --rate.",
                    step=0,
                    quantity="the parameters",
                )
            tolerance = max(float(np.mean(law.spread(name)[-1, -1])) / 100, 1e-9)
            found = multilevel(system, x_of_t, y_of_t, horizon, dts, functional, tolerance, estimator, rate, **common)
            break
        except NonFiniteError:
            last = rate == rates[-1]
            next_one = "" if last else "; a quarter of it is tried"
            print(f"\nLearning at the rate {digits(rate)} diverges, or nearly so{next_one}.")
            if last:
                raise
    print(f"\nLearning at the rate {digits(rate)}, from data of {options.truth:g} times the parameters.\n{law}\n")
    mean = name if system.coordinates[name].shape == () else f"the mean of {name}"
    print(f"Multilevel Monte Carlo for {mean} at t = {horizon:g}:\n{found}")
    return law, found


def _distance(system: System, law: Law) -> float:
    """How far the parameters have moved, root mean square over replicas, relative to their size; the worst δt."""
    moved = sum(_square(v[:, :, -1] - system.params[k]) for k, v in law.params.items())
    size = sum(float(np.sum(system.params[k] ** 2)) for k in law.params)
    return float(np.sqrt(np.max(np.mean(moved, axis=1)) / max(1.0, size)))


def _square(values: np.ndarray) -> Any:
    """‖·‖² over all axes but the first two."""
    return np.sum(values.reshape(*values.shape[:2], -1) ** 2, axis=2)


def _rate(system: System, x_of_t: Any, y_of_t: Any, horizon: float) -> float:
    """A rate at which what is learned moves by about a twenty-fifth until the horizon, without noise."""
    tiny, steps = 1e-9, 768
    learners = Learners(Timed(system, x_of_t, y_of_t), RTRL(), tiny, 1, "numpy")
    dt, timed = horizon / steps, learners.timed
    carry = learners.run(learners.start(), timed.inputs(dt, steps), timed.targets(dt, steps), [])
    moved = sum(np.sum((carry[1].params[k] - v) ** 2) for k, v in timed.params.items())
    size = sum(np.sum(timed.params[k] ** 2) for k in system.trainable)
    return float(tiny * 0.04 * max(1.0, np.sqrt(size)) / max(np.sqrt(moved), 1e-300))
