"""Operators of numbers whose parts are NumPy arrays: each belongs to an arithmetic and asks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any


class Operators:
    """Python's operators and NumPy's views, in terms of the arithmetic `ar` and of two methods of the subclass: `_map`
    applies one selection or rearrangement of elements to every part, `__neg__` turns the sign."""

    __slots__ = ()
    __array_ufunc__ = None  # NumPy must not take a number apart

    ar: Any

    def _map(self, f: Callable[[np.ndarray], np.ndarray]) -> Any:
        raise NotImplementedError

    def __neg__(self) -> Any:
        raise NotImplementedError

    T = property(lambda self: self._map(lambda a: a.T))

    def reshape(self, *shape: Any) -> Any:
        return self._map(lambda a: a.reshape(*shape))

    def __getitem__(self, index: Any) -> Any:
        return self._map(lambda a: a[index])

    def __add__(self, other: Any) -> Any:
        return self.ar.add(self, self.ar.lift(other))

    def __sub__(self, other: Any) -> Any:
        return self.ar.add(self, -self.ar.lift(other))

    def __rsub__(self, other: Any) -> Any:
        return self.ar.add(self.ar.lift(other), -self)

    def __mul__(self, other: Any) -> Any:
        return self.ar.product(self, self.ar.lift(other))

    def __truediv__(self, other: Any) -> Any:
        return self.ar.product(self, over=self.ar.lift(other))

    def __rtruediv__(self, other: Any) -> Any:
        return self.ar.product(self.ar.lift(other), over=self)

    def __pow__(self, exponent: int) -> Any:
        if exponent != 2:
            raise ValueError(f"the exponent is {exponent}, expected 2")
        return self.ar.product(self, self)

    __radd__, __rmul__ = __add__, __mul__
