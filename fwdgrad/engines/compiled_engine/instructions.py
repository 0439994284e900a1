"""LLVM's instructions as text: numbers with NumPy's types, arrays in memory, blocks and branches.

Types are NumPy's throughout. A truth value is one bit in registers and a byte in memory.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

__all__ = ["BOOL", "DOUBLE", "INTEGER", "Array", "Code", "Number", "constant", "llvm_type"]

BOOL, INTEGER, DOUBLE = np.dtype(bool), np.dtype(np.int64), np.dtype(np.float64)

PURE = "nounwind willreturn memory(none)"
"""What LLVM may take for granted of a function of numbers: the same result for the same numbers, and nothing else."""

_ARITHMETIC = {"+": "add", "-": "sub", "*": "mul"}
_BITS = {"&": "and", "|": "or", "^": "xor"}
_FLOAT_TESTS = {"==": "oeq", "!=": "une", "<": "olt", "<=": "ole", ">": "ogt", ">=": "oge"}
_TESTS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


class Number(NamedTuple):
    """A number: a register or a constant. `literal`: a number in the source, which takes the type of what it meets."""

    text: str
    dtype: np.dtype
    literal: Any = None


class Array(NamedTuple):
    """A flat array: the register that holds its address, the type of its entries, and their number."""

    text: str
    dtype: np.dtype
    size: Number


def llvm_type(dtype: np.dtype) -> str:
    """The type of a register."""
    if dtype.kind == "f":
        return {4: "float", 8: "double"}[dtype.itemsize]
    return "i1" if dtype.kind == "b" else f"i{8 * dtype.itemsize}"


def constant(value: Any, dtype: np.dtype) -> str:
    """A number as text, of this type."""
    if dtype.kind == "f":
        return f"0x{struct.unpack('>Q', struct.pack('>d', dtype.type(value)))[0]:016X}"
    return str(int(bool(value))) if dtype.kind == "b" else str(int(value))


class Code:
    """The instructions of one function.

    Args:
        flags: how floating-point arithmetic may be rearranged, as LLVM's flags.
        declared: declarations of the functions that are called, by name; those of this code are added.

    Attributes:
        lines: the instructions.
        indexing: whether what is computed is an index, which does not overflow.
    """

    def __init__(self, flags: str, declared: dict[str, str]) -> None:
        self.flags = f"{flags} " if flags else ""
        self.declared = declared
        self.places: list[str] = []
        self.lines: list[str] = []
        self.indexing = False
        self._count = 0
        self._open = True

    # ---- instructions and blocks

    def emit(self, text: str) -> str:
        """An instruction that has a result; the register it is in."""
        self._count += 1
        name = f"%v{self._count}"
        self.do(f"{name} = {text}")
        return name

    def do(self, text: str) -> None:
        """An instruction without a result."""
        if not self._open:  # behind a jump
            self.label(self.block("never"))
        self.lines.append(f"  {text}")

    def block(self, name: str) -> str:
        """A name for a block."""
        self._count += 1
        return f"{name}{self._count}"

    def label(self, block: str) -> None:
        """Begin a block; what comes before it falls into it."""
        if self._open:
            self.lines.append(f"  br label %{block}")
        self.lines.append(f"{block}:")
        self._open = True

    def jump(self, block: str) -> None:
        """Go on in a block, unless something else was jumped to before."""
        self._end(f"br label %{block}")

    def branch(self, condition: Number, yes: str, no: str) -> None:
        """Go on in one of two blocks."""
        self._end(f"br i1 {condition.text}, label %{yes}, label %{no}")

    def leave(self, result: Number | None) -> None:
        """Return."""
        self._end(f"ret {llvm_type(result.dtype)} {result.text}" if result else "ret void")

    def _end(self, text: str) -> None:
        if self._open:
            self.lines.append(f"  {text}")
            self._open = False

    def body(self, returns: bool) -> list[str]:
        """All of it, with the memory of variables in front. `returns`: it returns something wherever it ends."""
        self._end("unreachable" if returns else "ret void")
        return ["begin:", *self.places, "  br label %body", "body:", *self.lines]

    # ---- variables and arrays

    def variable(self, dtype: np.dtype) -> str:
        """Memory for a number. LLVM keeps it in registers."""
        self._count += 1
        name = f"%m{self._count}"
        self.places.append(f"  {name} = alloca {llvm_type(dtype)}")
        return name

    def get(self, place: str, dtype: np.dtype) -> Number:
        """What a variable holds."""
        return Number(self.emit(f"load {llvm_type(dtype)}, ptr {place}"), dtype)

    def put(self, place: str, number: Number) -> None:
        """Give a variable a value."""
        self.do(f"store {llvm_type(number.dtype)} {number.text}, ptr {place}")

    def address(self, array: Array, index: Number) -> str:
        """Where an entry of an array stands."""
        kind = "i8" if array.dtype.kind == "b" else llvm_type(array.dtype)
        return self.emit(f"getelementptr inbounds {kind}, ptr {array.text}, i64 {self.cast(index, INTEGER).text}")

    def load(self, array: Array, index: Number) -> Number:
        """An entry of an array."""
        place = self.address(array, index)
        if array.dtype.kind == "b":
            byte = self.emit(f"load i8, ptr {place}")
            return Number(self.emit(f"icmp ne i8 {byte}, 0"), BOOL)
        return self.get(place, array.dtype)

    def store(self, array: Array, index: Number, number: Number) -> None:
        """Write an entry of an array."""
        place, number = self.address(array, index), self.cast(number, array.dtype)
        if array.dtype.kind == "b":
            self.do(f"store i8 {self.emit(f'zext i1 {number.text} to i8')}, ptr {place}")
        else:
            self.put(place, number)

    # ---- numbers

    def call(self, name: str, result: np.dtype, *given: Number, more: str = "") -> Number:
        """A function of numbers whose result depends on nothing else."""
        kinds, kind = ", ".join(llvm_type(x.dtype) for x in given), llvm_type(result)
        attributes = "" if name.startswith("llvm.") else f" {PURE}"
        self.declared[name] = f"declare {kind} @{name}({kinds}{', i1' if more else ''}){attributes}"
        texts = ", ".join([*(f"{llvm_type(x.dtype)} {x.text}" for x in given), *([more] if more else [])])
        flags = self.flags if result.kind == "f" else ""
        return Number(self.emit(f"call {flags}{kind} @{name}({texts})"), result)

    def cast(self, x: Number, dtype: np.dtype) -> Number:
        """A number of another type."""
        if x.dtype == dtype:
            return x
        if x.literal is not None:
            return Number(constant(x.literal, dtype), dtype)
        source, target = llvm_type(x.dtype), llvm_type(dtype)
        if dtype.kind == "b":
            test = f"fcmp une {source} {x.text}, {constant(0, x.dtype)}"
            return Number(self.emit(test if x.dtype.kind == "f" else f"icmp ne {source} {x.text}, 0"), BOOL)
        signed = x.dtype.kind == "i"
        if x.dtype.kind == "f" and dtype.kind == "f":
            how = "fpext" if dtype.itemsize > x.dtype.itemsize else "fptrunc"
        elif x.dtype.kind == "f":
            how = "fptoui" if dtype.kind == "u" else "fptosi"
        elif dtype.kind == "f":
            how = "sitofp" if signed else "uitofp"
        elif x.dtype.kind == "b" or dtype.itemsize > x.dtype.itemsize:
            how = "sext" if signed else "zext"
        elif dtype.itemsize < x.dtype.itemsize:
            how = "trunc"
        else:  # signed or not, the bits are the same
            return Number(x.text, dtype)
        made = self.emit(f"{how} {source} {x.text} to {target}")
        if how.startswith("fpto"):  # of what the type cannot hold, any number, but one and the same wherever it is used
            made = self.emit(f"freeze {target} {made}")
        return Number(made, dtype)

    def alike(self, *numbers: Number) -> list[Number]:
        """Numbers in the type they have in common."""
        common = np.result_type(*(x.dtype if x.literal is None else x.literal for x in numbers))
        return [self.cast(x, common) for x in numbers]

    def arithmetic(self, sign: str, a: Number, b: Number) -> Number:
        """``a sign b`` for + − * / // % & | ^."""
        if sign in "+-*" and a.dtype.kind == b.dtype.kind == "b":
            a, b = self.cast(a, INTEGER), self.cast(b, INTEGER)
        if sign == "/" and a.dtype.kind in "iub" and b.dtype.kind in "iub":
            a, b = self.cast(a, DOUBLE), self.cast(b, DOUBLE)
        a, b = self.alike(a, b)
        kind = llvm_type(a.dtype)
        if sign in _BITS:
            return Number(self.emit(f"{_BITS[sign]} {kind} {a.text}, {b.text}"), a.dtype)
        if sign in ("//", "%"):
            return self._divided(sign, a, b)
        if a.dtype.kind == "f":
            name = "fdiv" if sign == "/" else f"f{_ARITHMETIC[sign]}"
            return Number(self.emit(f"{name} {self.flags}{kind} {a.text}, {b.text}"), a.dtype)
        whole = " nsw" if self.indexing else ""
        return Number(self.emit(f"{_ARITHMETIC[sign]}{whole} {kind} {a.text}, {b.text}"), a.dtype)

    def _divided(self, sign: str, a: Number, b: Number) -> Number:
        """The quotient of integers, rounded down, or the remainder that goes with it."""
        kind = llvm_type(a.dtype)
        if a.dtype.kind == "u":
            return Number(self.emit(f"{'udiv' if sign == '//' else 'urem'} {kind} {a.text}, {b.text}"), a.dtype)
        rest = Number(self.emit(f"srem {kind} {a.text}, {b.text}"), a.dtype)
        turned = self.emit(f"xor {kind} {rest.text}, {b.text}")
        opposite = self.emit(f"icmp slt {kind} {turned}, 0")
        inexact = self.emit(f"icmp ne {kind} {rest.text}, 0")
        off = Number(self.emit(f"and i1 {opposite}, {inexact}"), BOOL)
        if sign == "%":
            return self.select(off, self.arithmetic("+", rest, b), rest)
        whole = Number(self.emit(f"sdiv {kind} {a.text}, {b.text}"), a.dtype)
        return self.select(off, self.arithmetic("-", whole, Number("1", a.dtype)), whole)

    def compare(self, sign: str, a: Number, b: Number) -> Number:
        """Whether ``a sign b``."""
        a, b = self.alike(a, b)
        kind = llvm_type(a.dtype)
        if a.dtype.kind == "f":
            return Number(self.emit(f"fcmp {self.flags}{_FLOAT_TESTS[sign]} {kind} {a.text}, {b.text}"), BOOL)
        order = "" if sign in ("==", "!=") else "s" if a.dtype.kind == "i" else "u"
        return Number(self.emit(f"icmp {order}{_TESTS[sign]} {kind} {a.text}, {b.text}"), BOOL)

    def negative(self, x: Number) -> Number:
        """−x."""
        if x.literal is not None:
            return Number(constant(-x.literal, x.dtype), x.dtype, -x.literal)
        kind = llvm_type(x.dtype)
        text = f"fneg {self.flags}{kind} {x.text}" if x.dtype.kind == "f" else f"sub {kind} 0, {x.text}"
        return Number(self.emit(text), x.dtype)

    def inverted(self, x: Number) -> Number:
        """Every bit turned."""
        return Number(self.emit(f"xor {llvm_type(x.dtype)} {x.text}, -1"), x.dtype)

    def select(self, condition: Number, a: Number, b: Number) -> Number:
        """`a` where the condition holds, else `b`; both have been computed."""
        a, b = self.alike(a, b)
        kind = llvm_type(a.dtype)
        return Number(self.emit(f"select i1 {condition.text}, {kind} {a.text}, {kind} {b.text}"), a.dtype)
