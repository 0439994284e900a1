"""Implicit equations: `root` finds the z with residual(z) = 0, by Newton's method, as one operation with a derivative.

Traced, the residual becomes a program of its own, and a second one computes it together with its Jacobian. The
derivative is that of the implicit function theorem, ∂z = −(∂R/∂z)⁻¹ ∂R/∂θ at the root: it does not pass through the
iterations, costs one inverse however many directions it is taken in, and is itself made of operations that have a
derivative. Where each equation has few unknowns that stand near to each other, as cells have neighbours, the Jacobian
is a band (`fwdgrad.program.bands`), and everything costs O(n).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any

import numpy as np
from autograd.core import make_vjp
from autograd.tracer import getval, isbox

from fwdgrad.errors import TracingError
from fwdgrad.program import operations as ops
from fwdgrad.program.bands import band_of
from fwdgrad.program.derivatives import PRODUCTS, Linearized
from fwdgrad.program.instructions import Abstract, Instruction
from fwdgrad.program.jacobians import jacobian
from fwdgrad.program.operations import Operand, Operation
from fwdgrad.program.operations.banded import factorised, solved_by_bands
from fwdgrad.program.program import Program
from fwdgrad.program.tracer import Graph, active_graph, as_operand, refuse, trace

__all__ = ["ITERATIONS", "ROOT", "newton", "quotient", "root", "settled", "watched"]

ITERATIONS = 30
"""Newton's method gives up after so many. From a good start it takes four to six."""
USUALLY = 5
"""What it takes, about, for predictions of costs."""
PLAIN = 64
"""More unknowns than this are found through a trace, which takes less than slopes from as many differences."""
ROUNDING = 4
"""A step of at most so many units in the last place of what it changes is a rounding error."""

Residual = Callable[[Any], Any]

_FAILURES: ContextVar[list[tuple[int, float]] | None] = ContextVar("failures", default=None)


@contextmanager
def watched() -> Iterator[list[tuple[int, float]]]:
    """Where `newton` does not converge inside of this: the number of iterations, and the size of the last step."""
    failures: list[tuple[int, float]] = []
    token = _FAILURES.set(failures)
    try:
        yield failures
    finally:
        _FAILURES.reset(token)


def root(residual: Residual, start: Any) -> Any:
    """The z near `start` with ``residual(z)`` = 0.

    Where Newton's method does not converge, z is NaN, which stops a run at that step with an error. `residual` may use
    whatever is known where it is defined: the result has derivatives with respect to all of that, and none with respect
    to `start`.

    Args:
        residual: takes z, returns an array of the shape and dtype of z.
        start: where to begin, shape (n,), floating point.

    Cost: per iteration one evaluation of residual and Jacobian (n forward products) and the solution of n dense
    equations, O(n³). Derivatives cost one Jacobian and one inverse together, and a product each. Where the Jacobian is
    a band of w diagonals, at most a quarter of n: as many forward products as it has colours, and O(n w²) a solution.

    Raises:
        TracingError: `start` is no vector of floating-point numbers, or the residual has another shape or dtype.
        UnsupportedOperationError: an operation of the residual has no derivative.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.program import Abstract, Linearized, root, trace
        >>> program = trace(lambda a: [root(lambda z: z * z - a, np.ones(2))], [Abstract((2,), np.dtype(float))])
        >>> linearized = Linearized(program, [np.array([4.0, 9.0])])
        >>> linearized.value[0]
        array([2., 3.])
        >>> linearized.jvp({0: np.array([1.0, 0.0])})[0] + 0.0
        array([0.25, 0.  ])
    """
    start = as_operand(getval(start))
    if start.dtype.kind != "f" or np.ndim(start) != 1 or not start.shape[0]:
        refuse(f"root begins at {Abstract(start.shape, start.dtype)}", "Begin at a vector of floating-point numbers.")
    parent = active_graph()
    if parent is not None:
        return _traced(residual, start, parent)
    value = residual(start)
    _check(value, start)
    if isbox(value):
        return _by_autograd(residual, start, _levels(value))
    if len(start) > PLAIN:
        try:
            return _by_trace(residual, start)
        except TracingError:
            pass
    found = _by_differences(residual, start)
    if np.isfinite(found).all() or not np.isfinite(start).all():  # nothing arrives from nowhere
        return found
    try:
        return _by_trace(residual, start)
    except TracingError as error:
        try:
            return _by_autograd(residual, start, 0)
        except Exception:
            raise error from None


def newton(
    function: Callable[..., tuple[Any, Any]], start: Any, *captured: Any, band: tuple[int, int] | None = None
) -> Any:
    """Newton's method.

    It stops where every number of a step is a rounding error of what it changes, or is not smaller than in the step
    before, and the step as a whole is small: no tolerance is to be chosen, and unknowns may be of any size.

    Args:
        function: (z, *captured) ↦ residual, shape (n,), and its Jacobian, (n, n), or as a band.
        start: shape (n,).
        captured: handed on.
        band: diagonals below and above the main one, of a Jacobian as a band.

    Returns:
        z, or NaN if it does not converge.
    """
    z = start = np.array(start)
    before: Any = np.full(z.shape, np.inf)
    begun, iterations, largest = bool(np.isfinite(z).all()), 0, np.nan
    with np.errstate(all="ignore"):  # what is not finite ends the iterations
        while iterations < ITERATIONS:
            iterations += 1
            value, slopes = function(z, *captured)
            try:
                step = quotient(slopes, value, band)
            except np.linalg.LinAlgError:
                break
            z = z - step
            largest = np.abs(step).max()
            if not np.isfinite(largest):
                break
            if settled(step, before, z, start):
                return z
            before = np.abs(step)
    failures = _FAILURES.get()
    if failures is not None and begun:
        failures.append((iterations, float(largest)))
    return np.full_like(z, np.nan)


def quotient(slopes: Any, value: Any, band: tuple[int, int] | None) -> Any:
    """One of Newton's steps, J⁻¹ R, with a Jacobian that is a matrix or a band.

    Raises:
        LinAlgError: it has no inverse.
    """
    if band is None:
        return np.linalg.solve(slopes, value)
    return solved_by_bands(factorised(np.asarray(slopes), *band), np.asarray(value), *band, transposed=False)


def settled(step: Any, before: Any, z: Any, start: Any) -> Any:
    """Whether Newton's iterations have arrived, at one point or at each of several along the first axes.

    Args:
        step: the last step, shape (…, n).
        before: the sizes of the entries of the one before.
        z: after the step.
        start: where they began.
    """
    unit = float(np.finfo(z.dtype).eps)
    size, length = np.abs(step), np.abs(z)
    still = (size <= ROUNDING * unit * length) | (size >= before)
    least = 2 * ROUNDING * unit * np.abs(start).max(axis=-1)
    return still.all(axis=-1) & (size.max(axis=-1) <= np.maximum(unit**0.5 * length.max(axis=-1), least))


def _check(value: Any, start: Any) -> None:
    """Refuse a residual of another shape or dtype than `start`."""
    value = getval(value)
    got = Abstract(np.shape(value), value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype)
    expected = Abstract(start.shape, start.dtype)
    if got != expected:
        refuse(
            f"root: the residual of {expected} is {got}",
            "It has to have as many equations as unknowns, in their precision: return an array like its argument.",
        )


# ---------------------------------------------------------------- traced


def _traced(residual: Residual, start: Any, parent: Graph) -> Any:
    """The operation, recorded with its residual as a program."""
    with Graph(parent) as graph:
        z = graph.input(Abstract(start.shape, start.dtype), "z")
        value = as_operand(residual(z))
        _check(value, start)
        equations, used = graph.finish_inner("residual", [value])
        band = band_of(equations)
        if band is not None and band.order is not None:
            order = band.order
            found = _traced(lambda z: equations(z[np.argsort(order)], *used)[0][order], start[order], parent)
            return found[np.argsort(order)]
        linearized = Linearized(equations, [z, *used])
        slopes = jacobian(linearized) if band is None else band.jacobian(linearized)
        body, outer = graph.finish_inner("body", [linearized.value[0], slopes])
    # what only the Jacobian uses stands behind what both use
    more = [t for t in outer if all(t.variable is not u.variable for u in used)]
    own, places = len(body.inputs) - len(outer), {t.variable: v for t, v in zip(outer, body.inputs[1:], strict=True)}
    body.inputs = (*body.inputs[:own], *(places[t.variable] for t in (*used, *more)))
    diagonals = None if band is None else (band.lower, band.upper)
    return ROOT(start, *used, *more, residual=equations, body=body, band=diagonals)


class Root(Operation):
    """The solution. Operands: start, what the residual uses, what only its Jacobian uses.

    `residual` takes z and what it uses; `body` takes z and both, and returns residual and Jacobian: a band with so many
    diagonals below and above the main one if `band` says so, else a matrix.
    """

    def evaluate(self, start: Any, *captured: Any, residual: Program, body: Program, band: Any) -> Any:
        return newton(body, start, *captured, band=band)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(inputs[0].shape, inputs[0].dtype),)

    def multiply_adds(self, instruction: Instruction) -> int:
        """An elimination at each iteration, beside the body."""
        n, band = instruction.inputs[0].shape[0], instruction.params["band"]
        return self.turns(instruction) * (n**3 if band is None else n * (band[0] + 1) * (sum(band) + 1))

    def turns(self, instruction: Instruction) -> int:
        """What Newton's method usually takes."""
        return USUALLY

    def indexed_axes(self, inputs: Sequence[Operand], params: dict[str, Any]) -> Iterator[tuple[Operand, int]]:
        for number, size in params["body"].index_bounds.items():
            yield inputs[number], size


ROOT = Root("root")


# ---------------------------------------------------------------- derivatives


class RootProducts:
    """∂z = −(∂R/∂z)⁻¹ ∂R at a root, by products with ∂R, the residual's Jacobian in all that it uses.

    The residual is evaluated, and the inverse made, or recorded, once at a root, whatever number of products follows.

    Args:
        instruction: the root.
        operands: values of its inputs.
        results: z.
    """

    def __init__(self, instruction: Instruction, operands: Sequence[Any], results: Sequence[Any]) -> None:
        self._residual, self._body = instruction.params["residual"], instruction.params["body"]
        self._band = instruction.params["band"]
        self._captured, (self._z,) = operands[1:], results

    @cached_property
    def _at_root(self) -> Linearized:
        return Linearized(self._residual, [self._z, *self._captured[: len(self._residual.inputs) - 1]])

    @cached_property
    def _slopes(self) -> Any:
        """NaN where there is no root, whatever the Jacobian is then: NumPy does not invert a singular matrix."""
        slopes = self._body(self._z, *self._captured)[1]
        return slopes + 0.0 * (self._z if self._band is None else self._z[0])

    @cached_property
    def _inverse(self) -> Any:
        """Of a band its factors."""
        if self._band is None:
            return ops.inv(self._slopes)
        return ops.band_factors(self._slopes, lower=self._band[0], upper=self._band[1])

    def _divided(self, right: Any, transposed: bool) -> Any:
        """(∂R/∂z)⁻¹ b, or b (∂R/∂z)⁻¹."""
        if self._band is None:
            return ops.matmul(right, self._inverse) if transposed else ops.matmul(self._inverse, right)
        lower, upper = self._band
        return ops.band_solve(self._slopes, self._inverse, right, lower=lower, upper=upper, transposed=transposed)

    def _uses(self, number: int) -> bool:
        """Whether the residual uses an operand: neither where Newton began, nor what only the Jacobian uses."""
        return 0 < number < len(self._residual.inputs)

    def jvp(self, directions: Sequence[Any]) -> list[Any]:
        """The tangent of z from those of the operands, None where it is zero."""
        moving = {k: d for k, d in enumerate(directions) if d is not None and self._uses(k)}
        if not moving:
            return [None]
        return [-self._divided(self._at_root.jvp(moving)[0], transposed=False)]

    def vjp(self, cotangents: Sequence[Any], wanted: Sequence[int]) -> dict[int, Any]:
        """Gradients of the wanted operands from the cotangent of z."""
        used = [k for k in wanted if self._uses(k)]
        adjoint = -self._divided(cotangents[0], transposed=True)
        return dict(zip(used, self._at_root.vjp([adjoint], used), strict=True))


PRODUCTS["root"] = RootProducts


# ---------------------------------------------------------------- without a trace


def _by_trace(residual: Residual, start: Any) -> Any:
    """The root by the operation, which is recorded for this one call."""
    return trace(lambda z: [root(residual, z)], [Abstract.of(start)], name="root")(start)[0]


def _by_differences(residual: Residual, start: Any) -> Any:
    """The root of a function that runs as it is, with slopes from differences; NaN if they do not lead there.

    The residual alone decides where Newton's iterations end. An iteration costs n + 1 of its evaluations, where a trace
    takes as long as hundreds of them.
    """
    start = np.asarray(start)
    small = float(np.finfo(start.dtype).eps) ** 0.5

    def linearized(z: Any) -> tuple[Any, Any]:
        value, slopes = np.asarray(residual(z)), np.empty((len(z), len(z)), z.dtype)
        least = small * max(float(np.abs(z).max()), small)
        for k in range(len(z)):
            there = z.copy()
            there[k] += small * max(abs(z[k]), least)
            slopes[:, k] = (np.asarray(residual(there)) - value) / (there[k] - z[k])
        return value, slopes

    return newton(linearized, start)


def _by_autograd(residual: Residual, start: Any, levels: int) -> Any:
    """The root of a function that runs as it is.

    Around the root z₀, z ← z − J₀⁻¹ R(z) with a constant J₀ = ∂R/∂z(z₀) makes one more derivative of z right each time:
    autograd sees as many of these steps as it is differentiating at once.
    """

    def linearized(z: Any) -> tuple[Any, Any]:
        pull, value = make_vjp(residual, z)
        return getval(value), np.array([getval(pull(e)) for e in np.eye(len(z), dtype=z.dtype)])

    z = newton(linearized, start)
    if levels and np.isfinite(z).all():
        inverse = np.linalg.inv(linearized(z)[1])
        for _ in range(levels):
            z = z - np.dot(inverse, residual(z))
    return z


def _levels(value: Any) -> int:
    """How many differentiations of autograd's a value takes part in."""
    count = 0
    while isbox(value):
        value, count = value._value, count + 1
    return count
