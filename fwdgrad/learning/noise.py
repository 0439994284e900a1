"""A stream of random arrays that does not depend on how many are asked for at a time.

Numbers are drawn in blocks of fixed length and handed out row by row, so that a thousand single steps see the same
draws as one run of a thousand, and a checkpoint needs only the generator's state before the current block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.influence import NoiseSpec

__all__ = ["NoiseStream"]

BLOCK = 64

_SIGNS = {np.dtype(t).char: np.array([-1, 1], t) for t in (np.float32, np.float64)}


class NoiseStream:
    """Rows of noise for consecutive steps, and what is drawn once when a trajectory starts.

    Args:
        generator: where the randomness comes from.
        specs: what is to be drawn.
        dtype: float64 or float32.
    """

    def __init__(self, generator: np.random.Generator, specs: Sequence[NoiseSpec], dtype: np.dtype) -> None:
        self._generator, self._dtype = generator, np.dtype(dtype)
        self._specs = tuple(s for s in specs if s.when == "step")
        self._start = tuple(s for s in specs if s.when == "start")
        self._before = generator.bit_generator.state
        self._block: list[np.ndarray] = []
        self._next = BLOCK

    @property
    def silent(self) -> bool:
        """Whether steps need no noise."""
        return not self._specs

    def start(self) -> tuple[np.ndarray, ...]:
        """What is drawn when a trajectory starts. The rows after it come from a new block."""
        drawn = tuple(self._array(spec, spec.shape) for spec in self._start)
        if drawn:
            self._next = BLOCK
        return drawn

    def peek(self) -> tuple[np.ndarray, ...]:
        """The next row."""
        arrays, k = self.block()
        return tuple(array[k] for array in arrays)

    def block(self) -> tuple[list[np.ndarray], int]:
        """The rows around the next one, and its place among them."""
        if self._next == BLOCK and self._specs:
            self._draw()
        return self._block, self._next

    def advance(self) -> None:
        """Go on to the row after."""
        if self._specs:
            self._next += 1

    def take(self, count: int) -> list[np.ndarray]:
        """The next `count` rows, each array with a leading axis; go on to the row after them."""
        parts: list[list[np.ndarray]] = []
        while count and self._specs:
            if self._next == BLOCK and count >= BLOCK and len(self._specs) == 1:
                # whole blocks of one array follow each other in the generator: draw them at once
                whole = count // BLOCK * BLOCK
                parts.append([self._array(self._specs[0], (whole, *self._specs[0].shape))])
                count -= whole
                continue
            arrays, k = self.block()
            used = min(count, BLOCK - k)
            parts.append([array[k : k + used] for array in arrays])
            self._next += used
            count -= used
        return [column[0] if len(column) == 1 else np.concatenate(column) for column in zip(*parts, strict=True)]

    def _draw(self) -> None:
        self._before = self._generator.bit_generator.state
        self._block = [self._array(spec, (BLOCK, *spec.shape)) for spec in self._specs]
        self._next = 0

    def _array(self, spec: NoiseSpec, shape: tuple[int, ...]) -> np.ndarray:
        if spec.kind == "signs":
            size = math.prod(shape)
            bits = np.unpackbits(np.frombuffer(self._generator.bytes(-(-size // 8)), np.uint8), count=size)
            return _SIGNS[self._dtype.char][bits].reshape(shape)
        if spec.kind == "cube roots":
            return np.floor(3.0 * self._generator.random(shape)).astype(self._dtype)
        if spec.kind == "normal":
            return self._generator.standard_normal(shape).astype(self._dtype)
        if spec.kind == "uniform":
            return self._generator.random(shape).astype(self._dtype)
        raise DeclarationError(f"noise: expected kind 'signs', 'cube roots', 'normal' or 'uniform', got {spec.kind!r}.")

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on with exactly the same rows."""
        within = self._next < BLOCK  # else the next row comes from a block that is not drawn yet
        return {"generator": self._before if within else self._generator.bit_generator.state, "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, with a generator of the same kind."""
        saved = _arrays(state["generator"])
        kind = getattr(np.random, str(saved["bit_generator"]), None)
        if not (isinstance(kind, type) and issubclass(kind, np.random.BitGenerator)):
            raise ValueError(f"the bit generator {saved['bit_generator']!r} is not one of NumPy's")
        self._generator = np.random.Generator(kind())
        self._generator.bit_generator.state = saved
        self._next, self._block = BLOCK, []
        if self._specs and state["next"] < BLOCK:
            self._draw()
        self._next = int(state["next"])


def _arrays(state: Any) -> Any:
    """A bit generator's state as it was before it went through JSON."""
    if isinstance(state, dict) and set(state) == {"ndarray", "dtype"}:
        return np.array(state["ndarray"], dtype=state["dtype"])
    return {k: _arrays(v) for k, v in state.items()} if isinstance(state, dict) else state
