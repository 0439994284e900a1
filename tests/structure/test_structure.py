"""Dependency patterns against autograd's dense Jacobians, colourings, and rows and entries read off through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import autograd.numpy as anp
import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from autograd.core import make_vjp
from hypothesis import given, settings
from hypothesis import strategies as st

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.linear import TracedModel
from fwdgrad.program import Abstract, trace, trail_products
from fwdgrad.program import operations as ops
from fwdgrad.program.closure import (
    closed_pattern,
    closed_size,
    delay_length,
    kept_entries,
    kept_terms,
    reached_pattern,
    strong_components,
)
from fwdgrad.program.colours import _first_fit, colour_rows
from fwdgrad.program.columns import distinct_columns
from fwdgrad.program.dependence import Dependence
from fwdgrad.program.operations import Operation, pointwise, reductions
from fwdgrad.structure.colouring import families
from fwdgrad.structure.patterns import JacobianPatterns, patterns_of
from fwdgrad.system.tracing import TracedSystem

# ---------------------------------------------------------------- what patterns are compared with


def jacobians(function: Callable[..., Any], *point: Any) -> list[np.ndarray]:
    """∂function/∂argument by autograd, dense, one array (outputs, argument size) for each argument."""

    def flat(arguments: Any) -> Any:
        # the zero keeps autograd from warning of a result that depends on nothing
        return anp.ravel(function(*arguments)) + 0.0 * anp.sum(arguments[0])

    pull, value = make_vjp(flat, tuple(np.asarray(p, float) for p in point))
    rows = [pull(unit) for unit in np.eye(len(value))]
    return [np.reshape([row[k] for row in rows], (len(value), -1)) for k in range(len(point))]


def around(value: Any, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(value) + rng.normal(size=np.shape(value))


def points(system: fg.System, count: int) -> list[tuple[Any, Any, dict[str, Any]]]:
    """Random states, inputs and parameters; symbols take every value in turn."""
    rng = np.random.default_rng(0)
    bounds = TracedSystem(system).x_bounds
    made = []
    for number in range(max([count, *(b or 0 for b in bounds)])):
        x = system.x
        if x is not None:
            leaves = [system.x[k] for k in system.x] if isinstance(system.x, dict) else [system.x]
            drawn = [
                np.asarray(number % (bound or 1)) if leaf.dtype == np.int64 else around(leaf, rng)
                for leaf, bound in zip(leaves, bounds, strict=True)
            ]
            x = dict(zip(system.x, drawn, strict=True)) if isinstance(system.x, dict) else drawn[0]
        params = {k: around(v, rng) for k, v in system.coordinates.items()}
        made.append((around(system.initial, rng), x, params))
    return made


def seen(system: fg.System, function: Callable[..., Any], count: int = 3) -> list[np.ndarray]:
    """Where ∂function/∂h and ∂function/∂θ are other than zero, at any of the points."""
    names = list(system.coordinates)

    def at(h: Any, x: Any, params: dict[str, Any]) -> list[np.ndarray]:
        return jacobians(lambda h, *leaves: function(h, x, dict(zip(names, leaves, strict=True))), h, *params.values())

    found = [at(*point) for point in points(system, count)]
    return [np.any([f[k] != 0 for f in found], axis=0) for k in range(1 + len(names))]


def blocks(patterns: JacobianPatterns) -> dict[str, np.ndarray]:
    return {"h": patterns.state.toarray(), **{k: v.toarray() for k, v in patterns.leaves.items()}}


# ---------------------------------------------------------------- the catalogue, and the systems of the other tests

SMALL = {
    "tanh-rnn": {"units": 5, "symbols": 3},
    "leaky-rnn": {"units": 5, "symbols": 3},
    "gru": {"units": 5, "symbols": 3, "reset": "before"},
    "lstm": {"units": 4, "symbols": 3},
    "diagonal": {"units": 5, "symbols": 3},
    "influence-balancing": {"units": 7, "minus": 4},
}
SYSTEMS: dict[str, Callable[[], fg.System]] = {
    **{name: (lambda name=name: systems.build(name, **SMALL.get(name, {}))) for name in systems.CATALOGUE},
    "gru-reset-after": lambda: systems.build("gru", units=5, symbols=3, reset="after"),
    "lstm-vectors": lambda: systems.build("lstm", units=3, inputs=2),
    **{f"oracle-{case.name}": (lambda case=case: case.system) for case in oracles.every_case()},
}
EVERY = pytest.mark.parametrize("name", list(SYSTEMS))

WIDER: dict[str, str] = {}
"""Systems whose pattern is larger than what is seen, and why."""


@EVERY
def test_patterns_hold_what_autograd_sees(name):
    """Nothing is left out; and nothing is too much, over all symbols and a few points."""
    system = SYSTEMS[name]()
    patterns = TracedSystem(system).patterns
    for part, function in ((patterns.transition, system.transition), (patterns.output, system.output)):
        found = seen(system, function)
        for (leaf, pattern), dense in zip(blocks(part).items(), found, strict=True):
            assert np.all(pattern >= dense), f"{name}: ∂/∂{leaf} is missing {np.argwhere(dense & ~pattern)[:3]}"
            if name not in WIDER:
                assert np.array_equal(pattern, dense), f"{name}: ∂/∂{leaf} has {np.argwhere(pattern & ~dense)[:3]}"
    assert patterns.without_rule == ()


@EVERY
def test_constant_derivatives_are_constant(name):
    """What is called constant is the same number everywhere, and what is not changes somewhere."""
    system = SYSTEMS[name]()
    constant = TracedSystem(system).patterns.transition.constant
    names = list(system.coordinates)
    values = [
        jacobians(
            lambda h, *leaves, x=x: system.transition(h, x, dict(zip(names, leaves, strict=True))), h, *params.values()
        )[1:]
        for h, x, params in points(system, 4)
    ]
    for k, leaf in enumerate(names):
        spread = np.ptp([v[k] for v in values], axis=0)
        present = np.any([v[k] != 0 for v in values], axis=0)
        assert np.array_equal(constant[leaf].toarray(), present & (spread < 1e-12)), leaf


def test_inputs_have_a_pattern_too():
    """Floats where they have a derivative, integers where they are used at all."""

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.stack([h[0] * x["push"][1], p["R"][x["symbol"], 0], np.sign(x["push"][0]) + h[1], h[2]])

    x = {"push": np.zeros(2), "symbol": 0}
    system = fg.System(F, None, np.zeros(4), {"R": np.ones((3, 2))}, x)
    pattern = TracedSystem(system).patterns.transition
    # a step changes with the sign of x, though its derivative is zero
    assert pattern.inputs.toarray().astype(int).tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert pattern.leaves["R"].toarray().astype(int)[1].tolist() == [1, 0, 1, 0, 1, 0]


# ---------------------------------------------------------------- random programs

N, M = 4, 3


class Recipe:
    """A function of (h, x, symbol, a, b, W) made of random operations, the choices being given as numbers.

    `xp` is NumPy, for tracing, or autograd's NumPy.
    """

    def __init__(self, numbers: Sequence[int], operations: Sequence[Callable[..., Any]] = ()) -> None:
        self.numbers, self.operations = list(numbers), operations or OPERATIONS

    def __call__(self, xp: Any, h: Any, x: Any, symbol: Any, a: Any, b: Any, W: Any) -> Any:
        choices = iter(self.numbers)

        def choose(count: int) -> int:
            return next(choices, 0) % count

        pool = [h, a, b, W, x, W @ h]
        for _ in range(2 + choose(8)):
            made = self.operations[choose(len(self.operations))](xp, pool, choose, symbol)
            if np.shape(made) is not None and 0 < int(np.prod(np.shape(made))) <= 60:
                pool.append(made)
        total = 0.0
        for _ in range(1 + choose(3)):
            flat = xp.reshape(pool[-1 - choose(len(pool))], (-1,))
            places = np.array([choose(np.shape(flat)[0]) for _ in range(N)])
            total = total + flat[places]
        return total


def mask(choose: Callable[[int], int], shape: tuple[int, ...]) -> np.ndarray:
    """A constant with zeros in it."""
    return np.random.default_rng(choose(1000)).integers(0, 2, shape) * 1.5


def pick(pool: list[Any], choose: Callable[[int], int], least: int = 0) -> Any:
    fitting = [p for p in pool if np.ndim(p) >= least]
    return fitting[-1 - choose(len(fitting))]


def unary(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    v = pick(pool, choose)
    functions: list[Callable[[Any], Any]] = [
        xp.tanh,
        xp.sin,
        xp.abs,
        xp.sign,
        xp.floor,
        lambda v: -v,
        lambda v: xp.sqrt(1.0 + v * v),
        lambda v: 1.0 / (1.0 + v * v),
        lambda v: xp.maximum(v, 0.0),
        lambda v: v * 0.0,
    ]
    return functions[choose(len(functions))](v)


def binary(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    u = pick(pool, choose)
    v = pick([p for p in pool if fits(u, p)], choose)
    functions: list[Callable[[Any, Any], Any]] = [
        lambda u, v: u + v,
        lambda u, v: u - v,
        lambda u, v: u * v,
        lambda u, v: u / (1.0 + v * v),
        xp.minimum,
        lambda u, v: xp.arctan2(u, 1.0 + v * v),
    ]
    return functions[choose(len(functions))](u, v)


def fits(u: Any, v: Any) -> bool:
    try:
        np.broadcast_shapes(np.shape(u), np.shape(v))
    except ValueError:
        return False
    return True


def masked(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    v = pick(pool, choose)
    return v * mask(choose, np.shape(v))


def power(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    v = pick(pool, choose)
    return v ** np.random.default_rng(choose(100)).integers(0, 4, np.shape(v)).astype(float)


def sliced(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    v = pick(pool, choose, 1)
    axis = choose(np.ndim(v))
    size = np.shape(v)[axis]
    part = [slice(None, None, -1), slice(choose(size), None), slice(None, None, 2), choose(size)][choose(4)]
    return v[(*(slice(None),) * axis, part)]


def gathered(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    v = pick(pool, choose, 1)
    axis = choose(np.ndim(v))
    size = np.shape(v)[axis]
    return v[(*(slice(None),) * axis, np.array([choose(size) for _ in range(1 + choose(4))]))]


def chosen(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    """Indexed with a symbol, which is smaller than every axis."""
    v = pick([p for p in pool if np.ndim(p) and max(np.shape(p)) >= M], choose)
    axis = next(k for k, size in enumerate(np.shape(v)) if size >= M)
    return v[(*(slice(None),) * axis, symbol)]


def largest(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    """Indexed with a number that depends on values."""
    return pool[1][xp.argmax(pool[0])] * pick(pool, choose)


def shaped(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    v = pick(pool, choose)
    functions: list[Callable[[Any], Any]] = [
        xp.ravel,
        xp.transpose,
        lambda v: xp.reshape(v, (1, *np.shape(v))),
        lambda v: xp.reshape(v, (*np.shape(v), 1)),
        lambda v: np.ones((2, *(1,) * np.ndim(v))) * v,
        lambda v: xp.roll(v, 1),
        lambda v: xp.diag(xp.ravel(v)[:4]),
        lambda v: xp.triu(v) if np.ndim(v) == 2 else v,
    ]
    return functions[choose(len(functions))](v)


def joined(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    u, v = pick(pool, choose, 1), pick(pool, choose, 1)
    if np.shape(u) == np.shape(v):
        axis = choose(np.ndim(u))
        return xp.concatenate([u, v], axis) if choose(2) else xp.stack([u, v], axis)
    return xp.concatenate([xp.ravel(u), np.array([0.0, 1.0]), xp.ravel(v)], 0)


def reduced(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    v = pick(pool, choose, 1)
    axis = [None, *range(np.ndim(v))][choose(np.ndim(v) + 1)]
    function = [xp.sum, xp.mean, xp.max, xp.min, xp.prod, xp.sum][choose(6)]
    return function(v, axis=axis)


def running(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    v = pick(pool, choose, 1)
    return xp.cumsum(v, axis=choose(np.ndim(v)))


def product(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    v = pick(pool, choose, 1)
    size = np.shape(v)[0]
    left = (
        mask(choose, (3, size)) if choose(2) else xp.reshape(xp.sin(xp.arange(3 * size) * 1.0 + pool[2][0]), (3, size))
    )
    return left @ v if np.ndim(v) <= 2 else xp.einsum("ij,jkl->ikl", left, v)


def contracted(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    v = xp.ravel(pick(pool, choose, 1))
    size = np.shape(v)[0]
    C = mask(choose, (2, size))
    other = xp.tanh(v) * mask(choose, (size,))
    forms: list[Callable[[], Any]] = [
        lambda: xp.einsum("ij,j->i", C, v),
        lambda: xp.einsum("i,i->", v, other),
        lambda: xp.einsum("i,j->ij", v[:4], other[:4]),
        lambda: xp.einsum("ij,j,j->i", C, v, other),
        lambda: xp.einsum("ij,ij->j", C, C * v),
        lambda: xp.einsum("ij,kj->ik", C, C * v),
    ]
    return forms[choose(len(forms))]()


def conditional(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    u = pick(pool, choose)
    v = pick([p for p in pool if fits(u, p)], choose)
    shape = np.broadcast_shapes(np.shape(u), np.shape(v))
    u, v = u * np.ones(shape), v * np.ones(shape)  # autograd's where does not sum over repeated axes
    return xp.where(mask(choose, shape) > 0, u, v) if choose(2) else xp.where(u > v, u * v, v)


def ordered(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    return xp.sort(xp.ravel(pick(pool, choose, 1)))


def solved(xp: Any, pool: list[Any], choose: Any, symbol: Any) -> Any:
    return xp.linalg.solve(3.0 * np.eye(N) + 0.1 * xp.tanh(pool[3]), pool[0])


OPERATIONS: list[Callable[..., Any]] = [
    unary,
    binary,
    binary,
    masked,
    power,
    sliced,
    gathered,
    chosen,
    largest,
    shaped,
    joined,
    reduced,
    running,
    product,
    contracted,
    conditional,
    ordered,
    solved,
]
SHAPES = {"a": (N,), "b": (M,), "W": (N, N)}


def check_recipe(recipe: Recipe) -> None:
    """The pattern of a random program holds autograd's Jacobians, and its constant entries stay the same."""
    inputs = [Abstract((N,), np.dtype(float)), Abstract((2,), np.dtype(float)), Abstract((), np.dtype(np.int64))]
    inputs += [Abstract(s, np.dtype(float)) for s in SHAPES.values()]
    program = trace(lambda *arguments: [recipe(np, *arguments)], inputs)
    patterns = patterns_of(program, program, 2, SHAPES, list(SHAPES))
    assert patterns.without_rule == ()
    part = patterns.transition
    rng = np.random.default_rng(0)
    before: dict[str, np.ndarray] = {}
    for number in range(M):
        h, x, *leaves = (rng.normal(size=s) for s in ((N,), (2,), *SHAPES.values()))
        with np.errstate(over="ignore", invalid="ignore"):
            found = jacobians(lambda h, x, *leaves, symbol=number: recipe(anp, h, x, symbol, *leaves), h, x, *leaves)
        if not all(np.all(np.isfinite(f)) for f in found):
            return  # numbers that overflow say nothing about what depends on what
        values = dict(zip(("h", "x", *SHAPES), found, strict=True))
        patterns_found = blocks(part) | {"x": part.inputs.toarray()[:, :2]}
        for k, value in values.items():
            missing = (value != 0) & ~patterns_found[k]
            assert not missing.any(), f"∂/∂{k} is missing {np.argwhere(missing)[:3]} in\n{program}"
        for k, constant in part.constant.items():
            kept = values[k] * constant.toarray()
            assert np.allclose(kept, before.setdefault(k, kept)), f"∂/∂{k} is not constant in\n{program}"


@given(st.lists(st.integers(0, 10**6), min_size=10, max_size=80))
@settings(max_examples=200, deadline=None)
def test_random_programs(numbers):
    """Nothing that autograd sees is ever left out, whatever operations are strung together."""
    check_recipe(Recipe(numbers))


def caught(*operations: Callable[..., Any], among: int = 400) -> bool:
    """Whether one of some random programs of these operations fails the check."""
    rng = np.random.default_rng(0)
    for _ in range(among):
        try:
            check_recipe(Recipe(rng.integers(0, 10**6, 60).tolist(), operations))
        except AssertionError:
            return True
    return False


@pytest.mark.quick(
    "getitem-*", "concatenate-*", "scatter_add-*", "sum-*", "max-*", "cumsum-*", "matmul-*", "einsum-*", "solve-*"
)
@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("getitem", gathered),
        ("getitem", chosen),
        ("concatenate", joined),
        ("transpose", shaped),
        ("scatter_add", shaped),
        ("sum", reduced),
        ("max", reduced),
        ("cumsum", running),
        ("matmul", product),
        ("einsum", contracted),
        ("solve", solved),
    ],
)
def test_a_rule_that_forgets_is_caught(name, operation, monkeypatch):
    """Negative control: the first half of the result depends on nothing any more."""
    kind = type(next(o for o in vars(ops).values() if isinstance(o, Operation) and o.name == name))
    right = kind.follow

    def wrong(self: Any, trails: Any, ins: Any, steady: Any) -> Any:
        (made,) = right(self, trails, ins, steady)
        keep = np.arange(made.size) > made.size // 2
        return [made.mapped(made.shape, lambda d: d.where(keep), made.zero)]

    assert not caught(unary, operation, among=10)
    monkeypatch.setattr(kind, "follow", wrong)
    assert caught(unary, operation)


@pytest.mark.parametrize(
    ("name", "operation"), [("add", binary), ("multiply", binary), ("divide", binary), ("where", conditional)]
)
def test_a_pointwise_rule_that_forgets_is_caught(name, operation, monkeypatch):
    """Negative control: only one operand (of a choice, the first alternative) is seen."""
    right = pointwise._TRAILS[name]

    def wrong(wide: Any, narrow: Any, shape: Any) -> Any:
        made = right(wide, narrow, shape)
        kept = wide[1 if name == "where" else 0].depends
        return type(made)(made.shape, kept, kept, made.zero)

    assert not caught(operation, among=10)
    monkeypatch.setitem(pointwise._TRAILS, name, wrong)
    assert caught(operation)


def test_a_coefficient_that_only_seems_constant_is_caught(monkeypatch):
    """Negative control for what varies: every dependence is called affine."""
    right = pointwise._TRAILS["multiply"]

    def wrong(wide: Any, narrow: Any, shape: Any) -> Any:
        made = right(wide, narrow, shape)
        return type(made)(made.shape, made.depends, wide[0].varies, made.zero)

    monkeypatch.setitem(pointwise._TRAILS, "multiply", wrong)
    assert caught(binary)


# ---------------------------------------------------------------- rules one by one


def pattern_of(F: Callable[..., Any], n: int = 3, x: Any = None, **params: Any) -> JacobianPatterns:
    return TracedSystem(fg.System(F, None, np.ones(n), params or {"a": 1.0}, x)).patterns.transition


def dots(pattern: sp.csr_array) -> str:
    return " ".join("".join("x" if e else "." for e in row) for row in pattern.toarray())


@pytest.mark.parametrize(
    ("F", "expected"),
    [
        (lambda h, x, p: h * np.array([1.0, 0.0, 2.0]), "x.. ... ..x"),
        (lambda h, x, p: np.array([[1.0, 0, 0], [0, 0, 0], [2, 0, 1]]) @ h, "x.. ... x.x"),
        (lambda h, x, p: np.roll(h, 1) ** np.array([2.0, 0.0, 1.0]), "..x ... .x."),
        (lambda h, x, p: np.cumsum(h), "x.. xx. xxx"),
        (lambda h, x, p: np.where(np.array([True, False, True]), h, h[::-1]), "x.. .x. ..x"),
        (lambda h, x, p: np.where(h > 0, h, h[0]), "x.. xx. x.x"),
        (lambda h, x, p: np.max(h) + 0 * h, "xxx xxx xxx"),
        (lambda h, x, p: np.sort(h), "xxx xxx xxx"),
        (lambda h, x, p: np.sign(h) + np.floor(h), "... ... ..."),
        (lambda h, x, p: np.einsum("ij,jk,k->i", np.eye(3), np.eye(3, k=1), h), ".x. ..x ..."),
        (lambda h, x, p: np.linalg.solve(np.eye(3), h), "xxx xxx xxx"),
        (lambda h, x, p: np.diag(h)[0] + h, "x.. .x. ..x"),
        (lambda h, x, p: np.array([h[0] * h[1], h[2], 1.0 + 0 * p["a"]]), "xx. ..x ..."),
    ],
)
def test_patterns_of_single_operations(F, expected):
    """Known zeros are used: masks, powers of zero, chosen branches. A solve is taken as dense."""
    assert dots(pattern_of(F).state) == expected


@pytest.mark.parametrize(
    ("F", "constant"),
    [
        (lambda h, x, p: h + p["b"], True),
        (lambda h, x, p: h - 2.5 * p["b"][::-1] / 3, True),
        (lambda h, x, p: h + np.array([[1.0, 2, 0], [0, 1, 0], [0, 0, 3]]) @ p["b"], True),
        (lambda h, x, p: h + np.where(np.array([True, False, True]), p["b"], -p["b"]), True),
        (lambda h, x, p: h * p["b"], False),
        (lambda h, x, p: h + np.sign(h) * p["b"], False),
        (lambda h, x, p: h + p["b"][np.argmax(h)], False),
        (lambda h, x, p: h + p["b"] / (1 + h * h), False),
        (lambda h, x, p: h + p["b"] ** 2, False),
        (lambda h, x, p: h + np.where(h > 0, p["b"], 0.0), False),
        (lambda h, x, p: h + np.outer(np.sign(h), p["b"])[0], False),
        (lambda h, x, p: h + p["b"].astype(int).astype(float), None),
    ],
)
def test_what_enters_with_a_constant_coefficient(F, constant):
    """A factor whose derivative is zero, such as a sign, is no constant."""
    found = pattern_of(F, b=np.ones(3))
    assert found.leaves["b"].nnz == (0 if constant is None else found.leaves["b"].nnz)
    assert (found.constant["b"].nnz > 0) == bool(constant)
    if constant:
        assert found.constant["b"].nnz == found.leaves["b"].nnz


def test_an_operation_without_a_rule_is_taken_as_dense(monkeypatch):
    """Everything depends on everything, and the report says for the sake of which operation."""

    class Twist(Operation):
        def evaluate(self, *operands: Any, **_: Any) -> Any:
            return np.roll(operands[0], 1) * operands[1]

        def infer(self, inputs: Any, params: Any) -> Any:
            return (Abstract(inputs[0].shape, inputs[0].dtype),)

        def emit(self, arguments: Any, inputs: Any, params: Any) -> str:
            return f"np.roll({arguments[0]}, 1) * {arguments[1]}"

    twist = Twist("twist")

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.concatenate([twist(h[:3], p["a"]), h[3:]])

    system = fg.System(F, None, np.ones(4), {"a": np.ones(3), "b": 1.0})
    patterns = TracedSystem(system).patterns
    assert patterns.without_rule == ("twist",)
    assert dots(patterns.transition.state) == "xxx. xxx. xxx. ...x"
    assert dots(patterns.transition.leaves["a"]) == "xxx xxx xxx ..."
    assert patterns.transition.leaves["b"].nnz == 0
    assert "for want of a rule, of: twist." in str(fg.analyze(fg_with_derivative(system, monkeypatch)))


def fg_with_derivative(system: fg.System, monkeypatch: Any) -> fg.System:
    """The costs of an estimator are counted on its derivatives, which an operation made up here does not have."""
    from fwdgrad.analysis import structure as analysis

    ones = analysis.Products(1, 1, 1, 1, 1, 1, (1,), 1, 1, 1, 1)
    monkeypatch.setattr(analysis.Products, "of", staticmethod(lambda _: ones))
    return system


def test_sums_too_long_to_enumerate_are_taken_as_dense(monkeypatch):
    """Beyond a limit, known zeros and the order of a running sum are not used: more than it is, never less."""
    matrix = np.triu(np.ones((4, 4)))

    def F(h: Any, x: Any, p: Any) -> Any:
        return np.cumsum(h) + np.einsum("ij,jk,k->i", matrix, matrix, h)

    assert dots(pattern_of(F, 4).state) == "xxxx xxxx xxxx xxxx"
    lower = pattern_of(lambda h, x, p: np.cumsum(h), 4)
    upper = pattern_of(lambda h, x, p: np.einsum("ij,jk,k->i", matrix, matrix, h), 4)
    for module in (reductions, trail_products):
        monkeypatch.setattr(module, "EXPANSION", 3)
    for G, small in ((lambda h, x, p: np.cumsum(h), lower), (F, upper)):
        assert pattern_of(G, 4).state.nnz == 16 > small.state.nnz
    # a matrix-vector product has as many terms as the matrix has entries, so it is never too long
    assert dots(pattern_of(lambda h, x, p: matrix @ h, 4).state) == "xxxx .xxx ..xx ...x"


# ---------------------------------------------------------------- the boolean matrices underneath


@st.composite
def dependences(draw: Any, entries: int = 6, sources: int = 5) -> Dependence:
    """Unions and choices of identities, whose rows are shared and unused in all ways."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    made = Dependence.identity(0, sources, sources)
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.integers(0, 3))
        size = len(made.index)
        if kind == 0:
            made = made.take(rng.integers(0, size, entries))
        elif kind == 1:
            made = made.union(made.take(rng.integers(0, size, size)))
        elif kind == 2:
            made = made.where(rng.random(size) < 0.7)
        else:
            groups = rng.integers(-1, entries, size)
            made = made.merged(groups, entries)
    return made.take(rng.integers(0, len(made.index), entries))


def full(d: Dependence) -> np.ndarray:
    return d.split(np.array([0, d.sources]))[0].toarray()


@given(dependences(), dependences(), st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_boolean_matrices(one, other, seed):
    """Every operation on distinct rows against the same on the matrix in full."""
    rng = np.random.default_rng(seed)
    a, b = full(one), full(other)
    assert np.array_equal(full(one.union(other)), a | b)
    assert np.array_equal(full(one.without(other)), a & ~b)
    keep, columns = rng.random(len(a)) < 0.5, rng.random(a.shape[1]) < 0.5
    assert np.array_equal(full(one.where(keep)), a & keep[:, None])
    assert np.array_equal(full(one.columns(columns)), a & columns)
    assert np.array_equal(full(one.everything(2)), np.stack([a.any(axis=0)] * 2))
    groups, entries = rng.integers(0, 3, 8), rng.integers(0, len(a), 8)
    merged = [a[entries[groups == g]].any(axis=0) for g in range(3)]
    assert np.array_equal(full(one.selected(groups, entries, 3)), merged)
    edges = np.array([0, 2, 2, a.shape[1]])
    for part, first, last in zip(one.split(edges), edges[:-1], edges[1:], strict=True):
        assert np.array_equal(part.toarray(), a[:, first:last])
        assert part.has_sorted_indices


def test_large_unions_are_made_row_by_row(monkeypatch):
    """The way taken for large matrices gives the same."""
    from fwdgrad.program import dependence

    one = Dependence.identity(0, 6, 6).union(Dependence.identity(0, 6, 6).take(np.array([1, 2, 3, 4, 5, 0])))
    groups, entries = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 3, 4, 5])
    expected = full(one.selected(groups, entries, 4))
    monkeypatch.setattr(dependence, "SMALL", 0)
    assert np.array_equal(full(one.selected(groups, entries, 4)), expected)


# ---------------------------------------------------------------- colours


@st.composite
def boolean_matrices(draw: Any, rows: int = 7, columns: int = 9) -> sp.csr_array:
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = draw(st.integers(1, rows)), draw(st.integers(1, columns))
    return sp.csr_array(rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0])))


@given(boolean_matrices())
@settings(max_examples=150, deadline=None)
def test_rows_of_one_colour_share_no_column(pattern):
    colours = colour_rows(pattern)
    dense = pattern.toarray()
    assert np.array_equal(colours >= 0, dense.any(axis=1))
    for c in range(colours.max(initial=-1) + 1):
        assert dense[colours == c].sum(axis=0).max() == 1
    assert colours.max(initial=-1) + 1 >= dense.sum(axis=0).max(initial=0)


@pytest.mark.parametrize(
    ("matrix", "count"),
    [
        (np.eye(6), 1),
        (np.ones((6, 6)), 6),
        (np.eye(6) + np.eye(6, k=1) + np.eye(6, k=-1), 3),
        (np.eye(6) + np.eye(6)[[0]], 6),
        (np.eye(6) + np.eye(6)[:, [0]], 2),
        (np.kron(np.eye(3), np.ones((2, 2))), 2),
        (np.kron(np.eye(3), np.ones((2, 50))), 2),
        (np.zeros((3, 4)), 0),
    ],
    ids=["diagonal", "dense", "tridiagonal", "column", "row", "blocks", "wide", "empty"],
)
def test_as_many_colours_as_it_takes(matrix, count):
    assert colour_rows(sp.csr_array(matrix != 0)).max(initial=-1) + 1 == count


def test_the_second_order_is_tried():
    """A path of four rows whose ends come first takes three colours in that order, two with the crowded ones first."""
    path = sp.csr_array(np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]]) != 0)
    assert _first_fit(path, np.arange(4)).tolist() == [0, 0, 1, 2]
    assert colour_rows(path).tolist() == [1, 0, 0, 1]


@given(boolean_matrices())
@settings(max_examples=100, deadline=None)
def test_distinct_columns(pattern):
    """Each column is found among the distinct ones, of which no two are equal."""
    kind, columns = distinct_columns([pattern, pattern])
    both = np.hstack([pattern.toarray()] * 2)
    assert np.array_equal(columns.toarray()[:, kind], both)
    assert len(np.unique(columns.toarray(), axis=1).T) == columns.shape[1]
    assert distinct_columns([pattern, pattern]).copies.sum() == both.shape[1]


def test_colourings_are_shared_where_that_saves_products():
    """One colour is served by two, but not by three; what is dense serves nobody else."""

    def counts(**patterns: np.ndarray) -> list[tuple[int, list[str]]]:
        made = {k: sp.csr_array(v != 0) for k, v in patterns.items()}
        own = {k: colour_rows(v) for k, v in made.items()}
        return [(f.count, sorted(f.leaves)) for f in families(made, {k: v.shape[1:] for k, v in made.items()}, own)]

    one, pairs, triples = np.eye(12), np.kron(np.eye(6), np.ones((2, 3))), np.kron(np.eye(4), np.ones((3, 1)))
    assert counts(one=one, pairs=pairs) == [(2, ["one", "pairs"])]
    assert counts(one=one, triples=triples) == [(3, ["triples"]), (1, ["one"])]
    assert counts(pairs=pairs, dense=np.ones((12, 2))) == [(12, ["dense"]), (2, ["pairs"])]
    ten = np.ones((12, 1)) * (np.arange(12) < 10)[:, None]
    assert counts(ten=ten, dense=np.ones((12, 2))) == [(12, ["dense", "ten"])]
    across = np.kron(np.eye(3), np.array([[1, 0], [0, 1], [1, 0], [0, 1]]))  # rows 0 and 2, 1 and 3, and so on
    assert counts(pairs=pairs, across=across) == [(2, ["pairs"]), (2, ["across"])]
    assert counts(pairs=pairs, rolled=np.roll(pairs, 1, axis=0)) == [(2, ["pairs", "rolled"])]


def colours(system: fg.System) -> dict[str, int]:
    return fg.analyze(system).colors


def test_colours_of_networks():
    """What decides between NoBackTrack and a black box."""
    n = 10
    rnn = systems.build("tanh-rnn", units=n, symbols=4)
    assert colours(rnn) == {"b": 1, "R": 1, "W": 1}
    lstm = fg.analyze(systems.build("lstm", units=n, symbols=4))
    assert lstm.colors == {f"{m}_{g}": 1 if g == "o" else 2 for g in "ifog" for m in "WUb"}
    assert lstm.backward_products == 2  # the leaves that feed only h are served by the same two products
    after = fg.analyze(systems.build("gru", units=n, symbols=4, reset="after"))
    assert set(after.colors.values()) == {1}
    assert after.backward_products == 1
    before = fg.analyze(systems.build("gru", units=n, symbols=4, reset="before"))
    assert before.colors == {f"{m}_{g}": n if g == "r" else 1 for g in "zrn" for m in "WUb"}
    assert before.backward_products == n + 1


def low_rank(n: int, rank: int = 3) -> fg.System:
    def F(h: Any, x: Any, p: Any) -> Any:
        return np.tanh(p["U"] @ (p["V"].T @ h) + p["b"] + x)

    params = {"U": np.ones((n, rank)), "V": np.ones((n, rank)), "b": np.zeros(n)}
    return fg.System(F, None, np.zeros(n), params, np.zeros(n))


def test_colours_of_a_product_of_two_matrices():
    """W = U Vᵀ: an entry of V feeds every state variable."""
    structure = fg.analyze(low_rank(12))
    assert structure.colors == {"U": 1, "V": 12, "b": 1}
    assert structure.backward_products == 13


# ---------------------------------------------------------------- rows and entries, read off through a colouring


@EVERY
@pytest.mark.parametrize("most", [8, 1], ids=["coloured", "dense"])
@pytest.mark.covering
def test_rows_and_entries_are_those_of_the_dense_jacobian(name, most, monkeypatch):
    """Row norms, weighted sums of rows, entries of A and B: to rounding, also where leaves count as dense."""
    for module in ("fwdgrad.structure.colouring", "fwdgrad.structure.patterns", "fwdgrad.linear.traced"):
        monkeypatch.setattr(f"{module}.MOST", most)
    system = SYSTEMS[name]()
    fresh = system.replace(y=system.y)  # traced anew
    model = TracedModel(fresh)
    rng = np.random.default_rng(1)
    names = list(system.coordinates)
    for h, x, params in points(system, 2)[:2]:
        found = jacobians(
            lambda h, *leaves, x=x: system.transition(h, x, dict(zip(names, leaves, strict=True))), h, *params.values()
        )
        dense = dict(zip(("", *names), found, strict=True))
        lin = model.linearize(h, x, params)
        if model.leaves:
            rows = lin.rows()
            assert set(rows.leaves) == set(model.leaves)
            close(rows.squared_norms(), sum(np.sum(dense[k] ** 2, axis=1) for k in model.leaves))
            weights = rng.normal(size=system.size)
            combined = rows.combine(weights)
            for k in model.leaves:
                close(np.ravel(combined[k]), weights @ dense[k])
            sparse = lin.rows(sparse_only=True)
            assert set(sparse.leaves) == set(model.patterns.sparse_leaves)
            close(sparse.squared_norms(), sum([np.sum(dense[k] ** 2, axis=1) for k in sparse.leaves], np.zeros(len(h))))
        A, B = lin.entries()
        patterns = model.patterns.transition
        close(A, dense[""][patterns.state.nonzero()])
        for k in model.leaves:
            close(B[k], dense[k][patterns.leaves[k].nonzero()])


def test_rows_through_a_wrong_colouring_are_caught(monkeypatch):
    """Negative control: c_i and h_i share the parameters of unit i, so one product cannot tell their rows apart."""
    test = test_rows_and_entries_are_those_of_the_dense_jacobian
    monkeypatch.setattr("fwdgrad.structure.patterns.colour_rows", lambda pattern: np.zeros(pattern.shape[0], int))
    with pytest.raises(AssertionError):
        test("lstm", 8, monkeypatch)


def close(got: Any, expected: Any) -> None:
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
    assert np.shape(got) == np.shape(expected)
    assert np.max(np.abs(got - expected), initial=0.0) <= 1e-14 * scale


# ---------------------------------------------------------------- closures


@st.composite
def influences(draw: Any) -> tuple[sp.csr_array, sp.csr_array]:
    """Patterns of A and B, of n states and p parameters."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, p = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    density = draw(st.sampled_from([0.0, 0.1, 0.25, 0.6]))
    return sp.csr_array(rng.random((n, n)) < density), sp.csr_array(rng.random((n, p)) < density + 0.05)


@given(influences())
@settings(max_examples=200, deadline=None)
def test_closures(both):
    """Against powers of the matrices in full."""
    S, B = both
    s, b = S.toarray().astype(int), B.toarray().astype(int)
    grown = b
    for steps in range(1, len(s) + 2):
        assert np.array_equal(reached_pattern(S, B, steps).toarray(), grown > 0)
        grown = ((b + s @ grown) > 0).astype(int)
    closed = grown > 0
    assert np.array_equal(closed_pattern(S, B).toarray(), closed)
    columns = distinct_columns([B])
    assert closed_size(S, columns) == closed.sum() == closed_pattern(S, B).nnz
    weights = np.arange(len(s)) + 2
    assert closed_size(S, columns, weights) == np.sum(weights[:, None] * closed)
    assert kept_terms(S, columns) == np.einsum("ij,jk,ik->", s, b, b)
    reach = np.linalg.matrix_power(np.eye(len(s), dtype=int) + s, len(s)) > 0
    label = strong_components(S)
    assert np.array_equal(label[:, None] == label, reach & reach.T)
    assert np.all((label[:, None] >= label) | ~reach), "a component depends on a later one"
    nilpotent = [k for k in range(len(s) + 2) if not np.linalg.matrix_power(s, k).any()]
    assert delay_length(S) == (nilpotent[0] if nilpotent else None)


# ---------------------------------------------------------------- size


def test_a_million_parameters_take_memory_of_their_order():
    """Peak memory over the number of entries of B, 2·10⁶ with A; time is not asserted (see benchmarks)."""
    import tracemalloc

    system = systems.build("tanh-rnn", units=1000, symbols=32)
    traced = TracedSystem(system)
    tracemalloc.start()
    patterns = traced.patterns
    entries = patterns.transition.state.nnz + sum(p.nnz for p in patterns.transition.leaves.values())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert entries == 1_000_000 + 1_033_000
    assert peak < 150 * entries  # a dense (n, p) table of bytes would take 1033 for each


@pytest.mark.parametrize("width", [1, 3, 200])
def test_kept_entries_are_those_between_rows_that_share_a_column(width):
    """Both ways of finding them: row by row, and by products of whole patterns; and where there is none."""
    rng = np.random.default_rng(width)
    for density in (0.0, 0.05, 0.6):
        S = sp.csr_array(rng.random((9, 9)) < 0.4)
        M = rng.random((9, width)) < density
        expected = [k for k, (i, j) in enumerate(zip(*S.nonzero(), strict=True)) if (M[i] & M[j]).any()]
        assert kept_entries(S, [sp.csr_array(M)]).tolist() == expected
