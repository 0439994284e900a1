"""What is raised when a program contains something that cannot be compiled."""

from __future__ import annotations

from fwdgrad.errors import UnsupportedOperationError

__all__ = ["UnsupportedOperation"]


class UnsupportedOperation(UnsupportedOperationError):
    """An operation, or a form of one, that this engine cannot write as a loop. The NumPy engine can run it."""

    def __init__(self, operation: str, why: str) -> None:
        super().__init__(f"{operation}: {why}.\nThe compiled engine cannot run it; use engine='numpy'.")
        self.operation, self.why = operation, why
