"""The examples that learn differential equations, in their quick form; and pictures of data against simulation."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from places import EXAMPLES

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.plots import free_run, plot_simulation

matplotlib = pytest.importorskip("matplotlib")
# a state that is chaotic, and parameters that begin 15 to 20 % off: the filter contradicts itself, and says so
ADRIFT = pytest.mark.filterwarnings("ignore::fwdgrad.errors.CalibrationWarning")


def loaded(name):
    """An example, as a module."""
    matplotlib.use("Agg")
    spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def drawn(name):
    """Whether a picture was written, and not an empty one."""
    return Path(name).stat().st_size > 10_000


# ---------------------------------------------------------------- hares and lynxes


def test_hares_and_lynxes_are_learned_as_well_as_by_least_squares(capsys):
    learned, best = loaded("hare_lynx").main(["--quick"])
    assert best <= learned < 1.05 * best
    shown = capsys.readouterr().out
    assert f"{learned:.4f}" in shown
    assert f"{best:.4f}" in shown
    assert drawn("hare_lynx.png")


def test_one_pass_over_the_hares_is_not_enough():
    """Negative control: from the same start, 5 % is not what one gets by doing little."""
    module = loaded("hare_lynx")
    years, ys = module.read()
    assert (years[0], years[-1], ys.shape) == (1900, 1920, (21, 2))
    system = fg.from_text(module.MODEL)
    learner = module.learn(system, ys, passes=1)
    assert module.squares(system, ys, learner.params) > 1.5 * 2.02
    assert module.squares(system, ys, {}) > 3 * 2.02


def test_the_band_is_that_of_nearby_simulations():
    """∂ŷ/∂θ from the influence against central differences of free runs."""
    module = loaded("hare_lynx")
    _, ys = module.read()
    system = fg.from_text(module.MODEL)
    std, band = module.uncertainty(fg.Learner(system, fg.RTRL()), ys)
    S = []
    for k, v in system.params.items():
        low, high = (system.simulate(steps=21, params={k: v * (1 + s * 1e-5)}).outputs for s in (-1, 1))
        S.append((high - low) / (2e-5 * v))
    S = np.moveaxis(np.array(S), 0, -1)
    variance = module.squares(system, ys, {}) / (42 - 6)
    covariance = variance * np.linalg.inv(np.einsum("tip,tiq->pq", S, S))
    np.testing.assert_allclose(list(std.values()), np.sqrt(np.diag(covariance)), rtol=1e-4)
    np.testing.assert_allclose(band, np.sqrt(np.einsum("tip,pq,tiq->ti", S, covariance, S)), rtol=1e-4)


# ---------------------------------------------------------------- Lorenz


@ADRIFT
@pytest.mark.slow
def test_lorenz_is_learned_from_x_alone():
    errors = loaded("lorenz").main(["--quick"])
    assert max(abs(v) for v in errors.values()) < 0.05  # 8 to 20 % at the start
    assert drawn("lorenz.png")


@ADRIFT
@pytest.mark.slow
def test_lorenz_is_not_learned_without_following_the_data():
    module = loaded("lorenz")
    learner = module.start(gain=[[0.0], [0.0], [0.0]])
    try:
        learner.run(ys=module.observations(1500))
    except fg.errors.NonFiniteError:
        return
    truth = systems.lorenz().params
    assert max(abs(float(learner.params[k] / truth[k]) - 1) for k in truth) > 0.05


@ADRIFT
@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_lorenz_is_within_two_percent_after_one_pass(seed):
    errors = loaded("lorenz").main(["--seed", str(seed)])
    assert max(abs(v) for v in errors.values()) < 0.02


# ---------------------------------------------------------------- van der Pol


@pytest.mark.slow
def test_a_stiff_system_is_learned_where_explicit_methods_refuse():
    learned, refused = loaded("van_der_pol").main(["--quick"])
    assert learned == pytest.approx(1000, rel=0.03)
    assert set(refused) == {"euler", "rk4"}
    for error in refused.values():
        assert error.step < 10
        assert "not finite at step" in str(error)
    assert drawn("van_der_pol.png")


# ---------------------------------------------------------------- the heat rod


def test_a_heat_rod_is_banded_and_learned():
    structure, errors = loaded("heat_rod").main(["--quick"])
    assert structure.patterns.transition.state.nnz == 3 * 100 - 2
    assert structure.patterns.transition.leaves["k"].nnz == 2 * 100 - 1
    assert np.mean(errors["SnAp-1"]) < 0.05
    assert np.mean(errors["NoBackTrack"]) < 0.35
    assert drawn("heat_rod.png")


def test_a_rod_of_a_thousand_cells_is_learned_at_linear_cost():
    module = loaded("heat_rod")
    structure = fg.analyze(module.rod(1000))
    assert structure.patterns.transition.state.nnz == 2998
    assert structure.choice.name == "NoBackTrack"
    xs, ys = module.experiment(1000, 1000)
    k = module.learn("SnAp-1", xs, ys)
    assert np.mean(np.abs(k / module.profile(1000) - 1)) < 0.05  # 0.39 at the start

    def costs(cells):
        return {c.label: c.multiply_adds for c in fg.analyze(module.rod(cells)).candidates}

    small, large = costs(250), costs(1000)
    for label in ("NoBackTrack", "SnAp-1"):
        assert 3.9 < large[label] / small[label] < 4.1
    assert large["RTRL"] / small["RTRL"] > 12  # a control


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["NoBackTrack", "SnAp-1"])
def test_time_per_step_is_linear_in_the_cells(estimator):
    pytest.importorskip("llvmlite")
    module = loaded("heat_rod")
    seconds = [module.seconds_per_step(estimator, cells) for cells in module.SIZES]
    assert 0.75 < module.slope(module.SIZES, seconds) < 1.2


# ---------------------------------------------------------------- electricity


def demand_like(weeks=4, seed=0):
    """A series with days and weeks, in MW."""
    rng = np.random.default_rng(seed)
    t = np.arange(336 * weeks)
    slow = np.cumsum(rng.normal(size=t.size)) * 20
    working = np.where((t // 48) % 7 < 5, 1.0, 0.7)
    return 30_000 + 7_000 * working * np.sin(2 * np.pi * t / 48) + slow + 100 * rng.normal(size=t.size)


@pytest.mark.slow
def test_demand_is_predicted_better_by_learning():
    module = loaded("electricity")
    np.savetxt("demand.csv", demand_like())
    scores = module.main(["--csv", "demand.csv", "--quick"])
    learned = scores.pop("learned online")[1]
    assert all(learned < later for _, later in scores.values())
    assert drawn("electricity.png")


def test_demand_says_where_its_data_come_from(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pmdarima.datasets", None)
    with pytest.raises(SystemExit, match="pip install pmdarima"):
        loaded("electricity").main([])


@pytest.mark.slow
def test_real_demand_is_predicted_better_than_by_any_baseline():
    pytest.importorskip("pmdarima")
    scores = loaded("electricity").main([])
    assert scores["learned online"][1] < 0.9 * min(
        v[1] for k, v in scores.items() if k != "learned online" and "not" not in k
    )


# ---------------------------------------------------------------- rainfall and runoff


def test_equations_of_the_catchment_are_those_of_the_recursion():
    """The text that is fitted, and the loop that scipy is given, number by number."""
    module = loaded("rainfall_runoff")
    _, xs, discharge = module.read()
    assert np.isnan(discharge[: module.WARM_UP]).all()
    assert np.isfinite(discharge[module.WARM_UP :]).all()
    system = fg.from_text(module.MODEL)
    for params in ({}, {"cmax": 120.0, "bexp": 1.5, "alpha": 0.8, "slow": 0.05, "quick": 0.3}):
        values = {k: float(v) for k, v in system.params.items()} | params
        made = system.simulate(xs, params=params).outputs[:, 0]
        np.testing.assert_allclose(made, module.recursion(xs, **values), rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_the_catchment_is_fitted_as_by_least_squares():
    with pytest.warns(fg.errors.CalibrationWarning, match="residuals are not white"):
        (params, ours), (reference, theirs) = loaded("rainfall_runoff").main(["--engine", "numpy"])
    assert ours < 1.0005 * theirs
    for k in ("cmax", "alpha", "slow", "quick"):
        assert params[k] == pytest.approx(reference[k], rel=0.01)


# ---------------------------------------------------------------- hares and lynxes, disturbed


def test_the_filter_of_the_disturbed_lynxes_is_the_one_written_out():
    """Its likelihood at the declared parameters, sample by sample as it is learned, and that of the plain loop."""
    module = loaded("hare_lynx_noise")
    _, ys = module.read()
    learner = fg.Learner(module.declared(), fg.TBPTT(1), fg.SGD(1e-300), engine="numpy")
    total = float(np.sum(learner.run(ys=ys).loss))
    point = np.log([0.5, 0.025, 0.8, 0.025, 0.01, 0.04])
    assert total == pytest.approx(module.surprise(point, ys), rel=1e-9)
    assert total != pytest.approx(module.surprise(point + 0.01, ys), rel=1e-4)


@pytest.mark.slow
def test_disturbed_lynxes_are_fitted_as_by_maximum_likelihood():
    fit, (point, deviation, least) = loaded("hare_lynx_noise").main([])
    found = np.array([float(fit.params[k]) for k in fit.system.trainable])
    assert np.max(np.abs(np.log(found) - point) / deviation) < 0.1
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance))[:4], deviation[:4], rtol=0.05)
    assert fit.loss - least < 0.01


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_robot_is_learned_online_as_well_as_by_expectation_maximisation():
    """A, C, Q and R of pykalman's robot, 501 samples, from its start: three passes are likelier than 50 of EM."""
    datasets = pytest.importorskip("pykalman.datasets")
    module = loaded("robot")
    learner = fg.Learner(module.declared(datasets.load_robot()), engine="numpy")
    assert isinstance(learner.optimizer, fg.InformationFilter)
    found = module.main([])
    assert found["online, pass 1"] > 1.01 * found["EM, 50 passes"]  # logarithms below 0
    assert found["online, pass 3"] > found["EM, 50 passes"] > found["start"] + 300


# ---------------------------------------------------------------- pictures


def test_data_and_simulation_are_drawn_with_a_band(tmp_path):
    t = np.arange(1900.0, 1910.0)
    data, simulation, std = np.ones((10, 2)), np.zeros((10, 2)), np.full((10, 2), 0.5)
    data[3, 1] = np.nan
    figure = plot_simulation(t, data, simulation, std, tmp_path / "a.png", ["hare", "lynx"], "year")
    assert (tmp_path / "a.png").stat().st_size > 0
    above, below = figure.axes
    assert (above.get_ylabel(), below.get_ylabel(), below.get_xlabel()) == ("hare", "lynx", "year")
    band = above.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((-0.98, 0.98))
    assert all(tick == int(tick) for tick in below.get_xticks())
    assert len(plot_simulation(t, data[:, 0], simulation[:, 0]).axes) == 1
    assert not plot_simulation(t, data, simulation).axes[0].collections


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": np.ones((9, 2))},
        {"simulation": np.ones((10, 3))},
        {"std": np.ones((10, 1))},
        {"names": ["one"]},
        {"data": np.ones((10, 2, 2))},
    ],
)
def test_arrays_that_do_not_fit_are_refused(wrong):
    arguments = {"times": np.arange(10), "data": np.ones((10, 2)), "simulation": np.ones((10, 2)), "std": None} | wrong
    with pytest.raises(fg.errors.DataError, match="plot_simulation: expected"):
        plot_simulation(**arguments)


def test_a_free_run_propagates_the_filters_covariance():
    """h' = h + θ₁ + θ₂ x is linear in θ: √(s C sᵀ) with s = (t, Σ x) and C = (Λ + Σ sᵀ s/σ²)⁻¹ is exact."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=30)
    system = fg.System(
        lambda h, x, p: h + p["a"] + p["b"] * x,
        None,
        np.zeros(()),
        {"a": 0.0, "b": 0.0},
        0.0,
        fg.losses.SquaredError(0.2),
    )
    ys = system.simulate(xs, params={"a": 0.3, "b": -0.2}).outputs + 0.2 * rng.normal(size=30)
    learner = fg.Learner(system, fg.RTRL(), fg.InformationFilter("full", "exact", prior=3.0))
    learner.run(xs, ys)
    params = {k: float(v) for k, v in learner.params.items()}
    simulation, std = free_run(learner, xs)
    s = np.column_stack([np.arange(1, 31), np.cumsum(xs)])
    C = np.linalg.inv(3.0 * np.eye(2) + s.T @ s / 0.2**2)
    np.testing.assert_allclose(std, np.sqrt(np.einsum("ti,ij,tj->t", s, C, s)), rtol=1e-9)
    np.testing.assert_allclose(simulation, system.simulate(xs, params=params).outputs, rtol=1e-12)
    assert {k: float(v) for k, v in learner.params.items()} == params  # nothing was learned
    assert not np.allclose(
        std, np.sqrt(np.einsum("ti,i->t", s**2, np.diag(C))), rtol=0.01
    )  # a band without covariances
    with pytest.raises(fg.errors.DeclarationError, match="steps="):
        free_run(learner)


def test_a_free_run_takes_inputs_by_name():
    learner = fg.Learner(systems.pendulum(), fg.RTRL(), fg.InformationFilter("full", "exact", prior=1.0))
    simulation, std = free_run(learner, {"torque": np.ones(5)})
    assert simulation.shape == std.shape == (5, 1)


# ---------------------------------------------------------------- many subjects


def test_patients_are_read_as_they_were_measured():
    hours, concentrations, doses = loaded("theophylline").read()
    assert [len(t) for t in hours] == [len(y) for y in concentrations] == [11] * 12
    assert all(np.all(np.diff(t) > 0) and t[0] == 0 for t in hours)
    assert (doses.min(), doses.max()) == (3.1, 5.86)


def test_chicks_are_read_as_they_were_weighed():
    days, weights, diets = loaded("chicks").read()
    assert sum(map(len, weights)) == 578
    assert np.bincount(diets).tolist() == [0, 20, 10, 10, 10]
    assert sorted({len(t) for t in days}) == [2, 7, 8, 10, 11, 12]


@pytest.mark.slow
def test_patients_and_their_clearances_as_by_least_squares():
    fit, online, best = loaded("theophylline").main(["--out", "patients.png"])
    np.testing.assert_allclose(fit, best, rtol=2e-3)
    np.testing.assert_allclose(np.delete(online, 2), np.delete(best, 2), rtol=0.02)
    assert abs(online[2] / best[2] - 1) < 0.2  # patient 1 clears so little that the prior is felt
    assert drawn("patients.png")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::fwdgrad.errors.CalibrationWarning")  # chick 21 outgrows the law
def test_chicks_and_their_sizes_as_by_least_squares():
    fit, best = loaded("chicks").main(["--out", "chicks.png"])
    np.testing.assert_allclose(np.delete(fit, 18), np.delete(best, 18), rtol=2e-3)
    assert abs(fit[18] / best[18] - 1) < 0.1  # two weights, both of its beginning
    assert drawn("chicks.png")


# ---------------------------------------------------------------- events, delays, and steps to a tolerance


def within(values, stds, truth, deviations=4.0):
    return all(abs(values[k] - v) < deviations * stds[k] for k, v in truth.items())


@pytest.mark.parametrize("name", ["doses", "bouncing_ball", "spiking_neuron", "robertson"])
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::fwdgrad.errors.IdentifiabilityWarning")  # absorption and elimination exchanged
def test_what_a_closed_form_or_scipy_made_is_found(name):
    module = loaded(name)
    fit = module.main(["--quick"])
    assert within(fit.params, fit.std, module.TRUTH)
    start = fg.from_text(module.MODEL).params
    assert not within(start, fit.std, module.TRUTH)
    assert drawn(f"{name}.png")


@pytest.mark.slow
def test_a_delay_is_learned_online():
    module = loaded("mackey_glass")
    learner, found = module.main(["--quick"])
    assert within(learner.params, learner.parameter_std(), module.TRUTH)
    assert found[-1, 2] < found[0, 2]
    assert drawn("mackey_glass.png")
