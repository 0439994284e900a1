"""`PanelSystem`: many trajectories of one system side by side, with one θ, as a system itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, ShapeError, nearly
from fwdgrad.panels.loss import pooled
from fwdgrad.program import map_rows
from fwdgrad.support.arguments import suggests
from fwdgrad.support.trees import cut, flatten, map_leaves, unflatten
from fwdgrad.system import Simulation, System
from fwdgrad.system.parameters import Parameter

__all__ = ["ENDED", "GOES_ON", "STARTS", "PanelSystem"]

GOES_ON, STARTS, ENDED = 0.0, 1.0, 2.0
"""What a stream does at a sample: it goes on; it starts another trajectory; or there is nothing of it any more, and its
state and influence stay as they are."""

POOLS = ("mean", "sum")


class PanelSystem(System):
    """`count` streams of a system: as many states, one θ.

    Inputs, targets, predictions and states of all streams have a leading axis. The loss is the mean, or the sum, over
    those streams that have a target. Every stream starts from the system's initial state, known or learned.

    Args:
        one: the system of one stream.
        count: how many there are.
        pool: "mean" or "sum".

    Attributes:
        one: the same.
        lane: the same, but that the start of a trajectory is an input of its transition.
        per_stream: names of parameters that have a value for each stream.

    Raises:
        DeclarationError: there is no stream, or `pool` is something else.
    """

    def __init__(self, one: System, count: int, pool: str = "mean") -> None:
        if not isinstance(one, System) or isinstance(one, PanelSystem):
            raise DeclarationError(f"streams: expected a fwdgrad.System of one stream, got {one!r}.")
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
            raise DeclarationError(f"Learner(streams=…): expected how many streams, 1 or more; got {count!r}.")
        if pool not in POOLS:
            raise DeclarationError(f"pool: expected {' or '.join(POOLS)}; got {pool!r}.{nearly(pool, POOLS)}")
        self.one, self.count, self.pool = one, int(count), pool
        self.lane = one.restartable()
        params = {k: self._held(k, p) for k, p in one._declared(one.dtype)["params"].items()}
        super().__init__(
            one.F,
            one.Y,
            self._stacked(one.state),
            params,
            {"lane": np.zeros(count, one.dtype)}
            if one.x is None
            else {"x": self._stacked(one.x), "lane": np.zeros(count)},
            pooled(one.loss, self.count, pool, np.shape(one.y) == np.shape(one.prediction)),
            name=one.name,
            first=one.first,
        )
        self.first_unsaid = one.first_unsaid
        self.marked, self.corrects, self.fed = True, self.lane.corrects, True
        seen = {"seen": {"x": self.x, "y": self.y}} if self.corrects else {}
        self.given = {"x": self.x, "start": np.zeros(self.count, self.dtype), **seen}

    def _held(self, name: str, parameter: Any) -> Any:
        """A parameter as it is declared for all streams."""
        if name not in self.one.per_stream or not isinstance(parameter, Parameter):
            return parameter
        return replace(parameter, value=self._stacked(parameter.value))

    def _stacked(self, tree: Any) -> Any:
        return map_leaves(lambda leaf: np.stack([np.asarray(leaf)] * self.count), tree)

    def _try_out(self) -> np.ndarray:
        """The predictions of all streams."""
        return np.asarray(self._stacked(self.one.prediction))

    @property
    def output_names(self) -> tuple[str, ...]:
        """One for each number of a prediction, with the number of the stream."""
        names = self.one.output_names  # type: ignore[attr-defined]
        return tuple(f"{name} of stream {k}" for k in range(self.count) for name in names)

    # ---- the streams

    def rows(self, given: Any, coordinates: Mapping[str, Any]) -> tuple[Any, ...]:
        """What differs from stream to stream, arrays with a leading axis; `taken` gives it a stream at a time."""
        return *flatten(given), *(coordinates[k] for k in self.per_stream)

    def taken(self, row: Any, coordinates: Mapping[str, Any]) -> tuple[Any, dict[str, Any], Any]:
        """What the transition of one stream is given, its θ, and whether the stream has ended (1, else 0)."""
        count = len(flatten(self.given))
        given, own = unflatten(self.given, row[:count]), dict(zip(self.per_stream, row[count:], strict=True))
        does = given["x"]["lane"]
        starts, ended = (np.where(np.abs(does - code) < 0.5, 1.0, 0.0).astype(self.dtype) for code in (STARTS, ENDED))
        made: dict[str, Any] = {"x": given["x"].get("x"), "start": given["start"] + starts * (1.0 - given["start"])}
        if self.corrects:
            y, there = self.target(given["seen"]["y"])
            gone = (there < 0.5) | (np.abs(made["start"]) > 0.5)
            made["seen"] = {"x": given["seen"]["x"].get("x"), "y": np.where(gone, np.nan, y).astype(self.dtype)}
        return made, {k: own.get(k, v) for k, v in coordinates.items()}, ended

    @property
    def surrogates(self) -> str:
        """Those of one stream."""
        return self.one.surrogates

    @property
    def plain_targets(self) -> bool:
        """Whether targets are those of the streams alone, NaN where they are missing."""
        return not isinstance(self.y, dict) or set(self.y) != {"y", "there"}

    def target(self, y: Any) -> tuple[Any, Any]:
        """The target of one stream, and whether it is there (1, else 0)."""
        if not self.plain_targets:
            return y["y"], y["there"]
        return y, np.where(np.all(np.isnan(y)), 0.0, 1.0).astype(self.dtype)

    def transition(self, h: Any, given: Any, coordinates: Mapping[str, Any]) -> Any:
        """The maps of all streams, one after the other."""

        def transition(state: Any, *row: Any) -> list[Any]:
            own, theta, ended = self.taken(row, coordinates)
            return [np.where(ended > 0.5, state, self.lane.transition(state, own, theta))]

        (after,) = map_rows(transition, self.states(h), *self.rows(given, coordinates))
        return np.reshape(after, (self.size,))

    def output(self, h: Any, given: Any, coordinates: Mapping[str, Any]) -> Any:
        """The predictions of all streams."""

        def output(state: Any, *row: Any) -> list[Any]:
            own, theta, _ = self.taken(row, coordinates)
            return [self.lane.output(state, own, theta)]

        return map_rows(output, self.states(h), *self.rows(given, coordinates))[0]

    def point(self, predictions: Any) -> Any:
        """As of `System`, for each stream."""
        array = np.asarray(predictions)
        rows = self.one.point(np.reshape(array, (-1, *self.one.prediction.shape)))
        return np.reshape(rows, (*array.shape[: array.ndim - self.one.prediction.ndim], *np.shape(rows)[1:]))

    def states(self, h: Any) -> Any:
        """h by streams, shape (count, n)."""
        return np.reshape(h, (self.count, self.one.size))

    # ---- states in the user's containers

    def pack(self, state: Any) -> Any:
        """A state of all streams as one vector, stream after stream."""
        expected, leaves = flatten(self.state), flatten(state)
        if [np.shape(leaf) for leaf in leaves] != [leaf.shape for leaf in expected]:
            raise ShapeError(
                f"state: expected arrays of shapes {[leaf.shape for leaf in expected]}, a row for each stream; got "
                f"{[np.shape(leaf) for leaf in leaves]}."
            )
        rows = [self.one.pack(unflatten(state, [np.asarray(leaf)[k] for leaf in leaves])) for k in range(self.count)]
        return np.concatenate(rows)

    def unpack(self, h: Any) -> Any:
        """The vector h in the user's containers, each array with a leading axis of streams."""
        shapes = [leaf.shape for leaf in flatten(self.one.state)]
        return unflatten(self.state, cut(self.states(h), shapes, axis=1))

    # ---- declarations

    @suggests
    def simulate(
        self,
        xs: Any = None,
        *,
        steps: int | None = None,
        params: Mapping[str, Any] | None = None,
        state: Any = None,
        first: str | None = None,
    ) -> Simulation:
        """A free run of every stream; inputs, states and outputs have time along axis 0 and streams along axis 1."""
        theta = self.natural(self.learned(params or {}))

        def run(k: int) -> Simulation:
            return self.one.simulate(
                None if xs is None else map_leaves(lambda leaf: np.asarray(leaf)[:, k], xs),
                steps=steps,
                params={name: v[k] if name in self.per_stream else v for name, v in theta.items()},
                state=None if state is None else map_leaves(lambda leaf: np.asarray(leaf)[k], state),
                first=first,
            )

        runs = [run(k) for k in range(self.count)]
        states = [flatten(run.states) for run in runs]
        joined = unflatten(runs[0].states, [np.stack(leaf, axis=1) for leaf in zip(*states, strict=True)])
        return Simulation(joined, np.stack([run.outputs for run in runs], axis=1))

    def confirm(self) -> None:
        """As of `System`: the functions are those of one stream."""
        self.one.confirm()

    def _functions(self) -> dict[str, Any]:
        return self.one._functions()

    def replace(self, **changes: Any) -> PanelSystem:
        """The same with another `count` or `pool`; or, all else, with another system of one stream."""
        count, pool = changes.pop("count", self.count), changes.pop("pool", self.pool)
        return PanelSystem(self.one.replace(**changes) if changes else self.one, count, pool)

    def starting_at(self, params: Mapping[str, Any]) -> PanelSystem:
        """The same with other initial values of parameters, those of a stream each included."""
        made = PanelSystem(self.one, self.count, self.pool)
        made.coordinates = self.learned(params)
        return made

    def astype(self, dtype: Any) -> PanelSystem:
        """The same in another precision, float32 or float64."""
        return PanelSystem(self.one.astype(dtype), self.count, self.pool)
