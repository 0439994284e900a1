"""`compare`: its numbers against oracles, its intervals against their level, and what it says about an estimator."""

import functools
import itertools
import math
import sys
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import autograd
import numpy as np
import oracles
import pytest
from oracles import Case
from scipy import stats

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.comparison.declare import study_of
from fwdgrad.comparison.reference import exact_gradients
from fwdgrad.comparison.replicas import replicate
from fwdgrad.comparison.report import number
from fwdgrad.comparison.statistics import _trace_of_square, mean_interval, squared_norm_interval
from fwdgrad.influence import Exact, NoiseSpec, RankOne
from fwdgrad.support.notice import Progress

STEPS = 12


def compared(case: Case, estimators: Any, replicas: int = 8, **options: Any) -> fg.Comparison:
    """On the samples of a case, without measuring costs."""
    xs, ys = samples(case)
    return fg.compare(case.system, xs, ys, estimators, replicas, **{"costs": False, "leaves": all_of(case)} | options)


def samples(case: Case) -> tuple[Any, Any]:
    targets = [np.full(case.system.prediction.shape, np.nan) if y is None else y for y in case.ys]
    if case.system.x is None:
        return None, np.array(targets)
    if isinstance(case.system.x, dict):
        return {k: np.array([x[k] for x in case.xs]) for k in case.system.x}, np.array(targets)
    return np.array(case.xs), np.array(targets)


def all_of(case: Case) -> list[str]:
    return list(case.system.trainable)


def flat(case: Case, leaves: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaves[k]) for k in case.system.trainable])


def oracle(case: Case) -> np.ndarray:
    """∂ℓ_t/∂θ of each step, shape (T, p)."""
    return np.array([flat(case, g) for g in oracles.total_gradients(case)])


def study_for(case: Case, estimators: Any, every: int) -> Any:
    options = {"steps": None, "start": 0, "every": every, "params": None, "leaves": None, "engine": "auto"}
    return study_of(case.system, *samples(case), estimators, **options)


def many(case: Case, estimator: fg.Estimator, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Total gradients of many replicas, and the exact one."""
    made = compared(case, {"it": estimator}, count, seed=seed)
    return made["it"].gradients, made.exact.sum(axis=0)


# ---------------------------------------------------------------- the exact gradient

CASES = [
    oracles.tanh_rnn(steps=STEPS),
    oracles.lstm(),
    oracles.lotka_volterra(),
    oracles.vehicle(),
    oracles.symbol_rnn(),
]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=repr)


@EVERY_CASE
@pytest.mark.parametrize("reference", ["rtrl", "bptt"])
def test_the_exact_gradient_of_a_block_is_that_of_its_losses(case, reference):
    made = compared(case, ["tbptt:1"], reference=reference, every=2)
    exact = oracle(case)
    expected = [exact[a:b].sum(axis=0) for a, b in itertools.pairwise(made.edges)]
    assert made.reference == reference.upper()
    np.testing.assert_allclose(made.exact, expected, rtol=1e-11, atol=1e-12 * np.abs(exact).max())


def test_losses_before_the_start_do_not_count():
    case = oracles.tanh_rnn(steps=STEPS)
    exact = oracle(case)
    for reference in ("rtrl", "bptt"):
        made = compared(case, ["rtrl", "bptt", "hybrid", "tbptt:1"], start=5, every=3, reference=reference)
        assert made.edges.tolist() == [5, 6, 9, 12]
        np.testing.assert_allclose(made.exact.sum(axis=0), exact[5:].sum(axis=0), rtol=1e-11)
        assert all(made[label].bias < 1e-13 for label in ("RTRL", "BPTT", "Hybrid"))


def test_missing_targets_do_not_count():
    case = oracles.tanh_rnn(steps=STEPS).without(0, 3, 4, 5, 11)
    made = compared(case, ["rtrl", fg.BPTT()], every=3)
    np.testing.assert_allclose(made.exact.sum(axis=0), oracle(case).sum(axis=0), rtol=1e-11)
    assert made["BPTT"].bias < 1e-13
    assert not np.any(made.exact[1])  # steps 3, 4 and 5
    assert np.isnan(made["RTRL"].block_variance[1])


def test_backpropagation_takes_over_where_rtrl_is_dear():
    system = systems.tanh_rnn(units=120, inputs=1, outputs=1)
    xs, ys = np.random.default_rng(0).normal(size=(2, 4, 1))
    assert fg.compare(system, xs, ys, ["tbptt:2"], costs=False).reference == "BPTT"


@pytest.mark.parametrize("states", [0, 10**9])
def test_backpropagation_from_checkpoints_or_from_all_states(monkeypatch, states):
    monkeypatch.setattr(sys.modules["fwdgrad.comparison.reference"], "STATES", states)
    case = oracles.tanh_rnn(steps=STEPS)
    np.testing.assert_allclose(
        compared(case, ["rtrl"], reference="bptt").exact.sum(axis=0), oracle(case).sum(axis=0), rtol=1e-11
    )


# ---------------------------------------------------------------- estimators that are not random


@pytest.mark.quick("tanh-rnn-3", "lotka-volterra", "symbol-rnn")
@EVERY_CASE
def test_what_is_exact_has_no_bias(case):
    chosen = [fg.RTRL(), fg.Hybrid(), fg.Hybrid(2), fg.BPTT(), fg.BPTT(checkpoints=True)]
    chosen += [fg.SparseRTRL()]
    for reference in ("rtrl", "bptt"):
        made = compared(case, chosen, reference=reference)
        for e in made.estimates.values():
            assert e.bias < 1e-12, e.label
            assert np.ptp(e.bias_interval) == np.ptp(e.projection_interval) == e.variance == 0
            assert len(e.gradients) == 1
            assert not e.random
            assert made.reading(e.label).startswith("Exact")


@pytest.mark.covering
@EVERY_CASE
@pytest.mark.parametrize("window", [1, 2, 4])
def test_the_bias_of_truncation_is_the_difference_calculated(case, window):
    made = compared(case, {"it": fg.TBPTT(window)})["it"]
    starts = range(0, len(case.xs), window)
    length = {a: min(window, len(case.xs) - a) for a in starts}  # the last window is finished short
    truncated = sum(flat(case, oracles.window_gradient(case, a, length[a])) for a in starts)
    exact = oracle(case).sum(axis=0)
    np.testing.assert_allclose(made.gradients[0], truncated, rtol=1e-10, atol=1e-12)
    assert made.bias == pytest.approx(np.linalg.norm(truncated - exact) / np.linalg.norm(exact), rel=1e-10)
    assert made.projection == pytest.approx(truncated @ exact / (exact @ exact), rel=1e-10)
    cosine = truncated @ exact / np.linalg.norm(truncated) / np.linalg.norm(exact)
    assert made.cosines[0] == pytest.approx(cosine, rel=1e-10)


def test_a_window_that_slides_by_one():
    case, window = oracles.tanh_rnn(steps=6), 3
    made = compared(case, [fg.TBPTT(window, stride=1)])["TBPTT(3, stride=1)"]
    expected = 0.0
    for t in range(len(case.xs)):
        only = case.without(*(k for k in range(len(case.xs)) if k != t))
        first = max(t - window + 1, 0)
        expected += flat(case, oracles.window_gradient(only, first, t - first + 1))
    np.testing.assert_allclose(made.gradients[0], expected, rtol=1e-10)


def test_the_bias_of_snap_on_a_ring_is_the_one_calculated():
    case = oracles.ring(steps=8)
    n, theta = case.system.size, case.trained()
    jacobian = {k: autograd.jacobian(lambda v, h, x, k=k: case.step(h, x, {**theta, k: v})) for k in theta}
    kept = {k: np.eye(n) for k in theta}  # d_i, e_i and b_i move h_i and nothing else in one step
    G, h, expected = {k: np.zeros((n, n)) for k in theta}, case.system.state, 0.0
    for x, y in zip(case.xs, case.ys, strict=True):
        A = autograd.jacobian(lambda v, x=x: case.step(v, x, theta))(h)
        h_next = case.step(h, x, theta)
        full = {k: A @ G[k] + jacobian[k](theta[k], h, x) for k in theta}
        expected += flat(case, {k: (h_next - y) @ full[k] for k in theta})
        G, h = {k: kept[k] * full[k] for k in theta}, h_next
    made = compared(case, ["snap:1", "snap:5", "sparse-rtrl"])
    np.testing.assert_allclose(made["SnAp-1"].gradients[0], expected, rtol=1e-10)
    assert made["SnAp-1"].bias > 0.01
    assert made.reading("SnAp-1").startswith("Biased, off by")
    assert made["SnAp-5"].bias < 1e-12  # around the ring: nothing is dropped
    assert made["SparseRTRL"].bias < 1e-12


# ---------------------------------------------------------------- intervals


def draws(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random vectors with mean 0."""
    if kind == "gaussian":
        return rng.normal(size=shape)
    if kind == "one direction matters":
        return rng.normal(size=shape) / np.arange(1, shape[-1] + 1)
    signs = rng.choice([-1.0, 1.0], size=(*shape[:-1], 1))  # as a product of a sign and a gradient of random size
    return signs * np.exp(0.5 * rng.normal(size=(*shape[:-1], 1))) + rng.normal(size=shape)


@pytest.mark.covering
@pytest.mark.parametrize("kind", ["gaussian", "one direction matters", "products"])
@pytest.mark.parametrize("p", [1, 4, 60])
@pytest.mark.parametrize("R", [8, 32])
def test_intervals_of_a_squared_norm_hold_what_they_should(kind, p, R):
    rng = np.random.default_rng([p, R])
    noise = draws(kind, rng, (500, R, p))
    spread = np.sqrt(np.var(noise, axis=(0, 1)).sum())
    for bias in (0.0, 0.5, 3.0):  # in units of the standard error of the mean
        shift = np.zeros(p)
        shift[0] = bias * spread / math.sqrt(R)
        found = [squared_norm_interval(d + shift) for d in noise]
        held = np.mean([low <= shift @ shift <= high for _, (low, high) in found])
        assert 0.91 <= held <= 1.0, (bias, held)
        U = np.array([u for u, _ in found])
        assert abs(U.mean() - shift @ shift) < 4 * U.std() / math.sqrt(len(U))  # no bias
    shift[:] = 4 * spread / math.sqrt(p)  # negative control: a bias of four times the noise is not taken for none
    assert all(squared_norm_interval(d + shift)[1][0] > 0 for d in noise)


def test_without_noise_the_interval_is_a_point():
    for R in (1, 2, 5):
        U, interval = squared_norm_interval(np.tile([3.0, 4.0], (R, 1)))
        assert U == 25
        assert interval.tolist() == [25, 25]


def test_a_large_bias_has_the_interval_of_its_logarithm():
    """Far from 0, U is Gaussian; both ways to find the interval agree where one takes over from the other."""
    rng = np.random.default_rng(0)
    d = rng.normal(size=(30, 3))
    near, far = (squared_norm_interval(d + shift)[1] for shift in (50.0, 60.0))
    for interval, shift in ((near, 50.0), (far, 60.0)):
        mean = (d + shift).mean(axis=0)
        along = np.var((d + shift) @ mean, ddof=1) / (mean @ mean)
        half = stats.t.ppf(0.975, 29) * math.sqrt(along / 30)
        np.testing.assert_allclose(np.sqrt(interval), np.linalg.norm(mean) + np.array([-half, half]), atol=0.02)


def test_the_trace_of_the_squared_covariance_is_estimated_without_bias():
    """By enumeration: all samples of four from three equally likely vectors."""
    values = np.array([[1.0, 0.0], [-2.0, 1.0], [4.0, 3.0]])
    covariance = np.cov(values.T, bias=True)
    found = []
    for rows in itertools.product(range(3), repeat=4):
        d = values[list(rows)]
        centred = d - d.mean(axis=0)
        found.append(_trace_of_square(centred @ centred.T)[0])
    assert np.mean(found) == pytest.approx(np.trace(covariance @ covariance), rel=1e-12)


def test_the_interval_of_a_mean_is_students():
    values = np.random.default_rng(0).normal(size=9)
    mean, interval = mean_interval(values)
    expected = stats.t.interval(0.95, 8, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(interval, expected, rtol=1e-12)
    assert mean == values.mean()
    assert mean_interval(values[:1])[1].tolist() == [values[0]] * 2


# ---------------------------------------------------------------- random estimators

UNBIASED = [fg.UORO(), fg.NoBackTrack(), fg.UORO(rank=2), fg.UORO(window=3)]


@pytest.mark.quick("UORO-1-1", "NoBackTrack-1-1")
@pytest.mark.parametrize("estimator", UNBIASED, ids=lambda e: f"{e.name}-{e.rank}-{e.window}")
def test_intervals_of_unbiased_estimators(estimator):
    """In about 57 of 60 comparisons of 16 replicas, that of the bias holds 0 and that of the projection 1."""
    gradients, exact = many(oracles.tanh_rnn(n=2, steps=4), estimator, 960)
    groups = gradients.reshape(60, 16, -1)
    norm = exact @ exact
    no_bias = sum(squared_norm_interval((g - exact) / math.sqrt(norm))[1][0] == 0 for g in groups)
    right = sum(low <= 1 <= high for low, high in (mean_interval(g @ exact / norm)[1] for g in groups))
    assert no_bias >= 50  # four standard deviations of a binomial are 6.8
    assert right >= 48
    whole = squared_norm_interval((gradients - exact) / math.sqrt(norm))[1]
    assert whole[0] == 0
    assert whole[1] < 0.1**2 * 4


@dataclass(frozen=True)
class Scaled(RankOne):
    """UORO with a pull that is too small."""

    factor: float = 0.8

    def pull(self, state: Any, row: Any, layout: Any) -> Any:
        return {k: self.factor * g for k, g in super().pull(state, row, layout).items()}


def test_a_bias_is_not_taken_for_noise():
    """Negative control: the same noise, a fifth of the past left out."""
    case = oracles.tanh_rnn(n=2, steps=STEPS)
    made = compared(case, {"right": fg.UORO(), "wrong": fg.Estimator(Scaled())}, 400)
    assert made["right"].bias_interval[0] == 0
    assert made["wrong"].bias_interval[0] > 0
    assert made.reading("wrong").startswith("Looks biased, off by")
    past = compared(case, ["tbptt:1"])["TBPTT(1)"].bias
    low, high = made["wrong"].bias_interval
    assert low <= 0.2 * past <= high


class NoisyState(NamedTuple):
    exact: Any
    noise: Any


@dataclass(frozen=True)
class Noisy:
    """The exact influence; each gradient is off by σ times a standard Gaussian, drawn at the step before."""

    sigma: float
    inner: Exact = Exact()  # noqa: RUF009 (it is frozen and has no fields)

    def noise(self, layout: Any) -> Any:
        return tuple(NoiseSpec("normal", shape) for shape in layout.leaves.values())

    def init(self, layout: Any, start: Any = ()) -> Any:
        return NoisyState(self.inner.init(layout), {k: np.zeros(s) for k, s in layout.leaves.items()})

    def pull(self, state: Any, row: Any, layout: Any) -> Any:
        exact = self.inner.pull(state.exact, row, layout)
        return {k: exact[k] + self.sigma * state.noise[k] for k in exact}

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        leaves = dict(zip(state.noise, noise, strict=True))
        return NoisyState(self.inner.advance(state.exact, lin, ()), leaves)

    def magnitude(self, state: Any) -> Any:
        return self.inner.magnitude(state.exact)

    def dense(self, state: Any, layout: Any) -> Any:
        return self.inner.dense(state.exact, layout)


def test_a_known_variance_is_found():
    case, sigma, R = oracles.tanh_rnn(steps=STEPS), 0.7, 400
    made = compared(case, {"noisy": fg.Estimator(Noisy(sigma))}, R, every=3, leaves=["W", "U", "b"])
    p, e = made.exact.shape[1], made["noisy"]
    noisy_steps = np.array([2, 3, 3, 3])  # the first step has nothing before it
    expected = sigma**2 * p * noisy_steps
    tolerance = 4 * math.sqrt(2 / (R * p * 2))  # four standard errors of a chi-square
    np.testing.assert_allclose(e.block_variance * np.sum(made.exact**2, axis=1), expected, rtol=tolerance)
    total = made.exact.sum(axis=0)
    assert e.variance * (total @ total) == pytest.approx(sigma**2 * p * 11, rel=tolerance)
    assert e.variance == pytest.approx(np.sum(np.var(e.gradients, axis=0, ddof=1)) / (total @ total), rel=1e-12)
    assert e.error == pytest.approx(math.sqrt(e.bias**2 + e.variance))
    assert e.cosine_quantiles().shape == (5,)
    assert np.all(np.abs(e.cosines) <= 1 + 1e-12)


def test_copies_divide_the_variance():
    """log variance against log rank: slope −1."""
    ranks, R = [1, 2, 4, 8], 150
    case = oracles.tanh_rnn(steps=6)
    made = compared(case, {str(k): fg.UORO(rank=k) for k in ranks}, R, leaves=["W", "U", "b"])
    variances, errors = [], []
    for k in ranks:
        g = made[str(k)].gradients
        squares = np.sum((g - g.mean(axis=0)) ** 2, axis=1)
        variances.append(made[str(k)].variance)
        errors.append(squares.std() / squares.mean() / math.sqrt(R))  # of the logarithm
    x = np.log(ranks) - np.mean(np.log(ranks))
    slope = x @ np.log(variances) / (x @ x)
    error = math.sqrt(np.sum((x * errors) ** 2)) / (x @ x)
    assert error < 0.12
    assert slope == pytest.approx(-1, abs=4 * error)


@pytest.mark.parametrize(("units", "minus", "steps"), [(7, 4, 300), pytest.param(23, 13, 1000, marks=pytest.mark.slow)])
def test_influence_balancing_shows_what_the_papers_say(units, minus, steps):
    """UORO paper, §6: truncation points the wrong way; UORO and NoBackTrack do not, on average."""
    system = systems.influence_balancing(units, minus)
    chosen = [fg.RTRL(), fg.TBPTT(10), fg.UORO(), fg.NoBackTrack()]
    made = fg.compare(system, None, np.ones(steps), chosen, replicas=64, start=50, costs=False)
    assert made["RTRL"].bias < 1e-12
    assert made["TBPTT(10)"].projection < -0.5
    assert "points the wrong way" in made.reading("TBPTT(10)")
    for label in ("UORO", "NoBackTrack"):
        low, high = made[label].projection_interval
        assert 0 < low <= 1 <= high
        assert made[label].bias_interval[0] == 0
        assert made.reading(label).startswith("Unbiased within its interval, 0 to ")
    assert str(made).count("wrong way") == 1


def test_truncation_turns_round_where_the_papers_say():
    """At full size, 23 units of which 13 are minus: windows of 10 and 100 are wrong, 200 is right."""
    chosen = [f"tbptt:{window}" for window in (10, 100, 200)]
    made = fg.compare(systems.influence_balancing(23, 13), None, np.ones(800), chosen, start=400, costs=False)
    assert [bool(e.projection < 0) for e in made.estimates.values()] == [True, True, False]


def test_random_ends_and_directions():
    case = oracles.tanh_rnn(n=2, steps=STEPS)
    made = compared(case, [fg.ARTBP(0.2), "forward-gradient"], 100)
    for e in made.estimates.values():
        assert e.random
        assert e.projection_interval[0] <= 1 <= e.projection_interval[1]
        assert e.bias_interval[0] == 0


# ---------------------------------------------------------------- the same numbers, however they are made


def numbers(made: fg.Comparison) -> list[np.ndarray]:
    found = [made.exact, made.edges]
    for e in made.estimates.values():
        found += [e.gradients, e.block_variance, e.bias_interval, e.projection_interval, e.variance, e.cosines]
    return found


def same(a: fg.Comparison, b: fg.Comparison) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(numbers(a), numbers(b), strict=True))


def closure_system() -> fg.System:
    """Functions that cannot be imported by another process."""
    weights, n = np.random.default_rng(3).normal(size=(3, 3)), 3
    return fg.System(
        lambda h, x, p: np.tanh(p["W"] @ h + weights @ x),
        lambda h, x, p: p["V"] @ h,
        np.zeros(n),
        {"W": 0.5 * np.eye(n), "V": np.ones((1, n))},
        np.zeros(n),
        loss=lambda yhat, y: np.sum(np.log(np.cosh(yhat - y))),
    )


@functools.cache
def stream() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(40, 3)), rng.normal(size=(40, 1))


def test_the_number_of_processes_changes_nothing():
    chosen = [fg.UORO(), fg.TBPTT(4), fg.Estimator(Scaled(), rank=2, name="mine")]
    alone, two = (
        fg.compare(closure_system(), *stream(), chosen, replicas=19, n_jobs=jobs, costs=False) for jobs in (1, 2)
    )
    assert same(alone, two)
    other = fg.compare(closure_system(), *stream(), chosen, replicas=19, seed=1, costs=False)
    assert not same(alone, other)
    assert np.array_equal(alone["TBPTT(4)"].gradients, other["TBPTT(4)"].gradients)


def test_neither_other_estimators_nor_more_replicas_change_a_replica():
    few = fg.compare(closure_system(), *stream(), ["uoro"], replicas=3, costs=False)
    more = fg.compare(closure_system(), *stream(), ["tbptt:2", "nobacktrack", "uoro"], replicas=12, costs=True)
    assert np.array_equal(few["UORO"].gradients, more["UORO"].gradients[:3])
    assert not np.array_equal(more["UORO"].gradients, more["NoBackTrack"].gradients)


def test_seeds_are_integers_or_generators():
    def made(seed):
        return fg.compare(closure_system(), *stream(), ["uoro"], replicas=2, seed=seed, costs=False)

    assert same(made(np.random.default_rng(5)), made(np.random.default_rng(5)))
    assert same(made(7), made(np.int64(7)))
    assert not same(made(np.random.default_rng(5)), made(np.random.default_rng(6)))


@pytest.mark.parametrize("engine", ["numpy", "eager", "compiled"])
def test_engines_agree(engine):
    if engine == "compiled":
        pytest.importorskip("llvmlite")
        pytest.importorskip("fwdgrad.engines.compiled_engine")
    case = oracles.tanh_rnn(n=2, steps=6)
    chosen = [fg.UORO(), fg.TBPTT(2), fg.BPTT()]
    if engine == "compiled":
        chosen = chosen[:1]  # compiling takes seconds
    made = compared(case, chosen, 4, engine=engine, costs=engine == "eager")
    expected = compared(case, chosen, 4)
    for label in made.estimates:
        np.testing.assert_allclose(made[label].gradients, expected[label].gradients, rtol=1e-9)
    assert made.engine == engine
    assert engine != "eager" or made["UORO"].cost.time_ratio > 0


def test_single_precision_is_compared_in_double():
    case = oracles.tanh_rnn(n=2, steps=6)
    params = {k: v.astype(np.float32) for k, v in case.system.params.items()}
    state = case.system.state.astype(np.float32)
    single = fg.System(case.system.F, case.system.Y, state, params, np.zeros(2, np.float32))
    made = fg.compare(single, *samples(case), ["rtrl", "bptt", "uoro"], 4, reference="bptt", costs=False)
    assert made["UORO"].gradients.dtype == np.float64
    assert 0 < made["RTRL"].bias < 1e-5
    assert made.reading("RTRL").startswith("Exact, up to rounding")


# ---------------------------------------------------------------- what is compared


def test_parameters_may_be_given_and_leaves_chosen():
    case = oracles.tanh_rnn(steps=6)
    moved = {"W": 0.5 * case.params["W"], "V": case.params["V"] + 1}
    made = compared(case, ["tbptt:2"], params=moved, leaves=["V", "W"])
    other = replace(case)
    object.__setattr__(other, "params", {**case.params, **moved})
    exact = sum(np.concatenate([np.ravel(g[k]) for k in ("W", "V")]) for g in oracles.total_gradients(other))
    assert made.leaves == ("W", "V")
    np.testing.assert_allclose(made.exact.sum(axis=0), exact, rtol=1e-11)
    assert np.array_equal(case.system.params["W"], oracles.tanh_rnn().system.params["W"])


def test_by_default_leaves_that_only_the_output_uses_are_left_out():
    case = oracles.tanh_rnn(steps=6)
    assert compared(case, ["rtrl"], leaves=None).leaves == ("W", "U", "b")
    assert compared(case, ["tbptt:1"], leaves="V")["TBPTT(1)"].bias < 1e-12  # exact under every estimator
    memoryless = fg.System(lambda h, x, p: h + x, lambda h, x, p: p["V"] * h, np.zeros(1), {"V": 1.0}, np.zeros(1))
    made = fg.compare(memoryless, np.ones((4, 1)), np.zeros((4, 1)), ["uoro", "tbptt:1"], 2, costs=False)
    assert made.leaves == ("V",)
    assert made.reading("UORO").startswith("Exact")


def test_blocks_end_where_windows_do():
    case = oracles.tanh_rnn(steps=100)

    def edges(estimators, **options):
        return np.diff(compared(case, estimators, 2, leaves=["b"], **options).edges).tolist()

    assert edges(["rtrl"]) == [5] * 20
    assert edges(["rtrl", fg.TBPTT(3)]) == [6] * 16 + [4]
    assert edges([fg.TBPTT(4), fg.TBPTT(6)]) == [12] * 8 + [4]
    assert edges([fg.TBPTT(40, stride=10)]) == [10] * 10
    assert edges([fg.TBPTT(90)]) == [5] * 20  # impossible
    assert edges(["hybrid"]) == [6] * 16 + [4]  # three state variables
    assert edges(["rtrl"], every=30, start=20) == [10, 30, 30, 10]
    assert edges(["rtrl"], every=1000) == [100]
    assert edges(["rtrl"], steps=7) == [1] * 7


def test_a_gradient_belongs_to_the_block_of_its_update():
    case = oracles.tanh_rnn(steps=10)
    study, chosen = study_for(case, {"it": fg.TBPTT(4)}, 3)
    blocks = study.gradients(chosen["it"])
    windows = [oracles.window_gradient(case, a, n) for a, n in ((0, 4), (4, 4), (8, 2))]
    expected = [np.concatenate([np.ravel(g[k]) for k in study.leaves]) for g in windows]
    np.testing.assert_allclose(blocks, [0 * expected[0], *expected[:2], expected[2]], rtol=1e-9, atol=1e-12)


def test_single_steps_have_the_gradients_of_their_losses():
    """The numbers are those of blocks of one step, whatever lies between, by both references."""
    case = oracles.tanh_rnn(steps=STEPS)
    chosen, at = ["rtrl", "uoro", "tbptt:1"], [2, 3, 9]
    every = compared(case, chosen, every=1)
    for reference in ("rtrl", "bptt"):
        made = compared(case, chosen, at=[9, 2, 3, 3], reference=reference)
        assert made.edges.tolist() == [*at, 10]
        np.testing.assert_allclose(made.exact, oracle(case)[at], rtol=1e-11, atol=1e-13)
        assert made["RTRL"].bias < 1e-13 < made["TBPTT(1)"].bias
        np.testing.assert_allclose(made["UORO"].block_variance, every["UORO"].block_variance[at], rtol=1e-6)
    windows = compared(case, ["tbptt:4"], at=[1, 6])["TBPTT(4)"]
    expected = [
        oracles.window_gradient(case.without(*{*range(STEPS)} - {step}), a, n) for step, a, n in ((1, 0, 4), (6, 4, 3))
    ]
    np.testing.assert_allclose(windows.gradients[0], sum(flat(case, g) for g in expected), rtol=1e-9, atol=1e-12)


def test_labels():
    chosen = [fg.UORO(), fg.UORO(rank=2), fg.UORO("probe"), fg.UORO(window=4), "uoro", fg.NoBackTrack("mixed"), "auto"]
    chosen += [fg.Estimator(Scaled(), window=2), fg.UORO(signs="normal"), fg.TBPTT(4, stride=2), fg.Hybrid(3)]
    made = compared(oracles.tanh_rnn(n=2, steps=4), chosen, 2)
    assert list(made.estimates) == [
        "UORO",
        "UORO, rank 2",
        "UORO, probe",
        "UORO, window 4",
        "UORO #2",
        "NoBackTrack, mixed",
        "auto: RTRL",
        "estimator, window 2",
        "UORO, normal",
        "TBPTT(4, stride=2)",
        "Hybrid(3)",
    ]
    assert list(compared(oracles.tanh_rnn(), "uoro", 2).estimates) == ["UORO"]
    assert list(compared(oracles.tanh_rnn(), fg.RTRL(), 2).estimates) == ["RTRL"]
    with pytest.raises(fg.errors.UnknownNameError, match="Did you mean 'UORO'"):
        made["uoro"]


# ---------------------------------------------------------------- costs


def test_costs_are_measured_beside_the_model():
    case = oracles.tanh_rnn(n=6, steps=30)
    made = compared(case, ["rtrl", "uoro", "tbptt:4", "bptt", "artbp:0.2"], 2, costs=True)
    n, p = 6, 6 * 6 + 6 * 2 + 6
    assert made.model_seconds > 0
    assert made.model_bytes > 0
    assert made["RTRL"].cost.influence_bytes == 8 * n * p
    assert 0 <= made["UORO"].cost.influence_bytes - 8 * (n + p) < 16
    assert made["TBPTT(4)"].cost.influence_bytes == made["BPTT"].cost.influence_bytes == 0
    for e in made.estimates.values():
        assert e.cost.time_ratio > 1
        assert e.cost.memory_ratio == e.cost.peak_bytes / made.model_bytes
        assert 0.2 < e.cost.seconds / made.model_seconds / e.cost.time_ratio < 5
    assert made["RTRL"].cost.peak_bytes > 8 * n * p
    assert made["RTRL"].cost.memory_ratio > made["TBPTT(4)"].cost.memory_ratio


def test_memory_is_that_of_the_steps(monkeypatch):
    """Of backpropagation it grows with the sequence; tracemalloc goes on if it was already on."""
    import tracemalloc

    monkeypatch.setattr("fwdgrad.comparison.cost.SECONDS", 0.0)  # of which nothing is asked here
    monkeypatch.setattr("fwdgrad.comparison.cost.LEAST", 1)
    case, made = oracles.tanh_rnn(n=8, steps=320), {}
    for steps in (80, 320):
        if steps == 80:
            tracemalloc.start()
        try:
            made[steps] = compared(case, ["bptt", "uoro"], 2, steps=steps, costs=True)
            assert tracemalloc.is_tracing() == (steps == 80)
        finally:
            tracemalloc.stop()
    short, long = made[80], made[320]
    assert long["BPTT"].cost.peak_bytes > 2 * short["BPTT"].cost.peak_bytes
    assert long["UORO"].cost.peak_bytes < 1.3 * short["UORO"].cost.peak_bytes


# ---------------------------------------------------------------- what is said and shown


@functools.cache
def shown() -> fg.Comparison:
    case = oracles.tanh_rnn(steps=60)
    return compared(case, ["rtrl", "uoro", fg.UORO(rank=4), "tbptt:3", "snap:1"], 16, costs=True, leaves=None)


def test_the_table_is_aligned_and_narrow():
    made = shown()
    lines = str(made).splitlines()
    assert max(map(len, lines)) <= 100
    head = next(k for k, line in enumerate(lines) if "projection" in line)
    table = lines[head : head + 6]
    assert len({len(line) for line in table}) == 1
    assert [line.split("  ")[1] for line in table[1:]] == list(made.estimates)
    for label in made.estimates:
        assert any(line.startswith(f"  {label} ") and made.reading(label)[:20] in line for line in lines)
    low, high = made["UORO"].bias_interval
    assert f"[{number(low)}, {number(high)}]" in table[2]
    assert f"0 to {number(high)} times" in made.reading("UORO")  # never unbiased without its interval
    assert "–" in str(compared(oracles.tanh_rnn(), ["a" * 0 or "rtrl"]))  # not measured
    assert max(map(len, str(compared(oracles.tanh_rnn(), {"long " * 20: fg.UORO()})).splitlines())) <= 100


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (-0.5, "−0.50"),
        (12.34, "12.3"),
        (1234.5, "1234"),
        (0.0456, "0.046"),
        (1.5e-5, "1.5e−5"),
        (2e-16, "2e−16"),
        (123456.0, "1.2e5"),
    ],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


def fake(**changes: Any) -> Any:
    """A random estimate with the numbers that matter to its reading."""
    made = shown()["UORO"]
    return replace(made, **{k: np.array(v) if isinstance(v, list) else v for k, v in changes.items()})


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"bias_interval": [0.0, 0.2], "projection_interval": [0.9, 1.1]}, "Unbiased within its interval, 0 to 0.20 "),
        ({"bias_interval": [0.0, 2.0], "projection_interval": [-1.0, 3.0]}, "Unbiased within its interval, 0 to 2.00 "),
        ({"bias_interval": [0.1, 0.2], "projection_interval": [0.9, 1.1]}, "Looks biased, off by 0.10 to 0.20 times"),
        (
            {"bias_interval": [1.1, 1.9], "projection_interval": [-0.9, -0.1]},
            "Looks biased: points the wrong way, off by 1.1",
        ),
        ({"bias_interval": [0.9, 1.9], "projection_interval": [-0.9, 0.1]}, "Looks biased, off by 0.90 to 1.90 times"),
        ({"bias_interval": [0.0, 0.2], "projection_interval": [0.8, 0.9]}, "Unclear"),
        ({"bias_interval": [0.0, 1e-14], "projection_interval": [1.0, 1.0]}, "Exact, up to rounding"),
    ],
)
def test_readings(changes, start):
    from fwdgrad.comparison.report import reading

    said = reading(fake(**changes), 1e-9)
    assert said.startswith(start)
    assert ("take more replicas" in said) == (changes["bias_interval"][1] == 2.0 or start == "Unclear")


def test_the_picture_shows_the_numbers(tmp_path):
    pytest.importorskip("matplotlib")
    made = shown()
    figure = made.plot(tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 10_000
    projections, noise, costs = figure.axes
    assert [tick.get_text() for tick in projections.get_yticklabels()] == list(made.estimates)
    spans = [line.get_xdata() for line in projections.get_lines() if len(line.get_xdata()) == 2]
    assert any(np.allclose(span, made["UORO"].projection_interval) for span in spans)
    curves = [line.get_ydata() for line in noise.get_lines()]
    assert len(curves) == 2  # what is not random has no noise
    assert np.array_equal(curves[0], made["UORO"].block_variance)
    points = costs.collections[0].get_offsets()
    errors = np.array([e.error for e in made.estimates.values()])
    assert np.allclose(points[1:, 1], errors[1:])
    assert points[0, 1] < errors[1:].min()  # exact: on the line at the bottom
    assert np.allclose(points[:, 0], [e.cost.time_ratio for e in made.estimates.values()])
    boxes = [text.get_window_extent() for text in costs.texts if text.get_text() in made.estimates]
    assert len(boxes) == 5


def test_names_in_the_picture_do_not_overlap():
    text = pytest.importorskip("matplotlib.text").Text
    figure = shown().plot()
    figure.draw_without_rendering()
    axes = figure.axes[2]
    boxes = [text.get_window_extent(label) for label in axes.texts]  # without its leader
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.covering
@pytest.mark.parametrize("options", [{"costs": False}, {"costs": True, "every": 1000}])
@pytest.mark.parametrize("chosen", [["rtrl"], ["uoro", "tbptt:2"], [fg.UORO(rank=k) for k in range(1, 13)]])
def test_any_comparison_can_be_drawn(tmp_path, chosen, options):
    pytest.importorskip("matplotlib")
    compared(oracles.tanh_rnn(n=2, steps=4), chosen, 2, **options).plot(tmp_path / "p.svg")


def test_pictures_that_cannot_be_written_are_refused(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    with pytest.raises(fg.errors.DeclarationError, match=r"\.png"):
        shown().plot(tmp_path / "p.doc")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(fg.errors.DeclarationError, match=r"fwdgrad\[plot\]"):
        shown().plot()


def test_progress_is_told():
    seen = []
    compared(oracles.tanh_rnn(n=2, steps=3), ["uoro", "rtrl"], 20, progress=lambda *done: seen.append(done))
    assert seen == [(8, 21), (16, 21), (20, 21), (21, 21)]


def test_a_bar_can_be_shown(capsys):
    compared(oracles.tanh_rnn(n=2, steps=3), ["uoro"], 2, progress=True)
    assert "2/2" in capsys.readouterr().err


# ---------------------------------------------------------------- what cannot be compared


@pytest.mark.parametrize(
    ("change", "error", "fragments"),
    [
        ({"replicas": 1}, fg.errors.DeclarationError, ["UORO is random", "at least 2"]),
        ({"replicas": 0}, fg.errors.DeclarationError, ["replicas", "0"]),
        ({"replicas": 2.5}, fg.errors.DeclarationError, ["replicas", "2.5"]),
        ({"estimators": []}, fg.errors.DeclarationError, ["at least one estimator"]),
        ({"estimators": {}}, fg.errors.DeclarationError, ["at least one estimator"]),
        ({"estimators": 3}, fg.errors.DeclarationError, ["a list of estimators", "3"]),
        ({"estimators": [fg.UORO]}, fg.errors.DeclarationError, ["Call it", "fg.UORO()"]),
        ({"estimators": ["uro"]}, fg.errors.DeclarationError, ["'uro'"]),
        ({"ys": None}, fg.errors.DataError, ["targets", "None"]),
        ({"ys": np.full((40, 1), np.nan)}, fg.errors.DataError, ["targets", "none", "step 0 to 40"]),
        ({"ys": iter([])}, fg.errors.DataError, ["ys as an array", "length"]),
        ({"xs": (row for row in range(3))}, fg.errors.DataError, ["xs as an array", "generator", "np.array(list"]),
        ({"xs": {"a": iter([])}}, fg.errors.DataError, ["xs as an array"]),
        ({"xs": np.ones((40, 2))}, fg.errors.ShapeError, ["x", "(3,)"]),
        ({"xs": np.ones((39, 3))}, fg.errors.DataError, ["different lengths"]),
        ({"start": 40}, fg.errors.DataError, ["targets", "step 40"]),
        ({"start": -1}, fg.errors.DeclarationError, ["start", "-1"]),
        ({"every": 0}, fg.errors.DeclarationError, ["every", "0"]),
        ({"at": [1], "every": 3}, fg.errors.DeclarationError, ["at=", "every"]),
        ({"at": 3}, fg.errors.DeclarationError, ["at=", "[10, 100]", "3"]),
        ({"at": []}, fg.errors.DeclarationError, ["at=", "0 to 39"]),
        ({"at": [3, 40]}, fg.errors.DeclarationError, ["at=", "0 to 39", "40"]),
        ({"at": [5, 6], "estimators": ["tbptt:3", "tbptt:4"]}, fg.errors.DeclarationError, ["TBPTT(4)", "5 and 6"]),
        ({"at": [4, 5], "estimators": ["bptt"]}, fg.errors.DeclarationError, ["BPTT", "window"]),
        ({"at": [0], "ys": np.r_[[[np.nan]], np.ones((39, 1))]}, fg.errors.DataError, ["step 0 has no target"]),
        ({"steps": 0}, fg.errors.DeclarationError, ["steps", "0"]),
        ({"seed": -1}, fg.errors.DeclarationError, ["seed", "-1"]),
        ({"seed": "a"}, fg.errors.DeclarationError, ["seed", "'a'"]),
        ({"reference": "exact"}, fg.errors.DeclarationError, ["reference", "rtrl"]),
        ({"n_jobs": 0}, fg.errors.DeclarationError, ["n_jobs", "0"]),
        ({"engine": "fast"}, fg.errors.DeclarationError, ["engine", "'fast'"]),
        ({"params": {"w": 1}}, fg.errors.UnknownNameError, ["'w'", "Did you mean 'W'"]),
        ({"params": {"W": 1}}, fg.errors.ShapeError, ["(3, 3)", "'W'"]),
        ({"params": {"V": np.zeros((1, 3))}}, fg.errors.DataError, ["gradient of W is zero", "params=learner.params"]),
        ({"leaves": ["X"]}, fg.errors.UnknownNameError, ["'X'"]),
        ({"leaves": []}, fg.errors.DeclarationError, ["leaves"]),
        ({"progress": 3}, fg.errors.DeclarationError, ["progress", "3"]),
        ({"system": None}, fg.errors.DeclarationError, ["fg.System"]),
    ],
)
def test_what_makes_no_sense_is_refused(change, error, fragments):
    xs, ys = stream()
    given = {"system": closure_system(), "xs": xs, "ys": ys, "estimators": ["uoro"], "replicas": 2, **change}
    with pytest.raises(error) as refused:
        fg.compare(**given)
    said = str(refused.value)
    assert all(fragment in said for fragment in fragments), said
    assert len(said.splitlines()) <= 5


@dataclass(frozen=True)
class Breaking(RankOne):
    """UORO that is not finite once a number drawn at the start is large."""

    def noise(self, layout: Any) -> Any:
        return (*super().noise(layout), NoiseSpec("uniform", (), "start"))

    def init(self, layout: Any, start: Any = ()) -> Any:
        made = super().init(layout, ())
        return BrokenState(made, np.where(np.asarray(start[0]) > 0.8, 1.0, 0.0), np.zeros(()))

    def pull(self, state: Any, row: Any, layout: Any) -> Any:
        late = np.where(state.count > 9.5, state.bad, 0.0)
        return {k: g / (1.0 - late) for k, g in super().pull(state.inner, row, layout).items()}

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        return BrokenState(super().advance(state.inner, lin, noise), state.bad, state.count + 1.0)

    def magnitude(self, state: Any) -> Any:
        return super().magnitude(state.inner)


class BrokenState(NamedTuple):
    inner: Any
    bad: Any
    count: Any


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_replica_that_is_not_finite_is_named(jobs):
    def made(replicas):
        return fg.compare(
            closure_system(), *stream(), {"mine": fg.Estimator(Breaking())}, replicas, n_jobs=jobs, costs=False
        )

    with pytest.raises(fg.errors.NonFiniteError, match=r"mine, replica \d+: .* W .* at step 10") as refused:
        made(32)
    assert refused.value.step == 10
    said = str(refused.value)
    replica = int(said.partition("replica ")[2].partition(":")[0])
    key = int(said.partition("spawn_key=(")[2].partition(",")[0])
    noise = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(key, replica)))
    assert noise.random() > 0.8  # the generator that is named is the one that was used
    if replica > 1:
        made(replica)  # those before are fine


def test_a_system_that_diverges_is_said_to():
    system = fg.System(lambda h, x, p: p["a"] * h * h, None, np.full(1, 4.0), {"a": 1.0})
    with pytest.raises(fg.errors.NonFiniteError, match="exact gradient"):
        fg.compare(system, None, np.zeros((20, 1)), ["tbptt:1"])


def test_batches_are_reduced_in_order():
    case = oracles.tanh_rnn(n=2, steps=4)
    study, chosen = study_for(case, ["uoro"], 2)
    _, exact = exact_gradients(study)
    made = list(replicate(study, chosen, exact, {"UORO": 19}, 0, 1, Progress("compare", False, 19)))
    assert [len(batch.gradients) for _, batch in made] == [8, 8, 3]
    everything = np.concatenate([batch.gradients for _, batch in made])
    sums = sum(batch.sums for _, batch in made)
    np.testing.assert_allclose(sums.sum(axis=0), (everything - exact.sum(axis=0)).sum(axis=0), atol=1e-12)
