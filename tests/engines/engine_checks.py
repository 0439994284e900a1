"""Comparing the compiled engine with the NumPy engine, many programs to a compilation."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine import compile_program
from fwdgrad.engines.numpy_engine import compile_program as reference
from fwdgrad.program import Program

TOLERANCE = {np.float64: 1e-12, np.float32: 3e-5}


def merged(programs: Sequence[Program]) -> Program:
    """One program that does what all of them do."""
    return Program(
        "merged",
        tuple(v for p in programs for v in p.inputs),
        tuple(i for p in programs for i in p.instructions),
        tuple(o for p in programs for o in p.outputs),
    )


def difference(result: Any, expected: Any, tolerance: float) -> str | None:
    """What distinguishes two arrays, if anything does."""
    result, expected = np.asarray(result), np.asarray(expected)
    if (result.shape, result.dtype) != (expected.shape, expected.dtype):
        return f"{result.dtype}{result.shape} is not {expected.dtype}{expected.shape}"
    try:
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(result, expected)
    except AssertionError as error:
        return str(error)
    return None


def differences(
    names: Sequence[str],
    programs: Sequence[Program],
    arguments: Sequence[Any],
    tolerance: float,
    prepare: Callable[..., Any] = compile_program,
) -> list:
    """The programs whose compiled form, of an engine, gives something else than the NumPy engine, and what."""
    given = [np.asarray(a) for arrays in arguments for a in arrays]
    before = [a.copy() for a in given]
    results = iter(prepare(merged(programs))(*given))
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    found = []
    for name, program, arrays in zip(names, programs, arguments, strict=True):
        with np.errstate(all="ignore"):
            outputs = reference(program)(*arrays)
        for number, expected in enumerate(outputs):
            text = difference(next(results), expected, tolerance)
            if text is not None:
                found.append(f"{name}, output {number}: {text}")
    return found


def plausible(program: Program, seed: int = 0) -> list[np.ndarray]:
    """Arguments for a step program: small numbers, positive where a square or a count is meant."""
    generator = np.random.default_rng(seed)
    arguments = []
    for variable in program.inputs:
        if variable.dtype.kind in "iu":
            value = generator.integers(0, 2, variable.shape)
        else:
            value = 0.5 * generator.normal(size=variable.shape)
            if any(word in (variable.name or "") for word in ("squared", "squares", "optimizer", "alive", "counted")):
                value = np.abs(value)
        arguments.append(np.asarray(value, variable.dtype))
    return arguments
