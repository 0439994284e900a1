"""Where the variables of a function are declared in C: in the smallest blocks that have all their uses."""

from __future__ import annotations

import ast
from collections.abc import Sequence

__all__ = ["assigned", "homes"]


def _blocks_of(line: ast.stmt) -> list[list[ast.stmt]]:
    """The blocks inside a statement."""
    return [part for part in (getattr(line, "body", []), getattr(line, "orelse", [])) if part]


def _own(line: ast.stmt) -> list[ast.AST]:
    """What a statement has besides blocks."""
    if isinstance(line, ast.For):
        return [line.iter]
    if isinstance(line, (ast.While, ast.If)):
        return [line.test]
    return [line]


def _mentions(name: str, nodes: Sequence[ast.AST]) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for node in nodes for n in ast.walk(node))


def assigned(body: Sequence[ast.stmt]) -> set[str]:
    """The variables that are given a value somewhere, but for those of loops."""
    made = set()
    for node in (n for line in body for n in ast.walk(line)):
        if isinstance(node, ast.Assign):
            parts = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets
            made |= {part.id for part in parts if isinstance(part, ast.Name)}
    return made


def homes(name: str, body: list[ast.stmt]) -> list[list[ast.stmt]]:
    """The smallest blocks that have all uses of a variable each, where it is given a value before it is used."""
    if any(_mentions(name, _own(line)) for line in body):
        return [body]
    inside = [block for line in body for block in _blocks_of(line) if _mentions(name, block)]
    if not all(_begins(name, block) for block in inside):
        return [body]
    return [home for block in inside for home in homes(name, block)]


def _begins(name: str, block: list[ast.stmt]) -> bool:
    """Whether the first that a block does with a variable is to give it a value."""
    line = next(line for line in block if _mentions(name, [line]))
    if isinstance(line, ast.Assign):
        return name in assigned([line]) and not _mentions(name, [line.value])
    if _mentions(name, _own(line)):
        return False
    return all(_begins(name, inner) for inner in _blocks_of(line) if _mentions(name, inner))
