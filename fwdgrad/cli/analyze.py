"""``fwdgrad analyze``: the structure of a system, as a table and a picture."""

from __future__ import annotations

import argparse

from fwdgrad.analysis import Budget, analyze
from fwdgrad.cli.builders import Builder
from fwdgrad.plots import check_target

__all__ = ["run"]


def run(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises:
        FwdgradError: there is no such system, it cannot be traced, or the picture cannot be written.
    """
    if options.plot:
        check_target(options.plot)
    given = {k: getattr(options, k) for k in ("units", "symbols") if getattr(options, k) is not None}
    budget = Budget() if options.budget is None else Budget(ratio=options.budget)
    structure = analyze(Builder(options.system)(given, {"seed": 0}), budget)
    print(structure)
    if options.plot:
        structure.plot(options.plot)
