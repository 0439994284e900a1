"""Arguments that there are not: each public function and class names the one that may be meant."""

import inspect
import warnings

import pytest

import fwdgrad as fg
from fwdgrad.errors import DeadParameterWarning, UnknownArgumentError

RESULTS = ("History", "Trajectory")
"""What functions return, and a tuple; those with many fields that have to be there are results, too."""


def options(made):
    """Arguments that may be left out."""
    parameters = inspect.signature(made).parameters.values()
    return [
        p.name
        for p in parameters
        if (p.default is not p.empty and p.kind is p.POSITIONAL_OR_KEYWORD) or p.kind is p.KEYWORD_ONLY
    ]


def callables():
    for module in (fg, fg.losses):
        for name in module.__all__:
            made = getattr(module, name)
            if not callable(made) or (isinstance(made, type) and issubclass(made, BaseException)):
                continue
            required = [p for p in inspect.signature(made).parameters.values() if p.default is p.empty]
            if options(made) and name not in RESULTS and not (isinstance(made, type) and len(required) > 4):
                yield pytest.param(made, id=name)


@pytest.mark.parametrize("made", list(callables()))
def test_an_argument_that_is_misspelt_is_named(made):
    name = max(options(made), key=len)
    with pytest.raises(UnknownArgumentError, match=f"no argument '{name}x'. Did you mean '{name}'"):
        made(**{f"{name}x": None})


@pytest.mark.parametrize(
    "made", [fg.System.simulate, fg.Learner.run, fg.Fit.forecast, fg.Fit.plot], ids=lambda m: m.__name__
)
def test_an_argument_of_a_method_that_is_misspelt_is_named(made):
    name = max((name for name in inspect.signature(made).parameters if name != "self"), key=len)
    with pytest.raises(UnknownArgumentError, match=f"no argument '{name}x'. Did you mean '{name}'"):
        made(None, **{f"{name}x": None})


def test_what_is_meant_by_no_name_is_told_of_all():
    with pytest.raises(TypeError, match="Known: scale, rank, window, signs"):
        fg.UORO(qqqq=1)


def test_signatures_and_places_of_warnings_stay():
    assert list(inspect.signature(fg.UORO).parameters) == ["scale", "rank", "window", "signs"]
    system = fg.System(lambda h, x, p: 0.5 * h, None, [1.0], {"a": 1.0})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fg.Learner(system, fg.RTRL(), fg.SGD(0.1))
    assert [w.category for w in told] == [DeadParameterWarning]
    assert told[0].filename == __file__


def test_arguments_that_are_handed_on_pass():
    def decay(t, y, k):
        return -k * y

    assert fg.from_scipy(decay, [1.0], args={"k": 1.0}, dt=0.1, substeps=3).substeps == 3
    with pytest.raises(UnknownArgumentError, match="from_scipy: there is no argument 'substep'"):
        fg.from_scipy(decay, [1.0], args={"k": 1.0}, dt=0.1, substep=3)
