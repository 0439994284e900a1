"""Checkpoint files: arrays and a JSON description in one ``.npz``, written atomically, read without pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fwdgrad import estimators, influence, losses, optimizers
from fwdgrad._version import __version__
from fwdgrad.errors import CheckpointError, FwdgradError
from fwdgrad.estimators import windows
from fwdgrad.optimizers import schedules
from fwdgrad.support.scratch import replacing

__all__ = ["describe", "read", "rebuild", "rebuilt", "write"]

FORMAT, READABLE = 4, (3, 4)
"""What is written, and what is read. Files of format 3 have no digest."""

DEEPEST = 64
"""Levels of a description; estimators and optimizers have a handful."""


def write(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    """Write a checkpoint so that `path` holds either the old file or the whole new one, whatever happens.

    Raises:
        CheckpointError: the file cannot be written, or the description holds what JSON cannot.
    """
    path = _path(path, "save")
    try:
        text = json.dumps({"format": FORMAT, "fwdgrad": __version__, **description}, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"save: the learner's note holds what JSON cannot ({error}).\nKeep numbers, texts, lists and dicts in it."
        ) from None
    try:
        with replacing(path) as file:
            named: dict[str, Any] = {f"array:{k}": v for k, v in arrays.items()}
            np.savez(file, description=np.array(text), digest=np.array(_digest(text, arrays)), **named)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot write the checkpoint {str(path)!r}: {getattr(error, 'strerror', None) or error}.\n"
            "Name a file in a folder that exists."
        ) from error


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and description of a checkpoint, which are those that were written.

    Raises:
        CheckpointError: the file is missing, unreadable, truncated, damaged, no checkpoint, or of another format.
    """
    path = _path(path, "load")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}. Learner.save writes one.") from None
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    try:
        text, digest, arrays, description = _decoded(content)
    except CheckpointError:
        raise
    except Exception as error:  # zipfile, NumPy and json name no closed set of what damaged bytes make them raise
        raise _damaged(path, error) from error
    if text is None:
        raise CheckpointError(f"{path} is not a fwdgrad checkpoint. Give a file written by Learner.save.")
    if description["format"] not in READABLE:
        raise CheckpointError(
            f"the checkpoint {path} has format {description['format']}, written by fwdgrad "
            f"{description.get('fwdgrad')}; this is fwdgrad {__version__}, which reads format {FORMAT}."
        )
    if digest != _digest(text, arrays) and (digest is not None or description["format"] != 3):
        raise _damaged(path, "its content is not what was written")
    wrong = _wrong(description)
    if wrong:
        raise _damaged(path, wrong)
    return arrays, description


def _decoded(content: bytes) -> tuple[str | None, str | None, dict[str, np.ndarray], dict[str, Any]]:
    """Description as text, digest, arrays, description; no text if there is none in the archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about headers
        names = {name.removesuffix(".npy"): name for name in archive.namelist()}
        if "description" not in names:
            return None, None, {}, {}
        loaded = {
            k: np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False) for k, name in names.items()
        }
    text = str(loaded["description"])
    digest = str(loaded["digest"]) if "digest" in loaded else None
    arrays = {k.removeprefix("array:"): v for k, v in loaded.items() if k.startswith("array:")}
    description = json.loads(text)
    if not isinstance(description, dict) or type(description.get("format")) is not int:
        raise ValueError("it has no description")
    return text, digest, arrays, description


def _digest(text: str, arrays: dict[str, np.ndarray]) -> str:
    """A hash of everything in a checkpoint."""
    made = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=32)
    for name in sorted(arrays):
        value = np.asarray(arrays[name])
        made.update(f"\0{name}\0{value.dtype.str}{value.shape}\0".encode(errors="surrogatepass"))
        made.update(np.ascontiguousarray(value).tobytes())
    return made.hexdigest()


def _wrong(description: dict[str, Any]) -> str:
    """What is wrong with the description of a learner; nothing if empty."""
    level: list[Any] = [description]
    for _ in range(DEEPEST):
        level = [v for held in level if isinstance(held, (dict, list)) for v in _held(held)]
    if level:
        return "its description is nested too deeply"
    noise = description.get("noise")
    whole = {"steps": description.get("steps"), "next": noise.get("next") if isinstance(noise, dict) else None}
    for k, v in whole.items():
        if type(v) is not int or not 0 <= v < 2**63:
            return f"{k} is {str(v)[:40]!r}"
    for k in ("system", "note"):
        if not isinstance(description.get(k), dict):
            return f"{k} is no table"
    if not isinstance((noise or {}).get("generator"), dict):
        return "the generator is no table"
    if not isinstance(description.get("engine"), str):
        return "the engine has no name"
    return "" if {"estimator", "optimizer"} <= description.keys() else "it has no estimator or no optimizer"


def _held(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def _damaged(path: Path, why: Any) -> CheckpointError:
    said = str(why) or type(why).__name__
    return CheckpointError(
        f"the checkpoint {str(path)!r} cannot be read: it is damaged, incomplete, or no checkpoint ({said[:200]}).\n"
        "Use an earlier one; Learner.save never leaves a partial file."
    )


def _path(path: Any, who: str) -> Path:
    try:
        return Path(path)
    except TypeError:
        raise CheckpointError(f"{who}: expected a file name, got {path!r}.") from None


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


def rebuilt(description: Any, what: str, kind: Any) -> Any:
    """The estimator or optimizer that `describe` described, as `rebuild` makes it.

    Raises:
        CheckpointError: as `rebuild`; or it describes something else.
    """
    made = rebuild(description, what)
    if not isinstance(made, kind):
        raise CheckpointError(
            f"the checkpoint's {what} is none: {made!r:.200}.\nPass it: Learner.load(path, system, {what}=…)."
        )
    return made


def rebuild(description: Any, what: str) -> Any:
    """The configuration that `describe` described.

    Raises:
        CheckpointError: part of it is a user's own object, which a file cannot hold, or it describes nothing.
    """
    if not isinstance(description, dict):
        return description
    if isinstance(description.get("tuple"), list):
        return tuple(rebuild(v, what) for v in description["tuple"])
    name = description.get("class")
    if "repr" in description or not isinstance(name, str) or name not in _KNOWN:
        raise CheckpointError(
            f"the checkpoint was made with {what} {description.get('repr', description)}, which a file cannot hold.\n"
            f"Pass the same object: Learner.load(path, system, {what}=…)."
        )
    fields = {k: rebuild(v, what) for k, v in description.items() if k != "class"}
    try:
        return _KNOWN[name](**fields)
    except (FwdgradError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint's {what} cannot be made: {name} does not take what it says ({error}).\n"
            f"Pass the same object: Learner.load(path, system, {what}=…)."
        ) from error
