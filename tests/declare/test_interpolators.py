"""SciPy's interpolators inside of F: refused by name, with a way to write them that works and is what they compute."""

import re

import numpy as np
import pytest
import scipy.interpolate as si

import fwdgrad as fg
from fwdgrad.errors import TracingError, UnsupportedOperationError

X = np.linspace(0.0, 5.0, 11)
Y = np.sin(X)
INTERPOLATORS = {
    "interp1d": si.interp1d(X, Y),
    "CubicSpline": si.CubicSpline(X, Y),
    "PchipInterpolator": si.PchipInterpolator(X, Y),
    "Akima1DInterpolator": si.Akima1DInterpolator(X, Y),
    "BSpline": si.make_interp_spline(X, Y),
    "InterpolatedUnivariateSpline": si.UnivariateSpline(X, Y, s=0),
    "RegularGridInterpolator": si.RegularGridInterpolator((X,), Y),
}


def system(f, state):
    return fg.System(lambda h, x, p: f(p["a"] * h), None, np.array(state), {"a": 1.0})


def refusal(f, engine="numpy"):
    with pytest.raises(TracingError) as error:
        fg.Learner(system(f, [1.3]), fg.RTRL(), fg.SGD(0.1), engine=engine).step(None, np.ones(1))
    assert str(error.value).count("\n") < 5
    return error.value


@pytest.mark.parametrize("name", INTERPOLATORS)
def test_an_interpolator_is_refused_by_name(name):
    error = refusal(INTERPOLATORS[name])
    assert isinstance(error, UnsupportedOperationError)
    assert re.match(rf"scipy\.interpolate\.{name} is not among .* at {re.escape(__file__)}", str(error))
    assert "eager" not in str(error)  # which cannot differentiate it either
    assert "np.interp(t, grid, table)" in str(error) or "exactly" in str(error)
    assert f"scipy.interpolate.{name}" in str(refusal(INTERPOLATORS[name], "eager"))


def written(error, f):
    """The function that the message says to write, from its own words."""
    text = str(error).partition("\n")[2]
    pieces = re.search(r"(at = .*),\n(k = .*); (s = .*);\n(sum.*)", text)
    if pieces:
        code = f"{pieces[1]}\ndef g(t):\n    {pieces[2]}\n    {pieces[3]}\n    return {pieces[4]}"
    else:
        grid, table = re.search(r"(grid = np[^;]*); (table = [^;]*);", text).groups()
        code = f"{grid}\n{table}\ndef g(t):\n    return np.interp(t, grid, table)"
    names = {"np": np, "f": f, "low": X[0], "high": X[-1]}
    exec(code, names)
    return names["g"], 1e-12 if pieces else 1e-3


@pytest.mark.parametrize("name", INTERPOLATORS)
def test_what_the_message_says_to_write_works(name):
    """Its values are the interpolator's (a table's nearly), and it is traced and differentiated, numbers and arrays."""
    f = INTERPOLATORS[name]
    g, tolerance = written(refusal(f), f)
    points = np.linspace(0.0, 5.0, 333)
    np.testing.assert_allclose(g(points), f(points), atol=tolerance)
    for made in (system(g, [1.3, 2.71]), system(lambda h: g(h[0]) * h, [1.3, 2.71])):
        assert fg.check(made).ok
        fg.Learner(made, fg.RTRL(), fg.SGD(0.1)).step(None, np.ones(2))


def test_straight_lines_are_np_interp():
    f = INTERPOLATORS["interp1d"]
    assert "np.interp(t, f.x, f.y)" in str(refusal(f))
    points = np.linspace(0.0, 5.0, 333)
    np.testing.assert_allclose(np.interp(points, f.x, f.y), f(points), atol=1e-15)
