"""Random programs at ties, zeros and bounds, and what each engine makes of them.

A program applies forms of supported operations (the tables of scenarios) and functions of arrays of any shape, empty
ones included, to numbers that are equal, zero, at bounds or small powers of two. What may depend on the last bit of a
number (an order, a comparison, a pivot) is applied to numbers that every engine computes exactly, and to no others.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.builtins import SequenceBox
from autograd.tracer import getval
from program_scenarios import PLAIN, Scenario
from program_table_axes import TABLE as AXES
from program_table_moves import TABLE as MOVES
from program_table_pointwise import TABLE as POINTWISE

from fwdgrad.errors import StepError
from fwdgrad.linear.autodiff import make_jvp, make_vjp
from fwdgrad.program import Abstract, Linearized, Program, trace
from fwdgrad.program.refusals import named

NUMBERS = np.array([0.0, 0.0, 0.0, 1.0, 1.0, -1.0, -1.0, 2.0, 0.5, -2.0, -0.5])
LARGE = 1e6
"""Programs do not go on from numbers larger than this."""
DOUBTFUL = 1e9
"""Results larger than this come of a matrix that is singular to rounding, or close to a pole: they are not compared."""

_TRANSCENDENT = """
exp exp2 expm1 log log2 log10 log1p sqrt cbrt sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh
arctanh hypot logaddexp logaddexp2 power float_power divide reciprocal deg2rad rad2deg degrees radians average std
linalg.norm linalg.inv linalg.solve linalg.det linalg.matrix_power interp linspace mean var floor_divide remainder
divmod
"""
INEXACT = {f"np.{name}" for name in _TRANSCENDENT.split()}
"""Operations whose last digit depends on who computes it; those of scipy.special besides, and what is a mixture."""
MIXED = {"operators", "ufunc methods", "indexing", "attributes"}
_ROBUST = """
add subtract multiply negative square exp tanh sin cos sum mean matmul dot outer einsum reshape ravel transpose stack
concatenate cumsum arctan flip tile repeat vdot inner tensordot kron moveaxis swapaxes broadcast_to diff
"""
ROBUST = {f"np.{name}" for name in _ROBUST.split()}
"""Operations without ties, jumps or poles: they may be applied to anything."""
SHIFTS = {"np.left_shift", "np.right_shift"}

SCENARIOS = [*POINTWISE.scenarios, *AXES.scenarios, *MOVES.scenarios]
ANY_SHAPE: list[Callable[[Any], Any]] = [
    lambda a: np.sum(a, axis=0) if np.ndim(a) else a,
    lambda a: np.prod(a, axis=-1) if np.ndim(a) else a,
    lambda a: np.max(a, axis=0) if np.ndim(a) and np.shape(a)[0] else a,
    lambda a: np.sort(a, axis=-1) if np.ndim(a) else a,
    lambda a: np.cumsum(a, axis=-1) if np.ndim(a) else a,
    lambda a: np.abs(a) - np.maximum(a, 0.0),
    lambda a: np.clip(a, -1.0, 1.0),
    lambda a: np.where(a >= 0.0, a, -2.0 * a),
    lambda a: np.sign(a) * np.floor(a) + a,
    lambda a: np.reshape(a, (-1,)),
    lambda a: np.matmul(np.transpose(a), a) if np.ndim(a) else a,
    lambda a: np.concatenate([np.ravel(a), np.ravel(a)[:1]]),
    lambda a: np.ravel(a)[::2],
    lambda a: np.minimum(a, np.sum(a)),
]
"""Exact functions of arrays of any shape."""


@dataclass
class Step:
    """One function of earlier values.

    Attributes:
        name: what it is called in reports.
        function: takes floats and fixed arrays.
        takes: for each argument, the number of a value (to be brought into a shape) or of a fixed array.
        kept: which of its results are values to go on from.
    """

    name: str
    function: Callable[..., Any]
    takes: list[tuple[int, tuple[int, ...] | None]]
    kept: list[int]


class Chain:
    """A random program: the same one for the same number.

    Attributes:
        inputs: arrays of floats.
        fixed: arrays of integers and booleans, inputs too.
        steps: what is done.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.rng = np.random.default_rng([20, number])
        shapes = [(4,), (3, 4), ()] if self.rng.random() < 0.8 else [(0,), (2, 0), (3,)]
        self.inputs = [self._numbers(s) for s in shapes]
        self.fixed: list[np.ndarray] = []
        self.steps: list[Step] = []
        self.ended = False
        self._values: list[Any] = list(self.inputs)
        self._exact = list(range(len(self.inputs)))
        for _ in range(int(self.rng.integers(1, 5))):
            if not self.ended:
                self._append()

    def _numbers(self, shape: tuple[int, ...]) -> np.ndarray:
        if self.rng.random() < 0.25:
            return np.full(shape, self.rng.choice(NUMBERS))
        return np.asarray(self.rng.choice(NUMBERS, size=shape), dtype=float)

    def _append(self) -> None:
        """One more step, if NumPy makes it; one that it refuses because of its values is the last."""
        before = len(self.fixed)
        step, exact = self._any_shape() if self.rng.random() < 0.3 else self._scenario()
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                made = [np.asarray(v) for v in applied(step, self._values, self.fixed)]
            except (ValueError, IndexError, ArithmeticError) as error:
                self.ended = named(error, None) is not error
                if self.ended:
                    self.steps.append(step)
                else:
                    del self.fixed[before:]
                return
            small = [v.dtype == float and v.size <= 60 and bool(np.all(np.abs(v) < LARGE)) for v in made]
        step.kept = [k for k, s in enumerate(small) if s]
        for k in step.kept:
            if exact:
                self._exact.append(len(self._values))
            self._values.append(made[k])
        self.steps.append(step)

    def _any_shape(self) -> tuple[Step, bool]:
        number = int(self.rng.integers(len(ANY_SHAPE)))
        k = int(self.rng.choice(self._exact))
        return Step(f"any shape {number}", ANY_SHAPE[number], [(k, np.shape(self._values[k]))], []), True

    def _scenario(self) -> tuple[Step, bool]:
        scenario: Scenario = SCENARIOS[int(self.rng.integers(len(SCENARIOS)))]
        exact = scenario.operation not in INEXACT | MIXED and not scenario.operation.startswith("scipy")
        source = list(range(len(self._values))) if scenario.operation in ROBUST else self._exact
        takes: list[tuple[int, tuple[int, ...] | None]] = []
        for a in scenario.arrays:
            if a.dtype == float:
                takes.append((int(self.rng.choice(source)), a.shape))
                exact &= takes[-1][0] in self._exact
            else:
                off = int(self.rng.choice([0, 0, 0, 0, 3, -7])) if scenario.operation not in SHIFTS else 0
                takes.append((len(self.fixed), None))
                self.fixed.append(a + np.asarray(off, a.dtype) if a.dtype.kind == "i" else a)
        return Step(scenario.name, lambda *v: scenario.function(PLAIN, *v), takes, []), exact

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """The results of all steps."""
        values, fixed, results = list(arrays[: len(self.inputs)]), arrays[len(self.inputs) :], []
        for step in self.steps:
            made = applied(step, values, fixed)
            values += [made[k] for k in step.kept]
            results += made
        return tuple(results)

    @property
    def arguments(self) -> list[np.ndarray]:
        """Everything it is called with."""
        return [*self.inputs, *self.fixed]

    def __str__(self) -> str:
        return f"program {self.number}: {', '.join(s.name for s in self.steps)}"


ORDERED = {"np.searchsorted", "np.interp"}
"""Operations that look into a table in order."""


def applied(step: Step, values: Sequence[Any], fixed: Sequence[Any]) -> list[Any]:
    """The results of a step."""
    given = [fixed[k] if shape is None else fitted(values[k], shape) for k, shape in step.takes]
    if step.name.rsplit("-", 1)[0] in ORDERED:
        given = [np.sort(v) if np.ndim(v) else v for v in given]
    made = step.function(*given)
    if isinstance(made, (list, tuple)):
        return list(made)
    return [made[k] for k in range(len(made))] if isinstance(made, SequenceBox) else [made]


def fitted(value: Any, shape: tuple[int, ...]) -> Any:
    """The numbers of an array in another shape, repeated or left out."""
    have, size = int(np.size(value)), int(np.prod(shape, dtype=int))
    if np.shape(value) == shape:
        return value
    if have == 0 and size:
        return np.zeros(shape) + np.sum(value)
    return np.reshape(np.ravel(value)[np.arange(size) % max(have, 1)], shape)


# ---------------------------------------------------------------- what engines make of them


class Made(NamedTuple):
    """Values, forward product and backward product; None for one that is not finite."""

    values: list[np.ndarray] | None
    forward: np.ndarray | None
    backward: np.ndarray | None


Outcome = Made | str
"""What comes of a program, or the name of the error that refuses it."""


def directions(chain: Chain, program: Program) -> tuple[dict[int, np.ndarray], list[np.ndarray | None]]:
    """A tangent for every input, a cotangent for every result that has a derivative."""
    rng = np.random.default_rng([21, chain.number])

    def drawn(shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(rng.choice([1.0, -1.0, 2.0, 0.5], size=shape))

    tangents = {k: drawn(a.shape) for k, a in enumerate(chain.inputs)}
    return tangents, [drawn(o.shape).astype(o.dtype) if o.dtype.kind == "f" else None for o in program.outputs]


def products(chain: Chain) -> Program:
    """The program of values, forward and backward product: the results of `chain`, then two lists of arrays."""
    shapes = [Abstract.of(a) for a in chain.arguments]
    program = trace(chain, shapes)
    tangents, cotangents = directions(chain, program)

    def run(*arrays: Any) -> tuple[Any, ...]:
        point = Linearized(program, arrays)
        return *point.value, *point.jvp(tangents), *point.vjp(cotangents, list(tangents))

    made = trace(run, shapes, name=f"program_{chain.number}")
    made.name = f"program_{chain.number}"
    return made


def outcome(chain: Chain, run: Callable[..., Any]) -> Outcome:
    """What comes of `products`, executed by `run`."""
    with np.errstate(all="ignore"):
        try:
            made = [np.asarray(v) for v in run(*chain.arguments)]
        except StepError as error:
            return type(error).__name__
    inputs = len(chain.inputs)
    results = (len(made) - inputs) // 2
    values, forward, backward = made[:results], made[results:-inputs], made[-inputs:]
    return Made(
        values if all(map(_finite, values)) else None,
        _flat([f for f, v in zip(forward, values, strict=True) if v.dtype.kind == "f"]),
        _flat(backward),
    )


def eager(chain: Chain) -> Outcome:
    """The same by autograd; "TracingError" if it has no derivative for one of the functions."""
    inputs = len(chain.inputs)
    fixed = chain.fixed
    kept: list[int] = []
    values: list[np.ndarray] = []

    def run(point: Any) -> Any:
        results = chain(*(point[k] for k in range(inputs)), *fixed)
        values[:] = [np.asarray(getval(r)) for r in results]
        kept[:] = [k for k, r in enumerate(results) if np.result_type(r).kind == "f"]
        if any(np.result_type(r).kind == "O" for r in results):
            raise TypeError("an array of objects")
        return anp.concatenate([anp.ravel(results[k]) for k in kept] + [np.zeros(0)])

    point = tuple(chain.inputs)
    program = trace(chain, [Abstract.of(a) for a in chain.arguments])
    tangents, cotangents = directions(chain, program)
    weights = np.concatenate([np.zeros(0), *(np.ravel(c) for c in cotangents if c is not None)])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pull, flat = make_vjp(run, point)
            backward = pull(weights.astype(flat.dtype))
            forward = make_jvp(run, point)(tuple(tangents.values()))[1]
        except Exception as error:
            refusal = named(error, None)
            return type(refusal).__name__ if isinstance(refusal, StepError) else "TracingError"
    return Made(values if all(map(_finite, values)) else None, _flat([forward]), _flat(backward))


def difference(one: Outcome, other: Outcome) -> str | None:
    """What distinguishes two outcomes, if anything does."""
    one, other = (a if isinstance(a, str) or a.values is not None else "NonFiniteError" for a in (one, other))
    if isinstance(one, str) or isinstance(other, str):
        return None if one == other or _doubtful(one) or _doubtful(other) else f"{one} is not {other}"
    if _doubtful(one) or _doubtful(other):
        return None
    assert one.values is not None
    assert other.values is not None
    for a, b in zip(one.values, other.values, strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype) or not np.allclose(a, b, rtol=1e-9, atol=1e-9):
            return f"value: {a} is not {b}"
    for label, a, b in (("forward", one.forward, other.forward), ("backward", one.backward, other.backward)):
        if (a is None) != (b is None) or (a is not None and not np.allclose(a, b, rtol=1e-8, atol=1e-8)):
            return f"{label}: {a} is not {b}"
    return None


def _finite(a: Any) -> bool:
    return bool(np.all(np.isfinite(a)))


def _flat(arrays: Sequence[Any]) -> np.ndarray | None:
    made = np.concatenate([np.zeros(0), *(np.ravel(a) for a in arrays)])
    return made if _finite(made) else None


def _doubtful(one: Outcome) -> bool:
    if isinstance(one, str):
        return False
    parts = [*(one.values or []), one.forward, one.backward]
    return any(p is not None and bool(np.any(np.abs(p) > DOUBTFUL)) for p in parts)
