"""From the source that `writing` makes, and the functions of `runtime` and `functions`, to LLVM's language.

The source is Python with little in it: numbers of known types, flat arrays, loops over ranges, conditions. The type of
a variable is that of the first value it is given. A function of `runtime` is translated once for every combination of
types it is called with. What is no number and no array (a dtype, a module) is known when the source is translated, and
what is computed from it alone, like ``np.finfo(x.dtype).eps``, Python computes.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import scipy.special

from fwdgrad.engines.compiled_engine import functions, runtime
from fwdgrad.engines.compiled_engine.entering import entries
from fwdgrad.engines.compiled_engine.instructions import BOOL, DOUBLE, INTEGER, Array, Code, Number, constant, llvm_type
from fwdgrad.engines.compiled_engine.known_functions import FUNCTIONS
from fwdgrad.engines.compiled_engine.parameters import argument, declared, parameter, passed
from fwdgrad.engines.compiled_engine.products import PRODUCTS, product

__all__ = ["Translated", "translated"]

FAST = "reassoc nsz arcp contract"
"""What may be rearranged in a step. Not nnan and ninf: what diverges has to be seen to diverge."""

SPECIAL = "special_"
"""What the names of SciPy's functions begin with in machine code."""

HELPERS = {module.__name__: module for module in (functions, runtime)}

_SIGNS: dict[type, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


class Special(NamedTuple):
    """A function of SciPy."""

    name: str


class Translated(NamedTuple):
    """A module in LLVM's language.

    Attributes:
        text: defines ``step``, and what enters it; see `entering`.
        names: functions of others that it calls.
    """

    text: str
    names: tuple[str, ...]


def translated(source: str) -> Translated:
    """The module of a source, which has one function: of arrays, the first step and the last one."""
    (step,) = (line for line in ast.parse(source).body if isinstance(line, ast.FunctionDef))
    return _Module().made(step)


class _Module:
    """Functions, and what they call."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.declared: dict[str, str] = {}
        self._made: dict[Any, tuple[str, np.dtype | None]] = {}

    def made(self, step: ast.FunctionDef) -> Translated:
        """All of it, beginning with the loop over steps."""
        scope = {"np": np, "math": math, "special": scipy.special, "runtime": runtime, "functions": functions}
        arguments = [argument(k, a) for k, a in enumerate(step.args.args)]
        self._function("step", step, scope, FAST, arguments, "noinline")
        arrays = [a for a in arguments if isinstance(a, Array)]
        self.texts.append(entries(arrays))
        text = "\n".join([*self.texts, *self.declared.values()])
        return Translated(text, tuple(n for n in self.declared if not n.startswith("llvm.")))

    def helper(self, function: Any, given: Sequence[Number | Array]) -> tuple[str, np.dtype | None]:
        """The name of a function of `runtime` or `functions` for such operands, and the type of its result."""
        key = (function, *(((type(x), x.dtype)) for x in given))
        if key not in self._made:
            module = HELPERS[function.__module__]
            name = f"{function.__name__.strip('_')}.{len(self._made)}"
            arguments = [parameter(k, x) for k, x in enumerate(given)]
            inlined = "alwaysinline" if module is functions else ""
            tree = _definitions(module)[function.__name__]
            result = self._function(name, tree, vars(module), module.FLAGS, arguments, inlined)
            self._made[key] = name, result
        return self._made[key]

    def _function(
        self, name: str, tree: ast.FunctionDef, scope: dict[str, Any], flags: str, arguments: Sequence[Any], how: str
    ) -> np.dtype | None:
        """Translate a function. The type of its result."""
        names = [a.arg for a in tree.args.args]
        function = _Function(self, scope, Code(flags, self.declared), dict(zip(names, arguments, strict=True)))
        function.statements(tree.body)
        result = llvm_type(function.result) if function.result else "void"
        given = ", ".join(declared(a, step=name == "step") for a in arguments)
        head = f"define internal {result} @{name}({given}) nounwind mustprogress {how} {{"
        self.texts.append("\n".join([head, *function.code.body(function.result is not None), "}"]))
        return function.result


class _Function:
    """A function, being translated.

    Attributes:
        result: the type of what it returns.
    """

    def __init__(self, module: _Module, scope: dict[str, Any], code: Code, known: dict[str, Any]) -> None:
        self.module, self.scope, self.code = module, scope, code
        self.result: np.dtype | None = None
        self._known = {name: x for name, x in known.items() if isinstance(x, Array)}
        self._variables: dict[str, tuple[str, np.dtype]] = {}
        for name, x in known.items():
            if isinstance(x, Number):
                self._write(self._place(ast.Name(name), x.dtype), x)
        self._loops: list[tuple[str, str]] = []

    # ---- statements

    def statements(self, lines: Sequence[ast.stmt]) -> None:
        """Statements in order."""
        for line in lines:
            match line:
                case ast.Assign(targets=[target]):
                    self._assign(target, line.value)
                case ast.AugAssign():
                    sign = _SIGNS[type(line.op)]
                    place = self._place(line.target)
                    self._write(place, self.code.arithmetic(sign, self._read(place), self.number(line.value)))
                case ast.For():
                    self._for(line)
                case ast.While():
                    self._while(line)
                case ast.If():
                    self._if(line)
                case ast.Return():
                    self._return(line)
                case ast.Break() | ast.Continue():
                    self.code.jump(self._loops[-1][isinstance(line, ast.Continue)])
                case ast.Expr():
                    self.value(line.value)
                case ast.Pass():
                    pass
                case _:
                    raise AssertionError(f"there is no translation of {ast.unparse(line)}")

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            places = [(one, self.value(v)) for one, v in zip(target.elts, value.elts, strict=True)]
        else:
            places = [(target, self.value(value))]
        for one, made in places:
            if isinstance(one, ast.Name) and isinstance(made, Array):
                self._known[one.id] = made
            else:
                self._write(self._place(one, made.dtype), made)

    def _place(self, target: ast.expr, dtype: np.dtype | None = None) -> Any:
        """A variable, or an array and an index."""
        if isinstance(target, ast.Subscript):
            return self.value(target.value), self._index(target.slice)
        assert isinstance(target, ast.Name)
        if target.id not in self._variables:
            assert dtype is not None
            self._variables[target.id] = self.code.variable(dtype), dtype
        return self._variables[target.id]

    def _read(self, place: Any) -> Number:
        one, other = place
        return self.code.load(one, other) if isinstance(one, Array) else self.code.get(one, other)

    def _write(self, place: Any, number: Number) -> None:
        one, other = place
        if isinstance(one, Array):
            self.code.store(one, other, number)
        else:
            self.code.put(one, self._kept(number, other))

    def _kept(self, number: Number, dtype: np.dtype) -> Number:
        """A number in the type that its place has, which has to hold it."""
        weak = number.literal is not None and (isinstance(number.literal, int) or dtype.kind == "f")
        if not weak and not np.can_cast(number.dtype, dtype):
            raise AssertionError(f"{number.dtype} is assigned to {dtype}")
        return self.code.cast(number, dtype)

    def _for(self, line: ast.For) -> None:
        code = self.code
        assert isinstance(line.iter, ast.Call)
        given = [self.number(a) for a in line.iter.args]
        zero, one = Number("0", INTEGER, 0), Number("1", INTEGER, 1)
        first, last, by = (zero, given[0], one) if len(given) == 1 else (*given, one)[:3]
        body, following, end = code.block("loop"), code.block("next"), code.block("end")
        place = self._place(line.target, INTEGER)
        self._write(place, first)
        sign = ">" if by.literal is not None and by.literal < 0 else "<"
        if first.literal is None or last.literal is None:
            code.branch(code.compare(sign, first, last), body, end)
        elif not len(range(first.literal, last.literal, by.literal or 1)):
            code.jump(end)
        code.label(body)
        self._loops.append((end, following))
        self.statements(line.body)
        self._loops.pop()
        code.label(following)
        code.indexing = True
        self._write(place, code.arithmetic("+", self._read(place), by))
        code.indexing = False
        code.branch(code.compare(sign, self._read(place), last), body, end)
        code.label(end)

    def _while(self, line: ast.While) -> None:
        code = self.code
        test, body, end = code.block("while"), code.block("loop"), code.block("end")
        code.label(test)
        code.branch(self._truth(line.test), body, end)
        code.label(body)
        self._loops.append((end, test))
        self.statements(line.body)
        self._loops.pop()
        code.jump(test)
        code.label(end)

    def _if(self, line: ast.If) -> None:
        code = self.code
        yes, no, end = code.block("yes"), code.block("no"), code.block("end")
        code.branch(self._truth(line.test), yes, no)
        code.label(yes)
        self.statements(line.body)
        code.jump(end)
        code.label(no)
        self.statements(line.orelse)
        code.label(end)

    def _return(self, line: ast.Return) -> None:
        assert line.value is not None
        number = self.number(line.value)
        self.result = self.result or number.dtype
        self.code.leave(self._kept(number, self.result))

    # ---- expressions

    def number(self, node: ast.expr) -> Number:
        """The value of an expression that is a number."""
        made = self.value(node)
        assert isinstance(made, Number), ast.unparse(node)
        return made

    def value(self, node: ast.expr) -> Any:
        """The value of an expression: a number, an array, or what Python knows."""
        match node:
            case ast.Constant():
                return _literal(node.value)
            case ast.Name():
                if node.id in self._variables:
                    return self._read(self._variables[node.id])
                if node.id in self._known:
                    return self._known[node.id]
                return _literal(self.scope[node.id] if node.id in self.scope else getattr(builtins, node.id))
            case ast.Attribute():
                base = self.value(node.value)
                return Special(node.attr) if base is scipy.special else _literal(getattr(base, node.attr))
            case ast.BinOp():
                return self._binary(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BoolOp():
                sign = "&" if isinstance(node.op, ast.And) else "|"
                made = self._truth(node.values[0])
                for other in node.values[1:]:
                    made = self.code.arithmetic(sign, made, self._truth(other))
                return made
            case ast.Compare(ops=[sign], comparators=[other]):
                return self.code.compare(_SIGNS[type(sign)], self.number(node.left), self.number(other))
            case ast.IfExp():
                return self._choice(node)
            case ast.Subscript():
                return self._subscript(node)
            case ast.Call():
                return self._call(node)
        raise AssertionError(f"there is no translation of {ast.unparse(node)}")

    def _truth(self, node: ast.expr) -> Number:
        return self.code.cast(self.number(node), BOOL)

    def _binary(self, node: ast.BinOp) -> Number:
        a, b = self.number(node.left), self.number(node.right)
        if not isinstance(node.op, ast.Pow):
            return self.code.arithmetic(_SIGNS[type(node.op)], a, b)
        if b.literal == 2:
            return self.code.arithmetic("*", a, a)
        return FUNCTIONS[math.pow](self.code, *self.code.alike(a, b))

    def _unary(self, node: ast.UnaryOp) -> Number:
        x = self.number(node.operand)
        match node.op:
            case ast.USub():
                return self.code.negative(x)
            case ast.Not():
                return self.code.inverted(self.code.cast(x, BOOL))
        return self.code.inverted(x)

    def _choice(self, node: ast.IfExp) -> Number:
        """One of two values. Only that one is computed, where computing it means more than some arithmetic."""
        code = self.code
        condition = self._truth(node.test)
        inside = (*ast.walk(node.body), *ast.walk(node.orelse))
        if not any(isinstance(n, (ast.Call, ast.FloorDiv, ast.Mod)) for n in inside):
            return code.select(condition, self.number(node.body), self.number(node.orelse))
        yes, no, end = code.block("yes"), code.block("no"), code.block("end")
        code.branch(condition, yes, no)
        code.label(yes)
        one = self.number(node.body)
        place = code.variable(one.dtype)
        code.put(place, one)
        code.jump(end)
        code.label(no)
        code.put(place, self._kept(self.number(node.orelse), one.dtype))
        code.label(end)
        return code.get(place, one.dtype)

    def _index(self, node: ast.expr) -> Number:
        before, self.code.indexing = self.code.indexing, True
        made = self.number(node)
        self.code.indexing = before
        return made

    def _subscript(self, node: ast.Subscript) -> Number | Array:
        array = self.value(node.value)
        assert isinstance(array, Array)
        if not isinstance(node.slice, ast.Slice):
            return self.code.load(array, self._index(node.slice))
        lower, upper = node.slice.lower, node.slice.upper
        first = self._index(lower) if lower else Number("0", INTEGER, 0)
        last = self._index(upper) if upper else array.size
        return Array(self.code.address(array, first), array.dtype, self.code.arithmetic("-", last, first))

    def _call(self, node: ast.Call) -> Any:
        function = self.value(node.func)
        before, self.code.indexing = self.code.indexing, False
        given = [self.value(a) for a in node.args]
        self.code.indexing = before
        numbers = [x for x in given if isinstance(x, Number)]
        if isinstance(function, Special):
            made = [self.code.cast(x, DOUBLE) for x in numbers]
            return self.code.call(f"{SPECIAL}{function.name}", DOUBLE, *made)
        if function in FUNCTIONS:
            return FUNCTIONS[function](self.code, *numbers)
        if isinstance(function, type) and issubclass(function, np.generic):
            return self.code.cast(numbers[0], np.dtype(function))
        if function is type:
            return numbers[0].dtype.type
        if function in PRODUCTS:
            return product(self.code, PRODUCTS[function], *given)
        if getattr(function, "__module__", "") in HELPERS:
            return self._helper(function, given)
        return _literal(function(*given))

    def _helper(self, function: Any, given: Sequence[Number | Array]) -> Number | None:
        name, result = self.module.helper(function, given)
        arguments = ", ".join(passed(x) for x in given)
        if result is None:
            self.code.do(f"call void @{name}({arguments})")
            return None
        return Number(self.code.emit(f"call {llvm_type(result)} @{name}({arguments})"), result)


def _literal(value: Any) -> Any:
    """A number that the source contains, or what else Python knows."""
    if isinstance(value, bool):
        return Number(constant(value, BOOL), BOOL)
    if isinstance(value, int):
        return Number(str(value), INTEGER, value)
    if isinstance(value, (float, np.floating)):
        return Number(constant(value, DOUBLE), DOUBLE, float(value))
    return value


@cache
def _definitions(module: Any) -> dict[str, ast.FunctionDef]:
    """The functions of a module."""
    tree = ast.parse(inspect.getsource(module))
    return {line.name: line for line in tree.body if isinstance(line, ast.FunctionDef)}
