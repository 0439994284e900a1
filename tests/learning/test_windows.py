"""Windows of every kind, with θ fixed: exact gradients by BPTT, truncations, sliding windows, random ends."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import oracles
import pytest
from oracles import Case, Leaves, assert_close, gap

import fwdgrad as fg
from fwdgrad.errors import DeclarationError, NonFiniteError
from fwdgrad.estimators.windows import RandomEnd, Sliding
from fwdgrad.influence import Exact, NoInfluence, RankOne

CASES = {case.name: case for case in oracles.every_case()}
ALL = pytest.mark.parametrize("name", list(CASES))
ENGINES = pytest.mark.parametrize("engine", ["numpy", "eager"])


@dataclass(frozen=True)
class Collect:
    """An optimizer that changes nothing and adds up the gradients."""

    def init(self, params: Leaves) -> Leaves:
        return {k: np.zeros(p.shape, p.dtype) for k, p in params.items()}

    def update(self, grads: Leaves, state: Leaves, params: Leaves) -> tuple[Leaves, Leaves]:
        return {}, {k: state[k] + grads[k] for k in grads}


class Scripted:
    """Noise of our choice, one row after the other."""

    def __init__(self, rows: Any) -> None:
        self.rows, self.used = list(rows), 0

    def peek(self) -> Any:
        return (self.rows[self.used],)

    def advance(self) -> None:
        self.used += 1


def gradients(
    case: Case, estimator: fg.Estimator, engine: str = "numpy", noise: Any = None, finish: bool = True
) -> Any:
    """The sum of the gradients after each step, and, as the last, after the end of the trajectory."""
    learner = fg.Learner(case.system, estimator, Collect(), engine=engine)
    if noise is not None:
        learner._loop.noise = noise
    path = []
    for x, y in zip(case.xs, case.ys, strict=True):
        learner.step(x, y)
        path.append(dict(learner._unpacked.optimizer))
    if finish:
        learner.finish()
        path.append(dict(learner._unpacked.optimizer))
    return path


def total(parts: Any) -> Leaves:
    parts = list(parts)
    return {k: sum(g[k] for g in parts) for k in parts[0]}


def long(case: Case, length: int) -> Case:
    """The same system with its samples again and again."""
    return replace(
        case,
        xs=[case.xs[t % len(case.xs)] for t in range(length)],
        ys=[case.ys[t % len(case.ys)] for t in range(length)],
    )


# ---------------------------------------------------------------- the whole sequence


@ALL
@ENGINES
@pytest.mark.parametrize("checkpoints", [False, True])
@pytest.mark.covering
def test_bptt_is_autograd_through_the_unrolled_sequence(name, engine, checkpoints):
    case = CASES[name].without(1)
    *before, last = gradients(case, fg.BPTT(checkpoints), engine)
    assert_close(last, total(oracles.total_gradients(case)), 1e-13)
    assert all(gap(g, {}) == 0 for g in before), "nothing is learned before the end"


@pytest.mark.parametrize("length", [63, 64, 65, 128, 200])
@pytest.mark.parametrize("checkpoints", [False, True])
def test_bptt_over_many_segments(length, checkpoints):
    case = long(CASES["gru-reset-before"], length)
    exact = gradients(case, fg.RTRL())[-1]
    assert_close(gradients(case, fg.BPTT(checkpoints))[-1], exact, 1e-12)
    short = replace(case, xs=case.xs[:-1], ys=case.ys[:-1])
    assert gap(gradients(short, fg.BPTT(checkpoints))[-1], exact) > 1e-4, "a step less is another gradient"


def test_a_run_is_a_sequence_and_so_is_what_reset_state_ends():
    case = CASES["tanh-rnn-3"]
    exact = total(oracles.total_gradients(case))
    learner = fg.Learner(case.system, fg.BPTT(), Collect())
    learner.run(iter(zip(case.xs, case.ys, strict=True)))
    assert_close(learner._unpacked.optimizer, exact, 1e-13)
    learner.reset_state()
    for x, y in zip(case.xs, case.ys, strict=True):
        learner.step(x, y)
    learner.reset_state()
    assert_close(learner._unpacked.optimizer, {k: 2 * g for k, g in exact.items()}, 1e-13)
    for x, y in zip(case.xs, case.ys, strict=True):
        learner.step(x, y)
    learner.reset_state(finish=False)
    learner.finish()
    assert_close(learner._unpacked.optimizer, {k: 2 * g for k, g in exact.items()}, 1e-13)


def test_checkpoints_hold_the_square_root_of_the_states():
    case = CASES["tanh-rnn-3"]
    learner = fg.Learner(case.system, fg.BPTT(checkpoints=True), Collect())
    for t in range(3000):
        learner.step(case.xs[t % 4], case.ys[t % 4])
        held, spacing = len(learner._loop._states), learner._loop._spacing
        assert held <= 2 * math.sqrt(t + 1) + 2
        assert spacing <= math.sqrt(2 * (t + 1)) + 1
    plain = fg.Learner(case.system, fg.BPTT(), Collect())
    plain.run(iter(zip(case.xs * 5, case.ys * 5, strict=True)))
    assert len(plain._loop._states) == 0, "what is finished is not kept"


# ---------------------------------------------------------------- windows of a fixed length


@pytest.mark.parametrize("window", [1, 2, 3, 4, 6, 7, 100])
def test_truncation_takes_the_state_before_each_window_as_fixed(window):
    """The end of the sequence closes the last window; one that holds the whole sequence is BPTT."""
    case = CASES["gru-reset-after"].without(1)
    length = len(case.xs)
    parts = [oracles.window_gradient(case, a, min(window, length - a)) for a in range(0, length, window)]
    assert_close(gradients(case, fg.TBPTT(window))[-1], total(parts), 1e-13)
    exact = total(oracles.total_gradients(case))
    if window >= length:
        assert_close(total(parts), exact, 1e-13)
    else:
        assert gap(total(parts), exact) > 1e-4


@ENGINES
@pytest.mark.parametrize(("length", "stride"), [(2, 1), (4, 1), (4, 2), (6, 3), (3, 3)])
def test_a_sliding_window_counts_each_loss_once(length, stride, engine):
    """An update from the newest losses, backward through all steps of the window, fewer at the beginning."""
    case = CASES["lstm-2"].without(2) if "lstm-2" in CASES else CASES["tanh-rnn-3"].without(2)
    path = gradients(case, fg.TBPTT(length, stride), engine, finish=False)
    parts: list[Leaves] = []
    for end in range(stride, len(case.xs) + 1, stride):
        first = max(end - length, 0)
        newest = case.without(2, *range(first, end - stride))
        parts.append(oracles.window_gradient(newest, first, end - first))
        assert_close(path[end - 1], total(parts), 1e-13, f"after step {end - 1}")


@pytest.mark.parametrize(
    "window",
    [Sliding(1), Sliding(2), Sliding(3), Sliding(None), Sliding(4, 2), Sliding(3, 1), Sliding(50, 10)],
    ids=str,
)
@pytest.mark.parametrize("name", ["tanh-rnn-3", "gru-reset-before", "vehicle", "lotka-volterra"])
@pytest.mark.covering
def test_exact_influence_makes_every_window_exact(window, name):
    """Hybrid(T) is RTRL, for any window, stride and length of the sequence."""
    case = CASES[name].without(1)
    exact = gradients(case, fg.RTRL())[-1]
    estimator = fg.Estimator(Exact(), window)
    assert_close(gradients(case, estimator)[-1], exact, 1e-13)
    assert_close(exact, total(oracles.total_gradients(case)), 1e-13)
    learner = fg.Learner(case.system, estimator, Collect())
    learner.run(iter(zip(case.xs, case.ys, strict=True)))
    learner.finish()
    rtrl = fg.Learner(case.system, fg.RTRL(), Collect())
    rtrl.run(iter(zip(case.xs, case.ys, strict=True)))
    assert np.max(np.abs(learner.influence_matrix() - rtrl.influence_matrix())) < 1e-12


def test_hybrid_by_default_takes_as_many_steps_as_state_variables():
    case = CASES["tanh-rnn-3"]
    path = gradients(case, fg.Hybrid(), finish=False)
    exact = oracles.total_gradients(case)
    assert [gap(g, {}) > 0 for g in path[:3]] == [False, False, True]
    assert_close(path[2], total(exact[:3]), 1e-13)


def mean_over_signs(estimator: fg.Estimator, case: Case, rows: int) -> Leaves:
    """The total gradient, averaged over all signs of all reductions."""
    size = case.system.size
    patterns = list(itertools.product((-1.0, 1.0), repeat=size * rows))
    parts = [gradients(case, estimator, noise=Scripted(np.reshape(p, (rows, size))))[-1] for p in patterns]
    return {k: g / len(parts) for k, g in total(parts).items()}


@pytest.mark.parametrize("scale", ["common", "unit"])
def test_random_influence_with_a_sliding_window_is_unbiased(scale):
    """Length 3, stride 1, five steps: the influence is reduced after the third and the fourth of them."""
    case = oracles.tanh_rnn(2)
    case = replace(case, xs=case.xs[:5], ys=case.ys[:5])
    estimator = fg.Estimator(RankOne(scale), Sliding(3, 1))
    exact = total(oracles.total_gradients(case))
    assert_close(mean_over_signs(estimator, case, 4), exact, 1e-12)
    truncated = gradients(case, fg.TBPTT(3, 1))[-1]
    assert gap(truncated, exact) > 1e-4, "the past before the window does matter here"


# ---------------------------------------------------------------- windows that end at random


def mean_over_ends(estimator: fg.Estimator, case: Case, probability: float) -> Leaves:
    """The total gradient, averaged over every pattern of ends."""
    mean: dict[str, Any] = {}
    for ends in itertools.product((False, True), repeat=len(case.xs)):
        weight = math.prod(probability if end else 1 - probability for end in ends)
        found = gradients(case, estimator, noise=Scripted(0.0 if end else 0.999 for end in ends))[-1]
        mean = {k: mean.get(k, 0.0) + weight * g for k, g in found.items()}
    return mean


@ENGINES
@pytest.mark.parametrize("probability", [0.1, 0.5])
@pytest.mark.parametrize("name", ["tanh-rnn-3", "lotka-volterra"])
def test_random_truncation_is_unbiased(name, probability, engine):
    """Over every pattern of ends the mean gradient of the sequence is that of BPTT."""
    case = CASES[name].without(1)
    case = replace(case, xs=case.xs[:5], ys=case.ys[:5])
    if engine == "eager":
        case = replace(case, xs=case.xs[:3], ys=case.ys[:3])
    exact = total(oracles.total_gradients(case))
    assert_close(mean_over_ends(fg.ARTBP(probability), case, probability), exact, 1e-13)
    assert gap(mean_over_ends(fg.ARTBP(probability), case, probability + 0.05), exact) > 1e-4, "another chance is seen"


def test_random_ends_come_from_the_seed():
    case = long(CASES["tanh-rnn-3"], 300)

    def learned(seed: int) -> tuple[Any, int]:
        learner = fg.Learner(case.system, fg.ARTBP(0.25), Collect(), seed=seed)
        found, updates = {k: v for k, v in learner._unpacked.optimizer.items()}, 0
        for x, y in zip(case.xs, case.ys, strict=True):
            learner.step(x, y)
            now = dict(learner._unpacked.optimizer)
            updates += gap(now, found) > 0
            found = now
        return found, updates

    (first, ends), (again, _), (other, _) = learned(0), learned(0), learned(1)
    assert gap(first, again) == 0 < gap(first, other)
    assert 50 < ends < 100, "a quarter of 300, give or take three standard deviations"


# ---------------------------------------------------------------- saving, failing, refusing

OPEN = {
    "sliding": fg.TBPTT(6, stride=2),
    "sliding-uoro": fg.Estimator(RankOne(), Sliding(4, 2), name="UORO"),
    "hybrid": fg.Hybrid(5),
    "bptt": fg.BPTT(),
    "bptt-checkpoints": fg.BPTT(checkpoints=True),
    "artbp": fg.ARTBP(0.15),
}


@pytest.mark.parametrize("estimator", OPEN.values(), ids=OPEN)
@pytest.mark.parametrize("cuts", [(1, 20), (7, 8), (5, 66)])
@pytest.mark.covering
def test_a_run_saved_in_the_middle_of_a_window_goes_on_bit_for_bit(estimator, cuts, tmp_path):
    case = long(CASES["gru-reset-before"], 90)
    samples = list(zip(case.xs, case.ys, strict=True))
    whole = fg.Learner(case.system, estimator, fg.Adam(0.01), seed=4)
    pieces = fg.Learner(case.system, estimator, fg.Adam(0.01), seed=4)
    for t, (x, y) in enumerate(samples):
        whole.step(x, y)
        pieces.step(x, y)
        if t + 1 in cuts:
            pieces.save(tmp_path / "run.npz")
            pieces = fg.Learner.load(tmp_path / "run.npz", case.system)
            assert pieces.steps == t + 1
    whole.finish()
    pieces.finish()
    for k in whole.params:
        assert np.array_equal(whole.params[k], pieces.params[k])
        assert not np.array_equal(whole.params[k], case.system.params[k])
    assert np.array_equal(whole.state, pieces.state)


# ---- what t of a schedule counts

OBSERVED = [True, True, False, True, True, True, True, False, False, True, True]


def drift(rate: Any, estimator: fg.Estimator, engine: str = "numpy") -> float:
    """How far θ goes where every sample with a target has the gradient −1."""
    start = {"a": np.zeros(1)}
    system = fg.System(lambda h, x, p: h, lambda h, x, p: p["a"] + 0.0 * h, np.zeros(1), start, loss=_slope)
    learner = fg.Learner(system, estimator, fg.SGD(rate), engine=engine)
    learner.run(None, np.where(OBSERVED, 1.0, np.nan)[:, None])
    learner.finish()
    return float(learner.params["a"][0])


def _slope(prediction: Any, target: Any) -> Any:
    return -np.sum(prediction * target)


@pytest.mark.parametrize("engine", ["numpy", "eager"])
@pytest.mark.parametrize(
    ("estimator", "ends"),
    [
        (fg.RTRL(), range(1, 12)),
        (fg.TBPTT(1), range(1, 12)),
        (fg.TBPTT(4), (4, 8, 11)),
        (fg.TBPTT(6, stride=2), (2, 4, 6, 8, 10, 11)),
        (fg.Hybrid(3), (3, 6, 9, 11)),
        (fg.BPTT(), (11,)),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_a_schedule_counts_samples_with_a_target_whatever_the_window(estimator, ends, engine):
    """At the end of a window, η is that of the number of samples learned from; `by_update` counts updates."""
    seen = [sum(OBSERVED[:end]) for end in ends]
    new = [b - a for a, b in itertools.pairwise([0, *seen])]
    rate = fg.schedules.inverse_time(1.0, 0.5)
    expected = sum(n * float(rate(s)) for n, s in zip(new, seen, strict=True) if n)
    assert drift(rate, estimator, engine) == pytest.approx(expected, rel=1e-12)
    counted = sum(n * float(rate(k)) for k, n in enumerate(filter(None, new), start=1))
    assert drift(fg.schedules.by_update(rate), estimator, engine) == pytest.approx(counted, rel=1e-12)


def test_a_schedule_counts_samples_up_to_a_random_end():
    """As many as `BPTT` would, where the window ends last."""
    rate = fg.schedules.inverse_time(1.0, 0.5)
    seen: list[float] = []

    def noted(t: Any) -> Any:
        seen.append(float(t))
        return rate(t)

    drift(noted, fg.ARTBP(0.4), "eager")
    assert seen[2:] == sorted(seen[2:])  # the first two are the declaration's
    assert set(seen[2:]) <= set(range(1, sum(OBSERVED) + 1))
    assert seen[-1] == sum(OBSERVED)


@dataclass(frozen=True)
class Exploding:
    """An optimizer whose third update is infinite, unless it is told to behave."""

    calm: bool = False

    def init(self, params: Leaves) -> Any:
        return np.zeros(())

    def update(self, grads: Leaves, state: Any, params: Leaves) -> Any:
        size = np.where(state < 2, 0.01, 0.01 if self.calm else np.inf)
        return {k: -size * g for k, g in grads.items()}, state + 1.0


@pytest.mark.parametrize("estimator", [*OPEN.values(), fg.UORO()], ids=[*OPEN, "online"])
def test_what_is_not_finite_at_the_end_of_a_window_changes_nothing(estimator):
    """A refused step can be tried again, with the same refusal; nothing of the window is lost or doubled."""
    case = long(CASES["tanh-rnn-3"], 80)
    samples = list(zip(case.xs, case.ys, strict=True))
    learner = fg.Learner(case.system, estimator, Exploding(), seed=1)
    calm = fg.Learner(case.system, estimator, Exploding(calm=True), seed=1)

    def trained(learner: fg.Learner) -> None:
        for t, (x, y) in enumerate(samples):
            learner.step(x, y)
            if t % 10 == 9:
                learner.finish()

    with pytest.raises(NonFiniteError) as refusal:
        trained(learner)
    stop = refusal.value.step
    for t, (x, y) in enumerate(samples[: learner.steps]):
        calm.step(x, y)
        if t % 10 == 9 and t + 1 < learner.steps:
            calm.finish()
    assert stop == learner.steps
    assert all(np.array_equal(calm.params[k], learner.params[k]) for k in calm.params)
    assert np.array_equal(calm.state, learner.state)
    mine, theirs = learner._loop.arrays(), calm._loop.arrays()
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(mine[k], theirs[k]) for k in mine)
    learner.reset_state(finish=False)
    assert np.array_equal(learner.state, case.system.state)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fg.TBPTT(0), "at least 1"),
        (lambda: fg.TBPTT(4, stride=3), "multiple of the stride"),
        (lambda: fg.TBPTT(4, stride=0), "at least 1"),
        (lambda: fg.Hybrid(2.5), "integer"),
        (lambda: fg.ARTBP(0.0), r"\(0, 1\)"),
        (lambda: fg.ARTBP(1), "TBPTT"),
        (lambda: fg.Estimator(RankOne(), RandomEnd(0.1)), "NoInfluence"),
        (lambda: fg.Estimator(Exact(), fg.BPTT().window), "NoInfluence"),
        (lambda: fg.Estimator(NoInfluence(), "all"), "integer"),
        (lambda: fg.SnAp(1).__class__(fg.SnAp(1).influence, Sliding(2)), "single step"),
    ],
)
def test_windows_that_cannot_be(make, words):
    with pytest.raises(DeclarationError, match=words):
        make()
