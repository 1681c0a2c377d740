r"""Duals: the derivative of a definition along tangents, in any other arithmetic.

A dual number is a pair (value, tangent) of numbers of a `base`: v + t h with h^2 = 0. Each primitive has its rule of
differentiation here once, in primitives of the base. So a definition that is run in Duals gives its value and its
directional derivative; a vjp that is run in Duals gives products with second derivatives. In Floats these are numbers,
in Balls worst cases, in Arb and Fractions certified or exact values.

    product, quotient   the sum of the products with one tangent each, less value * tangent / divisor
    function            `Function.tangent`
    sum, contraction    linear in each argument, and so are windows, fold, take, where and route
    choices             the value decides, the tangent goes the same way

A tangent is None where it is known to be zero, as those of constants and parameters are: nothing is computed with it,
so that it rounds nothing, and no infinity meets a zero.

Where a value lies on a kink, a convention that is a number decides, as it does in a vjp. A convention that is a text
says nothing of kinks, and the definition is taken for smooth: it has a kink in one of its steps, as
max(x, 0) + log(1 + exp(-|x|)) has, and others make up for it. There the sign of the tangent decides, which is the order
of the dual numbers: each step goes to the side that the number goes to, so all of them go to one side. A tie between
maxima goes to those that the convention says, as `route` has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np

from refnn.arithmetic import Convention, ties
from refnn.arithmetic.functions import FUNCTIONS
from refnn.arithmetic.operators import Operators
from refnn.arithmetic.protocol import Arithmetic, Axis, OfMagnitudes, Real
from refnn.arithmetic.windows import Contraction, Windows

Number = Any  # an array of the base, or an integer


@final
class Dual(Operators):
    """A value and its tangent, of one shape; the tangent is None where it is zero."""

    __slots__ = ("ar", "tangent", "value")
    ar: Duals

    def __init__(self, ar: Duals, value: Number, tangent: Number = None) -> None:
        self.ar, self.value, self.tangent = ar, value, tangent

    shape = property(lambda self: shape_of(self.value))
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: int(np.prod(self.shape, dtype=int)))

    def _map(self, f: Callable[[Any], Any]) -> Dual:
        return Dual(self.ar, f(self.value), None if self.tangent is None else f(self.tangent))

    def __neg__(self) -> Dual:
        return self._map(lambda a: -a)


def shape_of(x: Number) -> tuple[int, ...]:
    """The shape of what an arithmetic gives."""
    return tuple(getattr(x, "shape", ()))  # a lone object of an exact arithmetic has none


class Duals(Arithmetic[Dual]):
    """Pairs of numbers of the arithmetic `base`. `convention` decides at kinks; it is that of the base if none is
    given."""

    def __init__(self, base: Arithmetic[Any], *, convention: Convention | None = None) -> None:
        self.base = base
        self.name = f"Duals of {base.name}"
        self._convention = base.convention if convention is None else convention

    @property
    def convention(self) -> Convention:
        return self._convention

    @convention.setter
    def convention(self, convention: Convention) -> None:
        self._convention = self.base.convention = convention

    # --- borders -----------------------------------------------------------------------------------------------------

    def dual(self, value: Number, tangent: Number | None) -> Dual:
        """A value with a tangent of any shape that broadcasts against it; None is a tangent of zero."""
        return Dual(self, value, None if tangent is None else self._like(tangent, shape_of(value)))

    def lift(self, x: Dual | int) -> Dual:
        if isinstance(x, Dual):
            return x
        if not isinstance(x, int):
            raise TypeError(f"an op combined an array with {x!r}, expected an integer or ar.real(...)")
        return Dual(self, x)

    def array(self, x: np.ndarray) -> Dual:
        return Dual(self, self.base.array(x))

    def store(self, x: Dual) -> Dual:
        return x._map(self.base.store)

    def real(self, value: Real) -> Dual:
        return Dual(self, self.base.real(value))

    def constant(self, name: str) -> Dual:
        return Dual(self, self.base.constant(name))

    def one_hot(self, target: np.ndarray, classes: int, axis: int) -> Dual:
        return Dual(self, self.base.one_hot(target, classes, axis))

    def _like(self, x: Number, shape: tuple[int, ...]) -> Number:
        """x in a shape that it broadcasts to, without a rounding."""
        return x if shape_of(x) == shape else self.base.where(np.ones(shape, bool), x, 0)

    def tangent(self, x: Dual) -> Number:
        """The tangent of a result, zeros where it is None."""
        return self.base.array(np.zeros(x.shape)) if x.tangent is None else x.tangent

    def total(self, terms: list[Number], shape: tuple[int, ...]) -> Number | None:
        """The sum of some tangents in any order, in that shape; None if there is none."""
        if not terms:
            return None
        if len(terms) < 3:
            return self._like(terms[0] if len(terms) == 1 else terms[0] + terms[1], shape)
        *others, stacked = (self.base.where(np.ones((1, *shape), bool), t, 0) for t in terms)
        for i, t in enumerate(others):
            mask = np.arange(len(terms)).reshape(-1, *[1] * len(shape)) == i
            stacked = self.base.where(mask, t, stacked)
        return self.base.sum(stacked, 0)

    # --- sums and products -------------------------------------------------------------------------------------------

    def add(self, a: Dual, b: Dual) -> Dual:
        value = a.value + b.value
        return Dual(self, value, self.total([x.tangent for x in (a, b) if x.tangent is not None], shape_of(value)))

    def sum(self, x: Dual, axis: Axis = None, keepdims: bool = False) -> Dual:
        return x._map(lambda a: self.base.sum(a, axis, keepdims))

    def product(self, *factors: Dual | int, over: Dual | int | None = None) -> Dual:
        duals = [self.lift(f) for f in factors]
        by = None if over is None else self.lift(over)
        values, divisor = [d.value for d in duals], None if by is None else by.value
        value = self.base.product(*values, over=divisor)
        terms = [
            self.base.product(*values[:i], d.tangent, *values[i + 1 :], over=divisor)
            for i, d in enumerate(duals)
            if d.tangent is not None
        ]
        if by is not None and by.tangent is not None:
            terms.append(-self.base.product(value, by.tangent, over=divisor))
        return Dual(self, value, self.total(terms, shape_of(value)))

    def dot(self, a: Dual, b: Dual, plus: Dual | None = None) -> Dual:
        return self._bilinear(self.base.dot, a, b, plus)

    def contract(self, form: Contraction, a: Dual, b: Dual, plus: Dual | None = None) -> Dual:
        return self._bilinear(lambda x, y, z: self.base.contract(form, x, y, z), a, b, plus)

    def _bilinear(self, of: Callable[[Number, Number, Number], Number], a: Dual, b: Dual, plus: Dual | None) -> Dual:
        """A contraction. Of one product of tangents, the further term may be added into the sum."""
        value = of(a.value, b.value, None if plus is None else plus.value)
        further = None if plus is None else plus.tangent
        factors = [(a.tangent, b.value), (a.value, b.tangent)]
        pairs = [(x, y) for x, y in factors if x is not None and y is not None]
        if len(pairs) == 1:
            return Dual(self, value, of(*pairs[0], further))
        terms = [of(x, y, None) for x, y in pairs] + ([] if further is None else [further])
        return Dual(self, value, self.total(terms, shape_of(value)))

    def windows(self, x: Dual, w: Windows) -> Dual:
        return x._map(lambda a: self.base.windows(a, w))

    def fold(self, x: Dual, w: Windows) -> Dual:
        return x._map(lambda a: self.base.fold(a, w))

    # --- elementary functions ----------------------------------------------------------------------------------------

    def function(self, name: str, x: Dual, least: Dual | None = None) -> Dual:
        bound = () if least is None else (least.value,)
        value = getattr(self.base, name)(x.value, *bound)  # which some arithmetics compute in their own way
        if x.tangent is None:
            return Dual(self, value)
        return Dual(self, value, FUNCTIONS[name].tangent(self.base, x.tangent, x.value, value))

    # --- kinks and choices -------------------------------------------------------------------------------------------

    def abs(self, x: Dual) -> Dual:
        t = x.tangent
        value = self.base.abs(x.value)
        return Dual(self, value, None if t is None else self._chosen(x, t, -t))

    def relu(self, x: Dual) -> Dual:
        return Dual(self, self.base.relu(x.value), None if x.tangent is None else self._chosen(x, x.tangent, 0))

    def branch(self, x: Dual, above: Dual | int, below: Dual | int, at: Dual | int = 0, kink: str = "0") -> Dual:
        above, below, at = self.lift(above), self.lift(below), self.lift(at)
        value = self.base.branch(x.value, above.value, below.value, at.value, kink)
        if above.tangent is None and below.tangent is None:
            return Dual(self, value)
        tangent = self._chosen(x, _given(above), _given(below), at, kink)
        return Dual(self, value, self._like(tangent, shape_of(value)))

    def _chosen(self, x: Dual, above: Number, below: Number, at: Dual | None = None, kink: str = "0") -> Number:
        """A tangent, `above` where x > at and `below` where x < at; where they are equal the convention decides, or the
        sign of the tangent of x - at."""
        base, edge = self.base, self.lift(0) if at is None else at
        if not isinstance(self.convention, str):
            return base.branch(x.value, above, below, edge.value, kink)
        ahead = [*(() if x.tangent is None else (x.tangent,)), *(() if edge.tangent is None else (-edge.tangent,))]
        shape = np.broadcast_shapes(shape_of(x.value), shape_of(edge.value))
        toward = self.total(ahead, shape)
        kept, base.convention = base.convention, "first"  # which takes what is below where both are equal
        try:
            level = below if toward is None else base.branch(toward, above, below)
            not_above = base.branch(-x.value, below, level, -edge.value)
            return base.branch(x.value, above, not_above, edge.value)
        finally:
            base.convention = kept

    def max(self, x: Dual, axis: int, among: np.ndarray | None = None) -> Dual:
        base = self.base
        value = base.max(x.value, axis, among)
        if x.tangent is None:
            return Dual(self, value)
        # The transpose of `route`, by branches, which round nothing: where the weight is not zero it is 1/n or more.
        n = x.shape[axis]
        weights = base.route(base.array(np.ones(shape_of(value))), x.value, axis, among)
        far = base.product(2 ** n.bit_length(), weights)
        if ties(self.convention) == "split":
            return Dual(self, value, base.sum(base.product(weights, base.branch(far, x.tangent, 0, 1)), axis))
        tangent: Number = 0
        for i in range(n):
            cell = (*[slice(None)] * (axis % x.ndim), i)
            tangent = base.branch(far[cell], x.tangent[cell], tangent, 1)
        return Dual(self, value, tangent)

    def route(self, g: Dual, x: Dual, axis: int, among: np.ndarray | None = None) -> Dual:
        return g._map(lambda a: self.base.route(a, x.value, axis, among))

    def where(self, mask: np.ndarray, a: Dual | int, b: Dual | int) -> Dual:
        a, b = self.lift(a), self.lift(b)
        value = self.base.where(mask, a.value, b.value)
        if a.tangent is None and b.tangent is None:
            return Dual(self, value)
        return Dual(self, value, self._like(self.base.where(mask, _given(a), _given(b)), shape_of(value)))

    def take(self, x: Dual, target: np.ndarray, axis: int) -> Dual:
        return x._map(lambda a: self.base.take(a, target, axis))

    # --- what implementations are free in ----------------------------------------------------------------------------

    def pivot(self, x: Dual, axis: int, finite: bool = False) -> Dual:
        """It cancels from the result, and so does its tangent: zero will do."""
        return Dual(self, self.base.pivot(x.value, axis, finite))

    def saved(self, x: Dual, times: int = 1) -> Dual:
        return x._map(lambda a: self.base.saved(a, times))

    def often(self, most: int, typical: int) -> int:
        return self.base.often(most, typical)

    def optional(self, x: Dual) -> Dual:
        return x._map(self.base.optional)

    def either(self, first: Callable[[], Dual], second: Callable[[], Dual]) -> Dual:
        found: dict[Callable[[], Dual], Dual] = {}

        def once(f: Callable[[], Dual]) -> Dual:
            if f not in found:
                found[f] = f()
            return found[f]

        value = self.base.either(lambda: once(first).value, lambda: once(second).value)
        if once(first).tangent is None:
            return Dual(self, value)
        return Dual(
            self, value, self.base.either(lambda: self.tangent(once(first)), lambda: self.tangent(once(second)))
        )

    def inexact(
        self,
        x: Dual,
        operands: tuple[Dual, ...],
        worst: OfMagnitudes,
        expected: OfMagnitudes,
        reach: OfMagnitudes | None = None,
    ) -> Dual:
        """An algorithm that is linear in each operand, as those of `refnn.arithmetic.transforms` are, gives the tangent
        in one run for each operand that has one: with the tangent in its place."""
        values = tuple(o.value for o in operands)
        value, tangent = self.base.inexact(x.value, values, worst, expected, reach), x.tangent
        for o in operands:
            if tangent is not None and o.tangent is not None and (o is not x or len(operands) == 1):
                given = tuple(p.tangent if p is o or (p is x and p.tangent is not None) else p.value for p in operands)
                tangent = self.base.inexact(tangent, given, worst, expected, reach)
        return Dual(self, value, tangent)


def _given(x: Dual) -> Number:
    """The tangent, an integer where it is known to be zero."""
    return 0 if x.tangent is None else x.tangent
