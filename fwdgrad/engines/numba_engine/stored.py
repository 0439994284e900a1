"""Machine code beside its source: numba's cache, which takes what is there also where nothing can be written.

numba's own cache wants to write to a folder before it reads from it; where it cannot, it compiles again, and writes to
another folder of its own choice.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from numba.core.caching import FunctionCache

__all__ = ["StoredCode"]


class _Beside:
    """Where numba looks: in ``__pycache__`` beside the source, whose name says all that the machine code depends on."""

    def __init__(self, py_file: str) -> None:
        self._py_file = py_file

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Beside:
        """For a function in a file."""
        return cls(py_file)

    def ensure_cache_path(self) -> None:
        """Called before something is written."""
        os.makedirs(self.get_cache_path(), exist_ok=True)

    def get_cache_path(self) -> str:
        """The folder."""
        return os.path.join(os.path.dirname(self._py_file), "__pycache__")

    def get_source_stamp(self) -> str:
        """What changes when the source does: its name does."""
        return os.path.basename(self._py_file)

    def get_disambiguator(self) -> str:
        """There is one function in a file."""
        return "run"


_Found: Any = FunctionCache._impl_class


class _Impl(_Found):
    _locator_classes = (_Beside,)


class StoredCode(FunctionCache):
    """numba's cache of one function, in its own folder or nowhere."""

    _impl_class = _Impl

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, where that is possible."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)
