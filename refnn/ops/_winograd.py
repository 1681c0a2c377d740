r"""Winograd's convolutions F(m x m, 3 x 3) for 3x3 kernels with stride and dilation 1.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016: each tile d of a x a cells of the padded
x, a = m + 2, gives m x m outputs

    Y = A^T ((G w G^T) * (B^T d B)) A,  summed over channels before A,

the gradient of x likewise, from the kernels turned around and g, and that of the weight as
G^T ((B^T d B) * (A g A^T)) G, summed over tiles. B and A are applied along one axis after the other, as sums of a or m
products. G, whose rows are whole numbers over one number each, is applied as one sum of products with the Kronecker
product of the matrix with itself, which covers one axis after the other, for no term passes more additions there, and
a quotient. Products with 0 and powers of two do not round. The matrices for m = 4 are those of the paper; those for
m = 6 interpolate at 0, 1, -1, 2, -2, 1/2, -1/2 and infinity, as NNPACK's do. The larger m, the larger their numbers,
and the error. Other kernels are computed directly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from refnn.arithmetic.windows import Windows, per_axis, sides
from refnn.ops import _conv

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Tile:
    """B^T, the numerators and denominators of G, and A^T."""

    b: Matrix
    g: Matrix
    over: tuple[int, ...]
    a: Matrix

    @property
    def cells(self) -> int:
        return len(self.b)

    @property
    def outputs(self) -> int:
        return len(self.a)

    @property
    def kernels(self) -> list[list[float]]:
        """G with itself: a row for each place of a transformed tile."""
        return [[x * y for x in p for y in q] for p in self.g for q in self.g]

    @property
    def divisors(self) -> list[list[float]]:
        return [[float(p * q)] for p in self.over for q in self.over]


TWO = Tile(
    b=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    g=((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
    over=(1, 1, 1, 1),
    a=((1, 1, 1, 0), (0, 1, -1, -1)),
)
FOUR = Tile(
    b=(
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    g=((0.25, 0, 0), (-1, -1, -1), (-1, 1, -1), (1, 2, 4), (1, -2, 4), (0, 0, 1)),
    over=(1, 6, 6, 24, 24, 1),
    a=((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
)
SIX = Tile(
    b=(
        (1, 0, -5.25, 0, 5.25, 0, -1, 0),
        (0, 1, 1, -4.25, -4.25, 1, 1, 0),
        (0, -1, 1, 4.25, -4.25, -1, 1, 0),
        (0, 0.5, 0.25, -2.5, -1.25, 2, 1, 0),
        (0, -0.5, 0.25, 2.5, -1.25, -2, 1, 0),
        (0, 2, 4, -2.5, -5, 0.5, 1, 0),
        (0, -2, 4, 2.5, -5, -0.5, 1, 0),
        (0, -1, 0, 5.25, 0, -5.25, 0, 1),
    ),
    g=((1, 0, 0), (-2, -2, -2), (-2, 2, -2), (1, 2, 4), (1, -2, 4), (32, 16, 8), (32, -16, 8), (0, 0, 1)),
    over=(1, 9, 9, 90, 90, 45, 45, 1),
    a=(
        (1, 1, 1, 1, 1, 1, 1, 0),
        (0, 1, -1, 2, -2, 0.5, -0.5, 0),
        (0, 1, 1, 4, 4, 0.25, 0.25, 0),
        (0, 1, -1, 8, -8, 0.125, -0.125, 0),
        (0, 1, 1, 16, 16, 0.0625, 0.0625, 0),
        (0, 1, -1, 32, -32, 0.03125, -0.03125, 1),
    ),
)


def _applies(weight, stride, padding, dilation):
    """Whether the kernels are such; padding beyond that of "full" only adds outputs that are the bias."""
    plain = (*weight.shape[2:], *per_axis(stride, 2), *per_axis(dilation, 2)) == (3, 3, 1, 1, 1, 1)
    return plain and all(max(p) <= 2 for p in sides(padding, (3, 3), (1, 1)))


def _along(rows: list[list[float]], axis: int) -> list:
    """Vectors as kernels of one channel along an axis of two."""
    return [[[[v] for v in row]] if axis == 0 else [[row]] for row in rows]


def _line(size, reach, step, before, count, axis):
    """Windows along one axis alone."""
    other = size[1 - axis]
    pick = (lambda a, b: (a, b)) if axis == 0 else (lambda a, b: (b, a))
    return Windows(size, pick(reach, 1), pick(step, 1), (1, 1), pick(before, 0), pick(count, other))


def _spread_out(ar, x, vectors, reach, step, before, counts):
    """Both axes of x in windows of `reach`, each as its products with all the vectors: (N, C, ...) to (N, C v v, ...),
    the first axis first."""
    for axis in (0, 1):
        n, line = x.shape[1], _line(x.shape[2:], reach, step, before[axis], counts[axis], axis)
        kernels = ar.array(_along(vectors, axis) * n)
        x = ar.contract(line.correlate((*kernels.shape,), n), x, kernels)
    return x


def _put_together(ar, x, vectors, step, sizes, bias):
    """The transpose: (N, C v v, ...) to (N, C, *sizes), the last axis first; the bias is added at the end."""
    for axis in (1, 0):
        groups = x.shape[1] // len(vectors)
        size = (x.shape[2], sizes[1]) if axis == 1 else sizes
        line = _line(size, step, step, 0, x.shape[2 + axis], axis)
        kernels = ar.array(_along(vectors, axis) * groups)
        x = ar.contract(line.spread((*kernels.shape,), groups), x, kernels, bias if axis == 0 else None)
    return x


def _places_first(n, places):
    """n channels with so many places each, as places with n channels each."""
    return [c * places + i for i in range(places) for c in range(n)]


def _channels_first(n, places):
    return [i * n + c for c in range(n) for i in range(places)]


def winograd(tile: Tile) -> tuple[Callable, Callable]:
    """The forward and the vjp of conv2d by such tiles."""
    places, columns = tile.cells**2, [list(c) for c in zip(*tile.a, strict=True)]

    def lay(size, padding):
        """The windows of the convolution, and how many tiles there are along each axis."""
        w = Windows.over(size, (3, 3), padding=padding)
        return w, tuple(-(-n // tile.outputs) for n in w.count)

    def divided(ar, x):
        """By the denominators of G, for one row a place."""
        return x if set(tile.over) == {1} else ar.product(x, over=ar.real(tile.divisors))

    def transformed(ar, x, w, tiles):
        """B^T d B of every tile, as (N, places C, *tiles)."""
        found = _spread_out(ar, x, tile.b, tile.cells, tile.outputs, w.before, tiles)
        return found[:, _places_first(x.shape[1], places)]

    def forward(ar, x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
        if not _applies(weight, stride, padding, dilation):
            return _conv.forward(ar, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
        rows, lead = _conv.batched(x, weight)
        w, tiles = lay(rows.shape[2:], padding)
        out, channels = weight.shape[:2]
        kernels = divided(ar, ar.dot(ar.array(tile.kernels), weight.reshape(-1, 9).T))
        form = Windows(tiles, (1, 1), (1, 1), (1, 1), (0, 0), tiles).correlate(
            (places * out, channels, 1, 1), places * groups
        )
        products = ar.contract(form, transformed(ar, rows, w, tiles), kernels.reshape(places * out, channels, 1, 1))[
            :, _channels_first(out, places)
        ]
        y = _put_together(ar, products, columns, tile.outputs, w.count, _conv.column(bias, 2))
        return y.reshape(*lead, *y.shape[1:])

    def vjp(ar, g, y, x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
        if not _applies(weight, stride, padding, dilation):
            rest = {"stride": stride, "padding": padding, "dilation": dilation}
            return _conv.vjp(ar, g, y, x, weight, bias, groups=groups, **rest)
        (rows, _), (g, _) = _conv.batched(x, weight), _conv.batched(g, weight)
        w, tiles = lay(rows.shape[2:], padding)
        out, channels = weight.shape[:2]
        per_group = out // groups
        swapped = [
            (h * per_group + o) * channels + c for h in range(groups) for c in range(channels) for o in range(per_group)
        ]
        turned = weight.reshape(-1, 3, 3)[swapped][:, ::-1, ::-1].reshape(groups * channels, per_group, 3, 3)
        pads = [(2 - before, 2 - after) for before, after in sides(padding, (3, 3), (1, 1))]
        gx = forward(ar, g, turned, padding=pads, groups=groups)
        spread = _spread_out(ar, g, columns, tile.outputs, tile.outputs, (0, 0), tiles)[:, _places_first(out, places)]
        form = Windows(tiles, (1, 1), (1, 1), (1, 1), (0, 0), tiles).weigh(
            (places * out, channels, 1, 1), places * groups, rows.shape[0]
        )
        products = divided(ar, ar.contract(form, transformed(ar, rows, w, tiles), spread).reshape(places, -1))
        gw = ar.dot(ar.array([list(c) for c in zip(*tile.kernels, strict=True)]), products)
        return gx.reshape(*x.shape), gw.T.reshape(*weight.shape), _conv.bias_gradient(ar, g, bias)

    return forward, vjp
