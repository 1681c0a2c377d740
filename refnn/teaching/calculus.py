"""Calculus by hand: derivatives as limits, the rules, subgradients, and the layout of derivatives by vectors.

    f'(x) = lim (f(x + h) - f(x)) / h                                  you2022 (gradient for simple functions)
    (g + h)' = g' + h',  (g h)' = g' h + g h',  (g / h)' = (g' h - g h') / h^2,
    f(x) = g(u), u = h(x):  f'(x) = g'(u) h'(x)                        you2022 (composite functions)
    |x|: 1, -1, and [-1, 1] at 0;  max(x, 0): 1, 0, and [0, 1] at 0    you2022 (subgradient)
    dy/dx for vectors: row i, column j holds dy_j/dx_i                 you2022 (denominator layout)

The functions take numbers of any kind that Python can add and multiply: floats, fractions, SymPy expressions. In
fractions nothing is rounded, and what is left of a difference quotient is its error.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Number = Any
Array = Any
Function = Callable[[Number], Number]

# --- derivatives as limits -------------------------------------------------------------------------------------------


def forward_difference(f: Function, x: Number, h: Number) -> Number:
    """(f(x + h) - f(x)) / h = f'(x) + f''(x)/2 h + f'''(x)/6 h^2 + ...: an error of order h."""
    return (f(x + h) - f(x)) / h


def central_difference(f: Function, x: Number, h: Number) -> Number:
    """(f(x + h) - f(x - h)) / 2h = f'(x) + f'''(x)/6 h^2 + ...: the even derivatives cancel, an error of order h^2."""
    return (f(x + h) - f(x - h)) / (2 * h)


def complex_step(f: Callable[[complex], complex], x: float, h: float = 2.0**-100) -> float:
    """Im f(x + ih) / h = f'(x) - f'''(x)/6 h^2 + ... for a real analytic f that takes complex numbers.

    Nothing is subtracted, so that h may be as small as one likes, and the error below what is rounded.
    """
    return f(complex(x, h)).imag / h


# --- the rules -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dual:
    """A number that depends on x, with its derivative by x: `slope`, an array where there are several x.

    The rules of differentiation are those of its arithmetic. Plain numbers count as constants.
    """

    value: Number
    slope: Number

    def __add__(self, other: Any) -> Dual:
        return Dual(self.value + value(other), self.slope + slope(other))

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope)

    def __sub__(self, other: Any) -> Dual:
        return Dual(self.value - value(other), self.slope - slope(other))

    def __rsub__(self, other: Any) -> Dual:
        return -self + other

    def __mul__(self, other: Any) -> Dual:
        return Dual(self.value * value(other), self.slope * value(other) + self.value * slope(other))

    def __truediv__(self, other: Any) -> Dual:
        g, h = value(self), value(other)
        return Dual(g / h, (self.slope * h - g * slope(other)) / h**2)

    def __rtruediv__(self, other: Any) -> Dual:
        return Dual(other, 0 * self.slope) / self

    __radd__, __rmul__ = __add__, __mul__


def value(x: Any) -> Any:
    """The number itself."""
    return x.value if isinstance(x, Dual) else x


def slope(x: Any) -> Any:
    """The derivative; 0 for a constant."""
    return x.slope if isinstance(x, Dual) else 0


def chain(g: Function, derivative: Function) -> Callable[[Dual], Dual]:
    """The function g of a number that depends on x, given its derivative: the chain rule."""
    return lambda u: Dual(g(u.value), derivative(u.value) * u.slope)


# --- subgradients ----------------------------------------------------------------------------------------------------


def subgradients_of_abs(x: Number) -> tuple[int, int]:
    """The least and the greatest subgradient of |x|. ValueError where x is NaN."""
    _check_number(x)
    return (1, 1) if x > 0 else (-1, -1) if x < 0 else (-1, 1)


def subgradients_of_relu(x: Number) -> tuple[int, int]:
    """The least and the greatest subgradient of max(x, 0). ValueError where x is NaN."""
    _check_number(x)
    return (1, 1) if x > 0 else (0, 0) if x < 0 else (0, 1)


def _check_number(x: Number) -> None:
    if x != x:
        raise ValueError(f"x is {x}, expected a number")


def supports(f: Function, x: Number, a: Number, points: Iterable[Number]) -> bool:
    """Whether the line of slope a through (x, f(x)) stays below f at these points: f(y) >= f(x) + a (y - x)."""
    return all(f(y) >= f(x) + a * (y - x) for y in points)


# --- denominator layout ----------------------------------------------------------------------------------------------


def derivative(f: Callable[[Array], Array], x: Array) -> Array:
    """dy/dx of y = f(x) in denominator layout, by the rules above. x and y are numbers, vectors or matrices:

        y \\ x     number        vector (n,)   matrix (p, q)
        number    number        (n, 1)        (p, q)
        vector    (1, m)        (n, m)
        matrix    (n, m)

    with m the length of a vector y, or the rows of a matrix y and n its columns. f computes in sums, products and
    quotients, or through `chain`. ValueError for the pairs that have no place, whose derivatives need more indices.
    """
    point = np.asarray(x, dtype=object)
    y = np.asarray(f(_seeded(point, ())), dtype=object)
    if (point.ndim, y.ndim) not in _LAYOUT:
        raise ValueError(
            f"the derivative of an array of shape {y.shape} by one of shape {point.shape} has no place in a matrix, "
            f"expected one of the two to be a number, or both vectors"
        )
    partial = np.empty(point.shape + y.shape, dtype=object)
    for place in np.ndindex(point.shape):
        partial[place] = _each_slope(np.asarray(f(_seeded(point, place)), dtype=object))
    result = _LAYOUT[point.ndim, y.ndim](partial)
    return result if result.ndim else result[()]


_LAYOUT: Mapping[tuple[int, int], Callable[[np.ndarray], np.ndarray]] = {
    (0, 0): lambda d: d,
    (1, 0): lambda d: d[:, None],
    (0, 1): lambda d: d[None, :],
    (1, 1): lambda d: d,
    (0, 2): lambda d: d.T,
    (2, 0): lambda d: d,
}


def _seeded(point: np.ndarray, place: tuple[int, ...]) -> Any:
    """x with the slope 1 at a place and 0 elsewhere."""
    seeded = np.empty(point.shape, dtype=object)
    for index in np.ndindex(point.shape):
        seeded[index] = Dual(point[index], int(index == place))
    return seeded if seeded.ndim else seeded[()]


_each_slope = np.frompyfunc(slope, 1, 1)


def chained(*factors: Array) -> Array:
    """dz/dx = dy/dx dz/dy of matrices in denominator layout: from left to right, the other way than usual.

    ValueError names the first two that do not meet, which a reversed order gives away unless all are square.
    """
    for n, (left, right) in enumerate(itertools.pairwise(factors), 1):
        if left.shape[1] != right.shape[0]:
            raise ValueError(
                f"factor {n} has shape {left.shape} and factor {n + 1} has {right.shape}, expected "
                f"{left.shape[1]} rows: in this layout dz/dx = dy/dx dz/dy"
            )
    return functools.reduce(np.matmul, factors)


def check_gradients(params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
    """ValueError, in one sentence, unless there is a gradient for each parameter and it has the parameter's shape."""
    for name, param in params.items():
        if name not in grads:
            raise ValueError(f"there is no gradient of {name!r}, got {', '.join(grads) or 'none'}")
        if np.shape(grads[name]) != np.shape(param):
            raise ValueError(
                f"the gradient of {name!r} has shape {np.shape(grads[name])}, expected {np.shape(param)}, "
                f"that of the parameter"
            )
    if strange := [name for name in grads if name not in params]:
        raise ValueError(f"there is a gradient of {strange[0]!r}, expected those of {', '.join(params)}")
