"""Names in generated source: each belongs to one thing."""

from __future__ import annotations

from typing import Any

from fwdgrad.program.program import identifier

__all__ = ["LOOPS", "REFUSED", "Names"]

LOOPS = "ijklmpqr"
"""Names of loop variables, outermost first."""

REFUSED = "refused"
"""The variable that says whether a step is to be refused: an index was out of range, or a matrix has no inverse."""

_OWN = (REFUSED, "functions", "math", "np", "runtime", "special", "t", "start", "stop", *LOOPS)


class Names:
    """Gives out names, one for each key."""

    def __init__(self) -> None:
        self._of: dict[Any, str] = {}
        self._taken = set(_OWN)

    def of(self, key: Any, stem: str) -> str:
        """The name of `key`; a new one, like `stem`, if it has none yet."""
        if key not in self._of:
            name = stem = identifier(stem)
            number = 1
            while name in self._taken:
                number += 1
                name = f"{stem}_{number}"
            self._taken.add(name)
            self._of[key] = name
        return self._of[key]
