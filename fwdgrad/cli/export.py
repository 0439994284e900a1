"""``fwdgrad export``: the steps of a learner as C."""

from __future__ import annotations

import argparse
import os
from typing import Any

from fwdgrad.cli.builders import Builder
from fwdgrad.cli.learners import learner_for
from fwdgrad.errors import DataError, DeclarationError
from fwdgrad.exporting import export
from fwdgrad.learning.learner import Learner
from fwdgrad.optimizers import NAMED

__all__ = ["add", "run"]

EXPORT = """\
Write the predict and learn steps of a model as one file of C99 that needs nothing but the C library, with a header, and
a program that compares it with NumPy:

  fwdgrad export model.txt --estimator rtrl --optimizer adam --rate 0.001 --out device
  cc device/model.c device/model_test.c -lm -o test && ./test < device/model_samples.txt
  fwdgrad export model.txt --resume run.npz      goes on with what was learned

SYSTEM is as for `fwdgrad learn`. Without --estimator and --optimizer it is the library's default learner.
"""


def add(commands: Any, debug: argparse.ArgumentParser) -> None:
    """The command's options."""
    command = commands.add_parser(
        "export",
        parents=[debug],
        help="the predict and learn steps as C, for a microcontroller",
        description=EXPORT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("system", metavar="SYSTEM", help="as for learn")
    command.add_argument("--to", choices=("c",), default="c", help="the language (default: c, C99)")
    command.add_argument("--units", metavar="N", type=int, help="size of the state")
    command.add_argument("--symbols", metavar="N", type=int, help="size of the alphabet")
    command.add_argument("--estimator", metavar="NAME", help="as for learn; one that learns at every step")
    command.add_argument("--optimizer", choices=(*NAMED, "joint"), help="as for learn")
    command.add_argument("--rate", metavar="γ", type=float, help="learning rate (default: 0.001)")
    command.add_argument("--resume", metavar="FILE", help="what was learned: a checkpoint of learn --save")
    command.add_argument("--name", metavar="NAME", help="of the model in C (default: that of the system)")
    command.add_argument("--out", metavar="FOLDER", default=".", help="where to write (default: here)")
    command.add_argument("--samples", metavar="N", type=int, default=100, help="to compare in the test (default: 100)")


def run(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises:
        FwdgradError: something in the options is wrong, or the step cannot be written in C.
    """
    given = {k: getattr(options, k) for k in ("units", "symbols") if getattr(options, k) is not None}
    system = Builder(options.system)(given, {"seed": 0})
    if options.resume is not None:
        if options.estimator is not None or options.optimizer is not None:
            raise DeclarationError("--resume: the checkpoint has its estimator and optimizer; leave these out.")
        learner = Learner.load(options.resume, system)
    else:
        learner = learner_for(system, options.estimator, options.optimizer, options.rate)
    try:
        os.makedirs(options.out, exist_ok=True)
    except OSError as error:
        raise DataError(f"--out: cannot make the folder {options.out}: {error.strerror or error}.") from error
    print(export(learner, options.out, name=options.name, to=options.to, samples=options.samples))
