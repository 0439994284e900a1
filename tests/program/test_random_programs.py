"""Random programs: what tracing shares, drops and simplifies changes nothing."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from program_checks import wrongly_inferred

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.program import Abstract, Linearized, trace

INPUTS = [np.array([0.3, -0.7, 1.1]), np.array([[0.2, -0.4, 0.9], [1.3, 0.5, -0.8]]), np.array(0.6)]

# Functions under which numbers grow no faster than sums.
UNARY = [
    np.tanh,
    np.sin,
    lambda a: np.tanh(a) ** 2,
    lambda a: a * 1.0 + 0.0,
    lambda a: a.T,
    lambda a: a.reshape(-1),
    lambda a: np.sum(a, axis=-1) if a.ndim else a,
    lambda a: np.max(a, axis=0) if a.ndim else a,
    lambda a: a[..., ::-1] if a.ndim else a,
    lambda a: a[-1] if a.ndim else a,
    lambda a: a[np.array([0, 0, 1])] if a.ndim and a.shape[0] > 1 else a,
    lambda a: np.cumsum(a, axis=0) if a.ndim else a,
    lambda a: np.where(a > 0.1, a, -0.5),
    lambda a: np.concatenate([a, a]) if a.ndim else a,
    lambda a: np.concatenate([np.tanh(np.array([2 * a[0], a[-1]])), a]) if a.ndim == 1 else a,
    lambda a: a + np.sin(np.asarray(a)),
]
BINARY = [
    np.add,
    lambda a, b: np.multiply(np.sin(a), b),
    np.maximum,
    lambda a, b: a - b,
    lambda a, b: a / (2.0 + b * b),
    lambda a, b: np.stack([a, b]) if a.shape == b.shape else a,
    lambda a, b: np.sin(a) @ b if a.ndim == b.ndim == 1 and a.shape == b.shape else b,
    lambda a, b: np.outer(np.cos(a), b)[:2, :2],
]
CHOICES = st.lists(
    st.tuples(st.integers(0, len(UNARY) + len(BINARY) - 1), st.integers(0, 50), st.integers(0, 50)),
    min_size=1,
    max_size=12,
)


def values_of(choices, arrays):
    """The inputs, and the results of applying one chosen function after the other to earlier values."""
    values = list(arrays)
    for number, first, second in choices:
        a, b = values[first % len(values)], values[second % len(values)]
        values.append(UNARY[number](a) if number < len(UNARY) else BINARY[number - len(UNARY)](a, b))
    return values


def fitting(choices):
    """The choices whose shapes fit, and stay small."""
    kept = []
    for choice in choices:
        try:
            values = values_of([*kept, choice], INPUTS)
        except ValueError:
            continue
        if np.size(values[-1]) <= 60:
            kept.append(choice)
    return kept


@settings(max_examples=200, deadline=None)
@given(CHOICES)
def test_random_program(choices):
    choices = fitting(choices)

    def function(*arrays):
        values = values_of(choices, arrays)
        return values[-1], values[len(values) // 2]

    expected = [np.asarray(o) for o in function(*INPUTS)]
    program = trace(function, [Abstract.of(a) for a in INPUTS])
    for run in (program, compile_program(program)):
        for result, value in zip(run(*INPUTS), expected, strict=True):
            assert (np.shape(result), np.asarray(result).dtype) == (value.shape, value.dtype)
            np.testing.assert_allclose(result, value, rtol=1e-12, atol=1e-12)
    assert wrongly_inferred(program, INPUTS) == []

    generator = np.random.default_rng(0)
    tangents = {k: generator.normal(size=a.shape) for k, a in enumerate(INPUTS)}
    cotangents = [generator.normal(size=o.shape) for o in program.outputs]

    def products(*arrays):
        linearized = Linearized(program, arrays)
        return (*linearized.jvp(tangents), *linearized.vjp(cotangents, range(len(INPUTS))))

    found = compile_program(trace(products, [Abstract.of(a) for a in INPUTS]))(*INPUTS)
    for one, other in zip(products(*INPUTS), found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
    forward, backward = found[:2], found[2:]
    one = sum(np.sum(c * t) for c, t in zip(cotangents, forward, strict=True))
    other = sum(np.sum(tangents[k] * g) for k, g in enumerate(backward))
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
