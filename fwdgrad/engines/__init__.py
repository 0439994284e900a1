"""Engines turn a traced program into something that runs."""
