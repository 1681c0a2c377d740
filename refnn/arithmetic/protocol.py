"""What an arithmetic is: the primitives that definitions are written in.

`Arithmetic` says what each primitive means. An arithmetic is a class that inherits it and defines every primitive for
its own kind of number. Python refuses to make an object of a class in which one is missing, and names it, so that no
definition is run in half an arithmetic. A primitive that an arithmetic cannot answer raises `Unsupported`.

`Exact` is the base of arithmetics without roundings.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NoReturn, Protocol, TypeVar

import numpy as np

from refnn.arithmetic import Convention, Unsupported
from refnn.arithmetic.windows import Contraction, Windows, matrix_product

Axis = int | tuple[int, ...] | None
Real = float | Fraction | np.ndarray
OfMagnitudes = Callable[..., np.ndarray]


class Shaped(Protocol):
    """An array of numbers of some kind."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, index: Any) -> Any: ...


N = TypeVar("N", bound=Shaped)  # the arrays of an arithmetic


class Arithmetic(Protocol[N]):
    """The primitives, each for arrays `N` of one kind of number.

    Where an argument may be an integer, that is one number for all elements.
    """

    name: str
    convention: Convention  # what decides at kinks and ties

    # --- borders -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def array(self, x: np.ndarray) -> N:
        """A NumPy array of floats, lifted exactly."""

    @abstractmethod
    def store(self, x: N) -> N:
        """A result, rounded to the format that it is stored in. Definitions leave this to whoever runs them."""

    @abstractmethod
    def real(self, value: Real) -> N:
        """A real parameter (a float, or a Fraction over a power of two), or an array of them: an implementation may
        round each once."""

    @abstractmethod
    def constant(self, name: str) -> N:
        """One of CONSTANTS, which an implementation may round once."""

    @abstractmethod
    def one_hot(self, target: np.ndarray, classes: int, axis: int) -> N:
        """Exact zeros and ones: a new axis of so many classes, with a one where the target is."""

    # --- sums and products -------------------------------------------------------------------------------------------

    @abstractmethod
    def sum(self, x: N, axis: Axis = None, keepdims: bool = False) -> N:
        """A sum in any order."""

    def dot(self, a: N, b: N, plus: N | None = None) -> N:
        """a @ b + plus of two matrices, or of as many pairs of them as the axes before the last two count: sums in any
        order, products fused or not."""
        return self.contract(matrix_product(a.shape, b.shape), a, b, plus)

    @abstractmethod
    def contract(self, form: Contraction, a: N, b: N, plus: N | None = None) -> N:
        """The same as `dot` for any sums of products, which `form` lists."""

    @abstractmethod
    def product(self, *factors: N | int, over: N | int | None = None) -> N:
        """A product in any grouping, divided by `over`."""

    @abstractmethod
    def windows(self, x: N, w: Windows) -> N:
        """The cells under each tap of the windows: (..., *size) to (taps, ..., *count)."""

    @abstractmethod
    def fold(self, x: N, w: Windows) -> N:
        """The transpose of `windows`: what each tap gives is added to its cell."""

    # --- elementary functions ----------------------------------------------------------------------------------------

    @abstractmethod
    def function(self, name: str, x: N, least: N | None = None) -> N:
        """One of `refnn.arithmetic.functions.FUNCTIONS`. Each has a method of its name, too.

        `least` is a number that no evaluation of x is below, as eps is below a mean of squares plus eps."""

    def exp(self, x: N) -> N:
        """The exponential."""
        return self.function("exp", x)

    def log(self, x: N) -> N:
        """The natural logarithm."""
        return self.function("log", x)

    def tanh(self, x: N) -> N:
        """The hyperbolic tangent."""
        return self.function("tanh", x)

    def expm1(self, x: N) -> N:
        """exp(x) - 1, without cancellation near 0."""
        return self.function("expm1", x)

    def log1p(self, x: N) -> N:
        """log(1 + x), without cancellation near 0."""
        return self.function("log1p", x)

    def erf(self, x: N) -> N:
        """The error function."""
        return self.function("erf", x)

    def erfc(self, x: N) -> N:
        """1 - erf(x), without cancellation."""
        return self.function("erfc", x)

    def sqrt(self, x: N) -> N:
        """The square root."""
        return self.function("sqrt", x)

    def rsqrt(self, x: N, least: N | None = None) -> N:
        """1 / sqrt(x), of an x that is nowhere below `least`."""
        return self.function("rsqrt", x, least)

    def sin(self, x: N) -> N:
        """The sine."""
        return self.function("sin", x)

    def cos(self, x: N) -> N:
        """The cosine."""
        return self.function("cos", x)

    def tan(self, x: N) -> N:
        """The tangent."""
        return self.function("tan", x)

    def asin(self, x: N) -> N:
        """The inverse of the sine."""
        return self.function("asin", x)

    def acos(self, x: N) -> N:
        """The inverse of the cosine."""
        return self.function("acos", x)

    def atan(self, x: N) -> N:
        """The inverse of the tangent."""
        return self.function("atan", x)

    def sinh(self, x: N) -> N:
        """The hyperbolic sine."""
        return self.function("sinh", x)

    def cosh(self, x: N) -> N:
        """The hyperbolic cosine."""
        return self.function("cosh", x)

    def asinh(self, x: N) -> N:
        """The inverse of the hyperbolic sine."""
        return self.function("asinh", x)

    def acosh(self, x: N) -> N:
        """The inverse of the hyperbolic cosine."""
        return self.function("acosh", x)

    def atanh(self, x: N) -> N:
        """The inverse of the hyperbolic tangent."""
        return self.function("atanh", x)

    def exp2(self, x: N) -> N:
        """2**x."""
        return self.function("exp2", x)

    def log2(self, x: N) -> N:
        """The logarithm to base 2."""
        return self.function("log2", x)

    def log10(self, x: N) -> N:
        """The logarithm to base 10."""
        return self.function("log10", x)

    # --- kinks and choices -------------------------------------------------------------------------------------------

    @abstractmethod
    def abs(self, x: N) -> N:
        """|x|."""

    @abstractmethod
    def relu(self, x: N) -> N:
        """max(x, 0)."""

    @abstractmethod
    def branch(self, x: N, above: N | int, below: N | int, at: N | int = 0, kink: str = "0") -> N:
        """`above` where x > at, `below` where x < at; where they are equal a convention for the kink of that name
        decides."""

    @abstractmethod
    def max(self, x: N, axis: int, among: np.ndarray | None = None) -> N:
        """The maximum along an axis, `among` a boolean array if not all take part."""

    @abstractmethod
    def route(self, g: N, x: N, axis: int, among: np.ndarray | None = None) -> N:
        """g, sent to where x has its maximum along the axis: zero elsewhere, and nowhere if none takes part. A named
        convention decides ties."""

    @abstractmethod
    def where(self, mask: np.ndarray, a: N | int, b: N | int) -> N:
        """A choice by a plain boolean array, never by computed values."""

    @abstractmethod
    def take(self, x: N, target: np.ndarray, axis: int) -> N:
        """The entries of x that integer targets select along an axis, which disappears."""

    def concatenate(self, parts: Sequence[N], axis: int) -> N:
        """Arrays one after the other along an axis."""
        axis %= len(parts[0].shape)
        parts = [p for p in parts if p.shape[axis]] or [*parts[:1]]
        ends = np.cumsum([p.shape[axis] for p in parts])
        place = np.arange(ends[-1])
        whole: N | None = None
        for part, end in zip(parts, ends, strict=True):
            start = end - part.shape[axis]
            # Beyond its own place a part is repeated, and what is chosen is another.
            spread = part[(*[slice(None)] * axis, np.clip(place - start, 0, max(part.shape[axis] - 1, 0)))]
            chosen = (place >= start).reshape(-1, *[1] * (len(part.shape) - axis - 1))
            whole = spread if whole is None else self.where(chosen, spread, whole)
        assert whole is not None
        return whole

    # --- what implementations are free in ----------------------------------------------------------------------------

    @abstractmethod
    def pivot(self, x: N, axis: int, finite: bool = False) -> N:
        """A constant near max(x) that cancels from the final result; 0 where that is infinite, if `finite` is asked
        for."""

    @abstractmethod
    def saved(self, x: N, times: int = 1) -> N:
        """x, a value that an implementation may store between two kernels, and round for that. A product may be stored
        several `times`, after some of its factors."""

    @abstractmethod
    def often(self, most: int, typical: int) -> int:
        """How often something is done that changes no exact value: at most, and where an error is only to be
        expected."""

    @abstractmethod
    def optional(self, x: N) -> N:
        """x, a term that an implementation may leave out."""

    @abstractmethod
    def either(self, first: Callable[[], N], second: Callable[[], N]) -> N:
        """What two functions of nothing give: two formulas of one number, of which an implementation may take either,
        the second where it stays finite."""

    @abstractmethod
    def inexact(
        self,
        x: N,
        operands: tuple[N, ...],
        worst: OfMagnitudes,
        expected: OfMagnitudes,
        reach: OfMagnitudes | None = None,
    ) -> N:
        """x as an algorithm gives it that is not written down.

        It is off by at most worst(floor, *magnitudes) unit roundoffs, with a standard deviation of about
        expected(floor, *magnitudes), and by way of numbers up to reach(floor, *magnitudes), if given. These are plain
        functions of the magnitudes of its operands, and of the number below which results lose digits. Where worst is
        not finite since operands are not, the result is NaN."""


PRIMITIVES = tuple(name for name, member in vars(Arithmetic).items() if name[0] != "_" and callable(member))


class Exact(Arithmetic[N]):
    """An arithmetic without roundings: what implementations are free in changes nothing, and what is irrational is
    refused, unless a subclass knows better."""

    def _refuse(self, primitive: str) -> NoReturn:
        raise Unsupported(self.name, primitive)

    def store(self, x: N) -> N:
        return x

    def constant(self, name: str) -> N:
        self._refuse("constant")

    def function(self, name: str, x: N, least: N | None = None) -> N:
        self._refuse(name)

    def saved(self, x: N, times: int = 1) -> N:
        return x

    def often(self, most: int, typical: int) -> int:
        return most

    def optional(self, x: N) -> N:
        return x

    def either(self, first: Callable[[], N], second: Callable[[], N]) -> N:
        return first()

    def inexact(
        self,
        x: N,
        operands: tuple[N, ...],
        worst: OfMagnitudes,
        expected: OfMagnitudes,
        reach: OfMagnitudes | None = None,
    ) -> N:
        return x
