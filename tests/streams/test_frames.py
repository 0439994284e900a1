"""Tables of pandas in, with their dates, and out."""

import warnings

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import DataError, DeclarationError
from fwdgrad.support.frames import calendar_of

pd = pytest.importorskip("pandas")

MODEL = fg.from_text("d x/dt = -k*x\nx(0) = 1\nparam k = 1 in (0, inf)\noutput level = x\ndt = 0.1\nmethod = rk4")
TRUTH = {"k": 0.8}


def observed(count=40):
    rng = np.random.default_rng(0)
    return MODEL.simulate(steps=count, params=TRUTH).outputs + 0.01 * rng.normal(size=(count, 1))


def daily(count=40, start="2024-01-01", freq="D"):
    return pd.DataFrame(observed(count), columns=["level"], index=pd.date_range(start, periods=count, freq=freq))


def test_dates_that_are_not_there_are_missing_samples():
    table = daily()
    whole = table.copy()
    whole.iloc[10:20] = np.nan
    gappy, filled = (fg.fit(MODEL, ys=t, engine="numpy") for t in (whole.dropna(), whole))
    assert gappy.params["k"] == filled.params["k"]
    assert gappy.stamps.equals(table.index)
    assert [note for note in gappy.notes if "10 of 40 dates" in note]
    assert not filled.notes
    with pytest.warns(fg.errors.CalibrationWarning):  # as if the days followed each other
        packed = fg.fit(MODEL, ys=whole.dropna().to_numpy(), engine="numpy")
    assert abs(packed.params["k"] - 0.8) > 10 * abs(gappy.params["k"] - 0.8)


def test_learners_see_them_too():
    table = daily().drop(daily().index[5:9])
    assert len(fg.Learner(MODEL, engine="numpy").run(ys=table)) == 40
    assert len(fg.Learner(MODEL, engine="numpy").run(ys=table["level"].to_frame())) == 40


@pytest.mark.parametrize(
    ("freq", "zone"), [("h", None), ("MS", None), ("ME", None), ("YS", None), ("W", None), ("D", "Europe/Berlin")]
)
def test_calendars(freq, zone):
    """Every row of a table with gaps is at its date again, and what comes later goes on."""
    index = pd.date_range("2023-12-31" if freq != "YS" else "1990-01-01", periods=60, freq=freq, tz=zone)
    there = np.delete(np.arange(50), [3, 4, 17])
    calendar = calendar_of(pd.DataFrame({"y": 1.0}, index=index[there]))
    np.testing.assert_array_equal(calendar.rows, there)
    assert list(calendar.dates(60).tz_localize(None)) == list(index.tz_localize(None))
    assert list(calendar.dates(10, 50).tz_localize(None)) == list(index[50:].tz_localize(None))


def test_other_indices_have_no_dates():
    assert calendar_of(pd.DataFrame({"y": [1.0, 2.0]})) is None
    assert calendar_of(np.zeros(3)) is None


def test_uneven_dates_are_refused_with_what_to_do():
    dates = pd.to_datetime(["2024-01-01 00:00:00", "2024-01-01 07:13:11", "2024-01-02 01:00:00", "2024-01-05 17:21:09"])
    with pytest.raises(DataError, match=r'not a step apart(?s:.*)dt="elapsed"'):
        fg.fit(MODEL, ys=pd.DataFrame({"level": 1.0}, index=dates))
    with pytest.raises(DataError, match="should increase"):
        fg.fit(MODEL, ys=daily().iloc[::-1])


def test_inputs_have_to_be_there_for_each_date():
    driven = fg.from_text("d x/dt = u - k*x\nx(0) = 1\nparam k = 1\ninput u = 0\noutput level = x\ndt = 0.1")
    table = daily().assign(u=0.0)
    gap = table.drop(table.index[7])
    with pytest.raises(DataError, match="no row for 2024-01-08"):
        fg.Learner(driven, engine="numpy").run(gap[["u"]], gap[["level"]])
    with pytest.raises(DataError, match="different dates"):
        fg.Learner(driven, engine="numpy").run(table[["u"]].iloc[1:], gap[["level"]])
    assert len(fg.Learner(driven, engine="numpy").run(table[["u"]], table[["level"]])) == 40


class Foreign:
    """A table of another library: all that is known of it is the interchange protocol."""

    def __init__(self, table):
        self._table = table

    def __dataframe__(self, *args, **options):
        return self._table.__dataframe__(*args, **options)


def test_tables_of_other_libraries():
    table = daily().reset_index(drop=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas has begun to move the protocol
        there = fg.fit(MODEL, ys=Foreign(table), engine="numpy")
    assert there.params["k"] == fg.fit(MODEL, ys=table, engine="numpy").params["k"]


def test_results_as_tables():
    fit = fg.fit(MODEL, ys=daily(), engine="numpy")
    later = fit.forecast(3)
    frame = fit.to_frame(later)
    assert list(frame.columns) == ["level", *(f"level_{k}" for k in ("fit", "std", "low", "high"))]
    assert frame.index.equals(pd.date_range("2024-01-01", periods=43, name="date"))
    np.testing.assert_array_equal(frame["level_fit"], np.concatenate([fit.outputs, later.mean])[:, 0])
    np.testing.assert_array_equal(frame["level_std"], np.concatenate([fit.bands, later.std])[:, 0])
    np.testing.assert_array_equal(frame["level"].isna(), np.arange(43) >= 40)
    wide = (frame["level_high"] - frame["level_fit"]) / frame["level_std"]  # Student's t, so a little more than 1.96
    np.testing.assert_allclose(wide, wide.iloc[0], rtol=1e-9)
    assert 1.96 < wide.iloc[0] < 2.1
    parameters = fit.parameter_frame()
    assert parameters.loc["k"].to_list() == [1.0, fit.params["k"], fit.std["k"], *fit.interval["k"]]
    plain = fg.fit(MODEL, ys=observed(), engine="numpy")
    np.testing.assert_allclose(plain.to_frame(later).index, 0.1 * np.arange(43))
    several = fg.fit(
        MODEL, trajectories=[fg.Trajectory(None, observed()), fg.Trajectory(None, observed(9))], engine="numpy"
    )
    assert several.to_frame()["trajectory"].value_counts().to_list() == [40, 9]


def test_runs_and_simulations_as_tables():
    learner = fg.Learner(MODEL, engine="numpy")
    first = learner.run(ys=observed()[:10])
    history = learner.run(ys=observed()[10:], keep_predictions=True)
    frame = history.to_frame(MODEL.output_names)
    assert list(frame.columns) == ["loss", "level"]
    assert (frame.index[0], len(frame), len(first.to_frame())) == (10, 30, 10)
    assert learner.parameter_frame().loc["k", "std"] > 0
    assert fg.Learner(MODEL, fg.RTRL(), fg.SGD(0.1)).parameter_frame()["std"].isna().all()
    with pytest.raises(DeclarationError, match="expected 1 names, got 2: a, b"):
        history.to_frame(["a", "b"])
    network = fg.System(
        lambda h, x, p: {"a": p["k"] * h["a"], "W": h["W"]}, None, {"a": 1.0, "W": np.ones(2)}, {"k": 0.5}
    )
    simulated = network.simulate(steps=4).to_frame()
    assert list(simulated.columns) == ["a", "W 0", "W 1", "output 0", "output 1", "output 2"]


def test_comparisons_as_tables():
    system = fg.System(lambda h, x, p: p["a"] * h + x, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
    ones = np.ones((8, 1))
    found = fg.compare(system, ones, ones, ["uoro", "rtrl"], replicas=2, engine="numpy")
    frame = found.to_frame()
    assert list(frame.index) == ["UORO", "RTRL"]
    assert frame.loc["RTRL", "projection"] == found["RTRL"].projection
    assert frame.notna().all(axis=None)
