"""δt → 0: the discrete estimators against the variational equations, their own stochastic limit, and each other."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import DataError, DeclarationError, NonFiniteError, ShapeError, UnknownNameError
from fwdgrad.influence import RankOne
from fwdgrad.learning.step.kinds import LEARN, TRANSIT
from fwdgrad.limits import brownian_path, diffusion, learning, multilevel, per_time, refine, same_law
from fwdgrad.limits.brownian import BrownianPath
from fwdgrad.limits.diffusion import increments
from fwdgrad.limits.learners import Learners
from fwdgrad.limits.levels import Level, allocation, believed, next_counts
from fwdgrad.limits.multilevel import _wild
from fwdgrad.limits.reference import gradient_flow, tangent, variational
from fwdgrad.limits.replicas import Replicas
from fwdgrad.limits.slopes import slope
from fwdgrad.limits.timed import Timed, grid
from fwdgrad.limits.unscaled import Unscaled

# ---- the systems


def oscillator(method="euler", **options):
    """Van der Pol with two parameters."""

    def F(h, x, p):
        return np.stack([h[1], p["mu"] * (1 - h[0] ** 2) * h[1] - p["k"] * h[0]])

    options = {"state": np.array([1.0, 0.0]), "params": {"mu": 1.0, "k": 1.0}} | options
    return fg.System(F, lambda h, x, p: h[:1], dt=0.1, method=method, name="oscillator", **options)


def driven(method="euler", units=2, seed=0):
    """dh/dt = A h + B x: every row of A is a parameter."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(units, units)) / np.sqrt(units) - np.eye(units)
    params = {"A": A, "B": rng.normal(size=(units, 1))}
    return fg.System(
        lambda h, x, p: p["A"] @ h + p["B"] @ x, None, np.ones(units), params, np.zeros(1), dt=0.1, method=method
    )


def wave(t):
    return np.array([np.sin(3 * t)])


def relaxing(loss=None):
    """dh/dt = u − h, of which everything is known: G = 1 − e⁻ᵗ."""
    return fg.System(lambda h, x, p: p["u"] - h, None, np.zeros(2), {"u": np.array([1.0, -0.5])}, dt=0.1, loss=loss)


def ladder(horizon, *steps):
    return [horizon / n for n in steps]


# ---- the map with δt as an input


@pytest.mark.parametrize("method", ["euler", "heun", "rk4", "sdirk2"])
def test_the_map_is_the_systems_own_step(method):
    system = oscillator(method)
    timed = Timed(system)
    h = np.array([0.4, -1.2])
    for dt in (0.1, 0.03):
        expected = system.replace(dt=dt).transition(h, None, system.coordinates)
        np.testing.assert_allclose(
            timed.map.transition(h, {"dt": dt, "x": None}, system.coordinates), expected, rtol=1e-13
        )


def test_an_input_is_seen_at_the_methods_own_times():
    timed = Timed(driven("rk4"), wave)
    times = 0.5 + np.array([0.0, 0.05, 0.1])
    np.testing.assert_allclose(timed.inputs(0.1, 6)[1][5, :, 0], np.sin(3 * times), rtol=1e-13)
    np.testing.assert_allclose(Timed(driven("euler"), wave).inputs(0.1, 6)[1][5, :, 0], np.sin(3 * times[[0, 2]]))


def test_holding_an_input_through_the_step_would_be_of_order_one():
    """The negative control of the test below: RK4 by the system's own steps, with the input of their beginning."""
    system, T = driven("rk4"), 1.0
    h_end = variational(Timed(system, wave), [T]).states[0]
    errors = []
    for n in (32, 64, 128):
        held = system.replace(dt=T / n).simulate(np.stack([wave(T / n * k) for k in range(n)])).states[-1]
        errors.append(np.linalg.norm(held - h_end))
    assert slope(ladder(T, 32, 64, 128), errors) == pytest.approx(1, abs=0.1)


# ---- the limit of the mean


def test_the_variational_equations_against_closed_forms():
    times = np.array([0.3, 1.0, 4.0])
    found = variational(Timed(relaxing()), times)
    expected = (1 - np.exp(-times))[:, None, None] * np.eye(2)
    np.testing.assert_allclose(found.influence, expected, atol=1e-10)
    # ∂ e^{At} h(0) / ∂A_ij for A = −a I: t e^{−at} h_j(0) in row i
    plain = fg.System(lambda h, x, p: p["A"] @ h, None, np.array([1.0, 2.0]), {"A": -0.7 * np.eye(2)}, dt=0.1)
    G = variational(Timed(plain), times).influence.reshape(3, 2, 2, 2)
    for t, g in zip(times, G, strict=True):
        expected = np.einsum("ki,j->kij", np.eye(2), t * np.exp(-0.7 * t) * np.array([1.0, 2.0]))
        np.testing.assert_allclose(g, expected, atol=1e-10)


def test_jacobians_of_the_rate():
    f, J, b = tangent(Timed(oscillator()))(np.array([0.5, 2.0]), None, {"mu": 1.5, "k": 0.8})
    np.testing.assert_allclose(f, [2.0, 1.5 * 0.75 * 2 - 0.8 * 0.5])
    np.testing.assert_allclose(J, [[0, 1], [-1.5 * 2 * 0.5 * 2 - 0.8, 1.5 * 0.75]])
    np.testing.assert_allclose(b, [[0, 0], [0.75 * 2, -0.5]])


@pytest.mark.parametrize(("method", "order", "within"), [("euler", 1, 0.15), ("heun", 2, 0.15), ("rk4", 4, 0.4)])
@pytest.mark.parametrize("build", [relaxing, oscillator, driven])
@pytest.mark.covering
def test_weak_order(build, method, order, within):
    system = build().replace(method=method)
    x_of_t = wave if build is driven else None
    found = refine(system, x_of_t, 2.0, ladder(2.0, 32, 64, 128, 256), "rtrl")
    assert found.order == pytest.approx(order, abs=within)
    np.testing.assert_allclose(found["RTRL"].matrices[:, 0], found.exact, atol=1e-13)


# ---- replicas are the library's own estimators


@pytest.mark.parametrize(
    "estimator", [fg.UORO(), fg.NoBackTrack(signs="normal"), fg.UORO("probe"), fg.ForwardGradient()]
)
def test_a_replica_is_a_learner_that_sees_its_noise(estimator):
    system, dt, steps = driven("heun"), 0.05, 12
    replicas = Replicas(Timed(system, wave), estimator, 3, engine="numpy")
    stream = replicas.stream(np.random.default_rng(3))
    start, noise = stream.start(), stream.take(steps)
    G = replicas.dense(replicas.run(dt, steps, noise, start).influence)
    for r in range(3):
        learner = fg.Learner(replicas.timed.map, estimator, seed=0, engine="numpy")
        carry = learner._loop.carry
        if start:
            carry = learner._execution.initial(tuple(a[r] for a in start))
        for k in range(steps):
            x = [a[k] for a in replicas.timed.inputs(dt, steps)]
            carry = learner._execution.make(TRANSIT, carry, x, [a[k, r] for a in noise])[: len(carry)]
        learner._loop.carry = carry
        np.testing.assert_allclose(G[r], learner.influence_matrix(), rtol=1e-12, atol=1e-12)
    assert np.abs(G[0] - G[1]).max() > 1e-6


def test_learners_are_learners_with_rate_times_step():
    system, dt, steps = oscillator(), 0.05, 20
    y_of_t = lambda t: np.array([np.cos(t)])  # noqa: E731
    learners = Learners(Timed(system, None, y_of_t), fg.NoBackTrack(), lambda t: 0.3 / (1 + t), 2, "numpy")
    timed = learners.timed
    given, targets = timed.inputs(dt, steps), timed.targets(dt, steps)
    noise = learners.stream(np.random.default_rng(1)).take(steps)
    made = learners.params(learners.run(learners.start(), given, targets, noise), len(given[0]))
    for r in range(2):
        sgd = fg.SGD(lambda k: dt * 0.3 / (1 + dt * k))
        execution = fg.Learner(timed.map, fg.NoBackTrack(), sgd, engine="numpy")._execution
        carry = execution.initial()
        for k in range(steps):
            carry = execution.make(
                LEARN, carry, [a[k] for a in given], [a[k] for a in targets], [a[k, r] for a in noise]
            )
            carry = carry[: len(execution.initial())]
        for name, value in execution.unpack(carry).params.items():
            np.testing.assert_allclose(made[name][r], value, rtol=1e-12)
    assert made["mu"][0] != made["mu"][1]


def patterns(steps, units):
    """All sign patterns, as the noise of as many replicas."""
    every = np.array(list(itertools.product((-1.0, 1.0), repeat=steps * units)))
    return np.ascontiguousarray(every.reshape(-1, steps, units).transpose(1, 0, 2))


@pytest.mark.parametrize("rows", ["map", "rate"])
@pytest.mark.parametrize(
    "influence", [RankOne(), RankOne("unit"), Unscaled()], ids=["common", "unit", "without rescaling"]
)
def test_the_mean_over_all_signs_is_that_of_rtrl(influence, rows):
    timed, noise = Timed(driven("rk4"), wave), patterns(3, 2)
    replicas = Replicas(timed, fg.Estimator(influence), noise.shape[1], rows, "numpy")
    mean = replicas.dense(replicas.run(0.2, 3, [noise]).influence).mean(axis=0)
    means = {}
    for kind in ("map", "rate"):
        exact = Replicas(timed, fg.RTRL(), 1, kind, "numpy")
        means[kind] = exact.dense(exact.run(0.2, 3, []).influence)[0]
    np.testing.assert_allclose(mean, means[rows], atol=1e-12)
    assert (
        np.abs(mean - means["rate" if rows == "map" else "map"]).max() > 1e-3
    )  # which rows they are makes a difference


class Peeking(Unscaled):
    """The negative control: a scale for each unit that looks at the sign it multiplies."""

    def advance(self, state, lin, noise):
        rho = np.exp(0.4 * noise[0])
        made = super().advance(state, lin, (noise[0] / rho,))
        return made._replace(v=lin.jvp(state.v) + rho * noise[0])


def test_a_scale_that_looks_at_its_sign_is_biased():
    timed, noise = Timed(driven("rk4"), wave), patterns(3, 2)
    exact = Replicas(timed, fg.RTRL(), 1, engine="numpy")
    G = exact.dense(exact.run(0.2, 3, []).influence)[0]
    for influence, least, most in ((Unscaled(), 0, 1e-12), (Peeking(), 1e-2, np.inf)):
        replicas = Replicas(timed, fg.Estimator(influence), noise.shape[1], engine="numpy")
        mean = replicas.dense(replicas.run(0.2, 3, [noise]).influence).mean(axis=0)
        assert least <= np.abs(mean - G).max() <= most


def test_rows_of_the_rate_are_off_by_the_square_of_the_step():
    timed = Timed(oscillator("rk4"))
    h, dts, apart = np.array([0.7, -0.4]), np.array([0.1, 0.05, 0.025]), []
    for dt in dts:
        one = {rows: Replicas(timed, fg.RTRL(), 1, rows, "numpy") for rows in ("map", "rate")}
        timed.map.__dict__["initial"] = h
        made = {k: r.dense(r.run(dt, 1, []).influence)[0] for k, r in one.items()}
        apart.append(made["map"] - made["rate"])
    _, J, b = tangent(timed)(h, None, timed.params)
    f, near = tangent(timed)(h, None, timed.params)[0], 1e-6
    along = (tangent(timed)(h + near * f, None, timed.params)[2] - b) / near
    np.testing.assert_allclose(apart[-1] / dts[-1] ** 2, (J @ b + along) / 2, rtol=0.05, atol=0.02)
    assert slope(dts, [np.linalg.norm(a) for a in apart]) == pytest.approx(2, abs=0.1)
    found = refine(oscillator("rk4"), None, 2.0, ladder(2.0, 32, 64, 128), "rtrl", rows="rate")
    assert found.order == pytest.approx(1, abs=0.15)


# ---- Brownian paths


def test_a_refined_path_is_the_same_path():
    rng = np.random.default_rng(0)
    path = brownian_path(0.2, 5, (3, 2), rng)
    fine = path.refined(rng).refined(rng)
    np.testing.assert_allclose(fine.coarsened(4).increments, path.increments, atol=1e-15)
    assert (fine.dt, fine.increments.shape) == (0.05, (20, 3, 2))
    with pytest.raises(DeclarationError, match="divisor of the 20"):
        fine.coarsened(3)


def test_refining_is_a_rotation():
    """(ΔW, Z) ↦ the two halves: increments of the right variance, independent of each other."""

    class Units:
        def __init__(self):
            self.value = None

        def standard_normal(self, shape):
            return np.broadcast_to(self.value, shape)

    rng, columns = Units(), []
    for coarse, z in ((1.0, 0.0), (0.0, 1.0)):  # ΔW = √δt · coarse
        rng.value = z
        columns.append(BrownianPath(0.5, np.array([np.sqrt(0.5) * coarse])).refined(rng).increments)
    M = np.array(columns).T
    np.testing.assert_allclose(M @ M.T, 0.25 * np.eye(2), atol=1e-15)


# ---- what has a limit and what has not


@pytest.fixture(scope="module")
def signs():
    dts = ladder(2.0, 256, 512, 1024, 2048)
    return {
        rescale: refine(oscillator(), None, 2.0, dts, ["nobacktrack", "uoro"], 384, rescale=rescale)
        for rescale in (True, False)
    }


@pytest.mark.parametrize("label", ["NoBackTrack", "UORO"])
def test_with_rescaling_both_factors_move_as_brownian_paths(signs, label):
    e = signs[True][label]
    assert e.slopes == pytest.approx({"v": 1, "w": 1}, abs=0.05)
    assert e.growth == pytest.approx({"v": 0, "w": 0}, abs=0.1)
    assert slope(e.dts, e.variance) == pytest.approx(0, abs=0.25)


@pytest.mark.parametrize("label", ["NoBackTrack", "UORO"])
def test_without_rescaling_neither_factor_has_a_limit(signs, label):
    e = signs[False][label]
    assert e.slopes == pytest.approx({"v": 0, "w": 2}, abs=0.05)
    assert e.growth == pytest.approx({"v": -1, "w": 1}, abs=0.15)
    # their product has one all the same: a constant factor ρ in v and 1/ρ in w drops out of it
    assert slope(e.dts, e.variance) == pytest.approx(0, abs=0.25)


def test_the_mean_of_the_replicas_is_that_of_rtrl(signs):
    for found in signs.values():
        assert all(e.agrees for e in found.estimates.values())
        assert np.all(found["UORO"].agreement_interval[:, 1] < 1)


def test_a_bias_is_seen():
    found = refine(oscillator(), None, 2.0, ladder(2.0, 64, 128), {"none": fg.TBPTT(1), "SnAp": fg.SnAp(1)})
    assert not found["none"].agrees
    assert found["none"].agreement_interval[0, 0] == pytest.approx(
        np.linalg.norm(found.exact[0]) / np.linalg.norm(found.limit)
    )


def test_engines_threads_and_batches_change_nothing():
    def made(engine, n_jobs):
        dts = ladder(1.0, 16, 32)
        return refine(oscillator(), None, 1.0, dts, "uoro", 150, "gaussian", engine=engine, n_jobs=n_jobs)["UORO"]

    a, b, c = made("numpy", 1), made("compiled", 1), made("compiled", 2)
    np.testing.assert_allclose(a.matrices, b.matrices, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(b.matrices, c.matrices)
    assert a.matrices.shape == (2, 150, 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("rescale", [True, False])
def test_motion_of_the_factors_on_a_linear_system(rescale):
    found = refine(driven(), wave, 2.0, ladder(2.0, 512, 1024, 2048, 4096), "nobacktrack", 256, rescale=rescale)
    expected = {"v": 1, "w": 1} if rescale else {"v": 0, "w": 2}
    assert found["NoBackTrack"].slopes == pytest.approx(expected, abs=0.05)
    assert found["NoBackTrack"].agrees


@pytest.mark.slow
def test_strong_order_one_half():
    """The gauge makes the noise multiplicative: order ½, as for Euler–Maruyama in general."""
    dts = ladder(2.0, 512, 1024, 2048, 4096, 8192)
    found = refine(driven(units=4), wave, 2.0, dts, ["nobacktrack"], 1024, "gaussian")
    assert found["NoBackTrack"].strong_order == pytest.approx(0.5, abs=0.1)
    # without the gauge the noise is additive: order 1
    plain = refine(driven(units=4), wave, 2.0, dts[:3], ["nobacktrack"], 256, "gaussian", rescale=False)
    assert plain["NoBackTrack"].strong_order == pytest.approx(1, abs=0.1)


def test_a_scale_that_looks_at_the_noise_follows_no_path():
    """UORO's common scale depends on the direction of the noise, which an increment does not keep when it is halved."""
    found = refine(oscillator(), None, 2.0, ladder(2.0, 256, 512, 1024, 2048), "uoro", 384, "gaussian")
    assert abs(found["UORO"].strong_order) < 0.15


# ---- the limit in law


def test_what_the_limit_sees_of_the_noise():
    b = np.random.default_rng(0).normal(size=(3, 5))
    b[1] = 0.0
    for scale in ("unit", "common"):
        Q = increments(b, scale) @ increments(b, scale).T
        np.testing.assert_allclose(Q[:3, 3:], b, atol=1e-12)
    norms = np.linalg.norm(b, axis=1)
    Q = increments(b, "unit") @ increments(b, "unit").T
    np.testing.assert_allclose(Q[:3, :3], np.diag(norms), atol=1e-12)
    assert np.trace(Q[3:, 3:]) == pytest.approx(norms.sum())


def smallest(a, b):
    found = same_law(a, b)
    assert len(found) == 6  # four entries, their sum and the norm
    return min(found.values())


def test_two_samples_of_one_law_and_of_two():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 800, 2, 3))
    assert min(same_law(a, b).values()) > 0.01 / 8
    assert min(same_law(a, 1.3 * b).values()) < 1e-3
    with pytest.raises(ShapeError, match="one shape"):
        same_law(a, b[:, :, :2])


def test_the_discrete_law_is_that_of_the_diffusion(signs):
    """Two samples, six functionals each; the limit of the other scale is the negative control."""
    limits = {
        s: diffusion(oscillator(), None, 2.0, 1 / 256, 1500, scale=s, seed=5).matrices for s in ("unit", "common")
    }
    for label, own, other in (("NoBackTrack", "unit", "common"), ("UORO", "common", "unit")):
        matrices = signs[True][label].matrices[-1]
        assert smallest(matrices, limits[own]) > 0.01 / 6
        assert smallest(matrices, limits[other]) < 1e-6


def test_the_diffusion_has_the_mean_of_the_variational_equations():
    from fwdgrad.comparison.statistics import squared_norm_interval

    made = diffusion(driven(), wave, 1.0, 1 / 128, 2000, seed=1)
    G = variational(Timed(driven(), wave), [1.0]).influence[0]
    low, high = squared_norm_interval((made.matrices - G).reshape(2000, -1) / np.linalg.norm(G))[1]
    assert np.sqrt(low) < 0.02  # the weak error of the simulation
    assert np.sqrt(high) < 0.3
    assert squared_norm_interval((made.matrices - 2 * G).reshape(2000, -1) / np.linalg.norm(G))[1][0] > 0.25


# ---- learning


def test_learning_without_noise_becomes_the_gradient_flow():
    law = learning(
        oscillator(), None, lambda t: np.array([np.cos(1.2 * t)]), 3.0, ladder(3.0, 48, 96, 192), rate=0.05, replicas=64
    )
    assert law.order == pytest.approx(1, abs=0.15)
    assert law.params["mu"].shape == (3, 64, 24)
    assert np.all(law.spread("mu")[:, -1] > 0)
    np.testing.assert_array_equal(law.quantiles("mu", [0.5]), np.median(law.params["mu"], axis=1)[None])
    timed = Timed(oscillator(), None, lambda t: np.array([np.cos(1.2 * t)]))
    other = gradient_flow(timed, lambda t: 0.06, [3.0]).params["mu"]
    assert abs(law.noiseless["mu"][-1, -1] - other[0]) > 3 * abs(law.noiseless["mu"][-1, -1] - law.flow["mu"][-1])


def test_the_gradient_flow_in_closed_form():
    """With a linear loss the gradient G y does not depend on θ: θ(t) = θ(0) − η ∫ (1 − e⁻ˢ) y ds."""
    linear = relaxing(loss=lambda yhat, y: np.sum(yhat * y))
    found = gradient_flow(Timed(linear, None, lambda t: np.array([1.0, 2.0])), lambda t: 0.5, [3.0])
    moved = -0.5 * (3.0 - 1 + np.exp(-3.0)) * np.array([1.0, 2.0])  # −η ∫ G y dt
    np.testing.assert_allclose(found.params["u"][0], np.array([1.0, -0.5]) + moved, atol=1e-9)


# ---- multilevel Monte Carlo


def test_allocation_is_the_cheapest():
    variances, costs, error = np.array([2.0, 0.3, 0.01]), np.array([1.0, 6.0, 24.0]), 0.05
    best = allocation(variances, costs, error)
    assert np.sum(variances / best) == pytest.approx(error**2)
    for change in ([1.1, 1, 1], [1, 0.9, 1], [1, 1, 1.2]):
        other = best * change
        other *= np.sum(variances / other) / error**2  # the same error …
        assert other @ costs > best @ costs  # … for more


def linear_case(seed=0, tolerance=0.02):
    """A loss that is linear in h: E θ at each δt is that of RTRL, exactly."""
    system = relaxing(loss=lambda yhat, y: np.sum(yhat * y))
    y_of_t = lambda t: np.array([1.0, -2.0 * np.cos(t)])  # noqa: E731
    dts = ladder(2.0, 16, 32, 64, 128)
    found = multilevel(
        system, None, y_of_t, 2.0, dts, lambda p: p["u"].sum(axis=1), tolerance, rate=0.3, seed=seed, n_jobs=1
    )
    timed = Timed(system, None, y_of_t)
    exact = Learners(timed, fg.RTRL(), 0.3, 1, "numpy")
    u = exact.params(exact.run(exact.start(), timed.inputs(2 / 128, 128), timed.targets(2 / 128, 128), []), 128)["u"]
    return found, float(u.sum())


def test_multilevel_against_an_exact_mean():
    found, exact = linear_case()
    assert found.error <= found.tolerance * 1.05
    assert abs(found.estimate - exact) < 3.5 * found.error
    assert np.all(found.variances[1:] < found.variances[0] / 10)
    assert found.steps == found.replicas @ found.costs
    assert list(found.costs) == [16, 48, 96, 192]
    assert found.plain_steps == pytest.approx(found.plain_variance / found.error**2 * 128)


def test_without_a_common_path_nothing_would_be_saved():
    learners = Learners(
        Timed(relaxing(), None, lambda t: np.zeros(2)), fg.NoBackTrack(signs="normal"), 0.3, 64, "numpy"
    )
    level = Level(learners, 2.0, [16, 32], lambda p: p["u"].sum(axis=1))
    fine, coarse = level.sample(np.random.default_rng(0))
    difference, other = fine - coarse, level.sample(np.random.default_rng(1))[0]
    assert np.var(difference) < np.var(fine) / 5 < np.var(fine) < np.var(fine - other)


def test_few_samples_are_not_believed():
    """By hand: N alike, a level that is said to be much better than the one before, and one as it is measured."""
    rng = np.random.default_rng(0)
    plain, dts = rng.normal(size=500), np.array([0.4, 0.2, 0.1, 0.05])
    alike, small = np.zeros(100), 1e-6 * rng.normal(size=200)
    variances, errors = believed([plain, alike, small, 10 * plain], 2.0, dts)
    assert variances[0] == pytest.approx(np.var(plain, ddof=1))
    assert errors[0] == pytest.approx(np.sqrt(2 / 500), rel=0.3)  # that of a normal sample's variance, over σ²
    assert variances[1] == pytest.approx(0.03 * 2.0**2)
    assert variances[2] == pytest.approx(0.25 * variances[1])
    assert variances[3] == pytest.approx(100 * variances[0])


def test_as_many_replicas_as_the_error_needs():
    ones, costs = np.ones(2), np.array([1.0, 1.0])
    assert next_counts(100 * ones, ones, 0 * ones, costs, 0.2).tolist() == [100, 100]  # 50 each would do
    assert next_counts(100 * ones, ones, 0 * ones, costs, 0.1).round().tolist() == [200, 200]
    assert next_counts(100 * ones, ones, 0.5 * ones, costs, 0.1).tolist() == [
        400,
        400,
    ]  # √(2·2)/0.1² for a variance of 2
    assert next_counts(100 * ones, ones, 0 * ones, costs, 0.001).tolist() == [400, 400]  # not all at once
    # a variance that is known to a half: more of these, though the tolerance is reached
    assert next_counts(100 * ones, np.array([1.0, 0.01]), np.array([0.5, 0.0]), costs, 1.0).tolist() == [200, 100]


def test_heavy_tails_are_told():
    heavy = crude(lambda p: np.exp(4 * p["u"].sum(axis=1)), 100.0, 0)
    light = crude(lambda p: p["u"].sum(axis=1), 0.01, 0)
    assert heavy.dominance > 0.05 > light.dominance
    assert "one replica alone" in str(heavy)
    assert "one replica alone" not in str(light)


def test_samples_that_are_alike_up_to_rounding_are_alike():
    variances, _ = believed([np.full(320, 0.1), np.zeros(64)], 1.0, np.array([0.2, 0.1]))
    np.testing.assert_allclose(variances, [3 / 320, 3 / 64])


def test_levels_that_diverge():
    quiet = np.array([0.0, 1.0])
    assert _wild([quiet, quiet, quiet]) == 0
    assert _wild([1e6 * quiet, quiet, 2 * quiet]) == 1
    assert _wild([1e6 * quiet, 1e6 * quiet, quiet]) == 2
    assert _wild([1e200 * quiet, 1e200 * quiet, quiet]) == 2
    assert _wild([quiet, 1e6 * quiet, quiet]) == 2
    assert _wild([quiet, 0 * quiet]) == 0  # of an event that was not seen nothing is known


def test_a_functional_without_variance_ends(monkeypatch):
    """After fewer rounds than a user is given, each of which takes several times as many replicas as the one before."""
    monkeypatch.setattr(sys.modules["fwdgrad.limits.multilevel"], "ROUNDS", 3)
    with pytest.raises(DataError, match="no variance to speak of"):
        crude(lambda p: 1 / (p["u"][:, 0] - 0.8), 0.001, 0)


def bumpy(threshold):
    """φ that is 1 for a rare event."""
    return lambda p: (p["u"].sum(axis=1) > threshold) * 1.0


def crude(functional, tolerance, seed, pilot=64, dts=(16, 32, 64)):
    system = relaxing(loss=lambda yhat, y: np.sum(yhat * y))
    y_of_t = lambda t: np.array([1.0, -2.0 * np.cos(t)])  # noqa: E731
    return multilevel(
        system, None, y_of_t, 2.0, ladder(2.0, *dts), functional, tolerance, rate=0.3, seed=seed, n_jobs=1, pilot=pilot
    )


@pytest.mark.slow
def test_an_event_that_is_rare_is_in_the_interval():
    """P = 0.035: its interval holds it in 95 of 100, of which the pilot sees a few."""
    event = bumpy(1.0)
    reference = crude(event, 0.0004, 10_000, pilot=640)
    assert 0.03 < reference.estimate < 0.04
    apart = [crude(event, 0.006, seed) for seed in range(100)]
    off = np.array([abs(f.estimate - reference.estimate) / np.hypot(f.error, reference.error) for f in apart])
    assert abs(np.sum(off <= 1.96) - 95) <= 3 * np.sqrt(100 * 0.95 * 0.05)
    assert np.sum(off <= 0.98) < 85  # the negative control: half the interval is too short
    assert max(f.error for f in apart) < 1.1 * 0.006


def test_an_event_that_no_replica_saw():
    with pytest.raises(DataError, match=r"φ is 0 for all \d+ replicas.*\n.*pilot=640"):
        crude(bumpy(1e6), 0.01, 0)


@pytest.mark.slow
def test_levels_that_do_not_pay_are_left_out():
    """Stiff: Euler's steps of 1/2 and 1/4 grow, so that their learners are far away, or beyond all numbers."""
    stiff = fg.System(lambda h, x, p: p["u"] - 9.0 * h, None, np.ones(1), {"u": np.zeros(1)}, dt=0.1)
    y_of_t = lambda t: np.ones(1)  # noqa: E731

    def found(horizon, steps):
        return multilevel(
            stiff, None, y_of_t, horizon, ladder(horizon, *steps), lambda p: p["u"][:, 0], 0.002, rate=0.5, n_jobs=1
        )

    large, beyond = (6.0, (12, 24, 48, 96, 192)), (600.0, (1200, 2400, 4800))
    assert found(*large).steps > found(*large).replicas @ found(*large).costs  # with what was tried in vain
    for horizon, steps in (large, beyond):
        made = found(horizon, steps)
        assert len(made.left_out) >= 1
        assert max(made.left_out) == horizon / steps[0]
        assert 0 < made.error <= 0.0021
        assert abs(made.estimate) < 10
        assert "left out" in str(made)


VAN_DER_POL = (0.002, [6 / n for n in (192, 384, 768, 1536, 3072, 6144, 12288)], 0.05)


@pytest.mark.slow
def test_multilevel_is_five_times_cheaper_on_van_der_pol():
    tolerance, dts, rate = VAN_DER_POL
    found = multilevel(
        oscillator(), None, lambda t: np.array([2 * np.cos(t)]), 6.0, dts, lambda p: p["mu"], tolerance, rate=rate
    )
    assert found.error < 1.05 * tolerance
    assert found.saving > 5


@pytest.mark.slow
def test_multilevel_covers_in_95_of_100():
    """Its interval holds E φ at the smallest δt in 95 of 100 repeats, up to three standard deviations of that count."""
    apart = []
    for seed in range(100):
        found, exact = linear_case(seed, 0.01)
        apart.append(abs(found.estimate - exact) / found.error)
    held, half = np.sum(np.array(apart) <= 1.96), np.sum(np.array(apart) <= 0.98)
    assert abs(held - 95) <= 3 * np.sqrt(100 * 0.95 * 0.05)
    assert abs(half - 67) <= 3 * np.sqrt(100 * 0.67 * 0.33)  # the negative control: half the interval is too short


@pytest.mark.slow
def test_multilevel_covers_in_95_of_100_on_van_der_pol():
    """The same where no exact mean is known: against a run with a tenth of the tolerance."""
    dts = [3 / n for n in (96, 192, 384, 768)]

    def run(tolerance, seed):
        y_of_t = lambda t: np.array([np.cos(1.1 * t)])  # noqa: E731
        return multilevel(
            oscillator(), None, y_of_t, 3.0, dts, lambda p: p["mu"] ** 2, tolerance, rate=0.05, seed=seed, n_jobs=1
        )

    reference, held = run(0.0002, 1000), 0
    for seed in range(100):
        found = run(0.002, seed)
        held += abs(found.estimate - reference.estimate) <= 1.96 * np.hypot(found.error, reference.error)
    assert abs(held - 95) <= 3 * np.sqrt(100 * 0.95 * 0.05)


def test_single_precision():
    dts = ladder(1.0, 16, 32)
    found = refine(oscillator().astype(np.float32), None, 1.0, dts, "nobacktrack", 8, "gaussian", engine="numpy")
    double = refine(oscillator(), None, 1.0, dts, "nobacktrack", 8, "gaussian", engine="numpy")
    np.testing.assert_allclose(found["NoBackTrack"].matrices, double["NoBackTrack"].matrices, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(found.limit, double.limit)  # the reference is computed in double precision
    rounded = refine(oscillator("rk4").astype(np.float32), None, 1.0, ladder(1.0, 16, 32, 64, 128), "rtrl")
    assert rounded.errors[-1] < rounded.accuracy < 1e-4
    assert rounded.remarks == []


# ---- rates per unit of time


def learned(optimizer, dt, horizon=3.0):
    """θ of the oscillator at the horizon, with the exact influence."""
    steps = round(horizon / dt)
    learner = fg.Learner(oscillator().replace(dt=dt), fg.RTRL(), optimizer, engine="numpy")
    learner.run(None, np.cos(1.2 * dt * np.arange(1, steps + 1))[:, None])
    return np.array([learner.params["mu"], learner.params["k"]])


def halving(make):
    """By how much less θ changes when δt is halved once more, 2 for a first order; and by how much it still changes."""
    thetas = [learned(make(dt), dt) for dt in (1 / 32, 1 / 64, 1 / 128)]
    first, second = np.linalg.norm(np.diff(thetas, axis=0), axis=1)
    return first / second, second


OPTIMIZERS = {
    "SGD": fg.SGD(0.2),
    "SGD with a schedule": fg.SGD(fg.schedules.inverse_time(0.3, 0.5)),
    "filter": fg.InformationFilter("full", "exact", prior=2.0),
    "filter with decay": fg.InformationFilter("full", "exact", decay=0.3, inflation=0.2, prior=2.0),
    "filter with a schedule": fg.InformationFilter("diagonal", "exact", decay=lambda t: 0.5 / (1 + t), prior=2.0),
}


@pytest.mark.filterwarnings("ignore:after .*integration steps are too long")  # Euler's, by intent
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_halving_the_step_changes_little(name):
    ratio, change = halving(lambda dt: per_time(OPTIMIZERS[name], dt))
    assert ratio == pytest.approx(2, abs=0.25)
    assert change < 0.005


@pytest.mark.parametrize("name", ["SGD", "filter with decay"])
@pytest.mark.slow
def test_with_rates_per_step_halving_the_step_changes_much(name):
    per_step = per_time(OPTIMIZERS[name], 1 / 64)
    right = learned(per_step, 1 / 64) - learned(per_time(OPTIMIZERS[name], 1 / 128), 1 / 128)
    wrong = learned(per_step, 1 / 64) - learned(per_step, 1 / 128)
    assert np.abs(wrong).max() > 5 * np.abs(right).max()


def test_the_filter_in_time_is_kalman_and_bucys():
    """A constant seen in white noise of density σ²: precision Λ + t/σ², estimate y (t/σ²)/(Λ + t/σ²)."""
    sigma, prior, y, T = 0.5, 3.0, 2.0, 1.5
    for dt in (0.1, 0.01):
        system = fg.System(
            lambda h, x, p: 0.0 * h, lambda h, x, p: p["a"] + 0.0 * h, np.zeros(1), {"a": np.zeros(1)}, dt=dt,
            loss=fg.losses.SquaredError(sigma),
        )  # fmt: skip
        learner = fg.Learner(system, fg.RTRL(), per_time(fg.InformationFilter("full", "exact", prior=prior), dt))
        learner.run(None, np.full((round(T / dt), 1), y))
        information = T / sigma**2
        np.testing.assert_allclose(learner.params["a"], y * information / (prior + information), rtol=1e-10)
        np.testing.assert_allclose(learner.parameter_std()["a"], (prior + information) ** -0.5, rtol=1e-10)


@pytest.mark.filterwarnings("ignore:after .*integration steps are too long")  # Euler's, by intent
def test_a_checkpoint_takes_up_rates_per_time(tmp_path):
    system, optimizer = oscillator(), per_time(OPTIMIZERS["filter with decay"], 0.1)
    ys = np.cos(0.12 * np.arange(20))[:, None]
    whole, half = (fg.Learner(system, fg.NoBackTrack(), optimizer, engine="numpy") for _ in range(2))
    whole.run(None, ys)
    half.run(None, ys[:9])
    half.save(tmp_path / "run.npz")
    half = fg.Learner.load(tmp_path / "run.npz", system, optimizer=optimizer)
    half.run(None, ys[9:])
    assert dict(half.params) == dict(whole.params)


def test_per_time_says_what_it_cannot_do():
    for optimizer, text in ((fg.Adam(0.1), "Adam"), (fg.InformationFilter(), "outer")):
        with pytest.raises(DeclarationError, match=text):
            per_time(optimizer, 0.1)
    with pytest.raises(DeclarationError, match="positive"):
        per_time(fg.SGD(0.1), 0.0)


# ---- what is refused


def test_grid():
    assert grid(2.0, [0.5, 0.25, 0.125]).tolist() == [4, 8, 16]
    for dts in ([0.3], [], [0.5, 0.5], [-0.1], [float("nan")], [8.0, 4.0]):
        with pytest.raises(DeclarationError):
            grid(2.0, dts)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"system": fg.System(lambda h, x, p: p["a"] * h, None, np.ones(1), {"a": 0.5})}, DeclarationError, "rate"),
        ({"system": 3}, DeclarationError, "fg.System"),
        ({"x_of_t": wave}, DeclarationError, "autonomous"),
        ({"system": driven()}, DeclarationError, "function of the time"),
        ({"system": driven(), "x_of_t": 1.0}, DeclarationError, "interpolation"),
        ({"system": driven(), "x_of_t": lambda t: np.zeros(3)}, ShapeError, r"shape \(1,\)"),
        ({"system": driven("sdirk2"), "x_of_t": wave}, DeclarationError, "rk4"),
        ({"estimators": []}, DeclarationError, "at least one"),
        ({"estimators": [3]}, DeclarationError, "fg.UORO"),
        ({"estimators": "tbptt:4"}, DeclarationError, "windows of one step"),
        ({"estimators": ["uoro", "uoro"]}, DeclarationError, "two estimators"),
        ({"estimators": "forward-gradient", "noise": "gaussian"}, DeclarationError, "Brownian"),
        ({"estimators": "forward-gradient", "rescale": False}, DeclarationError, "rank one"),
        ({"estimators": "snap:1", "rows": "rate"}, DeclarationError, "rank-one"),
        ({"rows": "state"}, DeclarationError, "'map' or 'rate'"),
        ({"noise": "uniform"}, DeclarationError, "signs, gaussian"),
        ({"noise": "gaussian", "dts": [1 / 3, 1 / 4]}, DeclarationError, "multiples"),
        ({"replicas": 1}, DeclarationError, "at least 2"),
        ({"engine": "fortran"}, DeclarationError, "fortran"),
        ({"params": {"nu": 1.0}}, UnknownNameError, "nu"),
        ({"progress": 3}, DeclarationError, "progress"),
    ],
)
def test_refine_says_what_it_cannot_do(change, error, text):
    given = {"system": oscillator(), "x_of_t": None, "horizon": 1.0, "dts": [1 / 8], "replicas": 4} | change
    with pytest.raises(error, match=text):
        refine(**given)


def test_what_diverges_is_named():
    unstable = fg.System(lambda h, x, p: p["a"] * h**3, None, np.ones(1), {"a": 1.0}, dt=0.1)
    with pytest.raises(NonFiniteError, match=r"ends at t = 0\.[45]"):
        refine(unstable, None, 1.0, [1 / 8], "rtrl")
    stiff = fg.System(lambda h, x, p: -p["a"] * h**3, None, 20 * np.ones(1), {"a": 1.0}, dt=0.1)
    with pytest.raises(NonFiniteError, match="too long for the integrator"):
        refine(stiff, None, 1.0, [1 / 8], "rtrl")


def test_an_influence_that_grows_beyond_all_measure_is_named():
    stiff = fg.System(lambda h, x, p: p["a"] - 1000.0 * h, None, np.ones(1), {"a": 1.0}, dt=0.1, method="euler")
    with pytest.raises(NonFiniteError, match=r"UORO diverges with δt = 0\.01: "):
        refine(stiff, None, 1.0, ladder(1.0, 100, 200), "uoro", replicas=4, engine="numpy")


def test_whether_a_factor_has_a_limit_is_not_guessed(signs):
    from dataclasses import replace

    found = signs[True]
    e = found["UORO"]
    steep = replace(e, moved={k: v * e.dts for k, v in e.moved.items()})  # order 2, and yet of one size
    large = replace(e, sizes={k: v / e.dts for k, v in e.sizes.items()})  # moves as a Brownian path, and yet grows
    small = replace(e, sizes={k: v * e.dts for k, v in e.sizes.items()})
    verdicts = ((e, "v has a limit"), (steep, "cannot be told"), (large, "v has no limit"), (small, "v goes to 0"))
    for changed, verdict in verdicts:
        assert verdict in replace(found, estimates={"UORO": changed}).reading("UORO")
    rough = replace(found, exact=2 * found.exact, estimates={"UORO": large})
    assert "v has no limit" not in rough.reading("UORO")
    untested = replace(e, agreement_interval=np.full_like(e.agreement_interval, np.nan))
    assert "too few replicas to see a bias" in replace(found, estimates={"UORO": untested}).reading("UORO")


def test_a_zero_influence_is_named():
    idle = fg.System(lambda h, x, p: 0.0 * p["a"] * h, None, np.ones(1), {"a": 1.0}, dt=0.1)
    with pytest.raises(DataError, match="zero"):
        refine(idle, None, 1.0, [1 / 8], "rtrl")


def test_learning_and_multilevel_say_what_they_cannot_do():
    y = lambda t: np.zeros(1)  # noqa: E731
    with pytest.raises(DeclarationError, match="not random"):
        learning(oscillator(), None, y, 1.0, [1 / 8], "rtrl")
    with pytest.raises(DeclarationError, match="whole fraction"):
        multilevel(oscillator(), None, y, 1.0, [1 / 8], lambda p: p["mu"], 0.1)
    with pytest.raises(DeclarationError, match="tolerance"):
        multilevel(oscillator(), None, y, 1.0, [1 / 8, 1 / 16], lambda p: p["mu"], 0.0)
    with pytest.raises(DataError, match="one finite number a replica"):
        multilevel(oscillator(), None, y, 1.0, [1 / 8, 1 / 16], lambda p: 1.0, 0.1, engine="numpy", n_jobs=1)
    for functional, text in ((lambda p: p["nu"], "KeyError: 'nu'"), (lambda p: "a", "ValueError"), (3, "TypeError")):
        with pytest.raises(DataError, match=text):
            multilevel(oscillator(), None, y, 1.0, [1 / 8, 1 / 16], functional, 0.1, engine="numpy", n_jobs=1)
    with pytest.raises(NonFiniteError, match="φ is not finite for 64 of 64"):
        multilevel(oscillator(), None, y, 1.0, [1 / 8, 1 / 16], lambda p: p["mu"] / 0, 0.1, engine="numpy", n_jobs=1)
    with pytest.raises(DeclarationError, match="pilot"):
        multilevel(oscillator(), None, y, 1.0, [1 / 8, 1 / 16], lambda p: p["mu"], 0.1, pilot=1)
    with pytest.raises(ShapeError, match=r"shape \(1,\)"):
        learning(oscillator(), None, lambda t: "a", 1.0, [1 / 8], replicas=4)
    with pytest.raises(ShapeError, match=r"shape \(1,\)"):
        learning(oscillator(), None, lambda t: np.ones(1) * 1j, 1.0, [1 / 8], replicas=4)
    for rate in (
        lambda t: -1.0,
        lambda t: np.nan,
        lambda t: t.days,
        lambda t: 0.1 - t,
        lambda t: (0.5 - t) ** 0.5,
        0.0,
    ):
        with pytest.raises(DeclarationError, match=r"learning\(rate\)"):
            learning(oscillator(), None, y, 1.0, [1 / 8, 1 / 16], rate=rate, replicas=4)
    with pytest.raises(ShapeError, match=r"got None at t = 0\.125"):
        learning(oscillator(), None, lambda t: None, 1.0, [1 / 8], replicas=4)
    for call in (
        lambda: learning(oscillator(), None, y, 1.0, [1 / 8], replicas=4, n_jobs=0),
        lambda: multilevel(oscillator(), None, y, 1.0, [1 / 8, 1 / 16], lambda p: p["mu"], 0.1, n_jobs=-2),
        lambda: refine(oscillator(), None, 1.0, [1 / 8], "uoro", n_jobs=0),
    ):
        with pytest.raises(DeclarationError, match="n_jobs"):
            call()
    with pytest.raises(DeclarationError, match="y_of_t"):
        Timed(oscillator()).y(0.0)
    with pytest.raises(DeclarationError, match="unit, common"):
        diffusion(oscillator(), None, 1.0, 1 / 8, 4, scale="mixed")
    with pytest.raises(DeclarationError, match="at least 1, got 0"):
        diffusion(oscillator(), None, 1.0, 1 / 8, 0)
    with pytest.raises(DataError, match="finite"):
        same_law(np.full((4, 1, 1), np.nan), np.zeros((4, 1, 1)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_noise_at_the_start_alone_has_a_law_too(dtype):
    system, dts = relaxing().astype(dtype), ladder(1.0, 8, 16)
    law = learning(system, None, lambda t: np.ones(2), 1.0, dts, fg.ForwardGradient(), 0.2, 16)
    assert np.all(law.spread("u")[:, -1] > 0)
    assert refine(system, None, 1.0, dts, fg.ForwardGradient(), 16)["ForwardGradient"].random


def test_a_gradient_flow_that_gets_stuck_is_named(monkeypatch):
    from fwdgrad.limits import reference

    monkeypatch.setattr(reference, "MOST", 100)
    with pytest.raises(NonFiniteError, match="not come further than t = "):
        learning(oscillator(), None, lambda t: np.ones(1), 3.0, [1 / 8], replicas=4)


def test_a_rate_may_go_to_zero():
    law = learning(
        oscillator(), None, lambda t: np.ones(1), 2.0, [1 / 8, 1 / 16], rate=lambda t: 0.1 * np.maximum(0, 1 - t),
        replicas=4, engine="numpy",
    )  # fmt: skip
    mu = law.noiseless["mu"]
    assert np.all(np.ptp(mu[:, law.times >= 1], axis=1) == 0)
    assert np.all(np.ptp(mu, axis=1) > 0)


def test_parameters_that_the_rate_does_not_use():
    output_only = fg.System(lambda h, x, p: -h, lambda h, x, p: p["a"] * h, np.ones(1), {"a": 1.0}, dt=0.1)
    with pytest.raises(DataError, match="no learned parameter is in the rate"):
        refine(output_only, None, 1.0, [1 / 8], "rtrl")


def test_what_is_not_learned_has_no_law():
    mixed = fg.System(lambda h, x, p: p["a"] - p["b"] * h, None, np.ones(1), {"a": 1.0, "b": fg.fixed(2.0)}, dt=0.1)
    law = learning(mixed, None, lambda t: np.ones(1), 1.0, [1 / 8, 1 / 16], replicas=4, engine="numpy")
    assert list(law.params) == list(law.flow) == list(law.noiseless) == ["a"]


def test_remarks_tell_when_the_numbers_mean_little():
    good = refine(oscillator(), None, 1.0, ladder(1.0, 32, 64, 128), "rtrl")
    assert "whose order does not show" in str(refine(oscillator(), None, 1.0, [1 / 32], "rtrl"))
    assert good.remarks == []
    assert " ! " not in str(good)
    stiff = fg.System(lambda h, x, p: -p["a"] * h, None, np.ones(1), {"a": 20.0}, dt=0.1)
    wild = refine(stiff, None, 1.0, ladder(1.0, 4, 8, 16, 32), "rtrl")
    assert "is not a power of δt" in " ".join(wild.remarks)
    assert "of what it was on the way" in " ".join(wild.remarks)
    assert str(wild).count("  ! ") == 2


# ---- what is shown


@pytest.mark.slow
def test_report_and_pictures(signs, tmp_path):
    text = str(signs[True])
    assert "of order 1.0" in text
    assert "v has a limit" in text
    for label in ("NoBackTrack", "UORO"):
        assert "v has no limit" in signs[False].reading(label)
        assert "w goes to 0" in signs[False].reading(label)
    few = refine(oscillator(), None, 2.0, ladder(2.0, 64, 128), [fg.ForwardGradient(), "uoro"], 8, engine="numpy")
    assert " limit" not in few.reading("ForwardGradient")
    assert "whether v has a limit cannot be told with so few replicas or δt" in few.reading("UORO")
    signs[True].plot(tmp_path / "ladder.png")
    with pytest.raises(UnknownNameError, match="UORO"):
        signs[True]["uoro"]
    law = learning(relaxing(), None, lambda t: np.zeros(2), 1.0, ladder(1.0, 8, 16), replicas=8, engine="numpy")
    assert "gradient flow" in str(law)
    law.plot(tmp_path / "law.svg")
    assert {p.name for p in tmp_path.iterdir()} == {"ladder.png", "law.svg"}


@pytest.mark.slow
def test_the_whole_study_from_the_command_line(tmp_path, capsys):
    from fwdgrad.cli import main

    assert main(["refine", "van-der-pol", "--quiet", "--plot", str(tmp_path / "study.png")]) == 0
    said = capsys.readouterr().out
    assert "Multilevel Monte Carlo for mu" in said
    assert (tmp_path / "study.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_study_whose_learning_diverges_is_shown_all_the_same(tmp_path, capsys):
    from fwdgrad.cli import main

    few = ["refine", "van-der-pol", "--quiet", "--finest", "5", "--replicas", "8", "--engine", "numpy"]
    assert main([*few, "--rate", "100", "--plot", str(tmp_path / "study.png")]) == 2
    said = capsys.readouterr()
    assert "Learning at the rate 100 diverges" in said.out
    assert "not finite" in said.err
    assert (tmp_path / "study.png").stat().st_size > 10_000
    assert main([*few, "--estimators", "rtrl", "--plot", str(tmp_path / "exact.png")]) == 0
    assert "that is all" in capsys.readouterr().out
    assert (tmp_path / "exact.png").stat().st_size > 10_000
    assert main([*few, "--wave", "1"]) == 2
    assert "no input" in capsys.readouterr().err
    assert main(["refine", "heat-rod", *few[2:]]) == 2
    assert "an input that moves the state" in capsys.readouterr().err


def test_an_error_of_a_worker_arrives_whole():
    import pickle

    error = NonFiniteError("of a worker", step=3, quantity="the loss")
    error.history = "before"
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.step, copied.quantity, copied.history) == ("of a worker", 3, "the loss", "before")


def test_the_command_refuses_a_map(capsys):
    from fwdgrad.cli import main

    assert main(["refine", "influence-balancing"]) == 2
    assert "not declared by a rate" in capsys.readouterr().err


DECAY = fg.System(lambda h, x, p: p["u"] - p["k"] * h, None, np.zeros(1), {"u": np.ones(1), "k": 1.0}, dt=0.1)
STUDIES = {
    "refine": lambda **how: fg.refine(DECAY, None, 1.0, [0.25, 0.125], "uoro", replicas=6, engine="numpy", **how),
    "learning": lambda **how: learning(
        DECAY, None, lambda t: np.ones(1), 1.0, [0.25, 0.125], "uoro", replicas=3, engine="numpy", **how
    ),
    "diffusion": lambda **how: diffusion(DECAY, None, 1.0, 1 / 6, 4, **how),
}
SOLVERS = {"refine": "ladder.variational", "learning": "learning.gradient_flow", "diffusion": "diffusion.variational"}


@pytest.mark.parametrize("name", STUDIES)
def test_the_bar_stands_before_anything_is_solved(name, monkeypatch, capsys):
    """Nothing long comes first: the limit is computed with the bar on the screen."""
    shown = []

    def stopped(*_):
        shown.append(capsys.readouterr().err)
        raise KeyboardInterrupt

    module, solver = SOLVERS[name].split(".")
    monkeypatch.setattr(sys.modules[f"fwdgrad.limits.{module}"], solver, stopped)
    with pytest.raises(KeyboardInterrupt):
        STUDIES[name](progress=True)
    assert "0/6" in shown[0]


@pytest.mark.parametrize("name", ["learning", "diffusion"])
def test_studies_tell_how_far_they_are(name):
    seen = []
    STUDIES[name](progress=lambda *done: seen.append(done))
    assert seen == {"learning": [(3, 6), (6, 6)], "diffusion": [(k, 6) for k in range(1, 7)]}[name]
    with pytest.raises(DeclarationError, match=rf"{name}\(progress"):
        STUDIES[name](progress="yes")


def expected(monkeypatch, study):
    """The seconds that a study announces, before it does anything."""
    seen = []

    def stopped(self, seconds, where):
        seen.append(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr("fwdgrad.support.notice.Progress.expect", stopped)
    with pytest.raises(KeyboardInterrupt):
        study()
    return seen[0]


def test_what_studies_take_on_the_numpy_engine_is_estimated(monkeypatch):
    """Batches of replicas, steps, estimators: all of it counts; no clock is asked."""

    def refined(count, dts, names):
        return lambda: fg.refine(DECAY, None, 1.0, dts, names, replicas=count, engine="numpy")

    def learned(count, dts):
        return lambda: learning(DECAY, None, lambda t: np.ones(1), 1.0, dts, "uoro", replicas=count, engine="numpy")

    few, more = [1 / 8, 1 / 16], [1 / 16, 1 / 32]
    once = expected(monkeypatch, refined(128, few, "uoro"))
    assert once > 0
    assert expected(monkeypatch, refined(128, more, "uoro")) == pytest.approx(2 * once)
    assert 1.5 * once < expected(monkeypatch, refined(256, few, "uoro")) < 2 * once  # RTRL is run once
    assert once < expected(monkeypatch, refined(128, few, ["uoro", "nobacktrack"]))
    once = expected(monkeypatch, learned(64, few))
    assert once > 0
    assert expected(monkeypatch, learned(64, more)) == pytest.approx(2 * once)
    assert 1.5 * once < expected(monkeypatch, learned(128, few)) < 2 * once


def test_nothing_is_announced_of_steps_that_are_compiled(monkeypatch):
    """Only RTRL's share, which is not."""
    pytest.importorskip("llvmlite")
    alone = expected(monkeypatch, lambda: fg.refine(DECAY, None, 1.0, [0.5, 0.25], "rtrl", engine="numpy"))
    monkeypatch.setattr("fwdgrad.engines.compiled_engine.compile_stream", lambda *_: None)
    both = expected(monkeypatch, lambda: fg.refine(DECAY, None, 1.0, [0.5, 0.25], ["rtrl", "uoro"], engine="auto"))
    assert both == alone > 0


def test_an_estimate_is_said_beside_the_bar_or_in_a_line(capsys):
    from fwdgrad.support.notice import LONG, Progress

    for progress in (True, False, lambda *_: None):
        with Progress("refine", progress, 3) as shown:
            capsys.readouterr()
            shown.expect(LONG - 1, "on the NumPy engine")
            assert "takes" not in capsys.readouterr().err
            shown.expect(200.0, "on the NumPy engine")
            said = capsys.readouterr().err
        assert "takes about 3.3 min on the NumPy engine" in said
        assert ("fwdgrad: refine takes" in said) == (progress is not True)


@pytest.mark.parametrize(
    ("seconds", "said"), [(7, "7 s"), (89, "89 s"), (91, "1.5 min"), (3600, "60 min"), (9000, "2.5 h"), (1e6, "278 h")]
)
def test_times_in_words(seconds, said):
    from fwdgrad.support.notice import _duration

    assert _duration(seconds) == said
