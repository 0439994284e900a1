"""Core operations as calls of jax.numpy, with operands of the dtype that NumPy would compute in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fwdgrad.engines.numpy_source import index_source
from fwdgrad.errors import UnsupportedOperationError
from fwdgrad.program.instructions import Constant, Instruction, Operand
from fwdgrad.program.operations import Pointwise

__all__ = ["UNSUPPORTED", "Unsupported", "call", "tests", "typed"]

INFIX = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
}
RENAMED = {"psi": "digamma"}
"""Functions that SciPy and JAX call by different names."""

UNSUPPORTED = {
    **dict.fromkeys(("j0", "j1", "jn", "iv"), "JAX has no such Bessel function"),
    **dict.fromkeys(("band_factors", "band_solve"), "JAX has no elimination in the band of a matrix"),
}
"""Operations that this engine cannot write, and why."""


class Unsupported(UnsupportedOperationError):
    """An operation that this engine cannot write. The NumPy engine can run it."""

    def __init__(self, operation: str) -> None:
        self.operation, self.why = operation, UNSUPPORTED.get(operation, "there is no such operation in JAX")
        super().__init__(f"{operation}: {self.why}.\nThe JAX engine cannot run it; use engine='numpy'.")


def call(ins: Instruction, arguments: Sequence[str]) -> str:
    """The call for an instruction that is no loop.

    Args:
        ins: the instruction.
        arguments: source of its operands.

    Raises:
        Unsupported: JAX cannot do it.
    """
    operation, params, out = ins.operation, ins.params, ins.outputs[0]
    if operation.name in UNSUPPORTED:
        raise Unsupported(operation.name)
    if operation.name in CALLS:
        alike = [typed(a, i, out.dtype) for a, i in zip(arguments, ins.inputs, strict=True)]
        return CALLS[operation.name](alike if operation.name in _OF_ONE_DTYPE else arguments, ins, params)
    if isinstance(operation, Pointwise):
        return _pointwise(ins, arguments)
    raise Unsupported(operation.name)


def tests(ins: Instruction, arguments: Sequence[str]) -> list[str]:
    """What has to hold of the operands, beside what results say; nothing where NumPy refuses no value."""
    if not ins.operation.may_refuse(ins):
        return []
    if ins.operation.name in ("getitem", "scatter_add"):
        sizes = {id(operand): size for operand, size in ins.operation.indexed_axes(ins.inputs, ins.params)}
        pairs = zip(arguments[1:], ins.inputs[1:], strict=True)
        return [f"runtime.within({a}, {sizes[id(i)]})" for a, i in pairs if not isinstance(i, Constant)]
    if ins.operation.name == "power":
        return [f"jnp.all({arguments[1]} >= 0)"]
    return [f"runtime.invertible({arguments[0]})"]


def typed(text: str, operand: Operand, dtype: np.dtype) -> str:
    """An operand as an array of a dtype; Python numbers as they are, since they adapt."""
    if operand.dtype == dtype or (isinstance(operand, Constant) and operand.weak):
        return text
    return f"{text}.astype('{dtype.name}')"


def _pointwise(ins: Instruction, arguments: Sequence[str]) -> str:
    name, inputs, out = ins.operation.name, ins.inputs, ins.outputs[0]
    strong = [i.dtype for i in inputs if not (isinstance(i, Constant) and i.weak)]
    dtype = out.dtype
    if dtype.kind == "b" and strong:
        dtype = np.result_type(*strong)
    first = 1 if name == "where" else 0
    given = [*arguments[:first], *(typed(a, i, dtype) for a, i in zip(arguments[first:], inputs[first:], strict=True))]
    if name in INFIX:
        text = f"{given[0]} {INFIX[name]} {given[1]}"
    elif name == "negative":
        text = f"-{given[0]}"
    elif name in ("floor_divide", "mod") and dtype.kind in "iu":
        text = f"runtime.divided({', '.join(given)})[{int(name == 'mod')}]"
    else:
        module, _, _ = ins.operation.source.partition(".")  # type: ignore[attr-defined]
        text = f"{'jnp' if module == 'np' else module}.{RENAMED.get(name, name)}({', '.join(given)})"
    certain = any(not (isinstance(i, Constant) and i.weak) for i in inputs[first:])
    return text if certain else f"jnp.asarray({text}, '{out.dtype.name}')"


Call = Callable[[Sequence[str], Instruction, dict[str, Any]], str]


def _getitem(a: Sequence[str], ins: Instruction, p: dict[str, Any]) -> str:
    where = index_source(p["index"], a[1:])
    array = f"jnp.asarray({a[0]})" if isinstance(ins.inputs[0], Constant) else a[0]
    return f"{array}[{where}]" if where else array


def _scatter(a: Sequence[str], ins: Instruction, p: dict[str, Any]) -> str:
    where = index_source(p["index"], a[1:]) or "()"
    out = ins.outputs[0]
    how = "set" if all(i.shape == () for i in ins.inputs[1:]) else "add"
    return f"jnp.zeros({out.shape}, '{out.dtype.name}').at[{where}].{how}({a[0]})"


def _reduced(name: str) -> Call:
    return lambda a, ins, p: f"jnp.{name}({a[0]}, axis={p['axes']})"


def _sum(a: Sequence[str], ins: Instruction, p: dict[str, Any]) -> str:
    return f"jnp.sum({a[0]}, axis={p['axes']}, dtype='{ins.outputs[0].dtype.name}')"


def _cumsum(a: Sequence[str], ins: Instruction, p: dict[str, Any]) -> str:
    return f"jnp.cumsum({a[0]}, axis={p['axis']}, dtype='{ins.outputs[0].dtype.name}')"


def _places(text: str) -> Call:
    """An operation whose results are places, as integers of NumPy's width."""
    return lambda a, ins, p: f"{text.format(*a)}.astype('{ins.outputs[0].dtype.name}')"


CALLS: dict[str, Call] = {
    "astype": lambda a, ins, p: f"jnp.asarray({a[0]}).astype('{p['dtype'].name}')",
    "reshape": lambda a, ins, p: f"jnp.reshape({a[0]}, {p['shape']})",
    "transpose": lambda a, ins, p: f"jnp.transpose({a[0]}, {p['axes']})",
    "broadcast_to": lambda a, ins, p: f"jnp.broadcast_to({a[0]}, {p['shape']})",
    "concatenate": lambda a, ins, p: f"jnp.concatenate(({', '.join(a)},), {p['axis']})",
    "stop_gradient": lambda a, ins, p: a[0],
    "getitem": _getitem,
    "scatter_add": _scatter,
    "sum": _sum,
    "max": _reduced("max"),
    "min": _reduced("min"),
    "any": _reduced("any"),
    "all": _reduced("all"),
    "argsort": _places("jnp.argsort({0}, axis=-1, stable=True)"),
    "argmax": _places("jnp.argmax({0}, axis=-1)"),
    "argmin": _places("jnp.argmin({0}, axis=-1)"),
    "searchsorted": _places("jnp.searchsorted({0}, {1}, side='right')"),
    "cumsum": _cumsum,
    "matmul": lambda a, ins, p: f"jnp.matmul({', '.join(a)})",
    "einsum": lambda a, ins, p: f"jnp.einsum({p['subscripts']!r}, {', '.join(a)})",
    "inv": lambda a, ins, p: f"runtime.inverse({a[0]})",
    "det": lambda a, ins, p: f"jnp.linalg.det({a[0]})",
    "solve": lambda a, ins, p: f"runtime.solved({', '.join(a)})",
    "cholesky_update": lambda a, ins, p: f"runtime.rows_added({', '.join(a)})",
    "solve_triangular": lambda a, ins, p: f"runtime.triangle_solved({', '.join(a)}, {p['transposed']})",
    "singular": lambda a, ins, p: f"runtime.singular_system({a[0]})",
}
"""Operation → its call."""

_OF_ONE_DTYPE = frozenset(
    ("concatenate", "matmul", "einsum", "inv", "det", "solve", "cholesky_update", "solve_triangular", "singular")
)
"""Operations whose operands are brought to the dtype of the result first."""
