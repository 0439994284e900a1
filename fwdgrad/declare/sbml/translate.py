"""SBML (Systems Biology Markup Language, Levels 1 to 3): a model file as equation text.

What a file means follows the specification (Hucka et al., J. Integr. Bioinform. 16, 2019,
sections 3.4 and 4). A species stands for its concentration, n/V, or for its amount if it has only substance units:

    dn/dt = c Σ_r ν_r v_r                  the rate laws v of the reactions, ν the stoichiometry, c a conversion factor
    d[S]/dt = 1/V dn/dt                    where the volume is constant; else the amount is the state, and [S] = n/V
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import libsbml

from fwdgrad.declare.expressions import evaluate
from fwdgrad.declare.functions import CONSTANTS
from fwdgrad.declare.parse import parse
from fwdgrad.declare.places import Argument
from fwdgrad.declare.sbml.mathml import (
    ATOM,
    Written,
    margin,
    negative,
    number,
    product,
    quotient,
    written,
)
from fwdgrad.declare.sbml.values import TIME, Values
from fwdgrad.errors import DeclarationError

__all__ = ["Translation"]


@dataclass
class _Happening:
    """An event, or several that are triggered by the same formula.

    Attributes:
        called: its name.
        key: what events that happen together have in common.
        moment: its time, if that is a number.
        level: a number that is positive where the trigger holds.
        held: whether the trigger counts as true before the start.
        new: what identifiers become.
    """

    called: str
    key: Any
    moment: str | None
    level: Written
    held: bool
    new: dict[str, Written]


class Translation(Values):
    """One model to text.

    Args:
        model: libsbml's.
        learned: see `from_sbml`.
        outputs: see `from_sbml`.
    """

    def __init__(self, model: Any, learned: Iterable[str] | None, outputs: Iterable[str] | None) -> None:
        super().__init__(model, learned)
        self.outputs = self._known("outputs", outputs, self._can_be_seen)

    # ---- events

    def _event_lines(self) -> list[str]:
        """What happens, in the order of priorities; what is triggered by the same formula happens at once."""
        events = list(self.model.getListOfEvents())
        priorities = [self._constant(e.getPriority(), 0.0, "a priority") for e in events]
        happenings: dict[Any, _Happening] = {}
        for k in sorted(range(len(events)), key=lambda k: -priorities[k]):
            event = self._happening(events[k], k)
            if event is not None:
                same = happenings.setdefault(event.key, event)
                if same is not event:
                    same.new = {**{v: same.new[v] for v in same.new if v not in event.new}, **event.new}
        return [line for event in happenings.values() for line in self._lines(event)]

    def _constant(self, part: Any, default: float, what: str) -> float:
        """The number of an event's part."""
        if part is None or not part.isSetMath():
            return default
        try:
            return float(written(part.getMath(), self.running, what).text)
        except ValueError:
            raise DeclarationError(f"SBML: an event: {what} is a number in equation text, not a formula.") from None

    def _happening(self, event: Any, k: int) -> _Happening | None:
        called = event.getId() or f"event {k + 1}"
        if self._constant(event.getDelay(), 0.0, "a delay") != 0.0:
            raise DeclarationError(f"SBML: {called}: a delay between trigger and change has no counterpart.")
        new = {
            a.getVariable(): written(a.getMath(), self.running, called)
            for a in event.getListOfEventAssignments()
            if a.isSetMath()
        }
        trigger = event.getTrigger()
        if not new or trigger is None or not trigger.isSetMath():
            return None
        moment, held = self._moment(trigger.getMath()), trigger.getInitialValue()
        level = margin(trigger.getMath(), self.running, called)
        if not held and self._starts_at_once(margin(trigger.getMath(), self.starting, called), called):
            raise DeclarationError(
                f"SBML: {called} happens at the very start: put what it changes into the initial values."
            )
        together = event.getUseValuesFromTriggerTime() and (trigger.getPersistent() or moment is not None)
        return _Happening(called, (level.text, held) if together else k, moment, level, held, new)

    def _starts_at_once(self, level: Written, called: str) -> bool:
        """Whether a trigger holds at the start, where it counts as new."""
        return self._number(level, called) >= 0

    def _number(self, formula: Written, what: str) -> float:
        """A formula of constants, with the values in the file."""
        place = Argument("SBML", what)
        constants = {name: float(value.text) for name, (value, _) in self._constants().items()}
        try:
            return float(evaluate(parse(formula.text, place), CONSTANTS | constants))
        except KeyError as error:
            raise DeclarationError(f"SBML: {what}: {error} is no constant.") from None

    def _delayed(self, identifier: str, by: Written) -> Written:
        what = f"delay({identifier}, {by.text})"
        if not self._is_state(identifier) or identifier in self.amounts:
            raise DeclarationError(f"SBML: {what}: only a state variable has a past in equation text.")
        before = written(self.initial[identifier], self.running, what).text if identifier in self.initial else ""
        if re.search(rf"\b{TIME.text}\b", before):
            raise DeclarationError(
                f"SBML: {what}: before the start it is what it is there, and not a function of time."
            )
        reach = "" if by.text.replace(".", "", 1).isdigit() else f", {number(2 * self._number(by, what)).text}"
        return Written(f"delay({self._running(identifier).text}, {by.text}{reach})", ATOM)

    def _lines(self, event: _Happening) -> list[str]:
        changes = "; ".join(f"{self._changed_name(v)} = {self._changed_value(v, event.new)}" for v in event.new)
        if event.moment is not None:
            return [f"at t = {event.moment}: {changes}"]
        happened = self._unique("happened")
        return [
            f"# {event.called}: once each time that it begins to hold",
            f"d {happened}/dt = 0",
            f"{happened}(0) = {int(event.held)}",
            f"when min({event.level.text}, 0.5 - {happened}) > 0: {changes}; {happened} = 1",
            f"when min({negative(event.level).text}, {happened} - 0.5) > 0: {happened} = 0",
        ]

    def _changed_name(self, identifier: str) -> str:
        return self.amounts.get(identifier, self.names[identifier])

    def _changed_value(self, identifier: str, new: dict[str, Written]) -> str:
        if identifier not in self.amounts:
            return new[identifier].text
        volume = self.species[identifier].getCompartment()
        return product([new[identifier], new.get(volume, self._running(volume))]).text

    @staticmethod
    def _moment(node: Any) -> str | None:
        """The time of a trigger such as time ≥ 24, if it is one."""
        later = (libsbml.AST_RELATIONAL_GEQ, libsbml.AST_RELATIONAL_GT)
        earlier = (libsbml.AST_RELATIONAL_LEQ, libsbml.AST_RELATIONAL_LT)
        if node.getType() not in later + earlier or node.getNumChildren() != 2:
            return None
        left, right = node.getChild(0), node.getChild(1)
        if node.getType() in earlier:
            left, right = right, left
        if left.getType() != libsbml.AST_NAME_TIME or not right.isNumber() or not right.getValue() > 0:
            return None
        return number(right.getValue()).text

    # ---- the text

    def text(self) -> str:
        """The model."""
        rates = self._rates()
        events = self._event_lines()
        self._define()
        seen = self._seen()
        needed = self._needed("\n".join([*rates, *events, *seen]))
        title = " ".join(f"{self.model.getName() or self.model.getId() or 'an SBML model'}".split())
        parts = [
            [f"# {title}, from SBML"],
            rates,
            [f"{name} = {text}" for name, text in self.definitions.items() if name in needed],
            events,
            [self._parameter(name, *given) for name, given in self._constants().items() if name in needed],
            seen,
        ]
        return "\n\n".join("\n".join(part) for part in parts if part) + "\n"

    def _seen(self) -> list[str]:
        """The lines of outputs."""
        seen = self.outputs
        if seen is None:
            moving = [s for s in self.species if self._is_state(s) or s in self.amounts or s in self.assigned]
            seen = moving or [identifier for identifier in self.names if self._can_be_seen(identifier)]
        return [f"output {self.names[identifier]}" for identifier in seen]

    def _rates(self) -> list[str]:
        lines = []
        for identifier, name in self.names.items():
            if not self._is_state(identifier):
                continue
            rate, start = self._rate(identifier), self._starting(identifier)
            if identifier in self.amounts:
                name = self.amounts[identifier]
                start = product([start, self._starting(self.species[identifier].getCompartment())])
            said = self.species[identifier].getName() if identifier in self.species else ""
            comment = f"  # {' '.join(said.split())}" if said and said != identifier else ""
            lines += [f"d {name}/dt = {rate.text}{comment}", f"{name}(0) = {start.text}"]
        return lines

    def _define(self) -> None:
        """The definitions: rules, rate laws, concentrations where volumes change, constants that are computed."""
        for identifier in self.reactions:
            self.definitions[self.names[identifier]] = self._law(identifier, self.running).text
        for identifier, node in self.assigned.items():
            what = f"the rule of {identifier}"
            self.definitions[self.names[identifier]] = written(node, self.running, what).text
        for identifier, name in self.amounts.items():
            volume = self._running(self.species[identifier].getCompartment())
            self.definitions[self.names[identifier]] = quotient(Written(name, ATOM), volume).text
        for identifier in self.names:
            if self._is_state(identifier) or identifier in self.assigned or identifier in self.reactions:
                continue
            formula = identifier in self.species and self._constant_value(identifier) is None
            if identifier in self.initial or formula:
                name = self.amounts.get(identifier, self.names[identifier])
                self.definitions[name] = self._initial_amount(identifier).text

    def _initial_amount(self, identifier: str) -> Written:
        start = self._starting(identifier)
        if identifier not in self.amounts:
            return start
        return product([start, self._starting(self.species[identifier].getCompartment())])

    def _constants(self) -> dict[str, tuple[Written, bool]]:
        """The number of every constant by its name, and whether it is learned."""
        made = {}
        for identifier, name in self.names.items():
            if identifier in self.reactions or identifier in self.assigned or identifier in self.initial:
                continue
            chosen = self.learned is not None and identifier in self.learned
            if self._is_state(identifier):
                if chosen and identifier in self.species:
                    made[self._start_name(identifier)] = self._given(identifier), True
                continue
            value = self._constant_value(identifier)
            if value is not None:
                free = identifier in self.parameters and (self.learned is None or chosen)
                made[self.amounts.get(identifier, name)] = value, free
        return made

    def _constant_value(self, identifier: str) -> Written | None:
        """The number of a constant; None if it has none, or a formula."""
        try:
            value = self._initial_amount(identifier) if identifier in self.amounts else self._given(identifier)
            float(value.text)
        except (DeclarationError, ValueError):
            return None
        return value

    @staticmethod
    def _parameter(name: str, value: Written, free: bool) -> str:
        bounds = " in (0, inf)" if free and value.tight == ATOM and value.text != "0" else ""
        return f"param {name} = {value.text}{bounds}{'' if free else ' fixed'}"

    def _needed(self, text: str) -> set[str]:
        """The names in a text, and in the definitions that it uses."""
        found: set[str] = set()
        texts = [text]
        while texts:
            new = set(re.findall(r"[^\W\d]\w*", texts.pop())) - found
            found |= new
            texts += [self.definitions[name] for name in new if name in self.definitions]
        return found
