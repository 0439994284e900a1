"""State and parameters in one extended Kalman filter: the state follows the data while the parameters are learned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.losses import StudentT
from fwdgrad.optimizers.base import Arrays, decay, declaration_error, describe, positive
from fwdgrad.optimizers.information.covariance import Covariance, alone, by_leaf
from fwdgrad.optimizers.information.fisher import observed, told_by_fisher
from fwdgrad.optimizers.information.matrix import check_size
from fwdgrad.optimizers.information.watch import Watch, Watched
from fwdgrad.optimizers.informed import Noise, Setting
from fwdgrad.program import operations as ops
from fwdgrad.support.arguments import suggests

__all__ = ["BoundJointFilter", "JointFilter", "JointState"]

FIRST_NOISE = 0.1
"""Deviation of the observation noise before anything is known of it, as a part of the size of the outputs."""
LEAST_NOISE = 1e-6
"""Deviation of the observation noise, at least, as a part of the size of the outputs."""
LONGEST = 1.0
"""How far one sample moves a parameter at most, in units of what it is learned in."""
TOLD = 64.0
"""Samples learned from after which noise in the state is told of: fewer say little of it."""
LEAST_LEFT = 0.1
"""Part of a mean that has to be positive which a step leaves of it, at least, to first order."""
LEAST_TOLD = 1e-9
"""Fisher information of a prediction, at least."""
DEVIATION = 'give a deviation, one for each output, or "learned"'
PART = 'give a part of the size of the state, e.g. 1e-3, or "learned"'
HEAD_START = 10.0
"""Samples that the first noise counts for while the noise is learned."""


class JointState(NamedTuple):
    """State of a `JointFilter`.

    Attributes:
        t: number of samples learned from, a scalar.
        units: what each coordinate is measured in, shape (p,): 1 where the parameter is bounded, else |θ(0)|.
        root: upper triangular C, CᵀC = P the covariance of (h, coordinates of θ), shape (n + p, n + p).
        noise: variances R of the observation noise, shape (m,); 0 while nothing is known of them.
        open: 1 while the noise is being learned, 0 once it is known, a scalar.
        size: the largest |h_i| so far, shape (n,).
        span: the largest |y_k| so far, shape (m,).
        initial: deviation of an initial state, as a part of `size`, a scalar.
        process: deviations of the process noise of one sample, as parts of `size`, shape (n,).
        surprise: −log of the likelihood of all samples learned from, up to a constant, a scalar.
        watch: what the innovations, divided by their deviations, have been like.
    """

    t: Any
    units: Any
    root: Any
    noise: Any
    open: Any
    size: Any
    span: Any
    initial: Any
    process: Any
    surprise: Any
    watch: Watched


@suggests
@dataclass(frozen=True)
class JointFilter:
    """Extended Kalman filter on state and parameters together, with noise that is learned.

    With z = (h, θ), J = [[A, B], [0, Id]], A = ∂F/∂h and B = ∂F/∂θ, C = ∂ŷ/∂z:

        predict:  h ← F(h, x, θ),   P ← J P Jᵀ + diag(Q, 0)
        update:   K = P Cᵀ (C P Cᵀ + R)⁻¹,   z ← z + K (y − ŷ),   P ← (Id − K C) P

    The block P_hθ P_θθ⁻¹ is the influence of θ on the state, so no estimator is needed; without process noise it is
    that of RTRL exactly, and the filter is Gauss–Newton on the prediction error with a state that is kept in step with
    θ: h ← h + G Δθ. P is kept as its Cholesky factor (array form: Kailath, Sayed and Hassibi 2000, §12). Joint
    estimation of state and parameters: Jazwinski 1970, §8; Ljung 1979 on its convergence.

    With a loss that has no scale, of counts or of yes and no, R is the inverse of the Fisher matrix of ŷ, component by
    component, and y − ŷ stands for −R ∂ℓ/∂ŷ: a step of Fisher's scoring (Fahrmeir, Journal of the American Statistical
    Association 87, 1992).

    With a `StudentT` loss a sample has the noise R/w, w its weight by the innovation, so that outliers move little.

    A model whose parameters are wrong is soon in another state than what it models. Its filter is not: every sample
    corrects the state too, so that parameters are found from far.

    Parameters are learned in their coordinates: log θ of a `positive` one, the logit of a `bounded` one, θ/|θ(0)| of
    others. At the beginning the first samples are gone through again and again, see `first`.

    Args:
        prior: deviation of what is not known of each coordinate; > 0. With 1, a positive parameter is known to a factor
            of e or so.
        observation_noise: deviation of each output's noise, in its unit: a number > 0, one for each output, or
            "learned": by the residuals, an exponential mean of ε² + diag(C P Cᵀ) (Mohamed and Schwarz 1999, eq. 20).
        process_noise: deviation of the noise that one sample adds to each state variable, as a part of the largest
            value this has had; ≥ 0, one number or one for each; or "learned": what makes the first samples likeliest,
            of `LEVELS`.
        initial_std: deviation of what is not known of an initial state, likewise a part, ≥ 0; or "learned", likewise.
        memory: for learned noise, the weight of the past, in [0, 1).
        first: the first so many samples are kept, and fitted anew when there are 16, 64, 256, … of them, see
            `fwdgrad.learning.loops.refitting`; then they are dropped. 0: never.

    Memory (n + p)², time O((n + p)³) for a sample. Windows of one step.

    Raises:
        DeclarationError: a field is not as above; when a learner is made, targets are not like predictions, an
            estimator is given, or (n + p)² numbers are too many.
        NonFiniteError: at a step, something would stop being finite.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> from fwdgrad import systems
        >>> system = systems.van_der_pol()
        >>> ys = system.simulate(steps=400).outputs
        >>> learner = fg.Learner(system, optimizer=fg.JointFilter())
        >>> learner.params = {"mu": 2.5}
        >>> history = learner.run(ys=ys)
        >>> round(float(learner.params["mu"]), 2)
        1.0
    """

    prior: float = 1.0
    observation_noise: Any = "learned"
    process_noise: Any = "learned"
    initial_std: Any = "learned"
    memory: float = 0.999
    first: int = 512

    def __post_init__(self) -> None:
        """Check the fields."""
        who, set_ = "JointFilter", object.__setattr__
        set_(self, "prior", positive(f"{who}(prior)", self.prior, "give e.g. 1, the default"))
        set_(self, "observation_noise", _deviations(f"{who}(observation_noise)", self.observation_noise))
        set_(self, "process_noise", _deviations(f"{who}(process_noise)", self.process_noise, PART, or_zero=True))
        if not (isinstance(self.initial_std, str) and self.initial_std == "learned"):
            set_(self, "initial_std", positive(f"{who}(initial_std)", self.initial_std, PART, or_zero=True))
        set_(self, "memory", decay(f"{who}(memory)", self.memory, "give e.g. 0.999, the default"))
        if isinstance(self.first, bool) or not isinstance(self.first, (int, np.integer)) or self.first < 0:
            raise declaration_error(f"{who}(first)", "a number of samples", describe(self.first), "give e.g. 512, or 0")
        set_(self, "first", int(self.first))

    @property
    def levels(self) -> tuple[tuple[float, Any], ...]:
        """Pairs (initial_std, process_noise) that may be chosen from, in the order in which they are tried."""
        made = []
        for initial, process in LEVELS:
            pair = (
                initial if self.initial_std == "learned" else self.initial_std,
                process if self.process_noise == "learned" else self.process_noise,
            )
            if pair not in made:
                made.append(pair)
        return tuple(made)

    def bind(self, setting: Setting) -> BoundJointFilter:
        """The filter for a system."""
        return BoundJointFilter(self, setting)

    def init(self, params: Arrays) -> Any:
        """It cannot do without a system's predictions.

        Raises:
            DeclarationError: always.
        """
        raise alone("JointFilter")

    def update(self, grads: Arrays, state: Any, params: Arrays) -> tuple[Arrays, Any]:
        """Likewise.

        Raises:
            DeclarationError: always.
        """
        raise alone("JointFilter")


LEVELS = ((1e-3, 1e-4), (0.1, 1e-3), (0.5, 1e-2))
"""What may be found of initial state and process noise: next to nothing, little, much."""


class BoundJointFilter:
    """A `JointFilter` for certain leaves: its two steps as pure functions of arrays.

    Args:
        declared: the filter.
        setting: what is learned.

    Attributes:
        heavy: whether the noise has heavy tails, so that samples have weights.
        scored: whether the loss has no scale, and R is the inverse of a Fisher matrix.
        means: whether its predictions are means that have to be positive.
        size: n, the number of state variables.
        count: p, that of parameters.
        outputs: m, that of outputs.
    """

    noise: Noise = ()
    advice = ""
    moves = "data that the model cannot follow (units, codes for missing ones), too wide a prior"
    quadratic = False

    def __init__(self, declared: JointFilter, setting: Setting) -> None:
        self.declared, self.setting = declared, setting
        like = setting.prediction
        if hasattr(setting.loss, "innovations"):
            raise declaration_error(
                "JointFilter", "a system that is not filtered yet", "one that is a filter itself",
                "filter its state and parameters together, fg.Learner(system.wrapped, optimizer=fg.JointFilter()), or "
                "learn\nit by gradients, fg.Learner(system)",
            )  # fmt: skip
        alike = like is not None and np.shape(setting.target) == np.shape(like)
        if not (alike and np.issubdtype(np.asarray(setting.target).dtype, np.floating)):
            raise declaration_error(
                "JointFilter", "targets of the shape of the predictions", f"targets {np.shape(setting.target)}",
                "use a loss whose targets look like predictions, such as SquaredError",
            )  # fmt: skip
        self.sizes = {k: math.prod(s) for k, s in setting.shapes.items()}
        self.size, self.count, self.outputs = setting.size, sum(self.sizes.values()), math.prod(np.shape(like))
        check_size("JointFilter", (self.size + self.count) ** 2)
        noise = declared.observation_noise
        if isinstance(noise, tuple) and len(noise) != self.outputs:
            raise declaration_error(
                "JointFilter(observation_noise)", f"one deviation, or one for each of the {self.outputs} outputs",
                f"{len(noise)}", "give one number, which goes for all of them",
            )  # fmt: skip
        if isinstance(declared.process_noise, tuple) and len(declared.process_noise) != self.size:
            raise declaration_error(
                "JointFilter(process_noise)", f"one deviation, or one for each of the {self.size} state variables",
                f"{len(declared.process_noise)}", "give one number, which goes for all of them",
            )  # fmt: skip
        self.watch = Watch(self.outputs, 0)
        self.heavy = isinstance(setting.loss, StudentT)
        self.scored = told_by_fisher(setting.loss, like)
        self.means = self.scored and getattr(setting.loss, "predicts_mean", False)
        self.learns_noise = noise == "learned" and not self.scored
        scale = getattr(setting.loss, "scale", 1.0) if self.learns_noise else noise
        scale = 1.0 if self.scored else scale  # it means nothing
        known = not (self.learns_noise and scale == 1.0)
        self.first_noise = np.broadcast_to(np.asarray(scale if known else 0.0, setting.dtype) ** 2, (self.outputs,))

    def _flat(self, leaves: Arrays) -> Any:
        return np.concatenate([np.ravel(leaves[k]) for k in self.sizes]).astype(self.setting.dtype)

    def rows(self, leaves: Arrays, count: int) -> Any:
        """Derivatives in θ as a matrix (count, p); a leaf left out is zero."""
        dtype = self.setting.dtype
        parts = [
            np.reshape(leaves[k], (count, n)) if k in leaves else np.zeros((count, n), dtype)
            for k, n in self.sizes.items()
        ]
        return np.concatenate(parts, axis=1)

    # ---- beginnings

    def _processes(self, noise: Any) -> np.ndarray:
        """Process noise of each state variable, shape (n,), from one number or n."""
        return np.broadcast_to(np.asarray(noise, self.setting.dtype), (self.size,)).copy()

    def init(self, params: Arrays) -> JointState:
        """Nothing seen."""
        dtype = self.setting.dtype
        initial, process = self.declared.levels[0]
        number = lambda value: np.asarray(value, dtype)  # noqa: E731
        units = self._flat({k: unit(v, k in self.setting.free) for k, v in params.items()})
        root = np.diag(np.concatenate([np.zeros(self.size), self.declared.prior * units])).astype(dtype)
        m = self.outputs
        return JointState(
            number(0.0), units, root, self.first_noise.copy(), number(1.0), np.zeros(self.size, dtype),
            np.zeros(m, dtype), number(initial), self._processes(process), number(0.0), self.watch.init({}, {}),
        )  # fmt: skip

    def restarted(self, state: JointState, h: Any) -> JointState:
        """For a new trajectory from h: what is known of θ is kept, of the state there is `initial`."""
        n = self.size
        size = np.maximum(state.size, np.abs(h))
        root = np.zeros_like(state.root)
        root[:n, :n] = np.diag(state.initial * size)
        root[n:, n:] = ops.cholesky_update(np.zeros_like(state.root[n:, n:]), np.ascontiguousarray(state.root[:, n:]))
        return state._replace(root=root, size=size, watch=state.watch._replace(past=np.zeros_like(state.watch.past)))

    def levelled(self, fresh: JointState, held: JointState, level: tuple[float, Any], spread: np.ndarray) -> JointState:
        """For another pass over a record: what was found out about sizes, and another level of noise.

        Args:
            fresh: from `init`.
            held: of the pass before.
            level: deviation of the initial state and of the process noise.
            spread: that of the outputs, shape (m,).
        """
        dtype, n = self.setting.dtype, self.size
        root = np.zeros_like(fresh.root)
        root[n:, n:] = np.diag(self.declared.prior * np.asarray(held.units))
        first = (FIRST_NOISE * spread) ** 2 + float(np.finfo(dtype).tiny) ** 0.5
        return fresh._replace(
            units=held.units,
            root=root,
            noise=np.where(fresh.noise > 0, fresh.noise, first).astype(dtype),
            # a state that nothing but noise would move has no size of its own yet
            size=np.where(held.size > 0, held.size, np.max(held.span, initial=0.0)).astype(dtype),
            span=np.asarray(held.span),
            initial=np.asarray(level[0], dtype),
            process=self._processes(level[1]),
        )

    def pulled(self, state: JointState, pull: np.ndarray) -> np.ndarray:
        """What a pull on the coordinates, in units of information, moves: P (0, pull), shape (n + p,)."""
        root = np.asarray(state.root, float)
        return root.T @ (root[:, self.size :] @ pull)

    def simulated(
        self, held: JointState, covariance: np.ndarray, rows: np.ndarray, noise: np.ndarray, level: Any, carry: Any
    ) -> JointState:
        """After a simulation without corrections: P = [G; Id] P_θθ [G; Id]ᵀ, shape (n + p, n + p).

        Args:
            held: a state of this filter.
            covariance: P_θθ, shape (p, p).
            rows: G, the influence of the coordinates on the state, shape (n, p).
            noise: R, shape (m,).
            level: deviation of the initial state and of the process noise.
            carry: what else was found, with the numbers of targets.
        """
        dtype, p = self.setting.dtype, self.count
        lower = np.linalg.cholesky((covariance + covariance.T) / 2)
        thin = lower.T @ np.concatenate([np.asarray(rows, float), np.eye(p)]).T
        root = ops.cholesky_update(np.zeros((self.size + p, self.size + p)), thin)
        return held._replace(
            t=np.asarray(np.max(carry.optimizer.counts), dtype),
            root=np.asarray(root, dtype),
            noise=np.asarray(noise, dtype),
            open=np.ones((), dtype),
            initial=np.asarray(level[0], dtype),
            process=self._processes(level[1]),
            watch=self.watch.init({}, {}),
        )

    # ---- the two steps

    def predicted(self, state: JointState, A: Any, B: Arrays) -> JointState:
        """After a transition with these Jacobians: the factor of J P Jᵀ + diag(Q, 0)."""
        n, p = self.size, self.count
        after = np.dot(state.root[:, :n], np.transpose(A)) + np.dot(state.root[:, n:], np.transpose(self.rows(B, n)))
        noise = np.diag(np.concatenate([state.process * state.size, np.zeros(p, state.size.dtype)]))
        return state._replace(root=ops.cholesky_update(noise, np.concatenate([after, state.root[:, n:]], axis=1)))

    def corrected(self, state: JointState, rows: Any, target: Any, prediction: Any) -> tuple[Any, Arrays, JointState]:
        """By one sample: what to add to the state and to the coordinates, and what is known then.

        Args:
            state: what was known before.
            rows: ∂ŷ/∂(h, θ), shape (m, n + p).
            target: y; components that are NaN tell nothing.
            prediction: ŷ.
        """
        m, n, p = self.outputs, self.size, self.count
        dtype = state.root.dtype
        seen = observed(prediction, target).astype(dtype)
        rows = rows * np.expand_dims(seen, 1)
        residual = np.reshape(np.where(np.isnan(target), 0.0, target - prediction), (m,))
        seen_sizes = np.maximum(np.abs(residual + np.reshape(prediction, (m,))), np.abs(np.reshape(prediction, (m,))))
        span = np.maximum(state.span, seen * seen_sizes)
        tiny = float(np.finfo(dtype).tiny) ** 0.5
        noise = np.where(state.noise > 0, state.noise, (FIRST_NOISE * span) ** 2 + tiny)
        if self.scored:
            noise = self.scored_noise(prediction)
            residual = -noise * np.reshape(self.setting.loss.gradient(prediction, target), (m,))
        through = np.dot(state.root, np.transpose(rows))
        loss, claimed = self.setting.loss, np.sum(through * through, axis=0) + noise
        weight = loss.weight(residual * residual / claimed) if self.heavy else 1.0
        # [√R 0; C Hᵀ C] → [X^{T/2} X^{-1/2} H P; 0 C'], with H the rows and X = H P Hᵀ + R
        size = m + n + p
        array = np.diag(np.concatenate([np.sqrt(noise / weight), np.zeros(n + p, dtype)]))
        made = ops.cholesky_update(array, np.concatenate([through, state.root], axis=1))
        white = ops.solve_triangular(made[:m, :m], np.expand_dims(residual, 1), transposed=True)
        step = np.reshape(np.dot(np.transpose(white), made[:m, m:size]), (n + p,))
        root = made[m:, m:]
        longest = np.max(np.abs(step[n:]) / state.units)
        step = step * (LONGEST / np.maximum(longest, LONGEST))
        if self.means:
            step = step * self._kept_positive(np.dot(rows, step), np.reshape(prediction, (m,)))
        white = np.reshape(white, (m,))
        surprise = np.sum(seen * np.log(np.diag(made[:m, :m]))) + 0.5 * np.dot(white, white)
        if self.scored:
            ratios = np.sum(seen * (0.5 * np.log(noise) + 0.5 * residual * residual / noise))
            surprise = surprise - ratios + self.setting.loss.value(prediction, target)
        if self.heavy:  # output by output, since there is no such thing for several that are correlated
            z = residual / np.sqrt(claimed)
            surprise, white = np.sum(seen * (0.5 * np.log(claimed) + loss.cost(z * z))), loss.standard(z)
        fresh = (residual - np.dot(rows, step)) ** 2 + np.sum(np.dot(root, np.transpose(rows)) ** 2, axis=0)
        known = state._replace(
            t=state.t + 1.0,
            root=root,
            noise=self._learned(state, noise, seen, weight * fresh, span),
            span=span,
            surprise=state.surprise + surprise,
            watch=self._watched(state, white, seen, prediction),
        )
        return step[:n], by_leaf(self.setting, self.sizes, step[n:]), known

    def scored_noise(self, prediction: Any) -> Any:
        """R of a loss without a scale, the inverse of the diagonal of the Fisher matrix of ŷ, shape (m,)."""
        return 1.0 / np.maximum(np.sum(self.setting.loss.fisher(prediction), axis=0), LEAST_TOLD)

    def observation_variance(self, state: JointState, prediction: Any) -> Any:
        """Of a target about its prediction, shape (m,); 0 of one that is no mean."""
        if not self.scored:
            return state.noise * getattr(self.setting.loss, "spread", 1.0)
        return self.scored_noise(prediction) if self.means else np.zeros(self.outputs, self.setting.dtype)

    @staticmethod
    def _kept_positive(change: Any, prediction: Any) -> Any:
        """The part of a step that leaves all means positive."""
        fall = np.max(-change / prediction)
        return (1.0 - LEAST_LEFT) / np.maximum(fall, 1.0 - LEAST_LEFT)

    def _watched(self, state: JointState, white: Any, seen: Any, prediction: Any) -> Any:
        """The watch after a sample with these normalised innovations."""
        square = None
        if self.scored and hasattr(self.setting.loss, "evened"):
            square = np.reshape(self.setting.loss.evened(white * white, prediction), (self.outputs,))
        return self.watch.update(state.watch, white, seen * self._judged(state.t), square)

    def _learned(self, state: JointState, noise: Any, seen: Any, fresh: Any, span: Any) -> Any:
        """R: a mean at first, an exponential mean later, for observed components."""
        if not self.learns_noise:
            return noise
        gain = state.open * np.maximum(1.0 / (state.t + HEAD_START), 1.0 - self.declared.memory)
        mean = np.maximum((1.0 - gain) * noise + gain * fresh, (LEAST_NOISE * span) ** 2)
        return np.where((seen > 0) & (span > 0), mean, np.where(span > 0, noise, 0.0))

    def _judged(self, t: Any) -> Any:
        """Whether the noise is known well enough for an innovation to be held against it."""
        return np.where(t >= HEAD_START, 1.0, 0.0) if self.learns_noise else 1.0

    def grown(self, state: JointState, h: Any) -> JointState:
        """With the sizes that state variables have had."""
        return state._replace(size=np.maximum(state.size, np.abs(h)))

    # ---- what is known

    def unobserved(self, state: JointState) -> JointState:
        """As it was; `predicted` is what time does."""
        return state

    def cotangents(self, prediction: Any, target: Any) -> Any:
        """All of ∂ŷ/∂θ."""
        return np.eye(self.outputs, dtype=self.setting.dtype)

    def metric(self, state: JointState) -> Covariance:
        """‖w‖² = wᵀ P_θθ w."""
        return Covariance(self.setting, self.sizes, state.root[:, self.size :])

    def magnitude(self, state: JointState) -> Any:
        """trace P + Σ R, and the rest."""
        return np.vdot(state.root, state.root) + np.sum(state.noise) + state.surprise

    def variances(self, state: JointState) -> Arrays:
        """The diagonal of P_θθ."""
        return by_leaf(self.setting, self.sizes, np.sum(np.asarray(state.root)[:, self.size :] ** 2, axis=0))

    def covariance(self, state: JointState) -> np.ndarray:
        """P_θθ, shape (p, p)."""
        root = np.asarray(state.root, float)[:, self.size :]
        return root.T @ root

    def doubts(self, state: JointState) -> tuple[str, ...]:
        """What speaks against the model though innovations are white: noise in the state that makes them so."""
        lowest = self.declared.levels[0][1]
        most = float(np.max(state.process, initial=0.0))
        if self.declared.process_noise != "learned" or float(state.t) < TOLD or most <= lowest:
            return ()
        return (
            f"the data take noise in the state, {most:.1%} of its size a sample: the model lacks "
            "something, or its state is disturbed (process_noise=… accepts it)",
        )

    def unlearned(self, state: JointState) -> Arrays:
        """What the variances were at the start."""
        return by_leaf(self.setting, self.sizes, (self.declared.prior * np.asarray(state.units)) ** 2)

    def state_variances(self, state: JointState) -> np.ndarray:
        """The diagonal of P_hh, shape (n,)."""
        return np.sum(np.asarray(state.root)[:, : self.size] ** 2, axis=0)


def unit(array: Any, free: bool) -> np.ndarray:
    """What a coordinate is measured in: 1 for a bounded parameter's, |θ(0)| for others, 1 where that is 0."""
    size = np.abs(np.asarray(array, float))
    return np.where(size > 0, size, 1.0) if free else np.ones_like(size)


def _deviations(subject: str, value: Any, mend: str = DEVIATION, or_zero: bool = False) -> Any:
    """A number, a tuple of them, or "learned"."""
    if isinstance(value, str):
        if value == "learned":
            return value
        raise declaration_error(subject, f'a number {"≥" if or_zero else ">"} 0, or "learned"', describe(value), mend)
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist()
    if isinstance(value, (tuple, list)) and value:
        return tuple(positive(f"{subject}[{k}]", v, mend, or_zero=or_zero) for k, v in enumerate(value))
    return positive(subject, value, mend, or_zero=or_zero)
