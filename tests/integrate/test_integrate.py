"""Integrators: their order and stability, the influence through them, and stiff systems, against SciPy's solutions."""

import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import fwdgrad as fg
from fwdgrad.errors import DeclarationError, NonFiniteError
from fwdgrad.integrate import METHODS, Adaptive, heun, rk4, sdirk2, step_map
from fwdgrad.program import root
from fwdgrad.system.tracing import traced

ORDERS = {"euler": 1, "heun": 2, "rk4": 4, "sdirk2": 2}


def test_every_method_has_its_order_here():
    assert set(ORDERS) == {name for name, method in METHODS.items() if not isinstance(method, Adaptive)}


# ---- Lotka and Volterra: the influence is the solution of the variational equations

START, RATES, TIME = np.array([10.0, 10.0]), np.array([1.1, 0.1, 0.1, 0.4]), 10.0
EXACT = np.array([[6.33285, 16.33123, -28.59391, 27.58254], [24.45878, 14.33824, -101.50118, 90.07591]])
"""∂(x, y)/∂p at t = 10, published to five digits."""


def rate(h, x, theta):
    p = theta["p"]
    return np.stack([p[0] * h[0] - p[1] * h[0] * h[1], p[2] * h[0] * h[1] - p[3] * h[1]])


def variational(end):
    """State and ∂h/∂p at `end`, by SciPy, from S' = (∂f/∂h) S + ∂f/∂p."""

    def augmented(t, z):
        h, slopes, p = z[:2], z[2:].reshape(2, 4), RATES
        x, y = h
        state = np.array([[p[0] - p[1] * y, -p[1] * x], [p[2] * y, p[2] * x - p[3]]])
        direct = np.array([[x, -x * y, 0, 0], [0, 0, x * y, -y]])
        return np.concatenate([rate(h, None, {"p": p}), (state @ slopes + direct).ravel()])

    z = solve_ivp(augmented, (0, end), np.append(START, np.zeros(8)), "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    return z[:2], z[2:].reshape(2, 4)


def after(steps, method, end=TIME, engine="numpy"):
    """State and influence after so many steps without a target, in which nothing is learned."""
    system = fg.System(rate, None, START, {"p": RATES}, dt=end / steps, method=method)
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), engine=engine)
    for _ in range(steps):
        learner.step()
    np.testing.assert_array_equal(learner.params["p"], RATES)
    return learner.state, learner.influence_matrix()


def test_exact_influence_through_rk4():
    state, slopes = variational(TIME)
    np.testing.assert_allclose(slopes, EXACT, atol=6e-6)
    found = after(1000, "rk4")
    np.testing.assert_allclose(found[0], state, rtol=1e-9)
    np.testing.assert_allclose(found[1], slopes, rtol=1e-8)
    np.testing.assert_allclose(found[1], EXACT, atol=6e-6)
    assert np.abs(after(1000, "euler")[1] - EXACT).max() > 1


def slope(method, counts, end=2.0):
    """Order of convergence of state and influence in the step, by a line through errors on log axes."""
    exact = variational(end)
    errors = [[np.abs(f - e).max() for f, e in zip(after(n, method, end), exact, strict=True)] for n in counts]
    return np.polyfit(np.log(1 / np.array(counts)), np.log(errors), 1)[0]


@pytest.mark.parametrize(("method", "counts"), [("rk4", (20, 30, 45, 70)), ("euler", (200, 300, 450, 700))])
def test_order_of_convergence(method, counts):
    np.testing.assert_allclose(slope(method, counts), ORDERS[method], atol=0.1)


@pytest.mark.parametrize("method", ["heun", "sdirk2"])
def test_order_two(method):
    np.testing.assert_allclose(slope(method, (80, 120, 180, 280)), 2, atol=0.1)


def test_a_wrong_coefficient_lowers_the_order(monkeypatch):
    """What slopes say of Heun's method with its second rate at the wrong place, and of rk4 with unequal weights."""

    def late(rate, h, dt):
        return h + (dt / 2) * (rate(h) + rate(h + 0.9 * dt * rate(h)))

    def uneven(rate, h, dt):
        first = rate(h)
        second = rate(h + (dt / 2) * first)
        third = rate(h + (dt / 2) * second)
        return h + (dt / 6) * (first + 1.9 * second + 2.1 * third + rate(h + dt * third))

    for method, order in ((late, 1), (uneven, 3)):
        monkeypatch.setitem(METHODS, "wrong", method)
        found = slope("wrong", (80, 120, 180, 280) if method is late else (20, 30, 45, 70))
        assert np.all(found < order + 0.3), found


# ---- stability


def growth(method, z):
    """R(z): what a step makes of h' = λ h with z = λ δt, for complex z by a rotation with a decay."""
    z = complex(z)
    rotation = np.array([[z.real, -z.imag], [z.imag, z.real]])
    made = step_map(method)(lambda h: rotation @ h, np.array([1.0, 0.0]), 1.0)
    return complex(*made)


@pytest.mark.parametrize("z", [0.3, -0.7, 0.2 + 0.5j, -1.3 - 0.4j])
def test_stability_functions(z):
    np.testing.assert_allclose(growth("euler", z), 1 + z)
    np.testing.assert_allclose(growth("heun", z), 1 + z + z**2 / 2)
    np.testing.assert_allclose(growth("rk4", z), 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24)
    gamma = 1 - np.sqrt(0.5)
    np.testing.assert_allclose(growth("sdirk2", z), (1 + (1 - 2 * gamma) * z) / (1 - gamma * z) ** 2)


def test_sdirk2_is_l_stable():
    """It damps whatever decays, completely in the limit; explicit methods do not."""
    for size in (0.1, 1.0, 10.0, 1e3, 1e6):
        for angle in np.linspace(np.pi / 2, np.pi, 7):
            assert abs(growth("sdirk2", size * np.exp(1j * angle))) <= 1 + 1e-12
    assert abs(growth("sdirk2", -1e8)) < 1e-7
    assert all(abs(growth(method, -3.0)) > 1 for method in ("euler", "heun", "rk4"))


# ---- what a step may be


@pytest.mark.parametrize("method", METHODS)
def test_a_step_that_is_an_input(method):
    """The same as with the number, and nothing at all where no time has gone by."""
    fixed = fg.System(rate, None, START, {"p": RATES}, dt=0.05, method=method)
    brought = fg.System(rate, None, START, {"p": RATES}, x={"elapsed": 1.0}, dt="elapsed", method=method)
    one, two = (fg.Learner(s, fg.RTRL(), fg.SGD(1e-4)) for s in (fixed, brought))
    for _ in range(3):
        one.step(None, START)
        two.step({"elapsed": 0.05}, START)
    np.testing.assert_allclose(two.state, one.state, rtol=1e-13)
    np.testing.assert_allclose(two.influence_matrix(), one.influence_matrix(), rtol=1e-12)
    before = two.state
    two.step({"elapsed": 0.0})
    np.testing.assert_array_equal(two.state, before)


def test_substeps_are_steps():
    whole = fg.System(rate, None, START, {"p": RATES}, dt=0.1, method="sdirk2", substeps=2)
    half = fg.System(rate, None, START, {"p": RATES}, dt=0.05, method="sdirk2")
    one, two = (fg.Learner(s, fg.RTRL(), fg.SGD(1e-4)) for s in (whole, half))
    one.step()
    two.step()
    two.step()
    np.testing.assert_allclose(one.state, two.state, rtol=1e-13)
    np.testing.assert_allclose(one.influence_matrix(), two.influence_matrix(), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_single_precision(method):
    system = fg.System(rate, None, START.astype(np.float32), {"p": RATES}, dt=0.05, method=method)
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-4))
    learner.step(None, START)
    assert learner.state.dtype == np.float32
    exact = step_map(method)(lambda h: rate(h, None, {"p": RATES}), START, 0.05)
    np.testing.assert_allclose(learner.state, exact, rtol=1e-6)


def test_structure_is_seen_through_implicit_steps():
    """Two pairs that do not know of each other, and a parameter for each."""

    def pairs(h, x, theta):
        a, b = theta["a"], theta["b"]
        return np.stack([h[1], -a[0] * h[0] ** 3 - h[1] * b, h[3], -a[1] * h[2] ** 3])

    system = fg.System(pairs, None, np.ones(4), {"a": np.ones(2), "b": 0.1}, dt=0.1, method="sdirk2")
    patterns = traced(system).patterns.transition
    block = np.ones((2, 2), bool)
    apart = np.zeros((2, 2), bool)
    np.testing.assert_array_equal(patterns.state.toarray(), np.block([[block, apart], [apart, block]]))
    np.testing.assert_array_equal(patterns.leaves["a"].toarray(), [[1, 0], [1, 0], [0, 1], [0, 1]])
    np.testing.assert_array_equal(patterns.leaves["b"].toarray(), [[1], [1], [0], [0]])


def test_an_unknown_method_is_refused():
    with pytest.raises(DeclarationError, match=r"not an integrator\. .*rk4"):
        fg.System(rate, None, START, {"p": RATES}, dt=0.1, method="rk5")


# ---- every way of learning, through an implicit step


def network(h, x, theta):
    return np.tanh(theta["W"] @ h + x[0] * theta["b"]) - 2.0 * h


WEIGHTS = np.array([[0.3, -0.2], [0.1, 0.4]])
ESTIMATORS = [
    fg.RTRL(),
    fg.SparseRTRL(),
    fg.SnAp(1),
    fg.Hybrid(3),
    fg.BPTT(),
    fg.TBPTT(3),
    fg.ARTBP(0.3),
    fg.UORO(rank=2),
    fg.NoBackTrack(),
    fg.ForwardGradient(),
]


def learned(estimator, engine):
    params = {"W": WEIGHTS, "b": np.array([0.2, 0.1])}
    system = fg.System(network, None, np.array([1.0, 0.5]), params, np.zeros(1), dt=0.3, method="sdirk2")
    learner = fg.Learner(system, estimator, fg.SGD(1e-2), engine=engine, seed=1)
    generator = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a step that another engine has to run would say so
        learner.run(generator.normal(size=(12, 1)), generator.normal(size=(12, 2)))
        learner.finish()
    return np.concatenate([np.ravel(v) for v in learner.params.values()])


def agree(estimator, engine):
    found, expected = learned(estimator, engine), learned(estimator, "numpy")
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
    assert np.abs(expected - np.append(WEIGHTS, [0.2, 0.1])).max() > 1e-4


@pytest.mark.quick("RTRL", "SnAp-1", "Hybrid*", "TBPTT*", "UORO", "ForwardGradient")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: e.name)
def test_autograd_agrees(estimator):
    agree(estimator, "eager")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    pytest.importorskip("llvmlite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FWDGRAD_CACHE", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.mark.usefixtures("compiled")
def test_the_compiled_engine_agrees():
    for found, expected in zip(after(50, "sdirk2", engine="compiled"), after(50, "sdirk2"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.DeadParameterWarning")  # a is multiplied by zero
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("engine", ["numpy", "eager", "compiled"])
def test_an_equation_without_a_solution_is_refused(engine):
    """At the very first step, with a singular Jacobian."""
    system = fg.System(lambda h, x, p: root(lambda z: 0 * p["a"] * z + h, h), None, np.ones(1), {"a": 1.0})
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), engine=engine)
    with pytest.raises(NonFiniteError, match=r"the state is not finite at step 0\.\nNewton's method does not converge"):
        learner.step()
    np.testing.assert_array_equal(learner.state, 1)


def _explosive(h, x, p):
    """dh/dt = a h²: from h, an implicit step of more than about 1/(4 a h) has no solution."""
    return p["a"] * h * h


@pytest.mark.parametrize(
    ("engine", "estimator"),
    [("numpy", fg.RTRL()), ("eager", fg.RTRL()), ("numpy", fg.TBPTT(4)), ("numpy", fg.BPTT())],
    ids=lambda v: getattr(v, "name", v),
)
def test_where_newton_does_not_converge_the_step_says_so(engine, estimator):
    """By the learner, in runs and single steps, with substeps; and nothing is lost."""
    system = fg.System(_explosive, None, np.ones(1), {"a": 1.0}, x={"dt": 0.1}, dt="dt", method="sdirk2", substeps=2)
    learner = fg.Learner(system, estimator, fg.SGD(1e-6), engine=engine)
    steps = np.array([0.1, 0.1, 0.1, 0.1, 5.0, 0.1])
    with pytest.raises(NonFiniteError, match=r"at step 4\.\nNewton's method does not .*'sdirk2'") as caught:
        learner.run({"dt": steps}, np.ones((6, 1)))
    assert caught.value.step == learner.steps == 4
    assert "substeps" in str(caught.value)
    assert str(caught.value).count("\n") < 5
    before = learner.state
    with pytest.raises(NonFiniteError, match="Newton's method does not converge for"):
        learner.step({"dt": 5.0}, None)
    np.testing.assert_array_equal(learner.state, before)
    with pytest.raises(NonFiniteError, match=r"simulate: .* at step 4\.\nNewton's method"):
        system.simulate({"dt": steps})
    with pytest.raises(NonFiniteError, match=r"simulate: .* at step 0\.\nNewton's method"):
        system.simulate({"dt": steps}, state=np.full(1, 100.0))


@pytest.mark.parametrize("engine", ["numpy", "eager"])
@pytest.mark.parametrize("method", ["euler", "heun", "rk4", "sdirk2"])
def test_no_time_between_samples(engine, method):
    """The state stays; what divides by the time is named, and what diverges for another reason is not."""
    like = {"dt": 1.0, "moved": 0.0}

    def made(rate):
        system = fg.System(rate, None, np.array([1.0, 0.0]), {"a": 1.0}, x=like, dt="dt", method=method)
        return fg.Learner(system, fg.RTRL(), fg.SGD(1e-6), engine=engine)

    still = made(lambda h, x, p: -p["a"] * h + x["moved"])
    still.step({"dt": 0.0, "moved": 1.0}, np.ones(2))
    np.testing.assert_array_equal(still.state, [1.0, 0.0])
    speed = made(lambda h, x, p: -p["a"] * h + x["moved"] / x["dt"])
    speed.step({"dt": 0.5, "moved": 1.0}, np.ones(2))
    with pytest.raises(NonFiniteError, match=r"at step 1\.\nThe time since the sample before, 'dt', is 0"):
        speed.step({"dt": 0.0, "moved": 1.0}, np.ones(2))
    with pytest.raises(NonFiniteError, match=r"simulate: .* at step 1\.\nThe time since the sample before"):
        speed.system.simulate({"dt": np.array([0.5, 0.0]), "moved": np.ones(2)})
    if method != "sdirk2":
        root_of = made(lambda h, x, p: np.sqrt(x["moved"]) * p["a"] * h)
        with pytest.raises(NonFiniteError, match="the state is not finite at step 0"):
            root_of.step({"dt": 0.5, "moved": -1.0}, np.ones(2))


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: e.name)
def test_the_compiled_engine_agrees_for_every_estimator(estimator):
    agree(estimator, "compiled")


def test_exact_estimators_are_exact_through_implicit_steps():
    """Forward and backward in time give the same gradient, where nothing is learned between."""
    for one, other in ((fg.RTRL(), fg.SparseRTRL()), (fg.BPTT(), fg.BPTT(checkpoints=True))):
        np.testing.assert_allclose(learned(one, "numpy"), learned(other, "numpy"), rtol=1e-12)


def test_the_derivatives_pass_the_check():
    params = {"W": WEIGHTS, "b": np.array([0.2, 0.1])}
    system = fg.System(network, None, np.array([1.0, 0.5]), params, np.zeros(1), dt=0.3, method="sdirk2")
    assert fg.check(system, steps=2).ok


# ---- stiff: Van der Pol with μ = 1000

MU = 1000.0


def van_der_pol(h, x, theta):
    return np.stack([h[1], theta["mu"] * (1 - h[0] ** 2) * h[1] - h[0]])


def stiff(method, dt, start=(2.0, 0.0), mu=MU, optimizer=None, engine="numpy", **arguments):
    system = fg.System(
        van_der_pol, lambda h, x, theta: h[:1], np.array(start), {"mu": mu}, dt=dt, method=method, **arguments
    )
    return fg.Learner(system, fg.RTRL(), optimizer or fg.SGD(1e-3), engine=engine)


def go(learner, steps):
    for _ in range(steps):
        learner.step()


def solution(times, start=(2.0, 0.0)):
    """(y, v, ∂y/∂μ, ∂v/∂μ) at some times."""

    def augmented(t, z):
        y, v, a, b = z
        return [v, MU * (1 - y * y) * v - y, b, (1 - y * y) * v - (2 * MU * y * v + 1) * a + MU * (1 - y * y) * b]

    return solve_ivp(
        augmented, (0, times[-1]), [*start, 0, 0], "Radau", rtol=1e-9, atol=1e-12, t_eval=times, max_step=times[-1] / 20
    ).y


def test_a_stiff_system_and_its_influence():
    """Steps of 1, a thousand times as long as what explicit methods can take."""
    learner = stiff("sdirk2", 1.0)
    go(learner, 300)
    exact = solution([300.0])[:, 0]
    np.testing.assert_allclose(learner.state, exact[:2], rtol=1e-3)
    np.testing.assert_allclose(learner.influence_matrix()[:, 0], exact[2:], rtol=5e-3)


@pytest.mark.parametrize("method", ["euler", "heun", "rk4"])
def test_explicit_methods_diverge_with_an_error(method):
    learner = stiff(method, 1.0)
    with pytest.raises(NonFiniteError, match=r"not finite at step \d+\.") as caught:
        go(learner, 300)
    assert learner.steps < 20
    assert f"at step {learner.steps}." in str(caught.value)
    assert np.isfinite(learner.state).all()


@pytest.mark.slow
def test_a_parameter_of_a_stiff_system_is_learned():
    """μ from noisy observations of y, in two passes; Euler does not get through the first."""
    times = np.arange(1.0, 401.0)
    noise = np.random.default_rng(0).normal(size=(400, 1))
    ys = solution(times)[0][:, None] + 1e-3 * noise
    filter_ = fg.InformationFilter("full", fisher="exact", prior=1e-5)
    arguments = {"mu": 900.0, "optimizer": filter_, "loss": fg.losses.SquaredError(1e-3)}
    learner = stiff("sdirk2", 1.0, **arguments)
    for _ in range(2):
        learner.reset_state()
        learner.run(None, ys)
    assert abs(learner.params["mu"] - MU) < 5
    with pytest.raises(NonFiniteError):
        stiff("euler", 1.0, **arguments).run(None, ys)


def test_through_the_jump():
    """y falls from 1 to −2 within thousandths of a unit of time: short steps get across, where Euler still diverges."""
    start = (1.001, -1.001 / (MU * (1.001**2 - 1)))
    learner = stiff("sdirk2", 1e-3, start)
    go(learner, 1500)
    np.testing.assert_allclose(learner.state[0], solution([1.5], start)[0, 0], atol=0.03)
    assert learner.state[0] < -1.9
    short = stiff("euler", 1e-3, start)
    with pytest.raises(NonFiniteError):
        go(short, 1500)


def test_steps_that_newton_cannot_make_end_in_an_error():
    """With steps of 1 there is no way across the jump: it says so there, and the learner is as it was before."""
    learner = stiff("sdirk2", 1.0, (1.05, -0.0105))
    with pytest.raises(NonFiniteError, match=r"not finite at step \d+\."):
        go(learner, 100)
    assert 1.0 < learner.state[0] < 1.05
    assert learner.steps < 50


def test_methods_are_plain_functions():
    """Of (rate, h, δt), for other uses than a System."""
    for method in (heun, rk4, sdirk2):
        np.testing.assert_allclose(method(lambda h: -h, np.ones(2), 1e-2), np.exp(-1e-2), rtol=1e-6)


def test_products_at_a_root_share_what_they_are_made_of(monkeypatch):
    """One inverse, and the residual evaluated once, whatever number of products and operands; anew at another point."""
    from fwdgrad.program import Abstract, Linearized, root, roots, trace

    made, evaluated, inv = [], [], roots.ops.inv
    monkeypatch.setattr(roots.ops, "inv", lambda a: made.append(1) or inv(a))
    vector = Abstract((2,), np.dtype(float))
    program = trace(lambda a, b: [root(lambda z: z * z * b - a, np.ones(2))], [vector, vector])
    made.clear()
    monkeypatch.setattr(roots, "Linearized", lambda *given: evaluated.append(1) or Linearized(*given))
    for count, a in enumerate((np.array([4.0, 9.0]), np.array([1.0, 16.0])), 1):
        linearized = Linearized(program, [a, np.ones(2)])
        for _ in range(2):
            (tangent,) = linearized.jvp({0: np.ones(2)})
            pulled, other = linearized.vjp([np.ones(2)], [0, 1])
            np.testing.assert_allclose(tangent, 0.5 / np.sqrt(a))
            np.testing.assert_allclose(pulled, 0.5 / np.sqrt(a))
            np.testing.assert_allclose(other, -0.5 * np.sqrt(a))
        assert len(made) == len(evaluated) == count


def written(form, n):
    """n equations z + … = 0: each unknown in two of them, or in all, or written as vectors."""
    w = np.random.default_rng(0).normal(size=(n, n)) / n

    def chain(z, a):
        flow = [0.0, *(a[k] * z[k] / (1.0 + z[k] ** 2) for k in range(n))]
        return np.stack([z[k] + flow[k + 1] - flow[k] for k in range(n)])

    def dense(z, a):
        total = sum(np.tanh(z[k]) for k in range(n))
        return np.stack([z[k] + a[k] * total for k in range(n)])

    return {"chain": chain, "dense": dense, "vectors": lambda z, a: z + np.tanh(w @ (a * z))}[form]


@pytest.mark.parametrize(
    ("form", "n", "in_a_loop"),
    [("chain", 2, 0), ("chain", 20, 0), ("dense", 8, 0), ("dense", 20, 1), ("vectors", 8, 0), ("vectors", 9, 1)],
)
def test_jacobians_of_newtons_method(form, n, in_a_loop):
    """However they are recorded, column by column or in a loop, they are the forward products of unit vectors."""
    from fwdgrad.program import Abstract, Linearized, jacobian, trace

    vector = Abstract((n,), np.dtype(float))
    residual = trace(lambda z, a: [written(form, n)(z, a)], [vector, vector])
    program = trace(lambda z, a: [jacobian(Linearized(residual, [z, a]))], [vector, vector])
    z, a = np.random.default_rng(1).uniform(0.5, 2.0, (2, n))
    point = Linearized(residual, [z, a])
    expected = np.stack([point.jvp({0: e})[0] for e in np.eye(n)], axis=1)
    np.testing.assert_allclose(program(z, a)[0], expected, rtol=1e-12)
    assert sum(i.operation.name == "scan" for i in program) == in_a_loop


def test_what_an_unknown_does_not_move_is_no_part_of_its_column():
    """√z at 0 has no slope, which is nothing to the other unknown: in its column, and in products."""
    from fwdgrad.program import Abstract, Linearized, trace

    vector = Abstract((2,), np.dtype(float))
    program = trace(lambda z: [np.stack([np.sqrt(z[0]), z[1] + 0.0 * z[0]])], [vector])
    columns = trace(lambda z: [Linearized(program, [z]).column(0, k)[0] for k in range(2)], [vector])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(columns(np.array([0.0, 1.0])), [[np.inf, 0.0], [0.0, 1.0]])
        point = Linearized(program, [np.array([0.0, 1.0])])
        np.testing.assert_array_equal(point.jvp({0: np.eye(2)[1]}), [[0.0, 1.0]])
        assert not np.isfinite(point.jvp({0: np.array([1e-300, 1.0])})[0][0])
