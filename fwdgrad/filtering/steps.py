"""The three parts of an extended Kalman filter, as programs: correct by a sample, predict, and show what to expect.

With x̂ the mean and U upper triangular, UᵀU = P, in array form (Kailath, Sayed and Hassibi 2000, *Linear Estimation*,
§12):

    correct:  [√R 0; U Cᵀ U] → [√S √S⁻ᵀ C P; 0 U'],   x̂ ← x̂ + P Cᵀ S⁻¹ e,   e = y − Y(x̂),   S = C P Cᵀ + R
    predict:  [√Q; U Aᵀ] → U',   x̂ ← F(x̂)

Where F is a rate, predicting goes step by step of the integrator, and noise enters all along a step of length δ:

    Q_δ = ∫ Φ(δ, s) Q Φ(δ, s)ᵀ ds ≈ δ/6 (Q + 4 B Q Bᵀ + A Q Aᵀ)

by Simpson's rule, with B the Jacobian of the second half of the step, made by the same integrator. It is of order 4, or
of that of the integrator, and positive semi-definite whatever A and B are, since it is a sum (Särkkä and Solin 2019,
*Applied Stochastic Differential Equations*, §6.2, has the integral).

→ is an orthogonal transformation, so that no covariance is ever formed, and none can lose its sign to rounding. A and C
are the Jacobians of F and Y, from their own programs, and the filter's derivatives are those of all this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.filtering.noise import Covariance, deviations
from fwdgrad.losses.innovations import packed, unpacked
from fwdgrad.program import Abstract, Linearized, Program, jacobian, repeat, trace, trace_pure
from fwdgrad.program import operations as ops
from fwdgrad.support.trees import flatten, leaf_names, unflatten
from fwdgrad.system import System

__all__ = ["FilterSteps", "joined", "parts"]

BLUR = 16.0
"""Where the process noise is singular, P_ii grows by this many units of rounding with every sample: a factor that is
singular has no derivative."""


def parts(h: Any, size: int) -> tuple[Any, Any]:
    """x̂, (n,), and U, (n, n), of a filter's state."""
    return h[:size], unpacked(h[size:], size)


def joined(mean: Any, upper: Any) -> Any:
    """The inverse of `parts`."""
    return np.concatenate([mean, packed(upper, mean.shape[0])])


class FilterSteps:
    """The programs of a filter.

    Args:
        system: the system that is filtered.
        names: of the parameters in order, those of the noise included.
        values: of them.
        process: covariance of the noise that a sample adds, or a unit of time, if F is a rate.
        observation: that of the observation.

    Attributes:
        correct: (h, *x, y, *θ) ↦ h.
        predict: (h, *x, *θ) ↦ h.
        look: (h, *x, *θ) ↦ ŷ and √S, packed, see `Innovations`.

    Raises:
        TracingError: F or Y cannot be traced.
    """

    def __init__(
        self, system: System, names: Sequence[str], values: dict[str, Any], process: Covariance, observation: Covariance
    ) -> None:
        self._system, self._names = system, tuple(names)
        self._process, self._observation = process, observation
        self._size, self._outputs = system.size, math.prod(system.prediction.shape)
        self._inputs = flatten(system.x)
        own = [np.asarray(values[k]) for k in system.params]
        labels = ["h", *leaf_names(system.x, "x"), *system.params]
        shapes = [Abstract.of(a) for a in (system.initial, *self._inputs, *own)]
        if system.dt is None:
            self._move: Program = trace_pure(lambda *a: [system.moved(*self._split(a))], shapes, names=labels, name="F")
        else:
            step = Abstract.of(np.zeros((), system.dtype))
            self._move = trace_pure(
                lambda h, dt, *a: [system.integrated(*self._split([h, *a]), dt)],
                [shapes[0], step, *shapes[1:]], names=[labels[0], "dt", *labels[1:]], name="F",
            )  # fmt: skip
        self._see: Program = trace_pure(
            lambda *a: [np.reshape(system.observed(*self._split(a)), (-1,))], shapes, names=labels, name="Y"
        )
        n = self._size
        state = np.zeros(n + n * (n + 1) // 2, system.dtype)
        theta = [np.asarray(values[k]) for k in self._names]
        plain = [Abstract.of(a) for a in (state, *self._inputs, *theta)]
        seen = [Abstract.of(a) for a in (state, *self._inputs, system.y, *theta)]
        self.correct = trace(lambda *a: [self._corrected(*a)], seen, name="correction")
        self.predict = trace(lambda *a: [self._predicted(*a)], plain, name="prediction")
        self.look = trace(lambda *a: [self._shown(*a)], plain, name="output")

    def _split(self, arguments: Sequence[Any]) -> tuple[Any, Any, dict[str, Any]]:
        """h, x and θ of the filtered system, from the arguments of its programs."""
        h, *rest = arguments
        count = len(self._inputs)
        x, theta = unflatten(self._system.x, rest[:count]), rest[count:]
        return h, x, dict(zip(self._system.params, theta, strict=True))

    def _linearized(self, program: Program, mean: Any, given: Sequence[Any], theta: dict[str, Any]) -> tuple[Any, Any]:
        """Its value and its Jacobian in the state."""
        point = Linearized(program, [mean, *given, *(theta[k] for k in self._system.params)])
        return point.value[0], jacobian(point)

    def _given(self, rest: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        count = len(self._inputs)
        return rest[:count], dict(zip(self._names, rest[count:], strict=True))

    def _corrected(self, h: Any, *rest: Any) -> Any:
        count, n, m = len(self._inputs), self._size, self._outputs
        y, dtype = rest[count], self._system.dtype
        x, theta = self._given((*rest[:count], *rest[count + 1 :]))
        mean, upper = parts(h, n)
        prediction, slopes = self._linearized(self._see, mean, x, theta)
        missing = np.reshape(np.isnan(y), (m,))
        seen = np.where(missing, 0.0, 1.0).astype(dtype)
        # a product, and no choice: what is chosen from is guarded against infinite derivatives, all of the filter here
        error = seen * (np.where(missing, 0.0, np.reshape(y, (m,))) - prediction)
        through = np.dot(upper, np.transpose(slopes)) * seen
        noise, wide = self._observation.root(theta), np.zeros((m, n), dtype)
        lower = np.concatenate([through, upper], axis=1)
        if self._observation.diagonal:  # what was not seen meets nothing
            known = noise
        else:  # √R with the columns of what was seen, beside 1 for the rest
            known = np.diag(1.0 - seen)
            lower = np.concatenate([np.concatenate([noise * seen, wide], axis=1), lower])
        first = np.concatenate([np.concatenate([known, wide], axis=1), np.zeros((n, m + n), dtype)])
        made = ops.cholesky_update(first, lower)
        white = ops.solve_triangular(made[:m, :m], np.expand_dims(error, 1), transposed=True)
        step = np.reshape(np.dot(np.transpose(white), made[:m, m:]), (n,))
        return joined(mean + step, made[m:, m:])

    def _predicted(self, h: Any, *rest: Any) -> Any:
        x, theta = self._given(rest)
        noise, system = self._process.root(theta), self._system
        if system.dt is None:
            mean, upper = parts(h, self._size)
            after, slopes = self._linearized(self._move, mean, x, theta)
            return joined(after, self._spread(np.dot(upper, np.transpose(slopes)), noise))
        sample = unflatten(system.x, x)[system.dt] if isinstance(system.dt, str) else system.dt
        step = (
            np.asarray(sample / system.substeps, system.dtype)
            if isinstance(sample, float)
            else sample / system.substeps
        )
        if system.substeps == 1:
            return self._integrated(h, step, x, theta, noise)
        return repeat(lambda now: self._integrated(now, step, x, theta, noise), h, system.substeps)

    def _integrated(self, h: Any, dt: Any, x: Sequence[Any], theta: dict[str, Any], density: Any) -> Any:
        """Mean and factor after a step of the integrator, of length dt, with noise of this density all along it."""
        mean, upper = parts(h, self._size)
        after, whole = self._linearized(self._move, mean, [dt, *x], theta)
        middle = self._move(mean, 0.5 * dt, *x, *(theta[k] for k in self._system.params))[0]
        _, half = self._linearized(self._move, middle, [0.5 * dt, *x], theta)
        noise = density * np.sqrt(dt / 6.0).astype(self._system.dtype)
        rows = np.dot(np.concatenate([upper, noise]), np.transpose(whole))
        return joined(after, self._spread(np.concatenate([rows, np.dot(2.0 * noise, np.transpose(half))]), noise))

    def _spread(self, rows: Any, noise: Any) -> Any:
        """The factor of the sum of what rows, (k, n), and a factor, (n, n), stand for."""
        dtype = self._system.dtype
        if self._process.singular:
            square = np.sum(rows * rows, axis=0) + np.sum(noise * noise, axis=0)
            unit = BLUR * float(np.finfo(dtype).eps)
            rows = np.concatenate([rows, np.diag(deviations(unit * square))])
        if self._process.function is not None:  # a factor with rounding errors below its diagonal
            rows, noise = np.concatenate([noise, rows]), np.zeros((self._size, self._size), dtype)
        return ops.cholesky_update(noise, rows)

    def _shown(self, h: Any, *rest: Any) -> Any:
        x, theta = self._given(rest)
        mean, upper = parts(h, self._size)
        prediction, slopes = self._linearized(self._see, mean, x, theta)
        noise, rows = self._observation.root(theta), np.dot(upper, np.transpose(slopes))
        if self._observation.function is not None:
            rows, noise = np.concatenate([noise, rows]), np.zeros((self._outputs, self._outputs), self._system.dtype)
        return np.concatenate([prediction, packed(ops.cholesky_update(noise, rows), self._outputs)])
