"""katsaros: layers on images, their sizes and parameters, filters, convolution and its worked examples.

h[i, j, k] is pixel (i, j) of map k; w[r, s, k, p] a kernel for map p. `windows` is the dot product of the kernel with
each window under it, the picture that the source draws.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from derivations.claims import claim
from derivations.notation import at, exact, symbols, total


def windows(h, w, stride=1):
    """The filters' dot products with all windows that fit, a map for each filter."""
    f = w.shape[0]
    rows, columns = ((n - f) // stride + 1 for n in h.shape[:2])
    out = np.empty((rows, columns, w.shape[3]), dtype=object)
    for i, j, p in np.ndindex(out.shape):
        r, c = i * stride, j * stride
        out[i, j, p] = (h[r : r + f, c : c + f, :] * w[:, :, :, p]).sum()
    return out


def correlate(image, kernel, stride=1):
    """One map, one filter."""
    image, kernel = np.asarray(image, dtype=object), np.asarray(kernel, dtype=object)
    return windows(image[:, :, None], kernel[:, :, None, None], stride)[:, :, 0]


def padded(image, width):
    """A frame of zeros around an image or a row."""
    return np.pad(np.asarray(image, dtype=object), width)


# --- numbers of weights ----------------------------------------------------------------------------------------------


def _dense(biases):
    def cases(says):
        neurons = 50 * 12 * 12
        yield "weights of the dense layer, neurons", (32 * 32 * neurons + biases * neurons, neurons), says()

    return cases


@claim("004-01", printed=lambda: (7372800, 7200), beyond=_dense(1), pixels=lambda: (32 * 32 * 3, 7200))
def weights_of_a_dense_layer(says):
    """Weights only; beyond: with a bias for each neuron."""
    yield from _dense(0)(says)


def _reduction(weights, places, rule):
    def cases(says):
        share = (1 - Fraction(weights, 7372800)) * 100 * 10**places
        yield f"weights, percent less, {rule.__name__}", (weights, Fraction(rule(share), 10**places)), says()

    return cases


def truncated(x):
    return x.numerator // x.denominator


def rounded(x):
    return truncated(x + Fraction(1, 2))


@claim("004-02", printed=lambda: (180000, Fraction("97.5")), beyond=_reduction(5 * 5 * 7200, 1, rounded))
def weights_of_patches(says):
    """One decimal, cut off; beyond: rounded, it is 97.6."""
    yield from _reduction(5 * 5 * 50 * 12 * 12, 1, truncated)(says)


@claim("004-03", printed=lambda: (1250, Fraction("99.98")), beyond=_reduction(5 * 5 * 50 + 50, 2, rounded))
def shared_weights(says):
    """Weights only; beyond: with a bias for each block."""
    yield from _reduction(5 * 5 * 50, 2, rounded)(says)


def neurons_in_a_row(stride, padding):
    """How many windows of 5 fit into 32 pixels and their padding; none for a step that is not whole."""
    stride = Fraction(stride)
    return sum(n * stride + 5 <= 32 + 2 * padding for n in range(33)) if stride.denominator == 1 else None


@claim(
    "004-04",
    printed=lambda: (Fraction(32 - 5, 11), 0),
    corrected=lambda: (3, 3),
    stride_2=lambda: (2, 0),
    no_padding=lambda: (3, 0),
)
def cover_of_the_image(says):
    """The stride and padding for which 12 windows of 5 cover a row of 32. Without padding the stride is no integer."""
    stride, padding = says()
    yield f"windows for stride {stride}, padding {padding}", 12, neurons_in_a_row(stride, padding)
    reached = {int(n * stride) - padding + c for n in range(12) for c in range(5)}
    yield "all pixels are reached", True, set(range(32)) <= reached


IMAGE = exact(np.arange(1, 50).reshape(7, 7) % 11)
KERNEL = exact(np.arange(1, 26).reshape(5, 5) % 7)


@claim(
    "004-05",
    printed=lambda image, w, p, q: total(image[p + i, q + j] * w[p, q] for i in range(5) for j in range(5)),
    corrected=lambda image, w, p, q: total(image[p + i, q + j] * w[i, j] for i in range(5) for j in range(5)),
    flipped=lambda image, w, p, q: total(image[p + i, q + j] * w[4 - i, 4 - j] for i in range(5) for j in range(5)),
)
def neuron_of_a_block(says):
    """With the neuron's own indices on the weight, one number would stand for the whole filter."""
    truth = correlate(IMAGE, KERNEL)
    for p in range(3):
        for q in range(3):
            yield f"an image of 7 by 7, filter of 5 by 5, p = {p}, q = {q}", truth[p, q], says(IMAGE, KERNEL, p, q)


@claim("004-05b", printed=lambda: (32 * 32, 12), corrected=lambda: (256, 12), one_patch=lambda: (25, 12))
def pixels_that_are_read(says):
    """The formula with p, q = 0, ..., 11 and steps of one pixel reads a quarter of the image."""
    read = {(p + i, q + j) for p in range(12) for q in range(12) for i in range(5) for j in range(5)}
    yield "pixels read of 32 by 32, neurons in a row", (len(read), 12), says()


@claim("004-06", printed=lambda: (3072, 3072), corrected=lambda: (1024, 3072), side=lambda: (32, 3072))
def pixels_of_an_image(says):
    """A pixel is a place and holds a value for each channel."""
    image = np.zeros((32, 32, 3))
    yield (
        "pixels and values of 32 by 32 in three channels",
        (len(list(np.ndindex(image.shape[:2]))), image.size),
        says(),
    )


@claim("004-07", printed=lambda n, f: n - f + 1, one_less=lambda n, f: n - f, padded=lambda n, f: n)
def size_of_a_layer(says):
    """Counted, up to 9 pixels; and 32 - 5 + 1 = 28."""
    for n in (*range(1, 10), 32):
        for f in range(1, min(n, 5) + 1):
            yield f"L = {n}, F = {f}", sum(start + f <= n for start in range(n)), says(n, f)


@claim("004-08", printed=lambda: (5, 5 * 5 * 3, 28), no_depth=lambda: (5, 5 * 5, 28))
def depth_of_a_layer(says):
    """Five filters on 32 by 32 by 3: maps of the next layer, values in a filter, rows."""
    h, w = np.ones((32, 32, 3), dtype=object), np.ones((5, 5, 3, 5), dtype=object)
    out = windows(h, w)
    yield "maps, values, rows", (out.shape[2], out[0, 0, 0], out.shape[0]), says()


@claim("004-19", printed=lambda depth, filters: filters, input_depth=lambda depth, filters: depth)
def depth_does_not_depend_on_the_input(says):
    for depth, filters in ((1, 2), (3, 2), (2, 5)):
        out = windows(np.ones((3, 3, depth), dtype=object), np.ones((2, 2, depth, filters), dtype=object))
        yield f"d_q = {depth}, {filters} filters", out.shape[2], says(depth, filters)


# --- filters ---------------------------------------------------------------------------------------------------------

SOBEL_V = exact([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
SOBEL_H = exact([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])
DARK_LEFT = exact([[0, 0, 1]] * 3)  # a vertical edge, bright on the right
DARK_ABOVE = DARK_LEFT.T
SLANTED = exact([[0, 0, 0], [0, 0, 1], [0, 1, 1]])


def _vertical_edge(kernel, name):
    def cases(says):
        response = lambda image: abs(correlate(image, kernel)[0, 0])  # noqa: E731
        zero, full = response(DARK_LEFT), response(DARK_ABOVE)
        yield f"{name}: vertical edge, horizontal edge", (zero, full), says()
        yield f"{name}: a slanted edge lies between", True, bool(0 < response(SLANTED) < full)

    return cases


@claim(
    "004-09",
    printed=lambda: (0, 4),
    beyond=_vertical_edge(exact([[1, 2, 1], [0, 0, 0], [-1, -2, -3]]), "a filter whose last column sums to -2"),
    both=lambda: (4, 4),
)
def edge_filter(says):
    """Sobel's horizontal filter, whose columns sum to zero; activations without sign."""
    yield from _vertical_edge(SOBEL_H, "Sobel")(says)


CURVE = np.zeros((7, 7), dtype=object) + Fraction(0)
for _row, _column in ((0, 5), (1, 4), (2, 3), (3, 3), (4, 3), (5, 3)):
    CURVE[_row, _column] = Fraction(30)


def _field(sixth):
    def cases(says):
        field = CURVE * 0
        for place, value in {(1, 4): 50, (3, 3): 50, (4, 3): 50, (5, 3): 50, (2, 3): 20, (0, 5): sixth}.items():
            field[place] = Fraction(value)
        yield f"field with {sixth} under the sixth 30 of the filter", correlate(field, CURVE)[0, 0], says()

    return cases


@claim("004-10", printed=lambda: (50 * 30) * 4 + 20 * 30, beyond=_field(50), three=lambda: (50 * 30) * 3 + 20 * 30)
def curve_detector(says):
    """The field's picture is lost; this one is reconstructed from the products; beyond: 50 under the sixth cell."""
    yield from _field(0)(says)


OTHER_FIELD = exact(
    [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 40, 0, 0, 0, 0, 0],
        [40, 0, 40, 0, 0, 0, 0],
        [40, 20, 0, 0, 0, 0, 0],
        [0, 50, 0, 0, 0, 0, 0],
        [0, 0, 50, 0, 0, 0, 0],
        [25, 25, 0, 50, 0, 0, 0],
    ]
)


@claim("004-11", printed=lambda: (0, 6600), some=lambda: (50 * 30, 6600))
def curve_detector_elsewhere(says):
    """The second field, as printed; with the sum of the first field beside it, so that not all is zero."""
    yield "second field, first field", (correlate(OTHER_FIELD, CURVE)[0, 0], next(_field(0)(lambda: None))[1]), says()


@claim(
    "004-12",
    printed=lambda: (SOBEL_V, SOBEL_H),
    swapped=lambda: (SOBEL_H, SOBEL_V),
    convolved=lambda: (-SOBEL_V, -SOBEL_H),
    no_weight=lambda: (np.sign(SOBEL_V), np.sign(SOBEL_H)),
)
def sobel(says):
    """Differences across, smoothed with (1, 2, 1) along: brighter to the right and brighter upwards are positive."""
    smooth, across = exact([1, 2, 1]), exact([-1, 0, 1])
    vertical, horizontal = says()
    yield "vertical", np.outer(smooth, across), vertical
    yield "horizontal", np.outer(-across, smooth), horizontal
    names = "vertical on dark left", "horizontal on dark left", "horizontal on dark above"
    pairs = (DARK_LEFT, vertical), (DARK_LEFT, horizontal), (DARK_ABOVE, horizontal)
    for name, truth, (image, kernel) in zip(names, (4, 0, -4), pairs, strict=True):
        yield name, truth, correlate(image, kernel)[0, 0]


# --- the definition --------------------------------------------------------------------------------------------------


def definition(first=1):
    """sum over r, s, k of w_rsk h_(i+r-1, j+s-1, k), indices from 1; `first` is what is taken off."""

    def form(h, w, i, j, p):
        f, depth = w.shape[0], w.shape[2]
        return total(
            w[r - 1, s - 1, k, p] * at(h, i + r - first - 1, j + s - first - 1, k)
            for r in range(1, f + 1)
            for s in range(1, f + 1)
            for k in range(depth)
        )

    return form


def _stride_2(says):
    h, w = exact(np.arange(1, 21).reshape(4, 5, 1)), exact([[1, 2], [3, 5]]).reshape(2, 2, 1, 1)
    truth = windows(h, w, 2)
    for i, j, p in np.ndindex(truth.shape):
        where = f"stride 2, pixels 1 to 20 in rows of five, w = ((1, 2), (3, 5)), i = {i + 1}, j = {j + 1}"
        yield where, truth[i, j, p], says(h, w, i + 1, j + 1, p)


@claim(
    "004-13",
    printed=definition(1),
    beyond=_stride_2,
    offset=definition(0),
    flipped=lambda h, w, i, j, p: definition(1)(h, w[::-1, ::-1], i, j, p),
    one_map=lambda h, w, i, j, p: definition(1)(h, w[:, :, :1], i, j, p),
)
def convolution(says):
    """4 by 5 pixels, two maps to two, filters of 2 by 2, stride 1; it is what is called cross-correlation elsewhere."""
    h, w = symbols("h", 4, 5, 2), symbols("w", 2, 2, 2, 2)
    truth = windows(h, w)
    for i, j, p in np.ndindex(truth.shape):
        yield f"i = {i + 1}, j = {j + 1}, p = {p + 1}", truth[i, j, p], says(h, w, i + 1, j + 1, p)


@claim("004-14", printed=lambda: "iji", corrected=lambda: "ijp", two=lambda: "ij")
def ranges_of_the_definition(says):
    """Each free index of the left side, h_ijp, has its range."""
    yield "indices of the left side", "ijp", says()


def _shifted(stride, steps):
    def cases(says):
        row, kernel = exact([[0, 0, 1, 2, 0, 0, 0, 0, 0]]), exact([[1, 3]])
        wide = np.vstack([row, row])
        k = np.vstack([kernel, 0 * kernel])
        before = correlate(wide, k, stride)[0]
        after = correlate(np.roll(wide, steps, 1), k, stride)[0]
        yield f"stride {stride}, shift by {steps}: features", after, np.roll(before, says(steps))

    return cases


@claim("004-15", printed=lambda steps: steps, beyond=_shifted(2, 1), opposite=lambda steps: -steps)
def equivariance(says):
    """Stride 1, away from the borders; beyond: stride 2 and a shift by one."""
    yield from _shifted(1, 1)(says)
    yield from _shifted(1, 2)(says)


@claim("004-16", printed=lambda: (16, 26), short=lambda: (14, 12))
def two_dot_products(says):
    """The sums; the image and the filter that they come from are lost."""
    yield "sums", (5 * 1 + 8 * 1 + 1 * 1 + 1 * 2, 4 * 1 + 4 * 1 + 4 * 1 + 7 * 2), says()


PIXELS = exact([[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]])
TAPS = exact([[0, 1, 2], [2, 2, 0], [0, 1, 2]])


@claim(
    "004-17",
    printed=lambda: [[12, 12, 17], [10, 17, 19], [9, 6, 14]],
    convolved=lambda: [[18, 20, 19], [10, 9, 17], [11, 8, 14]],
)
def third_example(says):
    """From the frames as printed. With the kernel turned round (true convolution) another table comes out."""
    yield "table", correlate(PIXELS, TAPS), says()
    yield "the other table", [[18, 20, 19], [10, 9, 17], [11, 8, 14]], correlate(PIXELS, TAPS[::-1, ::-1])


def receptive_field(layers):
    """How many inputs a value depends on after layers of (size, stride): followed back, cell by cell."""
    low, high = 0, 0
    for size, stride in reversed(layers):
        low, high = low * stride, high * stride + size - 1
    return high - low + 1


@claim("004-18", printed=lambda: (3, 5, 7), sum=lambda: (3, 6, 9))
def receptive_fields(says):
    """Of three filters of 3, counted by the symbols in the outputs of a row."""
    row, sizes = symbols("h", 9), []
    for _ in range(3):
        row = np.array([row[q] + row[q + 1] + row[q + 2] for q in range(len(row) - 2)])
        sizes.append(len(row[0].free_symbols))
    yield "layers 1, 2, 3", tuple(sizes), says()
    yield "followed back", tuple(receptive_field([(3, 1)] * n) for n in (1, 2, 3)), says()


@claim(
    "004-20",
    printed=lambda h, w, p: correlate(h[:, :, 0], w[p, 0]) + correlate(h[:, :, 1], w[p, 1]),
    one_map=lambda h, w, p: correlate(h[:, :, 0], w[p, 0]),
    swapped=lambda h, w, p: correlate(h[:, :, 0], w[p, 1]) + correlate(h[:, :, 1], w[p, 0]),
)
def two_maps_to_three(says):
    """A collection of 3 by 2 kernels of 3 by 3, on maps of 4 by 4."""
    h, w = symbols("h", 4, 4, 2), symbols("w", 3, 2, 3, 3)
    truth = windows(h, w.transpose(2, 3, 1, 0))
    for p in range(3):
        yield f"map {p + 1}", truth[:, :, p], says(h, w, p)


@claim("004-52", printed=lambda h, w: h @ w, transposed=lambda h, w: h @ w.T)
def filters_of_one_pixel(says):
    """A dense layer on each pixel."""
    h, w = symbols("h", 2, 3, 2), symbols("w", 2, 2)
    yield "2 by 3 pixels, two maps to two", windows(h, w[None, None]), says(h, w)


# --- the bias --------------------------------------------------------------------------------------------------------


def seen(ones):
    """Outputs of a filter over 3 by 3 pixels, with the special pixel's weight where `ones` says that it is seen."""
    h, w, b = symbols("h", 3, 3, 1), symbols("w", 2, 2, 1, 1), symbols("b", 1)
    return h, w, b, windows(h, w)[:, :, 0] + b[0] * ones


def _counted(ones):
    def cases(says):
        h, w, b, out = seen(ones)
        used = [v.free_symbols for v in out.ravel()]
        counts = min(len(u & {*w.ravel(), *b}) for u in used), len(set().union(*used) & set(h.ravel())) + 1
        name = "by all windows" if ones.all() else "by the first window only"
        yield f"a special pixel seen {name}: parameters in every output, inputs", counts, says(3, 3, 1, 2)

    return cases


@claim(
    "004-30",
    printed=lambda rows, columns, d, f: (f * f * d + 1, 1 + rows * columns * d),
    beyond=_counted(np.array([[1, 0], [0, 0]])),
    no_bias=lambda rows, columns, d, f: (f * f * d, rows * columns * d),
)
def bias_as_a_pixel(says):
    """A pixel that is 1 and seen by every window; beyond: one that only the first window sees."""
    everywhere = np.ones((2, 2), dtype=int)
    h, w, b, out = seen(everywhere)
    yield "the bias is added to every output", windows(h, w)[:, :, 0] + b[0], out
    yield from _counted(everywhere)(says)
