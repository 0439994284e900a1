r"""Equations as LaTeX, in the order and form in which they were written."""

from __future__ import annotations

from fwdgrad.declare.expressions import Array, Call, Delayed, Expression, Index, Name, Number
from fwdgrad.declare.model import EquationModel

__all__ = ["latex"]

_OR, _AND, _RELATION, _SUM, _PRODUCT, _FACTOR, _POWER, _ATOM = range(1, 9)
"""How tightly something binds: what binds less tightly than its place needs brackets."""

_NAMED = ("arccos", "arcsin", "arctan", "cos", "cosh", "exp", "log", "max", "min", "sin", "sinh", "tan", "tanh")
_RELATIONS = {"<": "<", "<=": r"\le", ">": ">", ">=": r"\ge", "==": "=", "!=": r"\ne"}


def latex(model: EquationModel) -> str:
    """State equations, definitions and outputs, aligned at their equals signs."""
    rows = []
    for name, equation in model.changes.items():
        left = rf"\frac{{\mathrm{{d}} {_name(name)}}}{{\mathrm{{d}} t}}" if model.continuous else _name(name) + "'"
        rows.append((left, equation.expression))
    rows += [(_name(name), equation.expression) for name, equation in model.definitions.items()]
    rows += [(_name(k), e.expression) for k, e in model.outputs.items() if e.expression != Name(k)]
    lines = [f"{left} &= {_written(expression, 0)}" for left, expression in rows]
    for jump in model.jumps:
        moment = _written(jump.times.expression, 0)
        when = rf"\quad \text{{when }} {moment} > 0" if jump.conditional else rf"\quad \text{{at }} t = {moment}"
        lines += [rf"{_name(k)} &\leftarrow {_written(e.expression, 0)} {when}" for k, e in jump.values.items()]
    body = " \\\\\n".join(lines)
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def _name(name: str) -> str:
    """A name with Greek letters, indices and bars as SymPy writes it."""
    import sympy

    text: str = sympy.latex(sympy.Symbol(name.rstrip("_") or name))
    return rf"\mathit{{{text}}}" if len(text) > 1 and text.isalpha() else text


def _written(expression: Expression, needs: int) -> str:
    text, binds = _piece(expression)
    return rf"\left({text}\right)" if binds < needs else text


def _piece(expression: Expression) -> tuple[str, int]:
    """LaTeX, and how tightly it binds."""
    match expression:
        case Number(value):
            return _number(value), _ATOM if value >= 0 else _SUM
        case Array(values):
            return rf"\left[{_number(values.flat[0])}, \dots\right]", _ATOM
        case Delayed(_, of, by):
            return rf"{_name(of)}\left(t - {_written(by, _PRODUCT)}\right)", _ATOM
        case Name(name):
            return ("\\pi" if name == "pi" else _name(name)), _ATOM
        case Index(of, items):
            shown = ", ".join(_slice(item) if isinstance(item, slice) else str(item) for item in items)
            return f"{_written(of, _ATOM)}_{{{shown}}}", _ATOM
        case Call("+", (a, b)):
            return f"{_written(a, _SUM)} + {_written(b, _PRODUCT)}", _SUM
        case Call("-", (a, b)):
            return f"{_written(a, _SUM)} - {_written(b, _PRODUCT)}", _SUM
        case Call("*", (a, b)):
            between = r"\cdot" if _begins_with_digit(b) else r"\,"
            left, binds = _piece(a) if _has_sign(a) else (_written(a, _PRODUCT), _PRODUCT)
            return rf"{left} {between} {_written(b, _FACTOR)}", binds
        case Call("@" | "dot", (a, b)):
            return rf"{_written(a, _PRODUCT)} \cdot {_written(b, _FACTOR)}", _PRODUCT
        case Call("/", (a, b)):
            return rf"\frac{{{_written(a, 0)}}}{{{_written(b, 0)}}}", _PRODUCT
        case Call("%", (a, b)):
            return rf"{_written(a, _PRODUCT)} \bmod {_written(b, _FACTOR)}", _PRODUCT
        case Call("**", (a, b)):
            return f"{_written(a, _ATOM)}^{{{_written(b, 0)}}}", _POWER
        case Call("negative", (a,)):
            return f"-{_written(a, _PRODUCT)}", _SUM
        case Call(name, (a, b)) if name in _RELATIONS:
            return f"{_written(a, _SUM)} {_RELATIONS[name]} {_written(b, _SUM)}", _RELATION
        case Call("and", (a, b)):
            return rf"{_written(a, _AND)} \wedge {_written(b, _AND)}", _AND
        case Call("or", (a, b)):
            return rf"{_written(a, _OR)} \vee {_written(b, _OR)}", _OR
        case Call("not", (a,)):
            return rf"\neg \left({_written(a, 0)}\right)", _ATOM
        case Call("where", (condition, a, b)):
            rows = rf"{_written(a, 0)} & {_written(condition, 0)} \\ {_written(b, 0)} & \text{{otherwise}}"
            return rf"\begin{{cases}} {rows} \end{{cases}}", _ATOM
        case Call("sqrt", (a,)):
            return rf"\sqrt{{{_written(a, 0)}}}", _ATOM
        case Call("abs", (a,)):
            return rf"\left|{_written(a, 0)}\right|", _ATOM
        case Call(name, arguments):
            listed = ", ".join(_written(argument, 0) for argument in arguments)
            if name == "list":
                return rf"\left[{listed}\right]", _ATOM
            called = f"\\{name}" if name in _NAMED else rf"\operatorname{{{name}}}"
            return rf"{called}\left({listed}\right)", _ATOM
    raise TypeError(expression)


def _has_sign(expression: Expression) -> bool:
    match expression:
        case Number(value):
            return value < 0
        case Call("negative", _):
            return True
        case Call("*", (a, _)):
            return _has_sign(a)
    return False


def _begins_with_digit(expression: Expression) -> bool:
    match expression:
        case Number():
            return True
        case Call("**" | "*", (a, _)):
            return _begins_with_digit(a)
    return False


def _number(value: float) -> str:
    text = f"{value:.12g}"
    mantissa, _, exponent = text.partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa


def _slice(item: slice) -> str:
    parts = [item.start, item.stop, *([item.step] if item.step is not None else [])]
    return ":".join("" if part is None else str(part) for part in parts)
