"""Symbols: the definition as SymPy expressions, so that a vjp can be compared with the derivative of the forward."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from refnn.arithmetic import CONSTANTS, Convention, share
from refnn.arithmetic.exact import Array, Element, ObjectArrays
from refnn.arithmetic.functions import FUNCTIONS


class Symbols(ObjectArrays):
    """Real SymPy expressions in object arrays; `array` lifts numbers exactly and leaves expressions as they are."""

    name = "Symbols"

    def __init__(self, *, convention: Convention = 0.0) -> None:
        super().__init__(convention=convention)
        import sympy

        self.sympy = sympy
        self._max = functools.cache(sympy.Max)

    def _each(self, f: Callable[..., Element], *arrays: Array) -> Array:
        """Once for equal elements: an expression takes SymPy milliseconds."""
        return super()._each(functools.cache(f), *arrays)

    def number(self, value: Element) -> Element:
        if isinstance(value, (float, np.floating)):
            return self.sympy.Rational(*float(value).as_integer_ratio())
        return self.sympy.sympify(value)

    def array(self, x: Array) -> Array:
        return self._each(self.number, np.asarray(x))

    def constant(self, name: str) -> Element:
        p, q, power = CONSTANTS[name]
        return self.sympy.sqrt(self.sympy.Rational(p, q) * self.sympy.pi**power)

    def function(self, name: str, x: Array, least: Array | None = None) -> Array:
        return self._each(lambda v: FUNCTIONS[name].sympy(self.sympy, v), x)

    def abs(self, x: Array) -> Array:
        return self._each(self.sympy.Abs, x)

    def relu(self, x: Array) -> Array:
        return self._each(lambda v: self._max(v, 0), x)

    def branch(self, x: Array, above: Array | int, below: Array | int, at: Array | int = 0, kink: str = "0") -> Array:
        part = self.number(share(self.convention, kink))

        def choose(v: Element, a: Element, b: Element, edge: Element) -> Element:
            return self.sympy.Piecewise((a, v > edge), (b, v < edge), (part * a + (1 - part) * b, True))

        return self._each(choose, x, *map(self._lifted, (above, below, at)))

    def _largest(self, row: list[Element]) -> Element:
        return self._max(*row)

    def _tops(self, row: list[Element], places: list[int]) -> tuple[list[int], bool]:
        if not all(row[t].is_number for t in places):
            return self._refuse("route")
        return super()._tops(row, places)

    def pivot(self, x: Array, axis: int, finite: bool = False) -> Array:
        """Zero: the constant cancels, and in exact arithmetic nothing overflows."""
        return np.full([1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)], self.number(0), dtype=object)
