"""Noise of the rank-one influence under each choice of scales, when state variables have like and unlike units.

Run: python benchmarks/scaling.py [--units 24] [--replicas 200] [--steps 60] [--seeds 3]

The system is a gated recurrent unit with the reset gate before the recurrent product, whose gate feeds every state
variable. In the second column its variables are measured in other units, h ↦ S h with S_i = exp(spread · N(0, 1)): the
same dynamics, but for numbers. Printed is the relative variance E‖G̃ − G‖²/‖G‖² over the replicas, θ fixed, the median
over seeds: of weights, inputs, units and signs.
"""

import argparse
import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.step.kinds import TRANSIT

SCALES = {
    "one common scale (UORO)": fg.UORO(),
    "learned from past steps (probe)": fg.UORO(scale="probe"),
    "of the sparse leaves (mixed)": fg.NoBackTrack(scale="mixed"),
    "norms of all rows (NoBackTrack)": fg.NoBackTrack(),
}


def rescaled(system, scales):
    """The same system with its state measured in other units: h' = S F(S⁻¹ h)."""

    def F(h, x, theta):
        return scales * system.F(h / scales, x, theta)

    def Y(h, x, theta):
        return system.Y(h / scales, x, theta)

    return fg.System(F, Y, scales * system.state, system.params, system.x, system.loss, name="rescaled")


def relative_variance(system, estimator, xs, replicas, seed):
    """Mean over the replicas of ‖G̃ − G‖²/‖G‖², after all inputs."""
    many = fg.Estimator(estimator.influence, rank=replicas)
    execution, exact = Execution(system, many, fg.SGD(1.0), "numpy"), Execution(system, fg.RTRL(), fg.SGD(1.0), "numpy")
    rng = np.random.default_rng(seed)
    carry, reference = execution.initial(), exact.initial()
    for x in xs:
        noise = [np.where(rng.random(spec.shape) < 0.5, -1.0, 1.0) for spec in execution.specs]
        carry = execution.make(TRANSIT, carry, [x], noise)[: len(carry)]
        reference = exact.make(TRANSIT, reference, [x], [])[: len(reference)]
    G = {k: g.reshape(system.size, -1) for k, g in exact.unpack(reference).influence.G.items()}
    state = execution.unpack(carry).influence
    norm = sum(np.sum(g * g) for g in G.values())
    w = {k: a.reshape(replicas, -1) for k, a in state.w.items()}
    # ‖v wᵀ − G‖² = ‖v‖² ‖w‖² − 2 v·G w + ‖G‖²
    sizes = np.sum(state.v**2, axis=1) * sum(np.sum(a**2, axis=1) for a in w.values())
    along = sum(np.einsum("ri,ij,rj->r", state.v, G[k], w[k], optimize=True) for k in G)
    return float(np.mean(sizes - 2 * along + norm) / norm)


def measured(units, replicas, steps, seed, spread=1.5, scales=SCALES):
    """For each choice of scales the relative variance with like and with unlike units."""
    rng = np.random.default_rng(seed)
    system = systems.build("gru", units=units, inputs=1, reset="before", seed=seed)
    other = rescaled(system, np.exp(spread * rng.normal(size=units)))
    xs = rng.normal(size=(steps, 1))
    return {
        label: [relative_variance(s, estimator, xs, replicas, seed) for s in (system, other)]
        for label, estimator in scales.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=24)
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    runs = [measured(options.units, options.replicas, options.steps, seed) for seed in range(options.seeds)]
    print("| scale ρ | equal units | units spread log-normally, σ = 1.5 |")
    print("|---|---|---|")
    for label in SCALES:
        equal, spread = np.median([run[label] for run in runs], axis=0)
        print(f"| {label} | {equal:.3g} | {spread:.3g} |")


if __name__ == "__main__":
    main()
