"""Forward gradients: over every direction, against differentiation of the unrolled sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import oracles
import pytest
from every_noise import Everything, everywhere_unbiased
from oracles import assert_close, gap

import fwdgrad as fg
from fwdgrad.errors import DeclarationError
from fwdgrad.influence import Directional, Layout, NoiseSpec

SMALL = [oracles.tanh_rnn(2), oracles.lotka_volterra(), oracles.heat(3), oracles.vehicle(), oracles.silent()]


@pytest.mark.quick("lotka-volterra", "heat", "vehicle", "silent")
@pytest.mark.parametrize("case", SMALL, ids=repr)
def test_unbiased_over_all_signs(case):
    """Every direction of ±1, at each of four steps."""
    everywhere_unbiased(case, fg.ForwardGradient("signs"), steps=4)


@pytest.mark.parametrize("case", SMALL[1:], ids=repr)
def test_unbiased_over_gaussian_directions(case):
    """g is quadratic in u, so Gauss–Hermite quadrature with three nodes is exact."""
    estimator = fg.ForwardGradient()
    starts = oracles.gauss_hermite((Everything(case, estimator).count("start"),), 3)
    everywhere_unbiased(case, estimator, steps=4, starts=starts)


@pytest.mark.parametrize("case", [oracles.lotka_volterra(), oracles.vehicle()], ids=repr)
def test_unbiased_with_a_window_and_on_the_eager_engine(case):
    everywhere_unbiased(case, fg.ForwardGradient("signs", window=2), steps=3)
    everywhere_unbiased(case, fg.ForwardGradient("signs", window=2), steps=1, engine="eager")
    everywhere_unbiased(case, fg.ForwardGradient("signs"), steps=2, engine="eager")


@pytest.mark.parametrize("case", [oracles.lotka_volterra(), oracles.silent()], ids=repr)
def test_unbiased_with_two_directions(case):
    everywhere_unbiased(case, fg.ForwardGradient("signs", rank=2), steps=3)


def pasts(case: oracles.Case, directions: str, starts: oracles.Weighted, steps: int = 3) -> tuple[float, float]:
    """Variance of the gradient of the last step, and ‖f‖² of its exact part from before that step."""
    runner = Everything(case, fg.ForwardGradient(directions))
    seen = []
    for vector in starts[1]:
        runner.start = runner.cut(vector, "start")
        carry = runner.initial()
        for t in range(steps):
            carry = runner.run(carry, t)
        seen.append(np.concatenate([np.ravel(g) for g in runner.gradient(carry).values()]))
    table = np.array(seen)
    center = starts[0] @ table
    total, last = oracles.total_gradients(case)[steps - 1], oracles.window_gradient(case, steps - 1, 1)
    past = sum(float(np.sum((total[k] - last[k]) ** 2)) for k in total)
    return float(starts[0] @ np.sum((table - center) ** 2, axis=1)), past


def test_the_variance_is_that_of_a_random_projection():
    """(p − 1)‖f‖² for signs, (p + 1)‖f‖² for Gaussian directions, f the part of the gradient from before the step."""
    case, p = oracles.lotka_volterra(), 4
    variance, past = pasts(case, "signs", oracles.all_signs((p,)))
    assert variance == pytest.approx((p - 1) * past, rel=1e-10)
    variance, past = pasts(case, "normal", oracles.gauss_hermite((p,), 3))
    assert variance == pytest.approx((p + 1) * past, rel=1e-10)


def test_one_direction_is_one_product():
    """v = G u at every step, with G the exact influence."""
    case = oracles.gru(True)
    runner = Everything(case, fg.ForwardGradient())
    runner.start = runner.cut(np.random.default_rng(0).normal(size=runner.count("start")), "start")
    carry, matrices = runner.initial(), oracles.influence_matrices(case)
    for t in range(len(case.xs)):
        carry = runner.run(carry, t)
        state = runner.execution.unpack(carry).influence
        v = sum(np.tensordot(matrices[t][k], u, axes=u.ndim) for k, u in state.u.items())
        assert_close({"v": state.v}, {"v": v}, 1e-13)
        outer = {k: np.tensordot(state.v, u, axes=0) for k, u in state.u.items()}
        assert gap(runner.influence(carry), outer) == 0.0


@dataclass(frozen=True)
class Redrawn(Directional):
    """Negative control: a new direction at every step, with the v of the old one."""

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        specs = super().noise(layout)
        return (*specs, *(spec._replace(when="step") for spec in specs))

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        fresh = {k: np.reshape(a, u.shape) for a, (k, u) in zip(noise, state.u.items(), strict=True)}
        return super().advance(state._replace(u=fresh), lin, noise)


def test_a_direction_redrawn_at_every_step_is_seen():
    case = oracles.silent()
    everywhere_unbiased(case, fg.Estimator(Directional("signs")), steps=4)
    with pytest.raises(AssertionError, match="mean influence"):
        everywhere_unbiased(case, fg.Estimator(Redrawn("signs")), steps=4)


# ---------------------------------------------------------------- learners


def learned(engine: str, seed: int = 0, **options: Any) -> fg.Learner:
    case = oracles.vehicle(20)
    learner = fg.Learner(case.system, fg.ForwardGradient(**options), fg.SGD(0.01), seed=seed, engine=engine)
    for x, y in zip(case.xs, case.ys, strict=True):
        learner.step(x, y)
    return learner


@pytest.mark.parametrize("options", [{}, {"rank": 3}, {"window": 3}, {"directions": "signs"}], ids=str)
def test_both_engines_learn_the_same(options):
    assert_close(learned("eager", **options).params, learned("numpy", **options).params, 1e-12)
    assert gap(learned("numpy", 1, **options).params, learned("numpy", **options).params) > 1e-6


def direction(learner: fg.Learner) -> np.ndarray:
    """u, up to its scale: the row space of G̃."""
    row = learner.influence_matrix()[0]
    return row / np.linalg.norm(row)


def test_a_trajectory_has_one_direction_and_a_new_one_another():
    case = oracles.vehicle(6)
    learner = fg.Learner(case.system, fg.ForwardGradient(), fg.SGD(1e-9))
    seen = []
    for _ in range(2):
        for x, y in zip(case.xs, case.ys, strict=True):
            learner.step(x, y)
            if learner.influence_matrix()[0].any():
                seen.append(direction(learner))
        learner.reset_state()
        assert not learner.influence_matrix().any()
    half = len(seen) // 2
    for same in (seen[:half], seen[half:]):
        assert min(abs(np.dot(same[0], other)) for other in same) > 1 - 1e-9
    assert abs(np.dot(seen[0], seen[-1])) < 0.999


def test_saved_and_loaded_bit_for_bit(tmp_path):
    """The direction, and the next one."""
    case = oracles.vehicle(30)
    samples = list(zip(case.xs, case.ys, strict=True))

    def go(learner: fg.Learner, rows: list[Any], save: bool) -> fg.Learner:
        for k, (x, y) in enumerate(rows):
            if save and k == 12:
                learner.save(tmp_path / "run.npz")
                learner = fg.Learner.load(tmp_path / "run.npz", case.system)
            learner.step(x, y)
        return learner

    ends = []
    for save in (False, True):
        learner = fg.Learner(case.system, fg.ForwardGradient(rank=2), fg.SGD(0.01), seed=3)
        learner = go(learner, samples[:20], save)
        learner.reset_state()
        ends.append(go(learner, samples[20:], save))
    assert ends[0].estimator == ends[1].estimator == fg.ForwardGradient(rank=2)
    assert gap(ends[1].params, ends[0].params) == 0.0
    assert np.array_equal(ends[0].influence_matrix(), ends[1].influence_matrix())


def test_memory_is_that_of_rank_one():
    case = oracles.tanh_rnn(3)
    learner = fg.Learner(case.system, fg.ForwardGradient())
    assert learner.influence_nbytes() == 8 * (3 + 9 + 6 + 3)


# ---------------------------------------------------------------- refusals


def test_refusals():
    with pytest.raises(DeclarationError, match=r"ForwardGradient\(directions=…\): expected .*, got 'sign'"):
        fg.ForwardGradient("sign")
    with pytest.raises(DeclarationError, match=r"Directional\(directions=…\): expected one of .*, got 'uniform'"):
        Directional("uniform")
    with pytest.raises(DeclarationError, match=r"ForwardGradient\(rank=…\)"):
        fg.ForwardGradient(rank=0)
    with pytest.raises(DeclarationError, match=r"ForwardGradient: .*window"):
        fg.ForwardGradient(window=0)


def test_named():
    assert fg.estimators.estimator_named("forward-gradient") == fg.ForwardGradient()
    assert fg.estimators.estimator_named("forward-gradient:signs", 4) == fg.ForwardGradient("signs", 4)
    with pytest.raises(DeclarationError, match="expected normal or signs"):
        fg.estimators.estimator_named("forward-gradient:2")
