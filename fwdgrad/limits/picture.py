"""Pictures: a ladder of δt on logarithmic axes, and θ(t) over the noise."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from fwdgrad.limits.diffusion import Limit
from fwdgrad.limits.multilevel import Multilevel
from fwdgrad.limits.slopes import FINEST
from fwdgrad.plots import check_target, new_figure, save

__all__ = ["draw", "draw_law", "draw_study"]

INK, GREY, PALE, PALE_INK = "#222222", "#777777", "#e6e6e6", "#a8c8e0"

COLOURS = ("#1f77b4", "#e0a030", "#2f9e6e", "#b0413e", "#7a5ba6", "#3aa6b9")
"""One for each estimator, in turn."""

STYLES = ("-", "--", ":")
"""One for each factor of an estimator."""


class Ladder(Protocol):
    """What is drawn of a `Refinement`; see there."""

    @property
    def system(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def horizon(self) -> float: ...
    @property
    def replicas(self) -> int: ...
    @property
    def noise(self) -> str: ...
    @property
    def dts(self) -> np.ndarray: ...
    @property
    def errors(self) -> np.ndarray: ...
    @property
    def order(self) -> float: ...
    @property
    def estimates(self) -> dict[str, Any]: ...


class Learned(Protocol):
    """What is drawn of a `Law`; see there."""

    @property
    def system(self) -> str: ...
    @property
    def estimator(self) -> str: ...
    @property
    def dts(self) -> np.ndarray: ...
    @property
    def times(self) -> np.ndarray: ...
    @property
    def flow(self) -> dict[str, np.ndarray]: ...
    def mean(self, name: str) -> np.ndarray: ...
    def quantiles(self, name: str, levels: Iterable[float]) -> np.ndarray: ...


def draw(found: Ladder, path: str | os.PathLike[str] | None = None) -> Any:
    """A figure of three panels; written to `path` if there is one."""
    return _drawn(path, 13.0, 4.2, 1, lambda axes: _ladder(axes, found, ""), _title(found))


def draw_law(law: Learned, path: str | os.PathLike[str] | None = None) -> Any:
    """A panel for each number in θ, up to six; written to `path` if there is one."""
    panels = _numbers(law)[:6]
    width, title = 4.3 * max(len(panels), 2), f"{law.system}: learning by {law.estimator}"
    return _drawn(path, width, 4.2, 1, lambda axes: _thetas(axes, law, panels), title, len(panels))


def draw_study(
    with_rescaling: Ladder,
    without: Ladder,
    limit: Limit,
    law: Learned | None,
    levels: Multilevel | None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Both ladders, the law of G̃ beside its limit, the law of learning, and the levels of Monte Carlo, on one page.

    Of the last two, what is None is left empty, and said to be missing.
    """

    def fill(axes: Any) -> None:
        _ladder(axes[:3], with_rescaling, "")
        _ladder(axes[3:6], without, ", without rescaling")
        _laws(axes[6], with_rescaling, limit)
        if law is None:
            _missing(axes[7], "learning diverged")
        else:
            _thetas(axes[7:8], law, _numbers(law)[:1])
        if levels is None:
            _missing(axes[8], "no multilevel Monte Carlo")
        else:
            _levels(axes[8], levels)

    return _drawn(path, 13.0, 12.0, 3, fill, _title(with_rescaling))


def _title(found: Ladder) -> str:
    return f"{found.system} by {found.method}, t = {found.horizon:g}, {found.replicas} replicas, {found.noise}"


def _drawn(path: Any, width: float, height: float, rows: int, fill: Any, title: str, columns: int = 3) -> Any:
    if path is not None:
        check_target(path)
    figure = new_figure(width, height)
    axes = np.ravel(np.asarray(figure.subplots(rows, columns), dtype=object))
    fill(axes)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        for axis in (ax.xaxis, ax.yaxis):
            if axis.get_scale() == "log":
                _ticks(axis)
        ax.tick_params(which="both", color="#aaaaaa", labelsize=8)
        ax.xaxis.label.set_size(9)
        ax.yaxis.label.set_size(9)
    figure.suptitle(title, fontsize=10, color=GREY)
    if path is not None:
        save(figure, path)
    return figure


def _ticks(axis: Any) -> None:
    """Labels at powers of ten; where there are few of these, also at their doubles and fivefolds."""
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter

    low, high = np.log10(axis.get_view_interval())
    if high - low < 2:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(LogFormatterSciNotation(minor_thresholds=(np.inf, np.inf)))
    axis.set_minor_formatter(NullFormatter())


def _ladder(axes: Any, found: Ladder, suffix: str) -> None:
    """Error of the mean, motion a step, sizes of the factors and variance."""
    mean, motion, variance = axes
    _line(mean, found.dts, found.errors, INK, "-", f"RTRL, order {found.order:.2f}")
    for k, e in enumerate(found.estimates.values()):
        colour = COLOURS[k % len(COLOURS)]
        if not e.random:
            continue
        low, high = e.bias_interval.T
        beside = found.dts * 1.06 ** (k + 1)
        mean.vlines(beside, np.maximum(low, found.errors.min() / 2), high, color=colour, linewidth=1.2, alpha=0.7)
        if not np.all(np.isnan(e.apart)):
            _line(mean, found.dts[1:], e.apart, colour, "--", f"{e.label}: one path, δt halved, {e.strong_order:.2f}")
        else:
            mean.plot([], [], color=colour, label=f"{e.label}: 95 % interval of the bias")
        for (name, values), style in zip(e.moved.items(), STYLES, strict=False):
            _line(motion, found.dts, values, colour, style, f"{e.label}, {name}: {e.slopes[name]:.2f}")
        _line(variance, found.dts, e.variance, colour, "-", f"{e.label}: G̃")
        for (name, values), style in zip(e.sizes.items(), STYLES[1:], strict=False):
            _line(variance, found.dts, values, colour, style, f"{e.label}, E‖{name}‖²: {e.growth[name]:.2f}")
    mean.set_title(f"error of the mean{suffix}", fontsize=10)
    mean.set_ylabel("relative to ‖G‖")
    motion.set_title(f"E‖Δ‖² of a step, with slopes{suffix}", fontsize=10)
    variance.set_title(f"variance, and sizes of the factors{suffix}", fontsize=10)
    for ax in axes:
        ax.set(xscale="log", yscale="log")
        ax.set_xlabel(f"δt (slopes over the smallest {FINEST})")
        ax.grid(color=PALE, linewidth=0.6, zorder=0)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=7, frameon=False)


def _line(ax: Any, x: np.ndarray, y: np.ndarray, colour: str, style: str, label: str) -> None:
    ax.plot(x, np.where(y > 0, y, np.nan), color=colour, linestyle=style, marker="o", markersize=3, label=label)


def _numbers(law: Learned) -> list[tuple[str, tuple[int, ...]]]:
    """Every number in θ, by name and place."""
    return [(k, place) for k, v in law.flow.items() for place in np.ndindex(v.shape[1:])]


def _thetas(axes: Any, law: Learned, panels: list[tuple[str, tuple[int, ...]]]) -> None:
    """Quantiles and mean at the smallest δt, and the flow, against time."""
    for ax, (name, place) in zip(axes, panels, strict=True):
        here: Any = (..., *place)
        low, lower, upper, high = law.quantiles(name, (0.05, 0.25, 0.75, 0.95))[:, -1][here]
        ax.fill_between(law.times, low, high, color=COLOURS[0], alpha=0.15, linewidth=0, label="5–95 %")
        ax.fill_between(law.times, lower, upper, color=COLOURS[0], alpha=0.3, linewidth=0, label="25–75 %")
        ax.plot(law.times, law.mean(name)[-1][here], color=COLOURS[0], linewidth=1.8, label="mean")
        ax.plot(law.times, law.flow[name][here], color=INK, linewidth=1.2, linestyle="--", label="gradient flow")
        ax.set_xlabel("t")
        ax.set_ylabel(name + (f"[{', '.join(map(str, place))}]" if place else ""))
        ax.set_title(f"{name} while it is learned, δt = {law.dts[-1]:.3g}", fontsize=10)
        ax.grid(axis="y", color=PALE, linewidth=0.6, zorder=0)
        ax.legend(fontsize=7, frameon=False)


def _laws(ax: Any, found: Ladder, limit: Limit) -> None:
    """Distribution of ‖G̃‖: the discrete estimator at the largest and the smallest δt, and the diffusion."""
    e = next(iter(found.estimates.values()))
    shown = [(e.matrices[0], f"δt = {e.dts[0]:.3g}", PALE_INK), (e.matrices[-1], f"δt = {e.dts[-1]:.3g}", COLOURS[0])]
    for matrices, label, colour in [*shown, (limit.matrices, "the diffusion", INK)]:
        norms = np.sort(np.linalg.norm(matrices, axis=(1, 2)))
        ax.plot(norms, (np.arange(len(norms)) + 0.5) / len(norms), color=colour, linewidth=1.6, label=label,
                linestyle="--" if colour == INK else "-")  # fmt: skip
    ax.set(xscale="log", xlabel="‖G̃‖", ylabel="share of replicas below", title="")
    ax.set_title(f"law of ‖G̃‖, {e.label}", fontsize=10)
    ax.grid(color=PALE, linewidth=0.6, zorder=0)
    ax.legend(fontsize=7, frameon=False)


def _missing(ax: Any, why: str) -> None:
    ax.text(0.5, 0.5, why, ha="center", va="center", color=GREY, transform=ax.transAxes)
    ax.set(xticks=[], yticks=[])


def _levels(ax: Any, levels: Multilevel) -> None:
    """Replicas and variances of the levels."""
    ax.plot(levels.dts, levels.replicas, "o-", color=COLOURS[3], markersize=4, label="replicas")
    ax.plot(levels.dts, levels.variances, "o-", color=COLOURS[2], markersize=4, label="variance of a difference")
    ax.axhline(
        levels.plain_variance, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), label="variance at the smallest δt"
    )
    ax.set(xscale="log", yscale="log", xlabel="δt")
    ax.set_title(f"multilevel Monte Carlo: {levels.saving:.3g} times fewer steps", fontsize=10)
    ax.grid(color=PALE, linewidth=0.6, zorder=0)
    ax.legend(fontsize=7, frameon=False)
