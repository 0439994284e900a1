"""Generated modules of the compiled engine, executed by Python: what compiling costs, random programs need not pay.

What LLVM makes of them is not seen this way; samples are compiled, too.
"""

import ast
import importlib.util
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.special

from fwdgrad.engines.compiled_engine import functions
from fwdgrad.engines.compiled_engine import runtime as compiled_runtime
from fwdgrad.engines.compiled_engine.writing import write
from fwdgrad.program import Program
from fwdgrad.program.guarded import refused

# C's functions, which neither raise nor leave double precision
SAME = "expm1 log log10 log1p sqrt sin cos tan sinh cosh hypot copysign floor exp"
MATH = SimpleNamespace(
    **{name: getattr(np, name) for name in SAME.split()},
    asin=np.arcsin,
    acos=np.arccos,
    atan=np.arctan,
    atan2=np.arctan2,
    asinh=np.arcsinh,
    acosh=np.arccosh,
    atanh=np.arctanh,
    erf=scipy.special.erf,
    erfc=scipy.special.erfc,
    gamma=scipy.special.gamma,
    lgamma=scipy.special.gammaln,
)


class Numbers(ast.NodeTransformer):
    """Floating-point literals as NumPy's numbers, which divide by zero as C does."""

    def visit_Constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, float):
            return node
        return ast.Call(ast.Attribute(ast.Name("np", ast.Load()), "float64", ast.Load()), [node], [])


def executed(source: str, filename: str, scope: dict[str, Any]) -> dict[str, Any]:
    """What a module of this source defines, with what is in `scope` in place of what it imports under these names."""
    tree = ast.fix_missing_locations(Numbers().visit(ast.parse(source)))
    tree.body = [line for line in tree.body if not _imports(line, scope)]
    exec(compile(tree, filename, "exec"), scope)
    return scope


def _imports(line: ast.stmt, names: Any) -> bool:
    return isinstance(line, (ast.Import, ast.ImportFrom)) and any(alias.name in names for alias in line.names)


def _interpreted_runtime() -> Any:
    spec = importlib.util.find_spec(compiled_runtime.__name__)
    assert spec is not None
    assert spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:
        source = file.read()
    scope = executed(source, spec.origin, {"__name__": "interpreted_runtime", "math": MATH, "functions": FUNCTIONS})
    scope["sign"] = np.sign  # Python's booleans have differences, NumPy's have none
    return SimpleNamespace(**scope)


FUNCTIONS = SimpleNamespace(exp=np.exp, log=np.log, tanh=np.tanh, sin=np.sin, cos=np.cos, NEAR=functions.NEAR)
RUNTIME = _interpreted_runtime()


def interpreted(program: Program) -> Any:
    """As `compiled_engine.compile_program`, without compiling."""
    written = write(program, None)
    scope = executed(written.text, "<interpreted>", {"math": MATH, "functions": FUNCTIONS, "runtime": RUNTIME})
    (kernel,) = (f for f in scope.values() if callable(f) and hasattr(f, "__code__"))

    def call(*arguments: Any) -> tuple[Any, ...]:
        rows = [np.array(a, e.dtype, order="C").ravel() for a, e in zip(arguments, written.rows, strict=True)]
        outs = [np.empty(o.size, o.dtype) for o in written.outs]
        work = [np.empty(w.size, w.dtype) for w in written.work]
        constants = [np.ravel(c) for c in written.constants]
        with np.errstate(all="ignore"):
            if kernel(*rows, *outs, *constants, *work, 0, 1) == 0:
                raise refused(program, arguments)
        return tuple(o.reshape(e.shape) for o, e in zip(outs, written.outs, strict=True))

    return call
