"""The worked examples of the sources, in exact rationals."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

import refnn
from refnn.arithmetic.exact import Fractions

# katsaros, examples 3 and 4 of the convolution: the input read from the frames, and the kernel.
IMAGE = [[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]]
KERNEL = [[0, 1, 2], [2, 2, 0], [0, 1, 2]]


def exactly(op: str, *arrays: Any, **params: Any) -> Any:
    """The output in Fractions, one map of it as nested lists."""
    ar = Fractions()
    y = refnn.ops[op].forward(ar, *(ar.array(np.asarray(a, float)) for a in arrays), **params)
    assert all(isinstance(v, Fraction) for v in y.ravel())
    return y[0, 0].tolist()


def test_example_3_valid_with_stride_1() -> None:
    assert exactly("conv2d", [[IMAGE]], [[KERNEL]]) == [[12, 12, 17], [10, 17, 19], [9, 6, 14]]


def test_example_3_is_no_true_convolution() -> None:
    turned = np.flip(KERNEL).tolist()
    assert exactly("conv2d", [[IMAGE]], [[turned]]) == [[18, 20, 19], [10, 9, 17], [11, 8, 14]]


def test_example_4_padded_with_stride_2() -> None:
    assert exactly("conv2d", [[IMAGE]], [[KERNEL]], padding=1, stride=2) == [[6, 17, 3], [8, 17, 13], [6, 4, 4]]


# The curve detector: a 7x7 filter with six cells of 30. The first field is missing in the source; this one gives its
# sum, (50 * 30) * 4 + 20 * 30, with the sixth 30 on a zero. The second misses all six.
CURVE = {(0, 5): 30, (1, 4): 30, (2, 3): 30, (3, 3): 30, (4, 3): 30, (5, 3): 30}
FIELD = {(1, 4): 50, (3, 3): 50, (4, 3): 50, (5, 3): 50, (2, 3): 20}


def picture(cells: dict[tuple[int, int], int]) -> list[list[int]]:
    return [[cells.get((i, j), 0) for j in range(7)] for i in range(7)]


def test_the_curve_detector_gives_6600_and_0() -> None:
    assert exactly("conv2d", [[picture(FIELD)]], [[picture(CURVE)]]) == [[6600]]
    elsewhere = {(i, j): 40 for i in range(7) for j in range(7) if (i, j) not in CURVE}
    assert exactly("conv2d", [[picture(elsewhere)]], [[picture(CURVE)]]) == [[0]]


def test_half_and_full_padding_give_the_sizes_of_the_lecture() -> None:
    """katsaros: L with half padding stays L; with full padding it becomes L + F - 1."""
    image, kernel = [[[[1] * 7] * 7]], [[[[1] * 5] * 5]]
    sizes = {p: np.shape(exactly("conv2d", image, kernel, padding=p)) for p in ("same", "full", "valid")}
    assert sizes == {"same": (7, 7), "full": (11, 11), "valid": (3, 3)}
    sums = exactly("conv2d", [[[[1] * 4] * 4]], [[[[1] * 3] * 3]], padding=1)
    assert sums == [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]


def test_sobel_filters_see_their_own_edges() -> None:
    vertical, horizontal = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]
    left_dark, top_dark = [[0, 1, 1]] * 3, [[0] * 3, [1] * 3, [1] * 3]
    seen = [
        [exactly("conv2d", [[edge]], [[f]])[0][0] for f in (vertical, horizontal)] for edge in (left_dark, top_dark)
    ]
    assert seen == [[4, 0], [0, -4]]


def test_the_weight_gradient_of_challa_32() -> None:
    """challa2023 (32): dFLa_0 fx_1 + dFLa_1 fx_2 + dFLa_2 fx_3, for the tap 1 of a filter of 3 on 5 inputs."""
    ar = Fractions()
    x, g = ar.array(np.array([[[2.0, 3, 5, 7, 11]]])), ar.array(np.array([[[13.0, 17, 19]]]))
    w = ar.array(np.ones((1, 1, 3)))
    gx, gw, _ = refnn.conv1d.vjp_definition(ar, g, None, x, w, None)
    assert gw[0, 0, 1] == 13 * 3 + 17 * 5 + 19 * 7
    # (40) with the limits put right: dL/dfx_q = sum_q' dFLa_q' fw_(q - q')
    w = ar.array(np.array([[[1.0, 10, 100]]]))
    gx, _, _ = refnn.conv1d.vjp_definition(ar, g, None, x, w, None)
    assert gx[0, 0].tolist() == [13, 147, 1489, 1890, 1900]
