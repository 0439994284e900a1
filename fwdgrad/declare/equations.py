"""Computing with a model's equations: F, Y and the initial state, by walking their trees; and the system they make."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fwdgrad.declare.expressions import Delayed, Expression, Name, evaluate, names_in
from fwdgrad.declare.functions import CONSTANTS
from fwdgrad.declare.model import TIME, Equation, EquationModel, Jump
from fwdgrad.declare.parse import constant
from fwdgrad.declare.places import Place
from fwdgrad.errors import DeclarationError
from fwdgrad.integrate import PAIRS, Adaptive, At, Delay, When
from fwdgrad.losses import Loss, SquaredError, StudentT, likelihood_named
from fwdgrad.system import System
from fwdgrad.system.parameters import Parameter, Tied

if TYPE_CHECKING:
    from fwdgrad.declare.symbolic import Sparsity

__all__ = ["EquationSystem", "Equations", "system_of"]


class EquationSystem(System):
    r"""A system declared by equations, as `from_text`, `from_toml` and `from_sympy` return it.

    State, parameters and inputs are dicts by the names in the equations; a prediction is a vector with the outputs one
    after the other. Where they are rates and `dt` is a number, the first sample of a trajectory is at the start
    (`first="initial"`), because x(0) is the state at t = 0. All else is `System`.

    Args:
        equations: what F, Y and the initial state are computed with.
        arguments: those of `System`.

    Attributes:
        model: the equations as they were declared.
        output_names: one for each number of a prediction.
        units: labels, by what stands on the left of an equation, such as "a" and "d prey/dt".

    Example:
        >>> import fwdgrad as fg
        >>> system = fg.from_text(
        ...     '''
        ...     d x/dt = -k*x
        ...     x(0) = 1
        ...     param k = 0.5
        ...     dt = 0.1
        ...     '''
        ... )
        >>> print(system.latex())
        \begin{aligned}
        \frac{\mathrm{d} x}{\mathrm{d} t} &= -k \, x
        \end{aligned}
    """

    def __init__(self, equations: Equations, **arguments: Any) -> None:
        self._equations = equations
        self.model = equations.shown
        self.steady = int(equations.model.timed)
        super().__init__(**arguments)

    def _observed_first(self, first: Any, learned: bool) -> str:
        return "initial" if first is None and isinstance(self.dt, float) else super()._observed_first(first, learned)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The name of every number of a prediction; entries of an array are numbered in brackets."""
        names: list[str] = []
        for name, size in self._equations.sizes.items():
            names += [name] if size is None else [f"{name}[{k}]" for k in range(size)]
        return tuple(names)

    @property
    def units(self) -> dict[str, str]:
        """The unit labels of the model."""
        return self.model.units

    def latex(self) -> str:
        """The equations as LaTeX, for a mathematics environment."""
        from fwdgrad.declare.latex import latex

        return latex(self.model)

    def to_sympy(self) -> dict[str, Any]:
        r"""The rate, or next value, of every state variable as an expression of SymPy, or an array of them.

        Definitions are put in. Symbols are called like state variables, parameters and inputs; entries of arrays
        ``k[0]``. Integrating in time is not part of them.

        Raises:
            DeclarationError: a parameter is tied to another one by a Python function.

        Example:
            >>> import fwdgrad as fg
            >>> fg.from_text("next x = a*y\ny = x**2\nx(0) = 1\nparam a = 0.5").to_sympy()
            {'x': a*x**2}
        """
        from fwdgrad.declare.symbolic import expressions

        return expressions(self.model, self._equations.shapes)

    def sparsity(self) -> Sparsity:
        r"""Where the derivatives of `to_sympy` in the state and in the parameters are not zero for all values.

        Exact, from SymPy's derivatives; `analyze` finds the same from the traced program, with the integrator's part.

        Cost: one symbolic derivative for every symbol in every entry.

        Example:
            >>> import fwdgrad as fg
            >>> pattern = fg.from_text("next x = a*y\nnext y = x\nx(0) = 1\ny(0) = 1\nparam a = 0.5").sparsity()
            >>> pattern.state.astype(int).toarray(), pattern.params["a"].toarray().ravel()
            (array([[0, 1],
                   [1, 0]]), array([ True, False]))
        """
        from fwdgrad.declare.symbolic import sparsity

        return sparsity(self.model, self._equations.shapes)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def replace(self, **changes: Any) -> Any:
        """The same declaration with other arguments of `System`; with another F or Y a plain `System`."""
        if not changes.keys().isdisjoint(("F", "Y")):
            timed = isinstance(changes.get("dt", self.dt), str)
            return super().replace(**({"first": None if timed else self.first} | changes))
        if "injection" in changes:
            changes["injection"] = self._equations.gain(changes["injection"])
        return EquationSystem(self._equations, **(self._declared(self.dtype) | changes))

    def astype(self, dtype: Any) -> EquationSystem:
        """The same system in another precision, float32 or float64."""
        return EquationSystem(self._equations, **self._declared(dtype))


class Equations:
    """F, Y and the initial state of a model that has been checked.

    Args:
        model: the equations as they are computed.
        shown: the same equations as they are shown; `model` unless given.

    Attributes:
        sizes: how many numbers each output has; None for a single one.

    Raises:
        DeclarationError: a value cannot be computed, or shapes do not go together.
    """

    def __init__(self, model: EquationModel, shown: EquationModel | None = None) -> None:
        self.model = model
        self.shown = shown or model
        self._for_changes = self._definitions(model.changes.values())
        self._for_outputs = self._definitions(model.outputs.values())
        self.parameters = {k: entry.declared for k, entry in model.params.items()}
        self.inputs = {k: entry.example for k, entry in model.inputs.items()}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.sizes: dict[str, int | None] = {}
        self._try_out()

    # ---- what System is given

    def change(self, h: Any, x: Any, theta: Mapping[str, Any]) -> dict[str, Any]:
        """Rates, or next values, of the state variables; the F of the system."""
        values = self._values(h, x, theta, self._for_changes)
        made = {k: evaluate(e.expression, values) for k, e in self.model.changes.items()}
        if self.model.timed:
            made[TIME] = 1.0 if self.model.continuous else h[TIME] + 1.0
        return {name: _like(value, h[name]) for name, value in made.items()}

    def observe(self, h: Any, x: Any, theta: Mapping[str, Any]) -> Any:
        """The prediction; the Y of the system."""
        values = self._values(h, x, theta, self._for_outputs)
        made = [evaluate(entry.expression, values) for entry in self.model.outputs.values()]
        joined = np.concatenate([np.reshape(value, (-1,)) for value in made])
        return _in_precision(joined, h[next(iter(h))].dtype)

    def begin(self, theta: Mapping[str, Any]) -> dict[str, Any]:
        """The initial state for these parameters."""
        values = CONSTANTS | dict(theta)
        start = self.model.start
        made = {k: evaluate(start[k].expression, values) for k in self.model.changes}
        if self.model.timed:
            made[TIME] = evaluate(start[TIME].expression, values) if TIME in start else 0.0
        dtype = np.result_type(*(value.dtype for value in theta.values())) if theta else np.dtype(np.float64)
        return {name: _in_precision(value, dtype) for name, value in made.items()}

    @property
    def events(self) -> list[At | When]:
        """The changes between samples; the events of the system."""
        return [
            When(self._condition(jump), self._change(jump), jump.surrogate)
            if jump.conditional
            else At(self._times(jump), self._change(jump))
            for jump in self.model.jumps
        ]

    @property
    def delays(self) -> dict[str, Delay]:
        """What is delayed, under the names that expressions have for it; the delays of the system."""
        return {name: self._delay(one, place) for name, (one, place) in self.model.delays.items()}

    def _delay(self, one: Delayed, place: Place) -> Delay:
        used = set(names_in(one.by)) & self.model.params.keys()
        longest = None if one.longest is None else float(constant(one.longest, place, "the longest delay"))
        try:
            if not used:
                return Delay(one.of, _computed(Equation(one.by, place), CONSTANTS, one.name, finite=True), longest)
            if type(one.by) is Name:
                return Delay(one.of, one.by.name, longest)
            return Delay(one.of, lambda theta: evaluate(one.by, CONSTANTS | dict(theta)), longest)
        except DeclarationError as error:
            raise place.error(str(error).replace(f"Delay({one.of!r}, …)", one.name)) from None

    def _condition(self, jump: Jump) -> Any:
        definitions = self._definitions([jump.times])

        def condition(h: Any, x: Any, theta: Mapping[str, Any]) -> Any:
            value = evaluate(jump.times.expression, self._values(h, x, theta, definitions))
            return _in_precision(value, h[next(iter(h))].dtype)

        return condition

    def _times(self, jump: Jump) -> Any:
        tree = jump.times.expression
        if not set(names_in(tree)) & self.model.params.keys():
            return evaluate(tree, CONSTANTS)

        def times(theta: Mapping[str, Any]) -> Any:
            return _in_precision(evaluate(tree, CONSTANTS | dict(theta)), next(iter(theta.values())).dtype)

        return times

    def _change(self, jump: Jump) -> Any:
        definitions = self._definitions(jump.values.values())

        def change(h: Any, x: Any, theta: Mapping[str, Any]) -> dict[str, Any]:
            values = self._values(h, x, theta, definitions)
            made = {k: evaluate(e.expression, values) for k, e in jump.values.items()}
            return {name: _like(made[name], value) if name in made else value for name, value in h.items()}

        return change

    @property
    def state(self) -> Any:
        """The initial state, or, where it depends on parameters, the function of them."""
        names = {k for e in self.model.start.values() for k in names_in(e.expression)}
        return self.begin if names & self.model.params.keys() else self.begin({})

    def gain(self, injection: Any) -> Any:
        """A gain of `injection` with a row for time, the last state variable, which nothing corrects."""
        if isinstance(injection, str) or callable(injection):
            return injection
        gain = np.asarray(injection)
        short = self.model.timed and gain.ndim == 2 and len(gain) == sum(map(math.prod, self.shapes.values()))
        return np.concatenate([gain, np.zeros((1, gain.shape[1]))]) if short else injection

    def loss(self, likelihood: str = "gaussian") -> Loss | None:
        """That of a likelihood: squared error, or Student's, in units of the observation noise, if there is any."""
        declared = likelihood_named(likelihood)
        noise = self._noise()
        if noise is None:
            return None if type(declared) is SquaredError else declared
        if not isinstance(declared, SquaredError):
            place = next(entry.place for entry in self.model.outputs.values() if entry.noise is not None)
            raise place.error(
                f"the noise of outputs follows from their mean where likelihood = {likelihood}; leave it out"
            )
        return StudentT(noise.scale) if isinstance(declared, StudentT) else noise

    def _noise(self) -> SquaredError | None:
        scales: list[float] = []
        for name, entry in self.model.outputs.items():
            if entry.noise is None:
                return None
            noise = constant(entry.noise, entry.place, f"the noise of {name}")
            if noise.shape != () or not noise > 0:
                raise entry.place.error(
                    f"the noise of {name} is a standard deviation, one positive number; got {noise}"
                )
            scales += [float(noise)] * (self.sizes[name] or 1)
        return SquaredError(scales[0] if len(set(scales)) == 1 else tuple(scales))

    # ---- computing

    def _definitions(self, equations: Iterable[Equation]) -> list[tuple[str, Expression]]:
        names = self.model.needed(e.expression for e in equations)
        return [(k, self.model.definitions[k].expression) for k in names]

    @staticmethod
    def _values(h: Any, x: Any, theta: Mapping[str, Any], definitions: Iterable[tuple[str, Expression]]) -> Any:
        values = {**CONSTANTS, **theta, **(x or {}), **h}
        for name, expression in definitions:
            values[name] = evaluate(expression, values)
        return values

    def _try_out(self) -> None:
        """Compute everything once with the declared values: what does not go together is told where it stands."""
        model = self.model
        theta = {k: p.value for k, p in self.parameters.items() if isinstance(p, Parameter)}
        for name, declared in self.parameters.items():
            if isinstance(declared, Tied):
                theta[name] = self._follows(name, declared, theta)
        start = {k: _computed(e, CONSTANTS | theta, f"{k}(0)", finite=True) for k, e in model.start.items()}
        self.shapes = {k: np.shape(start[k]) for k in model.changes}
        if np.shape(start.setdefault(TIME, np.zeros(()))) != ():
            raise model.start[TIME].place.error("time is one number")
        values: dict[str, Any] = CONSTANTS | theta | self.inputs | start
        values |= {k: start[one.of] for k, (one, _) in model.delays.items()}
        for name in model.order:
            values[name] = _computed(model.definitions[name], values, name)
        for name, equation in model.changes.items():
            shape = np.shape(_computed(equation, values, f"the change of {name}"))
            if shape not in ((), self.shapes[name]):
                raise equation.place.error(f"this has the shape {shape}, but {name}(0) has {self.shapes[name]}")
        for jump in model.jumps:
            if jump.conditional:
                shape = np.shape(_computed(jump.times, values, "the condition"))
            else:
                shape = np.shape(_computed(jump.times, CONSTANTS | theta, "the time of a change", finite=True))
            if jump.conditional and shape:
                raise jump.place.error(f"expected one number on either side of the condition; got the shape {shape}")
            if len(shape) > 1 or shape == (0,):
                raise jump.place.error(f"expected a time, or a list of them; got the shape {shape}")
            for name, equation in jump.values.items():
                shape = np.shape(_computed(equation, values, f"the new value of {name}"))
                if shape not in ((), self.shapes[name]):
                    raise jump.place.error(f"this has the shape {shape}, but {name}(0) has {self.shapes[name]}")
        for name, entry in model.outputs.items():
            shape = np.shape(_computed(entry, values, f"the output {name}"))
            self.sizes[name] = math.prod(shape) if shape else None

    def _follows(self, name: str, declared: Tied, theta: Mapping[str, Any]) -> Any:
        with np.errstate(all="ignore"):
            try:
                value = np.asarray(declared.value(theta[declared.name]))
            except _UNCOMPUTABLE as error:
                raise self.model.params[name].place.error(f"the value of {name} cannot be computed: {error}") from None
        if not np.all(np.isfinite(value)):
            raise self.model.params[name].place.error(f"the value of {name} is {value}, not finite")
        return value


_UNCOMPUTABLE = (ValueError, IndexError, TypeError, ArithmeticError)
"""What NumPy raises for values and shapes that do not go together."""


def _like(value: Any, like: Any) -> Any:
    """A value in the shape of another one, a single number for all entries, and in its precision."""
    if np.shape(value) != np.shape(like):
        value = value + np.zeros(np.shape(like), like.dtype)
    return _in_precision(value, like.dtype)


def _in_precision(value: Any, dtype: Any) -> Any:
    if not hasattr(value, "dtype"):
        return np.asarray(value, dtype)
    return value if value.dtype == dtype else value.astype(dtype)


def _computed(equation: Equation, values: Mapping[str, Any], what: str, *, finite: bool = False) -> np.ndarray:
    with np.errstate(all="ignore"):
        try:
            value = np.asarray(evaluate(equation.expression, values), dtype=np.float64)
        except _UNCOMPUTABLE as error:
            raise equation.place.error(f"{what} cannot be computed: {error}") from None
    if finite and not np.all(np.isfinite(value)):
        raise equation.place.error(f"{what} is {value}, not finite")
    return value


def system_of(equations: Equations, settings: Mapping[str, Any] | None = None, **overrides: Any) -> EquationSystem:
    """The system that equations declare.

    Args:
        equations: with F, Y, state, params and inputs.
        settings: other arguments of `System`, as the model has them.
        overrides: the same, in place of these; None for what is left to them.

    Raises:
        DeclarationError: a rate without dt, or dt without a rate; or what `System` refuses.
    """
    model = equations.model
    given = {k: v for k, v in overrides.items() if v is not None}
    arguments = {"name": model.source, **(settings or {}), **given}
    tolerances = {k: arguments.pop(k) for k in ("rtol", "atol") if k in arguments}
    if tolerances and arguments["method"] in PAIRS:
        arguments["method"] = Adaptive(arguments["method"], **tolerances)
    method = arguments.get("method")
    sizes = sum(map(math.prod, equations.shapes.values()))
    if model.timed and isinstance(method, Adaptive) and np.shape(method.atol) == (sizes,):
        arguments["method"] = replace(method, atol=(*np.array(method.atol).tolist(), 1.0))  # time has no error
    dt = arguments.get("dt")
    if model.continuous and dt is None:
        raise DeclarationError(
            f"{model.source}: the equations are rates, so a step is needed: dt=0.01, or the name of an input that "
            "brings the time since the sample before."
        )
    if not model.continuous and dt is not None:
        raise DeclarationError(
            f"{model.source}: dt={dt!r} has no meaning for next values; leave it out, or give rates."
        )
    inputs: dict[str, Any] = dict(equations.inputs)
    if isinstance(dt, str) and dt not in inputs:
        if dt in (*model.changes, *model.params, *model.definitions, TIME):
            raise DeclarationError(
                f"{model.source}: dt={dt!r}: expected a number or the name of an input; no input has that name."
            )
        inputs[dt] = np.ones(())
    likelihood = arguments.pop("likelihood", "gaussian")
    if "loss" not in arguments:
        arguments["loss"] = equations.loss(likelihood)
    if "injection" in arguments:
        arguments["injection"] = equations.gain(arguments["injection"])
    return EquationSystem(
        equations,
        F=equations.change,
        Y=equations.observe,
        state=equations.state,
        params=equations.parameters,
        x=inputs or None,
        events=equations.events,
        delays=equations.delays,
        **arguments,
    )
