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

from refnn.arithmetic import Unsupported
from refnn.arithmetic.floats import one_hot, take

Array = Any


class ObjectArrays:
    """What arithmetics over object arrays share. A subclass says how to lift one number and what it refuses."""

    name = "ObjectArrays"

    def __init__(self, *, at_zero: float = 0) -> None:
        self.at_zero = at_zero
        self.kinks = 0  # how many elements met a kink exactly

    def number(self, value: Any) -> Any:
        raise NotImplementedError

    def _each(self, f: Callable[..., Any], *arrays: Array) -> Array:
        return np.asarray(np.frompyfunc(f, len(arrays), 1)(*arrays), dtype=object)

    def array(self, x: Array) -> Array:
        return self._each(self.number, np.asarray(x).astype(np.float64))

    def store(self, x: Array) -> Array:
        return x

    def real(self, value: float) -> Any:
        return self.number(value)

    def _refuse(self, primitive: str) -> Any:
        raise Unsupported(self.name, primitive)

    def exp(self, x: Array) -> Array:
        return self._refuse("exp")

    def log(self, x: Array) -> Array:
        return self._refuse("log")

    def tanh(self, x: Array) -> Array:
        return self._refuse("tanh")

    def sign(self, value: Any) -> int | None:
        """-1, 0 or 1; None where the number does not tell."""
        return (value > 0) - (value < 0)

    def union(self, a: Any, b: Any) -> Any:
        raise Unsupported(self.name, "union")

    def abs(self, x: Array) -> Array:
        return self._each(abs, x)

    def relu(self, x: Array) -> Array:
        return self._each(lambda v: max(v, self.number(0)), x)

    def branch(self, x: Array, above: Array, below: Array) -> Array:
        share = self.number(self.at_zero)

        def choose(v: Any, a: Any, b: Any) -> Any:
            sign = self.sign(v)
            if sign is None:
                return self.union(a, b)
            if sign == 0:
                self.kinks += 1
                return share * a + (1 - share) * b
            return a if sign > 0 else b

        return self._each(choose, x, *(self._each(self.number, a) if isinstance(a, int) else a for a in (above, below)))

    def sum(self, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
        return np.asarray(np.sum(x, axis=axis, keepdims=keepdims, initial=self.number(0)), dtype=object)

    def dot(self, a: Array, b: Array, plus: Array | None = None) -> Array:
        return a @ b if plus is None else a @ b + plus

    def product(self, *factors: Array, over: Array | None = None) -> Array:
        result = factors[0]
        for f in factors[1:]:
            result = result * f
        return result if over is None else result / over

    def pivot(self, x: Array, axis: int) -> Array:
        return np.asarray(np.max(x, axis=axis, keepdims=True), dtype=object)

    def where(self, mask: np.ndarray, a: Array, b: Array) -> Array:
        a, b = (self._each(self.number, np.asarray(v)) if isinstance(v, int) else v for v in (a, b))
        return np.where(mask, a, b)

    def one_hot(self, target: np.ndarray, classes: int, axis: int) -> Array:
        return self._each(lambda hit: self.number(int(hit)), one_hot(target, classes, axis))

    def take(self, x: Array, target: np.ndarray, axis: int) -> Array:
        return take(x, target, axis)


class Fractions(ObjectArrays):
    """Exact rationals: every op, or half of an op, that is rational."""

    name = "Fractions"

    def number(self, value: Any) -> Fraction:
        return Fraction(value)


class Arb(ObjectArrays):
    """Certified balls of `precision` bits: the exact value of the definition lies inside each.

    Use it inside `with ar.working():`, because operators on balls take their precision from FLINT's context.
    """

    name = "Arb"

    def __init__(self, precision: int = 128, *, at_zero: float = 0) -> None:
        super().__init__(at_zero=at_zero)
        import flint

        self.precision, self._flint = precision, flint
        self._number = flint.arb

    def working(self) -> contextlib.AbstractContextManager[Any]:
        return self._flint.ctx.workprec(self.precision)

    def number(self, value: Any) -> Any:
        return self._number(value)

    def array(self, x: Array) -> Array:
        values = np.asarray(x).astype(np.float64)
        return np.asarray(np.frompyfunc(self._number, 1, 1)(values), dtype=object)

    def exp(self, x: Array) -> Array:
        return self._each(self._number.exp, x)

    def log(self, x: Array) -> Array:
        return self._each(self._number.log, x)

    def tanh(self, x: Array) -> Array:
        return self._each(self._number.tanh, x)

    def sign(self, value: Any) -> int | None:
        if value > 0:
            return 1
        if value < 0:
            return -1
        return 0 if value.is_zero() else None

    def union(self, a: Any, b: Any) -> Any:
        return a.union(b)

    def relu(self, x: Array) -> Array:
        zero = self.number(0)
        return self._each(lambda v: v.max(zero), x)

    def pivot(self, x: Array, axis: int) -> Array:
        """The largest midpoint: any constant will do, and this one is exact."""
        mids = self._each(self._number.mid, x)
        return np.asarray(np.max(mids, axis=axis, keepdims=True), dtype=object)

    def dot(self, a: Array, b: Array, plus: Array | None = None) -> Array:
        """a @ b through `arb_mat`, ten times faster than object arrays."""
        if not a.size or not b.size:
            product = self._each(self.number, np.zeros((a.shape[0], b.shape[1]), int))
        else:
            matrix = self._flint.arb_mat
            table = (matrix(a.tolist()) * matrix(b.tolist())).table()
            product = np.array(table, dtype=object).reshape(a.shape[0], b.shape[1])
        return product if plus is None else product + plus
