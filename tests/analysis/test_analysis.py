"""What `analyze` concludes: units, closures, costs, the estimator it takes and why, and how it tells."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import Case, Runner, assert_close, gap
from places import DOCS

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import DeclarationError
from fwdgrad.estimators.windows import RandomEnd, Sliding, segment_of
from fwdgrad.influence import Masked
from fwdgrad.learning.execution import Execution
from fwdgrad.program.closure import closed_pattern, reached_pattern
from fwdgrad.program.costs import multiply_adds
from fwdgrad.support.trees import unflatten


def lotka_volterra() -> fg.System:
    return oracles.lotka_volterra().system


def low_rank(n: int = 64, rank: int = 8, **options: Any) -> fg.System:
    """W = U Vᵀ."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["U"] @ (p["V"].T @ h) + p["b"] + x)

    rng = np.random.default_rng(0)
    params = {"U": rng.normal(size=(n, rank)) / n, "V": rng.normal(size=(n, rank)), "b": np.zeros(n)}
    return fg.System(F, None, np.zeros(n), params, np.zeros(n), **options)


# ---------------------------------------------------------------- the choice

CHOICES = {
    "lotka-volterra": (lotka_volterra, fg.RTRL(), ["exact gradients cost", "within the budget of 20k"]),
    "diagonal": (
        lambda: systems.build("diagonal", units=500, symbols=4),
        fg.SparseRTRL(),
        ["exact gradients on its closed pattern (2,500 of 1,250,000 entries)", "within the budget"],
    ),
    "tanh-rnn": (
        lambda: systems.build("tanh-rnn", units=64),
        fg.NoBackTrack(),
        ["exact gradients would cost 27", "one backward product gives all rows", "its own scale"],
    ),
    "lstm": (
        lambda: systems.build("lstm", units=64),
        fg.NoBackTrack(),
        ["exact gradients would cost", "2 backward products give all rows of ∂F/∂θ"],
    ),
    "gru-reset-after": (
        lambda: systems.build("gru", units=64, reset="after"),
        fg.NoBackTrack(),
        ["one backward product gives all rows"],
    ),
    "gru-reset-before": (
        lambda: systems.build("gru", units=64, reset="before"),
        fg.NoBackTrack(scale="mixed"),
        ["each entry of W_r, U_r, b_r feeds many state variables", "the other leaves (66 % of the parameters)"],
    ),
    "low-rank": (low_rank, fg.UORO(), ["each entry of V feeds many state variables", "only black-box products"]),
    "low-rank-rates": (
        lambda: low_rank(dt=0.1, method="euler"),
        fg.UORO(scale="probe"),
        ["each entry of V feeds many", "state variables of a differential equation have unlike scales"],
    ),
    "readout": (
        lambda: fg.System(
            lambda h, x, p: 0.5 * h + x, lambda h, x, p: p["c"] @ h, np.zeros(3), {"c": np.zeros(3)}, 0.0
        ),
        fg.TBPTT(1),
        ["no learned parameter feeds the state"],
    ),
    "frozen": (
        lambda: fg.System(
            lambda h, x, p: np.tanh(p["W"] @ h) + x,
            lambda h, x, p: p["c"] @ h,
            np.zeros(90),
            {"W": np.eye(90), "c": np.zeros(90)},
            0.0,
            frozen=["W"],
        ),
        fg.TBPTT(1),
        ["no learned parameter feeds the state"],
    ),
}


@pytest.mark.quick("lotka-volterra", "diagonal", "tanh-rnn", "lstm", "low-rank*", "readout", "frozen")
@pytest.mark.parametrize("name", list(CHOICES))
def test_the_choice_and_why(name):
    make, choice, phrases = CHOICES[name]
    structure = fg.analyze(make())
    assert structure.choice == choice, structure.reason
    for phrase in phrases:
        assert phrase in structure.reason
    assert fg.Learner(make(), optimizer=fg.SGD(1e-2)).estimator == choice
    shown = " ".join(str(structure).split())
    label = next(c.label for c in structure.candidates if c.make() == choice)
    assert f"auto: {label}, because {structure.reason}" in shown


def test_the_budget_changes_the_choice():
    """More time, or none at all; less memory."""
    rnn = systems.build("tanh-rnn", units=16, symbols=4)
    assert fg.analyze(rnn).choice == fg.NoBackTrack()
    assert fg.analyze(rnn, fg.Budget(ratio=1000)).choice == fg.RTRL()
    assert fg.analyze(rnn, fg.Budget(floor=np.float64(1e9))).choice == fg.RTRL()
    tight = fg.analyze(rnn, fg.Budget(floor=1e9, nbytes=1000))
    assert tight.choice == fg.NoBackTrack()
    assert "exact gradients would keep 43k bytes (budget 1000)" in tight.reason
    none = fg.analyze(rnn, fg.Budget(ratio=0, floor=0))
    assert none.choice == fg.NoBackTrack()
    assert "(budget 0)" in none.reason
    assert fg.analyze(low_rank(), fg.Budget(float("inf"), 0, float("inf"))).choice == fg.RTRL()


def field(n: int, count: int, dt: float | None = 0.1) -> fg.System:
    """A ring of n cells with `count` numbers that each feed all of them."""

    def F(h: Any, x: Any, p: Any) -> Any:
        around = np.roll(h, 1) - 2 * h + np.roll(h, -1)
        return sum(p[f"c{k}"] * np.tanh(around * (k + 1)) for k in range(count)) + (h if dt is None else 0.0)

    return fg.System(F, None, np.linspace(0, 1, n), {f"c{k}": 0.1 for k in range(count)}, dt=dt)


@pytest.mark.parametrize("dt", [None, 0.1])
@pytest.mark.parametrize("count", [1, 4, 8])
@pytest.mark.parametrize("n", [10, 1000, 5000])
@pytest.mark.quick("10-*", "1000-4-None")
def test_a_handful_of_numbers_is_learned_exactly_whatever_the_size_and_the_budget(n, count, dt):
    system = field(n, count, dt)
    for budget in (fg.Budget(), fg.Budget(ratio=0, floor=0), fg.Budget(nbytes=0)):
        structure = fg.analyze(system, budget)
        assert structure.choice.name in ("RTRL", "SparseRTRL"), structure.reason
    assert fg.analyze(field(n, 40, dt), fg.Budget(ratio=0, floor=0)).choice.name == "UORO"


@pytest.mark.parametrize("n", [300, 3000])
def test_exact_gradients_that_cost_about_as_much_as_a_random_estimate_are_taken(n):
    """As many numbers as cells, each of which stays where it is: the closed pattern is as small as an estimate."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["a"] * h + p["b"])

    system = fg.System(F, None, np.zeros(n), {"a": np.ones(n), "b": np.ones(n)})
    structure = fg.analyze(system, fg.Budget(0, 0))
    costs = {c.label: c.multiply_adds for c in structure.candidates}
    assert costs["SparseRTRL"] < 2.5 * costs["NoBackTrack"]
    assert structure.choice == fg.SparseRTRL()
    assert "NoBackTrack, which is random" in structure.reason
    assert fg.analyze(system, fg.Budget(0, 0, 0)).choice == fg.NoBackTrack()


@pytest.mark.parametrize("label", ["ratio", "floor", "nbytes"])
@pytest.mark.parametrize("value", [-1, float("nan"), "much", True, None])
def test_budgets_that_make_no_sense(label, value):
    with pytest.raises(DeclarationError, match=f"Budget\\({label}=…\\): expected a number of at least 0"):
        fg.Budget(**{label: value})


# ---------------------------------------------------------------- costs

SMALL = {
    "tanh-rnn": lambda: systems.build("tanh-rnn", units=24, symbols=8),
    "lstm": lambda: systems.build("lstm", units=12, symbols=8),
    "gru-reset-before": lambda: systems.build("gru", units=12, symbols=8, reset="before"),
    "gru-reset-after": lambda: systems.build("gru", units=12, symbols=8, reset="after"),
    "diagonal": lambda: systems.build("diagonal", units=40, symbols=8),
    "leaky-rnn": lambda: systems.build("leaky-rnn", units=12, inputs=2),
    "lotka-volterra": lotka_volterra,
    "low-rank": lambda: low_rank(20, 3),
    "heat": lambda: oracles.heat(30).system,
}


def counted_per_step(system: fg.System, estimator: fg.Estimator) -> float:
    """Multiply-adds of the traced step; of a window, those of all its parts by its length."""
    execution = Execution(system, estimator, fg.SGD(1e-3), "numpy")

    def counted(kind: Any) -> int:
        return multiply_adds(execution.program(kind))

    window = estimator.window
    if window == Sliding(1):
        return counted("learn")
    length = (window.length or system.size) if isinstance(window, Sliding) else segment_of(window)
    if isinstance(window, RandomEnd):
        length = round(1 / window.probability)
    carried = counted(("advance", length)) if execution.has_influence else 0
    return counted("forward") + (counted(("backward", length)) + counted("apply") + carried) / length


@pytest.mark.quick("tanh-rnn", "gru-reset-after", "diagonal", "lotka-volterra", "low-rank", "heat")
@pytest.mark.parametrize("name", list(SMALL))
def test_predicted_costs_are_those_of_the_steps(name):
    """Counted on the traced step of every candidate: within a fifth, and in the same order where it matters."""
    system = SMALL[name]()
    found = []
    for candidate in fg.analyze(system).candidates:
        if candidate.why_not:
            with pytest.raises(DeclarationError):
                fg.Learner(system, candidate.make())
            continue
        counted = counted_per_step(system, candidate.make())
        assert 0.8 * counted <= candidate.multiply_adds <= 1.25 * counted, candidate.label
        found.append((candidate.multiply_adds, counted))
    for predicted, counted in found:
        for other, also in found:
            assert not (counted > 1.3 * also and predicted < other), "in another order"


@pytest.mark.quick("tanh-rnn", "gru-reset-after", "diagonal", "lotka-volterra", "low-rank", "heat")
@pytest.mark.parametrize("name", list(SMALL))
def test_predicted_memory_is_that_of_the_influence(name):
    """To a few numbers: ‖w‖² is kept beside v and w."""
    system = SMALL[name]()
    for candidate in fg.analyze(system).candidates:
        if candidate.why_not:
            continue
        estimator = candidate.make()
        learner = fg.Learner(system, estimator)
        if estimator.window != Sliding(1):  # states are stored besides
            assert candidate.nbytes > learner.influence_nbytes()
            continue
        assert abs(learner.influence_nbytes() - candidate.nbytes) <= 8, candidate.label


def test_what_the_candidates_say_of_themselves():
    """Which are biased, which random, and how many products each takes."""
    structure = fg.analyze(systems.build("lstm", units=12, symbols=8))
    by = {c.label: c for c in structure.candidates}
    assert {k for k, c in by.items() if c.bias != "none"} == {"SnAp-1", "TBPTT(1)", "Decayed(0)"}
    certain = {"Decayed(0)", "RTRL", "SparseRTRL", "SnAp-1", "TBPTT(1)", "Hybrid(24)", "BPTT"}
    assert {k for k, c in by.items() if c.variance == "none"} == certain
    assert (by["NoBackTrack"].vjps, by["NoBackTrack"].jvps) == (3, 1)
    assert (by["UORO"].vjps, by["UORO"].jvps) == (2, 1)
    assert (by["UORO, probe-scaled"].vjps, by["UORO, probe-scaled"].jvps) == (2, 2)
    assert (by["TensorNoBackTrack"].vjps, by["TensorNoBackTrack"].jvps) == (3, 3)
    assert by["TensorNoBackTrack"].nbytes < by["UORO"].nbytes
    without = {c.label: c.why_not for c in fg.analyze(lotka_volterra()).candidates if c.why_not}
    assert without == dict.fromkeys(
        ("KFRTRL", "OK(4)", "TensorNoBackTrack"), "no parameter enters F in one product W @ a"
    )
    assert "no parameter enters F in one product W @ a" in str(fg.analyze(lotka_volterra()))
    assert by["RTRL"].vjps == 25
    assert fg.analyze(lotka_volterra()).candidates[0].vjps == 3
    # with fewer parameters than states, column by column
    heat = fg.analyze(oracles.heat(30).system).candidates[0]
    assert (heat.vjps, heat.jvps) == (1, 2)
    diagonal = {c.label: c for c in fg.analyze(SMALL["diagonal"]()).candidates}
    assert diagonal["SnAp-1"].bias == "none", "the pattern of one step is closed"


# ---------------------------------------------------------------- exact on a sparse pattern


def test_diagonal_recurrence_takes_as_much_memory_as_parameters():
    """SparseRTRL keeps the closed pattern, 8 bytes an entry, one for each parameter; and is RTRL."""
    n, m = 30, 4
    system = systems.build("diagonal", units=n, symbols=m)
    structure = fg.analyze(system)
    assert structure.closed == n + n * m
    sparse, dense = fg.Learner(system, fg.SparseRTRL(), fg.SGD(0.1)), fg.Learner(system, fg.RTRL(), fg.SGD(0.1))
    assert sparse.influence_nbytes() == 8 * structure.closed
    assert dense.influence_nbytes() == 8 * n * structure.closed
    rng = np.random.default_rng(0)
    xs, ys = rng.integers(0, m, (2, 50))
    for learner in (sparse, dense):
        learner.run(xs, ys)
    assert_close(sparse.params, dense.params, 1e-13)
    assert np.allclose(sparse.influence_matrix(), dense.influence_matrix(), rtol=0, atol=1e-13)


ALL = pytest.mark.parametrize("case", oracles.every_case(), ids=repr)


@ALL
def test_sparse_rtrl_is_rtrl(case):
    """On every kind of system: the closed pattern loses nothing."""
    sparse, dense = Runner(case, fg.SparseRTRL()), Runner(case, fg.RTRL())
    ours, theirs = sparse.initial(), dense.initial()
    for t in range(len(case.xs)):
        ours, theirs = sparse.run(ours, t), dense.run(theirs, t)
        assert_close(sparse.gradient(ours), dense.gradient(theirs), 1e-13)
        assert_close(sparse.influence(ours), dense.influence(theirs), 1e-13)


@pytest.mark.covering
@ALL
@pytest.mark.parametrize("order", [1, 2, 3])
def test_snap_is_rtrl_with_a_mask(case, order):
    """G ← M∘(A G + B) with M the pattern of Σ_{j<k} Aʲ B, and RTRL where M is closed."""
    runner = Runner(case, fg.SnAp(order))
    model = runner.execution.model
    S, leaves = model.patterns.transition.state, model.patterns.transition.leaves
    masks = {k: reached_pattern(S, leaves[k], order).toarray() for k in model.leaves}
    carry, rtrl = runner.initial(), Runner(case, fg.RTRL())
    full = rtrl.initial()
    G = {k: np.zeros(masks[k].shape) for k in masks}
    for t in range(len(case.xs)):
        x = unflatten(case.system.x, runner.samples[t][0])
        A, B = model.linearize(runner.state(carry), x, case.params).jacobians()
        G = {k: masks[k] * (A @ G[k] + B[k].reshape(masks[k].shape)) for k in G}
        carry, full = runner.run(carry, t), rtrl.run(full, t)
        assert_close({k: v.reshape(G[k].shape) for k, v in runner.influence(carry).items()}, G, 1e-13)
    if all(closed_pattern(S, leaves[k]).nnz == masks[k].sum() for k in masks):
        assert_close(runner.influence(carry), rtrl.influence(full), 1e-13)


@pytest.mark.parametrize("order", [0, 1.5, True, "two"])
def test_orders_that_make_no_sense(order):
    with pytest.raises(DeclarationError, match="order"):
        Masked(order)


# ---------------------------------------------------------------- what parameters and states can be


def everything() -> fg.System:
    """A leaf of every kind, and a state that nobody sees."""

    def F(h: Any, x: Any, p: Any) -> Any:
        seen = np.tanh(p["W"] @ h[:2]) + p["b"] + p["gain"] * x
        return np.concatenate([seen, h[2:] * p["unseen"] + p["W"][0, :1]])

    def Y(h: Any, x: Any, p: Any) -> Any:
        return p["V"] @ h[:2] + p["b"][0] * p["scale"]

    params = {
        "W": np.eye(2),
        "b": np.zeros(2),
        "gain": 1.0,
        "unseen": 0.5,
        "V": np.ones((1, 2)),
        "scale": 2.0,
        "unused": np.zeros(3),
        "fixed": 1.0,
    }
    return fg.System(F, Y, np.zeros(3), params, 0.0, frozen=["gain", "fixed"])


def test_kinds_of_parameters():
    structure = fg.analyze(everything())
    assert structure.patterns.influential == ("W", "b", "unseen")
    assert structure.readout_only == ("V", "scale")
    assert structure.dead == ("unseen", "unused")
    assert structure.product_only == ()  # W is also indexed
    assert structure.components.tolist() == [0, 0, 1]
    text = str(structure)
    for leaf, note in (
        ("gain", "frozen"),
        ("fixed", "frozen"),
        ("unseen", "dead: no path to the loss"),
        ("unused", "dead: no path to the loss"),
        ("V", "readout only"),
        ("b", "bias-like"),
    ):
        line = next(line for line in text.split("\n") if line.strip().startswith(f"{leaf} "))
        assert note in line
    assert "nothing" in next(line for line in text.split("\n") if line.strip().startswith("unused "))


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.DeadParameterWarning")
def test_dead_is_dead():
    """The loss never moves with a dead leaf, and does with all others."""
    system, rng = everything(), np.random.default_rng(0)

    def losses(params: dict[str, Any]) -> np.ndarray:
        changed = fg.System(system.F, system.Y, system.state + 0.3, params, 0.0, frozen=["gain", "fixed"])
        learner = fg.Learner(changed, fg.TBPTT(1), fg.SGD(1e-12))
        return np.array([learner.step(x, [0.5]) for x in (0.3, -0.2, 1.0, 0.4)])

    base = losses(system.params)
    for leaf in system.trainable:
        moved = losses(system.params | {leaf: system.params[leaf] + rng.normal(size=system.params[leaf].shape)})
        assert np.array_equal(moved, base) == (leaf in fg.analyze(system).dead), leaf


def test_a_parameter_may_matter_through_other_states():
    """It feeds a state that is not observed, but one that feeds, two steps later, one that is."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.stack([0.5 * h[1], np.tanh(h[2]), p["a"] * h[3], h[3], p["b"] * h[0]])

    system = fg.System(F, lambda h, x, p: h[0], np.ones(5), {"a": 1.0, "b": 1.0})
    assert fg.analyze(system).dead == ("b",)


@pytest.mark.parametrize(
    ("use", "product"),
    [
        (lambda W, h: W @ np.tanh(h), True),
        (lambda W, h: W @ h + W @ np.tanh(h), True),
        (lambda W, h: np.dot(W, h), True),
        (lambda W, h: W.T @ h, True),
        (lambda W, h: W @ h + W[0], False),
        (lambda W, h: (2 * W) @ h, False),
        (lambda W, h: h @ W, True),
        (lambda W, h: W[1] * h, False),
    ],
)
def test_matrices_that_enter_only_through_products(use, product):
    system = fg.System(lambda h, x, p: use(p["W"], h), None, np.ones(3), {"W": np.eye(3)})
    assert fg.analyze(system).product_only == (("W",) if product else ())


def test_units_of_networks():
    """State variables that share parameters; the bias that enters additively is told."""
    rnn = fg.analyze(systems.build("tanh-rnn", units=6, symbols=3)).units
    assert rnn.count == 6
    assert rnn.states.tolist() == list(range(6))
    assert rnn.bias == [("b", i) for i in range(6)]
    assert np.array_equal(rnn.parameters["W"], np.repeat(np.arange(6)[:, None], 6, axis=1))
    assert np.array_equal(rnn.parameters["R"], np.repeat(np.arange(6)[:, None], 3, axis=1))
    lstm = fg.analyze(systems.build("lstm", units=5, symbols=3)).units
    assert lstm.count == 5
    assert lstm.states.tolist() == [*range(5), *range(5)]  # c_i and h_i
    assert lstm.bias == [None] * 5  # within a squashing function, none is additive
    assert np.array_equal(lstm.parameters["U_o"], np.repeat(np.arange(5)[:, None], 5, axis=1))


def test_dense_leaves_do_not_merge_units():
    """An entry of the reset gate feeds every unit and belongs to none."""
    units = fg.analyze(systems.build("gru", units=10, symbols=3, reset="before")).units
    assert units.count == 10
    assert np.all(units.parameters["U_r"] == -1)
    assert np.array_equal(units.parameters["b_z"], np.arange(10))


def test_units_of_a_differential_equation():
    """Predation enters both equations, so they are one unit; the bias is found where there is one."""
    assert fg.analyze(lotka_volterra()).units.count == 1

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.stack([p["in"] - p["k"] * h[0], 3.0 * p["other"] + p["k2"] * h[1] ** 2])

    params = {"k": 1.0, "in": 0.5, "k2": 1.0, "other": 0.0}
    units = fg.analyze(fg.System(F, None, np.ones(2), params, dt=0.1, method="euler")).units
    assert units.bias == [("in", 0), ("other", 0)]
    assert {k: int(v) for k, v in units.parameters.items()} == {"k": 0, "in": 0, "k2": 1, "other": 1}


def delay_line(steps: int = 6) -> Case:
    """Three states in a row: what comes in is gone after three steps."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.stack([np.tanh(p["a"] * x), np.tanh(p["b"] * h[0]) + p["a"], p["c"] * h[1] * h[0]])

    def Y(h: Any, x: Any, p: Any) -> Any:
        return h[2] + 0.1 * h[0]

    xs, ys = oracles.signals(30, steps, (), ())
    return Case("delay-line", fg.System(F, Y, np.full(3, 0.4), {"a": 0.8, "b": 1.2, "c": 0.7}, 0.0), xs, ys)


def test_truncation_is_exact_at_the_end_of_a_delay_line():
    """The state forgets its past after L steps: TBPTT(L) has the whole gradient of the last loss of its window."""
    case = delay_line()
    structure = fg.analyze(case.system)
    assert structure.delay == 3
    assert "forgets its past after 3 steps: TBPTT(3) is exact at its end" in str(structure)
    assert structure.components.tolist() == [0, 1, 2]
    exact = oracles.total_gradients(case)

    def at_the_end(window: int) -> float:
        last = case.without(*(t for t in range(6) if (t + 1) % window))
        runner = Runner(last, fg.TBPTT(window))
        carry, worst = runner.initial(), 0.0
        for first in range(0, 6, window):
            carry = runner.run(carry, first)
            worst = max(worst, gap(runner.gradient(carry), exact[first + window - 1]))
        return worst

    assert at_the_end(3) < 1e-14
    assert at_the_end(2) > 1e-3
    assert fg.analyze(systems.build("influence-balancing")).delay is None


def test_components_come_in_order():
    """Two pairs and a state between them."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.stack([p["a"] * h[1], h[0], h[0] + 0.5 * h[2], h[4] + h[2], h[3]])

    components = fg.analyze(fg.System(F, None, np.ones(5), {"a": 1.0})).components
    assert components.tolist() == [0, 0, 1, 2, 2]


# ---------------------------------------------------------------- showing it


def widest(structure: fg.Structure) -> int:
    return max(len(line) for line in str(structure).split("\n"))


def test_the_table_fits_a_hundred_columns():
    """Long names, scalars, many leaves, a million entries."""
    assert all(widest(fg.analyze(make())) <= 100 for make, _, _ in CHOICES.values())
    long = "the_rate_at_which_the_prey_is_eaten_by_the_predators_of_the_northern_forest"
    names = {f"{long}_{k}": (0.1 * k if k % 2 else np.zeros((2, 1, 1, 1, 1, 1, 1, 1, 1))) for k in range(6)}

    def F(h: Any, x: Any, p: Any) -> Any:
        return sum(np.ravel(v)[0] for v in p.values()) * h

    structure = fg.analyze(fg.System(F, None, np.ones(2), names, name=long * 2))
    assert widest(structure) <= 100
    assert "scalar" in str(structure)
    assert "…" in str(structure)


def test_the_page_shows_the_table_as_it_is():
    """But for rows of estimators that are newer than the page."""
    page = (DOCS / "structure.md").read_text(encoding="utf-8")
    shown = page.split("```text\n")[1].split("```")[0]
    made = iter(str(fg.analyze(systems.gru(units=64, symbols=32, reset="before"))).split("\n"))
    missing = [line for line in shown.strip("\n").split("\n") if line not in made]  # goes on from the last one found
    assert not missing


def test_many_leaves_are_told_together():
    """Those that differ in nothing but their name."""
    params: dict[str, Any] = {f"W{k:02}": np.eye(16) for k in range(40)} | {"b": np.zeros(16), "c": np.zeros(3)}

    def F(h: Any, x: Any, p: Any) -> Any:
        for k in range(40):
            h = np.tanh(p[f"W{k:02}"] @ h)
        return h + p["b"]

    structure = fg.analyze(fg.System(F, None, np.zeros(16), params))
    text = str(structure)
    assert widest(structure) <= 100
    assert "W00 + 38 alike" in text  # the last one feeds one state variable each
    assert len(text.split("\n")) < 40
    assert "each entry of W00, W01, W02 and 36 others feeds" in structure.reason


def test_counts_are_short():
    from fwdgrad.analysis.choice import short, some_of

    shown = [short(v) for v in (0, 950, 9999.4, 9999.6, 12_340, 999_499, 999_600, 4.56e6, 1e9, 2.5e12, 1e18, np.inf)]
    assert shown == ["0", "950", "9999", "10k", "12.3k", "999k", "1M", "4.56M", "1G", "2.5T", "1e+18", "∞"]
    assert some_of(["a", "b", "c", "d"]) == "a, b, c, d"
    assert some_of(["a", "b", "c", "d", "e"]) == "a, b, c and 2 others"


def test_the_graph():
    """Units, leaves and the prediction, with the number of derivatives between them."""
    structure = fg.analyze(systems.build("lstm", units=3, symbols=2))
    graph = structure.graph
    assert isinstance(graph, nx.DiGraph)
    assert graph is structure.graph
    assert graph.nodes[("unit", 1)] == {"kind": "unit", "size": 2, "bias": None}
    assert graph.nodes[("leaf", "U_i")] == {"kind": "leaf", "size": 9}
    assert graph.nodes["prediction"] == {"kind": "prediction", "size": 2}
    assert graph.edges[("leaf", "U_i"), ("unit", 0)]["entries"] == 6
    assert graph.edges[("leaf", "U_o"), ("unit", 0)]["entries"] == 3
    assert graph.edges[("unit", 0), ("unit", 1)]["entries"] == 2  # h_0 into c_1 and h_1
    assert graph.edges[("unit", 0), ("unit", 0)]["entries"] == 4
    assert graph.edges[("unit", 2), "prediction"]["entries"] == 2
    assert graph.edges[("leaf", "V"), "prediction"]["entries"] == 6
    assert ("leaf", "V") not in nx.ancestors(graph, ("unit", 0))
    total = sum(d["entries"] for a, b, d in graph.edges(data=True) if a[0] == b[0] == "unit")
    assert total == structure.patterns.transition.state.nnz
    rnn = fg.analyze(systems.build("tanh-rnn", units=3, symbols=2)).graph
    assert rnn.nodes[("unit", 2)]["bias"] == ("b", 2)


@pytest.mark.filterwarnings("ignore::fwdgrad.errors.DeadParameterWarning")
@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_any_system_can_be_analysed(seed):
    """Random sparse networks with leaves of every kind: the report is made, and the choice runs."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    shape, mask = (n, n), (rng.random((n, n)) < 0.4) * 1.0
    params = {"W": rng.normal(size=shape), "b": np.zeros(n), "g": 0.3, "V": rng.normal(size=(2, n)), "z": np.zeros(2)}
    terms = rng.random(4) < 0.6

    def F(h: Any, x: Any, p: Any) -> Any:
        after = 0.1 * np.roll(h, 1) * terms[0]
        if terms[1]:
            after = after + (mask * p["W"]) @ np.tanh(h)
        if terms[2]:
            after = after + p["b"]
        return after + p["g"] * x if terms[3] else after + x

    system = fg.System(F, lambda h, x, p: p["V"] @ h, np.zeros(n), params, np.zeros(n))
    structure = fg.analyze(system)
    assert widest(structure) <= 100
    assert set(structure.dead) >= {"z"}
    learner = fg.Learner(system, optimizer=fg.SGD(1e-3))
    assert learner.estimator == structure.choice
    assert np.isfinite(learner.step(np.ones(n), np.zeros(2)))


def test_what_a_newcomer_tried():
    one = fg.System(lambda h, x, t: np.tanh(t["W"] @ h), lambda h, x, t: t["W"] ** 2 @ h, np.ones(3), {"W": np.eye(3)})
    assert fg.analyze(one).product_only == ()  # Y does not use it as a product
    memoryless = fg.analyze(fg.System(lambda h, x, t: t["a"] * x, None, np.zeros(1), {"a": np.ones(1)}, np.ones(1)))
    assert memoryless.delay == 1
    assert {c.label: c.bias for c in memoryless.candidates}["TBPTT(1)"] == "none"
    assert "1 step:" in str(memoryless)
    for wrong in ((3,), (one, 5)):
        with pytest.raises(fg.errors.DeclarationError, match="expected a fwdgrad"):
            fg.analyze(*wrong)


def test_pictures_of_few_variables_name_them_and_show_rates():
    model = fg.from_text(
        "d upper/dt = q - a*upper\nd lower/dt = a*upper - b*lower\nupper(0) = 1\nlower(0) = 1\n"
        "param q = 1\nparam a = 1\nparam b = 1\ndt = 0.1\nmethod = rk4"
    )
    structure = fg.analyze(model)
    assert structure.variables == ("upper", "lower")
    assert structure.drawn.transition.leaves["b"].nnz == 1  # of the rates; a step of RK4 is another matter
    assert structure.patterns.transition.leaves["q"].nnz == 2 > structure.drawn.transition.leaves["q"].nnz
    figure = structure.plot()
    shown = {text.get_text() for text in figure.axes[0].texts}
    assert {"upper", "lower", "q", "a", "b", "prediction"} <= shown
    assert [t.get_text() for t in figure.axes[1].get_yticklabels()] == ["upper", "lower"]
