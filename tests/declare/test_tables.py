"""What TOML models say that text says otherwise: tables of every kind, settings, and on which line a key stands."""

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.errors import DataError, ModelTextError

FULL = """\
name = "two tanks"

[settings]
dt = "pause"
method = "heun"
substeps = 2
injection = [[0.5, 0], [0, "1/4"], [0, 0]]

[state]
upper = { rate = "u - flow", start = "2*full", unit = "m" }
lower = { rate = "flow - leak*lower", start = [0.0, 1.0] }
[state.clock]
rate = 1
start = 0

[definitions]
flow = { value = "valve*upper", unit = "m/s" }

[params]
valve = { value = "1/2", in = [0, "inf"], unit = "1/s" }
leak = { value = [0.1, 0.2], in = [0, 1] }
full = 1
spare = { tied = "valve + 1" }
g = { value = 9.81, fixed = true }

[inputs]
u = { value = 0.5, unit = "m/s" }

[outputs]
upper = {}
pair.value = "lower"
pair.noise = 0.1
"""
SMALL = FULL.replace('injection = [[0.5, 0], [0, "1/4"], [0, 0]]\n', "").replace("upper = {}\n", "")


def test_every_table():
    system = fg.from_toml(SMALL)
    assert (system.name, system.dt, system.method, system.substeps) == ("two tanks", "pause", "heun", 2)
    assert list(system.state) == ["upper", "lower", "clock"]
    assert system.trainable == ("valve", "leak", "full")
    assert {k: v.tolist() for k, v in system.params.items()} == {
        "valve": pytest.approx(0.5),
        "leak": pytest.approx([0.1, 0.2]),
        "full": 1.0,
        "spare": pytest.approx(1.5),
        "g": 9.81,
    }
    assert set(system.x) == {"u", "pause"}
    assert system.output_names == ("pair[0]", "pair[1]")
    assert system.loss == fg.losses.SquaredError(0.1)
    assert system.units == {"upper": "m", "flow": "m/s", "valve": "1/s", "u": "m/s"}
    assert system.init is not None
    states, _ = system.simulate({"u": np.zeros(2), "pause": np.array([0.0, 0.5])})
    assert np.allclose(states["clock"], [0, 0.5])
    assert np.allclose(states["upper"], [2, 2 * (1 - 0.125 + 0.125**2 / 2) ** 2])


def test_arguments_go_before_the_tables():
    system = fg.from_toml(SMALL, dt=0.5, method="euler", substeps=1, name="tanks")
    assert (system.name, system.dt, system.method, system.substeps) == ("tanks", 0.5, "euler", 1)


def test_a_gain_is_a_setting():
    text = FULL.replace('"1/4"', "0.25").replace("pair.noise", "# pair.noise")
    text = text.replace('"lower"', '"lower[0]"').replace("[0, 0]]", "[0, 0], [0, 0]]")
    assert np.array_equal(fg.from_toml(text).injection, [[0.5, 0], [0, 0.25], [0, 0], [0, 0]])


def test_a_gain_may_be_a_parameter():
    text = 'outputs.x = "x"\nsettings = {dt = 0.1, injection = "K"}\n[params]\nK = 0.25\n'
    text += '[state]\nx = {start = 1, rate = "-x"}\n'
    system = fg.from_toml(text)
    assert (system.injection, system.trainable) == ("K", ("K",))
    with pytest.raises(fg.errors.UnknownNameError, match=r"injection='L'.*K"):
        fg.from_toml(text.replace('"K"', '"L"'))


@pytest.mark.parametrize(
    ("likelihood", "noise", "loss"),
    [
        ("poisson", "", fg.losses.Poisson()),
        ("negative_binomial", "", fg.losses.NegativeBinomial()),
        ("bernoulli", "", fg.losses.Bernoulli()),
        ("student_t", "", fg.losses.StudentT()),
        ("student_t", "noise", fg.losses.StudentT(0.5)),
        ("gaussian", "noise", fg.losses.SquaredError(0.5)),
        ("gaussian", "", fg.losses.SquaredError()),
    ],
)
def test_a_likelihood_is_a_setting_of_both(likelihood, noise, loss):
    toml = f'outputs.x = {{ value = "x"{", noise = 0.5" * bool(noise)} }}\nstate.x = {{ next = "x/2", start = 1 }}\n'
    text = f"next x = x/2\nx(0) = 1\noutput x{' noise 0.5' * bool(noise)}\nlikelihood = {likelihood}\n"
    for system in (fg.from_toml(f'{toml}settings.likelihood = "{likelihood}"'), fg.from_text(text)):
        assert system.loss == loss
    assert fg.from_text(text, loss=fg.losses.Poisson()).loss == fg.losses.Poisson()


@pytest.mark.parametrize(
    ("line", "said"), [("poison", "there is no likelihood 'poison'.*poisson"), ("poisson", "follows from their mean")]
)
def test_likelihoods_that_are_none(line, said):
    with pytest.raises(ModelTextError, match=said):
        fg.from_text(f"next x = x/2\nx(0) = 1\noutput x noise 0.5\nlikelihood = {line}")
    with pytest.raises(ModelTextError, match="there is no likelihood 7"):
        fg.from_toml('outputs.x = "x"\nstate.x = { next = "x/2", start = 1 }\nsettings.likelihood = 7')


def test_a_file_is_read(tmp_path):
    (tmp_path / "tanks.toml").write_text(SMALL.replace('name = "two tanks"', ""), encoding="utf-8")
    assert fg.from_toml(tmp_path / "tanks.toml").name == "tanks.toml"
    (tmp_path / "tanks.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        fg.from_toml(tmp_path / "tanks.toml")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("rate = 1\n", 'rate = "q"\n', 12),
        ("start = 0\n", 'start = "q"\n', 13),
        ('pair.value = "lower"', 'pair.value = "lowr"', 29),
        ("[params]", "[params]\n'a.b' = 1", 19),
        ('tied = "valve + 1"', 'tied = "leek"', 22),
        ("fixed = true", "fixed = true, until = 3", 23),
    ],
)
def test_a_slip_is_found_where_it_stands(old, new, line):
    assert old in SMALL
    with pytest.raises(ModelTextError) as refused:
        fg.from_toml(SMALL.replace(old, new))
    assert refused.value.line == line, str(refused.value)
