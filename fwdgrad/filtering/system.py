"""`filtered`: a system whose state is an estimate, corrected by every sample, with the covariance of its error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, TracingError, nearly
from fwdgrad.filtering.noise import Cholesky, Covariance, cholesky, covariance_of, least
from fwdgrad.filtering.steps import FilterSteps, joined, parts
from fwdgrad.losses import Innovations, SquaredError
from fwdgrad.program import operations as ops
from fwdgrad.program import whole
from fwdgrad.support.arguments import suggests
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.system import OWN, Simulation, System
from fwdgrad.system.parameters import Parameter, Tied

__all__ = ["FilteredSystem", "filtered"]

METHODS = ("ekf",)


@suggests
def filtered(
    system: System,
    process: Any,
    observation: Any = None,
    initial_covariance: Any = 0.0,
    *,
    method: str = "ekf",
    name: str | None = None,
) -> FilteredSystem:
    """An extended Kalman filter on a system, as a system itself: with noise in the state, everything in it learned.

    Its state is the mean x̂ and an upper triangular U, UᵀU = P the covariance of its error. A transition corrects both
    by the sample before (what is missing of it corrects nothing), and predicts both by F and its Jacobian A:

        K = P Cᵀ (C P Cᵀ + R)⁻¹,   x̂ ← F(x̂ + K (y − Y(x̂)), x, θ),   P ← A (P − K C P) Aᵀ + Q

    with C the Jacobian of Y. The loss is minus the log-likelihood of the innovation e = y − Y(x̂) in nats,
    ½ log|S| + ½ eᵀS⁻¹e + ½ m log 2π with S = C P Cᵀ + R, the constant included; its sum over a record is minus the
    log-likelihood of the model, if that is linear. Learning by exact gradients, `RTRL`, is then recursive maximum
    likelihood in θ, Q, R and P₀ (Ljung, IEEE Trans. Automatic Control 24, 1979): the gradient includes what θ does to
    the gain K, which a filter of state and parameters together (`JointFilter`) leaves out. Any estimator, optimizer
    and engine may be used.

    Where F is a rate (`dt`), `process` is a density, per unit of time, and Q what it adds up to along a sample, be it
    uneven: ∫ Φ(δt, s) · process · Φ(δt, s)ᵀ ds, by Simpson's rule on each step of the integrator; see
    `fwdgrad.filtering.steps`.

    Args:
        system: with a transition F and an output Y that can be traced, and a squared error, whose targets are numbers.
            Its parameters, inputs, integrator, initial state (known or learned) and `first` are kept.
        process: Q, ≥ 0: one variance for all n state variables, n of them, or a matrix; `fg.positive(...)` for one or
            n variances that are learned, as the parameter "process"; `fg.cholesky(...)` for a matrix that is learned;
            the name of a positive parameter of the system; a function of θ that returns variances or a matrix; or a
            dict with variances for every state variable by name.
        observation: R, > 0: m of them, likewise; or by names of outputs, if they have names. By default the square of
            the scale of the loss.
        initial_covariance: P₀ of the initial state, ≥ 0, likewise. 0, the default, if that is known.
        method: "ekf", the extended Kalman filter.
        name: what to call it in reports.

    Memory and time of a step are those of a system with n + n (n + 1)/2 state variables, and O((n + m)³) operations.

    Raises:
        DeclarationError: noise is negative, indefinite, or there is none in what is observed; the loss is another one;
            the system corrects its state already.
        ShapeError, UnknownNameError: noise has another shape; there is no parameter of that name.
        TracingError: F or Y cannot be traced, so that there are no Jacobians.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> level = fg.System(lambda h, x, p: p["a"] * h, None, np.zeros(1), {"a": 0.5})
        >>> system = fg.filtered(level, fg.positive(0.1), fg.positive(1.0), name="level")
        >>> rng, h, ys = np.random.default_rng(0), 0.0, []
        >>> for _ in range(1500):
        ...     h = 0.9 * h + 0.6 * rng.normal()
        ...     ys.append([h + 0.7 * rng.normal()])
        >>> learner = fg.Learner(system, engine="numpy")
        >>> history = learner.run(ys=np.array(ys))
        >>> print(learner.report())  # the truth: 0.9, 0.36, 0.49
        level after 1500 samples (InformationFilter)
        parameter    start  value    std            95 %
        a              0.5  0.918  0.016   0.886 to 0.95
        process        0.1  0.337  0.044  0.262 to 0.434
        observation      1  0.477  0.045  0.397 to 0.574
    """
    if not isinstance(system, System):
        raise DeclarationError(f"filtered: expected a fwdgrad.System, got {system!r}. Declare one: fg.System(F, Y, …).")
    if method not in METHODS:
        raise DeclarationError(
            f"filtered: expected a method, {', '.join(METHODS)}; got {method!r}.{nearly(method, METHODS)}"
        )
    if system.corrects:
        raise DeclarationError(
            f"filtered: {system.name} corrects its state already, by "
            + ("a filter" if isinstance(system, FilteredSystem) else "injection")
            + ".\nDeclare it without, system.replace(injection=None): the gain of the filter takes its place."
        )
    if system.past is not None:
        raise DeclarationError(
            f"filtered: {system.name} has delays: noise in the state would be noise in its past too.\n"
            "Learn it without: fg.Learner(system), fg.fit(system, …)."
        )
    if type(system.loss) is not SquaredError:
        raise DeclarationError(
            f"filtered: expected a system with a squared error, got {system.loss!r}.\n"
            "The likelihood is that of Gaussian noise: system.replace(loss=fg.losses.SquaredError())."
        )
    if observation is None:
        if system.loss.scale == 1.0:
            raise DeclarationError(
                "filtered: what noise do observations have? Give observation=…, variances, or declare the loss with\n"
                "its scale, fg.losses.SquaredError(0.1)."
            )
        observation = np.square(system.loss.scale)
    return FilteredSystem(system, process, observation, initial_covariance, method, name)


@suggests
class FilteredSystem(System):
    """What `filtered` returns: see there.

    Attributes:
        wrapped: the system that is filtered.
    """

    corrects = True

    def __init__(
        self, wrapped: System, process: Any, observation: Any, initial_covariance: Any, method: str, name: str | None
    ) -> None:
        self.wrapped, self._declaration = wrapped, (process, observation, initial_covariance, method, name)
        dtype, m = wrapped.dtype, math.prod(wrapped.prediction.shape)
        declared: dict[str, Parameter | Tied] = dict(wrapped._declared(dtype)["params"])
        states: Any = None
        if isinstance(wrapped.state, dict):
            leaves = list(wrapped.state.items())
            states = {k: v.size for k, v in (leaves[: -wrapped.steady] if wrapped.steady else leaves)}
        outputs = getattr(wrapped, "output_names", None)
        free = wrapped.size - wrapped.steady
        self._process, self._observation, self._initial = (
            covariance_of(
                who,
                value,
                names=names,
                size=size,
                steady=steady,
                params=declared,
                dtype=dtype,
                zero=who != "observation",
            )
            for who, value, names, size, steady in (
                ("process", process, states, free, wrapped.steady),
                ("observation", observation, None if outputs is None else dict.fromkeys(outputs, 1), m, 0),
                ("initial_covariance", initial_covariance, states, free, wrapped.steady),
            )
        )
        for covariance in self._noises.values():
            declared |= covariance.params
        wrapped.confirm()
        values = _values(declared, wrapped)
        try:
            self._steps = FilterSteps(wrapped, tuple(declared), values, self._process, self._observation)
        except TracingError as error:
            raise type(error)(f"filtered: there are no Jacobians of what cannot be traced.\n{error}") from error
        self._floor = self._least_initial(values)
        learned = wrapped.init is not None or self._initial.depends
        self._likelihood = Innovations(tuple(wrapped.prediction.shape))
        super().__init__(
            wrapped.F,
            wrapped.Y,
            self._begin if learned else self._begin(values),
            declared,
            wrapped.x,
            self._likelihood,
            wrapped.dt,
            wrapped.method,
            substeps=wrapped.substeps,
            name=name or f"filtered {wrapped.name}",
            first=None if isinstance(wrapped.dt, str) else wrapped.first,
        )
        self.first_unsaid = wrapped.first_unsaid

    @property
    def _noises(self) -> dict[str, Covariance]:
        return {"process": self._process, "observation": self._observation, "initial_covariance": self._initial}

    def _least_initial(self, values: Mapping[str, Any]) -> Any:
        """What deviations of the initial state are at least, so that its factor has a derivative."""
        floor = np.full(self.wrapped.size, least(self.wrapped.dtype), self.wrapped.dtype)
        if self._initial.singular and not self._initial.diagonal:
            size = np.sqrt(np.diagonal(self._initial.matrix(values)))
            floor = np.maximum(floor, float(np.finfo(self.wrapped.dtype).eps) ** 0.5 * size).astype(floor.dtype)
        return np.diag(floor)

    def _begin(self, theta: Mapping[str, Any]) -> dict[str, Any]:
        """The initial state for these parameters."""
        wrapped, upper = self.wrapped, self._initial.root(theta)
        own = {k: theta[k] for k in wrapped.params}
        mean = wrapped.initial if wrapped.init is None else wrapped.pack(wrapped.init(own))
        if self._initial.singular:
            upper = ops.cholesky_update(self._floor, upper)
        h = joined(mean, upper)
        return {"mean": h[: wrapped.size], "root": h[wrapped.size :]}

    # ---- the parts of a transition

    def transition(self, h: Any, given: Any, coordinates: Mapping[str, Any]) -> Any:
        """As of `System`, with products in place of choices.

        What `np.where` chooses from is guarded against infinite derivatives operation by operation, and here that would
        be the whole filter. Both alternatives are finite, or the step is refused a sample later.
        """
        if not self.fed:
            return self.moved(h, given, self.natural(coordinates))
        theta = self.natural(coordinates)
        begun = h
        if self.init is not None:
            own = np.where(given["start"] > OWN / 2, 1.0, 0.0).astype(self.dtype)
            begun = own * self._pack(self.init(theta), "state") + (1.0 - own) * h
        before = begun if self.first == "next" else h
        after = self.moved(self._corrected(before, given["seen"], theta), given["x"], theta)
        if self.first == "next":
            return after
        start = np.where(np.abs(given["start"]) > OWN / 2, 1.0, 0.0).astype(self.dtype)
        return start * begun + (1.0 - start) * after

    def moved(self, h: Any, x: Any, theta: Mapping[str, Any]) -> Any:
        """Mean and factor of the covariance a sample later."""
        return whole(self._steps.predict, [h, *flatten(x), *theta.values()])

    def observed(self, h: Any, x: Any, theta: Mapping[str, Any]) -> Any:
        """ŷ and √S, as `Innovations` takes them."""
        return whole(self._steps.look, [h, *flatten(x), *theta.values()])

    def _corrected(self, h: Any, seen: Any, theta: Mapping[str, Any]) -> Any:
        """Mean and factor of the covariance, once the sample before is known."""
        return whole(self._steps.correct, [h, *flatten(seen["x"]), seen["y"], *theta.values()])

    # ---- what is known

    def pack(self, state: Any) -> Any:
        """A state as one vector: mean and root as they are kept; or a mean, as of `Learner.state`, with P₀."""
        if isinstance(state, dict) and set(state) == {"mean", "root"}:
            return super().pack(state)
        return self.begun_from(state, self.coordinates)

    def begun_from(self, state: Any, coordinates: Mapping[str, Any]) -> Any:
        """The state of a filter that begins at this mean, in the containers of the wrapped system, with P₀."""
        begun = self._begin(self.natural(coordinates))
        return np.concatenate([np.asarray(self.wrapped.pack(state), self.dtype), np.asarray(begun["root"])])

    @property
    def surrogates(self) -> str:
        """Those of the system that is filtered."""
        return self.wrapped.surrogates

    def without_surrogates(self) -> Any:
        """The same filter on a system with exact derivatives."""
        return type(self)(self.wrapped.without_surrogates(), *self._declaration)

    def estimate(self, h: Any, row: Sequence[Any], coordinates: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n,) and covariance (n, n) of the state, given all samples so far.

        Args:
            h: the state of the filter, which is what was known before the last one.
            row: what the next transition is given besides the input, see `fwdgrad.learning.loops.feed`.
            coordinates: what is learned of the parameters.
        """
        seen = unflatten({"x": self.x, "y": self.y}, row[1:] if self.marked else row)
        known = self._corrected(np.asarray(h), seen, self.natural(coordinates))
        mean, upper = parts(np.asarray(known), self.wrapped.size)
        return np.asarray(mean), np.asarray(upper.T @ upper)

    def covariances(self, params: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
        """The matrices Q, R and P₀ by the names of the arguments of `filtered`, for some values of parameters.

        Args:
            params: as F sees them; the declared ones for those that are left out. `Learner.params` will do.

        Example:
            >>> import numpy as np, fwdgrad as fg
            >>> system = fg.System(lambda h, x, p: p["a"] * h, None, np.ones(2), {"a": 0.9})
            >>> fg.filtered(system, process=fg.positive(0.5), observation=[1.0, 2.0]).covariances()["process"]
            array([[0.5, 0. ],
                   [0. , 0.5]])
        """
        theta = self.natural(self.learned(params or {}))
        return {who: covariance.matrix(theta) for who, covariance in self._noises.items()}

    def point(self, predictions: Any) -> Any:
        """ŷ of predictions, in the shape of targets."""
        return self._likelihood.mean(predictions)

    def deviation(self, predictions: Any) -> np.ndarray:
        """Deviations of the innovations, √diag S, likewise."""
        return np.asarray(self._likelihood.deviation(np.asarray(predictions)))

    def innovations(self, prediction: Any, y: Any) -> tuple[Any, Any]:
        """What y tells that was not known, in deviations, (m,); and 1 where it was observed, else 0."""
        return self._likelihood.innovations(np.asarray(prediction), np.asarray(y, self.dtype))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Those of the wrapped system, if it has any."""
        return self.wrapped.output_names  # type: ignore[attr-defined]

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
        """A free run of the wrapped system, without data and without noise; see `System.simulate`.

        The state, given or returned, is that of the wrapped system, as `Learner.state` gives it.
        """
        own = None if params is None else {k: v for k, v in params.items() if k in self.wrapped.params}
        unknown = {} if params is None else {k: v for k, v in params.items() if k not in self.wrapped.params}
        self.learned(unknown)  # refuses what is no parameter
        return self.wrapped.simulate(xs, steps=steps, params=own, state=state, first=first)

    # ---- declarations

    def confirm(self) -> None:
        """As of `System`; F, Y and the initial state are those of the wrapped one."""
        self.wrapped.confirm()
        super().confirm()

    def _functions(self) -> dict[str, Any]:
        named = super()._functions()
        named = {k: v for k, v in named.items() if k not in ("the loss", "state")}
        if self.wrapped.init is not None:
            named["state"] = self.wrapped.init
        return named | {who: c.function for who, c in self._noises.items() if c.function is not None}

    def replace(self, **changes: Any) -> FilteredSystem:
        """The same with other arguments: of `filtered`, or, all others, of the wrapped system."""
        names = ("process", "observation", "initial_covariance", "method", "name")
        mine = dict(zip(names, self._declaration, strict=True))
        if changes.get("method") not in (None, *METHODS):  # an integrator
            wrapped = {k: v for k, v in changes.items() if k == "method" or k not in names}
        else:
            wrapped = {k: v for k, v in changes.items() if k not in names}
        mine |= {k: v for k, v in changes.items() if k in names and k not in wrapped}
        system = self.wrapped.replace(**wrapped) if wrapped else self.wrapped
        return FilteredSystem(system, *mine.values())

    def restartable(self) -> FilteredSystem:
        """As of `System`."""
        return self if self.init is not None else FilteredSystem(self.wrapped.restartable(), *self._declaration)

    def starting_at(self, params: Mapping[str, Any]) -> FilteredSystem:
        """The same with other initial values of some parameters, those of the noise included."""
        values = self.natural(self.learned(params))
        own = {k: values[k] for k in params if k in self.wrapped.params}
        process, observation, initial, method, name = self._declaration
        noise = {"process": process, "observation": observation, "initial_covariance": initial}
        noise = {who: self._noise_at(who, given, values) for who, given in noise.items()}
        return FilteredSystem(self.wrapped.starting_at(own), **noise, method=method, name=name)

    def _noise_at(self, who: str, given: Any, values: Mapping[str, Any]) -> Any:
        """What declares a covariance with other values of the parameters that it brings."""
        if isinstance(given, Parameter):
            return Parameter(values[who], given.coordinate, given.learn)
        if isinstance(given, Cholesky):
            free = len(given.matrix)
            return cholesky(self._noises[who].matrix(values)[:free, :free])
        return given

    def astype(self, dtype: Any) -> FilteredSystem:
        """The same in another precision, float32 or float64."""
        return FilteredSystem(self.wrapped.astype(dtype), *self._declaration)


def _values(declared: Mapping[str, Parameter | Tied], system: System) -> dict[str, Any]:
    """Values of all parameters, in order and in the precision of the system."""
    made = dict(system.params)
    return {k: made[k] if k in made else np.asarray(p.value, system.dtype) for k, p in declared.items()}
