r"""erf and erfc for NumPy arrays of float64, which NumPy itself lacks, to less than 2.5 ulps.

Below 1 in magnitude erf(x) = x (1 + P(x^2)). Further out everything comes from one polynomial in t = (x - 4) / (x + 4),

    erfc(x) = exp(-x^2) (1 + Q(t)) / (1 + 2x),  x >= 1/4,

the form of Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < infinity", Math.
Comp. 36 (1981) 249, fitted anew for 1/4 <= x <= 28: beyond 27.3 erfc(x) is zero in float64. P and Q stay below 0.3, so
their own roundings hardly count. x^2 and 1 + 2x are carried in two float64 numbers each, since an error of half an ulp
in x^2 = 700 alone would be one of hundreds in the result; what remains is the error of one exponential and of the last
rounding. The coefficients (lowest power first, five a row) are those that mpmath.chebyfit finds, with errors below
2**-62; tests/test_erf.py finds them again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refnn.arithmetic.parts import in_blocks

_NEAR = np.array(
    [
        [0.1283791670955126, -0.37612638903183754, 0.11283791670955126, -0.026866170645131218, 0.005223977625441674],
        [
            -0.0008548327023403001,
            0.00012055332978879483,
            -1.4925650236967501e-05,
            1.6462110782018636e-06,
            -1.636576864883207e-07,
        ],
        [
            1.4806027146128752e-08,
            -1.2277734486795524e-09,
            9.323723518153027e-11,
            -6.1967364287877e-12,
            2.8067128195611264e-13,
        ],
    ]
)
_TAIL = np.array(
    [
        [0.2329951186255525, -0.1396211168405625, 0.015379652102620003, 0.06809705425469176, -0.10103906603632218],
        [0.09373283499838705, -0.06633036581173578, 0.03716751553682237, -0.016197734064539192, 0.0050319699839448204],
        [
            -0.0007577732332662187,
            -0.00019925672340903404,
            0.00015062139310185256,
            -2.4399146195343285e-05,
            -1.1221108634860532e-05,
        ],
        [
            5.709708340248241e-06,
            2.9189823165552563e-07,
            -8.256999711648111e-07,
            7.708521874979515e-08,
            1.1075612539171755e-07,
        ],
        [
            -1.9696678435754512e-08,
            -1.483660454977184e-08,
            2.3987246452751683e-09,
            1.5602387369576255e-09,
            -4.880956751396996e-13,
        ],
    ]
)

_HIGH = np.int64(-(1 << 27))  # the sign, the exponent and the upper 25 fraction bits


def erf(x: np.ndarray) -> np.ndarray:
    """2/sqrt(pi) times the integral of exp(-t^2) from 0 to x, for a float64 array of any shape."""
    return _each(_erf, x)


def erfc(x: np.ndarray) -> np.ndarray:
    """1 - erf(x) without cancellation, down to the smallest subnormal number, for a float64 array of any shape."""
    return _each(_erfc, x)


def _each(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    with np.errstate(all="ignore"):
        (y,) = in_blocks(lambda piece: (function(piece),), x.reshape(-1))
    return np.reshape(y, x.shape)


def _erf(x: np.ndarray) -> np.ndarray:
    near = np.abs(x) < 1
    return _pieces(x, (near, _near), (~near, lambda v: np.copysign(1 - _tail(np.abs(v)), v)))  # NaN is not near


def _erfc(x: np.ndarray) -> np.ndarray:
    low, high = x <= -1, ~(x < 0.25)
    return _pieces(x, (low, lambda v: 2 - _tail(-v)), (~(low | high), lambda v: 1 - _near(v)), (high, _tail))


def _pieces(x: np.ndarray, *pieces: tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]) -> np.ndarray:
    """Each function of the elements that its mask selects."""
    y = np.empty_like(x)
    for mask, function in pieces:
        chosen = np.flatnonzero(mask)
        y[chosen] = function(x[chosen])
    return y


def _near(x: np.ndarray) -> np.ndarray:
    """erf(x) for |x| < 1."""
    return np.asarray(x + x * _polynomial(_NEAR, x * x))


def _tail(x: np.ndarray) -> np.ndarray:
    """erfc(x) for x >= 1/4."""
    x = np.minimum(x, 28.0)
    x_high, x_low = _halves(x)
    square = x * x
    square_low = ((x_high * x_high - square) + 2 * x_high * x_low) + x_low * x_low  # Dekker: x^2 without an error
    divisor = 1 + 2 * x
    divisor_low = 2 * x - (divisor - 1)
    power = np.exp(-square)
    q = power / divisor
    q_high, q_low = _halves(q)
    d_high, d_low = _halves(divisor)
    rest = (((power - q_high * d_high) - q_high * d_low) - q_low * d_high) - q_low * d_low
    rest -= q * divisor_low
    shape = _polynomial(_TAIL, (x - 4) / (x + 4))
    return np.asarray(q + (q * (shape - square_low * (1 + shape)) + rest / divisor))


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x as the sum of two numbers whose products, with those of another, are exact."""
    high = (x.view(np.int64) & _HIGH).view(np.float64)
    return high, x - high


def _polynomial(coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Horner's rule, in place."""
    highest, *rest = coefficients.ravel()[::-1]
    total = np.full_like(x, highest)
    for c in rest:
        total *= x
        total += c
    return total
