"""A step of many replicas as one program, and its loop over time on an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fwdgrad.engines.base import Stream
from fwdgrad.engines.names import AUTO, TRACED, engine_named
from fwdgrad.engines.registry import FAST, NUMPY, REGISTERED, usable
from fwdgrad.errors import NonFiniteError
from fwdgrad.learning.compiling import seconds
from fwdgrad.program import Abstract, trace
from fwdgrad.support.notice import slow

__all__ = ["Lockstep"]


class Lockstep:
    """(carry…, row…) ↦ (carry…, health) over consecutive rows. Several threads may run one.

    Args:
        function: a step, of flat arrays; its last result is a number that is finite exactly if the step was sound.
        carry: examples of the arrays that are handed from step to step.
        rows: examples of one row of the others.
        name: what to call it in messages.
        engine: "compiled" compiles the loop, "numpy" makes every step from Python; "auto" compiles if it can.

    Attributes:
        seconds: what a step takes, about, where it is made from Python; 0 where it is compiled.

    Raises:
        DeclarationError: there is no such engine, or what compiles is not installed.
        TracingError: the step is no fixed sequence of known operations.

    Example:
        >>> import numpy as np
        >>> steps = Lockstep(lambda c, x: (c + x, np.sum(c)), [np.zeros(2)], [np.zeros(2)], "sum", "numpy")
        >>> steps([np.zeros(2)], [np.ones((5, 2))])
        [array([5., 5.])]
    """

    def __init__(
        self, function: Callable[..., Any], carry: Sequence[Any], rows: Sequence[Any], name: str, engine: str = "auto"
    ) -> None:
        self.name = name
        self._stream: Stream | None = None
        asked = engine_named(engine, TRACED)
        used = REGISTERED[asked] if asked != AUTO else FAST if FAST.is_available() else NUMPY
        self._dtypes = [np.asarray(a).dtype for a in rows]
        program = trace(function, [Abstract.of(a) for a in (*carry, *rows)], name="replicas")
        self._step: Callable[..., Any] = program
        self.seconds = 0.0
        if used.streams:
            with slow(f"compiling the steps of {name}"):
                used, self._stream = usable(
                    used, lambda e: e.stream(program, len(carry)) if e.streams else None, f"the steps of {name}", 4
                )
        self.engine = used.name
        if not used.streams:
            self._step, self.seconds = used.compile(program), seconds(program)

    def __call__(self, carry: Sequence[Any], rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The carry after all rows; the one that is given stays as it is.

        Raises:
            NonFiniteError: something was not finite.
        """
        count = len(rows[0])
        rows = [np.ascontiguousarray(r, dtype) for r, dtype in zip(rows, self._dtypes, strict=True)]
        state = [np.array(leaf, order="C") for leaf in carry]
        if self._stream is not None:
            done = self._stream.run(state, rows, [], 0, count)
        else:
            done = count
            with np.errstate(all="ignore"):
                for k in range(count):
                    *state, health = self._step(*state, *(r[k] for r in rows))
                    if not np.isfinite(health):
                        done = k
                        break
        if done < count:
            raise NonFiniteError(
                f"{self.name}: a state, parameter or influence is not finite at step {done}.\n"
                "Usual causes: a step δt that is too long for the integrator, or a learning rate that is too large.",
                step=done,
                quantity="a state, parameter or influence",
            )
        return [np.asarray(leaf) for leaf in state]
