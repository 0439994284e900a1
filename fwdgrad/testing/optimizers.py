"""`check_optimizer`: the contract of an optimizer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import CheckpointError
from fwdgrad.estimators import RTRL
from fwdgrad.learning.checkpoint import describe
from fwdgrad.learning.learner import Learner
from fwdgrad.optimizers import Optimizer
from fwdgrad.program import Abstract, trace
from fwdgrad.support.trees import flatten, leaf_names, unflatten
from fwdgrad.testing.engines import check_engine
from fwdgrad.testing.failures import Subject, copied, structure
from fwdgrad.testing.problems import network, problem_for

__all__ = ["check_optimizer"]

SHAPES: dict[str, tuple[int, ...]] = {"W": (3, 2), "b": (2,), "a": ()}
CONTAINERS = (dict, tuple, list)


@np.errstate(all="ignore")  # what is not finite is said by name
def check_optimizer(optimizer: Optimizer, *, updates: int = 300, seed: int = 0) -> None:
    """Hold an optimizer to the contract in `fwdgrad.optimizers.Optimizer`.

    The state is containers of arrays, of the same shapes and dtypes after every update, in single precision too;
    updates have the shape and dtype of their parameters; nothing that is given is changed, and nothing depends on more
    than what is given; the update can be traced, and does then what it does plainly; gradients of zero make no NaN; a
    quadratic with curvatures between 0.1 and 1 gets smaller; a learner learns with it, on two engines; a checkpoint
    goes on bit for bit, and says so if the optimizer has to be passed again because a file cannot hold it.

    Args:
        optimizer: what is checked; its rate fit for curvatures of at most 1.
        updates: how many it gets to make the quadratic smaller.
        seed: of parameters and gradients.

    Raises:
        AssertionError: a rule is broken; the text says which, what was expected, what came, and where.

    Example:
        >>> import fwdgrad as fg
        >>> check_optimizer(fg.SGD(0.1))
        >>> check_optimizer(fg.SGD(30.0))
        Traceback (most recent call last):
            ...
        AssertionError: SGD(rate=30.0): a quadratic does not get smaller.
        Expected: less than ...
    """
    subject = Subject(repr(optimizer))
    for dtype in (np.float64, np.float32):
        _contract(subject.at(f"parameters in {np.dtype(dtype)}"), optimizer, np.dtype(dtype), seed)
    _traced(subject.at("traced"), optimizer, seed)
    _decreases(subject, optimizer, updates, seed)
    with subject.at("in a learner").running("learning"):
        check_engine("eager", network(2), estimators=[RTRL()], optimizers=[optimizer], steps=6, seed=seed)
    _saved(subject.at("a checkpoint"), optimizer, seed)


def _drawn(seed: int, dtype: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {k: np.asarray(rng.normal(size=s), dtype) for k, s in SHAPES.items()}


def _contract(where: Subject, optimizer: Optimizer, dtype: np.dtype, seed: int) -> None:
    params = _drawn(seed, dtype)
    given = copied(params)
    with where.running("init(params)"):
        state = optimizer.init(params)
        again = optimizer.init(params)
    where.same(params, given, "init changes the parameters")
    where.same(again, state, "init gives something else when called again")
    where.require(isinstance(state, CONTAINERS), "a state is a NamedTuple, tuple, dict or list", "one", type(state))
    for name, leaf in zip(leaf_names(state, "state"), flatten(state), strict=True):
        where.require(isinstance(leaf, (np.ndarray, np.generic)), f"{name} is no array", "an array", repr(leaf))
    for number in range(4):
        at = where.at(f"update {number + 1}")
        zero = {k: np.zeros_like(v) for k, v in params.items()}
        for what, grads in (("zero gradients", zero), ("gradients", _drawn(seed + 1 + number, dtype))):
            made, after = _updated(at, optimizer, grads, state, params, what)
            for k, v in made.items():
                at.require(k in params, "an update of what is no parameter", sorted(params), k)
                got = f"{getattr(v, 'dtype', type(v).__name__)}{list(np.shape(v))}"
                at.require(
                    got == f"{dtype}{list(params[k].shape)}", f"update of {k}", f"{dtype}{list(params[k].shape)}", got
                )
            for name, leaf in zip(leaf_names((made, after), "it"), flatten((made, after)), strict=True):
                at.require(np.all(np.isfinite(leaf)), f"with {what}, {name[3:]} is not finite", "finite numbers", leaf)
        params = {k: v + made[k] if k in made else v for k, v in params.items()}
        state = _counted(at, optimizer, after)


def _counted(where: Subject, optimizer: Optimizer, state: Any) -> Any:
    """The state after `count`, if the optimizer has one: of the same form, what it is given unchanged."""
    count = getattr(optimizer, "count", None)
    if count is None:
        return state
    given = copied(state)
    with where.running("count(state, samples)"):
        after = count(state, np.array(3.0))
    where.same(state, given, "count changes the state it is given")
    label = "containers, shapes and dtypes of the state after count"
    where.require(structure(after) == structure(state), label, structure(state), structure(after))
    return after


def _updated(
    where: Subject, optimizer: Optimizer, grads: dict[str, Any], state: Any, params: dict[str, Any], what: str
) -> tuple[dict[str, Any], Any]:
    """One update, made twice: nothing given is changed, nothing is remembered."""
    given = copied(grads), copied(state), copied(params)
    with where.running(f"update with {what}"):
        made, after = optimizer.update(grads, state, params)
    for label, value, before in zip(("gradients", "state", "parameters"), (grads, state, params), given, strict=True):
        where.same(value, before, f"update changes the {label} it is given")
    kept = copied((dict(made), after))
    with where.running(f"update with {what}, once more"):
        again = optimizer.update(*copied(given))
    where.same((dict(again[0]), again[1]), kept, "update gives something else when called again")
    where.same((dict(made), after), kept, "update changes what it gave before")
    label = "containers, shapes and dtypes of the state after update"
    where.require(structure(after) == structure(state), label, structure(state), structure(after))
    return dict(made), after


def _traced(where: Subject, optimizer: Optimizer, seed: int) -> None:
    """As a program on the NumPy engine, against plain calls."""
    params = _drawn(seed, np.float64)
    state = optimizer.init(params)
    like = (params, state, params)

    def function(*flat: Any) -> tuple[Any, ...]:
        grads, held, theta = unflatten(like, flat)
        made, after = optimizer.update(grads, held, theta)
        return tuple(flatten(({k: made[k] for k in theta if k in made}, after)))

    with where.running("tracing update"):
        run = compile_program(trace(function, [Abstract.of(leaf) for leaf in flatten(like)], name="update"))
    for number in range(4):
        grads = _drawn(seed + 1 + number, np.float64)
        made, after = optimizer.update(grads, state, params)
        plain = flatten(({k: made[k] for k in params if k in made}, after))
        seen = run(*flatten((grads, state, params)))
        names = leaf_names(({k: made[k] for k in params if k in made}, after), "result")
        got, expected = (dict(zip(names, values, strict=True)) for values in (seen, plain))
        where.at(f"update {number + 1}").close(got, expected, 1e-12, "the traced update is not the plain one")
        params, state = {k: v + made[k] if k in made else v for k, v in params.items()}, after


def _decreases(where: Subject, optimizer: Optimizer, updates: int, seed: int) -> None:
    """½ Σ κ (θ − θ*)², κ between 0.1 and 1."""
    params, goal = _drawn(seed, np.float64), _drawn(seed + 99, np.float64)
    curvature = {k: np.linspace(0.1, 1.0, v.size).reshape(v.shape) for k, v in params.items()}

    def height(theta: dict[str, Any]) -> float:
        return float(sum(np.sum(curvature[k] * (theta[k] - goal[k]) ** 2) for k in theta)) / 2

    state, before = optimizer.init(params), height(params)
    for _ in range(updates):
        grads = {k: curvature[k] * (v - goal[k]) for k, v in params.items()}
        made, state = optimizer.update(grads, state, params)
        params = {k: v + made[k] if k in made else v for k, v in params.items()}
    after = height(params)
    where.require(after < before, "a quadratic does not get smaller", f"less than {before:.6g}", f"{after:.6g}")


def _saved(where: Subject, optimizer: Optimizer, seed: int) -> None:
    """Half of a stream, a file, the other half: with the optimizer passed again, and from the file alone."""
    problem = problem_for(network(2), 6, seed)
    samples = list(zip(problem.user_xs, problem.ys, strict=True))
    whole = Learner(problem.system, RTRL(), optimizer, seed)
    whole.run(samples)
    half = Learner(problem.system, RTRL(), optimizer, seed)
    half.run(samples[:3])
    with tempfile.TemporaryDirectory() as folder, where.running("saving and loading"):
        path = Path(folder) / "half.npz"
        half.save(path)
        loaded = [Learner.load(path, problem.system, optimizer=optimizer)]
        held = "repr" not in str(describe(optimizer))
        try:
            loaded.append(Learner.load(path, problem.system))
            where.require(held, "loaded without the optimizer, which a file cannot hold", "an error", "none")
        except CheckpointError as error:
            clear = not held and "optimizer=" in str(error)
            where.require(clear, "loading says that the optimizer has to be passed", "optimizer=…", str(error))
    for learner in loaded:
        learner.run(samples[3:])
        where.close(dict(learner.params), dict(whole.params), 0.0, "what was loaded goes on differently")
