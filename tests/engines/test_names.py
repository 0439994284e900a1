"""Engines by name, and by what they were called before."""

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.cli.options import parser
from fwdgrad.engines.names import ENGINES, engine_named
from fwdgrad.errors import CheckpointError, DeclarationError


def system():
    return fg.System(lambda h, x, p: np.tanh(p["a"] * h + x), None, np.zeros(2), {"a": np.full(2, 0.5)}, np.zeros(2))


def test_names():
    assert [engine_named(name) for name in ENGINES] == list(ENGINES)
    assert engine_named("numba") == "compiled"
    with pytest.raises(DeclarationError, match="Did you mean 'compiled'"):
        engine_named("complied")
    with pytest.raises(DeclarationError, match="expected one of auto, numpy"):
        engine_named("eager", ("auto", "numpy"))


def test_a_former_name_is_understood_everywhere(tmp_path):
    s = system()
    xs = np.random.default_rng(0).normal(size=(20, 2))
    learner = fg.Learner(s, fg.RTRL(), fg.SGD(0.1), engine="numba")
    learner.run(xs, xs)
    assert learner.engine == "compiled"
    assert fg.Learner(s, fg.RTRL(), fg.SGD(0.1), engine="compiled")._execution._streams is learner._execution._streams
    learner.engine = "numba"  # as a checkpoint of before says
    learner.save(tmp_path / "run.npz")
    assert fg.Learner.load(tmp_path / "run.npz", s).engine == "compiled"
    learner.engine = "fortran"
    learner.save(tmp_path / "run.npz")
    with pytest.raises(CheckpointError, match="an engine that there is not: 'fortran'"):
        fg.Learner.load(tmp_path / "run.npz", s)
    for words in (["learn", "x"], ["compare", "x"], ["explain", "x"], ["fit", "x"], ["refine", "x"]):
        assert parser().parse_args([*words, "--engine", "numba"]).engine == "compiled"
