"""What a fit has found: parameters with deviations, how well they explain the record, and what comes next."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DataError, DeclarationError
from fwdgrad.fitting.draws import Draws
from fwdgrad.learning.confidence import Verdict
from fwdgrad.learning.identifiability import Group, groups_of
from fwdgrad.learning.learner import Learner
from fwdgrad.learning.report import entries_of, half_width, intervals_of, output_names, parameter_frame, parameter_rows
from fwdgrad.learning.samples import SampleReader
from fwdgrad.learning.tails import far_off
from fwdgrad.linear import TracedModel
from fwdgrad.losses import SquaredError
from fwdgrad.support import display, frames
from fwdgrad.support.arguments import suggests
from fwdgrad.support.trees import flatten
from fwdgrad.system import System

__all__ = ["Fit", "Forecast", "Going"]

ALIKE = 0.98
"""Correlation from which two parameters can hardly be told apart."""
UNKNOWN = 0.5
"""Part of the deviation of the prior from which nothing was learned of a parameter."""
LITTLE = 0.75
"""R² below which a simulation whose residuals remember is not where the data are."""
MOST_TOLD = 5
"""Pairs of parameters, and groups, that a report names."""


class Forecast(NamedTuple):
    """Outputs that have not been observed; time is axis 0."""

    mean: np.ndarray
    """Shape (T, *shape of the prediction); of yes and no (`Bernoulli`) the probability of a yes."""
    std: np.ndarray
    """Standard deviations, of the same shape: of an observation, with its noise, to first order."""
    low: np.ndarray
    """With `high`, where 95 % of observations are expected: of counts their quantiles, of yes and no that of the
    probability; of the same shape."""
    high: np.ndarray

    def __repr__(self) -> str:
        outputs = display.counted(int(np.prod(np.shape(self.mean)[1:], dtype=int)), "output")
        return f"Forecast of {display.counted(len(self.mean), 'sample')}, {outputs}"

    def _repr_html_(self) -> str:
        means, stds = (np.reshape(part, (len(part), -1)).T for part in (self.mean, self.std))
        along = ("the next sample", f"{len(self.mean)} later")
        shown = list(zip(means, stds, strict=True))[: display.CURVES]
        return display.page(
            repr(self), *(display.curve(m, s, label=f"output {k}", along=along) for k, (m, s) in enumerate(shown))
        )


class Going(NamedTuple):
    """What can be done with a fit."""

    resumed: Callable[[], Learner] | None
    """A learner at the end of the record, if the model can be filtered."""
    bands: Callable[[], np.ndarray]
    """Standard deviations of an observation of each sample, shape (T, m)."""
    draws: Draws | None = None
    """What tells of bands and forecasts if it cannot."""


@dataclass(frozen=True, eq=False)
class Fit:
    """What `fwdgrad.fit` has found.

    Attributes:
        system: the declared system.
        method: "simulation", "filter", or "likelihood" of a filtered system.
        point: the p coordinates that were found: θ, or log θ and the like of one with bounds; leaf after leaf, (p,).
        covariance: of these, shape (p, p); enlarged where residuals remember.
        prior: deviations that they had before, (p,).
        withheld: whether no deviation is shown, since residuals remember nearly as long as the record is, there are no
            more observations than parameters, or the simulation is `lost`.
        noise: standard deviation of the observation noise of each output, (m,); None for a loss without a scale.
        process_noise: that of each state variable in a sample, as a part of its largest value, (n,); 0 in a simulation,
            NaN of a filtered system, among whose parameters it is.
        loss: −log of the likelihood, up to what is the same for all parameters.
        outputs: ŷ for each sample, (T, m): of the simulation, or of the filter one sample ahead.
        targets: what was observed, (T, m), NaN where nothing was; NaN throughout if targets are not like predictions.
        starts: the first sample of each trajectory.
        times: of the samples, since the start of their trajectory, (T,): in the unit of `dt`; without, their number.
        passes: how often samples were gone through, as a multiple of the record.
        verdict: what the residuals say, see `fwdgrad.learning.confidence.Verdict`; None for a loss without a scale.
        size: of a negative binomial distribution, as found, and the deviation of its logarithm, infinite where counts
            scatter no more than Poisson's; None for other losses.
        freedom: degrees of freedom of the residuals that have told the noise, for Student's t; infinite where the noise
            was not found, or is among the parameters.
        lacks: terms that the model has not and the residuals, though white, ask for, the surest first, a sentence each.
        notes: what else speaks against it, a sentence each.
        promised: by how much the objective may still be lowered, in nats, where the search has ended before a minimum:
            then no deviations are shown; else 0.
        calendar: the dates of the samples, where targets came as a table of pandas that has them as its index.
    """

    system: System
    method: str
    point: np.ndarray
    covariance: np.ndarray
    prior: np.ndarray
    withheld: bool
    noise: np.ndarray | None
    process_noise: np.ndarray
    loss: float
    outputs: np.ndarray
    targets: np.ndarray
    starts: tuple[int, ...]
    times: np.ndarray
    passes: float
    verdict: Verdict | None
    notes: tuple[str, ...]
    _going: Going | None = field(repr=False)
    lacks: tuple[str, ...] = ()
    freedom: float = math.inf
    size: tuple[float, float] | None = None
    promised: float = 0.0
    calendar: frames.Calendar | None = None

    # ---- the parameters

    @property
    def params(self) -> Mapping[str, np.ndarray]:
        """θ as F and Y see it, by name."""
        return MappingProxyType(self.system.params_at(self.point))

    @property
    def std(self) -> dict[str, np.ndarray]:
        """Standard deviation of each learned parameter, by name, to first order.

        NaN where nothing is known: where the data do not tell it, at a bound, and if they are `withheld`.
        """
        width = np.where(self._known, np.sqrt(np.diag(self.covariance)), np.nan)
        return {k: (np.abs(self._slope(k)) * v)[()] for k, v in self._leaves(width).items()}

    @property
    def interval(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """95 % intervals of the learned parameters, by name: (low, high), within their bounds; NaN as in `std`.

        Student's t with `freedom`, of the coordinates: 2.1 deviations where residuals are 20 more than parameters.
        """
        return intervals_of(self.system, self.params, self.std, self.freedom)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the p learned numbers, such as "k" or "W[0, 1]"."""
        return tuple(name for name, _, _ in entries_of(self.system))

    @property
    def correlation(self) -> np.ndarray:
        """Of the learned numbers, shape (p, p)."""
        deviation = np.sqrt(np.diag(self.covariance))
        return self.covariance / np.outer(deviation, deviation)

    @property
    def alike(self) -> list[tuple[str, str, float]]:
        """Pairs of learned numbers that the data hardly tell apart, with their correlation: from 0.98 on."""
        rho, names = self.correlation, self.names
        pairs = zip(*np.nonzero(np.triu(np.abs(rho) >= ALIKE, 1)), strict=True)
        return [(names[i], names[j], float(rho[i, j])) for i, j in pairs]

    @property
    def groups(self) -> tuple[Group, ...]:
        """Parameters that are known together only, such as two of which there is only the product."""
        slope = np.concatenate([np.ravel(self._slope(k)) for k in self.system.trainable])
        values = np.concatenate([np.ravel(np.asarray(self.params[k], float)) for k in self.system.trainable])
        covariance = self.covariance * np.outer(slope, slope)
        return groups_of(self.names, values, covariance, np.abs(slope) * self.prior)

    @property
    def unidentified(self) -> list[str]:
        """The learned numbers of which the data tell nothing."""
        return [name for name, lost in zip(self.names, self._unidentified & ~self._at_bound, strict=True) if lost]

    @property
    def at_bound(self) -> list[str]:
        """Those that have run into a bound."""
        return [name for name, there in zip(self.names, self._at_bound, strict=True) if there]

    def _leaves(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Numbers (p,) by leaf."""
        return self.system.leaves_at(numbers)

    def _slope(self, leaf: str) -> np.ndarray:
        return self.system.coordinate[leaf].slope(self._leaves(self.point)[leaf])

    @property
    def _unidentified(self) -> np.ndarray:
        return np.sqrt(np.diag(self.covariance)) >= UNKNOWN * self.prior

    @property
    def _at_bound(self) -> np.ndarray:
        leaves = self._leaves(self.point)
        start = self.system.coordinates
        return np.concatenate(
            [np.ravel(self.system.coordinate[k].at_bound(v, np.asarray(start[k], float))) for k, v in leaves.items()]
        )

    @property
    def _known(self) -> np.ndarray:
        return ~(self._unidentified | self._at_bound) & (not self.withheld)

    # ---- how well they explain the record

    @property
    def residuals(self) -> np.ndarray:
        """y − ŷ, shape (T, m); NaN where nothing was observed."""
        return self.targets - self.outputs

    @property
    def rmse(self) -> np.ndarray:
        """Root of the mean square of the residuals, shape (m,); NaN where there are none."""
        return _root_mean(self.residuals)

    @property
    def explained(self) -> np.ndarray:
        """R² = 1 − (mean square of residuals)/(variance of targets), shape (m,); NaN where targets do not vary."""
        centred = self.targets - [np.mean(c[np.isfinite(c)]) if np.isfinite(c).any() else 0.0 for c in self.targets.T]
        spread = _root_mean(centred)
        return np.array(
            [1.0 - (error / size) ** 2 if size > 0 else np.nan for error, size in zip(self.rmse, spread, strict=True)]
        )

    @property
    def lost(self) -> bool:
        """Whether a simulation explains little of some output, and what is left of it is no noise.

        Then it is not where the data are, for a part of the record at least, and no number of samples mends that: along
        a chaotic trajectory deviations by the residuals are smaller by far than what parameters are off.
        """
        if self.method != "simulation" or self.verdict is None:
            return False
        return bool(np.any((self.explained < LITTLE) & (self.verdict.memory > 1.0)))

    @property
    def bands(self) -> np.ndarray:
        """Standard deviations of an observation of each sample, shape (T, m): parameters and noise, to first order.

        Raises:
            DeclarationError: the model can neither be filtered nor is it known how its observations scatter.
        """
        return self._goes_on("bands").bands()

    @property
    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Where 95 % of observations are expected, (T, m) each: `outputs` ± `half_width` `bands`; of counts quantiles.

        Of yes and no (`Bernoulli`) where the probability of a yes is.

        Raises:
            DeclarationError: as `bands`.
        """
        going = self._goes_on("limits")
        if going.draws is not None:
            made = going.draws.bands()
            return made.low, made.high
        width = half_width(self.freedom) * going.bands()
        return self.outputs - width, self.outputs + width

    def _goes_on(self, what: str) -> Going:
        if self._going is None:
            raise DeclarationError(
                f"{what}: of a loss such as {self.system.loss!r} only parameters have deviations.\n"
                "There are bands for SquaredError, StudentT, Poisson, NegativeBinomial and Bernoulli."
            )
        return self._going

    @property
    def white(self) -> bool:
        """Whether nothing is found in the residuals that a right model would not leave there."""
        return self.verdict is None or not (self.verdict.findings or self.lacks)

    @property
    def coverage(self) -> np.ndarray:
        """Part of the observations that are within `limits`, shape (m,); NaN where there are none."""
        low, high = self.limits
        inside = (low <= self.targets) & (self.targets <= high)
        seen = np.isfinite(self.targets)
        with np.errstate(all="ignore"):
            return np.asarray(np.sum(inside & seen, axis=0) / np.sum(seen, axis=0))

    # ---- going on

    def learner(self) -> Learner:
        """A learner at the end of the record, to go on online with what was found: a `JointFilter`.

        Raises:
            DeclarationError: the model cannot be filtered.
        """
        if self._going is None or self._going.resumed is None:
            raise DeclarationError(
                "learner: the model cannot be filtered.\nLearn on with fg.Learner(system, …) and params = fit.params."
            )
        return self._going.resumed()

    @suggests
    def forecast(self, steps: int | None = None, xs: Any = None) -> Forecast:
        """What comes after the record, or after the last trajectory.

        Args:
            steps: how many samples; as many as there are inputs unless given.
            xs: inputs, with time along axis 0; None for an autonomous system.

        Raises:
            DeclarationError: neither is given; or as `bands`.
            DataError, ShapeError: the inputs are not of the declared kind, or fewer than `steps`.
        """
        leaves = [np.asarray(v) for v in (xs.values() if isinstance(xs, dict) else [] if xs is None else [xs])]
        count = steps if steps is not None else min((len(v) for v in leaves), default=0)
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
            raise DeclarationError(f"forecast(steps=…): expected a number of samples, at least 1; got {steps!r}.")
        if any(len(v) < count for v in leaves):
            raise DataError(f"forecast: {count} samples are asked for, and there are fewer inputs.")
        if self._goes_on("forecast").draws is not None:
            return self._drawn(self._goes_on("forecast").draws, xs, count)
        learner, mean, std = self.learner(), [], []
        for k in range(count):
            x = None if xs is None else {n: v[k] for n, v in xs.items()} if isinstance(xs, dict) else xs[k]
            prediction, deviation = learner.predict(x, return_std=True)
            learner.step(x)
            mean.append(prediction)
            std.append(deviation)
        middle, width = np.array(mean), np.array(std)
        half = half_width(self.freedom)
        return Forecast(middle, width, middle - half * width, middle + half * width)

    def _drawn(self, draws: Any, xs: Any, count: int) -> Forecast:
        """By draws of the parameters."""
        reader = SampleReader(TracedModel(self.system))
        if self.system.x is not None and xs is None:
            raise DataError("forecast: the model has inputs. Give them: xs, with time along axis 0.")
        columns: list[list[Any]] = [[] for _ in flatten(self.system.x)]
        for k in range(count):
            x = None if xs is None else {n: v[k] for n, v in xs.items()} if isinstance(xs, dict) else xs[k]
            for column, leaf in zip(columns, reader.input(x, k), strict=True):
                column.append(leaf)
        shape = (count, *np.shape(self.system.prediction))
        return Forecast(*(np.reshape(part, shape) for part in draws.ahead(columns, count)))

    @suggests
    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        xlabel: str | None = None,
        names: Sequence[str] | None = None,
        trajectories: Sequence[str] | None = None,
        forecast: Forecast | None = None,
    ) -> Any:
        """Data, fit and 95 % bands, a panel for each output of each trajectory; see `fwdgrad.plots.plot_fit`."""
        from fwdgrad.plots import plot_fit

        return plot_fit(self, path, xlabel, names, trajectories, forecast)

    # ---- as tables

    @property
    def stamps(self) -> Any:
        """When the samples were: dates, as an index of pandas, where the record had some; else `times`."""
        return self.times if self.calendar is None else self.calendar.dates(len(self.times))

    def later(self, count: int) -> Any:
        """When so many further samples will be, as `stamps` has it."""
        if self.calendar is not None:
            return self.calendar.dates(count, len(self.times))
        step = float(self.times[-1] - self.times[-2]) if len(self.times) > 1 else 1.0
        return self.times[-1] + step * np.arange(1, count + 1)

    @suggests
    def to_frame(self, forecast: Forecast | None = None) -> Any:
        r"""A `pandas.DataFrame` of the record: a row for each sample, and for each of a forecast.

        For an output y its columns are "y", what was observed, "y_fit", and, where the model can be filtered, "y_std",
        the deviation of an observation, and "y_low" and "y_high", its 95 % band. The index has the dates of the table
        that was fitted, or else times; a column "trajectory" numbers trajectories if there are several.

        Raises:
            DeclarationError: pandas is not installed.

        Example:
            >>> import numpy as np, fwdgrad as fg
            >>> system = fg.from_text("d x/dt = -k*x\nx(0) = 1\nparam k = 1 in (0, inf)\ndt = 0.5\nmethod = rk4")
            >>> ys = np.exp(-0.8 * 0.5 * np.arange(40)) + 0.01 * np.random.default_rng(0).normal(size=40)
            >>> fit = fg.fit(system, ys=ys[:, None], engine="numpy")
            >>> list(fit.to_frame().columns)
            ['x', 'x_fit', 'x_std', 'x_low', 'x_high']
            >>> len(fit.to_frame(fit.forecast(5)))
            45
        """
        banded = self._going is not None and bool(np.isfinite(self.targets).any())  # those of odds are of probabilities
        fitted, parts = self.outputs, [self.bands, *self.limits] if banded else []
        targets, index = self.targets, list(self.stamps)
        if forecast is not None:
            mean, *later = (np.reshape(part, (len(part), -1)) for part in forecast)
            targets = np.concatenate([targets, np.full(mean.shape, np.nan)])
            fitted, index = np.concatenate([fitted, mean]), [*index, *self.later(len(mean))]
            parts = [np.concatenate(pair) for pair in zip(parts, later, strict=True)] if banded else []
        columns: dict[str, Any] = {}
        if len(self.starts) > 1:
            columns["trajectory"] = np.searchsorted(self.starts, np.arange(len(fitted)), side="right")
        for k, name in enumerate(output_names(self.system)):
            columns |= {name: targets[:, k], f"{name}_fit": fitted[:, k]}
            columns |= {f"{name}_{what}": part[:, k] for what, part in zip(("std", "low", "high"), parts, strict=False)}
        return frames.frame(columns, index, "time" if self.calendar is None else "date")

    def parameter_frame(self) -> Any:
        """A `pandas.DataFrame` with a row for each learned number: start, value, std, and its 95 % interval, low, high.

        Raises:
            DeclarationError: pandas is not installed.
        """
        return parameter_frame(self.system, self.params, self.std, self.interval)

    # ---- in words

    def remarked(self, *notes: str) -> Fit:
        """The same with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    @property
    def remarks(self) -> list[str]:
        """All that speaks against the fit, or against a number in it, a sentence each."""
        made = []
        larger = "" if self.withheld else ": deviations are larger for it"
        if self.verdict is not None:
            made += [text + larger for text in self.verdict.findings]
        made += [text + larger for text in self.lacks[:1]]
        if self.withheld:
            few = "too few independent residuals for so many parameters"
            lost = "the simulation is not where the data are, for a part of the record at least"
            ended = f"the search ended before the minimum, {self.promised:.2g} nats above it or more"
            made.append(f"no deviations are shown: {ended if self.promised else lost if self.lost else few}")
        if self.unidentified:
            made.append(f"the data do not tell {', '.join(self.unidentified)}")
        if self.at_bound:
            made.append(f"at its bound, without a deviation: {', '.join(self.at_bound)}")
        groups = self.groups
        made += [str(group) for group in groups[:MOST_TOLD]]
        apart = [(a, b, rho) for a, b, rho in self.alike if not any({a, b} <= set(g.names) for g in groups)]
        made += [f"{a} and {b} can hardly be told apart (correlation {rho:.3f})" for a, b, rho in apart[:MOST_TOLD]]
        if type(self.system.loss) is SquaredError and (told := far_off(self.residuals)):
            made.append(told)
        unseen = [n for n, e in zip(output_names(self.system), self.rmse, strict=True) if np.isnan(e)]
        if unseen and self.noise is not None:
            made.append(f"never observed: {', '.join(unseen)}")
        poor = [n for n, r in zip(output_names(self.system), self.explained, strict=True) if r < 0.0]
        if poor:
            made.append(f"the fit explains less of {', '.join(poor)} than its mean does")
        return [*made, *self.notes]

    def __repr__(self) -> str:
        return self._title()

    def _repr_html_(self) -> str:
        try:
            bands: Any = self.bands.T
        except DeclarationError:
            bands = [None] * self.outputs.shape[1]
        curves = [
            display.curve(fitted, band, data, label=name, along=(f"{self.times[0]:.4g}", f"{self.times[-1]:.4g}"))
            for name, fitted, band, data in zip(
                output_names(self.system), self.outputs.T, bands, self.targets.T, strict=True
            )
        ]
        rows = parameter_rows(self.system, self.params, self.std, self.interval)
        told = display.paragraph("\n".join(self._explained()))
        parts = (display.table(rows), told, display.remarks(self.remarks), *curves[: display.CURVES])
        return display.page(self._title(), *parts)

    def _title(self) -> str:
        """What was fitted to what, and how."""
        numbers = np.isfinite(self.targets).any()
        seen = int(np.isfinite(self.targets).sum())
        what = f"{seen} observations" if numbers else f"{len(self.outputs)} samples"
        many = f" in {len(self.starts)} trajectories" if len(self.starts) > 1 else ""
        parts = ", ".join(f"{v:.2g}" for v in np.unique(self.process_noise))
        how = f"filter, noise in the state {parts} of its size" if self.method == "filter" else self.method
        return f"{self.system.name} fitted to {what}{many} ({how})"

    def _explained(self) -> list[str]:
        """How well, a line for each output."""
        if not np.isfinite(self.targets).any():
            return [f"loss {self.loss / len(self.outputs):.4g} a sample"]
        made = [
            f"{name}: root mean square of residuals {error:.3g}" + (f", R² {r:.4f}" if np.isfinite(r) else "")
            for name, error, r in zip(output_names(self.system), self.rmse, self.explained, strict=True)
            if np.isfinite(error)
        ]
        if self.size is not None:
            size, width = self.size
            known = f"as a negative binomial of size {size:.3g} ± {width * size:.2g}"
            made.append(f"counts scatter {known if math.isfinite(width) else 'no more than Poisson would have it'}")
        return made

    def __str__(self) -> str:
        table = display.columns(parameter_rows(self.system, self.params, self.std, self.interval))
        return "\n".join([self._title(), *table, *self._explained(), *(f"! {remark}" for remark in self.remarks)])


def _root_mean(residuals: np.ndarray) -> np.ndarray:
    """By column, over what is finite."""
    seen = np.isfinite(residuals)
    total = np.sum(np.where(seen, residuals, 0.0) ** 2, axis=0)
    with np.errstate(all="ignore"):
        return np.sqrt(np.where(seen.any(axis=0), total / np.sum(seen, axis=0), np.nan))
