"""The contract of an influence, rule by rule, along a short trajectory of a small system."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.influence import ExplicitRow, Influence, Layout, NoiseSpec
from fwdgrad.linear import Model
from fwdgrad.support.trees import flatten, leaf_names, unflatten
from fwdgrad.testing.failures import Subject, copied, structure
from fwdgrad.testing.noise import draw
from fwdgrad.testing.problems import Problem, model_of

__all__ = ["Contract"]

CONTAINERS = (dict, tuple, list)
KINDS = ("signs", "cube roots", "normal", "uniform")


@dataclass(frozen=True, eq=False)
class _Form:
    """A row that offers what a row has to offer and nothing else."""

    array: Any

    def __call__(self, direction: Any) -> Any:
        return np.dot(self.array, direction)


class Contract:
    """The rules, for one influence on one problem.

    Args:
        subject: for messages.
        influence: what is checked.
        problem: where.
        seed: of noise and rows.
    """

    def __init__(self, subject: Subject, influence: Influence, problem: Problem, seed: int) -> None:
        self.subject = subject.at(problem.name)
        self.influence, self.problem = influence, problem
        self.rng = np.random.default_rng(seed)
        self.model: Model = model_of(problem.system)
        shapes = {k: problem.system.coordinates[k].shape for k in self.model.leaves}
        self.layout = Layout(problem.system.size, shapes, problem.system.dtype, lambda: self.model.patterns)

    def check(self) -> None:
        """All of them.

        Raises:
            AssertionError: one of them is broken.
        """
        specs = self.specs()
        state, lins = self.first(specs), list(self._linearizations())
        self.empty(state)
        for t, lin in enumerate(lins):
            where = self.subject.at(f"step {t}")
            noise = self._noise(specs)
            self.pulled(where, state, lin)
            after = self.advanced(where, state, lin, noise)
            self.finite(where, after, "the state after advance")
            self.magnitude(where, state, lin, noise)
            state = after
        self.repeated(specs, lins)

    # ---- rule by rule

    def specs(self) -> tuple[NoiseSpec, ...]:
        """`noise` says what is needed, and always says the same."""
        where = self.subject
        with where.running("noise(layout)"):
            specs, again = (tuple(self.influence.noise(self.layout)) for _ in range(2))
        where.require(specs == again, "noise(layout) says something else when asked again", specs, again)
        for spec in specs:
            known = getattr(spec, "kind", None) in KINDS and spec.when in ("step", "start")
            where.require(known, "noise(layout) asks for something unknown", "NoiseSpec(kind, shape, when)", spec)
        return specs

    def first(self, specs: tuple[NoiseSpec, ...]) -> Any:
        """`init` gives containers of arrays of the layout's dtype, the same whenever it is given the same."""
        start, where = draw(specs, "start", self.rng, self.layout.dtype), self.subject
        with where.running("init(layout, start)"):
            state, again = (self.influence.init(self.layout, copied(start)) for _ in range(2))
        self._arrays(where, state, "init")
        where.same(again, state, "init(layout, start) gives something else when called again")
        return state

    def _arrays(self, where: Subject, state: Any, who: str) -> None:
        where.require(
            isinstance(state, CONTAINERS), f"{who}: a state is a NamedTuple, tuple, dict or list", "one", type(state)
        )
        for name, leaf in zip(leaf_names(state, "state"), flatten(state), strict=True):
            is_array = isinstance(leaf, (np.ndarray, np.generic))
            where.require(is_array, f"{who}: {name} is no array", f"an array of {self.layout.dtype}", repr(leaf))
            where.require(leaf.dtype == self.layout.dtype, f"{who}: dtype of {name}", self.layout.dtype, leaf.dtype)

    def empty(self, state: Any) -> None:
        """What `init` gives represents G = 0."""
        self.subject.close(self._dense(self.subject, state), {}, 0.0, "dense after init is not zero")

    def _dense(self, where: Subject, state: Any) -> dict[str, Any]:
        with where.running("dense(state, layout)"):
            G = self.influence.dense(state, self.layout)
        expected = {k: (self.layout.size, *shape) for k, shape in self.layout.leaves.items()}
        got = {k: np.shape(v) for k, v in G.items()}
        where.require(got == expected, "shapes of dense", expected, got)
        return G

    def pulled(self, where: Subject, state: Any, lin: Any) -> None:
        """`pull` is row times `dense`, whichever way it asks the row; no row pulls nothing."""
        n, dtype = self.layout.size, self.layout.dtype
        G = {k: np.asarray(v, float) for k, v in self._dense(where, state).items()}
        tolerance = 1e-12 if dtype == np.float64 else 1e-4
        cotangent = self.rng.normal(size=n).astype(dtype)
        rows: list[tuple[str, Any]] = [("a row that is zero", ExplicitRow(np.zeros(n, dtype)))]
        rows += [(f"row {i} of the identity", ExplicitRow(e)) for i, e in enumerate(np.eye(n, dtype=dtype))]
        rows += [("a row given by its coordinates", ExplicitRow(cotangent)), ("a row as a form", _Form(cotangent))]
        rows += [("the row c·A of a linearization", lin.pull(cotangent)[0])]
        for name, row in rows:
            before = copied(state)
            c = np.array(row.array, float)
            with where.running(f"pull(state, {name}, layout)"):
                made, again = (self.influence.pull(state, row, self.layout) for _ in range(2))
            where.same(state, before, "pull changes the state it is given")
            where.same(np.asarray(row.array, float), c, "pull changes the row it is given")
            where.same(again, made, "pull gives something else when called again")
            for k, leaf in made.items():
                where.require(k in G, "pull gives a leaf that is not a parameter", sorted(G), k)
                where.require(np.shape(leaf) == G[k].shape[1:], f"pull: shape of {k}", G[k].shape[1:], np.shape(leaf))
                got = getattr(leaf, "dtype", type(leaf).__name__)
                where.require(got == dtype, f"pull: dtype of {k}", dtype, got)
            expected = {k: np.tensordot(c, g, axes=1) for k, g in G.items()}
            where.close(made, expected, tolerance, f"pull of {name} is not row·dense")

    def advanced(self, where: Subject, state: Any, lin: Any, noise: tuple[Any, ...]) -> Any:
        """`advance` keeps containers, shapes and dtypes, changes nothing it is given, and has no other randomness."""
        before, drawn, value = copied(state), copied(noise), copied(lin.value)
        with where.running("advance(state, lin, noise)"):
            after = self.influence.advance(state, lin, noise)
        where.same(state, before, "advance changes the state it is given")
        where.same(noise, drawn, "advance changes the noise it is given")
        where.same(lin.value, value, "advance changes the linearization it is given")
        self._arrays(where, after, "advance")
        what = "advance: containers, shapes and dtypes of the state"
        where.require(structure(after) == structure(before), what, structure(before), structure(after))
        kept = copied(after)
        with where.running("advance(state, lin, noise), once more"):
            again = self.influence.advance(before, lin, drawn)
        where.same(again, kept, "advance gives something else when called again: there is hidden randomness or memory")
        where.same(after, kept, "advance changes a state that it gave before")
        return after

    def magnitude(self, where: Subject, state: Any, lin: Any, noise: tuple[Any, ...]) -> None:
        """`magnitude` is finite exactly if the state is, whatever made a state that `advance` gave not finite."""
        for what, poisoned, at in self._poisoned(state, lin):
            with np.errstate(all="ignore"), where.running(f"advance with {what}"):
                after = self.influence.advance(poisoned, at, noise)
                size = self.influence.magnitude(after)
            where.require(np.shape(size) == (), "magnitude is a scalar", "shape ()", f"shape {np.shape(size)}")
            bad = [n for n, v in zip(leaf_names(after, "state"), flatten(after), strict=True) if not _finite(v)]
            if bad:
                where.require(not np.isfinite(size), f"magnitude ignores {bad[0]}, after {what}", "not finite", size)
            else:
                where.require(np.isfinite(size), f"magnitude of a finite state, after {what}", "finite", size)

    def _poisoned(self, state: Any, lin: Any) -> Iterator[tuple[str, Any, Any]]:
        yield "nothing unusual", copied(state), lin
        names = leaf_names(state, "state")
        for number, name in enumerate(names):
            for bad in (np.nan, np.inf):
                leaves = [np.array(v) for v in flatten(state)]
                if leaves[number].size:
                    leaves[number][np.unravel_index(self.rng.integers(leaves[number].size), leaves[number].shape)] = bad
                    yield f"{name} holding a {bad}", unflatten(state, leaves), lin
        h, x, params = self.problem.system.initial, self.problem.xs[0], self.problem.system.coordinates
        for k in self.model.leaves:
            sick = np.array(params[k])
            sick[np.unravel_index(self.rng.integers(sick.size), sick.shape)] = np.nan
            with np.errstate(all="ignore"):
                yield f"parameter {k} holding a nan", copied(state), self.model.linearize(h, x, {**params, k: sick})
        with np.errstate(all="ignore"):
            yield "a state of the system that is nan", copied(state), self.model.linearize(h * np.nan, x, params)

    def finite(self, where: Subject, state: Any, what: str) -> None:
        """Nothing becomes NaN of itself."""
        for name, leaf in zip(leaf_names(state, "it"), flatten(state), strict=True):
            where.require(_finite(leaf), f"{what}: {name.removeprefix('it_')} is not finite", "finite numbers", leaf)

    def repeated(self, specs: tuple[NoiseSpec, ...], lins: list[Any]) -> None:
        """A whole trajectory, gone through twice, with another one between."""
        noises = [self._noise(specs) for _ in lins]
        start = draw(specs, "start", self.rng, self.layout.dtype)

        def run(noises: list[Any]) -> Any:
            state = self.influence.init(self.layout, copied(start))
            for lin, noise in zip(lins, noises, strict=True):
                state = self.influence.advance(state, lin, copied(noise))
            return state

        first = copied(run(noises))
        run([self._noise(specs) for _ in lins])
        self.subject.same(run(noises), first, "a trajectory gone through again ends elsewhere: something is remembered")

    # ---- what they need

    def _noise(self, specs: tuple[NoiseSpec, ...]) -> tuple[Any, ...]:
        return draw(specs, "step", self.rng, self.layout.dtype)

    def _linearizations(self) -> Iterator[Any]:
        h, params = self.problem.system.initial, self.problem.system.coordinates
        for x in self.problem.xs:
            lin = self.model.linearize(h, x, params)
            yield lin
            h = lin.value


def _finite(leaf: Any) -> bool:
    return bool(np.all(np.isfinite(leaf)))
