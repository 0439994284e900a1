"""What `check` found, as rows and as a table."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from fwdgrad.errors import DeclarationError
from fwdgrad.support import display

__all__ = ["CheckReport", "CheckRow"]


@dataclass(frozen=True)
class CheckRow:
    """One comparison.

    Attributes:
        what: what was compared.
        points: how many numbers were compared.
        error: the largest relative difference, beyond the uncertainty of the finite differences.
        tolerance: the largest one that is accepted.
        verdict: "ok"; "FAILED"; "unclear" if finite differences could not tell; "skipped"; "coarse"
            of steps δt that are too long.
        note: where the largest difference is, or why there is no verdict.
    """

    what: str
    points: int
    error: float
    tolerance: float
    verdict: str
    note: str = ""

    def _repr_html_(self) -> str:
        return display.page(f"{self.what}: {self.verdict}", display.pairs(vars(self).items()))


@dataclass(frozen=True)
class CheckReport:
    """What `check` found; ``print`` it.

    Attributes:
        system: the system in words.
        engine: the engine that was checked.
        reason: why the functions cannot be traced; empty if they can.
        rows: the comparisons.
    """

    system: str
    engine: str
    reason: str
    rows: tuple[CheckRow, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(row.verdict != "FAILED" for row in self.rows)

    def raise_if_failed(self) -> None:
        """Turn a failure into an error.

        Raises:
            DeclarationError: a comparison failed.
        """
        bad = [row for row in self.rows if row.verdict == "FAILED"]
        if bad:
            shown = "\n".join(f"  {row.what}: error {row.error:.1e}. {row.note}".rstrip() for row in bad[:3])
            more = f"\n  and {len(bad) - 3} more" if len(bad) > 3 else ""
            raise DeclarationError(f"fg.check found something wrong ({self.system.split(':')[0]}):\n{shown}{more}")

    def __repr__(self) -> str:
        return f"CheckReport of {self.system.split(':')[0]}: {'nothing failed' if self.ok else 'something is wrong'}"

    def _repr_html_(self) -> str:
        rows = [("", "numbers", "error", "allowed", "verdict", "")]
        for row in self.rows:
            error, allowed = (f"{v:.0e}" if v else "0" for v in (row.error, row.tolerance))
            note = row.note if row.verdict != "ok" else ""
            rows.append((row.what, str(row.points), error, allowed, row.verdict, note))
        failed = [k for k, row in enumerate(self.rows) if row.verdict == "FAILED"]
        how = f"Not traceable: {self.reason} Engine {self.engine}." if self.reason else f"Traced. Engine {self.engine}."
        parts = (display.paragraph(f"{self.system}\n{how}"), display.table(rows, marked=failed))
        return display.page("Nothing failed." if self.ok else "Something is wrong.", *parts)

    def __str__(self) -> str:
        how = f"Not traceable: {self.reason} Engine {self.engine}." if self.reason else f"Traced. Engine {self.engine}."
        lines = [*textwrap.wrap(self.system, 79), *textwrap.wrap(how, 79), ""]
        lines.append(f"{'':42}{'numbers':>7}  {'error':>7}  {'allowed':>7}  verdict")
        for row in self.rows:
            error, allowed = (f"{v:.0e}" if v else "0" for v in (row.error, row.tolerance))
            lines.append(f"{row.what:42}{row.points:7}  {error:>7}  {allowed:>7}  {row.verdict}")
            if row.note and row.verdict != "ok":
                lines += textwrap.wrap(row.note, 77, initial_indent="    ", subsequent_indent="    ")
        coarse = any(row.verdict == "coarse" for row in self.rows)
        end = "Nothing failed, but steps are too long." if coarse else "Nothing failed."
        return "\n".join([*lines, "", end if self.ok else "Something is wrong."])
