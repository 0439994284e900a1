"""``fwdgrad explain``: what a step consists of, as operations or as the source that an engine runs."""

from __future__ import annotations

import argparse
from typing import Any

from fwdgrad.analysis import analyze
from fwdgrad.cli.builders import Builder
from fwdgrad.errors import DeclarationError, TracingError
from fwdgrad.estimators import UORO, Estimator, estimator_named
from fwdgrad.estimators.windows import Sliding
from fwdgrad.learning.execution import Execution
from fwdgrad.optimizers import NAMED
from fwdgrad.support.trees import flatten
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
    execution = Execution(system, estimator, NAMED[options.optimizer](1e-3), "numpy")
    # with a window, a step goes forward only
    program = execution.program("learn" if estimator.window == Sliding(1) else "forward")
    carried = len(flatten(execution.template))
    if not options.source:
        print(program)
    elif options.engine == "compiled":
        print(_compiled(program, carried if program.name == "learn" else None), end="")
    else:
        from fwdgrad.engines.numpy_engine import source

        print(source(program)[0], end="")


def _estimator(name: str, system: System) -> Estimator:
    if name != "auto":
        return estimator_named(name)
    try:
        return analyze(system).choice
    except TracingError:
        return UORO()


def _compiled(program: Any, carried: int | None) -> str:
    try:
        from fwdgrad.engines import compiled_engine
    except ImportError as error:
        raise DeclarationError(
            f"--engine compiled needs llvmlite ({error}). Install it: pip install llvmlite; or use --engine numpy."
        ) from error
    return compiled_engine.source(program, carried)
