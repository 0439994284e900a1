"""A program as the text of a Python module: one function that loops over steps."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fwdgrad._version import __version__
from fwdgrad.engines.accumulating import accumulated
from fwdgrad.engines.compiled_engine.blocks import Block, Shared
from fwdgrad.engines.compiled_engine.building import build
from fwdgrad.engines.compiled_engine.indices import Affine, Axis
from fwdgrad.engines.compiled_engine.names import REFUSED
from fwdgrad.engines.compiled_engine.nodes import Node, Stored
from fwdgrad.engines.compiled_engine.sharing import shared_between_loops
from fwdgrad.program import Program

__all__ = ["Written", "write"]

FOREVER = 2**62
DEEPEST = 60_000
"""Calls within calls that writing a long program may take."""


@dataclass(frozen=True)
class Argument:
    """One array of the compiled function: its name, and the shape and dtype of a single step's part."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Written:
    """A module's text, and the arrays that its function takes, in order.

    Attributes:
        text: the source.
        carry, rows, outs: the arrays of the caller; rows and outs have an axis of steps in front.
        constants: arrays that the program knows.
        work: arrays to work in, of any content.
        nests: the number of nests of loops.
    """

    text: str
    carry: tuple[Argument, ...]
    rows: tuple[Argument, ...]
    outs: tuple[Argument, ...]
    constants: tuple[np.ndarray, ...]
    work: tuple[Argument, ...]
    nests: int


def write(program: Program, carried: int | None) -> Written:
    """The module of a program.

    Args:
        program: inputs are the carry and one row of every stream; outputs the carry, results, and a health.
        carried: length of the carry; None for a program that is run once, all of whose outputs are results.
    """
    with _deep():
        return _written(accumulated(shared_between_loops(program)), carried)


@contextlib.contextmanager
def _deep() -> Iterator[None]:
    """An operation is written within a call for each one that needs it."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _written(program: Program, carried: int | None) -> Written:
    shared = Shared()
    names = shared.names
    labels = program.names()
    count = carried or 0
    step = Axis(FOREVER, "t")
    inputs: list[Stored] = []
    arguments: list[Argument] = []
    for k, v in enumerate(program.inputs):
        streamed = k >= count
        stem = labels[v] + ("_rows" if streamed else "" if v.shape else "_at")
        name = names.of(v, stem)
        base = Affine.of(step) * prod(v.shape) if streamed else Affine()
        inputs.append(Stored(shape=v.shape, dtype=v.dtype, buffer=name, base=base, name=labels[v]))
        arguments.append(Argument(name, v.shape, v.dtype))
    nodes, tests = build(program, inputs, shared.constants)
    results = nodes[count:] if carried is None else nodes[count:-1]
    outputs: list[tuple[Node, Stored | None]] = list(zip(nodes[:count], inputs[:count], strict=True))
    outs = []
    for number, node in enumerate(results):
        name = names.of(("out", number), f"{_called(node)}_out")
        base = Affine.of(step) * node.size
        outputs.append((node, Stored(shape=node.shape, dtype=node.dtype, buffer=name, base=base, name=name)))
        outs.append(Argument(name, node.shape, node.dtype))
    if carried is not None:
        outputs.append((nodes[-1], None))
    block = Block(shared, outputs, tests)
    refusals = []
    if any(f"{REFUSED} |=" in line for line in block.lines):
        block.lines.insert(0, f"{REFUSED} = False")
        refusals.append(REFUSED)
    if carried is not None:
        health = block.number(nodes[-1])
        refusals.append(f"not abs({health.text or health.value}) < np.inf")
    if refusals:
        block.lines += [f"if {' or '.join(refusals)}:", "    return t"]
    constants = tuple(shared.constants.arrays.items())
    work = tuple(Argument(name, (size,), dtype) for name, (dtype, size) in shared.work.items())
    known = [Argument(name, array.shape, array.dtype) for name, array in constants]
    parameters = [
        *(_parameter(a, str(a.size)) for a in arguments[:count]),
        *(_parameter(a, "steps" if a.size == 1 else f"steps * {a.size}") for a in (*arguments[count:], *outs)),
        *(_parameter(a, str(a.size)) for a in (*known, *work)),
    ]
    return Written(
        _module(program, names.of(program, program.name), block.lines, parameters),
        tuple(arguments[:count]),
        tuple(arguments[count:]),
        tuple(outs),
        tuple(array for _, array in constants),
        work,
        block.nests,
    )


def _parameter(array: Argument, length: str) -> str:
    return f'{array.name}: "{array.dtype.name}[{length}]"'


def _called(node: Any) -> str:
    return node.name if node.name.isidentifier() else "value"


def _module(program: Program, name: str, lines: list[str], parameters: list[str]) -> str:
    text = [
        f'"""The program {program.name!r} as loops, written by fwdgrad {__version__}."""',
        "",
        "import math",
        "",
        "import numpy as np",
        "from scipy import special",
        "",
        "from fwdgrad.engines.compiled_engine import functions, runtime",
        "",
        "",
        f"def {name}(",
        *_wrapped([*parameters, 'start: "int64"', 'stop: "int64"']),
        "):",
        "    for t in range(start, stop):",
        *(f"        {line}" for line in lines or ["pass"]),
        "    return stop",
    ]
    return "\n".join([*text, ""])


def _wrapped(parts: list[str]) -> list[str]:
    """A list of parameters over several lines."""
    lines = ["   "]
    for part in parts:
        if len(lines[-1]) + len(part) > 116:
            lines.append("   ")
        lines[-1] += f" {part},"
    return lines
