"""Floating-point formats: float16, bfloat16, float32, float64.

A format is four facts (name, precision, smallest and largest exponent); everything else follows from them.
Rounding is to nearest, ties to even (IEEE 754-2019, 4.3.1), with gradual underflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from flint import arb


@dataclass(frozen=True)
class Format:
    """A binary floating-point format: `precision` bits of significand, normal exponents from `emin` to `emax`."""

    name: str
    precision: int
    emin: int
    emax: int

    @property
    def unit_roundoff(self) -> float:
        """Half the distance from 1 to the next number: 2**-precision."""
        return 2.0**-self.precision

    @property
    def smallest_normal(self) -> float:
        return 2.0**self.emin

    @property
    def smallest_subnormal(self) -> float:
        return 2.0 ** (self.emin - self.precision + 1)

    @cached_property
    def max(self) -> float:
        """The largest finite number."""
        return float(2 - Fraction(1, 2 ** (self.precision - 1))) * 2.0**self.emax

    @cached_property
    def overflow_threshold(self) -> Fraction:
        """Magnitudes from here on round to infinity (exact: for float64 it is no float64 itself)."""
        return (2 - Fraction(1, 2**self.precision)) * 2**self.emax

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of this format (bfloat16 comes from ml_dtypes)."""
        if self.name == "bfloat16":
            from ml_dtypes import bfloat16

            return np.dtype(bfloat16)
        return np.dtype(self.name)

    def ulp(self, x: Any) -> np.ndarray:
        """The distance between neighbours in the binade of |x|, as float64; the smallest subnormal at and near zero.

        At a power of two it is the distance to the next larger number. NaN and infinities give NaN.
        """
        magnitude = np.maximum(np.abs(np.asarray(x, dtype=np.float64)), self.smallest_normal)
        # The exponent field alone is the power of two at or below a normal number; of infinity and NaN it is infinity.
        binade = (magnitude.view(np.int64) & np.int64(0x7FF0000000000000)).view(np.float64)
        with np.errstate(invalid="ignore"):
            return np.where(binade < np.inf, binade * 2.0 ** (1 - self.precision), np.nan)

    def round(self, mantissa: int, exponent: int) -> float:
        """Round the exact dyadic `mantissa * 2**exponent` to nearest even; infinite from the overflow threshold on."""
        magnitude = abs(mantissa)
        if magnitude == 0:
            return 0.0
        quantum = max(magnitude.bit_length() + exponent - 1, self.emin) - self.precision + 1
        shift = exponent - quantum
        sign = -1.0 if mantissa < 0 else 1.0
        if shift >= 0:
            units = magnitude << shift if exponent <= self.emax else 1 << self.precision
        elif -shift > magnitude.bit_length():
            return sign * 0.0  # below half the smallest subnormal, and the shift may be astronomical
        else:
            units, rest, half = magnitude >> -shift, magnitude & ((1 << -shift) - 1), 1 << (-shift - 1)
            units += rest > half or (rest == half and units & 1)
        if units.bit_length() + quantum - 1 > self.emax:
            return sign * math.inf
        return sign * math.ldexp(units, quantum)

    def number(self, index: int) -> float:
        """The number that stands `index` places above zero in the order of all finite ones (and infinity after them):
        its bit pattern read as an integer, with the sign beside it."""
        fraction = abs(index) & ((1 << (self.precision - 1)) - 1)
        biased = abs(index) >> (self.precision - 1)
        if biased > self.emax - self.emin + 1:
            return math.inf if index > 0 else -math.inf
        units = fraction + (1 << (self.precision - 1)) * (biased > 0)
        size = math.ldexp(units, max(biased, 1) + self.emin - self.precision)
        return size if index >= 0 else -size

    def index(self, x: float) -> int:
        """The place of a number in the order (see `number`); one above that of the largest for infinity, 0 for both
        zeros. ValueError for NaN and for what is no number of this format."""
        if math.isinf(x):
            return int(math.copysign(self.index(self.max) + 1, x))
        size = abs(x)
        binade = max(math.frexp(size)[1] - 1, self.emin) if size else self.emin
        units = math.ldexp(size, self.precision - 1 - binade)
        if not units.is_integer() or size > self.max:
            raise ValueError(f"{x!r} is no number of {self.name}")
        place = int(units) + ((binade - self.emin) << (self.precision - 1))
        return place if x > 0 else -place

    def shortest(self, x: float) -> str:
        """The shortest decimal that stands for this number and for no other of the format (of 16 bits: of float32, so
        that what is short is exact)."""
        return str(np.asarray(x, np.float64 if self.precision > 24 else np.float32)[()])

    def round_ball(self, ball: arb) -> float | None:
        """The one number that every point of `ball` rounds to, or None where its two ends round differently."""
        low, high = dyadic_ends(ball)
        rounded = self.round(*low)
        return rounded if rounded == self.round(*high) else None


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        f.name: f
        for f in (
            Format("float16", 11, -14, 15),
            Format("bfloat16", 8, -126, 127),
            Format("float32", 24, -126, 127),
            Format("float64", 53, -1022, 1023),
        )
    }
)


def format_of(dtype: Any) -> Format:
    """The format of a NumPy dtype or dtype name; TypeError for anything else."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in FORMATS:
        raise TypeError(f"dtype {name!r} is not one of {', '.join(FORMATS)}")
    return FORMATS[name]


_APART = 1 << 16


def dyadic_ends(ball: arb) -> tuple[tuple[int, int], tuple[int, int]]:
    """The ends of a finite arb, each as (mantissa, exponent): exact, or moved outward where midpoint and radius are so
    far apart (65,536 bits) that an exact end would fill the memory."""
    (m, m_exponent), (r, r_exponent) = (tuple(map(int, part.man_exp())) for part in (ball.mid(), ball.rad()))
    m_exponent, r_exponent = (m_exponent if m else r_exponent), (r_exponent if r else m_exponent)
    if r and m_exponent - r_exponent > _APART:
        r, r_exponent = 1 << r.bit_length(), m_exponent - _APART
    elif m and r_exponent - m_exponent > _APART:
        m, m_exponent, r = 0, r_exponent, r + 1
    exponent = min(m_exponent, r_exponent)
    mid, rad = m << (m_exponent - exponent), r << (r_exponent - exponent)
    return (mid - rad, exponent), (mid + rad, exponent)


def certified_round(
    evaluate: Callable[[int], arb], fmt: Format, *, exact_zero: bool = False, start: int = 64, cap: int = 8192
) -> float:
    """Round the real number that `evaluate(precision)` encloses to `fmt` (Ziv's loop).

    The precision is doubled until both ends of the ball round alike. `exact_zero` says that an identity of the
    operation makes the value zero, which no ball around it could show. ArithmeticError where `cap` bits do not decide.
    """
    if exact_zero:
        return 0.0
    from flint import ctx

    precision = start
    while precision <= cap:
        with ctx.workprec(precision):
            ball = evaluate(precision)
        if ball.is_finite() and (rounded := fmt.round_ball(ball)) is not None:
            return rounded
        precision *= 2
    raise ArithmeticError(f"rounding to {fmt.name} is undecided at {cap} bits: the value lies within {ball.str(10)}")
