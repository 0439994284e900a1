"""A model whose derivatives come from traced programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fwdgrad.errors import ShapeError, TracingError
from fwdgrad.linear.base import Leaves, MaterialisedJacobians
from fwdgrad.program import Abstract, Linearized, Program, trace
from fwdgrad.system import System
from fwdgrad.trees import flatten, leaf_names, unflatten

__all__ = ["TracedLinearization", "TracedModel", "TracedObservation"]


class TracedModel:
    """A system traced once into two programs, transition and output."""

    def __init__(self, system: System) -> None:
        self.system = system
        names = tuple(system.params)
        vector = Abstract((system.size,), system.dtype)
        inputs = [Abstract.of(v) for v in flatten(system.x)]
        thetas = [Abstract.of(v) for v in system.params.values()]
        labels = ["h", *leaf_names(system.x, "x"), *names]

        def split(arguments: Sequence[Any]) -> tuple[Any, Any, Leaves]:
            h, *rest = arguments
            return h, unflatten(system.x, rest[: len(inputs)]), dict(zip(names, rest[len(inputs) :], strict=True))

        self.transition: Program = trace(
            lambda *a: [system.transition(*split(a))], [vector, *inputs, *thetas], names=labels, name="F"
        )
        self.output: Program = trace(
            lambda *a: [system.output(*split(a))], [vector, *inputs, *thetas], names=labels, name="Y"
        )
        first = 1 + len(inputs)
        self._number = {k: first + i for i, k in enumerate(names)}
        live_f, live_y = self.transition.live_inputs(), self.output.live_inputs()
        self.leaves = tuple(k for k in system.trainable if self._number[k] in live_f)
        self.readout = tuple(k for k in system.trainable if self._number[k] in live_y)
        prediction = Abstract(system.prediction.shape, system.prediction.dtype)
        targets = [Abstract.of(v) for v in flatten(system.y)]
        self.loss: Program = trace(
            lambda yhat, *y: [_scalar(system.loss.value(yhat, unflatten(system.y, y)))],
            [prediction, *targets],
            names=["prediction", *leaf_names(system.y, "y")],
            name="loss",
        )

        check_against_plain(self.transition, lambda *a: system.transition(*split(a)), self.example())
        check_against_plain(self.output, lambda *a: system.output(*split(a)), self.example())
        self.x_bounds = _bounds((self.transition, self.output), 1, len(inputs))
        self.y_bounds = _bounds((self.loss,), 1, len(targets))

    def fingerprints(self) -> dict[str, str]:
        """Hashes of the two programs."""
        return {"F": self.transition.fingerprint(), "Y": self.output.fingerprint()}

    def example(self) -> list[Any]:
        """The declared state, input and parameters, as arguments."""
        return self.arguments(self.system.initial, self.system.x, self.system.params)

    def arguments(self, h: Any, x: Any, params: Leaves) -> list[Any]:
        """Arguments of the programs `transition` and `output`."""
        return [h, *flatten(x), *params.values()]

    def linearize(self, h: Any, x: Any, params: Leaves) -> TracedLinearization:
        """The transition at (h, x, θ)."""
        return TracedLinearization(self, Linearized(self.transition, self.arguments(h, x, params)))

    def observe(self, h: Any, x: Any, y: Any, params: Leaves) -> TracedObservation:
        """Prediction and loss at h'."""
        return TracedObservation(self, h, x, y, params)

    def advance(self, h: Any, x: Any, params: Leaves) -> tuple[Any, Any]:
        """(h', ŷ)."""
        (after,) = self.transition(*self.arguments(h, x, params))
        return after, self.output(*self.arguments(after, x, params))[0]


def _bounds(programs: Sequence[Program], first: int, count: int) -> list[int | None]:
    """For each of `count` inputs from number `first`: the size of the smallest axis it indexes, if any."""
    found = [[p.index_bounds[first + k] for p in programs if first + k in p.index_bounds] for k in range(count)]
    return [min(sizes) if sizes else None for sizes in found]


def check_against_plain(program: Program, function: Callable[..., Any], example: Sequence[Any]) -> None:
    """Compare a program with the plain function at the example values and at random points around them.

    Raises:
        TracingError: they differ, so the function depends on something that tracing cannot see.
    """
    rng = np.random.default_rng(0)
    for point in range(4):
        arguments = [_around(a, rng, 0.0 if point == 0 else 0.3) for a in example]
        with np.errstate(all="ignore"):
            expected = np.asarray(function(*(a.copy() for a in arguments)))
            (got,) = program(*arguments)
        tolerance = 1e-8 if np.asarray(got).dtype == np.float64 else 1e-3
        if not np.allclose(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True):
            worst = np.nanmax(np.abs(np.asarray(got) - expected))
            raise TracingError(
                f"{program.name} computes something else when it is called than when it was traced (difference up to "
                f"{worst:.3g}).\n"
                "It depends on something besides its arguments: random numbers, the time, or values that change outside\n"
                "it. Pass them in as input x or keep them in the state, or run with engine='eager'."
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


class TracedLinearization(MaterialisedJacobians):
    """One step, linearised through the transition's program."""

    def __init__(self, model: TracedModel, linearized: Linearized) -> None:
        self._model, self._linearized = model, linearized
        self.value = linearized.value[0]

    def jvp(self, direction: Any, leaves: Leaves | None = None) -> Any:
        """A·direction + B·leaves."""
        tangents = {0: direction} | {self._model._number[k]: v for k, v in (leaves or {}).items()}
        return self._linearized.jvp(tangents)[0]

    def vjp(self, cotangent: Any) -> tuple[Any, Leaves]:
        """(c·A, c·B)."""
        names = self._model.leaves
        state, *leaves = self._linearized.vjp([cotangent], [0, *(self._model._number[k] for k in names)])
        return state, dict(zip(names, leaves, strict=True))


class TracedObservation:
    """Prediction and loss, through the output's program."""

    def __init__(self, model: TracedModel, h: Any, x: Any, y: Any, params: Leaves) -> None:
        self._model = model
        self._linearized = Linearized(model.output, model.arguments(h, x, params))
        self.prediction = self._linearized.value[0]
        self._y = y
        (self.loss,) = model.loss(self.prediction, *flatten(y))

    def gradient(self) -> tuple[Any, Leaves]:
        """c and the direct term."""
        model = self._model
        slope = model.system.loss.gradient(self.prediction, self._y)
        if slope is None:
            (slope,) = Linearized(model.loss, [self.prediction, *flatten(self._y)]).vjp([1.0], [0])
        if slope.dtype != self.prediction.dtype:
            slope = slope.astype(self.prediction.dtype)
        state, *leaves = self._linearized.vjp([slope], [0, *(model._number[k] for k in model.readout)])
        return state, dict(zip(model.readout, leaves, strict=True))
