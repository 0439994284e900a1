"""Substeps are a loop: all is as if they were written out, and a step's program is as long for many as for two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.learning.execution import Execution
from fwdgrad.program import repeat
from fwdgrad.program.costs import length
from fwdgrad.system import moving
from fwdgrad.system.tracing import traced

pytestmark = pytest.mark.filterwarnings("ignore::fwdgrad.errors.DeadParameterWarning")
"""Two entries of `kinetics` have no derivative, as is said when a learner is made."""


def kinetics(h: Any, x: Any, p: Any) -> Any:
    """A chain with a fast reaction back, an input, and a leaf of each kind."""
    a, b, c = h[0], h[1], h[2]
    turnover = p["k"][0] * a - p["k"][1] * b * c
    return np.stack([-turnover + x[0], turnover - 3.0 * b, p["V"][0, 0] * b - p["V"][1, 1] * c])


def ring(h: Any, x: Any, p: Any) -> Any:
    """A sparse system: in three substeps a cell reaches three neighbours."""
    return p["c"] * (np.roll(h, 1) - h) - p["d"] * np.sin(h)


SYSTEMS: dict[str, dict[str, Any]] = {
    "euler": {},
    "rk4": {"method": "rk4", "substeps": 3},
    "sdirk2": {"method": "sdirk2", "substeps": 2},
    "uneven": {"method": "heun", "dt": "t", "x": {"u": np.ones(1), "t": 0.3}},
    "start": {
        "state": lambda p: np.stack([p["k"][0], p["k"][1], p["k"][0] * 0 + 1.0]),
        "method": "heun",
        "first": "initial",
    },
    "observer": {"injection": 0.1 * np.eye(3)},
    "ring": {"F": ring, "state": np.linspace(0.1, 1, 9), "params": {"c": np.full(9, 0.3), "d": 0.2}, "substeps": 3},
}


def system(name: str, **more: Any) -> fg.System:
    given = {"F": kinetics, "Y": None, "state": np.array([1.0, 0.2, 0.4]), "dt": 0.2, "x": np.ones(1)}
    given |= {"method": "euler", "substeps": 4}
    given["params"] = {"k": fg.positive(np.array([0.5, 0.8])), "V": np.array([[0.7, 0.0], [0.0, 0.9]])}
    given |= SYSTEMS[name] | more
    F = given.pop("F")
    if isinstance(given["x"], dict):
        given["F"] = lambda h, x, p: F(h, x["u"], p)
    else:
        given["F"] = F
    return fg.System(**given)


@pytest.fixture
def written_out(monkeypatch):
    """Systems that are traced from here on have their substeps one after the other."""

    def apply(on: bool) -> None:
        def steps(body: Any, start: Any, count: int) -> Any:
            for _ in range(count):
                start = body(start)
            return start

        monkeypatch.setattr(moving, "repeat", steps if on else repeat)

    return apply


def samples(s: fg.System, count: int = 9) -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(0)
    ys = 1.0 + 0.3 * rng.normal(size=(count, *s.prediction.shape))
    ys[4] = np.nan
    u = rng.uniform(0.5, 1.5, size=(count, 1))
    return ({"u": u, "t": rng.uniform(0.0, 0.4, size=count)} if isinstance(s.x, dict) else u), ys


def learned(s: fg.System, estimator: Any, engine: str = "numpy", optimizer: Any = None) -> list[np.ndarray]:
    """All that a learner has come to after some samples."""
    learner = fg.Learner(s, estimator, optimizer or fg.SGD(0.01), seed=1, engine=engine)
    xs, ys = samples(s)
    history = learner.run(xs, ys)
    learner.finish()
    assert learner.engine == engine
    return [history.loss, learner.state, *learner.params.values(), learner.influence_matrix()]


def close(got: Any, expected: Any) -> None:
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


ESTIMATORS = ["rtrl", "sparse-rtrl", "snap:1", "uoro", "nobacktrack", "tbptt:4", "bptt", "hybrid:3"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_patterns_are_those_of_the_steps_written_out(name, written_out):
    made = []
    for on in (False, True):
        written_out(on)
        made.append(traced(system(name)).patterns)
    loop, steps = made
    for mine, theirs in ((loop.transition, steps.transition), (loop.output, steps.output)):
        pairs = [(mine.state, theirs.state), (mine.inputs, theirs.inputs)]
        pairs += [(mine.leaves[k], theirs.leaves[k]) for k in mine.leaves]
        pairs += [(mine.constant[k], theirs.constant[k]) for k in mine.leaves]
        for a, b in pairs:
            assert np.array_equal(a.toarray(), b.toarray())
    assert loop.without_rule == ()
    assert {k: c.tolist() for k, c in loop.row_colours.items()} == {k: c.tolist() for k, c in steps.row_colours.items()}
    assert loop.column_colours.tolist() == steps.column_colours.tolist()


def test_a_sparse_system_stays_sparse():
    """Three Euler substeps on a ring reach three cells back; patterns that were dense would pass everything else."""
    pattern = traced(system("ring")).patterns.transition.state.toarray()
    expected = [[(i - j) % 9 <= 3 for j in range(9)] for i in range(9)]
    assert np.array_equal(pattern, expected)


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("estimator", ["rtrl", "uoro", "tbptt:4"])
@pytest.mark.covering
def test_learning_is_that_of_the_steps_written_out(name, estimator, written_out):
    made = []
    for on in (False, True):
        written_out(on)
        made.append(learned(system(name), estimator))
    close(*made)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_on_a_sparse_system(estimator, written_out):
    made = []
    for on in (False, True):
        written_out(on)
        made.append(learned(system("ring", method="heun"), estimator))
    close(*made)


@pytest.mark.parametrize("estimator", ["rtrl", "uoro", "tbptt:3"])
def test_engines_agree(estimator):
    pytest.importorskip("llvmlite")
    s = system("ring")
    reference = learned(s, estimator, "eager")
    close(learned(s, estimator, "numpy"), reference)
    close(learned(s, estimator, "compiled"), reference)


@pytest.mark.parametrize("name", ["rk4", "sdirk2", "uneven", "start", "observer"])
def test_autograd_on_the_functions_as_they_are_agrees(name):
    s = system(name)
    close(learned(s, "rtrl", "numpy"), learned(s, "rtrl", "eager"))


@pytest.mark.slow
def test_a_filter_learns_the_same(written_out):
    made = []
    for on in (False, True):
        written_out(on)
        made.append(learned(system("rk4"), "rtrl", optimizer=fg.InformationFilter(prior=1.0)))
    close(*made)


@pytest.mark.parametrize("method", ["euler", "rk4", "sdirk2"])
@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.UORO(), fg.TBPTT(4)])
@pytest.mark.covering
def test_a_step_is_as_long_for_many_substeps_as_for_two(method, estimator):
    key = "forward" if estimator == fg.TBPTT(4) else "learn"
    sizes = [
        length(Execution(system("rk4", method=method, substeps=k), estimator, fg.SGD(0.1), "numpy").program(key))
        for k in (2, 30)
    ]
    assert sizes[0] == sizes[1]


def test_the_comparison_sees_a_substep_too_few(written_out, monkeypatch):
    """The negative control."""
    written_out(True)
    expected = learned(system("rk4"), "rtrl")
    written_out(False)
    right = moving.repeat
    monkeypatch.setattr(moving, "repeat", lambda body, start, count: right(body, start, count - 1))
    with pytest.raises(AssertionError):
        close(learned(system("rk4"), "rtrl"), expected)
