r"""Perturbation as a witness: the forward of an op at neighbouring points, in balls of high precision.

Both witnesses share the forward with the op, so they contradict a wrong vjp and never a wrong forward.

Complex step (Squire and Trapp, SIAM Review 40 (1998) 110). With f(x + t) = sum_k c_k t^k,

    Im f(x + ih) / h = c_1 - c_3 h^2 + c_5 h^4 - ...

Its truncation error is bounded, not estimated: if |f(z) - f(x)| <= M for |z - x| <= R, then |c_k| <= M / R^k (Cauchy),
and the error is at most M/R q / (1 - q) with q = (h/R)^2. M comes from one more run of the forward, on the ball of
radius R around x: it encloses f there, and where it is finite no pole, branch cut or kink is near.

Central differences of sixth order (Fornberg, Math. Comp. 51 (1988) 699):

    D(h) = (3/4 (f(x+h) - f(x-h)) - 3/20 (f(x+2h) - f(x-2h)) + 1/60 (f(x+3h) - f(x-3h))) / h = f'(x) + C h^6 + O(h^8)

Their truncation error is estimated from two steps: D(h) - D(h/2) is 63 times what remains in D(h/2), up to O(h^8). So
|D(h) - D(h/2)| as the radius around D(h/2) holds the derivative as soon as h is small enough for the first term to
lead by a factor of 63; a kink between the points shows as a wide radius. Rounding errors are in the balls already.

Where two formulas meet smoothly higher derivatives jump, and the differences to either side are taken instead, which
are f'(x) + C h + O(h^2) each: twice what halving the step changes in them, and what they differ by, is the radius. At a
kink they differ by the jump of the slope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flint
import numpy as np

from refnn.arithmetic import Convention
from refnn.arithmetic.exact import Arb, ObjectArrays
from refnn.arithmetic.windows import Contraction
from refnn.op import Op, lift

Array = Any
PRECISION = 256

_STENCIL = {1: flint.fmpq(3, 4), 2: flint.fmpq(-3, 20), 3: flint.fmpq(1, 60)}


class ComplexBalls(Arb):
    """Arb with complex elements, for arguments near the real axis. Whatever depends on a sign looks at the real part,
    so |z| is z or -z, never the modulus; where that part straddles zero the result is NaN: no analytic function."""

    name = "ComplexBalls"

    def __init__(self, precision: int = PRECISION, *, convention: Convention = 0.0) -> None:
        super().__init__(precision, convention=convention)
        self._number: Any = flint.acb
        self._unknown = flint.acb(flint.arb.nan(), flint.arb.nan())

    def sign(self, value: Any) -> int | None:
        if value.real > 0:
            return 1
        if value.real < 0:
            return -1
        return 0 if value.is_zero() else None

    def union(self, a: Any, b: Any) -> Any:
        return self._unknown

    def _by_sign(self, above: Callable[[Any], Any], below: Callable[[Any], Any], x: Array) -> Array:
        choice = {1: above, 0: above, -1: below, None: lambda v: self._unknown}
        return self._each(lambda v: choice[self.sign(v)](v), x)

    def abs(self, x: Array) -> Array:
        return self._by_sign(lambda v: v, lambda v: -v, x)

    def relu(self, x: Array) -> Array:
        return self._by_sign(lambda v: v, lambda v: self.number(0), x)

    def log(self, x: Array) -> Array:
        """Only right of the imaginary axis, away from the branch cut."""
        return self._each(lambda v: v.log() if v.real > 0 else self._unknown, x)

    def log1p(self, x: Array) -> Array:
        return self._each(lambda v: v.log1p() if v.real > -1 else self._unknown, x)

    def _midpoint(self, value: Any) -> Any:
        return value.real.mid()

    def pivot(self, x: Array, axis: int, finite: bool = False) -> Array:
        return self._each(self.number, super().pivot(x, axis, finite))

    def matmul(self, a: Array, b: Array) -> Array:
        return ObjectArrays.matmul(self, a, b)

    def contract(self, form: Contraction, a: Array, b: Array, plus: Array | None = None) -> Array:
        """No limits at infinity: what is not finite here is unknown."""
        return ObjectArrays.contract(self, form, a, b, plus)

    def _tops(self, row: list[Any], places: list[int]) -> tuple[list[int], bool]:
        able = [t for t in places if not any(self.sign(row[s] - row[t]) == 1 for s in places)]
        return able, all(row[t] == row[able[0]] for t in able)

    def _largest(self, row: list[Any]) -> Any:
        able, tied = self._tops(row, [*range(len(row))])
        if not able:
            return self._unknown
        return row[able[0]] if tied or len(able) == 1 else self._unknown


def complex_step(
    op: Op, inputs: Sequence[np.ndarray | None], params: Mapping[str, Any], g: np.ndarray, *, precision: int = PRECISION
) -> tuple[np.ndarray | None, ...]:
    """The derivative of sum(g * y) by each float input, as arrays of arb balls that hold it for certain; None for
    integers, absent inputs and those without a gradient. A ball is NaN where no neighbourhood without a kink is
    found."""
    ar = ComplexBalls(precision)
    h = flint.arb((1, -(precision // 2)))  # the remainder, of order h^2, falls below the working precision
    radii = [flint.arb((1, -k)) for k in range(8, precision // 8 + 1, 8)]

    def derivative(loss: Callable[[Any], Any]) -> flint.arb:
        here = loss(flint.acb(0))
        slope = loss(flint.acb(0, h)).imag / h
        for radius in radii:
            spread = abs(loss(flint.acb(flint.arb(0, radius), flint.arb(0, radius))) - here).upper()
            if spread.is_finite():
                q = (h / radius) ** 2
                return slope + flint.arb(0, (spread / radius * q / (1 - q)).upper())
        return flint.arb.nan()

    return _perturbed(ar, op, inputs, params, g, derivative)


def promised_bits_complex_step(precision: int = PRECISION) -> int:
    """Half of the working precision: that much a division by h = 2**-(precision/2) may cost."""
    return precision // 2


def central(
    op: Op, inputs: Sequence[np.ndarray | None], params: Mapping[str, Any], g: np.ndarray, *, precision: int = PRECISION
) -> tuple[np.ndarray | None, ...]:
    """The derivative of sum(g * y) by each float input, as arrays of arb balls whose radius estimates the truncation
    error and bounds the rest; None for
    integers, absent inputs and those without a gradient."""
    ar = Arb(precision)
    half = flint.arb((1, -(precision // 8) - 1))  # h^6 takes 6/8 of the digits, the division by h the eighth
    tiny = flint.arb((1, -(precision // 2)))  # to one side h takes half of them, the division by h the others

    def derivative(loss: Callable[[Any], Any]) -> flint.arb:
        odd = {k: loss(k * half) - loss(-k * half) for k in (1, 2, 3, 4, 6)}
        coarse = sum(flint.arb(c) * odd[2 * k] for k, c in _STENCIL.items()) / (2 * half)
        fine = sum(flint.arb(c) * odd[k] for k, c in _STENCIL.items()) / half
        radius = abs(coarse - fine).upper()
        if radius <= tiny:
            return fine + flint.arb(0, radius)
        here = loss(0 * tiny)
        slopes = [[(loss(t) - here) / t for t in (side * tiny, side * tiny / 2)] for side in (1, -1)]
        (_, up), (_, down) = slopes
        radius = (abs(up - down) + 2 * sum(abs(far - near) for far, near in slopes)).upper()
        return (up + down) / 2 + flint.arb(0, radius)

    return _perturbed(ar, op, inputs, params, g, derivative)


def promised_bits_central(precision: int = PRECISION) -> int:
    """Six eighths of the working precision: the truncation error is of order h^6 with h = 2**-(precision/8)."""
    return 6 * (precision // 8)


def _perturbed(
    ar: Arb,
    op: Op,
    inputs: Sequence[np.ndarray | None],
    params: Mapping[str, Any],
    g: np.ndarray,
    derivative: Callable[[Callable[[Any], Any]], Any],
) -> tuple[np.ndarray | None, ...]:
    """`derivative` of t -> sum(g * y) where t is added to one element, for each element of each input that has a
    gradient."""
    with ar.working():
        lifted, cotangent = lift(ar, inputs), ar.array(g)
        grads: list[np.ndarray | None] = []
        for place, (x, declared) in enumerate(zip(lifted, op.inputs.values(), strict=True)):
            if x is None or x.dtype.kind in "iu" or not declared.differentiable:
                grads.append(None)
                continue
            grad = np.empty(x.shape, dtype=object)
            for index in np.ndindex(x.shape):

                def loss(t: Any, place: int = place, x: np.ndarray = x, index: tuple[int, ...] = index) -> Any:
                    moved = x.copy()
                    moved[index] = moved[index] + t
                    y = op.forward_definition(ar, *lifted[:place], moved, *lifted[place + 1 :], **params)
                    return ar.sum(cotangent * y)[()]

                grad[index] = derivative(loss)
            grads.append(grad)
        return tuple(grads)
