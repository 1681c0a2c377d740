"""Forward mode of an implementation: its derivatives along tangents, and its double backward."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from refnn.formats import format_of
from refnn.judging.call import Misbehaviour, Skipped, accept, differentiable, guarded, passed
from refnn.judging.case import Case, same_bits
from refnn.judging.families import normal
from refnn.judging.judge import Judge
from refnn.judging.verdict import CONVENTION, OK, Judgement, unexplained
from refnn.oracle.evaluate import Rows

Jvp = Callable[..., Any]
Called = tuple[list[np.ndarray | None], list[tuple[str, str]], Skipped | None]


def along(case: Case, *, second: bool = False) -> Case | None:
    """The case with a random tangent for each input that has a gradient. None where there is none to judge: the tables
    of special values say nothing of tangents, and what IEEE 754 makes of infinities depends on the formula."""
    wanted = differentiable(case)
    if case.row is not None or not any(wanted):
        return None
    if not all(x is None or x.dtype.kind in "biu" or np.isfinite(x).all() for x in (*case.inputs, case.cotangent)):
        return None
    rng, fmt = np.random.default_rng(zlib.crc32(f"{case.id} tangents".encode())), format_of(case.cotangent.dtype.name)
    tangents = tuple(
        normal(rng, x.shape, fmt) if want and x is not None else None
        for x, want in zip(case.inputs, wanted, strict=True)
    )
    return replace(case, tangents=tangents, second=second)


def call_jvp(jvp: Jvp, case: Case) -> Called:
    """[output, tangent] as jvp(inputs, tangents, **params) gives them, what it does wrong, and what of the case it does
    not support."""
    shape, dtype = case.cotangent.shape, case.cotangent.dtype

    def accepted(returned: object) -> list[np.ndarray | None]:
        if not isinstance(returned, (tuple, list)) or len(returned) != 2:
            raise Misbehaviour(f"the jvp returned {_spelled(returned)}, expected the output and its tangent")
        return [accept(v, n, shape, dtype) for v, n in zip(returned, ("the output", "the tangent"), strict=True)]

    return _called(jvp, case, [case.inputs, case.tangents], "jvp", accepted)


def call_double(double: Jvp, case: Case) -> Called:
    """[tangent of the output, *tangents of the gradients] as double(g, inputs, tangents, **params) gives them: the
    gradients of sum(tangent * vjp) by the cotangent and by each input."""
    places = [case.cotangent, *(x if want else None for x, want in zip(case.inputs, differentiable(case), strict=True))]

    def accepted(returned: Any) -> list[np.ndarray | None]:
        return [
            None if x is None else accept(v, "a result", x.shape, x.dtype)
            for v, x in zip(returned, places, strict=True)
        ]

    return _called(double, case, [(case.cotangent,), case.inputs, case.tangents], "double backward", accepted)


def other_side(judge: Judge, which: int, j: Judgement, rows: Rows) -> None:
    """Where an input lies on a kink of a gradient that has no jump, as that of celu at 0, the second derivatives of
    both sides are sound. The side is that of the tangent, so the other one is that of the opposite tangent."""
    case = judge.case
    if case.op.kinks or not judge.worst.kinks or not unexplained(j).any():
        return
    assert case.tangents is not None
    turned = replace(case, tangents=tuple(None if t is None else -t for t in case.tangents))
    other = Judge(turned, judge.model, judge.algorithm, judge.line).judge(which, -j.got, rows)
    hit = unexplained(j) & (other.code <= OK)
    j.expected = np.where(hit, -other.expected, j.expected)
    j.allowed, j.error = np.where(hit, other.allowed, j.allowed), np.where(hit, other.error, j.error)
    j.call(hit, CONVENTION, "second derivative of the other side")


def _called(
    function: Jvp,
    case: Case,
    own: Sequence[Sequence[np.ndarray | None] | None],
    what: str,
    accepted: Callable[[Any], list[np.ndarray | None]],
) -> Called:
    """A call with copies of groups of arrays, each a tuple; a group of one is passed as it is."""
    groups = [tuple(None if x is None else x.copy() for x in group or ()) for group in own]
    params = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in case.params.items()}
    given = [group[0] if what == "double backward" and i == 0 else group for i, group in enumerate(groups)]
    try:
        arrays, named = passed(function, case.op, given, params)
        results = [None if r is None else np.array(r) for r in accepted(guarded(function, arrays, named))]
        for group, then in zip(groups, own, strict=True):
            if any(
                x is not None and y is not None and not same_bits(x, y) for x, y in zip(group, then or (), strict=True)
            ):
                raise Misbehaviour("modified an array that it was given, in place")
    except Misbehaviour as e:
        return [], [(what, str(e))], None
    except Skipped as e:
        return [], [], e
    return results, [], None


def _spelled(value: object) -> str:
    return f"{len(value)} results" if isinstance(value, (tuple, list)) else f"a {type(value).__name__}"
