"""`fg.fit` against scipy's least squares and closed forms; and whether what it cannot know is said."""

import warnings

import numpy as np
import pytest
from scipy.optimize import least_squares, minimize
from scipy.stats import t as student

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import (
    CalibrationWarning,
    ConvergenceWarning,
    DataError,
    DeclarationError,
    FirstSampleWarning,
    IdentifiabilityWarning,
    NonFiniteError,
)
from fwdgrad.fitting.search import _Search
from fwdgrad.fitting.trajectory import recorded
from fwdgrad.learning.loops import coarse_steps, unstable_steps
from fwdgrad.learning.loops.deviations import long_run, remembered, robust
from fwdgrad.learning.samples import SampleReader

# two rates of the compartment below may be exchanged, which is tested once, at the end
pytestmark = pytest.mark.filterwarnings("ignore:fit. another solution:fwdgrad.errors.IdentifiabilityWarning")

T = np.arange(1, 61) * 0.25
TRUTH = {"ka": 1.5, "ke": 0.3, "V": 0.5}


def absorbed(ka, ke, V, dose=4.0, t=T):
    """Closed form of one compartment with absorption."""
    return dose * ka / (V * (ka - ke)) * (np.exp(-ke * t) - np.exp(-ka * t))


def compartment(start=(0.9, 0.5, 0.8), substeps=4, **options):
    ka, ke, V = start
    return fg.from_text(
        f"""
        d gut/dt = -ka*gut
        d c/dt = ka*gut/V - ke*c
        gut(0) = 4
        c(0) = 0
        param ka = {ka} in (0, inf)
        param ke = {ke} in (0, inf)
        param V = {V} in (0, inf)
        output c
        """,
        **({"dt": 0.25, "method": "rk4", "substeps": substeps, "first": "next"} | options),
    )


@pytest.fixture(scope="module")
def data():
    return absorbed(**TRUTH) + 0.05 * np.random.default_rng(1).normal(size=len(T))


@pytest.fixture(scope="module")
def found(data):
    return fg.fit(compartment(), ys=data[:, None])


@pytest.fixture(scope="module")
def reference(data):
    solved = least_squares(lambda u: absorbed(*np.exp(u)) - data, np.log([0.9, 0.5, 0.8]), xtol=1e-12, ftol=1e-12)
    variance = 2 * solved.cost / (len(data) - 3)
    covariance = np.linalg.inv(solved.jac.T @ solved.jac) * variance
    return np.exp(solved.x), np.exp(solved.x) * np.sqrt(np.diag(covariance)), np.sqrt(variance)


def test_it_is_least_squares(found, reference):
    values, deviations, noise = reference
    np.testing.assert_allclose([found.params[k] for k in TRUTH], values, atol=0.05 * deviations.min())
    np.testing.assert_allclose([found.std[k] for k in TRUTH], deviations, rtol=0.02)
    np.testing.assert_allclose(found.noise, noise, rtol=0.01)
    assert found.method == "simulation"
    assert [remark for remark in found.remarks if "another solution" not in remark] == []


def test_without_the_freedom_lost_deviations_differ(found, reference):
    """The control: the agreement is closer than what the number of parameters makes."""
    lost = np.sqrt(57 / 60)
    assert np.all(np.abs(np.array([found.std[k] for k in TRUTH]) * lost / reference[1] - 1) > 0.02)


def test_outputs_residuals_and_bands(found, data):
    expected = absorbed(**found.params)
    np.testing.assert_allclose(found.outputs[:, 0], expected, atol=1e-4)
    np.testing.assert_allclose(found.residuals[:, 0], data - found.outputs[:, 0])
    np.testing.assert_allclose(found.times, T)
    # the variance of an observation, by differences of the closed form
    slopes = []
    for k in TRUTH:
        step = 1e-5 * found.params[k]
        slopes.append((absorbed(**(dict(found.params) | {k: found.params[k] + step})) - expected) / 1e-5)
    variance = np.einsum("kt,kl,lt->t", slopes, found.covariance, slopes) + found.noise**2
    np.testing.assert_allclose(found.bands[:, 0], np.sqrt(variance), rtol=2e-3)
    assert 0.85 < found.coverage[0] <= 1.0


def test_forecast_goes_on(found):
    later = found.forecast(8)
    t = T[-1] + 0.25 * np.arange(1, 9)
    np.testing.assert_allclose(later.mean[:, 0], absorbed(**found.params, t=t), atol=1e-4)
    assert later.std.shape == (8, 1)
    assert np.all(later.std > 0.99 * found.noise)


def test_a_learner_goes_on(found, data):
    learner = found.learner()
    assert learner.steps == len(data)
    np.testing.assert_allclose(learner.params["ka"], found.params["ka"])
    np.testing.assert_allclose(learner.parameter_std()["ka"], found.std["ka"], rtol=1e-6)
    learner.step(None, np.array([0.1]))


def test_missing_targets_tell_nothing(data):
    """Every other one missing: as least squares on the others."""
    gaps = np.where(np.arange(len(T)) % 2 == 0, data, np.nan)
    made = fg.fit(compartment(), ys=gaps[:, None])
    kept = ~np.isnan(gaps)
    solved = least_squares(lambda u: (absorbed(*np.exp(u)) - data)[kept], np.log([0.9, 0.5, 0.8]), xtol=1e-12)
    np.testing.assert_allclose([made.params[k] for k in TRUTH], np.exp(solved.x), rtol=5e-3)


def test_trajectories_share_their_parameters():
    """Three subjects of different doses and lengths, as least squares on all of them."""
    rng = np.random.default_rng(2)
    doses, lengths = (2.0, 4.0, 9.0), (14, 20, 12)
    ys = [absorbed(**TRUTH, dose=d, t=T[:n]) + 0.1 * rng.normal(size=n) for d, n in zip(doses, lengths, strict=True)]
    made = fg.fit(
        compartment(),
        trajectories=[fg.Trajectory(None, y[:, None], {"gut": d, "c": 0.0}) for y, d in zip(ys, doses, strict=True)],
        engine="numpy",
    )

    def residuals(u):
        return np.concatenate([absorbed(*np.exp(u), dose=d, t=T[: len(y)]) - y for y, d in zip(ys, doses, strict=True)])

    solved = least_squares(residuals, np.log([0.9, 0.5, 0.8]), xtol=1e-12)
    np.testing.assert_allclose([made.params[k] for k in TRUTH], np.exp(solved.x), rtol=2e-3)
    assert made.starts == (0, 14, 34)
    np.testing.assert_allclose(made.times[14:17], T[:3])


def test_two_outputs_have_a_noise_each():
    """Weighted by noise that is found: as if the deviations had been known."""
    rng = np.random.default_rng(3)
    u = rng.normal(size=(200, 1))
    system = fg.System(
        lambda h, x, p: p["a"] * h + x, lambda h, x, p: np.array([p["c"] * h[0], p["c"] * 100.0 * h[0]]),
        np.zeros(1), {"a": 0.5, "c": 1.5}, np.zeros(1),
    )  # fmt: skip
    clean = system.simulate(u, params={"a": 0.8, "c": 1.0}).outputs
    noisy = clean + np.array([0.1, 0.5]) * rng.normal(size=clean.shape)
    made = fg.fit(system, u, noisy)
    np.testing.assert_allclose(made.noise, [0.1, 0.5], rtol=0.15)
    assert abs(made.params["a"] - 0.8) < 4 * made.std["a"] < 0.01


# ---- what it cannot know


def test_parameters_that_only_their_product_is_known_of():
    system = fg.System(
        lambda h, x, p: 0.7 * h + p["a"] * p["b"] * x, None, np.zeros(1), {"a": 1.0, "b": 1.0, "dead": 1.0}, np.zeros(1)
    )
    u = np.random.default_rng(4).normal(size=(80, 1))
    ys = system.simulate(u, params={"a": 2.0, "b": 1.5}).outputs + 0.1 * np.random.default_rng(5).normal(size=(80, 1))
    made = fg.fit(system, u, ys)
    assert abs(made.params["a"] * made.params["b"] - 3.0) < 0.1
    assert [pair[:2] for pair in made.alike] == [("a", "b")]
    assert "dead" in made.unidentified
    assert np.isnan(made.std["dead"])
    assert made.params["dead"] == 1.0
    assert sum("told apart" in remark for remark in made.remarks) == 1  # as a group, not once more as a pair
    assert "only their product can be learned" in str(made)


@pytest.mark.parametrize(("size", "told"), [(0.0, False), (1.0, True)])
def test_some_data_that_are_far_off_suggest_another_loss(size, told):
    system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
    rng = np.random.default_rng(2)
    u = rng.normal(size=(200, 1))
    ys = system.simulate(u, params={"a": 0.8}).outputs + 0.05 * rng.normal(size=(200, 1))
    ys[::40] += size * rng.normal(size=ys[::40].shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        made = fg.fit(system, u, ys, method="simulation")
    assert any("StudentT" in remark for remark in made.remarks) == told


def test_a_parameter_at_its_bound():
    system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": fg.bounded(0.3, 0.0, 0.5)}, np.zeros(1))
    u = np.random.default_rng(6).normal(size=(200, 1))
    ys = system.simulate(u, params={"a": 0.49}).outputs * 1.4 + 0.01 * np.random.default_rng(7).normal(size=(200, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        made = fg.fit(system, u, ys)
    assert made.at_bound == ["a"]
    assert np.isnan(made.std["a"])


def test_coarse_steps_are_told_of(data):
    with pytest.warns(CalibrationWarning, match="integration steps are too long"):
        made = fg.fit(compartment(method="euler", substeps=1), ys=data[:, None])
    assert any("integration steps" in remark for remark in made.remarks)


def overtaken(gain, substeps):
    """A decay whose rate grows to 10 times the gain, and data of it."""
    text = "d slow/dt = gain - 0.1*slow\nd fast/dt = 1 - slow*fast\nslow(0) = 0\nfast(0) = 0\nparam gain = 0.6\ndt = 1"
    system = fg.from_text(text, substeps=substeps)
    ys = system.replace(substeps=8).simulate(steps=24, params={"gain": gain}).outputs
    return system, ys + 0.01 * np.random.default_rng(0).normal(size=ys.shape)


def notes_of(system, ys, params):
    """What a filter would say of the steps, and what a simulation would."""
    record = recorded(
        system, SampleReader(_Search(system, None, "numpy", lambda _: None).execution.model), None, ys, None
    )
    given = (system, record, params, np.nanstd(ys, axis=0) / 10)
    return unstable_steps(*given), coarse_steps(*given)


@pytest.mark.parametrize(("gain", "substeps", "told"), [(0.6, 1, True), (0.6, 4, False), (0.1, 1, False)])
def test_steps_that_blow_up_are_told_of(gain, substeps, told):
    """RK4's steps are too long for the decay; with shorter ones, or while it is slow, nothing is said."""
    system, ys = overtaken(gain, substeps)
    ys[3] = np.nan
    assert ("integration steps are too long" in notes_of(system, ys, {"gain": gain})[0]) == told


def test_a_chaotic_trajectory_is_no_fault_of_the_steps():
    """Finer steps are soon elsewhere on the attractor, and neither simulation leaves it."""
    system = systems.lorenz(dt=0.05, method="rk4")
    params = {k: 1.001 * np.asarray(v) for k, v in system.params.items()}
    unstable, coarse = notes_of(system, system.simulate(steps=300).outputs, params)
    assert coarse
    assert not unstable


@pytest.mark.slow
def test_a_filter_tells_of_steps_that_blow_up():
    system, ys = overtaken(0.6, 1)
    with pytest.warns(CalibrationWarning, match="integration steps are too long"):
        made = fg.fit(system, ys=ys, method="filter", engine="numpy")
    assert any("integration steps" in remark for remark in made.remarks)


def test_residuals_that_remember_widen_deviations():
    """Noise of an autoregression: over 8 records, errors stay within what is claimed, or nothing is claimed."""
    rng = np.random.default_rng(8)
    system = fg.System(lambda h, x, p: 0.5 * h + p["b"] * x, None, np.zeros(1), {"b": 1.0}, np.zeros(1))
    ratios, plain = [], []
    for _ in range(8):
        u, noise = rng.normal(size=(150, 1)) + 1.0, np.zeros((150, 1))
        for t in range(1, 150):
            noise[t] = 0.9 * noise[t - 1] + 0.3 * rng.normal()
        ys = system.simulate(u, params={"b": 2.0}).outputs + noise
        with pytest.warns(CalibrationWarning, match="not white"):
            made = fg.fit(system, u, ys, method="simulation")
        ratios.append((made.params["b"] - 2.0) / made.std["b"])
        plain.append((made.params["b"] - 2.0) / (np.sqrt(np.mean(made.residuals**2)) / np.linalg.norm(2 * u)))
    assert np.sqrt(np.nanmean(np.square(ratios))) < 1.6
    assert np.sqrt(np.mean(np.square(plain))) > 2.0  # the control: as if residuals were independent


def test_long_run_covariance_of_an_autoregression():
    """That of x_t = φ x_{t−1} + e_t is σ²/(1 − φ)²; without lags it is σ²/(1 − φ²)."""
    rng = np.random.default_rng(9)
    x = np.zeros(200_000)
    e = rng.normal(size=len(x))
    for t in range(1, len(x)):
        x[t] = 0.8 * x[t - 1] + e[t]
    made = long_run(x[:, None], 100.0)[0, 0] / len(x)
    assert abs(made / 25.0 - 1) < 0.1
    assert abs(long_run(x[:, None], 0.0)[0, 0] / len(x) / (1 / 0.36) - 1) < 0.05
    factor = robust(np.eye(1) / (len(x) / 0.36), x[:, None], [0], 100.0)
    assert abs(factor[0] / 3.0 - 1) < 0.1


def test_more_parameters_than_observations(data):
    made = fg.fit(compartment(), ys=data[:3, None])
    assert made.withheld
    assert np.isnan(made.std["ka"])


@pytest.fixture(scope="module")
def disturbed():
    """h' = 0.9 h + 0.3 u + 0.2 w, y = h + 0.1 v: data, inputs, and the model."""
    rng = np.random.default_rng(10)
    u, h, ys = rng.normal(size=(400, 1)), 0.0, []
    for x in u[:, 0]:
        h = 0.9 * h + 0.3 * x + 0.2 * rng.normal()
        ys.append([h + 0.1 * rng.normal()])
    system = fg.System(lambda h, x, p: p["a"] * h + p["b"] * x, None, np.zeros(1), {"a": 0.5, "b": 1.0}, np.zeros(1))
    return system, u, np.array(ys)


def log_likelihood(a, b, q, r, u, ys):
    """Of a scalar model, by a Kalman filter written out."""
    h, P, total = 0.0, 0.0, 0.0
    for x, y in zip(u[:, 0], ys[:, 0], strict=True):
        h, P = a * h + b * x, a * a * P + q * q
        S = P + r * r
        total += 0.5 * np.log(S) + 0.5 * (y - h) ** 2 / S
        h, P = h + P / S * (y - h), P * r * r / S
    return total


def test_noise_in_the_state_is_found_with_a_filter(disturbed):
    """As the likelihood of a Kalman filter, minimised by scipy."""
    system, u, ys = disturbed
    made = fg.fit(system, u, ys, method="filter")
    best = minimize(lambda z: log_likelihood(z[0], z[1], *np.exp(z[2:]), u, ys), [0.9, 0.3, np.log(0.2), np.log(0.1)])
    a, b, q, r = *best.x[:2], *np.exp(best.x[2:])
    deviation = np.sqrt(np.diag(best.hess_inv))
    # an extended filter leaves out how its gain depends on θ (Ljung 1979), so it is not at the very maximum
    assert abs(made.params["a"] - a) < 0.8 * deviation[0]
    assert abs(made.params["b"] - b) < 0.8 * deviation[1]
    np.testing.assert_allclose([made.std["a"], made.std["b"]], deviation[:2], rtol=0.25)
    noises = made.process_noise[0] * np.max(np.abs(ys)), made.noise[0]
    assert log_likelihood(made.params["a"], made.params["b"], *noises, u, ys) < best.fun + 1.5
    assert log_likelihood(a, b, 3 * q, r, u, ys) > best.fun + 10  # the control
    assert 0.92 < made.coverage[0] < 0.98
    assert made.forecast(xs=np.zeros((30, 1))).std[-1, 0] == pytest.approx(np.sqrt(q**2 / (1 - a**2) + r**2), rel=0.3)


def test_a_simulation_says_that_a_filter_is_likelier(disturbed):
    system, u, ys = disturbed
    with pytest.warns(CalibrationWarning, match="not white"):
        made = fg.fit(system, u, ys)
    if made.method == "simulation":
        assert any("noise in the state the data are likelier" in remark for remark in made.remarks)
    else:
        assert made.process_noise[0] > 0.01


def test_of_a_simulation_that_is_given_up_nothing_is_told():
    """Where noise in the state is nearly all that there is, a filter is taken; the control is the simulation itself."""
    rng, h, ys = np.random.default_rng(3), 0.0, []
    for _ in range(90):
        h = 0.95 * h + 0.3 * rng.normal()
        ys.append([h + 0.05 * rng.normal()])
    system = fg.System(lambda h, x, p: p["a"] * h, None, np.full(1, 0.1), {"a": 0.8})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fg.fit(system, ys=np.array(ys)).method == "filter"
    with pytest.warns(CalibrationWarning, match="not white"):
        fg.fit(system, ys=np.array(ys), method="simulation")


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_a_search_does_not_ask_why_a_step_is_refused(engine, monkeypatch):
    """What refuses a pass is looked for only where it is told: that traces the model anew."""
    system = fg.System(lambda h, x, p: h * h + p["a"], None, np.full(1, 0.5), {"a": 0.1})
    ys = system.simulate(steps=20).outputs
    search = _Search(system, None, engine, lambda count: None)
    record = recorded(system, SampleReader(search.execution.model), None, ys, None)
    newton, asked = search._newton(record), []
    monkeypatch.setattr(type(newton._loop), "_explain", lambda self, x: asked.append(x))
    away = np.array([30.0])
    assert newton.begun(record, away, search.declared, search.prior) is None
    assert newton.begun(record, search.declared, search.declared, search.prior) is not None
    assert not asked
    assert "not finite" in str(newton.refused(record, away))
    assert asked


@pytest.mark.parametrize("count", [5, 12])
def test_intervals_of_few_samples_are_students(count):
    """A straight line through the origin, as in any textbook."""
    rng = np.random.default_rng(count)
    x = rng.normal(size=(count, 1)) + 2.0
    line = fg.System(lambda h, x, p: p["a"] * x, None, np.zeros(1), {"a": 1.0}, np.zeros(1))
    ys = 2.0 * x + rng.normal(size=x.shape)
    made = fg.fit(line, x, ys)
    best = np.sum(x * ys) / np.sum(x * x)
    std = np.sqrt(np.sum((ys - best * x) ** 2) / (count - 1) / np.sum(x * x))
    assert made.freedom == count - 1
    assert made.std["a"] == pytest.approx(std, rel=1e-3)
    wide = np.ptp(made.interval["a"]) / 2
    assert wide == pytest.approx(student.ppf(0.975, count - 1) * std, rel=1e-3)
    assert wide > 1.1 * 1.96 * std  # what it was


def test_a_short_record_with_residuals_that_remember():
    """Sixty samples of logistic growth, by Gompertz' law: no deviations that would be those of white noise."""
    t = 0.5 * np.arange(60)
    ys = 50 / (1 + 24 * np.exp(-0.5 * t)) + np.random.default_rng(0).normal(size=60)
    system = fg.System(
        lambda h, x, p: p["r"] * h * np.log(p["K"] / h), None, 2.0 * np.ones(1),
        {"r": fg.positive(0.1), "K": fg.positive(100.0)}, dt=0.5, method="rk4", substeps=2, first="initial",
    )  # fmt: skip
    with pytest.warns(CalibrationWarning, match="not white"):
        made = fg.fit(system, ys=ys[:, None])
    assert made.withheld or made.std["r"] > 2 * 0.006


def test_white_residuals_are_white_in_short_and_long_records():
    """One false alarm in some thousand, by simulation: here none in 300, at three lengths and in trajectories."""
    rng = np.random.default_rng(11)
    for length in (20, 60, 400):
        assert all(remembered(rng.normal(size=length), [0]) == 1.0 for _ in range(100))
    assert all(remembered(rng.standard_t(3, size=120), [0, 40, 80]) == 1.0 for _ in range(100))
    x = np.zeros(60)
    for k in range(1, 60):
        x[k] = 0.9 * x[k - 1] + rng.normal()
    assert remembered(x / x.std(), [0]) > 3.0  # the control


@pytest.mark.parametrize(("noise", "white"), [(0.0, True), (1e-9, True), (1e-3, False)])
def test_rounding_need_not_be_white(noise, white):
    """What is left of data without noise says nothing of the model; a memory of any size that counts does."""
    xs = np.random.default_rng(0).normal(size=(200, 1))
    system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
    wave = noise * np.sin(0.3 * np.arange(200))[:, None]
    ys = system.simulate(xs, params={"a": 0.8}).outputs + wave
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        found = fg.fit(system, xs, ys, method="simulation")
    assert found.white == white


def test_going_on_does_not_begin_anew():
    """With a learned initial state, and with a first sample at the start: neither forecast nor learner starts over."""
    t = 0.05 * np.arange(100)
    ys = 2 * np.exp(-0.5 * t) + 0.02 * np.random.default_rng(0).normal(size=100)
    text = "d x/dt = -k*x\nx(0) = x0\nparam k = 0.3 in (0, inf)\nparam x0 = 1 in (0, inf)\ndt = 0.05\nmethod = rk4"
    later = 2 * np.exp(-0.5 * 0.05 * np.arange(100, 103))
    for method in ("simulation", "filter"):
        made = fg.fit(fg.from_text(text), ys=ys[:, None], method=method)
        np.testing.assert_allclose(made.forecast(3).mean[:, 0], later, atol=0.03)
        learner = made.learner()
        learner.run(ys=later[:, None])
        assert abs(learner.params["k"] - 0.5) < 0.05
    known = fg.fit(
        fg.from_text(text.replace("x(0) = x0", "x(0) = 2").replace("param x0 = 1 in (0, inf)\n", "")),
        ys=ys[:, None],
        engine="numpy",
    )
    np.testing.assert_allclose(known.forecast(3).mean[:, 0], later, atol=0.03)


def test_an_output_that_was_never_observed():
    system = compartment().replace(Y=lambda h, x, p: np.array([h["c"], h["gut"]]))
    noise = 0.01 * np.random.default_rng(0).normal(size=60)
    ys = np.stack([absorbed(**TRUTH) + noise, np.full(60, np.nan)], axis=1)
    made = fg.fit(system, ys=ys)
    assert np.isnan(made.noise[1])
    assert np.isnan(made.bands[:, 1]).all()
    assert "never observed: output 1" in str(made)


def test_a_state_that_only_noise_moves():
    """A level from 0: the filter finds that it moves, though the declared model never does."""
    rng = np.random.default_rng(1)
    level = np.cumsum(0.3 * rng.normal(size=150))
    system = fg.System(lambda h, x, p: p["phi"] * h, None, np.zeros(1), {"phi": fg.bounded(0.7, 0.0, 1.0)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = fg.fit(system, ys=(level + 0.3 * rng.normal(size=150))[:, None])
    assert made.method == "filter"
    assert made.params["phi"] > 0.9
    assert made.process_noise[0] > 0.01


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.CalibrationWarning")
def test_a_table_whose_first_row_is_the_start():
    """Said, if the first target is what the model says before any step; and nothing where that was declared."""
    system = fg.System(
        lambda h, x, p: -p["k"] * h, None, 10 * np.ones(1), {"k": fg.positive(0.2)}, dt=1.0, method="rk4", substeps=8
    )
    ys = 10 * np.exp(-0.3 * np.arange(11.0))[:, None]
    with pytest.warns(FirstSampleWarning, match="first target is exactly"):
        fg.fit(system, ys=ys)
    right = fg.fit(system.replace(first="initial"), ys=ys)
    assert abs(right.params["k"] - 0.3) < 1e-5


def test_two_rates_that_may_be_exchanged():
    """Flip-flop kinetics: (ka, ke, V) and (ke, ka, V ke/ka) predict the same, and both are told."""
    t = 0.25 * np.arange(1, 41)
    ys = absorbed(**TRUTH, t=t) + 0.02 * np.random.default_rng(0).normal(size=40)
    with pytest.warns(IdentifiabilityWarning, match="another solution explains the data as well"):
        made = fg.fit(compartment(start=(0.2, 1.0, 0.5)), ys=ys[:, None])
    assert abs(made.params["ka"] - TRUTH["ke"]) < 0.02  # nearer to the start
    assert any("ka = 1.5" in remark or "ka = 1.4" in remark for remark in made.remarks)


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, DeclarationError, "expected targets"),
        ({"ys": np.full((5, 1), np.nan)}, DataError, "no sample has a target"),
        ({"ys": np.zeros((5, 1)), "method": "simulate"}, DeclarationError, "Did you mean"),
        ({"ys": np.zeros((5, 1)), "trajectories": [fg.Trajectory(None, np.zeros((5, 1)))]}, DeclarationError, "both"),
        ({"trajectories": []}, DeclarationError, "list of fg.Trajectory"),
        ({"trajectories": [np.zeros((5, 1))]}, DeclarationError, "number 0"),
        ({"trajectories": [(None, np.zeros((5, 1))), (None, np.zeros((5, 2)))]}, fg.errors.ShapeError, "trajectory 1"),
    ],
)
def test_bad_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        fg.fit(compartment(), **arguments)


def test_a_model_that_cannot_be_simulated_is_refused_by_name():
    system = fg.System(lambda h, x, p: p["a"] * h / x, None, np.ones(1), {"a": 0.5}, np.ones(1))
    u = np.ones((50, 1))
    u[7] = 0.0
    with pytest.raises(NonFiniteError, match="at step 7"):
        fg.fit(system, u, ys=np.ones((50, 1)))


def test_too_large_and_unknown_losses():
    W = fg.System(lambda h, x, p: np.tanh(p["W"] @ h), None, np.ones(25), {"W": np.zeros((25, 25))})
    with pytest.raises(DeclarationError, match="at most 400 parameters"):
        fg.fit(W, ys=np.ones((5, 25)))
    own = fg.System(lambda h, x, p: p["a"] * h, None, np.ones(1), {"a": 0.5}, loss=lambda y, t: np.sum(np.abs(y - t)))
    with pytest.raises(DeclarationError, match="Fisher"):
        fg.fit(own, ys=np.ones((5, 1)))


def test_symbols_are_fitted_by_scoring():
    """A loss without a scale: logits of three symbols; closed form, the frequencies."""
    system = fg.System(
        lambda h, x, p: 0.0 * h, lambda h, x, p: np.concatenate([p["b"], np.zeros(1)]), np.zeros(1), {"b": np.zeros(2)},
        loss=fg.losses.CrossEntropy(),
    )  # fmt: skip
    ys = np.array([0] * 30 + [1] * 50 + [2] * 20)
    made = fg.fit(system, ys=ys)
    np.testing.assert_allclose(made.params["b"], np.log([1.5, 2.5]), atol=1e-2)
    np.testing.assert_allclose(made.std["b"][0], np.sqrt(1 / 30 + 1 / 20), rtol=1e-2)
    assert "loss" in str(made)


def test_pictures_name_trajectories_show_a_forecast_and_say_what_they_leave_out():
    pytest.importorskip("matplotlib")
    system = fg.System(lambda h, x, p: p["a"] * h, None, np.ones(1), {"a": 0.5})
    rng = np.random.default_rng(0)
    runs = [fg.Trajectory(None, 0.8 ** np.arange(1, 9)[:, None] + 0.01 * rng.normal(size=(8, 1))) for _ in range(30)]
    made = fg.fit(system, trajectories=runs[:2], method="simulation")
    ahead = made.forecast(3)
    figure = made.plot(trajectories=["Ann", "Bob"], forecast=ahead)
    assert [axes.get_title() for axes in figure.axes] == ["Ann", "Bob"]
    drawn = [[line.get_label() for line in axes.get_lines()] for axes in figure.axes]
    assert ["forecast" in labels for labels in drawn] == [False, True]
    line = figure.axes[1].get_lines()[drawn[1].index("forecast")]
    np.testing.assert_allclose(line.get_ydata(), ahead.mean[:, 0])
    assert line.get_xdata().tolist() == [9.0, 10.0, 11.0]
    assert figure.get_supxlabel() == ""
    many = fg.fit(system, trajectories=runs, method="simulation").plot()
    assert many.get_supxlabel() == "the first 24 of 30 panels"


def test_a_picture(found):
    pytest.importorskip("matplotlib")
    figure = found.plot()
    assert [axes.get_ylabel() for axes in figure.axes] == ["c"]


# ---- over many runs


def lag():
    return fg.System(lambda h, x, p: p["a"] * h + p["b"] * x, None, np.zeros(1), {"a": 0.4, "b": 1.5}, np.zeros(1))


def logistic():
    return fg.System(
        lambda h, x, p: p["r"] * h * (1 - h / p["K"]), None, 0.2 * np.ones(1),
        {"r": fg.positive(0.6), "K": fg.positive(3.0)}, dt=0.2, method="rk4", first="next",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "truth", "noise", "length"),
    [
        (lag, {"a": 0.8, "b": 1.0}, 0.3, 60),
        (compartment, TRUTH, 0.1, 60),
        (logistic, {"r": 1.0, "K": 2.0}, 0.05, 50),
    ],
    ids=["lag", "compartment", "logistic"],
)
def test_coverage_of_intervals_and_bands(make, truth, noise, length):
    """200 records: 95 % intervals hold the truth in 90 to 99 %, bands hold the observations in 93 to 97 %."""
    system, inside, bands = make(), [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        u = None if system.x is None else rng.normal(size=(length, 1))
        clean = system.simulate(u, steps=None if u is not None else length, params=truth).outputs
        made = fg.fit(system, u, clean + noise * rng.normal(size=clean.shape))
        inside.append([made.interval[k][0] <= v <= made.interval[k][1] for k, v in truth.items()])
        if seed % 10 == 0:
            later = made.bands[:, 0]
            bands.append(
                np.mean(np.abs(clean[:, 0] + noise * rng.normal(size=length) - made.outputs[:, 0]) < 1.96 * later)
            )
    rates = np.mean(inside, axis=0)
    print(dict(zip(truth, rates, strict=True)), np.mean(bands))
    assert np.all((rates >= 0.90) & (rates <= 0.99))
    assert 0.93 <= np.mean(bands) <= 0.97


@pytest.mark.parametrize(("frequency", "lost"), [(1.0, False), (1.1, True)])
def test_a_simulation_that_is_not_where_the_data_are_has_no_deviations(frequency, lost):
    """A frequency that is not learned, and wrong: what is learned beside it has a deviation that means nothing."""

    def swing(w):
        return fg.System(
            lambda h, x, p: np.stack([h[1], -(w**2) * h[0] - p["c"] * h[1]]), lambda h, x, p: h[0],
            np.array([1.0, 0.0]), {"c": fg.positive(0.02)}, dt=0.1,
        )  # fmt: skip

    ys = swing(1.0).simulate(steps=300, params={"c": 0.03}).outputs
    ys = ys + 0.05 * np.random.default_rng(0).normal(size=ys.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        made = fg.fit(swing(frequency), ys=ys, method="simulation", engine="numpy")
    assert made.lost == lost
    assert np.isnan(made.std["c"]) == lost
    assert lost == any("not where the data are" in remark for remark in made.remarks)
    assert lost or abs(made.params["c"] - 0.03) < 3 * made.std["c"]


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.CalibrationWarning")
def test_a_search_that_ends_before_the_minimum_says_so_and_shows_no_deviations(monkeypatch):
    """Negative control: with passes enough it is at the minimum, and has deviations."""
    system = fg.System(lambda h, x, p: p["a"] * h, None, np.ones(1), {"a": fg.positive(0.5)})
    ys = 0.9 ** np.arange(1, 31)[:, None] + 0.02 * np.random.default_rng(0).normal(size=(30, 1))
    fit = fg.fit(system, ys=ys, method="simulation", engine="numpy")
    assert fit.promised == 0
    assert np.isfinite(fit.std["a"])
    monkeypatch.setattr("fwdgrad.learning.defaults.MOST_TOGETHER", 1)  # no filter leads the way
    monkeypatch.setattr("fwdgrad.learning.loops.GaussNewton.improved", lambda self, record, best, *_: best)
    with pytest.warns(ConvergenceWarning, match="before the minimum"):
        ended = fg.fit(system, ys=ys, observation_noise=0.02, method="simulation", engine="numpy")
    assert ended.promised > 0.05
    assert np.isnan(ended.std["a"])
    assert any("the search ended before the minimum" in remark for remark in ended.remarks)
    assert fg.fit(system, ys=ys, params=fit.params, method="simulation", engine="numpy").promised == 0
