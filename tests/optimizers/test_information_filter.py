"""The information filter as an optimizer: contract, influences, windows, engines, errors, metric and numerics."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import oracles
import pytest
from oracles import Runner

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import DeclarationError, NonFiniteError, ShapeError, UnknownNameError
from fwdgrad.learning import checkpoint
from fwdgrad.learning.execution import Execution
from fwdgrad.optimizers import Block, Full, InformationFilter, LowRank, ParameterFilter, QuasiDiagonal
from fwdgrad.optimizers.information.fisher import root
from fwdgrad.optimizers.informed import Evidence, Setting
from fwdgrad.program import Abstract, trace
from fwdgrad.program.costs import multiply_adds
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.testing import check_optimizer

CASES = {case.name: case for case in oracles.every_case()}
MATRICES = ["full", "diagonal", "block", "quasi-diagonal", "low-rank"]
EVERY_MATRIX = pytest.mark.parametrize("matrix", MATRICES)
TEXT = fg.streams.next_symbol([0, 1, 2, 1] * 15)


def learn(filter_, estimator=None, engine="numpy", xs=TEXT[0], ys=TEXT[1], dtype=np.float64):
    system = systems.tanh_rnn(units=4, symbols=3, dtype=dtype)
    learner = fg.Learner(system, estimator or fg.NoBackTrack(), filter_, engine=engine)
    history = learner.run(xs, ys)
    return learner, history


def flat(learner) -> np.ndarray:
    return np.concatenate([np.ravel(v) for v in learner.params.values()])


# ---------------------------------------------------------------- the contract


@pytest.mark.parametrize(
    "filter_",
    [
        InformationFilter(),
        InformationFilter("full", decay=0.01),
        InformationFilter("diagonal", decay=fg.schedules.inverse_power(1.0), prior={"W": 1.0, "b": 2.0, "a": 0.5}),
        InformationFilter("full", prior=0.1, inflation=1e-3),
    ],
    ids=repr,
)
def test_it_is_an_optimizer(filter_):
    """As an optimizer of three leaves of which nothing else is known; the prior by leaf names them."""
    if isinstance(filter_.prior, tuple):
        with pytest.raises(AssertionError, match="no learned leaf"):  # the check's network has other leaves
            check_optimizer(filter_)
        filter_ = InformationFilter("diagonal", decay=filter_.decay)
    check_optimizer(filter_)


@EVERY_MATRIX
@pytest.mark.parametrize("fisher", ["outer", "exact"])
@pytest.mark.parametrize(
    "estimator",
    [fg.RTRL(), fg.SparseRTRL(), fg.NoBackTrack(), fg.UORO("probe"), fg.KFRTRL("nobacktrack"), fg.NoBackTrack(rank=2)],
    ids=lambda e: f"{e.name}-{e.rank}",
)
@pytest.mark.covering
def test_every_matrix_learns_with_every_influence(matrix, fisher, estimator):
    xs, ys = fg.streams.next_symbol([0, 1, 2, 1] * 60)
    learner, history = learn(InformationFilter(matrix, fisher, 0.01, 5.0), estimator, xs=xs, ys=ys)
    assert history.loss[-20:].mean() < 0.1
    assert history.loss[:5].mean() > 1.0
    stds = learner.parameter_std()
    assert list(stds) == list(learner.system.trainable)
    assert all(np.all((s > 0) & np.isfinite(s)) for s in stds.values())


@EVERY_MATRIX
@pytest.mark.parametrize("fisher", ["outer", "exact"])
@pytest.mark.covering
def test_engines_agree(matrix, fisher):
    """The traced step and the functions called plainly, with autograd, to rounding."""
    filter_ = InformationFilter(matrix, fisher, fg.schedules.inverse_power(0.5), 2.0)
    one, other = (flat(learn(filter_, engine=e, xs=TEXT[0][:25], ys=TEXT[1][:25])[0]) for e in ("numpy", "eager"))
    np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


COMPILED = [(m, f) for m in MATRICES for f in ("outer", "exact")]
QUICK = [("diagonal", "outer"), ("quasi-diagonal", "outer")]


@pytest.mark.parametrize(
    ("matrix", "fisher"), [pytest.param(*c, marks=() if c in QUICK else pytest.mark.slow) for c in COMPILED]
)
def test_the_compiled_engine_agrees(matrix, fisher):
    pytest.importorskip("llvmlite")
    filter_ = InformationFilter(matrix, fisher, fg.schedules.inverse_power(0.5), 2.0)
    made = [learn(filter_, engine=e, xs=TEXT[0][:25], ys=TEXT[1][:25])[0] for e in ("numpy", "compiled")]
    assert made[1].engine == "compiled"
    np.testing.assert_allclose(flat(made[0]), flat(made[1]), rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_the_covariance_form_runs_on_every_engine():
    """With process noise, an adaptive observation noise, and missing targets."""
    pytest.importorskip("llvmlite")
    system = systems.tanh_rnn(units=3, inputs=2)
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(30, 2)), rng.normal(size=(30, 1))
    ys[::4] = np.nan
    made = []
    for engine in ("numpy", "eager", "compiled"):
        learner = fg.Learner(system, fg.NoBackTrack(), ParameterFilter(0.1, 1e-4, "adaptive"), engine=engine)
        learner.run(xs, ys)
        assert learner.engine == engine
        made.append(np.concatenate([flat(learner), *(np.ravel(s) for s in learner.parameter_std().values())]))
    for other in made[1:]:
        np.testing.assert_allclose(made[0], other, rtol=1e-8, atol=1e-10)


@EVERY_MATRIX
def test_single_precision_stays_single(matrix):
    learner, _ = learn(InformationFilter(matrix, "exact", 0.01, inflation=1e-3), dtype=np.float32)
    carry = learner._unpacked
    assert all(v.dtype == np.float32 for v in carry.params.values())
    state = carry.optimizer.matrix
    assert all(leaf.dtype == np.float32 for leaf in flatten(state))


@EVERY_MATRIX
def test_a_checkpoint_goes_on_bit_for_bit(matrix, tmp_path):
    """Its description holds everything, schedules, priors and units included."""
    by_leaf = {"b": 1.0, "R": 2.0, "W": 3.0, "V": 0.5, "c": 4.0}
    filter_ = InformationFilter(matrix, "exact", fg.schedules.inverse_power(0.5), by_leaf, 1e-3)
    system = systems.tanh_rnn(units=4, symbols=3)
    learner = fg.Learner(system, fg.NoBackTrack(), filter_)
    learner.run(TEXT[0][:20], TEXT[1][:20])
    learner.save(tmp_path / "run.npz")
    again = fg.Learner.load(tmp_path / "run.npz", systems.tanh_rnn(units=4, symbols=3))
    assert again.optimizer == filter_
    for one in (learner, again):
        one.run(TEXT[0][20:], TEXT[1][20:])
    np.testing.assert_array_equal(flat(learner), flat(again))


@pytest.mark.parametrize(
    "filter_",
    [
        InformationFilter(QuasiDiagonal([{"W": 0, "b": 0}], ["b"])),
        InformationFilter(Block([{"W": -1}])),
        InformationFilter(LowRank(3, 0.1)),
        InformationFilter(Full(joint=True)),
        ParameterFilter({"a": 2.0}, 0.1, "adaptive", 3.0, 0.5),
        ParameterFilter(observation_noise=np.array([1.0, 2.0])),
    ],
    ids=repr,
)
def test_configurations_go_through_a_description(filter_):
    assert checkpoint.rebuild(checkpoint.describe(filter_), "optimizer") == filter_
    hash(filter_)


# ---------------------------------------------------------------- windows


def test_the_outer_product_goes_with_any_window():
    xs, ys = TEXT
    for estimator in (fg.TBPTT(4), fg.UORO(window=3), fg.BPTT(), fg.Hybrid(4), fg.ARTBP(0.3)):
        learner, _ = learn(InformationFilter("quasi-diagonal", decay=0.01), estimator, xs=xs, ys=ys)
        assert float(learner._unpacked.optimizer.t) > 0
        assert np.all(np.isfinite(flat(learner)))


@pytest.mark.parametrize(
    ("filter_", "message"),
    [
        (InformationFilter("full", "exact"), "window of one step"),
        (InformationFilter("low-rank"), "window of one step"),
        (ParameterFilter(), "windows of one step"),
    ],
    ids=["exact", "low-rank", "covariance"],
)
def test_what_needs_windows_of_one_step_says_so(filter_, message):
    system = systems.tanh_rnn(units=4, inputs=2)
    with pytest.raises(DeclarationError, match=message):
        fg.Learner(system, fg.TBPTT(4), filter_)
    fg.Learner(system, fg.NoBackTrack(), filter_)
    learner = fg.Learner(system, fg.TBPTT(4), InformationFilter())
    with pytest.raises(DeclarationError, match="windows of one step"):
        learner.predict(np.zeros(2), return_std=True)


# ---------------------------------------------------------------- errors


def not_symmetric(prediction):
    return np.array([[1.0, 0.5], [0.0, 1.0]])


def singular(prediction):
    return np.ones((2, 2))


def indefinite(prediction):
    return np.diag(np.array([1.0, -1.0]))


def not_square(prediction):
    return np.ones(2)


def indefinite_later(prediction):
    """Positive definite near 0, where it is tried, and indefinite far from there."""
    return np.eye(2) * (100.0 - np.sum(prediction * prediction))


def two_outputs() -> fg.System:
    return fg.System(lambda h, x, theta: 0.5 * h + theta["a"] * x, None, np.zeros(2), {"a": np.ones(2)}, np.zeros(2))


@pytest.mark.parametrize(
    ("fisher", "error", "message"),
    [
        (not_symmetric, DeclarationError, "not symmetric"),
        (singular, DeclarationError, "positive definite"),
        (indefinite, DeclarationError, "positive definite"),
        (not_square, ShapeError, "Expected: .2, 2."),
        (lambda prediction: [[1.0, 0.0], [0.0, 1.0]], DeclarationError, "an array"),
        (lambda prediction: 1 / 0, DeclarationError, "ZeroDivisionError"),
        (lambda: np.eye(2), DeclarationError, "TypeError"),
        (lambda prediction: np.array([["a", "b"]]), DeclarationError, "an array of numbers"),
    ],
    ids=lambda f: getattr(f, "__name__", ""),
)
def test_a_fisher_matrix_of_ones_own_has_to_be_positive_definite(fisher, error, message):
    with pytest.raises(error, match=message):
        fg.Learner(two_outputs(), fg.RTRL(), InformationFilter("full", fisher))
    for good in ([[2.0, 0.5], [0.5, 1.0]], [[2, 1], [1, 2]]):
        filter_ = InformationFilter("full", lambda prediction, good=good: np.array(good))
        fg.Learner(two_outputs(), fg.RTRL(), filter_).step(np.ones(2), np.ones(2))


def without_diagonal_later(prediction):
    """Likewise, but with nothing at all on the diagonal where it is indefinite: eigenvalues 1 and −1."""
    near = np.where(np.sum(prediction * prediction) < 100.0, 1.0, 0.0)
    return near * np.eye(2) + (1.0 - near) * (1.0 - np.eye(2))


def test_a_root_is_one_or_says_so():
    """LᵀL = I for regular and singular matrices of any size; NaN for indefinite ones, whatever their diagonal."""
    rng = np.random.default_rng(0)
    for rank in (1, 2, 4):
        B = rng.normal(size=(rank, 4)) * [1e-4, 1.0, 1e3, 1.0]
        for matrix in (B.T @ B, 1e-30 * B.T @ B, (B.T @ B).astype(np.float32)):
            L = root(matrix)
            tolerance = 1e-12 if matrix.dtype == float else 1e-5
            np.testing.assert_allclose(L.T @ L, matrix, atol=tolerance * np.trace(matrix))
    assert not root(np.zeros((3, 3))).any()
    for bad in ([[0.0, 1.0], [1.0, 0.0]], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0 - 1e-8]]):
        assert not np.isfinite(root(np.array(bad))).all()


@pytest.mark.parametrize("fisher", [indefinite_later, without_diagonal_later])
def test_a_fisher_matrix_that_becomes_indefinite_is_refused_and_changes_nothing(fisher):
    learner = fg.Learner(two_outputs(), fg.RTRL(), InformationFilter("full", fisher))
    learner.step(np.ones(2), np.ones(2))
    before = flat(learner)
    with pytest.raises(NonFiniteError, match="positive definite"):
        learner.step(np.full(2, 1e3), np.ones(2))
    np.testing.assert_array_equal(flat(learner), before)


def test_an_own_fisher_matrix_is_used():
    """That of the loss, given as a function, makes the same trajectory; another one does not."""
    xs, ys = np.random.default_rng(0).normal(size=(2, 30, 2))
    made = []
    for fisher in ("exact", lambda prediction: np.eye(2), lambda prediction: np.array([[2.0, 0.5], [0.5, 1.0]])):
        learner = fg.Learner(two_outputs(), fg.RTRL(), InformationFilter("full", fisher))
        learner.run(xs, ys)
        made.append(flat(learner))
    np.testing.assert_allclose(made[0], made[1], rtol=1e-12)
    assert np.max(np.abs(made[0] - made[2])) > 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {"prior": -1.0},
        {"prior": 0.0},
        {"prior": {"a": -1.0}},
        {"decay": 1.0},
        {"decay": -0.1},
        {"decay": np.nan},
        {"decay": fg.schedules.inverse_power(2.0)},
        {"decay": "slow"},
        {"decay": lambda t: "slow"},
        {"decay": lambda t, other: 0.1},
        {"decay": lambda t: 1 / 0},
        {"decay": lambda t: [0.1]},
        {"fisher": np.eye(2)},
        {"inflation": -1e-3},
        {"fisher": "hessian"},
        {"matrix": "sparse"},
        {"matrix": Full},
        {"matrix": 3},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_that_do_not_make_sense_are_refused(options):
    with pytest.raises(DeclarationError, match=f"InformationFilter.{next(iter(options))}"):
        InformationFilter(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"initial_covariance": 0.0},
        {"process_noise": -1.0},
        {"observation_noise": 0.0},
        {"observation_noise": "learned"},
        {"observation_noise": np.array([1.0, -1.0])},
        {"observation_noise": [1.0, np.nan]},
        {"observation_noise": (1.0, "adaptive")},
        {"observation_noise": []},
        {"initial_noise": 0.0},
        {"memory": 1.0},
    ],
    ids=repr,
)
def test_options_of_the_covariance_form_are_checked(options):
    with pytest.raises(DeclarationError, match=f"ParameterFilter.{next(iter(options))}"):
        ParameterFilter(**options)


OUTSIDE = {
    "above": lambda t: np.where(t == 55, 1.5, 0.1),
    "below": lambda t: np.where((t > 54) & (t < 100), -0.05, 0.1),
    "nan": lambda t: np.sqrt(np.where(t == 55, -1.0, 0.01)),
}


@pytest.mark.parametrize("engine", ["numpy", "eager"])
@pytest.mark.parametrize("decay", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize("matrix", ["full", "diagonal"])
def test_a_decay_outside_of_0_and_1_is_refused_at_its_step(decay, engine, matrix):
    """Step 54 is the 55th; the learner is as it was before it."""
    learner = fg.Learner(two_outputs(), fg.RTRL(), InformationFilter(matrix, decay=decay), engine=engine)
    xs, ys = np.random.default_rng(0).normal(size=(2, 100, 2))
    learner.run(xs[:54], ys[:54])
    before = flat(learner)
    with pytest.raises(NonFiniteError, match=r"decay.*outside \[0, 1\]") as refusal:
        learner.run(xs[54:], ys[54:])
    assert refusal.value.step == 54
    np.testing.assert_array_equal(flat(learner), before)


def test_a_decay_of_1_up_to_rounding_is_1():
    """γ_1 = 1 forgets what was not there: 1/√t goes, and so does what is above 1 by rounding only."""
    xs, ys = np.random.default_rng(0).normal(size=(2, 60, 2))
    made = []
    for scale in (1.0, 1.0 + 1e-15):
        filter_ = InformationFilter("full", decay=lambda t, scale=scale: scale / np.sqrt(t))
        learner = fg.Learner(two_outputs(), fg.RTRL(), filter_)
        learner.run(xs, ys)
        made.append(flat(learner))
    np.testing.assert_allclose(made[0], made[1], rtol=1e-10)
    with pytest.raises(DeclarationError, match="decay"):
        InformationFilter("full", decay=lambda t: (1.0 + 1e-9) / np.sqrt(t))


def test_what_else_may_be_wrong_is_only_what_can_be():
    """A number as decay, and a diagonal, give no advice about schedules and priors."""
    learner = fg.Learner(two_outputs(), fg.RTRL(), InformationFilter("diagonal", decay=0.1))
    with pytest.raises(NonFiniteError) as refusal:
        learner.step(np.full(2, 1e300), np.ones(2))
    assert "decay" not in str(refusal.value)
    assert "prior" not in str(refusal.value)


def test_what_does_not_fit_the_system_is_refused():
    system = systems.tanh_rnn(units=4, symbols=3)

    def refused(error, filter_, message, declared=system, engine="numpy"):
        with pytest.raises(error, match=message):
            fg.Learner(declared, fg.UORO(), filter_, engine=engine)

    refused(UnknownNameError, InformationFilter(prior={"w": 1.0}), "no learned leaf 'w'")
    refused(DeclarationError, InformationFilter(prior={"W": 1.0}), "one for every learned leaf")
    refused(UnknownNameError, InformationFilter(Block([{"Q": 0}])), "no learned leaf 'Q'")
    refused(DeclarationError, InformationFilter(Block([{"W": 0, "V": 0}])), "as long along their axes")
    refused(DeclarationError, InformationFilter(Block([{"W": 2}])), "an axis of shape")
    refused(DeclarationError, InformationFilter(Block([{"W": 0}, {"W": 1}])), "each in one group")
    refused(DeclarationError, InformationFilter(QuasiDiagonal([{"W": 0}], ["W"])), "16 for 4 units")
    refused(DeclarationError, InformationFilter(QuasiDiagonal([{"b": 0, "W": 0, "R": 0}], ["b", "b"])), "4 for 0 units")
    refused(DeclarationError, InformationFilter(QuasiDiagonal([{"W": 0}], ["b"])), "parameters of no unit")
    refused(UnknownNameError, InformationFilter(QuasiDiagonal(biases=["B"])), "Did you mean 'b'")
    refused(DeclarationError, ParameterFilter(), "targets of the shape of the predictions")
    custom = fg.System(lambda h, x, t: t["a"] * h, None, np.ones(2), {"a": 1.0}, loss=oracles.log_cosh)
    refused(DeclarationError, InformationFilter("full", "exact"), "whose loss has a Fisher matrix", custom)
    large = systems.tanh_rnn(units=200, inputs=2)
    refused(DeclarationError, InformationFilter("full"), r"at most 268,435,456 numbers", large)
    refused(DeclarationError, ParameterFilter(), "at most", large)
    fg.Learner(large, fg.UORO(), InformationFilter("block"))  # 200 blocks of 203, one of 201
    with pytest.raises(DeclarationError, match="leaf → axis"):
        Block(units=3)
    alone, zeros = InformationFilter("low-rank"), {"a": np.zeros(2)}
    with pytest.raises(DeclarationError, match="which a Learner draws"):
        alone.update(zeros, alone.init(zeros), zeros)
    for bad in ({"rank": 0}, {"shrink": 0.0}, {"shrink": 1.5}):
        with pytest.raises(DeclarationError, match="LowRank"):
            LowRank(**bad)

    def branching(h, x, theta):
        return theta["a"] * h if h[0] > 0 else theta["a"] * (h + 1.0)

    untraced = fg.System(branching, None, np.ones(2), {"a": np.ones(2)})
    refused(DeclarationError, InformationFilter("block"), "functions that can be traced", untraced, "eager")
    by_hand = InformationFilter(Block([{"a": 0}]))
    fg.Learner(untraced, fg.UORO(), by_hand, engine="eager").step(None, np.ones(2))


def test_a_quasi_diagonal_without_biases_says_that_it_is_a_diagonal():
    """A bias inside of the tanh is not found; one that is named is taken, and makes a difference."""

    def F(h, x, theta):
        return np.tanh(theta["W"] @ h + theta["b"] + x)

    rng = np.random.default_rng(0)
    params = {"W": rng.normal(size=(3, 3)), "b": rng.normal(size=3)}
    xs, ys = rng.normal(size=(2, 20, 3))

    def trained(matrix):
        system = fg.System(F, None, np.zeros(3), params, np.zeros(3))
        learner = fg.Learner(system, fg.RTRL(), InformationFilter(matrix))
        learner.run(xs, ys)
        return flat(learner)

    with pytest.warns(UserWarning, match="no unit has a bias"):
        silent = trained("quasi-diagonal")
    np.testing.assert_array_equal(silent, trained("diagonal"))
    named = trained(QuasiDiagonal(biases="b"))
    np.testing.assert_array_equal(named, trained(QuasiDiagonal([{"W": 0, "b": 0}], ["b"])))
    assert np.max(np.abs(named - silent)) > 1e-3


# ---------------------------------------------------------------- the metric in the reduction


class Fixed:
    """A filter that never moves θ, so that means over signs can be compared with the exact influence."""

    def __init__(self, filter_):
        self.filter = filter_

    def bind(self, setting):
        inner = self.filter.bind(setting)
        update = inner.update

        def still(grads, state, params, evidence=None):
            return {}, update(grads, state, params, evidence)[1]

        inner.update = still
        return inner

    def init(self, params):
        return self.filter.init(params)

    def update(self, grads, state, params):
        return {}, self.filter.update(grads, state, params)[1]


class Metered(Runner):
    """A runner with a filter as optimizer: gradients come from another one."""

    def __init__(self, case, estimator, filter_):
        super().__init__(case, estimator)
        self.plain = Runner(case, estimator)
        self.execution = Execution(case.system, estimator, Fixed(filter_), "numpy")

    def gradient(self, carry):
        raise NotImplementedError


METRICS = ["full", "block", "quasi-diagonal", "diagonal"]


@pytest.mark.parametrize("matrix", METRICS)
@pytest.mark.parametrize("estimator", [fg.UORO(), fg.NoBackTrack(), fg.NoBackTrack("mixed")], ids=lambda e: e.name)
@pytest.mark.covering
def test_the_influence_stays_unbiased_in_any_metric(matrix, estimator):
    """Over all signs of two steps E G̃ = G, with ρ in the norm of (J + Λ)⁻¹, J as of the steps themselves."""
    case = CASES["tanh-rnn-3"]
    runner = Metered(case, estimator, InformationFilter(matrix, decay=0.1, prior=0.3))
    truth = oracles.influence_matrices(case)
    share, patterns = oracles.all_signs(runner.noise_shape)
    carries, weights, spread = [runner.initial()], np.ones(1), 0.0
    for t in range(3):
        carries = [runner.run(c, t, p) for c in carries for p in patterns]
        weights = np.outer(weights, share).ravel()
        made = [runner.influence(c) for c in carries]
        mean = oracles.mean(made, weights)
        oracles.assert_close(mean, {k: truth[t][k] for k in mean}, 1e-11, f"{matrix}, step {t}")
        spread = max(spread, max(float(np.std([m[k] for m in made], axis=0).max()) for k in mean))
    assert spread > 1e-3


@pytest.mark.parametrize("matrix", METRICS)
@pytest.mark.parametrize("name", ["tanh-rnn", "lstm", "shared"])
@pytest.mark.filterwarnings("ignore:QuasiDiagonal. no unit has a bias")
def test_rows_are_measured_in_the_metric(matrix, name):
    """‖b_i‖² = b_iᵀ S⁻¹ b_i, for rows that stand several to a product, against dense matrices."""
    if name == "shared":  # one parameter feeds both state variables of a unit

        def F(h, x, theta):
            a = theta["a"] * h[0] + theta["s"] * h[1] + theta["b"]
            c = theta["s"] * h[0] + theta["d"] * h[1]
            return np.tanh(np.stack([a, c]))

        system = fg.System(F, None, np.array([0.3, -0.4]), {"a": 0.5, "s": 0.2, "b": 0.1, "d": 0.7})
        x = None
    else:
        system = systems.lstm(units=3, symbols=3) if name == "lstm" else systems.tanh_rnn(units=3, symbols=3)
        x = np.int64(1)
    execution = Execution(system, fg.NoBackTrack(), InformationFilter(matrix, prior=0.4), "numpy")
    rng = np.random.default_rng(0)
    steps, bound = execution.steps, execution.steps.informed
    params = {k: system.params[k] for k in system.trainable}
    state = bound.init(params)
    for _ in range(5):
        grads = {k: rng.normal(size=v.shape) for k, v in params.items()}
        _, state = bound.update(grads, state, params)
    metric = bound.metric(state)
    inverse = np.linalg.inv(bound.form.dense(state.matrix))
    h = rng.normal(size=system.size)
    lin = execution.model.linearize(h, x, system.params)
    B = lin.jacobians()[1]
    dense = np.concatenate(
        [np.reshape(B[k], (system.size, -1)) if k in B else np.zeros((system.size, v.size)) for k, v in params.items()],
        axis=1,
    )
    expected = np.einsum("ij,jk,ik->i", dense, inverse, dense)
    np.testing.assert_allclose(lin.rows().squared_norms(metric), expected, rtol=1e-9, atol=1e-13)
    euclid = np.sum(dense * dense, axis=1)
    np.testing.assert_allclose(lin.rows().squared_norms(), euclid, rtol=1e-9, atol=1e-13)
    assert np.max(np.abs(expected - euclid)) > 1e-3
    assert steps.informed is bound


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.CalibrationWarning")  # targets have nothing to do with the model
def test_the_metric_makes_the_reduction_invariant_under_rescaling():
    """NoBackTrack with the diagonal filter does not see the units of the parameters; by Euclidean norms it would."""
    n, scale = 3, np.array([1e-3, 30.0])
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(n, n)), rng.normal(size=n)
    xs, ys = rng.normal(size=(200, n)), rng.normal(size=(200, n))

    def build(one, other):
        def F(h, x, theta):
            return np.tanh(one * theta["W"] @ h + other * theta["b"] + x)

        return fg.System(F, None, np.zeros(n), {"W": W / one, "b": b / other}, np.zeros(n))

    def trained(one, other, metric=True):
        filter_ = InformationFilter("diagonal", prior={"W": 1.0 * one**2, "b": 1.0 * other**2})
        learner = fg.Learner(build(one, other), fg.NoBackTrack(), filter_)
        if not metric:
            learner._execution.steps._measured = lambda lin, optimizer: lin
        learner.run(xs, ys)
        return np.concatenate([np.ravel(learner.params["W"]) * one, learner.params["b"] * other])

    np.testing.assert_allclose(trained(*scale), trained(1.0, 1.0), rtol=1e-8, atol=1e-8)
    assert np.max(np.abs(trained(*(2 * scale), metric=False) - trained(1.0 + 1e-12, 1.0, metric=False))) > 1e-3


# ---------------------------------------------------------------- numerics


def poor_gradients(steps, seed=0):
    """Gradients along two fixed directions of six: the others are known from the prior only."""
    directions = np.random.default_rng(12345).normal(size=(2, 6))
    rng = np.random.default_rng(seed)
    return rng.normal(size=(steps, 2)) @ directions


SIX = {"W": (2, 2), "b": (2,)}
UNITS = [{"W": 0, "b": 0}]


def forms():
    return {
        "full": Full(),
        "diagonal": "diagonal",
        "block": Block(UNITS),
        "quasi-diagonal": QuasiDiagonal(UNITS, ["b"]),
        "low-rank": LowRank(2),
    }


def long_run(matrix, decay, steps, prior=1e-12, inflation=0.0):
    """Updates by a compiled program, as in a learner: the filter, its last state, and gᵀ S⁻¹ g at every step."""
    setting = Setting(SIX, np.dtype(float), tuple(SIX))
    bound = InformationFilter(forms()[matrix], decay=decay, prior=prior, inflation=inflation).bind(setting)
    params = {k: np.zeros(s) for k, s in SIX.items()}
    state = bound.init(params)
    leaves = flatten(state)
    noise = [np.ones(shape) for _, shape in bound.noise]

    def step(*flat):
        held, grads = unflatten(state, flat[: len(leaves)]), dict(zip(SIX, flat[len(leaves) :][:2], strict=True))
        updates, after = bound.update(grads, held, params, Evidence(noise=tuple(flat[len(leaves) + 2 :])))
        return (*flatten(after), *updates.values(), bound.metric(after).squared_norm(grads))

    like = [*leaves, *params.values(), *noise]
    run = compile_program(trace(step, [Abstract.of(np.asarray(a)) for a in like]))
    rng = np.random.default_rng(1)
    flat, norms = tuple(np.asarray(leaf) for leaf in leaves), []
    for start in range(0, steps, 1000):
        gradients = poor_gradients(min(1000, steps - start), start)
        for g in gradients:
            signs = [rng.choice([-1.0, 1.0], n.shape) for n in noise]
            *flat, _, _, norm = run(*flat, g[:4].reshape(2, 2), g[4:], *signs)
            norms.append(norm)
    return bound, unflatten(state, flat), np.array(norms)


@pytest.mark.parametrize("matrix", [*forms()])
@pytest.mark.parametrize("decay", [0.0, 1e-3])
@pytest.mark.parametrize("prior", [1e-12, 1.0])
@pytest.mark.covering
def test_positive_definite_after_many_steps(matrix, decay, prior):
    check_positive(matrix, decay, prior, steps=3000)


def check_positive(matrix, decay, prior, steps):
    """Along directions that no gradient has, the precision stays the prior's, though it is 1e15 times smaller."""
    bound, state, norms = long_run(matrix, decay, steps, prior)
    assert np.all(np.isfinite(norms))
    assert np.all(norms > 0)
    # each block gives gᵀ(S + g gᵀ)⁻¹g < 1, and low rank has at least half of the diagonal
    assert np.all(norms < {"full": 1, "block": 2}.get(matrix, 12) + 1e-6)
    check_definite(matrix, bound, state.matrix, prior)


def check_definite(matrix, bound, state, prior):
    for leaf in bound.form.variances(state).values():
        assert np.all((leaf > 0) & np.isfinite(leaf))
    if matrix in ("full", "block"):
        for factor in state.factors:
            assert np.all(np.diagonal(factor, axis1=-2, axis2=-1) > 0)
    if matrix == "full":
        # two directions are seen, four are not: their precision is the prior's, whatever was added elsewhere
        singular_values = np.linalg.svd(state.factors[0][0], compute_uv=False)
        np.testing.assert_allclose(singular_values[2:], np.sqrt(prior), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("matrix", [*forms()])
@pytest.mark.parametrize("decay", [0.0, 1e-3])
def test_a_million_steps(matrix, decay):
    """A learner, compiled: positive definite all the way, and after the first tenth no memory is taken any more."""
    pytest.importorskip("llvmlite")

    def Y(h, x, theta):
        return np.reshape(np.sum(theta["W"] * np.reshape(x[:4], (2, 2))) + theta["b"] @ x[4:], (1,))

    params = {k: np.zeros(shape) for k, shape in SIX.items()}
    system = fg.System(lambda h, x, theta: h, Y, np.zeros(1), params, np.zeros(6))
    filter_ = InformationFilter(forms()[matrix], decay=decay, prior=1e-12)
    learner = fg.Learner(system, fg.RTRL(), filter_, engine="compiled")
    held = []
    for part in range(10):
        ys = np.random.default_rng(part).normal(size=(100_000, 1))
        history = learner.run(poor_gradients(100_000, 100 + part), ys, record=100_000)
        assert learner.engine == "compiled"
        assert np.all(np.isfinite(history.loss))
        check_definite(matrix, learner._execution.steps.informed, learner._unpacked.optimizer.matrix, 1e-12)
        del history, ys
        if part == 0:
            tracemalloc.start()
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert learner.steps == 1_000_000
    assert held[-1] - held[1] < 20_000


def test_a_sum_of_outer_products_would_have_lost_it():
    """Negative control: J kept as a matrix, with a tiny prior added at the end, is not positive definite."""
    J = np.zeros((6, 6))
    for g in poor_gradients(3000):
        J += np.outer(g, g)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(J + 1e-12 * np.eye(6))


def test_inflation_forgets_the_prior_but_not_all_of_it():
    """After 10⁵ steps of inflation the prior has 1e-12 of its weight, and the matrix is positive definite."""
    for matrix in ("full", "quasi-diagonal"):
        bound, state, norms = long_run(matrix, 0.0, 4000, 1.0, inflation=0.01)
        assert float(state.weight) == pytest.approx(1e-12)
        assert np.all((norms > 0) & (norms < 12))
        assert all(np.all((v > 0) & np.isfinite(v)) for v in bound.variances(state).values())


@pytest.mark.parametrize("matrix", ["diagonal", "quasi-diagonal"])
def test_cost_and_memory_are_linear_in_the_parameters(matrix):
    """Measured from n = 16 to n = 128: slopes of multiply-adds beyond those of SGD, and of bytes, are 1; full: ≥ 2."""

    def measure(name, n):
        system = systems.tanh_rnn(units=n, symbols=3)
        learner = fg.Learner(
            system, fg.TBPTT(1), name if isinstance(name, fg.optimizers.SGD) else InformationFilter(name)
        )
        program = learner._execution.program("learn")
        bytes_ = sum(np.asarray(a).nbytes for a in flatten(learner._unpacked.optimizer))
        parameters = sum(v.size for v in system.params.values())
        return multiply_adds(program, list(range(len(program.outputs)))), bytes_, parameters

    def slopes(name, sizes):
        rows = []
        for n in sizes:
            work, bytes_, p = measure(name, n)
            rows.append((np.log(work - measure(fg.optimizers.SGD(0.1), n)[0]), np.log(bytes_), np.log(p)))
        first, last = np.array(rows[0]), np.array(rows[-1])
        return ((last - first) / (last[2] - first[2]))[:2]

    np.testing.assert_allclose(slopes(matrix, (16, 128)), 1.0, atol=0.03)
    assert np.all(slopes("full", (4, 12)) > 1.8)  # negative control


@pytest.mark.slow
def test_memory_does_not_grow():
    learner, _ = learn(InformationFilter("quasi-diagonal", decay=1e-3))
    tracemalloc.start()
    for _ in range(5):
        learner.run(*TEXT)
    first = tracemalloc.get_traced_memory()[0]
    for _ in range(5):
        learner.run(*TEXT)
    grown = tracemalloc.get_traced_memory()[0] - first
    tracemalloc.stop()
    assert grown < 20_000


def test_a_step_may_be_bounded_as_a_whole():
    """By the size of each parameter as declared, in the direction that it has."""

    def moved(longest):
        system = fg.System(lambda h, x, p: p["a"] * x + p["b"], None, np.zeros(1), {"a": 2.0, "b": 0.5}, np.zeros(1))
        learner = fg.Learner(system, fg.RTRL(), fg.InformationFilter("full", "exact", longest=longest), engine="numpy")
        learner.step([1.0], [1000.0])
        return np.array([learner.params["a"] - 2.0, learner.params["b"] - 0.5])

    free, bounded = moved(None), moved(1.0)
    np.testing.assert_allclose(bounded / np.linalg.norm(bounded), free / np.linalg.norm(free), rtol=1e-12)
    assert np.max(np.abs(bounded) / [2.0, 0.5]) == pytest.approx(1.0)
    assert np.max(np.abs(free) / [2.0, 0.5]) > 10
    np.testing.assert_array_equal(moved(1e9), free)
    with pytest.raises(DeclarationError, match=r"InformationFilter\(longest\)"):
        fg.InformationFilter(longest=0.0)
