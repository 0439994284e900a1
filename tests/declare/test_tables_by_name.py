"""Tables with names of columns: by these where a system has names, by their order where it has none, else refused."""

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import DataError
from fwdgrad.learning.samples import SampleReader
from fwdgrad.linear import TracedModel

pd = pytest.importorskip("pandas")

MODEL = """
d prey/dt = a*prey - b*prey*pred + u
d pred/dt = prey*pred - pred
prey(0) = 1
pred(0) = 2
param a = 0.6
param b = 1.0
input u = 0
input v = 0
output hare = prey + 0*v
output lynx = pred
dt = 0.1
"""
PLAIN = fg.System(
    lambda h, x, p: {"a": p["k"] * h["a"], "b": h["b"]}, None, {"a": 1.0, "b": 2.0}, {"k": 0.5}, x=np.zeros(2)
)


def read(system, xs, ys):
    (chunk,) = SampleReader(TracedModel(system)).chunks(xs, ys, None, 0)
    return chunk


def test_columns_go_by_their_names():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 4))
    table = pd.DataFrame(values, columns=["lynx", "v", "hare", "u"])
    chunk = read(fg.from_text(MODEL), table[["v", "u"]], table[["lynx", "hare"]])
    np.testing.assert_array_equal(np.stack(chunk.x, axis=1), values[:, [3, 1]])
    np.testing.assert_array_equal(chunk.y[0], values[:, [2, 0]])
    plain = read(PLAIN, values[:, :2], pd.DataFrame(values[:, :2], columns=["b", "a"]))
    np.testing.assert_array_equal(plain.y[0], values[:, [1, 0]])


def test_names_that_nobody_knows_go_by_their_order():
    values = np.arange(8.0).reshape(4, 2)
    for columns in (["y0", "y1"], [0, 1]):
        chunk = read(PLAIN, pd.DataFrame(values, columns=columns), pd.DataFrame(values, columns=columns))
        np.testing.assert_array_equal(chunk.x[0], values)
        np.testing.assert_array_equal(chunk.y[0], values)


@pytest.mark.parametrize("columns", [["a", "c"], ["a", "a"]])
def test_some_names_are_refused(columns):
    values = np.arange(8.0).reshape(4, 2)
    with pytest.raises(DataError, match=r"columns a, b; got a, .(?s:.*)to_numpy"):
        read(PLAIN, values, pd.DataFrame(values, columns=columns))


def test_inputs_that_are_not_there_are_refused():
    table = pd.DataFrame(np.zeros((4, 2)), columns=["u", "w"])
    with pytest.raises(DataError, match=r"xs: expected a table with the columns u, v; got u, w"):
        read(fg.from_text(MODEL), table, np.zeros((4, 2)))


def test_fits_and_learners_read_them_alike():
    system = fg.System(
        lambda h, x, p: {"a": p["k"] * h["a"], "b": 0.9 * h["b"]}, None, {"a": 1.0, "b": 2.0}, {"k": 0.5}
    )
    ys = system.simulate(steps=40, params={"k": 0.8}).outputs + 0.01 * np.random.default_rng(0).normal(size=(40, 2))
    table = pd.DataFrame(ys[:, ::-1], columns=["b", "a"])
    assert fg.fit(system, ys=table, engine="numpy").params["k"] == fg.fit(system, ys=ys, engine="numpy").params["k"]
    made = []
    for given in (table, ys):
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3), engine="numpy")
        learner.run(ys=given)
        made.append(learner.params["k"])
    assert made[0] == made[1]


def test_an_output_that_is_no_column_was_not_observed():
    values = np.arange(4.0)
    chunk = read(fg.from_text(MODEL), pd.DataFrame({"u": values, "v": values}), pd.DataFrame({"lynx": values}))
    np.testing.assert_array_equal(chunk.y[0], np.stack([np.full(4, np.nan), values], axis=1))
    with pytest.raises(DataError, match="columns hare, lynx; got hare, lynks"):  # the control: no name is guessed
        read(fg.from_text(MODEL), pd.DataFrame({"u": values, "v": values}), pd.DataFrame({"hare": values, "lynks": 0}))


def test_text_in_a_column_is_named():
    values = np.arange(4.0)
    table = pd.DataFrame({"hare": values, "lynx": ["1", "2.5", "", "4"]})
    with pytest.raises(DataError, match="'lynx' holds text, such as '1'"):
        read(fg.from_text(MODEL), pd.DataFrame({"u": values, "v": values}), table)


@pytest.mark.parametrize(("freq", "said"), [("30min", "30min"), ("D", "D|24h"), ("MS", "MS|month")])
def test_missing_rows_of_inputs_are_told_with_the_step_of_the_table(freq, said):
    table = pd.DataFrame({"u": 0.0, "v": 0.0}, index=pd.date_range("2024-01-01", periods=12, freq=freq))
    table = table.drop(table.index[5])
    with pytest.raises(DataError, match=rf"asfreq\(.*({said})"):
        read(fg.from_text(MODEL), table, pd.DataFrame({"lynx": 0.0}, index=table.index))
