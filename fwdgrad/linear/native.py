"""What is alive behind a call that autograd differentiates by a rule of its own (`fwdgrad.program.alive`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.builtins import container_take
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_wrapper import array_from_args
from autograd.tracer import getval, isbox

from fwdgrad.program.alive import BY_VALUE, STILL, both, either, kept, lively, narrowed, shown

__all__ = ["alive_of", "left_through", "multiplied", "pulled_through", "pushed_through"]

_RESHAPED = {anp.reshape, anp.ravel, anp.expand_dims}
_GETITEM = ArrayBox.__getitem__
_SUMS = {anp.add, anp.subtract, anp.negative, anp.sum, anp.mean, array_from_args, container_take, _GETITEM, *_RESHAPED}


def alive_of(part: Any, mask: Any) -> Any:
    """What is alive of an array, 0 elsewhere, if it is not finite; anything else as it is."""
    if not isinstance(part, (np.ndarray, np.generic)) or mask is None or mask is BY_VALUE or np.isfinite(part).all():
        return part
    left = kept(part, mask)
    return np.zeros_like(part) if left is None else left


def _pointwise(fun: Any) -> bool:
    function = getattr(fun, "fun", None)
    return isinstance(function, np.ufunc) and function.signature is None


def _linear(fun: Any, number: int) -> bool:
    return fun in _SUMS or fun in (anp.multiply, anp.matmul, anp.dot) or (fun is anp.divide and number == 0)


def pulled_through(
    fun: Any, args: Sequence[Any], moving: Sequence[int], wild: Sequence[bool], g: Any, mask: Any
) -> list[Any]:
    """Masks of the arguments that move, from that of the cotangent g of the result: backward.

    `wild` says of each of them whether it may change at an infinite rate.
    """
    if mask is BY_VALUE:
        beside = [any(w for j, w in enumerate(wild) if j != k) for k in range(len(moving))]
        linear = [_linear(fun, k) and (fun in _SUMS or not b) for k, b in zip(moving, beside, strict=True)]
        if all(linear) or not isinstance(g, (np.ndarray, np.generic)):
            return [BY_VALUE for _ in moving]
        told = pulled_through(fun, args, moving, wild, g, shown(mask, g))
        return [BY_VALUE if one else m for one, m in zip(linear, told, strict=True)]
    if mask is None:
        return [None for _ in moving]
    mask = np.broadcast_to(mask, np.shape(g))
    if _pointwise(fun):
        return [narrowed(mask, np.shape(g), np.shape(getval(args[k]))) for k in moving]
    if fun in _RESHAPED:
        return [np.reshape(mask, np.shape(getval(args[0])))]
    if fun is array_from_args and np.ndim(g):
        return [mask[k - 2] for k in moving]
    if fun is _GETITEM and not isbox(args[1]):
        made = np.zeros(np.shape(getval(args[0])), bool)
        np.logical_or.at(made, args[1], mask)
        return [made]
    some = None if bool(lively(mask)) else STILL
    return [some for _ in moving]


def left_through(
    fun: Any, args: Sequence[Any], moving: Sequence[int], wild: Sequence[bool], g: Any, mask: Any
) -> list[Any]:
    """`pulled_through`, and nothing of what is multiplied by a 0 that does not move."""
    masks = pulled_through(fun, args, moving, wild, g, mask)
    if fun is anp.multiply and len(moving) == 1:
        factor = np.asarray(getval(args[1 - moving[0]]))
        if np.broadcast_shapes(factor.shape, np.shape(getval(args[moving[0]]))) == np.shape(getval(args[moving[0]])):
            masks = [both(masks[0], factor != 0)]
    return masks


def pushed_through(
    fun: Any, args: Sequence[Any], moving: Sequence[int], value: Any, gs: Sequence[Any], masks: Sequence[Any]
) -> Any:
    """The mask of the result `value`, from those of the tangents of the arguments that move: forward."""
    alone = fun in _SUMS or len(moving) == 1
    if alone and all(m is BY_VALUE and _linear(fun, k) for k, m in zip(moving, masks, strict=True)):
        return BY_VALUE
    if not isinstance(value, (np.ndarray, np.generic)):
        return BY_VALUE
    masks = [shown(m, g) for m, g in zip(masks, gs, strict=True)]
    wide = np.shape(value)
    if fun is array_from_args and wide:
        made = np.zeros(wide, bool)
        for k, mask in zip(moving, masks, strict=True):
            made[k - 2] = True if mask is None else mask
        return None if made.all() else made
    if any(mask is None for mask in masks):
        return None
    if _pointwise(fun):
        total: Any = STILL
        for mask in masks:
            total = either(total, mask)
        return None if total is None else np.broadcast_to(total, wide)
    whole = np.broadcast_to(masks[0], np.shape(getval(args[moving[0]])))
    if fun in _RESHAPED:
        return np.reshape(whole, wide)
    if fun is _GETITEM and not isbox(args[1]):
        return whole[args[1]]
    return None if any(map(lively, masks)) else STILL


def multiplied(args: Sequence[Any], moving: Sequence[int], gs: Sequence[Any], wild: Sequence[bool]) -> Any:
    """The tangent of a product: 0 of what is multiplied by a 0 that does not change at an infinite rate."""
    total: Any = 0.0
    for k, g in zip(moving, gs, strict=True):
        factor = getval(args[1 - k])
        steady = not any(w for j, w in zip(moving, wild, strict=True) if j != k)
        total = total + (np.where(factor != 0, g * factor, 0.0) if steady else g * factor)
    return total
