"""``fwdgrad reproduce``: the experiments of the papers, with a table beside theirs and a verdict."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from fwdgrad.cli.outputs import quiet_option
from fwdgrad.errors import DataError, DeclarationError

__all__ = ["add", "run"]

REPRODUCE = """\
Make an experiment of the papers: runs, a picture, a table of ours beside theirs, and a verdict from stated criteria.

  fwdgrad reproduce uoro-2a                 influence balancing, in half a minute
  fwdgrad reproduce all --quick             a look at everything, in minutes
  fwdgrad reproduce uoro-4 --steps 1000000  a tenth of the paper's length

FOLDER gets a file of records, a picture and a report for each. A run that has a record is not made again, so what was
interrupted or killed goes on where it was.

"""


def add(commands: Any, debug: argparse.ArgumentParser) -> None:
    """The command's options."""
    command = commands.add_parser(
        "reproduce",
        parents=[debug],
        help="the experiments of the papers, and whether they come out",
        description=REPRODUCE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("name", metavar="NAME", help="an experiment, all, or list")
    command.add_argument("--quick", action="store_true", help="short runs, for a look")
    command.add_argument("--steps", metavar="N", type=int, help="length of a run (default: the experiment's)")
    command.add_argument("--seeds", metavar="N", type=int, help="runs of each setting (default: the experiment's)")
    command.add_argument("--to", metavar="FOLDER", default="reproduced", help="(default: reproduced)")
    command.add_argument(
        "--jobs", metavar="N", type=int, default=1, help="processes; -1 for one on every core (default: 1)"
    )
    quiet_option(command)


def run(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises:
        FwdgradError: something in the options is wrong, or every run of an experiment failed.
    """
    from fwdgrad.experiments import named, names, reproduce
    from fwdgrad.support.display import columns

    if options.name == "list":
        print("\n".join(columns([(name, named(name).title) for name in names()], left=2)))
        return
    chosen = names() if options.name == "all" else (options.name,)
    for name in chosen:
        named(name)
    if options.steps is not None and options.steps < 1000:
        raise DeclarationError(f"--steps {options.steps}: expected at least 1000.")
    try:
        os.makedirs(options.to, exist_ok=True)
    except OSError as error:
        raise DataError(f"--to {options.to}: {error.strerror or error}.") from error
    for name in chosen:
        made = reproduce(
            name,
            options.quick,
            steps=options.steps,
            seeds=options.seeds,
            folder=options.to,
            n_jobs=options.jobs,
            progress=not options.quiet and sys.stderr.isatty(),
        )
        report = f"{made}\n({made.seconds:.0f} s)\n"
        print(report, flush=True)
        Path(options.to, f"{name}.txt").write_text(report, encoding="utf-8")
        made.plot(Path(options.to, f"{name}.png"))
