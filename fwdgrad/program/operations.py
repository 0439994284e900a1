"""The core operations: the small closed set to which every supported NumPy call is lowered.

A core operation says how to execute it (`evaluate`), what shape and dtype comes out (`infer`), and how to write it as
NumPy source (`emit`). Its derivative rules are in `fwdgrad.program.derivatives`. Calling an operation with arrays
executes it; calling it with tracers records it.

Pointwise operations broadcast their operands; everything else has a class of its own below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.special

from fwdgrad.errors import ShapeError
from fwdgrad.program.program import Abstract, Constant, Variable

__all__ = ["POINTWISE", "Operation", "Pointwise"]

Operand = Variable | Constant


@dataclass(frozen=True, eq=False)
class Operation:
    """One core operation. Subclasses implement `evaluate`, `infer` and `emit`."""

    name: str
    several = False
    """Whether it returns a tuple of arrays (loops only)."""

    def __call__(self, *operands: Any, **params: Any) -> Any:
        from fwdgrad.program.tracer import Tracer, record

        for operand in operands:
            if isinstance(operand, Tracer):
                return record(self, operands, params)
        return self.evaluate(*operands, **params)

    def evaluate(self, *operands: Any, **params: Any) -> Any:
        """Execute on arrays, with NumPy."""
        raise NotImplementedError

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        """Shape and dtype of the result: by default those of executing it on ones."""
        result = np.asarray(self.evaluate(*(_dummy(i) for i in inputs), **params))
        return (Abstract(result.shape, result.dtype),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        """NumPy source of the call, given the source of its operands. ``np`` and ``special`` are in scope."""
        raise NotImplementedError

    def indexed_axes(self, inputs: Sequence[Operand], params: dict[str, Any]) -> Iterator[tuple[Operand, int]]:
        """Operands used as an index, with the size of the axis each one indexes."""
        return iter(())

    def __repr__(self) -> str:
        return self.name


def _dummy(operand: Operand) -> Any:
    if isinstance(operand, Constant):
        return operand.value
    return np.broadcast_to(np.ones((), operand.dtype), operand.shape)


@dataclass(frozen=True, eq=False, repr=False)
class Pointwise(Operation):
    """out[i] = f(x[i], y[i], …), operands broadcast together."""

    function: Callable[..., Any]
    source: str
    differentiable: bool = True

    def evaluate(self, *operands: Any, **params: Any) -> Any:
        return self.function(*operands, **params)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        shape = np.broadcast_shapes(*(i.shape for i in inputs))
        kinds = tuple(type(i.value) if isinstance(i, Constant) and i.weak else i.dtype for i in inputs)
        return (Abstract(shape, _pointwise_dtype(self, kinds, tuple(sorted(params.items())))),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"{self.source}({', '.join(arguments)})"


@lru_cache(maxsize=4096)
def _pointwise_dtype(operation: Pointwise, kinds: tuple[Any, ...], params: tuple[Any, ...]) -> np.dtype:
    samples = [kind(1) if isinstance(kind, type) else np.ones((), kind) for kind in kinds]
    with np.errstate(all="ignore"):
        return np.asarray(operation.function(*samples, **dict(params))).dtype


class _AsType(Pointwise):
    """x converted to `dtype`."""

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.asarray({arguments[0]}).astype('{params['dtype'].str}')"


def _astype(x: Any, dtype: Any) -> Any:
    return np.asarray(x).astype(dtype)


POINTWISE: dict[str, Pointwise] = {}
"""Every pointwise operation, by name."""


def _pointwise(names: str, module: Any = np, prefix: str = "np", differentiable: bool = True) -> None:
    for name in names.split():
        POINTWISE[name] = Pointwise(name, getattr(module, name), f"{prefix}.{name}", differentiable)


_pointwise(
    "add subtract multiply divide power maximum minimum fmax fmin arctan2 hypot logaddexp logaddexp2 mod "
    "negative absolute exp exp2 expm1 log log2 log10 log1p sqrt cbrt square reciprocal sin cos tan arcsin arccos "
    "arctan sinh cosh tanh arcsinh arccosh arctanh where"
)
_pointwise(
    "sign floor ceil rint trunc floor_divide isfinite isnan isinf signbit equal not_equal less less_equal greater "
    "greater_equal logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_xor invert "
    "left_shift right_shift",
    differentiable=False,
)
_pointwise("expit logit erf erfc gamma gammaln psi j0 j1 i0 i1", scipy.special, "special")
_pointwise("polygamma jn iv", scipy.special, "special")
POINTWISE["astype"] = _AsType("astype", _astype, "astype")
astype = POINTWISE["astype"]


class Reduce(Operation):
    """Sum, largest or smallest value, any or all, over the axes in `axes` (a tuple of non-negative integers)."""

    def evaluate(self, x: Any, *, axes: tuple[int, ...]) -> Any:  # type: ignore[override]
        return getattr(np, self.name)(x, axis=axes)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        every = len(params["axes"]) == len(inputs[0].shape)
        method = {"sum": "np.add.reduce", "max": "np.maximum.reduce", "min": "np.minimum.reduce"}.get(
            self.name, f"np.{self.name}"
        )
        axes = params["axes"]
        if every and len(axes) > 1:
            return f"{method}({arguments[0]}, axis=None)"
        return f"{method}({arguments[0]}, axis={axes[0] if len(axes) == 1 else axes})"


reduce_sum, reduce_max, reduce_min = Reduce("sum"), Reduce("max"), Reduce("min")
reduce_any, reduce_all = Reduce("any"), Reduce("all")


class ArgSort(Operation):
    """Indices that sort along the last axis (stable)."""

    def evaluate(self, x: Any) -> Any:  # type: ignore[override]
        return np.argsort(x, axis=-1, kind="stable")

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.argsort({arguments[0]}, axis=-1, kind='stable')"


argsort = ArgSort("argsort")


class ArgExtreme(Operation):
    """Index of the largest or smallest value along the last axis."""

    def evaluate(self, x: Any) -> Any:  # type: ignore[override]
        return getattr(np, self.name)(x, axis=-1)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.{self.name}({arguments[0]}, axis=-1)"


argmax, argmin = ArgExtreme("argmax"), ArgExtreme("argmin")


class SearchSorted(Operation):
    """Number of entries of the sorted table that are ≤ x (side='right')."""

    def evaluate(self, table: Any, x: Any) -> Any:  # type: ignore[override]
        return np.searchsorted(table, x, side="right")

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(inputs[1].shape, np.dtype(np.intp)),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.searchsorted({arguments[0]}, {arguments[1]}, side='right')"


searchsorted = SearchSorted("searchsorted")


class CumSum(Operation):
    """Running sums along `axis`."""

    def evaluate(self, x: Any, *, axis: int) -> Any:  # type: ignore[override]
        return np.cumsum(x, axis=axis)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.cumsum({arguments[0]}, axis={params['axis']})"


cumsum = CumSum("cumsum")


class MatMul(Operation):
    """Matrix product, with NumPy's rules for vectors and stacks of matrices."""

    def evaluate(self, a: Any, b: Any) -> Any:  # type: ignore[override]
        return np.matmul(a, b)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        a, b = inputs
        if not a.shape or not b.shape or a.shape[-1] != b.shape[max(-2, -len(b.shape))]:
            raise ShapeError(f"matrix product of shapes {a.shape} and {b.shape}")
        left = a.shape[-2:-1] if len(a.shape) > 1 else ()
        right = b.shape[-1:] if len(b.shape) > 1 else ()
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return (Abstract(batch + left + right, np.result_type(a.dtype, b.dtype)),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        small = all(len(i.shape) <= 2 for i in inputs)
        return f"{'np.dot' if small else 'np.matmul'}({', '.join(arguments)})"


matmul = MatMul("matmul")


class Einsum(Operation):
    """Einstein summation; `subscripts` in explicit form, with no ellipsis and no repeated letter in one operand."""

    def evaluate(self, *operands: Any, subscripts: str) -> Any:  # type: ignore[override]
        return np.einsum(subscripts, *operands, optimize=len(operands) > 2)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        optimize = ", optimize=True" if len(arguments) > 2 else ""
        return f"np.einsum({params['subscripts']!r}, {', '.join(arguments)}{optimize})"


einsum = Einsum("einsum")


class Reshape(Operation):
    """The same numbers in C order in another shape."""

    def evaluate(self, x: Any, *, shape: tuple[int, ...]) -> Any:  # type: ignore[override]
        return np.reshape(x, shape)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(params["shape"], inputs[0].dtype),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.reshape({arguments[0]}, {params['shape']})"


reshape = Reshape("reshape")


class Transpose(Operation):
    """Axes in another order."""

    def evaluate(self, x: Any, *, axes: tuple[int, ...]) -> Any:  # type: ignore[override]
        return np.transpose(x, axes)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.transpose({arguments[0]}, {params['axes']})"


transpose = Transpose("transpose")


class BroadcastTo(Operation):
    """Repeated along new axes in front and along axes of size 1."""

    def evaluate(self, x: Any, *, shape: tuple[int, ...]) -> Any:  # type: ignore[override]
        return np.broadcast_to(x, shape)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.broadcast_to({arguments[0]}, {params['shape']})"


broadcast_to = BroadcastTo("broadcast_to")


class Concatenate(Operation):
    """Joined along an existing axis."""

    def evaluate(self, *operands: Any, axis: int) -> Any:  # type: ignore[override]
        return np.concatenate(operands, axis)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.concatenate(({', '.join(arguments)},), {params['axis']})"


concatenate = Concatenate("concatenate")


# An index is kept as a tuple with one entry per axis: ("slice", start, stop, step), ("int", k), ("new",), or
# ("operand",) for an index given by the instruction's next operand (an integer or integer array, of any value).
Index = tuple[tuple[Any, ...], ...]


def _index(index: Index, operands: Sequence[Any]) -> tuple[Any, ...]:
    rest = iter(operands)
    made: list[Any] = []
    for entry in index:
        if entry[0] == "slice":
            made.append(slice(*entry[1:]))
        elif entry[0] == "int":
            made.append(entry[1])
        elif entry[0] == "new":
            made.append(None)
        else:
            made.append(next(rest))
    return tuple(made)


def _index_source(index: Index, arguments: Sequence[str]) -> str:
    rest = iter(arguments)
    made: list[str] = []
    for entry in index:
        if entry[0] == "slice":
            start, stop, step = ("" if e is None else str(e) for e in entry[1:])
            made.append(f"{start}:{stop}" + (f":{step}" if step else ""))
        elif entry[0] == "int":
            made.append(str(entry[1]))
        elif entry[0] == "new":
            made.append("None")
        else:
            made.append(next(rest))
    return ", ".join(made) if len(made) != 1 else made[0]


def _index_axes(shape: tuple[int, ...], index: Index, operands: Sequence[Operand]) -> Iterator[tuple[Operand, int]]:
    rest = iter(operands)
    axis = 0
    for entry in index:
        if entry[0] == "operand":
            yield next(rest), shape[axis]
        axis += entry[0] != "new"


def _index_dummies(inputs: Sequence[Operand]) -> list[Any]:
    return [i.value if isinstance(i, Constant) else np.zeros(i.shape, np.intp) for i in inputs]


class GetItem(Operation):
    """x[index]; operands after the first are the array-valued parts of the index."""

    def evaluate(self, x: Any, *indices: Any, index: Index) -> Any:  # type: ignore[override]
        return np.asarray(x)[_index(index, indices)]

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        result = _dummy(inputs[0])[_index(params["index"], _index_dummies(inputs[1:]))]
        return (Abstract(np.shape(result), inputs[0].dtype),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"{arguments[0]}[{_index_source(params['index'], arguments[1:])}]"

    def indexed_axes(self, inputs: Sequence[Operand], params: dict[str, Any]) -> Iterator[tuple[Operand, int]]:
        return _index_axes(inputs[0].shape, params["index"], inputs[1:])


getitem = GetItem("getitem")


class ScatterAdd(Operation):
    """Zeros of `shape` with values added at `index`: the adjoint of `getitem`. Equal indices accumulate."""

    def evaluate(self, x: Any, *indices: Any, index: Index, shape: tuple[int, ...]) -> Any:  # type: ignore[override]
        out = np.zeros(shape, np.asarray(x).dtype)
        if all(np.ndim(i) == 0 for i in indices):
            out[_index(index, indices)] = x
        else:
            np.add.at(out, _index(index, indices), x)
        return out

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(params["shape"], inputs[0].dtype),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        where = _index_source(params["index"], arguments[1:])
        helper = "scatter" if all(i.shape == () for i in inputs[1:]) else "scatter_add"
        key = f"np.s_[{where}]" if params["index"] else "()"
        return f"{helper}({arguments[0]}, {key}, {params['shape']})"

    def indexed_axes(self, inputs: Sequence[Operand], params: dict[str, Any]) -> Iterator[tuple[Operand, int]]:
        return _index_axes(params["shape"], params["index"], inputs[1:])


scatter_add = ScatterAdd("scatter_add")


class StopGradient(Operation):
    """The identity, whose derivative is taken to be zero."""

    def evaluate(self, x: Any) -> Any:  # type: ignore[override]
        return x

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return arguments[0]


stop_gradient = StopGradient("stop_gradient")


class LinearAlgebra(Operation):
    """inv(a), det(a) or solve(a, b) of one or a stack of square matrices."""

    def evaluate(self, *operands: Any) -> Any:  # type: ignore[override]
        return getattr(np.linalg, self.name)(*operands)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        a = inputs[0]
        if len(a.shape) < 2 or a.shape[-1] != a.shape[-2]:
            raise ShapeError(f"expected a square matrix, got shape {a.shape}")
        eye = np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)
        result = np.asarray(self.evaluate(eye, *(_dummy(i) for i in inputs[1:])))
        return (Abstract(result.shape, result.dtype),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.linalg.{self.name}({', '.join(arguments)})"


inv, det, solve = LinearAlgebra("inv"), LinearAlgebra("det"), LinearAlgebra("solve")


def stack_objects(value: Any) -> Any:
    """An object array or nested list of tracers as one array."""
    from fwdgrad.program.tracer import as_operand

    parts = [as_operand(v) for v in value]
    if not parts:
        return np.zeros(0)
    shape = np.shape(parts[0])
    if any(np.shape(p) != shape for p in parts):
        raise ShapeError(
            f"An array is built from parts of different shapes {[np.shape(p) for p in parts]}.\n"
            "Give every part the same shape, or join them with np.concatenate."
        )
    dtype = np.result_type(*parts)
    parts = [p if getattr(p, "dtype", None) == dtype else astype(p, dtype=dtype) for p in parts]
    return concatenate(*(reshape(p, shape=(1, *shape)) for p in parts), axis=0)
