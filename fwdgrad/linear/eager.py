"""A model that runs the user's functions as they are, and has autograd differentiate them at every step.

For functions that cannot be traced, such as those with branches that depend on values. Slow: hundreds of microseconds
a step, whatever the size.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from fwdgrad.errors import FwdgradError, HiddenStateError, TracingError
from fwdgrad.linear.autodiff import make_jvp, make_vjp
from fwdgrad.linear.base import Leaves, Linearization, MaterialisedJacobians, ProductTerm, known, restricted
from fwdgrad.linear.product import TracedProduct
from fwdgrad.losses import CrossEntropy
from fwdgrad.program import Linearized
from fwdgrad.program.refusals import named
from fwdgrad.program.sources import frames_of, mend_of, scipy_call, source_among
from fwdgrad.structure import Paths, Patterns
from fwdgrad.support.trees import flatten
from fwdgrad.system import System
from fwdgrad.system.tracing import TracedSystem, traced

__all__ = ["NOT_TRACED", "EagerModel"]

NOT_TRACED = "not traced"
"""The fingerprint of a function that is run as it is."""


class EagerModel:
    """A system whose derivatives autograd takes anew at every step."""

    def __init__(self, system: System) -> None:
        system.must_learn()
        self.system = system
        # without a trace, any learned parameter may influence the state
        programs = self._programs
        live = set() if programs is None else programs.transition.live_inputs()
        self.leaves = tuple(k for k in system.trainable if programs is None or programs.number[k] in live)
        self.x_bounds: list[int | None] = [None] * len(flatten(system.given))
        symbols = system.prediction.shape[0] if isinstance(system.loss, CrossEntropy) else None
        self.y_bounds: list[int | None] = [symbols] * len(flatten(system.y))
        if self._programs is not None:
            self.x_bounds, self.y_bounds = self._programs.x_bounds, self._programs.y_bounds

    @cached_property
    def _programs(self) -> TracedSystem | None:
        """The traced programs, for what only they can tell; None if the functions cannot be traced."""
        try:
            return traced(self.system)
        except HiddenStateError:
            raise
        except TracingError:
            return None

    @cached_property
    def patterns(self) -> Patterns | None:
        """Where A and B can be non-zero; None if the functions cannot be traced."""
        return None if self._programs is None else self._programs.patterns

    @property
    def paths(self) -> Paths:
        """Which learned parameters reach the loss; taken to be all, in n steps, if the functions cannot be traced."""
        return Paths({}, self.system.size, {}) if self._programs is None else self._programs.paths

    def fingerprints(self) -> dict[str, str]:
        """Nothing is known about a function that is not traced."""
        return {"F": NOT_TRACED, "Y": NOT_TRACED}

    def _differentiable(self, function: Callable[..., Any], params: Leaves) -> Callable[[Any], Any]:
        names = self.system.trainable

        def run(z: Any) -> Any:
            return function(z[0], dict(params) | {k: z[i + 1] for i, k in enumerate(names)})

        return run

    def linearize(self, h: Any, x: Any, params: Leaves) -> Linearization:
        """The transition at (h, x, θ)."""
        run = self._differentiable(lambda state, theta: self.system.transition(state, x, theta), params)
        return EagerLinearization(self, run, self._point(h, params), lambda: self._factors(h, x, params))

    def observe(self, h: Any, x: Any, y: Any, params: Leaves) -> EagerObservation:
        """Prediction and loss at h'."""
        run = self._differentiable(lambda state, theta: self.system.output(state, x, theta), params)
        return EagerObservation(self.system, run, self._point(h, params), y)

    def _factors(self, h: Any, x: Any, params: Leaves) -> Leaves:
        """a for each leaf that the program uses in one product z = Ŵ a only."""
        programs = self._programs
        assert programs is not None
        values, results = Linearized(programs.transition, programs.arguments(h, x, params)), programs.patterns.results
        return {k: TracedProduct(values, use, results[k]).factor for k, use in programs.patterns.products.items()}

    def _point(self, h: Any, params: Leaves) -> tuple[Any, ...]:
        return (h, *(params[k] for k in self.system.trainable))

    def advance(self, h: Any, x: Any, params: Leaves) -> tuple[Any, Any]:
        """(h', ŷ)."""
        with _refused():
            after = np.asarray(self.system.transition(h, x, params))
            return after, np.asarray(self.system.output(after, x, params))


def _vjp(run: Callable[[Any], Any], point: tuple[Any, ...]) -> tuple[Callable[[Any], Any], Any]:
    """The backward product, and the value, by autograd."""
    with _refused():
        pull, value = make_vjp(run, point)

    def pulled(cotangent: Any) -> Any:
        with _refused():
            return pull(cotangent)

    return pulled, value


@contextmanager
def _refused() -> Iterator[None]:
    """Say of whatever goes wrong in autograd what can be done about it; a derivative that is zero is no warning."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Output seems independent of input")
            yield
    except FwdgradError as error:
        if "dtype object" not in str(error):
            raise
        raise TracingError(_cannot(error)) from error
    except Exception as error:
        refusal = named(error, source_among(frames_of(error)))
        if refusal is not error:
            raise refusal from error
        raise TracingError(_cannot(error)) from error


def _cannot(error: Exception) -> str:
    inside = scipy_call(frames_of(error))
    if inside is not None and (mend := mend_of(inside)):
        return f"engine='eager': autograd cannot differentiate {inside}, at {source_among(frames_of(error))}.\n{mend}"
    return (
        f"engine='eager': autograd cannot differentiate the function: {type(error).__name__}: {error}\n"
        "Write it with functions that autograd has, `import autograd.numpy as np`, and without assigning to elements;\n"
        "a function that can be traced may also run with engine='numpy'."
    )


class EagerLinearization(MaterialisedJacobians):
    """One step, linearised by autograd."""

    def __init__(
        self,
        model: EagerModel,
        run: Callable[[Any], Any],
        point: tuple[Any, ...],
        factors: Callable[[], Leaves],
    ) -> None:
        self._model, self._run, self._point, self._names = model, run, point, model.system.trainable
        self._factors = factors
        self._pull, self.value = _vjp(run, point)
        self.leaves = model.leaves

    @property
    def patterns(self) -> Patterns | None:
        """Where A and B can be non-zero; None if the functions cannot be traced."""
        return restricted(self._model.patterns, self.leaves)

    def jvp(self, direction: Any, leaves: Leaves | None = None) -> Any:
        """A·direction + B·leaves."""
        zeros = [np.zeros(np.shape(p), self.value.dtype) for p in self._point[1:]]
        given = [(leaves or {}).get(k, z) for k, z in zip(self._names, zeros, strict=True)]
        tangent = (direction, *given)
        with _refused():
            try:
                return make_jvp(self._run, self._point)(tangent)[1]
            except NotImplementedError:  # autograd has no forward rule: differentiate the backward product
                back, _ = make_vjp(lambda c: make_vjp(self._run, self._point)[0](c), np.zeros(self.value.shape))
                return back(tangent)

    def vjp(self, cotangent: Any) -> tuple[Any, Leaves]:
        """(c·A, c·B)."""
        state, *leaves = self._pull(np.asarray(cotangent))
        made = dict(zip(self._names, leaves, strict=True))
        return state, {k: made[k] for k in self.leaves}

    def products(self) -> dict[str, ProductTerm]:
        """The leaves that enter through one product only, which the trace knows.

        Raises:
            DeclarationError: the functions cannot be traced.
        """
        patterns, factors = known(self.patterns), self._factors()
        return {k: EagerProduct(self, k, use.axis, factors[k]) for k, use in patterns.products.items()}


class EagerProduct:
    """B = D ⊗ a for one leaf, from products with B as autograd has them."""

    def __init__(self, lin: EagerLinearization, leaf: str, axis: int, factor: Any) -> None:
        self._lin, self._leaf, self.axis, self.factor = lin, leaf, axis, factor

    def vjp(self, cotangent: Any) -> Any:
        """c·D, from c·B = (c·D) ⊗ a; zeros where a = 0, of which B shows no D."""
        gradient = self._lin.only([self._leaf]).vjp(cotangent)[1][self._leaf]
        square = np.dot(self.factor, self.factor)
        return np.tensordot(gradient, self.factor / square if square else self.factor, axes=([self.axis], [0]))

    def jacobian(self) -> Any:
        """D, row by row."""
        return np.stack([self.vjp(row) for row in np.eye(self._lin.value.shape[0], dtype=self._lin.value.dtype)])


class EagerObservation:
    """Prediction and loss, differentiated by autograd."""

    def __init__(self, system: System, run: Callable[[Any], Any], point: tuple[Any, ...], y: Any) -> None:
        self._system, self._y = system, y
        self._pull, self.prediction = _vjp(run, point)
        self.loss = system.loss.value(self.prediction, y)

    def gradient(self) -> tuple[Any, Leaves]:
        """c and the direct term."""
        slope = self._system.loss.gradient(self.prediction, self._y)
        if slope is None:
            slope = _vjp(lambda yhat: self._system.loss.value(yhat, self._y), self.prediction)[0](1.0)
        return self.pull(slope)

    def pull(self, cotangent: Any) -> tuple[Any, Leaves]:
        """∂(u·ŷ)/∂h' and ∂(u·ŷ)/∂θ."""
        state, *leaves = self._pull(np.asarray(cotangent, dtype=self.prediction.dtype))
        return state, dict(zip(self._system.trainable, leaves, strict=True))
