"""What normalisations share: moments of rows, their gradients, an affine map along an axis, and what a check runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from math import inf, nan
from typing import Any

from refnn.op import Special, Variant
from refnn.refusals import check_real
from refnn.variants import pairwise

Array = Any
Axes = tuple[int, ...]


def last(x: Array, shape: Sequence[int]) -> Axes:
    """The last axes of x, those of `shape`."""
    return tuple(range(x.ndim - len(shape), x.ndim))


def mean(ar: Any, x: Array, axes: Axes) -> Array:
    return ar.sum(x, axes, keepdims=True) / math.prod(x.shape[a] for a in axes)


def of_squares(ar: Any, x: Array, axes: Axes) -> Array:
    """The variance of what is centred: in two passes.

    Welford's is inside of its bound. To first order in u a running mean is off by less than k u/2 max |x| after k
    elements, and so the running sum of d_k d'_k by the sum of (|d_k| + |d'_k|) k u/2 max |x|. That is at most
    2 n u max |x| sum |x - m|: what two passes are allowed, whose m is off by n u mean |x|, of a row far from zero.
    """
    return mean(ar, ar.product(x, x), axes)  # x**2 of Arb is NaN at -inf


def inverse(ar: Any, variance: Array, eps: float) -> Array:
    """1 / sqrt(variance + eps). No evaluation of a variance is negative, so that eps bounds this."""
    least = ar.real(eps)
    return ar.rsqrt(variance + least, least)


def given(weight: Array | None) -> tuple[Array, ...]:
    """The weight as a further factor, if there is one."""
    return () if weight is None else (weight,)


def _less(ar: Any, a: Array, b: Array, c: Array) -> Array:
    """a - b - c in any order."""

    def in_turn(b: Array, c: Array) -> Array:
        rest = a - b
        return rest - c

    def at_once() -> Array:
        both = b + c
        return a - both

    return ar.either(lambda: in_turn(b, c), lambda: ar.either(lambda: in_turn(c, b), at_once))


def by_terms(ar: Any, result: Array, *terms: tuple[tuple[Array, ...], int]) -> Array:
    """A result as it is, or as the sum of terms that are rounded each on its own: of each term the factors, and how
    many roundings it passes.

    The scale r of a row is a factor of every term. Its error is one of the result, however large the terms are: only
    roundings are as large as a term. A product of k factors loses below the normal range at most what one product
    loses, k times, times the factors above 1.
    """

    def sizes(found: Sequence[Any]) -> list[tuple[Any, ...]]:
        rest = list(found)
        return [tuple(rest.pop(0) for _ in factors) for factors, _ in terms]

    def worst(floor: Any, *found: Any) -> Any:
        # (1+u)^k - 1 is at most 33/32 k u for k up to 15 and u up to 2**-8.
        return sum(
            math.prod((33, count * math.prod(term))) / 32 + math.prod((len(term), floor, *(f.clip(1) for f in term)))
            for term, (_, count) in zip(sizes(found), terms, strict=True)
        )

    def expected(floor: Any, *found: Any) -> Any:
        return sum(math.prod(term).clip(floor) for term in sizes(found))

    operands = tuple(f for factors, _ in terms for f in factors)
    return ar.either(lambda: result, lambda: ar.inexact(result, operands, worst, expected))


def pulled(ar: Any, g: Array, d: Array, r: Array, weight: Array | None, axes: Axes, centred: bool) -> Array:
    """dL/dx = r (h - mean h - d r^2 mean(h d)), from the centred rows d and their scale r, h = g weight.

    Kernels also add r h, r mean h and d r^3 mean(h d), or take r / n out of n h - sum h - d r^2 sum(h d). Then a term
    is rounded in as many products (h: 2 or 1, the mean: 1 or none, the last: 4 or 3), in two sums, and in the latter
    form in the three factors of all: 1 / n, r and the product.
    """
    h = ar.product(g, *given(weight))
    average, shared = mean(ar, h, axes), mean(ar, h * d, axes)
    along = ar.product(d, r, r, shared)
    if not centred:
        return by_terms(ar, r * (h - along), ((r, g, *given(weight)), 5), ((d, r, r, r, shared), 7))
    terms = ((r, g, *given(weight)), 6), ((r, average), 5), ((d, r, r, r, shared), 8)
    return by_terms(ar, r * _less(ar, h, average, along), *terms)


def affine(ar: Any, g: Array, d: Array, r: Array, weight: Array | None, bias: Array | None, axes: Axes) -> Any:
    """dL/dweight and dL/dbias of parameters along these axes, None where there is none."""
    rest = tuple(a for a in range(d.ndim) if a not in axes)
    by_weight = None if weight is None else ar.sum(ar.product(g, d, r), rest)
    return by_weight, None if bias is None else ar.sum(g, rest)


def validate(op: str, names: Sequence[str]) -> Callable[[Mapping[str, Any], Mapping[str, Any]], None]:
    """The rule of a normalisation of the last axes."""

    def validate(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        x, shape = inputs["x"], params["normalized_shape"]
        check_real(op, params, "eps")
        if params["eps"] < 0:
            raise ValueError(f"{op}: eps is {params['eps']}, expected 0 or more")
        if not isinstance(shape, tuple) or not shape or x.shape[-len(shape) :] != shape:
            raise ValueError(
                f"{op}: normalized_shape is {shape!r}, expected the lengths of the last axes of x of shape {x.shape}"
            )
        if 0 in shape:
            raise ValueError(f"{op}: normalized_shape is {shape}, the mean of no element is undefined")
        for name in names:
            if inputs[name] is not None and inputs[name].shape != shape:
                raise ValueError(f"{op}: {name} has shape {inputs[name].shape}, expected normalized_shape {shape}")

    return validate


# --- what a check runs -----------------------------------------------------------------------------------------------


def variant(x: Sequence[int], axes: int, names: Sequence[str], given: Sequence[str], **params: Any) -> Variant:
    """A variant that normalises the last `axes`, with those parameters that are given. It is not shortened, because
    normalized_shape would have to follow."""
    shape = tuple(x[len(x) - axes :])
    shapes = {"x": tuple(x), **{n: shape if n in given else None for n in names}}
    return Variant(shapes, {"normalized_shape": shape, **params}, small=shapes)


def variants(names: Sequence[str]) -> tuple[Variant, ...]:
    """Small ones. An id shows the shapes of two inputs, so no two have those and differ in the third."""
    of = (
        ((4, 7), 1, names),
        ((2, 3, 4), 2, names),
        ((2, 5), 1, names[:1]),
        ((3, 2, 5), 1, ()),
        ((7,), 1, names),
        ((4, 1), 1, names),
        ((0, 4), 1, names),
    )
    return (*(variant(x, axes, names, given) for x, axes, given in of), variant((3, 6), 1, names, (), eps=0.25))


def usual(names: Sequence[str]) -> Any:
    """Tokens of transformers, the tails of vectors, long rows, and every two of its parameters."""

    def usual(op: Any) -> Any:
        yield variant((2, 8, 64), 1, names, names)
        yield variant((4, 48), 1, names, names)
        yield variant((3, 129), 1, names, names[:1])
        yield variant((2, 1031), 1, names, names[:1])
        yield variant((2, 768), 1, names, names)
        yield variant((33, 1025), 1, names, names)
        yield from pairwise(
            op,
            {
                "x": ((16,), (8, 10), (2, 4, 8), (2, 3, 4, 8)),
                "axes": (1, 2),
                "given": (tuple(names), ()),
                "eps": (1e-5, 1e-6),
            },
            lambda x, axes, given, eps: variant(x, axes, names, given, eps=eps) if axes <= len(x) else _none(names),
        )

    return usual


def _none(names: Sequence[str]) -> Variant:
    """A variant that no op takes."""
    return Variant({"x": (2,), **dict.fromkeys(names)}, {"normalized_shape": (3,)})


def special(bias: bool, rows: Sequence[tuple[Any, Any, Any, str]]) -> tuple[Special, ...]:
    """Special values of rows of two, with a weight of ones and perhaps a bias of zeros: x, y, dL/dx, why."""
    zeros, ones = (([0.0, 0.0],), (1,)) if bias else ((), ())
    two = {"normalized_shape": (2,), "eps": 0.25}  # 1e-5 is zero where subnormal numbers of 16 bits are
    found = [Special((x, [1.0, 1.0], *zeros), y, (gx, None, *ones), why, two) for x, y, gx, why in rows]
    for value, why in ((nan, "a NaN weight"), (inf, "0 times infinity"), (-inf, "likewise")):
        found.append(Special(([0.0, 0.0], [value, value], *zeros), nan, (nan, 0, *ones), why, two))
    if bias:
        for value in (nan, inf, -inf):
            rest = "a constant row gives the bias"
            found.append(Special(([0.0, 0.0], [1.0, 1.0], [value, 2.0]), [value, 2], (0, 0, 1), rest, two))
    return tuple(found)
