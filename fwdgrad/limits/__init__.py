"""A laboratory for δt → 0: what gradient estimators become in continuous time, measured on the user's own system.

`refine` runs estimators down a ladder of steps with θ fixed; `diffusion` simulates their limit; `learning` and
`multilevel` ask for the law of θ(t) while it is learned; `per_time` gives an optimizer rates per unit of time.

The pieces: `timed` makes δt an input of the map, so that what is compiled once serves every δt; `reference` solves the
limit without noise by scipy; `lockstep`, `replicas` and `learners` run many replicas side by side; `brownian` has noise
that a smaller δt refines; `injected` and `unscaled` are the variants that a study compares.
"""

from fwdgrad.limits.brownian import BrownianPath, brownian_path
from fwdgrad.limits.diffusion import Limit, diffusion, same_law
from fwdgrad.limits.ladder import refine
from fwdgrad.limits.learning import Law, learning
from fwdgrad.limits.multilevel import Multilevel, multilevel
from fwdgrad.limits.rates import per_time
from fwdgrad.limits.report import Refined, Refinement

__all__ = [
    "BrownianPath",
    "Law",
    "Limit",
    "Multilevel",
    "Refined",
    "Refinement",
    "brownian_path",
    "diffusion",
    "learning",
    "multilevel",
    "per_time",
    "refine",
    "same_law",
]
