"""The derivative checks that every scenario goes through."""

from functools import cache
from typing import Any

import autograd
import autograd.numpy
import numpy as np
from program_scenarios import AUTOGRAD, PLAIN, Scenario, flat

import fwdgrad.linear.autodiff  # noqa: F401  what it teaches autograd's boxes is there whatever was loaded before
from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.program import Abstract, Linearized, Program, trace


@cache
def program_of(scenario: Scenario, dtype: type = np.float64) -> Program:
    return trace(lambda *a: scenario(PLAIN, *a), [Abstract.of(a) for a in scenario.cast(dtype)], name=scenario.name)


def wrongly_inferred(program: Program, arrays: tuple[Any, ...]) -> list[str]:
    """Intermediate results that have not the shape or dtype that was found without computing them."""
    values = program.evaluate(arrays)
    return [
        f"{instruction.operation}: {Abstract(out.shape, out.dtype)} is {Abstract.of(values[out])}"
        for instruction in program
        for out in instruction.outputs
        if Abstract.of(values[out]) != Abstract(out.shape, out.dtype)
    ]


def moving(arrays: tuple[Any, ...]) -> list[int]:
    """Numbers of the inputs there is a derivative for."""
    return [k for k, a in enumerate(arrays) if a.dtype.kind == "f"]


def directions(scenario: Scenario, dtype: type = np.float64) -> tuple[dict[int, Any], list[Any]]:
    """A tangent per floating-point input and a cotangent per floating-point output."""
    arrays, program = scenario.cast(dtype), program_of(scenario, dtype)
    generator = np.random.default_rng(11)
    tangents = {k: generator.normal(size=arrays[k].shape).astype(dtype) for k in moving(arrays)}
    cotangents = [
        generator.normal(size=o.shape).astype(o.dtype) if o.dtype.kind == "f" else None for o in program.outputs
    ]
    return tangents, cotangents


def unit_vectors(shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape, dtype=int))
    return np.eye(size).reshape(size, *shape)


def forward_jacobian(linearized: Linearized, arrays: tuple[Any, ...]) -> np.ndarray:
    """Outputs × inputs, column by column."""
    columns = [flat(linearized.jvp({k: e})) for k in moving(arrays) for e in unit_vectors(arrays[k].shape)]
    return np.array(columns).T if columns else np.zeros((len(flat(linearized.value)), 0))


def backward_jacobian(linearized: Linearized, arrays: tuple[Any, ...]) -> np.ndarray:
    """Outputs × inputs, row by row."""
    rows = []
    outputs = [np.asarray(o) for o in linearized.value]
    for number, output in enumerate(outputs):
        if output.dtype.kind == "f":
            for e in unit_vectors(output.shape):
                cotangents = [e if k == number else None for k in range(len(outputs))]
                rows.append(flat(linearized.vjp(cotangents, moving(arrays))))
    return np.array(rows) if rows else np.zeros((0, sum(arrays[k].size for k in moving(arrays))))


def difference_jacobian(function: Any, arrays: tuple[Any, ...], step: float = 1e-3) -> np.ndarray:
    """Outputs × inputs by central differences of fourth order."""
    columns = []
    for k in moving(arrays):
        for e in unit_vectors(arrays[k].shape):

            def at(distance: float, k: int = k, e: Any = e) -> np.ndarray:
                moved = [a + distance * e if j == k else a for j, a in enumerate(arrays)]
                return flat([np.asarray(o) for o in function(*moved)])

            columns.append((8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step))
    return np.array(columns).T if columns else np.zeros((len(flat(function(*arrays))), 0))


def autograd_outputs(scenario: Scenario, arrays: tuple[Any, ...]) -> Any:
    """A function of one vector, all moving inputs, whose result autograd differentiates: one vector, all outputs."""
    sizes = [arrays[k].size for k in moving(arrays)]
    cuts = np.cumsum([0, *sizes])

    def function(vector: Any) -> Any:
        given = list(arrays)
        for place, k in enumerate(moving(arrays)):
            given[k] = autograd.numpy.reshape(vector[cuts[place] : cuts[place + 1]], arrays[k].shape)
        outputs = [autograd.numpy.ravel(o) for o in scenario(AUTOGRAD, *given)]
        kept = [o for o, out in zip(outputs, program_of(scenario).outputs, strict=True) if out.dtype.kind == "f"]
        return autograd.numpy.concatenate([*kept, np.zeros(0)])

    return function


def autograd_jacobian(scenario: Scenario) -> np.ndarray:
    """Outputs × inputs by autograd's backward mode."""
    vector = flat(scenario.arrays)
    vjp, result = autograd.make_vjp(autograd_outputs(scenario, scenario.arrays))(vector)
    rows = [vjp(e) for e in unit_vectors(result.shape)]
    return np.array(rows) if rows else np.zeros((0, vector.size))


def autograd_jvp(scenario: Scenario, tangents: dict[int, Any]) -> np.ndarray:
    """The directional derivative by autograd's forward mode."""
    function = autograd_outputs(scenario, scenario.arrays)
    return autograd.make_jvp(function)(flat(scenario.arrays))(flat(list(tangents.values())))[1]


def traced_products(scenario: Scenario, dtype: type = np.float64) -> tuple[Any, Any]:
    """Compiled programs (arrays…, tangents…) → jvp and (arrays…, cotangents…) → vjp."""
    arrays, program = scenario.cast(dtype), program_of(scenario, dtype)
    tangents, cotangents = directions(scenario, dtype)
    given = [c for c in cotangents if c is not None]
    count = len(arrays)

    def jvp(*values: Any) -> Any:
        return Linearized(program, values[:count]).jvp(dict(zip(tangents, values[count:], strict=True)))

    def vjp(*values: Any) -> Any:
        rest = iter(values[count:])
        cot = [None if c is None else next(rest) for c in cotangents]
        return Linearized(program, values[:count]).vjp(cot, moving(arrays))

    point = [Abstract.of(a) for a in arrays]
    return (
        compile_program(trace(jvp, [*point, *(Abstract.of(t) for t in tangents.values())])),
        compile_program(trace(vjp, [*point, *(Abstract.of(c) for c in given)])),
    )
