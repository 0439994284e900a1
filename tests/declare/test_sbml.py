"""SBML files: what a model means, against the same equations written by hand in amounts and solved by SciPy."""

import math
import pathlib
import sys

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import fwdgrad as fg
from fwdgrad.cli import main
from fwdgrad.errors import DataError, DeclarationError

libsbml = pytest.importorskip("libsbml")
parsed = libsbml.parseL3Formula


class Model:
    """A small SBML model, built a part a line."""

    def __init__(self, level=3, version=2):
        self.document = libsbml.SBMLDocument(level, version)
        self.model = self.document.createModel()
        self.model.setId("small")

    def compartment(self, name, size, constant=True):
        part = self.model.createCompartment()
        part.setId(name), part.setSize(size), part.setConstant(constant), part.setSpatialDimensions(3)
        return self

    def species(self, name, volume, *, amount=None, concentration=None, only_amount=False, boundary=False):
        part = self.model.createSpecies()
        part.setId(name), part.setCompartment(volume), part.setConstant(False), part.setBoundaryCondition(boundary)
        part.setHasOnlySubstanceUnits(only_amount)
        if amount is not None:
            part.setInitialAmount(amount)
        if concentration is not None:
            part.setInitialConcentration(concentration)
        return self

    def parameter(self, name, value=None, constant=True):
        part = self.model.createParameter()
        part.setId(name), part.setConstant(constant)
        if value is not None:
            part.setValue(value)
        return self

    def reaction(self, name, law, reactants=(), products=(), **local):
        part = self.model.createReaction()
        part.setId(name), part.setReversible(False)
        if part.getLevel() < 3 or part.getVersion() < 2:
            part.setFast(False)
        for side, make in ((reactants, part.createReactant), (products, part.createProduct)):
            for species, count in dict(side).items():
                reference = make()
                reference.setSpecies(species), reference.setStoichiometry(count), reference.setConstant(True)
        kinetic = part.createKineticLaw()
        kinetic.setMath(parsed(law))
        for key, value in local.items():
            parameter = kinetic.createLocalParameter()
            parameter.setId(key), parameter.setValue(value)
        return self

    def rule(self, kind, name, formula):
        part = getattr(self.model, f"create{kind}Rule")()
        if kind != "Algebraic":
            part.setVariable(name)
        part.setMath(parsed(formula))
        return self

    def initially(self, name, formula):
        part = self.model.createInitialAssignment()
        part.setSymbol(name), part.setMath(parsed(formula))
        return self

    def function(self, name, formula):
        part = self.model.createFunctionDefinition()
        part.setId(name), part.setMath(parsed(formula))
        return self

    def event(self, condition, changes, *, delay=None, before=True):
        part = self.model.createEvent()
        part.setUseValuesFromTriggerTime(True)
        trigger = part.createTrigger()
        trigger.setMath(parsed(condition)), trigger.setInitialValue(before), trigger.setPersistent(True)
        for name, formula in changes.items():
            assignment = part.createEventAssignment()
            assignment.setVariable(name), assignment.setMath(parsed(formula))
        if delay is not None:
            part.createDelay().setMath(parsed(delay))
        return self

    @property
    def text(self):
        return libsbml.writeSBMLToString(self.document)


def simulated(model, steps=11, dt=0.5, **options):
    system = fg.from_sbml(model.text, dt=dt, method="rk4", substeps=20, **options)
    return system, np.reshape(system.simulate(steps=steps).outputs, (steps, -1))


def solved(rate, start, steps=11, dt=0.5):
    return solve_ivp(
        rate, (0, (steps - 1) * dt), start, t_eval=dt * np.arange(steps), rtol=1e-11, atol=1e-13, method="DOP853"
    ).y.T


def enzyme():
    """E + S → 2 P in a volume of 2, S in amounts, a source held constant, and a conversion factor."""
    model = Model().compartment("cell", 2.0)
    model.species("S", "cell", amount=3.0, only_amount=True)
    model.species("P", "cell", concentration=0.25).species("X", "cell", amount=5.0, boundary=True)
    model.parameter("k", 0.7).parameter("K", 0.4).parameter("factor", 1.5)
    model.model.setConversionFactor("factor")
    model.reaction("turnover", "k*S/(K + P)", {"S": 1, "X": 1}, {"P": 2})
    return model.reaction("leak", "0.3*cell*P", {"P": 1}, {"S": 1})


def test_amounts_concentrations_and_volumes():
    def rate(t, n):
        s, p = n
        turnover, leak = 0.7 * s / (0.4 + p / 2), 0.3 * 2 * (p / 2)
        return [1.5 * (leak - turnover), 1.5 * (2 * turnover - leak)]

    _, outputs = simulated(enzyme())
    wanted = solved(rate, [3.0, 0.5]) / [1, 2]
    np.testing.assert_allclose(outputs, wanted, rtol=1e-6)
    without = solved(lambda t, n: np.divide(rate(t, n), 1.5), [3.0, 0.5]) / [1, 2]
    assert np.abs(outputs - without).max() > 0.01  # control: without the conversion factor


def test_a_volume_that_changes_dilutes():
    model = Model().compartment("cell", 1.0, constant=False)
    model.species("S", "cell", concentration=2.0).parameter("k", 0.3).parameter("growth", 0.2)
    model.rule("Rate", "cell", "growth*cell").reaction("decay", "k*S*cell", {"S": 1})
    _, outputs = simulated(model)
    amounts = solved(lambda t, n: [-0.3 * n[0], 0.2 * n[1]], [2.0, 1.0])
    np.testing.assert_allclose(outputs[:, 0], amounts[:, 0] / amounts[:, 1], rtol=1e-6)
    assert np.abs(outputs[:, 0] - amounts[:, 0]).max() > 0.1  # control: without dilution


def test_rules_functions_local_parameters_and_initial_assignments():
    model = Model().compartment("c", 1.0).species("S", "c", concentration=1.0).species("T", "c", concentration=0.0)
    model.parameter("k", 0.5).parameter("half", constant=False).parameter("start", 99.0).parameter("level", 99.0)
    model.function("saturated", "lambda(x, m, x/(m + x))")
    model.initially("start", "2*k").initially("S", "3*start").initially("level", "S/6")
    model.rule("Assignment", "half", "level + piecewise(0.2, time < 2, 0.4, (time >= 2) && (time < 3), 0.6)")
    model.reaction("r", "k*saturated(S, half)", {"S": 1}, {"T": 1}, k=0.9)  # its own k

    def rate(t, n):
        half = 0.5 + (0.2 if t < 2 else 0.4 if t < 3 else 0.6)
        v = 0.9 * n[0] / (half + n[0])
        return [-v, v]

    _, outputs = simulated(model)
    first = solved(rate, [3.0, 0.0], steps=5)
    second = solved(lambda t, n: rate(t + 2, n), first[-1], steps=3)
    third = solved(lambda t, n: rate(t + 3, n), second[-1], steps=5)
    wanted = np.concatenate([first, second[1:], third[1:]])
    np.testing.assert_allclose(outputs, wanted, rtol=1e-3)  # a step that ends at a jump sees what is behind it


def test_events_happen_each_time_that_they_begin_to_hold():
    model = Model().compartment("c", 1.0).species("S", "c", concentration=1.0).parameter("k", 1.0, constant=False)
    model.rule("Rate", "S", "k")
    model.event("S > 2.25", {"S": "S - 1", "k": "k/2"})  # it leaves its condition, and comes again
    model.event("time >= 3.2", {"k": "3"})
    model.event("time > 0.5 && time < 100", {"k": "1"}, before=False)
    model.parameter("seen", 0.0, constant=False).event("time >= 3.2", {"seen": "k"})  # as it was before
    _, outputs = simulated(model, outputs=["S", "seen"])
    np.testing.assert_array_equal(outputs[:, 1], [0] * 7 + [0.5] * 4)
    # S = 1 + t up to 2.25 at t = 1.25; then 1.25 + (t - 1.25)/2, up to 2.225 at 3.2; then slope 3
    t = 0.5 * np.arange(11)
    reset = 3.2 + 0.025 / 3
    wanted = np.where(t <= 1.25, 1 + t, np.where(t <= 3.2, 1.25 + (t - 1.25) / 2, 1.25 + 1.5 * (t - reset)))
    again = reset + 1 / 1.5
    wanted = np.where(t > again, 1.25 + 0.75 * (t - again), wanted)
    np.testing.assert_allclose(outputs[:, 0], wanted, rtol=1e-9)


def test_an_event_that_stays_true_happens_once():
    model = Model().compartment("c", 1.0).species("S", "c", concentration=0.0).rule("Rate", "S", "1")
    model.event("S >= 0.8", {"S": "S + 5"})
    _, outputs = simulated(model)
    np.testing.assert_allclose(outputs[:, 0], [0, 0.5] + [6 + 0.5 * k for k in range(9)], rtol=1e-9)


def test_delays():
    model = Model().compartment("c", 1.0).species("S", "c", concentration=1.0).parameter("tau", 0.5)
    model.rule("Rate", "S", "-delay(S, 2*tau)")
    _, outputs = simulated(model, steps=5)  # 1 − t, and a square beside it from t = 1
    t = 0.5 * np.arange(5)
    np.testing.assert_allclose(outputs[:, 0], 1 - t + np.maximum(t - 1, 0) ** 2 / 2, atol=1e-9)


def test_names_that_equation_text_cannot_have():
    model = Model().compartment("dt", 1.0).species("_0", "dt", concentration=2.0).parameter("lambda", 0.5)
    model.reaction("output", "dt*_0/2", {"_0": 1}).parameter("t", 0.25)
    _, outputs = simulated(model)
    np.testing.assert_allclose(outputs[:, 0], 2 * np.exp(-0.25 * np.arange(11)), rtol=1e-6)


MATHEMATICS = {
    "root(3, x)": lambda x: x ** (1 / 3),
    "log(2, x)": lambda x: math.log2(x),
    "log10(x)": math.log10,
    "ln(x)": math.log,
    "ceil(x) + floor(x)": lambda x: math.ceil(x) + math.floor(x),
    "factorial(3)*x": lambda x: 6 * x,
    "sec(x) + csc(x) + cot(x)": lambda x: 1 / math.cos(x) + 1 / math.sin(x) + 1 / math.tan(x),
    "arccosh(x) + arcsin(1/x) + arcsec(x)": lambda x: math.acosh(x) + math.asin(1 / x) + math.acos(1 / x),
    "rem(7, x) + quotient(7, x)": lambda x: math.fmod(7, x) + 7 // x,
    "max(x, 1, 2) - min(x, 1)": lambda x: max(x, 1, 2) - min(x, 1),
    "x^2^-1 - -x": lambda x: x ** (2**-1) + x,
    "-(x^2)/(x - (1 - x))*(2/x/3)": lambda x: -(x**2) / (x - (1 - x)) * (2 / x / 3),
    "piecewise(1, x == 1.7, 2) + piecewise(1, !(x < 1), 2)": lambda x: 2,
    "piecewise(1, xor(x > 1, x > 2), 2) + piecewise(1, 1 < x && x < 2 || x > 5, 2)": lambda x: 2,
    "pi*exponentiale*avogadro*1e-20*x": lambda x: math.pi * math.e * 6.02214179e3 * x,
    "2e-3*x - 1.5E+2": lambda x: 2e-3 * x - 150,
}


def test_mathematics():
    model = (
        Model().compartment("c", 1.0).species("S", "c", concentration=0.0).rule("Rate", "S", "x").parameter("x", 1.7)
    )
    for k, formula in enumerate(MATHEMATICS):
        model.parameter(f"y{k}", constant=False).rule("Assignment", f"y{k}", formula)
    _, outputs = simulated(model, steps=1, outputs=[f"y{k}" for k in range(len(MATHEMATICS))])
    for formula, value in zip(MATHEMATICS, outputs[0], strict=True):
        assert value == pytest.approx(MATHEMATICS[formula](1.7), rel=1e-13), formula


def test_what_is_learned_and_seen():
    model = enzyme()
    system = fg.from_sbml(model.text, dt=0.5)
    assert system.trainable == ("k", "K", "factor")
    system, _ = simulated(model, learned=["k", "S"], outputs=["P", "turnover"])
    assert set(system.trainable) == {"k", "S_0"}
    assert system.output_names == ("P", "turnover")
    with pytest.raises(DeclarationError, match=r"learned=.*'turnover'"):
        fg.sbml_text(model.text, learned=["turnover"])
    with pytest.raises(DeclarationError, match=r"outputs=.*Did you mean 'turnover'"):
        fg.sbml_text(model.text, outputs=["turnovr"])


def test_a_rate_constant_is_found_again():
    _, outputs = simulated(enzyme(), steps=30, dt=0.2)
    system = fg.from_sbml(enzyme().text.replace('value="0.7"', 'value="0.2"'), dt=0.2, substeps=4, learned=["k"])
    noisy = outputs * (1 + 0.01 * np.random.default_rng(0).standard_normal(outputs.shape))
    assert fg.fit(system, None, noisy).params["k"] == pytest.approx(0.7, rel=0.02)


REFUSED = {
    "algebraic": (lambda m: m.rule("Algebraic", None, "S - 1"), "algebraic"),
    "delayed event": (lambda m: m.event("S > 1", {"S": "0"}, delay="2"), "a delay between"),
    "delay": (lambda m: m.rule("Rate", "S", "delay(2*S, 1)"), "'delay' has no counterpart"),
    "delay of a constant": (lambda m: m.parameter("a", 1.0).rule("Rate", "S", "delay(a, 1)"), "only a state variable"),
    "no value": (lambda m: m.parameter("a").initially("S", "a"), "a has no value"),
    "circle": (lambda m: m.initially("S", "2*b").parameter("b").initially("b", "S"), "depends on itself"),
    "no otherwise": (lambda m: m.rule("Rate", "S", "piecewise(1, S > 1)"), "otherwise"),
    "at the start": (lambda m: m.event("time >= 0", {"S": "0"}, before=False), "at the very start"),
    "moment": (lambda m: m.event("S == 1", {"S": "0"}), "begins to hold cannot be found"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_equation_text_cannot_say_is_named(what):
    change, message = REFUSED[what]
    model = Model().compartment("c", 1.0).species("S", "c", concentration=1.0)
    change(model)
    with pytest.raises((DeclarationError, DataError), match=message):
        fg.from_sbml(model.text, dt=1.0)


def test_files_that_are_none(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot be read"):
        fg.sbml_text(tmp_path / "missing.xml")
    with pytest.raises(DataError, match=r"give pathlib\.Path"):
        fg.sbml_text("enzyme.xml")
    with pytest.raises(DataError, match="no valid SBML"):
        fg.sbml_text("<sbml><model/></sbml>")
    with pytest.raises(DeclarationError, match="text of an SBML file"):
        fg.sbml_text(3)
    monkeypatch.setitem(sys.modules, "libsbml", None)
    with pytest.raises(DeclarationError, match=r"pip install 'fwdgrad\[sbml\]'"):
        fg.sbml_text("<sbml/>")


def test_at_the_shell(tmp_path, capsys):
    (tmp_path / "enzyme.xml").write_text(enzyme().text)
    assert main(["init", str(tmp_path / "enzyme.txt"), "--sbml", str(tmp_path / "enzyme.xml")]) == 0
    assert "turnover = k*S/(K + P)" in pathlib.Path(tmp_path / "enzyme.txt").read_text()
    assert main(["analyze", str(tmp_path / "enzyme.xml")]) == 0
    assert "auto: RTRL" in capsys.readouterr().out


def test_a_file_that_is_none_is_named(tmp_path):
    """By its name, not by what stands in it, which is no path."""
    (tmp_path / "table.csv").write_text("time,x\n0,1\n")
    with pytest.raises(DataError, match=r"table\.csv is no SBML") as refusal:
        fg.sbml_text(tmp_path / "table.csv")
    assert "pathlib.Path" not in str(refusal.value)
