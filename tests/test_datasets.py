"""The data: what is in the files, and what is made of it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from refnn.conformance import data
from refnn.formats import FORMATS
from refnn.networks import datasets


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_samples_are_as_promised(name: str) -> None:
    """As many targets as samples, each in one part; float64 that float16 holds, too, or classes."""
    found = datasets.load(name)
    assert len(found.x) == len(found.target) == len(found.training) + len(found.held_back)
    assert sorted([*found.training, *found.held_back]) == list(range(len(found.x)))
    assert len(found.held_back) == len(found.x) // 5
    for array in (found.x, found.target):
        assert array.dtype in (np.float64, np.int64)
        if array.dtype == np.float64:
            assert np.array_equal(array, array.astype(FORMATS["float16"].dtype))


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"data is 'digit', expected one of .*, did you mean 'digits'"):
        datasets.load("digit")


def test_the_digits_are_the_1797() -> None:
    digits = datasets.digits()
    assert digits.x.shape == (1797, 64)
    assert digits.x.min() == 0 and digits.x.max() == 1
    assert np.bincount(digits.target).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    images, odd, segments = datasets.digit_images(), datasets.odd_digits(), datasets.digit_segments()
    assert np.array_equal(images.x.reshape(1797, 64), digits.x) and np.array_equal(images.target, digits.target)
    assert odd.target.shape == (1797, 1) and odd.target.sum() == sum([182, 183, 182, 179, 180])
    pixel = tuple(np.argwhere(images.x[1796, 0] == 0.5)[0])
    assert digits.target[1796] == 8 and segments.target[1796][pixel] == 9
    assert (segments.target[images.x[:, 0] < 0.5] == 0).all() and segments.target[images.x[:, 0] >= 0.5].min() == 1


def test_digits_are_enlarged_bilinearly() -> None:
    """Each pixel from the four around its place, written out."""
    small, large = datasets.digit_images().x[7, 0], datasets.enlarged_digits().x[7, 0]
    assert large.shape == (28, 28)
    for i, j in np.ndindex(28, 28):
        (r, down), (c, right) = (divmod(Fraction(1, 8) + Fraction(k, 4), 1) for k in (i, j))
        weights = {(0, 0): (1 - down) * (1 - right), (0, 1): (1 - down) * right, (1, 0): down * (1 - right)}
        weights[1, 1] = down * right
        assert large[i, j] == sum(w * Fraction(small[r + a, c + b]) for (a, b), w in weights.items())


def test_mosaics_are_blurred_by_the_mean_of_four() -> None:
    mosaics, images = datasets.blurred_mosaics(), datasets.digit_images().x
    assert len(mosaics.x) == 1797 // 25
    for i, j in [(0, 0), (7, 8), (20, 20), (11, 3)]:
        row, column = i + 6, j + 6
        assert mosaics.target[3, 0, i, j] == images[75 + row // 8 * 5 + column // 8, 0, row % 8, column % 8]
    for i, j in [(6, 6), (10, 20), (25, 24)]:
        four = mosaics.target[3, 0, i - 6 : i - 4, j - 6 : j - 4]
        assert (mosaics.x[3, 0, i : i + 2, j : j + 2] == four.mean()).all() == (i % 2 == j % 2 == 0)


def test_the_sequence_is_that_of_mauna_loa() -> None:
    """The first and the last weeks, as published; windows of means of four weeks, in 6.4 ppm."""
    from safetensors.numpy import load_file

    tenths = load_file(data("data", "co2.safetensors"))["tenths"]
    assert tenths.shape == (2284,) and (tenths == 0).sum() == 59
    assert tenths[:4].tolist() == [3161, 3173, 3176, 3175] and tenths[-3:].tolist() == [3712, 3713, 3715]
    co2 = datasets.carbon_dioxide()
    assert co2.x.shape == (540, 1, 26) and (co2.x[:, 0, 25] == 0).all()
    whole = tenths[300 * 4 : 332 * 4].reshape(32, 4).astype(float)  # no week is missing there
    assert (whole > 0).all()
    means = whole.mean(1) / 10
    assert np.array_equal(co2.x[300, 0], np.round((means[:26] - means[25]) * 40) / 256)
    assert co2.target[300, 0] == np.round((means[31] - means[25]) * 40) / 256
    assert co2.training.max() < co2.held_back.min()  # what is held back is later
