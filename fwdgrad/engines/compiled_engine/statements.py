"""Statements of a nest of loops, and folding those into one that are used once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

__all__ = ["Statement", "copies", "folded", "shown"]

LONGEST = 96
"""Statements are folded into another only if it does not get longer than this."""

_WORD = re.compile(r"[^\W\d]\w*")
_ATOM = re.compile(r"-?[\w.]+(\[[^\[\]]*\])?|[\w.]+\([^()]*\)")


@dataclass
class Statement:
    """``target sign text  # note``. `value`: it names a value, and may be written where the value is used instead."""

    target: str
    text: str
    sign: str = "="
    note: str = ""
    value: bool = False


def shown(statement: Statement) -> str:
    """As source."""
    text = statement.text
    head = f"{statement.target} {statement.sign} {text}" if statement.target else text
    return f"{head}  # {statement.note}" if statement.note else head


def folded(statements: Sequence[Statement], elsewhere: str) -> list[Statement]:
    """Statements of one depth, with values that are used once, and here, written where they are used.

    Values are not moved into the alternatives of a choice, where they would be computed under a condition, and not
    behind a store, which may change what they read: `elsewhere` is the source of all other statements of the nest.
    """
    used = Counter(_WORD.findall(elsewhere))
    for statement in statements:
        used.update(_WORD.findall(f"{statement.text} {statement.target if statement.sign != '=' else ''}"))
    kept: list[Statement] = []
    waiting: dict[str, Statement] = {}
    for statement in statements:
        for word in dict.fromkeys(_WORD.findall(statement.text)):
            source = waiting.get(word)
            if source is None or " if " in statement.text:
                continue
            alone = _ATOM.fullmatch(source.text) or statement.text == word or f"({word})" in statement.text
            text = source.text if alone else f"({source.text})"
            whole = re.sub(rf"(?<![\w.]){re.escape(word)}(?!\w)", text, statement.text)
            if len(whole) + len(statement.target) <= LONGEST:
                statement.text = whole
                kept.remove(source)
                del waiting[word]
        kept.append(statement)
        if statement.value and used[statement.target] == 1 and " if " not in statement.text:
            waiting[statement.target] = statement
    return kept


def copies(
    levels: Sequence[Sequence[Statement]], loop: str, count: int, rename: Callable[[str, int], str]
) -> list[list[Statement]]:
    """Statements inside of a loop, for `count` of its turns at once; names they define get new ones in each turn."""
    own = {x.target for level in levels for x in level if x.sign == "=" and _WORD.fullmatch(x.target)}

    def turned(text: str, turn: int) -> str:
        def word(match: re.Match[str]) -> str:
            found = match.group()
            if found == loop:
                return f"({loop} + {turn})" if turn else loop
            return rename(found, turn) if found in own else found

        return _WORD.sub(word, text).replace(f"[({loop} + {turn})]", f"[{loop} + {turn}]")

    return [
        [replace(x, target=turned(x.target, turn), text=turned(x.text, turn)) for turn in range(count) for x in level]
        for level in levels
    ]
