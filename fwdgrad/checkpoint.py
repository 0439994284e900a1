"""Checkpoint files: arrays and a JSON description in one ``.npz``, written atomically, read without pickle."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fwdgrad import estimators, influence, losses, optimizers, windows
from fwdgrad._version import __version__
from fwdgrad.errors import CheckpointError
from fwdgrad.optimizers import schedules

__all__ = ["describe", "read", "rebuild", "write"]

FORMAT = 3


def write(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    """Write a checkpoint so that `path` holds either the old file or the whole new one, whatever happens.

    Raises:
        CheckpointError: the file cannot be written.
    """
    try:
        path = Path(path)
    except TypeError:
        raise CheckpointError(f"save: expected a file name, got {path!r}.") from None
    text = json.dumps({"format": FORMAT, "fwdgrad": __version__, **description}, default=_plain)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent or ".", prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            named: dict[str, Any] = {f"array:{k}": v for k, v in arrays.items()}
            np.savez(file, description=np.array(text), **named)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise CheckpointError(
            f"cannot write the checkpoint {path}: {error.strerror or error}.\nName a file in a folder that exists."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and description of a checkpoint.

    Raises:
        CheckpointError: the file is missing, unreadable, truncated, no checkpoint, or of another format.
    """
    try:
        with open(path, "rb") as stream, zipfile.ZipFile(stream) as archive:
            members = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
        if "description" not in members:
            raise CheckpointError(f"{path} is not a fwdgrad checkpoint. Give a file written by Learner.save.")
        loaded = {k: np.lib.format.read_array(io.BytesIO(v), allow_pickle=False) for k, v in members.items()}
        description = json.loads(str(loaded["description"]))
        arrays = {k.removeprefix("array:"): v for k, v in loaded.items() if k.startswith("array:")}
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}. Learner.save writes one.") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"the checkpoint {path} cannot be read: it is damaged, truncated, or no checkpoint ({error}).\n"
            "Use an earlier one; Learner.save never leaves a partial file."
        ) from error
    if description.get("format") != FORMAT:
        raise CheckpointError(
            f"the checkpoint {path} has format {description.get('format')}, written by fwdgrad "
            f"{description.get('fwdgrad')}; this is fwdgrad {__version__}, which reads format {FORMAT}."
        )
    return arrays, description


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"ndarray": value.tolist(), "dtype": value.dtype.str}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"cannot describe {value!r}")


# ---- configurations: nested frozen dataclasses of numbers and strings

_KNOWN = {
    name: value
    for module in (estimators, influence, windows, losses, optimizers, schedules)
    for name, value in vars(module).items()
    if dataclasses.is_dataclass(value) and isinstance(value, type)
}


def describe(value: Any) -> Any:
    """A configuration as JSON: {"class": name, …fields}. What is not a dataclass of this library becomes its repr."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return {"tuple": [describe(v) for v in value]}
    if dataclasses.is_dataclass(value) and _KNOWN.get(type(value).__name__) is type(value):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"class": type(value).__name__, **fields}
    return {"repr": _name(value)}


def _name(value: Any) -> str:
    """A description that does not change from one process to the next."""
    if dataclasses.is_dataclass(value):
        return repr(value)
    qualified = value if hasattr(value, "__qualname__") else type(value)
    return f"{qualified.__module__}.{qualified.__qualname__}"


def rebuild(description: Any, what: str) -> Any:
    """The configuration that `describe` described.

    Raises:
        CheckpointError: part of it is a user's own object, which a file cannot hold.
    """
    if not isinstance(description, dict):
        return description
    if "tuple" in description:
        return tuple(rebuild(v, what) for v in description["tuple"])
    if "repr" in description or description.get("class") not in _KNOWN:
        raise CheckpointError(
            f"the checkpoint was made with {what} {description.get('repr', description)}, which a file cannot hold.\n"
            f"Pass the same object: Learner.load(path, system, {what}=…)."
        )
    fields = {k: rebuild(v, what) for k, v in description.items() if k != "class"}
    return _KNOWN[description["class"]](**fields)
