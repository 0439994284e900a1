"""From the source that `writing` makes, and the functions of `runtime`, to C99: a translation beside LLVM's.

As in `translating`, the type of a variable is that of the first value it is given, and what is no number and no array
is known while this is written. exp and tanh are those of the C library.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.special

from fwdgrad.engines.compiled_engine import functions, runtime
from fwdgrad.engines.compiled_engine.c_language import BOOL, DOUBLE, INTEGER, Array, Value, c_name, c_number, c_type
from fwdgrad.engines.compiled_engine.c_scopes import assigned, homes
from fwdgrad.engines.compiled_engine.known_functions import C_LIBRARY
from fwdgrad.engines.compiled_engine.products import PRODUCTS
from fwdgrad.engines.compiled_engine.unsupported import UnsupportedOperation

__all__ = ["CModule", "Counts"]

_WORD = re.compile(r"[A-Za-z_]\w*")
_DECLARED = re.compile(r"\s*(?:bool|float|double|int\d+_t) (?P<name>\w+) = (?:(?!\w\().)*;")
"""The line of a number that is declared, without a call on its right side."""

_FUNCTIONS: dict[Any, str] = {
    **C_LIBRARY, math.sqrt: "sqrt", math.sin: "sin", math.cos: "cos", math.exp: "exp", math.log: "log",
    math.log10: "log10", np.log2: "log2", np.exp2: "exp2", np.floor: "floor", math.floor: "floor", np.ceil: "ceil",
    np.rint: "rint", np.trunc: "trunc", math.copysign: "copysign", math.pow: "pow",
    **{getattr(functions, name): name for name in ("exp", "log", "tanh")},
}  # fmt: skip
"""What stands in for a function of Python, of `functions` too, in the C library."""
_EACH = {runtime.sines: "sin", runtime.cosines: "cos"}
"""Functions of whole arrays that are, for each number, one of the C library."""
_SIGNS: dict[type, str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.BitAnd: "&",
    ast.BitOr: "|", ast.BitXor: "^", ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">",
    ast.GtE: ">=",
}  # fmt: skip
_LOGICAL = {"&": "&&", "|": "||", "^": "!="}

_DIVIDED = {
    "whole_divided": "    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));",
    "whole_rest": "    const int64_t rest = a % b;\n    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;",
}
_PRODUCT = """\
static void {name}({kind} *out, const {kind} *a, const {kind} *b, int rows, int inner, int columns) {{
    for (int i = 0; i < rows; i++) {{
        for (int j = 0; j < columns; j++) {{
            {kind} sum = 0;
            for (int k = 0; k < inner; k++) {{
                sum += a[{a}] * b[{b}];
            }}
            out[i * columns + j] = sum;
        }}
    }}
}}"""

_OF_EACH = """\
static void {name}({kind} *out, const {kind} *x, int size) {{
    for (int k = 0; k < size; k++) {{
        out[k] = {function}(x[k]);
    }}
}}"""


@dataclass
class Braces:
    """A block in braces that is being written.

    Attributes:
        home: the variables that belong to it.
        lines: its lines.
        hoisted: declarations at its beginning, of what gets its first value further inside.
        declared: the variables that are declared.
    """

    home: set[str]
    lines: list[str] = field(default_factory=list)
    hoisted: list[str] = field(default_factory=list)
    declared: set[str] = field(default_factory=set)


@dataclass
class Counts:
    """What a step computes, as far as it is known beforehand.

    Attributes:
        operations: additions, multiplications and the like of floating-point numbers.
        calls: of functions of the C library.
        whole: whether functions of whole arrays (inverses, sorting) come on top.
    """

    operations: int = 0
    calls: int = 0
    whole: bool = False


class CModule:
    """Functions in C, and those that they call.

    Attributes:
        texts: what was called, in an order in which nothing is used before it is there.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._made: dict[Any, tuple[str, np.dtype | None]] = {}

    def step(self, source: str, arrays: dict[str, Array]) -> tuple[list[str], Counts]:
        """The lines of a single step: a module's loop, at its first turn. 1 is returned where the step is refused.

        Args:
            source: the module.
            arrays: what its parameters are called in C.

        Raises:
            UnsupportedOperation: it calls something that C99 has not.
        """
        (function,) = (line for line in ast.parse(source).body if isinstance(line, ast.FunctionDef))
        (loop,) = (line for line in function.body if isinstance(line, ast.For))
        scope = {"np": np, "math": math, "special": scipy.special, "runtime": runtime, "functions": functions}
        body = [_First().visit(line) for line in loop.body]
        made = _Function(self, scope, dict(arrays), body)
        return _used(made.block(body)), made.counts

    def helper(self, function: Any, given: Sequence[Value | Array]) -> tuple[str, np.dtype | None]:
        """The name of a function of `runtime` in C for such operands, and the type of its result."""
        key = (function, *((type(x), x.dtype) for x in given))
        if key not in self._made:
            tree = _definition(function)
            name = f"{function.__name__.strip('_')}_{len(self._made)}"
            known: dict[str, Any] = {}
            parameters, sizes = [], []
            for argument, x in zip(tree.args.args, given, strict=True):
                label = c_name(argument.arg)
                if isinstance(x, Array):
                    known[argument.arg] = Array(label, x.dtype, Value(f"{label}_size", INTEGER))
                    parameters.append(f"{c_type(x.dtype)} *{label}, int {label}_size")
                    sizes += [label, f"{label}_size"]
                else:
                    known[argument.arg] = Value(label, x.dtype)
                    parameters.append(f"{'int' if x.dtype == INTEGER else c_type(x.dtype)} {label}")
                    sizes.append(label)
            made = _Function(self, vars(runtime), known, tree.body)
            lines = made.block(tree.body)
            text = "\n".join(lines)
            lines = [f"(void){s};" for s in sizes if not re.search(rf"\b{s}\b", text)] + lines
            result = "void" if made.result is None else c_type(made.result)
            head = f"static {result} {name}({', '.join(parameters)}) {{"
            self.texts.append("\n".join([head, *(f"    {line}" for line in lines), "}"]))
            self._made[key] = name, made.result
        return self._made[key]

    def simple(self, name: str, text: str) -> str:
        """A function that is written here; its name."""
        if name not in self._made:
            self._made[name] = name, None
            self.texts.append(text)
        return name


def _used(lines: list[str]) -> list[str]:
    """Without variables that nothing reads, such as the single entry that an argmax is of, if no call makes them."""
    while True:
        count = Counter(word for line in lines for word in _WORD.findall(line))
        kept = [line for line in lines if (of := _DECLARED.fullmatch(line)) is None or count[of["name"]] > 1]
        if len(kept) == len(lines):
            return kept
        lines = kept


class _First(ast.NodeTransformer):
    """The first turn of the loop over steps: t is 0, and indices are computed as far as they are known."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(0) if node.id == "t" else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        node.slice = _folded(node.slice)
        return node

    def visit_Return(self, node: ast.Return) -> ast.stmt:
        return ast.Return(ast.Constant(1))


def _folded(node: ast.expr) -> ast.expr:
    if not isinstance(node, ast.BinOp):
        return node
    left, right = _folded(node.left), _folded(node.right)
    zero = [isinstance(x, ast.Constant) and x.value == 0 for x in (left, right)]
    if isinstance(node.op, ast.Mult) and any(zero):
        return ast.Constant(0)
    if isinstance(node.op, ast.Add) and any(zero):
        return right if zero[0] else left
    return ast.BinOp(left, node.op, right)


class _Function:
    """A function, being translated.

    Attributes:
        result: the type of what it returns.
        counts: what it computes.
    """

    def __init__(self, module: CModule, scope: dict[str, Any], known: dict[str, Any], body: list[ast.stmt]) -> None:
        self.module, self.scope, self.known = module, scope, known
        self.result: np.dtype | None = None
        self.counts = Counts()
        self._types: dict[str, np.dtype] = {}
        self._blocks: list[Braces] = []
        self._times = 1
        self._homes: dict[int, set[str]] = {}
        for name in assigned(body) - known.keys():
            for home in homes(name, body):
                self._homes.setdefault(id(home), set()).add(name)

    # ---- statements

    def block(self, body: list[ast.stmt]) -> list[str]:
        """The lines of a block."""
        block = Braces(self._homes.get(id(body), set()))
        self._blocks.append(block)
        for line in body:
            self._statement(line, block.lines)
        self._blocks.pop()
        return [*block.hoisted, *block.lines]

    def _inner(self, head: str, body: list[ast.stmt]) -> list[str]:
        return [f"{head} {{", *(f"    {line}" for line in self.block(body)), "}"]

    def _statement(self, line: ast.stmt, lines: list[str]) -> None:
        match line:
            case ast.Assign(targets=[target]):
                self._assign(target, line.value, lines)
            case ast.AugAssign():
                self._augment(line, lines)
            case ast.For():
                self._for(line, lines)
            case ast.While():
                lines += self._inner(f"while ({self._truth(line.test).text})", line.body)
            case ast.If():
                lines += self._inner(f"if ({self._truth(line.test).text})", line.body)
                if line.orelse:
                    lines[-1:] = self._inner("} else", line.orelse)
            case ast.Return():
                assert line.value is not None
                value = self.number(line.value)
                self.result = self.result or value.dtype
                lines.append(f"return {self._cast(value, self.result).text};")
            case ast.Break() | ast.Continue():
                lines.append("break;" if isinstance(line, ast.Break) else "continue;")
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr():
                lines.append(f"{self.value(line.value).text};")
            case _:
                raise AssertionError(f"there is no translation of {ast.unparse(line)}")

    def _assign(self, target: ast.expr, value: ast.expr, lines: list[str]) -> None:
        if not (isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)):
            self._put(target, self.value(value), lines)
            return
        made = [self.value(v) for v in value.elts]
        for k, x in enumerate(made):  # all are read before one is written
            if isinstance(x, Value) and x.literal is None:
                name = f"kept_{len(lines)}"
                lines.append(f"const {c_type(x.dtype)} {name} = {x.text};")
                made[k] = Value(name, x.dtype)
        for one, x in zip(target.elts, made, strict=True):
            self._put(one, x, lines)

    def _put(self, target: ast.expr, value: Value | Array, lines: list[str]) -> None:
        """Give a variable, or an entry of an array, a value."""
        if isinstance(value, Array):
            assert isinstance(target, ast.Name)
            name = c_name(target.id)
            lines.append(f"{c_type(value.dtype)} *{name} = {value.text};")
            self.known[target.id] = value._replace(text=name)
        elif isinstance(target, ast.Subscript):
            array = self.value(target.value)
            lines.append(f"{array.text}[{self._index(target.slice)}] = {self._cast(value, array.dtype).text};")
        else:
            assert isinstance(target, ast.Name)
            lines.append(f"{self._named(target.id, value.dtype)} = {self._cast(value, self._type(target.id)).text};")

    def _type(self, name: str) -> np.dtype:
        return self.known[name].dtype if name in self.known else self._types[name]

    def _named(self, name: str, dtype: np.dtype) -> str:
        """The left side of an assignment, with a declaration where the variable has none."""
        label = c_name(name)
        if name in self.known or any(name in block.declared for block in self._blocks):
            return label
        self._types.setdefault(name, dtype)
        kind = c_type(self._types[name])
        home = next(block for block in reversed(self._blocks) if name in block.home)
        home.declared.add(name)
        if home is self._blocks[-1]:
            return f"{kind} {label}"
        home.hoisted.append(f"{kind} {label} = {c_number(0, self._types[name])};")
        return label

    def _augment(self, line: ast.AugAssign, lines: list[str]) -> None:
        target = self.number(line.target)
        value, sign = self.number(line.value), _SIGNS[type(line.op)]
        if sign in "+-*/" and target.dtype.kind == value.dtype.kind == "f":
            self._count(target.dtype)
            lines.append(f"{target.text} {sign}= {self._cast(value, target.dtype).text};")
            return
        made = self._cast(self._arithmetic(sign, target, value), target.dtype)
        lines.append(f"{target.text} = {made.text};")

    def _for(self, line: ast.For, lines: list[str]) -> None:
        assert isinstance(line.iter, ast.Call)
        assert isinstance(line.target, ast.Name)
        given = [self.number(a) for a in line.iter.args]
        first, last, by = ([Value("0", INTEGER, 0), *given] if len(given) == 1 else given) + [
            Value("1", INTEGER, 1)
        ] * (3 - max(len(given), 2))
        name = c_name(line.target.id)
        down = by.literal is not None and by.literal < 0
        following = f"{name}++" if by.literal == 1 else f"{name} += {by.text}"
        before, outer = self._times, self.known.get(line.target.id)
        if first.literal is not None and last.literal is not None and by.literal is not None:
            self._times *= len(range(first.literal, last.literal, by.literal))
        self.known[line.target.id] = Value(name, INTEGER)
        head = f"for (int {name} = {first.text}; {name} {'>' if down else '<'} {_wrapped(last)}; {following})"
        lines += self._inner(head, line.body)
        self._times = before
        if outer is not None:
            self.known[line.target.id] = outer

    # ---- expressions

    def _count(self, dtype: np.dtype) -> None:
        self.counts.operations += self._times * (dtype.kind == "f")

    def number(self, node: ast.expr) -> Value:
        """The value of an expression that is a number."""
        made = self.value(node)
        assert isinstance(made, Value), ast.unparse(node)
        return made

    def value(self, node: ast.expr) -> Any:
        """The value of an expression: a number, an array, or what Python knows."""
        match node:
            case ast.Constant():
                return _literal(node.value)
            case ast.Name():
                if node.id in self.known:
                    return self.known[node.id]
                if node.id in self._types:
                    return Value(c_name(node.id), self._types[node.id])
                return _literal(self.scope[node.id] if node.id in self.scope else getattr(builtins, node.id))
            case ast.Attribute():
                base = self.value(node.value)
                if base is scipy.special:
                    raise UnsupportedOperation(node.attr, "C99 has no such function")
                return _literal(getattr(base, node.attr))
            case ast.BinOp():
                return self._binary(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BoolOp():
                sign = " && " if isinstance(node.op, ast.And) else " || "
                return Value(sign.join(_wrapped(self._truth(v)) for v in node.values), BOOL, None, False)
            case ast.Compare(ops=[sign], comparators=[other]):
                return self._compare(_SIGNS[type(sign)], self.number(node.left), self.number(other))
            case ast.IfExp():
                return self._choice(node)
            case ast.Subscript():
                return self._subscript(node)
            case ast.Call():
                return self._call(node)
        raise AssertionError(f"there is no translation of {ast.unparse(node)}")

    def _truth(self, node: ast.expr) -> Value:
        return self._cast(self.number(node), BOOL)

    def _cast(self, x: Value, dtype: np.dtype) -> Value:
        """A number of another type."""
        if x.dtype == dtype:
            return x
        if x.literal is not None:
            return Value(c_number(x.literal, dtype), dtype, None, not str(x.literal).startswith("-"))
        if dtype.kind == "b":
            return Value(f"{_wrapped(x)} != 0", BOOL, None, False)
        if x.dtype.kind == "b" or (dtype == DOUBLE and x.dtype.kind == "f"):  # C does so by itself, and loses nothing
            return Value(x.text, dtype, None, x.atom)
        return Value(f"({c_type(dtype)}){_wrapped(x)}", dtype, None, False)

    def _alike(self, *numbers: Value) -> list[Value]:
        """Numbers in the type they have in common."""
        common = np.result_type(*(x.dtype if x.literal is None else x.literal for x in numbers))
        return [self._cast(x, common) for x in numbers]

    def _binary(self, node: ast.BinOp) -> Value:
        a, b = self.number(node.left), self.number(node.right)
        if not isinstance(node.op, ast.Pow):
            return self._arithmetic(_SIGNS[type(node.op)], a, b)
        if b.literal == 2:
            return self._arithmetic("*", a, a)
        a, b = self._alike(a, b)
        return self._library("pow", a, b)

    def _arithmetic(self, sign: str, a: Value, b: Value) -> Value:
        if sign in "+-*" and a.dtype.kind == b.dtype.kind == "b":
            a, b = self._cast(a, INTEGER), self._cast(b, INTEGER)
        if sign == "/" and a.dtype.kind in "iub" and b.dtype.kind in "iub":
            a, b = self._cast(a, DOUBLE), self._cast(b, DOUBLE)
        a, b = self._alike(a, b)
        if sign in ("//", "%"):
            name = "whole_divided" if sign == "//" else "whole_rest"
            head = f"static inline int64_t {name}(int64_t a, int64_t b) {{"
            self.module.simple(name, f"{head}\n{_DIVIDED[name]}\n}}")
            return Value(f"{name}({a.text}, {b.text})", a.dtype)
        if sign in _LOGICAL and a.dtype.kind == "b":
            sign = _LOGICAL[sign]
        self._count(a.dtype)
        return Value(f"{_wrapped(a)} {sign} {_wrapped(b)}", a.dtype, None, False)

    def _compare(self, sign: str, a: Value, b: Value) -> Value:
        a, b = self._alike(a, b)
        if a.text == b.text and a.dtype.kind == "f" and sign in ("==", "!="):
            return Value(f"{'!' * (sign == '==')}isnan({a.text})", BOOL)
        return Value(f"{_wrapped(a)} {sign} {_wrapped(b)}", BOOL, None, False)

    def _unary(self, node: ast.UnaryOp) -> Value:
        x = self.number(node.operand)
        match node.op:
            case ast.USub():
                self._count(x.dtype)
                return Value(f"-{_wrapped(x)}", x.dtype, None if x.literal is None else -x.literal, False)
            case ast.Not():
                return Value(f"!{_wrapped(self._cast(x, BOOL))}", BOOL)
        return Value(f"~{_wrapped(x)}", x.dtype)

    def _choice(self, node: ast.IfExp) -> Value:
        condition = self._truth(node.test)
        a, b = self._alike(self.number(node.body), self.number(node.orelse))
        return Value(f"{_wrapped(condition)} ? {_wrapped(a)} : {_wrapped(b)}", a.dtype, None, False)

    def _index(self, node: ast.expr) -> str:
        return self.number(node).text

    def _subscript(self, node: ast.Subscript) -> Value | Array:
        array = self.value(node.value)
        assert isinstance(array, Array)
        if not isinstance(node.slice, ast.Slice):
            return Value(f"{array.text}[{self._index(node.slice)}]", array.dtype)
        first = self.number(node.slice.lower) if node.slice.lower else Value("0", INTEGER, 0)
        last = self.number(node.slice.upper) if node.slice.upper else array.size
        size = self._arithmetic("-", last, first)
        place = array.text if first.literal == 0 else f"{array.text} + {_wrapped(first)}"
        return Array(place, array.dtype, size, array.constant)

    def _call(self, node: ast.Call) -> Any:
        function = self.value(node.func)
        given = [self.value(a) for a in node.args]
        if function in (max, min):
            best = given[0]
            for other in given[1:]:
                best = self._extreme(function is max, *self._alike(best, other))
            return best
        if function is abs:
            return self._absolute(given[0])
        if function in _FUNCTIONS:
            return self._library(_FUNCTIONS[function], *given)
        if isinstance(function, type) and issubclass(function, np.generic):
            return _explicit(self._cast(given[0], np.dtype(function)), np.dtype(function))
        if function is type:
            return given[0].dtype.type
        if function in PRODUCTS:
            return self._product(PRODUCTS[function], *given)
        if function in _EACH:
            return self._of_each(_EACH[function], *given)
        if getattr(function, "__module__", "") == runtime.__name__:
            return self._helper(function, given)
        if not any(isinstance(x, Array) or (isinstance(x, Value) and x.literal is None) for x in given):
            return _literal(function(*given))
        raise UnsupportedOperation(getattr(function, "__name__", str(function)), "there is no form of it in C")

    def _extreme(self, largest: bool, a: Value, b: Value) -> Value:
        """Python's max and min: the first unless the other one is beyond it."""
        kind, name = c_type(a.dtype), f"{'largest' if largest else 'smallest'}_{a.dtype.name}"
        head = f"static inline {kind} {name}({kind} a, {kind} b) {{"
        self.module.simple(name, f"{head}\n    return b {'>' if largest else '<'} a ? b : a;\n}}")
        return Value(f"{name}({a.text}, {b.text})", a.dtype)

    def _absolute(self, x: Value) -> Value:
        if x.dtype.kind == "f":
            return Value(f"fabs{'f' * (x.dtype.itemsize == 4)}({x.text})", x.dtype)
        return (
            x
            if x.dtype.kind in "ub"
            else Value(f"{_wrapped(x)} < 0 ? -{_wrapped(x)} : {_wrapped(x)}", x.dtype, None, False)
        )

    def _library(self, name: str, *given: Value) -> Value:
        """A function of the C library: of float for float, of double for all others."""
        common = np.result_type(*(x.dtype if x.literal is None else x.literal for x in given))
        common = common if common == np.float32 else DOUBLE
        self.counts.calls += self._times
        texts = ", ".join(self._cast(x, common).text for x in given)
        return Value(f"{name}{'f' * (common.itemsize == 4)}({texts})", common)

    def _product(self, turned: str, *given: Any) -> Value:
        out, _, _, rows, inner, columns = given
        if all(x.literal is not None for x in (rows, inner, columns)):
            self.counts.operations += 2 * self._times * rows.literal * inner.literal * columns.literal
        kind = c_type(out.dtype)
        places = (
            {"n": "i * inner + k", "t": "k * rows + i"}[turned[0]],
            {"n": "k * columns + j", "t": "j * inner + k"}[turned[1]],
        )
        name = f"product_{turned}_{out.dtype.name}"
        self.module.simple(name, _PRODUCT.format(name=name, kind=kind, a=places[0], b=places[1]))
        return Value(f"{name}({', '.join(x.text for x in given)})", BOOL)

    def _of_each(self, function: str, out: Array, x: Array) -> Value:
        self.counts.calls += self._times * (x.size.literal or 1)
        name = f"{function}_of_{out.dtype.name}"
        single = "f" * (out.dtype.itemsize == 4)
        self.module.simple(name, _OF_EACH.format(name=name, kind=c_type(out.dtype), function=f"{function}{single}"))
        return Value(f"{name}({out.text}, {x.text}, {x.size.text})", BOOL)

    def _helper(self, function: Any, given: Sequence[Value | Array]) -> Value:
        self.counts.whole |= any(isinstance(x, Array) for x in given)
        self.counts.calls += self._times
        given = [self._cast(x, DOUBLE) if isinstance(x, Value) and isinstance(x.literal, float) else x for x in given]
        name, result = self.module.helper(function, given)
        parts = []
        for x in given:
            if isinstance(x, Array):
                cast = f"({c_type(x.dtype)} *)" if x.constant else ""
                parts += [
                    f"{cast}{x.text}" if not cast or re.fullmatch(r"\w+", x.text) else f"{cast}({x.text})",
                    x.size.text,
                ]
            else:
                parts.append(x.text)
        return Value(f"{name}({', '.join(parts)})", BOOL if result is None else result)


def _wrapped(x: Value) -> str:
    """A number that can stand beside any operator."""
    return x.text if x.atom else f"({x.text})"


def _explicit(x: Value, dtype: np.dtype) -> Value:
    """A number that has been put into a type; in a larger expression C would not know."""
    return x if x.atom else Value(f"({x.text})", dtype)


def _literal(value: Any) -> Any:
    """A number that the source contains, or what else Python knows."""
    if isinstance(value, (bool, np.bool_)):
        return Value(c_number(value, BOOL), BOOL)
    if isinstance(value, int):
        return Value(str(value), INTEGER, value, value >= 0)
    if isinstance(value, (float, np.floating)):
        dtype = np.dtype(np.float32) if isinstance(value, np.float32) else DOUBLE
        return Value(c_number(value, dtype), dtype, float(value), not c_number(value, dtype).startswith("-"))
    return value


def _definition(function: Any) -> ast.FunctionDef:
    (tree,) = ast.parse(inspect.getsource(function)).body
    assert isinstance(tree, ast.FunctionDef)
    return tree
