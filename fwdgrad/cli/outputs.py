"""Options that say where results go, and whether they can be written there: found out before the work begins."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fwdgrad.errors import DataError

__all__ = ["check_writable", "plot_option", "quiet_option", "sendable"]


def plot_option(group: argparse._ActionsContainer, what: str, default: str) -> None:
    """The option ``--plot``: draws something, to a file of that name unless another is given."""
    described = f"draw {what}; png, pdf or svg (default: {default})"
    group.add_argument("--plot", metavar="FILE", nargs="?", const=default, help=described)


def quiet_option(group: argparse._ActionsContainer) -> None:
    """The option ``--quiet``."""
    group.add_argument("--quiet", action="store_true", help="no progress bar")


def check_writable(option: str, path: str | None) -> None:
    """Refuse a file that cannot be written; None is no file.

    Raises:
        DataError: its folder does not exist or cannot be written to, or it is a folder itself.
    """
    if path is None:
        return
    folder = Path(path).absolute().parent
    if not os.path.isdir(folder):
        raise DataError(f"{option}: there is no folder {str(Path(path).parent)!r} to write {Path(path).name!r} in.")
    if os.path.isdir(path):  # which knows no file name that is too long
        raise DataError(f"{option}: {path} is a folder; name a file.")
    if not os.access(folder, os.W_OK):
        raise DataError(f"{option}: the folder of {path} cannot be written to.")


@contextmanager
def sendable(name: str) -> Iterator[None]:
    """What was defined in a user's file goes to other processes as it is: they could not import it."""
    file = name.rpartition(":")[0]
    module = sys.modules.get(Path(file).stem) if file.endswith(".py") else None
    if module is None:
        yield
        return
    try:
        from joblib.externals import cloudpickle
    except ImportError:  # since joblib 1.6 it is a package of its own
        import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)
