"""Influence balancing (UORO paper, section 6), with 7 units: truncated gradients have the wrong sign."""

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import systems

UNITS, MINUS = 7, 4
TURNS = 31  # the shortest window whose mean gradient has the right sign, by `mean_effect`


def mean_effect(units, minus, window):
    """Mean over the steps k of a window of Σ_{j<k} (A^j u)_1: how θ moves s_1 if what came before is forgotten."""
    A = 0.5 * np.eye(units) + 0.5 * np.eye(units, k=1)
    u = np.where(np.arange(units) < units - minus, 1.0, -1.0)
    effects = [(np.linalg.matrix_power(A, j) @ u)[0] for j in range(window)]
    return float(np.mean(np.cumsum(effects)))


def at_rest(units, minus, theta=0.5):
    """The state that the system comes to rest in at a given θ: s_i = ½ s_i + ½ s_{i+1} ± θ."""
    A = 0.5 * np.eye(units) + 0.5 * np.eye(units, k=1)
    u = np.where(np.arange(units) < units - minus, 1.0, -1.0)
    return np.linalg.solve(np.eye(units) - A, theta * u)


def learner(estimator, rate=0.02, units=UNITS, minus=MINUS, seed=0):
    """From rest, with the learning rates of the paper: η/(1 + √t) with t counted in steps, not in windows."""
    schedule = fg.schedules.inverse_sqrt(rate, 1.0)
    made = fg.Learner(systems.influence_balancing(units, minus), estimator, fg.SGD(schedule), seed=seed)
    made.reset_state(at_rest(units, minus))
    return made


def gradient_at_rest(window, units=UNITS, minus=MINUS):
    """Mean gradient that TBPTT sees over a window, at rest: from one update with learning rate 1."""
    made = fg.Learner(systems.influence_balancing(units, minus), fg.TBPTT(window), fg.SGD(1.0))
    made.reset_state(at_rest(units, minus))
    made.run(None, np.ones(window))
    return (0.5 - float(made.params["theta"])) / window


def test_at_rest_the_first_unit_says_two_thetas_per_sign():
    assert at_rest(7, 4)[0] == pytest.approx(2 * (7 - 2 * 4) * 0.5)
    assert at_rest(23, 13)[0] == pytest.approx(2 * (23 - 2 * 13) * 0.5)


@pytest.mark.parametrize("window", [1, 2, 10, TURNS - 1, TURNS, 50])
def test_truncated_gradients_are_those_calculated(window):
    error = at_rest(UNITS, MINUS)[0] - 1
    assert gradient_at_rest(window) == pytest.approx(error * mean_effect(UNITS, MINUS, window), rel=1e-9)


def test_the_exact_gradient_is_that_of_the_state_at_rest():
    made = fg.Learner(systems.influence_balancing(UNITS, MINUS), fg.RTRL(), fg.SGD(1.0))
    made.reset_state(at_rest(UNITS, MINUS))
    for _ in range(200):
        made.step(None, None)  # θ is kept, ∂s/∂θ settles
    made.step(None, 1.0)
    error = at_rest(UNITS, MINUS)[0] - 1
    assert 0.5 - float(made.params["theta"]) == pytest.approx(error * 2 * (UNITS - 2 * MINUS), rel=1e-9)


@pytest.mark.parametrize(("units", "minus", "turns"), [(UNITS, MINUS, TURNS), (23, 13, 110)])
def test_truncated_gradients_point_the_wrong_way_up_to_some_window(units, minus, turns):
    # θ has to fall from ½ to −1/(2 (2·minus − n)): the right sign of the gradient is plus
    effects = [mean_effect(units, minus, window) for window in range(1, turns + 20)]
    assert [effect < 0 for effect in effects] == [window >= turns for window in range(1, turns + 20)]
    for window in (1, 10, turns - 1):
        assert gradient_at_rest(window, units, minus) < 0
    assert gradient_at_rest(turns, units, minus) > 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.UORO(), fg.NoBackTrack()], ids=lambda e: e.name)
def test_what_keeps_the_influence_converges(estimator, seed):
    made = learner(estimator, seed=seed)
    history = made.run(None, np.ones(6000))
    assert history.loss[0] == pytest.approx(2.0, rel=0.1)
    assert np.max(history.loss[-500:]) < 1e-2 * history.loss[0]
    assert float(made.params["theta"]) == pytest.approx(-0.5, abs=0.05)


@pytest.mark.parametrize("window", [1, 10])
@pytest.mark.parametrize("rate", [0.02, 0.002])
def test_truncation_moves_the_parameter_the_wrong_way(window, rate):
    made = learner(fg.TBPTT(window), rate)
    history = made.run(None, np.ones(3000))
    assert float(made.params["theta"]) > 0.55
    assert np.min(history.loss[-500:]) > history.loss[0]


def test_a_window_longer_than_the_turn_converges():
    made = learner(fg.TBPTT(60))
    history = made.run(None, np.ones(6000))
    assert np.max(history.loss[-500:]) < 1e-2 * history.loss[0]
