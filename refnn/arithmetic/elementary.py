r"""Elementary functions of numbers (hi, lo, rad), with certified radii: exp, expm1, log, log1p, tanh, erf, erfc, sqrt,
rsqrt.

Each but the roots is reduced by a table to an argument below 2**-13 in magnitude, of the error functions below 2**-5
(Tang, ACM Transactions on Mathematical Software 15 (1989) 144 and 16 (1990) 378). There it is its series: the first
terms in twice the precision, the others in float64. Products and sums of leading parts are taken apart without error.
The error of what is left is bounded in advance. With u = 2**-53 and an argument |r| < 2**-13.5:

    fourth and later terms     at most |r|**4 / 4, rounded ten times at most: 10 u |r|**4 / 4 < |r| 2**-92
    second parts               each at most 2 u of its term, added up with ten roundings: 20 u u |r| < |r| 2**-101
    constants                  two float64 each, off by u u of their size; ln 2 in three parts

The argument's radius is multiplied by the largest slope within it. Results are known to 2**-89 of their size at least,
also where a function vanishes; exp to 2**-949 where it is below that. The radius is infinite outside of a function's
domain and range, and where the argument's radius is so large that the slope is not known.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refnn.arithmetic import CONSTANTS
from refnn.arithmetic.doubled import OUTWARD, Array, Triple, closed, exact_product, product, quotient, total, two_sum
from refnn.arithmetic.parts import Part

_STEPS = 2**12  # of exp's table between two powers of two
_CELLS = 2**14  # of log's table in a unit
_LOWEST = 11585  # of log's cells: sqrt(1/2)
_SERIES = 2.0**-92  # relative error of a series
_LOST = 2.0**-100  # of constants and second parts, relative to the leading ones
_BITS = 200  # of Arb, for constants
_NODES, _LAST = 16, 448  # of the error function's table: so many in a unit, up to 28
_POWERS, _EXACT = 18, 8  # coefficients around a node, and up to which power they are evaluated in twice the precision
_SLOPE = 2 / math.sqrt(math.pi) * (1 + 2.0**-40)  # the largest, of the error functions; the square of 28 is rounded
_POLYNOMIAL = 2.0**-96  # relative error of such a sum: |t|**9 2**-51 is 2**-96, of a tenth of the first coefficient


def _exactly(f: Callable[[Any], Any], *bits: int) -> list[float]:
    """A constant's leading parts, of so many bits each, and the float64 nearest the rest. `f` makes a ball of it, from
    the class of balls."""
    import flint

    parts = []
    with flint.ctx.workprec(_BITS):
        value = f(flint.arb)
        for n in bits:
            hi = float(value)
            unit = 2.0 ** (int(np.frexp(hi)[1]) - n)
            parts.append(float(np.rint(hi / unit) * unit))
            value = value - parts[-1]
        return [*parts, float(value)]


def _table(f: Callable[[int, Any], Any], indices: range) -> tuple[Array, Array]:
    high, low = zip(*(_exactly(functools.partial(f, i), 53) for i in indices), strict=True)
    return np.array(high), np.array(low)


@functools.cache
def _logarithm_of_2(parts: int, bits: int) -> list[float]:
    """The first two pieces of the quotient have so many bits: times an integer of few they are exact."""
    return _exactly(lambda arb: arb(2).log() / parts, bits, bits)


@functools.cache
def _powers() -> tuple[Array, Array]:
    """2**(j/4096), for j from -2048."""
    return _table(lambda i, arb: (arb(2).log() * i / _STEPS).exp(), range(-_STEPS // 2, _STEPS // 2))


@functools.cache
def _powers_less_one() -> tuple[Array, Array]:
    return _table(lambda i, arb: (arb(2).log() * i / _STEPS).expm1(), range(-_STEPS // 2, _STEPS // 2))


@functools.cache
def _reciprocals() -> tuple[Array, tuple[Array, Array]]:
    """Numbers of 16 bits near the reciprocals of the cells' middles, and minus their logarithms."""
    cells = range(_LOWEST, 2 * _LOWEST + 2)
    numbers = np.rint(2.0**15 * _CELLS / np.array(cells)).astype(int)
    return numbers / 2.0**15, _table(lambda i, arb: -(arb(int(numbers[i])) / 2**15).log(), range(len(cells)))


@functools.cache
def constant(name: str) -> tuple[float, float, float]:
    """One of `refnn.arithmetic.CONSTANTS` as (hi, lo, rad)."""
    p, q, power = CONSTANTS[name]
    high, low = _exactly(lambda arb: (arb(p) / q * arb.pi() ** power).sqrt(), 53)
    return high, low, high * _LOST


def _powers_of(h: Part, low: Part) -> tuple[Part, Part, Part, Part]:
    """r**2 / 2 and r**3 / 6 of r = h + low, as two float64 each."""
    p, p_low = exact_product(h, h)
    p, p_low = p / 2, p_low / 2 + h * low
    c, c_low = exact_product(p, h)
    third = c / 3
    double, rest = two_sum(2 * third, third)
    return p, p_low, third, (((c - double) - rest) + (c_low + (p_low * h + p * low))) / 3


def _reduced(hi: Array, lo: Part) -> tuple[Array, Array, Triple]:
    """(q, j, e) with exp(hi + lo) = 2**q 2**(j/4096 - 1/2) (1 + e)."""
    step = _logarithm_of_2(_STEPS, 29)
    k = np.rint(np.clip(np.nan_to_num(hi), -1100.0, 1100.0) / (step[0] + step[1]))
    b, error = two_sum(hi - k * step[0], -k * step[1])
    last = k * step[2]
    r, low = two_sum(b, error + (lo - last))
    p, p_low, c, c_low = _powers_of(r, low)
    rest = r * r * (r * r) * (1 / 24 + r * (1 / 120 + r * (1 / 720 + r / 5040)))
    s, s_error = two_sum(p, c)
    e, e_error = two_sum(r, s)
    e, e_low = two_sum(e, e_error + (low + (s_error + (p_low + (c_low + rest)))))
    rad = np.abs(r) * _SERIES + (np.abs(error) + np.abs(lo) + np.abs(last)) * 2.0**-51
    whole = k.astype(np.int64) + _STEPS // 2
    return whole // _STEPS, whole % _STEPS, (e, e_low, rad)


def exp(hi: Array, lo: Part, rad: Part) -> Triple:
    q, j, (e, e_low, e_rad) = _reduced(hi, lo)
    high, low = (t[j] for t in _powers())
    p, p_low = exact_product(high, e)
    y, y_error = two_sum(high, p)
    y, y_low = two_sum(y, y_error + (p_low + (high * e_low + (low + low * e))))
    small = q < -950
    y, y_low = np.where(small, 0.0, np.ldexp(y, q)), np.where(small, 0.0, np.ldexp(y_low, q))
    own = np.where(small, 2.0**-949, np.ldexp(high * (_LOST + e_rad), q))
    own = own + _grown(y + own, rad)
    return closed(y, y_low, np.where((hi > -np.inf) & (hi < 1000.0), own, np.inf))


def expm1(hi: Array, lo: Part, rad: Part) -> Triple:
    q, j, (e, e_low, e_rad) = _reduced(hi, lo)
    high, less, less_low = (np.ldexp(t[j], q) for t in (_powers()[0], *_powers_less_one()))
    low = np.ldexp(_powers()[1][j], q)
    p, p_low = exact_product(high, e)
    one, one_error = two_sum(np.ldexp(1.0, q), -1.0)
    y, y_error = two_sum(one, less)
    y, error = two_sum(y, p)
    y, y_low = two_sum(y, error + (y_error + (p_low + (high * e_low + (less_low + (one_error + low * e))))))
    own = (np.abs(one) + np.abs(less) + np.abs(p)) * _LOST + high * e_rad + np.where(q < -800, 2.0**-700, 0.0)
    own = np.where(hi != 0, own + 2.0**-1074, 0.0)  # products may have lost so much
    own = own + _grown(np.abs(y) + 1 + own, rad)
    return closed(y, y_low, np.where((hi > -np.inf) & (hi < 1000.0), own, np.inf))


def _grown(power: Part, rad: Part) -> Part:
    """What the argument's radius becomes: exp(d) - 1 is at most d + d**2 up to 1/2."""
    return np.where(np.asarray(rad) <= 0.5, power * (rad * (1 + rad)) * OUTWARD, np.inf)


def log(hi: Array, lo: Part, rad: Part) -> Triple:
    positive = hi > 0
    return _off(_log(np.where(positive, hi, 1.0), lo), np.where(positive, hi, 0.0), rad)


def log1p(hi: Array, lo: Part, rad: Part) -> Triple:
    y, error = two_sum(hi, np.ones_like(hi))
    low, lost = two_sum(error, lo)
    y, low = two_sum(y, low)
    positive = y > 0
    rad = rad + np.where(np.abs(hi) < 2.0**-15, 0.0, np.abs(lost))  # near 1 the argument itself is taken
    return _off(_log(np.where(positive, y, 1.0), low, (hi, lo)), np.where(positive, y, 0.0), rad)


def _off(y: Triple, x: Array, rad: Part) -> Triple:
    """A logarithm of x, with what the radius of x adds: at most rad / (x - rad)."""
    least = x * (1 - 2.0**-50) - rad * OUTWARD
    return closed(y[0], y[1], y[2] + np.where((least > 0) & (x < np.inf), rad / least * OUTWARD, np.inf))


def _log(hi: Array, lo: Part, beyond_one: tuple[Array, Part] | None = None) -> Triple:
    """log(hi + lo) of positive numbers; `beyond_one` is hi + lo - 1 with all its digits."""
    m, q = np.frexp(np.nan_to_num(hi))
    below = m * _CELLS < _LOWEST + 0.5
    m, q = np.where(below, 2 * m, m), np.where(below, q - 1, q)
    i = np.rint(m * _CELLS).astype(np.int64) - _LOWEST
    near, (table, table_low) = _reciprocals()
    reciprocal = near[i]
    t, error = exact_product(m, reciprocal)
    t, error = two_sum(t - 1, error)
    left = np.ldexp(lo, -q) * reciprocal
    t_low, lost = two_sum(error, left)
    t, t_low = two_sum(t, t_low)
    lost = np.abs(lost) + np.where(reciprocal == 1, 0.0, np.abs(left) * 2.0**-53)
    if beyond_one is not None:
        same = (q == 0) & (i == _CELLS - _LOWEST)
        t, t_low = np.where(same, beyond_one[0], t), np.where(same, beyond_one[1], t_low)
        lost = np.where(same, 0.0, lost)
    p, p_low, c, c_low = _powers_of(t, t_low)
    rest = t * t * (t * t) * (1 / 4 - t * (1 / 5 - t * (1 / 6 - t / 7)))
    first, second, last = (q * part for part in _logarithm_of_2(1, 42))
    y, low = two_sum(first, second)
    low = low + last
    for term, term_low in ((table[i], table_low[i]), (t, t_low), (-p, -p_low), (2 * c, 2 * c_low - rest)):
        y, error = two_sum(y, term)
        low = low + (error + term_low)
    y, low = two_sum(y, low)
    own = np.abs(t) * _SERIES + (np.abs(first) + np.abs(table[i])) * _LOST + lost
    return y, low, np.where(t != 0, own + 2.0**-1074, own)


def tanh(hi: Array, lo: Part, rad: Part) -> Triple:
    sign, tame = np.where(hi < 0, -1.0, 1.0), np.abs(hi) < 450.0
    z, z_low, z_rad = expm1(np.where(tame, -2 * sign * hi, -900.0), np.where(tame, -2 * sign * lo, 0.0), 0.0)
    # tanh|x| = -z / (2 + z)
    y, y_low, y_rad = quotient(-z, -z_low, z_rad, *total(z_rad, np.full_like(z, 2.0), z, z_low))
    return closed(sign * y, sign * y_low, np.where(np.isfinite(hi), y_rad + rad, np.inf))


@functools.cache
def _error_series() -> tuple[Array, Array]:
    """The coefficients of two functions around i/16, as arrays of (power, i): of erf(x) / x at nodes below 1/2, and at
    the others of exp(x**2) erfc(x), which is smooth where erfc falls."""

    def around(arb: Any, series: Any, i: int) -> list[Any]:
        x = series([arb(i) / _NODES, 1], _POWERS + 1)
        if i >= _NODES // 2:
            return list((x.erfc() * (x * x).exp()).coeffs())
        return [*list(x.erf().coeffs())[1:], arb(0)] if i == 0 else list((x.erf() / x).coeffs())  # which is even

    import flint

    cap = flint.ctx.cap
    try:
        flint.ctx.cap = _POWERS + 1
        with flint.ctx.workprec(4 * _BITS):
            rows = [around(flint.arb, flint.arb_series, i)[:_POWERS] for i in range(_LAST + 1)]
            high = [[float(v) for v in row] for row in rows]
            low = [[float(v - h) for v, h in zip(*pair, strict=True)] for pair in zip(rows, high, strict=True)]
    finally:
        flint.ctx.cap = cap
    return np.array(high).T, np.array(low).T


def _error_function(hi: Array, lo: Part, rad: Part) -> tuple[Triple, Triple, Array, Array]:
    """erf(x) / x and erfc(x) of the magnitude x of the argument, each at its own nodes; where the first is, and what
    the argument's radius becomes."""
    sign = np.where(hi < 0, -1.0, 1.0)
    x, x_low = sign * hi, sign * lo
    i = np.rint(np.clip(np.nan_to_num(x), 0.0, _LAST / _NODES) * _NODES).astype(np.int64)
    small = i < _NODES // 2
    t, t_low = two_sum(x - i / _NODES, x_low)
    high, low = _error_series()
    p = high[_POWERS - 1][i]
    for n in range(_POWERS - 2, _EXACT, -1):
        p = p * t + high[n][i]
    y, y_low = p, np.zeros_like(p)
    for n in range(_EXACT, -1, -1):
        m, error = exact_product(y, t)
        s, s_error = two_sum(high[n][i], m)
        y, y_low = two_sum(s, s_error + (error + (y * t_low + y_low * t) + low[n][i]))
    series = (y, y_low, np.abs(y) * _POLYNOMIAL)
    square, error = exact_product(x, x)
    square, error = two_sum(square, error + 2 * x * x_low)
    falling = exp(-np.asarray(square), -error, square * 2.0**-103)
    least = np.maximum(x - rad * OUTWARD, 0.0)
    grown = _SLOPE * np.exp(-least * least) * rad * OUTWARD
    known = np.isfinite(hi) & (x < _LAST / _NODES)
    return series, product(*series, *falling), small, np.where(known, grown, np.inf)


def erf(hi: Array, lo: Part, rad: Part) -> Triple:
    series, above, small, grown = _error_function(hi, lo, rad)
    sign = np.where(hi < 0, -1.0, 1.0)
    inner = product(hi, lo, 0.0, *series)
    outer = total(above[2], np.ones_like(hi), -above[0], -above[1])
    y, low = (np.where(small, a, sign * b) for a, b in zip(inner[:2], outer[:2], strict=True))
    return closed(y, low, np.where(small, inner[2], outer[2]) + grown)


def erfc(hi: Array, lo: Part, rad: Part) -> Triple:
    series, above, small, grown = _error_function(hi, lo, rad)
    inner = product(hi, lo, 0.0, *series)
    near = total(inner[2], np.ones_like(hi), -inner[0], -inner[1])
    below = total(above[2], np.full_like(hi, 2.0), -above[0], -above[1])
    y, low, own = (np.where(small, a, np.where(hi < 0, b, c)) for a, b, c in zip(near, below, above, strict=True))
    return closed(y, low, own + grown)


def sqrt(hi: Array, lo: Part, rad: Part) -> Triple:
    """One step of Newton's from float64's own root: the second order is 2**-107 of the result."""
    root = np.sqrt(hi)
    square, error = exact_product(root, root)
    rest = (hi - square) + (lo - error)
    y, low = two_sum(root, rest / (2 * root))
    least = hi * (1 - 2.0**-50) - rad * OUTWARD
    own = np.where(hi < 2.0**-900, np.inf, y * 2.0**-102)  # there the square lost digits
    known = (hi > 0) & (least > 0) & (hi < np.inf)
    zero = (hi == 0) & (np.asarray(rad) == 0)
    y, low = np.where(zero, 0.0, y), np.where(zero, 0.0, low)
    grown = rad / (np.sqrt(least) + root) * OUTWARD
    return closed(y, low, np.where(zero, 0.0, np.where(known, own + grown, np.inf)))


def rsqrt(hi: Array, lo: Part, rad: Part) -> Triple:
    return quotient(np.ones_like(hi), 0.0, 0.0, *sqrt(hi, lo, rad))


FUNCTIONS = {
    "erf": erf,
    "erfc": erfc,
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "rsqrt": rsqrt,
    "sqrt": sqrt,
    "tanh": tanh,
}
