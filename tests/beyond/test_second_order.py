"""Second derivatives forward in time, against autograd's Hessian of the unrolled sequence, and over all noise."""

from __future__ import annotations

import itertools
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import oracles
import pytest

import fwdgrad as fg
from fwdgrad.beyond.second_order import OnlineHessian, _Noise, _Random, _RandomState
from fwdgrad.errors import DataError, DeclarationError, NonFiniteError, ShapeError, TracingError
from fwdgrad.influence.reduction import Complex
from fwdgrad.influence.reduction import dense as product_of

CASES = {
    "tanh-rnn": lambda: oracles.tanh_rnn(2, 4),
    "symbol-rnn": lambda: oracles.symbol_rnn(2, 3),
    "gru": lambda: oracles.gru(True, 2, 3),
    "lstm": lambda: oracles.lstm(1, 3),
    "heat": oracles.heat,
}


def flattened(case: oracles.Case, t: int) -> tuple[Any, np.ndarray]:
    """ℓ_t as a function of one vector, unrolled; and the point."""
    like = case.trained()
    ends = np.cumsum([v.size for v in like.values()])

    def loss(vector: Any) -> Any:
        parts = {
            k: anp.reshape(vector[end - v.size : end], v.shape) for (k, v), end in zip(like.items(), ends, strict=True)
        }
        return [value for _, _, value in case.unroll([parts] * (t + 1))][t]

    return loss, np.concatenate([np.ravel(v) for v in like.values()])


def exact_hessian(case: oracles.Case, t: int) -> np.ndarray:
    loss, point = flattened(case, t)
    return autograd.hessian(loss)(point)


def stacked(leaves: Any) -> np.ndarray:
    return np.concatenate([np.ravel(v) for v in leaves.values()])


# ---------------------------------------------------------------- exact


@pytest.mark.quick("tanh-rnn", "symbol-rnn", "lstm", "heat")
@pytest.mark.parametrize("name", CASES)
def test_exact_is_autograds_hessian_of_the_unrolled_sequence(name):
    """With the gradient, a product and the diagonal, at every step."""
    case = CASES[name]()
    hessian = OnlineHessian(case.system, exact=True)
    for t, (x, y) in enumerate(zip(case.xs[:4], case.ys[:4], strict=True)):
        hessian.step(x, y)
        loss, point = flattened(case, t)
        expected = exact_hessian(case, t)
        scale = max(1.0, float(np.max(np.abs(expected))))
        assert np.max(np.abs(hessian.matrix() - expected)) <= 1e-8 * scale
        assert np.max(np.abs(stacked(hessian.gradient()) - autograd.grad(loss)(point))) <= 1e-10 * scale
        u = np.cos(np.arange(len(point)))
        ends = np.cumsum([v.size for v in case.trained().values()])
        direction = {
            k: u[end - v.size : end].reshape(v.shape) for (k, v), end in zip(case.trained().items(), ends, strict=True)
        }
        assert np.allclose(stacked(hessian.product(direction)), expected @ u, rtol=1e-9, atol=1e-9 * scale)
        assert np.allclose(stacked(hessian.diagonal()), np.diag(expected), rtol=1e-9, atol=1e-9 * scale)


def test_without_the_past_it_is_another_hessian():
    """The oracle tells: what C contributes is not small."""
    case = oracles.tanh_rnn(2, 4)
    hessian = OnlineHessian(case.system, exact=True)
    for t in range(4):
        hessian.step(case.xs[t], case.ys[t])
    point, kept = hessian._seen
    hessian._seen = point, kept._replace(C=0.0 * kept.C)
    assert np.max(np.abs(hessian.matrix() - exact_hessian(case, 3))) > 1e-2


def test_the_tensor_is_the_second_derivative_of_the_state():
    case = oracles.symbol_rnn(2, 3)
    hessian, like = OnlineHessian(case.system, exact=True), case.trained()
    for t in range(3):
        hessian.step(case.xs[t], case.ys[t])
    ends = np.cumsum([v.size for v in like.values()])

    def state(i: int) -> Any:
        def entry(vector: Any) -> Any:
            parts = {
                k: anp.reshape(vector[e - v.size : e], v.shape) for (k, v), e in zip(like.items(), ends, strict=True)
            }
            return [h for _, h, _ in case.unroll([parts] * 3)][2][i]

        return entry

    point = np.concatenate([np.ravel(v) for v in like.values()])
    expected = np.stack([autograd.hessian(state(i))(point) for i in range(2)])
    assert np.max(np.abs(hessian.influence_tensor() - expected)) <= 1e-10
    random = OnlineHessian(case.system, copies=2)
    random.step(case.xs[0], case.ys[0])
    assert random.influence_tensor().shape == expected.shape


def test_a_step_without_target_has_no_loss():
    case = oracles.tanh_rnn(2, 4).without(1)
    hessian = OnlineHessian(case.system, exact=True)
    for t in range(4):
        loss = hessian.step(case.xs[t], case.ys[t])
        if t == 1:
            assert np.isnan(loss)
            assert np.array_equal(hessian.matrix(), np.zeros_like(hessian.matrix()))
    assert np.allclose(hessian.matrix(), exact_hessian(case, 3), rtol=1e-9, atol=1e-9)


def test_reset_and_other_parameters():
    case = oracles.tanh_rnn(2, 4)
    moved = {k: 1.1 * v for k, v in case.system.params.items()}
    hessian, other = (
        OnlineHessian(case.system, exact=True),
        OnlineHessian(case.system.replace(params=moved), exact=True),
    )
    hessian.step(case.xs[0], case.ys[0])
    hessian.reset()
    for t in range(3):
        assert hessian.step(case.xs[t], case.ys[t], moved if t == 0 else None) == other.step(case.xs[t], case.ys[t])
    assert np.array_equal(hessian.matrix(), other.matrix())


# ---------------------------------------------------------------- random


def scalar(parameters: int = 1) -> oracles.Case:
    """One state variable."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["a"] * h + p.get("b", 0.3) * x)

    rng = np.random.default_rng(3)
    params = {"a": np.array(0.8), "b": np.array(0.5)}
    system = fg.System(F, None, np.array([0.7]), dict(list(params.items())[:parameters]), np.zeros(1))
    return oracles.Case("scalar", system, list(rng.normal(size=(3, 1))), list(rng.normal(size=(3, 1))))


def all_noise(n: int, p: int, shared: bool = False) -> list[_Noise]:
    """Every noise of a step, of one copy; `shared`: both estimates of G get the same signs.

    A single sign ν does nothing: ν and the Hessian of ν·F are multiplied.
    """
    made, pairs, nu = [], n * (2 - shared), n * (n > 1)
    for row in itertools.product(*([(-1.0, 1.0)] * (pairs + nu + n + p)), range(3)):
        signs, rest = np.array(row[:pairs]), np.array(row[pairs:-1])
        both = np.stack([signs, signs]) if shared else signs.reshape(2, n)
        made.append(
            _Noise(both[None], rest[None, :nu] if nu else np.ones((1, 1)), rest[None, nu:], np.array([float(row[-1])]))
        )
    return made


def over_all_noise(case: oracles.Case, steps: int, shared: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """Means of gradient and Hessian of each step over the noise of those before it."""
    hessian, form = OnlineHessian(case.system), _Random(1)
    n, p = case.system.size, hessian._derivatives.count
    states, h, made = [form.init(n, p)], case.system.initial, []
    patterns = all_noise(n, p, shared)
    for t in range(steps):
        point = hessian._derivatives.at(h, [case.xs[t]], [case.ys[t]], case.system.coordinates, True)
        gradients = [form.gradient(point, s) for s in states]
        products = [np.stack([form.product(point, s, e) for e in np.eye(p)], axis=1) for s in states]
        made.append((np.mean(gradients, axis=0), np.mean(products, axis=0)))
        if t + 1 < steps:
            states = [form.advance(s, point, noise) for s in states for noise in patterns]
        h = point.after
    return made


def test_random_is_unbiased_over_all_noise():
    """Three steps: the past of the third has been merged twice."""
    case = scalar()
    for t, (gradient, hessian) in enumerate(over_all_noise(case, 3)):
        loss, at = flattened(case, t)
        assert np.allclose(gradient, autograd.grad(loss)(at), rtol=1e-10, atol=1e-12)
        assert np.allclose(hessian, exact_hessian(case, t), rtol=1e-10, atol=1e-12)


def test_estimates_of_the_influence_that_share_their_noise_are_biased():
    """C is quadratic in G."""
    case = scalar()
    gradient, hessian = over_all_noise(case, 3, shared=True)[2]
    loss, at = flattened(case, 2)
    assert np.allclose(gradient, autograd.grad(loss)(at), rtol=1e-10)
    assert np.max(np.abs(hessian - exact_hessian(case, 2))) > 1e-3


@pytest.mark.slow
def test_random_is_unbiased_from_any_state():
    """One step of two state variables and three parameters, from a past that is not zero."""
    rng = np.random.default_rng(4)

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.stack([np.tanh(p["a"] * h[0] * h[1] + p["b"] * x), p["c"] * h[1] * h[0] + np.sin(p["a"] * h[0])])

    system = fg.System(F, None, np.array([0.4, -0.8]), {"a": 0.5, "b": -0.3, "c": 0.9}, np.zeros(()))
    hessian, form = OnlineHessian(system), _Random(1)
    point = hessian._derivatives.at(system.initial, [np.array(0.6)], [np.zeros(2)], system.coordinates, True)
    n, p = 2, 3
    tensor = tuple(Complex(rng.normal(size=(1, k)), rng.normal(size=(1, k))) for k in (n, p, p))
    state = _RandomState(rng.normal(size=(1, 2, n)), rng.normal(size=(1, 2, p)), tensor)
    patterns = all_noise(
        n, p, shared=True
    )  # for one step, whether the estimates of G share their noise is all the same
    after = [form.advance(state, point, noise) for noise in patterns]
    A = np.stack([point.along(e, np.zeros(p)) for e in np.eye(n)], axis=1)
    M = [np.concatenate([np.outer(state.v[0, k], state.w[0, k]), np.eye(p)]) for k in (0, 1)]
    expected = np.tensordot(A, product_of(state.tensor), axes=1)
    for i, nu in enumerate(np.eye(n)):
        Q = np.stack([np.concatenate(point.bend(nu, 0.0, e[:n], e[n:])) for e in np.eye(n + p)])
        expected[i] += M[0].T @ Q @ M[1]
    estimates = np.array([product_of(s.tensor) for s in after])
    assert np.allclose(estimates.mean(axis=0), expected, rtol=1e-11, atol=1e-12)
    assert estimates.std() > 0.1
    B = np.stack([point.slope(e, 0.0)[1] for e in np.eye(n)])
    for k in (0, 1):
        mean = np.mean([np.outer(s.v[0, k], s.w[0, k]) for s in after], axis=0)
        assert np.allclose(mean, A @ M[k][:n] + B, rtol=1e-11, atol=1e-12)


def test_random_diagonal_is_unbiased():
    """In the mean over the signs that it draws, for a given past: the diagonal of the estimated Hessian."""
    case = scalar(2)
    hessian = OnlineHessian(case.system, copies=2, seed=5)
    for x, y in zip(case.xs, case.ys, strict=True):
        hessian.step(x, y)
    draws = np.array([stacked(hessian.diagonal()) for _ in range(1000)])
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - np.diag(hessian.matrix())) <= 5 * error + 1e-12)


def test_copies_are_averaged():
    """Of copies with the same noise the mean is that of one; of others it is their mean."""
    case = scalar(2)
    one, two = OnlineHessian(case.system, seed=6), OnlineHessian(case.system, copies=2, seed=6)
    for x, y in zip(case.xs, case.ys, strict=True):
        one.step(x, y)
        two.step(x, y)
    point, kept = two._seen
    singles = []
    for k in (0, 1):
        tensor = tuple(Complex(f.real[k : k + 1], f.imag[k : k + 1]) for f in kept.tensor)
        one._seen = point, _RandomState(kept.v[k : k + 1], kept.w[k : k + 1], tensor)
        singles.append((stacked(one.gradient()), one.matrix()))
    assert np.allclose(stacked(two.gradient()), (singles[0][0] + singles[1][0]) / 2, rtol=1e-13)
    assert np.allclose(two.matrix(), (singles[0][1] + singles[1][1]) / 2, rtol=1e-12)
    assert np.max(np.abs(singles[0][1] - singles[1][1])) > 1e-6


def test_memory_is_linear():
    """4n + 6p numbers for each copy."""
    case = oracles.tanh_rnn(5)
    hessian = OnlineHessian(case.system, copies=3)
    p = sum(v.size for v in case.trained().values())
    kept = [hessian._kept.v, hessian._kept.w, *(part for f in hessian._kept.tensor for part in f)]
    assert sum(a.size for a in kept) == 3 * (4 * 5 + 6 * p)


def test_single_precision():
    s = oracles.tanh_rnn(2).system
    params = {k: v.astype("f") for k, v in s.params.items()}
    single = OnlineHessian(fg.System(s.F, s.Y, s.state.astype("f"), params, s.x.astype("f")), exact=True)
    double = OnlineHessian(s, exact=True)
    for x in oracles.tanh_rnn(2).xs[:3]:
        single.step(x, np.ones(2))
        double.step(x, np.ones(2))
    assert np.allclose(single.matrix(), double.matrix(), rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------- refused


def test_refusals():
    system = oracles.tanh_rnn(2).system
    for copies in (0, True, 1.5, "2"):
        with pytest.raises(DeclarationError, match=r"OnlineHessian\(copies=…\): expected an integer of at least 1"):
            OnlineHessian(system, copies=copies)
    with pytest.raises(DeclarationError, match="copies of what is exact are all the same"):
        OnlineHessian(system, exact=True, copies=2)
    hessian = OnlineHessian(system)
    with pytest.raises(DeclarationError, match="there was no step yet"):
        hessian.gradient()
    hessian.step(np.zeros(2), np.zeros(2))
    with pytest.raises(ShapeError, match=r"direction\['W'\]: expected shape \(2, 2\), got \(2,\)"):
        hessian.product({"W": np.ones(2)})
    with pytest.raises(ShapeError, match="'w' is no learned parameter; there are W, U, b, V, c"):
        hessian.product({"w": np.ones(2)})


def test_what_the_loop_would_have_to_add_is_refused():
    start = fg.System(lambda h, x, p: p["a"] * h, None, lambda p: p["h0"], {"a": 0.5, "h0": np.ones(2)}, first="next")
    with pytest.raises(DeclarationError, match="without a learned initial state"):
        OnlineHessian(start)


def test_functions_that_cannot_be_traced_are_refused():
    system = fg.System(lambda h, x, p: h * p["a"] if h[0] > 0 else h, None, np.ones(1), {"a": 0.5})
    with pytest.raises(TracingError):
        OnlineHessian(system)


def test_what_is_no_system_seed_or_direction():
    with pytest.raises(DeclarationError, match="OnlineHessian: expected a System"):
        OnlineHessian(3)
    system = oracles.tanh_rnn(2).system
    for seed in ("x", -1):
        with pytest.raises(DeclarationError, match=r"OnlineHessian\(seed=…\): expected"):
            OnlineHessian(system, seed=seed)
    hessian = OnlineHessian(system)
    hessian.step(np.zeros(2), np.zeros(2))
    with pytest.raises(ShapeError, match="direction: expected a dict"):
        hessian.product(np.ones(8))
    with pytest.raises(ShapeError, match=r"direction\['W'\]: expected numbers"):
        hessian.product({"W": "x"})
    with pytest.raises(DataError, match=r"direction\['W'\]: expected finite numbers"):
        hessian.product({"W": np.full((2, 2), np.nan)})


@pytest.mark.parametrize("exact", [True, False])
def test_what_diverges_is_refused(exact):
    """As a learner does: everything is left as it was before the step."""
    system = fg.System(lambda h, x, p: p["a"] * h**2, None, np.full(1, 1e30), {"a": 1.0}, np.zeros(1))
    hessian = OnlineHessian(system, exact=exact)
    for _ in range(2):
        hessian.step(np.zeros(1), np.zeros(1))
    h, tensor, gradient = hessian._h.copy(), hessian.influence_tensor(), hessian.gradient()["a"]
    with pytest.raises(NonFiniteError, match="OnlineHessian: the loss is not finite at step 2") as caught:
        hessian.step(np.zeros(1), np.zeros(1), {"a": 0.9})
    assert caught.value.step == 2
    assert np.array_equal(h, hessian._h)
    assert np.array_equal(tensor, hessian.influence_tensor())
    assert np.array_equal(gradient, hessian.gradient()["a"])
    assert hessian._coordinates["a"] == 1.0
