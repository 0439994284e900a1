"""Band matrices, and equations whose Jacobian is one: against dense ones, on every engine, with their derivatives."""

import numpy as np
import pytest
import scipy.integrate

import fwdgrad as fg
from fwdgrad.engines.compiled import CompiledEngine
from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import SingularMatrixError
from fwdgrad.program import Abstract, Linearized, bands, root, trace
from fwdgrad.program import operations as ops
from fwdgrad.program.bands import band_of
from fwdgrad.program.rules import trails_of
from fwdgrad.structure.patterns import Dependence

SHAPES = [(9, 1, 1), (9, 2, 1), (9, 0, 3), (9, 3, 0), (9, 0, 0), (40, 5, 7), (1, 0, 0)]


def banded(n, lower, upper, seed=0):
    """A matrix that needs its rows exchanged, and the band that it is."""
    rng = np.random.default_rng(seed)
    a = np.triu(np.tril(rng.normal(size=(n, n)), upper), -lower) + (0.0 if lower and upper else 3 * np.eye(n))
    band = np.zeros((n, 2 * lower + upper + 1))
    for i, j in zip(*np.nonzero(a), strict=True):
        band[j, lower + upper + i - j] = a[i, j]
    return a, band, rng.normal(size=n)


def solution(lower, upper, transposed):
    def function(band, b):
        factors = ops.band_factors(band, lower=lower, upper=upper)
        return [ops.band_solve(band, factors, b, lower=lower, upper=upper, transposed=transposed)]

    return function


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("n", "lower", "upper"), SHAPES)
def test_a_band_is_solved_as_the_matrix(n, lower, upper, transposed):
    a, band, b = banded(n, lower, upper)
    expected = np.linalg.solve(a.T if transposed else a, b)
    program = trace(solution(lower, upper, transposed), [Abstract.of(band), Abstract.of(b)])
    for run in (program, compile_program(program)):
        np.testing.assert_allclose(run(band, b)[0], expected, rtol=1e-9, atol=1e-11)
    other = np.linalg.solve(a if transposed else a.T, b)
    assert n == 1 or lower == upper == 0 or np.max(np.abs(other - expected)) > 1e-3


def test_the_compiled_engine_solves_the_same():
    """Every shape in one program, and rows that change places."""
    cases = [(*s, t, *banded(*s)[1:]) for s in SHAPES for t in (False, True)]

    def every(*arrays):
        pairs = zip(arrays[::2], arrays[1::2], strict=True)
        return [solution(*c[1:4])(*pair)[0] for c, pair in zip(cases, pairs, strict=True)]

    arrays = [a for c in cases for a in c[4:]]
    program = trace(every, [Abstract.of(a) for a in arrays])
    for got, expected in zip(CompiledEngine().compile(program)(*arrays), program(*arrays), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("transposed", [False, True])
def test_derivatives_are_those_of_the_solution(transposed):
    """Forward and backward products against each other and differences, in the band and the right-hand side; twice."""
    _, band, b = banded(7, 2, 1)
    rng = np.random.default_rng(1)
    shapes = [Abstract.of(band), Abstract.of(b)]
    inside = np.array([[0 <= j + d - 3 < 7 for d in range(6)] for j in range(7)])
    moved, direction, cotangent = rng.normal(size=band.shape) * inside, rng.normal(size=7), rng.normal(size=7)
    program = trace(solution(2, 1, transposed), shapes)

    def product(band, b):
        return [Linearized(program, [band, b]).jvp({0: moved, 1: direction})[0]]

    twice = trace(product, shapes)
    for function in (program, twice):
        point = Linearized(function, [band, b])
        (tangent,) = point.jvp({0: moved, 1: direction})
        ahead, behind = (function(band + s * moved, b + s * direction)[0] for s in (1e-6, -1e-6))
        np.testing.assert_allclose(tangent, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-6)
        g_band, g_b = point.vjp([cotangent], [0, 1])
        assert abs(np.sum(g_band * moved) + g_b @ direction - cotangent @ tangent) < 1e-9 * np.abs(tangent).max()


def test_a_matrix_without_an_inverse_is_refused_by_name():
    _, band, b = banded(9, 1, 1)
    band[4] = 0.0
    program = trace(solution(1, 1, False), [Abstract.of(band), Abstract.of(b)])
    with pytest.raises(SingularMatrixError, match="no inverse"):
        program(band, b)


# ---- equations


def chain(n, order=None):
    """Neighbours act on each other, in some order; the state's own derivative, a parameter and a vector."""
    place = np.arange(n) if order is None else order

    def function(h, k):
        def residual(z):
            line = z[place]
            flow = k * (line[1:] - line[:-1])
            change = np.concatenate([flow, np.zeros(1)]) - np.concatenate([np.zeros(1), flow])
            made = line - h[place] - 0.3 * change + 0.1 * line**3
            return made[np.argsort(place)]

        return [root(residual, h)]

    return function


ORDERS = {"in order": None, "mixed up": np.random.default_rng(3).permutation(24)}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_a_band_changes_nothing(order, monkeypatch):
    """Solution and products of both kinds, against the dense way."""
    h, k = np.random.default_rng(0).normal(size=24), np.array(2.0)
    shapes = [Abstract.of(h), Abstract.of(k)]
    program = trace(chain(24, order), shapes)
    (solved,) = [i for i in program if i.operation.name == "root"]
    assert sum(solved.params["band"]) <= 4
    monkeypatch.setattr(bands, "LEAST", 10**6)
    dense = trace(chain(24, order), shapes)
    assert [i.params["band"] for i in dense if i.operation.name == "root"] == [None]
    here, there = Linearized(program, [h, k]), Linearized(dense, [h, k])
    direction = {0: h[::-1].copy(), 1: np.array(1.0)}
    np.testing.assert_allclose(here.value[0], there.value[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(compile_program(program)(h, k)[0], here.value[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(here.jvp(direction)[0], there.jvp(direction)[0], rtol=0, atol=1e-12)
    for one, other in zip(here.vjp([h], [0, 1]), there.vjp([h], [0, 1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    assert np.max(np.abs(here.jvp({0: h})[0] - there.jvp(direction)[0])) > 1e-2


def test_where_a_band_is_no_help_the_jacobian_is_a_matrix():
    def coupled(z, mean):
        return [z - (np.mean(z) if mean else z[::-1])]

    vector = [Abstract((24,), np.dtype(float))]
    assert band_of(trace(lambda z: coupled(z, True), vector)) is None
    assert band_of(trace(lambda z: [z - np.roll(z, 1)], vector)).order is not None  # a ring, folded
    assert band_of(trace(lambda z: [z * z], [Abstract((bands.LEAST - 1,), np.dtype(float))])) is None


def test_what_reaches_each_other_has_one_row_of_sources():
    """A pattern of n² entries is never written down, whatever comes of the solution."""
    n = 3000
    program = trace(
        lambda h, k: chain(n)(chain(n)(h, k)[0] + h, k), [Abstract((n,), np.dtype(float)), Abstract.of(1.0)]
    )
    starts = [Dependence.identity(0, n, n + 1), Dependence.identity(n, 1, n + 1)]
    (trail,), _ = trails_of(program, starts, np.zeros(n + 1, bool))
    assert trail.depends.rows.count == 1
    assert len(trail.depends.rows.sources) == n + 1


def reaction(n, method, dt):
    """A front that travels through cells: stiff, not linear, two parameters."""

    def F(h, x, p):
        wide = np.concatenate([np.ones(1), h, h[-1:]])
        return p["D"] * (wide[2:] - 2 * h + wide[:-2]) + p["r"] * h * (1 - h)

    return fg.System(F, lambda h, x, p: h, np.zeros(n), {"D": 4.0, "r": 1.0}, dt=dt, method=method)


def influence(system, steps, engine="numpy"):
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), engine=engine)
    for _ in range(steps):
        learner.step()
    return learner.state, learner.influence_matrix()


def test_an_implicit_step_with_influence_is_the_dense_one(monkeypatch):
    made = {engine: influence(reaction(24, "sdirk2", 0.5), 3, engine) for engine in ("numpy", "compiled")}
    monkeypatch.setattr(bands, "LEAST", 10**6)
    expected = influence(reaction(24, "sdirk2", 0.5), 3)
    for state, matrix in made.values():
        np.testing.assert_allclose(state, expected[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(matrix, expected[1], rtol=0, atol=1e-10)
    assert np.abs(expected[1]).max() > 0.1


def test_the_influence_is_scipys():
    """Against Radau on the variational equations: what is left falls with the square of the step."""
    n, p = 20, np.array([4.0, 1.0])

    def both(_, y):
        h, S = y[:n], y[n:].reshape(n, 2)
        wide = np.concatenate([np.ones(1), h, h[-1:]])
        spread = wide[2:] - 2 * h + wide[:-2]
        wider = np.concatenate([np.zeros((1, 2)), S, S[-1:]])
        moved = p[0] * (wider[2:] - 2 * S + wider[:-2]) + p[1] * ((1 - 2 * h)[:, None] * S)
        moved += np.stack([spread, h * (1 - h)], axis=1)
        return np.concatenate([p[0] * spread + p[1] * h * (1 - h), moved.ravel()])

    exact = scipy.integrate.solve_ivp(both, (0, 1.0), np.zeros(3 * n), method="Radau", rtol=1e-8, atol=1e-10).y[:, -1]
    errors = []
    for steps in (16, 32):
        state, matrix = influence(reaction(n, "sdirk2", 1.0 / steps), steps)
        errors.append([np.abs(state - exact[:n]).max(), np.abs(matrix - exact[n:].reshape(n, 2)).max()])
    assert np.all(np.array(errors[1]) < 1e-3)
    np.testing.assert_allclose(np.log2(np.array(errors[0]) / errors[1]), 2, atol=0.4)
    assert np.abs(exact[n:]).max() > 0.1
