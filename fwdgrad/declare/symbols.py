"""Models in SymPy: symbols and expressions become the trees that text becomes, so nothing is printed as code and run.

Expressions are taken as they are: nothing is simplified, expanded or rearranged, but what several of them have in
common is computed once (`sympy.cse`). SymPy is imported when it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fwdgrad.declare.equations import Equations, EquationSystem, system_of
from fwdgrad.declare.expressions import Array, Call, Delayed, Expression, Index, Name, Number
from fwdgrad.declare.model import (
    Equation,
    EquationModel,
    InputEntry,
    Jump,
    OutputEntry,
    ParameterEntry,
    free_parameter,
    tied_parameter,
)
from fwdgrad.declare.places import Argument
from fwdgrad.errors import DeclarationError
from fwdgrad.support.arguments import suggests
from fwdgrad.system.parameters import Parameter, Tied

if TYPE_CHECKING:
    import sympy

    from fwdgrad.integrate import Adaptive

__all__ = ["from_sympy"]

_FUNCTIONS = {
    "Abs": "abs",
    "Heaviside": "heaviside",
    "Max": "max",
    "Min": "min",
    "Mod": "%",
    "acos": "arccos",
    "acosh": "arccosh",
    "asin": "arcsin",
    "asinh": "arcsinh",
    "atan": "arctan",
    "atan2": "arctan2",
    "atanh": "arctanh",
    "besseli": "besseli",
    "besselj": "besselj",
    "ceiling": "ceil",
    "cos": "cos",
    "cosh": "cosh",
    "digamma": "digamma",
    "erf": "erf",
    "erfc": "erfc",
    "exp": "exp",
    "floor": "floor",
    "gamma": "gamma",
    "log": "log",
    "loggamma": "loggamma",
    "sign": "sign",
    "sin": "sin",
    "sinh": "sinh",
    "tan": "tan",
    "tanh": "tanh",
}
"""SymPy's functions, by the names that they have here."""

_RECIPROCALS = {"sec": "cos", "csc": "sin", "cot": "tan", "sech": "cosh", "csch": "sinh", "coth": "tanh"}

_ORDERED = ("<", "<=", ">", ">=")
"""Relations that begin to hold at a moment."""

_RELATIONS = {
    "StrictLessThan": "<",
    "LessThan": "<=",
    "StrictGreaterThan": ">",
    "GreaterThan": ">=",
    "Equality": "==",
    "Unequality": "!=",
}


@suggests
def from_sympy(
    rates: Any = None,
    *,
    updates: Any = None,
    state: Any,
    params: Any,
    inputs: Any = None,
    outputs: Any = None,
    definitions: Any = None,
    at: Any = None,
    when: Any = None,
    dt: float | str | None = None,
    method: str | Adaptive | None = None,
    substeps: int | None = None,
    injection: Any = None,
    loss: Any = None,
    name: str | None = None,
    first: str | None = None,
) -> EquationSystem:
    """A system from SymPy expressions.

    Wherever something is declared for symbols, a dict from symbols to that is given. A key may be a symbol, the name of
    one, a function of time such as ``x(t)``, a `sympy.MatrixSymbol` (an array of that name; one column is a vector), or
    an immutable `sympy.Matrix` of symbols (each of them, with the values in an array). Symbols are one and the same if
    their names are. What is used has to be declared somewhere, but for the time ``t``, counted from 0. A function of
    time such as ``x(t - tau)`` is what x was a while ago; see `Delay`.

    Args:
        rates: the rate of every state variable, an expression, or a matrix of them for a matrix; or, in the order of
            `state`, a list or a column of expressions.
        updates: their next values instead, in discrete time.
        state: initial values: numbers, arrays, or expressions of parameters (a learned initial state).
        params: initial values; or what `positive`, `bounded`, `fixed` and `tied` return; or an expression of one other
            parameter, to which this one is then tied.
        inputs: example values.
        outputs: expressions by name; or a list or column of expressions. The state unless given.
        definitions: expressions of symbols that stand for intermediate results.
        at: changes at given times, such as doses: pairs of a time, or several, expressions of parameters, and a dict
            from state variables to what they become, in terms of what everything is before; see `At`.
        when: changes where something begins to hold: pairs of a comparison, such as ``v > limit``, and such a dict;
            see `When`.
        dt: the step; or a name: of the input that brings it, which is added if it is not declared.
        method: the integrator; see `fwdgrad.integrate`.
        substeps: steps of the integrator for each sample.
        injection: the gain of an observer; see `System`.
        loss: squared error unless given.
        name: what to call it in reports.
        first: what the first sample of a trajectory is observed in, see `System`; "initial" for rates with a number dt
            and "next" otherwise, unless given.

    Cost: a few milliseconds an expression, once.

    Raises:
        DeclarationError: a symbol or a value is missing or declared twice, or a function of SymPy has no counterpart.

    Example:
        >>> import sympy, fwdgrad as fg
        >>> prey, pred, a, b, c, d = sympy.symbols("prey pred a b c d")
        >>> system = fg.from_sympy(
        ...     rates={prey: a * prey - b * prey * pred, pred: -c * pred + d * prey * pred},
        ...     state={prey: 10.0, pred: 5.0},
        ...     params={a: 1.1, b: 0.4, c: fg.positive(0.4), d: 0.1},
        ...     outputs=[prey],
        ...     dt=0.01,
        ... )
        >>> fg.Learner(system).predict(None).shape
        (1,)
    """
    if (rates is None) == (updates is None):
        raise DeclarationError("from_sympy: expected rates= (with dt) or updates=, one of them.")
    reader = _Reader(name or "system", continuous=updates is None)
    reader.read_state(state)
    reader.read_changes(rates if updates is None else updates)
    reader.read_params(params)
    reader.read_inputs(inputs)
    reader.read_definitions(definitions)
    reader.read_outputs(outputs)
    reader.read_events("at", at)
    reader.read_events("when", when)
    shown, computed = reader.models()
    return system_of(
        Equations(computed, shown),
        dt=dt,
        method=method,
        substeps=substeps,
        injection=injection,
        loss=loss,
        name=name or "system",
        first=first,
    )


class _Event(NamedTuple):
    """A change at times or where a comparison begins to hold, in symbols."""

    moment: Any
    changes: dict[str, tuple[Any, Argument]]
    place: Argument
    conditional: bool

    @property
    def margin(self) -> Any:
        """What is positive where the comparison holds."""
        import sympy

        return sympy.Add(self.moment.gts, -self.moment.lts)


class _Reader:
    """Arguments of `from_sympy` as lists of names and expressions, then as models."""

    def __init__(self, name: str, *, continuous: bool) -> None:
        self._name, self._continuous = name, continuous
        self._symbols: dict[str, Any] = {}
        self._names: set[str] = set()
        self._arrays: dict[str, tuple[int, ...]] = {}
        self._base = EquationModel(name)
        self._state: list[Any] = []
        self._changes: dict[str, tuple[Any, Argument]] = {}
        self._definitions: dict[str, tuple[Any, Argument]] = {}
        self._outputs: dict[str, tuple[Any, Argument]] = {}
        self._events: list[_Event] = []
        self._delayed: dict[str, tuple[str, Any]] = {}

    # ---- what is declared

    def read_state(self, state: Any) -> None:
        """Initial values."""
        for name, value, place in self._entries("state", state):
            self._state.append(name)
            self._base.begin(name, Equation(self._start(name, value, place), place))

    def read_changes(self, changes: Any) -> None:
        """Rates or next values."""
        what = "rates" if self._continuous else "updates"
        if not _is_mapping(changes):
            entries = _elements(changes)
            if len(entries) != len(self._state):
                raise DeclarationError(
                    f"from_sympy: {what}: expected {len(self._state)} expressions, one for each entry of state, "
                    f"got {len(entries)}."
                )
            changes = list(zip(self._state, entries, strict=True))
        for name, value, place in self._entries(what, changes):
            if name in self._changes:
                raise place.error("it is there twice")
            if name not in self._base.start:
                raise place.error(f"there is no initial value; add it to state, which has {', '.join(self._state)}")
            self._changes[name] = (value, place)
        # in the order of the state
        self._changes = {k: self._changes[k] for k in self._state if k in self._changes}
        missing = [k for k in self._state if k not in self._changes and k != "t"]
        if missing:
            raise DeclarationError(f"from_sympy: {what}: there is none for {missing[0]!r}, which is in state.")

    def read_params(self, params: Any) -> None:
        """Parameters."""
        for name, value, place in self._entries("params", params):
            declared: Parameter | Tied
            if isinstance(value, (Parameter, Tied)):
                declared = value
            elif _is_sympy(value) and value.free_symbols:
                declared = tied_parameter(name, self._tree(self._prepared(value, place), place), place)
            else:
                declared = free_parameter(name, self._value(name, value, place), place)
            self._base.parameter(name, ParameterEntry(declared, place))

    def read_inputs(self, inputs: Any) -> None:
        """Inputs."""
        for name, value, place in self._entries("inputs", inputs or {}):
            self._base.input(name, InputEntry(self._value(name, value, place), place))

    def read_definitions(self, definitions: Any) -> None:
        """Intermediate results."""
        for name, value, place in self._entries("definitions", definitions or {}):
            if name in self._definitions:
                raise place.error("it is there twice")
            self._definitions[name] = (value, place)

    def read_outputs(self, outputs: Any) -> None:
        """Outputs, with names or without."""
        if outputs is None:
            return
        if _is_mapping(outputs):
            entries = _pairs("outputs", outputs)
        else:
            entries = [(_output_name(k, e), e) for k, e in enumerate(_elements(outputs))]
        for key, value in entries:
            name = key if isinstance(key, str) else self._key(key, Argument("from_sympy", "outputs"))[0][0]
            place = Argument("from_sympy", f"outputs[{name}]")
            if name in self._outputs:
                raise place.error("it is there twice; give outputs as a dict with names of their own")
            self._outputs[name] = (value, place)

    def read_events(self, what: str, given: Any) -> None:
        """Changes at times, or where comparisons begin to hold."""
        import sympy

        for number, (moment, changes) in enumerate(_pairs(what, given or [])):
            place = Argument("from_sympy", f"{what}[{number}]")
            if what == "when" and not (
                isinstance(moment, sympy.core.relational.Relational) and moment.rel_op in _ORDERED
            ):
                raise place.error(f"expected one comparison, a > b or a < b, whose moment can be found; got {moment!r}")
            if not isinstance(changes, Mapping) or not changes:
                raise place.error(f"expected a dict from state variables to what they become, got {changes!r}")
            values: dict[str, tuple[Any, Argument]] = {}
            for name, value, at in self._entries(f"{what}[{number}]", changes):
                if name in values:
                    raise at.error("it is changed twice here")
                values[name] = (value, at)
            self._events.append(_Event(moment, values, place, conditional=what == "when"))

    # ---- models

    def models(self) -> tuple[EquationModel, EquationModel]:
        """The equations as they are shown, and as they are computed."""
        import sympy

        right = [*self._changes.values(), *self._definitions.values(), *self._outputs.values()]
        for event in self._events:
            right += [(event.margin, event.place)] if event.conditional else []
            right += event.changes.values()
        prepared = [[self._prepared(e, place) for e in _elements(value)] for value, place in right]
        shapes = [_shape(value, place) for value, place in right]
        flat = [e for entries in prepared for e in entries]
        shared, rest = sympy.cse(flat, symbols=sympy.numbered_symbols(cls=sympy.Dummy), order="canonical")
        replaced = iter(rest)
        reduced = [[next(replaced) for _ in entries] for entries in prepared]
        return self._model(prepared, shapes, []), self._model(reduced, shapes, shared)

    def _model(self, right: list[list[Any]], shapes: list[Any], shared: list[tuple[Any, Any]]) -> EquationModel:
        base = self._base
        made = EquationModel(self._name)
        for name, equation in base.start.items():
            made.begin(name, equation)
        for name, entry in base.params.items():
            made.parameter(name, entry)
        for name, given in base.inputs.items():
            made.input(name, given)
        hidden = {symbol: f"shared {k}" for k, (symbol, _) in enumerate(shared)}
        place = Argument("from_sympy", "a common subexpression")
        for symbol, expression in shared:
            made.define(hidden[symbol], Equation(self._tree(expression, place, hidden), place))
        entries = iter(zip(right, shapes, strict=True))

        def following(where: Argument) -> Equation:
            expressions, shape = next(entries)
            trees = [self._tree(e, where, hidden) for e in expressions]
            return Equation(trees[0] if shape is None else _array_tree(trees, shape), where)

        for name, (_, where) in self._changes.items():
            made.change(name, following(where), continuous=self._continuous)
        for name, (_, where) in self._definitions.items():
            made.define(name, following(where))
        for name, (_, where) in self._outputs.items():
            made.output(name, OutputEntry(following(where).expression, where))
        for event in self._events:
            moment = following(event.place) if event.conditional else self._times(event)
            values = {k: following(at) for k, (_, at) in event.changes.items()}
            made.jumps.append(Jump(moment, values, event.place, event.conditional))
        made.finish()
        return made

    def _times(self, event: _Event) -> Equation:
        """Those of an event, as they are given."""
        moment, place = event.moment, event.place
        if isinstance(moment, (str, bytes)):
            raise place.error(f"expected a time, or a list of them, got {moment!r}")
        trees = [self._tree(self._prepared(e, place), place) for e in _elements(moment)]
        shape = _shape(moment, place)
        return Equation(trees[0] if shape is None else _array_tree(trees, shape), place)

    def _prepared(self, expression: Any, place: Argument) -> Any:
        """An expression of SymPy with plain symbols in the place of functions of time; derivatives and sums done."""
        import sympy

        try:
            made = sympy.sympify(expression, strict=True)
        except sympy.SympifyError:
            raise place.error(f"expected an expression of SymPy or a number, got {expression!r}") from None
        if isinstance(made, sympy.logic.boolalg.Boolean) and not made.is_Symbol:
            raise place.error(f"{made} is true or false, not a number; conditions stand in sympy.Piecewise")
        if made.has(sympy.Derivative, sympy.Sum, sympy.Product, sympy.Integral, sympy.Subs):
            made = made.doit()
        applied = made.atoms(sympy.core.function.AppliedUndef)
        made = made.xreplace({function: self._of_time(function, place) for function in applied})
        for symbol in sorted(made.free_symbols, key=str):
            self._check_one(symbol, place)
        return made

    def _of_time(self, function: Any, place: Argument) -> Any:
        """The symbol that x(t) stands for; or one for x(t - tau), which is kept."""
        import sympy

        name, arguments = function.func.__name__, function.args
        if [str(argument) for argument in arguments] == ["t"]:
            return sympy.Symbol(name)
        times = [s for s in function.free_symbols if s.name == "t"]
        by = sympy.expand(times[0] - arguments[0]) if len(arguments) == 1 and times else None
        if by is None or by.has(times[0]):
            raise place.error(
                f"{function} is an unknown function; only functions of the time t stand for symbols, and of t - tau "
                "for what is delayed"
            )
        label = f"{name}(t - {by})" if by.is_Atom else f"{name}(t - ({by}))"
        self._delayed[label] = (name, by)
        return sympy.Symbol(label)

    def _check_one(self, symbol: Any, place: Argument) -> None:
        """Symbols are told apart by their names alone."""
        if self._symbols.setdefault(symbol.name, symbol) != symbol:
            raise place.error(
                f"there are two different symbols called {symbol.name}, of other assumptions or shapes; use one"
            )

    # ---- keys and values

    def _entries(self, what: str, given: Any) -> Iterable[tuple[str, Any, Argument]]:
        """Name, value and place of what is declared; matrices of symbols one by one."""
        for key, value in _pairs(what, given):
            place = Argument("from_sympy", f"{what}[{key}]")
            names, shape = self._key(key, place)
            self._names.update(names)
            if shape is None:
                yield names[0], value, place
                continue
            values = _elements(value)
            if len(values) != len(names):
                raise place.error(f"expected {len(names)} values, got {len(values)}")
            for name, one in zip(names, values, strict=True):
                yield name, one, Argument("from_sympy", f"{what}[{name}]")

    def _key(self, key: Any, place: Argument) -> tuple[list[str], tuple[int, ...] | None]:
        """The names that a key declares, and the shape of the matrix it is, if it is one."""
        import sympy

        if isinstance(key, str):
            return [key], None
        if isinstance(key, sympy.MatrixSymbol):
            self._check_one(key, place)
            shape = tuple(int(k) for k in key.shape)
            self._arrays[key.name] = (shape[0] * shape[1],) if 1 in shape else shape
            return [key.name], None
        if isinstance(key, sympy.MatrixBase):
            return [self._key(k, place)[0][0] for k in key], tuple(key.shape)
        if isinstance(key, sympy.core.function.AppliedUndef):
            return [key.func.__name__], None
        if not isinstance(key, sympy.Symbol):
            raise place.error(f"expected a symbol or its name, got {key!r}")
        self._check_one(key, place)
        return [key.name], None

    def _value(self, name: str, value: Any, place: Argument) -> np.ndarray:
        """A number or an array, in the shape of the symbol."""
        if isinstance(value, (str, bytes, bool)):
            raise place.error(f"expected a number or an array, got {value!r}")
        try:
            if _is_sympy(value):
                value = np.array(value.evalf().tolist() if _is_matrix(value) else float(value), dtype=np.float64)
            array = np.array(value, dtype=np.float64)
            array = array.reshape(self._arrays[name]) if name in self._arrays else array
        except (TypeError, ValueError) as error:
            raise place.error(f"expected a number or an array, got {value!r} ({error})") from None
        if not np.all(np.isfinite(array)):
            raise place.error(f"expected finite numbers, got {value!r}")
        return array

    def _start(self, name: str, value: Any, place: Argument) -> Expression:
        if _is_sympy(value) and value.free_symbols:
            trees = [self._tree(self._prepared(e, place), place) for e in _elements(value)]
            shape = _shape(value, place)
            return trees[0] if shape is None else _array_tree(trees, self._arrays.get(name, shape))
        array = self._value(name, value, place)
        return Number(float(array)) if array.shape == () else Array(array)

    # ---- expressions

    def _tree(self, expression: sympy.Basic, place: Argument, hidden: Mapping[Any, str] | None = None) -> Expression:
        return _Converter(place, hidden or {}, self._arrays, self._names, self._delayed).convert(expression)


class _Converter:
    """From an expression of SymPy to a tree."""

    def __init__(
        self,
        place: Argument,
        hidden: Mapping[Any, str],
        arrays: Mapping[str, tuple[int, ...]],
        declared: Iterable[str],
        delayed: Mapping[str, tuple[str, Any]],
    ) -> None:
        self._place, self._hidden, self._arrays, self._declared = place, hidden, arrays, declared
        self._delayed = delayed

    def convert(self, node: Any) -> Expression:
        """One expression with all below."""
        import sympy

        if node.is_Symbol and node.name in self._delayed:
            of, by = self._delayed[node.name]
            return Delayed(node.name, of, self.convert(by))
        if node.is_Symbol:
            return Name(self._hidden.get(node, node.name))
        if node is sympy.pi and "pi" not in self._declared:
            return Name("pi")
        if node.is_Rational and node.q != 1 and node.p > 0:
            return Call("/", (self._number(node.p), self._number(node.q)))
        if node.is_Number or node.is_NumberSymbol:
            return self._number(node)
        if node.is_Add:
            return self._sum(node)
        if node.is_Mul:
            return self._product(node)
        if node.is_Pow:
            return self._power(node.base, node.exp)
        if isinstance(node, sympy.matrices.expressions.matexpr.MatrixElement):
            return self._element(node)
        kind = type(node).__name__
        if isinstance(node, sympy.Piecewise):
            return self._piecewise(node)
        if kind in _RELATIONS:
            return Call(_RELATIONS[kind], (self.convert(node.lhs), self.convert(node.rhs)))
        if kind in ("And", "Or"):
            return reduce(lambda a, b: Call(kind.lower(), (a, b)), [self.convert(a) for a in node.args])
        if kind == "Not":
            return Call("not", (self.convert(node.args[0]),))
        if kind in _RECIPROCALS:
            return Call("/", (Number(1.0), Call(_RECIPROCALS[kind], (self.convert(node.args[0]),))))
        if kind == "polygamma" and node.args[0] == 0:
            return Call("digamma", (self.convert(node.args[1]),))
        if kind in _FUNCTIONS:
            return Call(_FUNCTIONS[kind], tuple(self.convert(argument) for argument in node.args))
        if node.has(sympy.I, sympy.zoo):
            raise self._place.error(f"{node} is complex; write real and imaginary parts")
        raise self._place.error(
            f"{node} uses {kind}, which has no counterpart here; there are {', '.join(sorted(_FUNCTIONS))}"
        )

    def _sum(self, node: Any) -> Expression:
        made: Expression | None = None
        for term in node.as_ordered_terms():
            negative = bool(term.as_coeff_Mul()[0].is_negative)
            if made is None:
                made = self.convert(term)
            else:
                made = Call("-" if negative else "+", (made, self.convert(-term if negative else term)))
        assert made is not None
        return made

    def _product(self, node: Any) -> Expression:
        number, rest = node.as_coeff_Mul()
        if number.is_negative:
            return Call("negative", (self.convert(-node),))
        above: list[Expression] = []
        below: list[Expression] = []
        if number.is_Rational:
            above += [] if number.p == 1 else [self._number(number.p)]
            below += [] if number.q == 1 else [self._number(number.q)]
        else:
            above.append(self._number(number))
        for factor in rest.as_ordered_factors() if rest.is_Mul else [rest]:
            inverse = factor.is_Pow and factor.exp.is_Rational and factor.exp.is_negative
            (below if inverse else above).append(self.convert(1 / factor if inverse else factor))
        made = _times(above) if above else Number(1.0)
        return Call("/", (made, _times(below))) if below else made

    def _number(self, number: Any) -> Number:
        try:
            value = float(number)
        except (OverflowError, TypeError):
            value = math.inf
        if not math.isfinite(value):
            raise self._place.error(f"{number} is not a finite real number")
        return Number(value)

    def _power(self, base: Any, exponent: Any) -> Expression:
        import sympy

        if exponent.is_Rational and exponent.is_negative:
            return Call("/", (Number(1.0), self.convert(base**-exponent)))
        if exponent == sympy.Rational(1, 2):
            return Call("sqrt", (self.convert(base),))
        if base is sympy.E:
            return Call("exp", (self.convert(exponent),))
        return Call("**", (self.convert(base), self.convert(exponent)))

    def _element(self, node: Any) -> Expression:
        import sympy

        if not (node.i.is_Integer and node.j.is_Integer):
            raise self._place.error(f"{node} has an index that is no number")
        i, j = int(node.i), int(node.j)
        if not isinstance(node.parent, sympy.MatrixSymbol):
            return self.convert(node.parent.as_explicit()[i, j])
        name = node.parent.name
        if len(self._arrays.get(name, (0, 0))) == 1:
            return Index(Name(name), (max(i, j),))
        return Index(Name(name), (i, j))

    def _piecewise(self, node: Any) -> Expression:
        *pieces, (last, condition) = node.args
        if condition != True:  # noqa: E712  (SymPy's true)
            raise self._place.error(f"{node} does not say what holds elsewhere; end it with (expression, True)")
        made = self.convert(last)
        for value, where in reversed(pieces):
            made = Call("where", (self.convert(where), self.convert(value), made))
        return made


def _times(factors: list[Expression]) -> Expression:
    return reduce(lambda a, b: Call("*", (a, b)), factors)


# ---- what is given


def _pairs(what: str, given: Any) -> list[tuple[Any, Any]]:
    if isinstance(given, Mapping):
        return list(given.items())
    try:
        return [(key, value) for key, value in given]
    except (TypeError, ValueError):
        raise DeclarationError(
            f"from_sympy: {what}: expected a dict from symbols to values, got {type(given).__name__}."
        ) from None


def _is_mapping(given: Any) -> bool:
    """A dict, or a list of pairs of a key and a value."""
    if isinstance(given, Mapping):
        return True
    return isinstance(given, (list, tuple)) and bool(given) and all(isinstance(e, tuple) and len(e) == 2 for e in given)


def _is_sympy(value: Any) -> bool:
    return hasattr(value, "free_symbols") and hasattr(value, "evalf")


def _is_matrix(value: Any) -> bool:
    return _is_sympy(value) and getattr(value, "is_Matrix", False)


def _elements(value: Any) -> list[Any]:
    """The entries of a matrix, an array or a list, row by row; anything else as the only one."""
    if _is_matrix(value):
        return list(value.as_explicit()) if hasattr(value, "as_explicit") else list(value)
    if isinstance(value, np.ndarray):
        return list(value.ravel())
    if isinstance(value, (list, tuple)):
        return [e for one in value for e in _elements(one)]
    return [value]


def _shape(value: Any, place: Argument) -> tuple[int, ...] | None:
    """The shape of a matrix, an array or a list; None of anything else."""
    if _is_matrix(value):
        return tuple(int(k) for k in value.shape)
    if not isinstance(value, (list, tuple, np.ndarray)):
        return None
    shape = np.shape(np.array(value, dtype=object))
    if len(_elements(value)) != math.prod(shape) or not all(shape):
        raise place.error("expected a matrix, or lists of one length")
    return shape


def _array_tree(trees: Sequence[Expression], shape: tuple[int, ...]) -> Expression:
    """A list of lists in this shape; a single row or column is one list."""
    if len(shape) < 2 or 1 in shape:
        return Call("list", tuple(trees))
    width = len(trees) // shape[0]
    return Call("list", tuple(Call("list", tuple(trees[k : k + width])) for k in range(0, len(trees), width)))


def _output_name(number: int, expression: Any) -> str:
    symbol = getattr(expression, "is_Symbol", False)
    return str(expression.name) if symbol else f"output{number}"
