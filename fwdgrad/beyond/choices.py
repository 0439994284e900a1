"""Systems that choose: at every step one of K actions z, with probabilities that depend on state, input and θ.

The expected loss of a step depends on θ in two ways: through the states that given choices lead to, and through how
probable the choices are. With z_s the choice of step s and E the mean over all choices,

    ∂/∂θ E ℓ_t = E [ ∂ℓ_t/∂θ + (ℓ_t − b) e_t ],        e_t = Σ_{s≤t} ∂ log p(z_s)/∂θ

for any constant b, since E e_t = 0 (Williams 1992, REINFORCE; b is his baseline). The derivative of log p(z_s) is the
total one, through the state that the probabilities were made from. It needs no trace of its own: let a state variable
add up the log-probabilities of what was chosen,

    L' = L + log p(z | h, x, θ)

and e = ∂L/∂θ is its row of the influence matrix, in whatever form an estimator keeps that. So a system that chooses is
a system as any other, on every engine, with one state variable more and a loss that pulls at it with ℓ − b. The choice
is made from a number drawn evenly from [0, 1), which is an input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from fwdgrad.errors import DataError, DeclarationError, UnknownNameError, did_you_mean
from fwdgrad.losses import Loss
from fwdgrad.program import Abstract, Linearized, trace
from fwdgrad.support.arguments import suggests
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.support.types import Leaves
from fwdgrad.system import System

__all__ = ["ScoreFunction", "choosing_system", "drawn"]


@partial(suggests, beyond=System)
def choosing_system(
    F: Callable[[Any, Any, Leaves, Any], Any],
    Y: Callable[[Any, Any, Leaves], Any] | None,
    choice: Callable[[Any, Any, Leaves], Any],
    state: Any,
    params: Leaves,
    x: Any = None,
    loss: Any = None,
    *,
    decay: float = 1.0,
    baseline: float = 0.0,
    **options: Any,
) -> System:
    """A system that makes a random choice z at every step, as a `System` for every estimator of gradients.

    Args:
        F: the transition, a function of (state, input, parameters, z) with z an integer from 0 to K − 1.
        Y: the output, a function of (next state, input, parameters). None observes the whole state.
        choice: a function of (state, input, parameters) that returns K scores; P(z = k) is softmax(scores)_k.
        state: the initial state, as for `System`; not a learned one.
        params: as for `System`.
        x: as for `System`.
        loss: as for `System`.
        decay: L' = decay·L + log p(z). With 1 the gradient is unbiased, and its variance grows with every choice since
            the trajectory began: end trajectories with `Learner.reset_state`. Less than 1 forgets choices after some
            1/(1 − decay) steps, and with them their effect on later losses, which is a bias.
        baseline: b at the start. It is a parameter, named "baseline", and learned: it follows the mean loss, as fast as
            the learning rate says. Plain gradient descent wants a rate below 2 for that; or freeze it.
        options: `frozen`, `y` and `name`, as for `System`. No `dt`: choices are made at steps.

    Returns:
        A system with inputs {"x": x, "draw": u}, or {"draw": u} if x is None, with u drawn evenly from [0, 1), see
        `drawn`; with the state {"state": state, "score": L}, or, if state is a dict, that with L as one entry more; and
        with the prediction (ŷ, L, b) in one vector. A u outside [0, 1] makes L NaN, so that a learner stops with a
        `NonFiniteError` (1 itself will do: numbers close to it become 1 in single precision).

    Raises:
        DeclarationError: decay is not in [0, 1], there is a `dt`, the initial state is learned, or `choice` does not
            return a vector of scores.
        UnknownNameError: there is another parameter named "baseline", a state variable named "score", or an option that
            is not one of the above.

    Unbiased for fixed θ and b, and decay=1, with any estimator that is. The gradient of its loss is not the derivative
    of its value: `fg.check` says so.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> coin = choosing_system(
        ...     lambda h, x, theta, z: 0.9 * h + 0.1 * z,  # what has come up lately
        ...     lambda h, x, theta: h,
        ...     lambda h, x, theta: np.stack([0.0, theta["odds"]]),
        ...     state=np.full(1, 0.5),
        ...     params={"odds": 0.0},
        ...     decay=0.9,
        ... )
        >>> learner = fg.Learner(coin, fg.RTRL(), fg.SGD(0.2))
        >>> us = np.random.default_rng(0).random(3000)
        >>> history = learner.run({"draw": us}, np.full((3000, 1), 0.8))
        >>> bool(0.7 < 1 / (1 + np.exp(-learner.params["odds"])) < 0.9)
        True
    """
    if options.get("dt") is not None:
        raise DeclarationError("choosing_system: expected no dt, since choices are made at steps. Write F as a map.")
    for k in options:
        if k not in ("dt", "frozen", "y", "name"):
            raise UnknownNameError(
                f"choosing_system: there is no option {k!r}. {did_you_mean(k, ('frozen', 'y', 'name'))}"
            )
    if isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0 <= decay <= 1:
        raise DeclarationError(f"choosing_system(decay=…): expected a number from 0 to 1, got {decay!r}.")
    if callable(state):
        raise DeclarationError("choosing_system: expected an initial state that is not learned. Give an array.")
    if "baseline" in params:
        raise UnknownNameError("choosing_system: the name 'baseline' is taken by that of the loss. Use another one.")
    if isinstance(state, dict) and "score" in state:
        raise UnknownNameError("choosing_system: the name 'score' is taken by the log-probabilities. Use another one.")

    def inner(held: Any) -> Any:
        return {k: held[k] for k in state} if isinstance(state, dict) else held["state"]

    def held_as(state: Any, score: Any) -> Any:
        return {**(state if isinstance(state, dict) else {"state": state}), "score": score}

    def given(x: Any) -> Any:
        return x.get("x")

    def transition(held: Any, x: Any, theta: Leaves) -> Any:
        scores = choice(inner(held), given(x), theta)
        if np.ndim(scores) != 1:
            raise DeclarationError(
                f"choosing_system: choice has to return one score for each action, an array of shape (K,); "
                f"got shape {np.shape(scores)}."
            )
        shifted = scores - np.max(scores)
        weights = np.exp(shifted)
        total = np.sum(weights)
        u = x["draw"]
        z = np.sum(u * total >= np.cumsum(weights)[:-1])
        chosen = np.sum(np.where(z == np.arange(np.shape(scores)[0]), shifted, 0.0)) - np.log(total)
        score = np.where((u >= 0.0) & (u <= 1.0), decay * held["score"] + chosen, np.nan)
        return held_as(F(inner(held), given(x), theta, z), score)

    def output(held: Any, x: Any, theta: Leaves) -> Any:
        seen = flatten(inner(held)) if Y is None else [Y(inner(held), given(x), theta)]
        flat = [np.reshape(part, (-1,)) for part in seen]
        return np.concatenate([*flat, np.stack([held["score"], theta["baseline"]])])

    plain = System(lambda h, x, p: F(h, x, p, 0), Y, state, params, x, loss, y=options.get("y"))
    named: dict[str, Any] = {"name": getattr(F, "__name__", "system")} | options
    return System(
        transition,
        output,
        held_as(plain.state, np.zeros((), plain.dtype)),
        {**params, "baseline": baseline},
        {"draw": 0.5} if x is None else {"x": plain.x, "draw": 0.5},
        ScoreFunction(plain.loss, plain.prediction.shape, plain.dtype),
        **named,
    )


def drawn(xs: Any, rng: np.random.Generator, steps: int | None = None) -> Any:
    """Inputs for a system that chooses: {"x": …, "draw": …}, with numbers drawn evenly from [0, 1).

    Args:
        xs: arrays with time along axis 0, in a dict or not; or an iterable of single inputs, which gives an iterator;
            or None for a system without inputs, with `steps` how many.
        rng: where the numbers come from.
        steps: how many, for xs=None.

    Raises:
        DeclarationError: xs and steps are both given, or neither is; steps is not a number of steps; or rng is no
            Generator.
        DataError: xs are neither arrays of one length nor an iterable.

    Example:
        >>> import numpy as np
        >>> {k: v.shape for k, v in drawn(np.zeros((5, 2)), np.random.default_rng(0)).items()}
        {'x': (5, 2), 'draw': (5,)}
    """
    if not isinstance(rng, np.random.Generator):
        raise DeclarationError(f"drawn: expected a numpy Generator, got {rng!r}. Give np.random.default_rng(0).")
    if (xs is None) == (steps is None):
        raise DeclarationError("drawn: expected inputs, or None and steps=…, how many.")
    if xs is None:
        if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
            raise DeclarationError(f"drawn(steps=…): expected an integer of at least 0, got {steps!r}.")
        return {"draw": rng.random(steps)}
    if isinstance(xs, (np.ndarray, dict)):
        lengths = {np.shape(leaf)[:1] for leaf in flatten(xs)}
        if len(lengths) != 1 or lengths == {()}:
            shapes = [np.shape(leaf) for leaf in flatten(xs)]
            raise DataError(f"drawn: expected arrays with time along axis 0, of one length; got shapes {shapes}.")
        return {"x": xs, "draw": rng.random(lengths.pop()[0])}
    if not isinstance(xs, Iterable):
        raise DataError(f"drawn: expected inputs one after the other, in arrays or an iterable; got {xs!r}.")
    return _one_by_one(xs, rng)


def _one_by_one(xs: Iterable[Any], rng: np.random.Generator) -> Iterator[Any]:
    for x in xs:
        yield {"x": x, "draw": rng.random()}


@dataclass(frozen=True)
class ScoreFunction:
    """A loss ℓ of ŷ for predictions (ŷ, L, b): its value is ℓ, its gradient (∂ℓ/∂ŷ, ℓ − b, b − ℓ).

    The gradient is that of the *expected* loss in L, and it moves the baseline b towards the mean loss; it is not the
    derivative of the value.

    Args:
        loss: ℓ.
        shape: of ŷ.
        dtype: of ŷ.
    """

    loss: Loss
    shape: tuple[int, ...]
    dtype: np.dtype = field(default=np.dtype(np.float64))

    def target(self, prediction: Any) -> Any:
        """As that of ℓ."""
        return self.loss.target(np.zeros(self.shape, self.dtype))

    def value(self, prediction: Any, y: Any) -> Any:
        """ℓ(ŷ, y)."""
        return self.loss.value(self._inner(prediction), y)

    def gradient(self, prediction: Any, y: Any) -> Any:
        """(∂ℓ/∂ŷ, ℓ − b, b − ℓ)."""
        inner = self._inner(prediction)
        slope = self.loss.gradient(inner, y)
        if slope is None:
            (slope,) = Linearized(self._program, [inner, *flatten(y)]).vjp([np.ones((), self.dtype)], [0])
        excess = self.loss.value(inner, y) - prediction[-1]
        return np.concatenate([np.reshape(slope, (-1,)), np.stack([excess, -excess])])

    def fisher(self, prediction: Any) -> Any:
        """None: the choices are not those of a distribution of y."""
        return None

    def _inner(self, prediction: Any) -> Any:
        return np.reshape(prediction[:-2], self.shape)

    @cached_property
    def _program(self) -> Any:
        """ℓ, to be differentiated."""
        like = self.target(None)
        arrays = [np.zeros(self.shape, self.dtype), *(np.asarray(a) for a in flatten(like))]
        return trace(
            lambda yhat, *y: [self.loss.value(yhat, unflatten(like, y))], [Abstract.of(a) for a in arrays], name="loss"
        )
