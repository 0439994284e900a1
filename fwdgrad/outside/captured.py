"""What functions find outside of their arguments: global names, enclosing functions, defaults, attributes.

Only what the code mentions is looked at, through lists, dicts, objects and functions of the user's; libraries are not
searched. Values are kept as short keys that are equal for equal contents.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import operator
import random
from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from types import CodeType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np
from autograd.tracer import isbox

from fwdgrad.outside.code import code_key, mentioned, users_file, users_module
from fwdgrad.program import is_tracer

__all__ = ["Captured", "Snapshot"]

Snapshot = dict[str, tuple[Any, ...]]
"""Where something is found → what it is."""

MOST = 100_000
"""Places that are looked at; what is behind is left alone."""

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_NUMBERS = frozenset({bool, int, float, np.float64, np.float32, np.int64, np.bool_})
_EMPTY: tuple[Any, ...] = ([], (), range(0), {}, {}.values(), {}.items(), "", set())
_ITERATORS = tuple(type(iter(made)) for made in _EMPTY)


class Captured:
    """What some functions use besides their arguments.

    Args:
        functions: by the name that messages call them.
    """

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self._functions = dict(functions)
        self._attributes: frozenset[str] = frozenset()
        for _ in range(8):  # attributes lead to functions, which mention attributes
            walk = _Walk(self._attributes, contents=False)
            walk.all(self._functions)
            if walk.mentioned <= self._attributes:
                break
            self._attributes |= walk.mentioned

    def snapshot(self) -> Snapshot:
        """What is there now. Cost: a pass over all arrays among it."""
        walk = _Walk(self._attributes, contents=True)
        walk.all(self._functions)
        return walk.found


class _Walk:
    """One pass.

    Args:
        attributes: of objects, those of these names are looked at.
        contents: whether to read arrays.
    """

    def __init__(self, attributes: frozenset[str], contents: bool) -> None:
        self.found: Snapshot = {}
        self.mentioned: set[str] = set()
        self._attributes, self._contents = attributes, contents
        self._been: dict[int, Any] = {}

    def all(self, functions: Mapping[str, Any]) -> None:
        """From each of some functions."""
        for name, function in functions.items():
            self.visit(name, function)

    def visit(self, path: str, value: Any) -> None:
        """What stands at `path`, and all behind it."""
        if len(self.found) >= MOST:
            return
        if isinstance(value, (*_PLAIN, np.generic)):
            self._put(path, (type(value).__name__, _short(value)))
        elif is_tracer(value) or isbox(value):
            self._put(path, ("traced",))
        elif id(value) not in self._been:
            self._been[id(value)] = value  # kept, so that no other object takes its number
            self._look(path, value)

    def _put(self, path: str, key: tuple[Any, ...]) -> None:
        while path in self.found:  # another variable of this name
            path += "′"
        self.found[path] = key

    def _look(self, path: str, value: Any) -> None:
        stream = _position(value)
        if stream is not None:
            self._put(path, ("stream", stream))
        elif isinstance(value, np.ndarray) and value.dtype != object:
            self._put(path, ("array", value.dtype.str, value.shape, _digest(value) if self._contents else ""))
        elif isinstance(value, (array, bytearray, memoryview)):
            held = np.frombuffer(value, np.uint8) if len(value) else np.zeros(0, np.uint8)
            self._put(path, ("buffer", type(value).__name__, len(value), _digest(held) if self._contents else ""))
        elif callable(getattr(type(value), "to_numpy", None)):  # a table of pandas and the like
            self._look(path, np.asarray(value.to_numpy()))
        elif isinstance(value, (list, tuple, deque, np.ndarray)):
            self._sequence(path, value)
        elif isinstance(value, Mapping):
            self._put(path, (type(value).__name__, len(value)))
            for k, v in list(value.items()):
                self.visit(f"{path}[{_short(k)}]", v)
        elif isinstance(value, (set, frozenset)):
            self._put(path, (type(value).__name__, tuple(sorted(map(_short, value)))))
        elif isinstance(value, FunctionType):
            self._function(path, value)
        elif isinstance(value, MethodType):
            self.visit("self", value.__self__)
            self.visit(path, value.__func__)
        elif isinstance(value, functools.partial):
            for k, part in enumerate((value.func, *value.args)):
                self.visit(path if k == 0 else f"argument {k} of {path}", part)
            for name, part in value.keywords.items():
                self.visit(f"{name}", part)
        elif isinstance(value, ModuleType):
            self._attributes_of(path, value) if users_module(value) else None
        elif isinstance(value, type):
            self._attributes_of(path, value) if users_module(value.__module__) else None
        else:
            self._object(path, value)

    def _sequence(self, path: str, value: Any) -> None:
        flat = value.ravel().tolist() if isinstance(value, np.ndarray) else value
        numbers = len(flat) > 8 and set(map(type, flat)) <= _NUMBERS
        digest = _digest(np.array(flat, dtype=float)) if numbers and self._contents else ""
        self._put(path, (type(value).__name__, len(flat), digest))
        if numbers:
            return
        for k, part in enumerate(list(flat)):
            self.visit(f"{path}[{k}]", part)

    def _function(self, path: str, function: FunctionType) -> None:
        code = function.__code__
        users = users_file(code.co_filename)
        if users:
            names = mentioned(code)
            self.mentioned |= names.attributes
            self._put(f"{path}()", ("function", code_key(code)))
            for name in sorted(names.globals & function.__globals__.keys()):
                self.visit(name, function.__globals__[name])
        elif not _ours(function):
            self._wrapped(path, function)
            return
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                self.visit(name, cell.cell_contents)
            except ValueError:  # not assigned yet
                self._put(name, ("nothing",))
        for name, default in _defaults(function, code):
            self.visit(f"{name} (a default argument)", default)
        for name in sorted(self._attributes & function.__dict__.keys()):
            self.visit(f"{path}.{name}", function.__dict__[name])
        self._wrapped(path, function)

    def _wrapped(self, path: str, value: Any) -> None:
        inner = getattr(value, "__wrapped__", None)
        if inner is not None:
            self.visit(path, inner)

    def _attributes_of(self, path: str, value: Any) -> None:
        held = vars(value)
        for name in sorted(self._attributes & held.keys()):
            self.visit(f"{path}.{name}", _bare(held[name]))

    def _object(self, path: str, value: Any) -> None:
        kind = type(value)
        users = users_module(kind.__module__)
        held = dict(getattr(value, "__dict__", {}))
        for owner in kind.__mro__ if users else ():
            slots = owner.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, name):
                    held.setdefault(name, getattr(value, name))
        if not users:
            self._library_object(path, value, held)
            return
        for owner in kind.__mro__:
            if users_module(owner.__module__):
                for name in sorted((self._attributes | {"__call__"}) & owner.__dict__.keys()):
                    self.visit(f"{path}.{name}", _bare(owner.__dict__[name]))
        for name in sorted(self._attributes & held.keys()):
            self.visit(f"{path}.{name}", held[name])

    def _library_object(self, path: str, value: Any, held: Mapping[str, Any]) -> None:
        """Of objects of libraries: arrays, functions, and what the code mentions; or what can be read as numbers."""
        self._wrapped(path, value)
        for name, part in held.items():
            if isinstance(getattr(type(value), name, None), functools.cached_property):
                continue  # computed when it was asked for, from what is held besides
            simple = isinstance(part, (*_PLAIN, np.generic, list, tuple, deque, dict, set))
            if isinstance(part, (np.ndarray, FunctionType, MethodType)) or (simple and name in self._attributes):
                self.visit(f"{path}.{name}", part)
        if hasattr(value, "__array__") and not held and self._contents:
            array = np.asarray(value)
            if array.dtype != object:
                self._put(path, ("array", array.dtype.str, array.shape, _digest(array)))


def _bare(value: Any) -> Any:
    """The function behind a property, a static method or a class method."""
    value = getattr(value, "fget", None) or getattr(value, "__func__", value)
    return getattr(value, "func", value) if isinstance(value, functools.cached_property) else value


def _ours(function: FunctionType) -> bool:
    return str(function.__module__).split(".")[0] == __name__.split(".")[0]


def _defaults(function: FunctionType, code: CodeType) -> Iterable[tuple[str, Any]]:
    values = function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
    return [*zip(names, values, strict=True), *(function.__kwdefaults__ or {}).items()]


def _position(value: Any) -> str | None:
    """Where a source of numbers stands, if `value` is one; reading it does not move it."""
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.BitGenerator):
        return repr(value.state)
    if isinstance(value, np.random.RandomState):
        kind, keys, *rest = value.get_state(legacy=True)
        return f"{kind} {rest} {_digest(np.asarray(keys))}"
    if isinstance(value, random.Random):
        return _short(repr(value.getstate()))
    if isinstance(value, itertools.count):
        return repr(value)
    if isinstance(value, GeneratorType):
        frame = value.gi_frame
        return "done" if frame is None else _short(repr((frame.f_lasti, frame.f_locals)))
    return str(operator.length_hint(value, -1)) if isinstance(value, _ITERATORS) else None


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"").hexdigest()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else hashlib.sha256(text.encode()).hexdigest()
