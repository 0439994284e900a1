"""Are claimed deviations true, for models that are not in the catalogue, and is it said where they are not?

    python -m benchmarks.claims [--factor 1.5] [--seeds 20] [--first 100] [--systems battery,uneven] [--by fit]

Each model of this file is simulated with its parameters and 2 % of noise, and learned from a start within a factor, as
in `benchmarks.success`. For each: how many runs came within 5 % for all parameters; the part of the 95 % intervals that
hold the truth; the largest error in claimed deviations; how many runs were more than 4 of them off without a remark in
the report; and what a run took.
"""

import argparse
import warnings

import numpy as np

import fwdgrad as fg
from benchmarks.success import CLOSE, FAR, measured, started
from fwdgrad.errors import FwdgradError

NORMAL = 1.96

TEXTS = {
    "battery": (
        400,
        """
        d soc/dt = -current/7200
        d fast/dt = current/C1 - fast/(R1*C1)
        d slow/dt = current/C2 - slow/(R2*C2)
        soc(0) = 0.9
        fast(0) = 0
        slow(0) = 0
        input current = 1
        param R0 = 0.02 in (0, inf)
        param R1 = 0.015 in (0, inf)
        param C1 = 2000 in (0, inf)
        param R2 = 0.03 in (0, inf)
        param C2 = 20000 in (0, inf)
        param rest = 3.3
        param slope = 0.8 in (0, inf)
        output volt = rest + slope*soc - fast - slow - R0*current
        dt = 10
        """,
    ),
    "uneven": (
        500,
        """
        d q/dt = v
        d v/dt = b*force - k*q - c*v
        q(0) = 1
        v(0) = 0
        input force = 1
        input elapsed = 0.08
        param k = 4 in (0, inf)
        param c = 0.3 in (0, inf)
        param b = 1 in (0, inf)
        output q
        dt = elapsed
        """,
    ),
    "epidemic": (
        400,
        """
        d S/dt = -beta*S*I
        d E/dt = beta*S*I - sigma*E
        d I/dt = sigma*E - gamma*I
        S(0) = 0.99
        E(0) = 0.005
        I(0) = 0.005
        param beta = 0.6 in (0, inf)
        param sigma = 0.3 in (0, inf)
        param gamma = 0.15 in (0, inf)
        output I
        dt = 0.25
        """,
    ),
    "motor": (
        2000,
        """
        d i/dt = (volt - R*i - K*w)/L
        d w/dt = (K*i - b*w)/J
        i(0) = 0
        w(0) = 0
        input volt = 6
        param R = 1 in (0, inf)
        param L = 0.05 in (0, inf)
        param K = 0.1 in (0, inf)
        param J = 0.002 in (0, inf)
        param b = 0.002 in (0, inf)
        output current = i
        output speed = w
        dt = 0.005
        """,
    ),
    "logistic": (
        300,
        """
        d N/dt = r*N*(1 - N/K)
        N(0) = 5
        param r = 0.5 in (0, inf)
        param K = 100 in (0, inf)
        output N
        dt = 0.1
        """,
    ),
    "t-cells": (
        600,
        """
        d T/dt = supply - d*T - k*V*T
        d I/dt = k*V*T - delta*I
        d V/dt = p*I - c*V
        T(0) = 10
        I(0) = 0
        V(0) = 0.001
        param supply = 0.1 in (0, inf)
        param d = 0.01 in (0, inf)
        param k = 0.08 in (0, inf)
        param delta = 0.4 in (0, inf)
        param p = 5 in (0, inf)
        param c = 3 in (0, inf)
        output cells = T
        output virus = log(V + 0.0001)
        dt = 0.1
        """,
    ),
    "robertson": (
        400,
        """
        d a/dt = k3*b*c - k1*a
        d b/dt = k1*a - k3*b*c - k2*b*b
        d c/dt = k2*b*b
        a(0) = 1
        b(0) = 0
        c(0) = 0
        param k1 = 0.04 in (0, inf)
        param k2 = 30 in (0, inf)
        param k3 = 1 in (0, inf)
        output A = a
        output B = 10*b
        output C = c
        dt = 0.25
        """,
    ),
    "neuron": (
        2000,
        """
        d v/dt = (current - gl*(v + 60) - gca*0.5*(1 + tanh((v + 1.2)/18))*(v - 120) - gk*w*(v + 84))/20
        d w/dt = phi*(0.5*(1 + tanh((v - 2)/30)) - w)*cosh((v - 2)/60)
        v(0) = -40
        w(0) = 0
        input current = 90
        param gl = 2 in (0, inf)
        param gca = 4.4 in (0, inf)
        param gk = 8 in (0, inf)
        param phi = 0.04 in (0, inf)
        output v
        dt = 0.5
        """,
    ),
    "arm": (
        1500,
        """
        d q1/dt = w1
        d q2/dt = w2
        d w1/dt = (d*f1 - (d + b*cos(q2))*f2)/(d*(a + 2*b*cos(q2)) - (d + b*cos(q2))*(d + b*cos(q2)))
        d w2/dt = ((a + 2*b*cos(q2))*f2 - (d + b*cos(q2))*f1)/(d*(a + 2*b*cos(q2)) - (d + b*cos(q2))*(d + b*cos(q2)))
        f1 = torque1 + b*sin(q2)*(2*w1*w2 + w2*w2) - friction*w1
        f2 = torque2 - b*sin(q2)*w1*w1 - friction*w2
        q1(0) = 0
        q2(0) = 0.5
        w1(0) = 0
        w2(0) = 0
        input torque1 = 1
        input torque2 = 1
        param a = 2 in (0, inf)
        param b = 0.5 in (0, inf)
        param d = 0.6 in (0, inf)
        param friction = 0.8 in (0, inf)
        output q1
        output q2
        dt = 0.02
        """,
    ),
}


def inputs(system, length, rng):
    """Random levels, held for 25 samples, in parts of what is declared; uneven times; None without inputs."""
    if system.x is None:
        return None
    made = {}
    for k, example in system.x.items():
        levels = np.repeat(rng.uniform(-1.0, 1.5, size=length // 25 + 1), 25)[:length]
        made[k] = float(example) * (np.clip(rng.exponential(size=length), 0.1, 4.0) if k == "elapsed" else levels)
    return made


def main():
    """Print a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--factor", type=float, default=1.5)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--systems", default=",".join(TEXTS))
    parser.add_argument("--length", type=int, help="samples, in place of those of each model")
    parser.add_argument("--by", choices=("learner", "fit", "least_squares"), default="learner")
    parser.add_argument("--engine", default="auto")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'':12}{'within 5 %':>12}{'coverage':>10}{'worst':>8}{'silent':>8}{'seconds':>9}")
    for name in arguments.systems.split(","):
        length, text = arguments.length or TEXTS[name][0], TEXTS[name][1]
        runs = []
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            rng = np.random.default_rng(seed)
            system = fg.from_text(text, name=name, method="rk4")
            xs = inputs(system, length, rng)
            ys = system.simulate(xs, steps=length if xs is None else None).outputs
            ys = ys + 0.02 * ys.std(0) * rng.normal(size=ys.shape)
            start = started(system, arguments.factor, rng)
            try:
                runs.append(measured(system, xs, ys, start, arguments.by, arguments.engine))
            except FwdgradError as error:
                print(f"{name}, seed {seed}: {type(error).__name__}")
        deviations = np.concatenate([run.deviations for run in runs])
        covered = np.mean(deviations[np.isfinite(deviations)] < NORMAL)
        worst = [np.max(run.deviations, where=np.isfinite(run.deviations), initial=0.0) for run in runs]
        silent = sum(far > FAR and not run.told for far, run in zip(worst, runs, strict=True))
        close, seconds = sum(run.relative < CLOSE for run in runs), np.median([run.seconds for run in runs])
        line = f"{name:12}{close:>5} of {arguments.seeds:<4}{covered:>9.0%}{max(worst):>8.1f}{silent:>8}{seconds:>9.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
