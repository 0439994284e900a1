"""The filter on state and parameters: textbook filters, batch least squares, and that it finds parameters from far."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from scipy.optimize import least_squares

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import BoundWarning, CalibrationWarning, DeclarationError
from fwdgrad.learning.confidence import Fitted
from fwdgrad.learning.loops.refitting import STRAYS, Refitting

FIXED = fg.JointFilter(prior=0.5, observation_noise=0.2, process_noise=0.05, initial_std=0.3, first=0)


def noisy(system, steps, noise, seed=0, xs=None, **params):
    rng = np.random.default_rng(seed)
    ys = system.simulate(xs, steps=None if xs is not None else steps, params=params or None).outputs
    return ys + noise * rng.normal(size=ys.shape)


def linear_in_theta():
    """h' = A h + B θ with a known A: state and parameters together are a linear system."""
    A, B = np.array([[0.9, 0.2], [-0.1, 0.8]]), np.array([[1.0, 0.0], [0.5, 1.0]])
    return (
        A,
        B,
        fg.System(
            lambda h, x, p: A @ h + B @ p["b"],
            lambda h, x, p: h[:1],
            np.array([1.0, -2.0]),
            {"b": np.array([0.5, -0.3])},
        ),
    )


def mirrored(A, B, system, ys, shift=0.0):
    """filterpy's filter on (h, θ); the process noise is that of a state of the largest size so far."""
    declared = FIXED
    size = np.abs(system.initial)
    F = np.block([[A, B], [np.zeros((2, 2)), np.eye(2)]])
    filter_ = KalmanFilter(dim_x=4, dim_z=1)
    filter_.x = np.concatenate([system.initial, system.coordinates["b"]])[:, None]
    units = np.abs(system.coordinates["b"])
    filter_.P = np.diag(np.concatenate([(declared.initial_std * size) ** 2, (declared.prior * units) ** 2]))
    filter_.F, filter_.H, filter_.R = F, np.array([[1.0, 0, 0, 0]]), np.array([[declared.observation_noise**2]])
    surprise = 0.0
    for y in ys:
        filter_.Q = np.diag(np.concatenate([(declared.process_noise * size + shift) ** 2, np.zeros(2)]))
        filter_.predict()
        if np.isfinite(y).all():
            filter_.update(y)
            surprise += 0.5 * (np.log(filter_.S[0, 0]) + filter_.y[0, 0] ** 2 / filter_.S[0, 0])
        size = np.maximum(size, np.abs(filter_.x[:2, 0]))
    return filter_, surprise


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.IdentifiabilityWarning")  # a stationary output tells one of two
@pytest.mark.parametrize("shift", [0.0, 1e-3])
def test_a_linear_system_is_filtered_like_filterpy_does(shift):
    """States, covariances and likelihood, with missing samples; another process noise is seen."""
    A, B, system = linear_in_theta()
    ys = noisy(system, 300, 0.2, b=np.array([0.2, 0.1]))
    ys[40:60] = np.nan
    learner = fg.Learner(system, optimizer=FIXED)
    learner.run(ys=ys)
    oracle, surprise = mirrored(A, B, system, ys, shift)
    state = learner._unpacked.optimizer
    found = np.concatenate([learner.state, learner.params["b"]])
    same = (
        np.allclose(found, oracle.x[:, 0], rtol=1e-10, atol=1e-12)
        and np.allclose(state.root.T @ state.root, oracle.P, rtol=1e-9, atol=1e-12)
        and np.isclose(float(state.surprise), surprise, rtol=1e-10)
    )
    assert same == (shift == 0)
    assert np.allclose(learner.state_std(), np.sqrt(np.diag(oracle.P)[:2])) == (shift == 0)
    assert np.allclose(learner.parameter_std()["b"], np.sqrt(np.diag(oracle.P)[2:])) == (shift == 0)


def extended(system, ys, declared, steps):
    """An extended Kalman filter on (h, log θ), written out, with derivatives by finite differences."""
    n, p = system.size, len(system.trainable)

    def move(z, x=None):
        theta = dict(zip(system.trainable, z[n:], strict=True))
        return np.concatenate([system.transition(z[:n], None, system.coordinates | theta), z[n:]])

    def see(z):
        theta = dict(zip(system.trainable, z[n:], strict=True))
        return system.output(z[:n], None, system.coordinates | theta)

    def slope(f, z):
        return np.stack([(f(z + 1e-6 * e) - f(z - 1e-6 * e)) / 2e-6 for e in np.eye(len(z))], axis=1)

    z = np.concatenate([system.initial, [system.coordinates[k] for k in system.trainable]])
    size = np.abs(z[:n])
    P = np.diag(np.concatenate([(declared.initial_std * size) ** 2, np.full(p, declared.prior**2)]))
    for y in ys[:steps]:
        J = slope(move, z)
        P = J @ P @ J.T + np.diag(np.concatenate([(declared.process_noise * size) ** 2, np.zeros(p)]))
        z = move(z)
        H = slope(see, z)
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + declared.observation_noise**2 * np.eye(len(H)))
        z, P = z + K @ (y - see(z)), (np.eye(n + p) - K @ H) @ P
        size = np.maximum(size, np.abs(z[:n]))
    return z, P


def test_a_nonlinear_system_is_filtered_as_written_out():
    system = systems.lotka_volterra()
    ys = noisy(system, 60, 0.3, a=0.6, b=0.025)
    declared = fg.JointFilter(prior=0.2, observation_noise=0.3, process_noise=1e-3, initial_std=0.01, first=0)
    learner = fg.Learner(system, optimizer=declared)
    learner.run(ys=ys)
    z, P = extended(system, ys, declared, 60)
    held = learner._unpacked
    assert np.allclose(np.concatenate([held.h, [held.params[k] for k in system.trainable]]), z, rtol=1e-6)
    root = held.optimizer.root
    assert np.allclose(root.T @ root, P, rtol=1e-4, atol=1e-9)


def test_without_noise_in_the_state_the_covariance_holds_the_influence():
    """P_hθ P_θθ⁻¹ is RTRL's G for parameters that stand still, and not with process noise."""
    system = systems.lotka_volterra()
    ys = np.full((30, 2), np.nan)
    ys[::1] = np.nan
    exact = fg.Learner(system, fg.RTRL(), fg.SGD(1e-9))
    exact.run(ys=ys)
    for noise in (0.0, 0.1):
        declared = fg.JointFilter(observation_noise=1.0, process_noise=noise, initial_std=noise, first=0)
        learner = fg.Learner(system, optimizer=declared)
        learner.run(ys=ys)
        P = learner._unpacked.optimizer.root.T @ learner._unpacked.optimizer.root
        G = P[:2, 2:] @ np.linalg.inv(P[2:, 2:])
        slopes = np.array([float(learner.params[k]) for k in system.trainable])
        assert np.allclose(G / slopes, exact.influence_matrix(), rtol=1e-8)  # cross terms are the same with noise
        assert np.allclose(P[:2, :2], G @ P[2:, 2:] @ G.T, rtol=1e-8) == (noise == 0)


def test_the_first_samples_are_fitted_as_least_squares_does():
    """After the last fit, with a wide prior, θ is the batch solution, and its deviation that of the batch."""
    system = systems.mass_spring_damper()
    rng = np.random.default_rng(3)
    xs = {"force": np.repeat(rng.normal(size=8), 8)}
    ys = noisy(system, None, 0.05, xs=xs)
    learner = fg.Learner(system, optimizer=fg.JointFilter(prior=20.0, first=64))
    learner.params = {"c": 0.6, "k": 3.0}
    learner.run(xs, ys)

    def residual(u):
        return (system.simulate(xs, params={"c": np.exp(u[0]), "k": np.exp(u[1])}).outputs - ys).ravel()

    batch = least_squares(residual, np.log([0.6, 3.0]), xtol=1e-12, ftol=1e-12)
    assert np.allclose([float(learner.params[k]) for k in "ck"], np.exp(batch.x), rtol=2e-3)
    noise = np.mean(batch.fun**2)
    deviations = np.exp(batch.x) * np.sqrt(noise * np.diag(np.linalg.inv(batch.jac.T @ batch.jac)))
    assert np.allclose([float(learner.parameter_std()[k]) for k in "ck"], deviations, rtol=0.02)
    start = fg.Learner(system, optimizer=fg.JointFilter(prior=20.0, first=0))  # one pass is not that
    start.params = {"c": 0.6, "k": 3.0}
    start.run(xs, ys)
    assert not np.allclose([float(start.params[k]) for k in "ck"], np.exp(batch.x), rtol=2e-3)


def test_it_finds_parameters_that_are_off_by_a_factor_of_three():
    system = systems.lotka_volterra()
    ys = noisy(system, 150, 0.3)
    learner = fg.Learner(system)
    truth = {k: float(v) for k, v in system.params.items()}
    learner.params = {k: v * f for (k, v), f in zip(truth.items(), (0.4, 2.5, 1.8, 0.5), strict=True)}
    learner.run(ys=ys)
    for k, v in truth.items():
        assert abs(float(learner.params[k]) / v - 1) < 0.03
        assert abs(float(learner.params[k]) - v) < 3.5 * float(learner.parameter_std()[k])
    assert "filtered together" in learner.explain()


def test_steps_runs_checkpoints_and_engines_agree(tmp_path):
    """One by one, in pieces, interrupted while samples are kept, and compiled."""
    system = systems.mass_spring_damper()
    rng = np.random.default_rng(0)
    xs = {"force": rng.normal(size=90)}
    ys = noisy(system, None, 0.05, seed=2, xs=xs)  # with the same seed the noise would be the force once more
    ys[20:23] = np.nan
    made = {}
    for name, engine in (("run", "numpy"), ("steps", "numpy"), ("saved", "numpy"), ("compiled", "compiled")):
        learner = fg.Learner(system, optimizer=fg.JointFilter(first=64), engine=engine)
        learner.params = {"c": 0.6, "k": 3.0}
        if name == "steps":
            for x, y in zip(xs["force"], ys, strict=True):
                learner.step({"force": x}, y)
        elif name == "saved":
            learner.run({"force": xs["force"][:40]}, ys[:40])
            learner.save(tmp_path / "run.npz")
            learner = fg.Learner.load(tmp_path / "run.npz", system)
            learner.run({"force": xs["force"][40:]}, ys[40:])
        else:
            learner.run(xs, ys)
        made[name] = np.concatenate([*map(np.ravel, learner._loop.carry)])
        assert learner.steps == 90
    assert np.array_equal(made["run"], made["steps"])
    assert np.array_equal(made["run"], made["saved"])
    assert np.allclose(made["run"], made["compiled"], rtol=1e-6, atol=1e-9)


def test_trajectories_are_gone_through_from_their_own_starts():
    system = systems.mass_spring_damper()
    learner = fg.Learner(system, optimizer=fg.JointFilter(first=128))
    learner.params = {"c": 0.8, "k": 4.0}
    rng = np.random.default_rng(1)
    for place in (1.0, -2.0, 0.5, 1.5):
        start = {"x": place, "v": 0.0}
        xs = {"force": rng.normal(size=32)}
        h, ys = np.array([place, 0.0]), []
        for force in xs["force"]:
            h = system.transition(h, {"force": force}, system.coordinates)
            ys.append(h[:1] + 0.02 * rng.normal(size=1))
        learner.reset_state(start)
        learner.run(xs, np.array(ys))
    assert abs(float(learner.params["c"]) / 0.3 - 1) < 0.1
    assert abs(float(learner.params["k"]) / 2.0 - 1) < 0.02


def test_predictions_tell_the_deviation_of_the_next_target():
    """State, parameters and noise: what is predicted lies within two deviations about as often as it should."""
    system = systems.lotka_volterra()
    ys = noisy(system, 260, 0.5, seed=5)
    learner = fg.Learner(system, optimizer=fg.JointFilter(first=64))
    learner.run(ys=ys[:100])
    inside = []
    for y in ys[100:]:
        mean, deviation = learner.predict(return_std=True)
        inside.append(np.abs(y - mean) < 1.96 * deviation)
        learner.step(None, y)
    assert 0.9 < np.mean(inside) < 0.99


def test_noise_free_data_are_no_trouble():
    system = systems.van_der_pol()
    ys = system.simulate(steps=100).outputs
    learner = fg.Learner(system, optimizer=fg.JointFilter(first=64))
    learner.params = {"mu": 1.6}
    learner.run(ys=ys)
    assert abs(float(learner.params["mu"]) - 1) < min(1e-6, 2 * float(learner.parameter_std()["mu"]))
    assert learner.confidence().holds
    assert not learner.confidence().too_large()


@pytest.mark.quick("none", "at first")
@pytest.mark.parametrize("gaps", ["none", "at first", "every other row"])
def test_samples_without_a_target_are_no_samples_to_fit(gaps):
    """The fits come when there are targets enough, wherever these are; what is found is the same to its deviation."""
    system = systems.lotka_volterra()
    truth = {k: float(v) for k, v in system.params.items()}
    ys = noisy(system, 320, 0.3)
    ys[{"none": slice(0), "at first": slice(150), "every other row": slice(0, None, 2)}[gaps]] = np.nan
    learner = fg.Learner(system, optimizer=fg.JointFilter(first=64))
    learner.params = {k: v * f for (k, v), f in zip(truth.items(), (0.6, 1.5, 1.4, 0.7), strict=True)}
    learner.run(ys=ys)
    for k, v in truth.items():
        assert abs(float(learner.params[k]) / v - 1) < 0.02
        assert abs(float(learner.params[k]) - v) < 4 * float(learner.parameter_std()[k])


def test_what_is_kept_is_bounded_where_targets_are_rare():
    system = systems.lotka_volterra()
    learner = fg.Learner(system, optimizer=fg.JointFilter(first=16))
    ys = noisy(system, 300, 0.3)
    ys[np.arange(300) % 50 > 0] = np.nan
    learner.run(ys=ys)
    assert learner._loop._record is None
    learner = fg.Learner(system, optimizer=fg.JointFilter(first=20))
    learner.run(ys=ys)
    assert len(learner._loop._record) == 300


@pytest.mark.quick("0.0-0.5", "0.0-1.0")
@pytest.mark.parametrize(("low", "high"), [(0.0, 0.5), (0.0, 0.75), (0.85, 1.0), (0.0, 1.0)])
def test_a_bound_that_keeps_out_what_the_data_want_is_named_first(low, high):
    """Before what else residuals that are not white may come from; a bound that leaves room is not named."""
    rng = np.random.default_rng(0)
    F = lambda h, x, p: p["a"] * h + p["b"] * x  # noqa: E731
    system = fg.System(
        F, None, np.zeros(1), {"a": fg.bounded(low + 0.4 * (high - low), low, high), "b": 0.7}, np.zeros(1)
    )
    xs = rng.normal(size=(200, 1))
    free = fg.System(F, None, np.zeros(1), {"a": 0.8, "b": 1.0}, np.zeros(1))
    ys = free.simulate(xs).outputs + 0.1 * rng.normal(size=(200, 1))
    learner = fg.Learner(system)
    if high == 1.0 and low == 0.0:
        learner.run(xs, ys)
        assert "bound" not in str(learner.confidence())
        return
    with pytest.warns(BoundWarning, match="at its bound: a"), pytest.warns(CalibrationWarning, match="causes: a bound"):
        learner.run(xs, ys)
    with pytest.warns(BoundWarning), pytest.warns(CalibrationWarning):
        assert np.isnan(learner.parameter_std()["a"])


def test_a_model_that_lacks_something_is_told():
    """A pendulum without its friction, whose data have some, and noise that the filter may not give to the state."""
    system = systems.pendulum().replace(frozen=["friction"])
    rng = np.random.default_rng(0)
    xs = {"torque": np.repeat(rng.normal(size=10), 20)}
    ys = noisy(system, None, 0.02, xs=xs, friction=1.0)
    learner = fg.Learner(system, optimizer=fg.JointFilter(process_noise=0.0, first=64))
    with pytest.warns(CalibrationWarning, match="do not hold"):
        learner.run(xs, ys)
    assert not learner.confidence().holds


def gained(gain):
    """A driven oscillator whose input acts with a gain, and inputs."""
    xs = 0.8 * np.sin(0.045 * np.arange(300))
    system = fg.System(
        lambda h, x, p: np.stack([h[1], -p["k"] * h[0] - p["c"] * h[1] + gain * x]),
        lambda h, x, p: h[:1],
        np.array([1.0, 0.0]),
        {"k": 1.0, "c": 0.1},
        0.0,
        dt=0.05,
        method="rk4",
    )
    return system, xs


@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_noise_in_the_state_that_hides_a_wrong_model_is_told(gain):
    """With the right gain nothing is said; with another one residuals are white only by noise that is learned."""
    rng = np.random.default_rng(3)
    truth, xs = gained(gain)
    ys = truth.simulate(xs, params={"k": 2.0, "c": 0.3}).outputs + 0.02 * rng.normal(size=(300, 1))
    learner = fg.Learner(gained(1.0)[0])
    if gain == 1.0:
        learner.run(xs, ys)
        assert abs(float(learner.params["k"]) - 2.0) < 3.5 * float(learner.parameter_std()["k"])
    else:
        with pytest.warns(CalibrationWarning, match="noise in the state|not white"):
            learner.run(xs, ys)
        assert not learner.confidence().holds


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prior": 0.0}, "prior"),
        ({"observation_noise": "much"}, "observation_noise"),
        ({"observation_noise": -1.0}, "observation_noise"),
        ({"process_noise": -1.0}, "process_noise"),
        ({"first": -1}, "first"),
        ({"memory": 1.5}, "memory"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields, said):
    with pytest.raises(DeclarationError, match=said):
        fg.JointFilter(**fields)


def test_it_takes_no_estimator_and_wants_targets_like_predictions():
    system = systems.lotka_volterra()
    with pytest.raises(DeclarationError, match="no estimator"):
        fg.Learner(system, fg.RTRL(), fg.JointFilter())
    with pytest.raises(DeclarationError, match="one deviation"):
        fg.Learner(system, optimizer=fg.JointFilter(observation_noise=(1.0, 1.0, 1.0)))
    symbols = systems.tanh_rnn(units=2, symbols=3)
    with pytest.raises(DeclarationError, match="targets"):
        fg.Learner(symbols, optimizer=fg.JointFilter())
    assert isinstance(fg.Learner(symbols).optimizer, fg.SGD)
    with pytest.raises(DeclarationError, match="JointFilter"):
        fg.Learner(symbols).state_std()


@pytest.mark.parametrize(("method", "told"), [("euler", True), ("rk4", False)])
def test_integration_steps_that_are_too_long_are_told_of(method, told):
    """A damped oscillator of 6 rad/s at steps of 0.02, by its closed form: by Euler's method it is biased, and said."""
    t = 0.02 * np.arange(1, 201)
    fast = np.sqrt(36.0 - 0.25)
    ys = np.exp(-0.5 * t) * (np.cos(fast * t) + 0.5 / fast * np.sin(fast * t))
    ys = ys + 0.01 * np.random.default_rng(0).normal(size=ys.shape)
    system = fg.System(
        lambda h, x, p: np.array([h[1], -p["k"] * h[0] - p["d"] * h[1]]), lambda h, x, p: h[:1],
        np.array([1.0, 0.0]), {"k": fg.positive(30.0), "d": fg.positive(1.5)}, dt=0.02, method=method,
    )  # fmt: skip
    learner = fg.Learner(system, optimizer=fg.JointFilter(process_noise=0.0, first=128))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learner.run(ys=ys[:, None])
    said = [str(w.message) for w in caught if "integration steps are too long" in str(w.message)]
    assert len(said) == told
    wrong = abs(learner.params["d"] - 1.0)
    assert wrong > 0.3 if told else wrong < 0.05


def test_a_report_says_all_that_speaks_against_what_was_learned():
    system = fg.System(
        lambda h, x, p: 0.5 * h + p["used"] * x + 0.0 * p["spare"], None, np.zeros(1),
        {"used": 1.0, "spare": 1.0}, np.zeros(1),
    )  # fmt: skip
    xs = np.random.default_rng(0).normal(size=(200, 1))
    ys = system.simulate(xs, params={"used": 2.0}).outputs + 0.1 * np.random.default_rng(1).normal(size=(200, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learner = fg.Learner(system)
        learner.run(xs, ys)
    report = learner.report()
    used, spare = report.table[1:]
    assert abs(float(used.split()[2]) - 2.0) < 3 * float(used.split()[3]) < 0.1
    assert spare.endswith("not known")
    assert any("spare" in remark for remark in report.remarks)
    assert str(report).count("\n! ") == len(report.remarks)


def test_a_report_without_deviations():
    """Of an optimizer that keeps none: values only."""
    learner = fg.Learner(systems.van_der_pol(), fg.RTRL(), fg.SGD(1e-3))
    assert "not known" in learner.report().table[1]
    assert learner.report().outputs == ()


def test_deviations_of_few_samples_are_said_to_be_rough():
    """Until a simulation has been fitted; and no longer then."""
    system = systems.van_der_pol()
    ys = system.simulate(steps=80).outputs + 0.05 * np.random.default_rng(0).normal(size=(80, 2))
    learner = fg.Learner(system)
    learner.run(ys=ys[:30])
    with pytest.warns(CalibrationWarning, match="after 30 targets deviations are rough"):
        learner.parameter_std()
    assert any("rough" in remark for remark in learner.report().remarks)
    learner.run(ys=ys[30:])
    learner.parameter_std()
    assert not any("rough" in remark for remark in learner.report().remarks)


def battery():
    """Charge, and two capacitors that fill through resistors: a current of 10 s steps, of which 200 rows."""

    def F(h, x, p):
        fast, slow = x / p["C1"] - h[1] / (p["R1"] * p["C1"]), x / p["C2"] - h[2] / (p["R2"] * p["C2"])
        return h + 10.0 * np.stack([-x / 7200.0, fast, slow])

    params = {"R0": 0.02, "R1": 0.015, "C1": 2e3, "R2": 0.03, "C2": 2e4, "slope": 0.8, "rest": 3.3}
    system = fg.System(
        F,
        lambda h, x, p: p["rest"] + p["slope"] * h[:1] - h[1:2] - h[2:] - p["R0"] * x,
        np.array([0.9, 0.0, 0.0]),
        {k: v if k == "rest" else fg.positive(v) for k, v in params.items()},
        0.0,
        first="next",
    )
    rng = np.random.default_rng(110)
    current = np.repeat(rng.uniform(-1.0, 1.5, size=10), 25)[:240]
    ys = system.simulate(current).outputs
    ys = ys + 0.02 * ys.std() * rng.normal(size=ys.shape)
    starts = {k: v * np.exp(rng.uniform(-0.4, 0.4)) for k, v in params.items()}
    return system, current, ys, params, starts


def off(learner, truth):
    """The largest error in claimed deviations of the logarithms."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        std = learner.parameter_std()
    return max(abs(np.log(learner.params[k] / v)) / (std[k] / learner.params[k]) for k, v in truth.items())


@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.slow
def test_what_is_learned_between_two_fits_is_fitted_again(looks, monkeypatch):
    """Else, the negative control, it is linearised sample by sample, and deviations are far too small."""
    if not looks:
        wanted = "fwdgrad.learning.loops.refitting.Refitting._wanted"
        monkeypatch.setattr(wanted, lambda self, count, fitting: count in (16, 64))
    system, current, ys, truth, start = battery()
    learner = fg.Learner(system)
    learner.params = start
    with warnings.catch_warnings():
        warnings.simplefilter("default" if looks else "ignore")
        learner.run(current, ys)
    assert (off(learner, truth) < 4.0) == looks


@pytest.mark.parametrize(("least", "told"), [(None, True), (130.0, True), (110.0, False)])
def test_parameters_that_no_simulation_bears_out_are_told_of(least, told):
    """Where a filter is far likelier than the model left to itself; deviations reach to what a simulation found."""
    fitted, best = Fitted(np.ones(2), np.diag([0.01, 0.04])), SimpleNamespace(surprise=100.0)
    simulation = None if least is None else SimpleNamespace(objective=least, point=np.array([1.5, 0.0]))
    made = Refitting._held_to(SimpleNamespace(_least=simulation), fitted, best)
    assert (made.lacks == STRAYS) == told
    if told:
        np.testing.assert_allclose(made.bias, [0.1, 0.2] if least is None else [0.5, 1.0])
