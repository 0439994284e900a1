"""What the tests of gradients are measured against, and small systems of every kind to measure on.

The oracles know a system only as functions F, Y and a loss: autograd differentiates the whole unrolled sequence
(`total_gradients`, `influence_matrices`, `window_gradient`, `online`), with a loop of their own. `enumerated` goes
through every pattern of signs that a random influence can draw, with the steps that a learner runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import autograd
import autograd.numpy as anp
import numpy as np

from fwdgrad import Estimator, System
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.samples import SampleReader
from fwdgrad.learning.step.kinds import ADVANCE, APPLY, BACKWARD, FORWARD, LEARN, TRANSIT
from fwdgrad.losses import CrossEntropy
from fwdgrad.support.trees import unflatten

Leaves = dict[str, Any]


# ---------------------------------------------------------------- the loop and the losses, once more


def half_square(prediction: Any, y: Any) -> Any:
    return 0.5 * anp.sum((prediction - y) ** 2)


def code_length(prediction: Any, y: Any) -> Any:
    return anp.log(anp.sum(anp.exp(prediction))) - prediction[y]


def log_cosh(prediction: Any, y: Any) -> Any:
    return anp.sum(anp.log(anp.cosh(prediction - y)))


@dataclass(frozen=True)
class Case:
    """A system, samples for it, and its loss written a second time."""

    name: str
    system: System
    xs: list[Any]
    ys: list[Any]
    loss: Callable[[Any, Any], Any] = half_square
    params: Leaves = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", dict(self.system.params))

    def __repr__(self) -> str:
        return self.name

    def without(self, *missing: int) -> Case:
        """The same with no target at these steps."""
        return replace(self, ys=[None if t in missing else y for t, y in enumerate(self.ys)])

    def trained(self) -> Leaves:
        return {k: self.params[k] for k in self.system.trainable}

    def step(self, h: Any, x: Any, theta: Leaves) -> Any:
        """The transition in the user's containers."""
        moved = self.system.F(h, x, {**self.params, **theta})
        if self.system.dt is None:
            return unflatten(h, [stacked(moved[k] if k else moved) for k in keys(h)])
        return unflatten(h, [(h[k] if k else h) + self.system.dt * stacked(moved[k] if k else moved) for k in keys(h)])

    def predict(self, h: Any, x: Any, theta: Leaves) -> Any:
        if self.system.Y is None:
            return flat(h)
        return stacked(self.system.Y(h, x, {**self.params, **theta}))

    def unroll(self, thetas: Sequence[Leaves], first: int = 0, h: Any = None) -> Iterable[tuple[int, Any, Any]]:
        """(t, state after step t, loss of step t or None), with the parameters thetas[0] at step `first`."""
        h = self.system.state if h is None else h
        for t, theta in enumerate(thetas, start=first):
            h = self.step(h, self.xs[t], theta)
            seen = self.ys[t] is not None
            yield t, h, self.loss(self.predict(h, self.xs[t], theta), self.ys[t]) if seen else None


def keys(h: Any) -> list[str]:
    return list(h) if hasattr(h, "keys") else [""]


def stacked(value: Any) -> Any:
    """An array, from a list or an object array of autograd's scalars."""
    if isinstance(value, (list, tuple)) or (type(value) is np.ndarray and value.dtype.kind == "O"):
        return anp.array(list(value))
    return value


def flat(h: Any) -> Any:
    return anp.concatenate([anp.reshape(h[k] if k else h, (-1,)) for k in keys(h)])


def zeros(case: Case) -> Leaves:
    return {k: np.zeros_like(v) for k, v in case.trained().items()}


# ---------------------------------------------------------------- gradients through the unrolled sequence


def total_gradients(case: Case) -> list[Leaves]:
    """∂ℓ_t/∂θ of each step, through everything before it; zeros where there is no target."""

    def loss_at(t: int) -> Callable[[Leaves], Any]:
        return lambda theta: [loss for _, _, loss in case.unroll([theta] * (t + 1))][t]

    return [
        zeros(case) if case.ys[t] is None else autograd.grad(loss_at(t))(case.trained()) for t in range(len(case.xs))
    ]


def window_gradient(case: Case, first: int, length: int) -> Leaves:
    """Gradient of the losses of steps first … first + length − 1, from the state before them taken as fixed."""
    start = case.system.state
    for _, h, _ in case.unroll([case.trained()] * first):
        start = h

    def loss(theta: Leaves) -> Any:
        none = 0.0 * anp.sum(next(iter(theta.values())))  # something to differentiate where there is no target
        return sum((value for _, _, value in case.unroll([theta] * length, first, start) if value is not None), none)

    return autograd.grad(loss)(case.trained())


def influence_matrices(case: Case) -> list[Leaves]:
    """∂h_t/∂θ after each step, one array (n, *leaf shape) per learned leaf."""
    like = case.trained()
    ends = np.cumsum([v.size for v in like.values()])

    def split(columns: Any) -> Leaves:
        parts = {k: columns[..., end - v.size : end] for (k, v), end in zip(like.items(), ends, strict=True)}
        return {k: anp.reshape(part, (*part.shape[:-1], *like[k].shape)) for k, part in parts.items()}

    def state_at(t: int) -> Callable[[Any], Any]:
        return lambda vector: [flat(h) for _, h, _ in case.unroll([split(vector)] * (t + 1))][t]

    point = np.concatenate([np.ravel(v) for v in like.values()])
    return [split(autograd.jacobian(state_at(t))(point)) for t in range(len(case.xs))]


def online(case: Case, rate: float) -> list[Leaves]:
    """θ after each step of exact online learning by θ ← θ − rate·g.

    g is the gradient of the step's loss in every copy of θ that was used on the way to it, all added up: what forward
    methods compute while θ is moving.
    """
    thetas, path = [case.trained()], []
    for t, y in enumerate(case.ys):
        gradient = zeros(case)
        if y is not None:

            def loss(used: list[Leaves], t: int = t) -> Any:
                return [value for _, _, value in case.unroll(used)][t]

            for part in autograd.grad(loss)(thetas):
                gradient = {k: gradient[k] + part[k] for k in gradient}
        thetas.append({k: v - rate * gradient[k] for k, v in thetas[-1].items()})
        path.append(thetas[-1])
    return path


def complex_step(case: Case, t: int) -> Leaves:
    """∂ℓ_t/∂θ by a step of 1e-30 into the complex plane: exact to rounding, and without any rule of differentiation."""
    made = zeros(case)
    for k, v in case.trained().items():
        for index in np.ndindex(v.shape):
            moved = v.astype(complex)
            moved[index] += 1e-30j
            losses = [loss for _, _, loss in case.unroll([case.trained() | {k: moved}] * (t + 1))]
            made[k][index] = losses[t].imag / 1e-30
    return made


# ---------------------------------------------------------------- comparing


def gap(a: Leaves, b: Leaves) -> float:
    """Largest difference of two dicts of arrays, relative to the largest value if above 1; a missing leaf is zero."""
    worst, scale = 0.0, 1.0
    for k in {**a, **b}:
        left, right = np.asarray(a.get(k, 0.0)), np.asarray(b.get(k, 0.0))
        if not (np.all(np.isfinite(left)) and np.all(np.isfinite(right))):
            return np.inf
        worst = max(worst, float(np.max(np.abs(left - right), initial=0.0)))
        scale = max(scale, float(np.max(np.abs(right), initial=0.0)))
    return worst / scale


def assert_close(a: Leaves, b: Leaves, tolerance: float, what: str = "") -> None:
    assert gap(a, b) <= tolerance, f"{what}: differ by {gap(a, b):.3g}, more than {tolerance:.3g}"


# ---------------------------------------------------------------- running the steps with θ fixed


@dataclass(frozen=True)
class Observer:
    """An optimizer that changes nothing: its state is the last gradient."""

    def init(self, params: Leaves) -> Leaves:
        return {k: np.zeros(p.shape, p.dtype) for k, p in params.items()}

    def update(self, grads: Leaves, state: Leaves, params: Leaves) -> tuple[Leaves, Leaves]:
        return {}, dict(grads)


class Runner:
    """The steps of a learner, with noise of our choice and θ fixed."""

    def __init__(self, case: Case, estimator: Estimator, engine: str = "numpy") -> None:
        self.case, self.estimator = case, estimator
        self.execution = Execution(case.system, estimator, Observer(), engine)
        reader = SampleReader(self.execution.model)
        self.samples = [reader.sample(x, y, t) for t, (x, y) in enumerate(zip(case.xs, case.ys, strict=True))]

    @property
    def length(self) -> int:
        """Steps of a window."""
        return self.estimator.window.length or self.case.system.size

    def initial(self) -> Any:
        return self.execution.initial()

    def run(self, carry: Any, t: int, *noise: Any) -> Any:
        """The carry after step t; with a window, after the window that starts at step t."""
        if self.length > 1:
            return self._window(carry, t, noise)
        x, y, observed = self.samples[t]
        made = (
            self.execution.make(LEARN, carry, x, y, noise)
            if observed
            else self.execution.make(TRANSIT, carry, x, noise)
        )
        return tuple(made[:-3])

    def _window(self, carry: Any, t: int, noise: Any) -> Any:
        rows = self.samples[t : t + self.length]
        states, h = [], carry[0]
        for x, y, _ in rows:
            states.append(h)
            h = self.execution.make(FORWARD, (h, *carry[1:]), x, y)[0]
        columns = [[np.stack(c) for c in zip(*(row[k] for row in rows), strict=True)] for k in (0, 1)]
        observed = np.array([row[2] for row in rows], dtype=self.dtype)
        ones = np.ones(len(rows), self.dtype)
        carry, run = (h, *carry[1:]), self.execution
        states = np.stack(states)
        segment = (states, *columns[0], *columns[1], observed, ones, ones)
        behind = run.make((BACKWARD, len(rows)), carry, segment, run.no_derivatives)
        count = np.array(observed.sum(), float)
        made = run.make(APPLY, carry, behind, [count])[:-1] if observed.any() else carry
        after = run.make((ADVANCE, len(rows)), carry, [states], columns[0], [h], noise)[:-1]
        return run.with_influence(made, after)

    def gradient(self, carry: Any) -> Leaves:
        """The last thing in a carry is the optimizer's state: the gradient of the last step with a target."""
        names = self.case.system.trainable
        return dict(zip(names, carry[-len(names) :], strict=True))

    def influence(self, carry: Any) -> Leaves:
        steps = self.execution.steps
        return steps.influence.dense(self.execution.unpack(carry).influence, steps.layout)

    def state(self, carry: Any) -> Any:
        return carry[0]

    def noises(self, t: int, patterns: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The patterns as noise for step t; what an influence draws besides its signs is the same for all of them."""
        rng = np.random.default_rng(t)
        others = [rng.choice([-1.0, 1.0], spec.shape).astype(self.dtype) for spec in self.execution.specs[1:]]
        return [(np.asarray(p, self.dtype), *others) for p in patterns]

    @property
    def dtype(self) -> Any:
        return self.case.system.dtype

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return self.execution.specs[0].shape


Weighted = tuple[np.ndarray, list[np.ndarray]]
"""Weights that sum to 1, and the noise each of them belongs to."""


def all_signs(shape: tuple[int, ...], size: float = 1.0) -> Weighted:
    """Every pattern of ±size, equally likely."""
    rows = [np.reshape(row, shape) for row in itertools.product((-size, size), repeat=int(np.prod(shape)))]
    return np.full(len(rows), 1 / len(rows)), rows


def gauss_hermite(shape: tuple[int, ...], count: int) -> Weighted:
    """`count` nodes per number: means of polynomials of degree < 2·count of standard Gaussians are exact."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    weights = weights / np.sum(weights)
    size = int(np.prod(shape))
    rows = [np.reshape(row, shape) for row in itertools.product(nodes, repeat=size)]
    return np.array([np.prod(row) for row in itertools.product(weights, repeat=size)]), rows


class Level(NamedTuple):
    """After one step (or window): the mean over everything that the noise so far can lead to."""

    gradient: Leaves
    influence: Leaves
    spread: float
    """The largest standard deviation of any number in the influence: 0 means that nothing was random."""


def enumerated(runner: Runner, steps: int, noise: Weighted | None = None) -> list[Level]:
    """Means over every noise of `steps` steps (or windows), by branching at each of them.

    The gradient of a step is pulled before its reduction, so it must not depend on the noise of its own step.
    """
    share, patterns = all_signs(runner.noise_shape) if noise is None else noise
    carries, weights, levels = [runner.initial()], np.ones(1), []
    for t in range(steps):
        after, gradients = [], []
        for carry in carries:
            branches = [runner.run(carry, t * runner.length, *p) for p in runner.noises(t, patterns)]
            own = runner.gradient(branches[0])
            for branch in branches:
                assert all(map(np.array_equal, runner.gradient(branch).values(), own.values())), "g sees its own noise"
            gradients.append(own)
            after += branches
        gradient = mean(gradients, weights)
        carries, weights = after, np.outer(weights, share).ravel()
        influences = [runner.influence(c) for c in carries]
        spread = max(float(np.max(np.std([g[k] for g in influences], axis=0))) for k in influences[0])
        levels.append(Level(gradient, mean(influences, weights), spread))
    return levels


def mean(leaves: Sequence[Leaves], weights: np.ndarray) -> Leaves:
    return {k: np.tensordot(weights, np.array([leaf[k] for leaf in leaves]), axes=1) for k in leaves[0]}


def assert_unbiased(runner: Runner, steps: int, tolerance: float = 1e-12, noise: Weighted | None = None) -> float:
    """Over all noise, the mean of G̃ is ∂h/∂θ and the mean of g is ∂ℓ/∂θ, at every step (or window).

    Returns:
        The worst gap.
    """
    case, window = runner.case, runner.length
    length = steps * window
    short = replace(case, xs=case.xs[:length], ys=case.ys[:length])
    gradients, matrices = total_gradients(short), influence_matrices(short)
    levels = enumerated(runner, steps, noise)
    assert max(level.spread for level in levels) > 1e-3, "nothing was random"
    worst = 0.0
    for number, level in enumerate(levels):
        last = (number + 1) * window - 1
        summed = {k: sum(g[k] for g in gradients[last + 1 - window : last + 1]) for k in gradients[0]}
        exact = {k: matrices[last][k] for k in level.influence}
        for what, got, expected in (("influence", level.influence, exact), ("gradient", level.gradient, summed)):
            assert_close(got, expected, tolerance, f"{case}: mean {what} after step {last}")
            worst = max(worst, gap(got, expected))
    return worst


# ---------------------------------------------------------------- systems


def sigmoid(z: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-z))


def draw(seed: int, **shapes: tuple[int, ...]) -> Leaves:
    rng = np.random.default_rng(seed)
    return {k: rng.normal(size=s) * (0.7 if s else 1.0) for k, s in shapes.items()}


def signals(seed: int, steps: int, *shapes: tuple[int, ...]) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=s) for _ in range(steps)] for s in shapes]


def readout(h: Any, x: Any, p: Leaves) -> Any:
    return p["V"] @ h + p["c"]


def tanh_rnn(n: int = 3, steps: int = 6) -> Case:
    def F(h: Any, x: Any, p: Leaves) -> Any:
        return np.tanh(p["W"] @ h + p["U"] @ x + p["b"])

    params = draw(1, W=(n, n), U=(n, 2), b=(n,), V=(2, n), c=(2,))
    xs, ys = signals(2, steps, (2,), (2,))
    return Case(f"tanh-rnn-{n}", System(F, readout, 0.1 * np.ones(n), params, np.zeros(2)), xs, ys)


def symbol_rnn(n: int = 3, steps: int = 6) -> Case:
    """The network of the NoBackTrack paper: symbols in, symbols out; a column of R has an effect when it is seen."""

    def F(h: Any, x: Any, p: Leaves) -> Any:
        return p["b"] + p["R"][:, x] + p["W"] @ np.tanh(h)

    def Y(h: Any, x: Any, p: Leaves) -> Any:
        return p["V"] @ np.tanh(h) + p["c"]

    params = draw(3, W=(n, n), R=(n, 4), b=(n,), V=(4, n), c=(4,))
    rng = np.random.default_rng(4)
    xs, ys = rng.integers(0, 4, steps).tolist(), rng.integers(0, 4, steps).tolist()
    system = System(F, Y, np.zeros(n), params, 0, CrossEntropy())
    return Case("symbol-rnn", system, xs, ys, code_length)


def gru(reset_first: bool, n: int = 3, steps: int = 6) -> Case:
    """Reset gate before the recurrent product, U (r∘h), as first published, or after it, r∘(U h)."""

    def F(h: Any, x: Any, p: Leaves) -> Any:
        z = sigmoid(p["Wz"] @ x + p["Uz"] @ h + p["bz"])
        r = sigmoid(p["Wr"] @ x + p["Ur"] @ h + p["br"])
        inner = p["U"] @ (r * h) if reset_first else r * (p["U"] @ h)
        return (1 - z) * h + z * np.tanh(p["W"] @ x + inner + p["b"])

    shapes = {
        f"{letter}{gate}": s for gate in ("z", "r", "") for letter, s in (("W", (n, 1)), ("U", (n, n)), ("b", (n,)))
    }
    params = draw(5, **shapes, V=(1, n), c=(1,))
    xs, ys = signals(6, steps, (1,), (1,))
    name = "gru-reset-before" if reset_first else "gru-reset-after"
    return Case(name, System(F, readout, 0.3 * np.ones(n), params, np.zeros(1)), xs, ys)


def lstm(units: int = 2, steps: int = 6) -> Case:
    """A dict state: n counts cells and outputs."""

    def F(s: Any, x: Any, p: Leaves) -> Any:
        i, f, o = (sigmoid(p[f"W{g}"] @ x + p[f"U{g}"] @ s["h"] + p[f"b{g}"]) for g in "ifo")
        c = f * s["c"] + i * np.tanh(p["Wg"] @ x + p["Ug"] @ s["h"] + p["bg"])
        return {"c": c, "h": o * np.tanh(c)}

    def Y(s: Any, x: Any, p: Leaves) -> Any:
        return p["V"] @ s["h"] + p["c"]

    shapes = {
        f"{letter}{g}": s for g in "ifog" for letter, s in (("W", (units, 1)), ("U", (units, units)), ("b", (units,)))
    }
    params = draw(7, **shapes, V=(1, units), c=(1,))
    xs, ys = signals(8, steps, (1,), (1,))
    state = {"c": 0.2 * np.ones(units), "h": 0.1 * np.ones(units)}
    return Case("lstm", System(F, Y, state, params, np.zeros(1)), xs, ys)


def linear(n: int = 3, steps: int = 6) -> Case:
    def F(h: Any, x: Any, p: Leaves) -> Any:
        return p["A"] @ h + p["B"] @ x

    def Y(h: Any, x: Any, p: Leaves) -> Any:
        return p["C"] @ h + p["D"] @ x

    params = draw(9, A=(n, n), B=(n, 2), C=(1, n), D=(1, 2))
    xs, ys = signals(10, steps, (2,), (1,))
    return Case("linear", System(F, Y, np.ones(n), params, np.zeros(2)), xs, ys)


def lotka_volterra(steps: int = 6) -> Case:
    """Rates and Euler steps; scalar parameters, each in one or two of the equations; everything is observed."""

    def F(h: Any, x: Any, p: Leaves) -> Any:
        prey, predators = h
        eaten = p["beta"] * prey * predators
        return np.array([p["alpha"] * prey - eaten, p["share"] * eaten - p["gamma"] * predators])

    params = {"alpha": 1.1, "beta": 0.4, "gamma": 0.4, "share": 0.3}
    (ys,) = signals(11, steps, (2,))
    ys = [np.array([3.0, 2.0]) + 0.3 * y for y in ys]
    system = System(F, None, np.array([3.0, 2.0]), params, dt=0.1, method="euler")
    return Case("lotka-volterra", system, [None] * steps, ys)


def heat(n: int = 4, steps: int = 6) -> Case:
    """Fewer parameters than state variables, every one of which every parameter moves."""

    def F(h: Any, x: Any, p: Leaves) -> Any:
        around = np.roll(h, 1) + np.roll(h, -1) - 2 * h
        return p["conductivity"] * around - p["loss"] * h * h + x

    xs, ys = signals(12, steps, (n,), ())

    def Y(h: Any, x: Any, p: Leaves) -> Any:
        return p["gain"] * np.sum(h[1:3])

    params = {"conductivity": 0.3, "loss": 0.05, "gain": 0.7}
    system = System(F, Y, np.linspace(1, 2, n), params, np.zeros(n), dt=0.5, method="euler")
    return Case("heat", system, xs, ys)


def vehicle(steps: int = 6) -> Case:
    """Dict state, dict input, Euler steps, a frozen parameter, leaves shared by F and Y, a loss of its own."""

    def F(s: Any, x: Any, p: Leaves) -> Any:
        drag = p["drag"] * s["v"] * np.sqrt(1.0 + s["v"] ** 2)
        return {"q": s["v"], "v": (p["gain"] * x["push"] - drag - p["spring"] * s["q"] + x["wind"]) / p["mass"]}

    def Y(s: Any, x: Any, p: Leaves) -> Any:
        return p["gain"] * s["q"] + p["offset"] + p["mass"] * s["v"]

    params = {"drag": 0.3, "gain": np.array([1.2, 0.8]), "spring": 0.5, "mass": 1.5, "offset": np.array([0.1, -0.2])}
    push, wind, ys = signals(13, steps, (2,), (), (2,))
    xs = [{"push": a, "wind": b} for a, b in zip(push, wind, strict=True)]
    system = System(
        F,
        Y,
        {"q": np.array([0.5, -0.3]), "v": np.array([0.2, 0.4])},
        params,
        {"push": np.zeros(2), "wind": 0.0},
        loss=lambda yhat, y: np.sum(np.log(np.cosh(yhat - y))),
        dt=0.2,
        method="euler",
        frozen=["mass"],
    )
    return Case("vehicle", system, xs, ys, log_cosh)


def grid(steps: int = 6) -> Case:
    """A two-dimensional state array, with no input; its mean is observed."""

    def F(h: Any, x: Any, p: Leaves) -> Any:
        return np.tanh(p["K"] @ h + h @ p["L"] + p["b"])

    def Y(h: Any, x: Any, p: Leaves) -> Any:
        return np.mean(h) + p["b"]

    params = draw(14, K=(2, 2), L=(2, 2), b=())
    (ys,) = signals(15, steps, ())
    return Case("grid", System(F, Y, np.array([[0.5, -0.2], [0.1, 0.7]]), params), [None] * steps, ys)


def silent(steps: int = 6) -> Case:
    """Zeros everywhere: a state variable without parameters (h2), a leaf and a row without effect when x is 0, as at
    the first steps, and two rows of ∂F/∂b that cancel for equal signs."""

    def F(h: Any, x: Any, p: Leaves) -> Any:
        return np.stack([np.tanh(h[0]) * p["a"] * x + p["b"] * x, h[0] * h[2] - p["b"] * x, 0.9 * h[1]])

    def Y(h: Any, x: Any, p: Leaves) -> Any:
        return h[0] + 0.5 * h[2] * h[1]

    xs, ys = [0.0, 1.3, 0.0, 0.7, -0.4, 1.0][:steps], signals(16, steps, ())[0]
    return Case("silent", System(F, Y, np.array([0.4, 0.3, 0.2]), {"a": 0.8, "b": 0.6}, 0.0), xs, ys)


def forgetful(steps: int = 6) -> Case:
    """A = 0: the state forgets everything at every step."""

    def F(h: Any, x: Any, p: Leaves) -> Any:
        return np.tanh(p["a"] * x + p["b"] * x * x)

    params = {"a": np.array([0.5, -0.7]), "b": np.array([0.2, 0.9])}
    xs, ys = signals(17, steps, (), (2,))
    return Case("forgetful", System(F, None, np.zeros(2), params, 0.0), xs, ys)


def ring(n: int = 5, steps: int = 6) -> Case:
    """Each state variable feeds itself and the next one: influence spreads by one place a step."""

    def F(h: Any, x: Any, p: Leaves) -> Any:
        return np.tanh(p["d"] * h + p["e"] * np.roll(h, 1) + p["b"] * x)

    xs, ys = signals(18, steps, (), (n,))
    return Case("ring", System(F, None, np.linspace(-1, 1, n), draw(19, d=(n,), e=(n,), b=(n,)), 0.0), xs, ys)


def diagonal(n: int = 4, steps: int = 6) -> Case:
    """Units that hear only themselves: the pattern of the influence is closed from the start."""

    def F(h: Any, x: Any, p: Leaves) -> Any:
        return np.tanh(p["d"] * h + p["U"] @ x + p["b"])

    params = draw(20, d=(n,), U=(n, 2), b=(n,), V=(2, n), c=(2,))
    xs, ys = signals(21, steps, (2,), (2,))
    return Case("diagonal", System(F, readout, 0.1 * np.ones(n), params, np.zeros(2)), xs, ys)


def every_case() -> list[Case]:
    """One of each kind."""
    return [
        tanh_rnn(),
        symbol_rnn(),
        gru(True),
        gru(False),
        lstm(),
        linear(),
        lotka_volterra(),
        heat(),
        vehicle(),
        grid(),
        silent(),
        forgetful(),
        ring(),
        diagonal(),
    ]
