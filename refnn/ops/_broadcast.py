"""Arithmetic of two arrays that broadcast against each other, and the adjoint of broadcasting: a sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, nan
from typing import Any

from refnn.arithmetic.broadcast import common
from refnn.op import Half, Input, Op, Special, Variant

Array = Any
Slopes = Callable[..., tuple[Array, Array]]

# One shape, a row, a row and a column, 0-d, a long row, channels of images, an empty batch.
SHAPES = (
    ((5, 7), (5, 7)),
    ((3, 5), (5,)),
    ((4, 1), (1, 7)),
    ((), (3,)),
    ((1031,), (1031,)),
    ((2, 3, 5, 4), (3, 1, 1)),
    ((4, 6), ()),
    ((0, 4), (4,)),
)


def summed_to(ar: Any, g: Array, of: tuple[int, ...], shape: tuple[int, ...], saved: bool = False) -> Array:
    """The adjoint of broadcasting an array from `shape` to the shape `of`: a sum over the axes that were added or were
    of length 1, in any order. `saved` says that another kernel made the terms, and stored them."""
    if of == shape:
        return g
    added = len(of) - len(shape)
    stretched = (added + a for a, n in enumerate(shape) if n == 1 != of[added + a])
    axes = (*range(added), *stretched)
    total = ar.sum(ar.saved(g) if saved else g, axes) if axes else g
    return total.reshape(shape) if shape else total


def validate(op: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], None]:
    """The rule of two arrays that broadcast."""

    def validate(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        try:
            common(inputs["x"].shape, inputs["other"].shape)
        except ValueError as e:
            raise ValueError(f"{op}: x and other have the {e}") from None

    return validate


def binary(
    name: str,
    forward: Half,
    slopes: Slopes,
    special: tuple[Special, ...],
    *,
    saved: bool = True,
    poles: tuple[float, ...] = (),
) -> Op:
    """The op of two arrays that broadcast. `slopes(ar, g, y, x, other)` gives the gradients before they are summed;
    `saved` says that they are computed, and not the cotangent itself; `poles` are those of `other`."""

    def vjp(ar: Any, g: Array, y: Array, x: Array, other: Array) -> tuple[Array, Array]:
        by_x, by_other = slopes(ar, g, y, x, other)
        of = common(x.shape, other.shape)
        return summed_to(ar, by_x, of, x.shape, saved), summed_to(ar, by_other, of, other.shape, saved)

    return Op(
        name=name,
        forward_definition=forward,
        vjp_definition=vjp,
        inputs={"x": Input(), "other": Input(poles=poles)},
        validate=validate(name),
        variants=tuple(Variant({"x": x, "other": other}) for x, other in SHAPES),
        special=special,
    )


def sums(sign: int) -> tuple[Special, ...]:
    """The table of special values of x + other, or of x - other if `sign` is -1."""
    rows = (
        (nan, 1.0, nan, "NaN in gives NaN out; no gradient depends on it"),
        (1.0, nan, nan, "likewise"),
        (inf, 1.0, inf, "an infinite term"),
        (-inf, 1.0, -inf, "likewise"),
        (1.0, inf, inf * sign, "likewise"),
        (1.0, -inf, -inf * sign, "likewise"),
        (inf, -inf * sign, nan, "infinity less infinity"),
        (inf, inf * sign, inf, "infinities of one sign"),
        (-0.0, 0.0 if sign < 0 else -0.0, "-0", "the sum of negative zeros is one"),
        (0.0, 0.0 if sign > 0 else -0.0, "+0", "zeros of either sign add up to zero"),
    )
    found = [Special((x, other), y, (1, sign), why) for x, other, y, why in rows]
    return (*found, Special((1.0, 2.0), None, (nan, nan), "NaN in the cotangent is handed on", cotangent=nan))
