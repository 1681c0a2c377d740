"""Windows over spatial axes, and the sums of products that slide them: plain array functions for any kind of number.

Nothing here knows what the numbers are: arrays of floats, of objects, of anything that NumPy can index, multiply and
add. The arithmetics run these functions on midpoints, on magnitudes, on exact numbers, and derive their bounds from the
one fact that a `Contraction` is bilinear with coefficients 0 and 1 and sums at most `terms` products.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = Any
Matmul = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Contraction:
    """`apply(matmul, a, b)`: arrays of sums of at most `terms` products of an element of a and one of b.

    `summed` are the axes of b that disappear in the sum. `left` and `right` name an axis of a, or of b, that becomes an
    axis of the result: (axis, axis of the result). `cut` names an axis of a and one of b along which both may be cut
    for a part of the sum.
    """

    apply: Callable[[Matmul, Array, Array], Array]
    terms: int
    summed: tuple[int, ...]
    left: tuple[int, int] | None = None
    right: tuple[int, int] | None = None
    cut: tuple[int, int] | None = None

    def fits_single(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether numbers a, b >= 0, their products and the sums of those are zero or normal in float32."""
        if not (a.size and b.size):
            return False
        single = np.finfo(np.float32)
        low, high = zip(*((_least_positive(x), float(np.max(x))) for x in (a, b)), strict=True)
        least, most = min(*low, low[0] * low[1]), max(1.0, *high, high[0] * high[1])
        return bool(least >= 2 * single.tiny and most * self.terms <= single.max / 2)

    def of_magnitudes(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """An upper bound of the contraction of finite numbers >= 0, beside what float64 rounds away; from float32, in
        half the time, where everything is normal there.

        Each term passes two conversions, one product and `terms` - 1 additions, and 1/(1 - u)^k <= 1 + 2ku where
        ku <= 1/2.
        """
        rounded = (self.terms + 2) * float(np.finfo(np.float32).eps)
        if rounded > 1 or not self.fits_single(a, b):
            return np.asarray(self.apply(np.matmul, a, b))
        found = self.apply(np.matmul, a.astype(np.float32), b.astype(np.float32))
        return np.asarray(found, np.float64) * (1 + rounded)

    def shortest(self, b: np.ndarray, count: int) -> int:
        """The least number of products in one of `count` parts of the sum; 0 where there are fewer parts."""
        n = math.prod(b.shape[axis] for axis in self.summed)
        cells = n if self.cut is None else b.shape[self.cut[1]]
        return n // max(cells, 1) * (cells // count)

    def parts(self, a: np.ndarray, b: np.ndarray, count: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """The sum in at most `count` parts: the number of products of each, and a and b cut, or with zeros in b."""
        n = math.prod(b.shape[axis] for axis in self.summed)
        if self.cut is not None:
            of_a, of_b = self.cut
            for first, last in itertools.pairwise(sorted({a.shape[of_a] * i // count for i in range(count + 1)})):
                piece = slice(first, last)
                cut_a, cut_b = a[(slice(None),) * of_a + (piece,)], b[(slice(None),) * of_b + (piece,)]
                yield n * (last - first) // a.shape[of_a], cut_a, cut_b
            return
        order = np.arange(n).reshape([m if axis in self.summed else 1 for axis, m in enumerate(b.shape)])
        ends = sorted({n * i // count for i in range(count + 1)})
        for first, last in itertools.pairwise(ends):
            yield last - first, a, np.where((order >= first) & (order < last), b, 0.0)


def _least_positive(x: np.ndarray) -> float:
    least = float(np.min(x))
    return least if least > 0 else float(np.min(np.where(x > 0, x, np.inf)))


def matrix_product(n: int) -> Contraction:
    """a @ b of two matrices, over n."""
    return Contraction(lambda matmul, a, b: matmul(a, b), n, summed=(0,), left=(0, 0), right=(1, 1), cut=(1, 0))


@dataclass(frozen=True)
class Windows:
    """Where windows lie: one number per spatial axis for each field.

    Window o of an axis covers the cells o * stride - before + t * dilation for t = 0 .. kernel - 1; cells outside
    0 .. size - 1 are padding. `count` windows are taken.
    """

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    count: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.size)

    @property
    def taps(self) -> int:
        """Cells in a window."""
        return math.prod(self.kernel)

    def _cells(self, axis: int) -> np.ndarray:
        """(count, kernel): the cell under each tap of each window."""
        o, t = np.arange(self.count[axis])[:, None], np.arange(self.kernel[axis])
        return np.asarray(o * self.stride[axis] - self.before[axis] + t * self.dilation[axis])

    @cached_property
    def inside(self) -> np.ndarray:
        """(taps, *count): which cells of each window are no padding."""
        whole = np.ones((1,) * (2 * self.rank), bool)
        for a in range(self.rank):
            cells = self._cells(a)
            shape = [1] * (2 * self.rank)
            shape[a], shape[self.rank + a] = self.kernel[a], self.count[a]
            whole = whole & ((cells >= 0) & (cells < self.size[a])).T.reshape(shape)
        return np.broadcast_to(whole, (*self.kernel, *self.count)).reshape(self.taps, *self.count)

    @cached_property
    def coverage(self) -> int:
        """How many windows cover one cell at most."""
        most = 1
        for a in range(self.rank):
            cells = self._cells(a)
            cells = cells[(cells >= 0) & (cells < self.size[a])]
            most *= int(np.bincount(cells, minlength=1).max())
        return most

    def _padding(self) -> list[tuple[int, int]]:
        pads = []
        for a in range(self.rank):
            reach = (self.count[a] - 1) * self.stride[a] + (self.kernel[a] - 1) * self.dilation[a] + 1
            pads.append((self.before[a], max(0, reach - self.before[a] - self.size[a])))
        return pads

    def _middle(self, pads: list[tuple[int, int]]) -> Any:
        return (..., *(slice(p, p + n) for n, (p, _) in zip(self.size, pads, strict=True)))

    def view(self, x: np.ndarray) -> np.ndarray:
        """(..., *size) as (..., *kernel, *count), zeros in the padding: a read-only view of the padded array."""
        pads = self._padding()
        if any(map(any, pads)):
            padded = np.zeros(
                (*x.shape[: -self.rank], *(n + sum(p) for n, p in zip(self.size, pads, strict=True))), x.dtype
            )
            padded[self._middle(pads)] = x
            x = padded
        steps = x.strides[-self.rank :]
        return np.lib.stride_tricks.as_strided(
            x,
            (*x.shape[: -self.rank], *self.kernel, *self.count),
            (
                *x.strides[: -self.rank],
                *(s * d for s, d in zip(steps, self.dilation, strict=True)),
                *(s * d for s, d in zip(steps, self.stride, strict=True)),
            ),
            writeable=False,
        )

    def gather(self, x: np.ndarray) -> np.ndarray:
        """(..., *size) as (taps, ..., *count): the cells under each tap, zeros in the padding."""
        lead = x.ndim - self.rank
        kernel_first = np.moveaxis(self.view(x), range(lead, lead + self.rank), range(self.rank))
        return kernel_first.reshape(self.taps, *x.shape[:lead], *self.count)

    def fold(self, parts: np.ndarray) -> np.ndarray:
        """The transpose of `gather`: (taps, ..., *count) added up to (..., *size)."""
        lead = parts.shape[1 : parts.ndim - self.rank]
        pads = self._padding()
        whole = np.zeros((*lead, *(n + sum(p) for n, p in zip(self.size, pads, strict=True))), parts.dtype)
        for part, tap in zip(parts, np.ndindex(*self.kernel), strict=True):
            place: list[Any] = [...]
            for t, d, n, s in zip(tap, self.dilation, self.count, self.stride, strict=True):
                place.append(slice(t * d, t * d + (n - 1) * s + 1, s))
            whole[tuple(place)] += part
        return np.asarray(whole[self._middle(pads)])

    # --- convolution: sum over windows of x w g, as a function of each pair ------------------------------------------
    # x is (N, C, *size), w (O, C/groups, *kernel), g (N, O, *count).

    def _columns(self, x: np.ndarray, groups: int) -> np.ndarray:
        """(N, groups, C/groups * taps, windows)"""
        n, channels = x.shape[:2]
        return self.view(x).reshape(n, groups, channels // groups * self.taps, math.prod(self.count))

    def correlate(self, w_shape: tuple[int, ...], groups: int) -> Contraction:
        """x, w -> y: each window of x against each kernel."""
        out, per_group = w_shape[:2]

        def apply(matmul: Matmul, x: Array, w: Array) -> Array:
            y = matmul(w.reshape(groups, out // groups, per_group * self.taps), self._columns(x, groups))
            return y.reshape(len(x), out, *self.count)

        axes = tuple(range(1, len(w_shape)))
        return Contraction(apply, per_group * self.taps, summed=axes, left=(0, 0), right=(0, 1))

    def spread(self, w_shape: tuple[int, ...], groups: int) -> Contraction:
        """g, w -> x: what each window gives back to its cells; the gradient of `correlate` in x."""
        out, per_group = w_shape[:2]

        def apply(matmul: Matmul, g: Array, w: Array) -> Array:
            n, windows = len(g), math.prod(self.count)
            kernels = np.swapaxes(w.reshape(groups, out // groups, per_group * self.taps), 1, 2)
            parts = matmul(kernels, g.reshape(n, groups, out // groups, windows))
            parts = parts.reshape(n, groups * per_group, self.taps, *self.count)
            return self.fold(np.moveaxis(parts, 2, 0))

        axes = (0, *range(2, len(w_shape)))
        return Contraction(apply, out // groups * self.coverage, summed=axes, left=(0, 0))

    def weigh(self, w_shape: tuple[int, ...], groups: int, batch: int) -> Contraction:
        """x, g -> w: the gradient of `correlate` in the kernels."""
        out = w_shape[0]

        def apply(matmul: Matmul, x: Array, g: Array) -> Array:
            columns = np.swapaxes(self._columns(x, groups), 2, 3)
            each = matmul(g.reshape(batch, groups, out // groups, math.prod(self.count)), columns)
            return each.sum(0).reshape(w_shape)

        axes = (0, *range(2, 2 + self.rank))
        return Contraction(apply, batch * math.prod(self.count), summed=axes, right=(1, 0))
