"""A system traced into programs: transition, output and loss, checked against the plain functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import ShapeError, TracingError
from fwdgrad.program import Abstract, Program, trace_pure
from fwdgrad.program.refusals import REFUSALS
from fwdgrad.structure import Paths, Patterns, paths_to_the_loss, patterns_of
from fwdgrad.structure.accumulation import Accumulation, accumulation_of
from fwdgrad.support.trees import flatten, leaf_names, unflatten
from fwdgrad.support.types import Leaves
from fwdgrad.system import System

__all__ = ["TracedSystem", "traced"]


def traced(system: System) -> TracedSystem:
    """The programs of a system, traced once and kept while it is in use.

    Raises:
        TracingError, HiddenStateError: see `TracedSystem`.
    """
    system.confirm()
    return _kept(system)


@lru_cache(maxsize=8)
def _kept(system: System) -> TracedSystem:
    return TracedSystem(system)


class TracedSystem:
    """The programs of a system.

    Attributes:
        transition: F, with inputs h, the arrays of x, and the parameters in declaration order; one output, h'.
        output: Y, with the same inputs (h is the next state); one output, the prediction.
        loss: inputs prediction and the arrays of y; one output, a scalar.
        number: input number of each parameter in `transition` and `output`.

    Raises:
        TracingError: a function is not a fixed sequence of known operations, or depends on more than its arguments.
        HiddenStateError: it remembers something, see `System.confirm`.
        DeclarationError: no parameter is learned.
    """

    def __init__(self, system: System) -> None:
        system.must_learn()
        system.confirm()
        self.system = system
        names = tuple(system.coordinates)
        inputs, targets = flatten(system.given), flatten(system.y)
        first = 1 + len(inputs)
        self.number = {k: first + i for i, k in enumerate(names)}
        labels = ["h", *leaf_names(system.given, "x"), *names]
        abstract = [Abstract.of(a) for a in self.example()]

        def split(arguments: Sequence[Any]) -> tuple[Any, Any, Leaves]:
            h, *rest = arguments
            return h, unflatten(system.given, rest[: len(inputs)]), dict(zip(names, rest[len(inputs) :], strict=True))

        def transition(*arguments: Any) -> Any:
            return system.transition(*split(arguments))

        def output(*arguments: Any) -> Any:
            return system.output(*split(arguments))

        self.transition: Program = trace_pure(lambda *a: [transition(*a)], abstract, names=labels, name="F")
        self.output: Program = trace_pure(lambda *a: [output(*a)], abstract, names=labels, name="Y")
        self.loss: Program = trace_pure(
            lambda yhat, *y: [_scalar(system.loss.value(yhat, unflatten(system.y, y)))],
            [Abstract.of(system.prediction), *(Abstract.of(t) for t in targets)],
            names=["prediction", *leaf_names(system.y, "y")],
            name="loss",
        )
        check_against_plain(self.transition, transition, self.example())
        check_against_plain(self.output, output, self.example())
        self.x_bounds = _bounds((self.transition, self.output), len(inputs))
        self.y_bounds = _bounds((self.loss,), len(targets))

    def arguments(self, h: Any, x: Any, params: Leaves) -> list[Any]:
        """Arguments of the programs `transition` and `output`."""
        return [h, *flatten(x), *params.values()]

    def example(self) -> list[Any]:
        """The declared state, input and parameters, as arguments."""
        return self.arguments(self.system.initial, self.system.given, self.system.coordinates)

    @cached_property
    def patterns(self) -> Patterns:
        """Which state variable, input and parameter feeds which state variable and output."""
        system = self.system
        shapes = {k: v.shape for k, v in system.coordinates.items()}
        return patterns_of(self.transition, self.output, len(flatten(system.given)), shapes, system.trainable)

    @cached_property
    def accumulation(self) -> Accumulation | None:
        """How single entries of ∂F/∂h are put together; None if whole columns are all there is."""
        return accumulation_of(self.transition, self.number)

    @cached_property
    def paths(self) -> Paths:
        """Which learned parameters reach the loss, and in how many steps."""
        system = self.system
        derived = system.loss.gradient(system.prediction, system.y) is None
        loss = self.loss if derived else None
        return paths_to_the_loss(self.transition, self.output, loss, self.number, system.trainable)


def _bounds(programs: Sequence[Program], count: int) -> list[int | None]:
    """For each of `count` inputs from number 1: the size of the smallest axis it indexes, if any."""
    found = [[p.index_bounds[1 + k] for p in programs if 1 + k in p.index_bounds] for k in range(count)]
    return [min(sizes) if sizes else None for sizes in found]


def check_against_plain(program: Program, function: Callable[..., Any], example: Sequence[Any]) -> None:
    """Compare a program with the plain function at the example values and at random points around them.

    Raises:
        TracingError: they differ, so the function depends on something that tracing cannot see.
    """
    rng = np.random.default_rng(0)
    compiled = compile_program(program)
    for point in range(4):
        arguments = [_around(a, rng, 0.0 if point == 0 else 0.3) for a in example]
        with np.errstate(all="ignore"):
            try:
                expected = np.asarray(function(*(a.copy() for a in arguments)))
            except REFUSALS:
                if point == 0:
                    raise
                continue  # an index may be out of range where no data lead
            (got,) = compiled(*arguments)
        tolerance = 1e-8 if np.asarray(got).dtype == np.float64 else 1e-3
        if not np.allclose(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True):
            worst = np.nanmax(np.abs(np.asarray(got) - expected))
            raise TracingError(
                f"{program.name} computes something else when it is called than when it was traced (difference up to "
                f"{worst:.3g}).\n"
                "It depends on something besides its arguments: random numbers, the time, or values that change\n"
                "outside it. Pass them in as input x, or keep them in the state."
            )


def _around(value: Any, rng: np.random.Generator, spread: float) -> Any:
    array = np.array(value)
    if not np.issubdtype(array.dtype, np.floating):
        return array
    factor = 1.0 + spread * rng.uniform(-1, 1, array.shape)
    return (array * factor + 0.1 * spread * rng.uniform(0, 1, array.shape)).astype(array.dtype)


def _scalar(value: Any) -> Any:
    if np.shape(value) != ():
        raise ShapeError(
            f"loss: expected a scalar, got shape {np.shape(value)}.\n"
            "Sum over the components of the prediction: np.sum(...)."
        )
    return value
