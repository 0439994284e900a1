"""autograd's products, with the rules of traced programs where autograd has others, wrong ones, or none.

autograd keeps its rules in tables that belong to the whole process, and to the user: they stay as they are. What is
differentiated here goes through nodes of its own instead, which look up the rule of a call. That is autograd's for
smooth functions; for every other function of the table of operations the call is traced by itself, and differentiated
as it is inside of a traced program. So ties, zeros and bounds are treated alike on every engine, and what is dead
(`fwdgrad.program.alive`) is known beside every gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.core import JVPNode, VJPNode, add_outgrads, backward_pass, defvjp_argnums, vspace
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import getval, isbox, notrace_primitives, primitive, trace, trace_primitives_map
from autograd.util import toposort

from fwdgrad.errors import FwdgradError
from fwdgrad.linear.native import alive_of, left_through, multiplied, pulled_through, pushed_through
from fwdgrad.program import Abstract, Linearized, Program
from fwdgrad.program import trace as traced
from fwdgrad.program.alive import BY_VALUE, Guards, joined, shown
from fwdgrad.program.lowering import SUPPORTED

__all__ = ["make_jvp", "make_vjp"]

SMOOTH = frozenset(
    (
        *(np.add, np.subtract, np.multiply, np.divide, np.negative, np.square, np.matmul, np.sum, np.mean),
        *(np.exp, np.expm1, np.sin, np.cos, np.tanh, np.sinh, np.cosh, np.arctan, np.arcsinh),
        *(np.reshape, np.ravel, np.expand_dims),
    )
)
"""Functions that have a derivative wherever they have a value, and the right one from autograd: its rule is used."""


def make_vjp(function: Callable[[Any], Any], point: Any) -> tuple[Callable[[Any], Any], Any]:
    """The backward product of `function` at `point`, and its value there; as `autograd.make_vjp`."""
    value, end = trace(_Backward.new_root(), function, point)
    if end is None:
        return lambda g: vspace(point).zeros(), value

    def product(g: Any) -> Any:
        made = backward_pass(g, end)
        return made if _finite(made) else _guarded_pass(g, end)

    return product, value


def make_jvp(function: Callable[[Any], Any], point: Any) -> Callable[[Any], tuple[Any, Any]]:
    """The forward product of `function` at `point`, with its value; as `autograd.make_jvp`."""

    def product(tangent: Any) -> tuple[Any, Any]:
        value, end = trace(_Forward.new_root(tangent), function, point)
        if end is not None and not _finite(end.g):
            value, end = trace(_Guarded.new_root(tangent), function, point)
        return value, vspace(value).zeros() if end is None else end.g

    return product


def _finite(tree: Any) -> bool:
    """Whether no number is known to be infinite or NaN: then no guard would have changed anything."""
    if isinstance(tree, (list, tuple)):
        return all(map(_finite, tree))
    if isinstance(tree, dict):
        return all(map(_finite, tree.values()))
    return not isinstance(tree, (np.ndarray, np.generic)) or bool(np.isfinite(tree).all())


def _changes_wildly(call: _Linear | None, value: Any, before: Sequence[bool]) -> bool:
    """Whether a result may change at an infinite rate, or is not finite; `before` says so of what it is made of."""
    return any(before) or (call is not None and call.steep) or not _finite(value)


class _Backward(VJPNode):
    """A node of the backward product."""

    def __init__(self, value: Any, fun: Any, args: Any, kwargs: Any, argnums: Any, parents: Any) -> None:
        self.call = _call_of(fun, args, kwargs, argnums)
        self.made = value, fun, args, argnums
        if self.call is None:
            super().__init__(value, fun, args, kwargs, argnums, parents)
        else:
            self.parents = parents
            self.vjp = self.call.backward

    def pulled(self, g: Any, mask: Any, wild: Sequence[bool]) -> tuple[Sequence[Any], Sequence[Any]]:
        """Gradients of the parents, and what is alive of them; `wild` says which of these change so."""
        if isbox(g):
            return tuple(self.vjp(g)), [None for _ in self.parents]
        if self.call is not None:
            parts, masks = self.call.pull(g, self.call.moving, mask, wild)
            return [alive_of(p, m) for p, m in zip(parts, masks, strict=True)], masks
        parts, dead = tuple(self.vjp(g)), pulled_through(*self.made[1:], wild, g, mask)
        left = dead if _finite(parts) else left_through(*self.made[1:], wild, g, shown(mask, g))
        return [alive_of(p, m) for p, m in zip(parts, left, strict=True)], dead


def _guarded_pass(g: Any, end: _Backward) -> Any:
    """As autograd's, with what is alive of every gradient beside it."""
    order = list(toposort(end))
    wild: dict[Any, bool] = {}
    for node in reversed(order):
        before = [wild[parent] for parent in node.parents]
        wild[node] = bool(before) and _changes_wildly(node.call, node.made[0], before)
    gradients: dict[Any, Any] = {end: (g, False)}
    masks: dict[Any, Any] = {end: BY_VALUE}
    for node in order:
        gradient, mask = gradients.pop(node)[0], masks.pop(node)
        if not node.parents:
            continue
        pulled = node.pulled(gradient, mask, [wild[parent] for parent in node.parents])
        for parent, part, alive in zip(node.parents, *pulled, strict=True):
            known = gradients.get(parent)
            masks[parent] = alive if known is None else _joined(masks[parent], known[0], alive, part)
            gradients[parent] = add_outgrads(known, part)
    return gradient


def _joined(mask: Any, g: Any, other: Any, part: Any) -> Any:
    """The mask of a sum; everything of one with a part of another kind than arrays."""
    if mask is BY_VALUE and other is BY_VALUE:
        return BY_VALUE
    known = all(m is not BY_VALUE or isinstance(v, (np.ndarray, np.generic)) for m, v in ((mask, g), (other, part)))
    return joined(mask, g, other, part) if known else None


class _Forward(JVPNode):
    """A node of the forward product."""

    def __init__(self, value: Any, fun: Any, args: Any, kwargs: Any, argnums: Any, parents: Any) -> None:
        call = _call_of(fun, args, kwargs, argnums)
        if call is None:
            super().__init__(value, fun, args, kwargs, argnums, parents)
        else:
            self.g, _ = call.forward([parent.g for parent in parents])


class _Guarded(JVPNode):
    """A node of the forward product, with what is alive of the tangent beside it."""

    def __init__(self, value: Any, fun: Any, args: Any, kwargs: Any, argnums: Any, parents: Any) -> None:
        call = _call_of(fun, args, kwargs, argnums)
        gs, masks, wild = ([getattr(parent, name) for parent in parents] for name in ("g", "alive", "wild"))
        if call is None:
            super().__init__(value, fun, args, kwargs, argnums, parents)
            self.alive = pushed_through(fun, args, argnums, value, gs, masks)
        else:
            self.g, self.alive = call.forward(gs, masks)
        self.wild = _changes_wildly(call, value, wild)
        self.g = alive_of(self.g, self.alive)
        if self.wild and fun is anp.multiply and not isbox(value):
            self.g = multiplied(args, argnums, gs, wild)

    def initialize_root(self, g: Any) -> None:
        """The node of the point."""
        super().initialize_root(g)
        self.alive, self.wild = BY_VALUE, False


for _node, _base in ((_Backward, VJPNode), (_Forward, JVPNode), (_Guarded, JVPNode)):
    # autograd lets an array that is filled with a traced number go as a constant
    notrace_primitives[_node] = notrace_primitives[_base] - {anp.full_like}


# ---------------------------------------------------------------- one call


class _Linear(NamedTuple):
    """A call of a function, linearized: its products, of what autograd gives and expects."""

    point: Linearized
    moving: tuple[int, ...]
    kind: type
    """list or tuple, of a function of several results."""

    def backward(self, g: Any) -> tuple[Any, ...]:
        """Gradients with respect to what moves."""
        if isbox(g):
            return tuple(_pulled(self, k, g) for k in range(len(self.moving)))
        return self.pull(g, self.moving)[0]

    @property
    def steep(self) -> bool:
        """Whether a result may change at an infinite rate."""
        return bool(Guards.of(self.point.program).forward)

    def pull(
        self, g: Any, wrt: Sequence[int], mask: Any = None, wild: Sequence[bool] | None = None
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Gradients with respect to some inputs, and what is alive of them, if it is told which of these are wild."""
        gs = g if self.kind in (list, tuple) else [g]
        outputs = self.point.program.outputs
        real = [np.issubdtype(o.dtype, np.floating) for o in outputs]
        given = [np.asarray(c, o.dtype) if r else None for c, o, r in zip(gs, outputs, real, strict=True)]
        numbers = [k for k, w in zip(wrt, wild or (), strict=False) if w]
        return self.point.pulled(given, list(wrt), [mask for _ in given], numbers, everywhere=wild is not None)

    def forward(self, tangents: Sequence[Any], masks: Sequence[Any] | None = None) -> tuple[Any, Any]:
        """The tangent of the result, from those of what moves, and what is alive of it, if that is told of these."""
        given = {k: np.asarray(t) for k, t in zip(self.moving, tangents, strict=True)}
        alive = dict.fromkeys(self.moving) if masks is None else dict(zip(self.moving, masks, strict=True))
        made, left = self.point.pushed(given, alive, everywhere=masks is not None)
        return (self.kind(made), BY_VALUE) if self.kind in (list, tuple) else (made[0], left[0])

    def only(self, k: int) -> _Linear:
        """As if nothing but one of its arguments moved."""
        return self._replace(moving=(self.moving[k],))


@primitive
def _pulled(call: _Linear, k: int, g: Any) -> Any:
    return call.only(k).backward(g)[0]


# a backward product is linear in g, and its transpose is the forward product: it can be differentiated again
defvjp_argnums(_pulled, lambda argnums, ans, args, kwargs: lambda g: (args[0].only(args[1]).forward([g])[0],))


@primitive
def _applied(function: Any, args: Any, kwargs: Any, *boxes: Any) -> Any:
    """A function with boxes among its arguments, where autograd does not look for them."""
    return function(*_filled(args, boxes), **_filled(kwargs, boxes))


def _call_of(fun: Any, args: Any, kwargs: Any, argnums: Sequence[int]) -> _Linear | None:
    """The rule of a call that is not autograd's; None if autograd's is to be used."""
    if fun is _applied:
        function, holed, named, *values = args
        moving = tuple(k - 3 for k in argnums)
    else:
        function = getattr(fun, "fun", None)
        if function in SMOOTH or function not in SUPPORTED:
            return None
        holed = tuple(_Hole(argnums.index(k)) if k in argnums else a for k, a in enumerate(args))
        named, values, moving = kwargs, [args[k] for k in argnums], tuple(range(len(argnums)))
    if any(map(isbox, values)):  # of another differentiation around this one, which would not see through it
        return None
    data = list(values)
    wide = _holed(holed, data, _is_data), _holed(named, data, _is_data)
    # what changes from step to step is an input of the program, unless it has to be known
    for (positional, keyword), given in ((wide, data), ((holed, named), values)):
        arrays = [np.asarray(v) for v in given]
        found = _written(_Call(function, positional, keyword, tuple(map(Abstract.of, arrays))))
        if found is not None:
            return _Linear(Linearized(found[0], arrays), moving, found[1])
    return None


def _is_data(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "fb"


class _Call:
    """A call without the values in its holes, known by what it does."""

    def __init__(self, function: Any, args: Any, kwargs: Any, shapes: tuple[Abstract, ...]) -> None:
        self.function, self.args, self.kwargs, self.shapes = function, args, kwargs, shapes
        self._key = (function, shapes, _content(args), _content(kwargs))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Call) and self._key == other._key


@lru_cache(maxsize=512)
def _written(call: _Call) -> tuple[Program, type] | None:
    kind: list[type] = []

    def run(*arrays: Any) -> Any:
        result = call.function(*_filled(call.args, arrays), **_filled(call.kwargs, arrays))
        kind.append(type(result))
        return result if isinstance(result, (list, tuple)) else (result,)

    try:
        return traced(run, call.shapes, name=str(getattr(call.function, "__name__", "call"))), kind[-1]
    except FwdgradError:
        return None


class _Hole(int):
    """Where an argument stands that is given later."""


def _filled(tree: Any, values: Sequence[Any]) -> Any:
    """Arguments with their holes filled."""
    if isinstance(tree, _Hole):
        return values[tree]
    if isinstance(tree, (list, tuple)):
        return type(tree)(_filled(v, values) for v in tree)
    return {k: _filled(v, values) for k, v in tree.items()} if isinstance(tree, dict) else tree


def _holed(tree: Any, taken: list[Any], take: Callable[[Any], bool] = isbox) -> Any:
    """Arguments with holes for some of them, which are put into `taken`."""
    if take(tree):
        taken.append(tree)
        return _Hole(len(taken) - 1)
    if type(tree) in (list, tuple):
        return type(tree)(_holed(v, taken, take) for v in tree)
    return {k: _holed(v, taken, take) for k, v in tree.items()} if isinstance(tree, dict) else tree


def _content(tree: Any) -> Any:
    """A key that two arguments share if they are the same."""
    if isinstance(tree, np.ndarray):
        return tree.dtype.str, tree.shape, tree.tobytes()
    if isinstance(tree, (list, tuple)):
        return type(tree), tuple(map(_content, tree))
    if isinstance(tree, dict):
        return tuple((k, _content(v)) for k, v in tree.items())
    return type(tree), repr(tree)


# ---------------------------------------------------------------- plain NumPy functions on autograd's arrays


def _dispatch(self: Any, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """A function of NumPy: autograd's of the same name, if it sees all the boxes, else one that does."""
    boxes: list[Any] = []
    holed, named = _holed(tuple(args), boxes), _holed(dict(kwargs), boxes)
    entry = SUPPORTED.get(function) if _ours(boxes) else None
    if entry is not None and entry.derivative != "yes":
        if function is np.argsort:
            named["kind"] = "stable"  # as it is traced: equal entries keep their order
        values = [getval(b) for b in boxes]
        return function(*_filled(holed, values), **_filled(named, values))
    if entry is not None and (function not in trace_primitives_map or sum(map(isbox, args)) < len(boxes)):
        return _applied(function, holed, named, *boxes)
    namespace = {"numpy": anp, "numpy.linalg": anp.linalg}.get(function.__module__)
    twin = getattr(namespace, function.__name__, None)
    return NotImplemented if twin is None else twin(*args, **kwargs)


_autograds_ufunc = ArrayBox.__array_ufunc__


def _ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """A ufunc that autograd does not know."""
    made = _autograds_ufunc(self, ufunc, method, *inputs, **kwargs)
    boxes: list[Any] = []
    holed = _holed(tuple(inputs), boxes)
    if made is not NotImplemented or method != "__call__" or kwargs or ufunc not in SUPPORTED or not _ours(boxes):
        return made
    if SUPPORTED[ufunc].derivative != "yes":
        return ufunc(*map(getval, inputs))
    return _applied(ufunc, holed, {}, *boxes)


_autograds_astype = ArrayBox.astype


def _astype(self: Any, dtype: Any, *args: Any, **kwargs: Any) -> Any:
    """A conversion; to anything but a real number it has no derivative, and autograd has no box for a single one."""
    if np.dtype(dtype).kind in "fc" or not _ours([self]):
        return _autograds_astype(self, dtype, *args, **kwargs)
    return getval(self).astype(dtype, *args, **kwargs)


def _ours(boxes: Sequence[Any]) -> bool:
    """Whether the innermost differentiation going on is one of this module's, and not the user's own."""
    return isinstance(max(boxes, key=lambda b: b._trace)._node, (_Backward, _Forward, _Guarded))


# autograd's arrays take part in the ufuncs that autograd knows, and in none of NumPy's functions, unless told how
if not hasattr(ArrayBox, "__array_function__"):
    ArrayBox.__array_function__ = _dispatch
    ArrayBox.__array_ufunc__ = _ufunc
    ArrayBox.astype = _astype
    ArrayBox.__floordiv__ = lambda self, other: np.floor_divide(self, other)
    ArrayBox.__rfloordiv__ = lambda self, other: np.floor_divide(other, self)
    ArrayBox.__divmod__ = lambda self, other: (self // other, self % other)
