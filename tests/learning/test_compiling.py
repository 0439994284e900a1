"""When `engine="auto"` compiles: by what has been done and is known to come, and by what is compiled already."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.engines import compiled
from fwdgrad.engines.known import is_known
from fwdgrad.learning import execution
from fwdgrad.learning.compiling import compile_seconds, predicted_seconds
from fwdgrad.learning.execution import execution_for

pytest.importorskip("llvmlite")

RTRL, SGD = fg.RTRL(), fg.SGD(1e-2)
XS = np.random.default_rng(0).normal(size=(50, 2))
YS = 0.5 * XS


def system() -> fg.System:
    return fg.System(lambda h, x, p: np.tanh(p["a"] * h + x), None, np.zeros(2), {"a": np.full(2, 0.5)}, np.zeros(2))


@pytest.fixture(autouse=True)
def nothing_compiled(tmp_path, monkeypatch):
    """An empty cache, in memory and on disk; and compiling that pays after some hundred steps."""
    monkeypatch.setenv("FWDGRAD_CACHE", str(tmp_path))
    monkeypatch.setattr(compiled.CompiledEngine, "starting", 0.01)
    execution._family.cache_clear()


def steps_that_pay(s: fg.System, estimator: Any = RTRL) -> int:
    """After so many steps, made or to come, a step is compiled."""
    numpy = execution_for(s, estimator, SGD, "numpy")
    return math.ceil(compile_seconds(numpy) / predicted_seconds(numpy))


def test_runs_are_counted_together():
    s = system()
    needed = steps_that_pay(s)
    assert needed > 2 * len(XS)
    learner = fg.Learner(s, RTRL, SGD)
    made = 0
    while made + len(XS) < needed:
        learner.run(XS, YS)
        made += len(XS)
        assert learner.engine == "numpy"
    learner.run(XS, YS)  # with what is known to come it pays
    assert (learner.engine, learner.engine_reason) == ("compiled", "the step is worth compiling")


def test_single_steps_are_counted_and_the_result_stays():
    s = system()
    needed = steps_that_pay(s)
    learner, other = fg.Learner(s, RTRL, SGD, seed=3), fg.Learner(s, RTRL, SGD, seed=3, engine="numpy")
    for k in range(needed + 40):
        x, y = XS[k % 50], YS[k % 50] if k % 7 else None
        np.testing.assert_allclose(learner.step(x, y), other.step(x, y), rtol=1e-12)
        assert (learner.engine == "compiled") == (k + 1 >= needed)
    np.testing.assert_allclose(learner.params["a"], other.params["a"], rtol=1e-12)
    np.testing.assert_allclose(learner.influence_matrix(), other.influence_matrix(), rtol=1e-10)
    assert learner.steps == other.steps


def test_a_stream_of_unknown_length_is_compiled_on_the_way():
    s = system()
    needed = steps_that_pay(s)
    pairs = [(XS[k % 50], YS[k % 50]) for k in range(needed + 200)]
    learner, other = fg.Learner(s, RTRL, SGD), fg.Learner(s, RTRL, SGD, engine="numpy")
    history, expected = learner.run(iter(pairs)), other.run(iter(pairs))
    assert learner.engine == "compiled"
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-10)


@pytest.mark.parametrize("estimator", [fg.TBPTT(5), fg.BPTT()])
def test_in_the_middle_of_a_window(estimator):
    """What is open goes along."""
    s = system()
    learner, other = (fg.Learner(s, estimator, SGD, engine=e) for e in ("auto", "numpy"))
    for k in range(23):
        learner.step(XS[k], YS[k])
        other.step(XS[k], YS[k])
        if k == 12:
            learner.prepare(10**9)
            assert learner.engine == "compiled"
    learner.finish()
    other.finish()
    np.testing.assert_allclose(learner.params["a"], other.params["a"], rtol=1e-12)


def test_windows_count_by_what_they_cost():
    """A sliding window goes back T steps for every s: moved more often, it costs more."""
    s = system()
    windows = (fg.TBPTT(20), fg.TBPTT(20, stride=5), fg.TBPTT(20, stride=1))
    costs = [predicted_seconds(execution_for(s, e, SGD, "numpy")) for e in windows]
    assert costs[0] < costs[1] < costs[2]
    assert costs[2] > 4 * costs[0]


def test_learners_that_share_a_step_are_counted_together():
    s = system()
    needed = steps_that_pay(s)
    engines = []
    for seed in range(needed // 50 + 3):
        learner = fg.Learner(s, RTRL, SGD, seed=seed)
        learner.run(XS, YS)
        engines.append(learner.engine)
    assert engines[0] == "numpy"
    assert engines[-1] == "compiled"
    assert engines == sorted(engines, reverse=True)  # once compiled, always at once
    assert learner.engine_reason == "the step is compiled already"


def test_what_lies_on_disk_is_used_and_nothing_else_is(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled.CompiledEngine, "loading", 0.0)
    s = system()
    before = fg.Learner(s, RTRL, SGD)
    before.run(XS, YS)
    assert before.engine == "numpy"  # nothing there yet: the negative control
    fg.Learner(s, RTRL, SGD, engine="compiled").run(XS, YS)
    execution._family.cache_clear()  # as another process
    program = execution_for(s, RTRL, SGD, "numpy").program("learn")
    carried = len(before._loop.carry)
    assert is_known(program, carried)
    assert not is_known(program, carried + 1)
    after = fg.Learner(s, RTRL, SGD)
    after.step(XS[0], YS[0])
    assert (after.engine, after.engine_reason) == ("compiled", "the step was compiled before")
    for path in tmp_path.glob("*.machine"):
        path.unlink()
    assert not is_known(program, carried)


def test_the_same_calls_choose_the_same():
    """Bit for bit, given the same cache."""
    made = []
    for _ in range(2):
        execution._family.cache_clear()
        for path in execution_cache():
            path.unlink()
        s = system()
        learner = fg.Learner(s, RTRL, SGD)
        for _ in range(steps_that_pay(s) // len(XS) + 2):
            learner.run(XS, YS)
        made.append((learner.engine, learner.params["a"].tobytes()))
    assert made[0] == made[1]
    assert made[0][0] == "compiled"


def execution_cache() -> list[Any]:
    from fwdgrad.engines.known import cache_folder

    return [p for p in cache_folder().rglob("*") if p.is_file()]


def test_looking_does_not_load_the_compiler():
    script = (
        "import sys, numpy as np, fwdgrad as fg\n"
        "s = fg.System(lambda h, x, p: p['a'] * h + x, None, np.zeros(1), {'a': 0.5}, np.zeros(1))\n"
        "fg.Learner(s, fg.RTRL(), fg.SGD(0.1)).run(np.ones((9, 1)), np.ones((9, 1)))\n"
        "print('llvmlite' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
