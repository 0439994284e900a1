"""The information filter: a natural gradient whose matrix is the precision of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import UnknownNameError, did_you_mean, nearly
from fwdgrad.optimizers.base import (
    Arrays,
    cast,
    check_grads,
    check_params,
    declaration_error,
    describe,
    is_number,
    positive,
)
from fwdgrad.optimizers.information.blocks import Block, Full
from fwdgrad.optimizers.information.diagonal import Diagonal
from fwdgrad.optimizers.information.fisher import checked_fisher, fisher_of, normalized_of, observed
from fwdgrad.optimizers.information.low_rank import LowRank
from fwdgrad.optimizers.information.matrix import Discount, Form, FormMetric, Matrix, check_held, variances_of
from fwdgrad.optimizers.information.quasi_diagonal import QuasiDiagonal
from fwdgrad.optimizers.information.watch import Watch
from fwdgrad.optimizers.informed import Evidence, Setting
from fwdgrad.support.arguments import suggests

__all__ = ["RELATIVE", "BoundInformationFilter", "InformationFilter", "InformationState", "prior_of"]

MATRICES: dict[str, type] = {
    "full": Full,
    "diagonal": Diagonal,
    "block": Block,
    "quasi-diagonal": QuasiDiagonal,
    "low-rank": LowRank,
}

RELATIVE = "relative"
"""A prior in units of the parameters as declared."""

ROUNDING = 1e-12
"""What γ may be above 1, and is 1 then."""

LEAST = 1e-12
"""What is left of the prior, at least, when inflation makes it ever smaller."""


class InformationState(NamedTuple):
    """State of an `InformationFilter`.

    Attributes:
        t: number of updates made, a float64 scalar.
        weight: what inflation has left of the prior, a float64 scalar.
        matrix: S = weight·Λ + J, in the form of the matrix.
        watch: what its innovations say of it, a `Watched`; None if the loss has no normalised residuals.
    """

    t: Any
    weight: Any
    matrix: Any
    watch: Any = None


@suggests
@dataclass(frozen=True)
class InformationFilter:
    """Kalman filter on the parameters in its information form, with a reduced matrix; natural gradient.

        J ← (1 − γ_t) J + reduce(M),      θ ← θ − (J + Λ)⁻¹ gᵀ

    with M = gᵀg ("outer"), or M = Ĵᵀ I Ĵ, Ĵ = ∂ŷ/∂θ and I the Fisher matrix of the prediction ("exact": 1/σ² for
    `SquaredError`, diag(p) − p pᵀ for `CrossEntropy`). There is no other learning rate: step sizes follow from the
    size of J, like 1/t for γ = 0. Source: Ollivier, Tallec and Charpiat 2015, eqs. 20–21 and Algorithm 2 (with the
    positive Hessian; the minus sign there is a misprint).

    With any estimator of gradients; "NoBackTrack() with InformationFilter('quasi-diagonal')" is Kalman NoBackTrack,
    whose reductions then measure rows in the norm of (J + Λ)⁻¹. With the full joint matrix, γ = 0, a Gaussian loss,
    exact influence and predictions that are linear in θ, this is recursive least squares, exactly.

    With an influence that is not random, and windows of one step, the state follows the parameters: h ← h + G Δθ, which
    makes this the extended Kalman filter of (h, θ). What it claims is watched: see `Learner.confidence`.

    **With a random influence**, g is unbiased but M is quadratic in it: E M = M(E g) + cov(g), so J is too large, steps
    are too short, and reported standard deviations too small for what is known (they are too small already if the
    model's noise is not that of the data). With exact influence this does not arise.

    Args:
        matrix: "full", "block" or "quasi-diagonal" by unit, "diagonal", "low-rank", or one of the classes of these
            names in `fwdgrad.optimizers`, with their options. Transition and readout are separate blocks.
        fisher: "outer", "exact", or your own function of the prediction that returns a positive definite matrix. The
            last two need one pull at the influence per output, and windows of one step.
        decay: γ, a number in [0, 1) or a schedule t ↦ γ_t in [0, 1], such as `schedules.inverse_power(1.0)`, 1/√t. A
            schedule is tried at a few t; at others a step with a γ_t outside is refused (above 1 by 1e-12 it is 1).
        prior: Λ, the prior precision: a number > 0, or a dict or list with one for every leaf; or "relative", 1/s² with
            s the root mean square of the leaf as declared (1 if that is 0; 1 in the coordinate of a bounded parameter),
            so that a parameter may change by as much as it is, in any unit. With the full and the block matrix a step
            is refused if a row u of g or of √I Ĵ says too much at once: √(u (J + Λ)⁻¹ uᵀ) > 1e-2/eps, 4.5e13 in
            double precision and 8.4e4 in single, beyond which θ would be lost to rounding.
        inflation: α ≥ 0: before each sample the whole covariance (J + Λ)⁻¹ is multiplied by 1 + α. Decay forgets data
            only, inflation the prior as well (down to 1e-12 of it), so that steps grow where nothing is seen.
        longest: how far one sample moves a parameter at most, in units of its size as declared (of 1 in the coordinate
            of a bounded one): a longer step is shortened as a whole. None, the default, is what the equations say.

    Cost and memory: those of the matrix. "exact" adds a backward product per output.

    Raises:
        DeclarationError: a field is not as above; when a learner is made, the loss has no Fisher matrix, the user's is
            not symmetric and positive definite, units cannot be found, a window is too long for what is asked, a
            matrix has too many numbers, or a prior is 0 or infinite in the dtype of the parameters.
        UnknownNameError: a prior, a unit or a bias names a leaf that is not learned.
        NonFiniteError: at a step, γ_t is outside of [0, 1], or data and prior are too far apart, as above.

    Example:
        The mean of some numbers, by a "system" without dynamics: after t of them, precision 1 + t.

        >>> import numpy as np, fwdgrad as fg
        >>> def Y(h, x, theta):
        ...     return theta["mean"] + 0.0 * h
        >>> system = fg.System(lambda h, x, theta: h, Y, np.zeros(1), {"mean": np.zeros(1)})
        >>> learner = fg.Learner(system, fg.RTRL(), fg.InformationFilter("full", "exact"))
        >>> history = learner.run(None, np.array([[1.0], [2.0], [1.0]]))
        >>> learner.params["mean"], learner.parameter_std()["mean"]
        (array([1.]), array([0.5]))
    """

    matrix: Any = "diagonal"
    fisher: Any = "outer"
    decay: Any = 0.0
    prior: Any = "relative"
    inflation: float = 0.0
    longest: float | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        who = "InformationFilter"
        _matrix(self.matrix)
        checked_fisher(who, self.fisher)
        object.__setattr__(self, "decay", _checked_decay(self.decay))
        object.__setattr__(self, "prior", _checked_prior(who, self.prior))
        mend = "give 0, the default, or e.g. 1e-3"
        object.__setattr__(self, "inflation", positive(f"{who}(inflation)", self.inflation, mend, or_zero=True))
        if self.longest is not None:
            mend = "give 1.0, or None for no bound, the default"
            object.__setattr__(self, "longest", positive(f"{who}(longest)", self.longest, mend))

    def bind(self, setting: Setting) -> BoundInformationFilter:
        """The filter for a system."""
        return BoundInformationFilter(self, setting)

    def init(self, params: Arrays) -> InformationState:
        """Return the state before the first update, for parameters of which nothing else is known."""
        return self.bind(Setting.of(params)).init(params)

    def update(self, grads: Arrays, state: InformationState, params: Arrays) -> tuple[Arrays, InformationState]:
        """Return ``(updates, new state)``, likewise."""
        return self.bind(Setting.of(params)).update(grads, state, params)


class BoundInformationFilter:
    """An `InformationFilter` for certain leaves; see `fwdgrad.optimizers.informed.Informed`."""

    def __init__(self, declared: InformationFilter, setting: Setting) -> None:
        self.declared, self._setting = declared, setting
        self._fisher = fisher_of("InformationFilter", declared.fisher, setting)
        prior = self._prior = prior_of("InformationFilter", declared.prior, setting, -2)
        for value in prior.values():
            check_held("InformationFilter(prior)", value, setting.dtype)
        size = int(np.prod(np.shape(setting.prediction), dtype=int)) if self._fisher else 1
        self.form: Form = _matrix(declared.matrix).bind(setting, prior, size)
        self.noise = self.form.noise
        self.quadratic = self._fisher is None
        self._normalized = normalized_of(self._fisher, declared.fisher, setting)
        watched = setting.target if hasattr(setting.loss, "innovations") else setting.prediction
        self._watch = Watch(
            int(np.prod(np.shape(watched), dtype=int)),
            sum(int(np.prod(shape, dtype=int)) for shape in setting.shapes.values()),
        )
        self.forgets = declared.decay != 0 or declared.inflation > 0
        self.advice = ""
        if hasattr(setting.loss, "innovations"):
            self.moves = "noise of the filter that is far too small (begin with more of process, observation)"
        if callable(declared.fisher):
            self.advice += "\nOr the Fisher matrix is not positive definite at this prediction."
        if callable(declared.decay):
            self.advice += (
                "\nOr the schedule `decay` gives a number outside [0, 1] here; its t is 1 at the first update."
            )
        if isinstance(_matrix(declared.matrix), (Full, Block)):
            self.advice += (
                "\nOr the prior is too far from what this sample says: √(u (J + Λ)⁻¹ uᵀ) > 1e-2/eps. Then give a\n"
                "larger prior, or other units."
            )

    def init(self, params: Arrays) -> InformationState:
        """S = Λ."""
        check_params("InformationFilter", params)
        matrix = self.form.init()
        watched = None if self._normalized is None else self._watch.init(params, self.form.variances(matrix))
        return InformationState(np.zeros(()), np.ones(()), matrix, watched)

    def cotangents(self, prediction: Any, target: Any) -> Any:
        """Rows L with LᵀL = I, so that the derivatives of L ŷ make up M."""
        if self._fisher is None:
            return None
        rows = self._fisher(prediction, target).astype(prediction.dtype)
        seen = observed(prediction, target)  # components that were not observed tell nothing
        return rows if seen is None else rows * seen.astype(rows.dtype)

    def update(
        self, grads: Arrays, state: InformationState, params: Arrays, evidence: Evidence | None = None
    ) -> tuple[Arrays, InformationState]:
        """Return ``(updates, new state)``, each update with the shape and dtype of its parameter."""
        check_grads("InformationFilter", grads, params)
        g = {k: cast(grads[k], p.dtype) for k, p in params.items()}
        rows = evidence.rows if evidence is not None and evidence.rows is not None else None
        if rows is None:
            rows = {k: np.expand_dims(v, 0) for k, v in g.items()}
        t = state.t + 1.0
        discount, weight = self._discount(t, state.weight)
        matrix = self.form.update(state.matrix, discount, rows, evidence.noise if evidence is not None else ())
        updates = self._shortened({k: -q for k, q in self.form.solve(matrix, g).items()})
        watched = state.watch
        if watched is not None and evidence is not None and evidence.prediction is not None:
            values = {k: v + updates[k] for k, v in params.items()}
            watched = self._watched(state, matrix, rows, evidence, values, 1.0 if discount is None else discount[0])
        return updates, InformationState(t, weight, matrix, watched)

    def _shortened(self, updates: Arrays) -> Arrays:
        """A step no longer than it may be, in the same direction."""
        longest = self.declared.longest
        if longest is None:
            return updates
        scales = self._setting.scales
        largest: Any = longest
        for k, v in updates.items():
            largest = np.maximum(largest, np.max(np.abs(v)) / scales.get(k, 1.0))
        return {k: (v * (longest / largest)).astype(v.dtype) for k, v in updates.items()}

    def _watched(
        self, state: InformationState, matrix: Any, rows: Arrays, evidence: Evidence, values: Arrays, keep: Any
    ) -> Any:
        """What the innovation of this sample adds: z = L (y − ŷ), by what (J + Λ)⁻¹ adds to its variance."""
        z, seen = self._normalized(evidence.prediction, evidence.target)
        known = variances_of(FormMetric(self.form, state.matrix), rows) / keep
        if self._fisher is None:  # g = Ĵᵀ Lᵀ z: all that is known of v is that along z
            known = known / np.maximum(np.vdot(z, z), np.finfo(z.dtype).tiny)
        elif known.shape != z.shape:  # those of a predicted covariance come behind
            known = known[: z.shape[0]]
        z = z / np.sqrt(1.0 + known)
        watched = self._watch.update(state.watch, z, seen)
        if watched.learned is None:
            return watched
        before, after = self.form.variances(state.matrix), self.form.variances(matrix)
        return watched._replace(learned=self._watch.judge(watched.learned, z, seen, values, before, after, keep))

    def _discount(self, t: Any, weight: Any) -> tuple[Discount, Any]:
        """κ and φ of S ← κ S + φ Λ, and the prior's new weight.

        With S = w Λ + J, (1 − γ) J/(1 + α) + w' Λ = κ S + (w' − κ w) Λ.
        """
        decay, down = self.declared.decay, 1.0 / (1.0 + self.declared.inflation)
        gamma = decay if is_number(decay) else _within(decay(t))
        if is_number(gamma) and gamma == 0 and down == 1:
            return None, weight
        keep = (1.0 - gamma) * down
        if down == 1:
            return (keep, gamma * 1.0), weight
        after = np.maximum(weight * down, LEAST)
        return (keep, after - keep * weight), after

    def unobserved(self, state: InformationState) -> InformationState:
        """As it was: decay and inflation go by samples that are learned from."""
        return state

    def metric(self, state: InformationState) -> FormMetric:
        """‖w‖² = wᵀ S⁻¹ w."""
        return FormMetric(self.form, state.matrix)

    def magnitude(self, state: InformationState) -> Any:
        """That of the matrix; what is watched is finite wherever the loss is."""
        return self.form.magnitude(state.matrix)

    def variances(self, state: InformationState) -> Arrays:
        """The diagonal of S⁻¹."""
        return self.form.variances(state.matrix)

    def unlearned(self, state: InformationState) -> Arrays:
        """What the variances would be if the data had said nothing."""
        return {k: np.full(s, 1.0 / (float(state.weight) * self._prior[k])) for k, s in self._setting.shapes.items()}


def _matrix(matrix: Any) -> Matrix:
    """The declaration of a form, from a name or as it is."""
    if isinstance(matrix, str) and matrix in MATRICES:
        return MATRICES[matrix]()
    if isinstance(matrix, (str, type)) or not isinstance(matrix, Matrix):
        raise declaration_error(
            "InformationFilter(matrix)",
            f"one of {', '.join(MATRICES)}, or one of the classes Full(), Diagonal(), …",
            describe(matrix),
            'give e.g. "quasi-diagonal"' + (f".{nearly(matrix, MATRICES)}" if isinstance(matrix, str) else ""),
        )
    return matrix


def _checked_decay(decay: Any) -> Any:
    """γ as a float, or a function of t that gives numbers in [0, 1]."""
    mend = "give 0, e.g. 1e-3, or schedules.inverse_power(1.0) for 1/√t"
    if is_number(decay):
        if not 0 <= decay < 1:
            raise declaration_error("InformationFilter(decay)", "a number in [0, 1)", describe(decay), mend)
        return float(decay)
    if not callable(decay) or isinstance(decay, type):
        raise declaration_error("InformationFilter(decay)", "a number or a schedule", describe(decay), mend)
    for t in (1.0, 2.0, 10.0, 1e3, 1e6):
        expected = f"a schedule with values in [0, 1], at t = {t:g}"
        try:
            value = np.asarray(decay(np.float64(t)))
        except Exception as error:
            said = str(error).partition("\n")[0]
            got = f"{type(error).__name__}: {said}"
            raise declaration_error("InformationFilter(decay)", expected, got, mend) from error
        if value.shape != () or value.dtype.kind not in "iuf" or not 0 <= value <= 1 + ROUNDING:
            raise declaration_error("InformationFilter(decay)", expected, f"{value!s:.40}", mend)
    return decay


def _within(gamma: Any) -> Any:
    """γ in [0, 1]; NaN if it is not, which makes the step one that is refused."""
    if is_number(gamma):
        return min(gamma, 1.0) if 0 <= gamma <= 1 + ROUNDING else np.nan
    return np.where((gamma >= 0) & (gamma <= 1 + ROUNDING), np.minimum(gamma, 1.0), np.nan)


def _checked_prior(who: str, prior: Any) -> Any:
    """Λ as a float, as pairs (leaf, float), or "relative"."""
    mend = 'give e.g. 1.0, a dict with a number for every learned leaf, or "relative"'
    if isinstance(prior, str) and prior == RELATIVE:
        return prior
    pairs = leaf_pairs(prior)
    if pairs is not None:
        return tuple((k, positive(f"{who}(prior[{k!r}])", v, mend)) for k, v in pairs)
    return positive(f"{who}(prior)", prior, mend)


def leaf_pairs(value: Any) -> list[tuple[Any, Any]] | None:
    """Pairs (leaf, number) of a dict, or (place, number) of a list in order of declaration; None of anything else."""
    if isinstance(value, Mapping):
        return [(str(k), v) for k, v in value.items()]
    if not isinstance(value, (tuple, list)):
        return None
    pairs = all(isinstance(v, (tuple, list)) and len(v) == 2 for v in value)  # as a filter keeps them
    return [(k, v) for k, v in value] if pairs else list(enumerate(value))


def prior_of(who: str, prior: Any, setting: Setting, power: int = 0) -> dict[str, float]:
    """One number per leaf; if it is "relative", a power of the leaf's scale.

    Raises:
        UnknownNameError: there is no such leaf.
        DeclarationError: one is missing.
    """
    if prior == RELATIVE:
        return {k: float(setting.scales.get(k, 1.0)) ** power for k in setting.shapes}
    if not isinstance(prior, tuple):
        return dict.fromkeys(setting.shapes, prior)
    given = dict(prior)
    if all(isinstance(k, int) for k in given):
        if len(given) != len(setting.shapes):
            expected = f"{len(setting.shapes)} of them, one for each of {', '.join(setting.shapes)}"
            raise declaration_error(f"{who}: the numbers by leaf", expected, str(len(given)), "give as many, or a dict")
        return dict(zip(setting.shapes, given.values(), strict=True))
    for k in given:
        if k not in setting.shapes:
            raise UnknownNameError(f"{who}: there is no learned leaf {k!r}. {did_you_mean(k, setting.shapes)}")
    missing = [k for k in setting.shapes if k not in given]
    if missing:
        raise declaration_error(
            f"{who}: the numbers by leaf", "one for every learned leaf", f"none for {', '.join(missing)}", "add them"
        )
    return given
