"""Activations of pieces: what happens on, above and below their kinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

import refnn
from refnn.study.power.mutant import Array, Mutant, Pair, elementwise, in_float64, regraded, sloped, with_params

LAMBDA, ALPHA = 1.0507009873554805, 1.6732632423543772
MIDDLE = (1 / 8 + 1 / 3) / 2  # of the slopes that rrelu draws


def elu_vjp(g: Array, x: Array, *, alpha: float) -> Any:
    return (np.where(x > 0, g, g * alpha * np.exp(np.minimum(x, 0))),)


def elu_vjp_of_output(g: Array, x: Array, *, alpha: float) -> Any:
    """By the sign of the output, which is not that of x where alpha is negative."""
    y = np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
    return (np.where(y > 0, g, g * (y + alpha)),)


def elu_vjp_by_masks(g: Array, x: Array, *, alpha: float) -> Any:
    return (g * ((x > 0) + (x <= 0) * alpha * np.exp(x)),)


def maximum_and_minimum(x: Array, *, alpha: float) -> Array:
    """max(0, x) + min(0, alpha (exp(x) - 1)): elu only where alpha is positive."""
    return np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x))


def slope_of_maximum_and_minimum(x: Array, *, alpha: float) -> Array:
    return (x > 0) + np.where(alpha * np.expm1(x) < 0, alpha * np.exp(x), 0.0)


def celu_by_elu(x: Array, *, alpha: float) -> Array:
    """alpha elu(x / alpha): the quotient changes sides where alpha is negative."""
    return alpha * refnn.elu(x / alpha)


def slope_of_celu_by_elu(x: Array, *, alpha: float) -> Array:
    return refnn.elu.vjp(np.ones_like(x), x / alpha)[0]


def selu_vjp(g: Array, x: Array, *, scaled_again: bool = False) -> Any:
    """From the output lambda alpha (exp(x) - 1), which holds lambda already."""
    e = np.expm1(np.minimum(x, 0))
    below = (LAMBDA * ALPHA * e + ALPHA) * LAMBDA if scaled_again else LAMBDA * ALPHA * np.exp(np.minimum(x, 0))
    return (g * np.where(x > 0, LAMBDA, below),)


def hardsigmoid_vjp(g: Array, x: Array, *, lower: bool = True) -> Any:
    return (np.where((x < 3) & ((x > -3) | (not lower)), g / 6, 0.0),)


def hardswish_slope(x: Array, inside: Callable[[Array], Array] = lambda x: (2 * x + 3) / 6) -> Array:
    return np.where(x <= -3, 0.0, np.where(x < 3, inside(x), 1.0))


def fifths(x: Array) -> Array:
    return np.clip(0.2 * x + 0.5, 0, 1)


def along_the_last_axis(x: Array, weight: Array) -> bool:
    """Where the weights of prelu fit the last axis as well as the channels."""
    return x.ndim >= 3 and weight.size > 1 and x.shape[-1] == weight.size


def prelu_on_the_last_axis(x: Array, weight: Array) -> Array:
    return np.where(x > 0, x, weight * x) if along_the_last_axis(x, weight) else refnn.prelu(x, weight)


def prelu_on_the_last_axis_vjp(g: Array, x: Array, weight: Array) -> Any:
    if not along_the_last_axis(x, weight):
        return refnn.prelu.vjp(g, x, weight)
    below = np.where(x > 0, 0.0, g * x)
    return np.where(x > 0, g, weight * g), below.sum(tuple(range(x.ndim - 1)))


def zero_for_nan(f: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, **p: np.where(np.isnan(x), 0.0, f(x, **p))


def as_contiguous(g: Array) -> Array:
    """What lies in memory from the first element of g on, as if g were contiguous."""
    if 0 in g.strides or g.flags.c_contiguous:
        return g
    return np.ascontiguousarray(as_strided(g, g.shape, np.empty_like(g, order="C").strides, writeable=False))


def in_place(x: Array) -> Array:
    np.maximum(x, 0, out=x)
    return x.copy()


RIGHT: Mapping[str, Pair] = {
    "elu": (refnn.elu, in_float64(elu_vjp)),
    "selu": (refnn.selu, in_float64(selu_vjp)),
    "hardsigmoid": (refnn.hardsigmoid, in_float64(hardsigmoid_vjp)),
    "hardswish": (refnn.hardswish, sloped(hardswish_slope)),
}

MUTANTS = (
    Mutant("relu", "pytorch/pytorch#7999", "0 for NaN", forward=in_float64(zero_for_nan(refnn.relu))),
    Mutant("relu", "", "relu'(0)=1", vjp=sloped(lambda x: np.where(x >= 0, 1.0, 0.0)), kind="convention"),
    Mutant(
        "relu",
        "torch/cunn PR199",
        "the cotangent read as if it were contiguous",
        vjp=lambda g, x: (np.where(x > 0, as_contiguous(g), g * 0),),
    ),
    Mutant("relu", "deeplearning4j/deeplearning4j PR364", "in place", forward=in_place),
    Mutant(
        "relu", "", "gradients clipped at 10", vjp=in_float64(lambda g, x: (np.where(x > 0, np.clip(g, -10, 10), 0.0),))
    ),
    Mutant(
        "relu",
        "webmachinelearning/webnn-polyfill#144",
        "-0 below 0",
        forward=in_float64(lambda x: np.where(x > 0, x, np.where(np.isnan(x), x, -0.0))),
        kind="equivalent",
        why="either sign of zero will do",
    ),
    Mutant("relu", "", "g where it is positive", vjp=in_float64(lambda g, x: (np.where(g > 0, g, 0.0),))),
    Mutant(
        "leaky_relu",
        "pytorch/pytorch#31938",
        "by the sign of the output",
        vjp=sloped(
            lambda x, *, negative_slope: np.where(
                refnn.leaky_relu(x, negative_slope=negative_slope) > 0, 1.0, negative_slope
            )
        ),
    ),
    Mutant(
        "leaky_relu",
        "chainer/chainer PR5898",
        "a slope of 1 where it is 0",
        vjp=sloped(lambda x, *, negative_slope: np.where(x > 0, 1.0, negative_slope or 1.0)),
    ),
    Mutant(
        "leaky_relu",
        "deeplearning4j/deeplearning4j#8178",
        "the default slope whatever is asked for",
        vjp=sloped(lambda x, *, negative_slope: np.where(x > 0, 1.0, 0.01)),
    ),
    Mutant(
        "prelu",
        "flagos-ai/FlagGems#4992",
        "weights along the last axis",
        forward=in_float64(prelu_on_the_last_axis),
        vjp=in_float64(prelu_on_the_last_axis_vjp),
    ),
    Mutant(
        "prelu",
        "",
        "no gradient for the weight",
        vjp=regraded("prelu", lambda grads, g, x, weight: (grads[0], np.zeros_like(weight))),
    ),
    Mutant(
        "prelu",
        "",
        "the mean over the batch as the weight's gradient",
        vjp=regraded(
            "prelu", lambda grads, g, x, weight: (grads[0], grads[1] / (len(x) if x.ndim > 1 and len(x) else 1))
        ),
    ),
    Mutant(
        "rrelu",
        "",
        "the mean slope, as for inference",
        vjp=in_float64(lambda g, x, slope: (np.where(x > 0, g, g * MIDDLE), None)),
    ),
    Mutant("elu", "pytorch/pytorch#47671", "by the sign of the output", vjp=in_float64(elu_vjp_of_output)),
    Mutant("elu", "jax-ml/jax#1052", "0 times infinity", vjp=elu_vjp_by_masks),
    Mutant(
        "elu",
        "PaddlePaddle/Paddle PR26543",
        "max(0, x) + min(0, alpha (exp(x) - 1))",
        **elementwise(maximum_and_minimum, slope_of_maximum_and_minimum),
    ),
    Mutant(
        "celu",
        "microsoft/onnxruntime#6906",
        "alpha elu(x/alpha)",
        **elementwise(celu_by_elu, slope_of_celu_by_elu),
    ),
    Mutant(
        "celu",
        "",
        "exp(x) for exp(x/alpha)",
        vjp=sloped(lambda x, *, alpha: np.where(x > 0, 1.0, np.exp(np.minimum(x, 0)))),
    ),
    Mutant("selu", "RubixML/ML PR427", "scaled twice", vjp=in_float64(lambda g, x: selu_vjp(g, x, scaled_again=True))),
    Mutant(
        "selu",
        "",
        "constants of five digits",
        **elementwise(
            lambda x: np.where(x > 0, 1.0507 * x, 1.0507 * 1.67326 * np.expm1(np.minimum(x, 0))),
            lambda x: np.where(x > 0, 1.0507, 1.0507 * 1.67326 * np.exp(np.minimum(x, 0))),
        ),
    ),
    Mutant(
        "hardsigmoid",
        "pytorch/pytorch#51408",
        "no lower mask",
        vjp=in_float64(lambda g, x: hardsigmoid_vjp(g, x, lower=False)),
    ),
    Mutant(
        "hardsigmoid",
        "",
        "x/5 + 1/2 for x/6 + 1/2",
        **elementwise(fifths, lambda x: np.where(np.abs(x) < 2.5, 0.2, 0.0)),
    ),
    Mutant(
        "hardtanh",
        "pytorch/pytorch#120258",
        "hardtanh'(1)=closed",
        vjp=in_float64(lambda g, x, *, min_val, max_val: (np.where((x >= min_val) & (x <= max_val), g, 0.0),)),
        kind="convention",
    ),
    Mutant(
        "hardtanh",
        "",
        "the default bounds whatever is asked for",
        vjp=in_float64(lambda g, x, *, min_val, max_val: (np.where((x > -1) & (x < 1), g, 0.0),)),
    ),
    Mutant(
        "hardswish",
        "tenstorrent/tt-metal#55291",
        "0.3333 for 1/3",
        vjp=sloped(lambda x: hardswish_slope(x, lambda x: x * 0.3333 + 0.5)),
    ),
    Mutant(
        "hardswish",
        "pytorch/pytorch PR57383",
        "relu(x) for x",
        vjp=sloped(lambda x: hardswish_slope(x, lambda x: np.maximum(x, 0) / 3 + 0.5)),
    ),
    Mutant(
        "hardswish",
        "BobMcDear/attorch#16",
        "hardswish'(3)=inside",
        vjp=sloped(lambda x: np.where(x < -3, 0.0, np.where(x <= 3, (2 * x + 3) / 6, 1.0))),
        kind="convention",
    ),
    Mutant(
        "relu6",
        "tenstorrent/tt-metal#57455",
        "6 at NaN",
        vjp=regraded("relu6", lambda grads, g, x: (np.where(np.isnan(x), 6.0, grads[0]),)),
        kind="equivalent",
        why="the gradient at a NaN itself is free, whatever the cotangent",
    ),
    Mutant("relu6", "", "no upper mask", vjp=sloped(lambda x: np.where(x > 0, 1.0, 0.0))),
    Mutant("relu6", "", "0 for NaN", forward=in_float64(zero_for_nan(refnn.relu6))),
    Mutant(
        "softshrink",
        "pytorch/pytorch PR138421",
        "0 for NaN",
        forward=in_float64(zero_for_nan(refnn.softshrink)),
    ),
    Mutant(
        "softshrink",
        "",
        "x - lambd on both sides",
        forward=in_float64(lambda x, *, lambd: np.where(np.abs(x) > lambd, x - lambd, x * 0)),
    ),
    Mutant(
        "hardshrink",
        "mindspore-ai/mindspore#373",
        "0 for NaN",
        forward=in_float64(zero_for_nan(refnn.hardshrink)),
    ),
    Mutant(
        "hardshrink",
        "BobMcDear/attorch#15",
        "hardshrink(lambd)=x",
        forward=in_float64(lambda x, *, lambd: np.where(np.abs(x) < lambd, 0.0, x)),
        vjp=in_float64(lambda g, x, *, lambd: (np.where(np.abs(x) < lambd, 0.0, g),)),
        kind="convention",
    ),
    Mutant(
        "threshold",
        "",
        "compared with the value",
        vjp=in_float64(lambda g, x, *, threshold, value: (np.where(x > value, g, 0.0),)),
    ),
    Mutant("threshold", "", "a value of 0", **with_params("threshold", lambda x, **p: {"value": 0.0})),
)
