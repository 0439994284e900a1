"""Core operations as NumPy source. One that has no entry here is called as it is executed elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special

from fwdgrad.program.instructions import Operand, Operation
from fwdgrad.program.open_loops import repeated
from fwdgrad.program.operations import Index, Pointwise, banded, factors, jacobi
from fwdgrad.program.roots import newton

__all__ = ["SCOPE", "SOURCE", "emit", "evaluation", "has_source", "index_source"]


def emit(operation: Operation, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
    """The call, given the source of its operands; names of `SCOPE` are those it may use.

    Args:
        operation: any but a loop, which engines write themselves.
        arguments: source of the operands; of an operation that holds a program, the name of its function first.
        inputs: the operands.
        params: the operation's.
    """
    if operation.name in SOURCE:
        return SOURCE[operation.name](arguments, inputs, params)
    if isinstance(operation, Pointwise):
        return f"{operation.source}({', '.join(arguments)})"
    named = (f"{k}={v!r}" for k, v in params.items())
    return f"{evaluation(operation)}({', '.join([*arguments, *named])})"


def has_source(operation: Operation) -> bool:
    """Whether it has an entry, or needs none."""
    return operation.name in SOURCE or operation.several or isinstance(operation, Pointwise)


def evaluation(operation: Operation) -> str:
    """The name under which an operation without an entry is called."""
    return f"evaluate_{operation.name}"


def scatter(values: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros with `values` at `index`, an index that takes each place at most once."""
    out = np.zeros(shape, values.dtype)
    out[index] = values
    return out


def scatter_add(values: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros with `values` added at `index`."""
    out = np.zeros(shape, values.dtype)
    np.add.at(out, index, values)
    return out


SCOPE: dict[str, Any] = {
    "np": np,
    "banded": banded,
    "special": scipy.special,
    "factors": factors,
    "jacobi": jacobi,
    "newton": newton,
    "repeated": repeated,
    "scatter": scatter,
    "scatter_add": scatter_add,
}
"""What source refers to."""


def index_source(index: Index, arguments: Sequence[str]) -> str:
    """What stands in brackets for an index; `arguments` are the source of its parts that are data."""
    rest = iter(arguments)
    made: list[str] = []
    for entry in index:
        match entry[0]:
            case "slice":
                start, stop, step = ("" if e is None else str(e) for e in entry[1:])
                made.append(f"{start}:{stop}" + (f":{step}" if step else ""))
            case "int":
                made.append(str(entry[1]))
            case "new":
                made.append("None")
            case _:
                made.append(next(rest))
    return ", ".join(made)


def _scattered(arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
    where = index_source(params["index"], arguments[1:])
    helper = "scatter" if all(i.shape == () for i in inputs[1:]) else "scatter_add"
    key = f"np.s_[{where}]" if params["index"] else "()"
    return f"{helper}({arguments[0]}, {key}, {params['shape']})"


def _reduced(method: str) -> Source:
    def source(arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        axes = params["axes"]
        if len(axes) == len(inputs[0].shape) > 1:
            return f"{method}({arguments[0]}, axis=None)"
        return f"{method}({arguments[0]}, axis={axes[0] if len(axes) == 1 else axes})"

    return source


def _matmul(arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
    small = all(len(i.shape) <= 2 for i in inputs)
    return f"{'np.dot' if small else 'np.matmul'}({', '.join(arguments)})"


def _einsum(arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
    optimize = ", optimize=True" if len(arguments) > 2 else ""
    return f"np.einsum({params['subscripts']!r}, {', '.join(arguments)}{optimize})"


def _called(name: str) -> Source:
    return lambda arguments, inputs, params: f"{name}({', '.join(arguments)})"


Source = Callable[[Sequence[str], Sequence[Operand], dict[str, Any]], str]

SOURCE: dict[str, Source] = {
    "astype": lambda a, i, p: f"np.asarray({a[0]}).astype('{p['dtype'].str}')",
    "reshape": lambda a, i, p: f"np.reshape({a[0]}, {p['shape']})",
    "transpose": lambda a, i, p: f"np.transpose({a[0]}, {p['axes']})",
    "broadcast_to": lambda a, i, p: f"np.broadcast_to({a[0]}, {p['shape']})",
    "concatenate": lambda a, i, p: f"np.concatenate(({', '.join(a)},), {p['axis']})",
    "stop_gradient": lambda a, i, p: a[0],
    "getitem": lambda a, i, p: f"{a[0]}[{index_source(p['index'], a[1:])}]",
    "scatter_add": _scattered,
    "sum": _reduced("np.add.reduce"),
    "max": _reduced("np.maximum.reduce"),
    "min": _reduced("np.minimum.reduce"),
    "any": _reduced("np.any"),
    "all": _reduced("np.all"),
    "argsort": lambda a, i, p: f"np.argsort({a[0]}, axis=-1, kind='stable')",
    "argmax": lambda a, i, p: f"np.argmax({a[0]}, axis=-1)",
    "argmin": lambda a, i, p: f"np.argmin({a[0]}, axis=-1)",
    "searchsorted": lambda a, i, p: f"np.searchsorted({a[0]}, {a[1]}, side='right')",
    "cumsum": lambda a, i, p: f"np.cumsum({a[0]}, axis={p['axis']})",
    "matmul": _matmul,
    "einsum": _einsum,
    "inv": _called("np.linalg.inv"),
    "det": _called("np.linalg.det"),
    "solve": _called("np.linalg.solve"),
    "cholesky_update": _called("factors.add_rows"),
    "singular": _called("jacobi.singular_system"),
    "solve_triangular": lambda a, i, p: f"factors.solve_triangle({', '.join(a)}, {p['transposed']})",
    "band_factors": lambda a, i, p: f"banded.factorised({a[0]}, {p['lower']}, {p['upper']})",
    "band_solve": lambda a, i, p: (
        f"banded.solved_by_bands({a[1]}, {a[2]}, {p['lower']}, {p['upper']}, {p['transposed']})"
    ),
    "root": lambda a, i, p: f"newton({', '.join(a)}, band={p['band']})",
    "until": lambda a, i, p: f"repeated({', '.join(a)}, most={p['most']})",
}
"""Operation → its call."""
