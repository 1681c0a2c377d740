"""Allowances: how far an implementation may be from the truth, derived from the definition and a model.

`worst` is the radius of the definition in ball arithmetic: no evaluation by the same algorithm, in any order, is
further off. `expected` is the standard deviation of the error if roundings are independent. `library` bounds what
elementary functions and losses below the normal range add to it. `probable` lies between the two: the error exceeds it
with at most a stated probability, if each rounding has a mean of zero given those before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refnn.arithmetic.balls import Balls
from refnn.arithmetic.noise import Noise
from refnn.models import Model, model
from refnn.op import Op
from refnn.ops import find
from refnn.oracle.evaluate import Call, chunks, run
from refnn.oracle.forward_mode import along


@dataclass(frozen=True, eq=False)
class Bound:
    """Bounds of |result - truth|, float64 arrays of the result's shape.

    `middle` is the result of one evaluation by the algorithm in float64. Where every evaluation gives NaN or the same
    infinity, `middle` is that and `worst` is zero. Elsewhere `middle` is finite. `worst` is infinite where nothing is
    known, because a partial result may overflow, or overflows and becomes finite again.
    """

    middle: np.ndarray
    worst: np.ndarray
    expected: np.ndarray
    library: np.ndarray

    def probable(self, probability: float) -> np.ndarray:
        """What the error of an element exceeds with at most this probability, to first order; the worst case where that
        is less. For all N elements of an array together, ask for the N-th part.

        The error is a sum of roundings d_i times their weights, at most c_i each, where the c_i^2 add up to at most
        3 expected^2: `expected` takes each as uniform. If the mean of every rounding is zero, whatever those before it
        were, Azuma and Hoeffding have P(|sum d_i| > t sqrt(sum c_i^2)) <= 2 exp(-t^2/2); so it is for inner products in
        Higham and Mary, SIAM J. Sci. Comput. 41 (2019) A2815, and Ipsen and Zhou, SIAM J. Matrix Anal. Appl. 41 (2020)
        1699. `library` is added in full. It is a bound for sums that are added as `expected` assumes, one term after
        the other from either end or in fewer steps (see refnn.arithmetic.noise), and none for hardware that truncates.
        ValueError for a probability that is not between 0 and 1.
        """
        if not 0 < probability < 1:
            raise ValueError(f"the probability is {probability}, expected a number between 0 and 1")
        return np.asarray(np.minimum(self.worst, deviations(probability) * self.expected + self.library))


def deviations(probability: float) -> float:
    """How many standard deviations of uniform roundings the bound of Azuma and Hoeffding is (see Bound.probable)."""
    return math.sqrt(3 * 2 * math.log(2 / probability))


@dataclass(frozen=True, eq=False)
class Allowance:
    """The bounds for the output of an op, and for the gradient of each input or None; those of the tangents of both, if
    tangents were given."""

    output: Bound
    grads: tuple[Bound | None, ...]
    jvp: Bound | None = None
    hvp: tuple[Bound | None, ...] = ()


def allowance(
    op: str | Op,
    *inputs: Any,
    cotangent: Any = None,
    tangents: Any = None,
    model: str | Model | None = None,
    algorithm: str = "accurate",
    **params: Any,
) -> Allowance:
    """How far an implementation of `op` may be from the truth at these inputs.

        >>> x = np.array([0.5, 5.0], np.float32)
        >>> refnn.allowance("relu", x).output.worst                       # exact in any order
        array([0., 0.])
        >>> b = refnn.allowance("linear", np.ones((1, 100)), np.ones((1, 100)), model="float32").output
        >>> b.worst, b.expected                                           # a sum of 100: worst case, standard deviation
        (array([[0.00059606]]), array([[2.04100419e-05]]))

    `model` says what the implementation computes in; the default is the model of the inputs' dtype. `algorithm` is one
    of the op's algorithms. With a cotangent there are bounds for the gradients, too. With tangents there are those of
    `refnn.jvp`, and with both those of `refnn.hvp`; both docstrings say which implementations they hold for. TypeError
    or ValueError says what is wrong with the call.
    """
    op = find(op)
    arrays, full = op.bind(inputs, params)
    dtype = op.dtype_of(arrays)
    g = None
    if cotangent is not None:
        g = op.cotangent(cotangent, np.shape(op(*arrays, **full)), dtype)
    chosen = _model(model or dtype.name)
    call = Call(op, arrays, full, g, algorithm)
    output, grads = _bounds(call, chosen)
    assert output is not None
    if tangents is None:
        return Allowance(output, grads)
    return Allowance(output, grads, *_bounds(replace(call, tangents=along(op, tangents, arrays)), chosen))


def _bounds(call: Call, chosen: Model) -> tuple[Bound | None, tuple[Bound | None, ...]]:
    worst, expected = worst_case(call, chosen), expected_error(call, chosen)
    output, *grads = [
        None if w is None or e is None else Bound(*w, *e) for w, e in zip(worst.results, expected, strict=True)
    ]
    return output, tuple(grads)


_model = model


@dataclass(frozen=True, eq=False)
class WorstCase:
    """The worst case of a call: `results` has (middle, worst) of the output and of each gradient.

    `kinks` counts the elements that met a kink. `open_branches` counts those so near a kink that rounding decides the
    side. `overflows` counts the partial results that are or may be infinite. `unknown` says what may overflow, or
    overflowed and was used, and how often. `library` is for each result the least
    that is allowed for elementary functions (see Ball).
    """

    results: list[tuple[np.ndarray, np.ndarray] | None]
    kinks: int
    open_branches: int
    overflows: int
    unknown: Mapping[str, int]
    library: list[float]


def worst_case(call: Call, model: Model) -> WorstCase:
    """The definition in ball arithmetic."""
    ar = Balls(model, convention=call.rule)
    library: list[list[float]] = []
    pieces = []
    for piece in chunks(call):
        balls = run(ar, piece)
        library.append([0.0 if b is None else b.library for b in balls])
        pieces.append([None if b is None else (b.mid, np.broadcast_to(b.rad, b.shape)) for b in balls])
    least = [min(of_one) for of_one in zip(*library, strict=True)]
    return WorstCase(_join(pieces), ar.kinks, ar.open_branches, ar.overflows, dict(ar.unknown), least)


Expected = tuple[np.ndarray, np.ndarray]  # the standard deviation, and a bound of what is no rounding


def expected_error(call: Call, model: Model) -> list[Expected | None]:
    """(standard deviation, library bound) of the output and of each gradient, in noise arithmetic. Both are infinite
    where they leave the range of float64, since nothing is known there."""
    ar = Noise(model, convention=call.rule)
    pieces: list[list[Expected | None]] = [
        [None if v is None else (_known(v.std()), _known(np.broadcast_to(v.bias, v.shape))) for v in run(ar, piece)]
        for piece in chunks(call)
    ]
    return _join(pieces)


def _known(part: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(part), np.inf, part) if np.isnan(part).any() else part


def _join(pieces: list[list[Expected | None]]) -> list[Expected | None]:
    if len(pieces) == 1:
        return pieces[0]
    return [None if parts[0] is None else (_whole(parts, 0), _whole(parts, 1)) for parts in zip(*pieces, strict=True)]


def _whole(parts: Iterable[Expected | None], which: int) -> np.ndarray:
    return np.concatenate([p[which] for p in parts if p is not None])
