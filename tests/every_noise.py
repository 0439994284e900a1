"""Enumeration of everything that an influence draws: several arrays a step, and what is drawn once, at the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from oracles import (
    Case,
    Runner,
    Weighted,
    all_signs,
    assert_close,
    enumerated,
    influence_matrices,
    mean,
    total_gradients,
)

from fwdgrad import Estimator, System


class Everything(Runner):
    """A runner whose noise of a step is one vector, cut into the arrays that are drawn; so is what starts it."""

    start: tuple[Any, ...] = ()

    def initial(self) -> Any:
        return self.execution.initial(self.start)

    def shapes(self, when: str) -> list[tuple[int, ...]]:
        return [spec.shape for spec in self.execution.specs if spec.when == when]

    def cut(self, vector: Any, when: str) -> tuple[Any, ...]:
        parts, at = [], 0
        for shape in self.shapes(when):
            size = int(np.prod(shape))
            parts.append(np.reshape(np.asarray(vector, self.dtype)[at : at + size], shape))
            at += size
        return tuple(parts)

    def count(self, when: str) -> int:
        return sum(int(np.prod(shape)) for shape in self.shapes(when))

    def noises(self, t: int, patterns: Sequence[Any]) -> list[tuple[Any, ...]]:
        return [self.cut(p, "step") for p in patterns]

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.count("step"),)


def everywhere_unbiased(
    case: Case,
    estimator: Estimator,
    steps: int,
    tolerance: float = 1e-12,
    starts: Weighted | None = None,
    engine: str = "numpy",
) -> None:
    """Over every start and all signs of all steps, the means of G̃ and g are ∂h/∂θ and ∂ℓ/∂θ, at every step."""
    runner = Everything(case, estimator, engine)
    window = runner.length
    short = replace(case, xs=case.xs[: steps * window], ys=case.ys[: steps * window])
    gradients, matrices = total_gradients(short), influence_matrices(short)
    shares, vectors = all_signs((runner.count("start"),)) if starts is None else starts
    found = []
    for vector in vectors:
        runner.start = runner.cut(vector, "start")
        found.append(enumerated(runner, steps))
    finals = [level[-1].influence for level in found]
    between = max(float(np.max(np.std([g[k] for g in finals], axis=0))) for k in finals[0])
    assert max(between, *(level.spread for levels in found for level in levels)) > 1e-3, "nothing was random"
    for number in range(steps):
        last = (number + 1) * window - 1
        summed = {k: sum(g[k] for g in gradients[last + 1 - window : last + 1]) for k in gradients[0]}
        influence = mean([levels[number].influence for levels in found], shares)
        gradient = mean([levels[number].gradient for levels in found], shares)
        exact = {k: matrices[last][k] for k in influence}
        assert_close(influence, exact, tolerance, f"{case}: mean influence after step {last}")
        assert_close(gradient, summed, tolerance, f"{case}: mean gradient after step {last}")


def frozen(case: Case, names: Sequence[str]) -> Case:
    """The same with some parameters that are not learned."""
    s = case.system
    return replace(
        case, system=System(s.F, s.Y, s.state, s.params, s.x, s.loss, dt=s.dt, method=s.method, frozen=list(names))
    )


def left(n: int = 2, steps: int = 4) -> Case:
    """Rows times matrices: h W + U x + r[s], two of three matrices transposed, one of them through .T."""
    rng = np.random.default_rng(31)

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(h @ p["W"] + p["U"].T @ x["u"] + p["R"][x["s"]])

    params = {k: 0.7 * rng.normal(size=s) for k, s in (("W", (n, n)), ("U", (3, n)), ("R", (3, n)))}
    xs = [{"u": rng.normal(size=3), "s": int(rng.integers(3))} for _ in range(steps)]
    ys = [rng.normal(size=n) for _ in range(steps)]
    return Case("left", System(F, None, 0.3 * np.ones(n), params, {"u": np.zeros(3), "s": 0}), xs, ys)


def products(n: int = 2, steps: int = 4) -> Case:
    """A network without biases: two matrices, each in one product; at the second step the input is zero."""
    rng = np.random.default_rng(32)

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["W"] @ h + p["U"] @ x)

    params = {k: 0.7 * rng.normal(size=s) for k, s in (("W", (n, n)), ("U", (n, 3)), ("V", (1, n)))}
    xs = [rng.normal(size=3) * (t != 1) for t in range(steps)]
    ys = [rng.normal(size=1) for _ in range(steps)]
    system = System(F, lambda h, x, p: p["V"] @ h, 0.3 * np.ones(n), params, np.zeros(3))
    return Case("products", system, xs, ys)
