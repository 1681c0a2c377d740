"""Which data may be taken to round independently: few values, periods, runs and pixels, against real sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.arithmetic.noise import Noise
from refnn.checking.check import false_alarm_line
from refnn.judging.independence import varied

Array = Any
ONE = np.ones((), np.float32)


def tenths(rng: np.random.Generator, n: int) -> Array:
    return np.round(rng.uniform(size=n), 1).astype(np.float32)


def pixels(rng: np.random.Generator, n: int) -> Array:
    return (rng.integers(0, 256, n) / 255).astype(np.float32)


def few(count: int) -> Any:
    return lambda rng, n: rng.uniform(size=count).astype(np.float32)[rng.integers(0, count, n)]


def periodic(period: int) -> Any:
    return lambda rng, n: np.resize(rng.normal(size=period), n).astype(np.float32)


def normal(rng: np.random.Generator, n: int) -> Array:
    return rng.normal(size=n).astype(np.float32)


def runs(rng: np.random.Generator, n: int) -> Array:
    return np.repeat(rng.normal(size=n // 10 + 1), 10)[:n].astype(np.float32)


def rows(rng: np.random.Generator, n: int) -> Array:
    """Three values in each row of a hundred, and many in all."""
    return np.take_along_axis(rng.normal(size=(n // 100, 3)), rng.integers(0, 3, (n // 100, 100)), 1).astype(np.float32)


ALIKE = {
    "tenths": tenths,
    "period 2": periodic(2),
    "period 7": periodic(7),
    "64 values": few(64),
    "runs": runs,
    "rows": rows,
}


@pytest.mark.parametrize("n", [5000, 10_000, 40_000])
@pytest.mark.parametrize("data", ALIKE)
def test_few_values_do_not_round_independently(data: str, n: int) -> None:
    rng = np.random.default_rng(n)
    x = ALIKE[data](rng, n)
    assert not varied(x, np.zeros_like(x), ONE)
    assert not varied(x, ONE)
    assert not varied(None, normal(rng, n), x)  # as a cotangent, which is added alone


@pytest.mark.parametrize("n", [100, 5000, 40_000])
def test_many_values_and_what_is_multiplied_by_them_do(n: int) -> None:
    rng = np.random.default_rng(n)
    x = normal(rng, n)
    for other in (np.zeros_like(x), tenths(rng, n), pixels(rng, n), np.arange(n), None):
        assert varied(x, other, ONE)
        assert varied(x, other, x)
    assert varied(x.astype(np.float64), x.astype(np.float64))
    for dtype in ("float16", "bfloat16"):
        short = x.astype(refnn.formats.FORMATS[dtype].dtype)
        assert varied(short, short, ONE)


def test_products_of_few_values_are_few() -> None:
    rng = np.random.default_rng(0)
    x, w = tenths(rng, 20_000), rng.choice(np.array([0.1, 0.3], np.float32), 20_000)
    assert not varied(x, w, normal(rng, 20_000))
    assert varied(x, normal(rng, 20_000), normal(rng, 20_000))


@pytest.mark.parametrize("n", [400, 10_000, 40_000])
def test_pixels_are_judged_where_their_roundings_average_out(n: int) -> None:
    """Those of their squares do, in most samples; those of their exponentials do not, when so many are added."""
    drawn = [pixels(np.random.default_rng(seed), n) for seed in range(20)]
    assert sum(varied(x, np.zeros_like(x), ONE, functions=False) for x in drawn) > 10
    assert sum(varied(x, ONE) for x in drawn) == (20 if n < 1000 else 0)


def test_whole_numbers_and_ones_are_added_exactly() -> None:
    rng = np.random.default_rng(0)
    assert varied(rng.integers(0, 9, 10_000).astype(np.float32), ONE, functions=False)
    assert not varied(rng.integers(0, 9, 10_000).astype(np.float32), ONE)  # but their exponentials are not


@pytest.mark.parametrize("power", [1, 2])
def test_what_is_taken_for_independent_errs_as_expected(power: int) -> None:
    """Sums from left to right of random sets of values, of all sizes: where they are said to be varied, their errors
    have the deviation that is expected, and none is beyond the line; where they are not, some are."""
    rng, ar, line = np.random.default_rng(power), Noise("float32"), false_alarm_line(1e-7, 1)
    judged, left = [], []
    for n in (300, 1000, 3000, 10_000, 30_000):
        for count in (10, 30, 100, 300, 1000, 3000, 10_000):
            for make in (
                few(count),
                few(count),
                lambda rng, n, k=count: (rng.integers(0, k, n) / k).astype(np.float32),
            ):
                x = make(rng, n)
                terms = x if power == 1 else x * x
                std = ar.sum(ar.array(terms), 0).std()
                error = float(np.add.accumulate(terms)[-1]) - math.fsum(terms.tolist())
                (judged if varied(x, ONE, functions=False) else left).append(abs(error) / std)
    assert len(judged) > 40
    assert len(left) > 25
    assert math.sqrt(np.mean(np.square(judged))) < 1.2
    assert max(judged) < line < max(left)


def _mean_square(a: Array, b: Array, reduction: str = "mean") -> Array:
    """One rounding after the other, from left to right."""
    d = (a - b).ravel()
    return (np.add.accumulate(d * d)[-1] / np.float32(d.size)).astype(np.float32)


@pytest.mark.parametrize("n", [5000, 40_000])
def test_a_right_sum_of_tenths_is_no_suspect_and_a_wrong_one_of_pixels_is(n: int) -> None:
    def suspects(forward: Any, x: Array) -> int:
        given = {"inputs": (x, np.zeros_like(x)), "params": {"reduction": "mean"}}
        report = refnn.check("mse_loss", forward=forward, inputs=given)
        return sum(f.verdict == "suspect" for f in report.findings)

    for seed in range(4):
        rng = np.random.default_rng(seed)
        assert not suspects(_mean_square, tenths(rng, n))
        if n == 40_000:
            x = pixels(rng, n)
            assert not suspects(_mean_square, x)
            assert suspects(lambda a, b, reduction: _mean_square(a, b) * np.float32(1 + 2.0**-12), x)
