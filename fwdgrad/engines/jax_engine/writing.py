"""A program as the text of a Python module for JAX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad._version import __version__
from fwdgrad.engines.accumulating import accumulated
from fwdgrad.engines.jax_engine.operations import Unsupported, call, tests
from fwdgrad.program.instructions import Instruction, Operand, Variable
from fwdgrad.program.loops import SCAN
from fwdgrad.program.open_loops import UNTIL
from fwdgrad.program.program import Program, identifier
from fwdgrad.program.roots import ROOT

__all__ = ["Lanes", "Written", "lanes", "only_adds", "write"]

_STEPS = '''

def steps(carry, rows, count, room):
    """The first `count` of `room` steps, up to one that is not sound: how many, if it was, the carry, all results."""

    def goes_on(at):
        k, sound, _, _ = at
        return (k < count) & sound

    def step(at):
        k, _, carry, outs = at
        row = [lax.dynamic_index_in_dim(r, k, keepdims=False) for r in rows]
        *made, health, sound = {name}(*carry, *row)
        outs = [lax.dynamic_update_index_in_dim(o, m, k, 0) for o, m in zip(outs, made[{carried}:])]
        return k + 1, jnp.isfinite(health) & sound, tuple(made[:{carried}]), outs

    outs = [{outs}]
    return lax.while_loop(goes_on, step, (0, jnp.asarray(True), carry, outs))
'''


@dataclass(frozen=True)
class Written:
    """A module's text, the name of its function, and the arrays that it refers to by name."""

    text: str
    name: str
    constants: dict[str, np.ndarray]


def write(program: Program, carried: int | None) -> Written:
    """The module of a program.

    Args:
        program: any program.
        carried: length of its carry as a stream of steps; None if it is run by itself.

    Raises:
        Unsupported: JAX cannot do one of its operations.
    """
    name, constants = identifier(program.name), _Constants()
    lines = _function(accumulated(program), name, constants, "", "")
    text = "\n".join([*_head(program), *lines, ""])
    if carried is not None:
        made = (f"jnp.zeros((room, *{o.shape}), '{o.dtype.name}')" for o in program.outputs[carried:-1])
        text += _STEPS.format(name=name, carried=carried, outs=", ".join(made))
    return Written(text, name, constants.arrays)


class Lanes(NamedTuple):
    """Which axis of an array is that of the turns of a loop that run at once, and how many there are."""

    axis: int
    turns: int


def lanes(program: Program) -> dict[int, Lanes]:
    """Inputs that are, or are reshaped to, the rows of a loop whose turns run at once."""
    found: dict[int, Lanes] = {}
    _find_lanes(program, {v: (k, 0) for k, v in enumerate(program.inputs)}, found)
    return found


def _find_lanes(program: Program, places: dict[Any, tuple[int, int]], found: dict[int, Lanes]) -> None:
    """The same for the body of a loop; `places` has, for a variable, the input it is part of, and its first axis."""
    for ins in program:
        if ins.operation.name == "reshape" and ins.inputs[0] in places:
            places[ins.outputs[0]] = places[ins.inputs[0]]
        if ins.operation is not SCAN:
            continue
        carried, rows = ins.params["carried"], ins.params["rows"]
        if only_adds(ins):
            for row in ins.inputs[carried : carried + rows]:
                if row in places:
                    number, axis = places[row]
                    found.setdefault(number, Lanes(axis, row.shape[0]))
            continue
        inner: dict[Any, tuple[int, int]] = {}
        for k, (outer, own) in enumerate(zip(ins.inputs, ins.params["body"].inputs, strict=True)):
            if outer in places:
                number, axis = places[outer]
                inner[own] = (number, axis + (carried <= k < carried + rows))
        _find_lanes(ins.params["body"], inner, found)


def only_adds(ins: Instruction) -> bool:
    """Whether a loop's turns do nothing with what they carry but add to it, so that they need not wait for each other.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.program import Abstract, scan, trace
        >>> def loop(body):
        ...     program = trace(lambda r: scan(body, [0.0], [r])[0], [Abstract((5,), np.dtype(float))])
        ...     return only_adds(program.instructions[-1])
        >>> loop(lambda c, r: ([c[0] + np.sin(r[0])], [])), loop(lambda c, r: ([np.sin(c[0] + r[0])], []))
        (True, False)
    """
    body, carried = ins.params["body"], ins.params["carried"]
    if not ins.inputs[carried].shape[0]:
        return False
    uses = Counter(i for i in (*(i for inner in body for i in inner.inputs), *body.outputs) if isinstance(i, Variable))
    made = {o: inner for inner in body for o in inner.outputs if not inner.operation.several}
    return all(
        uses[c] == 1 and (o is c or (o in made and _adds(made[o], c) and uses[o] == 1))
        for c, o in zip(body.inputs[:carried], body.outputs[:carried], strict=True)
    )


def _adds(ins: Instruction, carry: Variable) -> bool:
    return ins.operation.name == "add" and carry in ins.inputs and carry.dtype.kind != "b"


class _Constants:
    """Arrays that the text refers to, by name."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._names: dict[int, str] = {}

    def name(self, array: Any) -> str:
        key = self._names.setdefault(id(array), f"constant_{len(self.arrays)}")
        self.arrays.setdefault(key, array)
        return key


def _head(program: Program) -> list[str]:
    return [
        f'"""The program {program.name!r} for JAX, written by fwdgrad {__version__}."""',
        "",
        "import jax.numpy as jnp",
        "from jax import lax",
        "from jax.scipy import special",
        "",
        "from fwdgrad.engines.jax_engine import runtime",
        "",
        "",
    ]


def _function(program: Program, name: str, constants: _Constants, prefix: str, indent: str) -> list[str]:
    """The lines of a function that returns the results and, last, whether all was sound."""
    names = program.names()

    def show(operand: Operand, strict: bool = False) -> str:
        if isinstance(operand, Variable):
            return names[operand]
        if not operand.weak:
            return constants.name(operand.value)
        value = repr(operand.value)
        value = value if np.isfinite(operand.value) else f"float('{value}')"
        return f"jnp.asarray({value}, '{operand.dtype.name}')" if strict else value

    lines = [f"{indent}def {name}({', '.join(names[v] for v in program.inputs)}):"]
    inner = indent + "    "
    lines.append(f"{inner}sound = True")
    for number, ins in enumerate(program):
        body = f"{prefix}body_{number}"
        if "body" in ins.params:
            lines += _function(ins.params["body"], body, constants, f"{body}_", inner)
            arguments = [show(i, strict=True) for i in ins.inputs]
            results = ", ".join(names[o] for o in ins.outputs)
            lines += [f"{inner}{results}, safe = {_loop(ins, body, arguments)}", f"{inner}sound &= safe"]
            continue
        arguments = [show(i) for i in ins.inputs]
        lines += [f"{inner}sound &= {test}" for test in tests(ins, arguments)]
        lines.append(f"{inner}{names[ins.outputs[0]]} = {call(ins, arguments)}")
    lines.append(f"{inner}return {''.join(show(o, strict=True) + ', ' for o in program.outputs)}sound")
    return lines


def _loop(ins: Instruction, body: str, arguments: Sequence[str]) -> str:
    """The call that runs the body of a loop."""
    if ins.operation is ROOT:
        if ins.params.get("band") is not None:
            raise Unsupported("band_solve")
        return f"runtime.newton({body}, {arguments[0]}, {_tuple(arguments[1:])})"
    if ins.operation is UNTIL:
        start, clock, *captured = arguments
        return f"runtime.repeated({body}, {start}, {clock}, {_tuple(captured)}, {ins.params['most']})"
    carried, rows, reverse = (ins.params[k] for k in ("carried", "rows", "reverse"))
    parts = arguments[:carried], arguments[carried : carried + rows], arguments[carried + rows :]
    given = ", ".join(map(_tuple, parts))
    if only_adds(ins):
        return f"runtime.spread({body}, {given})"
    return f"runtime.scan({body}, {given}, reverse={reverse})"


def _tuple(arguments: Sequence[str]) -> str:
    return f"({''.join(a + ', ' for a in arguments).rstrip(' ')})"
