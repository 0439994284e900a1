"""`fwdgrad fit`: tables, several subjects, forecasts, files; what is refused."""

import csv
import json
import warnings

import numpy as np
import pytest

import fwdgrad as fg
from fwdgrad.cli import main
from fwdgrad.cli.builders import Builder
from fwdgrad.cli.choosing import job_for
from fwdgrad.cli.fit import _labelled as labelled
from fwdgrad.errors import FirstSampleWarning

MODEL = """
d gut/dt = -ka*gut
d c/dt = ka*gut - ke*c
gut(0) = 1
c(0) = 0
param ka = 1 in (0, inf)
param ke = 0.2 in (0, inf)
output c
method = rk4
substeps = 4
"""


def drug(t, dose, ka=1.6, ke=0.3):
    return dose * ka / (ka - ke) * (np.exp(-ke * t) - np.exp(-ka * t))


@pytest.fixture
def files(tmp_path):
    """A model, and a table of three subjects with times of their own, one after the other."""
    rng = np.random.default_rng(0)
    rows = []
    for subject, dose, times in (("a", 2.0, np.arange(0, 8, 0.5)), ("b", 5.0, np.array([0, 0.3, 1, 2.5, 4, 9]))):
        rows += [[subject, dose, t, drug(t, dose) + 0.02 * rng.normal()] for t in times]
    (tmp_path / "model.txt").write_text(MODEL)
    with open(tmp_path / "data.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["who", "dose", "t", "c"])
        table.writerows(rows)
    return tmp_path


def run(folder, *words):
    return main(["fit", str(folder / "model.txt"), str(folder / "data.csv"), "--engine", "numpy", "--quiet", *words])


def test_subjects_with_doses_of_their_own(files, capsys):
    assert run(files, "--time", "t", "--subject", "who", "--begin", "gut=dose", "--out", str(files / "out.csv")) == 0
    said = capsys.readouterr().out
    assert "22 observations in 2 trajectories" in said
    values = {line.split()[0]: float(line.split()[2]) for line in said.splitlines() if line.startswith(("ka", "ke"))}
    assert abs(values["ka"] - 1.6) < 0.1
    assert abs(values["ke"] - 0.3) < 0.02
    with open(files / "out.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["trajectory", "time", "c", "c_fit", "c_std"]
    assert len(rows) == 23
    assert [row[0] for row in rows[1:]] == ["a"] * 16 + ["b"] * 6
    np.testing.assert_allclose([float(row[1]) for row in rows[17:]], [0, 0.3, 1, 2.5, 4, 9], atol=1e-12)
    fitted = [float(row[3]) for row in rows[17:]]
    np.testing.assert_allclose(fitted, drug(np.array([0, 0.3, 1, 2.5, 4, 9]), 5.0), atol=0.05)


def test_without_doses_of_their_own_it_does_not_fit(files, capsys):
    """The control: the beginnings matter."""
    assert run(files, "--time", "t", "--subject", "who") == 0
    said = capsys.readouterr().out
    assert float(said.partition("residuals ")[2].split(",")[0]) > 0.1


def test_parameters_of_their_own(files, capsys):
    """Two subjects of unequal length, absorbing alike, and clearing at rates of their own."""
    doses, rates = {"a": 2.0, "b": 5.0}, {"a": 0.5, "b": 0.2}
    rows = [line.split(",") for line in (files / "data.csv").read_text().splitlines()]
    for row in rows[1:]:
        row[3] = str(drug(float(row[2]), doses[row[0]], ke=rates[row[0]]) + 0.01 * np.sin(len(row[2]) + float(row[2])))
    (files / "data.csv").write_text("\n".join(map(",".join, rows)))
    words = ["--time", "t", "--subject", "who", "--begin", "gut=dose", "--own", "ke", "--method", "simulation"]
    assert run(files, *words, "--plot", str(files / "fit.png")) == 0
    said = capsys.readouterr().out
    found = {line.split()[0]: float(line.split()[2]) for line in said.splitlines() if line.startswith(("ka", "ke["))}
    assert set(found) == {"ka", "ke[0]", "ke[1]"}
    assert abs(found["ka"] - 1.6) < 0.1
    assert abs(found["ke[0]"] - 0.5) < 0.03
    assert abs(found["ke[1]"] - 0.2) < 0.02
    assert "ke: a value of each, [0] a, [1] b" in said
    assert "c of b: root mean square" in said


def test_their_names_in_json():
    params = {"k": fg.per_stream(0.5), "A": fg.per_stream(np.eye(2)), "b": np.ones(2)}
    system = fg.System(lambda h, x, p: p["k"] * p["A"] @ h + p["b"], None, np.zeros(2), params)
    names = [labelled(name, system, ["eve", "bob"]) for name in ("k[1]", "A[0,1,1]", "b[0]")]
    assert names == ["k of bob", "A[1,1] of eve", "b[0]"]
    assert labelled("k[1]", system, []) == "k[1]"


def test_a_forecast_and_a_picture(files, capsys):
    pytest.importorskip("matplotlib")
    lines = (files / "data.csv").read_text().splitlines()
    (files / "data.csv").write_text("\n".join(lines[:17]) + "\n")
    (files / "model.txt").write_text(MODEL.replace("gut(0) = 1", "gut(0) = 2"))
    out, picture = files / "out.csv", files / "fit.png"
    assert run(files, "--time", "t", "--forecast", "4", "--plot", str(picture), "--out", str(out)) == 0
    said = capsys.readouterr().out
    ahead = [float(line.split()[1]) for line in said.partition("forecast")[2].splitlines() if " ± " in line]
    np.testing.assert_allclose(ahead, drug(7.5 + 0.5 * np.arange(1, 5), 2.0), atol=0.06)
    assert picture.stat().st_size > 1000
    last = out.read_text().splitlines()[-1].split(",")
    assert float(last[1]) == pytest.approx(9.5)
    assert last[2] == ""


def test_a_system_of_the_catalogue_simulates_its_own(capsys, monkeypatch):
    monkeypatch.setattr("fwdgrad.cli.simulated.LENGTH", 150)
    assert main(["fit", "van-der-pol", "--engine", "numpy", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "truth: mu" in said
    line = next(line for line in said.splitlines() if line.startswith("mu"))
    truth = float(said.partition("truth: mu ")[2].split()[0].rstrip(","))
    assert abs(float(line.split()[2]) - truth) < 4 * float(line.split()[3]) + 1e-3 * truth


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--subject", "whom"], "Did you mean 'who'"),
        (["--time", "t", "--subject", "who", "--begin", "guts=dose"], "no 'guts'"),
        (["--time", "t", "--subject", "who", "--begin", "gut=doses"], "no column 'doses'"),
        (["--time", "t"], "should not decrease"),
        (["--time", "t", "--out", "/nowhere/at/all.csv"], "there is no folder"),
        (["--time", "t", "--subject", "who", "--forecast", "0"], "at least 1 sample"),
        (["--time", "t", "--own", "ke"], "--own: expected with --subject"),
        (["--time", "t", "--subject", "who", "--own", "ki"], "learns no such parameter"),
        (
            ["--time", "t", "--subject", "who", "--own", "ke", "--process", "0.1"],
            "--own and --process do not go together",
        ),
        (["--time", "t", "--subject", "who", "--forecast", "999999999"], "at most 100000"),
        (["--time", "t", "--out", ""], "expected the name of a file"),
        (["--time", "t", "--plot", ""], "expected the name of a file"),
    ],
)
def test_refused(files, capsys, words, message):
    assert run(files, *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("times", "added", "told"),
    [
        ([1, 2, 3, 4], "", True),
        ([0.5, 1, 2, 4], "", True),
        ([0, 1, 2, 3], "", False),
        ([1900, 1901, 1902, 1903], "", False),
        ([1, 2, 3, 4], "t(0) = 0\n", False),
        ([1, 2, 3, 4], "t(0) = 1\n", False),
        ([1, 2, 3, 4], "first = next\n", False),
    ],
)
def test_a_first_row_a_few_steps_after_zero_is_told_of(tmp_path, times, added, told):
    """Whether x(0) is the state at 0 or at the first row, nobody has said."""
    (tmp_path / "model.txt").write_text("d x/dt = -k*x\nx(0) = 5\nparam k = 0.3\n" + added)
    rows = [f"{t},{5 * np.exp(-0.5 * k)}" for k, t in enumerate(times)]
    (tmp_path / "data.csv").write_text("\n".join(["t,x", *rows]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings = {"data": str(tmp_path / "data.csv"), "time": "t", "seed": 0} | dict.fromkeys(
            ("text", "inputs", "targets", "observe", "units", "subject")
        )
        job_for(Builder(str(tmp_path / "model.txt")), settings)
    found = [str(w.message) for w in caught if w.category is FirstSampleWarning]
    assert len(found) == told
    assert not told or f"t(0) = {times[0]:g}" in found[0]


def test_a_text_is_not_fitted(capsys):
    assert main(["fit", "tanh-rnn"]) == 2
    assert "it is learned" in capsys.readouterr().err


def level(folder, steps=100):
    """A level that goes at random, in text, without a parameter of its own; and its table."""
    rng, h, rows = np.random.default_rng(1), 10.0, []
    for year in range(steps):
        rows.append([year, h + 0.7 * rng.normal()])
        h += 0.5 * rng.normal()
    (folder / "level.txt").write_text("next level = level\nlevel(0) = 10\noutput level\nfirst = initial\n")
    with open(folder / "level.csv", "w", newline="") as file:
        csv.writer(file).writerows([["year", "level"], *rows])
    return np.array(rows)[:, 1:]


def test_noise_in_the_state_is_a_parameter(tmp_path, capsys):
    """As `fg.fit` of the filtered system; the model by itself has nothing to learn."""
    ys = level(tmp_path)
    words = ["fit", str(tmp_path / "level.txt"), str(tmp_path / "level.csv"), "--quiet", "--engine", "compiled"]
    out = str(tmp_path / "out.csv")
    assert main([*words, "--process", "level=0.1", "--observation", "1", "--forecast", "3", "--out", out]) == 0
    said = capsys.readouterr().out
    plain = fg.System(lambda h, x, p: h, None, np.full(1, 10.0), {}, first="initial")
    fit = fg.fit(fg.filtered(plain, fg.positive(0.1), fg.positive(1.0)), ys=ys, engine="compiled")
    for name in ("process", "observation"):
        line = next(row.split() for row in said.splitlines() if row.startswith(name))
        assert float(line[2]) == pytest.approx(float(np.ravel(fit.params[name])[0]), rel=0.01)
    assert "forecast" in said
    assert main(words) == 2
    assert "no parameter to learn" in capsys.readouterr().err
    for more, match in (
        (["--process", "level=-1"], "numbers above 0"),
        (["--process", "a=1"], "expected a variance V, or level=V"),
        (["--process", "much"], "numbers above 0"),
        (["--observation", "1"], "with --process"),
    ):
        assert main([*words, *more]) == 2
        assert match in capsys.readouterr().err


COUNTS = "next x = a*x\nx(0) = 20\nparam a = 0.9 in (0, 1)\noutput y = x"


def counts(folder):
    """A rate of events that falls, and how many there were."""
    rows = np.random.default_rng(0).poisson(20 * 0.985 ** np.arange(1, 161))
    (folder / "model.txt").write_text(COUNTS)
    (folder / "data.csv").write_text("y\n" + "".join(f"{row}\n" for row in rows))


@pytest.mark.parametrize("likelihood", [None, "poisson"])
def test_counts_have_a_likelihood_of_their_own(tmp_path, capsys, likelihood):
    counts(tmp_path)
    words = [] if likelihood is None else ["--likelihood", likelihood]
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # the command shows what else would be an error here
        assert run(tmp_path, *words) == 0
    told = capsys.readouterr()
    assert ("look like counts" in told.out) == ("look like counts" in told.err) == (likelihood is None)


def test_a_learner_of_counts_is_the_default_one(tmp_path, capsys):
    counts(tmp_path)
    words = ["--likelihood", "poisson", "--engine", "numpy", "--quiet"]
    assert main(["learn", str(tmp_path / "model.txt"), str(tmp_path / "data.csv"), *words]) == 0
    assert "JointFilter" in capsys.readouterr().out


def test_a_likelihood_is_that_of_targets(capsys):
    assert main(["fit", "lotka-volterra", "--likelihood", "poisson"]) != 0
    assert "--likelihood poisson: expected with --data" in capsys.readouterr().err


def test_a_dose_before_the_first_row_is_not_lost(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "d a/dt = -k*a\na(0) = 0\nat t = [0, 8]: a += 10\nparam k = 0.5 in (0, inf)\nmethod = dopri5\n"
    (tmp_path / "drug.txt").write_text(text)
    times = np.array([0.6, 1.0, 1.7, 3.0, 4.5, 6.0, 7.5, 9.0, 10.0, 12.5])
    made = 10 * np.exp(-0.3 * times) + 10 * np.where(times > 8, np.exp(-0.3 * (times - 8)), 0.0)
    made = made + 0.01 * np.random.default_rng(0).normal(size=10)
    rows = [f"{t},{a:.5f}" for t, a in zip(times, made, strict=True)]
    (tmp_path / "drug.csv").write_text("\n".join(["hour,a", *rows]))
    assert main(["fit", "drug.txt", "drug.csv", "--time", "hour"]) == 2
    told = capsys.readouterr().err
    assert "the change\nat t = 0 in the model would never happen" in told
    assert "t(0) = 0" in told
    (tmp_path / "drug.txt").write_text(text + "t(0) = 0\n")
    assert main(["fit", "drug.txt", "drug.csv", "--time", "hour", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["parameters"]
    assert abs(found["k"]["value"] - 0.3) < 0.01
