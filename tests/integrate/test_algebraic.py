"""Algebraic equations beside rates: against the differential equation that they stand for, and what is refused."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import fwdgrad as fg
from fwdgrad.errors import DeclarationError, NonFiniteError, ShapeError

FINE = {"method": "rk4", "substeps": 4}
LENGTH, ANGLE, STEPS = 1.5, 1.0, 5


def pendulum(g_of=lambda h, x, p: p["g"], **more):
    """A mass on a rod in x and y, with the force of the rod as the unknown: x² + y² = L², differentiated twice."""

    def F(h, x, p):
        return {"vel": np.stack([-h["force"] * h["pos"][0], -h["force"] * h["pos"][1] - p["g"]]), "pos": h["vel"]}

    def G(h, x, p):
        return {"force": np.sum(h["vel"] ** 2) - h["force"] * np.sum(h["pos"] ** 2) - g_of(h, x, p) * h["pos"][1]}

    start = {
        "pos": LENGTH * np.array([np.sin(ANGLE), -np.cos(ANGLE)]),
        "force": np.array(0.0),
        "vel": np.zeros(2),
    }
    return fg.System(F, lambda h, x, p: h["pos"], start, {"g": 9.81}, dt=0.1, algebraic=G, **more)


def angle(**more):
    """The same by its angle."""

    def F(h, x, p):
        return np.stack([h[1], -p["g"] / LENGTH * np.sin(h[0])])

    return fg.System(F, None, np.array([ANGLE, 0.0]), {"g": 9.81}, dt=0.1, **more)


def after(system, steps, engine="numpy"):
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), engine=engine)
    for _ in range(steps):
        learner.step()
    return learner.state, learner.influence_matrix()


def test_a_pendulum_in_x_and_y_is_that_of_its_angle():
    """State, force and all derivatives; with an equation for another gravity they are others."""
    (phi, speed), moved = after(angle(**FINE), STEPS)
    state, matrix = after(pendulum(**FINE), STEPS)
    np.testing.assert_allclose(state["pos"], LENGTH * np.array([np.sin(phi), -np.cos(phi)]), rtol=0, atol=1e-5)
    np.testing.assert_allclose(state["force"], speed**2 + 9.81 / LENGTH * np.cos(phi), rtol=1e-5)
    d_phi, d_speed = moved[:, 0]
    expected = {
        "pos": LENGTH * np.array([np.cos(phi), np.sin(phi)]) * d_phi,
        "force": [2 * speed * d_speed + np.cos(phi) / LENGTH - 9.81 / LENGTH * np.sin(phi) * d_phi],
    }
    np.testing.assert_allclose(matrix[:2, 0], expected["pos"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(matrix[2, 0], expected["force"][0], rtol=0, atol=1e-5)
    other, _ = after(pendulum(lambda h, x, p: 9.81 + 0.5 * h["pos"][0], **FINE), STEPS)
    assert np.abs(other["pos"] - state["pos"]).max() > 1e-3


# ---- a small one: dy/dt = −z, 0 = z + z³/10 − k y


def small(dt=0.2, **more):
    def F(h, x, p):
        return {"y": -h["z"]}

    def G(h, x, p):
        return {"z": h["z"] + 0.1 * h["z"] ** 3 - p["k"] * h["y"]}

    start = {"z": np.array(9.0), "y": np.array(2.0)}
    more = {"algebraic": G, "method": "rk4"} | more
    return fg.System(F, lambda h, x, p: h["z"], start, {"k": 1.5}, dt=dt, **more)


def exact(k):
    """y, z and their derivatives in k at t = 1, by y as a function of z: (1 + 0.3 z²) dz/dt = −k z."""

    def solution(k):
        z0 = np.roots([0.1, 0, 1, -2 * k])
        z0 = z0[np.abs(z0.imag) < 1e-9].real[0]
        made = solve_ivp(lambda t, z: -k * z / (1 + 0.3 * z**2), (0, 1), [z0], rtol=1e-12, atol=1e-13)
        z = made.y[0, -1]
        return np.array([z, (z + 0.1 * z**3) / k])

    return solution(k), (solution(k + 1e-5) - solution(k - 1e-5)) / 2e-5


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("rk4", 4), ("sdirk2", 2)])
def test_every_method_keeps_its_order(method, order):
    value, slope = exact(1.5)
    errors = []
    for count in (5, 10):
        state, matrix = after(small(1.0 / count, method=method), count)
        errors.append([np.abs(np.array([state["z"], state["y"]]) - value).max(), np.abs(matrix[:, 0] - slope).max()])
    np.testing.assert_allclose(np.log2(np.array(errors[0]) / errors[1]), order, atol=0.5)


@pytest.mark.parametrize("method", ["dopri5", pytest.param("esdirk4", marks=pytest.mark.slow)])
def test_steps_that_are_chosen(method):
    value, slope = exact(1.5)
    state, matrix = after(small(1.0, method=method), 1)
    np.testing.assert_allclose([state["z"], state["y"]], value, rtol=2e-6)
    np.testing.assert_allclose(matrix[:, 0], slope, rtol=0, atol=2e-5)


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_every_engine_computes_the_same(engine):
    expected, got = after(small(), 3), after(small(), 3, engine)
    np.testing.assert_allclose([got[0][k] for k in "zy"], [expected[0][k] for k in "zy"], rtol=1e-12)
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-11)


def test_it_begins_where_the_equations_hold():
    """The declared unknown is where the search begins. What is seen of the start depends on θ."""
    system = small(first="initial")
    z = system.state["z"]
    assert abs(z + 0.1 * z**3 - 3.0) < 1e-12
    np.testing.assert_allclose(system.simulate(steps=1).outputs[0], z)
    state, matrix = after(system, 1)
    np.testing.assert_allclose(matrix[0, 0], 2.0 / (1 + 0.3 * z**2), rtol=1e-12)
    assert matrix[1, 0] == 0.0
    assert state["z"] == z


def test_the_state_before_has_no_say_in_the_unknown():
    structure = fg.analyze(small())
    np.testing.assert_array_equal(structure.patterns.transition.state.toarray(), [[False, True], [False, True]])


def test_they_hold_after_an_event():
    def fill(h, x, p):
        return {"y": h["y"] + 0.7, "z": h["z"]}

    system = small(events=[fg.When(lambda h, x, p: 1.2 - h["y"], fill)])
    made = system.simulate(steps=5).states
    np.testing.assert_allclose(made["z"] + 0.1 * made["z"] ** 3, 1.5 * made["y"], rtol=1e-9)
    assert made["y"][1] < made["y"][2]


def test_it_is_kept_and_checked():
    system = small().replace(dt=0.1).astype(np.float32)
    assert system.algebraic is not None
    assert system.state["z"].dtype == np.float32
    report = fg.check(small())
    assert report.ok
    assert report.rows[-1].verdict == "ok"
    assert fg.check(small(1.0, method="euler")).rows[-1].verdict == "coarse"


def test_a_run_that_loses_the_solution_says_which():
    """z² = y has no solution below 0."""
    system = small(
        algebraic=lambda h, x, p: {"z": h["z"] ** 2 - h["y"] + 0 * p["k"]},
        dt=1.0,
    )
    with pytest.raises(NonFiniteError, match="algebraic equations"):
        system.simulate(steps=5)


REFUSED = {
    "index": (
        {"algebraic": lambda h, x, p: {"z": h["y"] - p["k"] + 0 * h["z"]}},
        "index above 1",
    ),
    "start": ({"algebraic": lambda h, x, p: {"z": h["z"] ** 2 + p["k"] * h["y"]}}, "no consistent start"),
    "names": ({"algebraic": lambda h, x, p: {"w": h["z"]}}, "some of the names of the state"),
    "all": ({"algebraic": lambda h, x, p: {"z": h["z"], "y": h["y"]}}, "some of the names of the state"),
    "array": ({"algebraic": lambda h, x, p: h["z"]}, "some of the names of the state"),
    "no function": ({"algebraic": 3}, "expected a function"),
    "delays": ({"delays": {"late": fg.Delay("y", 0.4)}}, "do not go together"),
    "map": ({"dt": None, "method": None}, "no rates"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused(changes, message):
    with pytest.raises(DeclarationError, match=message):
        small(**changes)


def test_rates_of_unknowns_are_refused():
    with pytest.raises(ShapeError, match="expected a dict with the keys"):
        fg.System(
            lambda h, x, p: {"y": -h["z"], "z": h["y"]},
            None,
            {"y": np.array(1.0), "z": np.array(1.0)},
            {"k": 1.0},
            dt=0.1,
            algebraic=lambda h, x, p: {"z": h["z"] - p["k"] * h["y"]},
        )
    with pytest.raises(DeclarationError, match="have no names"):
        fg.System(lambda h, x, p: h, None, np.ones(2), {}, dt=0.1, algebraic=lambda h, x, p: h)
