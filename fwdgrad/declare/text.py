"""Equation text: a model as a person writes it, an equation a line.

    # Lotka and Volterra
    d prey/dt = a*prey - meals       : thousand/year
    d pred/dt = d*meals - c*pred     : thousand/year
    meals = b*prey*pred                                # a definition
    prey(0) = 30
    pred(0) = pred0                                    # learned
    param a = 0.5 in (0, inf)        : 1/year
    param b = 0.02
    param pred0 = 4.0
    …
    output hare = prey noise 0.5     : thousand
    dt = 0.05
    method = rk4

A line is read by its left side; expressions go through `fwdgrad.declare.parse`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fwdgrad.declare.equations import Equations, EquationSystem, system_of
from fwdgrad.declare.expressions import Call, Name
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
from fwdgrad.errors import DataError, DeclarationError, ModelTextError, did_you_mean, nearly
from fwdgrad.integrate import METHODS, PAIRS, Adaptive
from fwdgrad.losses import LIKELIHOODS
from fwdgrad.support.arguments import suggests
from fwdgrad.system import FIRST

__all__ = [
    "bound",
    "first_setting",
    "from_text",
    "given_text",
    "likelihood_setting",
    "number_setting",
    "read_changes",
    "read_condition",
    "read_source",
    "read_text",
    "surrogate_width",
    "tolerance_setting",
    "tolerances_of",
]

LONGEST = 1_000_000
"""Characters of a model."""

MOST_LINES = 10_000
"""Lines that say something."""

LONGEST_LINE = 20_000
"""Characters of a line, and of those that it goes on in."""

SETTINGS = ("dt", "method", "rtol", "atol", "substeps", "first", "injection", "likelihood")
"""Names on the left that are no definitions."""

RESERVED = frozenset(("param", "input", "output", "next", "fixed", "tied", "noise", "inf", *SETTINGS))
"""Words of the grammar."""

BEGINNINGS = ("param", "input", "output", "next")
"""Those that a line may begin with, before a name."""

OPERATORS = "+-*/%,(["
"""After one of these, a name is part of an expression."""

_NAME = r"([^\W\d]\w*)"
_LEFT: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("rate", re.compile(rf"d\s*{_NAME}\s*/\s*dt")),
    ("next", re.compile(rf"next\s+{_NAME}")),
    ("start", re.compile(rf"{_NAME}\s*\(\s*0\s*\)")),
    ("param", re.compile(rf"param\s+{_NAME}")),
    ("input", re.compile(rf"input\s+{_NAME}")),
    ("output", re.compile(rf"output\s+{_NAME}")),
    ("setting", re.compile(rf"({'|'.join(SETTINGS)})")),
    ("definition", re.compile(_NAME)),
)
_AT = re.compile(r"at\s+t\s*=\s*(?P<times>[^:]*):(?P<changes>.*)")
_MOMENT = re.compile(r"(at|when)\s+[^\s=]")
_WHEN = re.compile(r"when\s+(?P<condition>[^:]*[<>][^:]*):(?P<changes>.*)")
_CHANGE = re.compile(rf"{_NAME}\s*(?P<sign>[+-]?)=(?P<value>[^=].*)")
_BARE_OUTPUT = re.compile(rf"output\s+{_NAME}(\s+noise\s.*)?")
_BOUNDS = re.compile(r"(?P<value>.*?) in ?(?P<bounds>[(\[].*)")


@suggests
def from_text(
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
    """A system from equation text, an equation a line; see the page "Declaring a system by its equations".

    =============================================  ==================================================================
    ``d x/dt = expression``                        the rate of a state variable
    ``next x = expression``                        its next value, in discrete time
    ``x(0) = 1.5``                                 its initial value; an expression of parameters is learned
    ``y = expression``                             a definition, for all lines
    ``param a = 1.1 in (0, inf) fixed : unit``     a parameter; bounds, ``fixed`` and the unit may be left out
    ``param b = 2*a tied``                         a parameter that follows from another one
    ``input u = 0``                                an input, with an example value
    ``output z = expression noise 0.1 : unit``     an output, with the standard deviation of its observation noise
    ``dt = 0.01``, ``method = rk4``, ``substeps``  arguments of `System`; ``dt`` may be the name of an input
    ``rtol = 1e-8``, ``atol = 1e-10``              tolerances of a method that chooses its steps; see `Adaptive`
    ``first = initial`` or ``next``                what the first sample is observed in: x(0), or the state a step later
    ``injection = K``                              the gain of an observer: a parameter, or numbers; see `System`
    ``likelihood = poisson``                       of all outputs: gaussian, student_t, poisson, negative_binomial or
                                                   bernoulli, whose output is the logarithm of the odds
    ``at t = 24: gut += dose``                     a change at a time, or at several: `[0, 12, 24]`; see `At`
    ``when v > limit: v = 0``                      a change where something begins to hold; see `When`
    ``delay(x, tau)``                              in an expression, a state variable a while ago; see `Delay`
    =============================================  ==================================================================

    The text is read, never run: expressions may use numbers, declared names, ``t`` (time), ``pi``, ``+ - * / % **``,
    and known functions. A value may be a list, and equations then hold entry by entry.

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
        ModelTextError: a line cannot be taken; the message has its number, what it says, and why.
        DeclarationError: something is missing altogether.
        DataError: the file cannot be read.

    Example:
        >>> import fwdgrad as fg
        >>> system = fg.from_text(
        ...     '''
        ...     d prey/dt = a*prey - b*prey*pred
        ...     d pred/dt = -c*pred + d*prey*pred
        ...     prey(0) = 10
        ...     pred(0) = 5
        ...     param a = 1.1 in (0, inf) : 1/year
        ...     param b = 0.4
        ...     param c = 0.4
        ...     param d = 0.1
        ...     output prey
        ...     dt = 0.01
        ...     '''
        ... )
        >>> print(fg.analyze(system).choice.name)
        RTRL
    """
    model, settings = read_text(source)
    given = {"dt": dt, "method": method, "substeps": substeps, "injection": injection}
    return system_of(Equations(model), settings, **given, loss=loss, name=name, first=first)


def read_text(source: str | os.PathLike[str]) -> tuple[EquationModel, dict[str, Any]]:
    """The model in a text, checked, and its settings, as far as it has them.

    Raises:
        DeclarationError, DataError: as `from_text`.
    """
    text, called = read_source(source, ".txt")
    reader = _Reader(called)
    lines = list(_lines(text, called))
    if len(lines) > MOST_LINES:
        raise lines[MOST_LINES].error(f"the model has more than {MOST_LINES:,} lines; use arrays")
    for line in lines:
        reader.read(line)
    reader.end()
    reader.model.finish()
    return reader.model, reader.settings


def given_text(source: str | os.PathLike[str], what: str, called: str) -> tuple[str, str]:
    """What was given as text, or stands in a file, and what to call it.

    Raises:
        DataError: the file cannot be read.
        DeclarationError: it is neither text nor a path.
    """
    if isinstance(source, os.PathLike):
        path = Path(source)
        try:
            return path.read_text(encoding="utf-8-sig"), path.name
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: the model cannot be read: {error}.") from None
    if not isinstance(source, str):
        raise DeclarationError(f"expected the text of {what}, or a pathlib.Path, got {type(source).__name__}.")
    return source, called


def read_source(source: str | os.PathLike[str], suffix: str) -> tuple[str, str]:
    """The text of a model, and what to call it.

    Raises:
        DataError: the file cannot be read.
        DeclarationError: it is neither text nor a path, or too long.
    """
    source, called = given_text(source, "a model", "model")
    if "\n" not in source and source.endswith(suffix):
        raise DeclarationError(f"{source!r} is taken as text. To read a file, give pathlib.Path({source!r}).")
    if len(source) > LONGEST:
        raise DeclarationError(f"{called}: a model of {len(source):,} characters is too long; the most is {LONGEST:,}.")
    return source.removeprefix("\ufeff"), called


def number_setting(key: str, value: float, place: Line) -> int | float:
    """A number among the settings: a positive step, or a whole number of substeps."""
    if not math.isfinite(value):
        raise place.error(f"{key} is {value}, not finite")
    if key == "substeps":
        if value < 1 or value != int(value):
            raise place.error(f"substeps: expected a whole number from 1, got {value:g}")
        return int(value)
    if not value > 0:
        raise place.error(f"dt: expected a positive step, got {value:g}")
    return float(value)


def tolerance_setting(key: str, value: Any, place: Line) -> Any:
    """A tolerance among the settings, in the form that `Adaptive` takes."""
    given: Any = float(value) if np.ndim(value) == 0 else tuple(np.ravel(value).tolist())
    tolerances: dict[str, Any] = {key: given}
    try:
        Adaptive("dopri5", **tolerances)
    except DeclarationError as error:
        raise place.error(str(error).replace(f"Adaptive({key}=…)", key)) from None
    return given


def tolerances_of(settings: dict[str, Any], places: Mapping[str, Line]) -> None:
    """Refuse tolerances of a method that takes none.

    Args:
        settings: as far as there are some.
        places: where each stands.
    """
    for key in ("rtol", "atol"):
        if key in settings and settings.get("method") not in PAIRS:
            said = f"method = {settings['method']} has none" if "method" in settings else "no method is given"
            raise places[key].error(f"{key} is of a method that chooses its steps, {' or '.join(PAIRS)}; {said}")


def first_setting(value: Any, place: Line) -> str:
    """What the first sample is observed in, among the settings."""
    if value not in FIRST:
        raise place.error(f"first: expected initial, the first sample is observed in x(0), or next; got {value!r}")
    return str(value)


def likelihood_setting(value: Any, place: Line) -> str:
    """The likelihood of the outputs, among the settings."""
    if value not in LIKELIHOODS:
        raise place.error(
            f"there is no likelihood {value!r}. {did_you_mean(str(value), LIKELIHOODS)} "
            f"Expected one of {', '.join(LIKELIHOODS)}; if it is a quantity of the model, call it likelihood_"
        )
    return str(value)


def _lines(text: str, source: str) -> Iterator[Line]:
    """The lines that say something, without comments; one that leaves a bracket open goes on in the next."""
    held, first, depth = "", 0, 0
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        part = " ".join(raw.split("#", 1)[0].split())
        if not part:
            continue
        if len(held) + len(part) > LONGEST_LINE:
            raise Line(source, first if held else number, part).error(
                f"a line of more than {LONGEST_LINE:,} characters is too long"
            )
        held, first = (part, number) if not held else (f"{held} {part}", first)
        depth += sum(c in "([" for c in part) - sum(c in ")]" for c in part)
        if depth <= 0:
            yield Line(source, first, held)
            held, depth = "", 0
    if held:
        raise Line(source, first, held).error("a bracket that is opened here is never closed")


def _split(text: str, mark: str) -> tuple[str, str | None]:
    """`text` before and after the first `mark` outside brackets; None if there is none."""
    depth = 0
    for k, c in enumerate(text):
        depth += (c in "([") - (c in ")]")
        if c == mark and depth == 0:
            return text[:k].strip(), text[k + 1 :].strip()
    return text.strip(), None


class _Reader:
    """Lines to a model and settings."""

    def __init__(self, source: str) -> None:
        self.model = EquationModel(source)
        self.settings: dict[str, Any] = {}
        self.definitions: dict[str, Line] = {}
        self.texts: list[str] = []
        self.places: dict[str, Line] = {}

    def read(self, line: Line) -> None:
        """One line."""
        self.texts.append(line.text)
        if found := _AT.fullmatch(line.text):
            times = Equation(parse(found["times"].strip(), line), line)
            self.model.jumps.append(Jump(times, read_changes(found["changes"], line), line))
            return
        if found := _WHEN.fullmatch(line.text):
            condition = read_condition(found["condition"], line)
            changes, _, width = found["changes"].partition(" surrogate ")
            soft = surrogate_width(constant(parse(width, line), line, "surrogate"), line) if width else None
            jump = Jump(condition, read_changes(changes, line), line, conditional=True, surrogate=soft)
            self.model.jumps.append(jump)
            return
        if _MOMENT.match(line.text):
            raise line.error(
                "a change is written `at t = 24: gut += dose`, also with a list of times, or `when v > limit: v = 0`, "
                "with one comparison by < or >"
            )
        rest, unit = _split(line.text, ":")
        if unit is not None and (not unit or len(unit) > 60 or not unit.isprintable()):
            raise line.error("the unit after the colon is a label of at most 60 characters")
        left, right = _split(rest, "=")
        bare = _BARE_OUTPUT.fullmatch(left) if right is None else None
        if bare:
            left, right = f"output {bare[1]}", f"{bare[1]}{bare[2] or ''}"
        if not left or not right:
            words = left.split()
            near = nearly(words[0], BEGINNINGS) if words and words[0] not in BEGINNINGS else ""
            near = near or next((hint for word in words[2:3] if (hint := nearly(word, ("noise",)))), "")
            raise line.error("an equation is expected: something = something." + near)
        kind, name = self._left(left, line)
        getattr(self, f"_{kind}")(name, right, unit or "", line)

    @staticmethod
    def _left(left: str, line: Line) -> tuple[str, str]:
        """What kind of line it is, and which name it is about."""
        kind, found = next(((k, m) for k, pattern in _LEFT if (m := pattern.fullmatch(left))), ("", None))
        if found is None:
            shown = repr(left if len(left) <= 60 else left[:57] + "...")
            raise line.error(
                f"{shown} cannot stand on the left; write d NAME/dt, next NAME, NAME(0), NAME, "
                "param NAME, input NAME or output NAME." + nearly(left.partition(" ")[0], BEGINNINGS)
            )
        name = found[1]
        problem = None if kind == "setting" else name_problem(name)
        if problem is None and kind != "setting" and name in RESERVED:
            problem = f"{name!r} cannot be a name: it is a word of this language. Write {name}_"
        if problem is not None:
            raise line.error(problem)
        return kind, name

    # ---- one kind of line each

    def _rate(self, name: str, right: str, unit: str, line: Line) -> None:
        self.model.change(name, Equation(parse(right, line), line, unit), continuous=True)

    def _next(self, name: str, right: str, unit: str, line: Line) -> None:
        self.model.change(name, Equation(parse(right, line), line, unit), continuous=False)

    def _start(self, name: str, right: str, unit: str, line: Line) -> None:
        self.model.begin(name, Equation(parse(right, line), line, unit))

    def end(self) -> None:
        """Refuse a gain that is no parameter, and definitions that nothing uses and look like a misspelt setting."""
        tolerances_of(self.settings, self.places)
        gain = self.settings.get("injection")
        if isinstance(gain, str) and gain not in self.model.params:
            raise self.places["injection"].error(
                f"injection is the gain of an observer, the name of a parameter or numbers, and {gain!r} is "
                f"no parameter. {did_you_mean(gain, self.model.params)} "
                "If it is a quantity of the model, call it injection_"
            )
        for name, line in self.definitions.items():
            near = nearly(name, SETTINGS)
            if near and sum(bool(re.search(rf"\b{name}\b", text)) for text in self.texts) == 1:
                raise line.error(f"nothing uses {name!r}, which looks like a setting." + near)

    def _definition(self, name: str, right: str, unit: str, line: Line) -> None:
        self.definitions[name] = line
        self.model.define(name, Equation(parse(right, line), line, unit))

    def _input(self, name: str, right: str, unit: str, line: Line) -> None:
        example = constant(parse(right, line), line, f"the example of {name}")
        self.model.input(name, InputEntry(example, line, unit))

    def _param(self, name: str, right: str, unit: str, line: Line) -> None:
        value, word = _last_word(right, ("fixed", "tied"), line)
        found = _BOUNDS.fullmatch(value)
        if word == "tied":
            if found:
                raise line.error("a tied parameter follows from another one; give bounds to that one")
            self.model.parameter(name, ParameterEntry(tied_parameter(name, parse(value, line), line), line, unit))
            return
        bounds = [-math.inf, math.inf]
        if found:
            value, bounds = found["value"], self._bounds(found["bounds"], line)
        start = constant(parse(value, line), line, f"the value of {name}")
        declared = free_parameter(name, start, line, *bounds, hold=word == "fixed")
        self.model.parameter(name, ParameterEntry(declared, line, unit))

    @staticmethod
    def _bounds(text: str, line: Line) -> list[float]:
        if not (text.startswith("(") and text.endswith(")")):
            raise line.error("bounds are open, as a parameter never reaches them; write in (low, high)")
        low, high = _split(text[1:-1], ",")
        if high is None:
            raise line.error("two bounds are expected: in (low, high)")
        return [bound(low, line), bound(high, line)]

    def _output(self, name: str, right: str, unit: str, line: Line) -> None:
        pieces = right.split(" noise ")
        if len(pieces) > 2:
            raise line.error("the noise is given twice")
        noise = parse(pieces[1], line) if len(pieces) == 2 else None
        self.model.output(name, OutputEntry(parse(pieces[0], line), line, unit, noise))

    @staticmethod
    def _gain(right: str, line: Line) -> Any:
        """The name of a parameter, or numbers."""
        expression = parse(right, line)
        if isinstance(expression, Name):
            return expression.name
        try:
            return constant(expression, line, "injection")
        except ModelTextError as error:
            raise line.error(
                f"injection is the gain of an observer, the name of a parameter or numbers: {error.reason}. If it is a "
                "quantity of the model, call it injection_"
            ) from None

    def _setting(self, name: str, right: str, unit: str, line: Line) -> None:
        if name in self.settings:
            raise line.error(f"{name} is there twice")
        self.places[name] = line
        if name == "method":
            if right not in METHODS:
                raise line.error(f"there is no integrator {right!r}. {did_you_mean(right, METHODS)}")
            self.settings[name] = right
            return
        if name == "first":
            self.settings[name] = first_setting(right, line)
            return
        if name == "likelihood":
            self.settings[name] = likelihood_setting(right, line)
            return
        if name == "injection":
            self.settings[name] = self._gain(right, line)
            return
        expression = parse(right, line)
        if name == "dt" and isinstance(expression, Name):
            self.settings[name] = expression.name
        elif name in ("rtol", "atol"):
            self.settings[name] = tolerance_setting(name, constant(expression, line, name), line)
        else:
            value = constant(expression, line, name)
            if value.shape != ():
                raise line.error(f"{name} is one number")
            self.settings[name] = number_setting(name, float(value), line)


def read_condition(text: str, line: Line) -> Equation:
    """A comparison, as what is positive where it holds."""
    match parse(f"where({text.strip()}, 1, 0)", line):
        case Call("where", (Call(">" | ">=", (a, b)), *_)):
            return Equation(Call("-", (a, b)), line)
        case Call("where", (Call("<" | "<=", (a, b)), *_)):
            return Equation(Call("-", (b, a)), line)
    raise line.error("a condition is one comparison, a > b or a < b, whose moment can be found")


def read_changes(changes: str, line: Line) -> dict[str, Equation]:
    """What state variables become, from assignments, one or several with semicolons between."""
    values: dict[str, Equation] = {}
    for part in changes.split(";"):
        found = _CHANGE.fullmatch(part.strip())
        if found is None:
            raise line.error(
                "after the colon, changes of state variables are expected: NAME = expression, NAME += expression or "
                "NAME -= expression, with semicolons between several"
            )
        name, sign, expression = found[1], found["sign"], parse(found["value"].strip(), line)
        if name in values:
            raise line.error(f"{name!r} is changed twice here")
        values[name] = Equation(Call(sign, (Name(name), expression)) if sign else expression, line)
    return values


def surrogate_width(value: Any, line: Line) -> float:
    """The width of a surrogate derivative."""
    if np.shape(value) != () or not value > 0:
        raise line.error(f"surrogate is a width, one positive number in the unit of the condition; got {value}")
    return float(value)


def bound(text: str, line: Line) -> float:
    """A bound of a parameter: a number, or ±inf."""
    value = constant(parse(text, line), line, "a bound", infinite=True)
    if value.shape != ():
        raise line.error("a bound is one number")
    return float(value)


def _last_word(text: str, words: tuple[str, ...], line: Line) -> tuple[str, str | None]:
    """Text without its last word, and that word, if it is one of these."""
    before, _, last = text.rpartition(" ")
    before = before.strip()
    if last.isalpha() and last not in words and before and before[-1] not in OPERATORS and nearly(last, words):
        raise line.error(f"{last!r} cannot stand at the end." + nearly(last, words))
    return (before, last) if last in words and before else (text, None)
