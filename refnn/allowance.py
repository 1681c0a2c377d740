"""Allowances: how far an implementation may be from the truth, derived from the definition and a model.

`worst` is the radius of the definition in ball arithmetic: no evaluation of its class, in any order, is further off.
`expected` is the standard deviation of the error where roundings behave as independent, and `library` bounds what
elementary functions and losses below the normal range add to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refnn.arithmetic import Convention
from refnn.arithmetic.balls import Balls
from refnn.arithmetic.noise import Noise
from refnn.models import Model, model
from refnn.op import Op
from refnn.ops import find
from refnn.truth import Algorithm, chunks, run


@dataclass(frozen=True, eq=False)
class Bound:
    """Bounds of |result - truth|, float64 arrays of the result's shape.

    `middle` is the result of one evaluation of the class in float64. It is finite where the result is; NaN or infinite,
    with `worst` zero, where every evaluation gives that; `worst` is infinite where nothing is known, because a partial
    result may overflow, or does and comes back.
    """

    middle: np.ndarray
    worst: np.ndarray
    expected: np.ndarray
    library: np.ndarray


@dataclass(frozen=True, eq=False)
class Allowance:
    """The bounds for the output of an op and for the gradient of each input; None where there is none."""

    output: Bound
    grads: tuple[Bound | None, ...]


def allowance(
    op: str | Op,
    *inputs: Any,
    cotangent: Any = None,
    model: str | Model | None = None,
    algorithm: str = "accurate",
    **params: Any,
) -> Allowance:
    """How far an implementation of `op` under `model` (by default that of the inputs' dtype) may be from the truth.

    TypeError or ValueError names what is wrong with the call.
    """
    op = find(op)
    arrays, full = op.bind(inputs, params)
    dtype = op.dtype_of(arrays)
    g = None
    if cotangent is not None:
        g = op.cotangent(cotangent, np.shape(op(*arrays, **full)), dtype)
    chosen = _model(model or dtype.name)
    definition = op.algorithm(algorithm)
    worst = worst_case(op, definition, arrays, full, g, chosen)
    expected = expected_error(op, definition, arrays, full, g, chosen)
    output, *grads = [
        None if w is None else Bound(w[0], w[1], *e) for w, e in zip(worst.results, expected, strict=True)
    ]
    assert output is not None
    return Allowance(output, tuple(grads))


_model = model


@dataclass(frozen=True, eq=False)
class WorstCase:
    """`results`: (middle, worst) of the output and of each gradient. `kinks` counts the elements that met a kink,
    `open_branches` those so near one that rounding decides the side, `overflows` the results on the way that surely are
    infinite; `unknown` says what may overflow, or overflowed and was used, and how often. For each result, `roundings`
    says how far worst and expected error may be apart, and `library` the least that is allowed for elementary functions
    (see Ball)."""

    results: list[tuple[np.ndarray, np.ndarray] | None]
    kinks: int
    open_branches: int
    overflows: int
    unknown: Mapping[str, int]
    roundings: list[float]
    library: list[float]


def worst_case(
    op: Op,
    algorithm: Algorithm,
    inputs: Sequence[np.ndarray | None],
    params: Mapping[str, Any],
    g: np.ndarray | None,
    model: Model,
    convention: Convention | None = None,
) -> WorstCase:
    """The definition in ball arithmetic, with arrays and parameters already validated. The convention is the op's own
    if none is given."""
    ar = Balls(model, convention=op.convention if convention is None else convention)
    roundings: list[list[float]] = []
    library: list[list[float]] = []
    pieces = []
    for piece, cotangent in chunks(op, inputs, params, g):
        balls = run(ar, algorithm, piece, params, cotangent)
        roundings.append([0 if b is None else b.roundings for b in balls])
        library.append([0.0 if b is None else b.library for b in balls])
        pieces.append([None if b is None else (b.mid, np.broadcast_to(b.rad, b.shape)) for b in balls])
    most, least = [*map(max, zip(*roundings, strict=True))], [*map(min, zip(*library, strict=True))]
    return WorstCase(_join(pieces), ar.kinks, ar.open_branches, ar.overflows, dict(ar.unknown), most, least)


def expected_error(
    op: Op,
    algorithm: Algorithm,
    inputs: Sequence[np.ndarray | None],
    params: Mapping[str, Any],
    g: np.ndarray | None,
    model: Model,
) -> list[Any]:
    """(standard deviation, library bound) of the output and of each gradient, in noise arithmetic."""
    ar = Noise(model, convention=op.convention)
    pieces = [
        [
            None if v is None else (v.std(), np.broadcast_to(v.bias, v.shape))
            for v in run(ar, algorithm, piece, params, cot)
        ]
        for piece, cot in chunks(op, inputs, params, g)
    ]
    return _join(pieces)


def _join(pieces: list[list[Any]]) -> list[Any]:
    if len(pieces) == 1:
        return pieces[0]
    return [
        None if parts[0] is None else tuple(np.concatenate(column) for column in zip(*parts, strict=True))
        for parts in zip(*pieces, strict=True)
    ]
