"""Checkpoints that an earlier version wrote are loaded, and their learners go on as they did in that version."""

import numpy as np
import pytest
from places import DATA
from tools import checkpoints

import fwdgrad as fg
from fwdgrad.errors import CheckpointError

FOLDER = DATA / "checkpoints"
KEPT = checkpoints.kept()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KEPT)
def test_goes_on_as_in_the_version_that_wrote_it(name):
    system = KEPT[name][0]()
    made = checkpoints.gone_on(fg.Learner.load(FOLDER / f"{name}.npz", system), system)
    with np.load(FOLDER / f"{name}.after.npz") as then:
        assert set(made) == set(then)
        for what in then:
            np.testing.assert_allclose(made[what], then[what], rtol=1e-9, atol=1e-12, err_msg=what)


@pytest.mark.filterwarnings("ignore")
def test_another_start_goes_on_otherwise():
    system = checkpoints.network()
    fresh = fg.Learner(system, fg.RTRL(), fg.SGD(0.01), seed=checkpoints.SEED, engine="numpy")
    with np.load(FOLDER / "rtrl-sgd.after.npz") as then:
        assert not np.allclose(checkpoints.gone_on(fresh, system)["losses"], then["losses"])


def test_of_another_system_is_refused():
    with pytest.raises(CheckpointError):
        fg.Learner.load(FOLDER / "rtrl-sgd.npz", checkpoints.equations())
