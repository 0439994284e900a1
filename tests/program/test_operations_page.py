"""docs/operations.md is what docs/make_operations.py writes, and says nothing that is not so."""

import importlib.util
import re

import numpy as np
import pytest
from places import DOCS

from fwdgrad.program import Abstract, Linearized, trace
from fwdgrad.program.lowering import SUPPORTED, display_name


def generator():
    spec = importlib.util.spec_from_file_location("make_operations", DOCS / "make_operations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not hasattr(np, "astype"), reason="the committed page is that of NumPy 2.1 and later")
def test_page_is_current():
    assert (DOCS / "operations.md").read_text(encoding="utf-8") == generator().page(), "run docs/make_operations.py"


def test_page_lists_every_operation_once():
    text = generator().page()
    listed = re.findall(r"^\| `([\w.]+)\(", text, re.MULTILINE)
    named = sorted(display_name(f) for f in SUPPORTED)
    assert sorted(n for n in listed if n in named) == named
    assert "object object" not in text


def test_other_names_need_no_entry():
    assert {np.abs, np.conj, np.mod, np.concat} <= set(SUPPORTED)


def test_what_the_page_says_of_infinite_derivatives():
    """Roots and logarithms in np.where need no second condition; the mend for one in np.maximum; two refusals."""
    inputs = [Abstract((2,), np.dtype(float))]

    def slopes(function, x):
        return Linearized(trace(lambda a: (function(a),), inputs), (x,)).vjp([np.ones(2)], [0])[0]

    with np.errstate(all="ignore"):
        h, x = np.array([-1.0, 4.0]), np.array([0.0, 1.0])
        np.testing.assert_array_equal(slopes(lambda h: np.where(h > 0, np.sqrt(h), 0.0), h), [0.0, 0.25])
        np.testing.assert_array_equal(slopes(lambda x: np.where(x > 0, x * np.log(x), 0.0), x), [0.0, 1.0])
        mended = slopes(lambda x: np.where(x > 0, np.maximum(np.log(x), -9.0), -9.0), x)
        np.testing.assert_array_equal(mended, [0.0, 1.0])
        assert np.isnan(slopes(lambda x: np.maximum(np.log(x), -9.0), x)[0])
        assert np.isnan(slopes(lambda x: np.sqrt(x) ** 2, x)[0])
