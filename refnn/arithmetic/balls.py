r"""Balls: how far apart two evaluations of one definition can be.

A ball is a pair of float64 arrays. Write t for the exact real value of an expression, and v for the value that some
implementation of the class computes for it under the model. The invariant is

    |v - t| <= rad  for every v of the class, and for v = mid.

The second half holds because `mid` is itself such an evaluation: NumPy's float64 commits at each step at most the
error that the model allows, since no model is finer than float64 and elementary functions are counted with the larger
of the model's ulps and NumPy's own. Hence |t| <= |mid| + rad, and float64 is judged as strictly as float32.

Local errors, with u the unit roundoff and eta the smallest subnormal of the format at hand (derived from the standard
model fl(x op y) = (x op y)(1 + d), |d| <= u; Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 2.2):

    one addition            half an ulp of the largest possible result; exact below the normal range
    one product, quotient   u |result| + eta/2; a quotient 2u, which covers x * (1/y)
    k factors, any grouping (1+u)^k - 1 relative; below the normal range k eta/2 times the factors above 1
    sum of n, any order     (1+u)^(n-1) - 1 times the sum of magnitudes: no term passes more than n-1 additions
    dot of n, any order     (1+u)^n - 1 likewise, one more with a further term; an FMA only removes factors
    function with K ulps    K ulp(result), at least K eta

where v of the operands replaces t at most at distance rad, so magnitudes are those of |mid| + 2 rad or more.
Where a partial sum or product may reach the overflow threshold nothing is known and rad is infinite (out of scope).
Where a single result surely does, every evaluation gives mid = +-inf, while t is a number of that sign beyond the
format's largest, and rad is 0. `over` marks these results and those near them, where v may be infinite and is at least
half the largest number otherwise, as t is. What is made of them has a sound radius where that is possible (1/t is
within 2/max of 1/inf, tanh(t) is 1 to every digit), stays `over` where nothing can bring t back into the range, and is
unknown otherwise. Infinities and NaN that are no overflows propagate by IEEE 754, with rad 0.

Everything is evaluated in float64 to nearest and rounded outward by `_up`. That needs gradual underflow in the thread,
which `Balls` checks when it is made.

It is one file of more than 500 lines because the proof of each bound stands beside it, and all rest on `_close`.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import final

import numpy as np

from refnn.arithmetic import BLOCK, Convention, _erf, nearest, share, ties
from refnn.arithmetic.floats import hits, one_hot, take
from refnn.arithmetic.functions import FUNCTIONS, Function
from refnn.arithmetic.operators import Operators
from refnn.arithmetic.parts import Mask, Part, few, in_blocks, is_zero
from refnn.arithmetic.protocol import Arithmetic, Axis, OfMagnitudes, Real
from refnn.arithmetic.windows import Contraction, Windows
from refnn.formats import Format
from refnn.models import ULPS, Model, model

Array = np.ndarray
Radius = Part  # 0.0 is exact

_U = 2.0**-53
_TINY = 2.0**-1074
_BELOW_ONE = 1.0 - 2.0**-53
_LARGEST = float(np.finfo(np.float64).max)
_EXPONENT = np.int64(0x7FF0000000000000)
# Wider and narrower than what roundings in float64, and the ulps of NumPy's functions, can make of a number.
_OUT40, _OUT46, _OUT48, _IN50 = 1 + 2.0**-40, 1 + 2.0**-46, 1 + 2.0**-48, 1 - 2.0**-50


def _up(radius: Radius, roundings: int) -> Radius:
    """An upper bound of a non-negative sum of products that was evaluated with at most `roundings` roundings a path.

    (1 + 2(k+4)u)(1-u)^(k+2) >= 1 for k u <= 2**-12, and each product that underflowed lost at most half of 2**-1074.
    """
    radius = radius + roundings * _TINY
    radius *= _inflation(roundings)
    return radius


def _inflation(roundings: int) -> float:
    return 1.0 + (roundings + 4) * 2 * _U


def growth(u: float, roundings: int) -> float:
    """An upper bound of (1+u)^k - 1, for any k: no restriction as in gamma_k = ku/(1-ku)."""
    exponent = roundings * math.log1p(u)
    return math.expm1(exponent) * _OUT48 if exponent < 700 else math.inf  # e^709.8 overflows


def _binade(magnitude: np.ndarray) -> np.ndarray:
    """The power of two at or below each magnitude (0 below the normal range of float64)."""
    return np.bitwise_and(np.asarray(magnitude).view(np.int64), _EXPONENT).view(np.float64)


def _at_least(x: np.ndarray, floor: float) -> np.ndarray:
    """np.maximum with a number, which takes five times as long as the look whether it changes anything."""
    return x if not x.size or x.min() >= floor else np.maximum(x, floor)  # NaN stays NaN


def check_gradual_underflow() -> None:
    """RuntimeError where this thread flushes subnormal float64 numbers to zero: the bounds do not hold there."""
    tiny = np.array([2.0**-1022, _TINY])
    if not (tiny * np.array([0.5, 1.0]) > 0).all():
        raise RuntimeError(
            "this thread flushes subnormal numbers to zero, expected gradual underflow, without which the error bounds "
            "do not hold: torch.set_flush_denormal(True) does that, and so does loading a library that was linked with "
            "-Ofast or -ffast-math (compile with it, but link without it)"
        )


@final
class Ball(Operators):
    """Midpoints and radii; see the module's docstring.

    `pure` marks exact powers of two and zeros: factors that do not round. `library` is at most the part of the error,
    in unit roundoffs of the value, that elementary functions are allowed beside the rounding of their result. `over` is
    a mask of the elements that overflowed or may have (see above), or False.
    """

    __slots__ = ("ar", "library", "mid", "over", "pure", "rad")
    ar: Balls

    def __init__(
        self,
        ar: Balls,
        mid: np.ndarray,
        rad: Radius,
        pure: bool = False,
        library: float = 0.0,
        over: Mask = False,
    ) -> None:
        self.ar, self.mid, self.rad, self.pure, self.library, self.over = ar, mid, rad, pure, library, over

    shape = property(lambda self: self.mid.shape)
    ndim = property(lambda self: self.mid.ndim)
    size = property(lambda self: self.mid.size)

    def _map(self, f: Callable[[np.ndarray], np.ndarray]) -> Ball:
        rad = self.rad if isinstance(self.rad, float) else f(np.broadcast_to(self.rad, self.mid.shape))
        over = self.over if self.over is False else f(np.broadcast_to(self.over, self.mid.shape))
        return Ball(self.ar, f(self.mid), rad, self.pure, self.library, over)

    def __neg__(self) -> Ball:
        return Ball(self.ar, -self.mid, self.rad, self.pure, self.library, self.over)


def _blockwise(method: Callable[..., Ball]) -> Callable[..., Ball]:
    """An elementwise method, in blocks."""

    @functools.wraps(method)
    def blocked(self: Balls, *balls: Ball) -> Ball:
        if few(*balls):
            return method(self, *balls)
        shape = balls[0].shape
        large = len(shape) > 1 and math.prod(shape) >= 2 * BLOCK
        if large and all(b.shape == shape and b.mid.flags.c_contiguous for b in balls):
            return blocked(self, *(b.reshape(-1) for b in balls)).reshape(*shape)
        done: list[Ball] = []

        def parts(*pieces: Ball) -> tuple[np.ndarray, Radius, Mask]:
            done.append(method(self, *pieces))
            return done[-1].mid, done[-1].rad, done[-1].over

        mid, rad, over = in_blocks(parts, *balls)
        return Ball(self, mid, rad, library=done[-1].library, over=over)

    return blocked


_KNOWN_BETTER = ("exp", "log", "tanh", "expm1", "log1p", "erf", "erfc")  # than by their slope


def _moved(f: Function, mid: Array, rad: Radius, least: Ball | None) -> tuple[Array, Array]:
    """How far the values of a function may be apart where the arguments are by `rad`, and whether those are inside of
    its domain."""
    # one step outward: a radius may be far below an ulp of its midpoint
    low, high = np.nextafter(mid - 2 * rad, -np.inf), np.nextafter(mid + 2 * rad, np.inf)
    if least is not None:
        bound = np.nextafter(least.mid - 2 * least.rad, -np.inf)
        low = np.where(rad < np.inf, np.maximum(low, bound), low)
    prop = f.slope(f.steepest(low, high)) * _OUT40 * rad
    if f.monotone:  # no two values are farther apart than those of the ends
        prop = np.fmin(prop, np.abs(f(high) - f(low)) * _OUT40 + np.abs(f(mid)) * 2.0**-48)
    return prop, (low > f.start) & (high < f.end)


@functools.cache
def _smooth(name: str) -> Callable[..., Ball]:
    """A function as a method of Balls, bounded by its slope; unknown where what is computed may leave the domain."""
    f = FUNCTIONS[name]

    @_blockwise
    def method(self: Balls, x: Ball, least: Ball | None = None) -> Ball:
        with np.errstate(all="ignore"):
            mid, given = f(x.mid), np.broadcast_to(x.rad == 0.0, x.shape)
            inside = (x.mid >= f.start) & (x.mid <= f.end)
            prop: Radius = 0.0
            if not is_zero(x.rad):
                prop, within = _moved(f, x.mid, x.rad, least)
                inside &= given | within
                if f.monotone and self.model.compute.name != "float64":
                    # The radius of float64, which is at most 2**-26 of this one, may be one of the slope where this is
                    # one of the ends: the rule that it stays so small needs what is larger.
                    prop = np.fmax(prop, 2.0**26 * _OUT40 * _moved(f, x.mid, 2.0**-26 * x.rad, least)[0])
                prop = np.where(given, 0.0, np.where(inside, prop, np.inf))
            local = self._ulps_of(name, (np.abs(mid) + 2 * prop) * _OUT46)
            if f.exact is not None:
                local = np.where(given & (x.mid == f.exact), 0.0, local)
            lost = ~given & np.isinf(prop)
            self._lose(f"the argument of {name} may leave its domain, or reach where it is infinitely steep", lost)
            half = None if f.half is None else f.half(x.mid)  # and 3/2 of the largest number is beyond any rounding
            surely: Mask = False if half is None else given & (np.abs(half) > self.model.compute.max * 0.75)
            pole = np.isinf(mid) & ((x.mid == f.start) | (x.mid == f.end))
            ball = self._close(
                name,
                mid,
                prop,
                local,
                (x,),
                self.model.compute,
                special=given & np.isfinite(x.mid) & (~inside | pole),
                lost=lambda: lost,
                library=self._library(name),
                half=None if half is None else lambda: half,
                surely=surely,
            )
            limit = given & np.isinf(x.mid) & np.isfinite(mid)  # of atan a number that is rounded, of rsqrt zero
            rad = np.where(limit, np.where(mid == 0, 0.0, local), ball.rad)
            if x.over is False or not f.monotone:
                return Ball(self, ball.mid, rad, library=ball.library, over=ball.over)
            # What overflowed is beyond half the largest number, perhaps infinite, and so is the exact argument. Nothing
            # is known where the function is not as good as constant from there on, as an inverse root is not.
            near, end = f(np.copysign(self.model.compute.max / 2, x.mid)), f(np.copysign(np.inf, x.mid))
            local = self._ulps_of(name, np.maximum(np.abs(near), np.abs(end)) * _OUT46)
            known = x.over & np.isfinite(end) & (np.abs(end - near) <= local * 2.0**-26)
            mid = np.where(known, end, ball.mid)
            rad = np.where(known, _up(local * (1 + 2.0**-26), 12), np.where(x.over, np.inf, rad))
            return Ball(self, mid, rad, library=ball.library, over=ball.over)

    return method


class Balls(Arithmetic[Ball]):
    """The arithmetic of worst cases under `model`; `convention` decides at kinks and ties."""

    name = "Balls"

    def __init__(self, model_: str | Model, *, convention: Convention = 0.0) -> None:
        check_gradual_underflow()
        self.model, self.convention = model(model_), convention
        self.kinks = 0  # how many elements met a kink exactly
        self.open_branches = 0  # how many elements lay so near a kink that rounding decides the side
        self.overflows = 0  # how many results are infinite, or may be, though no operand is
        self.unknown: Counter[str] = Counter()  # what may overflow, or overflowed and was used: how many results
        host = ULPS["numpy-float64"] if self.model.compute.name == "float64" else {}
        self._ulps = {f: max(k, host.get(f, 0.0)) for f, k in self.model.ulps.items()}

    # --- borders -----------------------------------------------------------------------------------------------------

    def array(self, x: Array) -> Ball:
        mid = np.asarray(x).astype(np.float64)
        if self.model.flush:
            magnitude = np.abs(mid)
            lost = np.where(magnitude < self.model.storage.smallest_normal, magnitude, 0.0)
            # An implementation that flushes is off by exactly this: widened by what measuring that error may lose.
            return Ball(self, mid, _up(lost, 64) * (lost > 0)) if lost.any() else Ball(self, mid, 0.0)
        return Ball(self, mid, 0.0)

    def lift(self, x: Ball | int) -> Ball:
        if isinstance(x, Ball):
            return x
        if not isinstance(x, int):
            raise TypeError(f"an op combined an array with {x!r}, expected an integer or ar.real(...)")
        if x == 0 or abs(x).bit_count() == 1:
            return Ball(self, np.asarray(float(x)), 0.0, pure=True)
        return self.real(float(x))  # a count may need more digits than the format has

    def real(self, value: Real) -> Ball:
        fmt, mid = self.model.compute, np.asarray(value, np.float64)
        # What float64 has no digits for, and an implementation may lose on its way.
        rest = abs(float(value - Fraction(float(value)))) if isinstance(value, Fraction) else 0.0
        with np.errstate(all="ignore"):
            rounded = mid.astype(fmt.dtype).astype(np.float64)
            exact = (rounded == mid) & (rest == 0)
            if exact.all():
                return Ball(self, mid, 0.0, bool(((mid == 0) | (np.abs(np.frexp(mid)[0]) == 0.5)).all()))
            lost = self._half_ulp(np.abs(mid), fmt) + self._flush(np.abs(rounded), fmt)
            once = np.where(np.isfinite(rounded), _up(lost + rest, 3), np.inf)
            return Ball(self, mid, np.where(exact, 0.0, once))

    def constant(self, name: str) -> Ball:
        mid = np.asarray(nearest(name))  # the exact value is irrational: in float64, too, it is rounded
        return Ball(self, mid, _up(self._half_ulp(mid, self.model.compute), 2))

    def store(self, x: Ball) -> Ball:
        """Round a result to the storage format."""
        m = self.model
        if m.storage == m.compute:
            return x
        return self._stored(x, optional=False)

    def _stored(self, x: Ball, *, optional: bool) -> Ball:
        """x rounded to the storage format; if that is `optional`, what overflows there may also stay as it is."""
        fmt = self.model.storage
        with np.errstate(all="ignore"):
            top = self._top(x.mid, x.rad)
            half = self._half_ulp(top, fmt)
            stored = self._close(
                "storing", x.mid, x.rad, half, (x,), fmt, reach=top, partial=optional, library=x.library
            )
            return self._still_over(stored, x.mid, x.over, _surely(x))

    # --- local errors ------------------------------------------------------------------------------------------------

    def _outward(self, radius: Radius, roundings: int) -> Radius:
        """`_up`, or nothing yet for formats whose radii are far from underflow: `_close` does it once for all."""
        return _up(radius, roundings) if self.model.compute.name == "float64" else radius

    def _top(self, mid: np.ndarray, prop: Radius) -> np.ndarray:
        """An upper bound of what is rounded: |t| + |v - t| before the rounding itself."""
        top = np.asarray(np.abs(mid))
        if not is_zero(prop):
            top = top + 2 * prop
            top *= 1 + 2.0**-50
        return top

    def _half_ulp(self, top: np.ndarray, fmt: Format) -> np.ndarray:
        """Half an ulp of magnitudes up to `top`."""
        clipped = _at_least(top, fmt.smallest_normal)
        if fmt.name == "float64":
            clipped = np.minimum(clipped, _LARGEST)
        half = _binade(clipped)
        half *= fmt.unit_roundoff
        if fmt.name == "float64":
            half = np.maximum(half, _TINY)
        return half

    def _ulps_of(self, function: str, top: np.ndarray) -> np.ndarray:
        fmt = self.model.compute
        return (2 * self._ulps[function] * fmt.unit_roundoff) * _binade(_at_least(top, fmt.smallest_normal))

    def _flush(self, least: Array, fmt: Format) -> Part:
        """What a rounded result of magnitude `least` or more may lose where subnormal numbers become zero."""
        return np.where(least < fmt.smallest_normal, fmt.smallest_normal, 0.0) if self.model.flush else 0.0

    def _loss(self, fmt: Format) -> float:
        """What one product may lose below the normal range."""
        return fmt.smallest_normal if self.model.flush else max(fmt.smallest_subnormal / 2, _TINY)

    def _close(
        self,
        what: str,
        mid: Array,
        prop: Radius,
        local: Radius,
        operands: tuple[Ball, ...],
        fmt: Format,
        *,
        roundings: int = 12,
        special: Mask = False,
        lost: Callable[[], Mask] = lambda: False,
        reach: Array | None = None,
        partial: bool = False,
        library: float = 0.0,
        half: Callable[[], Array] | None = None,
        surely: Mask = False,
    ) -> Ball:
        """The ball of a result: the radius rounded outward, and what is not finite put in order. Of what overflowed in
        an operand nothing is known here. `what` names the operation.

        `reach` bounds what is rounded, by default the result itself; it includes `partial` results, where there are
        any. `special` says which elements are NaN or infinite by IEEE 754 although every operand is finite, `lost`
        tells which of those that are not finite nothing is known about. `library` is the result's own (see Ball).
        `half` the result is in the range of float64 where it is not itself. `surely` says which results overflow
        although float64 has no number for them.
        """
        mid = np.asarray(mid)
        if self.model.flush and not is_zero(local):
            local = local + (local > 0) * self._flush(np.abs(mid) - 2 * (prop + local), fmt)
        if isinstance(prop, float) and isinstance(local, float) and prop == local == 0.0:
            rad: Radius = 0.0
        elif fmt.name == "float64":
            rad = _up(prop + local, roundings)
        else:  # no coarser format holds numbers whose radii could underflow here
            rad = local if is_zero(prop) else prop if is_zero(local) else prop + local
            rad = rad * _inflation(roundings + 12 * len(operands))  # and what `_outward` left
        used = [b.over for b in operands if b.over is not False]
        if special is False and not used:
            # One number a side bounds all: NaN and infinities fail the comparison.
            if not mid.size:
                most = 0.0
            elif reach is None:
                most = (rad if isinstance(rad, float) else rad.max()) + max(mid.max(), -mid.min())
            else:
                most = reach.max()
            if most <= fmt.max:
                return Ball(self, mid, rad, library=library)
        if reach is None:
            reach = np.abs(mid) + rad
        mid, rad = np.array(mid), np.array(np.broadcast_to(rad, mid.shape))
        unknown = np.broadcast_to(lost(), mid.shape).copy()
        special = np.broadcast_to(special, mid.shape).copy()
        for b in operands:
            special |= np.broadcast_to(~np.isfinite(b.mid), mid.shape)
            unknown |= np.broadcast_to(np.isinf(b.rad), mid.shape)
        over = ~special & ~_stays_finite(reach, fmt)
        if fmt.name == "float64":  # where the operands are exact, every evaluation overflows as this one did
            certain = np.isinf(mid) & np.broadcast_to(prop == 0.0, mid.shape)
            certain &= False if half is None else np.abs(half()) > _LARGEST / 2 * _OUT40
        else:
            certain = np.abs(mid) - rad > fmt.max * (1 + fmt.unit_roundoff)
        certain |= surely
        surely = over & certain & ~np.isnan(mid) & (not partial)
        near = over & ~surely & (not partial)
        if near.any():
            beyond = half is not None and fmt.name == "float64" and (np.abs(half()) >= fmt.max / 4)
            near &= np.where(
                np.isinf(mid), beyond & np.broadcast_to(prop == 0.0, mid.shape), np.abs(mid) - rad >= fmt.max / 2
            )
        self.overflows += int(np.count_nonzero(surely | near))
        mid[surely] = np.copysign(np.inf, mid[surely])
        rad[special | surely] = 0.0
        fresh = over & ~surely & ~unknown
        self._lose(f"{what} may overflow {fmt.name}", fresh)
        rad[fresh | unknown] = np.inf
        for lost_ in used:
            rad[np.broadcast_to(lost_, mid.shape)] = np.inf
        return Ball(self, mid, rad, library=library, over=_mask(surely | (near & ~unknown)))

    def _lose(self, why: str, where: Mask) -> None:
        """Note how many results are unknown, and why."""
        if n := int(np.count_nonzero(where)):
            self.unknown[why] += n

    def _still_over(
        self, result: Ball, mid: Array, over: Mask, surely: Mask, within: Mask = False, rad: Radius = 0.0
    ) -> Ball:
        """The result with what became of overflows put in: as `mid`, and `surely` infinite or perhaps, where nothing
        brings them back (`over`), a number `within` some `rad` of zero, and unknown elsewhere."""
        if over is False and within is False:
            return result
        shape = result.shape
        full, radius = np.array(result.mid), np.array(np.broadcast_to(result.rad, shape))
        if over is not False:
            over = np.broadcast_to(over, shape)
            full[over] = np.broadcast_to(mid, shape)[over]
            radius[over] = np.where(np.broadcast_to(surely, shape)[over], 0.0, np.inf)
        if within is not False:
            within = np.broadcast_to(within, shape)
            full[within], radius[within] = 0.0, np.broadcast_to(rad, shape)[within]
        kept = np.zeros(shape, bool) | over | result.over
        return Ball(self, full, radius, False, result.library, _mask(kept))

    def _clamped(self, x: Ball) -> Ball:
        """x with half the largest number in place of what overflowed, for functions that are constant from there on, to
        every digit of every format, or overflow themselves."""
        if x.over is False:
            return x
        mid = np.where(x.over, np.copysign(self.model.compute.max / 2, x.mid), x.mid)
        rad = np.where(x.over, 0.0, x.rad)
        return Ball(self, mid, rad, library=x.library)

    def _far(self, x: Ball) -> Ball:
        """x, no further than where exponentials overflow every format but float64, in which they are to stay finite."""
        if self.model.compute.name == "float64" or np.max(x.mid, initial=0.0) <= 700:
            return x
        return Ball(self, np.where(x.mid < np.inf, np.minimum(x.mid, 700.0), x.mid), x.rad)

    # --- operations --------------------------------------------------------------------------------------------------

    @_blockwise
    def add(self, a: Ball, b: Ball) -> Ball:
        fmt = self.model.compute
        with np.errstate(all="ignore"):
            mid, prop = a.mid + b.mid, a.rad + b.rad
            top = self._top(mid, prop)
            library = min(a.library, b.library)
            result = self._close(
                "a sum",
                mid,
                prop,
                self._half_ulp(top, fmt),
                (a, b),
                fmt,
                reach=top,
                library=library,
                half=lambda: a.mid / 2 + b.mid / 2,
            )
            if a.over is False and b.over is False:
                return result
            # A term of the same sign leaves what overflowed beyond the range.
            grows = (a.over & _has_sign(b, a.mid)) | (b.over & _has_sign(a, b.mid))
            self._lose("a sum with what overflowed", (a.over | np.asarray(b.over)) & ~grows)
            return self._still_over(result, mid, grows, _surely(a) | _surely(b))

    def product(self, *factors: Ball | int, over: Ball | int | None = None) -> Ball:
        """The factors multiplied in any grouping, and divided by `over`."""
        balls = [self.lift(f) for f in factors]
        return self._product(*balls) if over is None else self._quotient(*balls, self.lift(over))

    @_blockwise
    def _quotient(self, *balls: Ball) -> Ball:
        return self._multiply(list(balls[:-1]), balls[-1])

    @_blockwise
    def _product(self, *balls: Ball) -> Ball:
        return self._multiply(list(balls), None)

    def _multiply(self, balls: list[Ball], over: Ball | None) -> Ball:
        fmt = self.model.compute
        with np.errstate(all="ignore"):
            mid, prop = balls[0].mid, balls[0].rad
            for f in balls[1:]:
                # |va vb - ta tb| <= |ta| rb + |tb| ra + ra rb, and |t| <= |mid| + rad
                if not is_zero(prop) and not is_zero(f.rad):
                    prop = self._outward(np.abs(mid) * f.rad + (np.abs(f.mid) + 3 * f.rad) * prop, 8)
                elif not is_zero(prop):
                    prop = self._outward(np.abs(f.mid) * prop, 8)
                elif not is_zero(f.rad):
                    prop = self._outward(np.abs(mid) * f.rad, 8)
                mid = mid * f.mid
            roundings = max(sum(not f.pure for f in balls) - 1, 0)
            # A power of two does not round, but it loses below the normal range where it makes a product smaller.
            losses = roundings + sum(f.pure and bool(np.any((f.mid != 0) & (np.abs(f.mid) < 1))) for f in balls)
            special: Mask = False
            zero: Mask = False  # where the divisor may be
            factors = balls
            if over is not None:
                d = over
                if not d.mid.all():
                    special = (d.mid == 0) & (d.rad == 0.0)
                low = np.abs(d.mid) - 2 * d.rad
                if not (is_zero(prop) and is_zero(d.rad)):
                    # |va/vd - ta/td| <= (|va - ta| + |ta/td| |vd - td|) / |vd|, and |vd|, |td| >= low
                    inverse = 1 / low
                    moved = 0.0 if is_zero(d.rad) else (np.abs(mid) + prop) * inverse * (d.rad * inverse)
                    prop = self._outward(prop * inverse + moved, 12)
                    if not np.all(low > 0):
                        zero = ~(low > 0) & np.logical_not(special) & np.isfinite(d.mid)
                        self._lose("a divisor may be zero", zero & (d.rad < np.inf))
                        prop = np.where(low > 0, prop, np.where(special, 0.0, np.inf))
                mid = mid / d.mid
                roundings += 0 if d.pure else 2
                losses += 1 if d.pure else 2
                balls = [*balls, d]

            def lost() -> Mask:
                unsure = _infinite_times_unsure(balls)
                self._lose("an infinity times what may be of either sign", unsure)
                return unsure | zero

            if losses == 0:
                result = self._close(
                    "a product",
                    mid,
                    prop,
                    0.0,
                    tuple(balls),
                    fmt,
                    special=special,
                    lost=lost,
                    library=sum(b.library for b in balls),
                )
                return self._over_in_product(result, mid, factors, over)
            local = np.abs(mid)
            if not is_zero(prop):
                local = local + 2 * prop
            local *= growth(fmt.unit_roundoff, roundings)
            reach = None
            if len(balls) == 2 and (over is None or balls[1].pure):
                local += self._loss(fmt)
            else:
                magnitudes = [(np.abs(f.mid), f.rad) for f in factors]
                if not self._partial_products_are_normal(magnitudes, over, roundings, fmt):
                    if over is not None:
                        magnitudes.append((1 / np.abs(over.mid), np.where(low > 0, over.rad / low / low, np.inf)))
                    loss, reach = self._partial_products(magnitudes, roundings, losses, fmt)
                    local += loss
                    if len(factors) == 1:  # no partial product but 1/d
                        reach = (magnitudes[1][0] + 2 * magnitudes[1][1]) * (1 + 2 * fmt.unit_roundoff)
                    reach = np.maximum(reach, np.abs(mid) + prop + local)
            result = self._close(
                "a product" if over is None else "a quotient",
                mid,
                prop,
                local,
                tuple(balls),
                fmt,
                special=special,
                lost=lost,
                reach=reach,
                partial=reach is not None,
                library=sum(b.library for b in balls),
                half=lambda: (
                    math.prod((f.mid for f in factors), start=np.asarray(0.5)) / (1.0 if over is None else over.mid)
                ),
            )
            return self._over_in_product(result, mid, factors, over)

    def _over_in_product(self, result: Ball, mid: Array, factors: list[Ball], over: Ball | None) -> Ball:
        """A product or quotient with what overflowed put in: it stays beyond the range where nothing makes it smaller;
        divided by it, what is finite in every grouping lies within 1/max of zero."""
        every = factors if over is None else [*factors, over]
        if all(b.over is False for b in every):
            return result
        most = self.model.compute.max
        above: Mask = False
        surely: Mask = False
        grows: Mask = True if over is None else ~np.asarray(over.over) & (np.abs(over.mid) + 2 * over.rad <= 1)
        reach: Part = (1 + growth(self.model.compute.unit_roundoff, len(factors))) * _OUT40
        size: Part = 1.0
        for f in factors:
            above, surely = above | np.asarray(f.over), surely | _surely(f)
            grows = grows & (np.asarray(f.over) | (np.isfinite(f.mid) & (np.abs(f.mid) - 2 * f.rad >= 1)))
            reach = reach * np.maximum(np.abs(f.mid) + 2 * f.rad, 1.0)
            size = size * (np.abs(f.mid) + 2 * f.rad)
        grows = grows & above & (True if over is None else over.mid != 0)
        within: Mask = False
        rad: Radius = 0.0
        if over is not None:
            within = np.asarray(over.over) & ~np.asarray(above) & (reach <= most)
            rad = _up(2 * size / most, 2 * len(factors) + 4)
        self._lose("a product with what overflowed", np.asarray(_any_over(every)) & np.logical_not(grows | within))
        return self._still_over(result, mid, grows, surely, within, rad)

    def _partial_products_are_normal(
        self, magnitudes: list[tuple[Array, Radius]], over: Ball | None, roundings: int, fmt: Format
    ) -> bool:
        """Whether one number a factor bounds all partial products away from underflow and overflow.

        A partial product is at most the product of the factors above 1 and at least that of the factors below 1, up to
        (1+u)^roundings.
        """
        highest, lowest = (1 + growth(fmt.unit_roundoff, roundings)) * _OUT40, 1.0
        for m, r in magnitudes:
            if m.size:
                most, bottom = (float(np.max(m)), m) if is_zero(r) else (float(np.max(m) + 2 * np.max(r)), m - 2 * r)
                smallest = float(np.min(bottom))
                if smallest <= 0:  # an exact zero makes the product zero, whatever else underflows
                    smallest = float(np.min(bottom, where=(m > 0) | (r > 0), initial=1.0))
                highest *= max(1.0, most)
                lowest *= min(1.0, max(0.0, smallest))
        if over is not None and over.size:
            size = np.abs(over.mid)
            smallest = float(np.min(size if is_zero(over.rad) else size - 2 * over.rad))
            if smallest <= 0:
                return False
            highest *= max(1.0, 1 / smallest)
            lowest *= min(1.0, 1 / float(np.max(size) + 2 * np.max(over.rad)))
        return bool(lowest >= 2 * fmt.smallest_normal and highest <= fmt.max)

    def _partial_products(
        self, magnitudes: list[tuple[Array, Radius]], roundings: int, losses: int, fmt: Format
    ) -> tuple[Array, Array]:
        """What the partial products of any grouping may lose below the normal range, and how far they may reach.

        Each of `losses` operations may lose once, and the factors that follow enlarge what it lost.
        """
        grown = (1 + growth(fmt.unit_roundoff, roundings)) * _OUT40
        above_one = math.prod((np.maximum(1.0, m + 2 * r) for m, r in magnitudes), start=np.asarray(1.0))
        least = math.prod(
            (np.where((m == 0) & (r == 0), 1.0, np.clip(m - 2 * r, 0.0, 1.0)) for m, r in magnitudes),
            start=np.asarray(0.5),
        )
        zero = np.logical_or.reduce(np.broadcast_arrays(*[(m == 0) & (r == 0.0) for m, r in magnitudes]))
        lost = np.where((least < fmt.smallest_normal) & ~zero, losses * self._loss(fmt) * above_one * grown, 0.0)
        return lost, above_one * grown

    def sum(self, x: Ball, axis: Axis = None, keepdims: bool = False) -> Ball:
        with np.errstate(all="ignore"):
            mid = np.sum(x.mid, axis=axis, keepdims=keepdims)
            terms = x.mid.size // max(np.size(mid), 1)
            prop: Radius = 0.0
            if not is_zero(x.rad):
                prop = np.sum(np.broadcast_to(x.rad, x.shape), axis=axis, keepdims=keepdims)
            if self.model.dot_flush:  # as a dot product with ones
                size = np.abs(x.mid)
                prop = prop + np.sum(self._unread(size, size + 3 * x.rad), axis=axis, keepdims=keepdims)
            if terms <= 1:
                over = x.over if x.over is False else np.any(np.broadcast_to(x.over, x.shape), axis, keepdims=keepdims)
                return Ball(self, mid, prop, library=x.library, over=over)
            total = np.sum(np.abs(x.mid), axis=axis, keepdims=keepdims)
            special: Mask = False
            if not np.isfinite(total).all():
                finite = np.isfinite(x.mid)
                special = ~finite.all(axis=axis, keepdims=keepdims)
                total = np.sum(np.where(finite, np.abs(x.mid), 0.0), axis=axis, keepdims=keepdims)
                prop = 0.0 if is_zero(prop) else np.where(special & np.isnan(prop), 0.0, prop)
            result = self._accumulated(mid, prop, total, terms - 1, 0, special, x.library)
            if x.over is False:
                return result
            touched = np.any(np.broadcast_to(x.over, x.shape), axis=axis, keepdims=keepdims)
            # Terms of the same sign leave what overflowed beyond the range.
            up, down = (np.all(_has_sign(x, s), axis=axis, keepdims=keepdims) for s in (1.0, -1.0))
            grows = touched & (up | down)
            self._lose("a sum with what overflowed", touched & ~grows)
            surely = np.any(np.broadcast_to(_surely(x), x.shape), axis=axis, keepdims=keepdims)
            return self._still_over(self._unknown_where(result, touched), mid, grows, surely)

    def _unknown_where(self, result: Ball, where: Mask) -> Ball:
        rad = np.where(where, np.inf, result.rad)
        return Ball(self, result.mid, rad, result.pure, result.library, result.over)

    def contract(self, form: Contraction, a: Ball, b: Ball, plus: Ball | None = None) -> Ball:
        terms = form.terms

        def applied(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return np.asarray(form.apply(np.matmul, x, y))

        with np.errstate(all="ignore"):
            mid = applied(a.mid, b.mid)
            prop: Radius = 0.0
            wide_a, wide_b = _full(a), _full(b)
            special: Mask = False
            ma, mb = np.abs(a.mid), np.abs(b.mid)
            odd_a, odd_b = ~np.isfinite(ma), ~np.isfinite(mb)
            if odd_a.any() or odd_b.any():
                ends = form.limits(a.mid, b.mid)
                special = ~np.isfinite(ends)
                ma, mb = np.where(odd_a, 0.0, ma), np.where(odd_b, 0.0, mb)
                mid = np.where(special, ends, applied(np.where(odd_a, 0.0, a.mid), np.where(odd_b, 0.0, b.mid)))
            if wide_b is not None:
                prop = prop + applied(ma, wide_b)
            if wide_a is not None:
                prop = prop + applied(wide_a, mb if wide_b is None else mb + 3 * wide_b)
            total = form.of_magnitudes(ma, mb)
            if self.model.dot_input:
                prop = prop + ((1 + self.model.dot_input) ** 2 - 1) * (total + 2 * prop)
            if self.model.dot_floor:
                # |(a + da)(b + db) - ab| has, beside the relative part, at most |da| (|b| + |db|) + |a| |db|.
                tops = [m if r is None else m + 3 * r for m, r in ((ma, wide_a), (mb, wide_b))]
                (top_a, lost_a), (top_b, lost_b) = (
                    (t, self._unread(m, t)) for t, m in zip(tops, (ma, mb), strict=True)
                )
                if lost_a.any() or lost_b.any():
                    grown = 1 + self.model.dot_input
                    prop = prop + (applied(lost_a, (top_b + lost_b) * grown) + applied(top_a * grown, lost_b))
            nothing = np.asarray(total == 0)
            if nothing.any():
                nothing &= (prop == 0) & ~np.asarray(special) & _no_underflow((ma, wide_a), (mb, wide_b))
            if plus is not None:
                mid, total, prop = mid + plus.mid, total + np.abs(plus.mid), prop + plus.rad
                if not np.isfinite(plus.mid).all():
                    special = special | ~np.isfinite(plus.mid)
                    total = np.where(np.isfinite(total), total, 0.0)
            result = self._accumulated(mid, prop, total, terms + (plus is not None), terms, special, 0.0)
            if nothing.any() and not (self.model.flush or self.model.dot_flush):  # zeros add up to what is added
                result.rad = np.where(nothing, 0.0 if plus is None else plus.rad, result.rad)
            used: Mask = False if plus is None else plus.over
            for x, y, met in ((a, b, True), (b, a, False)):
                if x.over is not False:
                    mask, ones = np.broadcast_to(x.over, x.shape).astype(float), np.ones(y.shape)
                    used = used | ((applied(mask, ones) if met else applied(ones, mask)) > 0)
            if used is False:
                return result
            used = np.broadcast_to(used, result.shape)
            self._lose("a sum of products with what overflowed", used)
            return self._unknown_where(result, used)

    def _unread(self, magnitude: np.ndarray, top: np.ndarray) -> np.ndarray:
        """What the factors of a dot product may lose absolutely; they lie between 2 magnitude - top and top."""
        m = self.model
        return np.where(2 * magnitude - top < m.compute.smallest_normal, np.minimum(top, m.dot_floor), 0.0)

    def _accumulated(
        self,
        mid: Array,
        prop: Radius,
        total: Array,
        roundings: int,
        products: int,
        special: Mask,
        library: float,
        *,
        dot: bool = True,
    ) -> Ball:
        """A sum with its own roundings; `total` is the sum of magnitudes. Units for `dot` products may make it."""
        m, fmt = self.model, self.model.accumulate
        flush = m.flush or (dot and m.dot_flush)
        relative = growth(fmt.unit_roundoff, roundings)
        steps = products + (roundings if flush else 0)
        loss = fmt.smallest_normal if flush else self._loss(fmt)
        local = relative * (total + 2 * prop) + steps * (1 + relative) * loss
        reach = total + prop + local
        if special is not False:  # the rules of IEEE 754 hold as long as the finite terms cannot overflow
            special = special & (reach <= fmt.max)
        return self._close(
            f"a sum of {roundings + 1} terms",
            mid,
            prop,
            local,
            (),
            fmt,
            roundings=roundings + 12,
            special=special,
            reach=reach,
            partial=True,
            library=library,
        )

    # --- elementary functions ----------------------------------------------------------------------------------------

    def _library(self, name: str) -> float:
        """What a function is allowed beside the rounding of its result, in unit roundoffs (see Ball)."""
        return 2 * self.model.ulps[name] - 1

    def function(self, name: str, x: Ball, least: Ball | None = None) -> Ball:
        if name in _KNOWN_BETTER:
            better: Ball = getattr(self, name)(x)
            return better
        return _smooth(name)(self, x) if least is None else _smooth(name)(self, x, least)

    @_blockwise
    def exp(self, x: Ball) -> Ball:
        fmt, x = self.model.compute, self._far(self._clamped(x))
        with np.errstate(all="ignore"):
            mid = np.exp(x.mid)
            surely = x.mid - 2 * x.rad > math.log(fmt.max) + 1  # above the largest number by a factor of e
            if is_zero(x.rad):
                local = self._ulps_of("exp", mid * _OUT48) * (x.mid != 0)  # exp(0) is exact
                return self._close(
                    "exp",
                    mid,
                    0.0,
                    local,
                    (x,),
                    fmt,
                    library=self._library("exp"),
                    half=lambda: np.exp(x.mid - 1) * (math.e / 2),
                    surely=surely,
                )
            library = self._library("exp")
            if fmt.name != "float64" and np.max(x.rad, initial=0.0) <= 2.0**-10:
                # e^r <= 1 + 2r and e^r - 1 <= r (1 + r) for r <= 1. Where mid underflowed, the local error is above.
                spread = 2 * x.rad
                spread += 1 + 2.0**-40
                prop = mid * spread
                local = self._ulps_of("exp", prop * spread)
                prop *= x.rad
                prop *= 1 + 2.0**-9
                return self._close("exp", mid, prop, local, (x,), fmt, library=library)
            # |e^v - e^t| <= e^t (e^r - 1), and t <= mid + r; where r is large, that is below e^(mid + 2r).
            spread = np.exp(x.rad) * _OUT48
            near = mid * spread * np.expm1(x.rad) * _OUT46
            top = np.exp(x.mid + 2 * x.rad + np.abs(x.mid) * 2.0**-51) * _OUT40
            prop = np.where(x.rad < 1, near, top)
            local = np.where((x.mid == 0) & (x.rad == 0), 0.0, self._ulps_of("exp", top))
            return self._close("exp", mid, prop, local, (x,), fmt, library=self._library("exp"), surely=surely)

    @_blockwise
    def log(self, x: Ball) -> Ball:
        with np.errstate(all="ignore"):
            mid = np.log(x.mid)
            low = x.mid - 2 * x.rad
            # |log v - log t| <= -log(1 - r/t) <= r / (t - r), and t >= mid - r
            prop: Radius = 0.0 if is_zero(x.rad) else np.where(low > 0, x.rad / low * _OUT48, np.inf)
            local = self._ulps_of("log", (np.abs(mid) + 2 * prop) * _OUT46)
            local = np.where((x.mid == 1) & (x.rad == 0.0), 0.0, local)
            special: Mask = False if np.all(low > 0) else (x.rad == 0.0) & (x.mid <= 0)
            return self._logarithm("log", x, low, mid, prop, local, special)

    @_blockwise
    def tanh(self, x: Ball) -> Ball:
        x = self._clamped(x)
        with np.errstate(all="ignore"):
            mid = np.tanh(x.mid)
            prop: Radius = 0.0
            top = np.abs(mid) * _OUT46  # an ulp of that is no more than one of 1
            if not is_zero(x.rad):  # the slope 1/cosh^2 is at most 4 exp(-2|.|) and at most 1
                nearest = np.maximum(np.abs(x.mid) - 2 * x.rad, 0.0)
                prop = np.minimum(4 * np.exp(-2 * nearest) * _OUT46, 1.0) * x.rad
                top = np.minimum((np.abs(mid) + 2 * prop) * _OUT46, 1.0)
            local = self._ulps_of("tanh", top) * ((x.mid != 0) | (x.rad != 0.0))  # tanh(0) is exact
            return self._close("tanh", mid, prop, local, (x,), self.model.compute, library=self._library("tanh"))

    @_blockwise
    def expm1(self, x: Ball) -> Ball:
        x = self._far(self._clamped(x))
        with np.errstate(all="ignore"):
            mid = np.expm1(x.mid)
            prop: Radius = 0.0
            if not is_zero(x.rad):  # |e^v - e^t| <= e^t (e^r - 1) <= e^(mid + 2r) (1 - e^-r)
                prop = np.exp(x.mid + 2 * x.rad) * -np.expm1(-x.rad) * _OUT40
            above, below = mid + 2 * prop, np.minimum((np.abs(mid) + 2 * prop) * _OUT46, _BELOW_ONE)
            local = self._ulps_of("expm1", np.maximum(above * _OUT46, below))
            local = np.where((x.mid == 0) & (x.rad == 0.0), 0.0, local)
            return self._close(
                "expm1",
                mid,
                prop,
                local,
                (x,),
                self.model.compute,
                library=self._library("expm1"),
                half=lambda: np.exp(x.mid - 1) * (math.e / 2),
            )

    @_blockwise
    def log1p(self, x: Ball) -> Ball:
        with np.errstate(all="ignore"):
            mid = np.log1p(x.mid)
            low = (1 + x.mid) * _IN50 - 2 * x.rad  # as for log; the sum is exact where it may cancel with r
            prop: Radius = 0.0 if is_zero(x.rad) else np.where(low > 0, x.rad / low * _OUT48, np.inf)
            local = self._ulps_of("log1p", (np.abs(mid) + 2 * prop) * _OUT46)
            local = np.where((x.mid == 0) & (x.rad == 0.0), 0.0, local)
            special: Mask = False if np.all(low > 0) else (x.rad == 0.0) & (x.mid <= -1)
            return self._logarithm("log1p", x, low, mid, prop, local, special)

    def _logarithm(self, name: str, x: Ball, low: Array, mid: Array, prop: Radius, local: Array, special: Mask) -> Ball:
        """The ball of a logarithm, unknown where the argument may reach zero or overflowed; `low` is its least."""
        fmt = self.model.compute
        zero = False if special is False else ~(low > 0) & ~special & np.isfinite(x.mid) & (x.rad < np.inf)
        self._lose("a logarithm of what overflowed", x.over)
        self._lose("the argument of a logarithm may be zero or less", zero)
        library = self._library(name)
        return self._close(name, mid, prop, local, (x,), fmt, special=special, lost=lambda: zero, library=library)

    @_blockwise
    def erf(self, x: Ball) -> Ball:
        return self._error_function("erf", _erf.erf, x, _BELOW_ONE)

    @_blockwise
    def erfc(self, x: Ball) -> Ball:
        return self._error_function("erfc", _erf.erfc, x, 2 * _BELOW_ONE)

    def _error_function(self, name: str, function: Callable[[Array], np.ndarray], x: Ball, most: float) -> Ball:
        x = self._clamped(x)
        with np.errstate(all="ignore"):
            mid = function(x.mid)
            prop: Radius = 0.0
            if not is_zero(x.rad):
                # From n outward exp(-s^2) <= exp(-n^2) exp(-2n (s - n)), whose integral over a length r is
                # exp(-n^2) (1 - exp(-2nr)) / 2n <= exp(-n^2) r / (1 + nr), because tanh z <= z; over r it grows with r.
                nearest = np.maximum(np.abs(x.mid) - 2 * x.rad, 0.0)
                slope = (2 / math.sqrt(math.pi) * _OUT40) * np.exp(-nearest * nearest)
                prop = slope * (x.rad / (1 + nearest * x.rad))
            local = self._ulps_of(name, np.minimum((np.abs(mid) + 2 * prop) * _OUT46, most))
            local = np.where((x.mid == 0) & (x.rad == 0.0), 0.0, local)
            return self._close(name, mid, prop, local, (x,), self.model.compute, library=self._library(name))

    # --- kinks and choices -------------------------------------------------------------------------------------------

    def abs(self, x: Ball) -> Ball:
        return Ball(self, np.abs(x.mid), x.rad, x.pure, x.library, x.over)

    def relu(self, x: Ball) -> Ball:
        mid, rad = np.maximum(x.mid, 0.0), x.rad
        over: Mask = False
        if x.over is not False:
            over, rad = x.over & (x.mid > 0), np.where(x.over & (x.mid < 0), 0.0, rad)
        if is_zero(rad):
            return Ball(self, mid, rad, library=x.library, over=over)
        # Below zero no value is above mid + 2 rad, and none of those below zero counts.
        with np.errstate(all="ignore"):
            low = (x.mid < 0) & (rad < np.inf)
            rad = np.where(low, np.clip(x.mid * _IN50 + 2 * rad, 0.0, rad), rad)
        return Ball(self, mid, rad, library=x.library, over=over)

    def branch(self, x: Ball, above: Ball | int, below: Ball | int, at: Ball | int = 0, kink: str = "0") -> Ball:
        above, below, at = self.lift(above), self.lift(below), self.lift(at)
        with np.errstate(all="ignore"):
            side, doubt = x.mid, x.rad if x.over is False else np.where(x.over, 0.0, x.rad)
            if at.mid.any():  # the sign of a difference of float64 numbers is right, and zero only where they are equal
                side, doubt = x.mid - at.mid, doubt + at.rad
                if self.model.flush:  # where it is flushed, the sides are equal
                    doubt = doubt + (side != 0) * self._flush(np.abs(side) - 2 * doubt, self.model.compute)
            kinked = (side == 0) & (doubt == 0.0)
            self.kinks += int(np.count_nonzero(kinked))
            own = share(self.convention, kink)
            part = np.where(side > 0, 1.0, np.where(kinked, own, np.where(np.isnan(side), np.nan, 0.0)))
            mid = np.where(
                part == 1, above.mid, np.where(part == 0, below.mid, part * above.mid + (1 - part) * below.mid)
            )
            rad: Radius = 0.0
            if not (is_zero(above.rad) and is_zero(below.rad)):
                rad = np.where(part == 1, above.rad, np.where(part == 0, below.rad, above.rad + below.rad))
                rad = np.where(np.isnan(side), x.rad, rad)  # NaN, whatever the others are
            if not is_zero(doubt):
                open_ = ~kinked & (np.abs(side) <= 2 * doubt)
                if open_.any():
                    self.open_branches += int(np.count_nonzero(open_))
                    # One on the other side is off by exactly this: widened by what measuring that error may lose.
                    # |va - tb| <= |va - ta| + |ta - mid a| + |mid a - mid b| + |mid b - tb|
                    widths = above.rad + below.rad + np.maximum(above.rad, below.rad)
                    hull = _up(np.abs(above.mid - below.mid) + widths, 64)
                    rad = np.where(open_, hull, rad)
            taken: Mask = False
            if _any_over((above, below)) is not False:
                taken = np.where(part == 1, above.over, np.where(part == 0, below.over, False))
            return Ball(self, mid, rad, over=taken)

    def windows(self, x: Ball, w: Windows) -> Ball:
        return x._map(w.gather)

    def fold(self, x: Ball, w: Windows) -> Ball:
        with np.errstate(all="ignore"):
            mid = w.fold(x.mid)
            prop: Radius = 0.0 if is_zero(x.rad) else w.fold(np.broadcast_to(x.rad, x.shape))
            over = x.over if x.over is False else w.fold(np.broadcast_to(x.over, x.shape).astype(float)) > 0
            if w.coverage <= 1:
                return Ball(self, mid, prop, library=x.library, over=over)
            finite = np.isfinite(x.mid)
            total = w.fold(np.where(finite, np.abs(x.mid), 0.0))
            special: Mask = False if finite.all() else w.fold((~finite).astype(float)) > 0
            result = self._accumulated(mid, prop, total, w.coverage - 1, 0, special, x.library, dot=False)
            self._lose("a sum with what overflowed", over)
            return result if over is False else self._unknown_where(result, over)

    def _able(self, x: Ball, axis: int, among: np.ndarray | None) -> np.ndarray:
        """Which elements may be the maximum along the axis in some evaluation."""
        unsure = np.isinf(x.rad)
        low, high = np.where(unsure, -np.inf, x.mid - 2 * x.rad), np.where(unsure, np.inf, x.mid + 2 * x.rad)
        if x.over is not False:  # beyond the largest number, nobody knows how far
            low = np.where(x.over & (x.mid > 0), self.model.compute.max / 2, low)
            high = np.where(x.over & (x.mid < 0), -self.model.compute.max / 2, high)
        if among is not None:
            low, high = np.where(among, low, -np.inf), np.where(among, high, -np.inf)
        able = np.asarray((high >= np.max(low, axis=axis, keepdims=True)) | np.isnan(x.mid))
        return able if among is None else able & among

    def max(self, x: Ball, axis: int, among: np.ndarray | None = None) -> Ball:
        with np.errstate(all="ignore"):
            mid = np.max(x.mid if among is None else np.where(among, x.mid, -np.inf), axis=axis)
            over: Mask = False
            if x.over is not False:  # unless an infinity that is none takes part
                top = x.mid == np.expand_dims(mid, axis)
                over = np.any(x.over & top, axis=axis) & ~np.any(np.isinf(x.mid) & ~x.over & top, axis=axis)
            if is_zero(x.rad):
                return Ball(self, mid, 0.0, library=x.library, over=over)
            # Only those that may be the maximum count, and it moves no further than the one that moves furthest.
            able, full = self._able(x, axis, among), np.broadcast_to(x.rad, x.shape)
            rad = np.max(np.where(able, full, 0.0), axis=axis)
            # What is surely NaN or infinity stays so, whatever the others are.
            sure = np.any(hits(x.mid, axis, among, "any") & (full == 0), axis=axis) & ~(mid < np.inf)
            return Ball(self, mid, np.where(sure, 0.0, rad), library=x.library, over=over)

    def route(self, g: Ball, x: Ball, axis: int, among: np.ndarray | None = None) -> Ball:
        rule = ties(self.convention)
        with np.errstate(all="ignore"):
            chosen = hits(x.mid, axis, among, rule)
            sent = g._map(lambda a: np.expand_dims(a, axis))
            exact = is_zero(x.rad) and x.over is False
            tied = hits(x.mid, axis, among, "any") if exact else self._able(x, axis, among)
            several = tied & (np.count_nonzero(tied, axis=axis, keepdims=True) > 1)
            if rule == "split":
                cells = np.maximum(np.count_nonzero(chosen, axis=axis, keepdims=True), 1)
                part = self.product(sent, over=self.real(cells))
                sent = Ball(self, part.mid, np.where(cells > 1, part.rad, sent.rad))
            elif rule == "any":  # a weight is at most 1: rounded itself, perhaps as a quotient, and its product
                local = growth(self.model.compute.unit_roundoff, 3) * (np.abs(sent.mid) + 2 * sent.rad)
                loose = _up(sent.rad + local + 2 * self._loss(self.model.compute), 64)
                sent = Ball(self, sent.mid, np.where(several, loose, sent.rad))
            mid = np.where(chosen, sent.mid, 0.0)
            rad: Radius = 0.0 if is_zero(sent.rad) else np.where(chosen, sent.rad, 0.0)
            unsure = several & np.any(tied & ((np.asarray(x.rad) != 0) | x.over), axis=axis, keepdims=True)
            self.kinks += int(np.count_nonzero(several & ~unsure))
            if unsure.any():  # whoever can be the maximum may get anything between nothing and all of it
                self.open_branches += int(np.count_nonzero(unsure))
                whole = g._map(lambda a: np.expand_dims(a, axis))
                # One that chose another is off by exactly this: widened by what measuring that error may lose.
                rad = np.where(unsure, _up(np.abs(whole.mid) + 2 * whole.rad, 64), rad)
            over = sent.over if sent.over is False else chosen & sent.over
            return Ball(self, mid, rad, library=sent.library, over=over)

    def pivot(self, x: Ball, axis: int, finite: bool = False) -> Ball:
        rad = x.rad if is_zero(x.rad) else np.max(np.broadcast_to(x.rad, x.shape), axis=axis, keepdims=True)
        top = np.max(x.mid, axis=axis, keepdims=True)
        over: Mask = False
        if x.over is not False and not finite:
            over = np.any(x.over & (x.mid == top), axis=axis, keepdims=True)
        return Ball(self, np.where(np.isinf(top), 0.0, top) if finite else top, rad, over=over)

    def saved(self, x: Ball, times: int = 1) -> Ball:
        for _ in range(times if self.model.saved else 0):
            x = self._stored(x, optional=True)
        return x

    def often(self, most: int, typical: int) -> int:
        return most

    def optional(self, x: Ball) -> Ball:
        with np.errstate(all="ignore"):
            return Ball(self, x.mid, _up(np.abs(x.mid) + x.rad, 2))

    def either(self, first: Callable[[], Ball], second: Callable[[], Ball]) -> Ball:
        a, before = first(), (self.overflows, self.unknown.copy())
        b = second()
        self.overflows, self.unknown = before  # where the second overflows, it is not taken
        rad, over = a.rad, a.over
        if not (is_zero(a.rad) and is_zero(b.rad)):
            # Both are of the same exact value, and the midpoint is that of the first.
            # What the second makes of an overflow is not taken, but of what only may overflow it may make a number.
            sound = np.isfinite(b.mid)
            rad = np.where(sound, np.maximum(a.rad, b.rad), a.rad)
            if over is not False:  # the first alone is infinite
                rad, over = np.where(over & sound, np.inf, rad), _mask(over & ~sound)
        library = min(a.library, b.library)
        return Ball(self, a.mid, rad, library=library, over=over)

    def inexact(
        self,
        x: Ball,
        operands: tuple[Ball, ...],
        worst: OfMagnitudes,
        expected: OfMagnitudes,
        reach: OfMagnitudes | None = None,
    ) -> Ball:
        fmt = self.model.compute
        floor = self._loss(fmt) / fmt.unit_roundoff
        with np.errstate(all="ignore"):
            sizes = [np.abs(b.mid) + 2 * b.rad for b in operands]
            # In float64, by sums of less than 2**36 terms.
            error = worst(floor, *sizes) * (fmt.unit_roundoff * (1 + 2.0**-16))
            top = np.abs(x.mid) + x.rad + error
            if reach is not None:
                top = np.maximum(top, reach(floor, *sizes))
            lost = np.broadcast_to(~np.isfinite(error), x.shape)
            result = self._close(
                "a transform",
                x.mid,
                x.rad,
                error,
                (x,),
                fmt,
                reach=top,
                partial=True,
                lost=lambda: lost,
            )
            given = all(b.over is False and np.isfinite(b.rad).all() for b in operands)
            if lost.any() and given and not all(np.isfinite(b.mid).all() for b in operands):
                # Of infinities and NaN that are given, not made, an algorithm that mixes them all makes NaN.
                result.mid, result.rad = np.where(lost, np.nan, result.mid), np.where(lost, 0.0, result.rad)
            return result

    def where(self, mask: np.ndarray, a: Ball | int, b: Ball | int) -> Ball:
        a, b = self.lift(a), self.lift(b)
        rad = 0.0 if is_zero(a.rad) and is_zero(b.rad) else np.where(mask, a.rad, b.rad)
        over = False if _any_over((a, b)) is False else np.where(mask, a.over, b.over)
        return Ball(self, np.where(mask, a.mid, b.mid), rad, a.pure and b.pure, over=over)

    def one_hot(self, target: np.ndarray, classes: int, axis: int) -> Ball:
        return Ball(self, one_hot(target, classes, axis).astype(np.float64), 0.0, pure=True)

    def take(self, x: Ball, target: np.ndarray, axis: int) -> Ball:
        return x._map(lambda a: take(a, target, axis))


def _stays_finite(reach: np.ndarray, fmt: Format) -> np.ndarray:
    """Where what is rounded lies below the overflow threshold (which is no float64 for float64 itself)."""
    if fmt.name == "float64":
        return reach <= fmt.max
    return reach < float(fmt.overflow_threshold) * _IN50


def _no_underflow(*factors: tuple[np.ndarray, np.ndarray | None]) -> bool:
    """Whether no product of positive numbers among these, one from the arrays of each factor, is zero in float64."""
    least = [[np.min(a, where=a > 0, initial=np.inf) for a in arrays if a is not None] for arrays in factors]
    return math.prod(float(min(part)) for part in least) > 0


def _infinite_times_unsure(balls: list[Ball]) -> Mask:
    """Where an infinite factor meets one whose sign is open: the product may be of either sign, or NaN."""
    lost: Mask = False
    if any(np.isinf(b.mid).any() for b in balls):
        for b in balls:
            if not is_zero(b.rad):
                lost = lost | ((b.rad > 0) & (np.abs(b.mid) <= 2 * b.rad))
        if lost is not False:
            infinite: Mask = False
            for b in balls:
                infinite = infinite | np.isinf(b.mid)
            lost = lost & infinite
    return lost


def _any_over(balls: Iterable[Ball]) -> Mask:
    """Where any of these overflowed, or False."""
    masks = [np.asarray(b.over) for b in balls if b.over is not False]
    return functools.reduce(np.logical_or, masks) if masks else False


def _surely(x: Ball) -> np.ndarray:
    """Where x overflowed in every evaluation."""
    return np.asarray(x.over & (np.asarray(x.rad) == 0))


def _mask(over: np.ndarray) -> Mask:
    return over if over.any() else False


def _has_sign(x: Ball, like: Part) -> np.ndarray:
    """Where the exact value of x, and what any evaluation makes of it, is zero or surely of the sign of `like`."""
    at_least = np.where(x.over, 1.0, np.abs(x.mid) - 2 * x.rad)  # where it may be zero, this is not above zero
    return np.asarray((x.mid * np.sign(like) >= 0) & (at_least >= 0))


def _full(ball: Ball) -> np.ndarray | None:
    return None if is_zero(ball.rad) else np.broadcast_to(ball.rad, ball.shape)
