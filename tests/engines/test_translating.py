"""The language that steps are written in: machine code does what Python does."""

import ast

import numpy as np
import pytest

from fwdgrad.engines import compiled_engine
from fwdgrad.engines.compiled_engine import machine, stream
from fwdgrad.engines.compiled_engine.translating import translated

HEAD = (
    'def function(out: "{kind}[8]", a: "{kind}[8]", flags: "bool[8]", work: "int64[8]", start: "int64", stop: "int64"):'
)


def compiled(body, kind, a, start, stop):
    """What a body leaves in `out`, `flags` and `work`, and what it returns, compiled; and executed by Python."""
    text = HEAD.format(kind=kind) + "".join(f"\n    {line}" for line in body.strip("\n").split("\n"))
    made = translated(text)
    function = machine.linked(machine.machine_code(made.text), made.names).entry
    scope = {"np": np}
    exec(compile(ast.parse(text), "<text>", "exec"), scope)
    results = []
    for machine_code in (True, False):
        arrays = [np.zeros(8, kind), np.array(a, kind), np.zeros(8, bool), np.zeros(8, np.int64)]
        table = np.array([stream.place(x) for x in arrays], np.int64)
        with np.errstate(all="ignore"):
            end = (
                function(stream.place(table), start, stop) if machine_code else scope["function"](*arrays, start, stop)
            )
        results.append([*(x.tolist() for x in (arrays[0], *arrays[2:])), end])
    return results


BODIES = {
    "ranges": """
for i in range(start, stop):
    work[i] += 1
for i in range(stop, start):
    work[i] += 100
for i in range(6, -1, -2):
    work[i] += i
for i in range(0, stop, start + 1):
    work[i] += 1000
for i in range(0):
    work[i] = 7
return stop
""",
    "jumps": """
n = 0
while n < 7:
    n += 1
    if n == 3:
        continue
    if n == 6:
        break
    for j in range(4):
        if j == n:
            break
        work[n] += j + 1
if n > 100:
    return 0
elif n == 6:
    work[7] = n
else:
    work[7] = -1
return n
""",
    "whole numbers": """
for i in range(8):
    x = i - 4
    work[i] = x // 3 * 1000 + x % 3 * 10 + x // (x - 9) - x % (x - 9)
return -7 // 2
""",
    "at once": """
x = 1
y = 2
for i in range(5):
    x, y = y, x + y
    work[i], work[i + 1] = y, x
return x
""",
    "truth": """
seen = False
for i in range(8):
    flags[i] = (a[i] > 0.0) & (i % 2 == 0) or not a[i] == a[i] and i != 3
    seen |= flags[i]
    work[i] = 5 if seen else abs(i - 6)
    flags[i] = flags[i] and a[i] <= 1.0
return stop
""",
    "numbers": """
s = np.{kind}(0.0)
for i in range(8):
    x = a[i]
    s += x * x - 0.5
    out[i] = max(min(x, 2.0), -1.0) if x == x else s / (x + 1)
    out[i] += -x if abs(x) < np.inf else 3 * x
    work[i] = np.int32(i * 3.75 - 9.0)
return stop
""",
}


@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize("name", BODIES)
def test_it_is_python(name, kind):
    a = [1.0, -2.0, np.nan, 0.0, np.inf, 0.25, -0.0, 1e30]
    one, other = compiled(BODIES[name].replace("{kind}", kind), kind, a, 2, 7)
    assert repr(one) == repr(other)


@pytest.mark.parametrize("wrong", ["x // 3", "x % 3"])
def test_division_that_rounds_to_zero_would_be_found(wrong, monkeypatch):
    """The negative control: C's division, not Python's."""
    plain = {"//": "sdiv", "%": "srem"}

    def careless(self, sign, a, b):
        return type(a)(self.emit(f"{plain[sign]} i64 {a.text}, {b.text}"), a.dtype)

    body = f"for i in range(8):\n    x = i - 4\n    work[i] = {wrong}\nreturn 0"
    one, other = compiled(body, "float64", [0.0] * 8, 0, 1)
    assert one == other
    monkeypatch.setattr("fwdgrad.engines.compiled_engine.instructions.Code._divided", careless)
    one, other = compiled(body, "float64", [0.0] * 8, 0, 1)
    assert one != other


@pytest.mark.parametrize(
    "text", ["x = [1]", "with a: pass", "n = 0\n    n = a[0]", "x = a[0] if a[0] else print", "x = a @ a"]
)
def test_what_is_not_in_the_language_is_no_silent_mistake(text):
    with pytest.raises((AssertionError, AttributeError, KeyError, TypeError)):
        translated(HEAD.format(kind="float64") + f"\n    {text}\n    return 0")


def test_the_entry_refuses_what_is_no_integer():
    """Before anything is executed: an address may not be guessed."""
    made = translated(HEAD.format(kind="float64") + "\n    return stop")
    function = machine.linked(machine.machine_code(made.text), made.names).entry
    table = np.zeros(4, np.int64)
    assert function(stream.place(table), 3, np.int64(5)) == 5
    for given in ((stream.place(table), 1.5, 2), ("0", 1, 2), (stream.place(table), 1, 2**70)):
        with pytest.raises((TypeError, OverflowError)):
            function(*given)


def test_machine_code_is_let_go_with_its_function():
    made = translated(HEAD.format(kind="float64") + "\n    return stop")
    code = machine.machine_code(made.text)
    table = np.zeros(4, np.int64)
    functions = [machine.linked(code, made.names).entry for _ in range(3)]
    del functions[0]
    assert [f(stream.place(table), 0, 4) for f in functions] == [4, 4]
    assert compiled_engine.aligned(table) is not table
