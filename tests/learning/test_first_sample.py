"""What the first sample of a trajectory is observed in: one rule for known, learned and given initial states."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.cli import main
from fwdgrad.errors import DeclarationError, FirstSampleWarning, ModelTextError
from fwdgrad.optimizers import SGD

ESTIMATORS = [fg.RTRL(), fg.SparseRTRL(), fg.BPTT(), fg.BPTT(checkpoints=True), fg.TBPTT(12), fg.Hybrid(3)]
STARTS = ["known", "learned", "given"]
EVERY = [(e, "numpy", s, f) for e in ESTIMATORS for s in STARTS for f in ("initial", "next")]
EVERY += [(fg.RTRL(), "eager", s, f) for s in STARTS for f in ("initial", "next")]
EVERY += [(fg.RTRL(), "compiled", "known", "initial"), (fg.RTRL(), "compiled", "learned", "next")]
EVERY += [(fg.BPTT(), "compiled", "given", "initial")]
A, H0 = np.array([[0.5, -0.8], [0.9, 0.3]]), np.array([0.4, -0.3])


def F(h, x, p):
    return np.tanh(p["A"] @ h + x)


def system(start, first):
    params = {"A": A, "h0": H0} if start == "learned" else {"A": A}
    state = (lambda p: p["h0"]) if start == "learned" else H0 if start == "known" else np.zeros(2)
    return fg.System(F, lambda h, x, p: 2.0 * h, state, params, np.zeros(2), first=first)


def started(start, first, **options):
    learner = fg.Learner(system(start, first), **options)
    if start == "given":
        learner.reset_state(H0)
    return learner


def samples(length=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(length, 2)), rng.normal(size=(length, 2))


def losses(params, xs, ys, first):
    h, made = params["h0"], []
    for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if k or first == "next":
            h = anp.tanh(anp.dot(params["A"], h) + x)
        made.append(0.5 * anp.sum((2.0 * h - y) ** 2))
    return anp.array(made)


@pytest.mark.parametrize(("estimator", "engine", "start", "first"), EVERY, ids=lambda v: getattr(v, "name", v))
def test_losses_and_exact_gradients_follow_the_rule(estimator, engine, start, first):
    xs, ys = samples()
    rate, params = 1e-7, {"A": A, "h0": H0}
    learner = started(start, first, estimator=estimator, optimizer=SGD(rate), engine=engine)
    found = learner.run(xs, ys).loss
    learner.finish()
    np.testing.assert_allclose(found, losses(params, xs, ys, first), rtol=2e-6, atol=1e-6)
    wanted = autograd.grad(lambda p: anp.sum(losses(p, xs, ys, first)))(params)
    for k, v in learner.params.items():
        np.testing.assert_allclose((params[k] - v) / rate, wanted[k], rtol=2e-5, atol=2e-6)
    other = losses(params, xs, ys, "next" if first == "initial" else "initial")
    assert np.abs(found - other).min() > 1e-3  # the other rule gives other losses throughout


@pytest.mark.parametrize("first", ["initial", "next"])
@pytest.mark.parametrize("start", STARTS)
def test_predictions_simulations_and_checkpoints_follow_the_rule(start, first, tmp_path):
    xs, ys = samples()
    whole = started(start, first, estimator=fg.UORO(), optimizer=SGD(0.01))
    kept = whole.run(xs, ys)
    for split in (0, 1, 3):
        part = started(start, first, estimator=fg.UORO(), optimizer=SGD(0.01))
        if split:
            part.run(xs[:split], ys[:split])
        part.save(tmp_path / "a.npz")
        part = fg.Learner.load(tmp_path / "a.npz", system(start, first))
        for k in range(split, len(xs)):
            ahead = part.predict(xs[k])
            assert part.step(xs[k], ys[k]) == pytest.approx(0.5 * np.sum((ahead - ys[k]) ** 2), rel=1e-12)
        np.testing.assert_array_equal(part.params["A"], whole.params["A"])
    free = started(start, first).run(xs, np.full((6, 2), np.nan), keep_predictions=True).predictions
    options = {"state": H0} if start == "given" else {}
    np.testing.assert_allclose(system(start, first).simulate(xs, **options).outputs, free, rtol=1e-13)
    other = system(start, "next" if first == "initial" else "initial")
    np.testing.assert_allclose(other.simulate(xs, first=first, **options).outputs, free, rtol=1e-13)
    assert kept.loss.shape == (6,)


def test_a_simulation_goes_on_from_a_learner_with_next():
    xs, ys = samples(10)
    learner = fg.Learner(system("known", "initial"), fg.RTRL(), SGD(1e-12))
    predictions = learner.run(xs, np.full((10, 2), np.nan), keep_predictions=True).predictions
    learner.reset_state()
    learner.run(xs[:4], ys[:4])
    ahead = learner.system.simulate(xs[4:], state=learner.state, first="next").outputs
    np.testing.assert_allclose(ahead, predictions[4:], rtol=1e-9)


def test_a_random_influence_has_nothing_before_the_second_sample():
    learner = fg.Learner(system("known", "initial"), fg.NoBackTrack(), SGD(1e-12))
    xs, ys = samples()
    learner.step(xs[0], ys[0])
    np.testing.assert_array_equal(learner.influence_matrix(), 0.0)
    learner.step(xs[1], ys[1])
    assert np.any(learner.influence_matrix())


# ---- models whose first row is t = 0

DECAY = "d x/dt = -k*x\nx(0) = START\nparam k = 0.2 in (0, inf)\nmethod = rk4\n"
TABLE = 10 * np.exp(-0.3 * np.arange(11.0))[:, None]
KNOWN, FIXED, LEARNED = "10", "a\nparam a = 10 fixed", "a\nparam a = 9 in (0, inf)"


def toml(start):
    fixed = {KNOWN: "", FIXED: "a = {value = 10, fixed = true}", LEARNED: "a = {value = 9, in = [0, inf]}"}[start]
    return f"""
        state.x = {{ rate = "-k*x", start = "{start.split()[0]}" }}
        params.k = {{ value = 0.2, in = [0, inf] }}
        {fixed and "params." + fixed}
        settings = {{ dt = 1, method = "rk4" }}
        """


def misfit(model, xs=None, ys=TABLE):
    """The largest error over two passes with the rate that the table was made with."""
    learner = fg.Learner(model, fg.RTRL(), SGD(1e-12))
    learner.params = {"k": 0.3} | ({"a": 10.0} if "a" in model.params else {})
    errors = []
    for _ in range(2):
        errors.append(np.sqrt(2 * learner.run(xs, ys).loss.max()))
        learner.reset_state()
    return max(errors)


@pytest.mark.parametrize("start", [KNOWN, FIXED, LEARNED])
def test_a_table_that_begins_at_the_start_is_not_read_a_step_late(start):
    assert misfit(fg.from_text(DECAY.replace("START", start) + "dt = 1")) < 1e-3
    assert misfit(fg.from_toml(toml(start))) < 1e-3
    elapsed = {"elapsed": np.array([0.0] + [1.0] * 10)}
    assert misfit(fg.from_text(DECAY.replace("START", start), dt="elapsed"), elapsed) < 1e-3


@pytest.mark.parametrize("start", [KNOWN, FIXED])
def test_a_table_that_begins_a_step_later_is_read_so_where_it_is_said(start):
    later = fg.from_text(DECAY.replace("START", start) + "dt = 1\nfirst = next")
    assert misfit(later, ys=TABLE[1:]) < 1e-3
    assert misfit(later) > 1  # t = 0 read a step late
    elapsed = {"elapsed": np.ones(10)}
    assert misfit(fg.from_text(DECAY.replace("START", start), dt="elapsed"), elapsed, TABLE[1:]) < 1e-3


def test_the_rule_is_kept_by_other_forms_of_a_declaration():
    text = fg.from_text(DECAY.replace("START", KNOWN) + "dt = 1")
    for same in (text, text.astype(np.float32), text.replace(dt=0.5), text.replace(F=text.F), text.replace(first=None)):
        assert same.first == "initial"
    assert text.replace(dt="x", x={"x": 1.0}).first == "next"
    assert text.replace(first="next").first == "next"
    assert fg.from_text(DECAY.replace("START", KNOWN), dt=1.0, first="next").first == "next"
    assert system("known", None).first == "next"
    assert fg.from_text("next x = k*x\nx(0) = 1\nparam k = 0.5").first == "next"


def test_a_learned_start_without_a_rule_is_told():
    with pytest.warns(FirstSampleWarning, match='first="next"'):
        made = system("learned", None)
    assert made.first == made.replace(name="again").first == "next"  # said once
    with pytest.warns(FirstSampleWarning, match='say first="initial"'):
        fg.from_text("next x = k*x\nx(0) = a\nparam k = 0.5\nparam a = 1")


@pytest.mark.parametrize("wrong", ["first", 1, True, []])
def test_another_rule_is_refused(wrong):
    with pytest.raises(DeclarationError, match="'initial'"):
        system("known", wrong)
    with pytest.raises(DeclarationError, match="'initial'"):
        system("known", None).simulate(samples()[0], first=wrong)
    with pytest.raises(DeclarationError, match="how long"):
        fg.from_text(DECAY.replace("START", KNOWN), dt="elapsed", first="initial")
    with pytest.raises(ModelTextError, match=r"line 5: .*first"):
        fg.from_text(DECAY.replace("START", KNOWN) + f"first = {wrong}")
    with pytest.raises(ModelTextError, match="first"):
        fg.from_toml(toml(KNOWN).replace("dt = 1", 'first = "0"'))


def test_second_derivatives_know_the_rule():
    def hessian(model, ys):
        made = fg.OnlineHessian(model, exact=True)
        return sum(made.step(None, y) and made.matrix() for y in ys)

    late = fg.from_text(DECAY.replace("START", KNOWN) + "dt = 1\nfirst = next")
    assert hessian(late.replace(first="initial"), TABLE) == pytest.approx(hessian(late, TABLE[1:]), rel=1e-12)


# ---- on the command line


def told(folder, model, rows, *words, suffix="txt"):
    """Exit status, what is said of the first sample (or the error), and the losses' first row."""
    (folder / f"m.{suffix}").write_text(model)
    np.savez(folder / "d.npz", time=rows, x=10 * np.exp(-0.3 * np.asarray(rows, float)))
    return main(["learn", str(folder / f"m.{suffix}"), str(folder / "d.npz"), "--quiet", "--steps", "5",
                 "--predictions", str(folder / "p.csv"), "--rate", "1e-12", *words])  # fmt: skip


ROWS = np.arange(5.0)


@pytest.mark.parametrize(
    ("extra", "rows", "said", "seen"),
    [
        ("dt = 1", ROWS, "seen in the initial state", 10.0),
        ("dt = 1\nparam a = 10 fixed", ROWS, "seen in the initial state", 10.0),
        ("dt = 1\nfirst = next", ROWS + 1, "seen one step after the initial state, 1 later", 10 * np.exp(-0.2)),
        ("dt = 1\nt(0) = 3", ROWS + 3, "seen in the initial state", 10.0),
        ("dt = 1\nt(0) = 3", ROWS + 4, "seen one step after the initial state, 1 later", 10 * np.exp(-0.2)),
        ("", ROWS, "seen in the initial state", 10.0),
        ("t(0) = 0", ROWS + 1, "seen one step after the initial state, 1 later", 10 * np.exp(-0.2)),
        ("t(0) = 0", ROWS + 3, "seen 3 after the initial state", 10 * np.exp(-0.6)),
        ("", ROWS**2, "seen in the initial state", 10.0),
        ("t(0) = 0", ROWS**2 + 2, "seen 2 after the initial state", 10 * np.exp(-0.4)),
    ],
)
def test_the_first_row_is_where_its_time_says(tmp_path, capsys, extra, rows, said, seen):
    model = DECAY.replace("START", "a" if "param a" in extra else KNOWN) + extra
    assert told(tmp_path, model, rows, "--time", "time") == 0
    assert f"first sample  {said}\n" in capsys.readouterr().out
    first = (tmp_path / "p.csv").read_text().splitlines()[1].split(",")
    assert float(first[1]) == pytest.approx(seen, rel=2e-3)


@pytest.mark.parametrize(
    ("extra", "rows", "fragment"),
    [
        ("dt = 1\nt(0) = 0\nfirst = next", ROWS, "0 after the start"),
        ("dt = 1\nt(0) = 0\nfirst = initial", ROWS + 1, "1 after the start"),
        ("dt = 1\nt(0) = 0", ROWS + 3, "3 after the start"),
        ("t(0) = 2", ROWS, "before the model begins"),
        ("t(0) = 0\nfirst = next", ROWS**2, "first = next"),
        ("t(0) = 0\nfirst = initial", ROWS**2 + 1, "first = initial"),
        ("first = next", ROWS**2, "not evenly spaced"),
    ],
)
def test_a_table_that_contradicts_the_model_is_refused(tmp_path, capsys, extra, rows, fragment):
    assert told(tmp_path, DECAY.replace("START", KNOWN) + extra, rows, "--time", "time") == 2
    assert fragment in capsys.readouterr().err


def test_a_map_with_times_begins_at_its_first_row(tmp_path, capsys):
    model = "next x = k*x\nx(0) = 10\nparam k = 0.5\noutput x\n"
    assert told(tmp_path, model, ROWS, "--time", "time") == 0
    assert "first sample  seen in the initial state\n" in capsys.readouterr().out
    assert told(tmp_path, model, ROWS) == 0
    assert "first sample  seen one step after the initial state\n" in capsys.readouterr().out
    assert told(tmp_path, model + "t(0) = -1", ROWS, "--time", "time") == 0
    assert "first sample  seen one step after the initial state\n" in capsys.readouterr().out
