"""Letters of the derivations: arrays of symbols, sizes and indices, exact numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from refnn.teaching.calculus import Dual, value

Array = Any

# Symbolic sizes, and indices that run below them.
M, S = sp.symbols("M S", integer=True, positive=True)
i, j, k = sp.symbols("i j k", integer=True, nonnegative=True)


def indexed(names: str) -> list[sp.IndexedBase]:
    """Real arrays of any size."""
    return [sp.IndexedBase(n, real=True) for n in names.split()]


def symbols(name: str, *shape: int) -> Array:
    """An array of real symbols name_0, name_1, ... or name_0_0, ..."""
    out = np.empty(shape, dtype=object)
    for place in np.ndindex(shape):
        out[place] = sp.Symbol("_".join([name, *map(str, place)]), real=True)
    return out


def fractions(seed: int, *shape: int) -> Array:
    """Exact random numbers: quarters from -2 to 2, none of them 0."""
    numbers = np.random.default_rng(seed).integers(1, 9, shape) * np.random.default_rng(seed + 1).choice([-1, 1], shape)
    return np.vectorize(lambda n: Fraction(int(n), 4), otypes=[object])(numbers)


def exact(x: Any) -> Array:
    """Integers, strings like "1/3" or "0.25" as an array of fractions."""
    return np.vectorize(Fraction, otypes=[object])(np.asarray(x, dtype=object))


def total(terms: Iterable[Any]) -> Any:
    """The sum, 0 for no terms."""
    return sum(terms, 0)


def delta(a: int, b: int) -> int:
    """Kronecker's."""
    return int(a == b)


def gradient(loss: sp.Expr, x: Array) -> Array:
    """The derivative of the loss by every entry of an array of symbols."""
    return each(lambda s: sp.diff(loss, s), x)


def each(f: Callable[[Any], Any], x: Array) -> Array:
    return np.asarray(np.frompyfunc(f, 1, 1)(x), dtype=object)


def at(array: Array, *place: int) -> Any:
    """The entry, or 0 outside the array: what a missing term of a sum adds."""
    return array[place] if all(0 <= p < n for p, n in zip(place, array.shape, strict=True)) else 0


def duals(*arrays: Array) -> list[Array]:
    """The arrays with every entry a parameter to differentiate by, in the order of the entries."""
    count = sum(a.size for a in arrays)
    made, place = [], 0
    for a in arrays:
        out = np.empty(a.shape, dtype=object)
        for index in np.ndindex(a.shape):
            out[index] = Dual(a[index], np.array([Fraction(n == place) for n in range(count)], dtype=object))
            place += 1
        made.append(out)
    return made


def relu(x: Array) -> Array:
    """ReLU of an array of numbers or duals, with derivative 0 at 0."""
    return each(lambda v: v if value(v) > 0 else v * 0, x)
