"""Real data: the inputs of networks, and their targets.

The digits are the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, UCI Machine
Learning Repository, doi 10.24432/C50P49, CC BY 4.0), as scikit-learn ships them: 1,797 images of 8x8 pixels from 0 to
16. The sequence is the weekly record of carbon dioxide at Mauna Loa (C. D. Keeling, T. P. Whorf, 2004, CDIAC; public
domain), in ppm, as statsmodels ships it. The heights and weights are those of 15 women in the World Almanac of 1975.
`conformance/data/README.md` says more.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from refnn.conformance import data
from refnn.networks import train
from refnn.refusals import check_choice

SEED = 20261121  # of every split and of every order


@dataclass(frozen=True, eq=False)
class Data:
    """Samples along axis 0: `x` as float64, exactly representable in float16 and wider formats, and its `target`.
    `training` holds the indices to learn from, `held_back` those of the fifth to evaluate on."""

    x: np.ndarray
    target: np.ndarray
    training: np.ndarray
    held_back: np.ndarray


def _shuffled(x: np.ndarray, target: np.ndarray) -> Data:
    return Data(x, target, *train.split(len(x), SEED))


def _stored(file: str, *names: str) -> list[np.ndarray]:
    from safetensors.numpy import load_file

    tensors = load_file(data("data", file))
    return [tensors[name] for name in names]


# --- digits ----------------------------------------------------------------------------------------------------------


@cache
def _images() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 8, 8) from 0 to 1 and labels (1797,)."""
    images, labels = _stored("digits.safetensors", "images", "labels")
    return images / 16.0, labels.astype(np.int64)


def digits() -> Data:
    """The pixels of a digit in a row, (64,); its class."""
    images, labels = _images()
    return _shuffled(images.reshape(-1, 64), labels)


def digit_images() -> Data:
    """A digit as an image of one channel, (1, 8, 8); its class."""
    images, labels = _images()
    return _shuffled(images[:, None], labels)


def odd_digits() -> Data:
    """The pixels of a digit, (64,); 1 where it is odd and 0 where it is even, (1,)."""
    images, labels = _images()
    return _shuffled(images.reshape(-1, 64), (labels[:, None] % 2).astype(np.float64))


def enlarged_digits() -> Data:
    """A digit as an image of (1, 28, 28); its class.

    Bilinear interpolation at the points 1/8 + i/4 of the 8x8 grid, i from 0 to 27: its weights are eighths, so that
    each pixel is a multiple of 2^-10.
    """
    images, labels = _images()
    place = np.arange(28) / 4 + 0.125
    cell = place.astype(int)
    after = np.zeros((28, 8))
    after[np.arange(28), cell], after[np.arange(28), cell + 1] = 1 - (place - cell), place - cell
    return _shuffled((after @ images @ after.T)[:, None], labels)


def digit_segments() -> Data:
    """A digit as an image of (1, 8, 8); for every pixel (8, 8) the class: 0 where there is little ink (less than half
    of the range), and 1 + the digit elsewhere."""
    images, labels = _images()
    return _shuffled(images[:, None], np.where(images < 0.5, 0, 1 + labels[:, None, None]))


def blurred_mosaics() -> Data:
    """A mosaic of digits of which every 2x2 pixels have been averaged, (1, 33, 33); the middle of the mosaic itself,
    (1, 21, 21), which is what a valid 9-1-5 network sees of it (cnnmath, super-resolution)."""
    images, _ = _images()
    count = len(images) // 25
    tiles = images[: 25 * count].reshape(count, 5, 5, 8, 8).transpose(0, 1, 3, 2, 4).reshape(count, 40, 40)
    means = tiles.reshape(count, 20, 2, 20, 2).mean((2, 4))
    blurred = means.repeat(2, 1).repeat(2, 2)
    return _shuffled(blurred[:, None, :33, :33], tiles[:, None, 6:27, 6:27])


# --- numbers ---------------------------------------------------------------------------------------------------------


def women() -> Data:
    """The height of American women, from 65 inches on in units of 4, (1,); their weight in pounds, (1,) (you2022)."""
    height, weight = women_by_height()
    centre, scale = scaling(height)
    return _shuffled((height[:, None] - centre) / scale, weight[:, None])


def women_by_height() -> tuple[np.ndarray, np.ndarray]:
    """Heights in inches and weights in pounds of American women from 30 to 39, as float64: both (15,)."""
    with data("data", "women.csv").open(newline="", encoding="utf-8") as file:
        rows = [(float(row["height"]), float(row["weight"])) for row in csv.DictReader(file)]
    height, weight = np.array(rows).T
    return height, weight


def scaling(x: np.ndarray) -> tuple[int, int]:
    """An integer near the mean and a power of two near the standard deviation: with them (x - centre) / scale is not
    rounded where x holds integers, and gradient descent has an easy quadratic. ValueError where x is constant."""
    if np.ptp(x) == 0:
        raise ValueError(f"x is {x[0]} throughout, expected two different numbers")
    return round(float(np.mean(x))), 2 ** round(math.log2(float(np.std(x))))


# --- sequences -------------------------------------------------------------------------------------------------------


def carbon_dioxide() -> Data:
    """Carbon dioxide above what it is now, in units of 6.4 ppm: the means of four weeks over the past two years, as a
    sequence of one channel, (1, 26), of which the last is 0; and the one half a year ahead, (1,).

    Missing weeks are interpolated. The fifth that is held back is the last in time.
    """
    (tenths,) = _stored("co2.safetensors", "tenths")
    weeks = np.arange(len(tenths))
    filled = np.interp(weeks, weeks[tenths > 0], tenths[tenths > 0]).round()
    months = filled[: len(tenths) // 4 * 4].reshape(-1, 4).sum(1)  # in 1/40 ppm
    windows = np.lib.stride_tricks.sliding_window_view(months, 26 + 6)
    above = (windows - windows[:, 25:26]) / 256
    first = len(above) - len(above) // 5
    return Data(above[:, None, :26], above[:, 31:], np.arange(first), np.arange(first, len(above)))


DATASETS: Mapping[str, Callable[[], Data]] = MappingProxyType(
    {f.__name__: f for f in (
        digits, digit_images, odd_digits, enlarged_digits, digit_segments, blurred_mosaics, women, carbon_dioxide,
    )}
)  # fmt: skip


def load(name: str) -> Data:
    """The data of that name. ValueError names the nearest name of an unknown one."""
    check_choice("datasets", "data", name, tuple(DATASETS))
    return DATASETS[name]()
