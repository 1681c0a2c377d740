"""katsaros: pooling, receptive fields, and what layers cost."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import sympy as sp

from derivations.claims import claim
from derivations.katsaros.convolution import PIXELS, receptive_field
from derivations.katsaros.padding import SIZES
from derivations.notation import exact, symbols


def pool(reduce, image, size, stride=1):
    rows, columns = ((n - size) // stride + 1 for n in image.shape)
    cells = lambda i, j: image[i * stride : i * stride + size, j * stride : j * stride + size].ravel()  # noqa: E731
    return [[reduce(cells(i, j)) for j in range(columns)] for i in range(rows)]


def mean(values):
    return sum(values) / len(values)


def _sizes(whole):
    def cases(says):
        for n, p, s in SIZES:
            if ((n - p) % s == 0) == whole:
                image = np.zeros((n, n), dtype=object)
                yield f"L = {n}, P = {p}, S = {s}", len(pool(max, image, p, s)), says(n, p, s)

    return cases


@claim(
    "004-40",
    printed=lambda n, p, s: n - p + 1 if s == 1 else Fraction(n - p, s) + 1,
    beyond=_sizes(False),
    no_one=lambda n, p, s: Fraction(n - p, s),
)
def size_of_a_pooled_map(says):
    """Stride 1, and strides that divide L - P; beyond: others, which need a floor."""
    yield from _sizes(True)(says)


@claim("004-41", printed=lambda d: d, one=lambda d: 1, half=lambda d: d // 2)
def depth_of_a_pooled_layer(says):
    """Map by map: each pooled map depends on one map, and there are as many."""
    for d in (1, 2, 5):
        maps = [symbols(f"h{k}", 4, 4) for k in range(d)]
        pooled = [pool(lambda v: sp.Max(*v), m, 2, 2) for m in maps]
        own = [set(np.array(p).sum().free_symbols) <= set(m.ravel()) for p, m in zip(pooled, maps, strict=True)]
        yield f"d = {d}", (sum(own), len(pooled)), (says(d), says(d))


@claim("004-42", printed=lambda p, s: max(0, p - s), none=lambda p, s: 0, always=lambda p, s: 1)
def overlap(says):
    """The pixels that neighbouring windows share: none for 2 by 2 with stride 2."""
    for p, s in ((2, 2), (2, 1), (3, 2), (3, 1)):
        yield f"P = {p}, S = {s}", len({*range(p)} & {*range(s, s + p)}), says(p, s)


@claim(
    "004-43",
    printed=lambda: [["1.7", "1.7", "1.7"], ["1.0", "1.2", "1.8"], ["1.1", "0.8", "1.3"]],
    maxima=lambda: [["3.0"] * 3, ["3.0"] * 3, ["3.0", "2.0", "3.0"]],
    truncated=lambda: [["1.6", "1.6", "1.6"], ["1.0", "1.2", "1.7"], ["1.1", "0.7", "1.3"]],
)
def average_pooling(says):
    """Exact ninths, rounded to one decimal."""
    tenths = exact(pool(mean, PIXELS, 3)) * 10
    rounded = np.vectorize(lambda q: Fraction(round(q), 10), otypes=[object])(tenths)
    yield "table", rounded, exact(says())


@claim("004-44", printed=lambda: [[3, 3, 3], [3, 3, 3], [3, 2, 3]], minima=lambda: [[0, 0, 0], [0, 0, 0], [0, 0, 0]])
def max_pooling(says):
    yield "table", pool(max, PIXELS, 3), says()


def parameters(size, inputs, filters, taps):
    """Of a convolution; the size of its input does not come into it."""
    return taps * taps * inputs * filters + filters


@claim(
    "004-46",
    printed=lambda what: Fraction(3, 4),
    corrected=lambda what: Fraction(3, 4) if what == "activations" else Fraction(0),
    nothing=lambda what: Fraction(0),
)
def what_pooling_saves(says):
    """2 by 2 with stride 2 on 4 by 4: the share by which numbers fall. It has no parameters, and a convolution after it
    has as many as before."""
    image = symbols("h", 4, 4)
    pooled = np.array(pool(max, exact(np.arange(16).reshape(4, 4)), 2, 2))
    yield "activations", 1 - Fraction(pooled.size, image.size), says("activations")
    before, after = (parameters(size, 3, 8, 3) for size in (4, 2))
    yield "parameters of a convolution of 3 by 3 after it, 3 maps to 8", 1 - Fraction(after, before), says("parameters")


def _impulse(column, steps):
    def cases(says):
        image = np.zeros((2, 8), dtype=int)
        image[0, column] = 1
        before, after = (pool(max, np.roll(image, n, 1), 2, 2) for n in (0, steps))
        moved = np.roll(before, says(), 1).tolist()
        yield f"an impulse in column {column} shifted by {steps}, pooled 2 by 2, stride 2", after, moved

    return cases


@claim("004-47", printed=lambda: 0, beyond=_impulse(3, 1), moves=lambda: 1)
def invariance(says):
    """A shift inside a pooling window; beyond: across its border."""
    yield from _impulse(2, 1)(says)
    yield from _impulse(4, 1)(says)


@claim("004-48", printed=lambda: (3, 4, 8, 10, 18), strides_only=lambda: (3, 3, 7, 7, 15))
def receptive_fields(says):
    """Filter 3, pooling 2 with stride 2, filter 3, pooling, filter 3: the windows count, too, not the strides alone."""
    layers = [(3, 1), (2, 2), (3, 1), (2, 2), (3, 1)]
    row, sizes = symbols("h", 18), []
    for size, stride in layers:
        row = np.array([sum(row[q : q + size]) for q in range(0, len(row) - size + 1, stride)])
        sizes.append(len(row[0].free_symbols))
    yield "after each layer", tuple(sizes), says()
    yield "followed back", tuple(receptive_field(layers[: n + 1]) for n in range(5)), says()


@claim("004-49", printed=lambda: 16 * 10**6, twice=lambda: 32 * 10**6)
def weights_of_two_dense_layers(says):
    """More than 16 million, by less than a million."""
    yield "4096 by 4096, in whole millions", 4096 * 4096 // 10**6 * 10**6, says()


def _memory(training):
    def cases(says):
        layers = (3072, 3920, 980, 10)  # activations of a small network
        for batch in (1, 32):
            held = sum(layers) * batch if training else max(p + q for p, q in pairwise(layers)) * batch
            yield f"{'training' if training else 'evaluation'}, batch of {batch}", held, says(layers, batch)

    return cases


@claim(
    "004-50",
    printed=lambda layers, batch: sum(layers) * batch,
    beyond=_memory(False),
    once=lambda layers, batch: sum(layers),
)
def activations_in_memory(says):
    """All layers of all samples are kept for the backward pass; beyond: evaluation needs two layers at a time."""
    yield from _memory(True)(says)
