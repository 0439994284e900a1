"""Methods that choose their steps: solutions and variational equations of SciPy, finite differences, named errors."""

import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import fwdgrad as fg
from fwdgrad.checks.discretisation import discretisation
from fwdgrad.errors import DeclarationError, NonFiniteError
from fwdgrad.integrate.esdirk import ERROR, GAMMA, LOWER, STAGES
from fwdgrad.program import Abstract, Linearized, open_loops, trace, until
from fwdgrad.system.tracing import traced

ENGINES = ["numpy", "compiled", "eager"]


def predation(h, x, p):
    eaten = h[0] * h[1]
    return np.stack([p["a"] * h[0] - p["b"] * eaten, p["d"] * eaten - p["c"] * h[1]])


def robertson(h, x, p):
    slow, fast, back = p["a"] * h[0], p["b"] * h[1] ** 2, p["c"] * h[1] * h[2]
    return np.stack([back - slow, slow - back - fast, fast])


PREDATION = {"a": 1.1, "b": 0.1, "d": 0.1, "c": 0.4}
ROBERTSON = {"a": 0.04, "b": 3e7, "c": 1e4}


def learner(F, state, params, dt, method, estimator=None, engine="numpy", **more):
    system = fg.System(F, None, np.array(state), params, dt=dt, method=method, **more)
    return fg.Learner(system, estimator or fg.RTRL(), fg.SGD(1e-300), engine=engine)


def followed(made, steps):
    """State and influence after each of so many samples."""
    states, matrices = [], []
    for _ in range(steps):
        made.step()
        states.append(made.state)
        matrices.append(made.influence_matrix())
    return np.array(states), np.array(matrices)


def reference(F, state, params, times, method):
    """The same by SciPy, from the variational equations at tolerances of 1e-12. Jacobians are complex steps of F."""
    n, values = len(state), np.array(list(params.values()))

    def rate(h, theta):
        return F(h, None, dict(zip(params, theta, strict=True)))

    def both(t, z):
        h, G = z[:n], z[n:].reshape(n, -1)
        A = np.stack([rate(h + 1e-30j * e, values).imag / 1e-30 for e in np.eye(n)], axis=1)
        sizes = np.diag(values)
        B = np.stack([rate(h + 0j, values + 1e-30j * e).imag / 1e-30 for e in sizes], axis=1) / values
        return np.concatenate([rate(h, values), (A @ G + B).ravel()])

    start = np.concatenate([state, np.zeros(n * len(values))])
    found = solve_ivp(both, (0.0, times[-1]), start, method=method, rtol=1e-12, atol=1e-18, t_eval=times)
    return found.y[:n].T, found.y[n:].T.reshape(-1, n, len(values))


def off(made, exact):
    """The largest error, each number by the largest that it becomes."""
    return float(np.max(np.abs(made - exact) / np.abs(exact).max(axis=0)))


# ---- against the differential equation


def test_influence_of_a_system_that_is_not_stiff():
    times = np.arange(1.0, 21.0)
    state, G = reference(predation, [10.0, 5.0], PREDATION, times, "DOP853")
    for rtol in (1e-6, 1e-8):
        method = fg.Adaptive("dopri5", rtol=rtol, atol=1e-3 * rtol)
        made = followed(learner(predation, [10.0, 5.0], PREDATION, 1.0, method, engine="compiled"), len(times))
        assert off(made[0], state) < 10 * rtol
        assert off(made[1], G) < 10 * rtol
    coarse = followed(learner(predation, [10.0, 5.0], PREDATION, 1.0, "rk4"), len(times))  # a control
    assert off(coarse[1], G) > 1e-2


def test_influence_of_a_stiff_system():
    """Robertson's kinetics over 2 s, whose rates lie nine orders of magnitude apart; explicit steps give up."""
    times = 1.0 * np.arange(1, 3)
    state, G = reference(robertson, [1.0, 0.0, 0.0], ROBERTSON, times, "LSODA")
    method = fg.Adaptive("esdirk4", rtol=1e-6, atol=(1e-8, 1e-12, 1e-8))
    made = followed(learner(robertson, [1.0, 0.0, 0.0], ROBERTSON, 1.0, method, engine="numpy"), len(times))
    assert off(made[0], state) < 1e-5
    assert off(made[1], G) < 1e-5
    explicit = fg.System(robertson, None, np.array([1.0, 0, 0]), ROBERTSON, dt=40.0, method="dopri5")
    with pytest.raises(NonFiniteError, match="esdirk4"):
        explicit.replace(method=fg.Adaptive("dopri5", max_steps=50)).simulate(steps=1)


def test_through_a_jump_where_attempts_fail():
    """Van der Pol's y from 1 to −2 in a thousandth of a second: attempts without a solution leave no trace in ∂h."""

    def van_der_pol(h, x, p):
        return np.stack([h[1], p["mu"] * (1 - h[0] ** 2) * h[1] - h[0]])

    start = [1.08392311, -0.00619525]
    method = fg.Adaptive("esdirk4", rtol=1e-4, atol=1e-7)
    made = learner(van_der_pol, start, {"mu": 1000.0}, 100.0, method, engine="numpy")
    made.step()
    found = solve_ivp(
        lambda t, h: van_der_pol(h, None, {"mu": 1000.0}), (0, 100.0), start, method="LSODA", rtol=1e-10, atol=1e-13
    )
    assert made.state[0] == pytest.approx(found.y[0, -1], rel=1e-3)
    assert np.isfinite(made.influence_matrix()).all()


@pytest.mark.parametrize("name", ["dopri5", "esdirk4"])
def test_errors_follow_tolerances(name):
    exact = np.exp(-np.sin(3.0) / 3.0)

    def error(rtol):
        system = fg.System(
            lambda h, x, p: np.stack([-np.cos(h[1]) * h[0] / p["k"], p["k"]]), None, np.array([1.0, 0.0]), {"k": 3.0},
            dt=1.0, method=fg.Adaptive(name, rtol=rtol, atol=rtol),
        )  # fmt: skip
        return abs(system.simulate(steps=1).states[0, 0] - exact ** (1 / 3))

    errors = [error(rtol) for rtol in (1e-4, 1e-6, 1e-8)]
    assert all(e < 10 * rtol for e, rtol in zip(errors, (1e-4, 1e-6, 1e-8), strict=True))
    assert errors[0] > 1e-7  # a control: the tolerance decides


def test_the_coefficients_satisfy_the_conditions_of_their_order():
    A = np.zeros((6, 6))
    A[1:] = STAGES
    A[np.arange(1, 6), np.arange(1, 6)] += GAMMA
    c, b = A.sum(axis=1), A[5]
    np.testing.assert_allclose(c, [0, 1 / 2, 83 / 250, 31 / 50, 17 / 20, 1], atol=1e-15)
    up_to_three = lambda w: [w.sum(), w @ c, w @ c**2, w @ A @ c]  # noqa: E731
    np.testing.assert_allclose(up_to_three(b), [1, 1 / 2, 1 / 3, 1 / 6], atol=1e-15)
    np.testing.assert_allclose(up_to_three(LOWER), [1, 1 / 2, 1 / 3, 1 / 6], atol=1e-14)
    fourth = lambda w: np.array([w @ c**3, w @ (c * (A @ c)), w @ A @ c**2, w @ A @ A @ c])  # noqa: E731
    np.testing.assert_allclose(fourth(b), [1 / 4, 1 / 8, 1 / 12, 1 / 24], atol=1e-15)
    assert np.abs(fourth(LOWER) - fourth(b)).min() > 1e-4  # a control: the other one is of order 3
    np.testing.assert_allclose(ERROR, b - LOWER, atol=1e-15)


# ---- the map that is executed


@pytest.mark.parametrize("name", ["dopri5", "esdirk4"])
def test_the_influence_is_the_derivative_of_the_map(name):
    """Finite differences, at tolerances so small that steps of other sizes change nothing."""
    method = fg.Adaptive(name, rtol=1e-10, atol=1e-12)
    made = learner(predation, [10.0, 5.0], PREDATION, 0.5, method)
    made.step()
    for k, name in enumerate(PREDATION):
        there = [made.system.simulate(steps=1, params={name: PREDATION[name] + e}).states[0] for e in (1e-5, -1e-5)]
        np.testing.assert_allclose(made.influence_matrix()[:, k], (there[0] - there[1]) / 2e-5, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dopri5", "esdirk4"])
def test_engines_agree(name):
    made = [
        followed(learner(predation, [10.0, 5.0], PREDATION, 1.0, name, engine=engine), 2)
        for engine in (ENGINES if name == "dopri5" else ENGINES[:2])
    ]
    for other in made[1:]:
        for a, b in zip(made[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("estimator", ["uoro", "nobacktrack", "snap", "tbptt:3", "bptt", "forward-gradient"])
def test_every_estimator_takes_them(estimator):
    """That they are right is a matter of products with the Jacobians, which are tested; here, that they run."""
    system = fg.System(predation, None, np.array([10.0, 5.0]), PREDATION, dt=0.3, method="dopri5")
    ys = system.simulate(steps=8, params={"a": 1.2}).outputs
    made = fg.Learner(system, estimator, fg.SGD(1e-6), engine="numpy")
    history = made.run(ys=ys)
    assert np.isfinite(history.loss).all()
    assert made.params["a"] != PREDATION["a"]


def test_exact_estimators_agree():
    system = fg.System(predation, None, np.array([10.0, 5.0]), PREDATION, dt=0.3, method="dopri5")
    ys = system.simulate(steps=8, params={"a": 1.2}).outputs
    whole, online = (fg.Learner(system, e, fg.SGD(1e-10), engine="numpy") for e in (fg.BPTT(), fg.RTRL()))
    whole.run(ys=ys)
    online.run(ys=ys)
    moved = [{k: float(m.params[k]) - v for k, v in PREDATION.items()} for m in (whole, online)]
    for k in PREDATION:
        assert moved[0][k] == pytest.approx(moved[1][k], rel=1e-4)


def test_time_between_samples_may_be_anything():
    """Nothing happens in no time; what is known of ∂h stays. A long time takes more steps."""
    rate = lambda h, x, p: -p["k"] * h  # noqa: E731
    made = learner(rate, [1.0], {"k": 2.0}, "t", "dopri5", x={"t": 1.0})
    for t, h, slope in ((0.0, 1.0, 0.0), (0.5, np.exp(-1.0), -0.5 * np.exp(-1.0)), (0.0, np.exp(-1.0), -0.5 / np.e)):
        made.step({"t": t})
        assert made.state[0] == pytest.approx(h, rel=1e-5)
        assert made.influence_matrix()[0, 0] == pytest.approx(slope, rel=1e-5)
    made.step({"t": 30.0})
    assert abs(made.state[0]) < 1e-7


def test_single_precision():
    system = fg.System(predation, None, np.array([10.0, 5.0]), PREDATION, dt=1.0, method=fg.Adaptive("dopri5", 1e-4))
    single, double = system.astype(np.float32), system
    assert single.simulate(steps=3).states.dtype == np.float32
    np.testing.assert_allclose(single.simulate(steps=3).states, double.simulate(steps=3).states, rtol=1e-3)


def test_structure_is_seen_through_the_steps():
    """Two chains that do not touch: patterns keep them apart, and never miss a derivative."""

    def chains(h, x, p):
        return np.stack([-p["k"][0] * h[0], h[0] - h[1], -p["k"][1] * h[2], h[2] - h[3]])

    system = fg.System(chains, None, np.ones(4), {"k": np.array([1.0, 2.0])}, dt=1.0, method="dopri5")
    pattern = fg.analyze(system).patterns.transition
    expected = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]], bool)
    assert np.array_equal(pattern.state.toarray(), expected)
    assert np.array_equal(pattern.leaves["k"].toarray(), np.array([[1, 0], [1, 0], [0, 1], [0, 1]], bool))
    programs = traced(system)
    point = Linearized(programs.transition, programs.arguments(system.initial, None, system.coordinates))
    columns = np.stack([point.jvp({0: e})[0] for e in np.eye(4)], axis=1)
    assert not np.any(columns[~expected])
    assert np.all(columns[expected])


def test_check_holds_them_against_the_differential_equation():
    def decay(method):
        return fg.System(lambda h, x, p: -p["k"] * h, None, np.ones(1), {"k": 2.0}, dt=1.0, method=method)

    assert fg.check(decay(fg.Adaptive("dopri5", 1e-9)), steps=1).ok
    for method, verdict in ((fg.Adaptive("dopri5", 1e-9), "ok"), (fg.Adaptive("dopri5", 0.1, 1.0), "coarse")):
        rows = list(discretisation(decay(method), None, np.random.default_rng(0)))
        assert [row.verdict for row in rows] == [verdict] * 2
        assert verdict == "ok" or "rtol" in rows[0].note


# ---- the loop itself


def grown(a, b):
    """z ← z sin b + a, until the sum is above 10; every second turn does not count."""

    def turn(z, clock):
        after = z * np.sin(b) + a
        counts = clock[2] > 0
        z = np.where(counts, after, z)
        return z, np.stack([np.sum(z) - 10.0, np.where(counts, 1.0, 0.0), -clock[2]])

    return [until(turn, a, np.array([-1.0, 0.0, 1.0]), 99)]


ARGUMENTS = [np.array([1.0, 2.0]), np.array(1.5)]


def written_out(a, b):
    z = a
    while np.sum(z) <= 10.0:
        z = z * np.sin(b) + a
    return z


def test_a_loop_that_ends_by_values():
    program = trace(grown, [Abstract.of(v) for v in ARGUMENTS])
    point = Linearized(program, ARGUMENTS)
    np.testing.assert_allclose(point.value[0], written_out(*ARGUMENTS), rtol=1e-15)
    e = 1e-6
    slope = (written_out(ARGUMENTS[0], 1.5 + e) - written_out(ARGUMENTS[0], 1.5 - e)) / (2 * e)
    np.testing.assert_allclose(point.jvp({1: np.array(1.0)})[0], slope, rtol=1e-8)
    pulled = point.vjp([np.array([1.0, 0.0])], [0, 1])
    np.testing.assert_allclose(pulled[1], slope[0], rtol=1e-8)
    np.testing.assert_allclose(pulled[0] @ ARGUMENTS[0], point.value[0][0], rtol=1e-12)  # it is linear in a


def test_second_derivatives_of_a_loop():
    program = trace(grown, [Abstract.of(v) for v in ARGUMENTS])

    def slope(a, b):
        return [Linearized(program, [a, b]).jvp({1: np.ones(())})[0]]

    first = trace(slope, [Abstract.of(v) for v in ARGUMENTS])
    second = Linearized(first, ARGUMENTS).jvp({1: np.array(1.0)})[0]
    e = 1e-5
    near = [first(ARGUMENTS[0], np.array(1.5 + s * e))[0] for s in (1, -1)]
    np.testing.assert_allclose(second, (near[0] - near[1]) / (2 * e), rtol=1e-7)


# ---- what cannot be


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rtol": 0.0}, "rtol"),
        ({"rtol": 1e-17}, "rtol"),
        ({"rtol": 2.0}, "rtol"),
        ({"atol": 0.0}, "absolute tolerance"),
        ({"atol": (1e-6, -1.0)}, "atol"),
        ({"atol": float("nan")}, "atol"),
        ({"max_steps": 0}, "max_steps"),
        ({"name": "dopri8"}, "dopri5"),
        ({"name": "rk4"}, "chooses its steps"),
    ],
)
def test_what_makes_no_sense_is_refused(change, said):
    with pytest.raises(DeclarationError, match=said):
        fg.Adaptive(**({"name": "dopri5"} | change))


def test_a_step_has_to_be_positive_and_tolerances_as_many_as_the_state():
    with pytest.raises(DeclarationError, match="positive step"):
        fg.System(predation, None, np.ones(2), PREDATION, dt=-1.0, method="dopri5")
    with pytest.raises(DeclarationError, match="atol"):
        fg.System(predation, None, np.ones(2), PREDATION, dt=1.0, method=fg.Adaptive("dopri5", atol=(1e-9,) * 3))
    with pytest.raises(DeclarationError, match="chooses its steps"):
        fg.refine(fg.System(predation, None, np.ones(2), PREDATION, dt=1.0, method="dopri5"), None, 1.0, [0.5, 0.25])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stiff_system_is_told_where_and_what_to_do(engine):
    made = learner(
        lambda h, x, p: -p["k"] * (h - 1.0), [0.0], {"k": 1e6}, 1.0, fg.Adaptive("dopri5", max_steps=50), engine=engine
    )
    with pytest.raises(NonFiniteError, match=r"max_steps.*after the sample before(.|\n)*esdirk4") as error:
        made.step()
    assert error.value.quantity == "the state (dopri5 does not arrive)"
    assert made.state[0] == 0.0  # as it was


@pytest.mark.quick("dopri5")
@pytest.mark.parametrize("name", ["dopri5", "esdirk4"])
def test_a_solution_that_ends_is_told_when(name):
    """h' = h² from 1 is infinite at t = 1."""
    system = fg.System(lambda h, x, p: p["k"] * h**2, None, np.ones(1), {"k": 1.0}, dt=1.5, method=name)
    with pytest.raises(NonFiniteError, match=r"is stuck (1|0\.9999\d*|1\.0000\d*) after the sample before"):
        system.simulate(steps=1)


def test_no_step_of_theirs_is_called_too_long_in_a_run():
    made = learner(predation, [10.0, 5.0], PREDATION, 1.0, fg.Adaptive("dopri5", 1e-3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.run(ys=made.system.simulate(steps=70).outputs)


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_a_long_state_has_a_loop_for_each_product_forward(engine, monkeypatch):
    """The same derivatives as from the matrix that short ones share, of start, parameters and input."""

    def rates(h, x, p):
        return np.stack([h[1], p["mu"] * (1 - h[0] ** 2) * h[1] - h[0] + x[0]])

    def after():
        system = fg.System(rates, None, np.array([2.0, 0.0]), {"mu": 2.0}, np.zeros(1), dt=0.5, method="dopri5")
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), engine=engine)
        for _ in range(3):
            learner.step(np.ones(1))
        return learner.influence_matrix()

    expected = after()
    monkeypatch.setattr(open_loops, "LONG", 1)
    made = []
    monkeypatch.setattr(open_loops, "_along", lambda *a, along=open_loops._along: made.append(a) or along(*a))
    np.testing.assert_allclose(after(), expected, rtol=1e-9, atol=1e-12)
    assert made
    assert np.abs(expected).max() > 0.1
