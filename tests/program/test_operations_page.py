"""docs/operations.md is what docs/make_operations.py writes, and says nothing that is not so."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from fwdgrad.program import Abstract, Linearized, trace
from fwdgrad.program.lowering import SUPPORTED, display_name

DOCS = Path(__file__).resolve().parents[2] / "docs"


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


def test_the_mend_for_roots():
    """The page's form for a root whose argument is not positive."""
    inputs = [Abstract((2,), np.dtype(float))]
    guarded = trace(lambda h: (np.where(h > 0, np.sqrt(np.where(h > 0, h, 1.0)), 0.0),), inputs)
    h = np.array([-1.0, 4.0])
    np.testing.assert_array_equal(guarded(h)[0], [0.0, 2.0])
    np.testing.assert_array_equal(Linearized(guarded, (h,)).vjp([np.ones(2)], [0])[0], [0.0, 0.25])
    bare = trace(lambda h: (np.where(h > 0, np.sqrt(h), 0.0),), inputs)
    with np.errstate(invalid="ignore"):
        assert np.isnan(Linearized(bare, (h,)).vjp([np.ones(2)], [0])[0][0])
