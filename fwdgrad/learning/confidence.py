"""What a learner's standard deviations are worth: whether the residuals bear out what the filter claims.

A filter knows how large its innovations should be and that they should be white. What they are is summed up with every
step (`fwdgrad.optimizers.information.watch`); here the sums are judged. The null hypothesis, for each sum, is that the
normalised innovations are independent with variance 1; it is given up where chance would exceed the sum in one of 10⁵
cases, and where what is found matters besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import chdtri

from fwdgrad.learning.identifiability import Group, groups_of
from fwdgrad.optimizers.information.watch import FADING, LAGS, RECENT, SCALES, SMALL, STAGES, Learned, Watched
from fwdgrad.support import display

__all__ = ["Confidence", "Verdict", "confidence_of", "judged", "not_white"]

CHANCE = 1e-5
"""Probability under the null hypothesis, for one output and one sum, beyond which it is given up."""

TAILS = 100
"""What makes up for tails that are heavier than those of χ², of products of neighbouring residuals: with it, chance
makes an alarm in one of some thousands of series, at any length (simulated in tests/learning/test_confidence.py)."""

LEVEL, RECENTLY, FIT = 1.5, 2.0, 2.0
"""Mean squares of normalised innovations up to which nothing is said: a noise known to 20 or 40 %."""

LOW = 0.1
"""Mean square below which the claimed noise is far too large: deviations are three times what they might be."""

CORRELATED, SLOW = 0.02, 1.25
"""Σρ² over the first lags, and the long-run variance over the variance, up to which residuals count as white."""

FEW = 20
"""Independent residuals, in effect, below which no factor mends a standard deviation."""

UNLEARNED = 0.9
"""Part of the prior's variance from which a parameter counts as not learned."""

NEAR = 50.0
"""How many times as far from a bound as one that is at it a parameter may be, to be held by it where residuals
contradict the model, or nothing is learned of it any more."""

AWAY = 5.0
"""Deviations of the prior from which a parameter was learned against it: early samples were then taken for sure at a
point that was wrong, unless they were fitted again."""

HARDLY = 1.05
"""Times the variance of white noise up to which a slow part is not told of."""

SHOWN = 6
"""Names that are listed."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the innovations of m outputs say. `inflation` and `by_parameter` are factors of variances, at least 1.

    Attributes:
        level: mean square of the normalised innovations lately; 1 if the claims are right, shape (m,).
        memory: their long-run variance over their variance; 1 if they are white, (m,).
        findings: what contradicts the claims, a sentence each.
        too_large: which outputs have far less noise than was claimed, (m,).
        inflation: what variances have to be multiplied by; NaN if no number mends them.
        by_parameter: likewise for each parameter by itself, from how what was claimed of it held; None if that is not
            kept.
    """

    level: np.ndarray
    memory: np.ndarray
    findings: tuple[str, ...]
    too_large: np.ndarray
    inflation: float
    by_parameter: np.ndarray | None

    def __repr__(self) -> str:
        return f"Verdict: {'; '.join(self.findings) or 'nothing contradicts the claims'}"

    def _repr_html_(self) -> str:
        return display.page(repr(self))


def judged(watched: Watched, quadratic: bool = False) -> Verdict:
    """The verdict on what was watched.

    Sums with fading weights are taken for χ² of as many degrees of freedom as the weights leave: 7/16 of the n samples
    (c = 4), 2·64 − 1 for the recent ones, n/T for means over T samples, 1/Σw² for the samples of a parameter.

    Args:
        watched: the sums.
        quadratic: whether the filter's matrix was made of squared residuals ("outer"), so that its variances are as
            much too small again as these are too large.
    """
    n = np.maximum(np.asarray(watched.count, float), 1e-9)
    chance = CHANCE / len(n)
    enough = np.maximum(np.minimum(n, n * (2 * FADING - 1) / FADING**2 + 2.0), 1e-9)
    level, recent = np.asarray(watched.level), np.asarray(watched.recent)
    loud = (level > LEVEL) & (level > _most(enough, chance))
    lately = (recent > RECENTLY) & (recent > _most(np.minimum(n, 2 * RECENT - 1), chance))
    too_large = (level < LOW) & (level < chdtri(enough, 1.0 - chance) / enough)
    spread = np.where(watched.spread > 0, watched.spread, 1.0)
    squares = np.sum((watched.lags / spread) ** 2, axis=0)
    related = (squares > CORRELATED) & (squares * (enough - LAGS) > chdtri(LAGS, chance / TAILS))
    freedom = np.maximum(enough / np.array(SCALES, float)[:, None], 1e-9)
    power = watched.power / spread
    slow = (power > SLOW) & (freedom >= 1.0) & (power > _most(freedom, chance / TAILS))
    # residuals with a memory are no contradiction while they are so small that the claims are on the safe side
    matters = np.maximum(level, recent) * np.maximum(np.max(power, axis=0), 1.0) > LOW
    slow, related = slow & matters, related & matters
    seen = np.where(slow | (related & (freedom >= 1.0)), power, 1.0)
    memory = np.maximum(np.max(seen, axis=0), 1.0)
    size = np.maximum(np.where(loud, level, 1.0), np.where(lately, recent, 1.0))
    inflation = float(np.max(size ** (2 if quadratic else 1) * memory))
    if np.any((memory > 1.0) & (enough / memory < FEW)):
        inflation = np.nan
    by_parameter = None if watched.learned is None else _by_parameter(watched.learned, quadratic)
    findings = _findings(level, recent, memory, loud, lately, related | slow.any(axis=0), by_parameter)
    return Verdict(level, memory, findings, too_large, inflation, by_parameter)


def _by_parameter(learned: Learned, quadratic: bool) -> np.ndarray:
    """What the variance of each parameter has to be multiplied by: 1 where what was claimed of it held."""
    chance = CHANCE / len(learned.weight)
    poor = (learned.fit > FIT) & (learned.fit > _most(1.0 / learned.weight, chance))
    times = np.clip(learned.stages - 1.0, 1e-9, 2 * STAGES - 1)
    astray = (learned.moved > FIT) & (learned.stages > 1) & (learned.moved > _most(times, chance))
    size = np.where(poor, learned.fit, 1.0) ** (2 if quadratic else 1)
    return np.maximum(size, np.where(astray, learned.moved, 1.0))


def _most(freedom: Any, chance: float) -> Any:
    """What a mean of so many squares exceeds by chance with the given probability."""
    return chdtri(freedom, chance) / freedom


def _findings(
    level: Any, recent: Any, memory: Any, loud: Any, lately: Any, coloured: Any, by_parameter: np.ndarray | None
) -> tuple[str, ...]:
    """One sentence for each kind of contradiction, about the output where it is worst."""
    made = []

    def worst(which: Any, of: Any) -> tuple[str, float]:
        k = int(np.argmax(np.where(which, of, -np.inf)))
        return ("" if len(level) == 1 else f" of output {k}"), float(of[k])

    if loud.any():
        where, value = worst(loud, level)
        made.append(f"squared residuals{where} are {value:.3g} times what the filter expects")
    elif lately.any():
        where, value = worst(lately, recent)
        made.append(f"the last squared residuals{where} are {value:.3g} times what the filter expects")
    if coloured.any():
        where, value = worst(coloured, memory)
        made.append(not_white(where, value))
    if by_parameter is not None and np.any(by_parameter > 1):
        made.append("some parameters left what had been claimed, or were learned from samples that did not fit")
    return tuple(made)


def not_white(where: str, memory: float) -> str:
    """What is said of residuals of an output that remember so many samples; of fast ones that is 1."""
    slow = f"their slow part is {memory:.3g} times that of white noise"
    return f"residuals{where} are not white ({slow if memory > HARDLY else 'neighbouring ones are correlated'})"


class Fitted(NamedTuple):
    """What was known of θ when samples were last fitted together, linearised at one point."""

    point: np.ndarray
    """Coordinates, shape (p,)."""
    covariance: np.ndarray
    """Theirs, shape (p, p)."""
    swaps: tuple[tuple[int, int], ...] = ()
    """Pairs of them that explained the samples as well with the value of one another."""
    bias: np.ndarray | None = None
    """How far they may be off for what the model lacks, or may lack, shape (p,), and"""
    lacks: str = ""
    """what that is, if it is beyond chance."""
    anew: bool = True
    """Whether what is learned went on from there."""

    def arrays(self) -> dict[str, np.ndarray]:
        """For a checkpoint."""
        made = {
            "fitted": self.point,
            "fitted_covariance": self.covariance,
            "fitted_swaps": np.array(self.swaps, int).reshape(-1, 2),
            "fitted_anew": np.array(self.anew),
        }
        if self.bias is not None:
            made |= {"fitted_bias": self.bias, "fitted_lacks": np.frombuffer(self.lacks.encode(), np.uint8)}
        return made

    @staticmethod
    def restored(arrays: Mapping[str, np.ndarray]) -> Fitted | None:
        """From a checkpoint, if it holds one."""
        if "fitted" not in arrays:
            return None
        swaps = tuple((int(i), int(j)) for i, j in arrays["fitted_swaps"])
        made = Fitted(arrays["fitted"], arrays["fitted_covariance"], swaps)
        made = made._replace(anew=bool(arrays.get("fitted_anew", True)))  # not in older files
        if "fitted_bias" not in arrays:
            return made
        return made._replace(bias=arrays["fitted_bias"], lacks=bytes(arrays["fitted_lacks"]).decode())


@dataclass(frozen=True, eq=False)
class Confidence:
    """What is known of how well a learner knows its parameters; what `Learner.confidence` returns.

    Attributes:
        verdict: what the filter's innovations say; None if the optimizer is no filter, or its loss, or a longer window,
            has no normalised residuals. Then nothing was checked.
        unlearned: by leaf, where the standard deviation is still the prior's: nothing was learned.
        at_bound: by leaf, where a bounded parameter is at its bound, and a Gaussian deviation would mean nothing.
        factor: by leaf, what the filter's deviations are multiplied by, at least 1; NaN where they are withheld, as no
            factor mends them, or as the claims do not hold and they are the prior's, or were learned against it.
        groups: parameters that the data do not tell apart.
        swaps: pairs of parameters that explained the first samples as well with the value of one another.
        left_out: what is strange about the samples, a line for each output or input; strange targets are left out.
        begins: name of the option that says what noise an adaptive filter begins with, or nothing.
        astray: the largest factor of a deviation for what the first samples say that the model lacks.
    """

    verdict: Verdict | None
    unlearned: Mapping[str, np.ndarray] = field(default_factory=dict)
    at_bound: Mapping[str, np.ndarray] = field(default_factory=dict)
    factor: Mapping[str, np.ndarray] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    swaps: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()
    begins: str = ""
    astray: float = 1.0

    def __repr__(self) -> str:
        watched = "not watched" if self.verdict is None else "claims hold" if self.holds else "claims do not hold"
        return f"Confidence: {watched}, deviations times {self.overall:.3g} at most"

    def _repr_html_(self) -> str:
        return display.page(repr(self), display.paragraph(str(self)))

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts the filter's claims, as far as that was checked."""
        return self.verdict is None or not self.verdict.findings

    @property
    def overall(self) -> float:
        """The largest of all factors, for deviations of predictions; NaN if they are withheld."""
        if self.verdict is None:
            return 1.0
        parts = [1.0] if self.verdict.by_parameter is None else self.verdict.by_parameter
        return float(np.maximum(np.sqrt(np.maximum(np.max(parts), self.verdict.inflation)), self.astray))

    def contradiction(self) -> str:
        """What a warning says of it; nothing if the claims hold."""
        if self.holds or self.verdict is None:
            return ""
        what = "withheld (NaN)" if np.isnan(self.overall) else f"multiplied by up to {self.overall:.3g}"
        what = "those of the model with this noise" if self.overall == 1.0 else what
        held = _entries(self.at_bound)
        bound = f"a bound that keeps out what the data want ({_listed(held)} at its bound), " if held else ""
        return (
            f"the filter's claims do not hold: {'; '.join(self.verdict.findings)}.\n"
            f"Parameters may be far off. Standard deviations are {what}.\n"
            f"Usual causes: {bound}a state that runs free of the data (JointFilter, or injection),\n"
            "more noise than claimed (SquaredError(scale=…)), integration steps that are too long (method, substeps),\n"
            "a prior that lets the first steps go too far, or something the model lacks."
        )

    def bounds(self) -> str:
        """What a warning says of parameters at their bounds; nothing if there are none."""
        names = _entries(self.at_bound)
        if not names:
            return ""
        return (
            f"at its bound: {_listed(names)}. The data, or the first steps, drive it out; it has no deviation.\n"
            "Try other bounds, a smaller rate or a larger prior, or start elsewhere."
        )

    def untold(self) -> str:
        """What a warning says of parameters that the data say nothing of; nothing if there are none."""
        names = [k for k in _entries(self.unlearned) if k not in _entries(self.at_bound)]
        if not names:
            return ""
        return (
            f"not learned so far, the deviation is still the prior's: {_listed(names)}.\n"
            "The data say nothing of it, or its prior is far too narrow: widen that, fix it (fg.fixed), or excite or\n"
            "observe what it acts on."
        )

    def together(self) -> str:
        """What a warning says of parameters that are known together only; nothing if there are none."""
        lines = []
        if self.groups:
            lines.append(
                "; ".join(map(str, self.groups)) + ".\nFix one of them (fg.fixed), write the model with what can be "
                "learned, or measure something else too."
            )
        if self.swaps:
            pairs = "; ".join(f"{a} and {b}" for a, b in self.swaps[:SHOWN])
            lines.append(
                f"may be exchanged, the data fit as well: {pairs}. What was found is the solution nearer to the\n"
                "start; bounds, or a start in the right order, say which is meant."
            )
        return "\n".join(lines)

    def strange(self) -> str:
        """What a warning says of the samples; nothing if they are like others."""
        if not self.left_out:
            return ""
        shown = "\n".join(self.left_out[:SHOWN]) + ("\n…" if len(self.left_out) > SHOWN else "")
        return (
            f"samples hold numbers that are hardly measurements:\n{shown}.\n"
            "Write what is missing as NaN (targets), fill it in (inputs); mend what is wrong."
        )

    def __str__(self) -> str:
        lines = []
        if self.verdict is None:
            lines.append("Not watched: no filter, or a loss without normalised residuals.")
        elif self.holds:
            lines.append(
                f"Residuals bear out the claims: mean square {np.max(self.verdict.level):.3g} of the expected."
            )
        else:
            lines.append(self.contradiction())
        if self.verdict is not None and self.verdict.too_large.any():
            lines.append(self.too_large())
        if _entries(self.unlearned):
            lines.append(f"Not learned, the deviation is the prior's: {_listed(_entries(self.unlearned))}.")
        lines += [line for line in (self.bounds(), self.together(), self.strange()) if line]
        return "\n".join(lines)

    def too_large(self) -> str:
        """What a warning says of noise that is far smaller than was claimed; nothing if there is none."""
        if self.verdict is None or not self.verdict.too_large.any():
            return ""
        least = float(np.min(self.verdict.level))
        if self.begins:
            return (
                f"the noise that is being learned is still too large: squared residuals are {least:.3g} of it.\n"
                f"Standard deviations are too large, and learning is too slow. Give an {self.begins} of about "
                f"{least:.1g} times what it is."
            )
        return (
            f"the claimed noise is too large: squared residuals are {least:.3g} of what the filter expects.\n"
            f"Standard deviations are too large, and learning is too slow. Scale the noise by about {least**0.5:.1g}."
        )


def confidence_of(
    system: Any, informed: Any, params: Mapping[str, Any], state: Any, fitted: Fitted | None = None
) -> Confidence:
    """What is known of learned parameters.

    Args:
        system: the declared system.
        informed: the bound optimizer, or None.
        params: the coordinates that are learned, and those that are not.
        state: the optimizer's.
        fitted: what the last fit of the first samples knew. Parameters that it did not tell apart are known no better
            than then: an extended filter, linearised anew at every sample, becomes sure of what none of them says.
    """

    def bounds(times: float) -> dict[str, np.ndarray]:
        return {
            k: system.coordinate[k].at_bound(np.asarray(params[k]), np.asarray(system.coordinates[k]), times)
            for k in system.trainable
            if system.coordinate[k].bounded
        }

    at_bound = bounds(1.0)
    if not hasattr(informed, "unlearned"):
        return Confidence(None, at_bound=at_bound)
    variances, prior = informed.variances(state), informed.unlearned(state)
    unlearned = {k: np.asarray(v >= UNLEARNED * prior[k]) for k, v in variances.items()}
    factor = {k: np.ones(np.shape(v)) for k, v in variances.items()}
    held = {k: where & unlearned[k] for k, where in bounds(NEAR).items() if k in unlearned}
    at_bound = {k: where | held.get(k, False) for k, where in at_bound.items()}
    covariance = _covariance(informed, state, prior)
    groups = () if covariance is None else _groups(system, params, prior, covariance, at_bound)
    known: dict[str, Any] = {"begins": getattr(informed, "begins_noise", "")}
    if fitted is not None and covariance is not None:
        then = tuple(
            g for g in _groups(system, _leaves(fitted.point, variances), prior, fitted.covariance, at_bound) if g.flat
        )
        groups = (*then, *(g for g in groups if not any(set(g.names) & set(t.names) for t in then)))
        names = [name for k, v in variances.items() for name in _places(k, np.shape(v))]
        mute = {n for k, v in unlearned.items() for n in np.array(_places(k, np.shape(v)))[np.ravel(v)]}
        known["swaps"] = tuple(
            (names[i], names[j])
            for i, j in fitted.swaps
            if not mute & {names[i], names[j]} and not any({names[i], names[j]} <= set(g.names) for g in groups)
        )
        vague = np.isin(names, [name for group in then for name in group.names])
        least = _leaves(np.where(vague, np.diag(fitted.covariance), 0.0), variances)
        factor = {k: np.sqrt(np.maximum(1.0, least[k] / variances[k])) for k in factor}
    biased = {} if fitted is None or fitted.bias is None else _leaves(fitted.bias, variances)
    astray = {k: np.sqrt(1.0 + v**2 / variances[k]) for k, v in biased.items()}
    known["groups"] = groups
    if state.watch is None:
        return Confidence(None, unlearned, at_bound, factor, **known)
    verdict, place = judged(state.watch, informed.quadratic), 0
    if getattr(informed, "learns_noise", False):  # nobody claimed it, and it is still going down
        verdict = replace(verdict, too_large=np.zeros_like(verdict.too_large))
    if hasattr(informed, "doubts"):
        verdict = replace(verdict, findings=(*verdict.findings, *informed.doubts(state)))
    for k, least_ in factor.items():
        own = np.ones(least_.shape)
        if verdict.by_parameter is not None:
            own = verdict.by_parameter[place : place + own.size].reshape(own.shape)
        factor[k] = np.maximum(least_, np.sqrt(np.maximum(own, verdict.inflation)))
        place += own.size
    factor = {k: np.maximum(v, astray.get(k, 1.0)) for k, v in factor.items()}
    if fitted is not None and fitted.lacks:
        verdict = replace(verdict, findings=(*verdict.findings, fitted.lacks))
        known["astray"] = max(float(np.max(v)) for v in astray.values())
    if verdict.findings:
        at_bound = {k: at_bound[k] | where for k, where in bounds(NEAR).items()}
        # with residuals that contradict the claims, what is only the prior's, or learned against it, is worth nothing
        against = {
            k: _away(system, params, k) > AWAY * np.sqrt(prior[k]) for k in factor if fitted is None or not fitted.anew
        }
        factor = {k: np.where(unlearned[k] | against.get(k, False), np.nan, v) for k, v in factor.items()}
    return Confidence(verdict, unlearned, at_bound, factor, **known)


def _away(system: Any, params: Mapping[str, Any], leaf: str) -> np.ndarray:
    """How far the coordinates of a leaf are from the declared ones."""
    return np.abs(np.asarray(params[leaf], float) - np.asarray(system.coordinates[leaf], float))


def _covariance(informed: Any, state: Any, prior: Mapping[str, Any]) -> np.ndarray | None:
    """That of the coordinates of θ, shape (p, p); None if it is not kept, or too large to be looked through."""
    if not hasattr(informed, "covariance") or sum(np.size(v) for v in prior.values()) > SMALL:
        return None
    return informed.covariance(state)


def _leaves(flat: np.ndarray, like: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Numbers of all parameters, shape (p,), by leaf."""
    made, place = {}, 0
    for k, v in like.items():
        made[k] = np.reshape(flat[place : place + np.size(v)], np.shape(v))
        place += np.size(v)
    return made


def _groups(
    system: Any,
    params: Mapping[str, Any],
    prior: Mapping[str, Any],
    covariance: np.ndarray,
    at_bound: Mapping[str, np.ndarray],
) -> tuple[Group, ...]:
    """Parameters that are known together only, by the covariance of θ to first order; those at a bound aside."""

    def flat(leaves: Mapping[str, Any]) -> np.ndarray:
        return np.concatenate([np.broadcast_to(leaves.get(k, False), np.shape(v)).ravel() for k, v in prior.items()])

    coordinates = {k: np.asarray(params[k], float) for k in prior}
    slope = flat({k: system.coordinate[k].slope(u) for k, u in coordinates.items()})
    values = flat({k: system.coordinate[k].natural(u) for k, u in coordinates.items()})
    names, free = [name for k, v in prior.items() for name in _places(k, np.shape(v))], ~flat(at_bound)
    return groups_of(
        [name for name, wanted in zip(names, free, strict=True) if wanted],
        values[free],
        (covariance * slope * slope[:, None])[np.ix_(free, free)],
        (slope * np.sqrt(flat(prior)))[free],
    )


def _places(leaf: str, shape: tuple[int, ...]) -> list[str]:
    """A name for each entry of a leaf."""
    return [leaf if not shape else f"{leaf}[{', '.join(map(str, place))}]" for place in np.ndindex(shape)]


def _entries(where: Mapping[str, Any]) -> list[str]:
    """Names of the entries at which something is the case; the leaf's name if it is for all of them."""
    made = []
    for k, mask in where.items():
        if np.all(mask):
            made.append(k)
        elif np.any(mask):
            made += [name for name, true in zip(_places(k, np.shape(mask)), np.ravel(mask), strict=True) if true]
    return made


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
