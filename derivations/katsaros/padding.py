"""katsaros: padding and strides, the sizes that they give, and the reverse convolution."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import sympy as sp
from sympy import diff

from derivations import ops
from derivations.claims import claim
from derivations.katsaros.convolution import PIXELS, TAPS, correlate, padded, receptive_field
from derivations.notation import exact, symbols, total


def positions(length, f, stride=1, padding=0):
    """Counted: the windows that fit."""
    return sum(start + f <= length + 2 * padding for start in range(0, length + 2 * padding, stride))


def _kept(*filters):
    def cases(says):
        for f in filters:
            for length in (5, 7):
                pad = says(f)
                size = positions(length, f, 1, int(pad)) if Fraction(pad).denominator == 1 else None
                yield f"L = {length}, F = {f}, padding {pad}: size", length, size
                yield f"L = {length}, F = {f}: growth of the input", f - 1, 2 * pad

    return cases


@claim(
    "004-P1",
    printed=lambda f: Fraction(f - 1, 2),
    beyond=_kept(4),
    one_more=lambda f: Fraction(f + 1, 2),
    full=lambda f: f - 1,
)
def half_padding(says):
    """Odd filters; beyond: F = 4, which needs unequal sides."""
    yield from _kept(1, 3, 5)(says)


def _frame(name, reduce):
    def cases(says):
        inner = exact([[-1, -2], [-3, -4]])
        window = padded(inner, 1)[:3, :3]  # the window over the first pixel
        yield f"{name} over a window that sticks out", reduce(inner.ravel()), says(reduce(window.ravel()))

    return cases


@claim("004-P2", printed=lambda with_zeros: with_zeros, beyond=_frame("maximum", max))
def zeros_do_not_contribute(says):
    """To sums; beyond: to a maximum they do, where all values are negative."""
    yield from _frame("sum", sum)(says)


@claim("004-P3", printed=lambda: (2, 11, 7), no_padding=lambda: (0, 7, 3))
def half_padding_example(says):
    image, kernel = np.ones((7, 7), dtype=object), np.ones((5, 5), dtype=object)
    wide = padded(image, (5 - 1) // 2)
    yield "padding, padded size, size after the filter", (2, len(wide), len(correlate(wide, kernel))), says()


@claim("004-P4", printed=lambda: (1, 9), equal=lambda: (9, 9))
def windows_over_a_pixel(says):
    """The corner and the centre of 7 by 7 under filters of 3 by 3: the sums of the outputs' derivatives."""
    image = symbols("h", 7, 7)
    out = correlate(image, np.ones((3, 3), dtype=object)).sum()
    yield "corner, centre", (diff(out, image[0, 0]), diff(out, image[3, 3])), says()


@claim(
    "004-P5",
    printed=lambda n, f: (f - 1, n + 2 * (f - 1), n + f - 1),
    one_less=lambda n, f: (f - 2, n + 2 * (f - 2), n + f - 3),
    half=lambda n, f: (f - 1, n + f - 1, n),
)
def full_padding(says):
    """The largest padding with which every window still meets a pixel."""
    for n in (4, 7):
        for f in (2, 3, 5):
            pad = max(p for p in range(2 * f) if f - 1 - p >= 0)  # the first window reaches pixel f - 1 - p
            yield f"L = {n}, F = {f}", (pad, n + 2 * pad, positions(n, f, 1, pad)), says(n, f)


@claim("004-P6", printed=lambda f: f - 1, size=lambda f: f)
def growth_and_loss(says):
    for n in (5, 8):
        for f in (2, 3, 5):
            growth, loss = positions(n, f, 1, f - 1) - n, n - positions(n, f)
            yield f"L = {n}, F = {f}", (growth, loss), (says(f), says(f))


def turned(kernel):
    return kernel[::-1]


def reverse(row, kernel):
    """Another convolution on the fully padded output."""
    wide = padded(row, len(kernel) - 1)
    return np.array(
        [total(kernel[c] * wide[q + c] for c in range(len(kernel))) for q in range(len(wide) - len(kernel) + 1)]
    )


def forward(row, kernel):
    return np.array(
        [total(kernel[c] * row[q + c] for c in range(len(kernel))) for q in range(len(row) - len(kernel) + 1)]
    )


def _inverse(says):
    row, kernel = exact([1, 2, 3, 4]), exact([1, 1])
    out = forward(row, kernel)
    yield "x = (1, 2, 3, 4), kernel (1, 1): the input again", row, reverse(out, says(kernel))


@claim("004-P7", printed=turned, beyond=_inverse, not_turned=lambda kernel: kernel)
def reverse_convolution(says):
    """The adjoint: the gradient by the input, with the kernel turned round; beyond: it does not give the input back."""
    for taps in (1, 2, 3):
        x, kernel = symbols("x", 5), symbols("k", taps)
        d = symbols("d", 6 - taps)
        loss = forward(x, kernel) @ d
        yield f"{taps} taps: dL/dx", [diff(loss, v) for v in x], reverse(d, says(kernel))


# --- strides ---------------------------------------------------------------------------------------------------------


@claim("004-S1", printed=lambda stride, n: n * stride + 1, from_zero=lambda stride, n: n * stride)
def places_of_windows(says):
    """Counted from 1: the first pixels under the windows, read off the symbols in the outputs."""
    for stride in (1, 2, 3):
        row = symbols("h", 9)
        starts = [w[0] for w in (row[q : q + 2] for q in range(0, 8, stride))]
        for n, pixel in enumerate(starts):
            yield f"S = {stride}, window {n + 1}", list(row).index(pixel) + 1, says(stride, n)


SIZES = [(n, f, s) for n in range(1, 10) for f in range(1, n + 1) for s in (1, 2, 3)]


def _sizes(whole):
    def cases(says):
        for n, f, s in SIZES:
            if ((n - f) % s == 0) == whole:
                yield f"L = {n}, F = {f}, S = {s}", positions(n, f, s), says(n, f, s)

    return cases


@claim(
    "004-S2",
    printed=lambda n, f, s: Fraction(n - f, s) + 1,
    beyond=_sizes(False),
    no_one=lambda n, f, s: Fraction(n - f, s),
)
def size_with_strides(says):
    """Where S divides L - F; beyond: elsewhere, where it needs a floor."""
    yield from _sizes(True)(says)


L = sp.Symbol("L", positive=True)


@claim(
    "004-S3",
    printed=lambda s: (sp.Integer(1) / s, sp.Integer(1) / s**2),
    beyond=lambda says: [("L = 7, F = 3, S = 2", (Fraction(3, 7), Fraction(9, 49)), says(2))],
    same=lambda s: (sp.Integer(1) / s, sp.Integer(1) / s),
)
def reduction_by_strides(says):
    """The factors for sizes that grow without bound; beyond: at a size, the border counts."""
    for f, s in ((3, 2), (5, 2), (3, 4)):
        factor = sp.limit(((L - f) / s + 1) / L, L, sp.oo)
        yield f"F = {f}, S = {s}, L to infinity", (factor, factor**2), says(s)


@claim("004-S4", printed=lambda: (3, 7, 15), gentle=lambda: (3, 5, 7))
def receptive_fields_with_strides(says):
    """Three filters of 3 with stride 2, against 3, 5, 7 without: counted by symbols, and followed back."""
    row, sizes = symbols("h", 15), []
    for _ in range(3):
        row = np.array([row[q] + row[q + 1] + row[q + 2] for q in range(0, len(row) - 2, 2)])
        sizes.append(len(row[0].free_symbols))
    yield "layers 1, 2, 3", tuple(sizes), says()
    yield "followed back", tuple(receptive_field([(3, 2)] * n) for n in (1, 2, 3)), says()


@claim(
    "004-S5",
    printed=lambda: [[6, 17, 3], [8, 17, 13], [6, 4, 4]],
    no_padding=lambda: [[12, 17, 0], [9, 14, 0], [0, 0, 0]],
)
def fourth_example(says):
    yield "table", correlate(padded(PIXELS, 1), TAPS, 2), says()


@claim("004-31", printed=lambda shape: shape, reversed=lambda shape: shape[::-1])
def relu_keeps_the_shape(says):
    """refnn.relu."""
    for shape in ((2, 3, 4), (5, 1, 2)):
        yield f"{shape}", ops.forward("relu", symbols("h", *shape)).shape, says(shape)
