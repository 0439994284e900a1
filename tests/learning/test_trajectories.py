"""Learned initial states, several trajectories, injection, times between samples, substeps, simulation."""

import itertools
import warnings

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import DataError, DeclarationError, NonFiniteError, ShapeError, UnknownNameError
from fwdgrad.learning.step.kinds import TRANSIT
from fwdgrad.optimizers import SGD

ENGINES = ["numpy", "compiled", "eager"]
W = np.array([[0.5, -0.8], [0.9, 0.3]])
PARAMS = {"W": W, "b": np.array([0.1, -0.2]), "h0": np.array([0.4, -0.3])}


def F(h, x, p):
    return np.tanh(p["W"] @ h + p["b"] + x)


def init(p):
    return 2.0 * p["h0"]


def learned_start(**options):
    return fg.System(F, None, init, PARAMS, np.zeros(2), first="initial", **options)


def samples(length, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(length, 2)), rng.normal(size=(length, 2))


def unrolled(params, xs, ys):
    """The loss of one trajectory, whose first sample is observed in the initial state itself."""
    h, loss = 2.0 * params["h0"], 0.0
    for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if k:
            h = anp.tanh(anp.dot(params["W"], h) + params["b"] + x)
        loss = loss + 0.5 * anp.sum((h - y) ** 2)
    return loss


def gradients(params, xs, ys):
    return autograd.grad(unrolled)(params, xs, ys)


def summed(estimator, system, trajectories, engine, steps=0):
    """Sum of the gradients over trajectories, with θ all but fixed."""
    rate = 1e-7
    learner = fg.Learner(system, estimator, SGD(rate), engine=engine)
    for xs, ys in trajectories:
        learner.run(xs, ys)
        learner.reset_state()
    return {k: (PARAMS[k] - v) / rate for k, v in learner.params.items()}


# ---- a learned initial state


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.BPTT(), fg.TBPTT(9), fg.Hybrid(2), fg.SparseRTRL()], ids=str)
@pytest.mark.covering
def test_exact_gradients_reach_the_initial_state(estimator, engine):
    trajectories = [samples(6, 1), samples(4, 2)]
    got = summed(estimator, learned_start(), trajectories, engine)
    wanted = [gradients(PARAMS, *t) for t in trajectories]
    for k in PARAMS:
        total = sum(w[k] for w in wanted)
        np.testing.assert_allclose(got[k], total, rtol=3e-6, atol=3e-6)
        assert np.abs(total).max() > 0.1


def test_the_influence_starts_from_the_derivative_of_the_initial_state():
    learner = fg.Learner(learned_start(), fg.RTRL())
    xs, _ = samples(3)
    learner.step(xs[0])
    np.testing.assert_array_equal(learner.state, init(PARAMS))
    matrix = learner.influence_matrix()
    np.testing.assert_array_equal(matrix, np.hstack([np.zeros((2, 6)), 2.0 * np.eye(2)]))
    learner.step(xs[1])
    h = np.tanh(W @ init(PARAMS) + PARAMS["b"] + xs[1])
    np.testing.assert_allclose(learner.influence_matrix()[:, 6:], (1 - h**2)[:, None] * W * 2.0, rtol=1e-14)


def mean_influence(system, estimator, given):
    """Mean of G̃ over all signs of every step, at the declared θ."""
    learner = fg.Learner(system, estimator)
    execution, total = learner._execution, 0.0
    patterns = list(itertools.product([-1.0, 1.0], repeat=2 * len(given)))
    for pattern in patterns:
        carry = execution.initial()
        for k, row in enumerate(given):
            carry = execution.make(TRANSIT, carry, row, [np.array(pattern[2 * k : 2 * k + 2])])[:-3]
        learner._loop.carry = carry
        total = total + learner.influence_matrix() / len(patterns)
    return total


@pytest.mark.parametrize("estimator", [fg.UORO(), fg.NoBackTrack()], ids=str)
def test_random_estimates_are_unbiased_from_the_initial_state_on(estimator):
    xs, _ = samples(3)
    exact = fg.Learner(learned_start(), fg.RTRL())
    for x in xs:
        exact.step(x)
    given = [[x, np.array(float(k == 0))] for k, x in enumerate(xs)]
    mean = mean_influence(learned_start(), estimator, given)
    np.testing.assert_allclose(mean, exact.influence_matrix(), atol=1e-12)
    never = mean_influence(learned_start(), estimator, [[x, np.array(0.0)] for x in xs])
    assert np.abs(never - exact.influence_matrix()).max() > 0.1  # without the start it is another matrix


def test_a_given_state_is_not_learned():
    learner = fg.Learner(learned_start(), fg.RTRL())
    learner.reset_state(np.array([0.2, 0.1]))
    xs, _ = samples(2)
    learner.step(xs[0])
    np.testing.assert_array_equal(learner.state, [0.2, 0.1])
    np.testing.assert_array_equal(learner.influence_matrix(), 0.0)
    learner.step(xs[1])
    np.testing.assert_allclose(learner.state, np.tanh(W @ [0.2, 0.1] + PARAMS["b"] + xs[1]))
    np.testing.assert_array_equal(learner.influence_matrix()[:, 6:], 0.0)
    learner.reset_state()
    learner.step(xs[1])
    np.testing.assert_array_equal(learner.state, init(PARAMS))


def test_prediction_before_the_first_sample_is_that_of_the_initial_state():
    learner = fg.Learner(learned_start())
    np.testing.assert_array_equal(learner.predict(np.zeros(2)), init(PARAMS))
    learner.step(np.zeros(2))
    assert not np.array_equal(learner.predict(np.zeros(2)), init(PARAMS))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_initial_state_is_learned_from_several_passes(engine):
    truth = fg.System(F, None, np.array([0.9, -0.7]), {"W": W, "b": PARAMS["b"]}, np.zeros(2))
    xs, _ = samples(5, 3)
    ys = np.vstack([truth.state, truth.simulate(xs[1:]).outputs])
    params = {"W": fg.fixed(W), "b": fg.fixed(PARAMS["b"]), "h0": np.zeros(2)}
    system = fg.System(F, None, lambda p: p["h0"], params, np.zeros(2), first="initial")
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(0.2), engine=engine)
    for _ in range(60):
        learner.reset_state()
        learner.run(xs, ys)
    np.testing.assert_allclose(learner.params["h0"], truth.state, atol=1e-4)


# ---- injection

GAIN = np.array([[0.3, 0.1], [0.0, 0.6]])


def observed_by_hand():
    """The corrected system, written with the sample before among its inputs, and what of it was seen."""

    def corrected(h, x, p):
        return F(h + GAIN @ (x["seen"] * (x["y"] - (h + p["b"] * x["x"]))), x["now"], p)

    x = {"now": np.zeros(2), "x": np.zeros(2), "y": np.zeros(2), "seen": np.zeros(2)}
    return fg.System(corrected, lambda h, x, p: h + p["b"] * x["now"], np.zeros(2), {"W": W, "b": PARAMS["b"]}, x)


def injected():
    return fg.System(
        F, lambda h, x, p: h + p["b"] * x, np.zeros(2), {"W": W, "b": PARAMS["b"]}, np.zeros(2), injection=GAIN
    )


def holed(length=40):
    xs, ys = samples(length, 5)
    ys[3] = np.nan
    ys[7, 1] = np.nan
    return xs, ys


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.UORO(), fg.TBPTT(3), fg.BPTT()], ids=str)
@pytest.mark.covering
def test_injection_corrects_by_the_sample_before(estimator, engine):
    """What is written by hand runs on NumPy: it is ours that has to be right on every engine."""
    xs, ys = holed()

    def before(rows):
        return np.vstack([np.zeros((1, 2)), rows[:-1]])

    given = {"now": xs, "x": before(xs), "y": before(np.nan_to_num(ys)), "seen": before(np.isfinite(ys))}
    learned = []
    for system, rows, on in ((injected(), xs, engine), (observed_by_hand(), given, "numpy")):
        learner = fg.Learner(system, estimator, fg.SGD(0.01), engine=on)
        history = learner.run(rows, ys)
        learned.append([*learner.params.values(), history.loss])
    for ours, by_hand in zip(*learned, strict=True):
        np.testing.assert_allclose(ours, by_hand, rtol=1e-11)
    assert not np.allclose(learned[0][0], W, atol=1e-4)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.coo_matrix, scipy.sparse.csc_array])
def test_a_sparse_gain_is_the_dense_one(kind):
    gain = np.array([[0.5], [0.0]])

    def followed(injection):
        system = fg.System(
            lambda h, x, p: p["a"] * h, lambda h, x, p: h[:1], np.ones(2), {"a": 0.5}, injection=injection
        )
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(0.01))
        learner.run(ys=np.arange(1.0, 6.0)[:, None])
        return learner

    np.testing.assert_array_equal(followed(kind(gain)).state, followed(gain).state)
    assert followed(kind(gain)).system.replace(dt=0.1).injection.shape == (2, 1)
    with pytest.raises(fg.errors.ShapeError, match=r"shape \(2, 1\).*got \(1, 2\)"):
        followed(kind(gain.T))


@pytest.mark.parametrize("engine", ENGINES)
def test_injection_goes_on_bit_for_bit(engine, tmp_path):
    xs, ys = holed()
    whole = fg.Learner(injected(), fg.UORO(), fg.SGD(0.01), engine=engine)
    whole.run(xs, ys)
    first = fg.Learner(injected(), fg.UORO(), fg.SGD(0.01), engine=engine)
    first.run(xs[:4], ys[:4])  # the last of them has no target
    first.save(tmp_path / "a.npz")
    second = fg.Learner.load(tmp_path / "a.npz", injected())
    second.run(xs[4:20], ys[4:20])
    for x, y in zip(xs[20:], ys[20:], strict=True):
        prediction = second.predict(x)
        loss = second.step(x, y)
        assert loss == pytest.approx(0.5 * np.nansum((prediction - y) ** 2), rel=1e-12)
    for k, v in whole.params.items():
        np.testing.assert_allclose(second.params[k], v, rtol=1e-13)


def test_a_refused_sample_is_not_seen():
    def unstable(h, x, p):
        return p["a"] * h + np.exp(x)

    system = fg.System(unstable, None, np.zeros(1), {"a": 0.5}, np.zeros(1), injection=[[0.5]])
    xs, ys = np.array([[0.1], [0.2], [800.0], [0.1]]), np.ones((4, 1))
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(0.01))
    with pytest.raises(NonFiniteError) as refusal:
        learner.run(xs, ys)
    assert (refusal.value.step, learner.steps) == (2, 2)
    other = fg.Learner(system, fg.RTRL(), fg.SGD(0.01))
    other.run(xs[:2], ys[:2])
    assert learner.step(xs[3], ys[3]) == other.step(xs[3], ys[3])


def test_injection_lets_a_chaotic_system_be_followed():
    def lorenz(h, x, p):
        a, b, c = h
        return np.array([p["s"] * (b - a), a * (p["r"] - c) - b, a * b - p["b"] * c])

    params = {"s": 10.0, "r": 28.0, "b": 8 / 3}
    free = fg.System(lorenz, lambda h, x, p: h[:1], np.array([1.0, 1.0, 25.0]), params, dt=0.01)
    ys = free.simulate(steps=3000).outputs
    wrong = np.array([-6.0, 2.0, 15.0])
    followed = fg.Learner(free.replace(state=wrong, injection=[[0.1], [0.1], [0.0]]), fg.RTRL(), fg.SGD(1e-12))
    alone = fg.Learner(free.replace(state=wrong), fg.RTRL(), fg.SGD(1e-12))
    assert followed.run(ys=ys).recent(500) < 1e-3
    errors = []
    for y in ys:
        errors.append(float(np.abs(alone.predict() - y)[0]))
        alone.step()
    assert np.mean(errors[-500:]) > 3.0


@pytest.mark.parametrize(
    ("gain", "error"),
    [
        (np.eye(3), ShapeError),
        ([0.1, 0.2], ShapeError),
        ({"x": 1.0}, ShapeError),
        ("x", UnknownNameError),
        (lambda theta: np.ones(3), ShapeError),
        (lambda theta: theta["K"], DeclarationError),
    ],
)
def test_a_gain_of_another_shape_is_refused(gain, error):
    with pytest.raises(error, match="injection"):
        fg.System(F, None, np.zeros(2), {"W": W, "b": PARAMS["b"]}, np.zeros(2), injection=gain)


def test_symbols_cannot_be_injected():
    with pytest.raises(DeclarationError, match="targets like predictions"):
        systems.tanh_rnn(4, 3).replace(injection=np.zeros((4, 3)))


# ---- a gain that is learned


def innovations(injection, **gain):
    params = {"W": W, "b": PARAMS["b"], **gain}
    return fg.System(F, lambda h, x, p: h + p["b"] * x, np.zeros(2), params, np.zeros(2), injection=injection)


FORMS = {
    "matrix": ("K", {"K": GAIN}, GAIN),
    "diagonal": ("K", {"K": np.array([0.3, 0.6])}, np.diag([0.3, 0.6])),
    "number": ("K", {"K": 0.4}, 0.4 * np.eye(2)),
    "function": (lambda theta: np.array([[theta["k"], 0.1], [0.0, 2 * theta["k"]]]), {"k": fg.positive(0.3)}, GAIN),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_gain_by_name_corrects_as_the_matrix_does(form):
    injection, gain, matrix = FORMS[form]
    xs, ys = holed()
    losses = [
        fg.Learner(system, fg.RTRL(), fg.SGD(1e-14), engine="numpy").run(xs, ys).loss
        for system in (innovations(injection, **gain), injected().replace(injection=matrix))
    ]
    np.testing.assert_allclose(*losses, rtol=1e-9)
    other = fg.Learner(innovations(0.9 * matrix), fg.RTRL(), fg.SGD(1e-14), engine="numpy").run(xs, ys).loss
    assert not np.allclose(losses[0], other, rtol=1e-3)


@pytest.mark.parametrize("engine", ["numpy", "eager"])
def test_the_gradient_in_the_gain_is_that_of_the_whole_sequence(engine):
    """Against central differences of the summed loss; without the influence it is another one."""
    xs, ys = holed(12)

    def total(gain):
        learner = fg.Learner(innovations(gain), fg.RTRL(), fg.SGD(1e-300), engine="numpy")
        return float(np.nansum(learner.run(xs, ys).loss))

    found = {}
    for estimator in (fg.RTRL(), fg.TBPTT(1)):
        learner = fg.Learner(innovations("K", K=GAIN), estimator, SumOfGradients(), engine=engine)
        learner.run(xs, ys)
        found[estimator.name] = np.asarray(learner._unpacked.optimizer["K"])
    unit, step = np.zeros((2, 2)), 1e-5
    for place in np.ndindex(2, 2):
        unit[:] = 0.0
        unit[place] = step
        difference = (total(GAIN + unit) - total(GAIN - unit)) / (2 * step)
        assert found["RTRL"][place] == pytest.approx(difference, rel=1e-6, abs=1e-8)
    assert not np.allclose(found["RTRL"], found[fg.TBPTT(1).name], rtol=1e-2)


class SumOfGradients:
    """Moves nothing; its state is the sum of all gradients."""

    def init(self, params):
        return {k: np.zeros_like(v) for k, v in params.items()}

    def update(self, grads, state, params):
        return {}, {k: state[k] + g for k, g in grads.items()}


def test_a_learned_gain_becomes_that_of_kalman():
    """The stationary gain of a disturbed state is what predicts best; by scipy's Riccati equation."""
    A, C, Q, R = np.array([[0.9, 0.3], [-0.2, 0.8]]), np.array([[1.0, 0.0]]), 0.04 * np.eye(2), 0.09
    P = scipy.linalg.solve_discrete_are(A.T, C.T, Q, [[R]])
    best = (P @ C.T / (C @ P @ C.T + R))[:, 0]
    rng, h, ys = np.random.default_rng(0), np.zeros(2), []
    for _ in range(4000):
        h = A @ h + 0.2 * rng.normal(size=2)
        ys.append(C @ h + 0.3 * rng.normal(size=1))
    system = fg.System(lambda h, x, p: A @ h, lambda h, x, p: C @ h, np.zeros(2), {"K": np.zeros(2)}, injection="K")
    learner = fg.Learner(system, fg.RTRL(), fg.InformationFilter("full", "exact", prior=1.0), engine="numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fg.errors.CalibrationWarning)  # the scale of the loss is not the noise
        learner.run(ys=np.array(ys))
    np.testing.assert_allclose(learner.params["K"], best, atol=0.06)
    assert np.all(np.abs(best) > 0.1)


def test_an_unstable_predictor_is_named():
    """A (Id − K C) = 0.9 (1 − 3) has the eigenvalue −1.8; with K = 1 it is 0."""

    def learner(gain):
        params = {"K": fg.fixed(gain), "b": 0.0}
        system = fg.System(lambda h, x, p: 0.9 * h + p["b"], None, np.zeros(1), params, injection="K")
        return fg.Learner(system, fg.RTRL(), fg.SGD(1e-300), engine="numpy")

    ys = np.random.default_rng(0).normal(size=(3000, 1))
    with pytest.warns(fg.errors.UnstableWarning, match=r"(?s)predictor is unstable.*absolute value 1\.8 "):
        learner(3.0).run(ys=ys[:100])
    with pytest.raises(NonFiniteError, match=r"(?s)predictor is unstable.*1\.8 .*gain") as refusal:
        learner(3.0).run(ys=ys)  # the warning has had no occasion
    assert "unstable" in refusal.value.quantity
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner(1.0).run(ys=ys)


# ---- the time between samples


def decay(h, x, p):
    return -p["k"] * h + x["u"]


def test_the_time_between_samples_may_be_an_input():
    start = np.ones(1), {"k": 0.7}, {"u": np.zeros(1)}
    uniform = fg.System(decay, None, *start, dt=0.1, method="euler", first="next")
    varying = fg.System(
        decay, None, np.ones(1), {"k": 0.7}, {"u": np.zeros(1), "elapsed": 0.1}, dt="elapsed", method="euler"
    )
    us, ys = np.ones((30, 1)), np.linspace(1, 0, 30)[:, None]
    learned = []
    for system, xs in ((uniform, {"u": us}), (varying, {"u": us, "elapsed": np.full(30, 0.1)})):
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(0.01))
        learner.run(xs, ys)
        learned.append(learner.params["k"])
    assert learned[0] == pytest.approx(learned[1], rel=1e-13)
    states = varying.simulate({"u": us, "elapsed": np.array([0.0, 0.1, 0.2] * 10)}).states
    assert states[0] == 1.0
    assert states[1] == pytest.approx(1 + 0.1 * 0.3)


def test_time_does_not_go_back():
    system = fg.System(decay, None, np.ones(1), {"k": 0.7}, {"u": np.zeros(1), "elapsed": 0.1}, dt="elapsed")
    with pytest.raises(DataError, match=r"negative, -0.1 at step 1"):
        fg.Learner(system).run({"u": np.zeros((2, 1)), "elapsed": np.array([0.1, -0.1])}, np.zeros((2, 1)))
    with pytest.raises(DeclarationError, match="the name of an input"):
        fg.System(decay, None, np.ones(1), {"k": 0.7}, {"u": np.zeros(1)}, dt="elapsed")


@pytest.mark.parametrize("engine", ENGINES)
def test_substeps_are_steps_without_samples_in_between(engine):
    def rate(h, x, p):
        return -p["k"] * h**2 + x

    xs, ys = np.linspace(0, 1, 10)[:, None], np.linspace(1, 0.5, 10)[:, None]
    coarse = fg.System(
        rate, None, np.ones(1), {"k": 0.7}, np.zeros(1), dt=0.2, substeps=4, method="euler", first="next"
    )
    fine = coarse.replace(dt=0.05, substeps=1)
    gaps = np.full((10, 4, 1), np.nan)
    gaps[:, -1] = ys
    learned = []
    for system, x, y in ((coarse, xs, ys), (fine, np.repeat(xs, 4, axis=0), gaps.reshape(40, 1))):
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(0.1), engine=engine)
        learner.run(x, y)
        learned.append(learner.params["k"])
    assert learned[0] == pytest.approx(learned[1], rel=1e-12)


@pytest.mark.parametrize("substeps", [0, 1.5, True, -3])
def test_substeps_are_a_whole_number(substeps):
    with pytest.raises(DeclarationError, match="substeps"):
        fg.System(decay, None, np.ones(1), {"k": 0.7}, {"u": np.zeros(1)}, dt=0.1, substeps=substeps)
    with pytest.raises(DeclarationError, match="is not integrated"):
        fg.System(F, None, np.zeros(2), PARAMS, np.zeros(2), method="rk4")
    with pytest.raises(DeclarationError, match="no steps to divide"):
        fg.System(F, None, np.zeros(2), PARAMS, np.zeros(2), substeps=2)


# ---- simulation


@pytest.mark.parametrize("make", [learned_start, injected, observed_by_hand], ids=lambda m: m.__name__)
def test_a_simulation_is_what_a_learner_predicts_without_data(make):
    system = make()
    xs, _ = samples(12, 8)
    given = {"now": xs, "x": xs, "y": xs, "seen": xs} if isinstance(system.x, dict) else xs
    states, outputs = system.simulate(given)
    predicted = fg.Learner(system, fg.RTRL()).run(given, np.full((12, 2), np.nan), keep_predictions=True).predictions
    np.testing.assert_allclose(outputs, predicted, rtol=1e-13)
    assert states.shape == (12, 2)


def test_a_simulation_takes_parameters_and_a_state():
    def rate(h, x, p):
        return {"x": h["v"], "v": -p["k"] * h["x"]}

    system = fg.System(rate, lambda h, x, p: h["x"], {"x": 1.0, "v": 0.0}, {"k": fg.positive(1.0)}, dt=1e-3)
    states, outputs = system.simulate(steps=500, params={"k": 4.0}, state={"x": 0.0, "v": 1.0})
    assert states["x"].shape == outputs.shape == (500,)
    assert outputs[-1] == pytest.approx(np.sin(1.0) / 2, abs=2e-3)
    assert system.simulate(steps=500).outputs[-1] == pytest.approx(np.cos(0.5), abs=2e-3)
    for wrong in (
        {"steps": 0},
        {"xs": np.ones(3)},
        {"steps": 3, "params": {"q": 1}},
        {"steps": 3, "state": np.ones(2)},
    ):
        with pytest.raises(fg.FwdgradError):
            system.simulate(**wrong)
    with pytest.raises(ShapeError, match="at least 9"):
        learned_start().simulate(np.zeros((3, 2)), steps=9)
    with pytest.raises(ShapeError, match="time along axis 0"):
        learned_start().simulate(np.zeros((3, 3)))
    with pytest.raises(DataError, match="finite inputs"):
        learned_start().simulate(np.full((3, 2), np.nan))
    symbols = systems.tanh_rnn(4, 3)
    np.testing.assert_array_equal(symbols.simulate([0, 1, 2]).outputs, symbols.simulate(np.arange(3)).outputs)


def test_a_simulation_that_blows_up_says_when():
    system = fg.System(lambda h, x, p: p["k"] * h**2, None, np.ones(1), {"k": 1.0}, dt=0.5)
    with pytest.raises(NonFiniteError, match="at step") as refusal:
        system.simulate(steps=100)
    first = refusal.value.step
    assert np.all(np.isfinite(system.simulate(steps=first).states))


# ---- other uses of a declaration


@pytest.mark.parametrize("make", [learned_start, injected], ids=lambda m: m.__name__)
def test_checks_and_comparisons_know_such_systems(make):
    xs, ys = samples(40, 9)
    assert fg.check(make()).ok
    report = fg.compare(make(), xs, ys, ["rtrl", "uoro"], replicas=20)
    assert "RTRL" in str(report)
    fg.testing.check_system(make())


# ---- residuals


def test_residuals_are_what_was_not_predicted():
    xs, ys = holed()
    ys = np.ma.masked_array(ys, np.zeros_like(ys, bool))
    ys[5] = np.ma.masked
    history = fg.Learner(injected(), fg.RTRL(), fg.SGD(0.01)).run(xs, ys, keep_predictions=True)
    residuals = history.residuals(ys)
    np.testing.assert_allclose(0.5 * np.nansum(residuals**2, axis=1), np.nan_to_num(history.loss), rtol=1e-12)
    assert np.isnan(residuals[[3, 5]]).all()
    listed = [None if k in (3, 5) else y for k, y in enumerate(np.ma.getdata(ys))]
    np.testing.assert_array_equal(history.residuals(listed), residuals)
    with pytest.raises(ShapeError, match=r"shape \(40, 2\)"):
        history.residuals(ys[:-1])
    with pytest.raises(DataError, match="keep_predictions"):
        fg.Learner(injected(), fg.RTRL(), fg.SGD(1e-3)).run(xs, ys).residuals(ys)
