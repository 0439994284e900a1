"""Reading samples: inputs and targets as users give them, checked and turned into arrays of the declared kind."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice, repeat, zip_longest
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DataError, ShapeError
from fwdgrad.linear import Model
from fwdgrad.support import frames
from fwdgrad.support.trees import flatten, leaf_names

__all__ = ["Chunk", "SampleReader"]

CHUNK = 8192


class Chunk(NamedTuple):
    """Consecutive samples: arrays with a leading time axis, and which steps have a target."""

    x: list[np.ndarray]
    y: list[np.ndarray]
    observed: np.ndarray

    def part(self, start: int, stop: int) -> Chunk:
        """Those from one place to before another."""
        return Chunk([a[start:stop] for a in self.x], [a[start:stop] for a in self.y], self.observed[start:stop])


class SampleReader:
    """Turns samples into arrays for a model.

    Args:
        model: what the samples are for.
        fed: whether inputs are given with what a loop would add to them, as `System.given` has it.

    A target counts as missing if it is None, NaN throughout, or masked. Missing targets are filled with zeros.

    Raises (from every method):
        ShapeError: another shape, key or kind of number than declared.
        DataError: a non-finite input, a symbol outside its range, or an empty stream.
    """

    def __init__(self, model: Model, fed: bool = False) -> None:
        system = model.system
        self._system = system
        self._like = system.given if fed else system.x
        self._x, self._y = flatten(self._like), flatten(system.y)
        self._x_names = leaf_names(self._like, "x")
        self._y_names = leaf_names(system.y, "y")
        self._x_bounds, self._y_bounds = model.x_bounds[: len(self._x)], model.y_bounds
        self._elapsed = self._x_names.index(f"x_{system.dt}") if isinstance(system.dt, str) and not fed else None

    def input(self, x: Any, step: int = 0) -> list[np.ndarray]:
        """One input."""
        return [a[0] for a in self._inputs(self._one(x, self._like, "x"), 1, step)]

    def sample(self, x: Any, y: Any, step: int = 0) -> tuple[list[np.ndarray], list[np.ndarray], bool]:
        """One sample: input, target, and whether the target is there."""
        targets, observed = self._targets(None if y is None else self._one(y, self._system.y, "y"), 1, step)
        return self.input(x, step), [a[0] for a in targets], bool(observed[0])

    def put(self, x: Any, y: Any, xs: list[np.ndarray], ys: list[np.ndarray], k: int) -> bool | None:
        """Write a sample of the plainest kind into row k of arrays, quickly: at most one input, one target or none.

        Returns:
            Whether there is a target; None if the sample is not of that kind, which `sample` has to look at.
        """
        if len(xs) == 1:
            if not _plain(x, xs[0], self._x_bounds[0], k):
                return None
        elif xs or x is not None:
            return None
        if y is None:
            for rows in ys:
                rows[k] = 0
            return False
        return True if len(ys) == 1 and _plain(y, ys[0], self._y_bounds[0], k) else None

    def _one(self, value: Any, like: Any, what: str) -> Any:
        """A single value as a stream of length one."""
        if like is None:
            if value is not None:
                raise ShapeError(f"{what}: the system is autonomous and takes no input; got {value!r}. Pass None.")
            return None
        if isinstance(like, dict):
            if not isinstance(value, dict) or set(value) != set(like):
                got = sorted(value) if isinstance(value, dict) else repr(value)
                raise ShapeError(f"{what}: expected a dict with the keys {sorted(like)}, got {got}.")
            return {k: self._one(value[k], like[k], f"{what}[{k!r}]") for k in like}
        if value is None:
            raise DataError(f"{what}: expected an array of shape {like.shape}, got None. Inputs cannot be missing.")
        return np.ma.asanyarray(value)[None] if np.ma.isMaskedArray(value) else np.asarray(value)[None]

    def chunks(self, xs: Any, ys: Any, steps: int | None, start: int) -> Iterator[Chunk]:
        """Samples chunk by chunk, from arrays with time along axis 0 or from any iterable.

        Args:
            xs: inputs; or, if `ys` is None, an iterable of pairs (x, y); None for an autonomous system. A table with
                names of columns, as of pandas, goes by these where the system has names: of inputs, or of outputs.
                If its index has dates, steps that it has no row for are missing.
            ys: targets.
            steps: at most this many; None for all.
            start: number of the first step, for messages.
        """
        xs, ys = frames.regular(xs, ys, self._system.dt)
        xs, ys = _by_name(xs, self._like, (), "xs"), _by_name(ys, self._system.y, _known(self._system), "ys")
        if xs is None and self._like is not None:
            raise DataError("run: expected inputs xs, got None. Only an autonomous system (x=None) runs without.")
        if xs is None and ys is None and steps is None:
            raise DataError("run: expected targets ys, or a number of steps to run without. Write run(steps=1000).")
        length = None if xs is None and ys is None else self._length(xs, ys)
        if length is None:
            yield from self._from_iterable(self._pairs(xs, ys), steps, start)
            return
        length = length if steps is None else min(length, steps)
        if length == 0:
            raise DataError("run: the stream is empty. Give at least one sample.")
        for a in range(0, length, CHUNK):
            b = min(a + CHUNK, length)
            targets, observed = self._targets(_cut(ys, a, b), b - a, start + a)
            yield Chunk(self._inputs(_cut(xs, a, b), b - a, start + a), targets, observed)

    def _length(self, xs: Any, ys: Any) -> int | None:
        """Length of array streams; None if they are to be iterated over."""
        if ys is None and xs is not None:
            return None  # pairs
        if any(isinstance(s, (list, tuple)) and len(s) and isinstance(s[0], dict) for s in (xs, ys)):
            return None  # samples that are dicts, one by one
        streams = [_listed(s) for s in (*_streams(xs), *_streams(ys))]
        if not all(hasattr(s, "__len__") and hasattr(s, "shape") for s in streams):
            return None
        lengths = {len(s) for s in streams}
        if len(lengths) > 1:
            raise DataError(f"run: inputs and targets have different lengths {sorted(lengths)} along axis 0.")
        return lengths.pop() if lengths else None

    def _pairs(self, xs: Any, ys: Any) -> Iterator[tuple[Any, Any]]:
        if ys is not None:
            if xs is None:
                return ((None, y) for y in ys)
            return _paired(xs, ys)
        if xs is None:  # an autonomous system that nobody watches
            return repeat((None, None))

        def checked() -> Iterator[tuple[Any, Any]]:
            for number, pair in enumerate(_iterate(xs)):
                if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                    raise DataError(
                        f"run: without ys, xs must be an iterable of pairs (x, y); item {number} is {_short(pair)}.\n"
                        "Call run(xs, ys), with None or NaN for missing targets."
                    )
                yield pair[0], pair[1]

        return checked()

    def _from_iterable(self, pairs: Iterable[tuple[Any, Any]], steps: int | None, start: int) -> Iterator[Chunk]:
        """One chunk a sample: a live stream is learned from as it comes."""
        done = 0
        for x, y in pairs if steps is None else islice(pairs, steps):
            inputs, targets, observed = self.sample(x, y, start + done)
            yield Chunk([a[None] for a in inputs], [a[None] for a in targets], np.array([observed]))
            done += 1
        if done == 0:
            raise DataError("run: the stream is empty. Give at least one sample.")

    # ---- checking arrays with a leading time axis

    def _inputs(self, xs: Any, length: int, start: int) -> list[np.ndarray]:
        made = []
        values = _match(xs, self._like, "x")
        for value, like, name, bound in zip(values, self._x, self._x_names, self._x_bounds, strict=True):
            if np.ma.is_masked(value):
                raise DataError(f"{name}: inputs cannot be missing; step {start + _first(np.ma.getmaskarray(value))}.")
            array = _shaped(np.asarray(value), like, name, length)
            if np.issubdtype(like.dtype, np.integer):
                array = _integers(array, name, start)
                _in_range(array, bound, name, start)
            elif not np.all(np.isfinite(array)):
                step = start + _first(~np.isfinite(array))
                raise DataError(
                    f"{name}: expected finite numbers, got NaN or infinity at step {step}.\n"
                    "Only targets may be missing; fill in the input, or drop the sample."
                )
            made.append(np.ascontiguousarray(array, dtype=like.dtype))
        if self._elapsed is not None and np.any(made[self._elapsed] < 0):
            step = _first(made[self._elapsed] < 0)
            raise DataError(
                f"{self._x_names[self._elapsed]}: the time since the sample before is negative, "
                f"{made[self._elapsed][step]:g} at step {start + step}.\nSort the samples by time."
            )
        return made

    def _targets(self, ys: Any, length: int, start: int) -> tuple[list[np.ndarray], np.ndarray]:
        if ys is None:
            return [np.zeros((length, *like.shape), like.dtype) for like in self._y], np.zeros(length, bool)
        made = []
        missing = np.ones(length, bool)
        values = _match(ys, self._system.y, "y")
        for value, like, name, bound in zip(values, self._y, self._y_names, self._y_bounds, strict=True):
            if not np.ma.isMaskedArray(value) and np.asarray(value).dtype == object:
                value = _fill(value, like)
            mask = np.ma.getmaskarray(value) if np.ma.isMaskedArray(value) else None
            array = _shaped(np.asarray(np.ma.getdata(value)), like, name, length)
            if np.issubdtype(array.dtype, np.floating):
                gaps = np.isnan(array)
                mask = gaps if mask is None else mask | gaps
            absent = np.zeros(length, bool) if mask is None else mask.reshape(length, -1).all(axis=1)
            missing &= absent
            if np.issubdtype(like.dtype, np.integer):
                array = _integers(np.where(absent.reshape((length,) + (1,) * like.ndim), 0, array), name, start)
                _in_range(array, bound, name, start)
            else:
                if np.any(np.isinf(array)):
                    raise DataError(
                        f"{name}: expected numbers or NaN, got infinity at step {start + _first(np.isinf(array))}."
                    )
                gone = absent.reshape((length,) + (1,) * like.ndim)
                array = np.where(gone, 0.0, array if mask is None else np.where(mask, np.nan, array))
                if np.any(np.isnan(array)) and not getattr(self._system.loss, "componentwise", False):
                    raise DataError(
                        f"{name}: a target is partly NaN, at step {start + _first(np.isnan(array))}.\n"
                        "SquaredError and the like take NaN as not observed; for this loss give whole targets or None."
                    )
            made.append(np.ascontiguousarray(array, dtype=like.dtype))
        return made, ~missing


def _known(system: Any) -> tuple[str, ...]:
    """The names of the numbers of a prediction; none if they have no names."""
    names = getattr(system, "output_names", None)
    if names is None and system.Y is None and isinstance(system.state, dict):
        names = leaf_names(system.state, "") if all(np.ndim(v) == 0 for v in system.state.values()) else ()
        names = [name.removeprefix("_") for name in names]
    return tuple(names or ())


def _by_name(stream: Any, like: Any, names: tuple[str, ...], what: str) -> Any:
    """A table with named columns, by these names where they are known; anything else as it is.

    Outputs that are no columns were not observed.

    Raises:
        DataError: some columns have known names, and others have not, or inputs are not there; a column holds text.
    """
    if getattr(stream, "columns", None) is None or not hasattr(stream, "to_numpy"):
        return stream
    there = [str(column) for column in stream.columns]
    for name, column in zip(there, stream.columns, strict=True):
        values = np.asarray(stream[column].to_numpy())
        text = next((v for v in values.flat if isinstance(v, str)), None) if values.dtype.kind in "OUT" else None
        if text is not None:
            raise DataError(
                f"{what}: the column {name!r} holds text, such as {text!r}; expected numbers.\n"
                f"Mend: table[{name!r}] = pandas.to_numeric(table[{name!r}]), or leave it out."
            )
    wanted = tuple(like) if isinstance(like, dict) else names
    if not wanted or (not isinstance(like, dict) and not set(there) & set(wanted)):
        return stream  # names of the user's own, in the order of the numbers
    if not isinstance(like, dict) and len({*there}) == len(there) and {*there} < {*wanted}:
        gone = np.full(len(stream), np.nan)
        seen = dict(zip(there, stream.columns, strict=True))
        return np.stack([np.asarray(stream[seen[k]], float) if k in seen else gone for k in wanted], axis=1)
    if sorted(there) != sorted(wanted):
        raise DataError(
            f"{what}: expected a table with the columns {', '.join(wanted)}; got {', '.join(there)}.\n"
            f"Choose and rename them: table[[…]].rename(columns={{…}}); or give an array, {what}=table.to_numpy(),\n"
            "whose columns go by their order."
        )
    columns = dict(zip(there, stream.columns, strict=True))
    if isinstance(like, dict):
        return {k: stream[columns[k]].to_numpy() for k in wanted}
    return stream[[columns[k] for k in wanted]]


def _plain(value: Any, rows: np.ndarray, bound: int | None, k: int) -> bool:
    """Write a symbol in its range, or finite numbers of the shape and dtype declared, into row k; False otherwise."""
    kind = type(value)
    if rows.dtype == np.int64:
        if bound is None or rows.ndim != 1 or not (kind is int or kind is np.int64) or not 0 <= value < bound:
            return False
    elif kind is float:
        if rows.ndim != 1 or not math.isfinite(value):
            return False
    elif kind is not np.ndarray or value.shape != rows.shape[1:] or value.dtype != rows.dtype:
        return False
    if kind is np.ndarray and not math.isfinite(np.add.reduce(value, axis=None)):
        return False
    rows[k] = value
    return True


def _paired(xs: Iterable[Any], ys: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Inputs with their targets."""
    end = object()
    for number, (x, y) in enumerate(zip_longest(_iterate(xs), _iterate(ys), fillvalue=end)):
        if x is end or y is end:
            short, long = ("inputs", "targets") if x is end else ("targets", "inputs")
            raise DataError(f"run: there are {number} {short} but more {long}. Give as many of both, None if missing.")
        yield x, y


def _listed(stream: Any) -> Any:
    """A list as an array (object dtype where it has gaps); anything else as it is."""
    if not isinstance(stream, (list, tuple)):
        return stream
    try:
        return _objects(stream) if any(v is None for v in stream) else np.asarray(stream)
    except (ValueError, TypeError):
        return _objects(stream)


def _objects(stream: Any) -> np.ndarray:
    made = np.empty(len(stream), dtype=object)
    made[:] = list(stream)
    return made


def _streams(stream: Any) -> list[Any]:
    """The streams in a dict of streams; a list is one stream."""
    if isinstance(stream, dict):
        return [leaf for value in stream.values() for leaf in _streams(value)]
    return [] if stream is None else [stream]


def _cut(stream: Any, a: int, b: int) -> Any:
    """Steps a to b of a stream, or of every stream in a dict."""
    if isinstance(stream, dict):
        return {k: _cut(v, a, b) for k, v in stream.items()}
    return None if stream is None else _listed(stream)[a:b]


def _iterate(xs: Any) -> Iterator[Any]:
    try:
        return iter(xs)
    except TypeError:
        raise DataError(f"run: expected arrays or an iterable of samples, got {_short(xs)}.") from None


def _match(value: Any, like: Any, what: str) -> list[Any]:
    """The arrays of `value`, in the order of `like`."""
    if like is None:
        if value is not None:
            raise ShapeError(f"{what}: the system is autonomous and takes no input; got {_short(value)}. Pass None.")
        return []
    if isinstance(like, dict):
        if not isinstance(value, dict) or set(value) != set(like):
            got = sorted(value) if isinstance(value, dict) else _short(value)
            raise ShapeError(f"{what}: expected a dict with the keys {sorted(like)}, got {got}.")
        return [leaf for k in like for leaf in _match(value[k], like[k], f"{what}[{k!r}]")]
    return [value]


def _shaped(array: np.ndarray, like: np.ndarray, name: str, length: int) -> np.ndarray:
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise ShapeError(f"{name}: expected numbers ({like.dtype}), got {array.dtype} {_short(array[0])}.")
    if np.issubdtype(array.dtype, np.complexfloating):
        raise ShapeError(f"{name}: expected real numbers ({like.dtype}), got {array.dtype}.")
    if array.shape[1:] != like.shape:
        one = f"shape {like.shape}" if like.shape else "one number"
        source = "the example x it was declared with" if name.startswith("x") else "the prediction and the loss"
        raise ShapeError(
            f"{name}: expected {one} per step, by {source}; got {array.shape[1:] or 'one number'}.\n"
            "Time is axis 0 of a stream. Reshape the data, or change the declaration."
        )
    return array


def _integers(array: np.ndarray, name: str, start: int) -> np.ndarray:
    if np.issubdtype(array.dtype, np.integer) or array.dtype == bool:
        return array.astype(np.int64)
    wrong = ~np.isfinite(array) | (array != np.rint(np.where(np.isfinite(array), array, 0.0)))
    if np.any(wrong):
        k = _first(wrong)
        raise ShapeError(
            f"{name}: expected an integer (a symbol), got {_short(array[k])} at step {start + k}.\n"
            "Code symbols as 0, 1, 2, … (Alphabet.encode does it for text); if these are measurements, declare the\n"
            "system with a float example, such as x=0.0."
        )
    return array.astype(np.int64)


def _in_range(array: np.ndarray, bound: int | None, name: str, start: int) -> None:
    if bound is None:
        return
    wrong = (array < 0) | (array >= bound)
    if np.any(wrong):
        k = _first(wrong)
        raise DataError(
            f"{name}: expected a symbol from 0 to {bound - 1}, got {array[k]} at step {start + k}.\n"
            f"The system was declared for {bound} symbols; declare it larger, or recode the data."
        )


def _fill(value: Any, like: np.ndarray) -> Any:
    """A stream with None where a target is missing, as an array with NaN there."""
    gap = np.full(like.shape, np.nan)
    try:
        return np.stack([gap if v is None else np.asarray(v, dtype=float) for v in value])
    except (ValueError, TypeError) as error:
        raise ShapeError(f"y: expected targets of one shape {like.shape} each, or None ({error}).") from None


def _first(wrong: np.ndarray) -> int:
    """The first row with a True in it."""
    return int(np.argmax(wrong.reshape(len(wrong), -1).any(axis=1)))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
