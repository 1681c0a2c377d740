"""Truth: the certified value and gradients of an op.

`truth` evaluates the definition in pairs of float64, where these have all of its functions, and in Arb what they leave
open. It raises the precision until it knows each result to far more digits than any format holds. It gives a result as
`value`, the float64 nearest the exact value, `low`, the float64 nearest what is left, and `radius`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refnn.arithmetic import Unsupported
from refnn.arithmetic.balls import Balls
from refnn.arithmetic.exact import Arb
from refnn.arithmetic.pairs import Pair, Pairs
from refnn.arithmetic.parts import Part
from refnn.formats import FORMATS
from refnn.op import Op, Sum, lift
from refnn.ops import find
from refnn.oracle.evaluate import CHUNK, Call, Rows, chunks, run, summed
from refnn.oracle.forward_mode import along

PRECISIONS = (128, 320, 1280, 4096)  # the third reaches below every subnormal of float64
MANY = 200  # numbers, from which on their elementary functions take less time in pairs than in Arb
_SHARP, _TINY, _DEEP = 2.0**-90, 2.0**-1074, 2.0**-960


@dataclass(frozen=True, eq=False)
class Value:
    """Certified numbers. Each exact value lies within `radius` of `value + low`; all three are float64 arrays.

    `value` is the float64 nearest the exact value. It is infinite from the overflow threshold on, and NaN where the
    exact value is undefined, as it is for some special inputs. `certain` says where this is proved, with far more
    digits than a float64 holds. Elsewhere the exact value is the middle of two float64, as 7 (m + 1/2) / 7 is, or so
    near to it that no precision tells, as for 1 - exp(-10**90).
    """

    value: np.ndarray
    low: np.ndarray
    radius: np.ndarray
    certain: np.ndarray

    def rows(self, rows: Rows) -> Value:
        """The values that `rows` selects along the first axis."""
        return Value(self.value[rows], self.low[rows], self.radius[rows], self.certain[rows])

    def updated(self, rows: np.ndarray, other: Value) -> Value:
        """These numbers, those in some rows from another value."""
        parts = [v.copy() for v in (self.value, self.low, self.radius, self.certain)]
        for part, new in zip(parts, (other.value, other.low, other.radius, other.certain), strict=True):
            part[rows] = new
        return Value(*parts)


@dataclass(frozen=True, eq=False)
class Truth:
    """The output of an op, and the gradient for each input or None; the tangents of both, if tangents were given."""

    output: Value
    grads: tuple[Value | None, ...]
    jvp: Value | None = None
    hvp: tuple[Value | None, ...] = ()


def truth(op: str | Op, *inputs: Any, cotangent: Any = None, tangents: Any = None, **params: Any) -> Truth:
    """The certified output of `op` at the inputs, and its gradients for a cotangent if one is given.

        >>> t = refnn.truth("softmax", np.array([0.0, 0.0]), cotangent=np.array([1.0, 0.0]))
        >>> t.output.value, t.grads[0].value
        (array([0.5, 0.5]), array([ 0.25, -0.25]))
        >>> y = refnn.truth("tanh", np.array([1.0])).output     # within radius of value + low
        >>> float(y.value[0]), f"{y.low[0]:.3g}", bool(y.radius[0] < 1e-30)
        (0.7615941559557649, '3.71e-17', True)

    With tangents, as `refnn.jvp` takes them, there is the tangent of the output, too. With a cotangent besides there
    are the tangents of the gradients, which are the products of `refnn.hvp`.

        >>> t = refnn.truth("tanh", np.array([1.0]), cotangent=np.array([1.0]), tangents=(np.array([1.0]),))
        >>> t.jvp.value, t.hvp[0].value                                    # 1/cosh(1)^2, and its derivative
        (array([0.41997434]), array([-0.63970001]))

    The inputs are taken as exact real numbers. TypeError or ValueError says what is wrong with the call.
    ArithmeticError means that even the highest precision does not separate a value from a rounding boundary.
    """
    op = find(op)
    arrays, full = op.bind(inputs, params)
    g = None
    if cotangent is not None:
        g = op.cotangent(cotangent, np.shape(op(*arrays, **full)), op.dtype_of(arrays))
    call = Call(op, arrays, full, g)
    found = certify(call)
    if tangents is None:
        return found
    moved = certify(replace(call, tangents=along(op, tangents, arrays)))
    return replace(found, jvp=moved.output, hvp=moved.grads)


def certify(call: Call) -> Truth:
    """The output and the gradients of a call, certified."""
    for values in refine(call):
        if all(v is None or _sharp(v).all() for v in values):
            break
    # What is still open lies within 2**-4000 or so of the middle between two float64: either is nearest.
    for v in values:
        if v is None:
            continue
        size = np.abs(v.value)
        sharp = v.radius <= np.fmax(_SHARP * size, np.where(size > _TINY, _TINY, 0.0))
        if not (v.certain | sharp | np.isnan(v.value)).all():
            raise ArithmeticError(f"{call.op.name}: {PRECISIONS[-1]} bits do not separate a value from zero")
    output, *grads = values
    assert output is not None
    return Truth(output, tuple(grads))


def refine(call: Call) -> Iterator[list[Value | None]]:
    """The certified [output, *gradients], again and again with more digits: first in pairs, which take a part of the
    time but cannot do every definition, then in Arb at each precision."""
    values: list[Value | None] | None = None
    with contextlib.suppress(Unsupported):
        size = max((x.size for x in call.inputs if x is not None), default=0)
        ar = Pairs(convention=call.rule, irrational=size >= MANY)
        values = _joined([[None if p is None else _of_pair(p) for p in run(ar, piece)] for piece in chunks(call)])
        yield values
    for precision in PRECISIONS:
        values = evaluate(call, precision) if values is None else _again(values, call, precision)
        yield values


def _again(values: list[Value | None], call: Call, precision: int) -> list[Value | None]:
    """The values, those in rows that are not known yet with more digits."""
    x = call.inputs[0]
    if x is None or x.size == 0 or not call.op.rowwise(x.ndim, call.params):
        return evaluate(call, precision)
    open_ = np.zeros(len(x), bool)
    for v in values:
        if v is not None:
            open_ |= ~_sharp(v).reshape(len(x), -1).all(1)
    if not open_.any():
        return values
    if open_.all():
        return evaluate(call, precision)
    found = evaluate(call.rows(open_), precision)
    return [v if v is None or f is None else v.updated(open_, f) for v, f in zip(values, found, strict=True)]


def _sharp(v: Value) -> np.ndarray:
    return np.asarray(v.certain & (v.radius <= np.fmax(_SHARP * np.abs(v.value), _TINY)))


def half_gap(x: np.ndarray) -> np.ndarray:
    """Half the distance to the next number toward zero, which is the nearer one at a power of two."""
    size = np.abs(x)
    return np.asarray((size - np.nextafter(size, 0)) / 2)


def _of_pair(p: Pair) -> Value:
    """A pair as a value. Where the nearest float64 is not certain, the value is NaN and the radius infinite."""
    low, radius = (np.array(np.broadcast_to(part, p.shape)) for part in (p.lo, p.rad))
    # hi is the float64 nearest hi + lo.
    certain = np.isfinite(p.hi) & ((radius == 0) | (np.abs(low) + radius < half_gap(p.hi) * (1 - 2.0**-50)))
    if not certain.all():
        low[~certain], radius[~certain] = 0.0, np.inf
    return Value(np.where(certain, p.hi, np.nan), low, radius, certain)


def evaluate(call: Call, precision: int, size: int = CHUNK) -> list[Value | None]:
    """The certified [output, *gradients] at one precision, in pieces of about `size` elements if the record allows
    pieces."""
    ar = Arb(precision, convention=call.rule)
    if (total := summed(call, size)) is not None:
        with ar.working():
            values = _sample_by_sample(ar, call, total, size)
        if not any(v is not None and np.isinf(v.radius).any() for v in values):
            return values
    pieces = []
    for piece in chunks(call, size):
        with ar.working():
            values = [None if b is None else _digest(np.asarray(b, dtype=object)) for b in run(ar, piece)]
        if any(v is not None and np.isinf(v.radius).any() for v in values):
            _follow_ieee(values, piece)
        pieces.append(values)
    return _joined(pieces)


def _sample_by_sample(ar: Arb, call: Call, total: Sum, size: int) -> list[Value | None]:
    """[output, *gradients] of a mean or a sum of losses, in pieces. This takes a tenth of the memory and gives the same
    numbers, since no rounding depends on the order here."""
    forward, vjp = call.definition
    single = replace(call, params=total.of, cotangent=None)
    pieces = [piece.inputs for piece in chunks(single, size)]
    sum_, count = ar.number(0), ar.number(0)
    for piece in pieces:
        lifted = lift(ar, piece)
        sum_ = sum_ + ar.sum(forward(ar, *lifted, **total.of))[()]
        if total.over is not None:
            count = count + np.asarray(total.over(ar, *lifted, **call.params))[()]
    output = _digest(np.asarray(sum_ if total.over is None else sum_ / count, dtype=object))
    if call.cotangent is None:
        return [output]
    g = ar.array(call.cotangent)[()]
    share = g if total.over is None else g / count
    grads = []
    for piece in pieces:
        lifted = lift(ar, piece)
        y = forward(ar, *lifted, **total.of)
        found = vjp(ar, np.full(y.shape, share, dtype=object), y, *lifted, **total.of)
        grads.append([None if v is None else _digest(np.asarray(v, dtype=object)) for v in found])
    return [output, *_joined(grads)]


def _joined(pieces: list[list[Value | None]]) -> list[Value | None]:
    return pieces[0] if len(pieces) == 1 else [_join(parts) for parts in zip(*pieces, strict=True)]


def _join(parts: Sequence[Value | None]) -> Value | None:
    values = [p for p in parts if p is not None]
    if not values:
        return None
    return Value(*(np.concatenate([getattr(v, k) for v in values]) for k in ("value", "low", "radius", "certain")))


def _digest(balls: np.ndarray) -> Value:
    """Balls as value, low and radius; the radius is infinite where the ball is."""
    value = np.array(_FLOAT(balls), dtype=np.float64)  # the float64 nearest the midpoint
    radius = np.array(_RADIUS(balls), dtype=np.float64)  # exact, but for underflow: FLINT keeps 30 bits
    finite = np.isfinite(value) & np.isfinite(radius)
    value[~finite & ~np.isinf(value)] = np.nan
    rest = np.where(finite, balls - np.where(finite, value, 0.0), 0)
    low = np.array(_FLOAT(rest), dtype=np.float64)
    radius = np.where(finite, _outward(radius, low), np.inf)
    least = finite & (radius == _TINY)  # nothing is left, or it underflowed
    radius[least] = np.where(_IS_ZERO(rest[least] - low[least]), 0.0, _TINY)
    size = np.abs(value)
    with np.errstate(all="ignore"):
        nearest = np.abs(low) + radius < half_gap(value)
    exact = (radius == 0) & (low == 0)  # zeros, above all
    certain = np.array(finite & (exact | (nearest & (radius <= _SHARP * size) & (size >= _DEEP))))
    unsure = finite & ~certain & ~((radius > size) & (radius > _TINY))
    nothing = np.array(unsure & (value == 0))
    if nothing.any():  # what is below half the smallest float64 needs no more digits
        nothing[nothing] = _VANISHES(balls[nothing]).astype(bool)
        low[nothing], radius[nothing] = value[nothing], _TINY
        value[nothing] = _ZERO(balls[nothing]).astype(np.float64)
        certain |= nothing
    for i in map(tuple, np.argwhere(unsure & ~certain)):
        # Next to a rounding boundary, or where low and radius reach the end of float64, the ball itself must say.
        ball = balls[i]
        rounded = FORMATS["float64"].round_ball(ball)
        certain[i] = rounded is not None and (size[i] < _DEEP or radius[i] <= _SHARP * size[i])
        if rounded is not None:
            value[i], low[i] = rounded, float(ball - rounded)
            left = _outward(float(ball.rad()), low[i])
            radius[i] = 0.0 if (ball - rounded - low[i]).is_zero() else left
    for i in map(tuple, np.argwhere(np.isinf(value))):
        certain[i] = balls[i].is_finite() and abs(balls[i]) > _OVERFLOW
        low[i], radius[i] = 0.0, 0.0 if certain[i] else np.inf
    return Value(value, low, radius, certain)


def _outward(radius: Part, low: np.ndarray) -> np.ndarray:
    """An upper bound of a ball's radius and of what rounding took from `low`: 2**-53 of it, or half the smallest
    float64. The step up makes good as much lost from the radius, and the rounding of this sum."""
    return np.asarray(np.nextafter(radius + np.abs(low) * 2.0**-52, np.inf))


_FLOAT = np.frompyfunc(lambda b: float(b), 1, 1)
_RADIUS = np.frompyfunc(lambda b: float(b.rad()), 1, 1)
_ZERO = np.frompyfunc(lambda b: 0.0 if b >= 0 else -0.0, 1, 1)  # of the sign of the lower end
_VANISHES = np.frompyfunc(lambda b: abs(b) * 2**1075 < 1, 1, 1)
_IS_ZERO = np.frompyfunc(lambda b: b.is_zero(), 1, 1)
_OVERFLOW = (2**54 - 1) << 970  # the overflow threshold of float64, exactly


def _follow_ieee(values: list[Value | None], call: Call) -> None:
    """Where special inputs leave Arb without a number, take what IEEE 754 makes of the definition in float64 balls."""
    balls = run(Balls("float64", convention=call.rule), call)
    for v, b in zip(values, balls, strict=True):
        if v is not None and b is not None:
            odd = np.isinf(v.radius)
            v.value[odd], v.low[odd] = b.mid[odd], 0.0
            v.radius[odd] = np.broadcast_to(b.rad, b.shape)[odd]
            v.certain[odd] = v.radius[odd] == 0
