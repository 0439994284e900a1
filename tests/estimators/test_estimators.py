"""Every estimator against differentiation of the unrolled sequence; the random ones over every pattern of signs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import Runner, assert_close, assert_unbiased, gap

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import NAMED, estimator_named
from fwdgrad.estimators.windows import WholeSequence
from fwdgrad.influence import Exact, ExplicitRow, Layout, NoInfluence, NoiseSpec, RankOne
from fwdgrad.influence.base import drop_zero, squared_norm
from fwdgrad.learning.noise import BLOCK, NoiseStream

CASES = {case.name: case for case in oracles.every_case()}
ALL = pytest.mark.parametrize("name", list(CASES))
ENGINES = pytest.mark.parametrize("engine", ["numpy", "eager"])


def random_estimators(**options: Any) -> list[fg.Estimator]:
    return [fg.UORO(**options), fg.NoBackTrack(**options)]


RANDOM = pytest.mark.parametrize("estimator", random_estimators(), ids=lambda e: e.name)


# ---------------------------------------------------------------- exact estimators


@ALL
def test_the_oracle_itself(name):
    """autograd through the unrolled sequence against complex steps, which know no rule of differentiation."""
    case = CASES[name]
    gradients = oracles.total_gradients(case)
    for t in (0, len(case.xs) - 1):
        assert_close(gradients[t], oracles.complex_step(case, t), 1e-14)


@pytest.mark.covering
@ALL
@ENGINES
def test_rtrl_is_backpropagation_through_time(name, engine):
    """At every step: the gradient of that step's loss through everything before it, and the influence matrix."""
    case = CASES[name].without(2)
    gradients, matrices = oracles.total_gradients(case), oracles.influence_matrices(case)
    runner = Runner(case, fg.RTRL(), engine)
    carry = runner.initial()
    for t in range(len(case.xs)):
        carry = runner.run(carry, t)
        if case.ys[t] is not None:
            assert_close(runner.gradient(carry), gradients[t], 1e-13, f"gradient of step {t}")
        G = runner.influence(carry)
        assert_close(G, {k: matrices[t][k] for k in G}, 1e-13, f"influence after step {t}")
        elsewhere = {k: m for k, m in matrices[t].items() if k not in G}
        assert gap(elsewhere, {}) == 0.0, "a parameter with an influence on the state is not carried"


@pytest.mark.covering
@ALL
@pytest.mark.parametrize("window", [1, 2, 3])
def test_truncated_backpropagation_sees_its_window(name, window):
    """From the state before the window, taken as fixed, the sum of the window's losses."""
    case = CASES[name].without(3)
    runner = Runner(case, fg.TBPTT(window))
    carry = runner.initial()
    for first in range(0, len(case.xs), window):
        carry = runner.run(carry, first)
        if any(y is not None for y in case.ys[first : first + window]):
            exact = oracles.window_gradient(case, first, window)
            assert_close(runner.gradient(carry), exact, 1e-13, f"window from step {first}")


def test_truncation_is_seen():
    """Negative control: what truncation leaves out is far above the tolerances here."""
    case = CASES["tanh-rnn-3"]
    total = oracles.total_gradients(case)
    assert gap(oracles.window_gradient(case, 5, 1), total[5]) > 1e-2


@pytest.mark.covering
@ALL
@ENGINES
def test_hybrid_is_rtrl_window_by_window(name, engine):
    """Exact influence with a window: the sum of RTRL's gradients, the same influence matrix, whatever is observed."""
    case = CASES[name].without(1)
    hybrid, rtrl = Runner(case, fg.Estimator(Exact(), window=3), engine), Runner(case, fg.RTRL())
    ours, theirs = hybrid.initial(), rtrl.initial()
    gradients = oracles.total_gradients(case)
    for first in (0, 3):
        ours = hybrid.run(ours, first)
        summed: dict[str, Any] = {}
        for t in range(first, first + 3):
            theirs = rtrl.run(theirs, t)
            if case.ys[t] is not None:
                g = rtrl.gradient(theirs)
                summed = {k: summed.get(k, 0.0) + g[k] for k in g}
        assert_close(hybrid.gradient(ours), summed, 1e-13)
        assert_close(hybrid.gradient(ours), {k: sum(g[k] for g in gradients[first : first + 3]) for k in summed}, 1e-13)
        assert_close(hybrid.influence(ours), rtrl.influence(theirs), 1e-13)


def test_a_window_without_targets_only_carries_the_influence():
    """It is passed over: the same influence, no gradient."""
    case = CASES["gru-reset-before"].without(0, 1, 2)
    runner = Runner(case, fg.Estimator(Exact(), window=3))
    carry = runner.run(runner.initial(), 0)
    matrices = oracles.influence_matrices(case)
    G = runner.influence(carry)
    assert_close(G, {k: matrices[2][k] for k in G}, 1e-13)
    assert gap(runner.gradient(carry), {}) == 0.0


def influence_after(case: oracles.Case, estimator: fg.Estimator, engine: str = "numpy") -> list[Any]:
    """G̃ after each step, and the gradients."""
    runner = Runner(case, estimator, engine)
    carry, found = runner.initial(), []
    for t in range(len(case.xs)):
        carry = runner.run(carry, t)
        found.append((runner.influence(carry), runner.gradient(carry)))
    return found


@pytest.mark.covering
@ALL
@ENGINES
def test_sparse_rtrl_is_rtrl(name, engine):
    """On the closed pattern nothing is dropped, so what is not kept was zero."""
    case = CASES[name]
    gradients, matrices = oracles.total_gradients(case), oracles.influence_matrices(case)
    for t, (G, g) in enumerate(influence_after(case, fg.SparseRTRL(), engine)):
        assert_close(G, matrices[t], 1e-13, f"influence after step {t}")
        assert_close(g, gradients[t], 1e-13, f"gradient of step {t}")


def masked(case: oracles.Case, order: int) -> list[dict[str, np.ndarray]]:
    """SnAp by its definition, on dense matrices: G ← M∘(A G + B), M the pattern of B + A B + … + A^{order−1} B."""
    runner = Runner(case, fg.RTRL())
    h, made, A_seen, B_seen = case.system.initial, [], 0.0, 0.0
    for x in case.xs:
        lin = runner.execution.model.linearize(h, x, case.params)
        A, B = lin.jacobians()
        flat = np.concatenate([b.reshape(len(h), -1) for b in B.values()], axis=1)
        made.append((A, flat))
        A_seen, B_seen = A_seen + np.abs(A), B_seen + np.abs(flat)
        h = lin.value
    M = sum(np.linalg.matrix_power(A_seen, k) @ B_seen for k in range(order)) > 0
    G, path = np.zeros(M.shape), []
    for A, B in made:
        G = M * (A @ G + B)
        path.append({"G": G})
    return path


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", ["ring", "diagonal", "tanh-rnn-3", "vehicle", "lotka-volterra"])
def test_snap_is_the_masked_recursion(name, order):
    case = CASES[name]
    for t, ((G, _), exact) in enumerate(zip(influence_after(case, fg.SnAp(order)), masked(case, order), strict=True)):
        table = np.concatenate([g.reshape(case.system.size, -1) for g in G.values()], axis=1)
        assert_close({"G": table}, exact, 1e-13, f"step {t}")


def test_snap_drops_what_takes_longer():
    """On the ring one more step each order; exact once nothing is dropped, and always so for a diagonal network."""
    case = CASES["ring"]
    matrices = oracles.influence_matrices(case)
    errors = [gap(influence_after(case, fg.SnAp(order))[-1][0], matrices[-1]) for order in (1, 2, 3, 4, 5)]
    assert errors[:4] == sorted(errors[:4], reverse=True)
    assert errors[3] > 1e-4
    assert errors[4] < 1e-14
    matrices = oracles.influence_matrices(CASES["diagonal"])
    assert gap(influence_after(CASES["diagonal"], fg.SnAp(1))[-1][0], {k: matrices[-1][k] for k in "dUb"}) < 1e-14


# ---------------------------------------------------------------- random estimators, over every pattern of signs


@RANDOM
@pytest.mark.parametrize(
    "case",
    [
        oracles.tanh_rnn(4),
        oracles.gru(True),
        oracles.gru(False),
        oracles.lstm(2),
        oracles.linear(),
        oracles.lotka_volterra(),
        oracles.heat(3),
        oracles.symbol_rnn(),
        oracles.silent(),
        oracles.forgetful(),
    ],
    ids=repr,
)
@pytest.mark.quick(
    "tanh-rnn-4-NoBackTrack",
    "gru-reset-after-UORO",
    "linear-UORO",
    "lotka-*",
    "heat-*",
    "symbol-*",
    "silent-*",
    "forgetful-*",
)
def test_unbiased_over_every_pattern_of_signs(case, estimator):
    """E G̃ = ∂h/∂θ and E g = ∂ℓ/∂θ at each of three steps: up to 2¹² patterns."""
    assert_unbiased(Runner(case, estimator), steps=3)


@pytest.mark.covering
@pytest.mark.parametrize("estimator", [fg.NoBackTrack("mixed"), fg.UORO("probe")], ids=["mixed", "probe"])
@pytest.mark.parametrize("name", ["tanh-rnn-3", "gru-reset-before", "linear", "lotka-volterra", "silent"])
def test_other_scales_are_unbiased(name, estimator):
    """Any ρ that this step's signs do not enter will do."""
    assert_unbiased(Runner(CASES[name], estimator), steps=3)


@RANDOM
@pytest.mark.parametrize("name", ["vehicle", "grid", "lotka-volterra"])
def test_unbiased_on_the_eager_engine(name, estimator):
    assert_unbiased(Runner(CASES[name], estimator, "eager"), steps=1 if CASES[name].system.size > 2 else 2)


@pytest.mark.covering
@pytest.mark.parametrize("estimator", random_estimators(window=2), ids=lambda e: e.name)
@pytest.mark.parametrize(
    "case",
    [oracles.tanh_rnn(), oracles.gru(True), oracles.lstm(1), oracles.linear(), oracles.lotka_volterra()],
    ids=repr,
)
def test_unbiased_with_a_window(case, estimator):
    """Memory-T: two windows of two steps, and for two state variables a third; targets are missing in two of them."""
    case = case.without(1, 4)
    assert_unbiased(Runner(case, estimator), steps=3 if case.system.size == 2 else 2)


@pytest.mark.covering
@pytest.mark.parametrize("estimator", random_estimators(rank=2), ids=lambda e: e.name)
@pytest.mark.parametrize(
    "case",
    [oracles.tanh_rnn(2), oracles.gru(True, 2), oracles.lstm(1), oracles.linear(2), oracles.lotka_volterra()],
    ids=repr,
)
def test_unbiased_with_two_copies(case, estimator):
    """Rank 2: the signs of both copies enumerated together."""
    assert_unbiased(Runner(case, estimator), steps=2)


@RANDOM
def test_two_copies_halve_the_variance(estimator):
    """Variance of g after two steps, over all signs."""

    def variance(rank: int) -> float:
        runner = Runner(oracles.tanh_rnn(2), replace(estimator, rank=rank))
        _, patterns = oracles.all_signs(runner.noise_shape)
        carry, total, seen = runner.initial(), 0.0, []
        for noise in patterns:
            for other in patterns:
                seen.append(runner.influence(runner.run(runner.run(carry, 0, noise), 1, other))["W"])
        total = float(np.sum(np.var(seen, axis=0)))
        return total

    assert variance(2) == pytest.approx(variance(1) / 2, rel=1e-12)


@RANDOM
def test_unbiased_in_single_precision(estimator):
    case = oracles.tanh_rnn(3)
    system = case.system
    single = fg.System(
        system.F,
        system.Y,
        system.state.astype(np.float32),
        {k: v.astype(np.float32) for k, v in system.params.items()},
        system.x,
    )
    runner = Runner(replace(case, system=single), estimator)
    carry = runner.run(runner.initial(), 0, np.ones(3, np.float32))
    assert {leaf.dtype for leaf in runner.influence(carry).values()} == {np.dtype(np.float32)}
    exact = oracles.Case("double", system, case.xs, case.ys, params={k: v for k, v in single.params.items()})
    levels = oracles.enumerated(runner, 2)
    gradients, matrices = oracles.total_gradients(exact), oracles.influence_matrices(exact)
    for t, level in enumerate(levels):
        assert_close(level.gradient, gradients[t], 2e-5)
        assert_close(level.influence, {k: matrices[t][k] for k in level.influence}, 2e-5)


# ---------------------------------------------------------------- zeros


@RANDOM
def test_the_first_step_is_exact(estimator):
    """From zero influence every gradient is the exact one, and the reduction of B is finite."""
    for case in map(CASES.__getitem__, ("symbol-rnn", "vehicle", "heat", "silent", "forgetful")):
        runner = Runner(case, estimator)
        signs = np.where(np.arange(case.system.size) % 2 == 0, 1.0, -1.0)
        carry = runner.run(runner.initial(), 0, signs)
        assert_close(runner.gradient(carry), oracles.total_gradients(case)[0], 1e-14, repr(case))
        assert all(np.all(np.isfinite(g)) for g in runner.influence(carry).values())


@pytest.mark.parametrize("scale", ["common", "unit", "mixed", "probe"])
def test_zeros_make_no_nan(scale):
    """At x = 0 all of B is zero in `silent`; with equal signs, rows of B cancel; state h2 has no parameters."""
    runner = Runner(CASES["silent"], fg.Estimator(RankOne(scale)))
    for pattern in oracles.all_signs((3,))[1]:
        carry = runner.initial()
        for t in range(6):
            carry = runner.run(carry, t, *runner.noises(t, [pattern])[0])
            assert all(np.all(np.isfinite(leaf)) for leaf in carry)


def test_a_scale_is_zero_with_either_norm():
    """ρ and 1/ρ: both 0 for a term with a zero factor, else inverse to one another."""
    w, v = np.array([4.0, 0.0, 3.0, 0.0]), np.array([9.0, 2.0, 0.0, 0.0])
    rho, inverse = drop_zero(w, v)
    assert np.allclose(rho, [np.sqrt(2 / 3), 0, 0, 0])
    assert np.allclose(inverse, [np.sqrt(3 / 2), 0, 0, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scales_of_very_unlike_factors_are_finite(dtype):
    """The ratio of the squared norms would overflow."""
    small, large = np.asarray(np.finfo(dtype).tiny), np.asarray(np.finfo(dtype).max) / 4
    for numerator, denominator in ((small, large), (large, small)):
        rho, inverse = drop_zero(numerator, denominator)
        assert np.isfinite(rho)
        assert np.isfinite(inverse)
        assert rho.dtype == inverse.dtype == dtype
        assert float(rho) * float(inverse) == pytest.approx(1, rel=1e-5)


@RANDOM
def test_a_state_that_forgets_within_a_window_stays_finite(estimator):
    """In single precision, contraction over a window brings ‖A v‖² below the smallest number."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.float32(0.06) * h * p["a"] + x

    system = fg.System(F, None, np.ones(2, np.float32), {"a": np.float32(1.0)}, np.zeros(2, np.float32))
    learner = fg.Learner(system, replace(estimator, window=16), fg.SGD(1e-9))
    for t in range(64):
        learner.step(np.ones(2), np.full(2, 0.5 + t % 3))
    assert np.all(np.isfinite(learner.influence_matrix()))


# ---------------------------------------------------------------- negative controls: what the oracles must refuse


@dataclass(frozen=True)
class Peeking(RankOne):
    """One scale per state variable, ρ_i = 1 + peek·ε_i: for peek ≠ 0 it looks at this step's signs."""

    peek: float = 0.0

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        (signs,) = noise
        carried = lin.jvp(state.v)
        up, down = drop_zero(state.w_squared, np.vdot(carried, carried))
        rho = 1.0 + self.peek * signs
        _, fresh = lin.vjp(signs / rho)
        w = {k: down * state.w[k] + f for k, f in fresh.items()}
        return state._replace(v=up * carried + rho * signs, w=w, w_squared=squared_norm(w))


@dataclass(frozen=True)
class Dropping(RankOne):
    """Forgets B of one leaf."""

    leaf: str = "b"

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        made = super().advance(state, lin, noise)
        w = made.w | {self.leaf: 0.0 * made.w[self.leaf]}
        return made._replace(w=w, w_squared=squared_norm(w))


class Later:
    """A model whose forward products use the Jacobian of the next step in place of this one's."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def linearize(self, h: Any, x: Any, params: Any) -> Any:
        lin = self._model.linearize(h, x, params)
        after = self._model.linearize(lin.value, x, params)

        class Stale:
            value, pull, vjp, rows, jvp = lin.value, lin.pull, lin.vjp, lin.rows, after.jvp

        return Stale()


def test_a_scale_that_looks_at_the_signs_is_refused():
    case = CASES["tanh-rnn-3"]
    assert_unbiased(Runner(case, fg.Estimator(Peeking(peek=0.0))), steps=3)
    with pytest.raises(AssertionError, match="mean influence after step 0"):
        assert_unbiased(Runner(case, fg.Estimator(Peeking(peek=0.5))), steps=1)
    with pytest.raises(AssertionError, match="mean influence after step 0"):
        assert_unbiased(Runner(case, fg.Estimator(Peeking(peek=1e-5))), steps=1)  # which is a bias of 1e-10


@pytest.mark.parametrize("scale", ["common", "unit"])
def test_a_dropped_leaf_is_refused(scale):
    with pytest.raises(AssertionError, match="mean influence after step 0"):
        assert_unbiased(Runner(CASES["tanh-rnn-3"], fg.Estimator(Dropping(scale))), steps=1)


@RANDOM
@pytest.mark.parametrize("size", [1.5, 1 + 1e-6])
def test_signs_of_another_variance_are_refused(estimator, size):
    runner = Runner(CASES["tanh-rnn-3"], estimator)
    with pytest.raises(AssertionError, match="mean influence after step 0"):
        assert_unbiased(runner, steps=1, noise=oracles.all_signs(runner.noise_shape, size))


@RANDOM
def test_correlated_signs_are_refused(estimator):
    runner = Runner(CASES["tanh-rnn-3"], estimator)
    rows = [np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.0, -1.0])]  # the first two signs are always equal
    equal = np.full(4, 0.25), [*rows, *(-row for row in rows)]
    with pytest.raises(AssertionError, match="mean influence after step 0"):
        assert_unbiased(runner, steps=1, noise=equal)


@RANDOM
def test_the_jacobian_of_another_step_is_refused(estimator):
    """The first step has no influence to carry, so it is the second one that goes wrong."""
    runner = Runner(CASES["tanh-rnn-3"], estimator)
    runner.execution.steps.model = Later(runner.execution.steps.model)
    with pytest.raises(AssertionError, match="mean influence after step 1"):
        assert_unbiased(runner, steps=2)


@RANDOM
def test_the_influence_is_used_before_it_is_reduced(estimator):
    """Pulling after the reduction has the same mean and more variance: steps must pull before."""
    case = CASES["tanh-rnn-3"]
    runner = Runner(case, estimator)
    influence, layout = runner.execution.steps.influence, runner.execution.steps.layout
    carry = runner.run(runner.run(runner.initial(), 0, np.array([1.0, -1.0, -1.0])), 1, np.array([1.0, 1.0, -1.0]))
    inner = runner.execution.unpack(carry)
    x, y, _ = runner.samples[2]
    lin = runner.execution.model.linearize(inner.h, x[0], inner.params)
    c, _ = runner.execution.model.observe(lin.value, x[0], y[0], inner.params).gradient()
    row, fresh = lin.vjp(c)
    past = influence.pull(inner.influence, ExplicitRow(row), layout)
    before = {k: past[k] + fresh[k] for k in past}
    after = []
    for noise in oracles.all_signs(runner.noise_shape)[1]:
        after.append(influence.pull(influence.advance(inner.influence, lin, (noise,)), ExplicitRow(c), layout))
        used = runner.gradient(runner.run(carry, 2, noise))
        assert_close({k: used[k] for k in before}, before, 1e-14)
        assert gap(after[-1], before) > 1e-3
    assert_close(oracles.mean(after, np.full(8, 1 / 8)), before, 1e-14)


# ---------------------------------------------------------------- one reduction, from any state


@pytest.mark.parametrize("scale", ["common", "unit", "mixed", "probe"])
@pytest.mark.parametrize("name", ["tanh-rnn-3", "gru-reset-before", "silent"])
@pytest.mark.parametrize("nodes", [2, 3], ids=["signs", "normal"])
def test_one_reduction_has_the_mean_it_reduces(name, scale, nodes):
    """E reduce(A v wᵀ + B) = A v wᵀ + B for arbitrary v and w, for signs and for Gaussian noise.

    Given v and w the reduction is quadratic in ε once ρ has cancelled, so symmetric Gauss–Hermite nodes are exact; two
    of them are the signs. What holds from every state holds over any number of steps.
    """
    case = CASES[name]
    influence = RankOne(scale, "signs" if nodes == 2 else "normal")
    runner = Runner(case, fg.Estimator(influence))
    model, layout = runner.execution.model, runner.execution.steps.layout
    rng = np.random.default_rng(nodes)
    state = influence.init(layout)
    squares = np.where(np.arange(state.squares.size) == 1, 0.0, rng.uniform(0.1, 2.0, state.squares.size))
    w = {k: rng.normal(size=s) for k, s in layout.leaves.items()}
    state = state._replace(v=rng.normal(size=layout.size), w=w, w_squared=squared_norm(w), squares=squares)
    lin = model.linearize(0.7 * rng.normal(size=layout.size), case.xs[1], case.params)
    A, B = lin.jacobians()
    before = influence.dense(state, layout)
    exact = {k: np.tensordot(A, before[k], axes=1) + B[k] for k in before}
    weights, patterns = oracles.gauss_hermite((layout.size,), nodes)
    reduced = [influence.dense(influence.advance(state, lin, n), layout) for n in runner.noises(0, patterns)]
    assert max(np.max(np.std([r[k] for r in reduced], axis=0)) for k in exact) > 1e-3
    assert_close(oracles.mean(reduced, weights), exact, 1e-13)


@pytest.mark.parametrize("estimator", random_estimators(signs="normal"), ids=lambda e: e.name)
def test_unbiased_with_gaussian_noise(estimator):
    """Three steps, four nodes per number at each."""
    runner = Runner(oracles.lotka_volterra(), estimator)
    assert_unbiased(runner, steps=3, noise=oracles.gauss_hermite(runner.noise_shape, 4))


@pytest.mark.parametrize("signs", ["signs", "normal"])
@RANDOM
def test_unbiased_with_the_noise_that_is_drawn(estimator, signs):
    """Seeded: the mean gradient of the fourth step over 500 streams, within five standard errors."""
    case = CASES["tanh-rnn-3"]
    runner = Runner(case, replace(estimator, influence=replace(estimator.influence, signs=signs)))
    stream = NoiseStream(np.random.default_rng(20), runner.execution.specs, np.dtype(float))
    start, seen = runner.initial(), []
    for _ in range(500):
        carry = start
        for t in range(4):
            carry = runner.run(carry, t, *stream.peek())
            stream.advance()
        g = runner.gradient(carry)
        seen.append(np.concatenate([g["W"].ravel(), g["U"].ravel(), g["b"]]))
    exact = oracles.total_gradients(case)[3]
    exact = np.concatenate([exact["W"].ravel(), exact["U"].ravel(), exact["b"]])
    errors = np.abs(np.mean(seen, axis=0) - exact)
    assert np.all(errors <= 5 * np.std(seen, axis=0, ddof=1) / np.sqrt(len(seen)))
    truncated = oracles.window_gradient(case, 3, 1)
    biased = np.concatenate([truncated["W"].ravel(), truncated["U"].ravel(), truncated["b"]])
    assert np.any(np.abs(biased - exact) > 10 * np.std(seen, axis=0, ddof=1) / np.sqrt(len(seen)))


# ---------------------------------------------------------------- the stream of noise

SPECS = (NoiseSpec("signs", (3,)), NoiseSpec("normal", (2, 2)))


def stream(seed: int = 0, specs: Any = SPECS, dtype: Any = np.float64) -> NoiseStream:
    return NoiseStream(np.random.default_rng(seed), specs, np.dtype(dtype))


def rows(noise: NoiseStream, count: int) -> list[Any]:
    made = []
    for _ in range(count):
        made.append(tuple(a.copy() for a in noise.peek()))
        noise.advance()
    return made


def same(a: list[Any], b: list[Any]) -> bool:
    return all(np.array_equal(x, y) for r, s in zip(a, b, strict=True) for x, y in zip(r, s, strict=True))


@given(st.integers(0, 3 * BLOCK), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_stream_goes_on_where_its_state_was_taken(stop, peeked):
    """At any row, the edges of blocks included; also through JSON, and into a stream that was used before."""
    whole = rows(stream(), stop + 70)
    first = stream()
    rows(first, stop)
    if peeked:
        first.peek()
    state = json.loads(json.dumps(first.state()))
    other = stream(seed=9)
    rows(other, 5)
    other.restore(state)
    assert same(rows(other, 70), whole[stop:])
    assert same(rows(first, 70), whole[stop:]), "taking the state changed the stream"


@pytest.mark.parametrize("stop", [0, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK])
def test_a_stream_goes_on_at_the_edge_of_a_block(stop):
    whole = rows(stream(), stop + 10)
    first = stream()
    rows(first, stop)
    other = stream(seed=9)
    other.restore(first.state())
    assert same(rows(other, 10), whole[stop:])


def test_rows_are_those_that_a_generator_draws():
    """Two seeds differ, one seed repeats, and peeking changes nothing."""
    noise = stream()
    assert same([noise.peek()], [noise.peek()])
    assert same(rows(stream(), 200), rows(stream(), 200))
    assert not same(rows(stream(0), 200), rows(stream(1), 200))
    drawn = np.array([r[0] for r in rows(stream(), 200)])
    assert len(np.unique(drawn.reshape(-1, 12)[:, :12], axis=0)) > 45, "rows repeat"


def test_moments_of_the_noise():
    """Mean 0, covariance the identity, within five standard errors; signs are signs, Gaussians have fourth moment 3."""
    count = 20_000
    drawn = rows(stream(3), count)
    signs, normal = np.array([r[0] for r in drawn]), np.array([r[1].ravel() for r in drawn])
    assert set(np.unique(signs)) == {-1.0, 1.0}
    for values, fourth in ((signs, 1.0), (normal, 3.0)):
        assert np.all(np.abs(np.mean(values, axis=0)) < 5 / np.sqrt(count))
        off = values.T @ values / count - np.eye(values.shape[1])
        assert np.all(np.abs(off) < 5 * np.sqrt(max(fourth - 1, 1)) / np.sqrt(count))
        assert np.all(np.abs(np.mean(values**4, axis=0) - fourth) <= 5 * np.sqrt(96 / count) * (fourth > 1))
    together = np.concatenate([signs, normal], axis=1)
    lagged = together[1:].T @ together[:-1] / (count - 1)
    assert np.all(np.abs(lagged) < 5 / np.sqrt(count)), "consecutive rows are correlated"


def test_single_precision_rounds_the_same_draws():
    """So that a float32 run can be compared with a float64 one."""
    for a, b in zip(rows(stream(), 100), rows(stream(dtype=np.float32), 100), strict=True):
        assert all(y.dtype == np.float32 and np.array_equal(x.astype(np.float32), y) for x, y in zip(a, b, strict=True))


def test_a_stream_of_nothing():
    """What is not random draws nothing, and goes on from any state."""
    noise = stream(specs=())
    before = noise.state()
    assert rows(noise, 3) == [(), (), ()]
    assert noise.state() == before
    noise.restore(before)
    assert noise.peek() == ()
    with pytest.raises(DeclarationError, match="signs"):
        stream(specs=(NoiseSpec("coins", (1,)),)).peek()


@RANDOM
@pytest.mark.parametrize("window", [1, 3])
def test_one_seed_is_one_result_on_every_engine(estimator, window):
    """Twenty steps of learning; another seed gives another result."""
    case = oracles.gru(True, steps=20)

    def learned(engine: str, seed: int) -> dict[str, np.ndarray]:
        learner = fg.Learner(case.system, replace(estimator, window=window), fg.SGD(0.05), seed=seed, engine=engine)
        for x, y in zip(case.xs, case.ys, strict=True):
            learner.step(x, y)
        return learner.params

    assert_close(learned("eager", 5), learned("numpy", 5), 1e-12)
    assert gap(learned("numpy", 6), learned("numpy", 5)) > 1e-6


@pytest.mark.parametrize("stop", [BLOCK - 1, BLOCK, BLOCK + 1])
def test_a_learner_goes_on_at_the_edge_of_a_block(stop, tmp_path):
    """Saved after a whole block of noise, it must not see that block again."""
    case = oracles.lotka_volterra(steps=stop + 20)
    whole = fg.Learner(case.system, fg.UORO(), fg.SGD(1e-3))
    for y in case.ys:
        whole.step(None, y)
    learner = fg.Learner(case.system, fg.UORO(), fg.SGD(1e-3))
    for y in case.ys[:stop]:
        learner.step(None, y)
    learner.save(tmp_path / "run.npz")
    learner = fg.Learner.load(tmp_path / "run.npz", case.system)
    for y in case.ys[stop:]:
        learner.step(None, y)
    assert gap(learner.params, whole.params) == 0.0


def test_layout_counts_parameters():
    """p is the number of parameters that have an influence."""
    layout = Layout(3, {"W": (3, 3), "b": (3,), "a": ()}, np.dtype(float))
    assert layout.parameters == 13


# ---------------------------------------------------------------- what an influence says of itself


class OneStep:
    """An influence of one's own that says what it is."""

    random = False
    single_step = "it knows single steps, not {window}."

    def init(self, layout, start=()):
        return ()

    noise = pull = advance = magnitude = dense = init


class Whole:
    """One that is made of two others."""

    parts = (OneStep(), NoInfluence())
    init = noise = pull = advance = magnitude = dense = OneStep.init


@pytest.mark.parametrize("kept", [OneStep(), Whole()])
def test_an_influence_answers_for_itself(kept):
    """Nothing is asked for its class: what others write is treated as what is here."""
    with pytest.raises(DeclarationError, match="copies of what is not random are all the same"):
        fg.Estimator(kept, rank=2, name="mine")
    with pytest.raises(DeclarationError, match="mine: it knows single steps, not 3"):
        fg.Estimator(kept, window=3, name="mine")
    with pytest.raises(DeclarationError, match="nothing before it to keep an influence of"):
        fg.Estimator(type("Plain", (OneStep,), {"single_step": ""})(), window=WholeSequence(), name="mine")


def test_what_says_nothing_is_random_and_takes_windows():
    class Silent:
        init = noise = pull = advance = magnitude = dense = OneStep.init

    assert fg.Estimator(Silent(), window=3, rank=2).kept.copies == 2


def test_every_named_estimator_is_made_and_listed_by_its_name():
    """The registry, the text that is read, and the table of `analyze` are one."""
    system = systems.build("tanh-rnn", units=3, symbols=2)
    labels = " ".join(c.label for c in fg.analyze(system).candidates).replace("-", "").lower()
    given = {"tbptt": "tbptt:2", "artbp": "artbp:0.1"}
    for name, entry in NAMED.items():
        made = estimator_named(given.get(name, name))
        assert isinstance(made, fg.Estimator)
        assert name.replace("-", "") in labels, entry.usage
