"""Steps on JAX's device: consecutive ones in one call, on a carry that stays there."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fwdgrad.engines.jax_engine.writing import Written, lanes, write
from fwdgrad.program import Program
from fwdgrad.program.guarded import refused

__all__ = ["OnDevice", "Stream", "compile_program"]

ROOM = 64
"""Steps that a call can make. It is compiled for that many, and told how many there are, be it a single one: so steps
that are made again, some at a time, are the same to the last digit."""

AXIS = "streams"


class OnDevice:
    """An array of a carry, on the device: a place whose content is replaced, and comes to NumPy only when asked for."""

    value: Any

    def __init__(self, value: Any) -> None:
        self[...] = value

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array."""
        return self.value.shape

    @property
    def dtype(self) -> np.dtype:
        """As of the array."""
        return self.value.dtype

    def copy(self) -> OnDevice:
        """Another place with the same content; arrays on the device never change, so nothing is moved."""
        made = object.__new__(OnDevice)
        made.value = self.value
        return made

    def __setitem__(self, place: Any, value: Any) -> None:
        if place is not Ellipsis:
            raise IndexError("an array on a device is replaced as a whole: a[...] = value")
        if isinstance(value, OnDevice):
            self.value = value.value
        else:
            with exactly():  # of a copy, since the device may look at the memory that it is given
                self.value = jax.device_put(np.array(value))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(np.asarray(self.value), dtype, copy=copy)


class Stream:
    """A program from (carry…, rows…) to (carry…, results…, health) as a loop over steps.

    Its carry is made of `OnDevice`, or of arrays, which are copied there and back. Where JAX sees several devices, and
    their number divides that of the lanes of a panel, the lanes are spread over them.

    Args:
        program: the step.
        carried: length of its carry.
    """

    def __init__(self, program: Program, carried: int) -> None:
        self._written, self._carried = write(program, carried), carried
        self._steps = load(self._written)["steps"]
        self._inputs, self._lanes = len(program.inputs), lanes(program)
        self._made: dict[Any, Any] = {}

    @property
    def source(self) -> str:
        """The text that JAX compiles."""
        return self._written.text

    def run(self, carry: Sequence[Any], rows: Sequence[Any], outs: Sequence[Any], start: int, stop: int) -> int:
        """Run steps start … stop − 1; `stop`, or the number of the first step that is refused.

        After a refused step, outputs are those up to it, and the carry is of no use any more.
        """
        devices = self._devices()
        while start < stop:
            count = min(stop - start, ROOM)
            made, done = self._call(devices, carry, rows, start, count)
            for out, values in zip(outs, made, strict=True):
                out[start : start + count] = values[:count]
            if done < count:
                return start + done
            start += count
        return stop

    def bind(self, carry: Sequence[Any], rows: Sequence[Any], outs: Sequence[Any]) -> Callable[[int, int], int]:
        """`run` for these arrays, as a function of `start` and `stop`."""
        return lambda start, stop: self.run(carry, rows, outs, start, stop)

    def _call(self, devices: Any, carry: Sequence[Any], rows: Sequence[Any], start: int, count: int) -> Any:
        """Some steps at once: results of each, and how many were sound. The carry goes on if all were."""
        if devices not in self._made:
            self._made[devices] = self._placed(devices)
        steps, places = self._made[devices]
        given = tuple(c.value if isinstance(c, OnDevice) else c for c in carry)
        filled = [_filled(row[start : start + count], ROOM) for row in rows]
        with exactly():
            if places:
                given = tuple(map(jax.device_put, given, places))
            done, sound, after, made = steps(given, filled, count, ROOM)
            results = [np.asarray(m) for m in made]
            if not sound:
                return results, int(done) - 1
            for place, value in zip(carry, after, strict=True):
                if isinstance(place, OnDevice):
                    place.value = value
                else:
                    place[...] = value
        return results, count

    def _devices(self) -> tuple[Any, ...]:
        """Those that lanes are spread over; none where all runs on one."""
        if jax.config.jax_default_device is not None:
            return ()
        found = tuple(jax.devices())
        if len(found) == 1 or not any(lane.turns % len(found) == 0 for lane in self._lanes.values()):
            return ()
        return found

    def _placed(self, devices: tuple[Any, ...]) -> tuple[Any, Any]:
        """The steps for these devices, and where the carry is."""
        if not devices:
            return jax.jit(self._steps, static_argnums=3), None
        mesh = Mesh(np.array(devices), (AXIS,))
        places = [self._place(mesh, k) for k in range(self._inputs)]
        carry, rows = tuple(places[: self._carried]), places[self._carried :]
        whole = NamedSharding(mesh, PartitionSpec())
        given, made = (carry, rows, whole), (whole, whole, carry, whole)
        return jax.jit(self._steps, static_argnums=3, in_shardings=given, out_shardings=made), carry

    def _place(self, mesh: Mesh, number: int) -> NamedSharding:
        """Where an input is: in parts, if it has lanes, else as a whole on every device."""
        lane = self._lanes.get(number)
        if lane is None or lane.turns % mesh.size:
            return NamedSharding(mesh, PartitionSpec())
        before = lane.axis + (number >= self._carried)  # rows have an axis of steps in front
        return NamedSharding(mesh, PartitionSpec(*[None] * before, AXIS))


def _filled(rows: np.ndarray, room: int) -> np.ndarray:
    """The rows, and more behind them that nothing looks at."""
    if len(rows) == room:
        return rows
    made = np.zeros((room, *rows.shape[1:]), rows.dtype)
    made[: len(rows)] = rows
    return made


def compile_program(program: Program) -> Callable[..., tuple[Any, ...]]:
    """A function that computes `program`: flat arrays in, flat tuple of new arrays out.

    Raises:
        Unsupported: JAX cannot do one of its operations.
    """
    written = write(program, None)
    function = jax.jit(load(written)[written.name])

    def run(*arguments: Any) -> tuple[Any, ...]:
        with exactly():
            *made, sound = function(*map(np.asarray, arguments))
            if not sound:
                raise refused(program, arguments)
            return tuple(np.array(m) for m in made)

    return run


@contextmanager
def exactly() -> Iterator[None]:
    """In the precision that arrays have: 64 bits are 64, and products of matrices are not rounded to fewer."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        yield


def load(written: Written) -> dict[str, Any]:
    """The names of a module."""
    scope: dict[str, Any] = dict(written.constants)
    filename = f"<fwdgrad {written.name} for JAX {id(written):x}>"
    exec(compile(written.text, filename, "exec"), scope)
    linecache.cache[filename] = (len(written.text), None, written.text.splitlines(True), filename)
    return scope
