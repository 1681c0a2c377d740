"""Exact and certified arithmetics: `Arb` (balls of any precision, from python-flint) and `Fractions` (rationals).

Both hold their numbers in NumPy object arrays, where operators, indexing and broadcasting are NumPy's. Comparisons of
overlapping balls answer False whatever is asked, so whatever depends on a sign goes through the primitives.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from refnn.arithmetic import CONSTANTS, Convention, Unsupported, share, ties
from refnn.arithmetic.floats import one_hot, take
from refnn.arithmetic.functions import FUNCTIONS
from refnn.arithmetic.protocol import Axis, Exact, Real
from refnn.arithmetic.windows import Contraction, Windows

Array = np.ndarray  # of objects
Element = Any  # one of them: flint, say, has no types


class ObjectArrays(Exact[Array]):
    """What arithmetics over object arrays share. A subclass says how to lift one number and what it refuses."""

    name: str

    def __init__(self, *, convention: Convention = 0.0) -> None:
        self.convention = convention
        self.kinks = 0  # how many elements met a kink exactly

    def number(self, value: Element) -> Element:
        raise NotImplementedError

    def _each(self, f: Callable[..., Element], *arrays: Array) -> Array:
        return np.asarray(np.frompyfunc(f, len(arrays), 1)(*arrays), dtype=object)

    def array(self, x: Array) -> Array:
        return self._each(self.number, np.asarray(x).astype(np.float64))

    def real(self, value: Real) -> Element:
        if isinstance(value, Fraction):
            return self.number(value.numerator) / value.denominator
        return self._each(self.number, np.asarray(value))[()]

    def sign(self, value: Element) -> int | None:
        """-1, 0 or 1; None where the number does not tell."""
        return int(value > 0) - int(value < 0)

    def union(self, a: Element, b: Element) -> Element:
        raise Unsupported(self.name, "union")

    def abs(self, x: Array) -> Array:
        return self._each(abs, x)

    def relu(self, x: Array) -> Array:
        return self._each(lambda v: max(v, self.number(0)), x)

    def branch(self, x: Array, above: Array | int, below: Array | int, at: Array | int = 0, kink: str = "0") -> Array:
        part = self.number(share(self.convention, kink))

        def choose(v: Element, a: Element, b: Element, edge: Element) -> Element:
            sign = self.sign(v - edge)
            if sign is None:
                return self.union(a, b) + 0 * (v - edge)  # NaN where the side is
            if sign == 0:
                self.kinks += 1
                return part * a + (1 - part) * b
            return a if sign > 0 else b

        return self._each(choose, x, *map(self._lifted, (above, below, at)))

    def _lifted(self, x: Array | int) -> Array:
        return self._each(self.number, np.asarray(x)) if isinstance(x, int) else x

    def windows(self, x: Array, w: Windows) -> Array:
        return self._each(self.number, w.gather(x))  # the padding holds integers

    def fold(self, x: Array, w: Windows) -> Array:
        return self._each(self.number, w.fold(x))

    def _largest(self, row: list[Element]) -> Element:
        return max(row) if row else self._refuse("max of nothing")

    def max(self, x: Array, axis: int, among: np.ndarray | None = None) -> Array:
        rows, kept = self._rows(x, axis, among)
        tops = [self._largest([v for v, k in zip(r, m, strict=True) if k]) for r, m in zip(rows, kept, strict=True)]
        result = np.empty(len(tops), dtype=object)
        result[:] = tops
        return result.reshape(np.moveaxis(x, axis, -1).shape[:-1])

    def _rows(self, x: Array, axis: int, among: np.ndarray | None) -> tuple[list[list[Element]], list[list[bool]]]:
        """x, and who takes part, as lists along the axis."""
        kept = np.broadcast_to(True if among is None else among, x.shape)
        return tuple(np.moveaxis(a, axis, -1).reshape(-1, x.shape[axis]).tolist() for a in (x, kept))  # type: ignore

    def route(self, g: Array, x: Array, axis: int, among: np.ndarray | None = None) -> Array:
        rule, n, zero = ties(self.convention), x.shape[axis], self.number(0)
        sent = np.empty((g.size, n), dtype=object)
        sent.fill(zero)  # np.full would make a float of a Number
        for into, v, row, kept in zip(sent, g.ravel().tolist(), *self._rows(x, axis, among), strict=True):
            able, tied = self._tops(row, [t for t in range(n) if kept[t]])
            if tied or len(able) == 1:
                self.kinks += len(able) > 1
                chosen = able if rule == "split" else able[-1:] if rule == "last" else able[:1]
                into[chosen] = v / len(chosen) if len(chosen) > 1 else v
            else:
                into[able] = self.union(zero, v)
        return np.moveaxis(sent.reshape(np.moveaxis(x, axis, -1).shape), -1, axis)

    def _tops(self, row: list[Element], places: list[int]) -> tuple[list[int], bool]:
        """The places that may hold the maximum among `places`, and whether it is surely at each of them."""
        top = max((row[t] for t in places), default=None)
        return [t for t in places if row[t] == top], True

    def sum(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return np.asarray(np.sum(x, axis=axis, keepdims=keepdims, initial=self.number(0)), dtype=object)

    def matmul(self, a: Array, b: Array) -> Array:
        return np.asarray(np.matmul(a, b))

    def contract(self, form: Contraction, a: Array, b: Array, plus: Array | None = None) -> Array:
        result = self._each(self.number, form.apply(self.matmul, a, b))  # an empty sum is an integer
        return result if plus is None else result + plus

    def product(self, *factors: Array | int, over: Array | int | None = None) -> Array:
        result = np.asarray(factors[0])
        for f in factors[1:]:
            result = result * f
        return result if over is None else result / over

    def pivot(self, x: Array, axis: int, finite: bool = False) -> Array:
        return np.asarray(np.max(x, axis=axis, keepdims=True), dtype=object)

    def where(self, mask: np.ndarray, a: Array | int, b: Array | int) -> Array:
        return np.where(mask, self._lifted(a), self._lifted(b))

    def one_hot(self, target: np.ndarray, classes: int, axis: int) -> Array:
        return self._each(lambda hit: self.number(int(hit)), one_hot(target, classes, axis))

    def take(self, x: Array, target: np.ndarray, axis: int) -> Array:
        return take(x, target, axis)


class Fractions(ObjectArrays):
    """Exact rationals: every op, or half of an op, that is rational."""

    name = "Fractions"

    def number(self, value: Element) -> Fraction:
        return Fraction(value)


class Arb(ObjectArrays):
    """Certified balls of `precision` bits: the exact value of the definition lies inside each.

    Use it inside `with ar.working():`, because operators on balls take their precision from FLINT's context.
    """

    name = "Arb"

    def __init__(self, precision: int = 128, *, convention: Convention = 0.0) -> None:
        super().__init__(convention=convention)
        import flint

        self.precision, self._flint = precision, flint
        self._number = flint.arb

    def working(self) -> contextlib.AbstractContextManager[object]:
        return self._flint.ctx.workprec(self.precision)

    def number(self, value: Element) -> Element:
        return self._number(value)

    def array(self, x: Array) -> Array:
        values = np.asarray(x).astype(np.float64)
        return np.asarray(np.frompyfunc(self._number, 1, 1)(values), dtype=object)

    def constant(self, name: str) -> Element:
        p, q, power = CONSTANTS[name]
        return (self._number(p) / q * self._number.pi() ** power).sqrt()

    def function(self, name: str, x: Array, least: Array | None = None) -> Array:
        return self._each(FUNCTIONS[name].arb, x)

    def sign(self, value: Element) -> int | None:
        if value > 0:
            return 1
        if value < 0:
            return -1
        return 0 if value.is_zero() else None

    def union(self, a: Element, b: Element) -> Element:
        return a.union(b)

    def relu(self, x: Array) -> Array:
        zero = self.number(0)
        return self._each(lambda v: v.max(zero), x)

    def pivot(self, x: Array, axis: int, finite: bool = False) -> Array:
        """The largest midpoint: any constant will do, and this one is exact."""
        tops = np.max(self._each(self._midpoint, x), axis=axis, keepdims=True)
        return self._each(lambda v: v if v.is_finite() or not finite else self.number(0), tops)

    def _midpoint(self, value: Element) -> Element:
        return value.mid()

    def _largest(self, row: list[Element]) -> Element:
        top = self._number("-inf")
        for v in row:
            top = top.max(v)
        return top

    def _tops(self, row: list[Element], places: list[int]) -> tuple[list[int], bool]:
        able = [t for t in places if not any(row[s] > row[t] for s in places)]
        if any(row[t].is_nan() for t in able):
            return [next(t for t in able if row[t].is_nan())], True
        return able, all(row[t].is_exact() for t in able)

    def contract(self, form: Contraction, a: Array, b: Array, plus: Array | None = None) -> Array:
        """Infinite or NaN where IEEE 754 says so; the rest as if padding were no factor."""
        odd = [self._each(lambda v: not v.is_finite(), x).astype(bool) for x in (a, b)]
        if not (odd[0].any() or odd[1].any()):
            return super().contract(form, a, b, plus)
        finite_a, finite_b = (np.where(o, self.number(0), x) for o, x in zip(odd, (a, b), strict=True))
        ends = form.limits(*(np.asarray(x, dtype=np.float64) for x in (a, b)))
        return np.where(
            np.isfinite(ends), super().contract(form, finite_a, finite_b, plus), self._each(self.number, ends)
        )

    def matmul(self, a: Array, b: Array) -> Array:
        """a @ b through `arb_mat`, ten times faster than object arrays; leading axes are looped over."""
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        if lead:
            a, b = (np.broadcast_to(m, (*lead, *m.shape[-2:])) for m in (a, b))
            result = np.empty((*lead, a.shape[-2], b.shape[-1]), dtype=object)
            for i in np.ndindex(*lead):
                result[i] = self.matmul(a[i], b[i])
            return result
        if not a.size or not b.size:
            return self._each(self.number, np.zeros((a.shape[0], b.shape[1]), int))
        matrix = self._flint.arb_mat
        table = (matrix(a.tolist()) * matrix(b.tolist())).table()
        return np.array(table, dtype=object).reshape(a.shape[0], b.shape[1])
