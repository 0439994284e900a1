"""Formulas of an SBML model as expressions of equation text (MathML 2.0, SBML Level 3 Version 2, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import libsbml

from fwdgrad.errors import DeclarationError

__all__ = [
    "ATOM",
    "SUM",
    "Meaning",
    "Written",
    "margin",
    "negative",
    "number",
    "product",
    "quotient",
    "sum_of",
    "written",
]

OR, AND, NOT, COMPARED, SUM, PRODUCT, SIGN, POWER, ATOM = range(9)
"""How tightly an expression holds together, loosest first."""

AVOGADRO = "6.02214179e23"
"""As the specification of SBML has it."""

_COMPARISONS = {"lt": "<", "leq": "<=", "gt": ">", "geq": ">="}
_SAME = ("abs", "exp", "floor", "min", "max", "sin", "cos", "tan", "sinh", "cosh", "tanh")
_CALLED = {
    **{name: name for name in _SAME},
    "ceiling": "ceil",
    "ln": "log",
    **{f"arc{name}{h}": f"arc{name}{h}" for name in ("sin", "cos", "tan") for h in ("", "h")},
}
_RECIPROCAL = {
    f"{name}{h}": f"{of}{h}" for name, of in (("sec", "cos"), ("csc", "sin"), ("cot", "tan")) for h in ("", "h")
}


class Written(NamedTuple):
    """Text, and how tightly it holds together."""

    text: str
    tight: int

    def within(self, tight: int) -> str:
        """The text, in brackets if it holds together less tightly than what is around it."""
        return self.text if self.tight >= tight else f"({self.text})"


@dataclass(frozen=True)
class Meaning:
    """What a formula is about.

    Attributes:
        name: what an identifier stands for.
        rate: how fast what an identifier stands for changes.
        time: what the time is.
        delayed: what an identifier stood for a while ago.
    """

    name: Callable[[str], Written]
    rate: Callable[[str], Written]
    time: Written
    delayed: Callable[[str, Written], Written]


def _call(name: str, *arguments: Written) -> Written:
    return Written(f"{name}({', '.join(a.text for a in arguments)})", ATOM)


def sum_of(terms: list[Written]) -> Written:
    """The sum of terms."""
    text = terms[0].within(SUM)
    for term in terms[1:]:
        taken = term.tight >= PRODUCT and term.text.startswith("-")
        text += f" - {term.text[1:]}" if taken else f" + {term.within(SUM)}"
    return Written(text, SUM if len(terms) > 1 else terms[0].tight)


def product(factors: list[Written]) -> Written:
    """The product of factors."""
    if len(factors) == 1:
        return factors[0]
    return Written("*".join([factors[0].within(PRODUCT), *(f.within(SIGN) for f in factors[1:])]), PRODUCT)


def quotient(a: Written, b: Written) -> Written:
    """a/b."""
    return Written(f"{a.within(PRODUCT)}/{b.within(SIGN)}", PRODUCT)


def negative(a: Written) -> Written:
    """−a."""
    return Written(f"-{a.within(PRODUCT)}", min(a.tight, SIGN) if a.tight >= PRODUCT else SIGN)


def _difference(a: Written, b: Written) -> Written:
    return Written(f"{a.within(SUM)} - {b.within(PRODUCT)}", SUM)


def _power(a: Written, b: Written) -> Written:
    return Written(f"{a.within(ATOM)}**{b.within(ATOM)}", POWER)


def number(value: float) -> Written:
    """A number."""
    text = repr(float(value)).removesuffix(".0")
    return Written(text, SIGN if value < 0 else ATOM)


def _root(degree: Written, a: Written) -> Written:
    return _call("sqrt", a) if degree.text == "2" else _power(a, quotient(number(1), degree))


def _log(base: Written, a: Written) -> Written:
    return _call("log10", a) if base.text == "10" else quotient(_call("log", a), _call("log", base))


def _truncated(a: Written) -> Written:
    return product([_call("sign", a), _call("floor", _call("abs", a))])


_BINARY: dict[str, Callable[[Written, Written], Written]] = {
    "divide": quotient,
    "power": _power,
    "root": _root,
    "log": _log,
    "rem": lambda a, b: _difference(a, product([b, _truncated(quotient(a, b))])),
    "quotient": lambda a, b: _truncated(quotient(a, b)),
}
_INVERSE = {  # of reciprocals: arcsec(x) = arccos(1/x)
    f"arc{name}{h}": f"arc{of}{h}" for name, of in (("sec", "cos"), ("csc", "sin"), ("cot", "tan")) for h in ("", "h")
}


class _Writer:
    """Nodes to text.

    Args:
        meaning: what the formula is about.
        what: the formula belongs to, for messages.
    """

    def __init__(self, meaning: Meaning, what: str) -> None:
        self.meaning, self.what = meaning, what

    def refuse(self, reason: str) -> DeclarationError:
        return DeclarationError(f"SBML: {self.what}: {reason}.")

    def value(self, node: Any) -> Written:
        """A number."""
        if node.isLogical() or node.isRelational() or node.isBoolean():
            return _call("where", self.condition(node), number(1), number(0))
        if node.isRational():
            return quotient(number(node.getNumerator()), number(node.getDenominator()))
        if node.isNumber():
            return self._finite(node.getValue())
        if node.isName() or node.isConstant():
            return self._name(node)
        return self._applied(self._kind(node), node)

    def _finite(self, value: float) -> Written:
        if value - value != 0:
            raise self.refuse(f"it contains {value}, which no number can be computed from")
        return number(value)

    def _name(self, node: Any) -> Written:
        match node.getType():
            case libsbml.AST_NAME_TIME:
                return self.meaning.time
            case libsbml.AST_NAME_AVOGADRO:
                return Written(AVOGADRO, ATOM)
            case libsbml.AST_CONSTANT_PI:
                return Written("pi", ATOM)
            case libsbml.AST_CONSTANT_E:
                return _call("exp", number(1))
        return self.meaning.name(node.getName())

    @staticmethod
    def _kind(node: Any) -> str:
        spelled = {
            libsbml.AST_PLUS: "plus",
            libsbml.AST_MINUS: "minus",
            libsbml.AST_TIMES: "times",
            libsbml.AST_DIVIDE: "divide",
            libsbml.AST_POWER: "power",
            libsbml.AST_FUNCTION_POWER: "power",
            libsbml.AST_FUNCTION_DELAY: "delay",
            libsbml.AST_FUNCTION_RATE_OF: "rateOf",
        }
        return spelled.get(node.getType()) or str(node.getName())

    def _applied(self, kind: str, node: Any) -> Written:
        children = [node.getChild(k) for k in range(node.getNumChildren())]
        if kind == "rateOf":
            return self.meaning.rate(children[0].getName())
        if kind == "piecewise":
            return self._piecewise(children)
        if kind == "delay" and children[0].isName():
            return self.meaning.delayed(children[0].getName(), self.value(children[1]))
        arguments = [self.value(child) for child in children]
        return self._computed(kind, arguments)

    def _computed(self, kind: str, arguments: list[Written]) -> Written:
        match kind, arguments:
            case "plus" | "times", []:
                return number(kind == "times")
            case "plus", _:
                return sum_of(arguments)
            case "times", _:
                return product(arguments)
            case "minus", [a]:
                return negative(a)
            case "minus", [a, b]:
                return _difference(a, b)
            case "root", [a]:
                return _call("sqrt", a)
            case "log", [a]:
                return _call("log10", a)
            case "sqr", [a]:
                return _power(a, number(2))
            case "factorial", [a]:
                return _call("gamma", sum_of([a, number(1)]))
            case (("min" | "max"), [a]):
                return a
            case _ if kind in _BINARY and len(arguments) == 2:
                return _BINARY[kind](*arguments)
            case _ if kind in _CALLED:
                return _call(_CALLED[kind], *arguments)
            case _ if kind in _RECIPROCAL and len(arguments) == 1:
                return quotient(number(1), _call(_RECIPROCAL[kind], *arguments))
            case _ if kind in _INVERSE and len(arguments) == 1:
                return _call(_INVERSE[kind], quotient(number(1), *arguments))
        raise self.refuse(f"{kind!r} has no counterpart in equation text")

    def _piecewise(self, children: list[Any]) -> Written:
        pairs = list(zip(children[::2], children[1::2], strict=False))
        if len(children) % 2 == 0:
            raise self.refuse("a piecewise formula without `otherwise` has no value where no condition holds")
        made = self.value(children[-1])
        for value, condition in reversed(pairs):
            made = _call("where", self.condition(condition), self.value(value), made)
        return made

    # ---- what is true or false

    def condition(self, node: Any) -> Written:
        """A condition, for `where`: a number is true unless it is 0."""
        if not (node.isLogical() or node.isRelational() or node.isBoolean()):
            return Written(f"{_call('abs', self.value(node)).text} > 0", COMPARED)
        kind = self._logic(node)
        children = [node.getChild(k) for k in range(node.getNumChildren())]
        if kind in ("true", "false"):
            return Written("1 > 0" if kind == "true" else "0 > 1", COMPARED)
        if kind in ("and", "or", "not", "xor", "implies"):
            parts = [self.condition(child) for child in children]
            return self._logical(kind, parts)
        values = [self.value(child) for child in children]
        pairs = [self._compared(kind, a, b) for a, b in pairwise(values)]
        return self._logical("and", pairs)

    def _logic(self, node: Any) -> str:
        kinds = {
            libsbml.AST_CONSTANT_TRUE: "true",
            libsbml.AST_CONSTANT_FALSE: "false",
            libsbml.AST_LOGICAL_AND: "and",
            libsbml.AST_LOGICAL_OR: "or",
            libsbml.AST_LOGICAL_NOT: "not",
            libsbml.AST_LOGICAL_XOR: "xor",
            libsbml.AST_LOGICAL_IMPLIES: "implies",
            libsbml.AST_RELATIONAL_EQ: "eq",
            libsbml.AST_RELATIONAL_NEQ: "neq",
            libsbml.AST_RELATIONAL_LT: "lt",
            libsbml.AST_RELATIONAL_LEQ: "leq",
            libsbml.AST_RELATIONAL_GT: "gt",
            libsbml.AST_RELATIONAL_GEQ: "geq",
        }
        if node.getType() not in kinds:
            raise self.refuse("a condition is expected where a number stands")
        return kinds[node.getType()]

    @staticmethod
    def _compared(kind: str, a: Written, b: Written) -> Written:
        if kind in _COMPARISONS:
            return Written(f"{a.within(SUM)} {_COMPARISONS[kind]} {b.within(SUM)}", COMPARED)
        equal = Written(f"{a.within(SUM)} <= {b.within(SUM)} and {a.within(SUM)} >= {b.within(SUM)}", AND)
        return equal if kind == "eq" else Written(f"not {equal.within(NOT)}", NOT)

    @staticmethod
    def _logical(kind: str, parts: list[Written]) -> Written:
        negated = [Written(f"not {part.within(COMPARED)}", NOT) for part in parts]
        if kind == "not":
            return negated[0]
        if kind == "implies":
            return Written(f"{negated[0].within(AND)} or {parts[1].within(AND)}", OR)
        if kind == "xor":
            made = Written("0 > 1", COMPARED)
            for part in parts:
                a, b = made.within(COMPARED), part.within(COMPARED)
                made = Written(f"{a} and not {b} or not {a} and {b}", OR)
            return made
        if not parts:
            return Written("1 > 0" if kind == "and" else "0 > 1", COMPARED)
        if len(parts) == 1:
            return parts[0]
        tight = AND if kind == "and" else OR
        return Written(f" {kind} ".join(part.within(tight + 1) for part in parts), tight)

    def margin(self, node: Any) -> Written:
        """A number that is positive where a condition holds, and negative where it does not."""
        kind = self._logic(node)
        children = [node.getChild(k) for k in range(node.getNumChildren())]
        if kind in ("and", "or"):
            parts = [self.margin(child) for child in children]
            return parts[0] if len(parts) == 1 else _call("min" if kind == "and" else "max", *parts)
        if kind == "not":
            return negative(self.margin(children[0]))
        if kind in ("true", "false"):
            return number(1 if kind == "true" else -1)
        if kind not in _COMPARISONS or len(children) != 2:
            raise self.refuse("the moment when such a condition begins to hold cannot be found")
        a, b = (self.value(child) for child in children)
        return _difference(a, b) if kind in ("gt", "geq") else _difference(b, a)


def written(node: Any, meaning: Meaning, what: str) -> Written:
    """A formula as text.

    Args:
        node: libsbml's tree.
        meaning: what the formula is about.
        what: it belongs to, for messages.

    Raises:
        DeclarationError: something in it has no counterpart.
    """
    if node is None:
        raise DeclarationError(f"SBML: {what}: there is no formula.")
    return _Writer(meaning, what).value(node)


def margin(node: Any, meaning: Meaning, what: str) -> Written:
    """A number that is positive where a condition holds, and negative where it does not; see `written`."""
    if node is None:
        raise DeclarationError(f"SBML: {what}: there is no condition.")
    return _Writer(meaning, what).margin(node)
