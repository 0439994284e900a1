"""A robot arm's own state-space model, learned online: fifty-three numbers, beside fifty passes of EM.

    h' = A h + b_t + noise(Q),      y = C h + d + noise(R)

pykalman's robot: 501 samples of two outputs, five state variables, known offsets b_t and d. A, C and the covariances Q
and R are learned from the start that comes with the data, by exact gradients through a Kalman filter (`fg.filtered`),
one sample after the other; pykalman's `em` goes over the whole record fifty times, forward and back. The table has the
log-likelihood of all observations by pykalman's own filter, with the parameters of both.

    python robot.py

needs pykalman, and takes half a minute.
"""

import argparse
import warnings

import numpy as np
from pykalman import KalmanFilter
from pykalman.datasets import load_robot

import fwdgrad as fg

PASSES = 3


def batch(data, A, C, Q, R):
    """pykalman's filter with these matrices."""
    names = ["transition_matrices", "observation_matrices", "transition_covariance", "observation_covariance"]
    known = data.transition_offsets, data.observation_offset, data.initial_state_mean, data.initial_state_covariance
    return KalmanFilter(A, C, Q, R, *known, em_vars=names)


def declared(data):
    """The same as a system that is filtered; both covariances are learned by their Cholesky factors."""
    arm = fg.System(
        lambda h, x, p: p["A"] @ h + x,
        lambda h, x, p: p["C"] @ h + data.observation_offset,
        state=data.initial_state_mean.astype(float),
        params={"A": data.transition_matrix, "C": data.observation_matrix},
        x=np.zeros(5),
        first="initial",
        name="robot",
    )
    noise = fg.cholesky(data.initial_transition_covariance), fg.cholesky(data.initial_observation_covariance)
    return fg.filtered(arm, *noise, initial_covariance=data.initial_state_covariance)


def main(arguments=None):
    """Learn, and compare; log-likelihoods at the start, after each pass, and of EM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--iterations", type=int, default=50, help="of EM")
    given = parser.parse_args(arguments)
    data = load_robot()
    ys = np.ma.filled(data.observations.astype(float), np.nan)
    xs = np.concatenate([np.zeros((1, 5)), data.transition_offsets])
    start = data.initial_transition_covariance, data.initial_observation_covariance
    other = batch(data, data.transition_matrix, data.observation_matrix, *start)
    found = {"start": other.loglikelihood(data.observations)}
    system = declared(data)
    learner = fg.Learner(system, engine=given.engine)
    for number in range(PASSES):
        with warnings.catch_warnings():  # that 501 samples are few for 53 parameters
            warnings.simplefilter("ignore", fg.errors.FwdgradWarning)
            learner.run(xs, ys)
        learner.reset_state()
        noise = system.covariances(learner.params)
        held = batch(data, learner.params["A"], learner.params["C"], noise["process"], noise["observation"])
        found[f"online, pass {number + 1}"] = held.loglikelihood(data.observations)
    em = other.em(data.observations, n_iter=given.iterations)
    found[f"EM, {given.iterations} passes"] = em.loglikelihood(data.observations)
    for label, value in found.items():
        print(f"{label:16}{value:10.1f}")
    return found


if __name__ == "__main__":
    main()
