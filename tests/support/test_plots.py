"""Learning curves: what is drawn are the means, and the labels stay apart."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad import plots
from fwdgrad.plots import FEW, _spread, check_target, plot_history

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("matplotlib.text")


def history(count=5000, every=1, seed=0):
    rng = np.random.default_rng(seed)
    return fg.History(3 + 2 * np.arange(1, count + 1) ** -0.5 + rng.normal(size=count), 0, every)


def curves(figure):
    """(x, y) of the mean over the latest steps and of the mean over all steps."""
    return [line.get_data() for line in figure.axes[0].get_lines()[:2]]


@pytest.mark.parametrize("every", [1, 10])
def test_the_curves_are_the_means(every):
    made = history(every=every)
    (steps, recent), (_, mean) = curves(plot_history(made))
    assert steps[-1] == 5000 * every
    entries = (steps // every).astype(int)
    np.testing.assert_allclose(mean, made.mean[entries - 1])
    for k, value in zip(entries, recent, strict=True):
        first = max(min(int(np.floor(k * 0.9)), k - -(-FEW // every)), 0)
        assert value == pytest.approx(made.loss[first:k].mean())
    assert recent[-1] == pytest.approx(made.recent(500 * every))


def test_steps_without_a_target_do_not_count():
    made = history(200)
    loss = made.loss.copy()
    loss[:3] = loss[50:150:2] = np.nan
    (steps, recent), (_, mean) = curves(plot_history(fg.History(loss, 0)))
    assert steps[0] == 4
    assert np.all(np.isfinite(recent))
    assert mean[-1] == pytest.approx(np.nanmean(loss))


def test_a_later_run_starts_later():
    (steps, _), _ = curves(plot_history(fg.History(np.ones(10), first=1000)))
    assert (steps[0], steps[-1]) == (1001, 1010)


def test_references_are_drawn_and_named():
    references = {"unigram entropy": 4.64, "zlib": 2.42, "lzma": 2.21, "bz2": 2.13}
    axes = plot_history(history(), references=references).axes[0]
    levels = [line.get_ydata()[0] for line in axes.get_lines()[2:]]
    assert levels == list(references.values())
    texts = [text.get_text() for text in axes.texts]
    for name, level in references.items():
        assert f"{name} {level:.2f}" in texts
    low, high = axes.get_ylim()
    assert low < 2.13 < 4.64 < high


def test_no_two_labels_overlap(tmp_path):
    references = {f"reference {k}": 2 + 0.01 * k for k in range(5)}
    figure = plot_history(history(), tmp_path / "p.png", references)
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in figure.axes[0].texts]  # without its line
    assert len(boxes) == 7
    for k, a in enumerate(boxes):
        assert not any(a.overlaps(b) for b in boxes[:k])
    assert all(box.x1 <= figure.bbox.width for box in boxes)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], []),
        ([1.0], [1.0]),
        ([1.0, 5.0], [1.0, 5.0]),
        ([1.0, 1.0], [0.5, 1.5]),
        ([0.0, 0.9, 1.0], [-0.366667, 0.633333, 1.633333]),
    ],
)
def test_places_are_spread_about_their_levels(levels, expected):
    assert _spread(levels, 1.0) == pytest.approx(expected, abs=1e-5)


def test_spread_places_are_far_enough_apart_and_near_enough():
    rng = np.random.default_rng(0)
    for _ in range(200):
        levels = sorted(rng.uniform(0, 10, size=rng.integers(1, 12)))
        places = _spread(levels, 1.0)
        assert np.all(np.diff(places) >= 1 - 1e-9)
        free = [k for k in range(len(levels)) if all(abs(levels[k] - v) > len(levels) for v in np.delete(levels, k))]
        assert all(places[k] == pytest.approx(levels[k]) for k in free)


@pytest.mark.parametrize("name", ["p.png", "p.svg", "p.pdf", "P.PNG"])
def test_a_file_is_written(tmp_path, name):
    plot_history(history(100), tmp_path / name)
    assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize("count", [1, 2, 21])
def test_short_histories_are_drawn(tmp_path, count):
    plot_history(fg.History(np.full(count, 2.0), 0), tmp_path / "p.png", {"entropy": 2.0})


@pytest.mark.parametrize("level", [0.0, 1e-7, -3.0, 1e6])
def test_constant_losses_of_any_size_are_drawn(tmp_path, level):
    plot_history(fg.History(np.full(50, level), 0), tmp_path / "p.png", unit="loss")


def test_it_draws_into_given_axes():
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.add_subplot()
    assert plot_history(history(), ax=axes, unit="loss") is figure
    assert axes.get_ylabel() == "loss"


def test_what_cannot_be_drawn_or_written_is_refused(tmp_path):
    with pytest.raises(fg.errors.DataError, match="no step"):
        plot_history(fg.History(np.full(5, np.nan), 0))
    with pytest.raises(fg.errors.DataError, match="no step"):
        plot_history(fg.History(np.zeros(0), 0))
    with pytest.raises(fg.errors.DeclarationError, match=r"\.png"):
        check_target(tmp_path / "p.doc")
    with pytest.raises(fg.errors.DeclarationError, match=r"'p\.png'"):
        check_target("p")
    with pytest.raises(fg.errors.DataError, match="no folder"):
        check_target(tmp_path / "none" / "p.png")
    (tmp_path / "p.png").mkdir()
    with pytest.raises(fg.errors.DataError, match="cannot write"):
        plot_history(history(), tmp_path / "p.png")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(fg.errors.DeclarationError, match=r"fwdgrad\[plot\]"):
        plot_history(history())
    with pytest.raises(fg.errors.DeclarationError, match=r"fwdgrad\[plot\]"):
        check_target("p.png")


def test_neither_pyplot_nor_a_display_is_needed(tmp_path):
    code = (
        "import sys, numpy as np, fwdgrad as fg; from fwdgrad.plots import plot_history;"
        f"plot_history(fg.History(np.ones(9), 0), {str(tmp_path / 'p.png')!r});"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- notebooks, and the unit of the loss


def test_a_figure_shows_itself_in_a_notebook():
    """IPython asks an object for `_repr_png_`; a plain matplotlib figure has none (negative control)."""
    for figure in (plot_history(history()), plots.new_figure(2.0, 1.0)):
        assert figure._repr_png_().startswith(b"\x89PNG")
    assert type(pickle.loads(pickle.dumps(plots.new_figure(2.0, 1.0)))) is type(plots.new_figure(2.0, 1.0))
    assert not hasattr(matplotlib.figure.Figure(), "_repr_png_")


def test_every_picture_is_such_a_figure():
    """Of the reports, too."""
    system = fg.System(lambda h, x, p: p["a"] * h, None, np.ones(2), {"a": 0.5})
    comparison = fg.compare(system, None, np.ones((8, 2)), ["rtrl"], replicas=2)
    for figure in (fg.analyze(system).plot(), comparison.plot()):
        assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("loss", "unit"),
    [
        (fg.losses.SquaredError(), "½ squared error (squared units)"),
        (fg.losses.SquaredError(0.1), "½ squared error (in units of the noise)"),
        (fg.losses.CrossEntropy(), "nats"),
        (fg.losses.CrossEntropy(base=2), "bits"),
        (fg.losses.CrossEntropy(base=10), "hartleys"),
        (lambda prediction, y: np.sum((prediction - y) ** 4), "loss"),
    ],
)
def test_the_axis_names_the_unit_of_the_loss(loss, unit):
    """As the loss has it; what is asked for wins."""
    symbols = isinstance(loss, fg.losses.CrossEntropy)
    system = fg.System(lambda h, x, p: p["a"] * h, None, np.ones(2), {"a": 0.5}, loss=loss)
    learner = fg.Learner(system, fg.RTRL(), fg.SGD(1e-3))
    made = learner.run(ys=np.zeros(4, int) if symbols else np.zeros((4, 2)))
    assert plot_history(made).axes[0].get_ylabel() == made.unit == unit
    assert plot_history(made, unit="euros").axes[0].get_ylabel() == "euros"


def test_catalogue_and_pictures_are_attributes():
    """Without an import of their own, and loaded only when asked for."""
    code = (
        "import sys, fwdgrad as fg; assert 'fwdgrad.systems' not in sys.modules; assert 'plots' in dir(fg);"
        "assert fg.systems.build('gru', units=2, symbols=2).size == 2; assert callable(fg.plots.plot_history);"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match=r"no attribute 'sytems'. Did you mean 'systems'\?"):
        fg.sytems  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'zzz'\.$"):
        fg.zzz  # noqa: B018
