"""From a system and a record to the parameters that explain it best."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from fwdgrad.engines.names import AUTO
from fwdgrad.engines.registry import FAST
from fwdgrad.errors import CalibrationWarning, ConvergenceWarning, DeclarationError, IdentifiabilityWarning, nearly
from fwdgrad.estimators import RTRL
from fwdgrad.filtering import FilteredSystem
from fwdgrad.fitting.filtering import disturbed, followed, louder
from fwdgrad.fitting.likelihood import likeliest
from fwdgrad.fitting.result import Fit
from fwdgrad.fitting.scatter import size_of
from fwdgrad.fitting.simulation import simulated
from fwdgrad.fitting.trajectory import recorded
from fwdgrad.integrate import When
from fwdgrad.learning.compiling import predicted_seconds, price
from fwdgrad.learning.counted import counted
from fwdgrad.learning.defaults import why_not_disturbed
from fwdgrad.learning.execution import Execution, execution_for
from fwdgrad.learning.history import Progress
from fwdgrad.learning.loops import (
    ENOUGH,
    GAIN,
    Fitting,
    GaussNewton,
    Normal,
    Pass,
    Record,
    alternatives,
    coarse_steps,
    described,
    noiseless,
    polished,
    preferred,
    unstable_steps,
    widened,
)
from fwdgrad.learning.panel_samples import reader_for
from fwdgrad.learning.report import output_names
from fwdgrad.learning.step import JOINT
from fwdgrad.losses import NegativeBinomial
from fwdgrad.optimizers import JointFilter, NormalEquations
from fwdgrad.optimizers.information.joint import unit
from fwdgrad.panels import PanelSystem
from fwdgrad.support import frames
from fwdgrad.support.arguments import suggests
from fwdgrad.support.types import Flat
from fwdgrad.system import System

__all__ = ["METHODS", "fit"]

METHODS = ("auto", "simulation", "filter")

EARLIEST, GROWTH = 16, 4
"""Targets that are fitted first, and how many times more at each fit than at the one before."""
LEFT = 1.5
"""Times as many there have to be in all for a part to be fitted first."""
SIMULATED = 64
"""Targets from which on the model is simulated without corrections; or all of them, if there are fewer."""
FILTERED = 1024
"""Targets up to which the filter leads the way; later Gauss–Newton finds it by itself."""
PASSES, SHORT = 60, 15
"""Passes of Gauss–Newton through the whole record, at most, from one start; and through a part of it."""
WIDE = 10.0
"""Deviation of the prior for Gauss–Newton, in units of the coordinates: next to none."""
SURELY, HARDLY = 0.2, 100.0
"""Part of its deviation that is left of a parameter that the data tell; and how much wider it is then, where a prior of
ten units is felt, as in logarithms of variances of noise, of which a record tells little."""
ROUNDS, SAME_SIZE = 6, 0.01
"""How often counts are fitted with another size, at most, and a change of its logarithm that is none."""
VAGUE = 3.0
"""That for the filter: with less it is felt where data tell little, with more the filter strays."""
SURE = 0.8
"""Part of the variance of every output that a simulation of the first samples explains if it is in the right valley."""
HELPED = 0.5
"""By how much, in nats, a simulation has to be likelier from where the filter has led for it to go on leading."""
EXPLAINED = 0.5
"""Part of the variance of every output that a simulation has to explain, unless it is asked for."""
AT_MINIMUM, NEARLY = 0.05, 1e-5
"""What a step may promise, in nats, at a minimum: parameters are a third of a deviation off then, at most; and how far
it may go, in units of the coordinates: data without noise tell every rounding."""
MATTERS = 5.0
"""By how much a filter has to be likelier, in nats, for it to be told."""
ASKED = 512
"""First targets that are looked at for it, at most."""
DISTURBED = (
    "with noise in the state the data are likelier, by {:.2g} nats or more: the model lacks something, "
    'or is disturbed (method="filter")'
)
MOST = 400
"""Parameters, at most: ∂h/∂θ and (∂ŷ/∂θ)² are kept in full."""
FORESEEN = 6
"""Passes through the whole record that are sure to come, for the choice of the engine."""


@suggests
def fit(
    system: System,
    xs: Any = None,
    ys: Any = None,
    *,
    trajectories: Any = None,
    params: Mapping[str, Any] | None = None,
    method: str = "auto",
    observation_noise: Any = "learned",
    process_noise: Any = "learned",
    initial_std: Any = "learned",
    engine: str = "auto",
    streams: int | None = None,
    progress: bool | Callable[[int, float], None] = False,
) -> Fit:
    """Find the parameters that explain a finite record best, and say what they are worth.

    By "simulation": the parameters that make the loss of the model, run through all samples without corrections, least.
    With a squared error that is least squares, weighted by noise that is found with it, one deviation for each output;
    with `NegativeBinomial` its size is found with it.
    Levenberg–Marquardt, whose normal equations are summed up forward in time with exact influence (`GaussNewton`).
    Where a simulation of the first samples explains little and the model is small, a filter on state and parameters
    (`JointFilter`) leads the way, so that a start that is far off does no harm.

    A filtered system (`fwdgrad.filtered`) is fitted by the likelihood of its innovations, noise and all: Fisher's
    scoring with exact influence through the filter.

    By "filter": the model's state is disturbed too, and followed by the filter; parameters are those at which its
    predictions one sample ahead are likeliest. "auto" simulates, and filters if a simulation explains less than half of
    the variance of an output and the filter is likelier.

    Args:
        system: the declared system. It is not changed; its parameters are where the search begins.
        xs: inputs, with time along axis 0; None for an autonomous system.
        ys: targets; NaN, None or masked where missing.
        trajectories: in place of both, a list of `Trajectory(xs, ys, state)`: several subjects or experiments, one θ.
        params: θ, or some of it, to begin with in place of the declared values.
        method: "auto", "simulation" or "filter".
        observation_noise: as in `JointFilter`: a deviation, one for each output (of a stream, or of all), or "learned":
            one for each output, the same in all trajectories and streams.
        process_noise: likewise, for the filter.
        initial_std: likewise, for the filter.
        engine: as for `Learner`.
        streams: how many trajectories lie side by side in the samples, as for `Learner`: arrays (T, streams, …), or
            lists of sequences of any lengths. Each stream has a value of its own of what is declared `per_stream`; the
            state of a `Trajectory` has a leading axis of streams.
        progress: True for a bar that counts samples gone through, or a function called with (their number, NaN).

    Returns:
        What was found, a `Fit`: print it, `plot` it, `forecast` with it.

    Raises:
        DeclarationError: an argument is none of these, noise is given where there is nothing that has it, the loss has
            no Fisher matrix, or the model is too large.
        DataError, ShapeError: the samples are not of the declared kind, or have no targets.
        StepError: the model cannot be simulated at the declared parameters, nor filtered.

    Time: some 10 to 50 passes through the record. Memory: the record, (n + p) p.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> from fwdgrad import systems
        >>> system = systems.van_der_pol()
        >>> ys = system.simulate(steps=300, params={"mu": 2.0}).outputs
        >>> found = fg.fit(system, ys=ys + 0.05 * np.random.default_rng(0).normal(size=ys.shape), engine="numpy")
        >>> print(f"{found.params['mu']:.2f} ± {found.std['mu']:.2f}")
        2.00 ± 0.00
    """
    if not isinstance(system, System):
        raise DeclarationError(f"fit: expected a fwdgrad.System, got {system!r}. Declare one: fg.System(F, Y, …).")
    if method not in METHODS:
        raise DeclarationError(
            f"fit(method={method!r}): expected one of {', '.join(METHODS)}.{nearly(method, METHODS)}"
        )
    system.confirm()
    if streams is not None:
        if isinstance(system, FilteredSystem):
            raise DeclarationError(
                "fit(streams=…): expected a system without a filter. Of a filtered one, give trajectories=[…] in turn."
            )
        system = PanelSystem(system, streams, "sum")
    system = system if params is None else system.starting_at(params)
    system.must_learn()
    count = sum(system.coordinates[k].size for k in system.trainable)
    if count > MOST:
        raise DeclarationError(
            f"fit: expected at most {MOST} parameters, {system.name} has {count}.\nLearn online: fg.Learner(system)."
        )
    options = _of_each_output(JointFilter(VAGUE, observation_noise, process_noise, initial_std, first=0), system)
    why_not = why_not_disturbed(system)
    if method == "filter" and why_not is not None:
        raise DeclarationError(f'fit(method="filter"): expected a model that can be filtered; {why_not}.')
    with Progress(progress, None) as shown:
        search = _Search(
            system,
            options if why_not is None else None,
            engine,
            lambda count: shown.update(np.full(count, np.nan)),
            options.observation_noise,
        )
        record = recorded(system, reader_for(search.execution.model), xs, ys, trajectories)
        found = search.found(record, method)
    calendar = None if isinstance(system.dt, str) else frames.calendar_of(frames.table(ys))
    if calendar is None:
        return found
    told = f"{calendar.missing} of {calendar.count} dates are not in the table: not observed then"
    return replace(found, calendar=calendar).remarked(*[told] * (calendar.missing > 0))


def _of_each_output(options: JointFilter, system: System) -> JointFilter:
    """The same, with a deviation for each output of each stream where there are several.

    Raises:
        DeclarationError: there are more or fewer than outputs, or the loss is not one of residuals with a deviation.
    """
    noise, outputs = options.observation_noise, math.prod(np.shape(system.prediction))
    if noise == "learned":
        return options
    if not hasattr(system.loss, "weight"):
        raise DeclarationError(
            f'fit(observation_noise={noise!r}): expected "learned", the loss {system.loss!r} has no noise to give.\n'
            "Leave it out; a filter's noise is declared with it: fg.filtered(system, process, observation)."
        )
    if not isinstance(noise, tuple):
        return options
    streams = system.count if isinstance(system, PanelSystem) else 1
    if len(noise) * streams == outputs:
        return replace(options, observation_noise=noise * streams)
    if len(noise) != outputs:
        raise DeclarationError(
            f"fit(observation_noise=…): expected one deviation, or one for each of the {outputs // streams} outputs; "
            f"got {len(noise)}."
        )
    return options


class _Search:
    """Goes through a record that grows, from its first samples to all of them.

    Args:
        system: the declared system.
        options: the filter that leads the way; None where there can be none.
        engine: as the user named it.
        told: called after every pass with the number of samples.
        noise: deviation of the noise, one number or one for each output; or "learned".
    """

    def __init__(
        self,
        system: System,
        options: JointFilter | None,
        engine: str,
        told: Callable[[int], None],
        noise: Any = "learned",
    ) -> None:
        self.system, self.options, self.engine, self._noise = system, options, engine, noise
        self.steps = 0
        self._told, self._said = told, list[tuple[str, type[Warning]]]()
        self.execution = execution_for(system, RTRL(), NormalEquations(), engine)
        trained = {k: system.coordinates[k] for k in system.trainable}
        units = [np.ravel(unit(v, not system.coordinate[k].bounded)) for k, v in trained.items()]
        self.units = np.concatenate(units).astype(float)
        self.free = np.concatenate([np.full(v.size, not system.coordinate[k].bounded) for k, v in trained.items()])
        self.declared = np.concatenate([np.ravel(v) for v in trained.values()]).astype(float)

    def _count(self, samples: int) -> None:
        self.steps += samples
        self._told(samples)

    def found(self, record: Record, method: str) -> Fit:
        """The best fit of a record; what speaks against it is told.

        Raises:
            StepError: there is none.
        """
        made = self._found(record, method)
        for text, category in self._said:
            warnings.warn(f"fit: {text}", category, stacklevel=4)
        return made

    def _found(self, record: Record, method: str) -> Fit:
        """The same, and in `_said` what is to be told of it."""
        newton = self._newton(record)
        options, earliest = self.options, _sizes(record)[0][0]
        lead = None if options is None else _Lead(lambda: self._filter(record, newton, options), earliest)
        best = self._grown(record, newton, lead, method)
        if best is not None:
            others = alternatives(record, newton, best, self.declared, self.prior, self.units)
            best, others = preferred(best, others, self.declared, self.prior)
            if isinstance(self.system, FilteredSystem):
                best = self._polished(record, newton, best)
                made = likeliest(self.system, record, newton, best, self.prior, self._passes(record))
                return self._beside(self._doubted(made), others)
            if scatters := isinstance(self.system.loss, NegativeBinomial):
                newton, best, size = self._scattered(record, newton, best)
            going = None if lead is None else lambda: lead.fitting
            made = simulated(record, newton, best, self.prior, going, self._passes(record))
            if scatters:
                made = replace(made, size=size)
            made = self._beside(self._ended(newton, best, made), others)
            made = self._checked(record, self._counted(self._doubted(made)))
            poor = bool(np.any(made.explained < EXPLAINED))
            coloured = made.verdict is not None and bool(made.verdict.findings)
            if method == "simulation" or lead is None or not (poor or coloured):
                return made
            if not poor:
                lead.go(best.point)
                gain = self._gain(record, newton, lead, best)
                return made if gain < MATTERS else made.remarked(DISTURBED.format(gain))
            lead.either(record, best.point)
            if lead.last is not None:
                lead.last = louder(record, lead.fitting, lead.last)
            if lead.last is None or best.objective - lead.last.surprise < MATTERS:
                return made
            self._said.clear()  # of a simulation that is given up
        elif lead is not None and method != "simulation":
            lead.follow(record)
        if lead is None or lead.last is None:
            raise newton.refused(record, self.declared)
        made = followed(record, lead.fitting, lead.last, VAGUE * self.units, lambda: self._passes(record))
        return self._noted(made, unstable_steps(self.system, record, made.params, made.rmse))

    def _scattered(
        self, record: Record, newton: GaussNewton, best: Normal
    ) -> tuple[GaussNewton, Normal, tuple[float, float]]:
        """The minimum with counts that scatter as they do, and their size: each is found with the other, in turn."""
        size = (math.nan, math.inf)
        for _ in range(ROUNDS):
            means = newton.along(record, best.point, best.noise)[0]
            size = size_of(record.targets(means.shape[1]), means)
            loss: Any = self.system.loss
            if abs(math.log(size[0] / loss.size)) < SAME_SIZE:
                break
            self.system = self.system.replace(loss=NegativeBinomial(size[0]))
            self.execution = execution_for(self.system, RTRL(), NormalEquations(), self.engine)
            newton = self._newton(record)
            found = newton.minimum(record, best.point, self.declared, self.prior, self.units, PASSES, GAIN)
            if found is None:
                raise newton.refused(record, best.point)
            best = found
        return newton, best, size

    def _polished(self, record: Record, newton: GaussNewton, best: Normal) -> Normal:
        """The minimum itself, with hardly a prior if the data tell all parameters."""
        known = np.sqrt(np.diag(best.covariance(self.prior))) < SURELY * self.prior
        prior = self.prior * (HARDLY if np.all(known) else 1.0)
        return polished(newton, record, best, self.declared, prior, self.units)

    def _gain(self, record: Record, newton: GaussNewton, lead: _Lead, best: Normal) -> float:
        """By how many nats noise in the state makes the first samples likelier, at least."""
        places = np.flatnonzero(record.observed)[:ASKED]
        part = record.head(int(places[-1]) + 1)
        here = newton.begun(part, best.point, self.declared, self.prior)
        return 0.0 if here is None else disturbed(part, lead.fitting, lead.present, here, MATTERS)

    def _beside(self, made: Fit, others: list[Normal]) -> Fit:
        """With a note of other solutions."""
        told = described(self.system, [other.point for other in others])
        if told:
            self._said.append((f"{'; '.join(told)}.", IdentifiabilityWarning))
        return made.remarked(*told)

    def _passes(self, record: Record) -> float:
        """How often samples were gone through, as a multiple of the record."""
        return self.steps / len(record)

    def _doubted(self, made: Fit) -> Fit:
        """As it is; what its residuals say against it is told."""
        if not made.white:
            self._said.append((f"{'; '.join(made.remarks)}.", CalibrationWarning))
        return made

    def _ended(self, newton: GaussNewton, best: Normal, made: Fit) -> Fit:
        """Without deviations, and told, if it is not at a minimum."""
        promised = best.objective - newton.promised(best, self.declared, self.prior)
        step = best.covariance(self.prior) @ (best.vector + (self.declared - best.point) / self.prior**2)
        there = promised < AT_MINIMUM or np.max(np.abs(step) / self.units) < NEARLY
        if there or (made.withheld and not made.lost):  # too few targets: it says that
            return made
        made = replace(made, withheld=True, promised=promised)
        told = f"the search ended before the minimum, {promised:.2g} nats above it or more: no deviations are shown"
        self._said.append((f"{told}. Fit on from there: fg.fit(…, params=fit.params).", ConvergenceWarning))
        return made

    def _counted(self, made: Fit) -> Fit:
        """With a note if targets are counts, or yes and no, and the noise is taken for Gaussian."""
        told = counted(self.system.loss, output_names(self.system), made.targets, made.outputs)
        if told:
            self._said.append((f"{'; '.join(told)}.", CalibrationWarning))
        return made.remarked(*told)

    def _checked(self, record: Record, made: Fit) -> Fit:
        """With a note if the integrator's steps matter."""
        note = "" if made.noise is None else coarse_steps(self.system, record, made.params, made.rmse, made.outputs)
        return self._noted(made, note)

    def _noted(self, made: Fit, note: str) -> Fit:
        """With a note, if there is one."""
        if not note:
            return made
        self._said.append((note, CalibrationWarning))
        return made.remarked(note)

    @property
    def prior(self) -> np.ndarray:
        """Deviations of the prior for Gauss–Newton, shape (p,)."""
        return WIDE * self.units

    # ---- with what it is searched

    def _newton(self, record: Record) -> GaussNewton:
        """Gauss–Newton, on the engine that pays."""
        engine = _Engine(self.execution, self.engine, record, FORESEEN)
        steps: Any = engine.execution.steps.informed
        known = None if self._noise == "learned" else np.broadcast_to(np.square(self._noise), (steps.outputs,))

        def counted(samples: int) -> None:
            self._count(samples)
            if engine.pays(samples):
                newton.use(noiseless(engine.execution))

        newton = GaussNewton(noiseless(engine.execution), known, counted)
        return newton

    def _filter(self, record: Record, newton: GaussNewton, options: JointFilter) -> Fitting:
        """The filter, likewise."""
        engine = _Engine(execution_for(self.system, JOINT, options, self.engine), self.engine, record, 0)

        def counted(samples: int) -> None:
            self._count(samples)
            if engine.pays(samples):
                fitting.use(noiseless(engine.execution))

        fitting = Fitting(noiseless(engine.execution), noiseless, newton=newton, told=counted)
        return fitting

    # ---- the search

    def _grown(self, record: Record, newton: GaussNewton, lead: _Lead | None, method: str) -> Normal | None:
        """What is found by simulating all of the record, from what was found in parts of it; the lead filters them."""
        best: Normal | None = None
        jumps = any(isinstance(event, When) for event in self.system.events)  # the loss has a valley for each number
        for samples, targets in _sizes(record):
            part, last = record.head(samples), samples == len(record)
            if method == "filter":
                if lead is not None and targets <= FILTERED:
                    lead.follow(part)
                continue
            if not (last or targets >= SIMULATED):
                continue
            start = self.declared if best is None else best.point
            best = self._minimum(part, newton, [start], last)
            if best is not None and not jumps and not self._poor(part, best, EXPLAINED if last else SURE):
                continue
            if last:
                best = self._minimum(part, newton, [self.declared], last, best)
            if lead is not None and (not last or len(part) <= FILTERED):
                lead.follow(part)
                led = best if lead.last is None else self._minimum(part, newton, [lead.point], last, best)
                if best is not None and led is not None and led.objective > best.objective - HELPED:
                    lead = None  # it leads where simulations go by themselves
                best = led
        return best

    def _minimum(
        self, record: Record, newton: GaussNewton, starts: list[np.ndarray], last: bool, best: Normal | None = None
    ) -> Normal | None:
        """`best`, or the best minimum from some starts, of all the record or of a part of it."""
        given = self.declared, self.prior, self.units
        passes, gain = (PASSES, GAIN) if last else (SHORT, ENOUGH)
        gain = ENOUGH if isinstance(self.system, FilteredSystem) else gain  # the rest is done by `polished`
        tried = [newton.minimum(record, start, *given, passes, gain) for start in starts]
        found = min((t for t in (best, *tried) if t is not None), key=lambda t: t.objective, default=None)
        if found is not None and self.free.any() and not isinstance(self.system, FilteredSystem):
            found, self.units = widened(record, newton, found, *given, self.free, passes, gain)
        return found

    def _poor(self, record: Record, found: Normal, enough: float) -> bool:
        """Whether a simulation explains less than a part of some output's variance, or that is not known."""
        if not self.execution.steps.informed.scaled:  # type: ignore[union-attr]
            return True
        targets = record.targets(len(found.noise))
        spread = np.array([np.var(c[np.isfinite(c)]) if np.isfinite(c).any() else np.inf for c in targets.T])
        return bool(np.any(found.noise > (1.0 - enough) * spread))


class _Lead:
    """A filter that goes through parts of a record, each from the parameters found before.

    Args:
        make: makes it. That is left until it is wanted: its step is another one to trace.
        earliest: samples that it goes through first, from the declared parameters.

    Attributes:
        last: its last pass; None if it failed.
    """

    def __init__(self, make: Callable[[], Fitting], earliest: int) -> None:
        self._make, self._earliest = make, earliest
        self._found: tuple[Any, Any] | None = None
        self.last: Pass | None = None
        self._begun = False

    @cached_property
    def fitting(self) -> Fitting:
        """The filter."""
        return self._make()

    @property
    def present(self) -> Flat:
        """The carry that the next pass goes on from."""
        return self._present[0]

    @property
    def _present(self) -> tuple[Flat, Any]:
        return self._found or (self.fitting.execution.initial(), self.fitting.levels[0])

    def follow(self, record: Record) -> None:
        """Filter a record, over the levels of noise; at first its beginning, from the declared parameters."""
        if not self._begun and self._earliest < len(record):
            self._begun = True
            self.follow(record.head(self._earliest))
        self._begun = True
        self.last = self.fitting.filtered(record, *self._present)
        if self.last is not None:
            self._found = self.last.carry, self.last.level

    @property
    def point(self) -> np.ndarray:
        """The present coordinates, shape (p,)."""
        return self.fitting.flat(self.present).astype(float)

    def either(self, record: Record, point: np.ndarray) -> None:
        """Filter a record from where it is, if it is anywhere, and from elsewhere; the likelier pass is kept."""
        led = None
        if self._found is not None:
            self.follow(record)
            led = self.last, self._found
        self.go(point)
        self.follow(record)
        if led is not None and led[0] is not None and (self.last is None or led[0].surprise <= self.last.surprise):
            self.last, self._found = led

    def go(self, point: np.ndarray) -> None:
        """Go on from other coordinates."""
        self._begun = True
        self._found = self.fitting.at(self.present, point), self._present[1]


class _Engine:
    """On what passes are made: NumPy, until compiling would have been paid for.

    Args:
        execution: the steps.
        name: of the engine, as the user gave it.
        record: what is gone through,
        coming: as often, to be sure.

    Attributes:
        execution: the steps, on the engine that is best.
    """

    def __init__(self, execution: Execution, name: str, record: Record, coming: int) -> None:
        self.execution = execution
        self._free = name == AUTO and FAST.is_available()
        if self._free:
            missing = not record.observed.all()
            self._each, self._price = predicted_seconds(execution), price(execution, missing)[0]
            self._compiled(coming * len(record) * self._each)

    def pays(self, samples: int) -> bool:
        """So many more have been gone through: whether compiled steps take over now."""
        if not self._free:
            return False
        self.execution.work += samples * self._each
        return self._compiled(0.0)

    def _compiled(self, coming: float) -> bool:
        if self.execution.work + coming < self._price:
            return False
        old, self._free = self.execution, False
        made = execution_for(old.system, old.estimator, old.optimizer, FAST.name)
        self.execution = made if made.engine == FAST.name else old
        return made.engine == FAST.name


def _sizes(record: Record) -> list[tuple[int, int]]:
    """How many samples are fitted, and how many targets they have, one part after the other; all of them at last."""
    place = np.flatnonzero(record.observed)
    made, due = [], EARLIEST
    while due * LEFT < len(place):
        made.append((int(place[due - 1]) + 1, due))
        due *= GROWTH
    return [*made, (len(record), len(place))]
