"""A model's equations in SymPy, entry by entry; and the exact sparsity of their derivatives."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fwdgrad.declare.expressions import Expression, evaluate
from fwdgrad.declare.functions import COMPUTE
from fwdgrad.declare.model import TIME, EquationModel, Follows
from fwdgrad.errors import DeclarationError
from fwdgrad.support import display
from fwdgrad.system.parameters import Parameter, Tied

__all__ = ["Sparsity", "expressions", "sparsity"]


class Sparsity(NamedTuple):
    """Where the derivatives of rates, or of next values, are not zero for all values: boolean CSR matrices."""

    state: sp.csr_array
    """∂/∂h, (n, n)."""
    params: dict[str, sp.csr_array]
    """∂/∂θ by parameter, (n, its size); none for tied ones."""

    def __repr__(self) -> str:
        size = self.state.shape[0]
        return f"Sparsity: {size} × {size} by state with {self.state.nnz} entries, {len(self.params)} parameters"

    def _repr_html_(self) -> str:
        rows = [("∂/∂", "shape", "entries"), *((k, str(v.shape), str(v.nnz)) for k, v in self.params.items())]
        rows.insert(1, ("state", str(self.state.shape), str(self.state.nnz)))
        return display.page(repr(self), display.table(rows))


def expressions(model: EquationModel, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The right side of every state variable: an expression of SymPy, or an array of them.

    Args:
        model: the equations; definitions are put in, so symbols are state variables, parameters, inputs and t.
        shapes: of the state variables.

    Raises:
        DeclarationError: a parameter is tied by a Python function, which SymPy cannot see into.
    """
    import sympy

    functions = _functions()

    def exact(number: float) -> Any:
        return sympy.Integer(int(number)) if number == int(number) else sympy.Float(number)

    def value(expression: Expression, names: Mapping[str, Any]) -> Any:
        return evaluate(
            expression, names, functions, lambda v: sympy.Integer(int(v)) if v == int(v) else sympy.Float(v)
        )

    values: dict[str, Any] = {"pi": sympy.pi, TIME: sympy.Symbol(TIME)}
    values |= {k: symbols(k, shapes[k]) for k in model.changes}
    values |= {k: symbols(k, e.example.shape) for k, e in model.inputs.items()}
    declared = {k: e.declared for k, e in model.params.items()}
    values |= {k: symbols(k, np.shape(p.value)) for k, p in declared.items() if isinstance(p, Parameter)}
    for name, tie in declared.items():
        if isinstance(tie, Tied):
            if tie.function is not None and not isinstance(tie.function, Follows):
                raise DeclarationError(f"{model.source}: SymPy cannot see into the function that {name!r} is tied by.")
            other = values[tie.name]
            values[name] = other if tie.function is None else value(tie.function.expression, values)
    for label, (one, _) in model.delays.items():
        past = np.frompyfunc(
            lambda symbol, by=one.by: sympy.Function(str(symbol))(values[TIME] - value(by, values)), 1, 1
        )
        values[label] = past(values[one.of])
    for name in model.order:
        values[name] = value(model.definitions[name].expression, values)
    made = {}
    for name, equation in model.changes.items():
        change = value(equation.expression, values)
        made[name] = change if np.shape(change) == shapes[name] else np.broadcast_to(change, shapes[name])
    return made


def symbols(name: str, shape: tuple[int, ...]) -> Any:
    """A symbol, or an array of symbols ``name[i]`` or ``name[i, j]``."""
    import sympy

    if shape == ():
        return sympy.Symbol(name)
    made = np.empty(shape, dtype=object)
    for place in np.ndindex(*shape):
        made[place] = sympy.Symbol(f"{name}[{', '.join(map(str, place))}]")
    return made


def sparsity(model: EquationModel, shapes: Mapping[str, tuple[int, ...]]) -> Sparsity:
    """The pattern of the derivatives, by SymPy's derivatives of the expressions themselves. No method, no dt.

    Cost: one derivative for every symbol in every entry.

    Raises:
        DeclarationError: as `expressions`.
    """
    import sympy

    rows = [e for change in expressions(model, shapes).values() for e in np.ravel(np.asarray(change, dtype=object))]
    if model.timed:
        rows.append(sympy.Integer(1) if model.continuous else sympy.Symbol(TIME) + 1)
    state = [(k, shapes[k]) for k in model.changes] + ([(TIME, ())] if model.timed else [])
    leaves = {k: e.declared for k, e in model.params.items() if isinstance(e.declared, Parameter)}
    columns: dict[Any, tuple[str, int]] = {}
    place = 0
    for name, shape in state:
        for symbol in np.ravel(np.asarray(symbols(name, shape), dtype=object)):
            columns[symbol] = ("", place)
            place += 1
    for name, leaf in leaves.items():
        for k, symbol in enumerate(np.ravel(np.asarray(symbols(name, np.shape(leaf.value)), dtype=object))):
            columns[symbol] = (name, k)
    sizes = {"": place} | {k: math.prod(np.shape(p.value)) for k, p in leaves.items()}
    found: dict[str, list[tuple[int, int]]] = {k: [] for k in sizes}
    for row, expression in enumerate(rows):
        for symbol in sympy.sympify(expression).free_symbols & columns.keys():
            if sympy.diff(expression, symbol) != 0:
                part, column = columns[symbol]
                found[part].append((row, column))
    made = {k: _pattern(found[k], (len(rows), size)) for k, size in sizes.items()}
    return Sparsity(made.pop(""), made)


def _pattern(entries: list[tuple[int, int]], shape: tuple[int, int]) -> sp.csr_array:
    rows, columns = np.array(entries, dtype=int).reshape(-1, 2).T
    return sp.csr_array((np.ones(len(rows), bool), (rows, columns)), shape=shape)


def _functions() -> dict[str, Callable[..., Any]]:
    """What each function is in SymPy; on arrays entry by entry. What only moves entries or adds them up is NumPy's."""
    import sympy

    one: dict[str, Any] = {
        "abs": sympy.Abs,
        "arccos": sympy.acos,
        "arccosh": sympy.acosh,
        "arcsin": sympy.asin,
        "arcsinh": sympy.asinh,
        "arctan": sympy.atan,
        "arctanh": sympy.atanh,
        "cbrt": sympy.cbrt,
        "ceil": sympy.ceiling,
        "digamma": sympy.digamma,
        "expm1": lambda x: sympy.exp(x) - 1,
        "i0": lambda x: sympy.besseli(0, x),
        "i1": lambda x: sympy.besseli(1, x),
        "j0": lambda x: sympy.besselj(0, x),
        "j1": lambda x: sympy.besselj(1, x),
        "log10": lambda x: sympy.log(x, 10),
        "log1p": lambda x: sympy.log(1 + x),
        "log2": lambda x: sympy.log(x, 2),
        "not": sympy.Not,
        "sigmoid": lambda x: 1 / (1 + sympy.exp(-x)),
        "softplus": lambda x: sympy.log(1 + sympy.exp(x)),
    }
    for name in ("cos", "cosh", "erf", "erfc", "exp", "floor", "gamma", "log", "loggamma", "sign", "sin", "sinh"):
        one[name] = getattr(sympy, name)
    one |= {"sqrt": sympy.sqrt, "tan": sympy.tan, "tanh": sympy.tanh}
    two: dict[str, Any] = {
        "%": sympy.Mod,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "==": sympy.Eq,
        "!=": sympy.Ne,
        "and": sympy.And,
        "or": sympy.Or,
        "arctan2": sympy.atan2,
        "besseli": sympy.besseli,
        "besselj": sympy.besselj,
        "hypot": lambda x, y: sympy.sqrt(x**2 + y**2),
    }
    three: dict[str, Any] = {
        "clip": lambda x, low, high: sympy.Min(sympy.Max(x, low), high),
        "where": lambda condition, a, b: sympy.Piecewise((a, condition), (b, True)),
    }
    made: dict[str, Callable[..., Any]] = dict(COMPUTE)
    for count, functions in enumerate((one, two, three), 1):
        made |= {name: np.frompyfunc(function, count, 1) for name, function in functions.items()}
    largest, smallest = np.frompyfunc(sympy.Max, 2, 1), np.frompyfunc(sympy.Min, 2, 1)
    made["max"] = lambda *values: reduce(largest, values)
    made["min"] = lambda *values: reduce(smallest, values)
    step, half = np.frompyfunc(sympy.Heaviside, 2, 1), sympy.Rational(1, 2)
    made["heaviside"] = lambda x, middle=half: step(x, middle)
    return made
