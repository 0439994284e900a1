"""`compare`: gradient estimators held against the exact gradient, on the user's own system and data, with θ fixed.

The pieces, in the order in which they are used: `declare` checks what was asked for; `study` runs an estimator once
over the sequence and reads its gradients, block by block; `reference` makes the exact ones; `cost` measures time and
memory; `replicas` repeats random estimators; `statistics` says what follows from the replicas; `report` and `picture`
show it.
"""

from fwdgrad.comparison.choosing import Choice, choose
from fwdgrad.comparison.report import Comparison
from fwdgrad.comparison.run import compare
from fwdgrad.comparison.statistics import Estimate

__all__ = ["Choice", "Comparison", "Estimate", "choose", "compare"]
