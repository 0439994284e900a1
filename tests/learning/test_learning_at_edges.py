"""What is learned at ties, zeros and bounds is the same on every engine."""

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import NonFiniteError


def transition(h, x, p):
    """Every term is at a tie, a zero or a bound when learning begins; later ones are not."""
    a = p["a"]
    terms = [
        np.clip(a[0] * x[0], -1.0, 1.0),
        np.linalg.norm(a[:2] - 1.0),
        np.prod(a * np.array([0.0, 1.0, 1.0])),
        np.std(a),
        np.hypot(a[0] - a[1], a[1] - a[2]),
        np.max(a) - 0.5 * np.min(h),
        np.sort(a)[1],
        np.interp(a[2], np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 3.0])),
        np.arctan2(a[0] - 1.0, h[0]),
        np.where(a[1] > 1.0, 2.0 * a[1], np.abs(a[1] - 1.0)),
        np.linalg.det(np.outer(a[:2], a[1:])),
        0.1 * np.where(a[0] > 1.0, np.sqrt(a[0] - 1.0), 0.0),
        0.1 * np.abs(1.0 - a[1] / a[2]) ** (1 / (a[0] + 0.5)),
    ]
    return 0.3 * h + 0.1 * np.stack([sum(terms[:6]), sum(terms[6:])])


def learned(engine, steps=4):
    system = fg.System(transition, None, np.zeros(2), {"a": np.ones(3)}, np.ones(1))
    one = fg.Learner(system, fg.RTRL(), fg.SGD(0.05), engine=engine)
    for _ in range(steps):
        one.step(np.ones(1), np.array([0.5, -0.5]))
    return one.params["a"], one.influence_matrix()


def test_three_engines(tmp_path, monkeypatch):
    pytest.importorskip("llvmlite")
    monkeypatch.setenv("FWDGRAD_CACHE", str(tmp_path))
    for steps in (1, 4):
        expected = learned("numpy", steps)
        assert np.isfinite(expected[0]).all()
        assert not np.array_equal(expected[0], np.ones(3))
        for engine in ("eager", "compiled"):
            for a, b in zip(expected, learned(engine, steps), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ["eager", "numpy"])
def test_an_infinite_derivative_is_refused(engine):
    """√ at 0, by name, and nothing has changed."""
    system = fg.System(lambda h, x, p: 0.5 * h + np.sqrt(p["a"] * x), None, np.zeros(1), {"a": np.zeros(1)}, np.ones(1))
    one = fg.Learner(system, fg.RTRL(), fg.SGD(0.05), engine=engine)
    with pytest.raises(NonFiniteError, match="at step 0") as refusal:
        one.step(np.ones(1), np.ones(1))
    assert "np.sqrt is infinite at 0" in str(refusal.value)
    assert "np.maximum" in str(refusal.value)
    assert "test_learning_at_edges.py" in str(refusal.value)
    assert refusal.value.quantity == "the gradient of a (the derivative of np.sqrt is infinite)"
    assert one.steps == 0
    np.testing.assert_array_equal(one.params["a"], [0.0])


@pytest.mark.parametrize("engine", ["eager", "numpy"])
def test_the_operation_that_is_named_is_the_one_at_fault(engine):
    """Another infinite derivative, which nothing depends on, is not named; nor one that is not infinite."""

    def F(h, x, p):
        return 0.5 * h + np.abs(p["a"]) ** 0.3 + np.cbrt(p["a"] * x) + np.sqrt(1.0 + p["a"])

    system = fg.System(F, None, np.zeros(1), {"a": np.zeros(1)}, np.ones(1))
    one = fg.Learner(system, fg.RTRL(), fg.SGD(0.05), engine=engine)
    with pytest.raises(NonFiniteError, match=r"np\.cbrt is infinite at 0"):
        one.step(np.ones(1), np.ones(1))
    one.step(np.zeros(1), np.ones(1))  # a x does not change with a where x = 0


@pytest.mark.parametrize("engine", ["eager", "numpy"])
def test_a_power_of_a_negative_number_has_no_derivative_in_its_exponent(engine):
    """By name, and not for another cause; with the exponent fixed, or a positive number, it is learned."""

    def learner(exponent, start):
        system = fg.System(lambda h, x, p: p["c"] * h ** p["n"], None, np.array([start]), {"n": exponent, "c": 0.5})
        return fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), engine=engine)

    with pytest.raises(NonFiniteError, match="no derivative in its exponent") as refusal:
        learner(2.0, -1.0).step(None, np.zeros(1))
    assert "infinite" not in str(refusal.value)
    for one in (learner(fg.fixed(2.0), -1.0), learner(2.0, 1.0)):
        assert np.isfinite(one.step(None, np.zeros(1)))


@pytest.mark.parametrize("engine", ["eager", "numpy"])
@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.UORO(), fg.TBPTT(2)], ids=lambda e: e.name)
def test_a_tank_that_is_dry(engine, estimator):
    """√h for h > 0 only, from a dry start, with substeps: learned, and the influence is finite."""

    def rate(h, x, p):
        return p["c"] * x - p["k"] * np.where(h > 0, np.sqrt(h), 0.0)

    system = fg.System(rate, None, np.zeros(2), {"k": np.ones(2), "c": 1.0}, 0.0, dt=0.1, substeps=2)
    one = fg.Learner(system, estimator, fg.SGD(1e-3), engine=engine)
    for x in (0.0, 0.0, 1.0, 0.5):
        one.step(x, np.ones(2))
    assert one.params["c"] > 1.0
    assert np.all(one.params["k"] < 1.0)


def test_functions_autograd_has_no_rule_for():
    """In the eager engine they have the traced one, and lists with arrays among them are looked through."""

    def F(h, x, p):
        if h[0] > 100.0:  # cannot be traced
            return h
        picked = np.take(p["a"], [2, 0]) + np.flip(p["a"])[:2]
        chosen = np.select([x > 0.5, x > -1.0], [picked, 2.0 * picked], 0.0)
        return 0.5 * h + np.block([np.cbrt(chosen[:1]), np.tile(chosen[1:], 1)])

    def traceable(h, x, p):
        picked = np.take(p["a"], [2, 0]) + np.flip(p["a"])[:2]
        chosen = np.select([x > 0.5, x > -1.0], [picked, 2.0 * picked], 0.0)
        return 0.5 * h + np.block([np.cbrt(chosen[:1]), np.tile(chosen[1:], 1)])

    made = []
    for function, engine in ((F, "eager"), (traceable, "numpy")):
        system = fg.System(function, None, np.zeros(2), {"a": np.array([0.3, -0.2, 0.8])}, np.zeros(2))
        one = fg.Learner(system, fg.RTRL(), fg.SGD(0.1), engine=engine)
        for k in range(5):
            one.step(np.array([k % 2, 0.1]), np.ones(2))
        made.append(one.params["a"])
    np.testing.assert_allclose(*made, rtol=1e-10)
