"""Optimal mixing: the mean over all signs is exact whatever is mixed, and the variance is the least."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
from oracles import Runner, assert_close, assert_unbiased

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import estimator_named
from fwdgrad.influence import Exact, KroneckerSum, Split, mixing
from fwdgrad.testing import check_engine

rng = np.random.default_rng(0)


def signs(q):
    return [np.array(row) for row in np.array(np.meshgrid(*[[-1.0, 1.0]] * q)).reshape(q, -1).T]


def total(left, right):
    return sum(np.multiply.outer(u, v) for u, v in zip(left, right, strict=True))


def mixed(left, right, epsilon):
    made, weights = mixing.mixture(left, right, epsilon)
    return total(made, [mixing.combined(right, weights[:, j]) for j in range(len(left) - 1)])


def factors(kind, q=4):
    left, right = list(rng.normal(size=(q, 5))), list(rng.normal(size=(q, 7)))
    if kind == "graded":
        left = [1e-3**k * v for k, v in enumerate(left)]
    if kind == "left dependent":
        left = [left[k % 2] for k in range(q)]
    if kind == "right dependent":
        right = [right[0], 2 * right[0], right[1], right[0] + right[1]][:q]
    if kind == "some zero":
        left[1], right[-1] = 0 * left[1], 0 * right[-1]
    if kind == "all zero":
        left = [0 * v for v in left]
    if kind == "even":
        left, right = list(np.eye(5)[:q]), list(np.eye(7)[:q])
    return left, right


@pytest.mark.parametrize("q", [2, 3, 4])
@pytest.mark.parametrize(
    "kind", ["random", "graded", "left dependent", "right dependent", "some zero", "all zero", "even"]
)
def test_the_mean_over_all_signs_is_the_sum(kind, q):
    left, right = factors(kind, q)
    expected = total(left, right)
    mean = np.mean([mixed(left, right, e) for e in signs(q)], axis=0)
    np.testing.assert_allclose(mean, expected, atol=1e-14 * max(1.0, np.max(np.abs(expected))))


def test_factors_may_be_dicts():
    left, right = factors("random")
    parts = [{"a": v[:3], "b": v[3:].reshape(2, 2)} for v in right]
    made, weights = mixing.mixture(left, parts, np.ones(4))
    other, same = mixing.mixture(left, right, np.ones(4))
    np.testing.assert_allclose(weights, same, atol=1e-14)
    np.testing.assert_allclose(made, other, atol=1e-14)
    together = mixing.combined(parts, weights[:, 0])
    np.testing.assert_allclose(together["b"].ravel(), mixing.combined(right, same[:, 0])[3:], atol=1e-14)


def variance(left, right):
    expected = total(left, right)
    return np.mean([np.sum((mixed(left, right, e) - expected) ** 2) for e in signs(len(left))])


def test_the_variance_is_what_the_paper_says_and_no_more():
    """(Σ_(i>k) σ)²/(r − k) − Σ_(i>k) σ² (Benzing et al. 2019, Theorem A.1): for components kept, and for none."""
    for sizes in ([5.0, 1.0, 0.5, 0.4], [1.0, 0.9, 0.8, 0.7], [100.0, 10.0, 1.0, 0.1]):
        left = [np.sqrt(s) * v for s, v in zip(sizes, np.linalg.qr(rng.normal(size=(5, 4)))[0].T, strict=True)]
        right = [np.sqrt(s) * v for s, v in zip(sizes, np.linalg.qr(rng.normal(size=(7, 4)))[0].T, strict=True)]
        tails = np.cumsum(sizes[::-1])[::-1]
        kept = sum((3 - k) * sizes[k] > tails[k] for k in range(3))
        rest = np.array(sizes[kept:])
        assert variance(left, right) == pytest.approx(np.sum(rest) ** 2 / (3 - kept) - np.sum(rest**2), rel=1e-10)


def test_a_control_uniform_in_place_of_optimal_z(monkeypatch):
    """Any other z makes a bias."""

    def uniform(values, epsilon):
        q = len(values)
        z = np.full(q, q**-0.5)
        y = z + np.eye(q)[-1]
        reflected = np.eye(q) - np.outer(y, y) / y[-1]
        return np.sqrt(np.sum(values) / (q - 1)) * epsilon[:, None] * reflected[:, :-1]

    left, right = factors("random")
    monkeypatch.setattr(mixing, "_mixing", uniform)
    mean = np.mean([mixed(left, right, e) for e in signs(4)], axis=0)
    assert np.max(np.abs(mean - total(left, right))) > 1e-2
    with pytest.raises(AssertionError, match="mean"):
        assert_unbiased(Runner(oracles.tanh_rnn(3), fg.OK(2, "rtrl")), steps=3)


CASES = {
    "tanh-rnn": (lambda: oracles.tanh_rnn(3), 2, 3),
    "symbol-rnn": (lambda: oracles.symbol_rnn(3), 1, 2),
    "gru": (lambda: oracles.gru(False, 3), 2, 3),
    "gru, reset first": (lambda: oracles.gru(True, 3), 1, 2),
    "lstm": (lambda: oracles.lstm(2), 1, 3),
    "linear": (lambda: oracles.linear(3), 2, 3),
}


@pytest.mark.parametrize("name", CASES)
def test_unbiased(name):
    make, rank, steps = CASES[name]
    assert_unbiased(Runner(make(), fg.OK(rank, "rtrl")), steps=steps)


def test_unbiased_on_an_equation():
    """A rate with a matrix in a product, Euler steps: W is reduced, the scalar kept exactly."""

    def F(h, x, p):
        return np.tanh(p["W"] @ h) - p["leak"] * h + x

    params = {"W": rng.normal(size=(3, 3)), "leak": 0.5}
    xs, ys = oracles.signals(3, 4, (3,), (3,))
    system = fg.System(F, None, 0.2 * np.ones(3), params, np.zeros(3), dt=0.3, method="euler")
    assert_unbiased(Runner(oracles.Case("rate", system, xs, ys), fg.OK(1, "rtrl")), steps=4)


def test_matrices_that_meet_one_vector_are_one():
    """A gated unit with reset after: three recurrent matrices with one u; with reset before, two and one."""
    for first, groups in ((False, {"Uz": 9}), (True, {"Uz": 6, "U": 3})):
        learner = fg.Learner(oracles.gru(first, 3).system, fg.OK(2, "rtrl"))
        state = learner._execution.unpack(learner._loop.carry).influence.first
        assert {k: h.shape[-1] for k, h in state.H.items() if k in state.u} == groups


def test_where_the_vector_is_short_it_is_exact():
    case = oracles.symbol_rnn(3)
    exact, runner = Runner(case, fg.RTRL()), Runner(case, fg.OK(4, "rtrl"))
    assert not runner.execution.specs
    carry, other = runner.initial(), exact.initial()
    for t in range(4):
        carry, other = runner.run(carry, t), exact.run(other, t)
        assert_close(runner.influence(carry), exact.influence(other), 1e-13, f"after step {t}")


@pytest.mark.quick("tanh-rnn")
@pytest.mark.parametrize("network", ["tanh-rnn", "gru"])
def test_a_tenth_of_the_variance_of_as_many_copies(network):
    """At n = 16 here; at 32 in the documentation."""
    system = systems.build(network, units=16, symbols=4)
    xs, ys = fg.streams.next_symbol(np.random.default_rng(0).integers(0, 4, size=41))
    tried = [fg.KFRTRL("rtrl", rank=4), fg.OK(4, "rtrl")]
    found = fg.compare(system, xs, ys, estimators=tried, replicas=12, seed=1, costs=False)
    assert found["OK(4)"].variance < found["KFRTRL, rank 4"].variance / 10


def test_engines_agree():
    pytest.importorskip("llvmlite")
    system = fg.System(lambda h, x, p: np.tanh(p["W"] @ h + x), None, np.zeros(3), {"W": np.eye(3)}, np.zeros(3))
    check_engine("compiled", system, estimators=[fg.OK(2)], optimizers=[fg.SGD(0.01)])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: fg.OK(0), "expected an integer of at least 1"),
        (lambda: KroneckerSum(True), "expected an integer of at least 1"),
        (lambda: fg.OK(2, "exact"), r"OK\(others=…\): expected one of .*, or None"),
        (lambda: fg.Estimator(KroneckerSum(2), window=3), "Use window=1"),
        (lambda: fg.Learner(oracles.gru(True).system, fg.OK(2)), r"OK: parameter 'bz' enters F otherwise"),
        (lambda: fg.Learner(oracles.lotka_volterra().system, fg.OK(2, "rtrl")), "it takes none of the parameters of F"),
    ],
)
def test_what_makes_no_sense_is_named(make, expected):
    with pytest.raises(DeclarationError, match=expected):
        make()


def test_by_name():
    assert estimator_named("ok:3") == fg.OK(3, "rtrl")
    assert estimator_named("ok") == fg.OK(4, "rtrl")
    assert fg.OK(3, "rtrl").influence == Split(KroneckerSum(3), Exact())
