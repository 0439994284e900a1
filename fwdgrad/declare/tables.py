"""The same models as TOML tables: one for the state, the parameters, the inputs, the outputs and the settings."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from fwdgrad.declare.equations import Equations, EquationSystem, system_of
from fwdgrad.declare.expressions import Array, Call, Expression, Number
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
from fwdgrad.declare.parse import constant, name_problem, parse
from fwdgrad.declare.places import Line
from fwdgrad.declare.text import (
    bound,
    first_setting,
    likelihood_setting,
    number_setting,
    read_changes,
    read_condition,
    read_source,
    surrogate_width,
    tolerance_setting,
    tolerances_of,
)
from fwdgrad.errors import did_you_mean
from fwdgrad.integrate import METHODS, Adaptive
from fwdgrad.support.arguments import suggests

__all__ = ["from_toml", "read_toml"]

_DOTS = re.compile(r"""(?<![\w\-."'])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){8}""")
"""A key of more parts than any model has; for one of very many, Python's TOML parser takes all the memory there is."""

_TABLES = ("state", "params", "inputs", "outputs", "definitions", "events", "settings")


@suggests
def from_toml(
    source: str | os.PathLike[str],
    *,
    dt: float | str | None = None,
    method: str | Adaptive | None = None,
    substeps: int | None = None,
    injection: Any = None,
    loss: Any = None,
    name: str | None = None,
    first: str | None = None,
) -> EquationSystem:
    r"""A system from TOML tables; the equations in them are those of `from_text`, as strings.

    ==================  ===============================================================================================
    ``name``            what to call it
    ``[state]``         by name, a table: ``rate`` or ``next``, ``start`` and perhaps ``unit``
    ``[params]``        by name, a value; or a table: ``value``, ``in = [low, high]``, ``fixed = true``, ``unit``; or
                        ``tied = "expression of another parameter"``
    ``[inputs]``        by name, an example value; or a table: ``value``, ``unit``
    ``[outputs]``       by name, an expression; or a table: ``value``, ``noise``, ``unit``
    ``[definitions]``   by name, an expression; or a table: ``value``, ``unit``
    ``[[events]]``      ``at``, a time or a list of them, or ``when``, a comparison; and ``change``, assignments such
                        as ``"gut += dose"``, with semicolons between several
    ``[settings]``      ``dt`` (a number, or the name of an input), ``method``, ``rtol``, ``atol``, ``substeps``,
                        ``first``, ``injection``, ``likelihood`` (as ``"poisson"``)
    ==================  ===============================================================================================

    Args:
        source: the text; or the path of a file, as a `pathlib.Path`.
        dt: in place of the step in the text; or a name: of the input that brings it, which is added if it is not there.
        method: in place of the integrator in the text; tolerances there are kept for a name that takes some.
        substeps: in place of that in the text.
        injection: the gain of an observer; see `System`.
        loss: that of the likelihood in the text; else squared error, in units of the noise if outputs have noise.
        name: what to call it in reports.
        first: in place of that in the text; "initial" for rates with a number dt and "next" otherwise, unless given.

    Raises:
        ModelTextError: the text is no TOML, or something in it cannot be taken; the message says where and why.
        DeclarationError: something is missing altogether.
        DataError: the file cannot be read.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> system = fg.from_toml(
        ...     '''
        ...     [state]
        ...     level = { rate = "inflow - leak*level", start = 0 }
        ...     [params]
        ...     leak = { value = 0.3, in = [0, inf], unit = "1/min" }
        ...     [inputs]
        ...     inflow = 0.0
        ...     [settings]
        ...     dt = 0.1
        ...     '''
        ... )
        >>> system.simulate({"inflow": np.ones(3)}).states["level"]
        array([0.        , 0.09851489, 0.19411822])
    """
    model, settings = read_toml(source)
    given = {"dt": dt, "method": method, "substeps": substeps, "injection": injection}
    return system_of(Equations(model), settings, **given, loss=loss, name=name, first=first)


def read_toml(source: str | os.PathLike[str]) -> tuple[EquationModel, dict[str, Any]]:
    """The model in TOML tables, checked, and its settings.

    Raises:
        DeclarationError, DataError: as `from_toml`.
    """
    text, called = read_source(source, ".toml")
    tables = _Tables(text, called)
    content = tables.read()
    reader = _Reader(tables, tables.title(content))
    for table, entries in content.items():
        if table != "name":
            reader.read(table, entries)
    tolerances_of(reader.settings, {k: tables.place("settings", k) for k in reader.settings})
    reader.model.finish()
    return reader.model, reader.settings


class _Tables:
    """A TOML text, and on which line each of its keys stands."""

    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._text = text
        self._lines = text.splitlines()
        self._numbers = dict(reversed(list(self._keys())))

    def read(self) -> dict[str, Any]:
        """The tables.

        Raises:
            ModelTextError: it is no TOML.
        """
        if dots := _DOTS.search(self._text):
            number = self._text.count("\n", 0, dots.start()) + 1
            raise self._line(number).error("there is no key of so many parts")
        try:
            return tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r" \(at line (\d+), column \d+\)", str(error))
            number = int(found[1]) if found else max(len(self._lines), 1)
            reason = str(error).split(" (at ")[0]
        except (RecursionError, ValueError) as error:
            number, reason = 1, f"it cannot be read: {type(error).__name__}"
        raise self._line(number).error(f"this is no TOML: {reason}")

    def title(self, content: Mapping[str, Any]) -> str:
        """The name of the model."""
        name = content.get("name", self._source)
        if not isinstance(name, str) or not name.strip() or len(name) > 100:
            raise self.place("name").error("name: expected a text of at most 100 characters")
        return name

    def place(self, *path: str) -> Line:
        """Where a key stands, or the table that it is in."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._numbers:
                return self._line(self._numbers[path[:length]])
        return self._line(1)

    def _line(self, number: int) -> Line:
        return Line(self._source, number, self._lines[number - 1] if number <= len(self._lines) else "")

    def _keys(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Every key with its line, as far as that is seen without reading values."""
        table: tuple[str, ...] = ()
        counts: dict[tuple[str, ...], int] = {}
        for number, line in enumerate(self._lines, 1):
            header = re.match(r"\s*(\[+)([^\[\]=]+)\]", line)
            if header:
                table = _parts(header[2])
                yield table, number
                if header[1] == "[[":  # one of several tables of this name, which are counted
                    counts[table] = counts.get(table, -1) + 1
                    table = (*table, str(counts[table]))
                    yield table, number
                continue
            key, equals, _ = line.partition("=")
            if equals and re.fullmatch(r"[\w\-.\"' ]+", key.strip()):
                path = (table + _parts(key))[:3]  # a model's tables are not deeper
                for length in range(len(path), len(table), -1):
                    yield path[:length], number


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(r"""[^\s."']+|"[^"]*"|'[^']*'""", key))


class _Reader:
    """Tables to a model and settings."""

    def __init__(self, tables: _Tables, title: str) -> None:
        self._tables = tables
        self.model = EquationModel(title)
        self.settings: dict[str, Any] = {}

    def read(self, table: str, entries: Any) -> None:
        """One table."""
        if table not in _TABLES:
            raise self._tables.place(table).error(
                f"there is no table {table!r} in a model. {did_you_mean(table, ('name', *_TABLES))}"
            )
        if table == "events":
            self._events(entries)
            return
        if not isinstance(entries, dict):
            raise self._tables.place(table).error(f"[{table}] is a table")
        for name, entry in entries.items():
            place = self._tables.place(table, name)
            problem = None if table == "settings" else name_problem(name)
            if problem is not None:
                raise place.error(problem)
            getattr(self, f"_{table}")(name, entry, place)

    # ---- one entry of each table

    def _state(self, name: str, entry: Any, place: Line) -> None:
        self._fields(entry, ("rate", "next", "start", "unit"), place, f"{name} = {{ rate = …, start = … }}")
        kinds = [k for k in ("rate", "next") if k in entry]
        if len(kinds) != 1:
            raise place.error(
                f"{name}: expected its rate, or its next value in discrete time; got {len(kinds)} of them"
            )
        at = self._tables.place("state", name, kinds[0])
        change = Equation(_expression(entry[kinds[0]], at, kinds[0]), at)
        self.model.change(name, change, continuous=kinds[0] == "rate")
        if "start" in entry:
            at = self._tables.place("state", name, "start")
            self.model.begin(name, Equation(_expression(entry["start"], at, "start"), at, _unit(entry, place)))

    def _params(self, name: str, entry: Any, place: Line) -> None:
        if not isinstance(entry, dict):
            entry = {"value": entry}
        self._fields(entry, ("value", "in", "fixed", "tied", "unit"), place, f"{name} = {{ value = … }}")
        unit = _unit(entry, place)
        if "tied" in entry:
            if entry.keys() & {"value", "in", "fixed"}:
                raise place.error("a tied parameter follows from another one; it has no value or bounds of its own")
            tied = tied_parameter(name, _expression(entry["tied"], place, "tied"), place)
            self.model.parameter(name, ParameterEntry(tied, place, unit))
            return
        if "value" not in entry:
            raise place.error(f"{name} has no value")
        hold = entry.get("fixed", False)
        if not isinstance(hold, bool):
            raise place.error(f"fixed: expected true or false, got {hold!r}")
        bounds = entry.get("in", [-np.inf, np.inf])
        if not isinstance(bounds, list) or len(bounds) != 2:
            raise place.error(f"in: expected two bounds, [low, high]; got {bounds!r}")
        low, high = (_bound(b, place) for b in bounds)
        declared = free_parameter(name, _value(entry["value"], place, name), place, low, high, hold=hold)
        self.model.parameter(name, ParameterEntry(declared, place, unit))

    def _inputs(self, name: str, entry: Any, place: Line) -> None:
        entry = entry if isinstance(entry, dict) else {"value": entry}
        self._fields(entry, ("value", "unit"), place, f"{name} = 0.0")
        example = _value(entry.get("value", 0.0), place, name)
        self.model.input(name, InputEntry(example, place, _unit(entry, place)))

    def _outputs(self, name: str, entry: Any, place: Line) -> None:
        entry = entry if isinstance(entry, dict) else {"value": entry}
        self._fields(entry, ("value", "noise", "unit"), place, f'{name} = "expression"')
        expression = _expression(entry.get("value", name), place, "value")
        noise = _expression(entry["noise"], place, "noise") if "noise" in entry else None
        self.model.output(name, OutputEntry(expression, place, _unit(entry, place), noise))

    def _definitions(self, name: str, entry: Any, place: Line) -> None:
        entry = entry if isinstance(entry, dict) else {"value": entry}
        self._fields(entry, ("value", "unit"), place, f'{name} = "expression"')
        if "value" not in entry:
            raise place.error(f"{name} has no value")
        self.model.define(name, Equation(_expression(entry["value"], place, "value"), place, _unit(entry, place)))

    def _events(self, entries: Any) -> None:
        pattern = 'at = 24, change = "gut += dose"'
        if not isinstance(entries, list):
            raise self._tables.place("events").error(f"events are several: write [[events]], and {pattern} below it")
        for number, entry in enumerate(entries):
            place = self._tables.place("events", str(number))
            self._fields(entry, ("at", "when", "change", "surrogate"), place, f"{{ {pattern} }}")
            kinds = [k for k in ("at", "when") if k in entry]
            if len(kinds) != 1:
                raise place.error(f"an event has a time, at = 24, or a condition, when = 'v > 1'; got {len(kinds)}")
            where = self._tables.place("events", str(number), kinds[0])
            there = self._tables.place("events", str(number), "change")
            changes = entry.get("change")
            if not isinstance(changes, str):
                raise there.error(f"change: expected a text such as 'gut += dose', got {changes!r}")
            moment = entry[kinds[0]]
            if kinds[0] == "at":
                times = Equation(_times(moment, where), where)
            elif isinstance(moment, str):
                times = read_condition(moment, where)
            else:
                raise where.error(f"when: expected a comparison such as 'v > 1', got {moment!r}")
            soft = None
            if "surrogate" in entry:
                if kinds[0] == "at":
                    raise place.error("surrogate is of a condition, when = …; the derivative at known times is exact")
                soft = surrogate_width(_value(entry["surrogate"], place, "surrogate"), place)
            jump = Jump(times, read_changes(changes, there), place, kinds[0] == "when", soft)
            self.model.jumps.append(jump)

    def _settings(self, name: str, entry: Any, place: Line) -> None:
        known = ("dt", "method", "rtol", "atol", "substeps", "first", "injection", "likelihood")
        if name not in known:
            raise place.error(f"there is no setting {name!r}. {did_you_mean(name, known)}")
        if name == "method":
            if entry not in METHODS if isinstance(entry, str) else True:
                raise place.error(f"there is no integrator {entry!r}. {did_you_mean(str(entry), METHODS)}")
            self.settings[name] = entry
        elif name == "first":
            self.settings[name] = first_setting(entry, place)
        elif name == "likelihood":
            self.settings[name] = likelihood_setting(entry, place)
        elif name in ("rtol", "atol"):
            self.settings[name] = tolerance_setting(name, _value(entry, place, name), place)
        elif name == "injection":
            by_name = isinstance(entry, str) and entry.isidentifier()
            self.settings[name] = entry if by_name else _value(entry, place, name)
        elif name == "dt" and isinstance(entry, str):
            if (problem := name_problem(entry)) is not None:
                raise place.error(problem)
            self.settings[name] = entry
        elif isinstance(entry, bool) or not isinstance(entry, (int, float)):
            raise place.error(f"{name}: expected a number, got {entry!r}")
        else:
            self.settings[name] = number_setting(name, entry, place)

    @staticmethod
    def _fields(entry: Any, known: Iterable[str], place: Line, pattern: str) -> None:
        if not isinstance(entry, dict):
            raise place.error(f"expected a table, such as {pattern}")
        for key in entry:
            if key not in known:
                raise place.error(f"there is no key {key!r} here. {did_you_mean(key, known)}")


def _unit(entry: Mapping[str, Any], place: Line) -> str:
    unit = entry.get("unit", "")
    if not isinstance(unit, str) or len(unit) > 60 or not unit.isprintable():
        raise place.error("unit: expected a label of at most 60 characters")
    return unit


def _expression(given: Any, place: Line, what: str) -> Expression:
    """An expression from a text, or a number or list as it is."""
    if isinstance(given, str):
        return parse(given, place)
    value = _value(given, place, what)
    return Number(float(value)) if value.shape == () else Array(value)


def _times(given: Any, place: Line) -> Expression:
    """Times from numbers and texts of parameters, one or a list of them."""
    if isinstance(given, list) and given:
        return Call("list", tuple(_expression(one, place, "at") for one in given))
    return _expression(given, place, "at")


def _value(given: Any, place: Line, what: str) -> np.ndarray:
    """Numbers, from TOML's own or from a text such as "1/3"."""
    if isinstance(given, str):
        return constant(parse(given, place), place, f"the value of {what}")
    problem = f"{what}: expected a number or a list of numbers"
    if isinstance(given, bool) or not isinstance(given, (int, float, list)):
        raise place.error(f"{problem}, got {type(given).__name__}")
    try:
        array = np.array(given)
        value = array.astype(np.float64) if array.dtype.kind in "iuf" else None
    except (ValueError, OverflowError):
        value = None
    if value is None or not np.all(np.isfinite(value)) or not value.size:
        raise place.error(f"{problem}, finite and in one shape")
    return value


def _bound(given: Any, place: Line) -> float:
    if isinstance(given, str):
        return bound(given, place)
    try:
        value = float("nan" if isinstance(given, bool) or not isinstance(given, (int, float)) else given)
    except OverflowError:
        value = float("nan")
    if np.isnan(value):
        raise place.error(f"in: expected two numbers, got {str(given)[:60]}")
    return value
