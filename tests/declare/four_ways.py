"""The same model declared in four ways learns the same: a test for any model, as a function over four declarations."""

import numpy as np

import fwdgrad as fg

STEPS = 200


def assert_same_learning(systems, *, estimator="rtrl", steps=STEPS, rate=1e-4, tolerance=1e-12, inputs=None, noise=0.1):
    """Losses, parameters, state and influence of all systems agree up to rounding while they learn.

    Args:
        systems: by name of the way they were declared. State and parameters of all are dicts with the same keys, in
            the same order (which the signs of a random estimator follow); a prediction is a vector.
        estimator, rate: what they learn with; the engine is NumPy.
        inputs: arrays with time along axis 0 for all of them, by name.
        noise: what is to be learned are predictions of the first system with noise of this standard deviation.
        tolerance: relative to the largest number of each kind.
    """
    first = next(iter(systems.values()))
    rng = np.random.default_rng(5)
    targets = first.simulate(inputs, steps=None if inputs else steps).outputs
    targets = targets + noise * rng.normal(size=targets.shape)
    found = {}
    for way, system in systems.items():
        learner = fg.Learner(system, estimator, fg.SGD(rate), seed=3, engine="numpy")
        history = learner.run(inputs, targets)
        found[way] = {
            "loss": history.loss,
            **{f"params[{k!r}]": np.asarray(learner.params[k]) for k in sorted(first.params)},
            **{f"state[{k!r}]": np.asarray(learner.state[k]) for k in sorted(first.state)},
        }
        assert system.params.keys() == first.params.keys(), way
    start = {k: np.asarray(first.params[k]) for k in first.params}
    moved = max(float(np.max(np.abs(found[way][f"params[{k!r}]"] - start[k]))) for way in found for k in start)
    assert moved > 1e-6, "nothing was learned, so nothing was compared"
    reference = next(iter(found.values()))
    for way, results in found.items():
        for what, value in results.items():
            scale = max(float(np.max(np.abs(reference[what]))), 1e-3)
            difference = float(np.max(np.abs(value - reference[what]))) / scale
            assert difference <= tolerance, f"{way}: {what} differs by {difference:.2e} of its size"
