"""Elementary functions in pairs: Arb's value of the same argument lies inside every radius, the radius is small where
the argument is exact, and what is not known is infinite."""

from __future__ import annotations

import math
from collections.abc import Callable

import flint
import numpy as np
import pytest

from refnn.arithmetic import CONSTANTS, Unsupported, elementary
from refnn.arithmetic.doubled import two_sum
from refnn.arithmetic.pairs import Pair, Pairs

# More bits than there are between exp(-745) and 1.
BITS = 1400
FUNCTIONS: dict[str, Callable[[flint.arb], flint.arb]] = {
    "exp": lambda t: t.exp(),
    "expm1": lambda t: t.expm1(),
    "log": lambda t: t.log(),
    "log1p": lambda t: t.log1p(),
    "tanh": lambda t: t.tanh(),
    "sqrt": lambda t: t.sqrt(),
    "rsqrt": lambda t: t.rsqrt(),
    "erf": lambda t: t.erf(),
    "erfc": lambda t: t.erfc(),
}
DOMAIN = {"log": 0.0, "log1p": -1.0, "sqrt": 0.0, "rsqrt": 0.0}  # where it begins


def points(name: str) -> np.ndarray:
    """Arguments of all sizes, many of them next to the borders of the tables' cells and to what is left out."""
    rng = np.random.default_rng(20261130)
    steps = (rng.integers(-20000, 20000, size=300) + 0.5) * (math.log(2) / 4096)
    cells = (rng.integers(8000, 24000, size=300) + 0.5) / 2**14
    some = [
        *(rng.normal(size=200) * 10.0**e for e in (-300, -20, -9, -5, -4, -3, -2, -1, 0, 1, 2)),
        *(
            v * (1 + rng.integers(-3, 4, size=300) * 2.0**-52)
            for v in (steps, cells, 1 - cells, cells / 2, cells * 2**40)
        ),
        1 + rng.normal(size=200) * 10.0 ** rng.integers(-15, -3, size=200),
        np.array(
            [0.0, -0.0, 1.0, 0.5, 2.0, 5e-324, -5e-324, 1e-310, 2.0**-13, 2.0**-15, 709.7, -745.2, -800.0, 1 - 2.0**-53]
        ),
    ]
    every = np.concatenate(some)
    begin = DOMAIN.get(name)
    return every if begin is None else np.abs(every)[np.abs(every) > 0] if begin == 0 else every[every > begin]


def value_of(
    name: str, hi: np.ndarray, lo: np.ndarray | float = 0.0, rad: np.ndarray | float = 0.0
) -> tuple[np.ndarray, ...]:
    with np.errstate(all="ignore"):
        found = getattr(elementary, name)(hi, lo, rad)
    y, low, own = np.broadcast_arrays(*found)
    assert not np.isnan(own).any() and (own >= 0).all()
    assert (y + low == y)[np.isfinite(own)].all(), "not normalised"
    return y, low, own


def errors(name: str, x: np.ndarray, lo: np.ndarray, value: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Upper bounds of the errors of what is known, and the sizes of the results."""
    error, size = np.zeros(x.shape), np.zeros(x.shape)
    with flint.ctx.workprec(BITS):
        for i, (a, b, y, y_low, rad) in enumerate(zip(x, lo, *value, strict=True)):
            if rad < math.inf:
                t = FUNCTIONS[name](flint.arb(float(a)) + flint.arb(float(b)))
                error[i], size[i] = abs(t - float(y) - float(y_low)).upper(), abs(float(t))
    return error, size


def lows(x: np.ndarray) -> np.ndarray:
    with np.errstate(under="ignore"):
        lo = x * np.random.default_rng(1).uniform(-1, 1, x.shape) * 2.0**-54
    return np.where(x + lo == x, lo, 0.0)


@pytest.mark.parametrize("exact", [True, False], ids=["a float64", "two"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_arb_lies_inside_and_radii_are_small(name: str, exact: bool) -> None:
    x = points(name)
    lo = np.zeros(x.shape) if exact else lows(x)
    value = value_of(name, x, lo)
    error, size = errors(name, x, lo, value)
    assert (error <= value[2]).all(), x[error > value[2]]
    assert (error > value[2] * 2.0**-12).any(), "radii as large as these say nothing"
    ordinary = (np.abs(x) < 600) & (size > 2.0**-900)
    assert np.count_nonzero(ordinary) > 2000
    sharp = value[2][ordinary] <= size[ordinary] * (2.0**-90 if exact else 2.0**-89)
    assert sharp.all(), x[ordinary][~sharp]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_radius_of_the_argument_is_handed_on(name: str) -> None:
    x = points(name)
    x = x[np.abs(x) < 300]
    for size in (2.0**-40, 2.0**-10, 0.4):
        rad = np.abs(x) * size if DOMAIN.get(name) == 0 else np.full(x.shape, size) * (1 + np.minimum(x, 0))
        rad = np.minimum(np.abs(rad), 0.5)
        value = value_of(name, x, 0.0, rad)
        for end in (-rad, rad):
            inside = (x + end > DOMAIN.get(name, -np.inf)) & (np.abs(end) > 0)
            ends = two_sum(x, end * (1 - 2.0**-40))
            error, _ = errors(name, *(e[inside] for e in ends), tuple(v[inside] for v in value))
            assert (error <= value[2][inside]).all()
        assert np.isfinite(value[2]).mean() > 0.5


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_is_claimed_outside_of_domain_and_range(name: str) -> None:
    x = np.array(
        [np.nan, np.inf, -np.inf, *((-1.0, -2.0) if name in DOMAIN else ()), *((710.0, 1e300) if "exp" in name else ())]
    )
    assert np.isinf(value_of(name, x)[2]).all()
    wide = {"log": 1.0, "log1p": 2.0, "exp": 0.6, "expm1": 0.6}
    if name in wide:
        assert np.isinf(value_of(name, np.ones(1), 0.0, np.full(1, wide[name]))[2]).all()


def test_what_vanishes_below_the_normal_range_is_known_to_be_small() -> None:
    y, low, rad = value_of("exp", np.array([-659.0, -745.0, -1e9, -1e300]))
    assert (y == 0).all() and (low == 0).all() and (rad < 2.0**-948).all() and (rad > 0).all()
    for name in ("expm1", "tanh"):
        y, low, rad = value_of(name, np.array([-1e9]))
        assert y == -1 and low == 0 and 0 < rad < 2.0**-98


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name: str) -> None:
    hi, lo, rad = elementary.constant(name)
    p, q, power = CONSTANTS[name]
    with flint.ctx.workprec(BITS):
        t = (flint.arb(p) / q * flint.arb.pi() ** power).sqrt()
        assert abs(t - hi - lo).upper() <= rad <= abs(hi) * 2.0**-100 and hi + lo == hi


def test_pairs_have_them_or_refuse_them() -> None:
    x = Pairs().array(np.linspace(0.5, 2.0, 5000))
    for name in FUNCTIONS:
        y = getattr(Pairs(), name)(x)
        assert isinstance(y, Pair) and y.shape == x.shape
        whole = value_of(name, x.hi)
        assert all(np.array_equal(np.broadcast_to(a, x.shape), b) for a, b in zip(y.triple, whole, strict=True))
        with pytest.raises(Unsupported, match=f"Pairs.*{name}"):
            getattr(Pairs(irrational=False), name)(x)
    with pytest.raises(Unsupported, match="constant"):
        Pairs(irrational=False).constant("sqrt(1/2)")
    with pytest.raises(Unsupported, match="sin"):
        Pairs().sin(x)
