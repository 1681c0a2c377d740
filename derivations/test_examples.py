"""The worked examples and pictures of the sources, in exact numbers: by refnn's ops, by loops, and as printed."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy as sp
import torch
import torch.nn.functional as F

import refnn
from derivations.challa.convolution import flat_index, place_of
from derivations.katsaros.convolution import (
    CURVE,
    OTHER_FIELD,
    PIXELS,
    SOBEL_H,
    SOBEL_V,
    TAPS,
    correlate,
    cover_of_the_image,
)
from derivations.katsaros.examples import (
    bright,
    columns,
    conv2d,
    convolve,
    detect_and_pool,
    frames,
    layer,
    pathways,
    reverse,
    turned,
    with_special_pixel,
)
from derivations.notation import exact
from refnn.arithmetic.exact import Fractions
from refnn.arithmetic.windows import Windows
from refnn.networks.account import coverage
from refnn.teaching.equivariance import invariant, shifted


def whole(*shape: int, seed: int = 0) -> np.ndarray:
    return exact(np.random.default_rng(seed).integers(-9, 10, shape))


def by_torch(x: Any, weight: Any, bias: Any = None, **params: Any) -> Any:
    """PyTorch's conv2d of one image, in float64, where sums of small whole numbers are exact."""
    tensors: list[Any] = [None if v is None else torch.tensor(np.array(v, dtype=float)) for v in (x, weight, bias)]
    return F.conv2d(tensors[0][None], *tensors[1:], **params)[0].numpy()


# --- katsaros, the definition and its examples -----------------------------------------------------------------------


@pytest.mark.system("S53")
@pytest.mark.parametrize("shape", [(5, 4, 2, 2, 3), (6, 6, 1, 3, 1), (4, 7, 3, 1, 2)])
def test_the_definition_by_literal_loops(shape: tuple[int, ...]) -> None:
    """Indices from 1, in the layout of the source: what refnn and PyTorch compute in theirs."""
    rows, cols, depth, f, filters = shape
    h, w = whole(rows, cols, depth), whole(f, f, depth, filters, seed=1)
    x, weight = h.transpose(2, 0, 1), w.transpose(3, 2, 0, 1)
    found = layer(h, w).transpose(2, 0, 1)
    assert found.shape == (filters, rows - f + 1, cols - f + 1)
    assert np.array_equal(found, conv2d(x, weight))
    assert np.array_equal(found, by_torch(x, weight))


# Frames of example 3 and of example 4, read from the source: the pixels with the taps that stand as their subscripts.
EXAMPLE_3 = {
    0: [(3, 0), (3, 1), (2, 2), (0, 2), (0, 2), (1, 0), (3, 0), (1, 1), (2, 2)],
    1: [(3, 0), (2, 1), (1, 2), (0, 2), (1, 2), (3, 0), (1, 0), (2, 1), (2, 2)],
    2: [(2, 0), (1, 1), (0, 2), (1, 2), (3, 2), (1, 0), (2, 0), (2, 1), (3, 2)],
    4: [(0, 0), (1, 1), (3, 2), (1, 2), (2, 2), (2, 0), (0, 0), (0, 1), (2, 2)],
    8: [(2, 0), (2, 1), (3, 2), (0, 2), (2, 2), (2, 0), (0, 0), (0, 1), (1, 2)],
}
EXAMPLE_4 = {
    1: [(0, 0), (0, 1), (0, 2), (3, 2), (2, 2), (1, 0), (0, 0), (1, 1), (3, 2)],
    4: [(0, 0), (1, 1), (3, 2), (1, 2), (2, 2), (2, 0), (0, 0), (0, 1), (2, 2)],
    8: [(2, 0), (2, 1), (0, 2), (0, 2), (1, 2), (0, 0), (0, 0), (0, 1), (0, 2)],
}


@pytest.mark.system("S56")
@pytest.mark.parametrize(
    ("table", "printed", "slide"),
    [
        ([[12, 12, 17], [10, 17, 19], [9, 6, 14]], EXAMPLE_3, {}),
        ([[6, 17, 3], [8, 17, 13], [6, 4, 4]], EXAMPLE_4, {"stride": 2, "padding": 1}),
    ],
    ids=["example 3", "example 4"],
)
def test_worked_examples_frame_by_frame(table: Any, printed: Any, slide: dict[str, int]) -> None:
    found = frames(PIXELS, TAPS, **slide)
    assert [total for _, total in found] == [v for row in table for v in row]
    assert all(len(products.ravel()) == 9 and products.sum() == total for products, total in found)
    for n, pairs in printed.items():
        assert [pixel * tap for pixel, tap in pairs] == found[n][0].ravel().tolist(), n
    assert conv2d(PIXELS[None], TAPS[None, None], **slide)[0].tolist() == table
    assert by_torch(PIXELS[None], TAPS[None, None], **slide)[0].tolist() == table


@pytest.mark.system("S56")
@pytest.mark.parametrize(
    ("pixels", "taps", "total"), [((5, 8, 1, 1), (1, 1, 1, 2), 16), ((4, 4, 4, 7), (1, 1, 1, 2), 26)]
)
def test_two_dot_products(pixels: tuple[int, ...], taps: tuple[int, ...], total: int) -> None:
    """5 + 8 + 1 + 1 * 2 and 4 + 4 + 4 + 7 * 2, under a kernel of four taps: the image that they come from is lost."""
    ((products, found),) = frames(exact(pixels).reshape(2, 2), exact(taps).reshape(2, 2))
    assert (products.ravel().tolist(), found) == ([p * t for p, t in zip(pixels, taps, strict=True)], total)


@pytest.mark.system("S57")
def test_two_maps_become_three_by_six_kernels() -> None:
    """katsaros: a 3 x 2 x 3 x 3 collection. Each output is the sum of what its own kernels make of the two maps."""
    h, w = whole(2, 6, 5), whole(3, 2, 3, 3, seed=1)
    paths = pathways(h, w)
    assert [len(path) for path in paths] == [2, 2, 2]
    for p, k in itertools.product(range(3), range(2)):
        assert np.array_equal(paths[p][k], correlate(h[k], w[p, k]))
    summed = np.array([path[0] + path[1] for path in paths])
    assert np.array_equal(summed, conv2d(h, w))
    assert np.array_equal(summed, by_torch(h, w))


# --- true convolution ------------------------------------------------------------------------------------------------


def product_of_polynomials(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The coefficients of the product of two polynomials, of which images are the coefficients."""
    a, b = sp.symbols("a b")
    factors = [sp.Poly({place: sp.Rational(v) for place, v in np.ndenumerate(m)}, a, b) for m in (image, kernel)]
    out = np.zeros([n + m - 1 for n, m in zip(image.shape, kernel.shape, strict=True)], dtype=object)
    for place, coefficient in (factors[0] * factors[1]).terms():
        out[place] = Fraction(int(coefficient.p), int(coefficient.q))
    return out


@pytest.mark.system("S54")
def test_true_convolution_turns_the_kernel() -> None:
    """A product of polynomials, in which image and kernel may change places. Inside the image it gives the second table
    for example 3, and with the kernel turned the first: that of cross-correlation, which all the sources use."""
    full = convolve(PIXELS, TAPS)
    assert np.array_equal(full, product_of_polynomials(PIXELS, TAPS))
    assert np.array_equal(full, convolve(TAPS, PIXELS))
    inside = (slice(2, -2), slice(2, -2))
    assert full[inside].tolist() == [[18, 20, 19], [10, 9, 17], [11, 8, 14]]
    half_turn = convolve(PIXELS, TAPS[::-1, ::-1])
    assert half_turn[inside].tolist() == [[12, 12, 17], [10, 17, 19], [9, 6, 14]]
    assert half_turn[inside].tolist() == conv2d(PIXELS[None], TAPS[None, None])[0].tolist()
    assert half_turn.tolist() == conv2d(PIXELS[None], TAPS[None, None], padding="full")[0].tolist()
    image, kernel = whole(4, 6), whole(3, 2, seed=1)
    assert np.array_equal(convolve(image, kernel), product_of_polynomials(image, kernel))
    assert np.array_equal(convolve(image, kernel[::-1, ::-1])[2:-2, 1:-1], correlate_any(image, kernel))


def correlate_any(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return conv2d(image[None], kernel[None, None])[0]


# --- filters ---------------------------------------------------------------------------------------------------------

SIZE, EDGE = 9, 4
RIGHT = bright(SIZE, SIZE, lambda i, j: j >= EDGE)  # a vertical edge, bright on the right
BELOW = bright(SIZE, SIZE, lambda i, j: i >= EDGE)
SLANTED = bright(SIZE, SIZE, lambda i, j: i + j >= SIZE)


@pytest.mark.system("S55")
def test_edge_filters_on_synthetic_images() -> None:
    """Sobel's vertical filter answers with 4 where its window lies across a vertical edge, and with 0 elsewhere; the
    horizontal one with -4 on dark above bright; each is blind to the other's edge and between on a slanted one."""
    across = [int(q <= EDGE - 1 < q + 2) for q in range(SIZE - 2)]  # windows of 3 with the edge inside
    assert correlate_any(RIGHT, SOBEL_V).tolist() == [[4 * v for v in across]] * (SIZE - 2)
    assert correlate_any(BELOW, SOBEL_H).tolist() == [[-4 * v] * (SIZE - 2) for v in across]
    assert not correlate_any(RIGHT, SOBEL_H).any() and not correlate_any(BELOW, SOBEL_V).any()
    slanted = [abs(correlate_any(SLANTED, k)) for k in (SOBEL_V, SOBEL_H)]
    assert all(set(m.ravel()) == {0, 1, 3} for m in slanted)
    # True convolution changes the sign of both, as either is its own negative when turned.
    for image, kernel in ((RIGHT, SOBEL_V), (BELOW, SOBEL_H), (SLANTED, SOBEL_V)):
        assert np.array_equal(convolve(image, kernel)[2:-2, 2:-2], -correlate_any(image, kernel))
    # As products of a smoothing and a difference, and one as the other, transposed and negative.
    assert np.array_equal(SOBEL_V, np.outer([1, 2, 1], [-1, 0, 1])) and np.array_equal(SOBEL_H, -SOBEL_V.T)


@pytest.mark.system("S55")
def test_the_curve_detector_gives_6600_on_its_curve_and_0_elsewhere() -> None:
    """katsaros: (50 * 30) * 4 + 20 * 30, on a field made of these products, for the picture is lost; and the second
    field, as printed. In a larger image the answer is largest where the curve is."""
    field = np.zeros((7, 7), dtype=object)
    for place, value in {(1, 4): 50, (2, 3): 20, (3, 3): 50, (4, 3): 50, (5, 3): 50}.items():
        field[place] = value
    assert correlate_any(field, CURVE).tolist() == [[6600]]
    assert correlate_any(OTHER_FIELD, CURVE).tolist() == [[0]]
    image = np.zeros((13, 16), dtype=object)
    image[4:11, 6:13] = field
    answers = correlate_any(image, CURVE)
    assert np.unravel_index(answers.argmax(), answers.shape) == (4, 6) and answers[4, 6] == 6600
    assert np.sum(answers == 6600) == 1


# --- the blocks of the motivational example --------------------------------------------------------------------------


@pytest.mark.system("S51")
def test_fifty_blocks_of_144_neurons_cover_the_image_with_stride_3_and_padding_3() -> None:
    """katsaros says that 12 windows of 5 cover a row of 32, which no stride does without padding. This reading is the
    only one with padding up to full, the same on both sides, in which no cell stays unused; every pixel is covered."""
    stride, padding = cover_of_the_image.form()
    w = Windows.over((32, 32), (5, 5), stride=stride, padding=padding)
    assert w.count == (12, 12) and w.taps == 25
    assert (coverage(w) >= 1).all()
    image, weight = whole(1, 32, 32), whole(50, 1, 5, 5, seed=1)
    y = refnn.conv2d(image.astype(float), weight.astype(float), stride=stride, padding=padding)
    assert y.shape == (50, 12, 12) and y[0].size == 144 and y.size == 7200
    unfolded = F.unfold(torch.tensor(image.astype(float))[None], 5, stride=stride, padding=padding)
    assert unfolded.shape == (1, 25, 144)
    assert np.array_equal(y.reshape(50, 144), weight.reshape(50, 25).astype(float) @ unfolded[0].numpy())
    exact_fits = [(s, p) for s in range(1, 33) for p in range(5) if 11 * s + 5 == 32 + 2 * p]
    assert exact_fits == [(stride, padding)]


# --- padding: what the windows see of ones ---------------------------------------------------------------------------


def test_half_padding_keeps_the_sums_of_the_border_small() -> None:
    sums = conv2d(np.ones((1, 4, 4), int), np.ones((1, 1, 3, 3), int), padding=1)[0]
    assert sums.tolist() == [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]


# --- the way back ----------------------------------------------------------------------------------------------------

GEOMETRIES = [(7, 6, 3, 1, 0), (7, 6, 3, 1, 2), (8, 6, 3, 2, 1), (9, 6, 2, 3, 0), (5, 7, 1, 2, 0), (10, 7, 4, 3, 3)]


@pytest.mark.system("S60")
@pytest.mark.parametrize(("rows", "cols", "f", "stride", "padding"), GEOMETRIES)
def test_the_reverse_convolution_is_the_adjoint(rows: int, cols: int, f: int, stride: int, padding: int) -> None:
    """<A u, v> = <u, A' v>, exactly. With a stride several sizes have one output, and output_padding says which."""
    weight = whole(3, 2, f, f)
    for extra in range(stride):
        u = whole(2, rows + extra, cols + extra, seed=1)
        au = conv2d(u, weight, stride=stride, padding=padding)
        v = whole(*au.shape, seed=2)
        rest = (rows + extra + 2 * padding - f) % stride
        back = reverse(v, weight, stride=stride, padding=padding, output_padding=rest)
        assert back.shape == u.shape
        assert (au * v).sum() == (u * back).sum() != 0
        # The gradient of <A u, v> by u, by autograd; and refnn's transposed convolution.
        leaf = torch.tensor(u.astype(float), requires_grad=True)
        y = F.conv2d(leaf[None], torch.tensor(weight.astype(float)), stride=stride, padding=padding)
        (y[0] * torch.tensor(v.astype(float))).sum().backward()
        assert leaf.grad is not None
        assert np.array_equal(back, leaf.grad.numpy())
        params = {"stride": stride, "padding": padding, "output_padding": rest}
        assert np.array_equal(back, refnn.ops["conv_transpose2d"].forward_definition(Fractions(), v, weight, **params))


@pytest.mark.system("S60")
def test_an_unturned_kernel_is_not_the_adjoint_and_the_adjoint_is_no_inverse() -> None:
    weight, u, v = whole(2, 2, 3, 3), whole(2, 6, 5, seed=1), whole(2, 4, 3, seed=2)
    inner = (conv2d(u, weight) * v).sum()
    wide = {"padding": "full"}
    assert (u * conv2d(v, turned(weight), **wide)).sum() == inner
    for wrong in (weight, weight.swapaxes(0, 1), weight[:, :, ::-1, ::-1]):  # not turned, not swapped
        assert (u * conv2d(v, wrong, **wide)).sum() != inner
    row, ones = exact([[[1, 2, 3, 4]]]), exact([[[[1, 1]]]])
    there = conv2d(row, ones)
    assert there.tolist() == [[[3, 5, 7]]]
    back = refnn.ops["conv_transpose2d"].forward_definition(Fractions(), there, ones)
    assert back.tolist() == [[[3, 8, 12, 7]]] != row.tolist()
    square = exact(np.arange(1, 17).reshape(1, 4, 4))
    again = reverse(conv2d(square, exact(np.ones((1, 1, 2, 2), int))), exact(np.ones((1, 1, 2, 2), int)))
    assert again.shape == square.shape and not (again == square).any()


# --- the bias --------------------------------------------------------------------------------------------------------


@pytest.mark.system("S66")
def test_the_bias_is_the_weight_of_a_pixel_that_is_always_1() -> None:
    """katsaros (use of bias): one more parameter for each filter, one more input, seen by every window."""
    x, weight, bias = whole(2, 5, 4), whole(3, 2, 3, 3, seed=1), whole(3, seed=2)
    found = with_special_pixel(x, weight, bias)
    assert np.array_equal(found, conv2d(x, weight, bias))
    assert np.array_equal(found, by_torch(x, weight, bias))
    matrix = columns(x, 3)
    assert matrix.shape == (3 * 3 * 2 + 1, 6) and (matrix[-1] == 1).all()


# --- detection, then pooling -----------------------------------------------------------------------------------------

BAR = exact([[-1, 2, -1]] * 3)  # a vertical bar, bright on dark


@pytest.mark.system("S75")
def test_complex_cells_do_not_notice_small_shifts() -> None:
    """katsaros (V1): a bar of 3 pixels is detected at one place, and the response of the pool is constant while that
    place stays in its cell, as `refnn.teaching.equivariance.invariant` says; a bar of another direction is not
    detected."""
    size, cells = 3, 9
    pool = Windows.over((cells, cells), (size, size), stride=size)

    def image(i: int, j: int) -> np.ndarray:
        """A bar whose first pixel is (i, j + 1): detected at (i, j)."""
        return bright(cells + 2, cells + 2, lambda r, c: i <= r < i + 3 and c == j + 1)

    constant = moved = 0
    for i, j in itertools.product(range(cells), range(cells)):
        response = detect_and_pool(image(i, j), BAR, threshold=5, size=size)
        assert response.tolist() == [[int((r, c) == (i // size, j // size)) for c in range(3)] for r in range(3)]
        for by in ((0, 1), (1, 0), (2, 1), (0, 3), (-1, -1)):
            if 0 <= i + by[0] < cells and 0 <= j + by[1] < cells:
                same = np.array_equal(
                    detect_and_pool(image(i + by[0], j + by[1]), BAR, threshold=5, size=size), response
                )
                assert same == invariant(pool, by)[i, j]
                constant, moved = constant + same, moved + (not same)
    assert constant > 50 and moved > 50
    assert not detect_and_pool(image(4, 4).T, BAR, threshold=5, size=size).any()
    # The detectors alone notice every shift.
    one, next_one = (conv2d(m[None], BAR[None, None])[0] for m in (image(3, 3), image(3, 4)))
    assert not np.array_equal(one, next_one) and np.array_equal(shifted(one, (0, 1)), next_one)


# --- challa2023 ------------------------------------------------------------------------------------------------------


@pytest.mark.system("S22")
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4), (1, 6), (4, 1, 2, 3)])
def test_flatten_has_an_index_and_the_index_a_place(shape: tuple[int, ...]) -> None:
    """challa2023 (33): Q j + q, where channels come first, which is refnn.flatten; J q + j where they come last."""
    x = np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape).astype(float)
    first, last = refnn.flatten(x[None])[0], torch.flatten(torch.movedim(torch.tensor(x), 0, -1)).numpy()
    for channels_last, flat in ((False, first), (True, last)):
        places = list(np.ndindex(shape))
        indices = [flat_index(place, shape, channels_last) for place in places]
        assert sorted(indices) == list(range(x.size))
        assert all(flat[n] == x[place] for n, place in zip(indices, places, strict=True))
        assert [place_of(n, shape, channels_last) for n in indices] == places
    if len(shape) == 2:
        channels, count = shape
        assert flat_index((channels - 1, 2), shape) == count * (channels - 1) + 2
        assert flat_index((channels - 1, 2), shape, channels_last=True) == channels * 2 + channels - 1
    g = np.arange(x.size, dtype=float)  # the gradient goes back to the same places
    gx: Any = refnn.flatten.vjp(g[None], x[None])[0]
    assert all(gx[0][place_of(n, shape)] == g[n] for n in range(x.size))


def test_the_weight_gradient_of_challa_32() -> None:
    """challa2023 (32): dFLa_0 fx_1 + dFLa_1 fx_2 + dFLa_2 fx_3, for the tap 1 of a filter of 3 on 5 inputs."""
    ar = Fractions()
    x, g = ar.array(np.array([[[2.0, 3, 5, 7, 11]]])), ar.array(np.array([[[13.0, 17, 19]]]))
    w = ar.array(np.ones((1, 1, 3)))
    gw: Any = refnn.conv1d.vjp_definition(ar, g, None, x, w, None)[1]
    assert gw[0, 0, 1] == 13 * 3 + 17 * 5 + 19 * 7
    # (40) with the limits put right: dL/dfx_q = sum_q' dFLa_q' fw_(q - q')
    w = ar.array(np.array([[[1.0, 10, 100]]]))
    gx: Any = refnn.conv1d.vjp_definition(ar, g, None, x, w, None)[0]
    assert gx[0, 0].tolist() == [13, 147, 1489, 1890, 1900]
