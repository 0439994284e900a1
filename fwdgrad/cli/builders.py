"""Systems by the name given on the command line: of the catalogue, in a user's Python file, or of a model file."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fwdgrad.cli.models import SUFFIXES, ModelFile
from fwdgrad.errors import DeclarationError, FwdgradError, UnknownNameError, did_you_mean
from fwdgrad.system import System
from fwdgrad.systems import CATALOGUE

__all__ = ["Builder"]


class Builder:
    """A function that returns a system, and the arguments it takes.

    Args:
        name: a name of the catalogue, FILE.py:NAME, or a model file, FILE.toml, FILE.txt or FILE.xml (SBML).

    Attributes:
        accepts: names of the arguments.
        model: the model file, if it is one.

    Raises:
        UnknownNameError: there is no such system, or no such name in the file.
        DeclarationError: the file cannot be run, or the name is something else.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.model: ModelFile | None = None
        file, _, attribute = name.rpartition(":")
        if name.endswith(".py"):
            raise DeclarationError(f"{name}: which of its names is the system? Write {name}:NAME.")
        found: Any
        if file.endswith(".py"):
            found = _from_file(Path(file), attribute)
        elif name.endswith(SUFFIXES):
            self.model = ModelFile(Path(name))
            found = self.model.system
        elif name in CATALOGUE:
            found = CATALOGUE[name]
        else:
            raise UnknownNameError(
                f"there is no system {name!r}. {did_you_mean(name, CATALOGUE)}\n"
                "`fwdgrad systems` lists them; your own one is FILE.py:NAME, or a model in FILE.toml, FILE.txt "
                "or FILE.xml (SBML)."
            )
        self._function: Callable[..., Any] = (lambda: found) if isinstance(found, System) else found
        if not callable(self._function):
            raise DeclarationError(f"{name}: expected a System or a function that returns one, got {found!r}.")
        self.accepts = set() if self.model else set(inspect.signature(self._function).parameters)

    def __call__(self, required: dict[str, Any], optional: dict[str, Any]) -> System:
        """Build it, with those of the optional arguments that it accepts.

        Raises:
            DeclarationError: it does not accept a required one, or does not return a System.
        """
        for option in required:
            if option not in self.accepts:
                raise DeclarationError(f"the system {self.name} has no option --{option}; leave it out.")
        arguments = required | {k: v for k, v in optional.items() if k in self.accepts}
        made = _guarded(self.name, self._function, **arguments)
        if not isinstance(made, System):
            raise DeclarationError(f"{self.name}: expected a function that returns a System, got {made!r} from it.")
        return made


def _from_file(path: Path, attribute: str) -> Any:
    if not os.path.isfile(path):
        raise DeclarationError(f"there is no file {path} to take the system {attribute!r} from.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise DeclarationError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses and the like look themselves up
    sys.path.insert(0, str(path.absolute().parent))  # as `python FILE.py` does
    try:
        _guarded(str(path), spec.loader.exec_module, module)
    finally:
        sys.path.pop(0)
    names = {k: v for k, v in vars(module).items() if not k.startswith("_")}
    if attribute not in names:
        raise UnknownNameError(f"{path} has no {attribute!r}. {did_you_mean(attribute, names)}")
    return names[attribute]


def _guarded(what: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a user's code; what goes wrong in it is told in one line, without a traceback."""
    try:
        return function(*args, **options)
    except FwdgradError:
        raise
    except Exception as error:
        trace, line = error.__traceback__, ""
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.endswith(Path(what.rpartition(":")[0] or what).name):
                line = f", line {trace.tb_lineno}"
            trace = trace.tb_next
        if isinstance(error, SyntaxError):
            line = f", line {error.lineno}"
        raise DeclarationError(
            f"{what}{line}: {type(error).__name__}: {error}\nMend: run it with --debug for the traceback."
        ) from error
