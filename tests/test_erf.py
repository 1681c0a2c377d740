"""refnn's own erf and erfc: where the coefficients come from, special values, shapes. The accuracy of both is sampled
against Arb in test_balls.py, as that of NumPy's functions is."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pytest

import refnn
from refnn.arithmetic import BLOCK, Unsupported, _erf
from refnn.arithmetic.floats import Floats


def fitted(f: Callable[[Any], Any], low: Any, high: Any, shape: tuple[int, int]) -> np.ndarray:
    """The coefficients of the Chebyshev interpolant, lowest power first; its error is below 2**-62."""
    coefficients, error = mpmath.chebyfit(f, [low, high], math.prod(shape), error=True)
    assert error < mpmath.mpf(2) ** -62
    return np.array([float(c) for c in reversed(coefficients)]).reshape(shape)


def test_the_coefficients_are_found_again() -> None:
    def near(z: Any) -> Any:
        return mpmath.erf(mpmath.sqrt(z)) / mpmath.sqrt(z) - 1

    def tail(t: Any) -> Any:
        x = 4 * (1 + t) / (1 - t)
        return (1 + 2 * x) * mpmath.exp(x * x) * mpmath.erfc(x) - 1

    with mpmath.workprec(300):
        ends = [(mpmath.mpf(x) - 4) / (mpmath.mpf(x) + 4) for x in (0.25, 28)]
        assert (fitted(near, mpmath.mpf(0), mpmath.mpf(1), (3, 5)) == _erf._NEAR).all()
        assert (fitted(tail, *ends, (5, 5)) == _erf._TAIL).all()


def test_special_values() -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e308, -1e308, 5e-324])
    expected = [0.0, -0.0, 1.0, -1.0, np.nan, 1.0, -1.0, 5e-324]
    np.testing.assert_array_equal(_erf.erf(x), expected)
    assert np.signbit(_erf.erf(x))[1]
    np.testing.assert_array_equal(_erf.erfc(x), [1.0, 1.0, 0.0, 2.0, np.nan, 0.0, 2.0, 1.0])


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (3, 2 * BLOCK // 5)])
def test_every_element_of_every_shape(shape: tuple[int, ...]) -> None:
    """Element by element as the C library has it, to the 6 + 3 ulps that both may be off."""
    x = np.random.default_rng(0).normal(size=shape) * 3
    for ours, libm in ((_erf.erf, math.erf), (_erf.erfc, math.erfc)):
        for given in (x, x.T, np.repeat(x[..., None], 2, -1)[..., 0]):
            y = ours(given)
            expected = np.vectorize(libm, otypes=[np.float64])(given)
            assert y.shape == given.shape
            assert (np.abs(y - expected) <= 9 * np.spacing(np.abs(expected))).all()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_shorter_floats_are_rounded_once(dtype: str) -> None:
    x = np.random.default_rng(1).normal(size=1000).astype(dtype)
    ar = Floats(dtype, each_op=True)
    assert ar.erfc(x).dtype == x.dtype
    assert (ar.erfc(x) == _erf.erfc(x.astype(np.float64)).astype(dtype)).all()


def test_what_has_no_erf_refuses_by_name() -> None:
    with pytest.raises(Unsupported, match=r"longdouble.*has no 'erf'"):
        Floats(np.longdouble).erf(np.ones(3, np.longdouble))
    with pytest.raises(Unsupported, match="has no 'erfc'"):
        Floats(xp=SimpleNamespace(asarray=np.asarray)).erfc(np.ones(3))
    elsewhere = SimpleNamespace(asarray=np.asarray, erf=lambda x: x)
    assert Floats(xp=elsewhere).erf(3.0) == 3.0


def test_what_the_forward_asked_for_is_known_to_the_vjp(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(x: np.ndarray) -> np.ndarray:
        asked.append(x)
        return honest(x)

    honest = _erf.erfc
    monkeypatch.setattr(_erf, "erfc", counted)
    x, g = np.array([-1.5, 0.0, 2.0]), np.ones(3)
    _, pull = refnn.vjp("gelu", x)
    assert (pull(g)[0] == refnn.gelu.vjp(g, x)[0]).all()
    assert len(asked) == 2, "one for each forward"
    ar = Floats()
    for given in (x, x + 1, x, np.array([np.nan]), np.array([np.nan]), np.ones(1)):
        np.testing.assert_array_equal(ar.erfc(given), honest(given))
    assert len(asked) == 8, "a NaN equals nothing"
