"""Pointwise operations: out[i] = f(x[i], y[i], …), operands broadcast together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special

from fwdgrad.program.instructions import Abstract, Constant
from fwdgrad.program.operations.base import Operand, Operation, sample_dtype

__all__ = ["POINTWISE", "Pointwise", "astype"]


@dataclass(frozen=True, eq=False, repr=False)
class Pointwise(Operation):
    """out[i] = f(x[i], y[i], …), operands broadcast together."""

    function: Callable[..., Any]
    source: str
    differentiable: bool = True

    def evaluate(self, *operands: Any, **params: Any) -> Any:
        return self.function(*operands, **params)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        shapes = {i.shape for i in inputs if i.shape}
        shape = np.broadcast_shapes(*shapes) if len(shapes) > 1 else next(iter(shapes), ())
        kinds = tuple(type(i.value) if isinstance(i, Constant) and i.weak else i.dtype for i in inputs)
        return (Abstract(shape, sample_dtype(self.function, kinds, tuple(sorted(params.items())))),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"{self.source}({', '.join(arguments)})"


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
_pointwise("expit logit erf erfc gamma gammaln psi polygamma j0 j1 jn i0 i1 iv", scipy.special, "special")
POINTWISE["astype"] = astype = _AsType("astype", _astype, "astype")
