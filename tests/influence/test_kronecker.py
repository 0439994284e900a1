"""KF-RTRL, and influences side by side, over every sign; products and parts of linearizations against Jacobians."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import autograd.numpy as anp
import numpy as np
import oracles
import pytest
from every_noise import Everything, everywhere_unbiased, frozen, left, products
from oracles import Runner, assert_close, assert_unbiased, gap

import fwdgrad as fg
from fwdgrad.errors import DeclarationError
from fwdgrad.influence import Directional, Exact, Kronecker, Layout, Masked, NoInfluence, RankOne, Split
from fwdgrad.influence.kronecker import KroneckerState
from fwdgrad.linear import EagerModel, TracedModel, Window
from fwdgrad.program import Abstract, Linearized, trace

# ---------------------------------------------------------------- which matrices enter through products

MIX = np.random.default_rng(0).normal(size=(12, 12))

FORMS = {
    "W @ a": (lambda W, h, x: W @ h, 1),
    "a @ W": (lambda W, h, x: h @ W, 0),
    "W.T @ a": (lambda W, h, x: W.T @ h, 0),
    "a @ W.T": (lambda W, h, x: h @ W.T, 1),
    "dot": (lambda W, h, x: np.dot(W, np.tanh(h)), 1),
    "inner": (lambda W, h, x: np.inner(W, h), 1),
    "tensordot": (lambda W, h, x: np.tensordot(W, h, axes=1), 1),
    "einsum ij,j": (lambda W, h, x: np.einsum("ij,j->i", W, h), 1),
    "einsum i,ij": (lambda W, h, x: np.einsum("i,ij", h, W), 0),
    "einsum ij,i": (lambda W, h, x: np.einsum("ij,i->j", W, h), 0),
    "one column": (lambda W, h, x: (W @ h[:, None])[:, 0], 1),
    "one row": (lambda W, h, x: (h[None, :] @ W)[0], 0),
    "R[:, x]": (lambda W, h, x: W[:, x] + h, 1),
    "R[x]": (lambda W, h, x: W[x] * h, 0),
    "R.T[x]": (lambda W, h, x: W.T[x] * h, 1),
    "take": (lambda W, h, x: np.take(W, x, axis=1) * h, 1),
}


def through(use: Any, n: int = 3, dense: bool = False) -> fg.System:
    """A system that uses a square matrix W in one way; with `dense`, every unit hears every entry of the result."""

    def F(h: Any, x: Any, p: Any) -> Any:
        made = np.tanh(use(p["W"], h, x)) + 0.1 * h
        return MIX[:n, :n] @ made if dense else made

    return fg.System(F, None, np.linspace(0.3, 1, n), {"W": 0.4 * MIX[:n, :n] + np.eye(n)}, 1)


@pytest.mark.parametrize("dense", [False, True], ids=["coloured", "dense"])
@pytest.mark.parametrize("form", list(FORMS))
def test_products_are_recognised_and_give_the_jacobian(form, dense):
    """∂h'/∂W = D ⊗ a, with the factor, D and c·D of each form; twelve rows are more than are coloured."""
    use, axis = FORMS[form]
    system = through(use, 12 if dense else 3, dense)
    model = TracedModel(system)
    lin = model.linearize(system.initial, np.array(1), system.params)
    (term,) = lin.products().values()
    a, D, B = term.factor, term.jacobian(), lin.jacobians()[1]["W"]
    assert term.axis == axis
    assert D.shape == (system.size, system.size)
    assert_close({"W": np.moveaxis(np.multiply.outer(D, a), -1, 1 + axis)}, {"W": B}, 1e-14)
    c = np.cos(np.arange(system.size))
    assert_close({"D": term.vjp(c)}, {"D": c @ D}, 1e-14)


def test_gradients_with_respect_to_what_a_program_computes_on_its_way():
    """Together with those of its inputs, which they are part of."""
    vector = Abstract((3,), np.dtype(float))
    program = trace(lambda h, w: (np.sum(np.tanh(w * h) * h), np.cos(w * h)), [vector, vector])
    z = next(i for i in program if i.operation.name == "multiply").outputs[0]
    h, w, c = np.array([0.3, -1.0, 2.0]), np.array([1.0, 0.5, -0.2]), np.array([1.0, 2.0, 3.0])
    lin = Linearized(program, (h, w))
    assert np.array_equal(lin.at(z), h * w)
    of_z, of_h, of_w = lin.vjp([2.0, c], [z, 0, 1])
    expected = 2.0 * h / np.cosh(h * w) ** 2 - c * np.sin(h * w)
    assert np.allclose(of_z, expected, rtol=1e-14)
    assert np.allclose(of_w, expected * h, rtol=1e-14)
    assert np.allclose(of_h, expected * w + 2.0 * np.tanh(h * w), rtol=1e-14)
    assert np.array_equal(lin.vjp([2.0, c], [z])[0], of_z)
    assert np.array_equal(lin.vjp([None, c], [program.outputs[1]])[0], c)


@pytest.mark.parametrize(
    ("use", "how"),
    [
        (lambda W, h: W @ h + W @ np.tanh(h), r"2 times: matmul, at .*; matmul, at "),
        (lambda W, h: W @ h + W[0], r"2 times: matmul, at .*; getitem, at "),
        (lambda W, h: W @ (W @ h), r"2 times: matmul, at .*; matmul, at "),
        (lambda W, h: (2 * W) @ h, r"once: multiply, at .*test_kronecker"),
        (lambda W, h: np.sum(W @ np.stack([h, h * h], axis=1), axis=1), r"once: matmul, at "),
        (lambda W, h: np.einsum("ij,j,i->i", W, h, h), r"once: einsum, at "),
        (lambda W, h: W[:, 0] * h, r"once: getitem, at "),
        (lambda W, h: np.sum(W, axis=1) * h, r"once: sum, at "),
        (lambda W, h: W @ h + W.T @ h + np.sum(W) * h, r"3 times: .*; .*; and 1 more"),
    ],
)
def test_other_uses_are_refused_by_name(use, how):
    """Unless something is said about them."""
    system = fg.System(lambda h, x, p: use(p["W"], h), None, np.ones(3), {"W": np.eye(3)})
    with pytest.raises(DeclarationError, match=f"KFRTRL: parameter 'W' enters F otherwise .*\n.*used {how}") as caught:
        fg.Learner(system, fg.KFRTRL())
    assert 'KFRTRL(others="uoro")' in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 5
    with pytest.raises(DeclarationError, match="Kronecker: it takes none of the parameters of F, which are W"):
        fg.Learner(system, fg.KFRTRL(others="uoro"))


def test_a_matrix_that_is_the_state_is_refused():
    system = fg.System(lambda h, x, p: p["W"], None, np.zeros((2, 2)), {"W": np.eye(2)})
    with pytest.raises(DeclarationError, match="parameter 'W' enters F otherwise"):
        fg.Learner(system, fg.KFRTRL())


def test_the_refusal_counts_the_others():
    case = oracles.gru(True)
    with pytest.raises(DeclarationError, match=r"parameter 'bz' enters .* \(and so do 2 others\)"):
        fg.Learner(case.system, fg.KFRTRL())
    fg.Learner(frozen(case, ["bz", "br", "b"]).system, fg.KFRTRL())  # what is not learned is not there


# ---------------------------------------------------------------- unbiased, over every sign


@pytest.mark.parametrize("others", ["uoro", "rtrl", "nobacktrack"])
@pytest.mark.slow
def test_unbiased_on_the_network_of_the_nobacktrack_paper(others):
    """b + R[:, x] + W tanh(h): two products, one of them a selection, and a bias."""
    everywhere_unbiased(oracles.symbol_rnn(3 if others == "rtrl" else 2), fg.KFRTRL(others), steps=3)


def test_unbiased_on_a_tanh_network_with_one_product():
    """W alone, over five steps; what else there is is fixed."""
    assert_unbiased(Runner(frozen(oracles.tanh_rnn(3), ["U", "b"]), fg.KFRTRL()), steps=5)


@pytest.mark.parametrize("case", [products(), products(3), left()], ids=["right", "right-3", "left"])
def test_unbiased_with_several_products(case):
    """Two leaves, three leaves; on the right, on the left, transposed, rows picked; an input is zero at one step."""
    assert_unbiased(Runner(case, fg.KFRTRL()), steps=4 if len(case.params) < 4 else 3)


@pytest.mark.parametrize("others", ["uoro", RankOne("unit"), RankOne("mixed"), RankOne("probe"), Masked()], ids=repr)
@pytest.mark.parametrize("reset_first", [True, False])
@pytest.mark.quick("True-'uoro'", "True-RankOne(scale='mixed'*", "False-*")
def test_unbiased_on_a_gru(reset_first, others):
    """With the reset gate inside the product, D of that gate's matrix is dense."""
    fixed = ["Wz", "Uz", "Wr", "W", "bz"] + ["b"] * (others == RankOne("probe"))
    case = frozen(oracles.gru(reset_first, 2), fixed)
    everywhere_unbiased(case, fg.KFRTRL(others), steps=3 if others == "uoro" or isinstance(others, Masked) else 2)


@pytest.mark.parametrize("others", ["uoro", RankOne("unit")], ids=repr)
@pytest.mark.slow
def test_unbiased_on_an_lstm(others):
    case = frozen(oracles.lstm(1), ["Wi", "Wf", "Wo", "Wg", "Uo", "Uf"])
    everywhere_unbiased(case, fg.KFRTRL(others), steps=3)


@pytest.mark.slow
def test_unbiased_with_two_copies():
    everywhere_unbiased(products(), fg.KFRTRL(rank=2), steps=3)
    everywhere_unbiased(frozen(oracles.symbol_rnn(2), ["R"]), fg.KFRTRL("uoro", rank=2), steps=2)


def test_unbiased_beside_a_direction_that_is_drawn_at_the_start():
    """Noise of both kinds in one influence."""
    case = oracles.symbol_rnn(2)
    everywhere_unbiased(case, fg.Estimator(Split(Kronecker(), Directional("signs"))), steps=3)
    everywhere_unbiased(frozen(case, ["R"]), fg.Estimator(Split(Kronecker(), Directional("signs")), rank=2), steps=2)


def test_unbiased_with_a_dense_sensitivity_of_many_colours():
    """More rows than are coloured: D row by row."""
    case = oracles.Case("mixed", through(FORMS["W @ a"][0], 10, True), [1] * 3, [np.ones(10)] * 3)
    assert_unbiased(Runner(case, fg.KFRTRL()), steps=3)


# ---------------------------------------------------------------- negative controls


@dataclass(frozen=True)
class Faulty(Kronecker):
    """The reduction written a second time, right or with a fault."""

    fault: str = ""

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        (signs,), A, u, H = noise, lin.jacobians()[0], {}, {}
        for number, (k, term) in enumerate(lin.products().items()):
            a, D, AH, c = term.factor, term.jacobian(), A @ state.H[k], signs[number]
            p1, p2 = 0.7, 1.3
            if self.fault == "p sees the sign":  # of the new term relative to the old one
                p1 = np.where(c * np.dot(state.u[k], a) > 0, 0.4, 1.0)
            D = 0.5 * D if self.fault == "half of D" else D
            u[k] = p1 * state.u[k] + c * p2 * a
            H[k] = AH / p1 + (c / p2 if self.fault != "one sign" else 1 / p2) * D
        return KroneckerState(u, H)


def test_any_scales_will_do():
    assert_unbiased(Runner(products(), fg.Estimator(Faulty())), steps=3)


@pytest.mark.parametrize("fault", ["p sees the sign", "half of D", "one sign"])
def test_a_fault_is_seen(fault):
    with pytest.raises(AssertionError, match="mean influence"):
        assert_unbiased(Runner(products(), fg.Estimator(Faulty(fault))), steps=3)


# ---------------------------------------------------------------- variance, memory, zeros, precision


def spread(case: oracles.Case, estimator: fg.Estimator, steps: int = 3) -> float:
    """Variance of all entries of G̃ together, after some steps, over all signs."""
    runner = Everything(case, estimator)
    noises = [runner.cut(p, "step") for p in oracles.all_signs(runner.noise_shape)[1]]
    carries = [runner.initial()]
    for t in range(steps):
        carries = [runner.run(c, t, *noise) for c in carries for noise in noises]
    seen = [runner.influence(c) for c in carries]
    return sum(float(np.sum(np.var([g[k] for g in seen], axis=0))) for k in seen[0])


def test_scales_have_least_variance():
    """p₁ and p₂ as they are, against other constants; and less noise than rank one."""
    case = products(3)
    ours = spread(case, fg.KFRTRL())
    assert ours < spread(case, fg.Estimator(Faulty()))
    assert ours < 0.5 * spread(case, fg.UORO())
    assert spread(case, fg.KFRTRL(rank=2), 2) == pytest.approx(spread(case, fg.KFRTRL(), 2) / 2, rel=1e-10)


def test_memory_is_r_and_nm_for_each_matrix():
    n = 5
    learner = fg.Learner(products(n).system, fg.KFRTRL())
    assert learner.influence_nbytes() == 8 * ((n + n * n) + (3 + n * n))
    learner = fg.Learner(products(n).system, fg.KFRTRL(rank=3))
    assert learner.influence_nbytes() == 3 * 8 * ((n + n * n) + (3 + n * n))
    symbols = oracles.symbol_rnn(n)
    learner = fg.Learner(symbols.system, fg.KFRTRL("uoro"))
    assert learner.influence_nbytes() == 8 * ((n + n * n) + (4 + n * n) + n + n + 1)


def test_the_step_does_not_grow_with_the_state():
    """Loops stay loops."""

    def length(n: int) -> int:
        return len(Runner(products(n), fg.KFRTRL()).execution.program("learn").instructions)

    assert length(40) == length(20)


def test_zeros_make_no_nan():
    """Zero state and zero input: a = 0 for one matrix or both, and nothing to carry."""
    case = products()
    runner = Runner(replace(case, xs=[0 * x for x in case.xs]), fg.KFRTRL())
    carry = runner.initial()
    carry = (0 * carry[0], *carry[1:])
    for t in range(4):
        carry = runner.run(carry, t, np.array([1.0, -1.0]))
        assert all(np.all(np.isfinite(leaf)) for leaf in carry)
        assert gap(runner.influence(carry), {}) == 0.0


def test_the_first_step_is_exact():
    """There is one term only."""
    for sign in (1.0, -1.0):
        runner = Runner(products(), fg.KFRTRL())
        carry = runner.run(runner.initial(), 0, np.array([sign, -sign]))
        G, exact = runner.influence(carry), oracles.influence_matrices(products())[0]
        assert_close(G, {k: exact[k] for k in G}, 1e-14)


def test_single_precision():
    case = products()
    s = case.system
    single = fg.System(s.F, s.Y, s.state.astype("f"), {k: v.astype("f") for k, v in s.params.items()}, s.x.astype("f"))
    runner = Runner(replace(case, system=single), fg.KFRTRL())
    double = Runner(case, fg.KFRTRL())
    one, two = runner.initial(), double.initial()
    for t in range(4):
        signs = np.array([1.0, -1.0]) * (-1) ** t
        one, two = runner.run(one, t, signs.astype("f")), double.run(two, t, signs)
        assert {g.dtype for g in runner.influence(one).values()} == {np.dtype("f")}
        assert_close(runner.influence(one), double.influence(two), 1e-5)


# ---------------------------------------------------------------- fewer leaves at a time


@pytest.mark.parametrize("name", ["gru", "symbols", "heat", "vehicle"])
@pytest.mark.parametrize("kind", ["traced", "eager", "window"])
def test_a_restricted_linearization_is_a_part_of_the_full_one(name, kind):
    """Every product, with every second leaf."""
    make = {
        "gru": lambda: oracles.gru(True),
        "symbols": oracles.symbol_rnn,
        "heat": oracles.heat,
        "vehicle": oracles.vehicle,
    }
    case = make[name]()
    model = EagerModel(case.system) if kind == "eager" else TracedModel(case.system)
    runner = Runner(case, fg.RTRL())
    xs = [oracles.unflatten(case.system.x, list(runner.samples[t][0])) for t in range(2)]
    if kind == "window":
        h, states = case.system.initial, []
        for x in xs:
            states.append(h)
            h = model.advance(h, x, case.system.params)[0]
        columns = [np.stack(c) for c in zip(*(runner.samples[t][0] for t in range(2)), strict=True)]
        full = Window(model, np.stack(states), oracles.unflatten(case.system.x, columns), h, case.system.params)
    else:
        full = model.linearize(case.system.initial, xs[0], case.system.params)
    names = model.leaves[::2]
    part = full.only(names)
    assert part.leaves == names
    assert full.leaves == model.leaves
    assert part.only(names[:1]).leaves == names[:1]
    c = np.cos(np.arange(case.system.size))
    (row, leaves), (whole, every) = part.vjp(c), full.vjp(c)
    assert tuple(leaves) == names
    assert_close({"row": row, **leaves}, {"row": whole} | {k: every[k] for k in names}, 1e-14)
    row, leaves = part.pull(c)
    assert_close({"row": row.array, **leaves}, {"row": whole} | {k: every[k] for k in names}, 1e-14)
    (A, B), (A_full, B_full) = part.jacobians(), full.jacobians()
    assert_close({"A": A, **B}, {"A": A_full} | {k: B_full[k] for k in names}, 1e-14)
    directions = {k: np.sin(1.0 + np.arange(B[k][0].size)).reshape(B[k][0].shape) for k in names}
    assert_close({"h": part.jvp(c, directions)}, {"h": full.jvp(c, directions)}, 1e-14)
    rows = part.rows()
    assert set(rows.leaves) == set(names)
    norms = sum(np.sum(B_full[k].reshape(len(c), -1) ** 2, axis=1) for k in names)
    assert_close({"norms": rows.squared_norms()}, {"norms": norms}, 1e-13)
    assert_close(rows.combine(c), {k: every[k] for k in names}, 1e-13)
    if kind != "window":
        (A, B), (A_full, B_full) = part.entries(), full.entries()
        assert_close({"A": A, **B}, {"A": A_full} | {k: B_full[k] for k in names}, 1e-14)
        assert part.patterns.influential == names
        assert part.patterns is full.only(names).patterns  # found once


@dataclass(frozen=True)
class Biases(Exact):
    """G of all leaves with one axis."""

    def takes(self, layout: Layout) -> tuple[str, ...]:
        return tuple(k for k, shape in layout.leaves.items() if len(shape) == 1)


@pytest.mark.parametrize("scale", ["common", "unit", "mixed", "probe"])
@pytest.mark.parametrize("window", [1, 2])
def test_any_two_influences_side_by_side(scale, window):
    """Biases exactly, the rest by rank one, whose noise is all there is."""
    case = oracles.tanh_rnn()
    estimator = fg.Estimator(Split(Biases(), RankOne(scale)), window)
    assert_unbiased(Runner(case, estimator), steps=2 if window == 2 else 3)
    runner = Runner(case, estimator)
    carry = runner.run(runner.initial(), 0, *runner.noises(0, [np.ones(3)])[0])
    exact = oracles.influence_matrices(case)[window - 1]["b"]
    assert_close({"b": runner.influence(carry)["b"]}, {"b": exact}, 1e-13)


def test_two_exact_parts_are_exact_on_both_engines():
    case = oracles.gru(True)
    gradients = oracles.total_gradients(case)
    for engine in ("numpy", "eager"):
        for rest in (Exact(), Masked()):
            runner = Runner(case, fg.Estimator(Split(Biases(), rest)), engine)
            carry = runner.initial()
            for t in range(len(case.xs)):
                carry = runner.run(carry, t)
                assert_close(runner.gradient(carry), gradients[t], 1e-13)


def test_both_engines_learn_the_same():
    case = oracles.vehicle(12)
    estimator = fg.Estimator(Split(Biases(), RankOne()), rank=2)

    def learned(engine: str) -> Any:
        learner = fg.Learner(case.system, estimator, fg.SGD(0.01), seed=1, engine=engine)
        for x, y in zip(case.xs, case.ys, strict=True):
            learner.step(x, y)
        return learner.params

    assert_close(learned("eager"), learned("numpy"), 1e-12)


def test_nothing_is_left_for_the_rest():
    """The same as without it."""
    alone, beside = Runner(products(), fg.KFRTRL()), Runner(products(), fg.KFRTRL("uoro"))
    one, two = alone.initial(), beside.initial()
    for t in range(4):
        signs = np.array([1.0, -1.0]) * (-1) ** t
        one, two = alone.run(one, t, signs), beside.run(two, t, signs)
    assert all(map(np.array_equal, one, two))


# ---------------------------------------------------------------- saved, named, refused


@pytest.mark.parametrize(
    "estimator",
    [fg.KFRTRL("uoro"), fg.KFRTRL(RankOne("probe"), rank=2), fg.Estimator(Split(Kronecker(), Directional()))],
    ids=["uoro", "probe", "directional"],
)
def test_saved_and_loaded_bit_for_bit(estimator, tmp_path):
    case = oracles.symbol_rnn(steps=90)
    samples = list(zip(case.xs, case.ys, strict=True))
    whole, learner = (fg.Learner(case.system, estimator, fg.SGD(0.01), seed=4) for _ in range(2))
    for x, y in samples:
        whole.step(x, y)
    for x, y in samples[:70]:
        learner.step(x, y)
    learner.save(tmp_path / "run.npz")
    learner = fg.Learner.load(tmp_path / "run.npz", case.system)
    assert learner.estimator == estimator
    for x, y in samples[70:]:
        learner.step(x, y)
    assert gap(learner.params, whole.params) == 0.0
    assert np.array_equal(learner.influence_matrix(), whole.influence_matrix())


def test_named():
    assert fg.estimators.estimator_named("kfrtrl") == fg.KFRTRL()
    assert fg.estimators.estimator_named("kfrtrl:uoro", 2) == fg.KFRTRL("uoro", 2)
    assert fg.KFRTRL("nobacktrack").influence == Split(Kronecker(), RankOne("unit"))
    assert fg.KFRTRL(Exact()) == fg.KFRTRL("rtrl")
    with pytest.raises(DeclarationError, match="expected one of 'uoro', 'nobacktrack', 'rtrl', an influence"):
        fg.estimators.estimator_named("kfrtrl:7")


@pytest.mark.parametrize("others", ["bptt", 3, fg.UORO()])
def test_others_have_to_be_influences(others):
    with pytest.raises(DeclarationError, match=r"KFRTRL\(others=…\): expected one of 'uoro'.*, got "):
        fg.KFRTRL(others)


def test_refusals():
    with pytest.raises(DeclarationError, match=r"KFRTRL\(rank=…\): expected an integer of at least 1"):
        fg.KFRTRL(rank=0)
    for influence in (Kronecker(), Split(Kronecker(), RankOne())):
        with pytest.raises(DeclarationError, match="over a window of 2 a matrix is used in several products"):
            fg.Estimator(influence, window=2)
    with pytest.raises(DeclarationError, match="of a single step, not of a window"):
        fg.Estimator(Split(Biases(), Masked()), window=2)
    with pytest.raises(DeclarationError, match="copies of what is not random"):
        fg.Estimator(Split(Biases(), NoInfluence()), rank=2)
    with pytest.raises(DeclarationError, match="an influence that takes some leaves only"):
        Split(Exact(), Exact())  # type: ignore[arg-type]


def test_unbiased_on_the_eager_engine():
    """Which leaves are in products the trace knows; D is autograd's."""
    assert_unbiased(Runner(products(), fg.KFRTRL(), "eager"), steps=2)


def test_a_window_is_no_product():
    case = products()
    window = Window(TracedModel(case.system), np.zeros((2, 2)), np.zeros((2, 3)), np.zeros(2), case.params)
    with pytest.raises(DeclarationError, match="A window of 2 steps uses each matrix as often"):
        window.products()


def test_functions_that_cannot_be_traced_are_refused():
    def F(h: Any, x: Any, p: Any) -> Any:
        return anp.tanh(p["W"] @ h) if h[0] > 0 else p["W"] @ h

    system = fg.System(F, None, np.ones(2), {"W": np.eye(2)})
    for others in (None, "uoro"):
        with pytest.raises(DeclarationError, match="cannot be\ntraced"):
            fg.Learner(system, fg.KFRTRL(others), engine="eager")
