"""A model as its equations, however they were written: what is declared, in which order, and where it stands.

Text, TOML and SymPy fill an `EquationModel`; `fwdgrad.declare.equations` computes with it. It refuses what contradicts
itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fwdgrad.declare.expressions import Delayed, Expression, Name, delayed_in, evaluate, names_in
from fwdgrad.declare.functions import CONSTANTS
from fwdgrad.declare.places import Place, suggestion
from fwdgrad.errors import DeclarationError
from fwdgrad.system.parameters import Parameter, Tied, bounded, fixed, tied

__all__ = [
    "TIME",
    "Equation",
    "EquationModel",
    "Follows",
    "InputEntry",
    "Jump",
    "OutputEntry",
    "ParameterEntry",
    "free_parameter",
    "tied_parameter",
]

TIME = "t"
"""The name of time."""


@dataclass(frozen=True)
class Equation:
    """A right side, where it stands, and the unit of its left side, which is a label."""

    expression: Expression
    place: Place
    unit: str = ""


@dataclass(frozen=True)
class OutputEntry(Equation):
    """An output, and the standard deviation of its observation noise, if it is given."""

    noise: Expression | None = None


@dataclass(frozen=True, eq=False)
class ParameterEntry:
    """A parameter as `System` takes it: what `positive`, `bounded`, `fixed` and `tied` return."""

    declared: Parameter | Tied
    place: Place
    unit: str = ""


@dataclass(frozen=True, eq=False)
class InputEntry:
    """An input, with an example value."""

    example: np.ndarray
    place: Place
    unit: str = ""


@dataclass(frozen=True)
class Jump:
    """A change at given times, `at t = time: name = value`, or where something begins to hold, `when a > b: …`.

    Attributes:
        times: an expression of parameters; or of anything, positive where it holds.
        values: what state variables are afterwards, in terms of what everything is before.
        place: where it stands.
        conditional: whether it is a condition.
        surrogate: the width of its surrogate derivative, see `When`.
    """

    times: Equation
    values: dict[str, Equation]
    place: Place
    conditional: bool = False
    surrogate: float | None = None


class Follows:
    """The function of a tied parameter: an expression of one other parameter."""

    def __init__(self, other: str, expression: Expression) -> None:
        self.other, self.expression = other, expression

    def __call__(self, value: Any) -> Any:
        """Its value, from the value of the other one."""
        return evaluate(self.expression, CONSTANTS | {self.other: value})


def free_parameter(
    name: str, value: np.ndarray, place: Place, low: float = -np.inf, high: float = np.inf, *, hold: bool = False
) -> Parameter:
    """A parameter with an initial value, within bounds, held fixed if `hold`.

    Raises:
        DeclarationError: the bounds are not in order, or the value is not between them.
    """
    if not low < high:
        raise place.error(f"the bounds {low:g} and {high:g} are not in order")
    if not np.all((value > low) & (value < high)):
        raise place.error(f"the value of {name} is not strictly between its bounds {low:g} and {high:g}")
    return fixed(value) if hold else bounded(value, low, high)


def tied_parameter(name: str, expression: Expression, place: Place) -> Tied:
    """A parameter that follows from another one.

    Raises:
        DeclarationError: the expression has not just one name.
    """
    others = list(dict.fromkeys(k for k in names_in(expression) if k not in CONSTANTS))
    if len(others) != 1:
        raise place.error(f"{name} is tied to one other parameter, by an expression of its name; got {len(others)}")
    return tied(others[0], Follows(others[0], expression))


@dataclass
class EquationModel:
    """Equations by name, in the order of their declaration; `finish` checks them when all are there.

    Attributes:
        source: what to call the model in messages.
        continuous: whether `changes` are rates, not next values; None before the first one.
        changes: the rate, or the next value, of every state variable.
        start: initial values.
        params, inputs, outputs, definitions: what their names say.
        jumps: changes at given times.
        delays: delayed state variables by how they are written, and where.
        order: names of the definitions, each after those that it uses.
        timed: whether time is a state variable, because an equation uses it.
    """

    source: str = "model"
    continuous: bool | None = None
    changes: dict[str, Equation] = field(default_factory=dict)
    start: dict[str, Equation] = field(default_factory=dict)
    params: dict[str, ParameterEntry] = field(default_factory=dict)
    inputs: dict[str, InputEntry] = field(default_factory=dict)
    outputs: dict[str, OutputEntry] = field(default_factory=dict)
    definitions: dict[str, Equation] = field(default_factory=dict)
    jumps: list[Jump] = field(default_factory=list)
    delays: dict[str, tuple[Delayed, Place]] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    timed: bool = False
    _declared: dict[str, Place] = field(default_factory=dict, repr=False)

    # ---- collecting

    def change(self, name: str, equation: Equation, *, continuous: bool) -> None:
        """The rate of a state variable; or its next value, in discrete time."""
        if self.continuous is not None and self.continuous != continuous:
            raise equation.place.error("rates (d x/dt = …) and next values (next x = …) do not go into one model")
        self.continuous = continuous
        self._declare(name, equation.place)
        self.changes[name] = equation

    def begin(self, name: str, equation: Equation) -> None:
        """An initial value."""
        if name in self.start:
            raise equation.place.error(f"{name}(0) is there twice, first in {self.start[name].place}")
        self.start[name] = equation

    def parameter(self, name: str, entry: ParameterEntry) -> None:
        """A parameter."""
        self._declare(name, entry.place)
        self.params[name] = entry

    def input(self, name: str, entry: InputEntry) -> None:
        """An input."""
        self._declare(name, entry.place)
        self.inputs[name] = entry

    def define(self, name: str, equation: Equation) -> None:
        """A named intermediate."""
        self._declare(name, equation.place)
        self.definitions[name] = equation

    def output(self, name: str, entry: OutputEntry) -> None:
        """An output. Outputs have names of their own: one may be called like a state variable."""
        if name in self.outputs:
            raise entry.place.error(f"the output {name!r} is there twice, first in {self.outputs[name].place}")
        self.outputs[name] = entry

    def _declare(self, name: str, place: Place) -> None:
        if name == TIME:
            raise place.error("t is time; give this another name")
        if name in self._declared:
            raise place.error(f"{name!r} is there twice, first in {self._declared[name]}")
        self._declared[name] = place

    # ---- checking

    def finish(self) -> None:
        """Check that everything is there, and nothing goes round in circles.

        Raises:
            DeclarationError: something is missing or unknown; a ModelTextError if the equations came from text.
        """
        if not self.changes:
            raise DeclarationError(
                f"{self.source}: expected an equation for at least one state variable, `d x/dt = …` or `next x = …`."
            )
        for name, equation in self.start.items():
            if name not in (*self.changes, TIME):
                raise equation.place.error(
                    f"{name}(0) is an initial value, but no equation says how {name!r} changes. "
                    f"{suggestion(name, self.changes)}"
                )
        for name, equation in self.changes.items():
            if name not in self.start:
                raise equation.place.error(f"the initial value {name}(0) is missing")
        if not self.outputs:
            self.outputs = {k: OutputEntry(Name(k), e.place, self.start[k].unit) for k, e in self.changes.items()}
        without = [k for k, e in self.outputs.items() if e.noise is None]
        if without and len(without) < len(self.outputs):
            raise self.outputs[without[0]].place.error("some outputs have noise, this one has none; give it to all")
        self.delays = {one.name: (one, place) for one, place in self._delayed()}
        known = {*self._declared, *CONSTANTS, TIME, *self.delays}
        jumps = [equation for jump in self.jumps for equation in jump.values.values()]
        jumps += [jump.times for jump in self.jumps if jump.conditional]
        for equation in (*self.changes.values(), *self.outputs.values(), *self.definitions.values(), *jumps):
            self._check_names(equation, known)
        known = {*self.params, *CONSTANTS}
        for one, place in self.delays.values():
            self._check_delay(one, place, known)
        for name, equation in self.start.items():
            self._check_names(equation, known, f"{name}(0) may depend on parameters alone")
        for jump in self.jumps:
            self._check_jump(jump, known)
        for entry in self.params.values():
            if isinstance(entry.declared, Tied):
                self._check_tie(entry.declared.name, entry.place)
        self.order = tuple(self._ordered())
        expressions = [e.expression for e in (*self.changes.values(), *self.outputs.values(), *jumps)]
        expressions += [self.definitions[k].expression for k in self.needed(expressions)]
        self.timed = (
            not all(jump.conditional for jump in self.jumps)
            or TIME in self.start
            or any(TIME in names_in(e) for e in expressions)
        )

    def needed(self, expressions: Iterable[Expression]) -> list[str]:
        """The definitions that expressions use, each after those that it uses itself."""
        wanted = {name for expression in expressions for name in names_in(expression)}
        found = []
        for name in reversed(self.order):
            if name in wanted:
                found.append(name)
                wanted.update(names_in(self.definitions[name].expression))
        return found[::-1]

    @property
    def units(self) -> dict[str, str]:
        """The labels, by what stands on the left, where there are any."""
        change = "d {}/dt" if self.continuous else "next {}"
        labels = [(change.format(k), e.unit) for k, e in self.changes.items()]
        labels += [(k, e.unit) for k, e in self.start.items()]
        labels += [(k, e.unit) for k, e in self.params.items()]
        labels += [(k, e.unit) for k, e in self.inputs.items()]
        labels += [(k, e.unit) for k, e in self.definitions.items()]
        labels += [(f"output {k}", e.unit) for k, e in self.outputs.items()]
        return {k: unit for k, unit in labels if unit}

    def _check_names(self, equation: Equation, allowed: Collection[str], rule: str = "") -> None:
        for name in names_in(equation.expression):
            if name in allowed:
                continue
            if name in self._declared or name == TIME:
                raise equation.place.error(f"{rule}; {name!r} is something else")
            raise equation.place.error(f"{name!r} is not declared. {suggestion(name, self._declared)}")

    def _delayed(self) -> Iterator[tuple[Delayed, Place]]:
        """What is delayed anywhere, with where it stands; in the order in which it is written."""
        jumps = [e for jump in self.jumps for e in (jump.times, *jump.values.values())]
        everywhere = (self.definitions, self.changes, self.outputs)
        for equation in (*(e for part in everywhere for e in part.values()), *jumps):
            for one in delayed_in(equation.expression):
                yield one, equation.place

    def _check_delay(self, one: Delayed, place: Place, known: Collection[str]) -> None:
        if not self.continuous:
            raise place.error("next values have no time; keep what is past in the state: next x1 = x")
        if one.of not in self.changes:
            raise place.error(
                f"{one.of!r} is no state variable, and nothing else is remembered. {suggestion(one.of, self.changes)}"
            )
        rule = f"how long {one.name} is may depend on parameters alone"
        self._check_names(Equation(one.by, place), known, rule)
        if one.longest is not None:
            self._check_names(Equation(one.longest, place), CONSTANTS, "the longest a delay can be is a number")

    def _check_jump(self, jump: Jump, known: Collection[str]) -> None:
        if not self.continuous:
            raise jump.place.error("next values have no moments in between; `at t = …` and `when …` go with rates")
        if not jump.conditional:
            self._check_names(jump.times, known, "the time of a change may depend on parameters alone")
        elif all(
            name in known or (name == TIME and name not in self.changes) for name in names_in(jump.times.expression)
        ):
            raise jump.place.error(
                "a condition of time and parameters alone is not left by a change; write `at t = …`, with a list "
                "of times if there are several"
            )
        for name in jump.values:
            if name not in self.changes:
                raise jump.place.error(
                    f"{name!r} is no state variable, and nothing else can be changed. {suggestion(name, self.changes)}"
                )

    def _check_tie(self, other: str, place: Place) -> None:
        if other not in self.params:
            raise place.error(f"it is tied to {other!r}, which is no parameter. {suggestion(other, self.params)}")
        if isinstance(self.params[other].declared, Tied):
            raise place.error(f"it is tied to {other!r}, which is tied itself; tie both to the same one")

    def _ordered(self) -> Iterator[str]:
        """The definitions, each after those that it uses."""
        state: dict[str, bool] = {}  # False while its own uses are being looked at
        for first in self.definitions:
            path = [] if first in state else [(first, iter(self._uses(first)))]
            if path:
                state[first] = False
            while path:
                name, rest = path[-1]
                following = next((k for k in rest if state.get(k) is not True), None)
                if following is None:
                    path.pop()
                    state[name] = True
                    yield name
                elif following in state:
                    circle = [k for k, _ in path]
                    circle = [*circle[circle.index(following) :], following]
                    shown = " → ".join(circle if len(circle) <= 8 else [*circle[:4], "…", *circle[-3:]])
                    raise self.definitions[following].place.error(f"the definitions go round in a circle: {shown}")
                else:
                    state[following] = False
                    path.append((following, iter(self._uses(following))))

    def _uses(self, name: str) -> list[str]:
        used = names_in(self.definitions[name].expression)
        return [k for k in dict.fromkeys(used) if k in self.definitions]
