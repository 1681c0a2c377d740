"""Reductions over one axis, several, or all: what they share, and what a check runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from refnn.arithmetic.broadcast import stretched
from refnn.op import Op
from refnn.ops._shared import axes_of, kept
from refnn.variants import Variant, ordinary, pairwise

Array = Any
Axis = int | tuple[int, ...] | None


def count(x: Array, axis: Axis) -> int:
    """How many elements are reduced to one."""
    return math.prod(x.shape[a] for a in axes_of(x.ndim, axis))


def total(ar: Any, x: Array, axis: Axis, keepdims: bool) -> Array:
    """A sum in any order. A single number is its own."""
    return ar.sum(x, axes_of(x.ndim, axis), keepdims=keepdims) if x.ndim else x


def average(ar: Any, x: Array, axis: Axis, keepdims: bool) -> Array:
    """A sum and a quotient, or the sum of quotients, which stays finite where the sum does not. A single number is its
    own."""
    if not x.ndim:
        return x
    n = count(x, axis)
    return ar.either(
        lambda: ar.product(total(ar, x, axis, keepdims), over=n),
        lambda: total(ar, ar.product(x, over=n), axis, keepdims),
    )


def spread(ar: Any, g: Array, x: Array, axis: Axis) -> Array:
    """The adjoint of a sum: each element of x gets the cotangent of what it was reduced to."""
    return stretched(ar, g.reshape(kept(x, axis)), x.shape)


def rowwise(ndim: int, params: Mapping[str, Any]) -> bool:
    """Whether axis 0 is not reduced."""
    return ndim > 1 and 0 not in axes_of(ndim, params["axis"])


def check_axes(op: str, x: Array, axis: Any) -> None:
    """ValueError unless `axis` is None, an axis of x, or a tuple of different ones."""
    named = axis if isinstance(axis, tuple) else () if axis is None else (axis,)
    wrong = [a for a in named if type(a) is not int or not -x.ndim <= a < x.ndim]
    if wrong or axis == ():
        some = f", an integer from {-x.ndim} to {x.ndim - 1}, or a tuple of them," if x.ndim else ""
        raise ValueError(f"{op}: axis is {axis!r}, expected None{some} for shape {x.shape}")
    if len({a % x.ndim for a in named}) < len(named):
        raise ValueError(f"{op}: axis is {axis!r}, which names an axis of shape {x.shape} twice")


# --- what a check runs -----------------------------------------------------------------------------------------------

# An axis of two, the first one, two around a third, all of four elements and of three axes, a prime length beyond a
# block of 1024 threads, a single number, an empty batch.
VARIANTS = (
    Variant({"x": (5, 7)}, {"axis": -1}),
    Variant({"x": (7, 5)}, {"axis": 0, "keepdims": True}),
    Variant({"x": (2, 11, 3)}, {"axis": (0, 2)}),
    Variant({"x": (3, 4, 5)}),
    Variant({"x": (1, 1031)}, {"axis": 1}),
    Variant({"x": (4,)}, {"keepdims": True}),
    Variant({"x": ()}),
    Variant({"x": (0, 3)}, {"axis": -1}),
)


def usual(**factors: Sequence[Any]) -> Callable[[Op], Iterator[Variant]]:
    """Maps of which each becomes one number, the gradient of a bias, a vocabulary, usual sizes, and every axis or some
    axes of up to four."""

    def variants(op: Op) -> Iterator[Variant]:
        yield Variant({"x": (2, 16, 7, 7)}, {"axis": (2, 3)})
        yield Variant({"x": (64, 48)}, {"axis": 0})
        yield Variant({"x": (1, 4096)}, {"axis": -1})
        yield Variant({"x": (33, 1025)})
        yield from ordinary(op)
        yield from pairwise(
            op,
            {
                "x": ((10,), (8, 10), (2, 4, 8), (4, 6, 2, 8)),
                "axis": (None, -1, 0, 1, 2, -2, (0, 1), (-1, 1), (0, 2, 3)),
                "keepdims": (False, True),
                **factors,
            },
            lambda x, **params: Variant({"x": x}, params),
        )

    return variants
