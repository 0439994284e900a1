"""Whether functions are functions of their arguments: called again they return the same, and leave nothing behind.

Each is called at two points, A B B A A B: every point after itself and after the other one. What a function remembers
is not the same both times. What it writes anew in every call, or keeps under a key (a cache), is; that does no harm.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from fwdgrad.errors import HiddenStateError
from fwdgrad.outside.captured import Captured, Snapshot

__all__ = ["Outside"]

MEND = "Carry it in the state, pass it in as input x, or declare it among params (fg.fixed, if it is not learned)."

Calls = Mapping[str, Callable[[], Any]]
"""Functions by name, ready to be called at some point."""


class Outside:
    """What some functions use besides their arguments, as it was when they were declared.

    Args:
        functions: by the name that messages call them.
    """

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self._captured = Captured(functions)
        self._declared = self._captured.snapshot()
        self._scratch: set[str] = set()
        self._functions = dict(functions)
        self._confirmed = False
        self._known: dict[str, tuple[Callable[[], Any], np.ndarray]] = {}

    def confirm(self, points: Callable[[float], Sequence[Calls]]) -> None:
        """Once: whether the functions are functions of their arguments; and then, whether nothing has changed.

        Args:
            points: for a distance from the declared example, the calls at two points there.

        Raises:
            HiddenStateError: they are not, or something has.
        """
        if not self._confirmed:
            self._call(points)
            self._confirmed = True
        self.unchanged()

    def unchanged(self) -> None:
        """Whether what the functions use is what it was when they were declared, and they return what they did.

        Each is called once more, at a point where it was called before: what only shows after many calls, in a place
        that nothing can look into, shows then.

        Raises:
            HiddenStateError: it is not, or they do not.
        """
        now = self._captured.snapshot()
        changed = _different(self._declared, now) - self._scratch
        changed = {k for k in changed if "stream" not in (self._declared.get(k, ("",))[0], now.get(k, ("",))[0])}
        if changed:
            raise HiddenStateError(
                f"{_listed(changed)}, which {self._using(changed)} finds outside of its arguments, has changed since "
                "the system was declared.\n"
                "What was traced and learned belongs to the old value: put it back to go on, or declare the system "
                f"again.\n{MEND}"
            )
        with np.errstate(all="ignore"):
            other = [name for name, (call, value) in self._known.items() if not _same(call(), value)]
        if other:
            _refuse(other, True, self._scratch)

    def _call(self, points: Callable[[float], Sequence[Calls]]) -> None:
        for spread in (0.3, 0.03, 0.0):
            try:
                with np.errstate(all="ignore"):
                    self._compare(*points(spread))
            except HiddenStateError:
                raise
            except Exception:
                if spread == 0.0:
                    raise
                continue
            return

    def _compare(self, a: Calls, b: Calls) -> None:
        results, seen = [], []
        for calls in (a, b, b, a, a, b):
            results.append({name: np.array(call()) for name, call in calls.items()})
            seen.append(self._captured.snapshot() | _ambient())
        self._scratch = _different(seen[4], seen[5])
        remembered = _different(seen[2], seen[5]) | _different(seen[3], seen[4])
        repeated = ((0, 3), (0, 4), (1, 2), (1, 5))
        other = [name for name in a if not all(_same(results[k][name], results[m][name]) for k, m in repeated)]
        if other or remembered:
            _refuse(other or [self._using(remembered)], bool(other), remembered or self._scratch)
        for name in reversed(list(a)):  # after the others were called at another point
            if not _same(a[name](), results[0][name]):
                _refuse([name], True, self._scratch)
        self._known = {name: (a[name], value) for name, value in results[0].items()}

    def _using(self, places: Iterable[str]) -> str:
        """The functions that use some of these places."""
        wanted = {_variable(place) for place in places}
        found = [
            name
            for name, function in self._functions.items()
            if wanted & {_variable(place) for place in Captured({name: function}).snapshot()}
        ]
        return " and ".join(found) or " or ".join(self._functions)


def _refuse(names: Sequence[str], other: bool, changed: Iterable[str]) -> NoReturn:
    who, places = " and ".join(dict.fromkeys(names)), _listed(changed)
    what = f"{who}: called again with the same arguments, something else comes out" if other else f"{who} has a memory"
    why = f"a call changes {places}" if places else "it uses random numbers, the time, or what changes outside of it"
    raise HiddenStateError(
        f"{what}: {why}.\n"
        "Once traced, that would be a constant, and no derivative passes through it from one step to the next.\n" + MEND
    )


def _same(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    tolerance = 1e-5 if one.dtype == np.float32 else 1e-12
    return one.shape == other.shape and np.allclose(one, other, rtol=tolerance, atol=0.0, equal_nan=True)


def _different(one: Snapshot, other: Snapshot) -> set[str]:
    return {k for k in one.keys() | other.keys() if one.get(k) != other.get(k)}


def _listed(places: Iterable[str]) -> str:
    """The variables that some places belong to."""
    names = sorted({_variable(place) for place in places})
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _variable(place: str) -> str:
    return place.split("[")[0].removesuffix("()").rstrip("′")


def _ambient() -> Snapshot:
    """The random numbers that every function can reach."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "np.random": ("stream", kind, np.asarray(keys).tobytes(), *rest),
        "random": ("stream", random.getstate()),
    }
