"""What the code of a function mentions: global names and attributes; and whose code it is."""

from __future__ import annotations

import dis
import hashlib
import os
import sys
import sysconfig
from functools import lru_cache
from types import CodeType, ModuleType
from typing import NamedTuple

from fwdgrad.program.sources import is_users

__all__ = ["Mentioned", "code_key", "mentioned", "users_file", "users_module"]

_STANDARD = os.path.join(os.path.realpath(sysconfig.get_paths()["stdlib"]), "")
_INSTALLED = tuple(os.path.join(sysconfig.get_paths()[k], "") for k in ("purelib", "platlib"))


class Mentioned(NamedTuple):
    """Names in a function's code, and in the functions inside it."""

    globals: frozenset[str]
    attributes: frozenset[str]


@lru_cache(maxsize=1024)
def mentioned(code: CodeType) -> Mentioned:
    """What `code` mentions."""
    names: set[str] = set()
    attributes: set[str] = set()
    for step in dis.get_instructions(code):
        if step.opname.endswith(("_GLOBAL", "_NAME")) and not step.opname.startswith("IMPORT"):
            names.add(str(step.argval))
        elif step.opname.endswith(("_ATTR", "_METHOD")):
            attributes.add(str(step.argval))
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            more = mentioned(inner)
            names |= more.globals
            attributes |= more.attributes
    return Mentioned(frozenset(names), frozenset(attributes))


@lru_cache(maxsize=1024)
def code_key(code: CodeType) -> str:
    """The same for functions that say the same, wherever they stand."""
    digest = hashlib.sha256(code.co_code)
    for part in code.co_consts:
        digest.update((code_key(part) if isinstance(part, CodeType) else repr(part)).encode())
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def users_file(file: str) -> bool:
    """Whether a file is the user's: no library's, and no part of fwdgrad but its catalogue."""
    path = os.path.realpath(file) if os.path.isabs(file) else file
    return is_users(file) and not path.startswith(_STANDARD) and not file.startswith(_INSTALLED)


def users_module(module: ModuleType | str | None) -> bool:
    """The same for a module, or the name of one; what has no file was typed in."""
    if isinstance(module, str):
        if module.split(".")[0] in sys.stdlib_module_names and module != "__main__":
            return False
        module = sys.modules.get(module)
    if module is None or module.__name__ in sys.builtin_module_names:
        return False
    file = getattr(module, "__file__", None)
    return module.__name__ == "__main__" if file is None else users_file(file)
