"""``fwdgrad explain``: what a step consists of, as operations or as the source that an engine runs."""

from __future__ import annotations

import argparse

from fwdgrad.analysis import analyze
from fwdgrad.cli.builders import Builder
from fwdgrad.engines.names import AUTO
from fwdgrad.engines.registry import REGISTERED
from fwdgrad.errors import TracingError
from fwdgrad.estimators import UORO, Estimator, estimator_named
from fwdgrad.estimators.windows import Sliding
from fwdgrad.learning.execution import Execution
from fwdgrad.optimizers import NAMED
from fwdgrad.system import System

__all__ = ["run"]


def run(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises:
        FwdgradError: there is no such system, or its step cannot be traced or compiled.
    """
    given = {k: getattr(options, k) for k in ("units", "symbols") if getattr(options, k) is not None}
    system = Builder(options.system)(given, {"seed": 0})
    estimator = _estimator(options.estimator, system)
    execution = Execution(system, estimator, NAMED[options.optimizer](1e-3), AUTO)
    # with a window, a step goes forward only, and all of a window is compiled
    program = execution.program("learn" if estimator.window == Sliding(1) else "forward")
    if not options.source:
        print(program)
        return
    engine = REGISTERED[options.engine]
    engine.require()
    if engine.streams:
        print(engine.source(execution.program(execution.streamed), execution.carried(execution.streamed)), end="")
    else:
        print(engine.source(program), end="")


def _estimator(name: str, system: System) -> Estimator:
    if name != "auto":
        return estimator_named(name)
    try:
        return analyze(system).choice
    except TracingError:
        return UORO()
