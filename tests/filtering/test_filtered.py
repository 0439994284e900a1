"""`fg.filtered`: a filter as a system, against filterpy, and against autograd through a filter with plain matrices."""

import math
import warnings
from dataclasses import replace

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from scipy.linalg import expm
from scipy.stats import multivariate_normal

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import DeclarationError, ShapeError, TracingError, UnknownNameError
from fwdgrad.losses import Innovations
from fwdgrad.program import Abstract, Linearized, trace, whole
from fwdgrad.support.trees import flatten
from fwdgrad.system.parameters import Parameter
from fwdgrad.testing import check_estimator, check_system

NOTHING = fg.SGD(1e-300)
"""Learns nothing."""
STILL = fg.TBPTT(1), NOTHING


def matrix(rng, size, least=0.2):
    half = rng.normal(size=(size, size))
    return half @ half.T + least * np.eye(size)


class Linear:
    """h' = A h + B x, y = C h, with noise of full covariances."""

    def __init__(self, seed=0, n=3, m=2):
        rng = np.random.default_rng(seed)
        self.n, self.m = n, m
        self.A, self.B, self.C = 0.5 * rng.normal(size=(n, n)), rng.normal(size=(n, 2)), rng.normal(size=(m, n))
        self.Q, self.R, self.P0 = matrix(rng, n), matrix(rng, m), matrix(rng, n)
        self.start = rng.normal(size=n)

    def system(self, first, **noise):
        params = {"A": self.A, "B": self.B, "C": self.C}
        plain = fg.System(
            lambda h, x, p: p["A"] @ h + p["B"] @ x, lambda h, x, p: p["C"] @ h, self.start, params, np.zeros(2),
            first=first,
        )  # fmt: skip
        given = {"process": self.Q, "observation": self.R, "initial_covariance": self.P0}
        return fg.filtered(plain, **(given | noise))

    def samples(self, length, seed=1):
        rng = np.random.default_rng(seed)
        xs, ys = rng.normal(size=(length, 2)), rng.normal(size=(length, self.m))
        ys[5], ys[9, 1], ys[20, 0] = np.nan, np.nan, np.nan
        return xs, ys


def innovations_of(system, h):
    """Mean and covariance in the state of a filter."""
    n = system.wrapped.size
    upper = np.zeros((n, n))
    upper[np.triu_indices(n)] = h[n:]
    return h[:n], upper.T @ upper


# ---- the linear case


@pytest.mark.parametrize("first", ["initial", "next"])
def test_states_covariances_and_likelihoods_are_those_of_filterpy(first):
    """To 1e-10 over 300 steps, with missing and half missing samples; another R is another filter."""
    case = Linear()
    xs, ys = case.samples(300)
    other = KalmanFilter(case.n, case.m, 2)
    other.x, other.P = case.start.copy(), case.P0.copy()
    other.F, other.B, other.H, other.Q, other.R = case.A, case.B, case.C, case.Q, case.R
    system = case.system(first)
    learner = fg.Learner(system, fg.TBPTT(1), NOTHING, engine="numpy")
    worst, total = 0.0, 0.0
    for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if first == "next" or k:
            other.predict(u=x)
        loss, seen = learner.step(x, y), np.isfinite(y)
        mean, covariance = innovations_of(system, np.array(learner._loop.carry[0]))
        worst = max(worst, np.abs(mean - other.x).max(), np.abs(covariance - other.P).max())
        if seen.any():
            S = (case.C @ other.P @ case.C.T + case.R)[np.ix_(seen, seen)]
            density = multivariate_normal((case.C @ other.x)[seen], S).logpdf(y[seen])
            other.update(y[seen], R=case.R[np.ix_(seen, seen)], H=case.C[seen])
            worst, total = max(worst, abs(density + loss)), total + density
        if k % 50 < 2:  # with what this sample told
            off = learner.state - other.x, learner.state_std() ** 2 - np.diag(other.P)
            worst = max(worst, np.abs(off).max())
    assert worst < 1e-10
    assert abs(total) > 300
    wrong = fg.Learner(case.system(first, observation=1.01 * case.R), fg.TBPTT(1), NOTHING, engine="numpy")
    assert abs(np.nansum(wrong.run(xs, ys).loss) + total) > 1e-3


def dense(case, params, xs, ys, first):
    """The log-likelihood by plain matrices, for autograd."""
    x, P = case["start"](params), case["P0"](params)
    total = 0.0
    for k, (u, y) in enumerate(zip(xs, ys, strict=True)):
        if first == "next" or k:
            F = lambda h, u=u: case["F"](h, u, params)  # noqa: E731
            A = autograd.jacobian(F)(x)
            x, P = F(x), anp.dot(anp.dot(A, P), A.T) + case["Q"](params, u, x)
        seen = np.isfinite(y)
        if not seen.any():
            continue
        pick = np.eye(len(y))[seen]
        Y = lambda h: anp.dot(pick, case["Y"](h, params))  # noqa: B023, E731
        C = autograd.jacobian(Y)(x)
        S = anp.dot(anp.dot(C, P), C.T) + anp.dot(anp.dot(pick, case["R"](params)), pick.T)
        e = y[seen] - Y(x)
        inverse = anp.linalg.inv(S)
        total = total + 0.5 * anp.log(anp.linalg.det(S)) + 0.5 * anp.dot(e, anp.dot(inverse, e))
        total = total + 0.5 * math.log(2 * math.pi) * seen.sum()
        gain = anp.dot(anp.dot(P, C.T), inverse)
        x, P = x + anp.dot(gain, e), P - anp.dot(gain, anp.dot(C, P))
    return total


class SumOfGradients:
    """Moves nothing; its state is the sum of all gradients."""

    def init(self, params):
        return {k: np.zeros_like(v) for k, v in params.items()}

    def update(self, grads, state, params):
        return {}, {k: state[k] + g for k, g in grads.items()}


def factor(params, who, n):
    """UᵀU from the two parameters of `fg.cholesky`."""
    upper = anp.diag(params[f"{who}_diagonal"])
    for place, (i, j) in enumerate(zip(*np.triu_indices(n, 1), strict=True)):
        unit = np.zeros((n, n))
        unit[i, j] = 1.0
        upper = upper + params[f"{who}_above"][place] * unit
    return anp.dot(upper.T, upper)


def linear_case():
    case = Linear(n=2)
    noise = {"process": case.Q, "observation": case.R, "initial_covariance": case.P0}
    system = case.system("initial", **{k: fg.cholesky(v) for k, v in noise.items()})
    return system, {
        "F": lambda h, u, p: anp.dot(p["A"], h) + anp.dot(p["B"], u),
        "Y": lambda h, p: anp.dot(p["C"], h),
        "Q": lambda p, u, h: factor(p, "process", 2),
        "R": lambda p: factor(p, "observation", 2),
        "P0": lambda p: factor(p, "initial_covariance", 2),
        "start": lambda p: case.start,
    }, case.samples(30)[0][:14], case.samples(30)[1][:14]  # fmt: skip


def pendulum(h, x, p):
    return anp.array([h[1], -p["g"] * anp.sin(h[0]) - p["c"] * h[1] + x["push"]])


def heun(h, x, p, part=1.0):
    dt = part * x["dt"]
    k1 = pendulum(h, x, p)
    return h + 0.5 * dt * (k1 + pendulum(h + dt * k1, x, p))


def all_along(p, x, h):
    """Noise in the velocity, at the beginning, in the middle and at the end of a step, by Simpson's rule."""
    middle, total = heun(h, x, p, 0.5), 0.0
    ways = (
        autograd.jacobian(lambda v: heun(v, x, p))(h),
        autograd.jacobian(lambda v: heun(v, x, p, 0.5))(middle),
        np.eye(2),
    )
    for weight, way in zip((1.0, 4.0, 1.0), ways, strict=True):
        total = total + weight * anp.dot(anp.dot(way, anp.diag(anp.array([0.0, p["q"]]))), way.T)
    return x["dt"] / 6.0 * total


def pendulum_case():
    """Uneven times, a learned initial state, one variance in two places, one of noise that is only in the velocity."""
    params = {"g": fg.positive(2.0), "c": 0.3, "h0": np.array([0.5, -0.2]), "q": fg.positive(0.2)}
    plain = fg.System(
        pendulum, lambda h, x, p: np.array([np.sin(h[0]), h[1] * h[0]]), lambda p: p["h0"], params,
        {"push": 0.0, "dt": 0.1}, dt="dt", method="heun",
    )  # fmt: skip
    system = fg.filtered(
        plain, lambda p: np.stack([0.0 * p["q"], p["q"]]), [0.04, 0.09], initial_covariance=fg.positive([0.3, 0.5])
    )
    rng = np.random.default_rng(3)
    xs = [{"push": rng.normal(), "dt": 0.3 * rng.uniform()} for _ in range(12)]
    ys = rng.normal(size=(12, 2))
    ys[4], ys[7, 0] = np.nan, np.nan
    xs[6]["dt"] = 0.0
    return system, {
        "F": heun,
        "Y": lambda h, p: anp.array([anp.sin(h[0]), h[1] * h[0]]),
        "Q": all_along,
        "R": lambda p: np.diag([0.04, 0.09]),
        "P0": lambda p: anp.diag(p["initial_covariance"]),
        "start": lambda p: p["h0"],
    }, xs, ys  # fmt: skip


def rows_of(xs):
    return {k: np.array([x[k] for x in xs]) for k in xs[0]} if isinstance(xs[0], dict) else np.array(xs)


CASES = {"linear": (linear_case, "initial"), "pendulum": (pendulum_case, "next")}


@pytest.mark.quick("linear-*", "pendulum-numpy")
@pytest.mark.parametrize("engine", ["numpy", "eager"])
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_the_unrolled_filter(name, engine):
    """In θ, Q, R, P₀ and the initial state, to 1e-8; what forgets the past has another one."""
    make, first = CASES[name]
    system, plain, xs, ys = make()
    params = {k: np.array(v) for k, v in system.params.items()}
    wanted = autograd.grad(lambda p: dense(plain, p, xs, ys, first))(params)
    sums = {}
    for estimator in (fg.RTRL(), fg.TBPTT(1)):
        learner = fg.Learner(system, estimator, SumOfGradients(), engine=engine)
        history = learner.run(rows_of(xs), ys)
        sums[estimator.name] = learner._unpacked.optimizer
        assert np.nansum(history.loss) == pytest.approx(dense(plain, params, xs, ys, first), abs=1e-9)
    off = 0.0
    for k in system.trainable:
        slope = system.coordinate[k].slope(system.coordinates[k])
        np.testing.assert_allclose(sums["RTRL"][k], wanted[k] * slope, rtol=1e-8, atol=1e-8, err_msg=k)
        assert np.max(np.abs(wanted[k])) > 1e-3, k
        off = max(off, np.max(np.abs(sums[fg.TBPTT(1).name][k] - wanted[k] * slope)))
    assert off > 1e-2


# ---- noise within a sample


def van_loan(A, Q, time):
    """∫ exp(A s) Q exp(A s)ᵀ ds, from one exponential of a matrix (Van Loan, IEEE Trans. Autom. Control 23, 1978)."""
    n = len(A)
    made = expm(time * np.block([[-A, Q], [np.zeros((n, n)), A.T]]))
    return made[n:, n:].T @ made[:n, n:]


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("rk4", 4), ("sdirk2", 2)])
def test_noise_within_a_sample_is_that_of_the_exact_discretisation(method, order):
    """As the steps of the integrator get shorter, by its order; the noise of a sample at its end is far from it."""
    A, Q, time = np.array([[0.0, 1.0], [-4.0, -0.8]]), np.array([[0.3, 0.1], [0.1, 0.5]]), 0.5
    wanted, off = van_loan(A, Q, time), []
    for steps in (8, 16):
        plain = fg.System(
            lambda h, x, p: p["A"] @ h, lambda h, x, p: h[:1], np.array([1.0, 2.0]), {"A": A},
            dt=time, method=method, substeps=steps, first="next",
        )  # fmt: skip
        system = fg.filtered(plain, Q, 1.0)
        h = system.moved(system.initial, None, {"A": A})
        np.testing.assert_allclose(h[:2], plain.moved(plain.initial, None, {"A": A}), rtol=1e-14)
        off.append(np.abs(innovations_of(system, h)[1] - wanted).max())
    assert off[0] / off[1] == pytest.approx(2.0**order, rel=0.12)
    assert off[1] < 0.04 * wanted.max()
    assert np.abs(time * Q - wanted).max() > 0.2 * wanted.max()


def test_the_density_of_noise_is_found_where_a_sample_is_long():
    """Of a lag whose rate times δt is 0.5; noise at the end of a sample would be 0.63 of it."""
    rng, rate, density = np.random.default_rng(2), 1.0, 1.0
    left, added = np.exp(-0.5 * rate), np.sqrt(density * (1 - np.exp(-rate)) / (2 * rate))
    h, ys = 0.0, []
    for _ in range(600):
        h = left * h + added * rng.normal()
        ys.append([h + 0.1 * rng.normal()])
    lag = fg.System(
        lambda h, x, p: -p["k"] * h, None, np.zeros(1), {"k": fg.fixed(rate)}, dt=0.5, method="rk4", first="next"
    )
    said = {}
    for claimed in (0.63, 1.0, 1.6):
        learner = fg.Learner(fg.filtered(lag, fg.positive(claimed), 0.01), *STILL, engine="numpy")
        said[claimed] = learner.run(ys=np.array(ys)).loss.sum()
    assert min(said[0.63], said[1.6]) > said[1.0] + 10.0


# ---- whatever is learned with


def small(dtype=np.float64, **noise):
    """One state variable, so that all noise of an estimator can be tried; the system takes a start into account."""
    given = {"process": fg.positive(0.3), "observation": 0.5, "initial_covariance": 0.2}
    plain = fg.System(
        lambda h, x, p: np.tanh(p["a"] * h + x), lambda h, x, p: p["b"] * h + 0.3 * h * h, np.array([0.4], dtype),
        {"a": np.asarray(0.9, dtype), "b": np.asarray(1.2, dtype)}, np.zeros(1, dtype),
    )  # fmt: skip
    return fg.filtered(plain, **(given | noise))


@pytest.mark.quick("*UORO*", "*Hybrid*")
@pytest.mark.parametrize("estimator", [fg.UORO(), fg.SnAp(2), fg.Hybrid(2)], ids=str)
def test_estimators_keep_their_claims_on_a_filter(estimator):
    claim = "biased" if estimator == fg.SnAp(2) else None
    check_estimator(estimator, small(), claim=claim)


def test_a_filter_is_a_system_like_any_other():
    check_system(small())


def two(dtype=np.float64):
    plain = systems.van_der_pol().astype(dtype)
    return fg.filtered(plain, fg.positive(0.05), fg.positive(0.1), initial_covariance=0.3)


def learned(system, engine, estimator, optimizer, length=30):
    learner = fg.Learner(system, estimator, optimizer, engine=engine)
    ys = np.random.default_rng(0).normal(size=(length, *system.y.shape)).astype(system.dtype)
    ys[3] = np.nan
    history = learner.run(None if system.x is None else 0.3 * np.nan_to_num(ys), ys)
    return [*learner.params.values(), history.loss[np.isfinite(history.loss)]]


@pytest.mark.parametrize(
    ("make", "engine", "optimizer"),
    [
        (two, "eager", fg.InformationFilter("full", "exact")),
        (small, "compiled", fg.InformationFilter("full", "exact")),
        pytest.param(two, "compiled", fg.InformationFilter("full", "exact"), marks=pytest.mark.slow),
        pytest.param(two, "compiled", fg.Adam(1e-2), marks=pytest.mark.slow),
    ],
    ids=["eager", "compiled, small", "compiled", "compiled, Adam"],
)
def test_engines_agree(make, engine, optimizer):
    one, other = (learned(make(), e, fg.RTRL(), optimizer) for e in ("numpy", engine))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("estimator", [fg.SnAp(1), fg.BPTT(), fg.TBPTT(4), fg.ARTBP(0.3)], ids=lambda e: e.name)
def test_estimators_of_every_kind_learn_on_a_filter(estimator):
    params = learned(two(), "numpy", estimator, fg.Adam(1e-2))[:-1]
    assert all(np.all(np.isfinite(v)) for v in params)
    assert not np.array_equal(params[0], two().params["mu"])


ODES = (
    "lotka-volterra", "sir", "mass-spring-damper", "pendulum", "van-der-pol", "fitzhugh-nagumo", "lorenz",
    "cascaded-tank", "linear-compartments", "heat-rod",
)  # fmt: skip


@pytest.mark.quick("lotka-volterra", "pendulum", "linear-compartments", "heat-rod")
@pytest.mark.parametrize("name", ODES)
def test_every_equation_of_the_catalogue_can_be_filtered(name):
    plain = systems.build(name)
    system = fg.filtered(plain, fg.positive(1e-3), fg.positive(1e-2), initial_covariance=1e-2)
    inputs = {k: np.zeros((12, *v.shape)) for k, v in plain.x.items()} if plain.x else None
    ys = plain.simulate(inputs, steps=12).outputs
    estimator = fg.TBPTT(1) if plain.size > 5 else fg.RTRL()
    learner = fg.Learner(system, estimator, fg.SGD(1e-6), engine="numpy")
    history = learner.run(inputs, ys)
    assert np.all(np.isfinite(history.loss))
    assert history.recent(3) < 0.0  # exact data in a noise of 0.1: a likelihood above 1
    assert max(np.max(v) for v in flatten(learner.state_std())) < 0.15
    assert set(learner.state) == set(plain.state)


# ---- positive definite


def endurance(dtype, steps):
    """The worst of (smallest eigenvalue)/(trace) of the root, as steps go on; of a filter that hardly has noise."""
    plain = fg.System(
        lambda h, x, p: np.array([h[0] + 0.1 * h[1], h[1] - 0.1 * p["k"] * h[0]]), lambda h, x, p: h[:1],
        np.zeros(2, dtype), {"k": np.asarray(1.0, dtype)},
    )  # fmt: skip
    system = fg.filtered(plain, [0.0, 1e-9], 1.0, initial_covariance=1e4)
    seen = {"x": None, "y": np.zeros(1, dtype)}
    run = trace(
        lambda h, y, k: [system.transition(h, {"x": None, "seen": seen | {"y": y}}, {"k": k})],
        [Abstract.of(v) for v in (system.initial, seen["y"], system.coordinates["k"])], name="step",
    )  # fmt: skip
    step = compile_program(run)
    h, k, rng, worst = system.initial, system.coordinates["k"], np.random.default_rng(0), np.inf
    ys = rng.normal(size=(1000, 1)).astype(dtype)
    for t in range(steps):
        (h,) = step(h, ys[t % 1000], k)
        if t % 97 == 0:
            pivots = h[[2, 4]]
            assert np.all(np.isfinite(h))
            worst = min(worst, float(np.min(pivots) / np.max(np.abs(h[2:]))))
    return worst, h


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_covariances_stay_positive_definite(dtype):
    worst, h = endurance(dtype, 5000)
    assert worst > 1e-3
    assert h.dtype == dtype
    # P as a matrix, with P − K C P, is not, in single precision
    P, A, C = np.diag(np.full(2, 1e4)).astype(np.float32), np.array([[1, 0.1], [-0.1, 1]], np.float32), np.array([1, 0])
    least = np.inf
    for _ in range(5000):
        K = P @ C / (C @ P @ C + np.float32(1e-6))
        P = A @ (P - np.outer(K, C @ P)).astype(np.float32) @ A.T
        least = min(least, float(np.linalg.eigvalsh(P.astype(float))[0] / max(np.trace(P), 1e-30)))
    assert least <= 0


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "steps"), [(np.float64, 1_000_000), (np.float32, 100_000)])
def test_covariances_stay_positive_definite_for_long(dtype, steps):
    assert endurance(dtype, steps)[0] > 1e-3


# ---- what is declared


def plain_system(**options):
    given = {"loss": fg.losses.SquaredError((0.3, 0.5))} | options
    params = {"a": 0.9, "q": fg.positive(0.5)}
    return fg.System(lambda h, x, p: p["a"] * h + 0.1 * p["q"], None, np.ones(2), params, **given)


FORMS = {
    "number": (0.5, 0.5 * np.eye(2)),
    "diagonal": ([0.5, 0.0], np.diag([0.5, 0.0])),
    "matrix": ([[0.5, 0.1], [0.1, 0.3]], [[0.5, 0.1], [0.1, 0.3]]),
    "singular": ([[1.0, 2.0], [2.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]]),
    "positive": (fg.positive(0.5), 0.5 * np.eye(2)),
    "positives": (fg.positive([0.5, 0.2]), np.diag([0.5, 0.2])),
    "cholesky": (fg.cholesky([[0.5, 0.1], [0.1, 0.3]]), [[0.5, 0.1], [0.1, 0.3]]),
    "name": ("q", 0.5 * np.eye(2)),
    "variances of θ": (lambda p: p["q"] * np.array([1.0, 2.0]), np.diag([0.5, 1.0])),
    "matrix of θ": (lambda p: p["q"] * np.ones((2, 2)), 0.5 * np.ones((2, 2))),
}


@pytest.mark.parametrize("who", ["process", "observation", "initial_covariance"])
@pytest.mark.parametrize("form", FORMS)
def test_noise_may_be_declared_in_many_ways(form, who):
    """Each makes the same filter as its matrix does, but for what is learned of it."""
    value, wanted = FORMS[form]
    singular = np.linalg.eigvalsh(wanted)[0] < 1e-12
    if who == "observation" and singular:
        with pytest.raises(DeclarationError, match="observation"):
            fg.filtered(plain_system(), **({"process": 0.1} | {who: value}))
        return
    given = {"process": 0.1}
    system, matrix = (fg.filtered(plain_system(), **(given | {who: v})) for v in (value, wanted))
    np.testing.assert_allclose(system.covariances()[who], wanted, atol=1e-12)
    np.testing.assert_allclose(system.covariances()["process" if who != "process" else "observation"],
                               0.1 * np.eye(2) if who != "process" else np.diag([0.09, 0.25]), atol=1e-12)  # fmt: skip
    losses = [likelihoods(s) for s in (system, matrix)]
    np.testing.assert_allclose(*losses, rtol=1e-7)
    assert not np.allclose(losses[0], likelihoods(fg.filtered(plain_system(), 0.2)), rtol=1e-3)


def likelihoods(system, length=8):
    """Losses of a few samples, as plain calls."""
    ys, made = np.random.default_rng(0).normal(size=(length, 2)), []
    ys[3, 0] = np.nan
    h, y = system.initial, np.full(2, np.nan)
    for now in ys:
        given = {"x": None, "seen": {"x": None, "y": y}} | ({"start": np.zeros(())} if system.marked else {})
        h, y = system.transition(h, given, system.coordinates), now
        made.append(system.loss.value(system.output(h, given, system.coordinates), now))
    return made


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"process": -0.1}, DeclarationError, "process: expected variances ≥ 0"),
        ({"process": [1.0, 2.0, 3.0]}, ShapeError, r"process: expected a variance, 2 variances.*got shape \(3,\)"),
        ({"process": [[1.0, 2.0], [2.0, 1.0]]}, DeclarationError, "process.*eigenvalues go from -1 to 3"),
        ({"process": [[1.0, 0.5], [0.2, 1.0]]}, DeclarationError, "process: expected a symmetric matrix"),
        ({"process": Parameter(0.1)}, DeclarationError, r"(?s)process.*may become negative.*fg\.positive"),
        ({"process": "a"}, DeclarationError, "parameter 'a' is to be a variance"),
        ({"process": "b"}, UnknownNameError, "no parameter 'b'"),
        ({"process": fg.cholesky(np.eye(3))}, ShapeError, r"expected a matrix of shape \(2, 2\)"),
        ({"process": lambda p: p["b"]}, DeclarationError, "process, a function of θ, fails"),
        ({"process": lambda p: -p["q"]}, DeclarationError, "expected variances ≥ 0"),
        ({"process": "noise"}, UnknownNameError, "there is no parameter"),
        ({"process": None}, DeclarationError, "process: expected variances, a matrix, a parameter"),
        ({"process": {"x": 1.0}}, DeclarationError, "process: expected variances"),
        ({"process": np.nan}, DeclarationError, "process: expected finite numbers"),
        ({"observation": 0.0}, DeclarationError, "(?s)observation: expected variances > 0.*Without noise"),
        ({"observation": [0.1, 0.0]}, DeclarationError, "observation: expected variances > 0"),
        ({"observation": np.ones((2, 2))}, DeclarationError, "observation: expected a positive definite matrix"),
        ({"initial_covariance": [-1.0, 0.0]}, DeclarationError, "initial_covariance: expected variances ≥ 0"),
        ({"method": "ukf"}, DeclarationError, "expected a method, ekf"),
    ],
)
def test_what_is_no_noise_is_named(given, error, match):
    with pytest.raises(error, match=match):
        fg.filtered(plain_system(), **({"process": 0.1} | given))


def test_what_cannot_be_filtered_is_named():
    with pytest.raises(DeclarationError, match="what noise do observations have"):
        fg.filtered(plain_system(loss=None), 0.1)
    with pytest.raises(DeclarationError, match="squared error"):
        fg.filtered(plain_system(loss=fg.losses.StudentT()), 0.1, 0.1)
    with pytest.raises(DeclarationError, match=r"injection=None"):
        fg.filtered(plain_system(injection=np.eye(2)), 0.1)
    with pytest.raises(DeclarationError, match="by a filter"):
        fg.filtered(fg.filtered(plain_system(), 0.1), 0.1)
    with pytest.raises(DeclarationError, match="expected a fwdgrad"):
        fg.filtered(3, 0.1)
    branches = fg.System(lambda h, x, p: h if h[0] > 0 else -h * p["a"], None, np.ones(1), {"a": 1.0})
    with pytest.raises(TracingError, match="filtered: there are no Jacobians"):
        fg.filtered(branches, 0.1, 0.1)
    system = fg.filtered(plain_system(), 0.1)
    with pytest.raises(DeclarationError, match="not filtered yet"):
        fg.Learner(system, optimizer=fg.JointFilter())
    taken = fg.System(lambda h, x, p: p["process"] * h, None, np.ones(1), {"process": 0.9})
    with pytest.raises(DeclarationError, match="the system has a parameter of this name"):
        fg.filtered(taken, fg.positive(1.0), 1.0)


# ---- what a user sees


def equations():
    text = """
    d angle/dt = speed
    d speed/dt = -g*sin(angle) + 0.1*cos(t)
    angle(0) = 1
    speed(0) = 0
    param g = 2 in (0, inf)
    output angle noise 0.1
    """
    return fg.from_text(text, dt=0.1, method="rk4")


def test_names_and_time_of_equations_are_kept():
    """Time is a state variable without noise; variances go by name, noise of outputs is that of the text."""
    system = fg.filtered(equations(), {"angle": 0.0, "speed": 0.2}, initial_covariance=0.01)
    assert system.output_names == ("angle",)
    found = system.covariances()
    np.testing.assert_allclose(found["process"], np.diag([0.0, 0.2, 0.0]), atol=1e-15)
    np.testing.assert_allclose(found["observation"], [[0.01]])
    np.testing.assert_allclose(found["initial_covariance"], np.diag([0.01, 0.01, 0.0]), atol=1e-15)
    learner = fg.Learner(system, engine="numpy")
    learner.run(ys=equations().simulate(steps=40).outputs)
    assert learner.state["t"] == pytest.approx(3.9)
    std = learner.state_std()
    assert std["t"] < 1e-6 < 1e-3 < std["angle"] < 0.1 < std["speed"] < 1.0
    assert "angle" in str(learner.report()) or "g" in str(learner.report())


def test_predictions_are_means_with_deviations_of_the_innovation():
    case = Linear()
    xs, ys = case.samples(40)
    learner = fg.Learner(case.system("next"), fg.UORO(), fg.SGD(1e-4), engine="numpy")
    history = learner.run(xs[:30], ys[:30], keep_predictions=True)
    assert history.predictions.shape == (30, 2)
    before = learner.state, learner.state_std()
    mean, std = learner.predict(xs[30], return_std=True)
    np.testing.assert_array_equal(learner.predict(xs[30]), mean)
    np.testing.assert_array_equal(learner.state, before[0])
    # by hand: from what is known now
    A, B, C = (np.array(learner.params[k]) for k in "ABC")
    x, P = A @ before[0] + B @ xs[30], learner._estimated(learner.system)[1]
    np.testing.assert_allclose(mean, C @ x, rtol=1e-9)
    S = C @ (A @ P @ A.T + case.Q) @ C.T + case.R
    np.testing.assert_allclose(std, np.sqrt(np.diag(S)), rtol=1e-9)
    np.testing.assert_allclose(before[1], np.sqrt(np.diag(P)), rtol=1e-12)
    loss = learner.step(xs[30], ys[30])
    assert loss == pytest.approx(-multivariate_normal(mean, S).logpdf(ys[30]), rel=1e-9)


def test_a_filter_simulates_as_its_system_does():
    """A free run, from where a learner is too, and with parameters that it has learned."""
    system = fg.filtered(equations(), fg.positive(0.1), initial_covariance=0.01)
    ours = system.simulate(steps=20, params={"g": 3.0, "process": 0.3})
    theirs = equations().simulate(steps=20, params={"g": 3.0})
    np.testing.assert_array_equal(ours.outputs, theirs.outputs)
    learner = fg.Learner(system, engine="numpy")
    learner.run(ys=theirs.outputs)
    forecast = system.simulate(steps=3, params=learner.params, state=learner.state, first="next").outputs
    np.testing.assert_allclose(forecast[0], learner.predict(), rtol=1e-9)
    with pytest.raises(UnknownNameError, match="no parameter 'k'"):
        system.simulate(steps=3, params={"k": 1.0})


def test_a_filter_begins_again_where_it_is_told():
    system = fg.filtered(equations(), 0.1, initial_covariance=fg.positive(0.04))
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), engine="numpy")
    ys = equations().simulate(steps=20).outputs
    learner.run(ys=ys)
    learner.reset_state({"angle": 0.5, "speed": -0.5, "t": 1.0})
    assert learner.state["angle"] == 0.5
    assert learner.state_std()["speed"] == pytest.approx(np.sqrt(learner.params["initial_covariance"]))
    learner.step(y=[0.5])
    learner.reset_state()
    assert learner.state["angle"] == 1.0


def test_a_filter_goes_on_bit_for_bit(tmp_path):
    case = Linear()
    xs, ys = case.samples(40)

    def learner():
        return fg.Learner(case.system("initial", process=fg.cholesky(case.Q)), engine="numpy")

    whole, first = learner(), learner()
    whole.run(xs, ys)
    first.run(xs[:6], ys[:6])  # the last of them has no target
    first.save(tmp_path / "a.npz")
    second = fg.Learner.load(tmp_path / "a.npz", case.system("initial", process=fg.cholesky(case.Q)))
    second.run(xs[6:], ys[6:])
    for k, v in whole.params.items():
        np.testing.assert_array_equal(second.params[k], v)
    other = case.system("initial", process=fg.cholesky(case.Q), observation=2 * case.R)
    with pytest.raises(fg.errors.CheckpointError, match="another system"):
        fg.Learner.load(tmp_path / "a.npz", other)


def test_declarations_can_be_changed():
    system = fg.filtered(equations(), fg.positive(0.1), initial_covariance=0.01)
    assert system.replace(process=0.2).params.keys() == {"g"}
    assert system.replace(method="heun").wrapped.method == "heun"
    assert system.replace(dt=0.05).wrapped.dt == 0.05
    assert system.astype(np.float32).dtype == np.float32
    factors = system.replace(process=fg.cholesky(np.diag([0.1, 0.2])), initial_covariance=fg.positive(0.01))
    found = factors.starting_at({"process_above": [0.1], "initial_covariance": 0.5}).covariances()
    np.testing.assert_allclose(found["process"][0, 1], 0.1 * np.sqrt(0.1))
    np.testing.assert_allclose(found["initial_covariance"][:2, :2], 0.5 * np.eye(2))
    moved = system.starting_at({"g": 5.0, "process": 0.7})
    assert moved.params["g"] == pytest.approx(5.0)
    assert moved.params["process"] == pytest.approx(0.7)
    assert moved.covariances()["process"][0, 0] == pytest.approx(0.7)
    assert fg.Learner(moved, engine="numpy").params["process"] == pytest.approx(0.7)


def test_parameters_that_are_tied_or_fixed_stay_so():
    params = {"a": 0.5, "half": fg.tied("a", lambda a: a / 2), "c": fg.fixed(0.1)}
    plain = fg.System(lambda h, x, p: p["a"] * h + p["half"] + p["c"], None, np.ones(1), params)
    system = fg.filtered(plain, fg.positive(0.1), fg.fixed(fg.positive(0.2)))
    assert system.trainable == ("a", "process")
    learner = fg.Learner(system, engine="numpy")
    learner.run(ys=np.random.default_rng(0).normal(size=(20, 1)))
    assert learner.params["half"] == learner.params["a"] / 2 != 0.25
    assert learner.params["observation"] == pytest.approx(0.2)
    assert learner.params["c"] == 0.1


def test_single_precision_learns_too():
    learner = fg.Learner(small(np.float32), engine="numpy")
    xs = np.random.default_rng(0).normal(size=(60, 1)).astype(np.float32)
    history = learner.run(xs, 0.5 * xs)
    assert learner.params["a"].dtype == np.float32
    assert np.all(np.isfinite(history.loss))


def test_a_first_sample_far_off_is_named():
    system = fg.filtered(plain_system(), 0.1, initial_covariance=0.01)
    ys = np.ones((30, 2))
    with pytest.warns(fg.errors.CalibrationWarning, match="deviations from where the initial state"):
        fg.Learner(system, *STILL, engine="numpy").run(ys=ys + 20.0)
    with pytest.warns(fg.errors.CalibrationWarning, match="larger\ninitial_covariance"):
        fg.Learner(system, *STILL, engine="numpy").step(y=[20.0, 1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fg.Learner(system, *STILL, engine="numpy").run(ys=ys)
        fg.Learner(system.replace(initial_covariance=400.0), *STILL, engine="numpy").run(ys=ys + 20.0)


def test_noise_that_is_driven_to_zero_is_named_and_nothing_is_lost():
    """Data without noise: the variance of the observation goes to its bound, and what was learned stays finite."""
    level = fg.System(lambda h, x, p: p["a"] * h, None, np.ones(1), {"a": fg.fixed(1.0), "q": fg.positive(1.0)})
    system = fg.filtered(level, 1e-9, "q", initial_covariance=1.0)
    learner = fg.Learner(system, fg.RTRL(), fg.Adam(0.3), engine="numpy")
    with pytest.warns(fg.errors.BoundWarning, match="q"):
        learner.run(ys=np.ones((300, 1)))
    assert 0 < learner.params["q"] < 1e-6
    learner.run(ys=np.ones((3000, 1)))
    assert np.all(np.isfinite([learner.state, learner.state_std()]))


def oscillator(process, observation):
    plain = fg.System(
        lambda h, x, p: np.stack([h[1], p["mu"] * (1 - h[0] ** 2) * h[1] - h[0]]), lambda h, x, p: h[:1],
        np.array([1.0, 0.5]), {"mu": 0.8}, dt=0.2, method="rk4", first="initial",
    )  # fmt: skip
    return fg.filtered(plain, process, observation, initial_covariance=0.3)


@pytest.mark.quick("0.09-False", "0.01-True")
@pytest.mark.parametrize(("observation", "off"), [(0.09, False), (0.01, True), (1e-3, True)])
def test_a_filter_that_claims_too_much_is_named(observation, off):
    """Noise of variance 0.09; a ninetieth of it throws no parameter out of the world: steps are bounded."""
    system = oscillator(1e-6, observation)
    ys = system.simulate(steps=200).outputs + 0.3 * np.random.default_rng(0).normal(size=(200, 1))
    learner = fg.Learner(system, engine="numpy")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learner.run(ys=ys)
    assert any("claims do not hold" in str(w.message) for w in caught) == off
    assert abs(learner.params["mu"] - 0.8) < (3 * learner.parameter_std()["mu"] if not off else 0.5)


@pytest.mark.slow
def test_early_samples_do_not_bias_what_is_claimed():
    """Errors of the observation's variance, in deviations claimed, over 24 runs; the control lets all samples count."""
    level = fg.System(lambda h, x, p: p["a"] * h, None, np.zeros(1), {"a": 0.5}, name="level")
    system = fg.filtered(level, fg.positive(0.1), fg.positive(1.0))
    chosen = fg.Learner(system, engine="numpy").optimizer
    off = {}
    for optimizer in (chosen, replace(chosen, decay=0.0)):
        z = []
        for seed in range(24):
            rng, h, ys = np.random.default_rng(seed), 0.0, []
            for _ in range(300):
                h = 0.9 * h + 0.6 * rng.normal()
                ys.append([h + 0.7 * rng.normal()])
            learner = fg.Learner(system, fg.RTRL(), optimizer, engine="compiled")
            learner.run(ys=np.array(ys))
            found = float(learner.params["observation"])
            z.append(np.log(found / 0.49) * found / float(learner.parameter_std()["observation"]))
        off[optimizer] = np.mean(z), np.mean(np.abs(z) < 1.96)
    assert abs(off[chosen][0]) < 0.5
    assert off[chosen][1] >= 0.9
    assert off[replace(chosen, decay=0.0)][0] > 0.8


def test_the_default_says_what_it_is():
    text = fg.Learner(oscillator(fg.positive(0.1), 0.1)).explain()
    assert "recursive maximum likelihood" in text
    assert "InformationFilter" in text
    plain = fg.System(lambda h, x, p: np.tanh(p["W"] @ h), None, np.ones(12), {"W": np.eye(12)})
    assert "Adam" in fg.Learner(fg.filtered(plain, 0.1, 0.1)).explain()


# ---- the loss


@pytest.mark.parametrize("y", [[0.3, -1.0, 0.5], [np.nan, 0.4, 1.0], [0.2, np.nan, np.nan]], ids=str)
def test_the_likelihood_of_innovations(y):
    """By scipy's density; gradient and Fisher matrix by the programs' derivatives, of what was observed."""
    rng, y = np.random.default_rng(0), np.array(y)
    loss, upper = Innovations((3,)), np.triu(rng.normal(size=(3, 3))) + 2.0 * np.eye(3)
    prediction, seen = np.concatenate([rng.normal(size=3), upper[np.triu_indices(3)]]), np.isfinite(y)
    S = (upper.T @ upper)[np.ix_(seen, seen)]
    density = multivariate_normal(prediction[:3][seen], S).logpdf(y[seen])
    assert loss.value(prediction, y) == pytest.approx(-density, rel=1e-12)
    program = trace(lambda q, t: [loss.value(q, t)], [Abstract.of(prediction), Abstract.of(y)])
    derived = Linearized(program, [prediction, y]).vjp([np.ones(())], [0])[0]
    np.testing.assert_allclose(loss.gradient(prediction, y), derived, rtol=1e-10, atol=1e-12)

    def covariance(q):
        made = np.zeros((3, 3))
        made[np.triu_indices(3)] = q[3:]
        return (made.T @ made)[np.ix_(seen, seen)]

    def slopes(k):
        e = 1e-6 * np.eye(9)[k]
        return np.eye(9)[k][:3][seen], (covariance(prediction + e) - covariance(prediction - e)) / 2e-6

    inverse = np.linalg.inv(S)
    fisher = [
        [a @ inverse @ b + 0.5 * np.trace(inverse @ dA @ inverse @ dB) for b, dB in map(slopes, range(9))]
        for a, dA in map(slopes, range(9))
    ]
    rows = loss.information(prediction, y)
    np.testing.assert_allclose(rows.T @ rows, fisher, atol=1e-7)
    assert np.trace(fisher) > 0.1
    z, told = loss.innovations(prediction, y)
    np.testing.assert_array_equal(told, seen)
    assert z @ z == pytest.approx((y[seen] - prediction[:3][seen]) @ inverse @ (y[seen] - prediction[:3][seen]))


def test_a_program_as_a_whole_is_differentiated_twice_by_autograd():

    program = trace(lambda a, b: [np.sin(a) * b], [Abstract((2,), np.dtype(float))] * 2)
    a, b = np.array([0.3, 0.5]), np.array([2.0, -1.0])
    np.testing.assert_allclose(autograd.jacobian(lambda v: whole(program, [v, b]))(a), np.diag(np.cos(a) * b))
    np.testing.assert_allclose(autograd.jacobian(lambda v: whole(program, [a, v]))(b), np.diag(np.sin(a)))


# ---- noise in the state


@pytest.mark.slow
def test_a_pendulum_that_is_pushed_at_random_is_learned_without_bias():
    """200 000 samples of a pendulum with noise in its velocity: where output error is a third off, this is not."""
    truth, dt, rng = {"stiffness": 4.0, "friction": 1.0}, 0.05, np.random.default_rng(0)
    kicks, ys = np.sqrt(0.5 * 0.01) * rng.normal(size=(200_000, 5)), np.empty((200_000, 1))
    angle, speed = 1.0, 0.0
    for t, row in enumerate(kicks.tolist()):
        for kick in row:
            angle, speed = (
                angle + 0.01 * speed,
                speed - 0.01 * (truth["stiffness"] * math.sin(angle) + truth["friction"] * speed) + kick,
            )
        ys[t] = angle
    ys += 0.05 * rng.normal(size=ys.shape)
    plain = fg.System(
        lambda h, x, p: np.array([h[1], -p["stiffness"] * np.sin(h[0]) - p["friction"] * h[1]]), lambda h, x, p: h[:1],
        np.array([1.0, 0.0]), {"stiffness": fg.positive(2.5), "friction": fg.positive(0.6)}, dt=dt, method="rk4",
        first="next",
    )  # fmt: skip
    system = fg.filtered(plain, fg.positive([1e-3, 1.0]), fg.positive(0.05), initial_covariance=0.01)
    learner = fg.Learner(system, engine="compiled")
    learner.run(ys=ys)
    std = learner.parameter_std()
    for k, v in truth.items():
        assert abs(learner.params[k] - v) < 3 * std[k], k
        assert std[k] < 0.03 * v, k
    assert learner.params["stiffness"] == pytest.approx(4.0, rel=0.02)
    assert learner.params["process"][1] == pytest.approx(0.5, rel=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fg.errors.FwdgradWarning)
        wrong = fg.fit(plain, ys=ys[:6000], method="simulation")
    assert abs(wrong.params["stiffness"] - 4.0) > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_filter_finds_parameters_from_a_wrong_start(seed):
    """Predators and prey within e^±0.4 of the truth, 2 % noise, one pass of 2000 samples: within 2 %."""
    rng, plain = np.random.default_rng(seed), systems.lotka_volterra()
    simulated = plain.simulate(steps=2000)
    size = np.array([np.std(v) for v in flatten(simulated.states)])
    ys = simulated.outputs + 0.02 * simulated.outputs.std(axis=0) * rng.normal(size=simulated.outputs.shape)
    start = {k: v * np.exp(rng.uniform(-0.4, 0.4)) for k, v in plain.params.items()}
    noise = fg.positive((0.05 * size) ** 2), fg.positive((0.05 * ys.std(axis=0)) ** 2)
    learner = fg.Learner(
        fg.filtered(plain.starting_at(start), *noise, initial_covariance=(0.1 * size) ** 2), engine="compiled"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fg.errors.FwdgradWarning)  # the noise of the state goes to its bound
        learner.run(ys=ys)
    for k, v in plain.params.items():
        assert learner.params[k] == pytest.approx(v, rel=0.02), k
    assert max(abs(start[k] / plain.params[k] - 1) for k in start) > 0.1
