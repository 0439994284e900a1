"""Entries of ∂F/∂h put together from the parts of F beside its products, against the Jacobian in full."""

from __future__ import annotations

import dataclasses

import numpy as np
import oracles
import pytest

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.influence import masked
from fwdgrad.influence.masked import Masked
from fwdgrad.linear import TracedModel
from fwdgrad.program.closure import kept_entries, reached_pattern
from fwdgrad.program.costs import multiply_adds

CASES = {
    "tanh-rnn": lambda: oracles.tanh_rnn(5),
    "symbol-rnn": lambda: oracles.symbol_rnn(5),
    "gru": lambda: oracles.gru(False, 5),
    "lstm": lambda: oracles.lstm(3),
    "linear": lambda: oracles.linear(5),
    "diagonal": lambda: oracles.diagonal(5),
}


def entries(case, order):
    """Numbers of what SnAp needs, their accumulated values, and those of the Jacobian."""
    model = TracedModel(case.system)
    patterns = model.patterns
    S, leaves = patterns.transition.state, patterns.transition.leaves
    numbers = kept_entries(S, [reached_pattern(S, leaves[k], order) for k in patterns.influential])
    h = np.linspace(-0.5, 0.7, case.system.size)
    lin = model.linearize(h, case.xs[0], case.system.coordinates)
    row, column = (a.astype(np.int64)[numbers] for a in S.nonzero())
    parts = model.traced.accumulation
    return lin.jacobians()[0][row, column], lin._accumulated(parts, *parts.table(row, column)), parts


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_entries_are_those_of_the_jacobian(name, order):
    expected, found, _ = entries(CASES[name](), order)
    assert len(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


def test_the_control_sees_a_matrix_that_is_turned():
    case = CASES["gru"]()
    expected, _, parts = entries(case, 2)
    parts._tables.clear()
    for number, cut in enumerate(parts.cuts):
        turned = dataclasses.replace(cut.product, axis=1 - cut.product.axis)
        object.__setattr__(
            parts, "cuts", (*parts.cuts[:number], dataclasses.replace(cut, product=turned), *parts.cuts[number + 1 :])
        )
    model = TracedModel(case.system)
    lin = model.linearize(np.linspace(-0.5, 0.7, case.system.size), case.xs[0], case.system.coordinates)
    S = model.patterns.transition.state
    row, column = (a.astype(np.int64) for a in S.nonzero())
    found = lin._accumulated(parts, *parts.table(row, column))
    assert not np.allclose(found, lin.jacobians()[0][row, column], rtol=1e-3)
    assert len(found) == len(expected)


def test_where_a_product_feeds_another_columns_are_taken():
    """A gated unit with reset before: r∘h depends on a product."""
    assert TracedModel(oracles.gru(True).system).traced.accumulation is None
    assert TracedModel(oracles.lotka_volterra().system).traced.accumulation is None


def test_which_entries_keep_influence():
    """All terms of A G within the pattern, and none besides."""
    for case in (oracles.lstm(2), oracles.ring(5), oracles.heat(4)):
        patterns = TracedModel(case.system).patterns
        S, leaves = patterns.transition.state, patterns.transition.leaves
        for order in (1, 2):
            blocks = [reached_pattern(S, leaves[k], order).toarray() for k in patterns.influential]
            row, column = S.nonzero()
            expected = [
                n for n, (i, j) in enumerate(zip(row, column, strict=True)) if any((M[i] & M[j]).any() for M in blocks)
            ]
            found = kept_entries(S, [reached_pattern(S, leaves[k], order) for k in patterns.influential])
            assert found.tolist() == expected


@pytest.mark.parametrize("network", ["tanh-rnn", "gru", "lstm"])
def test_snap_costs_what_it_needs(network):
    """Multiply-adds of a step grow with the parameters, not with n products of the state's Jacobian."""
    counts = []
    for units in (16, 32):
        learner = fg.Learner(systems.build(network, units=units, symbols=3), fg.SnAp(1), fg.SGD(0.1), engine="numpy")
        counts.append(multiply_adds(learner._execution.program("learn")))
    assert counts[1] < 4.5 * counts[0]
    assert Masked(1) == fg.SnAp(1).influence


def by_tables(leaf, A, G, weights):
    """A G, G² summed by row, and weights·G, entry by entry."""
    through, squares, pulled = np.zeros(len(leaf.row)), np.zeros(len(weights)), np.zeros(leaf.width)
    np.add.at(through, leaf.target, A[leaf.a] * G[leaf.g])
    np.add.at(squares, leaf.row, G * G)
    np.add.at(pulled, leaf.column, weights[leaf.row] * G)
    return through, squares, pulled


def by_blocks(leaf, A, G, weights, at):
    """The same by broadcasting."""
    rows = np.sum(masked._by_row(weights, leaf, G).reshape(leaf.width, -1), axis=1)
    return masked._through_blocks(A, at, G, leaf.blocks), masked._summed_by_row(G * G, leaf, len(weights)), rows


@pytest.mark.parametrize(("name", "deepest"), [("tanh-rnn", 1), ("gru", 1), ("lstm", 2)])
def test_columns_that_are_alike_are_broadcast(name, deepest):
    """An LSTM's parameters feed a cell and what it lets out: two rows a column, and two terms for each."""
    patterns = TracedModel(CASES[name]().system).patterns
    rng, S = np.random.default_rng(0), patterns.transition.state
    A, weights = rng.normal(size=S.nnz), rng.normal(size=patterns.size)
    found = {k: leaf for k, leaf in masked._plan(patterns, 1).items() if leaf.blocks is not None}
    assert max(leaf.blocks[2] for leaf in found.values()) == deepest
    for leaf in found.values():
        G, d = rng.normal(size=len(leaf.row)), leaf.blocks[2]
        expected = by_tables(leaf, A, G, weights)
        for one, other in zip(by_blocks(leaf, A, G, weights, leaf.a), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-13)
        turned = leaf.a.reshape(-1, d, d).transpose(0, 2, 1).ravel()
        wrong = by_blocks(leaf, A, G, weights, turned)[0]
        assert np.allclose(wrong, expected[0]) == (d == 1)  # the control: A transposed


@pytest.mark.parametrize("name", ["ring", "heat"])
def test_columns_of_different_patterns_are_looked_up(name):
    """Where a column's rows meet others, no block is found, though all columns may have as many."""
    patterns = TracedModel(getattr(oracles, name)(5).system).patterns
    assert all(leaf.blocks is None for leaf in masked._plan(patterns, 2).values())
