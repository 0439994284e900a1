"""Write docs/operations.md: ``python docs/make_operations.py``. The table is made from the lowerings themselves."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np

from fwdgrad.program.lowering import SUPPORTED, Lowering, display_name

PAGE = Path(__file__).with_name("operations.md")

INTRODUCTION = """\
# What can be traced

<!-- written by docs/make_operations.py -->

F, Y and the loss are ordinary NumPy functions. fwdgrad calls each of them once with arrays that have a shape and a
dtype but no values, writes down the NumPy operations it does, and works with that list from then on: it differentiates
it, looks at which number depends on which, and turns it into fast code. So a function has to do the same operations at
every step, whatever the values are. `for` loops, `if`s on shapes and constants, helper functions, closures,
`autograd.numpy` and code that SymPy's `lambdify` wrote are all fine: they have run by the time the list is finished.

```python
import numpy as np


def F(h, x, theta):  # a network
    z = 1 / (1 + np.exp(-(theta["U"] @ h + theta["V"][:, x])))
    return (1 - z) * h + z * np.tanh(theta["W"] @ h)


def lotka_volterra(h, x, theta):  # an equation, written element by element
    prey, predators = h
    growth = theta["a"] * prey - theta["b"] * prey * predators
    return np.array([growth, theta["d"] * prey * predators - theta["c"] * predators])
```

What cannot be traced is refused with an error that names the operation, the line and a way out. With
`engine="eager"` a function runs as it is, step by step, and may do anything that autograd follows; it is slower.
The operations of the table have the same derivatives there.

## What to write instead

| In the function | Write |
|---|---|
| `if h[0] > 0:`, `while`, `and`, `or`, `max(h[0], 0)` | `np.where(condition, a, b)`, `np.maximum(h[0], 0)` |
| `float(h[0])`, `math.sin(h[0])` | `h[0]`, `np.sin(h[0])` |
| `h[0] = 1.0`, `h += 1`, `np.add(h, 1, out=h)` | `np.stack([1.0, h[1]])`, `h = h + 1` |
| `out = np.zeros(2)`, then `out[0] = h[0]` | `np.stack([h[0], 0.0])` |
| `np.array([h[0], h[1]], dtype=float)` | `np.array([h[0], h[1]])` or `np.stack([h[0], h[1]])` |
| `h[h > 0]`, `np.where(h > 0)`, `np.nonzero(h)` | `np.where(h > 0, h, 0.0)`, which keeps the size |
| `table[x]`, `table` a constant | `theta["table"][x]`, a frozen parameter, or `(np.arange(n) == x) @ table` |
| `h[:k]`, `k` an input | `np.take(h, start + np.arange(length))` |
| `np.asarray(h)` | `h` |
| `scipy.special.softmax(h)` | `e = np.exp(h - np.max(h))`, then `e / np.sum(e)` |
| complex numbers | two real arrays |

`np.array([...])` of traced numbers gives an array of objects, which computes element by element: `+`, `*`, `@`,
`np.tanh`, `np.sum` and the like work, comparisons do not. `np.stack([...])` has no such limits, and writes a shorter
program.

Constants are copied when the function is traced: changing an array afterwards changes nothing. Random numbers drawn
inside a function become constants too, so hand them in as inputs.

Results have NumPy's dtypes: a Python number takes the precision of the array it meets, a NumPy number or array does
not, so `h * np.float64(2)` is double precision even if `h` is single.

## Where a function has no derivative

One convention holds on every engine, forward and backward; the table below has the numbers, operation by operation.

- At a kink, the derivative is the mean of those on its sides. So |x| has 0 at 0; where two arguments of `np.maximum`
  are equal, or several entries share the largest value of `np.max`, they share the derivative equally; `np.clip` at a
  bound, `np.minimum` and `np.min` likewise.
- At the tip of a cone, where the sides are directions, it is their mean, too: norms, `np.hypot` and `np.std` have 0
  where they are 0.
- At a jump, it is that of the pieces, not of the jump: rounding, signs, comparisons, sorting places and conversions to
  integers have 0, x % y has 1 with respect to x.
- A function that looks a place up has the derivative of what is there: `np.sort` leaves equal entries in their order,
  `np.interp` takes the piece on the right of a knot, `np.where` and `np.select` the alternative that is chosen.
- Where the derivative is infinite on a side, as that of √x at 0, it is ∞. A step is refused, by a `NonFiniteError` that
  names the operation, if that makes anything infinite or NaN, and so is one in which a value is (a logarithm at 0, a
  division by 0).
- What does not depend on an infinite derivative is not touched by it: 0 · ∞ is 0 where the 0 stands for that. So
  `np.where(h > 0, np.sqrt(h), 0.0)`, `np.where(x != 0, np.sin(x) / x, 1.0)` and `np.where(x > 0, x * np.log(x), 0.0)`
  have the derivative of the alternative that is taken, whatever that of the other one is: no second condition is needed
  inside. `np.abs(x) ** 0.3` has the derivative 0 at 0, by the kink, and `x * np.sqrt(x)` by the factor x.

The 0 stands for that

- where a direction, or a gradient, begins as exactly 0;
- behind an alternative of `np.where` or `np.select`, or an argument of `np.maximum` and the like, that is not taken;
- at the kink of `np.abs`, and at the tip of `np.hypot`;
- where what is infinite is multiplied by exactly 0, by a factor that does not depend on it.

It does not where it is only the value of another derivative: `np.sqrt(x) ** 2` has the derivative 1, and reads 0 · ∞
at 0. That is refused; so is ∞ − ∞, as that of `np.sqrt(x) - np.sqrt(x)` forward. A number that is small but not 0 is
never taken for 0.

Infinite derivatives at finite values are looked at everywhere: those of `np.sqrt`, `np.cbrt`, `np.arcsin`, `np.arccos`,
`np.arccosh` and of powers with an exponent below 1, or a computed one. Where a value is itself infinite or NaN
(`np.divide`, `np.log`, `np.exp` of a large number, what is computed from these), derivatives are looked at in the
alternatives of `np.where` and `np.select` only: looking at every product would cost more than it mends. So
`np.maximum(np.log(x), -9.0)` is refused at 0: write `np.where(x > 0, np.maximum(np.log(x), -9.0), -9.0)`. The eager
engine sees one call at a time: it refuses fewer of these, and more where factors depend on earlier substeps.
Estimators that form ∂h'/∂h itself, as RTRL may, refuse an infinite entry of it, also in the first step, when nothing
depends on h yet: let a tank under √h begin with a little water.

A step that reads outside of an array or inverts a matrix that has no inverse is refused by an `IndexRangeError` or a
`SingularMatrixError`, whether or not the result is used.

## Table of operations

An argument that is not listed is refused. Python operators, indices (integers, slices, `...`, `None`, integer arrays
and lists, constant masks) and the methods of arrays that stand for one of these functions are traced too, and so are
`np.add.reduce` and its like for `multiply`, `maximum`, `minimum`, `logical_and` and `logical_or`, `np.add.accumulate`
and the `outer` method of every function of two arguments. Other names of the same function, such as `np.abs`,
`np.conj`, `np.mod`, `np.concat` or `scipy.special.jn`, need no entry of their own.

The column "derivative" says "yes"; "0" for results that do not change with small changes of the arguments; "–" for
questions about shapes, which are answered while tracing.
"""

THEMES = {
    "pointwise": "Entry by entry",
    "ufuncs": "Entry by entry",
    "choosing": "Choosing and ordering",
    "reductions": "Along axes",
    "products": "Products and linear algebra",
    "shapes": "Shapes",
    "joining": "Joining, splitting, repeating, shifting",
    "indexing": "Entries",
    "sampled": "Functions sampled at points",
    "questions": "Questions, and arrays like another",
}

DERIVATIVES = {"yes": "yes", "zero": "0", "none": "–"}


def call(function: Any, entry: Lowering) -> str:
    """The call with the arguments that are supported."""
    name = display_name(function)
    if isinstance(function, np.ufunc):
        return f"{name}({', '.join('xyz'[: function.nin])})"
    shown = []
    for parameter in inspect.signature(entry.write).parameters.values():
        text = parameter.name
        if parameter.kind is parameter.VAR_POSITIONAL:
            text = f"*{text}"
        elif parameter.default is not parameter.empty and type(parameter.default) is not object:
            text += f"={parameter.default!r}"
        shown.append(text)
    return f"{name}({', '.join(shown)})"


def page() -> str:
    """The whole page."""
    themes: dict[str, list[str]] = {title: [] for title in THEMES.values()}
    for function, entry in SUPPORTED.items():
        theme = THEMES[entry.write.__module__.rsplit(".", 1)[-1]]
        note = entry.note
        themes[theme].append(f"| `{call(function, entry)}` | {DERIVATIVES[entry.derivative]} | {note} |")
    head = "| Call | Derivative | Notes |\n|---|---|---|"
    return INTRODUCTION + "".join(
        "\n".join([f"\n### {title}\n", head, *sorted(rows)]) + "\n" for title, rows in themes.items()
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
