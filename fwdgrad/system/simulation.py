"""Running a system freely, without data."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import DataError, HiddenStateError, NonFiniteError, ShapeError, StepError, TracingError
from fwdgrad.program import Abstract, trace_pure
from fwdgrad.support import display, frames
from fwdgrad.support.arguments import suggests
from fwdgrad.support.trees import cut, flatten, leaf_names, unflatten
from fwdgrad.system.causes import cause
from fwdgrad.system.checks import GIVEN, arrays, checked_first
from fwdgrad.system.trying import Tried

__all__ = ["Simulated", "Simulation"]

_CAUSES = (
    "Usual causes: a step δt too long for the integrator, a system that is unstable, or a function\n"
    "outside its domain (log or sqrt of a negative number, a division by zero)."
)


class Simulation(NamedTuple):
    """What `System.simulate` returns; time is axis 0."""

    states: Any
    """The state after each sample, in the containers it was declared with."""
    outputs: np.ndarray
    """The prediction for each sample, shape (T, *shape of the prediction)."""

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        names: Sequence[str] | None = None,
        times: Any = None,
        data: Any = None,
        std: Any = None,
        xlabel: str | None = None,
    ) -> Any:
        """Outputs against their number, or times, with data and bands if there are some: `plots.plot_simulation`."""
        from fwdgrad.plots import plot_simulation

        outputs = self.outputs.reshape(len(self.outputs), -1)
        along = np.arange(len(outputs)) if times is None else times
        seen = np.full(outputs.shape, np.nan) if data is None else data
        label = xlabel or ("sample" if times is None else "time")
        return plot_simulation(along, seen, outputs, std, path, names, label)

    def to_frame(self, names: Sequence[str] | None = None) -> Any:
        r"""A `pandas.DataFrame` with a row for each sample: state variables by name, and outputs.

        Args:
            names: of the outputs; "output 0" and so on unless given, `EquationSystem.output_names` for one.

        Raises:
            DeclarationError: pandas is not installed.

        Example:
            >>> import fwdgrad as fg
            >>> model = fg.from_text("d x/dt = -k*x\nx(0) = 1\nparam k = 0.5\noutput level = 2*x\ndt = 0.1")
            >>> list(model.simulate(steps=3).to_frame(model.output_names).columns)
            ['x', 'level']
        """
        columns: dict[str, Any] = {}
        labels = [label.removeprefix("state_") for label in leaf_names(self.states, "state")]
        for label, values in zip(labels, flatten(self.states), strict=True):
            columns |= frames.named(values, [label] if np.ndim(values) == 1 else None, label)
        outputs = frames.named(self.outputs, names, "output")
        return frames.frame(columns | {k: v for k, v in outputs.items() if k not in columns}, None, "sample")

    def __repr__(self) -> str:
        size = sum(int(np.prod(np.shape(leaf)[1:], dtype=int)) for leaf in flatten(self.states))
        outputs = int(np.prod(self.outputs.shape[1:], dtype=int))
        parts = (display.counted(size, "state variable"), display.counted(outputs, "output"))
        return f"Simulation of {display.counted(len(self.outputs), 'sample')}: {', '.join(parts)}"

    def _repr_html_(self) -> str:
        along = ("sample 0", f"{len(self.outputs) - 1}")
        shown = self.outputs.reshape(len(self.outputs), -1).T[: display.CURVES]
        return display.page(
            repr(self), *(display.curve(v, label=f"output {k}", along=along) for k, v in enumerate(shown))
        )


class Simulated(Tried):
    """A `System` as what can be run freely."""

    first: str
    marked: bool
    corrects: bool

    @abstractmethod
    def replace(self, **changes: Any) -> Simulated:
        """The same declaration with other arguments."""

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
        """A free run: transitions and predictions without data, and without injection.

        Args:
            xs: inputs, arrays with time along axis 0 in the containers of `x`; None for an autonomous system.
            steps: how many samples, for an autonomous system.
            params: θ, or some of it, in place of the declared values; `Learner.params` will do.
            state: to start from; the declared one unless given.
            first: what the first sample is observed in, see `System`; what the system says unless given. To go on from
                a state that a sample was seen in, say "next": `simulate(xs, state=learner.state, first="next")`.

        Returns:
            The state at every sample, in the containers of `state`, and the prediction for it; time is axis 0.

        Raises:
            ShapeError, UnknownNameError: inputs, state or parameters are not as declared.
            NonFiniteError: the state stops being finite, with the number of the step.
            IndexRangeError, SingularMatrixError: F or Y reads outside of an array, or inverts a matrix that has no
                inverse; likewise.
            HiddenStateError: as `confirm`.

        Cost: a transition and an output a step, as plain NumPy calls.

        Example:
            >>> import numpy as np, fwdgrad as fg
            >>> system = fg.System(lambda h, x, p: -p["k"] * h, None, np.ones(1), {"k": 0.5}, dt=0.1, method="rk4")
            >>> states, outputs = system.simulate(steps=10)
            >>> print(round(float(states[-1, 0]), 4), round(np.exp(-0.5), 4))
            0.6065 0.6065
            >>> print(round(float(system.simulate(steps=11, first="initial").states[-1, 0]), 4))
            0.6065
        """
        inputs, count = self._simulated_inputs(xs, steps)
        step, coordinates = self._step_function, self.learned(params or {})
        self.outside.unchanged()
        rule = self.first if first is None else checked_first(first, self.dt)
        if rule == "initial" and self.first == "next":
            return self.replace(first=rule).simulate(xs, steps=steps, params=params, state=state)
        h = start_state = self._begun(state, coordinates)
        added: list[Any] = []
        if self.marked:
            mark = GIVEN if rule == "initial" else 0.0
            added.append([np.asarray(0.0 if k else mark, self.dtype) for k in range(count)])
        if self.corrects:
            gone = np.full(self.prediction.shape, np.nan, self.prediction.dtype)
            added += [inputs[k] for k in range(len(inputs))] + [[gone] * count]
        states, outputs = np.empty((count, self.size), self.dtype), np.empty((count, *self.prediction.shape))
        leaves = list(coordinates.values())
        with np.errstate(all="ignore"):
            for k in range(count):
                try:
                    h, outputs[k] = step(h, *(row[k] for row in (*inputs, *added)), *leaves)
                except StepError as error:
                    error.placed(k, left=" of the simulation")
                    raise
                states[k] = h
        if not (np.all(np.isfinite(states)) and np.all(np.isfinite(outputs))):
            bad = ~(np.isfinite(states).all(1) & np.isfinite(outputs.reshape(count, -1)).all(1))
            wrong = int(np.argmax(bad))
            given = [row[wrong] for row in (*inputs, *added)]
            before = states[wrong - 1] if wrong else start_state
            told = cause(self, given, lambda: step(before, *given, *leaves), self.natural(coordinates))
            raise NonFiniteError(
                f"simulate: the state or the prediction is not finite at step {wrong}.\n"
                + (f"{told.found}\n{told.mend}" if told is not None else _CAUSES),
                step=wrong,
                quantity=told.quantity if told is not None else "the state",
            )
        shaped = cut(states, [leaf.shape for leaf in flatten(self.state)], axis=1)
        return Simulation(unflatten(self.state, shaped), outputs.astype(self.prediction.dtype))

    def _begun(self, state: Any, coordinates: Mapping[str, Any]) -> np.ndarray:
        """h(0): the state that is given, or the declared one for these parameters."""
        if state is not None:
            return np.asarray(self._pack(arrays("state", state), "state"), self.dtype)
        if self.init is None:
            return self.initial
        with np.errstate(all="ignore"):
            return np.asarray(self._pack(self.init(self.natural(coordinates)), "state"))

    def _simulated_inputs(self, xs: Any, steps: int | None) -> tuple[list[np.ndarray], int]:
        if self.x is None:
            if xs is not None or isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
                raise ShapeError(f"simulate: the system is autonomous; expected simulate(steps=…), got {steps!r}.")
            return [], int(steps)
        if isinstance(self.x, dict) and (not isinstance(xs, Mapping) or set(xs) != set(self.x)):
            got = sorted(xs) if isinstance(xs, Mapping) else type(xs).__name__
            raise ShapeError(f"simulate: expected xs as a dict with the keys {sorted(self.x)}, got {got}.")
        rows = [np.asarray(v) for v in ([xs[k] for k in self.x] if isinstance(self.x, dict) else [xs])]
        shapes = [v.shape for v in flatten(self.x)]
        if [r.shape[1:] for r in rows] != shapes or not all(r.ndim for r in rows):
            raise ShapeError(
                f"simulate: expected inputs with time along axis 0 and shapes {shapes} a step, got arrays of shapes "
                f"{[r.shape for r in rows]}."
            )
        lengths = sorted({len(r) for r in rows})
        if len(lengths) > 1 or (steps is not None and steps > lengths[0]):
            wanted = "equally many" if steps is None else f"at least {steps}"
            raise ShapeError(f"simulate: expected {wanted} samples of every input, got {lengths}.")
        for r in rows:
            if not (np.issubdtype(r.dtype, np.number) or r.dtype == bool) or not np.all(np.isfinite(r)):
                raise DataError(f"simulate: expected finite inputs, got {r.dtype} with NaN or infinity, or no numbers.")
        made = [r.astype(v.dtype) for r, v in zip(rows, flatten(self.x), strict=True)]
        if isinstance(self.dt, str) and np.any(since := np.asarray(xs[self.dt]) < 0):
            step = int(np.argmax(since))
            raise DataError(
                f"simulate: {self.dt}: the time since the sample before is negative, {xs[self.dt][step]:g} at step "
                f"{step}.\nSort the samples by time."
            )
        return made, lengths[0] if steps is None else int(steps)

    @cached_property
    def _step_function(self) -> Callable[..., Any]:
        """(h, inputs, coordinates) ↦ (h', ŷ), all flat; traced, if it can be."""
        names, count = list(self.coordinates), len(flatten(self.given))

        def step(h: Any, *rest: Any) -> Any:
            given, theta = unflatten(self.given, rest[:count]), dict(zip(names, rest[count:], strict=True))
            after = self.transition(h, given, theta)
            return after, self.output(after, given, theta)

        self.confirm()
        example = [self.initial, *flatten(self.given), *self.coordinates.values()]
        try:
            return compile_program(trace_pure(step, [Abstract.of(a) for a in example], name="simulate"))
        except HiddenStateError:
            raise
        except TracingError:
            return step
