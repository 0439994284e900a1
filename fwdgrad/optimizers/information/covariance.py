"""The covariance form: parameters that wander, and observation noise that may have to be learned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.optimizers.base import Arrays, check_grads, check_params, decay, declaration_error, describe, positive
from fwdgrad.optimizers.information.filter import RELATIVE, leaf_pairs, prior_of
from fwdgrad.optimizers.information.fisher import observed
from fwdgrad.optimizers.information.matrix import check_held, check_size, unless_far
from fwdgrad.optimizers.information.watch import Watch
from fwdgrad.optimizers.informed import Evidence, Noise, Setting
from fwdgrad.program import operations as ops
from fwdgrad.support.arguments import suggests

__all__ = ["BoundParameterFilter", "Covariance", "ParameterFilter", "ParameterFilterState", "alone", "by_leaf"]

LOSS = 1e-3
"""eps √(Ĵ P Ĵᵀ/R), at most: what rounding may take from a standard deviation."""


class ParameterFilterState(NamedTuple):
    """State of a `ParameterFilter`.

    Attributes:
        t: number of updates made, a float64 scalar.
        root: upper triangular C with CᵀC = P, the covariance of all learned leaves in order, shape (p, p).
        noise: variances R of the observation noise, shape (m,).
        watch: what its innovations say of it, a `Watched`.
    """

    t: Any
    root: Any
    noise: Any
    watch: Any


@suggests
@dataclass(frozen=True)
class ParameterFilter:
    """Extended Kalman filter on the parameters in covariance form, for parameters that change and unknown noise.

        predict:  P ← P + Q
        update:   K = P Ĵᵀ (Ĵ P Ĵᵀ + R)⁻¹,   θ ← θ + K (y − ŷ),   P ← (Id − K Ĵ) P

    with Ĵ = ∂ŷ/∂θ through the influence (last step exact). θ is a random walk with process noise Q per step; steps
    without a target predict and do not update. P is kept as its Cholesky factor and goes through both steps by one
    orthogonal transformation each (array form: Kaminski, Bryson and Schmidt 1971; Kailath, Sayed and Hassibi 2000,
    §12), so it stays symmetric and positive definite. With Q = 0 this is `InformationFilter(Full(joint=True), "exact")`
    with prior 1/initial_covariance and `SquaredError(scale=√R)`. The step uses y − ŷ; of the loss it uses nothing.

    "adaptive" observation noise is an exponential mean of ε² + diag(Ĵ P Ĵᵀ), ε the residual and P the covariance after
    the update (residual-based, which cannot become negative: Mohamed and Schwarz 1999, eq. 20).

    With a random influence Ĵ is noisy, and P too small; see `InformationFilter`.

    Args:
        initial_covariance: diagonal of P at the start: a number > 0, or a dict with one for every learned leaf; or
            "relative", s² with s as for the prior of an `InformationFilter`.
        process_noise: diagonal of Q: a number ≥ 0, or a dict with one for every learned leaf.
        observation_noise: R, the variance of each component of y: a number > 0, one for each prediction, or "adaptive".
        initial_noise: for "adaptive", R at the start; > 0. What is learned while R is too large weighs too little for
            good (without process noise), and it stays in R for about 1/(1 − memory) samples: give what you expect.
        memory: for "adaptive", the weight of the past, in [0, 1).

    What is known before a sample may not be too far from what the sample says: where √(Ĵ P Ĵᵀ/R) > 1e-3/eps (4.5e12 in
    double precision, 8.4e3 in single), standard deviations would be wrong by more than 1e-3, and the step is refused.

    Memory p², time O(p³ + m p²) with process noise, O((p + m)² p) without. Windows of one step only.

    Raises:
        DeclarationError: a field is not as above; when a learner is made, targets are not like predictions, windows are
            longer than one step, p² numbers are too many, R has another length than predictions, or a number is 0 or
            infinite in the dtype of the parameters.
        UnknownNameError: a number is given for a leaf that is not learned.
        NonFiniteError: at a step, P is too far from R, as above.

    Example:
        A level that moves, seen with noise:

        >>> import numpy as np, fwdgrad as fg
        >>> def Y(h, x, theta):
        ...     return theta["level"] + 0.0 * h
        >>> system = fg.System(lambda h, x, theta: h, Y, np.zeros(1), {"level": np.zeros(1)})
        >>> follow = fg.ParameterFilter(process_noise=0.5, observation_noise=1.0)
        >>> learner = fg.Learner(system, fg.RTRL(), follow)
        >>> rng = np.random.default_rng(0)
        >>> level = np.cumsum(0.5**0.5 * rng.normal(size=(50, 1)), axis=0)
        >>> history = learner.run(None, level + rng.normal(size=(50, 1)))
        >>> learner.parameter_std()["level"] ** 2  # the solution of P = (P + Q) R / (P + Q + R)
        array([0.5])
    """

    initial_covariance: Any = RELATIVE
    process_noise: Any = 0.0
    observation_noise: Any = 1.0
    initial_noise: float = 1.0
    memory: float = 0.99

    def __post_init__(self) -> None:
        """Check the fields."""
        who = "ParameterFilter"
        set_ = object.__setattr__
        if self.initial_covariance != RELATIVE:
            set_(self, "initial_covariance", _numbers(f"{who}(initial_covariance)", self.initial_covariance, False))
        set_(self, "process_noise", _numbers(f"{who}(process_noise)", self.process_noise, True))
        set_(self, "observation_noise", _variances(f"{who}(observation_noise)", self.observation_noise))
        set_(self, "initial_noise", positive(f"{who}(initial_noise)", self.initial_noise, "give a variance"))
        set_(self, "memory", decay(f"{who}(memory)", self.memory, "give e.g. 0.99, the default"))

    def bind(self, setting: Setting) -> BoundParameterFilter:
        """The filter for a system."""
        return BoundParameterFilter(self, setting)

    def init(self, params: Arrays) -> ParameterFilterState:
        """It cannot do without a system's predictions.

        Raises:
            DeclarationError: always.
        """
        raise alone("ParameterFilter")

    def update(self, grads: Arrays, state: Any, params: Arrays) -> tuple[Arrays, Any]:
        """Likewise.

        Raises:
            DeclarationError: always.
        """
        raise alone("ParameterFilter")


class BoundParameterFilter:
    """A `ParameterFilter` for certain leaves; see `fwdgrad.optimizers.informed.Informed`."""

    noise: Noise = ()
    quadratic = False
    moves = "a covariance (initial_covariance, process_noise) that is too large"
    advice = (
        "\nOr what is known before this sample is too far from what it says: √(Ĵ P Ĵᵀ/R) > 1e-3/eps. Then give\n"
        "a smaller initial_covariance or process_noise, or a larger observation_noise."
    )

    def __init__(self, declared: ParameterFilter, setting: Setting) -> None:
        self.declared, self._setting = declared, setting
        like = setting.prediction
        alike = like is not None and np.shape(setting.target) == np.shape(like)
        if not (alike and np.issubdtype(np.asarray(setting.target).dtype, np.floating) and setting.single):
            raise declaration_error(
                "ParameterFilter",
                "targets of the shape of the predictions, and windows of one step",
                f"a target of shape {np.shape(setting.target)}" if setting.single else "a longer window",
                "use InformationFilter, which goes with any loss",
            )
        self._outputs = math.prod(np.shape(like))
        self._sizes = {k: math.prod(s) for k, s in setting.shapes.items()}
        check_size("ParameterFilter", sum(self._sizes.values()) ** 2)
        start = prior_of("ParameterFilter(initial_covariance)", declared.initial_covariance, setting, 2)
        walk = prior_of("ParameterFilter(process_noise)", declared.process_noise, setting)
        noise: Any = declared.initial_noise if declared.observation_noise == "adaptive" else declared.observation_noise
        if isinstance(noise, tuple) and len(noise) != self._outputs:
            raise declaration_error(
                "ParameterFilter(observation_noise)",
                f"one variance, or one for each of the {self._outputs} predictions",
                f"{len(noise)}",
                "give one number, which goes for all of them",
            )
        for subject, values in (
            ("initial_covariance", start.values()),
            ("process_noise", walk.values()),
            ("initial_noise" if declared.observation_noise == "adaptive" else "observation_noise", np.ravel(noise)),
        ):
            for value in values:
                check_held(f"ParameterFilter({subject})", float(value), setting.dtype)
        self._start, self._walk = (
            np.concatenate([np.full(n, v[k]) for k, n in self._sizes.items()]).astype(setting.dtype)
            for v in (start, walk)
        )
        self._watch = Watch(self._outputs, len(self._start))
        self.forgets = bool(self._walk.any())
        self.begins_noise = "initial_noise" if declared.observation_noise == "adaptive" else ""
        self._noise = np.broadcast_to(np.asarray(noise, setting.dtype), (self._outputs,))

    def init(self, params: Arrays) -> ParameterFilterState:
        """P and R at the start."""
        check_params("ParameterFilter", params)
        root = np.diag(np.sqrt(self._start))
        watched = self._watch.init(params, {"P": self._start})
        return ParameterFilterState(np.zeros(()), root, self._noise.copy(), watched)

    def cotangents(self, prediction: Any, target: Any) -> Any:
        """All of Ĵ."""
        return np.eye(self._outputs, dtype=self._setting.dtype)

    def update(
        self, grads: Arrays, state: ParameterFilterState, params: Arrays, evidence: Evidence | None = None
    ) -> tuple[Arrays, ParameterFilterState]:
        """Return ``(updates, new state)``: both steps of the filter."""
        check_grads("ParameterFilter", grads, params)
        assert evidence is not None
        assert evidence.rows is not None
        m, p = self._outputs, len(self._start)
        rows = np.concatenate([np.reshape(evidence.rows[k], (m, n)) for k, n in self._sizes.items()], axis=1)
        seen = observed(evidence.prediction, evidence.target).astype(rows.dtype)
        rows = rows * np.expand_dims(seen, 1)  # components that were not observed tell nothing
        residual = np.reshape(np.where(np.isnan(evidence.target), 0.0, evidence.target - evidence.prediction), (m,))
        before = self._predicted(state.root)
        # [√R 0; C Ĵᵀ C] → [X^{T/2} X^{-1/2} Ĵ P; 0 C'], with X = Ĵ P Ĵᵀ + R
        through = np.dot(before, np.transpose(rows))
        noise = np.concatenate([np.diag(np.sqrt(state.noise)), np.zeros((m, p), before.dtype)], axis=1)
        array = np.concatenate([noise, np.zeros((p, m + p), before.dtype)], axis=0)
        made = ops.cholesky_update(array, np.concatenate([through, before], axis=1))
        white = ops.solve_triangular(made[:m, :m], np.expand_dims(residual, 1), transposed=True)
        step = np.reshape(np.dot(np.transpose(white), made[:m, m:]), (p,))
        root = unless_far(made[m:, m:], through / np.sqrt(state.noise), LOSS)
        after = self._learned(state.noise, seen, residual - np.dot(rows, step), np.dot(root, np.transpose(rows)))
        updates = by_leaf(self._setting, self._sizes, step)
        z = np.reshape(white, (m,))
        watched = self._watch.update(state.watch, z, seen)
        if watched.learned is not None:
            values = {k: v + updates[k] for k, v in params.items()}
            variances = {"P": _diagonal(before)}, {"P": _diagonal(root)}
            watched = watched._replace(learned=self._watch.judge(watched.learned, z, seen, values, *variances, 1.0))
        return updates, ParameterFilterState(state.t + 1.0, root, after, watched)

    def unobserved(self, state: ParameterFilterState) -> ParameterFilterState:
        """P ← P + Q: parameters wander whether they are seen or not."""
        return state._replace(root=self._predicted(state.root)) if self._walk.any() else state

    def _predicted(self, root: Any) -> Any:
        """The factor of P + Q."""
        if not self._walk.any():
            return root
        return ops.cholesky_update(root, np.diag(np.sqrt(self._walk))[self._walk > 0])

    def _learned(self, noise: Any, seen: Any, residual: Any, through: Any) -> Any:
        """R ← memory R + (1 − memory)(ε² + diag(Ĵ P Ĵᵀ)), for observed components."""
        declared = self.declared
        if declared.observation_noise != "adaptive":
            return noise
        fresh = residual * residual + np.sum(through * through, axis=0)
        return np.where(seen > 0, declared.memory * noise + (1.0 - declared.memory) * fresh, noise)

    def metric(self, state: ParameterFilterState) -> Covariance:
        """‖w‖² = wᵀ P w."""
        return Covariance(self._setting, self._sizes, state.root)

    def magnitude(self, state: ParameterFilterState) -> Any:
        """trace P + Σ R."""
        return np.vdot(state.root, state.root) + np.sum(state.noise)

    def variances(self, state: ParameterFilterState) -> Arrays:
        """The diagonal of P."""
        return by_leaf(self._setting, self._sizes, _diagonal(np.asarray(state.root)))

    def covariance(self, state: ParameterFilterState) -> np.ndarray:
        """P, shape (p, p)."""
        root = np.asarray(state.root, float)
        return root.T @ root

    def unlearned(self, state: ParameterFilterState) -> Arrays:
        """What the variances were at the start."""
        return by_leaf(self._setting, self._sizes, self._start)


def by_leaf(setting: Setting, sizes: dict[str, int], flat: Any) -> Arrays:
    """Numbers of all parameters, shape (p,), by leaf; traceable."""
    made, place = {}, 0
    for k, n in sizes.items():
        made[k] = np.reshape(flat[place : place + n], setting.shapes[k])
        place += n
    return made


def _diagonal(root: Any) -> Any:
    """That of CᵀC."""
    return np.sum(root * root, axis=0)


class Covariance:
    """‖w‖² = ‖C w‖²."""

    def __init__(self, setting: Setting, sizes: dict[str, int], root: Any) -> None:
        self._setting, self._sizes, self._root = setting, sizes, root

    def _flat(self, leaves: Arrays) -> Any:
        zeros = {k: np.zeros(n, self._setting.dtype) for k, n in self._sizes.items() if k not in leaves}
        return np.concatenate([zeros[k] if k in zeros else np.ravel(leaves[k]) for k in self._sizes])

    def squared_norm(self, leaves: Arrays) -> Any:
        """‖C w‖²."""
        seen = np.dot(self._root, self._flat(leaves))
        return np.dot(seen, seen)

    def terms(self, leaves: Arrays) -> Arrays:
        """w · P w, entry by entry."""
        product, made, place = np.dot(np.transpose(self._root), np.dot(self._root, self._flat(leaves))), {}, 0
        for k, n in self._sizes.items():
            if k in leaves:
                made[k] = leaves[k] * np.reshape(product[place : place + n], self._setting.shapes[k])
            place += n
        return made

    def blocks(self) -> dict[str, np.ndarray]:
        """Everything meets."""
        return {k: np.zeros(s, int) for k, s in self._setting.shapes.items()}


def alone(who: str) -> DeclarationError:
    """A filter that was used as if it were an optimizer of gradients."""
    return DeclarationError(
        f"{who}: expected to be given to a Learner, which tells it the predictions; got parameters only.\n"
        f"Write fg.Learner(system, optimizer=fg.{who}(...)), or use InformationFilter."
    )


def _variances(subject: str, value: Any) -> Any:
    """A number, a tuple of them, or "adaptive"."""
    mend = 'give a variance, one for each prediction, or "adaptive"'
    if isinstance(value, str):
        if value == "adaptive":
            return value
        raise declaration_error(subject, 'a number > 0, or "adaptive"', describe(value), mend)
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist()
    if not isinstance(value, (tuple, list)):
        return positive(subject, value, mend)
    if not value:
        raise declaration_error(subject, "a number > 0 for each prediction", "none", mend)
    return tuple(positive(f"{subject}[{k}]", v, mend) for k, v in enumerate(value))


def _numbers(subject: str, value: Any, or_zero: bool) -> Any:
    """A number, or pairs (leaf, number)."""
    mend = "give a variance, or a dict with one for every learned leaf"
    pairs = leaf_pairs(value)
    if pairs is not None:
        return tuple((k, positive(f"{subject}[{k!r}]", v, mend, or_zero=or_zero)) for k, v in pairs)
    return positive(subject, value, mend, or_zero=or_zero)
