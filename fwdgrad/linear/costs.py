"""What products with the Jacobians of a system cost, counted on the programs that compute them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fwdgrad.linear.traced import TracedModel
from fwdgrad.program import Abstract, trace
from fwdgrad.program.closure import kept_entries
from fwdgrad.program.costs import multiply_adds
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.system import System

__all__ = ["Products"]


@dataclass(frozen=True)
class Products:
    """Multiply-adds of the parts of a step; those of a product come on top of those of F.

    Attributes:
        model: F, Y and the loss.
        observed: the same, with the gradient of the loss in the next state and in Y's parameters.
        forward: one product of the transition's Jacobian with a direction of the state.
        both: one product with a direction of state and parameters together.
        backward: one product with a cotangent, for the state and all influential parameters.
        parameters: the same for the parameters alone.
        rows: the same for the leaves of each of `Patterns.row_families`.
        sensitivities: one product with a cotangent down to the results z = Ŵ a of `Patterns.products`.
        others: one for the influential parameters that are not in these products.
        kept: the entries of the state's Jacobian that keep influence on the pattern of ∂F/∂θ.
        sizes: what is made to compare its columns.
    """

    model: int
    observed: int
    forward: int
    both: int
    backward: int
    parameters: int
    rows: tuple[int, ...]
    sensitivities: int
    others: int
    kept: int
    sizes: int

    @staticmethod
    def of(system: System) -> Products:
        """Trace all of them into one program, and count what each part of its outputs needs."""
        model = TracedModel(system)
        x, y = flatten(system.given), flatten(system.y)
        like = [system.initial, *x, *y, *system.coordinates.values()]
        extra = [system.initial, system.initial, *(system.coordinates[k] for k in model.leaves)]
        places: dict[str, list[int]] = {}
        transitions = model.patterns.transition
        numbers = kept_entries(transitions.state, [transitions.leaves[k] for k in model.patterns.influential])

        def every(*flat: Any) -> list[Any]:
            state, rest = flat[0], list(flat[1:])
            given, target = unflatten(system.given, rest[: len(x)]), unflatten(system.y, rest[len(x) : len(x) + len(y)])
            params = dict(zip(system.coordinates, rest[len(x) + len(y) :], strict=False))
            direction, cotangent, *leaves = flat[len(like) :]
            lin = model.linearize(state, given, params)
            seen = model.observe(lin.value, given, target, params)
            back, gradients = lin.vjp(cotangent)
            parts = {
                "F": lin.value,
                "observed": (seen.loss, seen.prediction, *seen.gradient()),
                "forward": lin.jvp(direction),
                "both": lin.jvp(direction, dict(zip(model.leaves, leaves, strict=True))),
                "state": back,
                "kept": lin.state_entries(numbers),
                "sizes": lin.column_sizes(),
                "sensitivities": tuple(term.vjp(cotangent) for term in lin.products().values()),
                **{f"leaf {k}": g for k, g in gradients.items()},
            }
            made: list[Any] = []
            for name, part in parts.items():
                arrays = flatten(part)
                places[name] = list(range(len(made), len(made) + len(arrays)))
                made += arrays
            return made

        program = trace(every, [Abstract.of(a) for a in (*like, *extra)], name="products")

        def cost(*names: str) -> int:
            return multiply_adds(program, [k for name in ("F", *names) for k in places[name]])

        transition = cost()

        def leaves(names: Sequence[str]) -> int:
            return cost(*(f"leaf {k}" for k in names)) - transition

        return Products(
            model=multiply_adds(program, places["F"] + places["observed"][:2]),
            observed=cost("observed"),
            forward=cost("forward") - transition,
            both=cost("both") - transition,
            backward=cost("state", *(f"leaf {k}" for k in model.leaves)) - transition,
            parameters=leaves(model.leaves),
            rows=tuple(leaves(tuple(family.leaves)) for family in model.patterns.row_families),
            sensitivities=cost("sensitivities") - transition,
            others=leaves([k for k in model.leaves if k not in model.patterns.products]),
            kept=cost("kept") - transition,
            sizes=cost("kept", "sizes") - cost("kept"),
        )
