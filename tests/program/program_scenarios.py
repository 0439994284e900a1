"""What is traced in these tests: one entry per form of each supported operation, as data.

A scenario is a function ``f(np, *arrays)`` and its arrays. `np` is a namespace, so that one function runs with NumPy
and with autograd's NumPy; ``np.special`` is ``scipy.special``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import autograd.numpy
import autograd.scipy.special
import numpy
import scipy.special


class Namespace:
    """NumPy under one name, with SciPy's special functions as ``special``."""

    def __init__(self, module: Any, special: Any) -> None:
        self.module = module
        self.special = special

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


PLAIN = Namespace(numpy, scipy.special)
AUTOGRAD = Namespace(autograd.numpy, autograd.scipy.special)


@dataclass(frozen=True, eq=False)
class Scenario:
    """One form of one operation.

    Attributes:
        operation: the name of the operation in the documentation's table, or "indexing" and the like.
        function: ``f(np, *arrays)``; returns an array, or a tuple or list of them.
        arrays: float64, integer or boolean arrays.
        smooth: whether the function is differentiable there, so that finite differences know the derivative.
        autograd: why autograd cannot be compared with, if it cannot.
        again: whether the second derivative is checked too.
    """

    operation: str
    function: Callable[..., Any]
    arrays: tuple[Any, ...]
    smooth: bool = True
    autograd: str = ""
    again: bool = True
    name: str = ""

    def __call__(self, np: Any, *arrays: Any) -> tuple[Any, ...]:
        result = self.function(np, *arrays)
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)

    def cast(self, dtype: Any) -> tuple[Any, ...]:
        """The arrays, with floating-point ones in another precision."""
        return tuple(a.astype(dtype) if a.dtype == float else a for a in self.arrays)


class Table:
    """Scenarios under construction."""

    def __init__(self) -> None:
        self.scenarios: list[Scenario] = []

    def add(self, operation: str, *cases: tuple[Any, ...] | Callable[..., Any], **options: Any) -> None:
        """Cases are functions, each followed by its arrays: f, a, b, g, a, …"""
        groups: list[list[Any]] = []
        for item in cases:
            if callable(item) and not isinstance(item, numpy.ndarray):
                groups.append([item])
            else:
                groups[-1].append(item)
        for function, *arrays in groups:
            count = sum(s.operation == operation for s in self.scenarios)
            made = Scenario(
                operation, function, tuple(numpy.asarray(a) for a in arrays), name=f"{operation}-{count}", **options
            )
            self.scenarios.append(made)


def numbers(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> numpy.ndarray:
    """Distinct numbers between `low` and `high`, none close to another or to the ends."""
    count = int(numpy.prod(shape, dtype=int))
    generator = numpy.random.default_rng([seed, *shape])
    places = (generator.permutation(count) + 0.5 + generator.uniform(-0.2, 0.2, count)) / max(count, 1)
    return numpy.asarray(low + (high - low) * places).reshape(shape)


def flat(outputs: Sequence[Any]) -> numpy.ndarray:
    """Floating-point outputs, one after the other."""
    kept = [numpy.ravel(o) for o in outputs if numpy.asarray(o).dtype.kind == "f"]
    return numpy.concatenate(kept) if kept else numpy.zeros(0)
