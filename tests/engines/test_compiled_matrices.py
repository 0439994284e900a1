"""Large matrix products go to the BLAS whatever shape their arrays have; identity matrices are no arrays."""

from dataclasses import replace

import numpy as np
import pytest
from engine_checks import differences

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.engines.compiled_engine import matrices, moves, source
from fwdgrad.engines.compiled_engine.indices import Affine, Axis, flat, spread
from fwdgrad.learning.execution import Execution
from fwdgrad.program import Abstract, scan, trace

N = 32
GENERATOR = np.random.default_rng(0)
A, G = GENERATOR.normal(size=(N, N)), GENERATOR.normal(size=(N, N, 24))

PRODUCTS = {
    "a tensor": lambda A, G: np.tensordot(A, G, axes=1),
    "a tensor, the matrix transposed": lambda A, G: np.tensordot(A.T, G, axes=1),
    "a tensor from the right": lambda A, G: np.tensordot(np.tanh(np.reshape(G, (24, N, N))), A, axes=1),
    "two axes summed": lambda A, G: np.tensordot(np.tanh(np.reshape(G, (24, N, N))), np.cos(G), axes=2),
    "other shapes": lambda A, G: A @ np.reshape(np.reshape(G, (N, N // 2, 48)), (N, N * 24)),
    "einsum": lambda A, G: np.einsum("ij,jkl->ikl", A, G),
}
LOOPS = {
    "a part of the columns": lambda A, G: A @ np.reshape(G, (N, N * 24))[:, : N * 12],
    "every other row": lambda A, G: A[:, ::2] @ np.reshape(G, (N, N * 24))[::2],
    "the other order": lambda A, G: A @ np.reshape(G, (N, N * 24))[:, ::-1],
    "the first of them again": lambda A, G: A @ np.reshape(np.broadcast_to(G[0], (N, N, 24)), (N, N * 24)),
    "axes exchanged": lambda A, G: np.einsum("ij,kjl->ikl", A, G),
}


def traced(function, *arrays):
    return trace(lambda *a: (function(*a),), [Abstract.of(a) for a in arrays])


@pytest.mark.parametrize("name", [*PRODUCTS, *LOOPS])
def test_which_products_are_calls(name):
    text = source(traced((PRODUCTS | LOOPS)[name], A, G))
    assert ("runtime.matmul_" in text) == (name in PRODUCTS)


def different():
    functions = PRODUCTS | LOOPS
    programs = [traced(f, A, G) for f in functions.values()]
    return differences(list(functions), programs, [(A, G)] * len(functions), 1e-12)


def test_products():
    assert different() == []


def test_an_order_taken_for_another_is_found(monkeypatch):
    right = matrices._axes

    def careless(node, at):
        forward = Affine(tuple((atom, abs(stride)) for atom, stride in flat(at, node.shape).terms))
        return right(replace(node, shape=(node.size,)), (forward,))

    monkeypatch.setattr(matrices, "_axes", careless)
    assert [text.split(",")[0] for text in different()] == ["the other order"]


def test_exact_rtrl_is_products_of_matrices():
    """One for each leaf, and no loop over n² p numbers; A is read off W, and B is never stored."""
    execution = Execution(systems.build("tanh-rnn", units=N, symbols=24), fg.RTRL(), fg.SGD(1e-3), "numpy")
    text = source(execution.program("learn"), len(execution.initial()))
    assert text.count(" runtime.matmul_nn(") == 3
    assert text.count("for step in range") == 1
    assert text.count(f'"float64[{N**3}]"') == 2  # the influence of W, and its product with A


# ---- reshapes and their inverses


def test_a_reshape_and_its_inverse_leave_nothing():
    i, j = Axis(6), Axis(20)
    at = (Affine.of(i), Affine.of(j))
    assert flat(spread(flat(at, (6, 20)), (6, 4, 5)), (6, 4, 5)) == flat(at, (6, 20))
    assert flat(spread(flat(at, (6, 20)), (2, 3, 5, 4)), (2, 3, 5, 4)) == flat(at, (6, 20))
    assert flat(spread(flat(at, (6, 20)), (4, 30))[::-1], (30, 4)) != flat(at, (6, 20))


def value(index, by):
    """An index at values of its loop variables."""
    total = index.constant
    for atom, c in index.terms:
        inside = by[atom] if isinstance(atom, Axis) else value(atom.of, by)
        kind = type(atom).__name__
        total += c * (inside // atom.by if kind == "Quotient" else inside % atom.by if kind == "Remainder" else inside)
    return total


@pytest.mark.parametrize("shape", [(4, 30), (30, 4), (2, 3, 5, 4), (120,), (8, 15)])
def test_indices_of_reshapes(shape):
    i, j = Axis(6), Axis(20)
    index = spread(flat((Affine.of(i), Affine.of(j)), (6, 20)), shape)
    mixed = [index[0] * 7 + index[-1] * 3, index[-1] + index[0] * shape[-1], flat(index, shape) + index[0] * -1]
    for a in range(6):
        for b in range(20):
            place = np.unravel_index(a * 20 + b, shape)
            given = [value(k, {i: a, j: b}) for k in (*index, *mixed)]
            wanted = [
                *place,
                place[0] * 7 + place[-1] * 3,
                place[-1] + place[0] * shape[-1],
                a * 20 + b - place[0],
            ]
            assert given == wanted


# ---- identity matrices


def with_identities(W, v):
    eye = np.eye(5)
    yes = np.eye(5, dtype=bool)
    _, (rows, products, sums) = scan(
        lambda _, r: ((), (r[0], r[0] @ W, np.sum(r[0] * v) + r[1] @ v)), (), (eye, np.eye(5)[::-1].copy())
    )
    _, (back,) = scan(lambda _, r: ((), (W @ r[0],)), (), (eye,), reverse=True)
    return (
        *(eye @ W, W @ eye, eye @ v, eye * v, W + eye, np.sum(eye * W), np.trace(W @ eye), eye[2], eye.T[:, 1] * v),
        *(np.where(yes, W, v), np.where(yes, 0.0, W), np.eye(5, 3).T @ W, np.einsum("ij,ik,jk->i", eye, W, W)),
        *(rows, products, sums, back, np.cumsum(eye * v, axis=0), np.tensordot(eye, np.outer(v, v), axes=2)),
    )


def of_identities():
    arrays = (W := GENERATOR.normal(size=(5, 5)), W[0])
    program = trace(with_identities, [Abstract.of(a) for a in arrays])
    return differences(["identities"], [program], [arrays], 1e-13)


def test_identities():
    assert of_identities() == []


def test_a_wrong_identity_is_found(monkeypatch):
    right = moves.identity

    def wrong(*arguments, **label):
        made = right(*arguments, **label)
        made.conditions = lambda at: ((at[0], at[1] + 1),)
        return made

    monkeypatch.setattr(moves, "identity", wrong)
    assert of_identities() != []


def test_what_is_nearly_an_identity_is_an_array():
    for array in (np.eye(4) * 2, np.where(np.eye(4) > 0, 1.0, -0.0), np.eye(4)[::-1].copy(), np.eye(4, k=1)):
        assert "constant1" in source(traced(lambda v, array=array: array @ v, np.ones(4)))
    assert "constant1" not in source(traced(lambda v: np.eye(4) @ v, np.ones(4)))
