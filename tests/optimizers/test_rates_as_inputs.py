"""Numbers of learning rates are inputs of a step: another rate is another number, and nothing is made anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.learning.execution import execution_for
from fwdgrad.learning.step import gradient as step
from fwdgrad.optimizers import filled, schedules, split

OPTIMIZERS: list[tuple[Any, Any]] = [
    (fg.SGD(0.05), fg.SGD(0.3)),
    (fg.Adam(1e-2), fg.Adam(3e-2)),
    (fg.AdaGrad(0.1), fg.AdaGrad(0.2)),
    (fg.Momentum(0.1), fg.Momentum(0.2)),
    (fg.RMSprop(0.1), fg.RMSprop(0.2)),
    (fg.AdamW(0.1, weight_decay=0.1), fg.AdamW(0.2, weight_decay=0.3)),
    (fg.Clipped(fg.SGD(0.1), 0.3), fg.Clipped(fg.SGD(0.2), 0.1)),
    (fg.SGD(schedules.inverse_sqrt(0.1, 0.3)), fg.SGD(schedules.inverse_sqrt(0.2, 0.0))),
    (fg.Adam(schedules.inverse_time(0.1, 0.3)), fg.Adam(schedules.inverse_time(1.0, 1.0))),
    (fg.SGD(schedules.inverse_power(0.1)), fg.SGD(schedules.inverse_power(0.3))),
    (fg.SGD(schedules.by_update(schedules.constant(0.1))), fg.SGD(schedules.by_update(0.2))),
    (fg.SGD({"a": 0.1, "b": schedules.inverse_time(0.1, 0.2)}), fg.SGD({"a": 0.3, "b": schedules.inverse_time(1, 2)})),
]


def system(dtype: Any = float) -> fg.System:
    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["a"] * h + p["b"] * x)

    return fg.System(F, None, np.zeros(2, dtype), {"a": np.full(2, 0.5), "b": 0.3}, np.zeros(2))


def learned(s: fg.System, optimizer: Any, engine: str = "numpy", estimator: Any = None) -> list[bytes]:
    xs = np.random.default_rng(0).normal(size=(60, 2))
    learner = fg.Learner(s, estimator or fg.UORO(), optimizer, engine=engine, seed=2)
    history = learner.run(xs, 0.7 * xs)
    learner.finish()
    return [np.asarray(v).tobytes() for v in (history.loss, learner.state, *learner.params.values())]


@pytest.mark.parametrize(("one", "other"), OPTIMIZERS, ids=lambda o: repr(o)[:40])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.covering
def test_results_are_those_with_constants_bit_for_bit(one, other, dtype, monkeypatch):
    """On the NumPy engine, in both orders: what the first learner had traced is right for the second."""
    s = system(dtype)
    made = [learned(s, one), learned(s, other), learned(s, one, estimator=fg.TBPTT(4))]
    monkeypatch.setattr(step, "split", lambda optimizer: (optimizer, ()))
    monkeypatch.setattr(step, "filled", lambda optimizer, _: optimizer)
    monkeypatch.setattr("fwdgrad.learning.execution.split", lambda optimizer: (optimizer, ()))
    again = system(dtype)
    expected = [learned(again, one), learned(again, other), learned(again, one, estimator=fg.TBPTT(4))]
    assert made == expected
    assert made[0] != made[1]


@pytest.mark.parametrize(("one", "other"), OPTIMIZERS, ids=lambda o: repr(o)[:40])
def test_optimizers_that_differ_in_rates_share_their_step(one, other):
    s = system()
    first, second = (execution_for(s, fg.UORO(), o, "numpy") for o in (one, other))
    assert first.program("learn") is second.program("learn")
    assert first.function("learn") is second.function("learn")


def test_two_learners_share_one_compiled_step():
    pytest.importorskip("llvmlite")
    s = system()
    first, second = fg.SGD(0.05), fg.SGD(0.3)
    made = [learned(s, o, "compiled") for o in (first, second)]
    executions = [execution_for(s, fg.UORO(), o, "compiled") for o in (first, second)]
    assert executions[0].stream("learn") is executions[1].stream("learn")
    for got, optimizer in zip(made, (first, second), strict=True):
        expected = learned(system(), optimizer, "numpy")
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(np.frombuffer(a), np.frombuffer(b), rtol=1e-11)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (fg.Adam(1e-2), fg.Adam(1e-2, beta1=0.8)),
        (fg.SGD(0.1), fg.SGD(schedules.constant(0.1))),
        (fg.SGD(schedules.inverse_power(0.1, 0.5)), fg.SGD(schedules.inverse_power(0.1, 1.0))),
        (fg.SGD(lambda t: 1 / t), fg.SGD(lambda t: 2 / t)),
    ],
    ids=["moments", "kind", "exponent", "functions"],
)
def test_what_is_another_step_is_not_shared(one, other):
    """The negative control."""
    s = system()
    first, second = (execution_for(s, fg.UORO(), o, "numpy") for o in (one, other))
    assert first.program("learn") is not second.program("learn")


def test_a_class_of_ones_own_keeps_its_numbers():
    class Mine(fg.SGD):
        pass

    assert split(Mine(0.1)) == (Mine(0.1), ())
    assert filled(*split(Mine(0.1))) == Mine(0.1)


def test_a_checkpoint_goes_on_with_its_rates(tmp_path):
    s, xs = system(), np.random.default_rng(0).normal(size=(40, 2))
    learner = fg.Learner(s, fg.UORO(), fg.SGD(schedules.inverse_time(0.3, 0.2)))
    fg.Learner(s, fg.UORO(), fg.SGD(schedules.inverse_time(0.9, 0.1))).run(xs, xs)
    learner.run(xs, xs)
    learner.save(tmp_path / "run.npz")
    loaded = fg.Learner.load(tmp_path / "run.npz", system())
    for one in (learner, loaded):
        one.reset_state()
        one.run(xs, xs)
    assert learner.params["a"].tobytes() == loaded.params["a"].tobytes()
