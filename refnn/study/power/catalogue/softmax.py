"""Softmax, log-softmax and the logarithm of the sum of exponentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import refnn
from refnn.study.power.mutant import Array, Forward, Mutant, Pair, in_float64, narrow, regraded, summed_narrowly

Shift = Callable[[Array, int], Any]


def maximum(x: Array, axis: int, initial: float = -np.inf) -> Array:
    return x.max(axis=axis, keepdims=True, initial=initial)


def total(e: Array, axis: int) -> Array:
    return e.sum(axis=axis, keepdims=True)


def softmax(x: Array, *, axis: int, shift: Shift = maximum, total: Shift = total) -> Array:
    e = np.exp(x - shift(x, axis))
    return e / total(e, axis)


def pulled(y: Array, g: Array, axis: int) -> Array:
    return y * (g - (g * y).sum(axis=axis, keepdims=True))


def softmax_vjp(g: Array, x: Array, *, axis: int) -> Any:
    return (pulled(softmax(x, axis=axis), g, axis),)


def softmax_of(**twist: Any) -> dict[str, Any]:
    """In the dtype that came: the overflow of its exponential, or the length of its sum, is what is looked for."""
    return {
        "forward": lambda x, *, axis: softmax(x, axis=axis, **twist),
        "vjp": lambda g, x, *, axis: (pulled(softmax(x, axis=axis, **twist), g, axis),),
    }


def log_softmax(x: Array, *, axis: int) -> Array:
    d = x - maximum(x, axis)
    return d - np.log(total(np.exp(d), axis))


def log_softmax_vjp(g: Array, x: Array, *, axis: int) -> Any:
    return (g - softmax(x, axis=axis) * g.sum(axis=axis, keepdims=True),)


def logsumexp_vjp(g: Array, x: Array, *, axis: int, keepdims: bool) -> Any:
    """By exp(x - y), which is NaN where y is minus infinity."""
    y, g = refnn.logsumexp(x, axis=axis, keepdims=True), g if keepdims else np.expand_dims(g, axis)
    return (g * np.exp(x - y),)


def logsumexp_of(exponentials: Callable[[Array, int], Array]) -> Forward:
    """The logarithm of a sum of exponentials that are not shifted."""

    def forward(x: Array, *, axis: int, keepdims: bool) -> Array:
        return np.log(exponentials(np.exp(x), axis).sum(axis=axis, keepdims=keepdims))

    return forward


def in_fours(e: Array, axis: int) -> Array:
    """The sum of the first multiple of four entries; of all where there are fewer."""
    count = e.shape[axis] // 4 * 4 or e.shape[axis]
    return total(e.take(range(count), axis), axis)


def in_one_block(e: Array, axis: int) -> Array:
    """The sum of the first 1024 entries, which is all that one block of threads sees."""
    return total(e.take(range(min(1024, e.shape[axis])), axis), axis)


def clipped_log(x: Array, *, axis: int) -> Array:
    return np.log(np.clip(softmax(x, axis=axis), 1e-7, None))


def clipped_log_vjp(g: Array, x: Array, *, axis: int) -> Any:
    y = softmax(x, axis=axis)
    return (pulled(y, np.where(y > 1e-7, g / y, 0.0), axis),)


RIGHT: Mapping[str, Pair] = {
    "softmax": (softmax, softmax_vjp),
    "log_softmax": (log_softmax, log_softmax_vjp),
}

MUTANTS = (
    Mutant("softmax", "uTensor/uTensor#175", "no shift", **softmax_of(shift=lambda x, axis: 0)),
    Mutant(
        "softmax",
        "ROCm/AMDMIGraphX PR1290",
        "shifted by the first",
        **softmax_of(shift=lambda x, axis: x.take([0], axis)),
    ),
    Mutant("softmax", "", "a maximum that starts at 0", **softmax_of(shift=lambda x, axis: maximum(x, axis, 0))),
    Mutant(
        "softmax",
        "twitter-archive/torch-autograd#166",
        "shifted by the maximum of all rows",
        **softmax_of(shift=lambda x, axis: x.max(initial=-np.inf)),
    ),
    Mutant(
        "softmax",
        "ScalingIntelligence/KernelBench#165",
        "zeros",
        forward=lambda x, *, axis: np.zeros_like(x),
        vjp=lambda g, x, *, axis: (np.zeros_like(x),),
    ),
    Mutant("softmax", "sonos/tract PR2586", "a narrow sum", **softmax_of(total=summed_narrowly)),
    Mutant(
        "softmax",
        "stew675/llama-cpp-rdna-boosts#19",
        "the last n mod 4 entries are left out of the sum",
        **softmax_of(total=in_fours),
    ),
    Mutant(
        "softmax", "", "1e-5 added to the sum", **softmax_of(total=lambda e, axis: total(e, axis) + e.dtype.type(1e-5))
    ),
    Mutant("softmax", "", "the sum of one block of 1024", **softmax_of(total=in_one_block)),
    Mutant("softmax", "", "no gradient at all", vjp=lambda g, x, *, axis: (np.zeros_like(x),)),
    Mutant(
        "softmax",
        "",
        "the diagonal of its Jacobian",
        vjp=in_float64(lambda g, x, *, axis: (g * softmax(x, axis=axis) * (1 - softmax(x, axis=axis)),)),
    ),
    Mutant(
        "softmax",
        "",
        "the sum over all rows",
        vjp=in_float64(lambda g, x, *, axis: (softmax(x, axis=axis) * (g - (g * softmax(x, axis=axis)).sum()),)),
    ),
    Mutant(
        "softmax",
        "tinygrad/tinygrad PR2425",
        "1 added to every score",
        forward=in_float64(lambda x, *, axis: softmax(x + 1, axis=axis)),
        kind="equivalent",
        why="softmax does not change when the same number is added to every score",
    ),
    Mutant(
        "log_softmax",
        "mlpack/mlpack#2360",
        "g - s for g - s sum g",
        vjp=in_float64(lambda g, x, *, axis: (g - softmax(x, axis=axis),)),
    ),
    Mutant(
        "log_softmax",
        "uxlfoundation/oneDNN#616",
        "g - sum g y, as softmax has it",
        vjp=in_float64(lambda g, x, *, axis: (g - total(g * log_softmax(x, axis=axis), axis),)),
    ),
    Mutant(
        "log_softmax",
        "ROCm/MIOpen PR3427",
        "a narrow sum of g",
        vjp=lambda g, x, *, axis: (g - softmax(x, axis=axis) * summed_narrowly(g, axis),),
    ),
    Mutant(
        "log_softmax",
        "pytorch/executorch PR20090",
        "a narrow sum of exponentials",
        forward=lambda x, *, axis: x - maximum(x, axis) - np.log(summed_narrowly(np.exp(x - maximum(x, axis)), axis)),
    ),
    Mutant("log_softmax", "", "log of softmax", forward=lambda x, *, axis: np.log(softmax(x, axis=axis))),
    Mutant(
        "log_softmax",
        "keras-team/keras#17634",
        "log of a probability of at least 1e-7",
        forward=in_float64(clipped_log),
        vjp=in_float64(clipped_log_vjp),
    ),
    Mutant("logsumexp", "jax-ml/jax#6811", "nothing but minus infinity", vjp=logsumexp_vjp),
    Mutant("logsumexp", "", "no shift", forward=logsumexp_of(lambda e, axis: e)),
    Mutant(
        "logsumexp",
        "",
        "a narrow exponential",
        forward=lambda x, *, axis, keepdims: (
            lambda m: np.squeeze(
                m + np.log(total(narrow(np.exp(x - m)).astype(x.dtype), axis)), () if keepdims else axis
            )
        )(maximum(x, axis)),
    ),
    Mutant(
        "logsumexp",
        "",
        "the mean of the exponentials",
        forward=in_float64(
            lambda x, *, axis, keepdims: refnn.logsumexp(x, axis=axis, keepdims=keepdims) - np.log(x.shape[axis])
        ),
    ),
    Mutant(
        "logsumexp",
        "",
        "the cotangent is not used",
        vjp=regraded("logsumexp", lambda grads, g, x, *, axis, keepdims: (softmax(x, axis=axis),)),
    ),
)
