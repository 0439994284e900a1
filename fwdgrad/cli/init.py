"""``fwdgrad init``: a model file to begin with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fwdgrad.cli.outputs import check_writable
from fwdgrad.declare.sbml import sbml_text
from fwdgrad.errors import DataError

__all__ = ["TEMPLATE", "add", "run"]

INIT = """\
Write a commented model file to begin with; nothing is asked, and no file is written over.

  fwdgrad init                        writes model.txt
  fwdgrad init tanks.txt
  fwdgrad init enzyme.txt --sbml enzyme.xml   an SBML file as equation text, to read and change
  fwdgrad fit tanks.txt data.csv --time hour --plot
"""

TEMPLATE = """\
# A model: an equation a line. What stands behind a # is a comment.
# Fit it to a table:        fwdgrad fit {file} data.csv --time hour --plot
# Dates in that column:     fwdgrad fit {file} data.csv --time date --unit hours --plot
# Learn from it as it comes: fwdgrad learn {file} data.csv --time hour

# Rates of change. Names are yours; t is the time, and exp, log, sqrt, sin, tanh, ... are known.
# In discrete time, write "next upper = ..." in place of "d upper/dt = ...".
d upper/dt = inflow - outflow
d lower/dt = outflow - k_lower*lower

# Abbreviations, for all lines.
outflow = k_upper*upper

# Initial values: numbers, or expressions of parameters, which are then learned.
upper(0) = upper0
lower(0) = 1

# Parameters with a first guess, and bounds where there are some. "fixed" is not learned; the unit is a label.
param k_upper = 0.2 in (0, inf) : 1/h
param k_lower = 0.1 in (0, inf) : 1/h
param inflow = 1 in (0, inf) : m3/h
param upper0 = 2 in (0, inf) : m3

# What is known from outside at each sample is an input, a column of the table that has no gaps:
# input inflow = 0

# What is observed: columns of the table by these names; empty cells are gaps. Without outputs, it is the whole state.
output upper_level = upper
output lower_level = lower

# What happens between rows: a dose, at a time or at several; a reset, where something begins to hold.
# at t = [0, 12]: upper += dose
# when upper > 5: upper = 0

# The step between rows of the table. Leave it out if the table has a column of times (--time).
dt = 1
# The integrator: euler, heun, rk4, or sdirk2 for stiff equations; and how many steps it makes for one of dt.
# Or dopri5, or esdirk4 for stiff equations, which choose their steps by tolerances: rtol = 1e-6, atol = 1e-9.
method = rk4
substeps = 1
"""


def add(commands: Any, debug: argparse.ArgumentParser) -> None:
    """The command's options."""
    command = commands.add_parser(
        "init",
        parents=[debug],
        help="write a commented model file to begin with",
        description=INIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("file", metavar="FILE", nargs="?", default="model.txt", help="(default: model.txt)")
    command.add_argument("--sbml", metavar="FILE.xml", help="write the model in an SBML file, not the template")


def run(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises:
        DataError, DeclarationError: the file is there already, or cannot be written; the SBML file cannot be read.
    """
    check_writable("FILE", options.file)
    path = Path(options.file)
    if path.suffix != ".txt":
        raise DataError(f"init: a model of equations is a file that ends in .txt, not {options.file!r}.")
    text = TEMPLATE.format(file=path.name) if options.sbml is None else sbml_text(Path(options.sbml))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise DataError(f"init: {options.file} is there already. Give another name.") from None
    except OSError as error:
        raise DataError(f"init: cannot write {options.file}: {error.strerror or error}.") from error
    print(f"wrote {options.file}. Change it, and fit it: fwdgrad fit {options.file} data.csv --plot")
