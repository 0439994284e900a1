"""The NumPy engine: a program written out as one Python function of plain NumPy calls.

No interpreter loop stands between the calls, so a step costs what its NumPy calls cost. Large intermediate arrays are
let go after their last use.
"""

from __future__ import annotations

import linecache
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.engines.base import Engine
from fwdgrad.engines.numpy_source import SCOPE, emit, evaluation, has_source
from fwdgrad.engines.passes import fewer_passes
from fwdgrad.program.guarded import guarded
from fwdgrad.program.instructions import Constant, Instruction, Variable
from fwdgrad.program.operations import Pointwise
from fwdgrad.program.program import Program, identifier

__all__ = ["NumPyEngine", "compile_program", "source"]

LARGE = 512
"""Arrays of more entries than this are overwritten or let go as soon as they are no longer needed."""

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
    "bitwise_and": "&",
    "bitwise_or": "|",
}
NEW = frozenset({"where", "scatter_add", "matmul", "sum", "max", "min", "any", "all", "cumsum", "concatenate"})
"""Operations whose result is an array of its own, as is that of every ufunc: it shares no memory with an operand."""


def compile_program(program: Program) -> Callable[..., tuple[Any, ...]]:
    """A Python function that computes `program`: flat arrays in, flat tuple of arrays out.

    Its source is kept in `linecache`, so that tracebacks and profilers show it. What NumPy refuses because of its
    values (an index out of range, a matrix without an inverse) it raises as a `StepError`.
    """
    text, scope = source(program)
    filename = f"<fwdgrad {program.name} {id(program):x}>"
    exec(compile(text, filename, "exec"), scope)
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    return guarded(scope[identifier(program.name)], program)


def source(program: Program) -> tuple[str, dict[str, Any]]:
    """The function's source, and the constants and helpers it refers to."""
    scope = dict(SCOPE)
    lines = _function(fewer_passes(program), identifier(program.name), scope, {}, indent="")
    return "\n".join(lines) + "\n", scope


def _function(program: Program, name: str, scope: dict[str, Any], constants: dict[int, str], indent: str) -> list[str]:
    """The lines of a function; arrays that it refers to go into `scope`, and their names, by identity, `constants`."""
    names = program.names()
    prefix = f"{name}_" if indent else ""

    def show(operand: Variable | Constant) -> str:
        if isinstance(operand, Variable):
            return names[operand]
        if operand.weak:
            value = repr(operand.value)
            return value if np.isfinite(operand.value) else f"float('{value}')"
        key = constants.setdefault(id(operand.value), f"{prefix}constant_{len(scope)}")
        scope.setdefault(key, operand.value)
        return key

    last: dict[Variable, int] = {}
    for number, ins in enumerate(program.instructions):
        for operand in (*ins.inputs, *ins.outputs):
            if isinstance(operand, Variable):
                last[operand] = number
    kept = {*program.outputs, *program.inputs}
    taken = _taken(program, last, _reusable(program, kept))
    handed_on = set(taken.values())
    over: dict[int, list[Variable]] = {number: [v] for number, v in taken.items()}
    for variable, number in last.items():
        if _large(variable) and variable not in kept and variable not in handed_on:
            over.setdefault(number, []).insert(0, variable)
    lines = [f"{indent}def {name}({', '.join(names[v] for v in program.inputs)}):"]
    inner = indent + "    "
    for number, ins in enumerate(program.instructions):
        arguments = [show(i) for i in ins.inputs]
        body = f"body_{number}"
        if "body" in ins.params:
            lines += _function(ins.params["body"], body, scope, constants, inner)
        if not has_source(ins.operation):
            scope[evaluation(ins.operation)] = ins.operation.evaluate
        if ins.operation.several:
            lines += _loop(names, ins, arguments, body, inner)
        elif "body" in ins.params:
            lines.append(inner + _assignment(names, ins, [body, *arguments], None))
        else:
            lines.append(inner + _assignment(names, ins, arguments, taken.get(number)))
        if number in over:
            lines.append(f"{inner}del {', '.join(names[v] for v in over[number])}")
    lines.append(f"{inner}return ({''.join(show(o) + ', ' for o in program.outputs)})")
    return lines


def _large(variable: Variable) -> bool:
    return math.prod(variable.shape) > LARGE


def _reusable(program: Program, kept: set[Any]) -> set[Any]:
    """Large arrays that nothing else can be looking at: their memory may take a later result."""
    made = {o for ins in program.instructions if _makes_new(ins) for o in ins.outputs if _large(o)}
    looked_at = {i for ins in program.instructions if not _makes_new(ins) for i in ins.inputs}
    return made - looked_at - kept


def _makes_new(ins: Instruction) -> bool:
    """Whether the result is certain to share no memory with an operand."""
    several = ins.operation.name == "einsum" and len(ins.inputs) > 1  # of one array it is a view
    return _is_ufunc(ins) or ins.operation.name in NEW or several


def _is_ufunc(ins: Instruction) -> bool:
    return isinstance(ins.operation, Pointwise) and isinstance(ins.operation.function, np.ufunc)


def _taken(program: Program, last: dict[Variable, int], reusable: set[Any]) -> dict[int, Variable]:
    """For each instruction that is to write into the memory of an array needed no more, that array.

    One that it reads itself for the last time comes first; else the one that was let go last.
    """
    taken: dict[int, Variable] = {}
    free: dict[Any, list[Variable]] = {}
    over: dict[int, list[Variable]] = {}
    for variable, number in last.items():
        if variable in reusable:
            over.setdefault(number, []).append(variable)
    for number, ins in enumerate(program.instructions):
        out = ins.outputs[0]
        for variable in over.get(number, ()):
            free.setdefault((variable.shape, variable.dtype), []).append(variable)
        if _is_ufunc(ins) and _large(out):
            fitting = [v for v in free.get((out.shape, out.dtype), ()) if v is not out]
            if fitting:
                taken[number] = fitting[-1]
                free[out.shape, out.dtype].remove(fitting[-1])
    return taken


def _assignment(names: dict[Variable, str], ins: Instruction, arguments: list[str], reused: Any) -> str:
    """One line that computes an instruction's result, in the memory of the operand `reused` if there is one."""
    out, operation = names[ins.outputs[0]], ins.operation
    if reused is not None:
        call = emit(operation, arguments, ins.inputs, ins.params)
        return f"{out} = {call[:-1]}, out={names[reused]})"
    if operation.name in INFIX:
        return f"{out} = {arguments[0]} {INFIX[operation.name]} {arguments[1]}"
    if operation.name == "negative":
        return f"{out} = -{arguments[0]}"
    if operation.name == "where" and all(i.shape == () for i in ins.inputs) and _keeps_dtype(ins):
        return f"{out} = {arguments[1]} if {arguments[0]} else {arguments[2]}"
    if operation.name == "reshape":
        return f"{out} = {arguments[0]}.reshape({ins.params['shape']})"
    return f"{out} = {emit(operation, arguments, ins.inputs, ins.params)}"


def _keeps_dtype(ins: Instruction) -> bool:
    """Whether either alternative of a choice is what the choice is: a Python number gives way to what it meets."""
    return all(i.dtype == ins.outputs[0].dtype and not (isinstance(i, Constant) and i.weak) for i in ins.inputs[1:])


def _loop(names: dict[Variable, str], ins: Any, arguments: list[str], body: str, indent: str) -> list[str]:
    """A scan: preallocated results, a Python loop over the rows."""
    p = ins.params
    carried, rows = p["carried"], p["rows"]
    carry, table, captured = arguments[:carried], arguments[carried : carried + rows], arguments[carried + rows :]
    outs = [names[o] for o in ins.outputs]
    state, stacked = outs[:carried], outs[carried:]
    lines = [f"{indent}{s} = {c}" for s, c in zip(state, carry, strict=True)]
    for variable, name in zip(ins.outputs[carried:], stacked, strict=True):
        lines.append(f"{indent}{name} = np.empty({variable.shape}, '{variable.dtype.str}')")
    length = f"len({table[0]})"
    order = f"range({length} - 1, -1, -1)" if p["reverse"] else f"range({length})"
    lines.append(f"{indent}for k in {order}:")
    targets = [*state, *(f"{s}[k]" for s in stacked)]
    call = f"{body}({', '.join([*state, *(f'{t}[k]' for t in table), *captured])})"
    lines.append(f"{indent}    {''.join(t + ', ' for t in targets)}= {call}")
    return lines


class NumPyEngine(Engine):
    """A program as a function of plain NumPy calls: the reference, ready at once."""

    name = "numpy"

    def compile(self, program: Program) -> Callable[..., tuple[Any, ...]]:
        """A Python function; see `compile_program`."""
        return compile_program(program)

    def source(self, program: Program, carried: int | None = None) -> str:
        """Its text."""
        return source(program)[0]

    def check(self, program: Program, carried: int | None = None) -> None:
        """It can run whatever can be traced."""
