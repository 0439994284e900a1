"""Second derivatives forward in time: the Hessian of each step's loss in θ, exactly or as an unbiased random estimate.

With G = ∂h/∂θ, shape (n, p), and C = ∂²h/∂θ², shape (n, p, p), differentiating h' = F(h, x, θ) twice gives

    G' = A G + B,        C' = A C + Σ_i e_i ⊗ Mᵀ Q_i M,        M = (G; Id), shape (n + p, p)

where Q_i is the Hessian of F_i in (h, θ) together. The second recursion is affine in C. With L(h, θ) the loss of a step
as a function of the state before it, and c = ∂L/∂h,

    ∂ℓ/∂θ = c G + ∂L/∂θ,        ∂²ℓ/∂θ² = c C + Mᵀ (∂²L) M

so that the last step is exact, as it is for gradients. No past is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import DataError, DeclarationError, NonFiniteError, ShapeError, StepError
from fwdgrad.influence.reduction import Complex, dense, reduce, roots_of_unity
from fwdgrad.learning.samples import SampleReader
from fwdgrad.linear import TracedModel
from fwdgrad.program import Abstract, Linearized, trace
from fwdgrad.support import display
from fwdgrad.support.arguments import suggests
from fwdgrad.support.trees import cut, flatten, unflatten
from fwdgrad.support.types import Leaves
from fwdgrad.system import OWN, System

__all__ = ["OnlineHessian"]


@suggests
class OnlineHessian:
    """Hessian of the loss of each step in the learned parameters, through the whole past, as the samples come in.

    ``exact=True`` keeps C in full: n·p² numbers and n·p Hessian-vector products of F a step. For small systems.

    ``exact=False`` keeps C̃ = Re v ⊗ a ⊗ b with mean C, and two independent rank-one estimates G̃₁, G̃₂ of G: 4n + 6p
    numbers, and a cost of some ten gradients a step, whatever n and p. A step's term Σ_i e_i ⊗ Mᵀ Q_i M becomes
    ν ⊗ M̃₁ᵀ z ⊗ M̃₂ᵀ (Q_ν z), with random signs ν and z, and Q_ν z one Hessian-vector product of ν·F; a cube root of
    unity merges it with the past (`fwdgrad.reduction`). The two estimates of G must not share their noise, since C' is
    quadratic in G. Unbiased for fixed θ, at every step; of a variance that grows with n + p, so that means over many
    steps or copies are what it is for.

    For one direction u that stays fixed, ∂²ℓ/∂θ² u is a first derivative: that of the tangent system with state
    (h, G u). Any estimator of gradients takes that, with less noise.

    Args:
        system: what is differentiated. Its functions have to be traceable; a learned initial state and injection are
            refused.
        exact: see above.
        copies: independent copies of the random estimate, which are averaged.
        seed: of the random numbers, or a Generator.

    Raises:
        DeclarationError: `copies` is no positive integer, or not 1 with exact=True; or the system is of a kind that is
            refused; or `seed` is not a seed.
        TracingError: F, Y or the loss cannot be traced.

    Derivatives are in what is learned, the system's `coordinates`: in log θ for a `positive` parameter.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> def F(h, x, theta):
        ...     return theta["a"] * h + x
        >>> system = fg.System(F, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
        >>> hessian = OnlineHessian(system, exact=True)
        >>> for _ in range(3):
        ...     loss = hessian.step(np.ones(1), np.zeros(1))  # h = 1 + a + a², and ℓ = h²/2
        >>> hessian.matrix()  # (1 + 2a)² + 2h
        array([[7.5]])
        >>> hessian.product({"a": 2.0})
        {'a': array(15.)}
    """

    def __init__(self, system: System, *, exact: bool = False, copies: int = 1, seed: Any = 0) -> None:
        if not isinstance(system, System):
            raise DeclarationError(f"OnlineHessian: expected a System, got {system!r}.")
        if isinstance(copies, bool) or not isinstance(copies, (int, np.integer)) or copies < 1:
            raise DeclarationError(f"OnlineHessian(copies=…): expected an integer of at least 1, got {copies!r}.")
        if exact and copies > 1:
            raise DeclarationError(
                f"OnlineHessian(copies={copies}): copies of what is exact are all the same. Use one."
            )
        if system.init is not None or system.corrects:
            raise DeclarationError(
                "OnlineHessian: the state starts from parameters, or is corrected by what was seen.\n"
                "Declare the system without a learned initial state and without injection."
            )
        self.system = system
        self.parameters = tuple(system.trainable)
        self._derivatives = _Derivatives(system)
        self._form: Any = _Exact() if exact else _Random(int(copies))
        try:
            self._rng = np.random.default_rng(seed)
        except (TypeError, ValueError):
            raise DeclarationError(
                f"OnlineHessian(seed=…): expected an integer of at least 0, or a numpy Generator; got {seed!r}."
            ) from None
        self._reader = SampleReader(self._derivatives.model)
        self.reset()

    def __repr__(self) -> str:
        how = "exact" if isinstance(self._form, _Exact) else "random"
        return f"OnlineHessian of {self.system.name}: {display.counted(len(self._h), 'state variable')}, {how}"

    def _repr_html_(self) -> str:
        return display.page(repr(self))

    def reset(self) -> None:
        """Start again from the declared state and parameters, with ∂h/∂θ = 0."""
        self._coordinates = dict(self.system.coordinates)
        self._h = self.system.initial
        self._start = [np.asarray(OWN, self.system.dtype)] if self.system.marked else []
        self._kept = self._form.init(self.system.size, self._derivatives.count)
        self._seen: tuple[_Point, Any] | None = None
        self._t = 0

    def step(self, x: Any, y: Any = None, params: Mapping[str, Any] | None = None) -> float:
        """One step of the system; the loss. What the other methods give is about this step.

        Args:
            x: the input.
            y: the target; None or NaN if there is none, which makes loss NaN and derivatives zero.
            params: parameters to go on with, such as ``learner.params``; by default those of the last step.

        Raises:
            ShapeError, DataError: the sample is not of the declared kind.
            NonFiniteError: the state, the loss or what is carried along is no longer finite. Everything but the random
                numbers is then as it was before the step.
        """
        flat_x, flat_y, observed = self._reader.sample(x, y, self._t)
        coordinates = self._coordinates if params is None else self.system.learned(params)
        try:
            with np.errstate(all="ignore"):
                point = self._derivatives.at(self._h, [*flat_x, *self._start], flat_y, coordinates, observed)
                self._check("the state", point.after)
                self._check("the loss", point.loss if observed else 0.0)
                after = self._form.advance(self._kept, point, self._form.noise(self._rng, point))
                self._check("what is carried of the derivatives", after)
        except StepError as error:
            error.placed(self._t, left="; OnlineHessian is left as it was before that step")
            raise
        self._seen = point, self._kept
        self._coordinates, self._kept, self._h = coordinates, after, point.after
        self._start = [np.zeros_like(mark) for mark in self._start]
        self._t += 1
        return float(point.loss) if observed else np.nan

    def _check(self, quantity: str, values: Any) -> None:
        if not all(np.all(np.isfinite(leaf)) for leaf in flatten(values)):
            raise NonFiniteError(
                f"OnlineHessian: {quantity} is not finite at step {self._t}.\n"
                "Usual causes: a system that is unstable, or parameters that are too large.",
                step=self._t,
                quantity=quantity,
            )

    def gradient(self) -> Leaves:
        """∂ℓ/∂θ of the last step's loss: exact, or unbiased."""
        return self._leaves(self._form.gradient(*self._last()))

    def product(self, direction: Mapping[str, Any]) -> Leaves:
        """∂²ℓ/∂θ² · direction: exact, or unbiased.

        Args:
            direction: an array of the parameter's shape for each learned parameter; one left out is zero.

        Raises:
            ShapeError: there is no such parameter, or it has another shape.
            DataError: numbers that are not finite.
        """
        return self._leaves(self._form.product(*self._last(), self._vector(direction)))

    def diagonal(self) -> Leaves:
        """The diagonal of ∂²ℓ/∂θ²: exact, or unbiased, by random signs that are drawn at each call."""
        return self._leaves(self._form.diagonal(*self._last(), self._rng))

    def matrix(self) -> np.ndarray:
        """∂²ℓ/∂θ² in full, (p, p), parameters in the order of `parameters`: p products, each with all of the past."""
        point, kept = self._last()
        return np.stack([self._form.product(point, kept, row) for row in np.eye(self._derivatives.count)], axis=1)

    def influence_tensor(self) -> np.ndarray:
        """∂²h/∂θ² after the last step, in full, (n, p, p): exact, or unbiased."""
        return self._form.dense(self._kept)

    def _last(self) -> tuple[_Point, Any]:
        if self._seen is None:
            raise DeclarationError("OnlineHessian: there was no step yet. Call step(x, y) first.")
        return self._seen

    def _vector(self, direction: Mapping[str, Any]) -> np.ndarray:
        if not isinstance(direction, Mapping):
            raise ShapeError(f"product: direction: expected a dict of arrays by parameter, got {direction!r}.")
        parts = []
        for k in self.parameters:
            like = self._coordinates[k]
            given = direction.get(k, np.zeros(like.shape))
            try:
                part = np.asarray(given, float)
            except (TypeError, ValueError):
                raise ShapeError(f"product: direction[{k!r}]: expected numbers, got {given!r}.") from None
            if part.shape != like.shape:
                raise ShapeError(f"product: direction[{k!r}]: expected shape {like.shape}, got {part.shape}.")
            if not np.all(np.isfinite(part)):
                raise DataError(f"product: direction[{k!r}]: expected finite numbers, got {given!r}.")
            parts.append(np.ravel(part))
        unknown = [k for k in direction if k not in self.parameters]
        if unknown:
            raise ShapeError(
                f"product: {unknown[0]!r} is no learned parameter; there are {', '.join(self.parameters)}."
            )
        return np.concatenate(parts)

    def _leaves(self, vector: np.ndarray) -> Leaves:
        return self._derivatives.split(vector)


# ---------------------------------------------------------------- one step's derivatives


class _Derivatives:
    """(h, θ) ↦ (h', ℓ) of a system with its first and second derivatives, as compiled programs; θ a flat vector."""

    def __init__(self, system: System) -> None:
        self.model = TracedModel(system)
        x, y, names = flatten(system.given), flatten(system.y), list(system.coordinates)
        self._shapes = {k: system.coordinates[k].shape for k in system.trainable}
        self.count = sum(int(np.prod(s, dtype=int)) for s in self._shapes.values())
        first = 1 + len(x) + len(y)
        moving = [0, *(first + names.index(k) for k in system.trainable)]
        example = [Abstract.of(a) for a in (system.initial, *x, *y, *system.coordinates.values())]
        state, scalar = example[0], Abstract((), system.dtype)
        directions = [example[k] for k in moving]

        def step(h: Any, *rest: Any) -> Any:
            given, target = unflatten(system.given, rest[: len(x)]), unflatten(system.y, rest[len(x) : first - 1])
            coordinates = dict(zip(names, rest[first - 1 :], strict=True))
            after = system.transition(h, given, coordinates)
            return after, system.loss.value(system.output(after, given, coordinates), target)

        whole = trace(step, example, name="step")

        def along(*flat: Any) -> Any:
            lin = Linearized(whole, flat[: len(example)])
            return lin.jvp(dict(zip(moving, flat[len(example) :], strict=True)))[:1]

        def back(*flat: Any) -> Any:
            return Linearized(whole, flat[: len(example)]).vjp(flat[len(example) :], moving)

        backward = trace(back, [*example, state, scalar], name="backward")

        def twice(*flat: Any) -> Any:
            count = len(example) + 2
            return Linearized(backward, flat[:count]).jvp(dict(zip(moving, flat[count:], strict=True)))

        self._step = compile_program(whole)
        self._along = compile_program(trace(along, [*example, *directions], name="along"))
        self._back = compile_program(backward)
        self._twice = compile_program(trace(twice, [*example, state, scalar, *directions], name="twice"))

    def at(self, h: Any, x: Any, y: Any, coordinates: Leaves, observed: bool) -> _Point:
        """Everything of a step at (h, x, y, θ)."""
        arguments = (h, *x, *y, *coordinates.values())
        after, loss = self._step(*arguments)
        return _Point(self, arguments, np.asarray(after), loss, np.asarray(float(observed), h.dtype))

    def split(self, vector: np.ndarray) -> Leaves:
        """θ-shaped arrays from a flat vector."""
        return dict(zip(self._shapes, cut(vector, self._shapes.values()), strict=True))


@dataclass(frozen=True)
class _Point:
    """(h, θ) ↦ s = ν·h' + κ ℓ near a point, for any ν and κ. A loss without target counts as zero."""

    of: _Derivatives
    arguments: tuple[Any, ...]
    after: np.ndarray
    loss: Any
    observed: np.ndarray

    def along(self, state: Any, theta: Any) -> Any:
        """∂h'/∂h · state + ∂h'/∂θ · theta."""
        return self.of._along(*self.arguments, state, *self.of.split(theta).values())[0]

    def slope(self, nu: Any, kappa: float) -> tuple[Any, Any]:
        """∂s/∂h and ∂s/∂θ."""
        return _flat(self.of._back(*self.arguments, nu, self.observed * kappa))

    def bend(self, nu: Any, kappa: float, state: Any, theta: Any) -> tuple[Any, Any]:
        """The Hessian of s in (h, θ), times a direction."""
        leaves = self.of.split(theta).values()
        return _flat(self.of._twice(*self.arguments, nu, self.observed * kappa, state, *leaves))

    def of_loss(self) -> tuple[Any, Any]:
        """c = ∂L/∂h, and ∂L/∂θ."""
        return self.slope(np.zeros_like(self.after), 1.0)

    def bend_of_loss(self, state: Any, theta: Any) -> tuple[Any, Any]:
        """The Hessian of L, times a direction."""
        return self.bend(np.zeros_like(self.after), 1.0, state, theta)


def _flat(arrays: Any) -> tuple[Any, Any]:
    state, *leaves = arrays
    return state, np.concatenate([np.ravel(a) for a in leaves])


# ---------------------------------------------------------------- what is kept of the past


class _ExactState(NamedTuple):
    G: np.ndarray
    """(n, p)"""
    C: np.ndarray
    """(n, p, p)"""


class _Exact:
    """G and C in full."""

    def init(self, n: int, p: int) -> _ExactState:
        return _ExactState(np.zeros((n, p)), np.zeros((n, p, p)))

    def noise(self, rng: np.random.Generator, point: _Point) -> None:
        return None

    def advance(self, kept: _ExactState, point: _Point, noise: None) -> _ExactState:
        n, p = kept.G.shape
        columns = np.eye(p)
        G = np.stack([point.along(kept.G[:, j], columns[j]) for j in range(p)], axis=1)
        A = np.stack([point.along(row, np.zeros(p)) for row in np.eye(n)], axis=1)
        C = np.tensordot(A, kept.C, axes=1)
        for i, nu in enumerate(np.eye(n)):
            bends = [point.bend(nu, 0.0, kept.G[:, j], columns[j]) for j in range(p)]
            C[i] += np.stack([q_h @ kept.G + q_theta for q_h, q_theta in bends], axis=1)
        return _ExactState(G, C)

    def gradient(self, point: _Point, kept: _ExactState) -> Any:
        c, direct = point.of_loss()
        return c @ kept.G + direct

    def product(self, point: _Point, kept: _ExactState, u: Any) -> Any:
        c, _ = point.of_loss()
        q_h, q_theta = point.bend_of_loss(kept.G @ u, u)
        return np.tensordot(c, kept.C, axes=1) @ u + q_h @ kept.G + q_theta

    def diagonal(self, point: _Point, kept: _ExactState, rng: np.random.Generator) -> Any:
        return np.array([self.product(point, kept, e)[j] for j, e in enumerate(np.eye(kept.G.shape[1]))])

    def dense(self, kept: _ExactState) -> np.ndarray:
        return kept.C


class _RandomState(NamedTuple):
    """Of every copy, along the first axis."""

    v: np.ndarray
    """(copies, 2, n): the first factors of two estimates of G."""
    w: np.ndarray
    """(copies, 2, p): their second factors."""
    tensor: tuple[Complex, ...]
    """(copies, n), (copies, p), (copies, p): the factors of C̃."""


class _Noise(NamedTuple):
    """Of one step, for every copy."""

    signs: np.ndarray
    """(copies, 2, n), for the two estimates of G."""
    nu: np.ndarray
    """(copies, n)"""
    z: np.ndarray
    """(copies, n + p)"""
    root: np.ndarray
    """(copies,): which cube root of unity."""


@dataclass(frozen=True)
class _Random:
    """Two independent estimates v wᵀ of G, and Re v ⊗ a ⊗ b of C, in `copies` copies."""

    copies: int

    def init(self, n: int, p: int) -> _RandomState:
        k = self.copies
        tensor = tuple(Complex(np.zeros((k, size)), np.zeros((k, size))) for size in (n, p, p))
        return _RandomState(np.zeros((k, 2, n)), np.zeros((k, 2, p)), tensor)

    def noise(self, rng: np.random.Generator, point: _Point) -> _Noise:
        k, n, p = self.copies, len(point.after), point.of.count

        def signs(*shape: int) -> np.ndarray:
            return rng.choice([-1.0, 1.0], (k, *shape))

        return _Noise(signs(2, n), signs(n), signs(n + p), rng.integers(3, size=k).astype(float))

    def advance(self, kept: _RandomState, point: _Point, noise: _Noise) -> _RandomState:
        made = [self._advance_one(_copy(kept, k), point, _Noise(*(a[k] for a in noise))) for k in range(self.copies)]
        v, w, tensors = zip(*made, strict=True)
        factors = [Complex(*(np.stack(part) for part in zip(*f, strict=True))) for f in zip(*tensors, strict=True)]
        return _RandomState(np.stack(v), np.stack(w), tuple(factors))

    def _advance_one(self, kept: _RandomState, point: _Point, noise: _Noise) -> _RandomState:
        n, p = len(point.after), point.of.count
        nothing = np.zeros(p)
        pairs = []
        for v, w, signs in zip(kept.v, kept.w, noise.signs, strict=True):
            terms = np.stack([point.along(v, nothing), signs]), np.stack([w, point.slope(signs, 0.0)[1]])
            pairs.append(reduce(terms, np.ones(2)))  # a sign for each row of B is in the second term already
        z_h, z_theta = noise.z[:n], noise.z[n:]
        q_h, q_theta = point.bend(noise.nu, 0.0, z_h, z_theta)
        (v1, v2), (w1, w2) = kept.v, kept.w
        new = noise.nu, (z_h @ v1) * w1 + z_theta, (q_h @ v2) * w2 + q_theta
        first = Complex(*(point.along(part, nothing) for part in kept.tensor[0]))
        old = first, *kept.tensor[1:]
        roots = roots_of_unity(3, np.array([0.0, noise.root]))
        merged = reduce(
            [Complex(np.stack([x.real, y]), np.stack([x.imag, 0.0 * y])) for x, y in zip(old, new, strict=True)], roots
        )
        return _RandomState(np.stack([v for v, _ in pairs]), np.stack([w for _, w in pairs]), tuple(merged))

    def gradient(self, point: _Point, kept: _RandomState) -> Any:
        c, direct = point.of_loss()
        return np.mean((kept.v @ c)[..., None] * kept.w, axis=(0, 1)) + direct

    def product(self, point: _Point, kept: _RandomState, u: Any) -> Any:
        return np.mean([self._product_one(point, _copy(kept, k), u) for k in range(self.copies)], axis=0)

    def _product_one(self, point: _Point, kept: _RandomState, u: Any) -> Any:
        """Of one copy, the mean of the estimate and its transpose."""
        c, _ = point.of_loss()
        total: Any = 0.0
        for one, two in ((0, 1), (1, 0)):
            q_h, q_theta = point.bend_of_loss(kept.v[two] * (kept.w[two] @ u), u)
            total = total + (q_h @ kept.v[one]) * kept.w[one] + q_theta
        v, a, b = (f.real + 1j * f.imag for f in kept.tensor)
        return 0.5 * (total + np.real((c @ v) * ((b @ u) * a + (a @ u) * b)))

    def diagonal(self, point: _Point, kept: _RandomState, rng: np.random.Generator) -> Any:
        """c·C̃ has its own; of the last step's Hessian, E z ∘ (Hess z) for random signs z."""
        made = []
        for k in range(self.copies):
            copy = _copy(kept, k)
            c, _ = point.of_loss()
            z = rng.choice([-1.0, 1.0], point.of.count)
            nothing = copy._replace(tensor=tuple(Complex(0.0 * f.real, 0.0 * f.imag) for f in copy.tensor))
            v, a, b = (f.real + 1j * f.imag for f in copy.tensor)
            made.append(z * self._product_one(point, nothing, z) + np.real((c @ v) * a * b))
        return np.mean(made, axis=0)

    def dense(self, kept: _RandomState) -> np.ndarray:
        return dense(kept.tensor)


def _copy(kept: _RandomState, k: int) -> _RandomState:
    return _RandomState(kept.v[k], kept.w[k], tuple(Complex(f.real[k], f.imag[k]) for f in kept.tensor))
