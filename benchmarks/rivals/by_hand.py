"""UORO for this one network, written out by hand: in NumPy, and as one fused compiled loop."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.rivals.problem import BITS, INNER, RATE, SYMBOLS, Prepared, Problem, Rival


class Flat:
    """θ and w of the transition, each in one array, with a view of every leaf."""

    def __init__(self, problem: Problem) -> None:
        params, n = problem.params(), problem.units
        self.V, self.c = params["V"], params["c"]
        self.theta = np.concatenate([params[k].ravel() for k in INNER])
        self.w, self.spare = np.zeros_like(self.theta), np.empty_like(self.theta)
        self.b, self.R, self.W = views(self.theta, n)
        self.h, self.v = np.zeros(n), np.zeros(n)

    def learned(self) -> dict[str, np.ndarray]:
        return {"b": self.b, "R": self.R, "W": self.W, "V": self.V, "c": self.c}


def views(flat: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leaves b, R and W of a flat array."""
    r = n + n * SYMBOLS
    return flat[:n], flat[n:r].reshape(n, SYMBOLS), flat[r:].reshape(n, n)


def ratio(numerator: float, denominator: float) -> tuple[float, float]:
    """√(a/b) of two norms, given their squares, and its inverse; 0 if either is 0."""
    if numerator <= 0 or denominator <= 0:
        return 0.0, 0.0
    rho = (numerator / denominator) ** 0.25
    return rho, 1 / rho


def numpy_step(f: Flat, x: int, y: int, signs: np.ndarray, squared: float) -> float:
    """One step in place; ‖w‖² after it."""
    n = len(f.h)
    _, w_R, w_W = views(f.w, n)
    _, spare_R, spare_W = views(f.spare, n)
    before = np.tanh(f.h)
    new = f.b + f.R[:, x] + f.W @ before
    after = np.tanh(new)
    scores = f.V @ after + f.c
    np.exp(scores - scores.max(), out=scores)
    error = scores * (BITS / scores.sum())
    error[y] -= BITS
    cotangent = (error @ f.V) * (1 - after * after)
    slope = 1 - before * before
    along = ((cotangent @ f.W) * slope) @ f.v
    carried = f.W @ (slope * f.v)
    # θ −= rate (along w + through)
    np.multiply(f.w, RATE * along, out=f.spare)
    spare_W += np.outer(RATE * cotangent, before)
    spare_R[:, x] += RATE * cotangent
    f.spare[:n] += RATE * cotangent
    f.theta -= f.spare
    f.V -= np.outer(RATE * error, after)
    f.c -= RATE * error
    up, down = ratio(squared, carried @ carried)
    rho, inverse = ratio(n * (2 + before @ before), n)
    # w ← w/ρ̄ + Bᵀε/ρ
    fresh = inverse * signs
    f.w *= down
    w_W += np.outer(fresh, before)
    w_R[:, x] += fresh
    f.w[:n] += fresh
    f.v = up * carried + rho * signs
    f.h = new
    return f.w @ f.w


def _numpy(problem: Problem) -> Prepared:
    held: list[Flat] = []
    pairs = list(zip(*(a.tolist() for a in problem.samples), strict=True))

    def run() -> float:
        f, squared, signs = Flat(problem), 0.0, problem.signs
        started = time.process_time()
        for k, (x, y) in enumerate(pairs):
            squared = numpy_step(f, x, y, signs[k], squared)
        spent = time.process_time() - started
        held[:] = [f]
        return spent / problem.steps

    return Prepared(0.0, run, lambda: held[0].learned())


def fused_loop():
    """The same as one compiled loop that goes over θ and w of W once; W itself is read twice before."""
    import numba

    root = numba.njit(ratio)

    @numba.njit(fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy")
    def loop(xs, ys, signs, h, v, b, R, W, V, c, w_b, w_R, w_W, losses):
        n, m = R.shape
        new, carried, before, slope, after = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n)
        cotangent, error = np.empty(n), np.empty(m)
        squared = 0.0
        for t in range(len(xs)):
            x, y = xs[t], ys[t]
            length = 0.0
            for j in range(n):
                before[j] = np.tanh(h[j])
                slope[j] = (1 - before[j] * before[j]) * v[j]
                length += before[j] * before[j]
            moved = 0.0
            for i in range(n):
                s, d = 0.0, 0.0
                for j in range(n):
                    s += W[i, j] * before[j]
                    d += W[i, j] * slope[j]
                new[i], carried[i] = b[i] + R[i, x] + s, d
                moved += d * d
                after[i] = np.tanh(new[i])
                cotangent[i] = 0.0
            largest = -np.inf
            for k in range(m):
                s = c[k]
                for i in range(n):
                    s += V[k, i] * after[i]
                error[k] = s
                largest = max(largest, s)
            target, total = error[y] - largest, 0.0
            for k in range(m):
                error[k] = np.exp(error[k] - largest)
                total += error[k]
            losses[t] = (np.log(total) - target) * BITS
            for k in range(m):
                e = (error[k] / total - (k == y)) * BITS
                for i in range(n):
                    cotangent[i] += V[k, i] * e
                    V[k, i] -= RATE * e * after[i]
                c[k] -= RATE * e
            along = 0.0
            for i in range(n):
                cotangent[i] *= 1 - after[i] * after[i]
                along += cotangent[i] * carried[i]  # (c A)·v = c·(A v)
            up, down = root(squared, moved)
            rho, inverse = root(n * (2 + length), n)
            squared = 0.0
            for i in range(n):
                step, fresh, g = RATE * along, inverse * signs[t, i], RATE * cotangent[i]
                for j in range(n):
                    old = w_W[i, j]
                    W[i, j] -= step * old + g * before[j]
                    now = down * old + fresh * before[j]
                    squared += now * now
                    w_W[i, j] = now
                for j in range(m):
                    old = w_R[i, j]
                    hit = j == x
                    R[i, j] -= step * old + g * hit
                    now = down * old + fresh * hit
                    squared += now * now
                    w_R[i, j] = now
                b[i] -= step * w_b[i] + g
                w_b[i] = down * w_b[i] + fresh
                squared += w_b[i] * w_b[i]
                v[i] = up * carried[i] + rho * signs[t, i]
                h[i] = new[i]

    return loop


def _fused(problem: Problem) -> Prepared:
    held: list[Flat] = []
    losses = np.empty(problem.steps)

    def arguments(f: Flat, steps: int):
        rows = (*(a[:steps] for a in problem.samples), problem.signs[:steps])
        return (*rows, f.h, f.v, f.b, f.R, f.W, f.V, f.c, *views(f.w, problem.units), losses)

    start = time.process_time()
    loop = fused_loop()
    loop(*arguments(Flat(problem), 1))
    build = time.process_time() - start

    def run() -> float:
        f = Flat(problem)
        given = arguments(f, problem.steps)
        started = time.process_time()
        loop(*given)
        spent = time.process_time() - started
        held[:] = [f]
        return spent / problem.steps

    return Prepared(build, run, lambda: held[0].learned())


NUMPY = Rival("NumPy by hand", _numpy)
FUSED = Rival("fused loop by hand (numba)", _fused, ("numba",))
