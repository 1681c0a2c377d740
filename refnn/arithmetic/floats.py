"""Floats: the definition in plain floating point, the fast and readable reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = Any


class Floats:
    """NumPy floats of one dtype (or the arrays of any NumPy-like namespace `xp`).

    16-bit floats are computed in float32 and rounded where they are stored, unless `each_op` asks for a rounding of
    every intermediate. At zero, `branch` gives the share `at_zero` of `above`.
    """

    name = "Floats"

    def __init__(self, dtype: Any = np.float64, *, each_op: bool = False, at_zero: float = 0, xp: Any = np) -> None:
        self.dtype, self.at_zero, self.xp = dtype, at_zero, xp
        sixteen = xp is np and np.dtype(dtype).itemsize == 2
        self.compute = np.dtype(np.float32) if sixteen and not each_op else dtype

    def array(self, x: Array) -> Array:
        return self.xp.asarray(x, dtype=self.compute)

    def store(self, x: Array) -> Array:
        """Round a result to the format it is stored in."""
        return self.xp.asarray(x, dtype=self.dtype)

    def real(self, value: float) -> Array:
        return self.xp.asarray(value, dtype=self.compute)[()]

    def exp(self, x: Array) -> Array:
        return self.xp.exp(x)

    def log(self, x: Array) -> Array:
        return self.xp.log(x)

    def tanh(self, x: Array) -> Array:
        return self.xp.tanh(x)

    def abs(self, x: Array) -> Array:
        return self.xp.abs(x)

    def relu(self, x: Array) -> Array:
        return self.xp.maximum(x, self.real(0))

    def branch(self, x: Array, above: Array, below: Array) -> Array:
        at_zero = above if self.at_zero == 1 else below
        if self.at_zero not in (0, 1):
            at_zero = self.real(self.at_zero) * above + self.real(1 - self.at_zero) * below
        return self.xp.where(x > 0, above, self.xp.where(x == 0, at_zero, self.xp.where(x < 0, below, x)))

    def sum(self, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
        return self.xp.sum(x, axis=axis, keepdims=keepdims)

    def dot(self, a: Array, b: Array, plus: Array | None = None) -> Array:
        return a @ b if plus is None else a @ b + plus

    def product(self, *factors: Array, over: Array | None = None) -> Array:
        result = math.prod(factors[1:], start=factors[0])
        return result if over is None else result / over

    def pivot(self, x: Array, axis: int) -> Array:
        return self.xp.max(x, axis=axis, keepdims=True)

    def where(self, mask: Array, a: Array, b: Array) -> Array:
        return self.xp.where(mask, a, b)

    def one_hot(self, target: Array, classes: int, axis: int) -> Array:
        return self.xp.asarray(one_hot(target, classes, axis), dtype=self.compute)

    def take(self, x: Array, target: Array, axis: int) -> Array:
        return take(x, target, axis)


def one_hot(target: np.ndarray, classes: int, axis: int) -> np.ndarray:
    """A boolean array with a new `axis` of length `classes`, true where its index is the target."""
    shape = [1] * (target.ndim + 1)
    shape[axis] = classes
    return np.expand_dims(target, axis) == np.arange(classes).reshape(shape)


def take(x: np.ndarray, target: np.ndarray, axis: int) -> np.ndarray:
    """x[..., target, ...] along `axis`, which disappears."""
    return np.take_along_axis(x, np.expand_dims(target, axis), axis).squeeze(axis)
