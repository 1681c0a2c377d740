r"""Pairs: float64 numbers of twice the precision, each with a certified radius; the fast truth.

A pair is an unevaluated sum hi + lo of two float64 arrays, hi the float64 nearest to it, and a radius:

    |t - (hi + lo)| <= rad   for the exact real value t of the expression.

Operations are those of `refnn.arithmetic.doubled`, elementary functions those of `refnn.arithmetic.elementary`.

Long sums and products of matrices go through Ozaki's slices (Ozaki, Ogita, Oishi, Rump, Numerical Algorithms 59 (2012)
95). A factor is cut into slices of so few bits, in units of one power of two, that each sum of n products of slices is
below 2**53 units: then every order of additions gives it without error, BLAS too (not Strassen's, whose differences may
be larger). The products of what remains are so small that the error of a plain product is part of the radius.

The radius is infinite where nothing is known: where an operand is not finite or the safe range of exponents is left,
and where the side of a kink is open. Whoever needs to know more asks Arb.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import final

import numpy as np

from refnn.arithmetic import Convention, elementary, share, ties
from refnn.arithmetic.balls import check_gradual_underflow, growth
from refnn.arithmetic.doubled import OUTWARD, bound, closed, product, quotient, times, total, two_sum
from refnn.arithmetic.floats import hits, one_hot, take
from refnn.arithmetic.operators import Operators
from refnn.arithmetic.parts import Part, in_blocks, is_zero
from refnn.arithmetic.protocol import Axis, Exact, Real
from refnn.arithmetic.windows import Contraction, Windows

Array = np.ndarray

_U = 2.0**-53
_DIGITS = 106  # what slices aim at: bits of a result relative to its largest possible terms
_REACH = 900  # exponents of factors, and of products, within which slices neither overflow nor vanish


@final
class Pair(Operators):
    """hi + lo, and the radius around it; see the module's docstring."""

    __slots__ = ("ar", "hi", "lo", "rad")
    ar: Pairs

    def __init__(self, ar: Pairs, hi: Part, lo: Part = 0.0, rad: Part = 0.0) -> None:
        self.ar, self.hi, self.lo, self.rad = ar, np.asarray(hi), lo, rad

    shape = property(lambda self: self.hi.shape)
    ndim = property(lambda self: self.hi.ndim)
    size = property(lambda self: self.hi.size)
    triple = property(lambda self: (self.hi, self.lo, self.rad))

    def _map(self, f: Callable[[np.ndarray], np.ndarray]) -> Pair:
        return Pair(self.ar, *(p if is_zero(p) else f(np.broadcast_to(p, self.shape)) for p in self.triple))

    def __neg__(self) -> Pair:
        return Pair(self.ar, -self.hi, -self.lo, self.rad)


class Slices:
    """A pair cut into integers of falling units, powers of two.

    `parts[i]` holds at most 2**bits units, each 2**(bits+1) of the next; `rests[i]` is the float64 nearest to what is
    left once i parts are taken, and `tops[i]` its largest magnitude over `axes`, which it keeps. Where fewer than
    `count` parts are enough, the last rest is zero. `sure` says where the exponents are in reach.
    """

    def __init__(self, x: Pair, bits: int, count: int, axes: tuple[int, ...]) -> None:
        def top(v: Array) -> Array:
            return np.asarray(np.max(np.abs(v), axis=axes, keepdims=True, initial=0.0))

        rest, lo = x.hi, x.lo
        self.parts: list[Array] = []
        self.rests, self.tops = [rest], [top(rest)]
        self.exponent = np.frexp(self.tops[0])[1]
        self.sure = np.isfinite(self.tops[0]) & (np.abs(self.exponent) < _REACH)
        unit = np.ldexp(1.0, np.where(self.sure, self.exponent, 0) - bits)
        for _ in range(count):
            shift = unit * (1.5 * 2.0**52)  # its ulp is the unit
            part = np.asarray((rest + shift) - shift)
            rest = rest - part
            if not is_zero(lo):
                total, lo = two_sum(rest, lo)
                rest = np.asarray(total)
            self.parts.append(part)
            self.rests.append(rest)
            self.tops.append(top(rest))
            if not self.tops[-1].any():
                return
            unit = unit * 2.0 ** (-bits - 1)


def _along(v: Array, place: tuple[int, int] | None, ndim: int) -> Array:
    """Numbers for each index along one axis of a factor, as an array that broadcasts against the result."""
    return v.reshape([-1 if place is not None and i == place[1] else 1 for i in range(ndim)])


def _plan(terms: int, factors: int) -> tuple[int, int]:
    """(bits, count) of the slices for sums of so many products of one or two factors.

    The parts of one level (at most 8 products) add up to 2**53 units or less; of one factor, a bit is kept free because
    lo may make a part larger. What `count` parts leave is below 2**-count(bits+1) of the largest element, and its plain
    products are added with a relative error of about terms * 2**-53.
    """
    digits = max(terms - 1, 0).bit_length()
    bits = min((53 - digits - (3 if factors == 2 else 1)) // factors, 48)
    return bits, min(8, -(-(_DIGITS - 53 + 2 * digits) // (bits + 1)))


class Pairs(Exact[Pair]):
    """The arithmetic of double float64 with certified radii; `convention` decides at kinks and ties. Without
    `irrational` it refuses elementary functions, which take as long for one number as for a hundred.

    RuntimeError in a thread that flushes subnormal numbers to zero.
    """

    name = "Pairs"

    def __init__(self, *, convention: Convention = 0.0, irrational: bool = True) -> None:
        check_gradual_underflow()
        self.convention, self.irrational = convention, irrational

    # --- borders -----------------------------------------------------------------------------------------------------

    def array(self, x: Array) -> Pair:
        return self._closed(np.asarray(x).astype(np.float64))

    def lift(self, x: Pair | int) -> Pair:
        if isinstance(x, Pair):
            return x
        if not isinstance(x, int):
            raise TypeError(f"an op combined an array with {x!r}, expected an integer or ar.real(...)")
        hi = float(x)
        return self._closed(np.asarray(hi), float(x - int(hi)))

    def real(self, value: Real) -> Pair:
        hi = np.asarray(value, np.float64)
        if not isinstance(value, Fraction):
            return self._closed(hi)
        rest = value - Fraction(float(value))
        return self._closed(hi, float(rest), 0.0 if float(rest) == rest else np.inf)

    def _closed(self, hi: Array, lo: Part = 0.0, rad: Part = 0.0) -> Pair:
        with np.errstate(all="ignore"):
            return Pair(self, *closed(hi, lo, rad))

    # --- operations --------------------------------------------------------------------------------------------------

    def add(self, a: Pair, b: Pair) -> Pair:
        with np.errstate(all="ignore"):
            return Pair(self, *in_blocks(total, a.rad + b.rad, a.hi, b.hi, a.lo, b.lo))

    def product(self, *factors: Pair | int, over: Pair | int | None = None) -> Pair:
        """The factors multiplied, and divided by `over`."""
        with np.errstate(all="ignore"):
            result, *others = [self.lift(f) for f in factors]
            for b in others:
                result = Pair(self, *in_blocks(product, *result.triple, *b.triple))
            return result if over is None else Pair(self, *in_blocks(quotient, *result.triple, *self.lift(over).triple))

    # --- elementary functions ----------------------------------------------------------------------------------------

    def constant(self, name: str) -> Pair:
        if not self.irrational:
            self._refuse("constant")
        return self._closed(*map(np.asarray, elementary.constant(name)))

    def function(self, name: str, x: Pair, least: Pair | None = None) -> Pair:
        if not self.irrational or name not in elementary.FUNCTIONS:
            self._refuse(name)
        with np.errstate(all="ignore"):
            return Pair(self, *in_blocks(elementary.FUNCTIONS[name], *x.triple))

    # --- long sums ---------------------------------------------------------------------------------------------------

    def sum(self, x: Pair, axis: Axis = None, keepdims: bool = False) -> Pair:
        axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        terms = math.prod(x.shape[i] for i in axes)
        total = self._added(x, lambda v: np.sum(v, axis=axes, keepdims=True), terms, axes)
        return total if keepdims else total._map(lambda v: np.squeeze(v, axes))

    def _added(self, x: Pair, add: Callable[[Array], Array], terms: int, axes: tuple[int, ...] | None = None) -> Pair:
        """Sums of so many elements, either over `axes`, which have the length 1 in the result, or of any."""
        with np.errstate(all="ignore"):
            bits, count = _plan(terms, 1)
            cut = Slices(x, bits, count, tuple(range(x.ndim)) if axes is None else axes)
            top, sure = (v.reshape(()) if axes is None else v for v in (cut.tops[-1], cut.sure))
            # n - 1 additions, and the rounding of each rest
            rad = times(np.asarray(terms * growth(_U, terms)), top)
            if not is_zero(x.rad):
                rad = rad + add(np.broadcast_to(x.rad, x.shape)) * (1 + growth(_U, terms))
            if not sure.all():
                rad = np.where(sure, rad, np.inf)
            return Pair(self, *in_blocks(total, rad, *map(add, cut.parts), add(cut.rests[-1])))

    def fold(self, x: Pair, w: Windows) -> Pair:
        if w.coverage <= 1:
            return x._map(w.fold)
        return self._added(x, w.fold, w.coverage)

    def contract(self, form: Contraction, a: Pair, b: Pair, plus: Pair | None = None) -> Pair:
        """Products summed. What is unknown, or no number, leaves the sums that it is in unknown, and no others."""
        unknown = [np.isinf(v.rad) | ~np.isfinite(v.hi) for v in (a, b)]
        if not (unknown[0].any() or unknown[1].any()):
            return self._contracted(form, a, b, plus)
        left, right = (v.astype(float) for v in unknown)
        met = np.asarray(form.apply(np.matmul, left, np.ones(b.shape)) + form.apply(np.matmul, np.ones(a.shape), right))
        p, q = (self.where(u, self.lift(0), v) for u, v in zip(unknown, (a, b), strict=True))
        known = self._contracted(form, p, q, plus)
        return Pair(self, known.hi, known.lo, np.where(met > 0, np.inf, known.rad))

    def _contracted(self, form: Contraction, a: Pair, b: Pair, plus: Pair | None) -> Pair:
        terms = form.terms
        bits, count = _plan(terms, 2)

        def apply(x: Array, y: Array) -> Array:
            return np.asarray(form.apply(np.matmul, x, y))

        with np.errstate(all="ignore"):
            left = Slices(a, bits, count, tuple(i for i in range(a.ndim) if form.left is None or i != form.left[0]))
            right = Slices(b, bits, count, tuple(i for i in range(b.ndim) if form.right is None or i != form.right[0]))
            levels: dict[int, Array] = {}
            for i, x in enumerate(left.parts):
                for j, y in enumerate(right.parts[: count - i]):
                    levels[i + j] = levels[i + j] + apply(x, y) if i + j in levels else apply(x, y)

            def of_a(v: Array) -> Array:
                return _along(v, form.left, levels[0].ndim)

            def of_b(v: Array) -> Array:
                return _along(v, form.right, levels[0].ndim)

            # a b = sum_(i+j<count) a_i b_j + sum_i a_i (b - b_0 - ... - b_(count-1-i)) + (a - a_0 - ...) b
            tail: Part = 0.0
            bounds: list[Array] = []
            # a rounding each of products and sums, two of the rests, one for each piece of the tail
            scale = np.asarray(terms * growth(_U, terms + count + 4))
            ends = [(x, left.tops[i], count - i) for i, x in enumerate(left.parts)]
            for x, top, taken in [*ends, (left.rests[-1], left.tops[-1], 0)]:
                if taken < len(right.rests) and top.any() and right.tops[taken].any():
                    tail = tail + apply(x, right.rests[taken])
                    # a rest may double where it is rounded to units
                    bounds += [of_a(2 * scale * top), of_b(right.tops[taken])]
            rad: Part = 0.0
            if bounds:  # and what products lose below the normal range, where any is not zero
                rad = in_blocks(bound, *bounds)[0]
                met = (rad > 0) & (apply((a.hi != 0) * 1.0, (b.hi != 0) * 1.0) > 0)
                rad = np.where(met, rad + terms * (count + 1) * 2.0**-1074, 0.0)
            sure = of_a(left.sure) & of_b(right.sure)
            sure = sure & (np.abs(of_a(left.exponent) + of_b(right.exponent)) < _REACH)
            if not sure.all():
                rad = np.where(sure, rad, np.inf)
            rad = rad + self._spread(apply, terms, a, b)
            extra: tuple[Part, Part] = (0.0, 0.0)
            if plus is not None:
                rad, extra = rad + plus.rad, (plus.hi, plus.lo)
            return Pair(self, *in_blocks(total, rad, *(levels[k] for k in sorted(levels)), tail, *extra))

    def _spread(self, apply: Callable[[Array, Array], Array], terms: int, a: Pair, b: Pair) -> Part:
        """An upper bound of sums of |a| rb + |b| ra + ra rb."""
        total: Part = 0.0
        for x, y in ((np.abs(a.hi), b.rad), (a.rad, np.abs(b.hi)), (a.rad, b.rad)):
            if is_zero(x) or is_zero(y):
                continue
            x, y = np.broadcast_to(x, a.shape), np.broadcast_to(y, b.shape)
            wide = apply(x, y) * (1 + growth(_U, terms + 8))
            if np.any(wide < 2.0**-1000):  # products may have vanished below the normal range
                wide = wide + apply((x > 0) * 1.0, (y > 0) * 1.0) * 2.0**-1074
            total = total + wide
        return total

    # --- kinks and choices -------------------------------------------------------------------------------------------

    def abs(self, x: Pair) -> Pair:
        sign = np.where(x.hi < 0, -1.0, 1.0)
        return Pair(self, x.hi * sign, 0.0 if is_zero(x.lo) else x.lo * sign, x.rad)

    def relu(self, x: Pair) -> Pair:
        keep = x.hi > 0
        rad = x.rad if is_zero(x.rad) else np.where(_clear(x) & ~keep, 0.0, x.rad)
        return Pair(self, np.where(keep, x.hi, 0.0), 0.0 if is_zero(x.lo) else np.where(keep, x.lo, 0.0), rad)

    def branch(self, x: Pair, above: Pair | int, below: Pair | int, at: Pair | int = 0, kink: str = "0") -> Pair:
        at = self.lift(at)
        side = x - at if np.any(at.hi) or not is_zero(at.rad) else x
        result = self.where(side.hi > 0, above, below)
        equal = (side.hi == 0) & (side.rad == 0)
        if equal.any():
            part = self.real(share(self.convention, kink))
            result = self.where(equal, part * above + (1 - part) * below, result)
        known = equal | _clear(side)
        return result if known.all() else Pair(self, result.hi, result.lo, np.where(known, result.rad, np.inf))

    def windows(self, x: Pair, w: Windows) -> Pair:
        return x._map(w.gather)

    def max(self, x: Pair, axis: int, among: np.ndarray | None = None) -> Pair:
        # The maximum moves no further than the element that moves furthest.
        hi = x.hi if among is None else np.where(among, x.hi, -np.inf)
        top, lo, rad = np.max(hi, axis=axis), x.lo, x.rad
        if not is_zero(lo):
            lo = np.max(np.where(hi == np.expand_dims(top, axis), lo, -np.inf), axis=axis)
        if not is_zero(rad):
            rad = np.max(np.broadcast_to(rad, x.shape) if among is None else np.where(among, rad, 0.0), axis=axis)
        return self._closed(top, lo, rad)

    def route(self, g: Pair, x: Pair, axis: int, among: np.ndarray | None = None) -> Pair:
        rule, able = ties(self.convention), True if among is None else among
        with np.errstate(all="ignore"):
            hi = np.where(able, x.hi, -np.inf)
            lo = np.where(hi == np.max(hi, axis=axis, keepdims=True), x.lo, -np.inf)
            top = (lo == np.max(lo, axis=axis, keepdims=True)) & able
            # Only those that may be the maximum matter: one alone, or several that are known without error.
            width = (np.abs(x.lo) + x.rad + np.abs(x.hi) * 2.0**-50) * OUTWARD
            floor = np.max(np.where(able, x.hi - width, -np.inf), axis=axis, keepdims=True)
            rivals = ~(x.hi + width < floor) & able
            known = (np.count_nonzero(rivals, axis=axis, keepdims=True) == 1) | ~np.any(
                rivals & np.broadcast_to(x.rad > 0, x.shape), axis=axis, keepdims=True
            )
            chosen = hits(top * 1.0, axis, None, rule) & top
            sent = g._map(lambda a: np.expand_dims(a, axis))
            if rule == "split":
                sent = sent / self.real(np.maximum(np.count_nonzero(top, axis=axis, keepdims=True), 1))
            sent = self.where(chosen, sent, 0)
        return sent if known.all() else Pair(self, sent.hi, sent.lo, np.where(known, sent.rad, np.inf))

    def pivot(self, x: Pair, axis: int, finite: bool = False) -> Pair:
        """The largest hi: any constant will do, and this one is exact."""
        return self._closed(np.max(x.hi, axis=axis, keepdims=True))

    def where(self, mask: np.ndarray, a: Pair | int, b: Pair | int) -> Pair:
        a, b = self.lift(a), self.lift(b)
        lo, rad = (
            0.0 if is_zero(p) and is_zero(q) else np.where(mask, p, q) for p, q in ((a.lo, b.lo), (a.rad, b.rad))
        )
        return Pair(self, np.where(mask, a.hi, b.hi), lo, rad)

    def one_hot(self, target: np.ndarray, classes: int, axis: int) -> Pair:
        return Pair(self, one_hot(target, classes, axis).astype(np.float64))

    def take(self, x: Pair, target: np.ndarray, axis: int) -> Pair:
        return x._map(lambda a: take(a, target, axis))


def _clear(x: Pair) -> np.ndarray:
    """Where the sign of the exact value is that of hi."""
    return np.asarray(np.abs(x.hi) * (1 - 2.0**-50) > x.rad)
