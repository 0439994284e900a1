"""The contract every optimizer fulfils, and the small checks the optimizers here share.

An optimizer is any object with two pure functions, ``init`` and ``update`` (see `Optimizer`). Those of this package
are frozen dataclasses, so an optimizer's fields are its whole configuration; everything that changes over time lives
in the state that ``init`` makes and ``update`` returns anew.
"""

from __future__ import annotations

import math
import numbers
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fwdgrad.errors import DeclarationError, ShapeError

__all__ = ["Arrays", "Optimizer"]

Arrays: TypeAlias = dict[str, NDArray[Any]]
"""Arrays by parameter name: parameters, gradients and updates all have this form."""


@runtime_checkable
class Optimizer(Protocol):
    """What fwdgrad asks of an optimizer: two pure functions, which never change their arguments.

    ``update`` runs on arrays and also on tracers that record it as a straight-line program to be compiled. Write it
    as plain functional NumPy: operators, ``np.sqrt``, ``np.where``, ``np.maximum`` and the like, ``.astype``,
    ``.dtype`` and ``.shape``; no in-place change, no ``if`` on an array's value, no ``float()`` or ``np.asarray`` of
    an array. If it combines arrays of parameter size only elementwise, with one another and with scalars, each leaf
    becomes one loop.

    Leaves keep their dtype. A 0-d float64 array, such as a rate computed from the step number, would turn float32
    into float64: write ``rate.astype(p.dtype)``. Python floats take the dtype of the array they meet.

    An optimizer may also have ``count(state, samples)``, written in the same way: the state after `samples` samples (a
    float64 scalar) that come without an update of their own. It is called before the update at the end of a window, for
    all samples with a target but one; schedules go by it.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.optimizers import Optimizer
        >>> class SignDescent:
        ...     def init(self, params):
        ...         return ()
        ...
        ...     def update(self, grads, state, params):
        ...         return {name: -0.01 * np.sign(g) for name, g in grads.items()}, state
        >>> isinstance(SignDescent(), Optimizer)
        True
    """

    def init(self, params: Arrays) -> Any:
        """Return the state before the first update: a NamedTuple (or tuple) of arrays and dicts of arrays."""
        ...

    def update(self, grads: Arrays, state: Any, params: Arrays) -> tuple[Arrays, Any]:
        """Return ``(updates, new state)``; the new parameters are ``params[k] + updates[k]``, leaf by leaf."""
        ...


class BySamples:
    """`count` for optimizers whose state has `samples`, the number of samples learned from, which rates go by."""

    def count(self, state: Any, samples: Any) -> Any:
        """Return the state after samples that come without an update of their own (see `Optimizer`)."""
        return state._replace(samples=state.samples + samples)


def declaration_error(subject: str, expected: str, got: str, mend: str) -> DeclarationError:
    """A `DeclarationError` in the usual four lines."""
    return DeclarationError(f"{subject} does not make sense.\nExpected: {expected}.\nGot: {got}.\nMend: {mend}.")


def describe(value: Any) -> str:
    """A short one-line account of a value for an error message."""
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def is_number(value: Any) -> bool:
    """Whether a value is a real number (Python's or a NumPy scalar), booleans excepted."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def positive(subject: str, value: Any, mend: str, *, or_zero: bool = False) -> float:
    """Return a hyperparameter as a Python float, once known to be finite and positive (or zero, where allowed)."""
    if not (is_number(value) and math.isfinite(value) and (value > 0 or (or_zero and value == 0))):
        raise declaration_error(subject, f"a finite number {'≥' if or_zero else '>'} 0", describe(value), mend)
    return float(value)


def decay(subject: str, value: Any, mend: str) -> float:
    """Return the decay factor of a moving average as a Python float, once known to lie in [0, 1)."""
    if not (is_number(value) and 0 <= value < 1):  # false for NaN
        raise declaration_error(subject, "a number in [0, 1)", describe(value), mend)
    return float(value)


def check_params(owner: str, params: Arrays, smallest_eps: float | None = None) -> None:
    """Refuse leaves that are not real floating-point arrays, and an eps that is zero in a leaf's dtype."""
    for name, p in params.items():
        dtype = getattr(p, "dtype", None)
        if dtype is None or not np.issubdtype(dtype, np.floating):
            raise declaration_error(
                f"{owner}.init: parameter {name!r}",
                "an array of real floating-point numbers",
                f"dtype {dtype}" if dtype is not None else describe(p),
                f"make it one, e.g. np.asarray({name}, dtype=np.float64)",
            )
        if smallest_eps is not None and not np.dtype(dtype).type(smallest_eps) > 0:
            raise declaration_error(
                f"{owner}.init: eps for parameter {name!r}",
                f"an eps that is not rounded to zero in {dtype}",
                f"{smallest_eps:.3g}, the least eps this optimizer adds",
                "give a larger eps, or parameters of a wider dtype",
            )


def check_grads(owner: str, grads: Arrays, params: Arrays) -> None:
    """Refuse gradients whose names or shapes are not the parameters'; looks at no values, so tracers pass."""
    if grads.keys() != params.keys():
        raise declaration_error(
            f"{owner}.update: grads",
            f"one gradient per parameter ({', '.join(params) or 'none'})",
            ", ".join(grads) or "none",
            "pass the gradients and the parameters of one and the same system",
        )
    for name, p in params.items():
        if grads[name].shape != p.shape:
            raise ShapeError(
                f"{owner}.update: the gradient of {name!r} has another shape than the parameter.\n"
                f"Expected: {p.shape}.\nGot: {grads[name].shape}.\n"
                "Mend: pass the gradient of a scalar loss in this parameter, unreduced."
            )


def cast(value: Any, dtype: Any) -> Any:
    """Return a value in the given dtype; Python numbers, which adapt by themselves, stay as they are."""
    return value.astype(dtype) if getattr(value, "dtype", dtype) != dtype else value
