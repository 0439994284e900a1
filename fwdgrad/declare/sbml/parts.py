"""The parts of an SBML model: compartments, species, parameters, reactions, rules; and which of them move."""

from __future__ import annotations

from typing import Any

from fwdgrad.declare.parse import name_problem
from fwdgrad.declare.text import RESERVED
from fwdgrad.errors import DeclarationError

__all__ = ["Parts"]


class Parts:
    """What there is in a model, what it is called in equation text, and what follows what.

    Args:
        model: libsbml's.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.compartments = {c.getId(): c for c in model.getListOfCompartments()}
        self.species = {s.getId(): s for s in model.getListOfSpecies()}
        self.parameters = {p.getId(): p for p in model.getListOfParameters()}
        self.reactions = {r.getId(): r for r in model.getListOfReactions()}
        self.assigned: dict[str, Any] = {}
        self.rated: dict[str, Any] = {}
        self._rules()
        self.initial = {a.getSymbol(): a.getMath() for a in model.getListOfInitialAssignments()}
        self.changed = {
            assignment.getVariable()
            for event in model.getListOfEvents()
            for assignment in event.getListOfEventAssignments()
            if assignment.isSetMath()
        }
        self.effects: dict[str, list[tuple[Any, Any, int]]] = {}
        self.references: dict[str, Any] = {}
        self._reactions()
        self.taken: set[str] = set()
        everything = [*self.species, *self.parameters, *self.compartments, *self.reactions, *self.references]
        self.names = {identifier: self._unique(identifier) for identifier in everything}
        self.amounts = {s: self._unique(f"amount_{s}") for s in self.species if self._is_amount(s)}

    # ---- what there is

    def _rules(self) -> None:
        for rule in self.model.getListOfRules():
            if rule.isAlgebraic():
                raise DeclarationError("SBML: an algebraic rule says 0 = …; solve it for one variable.")
            (self.assigned if rule.isAssignment() else self.rated)[rule.getVariable()] = rule.getMath()

    def _reactions(self) -> None:
        for identifier, reaction in self.reactions.items():
            if reaction.isSetFast() and reaction.getFast():
                raise DeclarationError(f"SBML: reaction {identifier}: fast reactions are at equilibrium at all times.")
            sides = ((reaction.getListOfReactants(), -1), (reaction.getListOfProducts(), 1))
            for reference, sign in ((r, sign) for side, sign in sides for r in side):
                if reference.isSetId():
                    self.references[reference.getId()] = reference
                species = self.species[reference.getSpecies()]
                if not (species.getBoundaryCondition() or species.getConstant()):
                    self.effects.setdefault(species.getId(), []).append((reaction, reference, sign))

    def _unique(self, identifier: str) -> str:
        """What an identifier is called in equation text."""
        name = identifier.lstrip("_")[:56] or "x"
        name = f"x{name}" if name[0].isdigit() else name
        while name in self.taken or name in RESERVED or name in ("t", "pi") or name_problem(name):
            name += "_"
        self.taken.add(name)
        return name

    def _moves(self, compartment: str) -> bool:
        return any(compartment in kind for kind in (self.assigned, self.rated, self.changed))

    def _is_concentration(self, species: str) -> bool:
        """Whether the species' name stands for its concentration."""
        s = self.species[species]
        still = self.compartments[s.getCompartment()]
        return not s.getHasOnlySubstanceUnits() and not (
            still.isSetSpatialDimensions() and still.getSpatialDimensionsAsDouble() == 0
        )

    def _is_amount(self, species: str) -> bool:
        """Whether its amount is followed where its concentration is meant, because the volume changes."""
        return (
            self._is_concentration(species)
            and self._moves(self.species[species].getCompartment())
            and species not in self.assigned
            and species not in self.rated
        )

    def _is_state(self, identifier: str) -> bool:
        if identifier in self.assigned:
            return False
        return identifier in self.rated or identifier in self.changed or identifier in self.effects

    def _can_be_learned(self, identifier: str) -> bool:
        if identifier in self.species:
            return self._is_state(identifier) and identifier not in self.initial
        return identifier in self.parameters and identifier not in self.assigned and identifier not in self.initial

    def _can_be_seen(self, identifier: str) -> bool:
        if identifier in self.reactions or identifier in self.amounts:
            return True
        return identifier in self.names and (self._is_state(identifier) or identifier in self.assigned)
