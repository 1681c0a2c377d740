"""Smooth activations: sigmoid, tanh and what is made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import refnn
from refnn.study.power.mutant import Array, Mutant, Pair, elementwise, in_float64, regraded, sloped, with_params

ROOT, HALF = math.sqrt(2 / math.pi), math.sqrt(1 / 2)
BLOCK = 1024  # elements that one block of a kernel takes


def sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x > 0, 1.0, e) / (1 + e)


def sech2(x: Array) -> Array:
    """1 - tanh(x)^2 without cancellation."""
    return 4 * sigmoid(2 * x) * sigmoid(-2 * x)


def logsigmoid_vjp(g: Array, x: Array) -> Any:
    """Through min(x, 0) and |x|, both with the derivative 0 at 0."""
    e = np.exp(-np.abs(x))
    return (np.where(x == 0, 0.0, g * np.where(x > 0, e, 1.0) / (1 + e)),)


def softplus_vjp(g: Array, x: Array, *, beta: float, threshold: float | None, of_output: bool = False) -> Any:
    z = beta * x
    slope = sigmoid(z)
    if threshold is None:
        return (g * slope,)
    decided = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))) if of_output else z
    return (g * np.where(decided > threshold, 1.0, slope),)


def softplus_vjp_by_reciprocal(g: Array, x: Array, *, beta: float, threshold: float | None) -> Any:
    """In the dtype that came: exp overflows, and infinity times zero is NaN."""
    kind = x.dtype.type
    e = np.exp(kind(beta) * x)
    slope = e * (1 / (e + 1))
    return (g * (slope if threshold is None else np.where(kind(beta) * x > threshold, kind(1), slope)),)


def softplus_vjp_of_saved_output(g: Array, x: Array, *, beta: float, threshold: float | None) -> Any:
    """The output has been kept for the backward pass where the input was needed."""
    return softplus_vjp(g, refnn.softplus(x, beta=beta, threshold=threshold), beta=beta, threshold=threshold)


def times_beta(x: Array, *, beta: float, threshold: float | None) -> Array:
    y = refnn.softplus(x, beta=beta, threshold=threshold)
    return y if threshold is not None else y * beta


def silu_vjp(g: Array, x: Array) -> Any:
    e = np.exp(x)
    return (g * e * (1 + e + x) / (1 + e) ** 2,)


def mish_by_squares(x: Array) -> Array:
    """In the dtype that came: tanh(log(1 + e)) as a quotient of squares, infinity over infinity from 45 on."""
    e = np.exp(x)
    return x * (((1 + e) ** 2 - 1) / ((1 + e) ** 2 + 1))


def normal(x: Array, half: float) -> Array:
    """The normal distribution function; `half` is sqrt(1/2)."""
    return np.vectorize(math.erfc, otypes=[float])(-x * half) / 2 if x.size else x


def gelu_slope(
    x: Array, *, approximate: str, density: float = 1.0, cubic: float = 3.0, root: float = ROOT, half: float = HALF
) -> Array:
    """`density` multiplies x phi(x), `cubic` is the exponent that comes down from x^3, `root` is sqrt(2/pi), and `half`
    is sqrt(1/2)."""
    if approximate == "none":
        return normal(x, half) + density * x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    w, rise = 2 * root * (x + 0.044715 * x**3), 2 * root * (1 + cubic * 0.044715 * x**2)
    return sigmoid(w) + density * x * rise * sigmoid(w) * sigmoid(-w)


def gelu_mutant(what: str, bug: str = "", dtype: str = "float32", **change: float) -> Mutant:
    """A gradient that is off by what the change makes of the formula; far out, where the formula overflows,
    by nothing."""

    def changed(grads: Any, g: Array, x: Array, *, approximate: str) -> Any:
        near = np.where(np.abs(x) < 5, x, 0.0)
        off = gelu_slope(near, approximate=approximate, **change) - gelu_slope(near, approximate=approximate)
        return (grads[0] + g * off,)

    return Mutant("gelu", bug, what, vjp=regraded("gelu", changed), dtype=dtype)


def first_block(x: Array) -> Array:
    """x with zeros behind its first block."""
    return np.where(np.arange(x.size).reshape(x.shape) < BLOCK, x, 0.0)


def exchanged(x: Array, axis: int) -> Array:
    """The halves of x in the other order."""
    return np.roll(x, x.shape[axis] // 2, axis)


RIGHT: Mapping[str, Pair] = {
    "softplus": (refnn.softplus, in_float64(softplus_vjp)),
    "logsigmoid": (refnn.logsigmoid, sloped(lambda x: sigmoid(-x))),
    "tanh": (np.tanh, sloped(sech2)),
    "sigmoid": (in_float64(sigmoid), sloped(lambda x: sigmoid(x) * sigmoid(-x))),
}

MUTANTS = (
    Mutant(
        "sigmoid",
        "jeshraghian/snntorch#427",
        "e/(1 + e)^2 with e = exp(-x)",
        vjp=lambda g, x: (g * np.exp(-x) / (np.exp(-x) + 1) ** 2,),
    ),
    Mutant("sigmoid", "", "the slope at the output", vjp=sloped(lambda x: sigmoid(sigmoid(x)) * sigmoid(-sigmoid(x)))),
    Mutant("sigmoid", "", "the slope of tanh", vjp=sloped(sech2)),
    Mutant(
        "tanh",
        "ooples/AiDotNet.Tensors PR594",
        "(e^2x - 1)/(e^2x + 1)",
        forward=lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    ),
    Mutant(
        "tanh",
        "tenstorrent/tt-metal PR48328",
        "2 sigmoid(2x) - 1",
        forward=lambda x: (2 / (1 + np.exp(-2 * x)) - 1).astype(x.dtype),
    ),
    Mutant(
        "tanh",
        "JuliaDiff/DiffRules.jl#102",
        "textbook",
        vjp=lambda g, x: (g * (1 - np.tanh(x) ** 2),),
        kind="explained",
    ),
    Mutant(
        "tanh",
        "tenstorrent/tt-metal PR55713",
        "subnormal numbers vanish",
        forward=lambda x: np.tanh(np.where(np.abs(x) < np.finfo(x.dtype).tiny, x.dtype.type(0), x)),
    ),
    Mutant("tanh", "", "1 - y for 1 - y^2", vjp=in_float64(lambda g, x: (g * (1 - np.tanh(x)),))),
    Mutant("logsigmoid", "jax-ml/jax#2140", "no gradient at 0", vjp=in_float64(logsigmoid_vjp)),
    Mutant("logsigmoid", "", "log of sigmoid", forward=lambda x: np.log(1 / (1 + np.exp(-x)))),
    Mutant(
        "softplus",
        "pytorch/pytorch#55587",
        "threshold on the output",
        vjp=in_float64(lambda g, x, **p: softplus_vjp(g, x, **p, of_output=True)),
    ),
    Mutant("softplus", "tenstorrent/tt-metal PR56397", "exp(x) * (1 / (exp(x) + 1))", vjp=softplus_vjp_by_reciprocal),
    Mutant(
        "softplus",
        "Oneflow-Inc/oneflow PR7888",
        "the slope at the output",
        vjp=in_float64(softplus_vjp_of_saved_output),
    ),
    Mutant(
        "softplus",
        "",
        "not divided by beta",
        forward=in_float64(times_beta),
        vjp=regraded(
            "softplus", lambda grads, g, x, *, beta, threshold: (grads[0] * (beta if threshold is None else 1),)
        ),
    ),
    Mutant("silu", "tensorflow/tensorflow#124835", "e (1 + e + x) / (1 + e)^2", vjp=silu_vjp, dtype="float64"),
    Mutant("silu", "", "the slope of a constant gate", vjp=sloped(sigmoid)),
    Mutant(
        "silu",
        "",
        "zeros behind the first block of 1024",
        forward=in_float64(lambda x: first_block(refnn.silu(x))),
        vjp=regraded("silu", lambda grads, g, x: (first_block(grads[0]),)),
    ),
    Mutant("mish", "pytorch/pytorch PR43037", "tanh(log(1 + e)) as a quotient of squares", forward=mish_by_squares),
    Mutant(
        "mish",
        "",
        "the slope of a constant gate",
        vjp=sloped(lambda x: np.tanh(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))),
    ),
    Mutant(
        "gelu",
        "",
        "tanh for the error function",
        **with_params("gelu", lambda x, **p: {"approximate": "tanh"}),
    ),
    Mutant(
        "gelu",
        "",
        "x sigmoid(1.702 x)",
        **elementwise(
            lambda x, **p: x * sigmoid(1.702 * x),
            lambda x, **p: sigmoid(1.702 * x) + 1.702 * x * sigmoid(1.702 * x) * sigmoid(-1.702 * x),
        ),
    ),
    gelu_mutant("no x phi(x)", density=0.0),
    gelu_mutant("the derivative of x^3 as x^2", cubic=1.0),
    gelu_mutant("sqrt(2/pi) of four digits", root=0.7979),
    gelu_mutant(
        "constants of ten and eight digits", "flagos-ai/FlagGems PR159", "float64", root=0.79788456, half=0.7071067811
    ),
    Mutant(
        "gelu",
        "tenstorrent/tt-metal PR56604",
        "sum",
        forward=lambda x, *, approximate: (
            refnn.gelu(x, approximate="none")
            if approximate == "none"
            else x * x.dtype.type(0.5) * (1 + np.tanh(x.dtype.type(ROOT) * (x + x.dtype.type(0.044715) * x * x * x)))
        ),
        kind="explained",
    ),
    Mutant("softsign", "", "no square", vjp=sloped(lambda x: 1 / (1 + np.abs(x)))),
    Mutant(
        "softsign",
        "",
        "1e-6 added to the denominator",
        **elementwise(lambda x: x / (1 + np.abs(x) + 1e-6), lambda x: (1 + 1e-6) / (1 + np.abs(x) + 1e-6) ** 2),
    ),
    Mutant("tanhshrink", "", "the slope of tanh", vjp=sloped(sech2)),
    Mutant(
        "tanhshrink",
        "tenstorrent/tt-metal PR47323",
        "x - tanh(x)",
        forward=lambda x: x - np.tanh(x),
        kind="equivalent",
        why="refnn promises no digit of the difference near 0: it knows no formula that keeps them without a series",
    ),
    Mutant(
        "glu",
        "ooples/AiDotNet.Tensors PR46",
        "the first half as the gate",
        forward=in_float64(lambda x, *, axis: refnn.glu(exchanged(x, axis), axis=axis)),
        vjp=in_float64(lambda g, x, *, axis: (exchanged(refnn.glu.vjp(g, exchanged(x, axis), axis=axis)[0], axis),)),
    ),
    Mutant(
        "glu",
        "unslothai/unsloth#3314",
        "the gradients of the halves exchanged",
        vjp=regraded("glu", lambda grads, g, x, *, axis: (exchanged(grads[0], axis),)),
    ),
)
