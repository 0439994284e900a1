"""The command line: ``fwdgrad learn``, ``fit``, ``compare``, ``sweep`` and the others.

An error of this library becomes one message on stderr and exit status 2, without a traceback.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from fwdgrad.cli import analyze, compare, completion, explain, export, fit, init, refine, reproduce, sweep
from fwdgrad.cli.learn import Interrupted, learn
from fwdgrad.cli.options import parser
from fwdgrad.cli.report import table
from fwdgrad.errors import DataError, FwdgradError, FwdgradWarning
from fwdgrad.systems import describe

__all__ = ["main"]

FILES = (
    "system",
    "file",
    "text",
    "data",
    "save",
    "resume",
    "plot",
    "out",
    "predictions",
    "params",
    "records",
    "csv",
    "to",
)
"""Options, by name, whose values are names of files, or may be."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: its words, without the name of the program; those of this process unless given.

    Returns:
        The exit status: 0, 2 for an error, 130 if interrupted from the keyboard.

    Raises:
        SystemExit: after --help and --version, and for options that do not exist.
        FwdgradError: only with --debug.

    Example:
        >>> main(["systems"])  # doctest: +ELLIPSIS
        tanh-rnn             A fully connected tanh network ...
        0
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a character shows its number
            stream.reconfigure(errors="backslashreplace")
    words, grammar = sys.argv[1:] if argv is None else list(argv), parser()
    if any("\0" in word for word in words):
        grammar.error("a null character is part of no name and no number")
    options = grammar.parse_args(words)
    shown: Any = warnings.showwarning
    warnings.showwarning = _say  # type: ignore[assignment]
    try:
        _check_named(options)
        if options.command == "systems":
            print(table(describe()))
        elif options.command == "analyze":
            analyze.run(options)
        elif options.command == "explain":
            explain.run(options)
        elif options.command == "compare":
            compare.run(options)
        elif options.command == "refine":
            refine.run(options)
        elif options.command == "fit":
            fit.run(options)
        elif options.command == "init":
            init.run(options)
        elif options.command == "completion":
            print(completion.completion(options.shell, grammar, [name for name, *_ in describe()]), end="")
        elif options.command == "export":
            export.run(options)
        elif options.command == "sweep":
            sweep.run(options)
        elif options.command == "reproduce":
            reproduce.run(options)
        else:
            learn(options)
        sys.stdout.flush()
        return 0
    except FwdgradError as error:
        if options.debug:
            raise
        print(f"fwdgrad: error: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        if options.debug:
            raise
        print(
            f"fwdgrad: error: there is not enough memory for this ({error or 'nothing more is known'}).\n"
            "Mend: a smaller --units, --rank, --replicas, or window (the number after uoro:, tbptt: and the like).",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt as interrupt:
        said = str(interrupt) if isinstance(interrupt, Interrupted) else "interrupted"
        print(f"fwdgrad: {said}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader, such as `head`, has seen enough; keep Python from complaining when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        warnings.showwarning = shown


def _check_named(options: Any) -> None:
    """Refuse an empty name of a file, which would be that of the present folder.

    Raises:
        DataError: there is one.
    """
    for name in FILES:
        if getattr(options, name, None) == "":
            said = name.upper() if name in ("system", "file") else f"--{name}"
            raise DataError(f"{said}: expected the name of a file, got ''.")


def _say(message: Any, category: type[Warning], *_: Any) -> None:
    """A warning as one message on stderr, without the line of the source that gave it."""
    name = "warning" if issubclass(category, FwdgradWarning) else category.__name__
    print(f"fwdgrad: {name}: {message}", file=sys.stderr)
