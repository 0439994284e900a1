"""What is said when the user's function fails while it is being traced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from fwdgrad.errors import FwdgradError, TracingError
from fwdgrad.program.array import PLAIN_TABLE
from fwdgrad.program.sources import frames_of, refuse_operation, scipy_call, source_among

__all__ = ["explain"]

_HINTS = (
    (IndexError, "valid indices", f"A traced index works on traced arrays only.\n{PLAIN_TABLE}"),
    (TypeError, "expected a sequence of integers", "Sizes must not depend on values that are traced."),
    (
        TypeError,
        "ufunc",
        "An array that np.array([...]) builds from traced values holds objects, which not every function takes: build\n"
        "it with np.stack([...]).",
    ),
    (
        Exception,
        "",
        "Call the function with plain arrays. If it works there, use NumPy functions from the documentation's table\n"
        "of operations, or run with engine='eager'.",
    ),
)


def explain(name: str, error: Exception) -> NoReturn:
    """Raise the error that says where the function of the program `name` failed, and what can be done."""
    for own in _own(error):
        if own is error:
            raise error
        raise own from None
    frames = frames_of(error)
    source = source_among(frames)
    inside = scipy_call(frames)
    if inside is not None:
        refuse_operation(inside, source=source)
    text = str(error).strip().split("\n")[0][:200]
    hint = next(hint for kind, part, hint in _HINTS if isinstance(error, kind) and part in str(error))
    raise TracingError(
        f"{name}: {type(error).__name__}: {text}\n"
        f"at {source or 'an unknown line'}, while the function was being traced.\n{hint}"
    ) from error


def _own(error: BaseException) -> Iterator[FwdgradError]:
    """fwdgrad's errors among the causes of `error`: NumPy replaces some of them by its own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, FwdgradError):
            yield seen
        seen = seen.__cause__ or seen.__context__
