"""Floats: the definition in plain floating point, the fast and readable reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refnn.arithmetic import Convention, Unsupported, _erf, nearest, share, ties
from refnn.arithmetic.functions import FUNCTIONS
from refnn.arithmetic.protocol import Arithmetic, Axis, OfMagnitudes, Real
from refnn.arithmetic.windows import Contraction, Windows

Array = Any  # arrays of whatever namespace it is given


class Floats(Arithmetic[Array]):
    """NumPy floats of one dtype (or the arrays of any NumPy-like namespace `xp`).

    16-bit floats are computed in float32 and rounded where they are stored, unless `each_op` asks for a rounding of
    every intermediate. `convention` decides at kinks and ties.
    """

    name = "Floats"

    def __init__(
        self, dtype: Any = np.float64, *, each_op: bool = False, convention: Convention = 0.0, xp: Any = np
    ) -> None:
        self.dtype, self.convention, self.xp = dtype, convention, xp
        sixteen = xp is np and np.dtype(dtype).itemsize == 2
        self.compute = np.dtype(np.float32) if sixteen and not each_op else dtype
        self._last: dict[str, tuple[Array, Array]] = {}

    def array(self, x: Array) -> Array:
        return self.xp.asarray(x, dtype=self.compute)

    def store(self, x: Array) -> Array:
        """Round a result to the format it is stored in."""
        return self.xp.asarray(x, dtype=self.dtype)

    def real(self, value: Real) -> Array:
        return self.xp.asarray(value, dtype=self.compute)[()]

    def constant(self, name: str) -> Array:
        return self.real(nearest(name))

    def function(self, name: str, x: Array, least: Array | None = None) -> Array:
        return FUNCTIONS[name].numpy(self.xp, x)

    def erf(self, x: Array) -> Array:
        return self._in_float64("erf", _erf.erf, x)

    def erfc(self, x: Array) -> Array:
        return self._in_float64("erfc", _erf.erfc, x)

    def _in_float64(self, name: str, function: Callable[[Array], Array], x: Array) -> Array:
        """A function that NumPy lacks, rounded once where the dtype is shorter; longdouble is refused.

        A vjp often asks for what its forward has asked for, which takes thirty times as long as to compare arguments.
        """
        if self.xp is not np and hasattr(self.xp, name):
            return getattr(self.xp, name)(x)
        if self.xp is not np or np.dtype(self.compute).itemsize > 8:
            raise Unsupported(f"{self.name} of {self.compute}", name)
        argument, value = self._last.get(name, (None, None))
        if argument is None or not np.array_equal(argument, x):
            value = function(x).astype(self.compute, copy=False)
            value.flags.writeable = False  # it may be given out again
            self._last[name] = x, value
        return value

    def abs(self, x: Array) -> Array:
        return self.xp.abs(x)

    def relu(self, x: Array) -> Array:
        return self.xp.maximum(x, self.real(0))

    def branch(self, x: Array, above: Array, below: Array, at: Array | int = 0, kink: str = "0") -> Array:
        above_share = share(self.convention, kink)
        equal = above if above_share == 1 else below
        if above_share not in (0, 1):
            equal = self.real(above_share) * above + self.real(1 - above_share) * below
        side = x - at  # zero only where they are equal; NaN where either is, or both are one infinity
        return self.xp.where(side > 0, above, self.xp.where(side == 0, equal, self.xp.where(side < 0, below, side)))

    def sum(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return self.xp.sum(x, axis=axis, keepdims=keepdims)

    def dot(self, a: Array, b: Array, plus: Array | None = None) -> Array:
        return a @ b if plus is None else a @ b + plus

    def contract(self, form: Contraction, a: Array, b: Array, plus: Array | None = None) -> Array:
        result = form.apply(self.xp.matmul, a, b)
        if plus is not None:
            result += plus
        return result

    def windows(self, x: Array, w: Windows) -> Array:
        return w.gather(x)

    def fold(self, x: Array, w: Windows) -> Array:
        return w.fold(x)

    def max(self, x: Array, axis: int, among: np.ndarray | None = None) -> Array:
        return self.xp.max(x if among is None else self.xp.where(among, x, -self.xp.inf), axis=axis)

    def route(self, g: Array, x: Array, axis: int, among: np.ndarray | None = None) -> Array:
        rule = ties(self.convention)
        chosen, sent = hits(x, axis, among, rule), self.xp.expand_dims(g, axis)
        if rule == "split":
            sent = sent / self.real(np.maximum(np.count_nonzero(chosen, axis=axis, keepdims=True), 1))
        return self.xp.where(chosen, sent, self.real(0))

    def product(self, *factors: Array, over: Array | None = None) -> Array:
        result = math.prod(factors[1:], start=factors[0])
        return result if over is None else result / over

    def pivot(self, x: Array, axis: int, finite: bool = False) -> Array:
        top = self.xp.max(x, axis=axis, keepdims=True)
        return self.xp.where(self.xp.isinf(top), self.real(0), top) if finite else top

    def saved(self, x: Array, times: int = 1) -> Array:
        return x

    def often(self, most: int, typical: int) -> int:
        return typical

    def optional(self, x: Array) -> Array:
        return x

    def either(self, first: Callable[[], Array], second: Callable[[], Array]) -> Array:
        return first()

    def inexact(
        self,
        x: Array,
        operands: tuple[Array, ...],
        worst: OfMagnitudes,
        expected: OfMagnitudes,
        reach: OfMagnitudes | None = None,
    ) -> Array:
        if all(self.xp.isfinite(o).all() for o in operands):
            return x
        mixed = worst(0.0, *(np.abs(np.asarray(o, np.float64)) for o in operands))
        return self.xp.where(np.isfinite(mixed), x, self.real(math.nan))

    def where(self, mask: Array, a: Array, b: Array) -> Array:
        return self.xp.where(mask, a, b)

    def one_hot(self, target: Array, classes: int, axis: int) -> Array:
        return self.xp.asarray(one_hot(target, classes, axis), dtype=self.compute)

    def take(self, x: Array, target: Array, axis: int) -> Array:
        return take(x, target, axis)


def hits(x: np.ndarray, axis: int, among: np.ndarray | None, rule: str) -> np.ndarray:
    """Where the maximum along `axis` is or, if there is none, what is NaN: the first or the last such place, or all of
    them, as a boolean array of the shape of x; false all along where nothing takes part."""
    if among is not None:
        x = np.where(among, x, -np.inf)
    peak = np.max(x, axis=axis, keepdims=True)
    top = np.asarray(x == peak)
    if np.isnan(peak).any():
        top |= np.isnan(x)
    if among is not None:
        top &= among
    if rule in ("split", "any"):
        return top
    if rule == "last":
        return np.flip(_first(np.flip(top, axis), axis), axis)
    return _first(top, axis)


def _first(top: np.ndarray, axis: int) -> np.ndarray:
    """Where the first of those that are true stands."""
    first = top.copy()
    rows = np.moveaxis(first, axis, 0)
    free = np.ones(rows.shape[1:], bool)
    for row in rows:  # NumPy's argmax and its accumulations along a first axis cost three times as much
        row &= free
        free &= ~row
    return first


def one_hot(target: np.ndarray, classes: int, axis: int) -> np.ndarray:
    """A boolean array with a new `axis` of length `classes`, true where its index is the target."""
    shape = [1] * (target.ndim + 1)
    shape[axis] = classes
    return np.asarray(np.expand_dims(target, axis) == np.arange(classes).reshape(shape))


def take(x: np.ndarray, target: np.ndarray, axis: int) -> np.ndarray:
    """x[..., target, ...] along `axis`, which disappears."""
    return np.take_along_axis(x, np.expand_dims(target, axis), axis).squeeze(axis)


def keep_freed_memory() -> None:
    """Let malloc keep what is freed, up to some 64 MB: temporary arrays would otherwise fault their pages in anew,
    which takes up to half the time of work on large arrays.

    glibc raises its thresholds for giving memory back to the size of the largest mapped block that was freed, up to
    32 MB; elsewhere this does nothing. The block is never touched, so it costs no memory.
    """
    np.empty(31 << 20, np.uint8)
