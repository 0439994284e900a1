"""JAX: windows of steps in a compiled scan, with Adam; truncated backpropagation, and UORO behind the window."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.rivals.problem import INNER, OUTER, RATE, WINDOW, Prepared, Problem, Rival
from benchmarks.rivals.with_jax import _loss, _ratio, _transition

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def _losses(h: Any, inner: dict[str, Any], outer: dict[str, Any], xs: Any, ys: Any) -> tuple[Any, Any]:
    """The state after a window, and the sum of its losses."""
    import jax

    def step(h: Any, sample: Any) -> tuple[Any, Any]:
        h = _transition(h, inner, sample[0])
        return h, _loss(h, outer, sample[1])

    h, losses = jax.lax.scan(step, h, (xs, ys))
    return h, losses.sum()


def _adam(params: Any, slopes: Any, state: Any) -> tuple[Any, Any]:
    import jax
    import jax.numpy as jnp

    m, v, t = state
    t = t + 1.0
    m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, slopes)
    v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, slopes)
    root = jnp.sqrt(1 - BETA2**t)
    step = RATE * root / (1 - BETA1**t)
    params = jax.tree.map(lambda p, m, v: p - step * m / (jnp.sqrt(v) + EPS * root), params, m, v)
    return params, (m, v, t)


def tbptt(carry: Any, row: Any) -> tuple[Any, Any]:
    """One window of truncated backpropagation."""
    import jax

    h, params, state = carry
    xs, ys, _ = row

    def total(params: Any) -> tuple[Any, Any]:
        inner, outer = ({k: params[k] for k in names} for names in (INNER, OUTER))
        new, loss = _losses(h, inner, outer, xs, ys)
        return loss, new

    (loss, new), slopes = jax.value_and_grad(total, has_aux=True)(params)
    params, state = _adam(params, slopes, state)
    return (new, params, state), loss


def uoro(carry: Any, row: Any) -> tuple[Any, Any]:
    """One window, and the influence of what was before it by UORO."""
    import jax
    import jax.numpy as jnp

    h, params, state, v, w, squared = carry
    xs, ys, signs = row
    inner, outer = ({k: params[k] for k in names} for names in (INNER, OUTER))
    (new, loss), pull = jax.vjp(lambda h, inner, outer: _losses(h, inner, outer, xs, ys), h, inner, outer)
    past, through, direct = pull((jnp.zeros_like(new), jnp.ones_like(loss)))
    along = past @ v
    slopes = {**{k: g + along * w[k] for k, g in through.items()}, **direct}

    def end(h: Any) -> Any:
        return jax.lax.scan(lambda h, x: (_transition(h, inner, x), None), h, xs)[0]

    _, carried = jax.jvp(end, (h,), (v,))
    _, fresh, _ = pull((signs, jnp.zeros_like(loss)))
    up, down = _ratio(squared, carried @ carried)
    rho, inverse = _ratio(sum(jnp.vdot(f, f) for f in fresh.values()), signs @ signs)
    w = {k: down * w[k] + inverse * fresh[k] for k in w}
    squared = sum(jnp.vdot(a, a) for a in w.values())
    params, state = _adam(params, slopes, state)
    return (new, params, state, up * carried + rho * signs, w, squared), loss


def _scan(step: Any):
    def prepare(problem: Problem) -> Prepared:
        import jax
        import jax.numpy as jnp

        count, n = problem.steps // WINDOW, problem.units
        params = {k: jnp.asarray(v) for k, v in problem.params().items()}
        zeros = jax.tree.map(jnp.zeros_like, params)
        carry: Any = (jnp.zeros(n), params, (zeros, zeros, jnp.zeros(())))
        if step is uoro:
            carry = (*carry, jnp.zeros(n), {k: zeros[k] for k in INNER}, jnp.zeros(()))
        samples = (jnp.asarray(a[: count * WINDOW].reshape(count, WINDOW)) for a in problem.samples)
        rows = (*samples, jnp.asarray(problem.signs[:count]))
        start = time.process_time()
        loop = jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows)).lower(carry, rows).compile()
        build = time.process_time() - start
        held: list[Any] = []

        def run() -> float:
            started = time.process_time()
            made = jax.block_until_ready(loop(carry, rows))
            spent = time.process_time() - started
            held[:] = [made[0]]
            return spent / (count * WINDOW)

        return Prepared(build, run, lambda: {k: np.asarray(v) for k, v in held[0][1].items()})

    return prepare


TBPTT = Rival("JAX, truncated backpropagation in `lax.scan`", _scan(tbptt), ("jax",), like="window, TBPTT")
UORO = Rival("JAX, UORO with windows in `lax.scan`", _scan(uoro), ("jax",), like="window, UORO")
