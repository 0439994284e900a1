"""``fwdgrad refine``: estimators on a system in continuous time, as δt → 0."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

from fwdgrad.cli.builders import Builder
from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import RTRL
from fwdgrad.limits import diffusion, learning, multilevel, refine, same_law
from fwdgrad.limits.learners import Learners
from fwdgrad.limits.report import digits
from fwdgrad.limits.timed import Timed
from fwdgrad.plots import check_target
from fwdgrad.system import System
from fwdgrad.trees import flatten

__all__ = ["add", "run"]

REFINE = """\
Let δt → 0 on a system that is declared by its rate: do gradient estimators have a limit, and which? The parameters
are fixed at first: error of the mean, motion of the factors a step and variance, against δt, with the rescaling and
without, and the law of the estimate beside its limit. Then they are learned, from the system's own trajectory with
other parameters: the law of θ(t), and what multilevel Monte Carlo saves.

  fwdgrad refine van-der-pol --plot
  fwdgrad refine model.py:build --horizon 5 --finest 12 --replicas 2048

An input is held at the system's example input; for another one, call fg.refine with a function of the time.
"""

RUNGS = 6
"""Steps δt: the smallest, and as many as this less one, each twice as large."""


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
    command.add_argument("--seed", metavar="N", type=int, default=0, help="of the noise (default: 0)")
    command.add_argument("--engine", choices=("auto", "numpy", "numba"), default="auto", help="(default: auto)")
    command.add_argument(
        "--jobs", metavar="N", type=int, default=-1, help="threads; -1 for one on every core (default)"
    )
    command.add_argument(
        "--plot",
        metavar="FILE",
        nargs="?",
        const="refinement.png",
        help="draw all of it; png, pdf or svg (default: refinement.png)",
    )
    command.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises:
        FwdgradError: something in the options or the system is wrong, or something was not finite.
    """
    if options.plot:
        check_target(options.plot)
    system = _system(options)
    horizon = float(60 * system.dt if options.horizon is None else options.horizon)  # type: ignore[operator]
    if options.finest < RUNGS - 1:
        raise DeclarationError(f"--finest {options.finest}: expected at least {RUNGS - 1}.")
    dts = [horizon / (3 * 2**k) for k in range(options.finest - RUNGS + 1, options.finest + 1)]
    x_of_t = None if system.x is None else lambda t: system.x
    common: dict[str, Any] = {
        "seed": options.seed,
        "engine": options.engine,
        "n_jobs": options.jobs,
        "progress": not options.quiet and sys.stderr.isatty(),
    }
    names = [name.strip() for name in options.estimators.split(",")]
    with_rescaling = refine(system, x_of_t, horizon, dts, names, options.replicas, options.noise, **common)
    # without scales all of rank one are the same
    without = refine(system, x_of_t, horizon, dts, names[:1], options.replicas, options.noise, rescale=False, **common)
    print(with_rescaling, without, sep="\n\n")
    limit = diffusion(system, x_of_t, horizon, dts[2], options.replicas, seed=options.seed + 1)
    print(
        "\nThe law at the smallest δt against the limit of NoBackTrack, simulated (Kolmogorov–Smirnov, least p-value):"
    )
    for label, e in with_rescaling.estimates.items():
        if e.random:
            values = same_law(e.matrices[-1], limit.matrices)
            print(f"  {label}: {min(values.values()):.2g} of {len(values)} functionals")
    y_of_t = _data(system, x_of_t, horizon, options.truth)
    rate = options.rate if options.rate is not None else _rate(system, x_of_t, y_of_t, horizon)
    law = learning(
        system,
        x_of_t,
        y_of_t,
        horizon,
        dts[-4:],
        names[0],
        rate,
        min(options.replicas, 256),
        options.noise,
        **common,
    )
    print(f"\nLearning at the rate {digits(rate)}, from data of {options.truth:g} times the parameters.\n{law}\n")
    name = system.trainable[0]
    spread = float(np.mean(law.spread(name)[-1, -1]))

    def functional(params: dict[str, np.ndarray]) -> np.ndarray:
        return params[name].reshape(len(params[name]), -1).mean(axis=1)

    found = multilevel(
        system, x_of_t, y_of_t, horizon, dts[1:], functional, max(spread / 100, 1e-9), names[0], rate, **common
    )
    mean = name if system.coordinates[name].shape == () else f"the mean of {name}"
    print(f"Multilevel Monte Carlo for {mean} at t = {horizon:g}:\n{found}")
    if options.plot:
        from fwdgrad.limits.picture import draw_study

        draw_study(with_rescaling, without, limit, law, found, options.plot)


def _system(options: argparse.Namespace) -> System:
    system = Builder(options.system)({}, {"seed": options.seed})
    if not isinstance(system.dt, float):
        raise DeclarationError(
            f"refine: {options.system} is not declared by a rate with a number dt, so it has no limit of small steps.\n"
            "Take a system of differential equations, such as van-der-pol."
        )
    return system.replace(method=options.method)


def _data(system: System, x_of_t: Any, horizon: float, truth: float) -> Any:
    """The outputs of the system with other parameters, as a function of the time."""
    steps = 3 * 2**10
    exact = system.replace(dt=horizon / steps, method="heun", substeps=1)
    params = {k: truth * v for k, v in system.params.items() if k in system.trainable}
    xs = None
    if x_of_t is not None:
        held = [np.repeat(leaf[None], steps, axis=0) for leaf in flatten(system.x)]
        xs = dict(zip(system.x, held, strict=True)) if isinstance(system.x, dict) else held[0]
    outputs = exact.simulate(xs, steps=steps, params=params).outputs
    from scipy.interpolate import CubicSpline  # takes long to load

    # smooth, as the solver of the gradient flow halves its step at every kink
    return CubicSpline(horizon / steps * np.arange(1, steps + 1), outputs)


def _rate(system: System, x_of_t: Any, y_of_t: Any, horizon: float) -> float:
    """A rate at which what is learned moves by about a twenty-fifth until the horizon, without noise."""
    tiny, steps = 1e-9, 768
    learners = Learners(Timed(system, x_of_t, y_of_t), RTRL(), tiny, 1, "numpy")
    dt, timed = horizon / steps, learners.timed
    carry = learners.run(learners.start(), timed.inputs(dt, steps), timed.targets(dt, steps), [])
    moved = sum(np.sum((carry[1].params[k] - v) ** 2) for k, v in timed.params.items())
    size = sum(np.sum(timed.params[k] ** 2) for k in system.trainable)
    return float(tiny * 0.04 * max(1.0, np.sqrt(size)) / max(np.sqrt(moved), 1e-300))
