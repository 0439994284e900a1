"""The conformance suite itself: what is broken in exactly one way has to fail in exactly that check."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import oracles
import pytest

import fwdgrad as fg
from fwdgrad.engines import numpy_engine
from fwdgrad.errors import DeclarationError, NonFiniteError
from fwdgrad.influence import Averaged, Exact, ExplicitRow, NoInfluence, NoiseSpec, RankOne
from fwdgrad.influence.base import squared_norm
from fwdgrad.influence.exact import ExactState
from fwdgrad.learning import checkpoint, execution, learner
from fwdgrad.learning.loops.base import Loop
from fwdgrad.learning.step import Steps
from fwdgrad.linear import TracedModel, Window
from fwdgrad.linear.eager import EagerLinearization
from fwdgrad.testing import check_engine, check_estimator, check_influence, check_optimizer, check_system, systems
from fwdgrad.testing.failures import Subject
from fwdgrad.testing.oracles import exact, forgotten
from fwdgrad.testing.problems import FAMILIES, Problem, network, oscillator, problem_for, shared, silent

SMALL = network(2)
"""Where most of the broken ones are looked at."""


def refused(match: str) -> Any:
    return pytest.raises(AssertionError, match=match)


# ---------------------------------------------------------------- the built-in systems and the oracle


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.build.__name__)
@pytest.mark.covering
def test_forgetting_the_past_of_a_built_in_system_shows(family, seed):
    """Of one that is there because it forgets, it does not."""
    for size in family.sizes:
        lost = forgotten(problem_for(family.build(size), 3, seed))
        assert lost > 1e-2 if family.remembers else family.zero is not None or lost < 1e-9


@pytest.mark.parametrize("case", oracles.every_case(), ids=repr)
def test_the_oracle_is_that_of_the_other_tests(case):
    """Which have one of their own, with a loop of its own and the losses written once more."""
    case = case.without(2)
    truth = exact(Problem(case.name, case.system, case.xs, case.ys))
    gradients, matrices = oracles.total_gradients(case), oracles.influence_matrices(case)
    for t, step in enumerate(truth):
        oracles.assert_close(step.gradient, gradients[t], 1e-13)
        oracles.assert_close(step.influence, {k: matrices[t][k] for k in step.influence}, 1e-13)


def test_the_oracle_without_autograd():
    """autograd has no np.take; the recursion with the program's Jacobians then takes its place."""
    params = {"W": np.eye(3) * 0.5}

    def plain(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["W"] @ h + x) + h[np.array([2, 0, 1])]

    def taking(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["W"] @ h + x) + np.take(h, np.array([2, 0, 1]))

    found = [exact(problem_for(fg.System(F, None, np.ones(3), params, np.zeros(3)), 3)) for F in (plain, taking)]
    for a, b in zip(*found, strict=True):
        oracles.assert_close(a.influence, b.influence, 1e-13)
        oracles.assert_close(a.gradient, b.gradient, 1e-13)


def test_a_comparison_says_what_it_compared():
    subject = Subject("thing", "here")
    good = {"W": np.array([[1.0, 2.0]])}
    subject.close({"W": np.array([[1.0, 2.0 + 1e-12]])}, good, 1e-10, "it")
    with refused(r"thing: it: W\[0, 1\] is off by 0.5, more than 2e-10.\nExpected: 2.\nGot: 2.5.\nWhere: here, there."):
        subject.at("there").close({"W": np.array([[1.0, 2.5]])}, good, 1e-10, "it")
    with refused("another shape"):
        subject.close({"W": np.ones((2, 2, 2))}, {"W": np.ones((2, 2))}, 1.0, "it")
    for bad in ({}, {"W": np.array([[1.0, np.nan]])}, {**good, "b": np.ones(1)}):
        with refused("off by"):
            subject.close(bad, good, 1e-10, "it")
    subject.close({"W": np.array([1.5])}, {"W": np.array([1.0])}, 1e-10, "it", {"W": np.array([0.6])})
    with refused("differs"):
        subject.same({"a": np.array([1.0])}, {"a": np.array([1.0 + 1e-16, 2.0])[:1] + 1e-9}, "it")
    with refused("it fails with ValueError: no"), subject.running("it"):
        raise ValueError("no")


# ---------------------------------------------------------------- influences that break the contract


@dataclass(frozen=True)
class Broken(RankOne):
    """UORO, with something in the way."""

    def with_v(self, state: Any, v: Any) -> Any:
        return state._replace(v=v)


class Remembering(Broken):
    """Counts its calls, and adds what it counted."""

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
        made = super().advance(state, lin, noise)
        return self.with_v(made, made.v + 1e-3 * self.calls)


class Gambling(Broken):
    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        return super().advance(state, lin, (np.random.default_rng().choice([-1.0, 1.0], noise[0].shape),))


class GamblingPull(Broken):
    def pull(self, state: Any, row: Any, layout: Any) -> Any:
        return {
            k: v * (1 + 1e-15 * np.random.default_rng().normal()) for k, v in super().pull(state, row, layout).items()
        }


class WritingState(Broken):
    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        made = super().advance(state, lin, noise)
        state.v[...] = made.v
        return made


class WritingNoise(Broken):
    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        noise[0][0] = 1.0
        return super().advance(state, lin, noise)


class WritingValue(Broken):
    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        lin.value[0] += 1.0
        return super().advance(state, lin, noise)


class Reusing(Broken):
    """Gives the same array every time."""

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        made = super().advance(state, lin, noise)
        mine = getattr(self, "mine", None)
        if mine is None:
            object.__setattr__(self, "mine", np.array(made.v))
            mine = self.mine
            mine_first = self.with_v(made, mine)
            return mine_first
        mine += 1.0
        return made


class WritingPull(Broken):
    def pull(self, state: Any, row: Any, layout: Any) -> Any:
        made = super().pull(state, row, layout)
        state.v[0] += 1.0
        return made


class WritingRow(Broken):
    def pull(self, state: Any, row: Any, layout: Any) -> Any:
        made = super().pull(state, row, layout)
        row.array[0] += 1.0
        return made


class Widening(Broken):
    """A 0-d float64 array turns single precision into double."""

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        made = super().advance(state, lin, noise)
        return self.with_v(made, made.v * np.float64(1.0))


class WideningTrace(Broken):
    """The same in the traced step only."""

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        made = super().advance(state, lin, noise)
        return made if isinstance(made.v, np.ndarray) else self.with_v(made, made.v.astype(np.float64))


class Growing(Broken):
    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        made = super().advance(state, lin, noise)
        return made._replace(squares=np.concatenate([made.squares, np.zeros(1)]))


class PlainNumber(Broken):
    def init(self, layout: Any, start: Any = ()) -> Any:
        return super().init(layout, start)._replace(w_squared=0.0)


class NoContainer(Broken):
    def init(self, layout: Any, start: Any = ()) -> Any:
        return np.zeros(layout.size)


class StartingSomewhere(Broken):
    def init(self, layout: Any, start: Any = ()) -> Any:
        made = super().init(layout, start)
        return made._replace(v=made.v + 1.0, w={k: w + 1.0 for k, w in made.w.items()})


class RestlessInit(Broken):
    def init(self, layout: Any, start: Any = ()) -> Any:
        made = super().init(layout, start)
        return made._replace(v=np.random.default_rng().normal(size=layout.size))


class RestlessNoise(Broken):
    def noise(self, layout: Any) -> Any:
        object.__setattr__(self, "asked", not getattr(self, "asked", False))
        return (NoiseSpec("signs", (layout.size + self.asked,)),)


class UnknownNoise(Broken):
    def noise(self, layout: Any) -> Any:
        return (NoiseSpec("coins", (layout.size,)),)


class Halving(Broken):
    def pull(self, state: Any, row: Any, layout: Any) -> Any:
        return {k: 0.5 * v for k, v in super().pull(state, row, layout).items()}


class HalvingForms(Broken):
    """Right for a row by its coordinates only."""

    def pull(self, state: Any, row: Any, layout: Any) -> Any:
        size = 1.0 if isinstance(row, ExplicitRow) else 0.5
        return {k: size * v for k, v in super().pull(state, row, layout).items()}


class MisshapenPull(Broken):
    def pull(self, state: Any, row: Any, layout: Any) -> Any:
        return {k: v[None] for k, v in super().pull(state, row, layout).items()}


class WidePull(Broken):
    def pull(self, state: Any, row: Any, layout: Any) -> Any:
        return {k: v.astype(np.float64) for k, v in super().pull(state, row, layout).items()}


class PullingMore(Broken):
    def pull(self, state: Any, row: Any, layout: Any) -> Any:
        return {**super().pull(state, row, layout), "nothing": np.zeros(2)}


class MisshapenDense(Broken):
    def dense(self, state: Any, layout: Any) -> Any:
        return {k: v[0] for k, v in super().dense(state, layout).items()}


class OverlookingW(Broken):
    def magnitude(self, state: Any) -> Any:
        return np.vdot(state.v, state.v)


class OverlookingB(Exact):
    """Overlooks one leaf."""

    def magnitude(self, state: Any) -> Any:
        return squared_norm({k: g for k, g in state.G.items() if k != "b"})


class Alarmed(Broken):
    def magnitude(self, state: Any) -> Any:
        return np.vdot(state.v, state.v) / 0.0


class ManyMagnitudes(Broken):
    def magnitude(self, state: Any) -> Any:
        return state.v * state.v


class Branching(Broken):
    """Looks at a value, which a tracer does not have."""

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        made = super().advance(state, lin, noise)
        return made if np.sum(noise[0]) < 100 else state


class TracedOtherwise(Broken):
    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        made = super().advance(state, lin, noise)
        return made if isinstance(made.v, np.ndarray) else self.with_v(made, 1.001 * made.v)


class EagerOtherwise(Broken):
    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        made = super().advance(state, lin, noise)
        return self.with_v(made, 1.001 * made.v) if "Eager" in type(lin).__name__ else made


class Listening(Broken):
    """Advances otherwise once a gradient was pulled."""

    def pull(self, state: Any, row: Any, layout: Any) -> Any:
        object.__setattr__(self, "pulled", True)
        return super().pull(state, row, layout)

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        made = super().advance(state, lin, noise)
        pulled, _ = getattr(self, "pulled", False), object.__setattr__(self, "pulled", False)
        return made if isinstance(made.v, np.ndarray) or pulled else self.with_v(made, 0.5 * made.v)


CONTRACT = {
    Remembering: "hidden randomness or memory",
    # its numbers may by chance be the same in the first check, but not in all of them
    Gambling: "hidden randomness or memory|something is remembered",
    GamblingPull: "pull gives something else when called again",
    WritingState: "advance changes the state it is given",
    WritingNoise: "advance changes the noise it is given",
    WritingValue: "advance changes the linearization it is given",
    Reusing: "advance changes a state that it gave before",
    WritingPull: "pull changes the state it is given",
    WritingRow: "pull changes the row it is given",
    Growing: "advance: containers, shapes and dtypes of the state",
    PlainNumber: "init: state_w_squared is no array",
    NoContainer: "a state is a NamedTuple, tuple, dict or list",
    StartingSomewhere: "dense after init is not zero",
    RestlessInit: "init.* gives something else when called again",
    RestlessNoise: "says something else when asked again",
    UnknownNoise: "asks for something unknown",
    Halving: r"is not row·dense",
    HalvingForms: r"pull of a row as a form is not row·dense",
    MisshapenPull: "pull: shape of W",
    PullingMore: "pull gives a leaf that is not a parameter",
    MisshapenDense: "shapes of dense",
    OverlookingW: r"magnitude ignores state_w_.*not finite",
    OverlookingB: "magnitude ignores state_G_b",
    Alarmed: "magnitude of a finite state",
    ManyMagnitudes: "magnitude is a scalar",
    Branching: "the traced step fails with TracingError",
    TracedOtherwise: "dense of the traced step is not that of the plain one",
    EagerOtherwise: "dense of the traced step is not that of the eager one",
    Listening: "a step without target advances differently",
}


@pytest.mark.parametrize("kind", CONTRACT, ids=lambda kind: kind.__name__)
def test_a_broken_contract_is_refused(kind):
    """Also if nothing is claimed about the gradient."""
    with refused(CONTRACT[kind].replace(".*", r"[\s\S]*")):
        check_influence(kind(), SMALL, claim="biased")


@pytest.mark.parametrize(
    ("kind", "match"), [(Widening, "dtype of state_v"), (WidePull, "pull: dtype of"), (WideningTrace, "widens single")]
)
def test_single_precision_has_to_stay(kind, match):
    check_influence(kind(), SMALL)
    with refused(match + r"[\s\S]*float32"):
        check_influence(kind())


def test_copies_that_are_not_averaged_are_refused(monkeypatch):
    monkeypatch.setattr(
        Averaged, "dense", lambda self, s, layout: {k: 2 * v for k, v in DENSE(self, s, layout).items()}
    )
    with refused("dense of two copies is not their mean"):
        check_influence(RankOne(), SMALL)


DENSE = Averaged.dense


# ---------------------------------------------------------------- influences that claim too much


class Peeking(Broken):
    """A scale that looks at the sign it goes with."""

    peek = 1e-4

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        carried = lin.jvp(state.v)
        rho = 1.0 + self.peek * noise[0]
        _, fresh = lin.vjp(noise[0] / rho)
        w = {k: state.w[k] + f for k, f in fresh.items()}
        return state._replace(v=carried + rho * noise[0], w=w, w_squared=squared_norm(w))


class NotPeeking(Peeking):
    peek = 0.0


class Dropping(Broken):
    """Without B of one leaf."""

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        made = super().advance(state, lin, noise)
        w = made.w | {"b": 0.0 * made.w["b"]}
        return made._replace(w=w, w_squared=squared_norm(w))


class Forgetting(Broken):
    """The past gets a little less than it should."""

    share = 1 - 1e-6

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        made = super().advance(state, lin, noise)
        plain = super().advance(self.with_v(state, 0.0 * state.v), lin, noise)
        return self.with_v(made, plain.v + self.share * (made.v - plain.v))


class Amnesia(Exact):
    """G ← B."""

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        return ExactState(lin.jacobians()[1])


class Unguarded(Broken):
    """Divides by a norm that may be zero."""

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        _, fresh = lin.vjp(noise[0])
        carried = lin.jvp(state.v)
        up = np.sqrt(np.sqrt(state.w_squared / np.vdot(carried, carried)))
        rho = np.sqrt(np.sqrt(squared_norm(fresh) / np.vdot(noise[0], noise[0])))
        w = {k: state.w[k] / up + f / rho for k, f in fresh.items()}
        return state._replace(v=up * carried + rho * noise[0], w=w, w_squared=squared_norm(w))


class Along(NamedTuple):
    u: Any
    v: Any


@dataclass(frozen=True)
class Direction:
    """G̃ = (G u) uᵀ with u drawn once; unbiased for size 1."""

    size: float = 1.0
    kind: str = "signs"

    def noise(self, layout: Any) -> Any:
        return tuple(NoiseSpec(self.kind, s, "start") for s in layout.leaves.values())

    def init(self, layout: Any, start: Any = ()) -> Along:
        u = {k: np.reshape(self.size * s, layout.leaves[k]) for k, s in zip(layout.leaves, start, strict=True)}
        return Along({k: v.astype(layout.dtype) for k, v in u.items()}, np.zeros(layout.size, layout.dtype))

    def pull(self, state: Along, row: Any, layout: Any) -> Any:
        along = row(state.v)
        return {k: along * u for k, u in state.u.items()}

    def advance(self, state: Along, lin: Any, noise: Any) -> Along:
        return state._replace(v=lin.jvp(state.v, state.u))

    def magnitude(self, state: Along) -> Any:
        return squared_norm(state.u) + np.vdot(state.v, state.v)

    def dense(self, state: Along, layout: Any) -> Any:
        return {k: np.reshape(state.v, (-1,) + (1,) * np.ndim(u)) * u for k, u in state.u.items()}


@dataclass(frozen=True)
class Uniform(RankOne):
    """Signs made of uniform numbers, which are drawn and not enumerated."""

    half: float = 0.5

    def noise(self, layout: Any) -> Any:
        return (NoiseSpec("uniform", (layout.size,)),)

    def advance(self, state: Any, lin: Any, noise: Any) -> Any:
        one = np.ones((), noise[0].dtype)
        return super().advance(state, lin, (np.where(noise[0] < self.half, -one, one),))


@pytest.mark.parametrize(
    ("influence", "what"),
    [
        (Peeking(), "the mean of dense"),
        (Dropping(), "the mean of dense"),
        (Forgetting(), "the mean of dense"),
        (Amnesia(), "dense"),
        (NoInfluence(), "dense"),
        (Direction(1 + 1e-6), "the mean of dense"),
        (Direction(1 + 1e-6, "normal"), "the mean of dense"),
        (Uniform(half=0.25), "the mean of dense"),
    ],
    ids=repr,
)
def test_a_claim_that_is_not_true_is_refused(influence, what):
    with refused(f"{what} is not ∂h/∂θ"):
        check_influence(influence, SMALL)
    check_influence(influence, SMALL, claim="biased")


@pytest.mark.parametrize("influence", [NotPeeking(), Direction(), Direction(kind="normal"), Uniform()], ids=repr)
def test_a_claim_that_is_true_is_not_refused(influence):
    check_influence(influence, SMALL)


def test_forgetting_shows_from_the_second_step_on():
    with refused("step 1 of 3"):
        check_influence(Forgetting(), SMALL)
    with refused("step 1 of 3"):
        check_influence(Amnesia(), SMALL)


def test_a_random_influence_is_not_exact():
    with refused("dense is not ∂h/∂θ"):
        check_influence(RankOne(), SMALL, claim="exact")
    check_influence(Exact(), SMALL, claim="unbiased")


def test_zeros_that_make_nan_are_refused():
    with np.errstate(all="ignore"), refused("is not finite|is not ∂h/∂θ"):
        check_influence(Unguarded(), SMALL)
    with np.errstate(all="ignore"), refused("not finite"):
        check_influence(Unguarded(), silent(3), claim="biased")


def test_a_gradient_that_is_not_pulled_whole_is_refused(monkeypatch):
    """`dense` is right, and the step does not use it."""
    update = Steps._update

    def less(self: Any, carry: Any, row: Any, *rest: Any) -> Any:
        return update(self, carry, ExplicitRow(0.5 * row.array), *rest)

    monkeypatch.setattr(Steps, "_update", less)
    for influence, what in ((Exact(), "the gradient"), (RankOne(), "the mean of the gradient")):
        with refused(f"{what} is not ∂ℓ/∂θ"):
            check_influence(influence, SMALL)


def test_two_nodes_are_not_enough_for_a_fourth_moment():
    """Which is why their number can be chosen."""

    class Quartic(Direction):
        def init(self, layout: Any, start: Any = ()) -> Any:  # u³/√15 has variance 1 for Gaussian u
            return super().init(layout, tuple(s**3 / np.sqrt(15.0) for s in start))

    small = fg.System(lambda h, x, p: np.tanh(p["a"] * h + x), None, np.ones(2), {"a": 0.5}, np.zeros(2))
    with refused("the mean of dense"):
        check_influence(Quartic(kind="normal"), small)
    check_influence(Quartic(kind="normal"), small, nodes=4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"claim": "perfect"}, "claim"),
        ({"steps": 1}, "no past"),
        ({"system": network(5)}, "5 state variables"),
        ({"system": "gru"}, "fg.System"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options, match):
    with pytest.raises(DeclarationError, match=match):
        check_influence(Exact(), **options)


def test_an_influence_may_refuse_systems_but_not_all():
    @dataclass(frozen=True)
    class Choosy(Exact):
        names: tuple[str, ...] = ("conduct",)

        def init(self, layout: Any, start: Any = ()) -> Any:
            if not set(self.names) & set(layout.leaves):
                raise DeclarationError("not for me")
            return super().init(layout, start)

    check_influence(Choosy())
    with refused(r"every built-in system is refused[\s\S]*not for me"):
        check_influence(Choosy(("nothing",)))
    with pytest.raises(DeclarationError, match="not for me"):
        check_influence(Choosy(), SMALL)
    nothing = fg.System(lambda h, x, p: 0.5 * h + x, lambda h, x, p: p["c"] * h, np.ones(2), {"c": 0.5}, np.zeros(2))
    with pytest.raises(DeclarationError, match="no influence to keep"):
        check_influence(Exact(), nothing)


# ---------------------------------------------------------------- estimators


@pytest.mark.parametrize("estimator", [fg.TBPTT(2), fg.SnAp(1), fg.Estimator(NoInfluence())], ids=lambda e: e.name)
def test_truncation_is_not_exact(estimator):
    with refused("is not that of the losses|is not ∂h/∂θ"):
        check_estimator(estimator, SMALL)
    check_estimator(estimator, SMALL, claim="biased")


@pytest.mark.parametrize("estimator", [fg.Hybrid(2), fg.UORO(window=2)], ids=lambda e: e.name)
def test_a_window_with_wrong_products_is_refused(estimator, monkeypatch):
    """The single steps of `check_influence` are right."""
    vjp = Window.vjp

    def less(self: Any, cotangent: Any) -> Any:
        row, leaves = vjp(self, cotangent)
        return row, {k: 0.999 * v for k, v in leaves.items()}

    monkeypatch.setattr(Window, "vjp", less)
    with refused("sum of gradients is not that of the losses"):
        check_estimator(estimator, SMALL)


def test_compensation_that_is_too_small_is_refused(monkeypatch):
    from fwdgrad.learning.loops.unbounded import Unbounded

    init = Unbounded.__init__

    def other(self: Any, *arguments: Any) -> None:
        init(self, *arguments)
        self._probability *= 0.99

    check_estimator(fg.ARTBP(0.4), SMALL)
    monkeypatch.setattr(Unbounded, "__init__", other)
    with refused("the mean of the sum of gradients is not that of the losses"):
        check_estimator(fg.ARTBP(0.4), SMALL)


def test_gradients_that_are_not_finite_are_refused(monkeypatch):
    monkeypatch.setattr(Steps, "_update", _spoiled(Steps._update))
    with refused(r"the sum of gradients: W.\nExpected: finite numbers"):
        check_estimator(fg.TBPTT(2), SMALL, claim="biased")


def _spoiled(update: Any) -> Any:
    def spoiled(self: Any, carry: Any, row: Any, direct: Any, *rest: Any) -> Any:
        return update(self, carry, row, {k: v * np.inf for k, v in direct.items()}, *rest)

    return spoiled


def test_an_estimator_is_wanted():
    with pytest.raises(DeclarationError, match="Call it"):
        check_estimator(fg.UORO, SMALL)


# ---------------------------------------------------------------- optimizers


class Momentum(NamedTuple):
    m: Any


@dataclass(frozen=True)
class Heavy:
    """Momentum: right."""

    rate: float = 0.1

    def init(self, params: Any) -> Momentum:
        return Momentum({k: np.zeros_like(p) for k, p in params.items()})

    def update(self, grads: Any, state: Momentum, params: Any) -> Any:
        m = {k: 0.5 * state.m[k] + g for k, g in grads.items()}
        return {k: -self.rate * v for k, v in m.items()}, Momentum(m)


class WritingGradients(Heavy):
    def update(self, grads: Any, state: Any, params: Any) -> Any:
        made = super().update(dict(grads), state, params)
        grads["W"] *= 2.0
        return made


class WritingMomentum(Heavy):
    def update(self, grads: Any, state: Any, params: Any) -> Any:
        for k, g in grads.items():
            state.m[k][...] = 0.5 * state.m[k] + g
        return {k: -self.rate * v for k, v in state.m.items()}, state


class WritingParameters(Heavy):
    def update(self, grads: Any, state: Any, params: Any) -> Any:
        for p in params.values():
            p -= 0.0001
        return super().update(grads, state, params)


class WritingInit(Heavy):
    def init(self, params: Any) -> Any:
        params["W"][0, 0] = 0.0
        return super().init(params)


class RandomInit(Heavy):
    def init(self, params: Any) -> Any:
        return Momentum({k: np.random.default_rng().normal(size=p.shape) for k, p in params.items()})


class Counting(Heavy):
    def update(self, grads: Any, state: Any, params: Any) -> Any:
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
        updates, state = super().update(grads, state, params)
        return {k: u / self.calls for k, u in updates.items()}, state


class PlainState(Heavy):
    def init(self, params: Any) -> Any:
        return Momentum(0.0)


class BareState(Heavy):
    def init(self, params: Any) -> Any:
        return np.zeros(())


class Swelling(Heavy):
    def update(self, grads: Any, state: Any, params: Any) -> Any:
        updates, state = super().update(grads, state, params)
        return updates, Momentum(state.m | {"more": np.zeros(1)})


class Misshapen(Heavy):
    def update(self, grads: Any, state: Any, params: Any) -> Any:
        updates, state = super().update(grads, state, params)
        return {k: u[None] for k, u in updates.items()}, state


class Wide(Heavy):
    def update(self, grads: Any, state: Any, params: Any) -> Any:
        updates, state = super().update(grads, state, params)
        return {k: u.astype(np.float64) for k, u in updates.items()}, state


class WideState(Heavy):
    def update(self, grads: Any, state: Any, params: Any) -> Any:
        updates, state = super().update(grads, state, params)
        return updates, Momentum({k: m.astype(np.float64) for k, m in state.m.items()})


class Inventing(Heavy):
    def update(self, grads: Any, state: Any, params: Any) -> Any:
        updates, state = super().update(grads, state, params)
        return {**updates, "other": np.zeros(2)}, state


class Normalised(Heavy):
    """g/|g|, which for g = 0 is not a number."""

    def update(self, grads: Any, state: Any, params: Any) -> Any:
        return {k: -0.01 * g / np.abs(g) for k, g in grads.items()}, state


class Judging(Heavy):
    def update(self, grads: Any, state: Any, params: Any) -> Any:
        if grads["b"][0] > 100.0:
            return {}, state
        return super().update(grads, state, params)


class TracedFaster(Heavy):
    def update(self, grads: Any, state: Any, params: Any) -> Any:
        plain = isinstance(next(iter(grads.values())), (np.ndarray, np.generic))
        updates, state = super().update(grads, state, params)
        return updates if plain else {k: 1.01 * u for k, u in updates.items()}, state


class Ascending(Heavy):
    def update(self, grads: Any, state: Any, params: Any) -> Any:
        updates, state = super().update(grads, state, params)
        return {k: -u for k, u in updates.items()}, state


class Recounting(Heavy):
    """Keeps a number more once it counts."""

    def count(self, state: Any, samples: Any) -> Any:
        return (state, samples)


class Naming(Heavy):
    """Knows the parameters of its author only."""

    def update(self, grads: Any, state: Any, params: Any) -> Any:
        grads["a"].shape  # noqa: B018
        return super().update(grads, state, params)


OPTIMIZERS = {
    WritingGradients: "update changes the gradients it is given",
    WritingMomentum: "update changes the state it is given",
    WritingParameters: "update changes the parameters it is given",
    WritingInit: "init changes the parameters",
    RandomInit: "init gives something else when called again",
    Counting: "update gives something else when called again",
    PlainState: "state_m is no array",
    BareState: "a state is a NamedTuple",
    Swelling: "containers, shapes and dtypes of the state after update",
    Misshapen: "update of W",
    Wide: r"update of W.\nExpected: float32",
    WideState: r"containers, shapes and dtypes.*\n.*float32",
    Recounting: "containers, shapes and dtypes of the state after count",
    Inventing: "an update of what is no parameter",
    Normalised: "with zero gradients, .* is not finite",
    Judging: "tracing update fails with TracingError",
    TracedFaster: "the traced update is not the plain one",
    Ascending: "a quadratic does not get smaller",
    Naming: "a step on 'numpy' fails with TracingError",
}


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_broken_optimizer_is_refused(kind):
    with refused(OPTIMIZERS[kind]):
        check_optimizer(kind())


def test_an_optimizer_of_ones_own_passes():
    check_optimizer(Heavy())


def test_a_checkpoint_that_loses_the_optimizer_is_refused(monkeypatch):
    restore = learner.Learner._restore

    def losing(self: Any, arrays: Any, description: Any) -> None:
        restore(self, {k: np.zeros_like(v) if k == "carry8" else v for k, v in arrays.items()}, description)

    monkeypatch.setattr(learner.Learner, "_restore", losing)
    with refused("goes on differently"):
        check_optimizer(fg.Adam(0.1))


def test_a_checkpoint_has_to_say_what_it_cannot_hold(monkeypatch):
    rebuild = checkpoint.rebuild
    monkeypatch.setattr(checkpoint, "rebuild", lambda d, what: Heavy(0.2) if what == "optimizer" else rebuild(d, what))
    with refused("loaded without the optimizer"):
        check_optimizer(Heavy())


def test_a_checkpoint_that_cannot_be_loaded_alone_though_it_could_is_refused(monkeypatch):
    def rebuild(description: Any, what: str) -> Any:
        raise checkpoint.CheckpointError("no")

    check_optimizer(fg.Adam(0.1))
    monkeypatch.setattr(checkpoint, "rebuild", lambda d, what: rebuild(d, what) if what == "optimizer" else fg.RTRL())
    with refused("loading says that the optimizer has to be passed"):
        check_optimizer(fg.Adam(0.1))


# ---------------------------------------------------------------- systems


def test_a_system_with_hidden_randomness_is_refused():
    rng = np.random.default_rng(0)

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["a"] * h + x) + 0.01 * rng.normal()

    with refused(r"fwdgrad.check finds something wrong"):
        check_system(fg.System(F, None, np.zeros(2), {"a": 0.5}, np.zeros(2)))


def test_a_system_that_counts_is_refused():
    calls = []

    def F(h: Any, x: Any, p: Any) -> Any:
        calls.append(1)
        return np.tanh(p["a"] * h + x) + 0.01 * len(calls)

    with refused("fwdgrad.check"):
        check_system(fg.System(F, None, np.zeros(2), {"a": 0.5}, np.zeros(2)))


@pytest.mark.parametrize(("which", "column"), [("state", "h"), ("leaves", "W")])
@pytest.mark.parametrize("function", ["F", "Y"])
def test_a_pattern_that_misses_an_entry_is_refused(function, which, column, monkeypatch):
    model = TracedModel(SMALL)
    patterns = model.patterns.transition if function == "F" else model.patterns.output
    name = {"F": "W", "Y": "V"}[function]
    pattern = patterns.state if which == "state" else patterns.leaves[name]
    empty = pattern.copy()
    empty.data[:1] = False
    empty.eliminate_zeros()
    fewer = (
        replace(patterns, state=empty)
        if which == "state"
        else replace(patterns, leaves=patterns.leaves | {name: empty})
    )
    whole = replace(model.patterns, **{"transition" if function == "F" else "output": fewer})
    monkeypatch.setattr(TracedModel, "patterns", property(lambda self: whole))
    with refused(rf"depends on entry 0 of {column if which == 'state' else name}, which is outside the pattern"):
        systems._patterns(Subject("system"), SMALL, 0)


def test_a_wrong_derivative_is_refused(monkeypatch):
    """By `fwdgrad.check`, and without it by automatic differentiation of the whole sequence."""
    vjp = TracedModel.linearize

    def wrong(self: Any, h: Any, x: Any, params: Any) -> Any:
        lin = vjp(self, h, x, params)
        inner = lin.vjp
        object.__setattr__(lin, "vjp", lambda c: (1.001 * inner(c)[0], inner(c)[1]))
        return lin

    system = network(3)
    monkeypatch.setattr(TracedModel, "linearize", wrong)
    with refused("fwdgrad.check finds something wrong"):
        check_system(system)
    monkeypatch.setattr(systems, "check", lambda *a, **k: type("Report", (), {"ok": True})())
    with refused("the gradient of RTRL is not that of backpropagation through time"):
        check_system(system)


def test_learning_that_does_not_stay_finite_is_refused():
    def F(h: Any, x: Any, p: Any) -> Any:
        return p["a"] * h * h + x

    with refused("learning does not stay finite"):
        check_system(fg.System(F, None, np.array([2.0]), {"a": 1.0}, np.zeros(1)))


def test_losses_that_are_not_finite_are_refused(monkeypatch):
    run = learner.Learner.run

    def spoiled(self: Any, *a: Any, **k: Any) -> Any:
        history = run(self, *a, **k)
        history.loss[3] = np.inf
        return history

    monkeypatch.setattr(learner.Learner, "run", spoiled)
    with refused("losses"):
        check_system(SMALL)


def test_a_system_that_cannot_be_traced_is_checked_as_it_is():
    def F(h: Any, x: Any, p: Any) -> Any:
        return h * p["a"] + x if h[0] > 0 else h * p["b"] + x

    check_system(fg.System(F, None, np.array([0.5, -0.3]), {"a": 0.5, "b": 0.3}, np.zeros(2)))


def test_a_system_in_single_precision_passes():
    check_system(network(3, np.float32))


# ---------------------------------------------------------------- engines


def engines_differ(match: str, **options: Any) -> None:
    with refused(match):
        # a system of its own: what was compiled for another one would be taken from the shelf
        check_engine(
            "numpy", options.pop("system", network(2)), reference="eager", **{"estimators": [fg.RTRL()], **options}
        )


def test_an_engine_that_is_right_passes():
    check_engine("numpy", SMALL, reference="eager", estimators=[fg.RTRL(), fg.BPTT()])
    check_engine("eager", oscillator(), estimators=[fg.UORO(window=3)])


def test_an_operation_that_is_emitted_wrong_is_refused(monkeypatch):
    monkeypatch.setitem(numpy_engine.INFIX, "add", "-")
    engines_differ("the prediction differs|something else when it is called")


def test_an_engine_whose_compiled_step_is_a_little_off_is_refused(monkeypatch):
    """In the twelfth digit of an updated parameter."""
    compile_program = numpy_engine.compile_program

    def off(program: Any) -> Any:
        run = compile_program(program)

        def wrong(*arguments: Any) -> Any:
            made = list(run(*arguments))
            if program.name == "learn":
                made[1] = made[1] * (1 + 1e-12)
            return tuple(made)

        return wrong

    monkeypatch.setattr(numpy_engine.NumPyEngine, "compile", lambda _, program: off(program))
    engines_differ("parameters differ")


@pytest.mark.parametrize(("output", "match"), [(0, "the state differs"), (-3, "the loss differs")])
def test_every_result_of_a_step_is_compared(output, match, monkeypatch):
    compile_program = numpy_engine.compile_program

    def off(program: Any) -> Any:
        run = compile_program(program)

        def wrong(*arguments: Any) -> Any:
            made = list(run(*arguments))
            if program.name == "learn":
                made[output] = made[output] + 0.001
            return tuple(made)

        return wrong

    monkeypatch.setattr(numpy_engine.NumPyEngine, "compile", lambda _, program: off(program))
    engines_differ(match)


def test_an_engine_that_widens_is_refused(monkeypatch):
    compile_program = numpy_engine.compile_program

    def wide(program: Any) -> Any:
        run = compile_program(program)
        return lambda *a: tuple(np.asarray(v, float) if program.name == "learn" else v for v in run(*a))

    monkeypatch.setattr(numpy_engine.NumPyEngine, "compile", lambda _, program: wide(program))
    engines_differ("dtypes", system=network(2, np.float32))


def test_other_noise_is_refused(monkeypatch):
    make = execution.Execution.make

    def flipped(self: Any, kind: Any, carry: Any, *given: Any) -> Any:
        if kind == "learn" and self.engine != "eager":
            given = (*given[:-1], [n * np.array([1.0, -1.0]) for n in given[-1]])
        return make(self, kind, carry, *given)

    monkeypatch.setattr(execution.Execution, "make", flipped)
    engines_differ("parameters differ", estimators=[fg.UORO()])


def test_a_prediction_that_changes_something_is_refused(monkeypatch):
    predict = learner.Learner.predict

    def learning(self: Any, x: Any = None) -> Any:
        made = predict(self, x)
        self.params = {"b": self.params["b"] + 1.0}
        return made

    monkeypatch.setattr(learner.Learner, "predict", learning)
    engines_differ("predict changes the parameters")


def test_a_run_that_is_not_its_steps_is_refused(monkeypatch):
    run = learner.Learner.run
    monkeypatch.setattr(learner.Learner, "run", lambda self, pairs: run(self, [*pairs[:4], *pairs[5:]]))
    engines_differ("run learns something else than steps")


def test_a_checkpoint_that_loses_something_is_refused(monkeypatch):
    restore = learner.Learner._restore

    def losing(self: Any, arrays: Any, description: Any) -> None:
        restore(self, arrays | {"carry6": 0.5 * arrays["carry6"]}, description)

    monkeypatch.setattr(learner.Learner, "_restore", losing)
    engines_differ("goes on differently")


def test_another_engine_than_asked_for_is_refused():
    with refused("falls back to another engine"):
        check_engine("auto", SMALL, estimators=[fg.RTRL()])


def diverging(match: str) -> None:
    from fwdgrad.testing.engines import _diverges

    with refused(match):
        _diverges(Subject("engine"), fg.RTRL(), "numpy", "eager")


def test_a_divergence_that_is_not_reported_is_refused(monkeypatch):
    monkeypatch.setattr(Loop, "check", lambda *a: None)
    diverging("not reported")


def test_a_divergence_that_is_reported_late_is_refused(monkeypatch):
    """On one of the engines."""
    check = Loop.check

    def late(self: Any, health: Any, carry: Any, loss: Any, observed: bool, *made: Any) -> None:
        if self.execution.engine == "eager" or self.steps > 9:
            check(self, health, carry, loss, observed, *made)

    monkeypatch.setattr(Loop, "check", late)
    diverging("step and quantity that diverged")


@pytest.mark.parametrize(("name", "match"), [("carry", "a refused step changes the learner"), ("steps", "is counted")])
def test_a_refused_step_that_changes_something_is_refused(name, match, monkeypatch):
    check = Loop.check

    def careless(self: Any, health: Any, carry: Any, loss: Any, observed: bool, *made: Any) -> None:
        try:
            check(self, health, carry, loss, observed, *made)
        except NonFiniteError:
            setattr(self, name, tuple(carry) if name == "carry" else self.steps + 1)
            raise

    monkeypatch.setattr(Loop, "check", careless)
    diverging(match)


def test_an_engine_that_differs_is_refused_by_all_who_ask_two(monkeypatch):
    """Systems, estimators and optimizers are tried on two engines."""
    vjp = EagerLinearization.vjp

    def off(self: Any, cotangent: Any) -> Any:
        row, leaves = vjp(self, cotangent)
        return row, {k: 1.001 * v for k, v in leaves.items()}

    monkeypatch.setattr(EagerLinearization, "vjp", off)
    for check in (
        lambda: check_system(network(2)),
        lambda: check_estimator(fg.TBPTT(1), network(2), claim="biased"),
        lambda: check_optimizer(Heavy()),
    ):
        with refused("engine 'eager': parameters differ"):
            check()


@pytest.mark.parametrize("name", ["finish", "state"])
def test_what_is_left_at_the_end_is_compared(name, monkeypatch):
    finish = learner.Learner.finish
    if name == "finish":
        monkeypatch.setattr(learner.Learner, "finish", lambda self: finish(self) if self.engine == "numpy" else None)
        engines_differ("after finish", estimators=[fg.BPTT()])
    else:
        state = learner.Learner.state.fget
        monkeypatch.setattr(
            learner.Learner, "state", property(lambda self: state(self) + (self.engine == "eager") * 1e-6)
        )
        engines_differ("the state differs")


def test_an_engine_may_refuse_some_but_not_all():
    product = fg.KFRTRL()
    check_engine("eager", network(2), estimators=[fg.RTRL(), product])
    with pytest.raises(DeclarationError):
        check_engine("eager", network(2), estimators=[product])


# ---------------------------------------------------------------- as a part of the library


def test_it_is_loaded_when_it_is_asked_for():
    code = "import sys, fwdgrad; print('fwdgrad.testing' in sys.modules, fwdgrad.testing.check_engine.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "check_engine"]
    with pytest.raises(AttributeError, match="testig"):
        fg.testig  # noqa: B018


def test_the_checks_take_small_systems_as_they_come():
    """Autonomous, with rates, named states, and few parameters."""
    check_influence(Exact(), oscillator())
    check_influence(RankOne("unit"), shared(2))
