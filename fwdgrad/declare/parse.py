"""An expression from text: Python's own grammar reads it, and a whitelist of its nodes is let through.

Nothing is ever evaluated, compiled or looked up: the text becomes a tree (`fwdgrad.declare.expressions`) of numbers,
names and the functions that `fwdgrad.declare.functions` lists, or it is refused.
"""

from __future__ import annotations

import ast
import keyword
import re
import unicodedata
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.declare.expressions import Call, Delayed, Expression, Index, Name, Number, evaluate, names_in
from fwdgrad.declare.functions import CONDITIONS, CONSTANTS, ELSEWHERE, FUNCTIONS, LARGEST, OPERATORS
from fwdgrad.declare.places import Place
from fwdgrad.errors import did_you_mean, nearly

__all__ = ["GREEK", "constant", "name_problem", "parse", "readable"]

LONGEST = 20_000
"""Characters of an expression."""

DEEPEST = 100
"""Levels of an expression, and signs, powers and conditions in it that nest to the right."""

BRACKETS = 30
"""Brackets inside brackets."""

LARGEST_POWER = 64.0

GREEK = "αβγδεζηθκλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ"
"""Greek letters that names may have: not those that look like a Latin one, such as alpha's capital or omicron."""

_LETTERS = f"A-Za-z_{GREEK}"
_TOKEN = re.compile(
    r"(?P<space>[ \t]+)|(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    rf"|(?P<name>[{_LETTERS}][{_LETTERS}0-9]*)"
    r"|(?P<operator>\*\*|//|<<|>>|<=|>=|==|!=|->|:=|[-+*/%@<>=()\[\],:.])"
)
_WORDS = frozenset(("and", "or", "not", "if", "else"))
_SPELLED = {
    "^": "write ** for powers",
    "&": "write `and`",
    "|": "write `or`",
    "~": "write `not`",
    "!": "write `not`",
    "=": "an equation has one `=`; conditions are written with <, <=, > and >=",
    "==": "numbers that are computed are hardly ever equal; conditions are written with <, <=, > and >=",
    "!=": "numbers that are computed are hardly ever equal; conditions are written with <, <=, > and >=",
    "//": "write floor(a/b)",
    ":=": "a definition has a line of its own",
    ".": "numbers are written like 0.5, and nothing has attributes",
}
_BINARY: dict[type, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.MatMult: "@",
}
_COMPARED: dict[type, str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_KINDS = {
    ast.Lambda: "functions are not defined here; a name may be lambda_",
    ast.Constant: "only numbers are constants",
    ast.Attribute: "nothing has attributes",
    ast.Dict: "dicts have no meaning here",
    ast.Tuple: "a list is written in square brackets",
    ast.Starred: "arguments are written one by one",
    ast.Slice: "slices stand in square brackets after a name",
}


class _Refused(Exception):
    """Why an expression is refused."""


def parse(text: str, place: Place) -> Expression:
    """The tree of an expression.

    Args:
        text: the expression.
        place: where it stands, for messages.

    Raises:
        ModelTextError: it is not one, or uses more than numbers, names, known functions and + - * / % ** @, < <= > >=.

    Example:
        >>> from fwdgrad.declare.places import Line
        >>> parse("2*x", Line("model", 1, "y = 2*x"))
        Call(function='*', arguments=(Number(value=2.0), Name(name='x')))
    """
    try:
        readable(text)
        return _Converter().convert(_syntax(text.strip()))
    except _Refused as refusal:
        raise place.error(str(refusal)) from None


def constant(expression: Expression, place: Place, what: str, *, infinite: bool = False) -> np.ndarray:
    """The value of an expression without names.

    Args:
        expression: of numbers, functions, pi, and inf if `infinite`.
        place: where it stands.
        what: it is, for messages.
        infinite: it may be ±inf.

    Raises:
        ModelTextError: it has names, or is no finite number or array.
    """
    known = CONSTANTS | ({"inf": np.inf} if infinite else {})
    for name in names_in(expression):
        if name not in known:
            raise place.error(f"{what} is a number or a list of numbers; the name {name!r} has none")
    with np.errstate(all="ignore"):
        try:
            value = np.asarray(evaluate(expression, known), dtype=np.float64)
        except (ValueError, IndexError, TypeError, ArithmeticError) as error:
            raise place.error(f"{what} cannot be computed: {error}") from None
    if not np.all(np.isfinite(value) | (infinite & np.isinf(value))):
        raise place.error(f"{what} is {value}, not finite")
    return value


def name_problem(name: str) -> str | None:
    """Why something cannot be a name in a model; None if it can."""
    strange = [c for c in name if not re.match(rf"[{_LETTERS}0-9]", c)]
    if strange:
        return f"{name!r} cannot be a name: {_describe(strange[0])} is no letter or digit for names"
    if not name or name[0].isdigit():
        return f"{name!r} cannot be a name: names begin with a letter"
    if name.startswith("_"):
        return f"{name!r} cannot be a name: names do not begin with an underscore"
    if keyword.iskeyword(name):
        return f"{name!r} cannot be a name: it is a word of Python. Write {name}_"
    if len(name) > 60:
        return f"a name of {len(name)} characters is too long; the most is 60"
    return None


def readable(text: str) -> None:
    """Look at the characters and words of an expression, before Python's parser sees it.

    Raises:
        _Refused: there is a character, number or word that no expression has, or it is too long or nested too deeply.
    """
    if len(text) > LONGEST:
        raise _Refused(f"an expression of {len(text):,} characters is too long; the most is {LONGEST:,}")
    position, depth, signs, nested, previous = 0, 0, 0, 0, ""
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _Refused(_unexpected(text[position]))
        kind, token = found.lastgroup, found.group()
        position = found.end()
        if kind == "space":
            continue
        if kind == "name" and token not in _WORDS:
            problem = name_problem(token)
            if problem is not None:
                raise _Refused(problem)
        if kind == "number" and re.match(rf"[{_LETTERS}0-9.]", text[position : position + 1] or " "):
            raise _Refused(f"{token + text[position]!r}: write numbers like 0.5 or 1e-3, and products with *")
        if token in _SPELLED:
            raise _Refused(f"{token!r} has no meaning in an expression: {_SPELLED[token]}")
        depth += (token in ("(", "[")) - (token in (")", "]"))
        signs = signs + 1 if token in ("+", "-") else 0
        nested += token in ("**", "not", "else")
        if depth > BRACKETS or signs > 3 or nested > DEEPEST:
            raise _Refused("it is nested too deeply; name parts of it in lines of their own")
        if depth < 0:
            raise _Refused(f"there is no opening bracket for {token!r}")
        previous = token
    if not previous:
        raise _Refused("an expression is missing")


def _unexpected(character: str) -> str:
    if character in _SPELLED:
        return f"{character!r} has no meaning in an expression: {_SPELLED[character]}"
    return f"{_describe(character)} has no meaning in an expression"


def _describe(character: str) -> str:
    name = unicodedata.name(character, "a control character")
    return repr(character) if character.isascii() and character.isprintable() else f"{character!a} ({name})"


def _syntax(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        said = (error.msg or "invalid syntax").split("(<")[0].split(". Perhaps")[0].strip()
        before = text[: max((error.offset or 1) - 1, 0)][-20:]
        near = f", after {before!r}" if before.strip() and "was never closed" not in said else ""
        raise _Refused(f"it cannot be read: {said}{near}") from None
    except (RecursionError, MemoryError, ValueError):
        raise _Refused("it is nested too deeply; name parts of it in lines of their own") from None


class _Converter:
    """From Python's syntax tree to ours, node by node of the whitelist."""

    def __init__(self) -> None:
        self._depth = 0

    def convert(self, node: ast.expr, *, condition: bool = False) -> Expression:
        """One node with all below; `condition` where something true or false is expected."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise _Refused("it is nested too deeply; name parts of it in lines of their own")
        handler: Callable[[Any], Expression] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        if handler is None:
            reason = _KINDS.get(type(node), "only numbers, names, known functions and + - * / % ** @ are taken")
            raise _Refused(f"{_shown(node)} is refused: {reason}")
        made = handler(node)
        self._depth -= 1
        is_condition = isinstance(made, Call) and made.function in CONDITIONS
        if is_condition and not condition:
            raise _Refused(f"{_shown(node)} is true or false, not a number: conditions stand in where(condition, a, b)")
        if condition and not is_condition:
            raise _Refused(f"{_shown(node)} is a number; a condition is expected, such as x > 0")
        return made

    def _constant(self, node: ast.Constant) -> Expression:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            raise _Refused(f"{_shown(node)} is refused: only numbers are constants")
        try:
            value = float(node.value)
        except OverflowError:
            value = np.inf
        if not np.isfinite(value):
            raise _Refused(f"{_shown(node)} is too large a number")
        return Number(value)

    def _name(self, node: ast.Name) -> Expression:
        return Name(node.id)

    def _unaryop(self, node: ast.UnaryOp) -> Expression:
        if isinstance(node.op, ast.Not):
            return Call("not", (self.convert(node.operand, condition=True),))
        if isinstance(node.op, ast.Invert):
            raise _Refused("'~' has no meaning in an expression: write `not`")
        operand = self.convert(node.operand)
        if isinstance(node.op, ast.UAdd):
            return operand
        return Number(-operand.value) if isinstance(operand, Number) else Call("negative", (operand,))

    def _binop(self, node: ast.BinOp) -> Expression:
        if type(node.op) not in _BINARY:
            raise _Refused(f"{_shown(node)} is refused: the operators are + - * / % ** @")
        made = Call(_BINARY[type(node.op)], (self.convert(node.left), self.convert(node.right)))
        if made.function == "**":
            _check_power(made.arguments[1])
        return made

    def _compare(self, node: ast.Compare) -> Expression:
        parts = [self.convert(part) for part in (node.left, *node.comparators)]
        made: list[Expression] = []
        for k, operation in enumerate(node.ops):
            if type(operation) not in _COMPARED:
                raise _Refused(f"{_shown(node)} is refused: conditions are written with <, <=, > and >=")
            made.append(Call(_COMPARED[type(operation)], (parts[k], parts[k + 1])))
        return _folded("and", made)

    def _boolop(self, node: ast.BoolOp) -> Expression:
        word = "and" if isinstance(node.op, ast.And) else "or"
        return _folded(word, [self.convert(value, condition=True) for value in node.values])

    def _ifexp(self, node: ast.IfExp) -> Expression:
        test = self.convert(node.test, condition=True)
        return Call("where", (test, self.convert(node.body), self.convert(node.orelse)))

    def _list(self, node: ast.List) -> Expression:
        if not node.elts:
            raise _Refused("an empty list holds no number")
        return Call("list", tuple(self.convert(element) for element in node.elts))

    def _subscript(self, node: ast.Subscript) -> Expression:
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return Index(self.convert(node.value), tuple(_item(item) for item in items))

    def _call(self, node: ast.Call) -> Expression:
        if not isinstance(node.func, ast.Name):
            raise _Refused(f"{_shown(node)} is refused: only functions known by name are called; products need a *")
        name = node.func.id
        if name == "delay":
            return self._delay(node)
        function = None if name in OPERATORS else FUNCTIONS.get(name)
        if function is None:
            known = [k for k in FUNCTIONS if k not in OPERATORS]
            near = f"Write {ELSEWHERE[name]}." if name in ELSEWHERE else did_you_mean(name, known)
            near = nearly(name, ("delay",)).strip() or near
            raise _Refused(f"there is no function {name!r} (a product needs a *). {near}")
        if node.keywords:
            raise _Refused(f"{name}: arguments are written without names")
        if not function.least <= len(node.args) <= (function.most or len(node.args)):
            raise _Refused(f"{name} takes {function.takes}, got {len(node.args)}")
        arguments = tuple(
            self.convert(argument, condition=name == "where" and k == 0) for k, argument in enumerate(node.args)
        )
        if function.counts is not None:
            _check_count(name, arguments[function.counts])
        return Call(name, arguments)

    def _delay(self, node: ast.Call) -> Expression:
        """delay(x, τ), and what τ is at most, which may be left out."""
        if node.keywords or len(node.args) not in (2, 3):
            raise _Refused("delay is written delay(x, tau), or delay(x, tau, longest)")
        of, *rest = (self.convert(argument) for argument in node.args)
        if type(of) is not Name:
            raise _Refused(f"{_shown(node)}: only a state variable is delayed; write f(delay(x, tau)) for f(x)")
        return Delayed(ast.unparse(node), of.name, *rest)


def _folded(word: str, parts: list[Expression]) -> Expression:
    made = parts[0]
    for part in parts[1:]:
        made = Call(word, (made, part))
    return made


def _check_power(exponent: Expression) -> None:
    """Powers of numbers that are written down are not large."""
    if any(True for _ in names_in(exponent)):
        return
    with np.errstate(all="ignore"):
        try:
            largest = np.max(np.abs(np.asarray(evaluate(exponent, {}), np.float64)))
        except (ValueError, IndexError, TypeError, ArithmeticError) as error:
            raise _Refused(f"an exponent cannot be computed: {error}") from None
    if not largest <= LARGEST_POWER:
        raise _Refused(f"a power of {largest:g} is too high; the most is {LARGEST_POWER:g}")


def _check_count(name: str, count: Expression) -> None:
    if not isinstance(count, Number) or not count.value.is_integer() or abs(count.value) > LARGEST:
        raise _Refused(f"{name}: expected a whole number of entries, at most {LARGEST:,}")
    if name != "roll" and count.value < 1:
        raise _Refused(f"{name}: expected at least one entry, got {count.value:g}")


def _item(node: ast.expr) -> int | slice:
    if not isinstance(node, ast.Slice):
        return _whole(node)
    parts = [None if part is None else _whole(part) for part in (node.lower, node.upper, node.step)]
    if parts[2] == 0:
        raise _Refused("the step of a slice is not 0")
    return slice(*parts)


def _whole(node: ast.expr) -> int:
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if not isinstance(node, ast.Constant) or type(node.value) is not int or node.value > LARGEST:
        raise _Refused(f"[{_shown(node)}]: an index is a whole number, or a slice of these")
    return sign * node.value


def _shown(node: ast.AST) -> str:
    try:
        text = ast.unparse(node)
    except (RecursionError, ValueError):
        text = type(node).__name__
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}...`"
