"""What several ops share: variants of elementwise ops and of losses, online exponentials, reductions, class targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf, nan
from typing import Any

from refnn.arithmetic.floats import one_hot
from refnn.op import Drawn, Op, Special, Sum, Variant
from refnn.refusals import check_choice, check_same_shape
from refnn.variants import ordinary, pairwise

Array = Any

# 0-d, one element, a prime length beyond every SIMD width and beyond a block of 1024 threads, unequal axes, four axes
# with more elements and a multiple of 4 in the last, an empty batch.
SHAPES = ((), (1,), (7,), (1031,), (3, 5, 7), (2, 3, 4, 44), (0, 4))
LONG = ((1031,),)
REDUCTIONS = ("none", "mean", "sum")


def elementwise(
    shapes: Sequence[tuple[int, ...]] = SHAPES, *, points: Sequence[float] = (), **params: Any
) -> tuple[Variant, ...]:
    """Variants of an elementwise op of x; `points` are those where its formula changes."""
    return tuple(Variant({"x": shape}, params, points=points) for shape in shapes)


ELEMENTWISE = elementwise()


def any_array(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Elementwise ops take every shape."""


def each_element(ndim: int, params: Mapping[str, Any]) -> bool:
    return ndim > 0


# --- losses ----------------------------------------------------------------------------------------------------------


def each_sample(ndim: int, params: Mapping[str, Any]) -> bool:
    """Losses of single samples, where they are not added up."""
    return ndim > 0 and params["reduction"] == "none"


def by_samples(count: Callable[..., Any]) -> Callable[[Mapping[str, Any]], Sum | None]:
    """How a loss adds up those of its samples; a mean divides by count(ar, *inputs, **params)."""

    def summed(params: Mapping[str, Any]) -> Sum | None:
        if params["reduction"] == "none":
            return None
        return Sum({**params, "reduction": "none"}, count if params["reduction"] == "mean" else None)

    return summed


def every_element(ar: Any, input: Array, *others: Array, **params: Any) -> int:
    """The count of losses that have one for each element."""
    return int(input.size)


def between(ar: Any, x: Array, low: Any, high: Any, inside: Any, below: Any, above: Any) -> Array:
    """`inside` where low < x < high; on the bounds what holds outside, unless a convention says otherwise."""
    return ar.branch(-x, ar.branch(x, inside, below, at=low), above, at=-high)


def axes_of(ndim: int, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The axes that `axis` names, counted from 0: one, several, or all for None."""
    named = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return tuple(sorted(a % ndim for a in named))


def kept(x: Array, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of x with axes of length 1."""
    ones = axes_of(x.ndim, axis)
    return tuple(1 if a in ones else n for a, n in enumerate(x.shape))


def rescaled(ar: Any, n: int) -> Any:
    """The exponential of a distance d <= 0 from the maximum of n entries, as a running maximum makes it.

    Online algorithms (Milakov and Gimelshein, arXiv:1805.02867; flash attention, arXiv:2205.14135) multiply what they
    have summed by exp(old maximum - new maximum), for single entries or for blocks, in any order. So an entry reaches
    the end as a product of at most n exponentials, none above 1, whose exponents add up to d: they cost u |d| in all,
    the exponentials n times their ulps, and the products n - 1 roundings. A power of two of equal factors, n or more of
    them, costs as much or more. The errors of n exponentials of different numbers do not all go one way: sqrt(n) times
    the error of one is what to expect of them, and in random order only about log(n) of them are not exp(0).
    """
    doublings = (ar.often(n, math.isqrt(n) + 1) - 1).bit_length()

    def exp(d: Array) -> Array:
        e = ar.exp(d / 2**doublings)
        for _ in range(doublings):
            e = e**2
        return e

    return exp


def validate_pair(op: str) -> Any:
    """The rule of a loss of two arrays of one shape."""

    def validate(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        check_same_shape(op, inputs)
        check_reduction(op, inputs["input"], params["reduction"])

    return validate


def check_reduction(op: str, x: Any, reduction: Any) -> None:
    """ValueError unless `reduction` is one of the three, and what a mean is taken of is not empty."""
    check_choice(op, "reduction", reduction, REDUCTIONS)
    if reduction == "mean" and not x.size:
        raise ValueError(f"{op}: input has shape {x.shape}, the mean of no element is undefined")


def pairs(shapes: Iterable[tuple[int, ...]], **params: Any) -> tuple[Variant, ...]:
    """Variants of a loss of two arrays of one shape, in every reduction."""
    return tuple(
        Variant({"input": shape, "target": shape}, {"reduction": reduction, **params})
        for reduction in REDUCTIONS
        for shape in shapes
    )


def product_rows(ndim: int, weight_ndim: int, bias_ndim: int = 1) -> tuple[Special, ...]:
    """The table of special values of a sum of products of which there is one: x weight + bias, each one number in an
    array of that rank."""

    def nested(value: Any, depth: int) -> Any:
        return nested([value], depth - 1) if depth else value

    rows = (
        (nan, 2.0, 1.0, nan, "NaN in gives NaN out"),
        (inf, 2.0, 0.0, inf, "an infinite product"),
        (-inf, 2.0, -0.0, -inf, "likewise"),
        (1.0, nan, 1.0, nan, "a NaN weight"),
        (0.0, inf, 1.0, nan, "0 times infinity"),
        (-0.0, -inf, 1.0, nan, "likewise"),
        (1.0, 0.0, nan, nan, "a NaN bias; no gradient depends on it"),
        (1.0, -0.0, inf, inf, "an infinite bias"),
        (1.0, 1.0, -inf, -inf, "likewise"),
        (inf, 1.0, -inf, nan, "infinity less infinity"),
    )
    return tuple(
        Special(
            (nested(x, ndim), nested(w, weight_ndim), nested(b, bias_ndim)),
            nested(y, ndim),
            (nested(w, ndim), nested(x, weight_ndim), nested(1, bias_ndim)),
            why,
        )
        for x, w, b, y, why in rows
    )


def squared_error_rows(of: Callable[[float], Any]) -> tuple[Special, ...]:
    """The table of special values of a squared error of two numbers, of which `of` makes arrays."""
    rows = (
        (nan, 0.0, nan, None, nan, "NaN in gives NaN out"),
        (-0.0, nan, nan, nan, None, "likewise"),
        (inf, 1.0, inf, inf, -inf, "an infinite difference"),
        (-inf, 1.0, inf, -inf, inf, "likewise"),
        (1.0, inf, inf, -inf, inf, "likewise"),
        (1.0, -inf, inf, inf, -inf, "likewise"),
        (inf, inf, nan, nan, nan, "infinity less infinity"),
        (0.0, -0.0, 0, 0, 0, "either sign of zero"),
        (-0.0, 0.0, 0, 0, 0, "likewise"),
    )
    return tuple(Special((of(x), of(t)), y, (gx, gt), why) for x, t, y, gx, gt, why in rows)


def along_axis(*rows: Special) -> tuple[Special, ...]:
    """Rows of a table of special values whose lists are slices along the parameter `axis`."""
    return tuple(replace(row, axis="axis") for row in rows)


def reduce(ar: Any, losses: Array, reduction: str, count: Any) -> Array:
    """The losses themselves, their sum, or their sum over `count`."""
    if reduction == "none":
        return losses
    total = ar.sum(losses)
    return total / count if reduction == "mean" else total


# --- class targets ---------------------------------------------------------------------------------------------------


def class_axis(ndim: int) -> int:
    """The axis of the classes, or of the channels: (C,), (N, C) or (N, C, *rest)."""
    return min(1, ndim - 1)


CLASSES: Mapping[str, Any] = {"of": "input", "axis": class_axis, "ignored": "ignore_index"}  # of a target


def without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """A shape without one of its axes."""
    return shape[:axis] + shape[axis + 1 :]


def spread(x: Array, shape: tuple[int, ...], axis: int) -> Array:
    """One value for each sample as an array that broadcasts against `shape`, whose classes are on `axis`."""
    return x.reshape(*[1 if i == axis else n for i, n in enumerate(shape)])


def counted(ar: Any, weight: Array | None, target: Array, valid: Array) -> Any:
    """What the mean divides by: the number of samples that count, or the sum of their classes' weights."""
    if weight is None:
        return ar.saved(ar.real(int(valid.sum())))
    return ar.saved(ar.sum(ar.where(valid, ar.array(weight)[valid * target], 0)))


def hit(target: Array, valid: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Where the class of a sample that counts is, as a plain boolean array of `shape`."""
    return one_hot(valid * target, shape[axis], axis) & spread(valid, shape, axis)


def check_classes(op: str, x: Any) -> None:
    """ValueError unless the input has classes."""
    if x.ndim == 0:
        raise ValueError(f"{op}: input has shape (), expected (C,), (N, C) or (N, C, *rest)")
    axis = class_axis(x.ndim)
    if x.shape[axis] == 0:
        raise ValueError(f"{op}: input has shape {x.shape}, expected at least one class on axis {axis}")


def check_class_weight(op: str, x: Any, weight: Any) -> None:
    """ValueError unless `weight` is None or holds one number for each class."""
    classes = x.shape[class_axis(x.ndim)]
    if weight is not None and getattr(weight, "shape", None) != (classes,):
        got = getattr(weight, "shape", repr(weight))
        raise ValueError(f"{op}: weight has shape {got}, expected ({classes},), one for each class")


def check_class_target(op: str, x: Any, target: Any, ignore_index: int) -> None:
    """ValueError unless `target` holds a class of the input, or `ignore_index`, for each sample."""
    axis = class_axis(x.ndim)
    classes, expected = x.shape[axis], without(x.shape, axis)
    if target.shape != expected:
        raise ValueError(f"{op}: target has shape {target.shape}, expected {expected}: input without its classes")
    if not isinstance(ignore_index, int):
        raise ValueError(f"{op}: ignore_index is {ignore_index!r}, expected an integer")
    wrong = target[(target != ignore_index) & ((target < 0) | (target >= classes))]
    if wrong.size:
        raise ValueError(
            f"{op}: target holds the class {wrong[0]}, expected 0 to {classes - 1} or ignore_index {ignore_index}"
        )


def class_variant(shape: tuple[int, ...], kind: str = "classes", **params: Any) -> Variant:
    """A variant of a loss of classes, whose target holds what `kind` says."""
    target = shape if kind == "probabilities" else without(shape, class_axis(len(shape)))
    return Variant({"input": shape, "target": target}, params, kinds={"target": kind})


# --- usual variants --------------------------------------------------------------------------------------------------


def usual_pairs(**factors: Sequence[Any]) -> Callable[[Op], Iterator[Variant]]:
    """Of a loss of two arrays: usual sizes in every reduction, and every two of its parameters."""

    def variants(op: Op) -> Iterator[Variant]:
        yield from ordinary(op)
        yield Variant({"input": (33, 1025), "target": (33, 1025)}, {"reduction": "mean"})
        yield from pairwise(
            op,
            {"shape": ((32, 10), (16,), (3, 8, 5), (4, 3, 8, 8)), "reduction": REDUCTIONS, **factors},
            lambda shape, **params: Variant({"input": shape, "target": shape}, params),
        )

    return variants


def usual_classes(kinds: Sequence[str], **factors: Sequence[Any]) -> Callable[[Op], Iterator[Variant]]:
    """Of a loss of classes: ImageNet, GPT and segmentation in small, usual sizes, and every two of its parameters."""

    def variants(op: Op) -> Iterator[Variant]:
        yield class_variant((8, 1000))
        yield class_variant((64, 513), ignore_index=-1)
        yield class_variant((2, 21, 8, 8), ignore_index=255)
        yield class_variant((1, 3, 5, 2, 4))
        yield from ordinary(op)
        yield from pairwise(
            op,
            {
                "shape": ((16, 10), (10,), (4, 5, 3), (2, 5, 4, 3)),
                "kind": kinds,
                "reduction": REDUCTIONS,
                "weight": (None, *(Drawn(k, axis=1) for k in ("positive", "zeros and negatives"))),
                "ignore_index": (-100, -1, 0),
                **factors,
            },
            class_variant,
        )

    return variants


def usual_axes(**factors: Sequence[Any]) -> Callable[[Op], Iterator[Variant]]:
    """Of an op along an axis: scores of attention, a vocabulary, usual sizes, and every axis of up to four."""

    def variants(op: Op) -> Iterator[Variant]:
        yield Variant({"x": (2, 4, 16, 16)}, {"axis": -1})
        yield Variant({"x": (2, 16, 8)}, {"axis": -2})
        yield Variant({"x": (2, 1, 4, 5, 3)}, {"axis": -1})
        yield Variant({"x": (1, 4096)}, {"axis": -1})
        yield from ordinary(op)
        yield from pairwise(
            op,
            {"x": ((10,), (8, 10), (2, 4, 8), (4, 6, 2, 8)), "axis": (-1, 0, 1, 2, 3, -2, -3, -4), **factors},
            lambda x, **params: Variant({"x": x}, params),
        )

    return variants
