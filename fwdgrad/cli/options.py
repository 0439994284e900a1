"""The options of the command line, and which of them a checkpoint holds."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from fwdgrad._version import __version__
from fwdgrad.cli import completion, export, fit, init, refine, reproduce, sweep
from fwdgrad.cli.dates import UNITS
from fwdgrad.cli.outputs import plot_option, quiet_option
from fwdgrad.engines.names import ENGINES, current_name
from fwdgrad.engines.registry import FAST, REGISTERED
from fwdgrad.errors import nearly
from fwdgrad.estimators import NAMED as ESTIMATORS
from fwdgrad.losses import LIKELIHOODS
from fwdgrad.optimizers import NAMED

__all__ = ["parser"]

SYSTEM = "a name from the catalogue, FILE.py:NAME, or a model in FILE.toml, FILE.txt or FILE.xml (SBML)"

LEARN = """\
Learn a system's parameters online, in one pass forward through the data.

  fwdgrad learn tanh-rnn                         English text that comes with Python
  fwdgrad learn gru --text book.txt              next-character prediction on a file
  fwdgrad learn pendulum                         a simulation of its own, with moved parameters and noise
  fwdgrad learn linear --data run.csv --inputs u --targets y
  fwdgrad learn model.py:build --data run.npz    your own system
  fwdgrad learn model.toml data.csv --time year --observe prey=hare,pred=lynx

SYSTEM is a name that `fwdgrad systems` lists; or FILE.py:NAME, where NAME is a System or a function that returns one
(a function with arguments called units, symbols, inputs, outputs or seed is given those); or a model, as equations in
FILE.toml or FILE.txt. A model is learned in passes through the data, each a trajectory from its initial values. Rows
are dt apart; without dt in the model, --time says how far. Initial values, known or learned, belong to the first row,
unless the model says `first = next` or when it begins, t(0); the line "first sample" of the output tells.
"""

RESUME = """\
A run that was saved, and interrupted or even killed, continues with --resume FILE, with the same result to the last
bit as if it had never stopped. Its options are in the file; only --steps and what is written may be given anew.
"""


ANALYZE = """\
Print the structure of a system: which parameter feeds which part of the state, in how many backward products all rows
of its Jacobian can be had, what every estimator would cost, and which one `auto` takes and why.

  fwdgrad analyze gru --units 32
  fwdgrad analyze model.py:build --plot structure.png
  fwdgrad analyze model.toml
"""


EXPLAIN = """\
Print the whole online step of a system (transition, output, loss, influence, optimizer) as it was traced.

  fwdgrad explain tanh-rnn --units 8
  fwdgrad explain tanh-rnn --estimator uoro --source
  fwdgrad explain model.py:build --source --engine numpy
"""


COMPARE = """\
Hold gradient estimators against the exact gradient on a system and its data, with the parameters fixed: bias, noise,
time and memory of each, with intervals, as a table and a picture.

  fwdgrad compare tanh-rnn --units 16
  fwdgrad compare gru --data run.csv --estimators uoro,nobacktrack,tbptt:10,snap:1 --replicas 64 --plot
  fwdgrad compare model.py:build --data run.npz --params run.ckpt --jobs 4
"""


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that says which option, command or choice was probably meant."""

    def error(self, message: str) -> NoReturn:
        """End with the message, and what was probably meant."""
        _, _, words = message.partition("unrecognized arguments: ")
        wrong = [word.partition("=")[0] for word in words.split() if word.startswith("-")]
        known = self._options()
        if chosen := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            wrong, known = [chosen[1]], [word.strip("' ") for word in chosen[2].split(",")]
        near = dict.fromkeys(hint.strip() for word in wrong if (hint := nearly(word, known)))
        super().error(" ".join([message, *near]))

    def _options(self) -> list[str]:
        """All options, those of the commands included."""
        known = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                known += [option for command in action.choices.values() for option in command._options()]
        return known


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    made = Parser(prog="fwdgrad", description="Train dynamical systems online, forward in time.")
    made.add_argument("--version", action="version", version=f"fwdgrad {__version__}")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    debug = Parser(add_help=False)
    debug.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands.add_parser("systems", parents=[debug], help="list the systems of the catalogue")
    analyze = commands.add_parser(
        "analyze",
        parents=[debug],
        help="which parameter feeds what, what estimators cost, and which one suits",
        description=ANALYZE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    analyze.add_argument("system", metavar="SYSTEM", help=SYSTEM)
    analyze.add_argument("--units", metavar="N", type=_positive, help="size of the state")
    analyze.add_argument("--symbols", metavar="N", type=_positive, help="size of the alphabet")
    analyze.add_argument(
        "--budget",
        metavar="R",
        type=float,
        help="exact gradients may cost R times one-step truncation (default: 4)",
    )
    plot_option(analyze, "the influence graph and the patterns", "structure.png")
    _explain(
        commands.add_parser(
            "explain",
            parents=[debug],
            help="what a step consists of, as operations or as source",
            description=EXPLAIN,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    _compare(
        commands.add_parser(
            "compare",
            parents=[debug],
            help="bias, noise, time and memory of gradient estimators",
            description=COMPARE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    refine.add(commands, debug)
    fit.add(commands, debug, _fitted)
    sweep.add(commands, debug, _files)
    reproduce.add(commands, debug)
    export.add(commands, debug)
    init.add(commands, debug)
    completion.add(commands, debug)
    learn = commands.add_parser(
        "learn",
        parents=[debug],
        help="learn the parameters of a system",
        description=LEARN,
        epilog=RESUME,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    learn.add_argument("system", metavar="SYSTEM", help=SYSTEM)
    learn.add_argument("file", metavar="DATA", nargs="?", help="the same as --data DATA")
    _data(learn.add_argument_group("what to learn from"))
    _algorithm(learn.add_argument_group("how to learn"))
    _results(learn.add_argument_group("what to keep"))
    return made


def _explain(command: argparse.ArgumentParser) -> None:
    command.add_argument("system", metavar="SYSTEM", help=SYSTEM)
    command.add_argument("--units", metavar="N", type=_positive, help="size of the state")
    command.add_argument("--symbols", metavar="N", type=_positive, help="size of the alphabet")
    command.add_argument("--estimator", metavar="NAME", default="auto", help="as for learn (default: auto)")
    command.add_argument("--optimizer", choices=tuple(NAMED), default="sgd", help="(default: sgd)")
    command.add_argument("--source", action="store_true", help="the source that an engine runs")
    command.add_argument(
        "--engine", type=current_name, choices=tuple(REGISTERED), default=FAST.name, help=f"(default: {FAST.name})"
    )


def _compare(command: argparse.ArgumentParser) -> None:
    command.add_argument("system", metavar="SYSTEM", help=SYSTEM)
    data = command.add_argument_group("on what")
    _files(data)
    data.add_argument("--units", metavar="N", type=_positive, help="size of the state (default: 64 for networks)")
    data.add_argument("--params", metavar="FILE", help="the parameters in this checkpoint of learn, not the first ones")
    data.add_argument(
        "--steps", metavar="N", type=_positive, help="samples to use (default: all; of a text the first 1000)"
    )
    data.add_argument(
        "--start", metavar="N", type=_natural, default=0, help="losses before this step do not count (default: 0)"
    )
    how = command.add_argument_group("what to compare, and how")
    how.add_argument(
        "--estimators",
        metavar="A,B",
        type=_names,
        default=["nobacktrack", "uoro", "tbptt:1", "tbptt:10"],
        help="names as for learn --estimator (default: nobacktrack,uoro,tbptt:1,tbptt:10)",
    )
    how.add_argument(
        "--replicas", metavar="N", type=_positive, default=32, help="repetitions of what is random (default: 32)"
    )
    how.add_argument(
        "--every", metavar="N", type=_positive, help="steps per point over time (default: about 20 points)"
    )
    how.add_argument("--seed", metavar="N", type=_natural, default=0, help="of initial weights and noise (default: 0)")
    how.add_argument(
        "--engine", type=current_name, choices=ENGINES, default="auto", help="what runs the steps (default: auto)"
    )
    how.add_argument(
        "--jobs", metavar="N", type=int, default=1, help="processes; -1 for one on every core (default: 1)"
    )
    plot_option(how, "projections, noise over time, and errors", "comparison.png")
    how.add_argument("--json", action="store_true", help="print the table as JSON")
    quiet_option(how)


def _data(group: argparse._ArgumentGroup) -> None:
    _fitted(group)
    group.add_argument(
        "--steps",
        metavar="N",
        type=_positive,
        help="samples to learn from in all, from the beginning again after the last one "
        "(default: once through; of a text at most 100000)",
    )


def _fitted(group: argparse._ArgumentGroup) -> None:
    _files(group)
    _likelihood(group)


def _files(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--text", metavar="FILE", help="predict the next character of this UTF-8 text")
    group.add_argument("--data", metavar="FILE", help="a CSV file with a header, or a .npz archive, a sample a row")
    group.add_argument(
        "--inputs", metavar="A,B", type=_names, help="its columns or arrays that are inputs (default: x, or x0,x1,…)"
    )
    group.add_argument(
        "--targets", metavar="C", type=_names, help="those that are targets, empty or nan if missing (default: y, …)"
    )
    group.add_argument(
        "--observe",
        metavar="A=B,…",
        type=_names,
        help="for a model: its output A is column B, empty where missing (default: columns named like outputs); "
        "--inputs takes such pairs, too",
    )
    group.add_argument(
        "--time", metavar="COLUMN", type=_column, help="for a model: the column with the times of the samples"
    )
    group.add_argument(
        "--unit",
        metavar="UNIT",
        choices=tuple(UNITS),
        help="that column has dates, and this is the model's unit of time: " + ", ".join(UNITS),
    )


def _likelihood(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--likelihood",
        metavar="NAME",
        choices=tuple(name.replace("_", "-") for name in LIKELIHOODS),
        help="of the outputs, in place of the model's: gaussian, student-t, poisson, negative-binomial, or bernoulli, "
        "which takes the output for the logarithm of the odds",
    )


def _algorithm(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--units", metavar="N", type=int, help="size of the state (default: 64 for networks)")
    group.add_argument(
        "--estimator",
        metavar="NAME",
        help=f"auto, measured (bias, noise and time of several on the first samples), "
        f"{', '.join(e.usage for e in ESTIMATORS.values())}; with uoro:N and nobacktrack:N the last N steps "
        "are exact (default: uoro:16 for text; auto for data, which takes what suits the system's structure)",
    )
    group.add_argument("--rank", metavar="K", type=int, help="average K copies of a random estimate (default: 1)")
    group.add_argument(
        "--optimizer",
        choices=(*NAMED, "joint"),
        help="joint: a Kalman filter on state and parameters (default: adam for text; for data joint if the model is "
        "small and neither rate nor estimator is given, else adagrad)",
    )
    group.add_argument(
        "--rate", metavar="γ", type=float, help="learning rate (default: one for the estimator and optimizer; printed)"
    )
    group.add_argument("--decay", metavar="α", type=float, help="let the rate fall as γ/(1+α√t) (default: 0)")
    group.add_argument("--seed", metavar="N", type=_natural, help="of initial weights, noise and samples (default: 0)")
    group.add_argument("--engine", type=current_name, choices=ENGINES, help="what runs the steps (default: auto)")


def _results(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--follow",
        action="store_true",
        help="read samples from the standard input as they come, CSV with a header or JSON, a line each; print a "
        "prediction before each is learned, with its deviation where a filter is the optimizer",
    )
    group.add_argument("--json", action="store_true", help="with --follow: print lines of JSON")
    group.add_argument(
        "--again", action="store_true", help="with --follow --resume: the stream begins anew; skip what was learned"
    )
    group.add_argument("--save", metavar="FILE", help="write a checkpoint at the end, and on Ctrl-C")
    group.add_argument("--checkpoint-every", metavar="N", type=_positive, help="and after every N steps")
    group.add_argument(
        "--resume", metavar="FILE", help="continue from a checkpoint, and save there unless --save is given"
    )
    group.add_argument("--plot", metavar="FILE", help="draw the learning curve; png, pdf or svg")
    group.add_argument(
        "--sample", metavar="N", type=_natural, default=None, help="characters of text to generate (default: 300)"
    )
    group.add_argument("--predictions", metavar="FILE", help="write the predictions made in this run as CSV")
    quiet_option(group)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")] if text.strip() else []


def _column(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("expected the name of a column, got ''")
    return text


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected an integer of at least 0, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")
    return int(text)
