"""`export`: the steps of a learner as one file of C99, with a header, a test, and what it takes of memory and time."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine.unsupported import UnsupportedOperation
from fwdgrad.errors import DataError, DeclarationError
from fwdgrad.estimators.windows import Sliding
from fwdgrad.exporting.files import header, program, source
from fwdgrad.exporting.steps import Steps
from fwdgrad.learning.learner import Learner
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.support import display
from fwdgrad.support.arguments import suggests
from fwdgrad.system import System

__all__ = ["Export", "export"]

LIMITS = {8: 1e-12, 4: 1e-4}
"""How far C and NumPy may be apart, relative to numbers above 1, by the bytes of a number."""
NOISE = 0.1
"""Of the targets that the test learns from, around the model's own predictions."""


@dataclass(frozen=True)
class Export:
    """What was exported. Print it.

    Attributes:
        name: of the model in C.
        files: that were written: steps, header, test program, its samples.
        state_bytes: memory of what is kept from step to step: state, parameters, influence, optimizer.
        work_bytes: memory beside it: a copy of the state, and arrays that steps work in.
        operations: floating-point operations of each step, by its name, but for those of functions of whole arrays.
        calls: of functions of the C library, likewise.
        notes: what is different from Python, a sentence each.
    """

    name: str
    files: tuple[str, ...]
    state_bytes: int
    work_bytes: int
    operations: dict[str, int]
    calls: dict[str, int]
    notes: tuple[str, ...]

    @property
    def sizes(self) -> list[str]:
        """Memory, and what steps compute, a line each."""
        whole = self.state_bytes + self.work_bytes
        lines = [f"state {self.state_bytes:,} bytes; with a copy and arrays to work in {whole:,}"]
        for kind, count in self.operations.items():
            functions = f", and {self.calls[kind]:,} functions such as exp" if self.calls[kind] else ""
            lines.append(f"{kind}: {count:,} floating-point operations{functions}")
        return lines

    def __repr__(self) -> str:
        return f"Export {self.name}: {', '.join(os.path.basename(f) for f in self.files)}"

    def __str__(self) -> str:
        wrote = f"wrote {', '.join(self.files)}"
        return "\n".join([wrote, *self.sizes, *(f"! {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        return display.page(repr(self), display.paragraph("\n".join(self.sizes)), display.remarks(self.notes))


@suggests
def export(
    learner: Learner | System,
    folder: str | os.PathLike[str] = ".",
    *,
    name: str | None = None,
    to: str = "c",
    samples: int = 100,
    seed: int = 0,
) -> Export:
    """Write the predict and learn steps of a learner as one file of C99 that needs nothing but the C library.

    For a microcontroller, say: the learner goes on there from where it is. The file has a struct with all that is kept,
    and functions ``NAME_init``, ``NAME_predict``, ``NAME_learn``, ``NAME_transit`` (a sample without a target) and
    ``NAME_reset`` (a new trajectory). No memory is allocated. With it come a header, which says what a step takes, and
    a program that makes steps and compares them with NumPy's: ``cc NAME.c NAME_test.c -lm``.

    The steps are those of the compiled engine, in the order of its operations; a step that is refused changes nothing.

    Args:
        learner: of an estimator that learns at every step; or a system, for its default learner.
        folder: to write to.
        name: of the model in C; that of the system unless given.
        to: the language: "c".
        samples: that the test program compares, drawn at random.
        seed: of these.

    Raises:
        DeclarationError: the estimator learns at the end of windows, the step calls something that C has not, such as
            Bessel functions, the name cannot be one in C, or there is no such language.
        DataError: the files cannot be written.

    Example:
        >>> import tempfile, numpy as np, fwdgrad as fg
        >>> system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.5}, np.zeros(1), name="leak")
        >>> learner = fg.Learner(system, fg.RTRL(), fg.SGD(0.01))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = fg.export(learner, folder, samples=5)
        >>> made
        Export leak: leak.c, leak.h, leak_test.c, leak_samples.txt
        >>> print(made.sizes[0])
        state 48 bytes; with a copy and arrays to work in 104
    """
    if to != "c":
        raise DeclarationError(f"export(to={to!r}): expected 'c', C99.")
    if isinstance(learner, System):
        learner = Learner(learner)
    if not isinstance(learner, Learner):
        raise DeclarationError(f"export: expected a fwdgrad.Learner or a fwdgrad.System, got {learner!r}.")
    if learner.estimator.window != Sliding(1):
        raise DeclarationError(
            f"export: expected an estimator that learns at every step; {learner.estimator.name} learns in windows.\n"
            "Such as fg.RTRL(), fg.UORO(), fg.SnAp(1)."
        )
    if any(spec.when == "start" for spec in learner._execution.specs):
        raise DeclarationError(
            f"export: {learner.estimator.name} draws random numbers when a trajectory starts, which C does not.\n"
            "Such as fg.UORO(), whose random numbers are given with each sample, can be exported."
        )
    if learner.engine == "eager":
        raise DeclarationError("export: the functions of this system cannot be traced, and so not be written in C.")
    label = _checked(name) if name is not None else _plain(learner.system.name)
    try:
        steps = Steps(learner)
    except UnsupportedOperation as error:
        raise DeclarationError(f"export: {error.operation} cannot be written in C: {error.why}.") from error
    kinds = [spec.kind for spec in learner._execution.specs if spec.when == "step"]
    notes = _notes(learner, steps)
    files = [str(Path(folder, f"{label}{end}")) for end in (".c", ".h", "_test.c", "_samples.txt")]
    state = steps.nbytes([*steps.carry, *steps.fed])
    work = state + max(steps.nbytes(members) for members in steps.work.values())
    made = Export(
        label,
        tuple(files),
        state,
        work,
        {kind: count.operations for kind, count in steps.counts.items() if kind != "reset"},
        {kind: count.calls for kind, count in steps.counts.items() if kind != "reset"},
        tuple(notes),
    )
    title = f"{learner.system.name}: {learner.estimator.name}, {learner.optimizer!r}"
    texts = (
        source(label, steps, kinds),
        header(label, title, steps, kinds, made.sizes, notes),
        program(label, steps, LIMITS[learner.system.dtype.itemsize]),
        _samples(learner, steps, samples, np.random.default_rng(seed)),
    )
    try:
        for path, text in zip(files, texts, strict=True):
            Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"export: cannot write to {os.fspath(folder)!r}: {error.strerror or error}.") from error
    return made


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise DeclarationError(f"export(name={name!r}): expected letters, digits and underscores, such as 'tank'.")
    return name


def _plain(name: str) -> str:
    """A name that C may have, like this one."""
    name = re.sub(r"\.(txt|toml)$", "", name)
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    return plain if plain[:1].isalpha() else f"model_{plain}".strip("_")


def _notes(learner: Learner, steps: Steps) -> list[str]:
    made = []
    if getattr(learner.optimizer, "first", 0):
        made.append("in Python the filter also fits its first samples again from time to time; in C it does not")
    if "reset" not in steps.work:
        made.append("another trajectory cannot be begun in C: there is no reset")
    return made


def _samples(learner: Learner, steps: Steps, count: int, rng: np.random.Generator) -> str:
    """Random samples, and what the NumPy engine makes of them: a line each, and the carry at the end.

    Targets are the model's own predictions with noise, where they are numbers, so that it does not run away.
    """
    execution, model = learner._execution, learner._execution.model
    learn, predict = execution.reference("learn"), execution.reference("predict")
    carry = tuple(np.array(m.value) for m in steps.carry)
    fed = [np.array(m.value) for m in steps.fed]
    lines = [str(count)]
    for _ in range(count):
        x = [_drawn(m.value, bound, rng) for m, bound in zip(steps.x, model.x_bounds, strict=False)]
        expected = np.asarray(predict(*carry, *x, *fed)[-1])
        y = [_target(m.value, bound, expected, rng) for m, bound in zip(steps.y, model.y_bounds, strict=True)]
        noise = NoiseStream(rng, execution.specs, learner.system.dtype).peek() if steps.noise else ()
        with np.errstate(all="ignore"):
            *after, loss, prediction, health = learn(*carry, *x, *fed, *y, *noise)
        if not np.isfinite(health):
            raise DeclarationError("export: a random sample makes the step infinite. Give samples=0 for no comparison.")
        carry = tuple(np.array(v) for v in after)
        lines.append(_line([*x, *y, *noise, loss, prediction]))
        fed = _next(steps, x, y, fed)
    return "\n".join([*lines, *(_line([v]) for v in carry), ""])


def _next(steps: Steps, x: Sequence[Any], y: Sequence[Any], fed: list[np.ndarray]) -> list[np.ndarray]:
    """What the step after is given."""
    marked = [np.zeros_like(v) for m, v in zip(steps.fed, fed, strict=True) if m.name == "start"]
    return [*marked, *([*x, *y] if len(fed) > len(marked) else [])]


def _drawn(like: np.ndarray, bound: int | None, rng: np.random.Generator) -> np.ndarray:
    if like.dtype.kind in "iu":
        return rng.integers(bound or 2, size=like.shape)
    return np.asarray(like + rng.normal(size=like.shape), like.dtype)


def _target(like: np.ndarray, bound: int | None, expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if like.dtype.kind in "iu":
        return rng.integers(bound or 2, size=like.shape)
    around = expected if expected.shape == like.shape else like
    return np.asarray(around + NOISE * rng.normal(size=like.shape), like.dtype)


def _line(values: Sequence[Any]) -> str:
    return " ".join(repr(v) for part in values for v in np.ravel(np.asarray(part)).tolist())
