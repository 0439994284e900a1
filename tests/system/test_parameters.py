"""Parameters within bounds, fixed and tied: what is learned of them, and what F and Y see."""

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import CheckpointError, DeclarationError, ShapeError, UnknownNameError
from fwdgrad.system.parameters import Above, Below, Between, Free

COORDINATES = [Free(), Above(0.0), Above(-2.0), Below(3.0), Between(-1.0, 4.0)]
VALUES = np.array([0.1, 0.7, 2.5])


def rate(h, x, p):
    prey, pred = h
    return np.stack([p["a"] * prey - p["b"] * prey * pred, p["c"] * prey * pred - p["d"] * pred])


def declared(**params):
    return fg.System(rate, None, np.array([10.0, 8.0]), params, dt=0.01)


BOUNDED = declared(a=fg.positive(1.1), b=fg.bounded(0.1, 0, 1), c=fg.bounded(0.1, high=0.5), d=fg.bounded(0.4, low=-1))
PLAIN = declared(a=1.1, b=0.1, c=0.1, d=0.4)


# ---- coordinates


@pytest.mark.parametrize("coordinate", COORDINATES, ids=repr)
def test_coordinates_and_values_translate_back_and_forth(coordinate):
    u = coordinate.learned(VALUES)
    np.testing.assert_allclose(coordinate.natural(u), VALUES, rtol=1e-14)


@pytest.mark.parametrize("coordinate", COORDINATES, ids=repr)
def test_slopes_are_derivatives(coordinate):
    u, step = coordinate.learned(VALUES), 1e-6
    difference = (coordinate.natural(u + step) - coordinate.natural(u - step)) / (2 * step)
    np.testing.assert_allclose(coordinate.slope(u), difference, rtol=1e-8)


@pytest.mark.parametrize("coordinate", COORDINATES[1:], ids=repr)
def test_bounds_hold_wherever_the_coordinate_goes(coordinate):
    low, high = getattr(coordinate, "low", -np.inf), getattr(coordinate, "high", np.inf)
    u = np.array([-700.0, -30.0, 0.0, 30.0, 700.0])
    assert np.all((coordinate.natural(u) >= low) & (coordinate.natural(u) <= high))
    assert np.all(np.isfinite(coordinate.slope(u)))


# ---- learning


def test_the_influence_is_that_of_the_values():
    runs = []
    for system in (BOUNDED, PLAIN):
        learner = fg.Learner(system, fg.RTRL())
        learner.run(steps=100)
        runs.append(learner.influence_matrix())
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-12)


@pytest.mark.parametrize("engine", ["numpy", "eager", "compiled"])
def test_a_positive_parameter_learns_as_the_exponential_written_by_hand(engine):
    ys = declared(a=1.3, b=0.1, c=0.1, d=0.5).simulate(steps=60).outputs
    by_hand = fg.System(
        lambda h, x, p: rate(h, x, {k: np.exp(v) for k, v in p.items()}),
        None,
        np.array([10.0, 8.0]),
        {k: np.log(float(v)) for k, v in PLAIN.params.items()},
        dt=0.01,
    )
    ours = declared(**{k: fg.positive(float(v)) for k, v in PLAIN.params.items()})
    learned = []
    for system in (ours, by_hand):
        learner = fg.Learner(system, fg.RTRL(), fg.Adam(0.01), engine=engine)
        learner.run(ys=ys)
        learned.append(np.array(list(learner.params.values())))
    np.testing.assert_allclose(learned[0], np.exp(learned[1]), rtol=1e-13)
    assert not np.allclose(learned[0], list(PLAIN.params.values()))


def test_tied_parameters_are_one():
    ys = declared(a=1.3, b=0.1, c=0.1, d=0.5).simulate(steps=60).outputs
    tied = declared(a=1.1, b=0.1, c=fg.tied("b"), d=0.4)

    def shared(h, x, p):
        return rate(h, x, {**p, "c": p["b"]})

    by_hand = fg.System(shared, None, np.array([10.0, 8.0]), {"a": 1.1, "b": 0.1, "d": 0.4}, dt=0.01)
    runs = []
    for system in (tied, by_hand):
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-4))
        learner.run(ys=ys)
        runs.append(learner.params)
    assert list(runs[0]) == ["a", "b", "c", "d"]
    assert runs[0]["c"] == runs[0]["b"] == runs[1]["b"] != 0.1


def test_fixed_parameters_stay():
    system = declared(a=1.1, b=fg.fixed(fg.positive(0.1)), c=0.1, d=fg.fixed(0.4))
    assert system.trainable == ("a", "c")
    assert system.frozen == ("b", "d")
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-4))
    learner.run(ys=PLAIN.simulate(steps=20, params={"a": 1.5}).outputs)
    assert (learner.params["b"], learner.params["d"]) == (pytest.approx(0.1, rel=1e-15), 0.4)
    assert learner.params["a"] != 1.1


@pytest.mark.filterwarnings("ignore:.*claimed noise is too large")  # there is none in these data
def test_standard_deviations_are_those_of_the_values():
    ys = PLAIN.simulate(steps=80).outputs
    stds = []
    for system in (declared(a=fg.positive(1.1), b=0.1, c=0.1, d=0.4), PLAIN):
        learner = fg.Learner(system, fg.RTRL(), fg.InformationFilter("full", fisher="exact", prior=1e-9, decay=0.0))
        learner.run(ys=ys)
        stds.append(learner.parameter_std()["a"])
    assert stds[0] == pytest.approx(stds[1], rel=1e-6)


# ---- values in and out


def test_values_can_be_assigned_within_their_bounds():
    learner = fg.Learner(BOUNDED)
    learner.params = {"a": 2.0}
    assert (learner.params["a"], learner.params["b"]) == (pytest.approx(2.0), pytest.approx(0.1))
    for wrong in ({"a": -1.0}, {"b": 1.0}, {"c": 0.5}, {"a": np.nan}, {"a": [1.0]}, {"a": "x"}):
        with pytest.raises(ShapeError, match=next(iter(wrong))):
            learner.params = wrong
    with pytest.raises(UnknownNameError, match="there is no parameter 'e'"):
        learner.params = {"e": 1.0}
    assert learner.params["a"] == pytest.approx(2.0)


def test_a_tied_value_cannot_be_assigned_but_agrees_with_a_copy_of_all():
    learner = fg.Learner(declared(a=1.1, b=0.1, c=fg.tied("b", lambda b: 2 * b), d=0.4))
    learner.params = dict(learner.params) | {"b": 0.2, "c": 0.4}
    assert learner.params["c"] == 0.4
    with pytest.raises(UnknownNameError, match="follows from 'b'"):
        learner.params = {"c": 0.3}


def test_a_checkpoint_belongs_to_its_bounds(tmp_path):
    fg.Learner(BOUNDED, fg.RTRL()).save(tmp_path / "a.npz")
    other = declared(
        a=fg.positive(1.1), b=fg.bounded(0.1, 0, 2), c=fg.bounded(0.1, high=0.5), d=fg.bounded(0.4, low=-1)
    )
    with pytest.raises(CheckpointError):
        fg.Learner.load(tmp_path / "a.npz", other)
    assert fg.Learner.load(tmp_path / "a.npz", BOUNDED).params["a"] == pytest.approx(1.1)


def test_another_precision_and_other_arguments_keep_the_declaration():
    system = declared(a=fg.positive(1.1), b=0.1, c=fg.tied("b"), d=fg.fixed(0.4)).replace(dt=0.02)
    single = system.astype(np.float32)
    assert (single.dtype, single.dt, single.frozen) == (np.float32, 0.02, ("d",))
    assert (single.params["a"], single.coordinate["a"]) == (pytest.approx(1.1, rel=1e-6), Above(0.0))
    assert fg.check(single).ok


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fg.positive(0.0), "strictly between 0 and inf"),
        (lambda: fg.positive([1.0, -1.0]), "strictly between"),
        (lambda: fg.bounded(0.5, 1, 0), "low < high"),
        (lambda: fg.bounded(2.0, 0, 1), "strictly between 0 and 1"),
        (lambda: fg.bounded("x", 0, 1), "a number or an array"),
        (lambda: fg.bounded(0.5, "0", 1), "low"),
        (lambda: fg.bounded(0.5, np.nan, 1), "low"),
        (lambda: fg.tied(3), "name of a parameter"),
        (lambda: fg.tied("a", 3), "function of one parameter"),
        (lambda: fg.fixed(fg.tied("a")), "fix that one"),
        (lambda: declared(a=fg.tied("e"), b=0.1, c=0.1, d=0.4), "not there"),
        (lambda: declared(a=fg.tied("b"), b=fg.tied("a"), c=0.1, d=0.4), "tied itself"),
        (
            lambda: fg.Learner(declared(a=fg.fixed(1.0), b=fg.fixed(0.1), c=fg.fixed(0.1), d=fg.fixed(0.4))),
            "no parameter to learn",
        ),
    ],
)
def test_declarations_that_make_no_sense_are_refused(make, message):
    with pytest.raises((DeclarationError, UnknownNameError), match=message):
        make()


# ---- a scale for each output


def test_each_output_may_have_its_own_scale():
    loss = fg.losses.SquaredError(scale=(2.0, 0.5))
    prediction, y = np.array([1.0, 2.0]), np.array([3.0, np.nan])
    assert loss.value(prediction, y) == 0.5
    np.testing.assert_array_equal(loss.gradient(prediction, y), [-0.5, 0.0])
    np.testing.assert_array_equal(loss.fisher(prediction), np.diag([0.25, 4.0]))
    assert fg.losses.SquaredError(scale=np.array([2.0, 0.5])) == loss
    with pytest.raises(DeclarationError, match=r"scale=…\)\[1\]"):
        fg.losses.SquaredError(scale=(1.0, 0.0))
    with pytest.raises(ShapeError, match="each of the 2 predictions"):
        fg.System(
            rate, None, np.ones(2), {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}, loss=fg.losses.SquaredError((1, 2, 3))
        )


@pytest.mark.parametrize("engine", ["numpy", "compiled", "eager"])
def test_scales_weigh_the_outputs(engine):
    ys = PLAIN.simulate(steps=50, params={"a": 1.4, "d": 0.5}).outputs

    def learned(system, ys):
        learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-5), engine=engine)
        learner.run(ys=ys)
        return np.array(list(learner.params.values()))

    scaled = learned(PLAIN.replace(loss=fg.losses.SquaredError((0.5, 2.0))), ys)
    by_hand = PLAIN.replace(Y=lambda h, x, p: h / np.array([0.5, 2.0]))
    np.testing.assert_allclose(scaled, learned(by_hand, ys / [0.5, 2.0]), rtol=1e-13)
    assert not np.allclose(scaled, learned(PLAIN, ys), rtol=1e-6)
