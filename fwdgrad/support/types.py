"""Names of what is handed around everywhere. Arrays may be traced: what computes with them takes tracers as well."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Array", "Flat", "Leaves", "Vector"]

Array: TypeAlias = Any
"""An array of any shape: NumPy's, a tracer, or one of autograd's boxes."""

Vector: TypeAlias = Array
"""An array with one axis."""

Leaves: TypeAlias = dict[str, Array]
"""An array for each parameter leaf, by name."""

Flat: TypeAlias = tuple[Array, ...]
"""Containers of arrays, taken apart."""
