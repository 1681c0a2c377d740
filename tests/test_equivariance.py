"""Shifts: the domains that follow from where windows lie, against trial on random whole numbers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.arithmetic.windows import Windows
from refnn.teaching.equivariance import commutes, equivariant, invariant, shifted

LAYERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stride": {"stride": 2},
    "half": {"padding": "same"},
    "full": {"padding": "full"},
    "all": {"stride": 3, "padding": ((2, 1),), "dilation": 2},
}
BY = range(-5, 6)


def whole(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-(10**6), 10**6, shape).astype(float)  # sums of a few products are exact


@pytest.mark.system("S63")
@pytest.mark.parametrize("name", LAYERS)
def test_a_convolution_moves_with_its_input_where_its_windows_see_the_same(name: str) -> None:
    """katsaros (equivariance). Random content moves in, so that what is equal by trial is equal for every input; and
    where the shift is no multiple of the stride, no shift of the output is right anywhere."""
    rng, found = np.random.default_rng(0), 0
    for length, taps in ((11, 3), (8, 2), (9, 1)):
        w = Windows.over((length,), (taps,), **LAYERS[name])
        kernel = whole(rng, 2, 1, taps)

        def f(x: np.ndarray, kernel: np.ndarray = kernel) -> np.ndarray:
            return refnn.conv1d(x, kernel, **LAYERS[name])

        for by in BY:
            x, fill = whole(rng, 1, length), whole(rng, 1, length)
            if by % w.stride[0] == 0:
                expected = equivariant(w, (by,))
                assert np.array_equal(commutes(f, x, (by,), (by // w.stride[0],), fill=fill), expected)
                found += expected.sum() if by else 0
                continue
            assert not equivariant(w, (by,)).any()
            for steps in (by // w.stride[0], by // w.stride[0] + 1):
                same = commutes(f, x, (by,), (steps,), fill=fill)
                read = w.inside.any(0)  # windows of nothing but padding are 0 wherever they are
                assert not (same & read & shifted(read, (steps,), fill=False)).any()
    assert found


@pytest.mark.system("S63")
def test_the_domain_of_an_image_is_that_of_its_axes_together() -> None:
    rng = np.random.default_rng(1)
    w = Windows.over((7, 8), (3, 2), stride=(1, 2), padding=((1, 1), (0, 1)))
    kernel = whole(rng, 2, 3, 3, 2)
    sizes = []
    for by in itertools.product((-2, -1, 0, 1, 3), (-4, 0, 2)):
        x, fill = whole(rng, 3, 7, 8), whole(rng, 3, 7, 8)
        same = commutes(
            lambda x: refnn.conv2d(x, kernel, stride=(1, 2), padding=((1, 1), (0, 1))),
            x,
            by,
            (by[0], by[1] // 2),
            fill=fill,
        )
        expected = equivariant(w, by)
        sizes.append(int(expected.sum()))
        assert np.array_equal(same, expected), by
    assert len(set(sizes)) > 5 and max(sizes) == w.count[0] * w.count[1]
    assert equivariant(w, (1, 2)).any() and not equivariant(w, (1, 1)).any()  # a stride of 2 along one axis


@pytest.mark.system("S63")
def test_a_maximum_moves_with_its_input_and_more_so_by_chance() -> None:
    """What holds for every input is what holds in all of many trials."""
    rng = np.random.default_rng(2)
    w = Windows.over((10,), (3,), stride=2, padding=1)
    for by in (-4, -2, 2, 4):
        same = [
            commutes(
                lambda x: refnn.max_pool1d(x, kernel_size=3, stride=2, padding=1),
                whole(rng, 1, 10),
                (by,),
                (by // 2,),
                fill=whole(rng, 1, 10),
            )
            for _ in range(40)
        ]
        assert np.array_equal(np.all(same, axis=0), equivariant(w, (by,)))
        assert np.any(same, axis=0).sum() > equivariant(w, (by,)).sum()


@pytest.mark.system("S63")
def test_a_zero_border_is_seen_and_a_circular_one_is_not() -> None:
    """katsaros (equivariance): an impulse in the corner gives 4 in all under half padding, 9 one step further in. Where
    the border is that of the other side, and what leaves comes in there, every place moves along."""
    ones, impulse = np.ones((1, 1, 3, 3)), np.zeros((1, 6, 6))
    impulse[0, 0, 0] = 1
    sums = [refnn.conv2d(shifted(impulse, (n, n)), ones, padding="same").sum() for n in (0, 1)]
    assert sums == [4, 9]
    rng = np.random.default_rng(3)
    x, kernel = whole(rng, 1, 9), whole(rng, 1, 1, 3)
    circular = lambda x: refnn.conv1d(np.pad(x, ((0, 0), (1, 1)), mode="wrap"), kernel)  # noqa: E731
    assert all(np.array_equal(circular(np.roll(x, n, -1)), np.roll(circular(x), n, -1)) for n in range(9))
    half = lambda x: refnn.conv1d(x, kernel, padding=1)  # noqa: E731
    assert not np.array_equal(half(np.roll(x, 1, -1)), np.roll(half(x), 1, -1))


@pytest.mark.system("S63")
def test_a_pool_does_not_notice_what_stays_under_its_windows() -> None:
    """katsaros (pooling): an impulse may move inside a pooling cell and no further. Every geometry, every cell."""
    noticed = 0
    for k, s, p, d in ((2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 1), (2, 3, 0, 1), (2, 2, 1, 2)):
        w = Windows.over((9,), (k,), stride=s, padding=p, dilation=d)
        pool = lambda x, k=k, s=s, p=p, d=d: refnn.max_pool1d(x, kernel_size=k, stride=s, padding=p, dilation=d)  # noqa: E731
        for by in range(-3, 4):
            expected = invariant(w, (by,))
            for u in range(9):
                if not 0 <= u + by < 9:
                    assert not expected[u]
                    continue
                impulse = np.zeros((1, 9))
                impulse[0, u] = 1
                same = commutes(pool, impulse, (by,), (0,)).all()
                assert same == expected[u], (k, s, p, d, by, u)
                noticed += not same
    assert noticed > 50
    pairs = invariant(Windows.over((8,), (2,), stride=2), (1,))
    assert pairs.tolist() == [True, False] * 4  # from an even column to the next one
    assert not invariant(Windows.over((8,), (2,), stride=2), (2,)).any()
    images = invariant(Windows.over((4, 6), (2, 2), stride=2), (0, 1))
    assert images.tolist() == [[True, False] * 3] * 4


def test_shifting_moves_content_and_fills_what_it_leaves() -> None:
    x = np.arange(1, 7).reshape(2, 3)
    assert shifted(x, (0, 1)).tolist() == [[0, 1, 2], [0, 4, 5]]
    assert shifted(x, (-1, 0), fill=9).tolist() == [[4, 5, 6], [9, 9, 9]]
    assert shifted(x, (1, -2), fill=-x).tolist() == [[-1, -2, -3], [3, -5, -6]]
    assert shifted(x, (5, 0)).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert shifted(x, (2,)).tolist() == [[0, 0, 1], [0, 0, 4]]
    assert x.tolist() == [[1, 2, 3], [4, 5, 6]]
