"""Elementary functions of one number: what each arithmetic has to know of one.

A row is all that a function takes. Balls and Noise bound it by its slope; of exp and its like, whose results overflow
or cancel, Balls knows more.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from refnn.arithmetic import _erf

Array = np.ndarray

_ERF, _LN2 = 2 / math.sqrt(math.pi), math.log(2)


@dataclass(frozen=True)
class Function:
    """A function that is smooth between `start` and `end`, in the notation of several packages.

    `numpy` takes the module and an array, `arb` a ball, `sympy` the module and an expression. `tangent(ar, t, x, y)` is
    the derivative times t in the primitives of an arithmetic, where y is the value at x. `slope` is the magnitude of
    the derivative. Between two arguments it is largest where `steepest` says. `exact` is the argument where every
    implementation is exact, if there is one; `odd` says that a zero there keeps its sign. `monotone` functions take no
    value between two arguments that is beyond those of both. Of a function whose values overflow, `half` is half of one
    near there.
    """

    numpy: Callable[[Any, Any], Any]
    arb: Callable[[Any], Any]
    sympy: Callable[[Any, Any], Any]
    tangent: Callable[[Any, Any, Any, Any], Any]
    slope: Callable[[Array], Array]
    steepest: Callable[[Array, Array], Array]
    start: float = -math.inf
    end: float = math.inf
    exact: float | None = 0.0
    odd: bool = False
    monotone: bool = True
    half: Callable[[Array], Array] | None = None

    def __call__(self, x: Any) -> Any:
        """The value in float64, or in the dtype of x."""
        return self.numpy(np, x)


def _least(low: Array, high: Array) -> Array:
    return low


def _near(low: Array, high: Array) -> Array:
    """The argument nearest to zero."""
    return np.asarray(np.maximum(0.0, np.maximum(low, -high)))


def _far(low: Array, high: Array) -> Array:
    """The argument farthest from zero."""
    return np.asarray(np.maximum(-low, high))


def _highest(low: Array, high: Array) -> Array:
    return high


def _at_one(at: float) -> Callable[[Array, Array], Array]:
    """For a slope of at most 1 anywhere: an argument where it is 1. NaN stays NaN."""
    return lambda low, high: (low - low) + at


def _to_pole(low: Array, high: Array) -> Array:
    """The argument where a tangent is steepest, as its distance from a zero of it; infinite where a pole is between, or
    so near that float64 does not hold the distance from it."""
    mid, reach = (low + high) / 2, high - low  # twice what it is, for the rounding of the middle
    left = np.abs(np.arctan(np.tan(mid)))  # from the nearest zero of the tangent
    return np.asarray(np.where(left + reach < math.pi / 2 * (1 - 2.0**-10), left + reach, np.inf))


def _tan_slope(x: Array) -> Array:
    return np.asarray(np.where(np.isinf(x), np.inf, 1 + np.square(np.tan(x))))


def _half_of_sinh(x: Array) -> Array:
    return np.asarray(np.copysign(np.exp(np.abs(x) - 1) * (math.e / 4), x))


def _by_value(ar: Any, t: Any, x: Any, y: Any) -> Any:
    return t * y


def _tanh_tangent(ar: Any, t: Any, x: Any, y: Any) -> Any:
    """4 e / (1 + e)^2 with e = exp(-2 |x|): 1 - y^2 would lose the digits of a small slope."""
    e = ar.exp(-2 * ar.abs(x))
    return ar.product(4, t, e, over=(1 + e) ** 2)


def _erf_tangent(ar: Any, t: Any, x: Any, y: Any) -> Any:
    return ar.product(t, ar.constant("sqrt(4/pi)"), ar.exp(-(x**2)))


def _asin_tangent(ar: Any, t: Any, x: Any, y: Any) -> Any:
    return t * ar.rsqrt((1 - x) * (1 + x))


def _log(ar: Any, base: int) -> Any:
    return ar.log(ar.real(float(base)))


def _numpy(name: str) -> Callable[[Any, Any], Any]:
    return lambda xp, x: getattr(xp, name)(x)


def _own(name: str) -> Callable[[Any, Any], Any]:
    """A function that NumPy lacks: refnn's own of NumPy arrays."""
    return lambda xp, x: getattr(_erf if xp is np else xp, name)(x)


def _named(name: str) -> tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]:
    """The method of a ball and the function of SymPy of one name."""
    return operator.methodcaller(name), (lambda sympy, v: getattr(sympy, name)(v))


FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "exp": Function(_numpy("exp"), *_named("exp"), _by_value, np.exp, _highest),
        "log": Function(
            _numpy("log"),
            *_named("log"),
            lambda ar, t, x, y: t / x,
            lambda x: 1 / np.abs(x),
            _least,
            start=0.0,
            exact=1.0,
        ),
        "tanh": Function(
            _numpy("tanh"), *_named("tanh"), _tanh_tangent, lambda x: 1 / np.square(np.cosh(x)), _near, odd=True
        ),
        "expm1": Function(
            _numpy("expm1"),
            operator.methodcaller("expm1"),
            lambda sympy, v: sympy.exp(v) - 1,
            lambda ar, t, x, y: t * ar.exp(x),
            np.exp,
            _highest,
            odd=True,
        ),
        "log1p": Function(
            _numpy("log1p"),
            operator.methodcaller("log1p"),
            lambda sympy, v: sympy.log(1 + v),
            lambda ar, t, x, y: t / (1 + x),
            lambda x: 1 / np.abs(1 + x),
            _least,
            start=-1.0,
            odd=True,
        ),
        "erf": Function(
            _own("erf"), *_named("erf"), _erf_tangent, lambda x: np.exp(-np.square(x)) * _ERF, _near, odd=True
        ),
        "erfc": Function(
            _own("erfc"),
            *_named("erfc"),
            lambda ar, t, x, y: -_erf_tangent(ar, t, x, y),
            lambda x: np.exp(-np.square(x)) * _ERF,
            _near,
        ),
        "sqrt": Function(
            _numpy("sqrt"),
            *_named("sqrt"),
            lambda ar, t, x, y: ar.product(t, over=2 * y),
            lambda x: 0.5 / np.sqrt(x),
            _least,
            start=0.0,
            odd=True,
        ),
        "rsqrt": Function(
            lambda xp, x: 1 / xp.sqrt(x),
            operator.methodcaller("rsqrt"),
            lambda sympy, v: 1 / sympy.sqrt(v),
            lambda ar, t, x, y: -ar.product(t, y, over=2 * x),
            lambda x: 0.5 / np.sqrt(x) / x,
            _least,
            start=0.0,
            exact=1.0,
        ),
        "sin": Function(
            _numpy("sin"),
            *_named("sin"),
            lambda ar, t, x, y: t * ar.cos(x),
            lambda x: np.abs(np.cos(x)),
            _at_one(0.0),
            odd=True,
            monotone=False,
        ),
        "cos": Function(
            _numpy("cos"),
            *_named("cos"),
            lambda ar, t, x, y: -(t * ar.sin(x)),
            lambda x: np.abs(np.sin(x)),
            _at_one(math.pi / 2),
            monotone=False,
        ),
        "tan": Function(
            _numpy("tan"),
            *_named("tan"),
            lambda ar, t, x, y: t * (1 + y**2),
            _tan_slope,
            _to_pole,
            odd=True,
            monotone=False,
        ),
        "asin": Function(
            _numpy("arcsin"),
            *_named("asin"),
            _asin_tangent,
            lambda x: 1 / np.sqrt((1 - x) * (1 + x)),
            _far,
            -1.0,
            1.0,
            odd=True,
        ),
        "acos": Function(
            _numpy("arccos"),
            *_named("acos"),
            lambda ar, t, x, y: -_asin_tangent(ar, t, x, y),
            lambda x: 1 / np.sqrt((1 - x) * (1 + x)),
            _far,
            -1.0,
            1.0,
            exact=1.0,
        ),
        "atan": Function(
            _numpy("arctan"),
            *_named("atan"),
            lambda ar, t, x, y: t / (1 + x**2),
            lambda x: 1 / (1 + np.square(x)),
            _near,
            odd=True,
        ),
        "sinh": Function(
            _numpy("sinh"),
            *_named("sinh"),
            lambda ar, t, x, y: t * ar.cosh(x),
            np.cosh,
            _far,
            odd=True,
            half=_half_of_sinh,
        ),
        "cosh": Function(
            _numpy("cosh"),
            *_named("cosh"),
            lambda ar, t, x, y: t * ar.sinh(x),
            lambda x: np.sinh(np.abs(x)),
            _far,
            monotone=False,
            half=lambda x: np.abs(_half_of_sinh(x)),
        ),
        "asinh": Function(
            _numpy("arcsinh"),
            *_named("asinh"),
            lambda ar, t, x, y: t * ar.rsqrt(1 + x**2),
            lambda x: 1 / np.hypot(1, x),
            _near,
            odd=True,
        ),
        "acosh": Function(
            _numpy("arccosh"),
            *_named("acosh"),
            lambda ar, t, x, y: t * ar.rsqrt((x - 1) * (x + 1)),
            lambda x: 1 / np.sqrt((x - 1) * (x + 1)),
            _least,
            start=1.0,
            exact=1.0,
        ),
        "atanh": Function(
            _numpy("arctanh"),
            *_named("atanh"),
            lambda ar, t, x, y: ar.product(t, over=(1 - x) * (1 + x)),
            lambda x: 1 / ((1 - x) * (1 + x)),
            _far,
            -1.0,
            1.0,
            odd=True,
        ),
        "exp2": Function(
            _numpy("exp2"),
            lambda v: type(v)(2) ** v,
            lambda sympy, v: 2**v,
            lambda ar, t, x, y: ar.product(t, y, _log(ar, 2)),
            lambda x: np.exp2(x) * _LN2,
            _highest,
            half=lambda x: np.exp2(x - 1),
        ),
        "log2": Function(
            _numpy("log2"),
            lambda v: v.log() / type(v)(2).log(),
            lambda sympy, v: sympy.log(v, 2),
            lambda ar, t, x, y: ar.product(t, over=x * _log(ar, 2)),
            lambda x: 1 / np.abs(x) / _LN2,
            _least,
            start=0.0,
            exact=1.0,
        ),
        "log10": Function(
            _numpy("log10"),
            lambda v: v.log() / type(v)(10).log(),
            lambda sympy, v: sympy.log(v, 10),
            lambda ar, t, x, y: ar.product(t, over=x * _log(ar, 10)),
            lambda x: 1 / np.abs(x) / math.log(10),
            _least,
            start=0.0,
            exact=1.0,
        ),
    }
)
