"""Systems from functions written for scipy.integrate and for python-control."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import fwdgrad as fg
from fwdgrad.declare.adapters import from_control, from_scipy
from fwdgrad.errors import DeclarationError, UnknownNameError

STEP = 0.01


def lotka_volterra(t, z, a, b, c, d):
    x, y = z
    return [a * x - b * x * y, -c * y + d * x * y]


def forced(t, y, k, amplitude):
    return -k * y + amplitude * np.sin(t)


def follow(system, steps, inputs=None, **learner):
    """States along a run that learns nothing, and the influence at its end."""
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), **learner)
    states = []
    for k in range(steps):
        learner.step(None if inputs is None else inputs[k])
        states.append(learner.state)
    return states, learner.influence_matrix()


# ---- scipy


def test_a_function_of_scipys_is_integrated_as_scipy_does():
    args = (1.5, 1.0, 3.0, 1.0)
    system = from_scipy(lotka_volterra, [10.0, 5.0], args, dt=STEP)
    assert list(system.params) == ["a", "b", "c", "d"]
    assert isinstance(system.state, np.ndarray)
    states, influence = follow(system, 100)
    exact = solve_ivp(lotka_volterra, (0, 1), [10.0, 5.0], args=args, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(states[-1], exact.y[:, -1], rtol=1e-6)
    moved = [
        solve_ivp(lotka_volterra, (0, 1), [10.0, 5.0], args=(1.5, 1.0 + e, 3.0, 1.0), rtol=1e-10, atol=1e-12).y[:, -1]
        for e in (1e-4, -1e-4)
    ]
    np.testing.assert_allclose(influence[:, 1], (moved[0] - moved[1]) / 2e-4, rtol=1e-5)


def test_time_is_a_state_variable_where_it_is_used():
    system = from_scipy(forced, [1.0], {"k": 2.0, "amplitude": 3.0}, dt=STEP, t0=0.5)
    assert set(system.state) == {"y", "t"}
    assert system.prediction.shape == (1,)  # the time is not observed
    states, _ = follow(system, 100)
    exact = solve_ivp(forced, (0.5, 1.5), [1.0], args=(2.0, 3.0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(states[-1]["y"], exact.y[:, -1], rtol=1e-8)
    np.testing.assert_allclose(states[-1]["t"], 1.5)
    frozen = solve_ivp(lambda t, y: forced(0.5, y, 2.0, 3.0), (0.5, 1.5), [1.0])
    assert abs(frozen.y[0, -1] - exact.y[0, -1]) > 0.1  # what a t that stands still would give


def test_time_in_what_is_observed():
    def decay(t, y, k):
        return -k * y

    system = from_scipy(decay, np.ones(1), [2.0], dt=STEP, outputs=lambda t, y, k: y * t)
    states, _ = follow(system, 10)
    np.testing.assert_allclose(system.output(system.pack(states[-1]), None, system.params), states[-1]["y"] * 0.1)


def test_functions_that_cannot_be_traced_keep_the_time():
    def branching(t, y, k):
        return -k * y if y[0] > 0.5 else 0 * y

    system = from_scipy(branching, np.ones(1), [2.0], dt=STEP)
    assert set(system.state) == {"y", "t"}
    states, _ = follow(system, 5, engine="eager")
    np.testing.assert_allclose(states[-1]["y"], np.exp(-2.0 * 5 * STEP), rtol=1e-6)


def test_samples_at_uneven_times():
    system = from_scipy(forced, [1.0], (2.0, 3.0), dt="elapsed", method="rk4")
    elapsed = [0.01, 0.02, 0.0, 0.015]
    states, _ = follow(system, 4, [{"elapsed": e} for e in elapsed])
    exact = solve_ivp(forced, (0, 0.045), [1.0], args=(2.0, 3.0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(states[-1]["y"], exact.y[:, -1], rtol=1e-8)
    np.testing.assert_allclose([s["t"] for s in states], np.cumsum(elapsed))


def test_declarations_are_handed_on():
    args = {"k": fg.positive(2.0), "amplitude": fg.fixed(3.0)}
    system = from_scipy(forced, [1.0], args, dt=STEP, method="heun", substeps=2, loss=fg.losses.SquaredError(0.1))
    assert (system.method, system.substeps, system.name) == ("heun", 2, "forced")
    assert system.trainable == ("k",)
    np.testing.assert_allclose(system.coordinates["k"], np.log(2))
    assert repr(system.loss) == "SquaredError(scale=0.1)"


def test_arguments_by_name_and_in_order():
    def rate(t, y, k, *, extra=0):
        return -k * y

    assert list(from_scipy(rate, [1.0], [2.0], dt=STEP).params) == ["k"]
    assert list(from_scipy(lambda t, y, *p: -p[0] * y, [1.0], {"k": 2.0}, dt=STEP).params) == ["k"]
    optional = from_scipy(lambda t, y, k, c=1.0: -k * c * y, [1.0], (2.0,), dt=STEP)
    assert list(optional.params) == ["k"]
    swapped = from_scipy(forced, [1.0], {"amplitude": 3.0, "k": 2.0}, dt=STEP)
    np.testing.assert_allclose([swapped.params["k"], swapped.params["amplitude"]], [2, 3])
    np.testing.assert_allclose(
        follow(swapped, 3)[0][-1]["y"], follow(from_scipy(forced, [1.0], (2, 3), dt=STEP), 3)[0][-1]["y"]
    )


@pytest.mark.parametrize("args", [(1.0,), (1.0, 2.0, 3.0), 1.0, {"amplitude": 1.0}, "ab"])
def test_arguments_that_do_not_fit_are_refused(args):
    with pytest.raises(DeclarationError, match="from_scipy"):
        from_scipy(forced, [1.0], args, dt=STEP)


def test_a_misspelled_argument_is_refused():
    with pytest.raises(UnknownNameError, match="amplitude"):
        from_scipy(forced, [1.0], {"k": 1.0, "amplitud": 2.0}, dt=STEP)


def test_a_function_of_any_arguments_needs_names():
    with pytest.raises(DeclarationError, match="a dict"):
        from_scipy(lambda t, y, *p: -y, [1.0], (1.0,), dt=STEP)


# ---- python-control


def oscillator(t, x, u, params):
    return np.array([x[1], -params["k"] * x[0] - params.get("c", 0.5) * x[1] + u[0]])


def watched(t, x, u, params):
    return np.array([params["gain"] * x[0]])


def described(updfcn=oscillator, outfcn=None, **changes):
    """What `control.nlsys` returns, as far as it is looked at."""
    about = {"params": {"k": 2.0}, "ninputs": 1, "nstates": 2, "noutputs": 1, "dt": 0, "name": "sys[0]"}
    return SimpleNamespace(updfcn=updfcn, outfcn=outfcn, **(about | changes))


def test_functions_of_controls():
    params = {"k": 2.0, "gain": 3.0}
    system = from_control(oscillator, watched, state=np.zeros(2), params=params, inputs=1, dt=STEP)
    assert (system.x.shape, system.prediction.shape, system.name) == ((1,), (1,), "oscillator")
    us = np.sin(np.arange(100) / 10)[:, None]
    states, influence = follow(system, 100, us)

    def end(k):
        y = np.zeros(2)
        for u in us:
            y = solve_ivp(lambda t, x, u=u: oscillator(t, x, u, {"k": k}), (0, STEP), y, rtol=1e-11, atol=1e-13).y[
                :, -1
            ]
        return y

    np.testing.assert_allclose(states[-1], end(2.0), rtol=1e-7)
    np.testing.assert_allclose(influence[:, 0], (end(2.001) - end(1.999)) / 0.002, rtol=1e-5)
    np.testing.assert_allclose(system.output(states[-1], us[-1], system.params), 3 * states[-1][:1])


def test_an_object_of_controls():
    """Its functions, parameters, sizes and name; some outputs are the first states."""
    system = from_control(described(), dt=STEP)
    assert (system.name, system.size, system.x.shape, system.prediction.shape) == ("sys[0]", 2, (1,), (1,))
    np.testing.assert_allclose(system.params["k"], 2)
    more = from_control(described(outfcn=watched), params={"k": fg.positive(5.0), "gain": 1.0}, dt=STEP, name="mine")
    assert list(more.params) == ["k", "gain"]
    assert more.name == "mine"
    np.testing.assert_allclose(more.coordinates["k"], np.log(5))


def test_an_object_without_inputs():
    silent = described(lambda t, x, u, p: -p["k"] * x + np.sum(u), ninputs=0, noutputs=None)
    system = from_control(silent, state=np.ones(2), dt=STEP)
    assert system.x is None
    assert system.prediction.shape == (2,)
    np.testing.assert_allclose(follow(system, 10)[0][-1], np.exp(-0.2), rtol=1e-8)


def test_inputs_beside_the_time_between_samples():
    system = from_control(described(), dt="elapsed")
    assert set(system.x) == {"u", "elapsed"}
    us = [{"u": np.ones(1), "elapsed": e} for e in (0.01, 0.03)]
    states, _ = follow(system, 2, us)
    exact = solve_ivp(lambda t, x: oscillator(t, x, [1.0], {"k": 2.0}), (0, 0.04), np.zeros(2), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(states[-1], exact.y[:, -1], rtol=1e-6)


def test_discrete_time():
    """The next state as it is; t goes by the system's own period, and is a state only where it is used."""

    def update(t, x, u, params):
        return params["a"] * x + u

    steady = from_control(described(update, dt=True, nstates=1, params={"a": 0.5}))
    assert steady.dt is None
    assert isinstance(steady.state, np.ndarray)
    np.testing.assert_allclose(follow(steady, 2, np.ones((2, 1)))[0][-1], 1.5)

    def ticking(t, x, u, params):
        return params["a"] * x + t

    for own, expected in ((0.5, 0.5), (True, 1.0)):
        made = from_control(described(ticking, dt=own, nstates=1, params={"a": 0.5}))
        states, _ = follow(made, 3, np.zeros((3, 1)))
        np.testing.assert_allclose([s["t"] for s in states], expected * np.array([1, 2, 3]))
        np.testing.assert_allclose(states[-1]["x"], expected * (0.5 * 1 + 2))
    plain = from_control(ticking, state=np.zeros(1), params={"a": 0.5})
    np.testing.assert_allclose(follow(plain, 3)[0][-1]["x"], 2.5)


def test_a_learned_initial_state():
    def decay(t, x, u, params):
        return -params["k"] * x

    def swinging(t, x, u, params):
        return -params["k"] * x * np.cos(t)

    for function, timed in ((decay, False), (swinging, True)):
        options = {"params": {"k": 1.0, "x0": 2.0}, "dt": STEP, "first": "initial"}
        system = from_control(function, state=lambda theta: theta["x0"] * np.ones(1), **options)
        states, influence = follow(system, 11)
        last = states[-1]["x"] if timed else states[-1]
        exponent = -(np.sin(0.1) if timed else 0.1)
        np.testing.assert_allclose(last, 2 * np.exp(exponent), rtol=1e-8)
        np.testing.assert_allclose(influence[0, 1], np.exp(exponent), rtol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"dt": None}, "continuous time"),
        ({"outfcn": watched, "dt": STEP}, "leave them out"),
        ({"inputs": 2, "dt": STEP}, "leave them out"),
    ],
)
def test_what_contradicts_an_object_is_refused(arguments, match):
    with pytest.raises(DeclarationError, match=match):
        from_control(described(), **arguments)


def test_refusals():
    with pytest.raises(DeclarationError, match="takes no dt"):
        from_control(described(dt=0.1), dt=STEP)
    with pytest.raises(DeclarationError, match="initial state"):
        from_control(oscillator, params={"k": 1.0}, dt=STEP)
    with pytest.raises(DeclarationError, match="object of python-control"):
        from_control("oscillator", state=np.zeros(1))


def test_against_python_control_itself():
    control = pytest.importorskip("control")
    sys = control.nlsys(
        oscillator,
        watched,
        inputs=["force"],
        outputs=["y"],
        states=["q", "v"],
        params={"k": 2.0, "gain": 3.0},
        name="m",
    )
    times = np.arange(101) * STEP
    response = control.input_output_response(
        sys, times, np.ones(101), [1.0, 0.0], solve_ivp_kwargs={"rtol": 1e-10, "atol": 1e-12}
    )
    system = from_control(sys, state=np.array([1.0, 0.0]), dt=STEP)
    states, _ = follow(system, 100, np.ones((100, 1)))
    np.testing.assert_allclose(np.array(states), response.states.T[1:], rtol=1e-6, atol=1e-8)
    discrete = control.nlsys(
        lambda t, x, u, params: params["a"] * x + u + t, inputs=1, states=1, params={"a": 0.5}, dt=0.5
    )
    response = control.input_output_response(discrete, np.arange(6) * 0.5, np.ones(6), [1.0])
    states, _ = follow(from_control(discrete, state=np.ones(1)), 5, np.ones((5, 1)))
    np.testing.assert_allclose([s["x"][0] for s in states], response.states[0, 1:])
