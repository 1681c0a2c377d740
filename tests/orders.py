"""Floating-point evaluations of a definition in a chosen summation order, product grouping and contraction.

`Balls` promises a bound for every evaluation of a class; this arithmetic makes members of that class. Everything is
NumPy, one rounding an operation, in exactly one dtype: sums are loops over the summed axis (vectorised over the rest),
so that no reduction of NumPy can use a wider accumulator behind our back.

Orders: sequential, reversed, pairwise, blocked (16 terms a block), shuffled (a random binary tree over a random
permutation, another one for each element) and fma (sequential, every product that is added fused with its addition).
Groupings of a product f0 f1 ... / d: left ((f0 f1) .. / d), right (f0 (f1 (.. / d))) and reciprocal ((1/d) f0 f1 ..);
under reciprocal every quotient is a multiplication by the reciprocal.

The fused multiply-add is error-free until its last rounding. float16, bfloat16, float32: the product is exact in
float64 (2 x 24 <= 53 bits, and no product of their numbers leaves its range), the sum is rounded to odd there, and
53 >= 24 + 2 bits make the second rounding that of the exact value. float64: the algorithm of Boldo and Melquiond
("Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd", IEEE Trans. Comput. 57
(2008) 462): error-free product and sums, rounding to odd of the small parts; outside the range where those are
error-free, exact rationals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refnn.arithmetic import Convention, ties
from refnn.arithmetic.floats import Floats, hits, one_hot, take
from refnn.arithmetic.functions import FUNCTIONS
from refnn.arithmetic.windows import Contraction, Windows
from refnn.formats import Format
from refnn.models import Model

Array = np.ndarray
ORDERS = ("sequential", "reversed", "pairwise", "blocked", "shuffled", "fma")
GROUPINGS = ("left", "right", "reciprocal")
BLOCK = 16
# Between these magnitudes every step of the float64 emulation is error-free: Veltkamp's splitting multiplies by 2**27,
# and the error of a product is a multiple of 2**-1074 while the product is at least 2**-968.
_SAFE_LOW, _SAFE_HIGH = 2.0**-960, 2.0**990


# --- roundings -------------------------------------------------------------------------------------------------------


def to_odd(s: Array, error: Array) -> Array:
    """s + error rounded to odd, where s is that sum rounded to nearest and `error` the exact rest."""
    even = (s.view(np.int64) & 1) == 0 if s.dtype == np.float64 else (s.view(np.int32) & 1) == 0
    move = even & (error != 0) & np.isfinite(error)
    return np.where(move, np.nextafter(s, np.copysign(s.dtype.type(np.inf), error.astype(s.dtype))), s)


def cast(x: Array, dtype: Any) -> Array:
    """float64 rounded once to `dtype`; ml_dtypes rounds bfloat16 twice, so float32 comes between, rounded to odd."""
    dtype = np.dtype(dtype)
    x = np.asarray(x, dtype=np.float64)
    if dtype.name != "bfloat16":
        return x.astype(dtype)
    with np.errstate(all="ignore"):
        single = np.asarray(x.astype(np.float32))
        return to_odd(single, np.sign(x - single)).astype(dtype)


def flushed(x: Array, fmt: Format) -> Array:
    """x with zeros of their sign for what is subnormal in `fmt`."""
    return np.where(np.abs(x) < x.dtype.type(fmt.smallest_normal), x * x.dtype.type(0), x)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum and its exact error (Knuth)."""
    s = a + b
    back = s - a
    return s, (a - (s - back)) + (b - back)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded product and its exact error (Veltkamp, Dekker)."""

    def split(x: Array) -> tuple[Array, Array]:
        c = x * (2.0**27 + 1)
        high = c - (c - x)
        return high, x - high

    p, (ah, al), (bh, bl) = a * b, split(a), split(b)
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


def fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c with one rounding; see the module's docstring."""
    dtype = np.result_type(a)
    a, b, c = np.broadcast_arrays(a, b, c)
    with np.errstate(all="ignore"):
        if dtype != np.float64:
            exact = a.astype(np.float64) * b.astype(np.float64)
            s, rest = two_sum(exact, c.astype(np.float64))
            return cast(to_odd(np.asarray(s), np.asarray(rest)), dtype)
        high, low = two_product(a, b)
        t, t_low = two_sum(c, low)
        v, v_low = two_sum(high, t)
        small, rest = two_sum(t_low, v_low)
        result = np.array(v + to_odd(np.asarray(small), np.asarray(rest)))
        sizes = [np.abs(x) for x in (a, b, a * b, c)]
        unsafe = np.logical_or.reduce([(s != 0) & ~((s > _SAFE_LOW) & (s < _SAFE_HIGH)) for s in sizes])
        unsafe |= (a * b == 0) & (a != 0) & (b != 0)
        result = np.where((a == 0) | (b == 0), a * b + c, result)
        # A finite product never decides: c is infinite or NaN then, even if a * b overflows to the other infinity.
        factors, whole = np.isfinite(a) & np.isfinite(b), np.isfinite(c)
        result = np.where(factors & whole, result, np.where(factors, c, a * b + c))
        unsafe &= factors & whole
        for i in zip(*np.nonzero(unsafe), strict=True) if unsafe.ndim else [()] * int(unsafe):
            result[i] = _exact_fma(float(a[i]), float(b[i]), float(c[i]))
        return result


def _exact_fma(a: float, b: float, c: float) -> float:
    (p, over_p), (q, over_q), (r, over_r) = (x.as_integer_ratio() for x in (a, b, c))
    value = p * q * over_r + r * over_p * over_q
    if value == 0:
        return a * b + c
    try:
        return value / (over_p * over_q * over_r)  # Python rounds it correctly, subnormal results included
    except OverflowError:
        return math.inf if value > 0 else -math.inf


# --- numbers ---------------------------------------------------------------------------------------------------------


class Num:
    """An array whose operators round once each. `factors` are those of a product that may still be fused."""

    __slots__ = ("a", "ar", "factors")
    __array_ufunc__ = None

    def __init__(self, ar: Ordered, a: Any, factors: tuple[Array, Array] | None = None) -> None:
        self.ar, self.a, self.factors = ar, ar.settled(np.asarray(a)), factors
        assert self.a.dtype == ar.compute, f"an operation left {ar.compute} for {self.a.dtype}"

    shape = property(lambda self: self.a.shape)
    ndim = property(lambda self: self.a.ndim)
    size = property(lambda self: self.a.size)
    T = property(lambda self: Num(self.ar, self.a.T))

    def swapaxes(self, first: int, second: int) -> Num:
        return Num(self.ar, self.a.swapaxes(first, second))

    def reshape(self, *shape: Any) -> Num:
        return Num(self.ar, self.a.reshape(*shape))

    def __getitem__(self, index: Any) -> Num:
        return Num(self.ar, self.a[index])

    def __neg__(self) -> Num:
        return Num(self.ar, -self.a, self.factors and (-self.factors[0], self.factors[1]))

    def __add__(self, other: Any) -> Num:
        other = self.ar.lift(other)
        if self.ar.order == "fma":
            for x, rest in ((self, other), (other, self)):
                if x.factors:
                    return Num(self.ar, fma(*x.factors, rest.a))
        return Num(self.ar, self.a + other.a)

    def __sub__(self, other: Any) -> Num:
        return self + -self.ar.lift(other)

    def __rsub__(self, other: Any) -> Num:
        return self.ar.lift(other) + -self

    def __mul__(self, other: Any) -> Num:
        other = self.ar.lift(other)
        return Num(self.ar, self.a * other.a, (self.a, other.a))

    def __truediv__(self, other: Any) -> Num:
        other = self.ar.lift(other)
        if self.ar.grouping == "reciprocal":
            return self * Num(self.ar, self.ar.lift(1).a / other.a)
        return Num(self.ar, self.a / other.a)

    def __rtruediv__(self, other: Any) -> Num:
        return self.ar.lift(other) / self

    def __pow__(self, exponent: int) -> Num:
        assert exponent == 2
        return self * self

    __radd__, __rmul__ = __add__, __mul__


class Ordered(Floats):
    """The definition in one dtype, in one order and one grouping; `seed` chooses the shuffles."""

    name = "Ordered"

    def __init__(
        self, model: Model, order: str, grouping: str = "left", *, seed: int = 0, convention: Convention = 0.0
    ) -> None:
        if order not in ORDERS or grouping not in GROUPINGS:
            raise ValueError(f"order {order!r} or grouping {grouping!r} is unknown")
        super().__init__(model.storage.dtype, each_op=model.compute == model.storage, convention=convention)
        assert np.dtype(self.compute) == model.compute.dtype == model.accumulate.dtype
        self.compute, self.order, self.grouping, self.rules = model.compute.dtype, order, grouping, model
        self._rng = np.random.default_rng(seed)

    def settled(self, a: Array) -> Array:
        """A result as a register holds it: a model that flushes has no subnormal numbers."""
        return flushed(a, self.rules.compute) if self.rules.flush else a

    def read(self, factor: Array) -> Array:
        """A factor of a dot product as the unit for those reads it."""
        if self.rules.dot_input:
            bits = np.ascontiguousarray(factor, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
            return bits.view(np.float32).reshape(factor.shape)
        return flushed(factor, self.rules.compute) if self.rules.dot_flush else factor

    def array(self, x: Any) -> Num:
        a = np.asarray(x)
        return Num(self, (flushed(a, self.rules.storage) if self.rules.flush else a).astype(self.compute))

    def lift(self, x: Any) -> Num:
        return x if isinstance(x, Num) else self.real(x)

    def real(self, value: Any) -> Num:
        return Num(self, cast(np.asarray(value), self.compute))

    def store(self, x: Num) -> Num:
        a = np.asarray(x.a.astype(self.dtype))
        return Num(self, (flushed(a, self.rules.storage) if self.rules.flush else a).astype(self.compute))

    def saved(self, x: Num, times: int = 1) -> Num:
        for _ in range(times if self.rules.saved else 0):
            x = self.store(x)
        return x

    def function(self, name: str, x: Num, least: Num | None = None) -> Num:
        return Num(self, FUNCTIONS[name](x.a))

    def erf(self, x: Num) -> Num:
        return self._libm(math.erf, x)

    def erfc(self, x: Num) -> Num:
        return self._libm(math.erfc, x)

    def _libm(self, function: Callable[[float], float], x: Num) -> Num:
        """A function that NumPy lacks, from the C library, in float64 and rounded once."""
        return Num(self, cast(np.vectorize(function, otypes=[np.float64])(x.a.astype(np.float64)), self.compute))

    def abs(self, x: Num) -> Num:
        return Num(self, np.abs(x.a))

    def relu(self, x: Num) -> Num:
        return Num(self, np.maximum(x.a, self.lift(0).a))

    def branch(self, x: Num, above: Any, below: Any, at: Any = 0, kink: str = "0") -> Num:
        side, edge = x.a, self.lift(at).a
        if self.rules.flush:  # a sign is that of a difference, which is flushed
            side, edge = self.settled(np.asarray(side - edge)), self.lift(0).a
        return Num(self, super().branch(side, self.lift(above).a, self.lift(below).a, edge, kink))

    def windows(self, x: Num, w: Windows) -> Num:
        return Num(self, w.gather(x.a))

    def fold(self, x: Num, w: Windows) -> Num:
        return Num(self, w.fold(x.a))

    def max(self, x: Num, axis: int, among: Array | None = None) -> Num:
        return Num(self, np.asarray(super().max(x.a, axis, among), dtype=self.compute))

    def route(self, g: Num, x: Num, axis: int, among: Array | None = None) -> Num:
        rule = ties(self.convention)
        chosen, sent = hits(x.a, axis, among, rule), Num(self, np.expand_dims(g.a, axis))
        if rule == "split":
            sent = sent / self.real(np.maximum(np.count_nonzero(chosen, axis=axis, keepdims=True), 1))
        return self.where(chosen, sent, 0)

    def contract(self, form: Contraction, a: Num, b: Num, plus: Num | None = None) -> Num:
        """The sums inside the matrix products in this arithmetic's order; those around them as NumPy comes."""
        result = Num(self, form.apply(self._matmul, a.a, b.a))
        return result if plus is None else result + plus

    def _matmul(self, a: Array, b: Array) -> Array:
        a, b = (self.read(m)[(None,) * (max(a.ndim, b.ndim) - m.ndim)] for m in (a, b))
        left, right = np.moveaxis(a, -1, 0)[..., None], np.moveaxis(b, -2, 0)[..., None, :]
        terms = left * right
        return self._total(terms, (np.broadcast_to(left, terms.shape), np.broadcast_to(right, terms.shape)))

    def sum(self, x: Num, axis: Any = None, keepdims: bool = False) -> Num:
        axes = tuple(range(x.ndim)) if axis is None else tuple(a % x.ndim for a in np.atleast_1d(axis))
        kept = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
        rest = tuple(n for a, n in enumerate(x.shape) if a not in axes)

        def first(a: Array) -> Array:
            a = np.broadcast_to(a, x.shape)
            return np.moveaxis(a, axes, range(len(axes))).reshape(math.prod(x.shape[i] for i in axes), *rest)

        factors = None if x.factors is None else (first(x.factors[0]), first(x.factors[1]))
        return Num(self, self._total(first(x.a), factors).reshape(kept if keepdims else rest))

    def dot(self, a: Num, b: Num, plus: Num | None = None) -> Num:
        shape = (*a.shape[:-1], b.shape[-1])
        extra = None if plus is None else np.broadcast_to(plus.a, shape)[None]
        left, right = np.moveaxis(self.read(a.a), -1, 0)[..., None], np.moveaxis(self.read(b.a), -2, 0)[..., None, :]
        if self.order == "fma":
            full = (a.shape[-1], *shape)
            factors = (np.broadcast_to(left, full), np.broadcast_to(right, full))
            return Num(self, self._total(left * right, factors, None if extra is None else extra[0]))
        terms = left * right
        return Num(self, self._total(terms if extra is None else np.concatenate([terms, extra])))

    def _total(self, terms: Array, factors: tuple[Array, Array] | None = None, start: Array | None = None) -> Array:
        """The sum along axis 0, in this arithmetic's order."""
        if self.rules.flush or self.rules.dot_flush:
            return self._flushing_total(terms, factors, start)
        if not len(terms):
            return np.zeros(terms.shape[1:], self.compute)
        if self.order == "fma" and factors is not None:
            total = terms[0] if start is None else fma(factors[0][0], factors[1][0], start)
            for a, b in zip(factors[0][1:], factors[1][1:], strict=True):
                total = fma(a, b, total)
            return total
        if self.order == "reversed":
            return _chain(terms[::-1])
        if self.order == "pairwise":
            while len(terms) > 1:
                half = len(terms) // 2
                terms = np.concatenate([terms[:half] + terms[half : 2 * half], terms[2 * half :]])
            return terms[0]
        if self.order == "blocked":
            return _chain([_chain(terms[i : i + BLOCK]) for i in range(0, len(terms), BLOCK)])
        if self.order == "shuffled":
            while len(terms) > 1:
                terms = self._rng.permuted(terms, axis=0) if terms.dtype != "bfloat16" else self._permuted(terms)
                pairs = int(self._rng.integers(1, len(terms) // 2 + 1))
                terms = np.concatenate([terms[:pairs] + terms[pairs : 2 * pairs], terms[2 * pairs :]])
            return terms[0]
        return _chain(terms)

    def _flushing_total(self, terms: Array, factors: tuple[Array, Array] | None, start: Array | None) -> Array:
        """As `_total`, with every term and every partial sum flushed: one by one, or in pairs."""
        total = np.zeros(terms.shape[1:], self.compute)
        if self.order == "fma" and factors is not None:
            total = total if start is None else start
            for a, b in zip(*factors, strict=True):
                total = flushed(fma(a, b, total), self.rules.compute)
            return total
        terms = flushed(terms if start is None else np.concatenate([total[None], terms]), self.rules.compute)
        if self.order in ("sequential", "fma", "reversed"):
            for t in terms[::-1] if self.order == "reversed" else terms:
                total = flushed(total + t, self.rules.compute)
            return total
        while len(terms) > 1:
            half = len(terms) // 2
            sums = flushed(terms[:half] + terms[half : 2 * half], self.rules.compute)
            terms = np.concatenate([sums, terms[2 * half :]])
        return terms[0] if len(terms) else total

    def _permuted(self, terms: Array) -> Array:
        """Each column in an order of its own; NumPy's generator does not know bfloat16, so its bits are permuted."""
        return self._rng.permuted(terms.view(np.uint16), axis=0).view(terms.dtype)

    def product(self, *factors: Any, over: Any = None) -> Num:
        values = [self.lift(f) for f in factors]
        divisor = None if over is None else self.lift(over)
        if self.grouping == "right":
            result = values[-1] if divisor is None else values[-1] / divisor
            for f in reversed(values[:-1]):
                result = f * result
            return result
        if self.grouping == "reciprocal" and divisor is not None:
            values.insert(0, Num(self, self.lift(1).a / divisor.a))
            divisor = None
        result = values[0]
        for f in values[1:]:
            result = result * f
        return result if divisor is None else result / divisor

    def pivot(self, x: Num, axis: int, finite: bool = False) -> Num:
        top = np.max(x.a, axis=axis, keepdims=True)
        return Num(self, np.where(np.isinf(top), np.zeros_like(top), top) if finite else top)

    def either(self, first: Callable[[], Num], second: Callable[[], Num]) -> Num:
        """The second formula where numbers are also taken the other way round."""
        a = first()
        if self.grouping == "left":
            return a
        b = second()
        return Num(self, np.where(np.isfinite(b.a), b.a, a.a))

    def inexact(self, x: Num, operands: Any, worst: Any, expected: Any, reach: Any = None) -> Num:
        return x

    def where(self, mask: Array, a: Any, b: Any) -> Num:
        return Num(self, np.where(mask, self.lift(a).a, self.lift(b).a))

    def one_hot(self, target: Array, classes: int, axis: int) -> Num:
        return Num(self, one_hot(target, classes, axis).astype(self.compute))

    def take(self, x: Num, target: Array, axis: int) -> Num:
        return Num(self, take(x.a, target, axis))


def _chain(terms: Any) -> Array:
    total = terms[0]
    for t in terms[1:]:
        total = total + t
    return total
