"""The registry of engines: what follows from an entry, and what is done where an engine cannot run a step."""

import numpy as np
import pytest
from places import DOCS

import fwdgrad as fg
from fwdgrad.cli.options import parser
from fwdgrad.engines.base import Engine
from fwdgrad.engines.names import AUTO, EAGER, ENGINES, TRACED
from fwdgrad.engines.registry import FAST, NUMPY, REGISTERED, usable
from fwdgrad.errors import DeclarationError, UnsupportedOperationError
from fwdgrad.learning import execution

PAGE = DOCS / "engines.md"


class Replay(Engine):
    """Programs as they are, one operation after the other; no exponential functions."""

    name = "replay"

    def compile(self, program):
        self.check(program)
        return program

    def source(self, program, carried=None):
        return str(program)

    def check(self, program, carried=None):
        if any(ins.operation.name == "exp" for ins in program):
            raise UnsupportedOperationError("exp: there is no exponential function here.")


class Absent(Replay):
    """What needs a package that is not there."""

    name, needs = "absent", "no_such_package"


@pytest.fixture
def replay(monkeypatch):
    """A third engine, among the others."""
    monkeypatch.setitem(REGISTERED, "replay", Replay())
    for module in ("fwdgrad.engines.names", "fwdgrad.learning.saving"):
        monkeypatch.setattr(f"{module}.ENGINES", (*ENGINES, "replay"))
    monkeypatch.setattr("fwdgrad.engines.names.engine_named.__defaults__", ((*ENGINES, "replay"),))
    yield "replay"
    execution._family.cache_clear()


def system(function=np.tanh):
    return fg.System(lambda h, x, p: function(p["a"] * h + x), None, np.zeros(2), {"a": np.full(2, 0.5)}, np.zeros(2))


def test_what_users_may_say_follows_from_the_registry():
    assert (AUTO, *REGISTERED) == TRACED
    assert (*TRACED, EAGER) == ENGINES
    for words in (["learn", "x"], ["compare", "x"], ["explain", "x"], ["fit", "x"], ["refine", "x"]):
        for name in REGISTERED:
            assert parser().parse_args([*words, "--engine", name]).engine == name


def test_every_engine_has_a_row_in_its_page():
    rows = {line.split("`")[1].strip('"') for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")}
    assert rows == set(ENGINES)
    assert FAST.needs in PAGE.read_text("utf-8")


def test_a_third_engine_learns_as_numpy_does(replay):
    """What a learner needs of an engine is what the protocol says."""
    xs = np.random.default_rng(0).normal(size=(20, 2))
    made = [fg.Learner(system(), fg.UORO(), fg.SGD(0.1), seed=3, engine=name) for name in ("numpy", replay)]
    for learner in made:
        learner.run(xs, xs)
        learner.predict(xs[0])
    assert [learner.engine for learner in made] == ["numpy", replay]
    np.testing.assert_allclose(made[1].params["a"], made[0].params["a"], rtol=1e-12)


def test_what_an_engine_cannot_run_runs_on_numpy(replay):
    with pytest.warns(UserWarning, match=r"engine='replay' cannot run this step: exp: .*\nIt runs on the NumPy engine"):
        learner = fg.Learner(system(lambda z: np.exp(-z)), fg.RTRL(), fg.SGD(0.1), engine=replay)
    assert learner.engine == "numpy"


def test_an_engine_that_is_not_there_is_named_with_what_it_needs():
    with pytest.raises(DeclarationError, match="needs no_such_package"):
        usable(Absent(), lambda engine: engine, "this")
    assert usable(NUMPY, lambda engine: engine.name, "this") == (NUMPY, "numpy")


def test_without_a_compiler_auto_stays_on_numpy_and_says_why(monkeypatch):
    monkeypatch.setattr(type(FAST), "needs", "no_such_package")
    learner = fg.Learner(system(), fg.RTRL(), fg.SGD(0.1))
    learner.prepare(10_000_000)
    assert learner.engine == "numpy"
    assert "no_such_package, which compiles long runs, is not installed" in learner.engine_reason
    with pytest.raises(DeclarationError, match="no_such_package"):
        fg.Learner(system(), fg.RTRL(), fg.SGD(0.2), engine="compiled")
