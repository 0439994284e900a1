"""Constant scipy.sparse matrices in a user's functions: traced, differentiated, and counted as structure."""

import numpy as np
import pytest
import scipy.sparse as sp

import fwdgrad as fg
from fwdgrad.system.tracing import traced

n = 12
M = sp.random(n, n, 0.2, random_state=np.random.default_rng(0)) + sp.eye(n)
FORMATS = ["csr_matrix", "csr_array", "csc_array", "coo_matrix", "coo_array", "dia_array"]


def declare(product):
    def F(h, x, theta):
        return np.tanh(theta["a"] * product(h)) + x

    return fg.System(F, None, np.zeros(n), {"a": np.full(n, 0.3)}, np.zeros(n))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.covering
def test_sparse_products_are_dense_products_with_their_structure(form, side):
    matrix = getattr(sp, form)(M)
    dense = M.toarray()
    if side == "left":
        system, plain = declare(lambda h: matrix @ h), declare(lambda h: dense @ h)
        pattern = dense != 0
    else:
        system, plain = declare(lambda h: h @ matrix), declare(lambda h: h @ dense)
        pattern = dense.T != 0
    assert np.array_equal(traced(system).patterns.transition.state.toarray(), pattern)
    xs, ys = np.random.default_rng(1).normal(size=(2, 30, n))
    one, two = (fg.Learner(s, fg.RTRL(), fg.SGD(0.01)) for s in (system, plain))
    one.run(xs, ys)
    two.run(xs, ys)
    assert np.allclose(one.params["a"], two.params["a"], rtol=1e-12)
    assert fg.check(system).ok


def test_sparse_times_matrix():
    matrix = sp.csr_array(M)

    def F(h, x, theta):
        return np.tanh(matrix @ (theta["W"] * h))

    system = fg.System(F, None, np.ones((n, 2)), {"W": np.full((n, 2), 0.4)})
    assert fg.check(system).ok
