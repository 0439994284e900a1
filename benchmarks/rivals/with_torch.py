"""PyTorch: UORO with `torch.func` at every step."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.rivals.by_hand import ratio
from benchmarks.rivals.problem import BITS, INNER, OUTER, RATE, Prepared, Problem, Rival


def _prepare(problem: Problem) -> Prepared:
    import torch
    from torch.func import grad_and_value, jvp, vjp

    torch.set_num_threads(1)
    pairs = list(zip(*(a.tolist() for a in problem.samples), strict=True))
    signs = torch.from_numpy(problem.signs)
    held: list[dict[str, Any]] = []

    def transition(h: Any, inner: dict[str, Any], x: int) -> Any:
        return inner["b"] + inner["R"][:, x] + inner["W"] @ torch.tanh(h)

    def loss(h: Any, outer: dict[str, Any], y: int) -> Any:
        scores = outer["V"] @ torch.tanh(h) + outer["c"]
        return (torch.logsumexp(scores, 0) - scores[y]) * BITS

    slopes = grad_and_value(loss, argnums=(0, 1))

    def run() -> float:
        theta = {k: torch.from_numpy(p) for k, p in problem.params().items()}
        inner, outer = ({k: theta[k] for k in names} for names in (INNER, OUTER))
        h, v = (torch.zeros(problem.units, dtype=torch.float64) for _ in range(2))
        w, squared = {k: torch.zeros_like(p) for k, p in inner.items()}, 0.0
        started = time.process_time()
        with torch.no_grad():
            for t, (x, y) in enumerate(pairs):
                new, pull = vjp(lambda h, inner, x=x: transition(h, inner, x), h, inner)
                (c, direct), value = slopes(new, outer, y)
                past, through = pull(c)
                _, carried = jvp(lambda h, x=x: transition(h, inner, x), (h,), (v,))
                _, fresh = pull(signs[t])
                along = past @ v
                for k, p in inner.items():
                    p.sub_(along * w[k] + through[k], alpha=RATE)
                for k, p in outer.items():
                    p.sub_(direct[k], alpha=RATE)
                up, down = ratio(float(squared), float(carried @ carried))
                rho, inverse = ratio(float(sum(f.square().sum() for f in fresh.values())), problem.units)
                v = up * carried + rho * signs[t]
                for k, f in fresh.items():
                    w[k].mul_(down).add_(f, alpha=inverse)
                squared = sum(a.square().sum() for a in w.values())
                h = new
                float(value)
        spent = time.process_time() - started
        held[:] = [theta]
        return spent / problem.steps

    return Prepared(0.0, run, lambda: {k: np.asarray(p) for k, p in held[0].items()})


TORCH = Rival("PyTorch, `torch.func` each step", _prepare, ("torch",))
