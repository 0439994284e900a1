"""Delays: against the method of steps, fine grids, and differences in τ; and what cannot be had, by name."""

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.checks.discretisation import discretisation
from fwdgrad.errors import DeclarationError, ModelTextError, NonFiniteError

STEPS = """
d x/dt = -delay(x, tau)
x(0) = x0
param tau = 1 in (0.1, 3)
param x0 = 1
dt = 0.25
"""
"""x' = −x(t − τ), x = x₀ before: polynomials from one multiple of τ to the next."""
GLASS = """
d x/dt = b*late/(1 + late**10) - loss*x
late = delay(x, tau)
x(0) = 1.2
param b = 0.2
param loss = 0.1
param tau = 17.13 in (1, 30)
dt = 1
"""
"""Mackey and Glass (1977)."""


def by_steps(t, tau, x0=1.0):
    """Σ_k (−1)^k (t − (k − 1) τ)^k / k! (El'sgol'ts 1966)."""
    made, term = x0, 1.0
    for k in range(1, 9):
        term = np.maximum(np.real(t - (k - 1) * tau), 0.0) > 0
        made = made + x0 * term * (-1.0) ** k * (t - (k - 1) * tau) ** k / np.prod(np.arange(1.0, k + 1))
    return made


def test_polynomials_are_exact_up_to_rounding():
    """Hermite's cubic and RK4 are, as long as polynomials are of degree 3."""
    got = fg.from_text(STEPS).simulate(steps=13).outputs[:, 0]
    np.testing.assert_allclose(got, by_steps(0.25 * np.arange(13), 1.0), atol=1e-13)
    with pytest.raises(AssertionError):  # another delay
        np.testing.assert_allclose(got, by_steps(0.25 * np.arange(13), 1.01), atol=1e-3)


@pytest.mark.parametrize("engine", ["eager", "numpy", "compiled"])
def test_the_influence_is_that_of_differences(engine):
    system = fg.from_text(STEPS.replace("tau = 1 ", "tau = 1.07 "))
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-300), engine=engine)
    for _ in range(10):
        learner.step()
    got = dict(zip(system.params, learner.influence_matrix()[0], strict=True))

    def slope(name, at):
        ends = [system.simulate(steps=10, params={**at, name: at[name] + e}).outputs[-1, 0] for e in (1e-6, -1e-6)]
        return (ends[0] - ends[1]) / 2e-6

    here = {"tau": 1.07, "x0": 1.0}
    for name in here:
        assert abs(got[name] - slope(name, here)) < 1e-8
    assert abs(got["tau"] - slope("tau", here | {"tau": 1.2})) > 1e-3
    exact = by_steps(9 * 0.25, 1.07 + 1e-30j).imag / 1e-30  # of the equation, not of the steps
    assert abs(got["tau"] - exact) < 0.05 * abs(exact)


@pytest.mark.parametrize(("tau", "gain"), [(17.0, 12.0), (17.13, 2.0)])
def test_the_order_against_a_fine_grid(tau, gain):
    """4, and 2 where the delay is no multiple of the step."""
    made = {k: fg.from_text(GLASS, substeps=k).simulate(steps=60, params={"tau": tau}).outputs for k in (1, 4, 32)}
    coarse, finer = (np.max(np.abs(made[k] - made[32])) for k in (1, 4))
    assert finer < coarse / gain
    assert coarse < 2e-3


def test_inputs_that_jump_are_remembered_with_both_their_rates():
    """A rate that is an input: x is a broken line, of which nothing is lost."""
    text = "d x/dt = u\nx(0) = 0\ninput u = 0\noutput late = delay(x, 0.6)\noutput x\ndt = 0.25"
    u = np.random.default_rng(0).normal(size=20)
    late, x = fg.from_text(text).simulate({"u": u}).outputs.T
    t = 0.25 * np.arange(20)
    np.testing.assert_allclose(late, np.interp(t - 0.6, t, x, left=0.0), atol=1e-13)


def test_delays_of_arrays_in_outputs_and_beside_events():
    def rates(h, x, p):
        return {"v": -p["k"] * h["late"], "t": np.ones(())}

    def give(h, x, p):
        return {"v": h["v"] + p["dose"], "t": h["t"]}

    def made(substeps):
        system = fg.System(
            rates,
            lambda h, x, p: h["late"],
            {"v": np.array([1.0, 2.0]), "t": np.zeros(())},
            {"k": np.array([0.5, 0.8]), "dose": 0.5},
            dt=0.5,
            substeps=substeps,
            events=[fg.At(1.2, give)],
            delays={"late": fg.Delay("v", lambda theta: 1.0 + 0.0 * theta["dose"], longest=1.5)},
        )
        return system, system.simulate(steps=8).outputs

    system, coarse = made(2)
    assert system.simulate(steps=1).states["v"].shape == (1, 2)
    np.testing.assert_array_equal(coarse[0], [1.0, 2.0])
    errors = [abs(made(k)[1] - made(64)[1]).max() for k in (2, 8)]
    assert errors[1] < errors[0] / 2.5 < 0.05
    with pytest.raises(AssertionError):  # the dose arrives
        np.testing.assert_allclose(coarse, system.simulate(steps=8, params={"dose": 0.0}).outputs, atol=0.1)


TRUTH = {"tau": 1.21, "r": 1.55}


def logistic():
    """Hutchinson's equation (1948), and a record of it."""
    text = STEPS.replace("d x/dt = -delay(x, tau)", "d x/dt = r*x*(1 - delay(x, tau))\nparam r = 1.4")
    system = fg.from_text(text.replace("in (0.1, 3)", "in (0.3, 1.7)"), substeps=2).starting_at({"x0": 0.4})
    ys = system.simulate(steps=120, params=TRUTH).outputs
    return system, ys + 0.01 * np.random.default_rng(0).normal(size=ys.shape)


@pytest.mark.slow
def test_a_fit_recovers_a_delay():
    system, ys = logistic()
    fit = fg.fit(system, ys=ys, engine="numpy")
    for name, value in TRUTH.items():
        assert abs(fit.params[name] - value) < 4 * fit.std[name] < 0.04


@pytest.mark.slow
def test_the_default_learner_recovers_a_delay():
    system, ys = logistic()
    learner = fg.Learner(system)
    learner.run(ys=ys)
    assert "its past" in learner.explain()
    for name, value in TRUTH.items():
        assert abs(learner.params[name] - value) < 4 * learner.parameter_std()[name] < 0.04


def test_streams_are_learned_as_one_is():
    system = fg.from_text(STEPS)
    assert repr(fg.Learner(system, streams=2).optimizer) == repr(fg.Learner(system).optimizer)
    assert "exact influence" in fg.Learner(system, streams=20).explain()


def test_a_long_past_is_learned_by_newtons_steps():
    system = fg.from_text(STEPS.replace("in (0.1, 3)", "in (0.1, 40)"))
    assert "a long past" in fg.Learner(system).explain()


def test_coarse_steps_are_told_and_fine_ones_are_not():
    system = fg.from_text(STEPS)
    both = (system.replace(method="euler"), system)
    told = [next(discretisation(one, None, np.random.default_rng(0))) for one in both]
    assert [row.verdict for row in told] == ["coarse", "ok"]
    ys = system.simulate(steps=130).outputs
    ys = ys + 1e-4 * np.random.default_rng(0).normal(size=ys.shape)
    with pytest.warns(fg.errors.CalibrationWarning, match="integration steps are too long"):
        fg.Learner(system.replace(method="euler"), fg.RTRL(), fg.SGD(1e-300), engine="numpy").run(ys=ys)


def test_a_past_goes_on_where_a_trajectory_is_taken_up():
    system = fg.from_text(STEPS)
    whole = system.simulate(steps=12)
    state = {k: v[5] for k, v in whole.states.items()}
    rest = system.simulate(steps=6, state=state, first="next")
    np.testing.assert_array_equal(rest.outputs, whole.outputs[6:])
    alone = system.simulate(steps=6, state={"x": state["x"]}, first="next")  # as if it had always been there
    assert abs(alone.outputs - rest.outputs).max() > 0.1
    finer = system.replace(substeps=3)
    taken = finer.simulate(steps=6, state=system.past.refined(state, finer.past), first="next")
    np.testing.assert_allclose(taken.outputs, rest.outputs, atol=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("delay(x, tau)", "delay(x, 0)", "line 2: .*of 0 is none"),
        ("delay(x, tau)", "delay(x, -1)", "line 2: .*positive time"),
        ("delay(x, tau)", "delay(x, 0.1)", "shorter than a step"),
        ("delay(x, tau)", "delay(x, tau, 0.5)", "longer than its past"),
        ("delay(x, tau)", "delay(x, 2*tau)", "not known"),
        ("delay(x, tau)", "delay(tau, 1)", "no state variable"),
        ("delay(x, tau)", "delay(x**2, tau)", "only a state variable is delayed"),
        ("delay(x, tau)", "delay(x, x)", "parameters alone"),
        ("delay(x, tau)", "delay(x)", "is written"),
        ("delay(x, tau)", "dely(x, tau)", "Did you mean 'delay'"),
        ("in (0.1, 3)", "", "no upper bound"),
        ("1 in (0.1, 3)", "500 in (1, 1e4)", "the most is"),
        ("1 in (0.1, 3)", "-1", "no upper bound"),
        ("dt = 0.25", "dt = gap", "grid of steps of one size"),
        ("dt = 0.25", "dt = 0.25\nmethod = dopri5", "grid of steps of one size"),
        ("d x/dt = -delay(x, tau)", "next x = delay(x, tau)", "no time"),
    ],
)
def test_delays_that_cannot_be_had_are_refused_by_name(old, new, what):
    assert STEPS.count(old) == 1
    text = STEPS.replace(old, new)
    text = text.replace("dt = 0.25", "") if "next" in new else text
    with pytest.raises((DeclarationError, ModelTextError), match=what):
        fg.from_text(text)


@pytest.mark.parametrize("tau", [0.12, 2.9])
def test_a_delay_that_becomes_one_that_cannot_be_had_is_named(tau):
    system = fg.from_text(STEPS.replace("delay(x, tau)", "delay(x, tau, 2.8)"))
    with pytest.raises(NonFiniteError, match="shorter than a step" if tau < 1 else "longer than its past"):
        system.simulate(steps=3, params={"tau": tau})
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-300), engine="numpy")
    learner.params = {"tau": tau}
    with pytest.raises(NonFiniteError, match="shorter than a step" if tau < 1 else "longer than its past"):
        learner.run(steps=3)


def test_the_same_in_text_tables_and_symbols():
    sp = pytest.importorskip("sympy")
    toml = """
    [state]
    x = { rate = "b*delay(x,tau)/(1 + delay(x, tau)**10) - loss*x", start = 1.2 }
    [params]
    b = 0.2
    loss = 0.1
    tau = { value = 17.13, in = [1, 30] }
    [settings]
    dt = 1
    """
    x, (t, b, loss, tau) = sp.Function("x"), sp.symbols("t b loss tau")
    symbols = fg.from_sympy(
        {x(t): b * x(t - tau) / (1 + x(t - tau) ** 10) - loss * x(t)},
        state={x(t): 1.2},
        params={b: 0.2, loss: 0.1, tau: fg.bounded(17.13, 1, 30)},
        dt=1,
    )
    first = fg.from_text(GLASS)
    for system in (fg.from_toml(toml), symbols):
        assert len(system.past.delays) == 1
        np.testing.assert_allclose(system.simulate(steps=40).outputs, first.simulate(steps=40).outputs, rtol=1e-12)
        assert "x\\left(t - \\tau\\right)" in system.latex()
    assert first.to_sympy()["x"].has(x(t - tau))
    with pytest.raises(DeclarationError, match="what is delayed"):
        fg.from_sympy({x(t): -x(2 * t)}, state={x(t): 1}, params={b: 1}, dt=1)
    with pytest.raises(DeclarationError, match="positive time"):
        fg.from_sympy({x(t): -x(t + 1)}, state={x(t): 1}, params={b: 1}, dt=1)


def test_what_knows_of_no_past_says_so():
    system = fg.from_text(STEPS)
    with pytest.raises(DeclarationError, match="has delays"):
        fg.filtered(system, fg.positive(0.1), 0.1)
    with pytest.raises(DeclarationError, match=r"a dict of fwdgrad\.Delay"):
        fg.System(lambda h, x, p: h, None, {"x": 1.0}, {}, dt=1.0, delays=[3])
    with pytest.raises(DeclarationError, match="no names"):
        fg.System(lambda h, x, p: h, None, np.ones(1), {}, dt=1.0, delays={"late": fg.Delay("x", 2.0)})
    with pytest.raises(DeclarationError, match="no parameter 'tua'"):
        fg.System(lambda h, x, p: h, None, {"x": 1.0}, {"tau": 2.0}, dt=1.0, delays={"late": fg.Delay("x", "tua")})
