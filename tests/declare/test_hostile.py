"""Broken and hostile model texts: each is refused with its line and a reason, at once, and none runs anything."""

import re
import statistics
import string
import sys
import tomllib
from contextlib import contextmanager, suppress

import pytest
from effort import lines_run
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import fwdgrad as fg
from fwdgrad.errors import FwdgradError, ModelTextError

MODEL = """\
# line 1
d x/dt = {expression}
x(0) = 1
d v/dt = diff(join(0, k*diff(v), 0))
v(0) = [1, 2, 3]
k2 = k*2
param k = 0.5
param lambda_ = 2 in (0, inf) : 1/s
input u = 0.0
output x
dt = 0.1
"""

DEEP = "(" * 200 + "x" + ")" * 200

# ---- an expression that is refused, and a part of the reason

EXPRESSIONS = [
    # attributes, calls, and ways to other objects
    ("x.__class__", "attributes"),
    ("().__class__.__bases__[0].__subclasses__()", "attributes"),
    ("x.real", "attributes"),
    ("[].append(1)", "attributes"),
    ("__import__('os').system('touch owned')", "underscore"),
    ("__import__(os)", "underscore"),
    ("eval(x)", "no function 'eval'"),
    ("exec(x)", "no function 'exec'"),
    ("compile(x)", "no function"),
    ("open(x)", "no function"),
    ("getattr(x, k)", "no function"),
    ("setattr(x, k, u)", "no function"),
    ("globals()", "no function"),
    ("locals()", "no function"),
    ("vars()", "no function"),
    ("breakpoint()", "no function"),
    ("input()", "no function"),
    ("print(x)", "no function"),
    ("type(x)", "no function"),
    ("int(x)", "no function"),
    ("object()", "no function"),
    ("system(x)", "no function"),
    ("np.exp(x)", "attributes"),
    ("numpy(x)", "no function"),
    ("sympy(x)", "no function"),
    ("negative(x)", "no function"),
    ("list(x)", "no function"),
    ("exp(x)(x)", "known by name"),
    ("(exp)(x)(k)", "known by name"),
    ("exp(*x)", "Starred|one by one|refused"),
    ("exp(*[x])", "refused"),
    ("exp(**x)", "cannot be read|without names"),
    ("exp(x=1)", "one `=`"),
    ("exp()", "takes 1 argument"),
    ("exp(x, k)", "takes 1 argument, got 2"),
    ("where(x > 0, 1)", "takes 3 arguments"),
    ("max(x)", "2 or more"),
    ("k(x)", "no function 'k'"),
    ("2(x)", "known by name"),
    ("Exp(x)", "Did you mean 'exp'"),
    # what is not an expression
    ("lambda: x", "word of Python"),
    ("lambda x: x", "word of Python"),
    ("lambda*x", "word of Python"),
    ("import os", "word of Python"),
    ("from os import system", "word of Python"),
    ("class", "word of Python"),
    ("yield x", "word of Python"),
    ("await x", "word of Python"),
    ("x for x in v", "word of Python"),
    ("[x for x in v]", "word of Python"),
    ("(y := x)", "line of its own"),
    ("x; import os", "';'"),
    ("x\\", "'\\\\\\\\'"),
    ("x is k", "word of Python"),
    ("x in v", "word of Python"),
    ("None", "word of Python"),
    ("True", "word of Python"),
    ("False*x", "word of Python"),
    ("...", "attributes|cannot be read"),
    ("pass", "word of Python"),
    ("del x", "word of Python"),
    ("return x", "word of Python"),
    ("global x", "word of Python"),
    ("assert x", "word of Python"),
    ("raise x", "word of Python"),
    ("{x}", "'{'"),
    ("{x: k}", "'{'"),
    ("'x'", '"\'"|quot|APOSTROPHE'),
    ('"x"', "no meaning"),
    ("f'{x}'", "no meaning"),
    ("b'x'", "no meaning"),
    ("`x`", "no meaning"),
    ("$x", "no meaning"),
    ("@x", "cannot be read"),
    ("x!", "write `not`"),
    ("x?", "no meaning"),
    ("-> x", "cannot be read|no meaning"),
    ("x, k", "Tuple|list is written"),
    ("(x, k)", "list is written"),
    ("()", "list is written"),
    ("[]", "empty list"),
    ("*x", "cannot be read|refused"),
    # operators
    ("x ^ 2", "write \\*\\* for powers"),
    ("x // 2", "floor"),
    ("x & k", "`and`"),
    ("x | k", "`or`"),
    ("~x", "`not`"),
    ("x << 2", "operators are"),
    ("x >> 2", "operators are"),
    ("x == k", "hardly ever equal"),
    ("x != k", "hardly ever equal"),
    ("x = k", "one `=`"),
    ("x > 0", "true or false"),
    ("(x > 0)*k", "true or false"),
    ("x and k", "a number; a condition"),
    ("not x", "a number; a condition"),
    ("not x > 0", "true or false"),
    ("exp(x > 0)", "true or false"),
    ("where(x, 1, 2)", "a condition is expected"),
    ("where(x > 0, x > 1, 2)", "true or false"),
    ("where(1 > x > k2 and u, 1, 2)", "a condition is expected"),
    ("1 if x else 2", "a condition is expected"),
    ("x if x > 0", "cannot be read"),
    # what Python cannot read
    ("x +", "cannot be read"),
    ("x * / k", "cannot be read"),
    ("x k", "cannot be read"),
    ("2 x", "cannot be read"),
    ("2x", "products with"),
    ("x)", "opening bracket"),
    ("(x]", "cannot be read"),
    ("x..k", "attributes"),
    ("1..2", "numbers like"),
    ("1e", "numbers like"),
    ("0x10", "numbers like"),
    ("0b11", "numbers like"),
    ("1j*x", "numbers like"),
    ("1_000", "underscore|numbers like"),
    ("007", "cannot be read"),
    # numbers and powers
    ("9**9**9*x", "too high"),
    ("x**1e9", "too high"),
    ("x**65", "too high"),
    ("x**-1000", "too high"),
    ("x**(60 + 60)", "too high"),
    ("x**exp(10)", "too high"),
    ("x**(1/0)", "exponent cannot be computed"),
    ("2**2**2**2**2**2**x**99", "too high"),
    ("1e999*x", "too large"),
    ("9" * 400 + "*x", "too large"),
    ("9" * 5000 + "*x", "too large|cannot be read|deeply"),
    ("**".join(["x"] * 300), "deeply"),
    # depth and length
    (DEEP, "deeply"),
    ("[" * 500 + "x" + "]" * 500, "deeply"),
    ("-" * 1000 + "x", "deeply"),
    ("- + - + - + x", "deeply"),
    ("exp(" * 40 + "x" + ")" * 40, "deeply"),
    ("x + " * 300 + "x", "deeply"),
    ("x*(" * 25 + "x + " * 90 + "x" + ")" * 25, "deeply"),
    ("x if x > 0 else " * 200 + "x", "deeply"),
    ("where(" + "not " * 300 + "x > 0, 1, 2)", "deeply"),
    ("x + " * 6000 + "x", "too long"),
    ("a" * 100, "too long"),
    # names
    ("y", "'y' is not declared"),
    ("lambd_", "Did you mean 'lambda_'"),
    ("X", "not declared"),
    ("T", "not declared"),
    ("e**x", "'e' is not declared"),
    ("inf*x", "not declared"),
    ("nan", "not declared"),
    ("exp", "not declared"),
    ("_x", "underscore"),
    ("__x__", "underscore"),
    ("_", "underscore"),
    ("\u0445", "CYRILLIC"),
    ("k*\u0435xp(x)", "CYRILLIC"),
    ("\uff58", "FULLWIDTH"),
    ("\u1d465", "MODIFIER|MATHEMATICAL|CAPITAL"),
    ("\U0001d465", "MATHEMATICAL"),
    ("x\u2080", "SUBSCRIPT"),
    ("x\u00b2", "SUPERSCRIPT"),
    ("x\u200bk", "ZERO WIDTH"),
    ("x\u202ek", "RIGHT-TO-LEFT"),
    ("x \u2212 k", "MINUS SIGN"),
    ("x\u00d7k", "MULTIPLICATION"),
    ("\u0391*x", "GREEK CAPITAL LETTER ALPHA"),
    ("\u03bf", "GREEK SMALL LETTER OMICRON"),
    ("\u0661*x", "ARABIC-INDIC"),
    ("x\x00", "control"),
    ("x\x07k", "control"),
    ("\U0001f600", "GRINNING"),
    # indices and arrays
    ("v[k]", "index is a whole number"),
    ("v[0.5]", "index is a whole number"),
    ("v[1e3]", "index is a whole number"),
    ("v[True]", "word of Python"),
    ("v[::0]", "step of a slice"),
    ("v[x:2]", "index is a whole number"),
    ("v[9]", "cannot be computed"),
    ("v[0, 0]", "cannot be computed"),
    ("v[]", "cannot be read"),
    ("x[0]", "cannot be computed"),
    ("v[99999999999]", "whole number"),
    ("x + v", "shape"),
    ("sum(v)[0]", "cannot be computed"),
    ("sum(v + v[:2])", "do not go together"),
    ("sum([[1], [2]] * v)", "do not go together"),
    ("sum(repeat(x, 1e9))", "whole number"),
    ("sum(repeat(x, k))", "whole number"),
    ("sum(repeat(v, 2))", "single numbers"),
    ("sum(repeat(x, 0))", "at least one"),
    ("sum(repeat(x, -5))", "at least one"),
    ("sum(repeat(x, 2.5))", "whole number"),
    ("sum(linspace(v, 1, 5))", "single numbers"),
    ("sum(join(" + "repeat(x, 100000), " * 20 + "x))", "too large"),
    ("dot(v, [1, 2])", "cannot be computed"),
    ("v @ [[1, 2]]", "cannot be computed"),
    ("[x, v]", "cannot be computed"),
    ("sum(transpose([repeat(x, 100000)]) @ [repeat(x, 100000)])", "too large"),
    ("sum([[v]] @ [[v]])", "vectors and matrices"),
    ("diff(x)", "cannot be computed"),
    ("mean(v[9:])", "mean of nothing"),
    ("v", "shape"),
]

# ---- whole models, the line that is refused, and a part of the reason

PLAIN = MODEL.format(expression="-k*x")


def with_line(line):
    """The model with one more line, number 12."""
    return PLAIN + line + "\n"


def without(start):
    return "".join(f"{line}\n" for line in PLAIN.splitlines() if not line.startswith(start))


MODELS = [
    # duplicates
    (with_line("param k = 1"), 12, "'k' is there twice, first in line 7"),
    (with_line("d x/dt = 1"), 12, "'x' is there twice"),
    (with_line("x = 1"), 12, "'x' is there twice"),
    (with_line("x(0) = 2"), 12, r"x\(0\) is there twice"),
    (with_line("input k = 1"), 12, "'k' is there twice"),
    (with_line("k2 = 1"), 12, "'k2' is there twice"),
    (with_line("output x"), 12, "output 'x' is there twice"),
    (with_line("dt = 0.2"), 12, "dt is there twice"),
    # missing
    (without("x(0)"), 2, r"initial value x\(0\) is missing"),
    (without("d x"), 2, "no equation says how 'x' changes"),
    (without("param k "), 2, "'k' is not declared"),
    (with_line("y(0) = 1"), 12, "no equation says how 'y' changes"),
    (with_line("d y/dt = 1"), 12, r"y\(0\) is missing"),
    # circles
    (with_line("y = y"), 12, "circle: y → y"),
    (with_line("y = z\nz = y*2"), 12, "circle: y → z → y"),
    (with_line("\n".join(f"y{n} = y{(n + 1) % 50}" for n in range(50))), 12, "circle"),
    (with_line("y1 = y2\ny2 = y3\ny3 = y2"), 13, "circle: y2 → y3 → y2"),
    # the left side
    (with_line("y"), 12, "equation is expected"),
    (with_line("= 3"), 12, "equation is expected"),
    (with_line("y ="), 12, "equation is expected"),
    (with_line("output"), 12, "equation is expected"),
    (with_line("param"), 12, "equation is expected"),
    (with_line("import os"), 12, "equation is expected"),
    (with_line("print(1)"), 12, "equation is expected"),
    (with_line("x(1) = 1"), 12, "cannot stand on the left"),
    (with_line("x(0)(0) = 1"), 12, "cannot stand on the left"),
    (with_line("d y/dx = 1"), 12, "cannot stand on the left"),
    (with_line("d d y/dt/dt = 1"), 12, "cannot stand on the left"),
    (with_line("y + 1 = 2"), 12, "cannot stand on the left"),
    (with_line("y, z = 1"), 12, "cannot stand on the left"),
    (with_line("a.b = 1"), 12, "cannot stand on the left"),
    (with_line("v[0] = 1"), 12, "cannot stand on the left"),
    (with_line("param a b = 1"), 12, "cannot stand on the left"),
    (with_line("parameter a = 1"), 12, "cannot stand on the left"),
    (with_line("y == 1"), 12, "one `=`"),
    (with_line("y = 1 = 2"), 12, "one `=`"),
    (with_line("__class__ = 1"), 12, "underscore"),
    (with_line("_y = 1"), 12, "underscore"),
    (with_line("lambda = 1"), 12, "Write lambda_"),
    (with_line("if = 1"), 12, "word of Python"),
    (with_line("param None = 1"), 12, "word of Python"),
    (with_line("param = 1"), 12, "word of this language"),
    (with_line("fixed = 1"), 12, "word of this language"),
    (with_line("param inf = 1"), 12, "word of this language"),
    (with_line("t = 1"), 12, "t is time"),
    (with_line("param t = 1"), 12, "t is time"),
    (with_line("d t/dt = 2"), 12, "t is time"),
    (with_line("\u0430 = 1"), 12, "CYRILLIC"),
    (with_line("param \uff4b = 1"), 12, "FULLWIDTH"),
    (with_line("next y = 1"), 12, "do not go into one model"),
    ("next x = x*k\nx(0) = 1\nparam k = 1\nd y/dt = 1", 4, "do not go into one model"),
    # values
    (with_line("param a = x"), 12, "the name 'x' has none"),
    (with_line("param a = k"), 12, "the name 'k' has none"),
    (with_line("param a = 1/0"), 12, "cannot be computed|not finite"),
    (with_line("param a = log(0)"), 12, "not finite"),
    (with_line("param a = sqrt(-1)"), 12, "not finite"),
    (with_line("param a = (-8)**(1/3)"), 12, "cannot be computed|not finite"),
    (with_line("param a = inf"), 12, "has none"),
    (with_line("param a = [1, [2, 3]]"), 12, "cannot be computed"),
    (with_line("param a = 1 in (2, 3)"), 12, "not strictly between its bounds"),
    (with_line("param a = 2 in (2, 3)"), 12, "not strictly between its bounds"),
    (with_line("param a = 2 in (3, 1)"), 12, "not in order"),
    (with_line("param a = 2 in [0, 3]"), 12, "bounds are open"),
    (with_line("param a = 2 in (0, x)"), 12, "the name 'x' has none"),
    (with_line("param a = 2 in (0, [3, 4])"), 12, "one number"),
    (with_line("param a = 2 in (0)"), 12, "two bounds"),
    (with_line("param a = 2 in (0, 1, 3)"), 12, "list is written"),
    (with_line("param a = 2 in (0, 1) [3]"), 12, "bounds are open"),
    (with_line("param a = fixed"), 12, "has none"),
    (with_line("param a = 1 fixed tied"), 12, "cannot be read|has none|'fixed'"),
    (with_line("param a = 2 tied"), 12, "one other parameter"),
    (with_line("param a = k*lambda_ tied"), 12, "one other parameter.*got 2"),
    (with_line("param a = a tied"), 12, "tied itself"),
    (with_line("param a = u tied"), 12, "no parameter"),
    (with_line("param a = missing tied"), 12, "no parameter"),
    (with_line("param a = k tied\nparam b = a tied"), 13, "tied itself"),
    (with_line("param a = k in (0, 1) tied"), 12, "bounds to that one"),
    (with_line("param a = log(k - 0.5) tied"), 12, "not finite"),
    (with_line("input a = k"), 12, "has none"),
    (with_line("d y/dt = 1\ny(0) = x"), 13, "parameters alone"),
    (with_line("d y/dt = 1\ny(0) = u"), 13, "parameters alone"),
    (with_line("d y/dt = 1\ny(0) = t"), 13, "parameters alone"),
    (with_line("d y/dt = 1\ny(0) = 1/0"), 13, "cannot be computed|not finite"),
    (with_line("t(0) = [1, 2]"), 12, "time is one number"),
    (with_line("d w/dt = v[:2]\nw(0) = [0, 0, 0]"), 12, "shape"),
    (with_line("output y = x noise 1"), 10, "some outputs have noise"),
    (PLAIN.replace("output x", "output x noise -1"), 10, "positive"),
    (PLAIN.replace("output x", "output x noise [1, 2]"), 10, "positive"),
    (PLAIN.replace("output x", "output x noise k"), 10, "has none"),
    (PLAIN.replace("output x", "output x noise 1 noise 2"), 10, "given twice"),
    (PLAIN.replace("output x", "output y"), 10, "'y' is not declared"),
    (PLAIN.replace("output x", "output x\noutput z = u noise 0.5"), 10, "some outputs have noise"),
    # settings, labels, brackets
    (PLAIN.replace("dt = 0.1", "dt = 0"), 11, "positive"),
    (PLAIN.replace("dt = 0.1", "dt = -1"), 11, "positive"),
    (PLAIN.replace("dt = 0.1", "dt = [1]"), 11, "one number|positive|single"),
    (PLAIN.replace("dt = 0.1", "dt = k*2"), 11, "has none"),
    (with_line("method = magic"), 12, "no integrator 'magic'"),
    (with_line("method = __import__('os')"), 12, "no integrator"),
    (with_line("substeps = 0"), 12, "whole number"),
    (with_line("substeps = 2.5"), 12, "whole number"),
    (with_line("y = 1 :"), 12, "label"),
    (with_line("y = 1 : " + "m" * 100), 12, "label"),
    (with_line("y = (1"), 12, "never closed"),
    (with_line("y = (1\nz = 2)"), 12, "one `=`|cannot be read"),
    (with_line("y = " + "9," * 20_000), 12, "too long"),
    (with_line("".join(f"y{n} = x\n" for n in range(10_000))), 10_002, "more than 10,000 lines"),
    (with_line("".join(f"y{n} = x\n" for n in range(1_000)) + "z = q"), 1_012, "'q' is not declared"),
    (with_line("y0 = v\n" + "".join(f"y{n + 1} = join(y{n}, y{n})\n" for n in range(60))), 28, "too large"),
    (with_line("y0 = v\n" + "".join(f"y{n + 1} = [y{n}, y{n}]\n" for n in range(60))), 28, "too large"),
]


def test_there_are_at_least_200():
    assert len(EXPRESSIONS) + len(MODELS) >= 200
    texts = [MODEL.format(expression=e) for e, _ in EXPRESSIONS] + [m for m, _, _ in MODELS]
    assert len(set(texts)) == len(texts)


def test_the_model_that_they_break_is_sound():
    assert fg.from_text(PLAIN).output_names == ("x",)


def refusal(text, read=fg.from_text):
    with pytest.raises(ModelTextError) as refused, nothing_runs():
        read(text)
    return refused.value


@pytest.mark.parametrize(("expression", "reason"), EXPRESSIONS, ids=range(len(EXPRESSIONS)))
def test_an_expression_is_refused(expression, reason):
    error = refusal(MODEL.format(expression=expression))
    assert error.line == 2
    assert re.search(reason, error.reason), error.reason
    assert str(error).startswith("model, line 2: ")
    assert len(str(error)) < 500


@pytest.mark.parametrize(("text", "line", "reason"), MODELS, ids=range(len(MODELS)))
def test_a_model_is_refused(text, line, reason):
    error = refusal(text)
    assert error.line == line, str(error)
    assert re.search(reason, error.reason), error.reason
    assert error.text.split()[0] in text.splitlines()[line - 1]


@pytest.mark.parametrize("text", ["", "# nothing", "\n\n", "param k = 1"])
def test_a_model_without_equations_is_refused(text):
    with pytest.raises(fg.errors.DeclarationError, match="at least one state variable"):
        fg.from_text(text)


def test_refusals_take_little_work():
    texts = [MODEL.format(expression=e) for e, _ in EXPRESSIONS] + [m for m, _, _ in MODELS]
    spent = [lines_run(lambda text=text: refusal(text)) for text in texts]
    assert statistics.median(spent) < 10_000
    assert max(spent) < 2_000_000


# ---- nothing runs

WATCHED = ("exec", "import", "open", "os.", "subprocess.", "socket.", "ctypes.", "marshal.", "pickle.")
_heard: list[str] | None = None


def _hear(event, arguments):
    if _heard is not None and event.startswith(WATCHED):
        _heard.append(f"{event} {arguments}")


@contextmanager
def nothing_runs():
    """No code is executed, imported, read or started meanwhile, as far as Python's own audit events say."""
    global _heard
    if not hasattr(sys, "_models_are_heard"):
        sys.addaudithook(_hear)
        sys._models_are_heard = True
    _heard = []
    try:
        yield
    finally:
        heard, _heard = _heard, None
    assert not heard


def test_code_that_runs_would_be_heard():
    with pytest.raises(AssertionError, match="exec"), nothing_runs():
        eval("1 + 1")
    with pytest.raises(AssertionError, match="open"), nothing_runs(), open(__file__):
        pass


# ---- TOML

TOML = """\
name = "model"
[state]
x = { rate = "-k*x", start = 1 }
[params]
k = { value = 0.5, in = [0, inf] }
[settings]
dt = 0.1
"""

TABLES = [
    ('x = { rate = "-k*x", start = 1 }', "x = 1", 3, "expected a table"),
    ('rate = "-k*x"', 'rate = "-k*y"', 3, "'y' is not declared"),
    ('rate = "-k*x"', "rate = \"__import__('os')\"", 3, "underscore"),
    ('rate = "-k*x"', 'rate = "x.real"', 3, "attributes"),
    ('rate = "-k*x"', 'rate = ""', 3, "missing"),
    ('rate = "-k*x"', "rate = true", 3, "expected a number"),
    ('rate = "-k*x"', 'rate = "-k*x", next = "x"', 3, "got 2 of them"),
    ('rate = "-k*x", ', "", 3, "got 0 of them"),
    (", start = 1", "", 3, r"x\(0\) is missing"),
    ("start = 1", "strat = 1", 3, "Did you mean 'start'"),
    ("start = 1", "start = nan", 3, "finite"),
    ("start = 1", "start = [1, [2]]", 3, "one shape"),
    ("start = 1", "start = []", 3, "one shape"),
    ("start = 1", "start = 1979-05-27", 3, "expected a number"),
    ("start = 1", 'start = "x"', 3, "parameters alone"),
    ("start = 1", "start = 1, unit = 3", 3, "label"),
    ("value = 0.5", "value = true", 5, "expected a number"),
    ("value = 0.5", "value = inf", 5, "finite"),
    ("value = 0.5", 'value = "1/0"', 5, "cannot be computed|not finite"),
    ("value = 0.5", "value = -0.5", 5, "not strictly between"),
    ("value = 0.5", "fixed = true", 5, "no value"),
    ("value = 0.5", "value = 0.5, fixed = 1", 5, "true or false"),
    ("value = 0.5", 'value = 0.5, tied = "x"', 5, "no value or bounds"),
    ("[0, inf]", "[0]", 5, "two bounds"),
    ("[0, inf]", "[1, 0]", 5, "not in order"),
    ("[0, inf]", "[0, nan]", 5, "two numbers"),
    ("k = {", "__k = {", 5, "underscore"),
    ("k = {", '"k k" = {', 5, "no letter or digit"),
    ("k = {", "k = {{", 5, "no TOML"),
    ("[params]", "[parms]", 4, "Did you mean 'params'"),
    ("[params]", "[params", 4, "no TOML"),
    ("[params]", "[params]\nx = 1", 5, "twice"),
    ("dt = 0.1", "dt = 0", 7, "positive"),
    ("dt = 0.1", 'dt = "a b"', 7, "cannot be a name"),
    ("dt = 0.1", "dt = true", 7, "expected a number"),
    ("dt = 0.1", "dt = 0.1\ndt = 0.2", 8, "no TOML"),
    ("dt = 0.1", 'dt = 0.1\nmethod = "magic"', 8, "no integrator"),
    ("dt = 0.1", "dt = 0.1\nmethod = 4", 8, "no integrator"),
    ("dt = 0.1", "dt = 0.1\nsubsteps = 1.5", 8, "whole number"),
    ("dt = 0.1", "dt = 0.1\nspeed = 1", 8, "no setting"),
    ('name = "model"', "name = 3", 1, "expected a text"),
    ("[state]", "outputs = 3\n[state]", 2, "is a table"),
    ("dt = 0.1", "dt = 0.1\nsubsteps = inf", 8, "finite"),
    ("dt = 0.1", "dt = nan", 7, "finite"),
    ("dt = 0.1", ".".join(["a"] * 100_000) + " = 1", 7, "so many parts"),
    ("dt = 0.1", "dt" + " " * 100_000, 7, "no TOML"),
    ('name = "model"', "name = " + "[" * 5000, 1, "no TOML"),
]


@pytest.mark.parametrize(("old", "new", "line", "reason"), TABLES, ids=range(len(TABLES)))
def test_a_toml_model_is_refused(old, new, line, reason):
    assert old in TOML
    error = refusal(TOML.replace(old, new), fg.from_toml)
    assert re.search(reason, error.reason), error.reason
    assert error.line == line, str(error)


def test_the_toml_model_that_they_break_is_sound():
    assert fg.from_toml(TOML).trainable == ("k",)


# ---- fuzzing

TOKENS = [
    *"xvkut+-*/%@()[],:<>=.0123456789 #\n",
    "**",
    "d x/dt",
    "x(0)",
    "param ",
    "output ",
    "next ",
    " in (",
    "fixed",
]
TOKENS += ["exp(", "where(", "diff(", "join(", "repeat(", "lambda", "__", "not ", "if ", "else ", "tied", "noise ", "é"]


FUZZ = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def taken_or_refused(read, text):
    """A model is either a system or refused with one of our errors; nothing else comes out."""
    with suppress(FwdgradError):
        assert isinstance(read(text), fg.EquationSystem)


@given(st.lists(st.sampled_from(TOKENS), max_size=40).map("".join))
@FUZZ
@example("x**x" * 50)
def test_any_expression_is_taken_or_refused(expression):
    taken_or_refused(fg.from_text, MODEL.format(expression=expression.replace("\n", " ") or "x"))


@given(st.lists(st.one_of(st.sampled_from([*TOKENS, *PLAIN.splitlines(True)]), st.text(max_size=5)), max_size=30))
@FUZZ
def test_any_text_is_taken_or_refused(parts):
    taken_or_refused(fg.from_text, "".join(parts))


@given(st.integers(0, len(PLAIN) - 1), st.integers(0, 8), st.text(st.sampled_from(string.printable), max_size=6))
@FUZZ
def test_a_model_with_a_slip_is_taken_or_refused(place, length, typed):
    taken_or_refused(fg.from_text, PLAIN[:place] + typed + PLAIN[place + length :])


@given(st.integers(0, len(TOML) - 1), st.integers(0, 8), st.text(st.sampled_from(string.printable), max_size=6))
@FUZZ
def test_a_toml_model_with_a_slip_is_taken_or_refused(place, length, typed):
    text = TOML[:place] + typed + TOML[place + length :]
    taken_or_refused(fg.from_toml, text)
    try:
        tomllib.loads(text)
    except ValueError:
        with pytest.raises(ModelTextError):
            fg.from_toml(text)
