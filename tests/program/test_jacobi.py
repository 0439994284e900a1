"""Singular systems by Jacobi's rotations: against matrices that are known, graded ones too, on every engine."""

from __future__ import annotations

import numpy as np
import pytest

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.program import Abstract, trace
from fwdgrad.program import operations as ops

rng = np.random.default_rng(0)
CASES = {
    "one": np.array([[-3.0]]),
    "five": rng.normal(size=(5, 5)),
    "graded": 1e-5 ** np.arange(5)[:, None] * rng.normal(size=(5, 5)),
    "nine": np.triu(rng.normal(size=(9, 9))),
    "seventeen": rng.normal(size=(17, 17)),
    "of rank one": np.outer([1.0, 2.0, 0.0, -1.0], [1.0, 2.0, 3.0, -1.0]),
    "nothing": np.zeros((3, 3)),
    "tied": np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 3.0]]),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_vectors_are_those_of_the_matrix(name):
    a = CASES[name]
    made = ops.singular(a)
    values, axes = made[0], made[1:]
    np.testing.assert_allclose(values, np.linalg.svd(a, compute_uv=False), atol=1e-13)
    np.testing.assert_allclose(axes.T @ axes, np.eye(len(a)), atol=1e-13)
    np.testing.assert_allclose(a @ a.T @ axes, axes * values**2, atol=1e-12)


def test_small_values_of_graded_matrices_are_as_accurate_as_large_ones():
    """Rows over forty decades: their sizes, once those before are taken out. LAPACK loses them."""
    scales = 1e-10 ** np.arange(5)
    a = scales[:, None] * (np.eye(5) + 0.1 * rng.normal(size=(5, 5)))
    r = np.linalg.qr(a.T / scales)[1]  # orthogonal to rounding from one row to the next
    expected = np.abs(np.diag(r)) * scales
    np.testing.assert_allclose(ops.singular(a)[0], expected, rtol=1e-9, atol=0)
    mixed = a[[2, 4, 0, 3, 1]]
    np.testing.assert_allclose(ops.singular(mixed)[0], expected, rtol=1e-9, atol=0)
    assert not np.allclose(np.linalg.svd(mixed, compute_uv=False), expected, rtol=1e-2, atol=0)


def test_zeros_stay_apart():
    a = np.zeros((4, 4))
    a[1:3] = rng.normal(size=(2, 4))
    made = ops.singular(a)
    assert np.array_equal(made[0, 2:], [0.0, 0.0])
    assert np.array_equal(made[1:][[0, 3]], np.eye(4)[2:])


def test_every_engine_computes_the_same():
    pytest.importorskip("llvmlite")
    from fwdgrad.engines import compiled_engine

    arrays = [*CASES.values(), CASES["five"].astype(np.float32), np.full((2, 2), np.nan)]
    program = trace(lambda *given: [ops.singular(a) for a in given], [Abstract.of(a) for a in arrays])
    plain, compiled = (make(program)(*arrays) for make in (compile_program, compiled_engine.compile_program))
    for one, other in zip(plain, compiled, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 if one.dtype == np.float32 else 1e-12)


def test_what_is_not_square_is_refused():
    with pytest.raises(Exception, match="square"):
        trace(lambda a: [ops.singular(a)], [Abstract((2, 3), np.dtype(float))])
