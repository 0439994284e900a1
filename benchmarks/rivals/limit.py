"""The limit: reading and writing θ and w once each, which every step has to do."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.rivals.problem import INNER, Prepared, Problem, Rival


def _passes(problem: Problem) -> Prepared:
    import numba

    from fwdgrad.engines.compiled_engine import aligned

    @numba.njit(fastmath={"reassoc", "contract", "nsz", "arcp"})
    def loop(theta, w, steps, alpha, beta, rate):
        for _ in range(steps):
            for k in range(len(w)):
                new = alpha * w[k] + beta
                theta[k] -= rate * new
                w[k] = new

    count = sum(problem.system.params[k].size for k in INNER)
    theta, w = aligned(np.zeros(count)), aligned(np.zeros(count))
    start = time.process_time()
    loop(theta, w, 1, 0.5, 1e-3, 1e-6)
    build = time.process_time() - start

    def run() -> float:
        started = time.process_time()
        loop(theta, w, problem.steps, 0.5, 1e-3, 1e-6)
        return (time.process_time() - started) / problem.steps

    return Prepared(build, run, dict)


LIMIT = Rival("limit: θ and w once each", _passes, ("numba",), like="")
