"""Writing a program out as source: what it costs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.engines import numpy_engine
from fwdgrad.program import Abstract, Program, trace


def long_program(count: int) -> Program:
    """As many different constant arrays, and as many large arrays, as asked for."""

    def function(h: Any, u: Any) -> Any:
        for k in range(count):
            h = np.tanh(h + np.array([k, k + 0.5, 1.0]))
            u = np.sin(u) + h[0]
        return h, u

    vector = np.dtype(float)
    return trace(function, [Abstract((3,), vector), Abstract((600,), vector)])


def lines_executed(function: Callable[[], Any]) -> int:
    """Lines of the engine's module that a call goes through, turns of a comprehension included."""
    count = 0

    def local(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return local

    def enter(frame: Any, *_: Any) -> Any:
        return local if frame.f_code.co_filename == numpy_engine.__file__ else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def test_writing_source_takes_work_in_proportion_to_the_program():
    short, long = long_program(50), long_program(200)
    work = [lines_executed(lambda p=p: numpy_engine.source(p)) for p in (short, long)]
    assert work[1] < 4.2 * work[0]


def test_the_count_sees_what_is_quadratic():
    """The negative control: a search through all that is there already, in the module's own lines."""
    text = "def search(n):\n held = []\n for k in range(n):\n  [v for v in held if v == k]\n  held.append(k)\n"
    scope: dict[str, Any] = {}
    exec(compile(text, numpy_engine.__file__, "exec"), scope)
    work = [lines_executed(lambda n=n: scope["search"](n)) for n in (50, 200)]
    assert work[1] > 8 * work[0]
