"""What gradient descent with a constant learning rate does on a quadratic, decided exactly.

    J(w) = c1 w^2 + c2 w + c3,   w_(t+1) = w_t - alpha J'(w_t)                 you2022 (gradient descent)
    w_(t+1) - w* = (1 - 2 alpha c1)(w_t - w*)

So it converges from one side up to alpha = 1/(2 c1), where it arrives in one step; beyond, it alternates between the
sides and still converges; at 1/c1 it cycles between two points, and above it diverges. In several dimensions with the
matrix H of second derivatives, w_(t+1) - w* = (I - alpha H)(w_t - w*), and the same holds along each eigenvector with
its eigenvalue in place of 2 c1: the largest one decides.

Proved: the regime, since it depends only on how many eigenvalues of I - alpha H and 2I - alpha H are negative or zero,
which is counted in fractions. The eigenvalues of a symmetric matrix are real, so by Descartes' rule its characteristic
polynomial has as many positive roots as its coefficients change their sign. Computed: the eigenvalues themselves, as
fractions that enclose them, to 60 bits of the largest.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from refnn.refusals import check_finite

_BITS = 60


@dataclass(frozen=True)
class Regime:
    """`name` says what the distance to the minimum does, from almost every start: it "converges" from one side,
    "alternates" between the sides and converges, "cycles" for ever, or "diverges". `smallest` and `largest` enclose
    these eigenvalues of the second derivatives: (low, high), equal where they are known exactly. Along an eigenvector
    of eigenvalue 0 nothing moves.
    """

    name: str
    rate: Fraction
    smallest: tuple[Fraction, Fraction]
    largest: tuple[Fraction, Fraction]

    @property
    def factor(self) -> Fraction:
        """A step multiplies the distance to the minimum by no more than this: a bound of the norm of I - rate H."""
        return max(abs(1 - self.rate * end) for end in (self.smallest[0], self.largest[1]))

    def __str__(self) -> str:
        top = self.largest[1]
        if not top:
            return f"{self.name}: nothing moves, the quadratic is flat"
        return (
            f"{self.name} at the learning rate {_short(self.rate)}: "
            f"one-sided up to {_short(1 / top)}, alternating up to {_short(2 / top)}, where it cycles; diverges above"
        )


@dataclass(frozen=True)
class Quadratic:
    """J(w) = c1 w^2 + c2 w + c3, in any numbers; an objective for `refnn.networks.train.gradient_descent` with one
    sample."""

    c1: Any
    c2: Any
    c3: Any

    def __call__(self, params: Mapping[str, Any], chosen: Any = None) -> tuple[Any, dict[str, Any]]:
        """J and its derivative at params["w"]."""
        w = params["w"]
        return self.c1 * w**2 + self.c2 * w + self.c3, {"w": 2 * self.c1 * w + self.c2}

    @property
    def lowest(self) -> Any:
        """Where J is least. ValueError where it is nowhere."""
        if not self.c1 > 0:
            raise ValueError(f"the quadratic has no minimum: c1 is {self.c1}, expected a positive number")
        return -self.c2 / (2 * self.c1)

    def regime(self, rate: Any) -> Regime:
        return regime(2 * self.c1, rate)


def regime(hessian: Any, rate: Any) -> Regime:
    """The regime of gradient descent with a learning rate on a quadratic whose second derivatives are `hessian`: a
    number (2 c1) or a symmetric matrix of integers, fractions or floats, which count as exact.

    ValueError where the matrix is not symmetric, the quadratic has no minimum or the rate is not positive.
    """
    if not 0 < rate < math.inf:
        raise ValueError(f"the learning rate is {rate}, expected a positive finite number")
    alpha, h = Fraction(rate), np.atleast_2d(exact(hessian))
    if h.ndim != 2 or h.shape[0] != h.shape[1] or not h.size or (h != h.T).any():
        raise ValueError(f"the second derivatives are {np.asarray(hessian).tolist()}, expected a symmetric matrix")
    below = above(-h)
    if below(Fraction(0)) > 0:
        raise ValueError("the quadratic has no minimum: a second derivative is negative in some direction")
    beyond = above(h)
    if beyond(2 / alpha):
        name = "diverges"
    elif beyond(2 / alpha, included=True):
        name = "cycles"
    else:
        name = "alternates" if beyond(1 / alpha) else "converges"
    return Regime(name, alpha, _negated(_largest(-h)), _largest(h))


def exact(x: Any) -> np.ndarray:
    """Numbers as an object array of fractions; floats count as what they are. ValueError where one is not finite, or
    rows have different lengths."""
    try:
        numbers = np.asarray(x).astype(object)
    except ValueError:
        raise ValueError(f"the array is {x}, expected rows of one length") from None
    check_finite("the array", numbers)
    return np.asarray(np.frompyfunc(Fraction, 1, 1)(numbers), dtype=object)


def rational_matrix(x: np.ndarray) -> Any:
    """A matrix of fractions as FLINT has it."""
    from flint import fmpq, fmpq_mat

    return fmpq_mat([[fmpq(v.numerator, v.denominator) for v in row] for row in x.tolist()])


def above(h: np.ndarray) -> Callable[..., int]:
    """How many eigenvalues of a symmetric matrix of fractions lie above a bound, as a function of it."""
    from flint import fmpq, fmpq_poly

    polynomial = rational_matrix(h).charpoly()

    def count(bound: Fraction, included: bool = False) -> int:
        shifted = polynomial(fmpq_poly([fmpq(bound.numerator, bound.denominator), 1])).coeffs()
        at = next(i for i, c in enumerate(shifted) if c != 0)  # the eigenvalues that equal the bound
        signs = [c > 0 for c in shifted if c != 0]
        return sum(a != b for a, b in itertools.pairwise(signs)) + (at if included else 0)

    return count


def _largest(h: np.ndarray) -> tuple[Fraction, Fraction]:
    """Fractions that enclose the largest eigenvalue: a diagonal entry is below, a sum of magnitudes above it."""
    n = len(h)
    rows = np.sum(np.abs(h), axis=1)
    low, high = max(h[i, i] for i in range(n)), max(h[i, i] + rows[i] - abs(h[i, i]) for i in range(n))
    beyond, width = above(h), max(rows) / 2**_BITS
    while high - low > width:
        middle = (low + high) / 2
        if beyond(middle):
            low = middle
        else:
            high = middle
    return low, high


def _negated(ends: tuple[Fraction, Fraction]) -> tuple[Fraction, Fraction]:
    return -ends[1], -ends[0]


def _short(x: Fraction) -> str:
    return str(x) if x.denominator < 1000 else f"{float(x):.4g}"
