"""Online expectation maximization for hidden Markov models with finitely many states and symbols.

The expected statistics that EM needs, of the transitions i → j made and the symbols k seen in state j, obey an affine
recursion forward in time (Cappé 2011, "Online EM algorithm for hidden Markov models", eqs. 15 and 16). With the filter
φ_t(x) = P(x_t = x | y_0 … y_t) and the backward kernel r_t(x|x') = φ_t(x) q(x, x') / Σ_u φ_t(u) q(u, x'),

    ρ_{t+1}(x') = Σ_x [γ s(x, x', y_{t+1}) + (1 − γ) ρ_t(x)] r_t(x|x'),        S_t = Σ_x φ_t(x) ρ_t(x)

where s(x, x', y) has a 1 at the transition (x, x') and a 1 at the symbol (x', y), and 0 elsewhere. This is the
recursion G' = A G + B of influence matrices with ρ, an N×(N² + N·M) object, in place of G; it is reduced as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DataError, DeclarationError, ShapeError
from fwdgrad.influence.reduction import reduce, scales
from fwdgrad.optimizers.base import is_number
from fwdgrad.optimizers.rates import Rate
from fwdgrad.optimizers.schedules import constant, inverse_power
from fwdgrad.support import display
from fwdgrad.support.arguments import suggests

__all__ = ["OnlineEM", "Parameters", "Statistics"]

WIDE = 12
"""Columns of a matrix that a notebook shows, at most."""


class Statistics(NamedTuple):
    """Expected statistics, weighted by the rates: for γ_t = 1/t their means over the t transitions so far."""

    transition: np.ndarray
    """(N, N): how often state i was followed by state j."""
    emission: np.ndarray
    """(N, M): how often symbol k came from state j."""

    def __repr__(self) -> str:
        return _sized("Statistics", self.emission)

    def _repr_html_(self) -> str:
        return display.page(repr(self), *map(_matrix, self))


class Parameters(NamedTuple):
    """Of a hidden Markov model."""

    transition: np.ndarray
    """(N, N): q[i, j] is the probability that state i is followed by j."""
    emission: np.ndarray
    """(N, M): g[j, k] is the probability of symbol k in state j."""

    def __repr__(self) -> str:
        return _sized("Parameters", self.emission)

    def _repr_html_(self) -> str:
        return display.page(repr(self), *map(_matrix, self))


def _sized(kind: str, emission: np.ndarray) -> str:
    states, symbols = emission.shape
    return f"{kind} of a hidden Markov model: {display.counted(states, 'state')}, {display.counted(symbols, 'symbol')}"


def _matrix(values: np.ndarray) -> str:
    """A matrix as a table, unless it is wide."""
    if values.shape[1] > WIDE:
        return display.paragraph(f"{values.shape[0]} × {values.shape[1]} numbers")
    return display.table([[f"{v:.3f}" for v in row] for row in values.tolist()], left=0, head=False)


@suggests
class OnlineEM:
    """Learns a hidden Markov model from a stream of symbols, one at a time, without storing any.

    After every symbol the expected statistics S are brought up to date, for the parameters as they are; the parameters
    then become those of greatest likelihood for S: its rows, divided by their sums.

    ``exact=True`` keeps ρ_t in full: N·(N² + N·M) numbers, and O(N³ (N + M)) operations a step.

    ``exact=False`` keeps S and, in place of the deviations D_t(x) = ρ_t(x) − S_t, a random product v ⊗ w with mean D_t:
    N + 2(N² + N·M) numbers, and O(N² + N·M) operations a step. D obeys an affine recursion, too, in which the filter
    forgets: so D̃ is of the size of γ, and its noise averages out in S as γ goes to 0 (reducing ρ itself would leave S
    with noise of its own size). The new terms, one for each state, get random signs and scales of least variance, as in
    NoBackTrack; `fwdgrad.reduction` merges them with the past. S is unbiased as long as the parameters are fixed. Its
    entries may become negative while γ is large: `start` and `least` take care of that.

    Args:
        transition: q, shape (N, N): q[i, j] is the probability that state i is followed by j.
        emission: g, shape (N, M): g[j, k] is the probability of symbol k in state j.
        initial: distribution of the first state, (N,); uniform unless given. It is not learned.
        exact: see above.
        copies: independent copies of the random product, which are averaged.
        rate: γ, 0 < γ ≤ 1, as a number or a function of t = 1, 2, …, the number of transitions so far; γ_1 should be 1.
            Rates like t^−α with α in (½, 1] converge; the default is t^−0.8.
        start: transitions before the parameters are changed for the first time; None never changes them.
        average: transitions before parameters begin to be averaged, for `averaged`; None never averages them. With a
            rate that decreases more slowly than 1/t, the average is closer to the truth than the last parameters are.
        least: no probability becomes less than this before it is divided by the sum of its row. Less than 1/max(N, M);
            it may be 0 with ``exact=True``, where rows of states that were never visited then stay as they are.
        seed: of the random signs, or a Generator.

    Raises:
        ShapeError: transition, emission and initial do not fit each other.
        DeclarationError: their rows are no distributions, or an option is not what it should be.

    Two states that start alike stay alike: start from different rows. Symbols cannot be missing: leave them out and
    every one is taken to follow the one before. To keep a model, use `pickle`; a `rate` of your own has to be a
    function of a module then, or one of `fwdgrad.schedules`.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> em = OnlineEM([[0.8, 0.2], [0.2, 0.8]], [[0.6, 0.4], [0.4, 0.6]])
        >>> losses = em.run(np.repeat(rng.integers(2, size=2000), 5))  # each symbol five times
        >>> bool(losses[-1000:].mean() < np.log(2) - 0.1)
        True
        >>> em.transition.shape
        (2, 2)
    """

    def __init__(
        self,
        transition: Any,
        emission: Any,
        initial: Any = None,
        *,
        exact: bool = True,
        copies: int = 1,
        rate: Rate | None = None,
        start: int | None = 20,
        average: int | None = None,
        least: float = 1e-6,
        seed: Any = 0,
    ) -> None:
        self._q, self._g = _distributions("transition", transition), _distributions("emission", emission)
        n = len(self._q)
        if self._q.shape != (n, n) or len(self._g) != n:
            raise ShapeError(
                f"OnlineEM: expected transition (N, N) and emission (N, M), got {self._q.shape} and {self._g.shape}."
            )
        first = _distributions("initial", [np.full(n, 1.0 / n) if initial is None else initial])
        if first.shape != (1, n):
            raise ShapeError(f"OnlineEM: expected initial of shape ({n},), got {first.shape[1:]}.")
        if (
            isinstance(copies, bool)
            or not isinstance(copies, (int, np.integer))
            or copies < 1
            or (exact and copies > 1)
        ):
            raise DeclarationError(
                f"OnlineEM(copies=…): expected an integer of at least 1, and 1 with exact=True; got {copies!r}."
            )
        for label, value in (("start", start), ("average", average)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1):
                raise DeclarationError(
                    f"OnlineEM({label}=…): expected an integer of at least 1, or None; got {value!r}."
                )
        most = 1.0 / max(n, self._g.shape[1])
        if not is_number(least) or not (0 <= least < most if exact else 0 < least < most):
            raise DeclarationError(
                f"OnlineEM(least=…): expected a number less than 1/max(N, M) = {most:g}, and "
                f"{'at least' if exact else 'more than'} 0 with exact={exact}; got {least!r}."
            )
        rate = inverse_power(1.0, 0.8) if rate is None else rate
        self._rate = rate if callable(rate) else constant(_gain(rate))
        self._start, self._average, self._least = start, average, float(least)
        self._mean, self._averaged = Parameters(self._q, self._g), 0
        try:
            self._rng = np.random.default_rng(seed)
        except (TypeError, ValueError):
            raise DeclarationError(
                f"OnlineEM(seed=…): expected an integer of at least 0, or a numpy Generator; got {seed!r}."
            ) from None
        self._filter, self._seen = first[0], 0
        self._sums = np.zeros((n, n + self._g.shape[1]))
        self._kept: Any = _ExactDeviations(self._sums.shape) if exact else _RandomDeviations(self._sums.shape, copies)

    def __repr__(self) -> str:
        how = "exact" if isinstance(self._kept, _ExactDeviations) else "random"
        return f"{_sized('OnlineEM', self._g)}, {how}"

    def _repr_html_(self) -> str:
        return display.page(repr(self), *map(_matrix, self.averaged))

    @property
    def transition(self) -> np.ndarray:
        """q, shape (N, N)."""
        return self._q.copy()

    @property
    def emission(self) -> np.ndarray:
        """g, shape (N, M)."""
        return self._g.copy()

    @property
    def averaged(self) -> Parameters:
        """The mean of the parameters from `average` on; the present ones before that."""
        return self._mean if self._averaged else Parameters(self._q, self._g)

    @property
    def filter(self) -> np.ndarray:
        """φ_t, the distribution of the present state given all symbols so far, shape (N,)."""
        return self._filter.copy()

    @property
    def statistics(self) -> Statistics:
        """S_t: exact, or unbiased for parameters that never changed."""
        n = len(self._q)
        return Statistics(self._sums[:, :n].copy(), self._sums[:, n:].copy())

    @property
    def nbytes(self) -> int:
        """Memory of what is carried along besides the parameters."""
        return int(self._filter.nbytes + self._sums.nbytes + self._kept.nbytes)

    def learn_one(self, y: int) -> float:
        """Learn from the next symbol.

        Args:
            y: a symbol, 0 ≤ y < M.

        Returns:
            −log P(y | all symbols before it), in nats, with the parameters before they learn from it.

        Raises:
            DataError: y is no such symbol, or impossible with the present parameters.
            DeclarationError: the rate is not more than 0 and at most 1.

        Nothing has changed after an error.
        """
        symbol = self._symbol(y)
        joint = self._filter[:, None] * self._q if self._seen else np.diag(self._filter)
        predicted = joint.sum(axis=0)
        weights = predicted * self._g[:, symbol]
        likelihood = float(weights.sum())
        if not likelihood > 0:
            raise DataError(f"learn_one: symbol {symbol} has probability {likelihood:g} after what was seen before it.")
        after = weights / likelihood
        if self._seen:
            gamma = _gain(self._rate(np.float64(self._seen)), self._seen)
            backward = joint / np.where(predicted > 0, predicted, 1.0)
            self._learn(backward, after, symbol, gamma)
        self._filter = after
        self._seen += 1
        return -float(np.log(likelihood))

    def run(self, ys: Iterable[int]) -> np.ndarray:
        """`learn_one` for each of a stream; the losses.

        Raises:
            DataError: as from `learn_one`, for the first symbol that does; those before it are learned by then.
        """
        if not isinstance(ys, Iterable) or (isinstance(ys, np.ndarray) and ys.ndim == 0):
            raise DataError(f"run: expected symbols one after the other, such as a list of them; got {ys!r}.")
        return np.array([self.learn_one(y) for y in ys])

    def _symbol(self, y: Any) -> int:
        count = self._g.shape[1]
        if isinstance(y, bool) or not isinstance(y, (int, np.integer)) or not 0 <= y < count:
            raise DataError(f"learn_one: expected a symbol, an integer from 0 to {count - 1}; got {y!r}.")
        return int(y)

    def _learn(self, backward: np.ndarray, after: np.ndarray, symbol: int, gamma: float) -> None:
        t = self._seen
        self._sums = (1.0 - gamma) * self._sums + self._kept.advance(backward, after, symbol, gamma, self._rng)
        if self._start is not None and t >= self._start:
            n = len(after)
            self._q = _normalised(self._sums[:, :n], self._least, self._q)
            self._g = _normalised(self._sums[:, n:], self._least, self._g)
        if self._average is not None and t >= self._average:
            self._averaged += 1
            now = zip(self._mean, (self._q, self._g), strict=True)
            self._mean = Parameters(*(mean + (part - mean) / self._averaged for mean, part in now))


# ---------------------------------------------------------------- the deviations D_t(x) = ρ_t(x) − S_t
#
# With E(x') = Σ_x [γ s(x, x', y) + (1 − γ) D_t(x)] r_t(x|x'), the recursion of ρ is S ← (1 − γ) S + Σ_u φ(u) E(u) and
# D(x') ← E(x') − Σ_u φ(u) E(u). A row of S, and of each ρ(x), holds the transitions from a state and then its symbols.


def _new_terms(backward: np.ndarray, weights: np.ndarray, symbol: int, columns: int) -> np.ndarray:
    """Σ_x' weights(x') Σ_x s(x, x', y) r(x|x'): O(N²), since every x' has entries of its own."""
    n = len(weights)
    made = np.zeros((n, columns))
    made[:, :n] = backward * weights
    made[:, n + symbol] = weights
    return made


class _ExactDeviations:
    """D in full, shape (N, N, N + M)."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._D = np.zeros((shape[0], *shape))

    @property
    def nbytes(self) -> int:
        return self._D.nbytes

    def advance(
        self, backward: np.ndarray, after: np.ndarray, symbol: int, gamma: float, rng: np.random.Generator
    ) -> np.ndarray:
        """D after the step; returns Σ φ E."""
        n, states = len(after), np.arange(len(after))
        E = (1.0 - gamma) * np.tensordot(backward.T, self._D, axes=1)
        E[states, :, states] += gamma * backward.T
        E[states, states, n + symbol] += gamma
        mean = np.tensordot(after, E, axes=1)
        self._D = E - mean
        return mean


class _RandomDeviations:
    """D̃ = v ⊗ w averaged over copies: v (copies, N), w (copies, N, N + M)."""

    def __init__(self, shape: tuple[int, int], copies: int) -> None:
        self._v, self._w = np.zeros((copies, shape[0])), np.zeros((copies, *shape))

    @property
    def nbytes(self) -> int:
        return self._v.nbytes + self._w.nbytes

    def advance(
        self, backward: np.ndarray, after: np.ndarray, symbol: int, gamma: float, rng: np.random.Generator
    ) -> np.ndarray:
        """D̃ after the step; returns Σ φ E, with the last step exact."""
        return self.reduced(backward, after, symbol, gamma, rng.choice([-1.0, 1.0], self._v.shape))

    def reduced(
        self, backward: np.ndarray, after: np.ndarray, symbol: int, gamma: float, signs: np.ndarray
    ) -> np.ndarray:
        """The same, with the signs given: one for each copy and state."""
        columns = self._w.shape[2]
        carried = (1.0 - gamma) * (self._v @ backward)
        along = carried @ after
        mean = gamma * _new_terms(backward, after, symbol, columns)
        mean += np.tensordot(along, self._w, axes=1) / len(along)
        # the term of x' is (e_x' − φ(x')) ⊗ γ s̄(x'), whose squared norms are these
        first = 1.0 - 2.0 * after + len(after) * after**2
        second = gamma**2 * (np.sum(backward**2, axis=0) + 1.0)
        left, right = scales([first, second])
        for k, sign in enumerate(signs):
            old = carried[k] - along[k]
            new = left * sign - np.dot(after, left * sign)
            terms = np.stack([self._w[k].ravel(), gamma * _new_terms(backward, right * sign, symbol, columns).ravel()])
            self._v[k], w = reduce([np.stack([old, new]), terms], np.ones(2))
            self._w[k] = w.reshape(self._w[k].shape)
        return mean


def _distributions(name: str, rows: Any) -> np.ndarray:
    """Rows of probabilities."""
    try:
        made = np.array(rows, float)
    except (TypeError, ValueError):
        made = np.zeros(0)
    if made.ndim != 2 or made.size == 0:
        raise ShapeError(f"OnlineEM: {name}: expected an array of probabilities, got {rows!r}.")
    if not (np.all(made >= 0) and np.allclose(made.sum(axis=1), 1.0, atol=1e-6)):
        raise DeclarationError(f"OnlineEM: {name}: expected probabilities that sum to 1 in each row, got {rows!r}.")
    return made


def _normalised(sums: np.ndarray, least: float, before: np.ndarray) -> np.ndarray:
    """Rows divided by their sums; where that is 0, those from before."""
    positive = np.maximum(sums, least)
    total = positive.sum(axis=1, keepdims=True)
    return np.where(total > 0, positive / np.where(total > 0, total, 1.0), before)


def _gain(rate: Any, t: int | None = None) -> float:
    """γ, if it is one."""
    try:
        gamma = np.nan if isinstance(rate, (bool, str)) else float(rate)
    except (TypeError, ValueError):
        gamma = np.nan
    if not 0 < gamma <= 1:
        at = "" if t is None else f" at t = {t}"
        raise DeclarationError(
            f"OnlineEM(rate=…): expected γ with 0 < γ ≤ 1, or a function of t that returns it; got {rate!r}{at}."
        )
    return gamma
