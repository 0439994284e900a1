"""UORO with autograd at every step: two backward products and one forward."""

from __future__ import annotations

import time

import autograd.numpy as anp
import numpy as np
from autograd.core import make_jvp, make_vjp

from benchmarks.rivals.by_hand import ratio
from benchmarks.rivals.problem import BITS, INNER, OUTER, RATE, Prepared, Problem, Rival


def _transition(z, x):
    h, b, R, W = z
    return b + R[:, x] + anp.dot(W, anp.tanh(h))


def _loss(z, y):
    h, V, c = z
    scores = anp.dot(V, anp.tanh(h)) + c
    shifted = scores - anp.max(scores)
    return (anp.log(anp.sum(anp.exp(shifted))) - shifted[y]) * BITS


def _prepare(problem: Problem) -> Prepared:
    held: list[dict[str, np.ndarray]] = []
    pairs = list(zip(*(a.tolist() for a in problem.samples), strict=True))

    def run() -> float:
        theta = problem.params()
        h, v = np.zeros(problem.units), np.zeros(problem.units)
        w, squared = [np.zeros_like(theta[k]) for k in INNER], 0.0
        started = time.process_time()
        for k, (x, y) in enumerate(pairs):
            signs = problem.signs[k]
            point = (h, *(theta[k] for k in INNER))
            pull, new = make_vjp(lambda z, x=x: _transition(z, x), point)
            back, _ = make_vjp(lambda z, y=y: _loss(z, y), (new, *(theta[k] for k in OUTER)))
            c, *direct = back(1.0)
            past, *through = pull(c)
            zeros = tuple(np.zeros_like(a) for a in point[1:])
            _, carried = make_jvp(lambda z, x=x: _transition(z, x), point)((v, *zeros))
            _, *fresh = pull(signs)
            along = past @ v
            for k, a, b in zip(INNER, w, through, strict=True):
                theta[k] = theta[k] - RATE * (along * a + b)
            for k, d in zip(OUTER, direct, strict=True):
                theta[k] = theta[k] - RATE * d
            up, down = ratio(squared, carried @ carried)
            rho, inverse = ratio(sum(np.vdot(f, f) for f in fresh), signs @ signs)
            v = up * carried + rho * signs
            w = [down * a + inverse * f for a, f in zip(w, fresh, strict=True)]
            squared = sum(np.vdot(a, a) for a in w)
            h = new
        spent = time.process_time() - started
        held[:] = [theta]
        return spent / problem.steps

    return Prepared(0.0, run, lambda: held[0])


AUTOGRAD = Rival("autograd each step", _prepare, ("autograd",))
