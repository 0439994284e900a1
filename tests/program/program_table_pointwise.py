"""Universal functions, Python operators, and functions applied entry by entry."""

import numpy
from program_scenarios import Table, numbers

TABLE = Table()
add = TABLE.add

NOT_IN_AUTOGRAD = "autograd has no derivative for it"

# ---------------------------------------------------------------- of one argument: the interval it is tested on

UNARY = {
    "np.negative": (-2, 2),
    "np.positive": (-2, 2),
    "np.conjugate": (-2, 2),
    "np.absolute": (-2, 2),
    "np.fabs": (-2, 2),
    "np.exp": (-2, 2),
    "np.exp2": (-2, 2),
    "np.expm1": (-2, 2),
    "np.log": (0.3, 4),
    "np.log2": (0.3, 4),
    "np.log10": (0.3, 4),
    "np.log1p": (-0.6, 3),
    "np.sqrt": (0.3, 4),
    "np.cbrt": (0.3, 4),
    "np.square": (-2, 2),
    "np.reciprocal": (0.3, 4),
    "np.sin": (-2, 2),
    "np.cos": (-2, 2),
    "np.tan": (-1.2, 1.2),
    "np.arcsin": (-0.8, 0.8),
    "np.arccos": (-0.8, 0.8),
    "np.arctan": (-2, 2),
    "np.sinh": (-2, 2),
    "np.cosh": (-2, 2),
    "np.tanh": (-2, 2),
    "np.arcsinh": (-2, 2),
    "np.arccosh": (1.3, 4),
    "np.arctanh": (-0.8, 0.8),
    "np.degrees": (-2, 2),
    "np.rad2deg": (-2, 2),
    "np.radians": (-200, 200),
    "np.deg2rad": (-200, 200),
    "np.sign": (-2, 2),
    "np.floor": (-2, 2),
    "np.ceil": (-2, 2),
    "np.rint": (-2, 2),
    "np.trunc": (-2, 2),
    "np.fix": (-2, 2),
    "np.isfinite": (-2, 2),
    "np.isnan": (-2, 2),
    "np.isinf": (-2, 2),
    "np.signbit": (-2, 2),
    "np.logical_not": (-2, 2),
    "np.nan_to_num": (-2, 2),
    "np.real": (-2, 2),
    "np.imag": (-2, 2),
    "np.copy": (-2, 2),
    "np.round": (-2, 2),
    "np.around": (-2, 2),
    "np.iscomplexobj": (-2, 2),
    "np.isrealobj": (-2, 2),
    "scipy.special.expit": (-2, 2),
    "scipy.special.logit": (0.2, 0.8),
    "scipy.special.erf": (-2, 2),
    "scipy.special.erfc": (-2, 2),
    "scipy.special.gamma": (0.6, 3),
    "scipy.special.gammaln": (0.6, 3),
    "scipy.special.psi": (0.6, 3),
    "scipy.special.j0": (-2, 2),
    "scipy.special.j1": (-2, 2),
    "scipy.special.i0": (-2, 2),
    "scipy.special.i1": (-2, 2),
}
UNARY_WITHOUT_AUTOGRAD = {
    "np.positive": NOT_IN_AUTOGRAD,
    "np.cbrt": NOT_IN_AUTOGRAD,
    "np.signbit": NOT_IN_AUTOGRAD,
    "np.copy": NOT_IN_AUTOGRAD,
    "np.isrealobj": NOT_IN_AUTOGRAD,
}


def _call(name):
    module, _, function = name.rpartition(".")
    if module == "np":
        return lambda np, x: getattr(np, function)(x)
    return lambda np, x: getattr(np.special, function)(x)


for _name, (_low, _high) in UNARY.items():
    for _shape in ((), (3,), (2, 1, 3)):
        # a zero-dimensional argument of its own, as the middle of an interval is often special
        _x = numbers(*_shape, low=_low, high=_high) if _shape else numpy.asarray(_low + 0.7 * (_high - _low))
        add(_name, _call(_name), _x, autograd=UNARY_WITHOUT_AUTOGRAD.get(_name, ""))

# ---------------------------------------------------------------- of two arguments

BINARY = {
    "np.add": ((-2, 2), (-2, 2)),
    "np.subtract": ((-2, 2), (-2, 2)),
    "np.multiply": ((-2, 2), (-2, 2)),
    "np.divide": ((-2, 2), (0.3, 2)),
    "np.power": ((0.3, 2), (-2, 2)),
    "np.float_power": ((0.3, 2), (-2, 2)),
    "np.maximum": ((-2, 2), (-1.9, 2.1)),
    "np.minimum": ((-2, 2), (-1.9, 2.1)),
    "np.fmax": ((-2, 2), (-1.9, 2.1)),
    "np.fmin": ((-2, 2), (-1.9, 2.1)),
    "np.arctan2": ((-2, 2), (0.3, 2)),
    "np.hypot": ((-2, 2), (0.3, 2)),
    "np.logaddexp": ((-2, 2), (-2, 2)),
    "np.logaddexp2": ((-2, 2), (-2, 2)),
    "np.remainder": ((-2, 2), (0.31, 0.83)),
    "np.floor_divide": ((-2, 2), (0.31, 0.83)),
    "np.divmod": ((-2, 2), (0.31, 0.83)),
    "np.heaviside": ((-2, 2), (0, 1)),
    "np.copysign": ((-2, 2), (-1.9, 2.1)),
    "np.equal": ((-2, 2), (-1.9, 2.1)),
    "np.not_equal": ((-2, 2), (-1.9, 2.1)),
    "np.less": ((-2, 2), (-1.9, 2.1)),
    "np.less_equal": ((-2, 2), (-1.9, 2.1)),
    "np.greater": ((-2, 2), (-1.9, 2.1)),
    "np.greater_equal": ((-2, 2), (-1.9, 2.1)),
    "np.logical_and": ((-2, 2), (-1.9, 2.1)),
    "np.logical_or": ((-2, 2), (-1.9, 2.1)),
    "np.logical_xor": ((-2, 2), (-1.9, 2.1)),
}
BINARY_WITHOUT_AUTOGRAD = {
    "np.float_power": NOT_IN_AUTOGRAD,
    "np.heaviside": NOT_IN_AUTOGRAD,
    "np.copysign": NOT_IN_AUTOGRAD,
    "np.divmod": NOT_IN_AUTOGRAD,
}


def _with(name, left=None, right=None):
    function = name.rpartition(".")[2]
    if left is not None:
        return lambda np, y: getattr(np, function)(left, y)
    if right is not None:
        return lambda np, x: getattr(np, function)(x, right)
    return lambda np, x, y: getattr(np, function)(x, y)


for _name, (_first, _second) in BINARY.items():
    _reason = {"autograd": BINARY_WITHOUT_AUTOGRAD.get(_name, "")}
    for _left, _right in (((3,), (3,)), ((2, 1), (3,)), ((), (2, 3)), ((2, 3), ()), ((), ()), ((1, 3), (2, 1))):
        _x = numbers(*_left, low=_first[0], high=_first[1], seed=1)
        _y = numbers(*_right, low=_second[0], high=_second[1], seed=2)
        add(_name, _with(_name), _x, _y, **_reason)
    _x, _y = (numbers(3, low=low, high=high, seed=3) for low, high in (_first, _second))
    add(_name, _with(_name, left=1.3), _y, _with(_name, right=0.7), _x, **_reason)
    add(
        _name, _with(_name, left=numpy.array([[1.3], [0.9]])), _y, _with(_name, right=numpy.float64(0.7)), _x, **_reason
    )
    add(_name, _with(_name, left=2), _y, _with(_name, right=1), _x, **_reason)

_bits = numpy.array([5, 12, 7]), numpy.array([3, 1, 2])
_flags = numpy.array([True, False, True]), numpy.array([True, True, False])
for _name in ("np.bitwise_and", "np.bitwise_or", "np.bitwise_xor"):
    add(_name, _with(_name), *_bits, _with(_name), *_flags, _with(_name, right=3), _bits[0], autograd=NOT_IN_AUTOGRAD)
for _name in ("np.left_shift", "np.right_shift"):
    add(_name, _with(_name), *_bits, _with(_name, right=1), _bits[0], autograd=NOT_IN_AUTOGRAD)
add("np.invert", _call("np.invert"), _bits[0], _call("np.invert"), _flags[0], autograd=NOT_IN_AUTOGRAD)

add(
    "scipy.special.jv",
    *(lambda np, x: np.special.jn(2, x), numbers(3, low=0.3)),
)
add(
    "scipy.special.jv",
    *(lambda np, x: np.special.jn(numpy.array([[0], [1]]), x), numbers(3, low=0.3)),
    autograd="autograd does not sum over repeats",
)
add(
    "scipy.special.iv",
    *(lambda np, x: np.special.iv(1.5, x), numbers(3, low=0.3)),
    *(lambda np, x: np.special.iv(2, x), numpy.asarray(0.8)),
)

# ---------------------------------------------------------------- powers

_negative = numpy.array([-1.3, -0.4, 0.8])
for _exponent in (0, 1, 2, 3, -1, -2, 2.0, 3.0, 1.0, 0.0):
    add("np.power", lambda np, x, e=_exponent: x**e, _negative, lambda np, x, e=_exponent: np.power(x, e), _negative)
for _exponent in (0.5, 1.5, -0.5):
    add("operators", lambda np, x, e=_exponent: x**e, numbers(3, low=0.3))
    add("np.power", lambda np, x, e=_exponent: np.power(x, e), numbers(3, low=0.3))
add(
    "np.power",
    *(lambda np, x: x ** numpy.array([2, 3, 0]), _negative),
    *(lambda np, x: x ** numpy.array([2.0, 0.0, 1.5]), numbers(3, low=0.3)),
    *(lambda np, x: 2**x, numbers(3)),
    *(lambda np, x: 2.0**x, numbers(3)),
    *(lambda np, x: numpy.array([[0.5], [2.0]]) ** x, numbers(3)),
    *(lambda np, x: x**x, numbers(3, low=0.3)),
)
# at zero the derivatives exist too
add("np.power", lambda np, x: x**2, numpy.zeros(2), lambda np, x: x**3, numpy.zeros(2), smooth=False)
add("np.power", lambda np, x: x**0, numpy.zeros(2), lambda np, x: x**1, numpy.zeros(2), smooth=False)
add("np.power", lambda np, x: x ** numpy.array([2.0, 0.0]), numpy.zeros(2), smooth=False)
add("np.power", lambda np, y: numpy.zeros(2) ** y, numpy.array([2.0, 1.5]), smooth=False)

# ---------------------------------------------------------------- other forms

_x = numbers(2, 3)
add(
    "np.round",
    *(lambda np, x: np.round(x, 1), _x),
    *(lambda np, x: np.round(x * 10, -1), _x),
    *(lambda np, k: np.round(k), _bits[0]),
)
add("np.round", lambda np, x: x.round(1), _x)
add("np.round", lambda np, x: np.round(x, decimals=2), _x, smooth=False)
add(
    "np.nan_to_num",
    *(lambda np, x: np.nan_to_num(x), numpy.array([numpy.inf, -numpy.inf, numpy.nan, 0.5])),
    *(lambda np, k: np.nan_to_num(k), _bits[0]),
    smooth=False,
)
add(
    "np.nan_to_num",
    *(lambda np, x: np.nan_to_num(x, nan=1.5), numpy.array([numpy.nan, 1.0, 2.0])),
    *(lambda np, x: np.nan_to_num(x, posinf=7.0, neginf=-7.0), numpy.array([numpy.inf, -numpy.inf, 0.5])),
    smooth=False,
    autograd="autograd's rule takes no other values",
)
add(
    "np.heaviside",
    *(lambda np, x, half: np.heaviside(x, half), numpy.array([0.0, -0.0, 1.0, -1.0]), numbers(4)),
    *(lambda np, x: np.heaviside(x, 0.5), numpy.array([0.0, numpy.nan, numpy.inf])),
    smooth=False,
    autograd=NOT_IN_AUTOGRAD,
)
if hasattr(numpy, "astype"):
    add(
        "np.astype",
        *(lambda np, x: np.astype(x, np.float64), _x),
        *(lambda np, x: np.astype(x, numpy.float32) * 2, _x),
        smooth=False,
    )

# ---------------------------------------------------------------- Python operators

_y = numbers(3, low=0.3, seed=5)
add(
    "operators",
    *(lambda np, x, y: x + y, _x, _y),
    *(lambda np, x, y: x - y, _x, _y),
    *(lambda np, x, y: x * y, _x, _y),
    *(lambda np, x, y: x / y, _x, _y),
    *(lambda np, x, y: y**x, _x, _y),
    *(lambda np, x, y: x % y, _x, _y),
    *(lambda np, x, y: x @ y, _x, _y),
    *(lambda np, x: -x, _x),
    *(lambda np, x: abs(x), _x),
    *(lambda np, x: 1 - x, _x),
    *(lambda np, x: 1.5 + x, _x),
    *(lambda np, x: 2 * x, _x),
    *(lambda np, x: 2 / x, _y),
    *(lambda np, x: x / 4, _x),
    *(lambda np, x: 7.3 % x, _y),
    *(lambda np, x: x % 0.7, _x),
    *(lambda np, x: pow(x, 2), _x),
    *(lambda np, x: sum(x), _x),
    *(lambda np, x: numpy.eye(2) @ x, _x),
    *(lambda np, x: numpy.ones(3) + x, _x),
    *(lambda np, x: (x > 0) * x, _x),
    *(lambda np, x: (x > 0) & (x < 1), _x),
    *(lambda np, x: (x >= 0) | (x <= -1), _x),
    *(lambda np, x, y: (x == y, x != y), _y, _y),
)
add("operators", lambda np, x: ~(x > 0), _x, lambda np, x: (x > 0) ^ (x < 1), _x)
add(
    "operators",  # autograd's boxes have them once fwdgrad.linear is loaded
    *(lambda np, x, y: x // y, _x, _y),
    *(lambda np, x: 7.3 // x, _y),
    *(lambda np, x: divmod(x, 0.7), _x),
)
add(
    "operators",
    *(lambda np, x: +x, _x),
    *(lambda np, x: divmod(7.3, x), _y),
    *(lambda np, k: (k << 1, k >> 1, k & 3, k | 8, k ^ 5, ~k, -k), _bits[0]),
    *(lambda np, k: (k + 1, k - 1, 2 * k, k / 2, k // 2, k % 3, k**2, abs(-k)), _bits[0]),
    autograd=NOT_IN_AUTOGRAD,
)
add(
    "ufunc methods",
    *(lambda np, x: np.add.reduce(x), _x),
    *(lambda np, x: np.add.reduce(x, axis=1), _x),
    *(lambda np, x: np.add.reduce(x, axis=None), _x),
    *(lambda np, x: np.add.reduce(x, axis=(0, 1), keepdims=True), _x),
    *(lambda np, x: np.multiply.reduce(x, axis=-1), _x),
    *(lambda np, x: np.maximum.reduce(x), _x),
    *(lambda np, x: np.minimum.reduce(x, axis=1, keepdims=True), _x),
    *(lambda np, x: np.logical_and.reduce(x > 0), _x),
    *(lambda np, x: np.logical_or.reduce(x > 0, axis=1), _x),
    *(lambda np, x: np.add.accumulate(x, axis=1), _x),
    *(lambda np, x, y: np.multiply.outer(x, y), _x, _y),
    *(lambda np, x, y: np.subtract.outer(y, x), _x, _y),
    *(lambda np, x: np.add.outer(x, numpy.ones(2)), _y),
    autograd="autograd wraps ufuncs as functions, which have no such methods",
)
