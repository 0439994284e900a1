"""SymPy, text, TOML and NumPy declare the same system."""

import numpy as np
import pytest
import sympy as sp
from declare.four_ways import assert_same_learning

import fwdgrad as fg


def lotka_volterra():
    def rates(h, x, p):
        meals = p["b"] * h["prey"] * h["pred"]
        return {"prey": p["a"] * h["prey"] - meals, "pred": -p["c"] * h["pred"] + p["d"] * meals}

    params = {"a": fg.positive(0.55), "b": fg.positive(0.028), "c": 0.84, "d": fg.bounded(0.9, 0, 2)}
    params["prey0"] = 30.0
    numpy = fg.System(
        rates,
        lambda h, x, p: np.stack([h["prey"], h["pred"]]),
        state=lambda p: {"prey": p["prey0"], "pred": np.float64(4.0)},
        params=params,
        loss=fg.losses.SquaredError((0.5, 0.25)),
        dt=0.05,
        method="rk4",
        substeps=2,
        first="initial",
    )
    text = fg.from_text(
        """
        d prey/dt = a*prey - meals           # growth without predators
        d pred/dt = -c*pred + d*meals
        meals = b*prey*pred                  : thousand/year
        prey(0) = prey0
        pred(0) = 4
        param a = 0.55 in (0, inf)           : 1/year
        param b = 0.028 in (0, inf)
        param c = 0.84
        param d = 0.9 in (0, 2)
        param prey0 = 30                     : thousand
        output hare = prey noise 0.5         : thousand
        output lynx = pred noise 1/4         : thousand
        dt = 0.05
        method = rk4
        substeps = 2
        """
    )
    toml = fg.from_toml(
        """
        name = "Lotka–Volterra"
        [state]
        prey = { rate = "a*prey - meals", start = "prey0" }
        pred = { rate = "-c*pred + d*meals", start = 4 }
        [definitions]
        meals = "b*prey*pred"
        [params]
        a = { value = 0.55, in = [0, inf], unit = "1/year" }
        b = { value = 0.028, in = [0, inf] }
        c = 0.84
        d = { value = 0.9, in = [0, 2] }
        prey0 = 30
        [outputs]
        hare = { value = "prey", noise = 0.5 }
        lynx = { value = "pred", noise = 0.25 }
        [settings]
        dt = 0.05
        method = "rk4"
        substeps = 2
        """
    )
    prey, pred, a, b, c, d, prey0 = sp.symbols("prey pred a b c d prey0")
    symbols = fg.from_sympy(
        rates={prey: a * prey - b * prey * pred, pred: -c * pred + d * b * prey * pred},
        state={prey: prey0, pred: 4},
        params={
            a: fg.positive(0.55),
            b: fg.positive(0.028),
            c: 0.84,
            d: fg.bounded(0.9, 0, 2),
            prey0: 30,
        },
        outputs={"hare": prey, "lynx": pred},
        dt=0.05,
        method="rk4",
        substeps=2,
        loss=fg.losses.SquaredError((0.5, 0.25)),
    )
    return {"numpy": numpy, "text": text, "toml": toml, "sympy": symbols}, {"rate": 1e-7}


def pendulum():
    def rates(h, x, p):
        torque = x["u"] - p["friction"] * h["omega"]
        return {"theta": h["omega"], "omega": -p["g"] / p["length"] * np.sin(h["theta"]) + torque}

    numpy = fg.System(
        rates,
        lambda h, x, p: np.stack([np.sin(h["theta"])]),
        state={"theta": 1.0, "omega": 0.0},
        params={"g": fg.fixed(9.81), "length": 1.2, "friction": 0.1},
        x={"u": 0.0},
        dt=0.02,
        method="heun",
        first="initial",
    )
    text = fg.from_text(
        """
        d theta/dt = omega
        d omega/dt = -g/length*sin(theta) + torque
        torque = u - friction*omega
        theta(0) = 1
        omega(0) = 0
        param g = 9.81 fixed : m/s²
        param length = 1.2   : m
        param friction = 0.1
        input u = 0
        output z = sin(theta)
        dt = 0.02
        method = heun
        """
    )
    toml = fg.from_toml(
        """
        [state.theta]
        rate = "omega"
        start = 1
        [state.omega]
        rate = "-g/length*sin(theta) + u - friction*omega"
        start = 0
        [params]
        g = { value = 9.81, fixed = true }
        length = 1.2
        friction = 0.1
        [inputs]
        u = 0
        [outputs]
        z = "sin(theta)"
        [settings]
        dt = 0.02
        method = "heun"
        """
    )
    t = sp.Symbol("t")
    theta, omega = sp.Function("theta")(t), sp.Function("omega")(t)
    g, length, friction, u = sp.symbols("g length friction u", real=True)
    symbols = fg.from_sympy(
        rates={theta: omega, omega: -g / length * sp.sin(theta) + u - friction * omega},
        state={theta: 1, omega: 0},
        params={g: fg.fixed(9.81), length: 1.2, friction: 0.1},
        inputs={u: 0},
        outputs=[sp.sin(theta)],
        dt=0.02,
        method="heun",
    )
    u = np.random.default_rng(1).normal(size=200)
    return {"numpy": numpy, "text": text, "toml": toml, "sympy": symbols}, {"inputs": {"u": u}, "rate": 1e-2}


def sir():
    """Names that are SymPy's own: S, I, N, beta, gamma, lambda_; in discrete time, with time itself."""

    def update(h, x, p):
        season = 1 + p["lambda_"] * np.cos(2 * np.pi * h["t"] / 52)
        infected = p["beta"] * season * h["S"] * h["I"] / p["N"]
        return {
            "S": h["S"] - infected,
            "I": h["I"] + infected - p["gamma"] * h["I"],
            "t": h["t"] + 1,
        }

    numpy = fg.System(
        update,
        lambda h, x, p: np.stack([h["I"], p["N"] - h["S"] - h["I"]]),
        state={"S": 990.0, "I": 10.0, "t": 0.0},
        params={"beta": 0.4, "gamma": 0.2, "N": fg.fixed(1000.0), "lambda_": 0.1},
    )
    text = fg.from_text(
        """
        next S = S - infected
        next I = I + infected - gamma*I
        infected = beta*(1 + lambda_*cos(2*pi*t/52))*S*I/N
        S(0) = 990
        I(0) = 10
        param beta = 0.4
        param gamma = 0.2
        param N = 1000 fixed
        param lambda_ = 0.1
        output I
        output R = N - S - I
        """
    )
    toml = fg.from_toml(
        """
        [state]
        S = { next = "S - infected", start = 990 }
        I = { next = "I + infected - gamma*I", start = 10 }
        [definitions]
        infected = "beta*(1 + lambda_*cos(2*pi*t/52))*S*I/N"
        [params]
        beta = 0.4
        gamma = 0.2
        N = { value = 1000, fixed = true }
        lambda_ = 0.1
        [outputs]
        I = "I"
        R = "N - S - I"
        """
    )
    S, I, beta, gamma, N, lambda_, t, infected = sp.symbols("S I beta gamma N lambda_ t infected")  # noqa: E741
    symbols = fg.from_sympy(
        updates=[S - infected, I + infected - gamma * I],
        definitions={infected: beta * (1 + lambda_ * sp.cos(2 * sp.pi * t / 52)) * S * I / N},
        state={S: 990, I: 10},
        params={beta: 0.4, gamma: 0.2, N: fg.fixed(1000), lambda_: 0.1},
        outputs={I: I, "R": N - S - I},
    )
    return {"numpy": numpy, "text": text, "toml": toml, "sympy": symbols}, {"rate": 1e-9, "steps": 100}


@pytest.mark.covering
@pytest.mark.parametrize("model", [lotka_volterra, pendulum, sir], ids=lambda f: f.__name__)
@pytest.mark.parametrize("estimator", ["rtrl", "uoro"])
def test_four_declarations_of_a_model_learn_the_same(model, estimator):
    systems, options = model()
    assert_same_learning(systems, estimator=estimator, **options)


def test_a_difference_of_a_part_in_10_to_the_10_is_seen():
    systems, options = lotka_volterra()
    wrong = fg.from_text(
        """
        d prey/dt = a*prey - b*prey*pred
        d pred/dt = -c*pred + d*b*prey*pred*(1 + 1e-10)
        prey(0) = prey0
        pred(0) = 4
        param a = 0.55 in (0, inf)
        param b = 0.028 in (0, inf)
        param c = 0.84
        param d = 0.9 in (0, 2)
        param prey0 = 30
        output hare = prey noise 0.5
        output lynx = pred noise 1/4
        dt = 0.05
        method = rk4
        substeps = 2
        """
    )
    with pytest.raises(AssertionError, match="differs by"):
        assert_same_learning({"numpy": systems["numpy"], "wrong": wrong}, **options)


def test_what_learns_nothing_is_no_comparison():
    systems, options = pendulum()
    with pytest.raises(AssertionError, match="nothing was learned"):
        assert_same_learning(systems, **(options | {"rate": 1e-30}))
