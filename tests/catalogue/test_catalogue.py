"""The catalogue: each system against loops written from its equations, on every engine, and learning something."""

import inspect
import math

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems

NETWORKS = ("tanh-rnn", "leaky-rnn", "gru", "lstm", "diagonal")
WITH_UNITS = (*NETWORKS, "linear", "influence-balancing")
"""The systems in discrete time; tests/catalogue/test_ode_catalogue.py is about the others."""

# Small systems: every builder, and both forms of those that have two.
CASES = {
    "tanh-rnn": ("tanh-rnn", {"units": 4, "symbols": 3}),
    "tanh-rnn, vectors": ("tanh-rnn", {"units": 4, "inputs": 2, "outputs": 2}),
    "leaky-rnn": ("leaky-rnn", {"units": 4, "symbols": 3}),
    "leaky-rnn, vectors": ("leaky-rnn", {"units": 4, "inputs": 2}),
    "gru, before": ("gru", {"units": 3, "symbols": 3, "reset": "before"}),
    "gru, after": ("gru", {"units": 3, "symbols": 3, "reset": "after"}),
    "gru, vectors": ("gru", {"units": 3, "inputs": 2, "outputs": 2}),
    "lstm": ("lstm", {"units": 3, "symbols": 3}),
    "lstm, vectors": ("lstm", {"units": 3, "inputs": 2}),
    "diagonal": ("diagonal", {"units": 4, "symbols": 3}),
    "diagonal, vectors": ("diagonal", {"units": 4, "inputs": 2, "outputs": 3}),
    "linear": ("linear", {"units": 4, "inputs": 2, "outputs": 3}),
    "influence-balancing": ("influence-balancing", {"units": 5, "minus": 3}),
}


def case(label, **more):
    name, options = CASES[label]
    return systems.build(name, **options, **more)


def stream(system, length, seed=1):
    """Inputs and targets of the system's kind, at random."""
    rng = np.random.default_rng(seed)
    if isinstance(system.loss, fg.losses.CrossEntropy):
        return fg.streams.next_symbol(rng.integers(0, len(system.prediction), size=length + 1))
    xs = None if system.x is None else rng.normal(size=(length, *system.x.shape))
    return xs, rng.normal(size=(length, *system.prediction.shape))


def somewhere(system, seed=2):
    """A random state, input and parameters."""
    rng = np.random.default_rng(seed)
    state = system.unpack(rng.normal(size=system.size))
    x = stream(system, 3, seed)[0]
    params = {k: v + 0.5 * rng.normal(size=v.shape) for k, v in system.params.items()}
    return state, None if x is None else x[-1], params


# ---------------------------------------------------------------- the equations, number by number


def fed(R, i, x):
    """R_ix of a symbol, Σ_k R_ik x_k of a vector."""
    return R[i][x] if np.ndim(x) == 0 else sum(R[i][k] * x[k] for k in range(len(x)))


def product(W, i, h):
    return sum(W[i][j] * h[j] for j in range(len(h)))


def logistic(a):
    return 1 / (1 + math.exp(-a))


def readout(V, c, h):
    return [c[z] + product(V, z, h) for z in range(len(c))]


def loops_tanh_rnn(h, x, p):
    a = [math.tanh(v) for v in h]
    after = [p["b"][i] + fed(p["R"], i, x) + product(p["W"], i, a) for i in range(len(h))]
    return after, readout(p["V"], p["c"], [math.tanh(v) for v in after])


def loops_leaky_rnn(h, x, p):
    target, _ = loops_tanh_rnn(h, x, p)
    leak = [logistic(v) for v in p["a"]]
    after = [(1 - leak[i]) * h[i] + leak[i] * target[i] for i in range(len(h))]
    return after, readout(p["V"], p["c"], [math.tanh(v) for v in after])


def loops_gru(reset):
    def loops(h, x, p):
        n = len(h)

        def gate(g):
            return [logistic(fed(p["W_" + g], i, x) + product(p["U_" + g], i, h) + p["b_" + g][i]) for i in range(n)]

        z, r = gate("z"), gate("r")
        after = []
        for i in range(n):
            if reset == "before":
                recurrent = product(p["U_n"], i, [r[j] * h[j] for j in range(n)])
            else:
                recurrent = r[i] * product(p["U_n"], i, h)
            candidate = math.tanh(fed(p["W_n"], i, x) + recurrent + p["b_n"][i])
            after.append(z[i] * h[i] + (1 - z[i]) * candidate)
        return after, readout(p["V"], p["b_y"], after)

    return loops


def loops_lstm(state, x, p):
    c, h = state["c"], state["h"]
    n = len(h)

    def drive(g, i):
        return fed(p["W_" + g], i, x) + product(p["U_" + g], i, h) + p["b_" + g][i]

    cells = [logistic(drive("f", i)) * c[i] + logistic(drive("i", i)) * math.tanh(drive("g", i)) for i in range(n)]
    out = [logistic(drive("o", i)) * math.tanh(cells[i]) for i in range(n)]
    return {"c": cells, "h": out}, readout(p["V"], p["b_y"], out)


def loops_diagonal(h, x, p):
    after = [math.exp(-math.exp(p["a"][i])) * h[i] + fed(p["B"], i, x) for i in range(len(h))]
    return after, readout(p["V"], p["c"], [math.tanh(v) for v in after])


def loops_linear(h, x, p):
    after = [product(p["A"], i, h) + fed(p["B"], i, x) for i in range(len(h))]
    return after, readout(p["C"], [0] * len(p["C"]), after)


def loops_influence_balancing(s, x, p):
    n, minus = 5, 3
    after = []
    for i in range(1, n + 1):
        below = s[i] if i < n else 0.0
        push = p["theta"] if i <= n - minus else -p["theta"]
        after.append(s[i - 1] / 2 + below / 2 + push)
    return after, after[0]


LOOPS = {
    "tanh-rnn": loops_tanh_rnn,
    "leaky-rnn": loops_leaky_rnn,
    "gru, before": loops_gru("before"),
    "gru, after": loops_gru("after"),
    "gru": loops_gru("after"),  # the default
    "lstm": loops_lstm,
    "diagonal": loops_diagonal,
    "linear": loops_linear,
    "influence-balancing": loops_influence_balancing,
}


def difference(system, loops):
    """The largest difference between a system and loops, at a random point."""
    state, x, params = somewhere(system)
    expected, prediction = loops(state, x, params)
    after = system.F(state, x, params)
    return max(
        np.max(np.abs(system.pack(after) - system.pack({k: np.array(v) for k, v in expected.items()})))
        if isinstance(expected, dict)
        else np.max(np.abs(after - expected)),
        np.max(np.abs(system.Y(after, x, params) - prediction)),
    )


@pytest.mark.parametrize("label", CASES)
def test_a_system_is_its_equations(label):
    assert difference(case(label), LOOPS[label.removesuffix(", vectors")]) < 1e-12


def test_the_equations_tell_systems_apart():
    assert difference(case("gru, before"), LOOPS["gru, after"]) > 1e-3
    assert difference(case("leaky-rnn"), LOOPS["tanh-rnn"]) > 1e-3


def test_symbols_are_scored_in_bits_and_vectors_by_squared_error():
    for label in CASES:
        system = case(label)
        predicts_symbols = "symbols" in CASES[label][1]
        expected = fg.losses.CrossEntropy(base=2) if predicts_symbols else fg.losses.SquaredError()
        assert system.loss == expected
        outputs = 3 if predicts_symbols else CASES[label][1].get("outputs", 1)
        assert system.prediction.shape == (() if label == "influence-balancing" else (outputs,))


def test_influence_balancing_has_10_plus_and_13_minus_signs():
    system = systems.influence_balancing()
    pushed = system.F(np.zeros(23), None, {"theta": np.array(1.0)})
    assert list(pushed) == [1.0] * 10 + [-1.0] * 13
    first = system.F(np.eye(23)[1], None, {"theta": np.array(0.0)})
    assert list(first[:2]) == [0.5, 0.5]  # unit 2 reaches units 1 and 2
    assert system.params["theta"] == 0.5


# ---------------------------------------------------------------- which state variables a parameter feeds


def fed_variables(system):
    """For each leaf, the largest number of state variables that one of its entries feeds in one step."""
    learner = fg.Learner(system, fg.RTRL())
    state, x, _ = somewhere(system)
    learner.reset_state(state)
    learner.step(x, None)  # from no influence: afterwards ∂h/∂θ is ∂F/∂θ
    feeds = learner.influence_matrix() != 0
    found, start = {}, 0
    readout = {"V", "c", "b_y", "C"}
    for name, value in system.params.items():
        if name not in readout:
            found[name] = int(feeds[:, start : start + value.size].sum(axis=0).max())
            start += value.size
    assert start == feeds.shape[1]
    return found


@pytest.mark.parametrize("label", ["tanh-rnn", "leaky-rnn", "gru, after", "diagonal", "linear"])
def test_each_parameter_feeds_one_state_variable(label):
    assert set(fed_variables(case(label)).values()) == {1}


def test_a_reset_gate_before_the_product_feeds_all():
    found = fed_variables(case("gru, before"))
    assert {k for k, count in found.items() if count == 3} == {"W_r", "U_r", "b_r"}
    assert {count for k, count in found.items() if not k.endswith("_r")} == {1}


def test_lstm_parameters_feed_a_cell_and_its_output():
    found = fed_variables(case("lstm"))
    assert {k: v for k, v in found.items() if k.endswith("_o")} == {"W_o": 1, "U_o": 1, "b_o": 1}
    assert {v for k, v in found.items() if not k.endswith("_o")} == {2}


def test_diagonal_units_do_not_see_each_other():
    system = case("diagonal")
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3))
    learner.run(*stream(system, 20))
    G = learner.influence_matrix()
    assert np.all((G != 0).sum(axis=0) == 1)


# ---------------------------------------------------------------- engines


@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.UORO(), fg.NoBackTrack()], ids=lambda e: e.name)
@pytest.mark.parametrize("label", CASES)
@pytest.mark.covering
def test_engines_agree(label, estimator):
    system = case(label)
    xs, ys = stream(system, 20)
    results = []
    for engine in ("numpy", "eager"):
        learner = fg.Learner(system, estimator, fg.SGD(1e-2), seed=3, engine=engine)
        history = learner.run(xs, ys)
        results.append([history.loss, *learner.params.values(), learner.influence_matrix()])
    assert np.all(np.isfinite(results[0][0]))
    assert any(np.max(np.abs(v - system.params[k])) > 1e-4 for k, v in learner.params.items())
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("label", CASES)
def test_float32(label):
    results = {}
    for dtype in (np.float32, np.float64):
        system = case(label, dtype=dtype)
        learner = fg.Learner(system, fg.NoBackTrack(), fg.SGD(1e-2), seed=3)
        history = learner.run(*stream(system, 20))
        assert system.dtype == dtype
        assert {v.dtype for v in learner.params.values()} == {np.dtype(dtype)}
        assert system.pack(learner.state).dtype == dtype
        results[dtype] = history.loss
    np.testing.assert_allclose(results[np.float32], results[np.float64], rtol=2e-3, atol=1e-4)


# ---------------------------------------------------------------- learning


@pytest.mark.quick("tanh-rnn-*", "leaky-rnn-*", "gru-options3", "diagonal-*")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tanh-rnn", {}),
        ("leaky-rnn", {}),
        ("gru", {"reset": "before"}),
        ("gru", {"reset": "after"}),
        ("lstm", {}),
        ("diagonal", {"units": 8, "horizon": 4.0}),
    ],
)
def test_a_network_learns_to_recall_a_symbol(name, options):
    xs, ys = fg.streams.copy_task(1, 800, np.random.default_rng(0))
    system = systems.build(name, **{"units": 5, "symbols": 2} | options)
    history = fg.Learner(system, fg.RTRL(), fg.Adam(0.03)).run(xs, ys)
    assert history.recent(150) < 0.3  # 1 bit without memory


@pytest.mark.quick("tanh-rnn", "lstm")
@pytest.mark.parametrize("name", ["tanh-rnn", "leaky-rnn", "lstm"])
def test_a_network_learns_to_recall_a_vector(name):
    xs = np.random.default_rng(0).uniform(-1, 1, size=(1000, 2))
    ys = np.roll(xs, 1, axis=0) @ np.array([[0.7], [-0.3]])
    ys[0] = np.nan
    history = fg.Learner(systems.build(name, units=5, inputs=2), fg.RTRL(), fg.Adam(0.015)).run(xs, ys)
    assert history.recent(200) < 0.2 * 0.5 * np.nanmean(ys**2)  # all of it without memory


@pytest.mark.parametrize("name", ["leaky-rnn", "gru", "diagonal"])
def test_a_network_learns_a_running_average(name):
    xs = np.random.default_rng(0).normal(size=(1000, 2))
    ys = np.zeros((1000, 1))
    for t in range(1, 1000):
        ys[t] = 0.8 * ys[t - 1] + 0.1 * (xs[t, :1] - xs[t, 1:])
    history = fg.Learner(systems.build(name, units=5, inputs=2), fg.RTRL(), fg.Adam(0.01)).run(xs, ys)
    assert history.recent(200) < 0.4 * 0.5 * np.mean(ys**2)  # 0.64 of it without memory


def test_a_linear_system_is_identified():
    rng = np.random.default_rng(0)
    teacher = systems.linear_time_invariant(units=3, inputs=2, outputs=2, radius=0.5, seed=7)
    h, xs, ys = np.zeros(3), rng.normal(size=(2000, 2)), []
    for x in xs:
        h = teacher.F(h, x, teacher.params)
        ys.append(teacher.Y(h, x, teacher.params))
    student = systems.linear_time_invariant(units=4, inputs=2, outputs=2, radius=0.5)
    learner = fg.Learner(student, fg.RTRL(), fg.Adam(0.01))
    history = learner.run(xs, np.array(ys))
    assert history.recent(100) < 1e-2 * history.loss[:100].mean()

    def response(p):
        return np.array([p["C"] @ np.linalg.matrix_power(p["A"], k) @ p["B"] for k in range(5)])

    scale = np.max(np.abs(response(teacher.params)))
    assert np.max(np.abs(response(learner.params) - response(teacher.params))) < 0.1 * scale
    assert np.max(np.abs(response(student.params) - response(teacher.params))) > 0.5 * scale


# ---------------------------------------------------------------- initial values


def test_initial_weights_depend_on_the_seed_alone():
    for name in (*NETWORKS, "linear"):
        one, same, other = (systems.build(name, seed=seed) for seed in (5, 5, 6))
        assert all(np.array_equal(one.params[k], same.params[k]) for k in one.params)
        assert any(not np.array_equal(one.params[k], other.params[k]) for k in one.params)


def test_initial_weights_have_variance_one_over_fan_in():
    system = systems.gru(units=100, inputs=400, init="normal")
    for name, fan_in in (("W_z", 400), ("U_n", 100)):
        assert np.std(system.params[name]) * np.sqrt(fan_in) == pytest.approx(1, abs=0.03)
    assert np.std(systems.gru(units=100, symbols=400, init="normal").params["W_z"]) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("name", "kept"), [("gru", ()), ("lstm", ()), ("tanh-rnn", ()), ("leaky-rnn", ("a",))])
def test_uniform_parameters_lie_within_one_over_root_units(name, kept):
    """All of them, biases included, and they fill the range: as recurrent layers of other libraries start."""
    n = 50
    system = systems.build(name, units=n, symbols=20, init="uniform")
    for k, v in system.params.items():
        if k not in kept:
            assert np.max(np.abs(v)) <= 1 / np.sqrt(n)
            assert np.ptp(v) > (2 - 0.5 * (v.size < 100)) * 0.9 / np.sqrt(n)
    default = systems.build(name, units=n, symbols=20)
    assert (name in ("gru", "lstm")) == all(np.array_equal(default.params[k], v) for k, v in system.params.items())


def test_gates_start_open_for_the_past():
    for system, open_gate in ((systems.lstm(3, init="normal"), "b_f"), (systems.gru(3, init="normal"), "b_z")):
        assert np.all(system.params[open_gate] == 1)
        others = [k for k in system.params if k.startswith("b_") and k != open_gate]
        assert len(others) >= 3
        assert all(np.all(system.params[k] == 0) for k in others)


def test_initial_memories_span_the_horizon():
    leak = 1 / (1 + np.exp(-systems.leaky_rnn(units=5, horizon=50.0).params["a"]))
    np.testing.assert_allclose(1 / leak[[0, -1]], [1.2, 50.0])
    decay = np.exp(-np.exp(systems.diagonal_recurrence(units=5, horizon=50.0).params["a"]))
    np.testing.assert_allclose(-1 / np.log(decay[[0, -1]]), [1.0, 50.0])


def test_the_initial_linear_system_has_the_spectral_radius_asked_for():
    for radius in (0.0, 0.5, 0.9):
        A = systems.linear_time_invariant(units=6, radius=radius).params["A"]
        assert np.max(np.abs(np.linalg.eigvals(A))) == pytest.approx(radius)


# ---------------------------------------------------------------- the catalogue as a whole


def test_every_system_builds_without_options():
    for name in systems.CATALOGUE:
        system = systems.build(name)
        assert system.name == name
        assert np.isfinite(fg.Learner(system, fg.UORO()).step(system.x, np.zeros_like(system.y)))


def test_builders_of_symbol_predictors_can_be_told_by_their_signature():
    arguments = {name: inspect.signature(builder).parameters for name, builder in systems.CATALOGUE.items()}
    found = {name for name, known in arguments.items() if "units" in known and "symbols" in known}
    assert found == set(NETWORKS)
    for name in found:
        system = systems.build(name, units=2, symbols=7)
        assert system.prediction.shape == (7,)
        assert fg.Learner(system, fg.UORO()).step(6, 6) > 0
        with pytest.raises(fg.errors.DataError):
            fg.Learner(system, fg.UORO()).step(7, 0)


def test_builders_of_differential_equations_can_be_told_by_their_signature():
    arguments = {name: set(inspect.signature(builder).parameters) for name, builder in systems.CATALOGUE.items()}
    found = {name for name, known in arguments.items() if {"dt", "method"} <= known}
    assert found == set(systems.CATALOGUE) - set(WITH_UNITS)
    for name in found:
        system = systems.build(name, dt=0.125, method="heun")
        assert (system.dt, system.method) == (0.125, "heun")
        with pytest.raises(fg.errors.DeclarationError, match="dt"):
            systems.build(name, dt=0.0)
        with pytest.raises(fg.errors.DeclarationError, match="integrator"):
            systems.build(name, method="leapfrog")


def test_every_builder_is_exported_and_described():
    for name, line in systems.describe():
        builder = systems.CATALOGUE[name]
        assert getattr(systems, builder.__name__) is builder
        assert builder.__name__ in systems.__all__
        assert line.endswith(".")
        assert len(line) < 110
    assert [name for name, _ in systems.describe()] == list(systems.CATALOGUE)


def test_an_unknown_name_is_refused():
    with pytest.raises(fg.errors.UnknownNameError, match=r"no system 'grru'.*Did you mean 'gru'"):
        systems.build("grru")
    with pytest.raises(fg.errors.UnknownNameError, match=r"no system 'transformer'.*Known: tanh-rnn, "):
        systems.build("transformer")
    with pytest.raises(fg.errors.UnknownNameError, match=r"'gru' has no option 'unit'.*Did you mean 'units'"):
        systems.build("gru", unit=3)
    with pytest.raises(fg.errors.UnknownNameError, match="no option 'symbols'"):
        systems.build("linear", symbols=3)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        *((name, {"units": 0}, r"units=…\): expected an integer of at least") for name in WITH_UNITS),
        *((name, {"units": 2.0}, r"units=…\)") for name in WITH_UNITS),
        *((name, {"symbols": 0}, r"symbols=…\)") for name in NETWORKS),
        *((name, {"symbols": 3, "inputs": 2}, "expected one of the two") for name in NETWORKS),
        *((name, {"symbols": 3, "outputs": 2}, "predicts a score for each") for name in NETWORKS),
        ("lstm", {"inputs": True}, r"inputs=…\)"),
        ("gru", {"reset": "inside"}, "reset='inside'"),
        *((name, {"init": "xavier"}, "expected 'uniform' or 'normal', got 'xavier'") for name in NETWORKS[:4]),
        ("leaky-rnn", {"horizon": 1.0}, "horizon"),
        ("diagonal", {"horizon": 0.5}, "horizon"),
        ("diagonal", {"horizon": math.nan}, "horizon"),
        ("linear", {"outputs": 0}, r"outputs=…\)"),
        ("linear", {"radius": -1.0}, "radius"),
        ("influence-balancing", {"units": 3, "minus": 4}, "at most the number of units, 3"),
    ],
)
def test_a_senseless_option_is_refused(name, options, match):
    with pytest.raises(fg.errors.DeclarationError, match=match):
        systems.build(name, **options)
