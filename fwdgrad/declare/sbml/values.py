"""What the identifiers of an SBML model stand for: while it runs, at the start, and how fast it changes.

dn/dt = c Σ_r ν_r v_r                  the rate laws v of the reactions, ν the stoichiometry, c a conversion factor
d[S]/dt = 1/V dn/dt                    where the volume is constant; else the amount is the state, and [S] = n/V
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from fwdgrad.declare.sbml.mathml import (
    ATOM,
    SIGN,
    Meaning,
    Written,
    negative,
    number,
    product,
    quotient,
    sum_of,
    written,
)
from fwdgrad.declare.sbml.parts import Parts
from fwdgrad.errors import DeclarationError, did_you_mean

__all__ = ["Values"]

TIME = Written("t", ATOM)


class Values(Parts):
    """The parts of a model with what they stand for.

    Args:
        model: libsbml's.
        learned: see `from_sbml`.

    Attributes:
        running: what formulas mean while the model runs.
        starting: what they mean at the start, in constants.
        definitions: what is defined on the way, by its name.
    """

    def __init__(self, model: Any, learned: Iterable[str] | None) -> None:
        super().__init__(model)
        self.running = Meaning(self._running, self._rate_of, TIME, self._delayed)
        self.starting = Meaning(self._starting, self._rate_of, number(0), lambda x, _: self._starting(x))
        self.under_way: list[str] = []
        self.definitions: dict[str, str] = {}
        self.learned = self._known("learned", learned, self._can_be_learned)

    def _known(self, argument: str, given: Iterable[str] | None, fits: Callable[[str], bool]) -> list[str] | None:
        if given is None:
            return None
        names = [given] if isinstance(given, str) else list(given)
        for name in names:
            if name not in self.names or not fits(name):
                can = [identifier for identifier in self.names if fits(identifier)]
                raise DeclarationError(
                    f"from_sbml({argument}=…): {name!r} is none of those that can be there. {did_you_mean(name, can)}"
                )
        return names

    # ---- what identifiers mean

    def _running(self, identifier: str) -> Written:
        if identifier not in self.names:
            raise DeclarationError(f"SBML: a formula uses {identifier!r}, which is nothing of the model.")
        return Written(self.names[identifier], ATOM)

    def _rate_of(self, identifier: str) -> Written:
        if identifier in self.assigned or identifier in self.amounts:
            raise DeclarationError(f"SBML: rateOf({identifier}) is not that of a state variable.")
        if not self._is_state(identifier):
            return number(0)
        name = f"rate_of_{self.names[identifier]}"
        if name not in self.definitions:
            self.definitions[name] = "0"
            self.definitions[name] = self._rate(identifier).text
        return Written(name, ATOM)

    @abstractmethod
    def _delayed(self, identifier: str, by: Written) -> Written:
        """What an identifier stood for so long ago."""

    def _starting(self, identifier: str) -> Written:
        """What an identifier stands for at the start, in constants."""
        if identifier in self.under_way:
            raise DeclarationError(f"SBML: the initial value of {identifier} depends on itself.")
        self.under_way.append(identifier)
        try:
            return self._start(identifier)
        finally:
            self.under_way.pop()

    def _start(self, identifier: str) -> Written:
        if identifier in self.initial:
            return written(self.initial[identifier], self.starting, f"the initial value of {identifier}")
        if identifier in self.assigned:
            return written(self.assigned[identifier], self.starting, f"the rule of {identifier}")
        if identifier in self.reactions:
            return self._law(identifier, self.starting)
        if self.learned is not None and identifier in self.learned and identifier in self.species:
            return Written(self._start_name(identifier), ATOM)
        if self._is_state(identifier) or identifier in self.species or identifier in self.references:
            return self._given(identifier)
        self._given(identifier)  # refuses what has no value
        return self._running(identifier)

    def _start_name(self, species: str) -> str:
        return f"{self.names[species]}_0"

    def _given(self, identifier: str) -> Written:
        """The initial value that stands in the file."""
        if identifier in self.species:
            return self._given_species(identifier)
        if identifier in self.references:
            return self._stoichiometry(self.references[identifier])
        if identifier in self.compartments:
            value = self.compartments[identifier].getSize() if self.compartments[identifier].isSetSize() else math.nan
        else:
            value = self.parameters[identifier].getValue() if self.parameters[identifier].isSetValue() else math.nan
        if not math.isfinite(value):
            raise DeclarationError(f"SBML: {identifier} has no value.")
        return number(value)

    def _given_species(self, identifier: str) -> Written:
        s = self.species[identifier]
        volume = s.getCompartment()
        concentration = self._is_concentration(identifier)
        if s.isSetInitialConcentration():
            value = number(s.getInitialConcentration())
            return value if concentration else self._scaled(value, volume, product_of=True)
        if s.isSetInitialAmount():
            value = number(s.getInitialAmount())
            return self._scaled(value, volume, product_of=False) if concentration else value
        raise DeclarationError(f"SBML: species {identifier} has no initial value.")

    def _scaled(self, value: Written, volume: str, *, product_of: bool) -> Written:
        """A value times or over a volume at the start: one number where both are numbers."""
        size = self._starting(volume) if volume in self.initial or self._moves(volume) else self._given(volume)
        try:
            a, b = float(value.text), float(size.text)
        except ValueError:
            return product([value, size]) if product_of else quotient(value, size)
        return number(float(f"{a * b if product_of else a / b:.15g}"))

    # ---- how fast it changes

    def _law(self, identifier: str, meaning: Meaning) -> Written:
        law = self.reactions[identifier].getKineticLaw()
        what = f"reaction {identifier}"
        return written(law.getMath() if law is not None else None, meaning, what)

    def _stoichiometry(self, reference: Any) -> Written:
        identifier = reference.getId()
        if identifier and any(identifier in kind for kind in (self.assigned, self.rated, self.initial, self.changed)):
            return self._running(identifier)
        if reference.isSetStoichiometryMath():
            return written(reference.getStoichiometryMath().getMath(), self.running, "a stoichiometry")
        value = reference.getStoichiometry() / reference.getDenominator()
        if not math.isfinite(value):
            raise DeclarationError(f"SBML: {reference.getSpecies()}: a reaction says no stoichiometry.")
        return number(value)

    def _rate(self, identifier: str) -> Written:
        """The rate of change of a state variable."""
        if identifier in self.rated:
            return written(self.rated[identifier], self.running, f"the rate of {identifier}")
        if identifier not in self.effects:
            return number(0)
        terms = self._terms(identifier)
        if not terms:
            return number(0)
        total = sum_of(terms)
        s = self.species[identifier]
        conversion = s.getConversionFactor() or self.model.getConversionFactor()
        if conversion:
            total = product([self._running(conversion), total])
        if self._is_concentration(identifier) and identifier not in self.amounts:
            total = quotient(total, self._running(s.getCompartment()))
        return total

    def _terms(self, species: str) -> list[Written]:
        """What reactions add to a species; numbers of one reaction are added up."""
        net: dict[str, float] = {}
        terms = []
        for reaction, reference, sign in self.effects[species]:
            factor, rate = self._stoichiometry(reference), self._running(reaction.getId())
            if factor.tight in (ATOM, SIGN) and re.fullmatch(r"-?[\d.e+-]+", factor.text):
                net[rate.text] = net.get(rate.text, 0.0) + sign * float(factor.text)
            else:
                term = product([factor, rate])
                terms.append(term if sign > 0 else negative(term))
        for name, count in net.items():
            rate = Written(name, ATOM)
            term = rate if abs(count) == 1 else product([number(abs(count)), rate])
            terms += [] if count == 0 else [term if count > 0 else negative(term)]
        return terms
