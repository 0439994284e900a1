"""Targets that a learner takes for numbers with Gaussian noise, and are counts; and optimizers that claim nothing."""

import warnings

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import CalibrationWarning


def growth(**options):
    """A logistic population."""
    params = {"r": fg.positive(0.5), "K": fg.positive(60.0)}
    return fg.System(lambda h, x, p: h + 0.1 * p["r"] * h * (1 - h / p["K"]), None, np.array([3.0]), params, **options)


MEANS = growth().simulate(steps=150, params={"r": 0.7, "K": 50.0}).outputs
COUNTS = np.random.default_rng(0).poisson(MEANS).astype(float)
ROUNDED = np.round(np.abs(MEANS + 2.0 * np.random.default_rng(1).normal(size=MEANS.shape)))
LEARNERS = {
    "joint": lambda: fg.Learner(growth(), engine="numpy"),
    "information": lambda: fg.Learner(
        growth(loss=fg.losses.SquaredError(5.0)), fg.RTRL(), fg.InformationFilter("full", "exact"), engine="numpy"
    ),
}


def said(learner, ys):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        learner.run(ys=ys)
    return [str(w.message) for w in told if w.category is CalibrationWarning and "look like counts" in str(w.message)]


@pytest.mark.parametrize("by", LEARNERS)
def test_counts_are_told_of_once_and_in_the_report(by):
    learner = LEARNERS[by]()
    assert len(said(learner, COUNTS)) == 1
    assert any("losses.Poisson()" in remark for remark in learner.report().remarks)


def test_rounded_measurements_are_not():
    """Negative control."""
    assert said(LEARNERS["information"](), ROUNDED) == []


def test_the_report_of_gradient_steps_says_that_they_claim_nothing():
    learner = fg.Learner(growth(), fg.RTRL(), fg.Adam(1e-2), engine="numpy")
    learner.run(ys=MEANS)
    (remark,) = learner.report().remarks
    assert "Adam says neither how well" in remark
    assert not any("says neither" in remark for remark in LEARNERS["joint"]().report().remarks)


def test_nothing_is_said_of_a_network():
    """Gradient steps are what there is."""
    system = fg.System(lambda h, x, p: np.tanh(p["W"] @ h + x), None, np.zeros(8), {"W": np.zeros((8, 8))}, np.zeros(8))
    assert fg.Learner(system, fg.RTRL(), fg.Adam(1e-2)).report().remarks == ()
