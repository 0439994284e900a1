"""What a core operation is, and what its rules share."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Operand, Operation

__all__ = ["Operand", "Operation", "sample_dtype"]


@lru_cache(maxsize=4096)
def sample_dtype(function: Callable[..., Any], kinds: tuple[Any, ...], params: tuple[Any, ...] = ()) -> np.dtype:
    """The dtype of ``function(*operands, **params)``, found by calling it on ones.

    Args:
        function: any NumPy function.
        kinds: per operand its dtype, or ``bool``, ``int`` or ``float`` for a Python number.
        params: the sorted items of the keyword arguments.
    """
    samples = [kind(1) if isinstance(kind, type) else np.ones((), kind) for kind in kinds]
    with np.errstate(all="ignore"):
        return np.asarray(function(*samples, **dict(params))).dtype
