"""Each rule by which calls are simplified: it applies, and it changes no result, special values included."""

import numpy as np
import pytest

from fwdgrad.program import Abstract, trace
from fwdgrad.program import operations as ops

P = ops.POINTWISE
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2.25, 1e-310, 1e200])
FULL = ("slice", None, None, None)


def joined(x):
    """The array behind two arrays that are known, and before two more."""
    few = np.array([1, 0], x.dtype)
    return few[:1], few, x, few, few[1:]


# name: the call, how many instructions are left, whether the sign of zero may change
RULES = {
    "x + 0": (lambda x: P["add"](x, 0.0), 0, True),
    "x + integer 0": (lambda x: P["add"](x, 0), 0, True),
    "0 + x": (lambda x: P["add"](0, x), 0, True),
    "x - 0": (lambda x: P["subtract"](x, 0.0), 0, False),
    "x * 1": (lambda x: P["multiply"](x, 1.0), 0, False),
    "1 * x": (lambda x: P["multiply"](1, x), 0, False),
    "x / 1": (lambda x: P["divide"](x, 1.0), 0, False),
    "x ** 1": (lambda x: P["power"](x, 1), 0, False),
    "x ** 2": (lambda x: P["power"](x, 2), 1, False),
    "x ** 2.0": (lambda x: P["power"](x, 2.0), 1, False),
    "x ** -1": (lambda x: P["power"](x, -1.0), 1, False),
    "square": (lambda x: P["square"](x), 1, False),
    "reshape": (lambda x: ops.reshape(x, shape=(9,)), 0, False),
    "broadcast_to": (lambda x: ops.broadcast_to(x, shape=(9,)), 0, False),
    "transpose": (lambda x: ops.transpose(x, axes=(0,)), 0, False),
    "concatenate": (lambda x: ops.concatenate(x, axis=0), 0, False),
    "constants side by side": (lambda x: ops.concatenate(*joined(x), axis=0)[3:12], 2, False),
    "astype": (lambda x: ops.astype(x, dtype=x.dtype), 0, False),
    "sum over no axes": (lambda x: ops.reduce_sum(x, axes=()), 0, True),
    "all of it": (lambda x: ops.getitem(x, index=(FULL,)), 0, False),
}

# Calls that look alike and have to stay.
KEPT = {
    "0 - x": lambda x: P["subtract"](0.0, x),
    "1 / x": lambda x: P["divide"](1.0, x),
    "x * 0": lambda x: P["multiply"](x, 0.0),
    "x - x": lambda x: P["subtract"](x, x),
    "x / x": lambda x: P["divide"](x, x),
    "x ** 0": lambda x: P["power"](x, 0),
    "x ** 0.5": lambda x: P["power"](x, 0.5),
    "x + array of zeros": lambda x: P["add"](x, np.zeros((2, 9), x.dtype)),
    "x * double one": lambda x: P["multiply"](x, np.array(1.0)),
    "x > 0": lambda x: P["greater"](x, 0.0),
    "all of it, with a new axis": lambda x: ops.getitem(x, index=(("new",), FULL)),
    "backwards": lambda x: ops.getitem(x, index=(("slice", None, None, -1),)),
    "astype": lambda x: ops.astype(x, dtype=np.dtype(int)) if x.dtype == bool else ops.astype(x, dtype=np.dtype(bool)),
    "max over no axes": lambda x: ops.reduce_max(x, axes=()),
}


def results(call, values):
    """Traced, the way it is; and executed, where nothing is simplified."""
    program = trace(lambda x: (call(x),), [Abstract.of(values)])
    with np.errstate(all="ignore"):
        return program, program(values)[0], np.asarray(call(values))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", RULES)
def test_rule(name, dtype):
    call, left, signless = RULES[name]
    with np.errstate(all="ignore"):
        values = SPECIAL.astype(dtype)
    program, result, expected = results(call, values)
    assert len(program.instructions) == left
    assert result.dtype == expected.dtype == dtype
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=4 * np.finfo(dtype).eps)
    if not signless:
        np.testing.assert_array_equal(np.signbit(result), np.signbit(expected))


def test_known_arrays_side_by_side_are_one_operand():
    """Two before and two behind; not where something stands between them, or they are of unlike kinds."""
    for parts, count in ((joined, 3), (lambda x: (x, *joined(x)), 4), (lambda x: (x, np.ones(1), np.arange(2)), 3)):
        program, result, expected = results(lambda x, parts=parts: ops.concatenate(*parts(x), axis=0), SPECIAL)
        assert len(program.instructions[0].inputs) == count
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", KEPT)
def test_kept(name):
    program, result, expected = results(KEPT[name], SPECIAL)
    assert len(program.instructions) == 1
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(np.signbit(result), np.signbit(expected))


@pytest.mark.parametrize("name", [n for n in RULES if n not in ("x ** -1", "all of it")])
@pytest.mark.parametrize("values", [np.arange(9), np.arange(9) > 3, np.arange(9, dtype=np.int16)], ids=str)
def test_integers_keep_numpys_dtype(name, values):
    call, _, _ = RULES[name]
    try:
        expected = np.asarray(call(values))
    except TypeError:  # NumPy subtracts no booleans
        return
    _, result, _ = results(call, values)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_the_operator_takes_the_root_and_the_function_the_power():
    """As with arrays: they differ at −∞."""
    operator = trace(lambda x: (x**0.5,), [Abstract.of(SPECIAL)])
    function = trace(lambda x: (np.power(x, 0.5),), [Abstract.of(SPECIAL)])
    assert [i.operation.name for i in (*operator, *function)] == ["sqrt", "power"]
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(operator(SPECIAL)[0], SPECIAL**0.5, rtol=1e-15)
        np.testing.assert_allclose(function(SPECIAL)[0], np.power(SPECIAL, 0.5), rtol=1e-15)
