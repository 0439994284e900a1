"""TensorNoBackTrack over every sign and every cube root; its memory, its engines; products as autograd has them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import autograd.numpy as anp
import numpy as np
import oracles
import pytest
from every_noise import Everything, frozen, left, products
from oracles import assert_close, assert_unbiased, gap
from test_kronecker import FORMS, through

import fwdgrad as fg
from fwdgrad.errors import DeclarationError
from fwdgrad.influence import Exact, NoiseSpec, RankOne, Split, TensorProduct
from fwdgrad.influence.reduction import Complex, roots_of_unity, times
from fwdgrad.influence.tensor import TensorProductState
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.linear import EagerModel, TracedModel
from fwdgrad.testing.noise import count, draw, every


class Rooted(Everything):
    """A runner whose noise of a step is a tuple of arrays, signs and roots."""

    def noises(self, t: int, patterns: Any) -> list[Any]:
        return list(patterns)


def unbiased(case: oracles.Case, estimator: fg.Estimator, steps: int = 2, engine: str = "numpy") -> None:
    runner = Rooted(case, estimator, engine)
    assert_unbiased(runner, steps, noise=tuple(every(runner.execution.specs, "step", 2, float)))


# ---------------------------------------------------------------- unbiased, over every sign and root


@pytest.mark.parametrize("others", ["uoro", "rtrl", "nobacktrack"])
def test_unbiased_on_a_tanh_network(others):
    """W @ h + U @ x + b, two state variables: two products that share v, and a bias."""
    unbiased(oracles.tanh_rnn(2), fg.TensorNoBackTrack(others))


def test_unbiased_over_three_steps():
    unbiased(products(), fg.TensorNoBackTrack(), steps=3)


def test_unbiased_with_one_product():
    """W alone; what else there is is fixed."""
    unbiased(frozen(oracles.tanh_rnn(3), ["U", "b"]), fg.TensorNoBackTrack(), steps=2)


def test_unbiased_on_the_left_and_transposed():
    unbiased(left(), fg.TensorNoBackTrack(), steps=3)


def test_unbiased_with_picked_columns():
    """b + R[:, x] + W tanh(h)."""
    unbiased(oracles.symbol_rnn(2), fg.TensorNoBackTrack())


@pytest.mark.parametrize("reset_first", [True, False])
def test_unbiased_on_a_gru(reset_first):
    """With the reset gate inside the product, D of that gate's matrix is dense."""
    unbiased(oracles.gru(reset_first, 2), fg.TensorNoBackTrack("rtrl"))


def test_unbiased_on_an_lstm():
    unbiased(oracles.lstm(1), fg.TensorNoBackTrack("rtrl"))


def test_unbiased_with_two_copies():
    unbiased(products(1), fg.TensorNoBackTrack(rank=2))


@pytest.mark.parametrize("engine", ["eager", pytest.param("compiled", marks=pytest.mark.slow)])
def test_unbiased_on_the_other_engines(engine):
    pytest.importorskip("llvmlite" if engine == "compiled" else "numpy")
    unbiased(oracles.tanh_rnn(2, 2), fg.TensorNoBackTrack("rtrl"), 2, engine)


# ---------------------------------------------------------------- negative controls


@dataclass(frozen=True)
class Faulty(TensorProduct):
    """The reduction written a second time, with other scales; right, or with a fault."""

    fault: str = ""

    def noise(self, layout: Any) -> tuple[NoiseSpec, ...]:
        signs, root = super().noise(layout)
        return signs, NoiseSpec("signs", ()) if self.fault == "square root" else root

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        (signs, number), terms = noise, lin.products()
        root = roots_of_unity(3, number)
        if self.fault == "square root":
            root = Complex(number, 0.0 * number)
        p, q = 1.3, 0.6
        if self.fault == "scale sees the root":
            q = np.where(root.real > 0, 0.6, 1.1)
        if self.fault == "the real part is kept":
            root = root._replace(imag=0.0 * root.imag)

        def plus(x: Complex, y: Complex) -> Complex:
            return Complex(x.real + y.real, x.imag + y.imag)

        half = 0.5 if self.fault == "half of D" else 1.0
        v = Complex(lin.jvp(state.v.real), lin.jvp(state.v.imag))
        return TensorProductState(
            plus(times(p, v), times(root, q * signs)),
            {k: plus(a, times(root, half * terms[k].vjp(signs))) for k, a in state.a.items()},
            {k: plus(times(1 / p, b), times(root, terms[k].factor / 0.6)) for k, b in state.b.items()},
        )


def test_any_scales_will_do():
    unbiased(products(), fg.Estimator(Faulty()), steps=3)


@pytest.mark.parametrize("fault", ["square root", "scale sees the root", "the real part is kept", "half of D"])
def test_a_fault_is_seen(fault):
    with pytest.raises(AssertionError, match="mean influence"):
        unbiased(products(), fg.Estimator(Faulty(fault)), steps=3)


# ---------------------------------------------------------------- variance


def spread(case: oracles.Case, estimator: fg.Estimator, steps: int = 2) -> float:
    """Variance of all entries of G̃ together, after some steps, over all noise."""
    runner = Rooted(case, estimator)
    carries = [runner.initial()]
    for t in range(steps):
        patterns = every(runner.execution.specs, "step", 2, float).rows
        carries = [runner.run(c, t, *p) for c in carries for p in patterns]
    seen = [runner.influence(c) for c in carries]
    return sum(float(np.sum(np.var([g[k] for g in seen], axis=0))) for k in seen[0])


@pytest.mark.slow
def test_scales_lower_the_variance():
    """As they are, against other constants; copies divide it."""
    case = products(3)
    ours = spread(case, fg.TensorNoBackTrack())
    assert ours < spread(case, fg.Estimator(Faulty()))
    one, two = (spread(products(1), fg.TensorNoBackTrack(rank=k)) for k in (1, 2))
    assert two == pytest.approx(one / 2, rel=1e-10)


def test_it_is_noisier_than_what_keeps_more():
    """What less memory costs: of one step alone it is as noisy as UORO, and merging adds more with every step."""
    case = products()
    tensor, uoro, kronecker = fg.TensorNoBackTrack(), fg.UORO(), fg.KFRTRL()
    assert spread(case, tensor, 1) == pytest.approx(spread(case, uoro, 1), rel=1e-12)
    assert spread(case, tensor, 3) > 1.3 * spread(case, uoro, 3) > 5 * spread(case, kronecker, 3)


# ---------------------------------------------------------------- memory


def wide(n: int) -> fg.System:
    """n units, two inputs, biases."""
    rng = np.random.default_rng(0)

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["W"] @ h + p["U"] @ x + p["b"])

    params = {"W": rng.normal(size=(n, n)) / np.sqrt(n), "U": rng.normal(size=(n, 2)), "b": np.zeros(n)}
    return fg.System(F, lambda h, x, p: h[:1], np.zeros(n), params, np.zeros(2))


def test_memory_is_less_than_that_of_the_matrix():
    """512 units, 262 144 weights from state to state."""
    system, n = wide(512), 512
    learner = fg.Learner(system, fg.TensorNoBackTrack(), engine="numpy")
    # v; a and b of W; a and b of U: twice each; and rank one for b
    assert learner.influence_nbytes() == 8 * (2 * (n + 2 * n + n + 2) + 2 * n + 1)
    assert learner.influence_nbytes() < 100_000 < system.params["W"].nbytes
    assert fg.Learner(system, fg.UORO(), engine="numpy").influence_nbytes() > 2_000_000


def test_a_step_keeps_no_matrix_but_the_gradient():
    """Of the step without a target, no result is as large as the matrix."""
    system = wide(40)
    execution = fg.Learner(system, fg.TensorNoBackTrack(), engine="numpy")._execution
    program = execution.program("transit")
    sizes = [int(np.prod(o.shape)) for i in program.instructions for o in i.outputs]
    assert max(sizes) < 40 * 40


def test_the_step_does_not_grow_with_the_state():
    def length(n: int) -> int:
        return len(Rooted(products(n), fg.TensorNoBackTrack()).execution.program("learn").instructions)

    assert length(40) == length(20)


# ---------------------------------------------------------------- zeros, precision, engines


def test_zeros_make_no_nan():
    """Zero state and zero input: â = 0 for one matrix or both, and nothing to carry."""
    case = products()
    runner = Rooted(replace(case, xs=[0 * x for x in case.xs]), fg.TensorNoBackTrack())
    carry = runner.initial()
    carry = (0 * carry[0], *carry[1:])
    for t in range(4):
        carry = runner.run(carry, t, np.array([1.0, -1.0]), np.array(2.0))
        assert all(np.all(np.isfinite(leaf)) for leaf in carry)
        assert gap(runner.influence(carry), {}) == 0.0


def test_single_precision():
    case = products()
    s = case.system
    single = fg.System(s.F, s.Y, s.state.astype("f"), {k: v.astype("f") for k, v in s.params.items()}, s.x.astype("f"))
    runner, double = Rooted(replace(case, system=single), fg.TensorNoBackTrack()), Rooted(case, fg.TensorNoBackTrack())
    one, two = runner.initial(), double.initial()
    for t in range(4):
        signs, number = np.array([1.0, -1.0]) * (-1) ** t, np.array(t % 3, float)
        one, two = runner.run(one, t, signs.astype("f"), number.astype("f")), double.run(two, t, signs, number)
        assert {g.dtype for g in runner.influence(one).values()} == {np.dtype("f")}
        assert_close(runner.influence(one), double.influence(two), 1e-5)


@pytest.mark.parametrize(
    ("engine", "rank"),
    [("eager", 1), ("eager", 3), ("compiled", 1), pytest.param("compiled", 3, marks=pytest.mark.slow)],
)
def test_engines_learn_the_same(engine, rank):
    pytest.importorskip("llvmlite" if engine == "compiled" else "numpy")
    case = oracles.symbol_rnn(3, steps=30)

    def learned(engine: str) -> Any:
        learner = fg.Learner(case.system, fg.TensorNoBackTrack(rank=rank), fg.SGD(0.02), seed=1, engine=engine)
        for x, y in zip(case.xs, case.ys, strict=True):
            learner.step(x, y)
        return learner.params

    assert_close(learned(engine), learned("numpy"), 1e-11)


def test_saved_and_loaded_bit_for_bit(tmp_path):
    case = oracles.symbol_rnn(steps=90)
    samples = list(zip(case.xs, case.ys, strict=True))
    whole, learner = (fg.Learner(case.system, fg.TensorNoBackTrack(), fg.SGD(0.01), seed=4) for _ in range(2))
    for x, y in samples:
        whole.step(x, y)
    for x, y in samples[:70]:
        learner.step(x, y)
    learner.save(tmp_path / "run.npz")
    learner = fg.Learner.load(tmp_path / "run.npz", case.system)
    for x, y in samples[70:]:
        learner.step(x, y)
    assert gap(learner.params, whole.params) == 0.0
    assert np.array_equal(learner.influence_matrix(), whole.influence_matrix())


def test_cube_roots_are_drawn_evenly_and_do_not_depend_on_how_many_are_asked_for():
    specs = [NoiseSpec("cube roots", (3,))]
    one, many = (NoiseStream(np.random.default_rng(6), specs, np.dtype(float)) for _ in range(2))
    (rows,) = many.take(300)
    assert set(np.unique(rows)) == {0.0, 1.0, 2.0}
    assert np.all(np.abs(np.mean(rows[..., None] == np.arange(3), axis=(0, 1)) - 1 / 3) < 5 * np.sqrt(2 / 9 / 900))
    for row in rows:
        assert np.array_equal(one.peek()[0], row)
        one.advance()


def test_cube_roots_are_enumerated_and_drawn_by_the_suite():
    specs = [NoiseSpec("signs", (1,)), NoiseSpec("cube roots", (2,)), NoiseSpec("cube roots", (), "start")]
    weights, rows = every(specs, "step", 2, float)
    assert count(specs, "step", 2) == len(rows) == len({tuple(np.concatenate(row)) for row in rows}) == 18
    assert np.allclose(weights, 1 / 18)
    drawn = [draw(specs, "start", np.random.default_rng(k), np.float32)[0] for k in range(50)]
    assert {float(d) for d in drawn} == {0.0, 1.0, 2.0}
    assert drawn[0].dtype == np.float32


# ---------------------------------------------------------------- products as autograd has them


@pytest.mark.parametrize("form", [form for form in FORMS if form != "take"])  # which autograd does not have
def test_products_of_the_eager_engine_are_those_of_the_traced_one(form):
    system = through(FORMS[form][0], 4, dense=True)
    traced, eager = (
        m.linearize(system.initial, np.array(1), system.params).products()["W"]
        for m in (TracedModel(system), EagerModel(system))
    )
    c = np.cos(np.arange(system.size))
    assert eager.axis == traced.axis
    assert_close({"a": eager.factor, "c": eager.vjp(c)}, {"a": traced.factor, "c": traced.vjp(c)}, 1e-13)
    assert_close({"D": eager.jacobian()}, {"D": traced.jacobian()}, 1e-13)


def test_a_product_with_zero_has_no_derivative_for_autograd():
    system = products().system
    terms = EagerModel(system).linearize(np.zeros(2), np.zeros(3), system.params).products()
    assert np.array_equal(terms["W"].vjp(np.ones(2)), np.zeros(2))


# ---------------------------------------------------------------- named, refused


def test_named():
    assert fg.estimators.estimator_named("tensornobacktrack") == fg.TensorNoBackTrack()
    assert fg.estimators.estimator_named("TensorNoBackTrack:rtrl", 2) == fg.TensorNoBackTrack("rtrl", 2)
    assert fg.TensorNoBackTrack().influence == Split(TensorProduct(), RankOne())
    assert fg.TensorNoBackTrack(Exact()) == fg.TensorNoBackTrack("rtrl")
    assert fg.TensorNoBackTrack().name == "TensorNoBackTrack"


@pytest.mark.parametrize("others", ["bptt", 3, None, fg.UORO()])
def test_others_have_to_be_influences(others):
    with pytest.raises(DeclarationError, match=r"TensorNoBackTrack\(others=…\): expected one of 'uoro'.*, got "):
        fg.TensorNoBackTrack(others)


def test_refusals():
    with pytest.raises(DeclarationError, match=r"TensorNoBackTrack\(rank=…\): expected an integer of at least 1"):
        fg.TensorNoBackTrack(rank=0)
    with pytest.raises(DeclarationError, match="over a window of 2 a matrix is used in several products"):
        fg.Estimator(Split(TensorProduct(), RankOne()), window=2)
    with pytest.raises(DeclarationError, match="TensorNoBackTrack: parameter 'b' enters F otherwise"):
        fg.Learner(oracles.tanh_rnn().system, fg.Estimator(TensorProduct()))
    with pytest.raises(DeclarationError, match="TensorProduct: it takes none of the parameters of F"):
        fg.Learner(oracles.heat().system, fg.TensorNoBackTrack())


def test_functions_that_cannot_be_traced_are_refused():
    def F(h: Any, x: Any, p: Any) -> Any:
        return anp.tanh(p["W"] @ h) if h[0] > 0 else p["W"] @ h

    system = fg.System(F, None, np.ones(2), {"W": np.eye(2)})
    with pytest.raises(DeclarationError, match=r"TensorNoBackTrack needs to know which matrices"):
        fg.Learner(system, fg.TensorNoBackTrack(), engine="eager")
