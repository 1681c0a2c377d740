"""Formats against NumPy, ml_dtypes and exact rationals."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st
from orders import cast, fma, to_odd

from refnn.formats import FORMATS, Format, certified_round, dyadic_ends, format_of

EVERY = pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))
SMALL = pytest.mark.parametrize("fmt", [FORMATS["float16"], FORMATS["bfloat16"]], ids=["float16", "bfloat16"])


def all_finite(fmt: Format) -> np.ndarray:
    """Every finite number of a 16-bit format, sorted, as float64."""
    with np.errstate(invalid="ignore"):
        values = np.arange(2**16, dtype=np.uint16).view(fmt.dtype).astype(np.float64)
    return np.unique(values[np.isfinite(values)])


def dyadic(x: Fraction) -> tuple[int, int]:
    """A rational whose denominator is a power of two, as mantissa and exponent."""
    return x.numerator, 1 - x.denominator.bit_length()


@EVERY
def test_limits_are_those_of_the_dtype(fmt: Format) -> None:
    info = ml_dtypes.finfo(fmt.dtype)
    assert fmt.max == float(info.max)
    assert fmt.smallest_normal == float(info.smallest_normal)
    assert fmt.smallest_subnormal == float(info.smallest_subnormal)
    assert 2 * fmt.unit_roundoff == float(info.eps)
    assert fmt.emax == info.maxexp - 1
    assert fmt.emin == info.minexp


@EVERY
def test_rounding_turns_infinite_at_the_threshold(fmt: Format) -> None:
    threshold = fmt.overflow_threshold
    below = threshold - Fraction(1, 2**2000)
    for sign in (1, -1):
        assert fmt.round(*dyadic(sign * threshold)) == sign * math.inf
        assert fmt.round(*dyadic(sign * below)) == sign * fmt.max
    if fmt.name != "float64":
        exact = np.array([float(threshold), math.nextafter(float(threshold), 0)])
        with np.errstate(over="ignore"):
            assert cast(exact, fmt.dtype).astype(np.float64).tolist() == [math.inf, fmt.max]


@SMALL
def test_every_number_tie_and_neighbour_of_a_tie(fmt: Format) -> None:
    """All numbers of the format, all ties between neighbours, and the float64 numbers next to them: against casts."""
    numbers = all_finite(fmt)
    ties = (numbers[1:] + numbers[:-1]) / 2
    points = np.concatenate([numbers, ties, np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf)])
    ours = np.array([fmt.round(*dyadic(Fraction(p))) for p in points.tolist()])
    assert len(points) > 200_000
    assert (ours == cast(points, fmt.dtype).astype(np.float64)).all()
    assert (ours[: len(numbers)] == numbers).all()
    even = ours[len(numbers) : len(numbers) + len(ties)].astype(fmt.dtype).view(np.uint16) & 1
    assert not even.any()


@EVERY
def test_random_rounding_against_casts(fmt: Format) -> None:
    rng = np.random.default_rng(1)
    exponents = rng.integers(fmt.emin - fmt.precision - 3, fmt.emax + 3, 20_000).clip(-1074, 1023)
    points = np.ldexp(rng.uniform(-2, 2, exponents.size), exponents)
    points = points[np.isfinite(points)]
    with np.errstate(over="ignore"):
        expected = cast(points, fmt.dtype).astype(np.float64)
    ours = [fmt.round(*dyadic(Fraction(p))) for p in points.tolist()]
    assert len(ours) > 19_000
    assert ours == expected.tolist()


@EVERY
def test_rounding_keeps_the_sign_of_what_vanishes(fmt: Format) -> None:
    half = Fraction(fmt.smallest_subnormal) / 2
    for sign, (x, kept) in itertools.product((1, -1), ((half, 0.0), (half * 3 / 2, fmt.smallest_subnormal))):
        rounded = fmt.round(*dyadic(sign * x))
        assert (rounded, math.copysign(1.0, rounded)) == (sign * kept, float(sign))
    assert fmt.round(0, 5) == 0


@settings(deadline=None)
@given(st.integers(-(2**200), 2**200), st.integers(-1300, 1100))
def test_float64_rounding_is_that_of_python(mantissa: int, exponent: int) -> None:
    exact = Fraction(mantissa) * Fraction(2) ** exponent
    try:
        expected = float(exact)
    except OverflowError:
        expected = math.copysign(math.inf, mantissa)
    assert FORMATS["float64"].round(mantissa, exponent) == expected


@SMALL
def test_ulp_is_the_distance_to_the_next_number(fmt: Format) -> None:
    numbers = all_finite(fmt)
    numbers = numbers[numbers >= 0]
    assert (fmt.ulp(numbers[:-1]) == np.diff(numbers)).all()
    assert (fmt.ulp(-numbers) == fmt.ulp(numbers)).all()
    assert np.isnan(fmt.ulp([np.nan, np.inf, -np.inf])).all()


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_ulp_is_numpys_spacing(name: str) -> None:
    fmt = FORMATS[name]
    exponents = np.arange(fmt.emin - fmt.precision, fmt.emax)
    x = np.ldexp(np.random.default_rng(2).uniform(1, 2, (3, exponents.size)), exponents).ravel()
    with np.errstate(under="ignore"):
        x = np.concatenate([x.astype(fmt.dtype), np.array([0, fmt.smallest_normal], fmt.dtype)])
    assert (fmt.ulp(x) == np.spacing(x).astype(np.float64)).all()


def test_certified_round_raises_precision_until_it_knows() -> None:
    fmt, seen = FORMATS["float32"], []
    tie = 1 + 2.0**-24

    def near_tie(precision: int) -> arb:
        seen.append(precision)
        return arb(tie) + arb(2) ** -300

    assert certified_round(near_tie, fmt) == 1 + 2.0**-23
    assert seen == [64, 128, 256, 512]
    assert certified_round(lambda _: arb(tie), fmt) == 1.0  # an exact tie needs no more digits


def test_certified_round_asks_for_twice_the_bits_up_to_its_cap() -> None:
    asked: list[int] = []

    def evaluate(precision: int, enough: int) -> arb:
        asked.append(precision)
        return arb(1.5) if precision >= enough else arb(1.5, 1.0)

    assert certified_round(lambda p: evaluate(p, 256), FORMATS["float32"], cap=256) == 1.5 and asked == [64, 128, 256]
    asked.clear()
    with pytest.raises(ArithmeticError, match="undecided at 255 bits"):
        certified_round(lambda p: evaluate(p, 256), FORMATS["float32"], cap=255)
    assert asked == [64, 128]


def test_certified_round_gives_up_at_its_cap_and_knows_exact_zeros() -> None:
    def zero(precision: int) -> arb:
        return arb(2).sqrt() ** 2 - 2

    with pytest.raises(ArithmeticError, match="undecided at 1024 bits"):
        certified_round(lambda _: arb(1 + 2.0**-24) + zero(_), FORMATS["float32"], cap=1024)
    assert certified_round(zero, FORMATS["float32"], exact_zero=True) == 0.0


@EVERY
def test_certified_round_of_functions(fmt: Format) -> None:
    """exp, log and tanh of random numbers: the rounded value is nearer than either neighbour, at 500 bits."""
    rng = np.random.default_rng(3)
    with ctx.workprec(500):
        for name, x in itertools.product(("exp", "log", "tanh"), rng.uniform(0.1, 5, 40).tolist()):
            exact = getattr(arb(x), name)()
            rounded = certified_round(lambda _, x=x, name=name: getattr(arb(x), name)(), fmt)
            assert abs(exact - rounded) < float(fmt.ulp(rounded)) / 2 * (1 + arb(2) ** -100)


def test_round_ball_of_a_ball_across_a_tie_is_none() -> None:
    fmt = FORMATS["float16"]
    assert fmt.round_ball(arb(1, 2.0**-13)) == 1.0
    assert fmt.round_ball(arb(1 + 2.0**-11, 2.0**-20)) is None
    (low, e), (high, f) = dyadic_ends(arb(3, 0.5))
    low, high = Fraction(low) * Fraction(2) ** e, Fraction(high) * Fraction(2) ** f
    assert low <= Fraction(5, 2) < Fraction(7, 2) <= high  # arb widens a given radius to 30 bits
    assert high - low < 1 + Fraction(1, 2**20)


def test_unknown_dtypes_are_named() -> None:
    for wrong in ("int64", "float128", np.dtype("complex64")):
        with pytest.raises(TypeError, match="is not one of float16, bfloat16, float32, float64"):
            format_of(wrong)
    assert format_of(np.float32) is FORMATS["float32"]
    assert format_of(ml_dtypes.bfloat16) is FORMATS["bfloat16"]


# --- the roundings of tests/orders.py --------------------------------------------------------------------------------


def test_a_cast_rounds_float64_to_bfloat16_once() -> None:
    """ml_dtypes before 0.7 rounds it by way of float32, and so twice, which is why `cast` exists."""
    x = np.array([1 + 2.0**-8 + 2.0**-40])
    assert float(x.astype(np.float32).astype(ml_dtypes.bfloat16)[0]) == 1.0
    assert float(cast(x, ml_dtypes.bfloat16)[0]) == 1 + 2.0**-7


@EVERY
def test_fma_rounds_once(fmt: Format) -> None:
    """Random and cancelling operands over wide exponents, subnormal results included, against exact rationals."""
    rng, count = np.random.default_rng(4), 3000
    reach = (fmt.emax - 2) // 2
    first, second = rng.integers(-reach, reach, (2, count))
    second[::5] = np.clip(
        fmt.emin - first[::5] - rng.integers(0, fmt.precision, first[::5].size), fmt.emin, fmt.emax - 1
    )
    a, b = (cast(np.ldexp(rng.uniform(-2, 2, count), e), fmt.dtype) for e in (first, second))
    product = a.astype(np.float64) * b.astype(np.float64)  # exact but for float64
    with np.errstate(over="ignore", under="ignore"):
        near = np.ldexp(-product, rng.integers(-fmt.precision, fmt.precision, count))
        c = cast(
            np.where(rng.random(count) < 0.3, -product, np.where(rng.random(count) < 0.5, near, product)), fmt.dtype
        )
        c = np.where(np.isfinite(c.astype(np.float64)), c, a)
        got = fma(a, b, c)
    assert got.dtype == fmt.dtype
    exact = [Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c, strict=True)]
    assert [float(g) for g in got] == [fmt.round(*dyadic(e)) for e in exact]
    assert sum(0 < abs(e) < fmt.smallest_normal for e in exact) > 10


def test_round_to_odd() -> None:
    s = np.array([1.0, 1.0, 1.0, np.nextafter(1.0, 2), np.inf])
    rest = np.array([0.0, 2.0**-60, -(2.0**-60), 2.0**-60, np.nan])
    assert to_odd(s, rest).tolist() == [1.0, np.nextafter(1.0, 2), np.nextafter(1.0, 0), np.nextafter(1.0, 2), np.inf]
