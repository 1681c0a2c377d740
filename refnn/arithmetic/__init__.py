"""The arithmetics: each answers the same primitives for its own kind of number.

An op is written once, as functions of an arithmetic `ar` and of arrays in it. It may use the operators
`+ - * /` and `** 2`, indexing, `.shape`, `.ndim`, `.T`, `.reshape`, and these primitives:

    array(x)                    lift a NumPy array of floats, exactly
    real(v)                     a real parameter (a float, or a Fraction over a power of two), or an array of them:
                                an implementation may round each once
    constant(name)              one of CONSTANTS, which an implementation may round once
    exp(x) log(x) tanh(x)       elementary functions
    expm1(x) log1p(x)           exp(x) - 1 and log(1 + x), without cancellation near 0
    erf(x) erfc(x)              the error function, and 1 - erf(x) without cancellation
    abs(x) relu(x)              |x|, max(x, 0)
    branch(x, above, below, at, kink)
                                `above` where x > at, `below` where x < at (0 if not given); where they are equal a
                                convention for the kink of that name decides
    sum(x, axis, keepdims)      a sum in any order
    dot(a, b, plus)             a @ b + plus, sums in any order, products fused or not
    contract(form, a, b, plus)  the same for any sums of products: a `Contraction` says which
    windows(x, w)               the cells under each tap of the windows: (..., *size) to (taps, ..., *count)
    fold(x, w)                  its transpose: what each tap gives is added to its cell
    max(x, axis, among)         the maximum, `among` a boolean array if not all take part
    route(g, x, axis, among)    g, sent to where x has its maximum along the axis: zero elsewhere, and nowhere if none
                                takes part; ties by a named convention
    product(*factors, over)     a product in any grouping, divided by `over`
    pivot(x, axis, finite)      a constant near max(x) that cancels from the final result; 0 where that is infinite,
                                if `finite` is asked for
    often(most, typical)        how often something is done that changes no exact value: at most, and where an error is
                                only to be expected
    optional(x)                 x, a term that an implementation may leave out
    either(first, second)       what two functions of nothing give: two formulas of one number, of which an
                                implementation may take either, the second where it stays finite
    saved(x, times)             x, a value that an implementation may store between two kernels, and round for that; a
                                product may be stored several `times`, after some of its factors
    inexact(x, operands, worst, expected, reach)
                                x as an algorithm gives it that is not written down: off by at most
                                worst(floor, *magnitudes) unit roundoffs, with a standard deviation of about
                                expected(floor, *magnitudes), and by way of numbers up to reach(floor, *magnitudes), if
                                given; plain functions of the magnitudes of its operands, and of the number below which
                                results lose digits. Where worst is not finite since operands are not, the result is NaN
    where(mask, a, b)           a choice by a plain boolean array, never by computed values
    one_hot(target, n, axis)    exact zeros and ones
    take(x, target, axis)       the entries that integer targets select

`a + b`, `a * b` and `a / b` mean one operation each. A chain of more than one addition or multiplication is written as
`sum`, `dot` or `product`, because implementations are free in the order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

BLOCK = 1 << 14  # elements of an array that stay in a core's cache with all that is computed from them

# The convention at kinks and ties. A number is the weight of the derivative above the kink: one for all kinks, or one
# for each by its name. A text says which of several maxima count: "first", "last" or "split"; "any" asks for a bound
# that holds for every choice. A network has a convention for each op, by the name of the op.
Convention = float | str | Mapping[str, "Convention"]


# Irrational constants by name: the square root of p/q times a power of pi, as (p, q, power).
CONSTANTS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {"sqrt(1/2)": (1, 2, 0), "sqrt(2/pi)": (2, 1, -1), "sqrt(1/(2*pi))": (1, 2, -1)}
)


def nearest(constant: str) -> float:
    """The float64 nearest a constant."""
    p, q, power = CONSTANTS[constant]
    return math.sqrt(p / q * math.pi**power)


def share(convention: Convention, kink: str) -> float:
    """The weight of `above` at the kink of that name. Conventions for ties leave it 0."""
    if isinstance(convention, Mapping):
        return share(convention[kink], kink)
    return 0.0 if isinstance(convention, str) else convention


def ties(convention: Convention) -> str:
    """Which of several maxima count."""
    return convention if isinstance(convention, str) else "first"


class Unsupported(NotImplementedError):
    """An arithmetic was asked for something that it cannot do."""

    def __init__(self, arithmetic: str, primitive: str) -> None:
        super().__init__(f"{arithmetic} has no {primitive!r}")
        self.arithmetic, self.primitive = arithmetic, primitive
