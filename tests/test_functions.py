"""The table of elementary functions: its notations are one function each, its slopes are those of the function and the
largest where it says, and what is computed lies within the balls."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import sympy
from flint import arb, ctx

from refnn.arithmetic.balls import Ball, Balls
from refnn.arithmetic.exact import Arb
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.functions import FUNCTIONS
from refnn.arithmetic.noise import Noise
from refnn.arithmetic.rounded import Rounded
from refnn.arithmetic.symbols import Symbols


def inside(name: str, count: int = 200) -> np.ndarray:
    """Arguments within the domain of a function, some of them near its ends."""
    f, rng = FUNCTIONS[name], np.random.default_rng(5)
    if math.isfinite(f.end):
        x = rng.uniform(f.start, f.end, count)
        return np.concatenate([x, f.end - rng.uniform(0, 1, 20) * 1e-3, f.start + rng.uniform(0, 1, 20) * 1e-3])
    x = np.concatenate([rng.normal(size=count), rng.normal(size=20) * 1e-4, rng.normal(size=20) * 8])
    return x if math.isinf(f.start) else f.start + np.abs(x)


def balls_of(name: str, x: np.ndarray) -> list[arb]:
    return [FUNCTIONS[name].arb(arb(float(v))) for v in x]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_notation_is_the_same_function(name: str) -> None:
    """NumPy's, FLINT's and SymPy's; and a method of each arithmetic."""
    x = inside(name, 30)
    with ctx.workprec(200):
        wanted = balls_of(name, x)
        got, exact = getattr(Floats(), name)(x), getattr(Arb(200), name)(np.array([arb(float(v)) for v in x]))
        rounded = getattr(Rounded("float32"), name)(Rounded("float32").array(x.astype(np.float32)))
        symbols = getattr(Symbols(), name)(Symbols().array(x[:3]))
        for v, y, e, t in zip(x, got, exact, wanted, strict=True):
            assert abs(t - float(y)) <= abs(t) * 2.0**-50 and t.overlaps(e), v
        for y, t in zip(rounded, balls_of(name, x.astype(np.float32)), strict=True):
            assert np.float32(float(t)) == float(y)
        for y, t in zip(symbols, wanted, strict=False):
            assert abs(t - arb(str(sympy.N(y, 50)))) <= abs(t) * 2.0**-150 + 2.0**-150


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_are_those_of_sympy_and_steepest_where_it_says(name: str) -> None:
    f, t = FUNCTIONS[name], sympy.Symbol("t", real=True)
    derivative = sympy.lambdify(t, sympy.diff(f.sympy(sympy, t), t), "mpmath")
    x = inside(name)
    with mpmath.workdps(60):
        wanted = np.array([abs(float(derivative(mpmath.mpf(float(v))))) for v in x])
    found = f.slope(x)
    assert (np.abs(found - wanted) <= wanted * 2.0**-40).all()
    rad = np.minimum(0.1, np.minimum(x - f.start, f.end - x) / 2)
    with np.errstate(invalid="ignore"):
        most = f.slope(f.steepest(x - rad, x + rad))
    for share in np.linspace(-1, 1, 41):
        assert (f.slope(x + share * rad) <= most * (1 + 2.0**-40)).all()
    if name in ("sin", "cos"):
        assert (f.slope(f.steepest(x - rad, x + rad)) <= 1).all()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("model", ["float32@correctly-rounded", "float64"])
def test_what_is_computed_within_a_radius_lies_within_the_ball(name: str, model: str) -> None:
    """And the ball is not much wider than what lies within it."""
    ar, f, x = Balls(model), FUNCTIONS[name], inside(name)
    for size in (1e-12, 1e-6, 1e-2):
        rad = np.minimum(size, np.minimum(x - f.start, f.end - x) / 4)
        ball = getattr(ar, name)(Ball(ar, x, rad))
        known, wide = np.isfinite(ball.rad), 0
        assert known.mean() > 0.9
        with ctx.workprec(200):
            for v, r, y, own, ok in zip(x, rad, ball.mid, np.broadcast_to(ball.rad, x.shape), known, strict=True):
                ends = [f.arb(arb(float(v)) + s * arb(float(r))) for s in (-1, 1)]
                reach = max(float(abs(e - float(y)).upper()) for e in ends)
                assert not ok or reach <= own, (v, r)
                reach = max(reach, r) if name in ("sin", "cos") else reach  # whose slope is taken for 1 anywhere
                wide += ok and own > 4 * reach + 8 * ar.model.compute.unit_roundoff * abs(float(y)) * ar._ulps[name]
        assert wide < 0.1 * x.size


@pytest.mark.parametrize(
    ("name", "at", "size"),
    [
        ("asin", 1 - 2.0**-50, 2.0**-56),
        ("acos", -1 + 2.0**-50, 2.0**-56),
        ("atanh", 1 - 2.0**-50, 2.0**-56),
        ("acosh", 1 + 2.0**-49, 2.0**-55),
        ("tan", 1e15 + 0.5, 2.0**-6),
    ],
)
def test_a_radius_below_an_ulp_is_as_steep_as_its_end(name: str, at: float, size: float) -> None:
    """What is computed of an argument at a distance of twice the radius, for an exact one at a distance of one."""
    ball = getattr(Balls("float64"), name)(Ball(Balls("float64"), np.array([at]), np.array([size])))
    with ctx.workprec(300):
        for s in (-1, 1):
            far, near = (FUNCTIONS[name].arb(arb(at) + s * k * arb(size)) for k in (2, 1))
            assert abs(far - near).upper() <= float(ball.rad[0])


def test_the_limit_of_an_inverse_tangent_is_rounded() -> None:
    for name in ("float32", "float64"):
        ball = Balls(name).atan(Balls(name).array(np.array([np.inf, -np.inf])))
        for y, rad, sign in zip(ball.mid, ball.rad, (1, -1), strict=True):
            half_pi = np.asarray(sign * math.pi / 2).astype(name)
            assert 0 < abs(float(half_pi) - float(y)) + 2.0**-53 <= rad < 2.0**-18


@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if f.monotone])
def test_a_radius_of_float64_stays_a_small_part_of_one_of_float32(name: str) -> None:
    """Radii that are 2**-26 times as large give such a part of a radius, also where that is bounded by the ends."""
    f, rng = FUNCTIONS[name], np.random.default_rng(0)
    start, end = max(f.start, -80.0), min(f.end, 80.0)  # in the range of float32
    mid = rng.uniform(start, end, 2000)
    rad = np.minimum(mid - start, end - mid) * rng.choice([2.0**-20, 0.01, 0.3, 0.499], 2000)
    coarse = Balls("float32").function(name, Ball(Balls("float32"), mid, rad))
    fine = Balls("float64").function(name, Ball(Balls("float64"), mid, rad * 2.0**-26))
    known = np.isfinite(coarse.rad)
    assert known.any() and (fine.rad <= 2.0**-26 * coarse.rad)[known].all()


def test_so_it_does_beside_a_least_argument() -> None:
    mid, rad = np.repeat([1e-4, 1.0, 1e17], 3), np.outer([1e-4, 1.0, 1e17], [1e-3, 0.5, 1e3]).ravel()
    found = []
    for model, part in (("float32", 1.0), ("float64", 2.0**-26)):
        ar = Balls(model)
        found.append(ar.rsqrt(Ball(ar, mid, rad * part), ar.real(1e-5)))
    assert (found[1].rad <= 2.0**-26 * found[0].rad).all() and (found[0].rad <= 1e4).any()


@pytest.mark.parametrize("model", ["float32", "float64"])
def test_what_overflowed_is_known_where_the_function_stays_as_it_is(model: str) -> None:
    """A square that is infinite in the format, but not in exact numbers, has an inverse root above zero, which may be
    multiplied by what is large; an infinity that is given has one of zero."""
    ar = Balls(model)
    over = ar.array(np.array([1.0, -1.0]) * np.finfo(model).max) * ar.array(np.array([2.0**20]))
    assert np.asarray(over.over).all()
    assert np.isinf(ar.rsqrt(over).rad).all()
    assert (ar.rsqrt(ar.array(np.array([np.inf]))).rad == 0).all()
    angle = ar.atan(over)
    with ctx.workprec(3000):
        for mid, rad, exact in zip(angle.mid, angle.rad, (arb(2) ** 1100, -(arb(2) ** 140)), strict=True):
            assert abs(exact.atan() - arb(float(mid))).upper() <= float(rad) < 2.0**-18


@pytest.mark.parametrize("name", FUNCTIONS)
def test_outside_of_the_domain_and_at_its_ends(name: str) -> None:
    """What IEEE 754 gives where the argument is exact; unknown where an inexact one may leave."""
    f = FUNCTIONS[name]
    ends = [v for v in (f.start, f.end) if math.isfinite(v)]
    odd = [v + s for v in ends for s in (-0.5, 0.0, 0.5) if not f.start < v + s < f.end]
    for model in ("float32", "float64"):
        ar = Balls(model)
        given = np.array([*odd, np.nan, np.inf, -np.inf])
        with np.errstate(all="ignore"):
            wanted = f(given)
        ball = getattr(ar, name)(ar.array(given))
        same = (ball.mid == wanted) | (np.isnan(ball.mid) & np.isnan(wanted))
        unbounded = ~np.isfinite(wanted)
        assert same[unbounded].all() and (np.broadcast_to(ball.rad, given.shape)[unbounded] == 0).all()
        if ends:
            near = getattr(ar, name)(Ball(ar, np.array(ends), np.full(len(ends), 1e-3)))
            assert np.isinf(near.rad).all() and ar.unknown
    rounded = Rounded("float32")
    numbers = [float(v) for v in getattr(rounded, name)(rounded.array(given))]
    np.testing.assert_array_equal(np.array(numbers)[unbounded], wanted[unbounded])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_where_a_function_is_exact_nothing_is_rounded(name: str) -> None:
    f = FUNCTIONS[name]
    at = np.array([0.75 if f.exact is None else f.exact, 0.8125 if name != "acosh" else 1.25])
    ball = getattr(Balls("float32"), name)(Balls("float32").array(at))
    noisy = getattr(Noise("float32"), name)(Noise("float32").array(at))
    assert (np.broadcast_to(ball.rad, at.shape) > 0).tolist() == [f.exact is None, True]
    assert (noisy.std() > 0).tolist() == [f.exact is None, True]
    if f.odd:
        assert math.copysign(1, f(np.float64(-0.0))) == -1
        assert (
            math.copysign(1, float(getattr(Rounded("float32"), name)(Rounded("float32").array(np.array(-0.0))))) == -1
        )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_noise_is_multiplied_by_the_slope(name: str) -> None:
    x = inside(name)
    ar = Noise("float64")
    once = ar.array(x / 3) * ar.array(np.full(x.shape, 3.0))  # rounded once
    found, u, at = getattr(ar, name)(once), 2.0**-53, once.mid
    with np.errstate(all="ignore"):
        slope, value = FUNCTIONS[name].slope(at), np.abs(FUNCTIONS[name](at))
        wanted = np.hypot(slope * np.abs(at) * u, value * u) / math.sqrt(3)
    known = np.isfinite(value)
    assert known.mean() > 0.5
    # the same numbers, but for some ten roundings in float64; the second sum is for those below the normal range
    assert (np.abs(found.std() - wanted)[known] <= (wanted * 2.0**-48 + 2.0**-1022)[known]).all()
