"""Other recursions of the same kind: second derivatives, hidden Markov models, systems that choose at random."""

from fwdgrad.beyond import choices, hidden_markov, second_order

__all__ = ["choices", "hidden_markov", "second_order"]
