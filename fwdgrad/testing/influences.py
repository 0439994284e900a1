"""`check_influence`: the contract of an influence, and what it claims about G."""

from __future__ import annotations

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import Estimator
from fwdgrad.influence import Averaged, Influence
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.samples import SampleReader
from fwdgrad.learning.step.kinds import LEARN, TRANSIT
from fwdgrad.support.trees import unflatten
from fwdgrad.support.types import Leaves
from fwdgrad.system import System
from fwdgrad.testing.claims import Claim, accepted, checked, claim_of, fitting, refuses
from fwdgrad.testing.contract import Contract
from fwdgrad.testing.failures import Subject
from fwdgrad.testing.means import means
from fwdgrad.testing.noise import DRAWS, draw
from fwdgrad.testing.oracles import Observer, exact
from fwdgrad.testing.problems import FAMILIES, Problem, problem_for

__all__ = ["check_influence"]


@np.errstate(all="ignore")  # what is not finite is said by name
def check_influence(
    influence: Influence,
    system: System | None = None,
    *,
    claim: Claim | None = None,
    steps: int = 3,
    seed: int = 0,
    nodes: int = 2,
    tolerance: float = 1e-10,
) -> None:
    """Hold an influence to the contract in `fwdgrad.influence.base`, and to what it claims.

    The contract: states are containers of arrays of the declared dtype, of the same shapes after `advance`; nothing
    that is given is changed, and nothing depends on more than what is given; `pull` is row times `dense`, for a row by
    its coordinates and as a form; `magnitude` is finite exactly if the state is; zeros make no NaN; single precision
    stays single; the step does the same as a compiled program, called plainly, and on the engine "eager" (unless that
    is refused with a DeclarationError); copies can be averaged.

    The claim, for fixed parameters, at every step of a sequence shorter than the system's memory and with a target
    missing in it: `dense` is ∂h/∂θ and the gradient is ∂ℓ/∂θ, as automatic differentiation of the unrolled sequence
    has them ("exact": whatever the noise; "unbiased": in the mean over the noise).

    Noise is enumerated, "start" noise once per trajectory and "step" noise at each step: both signs, and Gauss–Hermite
    nodes for Gaussian numbers. Built-in systems are taken as large, and the sequence as long, as 4096 patterns allow.
    Where even two steps of the smallest have more, or where noise is uniform, 1024 seeded draws take their place, and
    means may be six standard errors off.

    Args:
        influence: what is checked.
        system: where; up to four state variables. By default built-in systems: fully connected, few parameters that
            feed all, one product, named states, symbols, one full of zeros, one that rests, one without memory. Those
            that it refuses with a DeclarationError are left out.
        claim: "exact", "unbiased" or "biased" (the contract alone is checked). By default "unbiased" if it asks for
            noise, else "exact".
        steps: length of the sequences.
        seed: of samples, rows and single draws.
        nodes: nodes for each Gaussian number; two, which are ±1, if nothing is more than quadratic in it.
        tolerance: relative to the largest entry if that is above 1.

    Raises:
        AssertionError: a rule is broken; the text says which, what was expected, what came, and where.
        DeclarationError: an argument makes no sense.

    Example:
        >>> from fwdgrad.influence import NoInfluence
        >>> check_influence(NoInfluence(), claim="biased")
        >>> check_influence(NoInfluence())
        Traceback (most recent call last):
            ...
        AssertionError: NoInfluence(): dense is not ∂h/∂θ: W[... is off by ...
    """
    checked("check_influence", claim, steps)
    subject = Subject(repr(influence))
    if system is None:
        _single_precision(subject, influence, steps, seed)
    for problems in accepted(subject, influence, system, steps, seed):
        Contract(subject, influence, problems[-1], seed).check()
        _ways_agree(subject, influence, problems[-1], seed)
        _holds(subject, influence, problems, claim, seed, nodes, tolerance)
    if claim_of(influence, problems[0], claim) == "unbiased" and not isinstance(influence, Averaged):
        _averages(subject, influence, problems[-1], seed)


def _holds(
    subject: Subject,
    influence: Influence,
    problems: list[Problem],
    claim: Claim | None,
    seed: int,
    nodes: int,
    tolerance: float,
) -> None:
    """What is claimed about `dense` and the gradient."""
    claim = claim_of(influence, problems[0], claim)
    problem, steps, enumerated = fitting(influence, problems, len(problems[-1].xs), nodes)
    if claim == "exact":  # with any noise
        problem, steps, enumerated = problems[0], len(problems[0].xs), False
    if claim == "biased":
        return
    problem = Problem(problem.name, problem.system, problem.xs[:steps], problem.ys[:steps])
    problem = problem.without(1) if steps > 2 else problem
    execution = Execution(problem.system, Estimator(influence), Observer(), "numpy")
    draws = 1 if claim == "exact" else DRAWS
    levels = means(execution, problem, steps, nodes if enumerated else None, draws, seed)
    for t, (level, truth) in enumerate(zip(levels, exact(problem), strict=True)):
        where = subject.at(problem.name).at(f"step {t} of {steps}, {level.how}")
        mean = "" if claim == "exact" else "the mean of "
        where.close(level.influence, truth.influence, tolerance, f"{mean}dense is not ∂h/∂θ", level.influence_error)
        if problem.ys[t] is not None:
            what = f"{mean}the gradient is not ∂ℓ/∂θ"
            where.close(level.gradient, truth.gradient, tolerance, what, level.gradient_error)


def _ways_agree(subject: Subject, influence: Influence, problem: Problem, seed: int) -> None:
    """The step as a compiled program, called plainly, and with autograd: the same influence, target or not."""
    where = subject.at(problem.name)
    tolerance = 1e-10 if problem.system.dtype == np.float64 else 1e-4
    with where.running("the traced step"):
        traced = _trajectory(Execution(problem.system, Estimator(influence), Observer(), "numpy"), problem, seed, False)
    with where.running("the step called plainly"):
        plain = _trajectory(Execution(problem.system, Estimator(influence), Observer(), "numpy"), problem, seed, True)
    others = {"plain": plain}
    with where.running("the step on the engine 'eager'"):
        try:
            execution = Execution(problem.system, Estimator(influence), Observer(), "eager")
            others["eager"] = _trajectory(execution, problem, seed, False)
        except DeclarationError:
            pass  # it says that it cannot
    for t, (learned, passed) in enumerate(traced):
        at = where.at(f"step {t}")
        at.close(passed, learned, tolerance, "a step without target advances differently")
        for label, other in others.items():
            at.close(learned, other[t][0], tolerance, f"dense of the traced step is not that of the {label} one")


def _trajectory(execution: Execution, problem: Problem, seed: int, plain: bool) -> list[list[Leaves]]:
    """`dense` after each step, with its target and without."""
    steps, dtype = execution.steps, problem.system.dtype
    rng, reader = np.random.default_rng(seed), SampleReader(execution.model, fed=True)
    carry, made = execution.initial(draw(execution.specs, "start", rng, dtype)), []
    for t, (x, y) in enumerate(zip(problem.xs, problem.ys, strict=True)):
        flat_x, flat_y, _ = reader.sample(x, y, t)
        noise = draw(execution.specs, "step", rng, dtype)
        if plain:
            held, given = execution.unpack(carry), unflatten(problem.system.given, flat_x)
            learned, _ = steps.learn(held, given, unflatten(problem.system.y, flat_y), noise)
            passed, _ = steps.transit(held, given, noise)
        else:
            learned = execution.unpack(tuple(execution.make(LEARN, carry, flat_x, flat_y, noise)[:-3]))
            passed = execution.unpack(tuple(execution.make(TRANSIT, carry, flat_x, noise)[:-3]))
        made.append([steps.influence.dense(state.influence, steps.layout) for state in (learned, passed)])
        carry = execution.pack(learned)
    return made


def _single_precision(subject: Subject, influence: Influence, steps: int, seed: int) -> None:
    """float32 stays float32, in the contract and in the traced step: on the first built-in system that fits."""
    for family in FAMILIES:
        size = family.sizes[-1]
        label = f"built-in {family.build.__name__} of {size} state variables in float32"
        problem = problem_for(family.build(size, np.float32), steps, seed, label)
        if refuses(influence, problem) is None:
            break
    else:
        return  # none fits, which is said where all of them are tried
    Contract(subject, influence, problem, seed).check()
    where = subject.at(problem.name)
    with where.running("the traced step"):
        execution = Execution(problem.system, Estimator(influence), Observer(), "numpy")
        rng, reader = np.random.default_rng(seed), SampleReader(execution.model, fed=True)
        carry = execution.initial(draw(execution.specs, "start", rng, np.float32))
        for t, (x, y) in enumerate(zip(problem.xs, problem.ys, strict=True)):
            flat_x, flat_y, _ = reader.sample(x, y, t)
            noise = draw(execution.specs, "step", rng, np.float32)
            *made, _, _, _ = execution.make(LEARN, carry, flat_x, flat_y, noise)
            carry = tuple(made)
    for leaf in carry:
        where.require(leaf.dtype == np.float32, "the traced step widens single precision", "float32", leaf.dtype)


def _averages(subject: Subject, influence: Influence, problem: Problem, seed: int) -> None:
    """The mean of two copies is the mean of two single ones: what `rank=2` does."""
    where = subject.at(f"{problem.name}, rank 2")
    contract = Contract(subject, Averaged(influence, 2), problem, seed)
    layout, pair = contract.layout, contract.influence
    rng = np.random.default_rng(seed)
    with where.running("a step of two copies"):
        start = draw(pair.noise(layout), "start", rng, layout.dtype)
        both = pair.init(layout, start)
        single = [influence.init(layout, tuple(a[k] for a in start)) for k in range(2)]
        for lin in contract._linearizations():
            noise = draw(pair.noise(layout), "step", rng, layout.dtype)
            both = pair.advance(both, lin, noise)
            single = [influence.advance(s, lin, tuple(a[k] for a in noise)) for k, s in enumerate(single)]
        first, second = (influence.dense(s, layout) for s in single)
    mean = {k: 0.5 * (first[k] + second[k]) for k in first}
    where.close(pair.dense(both, layout), mean, 1e-10, "dense of two copies is not their mean")
