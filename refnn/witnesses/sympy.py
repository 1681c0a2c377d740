"""SymPy as a witness: the forward of an op as expressions, differentiated by `sympy.diff`.

It shares the forward with the op, so it contradicts a wrong vjp and never a wrong forward. For small shapes only: every
element is a symbol. At a kink `diff` takes the mean of the one-sided derivatives (Heaviside(0) is 1/2).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flint
import numpy as np
import sympy
from sympy.core.evalf import PrecisionExhausted

from refnn.arithmetic.symbols import Symbols
from refnn.op import Op
from refnn.witnesses.reach import Place, apart, reach

DIGITS = 40


def promised_bits(digits: int = DIGITS) -> int:
    """The bits that `digits` correct decimal digits hold."""
    return math.floor((digits - 1) * math.log2(10))


def gradients(
    op: Op, inputs: Sequence[np.ndarray | None], params: Mapping[str, Any], g: np.ndarray, *, digits: int = DIGITS
) -> tuple[np.ndarray | None, ...]:
    """The derivative of sum(g * y) by each float input, as arrays of arb balls; None for integers, absent inputs
    and those without a gradient.

    The inputs are floats of any format and count as the exact rationals that they are. Each ball holds the exact
    derivative, as far as SymPy keeps its promise that N(expression, d) has d correct digits.
    """
    ar, needed = Symbols(), reach(op, inputs, params)
    points = {
        (name, index): ar.number(float(x[index]))
        for name, x in zip(op.inputs, inputs, strict=True)
        if x is not None and x.dtype.kind not in "biu"
        for index in np.ndindex(x.shape)
    }
    # Elements from which no element of the output is computed together share a symbol, and so the results that SymPy
    # caches.
    symbols = {p: _symbol(i) for i, group in enumerate(apart([*points], needed.flat)) for p in group}
    lifted = [
        x if x is None or x.dtype.kind in "biu" else _named(name, x.shape, symbols.__getitem__)
        for name, x in zip(op.inputs, inputs, strict=True)
    ]
    y = ar.array(op.forward_definition(ar, *lifted, **params))
    undefined = any(v.has(sympy.nan, sympy.zoo) for v in y.flat)  # 0/0: diff takes NaN for a constant
    slopes: dict[Place, list[Any]] = {p: [] for p in points}
    for value, weight, places in zip(y.flat, ar.array(g).flat, needed.flat, strict=True):
        meant = {symbols[p]: p for p in places}
        for term in sympy.Add.make_args(value):
            for symbol in term.free_symbols:
                at = {s: points[p] for s, p in meant.items()}
                slopes[meant[symbol]].append(weight * _slope(term, symbol, at))

    def derivative(place: Place) -> flint.arb:
        return flint.arb.nan() if undefined else _ball(sympy.Add(*slopes[place]), digits)

    return tuple(
        None if x is None or x.dtype.kind in "biu" or not declared.differentiable else _named(name, x.shape, derivative)
        for (name, declared), x in zip(op.inputs.items(), lifted, strict=True)
    )


def _named(name: str, shape: tuple[int, ...], of: Callable[[Place], Any]) -> np.ndarray:
    """What a function says of each element of an input."""
    found = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        found[index] = of((name, index))
    return found


def _slope(term: Any, symbol: Any, points: Mapping[Any, Any]) -> Any:
    """The derivative of a term at a point. Terms that differ by a factor and in their names alone are differentiated
    once."""
    factor, rest, names = _renamed(term)
    return factor * _at(_diff(rest, names[symbol]), *((plain, points[s]) for s, plain in names.items()))


@functools.cache
def _symbol(i: int) -> Any:
    return sympy.Symbol(f"x{i}", real=True)


@functools.lru_cache(4096)
def _renamed(term: Any) -> tuple[Any, Any, dict[Any, Any]]:
    """A term as a factor and the rest, in symbols that are counted from zero; and which these are."""
    factor, rest = term.as_coeff_Mul()
    names = {s: _symbol(i) for i, s in enumerate(sorted(rest.free_symbols, key=lambda s: int(s.name[1:])))}
    return factor, rest.xreplace(names), names


_diff = functools.lru_cache(4096)(sympy.diff)


@functools.lru_cache(4096)
def _at(expression: Any, *values: tuple[Any, Any]) -> Any:
    return expression.xreplace(dict(values))


def _ball(value: Any, digits: int) -> flint.arb:
    """A number as a ball: a value with d correct digits is off by at most one unit of its last digit,
    10**(1-d) |value|. A ball that holds nothing but NaN where the expression has no real value."""
    with flint.ctx.workdps(2 * digits):  # more than SymPy works with, so that its numbers are taken over exactly
        if value.is_Rational:
            return flint.arb(flint.fmpq(int(value.p), int(value.q)))
        try:
            number, shift = value.evalf(digits, strict=True), 0
        except PrecisionExhausted:
            # Terms that cancel to zero have no leading digit. Added to 1, the digits that N promises are those after
            # the point.
            number, shift = (value + 1).evalf(digits, strict=True), 1
        if not number.is_Float:
            return flint.arb.nan()
        sign, mantissa, exponent, _ = number._mpf_
        mid = flint.arb((-int(mantissa) if sign else int(mantissa), int(exponent)))
        return mid + flint.arb(0, (abs(mid) * 10 / flint.arb(10) ** digits).upper()) - shift
