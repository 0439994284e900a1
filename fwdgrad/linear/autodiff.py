"""autograd's products, with the rules of traced programs where autograd has others, wrong ones, or none.

autograd keeps its rules in tables that belong to the whole process, and to the user: they stay as they are. What is
differentiated here goes through nodes of its own instead, which look up the rule of a call. That is autograd's for
smooth functions; for every other function of the table of operations the call is traced by itself, and differentiated
as it is inside of a traced program. So ties, zeros and bounds are treated alike on every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.core import JVPNode, VJPNode, backward_pass, defvjp_argnums, vspace
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import getval, isbox, notrace_primitives, primitive, trace, trace_primitives_map

from fwdgrad.errors import FwdgradError
from fwdgrad.program import Abstract, Linearized, Program
from fwdgrad.program import trace as traced
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
    return lambda g: backward_pass(g, end), value


def make_jvp(function: Callable[[Any], Any], point: Any) -> Callable[[Any], tuple[Any, Any]]:
    """The forward product of `function` at `point`, with its value; as `autograd.make_jvp`."""

    def product(tangent: Any) -> tuple[Any, Any]:
        value, end = trace(_Forward.new_root(tangent), function, point)
        return value, vspace(value).zeros() if end is None else end.g

    return product


class _Backward(VJPNode):
    """A node of the backward product."""

    def __init__(self, value: Any, fun: Any, args: Any, kwargs: Any, argnums: Any, parents: Any) -> None:
        call = _call_of(fun, args, kwargs, argnums)
        if call is None:
            super().__init__(value, fun, args, kwargs, argnums, parents)
            return
        self.parents = parents
        self.vjp = call.backward


class _Forward(JVPNode):
    """A node of the forward product."""

    def __init__(self, value: Any, fun: Any, args: Any, kwargs: Any, argnums: Any, parents: Any) -> None:
        call = _call_of(fun, args, kwargs, argnums)
        if call is None:
            super().__init__(value, fun, args, kwargs, argnums, parents)
        else:
            self.g = call.forward([parent.g for parent in parents])


for _node, _base in ((_Backward, VJPNode), (_Forward, JVPNode)):
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
        return self.pull(g, self.moving)

    def pull(self, g: Any, wrt: Sequence[int]) -> tuple[Any, ...]:
        """Gradients with respect to some inputs."""
        gs = g if self.kind in (list, tuple) else [g]
        outputs = self.point.program.outputs
        real = [np.issubdtype(o.dtype, np.floating) for o in outputs]
        given = [np.asarray(c, o.dtype) if r else None for c, o, r in zip(gs, outputs, real, strict=True)]
        return self.point.vjp(given, list(wrt))

    def forward(self, tangents: Sequence[Any]) -> Any:
        """The tangent of the result, from those of what moves."""
        made = self.point.jvp({k: np.asarray(t) for k, t in zip(self.moving, tangents, strict=True)})
        return self.kind(made) if self.kind in (list, tuple) else made[0]

    def only(self, k: int) -> _Linear:
        """As if nothing but one of its arguments moved."""
        return self._replace(moving=(self.moving[k],))


@primitive
def _pulled(call: _Linear, k: int, g: Any) -> Any:
    return call.only(k).backward(g)[0]


# a backward product is linear in g, and its transpose is the forward product: it can be differentiated again
defvjp_argnums(_pulled, lambda argnums, ans, args, kwargs: lambda g: (args[0].only(args[1]).forward([g]),))


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
    return isinstance(max(boxes, key=lambda b: b._trace)._node, (_Backward, _Forward))


# autograd's arrays take part in the ufuncs that autograd knows, and in none of NumPy's functions, unless told how
if not hasattr(ArrayBox, "__array_function__"):
    ArrayBox.__array_function__ = _dispatch
    ArrayBox.__array_ufunc__ = _ufunc
    ArrayBox.astype = _astype
