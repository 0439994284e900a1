"""Cholesky factors that are updated, and triangular solves: against dense matrices, traced, and their derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import TracingError
from fwdgrad.program import Abstract, Linearized, trace
from fwdgrad.program import operations as ops

rng = np.random.default_rng(0)


def factor(*shape: int) -> np.ndarray:
    """Upper triangular, positive on the diagonal."""
    r = np.triu(rng.normal(size=shape), 1)
    return r + np.eye(shape[-1]) * rng.uniform(0.5, 2.0, shape[-1])


CASES = [((3, 3), (1, 3)), ((3, 3), (5, 3)), ((1, 1), (2, 1)), ((2, 3, 3), (2, 4, 3)), ((20, 20), (1, 20))]


def compiled(function, *arrays):
    program = trace(lambda *a: [function(*a)], [Abstract.of(a) for a in arrays])
    assert [program(*arrays)[0].shape] == [program.outputs[0].shape]
    return program, compile_program(program)


def gram(x):
    return np.swapaxes(x, -1, -2) @ x


@pytest.mark.parametrize(("r_shape", "b_shape"), CASES)
def test_an_update_is_the_cholesky_factor_of_the_sum(r_shape, b_shape):
    r, b = factor(*r_shape), rng.normal(size=b_shape)
    made = ops.cholesky_update(r, b)
    expected = np.swapaxes(np.linalg.cholesky(gram(r) + gram(b)), -1, -2)
    np.testing.assert_allclose(made, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(made, np.triu(made))
    assert np.max(np.abs(made - r)) > 1e-3
    _, run = compiled(ops.cholesky_update, r, b)
    np.testing.assert_array_equal(run(r, b)[0], made)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("r_shape", "b_shape"), CASES)
def test_a_triangular_solve_solves(r_shape, b_shape, transposed):
    r, b = factor(*r_shape), np.swapaxes(rng.normal(size=b_shape), -1, -2)
    x = ops.solve_triangular(r, b, transposed=transposed)
    left = np.swapaxes(r, -1, -2) if transposed else r
    np.testing.assert_allclose(left @ x, b, rtol=1e-9, atol=1e-10)
    _, run = compiled(lambda p, q: ops.solve_triangular(p, q, transposed=transposed), r, b)
    np.testing.assert_array_equal(run(r, b)[0], x)


@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
def test_the_compiled_engine_computes_the_same(dtype):
    """All in one program: tiny, zero and huge rows; what cannot be solved, and what is not finite."""
    pytest.importorskip("llvmlite")
    from fwdgrad.engines import compiled_engine

    r, rows = factor(4, 4), rng.normal(size=(2, 4))
    tiny, small, large = (1e-320, 1e-170, 1e150) if dtype == np.float64 else (1e-44, 1e-20, 1e15)
    special = [(r, scale * rows) for scale in (0.0, small, tiny, large)]
    special += [(r, rows * [small, 1.0, 0.0, 1e8]), (1e-6 * np.eye(4), 1e3 * rows), (np.zeros((4, 4)), rows)]
    special += [(np.diag([1.0, 0.0, 2.0, 1.0]), rows), (r, np.full((2, 4), np.nan)), (-r, rows)]
    stack = [np.stack(part) for part in zip(*special, strict=True)]
    pairs = [[a.astype(dtype) for a in pair] for pair in (stack, (factor(20, 20), rng.normal(size=(1, 20))))]

    def everything(*arrays):
        made = []
        for one, other in zip(arrays[::2], arrays[1::2], strict=True):
            columns = np.swapaxes(other, -1, -2)
            made.append(ops.cholesky_update(one, other))
            made += [ops.solve_triangular(one, columns, transposed=t) for t in (False, True)]
        return made

    flat = [a for pair in pairs for a in pair]
    program = trace(everything, [Abstract.of(a) for a in flat])
    found = compiled_engine.compile_program(program)(*flat)
    for mine, theirs in zip(found, compile_program(program)(*flat), strict=True):
        assert mine.dtype == theirs.dtype
        last = theirs.shape[-2:]
        for one, other in zip(mine.reshape(-1, *last), theirs.reshape(-1, *last), strict=True):
            finite = np.isfinite(other).all()
            assert np.isfinite(one).all() == finite
            if finite:
                rtol = 1e-12 if dtype == np.float64 else 1e-5
                np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * np.max(np.abs(other)))


def test_what_is_small_is_not_lost():
    """Directions that no row has keep 1e-12 beside 1e6, where the sum of the matrices is no longer definite."""
    r, rows = 1e-6 * np.eye(3), 1e3 * rng.normal(size=(1, 3))
    for _ in range(1000):
        r = ops.cholesky_update(r, rows * rng.normal())
    values = np.linalg.svd(r, compute_uv=False)
    np.testing.assert_allclose(values[1:], 1e-6, rtol=1e-4)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(gram(rows) * 1000 + 1e-12 * np.eye(3))


def test_edges():
    """Nothing to add, nothing at all, zeros on the diagonal, single precision, numbers that are not finite."""
    r = factor(3, 3)
    np.testing.assert_array_equal(ops.cholesky_update(r, np.zeros((0, 3))), r)
    assert ops.cholesky_update(np.zeros((0, 0)), np.zeros((2, 0))).shape == (0, 0)
    rows = rng.normal(size=(4, 3))
    np.testing.assert_allclose(gram(ops.cholesky_update(np.zeros((3, 3)), rows)), gram(rows), rtol=1e-12)
    single = ops.cholesky_update(r.astype(np.float32), rows.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, ops.cholesky_update(r, rows), rtol=1e-5, atol=1e-6)
    assert ops.solve_triangular(single, np.ones((3, 1), np.float32), transposed=True).dtype == np.float32
    assert np.isnan(ops.solve_triangular(np.zeros((2, 2)), np.ones((2, 1)), transposed=False)).all()
    assert not np.isfinite(ops.cholesky_update(r, np.full((1, 3), np.nan))).all()


@pytest.mark.parametrize("shapes", [((3, 3), (1, 4)), ((3, 2), (1, 2)), ((3, 3), (2, 1, 3)), ((2, 3, 3), (1, 3))])
def test_shapes_that_do_not_fit_are_refused(shapes):
    arrays = [np.zeros(s) for s in shapes]
    with pytest.raises(TracingError, match="do not fit"):
        compiled(ops.cholesky_update, *arrays)


def functions():
    yield "update", ops.cholesky_update, (factor(3, 3), rng.normal(size=(2, 3)))
    yield "update-stack", ops.cholesky_update, (factor(2, 3, 3), rng.normal(size=(2, 4, 3)))
    for transposed in (False, True):

        def solve(r, b, transposed=transposed):
            return ops.solve_triangular(r, b, transposed=transposed)

        yield f"solve-{transposed}", solve, (factor(3, 3), rng.normal(size=(3, 2)))
        yield f"solve-stack-{transposed}", solve, (factor(2, 3, 3), rng.normal(size=(2, 3, 1)))


@pytest.mark.parametrize(("function", "arrays"), [pytest.param(f, a, id=n) for n, f, a in functions()])
def test_derivatives(function, arrays):
    """Forward products against differences in upper triangular directions, backward products against forward ones."""
    program, _ = compiled(function, *arrays)
    lin = Linearized(program, list(arrays))
    directions = [np.triu(rng.normal(size=arrays[0].shape)), rng.normal(size=arrays[1].shape)]
    for k in (0, 1):
        step = 1e-6
        ends = [list(arrays) for _ in range(2)]
        ends[0][k], ends[1][k] = arrays[k] + step * directions[k], arrays[k] - step * directions[k]
        difference = (program(*ends[0])[0] - program(*ends[1])[0]) / (2 * step)
        (forward,) = lin.jvp({k: directions[k]})
        np.testing.assert_allclose(forward, difference, rtol=1e-6, atol=1e-8)
        cotangent = rng.normal(size=forward.shape)
        if function is ops.cholesky_update:
            cotangent = np.triu(cotangent)
        (backward,) = lin.vjp([cotangent], [k])
        np.testing.assert_allclose(np.sum(backward * directions[k]), np.sum(cotangent * forward), rtol=1e-9)
    (both,) = lin.jvp(dict(enumerate(directions)))
    np.testing.assert_allclose(both, sum(lin.jvp({k: d})[0] for k, d in enumerate(directions)), rtol=1e-10)
