"""Operators of numbers whose parts are NumPy arrays: each belongs to an arithmetic and asks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

import numpy as np

N = TypeVar("N")


class Operated(Protocol[N]):
    """What the operators ask of an arithmetic."""

    def lift(self, x: Any) -> N: ...

    def add(self, a: N, b: N) -> N: ...

    def product(self, *factors: N | int, over: N | int | None = None) -> N: ...


class Operators:
    """Python's operators and NumPy's views, in terms of the arithmetic `ar` and of two methods of the subclass: `_map`
    applies one selection or rearrangement of elements to every part, `__neg__` turns the sign."""

    __slots__ = ()
    __array_ufunc__ = None  # NumPy must not take a number apart

    ar: Operated[Self]

    def _map(self, f: Callable[[np.ndarray], np.ndarray]) -> Self:
        raise NotImplementedError

    def __neg__(self) -> Self:
        raise NotImplementedError

    @property
    def T(self) -> Self:
        return self._map(lambda a: a.T)

    def reshape(self, *shape: Any) -> Self:
        return self._map(lambda a: a.reshape(*shape))

    def swapaxes(self, first: int, second: int) -> Self:
        return self._map(lambda a: a.swapaxes(first, second))

    def __getitem__(self, index: Any) -> Self:
        return self._map(lambda a: a[index])

    def __add__(self, other: Self | int) -> Self:
        return self.ar.add(self, self.ar.lift(other))

    def __sub__(self, other: Self | int) -> Self:
        return self.ar.add(self, -self.ar.lift(other))

    def __rsub__(self, other: int) -> Self:
        return self.ar.add(self.ar.lift(other), -self)

    def __mul__(self, other: Self | int) -> Self:
        return self.ar.product(self, self.ar.lift(other))

    def __truediv__(self, other: Self | int) -> Self:
        return self.ar.product(self, over=self.ar.lift(other))

    def __rtruediv__(self, other: int) -> Self:
        return self.ar.product(self.ar.lift(other), over=self)

    def __pow__(self, exponent: int) -> Self:
        if exponent != 2:
            raise ValueError(f"the exponent is {exponent}, expected 2")
        return self.ar.product(self, self)

    __radd__, __rmul__ = __add__, __mul__
