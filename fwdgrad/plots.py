"""Pictures of what was learned. They need matplotlib, which is loaded when the first one is drawn.

Figures are made without pyplot: no global state, no window, no display. Notebooks show them, without a magic.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fwdgrad.errors import DataError, DeclarationError

__all__ = ["check_target", "curves", "free_run", "new_figure", "plot_fit", "plot_history", "plot_simulation", "save"]

RECENT = 0.1
"""The moving mean is over this part of the steps made so far …"""

POINTS = 400
"""Curves are drawn through at most this many points, evenly spread over the logarithm of time."""

FEW = 20
"""… but over at least so many steps; fewer would be noise."""

DARK, BLUE, GREY = "#222222", "#1f77b4", "#777777"

COLOURS = ("#1f77b4", "#e0a030", "#2f9e6e", "#b0413e", "#7a5ba6", "#3aa6b9", "#8c6d46", "#d679a8", "#555555", "#8f9a2a")
"""One for each of several lines, in turn."""

WIDTH = 1.96
"""Half the width of a band, in standard deviations: 95 % of a normal distribution."""


PANELS, MANY = 24, 300
"""Panels of a picture, at most; and points in one, from which on they are drawn small."""


class Losses(Protocol):
    """What is drawn: a `fwdgrad.History`."""

    @property
    def loss(self) -> np.ndarray:
        """Mean loss of every `every` steps, shape (T,); NaN where there was no target."""

    @property
    def first(self) -> int:
        """Number of the first step."""

    @property
    def every(self) -> int:
        """Steps per entry."""

    @property
    def unit(self) -> str:
        """Of the loss."""


class Filtering(Protocol):
    """What makes a free run with standard deviations: a `fwdgrad.Learner` with a filter as optimizer."""

    def reset_state(self) -> None:
        """Start a new trajectory."""

    def predict(self, x: Any = None, *, return_std: bool = False) -> Any:
        """(ŷ, its standard deviation) for the next sample."""

    def step(self, x: Any = None, y: Any = None) -> float:
        """One sample, here without a target."""


def plot_history(
    history: Losses,
    path: str | os.PathLike[str] | None = None,
    references: Mapping[str, float] | None = None,
    ax: Any = None,
    unit: str | None = None,
) -> Any:
    """A learning curve on a logarithmic time axis.

    Two curves: the mean over all steps so far (a learner that predicts before it learns is a compressor, and this is
    the length of its code), and the mean over the last tenth of them, which shows what it has become.

    Args:
        history: what `Learner.run` returned.
        path: file to write, in a format that its name ends in: png, pdf, svg.
        references: level of each horizontal reference line, by name; see `fwdgrad.streams.references`.
        ax: matplotlib axes to draw into; a new figure unless given.
        unit: of the loss; that of the history unless given, such as "bits" for `CrossEntropy(base=2)`.

    Returns:
        The matplotlib figure.

    Raises:
        DeclarationError: matplotlib is not installed, or cannot write a file of that name.
        DataError: no step had a target, or the file cannot be written.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> from fwdgrad.plots import plot_history
        >>> figure = plot_history(fg.History(np.array([3.0, 2.0, 1.5]), first=0), references={"unigram entropy": 2.5})
        >>> [text.get_text() for text in figure.axes[0].texts][-1]
        'unigram entropy 2.50'
    """
    if path is not None:
        check_target(path)
    figure, ax = _axes(ax)
    steps, mean, recent = curves(history)
    few = len(history.loss) * history.every * RECENT < FEW
    latest = f"the last {FEW} steps" if few else f"the last {RECENT:.0%} of them"
    drawn = [(latest, recent, BLUE, 2.0), ("all steps so far", mean, DARK, 1.6)]
    for _, values, colour, width in drawn:
        ax.plot(steps, values, color=colour, linewidth=width, solid_capstyle="round", zorder=3)
    labels = [(values[-1], f"{name} {_short(values[-1])}", colour) for name, values, colour, _ in drawn]
    for name, level in (references or {}).items():
        ax.axhline(level, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=2)
        labels.append((level, f"{name} {_short(level)}", GREY))
    _dress(ax, steps, [value for value, *_ in labels], np.concatenate([mean, recent]), unit or history.unit)
    _label(ax, labels)
    if path is not None:
        save(figure, path)
    return figure


def plot_simulation(
    times: Any,
    data: Any,
    simulation: Any,
    std: Any = None,
    path: str | os.PathLike[str] | None = None,
    names: Sequence[str] | None = None,
    xlabel: str = "time",
) -> Any:
    """Data against a simulation, one panel for each output, with a band of what is not known of the parameters.

    Args:
        times: of the samples, shape (T,).
        data: what was observed, shape (T,) or (T, m); NaN where nothing was.
        simulation: outputs of a free run, of the same shape; see `fwdgrad.System.simulate` and `free_run`.
        std: standard deviations of the simulation because θ is not known exactly, of the same shape; the band is
            ± 1.96 of them. From `free_run` they are propagated to first order: √(∇ŷᵀ C ∇ŷ) with the covariance C of θ.
        path: file to write, in a format that its name ends in: png, pdf, svg.
        names: of the outputs.
        xlabel: what `times` are.

    Returns:
        The matplotlib figure.

    Raises:
        DeclarationError: matplotlib is not installed, or cannot write a file of that name.
        DataError: the arrays have different shapes, or the file cannot be written.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.plots import plot_simulation
        >>> t = np.linspace(0, 1, 20)
        >>> figure = plot_simulation(t, np.cos(9 * t), np.cos(8.9 * t), 0.1 * t, names=["x"])
        >>> figure.axes[0].get_ylabel()
        'x'
    """
    if path is not None:
        check_target(path)
    t = np.asarray(times, float)
    seen, drawn = (_columns(label, v, len(t)) for label, v in (("data", data), ("simulation", simulation)))
    spread = np.zeros_like(drawn) if std is None else _columns("std", std, len(t))
    count = drawn.shape[1]
    if not seen.shape == drawn.shape == spread.shape or len(names or range(count)) != count:
        raise DataError(
            "plot_simulation: expected as many columns of data, simulation, std and names, "
            f"got {seen.shape[1]}, {count}, {spread.shape[1]} and {len(names or range(count))}."
        )
    figure = new_figure(8.0, 1.2 + 2.2 * count)
    panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for k, axes in enumerate(panels):
        if std is not None:
            low, high = (drawn[:, k] + sign * WIDTH * spread[:, k] for sign in (-1, 1))
            axes.fill_between(t, low, high, color=BLUE, alpha=0.2, linewidth=0, label="parameters, 95 %", zorder=2)
        axes.plot(t, drawn[:, k], color=BLUE, linewidth=1.6, label="simulation", zorder=3)
        axes.plot(t, seen[:, k], "o", color=DARK, markersize=3.5, label="data", zorder=4)
        axes.set_ylabel(names[k] if names else f"output {k + 1}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.6, zorder=0)
        axes.tick_params(which="both", color="#aaaaaa")
    panels[-1].set_xlabel(xlabel)
    if np.array_equal(t, np.round(t)):  # years, days: nothing is between them
        panels[-1].xaxis.set_major_locator(_matplotlib("ticker").MaxNLocator(integer=True))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    if path is not None:
        save(figure, path)
    return figure


class Fitted(Protocol):
    """What is drawn: a `fwdgrad.Fit`."""

    @property
    def stamps(self) -> Any:
        """When the samples were: dates, or times from the start of their trajectory, (T,)."""

    @property
    def calendar(self) -> Any:
        """What the dates are from; None if there are none."""

    def later(self, count: int) -> Any:
        """When further samples will be."""

    @property
    def targets(self) -> np.ndarray:
        """What was observed, (T, m)."""

    @property
    def outputs(self) -> np.ndarray:
        """What the model says, (T, m)."""

    @property
    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Where 95 % of observations are expected, (T, m) each."""

    @property
    def starts(self) -> tuple[int, ...]:
        """The first sample of each trajectory."""

    @property
    def system(self) -> Any:
        """The system."""

    @property
    def method(self) -> str:
        """How it was fitted."""


class Ahead(Protocol):
    """What is drawn of a `fwdgrad.fitting.Forecast`."""

    @property
    def mean(self) -> np.ndarray:
        """Shape (T, …)."""

    @property
    def low(self) -> np.ndarray:
        """With `high`, where 95 % of observations are expected; likewise."""

    @property
    def high(self) -> np.ndarray:
        """Likewise."""


def plot_fit(
    fit: Fitted,
    path: str | os.PathLike[str] | None = None,
    xlabel: str | None = None,
    names: Sequence[str] | None = None,
    trajectories: Sequence[str] | None = None,
    forecast: Ahead | None = None,
) -> Any:
    """Data, fit and the band in which 95 % of observations are expected: a panel for each output of each trajectory.

    Args:
        fit: what `fwdgrad.fit` returned.
        path: file to write, in a format that its name ends in: png, pdf, svg.
        xlabel: what the times are; "time", or "sample" without a `dt`.
        names: of the outputs.
        trajectories: what to call each.
        forecast: what comes after the last one, from `Fit.forecast`; drawn behind its end, broken.

    Returns:
        The matplotlib figure; of at most 24 panels: if there are more, it says so.

    Raises:
        DeclarationError: matplotlib is not installed, or cannot write a file of that name.
        DataError: the file cannot be written.
    """
    if path is not None:
        check_target(path)
    count = fit.outputs.shape[1]
    names = list(names or getattr(fit.system, "output_names", [f"output {k + 1}" for k in range(count)]))
    ends = [*fit.starts[1:], len(fit.outputs)]
    places = [(k, slice(a, b)) for a, b in zip(fit.starts, ends, strict=True) for k in range(count) if b > a]
    panels, last = places[:PANELS], slice(fit.starts[-1], ends[-1])
    columns = 1 if len(fit.starts) == 1 else max(count, min(4, len(panels))) if count < 4 else count
    rows = -(-len(panels) // columns)
    figure = new_figure(8.0 if columns < 3 else 2.8 * columns, 1.2 + 2.2 * rows)
    grid = figure.subplots(rows, columns, sharex=len(fit.starts) == 1, squeeze=False)
    try:
        limits: tuple[np.ndarray, np.ndarray] | None = fit.limits
    except DeclarationError:
        limits = None
    if not np.isfinite(fit.targets).any():  # what is drawn is not what is observed
        limits = forecast = None
    label = "fit" if fit.method == "simulation" else "one sample ahead"
    stamps, dated = fit.stamps, fit.calendar is not None
    for axes, (k, rows_) in zip(np.ravel(grid), panels, strict=False):
        t, drawn = stamps[rows_], fit.outputs[rows_, k]
        if limits is not None:
            low, high = (part[rows_, k] for part in limits)
            axes.fill_between(t, low, high, color=BLUE, alpha=0.2, linewidth=0, label="95 % of observations", zorder=2)
        few = np.sum(np.isfinite(fit.targets[rows_, k])) <= MANY
        axes.plot(
            t, fit.targets[rows_, k], "o", color=DARK, markersize=3.5 if few else 1.5, alpha=1.0 if few else 0.5,
            markeredgewidth=0, label="data", zorder=3,
        )  # fmt: skip
        axes.plot(
            t,
            drawn,
            color=BLUE,
            linewidth=1.6,
            label=label,
            zorder=4,
        )
        if forecast is not None and rows_ == last:
            _ahead(
                axes,
                fit.later(len(forecast.mean)),
                *(np.reshape(part, (len(part), -1))[:, k] for part in (forecast.mean, forecast.low, forecast.high)),
            )
        axes.set_ylabel(names[k])
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.6, zorder=0)
        axes.tick_params(which="both", color="#aaaaaa")
        if len(fit.starts) > 1:
            number = int(np.searchsorted(fit.starts, rows_.start))
            axes.set_title(trajectories[number] if trajectories else f"trajectory {number + 1}", fontsize="small")
    for axes in np.ravel(grid)[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel(xlabel or ("" if dated else "sample" if fit.system.dt is None else "time"))
        if dated:
            locator = _matplotlib("dates").AutoDateLocator()
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(_matplotlib("dates").ConciseDateFormatter(locator))
    handles = {label: handle for axes in np.ravel(grid) for handle, label in zip(*_legend(axes), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, frameon=False)
    if len(panels) < len(places):
        figure.supxlabel(f"the first {len(panels)} of {len(places)} panels", fontsize="small", color=GREY)
    if path is not None:
        save(figure, path)
    return figure


def _legend(axes: Any) -> tuple[list[Any], list[str]]:
    handles, labels = axes.get_legend_handles_labels()
    return handles, labels


def _ahead(axes: Any, later: Any, mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """What comes at later times."""
    axes.fill_between(later, low, high, color=GREY, alpha=0.2, linewidth=0, zorder=2)
    axes.plot(later, mean, color=GREY, linewidth=1.6, linestyle=(0, (4, 2)), label="forecast", zorder=4)


def free_run(learner: Filtering, xs: Any = None, steps: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A simulation with the learned parameters, and what is not known of it because they are not known exactly.

    The learner starts a new trajectory and is given no targets, so nothing is learned; it is left at the end of it. The
    standard deviations are `Learner.predict`'s: the filter's covariance (J + Λ)⁻¹ of θ, propagated to first order
    through the influence ∂h/∂θ. They are what `plot_simulation` draws as a band.

    Args:
        learner: with a filter as optimizer and an exact influence, such as `RTRL`.
        xs: inputs, arrays with time along axis 0; None for an autonomous system.
        steps: how many samples; as many as there are inputs unless given.

    Returns:
        The simulation and its standard deviations, both of shape (T, *shape of the prediction).

    Raises:
        DeclarationError: the optimizer keeps no covariance, or an autonomous system is not told how many steps.

    Cost: a step and a prediction a sample.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> from fwdgrad.plots import free_run
        >>> system = fg.System(lambda h, x, p: h + p["v"], None, np.zeros(1), {"v": 0.0})  # h = v t
        >>> learner = fg.Learner(system, fg.RTRL(), fg.InformationFilter("full", fisher="exact", prior=1.0))
        >>> history = learner.run(ys=2.0 * np.arange(1, 4)[:, None])  # J = 1² + 2² + 3²
        >>> simulation, std = free_run(learner, steps=2)
        >>> print(std[:, 0] * np.sqrt(1 + 14))
        [1. 2.]
    """
    if xs is None and steps is None:
        raise DeclarationError("free_run: an autonomous system is run for steps=…; none was given.")
    rows = xs if isinstance(xs, Mapping) else {"": xs}
    count = steps if steps is not None else min(len(v) for v in rows.values())
    learner.reset_state()
    made = []
    for k in range(count):
        x = None if xs is None else {name: v[k] for name, v in rows.items()} if isinstance(xs, Mapping) else xs[k]
        made.append(learner.predict(x, return_std=True))
        learner.step(x)
    simulation, std = zip(*made, strict=True)
    return np.array(simulation), np.array(std)


def _columns(label: str, values: Any, count: int) -> np.ndarray:
    """Values with time along axis 0, shape (T, m)."""
    array = np.asarray(values, float)
    if array.ndim not in (1, 2) or len(array) != count:
        raise DataError(f"plot_simulation: expected {label} of shape ({count},) or ({count}, m), got {array.shape}.")
    return array.reshape(count, -1)


def check_target(path: str | os.PathLike[str]) -> None:
    """Find out before the work begins whether a picture can be written there.

    Raises:
        DeclarationError: matplotlib is not installed, or knows no format of that name.
        DataError: there is no such folder.
    """
    canvas = _matplotlib("backend_bases").FigureCanvasBase
    ending = Path(path).suffix.removeprefix(".").lower()
    if ending not in canvas.get_supported_filetypes():
        raise DeclarationError(
            f"plot: expected a file name that ends in .png, .pdf or .svg, got {os.fspath(path)!r}.\n"
            f"Mend: write {(Path(path).stem or 'picture') + '.png'!r}."
        )
    if not os.path.isdir(Path(path).absolute().parent):
        raise DataError(f"plot: there is no folder {str(Path(path).parent)!r} to write {Path(path).name!r} in.")


def _matplotlib(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ImportError as error:
        raise DeclarationError(
            f"plot: matplotlib cannot be imported ({error}).\nMend: pip install 'fwdgrad[plot]', or matplotlib itself."
        ) from error


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure; sizes in inches.

    Raises:
        DeclarationError: matplotlib is not installed.
    """
    _matplotlib("figure")
    from fwdgrad.support.inline import InlineFigure

    return InlineFigure(figsize=(width, height), dpi=150, layout="constrained")


def _axes(ax: Any) -> tuple[Any, Any]:
    if ax is not None:
        return ax.figure, ax
    figure = new_figure(8.0, 4.6)
    return figure, figure.add_subplot()


def curves(history: Losses, points: int = POINTS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of steps, evenly spread over their logarithm, and after each of them both means of `plot_history`.

    Args:
        history: what `Learner.run` returned.
        points: at most so many.

    Returns:
        Steps, mean loss of all steps so far, and of the last tenth of them (of 20, if that is more); shape (K,) each.

    Raises:
        DataError: no step had a target.
    """
    loss = np.asarray(history.loss, dtype=float)
    seen = ~np.isnan(loss)
    if not seen.any():
        raise DataError("history: no step of it had a target, so there is no loss to draw.")
    # sums and counts before each entry, so that any stretch is a difference
    sums = np.concatenate([[0.0], np.cumsum(np.where(seen, loss, 0.0))])
    counts = np.concatenate([[0], np.cumsum(seen)])
    start = int(np.argmax(seen)) + 1
    ends = np.unique(np.geomspace(start, len(loss), points).round().astype(int))
    few = -(-FEW // history.every)
    begins = np.maximum(np.minimum(np.floor(ends * (1 - RECENT)).astype(int), ends - few), 0)
    in_stretch = counts[ends] - counts[begins]
    recent = np.where(in_stretch > 0, (sums[ends] - sums[begins]) / np.maximum(in_stretch, 1), np.nan)
    last = np.maximum.accumulate(np.where(np.isnan(recent), 0, np.arange(len(recent))))
    return history.first + ends * history.every, sums[ends] / counts[ends], recent[last]


def _dress(ax: Any, steps: np.ndarray, levels: list[float], drawn: np.ndarray, unit: str) -> None:
    ax.set_xscale("log")
    left, right = max(float(steps[0]), steps[-1] / 1e5), float(steps[-1])
    ax.set_xlim(left, 1.005 * right if right > left else left * 10)
    # the first few steps may be far off: the levels and nearly all of the curve decide what is shown
    low, high = min([*levels, float(np.min(drawn))]), max([*levels, float(np.quantile(drawn, 0.99))])
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    ax.set_ylim(0.0 if 0 <= low < 3 * margin else low - margin, high + margin)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}"))
    ax.xaxis.set_minor_formatter(lambda value, _: "")
    ax.set_xlabel("step")
    ax.set_ylabel(unit)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.6, zorder=0)
    ax.tick_params(which="both", color="#aaaaaa")


def _label(ax: Any, labels: list[tuple[float, str, str]]) -> None:
    """A name to the right of each line, moved up or down so that no two overlap."""
    low, high = ax.get_ylim()
    order = sorted(range(len(labels)), key=lambda k: labels[k][0])
    height = ax.get_window_extent().height / ax.figure.dpi * 72  # points
    gap = 11.5 / height * (high - low)
    places = _spread([labels[k][0] for k in order], gap)
    for k, place in zip(order, places, strict=True):
        level, text, colour = labels[k]
        ax.annotate(
            text,
            xy=(1.0, level),
            xycoords=("axes fraction", "data"),
            xytext=(1.02, place),
            textcoords=("axes fraction", "data"),
            color=colour,
            fontsize=8.5,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0},
        )


def _spread(levels: list[float], gap: float) -> list[float]:
    """Increasing places at least `gap` apart, as near to the increasing levels as that allows."""
    groups: list[list[float]] = []  # [sum of (level − offset), count]: each becomes evenly spaced about its mean
    for level in levels:
        groups.append([level, 1])
        while len(groups) > 1:
            (a, m), (b, n) = groups[-2:]
            if b / n - a / m >= gap * (m + n) / 2:
                break
            groups[-2:] = [[a + b, m + n]]
    return [total / count + gap * (k - (count - 1) / 2) for total, count in groups for k in range(int(count))]


def _short(value: float) -> str:
    return f"{value:.2f}" if 0.1 <= abs(value) < 1000 else f"{value:.3g}"


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        figure.savefig(path)
    except OSError as error:
        raise DataError(f"plot: cannot write {os.fspath(path)!r}: {error.strerror or error}.") from error
