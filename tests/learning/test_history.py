"""The learning curve in few numbers: means over all steps so far, and over the last tenth of them."""

import numpy as np
import pytest

import fwdgrad as fg


@pytest.mark.parametrize("every", [1, 10])
def test_a_curve_holds_the_means_that_can_be_computed_by_hand(every):
    loss = np.random.default_rng(0).normal(size=4000)
    loss[::7] = np.nan
    history = fg.History(loss, first=0, every=every)
    steps, cumulated, recent = history.curve(30)
    assert steps[-1] == 4000 * every
    assert len(steps) <= 30
    for step, mean, late in zip(steps // every, cumulated, recent, strict=True):
        assert mean == pytest.approx(np.nanmean(loss[:step]))
        few = max(20 // every, 1)
        assert late == pytest.approx(np.nanmean(loss[max(min(step - few, int(step * 0.9)), 0) : step]))
    assert cumulated[-1] == pytest.approx(history.mean[-1])
    assert recent[-1] == pytest.approx(history.recent(400 * every))


def test_no_curve_without_targets():
    with pytest.raises(fg.errors.DataError, match="no step"):
        fg.History(np.full(3, np.nan), first=0).curve()
