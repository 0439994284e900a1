"""Learning online: the learner, what it goes through samples with, and what it says of what it has learned."""
