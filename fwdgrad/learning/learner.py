"""The online loop: predict, then learn, one sample after the other."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.engines.names import AUTO
from fwdgrad.errors import (
    BoundWarning,
    CalibrationWarning,
    DeadParameterWarning,
    DeclarationError,
    FirstSampleWarning,
    IdentifiabilityWarning,
    OutlierWarning,
    StepError,
    UnlearnedWarning,
    UnstableWarning,
)
from fwdgrad.estimators import Estimator
from fwdgrad.estimators.windows import WholeSequence
from fwdgrad.filtering import FilteredSystem
from fwdgrad.learning.bias import GradientBias, gradient_bias
from fwdgrad.learning.confidence import Confidence, confidence_of
from fwdgrad.learning.deciding import Deciding
from fwdgrad.learning.defaults import method_for, side_by_side, why_not_joint
from fwdgrad.learning.execution import execution_for
from fwdgrad.learning.history import History, Progress, Recorder
from fwdgrad.learning.loops import (
    SilentLeaves,
    Stretches,
    loop_for,
    noise_for,
    told_dead,
    told_far,
    told_first,
    told_silent,
)
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.learning.panel_samples import PanelReader
from fwdgrad.learning.report import Report, intervals_of, output_names, parameter_frame, parameter_rows
from fwdgrad.learning.samples import Chunk
from fwdgrad.learning.saving import Saved
from fwdgrad.learning.step.kinds import PREDICT, PREDICTIVE_VARIANCE
from fwdgrad.learning.targets import Targets
from fwdgrad.optimizers import JointFilter, Optimizer
from fwdgrad.support import display
from fwdgrad.support.arguments import suggests
from fwdgrad.support.trees import flatten, map_leaves
from fwdgrad.system import OWN, System

__all__ = ["Learner"]

LOOK = 1024
"""Steps between two looks at what the functions use from outside, at most."""

DOUBT, DOUBTS = 64, 4096
"""Steps between two looks at whether what is learned can be believed, where they are made singly, and in runs."""

SAID, TOGETHER = 32, 64
"""Targets after which it is told what they say nothing of, and what they do not tell apart."""


class _Doubt(NamedTuple):
    """Something that speaks against what has been learned."""

    message: str
    category: type[Warning]
    of_deviations: bool
    """Whether it is told wherever these are asked for."""


@suggests
class Learner(Deciding, Saved):
    """Learns a system's parameters online, forward in time.

    Args:
        system: the declared system. It is not changed.
        estimator: how gradients are estimated; "auto" takes what `fwdgrad.analyze` chooses (UORO for a system that
            cannot be traced). Names such as "uoro" or "tbptt:16" work too.
        optimizer: how they change the parameters. If neither is given: `JointFilter()` for a model with at most 50
            parameters and a squared error, whose noise is learned, or a loss of counts or of yes and no; for one that
            `fg.filtered` returned an `InformationFilter`, with `RTRL`; else `SGD(1e-2)`. `explain` says which and why.
        seed: an integer or a `numpy.random.Generator`; every engine sees the same random numbers.
        engine: "numpy"; "compiled", which compiles the step; "eager", for functions that cannot be traced;
            or "auto": NumPy, and compiled as soon as that pays or the step is compiled already, see `prepare`.
            Engines agree to rounding; on one engine, the same seed gives the same result bit for bit. With "auto" the
            last digits may depend on what was compiled before: name the engine where they matter.
        streams: learn from so many streams at once, each with a state and an influence of its own, with one θ: inputs,
            targets and predictions have an axis of streams after that of time. See `run`, `reset_state`, `per_stream`.

    Attributes:
        engine: the engine in use, and `engine_reason` why.
        note: a dict of your own, of what JSON can hold, saved and loaded with the learner.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.0}, np.zeros(1))
        >>> learner = fg.Learner(system, fg.RTRL(), fg.SGD(0.003))
        >>> rng = np.random.default_rng(0)
        >>> h, xs, ys = 0.0, rng.normal(size=(2000, 1)), []
        >>> for x in xs:
        ...     h = 0.8 * h + x
        ...     ys.append(h)
        >>> history = learner.run(xs, np.array(ys))
        >>> round(float(learner.params["a"]), 3)
        0.8
    """

    def __init__(
        self,
        system: System,
        estimator: Estimator | str = "auto",
        optimizer: Optimizer | None = None,
        seed: int | np.random.Generator = 0,
        engine: str = "auto",
        *,
        streams: int | None = None,
    ) -> None:
        self._set_up(system, estimator, optimizer, seed, engine, streams)
        self._tell_dead(4)

    def _set_up(
        self,
        system: System,
        estimator: Estimator | str,
        optimizer: Optimizer | None,
        seed: int | np.random.Generator,
        engine: str,
        streams: int | None,
    ) -> None:
        if not isinstance(system, System):
            raise DeclarationError(
                f"Learner: expected a fwdgrad.System, got {system!r}. Declare one: fg.System(F, Y, …)."
            )
        system.must_learn()
        system.confirm()
        if streams is None:
            method = method_for(system, estimator, optimizer)
        else:
            system, method = side_by_side(system, streams, estimator, optimizer)
        self.system, self.streams = system, streams
        self.estimator, self.optimizer, self._reason = method
        self._execution = execution_for(system, self.estimator, self.optimizer, engine)
        self.engine = self._execution.engine
        generator = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(_checked_seed(seed))
        noise = NoiseStream(generator, noise_for(self._execution), system.dtype)
        self._loop = loop_for(self._execution, noise, self._execution.initial(noise.start()))
        self._choose_engine, self._each, self._pays_from = engine == AUTO, 0.0, 0.0
        self.engine_reason = "asked for" if engine != AUTO else "a few steps are soonest done without compiling"
        self.note: dict[str, Any] = {}
        self._due = 0
        self._dead, self._dead_entries = self._execution.model.paths.dead, self._execution.model.paths.entries
        self._watch = SilentLeaves([k for k in system.trainable if k not in self._dead], system.coordinates)
        self._told: list[str] = []
        self._targets, self._stretches = Targets(system), Stretches(system)

    @classmethod
    def resumed(
        cls,
        system: System,
        optimizer: Optimizer,
        carry: tuple[Any, ...],
        steps: int,
        row: Sequence[Any],
        estimator: Estimator | str = "auto",
    ) -> Learner:
        """A learner that goes on with a carry of its own kind, after so many samples: for what fits a record itself.

        `row` is what the next sample is to be given besides the user's input, see `fwdgrad.learning.loops.feed`.
        """
        learner = cls(system, estimator, optimizer)
        learner._loop.carry, learner._loop.steps = carry, steps
        learner._loop.feed.row = [np.array(v) for v in row]
        return learner

    def __repr__(self) -> str:
        return (
            f"Learner of {self.system.name} after {self.steps} steps: {self.estimator.name}, {self.optimizer!r}, "
            f"engine {self.engine}"
        )

    def _repr_html_(self) -> str:
        report, head = self.report(), [("estimator", self.estimator.name), ("optimizer", repr(self.optimizer))]
        head += [("engine", f"{self.engine}: {self.engine_reason}"), ("why", self._reason)]
        outputs = display.paragraph("\n".join(report.outputs))
        parts = (display.pairs(head), display.table(report.rows), outputs, display.remarks(report.remarks))
        return display.page(f"Learner: {report.title}", *parts)

    def explain(self) -> str:
        """What this learner does, why, and what else there is to set."""
        lines = [
            f"{self.system.name}: {self.estimator.name}, {self.optimizer!r}",
            f"Why: {self._reason}.",
            f"Engine {self.engine}: {self.engine_reason}.",
            *([f"{surrogates[0].upper()}{surrogates[1:]}."] if (surrogates := self.system.surrogates) else []),
        ]
        if isinstance(self.optimizer, JointFilter):
            lines.append(
                f"The first {self.optimizer.first} samples are kept and fitted again from the start as they come in.\n"
                "To set: optimizer=fg.JointFilter(first=…, prior=…, observation_noise=…, process_noise=…), or another\n"
                "method, such as fg.Learner(system, fg.RTRL(), fg.Adam(1e-3))."
            )
        lines += [f"{line}." for line in self._loop.remarks()]
        return "\n".join(lines)

    # ---- what is known

    @property
    def params(self) -> Mapping[str, np.ndarray]:
        """θ as F and Y see it, by name in declaration order: copies, read-only. Assign a dict to change some or all.

        Raises (when assigned to):
            UnknownNameError: there is no parameter of that name, or it follows from another one.
            ShapeError: another shape than declared, or numbers that are not finite or outside the declared bounds.
        """
        natural = self.system.natural({k: np.asarray(v) for k, v in self._unpacked.params.items()})
        return MappingProxyType({k: _frozen(v) for k, v in natural.items()})

    @params.setter
    def params(self, values: Mapping[str, Any]) -> None:
        carry = self._unpacked
        learned = self.system.learned(values, {k: np.asarray(v) for k, v in carry.params.items()})
        self._loop.carry = self._execution.pack(carry._replace(params=learned))
        self._watch = self._watch.restarted(learned)

    @property
    def state(self) -> Any:
        """The current state h, in the containers it was declared with: copies, read-only. `reset_state` sets it.

        Of a filtered system its mean, in the containers of the system that is filtered, given all samples so far.
        """
        if isinstance(self.system, FilteredSystem):
            return map_leaves(_frozen, self.system.wrapped.unpack(self._estimated(self.system)[0]))
        return map_leaves(_frozen, self.system.unpack(np.array(self._loop.state)))

    def _estimated(self, system: FilteredSystem) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the state of a filtered system."""
        carry = self._unpacked
        return system.estimate(np.array(carry.h), self._loop.feed.row, carry.params)

    def influence_matrix(self) -> np.ndarray:
        """G̃ = ∂h/∂θ as the estimator has it, dense, shape (n, p): for small systems.

        With `streams=B` the rows of each stream stand below those of the one before, shape (B n, p).

        Columns are the parameters that the transition uses and that are learned, in declaration order, each leaf in C
        order. With a window, G̃ is that at the start of the current window. For a `positive` or `bounded` parameter
        it is the derivative in θ itself, by its present value; what is kept is that in the coordinate that is learned.
        """
        layout, influence = self._execution.steps.layout, self._execution.steps.influence
        carry = self._unpacked
        leaves = influence.dense(carry.influence, layout)
        slopes = {k: self.system.coordinate[k].slope(np.asarray(carry.params[k])) for k in layout.leaves}
        rows = np.size(carry.h)
        blocks = [np.reshape(np.asarray(leaves[k]) / slopes[k], (rows, np.size(slopes[k]))) for k in layout.leaves]
        return np.concatenate(blocks or [np.zeros((rows, 0))], axis=1)

    def influence_nbytes(self) -> int:
        """Memory of the influence that is carried from step to step, in bytes."""
        return sum(np.asarray(leaf).nbytes for leaf in flatten(self._unpacked.influence))

    def bias(self) -> GradientBias:
        """How biased the gradient of an approximation is on the samples so far: a `GradientBias`, with an interval.

        For `fg.Debiased(approximation, watch=True)`, whose random part is an unbiased estimate of what the
        approximation drops: a certificate, on one's own data and without exact gradients, of what the approximation
        by itself would do. θ may be learned on the way.

        Raises:
            DeclarationError: the estimator is another one.

        Example:
            >>> import numpy as np, fwdgrad as fg
            >>> F = lambda h, x, p: np.array([0.5 * h[0] + p["a"] * x, 0.9 * h[1] + h[0]])
            >>> system = fg.System(F, lambda h, x, p: h[1], np.zeros(2), {"a": 1.0}, 0.0)
            >>> learner = fg.Learner(system, fg.Debiased("snap:1", watch=True), fg.SGD(1e-9))
            >>> xs = np.random.default_rng(0).normal(size=400)
            >>> history = learner.run(xs, np.zeros(400))
            >>> low, high = learner.bias().interval
            >>> bool(low < high)
            True
        """
        return gradient_bias(self._execution.steps.influence, self._unpacked.influence)

    # ---- learning

    def parameter_std(self) -> dict[str, np.ndarray]:
        """Posterior standard deviation of each learned parameter, by leaf: the roots of the diagonal of (J + Λ)⁻¹.

        What the optimizer, an `InformationFilter` or `ParameterFilter`, makes of the data so far, if the loss is that
        of the data's noise. With a random influence J is too large, and these are too small: see `InformationFilter`.
        Of a `positive` or `bounded` parameter it is that of θ to first order, |dθ/du| times that of the coordinate u.
        Of a parameter that was named in a `DeadParameterWarning` and has not moved since, the data tell nothing: NaN.

        Where the filter's own residuals contradict it, deviations are multiplied by what they say, or NaN if no factor
        mends them, and there is a `CalibrationWarning`. A parameter at its bound has none: NaN, and a `BoundWarning`.
        See `confidence`.

        Raises:
            DeclarationError: the optimizer keeps no covariance.
        """
        informed: Any = self._execution.steps.informed
        if informed is None or not hasattr(informed, "variances"):
            raise DeclarationError(
                f"parameter_std: expected a filter as optimizer, got {self.optimizer!r}.\n"
                "Learn with fg.InformationFilter(...) or fg.ParameterFilter(...)."
            )
        carry = self._unpacked
        variances = informed.variances(carry.optimizer)
        slopes = {k: np.abs(self.system.coordinate[k].slope(np.asarray(carry.params[k]))) for k in variances}
        untold = {*self._dead, *self._watch.still_silent(carry.params)}
        known = self.confidence()
        for doubt in self._doubts(known):
            if doubt.of_deviations:
                warnings.warn(f"parameter_std: {doubt.message}", doubt.category, stacklevel=2)
        stds = {k: known.factor.get(k, 1.0) * slopes[k] * np.sqrt(np.array(v)) for k, v in variances.items()}
        nothing: dict[str, Any] = {**known.at_bound, **dict.fromkeys(untold, True)}
        nothing |= {k: nothing.get(k, False) | v for k, v in self._dead_entries.items()}
        return {k: np.where(nothing[k], np.nan, v)[()] if k in nothing else v for k, v in stds.items()}

    def confidence(self) -> Confidence:
        """What the learner's standard deviations are worth: a `fwdgrad.learning.confidence.Confidence`.

        Whether the filter's residuals bear out what it claims, which parameters have not been learned from the data
        (their deviation is still the prior's), and which are at a bound. Changes nothing; any optimizer will do.

        Example:
            >>> import numpy as np, fwdgrad as fg
            >>> F = lambda h, x, p: 0.5 * h + p["used"] * x + 1e-9 * p["spare"]
            >>> system = fg.System(F, None, np.zeros(1), {"used": 1.0, "spare": 1.0}, np.zeros(1))
            >>> learner = fg.Learner(system, fg.RTRL(), fg.InformationFilter("full", "exact"))
            >>> rng = np.random.default_rng(0)
            >>> xs = rng.normal(size=(200, 1))
            >>> ys = system.simulate(xs, params={"used": 2.0}).outputs + rng.normal(size=(200, 1))
            >>> history = learner.run(xs, ys)
            >>> learner.confidence().holds, bool(learner.confidence().unlearned["spare"])
            (True, True)
        """
        carry = self._unpacked
        known = confidence_of(
            self.system, self._execution.steps.informed, carry.params, carry.optimizer, self._loop.fitted()
        )
        return replace(known, left_out=self._loop.remarks())

    def report(self) -> Report:
        """What has been learned: a table of parameters with deviations and intervals, and all that speaks against it.

        Changes nothing, and warns of nothing; any optimizer will do.

        Example:
            >>> import numpy as np, fwdgrad as fg
            >>> system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
            >>> xs = np.random.default_rng(0).normal(size=(200, 1))
            >>> noise = 0.1 * np.random.default_rng(1).normal(size=(200, 1))
            >>> learner = fg.Learner(system, engine="numpy")
            >>> history = learner.run(xs, system.simulate(xs, params={"a": 0.8}).outputs + noise)
            >>> print(learner.report())
            <lambda> after 200 samples (JointFilter)
            parameter  start   value     std              95 %
            a            0.5  0.7997  0.0011  0.7975 to 0.8019
            output: noise 0.0927
        """
        known, std, params = self.confidence(), self._quiet_std(), self.params
        rows = parameter_rows(self.system, params, std, intervals_of(self.system, params, std))
        noise: Any = None
        if isinstance(self.optimizer, JointFilter) and hasattr(self.system.loss, "weight"):
            noise = self._unpacked.optimizer.noise
        outputs = [] if noise is None else zip(output_names(self.system), np.sqrt(noise), strict=True)
        return Report(
            f"{self.system.name} after {self.steps} samples ({type(self.optimizer).__name__})",
            tuple(rows),
            tuple(f"{name}: noise {value:.3g}" for name, value in outputs),
            (*(doubt.message for doubt in self._doubts(known)), *self._unclaimed()),
        )

    def _unclaimed(self) -> tuple[str, ...]:
        """What is said of a small model whose optimizer does not say how well parameters are known."""
        if hasattr(self._execution.steps.informed, "variances") or why_not_joint(self.system) is not None:
            return ()
        return (
            f"{type(self.optimizer).__name__} says neither how well parameters are known nor whether they have "
            "arrived: fg.Learner(system) without an optimizer, or fg.fit, does",
        )

    def parameter_frame(self) -> Any:
        """A `pandas.DataFrame` with a row for each learned number: start, value, std, and its 95 % interval, low, high.

        As `report`: changes nothing, and warns of nothing; deviations are NaN with an optimizer that keeps none.

        Raises:
            DeclarationError: pandas is not installed.
        """
        std, params = self._quiet_std(), self.params
        return parameter_frame(self.system, params, std, intervals_of(self.system, params, std))

    def _quiet_std(self) -> dict[str, np.ndarray]:
        """Deviations without a warning; none with an optimizer that keeps none."""
        if not hasattr(self._execution.steps.informed, "variances"):
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.parameter_std()

    def _doubts(self, known: Confidence) -> list[_Doubt]:
        """All that speaks against what has been learned."""
        dead = told_dead(self.system, self._dead, self._dead_entries) if self._dead or self._dead_entries else ""
        made = [
            _Doubt(known.contradiction(), CalibrationWarning, True),
            _Doubt(known.too_large(), CalibrationWarning, True),
            _Doubt(known.bounds(), BoundWarning, True),
            _Doubt(known.untold(), UnlearnedWarning, False),
            _Doubt(known.together(), IdentifiabilityWarning, False),
            _Doubt(known.strange(), OutlierWarning, False),
            _Doubt(self._loop.coarse or self._stretches.told, CalibrationWarning, False),
            _Doubt(self._loop.few, CalibrationWarning, True),
            _Doubt(self._loop.otherwise, IdentifiabilityWarning, False),
            _Doubt(self._loop.tails, OutlierWarning, False),
            _Doubt(self._loop.counts, CalibrationWarning, False),
            _Doubt(dead, DeadParameterWarning, False),
        ]
        return [doubt for doubt in made if doubt.message]

    def _tell_doubts(self) -> None:
        """Warn, once for each learner and kind, of what cannot be believed, and of what the data say nothing of."""
        informed: Any = self._execution.steps.informed
        bounded = any(self.system.coordinate[k].bounded for k in self.system.trainable)
        unseen = self._targets.unseen() if self._targets.samples >= SAID else ""
        told = None if "unstable" in self._told else self._loop.unstable()
        self._tell_once(
            "unstable", f"after {self.steps} steps: {told.found}\n{told.mend}" if told else "", UnstableWarning
        )
        self._tell_coarse()
        if (
            not (bounded or hasattr(informed, "unlearned") or unseen)
            or len({*self._told} - {"unstable", "far", "tails", "counts"}) == 7
        ):
            return
        known = self.confidence()
        said: list[tuple[type[Warning], str]] = [
            (OutlierWarning, known.strange()),
            (BoundWarning, known.bounds()),
            (CalibrationWarning, "" if self._loop.early else known.contradiction()),
        ]
        if self._targets.seen >= SAID and isinstance(self.optimizer, JointFilter):  # others' priors say how far to step
            named = {*self._dead, *self._watch.still_silent(self._unpacked.params)}
            unlearned = {k: v & ~self._dead_entries.get(k, False) for k, v in known.unlearned.items() if k not in named}
            fresh = replace(known, unlearned=unlearned)
            together = known.together() if self._targets.seen >= TOGETHER else ""
            said += [(UnlearnedWarning, fresh.untold()), (IdentifiabilityWarning, together)]
        for category, message in said:
            self._tell_once(category.__name__, f"after {self.steps} steps {message}" if message else "", category)
        self._tell_once("unseen", unseen, UnlearnedWarning)
        tails = self._loop.tails
        self._tell_once("tails", f"after {self.steps} steps {tails}." if tails else "", OutlierWarning)
        counts = self._loop.counts
        self._tell_once("counts", f"after {self.steps} steps: {counts}." if counts else "", CalibrationWarning)
        others = self._loop.otherwise
        self._tell_once("others", f"after {self.steps} steps: {others}." if others else "", IdentifiabilityWarning)

    def _tell_once(self, kind: str, message: str, category: type[Warning]) -> None:
        """Warn, unless there is nothing to say, or has been said."""
        if message and kind not in self._told:
            self._told.append(kind)
            warnings.warn(message, category, stacklevel=4)

    def _tell_coarse(self) -> None:
        """Warn of integration steps that are too long."""
        coarse = self._loop.coarse or self._stretches.told
        self._tell_once("steps", f"after {self.steps} steps: {coarse}." if coarse else "", CalibrationWarning)

    def _tell_far(self, prediction: Any, y: Any) -> None:
        """Warn of a first sample that is far from what a filter begins with."""
        assert isinstance(self.system, FilteredSystem)
        said = told_far(self.system, prediction, np.ma.filled(np.ma.asarray(y, float), np.nan))
        self._tell_once("far", said, CalibrationWarning)

    def state_std(self) -> Any:
        """Standard deviation of each state variable, in the containers of the state: what is not known of it.

        Of a filtered system, given all samples so far, for parameters as they are; of a `JointFilter`, with what is not
        known of these.

        Raises:
            DeclarationError: the system is not filtered, and the optimizer no `JointFilter`.
        """
        if isinstance(self.system, FilteredSystem):
            variances = np.diagonal(self._estimated(self.system)[1])
            return map_leaves(_frozen, self.system.wrapped.unpack(np.sqrt(variances)))
        informed: Any = self._execution.steps.informed
        if not isinstance(self.optimizer, JointFilter):
            raise DeclarationError(
                f"state_std: expected a JointFilter as optimizer, got {self.optimizer!r}.\n"
                "Learn with fg.Learner(system, optimizer=fg.JointFilter()), or filter the system, fg.filtered(…)."
            )
        return map_leaves(_frozen, self.system.unpack(np.sqrt(informed.state_variances(self._unpacked.optimizer))))

    def predict(self, x: Any = None, *, return_std: bool = False) -> Any:
        """ŷ for the next sample, given its input. Changes nothing.

        Args:
            x: its input.
            return_std: give (ŷ, std) with std what is not known of ŷ because θ is not known exactly, to first order:
                √(∇ŷᵀ (J + Λ)⁻¹ ∇ŷ), of the shape of ŷ. The noise of an observation comes on top. For filters, and
                windows of one step; multiplied, withheld and warned of as those of `parameter_std`. One pull at the
                influence per output. Of a filtered system, with any optimizer: the deviation of the innovation y − ŷ,
                for parameters as they are.

        Raises:
            ShapeError, DataError: the input is not of the declared kind.
            DeclarationError: a std is asked for, and the optimizer keeps no covariance or windows are longer.
        """
        if isinstance(self.system, FilteredSystem):
            made = np.array(self._execution.make(PREDICT, self._loop.view, self._loop.input(x))[-1])
            mean = np.array(self.system.point(made))
            return (mean, self.system.deviation(made)) if return_std else mean
        if return_std:
            prediction, variance = self._execution.make(PREDICTIVE_VARIANCE, self._loop.view, self._loop.input(x))
            known = self.confidence()
            if not known.holds:
                warnings.warn(f"predict: {known.contradiction()}", CalibrationWarning, stacklevel=2)
            return np.array(prediction), known.overall * np.sqrt(np.array(variance))
        made = self._execution.make(PREDICT, self._loop.view, self._loop.input(x))[-1]
        return np.array(self.system.point(made))

    def step(self, x: Any = None, y: Any = None) -> float:
        """One sample: transition with x, predict, compare with y, learn.

        Args:
            x: input of the declared kind; None for an autonomous system.
            y: target; None, NaN or masked if it is missing: state and influence go on, nothing is learned.

        Returns:
            The loss before learning from this sample; NaN without a target.

        Raises:
            ShapeError, DataError: the sample is not of the declared kind.
            NonFiniteError: loss, state, parameters or influence would stop being finite. The learner stays as it was.
            IndexRangeError, SingularMatrixError: F, Y or the loss reads outside of an array, or inverts a matrix that
                has no inverse. The learner stays as it was.
        """
        if self._loop.steps >= self._due:
            self._look()
        stretched = self._stretches.wants(self._loop.steps, self._loop.state)
        begins = self._loop.steps == 0 and isinstance(self.system, FilteredSystem)
        first = self._execution.make(PREDICT, self._loop.view, self._loop.input(x))[-1] if begins else None
        loss = self._loop.step(x, y)
        if first is not None and loss == loss:
            self._tell_far(first, y)
        if self._choose_engine:
            if not self._each:
                self.prepare(0)
            self._count(1)
        if y is not None:
            self._targets.step(y, loss)
        if stretched:
            *arrays, observed = self._loop.reader.sample(x, y, self.steps)
            inputs, targets = ([np.asarray(a)[None] for a in part] for part in arrays)
            self._stretches.extend(Chunk(inputs, targets, np.array([observed])), self.params)
        if self._watch.open:
            self._tell(self._watch.step(self._loop, x, y, loss))
        if self._loop.steps % DOUBT == 0:
            self._tell_doubts()
        return loss

    def _look(self) -> None:
        """Make sure that nothing outside has changed that F, Y and the loss use: often at first, then every so often.

        Raises:
            HiddenStateError: it has.
        """
        self.system.outside.unchanged()
        self._due = self.steps + min(max(self.steps, 1), LOOK)

    @suggests
    def run(
        self,
        xs: Any = None,
        ys: Any = None,
        *,
        steps: int | None = None,
        progress: bool | Callable[[int, float], None] = False,
        record: int = 1,
        keep_predictions: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        finish: bool = True,
        starts: Any = None,
    ) -> History:
        """Many samples, in order.

        Args:
            xs: inputs, arrays with time along axis 0 or any iterable; or, if `ys` is None, an iterable of pairs
                (x, y). None for an autonomous system.
            ys: targets; NaN, None or masked where missing.
            steps: stop after this many.
            progress: True for a progress bar, or a function called with (steps done, mean loss so far in this run).
            record: keep the mean loss of every so many steps.
            keep_predictions: also keep every prediction.
            checkpoint: file to save to, after every `checkpoint_every` steps and at the end.
            checkpoint_every: how often to save.
            finish: whether the sequence ends with these samples, for estimators that learn at its end (`BPTT`). False
                if they are a part of it: what was not learned yet stays open, in checkpoints too.
            starts: with streams: True where one of them starts another trajectory, an array (T, streams).

        With streams, arrays are (T, streams, …); the target of a stream is missing if it is NaN throughout, or masked.
        Lists of sequences, one or more a stream, of any lengths, are accepted, too: each goes to the stream that is
        free first, as a trajectory of its own. A loss is the mean over the streams with a target; for a filter the sum.

        Returns:
            The recorded losses.

        Raises:
            ShapeError, DataError: a sample is not of the declared kind; what was learned before it is kept.
            StepError: as `step`, with the number of the step and, in `error.history`, what was recorded. The
                learner is left at the last good step.
        """
        for label, value in (("record", record), ("checkpoint_every", checkpoint_every), ("steps", steps)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise DeclarationError(f"run({label}=…): expected an integer of at least 1, got {value!r}.")
        if checkpoint_every is not None and checkpoint is None:
            raise DeclarationError("run(checkpoint_every=…) needs a file: run(..., checkpoint='run.npz').")
        self.prepare(steps if steps is not None else _length_hint(xs, ys) or 0)
        self._look()
        recorder = Recorder(self.steps, record, keep_predictions, getattr(self.system.loss, "unit", "loss"))
        total = steps if steps is not None else _length_hint(xs, ys)
        try:
            with Progress(progress, total) as shown:
                for chunk in self._chunks(xs, ys, steps, starts):
                    if self.steps == 0 and (said := told_first(self.system, chunk, self._unpacked.h, self.params)):
                        warnings.warn(said, FirstSampleWarning, stacklevel=2)
                    if self.steps == 0 and isinstance(self.system, FilteredSystem) and chunk.observed[:1].any():
                        given = [*(a[0] for a in chunk.x), *self._loop.feed.row]
                        self._tell_far(self._execution.make(PREDICT, self._loop.view, given)[-1], chunk.y[0][0])
                    for piece in self._pieces(chunk, checkpoint_every):
                        if self.steps >= self._due:
                            self._look()
                        stretched = self._stretches.wants(self.steps, self._loop.state)
                        losses, predictions, error = self._loop.run(piece)
                        recorder.extend(losses, self.system.point(predictions))
                        shown.update(losses)
                        if error is not None:
                            raise error
                        if self._choose_engine:
                            self._count(len(losses))
                        if ys is not None:
                            self._targets.run(piece)
                        if stretched:
                            self._stretches.extend(piece, self.params)
                        if self._watch.open:
                            self._tell(self._watch.run(self._loop, piece, losses))
                        if checkpoint is not None and checkpoint_every and self.steps % checkpoint_every == 0:
                            self.save(checkpoint)
                        if self.steps % DOUBTS == 0:
                            self._tell_doubts()
                if finish and isinstance(self.estimator.window, WholeSequence):
                    self.finish()
        except StepError as error:
            error.history = recorder.history()
            self._stretches.finish(self.params)
            self._tell_coarse()
            raise
        self._stretches.finish(self.params)
        self._tell_doubts()
        if checkpoint is not None:
            self.save(checkpoint)
        return recorder.history()

    def _chunks(self, xs: Any, ys: Any, steps: int | None, starts: Any) -> Iterator[Chunk]:
        """The samples, and what each stream does at them."""
        reader = self._loop.reader
        if isinstance(reader, PanelReader):
            return reader.sequences(xs, ys, steps, self.steps, starts)
        if starts is not None:
            raise DeclarationError("run(starts=…): expected a learner of several streams: fg.Learner(…, streams=…).")
        return reader.chunks(xs, ys, steps, self.steps)

    def _pieces(self, chunk: Chunk, every: int | None) -> Iterator[Chunk]:
        """Parts of a chunk, of the size that suits the loop, which end where a checkpoint, or a look, is due."""
        start, length = 0, len(chunk.observed)
        while start < length:
            stop = min(start + self._loop.grain, length, start + DOUBTS - self.steps % DOUBTS)
            if every is not None:
                stop = min(stop, start + every - self.steps % every)
            while start < stop:
                cut = start + self._watch.until_next_look(self._loop, chunk.observed[start:stop])
                yield chunk.part(start, cut)
                start = cut

    def finish(self) -> None:
        """The trajectory ends here: learn from what is still open.

        With a window, that is from the losses since the last update; with `BPTT`, from the whole sequence. Without
        either there is nothing to do. The state stays as it is; what follows starts a new window.

        Raises:
            StepError: the update cannot be made, or would not be finite. The learner stays as it was.
        """
        beside = self._watch.before_the_end(self._loop)
        try:
            with np.errstate(all="ignore"):
                self._loop.finish()
        except StepError as error:
            error.placed(self.steps)
            raise
        self._watch.finish()
        if beside is not None:
            self._tell(self._watch.after_the_end(self._loop, beside))

    def reset_state(self, state: Any = None, *, finish: bool = True, streams: Sequence[int] | None = None) -> None:
        """Start a new trajectory: from the given state, or the declared one, with no influence yet. θ is kept.

        A learned initial state is made anew with the next sample, with its derivatives, unless a state is given. What
        that sample is observed in, the initial state or the state a transition later, the system says: `System.first`.

        Args:
            state: in the containers it was declared with; of a filtered system its mean, with the initial covariance.
            finish: first `finish` the old trajectory; False drops what is still open.
            streams: numbers of those that start another trajectory, from the declared state; all unless given.

        Raises:
            ShapeError: the state is not of the declared shape.
            StepError: as `finish`. The learner stays as it was.
        """
        if state is not None and isinstance(self.system, FilteredSystem):
            h = self.system.begun_from(state, self._unpacked.params)
        else:
            h = self.system.initial if state is None else np.asarray(self.system.pack(state), self.system.dtype)
        if finish:
            self.finish()
        if streams is not None:
            self._restart_streams(streams, state)
            return
        self._loop.restart(np.array(h), given=state is not None)
        self._watch.restart(np.array(h), given=state is not None)
        self._stretches.restart()

    def _restart_streams(self, streams: Sequence[int], state: Any) -> None:
        """Let some streams start another trajectory with their next sample."""
        count = self.streams or 0
        numbers = np.atleast_1d(np.asarray(streams))
        if not (
            np.issubdtype(numbers.dtype, np.integer) and numbers.size and np.all((numbers >= 0) & (numbers < count))
        ):
            known = f"from 0 to {count - 1}" if count else "but the learner has none: fg.Learner(…, streams=…)"
            raise DeclarationError(f"reset_state(streams=…): expected numbers of streams, {known}; got {streams!r}.")
        if state is not None:
            raise DeclarationError(
                "reset_state(streams=…): some streams start from the declared state. A state is given for all of them."
            )
        flag = np.array(self._loop.feed.row[0])
        flag[numbers] = OWN
        self._loop.feed.row = [flag, *self._loop.feed.row[1:]]

    def _tell_dead(self, stacklevel: int = 3) -> None:
        """Warn of parameters that have no path to the loss."""
        if self._dead or self._dead_entries:
            text = told_dead(self.system, self._dead, self._dead_entries)
            warnings.warn(text, DeadParameterWarning, stacklevel=stacklevel)

    def _tell(self, silent: tuple[str, ...]) -> None:
        """Warn of leaves that were found to have no gradient."""
        if silent:
            text = told_silent(self.system, silent, self._watch.samples)
            warnings.warn(text, DeadParameterWarning, stacklevel=3)


def _frozen(value: Any) -> np.ndarray:
    """A copy that cannot be written to, so that a write is not lost without a word."""
    array = np.array(value)
    array.setflags(write=False)
    return array


def _length_hint(xs: Any, ys: Any) -> int | None:
    streams = [*(ys.values() if isinstance(ys, dict) else [ys]), *(xs.values() if isinstance(xs, dict) else [xs])]
    return next((len(s) for s in streams if hasattr(s, "__len__")), None)


def _checked_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise DeclarationError(
            f"Learner(seed=…): expected a non-negative integer or a numpy.random.Generator, got {seed!r}."
        )
    return int(seed)
