"""Parameters that never learn: those with no path to the loss, and those whose gradient is always exactly zero."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import DeadParameterWarning
from fwdgrad.system.tracing import traced

pytestmark = pytest.mark.filterwarnings("ignore:.*claimed noise is too large")  # most data here have none

# ---------------------------------------------------------------- no path to the loss


def by_powers(system: fg.System) -> set[str]:
    """Dead leaves from the patterns of all entries and the powers of A's, in full."""
    patterns = traced(system).patterns
    S = patterns.transition.state.toarray().astype(int)
    reach = np.linalg.matrix_power(np.eye(len(S), dtype=int) + S, len(S)) > 0
    matters = reach[patterns.output.state.toarray().any(axis=0)].any(axis=0)
    return {
        k
        for k in system.trainable
        if not patterns.output.leaves[k].nnz and not patterns.transition.leaves[k].toarray()[matters].any()
    }


@pytest.mark.parametrize("case", oracles.every_case(), ids=repr)
def test_every_leaf_of_the_oracles_lives(case):
    assert traced(case.system).paths.dead == traced(case.system).paths.entries == {}


@pytest.mark.parametrize("name", list(systems.CATALOGUE))
def test_every_leaf_of_the_catalogue_lives(name):
    paths = traced(systems.build(name)).paths
    assert paths.dead == paths.entries == {}


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_dead_leaves_by_powers_of_the_pattern(seed):
    """Random sparse couplings: leaves by their own source are dead exactly if all of their entries are."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    A = (rng.random((n, n)) < 0.25) * 1.0
    columns = {f"p{k}": (rng.random((n, 2)) < 0.2) * 1.0 for k in range(5)}
    readout = (rng.random((1, n)) < 0.3) * 1.0

    def F(h: Any, x: Any, p: Any) -> Any:
        # products entry by entry, so that zeros of constants are seen
        after = [sum(A[i, j] * np.tanh(h[j]) for j in range(n)) for i in range(n)]
        for k, column in columns.items():
            after = [after[i] + sum(column[i, j] * p[k][j] for j in range(2)) for i in range(n)]
        return np.stack([np.asarray(a) + 0.0 * h[0] for a in after])

    system = fg.System(
        F, lambda h, x, p: sum(readout[0, j] * h[j] for j in range(n)), np.zeros(n), {k: np.ones(2) for k in columns}
    )
    assert set(traced(system).paths.dead) == by_powers(system)


def dead(F: Any, Y: Any = None, params: Any = None, loss: Any = None, **options: Any) -> dict[str, str]:
    declared = {"a": 0.5, "b": 0.2} if params is None else params
    return traced(fg.System(F, Y, np.ones(2), declared, loss=loss, **options)).paths.dead


UNUSED, NO_DERIVATIVE, UNSEEN = "neither F nor Y uses it", "only where there is no derivative", "never reaches the loss"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (lambda: dead(lambda h, x, p: p["a"] * h), UNUSED),
        (lambda: dead(lambda h, x, p: p["a"] * h + 0.0 * p["b"]), NO_DERIVATIVE),
        (lambda: dead(lambda h, x, p: np.where(h > p["b"], 0.0, p["a"] * h)), NO_DERIVATIVE),
        (lambda: dead(lambda h, x, p: p["a"] * h + np.floor(p["b"])), NO_DERIVATIVE),
        (lambda: dead(lambda h, x, p: p["a"] * h + np.sign(p["b"]) * (h >= p["b"])), NO_DERIVATIVE),
        (lambda: dead(lambda h, x, p: np.stack([p["a"] * h[0], p["b"] * h[1]]), lambda h, x, p: h[0]), UNSEEN),
        (
            lambda: dead(
                lambda h, x, p: np.stack([p["a"] * h[0], p["b"] * h[1]]), loss=lambda yhat, y: (yhat[0] - y[0]) ** 2
            ),
            UNSEEN,
        ),
        (lambda: dead(lambda h, x, p: p["a"] * h, lambda h, x, p: np.stack([h[0], p["b"] > 0.1]) * 1.0), NO_DERIVATIVE),
    ],
    ids=["unused", "times zero", "threshold", "floor", "sign", "unseen state", "unseen by the loss", "readout"],
)
def test_why_a_leaf_is_dead(found, reason):
    told = found()
    assert set(told) == {"b"}
    assert reason in told["b"]


class OfItsOwn:
    """A loss whose gradient is not that of its value: it pulls at what the value does not see."""

    def target(self, prediction: Any) -> Any:
        return np.zeros(np.shape(prediction))

    def value(self, prediction: Any, y: Any) -> Any:
        return (prediction[0] - y[0]) ** 2

    def gradient(self, prediction: Any, y: Any) -> Any:
        return prediction - y

    def fisher(self, prediction: Any) -> Any:
        return None


def test_a_gradient_of_the_loss_s_own_may_see_everything():
    assert dead(lambda h, x, p: np.stack([p["a"] * h[0], p["b"] * h[1]]), loss=OfItsOwn()) == {}


def test_a_path_through_a_later_step_is_one():
    def late(h: Any, x: Any, p: Any) -> Any:
        return np.stack([p["a"] * h[0] + h[1], p["b"] * h[1]])

    assert dead(late, lambda h, x, p: h[0]) == {}


def test_what_is_not_learned_is_not_dead():
    assert dead(lambda h, x, p: p["a"] * h, frozen=["b"]) == {}
    assert dead(lambda h, x, p: p["a"] * h, params={"a": 0.5, "b": fg.fixed(0.2)}) == {}


# ---------------------------------------------------------------- told when the learner is made


def threshold(**options: Any) -> fg.System:
    return fg.System(
        lambda h, x, p: np.where(h > p["vth"], 0.0, h + p["a"]), None, np.zeros(1), {"vth": 1.2, "a": 0.09}, **options
    )


FILTER = fg.InformationFilter("full", "exact")


@pytest.mark.parametrize("engine", ["numpy", "eager"])
def test_a_learner_names_dead_parameters_and_claims_no_deviation(engine):
    with pytest.warns(DeadParameterWarning, match=r"(?s)vth: it is used only .*fg\.fixed") as told:
        learner = fg.Learner(threshold(), fg.RTRL(), FILTER, engine=engine)
    assert len(told) == 1
    assert "  a" not in str(told[0].message)
    assert told[0].filename == __file__
    assert len(str(told[0].message).split("\n")) <= 5
    learner.run(ys=threshold().simulate(steps=20).outputs)
    deviation = learner.parameter_std()
    assert np.isnan(deviation["vth"])
    assert np.isfinite(deviation["a"])


def in_part(**options: Any) -> fg.System:
    """Of w, the middle number feeds a state that nothing sees, and the last nothing at all; of W, the diagonal does."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.stack([p["w"][0] * h[0] + np.sum(np.diag(p["W"])), p["w"][1] * h[1]])

    return fg.System(F, lambda h, x, p: h[0], np.ones(2), {"w": np.full(3, 0.5), "W": np.full((2, 2), 0.1)}, **options)


@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.UORO(), fg.BPTT()], ids=repr)
def test_dead_entries_are_named_with_every_estimator(estimator):
    with pytest.warns(DeadParameterWarning, match=r"w\[1\], w\[2\]: .*(?s:.*)W\[0, 1\], W\[1, 0\]: ") as told:
        fg.Learner(in_part(), estimator, fg.SGD(1e-3))
    assert len(told) == 1
    assert "w[0]" not in str(told[0].message)
    assert len(str(told[0].message).split("\n")) <= 5


def test_dead_entries_have_no_deviation_and_fail_a_check():
    with pytest.warns(DeadParameterWarning):
        learner = fg.Learner(in_part(), fg.RTRL(), FILTER)
    learner.run(ys=in_part().simulate(steps=20).outputs)
    deviation = learner.parameter_std()
    assert np.isnan(deviation["w"]).tolist() == [False, True, True]
    assert np.isnan(deviation["W"]).tolist() == [[False, True], [True, False]]
    report = fg.check(in_part())
    assert not report.ok
    assert "w[1], w[2]" in str(report)


def test_entries_of_a_large_leaf_are_not_looked_at_one_by_one():
    """A leaf of more numbers is one source: alive as a whole."""
    system = fg.System(lambda h, x, p: p["w"][0] * h, None, np.ones(1), {"w": np.ones(65)})
    assert traced(system).paths.entries == {}
    system = fg.System(lambda h, x, p: p["w"][0] * h, None, np.ones(1), {"w": np.ones(64)})
    assert traced(system).paths.entries["w"].sum() == 63


def test_a_frozen_one_is_not_named():
    fg.Learner(threshold(frozen=["vth"]), fg.RTRL(), FILTER)


def test_many_dead_parameters_take_few_lines():
    params = {"a": 1.0} | {f"p{k}": np.zeros((2, 3)) for k in range(20)}
    system = fg.System(lambda h, x, p: p["a"] * h, None, np.zeros(1), params)
    with pytest.warns(DeadParameterWarning, match=r"p0 \(all 6 entries\)(?s:.*)and 18 more") as told:
        fg.Learner(system)
    assert len(str(told[0].message).split("\n")) <= 5


# ---------------------------------------------------------------- no gradient, sample after sample

OFF: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "untaken branch": (lambda h, x, p: np.where(h > 50.0, p["b"] * h, p["a"] * h + x), {"b": 0.2}),
    "product of zeros": (lambda h, x, p: p["a"] * h + x + p["c"] * p["b"], {"b": 0.0, "c": 0.0}),
    "dead relu": (lambda h, x, p: p["a"] * h + x + np.maximum(p["b"] - 50.0, 0.0), {"b": np.zeros(2)}),
    "clip": (lambda h, x, p: np.clip(p["b"], -1.0, 1.0) * h + p["a"] * x, {"b": 1.5}),
    "minimum": (lambda h, x, p: p["a"] * h + x * np.minimum(p["b"], 0.5), {"b": 3.0}),
    "never an input": (lambda h, x, p: p["a"] * h + x + p["b"] * np.maximum(h - 50.0, 0.0), {"b": 0.3}),
}


def off(kind: str) -> fg.System:
    F, params = OFF[kind]
    return fg.System(F, None, np.full(2, 0.1), {"a": 0.5, **params}, np.zeros(2))


def data(steps: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return 0.5 * rng.normal(size=(steps, 2)), 0.5 * rng.normal(size=(steps, 2))


def silent(kind: str) -> set[str]:
    return set(OFF[kind][1])


def named(told: Any) -> list[str]:
    return [str(w.message) for w in told if "exactly zero" in str(w.message)]


@pytest.mark.parametrize(
    ("kind", "engine"), [*((kind, "numpy") for kind in OFF), ("untaken branch", "eager"), ("clip", "eager")]
)
def test_a_gradient_that_is_always_zero_is_named(kind, engine):
    learner = fg.Learner(off(kind), fg.RTRL(), fg.SGD(1e-3), engine=engine)
    with pytest.warns(DeadParameterWarning) as told:
        learner.run(*data(110))
    (text,) = named(told)
    assert silent(kind) == {k for k in ("b", "c") if f" {k}," in text or f" {k} " in text or f" {k}." in text}, text
    assert " a" not in text.split("\n")[0].split(" in ")[1]
    assert len(text.split("\n")) <= 5
    learner.run(*data(110))  # once


OPTIMIZERS = [fg.SGD(1e-3), fg.Adam(1e-3), fg.AdaGrad(1e-3), FILTER, fg.ParameterFilter(process_noise=0.01)]
ESTIMATORS = [
    fg.RTRL(),
    fg.UORO(),
    fg.NoBackTrack(),
    fg.SnAp(1),
    fg.TBPTT(7),
    fg.TBPTT(60),
    fg.Hybrid(5),
    fg.ARTBP(0.2),
]


def told_of(learner: fg.Learner, steps: int, seed: int = 0, **options: Any) -> list[str]:
    """What is said in a run."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        learner.run(*data(steps, seed), **options)
    return named(told)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_with_every_optimizer(optimizer):
    (text,) = told_of(fg.Learner(off("clip"), fg.RTRL(), optimizer), 200)
    assert "in b." in text


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_with_every_estimator(estimator):
    (text,) = told_of(fg.Learner(off("dead relu"), estimator, fg.SGD(1e-3)), 300)
    assert "in b (all 2 entries)." in text


@pytest.mark.parametrize("estimator", [fg.BPTT(), fg.BPTT(checkpoints=True)], ids=repr)
def test_at_the_end_of_a_whole_sequence(estimator):
    learner = fg.Learner(off("clip"), estimator, fg.SGD(1e-3))
    assert told_of(learner, 60) == []  # too few
    (text,) = told_of(learner, 60)
    assert "in b." in text
    assert told_of(learner, 200) == []


def test_with_the_compiled_engine():
    pytest.importorskip("llvmlite")
    learner = fg.Learner(off("clip"), fg.RTRL(), fg.SGD(1e-3), engine="compiled")
    (text,) = told_of(learner, 300)
    assert "in b." in text


@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.TBPTT(4)], ids=repr)
def test_step_by_step_at_the_same_sample(estimator):
    """After N samples with a target, by steps and by runs, on arrays and on iterables; others do not count."""
    xs, ys = data(400)
    ys[::2] = np.nan
    needed = 2 * (100 + traced(off("clip")).paths.steps + (4 if estimator != fg.RTRL() else 0))

    def learner() -> fg.Learner:
        return fg.Learner(off("clip"), estimator, fg.SGD(1e-3))

    single = learner()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x, y in zip(xs[: needed - 1], ys, strict=False):
            single.step(x, y)
    with pytest.warns(DeadParameterWarning, match="exactly zero") as told:
        single.step(xs[needed - 1], ys[needed - 1])
    assert told[0].filename == __file__
    streamed = learner()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        streamed.run(zip(xs[: needed - 1], ys, strict=False))
        assert named(told) == []
        streamed.run(xs[needed - 1 : needed], ys[needed - 1 : needed])
    assert len(named(told)) == 1
    for k, v in single.params.items():
        assert np.array_equal(v, streamed.params[k])


def test_learning_is_the_same_bit_for_bit():
    """Nothing is learned from what goes beside."""
    one, other = (fg.Learner(off("clip"), fg.UORO(), fg.Adam(1e-3)) for _ in range(2))
    other._watch.open = False
    told_of(one, 250)
    other.run(*data(250))
    assert np.array_equal(one.params["a"], other.params["a"])
    assert np.array_equal(one.state, other.state)


# ---------------------------------------------------------------- what must not be named


def quiet(learner: fg.Learner, xs: Any, ys: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.run(xs, ys)
    assert not learner._watch.open


def test_a_readout_that_starts_at_zero():
    rng = np.random.default_rng(0)
    system = fg.System(
        lambda h, x, p: np.tanh(p["W"] @ h + p["U"] @ x),
        lambda h, x, p: p["V"] @ h,
        np.zeros(4),
        {"W": rng.normal(size=(4, 4)), "U": rng.normal(size=(4, 2)), "V": np.zeros((2, 4))},
        np.zeros(2),
    )
    for optimizer in (fg.SGD(1e-2), fg.Adam(1e-3)):
        quiet(fg.Learner(system, fg.UORO(), optimizer), *data(300))


@pytest.mark.parametrize("optimizer", [fg.SGD(1e-18), fg.Adam(1e-18)], ids=repr)
def test_a_parameter_that_stands_still_for_its_rate(optimizer):
    """Nothing moves by a bit, and no gradient is zero."""
    system = fg.System(lambda h, x, p: p["a"] * h + p["b"] * x, None, np.zeros(2), {"a": 0.5, "b": 3.0}, np.zeros(2))
    learner = fg.Learner(system, fg.RTRL(), optimizer)
    quiet(learner, *data(200))
    assert learner.params["b"] == 3.0


def test_a_parameter_at_the_far_end_of_a_delay_line():
    """What it changes reaches the output after 300 steps; until then its gradient is exactly zero."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.concatenate([p["b"] * x, h[:-1]])

    n = 300
    system = fg.System(F, lambda h, x, p: p["c"] * h[-1:] + p["d"], np.zeros(n), {"b": 1.0, "c": 1.0, "d": 0.1}, [0.0])
    xs, ys = data(600)
    quiet(fg.Learner(system, fg.SparseRTRL(), fg.SGD(1e-3)), xs[:, :1], ys[:, :1])


@pytest.mark.quick(
    "tanh-rnn",
    "gru",
    "diagonal",
    "linear",
    "influence-balancing",
    "lotka-volterra",
    "sir",
    "pendulum",
    "linear-compartments",
    "heat-rod",
)
@pytest.mark.parametrize("name", list(systems.CATALOGUE))
def test_the_catalogue_raises_no_alarm(name):
    system, rng = systems.build(name), np.random.default_rng(0)
    steps = 250

    def drawn(like: Any, bounds: int) -> Any:
        if isinstance(like, dict):
            return {k: drawn(v, bounds) for k, v in like.items()}
        if like is None:
            return None
        if like.dtype == np.int64:
            return rng.integers(bounds, size=(steps, *like.shape))
        return np.abs(rng.normal(size=(steps, *like.shape)))

    symbols = system.prediction.shape[0] if system.prediction.shape else 1
    xs, ys = drawn(system.x, symbols), drawn(system.y, symbols)
    quiet(fg.Learner(system, optimizer=fg.SGD(1e-9)), xs, ys)
    quiet(fg.Learner(system, "tbptt:5", fg.Adam(1e-6)), xs, ys)


def test_a_branch_that_is_taken_now_and_then():
    def F(h: Any, x: Any, p: Any) -> Any:
        return np.where(x > 0.8, p["b"] * x, p["a"] * h + x)

    quiet(fg.Learner(fg.System(F, None, np.zeros(2), {"a": 0.5, "b": 0.2}, np.zeros(2)), fg.RTRL()), *data(300))


def test_a_model_on_its_own_data():
    """No loss is left, so no gradient is."""
    system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(2), {"a": 0.5}, np.zeros(2))
    xs, _ = data(300)
    learner = fg.Learner(system, fg.RTRL())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.run(xs, system.simulate(xs).outputs)


class Decaying:
    """SGD with weight decay: what has no gradient moves."""

    def init(self, params: Any) -> Any:
        return ()

    def update(self, grads: Any, state: Any, params: Any) -> Any:
        return {k: -1e-3 * g - 1e-4 * params[k] for k, g in grads.items()}, state


def test_weight_decay_hides_nothing_and_raises_no_alarm():
    learner = fg.Learner(off("clip"), fg.RTRL(), Decaying())
    (text,) = told_of(learner, 200)
    assert "in b." in text
    assert learner.params["b"] != 1.5
    live = fg.System(lambda h, x, p: p["a"] * h + p["b"] * x, None, np.zeros(2), {"a": 0.5, "b": 3.0}, np.zeros(2))
    quiet(fg.Learner(live, fg.RTRL(), Decaying()), *data(200))


# ---------------------------------------------------------------- what follows


def test_no_deviation_is_claimed_until_it_moves():
    def F(h: Any, x: Any, p: Any) -> Any:
        return np.where(x > 100.0, p["b"], p["a"] * h + x)

    learner = fg.Learner(fg.System(F, None, np.zeros(2), {"a": 0.5, "b": 0.2}, np.zeros(2)), fg.RTRL(), FILTER)
    assert len(told_of(learner, 200)) == 1
    assert np.isnan(learner.parameter_std()["b"])
    assert np.isfinite(learner.parameter_std()["a"])
    learner.step(np.full(2, 101.0), np.ones(2))
    assert np.isfinite(learner.parameter_std()["b"])


def test_a_parameter_that_is_started_elsewhere_is_looked_at_again():
    learner = fg.Learner(off("clip"), fg.RTRL(), fg.SGD(1e-3))
    assert len(told_of(learner, 200)) == 1
    learner.params = {"b": 0.5}
    assert told_of(learner, 200) == []
    assert learner.params["b"] != 0.5
    again = fg.Learner(off("clip"), fg.RTRL(), fg.SGD(1e-3))
    assert len(told_of(again, 200)) == 1
    again.params = {"b": 1.7}
    assert len(told_of(again, 200)) == 1


@pytest.mark.parametrize("cut", [10, 50, 150])
@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.TBPTT(4)], ids=repr)
def test_a_checkpoint_keeps_the_count(tmp_path, cut, estimator):
    path = tmp_path / "run.npz"
    learner = fg.Learner(off("clip"), estimator, fg.SGD(1e-3))
    before = told_of(learner, cut)
    learner.save(path)
    loaded = fg.Learner.load(path, off("clip"))
    assert loaded._watch.samples == min(cut, learner._watch.samples)
    after = told_of(loaded, 250 - cut, seed=1)
    assert len(before) + len(after) == 1
    assert told_of(loaded, 250) == []


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.CalibrationWarning")  # targets are of another system
def test_a_checkpoint_keeps_what_is_not_known(tmp_path):
    path = tmp_path / "run.npz"
    with pytest.warns(DeadParameterWarning):
        learner = fg.Learner(threshold(), fg.RTRL(), FILTER)
    learner.save(path)
    with pytest.warns(DeadParameterWarning, match="vth"):
        assert np.isnan(fg.Learner.load(path, threshold()).parameter_std()["vth"])
    learner = fg.Learner(off("clip"), fg.RTRL(), FILTER)
    told_of(learner, 200)
    learner.save(path)
    loaded = fg.Learner.load(path, off("clip"))
    assert np.isnan(loaded.parameter_std()["b"])
    assert np.isfinite(loaded.parameter_std()["a"])


def test_a_new_trajectory_delays_but_does_not_hide():
    learner = fg.Learner(off("clip"), fg.RTRL(), fg.SGD(1e-3))
    told = []
    for seed in range(6):
        told += told_of(learner, 80, seed)
        learner.reset_state()
    assert len(told) == 1


def test_a_step_that_is_refused_changes_nothing():
    learner = fg.Learner(off("clip"), fg.RTRL(), fg.SGD(1e-3))
    told_of(learner, 50)
    xs, ys = data(10)
    ys[3] = 1e200
    with pytest.raises(fg.errors.NonFiniteError):
        learner.run(xs, ys)
    assert len(told_of(learner, 200)) == 1


# ---------------------------------------------------------------- check


def test_check_fails_on_dead_parameters():
    report = fg.check(threshold())
    (row,) = [row for row in report.rows if row.verdict == "FAILED"]
    assert "vth: it is used only where there is no derivative" in row.note
    assert not report.ok
    assert fg.check(threshold(frozen=["vth"])).ok
    with pytest.raises(fg.errors.DeclarationError, match="vth"):
        report.raise_if_failed()
