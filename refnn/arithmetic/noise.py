r"""Noise: the error to expect, to first order in the local roundings.

Each local rounding is taken as an independent variable of mean zero, uniform over one ulp: its standard deviation is at
most u |result| / sqrt(3). A value carries its midpoint, a few *terms* and a *bias*.

A term is an array of standard deviations with two facts about the variables behind it: along which axes they are
independent (the others share one variable, or may), and which roundings they descend from. Terms of different descent
add in quadrature; terms that share an ancestor, like those of y and of g - sum(g y) in y (g - sum(g y)), add as
magnitudes, which bounds the standard deviation whatever their correlation is. The same holds for a sum along an axis:
in quadrature where the variables are independent, as magnitudes where they may be shared.

The bias bounds the errors that are not roundings: what elementary functions are off apart from the rounding of their
result, which is the same each time, and losses below the normal range.

A sum is taken as a chain, the longest way to add: from left to right, from right to left or in a random order,
whichever has the larger partial sums. The partial sums are computed where blocks of m terms end. Inside a block they
are modelled as a permutation bridge, the discrete Brownian bridge of terms p in random order: around the straight line
between the ends the k-th one has the mean square (k/m)(1 - k/m) sum(p^2), which adds up to a sixth of m sum(p^2). Sums
in blocks or trees err less.

It is one file of more than 500 lines because every primitive is one rule of the same few: how terms add, and which of
them share an ancestor.

The probabilistic view is that of Higham and Mary, SIAM J. Sci. Comput. 41 (2019) A2815. Like theirs it fails for
constant data and for truncating hardware, so it supports a suspicion and never a claim.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from refnn.arithmetic import BLOCK, Convention, nearest, share, ties
from refnn.arithmetic.floats import hits, one_hot, take
from refnn.arithmetic.functions import FUNCTIONS
from refnn.arithmetic.operators import Operators
from refnn.arithmetic.parts import Part, is_zero
from refnn.arithmetic.protocol import Arithmetic, Axis, OfMagnitudes, Real
from refnn.arithmetic.windows import Contraction, Windows
from refnn.formats import Format
from refnn.models import Model, model

Array = np.ndarray
OfArrays = Callable[[Array, Array], Array]
_ROOT3 = math.sqrt(3.0)
_SMALL = 2.0**-1020  # below this, products of float64 numbers may lose digits
SUM_BLOCKS, DOT_BLOCKS = 8, 4  # in which the partial sums of a sum, and of a product of matrices, are looked at
_FAR = 2.0**50  # a number whose square times the terms of a sum is far from overflow in float32
STAGNANT = 0.25  # unit roundoffs of the partial sums, in root mean square, to a term: half an ulp to two
_NEAR = 10.0  # a kink within this many standard deviations may be crossed


@dataclass(frozen=True)
class Term:
    """Standard deviations `std`; independent along the axes where `shape` is not 1; descending from `roots`."""

    std: np.ndarray
    shape: tuple[int, ...]
    roots: frozenset[int]


def _root_sum(a: Array, b: Array) -> Array:
    """sqrt(a^2 + b^2), where squares neither vanish nor overflow; else np.hypot, at ten times the cost."""
    return np.asarray(np.sqrt(a * a + b * b))


def _merge(terms: list[Term], quadrature: OfArrays = np.hypot) -> tuple[Term, ...]:
    """At most one term for each pattern of independence."""
    if len(terms) < 2:
        return tuple(terms)
    merged: dict[tuple[int, ...], Term] = {}
    for t in terms:
        if (known := merged.get(t.shape)) is not None:
            join = quadrature if known.roots.isdisjoint(t.roots) else np.add
            t = Term(join(known.std, t.std), t.shape, known.roots | t.roots)
        merged[t.shape] = t
    return tuple(merged.values())


@final
class Noisy(Operators):
    """A midpoint with the noise around it; see the module's docstring."""

    __slots__ = ("ar", "bias", "mid", "pure", "terms")
    ar: Noise

    def __init__(self, ar: Noise, mid: Array, terms: Iterable[Term] = (), bias: Part = 0.0, pure: bool = False) -> None:
        self.ar, self.mid, self.terms, self.bias, self.pure = ar, np.asarray(mid), tuple(terms), bias, pure

    shape = property(lambda self: self.mid.shape)
    ndim = property(lambda self: self.mid.ndim)
    size = property(lambda self: self.mid.size)

    def std(self) -> np.ndarray:
        """A bound of the standard deviation of each element: terms that share an ancestor add as magnitudes."""
        groups: list[tuple[frozenset[int], Array]] = []
        for t in self.terms:
            roots, std = t.roots, t.std
            for other in [g for g in groups if not g[0].isdisjoint(roots)]:
                groups.remove(other)
                roots, std = roots | other[0], std + other[1]
            groups.append((roots, std))
        total: Array = groups[0][1] if groups else np.zeros(self.shape)
        for _, s in groups[1:]:
            total = self.ar.quadrature(total, s)
        return np.broadcast_to(total, self.shape)

    def _map(self, f: Callable[[np.ndarray], np.ndarray]) -> Noisy:
        """Reorder or select elements, none twice: what was independent everywhere stays so, the rest is shared."""
        mid, terms = f(self.mid), []
        for t in self.terms:
            shape = mid.shape if t.shape == self.shape else (1,) * mid.ndim
            terms.append(Term(f(np.broadcast_to(t.std, self.shape)), shape, t.roots))
        bias = self.bias if isinstance(self.bias, float) else f(np.broadcast_to(self.bias, self.shape))
        return Noisy(self.ar, mid, _merge(terms), bias, self.pure)

    def _finite(self) -> Noisy:
        """The same with zeros for infinities and NaN."""
        return Noisy(self.ar, np.where(np.isfinite(self.mid), self.mid, 0.0), self.terms, self.bias)

    def __neg__(self) -> Noisy:
        return Noisy(self.ar, -self.mid, self.terms, self.bias, self.pure)


class Noise(Arithmetic[Noisy]):
    """The arithmetic of expected errors under `model`."""

    name = "Noise"

    def __init__(self, model_: str | Model, *, convention: Convention = 0.0) -> None:
        self.model, self.convention = model(model_), convention
        self._ids: Iterator[int] = itertools.count()
        # Squares of the errors of float64 numbers may leave the range of float64; those of shorter formats do not.
        self.quadrature = np.hypot if self.model.compute.name == "float64" else _root_sum

    # --- borders -----------------------------------------------------------------------------------------------------

    def array(self, x: Array) -> Noisy:
        mid = np.asarray(x).astype(np.float64)
        if not self.model.flush:
            return Noisy(self, mid)
        size = np.abs(mid)  # a subnormal input may be read as zero: a bound, no variance
        return Noisy(self, mid, bias=np.where(size < self.model.storage.smallest_normal, size, 0.0))

    def lift(self, x: Noisy | int) -> Noisy:
        if isinstance(x, Noisy):
            return x
        return Noisy(self, np.asarray(float(x)), pure=x == 0 or abs(x).bit_count() == 1)

    def real(self, value: Real) -> Noisy:
        # One rounding that every element shares: no variance to average out, so it counts as a bias.
        size = np.abs(np.asarray(value, np.float64))
        whole = (size == 0) | (np.frexp(size)[0] == 0.5) | ~np.isfinite(size)
        bias = 0.0 if whole.all() else np.where(whole, 0.0, self.model.compute.unit_roundoff * size)
        return Noisy(self, np.asarray(value, np.float64), bias=bias, pure=bool(whole.all()))

    def constant(self, name: str) -> Noisy:
        return self.real(nearest(name))

    def store(self, x: Noisy) -> Noisy:
        m = self.model
        if m.storage == m.compute:
            return x
        return self._rounded(x.mid, x.terms, x.bias, np.abs(x.mid) * (m.storage.unit_roundoff / _ROOT3), m.storage)

    def _rounded(
        self, mid: Array, terms: Iterable[Term], bias: Part, std: Array, fmt: Format | None = None, losses: Part = 1
    ) -> Noisy:
        """A result with its own rounding added: one fresh variable an element. As many operations as `losses` may each
        lose something below the normal range."""
        mid = np.asarray(mid)
        fresh = Term(np.asarray(std), mid.shape, frozenset((next(self._ids),)))
        bias = bias + losses * self._loss(fmt or self.model.compute)
        return self._settled(mid, _merge([*self._spread(terms, mid.ndim), fresh], self.quadrature), bias)

    def _settled(self, mid: Array, terms: Iterable[Term], bias: Part) -> Noisy:
        """A result without noise where it is infinite or NaN: what surely is so is not rounded, and of what may be so
        nothing is known (Balls has an infinite radius there). Its noise would be NaN in all that follows."""
        with np.errstate(all="ignore"):
            if not np.isfinite(np.sum(mid)) and not (known := np.isfinite(mid)).all():
                terms = [Term(np.where(known, t.std, 0.0), t.shape, t.roots) for t in terms]
                bias = np.where(known, bias, 0.0)
        return Noisy(self, mid, terms, bias)

    def _unless_stagnant(self, chain: Array, terms: Array) -> Array:
        """`chain`, the root of the sum of squares of partial sums, and infinity where a term is no more than a few ulps
        of them: it is rounded one way then, or lost, and nothing is independent. `terms` is the root of their sum of
        squares. Of n equally large terms of one sign the ratio is n/2, so that n u = 1/2 is the limit; of either sign,
        it is about sqrt(n/2)."""
        return np.where(self.model.accumulate.unit_roundoff * chain > STAGNANT * terms, np.inf, chain)

    def _loss(self, fmt: Format) -> float:
        """What one operation may lose below the normal range; half of a subnormal number may be none in float64."""
        return float(fmt.smallest_normal if self.model.flush else fmt.smallest_subnormal)

    @staticmethod
    def _spread(terms: Iterable[Term], ndim: int) -> Iterator[Term]:
        """Terms of a broadcast operand: new axes share its variables."""
        for t in terms:
            yield Term(t.std, (1,) * (ndim - len(t.shape)) + t.shape, t.roots)

    def _scaled(self, terms: Iterable[Term], factor: Array) -> list[Term]:
        times = _times if self.model.compute.name == "float64" else _unless_zero
        return [Term(times(t.std, factor), t.shape, t.roots) for t in terms]

    # --- operations --------------------------------------------------------------------------------------------------

    def add(self, a: Noisy, b: Noisy) -> Noisy:
        with np.errstate(all="ignore"):
            mid = a.mid + b.mid
            terms = [*self._spread(a.terms, mid.ndim), *self._spread(b.terms, mid.ndim)]
            return self._rounded(mid, terms, a.bias + b.bias, np.abs(mid) * (self.model.compute.unit_roundoff / _ROOT3))

    def product(self, *factors: Noisy | int, over: Noisy | int | None = None) -> Noisy:
        with np.errstate(all="ignore"):
            first, *rest = (self.lift(f) for f in factors)
            mid, terms, bias = first.mid, list(first.terms), first.bias
            roundings = sum(not f.pure for f in (first, *rest)) - 1
            losses = _losses((first, *rest), None if over is None else self.lift(over))
            for f in rest:
                ndim, size, other = max(mid.ndim, f.ndim), np.abs(mid), np.abs(f.mid)
                terms = self._scaled(self._spread(terms, ndim), other) + self._scaled(self._spread(f.terms, ndim), size)
                bias = _weighted((bias, other), (f.bias, size))
                mid = mid * f.mid
            if over is not None:
                d = self.lift(over)
                ndim, inverse, quotient = max(mid.ndim, d.ndim), 1 / np.abs(d.mid), mid / d.mid
                terms = self._scaled(self._spread(terms, ndim), inverse)
                if d.terms or not is_zero(d.bias):
                    # By one factor after the other: their product may vanish.
                    size = np.abs(quotient)
                    terms += self._scaled(self._scaled(self._spread(d.terms, ndim), inverse), size)
                    bias = _weighted((bias, inverse), (_weighted((d.bias, inverse)), size))
                else:
                    bias = _weighted((bias, inverse))
                mid = quotient
                roundings += 0 if d.pure else 2
            if roundings <= 0:
                bias = bias + losses * self._loss(self.model.compute)
                return self._settled(mid, _merge(list(self._spread(terms, mid.ndim)), self.quadrature), bias)
            std = np.abs(mid) * (self.model.compute.unit_roundoff * math.sqrt(roundings) / _ROOT3)
            return self._rounded(mid, terms, bias, std, losses=losses)

    def sum(self, x: Noisy, axis: Axis = None, keepdims: bool = False) -> Noisy:
        with np.errstate(all="ignore"):
            mid = np.sum(x.mid, axis=axis, keepdims=keepdims)
            axes = range(x.ndim) if axis is None else [a % x.ndim for a in np.atleast_1d(axis)]
            terms = []
            for t in x.terms:
                # Independent axes first, in quadrature; then the shared ones, as magnitudes.
                std = np.broadcast_to(t.std, x.shape)
                free = tuple(a for a in axes if t.shape[a] != 1)
                shared = tuple(a for a in axes if t.shape[a] == 1)
                std = _norm(std, free) if free else std
                std = np.sum(std, axis=shared, keepdims=True) if shared else std
                shape = tuple(1 if a in axes else n for a, n in enumerate(t.shape))
                if not keepdims:
                    std = std.reshape(np.shape(mid))
                    shape = tuple(n for a, n in enumerate(shape) if a not in axes)
                terms.append(Term(std, shape, t.roots))
            bias = 0.0
            if not isinstance(x.bias, float) or x.bias:
                bias = np.sum(np.broadcast_to(x.bias, x.shape), axis=axis, keepdims=keepdims)
            n = x.size // max(np.size(mid), 1)
            if self.model.dot_flush:  # as a dot product with ones; each term and each partial sum may be lost
                bias = bias + 2 * n * self.model.accumulate.smallest_normal
            if n <= 1:
                return self._settled(mid, _merge(terms, self.quadrature), bias)
            rows = np.moveaxis(x.mid, tuple(axes), range(-len(axes), 0)).reshape(-1, n)
            scale = _scale(rows, 1)
            scaled = rows / scale
            starts = _starts(n, SUM_BLOCKS)
            blocks = np.add.reduceat(scaled, starts, axis=1).T
            squares = np.add.reduceat(scaled * scaled, starts, axis=1).T
            sizes = np.diff([*starts, n])
            total = np.sum(squares, axis=0)
            chain = _chain(sizes.tolist(), blocks, (sizes - 1) / 6 @ squares, total)
            chain = self._unless_stagnant(chain, np.sqrt(total)) * scale[:, 0]
            own = chain.reshape(np.shape(mid)) * (self.model.accumulate.unit_roundoff / _ROOT3)
            return self._rounded(mid, terms, bias, own, self.model.accumulate)

    def contract(self, form: Contraction, a: Noisy, b: Noisy, plus: Noisy | None = None) -> Noisy:
        def applied(x: Array, y: Array) -> Array:
            return np.asarray(form.apply(np.matmul, x, y))

        with np.errstate(all="ignore"):
            mid = applied(a.mid, b.mid)
            if not np.isfinite(np.sum(mid)):
                # Infinite factors leave no noise where they arrive, and must not arrive as 0 * inf where they do not.
                limits = form.limits(a.mid, b.mid)
                a, b = a._finite(), b._finite()
                mid = np.where(limits == 0, applied(a.mid, b.mid), limits)
            ma, mb = np.abs(a.mid), np.abs(b.mid)
            terms = [_contracted(t, a.shape, applied, mb, form.left, mid.ndim) for t in a.terms]
            terms += [_contracted(t, b.shape, lambda y, x: applied(x, y), ma, form.right, mid.ndim) for t in b.terms]
            bias: Part = 0.0
            if not is_zero(a.bias):
                bias = bias + applied(np.broadcast_to(a.bias, a.shape), mb)
            if not is_zero(b.bias):
                bias = bias + applied(ma, np.broadcast_to(b.bias, b.shape))
            # One scale for each row and column of a matrix product, one for all of b or a where it is none.
            rows, row_scale = _scaled_along(a.mid, form.left, mid.ndim)
            columns, column_scale = _scaled_along(b.mid, form.right, mid.ndim)
            scale = row_scale * column_scale
            m = self.model
            if m.dot_input:  # the factors of a product are truncated, not rounded: a bound, no variance
                bias = bias + 2 * m.dot_input * (1 + m.dot_input) * applied(ma, mb)
            if m.dot_floor:
                lost = [np.where(x < m.compute.smallest_normal, np.minimum(x, m.dot_floor), 0.0) for x in (ma, mb)]
                if any(x.any() for x in lost):
                    finite = [np.where(np.isfinite(x), x, 0.0) for x in (ma, mb)]
                    bias = bias + applied(lost[0], finite[1]) + applied(finite[0], lost[1])
            if plus is not None:
                mid = mid + plus.mid
                terms, bias = [*terms, *self._spread(plus.terms, mid.ndim)], bias + plus.bias
            further = None if plus is None else np.broadcast_to(plus.mid / scale, mid.shape)
            own = _contraction_roundings(form, rows, columns, mid.shape, further, self._unless_stagnant)
            own *= scale * (m.accumulate.unit_roundoff / _ROOT3)
            if m.dot_flush:
                bias = bias + (2 * form.terms + 1) * m.accumulate.smallest_normal
            return self._rounded(mid, terms, bias, own, m.accumulate, form.terms + 1)

    # --- elementary functions ----------------------------------------------------------------------------------------

    def function(self, name: str, x: Noisy, least: Noisy | None = None) -> Noisy:
        """K ulps are the rounding of the result, half an ulp like any other, and K - 1/2 of approximation, which repeat
        for equal arguments and may have one sign over a whole range: a bias. None where the result is exact: where the
        argument is given, not computed, and the function is exact there."""
        fmt, f = self.model.compute, FUNCTIONS[name]
        with np.errstate(all="ignore"):
            mid, slope = f(x.mid), f.slope(x.mid)
            ulps = self.model.ulps[name]
            size = np.abs(mid)
            if f.exact is not None and not x.terms and is_zero(x.bias):
                size = np.where(x.mid == f.exact, 0.0, size)
            bias = _weighted((x.bias, slope)) + (2 * ulps - 1) * fmt.unit_roundoff * size
            bias = bias + (max(ulps, 1.0) - 1) * fmt.smallest_subnormal
            return self._rounded(mid, self._scaled(x.terms, slope), bias, size * (fmt.unit_roundoff / _ROOT3))

    # --- kinks and choices -------------------------------------------------------------------------------------------

    def abs(self, x: Noisy) -> Noisy:
        return Noisy(self, np.abs(x.mid), x.terms, x.bias)

    def _near(self, x: Noisy) -> np.ndarray:
        """Elements whose sign is open: their noise may carry them over zero."""
        return np.abs(x.mid) <= _NEAR * x.std() + x.bias if x.terms or np.any(x.bias) else np.zeros(x.shape, bool)

    def relu(self, x: Noisy) -> Noisy:
        with np.errstate(all="ignore"):
            alive = (x.mid > 0) | self._near(x)
            terms = self._scaled(x.terms, alive)
            return Noisy(self, np.maximum(x.mid, 0.0), terms, np.where(alive, x.bias, 0.0))

    def branch(self, x: Noisy, above: Noisy | int, below: Noisy | int, at: Noisy | int = 0, kink: str = "0") -> Noisy:
        above, below, at = self.lift(above), self.lift(below), self.lift(at)
        with np.errstate(all="ignore"):
            # Twice, as Balls does: of two evaluations the one may have rounded `at` up, the other down.
            side = x if not at.mid.any() else Noisy(self, x.mid - at.mid, x.terms, x.bias + 2 * at.bias)
            up = (side.mid > 0) | ((side.mid == 0) & (share(self.convention, kink) == 1))
            mid = np.where(up, above.mid, below.mid)
            # Not a product with a mask: what is not taken may be infinite.
            near = self._near(side)
            if self.model.flush and at.mid.any():  # where the sign of the difference is taken, and that is flushed
                near = near | (np.abs(side.mid) < 2 * self.model.compute.smallest_normal)
            terms = [
                *(Term(np.where(up | near, t.std, 0.0), t.shape, t.roots) for t in self._spread(above.terms, mid.ndim)),
                *(
                    Term(np.where(up & ~near, 0.0, t.std), t.shape, t.roots)
                    for t in self._spread(below.terms, mid.ndim)
                ),
            ]
            crossed = near & ((side.mid != 0) | (side.std() > 0) | (np.asarray(side.bias) > 0))  # not at an exact kink
            either = np.maximum(above.bias, below.bias) + np.abs(above.mid - below.mid)
            bias = np.where(crossed, either, np.where(up, above.bias, below.bias))
            return self._settled(mid, _merge(terms, self.quadrature), bias)

    def windows(self, x: Noisy, w: Windows) -> Noisy:
        # A cell is in several windows, but only once in each: independent along the taps, shared along the rest.
        terms = []
        for t in x.terms:
            shape = (w.taps if t.shape == x.shape else 1, *(1,) * x.ndim)
            terms.append(Term(w.gather(np.broadcast_to(t.std, x.shape)), shape, t.roots))
        bias = x.bias if is_zero(x.bias) else w.gather(np.broadcast_to(x.bias, x.shape))
        return Noisy(self, w.gather(x.mid), _merge(terms), bias, x.pure)

    def fold(self, x: Noisy, w: Windows) -> Noisy:
        with np.errstate(all="ignore"):
            mid = w.fold(x.mid)
            terms = []
            for t in x.terms:
                std = np.broadcast_to(t.std, x.shape)
                if t.shape == x.shape:
                    scale = float(_scale(std, None).reshape(()))
                    terms.append(Term(np.sqrt(w.fold(np.square(std / scale))) * scale, mid.shape, t.roots))
                else:
                    terms.append(Term(w.fold(std), (1,) * mid.ndim, t.roots))
            bias = x.bias if is_zero(x.bias) else w.fold(np.broadcast_to(x.bias, x.shape))
            if w.coverage <= 1:
                return self._settled(mid, _merge(terms, self.quadrature), bias)
            # Every one of the few partial sums is at most the sum of magnitudes.
            own = w.fold(np.abs(x.mid)) * (math.sqrt(w.coverage - 1) * self.model.accumulate.unit_roundoff / _ROOT3)
            return self._rounded(mid, terms, bias, own, self.model.accumulate)

    def max(self, x: Noisy, axis: int, among: np.ndarray | None = None) -> Noisy:
        top = np.asarray(hits(x.mid, axis, among, "first"), dtype=bool)
        mid = np.max(x.mid if among is None else np.where(among, x.mid, -np.inf), axis=axis)
        # The noise of whichever element is the maximum; elements so near that noise exchanges them differ by as little.
        terms = [
            Term(np.max(np.where(top, np.broadcast_to(t.std, x.shape), 0.0), axis=axis), (1,) * mid.ndim, t.roots)
            for t in x.terms
        ]
        bias = 0.0 if is_zero(x.bias) else np.max(np.broadcast_to(x.bias, x.shape), axis=axis)
        return self._settled(mid, _merge(terms), bias)

    def route(self, g: Noisy, x: Noisy, axis: int, among: np.ndarray | None = None) -> Noisy:
        with np.errstate(all="ignore"):
            rule = ties(self.convention)
            chosen = hits(x.mid, axis, among, rule)
            # The variables of g are shared along the new axis, whose position counts from the front.
            place = axis % x.ndim
            terms = [
                Term(
                    np.expand_dims(np.broadcast_to(t.std, g.shape), place),
                    (*t.shape[:place], 1, *t.shape[place:]),
                    t.roots,
                )
                for t in g.terms
            ]
            bias = g.bias if is_zero(g.bias) else np.expand_dims(np.broadcast_to(g.bias, g.shape), place)
            sent = Noisy(self, np.expand_dims(g.mid, place), terms, bias)
            if rule == "split":
                sent = self.product(
                    sent, over=self.real(np.maximum(np.count_nonzero(chosen, axis=axis, keepdims=True), 1))
                )
            routed = self.where(chosen, sent, 0)
            if not x.terms and is_zero(x.bias):
                return routed
            # As at a kink: where noise may decide the maximum, all of it may go to another cell.
            spread = _NEAR * x.std() + x.bias
            low, high = x.mid - spread, x.mid + spread
            if among is not None:
                low, high = np.where(among, low, -np.inf), np.where(among, high, -np.inf)
            rivals = high >= np.max(low, axis=axis, keepdims=True)
            near = rivals & (np.count_nonzero(rivals, axis=axis, keepdims=True) > 1)
            return Noisy(self, routed.mid, routed.terms, routed.bias + np.where(near, np.abs(sent.mid), 0.0))

    def pivot(self, x: Noisy, axis: int, finite: bool = False) -> Noisy:
        top = np.max(x.mid, axis=axis, keepdims=True)  # it cancels, and so does its noise
        return Noisy(self, np.where(np.isinf(top), 0.0, top) if finite else top)

    def saved(self, x: Noisy, times: int = 1) -> Noisy:
        for _ in range(times if self.model.saved else 0):
            x = self.store(x)
        return x

    def often(self, most: int, typical: int) -> int:
        return typical

    def optional(self, x: Noisy) -> Noisy:
        return self._settled(x.mid, x.terms, x.bias + np.abs(x.mid))

    def either(self, first: Callable[[], Noisy], second: Callable[[], Noisy]) -> Noisy:
        a, b = first(), second()
        with np.errstate(all="ignore"):
            sound = np.isfinite(b.mid) & np.isfinite(b.bias)
            other = sound & (b.std() > a.std())  # false where it is NaN
            terms = [
                *(Term(np.where(other, 0.0, t.std), t.shape, t.roots) for t in a.terms),
                *(Term(np.where(other, t.std, 0.0), t.shape, t.roots) for t in b.terms),
            ]
            bias = np.where(sound, np.maximum(a.bias, b.bias), a.bias)
            return Noisy(self, a.mid, _merge(terms, self.quadrature), bias)

    def inexact(
        self,
        x: Noisy,
        operands: tuple[Noisy, ...],
        worst: OfMagnitudes,
        expected: OfMagnitudes,
        reach: OfMagnitudes | None = None,
    ) -> Noisy:
        fmt = self.model.compute
        floor = self._loss(fmt) / (2 * fmt.unit_roundoff)
        with np.errstate(all="ignore"):
            std = expected(floor, *(np.abs(o.mid) for o in operands)) * fmt.unit_roundoff
            std = np.broadcast_to(np.where(np.isfinite(std), std, 0.0), x.shape)
            return self._rounded(x.mid, x.terms, x.bias, std)

    def where(self, mask: np.ndarray, a: Noisy | int, b: Noisy | int) -> Noisy:
        a, b = self.lift(a), self.lift(b)
        mid = np.where(mask, a.mid, b.mid)
        terms = [
            *self._scaled(self._spread(a.terms, mid.ndim), mask),
            *self._scaled(self._spread(b.terms, mid.ndim), ~np.asarray(mask)),
        ]
        return Noisy(self, mid, _merge(terms, self.quadrature), np.where(mask, a.bias, b.bias))

    def one_hot(self, target: np.ndarray, classes: int, axis: int) -> Noisy:
        return Noisy(self, one_hot(target, classes, axis).astype(np.float64), pure=True)

    def take(self, x: Noisy, target: np.ndarray, axis: int) -> Noisy:
        return x._map(lambda v: take(v, target, axis))


def _weighted(*parts: tuple[Part, Array]) -> Part:
    """The sum of biases times factors; 0.0 where there is no bias at all."""
    return sum((_unless_zero(bias, factor) for bias, factor in parts if not is_zero(bias)), start=0.0)


def _unless_zero(size: Part, factor: Array) -> Array:
    """size * factor, and zero where one of them is, whatever the other is: no error passes where the slope is zero, and
    no error is nothing times an infinite slope."""
    product = np.asarray(size * factor)
    if np.isnan(np.sum(product)):
        product = np.where((np.asarray(size) == 0) | (np.asarray(factor) == 0), 0.0, product)
    return product


def _times(std: Array, factor: Array) -> Array:
    """std * factor, rounded up where it underflows: a later factor may make it large again."""
    product = _unless_zero(std, factor)
    if np.all(product >= _SMALL):
        return product
    return product + np.where((std != 0) & (factor != 0) & (product < _SMALL), 2.0**-1074, 0.0)


def _scale(x: Array, axes: Axis) -> Array:
    """The largest magnitude along `axes`, which stay with length 1: divided by it, squares neither vanish nor
    overflow."""
    scale = np.max(np.abs(x), axis=axes, keepdims=True, initial=0.0)
    return np.where((scale > 0) & np.isfinite(scale), scale, 1.0)


def _losses(factors: tuple[Noisy, ...], over: Noisy | None) -> Part:
    """How often the operations of a product lose below the normal range, each loss times the factors that may enlarge
    it. As in Balls, a power of two loses where it makes a product smaller."""
    impure = sum(not f.pure for f in factors)
    count = max(impure - 1, 0) + sum(f.pure and bool(np.any((f.mid != 0) & (np.abs(f.mid) < 1))) for f in factors)
    count += 0 if over is None else 1 if over.pure else 2
    if count == 0 or (len(factors) == 1 + (over is None) and (over is None or over.pure)):
        return count  # no operation, or one alone
    grown = math.prod((np.maximum(1.0, np.abs(f.mid)) for f in factors), start=np.asarray(float(count)))
    return grown if over is None else grown * np.maximum(1.0, 1 / np.abs(over.mid))


def _norm(x: Array, axes: tuple[int, ...]) -> Array:
    """The square root of the sum of squares along `axes`, which stay with length 1."""
    scale = _scale(x, axes)
    scaled = x / scale
    return np.asarray(np.sqrt(np.sum(scaled * scaled, axis=axes, keepdims=True)) * scale)


def _starts(n: int, blocks: int) -> list[int]:
    """Where the blocks of a sum of n terms begin, at whose ends the partial sums are looked at."""
    return sorted({n * i // blocks for i in range(blocks)})


def _chain(
    sizes: list[int], blocks: Iterable[Array], bridges: Array, squares: Array, further: Array | None = None
) -> Array:
    """The root of the sum of squares of all partial sums, from left to right, from right to left or in a random order,
    whichever is most, of terms whose sums over each block are given; a `further` term comes first or last: either it
    moves all partial sums, or it makes one more.

    From one end of a block to the other, a to e, the partial sums go straight, apart from a bridge: its mean squares
    add up to (m - 1)/6 times the block's sum of squares, where m is its length. `bridges` is the sum of those, or a
    bound. The straight ones add up to

        sum over j = 1..m of (a + (e - a) j/m)^2 = m a e + m/3 (e - a)^2 + (e^2 - a^2)/2 + (e - a)^2/(6m),

    where the third terms telescope. From the right, a and e are S - e and S - a, with S the sum of all. In a random
    order all terms are one block, whose bridge is (n - 1)/6 times the sum of all `squares`: kernels add every fourth or
    sixteenth term apart, and what is small from the left and from the right need not be small there.
    """
    n = sum(sizes)
    left = bridges
    line: Part = 0.0  # twice the sum of the straight partial sums, up to S
    end: Part = 0.0
    for block, m in zip(blocks, sizes, strict=True):
        if m:
            start, end = end, end + block
            left = left + m * (start * end) + (m / 3 + 1 / (6 * m)) * np.square(block)
            line = line + m * (start + end)
    left = left + end * end / 2
    back = end * n - line
    right = left + end * back
    mixed = (n - 1) / 6 * squares + (n / 3 + 1 / (6 * n) + 1 / 2) * np.square(end)
    most = np.maximum(np.maximum(left, right), mixed)
    if further is not None:
        last = most + np.square(end + further)
        first = np.maximum(left + further * (line + end), right + further * (back + end * (n + 1)))
        first = np.maximum(first, mixed + further * end * (n + 1))
        most = np.maximum(last, first + n * further * further)
    return np.asarray(np.sqrt(most))


def _contraction_roundings(
    form: Contraction,
    a: Array,
    b: Array,
    shape: tuple[int, ...],
    further: Array | None,
    unless_stagnant: OfArrays,
) -> Array:
    """The root of the sum of squares of what is rounded in a contraction, products and partial sums; in pieces of the
    result that stay in the cache, where the first axis allows it."""

    def applied(x: Array, y: Array) -> Array:
        return np.asarray(form.apply(np.matmul, x, y))

    # A standard deviation needs no more digits than float32 has, where squares stay in its range.
    if form.fits_single(np.square(a), np.square(b)) and (further is None or np.max(np.abs(further)) <= _FAR):
        a, b = a.astype(np.float32), b.astype(np.float32)
        further = None if further is None else further.astype(np.float32)
    result, squared_b = np.zeros(shape), np.square(b)
    small = _SMALL if b.dtype == np.float64 else float(np.finfo(b.dtype).tiny)
    rows = max(1, BLOCK * len(a) // max(result.size, 1) if form.left == (0, 0) else len(a))
    for piece in (slice(first, first + rows) for first in range(0, len(a), rows)):
        part = a[piece]
        sizes, blocks = [], []
        for size, x, y in form.parts(part, b, DOT_BLOCKS):
            sizes.append(size)
            blocks.append(applied(x, y))
        where = piece if form.left == (0, 0) else ...
        extra = None if further is None else further[where]
        total = applied(np.square(part), squared_b)
        rounded = np.sqrt(total)
        if form.terms > 1 or (form.terms and extra is not None):  # a sum of nothing and a bias is exact
            # One product of squares, with the longest block's share of it, where each block's own would take as many.
            chain = _chain(sizes, blocks, (max(sizes) - 1) / 6 * total, total, extra)
            rounded += unless_stagnant(chain, rounded if extra is None else np.hypot(rounded, extra))
        if np.any(total < small):
            # Squares may have vanished: no partial sum is above the sum of magnitudes, and zeros are not rounded.
            products = applied(np.abs(part), np.abs(b))
            most = np.where(products > 0, products + (0.0 if extra is None else np.abs(extra)), 0.0)
            rounded = np.where(total < small, (1 + math.sqrt(form.terms + 1)) * most, rounded)
        result[where] = rounded
    return result


def _scaled_along(x: Array, axis: tuple[int, int] | None, ndim: int) -> tuple[Array, Array]:
    """x divided by its largest magnitudes, and those as factors of the result of a contraction: one number for each
    index of the axis that survives, or one for all."""
    if axis is None:
        scale = _scale(x, None)
        return x / scale, scale.reshape(())
    scale = _scale(x, tuple(a for a in range(x.ndim) if a != axis[0]))
    return x / scale, scale.reshape([x.shape[axis[0]] if a == axis[1] else 1 for a in range(ndim)])


def _contracted(
    t: Term,
    shape: tuple[int, ...],
    applied: OfArrays,
    other: np.ndarray,
    axis: tuple[int, int] | None,
    ndim: int,
) -> Term:
    """The noise of one factor after a contraction with the magnitudes of the other: independent along the axis that
    survives, if it was, and shared along the rest."""
    std = np.broadcast_to(t.std, shape)
    summed = [a for a in range(len(shape)) if axis is None or a != axis[0]]
    if all(t.shape[a] == shape[a] for a in summed):
        rows, row_scale = _scaled_along(std, axis, ndim)
        largest = _scale(other, None)
        total = applied(np.square(rows), np.square(other / largest))
        out = np.sqrt(total) * (row_scale * largest.reshape(()))
        if np.any(total < _SMALL):  # squares may have vanished: the root of their sum is at most the sum of magnitudes
            out = np.where(total < _SMALL, applied(std, other), out)
    else:
        out = applied(std, other)
    if np.isnan(np.sum(out)):  # an infinite deviation, of which nothing is known, met a zero
        out = np.where(np.isnan(out), np.inf, out)
    kept = [1] * ndim
    if axis is not None:
        kept[axis[1]] = t.shape[axis[0]]
    return Term(out, tuple(kept), t.roots)
