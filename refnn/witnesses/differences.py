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
from refnn.witnesses.reach import apart, reach

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

    def derivatives(losses: Callable[[Any], np.ndarray]) -> np.ndarray:
        here = losses(flint.acb(0))
        slopes = _each(lambda v: v.imag / h, losses(flint.acb(0, h)))
        found = np.full(here.shape, flint.arb.nan(), dtype=object)
        for radius in radii:
            spread = _upper(abs(losses(flint.acb(flint.arb(0, radius), flint.arb(0, radius))) - here))
            q = (h / radius) ** 2
            bounded = slopes + _around(_upper(spread / radius * q / (1 - q)))
            found = np.where(_finite(spread) & ~_finite(found), bounded, found)
            if _finite(found).all():
                break
        return found

    return _perturbed(ar, op, inputs, params, g, derivatives)


def promised_bits_complex_step(precision: int = PRECISION) -> int:
    """Half of the working precision: that much a division by h = 2**-(precision/2) may cost."""
    return precision // 2


def central(
    op: Op, inputs: Sequence[np.ndarray | None], params: Mapping[str, Any], g: np.ndarray, *, precision: int = PRECISION
) -> tuple[np.ndarray | None, ...]:
    """The derivative of sum(g * y) by each float input, as arrays of arb balls whose radius estimates the truncation
    error and bounds the rest; None for integers, absent inputs and those without a gradient."""
    ar = Arb(precision)
    half = flint.arb((1, -(precision // 8) - 1))  # h^6 takes 6/8 of the digits, the division by h the eighth
    tiny = flint.arb((1, -(precision // 2)))  # to one side h takes half of them, the division by h the others

    def derivatives(losses: Callable[[Any], np.ndarray]) -> np.ndarray:
        odd = {k: losses(k * half) - losses(-k * half) for k in (1, 2, 3, 4, 6)}
        coarse = sum(flint.arb(c) * odd[2 * k] for k, c in _STENCIL.items()) / (2 * half)
        fine = sum(flint.arb(c) * odd[k] for k, c in _STENCIL.items()) / half
        radius = _upper(abs(coarse - fine))
        smooth = radius <= tiny
        found = fine + _around(radius)
        if smooth.all():
            return found
        here = losses(0 * tiny)
        slopes = [[(losses(t) - here) / t for t in (side * tiny, side * tiny / 2)] for side in (1, -1)]
        (_, up), (_, down) = slopes
        radius = _upper(abs(up - down) + 2 * sum(abs(far - near) for far, near in slopes))
        return np.where(smooth, found, (up + down) / 2 + _around(radius))

    return _perturbed(ar, op, inputs, params, g, derivatives)


def promised_bits_central(precision: int = PRECISION) -> int:
    """Six eighths of the working precision: the truncation error is of order h^6 with h = 2**-(precision/8)."""
    return 6 * (precision // 8)


def _each(f: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    return np.asarray(np.frompyfunc(f, 1, 1)(x), dtype=object)


def _upper(x: np.ndarray) -> np.ndarray:
    return _each(lambda v: v.upper(), x)


def _around(radius: np.ndarray) -> np.ndarray:
    return _each(lambda r: flint.arb(0, r), radius)


def _finite(x: np.ndarray) -> np.ndarray:
    return _each(lambda v: v.is_finite(), x).astype(bool)


def _perturbed(
    ar: Arb,
    op: Op,
    inputs: Sequence[np.ndarray | None],
    params: Mapping[str, Any],
    g: np.ndarray,
    derivatives: Callable[[Callable[[Any], np.ndarray]], np.ndarray],
) -> tuple[np.ndarray | None, ...]:
    """The derivative of sum(g * y) by each element of each input that has a gradient. Elements from which no element of
    the output is computed together are moved at once: `derivatives` has theirs from t -> their sums where t is added to
    all of them. Each has a sum of its own, of what is computed from it, for the other terms would cancel."""
    needed = reach(op, inputs, params)
    with ar.working():
        lifted, cotangent = lift(ar, inputs), ar.array(g)
        grads: list[np.ndarray | None] = []
        for place, (name, declared) in enumerate(op.inputs.items()):
            x = lifted[place]
            if x is None or x.dtype.kind in "biu" or not declared.differentiable:
                grads.append(None)
                continue
            grad = np.empty(x.shape, dtype=object)
            for group in apart([(name, index) for index in np.ndindex(x.shape)], needed.ravel().tolist()):
                own = [np.array([p in places for places in needed.flat], bool).reshape(needed.shape) for p in group]

                def losses(t: Any, place: int = place, x: np.ndarray = x, group: Any = group, own: Any = own) -> Any:
                    moved = x.copy()
                    for _, index in group:
                        moved[index] = moved[index] + t
                    y = op.forward_definition(ar, *lifted[:place], moved, *lifted[place + 1 :], **params)
                    terms = np.asarray(cotangent * y, dtype=object)
                    return np.array([ar.sum(terms[mask])[()] for mask in own], dtype=object)

                for (_, index), slope in zip(group, derivatives(losses), strict=True):
                    grad[index] = slope
            grads.append(grad)
        return tuple(grads)
