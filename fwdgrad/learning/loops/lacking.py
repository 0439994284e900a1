"""What a model lacks: terms beside those of F and Y that residuals ask for, and how far these would move parameters.

Residuals of a wrong structure may be white and of the right size: of a sensor that saturates, a friction that was left
out. They depend on the state all the same. So the model is nested in a larger one,

    F + Σ_k ε_k φ_k(h, x),      ŷ + Σ_k η_k ψ_k(ŷ, x),

with low powers of what is in it, each standardised, and it is asked at ε = η = 0, where only scores are needed, whether
any one of these would explain something: Rao's test (Engle, Handbook of Econometrics II, 1984, §13), of which Ramsey's
RESET is the case of ψ. What ε does goes through the dynamics, as what θ does. The same scores tell whether θ is one: by
the samples up to some place, and by those behind it (Andrews, Econometrica 61, 1993).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
from scipy.special import chdtri, ndtri

from fwdgrad.engines.registry import NUMPY, REGISTERED
from fwdgrad.errors import FwdgradError
from fwdgrad.estimators import RTRL
from fwdgrad.learning.confidence import Fitted, not_white
from fwdgrad.learning.counted import counted
from fwdgrad.learning.execution import Execution, execution_for
from fwdgrad.learning.loops.base import Loop
from fwdgrad.learning.loops.deviations import longest_memory, normalised, quiet
from fwdgrad.learning.loops.gauss_newton import GaussNewton
from fwdgrad.learning.loops.record import Record
from fwdgrad.learning.report import output_names
from fwdgrad.learning.tails import far_off
from fwdgrad.losses import SquaredError
from fwdgrad.optimizers import NormalEquations
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.system import System
from fwdgrad.system.parameters import Parameter

__all__ = ["Lack", "Lacking", "at", "lacking", "numbered", "ran_through"]

CHANCE = 0.01
"""Probability with which a right model is accused, at most, whatever the number of terms."""
UNSTEADY = 0.003
"""That with which parameters that stay are said to change."""
PARTS = np.linspace(0.1, 0.9, 17)
"""Parts of what is known that lie before the places at which they may change."""
MOVED = 1.0
"""Claimed deviations by which a term has to move some parameter for it to matter."""
OWN = 1e-4
"""Part of a term that no parameter explains, at least: else it is in the model already."""
SUSPECTED = 10
"""Times as probable by chance is what nothing is said of, though deviations count it."""
MOST_EXPONENT = 300.0
"""Of e: odds stay finite."""
MOST = 40
"""Terms, at most; if there are more, those of the highest degree are left out."""
DEGREE = 3
"""Of the terms."""
FEWEST = 10
"""Targets for each parameter, at least."""
STATE, OUTPUT, DIRECT = "terms of F", "powers of Y", "terms of Y"
"""Names of the parameters that they are: none that could be another one's in a formula."""
POINTS = 8
"""Samples at which it is looked which equations are learned."""
FEW = 4
"""Terms that are taken into the model together, at most, to see what they leave of the memory of residuals."""
SMALL = 1e-3
"""Part of a change that is made to see what it does."""
LONG = 4096
"""Samples from which on the larger model is worth compiling."""
FLAT = 1e-6
"""A deviation, as a part of the size, from which something moves at all."""


class Lack(NamedTuple):
    """A term that residuals ask for."""

    term: str
    """In words, such as "v³ in the equation of v"."""
    moved: np.ndarray
    """By how many claimed deviations each coordinate of θ would move with it, shape (p,)."""
    sure: float
    """Its estimate, in deviations of that."""

    def __str__(self) -> str:
        far = f"by {np.max(np.abs(self.moved)):.2g} deviations"
        return f"the model lacks something: {self.term} would explain the data better, and move parameters {far}"


class Unsteady(NamedTuple):
    """Parameters that are others in some of the samples; attributes as of `Lack`."""

    place: int
    """The first sample of the later ones."""
    moved: np.ndarray
    """From those before to these."""
    sure: float
    statistic: float
    """χ² of as many degrees of freedom as there are parameters, if these stay."""

    def told(self, chance: float = UNSTEADY) -> bool:
        """Whether they change, and for the worse."""
        most = chdtri(len(self.moved), chance / len(PARTS))
        return bool(self.statistic > most and np.max(np.abs(self.moved)) > MOVED)

    def __str__(self) -> str:
        far = f"by {np.max(np.abs(self.moved)):.2g} deviations"
        return f"the model lacks something: parameters change, from samples before {self.place} to later ones, {far}"


class Lacking(NamedTuple):
    """What the residuals of a simulation say of the model."""

    told: list[Lack | Unsteady]
    """What they ask for, the surest first."""
    memory: float
    """How many samples they remember."""
    perhaps: np.ndarray
    """How many claimed deviations each coordinate of θ may be off for what is not beyond chance, shape (p,)."""
    tails: str
    """What is said of a few residuals that weigh much; nothing if there are none."""
    counts: str = ""
    """What is said of targets that are counts, or yes and no, in a model with Gaussian noise; likewise."""

    def doubted(self, fitted: Fitted, covariance: np.ndarray) -> Fitted:
        """A fit with what is lacking, and how far parameters are off for it.

        Args:
            fitted: the fit.
            covariance: of the coordinates, (p, p), whose deviations `perhaps` and `told` are in.
        """
        far = np.max([self.perhaps, *(np.abs(one.moved) for one in self.told)], axis=0)
        memory = self.memory
        if memory <= 1.0 and not far.any():
            return fitted._replace(bias=None, lacks="")
        said = str(self.told[0]) if self.told else not_white(" of a simulation", memory) if memory > 1.0 else ""
        bias = np.hypot(far, (memory - 1.0) ** 0.5) * np.sqrt(np.diag(covariance))
        return fitted._replace(bias=bias, lacks=said)


def lacking(
    system: System,
    record: Record,
    point: np.ndarray,
    noise: np.ndarray,
    covariance: np.ndarray,
    engine: str,
    loop_for: Callable[[Execution], Loop],
) -> Lacking:
    """Terms that the residuals of a simulation ask for, whether parameters change, and how long residuals remember.

    A term counts if its score is beyond chance, with the larger of its variances by the model and by the samples
    (White, Econometrica 48, 1980), as many times as residuals remember, and if with it some parameter would move by
    more than its deviation.

    Args:
        system: the declared system.
        record: the samples.
        point: coordinates of θ, shape (p,), a minimum, but for what a prior and the end of a search leave.
        noise: variances of the residuals, shape (m,).
        covariance: of the coordinates, shape (p, p), as if residuals were white.
        engine: that the simulation was made on; compiling anew pays for long records only.
        loop_for: makes a loop for an execution without random numbers.

    Cost: a pass with exact influence of all terms, and one of the model as plain NumPy calls.
    """
    nothing = Lacking([], 1.0, np.zeros(len(point)), "")
    if record.seen < FEWEST * (len(point) + 1) or system.algebraic is not None:
        return nothing
    if hasattr(system.loss, "weight") and np.any(quiet(record.targets(len(noise)), noise)):
        return nothing
    try:
        if system.past is not None:  # no terms of what is delayed, and of none else
            outputs = ran_through(at(system, point), record)[1]
            return nothing._replace(memory=_memory(system, record, outputs, noise))
        larger, names = _larger(system, record, point)
        if len(record) < LONG and engine in REGISTERED and REGISTERED[engine].compiles:
            engine = NUMPY.name
        execution = execution_for(larger, RTRL(), NormalEquations(), engine)
        newton = GaussNewton(loop_for(execution), noise)
        held = np.concatenate([point, np.zeros(len(names))])
        outputs, scores, matrix = newton.sample_by_sample(record, held, noise)
    except FwdgradError:
        return nothing
    asked = _asked(scores, matrix, covariance)
    memory = remembering = _memory(system, record, outputs, noise)
    if memory > 1.0 and len(best := asked.told(1.0)):  # of what the best of them leave, to first order
        try:
            near = ran_through(at(larger, held + SMALL * asked.change(best[:FEW])), record)[1]
        except FwdgradError:
            return nothing._replace(memory=remembering)
        memory = _memory(system, record, outputs + (near - outputs) / SMALL, noise)
    told: list[Lack | Unsteady]
    told = [Lack(names[k], asked.moved[:, k], float(asked.sure[k] / memory**0.5)) for k in asked.told(memory)]
    changes = _changes(scores[:, : len(point)], covariance, memory)
    most = max(changes, key=lambda change: change.statistic, default=None)
    if most is not None and most.told():
        told = sorted([*told, most], key=lambda lack: -abs(lack.sure))
    targets = record.targets(len(noise))
    tails = far_off(targets - outputs) if type(system.loss) is SquaredError else ""
    counts = "; ".join(counted(system.loss, output_names(system), targets, outputs))
    return Lacking(told, remembering, _perhaps(asked, changes, memory, record.seen), tails, counts)


class _Asked(NamedTuple):
    """What scores say of q terms beside p parameters."""

    sure: np.ndarray
    """Their sums over deviations, for white residuals, (q,); 0 for terms that are in the model already."""
    moved: np.ndarray
    """Claimed deviations that each parameter would move, (p, q)."""
    total: np.ndarray
    """Sums of the scores of the terms, without what the parameters explain of them, (q,),"""
    information: np.ndarray
    """what these are of one, (q, q),"""
    taken: np.ndarray
    """and by how much parameters change for a change of a term, (p, q)."""

    def told(self, memory: float, chance: float = CHANCE) -> np.ndarray:
        """The terms that matter, if scores have so many times the variance, the surest first."""
        enough = -float(ndtri(chance / 2 / max(int(np.count_nonzero(self.sure)), 1))) * memory**0.5
        made = np.flatnonzero((np.abs(self.sure) > enough) & (np.max(np.abs(self.moved), axis=0) > MOVED))
        return made[np.argsort(-np.abs(self.sure[made]))]

    def change(self, chosen: np.ndarray) -> np.ndarray:
        """By how much all coordinates change if some terms are taken into the model together, (p + q,)."""
        steps = np.zeros(len(self.total))
        scale = 1.0 / np.sqrt(np.diag(self.information)[chosen])
        matrix = self.information[np.ix_(chosen, chosen)] * scale * scale[:, None]
        steps[chosen] = scale * (np.linalg.pinv(matrix, OWN, hermitian=True) @ (scale * self.total[chosen]))
        return np.concatenate([-self.taken @ steps, steps])


def _asked(scores: np.ndarray, matrix: np.ndarray, covariance: np.ndarray) -> _Asked:
    """From scores, (T, p + q), and information, (p + q, p + q), with those of θ first, and the covariance of θ."""
    p = len(covariance)
    cross, own = matrix[:p, p:], np.diag(matrix)[p:]
    taken = covariance @ cross
    left = own - np.sum(cross * taken, axis=0)
    rest = scores[:, p:] - scores[:, :p] @ taken
    free = (left > OWN * own) & (own > 0)
    left = np.where(free, left, 1.0)
    total = np.where(free, np.sum(rest, axis=0), 0.0)  # what the prior holds back of θ is no lack of the model
    sure = total / np.sqrt(np.maximum(left, np.sum(rest**2, axis=0)))
    moved = -taken * (total / left) / np.sqrt(np.diag(covariance))[:, None]
    return _Asked(sure, moved, total, matrix[p:, p:] - cross.T @ taken, taken)


def _changes(scores: np.ndarray, covariance: np.ndarray, memory: float) -> list[Unsteady]:
    """How far θ is another one in later samples than in earlier ones, for several places between them.

    With P = L Lᵀ the covariance, and independent scores s_t that sum up to 0, S = Σ Lᵀ s_t over the earlier ones has
    the variance V = M₁ M⁻¹ M₂, M₁ and M₂ the sums of Lᵀ s sᵀ L up to the place and from there on, M = M₁ + M₂; and θ by
    the earlier ones is L V⁻¹ S away from θ by the later ones. V is taken for at least what it is if all directions are
    told of alike.

    Args:
        scores: of θ, shape (T, p).
        covariance: shape (p, p).
        memory: as in `_Asked.told`.
    """
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return []
    white, made, count = scores @ root, [], len(covariance)
    known = np.cumsum(np.sum(white**2, axis=1))
    whole, size = white.T @ white, max(float(known[-1]) / count, 1.0)
    for part in PARTS:
        place = int(np.searchsorted(known, part * known[-1])) + 1
        first = white[:place].T @ white[:place]
        early = np.sum(white[:place], axis=0) - part * np.sum(white, axis=0)  # what the prior holds back is no change
        values, vectors = np.linalg.eigh(first - first @ np.linalg.pinv(whole, hermitian=True) @ first)
        along = early @ vectors
        values = np.maximum(values, part * (1.0 - part) * size)
        statistic = float(np.sum(along**2 / values)) / memory
        moved = size * (root @ (vectors @ (along / values))) / np.sqrt(np.diag(covariance))
        made.append(Unsteady(place, -moved, (statistic / count) ** 0.5, statistic))
    return made


def _perhaps(asked: _Asked, changes: list[Unsteady], memory: float, size: int) -> np.ndarray:
    """How many claimed deviations each parameter may be off, (p,), for what is not beyond chance.

    The root of the mean square over models with one of the terms, with a change, and with neither: as likely as each
    other before there are data. By Schwarz' approximation (Annals of Statistics 6, 1978) data make k more parameters
    exp(χ²/2) N^(−k/2) times as likely. A term moves θ by what it does at its estimate, give or take its deviation.

    Args:
        asked: what scores say of terms.
        changes: and of parameters, for some places.
        memory: as in `_Asked.told`.
        size: N, the number of targets.
    """
    if not len(asked.told(memory, SUSPECTED * CHANCE)) and not any(c.told(SUSPECTED * UNSTEADY) for c in changes):
        return np.zeros(len(asked.moved))
    z, count = asked.sure / memory**0.5, max(int(np.count_nonzero(asked.sure)), 1)
    odds = np.where(z != 0.0, np.exp(np.minimum(0.5 * z**2, MOST_EXPONENT)), 0.0) / (size / memory) ** 0.5 / count
    square = asked.moved**2 * (1.0 + 1.0 / np.where(z != 0.0, z, 1.0) ** 2)
    for change in changes:
        likelier = np.exp(min(0.5 * change.statistic, MOST_EXPONENT)) / (size / memory) ** (0.5 * len(square))
        odds = np.append(odds, likelier / len(changes))
        square = np.concatenate([square, change.moved[:, None] ** 2], axis=1)
    some = float(np.sum(odds))
    return np.sqrt(square @ (odds / (1.0 + some)))


def _memory(system: System, record: Record, outputs: np.ndarray, noise: np.ndarray) -> float:
    """Samples that residuals remember, of the output that does most."""
    starts = [start.place for start in record.starts]
    residuals = normalised(system.loss, record.targets(len(noise)), outputs, noise)
    return longest_memory(residuals, starts)


# ---- the larger model


class _Terms:
    """Products of up to so many of some numbers, each standardised: φ_k = Π_j v_j^a_j, v = (u − mean)/deviation.

    Args:
        values: what the numbers have been, shape (T, d).
        names: of each.
        degree: of the products.
    """

    def __init__(self, values: np.ndarray, names: list[str], degree: int) -> None:
        spread = np.std(values, axis=0)
        self._moves = np.flatnonzero(spread > FLAT * np.max(np.abs(values), axis=0, initial=0.0))
        self._mean, self._spread = values.mean(axis=0)[self._moves], spread[self._moves]
        self._factors = products(len(self._moves), degree)
        moving = ["", *(names[k] for k in self._moves)]
        self.names = [_product([moving[j] for j in row if j]) for row in self._factors]

    def of(self, numbers: Any) -> Any:
        """φ of numbers, shape (d,): shape (terms,)."""
        standard = (numbers[self._moves] - self._mean) / self._spread
        padded = np.concatenate([np.ones(1, self._mean.dtype), standard])
        made = padded[self._factors[:, 0]]
        for column in self._factors.T[1:]:
            made = made * padded[column]
        return made


def products(count: int, degree: int) -> np.ndarray:
    """All products of up to so many of so many numbers: places of the factors, 0 for none, shape (products, degree).

    Example:
        >>> products(2, 2).tolist()
        [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]]
    """
    return np.array(list(combinations_with_replacement(range(count + 1), degree)), int).reshape(-1, degree)


def _product(names: list[str]) -> str:
    """Such as "v² x"; "a constant" of none."""
    powers = {name: names.count(name) for name in names}
    return " ".join(name + ("", "²", "³")[k - 1] for name, k in powers.items()) or "a constant"


def _larger(system: System, record: Record, point: np.ndarray) -> tuple[System, list[str]]:
    """The model with all terms, at the parameters that were found, and the names of the terms."""
    system = at(system, point)
    states, outputs = ran_through(system, record)
    places, names = _inputs(system)
    both = np.concatenate([states, *(record.chunk.x[k].reshape(len(record), -1) for k in places)], axis=1)
    names, shown = [*numbered(system.state, "h"), *names], output_names(system)
    n, m = states.shape[1], outputs.shape[1]
    direct, degree, learned = _Terms(both, names, 1), DEGREE, _learned_of(system, record, states)
    while degree > 1 and len(learned) * len(products(len(direct.names) - 1, degree)) > MOST:
        degree -= 1
    beside = _Terms(both, names, degree)
    scale, width = (np.where(np.std(a, axis=0) > 0, np.std(a, axis=0), 1.0) for a in (states, outputs))
    middle, own, placed = outputs.mean(axis=0), tuple(system.params), np.eye(n, dtype=system.dtype)[:, learned]

    def numbers(state: Any, x: Any) -> Any:
        given = flatten(x)
        return np.concatenate([system.pack(state), *(np.reshape(given[k], (-1,)) for k in places)])

    def F(state: Any, x: Any, theta: Any) -> Any:
        rate = system.pack(system.F(state, x, {k: theta[k] for k in own}))
        return system.unpack(rate + scale * np.dot(placed, np.dot(theta[STATE], beside.of(numbers(state, x)))))

    def Y(state: Any, x: Any, theta: Any) -> Any:
        made = system.observed(system.pack(state), x, {k: theta[k] for k in own})
        v = (np.reshape(made, (m,)) - middle) / width
        bent = theta[OUTPUT][:, 0] * v * v + theta[OUTPUT][:, 1] * v * v * v
        more = width * (bent + np.dot(theta[DIRECT], direct.of(numbers(state, x))))
        return made + np.reshape(more, np.shape(made))

    added = {
        STATE: (
            [f"{term} in the equation of {names[k]}" for k in learned for term in beside.names],
            (len(learned), len(beside.names)),
        ),
        OUTPUT: ([f"{k}{power} in the output" for k in shown for power in "²³"], (m, 2)),
        DIRECT: ([f"{term} in {k}" for k in shown for term in direct.names], (m, len(direct.names))),
    }
    params = system.declared | {k: Parameter(np.zeros(shape, system.dtype)) for k, (_, shape) in added.items()}
    return system.replace(F=F, Y=Y, params=params), [name for told, _ in added.values() for name in told]


def at(system: System, point: np.ndarray) -> System:
    """The same declaration at other coordinates, shape (p,)."""
    return system.starting_at(system.params_at(point))


def ran_through(system: System, record: Record) -> tuple[np.ndarray, np.ndarray]:
    """States and predictions of all samples, (T, n) and (T, m)."""
    made = []
    for start, chunk in record.trajectories():
        xs = None if system.x is None else unflatten(system.x, chunk.x)
        count, state = len(chunk.observed), system.unpack(start.state) if start.given else None
        ran = system.simulate(xs, steps=None if xs is not None else count, state=state)
        made.append([np.concatenate([a.reshape(count, -1) for a in flatten(part)], axis=1) for part in ran])
    states, outputs = zip(*made, strict=True)
    return np.concatenate(states), np.concatenate(outputs)


def _learned_of(system: System, record: Record, states: np.ndarray) -> np.ndarray:
    """Which equations have a parameter that is learned in them: others, such as d x/dt = v, say what a name means."""
    moved = {k: v + 1e-3 * (np.abs(v) + 1e-3) if k in system.trainable else v for k, v in system.coordinates.items()}
    thetas = [system.natural(u) for u in (system.coordinates, moved)]
    made = np.zeros(system.size, bool)
    for t in np.linspace(0, len(states) - 1, POINTS).astype(int):
        x = None if system.x is None else unflatten(system.x, [a[t] for a in record.chunk.x])
        h = system.unpack(states[t].astype(system.dtype))
        with np.errstate(all="ignore"):
            made |= np.not_equal(*(np.asarray(system.pack(system.F(h, x, theta))) for theta in thetas))
    return np.flatnonzero(made)


def _inputs(system: System) -> tuple[list[int], list[str]]:
    """Places of the inputs that are real numbers, but for the time between samples, and a name for each number."""
    leaves = flatten(system.x)
    keys = list(system.x) if isinstance(system.x, dict) else ["x"] * len(leaves)
    places = [k for k, a in enumerate(leaves) if np.issubdtype(a.dtype, np.floating) and keys[k] != system.dt]
    return places, [name for k in places for name in numbered(leaves[k], keys[k])]


def numbered(tree: Any, name: str) -> list[str]:
    """A name for each number of an array, or a dict of arrays."""
    made = []
    for key, array in tree.items() if isinstance(tree, dict) else [(name, tree)]:
        made += [key + (str(list(place)) if np.ndim(array) else "") for place in np.ndindex(np.shape(array))]
    return made
