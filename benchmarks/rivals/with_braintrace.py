"""braintrace's own UORO, with the update after every sample: in a compiled loop, and step by step.

Its random signs are its own business; to compare what is learned, they are read from a table here, which is cheaper
than drawing them.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

from benchmarks.rivals.problem import BITS, RATE, Prepared, Problem, Rival


def _network(problem: Problem) -> Any:
    import brainstate
    import braintrace
    import jax.numpy as jnp

    brainstate.environ.set(precision=64)

    class Network(brainstate.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            p = problem.params()
            self.R = brainstate.ParamState(jnp.asarray(p["R"].T))
            self.W = brainstate.ParamState({"weight": jnp.asarray(p["W"].T), "bias": jnp.asarray(p["b"])})
            self.V = brainstate.ParamState(jnp.asarray(p["V"]))
            self.c = brainstate.ParamState(jnp.asarray(p["c"]))
            self.h = brainstate.HiddenState(jnp.zeros(problem.units))

        def update(self, x: Any) -> Any:
            W = self.W.value
            mixed = braintrace.matmul(jnp.tanh(self.h.value), W["weight"], W["bias"])
            self.h.value = braintrace.embedding(x, self.R.value) + mixed
            return self.V.value @ jnp.tanh(self.h.value) + self.c.value

    return Network()


def _machine(problem: Problem) -> tuple[Any, Any, Any]:
    """(network, function that makes one step, function that goes back to the start)."""
    import brainstate
    import braintrace
    import jax
    import jax.numpy as jnp

    network, table = _network(problem), jnp.asarray(problem.signs)

    class Given(braintrace.UORO):
        def _draw_projection(self, key: Any, step: Any, group: int, shape: Any, dtype: Any) -> Any:
            return table[step].reshape(shape)

    learner = Given(network)
    learner.compile_graph(braintrace.MultiStepData(jnp.zeros(1, int)))
    learner.init_etrace_state()
    weights = network.states(brainstate.ParamState)
    begin = [(s, s.value) for s in (*weights.values(), network.h)]

    def step(x: Any, y: Any) -> Any:
        def loss() -> Any:
            scores = learner(braintrace.MultiStepData(x[None]))[0]
            return (jax.nn.logsumexp(scores) - scores[y]) * BITS

        gradients, value = brainstate.transform.grad(loss, weights, return_value=True)()
        for k, g in gradients.items():
            weights[k].value = jax.tree.map(lambda p, d: p - RATE * d, weights[k].value, g)
        return value

    def restart() -> None:
        for state, value in begin:
            state.value = value
        learner.reset_state()

    return network, step, restart


def _learned(network: Any) -> dict[str, np.ndarray]:
    W = network.W.value
    named = {"b": W["bias"], "R": network.R.value.T, "W": W["weight"].T, "V": network.V.value, "c": network.c.value}
    return {k: np.asarray(v) for k, v in named.items()}


def _loop(problem: Problem) -> Prepared:
    import brainstate
    import jax
    import jax.numpy as jnp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        network, step, restart = _machine(problem)
        xs, ys = (jnp.asarray(a) for a in problem.samples)
        loop = brainstate.transform.jit(lambda xs, ys: brainstate.transform.for_loop(step, xs, ys))
        jax.block_until_ready(loop(xs, ys))
        build = time.process_time() - start

    def run() -> float:
        restart()
        started = time.process_time()
        jax.block_until_ready(loop(xs, ys))
        jax.block_until_ready(network.W.value)
        return (time.process_time() - started) / problem.steps

    return Prepared(build, run, lambda: _learned(network))


def _single(problem: Problem) -> Prepared:
    import brainstate
    import jax.numpy as jnp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        network, step, restart = _machine(problem)
        learn = brainstate.transform.jit(step)
        float(learn(jnp.asarray(0), jnp.asarray(0)))
        build = time.process_time() - start
    pairs = list(zip(*(np.asarray(a) for a in problem.samples), strict=True))

    def run() -> float:
        restart()
        started = time.process_time()
        for x, y in pairs:
            float(learn(x, y))
        return (time.process_time() - started) / problem.steps

    return Prepared(build, run, lambda: _learned(network))


LOOP = Rival("braintrace, UORO, compiled loop", _loop, ("jax", "brainstate", "braintrace"))
STEP = Rival("braintrace, UORO, jitted step", _single, ("jax", "brainstate", "braintrace"))
