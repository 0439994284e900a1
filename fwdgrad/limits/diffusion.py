"""The limit of small steps itself: the pair of stochastic differential equations of a rank-one influence.

    dv = J v dt + Σ_i σ_i e_i dW_i,      dw = Σ_i (b_i/σ_i) dW_i,      ‖v‖ = ‖w‖ at all times

with J = ∂F/∂h, b_i the rows of ∂F/∂θ and σ_i = √‖b_i‖ along the trajectory h(t). The last condition is the gauge: v and
w are multiplied by e^κ and e^−κ so that it holds, which leaves v wᵀ as it is but decides how large the next noise is
beside them. E[v wᵀ] = G for any gauge; higher moments depend on it.

With one scale for all, ρ = √(‖Bᵀε‖/‖ε‖) depends on the signs, and what is left of them in the limit is the covariance
of the increments (ρ ε, Bᵀε/ρ): any noise of that covariance has the same limit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DataError, DeclarationError, ShapeError, nearly
from fwdgrad.limits.reference import tangent, variational
from fwdgrad.limits.timed import OfTime, Timed, grid
from fwdgrad.support import display
from fwdgrad.support.arguments import integer
from fwdgrad.support.notice import Progress
from fwdgrad.system import System

__all__ = ["SCALES", "Limit", "diffusion", "increments", "same_law"]

SCALES = ("unit", "common")
"""Of `RankOne`: those whose limits are known here."""

MOST = 12
"""State variables, at most, for the mean over all signs."""


class Limit(NamedTuple):
    """R replicas of the limit at the horizon."""

    v: np.ndarray
    """Shape (R, n)."""
    w: np.ndarray
    """Shape (R, p)."""

    def __repr__(self) -> str:
        return f"Limit of {display.counted(len(self.v), 'replica')}: v of {self.v.shape[1]}, w of {self.w.shape[1]}"

    def _repr_html_(self) -> str:
        sizes = ((name, np.mean(np.sum(part**2, axis=1))) for name, part in (("E‖v‖²", self.v), ("E‖w‖²", self.w)))
        return display.page(repr(self), display.pairs((name, f"{size:.4g}") for name, size in sizes))

    @property
    def matrices(self) -> np.ndarray:
        """G̃ = v wᵀ, shape (R, n, p)."""
        return self.v[:, :, None] * self.w[:, None, :]


def diffusion(
    system: System,
    x_of_t: OfTime | None,
    horizon: float,
    dt: float,
    replicas: int,
    *,
    scale: str = "unit",
    params: Mapping[str, Any] | None = None,
    seed: int | np.random.Generator = 0,
    progress: bool | Callable[[int, int], None] = False,
) -> Limit:
    """Simulate the limit by Euler–Maruyama, with Gaussian increments, along the solution by scipy.

    Args:
        system: declared by its rate.
        x_of_t: the input as a function of the time; None for an autonomous system.
        horizon: t at the end; the start is 0.
        dt: step of the simulation; its weak error is O(δt).
        replicas: R.
        scale: "unit" (NoBackTrack) or "common" (UORO, with signs).
        params: θ; the declared values unless given.
        seed: an integer or a generator.
        progress: True for a bar, or a function called with (steps done, steps in all).

    Cost: (n² + n p) R numbers a step, by NumPy. With "common" also a mean over 2ⁿ signs a step.

    Raises:
        DeclarationError: something is asked for that makes no sense.
        NonFiniteError: the trajectory ends before the horizon.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> system = fg.System(lambda h, x, p: p["a"] * np.ones(1) - h, None, np.zeros(1), {"a": 2.0}, dt=0.1)
        >>> made = diffusion(system, None, horizon=1.0, dt=1 / 64, replicas=4000)
        >>> print(f"{made.matrices.mean():.1f} {1 - np.exp(-1):.1f}")
        0.6 0.6
    """
    if scale not in SCALES:
        raise DeclarationError(
            f"diffusion(scale=…): expected one of {', '.join(SCALES)}, got {scale!r}." + nearly(scale, SCALES)
        )
    if scale == "common" and system.size > MOST:
        raise DeclarationError(
            f"diffusion(scale='common'): a mean over 2ⁿ signs; expected n ≤ {MOST}, got {system.size}."
        )
    replicas = integer("diffusion", "replicas", replicas, 1)
    timed = Timed(system, x_of_t, params=params, who="diffusion")
    steps = int(grid(horizon, [dt], "diffusion")[0])
    rng = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)
    times = dt * np.arange(1, steps + 1)
    with Progress("diffusion", progress, steps, "step") as shown:
        function = tangent(timed)
        states = np.concatenate([timed.map.initial[None], variational(timed, times).states[:-1]])
        v = w = np.zeros((replicas, 0))
        for t, h in zip(times - dt, states, strict=True):
            _, J, b = function(h, timed.x(float(t)), timed.params)
            if not w.size:
                v, w = np.zeros((replicas, len(b))), np.zeros((replicas, b.shape[1]))
            up = _gauge(v, w)
            L = increments(b, scale)
            noise = np.sqrt(dt) * rng.standard_normal((replicas, L.shape[1])) @ L.T
            v = up * (v + dt * v @ J.T) + noise[:, : len(b)]
            w = w / up + noise[:, len(b) :]
            shown.add(1)
    return Limit(v, w)


def same_law(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Two samples of random matrices: the p-value of Kolmogorov and Smirnov's test for each of several functionals.

    Args:
        first: shape (R, n, p), such as `Refined.matrices` at one δt.
        second: shape (R', n, p), such as `Limit.matrices`.

    Returns:
        By the name of the functional: every entry, their sum, and the Frobenius norm. If the laws are the same, the
        least of m values is below α/m in at most a share α of cases.

    Raises:
        ShapeError: the matrices are of different shapes.
        DataError: there are none, or some are not finite.

    Example:
        >>> import numpy as np
        >>> a, b = np.random.default_rng(0).normal(size=(2, 500, 1, 1))
        >>> print({k: bool(v > 0.01) for k, v in same_law(a, b).items()})
        {'G[0, 0]': True, 'sum': True, 'norm': True}
    """
    from scipy.stats import ks_2samp  # takes long to load

    first, second = np.asarray(first), np.asarray(second)
    if first.ndim != 3 or second.ndim != 3 or first.shape[1:] != second.shape[1:]:
        raise ShapeError(
            f"same_law: expected two stacks of matrices of one shape, got {first.shape} and {second.shape}."
        )
    if not (len(first) and len(second) and np.all(np.isfinite(first)) and np.all(np.isfinite(second))):
        raise DataError("same_law: expected finite numbers, of at least one replica each; got NaN, inf or none.")

    def functionals(G: np.ndarray) -> dict[str, np.ndarray]:
        entries = {f"G[{i}, {j}]": G[:, i, j] for i, j in np.ndindex(G.shape[1:])}
        return entries | {"sum": G.sum(axis=(1, 2)), "norm": np.linalg.norm(G, axis=(1, 2))}

    one, other = functionals(first), functionals(second)
    return {k: float(ks_2samp(one[k], other[k]).pvalue) for k in one}


def increments(b: np.ndarray, scale: str) -> np.ndarray:
    """A matrix L so that LLᵀ is the covariance, per unit time, of the noise in (v, w).

    Args:
        b: ∂F/∂θ, shape (n, p).
        scale: "unit" or "common".

    Returns:
        Shape (n + p, m). Its block LLᵀ[:n, n:] is b, which is why E[v wᵀ] = G.

    Example:
        >>> import numpy as np
        >>> L = increments(np.array([[4.0, 0.0], [0.0, 9.0]]), "unit")
        >>> (L @ L.T)[:2, 2:]
        array([[4., 0.],
               [0., 9.]])
    """
    norms = np.sqrt(np.sum(b**2, axis=1))
    if scale == "unit":
        sigma = np.sqrt(norms)
        inverse = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=sigma > 0)
        return np.concatenate([np.diag(sigma), (b * inverse[:, None]).T])
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(b))))
    pulled = signs @ b
    rho = np.sqrt(np.sqrt(np.sum(pulled**2, axis=1)) / np.sqrt(len(b)))[:, None]
    inverse = np.divide(1.0, rho, out=np.zeros_like(rho), where=rho > 0)
    moved = np.concatenate([rho * signs, pulled * inverse], axis=1)
    values, vectors = np.linalg.eigh(moved.T @ moved / len(moved))
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _gauge(v: np.ndarray, w: np.ndarray) -> np.ndarray:
    """e^κ for each replica, shape (R, 1): √(‖w‖/‖v‖), and 1 where one of them is 0."""
    a, b = np.linalg.norm(v, axis=1), np.linalg.norm(w, axis=1)
    live = (a > 0) & (b > 0)
    return np.sqrt(np.divide(b, a, out=np.ones_like(a), where=live))[:, None]
