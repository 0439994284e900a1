"""Fitting the first samples again, until there are enough of them, so that a filter begins near the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.learning.confidence import Fitted
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops.around import Around
from fwdgrad.learning.loops.base import Loop, Ran
from fwdgrad.learning.loops.discretisation import coarse_steps
from fwdgrad.learning.loops.fitting import Fitting, Pass
from fwdgrad.learning.loops.gauss_newton import ENOUGH, GAIN, Normal
from fwdgrad.learning.loops.lacking import lacking
from fwdgrad.learning.loops.minima import TARGETS, described, exchanged
from fwdgrad.learning.loops.record import Record
from fwdgrad.learning.loops.sifting import Sifting
from fwdgrad.learning.samples import Chunk
from fwdgrad.panels import PanelSystem
from fwdgrad.support.trees import flatten
from fwdgrad.support.types import Flat

__all__ = ["Refitting"]

EARLIEST = 16
"""Targets after which they are fitted for the first time."""
GROWTH = 4
"""How many times more there are at each fit that begins anew than at the one before; one between them goes on."""
MOST_STREAMS = 8
"""Streams up to which a sample counts as many times; a power of two below `EARLIEST`."""
LOOKS = 3
"""How often, in each doubling, it is looked whether they are fitted before."""
LEARNED = 0.5
"""Part of a deviation that is left since the last fit of what has been learned since, linearised sample by sample."""
KEPT = 16
"""How many samples are kept at most, those without a target too, for each that has to have one."""
SIMULATED = 64
"""Targets from which on the model is also simulated without corrections."""
DECLARED = 256
"""Up to how many the simulation is fitted from the declared parameters too."""
REPEATED = 40
"""Passes over all that is kept that the fits are worth, about."""
RECOVERIES = 16
"""How often, at most, a filter that led to where a step is refused is set on its way again."""
MORE = 1.1
"""How many times as many samples there are before what the model lacks is asked anew, if somebody wants to know."""
ALIKE = 5.0
"""Nats by which a simulation may be less likely than what is gone on with, to be held against the record."""
APART = 20.0
"""Nats by which it is so much less likely that the model, left to itself, does not do what the data do."""
STRAYS = (
    "the model follows the samples only where each of them corrects its state; simulated, it does not do what they do: "
    "the parameters may be those of another basin (start nearer, bounds), the model lacks something, or its state is "
    "disturbed (process_noise=… accepts it)"
)


class Refitting(Around):
    """A loop around another one, for a `JointFilter`, as long as the first samples are kept.

    A filter that begins far from the truth wastes what the first samples say: it takes them linearised at the wrong
    point. So they are kept, and when 16, 64, 128, 256, … of them have a target they are fitted anew, from the initial
    state; in between too, where some deviation has become half of what it was:

    - by the filter, from the parameters it has found before, until these no longer move: it follows the data from far;
    - by `GaussNewton` on the model simulated without corrections, from these parameters and from the declared ones:
      what the data say exactly, if the model has no noise.

    Of many streams, a sample counts as so many targets as there are streams, `MOST_STREAMS` at most: a dozen patients
    with ten samples each are as much to go by as one with a hundred.

    What is likeliest is gone on with. Work and memory are bounded by `first`; later this loop only hands on.

    Targets that are absurd, or a code for "missing", are left out, of the steps as they come and of the fits as they
    stand among all that is kept: see `Sifting`.

    Args:
        inner: the loop that makes the steps.
        loop_for: makes a loop for an execution without random numbers.
    """

    def __init__(self, inner: Loop, loop_for: Callable[[Execution], Loop]) -> None:
        super().__init__(inner)
        self._loop_for = loop_for
        declared: Any = inner.execution.optimizer
        self._declared = declared
        self._sifting = Sifting(inner.execution.system)
        self._record: Record | None = None
        if declared.first:
            self._record = Record(inner.execution.system)
            self._record.begin(inner.execution.system.initial, False)
        self._level: tuple[float, float] = declared.levels[0]
        self._fitting: Fitting | None = None
        system = inner.execution.system
        streams = system.count if isinstance(system, PanelSystem) else 1
        self._times = min(1 << (streams.bit_length() - 1), MOST_STREAMS)  # for how many targets a sample counts
        self._coarse, self._tails, self._counts, self._recoveries = "", "", "", 0
        self._minima: list[np.ndarray] = []
        self._others: list[np.ndarray] = []
        self._simulation: Normal | None = None  # of the last fit, if it explains the record as well
        self._least: Normal | None = None  # of the last fit, whatever it explains
        self._fitted: Fitted | None = None
        self._asked = self._simulated_from / MORE  # how many samples there were when it was asked what the model lacks
        self._since: Fitted | None = None  # what has come of it since the last fit

    @property
    def _simulated_from(self) -> int:
        """Samples with a target from which on the model is also simulated without corrections."""
        return SIMULATED // self._times

    @property
    def early(self) -> bool:
        """Until the first fit."""
        return self._record is not None and self._record.seen < self._due(0)

    def foreseen(self, steps: int) -> int:
        """Those of the fits are counted as if there were `REPEATED` passes in all."""
        kept = self._declared.first if self._record is None else self._record.seen
        return steps + REPEATED * min(steps, self._declared.first - kept)

    # ---- with the samples kept

    def step(self, x: Any, y: Any) -> float:
        """One sample."""
        sample = self.reader.sample(x, y, self.steps)
        inputs, targets = ([np.asarray(a)[None] for a in arrays] for arrays in sample[:2])
        ran = self.run(Chunk(inputs, targets, np.array([sample[2]])))
        if ran.error is not None:
            raise ran.error
        return float(ran.losses[0])

    def run(self, chunk: Chunk) -> Ran:
        """Consecutive samples, up to the first that is refused."""
        made: list[Ran] = []
        start, length = 0, len(chunk.observed)
        while start < length:
            stop = length if self._record is None else self._until(self._record, chunk.observed, start)
            piece = chunk.part(start, stop)
            ran = self._kept(piece) if self._record is not None else self._sifted(piece)
            made.append(ran)
            if ran.error is not None:
                break
            start = stop
        return _joined(*made)

    def _kept(self, chunk: Chunk) -> Ran:
        """Samples up to the next fit."""
        record = self._record
        assert record is not None
        if self._fitting is None:
            self._fitting = Fitting(self.inner, self._loop_for)
        due = self._due(record.seen)
        ran = self._sifted(chunk)
        record.extend(chunk.part(0, len(ran.losses)))
        if ran.error is not None:
            ran = self._recovered(record, chunk.part(len(ran.losses), len(chunk.observed)), ran, self._fitting)
        if ran.error is None and record.seen >= due and self._wanted(record.seen, self._fitting):
            self._fit(record, self._fitting)
        if record.seen >= self._declared.first or len(record) >= KEPT * self._declared.first:
            self._record = self._fitting = None
        return ran

    def _recovered(self, record: Record, rest: Chunk, ran: Ran, fitting: Fitting) -> Ran:
        """What came of samples of which one was refused, with the others made from a fit of those before.

        A filter that begins far off may put parameters, or the state, where the model cannot go on, which says nothing
        of the model. So what was kept is fitted, and the filter goes on from there; or from the simulation that
        explains it best, or with the declared parameters; or these go on by themselves, without learning, until the
        next fit. If no sample is made then, all is as it was when one was refused.
        """
        held, level, fitted = self.inner.carry, self._level, self._fitted
        steps, row = self.steps, list(self.feed.row)
        for way in (self._fit, self._simulate, self._declare) if self._recoveries < RECOVERIES and record.seen else ():
            self._recoveries += 1
            way(record, fitting)
            more = self._sifted(rest)
            if len(more.losses):
                record.extend(rest.part(0, len(more.losses)))
                made = _joined(ran, more)
                if more.error is None:
                    return made
                return self._recovered(record, rest.part(len(more.losses), len(rest.observed)), made, fitting)
            self.inner.carry, self._level, self._fitted = held, level, fitted
        for way in (self._simulate, self._declare):
            way(record, fitting)
            more = self._unlearned(rest)
            if more.error is None and np.isfinite(more.losses[rest.observed]).all():
                record.extend(rest)
                return _joined(ran, more)
            self.inner.carry, self._level, self._fitted = held, level, fitted
            self.steps, self.feed.row = steps, list(row)
        return ran

    def _simulate(self, record: Record, fitting: Fitting) -> None:
        """Go on from the simulation that explains the record best, if there is one."""
        steps, row, present = self.steps, list(self.feed.row), self.inner.carry
        found = fitting.simulated(record, present, [fitting.declared, fitting.flat(present)], ENOUGH)
        self.inner.carry = fitting.passed(present, found[0]).carry if found else present
        self.steps, self.feed.row = steps, row

    def _declare(self, record: Record, fitting: Fitting) -> None:
        """Go on from a simulation with the declared parameters, if there is one."""
        steps, row, present = self.steps, list(self.feed.row), self.inner.carry
        found = fitting.begun(record, present)
        self.inner.carry = present if found is None else fitting.passed(present, found).carry
        self.steps, self.feed.row = steps, row

    def _unlearned(self, chunk: Chunk) -> Ran:
        """Samples whose targets are compared with, and not learned from."""
        ran = self.inner.run(chunk._replace(observed=np.zeros(len(chunk.observed), bool)))
        like, loss = flatten(self.execution.system.y), self.execution.system.loss
        losses = np.array(ran.losses, float)
        for k in np.flatnonzero(chunk.observed[: len(losses)]):
            with np.errstate(all="ignore"):
                losses[k] = float(loss.value(ran.predictions[k], chunk.y[0][k].reshape(np.shape(like[0]))))
        return ran._replace(losses=losses)

    def _sifted(self, chunk: Chunk) -> Ran:
        """Samples, without targets that are strange by what came before."""
        before = self._sifting.arrays()
        ran = self.inner.run(self._sifting.without(chunk, self._sifting.look(chunk, self.steps)))
        if ran.error is not None:  # those from there on have not been seen
            self._sifting.restore(before)
            self._sifting.look(chunk.part(0, len(ran.losses)), self.steps - len(ran.losses))
        return ran

    def remarks(self) -> tuple[str, ...]:
        """What is strange about the samples."""
        return self._sifting.told()

    def restart(self, h: Any, given: bool) -> None:
        """A new trajectory, which later fits go through like the ones before."""
        self.inner.restart(h, given)
        if self._record is not None:
            self._record.begin(h, given)

    def _until(self, record: Record, observed: np.ndarray, start: int) -> int:
        """How far samples, of which these have a target, can be gone through, from a place on, before the next fit."""
        wanted, left = self._due(record.seen) - record.seen, KEPT * self._declared.first - len(record)
        places = np.flatnonzero(observed[start:])
        length = int(places[wanted - 1]) + 1 if len(places) >= wanted else len(observed) - start
        return start + min(length, left)

    def _due(self, count: int) -> int:
        """The number of targets at which it is next looked whether they are fitted, when there are `count`."""
        due = float(EARLIEST // self._times)
        while round(due) <= count:
            due *= GROWTH if due < SIMULATED // self._times else 2 ** (1 / LOOKS)
        return min(round(due), self._declared.first)

    def _wanted(self, count: int, fitting: Fitting) -> bool:
        """Whether so many targets are fitted."""
        if self._doubled(count) or count >= self._declared.first or self._fitted is None:
            return True
        now = np.diag(fitting.filter.covariance(self.execution.unpack(self.inner.view).optimizer))
        return bool(np.any(now < LEARNED**2 * np.diag(self._fitted.covariance)))

    def _doubled(self, count: int) -> bool:
        """Whether so many are the first that are fitted, doubled some times."""
        earliest = EARLIEST // self._times
        return count % earliest == 0 and (count // earliest).bit_count() == 1

    def _anew(self, count: int) -> bool:
        """Whether a fit of so many also begins where others have not been."""
        due = EARLIEST // self._times
        while due < count:
            due *= GROWTH
        return due == count

    def _fit(self, record: Record, fitting: Fitting) -> None:
        """Go on from what explains the record best."""
        steps, row, present = self.steps, list(self.feed.row), self.inner.carry
        slipped = -self._sifting.count
        aside = self._sifting.begin(record.chunk)
        slipped += self._sifting.count  # strange ones that had not been known for it when they came
        count, record = record.seen, record.without(self._sifting.without(record.chunk, aside))
        if slipped > 0:
            present = self._unspoilt(record, present, fitting)
        best, self._simulation, self._least = fitting.filtered(record, present, self._level), None, None
        if count >= self._simulated_from:
            best = self._simulated(record, present, fitting, best)
        if best is not None:
            self._level = best.level
        after = present if best is None else best.carry
        covariance = fitting.filter.covariance(self.execution.unpack(after).optimizer)
        point = fitting.flat(after).astype(float)
        pairs = [pair for other in self._others for pair in exchanged(self.execution.system, point, other)]
        before, swaps = self._fitted, tuple(dict.fromkeys(pairs))
        self._fitted = Fitted(point, covariance, swaps)
        self._asked, self._since = (self._asked if self._since is None else self._simulated_from / MORE), None
        dear = self._anew(count) or count >= self._declared.first  # what the model lacks, and finer steps
        if not dear and before is not None and before.lacks != STRAYS:
            self._fitted = self._fitted._replace(bias=before.bias, lacks=before.lacks)
        if dear and count >= self._simulated_from:
            if self._least is not None:
                self._asked = count
                self._fitted = self._doubted(record, self._fitted, fitting, fitting.passed(present, self._least))
            self._coarse = self._steps_told(record, after)
        still = best is not None and all(fitting.learns_level) and best.level == fitting.levels[0]
        if best is not None and still and count >= self._simulated_from:
            self._fitted = self._held_to(self._fitted, best)
        if self._least is not None and self._doubled(count):
            self._fitted = self._beside(record, self._fitted, fitting, present, self._least)
        self.inner.carry, self.steps, self.feed.row = after, steps, row

    def _simulated(self, record: Record, present: Flat, fitting: Fitting, best: Pass | None) -> Pass | None:
        """The filter's best pass, or the best simulation, if that is likelier."""
        starts = [fitting.flat(present), *([] if best is None else [fitting.flat(best.carry)])]
        if record.seen <= DECLARED // self._times and self._anew(record.seen):
            starts.append(fitting.declared)
        gain = GAIN if record.seen == self._declared.first else ENOUGH
        found = fitting.simulated(record, present, [*starts, *self._minima], gain)
        self._others, self._least = [], found[0] if found else None
        if found and (best is None or found[0].objective < best.surprise + ALIKE):
            self._simulation = found[0]
        if not found or (best is not None and found[0].objective >= best.surprise):
            return best
        least, minima = found[0], found[1:]
        if record.seen <= TARGETS // self._times and self._anew(record.seen):
            minima = fitting.others(record, present, least)
        least, others = fitting.preferred(present, least, minima)
        self._simulation = least
        self._minima, self._others = [other.point for other in minima], [other.point for other in others]
        return fitting.passed(present, least)

    def _doubted(self, record: Record, fitted: Fitted, fitting: Fitting, found: Pass) -> Fitted:
        """With what a simulation lacks, and how far parameters are off for it.

        A simulation that explains the record less well than a filter may lack nothing but noise in the state.
        """
        held: Any = self.execution.unpack(found.carry).optimizer
        covariance, noise = fitting.filter.covariance(held), np.asarray(held.noise, float)
        lack = lacking(
            self.execution.system, record, fitting.flat(found.carry).astype(float), noise, covariance,
            self.execution.engine, self._loop_for,
        )  # fmt: skip
        self._tails, self._counts = lack.tails, lack.counts
        if self._simulation is None:
            lack = lack._replace(memory=1.0)
        return lack.doubted(fitted, covariance)

    def _held_to(self, fitted: Fitted, best: Pass) -> Fitted:
        """With what is said where a pass of the filter without noise in the state is far likelier than a simulation."""
        if self._least is not None and self._least.objective < best.surprise + APART:
            return fitted
        width = np.sqrt(np.diag(fitted.covariance)) if self._least is None else self._least.point - fitted.point
        return fitted._replace(bias=np.abs(width), lacks=STRAYS)

    def _beside(self, record: Record, fitted: Fitted, fitting: Fitting, present: Flat, found: Normal) -> Fitted:
        """With what is said of targets beside their inputs, or of a start elsewhere, in place of what else is lacking.

        A filter does with them as if the state were disturbed, so the simulation is asked, even if it is less likely.
        """
        deviations = np.sqrt(np.diag(fitted.covariance))
        late = fitting.late(record, present, found, deviations)
        if late is None or late.memory > 1.0:
            begun = fitting.elsewhere(record, present, found, [fitted.point, found.point, fitting.declared])
            if begun is not None:
                return fitted._replace(bias=begun.moved, lacks=str(begun))
        return fitted if late is None else fitted._replace(bias=np.abs(late.moved) * deviations, lacks=str(late))

    def _steps_told(self, record: Record, carry: Flat) -> str:
        """What is said of integration steps, by the noise that was found."""
        system, held = self.execution.system, self.execution.unpack(carry)
        if not hasattr(system.loss, "weight"):
            return ""
        params = system.natural({k: np.asarray(v) for k, v in held.params.items()})
        noise: Any = held.optimizer
        return coarse_steps(system, record, params, np.sqrt(np.asarray(noise.noise, float)))

    @property
    def few(self) -> str:
        """Before the first fit that simulates, deviations are those of an extended filter from wherever it began."""
        if self._record is None or self._record.seen >= min(self._simulated_from, self._declared.first):
            return ""
        return (
            f"after {self._record.seen} targets deviations are rough, and may be far too small: they were linearised\n"
            f"where the filter began. From {self._simulated_from} on they are better. For short tables there is "
            "fg.fit(system, …)."
        )

    @property
    def coarse(self) -> str:
        """By the last fit."""
        return self._coarse

    @property
    def tails(self) -> str:
        """Of the simulation that was last asked what the model lacks."""
        return self._tails

    @property
    def counts(self) -> str:
        """By that simulation."""
        return self._counts

    @property
    def otherwise(self) -> str:
        """By the last fit; those with two parameters in each other's place aside, which `fitted` knows."""
        system, fitted = self.execution.system, self._fitted
        others = [] if fitted is None else [o for o in self._others if not exchanged(system, fitted.point, o)]
        return "\n".join(described(system, others))

    def fitted(self) -> Fitted | None:
        """What the last fit knew, and what samples since then say that the model lacks.

        That is asked only here, and changes nothing of what is learned.
        """
        record, fitting, fitted = self._record, self._fitting, self._fitted
        if record is None or fitting is None or fitted is None or fitted.lacks or record.seen < MORE * self._asked:
            return fitted if self._since is None else self._since
        self._asked, present, row = record.seen, self.inner.carry, list(self.feed.row)
        asking = Fitting(self.inner, self._loop_for, fitting.declared, newton=fitting.newton)
        held = self._sifting.arrays()
        record = record.without(self._sifting.without(record.chunk, self._sifting.begin(record.chunk)))
        self._sifting.restore(held)
        found, self._since = asking.simulated(record, present, [asking.flat(present)], ENOUGH), fitted
        if found:
            self._since = self._doubted(record, fitted, asking, asking.passed(present, found[0]))
        self.feed.row = row
        return self._since

    def _unspoilt(self, record: Record, present: Flat, fitting: Fitting) -> Flat:
        """The carry that the samples as they came would have left, had the strange targets been missing."""
        held = self.execution.unpack(fitting.at(present, fitting.declared))
        fresh = self.execution.unpack(self.execution.initial())._replace(params=held.params)
        anew = self.execution.pack(fresh)
        made = record.replayed(self.inner, anew)
        return anew if made is None else made

    # ---- checkpoints

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept, while it is."""
        made = self._sifting.arrays()
        if self._fitted is not None:
            made |= self._fitted.arrays() | {
                "others": np.reshape(self._others, (-1, len(self._fitted.point))),
                "minima": np.reshape(self._minima, (-1, len(self._fitted.point))),
            }
        if self._record is None:
            return made
        made |= self._record.arrays() | {"level": np.array(self._level)}
        return made if self._fitting is None else made | {"centre": self._fitting.declared}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take it up."""
        if "sieve" in arrays:  # not in older files
            self._sifting.restore(arrays)
        self._fitted = Fitted.restored(arrays)
        if "others" in arrays:
            self._others, self._minima = list(arrays["others"]), list(arrays["minima"])
        if "level" not in arrays:
            self._record = None
            return
        self._record = Record(self.execution.system)
        self._record.restore(arrays)
        self._level = (float(arrays["level"][0]), float(arrays["level"][1]))
        if "centre" in arrays:
            self._fitting = Fitting(self.inner, self._loop_for, arrays["centre"])


def _joined(*parts: Ran) -> Ran:
    """What came of consecutive samples, by what came of their parts."""
    losses, predictions = (np.concatenate([getattr(r, k) for r in parts]) for k in ("losses", "predictions"))
    return Ran(losses, predictions, parts[-1].error)
