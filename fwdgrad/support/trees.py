"""Nested containers of arrays (dict, tuple, list, NamedTuple, None) as flat lists, and back.

Programs and compiled functions take and return flat tuples; users and algorithms speak of dicts and named tuples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["cut", "flatten", "leaf_names", "map_leaves", "parted", "unflatten"]


def flatten(tree: Any) -> list[Any]:
    """The arrays of `tree`, in the order in which they are declared. None holds no array."""
    if tree is None:
        return []
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in flatten(value)]
    if isinstance(tree, (tuple, list)):
        return [leaf for value in tree for leaf in flatten(value)]
    return [tree]


def unflatten(like: Any, leaves: Sequence[Any]) -> Any:
    """`leaves` in the containers of `like`, the inverse of `flatten`."""
    return _built(like, iter(leaves))


def _built(node: Any, rest: Iterator[Any]) -> Any:
    # no function inside `unflatten`: one that calls itself would hold the leaves until the next garbage collection
    if node is None:
        return None
    if isinstance(node, dict):
        return {key: _built(value, rest) for key, value in node.items()}
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return type(node)(*(_built(value, rest) for value in node))
    if isinstance(node, (tuple, list)):
        return type(node)(_built(value, rest) for value in node)
    return next(rest)


def leaf_names(tree: Any, name: str) -> list[str]:
    """A name for every leaf: `name` for a bare array, ``name_key_…`` inside containers."""
    if tree is None:
        return []
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() for leaf in leaf_names(value, f"{name}_{key}")]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return [leaf for key in tree._fields for leaf in leaf_names(getattr(tree, key), f"{name}_{key}")]
    if isinstance(tree, (tuple, list)):
        return [leaf for k, value in enumerate(tree) for leaf in leaf_names(value, f"{name}_{k}")]
    return [name]


def parted(numbers: Any, like: Mapping[str, Any]) -> dict[str, Any]:
    """A vector as arrays by name, one after the other, in the shapes of others.

    Example:
        >>> import numpy as np
        >>> parted(np.arange(3.0), {"a": np.zeros(()), "b": np.zeros(2)})
        {'a': array(0.), 'b': array([1., 2.])}
    """
    return dict(zip(like, cut(numbers, [array.shape for array in like.values()]), strict=True))


def cut(numbers: Any, shapes: Iterable[tuple[int, ...]], axis: int = 0) -> list[Any]:
    """One axis of an array, cut into pieces of given shapes, one after the other; the other axes stay as they are.

    Example:
        >>> import numpy as np
        >>> [piece.shape for piece in cut(np.zeros((5, 7)), [(2, 3), (), (0,)], axis=1)]
        [(5, 2, 3), (5,), (5, 0)]
    """
    before, after = numbers.shape[:axis], numbers.shape[axis + 1 :]
    made, start = [], 0
    for shape in shapes:
        end = start + math.prod(shape)
        made.append(numbers[(slice(None),) * axis + (slice(start, end),)].reshape((*before, *shape, *after)))
        start = end
    return made


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """`function` applied to every array of `tree`."""
    return unflatten(tree, [function(leaf) for leaf in flatten(tree)])
