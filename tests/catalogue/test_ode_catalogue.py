"""The differential equations of the catalogue: one model declared in four ways, closed forms, scipy, invariants."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import sympy as sp
from declare.four_ways import assert_same_learning
from scipy.integrate import solve_ivp

import fwdgrad as fg
from fwdgrad import systems

CELLS = 6

ODES = (
    "lotka-volterra",
    "sir",
    "mass-spring-damper",
    "pendulum",
    "van-der-pol",
    "fitzhugh-nagumo",
    "lorenz",
    "cascaded-tank",
    "linear-compartments",
    "heat-rod",
)


def built(name, **options):
    """A system of the catalogue, the rod with a few cells."""
    return systems.build(name, **({"cells": CELLS} if name == "heat-rod" else {}), **options)


# ---------------------------------------------------------------- the same models in plain NumPy, TOML and SymPy


def positive(names, values):
    return {k: fg.positive(v) for k, v in zip(names.split(), values, strict=True)}


def numpy_lotka_volterra():
    def rates(h, x, p):
        prey, pred = h["prey"], h["pred"]
        return {"prey": p["a"] * prey - p["b"] * prey * pred, "pred": p["d"] * prey * pred - p["c"] * pred}

    params = positive("a b c d", (0.55, 0.028, 0.84, 0.026))
    return fg.System(rates, whole("prey", "pred"), {"prey": 30.0, "pred": 4.0}, params, dt=0.1, method="rk4")


def whole(*names):
    return lambda h, x, p: np.stack([h[k] for k in names])


def numpy_sir():
    def rates(h, x, p):
        infections, recoveries = p["beta"] * h["S"] * h["I"] / p["N"], p["gamma"] * h["I"]
        return {"S": -infections, "I": infections - recoveries, "R": recoveries}

    params = positive("beta gamma", (1.7, 0.45)) | {"N": fg.fixed(763.0)}
    return fg.System(rates, whole("I"), {"S": 762.0, "I": 1.0, "R": 0.0}, params, dt=0.25, method="rk4")


def numpy_mass_spring_damper():
    def rates(h, x, p):
        return {"x": h["v"], "v": (x["force"] - p["c"] * h["v"] - p["k"] * h["x"]) / p["m"]}

    params = {"m": fg.fixed(1.0), **positive("c k", (0.3, 2.0))}
    return fg.System(rates, whole("x"), {"x": 1.0, "v": 0.0}, params, {"force": 0.0}, dt=0.05, method="rk4")


def numpy_pendulum():
    def rates(h, x, p):
        pull = p["g"] / p["length"] * np.sin(h["angle"])
        return {"angle": h["velocity"], "velocity": x["torque"] - p["friction"] * h["velocity"] - pull}

    params = {"g": fg.fixed(9.81), **positive("length friction", (1.0, 0.1))}
    state = {"angle": 1.0, "velocity": 0.0}
    return fg.System(rates, whole("angle"), state, params, {"torque": 0.0}, dt=0.05, method="rk4")


def numpy_van_der_pol():
    def rates(h, x, p):
        return {"x": h["v"], "v": p["mu"] * (1 - h["x"] ** 2) * h["v"] - h["x"]}

    return fg.System(rates, whole("x", "v"), {"x": 2.0, "v": 0.0}, positive("mu", (1.0,)), dt=0.05, method="rk4")


def numpy_fitzhugh_nagumo():
    def rates(h, x, p):
        v, w = h["v"], h["w"]
        return {"v": v - v**3 / 3 - w + x["current"], "w": p["epsilon"] * (v + p["a"] - p["b"] * w)}

    params = {"a": 0.7, "b": 0.8, "epsilon": fg.positive(0.08)}
    return fg.System(rates, whole("v"), {"v": -1.2, "w": -0.6}, params, {"current": 0.5}, dt=0.2, method="rk4")


def numpy_lorenz():
    def rates(h, _, p):
        x, y, z = h["x"], h["y"], h["z"]
        return {"x": p["sigma"] * (y - x), "y": x * (p["rho"] - z) - y, "z": x * y - p["beta"] * z}

    params = positive("sigma rho beta", (10.0, 28.0, 8 / 3))
    return fg.System(rates, whole("x"), {"x": 1.0, "y": 1.0, "z": 20.0}, params, dt=0.01, method="rk4")


def numpy_cascaded_tank():
    def rates(h, x, p):
        upper, lower = (np.sqrt(np.maximum(h[k], 1e-6)) for k in ("upper", "lower"))
        return {"upper": p["k2"] * x["pump"] - p["k1"] * upper, "lower": p["k3"] * upper - p["k4"] * lower}

    params = positive("k1 k2 k3 k4", (0.06, 0.05, 0.06, 0.05))
    state = {"upper": 4.0, "lower": 4.0}
    return fg.System(rates, whole("lower"), state, params, {"pump": 2.0}, dt=4.0, method="rk4")


def numpy_linear_compartments():
    def rates(h, x, p):
        return {
            "gut": x["dose"] - p["absorption"] * h["gut"],
            "blood": p["absorption"] * h["gut"]
            + p["inward"] * h["tissue"]
            - (p["outward"] + p["elimination"]) * h["blood"],
            "tissue": p["outward"] * h["blood"] - p["inward"] * h["tissue"],
        }

    params = positive("absorption elimination outward inward volume", (1.2, 0.25, 0.5, 0.3, 20.0))
    state = {"gut": 100.0, "blood": 0.0, "tissue": 0.0}

    def concentration(h, x, p):
        return np.stack([h["blood"] / p["volume"]])

    return fg.System(rates, concentration, state, params, {"dose": 0.0}, dt=0.1, method="rk4")


def numpy_heat_rod():
    def rates(h, x, p):
        T = h["T"]
        flow = p["k"] * (T - np.concatenate([np.reshape(x["left"], (1,)), T[:-1]]))
        return {"T": np.concatenate([flow[1:], np.zeros(1)]) - flow + x["heat"]}

    params = {"k": fg.positive(np.full(CELLS, 0.2))}
    x = {"left": 0.0, "heat": np.zeros(CELLS)}
    return fg.System(rates, lambda h, x, p: h["T"], {"T": np.zeros(CELLS)}, params, x, dt=1.0, method="euler")


TOML = {
    "lotka-volterra": """
        [state]
        prey = { rate = "a*prey - b*prey*pred", start = 30, unit = "thousand" }
        pred = { rate = "d*prey*pred - c*pred", start = 4 }
        [params]
        a = { value = 0.55, in = [0, inf] }
        b = { value = 0.028, in = [0, inf] }
        c = { value = 0.84, in = [0, inf] }
        d = { value = 0.026, in = [0, inf] }
        """,
    "sir": """
        [state]
        S = { rate = "-infections", start = 762 }
        I = { rate = "infections - gamma*I", start = 1 }
        R = { rate = "gamma*I", start = 0 }
        [definitions]
        infections = "beta*S*I/N"
        [params]
        beta = { value = 1.7, in = [0, inf] }
        gamma = { value = 0.45, in = [0, inf] }
        N = { value = 763, fixed = true }
        [outputs]
        I = "I"
        """,
    "mass-spring-damper": """
        [state]
        x = { rate = "v", start = 1 }
        v = { rate = "(force - c*v - k*x)/m", start = 0 }
        [params]
        m = { value = 1, fixed = true }
        c = { value = 0.3, in = [0, inf] }
        k = { value = 2, in = [0, inf] }
        [inputs]
        force = 0
        [outputs]
        x = "x"
        """,
    "pendulum": """
        [state]
        angle = { rate = "velocity", start = 1 }
        velocity = { rate = "torque - friction*velocity - g/length*sin(angle)", start = 0 }
        [params]
        g = { value = 9.81, fixed = true }
        length = { value = 1, in = [0, inf] }
        friction = { value = 0.1, in = [0, inf] }
        [inputs]
        torque = 0
        [outputs]
        angle = "angle"
        """,
    "van-der-pol": """
        [state]
        x = { rate = "v", start = 2 }
        v = { rate = "mu*(1 - x**2)*v - x", start = 0 }
        [params]
        mu = { value = 1, in = [0, inf] }
        """,
    "fitzhugh-nagumo": """
        [state]
        v = { rate = "v - v**3/3 - w + current", start = -1.2 }
        w = { rate = "epsilon*(v + a - b*w)", start = -0.6 }
        [params]
        a = 0.7
        b = 0.8
        epsilon = { value = 0.08, in = [0, inf] }
        [inputs]
        current = 0.5
        [outputs]
        v = "v"
        """,
    "lorenz": """
        [state]
        x = { rate = "sigma*(y - x)", start = 1 }
        y = { rate = "x*(rho - z) - y", start = 1 }
        z = { rate = "x*y - beta*z", start = 20 }
        [params]
        sigma = { value = 10, in = [0, inf] }
        rho = { value = 28, in = [0, inf] }
        beta = { value = 2.6666666666666665, in = [0, inf] }
        [outputs]
        x = "x"
        """,
    "cascaded-tank": """
        [state]
        upper = { rate = "k2*pump - k1*sqrt(max(upper, 1e-6))", start = 4 }
        lower = { rate = "k3*sqrt(max(upper, 1e-6)) - k4*sqrt(max(lower, 1e-6))", start = 4 }
        [params]
        k1 = { value = 0.06, in = [0, inf] }
        k2 = { value = 0.05, in = [0, inf] }
        k3 = { value = 0.06, in = [0, inf] }
        k4 = { value = 0.05, in = [0, inf] }
        [inputs]
        pump = 2
        [outputs]
        lower = "lower"
        """,
    "linear-compartments": """
        [state]
        gut = { rate = "dose - absorbed", start = 100 }
        blood = { rate = "absorbed + inward*tissue - (outward + elimination)*blood", start = 0 }
        tissue = { rate = "outward*blood - inward*tissue", start = 0 }
        [definitions]
        absorbed = "absorption*gut"
        [params]
        absorption = { value = 1.2, in = [0, inf] }
        elimination = { value = 0.25, in = [0, inf] }
        outward = { value = 0.5, in = [0, inf] }
        inward = { value = 0.3, in = [0, inf] }
        volume = { value = 20, in = [0, inf] }
        [inputs]
        dose = 0
        [outputs]
        concentration = "blood/volume"
        """,
    "heat-rod": """
        [state]
        T = { rate = "right(flow, 0) - flow + heat", start = [0, 0, 0, 0, 0, 0] }
        [definitions]
        flow = "k*(T - left(T, outside))"
        outside = "left"
        [params]
        k = { value = [0.2, 0.2, 0.2, 0.2, 0.2, 0.2], in = [0, inf] }
        [inputs]
        left = 0
        heat = [0, 0, 0, 0, 0, 0]
        """,
}


def toml(name):
    like = built(name)
    return fg.from_toml(TOML[name], dt=like.dt, method=like.method)


def sympy_lotka_volterra():
    x, y, a, b, c, d = sp.symbols("prey pred a b c d")
    params = positive("a b c d", (0.55, 0.028, 0.84, 0.026))
    rates = {x: x * (a - b * y), y: y * (d * x - c)}
    return fg.from_sympy(rates, state={x: 30, y: 4}, params=params, dt=0.1, method="rk4")


def sympy_sir():
    S, I, R, beta, gamma, N = sp.symbols("S I R beta gamma N")  # noqa: E741
    params = {**positive("beta gamma", (1.7, 0.45)), "N": fg.fixed(763)}
    rates = [-beta * S * I / N, beta * S * I / N - gamma * I, gamma * I]
    return fg.from_sympy(rates, state={S: 762, I: 1, R: 0}, params=params, outputs={I: I}, dt=0.25, method="rk4")


def sympy_mass_spring_damper():
    x, v, m, c, k, force = sp.symbols("x v m c k force")
    rates = {x: v, v: (force - c * v - k * x) / m}
    params = {m: fg.fixed(1), **positive("c k", (0.3, 2.0))}
    state = {x: 1, v: 0}
    return fg.from_sympy(rates, state=state, params=params, inputs={force: 0}, outputs=[x], dt=0.05, method="rk4")


def sympy_pendulum():
    angle, velocity, g, length, friction, torque = sp.symbols("angle velocity g length friction torque")
    rates = {angle: velocity, velocity: torque - friction * velocity - g / length * sp.sin(angle)}
    params = {g: fg.fixed(9.81), **positive("length friction", (1.0, 0.1))}
    state = {angle: 1, velocity: 0}
    return fg.from_sympy(rates, state=state, params=params, inputs={torque: 0}, outputs=[angle], dt=0.05, method="rk4")


def sympy_van_der_pol():
    x, v, mu = sp.symbols("x v mu")
    rates = {x: v, v: mu * (1 - x**2) * v - x}
    return fg.from_sympy(rates, state={x: 2, v: 0}, params=positive("mu", (1.0,)), dt=0.05, method="rk4")


def sympy_fitzhugh_nagumo():
    v, w, a, b, epsilon, current = sp.symbols("v w a b epsilon current")
    rates = {v: v - v**3 / 3 - w + current, w: epsilon * (v + a - b * w)}
    params = {a: 0.7, b: 0.8, epsilon: fg.positive(0.08)}
    state, inputs = {v: -1.2, w: -0.6}, {current: 0.5}
    return fg.from_sympy(rates, state=state, params=params, inputs=inputs, outputs=[v], dt=0.2, method="rk4")


def sympy_lorenz():
    x, y, z, sigma, rho, beta = sp.symbols("x y z sigma rho beta")
    rates = {x: sigma * (y - x), y: x * (rho - z) - y, z: x * y - beta * z}
    params = positive("sigma rho beta", (10.0, 28.0, 8 / 3))
    return fg.from_sympy(rates, state={x: 1, y: 1, z: 20}, params=params, outputs=[x], dt=0.01, method="rk4")


def sympy_cascaded_tank():
    upper, lower, k1, k2, k3, k4, pump = sp.symbols("upper lower k1 k2 k3 k4 pump")
    floor = sp.Float(1e-6)
    first, second = sp.sqrt(sp.Max(upper, floor)), sp.sqrt(sp.Max(lower, floor))
    rates = {upper: k2 * pump - k1 * first, lower: k3 * first - k4 * second}
    params = positive("k1 k2 k3 k4", (0.06, 0.05, 0.06, 0.05))
    state = {upper: 4, lower: 4}
    return fg.from_sympy(rates, state=state, params=params, inputs={pump: 2}, outputs=[lower], dt=4.0, method="rk4")


def sympy_linear_compartments():
    gut, blood, tissue, absorption, elimination, outward, inward, volume, dose = sp.symbols(
        "gut blood tissue absorption elimination outward inward volume dose"
    )
    exchange = sp.Matrix(
        [
            [-absorption, 0, 0],
            [absorption, -outward - elimination, inward],
            [0, outward, -inward],
        ]
    )
    amounts = sp.Matrix([gut, blood, tissue])
    return fg.from_sympy(
        exchange * amounts + sp.Matrix([dose, 0, 0]),
        state={gut: 100, blood: 0, tissue: 0},
        params=positive("absorption elimination outward inward volume", (1.2, 0.25, 0.5, 0.3, 20.0)),
        inputs={dose: 0},
        outputs=[blood / volume],
        dt=0.1,
        method="rk4",
    )


def sympy_heat_rod():
    T, k, heat = (sp.MatrixSymbol(name, CELLS, 1) for name in ("T", "k", "heat"))
    left = sp.Symbol("left")
    flow = [k[i, 0] * (T[i, 0] - (T[i - 1, 0] if i else left)) for i in range(CELLS)] + [0]
    rates = sp.Matrix([flow[i + 1] - flow[i] + heat[i, 0] for i in range(CELLS)])
    return fg.from_sympy(
        {T: rates},
        state={T: np.zeros(CELLS)},
        params={k: fg.positive(np.full(CELLS, 0.2))},
        inputs={left: 0, heat: np.zeros(CELLS)},
        outputs=[T],
        dt=1.0,
        method="euler",
    )


def inputs(name, steps, seed=4):
    """Inputs that keep the system alive, or None."""
    rng = np.random.default_rng(seed)
    slow = np.repeat(rng.uniform(size=-(-steps // 10)), 10)[:steps]
    return {
        "mass-spring-damper": {"force": 4 * slow - 2},
        "pendulum": {"torque": 6 * slow - 3},
        "fitzhugh-nagumo": {"current": slow},
        "cascaded-tank": {"pump": 1 + 2 * slow},
        "linear-compartments": {"dose": 20 * slow},
        "heat-rod": {"left": slow, "heat": rng.normal(size=(steps, CELLS))},
    }.get(name)


RATES = {"sir": 1e-8, "lotka-volterra": 1e-6, "lorenz": 1e-5, "cascaded-tank": 1e-3}


def four_ways(name):
    function = name.replace("-", "_")
    return {
        "text": built(name),
        "numpy": globals()[f"numpy_{function}"](),
        "toml": toml(name),
        "sympy": globals()[f"sympy_{function}"](),
    }


@pytest.mark.quick("lotka-volterra-*", "mass-spring-damper-*", "pendulum-*", "cascaded-tank-*", "heat-rod-*")
@pytest.mark.filterwarnings("ignore:after .*integration steps are too long")  # it is the steps that are compared
@pytest.mark.parametrize("method", ["heun", pytest.param("rk4", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ODES)
def test_four_declarations_learn_the_same(name, method):
    steps = 50
    declared = {way: system.replace(method=method, first="next") for way, system in four_ways(name).items()}
    assert_same_learning(declared, steps=steps, inputs=inputs(name, steps), rate=RATES.get(name, 1e-3))


def test_four_declarations_have_the_same_settings():
    for name in ODES:
        made = four_ways(name).values()
        assert len({(s.dt, s.method, s.substeps, repr(s.loss), s.frozen, tuple(s.params)) for s in made}) == 1


def test_four_declarations_are_told_apart():
    """Negative control: a part in 10¹⁰ of one rate."""
    declared = built("pendulum")
    other = fg.System(
        lambda h, x, p: {k: v * (1 + 1e-10) for k, v in declared.F(h, x, p).items()},
        declared.Y,
        declared.state,
        {"g": fg.fixed(9.81), **positive("length friction", (1.0, 0.1))},
        declared.x,
        dt=0.05,
        method="rk4",
    )
    with pytest.raises(AssertionError, match="differs"):
        assert_same_learning({"text": declared, "other": other}, steps=100, inputs=inputs("pendulum", 100), rate=1e-3)


# ---------------------------------------------------------------- simulations against scipy, closed forms, invariants


def constant_inputs(system, steps):
    """The example inputs at every step, or None."""
    return None if system.x is None else {k: np.repeat(v[None], steps, axis=0) for k, v in system.x.items()}


def reference(system, times, params=None):
    """States at `times` for the example inputs, by an adaptive method of order 8, shape (T, n)."""
    theta = dict(system.params) | (params or {})

    def rates(t, y):
        return system.pack(system.F(system.unpack(y), system.x, theta))

    span = (0.0, float(times[-1]))
    found = solve_ivp(rates, span, system.initial, "DOP853", times, rtol=1e-12, atol=1e-12)
    return found.y.T


@pytest.mark.parametrize("name", ODES)
def test_a_simulation_is_scipys_solution(name):
    system, equations = built(name, method="rk4"), globals()[f"numpy_{name.replace('-', '_')}"]()
    if name == "heat-rod":  # its declared inputs leave it cold
        hot = {"left": np.array(1.0), "heat": np.linspace(-0.1, 0.1, CELLS)}
        system, equations = system.replace(x=hot, dt=0.5), equations.replace(x=hot, dt=0.5)
    steps = 60
    states = system.simulate(constant_inputs(system, steps), steps=steps).states
    found = np.array([system.pack({k: v[s] for k, v in states.items()}) for s in range(steps)])
    expected = reference(equations, system.dt * np.arange(1, steps + 1))
    scale = np.max(np.abs(expected), axis=0)
    assert np.all(np.abs(found - expected) < 1e-4 * scale)
    coarse = system.replace(method="euler").simulate(constant_inputs(system, steps), steps=steps).states  # a control
    coarse = np.array([system.pack({k: v[s] for k, v in coarse.items()}) for s in range(steps)])
    assert np.any(np.abs(coarse - expected) > 1e-3 * scale)


def test_what_is_conserved_is_conserved():
    states, _ = built("lotka-volterra").simulate(steps=400)
    a, b, c, d = (float(v) for v in built("lotka-volterra").params.values())
    x, y = states["prey"], states["pred"]
    energy = d * x - c * np.log(x) + b * y - a * np.log(y)
    np.testing.assert_allclose(energy, energy[0], rtol=1e-5)
    states, _ = built("sir").simulate(steps=200)
    p = built("sir").params
    np.testing.assert_allclose(sum(states.values()), 763.0, rtol=1e-12)
    conserved = np.log(states["S"]) + p["beta"] / p["gamma"] * states["R"] / 763
    np.testing.assert_allclose(conserved, conserved[0], rtol=1e-5)


def test_a_pendulum_has_the_period_of_the_elliptic_integral():
    period = 4 * np.sqrt(1 / 9.81) * scipy.special.ellipk(np.sin(0.5) ** 2)
    free = built("pendulum", dt=period / 100)
    angle = free.simulate({"torque": np.zeros(300)}, params={"friction": 1e-12}).outputs[:, 0]
    np.testing.assert_allclose(angle[[49, 99, 299]], [-1, 1, 1], atol=1e-5)
    assert angle[int(100 * 2 * np.pi / np.sqrt(9.81) / period) - 1] < 0.98  # the period of small amplitudes


def test_linear_systems_are_matrix_exponentials():
    t = 3.0
    absorption, elimination, outward, inward, volume = 1.2, 0.25, 0.5, 0.3, 20.0
    A = np.array([[-absorption, 0, 0], [absorption, -outward - elimination, inward], [0, outward, -inward]])
    blood = (scipy.linalg.expm(A * t) @ [100, 0, 0])[1] / volume
    drug = built("linear-compartments").simulate({"dose": np.zeros(30)}).outputs[-1, 0]
    assert drug == pytest.approx(blood, rel=1e-6)
    A = np.diag(np.full(CELLS, -0.4)) + np.diag(np.full(CELLS - 1, 0.2), 1) + np.diag(np.full(CELLS - 1, 0.2), -1)
    A[-1, -1] = -0.2
    warmed = (np.eye(CELLS) - scipy.linalg.expm(A * t)) @ np.ones(CELLS)
    steps = 30
    rod = built("heat-rod", dt=t / steps, method="rk4")
    T = rod.simulate({"left": np.ones(steps), "heat": np.zeros((steps, CELLS))}).outputs[-1]
    np.testing.assert_allclose(T, warmed, rtol=1e-6)


def test_systems_rest_where_their_equations_say():
    rest = {"x": np.sqrt(8 / 3 * 27), "y": np.sqrt(8 / 3 * 27), "z": 27.0}
    states, _ = built("lorenz").simulate(steps=200, state=rest)
    for k, v in rest.items():
        np.testing.assert_allclose(states[k], v, rtol=1e-9)
    states, _ = built("cascaded-tank").simulate({"pump": np.full(800, 3.0)})
    assert states["upper"][-1] == pytest.approx((0.05 * 3 / 0.06) ** 2, rel=1e-4)
    assert states["lower"][-1] == pytest.approx((0.06 * 0.05 * 3 / (0.06 * 0.05)) ** 2, rel=1e-4)


# ---------------------------------------------------------------- derivatives


def in_scalars(params):
    """(name, index) of every number in θ that is learned."""
    return [(k, index) for k, v in params.items() for index in np.ndindex(v.shape)]


@pytest.mark.quick("lotka-volterra", "sir", "mass-spring-damper", "pendulum", "van-der-pol", "heat-rod")
@pytest.mark.parametrize("name", ODES)
@pytest.mark.filterwarnings("ignore:none of the .* samples so far has a target:fwdgrad.errors.UnlearnedWarning")
def test_exact_influence_is_the_derivative_of_scipys_solution(name):
    """∂h/∂θ by central differences of an adaptive solution; the rod warms up from the left."""
    system = built(name, method="rk4")
    if name == "heat-rod":
        system = system.replace(x={"left": np.array(1.0), "heat": np.linspace(-0.1, 0.1, CELLS)})
    steps = 80
    system = system.replace(dt=system.dt / 4)
    learner = fg.Learner(system, fg.RTRL())
    learner.run(constant_inputs(system, steps), np.full((steps, *system.prediction.shape), np.nan))
    G = learner.influence_matrix()
    used = [k for k in system.trainable if k != "volume"]  # which feeds the output alone
    times = np.array([steps * system.dt])
    for column, (k, index) in enumerate(in_scalars({k: system.params[k] for k in used})):
        ends = []
        for sign in (-1, 1):
            value = np.array(system.params[k])
            value[index] *= 1 + sign * 1e-4
            ends.append(reference(system, times, {k: value})[0])
        slope = (ends[1] - ends[0]) / (2e-4 * system.params[k][index])
        np.testing.assert_allclose(G[:, column], slope, rtol=2e-5, atol=2e-5 * np.max(np.abs(slope)))


@pytest.mark.filterwarnings("ignore:none of the .* samples so far has a target:fwdgrad.errors.UnlearnedWarning")
def test_lotka_volterras_influence_is_the_published_one():
    """Forward sensitivities at t = 10 that several solvers agree on."""
    text = """
        d x/dt = p0*x - p1*x*y
        d y/dt = p2*x*y - p3*y
        x(0) = 10
        y(0) = 10
        param p0 = 1.1
        param p1 = 0.1
        param p2 = 0.1
        param p3 = 0.4
        method = rk4
    """
    expected = [[6.33285, 16.33123, -28.59391, 27.58254], [24.45878, 14.33824, -101.50118, 90.07591]]
    learner = fg.Learner(fg.from_text(text, dt=0.01), fg.RTRL())
    learner.run(ys=np.full((1001, 2), np.nan))
    np.testing.assert_allclose(learner.influence_matrix(), expected, atol=6e-6)
    coarse = fg.Learner(fg.from_text(text, dt=0.01, method="euler"), fg.RTRL())
    coarse.run(ys=np.full((1001, 2), np.nan))
    assert not np.allclose(coarse.influence_matrix(), expected, rtol=1e-2)


@pytest.mark.parametrize("cells", [5, 40])
def test_a_rod_has_banded_jacobians(cells):
    patterns = fg.analyze(systems.heat_rod(cells=cells)).patterns.transition
    near = np.abs(np.subtract.outer(np.arange(cells), np.arange(cells)))
    np.testing.assert_array_equal(patterns.state.toarray(), near <= 1)
    below = np.subtract.outer(np.arange(cells), np.arange(cells))
    np.testing.assert_array_equal(patterns.leaves["k"].toarray(), (below == 0) | (below == -1))


# ---------------------------------------------------------------- as systems: conformance, precision, options


SOON = ("pendulum", "heat-rod")
"""With single numbers, and with arrays."""


@pytest.mark.parametrize("name", [pytest.param(k, marks=[] if k in SOON else pytest.mark.slow) for k in ODES])
def test_a_declaration_passes_the_conformance_suite(name):
    fg.testing.check_system(built(name))


@pytest.mark.parametrize("name", ["lorenz", "pendulum", "heat-rod"])
def test_float32(name):
    given = inputs(name, 20)
    results = {}
    for dtype in (np.float32, np.float64):
        system = built(name, dtype=dtype)
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-8))
        history = learner.run(given, np.full((20, *system.prediction.shape), 0.1))
        assert {v.dtype for v in learner.params.values()} == {np.dtype(dtype)}
        results[dtype] = history.loss
    np.testing.assert_allclose(results[np.float32], results[np.float64], rtol=1e-3, atol=1e-6)


def test_declarations_show_their_equations():
    assert r"\frac{\mathrm{d} S}{\mathrm{d} t}" in systems.sir().latex()
    assert systems.pendulum().units["length"] == "m"


@pytest.mark.parametrize("mu", [0, -1.0, "stiff", float("nan"), True])
def test_a_senseless_stiffness_is_refused(mu):
    with pytest.raises(fg.errors.DeclarationError, match=r"mu=…\): expected a number above 0"):
        systems.van_der_pol(mu=mu)


def test_a_rod_has_cells():
    with pytest.raises(fg.errors.DeclarationError, match=r"cells=…\)"):
        systems.heat_rod(cells=1)
