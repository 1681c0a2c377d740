"""Functions of single elements: roots, exponentials, logarithms, circular functions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

import refnn
from refnn.study.power.mutant import Array, Mutant, Pair, in_float64, narrow, sloped

ROOT = math.sqrt(2 * math.pi)


def by_newton(x: Array) -> Array:
    """The reciprocal root from a narrower format, and one step of Newton's."""
    y = narrow(1 / np.sqrt(x)).astype(x.dtype)
    return np.where(np.isfinite(y) & (y != 0), y * (1.5 - x / 2 * y * y), y)


def refined_reciprocal(x: Array) -> Array:
    """The reciprocal from a narrower format, and one step of Newton's."""
    y = narrow(1 / x).astype(x.dtype)
    return np.where(np.isfinite(y) & (y != 0), y * (2 - x * y), y)


def five_terms(x: Array) -> Array:
    """Off by 1.5e-7."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    rest = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1 - rest * np.exp(-(x**2)))


def short_atan(x: Array) -> Array:
    """Off by 5e-3 where |x| is below 1."""
    return np.where(np.abs(x) < 1, x / (1 + 0.28 * x**2), np.arctan(x))


def or_else(bound: float | None, other: float) -> float:
    return other if bound is None else bound


def slope_inside(x: Array, **p: float | None) -> Array:
    """1 between the bounds, and 0 on them."""
    return (x > or_else(p["min"], -math.inf)) & (x < or_else(p["max"], math.inf)) | np.isinf(x) & (
        np.sign(x) == (1 if p["max"] is None else -1 if p["min"] is None else 0)
    )


def short_pi(x: Array) -> Array:
    """x less whole turns, with pi as float32 has it."""
    turns = np.where(np.isfinite(x), np.round(x / (2 * math.pi)), 0.0)
    return x - turns * (2 * float(np.float32(math.pi)))


RIGHT: Mapping[str, Pair] = {
    "square": (np.square, sloped(lambda x: 2 * x)),
    "sinh": (in_float64(np.sinh), sloped(np.cosh)),
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
    Mutant("exp2", "", "the slope of exp", vjp=sloped(np.exp2)),
    Mutant("exp2", "", "log 2 of four digits", forward=in_float64(lambda x: np.exp(x * 0.6931))),
    Mutant("log2", "", "the slope of log", vjp=sloped(lambda x: 1 / x)),
    Mutant("log2", "", "1e-7 added to the argument", forward=in_float64(lambda x: np.log2(x + 1e-7))),
    Mutant("log10", "", "log 10 as a factor", vjp=sloped(lambda x: math.log(10) / x)),
    Mutant("log10", "", "log 10 of four digits", forward=in_float64(lambda x: np.log(x) / 2.303)),
    Mutant("erf", "", "the slope of a normal distribution", vjp=sloped(lambda x: np.exp(-(x**2)) / ROOT)),
    Mutant("erf", "", "five terms of Abramowitz and Stegun 7.1.26", forward=in_float64(five_terms)),
    Mutant("erfc", "", "the slope of erf", vjp=sloped(lambda x: np.exp(-(x**2)) * 2 / math.sqrt(math.pi))),
    Mutant("erfc", "", "1 - erf(x)", forward=lambda x: 1 - refnn.erf(x), kind="explained"),
    Mutant("tan", "", "1 - y^2", vjp=sloped(lambda x: 1 - np.tan(x) ** 2)),
    Mutant("tan", "", "pi of float32", forward=in_float64(lambda x: np.tan(short_pi(x)))),
    Mutant("sinh", "", "the other sign of the slope", vjp=sloped(lambda x: -np.cosh(x))),
    Mutant("sinh", "", "a difference of exponentials", forward=lambda x: (np.exp(x) - np.exp(-x)) / 2),
    Mutant("cosh", "", "the gradient has no sign", vjp=sloped(lambda x: np.sinh(np.abs(x)))),
    Mutant("cosh", "", "a sum of exponentials, which overflow", forward=lambda x: (np.exp(x) + np.exp(-x)) / 2),
    Mutant("asinh", "", "the slope of acosh", vjp=sloped(lambda x: 1 / np.sqrt(np.maximum(x**2 - 1, 1e-7)))),
    Mutant("asinh", "", "log(x + sqrt(x^2 + 1))", forward=lambda x: np.log(x + np.sqrt(x * x + 1))),
    Mutant("atan", "", "the slope of asin", vjp=sloped(lambda x: 1 / np.sqrt(1 + x**2))),
    Mutant("atan", "", "x / (1 + 0.28 x^2) inside 1", forward=in_float64(short_atan)),
    Mutant("clamp", "", "straight through", vjp=sloped(lambda x, **p: np.ones_like(x))),
    Mutant("clamp", "", "clamp'=open", vjp=sloped(slope_inside), kind="convention"),
    Mutant(
        "clamp",
        "",
        "NaN becomes a bound",
        forward=lambda x, **p: np.fmax(np.fmin(x, or_else(p["max"], np.inf)), or_else(p["min"], -np.inf)).astype(
            x.dtype
        ),
    ),
)
