"""Expressions of a model as small trees of numbers, names, functions and indices, and their values by NumPy.

Every way to declare a model by its equations ends here: text and TOML through `fwdgrad.declare.parse`, SymPy through
`fwdgrad.declare.symbols`. A tree holds nothing that could run; `evaluate` walks it, on arrays or while a function is
being traced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.declare.functions import COMPUTE

__all__ = ["Array", "Call", "Delayed", "Expression", "Index", "Name", "Number", "delayed_in", "evaluate", "names_in"]


@dataclass(frozen=True)
class Number:
    """A number."""

    value: float


@dataclass(frozen=True, eq=False)
class Array:
    """An array of numbers."""

    value: np.ndarray


@dataclass(frozen=True)
class Name:
    """A state variable, parameter, input or definition; `t`, or a constant such as `pi`."""

    name: str


@dataclass(frozen=True)
class Call:
    """A function or operator of `fwdgrad.declare.functions`, by its name, on arguments."""

    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Delayed(Name):
    """A state variable a while ago, x(t − τ); its name is how it is written, which none of a declaration is.

    Attributes:
        of: the state variable.
        by: τ, an expression of parameters.
        longest: the largest that τ can be, if that is said.
    """

    of: str
    by: Expression
    longest: Expression | None = None


@dataclass(frozen=True, eq=False)
class Index:
    """Entries of an array: integers and slices of integers, one for each of the leading axes."""

    of: Expression
    items: tuple[int | slice, ...]


Expression = Number | Array | Name | Call | Index


def evaluate(
    expression: Expression,
    values: Mapping[str, Any],
    functions: Mapping[str, Callable[..., Any]] = COMPUTE,
    number: Callable[[float], Any] = float,
) -> Any:
    """The value of an expression.

    Args:
        expression: the tree.
        values: of every name in it: numbers, arrays, or what stands for them while a function is traced.
        functions: what every function computes; NumPy's unless given.
        number: what a number is computed with.

    Raises:
        ValueError, IndexError: shapes do not go together.
        KeyError: a name has no value.

    Example:
        >>> tree = Call("*", (Name("a"), Call("sin", (Name("x"),))))
        >>> float(evaluate(tree, {"a": 2.0, "x": 0.0}))
        0.0
    """
    match expression:
        case Number(value):
            return number(value)
        case Array(value):
            return value
        case Name(name):
            return values[name]
        case Index(of, items):
            return evaluate(of, values, functions, number)[items]
        case Call(function, arguments):
            return functions[function](*[evaluate(a, values, functions, number) for a in arguments])


def delayed_in(expression: Expression) -> Iterator[Delayed]:
    """Every delayed state variable in an expression, from left to right."""
    match expression:
        case Delayed():
            yield expression
        case Index(of, _):
            yield from delayed_in(of)
        case Call(_, arguments):
            for argument in arguments:
                yield from delayed_in(argument)


def names_in(expression: Expression) -> Iterator[str]:
    """Every name in an expression, from left to right; again where it stands again."""
    match expression:
        case Name(name):
            yield name
        case Index(of, _):
            yield from names_in(of)
        case Call(_, arguments):
            for argument in arguments:
                yield from names_in(argument)
