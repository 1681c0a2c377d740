"""Windows over spatial axes, and the sums of products that slide them: plain array functions for any kind of number.

Nothing here knows what the numbers are: arrays of floats, of objects, of anything that NumPy can index, multiply and
add. The arithmetics run these functions on midpoints, on magnitudes, on exact numbers, and derive their bounds from the
one fact that a `Contraction` is bilinear with coefficients 0 and 1 and sums at most `terms` products.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import EllipsisType
from typing import TypeVar, cast

import numpy as np

Array = np.ndarray
PerAxis = int | Sequence[int]  # one number for all spatial axes, or one for each
Padding = int | str | Sequence[int | Sequence[int]]
T = TypeVar("T")
Matmul = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Contraction:
    """`apply(matmul, a, b)`: arrays of sums of at most `terms` products of an element of a and one of b.

    `summed` are the axes of b that disappear in the sum, the first of them in so many `groups`, one for each result;
    every element of b in a sum stands in equally many of its products. `left` and `right` name an axis of a, or of b,
    that becomes an axis of the result: (axis, axis of the result). `cut` names an axis of a and one of b along which
    both may be cut for a part of the sum. `around` are the axes of the result along which an implementation may put
    zeros around and between the elements of a, so that every element of b meets one.
    """

    apply: Callable[[Matmul, Array, Array], Array]
    terms: int
    summed: tuple[int, ...]
    left: tuple[int, int] | None = None
    right: tuple[int, int] | None = None
    cut: tuple[int, int] | None = None
    around: tuple[int, ...] = ()
    groups: int = 1

    def limits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """What IEEE 754 makes of the infinities and NaN in a and b: one of them, or 0 where none arrives. Products of
        padding are left out."""

        def count(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return np.asarray(self.apply(np.matmul, x.astype(float), y.astype(float)))

        def end(x: np.ndarray) -> np.ndarray:  # the signs of infinities
            return np.where(np.isinf(x), np.sign(x), 0.0)

        def finite(x: np.ndarray) -> np.ndarray:
            return np.where(np.isfinite(x), np.sign(x), 0.0)

        ones = np.ones(a.shape), np.ones(b.shape)
        none = count(np.isnan(a), ones[1]) + count(ones[0], np.isnan(b))
        none += count(np.isinf(a), b == 0) + count(a == 0, np.isinf(b))
        pairs = [(end(a), end(b)), (end(a), finite(b)), (finite(a), end(b))]
        net, total = (sum(count(f(x), f(y)) for x, y in pairs) for f in (np.positive, np.abs))
        result = np.where(total > 0, np.where(np.abs(net) == total, np.copysign(np.inf, net), np.nan), 0.0)
        return np.where(none > 0, np.nan, result)

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

    def _places(self, b: np.ndarray) -> int:
        """The elements of b in one sum, or their number along the axis that is cut."""
        if self.cut is not None:
            return int(b.shape[self.cut[1]])
        return int(math.prod(b.shape[axis] for axis in self.summed)) // self.groups

    def parts(self, a: np.ndarray, b: np.ndarray, count: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """The sum in at most `count` parts: the number of products of each, and a and b cut, or with zeros in b."""
        n = self._places(b)
        lengths = [1 if axis not in self.summed else m for axis, m in enumerate(b.shape)]
        order = np.arange(math.prod(lengths)).reshape(lengths) % max(n, 1)
        for first, last in itertools.pairwise(sorted({n * i // count for i in range(count + 1)})):
            terms = max(self.terms // n, min(self.terms, 1)) * (last - first)
            if self.cut is None:
                yield terms, a, np.where((order >= first) & (order < last), b, 0.0)
            else:
                left, right = ((slice(None),) * axis + (slice(first, last),) for axis in self.cut)
                yield terms, a[left], b[right]


def _least_positive(x: np.ndarray) -> float:
    least = float(np.min(x))
    return least if least > 0 else float(np.min(np.where(x > 0, x, np.inf)))


def matrix_product(left: tuple[int, ...], right: tuple[int, ...]) -> Contraction:
    """a @ b of matrices of these shapes, or of as many pairs of matrices as the axes before them count. ValueError for
    what does not go together."""
    batch, rank = left[:-2], len(left)
    if rank < 2 or right[:-2] != batch or len(right) != rank or left[-1] != right[-2]:
        raise ValueError(
            f"dot of arrays of the shapes {left} and {right}, expected matrices (m, n) and (n, k), or as many of each"
        )
    last, before = rank - 1, rank - 2
    return Contraction(
        lambda matmul, a, b: matmul(a, b),
        left[-1],
        summed=(before,),
        left=(before, before),
        right=(last, last),
        cut=(last, before),
    )


def per_axis(value: T | Sequence[T], rank: int) -> tuple[T, ...]:
    """A parameter that is one number for all spatial axes, or one for each."""
    return tuple(value) if isinstance(value, (tuple, list)) else (cast(T, value),) * rank


def sides(padding: Padding, kernel: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """How many cells of padding lie before and after each axis: a number of them, a pair, or "valid" for none, "same"
    for as many as keep the size (half padding; an odd one goes after), "full" for as many as leave a cell inside."""
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if isinstance(padding, str):
        return [{"valid": (0, 0), "same": (r // 2, r - r // 2), "full": (r, r)}[padding] for r in reach]
    pads: tuple[int | Sequence[int], ...] = per_axis(padding, len(kernel))
    return [(p[0], p[1]) if isinstance(p, (tuple, list)) else (cast(int, p),) * 2 for p in pads]


def windows_over(
    cell: int, count: int, kernel: int, stride: int = 1, before: int = 0, dilation: int = 1
) -> list[tuple[int, int]]:
    """Which of `count` windows along an axis lie over a cell, each with the tap that meets it: the terms of the
    gradient there.

    challa2023 (39), (40), (42) as corrected, cnnmath (deltas): window q meets cell u with tap (u + a - s q) / d, where
    that is whole, for q from max(0, ceil((u + a - d (k - 1)) / s)) to min(Q - 1, floor((u + a) / s)).
    """
    s, d, at = stride, dilation, cell + before
    first, last = max(0, -((d * (kernel - 1) - at) // s)), min(count - 1, at // s)
    return [(q, (at - s * q) // d) for q in range(first, last + 1) if (at - s * q) % d == 0]


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

    @classmethod
    def over(
        cls,
        size: Sequence[int],
        kernel: Sequence[int],
        *,
        stride: PerAxis = 1,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        ceil_mode: bool = False,
    ) -> Windows:
        """As many windows as fit into `size` cells with their padding: floor((L + padding - d (k - 1) - 1) / s) + 1,
        katsaros (output size). With `ceil_mode` one more along an axis where they leave a rest, if it starts inside the
        input or the padding before it."""
        stride, dilation = per_axis(stride, len(size)), per_axis(dilation, len(size))
        pads = sides(padding, kernel, dilation)
        count = []
        for n, k, s, d, p in zip(size, kernel, stride, dilation, pads, strict=True):
            room = n + sum(p) - d * (k - 1) - 1
            more = ceil_mode and room % s > 0 and (room // s + 1) * s < n + p[0]
            count.append(room // s + 1 + more)
        return cls(tuple(size), tuple(kernel), stride, dilation, tuple(p[0] for p in pads), tuple(count))

    @classmethod
    def into(
        cls,
        count: Sequence[int],
        kernel: Sequence[int],
        *,
        stride: PerAxis = 1,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        output_padding: PerAxis = 0,
    ) -> Windows:
        """The `count` windows of the convolution that a transposed one goes back through, over
        (count - 1) s - padding + d (k - 1) + output_padding + 1 cells."""
        stride, dilation = per_axis(stride, len(count)), per_axis(dilation, len(count))
        pads, extra = sides(padding, kernel, dilation), per_axis(output_padding, len(count))
        size = [
            (n - 1) * s - sum(p) + d * (k - 1) + e + 1
            for n, k, s, d, p, e in zip(count, kernel, stride, dilation, pads, extra, strict=True)
        ]
        return cls(tuple(size), tuple(kernel), stride, dilation, tuple(p[0] for p in pads), tuple(count))

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
    def _inside(self) -> list[np.ndarray]:
        """For each axis (kernel, count): which cells of each window are no padding."""
        cells = [self._cells(a).T for a in range(self.rank)]
        return [(c >= 0) & (c < n) for c, n in zip(cells, self.size, strict=True)]

    @cached_property
    def inside(self) -> np.ndarray:
        """(taps, *count): which cells of each window are no padding."""
        whole = functools.reduce(np.multiply.outer, self._inside, np.asarray(True))
        taps_first = [*range(0, 2 * self.rank, 2), *range(1, 2 * self.rank, 2)]
        return np.asarray(whole).transpose(taps_first).reshape(self.taps, *self.count)

    @cached_property
    def coverage(self) -> int:
        """How many windows cover one cell at most."""
        return math.prod(int(np.bincount(self._cells(a).T[i], minlength=1).max()) for a, i in enumerate(self._inside))

    def _padding(self) -> list[tuple[int, int]]:
        pads = []
        for a in range(self.rank):
            reach = (self.count[a] - 1) * self.stride[a] + (self.kernel[a] - 1) * self.dilation[a] + 1
            pads.append((self.before[a], max(0, reach - self.before[a] - self.size[a])))
        return pads

    def _middle(self, pads: list[tuple[int, int]]) -> tuple[slice | EllipsisType, ...]:
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
            place: list[slice | EllipsisType] = [...]
            for t, d, n, s in zip(tap, self.dilation, self.count, self.stride, strict=True):
                place.append(slice(t * d, t * d + (n - 1) * s + 1, s))
            if self.coverage == 1:
                whole[tuple(place)] = part
            else:
                whole[tuple(place)] += part
        return np.asarray(whole[self._middle(pads)])

    # --- convolution: sum over windows of x w g, as a function of each pair ------------------------------------------
    # x is (N, C, *size), w (O, C/groups, *kernel), g and y are (N, O, *count).

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

        around = tuple(range(2, 2 + self.rank))
        terms = out // groups * self.coverage
        return Contraction(apply, terms, summed=(0,), left=(0, 0), around=around, groups=groups)

    def weigh(self, w_shape: tuple[int, ...], groups: int, batch: int) -> Contraction:
        """x, g -> w: the gradient of `correlate` in the kernels."""
        out = w_shape[0]

        def apply(matmul: Matmul, x: Array, g: Array) -> Array:
            columns = np.swapaxes(self._columns(x, groups), 2, 3)
            each = matmul(g.reshape(batch, groups, out // groups, math.prod(self.count)), columns)
            return np.asarray(each.sum(0)).reshape(w_shape)

        axes = (0, *range(2, 2 + self.rank))
        return Contraction(apply, batch * math.prod(self.count), summed=axes, right=(1, 0))

    # --- the same with a kernel for each window: w is (O, C, *count, *kernel) ----------------------------------------

    def _each_window(self, x: np.ndarray) -> np.ndarray:
        """(windows, N, C * taps)"""
        columns = self.view(x).reshape(len(x), x.shape[1] * self.taps, math.prod(self.count))
        return np.moveaxis(columns, 2, 0)

    def _each_kernel(self, w: np.ndarray) -> np.ndarray:
        """(windows, O, C * taps)"""
        out, channels = w.shape[:2]
        by_window = w.reshape(out, channels, math.prod(self.count), self.taps).transpose(2, 0, 1, 3)
        return by_window.reshape(-1, out, channels * self.taps)

    def _each_output(self, g: np.ndarray) -> np.ndarray:
        """(windows, N, O)"""
        return np.moveaxis(g.reshape(*g.shape[:2], math.prod(self.count)), 2, 0)

    def correlate_unshared(self, w_shape: tuple[int, ...]) -> Contraction:
        """x, w -> y: each window of x against its own kernels."""
        out, channels = w_shape[:2]

        def apply(matmul: Matmul, x: Array, w: Array) -> Array:
            y = matmul(self._each_window(x), np.swapaxes(self._each_kernel(w), 1, 2))
            return np.moveaxis(y, 0, 2).reshape(len(x), out, *self.count)

        axes = (1, *range(2 + self.rank, len(w_shape)))
        return Contraction(apply, channels * self.taps, summed=axes, left=(0, 0), right=(0, 1))

    def spread_unshared(self, w_shape: tuple[int, ...]) -> Contraction:
        """g, w -> x: the gradient of `correlate_unshared` in x."""
        out, channels = w_shape[:2]

        def apply(matmul: Matmul, g: Array, w: Array) -> Array:
            parts = matmul(self._each_output(g), self._each_kernel(w))
            parts = parts.reshape(*self.count, len(g), channels, self.taps)
            return self.fold(np.moveaxis(parts, (-1, -3, -2), (0, 1, 2)))

        return Contraction(apply, out * self.coverage, summed=(0,), left=(0, 0))

    def weigh_unshared(self, w_shape: tuple[int, ...], batch: int) -> Contraction:
        """x, g -> w: the gradient of `correlate_unshared` in the kernels."""

        def apply(matmul: Matmul, x: Array, g: Array) -> Array:
            each = matmul(np.swapaxes(self._each_output(g), 1, 2), self._each_window(x))
            each = each.reshape(*self.count, *w_shape[:2], *self.kernel)
            return np.moveaxis(each, range(self.rank), range(2, 2 + self.rank))

        return Contraction(apply, batch, summed=(0,), right=(1, 0))
