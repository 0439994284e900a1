"""The online loop: order of events, missing targets, histories, checkpoints that continue bit for bit."""

import json
import subprocess
import sys

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import CheckpointError, NonFiniteError, ShapeError, UnknownNameError

N, SYMBOLS = 5, 3


def network(**options):
    rng = np.random.default_rng(1)
    params = {
        "b": np.zeros(N),
        "R": rng.normal(size=(N, SYMBOLS)),
        "W": rng.normal(size=(N, N)) / np.sqrt(N),
        "V": rng.normal(size=(SYMBOLS, N)),
    }

    def F(h, x, theta):
        return theta["b"] + theta["R"][:, x] + theta["W"] @ np.tanh(h)

    def Y(h, x, theta):
        return theta["V"] @ np.tanh(h)

    return fg.System(F, Y, np.zeros(N), params, 0, fg.losses.CrossEntropy(base=2), **options)


def stream(length, seed=0):
    return fg.streams.next_symbol(np.random.default_rng(seed).integers(SYMBOLS, size=length + 1))


ESTIMATORS = {
    "rtrl": fg.RTRL(),
    "sparse": fg.SparseRTRL(),
    "snap": fg.SnAp(1),
    "nbt": fg.NoBackTrack(),
    "nbt-rank": fg.NoBackTrack(rank=3),
    "uoro": fg.UORO(),
    "uoro-window": fg.UORO(window=4),
    "uoro-normal": fg.UORO(signs="normal"),
    "probe": fg.UORO(scale="probe"),
    "tbptt": fg.TBPTT(7),
}


def equal(a, b):
    return all(np.array_equal(a.params[k], b.params[k]) for k in a.params)


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@pytest.mark.parametrize("optimizer", [fg.SGD(0.05), fg.Adam(fg.schedules.inverse_sqrt(0.01, 0.1)), fg.AdaGrad(0.05)])
@pytest.mark.covering
def test_steps_runs_and_resumed_runs_are_the_same_bit_for_bit(estimator, optimizer, tmp_path):
    xs, ys = stream(150)
    whole = fg.Learner(network(), estimator, optimizer, seed=3)
    history = whole.run(xs, ys)

    single = fg.Learner(network(), estimator, optimizer, seed=3)
    losses = [single.step(x, y) for x, y in zip(xs, ys, strict=True)]
    assert equal(whole, single)
    assert np.array_equal(losses, history.loss)

    pieces = fg.Learner(network(), estimator, optimizer, seed=3)
    for cut, end in [(0, 1), (1, 66), (66, 101), (101, 150)]:
        pieces.run(iter(zip(xs[cut:end], ys[cut:end], strict=True)))
        pieces.save(tmp_path / "run.npz")
        pieces = fg.Learner.load(tmp_path / "run.npz", network())
        assert pieces.steps == end
    assert equal(whole, pieces)
    assert np.array_equal(whole.state, pieces.state)
    assert np.array_equal(whole.influence_matrix(), pieces.influence_matrix())


def test_another_seed_is_another_result():
    xs, ys = stream(50)
    a, b, c = (fg.Learner(network(), fg.UORO(), seed=s) for s in (0, 1, np.random.default_rng(0)))
    for learner in (a, b, c):
        learner.run(xs, ys)
    assert not equal(a, b)
    assert equal(a, c)


def test_predict_changes_nothing_and_foretells_the_next_step():
    xs, ys = stream(20)
    learner = fg.Learner(network(), fg.UORO())
    learner.run(xs[:10], ys[:10])
    before = (learner.params, learner.state, learner.influence_matrix(), learner.steps)
    scores = learner.predict(xs[10])
    after = (learner.params, learner.state, learner.influence_matrix(), learner.steps)
    assert all(np.array_equal(before[0][k], after[0][k]) for k in before[0])
    assert all(np.array_equal(a, b) for a, b in zip(before[1:], after[1:], strict=True))
    expected = -np.log2(np.exp(scores[ys[10]]) / np.exp(scores).sum())
    assert learner.step(xs[10], ys[10]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("form", ["nan", "none", "masked", "floats"])
def test_missing_targets_are_passed_over(form):
    xs, ys = stream(30)
    gaps = np.zeros(30, bool)
    gaps[[0, 7, 8, 20]] = True
    if form == "masked":
        given = np.ma.MaskedArray(ys, mask=gaps)
    elif form == "none":
        given = [None if gap else int(y) for gap, y in zip(gaps, ys, strict=True)]
    else:
        given = np.where(gaps, np.nan, ys.astype(float))
    learner = fg.Learner(network(), fg.UORO())
    history = learner.run(xs, given if form != "floats" else list(given))
    assert np.array_equal(np.isnan(history.loss), gaps)

    other = fg.Learner(network(), fg.UORO())
    for k in range(30):
        before = other.params
        other.step(xs[k], None if gaps[k] else ys[k])
        if gaps[k]:
            assert all(np.array_equal(before[name], other.params[name]) for name in before)
    assert equal(learner, other)


def test_a_missing_target_moves_state_and_influence():
    xs, ys = stream(4)
    learner = fg.Learner(network(), fg.RTRL())
    learner.run(xs, ys)
    state, influence = learner.state, learner.influence_matrix()
    learner.step(xs[0], None)
    assert not np.array_equal(state, learner.state)
    assert not np.array_equal(influence, learner.influence_matrix())


def test_a_window_without_targets_updates_nothing():
    xs, ys = stream(8)
    learner = fg.Learner(network(), fg.UORO(window=4), fg.Adam())
    learner.run(xs[:4], ys[:4])
    before = learner.params
    learner.run(xs[4:], np.full(4, np.nan))
    assert all(np.array_equal(before[k], learner.params[k]) for k in before)


def test_history_means_and_blocks():
    xs, ys = stream(100)
    full = fg.Learner(network(), fg.UORO()).run(xs, ys, keep_predictions=True)
    assert np.allclose(full.mean, np.cumsum(full.loss) / np.arange(1, 101))
    assert full.recent(10) == pytest.approx(full.loss[-10:].mean())
    assert full.predictions.shape == (100, SYMBOLS)
    blocks = fg.Learner(network(), fg.UORO()).run(xs, ys, record=30)
    assert np.allclose(blocks.loss, [full.loss[a : a + 30].mean() for a in (0, 30, 60, 90)])
    assert len(blocks) == 4
    assert blocks.every == 30


def test_progress_is_reported():
    xs, ys = stream(600)
    seen = []
    history = fg.Learner(network(), fg.UORO()).run(xs, ys, progress=lambda done, mean: seen.append((done, mean)))
    assert [done for done, _ in seen] == [256, 512, 600]
    assert seen[-1][1] == pytest.approx(history.loss.mean())


def test_generators_that_never_end():
    def forever():
        rng = np.random.default_rng(0)
        while True:
            yield int(rng.integers(SYMBOLS)), int(rng.integers(SYMBOLS))

    learner = fg.Learner(network(), fg.UORO())
    assert len(learner.run(forever(), steps=1500)) == 1500
    assert learner.steps == 1500


@pytest.mark.parametrize("estimator", [fg.RTRL(), fg.UORO(), fg.UORO(window=3), fg.TBPTT(2)], ids=lambda e: e.name)
def test_divergence_stops_at_its_step_and_leaves_the_last_good_state(estimator):
    system = fg.System(lambda h, x, p: p["a"] * h * h, None, np.ones(2), {"a": 1.5})
    learner = fg.Learner(system, estimator, fg.SGD(1e-12))
    twin = fg.Learner(system, estimator, fg.SGD(1e-12))
    with pytest.raises(NonFiniteError, match="not finite at step") as caught:
        learner.run(None, np.zeros((40, 2)))
    assert caught.value.step == learner.steps == len(caught.value.history) > 3
    twin.run(None, np.zeros((learner.steps, 2)))
    assert equal(learner, twin)
    assert np.array_equal(learner.state, twin.state)
    assert np.all(np.isfinite(learner.state))
    with pytest.raises(NonFiniteError) as again:  # and again: nothing has changed
        learner.step(None, np.zeros(2))
    assert again.value.step == caught.value.step


def test_a_rate_that_is_too_large_is_named():
    xs, ys = stream(100)
    learner = fg.Learner(network(), fg.RTRL(), fg.SGD(1e200))
    with pytest.raises(NonFiniteError, match="learning rate"):
        learner.run(xs, ys)
    assert all(np.all(np.isfinite(v)) for v in learner.params.values())


def test_reset_state_starts_a_new_trajectory():
    xs, ys = stream(20)
    learner = fg.Learner(network(), fg.RTRL())
    learner.run(xs, ys)
    params = learner.params
    learner.reset_state()
    assert np.array_equal(learner.state, np.zeros(N))
    assert not learner.influence_matrix().any()
    assert all(np.array_equal(params[k], learner.params[k]) for k in params)
    learner.reset_state(np.ones(N))
    assert np.array_equal(learner.state, np.ones(N))


def test_the_declared_system_is_not_changed():
    system = network()
    before = {k: v.copy() for k, v in system.params.items()}
    xs, ys = stream(20)
    learner = fg.Learner(system, fg.UORO(), fg.SGD(0.5))
    learner.run(xs, ys)
    with pytest.raises(ValueError, match="read-only"):
        learner.params["W"][:] = 0.0
    with pytest.raises(TypeError):
        learner.params["W"] = np.zeros((N, N))
    with pytest.raises(ValueError, match="read-only"):
        learner.state[0] = 1.0
    assert all(np.array_equal(before[k], system.params[k]) for k in before)
    assert learner.params["W"].any()


def test_parameters_can_be_set():
    xs, ys = stream(20)
    learner, other = fg.Learner(network(), fg.UORO()), fg.Learner(network(), fg.UORO())
    learner.params = {"W": np.zeros((N, N)), "b": np.ones(N)}
    assert not learner.params["W"].any()
    assert np.array_equal(learner.params["V"], network().params["V"])
    learner.params = other.params
    for one in (learner, other):
        one.run(xs, ys)
    assert equal(learner, other)
    with pytest.raises(UnknownNameError, match="no parameter 'w'"):
        learner.params = {"w": 0.0}
    with pytest.raises(ShapeError, match=r"params\['b'\]"):
        learner.params = {"b": np.zeros(N + 1)}


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_generator_of_numpy_can_be_saved(kind, tmp_path):
    generator = np.random.Generator(getattr(np.random, kind)(5))
    xs, ys = stream(150)
    whole = fg.Learner(network(), fg.UORO(), seed=np.random.Generator(getattr(np.random, kind)(5)))
    whole.run(xs, ys)
    learner = fg.Learner(network(), fg.UORO(), seed=generator)
    learner.run(xs[:70], ys[:70])
    learner.save(tmp_path / "c.npz")
    resumed = fg.Learner.load(tmp_path / "c.npz", network())
    resumed.run(xs[70:], ys[70:])
    assert equal(whole, resumed)


def test_an_autonomous_system_runs_unwatched():
    system = fg.System(lambda h, x, p: p["a"] * h, None, np.ones(1), {"a": 0.5})
    learner = fg.Learner(system, fg.RTRL())
    history = learner.run(steps=3)
    assert np.isnan(history.loss).all()
    assert learner.state == 0.125
    assert learner.influence_matrix() == pytest.approx(3 * 0.25)


def test_samples_that_are_dicts_may_stand_in_a_list():
    system = fg.System(lambda h, x, p: p["a"] * h + x["u"], None, np.zeros(1), {"a": 0.5}, {"u": 0.0})
    one, two = fg.Learner(system, fg.RTRL()), fg.Learner(system, fg.RTRL())
    one.run([{"u": 1.0}, {"u": 2.0}], [[0.0], [1.0]])
    two.run({"u": np.array([1.0, 2.0])}, np.array([[0.0], [1.0]]))
    assert one.params == two.params


# ---------------------------------------------------------------- checkpoints


def saved(path, **options):
    learner = fg.Learner(network(**options), fg.UORO(), fg.Adam(1e-3))
    learner.note = {"what": "a note", "numbers": [1, 2.5]}
    learner.run(*stream(10))
    learner.save(path)
    return learner


def test_a_note_travels_with_the_checkpoint(tmp_path):
    saved(tmp_path / "c.npz")
    assert fg.Learner.load(tmp_path / "c.npz", network()).note == {"what": "a note", "numbers": [1, 2.5]}


def test_no_pickle_is_written_and_no_temporary_file_stays(tmp_path):
    saved(tmp_path / "c.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["c.npz"]
    with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
        assert all(file[k].dtype != object for k in file.files)
        json.loads(str(file["description"]))


def rewritten(path, change):
    with np.load(path) as file:
        arrays = dict(file)
    description = json.loads(str(arrays["description"]))
    change(arrays, description)
    arrays["description"] = np.array(json.dumps(description))
    np.savez(path, **arrays)


def shrink(system, **changes):
    options = {"F": system.F, "Y": system.Y, "state": system.state, "params": system.params, "x": 0}
    return fg.System(**{**options, "loss": system.loss, **changes})


OTHERS = {
    "params": lambda: shrink(
        network(), params={**network().params, "V": np.zeros((SYMBOLS, N), np.float32)} | {"W2": np.zeros((N, N))}
    ),
    "frozen": lambda: network(frozen=["b"]),
    "loss": lambda: shrink(network(), loss=fg.losses.CrossEntropy()),
    "dt": lambda: network(dt=0.1),
    "F": lambda: shrink(network(), F=lambda h, x, t: t["b"] + t["R"][:, x] + t["W"] @ np.sin(h)),
    "Y": lambda: shrink(network(), Y=lambda h, x, t: t["V"] @ h),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_of_another_system_is_refused_with_what_differs(what, tmp_path):
    saved(tmp_path / "c.npz")
    with pytest.raises(CheckpointError, match=rf"another system[\s\S]*\b{what}: "):
        fg.Learner.load(tmp_path / "c.npz", OTHERS[what]())


def test_damaged_and_foreign_files_are_refused(tmp_path):
    good = tmp_path / "good.npz"
    saved(good)
    data = good.read_bytes()
    bad = tmp_path / "bad.npz"
    for content in (b"", b"not a zip", data[: len(data) // 2], data[:-30], data[:200] + bytes(400) + data[600:]):
        bad.write_bytes(content)
        with pytest.raises(CheckpointError):
            fg.Learner.load(bad, network())
    np.savez(bad, a=np.zeros(3))
    with pytest.raises(CheckpointError, match="not a fwdgrad checkpoint"):
        fg.Learner.load(bad, network())
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(CheckpointError):
        fg.Learner.load(tmp_path / "array.npy", network())
    with pytest.raises(CheckpointError, match="no checkpoint"):
        fg.Learner.load(tmp_path / "absent.npz", network())
    with pytest.raises(CheckpointError, match="cannot"):
        fg.Learner.load(tmp_path, network())
    with pytest.raises(CheckpointError, match="cannot write"):
        saved(tmp_path / "no" / "such" / "folder.npz")


def test_another_format_and_missing_arrays_are_refused(tmp_path):
    path = tmp_path / "c.npz"
    saved(path)
    rewritten(path, lambda arrays, d: d.update(format=99, fwdgrad="9.9"))
    with pytest.raises(CheckpointError, match=r"format 99, written by fwdgrad 9\.9"):
        fg.Learner.load(path, network())
    saved(path)
    rewritten(path, lambda arrays, d: arrays.pop("array:carry0"))
    with pytest.raises(CheckpointError, match="incomplete"):
        fg.Learner.load(path, network())
    saved(path)
    rewritten(path, lambda arrays, d: d.pop("noise"))
    with pytest.raises(CheckpointError, match="incomplete"):
        fg.Learner.load(path, network())


def test_objects_of_the_users_own_are_passed_again(tmp_path):
    path = tmp_path / "c.npz"

    def rate(t):
        return 0.1 / (1.0 + t)

    learner = fg.Learner(network(), fg.UORO(), fg.SGD(rate))
    learner.run(*stream(10))
    learner.save(path)
    with pytest.raises(CheckpointError, match="Pass the same object"):
        fg.Learner.load(path, network())
    again = fg.Learner.load(path, network(), optimizer=fg.SGD(rate))
    for one in (learner, again):
        one.run(*stream(20, seed=5))
    assert equal(learner, again)
    with pytest.raises(CheckpointError, match="not with the one given"):
        fg.Learner.load(path, network(), optimizer=fg.Adam())


def test_checkpoint_every_writes_as_it_goes(tmp_path):
    path = tmp_path / "c.npz"
    xs, ys = stream(25)
    learner = fg.Learner(network(), fg.UORO())

    def samples():
        for k, pair in enumerate(zip(xs, ys, strict=True)):
            if k == 23:
                raise KeyboardInterrupt
            yield pair

    with pytest.raises(KeyboardInterrupt):
        learner.run(samples(), checkpoint=path, checkpoint_every=10)
    assert learner.steps == 23  # a stream is learned from as it comes
    assert fg.Learner.load(path, network()).steps == 20
    learner.run(xs[23:], ys[23:], checkpoint=path, checkpoint_every=10)
    assert fg.Learner.load(path, network()).steps == 25


KILLED = """
import sys
import numpy as np
import fwdgrad as fg
sys.path.insert(0, {folder!r})
from test_learner import network, stream
xs, ys = stream(6000)
path = {path!r}
try:
    learner = fg.Learner.load(path, network())
except fg.errors.CheckpointError:
    learner = fg.Learner(network(), fg.UORO(), fg.Adam(1e-3), seed=9)
print("ready", flush=True)
if learner.steps < len(xs):  # else it was killed after the last step
    learner.run(xs[learner.steps:], ys[learner.steps:], checkpoint=path, checkpoint_every=50)
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    path = tmp_path / "run.npz"
    code = KILLED.format(folder=str(__import__("pathlib").Path(__file__).parent), path=str(path))
    rng = np.random.default_rng(4)
    kills = 0
    for _ in range(30):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            try:
                process.wait(timeout=float(rng.uniform(0.02, 0.25)) if kills < 3 else 120)
            except subprocess.TimeoutExpired:
                process.kill()  # SIGKILL
                kills += 1
        if process.returncode == 0:
            break
    assert process.returncode == 0
    assert kills >= 2
    unbroken = fg.Learner(network(), fg.UORO(), fg.Adam(1e-3), seed=9)
    unbroken.run(*stream(6000))
    resumed = fg.Learner.load(path, network())
    assert resumed.steps == 6000
    assert equal(unbroken, resumed)
    assert np.array_equal(unbroken.state, resumed.state)


def written_out(times):
    """A step that is long: Lotka-Volterra by Euler steps, number by number, in the transition itself."""

    def F(h, x, p):
        for _ in range(times):
            a, b = h[0], h[1]
            h = np.stack([a + 0.01 * (p["a"] * a - a * b), b + 0.01 * (a * b - p["b"] * b)])
        return h

    return fg.System(F, None, np.ones(2), {"a": 1.0, "b": 1.0})


def test_a_step_too_long_for_the_compiler_runs_on_numpy():
    """A warning says so; "auto" does not compile what takes longer than running it."""
    with pytest.warns(UserWarning, match="too long"):
        learner = fg.Learner(written_out(100), fg.RTRL(), engine="compiled")
    assert learner.engine == "numpy"
    learner = fg.Learner(written_out(12), fg.RTRL())
    learner.prepare(500)
    assert learner.engine == "numpy"
    learner.prepare(10_000_000)
    assert learner.engine == "compiled"


@pytest.mark.parametrize("estimator", [fg.UORO(), fg.RTRL()], ids=lambda e: e.name)
def test_an_interrupt_leaves_a_compiled_run_between_two_steps(estimator, monkeypatch):
    """It comes when compiled steps return: they are made, and not yet counted."""

    def F(h, x, p):
        return np.tanh(p["a"] * h + x)

    def made():
        system = fg.System(F, None, np.zeros(2), {"a": np.full(2, 0.5)}, np.zeros(2))
        return fg.Learner(system, estimator, fg.SGD(0.01), engine="compiled")

    xs, ys = np.random.default_rng(0).normal(size=(2, 60, 2))
    whole, learner = made(), made()
    whole.run(xs, ys)
    learner.run(xs[:20], ys[:20])
    before = dict(learner.params)
    go = type(learner._loop)._go

    def interrupted(*arguments):
        go(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(learner._loop), "_go", interrupted)
        with pytest.raises(KeyboardInterrupt):
            learner.run(xs[20:], ys[20:])
    assert learner.steps == 20
    np.testing.assert_array_equal(learner.params["a"], before["a"])
    learner.run(xs[20:], ys[20:])
    np.testing.assert_array_equal(learner.params["a"], whole.params["a"])
