"""Peephole rules applied while a program is recorded: calls that change nothing are not written down.

Only identities that hold for every value, NaN and infinities included, are used (so x·0 stays, and x − x). The one
exception is the sign of zero: x + 0 is x here, where NumPy turns −0 into +0; sums that begin with 0 are common.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["simplify"]


def simplify(operation: Any, operands: Sequence[Any], params: dict[str, Any]) -> Any:
    """An operand, or a cheaper call, that equals ``operation(*operands, **params)``; None if there is none."""
    x = operands[0]
    match operation.name:
        case "add":
            return _neutral(operands, 0.0, commutes=True)
        case "subtract":
            return _neutral(operands, 0.0, commutes=False)
        case "multiply":
            return _neutral(operands, 1.0, commutes=True)
        case "divide":
            return _neutral(operands, 1.0, commutes=False)
        case "power":
            exponent = operands[1]
            if type(exponent) in (int, float) and _is_floating(x):
                if exponent == 1:
                    return x
                if exponent == 2:
                    return x * x
                if exponent == -1:
                    return 1 / x
            return None
        case "square":
            return x * x if x.dtype.kind != "b" else None
        case "reshape" | "broadcast_to":
            return x if params["shape"] == np.shape(x) else None
        case "transpose":
            return x if params["axes"] == tuple(range(np.ndim(x))) else None
        case "concatenate":
            return x if len(operands) == 1 else _known_together(operation, operands, params)
        case "astype":
            return x if params["dtype"] == x.dtype else None
        case "sum":
            return x if not params["axes"] and _is_floating(x) else None
        case "getitem":
            return x if all(e == ("slice", None, None, None) for e in params["index"]) else None
        case _:
            return None


def _known_together(concatenate: Any, operands: Sequence[Any], params: dict[str, Any]) -> Any:
    """The call with known arrays that stand side by side joined beforehand; None if there are none."""
    joined: list[Any] = []
    for is_known, run in itertools.groupby(operands, lambda o: isinstance(o, np.ndarray)):
        parts = list(run)
        alike = is_known and len({p.dtype for p in parts}) == 1
        joined += [np.concatenate(parts, params["axis"])] if alike else parts
    return concatenate(*joined, **params) if len(joined) < len(operands) else None


def _neutral(operands: Sequence[Any], value: float, commutes: bool) -> Any:
    """The other operand when one is a Python number equal to the neutral element."""
    a, b = operands
    if type(b) in (int, float) and b == value and _is_floating(a):
        return a
    if commutes and type(a) in (int, float) and a == value and _is_floating(b):
        return b
    return None


def _is_floating(x: Any) -> bool:
    """Whether `x` keeps its dtype when it meets a Python number."""
    return x.dtype.kind == "f"
