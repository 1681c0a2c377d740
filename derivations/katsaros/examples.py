"""katsaros: its examples and pictures as functions, in exact numbers.

Images and maps are (channel, row, column), kernels (out, in, row, col), as in refnn; the claims of `convolution` have
the layout of the source. Convolution is refnn's conv2d, which is cross-correlation, unless the name says otherwise.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

import refnn
from derivations.katsaros.convolution import definition, padded
from derivations.notation import each, exact, total
from refnn.arithmetic.exact import Fractions

Array = Any


def conv2d(x: Array, weight: Array, bias: Array | None = None, **params: Any) -> Array:
    """refnn.conv2d of one image, in fractions."""
    arrays = [None if v is None else exact(v) for v in (x, weight, bias)]
    return refnn.ops["conv2d"].forward_definition(Fractions(), *arrays, **params)


# --- the definition, frame by frame ----------------------------------------------------------------------------------


def layer(h: Array, w: Array) -> Array:
    """The map h_ijp of the next layer for all i, j and p, by the sums of katsaros (convolution) from 1 to F and d.

    h[i, j, k] and w[r, s, k, p] in the layout of the source.
    """
    f = w.shape[0]
    out = np.empty((h.shape[0] - f + 1, h.shape[1] - f + 1, w.shape[3]), dtype=object)
    for i, j, p in np.ndindex(out.shape):
        out[i, j, p] = definition()(h, w, i + 1, j + 1, p)
    return out


def frames(image: Array, kernel: Array, *, stride: int = 1, padding: int = 0) -> list[tuple[Array, Any]]:
    """What examples 3 and 4 show: for each place of the kernel, its products with the pixels under it, and the sum."""
    wide, f = padded(image, padding), len(kernel)
    found = []
    for i in range(0, len(wide) - f + 1, stride):
        for j in range(0, len(wide[0]) - f + 1, stride):
            products = wide[i : i + f, j : j + f] * kernel
            found.append((products, products.sum()))
    return found


def pathways(h: Array, w: Array) -> list[list[Array]]:
    """The picture of two maps that become three: for each map of the output, what each map of the input gives to it."""
    return [[conv2d(h[k : k + 1], kernels[None, k : k + 1])[0] for k in range(len(h))] for kernels in w]


# --- true convolution ------------------------------------------------------------------------------------------------


def convolve(image: Array, kernel: Array) -> Array:
    """The convolution of mathematics: (w * x)_ij = sum_rs w_rs x_(i-r)(j-s), wherever the two meet.

    The kernel runs the other way than in what the sources, and refnn, call convolution: where it lies inside the image,
    that is the true convolution with the kernel turned by 180 degrees.
    """
    (rows, columns), (p, q) = image.shape, kernel.shape
    out = np.empty((rows + p - 1, columns + q - 1), dtype=object)
    for i, j in np.ndindex(out.shape):
        meet = [(r, s) for r, s in np.ndindex(p, q) if 0 <= i - r < rows and 0 <= j - s < columns]
        out[i, j] = total(kernel[r, s] * image[i - r, j - s] for r, s in meet)
    return out


# --- the way back ----------------------------------------------------------------------------------------------------


def turned(weight: Array) -> Array:
    """Every kernel turned by 180 degrees, and the channels of its input and output swapped."""
    return weight[:, :, ::-1, ::-1].swapaxes(0, 1)


def reverse(y: Array, weight: Array, *, stride: int = 1, padding: int = 0, output_padding: int = 0) -> Array:
    """The adjoint of conv2d, by another convolution: katsaros (reverse convolution), for any stride, and for padding
    up to full.

    Where the stride left windows out come zeros, all around as many as full padding has less those of the convolution,
    and output_padding more at the far ends; then the turned kernel slides over it.
    """
    f = weight.shape[-1]
    apart = np.zeros((len(y), *((n - 1) * stride + 1 for n in y.shape[1:])), dtype=object)
    apart[:, ::stride, ::stride] = y
    around = (f - 1 - padding, f - 1 - padding + output_padding)
    return conv2d(apart, turned(weight), padding=(around, around))


# --- the bias --------------------------------------------------------------------------------------------------------


def columns(x: Array, f: int) -> Array:
    """The pixels under each window of f by f as a column, and at its end the special pixel, which is always 1 and which
    every window sees: katsaros (use of bias)."""
    rows, cols = (n - f + 1 for n in x.shape[1:])
    windows = [x[:, i : i + f, j : j + f].ravel().tolist() for i in range(rows) for j in range(cols)]
    return np.array([[*pixels, 1] for pixels in windows], dtype=object).T


def with_special_pixel(x: Array, weight: Array, bias: Array) -> Array:
    """A convolution as one product of matrices, in which the bias is the weight of the special pixel."""
    f = weight.shape[-1]
    parameters = np.hstack([weight.reshape(len(weight), -1), np.reshape(bias, (-1, 1))])
    return (parameters @ columns(x, f)).reshape(len(weight), *(n - f + 1 for n in x.shape[1:]))


# --- filters on images -----------------------------------------------------------------------------------------------


def bright(rows: int, cols: int, where: Any) -> Array:
    """A synthetic image: 1 where `where(row, column)` holds, 0 elsewhere."""
    return np.array([[int(where(i, j)) for j in range(cols)] for i in range(rows)], dtype=object)


def detect_and_pool(image: Array, kernel: Array, *, threshold: Any, size: int) -> Array:
    """Simple cells and complex cells: a filter detects, what exceeds a threshold passes, and the maximum over cells of
    size by size forgets where exactly it was: katsaros (V1, pooling)."""
    simple = each(lambda a: max(a - threshold, Fraction(0)), conv2d(image[None], kernel[None, None]))
    return refnn.ops["max_pool2d"].forward_definition(Fractions(), simple, kernel_size=size)[0]
