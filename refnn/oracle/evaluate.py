"""A call of an op, and its evaluation in an arithmetic: the output and the gradients, whole or in pieces."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Any

import numpy as np

from refnn.arithmetic import BLOCK, Convention
from refnn.arithmetic.duals import Dual, Duals, shape_of
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.protocol import Arithmetic, N
from refnn.op import Half, Op, Params, Sum, lift

Rows = slice | EllipsisType  # some rows along the first axis, or all of an array
DUAL = "dual numbers"  # the algorithm that takes the tangent of an op's own forward, whatever its vjp says
CHUNK = 2 * BLOCK - 1  # elements at a time if rows are independent; more would be split again


@dataclass(frozen=True, eq=False)
class Call:
    """A call of an op on validated inputs and parameters, by one of its algorithms. Without a cotangent there are no
    gradients. Without a convention for kinks and ties the op's own holds.

    With `tangents`, one for each input or None for zero, the results are the tangents of the output and of the
    gradients, where the cotangent stays as it is.
    """

    op: Op
    inputs: tuple[np.ndarray | None, ...]
    params: Params
    cotangent: np.ndarray | None = None
    algorithm: str = "accurate"
    convention: Convention | None = None
    tangents: tuple[np.ndarray | None, ...] | None = None

    @property
    def rule(self) -> Convention:
        """The convention at kinks and ties."""
        return self.op.convention if self.convention is None else self.convention

    def rows(self, rows: Rows | np.ndarray) -> Call:
        """The call with some rows of its arrays alone."""

        def cut(arrays: tuple[np.ndarray | None, ...]) -> tuple[np.ndarray | None, ...]:
            return tuple(None if v is None else v[rows] for v in arrays)

        g = self.cotangent
        return replace(
            self,
            inputs=cut(self.inputs),
            cotangent=None if g is None else g[rows],
            tangents=None if self.tangents is None else cut(self.tangents),
        )

    @property
    def definition(self) -> tuple[Half, Half]:
        """The forward and the vjp of the algorithm, in the primitives of an arithmetic."""
        return self.op.algorithm("accurate" if self.algorithm == DUAL else self.algorithm)


def run(ar: Arithmetic[N], call: Call) -> list[N | None]:
    """[output, *gradients] of a call in the arithmetic `ar`, rounded to storage; no gradients without a cotangent. Of
    a call with tangents, their tangents."""
    if call.tangents is not None:
        return _tangents(ar, call)
    forward, vjp = call.definition
    lifted = lift(ar, call.inputs)
    y = ar.store(forward(ar, *lifted, **call.params))
    if call.cotangent is None:
        return [y]
    grads = vjp(ar, ar.array(call.cotangent), y, *lifted, **call.params)
    return [y, *(None if v is None else ar.store(v) for v in grads)]


def _tangents(ar: Arithmetic[N], call: Call) -> list[N | None]:
    """[tangent of the output, *tangents of the gradients]."""
    assert call.tangents is not None
    results: list[N | None] = [ar.store(_forward_mode(ar, call))]
    if call.cotangent is not None:
        results += [None if v is None else ar.store(v) for v in _of_gradients(ar, call)]
    return results


def _forward_mode(ar: Arithmetic[N], call: Call) -> Any:
    """The tangent of the output.

    Of an op that works element by element it is the vjp of each input, with its tangent for a cotangent, added up: its
    Jacobian is diagonal. Of a loss that adds up those of its samples, where these are such an op, it is the sum of
    theirs. Of all other ops it is the forward in dual numbers, with all tangents at once, or with one at a time and
    then added up.
    """
    assert call.tangents is not None
    forward, vjp = call.definition
    lifted, total = lift(ar, call.inputs), call.op.summed(call.params)
    tangents = [None if t is None else ar.array(t) for t in call.tangents]
    if call.algorithm != DUAL:
        for params, over in ((call.params, None), *(() if total is None else ((total.of, total.over),))):
            if not _apart(call, params):
                continue
            y = ar.store(forward(ar, *lifted, **params))
            if any(x is not None and x.shape != shape_of(y) for x in call.inputs) or not _diagonal(call, params):
                continue
            parts = [vjp(ar, t, y, *lifted, **params)[i] for i, t in enumerate(tangents) if t is not None]
            each = functools.reduce(operator.add, parts)
            if params is call.params:
                return each
            return ar.sum(each) if over is None else ar.sum(each) / over(ar, *lifted, **call.params)
    return _joint_or_apart(ar, call, lambda duals, lifted: [forward(duals, *lifted, **call.params)])[0]


def _of_gradients(ar: Arithmetic[N], call: Call) -> list[Any]:
    """The tangents of the gradients: the vjp in dual numbers."""
    forward, vjp = call.definition

    def gradients(duals: Duals, lifted: list[Any]) -> list[Any]:
        y = duals.store(forward(duals, *lifted, **call.params))
        assert call.cotangent is not None
        return list(vjp(duals, duals.array(call.cotangent), y, *lifted, **call.params))

    return _joint_or_apart(ar, call, gradients)


def _joint_or_apart(ar: Arithmetic[N], call: Call, run: Callable[[Duals, list[Any]], list[Any]]) -> list[Any]:
    """The tangents of what `run` makes of dual numbers: of all inputs together, or of one at a time and then added."""
    assert call.tangents is not None
    duals = Duals(ar, convention=call.rule if call.op.kinks else "first")
    given = [i for i, t in enumerate(call.tangents) if t is not None]

    def along(which: Collection[int]) -> list[Any]:
        lifted = [
            duals.dual(x, ar.array(t))
            if i in which and t is not None
            else x
            if own is None or own.dtype.kind in "biu"
            else Dual(duals, x)
            for i, (x, t, own) in enumerate(zip(lift(ar, call.inputs), call.tangents or (), call.inputs, strict=True))
        ]
        return [None if r is None else duals.tangent(r) for r in run(duals, lifted)]

    together = along(given)
    if len(given) < 2:
        return together
    single: list[list[Any]] = []

    def added(which: int) -> Any:
        if not single:
            single.extend(along([i]) for i in given)
        return duals.total([s[which] for s in single], shape_of(single[0][which]))

    def both(which: int, joint: Any) -> Any:
        return ar.either(lambda: joint, lambda: added(which))

    return [None if joint is None else both(i, joint) for i, joint in enumerate(together)]


def _apart(call: Call, params: Params) -> bool:
    """Whether an op works element by element, with these parameters: its rows are apart even where each is one element,
    of inputs that it takes as such."""
    arrays = [x for x in call.inputs if x is not None]
    if not call.op.rowwise(1, params) or any(x.shape != arrays[0].shape or x.dtype.kind in "biu" for x in arrays):
        return False
    try:
        flat = {n: None if x is None else x.reshape(-1) for n, x in zip(call.op.inputs, call.inputs, strict=True)}
        call.op.validate(flat, params)
    except (ValueError, TypeError):
        return False
    return True


def _diagonal(call: Call, params: Params) -> bool:
    """Whether the Jacobian is diagonal at these inputs, whatever a record says. Where it is, tangents that are scaled
    element by element, by powers of two, give results scaled likewise, to the bit."""
    assert call.tangents is not None
    rng, given = np.random.default_rng(0), [t is not None for t in call.tangents]
    duals = Duals(Floats(np.float64, convention=call.rule), convention=call.rule if call.op.kinks else "first")
    found = []
    for most in (1, 32, 32):  # two elements have the same two scales of 2^0 to 2^31 once in a thousand times
        scale = 2.0 ** rng.integers(0, most, next(x.shape for x in call.inputs if x is not None))
        lifted = [
            None if x is None else duals.dual(duals.base.array(x), scale if own else None)
            for x, own in zip(call.inputs, given, strict=True)
        ]
        with np.errstate(all="ignore"):
            found.append(duals.tangent(call.op.forward_definition(duals, *lifted, **params)) / scale)
    first, *others = found
    sure = np.abs(first) > 2.0**-900  # what is less may have lost digits
    return all(np.array_equal(np.where(sure & np.isfinite(v), v, first), first, equal_nan=True) for v in others)


def chunks(call: Call, size: int = CHUNK) -> Iterator[Call]:
    """The call in pieces of about `size` elements, if no row of the op depends on another; else the call as it is."""
    x = call.inputs[0]
    if x is None or x.size <= size or not call.op.rowwise(x.ndim, call.params):
        yield call
        return
    rows = max(1, size * x.shape[0] // x.size)
    for start in range(0, x.shape[0], rows):
        yield call.rows(slice(start, start + rows))


def summed(call: Call, size: int = CHUNK) -> Sum | None:
    """How a loss of more than `size` elements is the sum of the losses of its samples; None where it is not, or where
    its samples depend on each other."""
    x = call.inputs[0]
    if call.tangents is not None:
        return None
    total = None if x is None or x.size <= size else call.op.summed(call.params)
    return total if total is not None and x is not None and call.op.rowwise(x.ndim, total.of) else None
