"""Numbers of twice the precision: (hi, lo, rad), an unevaluated sum of two float64 arrays and a certified radius.

    |t - (hi + lo)| <= rad   for the exact real value t.

Sums and products of two float64 are taken apart without error, into a rounded result and what was rounded away (Knuth's
TwoSum; Dekker's TwoProd, with Veltkamp's splitting); what does not fit into hi + lo is added to the radius as it is, so
a result that fits has the radius zero. A quotient is bounded by its residual: |a/b - q| = |a - q b| / |b|.

All functions are elementwise, and expect that warnings of NumPy are off: what overflows has an infinite radius.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refnn.arithmetic.parts import Mask, Part, is_zero

Array = np.ndarray
Triple = tuple[Part, Part, Part]  # hi, the float64 nearest hi + lo; lo; the radius

_U = 2.0**-53
OUTWARD = 1 + 2.0**-47  # makes an upper bound of a sum of magnitudes that rounded at most 30 times on any path
_SMALL = 2.0**-960  # products from here on lose nothing below the normal range


# --- without error ---------------------------------------------------------------------------------------------------


def two_sum(a: Part, b: Part) -> tuple[Part, Part]:
    """a + b, rounded, and what was rounded away; the second is NaN where the first overflows."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_prod(a: Part, b: Part) -> Triple:
    """a * b, rounded, what was rounded away, and a bound of what is missing below the normal range.

    The second is NaN where the first overflows or a factor is beyond 2**996.
    """
    p, rest = exact_product(a, b)
    size = np.abs(p)
    if np.all(size >= _SMALL):
        return p, rest, 0.0
    small = (size < _SMALL) & (a != 0) & (b != 0)
    return p, np.where(small, 0.0, rest), np.where(small, size * _U + 2.0**-1074, 0.0)


def exact_product(a: Part, b: Part) -> tuple[Part, Part]:
    """a * b, rounded, and what was rounded away, apart from what is lost below the normal range."""
    p = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    return p, a_low * b_low - (((p - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _split(x: Part) -> tuple[Part, Part]:
    """A float64 as the sum of two of at most 26 bits."""
    c = x * 134217729.0  # 2**27 + 1
    high = c - (c - x)
    return high, x - high


def distill(terms: Sequence[Part]) -> Triple:
    """hi, lo and a bound of the rest of the exact sum of the terms, which are best given in falling order."""
    first, *others = [t for t in terms if not is_zero(t)] or [terms[0]]
    low: list[Part] = []
    rest: Part = 0.0
    for t in others:
        first, error = two_sum(first, t)
        low.append(error)
    if not low:
        return first, 0.0, 0.0
    second = low[0]
    for error in low[1:]:
        second, lost = two_sum(second, error)
        rest = rest + np.abs(lost)
    return *two_sum(first, second), rest


# --- upper bounds ----------------------------------------------------------------------------------------------------


def times(a: Part, b: Part) -> Part:
    """An upper bound of the product of two magnitudes; zero where one is."""
    if is_zero(a) or is_zero(b):
        return 0.0
    return _above_underflow(a * b * OUTWARD, (a > 0) & (b > 0))


def over(a: Part, b: Part) -> Part:
    """An upper bound of the quotient of two magnitudes; zero where the first is."""
    return 0.0 if is_zero(a) else _above_underflow(a / b * OUTWARD, a > 0)


def _above_underflow(bound: Part, positive: Mask) -> Part:
    """The bound, or a coarser one where it may have lost digits below the normal range."""
    if np.all(bound >= 2.0**-1000):
        return bound
    return np.where((bound < 2.0**-1000) & positive, 2.0**-999, bound)


# --- sums, products, quotients of (hi, lo, rad) ----------------------------------------------------------------------


def closed(hi: Part, lo: Part, rad: Part) -> Triple:
    """hi, lo, and the radius rounded outward; it is infinite where something is not finite."""
    rad = rad * OUTWARD  # sums of subnormal magnitudes are exact
    sane = np.isfinite(hi + lo + rad)
    if not sane.all():
        lo, rad = np.where(sane, lo, 0.0), np.where(sane, rad, np.inf)
    return hi, lo, rad


def total(rad: Part, *terms: Part) -> Triple:
    """The sum of terms that together are known up to `rad`."""
    hi, lo, rest = distill(terms)
    return closed(hi, lo, rad + rest)


def product(a: Part, a_lo: Part, a_rad: Part, b: Part, b_lo: Part, b_rad: Part) -> Triple:
    p, e, rad = two_prod(a, b)
    terms = [p, e]
    for x, y in ((a, b_lo), (b, a_lo)):
        if not is_zero(y):
            cross, rest, missing = two_prod(x, y)
            terms.append(cross)
            rad = rad + np.abs(rest) + missing
    rad = rad + times(np.abs(a_lo), np.abs(b_lo))
    # |ta tb - a b| <= |a| rb + |b| ra + ra rb
    rad = rad + times(np.abs(a), b_rad) + times(np.abs(b), a_rad) + times(a_rad, b_rad)
    hi, lo, rest = distill(terms)
    return closed(hi, lo, rad + rest)


def quotient(a: Part, a_lo: Part, a_rad: Part, b: Part, b_lo: Part, b_rad: Part) -> Triple:
    left: list[Part] = [a, a_lo]
    digits: list[Part] = []
    missing: Part = 0.0
    for _ in range(2):  # long division: each digit is a float64, what is left is known up to `missing`
        digits.append(left[0] / b)
        p, e, lost = two_prod(digits[-1], b)
        left.extend([-p, -e])
        missing = missing + lost
        if not is_zero(b_lo):
            p, e, lost = two_prod(digits[-1], b_lo)
            left.append(-p)
            missing = missing + np.abs(e) + lost
        hi, lo, rest = distill(left)
        left, missing = [hi, lo], missing + rest
    hi, lo = two_sum(*digits)
    # |ta/tb - q| = |ta - q tb| / |tb| <= (|a - q b| + ra + |q| rb) / (|b| - rb)
    residual = np.abs(left[0]) + np.abs(left[1]) + missing + a_rad + times(np.abs(hi), b_rad)
    least = np.abs(b) * (1 - 2.0**-50) - b_rad * OUTWARD
    return closed(hi, lo, np.where(least > 0, over(residual * OUTWARD, least), np.inf))


def bound(*magnitudes: Part) -> tuple[Part]:
    """An upper bound of m0 m1 + m2 m3 + ..."""
    total: Part = 0.0
    for x, y in zip(magnitudes[::2], magnitudes[1::2], strict=True):
        total = total + times(x, y)
    return (total * OUTWARD,)
