"""PyTorch: truncated backpropagation with Adam, a window at a time."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.rivals.problem import BITS, RATE, WINDOW, Prepared, Problem, Rival


def _prepare(problem: Problem) -> Prepared:
    import torch

    torch.set_num_threads(1)
    count = problem.steps // WINDOW
    xs, ys = (torch.from_numpy(a[: count * WINDOW].reshape(count, WINDOW)) for a in problem.samples)
    held: list[dict[str, torch.Tensor]] = []

    def run() -> float:
        theta = {k: torch.from_numpy(p).requires_grad_() for k, p in problem.params().items()}
        adam = torch.optim.Adam(theta.values(), lr=RATE, eps=1e-8)
        h = torch.zeros(problem.units, dtype=torch.float64)
        started = time.process_time()
        for k in range(count):
            total, h = torch.zeros((), dtype=torch.float64), h.detach()
            for x, y in zip(xs[k], ys[k], strict=True):
                h = theta["b"] + theta["R"][:, x] + theta["W"] @ torch.tanh(h)
                scores = theta["V"] @ torch.tanh(h) + theta["c"]
                total = total + (torch.logsumexp(scores, 0) - scores[y]) * BITS
            adam.zero_grad()
            total.backward()
            adam.step()
        spent = time.process_time() - started
        held[:] = [theta]
        return spent / (count * WINDOW)

    return Prepared(0.0, run, lambda: {k: np.asarray(p.detach()) for k, p in held[0].items()})


TORCH = Rival("PyTorch, truncated backpropagation", _prepare, ("torch",), like="window, TBPTT")
