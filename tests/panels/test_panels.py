"""Many streams with one θ: the same numbers as so many learners, whatever is missing, ends or starts."""

import itertools

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import DataError, DeclarationError, NonFiniteError, ShapeError
from fwdgrad.learning.execution import execution_for
from fwdgrad.learning.step.kinds import LEARN
from fwdgrad.learning.step.panel import PanelSteps
from fwdgrad.panels import PanelSystem

T, B = 25, 4


def network(n=3):
    rng = np.random.default_rng(1)
    params = {"W": 0.5 * rng.normal(size=(n, n)), "U": rng.normal(size=(n, 2)), "V": rng.normal(size=(2, n))}
    return fg.System(
        lambda h, x, p: np.tanh(p["W"] @ h + p["U"] @ x), lambda h, x, p: p["V"] @ h, np.zeros(n), params, np.zeros(2)
    )


def gated():
    return systems.gru(units=3, symbols=4)


def uneven():
    return fg.System(
        lambda h, x, p: x["u"] - p["k"] * h,
        None,
        np.ones(1),
        {"k": 0.5},
        {"u": 0.0, "dt": 0.1},
        dt="dt",
        method="rk4",
    )


def learned_start():
    return fg.System(
        lambda h, x, p: p["a"] * h + x,
        None,
        lambda p: p["b"] * np.ones(1),
        {"a": 0.5, "b": 1.0},
        np.zeros(1),
        first="initial",
    )


def corrected():
    params = {"a": 0.5, "K": 0.3}
    return fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), params, np.zeros(1), injection="K")


def filtered():
    level = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
    return fg.filtered(level, fg.positive(0.1), fg.positive(1.0))


def samples(system, seed=0):
    """Inputs and targets of all streams; which targets there are, and where streams start."""
    rng = np.random.default_rng(seed)
    if system.y.dtype == np.int64:
        xs, ys = rng.integers(0, 4, (2, T, B))
    elif isinstance(system.x, dict):
        xs, ys = {"u": rng.normal(size=(T, B)), "dt": rng.random((T, B))}, rng.normal(size=(T, B, 1))
    else:
        xs, ys = rng.normal(size=(T, B, *system.x.shape)), rng.normal(size=(T, B, *system.y.shape))
    there = rng.random((T, B)) > 0.3
    there[7] = False
    starts = rng.random((T, B)) < 0.1
    starts[0] = False
    return xs, ys, there, starts


def masked(ys, there):
    hidden = np.broadcast_to(~there.reshape(there.shape + (1,) * (ys.ndim - 2)), ys.shape)
    return np.ma.masked_array(ys, hidden) if ys.dtype == np.int64 else np.where(hidden, np.nan, ys)


def coordinates(learner):
    return {k: np.array(v) for k, v in learner._unpacked.params.items()}


def separately(system, xs, ys, there, starts, rate, pool="mean", counted=None):
    """θ, in coordinates, after steps that are the mean of those of so many learners by themselves."""
    learners = [fg.Learner(system, "rtrl", fg.SGD(rate), engine="numpy") for _ in range(there.shape[1])]
    theta = coordinates(learners[0])
    for t in range(len(there)):
        moves = []
        for b, learner in enumerate(learners):
            if starts[t, b]:
                learner.reset_state()
            learner.params = system.natural(theta)
            x = {k: v[t, b] for k, v in xs.items()} if isinstance(xs, dict) else xs[t, b]
            learner.step(x, ys[t, b] if there[t, b] else None)
            moves.append({k: v - theta[k] for k, v in coordinates(learner).items()})
        number = there[t].sum() if counted is None else counted
        if there[t].any():
            theta = {k: v + sum(m[k] for m in moves) / (1 if pool == "sum" else number) for k, v in theta.items()}
    return theta


def apart(learner, theta):
    return max(np.abs(v - theta[k]).max() for k, v in coordinates(learner).items())


SYSTEMS = [network, gated, uneven, learned_start, corrected, filtered]


@pytest.mark.quick("*-numpy", "corrected-compiled")
@pytest.mark.parametrize(
    ("make", "engine"), [*((make, "numpy") for make in SYSTEMS), (gated, "compiled"), (corrected, "compiled")]
)
def test_the_gradient_is_the_mean_of_that_of_the_streams(make, engine):
    """With targets that are missing, and trajectories that start at different times."""
    system = make()
    xs, ys, there, starts = samples(system)
    learner = fg.Learner(system, "rtrl", fg.SGD(0.05), engine=engine, streams=B)
    history = learner.run(xs, masked(ys, there), starts=starts)
    assert learner.engine == engine
    assert apart(learner, separately(system, xs, ys, there, starts, 0.05)) < 1e-12
    assert np.flatnonzero(np.isnan(history.loss)).tolist() == [7]
    # the controls: as many streams in the mean as there are, or starts that are not seen
    assert apart(learner, separately(system, xs, ys, there, starts, 0.05, counted=B)) > 1e-3
    assert apart(learner, separately(system, xs, ys, there, np.zeros_like(starts), 0.05)) > 1e-5


@pytest.mark.parametrize("make", [network, learned_start, corrected])
def test_influences_of_streams_stand_below_each_other(make):
    system = make()
    xs, ys, _, _ = samples(system)
    together = fg.Learner(system, "rtrl", fg.SGD(1e-300), streams=B)
    together.run(xs, ys)
    one = [fg.Learner(system, "rtrl", fg.SGD(1e-300)) for _ in range(B)]
    for b, learner in enumerate(one):
        learner.run(xs[:, b], ys[:, b])
    assert np.array_equal(together.influence_matrix(), np.concatenate([each.influence_matrix() for each in one]))
    random = fg.Learner(system, fg.UORO(rank=2), fg.SGD(1e-300), streams=B)
    random.run(xs, ys)
    assert random.influence_matrix().shape == together.influence_matrix().shape


def test_the_eager_model_does_the_same():
    system = network()
    xs, ys, there, starts = samples(system)
    learner = fg.Learner(system, "rtrl", fg.SGD(0.05), engine="eager", streams=B)
    learner.run(xs, masked(ys, there), starts=starts)
    assert apart(learner, separately(system, xs, ys, there, starts, 0.05)) < 1e-12


ESTIMATORS = {
    "rtrl": fg.RTRL(),
    "uoro": fg.UORO(),
    "nobacktrack": fg.NoBackTrack(),
    "rank 2": fg.UORO(rank=2),
    "snap": fg.SnAp(1),
    "forward": fg.ForwardGradient(),
    "kfrtrl": fg.KFRTRL(),
    "debiased": fg.Debiased("snap:1"),
    "window": fg.UORO(window=3),
    "tbptt": fg.TBPTT(4),
    "bptt": fg.BPTT(),
}


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@pytest.mark.parametrize("optimizer", [fg.SGD(0.05), fg.Adam(0.01)], ids=["sgd", "adam"])
@pytest.mark.covering
def test_one_stream_is_a_learner_as_ever(estimator, optimizer):
    system = network()
    xs, ys, there, _ = samples(system)
    alone, one = (
        fg.Learner(system, estimator, optimizer, seed=3, engine="numpy", streams=streams) for streams in (None, 1)
    )
    ys = masked(ys, there)
    first, second = alone.run(xs[:, 0], ys[:, 0]), one.run(xs[:, :1], ys[:, :1])
    exact = isinstance(one._execution.steps, PanelSteps)
    for k, v in alone.params.items():
        np.testing.assert_allclose(v, one.params[k], rtol=0 if exact else 1e-12, atol=0 if exact else 1e-14)
    np.testing.assert_allclose(first.loss, second.loss, rtol=1e-12)


def test_filters_take_the_information_of_all_streams():
    """One stream after the other tells the same as all at once, in a linear system whose states do not know θ."""
    system = fg.System(lambda h, x, p: x, lambda h, x, p: p["C"] @ h, np.zeros(2), {"C": np.zeros((1, 2))}, np.zeros(2))
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(70, B, 2)), rng.normal(size=(70, B, 1))
    for optimizer in (fg.InformationFilter("full", "exact"), fg.JointFilter(observation_noise=1.0, process_noise=0.0)):
        together = fg.Learner(system, optimizer=optimizer, engine="numpy", streams=B)
        together.run(xs, ys)
        alone = fg.Learner(system, optimizer=optimizer, engine="numpy")
        alone.run(xs.reshape(-1, 2), ys.reshape(-1, 1))
        np.testing.assert_allclose(together.params["C"], alone.params["C"], rtol=1e-6)
        np.testing.assert_allclose(together.parameter_std()["C"], alone.parameter_std()["C"], rtol=1e-6)


# ---- random estimators


def enumerated(estimator, streams, xs, ys, shared=False):
    """Gradients of the last of three steps, under all signs of the two before, shape (signs, p)."""
    one = fg.System(
        lambda h, x, p: np.tanh(p["W"] @ h + x),
        None,
        np.zeros(2),
        {"W": np.array([[0.5, -0.3], [0.4, 0.2]])},
        np.zeros(2),
    )
    system = one if streams is None else PanelSystem(one, streams)
    execution = execution_for(system, estimator, fg.SGD(1.0), "numpy")
    theta = np.array([[0.5, -0.3], [0.4, 0.2]])
    count = 2 * (streams or 1)
    row = [np.zeros(np.shape(leaf)) for leaf in (() if streams is None else (np.zeros(streams), np.zeros(streams)))]

    def step(carry, t, noise):
        x = [xs[t], *row] if streams is not None else [xs[t, 0]]
        y = [ys[t], np.ones(streams)] if streams is not None else [ys[t, 0]]
        made = list(execution.make(LEARN, carry, x, y, noise)[: len(carry)])
        gradient = theta - made[1]
        made[1] = theta
        return tuple(made), gradient.ravel()

    found = []
    signs = [np.array(s, float) for s in itertools.product((-1, 1), repeat=2 if shared else count)]
    shape = (2,) if streams is None else (streams, 2)
    signs = [np.broadcast_to(s, shape) if shared else s.reshape(shape) for s in signs]
    start = execution.initial()
    for first in signs:
        after, _ = step(start, 0, [first])
        for second in signs:
            last, _ = step(after, 1, [second])
            found.append(step(last, 2, [signs[0]])[1])
    return np.array(found)


def test_the_mean_over_all_signs_is_exact_and_its_noise_that_of_independent_streams():
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(2, 3, 2, 2))
    together = enumerated(fg.UORO(), 2, xs, ys)
    single = [enumerated(fg.UORO(), None, xs[:, [b]], ys[:, [b]]) for b in (0, 1)]
    np.testing.assert_allclose(together.mean(0), (single[0].mean(0) + single[1].mean(0)) / 2, atol=1e-12)
    independent = (single[0].var(0) + single[1].var(0)) / 4
    np.testing.assert_allclose(together.var(0), independent, atol=1e-12)
    shared = enumerated(fg.UORO(), 2, xs, ys, shared=True)  # the control
    assert np.abs(shared.var(0) - independent).max() > 1e-4


# ---- sequences, starts, states


def test_sequences_of_unequal_length_go_to_the_stream_that_is_free_first():
    system, rng = network(), np.random.default_rng(0)
    sequences = [(rng.normal(size=(n, 2)), rng.normal(size=(n, 2))) for n in (5, 9, 3, 7, 6)]
    learner = fg.Learner(system, "rtrl", fg.SGD(0.1), engine="numpy", streams=2)
    history = learner.run([x for x, _ in sequences], [y for _, y in sequences])
    xs, ys = np.zeros((2, 15, 2, 2))
    there, starts = np.zeros((2, 15, 2), bool)
    for (begin, stream), (x, y) in zip([(0, 0), (0, 1), (5, 0), (8, 0), (9, 1)], sequences, strict=True):
        xs[begin : begin + len(x), stream], ys[begin : begin + len(x), stream] = x, y
        there[begin : begin + len(x), stream] = starts[begin, stream] = True
    assert len(history) == 15
    assert apart(learner, separately(system, xs, ys, there, starts, 0.1)) < 1e-12


def test_what_has_ended_stays_as_it_is_and_harms_nobody():
    """A stream that would overflow if it went on."""
    system = fg.System(lambda h, x, p: p["a"] * h * h + x, None, np.zeros(1), {"a": 1.0}, np.zeros(1))
    short, long = np.full((3, 1), 2.0), np.full((60, 1), -0.5)
    for engine in ("numpy", "compiled"):
        learner = fg.Learner(system, "rtrl", fg.SGD(1e-6), engine=engine, streams=2)
        learner.run([short, long], [short, long])
        np.testing.assert_allclose(learner.state[0], 38.0, rtol=1e-3)
    with pytest.raises(NonFiniteError):  # the control
        fg.Learner(system, "rtrl", fg.SGD(1e-6), engine="numpy", streams=1).run(
            np.full((60, 1, 1), 2.0), np.zeros((60, 1, 1))
        )


def test_single_samples_restarts_and_predictions():
    system = network()
    xs, ys, there, starts = samples(system)
    learner = fg.Learner(system, "rtrl", fg.SGD(0.05), engine="numpy", streams=B)
    by_hand = fg.Learner(system, "rtrl", fg.SGD(0.05), engine="numpy", streams=B)
    kept = learner.run(xs, masked(ys, there), starts=starts, keep_predictions=True).predictions
    for t in range(T):
        if starts[t].any():
            by_hand.reset_state(streams=np.flatnonzero(starts[t]))
        np.testing.assert_array_equal(by_hand.predict(xs[t]), kept[t])
        by_hand.step(xs[t], masked(ys, there)[t])
    assert apart(learner, coordinates(by_hand)) == 0
    assert learner.state.shape == (B, 3)
    learner.reset_state(np.ones((B, 3)))
    assert np.all(learner.state == 1)
    assert not learner.influence_matrix().any()


@pytest.mark.slow
def test_a_value_for_each_stream():
    def F(h, x, p):
        return p["a"] * h + p["b"] * x

    params = {"a": 0.5, "b": fg.per_stream(fg.positive(1.0))}
    system = fg.System(F, None, np.zeros(1), params, np.zeros(1))
    rng, true, h, ys = np.random.default_rng(0), np.array([[0.5], [1.0], [2.0]]), 0.0, []
    xs = rng.normal(size=(400, 3, 1))
    for x in xs:
        h = 0.8 * h + true * x
        ys.append(h + 0.01 * rng.normal(size=(3, 1)))
    for method, within in (({}, 0.01), ({"estimator": "rtrl", "optimizer": fg.Adam(0.02)}, 0.05)):
        learner = fg.Learner(system, engine="numpy", streams=3, **method)
        learner.run(xs, np.array(ys))
        np.testing.assert_allclose(learner.params["b"], true[:, 0], rtol=within)
        np.testing.assert_allclose(learner.params["a"], 0.8, rtol=within)
    assert fg.Learner(system, "rtrl", fg.SGD(0.1)).params["b"].shape == ()  # without streams
    learner = fg.Learner(system, "rtrl", fg.SGD(0.1), engine="numpy", streams=3)
    learner.step(np.ones((3, 1)), np.array([[np.nan], [2.0], [np.nan]]))
    assert np.flatnonzero(learner.params["b"] != 1).tolist() == [1]  # its gradient stays in its stream


@pytest.mark.slow  # docs/fleets.md does the same
def test_the_default_finds_the_parameters_of_a_fleet():
    truth = systems.lotka_volterra()
    factors = np.array([1.0, 1.3, 1.6])
    state = {k: v * factors for k, v in truth.state.items()}
    runs = [truth.simulate(steps=60, state={k: v[b] for k, v in state.items()}).outputs for b in range(3)]
    ys = np.stack(runs, axis=1)
    ys += 0.02 * np.random.default_rng(0).normal(size=ys.shape)
    learner = fg.Learner(truth.starting_at({k: 1.4 * v for k, v in truth.params.items()}), engine="numpy", streams=3)
    learner.reset_state(state)
    learner.run(None, ys)
    for k, v in truth.params.items():
        np.testing.assert_allclose(learner.params[k], v, rtol=1e-3)


def test_a_checkpoint_goes_on(tmp_path):
    system = network()
    xs, ys, there, starts = samples(system)
    ys = masked(ys, there)
    whole, half = (fg.Learner(system, "uoro", fg.Adam(0.01), seed=1, engine="numpy", streams=B) for _ in range(2))
    whole.run(xs, ys, starts=starts)
    half.run(xs[:10], ys[:10], starts=starts[:10])
    half.save(tmp_path / "c")
    again = fg.Learner.load(tmp_path / "c", system)
    assert again.streams == B
    again.run(xs[10:], ys[10:], starts=starts[10:])
    assert apart(again, coordinates(whole)) == 0


def test_simulate_goes_through_all_streams():
    panel = PanelSystem(network(), B)
    xs = np.random.default_rng(0).normal(size=(T, B, 2))
    made = panel.simulate(xs)
    np.testing.assert_array_equal(made.outputs[:, 2], network().simulate(xs[:, 2]).outputs)
    assert made.states.shape == (T, B, 3)


# ---- what is refused


@pytest.mark.parametrize("streams", [0, -1, 2.5, True, "4"])
def test_a_number_of_streams_is_one(streams):
    with pytest.raises(DeclarationError, match="how many streams"):
        fg.Learner(network(), "rtrl", fg.SGD(0.1), streams=streams)


def test_samples_of_another_kind_are_refused_by_name():
    learner = fg.Learner(network(), "rtrl", fg.SGD(0.1), engine="numpy", streams=3)
    xs, ys = np.zeros((2, 5, 3, 2))
    for bad in (
        lambda: learner.run(xs[:, :2], ys),
        lambda: learner.run(xs, ys[:, :2]),
        lambda: learner.step(xs[0, 0], ys[0]),
    ):
        with pytest.raises(ShapeError):
            bad()
    for bad, said in (
        (lambda: learner.run(np.full_like(xs, np.nan), ys), "finite"),
        (lambda: learner.run(xs, ys, starts=np.zeros((5, 2), bool)), "starts"),
        (lambda: learner.run(xs, ys, starts=np.zeros((4, 3), bool)), "row for each sample"),
        (lambda: learner.run(xs, ys, starts=np.zeros((5, 3))), "truth values"),
        (lambda: learner.run([xs[:, 0]], [ys[:, 0]]), "sequences for 3 streams"),
        (lambda: learner.run([xs[:, 0]] * 3, [ys[:, 0]] * 2), "as many sequences"),
        (lambda: learner.run([xs[:, 0]] * 3, [ys[:3, 0]] * 3), "lengths"),
        (lambda: learner.run([xs[:, 0]] * 3, [ys[:, 0]] * 3, starts=np.zeros((5, 3), bool)), "leave it out"),
    ):
        with pytest.raises(DataError, match=said):
            bad()
    for bad in (
        lambda: learner.reset_state(streams=[3]),
        lambda: learner.reset_state(np.zeros((3, 3)), streams=[1]),
        lambda: fg.Learner(network(), "rtrl", fg.SGD(0.1)).reset_state(streams=[0]),
        lambda: fg.Learner(network(), "rtrl", fg.SGD(0.1)).run(xs[:, 0], ys[:, 0], starts=np.zeros((5, 1), bool)),
    ):
        with pytest.raises(DeclarationError):
            bad()
    assert learner.steps == 0


def test_a_few_samples_of_many_streams_are_fitted(monkeypatch):
    """Eight patients with ten samples each; as one stream's they would be too few to fit, and the filter is off."""
    declared = {"k": fg.positive(0.5), "V": fg.positive(20.0)}
    system = fg.System(lambda h, x, p: np.exp(-p["k"]) * h + x / p["V"], None, np.zeros(()), declared, np.array(0.0))
    truth, rng = {"k": 0.15, "V": 45.0}, np.random.default_rng(0)
    doses = np.zeros((10, 8))
    doses[0] = rng.uniform(200, 400, size=8)
    ys = np.stack([system.simulate(doses[:, k], params=truth).outputs for k in range(8)], axis=1)
    ys = ys + 0.03 * ys.std() * rng.normal(size=ys.shape)

    def learned():
        learner = fg.Learner(system, engine="numpy", streams=8)
        learner.run(doses, ys)
        return learner, max(abs(float(learner.params[k]) / v - 1) for k, v in truth.items())

    learner, off = learned()
    std = learner.parameter_std()
    assert off < 0.05
    assert all(abs(float(learner.params[k]) - v) < 3.5 * float(std[k]) for k, v in truth.items())
    assert not learner.report().remarks
    monkeypatch.setattr("fwdgrad.learning.loops.refitting.MOST_STREAMS", 1)
    rough, _ = learned()
    assert any("deviations are rough" in said for said in rough.report().remarks)
