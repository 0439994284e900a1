"""Small systems with samples, made for checking: few enough state variables that every pattern of noise can be tried.

All of them remember more than a few steps, but for those that are there because they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, TracingError
from fwdgrad.linear import EagerModel, Model, TracedModel
from fwdgrad.losses import CrossEntropy
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.system import System

__all__ = ["FAMILIES", "Problem", "families", "model_of", "problem_for"]

LARGEST = 4
"""State variables of a system that is given to be checked with all noise."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A system and samples for it; a missing target is None. Inputs are all that a transition is given."""

    name: str
    system: System
    xs: list[Any]
    ys: list[Any]

    def __repr__(self) -> str:
        return self.name

    @property
    def user_xs(self) -> list[Any]:
        """Inputs as a learner takes them, which adds the rest itself."""
        return [x["x"] for x in self.xs] if self.system.fed else self.xs

    def without(self, *missing: int) -> Problem:
        """The same with no target at these steps."""
        return Problem(self.name, self.system, self.xs, [None if t in missing else y for t, y in enumerate(self.ys)])


def model_of(system: System) -> Model:
    """The system by its traced programs, or by autograd if it cannot be traced."""
    try:
        return TracedModel(system)
    except TracingError:
        return EagerModel(system)


def problem_for(system: System, steps: int, seed: int = 0, name: str | None = None) -> Problem:
    """Random samples around a system's examples: zeros become standard Gaussian, other numbers move by 30 %.

    Targets of the kind of predictions lie around what the system predicts; symbols are drawn evenly.

    Raises:
        DeclarationError: `system` is not a System.
    """
    if not isinstance(system, System):
        raise DeclarationError(f"expected a fg.System, got {system!r}. Declare one: fg.System(F, Y, …).")
    rng = np.random.default_rng(seed)
    model = model_of(system)

    def around(example: Any, bound: int | None) -> Any:
        if example.dtype.kind == "i":
            return example if bound is None else np.asarray(rng.integers(bound, size=example.shape))
        moved = example * (1.0 + 0.3 * rng.uniform(-1, 1, example.shape))
        return np.where(example == 0, rng.normal(size=example.shape), moved).astype(example.dtype)

    def drawn(like: Any, bounds: list[int | None]) -> Any:
        return unflatten(like, [around(np.asarray(a), b) for a, b in zip(flatten(like), bounds, strict=True)])

    h, xs, ys = system.initial, [], []
    for _ in range(steps):
        x = drawn(system.given, model.x_bounds)
        with np.errstate(all="ignore"):
            h, prediction = model.advance(h, x, system.coordinates)
        prediction = np.asarray(prediction)
        plain = isinstance(system.y, np.ndarray) and system.y.dtype.kind == "f" and not np.any(system.y)
        near = plain and system.y.shape == prediction.shape and bool(np.all(np.isfinite(prediction)))
        noise = rng.normal(size=prediction.shape).astype(prediction.dtype)
        xs.append(x)
        ys.append(prediction + noise if near else drawn(system.y, model.y_bounds))
    return Problem(name or system.name, system, xs, ys)


def _leaves(seed: int, dtype: Any, **shapes: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {k: np.asarray(0.8 * rng.normal(size=s), dtype) for k, s in shapes.items()}


def network(n: int, dtype: Any = np.float64) -> System:
    """Fully connected: each parameter feeds one state variable, which feeds all."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["W"] @ h + p["U"] * x + p["b"])

    params = _leaves(1, dtype, W=(n, n), U=(n,), b=(n,), V=(2, n), c=(2,))
    return System(F, lambda h, x, p: p["V"] @ h + p["c"], np.full(n, 0.3, dtype), params, np.zeros((), dtype))


def product(n: int, dtype: Any = np.float64) -> System:
    """One matrix, in one product with the state."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["W"] @ h + x)

    return System(F, None, np.full(n, 0.3, dtype), _leaves(2, dtype, W=(n, n)), np.zeros(n, dtype))


def shared(n: int, dtype: Any = np.float64) -> System:
    """Heat on a ring: fewer parameters than state variables, each feeding all of them. Rates, with a step."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return p["conduct"] * (np.roll(h, 1) + np.roll(h, -1) - 2.0 * h) - p["lose"] * h * h + x

    params = {"conduct": np.asarray(0.3, dtype), "lose": np.asarray(0.2, dtype), "gain": np.asarray(0.7, dtype)}
    state = np.linspace(1.0, 2.0, n).astype(dtype)
    Y = lambda h, x, p: p["gain"] * np.sum(h[:2])  # noqa: E731
    return System(F, Y, state, params, np.zeros(n, dtype), dt=0.5, method="euler")


def oscillator(n: int = 2, dtype: Any = np.float64) -> System:
    """Named states and inputs, a frozen parameter, parameters that F and Y share, a loss without a known gradient."""

    def F(s: Any, x: Any, p: Any) -> Any:
        pull = p["spring"] * s["q"] + p["drag"] * s["v"]
        return {"q": s["v"] + 0.0 * p["mass"], "v": (x["push"] - pull) / p["mass"]}

    def Y(s: Any, x: Any, p: Any) -> Any:
        return np.stack([p["spring"] * s["q"], s["v"] + p["offset"]])

    values = {"spring": 0.9, "drag": 0.3, "mass": 1.5, "offset": 0.1}
    return System(
        F,
        Y,
        {"q": np.asarray(0.5, dtype), "v": np.asarray(-0.4, dtype)},
        {k: np.asarray(v, dtype) for k, v in values.items()},
        {"push": np.zeros((), dtype)},
        loss=lambda yhat, y: np.sum(np.log(np.cosh(yhat - y))),
        dt=0.4,
        method="euler",
        frozen=["mass"],
    )


def symbols(n: int, dtype: Any = np.float64) -> System:
    """Symbols in, symbols out: a column of R has an effect only when its symbol is seen."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return p["R"][:, x] + p["W"] @ np.tanh(h)

    params = _leaves(3, dtype, W=(n, n), R=(n, 2), V=(2, n))
    return System(F, lambda h, x, p: p["V"] @ np.tanh(h), np.full(n, 0.2, dtype), params, 0, CrossEntropy())


def silent(n: int = 3, dtype: Any = np.float64) -> System:
    """Zeros everywhere: a state variable without parameters, leaves without effect at first, rows that cancel."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.stack([h[0] + p["a"] * x * h[1], h[0] * h[2] - p["b"] * x, 0.9 * h[1]])

    params = {"a": np.asarray(0.8, dtype), "b": np.asarray(0.6, dtype)}
    return System(F, None, np.asarray([0.4, 0.3, 0.2], dtype), params, np.zeros((), dtype))


def forgetful(n: int = 2, dtype: Any = np.float64) -> System:
    """A = 0: the state forgets everything at every step."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["a"] * x + p["b"] * x * x)

    return System(F, None, np.zeros(n, dtype), _leaves(4, dtype, a=(n,), b=(n,)), np.zeros((), dtype))


def resting(n: int, dtype: Any = np.float64) -> System:
    """A = B = 0 where the input is zero."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return x * np.tanh(p["d"] * h + p["b"])

    return System(F, None, np.full(n, 0.5, dtype), _leaves(5, dtype, d=(n,), b=(n,)), np.zeros((), dtype))


@dataclass(frozen=True)
class Family:
    """A built-in system in several sizes, the largest first."""

    build: Callable[..., System]
    sizes: tuple[int, ...]
    remembers: bool = True
    zero: int | None = None
    """A step whose input is zero."""


FAMILIES = (
    Family(network, (4, 3, 2, 1)),
    Family(product, (4, 3, 2)),
    Family(shared, (4, 3, 2)),
    Family(oscillator, (2,)),
    Family(symbols, (3, 2)),
    Family(silent, (3,), zero=0),
    Family(resting, (2, 1), remembers=False, zero=1),
    Family(forgetful, (2,), remembers=False),
)


def families(system: System | None, steps: int, seed: int) -> Iterator[list[Problem]]:
    """For each built-in family its problems, the largest first; or for the system that is given, that one.

    Raises:
        DeclarationError: the system given has too many state variables, or none that a parameter influences.
    """
    if system is not None:
        problem = problem_for(system, steps, seed)
        if not model_of(system).leaves:
            raise DeclarationError(
                f"{system.name}: no learned parameter is used by F, so there is no influence to keep."
            )
        if system.size > LARGEST:
            raise DeclarationError(
                f"{system.name} has {system.size} state variables; all noise can be tried for up to {LARGEST}.\n"
                "Declare a small one of the same kind."
            )
        yield [problem]
        return
    for family in FAMILIES:
        made = [
            problem_for(family.build(n), steps, seed, f"built-in {family.build.__name__} of {n} state variables")
            for n in family.sizes
        ]
        yield [_hushed(p, family.zero) for p in made]


def _hushed(problem: Problem, zero: int | None) -> Problem:
    """The same with a zero input at one step."""
    xs = [np.zeros_like(x) if t == zero else x for t, x in enumerate(problem.xs)]
    return Problem(problem.name, problem.system, xs, problem.ys)
