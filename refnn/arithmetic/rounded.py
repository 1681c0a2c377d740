"""Rounded: every operation correctly rounded, elementary functions included.

It is what the definition gives step by step on an ideal machine of a model: the same on every processor and with every
library. Where the model flushes, each subnormal input and result (after rounding) is a zero of its sign. Sums go from
left to right.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from refnn.arithmetic import Convention, nearest
from refnn.arithmetic.exact import Array, Element, ObjectArrays
from refnn.arithmetic.functions import FUNCTIONS
from refnn.formats import Format, certified_round
from refnn.models import Model, model


def _quotient(a: float, b: float) -> float:
    """a / b, with IEEE's answers where Python raises."""
    if b:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _rounding(exact: Callable[[float, float], float], swapped: bool = False) -> Any:
    """An operator that rounds. With an array on the other side it is the array that works element by element."""

    def operate(self: Number, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented
        a, b = float(self), float(other)
        return self.ar.number(exact(b, a) if swapped else exact(a, b))

    return operate


class Number(float):
    """A number of a format, whose operators round. `ar` is the arithmetic that it belongs to."""

    __slots__ = ("ar",)
    ar: Rounded

    __add__ = __radd__ = _rounding(operator.add)
    __mul__ = __rmul__ = _rounding(operator.mul)
    __sub__, __rsub__ = _rounding(operator.sub), _rounding(operator.sub, swapped=True)
    __truediv__, __rtruediv__ = _rounding(_quotient), _rounding(_quotient, swapped=True)

    def __pow__(self, other: float, mod: None = None) -> Number:
        assert other == 2, f"the power is {other}, expected 2"
        return self.ar.number(float(self) * float(self))

    def __neg__(self) -> Number:
        return self.ar.number(-float(self))

    def __abs__(self) -> Number:
        return self.ar.number(abs(float(self)))


class Rounded(ObjectArrays):
    """The arithmetic of a model: its format of intermediates, and its storage format where results are stored.

    The model's ulps are not used: every function is correctly rounded.
    """

    name = "Rounded"

    def __init__(self, rules: str | Model, *, convention: Convention = 0.0) -> None:
        super().__init__(convention=convention)
        self.model = model(rules)

    def number(self, value: Element) -> Number:
        """Round a float64, which one operation gave, to the format of intermediates.

        One rounding to 53 bits before changes nothing in formats of at most 25 bits: sums, products and quotients of
        their numbers never lie so near the middle of two of them (S. Figueroa, SIGNUM Newsletter 30 (1995) 21).
        """
        return self._rounded(float(value), self.model.compute)

    def store(self, x: Array) -> Array:
        return self._each(lambda v: self._rounded(float(v), self.model.storage), x)

    def _rounded(self, value: float, fmt: Format) -> Number:
        if math.isfinite(value) and fmt.precision < 53:
            fraction, exponent = math.frexp(value)
            value = math.copysign(fmt.round(int(math.ldexp(fraction, 53)), exponent - 53), value)
        if self.model.flush and abs(value) < fmt.smallest_normal:
            value = math.copysign(0.0, value)
        number = Number(value)
        number.ar = self
        return number

    def function(self, name: str, x: Array, least: Array | None = None) -> Array:
        with np.errstate(all="ignore"):
            return self._each(lambda v: self.number(correctly_rounded(name, float(v), self.model.compute)), x)

    def _largest(self, row: list[Element]) -> Element:
        return next((v for v in row if math.isnan(v)), None) or max(row)

    def constant(self, name: str) -> Element:
        return self.number(nearest(name))

    def pivot(self, x: Array, axis: int, finite: bool = False) -> Array:
        top = np.expand_dims(self.max(x, axis), axis)
        return self._each(lambda v: self.number(0) if finite and math.isinf(v) else v, top)


def correctly_rounded(name: str, x: float, fmt: Format) -> float:
    """The elementary function `name` at x, rounded to nearest in the format, with gradual underflow."""
    with np.errstate(all="ignore"):
        value = float(FUNCTIONS[name](np.float64(x)))
    if math.isinf(x) or not math.isfinite(value):
        return value  # by IEEE 754, or beyond the range of every format
    # exp(x) lies beyond 2**x, erfc(x) below 2**-x: where that is out of the format, no huge exponents are needed.
    if name in ("exp", "expm1") and x > fmt.emax:
        return math.inf
    if name in ("exp", "erfc") and (-x if name == "exp" else x) > fmt.precision - fmt.emin:
        return 0.0
    if x == 0 and FUNCTIONS[name].odd:
        return x  # of its sign, which the cache does not tell apart
    return _certified(name, x, fmt)


@lru_cache(1 << 16)
def _certified(name: str, x: float, fmt: Format) -> float:
    from flint import arb

    return certified_round(lambda precision: FUNCTIONS[name].arb(arb(x)), fmt)
