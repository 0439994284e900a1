"""Saying what failed: every check ends in an AssertionError that can be read without the code of the check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fwdgrad.support.trees import flatten, leaf_names, map_leaves

__all__ = ["Subject", "copied", "structure"]


@dataclass(frozen=True)
class Subject:
    """What is being checked, and where."""

    name: str
    place: str = ""

    def at(self, place: str) -> Subject:
        """The same, at a place within the present one."""
        return replace(self, place=f"{self.place}, {place}" if self.place else place)

    def fail(self, what: str, expected: Any, got: Any) -> None:
        """Raise.

        Raises:
            AssertionError: always.
        """
        where = f"\nWhere: {self.place}." if self.place else ""
        raise AssertionError(f"{self.name}: {what}.\nExpected: {expected}.\nGot: {got}.{where}")

    def require(self, condition: Any, what: str, expected: Any, got: Any) -> None:
        """Fail unless `condition` holds."""
        if not condition:
            self.fail(what, expected, got)

    def close(
        self, got: Mapping[str, Any], expected: Mapping[str, Any], tolerance: float, what: str, slack: Any = None
    ) -> None:
        """Compare dicts of arrays, relative to the largest expected value if that is above 1; a missing leaf is zero.

        Args:
            got: what came.
            expected: what it should be.
            tolerance: largest difference that is accepted.
            what: what is compared, for the message.
            slack: uncertainty of each number, besides: a dict of arrays.
        """
        scale = max([1.0, *(float(np.max(np.abs(v), initial=0.0)) for v in expected.values())])
        for k in {**expected, **got}:
            right = np.asarray(expected.get(k, 0.0))
            left = np.broadcast_to(
                np.asarray(got.get(k, 0.0)), np.broadcast_shapes(np.shape(got.get(k, 0.0)), right.shape)
            )
            if right.shape != left.shape and right.shape:
                self.fail(f"{what}: {k} has another shape", right.shape, left.shape)
            beyond = np.abs(left - right) - (0.0 if slack is None else slack.get(k, 0.0))
            beyond = np.where(np.isnan(beyond), np.inf, beyond)  # not a number is never close
            beyond = np.where(np.broadcast_to(right, left.shape) == left, 0.0, beyond)  # infinities of one sign
            if beyond.size and not np.max(beyond) <= tolerance * scale:
                index = np.unravel_index(int(np.argmax(beyond)), beyond.shape)
                entry = f"{k}[{', '.join(map(str, index))}]" if index else k
                self.fail(
                    f"{what}: {entry} is off by {beyond[index]:.3g}, more than {tolerance * scale:.3g}",
                    f"{np.broadcast_to(right, left.shape)[index]:.15g}",
                    f"{left[index]:.15g}",
                )

    def same(self, got: Any, expected: Any, what: str) -> None:
        """Compare containers of arrays bit for bit."""
        self.require(structure(got) == structure(expected), what, structure(expected), structure(got))
        for name, a, b in zip(leaf_names(expected, "it"), flatten(got), flatten(expected), strict=True):
            if not np.array_equal(a, b, equal_nan=np.asarray(b).dtype.kind in "fc"):
                self.fail(f"{what}: {name} differs", np.asarray(b).tolist(), np.asarray(a).tolist())

    @contextmanager
    def running(self, what: str, *passing: type[BaseException]) -> Iterator[None]:
        """Whatever is raised inside is a failure of `what`, but for failed checks and the kinds that may pass.

        Raises:
            AssertionError: something was raised.
        """
        let_pass: tuple[type[BaseException], ...] = (AssertionError, *passing)
        try:
            yield
        except let_pass:
            raise
        except Exception as error:
            place = f"\nWhere: {self.place}." if self.place else ""
            raise AssertionError(f"{self.name}: {what} fails with {type(error).__name__}: {error}{place}") from error


def copied(tree: Any) -> Any:
    """The same containers with copies of the arrays."""
    return map_leaves(np.array, tree)


def structure(tree: Any) -> list[str]:
    """Containers, shapes and dtypes in words, leaf by leaf."""
    made = [f"{n.removeprefix('it')}: {_kind(v)}" for n, v in zip(leaf_names(tree, "it"), flatten(tree), strict=True)]
    return [type(tree).__name__, *made] if not hasattr(tree, "dtype") else made


def _kind(leaf: Any) -> str:
    if not (hasattr(leaf, "dtype") and hasattr(leaf, "shape")):
        return f"{type(leaf).__name__}, not an array"
    return f"{leaf.dtype}{list(leaf.shape)}"
