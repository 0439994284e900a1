"""The tables about the tanh network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import fwdgrad as fg
from benchmarks.rivals import (
    by_hand,
    fwdgrad_steps,
    jax_windows,
    limit,
    torch_windows,
    with_autograd,
    with_braintrace,
    with_jax,
    with_torch,
)
from benchmarks.rivals.measure import Effort, Found, compete
from benchmarks.rivals.problem import RATE, WINDOW
from benchmarks.rivals.report import paces, ratios, target, three

STREAM, RUN, STEP = "fwdgrad, compiled stream", "fwdgrad, `Learner.run`", "fwdgrad, `Learner.step`"
NUMPY_RUN, NUMPY_STEP = "fwdgrad, NumPy engine", "fwdgrad, `Learner.step`, NumPy engine"
MODEL = "F and Y alone"


def stream(units: Sequence[int], effort: Effort) -> str:
    """UORO with SGD over a stream in memory."""
    scan, trace, slow, bound = (
        r.name for r in (with_jax.SCAN, with_braintrace.LOOP, with_autograd.AUTOGRAD, limit.LIMIT)
    )
    found = compete(
        [
            fwdgrad_steps.stream(fg.UORO(), STREAM),
            fwdgrad_steps.whole(fg.UORO(), RUN, "compiled"),
            by_hand.FUSED,
            with_jax.SCAN,
            with_braintrace.LOOP,
            with_torch.TORCH,
            with_autograd.AUTOGRAD,
            limit.LIMIT,
        ],
        units,
        effort,
    )
    large = [n for n in found.units if n >= 1024]
    return "\n".join(
        [
            paces(found, STREAM) + "\n",
            target("JAX scan ÷ fwdgrad", ratios(found, scan, STREAM), 2, True),
            target("braintrace ÷ fwdgrad", ratios(found, trace, STREAM), 3, True),
            target("autograd ÷ fwdgrad, n ≤ 256", ratios(found, slow, STREAM, _upto(found, 256)), 50, True),
            target("fwdgrad ÷ limit, n = 1024", ratios(found, STREAM, bound, large) if large else {}, 1.5, False),
        ]
    )


def windows(units: Sequence[int], effort: Effort) -> str:
    """Windows of 16 steps, with Adam."""
    steps, uoro, tbptt = "UORO, single steps", f"UORO, windows of {WINDOW}", f"TBPTT({WINDOW})"
    found = compete(
        [
            fwdgrad_steps.stream(fg.UORO(), steps, optimizer=fg.Adam(RATE), like=""),
            fwdgrad_steps.windows(fg.UORO(window=WINDOW), uoro),
            fwdgrad_steps.windows(fg.TBPTT(WINDOW), tbptt),
            jax_windows.UORO,
            jax_windows.TBPTT,
            torch_windows.TORCH,
        ],
        units,
        effort,
    )
    pairs = (uoro, jax_windows.UORO.name), (tbptt, jax_windows.TBPTT.name)
    lines = [paces(found, steps) + "\n"]
    lines += [target(f"{name} ÷ {steps}", ratios(found, name, steps), 2.5, False) for name in (uoro, tbptt)]
    lines += [target(f"JAX ÷ fwdgrad, {name}", ratios(found, rival, name), 2, True) for name, rival in pairs]
    return "\n".join(lines)


def single(units: Sequence[int], effort: Effort) -> str:
    """UORO with SGD, one sample at a time from Python."""
    rivals = [with_jax.STEP, by_hand.NUMPY, with_braintrace.STEP, with_torch.TORCH]
    found = compete(
        [
            fwdgrad_steps.single(fg.UORO(), STEP, "compiled"),
            fwdgrad_steps.single(fg.UORO(), NUMPY_STEP, "numpy"),
            *rivals,
        ],
        units,
        effort,
    )
    fastest = {}
    for n in _upto(found, 128):
        given = {r.name: found.ratio(r.name, STEP, n) for r in rivals}
        known = {name: value for name, value in given.items() if value is not None}
        if known:
            name = min(known, key=known.__getitem__)
            fastest[f"n = {n}, {name}"] = known[name]
    return paces(found, STEP) + "\n\n" + target("fastest rival ÷ fwdgrad, n ≤ 128", fastest, 5, True)


def model(units: Sequence[int], effort: Effort) -> str:
    """What learning costs, in units of what the model costs."""
    uoro, nobacktrack, rtrl = "UORO", "NoBackTrack", "RTRL"
    found = compete(
        [
            fwdgrad_steps.model(MODEL),
            fwdgrad_steps.stream(fg.UORO(), uoro),
            fwdgrad_steps.stream(fg.NoBackTrack(), nobacktrack),
            fwdgrad_steps.stream(fg.RTRL(), rtrl, most=128, easy=32),
        ],
        units,
        effort,
    )
    lines = [paces(found, MODEL) + "\n", target("NoBackTrack ÷ UORO", ratios(found, nobacktrack, uoro), 1.3, False)]
    for name in (uoro, nobacktrack, rtrl):
        given = {n: r for n in found.units if (r := found.ratio(name, MODEL, n)) is not None}
        if len(given) > 1:
            sizes, costs = list(given), list(given.values())
            power = np.polyfit(np.log(sizes), np.log(costs), 1)[0]
            lines.append(
                f"- {name} ÷ model: {three(min(costs))} to {three(max(costs))}, grows like n^{power:.2f} "
                f"over n = {sizes[0]} … {sizes[-1]}"
            )
    return "\n".join(lines)


def exact(units: Sequence[int], effort: Effort) -> str:
    """RTRL."""
    name = "fwdgrad, RTRL, compiled stream"
    found = compete([fwdgrad_steps.stream(fg.RTRL(), name, easy=32), with_jax.RTRL], units, effort)
    lines = [paces(found, name) + "\n", target("JAX ÷ fwdgrad", ratios(found, with_jax.RTRL.name, name), 1, True)]
    return "\n".join(lines)


def plain(units: Sequence[int], effort: Effort) -> str:
    """Without compiling."""
    slow = with_autograd.AUTOGRAD
    found = compete([fwdgrad_steps.whole(fg.UORO(), NUMPY_RUN, "numpy"), by_hand.NUMPY, slow], units, effort)
    lines = [paces(found, NUMPY_RUN) + "\n", target("autograd ÷ fwdgrad", ratios(found, slow.name, NUMPY_RUN), 5, True)]
    return "\n".join(lines)


def _upto(found: Found, most: int) -> list[int]:
    return [n for n in found.units if n <= most] or [-1]
