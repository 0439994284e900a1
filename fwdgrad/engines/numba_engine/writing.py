"""A program as the text of a Python module: one function that loops over steps, and its entry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fwdgrad._version import __version__
from fwdgrad.engines.numba_engine.blocks import Block, Shared
from fwdgrad.engines.numba_engine.building import build
from fwdgrad.engines.numba_engine.indices import Affine, Axis
from fwdgrad.engines.numba_engine.names import REFUSED
from fwdgrad.engines.numba_engine.nodes import Node, Stored
from fwdgrad.program import Program

__all__ = ["Written", "write"]

FOREVER = 2**62


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
    """A module's text, and what its entry wants at the addresses it is given, in order.

    Attributes:
        text: the source.
        carry, rows, outs: the arrays of the caller; rows and outs have an axis of steps in front.
        constants: arrays that the program knows.
        work: arrays to work in, of any content.
        specials: names of functions of SciPy.
        nests: the number of nests of loops.
    """

    text: str
    carry: tuple[Argument, ...]
    rows: tuple[Argument, ...]
    outs: tuple[Argument, ...]
    constants: tuple[np.ndarray, ...]
    work: tuple[Argument, ...]
    specials: tuple[str, ...]
    nests: int


def write(program: Program, carried: int | None) -> Written:
    """The module of a program.

    Args:
        program: inputs are the carry and one row of every stream; outputs the carry, results, and a health.
        carried: length of the carry; None for a program that is run once, all of whose outputs are results.
    """
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
    specials = tuple(sorted(set(re.findall(r"\bspecial_\w+", "\n".join(block.lines)))))
    streams = [(a, -1) for a in (*arguments[count:], *outs)]
    known = [Argument(name, array.shape, array.dtype) for name, array in constants]
    arrays = [*((a, a.size) for a in arguments[:count]), *streams, *((a, a.size) for a in (*known, *work))]
    text = _module(program, names.of(program, program.name), block.lines, arrays, specials)
    return Written(
        text,
        tuple(arguments[:count]),
        tuple(arguments[count:]),
        tuple(outs),
        tuple(array for _, array in constants),
        work,
        tuple(s.removeprefix("special_") for s in specials),
        block.nests,
    )


def _called(node: Any) -> str:
    return node.name if node.name.isidentifier() else "value"


def _module(
    program: Program, name: str, lines: list[str], arrays: list[tuple[Argument, int]], specials: tuple[str, ...]
) -> str:
    parameters = [*(a.name for a, _ in arrays), *specials, "start", "stop"]
    text = [
        f'"""The program {program.name!r} as loops, written by fwdgrad {__version__}."""',
        "",
        "import math",
        "",
        "import numpy as np",
        "",
        "from fwdgrad.engines.numba_engine import functions, runtime",
        "",
        "",
        "@runtime.kernel",
        f"def {name}(",
        *_wrapped(parameters),
        "):",
        "    runtime.distinct()",
        "    for t in range(start, stop):",
        *(f"        {line}" for line in lines or ["pass"]),
        "    return stop",
        "",
        "",
        "@runtime.entry",
        "def run(table, start, stop):",
        f"    addresses = runtime.numbers(table, {len(arrays) + len(specials)}, np.int64)",
        f"    return {name}(",
    ]
    for k, (a, size) in enumerate(arrays):
        length = str(size) if size >= 0 else "stop" if a.size == 1 else f"{a.size} * stop"
        kind = "bool_" if a.dtype == bool else a.dtype.name
        text.append(f"        runtime.numbers(addresses[{k}], {length}, np.{kind}),  # {a.name}")
    text += [f"        addresses[{len(arrays) + k}],  # {s}" for k, s in enumerate(specials)]
    return "\n".join([*text, "        start,", "        stop,", "    )", ""])


def _wrapped(parts: list[str]) -> list[str]:
    """A list of parameters over several lines."""
    lines = ["   "]
    for part in parts:
        if len(lines[-1]) + len(part) > 116:
            lines.append("   ")
        lines[-1] += f" {part},"
    return lines
