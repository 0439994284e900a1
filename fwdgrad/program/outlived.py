"""Traced arrays that are still there when their trace has ended: somebody has kept them for later."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from types import CellType, FrameType, ModuleType
from typing import Any, NoReturn

from fwdgrad.errors import HiddenStateError
from fwdgrad.program.array import Tracer
from fwdgrad.program.instructions import Abstract
from fwdgrad.program.program import Program
from fwdgrad.program.tracer import Graph, record_program

__all__ = ["trace_pure"]

_MEND = "Carry it in the state h, which is handed from call to call; nothing else is."


def trace_pure(
    function: Callable[..., Any], inputs: Sequence[Abstract], *, names: Sequence[str] | None = None, name: str
) -> Program:
    """`trace`, for a function of a user's: one that keeps traced arrays for later calls is refused.

    Raises:
        TracingError: as `trace`.
        HiddenStateError: arrays of one trace are still there after the next; the message names the line that made
            them, and what holds them.
    """
    program, left = record_program(function, inputs, names, name)
    if left() is not None:
        gc.collect()  # a function that refers to itself holds what it made until then
    if left() is not None:
        # what every call writes anew does no harm: of this trace nothing is left after another one
        again, _ = record_program(function, inputs, names, name)
        gc.collect()
        graph = left()
        if graph is not None or again.fingerprint() != program.fingerprint():
            _refuse(name, graph)
    return program


def _refuse(name: str, graph: Graph | None) -> NoReturn:
    """Refuse what a function keeps of its calls.

    Args:
        name: of the program.
        graph: that of an earlier trace, which an array that is kept belongs to; None if the function only does
            something else when it is traced again.
    """
    if graph is None:
        raise HiddenStateError(
            f"{name} does something else when it is traced again: it keeps arrays of one call and uses them in the "
            f"next.\n{_MEND}"
        )
    kept = [t for t in gc.get_referrers(graph) if isinstance(t, Tracer)]
    holders = sorted({_described(holder) for tracer in kept for holder in _holders(tracer, kept)} - {""})
    lines = sorted({str(d.source) for t in kept if (d := graph.definitions.get(t.variable)) is not None and d.source})
    where = f", such as the one made at {lines[0]}" if lines else ""
    raise HiddenStateError(
        f"{name} keeps arrays of one call for the next{where}.\n"
        f"They are held by {', '.join(holders[:3]) or 'something outside'}. Once traced, they would be constants.\n"
        + _MEND
    )


def _holders(value: Any, kept: list[Any]) -> list[Any]:
    return [h for h in gc.get_referrers(value) if h is not kept and not isinstance(h, FrameType)]


def _described(holder: Any) -> str:
    """What holds an array, by the name of the variable where one is found."""
    kind = type(holder).__name__
    if isinstance(holder, dict) and "__name__" in holder and "__builtins__" in holder:
        return "a global variable"
    if isinstance(holder, CellType):
        return "a variable of an enclosing function"
    for outer in gc.get_referrers(holder):
        if isinstance(outer, dict) and "__builtins__" in outer:
            names = [k for k, v in outer.items() if v is holder]
            if names:
                return f"the {kind} {names[0]}"
        if (
            not isinstance(outer, (dict, list, tuple, FrameType, ModuleType))
            and getattr(outer, "__dict__", None) is holder
        ):
            return f"an attribute of a {type(outer).__name__}"
    return f"a {kind}"
