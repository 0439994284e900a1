"""Models that are deliberately wrong: what is learned by default shows no third of the error without a word."""

import sys

import pytest
from places import ROOT

from fwdgrad.errors import FwdgradError


@pytest.fixture
def wrong_models(monkeypatch):
    """The benchmark, which lies beside the package."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    from benchmarks import wrong_models

    return wrong_models


def silent(wrong_models, kind, **options):
    far, told, _ = wrong_models.learned(kind, 0, **options)
    return not told and not far <= 3


@pytest.mark.quick("a lag*")
@pytest.mark.parametrize("kind", ["an outflow that changes a little", "a lag and a weak sensor"])
def test_none_of_a_few_is_silent(wrong_models, kind):
    """A parameter that changes, and a structure that is not beyond chance."""
    assert not silent(wrong_models, kind)


def test_what_is_wrong_is_silent_if_nothing_is_asked(wrong_models, monkeypatch):
    """Negative control."""
    monkeypatch.setattr("fwdgrad.learning.loops.refitting.Refitting._doubted", lambda self, record, fitted, *_: fitted)
    assert silent(wrong_models, "a lag and a weak sensor")


@pytest.mark.slow
@pytest.mark.parametrize("by", ["joint", "full", "parameter"])
def test_none_of_40_is_silent(wrong_models, by):
    """With the default filter, and with those that are asked for by name."""
    found = []
    for kind in wrong_models.EVERY:
        try:
            found += [kind] * silent(wrong_models, kind, by=by)
        except FwdgradError:  # named
            continue
    assert len(wrong_models.EVERY) >= 40
    assert found == []


@pytest.mark.slow
def test_right_models_are_not_accused(wrong_models):
    """Three in a hundred runs at most; five, as chance has it."""
    kinds = ("a friction", "a lag and a sensor", "crowding", "a leak that was left out")
    told = [bool(wrong_models.learned(kind, seed, right=True)[1]) for kind in kinds for seed in range(25)]
    assert sum(told) <= 5
