"""One scale per state variable: unbiased whichever way it is found, and much less noise where units are unlike."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import oracles
import pytest
from oracles import Case, Runner, assert_close, assert_unbiased
from places import ROOT

import fwdgrad as fg
from fwdgrad.influence import RankOne
from fwdgrad.influence.base import squared_norm

UNLIKE = np.array([1.0, 40.0, 0.05])


def fresh(case: Case) -> Case:
    """The same with a system that nothing is known of yet, so that it is analysed again."""
    s = case.system
    return Case(case.name, fg.System(s.F, s.Y, s.state, s.params, s.x, s.loss), case.xs, case.ys, case.loss)


def unlike(case: Case, scales: np.ndarray = UNLIKE) -> Case:
    """The same system with its state measured in other units."""
    s = case.system

    def F(h: Any, x: Any, p: Any) -> Any:
        return scales * s.F(h / scales, x, p)

    def Y(h: Any, x: Any, p: Any) -> Any:
        return s.Y(h / scales, x, p)

    return Case(f"{case.name}-unlike", fg.System(F, Y, scales * s.state, s.params, s.x), case.xs, case.ys)


@pytest.fixture
def few_colours(monkeypatch):
    """Leaves with more than two colours count as dense, so that three state variables are enough to have some."""
    for module in ("fwdgrad.structure.colouring", "fwdgrad.structure.patterns", "fwdgrad.linear.traced"):
        monkeypatch.setattr(f"{module}.MOST", 2)


# ---------------------------------------------------------------- unbiased, over every pattern of signs


@pytest.mark.parametrize("scale", ["unit", "mixed"])
@pytest.mark.parametrize("make", [oracles.gru, lambda first: unlike(oracles.gru(first))], ids=["like", "unlike"])
def test_dense_leaves_among_sparse_ones(make, scale, few_colours):
    """A reset gate before the product: its rows one by one, or in one product with all signs."""
    runner = Runner(fresh(make(True)), fg.Estimator(RankOne(scale)))
    patterns = runner.execution.model.patterns
    assert set(patterns.influential) - set(patterns.sparse_leaves) == {"Wr", "Ur", "br"}
    assert_unbiased(runner, steps=3)


@pytest.mark.parametrize("scale", ["unit", "mixed"])
def test_more_state_variables_than_colours(scale):
    """Nine, so that the reset gate counts as dense without our help: one reduction, from any v and w."""
    case = oracles.gru(True, 9)
    influence = RankOne(scale)
    runner = Runner(case, fg.Estimator(influence))
    model, layout = runner.execution.model, runner.execution.steps.layout
    assert set(model.leaves) - set(model.patterns.sparse_leaves) == {"Wr", "Ur", "br"}
    rng = np.random.default_rng(0)
    w = {k: rng.normal(size=s) for k, s in layout.leaves.items()}
    state = influence.init(layout)._replace(v=rng.normal(size=9), w=w, w_squared=squared_norm(w))
    lin = model.linearize(0.5 * rng.normal(size=9), case.xs[0], case.params)
    A, B = lin.jacobians()
    before = influence.dense(state, layout)
    exact = {k: np.tensordot(A, before[k], axes=1) + B[k] for k in before}
    total = {k: np.zeros_like(v) for k, v in exact.items()}
    weights, patterns = oracles.all_signs((9,))
    for noise in patterns:
        made = influence.dense(influence.advance(state, lin, (noise,)), layout)
        total = {k: total[k] + made[k] for k in total}
    assert_close({k: v * weights[0] for k, v in total.items()}, exact, 1e-12)


@pytest.mark.parametrize("memory", [0.0, 0.95])
@pytest.mark.parametrize("case", [unlike(oracles.gru(True)), unlike(oracles.tanh_rnn())], ids=repr)
def test_scales_learned_from_past_steps(case, memory):
    """Whatever the probes are, signs of the present step do not enter the scales it uses."""
    assert_unbiased(Runner(case, fg.Estimator(RankOne("probe", memory=memory))), steps=3)


@dataclass(frozen=True)
class Present(RankOne):
    """Learns its scales from a product with the signs of the present step, Bᵀε, before it uses them."""

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        signs, *_ = noise
        _, along = lin.vjp(signs)
        seen = lin.jvp(np.zeros(signs.shape), along)
        return super().advance(state._replace(squares=state.squares + seen * seen), lin, noise)


def test_scales_learned_from_the_present_step_are_refused():
    """Negative control: (B Bᵀ ε)² is even in ε, which is enough for a common scale but not for one per variable."""
    with pytest.raises(AssertionError, match="mean influence after step 0"):
        assert_unbiased(Runner(oracles.gru(True), fg.Estimator(Present("probe"))), steps=1)


def test_a_probe_measures_row_norms():
    """E (B z)_i² = ‖b_i‖² for z made of products of signs: over every pattern of them."""
    case = unlike(oracles.tanh_rnn(2), UNLIKE[:2])
    influence = RankOne("probe")
    runner = Runner(case, fg.Estimator(influence))
    model, layout = runner.execution.model, runner.execution.steps.layout
    _, *probes = influence.noise(layout)
    assert [p.shape for p in probes] == [(4,), (4,), (2,)]  # two signs for each axis of W and U, two for b
    lin = model.linearize(np.array([0.3, -0.2]), case.xs[0], case.params)
    seen = []
    for pattern in oracles.all_signs((10,))[1]:
        z = np.split(pattern, [4, 8])
        seen.append(influence.advance(influence.init(layout), lin, (np.ones(2), *z)).squares)
    exact = sum(np.sum(b.reshape(2, -1) ** 2, axis=1) for b in lin.jacobians()[1].values())
    assert np.allclose(np.mean(seen, axis=0), exact, rtol=1e-13, atol=0)
    assert np.all(np.std(seen, axis=0) > 0.1 * exact), "nothing was random"


def test_a_scalar_leaf_has_one_probe():
    """Its one entry gets one sign."""
    influence = RankOne("probe")
    layout = Runner(oracles.lotka_volterra(), fg.Estimator(influence)).execution.steps.layout
    assert [spec.shape for spec in influence.noise(layout)] == [(2,), (1,), (1,), (1,), (1,)]


# ---------------------------------------------------------------- leaves without rows

EVERY = [
    fg.NoBackTrack(),
    fg.NoBackTrack(scale="mixed"),
    fg.UORO(),
    fg.UORO(scale="probe"),
    fg.SparseRTRL(),
    fg.SnAp(1),
]
EVERY_ONE = pytest.mark.parametrize("estimator", EVERY, ids=lambda e: f"{e.name}-{getattr(e.influence, 'scale', '')}")


@EVERY_ONE
@pytest.mark.filterwarnings("ignore::fwdgrad.errors.DeadParameterWarning")  # which is what it is
@pytest.mark.parametrize("alone", [False, True])
def test_a_leaf_that_is_used_where_its_derivative_is_zero(estimator, alone):
    """It has no rows and no influence, and is not learned."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(h * np.sign(p["a"]) + (0.1 if alone else p["b"]))

    system = fg.System(F, None, np.ones(3), {"a": np.full(3, 0.5)} | ({} if alone else {"b": np.zeros(3)}))
    learner = fg.Learner(system, estimator, fg.SGD(0.1))
    for _ in range(4):
        learner.step(None, np.zeros(3))
    assert np.array_equal(learner.params["a"], system.params["a"])
    assert not np.any(learner.influence_matrix()[:, :3])
    assert alone or np.all(learner.params["b"] != 0)


@EVERY_ONE
@pytest.mark.parametrize("size", [4, 12], ids=["sparse", "dense"])
def test_single_precision_stays_single(estimator, size):
    """Also where no leaf has cheap rows, so that there is nothing to take the scales from."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return h + p["k"] * (np.roll(h, 1) - h)

    system = fg.System(F, None, np.arange(size, dtype=np.float32), {"k": np.float32(0.1)})
    learner = fg.Learner(system, estimator, fg.SGD(1e-3))
    for _ in range(3):
        learner.step(None, np.zeros(size))
    assert learner.params["k"].dtype == learner.state.dtype == learner.influence_matrix().dtype == np.float32


# ---------------------------------------------------------------- noise


def test_unlike_units_want_a_scale_each():
    """Seeded, small: what `benchmarks/scaling.py` measures. Units spread log-normally, a common scale is at least ten
    times as noisy as a learned one, or as row norms; with equal units there is little between them."""
    path = ROOT / "benchmarks" / "scaling.py"
    spec = importlib.util.spec_from_file_location("scaling", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    found = benchmark.measured(units=24, replicas=40, steps=30, seed=0)
    (common, probe, mixed, rows) = (found[label] for label in benchmark.SCALES)
    for equal, other in (probe, mixed, rows):
        assert 0.5 < equal / common[0] < 2
        assert common[1] > 10 * other
