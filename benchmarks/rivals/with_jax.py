"""JAX: UORO in a compiled scan and step by step, and RTRL in a scan."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.rivals.problem import BITS, INNER, OUTER, RATE, Prepared, Problem, Rival


def _transition(h: Any, inner: dict[str, Any], x: Any) -> Any:
    import jax.numpy as jnp

    return inner["b"] + inner["R"][:, x] + inner["W"] @ jnp.tanh(h)


def _loss(h: Any, outer: dict[str, Any], y: Any) -> Any:
    import jax
    import jax.numpy as jnp

    scores = outer["V"] @ jnp.tanh(h) + outer["c"]
    return (jax.nn.logsumexp(scores) - scores[y]) * BITS


def _ratio(numerator: Any, denominator: Any) -> tuple[Any, Any]:
    import jax.numpy as jnp

    live = (numerator > 0) & (denominator > 0)
    rho = (jnp.where(live, numerator, 1.0) / jnp.where(live, denominator, 1.0)) ** 0.25
    return jnp.where(live, rho, 0.0), jnp.where(live, 1 / rho, 0.0)


def uoro(carry: Any, row: Any) -> tuple[Any, Any]:
    """One step of UORO with SGD."""
    import jax
    import jax.numpy as jnp

    h, inner, outer, v, w, squared = carry
    x, y, signs = row
    new, pull = jax.vjp(lambda h, inner: _transition(h, inner, x), h, inner)
    loss, (c, direct) = jax.value_and_grad(_loss, argnums=(0, 1))(new, outer, y)
    past, through = pull(c)
    _, carried = jax.jvp(lambda h: _transition(h, inner, x), (h,), (v,))
    _, fresh = pull(signs)
    along = past @ v
    inner = {k: p - RATE * (along * w[k] + through[k]) for k, p in inner.items()}
    outer = {k: p - RATE * direct[k] for k, p in outer.items()}
    up, down = _ratio(squared, carried @ carried)
    rho, inverse = _ratio(sum(jnp.vdot(f, f) for f in fresh.values()), signs @ signs)
    w = {k: down * w[k] + inverse * fresh[k] for k in w}
    squared = sum(jnp.vdot(a, a) for a in w.values())
    return (new, inner, outer, up * carried + rho * signs, w, squared), loss


def rtrl(carry: Any, row: Any) -> tuple[Any, Any]:
    """One step of RTRL with SGD: A by `jacfwd`, B by `jacrev`, and a dense A G + B."""
    import jax
    from jax.flatten_util import ravel_pytree

    h, inner, outer, G = carry
    x, y, _ = row
    flat, unravel = ravel_pytree(inner)

    def F(h: Any, flat: Any) -> Any:
        return _transition(h, unravel(flat), x)

    G = jax.jacfwd(F)(h, flat) @ G + jax.jacrev(F, argnums=1)(h, flat)
    new = F(h, flat)
    loss, (c, direct) = jax.value_and_grad(_loss, argnums=(0, 1))(new, outer, y)
    outer = {k: p - RATE * direct[k] for k, p in outer.items()}
    return (new, unravel(flat - RATE * (c @ G)), outer, G), loss


def _begin(problem: Problem, kind: str) -> Any:
    import jax
    import jax.numpy as jnp

    params, n = {k: jnp.asarray(v) for k, v in problem.params().items()}, problem.units
    inner, outer = ({k: params[k] for k in names} for names in (INNER, OUTER))
    if kind == "rtrl":
        return jnp.zeros(n), inner, outer, jnp.zeros((n, sum(v.size for v in inner.values())))
    return jnp.zeros(n), inner, outer, jnp.zeros(n), jax.tree.map(jnp.zeros_like, inner), jnp.zeros(())


def _scan(kind: str):
    def prepare(problem: Problem) -> Prepared:
        import jax
        import jax.numpy as jnp

        carry = _begin(problem, kind)
        rows = tuple(jnp.asarray(a) for a in (*problem.samples, problem.signs))
        start = time.process_time()
        step = {"uoro": uoro, "rtrl": rtrl}[kind]
        loop = jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows)).lower(carry, rows).compile()
        build = time.process_time() - start
        held: list[Any] = []

        def run() -> float:
            started = time.process_time()
            made = jax.block_until_ready(loop(carry, rows))
            spent = time.process_time() - started
            held[:] = [made[0]]
            return spent / problem.steps

        return Prepared(build, run, lambda: _params(held[0]))

    return prepare


def _single(problem: Problem) -> Prepared:
    import jax

    start = time.process_time()
    signs = problem.signs
    step = jax.jit(uoro, donate_argnums=0)
    jax.block_until_ready(step(_begin(problem, "uoro"), (0, 0, signs[0])))
    build = time.process_time() - start
    pairs = list(zip(*(a.tolist() for a in problem.samples), strict=True))
    held: list[Any] = []

    def run() -> float:
        carry = jax.block_until_ready(_begin(problem, "uoro"))
        started = time.process_time()
        for k, (x, y) in enumerate(pairs):
            carry, loss = step(carry, (x, y, signs[k]))
            float(loss)
        spent = time.process_time() - started
        held[:] = [carry]
        return spent / problem.steps

    return Prepared(build, run, lambda: _params(held[0]))


def _params(carry: Any) -> dict[str, np.ndarray]:
    return {k: np.asarray(v) for part in carry[1:3] for k, v in part.items()}


SCAN = Rival("JAX, `lax.scan`", _scan("uoro"), ("jax",))
STEP = Rival("JAX, jitted step", _single, ("jax",))
RTRL = Rival("JAX, RTRL in `lax.scan`", _scan("rtrl"), ("jax",), like="RTRL", easy=32)
