"""What a learner does to the parameters, on every kind of system, against autograd through the unrolled sequence."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import autograd
import numpy as np
import oracles
import pytest
from oracles import assert_close, gap

import fwdgrad as fg
from fwdgrad.losses import CrossEntropy, SquaredError

CASES = {case.name: case for case in oracles.every_case()}
ALL = pytest.mark.parametrize("name", list(CASES))
ENGINES = pytest.mark.parametrize("engine", ["numpy", "eager"])
RATE = 0.05


def learned(case: oracles.Case, estimator: fg.Estimator, **options: Any) -> list[dict[str, np.ndarray]]:
    """θ after each step of SGD."""
    learner = fg.Learner(case.system, estimator, fg.SGD(RATE), **options)
    path = []
    for x, y in zip(case.xs, case.ys, strict=True):
        learner.step(x, y)
        path.append(learner.params)
    return path


# ---------------------------------------------------------------- updates on every kind of system


@pytest.mark.covering
@ALL
@pytest.mark.parametrize("estimator", [fg.UORO(), fg.NoBackTrack()], ids=lambda e: e.name)
def test_the_first_update_is_the_gradient(name, estimator):
    """One step of SGD with rate r moves θ by −r·g; at the first step every estimator is exact."""
    case = CASES[name]
    gradient = oracles.total_gradients(case)[0]
    moved = learned(replace(case, xs=case.xs[:1], ys=case.ys[:1]), estimator)[0]
    assert_close(moved, {k: v - RATE * gradient.get(k, 0.0) for k, v in case.params.items()}, 1e-14)


@pytest.mark.covering
@ALL
@ENGINES
def test_learning_follows_the_exact_online_gradient(name, engine):
    """RTRL while θ moves: each gradient is that of the step's loss in all the copies of θ used on the way to it."""
    case = CASES[name].without(2)
    path = learned(case, fg.RTRL(), engine=engine)
    for t, expected in enumerate(oracles.online(case, RATE)):
        assert_close({k: path[t][k] for k in expected}, expected, 1e-12, f"step {t}")
    assert gap(path[-1], case.params) > 1e-4


@pytest.mark.covering
@ALL
@pytest.mark.parametrize("window", [2, 3])
def test_learning_with_truncated_backpropagation(name, window):
    """At the end of each window θ moves by its gradient, and the next window starts from the state reached before."""
    case = CASES[name].without(2)
    path = learned(case, fg.TBPTT(window))
    theta, h = case.trained(), case.system.state
    for first in range(0, len(case.xs), window):

        def loss(theta: Any, first: int = first, h: Any = h) -> Any:
            return sum(value for _, _, value in case.unroll([theta] * window, first, h) if value is not None)

        gradient = autograd.grad(loss)(theta)
        h = list(case.unroll([theta] * window, first, h))[-1][1]
        for t in range(first, first + window - 1):
            assert_close({k: path[t][k] for k in theta}, theta, 1e-12, f"inside the window, step {t}")
        theta = {k: v - RATE * gradient[k] for k, v in theta.items()}
        assert_close({k: path[first + window - 1][k] for k in theta}, theta, 1e-12, f"window from step {first}")


@ALL
def test_one_run_is_many_steps(name):
    """`run` over the whole stream and `step` by `step` are the same to the last bit, losses included."""
    case = CASES[name].without(1)
    stepped, ran = (fg.Learner(case.system, fg.NoBackTrack(), fg.SGD(RATE), seed=7) for _ in range(2))
    losses = [stepped.step(x, y) for x, y in zip(case.xs, case.ys, strict=True)]
    history = ran.run(zip(case.xs, case.ys, strict=True))
    assert np.array_equal(history.loss, losses, equal_nan=True)
    assert gap(stepped.params, ran.params) == 0.0
    assert np.array_equal(stepped.influence_matrix(), ran.influence_matrix())


def test_the_loss_is_the_one_before_learning():
    """Predict, compare, learn: `predict` before the step says what the step's loss is made of."""
    case = CASES["gru-reset-before"]
    learner = fg.Learner(case.system, fg.UORO(), fg.SGD(RATE))
    for x, y in zip(case.xs, case.ys, strict=True):
        seen = learner.predict(x)
        assert learner.step(x, y) == pytest.approx(float(oracles.half_square(seen, y)), rel=1e-14)


# ---------------------------------------------------------------- missing targets


def missing(case: oracles.Case) -> list[Any]:
    """Ways to say that there is no target."""
    like = np.asarray(case.ys[0], dtype=float)
    nowhere = np.full(like.shape, np.nan)
    return [None, nowhere, np.ma.masked_all(like.shape), np.ma.masked_invalid(nowhere)]


@pytest.mark.parametrize("name", ["symbol-rnn", "grid", "vehicle"])
@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.UORO(), fg.NoBackTrack(rank=2)], ids=lambda e: e.name)
def test_without_a_target_state_and_influence_go_on(name, estimator):
    """However it is said: θ and the optimizer stay as they are to the last bit, and h and G̃ are those of a step."""
    case = CASES[name]
    ends = []
    for absent in missing(case):
        learner = fg.Learner(case.system, estimator, fg.Adam(RATE), seed=1)
        learner.step(case.xs[0], case.ys[0])
        before = learner._unpacked
        assert math.isnan(learner.step(case.xs[1], absent))
        after = learner._unpacked
        assert gap(after.params, before.params) == 0.0
        assert float(after.optimizer.t) == float(before.optimizer.t) == 1.0
        assert np.allclose(after.h, case.system.transition(before.h, case.xs[1], before.params), rtol=1e-14, atol=1e-14)
        ends.append(learner)
    for other in ends[1:]:
        assert np.array_equal(other.influence_matrix(), ends[0].influence_matrix())
        other.step(case.xs[2], case.ys[2])
    ends[0].step(case.xs[2], case.ys[2])
    assert all(gap(other.params, ends[0].params) == 0.0 for other in ends[1:])


def test_the_influence_without_targets_is_exact():
    """RTRL on a stream without any target: θ never moves, and G is ∂h/∂θ."""
    for case in CASES.values():
        learner = fg.Learner(case.system, fg.RTRL(), fg.SGD(RATE))
        for x in case.xs:
            learner.step(x, None)
        assert gap(learner.params, case.params) == 0.0
        exact = oracles.influence_matrices(case)[-1]
        columns = [v.reshape(case.system.size, -1) for k, v in exact.items() if k in learner._execution.model.leaves]
        assert_close({"G": learner.influence_matrix()}, {"G": np.concatenate(columns, axis=1)}, 1e-13, repr(case))


@ENGINES
def test_partly_missing_targets_teach_what_they_have(engine):
    """SquaredError leaves out NaN components, as if the prediction had only the others."""
    case = oracles.tanh_rnn()
    ys = [y.copy() for y in case.ys]
    for t, y in enumerate(ys):
        y[t % 2] = np.nan
    gaps = replace(case, ys=ys)

    def observed(prediction: Any, y: Any) -> Any:
        kept = [k for k in range(2) if not np.isnan(y[k])]
        return sum(0.5 * (prediction[k] - y[k]) ** 2 for k in kept)

    path = learned(gaps, fg.RTRL(), engine=engine)
    for t, expected in enumerate(oracles.online(replace(gaps, loss=observed), RATE)):
        assert_close(path[t], expected, 1e-12, f"step {t}")
    half, whole = learned(gaps, fg.RTRL())[0], learned(case, fg.RTRL())[0]
    assert np.array_equal(half["V"][0], case.params["V"][0])
    assert gap(half, whole) > 1e-3


def test_a_window_with_gaps():
    """Inside a window, steps without a target add nothing to its loss; a window of gaps moves nothing."""
    case = CASES["lotka-volterra"].without(0, 3, 4, 5)
    path = learned(case, fg.Estimator(fg.RTRL().influence, window=3))
    gradients = oracles.total_gradients(case)
    first = {k: v - RATE * (gradients[1][k] + gradients[2][k]) for k, v in case.params.items()}
    assert_close(path[2], first, 1e-13)
    assert gap(path[5], path[2]) == 0.0


# ---------------------------------------------------------------- which parameters


def test_frozen_parameters_stay():
    """They never change, have no influence and no optimizer state; the others learn as if they were constants."""
    case = CASES["tanh-rnn-3"]
    system, W = case.system, case.params["W"]
    frozen = fg.System(system.F, system.Y, system.state, system.params, system.x, frozen=["W", "c"])
    rest = {k: v for k, v in system.params.items() if k not in ("W", "c")}
    constant = fg.System(
        lambda h, x, p: np.tanh(W @ h + p["U"] @ x + p["b"]),
        lambda h, x, p: p["V"] @ h + case.params["c"],
        system.state,
        rest,
        system.x,
    )
    for estimator in (fg.RTRL(), fg.UORO(), fg.NoBackTrack(), fg.TBPTT(2)):
        one, other = (learned(replace(case, system=s), estimator) for s in (frozen, constant))
        for a, b in zip(one, other, strict=True):
            assert np.array_equal(a["W"], W)
            assert np.array_equal(a["c"], case.params["c"])
            assert_close({k: a[k] for k in b}, b, 1e-14)
    learner = fg.Learner(frozen, fg.RTRL(), fg.Adam(RATE))
    assert learner.influence_matrix().shape == (3, 6 + 3)
    assert set(learner._unpacked.optimizer.m) == {"U", "b", "V"}


def test_a_readout_has_its_direct_gradient():
    """Parameters that only Y uses have no influence on the state: g = d, exact under every estimator."""
    case = CASES["tanh-rnn-3"]
    system = case.system
    only = fg.System(system.F, system.Y, system.state, system.params, system.x, frozen=["W", "U", "b"])
    theta = {k: case.params[k].copy() for k in ("V", "c")}
    paths = [learned(replace(case, system=only), e, seed=3) for e in (fg.RTRL(), fg.UORO(), fg.NoBackTrack(rank=3))]
    h = system.initial
    for t, (x, y) in enumerate(zip(case.xs, case.ys, strict=True)):
        h = system.transition(h, x, case.params)
        residual = theta["V"] @ h + theta["c"] - y
        theta = {"V": theta["V"] - RATE * np.outer(residual, h), "c": theta["c"] - RATE * residual}
        for path in paths:
            assert_close({k: path[t][k] for k in theta}, theta, 1e-14, f"step {t}")
    learner = fg.Learner(only, fg.UORO())
    assert learner.influence_matrix().shape == (3, 0)
    assert learner.influence_nbytes() == 0


def test_a_parameter_in_transition_and_output():
    """By hand: h' = a h + x, ŷ = a h', so dŷ/da = h' + a (h + a ∂h/∂a)."""
    system = fg.System(lambda h, x, p: p["a"] * h + x, lambda h, x, p: p["a"] * h, np.array(2.0), {"a": 0.5}, 0.0)
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(RATE))
    a, h, G = 0.5, 2.0, 0.0
    for x, y in ((1.0, 0.0), (-0.5, 2.0), (0.3, 1.0)):
        h, G = a * h + x, h + a * G
        loss = 0.5 * (a * h - y) ** 2
        assert learner.step(x, y) == pytest.approx(loss, rel=1e-14)
        a -= RATE * (a * h - y) * (h + a * G)
        assert float(learner.params["a"]) == pytest.approx(a, rel=1e-14)
        assert float(learner.influence_matrix()[0, 0]) == pytest.approx(G, rel=1e-14)


def test_scalars_stay_scalars():
    """0-d parameters, inputs, targets and states keep their shape, however they were given."""
    system = fg.System(
        lambda h, x, p: p["a"] * h + p["b"] * x, lambda h, x, p: h, 1.0, {"a": 0.5, "b": np.float64(2)}, 0.0
    )
    learner = fg.Learner(system, fg.NoBackTrack(), fg.SGD(RATE))
    for x in (0.1, np.float64(0.2), np.array(0.3), 1):
        assert isinstance(learner.step(x, 0.5), float)
    assert {k: v.shape for k, v in learner.params.items()} == {"a": (), "b": ()}
    assert np.shape(learner.state) == ()
    assert np.shape(learner.predict(0.1)) == ()


# ---------------------------------------------------------------- containers and shapes


def test_dicts_keep_their_keys():
    """State and input dicts: any order of keys; the state comes back as it was declared."""
    case = CASES["vehicle"]
    one, other = (fg.Learner(case.system, fg.NoBackTrack(), fg.SGD(RATE)) for _ in range(2))
    for x, y in zip(case.xs, case.ys, strict=True):
        one.step(x, y)
        other.step(dict(reversed(x.items())), y)
    assert gap(one.params, other.params) == 0.0
    assert list(one.state) == ["q", "v"]
    assert one.state["q"].shape == (2,)
    columns = {k: [x[k] for x in case.xs] for k in ("wind", "push")}
    whole = fg.Learner(case.system, fg.NoBackTrack(), fg.SGD(RATE))
    whole.run({k: np.array(v) for k, v in columns.items()}, np.array(case.ys))
    assert gap(whole.params, one.params) == 0.0


@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.UORO(), fg.NoBackTrack()], ids=lambda e: e.name)
def test_a_grid_is_a_vector_in_another_shape(estimator):
    """A 2-D state, row by row, gives what the same equations give on a flat state."""
    case = CASES["grid"]
    system = case.system
    flat = fg.System(
        lambda h, x, p: np.ravel(system.F(np.reshape(h, (2, 2)), x, p)), system.Y, system.initial, system.params
    )
    for a, b in zip(learned(case, estimator), learned(replace(case, system=flat), estimator), strict=True):
        assert_close(a, b, 1e-14)
    learner = fg.Learner(system, estimator)
    assert learner.state.shape == (2, 2)
    learner.reset_state(np.ones((2, 2)))
    assert np.array_equal(learner.state, np.ones((2, 2)))


@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.UORO(), fg.NoBackTrack()], ids=lambda e: e.name)
def test_an_euler_step_is_the_map_it_stands_for(estimator):
    """dt with a rate, or h + δt·rate written out."""
    case = CASES["lotka-volterra"]
    system = case.system
    written = fg.System(
        lambda h, x, p: h + 0.1 * np.array(system.F(h, x, p)), None, system.state, system.params, name="map"
    )
    for a, b in zip(learned(case, estimator), learned(replace(case, system=written), estimator), strict=True):
        assert_close(a, b, 1e-13)


def test_an_autonomous_system_runs_without_inputs():
    case = CASES["grid"]
    one, other = (fg.Learner(case.system, fg.RTRL(), fg.SGD(RATE)) for _ in range(2))
    one.run(ys=np.array(case.ys))
    for y in case.ys:
        other.step(y=y)
    assert gap(one.params, other.params) == 0.0
    assert gap(one.params, {k: v for k, v in oracles.online(case, RATE)[-1].items()}) < 1e-12


# ---------------------------------------------------------------- losses


@ENGINES
def test_a_loss_of_ones_own(engine):
    """Written out, squared error and cross entropy give the gradients of the built-in ones."""
    scaled = replace(oracles.linear(), name="scaled")
    for case, builtin, own, example in (
        (scaled, SquaredError(scale=0.5), lambda p, y: 2.0 * np.sum((p - y) ** 2), None),
        (
            oracles.symbol_rnn(),
            CrossEntropy(base=2),
            lambda p, y: (np.log(np.sum(np.exp(p))) - p[y]) / math.log(2),
            0,
        ),
    ):
        s = case.system
        pair = [fg.System(s.F, s.Y, s.state, s.params, s.x, loss, y=y) for loss, y in ((builtin, None), (own, example))]
        a, b = (learned(replace(case, system=one), fg.RTRL(), engine=engine) for one in pair)
        for left, right in zip(a, b, strict=True):
            assert_close(left, right, 1e-13, case.name)


@ENGINES
def test_a_target_of_several_parts(engine):
    """A loss whose target is a dict: a value and how much it counts."""
    case = oracles.lotka_volterra()
    s = case.system

    def weighted(prediction: Any, y: Any) -> Any:
        return 0.5 * y["weight"] * np.sum((prediction - y["value"]) ** 2)

    example = {"value": np.zeros(2), "weight": 1.0}
    system = fg.System(s.F, None, s.state, s.params, loss=weighted, dt=0.1, method="euler", y=example)
    ys = [{"value": y, "weight": 0.5 + t} for t, y in enumerate(case.ys)]
    path = learned(replace(case, system=system, ys=ys), fg.RTRL(), engine=engine)
    exact = oracles.online(replace(case, ys=ys, loss=weighted), RATE)
    for t, expected in enumerate(exact):
        assert_close(path[t], expected, 1e-12, f"step {t}")


def test_units_of_losses():
    """Bits are nats over log 2, and so are their gradients; a scale of σ divides by σ²."""
    case = oracles.symbol_rnn()
    s = case.system
    bits = replace(case, system=fg.System(s.F, s.Y, s.state, s.params, s.x, CrossEntropy(base=2)))
    change = {k: (learned(bits, fg.RTRL())[0][k] - v) * math.log(2) for k, v in case.params.items()}
    assert_close(change, {k: learned(case, fg.RTRL())[0][k] - v for k, v in case.params.items()}, 1e-15)
    case = oracles.linear()
    s = case.system
    wide = replace(case, system=fg.System(s.F, s.Y, s.state, s.params, s.x, SquaredError(scale=2.0)))
    change = {k: (learned(wide, fg.RTRL())[0][k] - v) * 4 for k, v in case.params.items()}
    assert_close(change, {k: learned(case, fg.RTRL())[0][k] - v for k, v in case.params.items()}, 1e-15)


# ---------------------------------------------------------------- the rest


def test_single_precision_is_kept():
    """A float32 system learns in float32, close to its float64 twin."""
    case = oracles.gru(True)
    s = case.system
    params = {k: v.astype(np.float32) for k, v in s.params.items()}
    single = fg.System(s.F, s.Y, s.state.astype(np.float32), params, s.x)
    for estimator in (fg.RTRL(), fg.UORO(), fg.NoBackTrack()):
        path, double = learned(replace(case, system=single), estimator), learned(case, estimator)
        assert {v.dtype for v in path[-1].values()} == {np.dtype(np.float32)}
        assert_close(path[-1], double[-1], 1e-4)


def test_a_new_trajectory_starts_without_influence():
    """After `reset_state` the gradients are those of a learner that starts there with the same θ."""
    case = CASES["tanh-rnn-3"]
    learner = fg.Learner(case.system, fg.RTRL(), fg.SGD(RATE))
    for x, y in zip(case.xs[:3], case.ys[:3], strict=True):
        learner.step(x, y)
    learner.reset_state(np.full(3, 0.2))
    assert not np.any(learner.influence_matrix())
    s = case.system
    fresh = fg.Learner(fg.System(s.F, s.Y, np.full(3, 0.2), learner.params, s.x), fg.RTRL(), fg.SGD(RATE))
    for x, y in zip(case.xs[3:], case.ys[3:], strict=True):
        learner.step(x, y)
        fresh.step(x, y)
    assert gap(learner.params, fresh.params) == 0.0


@pytest.mark.parametrize("name", ["k", "np", "scatter", "len", "body_1", "v"])
def test_a_parameter_may_have_any_name(name):
    """Names that engines use themselves included: the result does not depend on what a parameter is called."""

    def system(called: str) -> fg.System:
        return fg.System(
            lambda h, x, p: np.tanh(p[called] * h + np.roll(h, 1) * p["other"]),
            lambda h, x, p: p[called] * h[1:3],
            np.arange(4.0),
            {called: 0.3, "other": 0.2},
        )

    for estimator in (fg.RTRL(), fg.NoBackTrack(), fg.UORO(window=2)):
        ends = []
        for called in (name, "plain"):
            learner = fg.Learner(system(called), estimator, fg.SGD(RATE))
            for _ in range(4):
                learner.step(None, np.ones(2))
            ends.append([float(v) for v in learner.params.values()])
        assert ends[0] == ends[1]
