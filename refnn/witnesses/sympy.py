"""SymPy as a witness: the forward of an op as expressions, differentiated by `sympy.diff`.

It shares the forward with the op, so it contradicts a wrong vjp and never a wrong forward. For small shapes only: every
element is a symbol. At a kink `diff` takes the mean of the one-sided derivatives (Heaviside(0) is 1/2).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import flint
import numpy as np
import sympy
from sympy.core.evalf import PrecisionExhausted

from refnn.arithmetic.symbols import Symbols
from refnn.op import Op

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
    ar = Symbols()
    points: dict[Any, Any] = {}
    lifted = [
        x if x is None or x.dtype.kind in "iu" else _symbols(ar, name, x, points)
        for name, x in zip(op.inputs, inputs, strict=True)
    ]
    y = op.forward_definition(ar, *lifted, **params)
    loss = sympy.sympify(ar.sum(ar.array(g) * y)[()])
    undefined = loss.has(sympy.nan, sympy.zoo)  # 0/0: diff would take NaN for a constant, with derivative zero
    terms: dict[Any, list[Any]] = {}  # of the sum, for each symbol those that hold it
    for term in sympy.Add.make_args(loss):
        for symbol in term.free_symbols:
            terms.setdefault(symbol, []).append(term)

    def derivative(symbol: Any) -> flint.arb:
        if undefined:
            return flint.arb.nan()
        slopes = (_slope(term, symbol, points) for term in terms.get(symbol, []))
        return _ball(sympy.Add(*slopes), digits)

    return tuple(
        None
        if x is None or x.dtype.kind in "iu" or not declared.differentiable
        else np.asarray(np.frompyfunc(derivative, 1, 1)(x), dtype=object)
        for x, declared in zip(lifted, op.inputs.values(), strict=True)
    )


def _slope(term: Any, symbol: Any, points: Mapping[Any, Any]) -> Any:
    """The derivative of a term at a point. Terms that differ by a factor and in their names alone are differentiated
    once."""
    factor, rest = term.as_coeff_Mul()
    named = {s: _plain(i) for i, s in enumerate(sorted(rest.free_symbols, key=str))}
    at = {plain: points[s] for s, plain in named.items()}
    return factor * _diff(rest.xreplace(named), named[symbol]).xreplace(at)


@functools.cache
def _plain(i: int) -> Any:
    return sympy.Symbol(f"x{i}", real=True)


_diff = functools.lru_cache(4096)(sympy.diff)


def _symbols(ar: Symbols, name: str, x: np.ndarray, points: dict[Any, Any]) -> np.ndarray:
    """One real symbol for each element of x; `points` takes their values."""
    symbols = np.empty(x.shape, dtype=object)
    for index in np.ndindex(x.shape):
        symbols[index] = sympy.Symbol("_".join([name, *map(str, index)]), real=True)
        points[symbols[index]] = ar.number(float(x[index]))
    return symbols


def _ball(value: Any, digits: int) -> flint.arb:
    """A number as a ball: a value with d correct digits is off by at most one unit of its last digit,
    10**(1-d) |value|. A ball that holds nothing but NaN where the expression has no real value."""
    with flint.ctx.workdps(2 * digits):  # more than SymPy works with, so that its numbers are taken over exactly
        if value.is_Rational:
            return flint.arb(flint.fmpq(int(value.p), int(value.q)))
        if not value.is_real:
            return flint.arb.nan()
        try:
            number, shift = value.evalf(digits, strict=True), 0
        except PrecisionExhausted:
            # Terms that cancel to zero have no leading digit. Added to 1, the digits that N promises are those after
            # the point.
            number, shift = (value + 1).evalf(digits, strict=True), 1
        sign, mantissa, exponent, _ = number._mpf_
        mid = flint.arb((-int(mantissa) if sign else int(mantissa), int(exponent)))
        return mid + flint.arb(0, (abs(mid) * 10 / flint.arb(10) ** digits).upper()) - shift
