"""Functions of single elements: roots, exponentials, logarithms, circular functions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from refnn.study.power.mutant import Array, Mutant, Pair, in_float64, narrow, sloped


def by_newton(x: Array) -> Array:
    """The reciprocal root from a narrower format, and one step of Newton's."""
    y = narrow(1 / np.sqrt(x)).astype(x.dtype)
    return np.where(np.isfinite(y) & (y != 0), y * (1.5 - x / 2 * y * y), y)


def refined_reciprocal(x: Array) -> Array:
    """The reciprocal from a narrower format, and one step of Newton's."""
    y = narrow(1 / x).astype(x.dtype)
    return np.where(np.isfinite(y) & (y != 0), y * (2 - x * y), y)


def short_pi(x: Array) -> Array:
    """x less whole turns, with pi as float32 has it."""
    turns = np.where(np.isfinite(x), np.round(x / (2 * math.pi)), 0.0)
    return x - turns * (2 * float(np.float32(math.pi)))


RIGHT: Mapping[str, Pair] = {
    "square": (np.square, sloped(lambda x: 2 * x)),
    "sin": (in_float64(np.sin), sloped(np.cos)),
}

MUTANTS = (
    Mutant("neg", "", "the gradient keeps its sign", vjp=sloped(np.ones_like)),
    Mutant("neg", "", "zero less x", forward=lambda x: 0 - x),
    Mutant("abs", "", "the gradient has no sign", vjp=sloped(np.ones_like)),
    Mutant("abs", "", "abs'(0)=1", vjp=sloped(lambda x: np.where(x < 0, -1.0, 1.0)), kind="convention"),
    Mutant("abs", "", "zero keeps its sign", forward=lambda x: np.where(x < 0, -x, x)),
    Mutant("sign", "", "straight through", vjp=sloped(np.ones_like)),
    Mutant("sign", "", "1 at zero", forward=lambda x: np.where(x < 0, -1, np.where(x >= 0, 1, x)).astype(x.dtype)),
    Mutant("square", "", "no 2 in the gradient", vjp=sloped(lambda x: x)),
    Mutant("square", "", "the factor rounded to a narrower format", forward=lambda x: x * narrow(x).astype(x.dtype)),
    Mutant("exp", "", "the slope of 2^x", vjp=sloped(lambda x: np.exp(x) * math.log(2))),
    Mutant(
        "exp",
        "",
        "the argument rounded to a narrower format",
        forward=in_float64(lambda x: np.exp(x.astype(np.float32).astype(np.float64))),
        dtype="float64",
    ),
    Mutant("expm1", "", "y for y + 1", vjp=sloped(np.expm1)),
    Mutant("expm1", "", "exp(x) - 1", forward=lambda x: np.exp(x) - 1, kind="explained"),
    Mutant("log", "", "1e-7 added to the argument", forward=in_float64(lambda x: np.log(x + 1e-7))),
    Mutant("log", "", "1e-7 added to the denominator", vjp=sloped(lambda x: 1 / (x + 1e-7))),
    Mutant("log1p", "", "the slope of log", vjp=sloped(lambda x: 1 / x)),
    Mutant("log1p", "", "log(1 + x)", forward=lambda x: np.log(1 + x), kind="explained"),
    Mutant("sqrt", "", "no half in the gradient", vjp=sloped(lambda x: 1 / np.sqrt(x))),
    Mutant("sqrt", "", "no slope at zero", vjp=sloped(lambda x: np.where(x == 0, 0.0, 0.5 / np.sqrt(x)))),
    Mutant("rsqrt", "", "the slope of the root", vjp=sloped(lambda x: 0.5 / np.sqrt(x))),
    Mutant("rsqrt", "", "one step of Newton's from a narrower format", forward=by_newton),
    Mutant("sin", "", "the other sign of the slope", vjp=sloped(lambda x: -np.cos(x))),
    Mutant("sin", "", "pi of float32", forward=in_float64(lambda x: np.sin(short_pi(x)))),
    Mutant("cos", "", "the gradient has no sign", vjp=sloped(np.sin)),
    Mutant("cos", "", "pi of float32", forward=in_float64(lambda x: np.cos(short_pi(x)))),
    Mutant("reciprocal", "", "the gradient has no sign", vjp=sloped(lambda x: 1 / x**2)),
    Mutant(
        "reciprocal",
        "",
        "one step of Newton's from a narrower format",
        forward=refined_reciprocal,
    ),
)
