"""A call of an op, and its evaluation in an arithmetic: the output and the gradients, whole or in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import EllipsisType

import numpy as np

from refnn.arithmetic import BLOCK, Convention
from refnn.arithmetic.protocol import Arithmetic, N
from refnn.op import Half, Op, Params, Sum, lift

Rows = slice | EllipsisType  # some rows along the first axis, or all of an array
CHUNK = 2 * BLOCK - 1  # elements that are evaluated at a time where rows are independent; more would be split again


@dataclass(frozen=True, eq=False)
class Call:
    """What is evaluated: an op on inputs and parameters that are validated, its vjp for a cotangent where there is one,
    by the algorithm of that name. The convention at kinks and ties is the op's own if none is given."""

    op: Op
    inputs: tuple[np.ndarray | None, ...]
    params: Params
    cotangent: np.ndarray | None = None
    algorithm: str = "accurate"
    convention: Convention | None = None

    @property
    def rule(self) -> Convention:
        """The convention at kinks and ties."""
        return self.op.convention if self.convention is None else self.convention

    @property
    def definition(self) -> tuple[Half, Half]:
        """The forward and the vjp of the algorithm, in the primitives of an arithmetic."""
        return self.op.algorithm(self.algorithm)


def run(ar: Arithmetic[N], call: Call) -> list[N | None]:
    """[output, *gradients] of a call in the arithmetic `ar`, as they are stored; no gradients without a cotangent."""
    forward, vjp = call.definition
    lifted = lift(ar, call.inputs)
    y = ar.store(forward(ar, *lifted, **call.params))
    if call.cotangent is None:
        return [y]
    grads = vjp(ar, ar.array(call.cotangent), y, *lifted, **call.params)
    return [y, *(None if v is None else ar.store(v) for v in grads)]


def chunks(call: Call, size: int = CHUNK) -> Iterator[Call]:
    """The call in pieces of about `size` elements, where the op's rows do not touch each other."""
    x, g = call.inputs[0], call.cotangent
    if x is None or x.size <= size or not call.op.rowwise(x.ndim, call.params):
        yield call
        return
    rows = max(1, size * x.shape[0] // x.size)
    for start in range(0, x.shape[0], rows):
        piece = slice(start, start + rows)
        inputs = tuple(None if v is None else v[piece] for v in call.inputs)
        yield replace(call, inputs=inputs, cotangent=None if g is None else g[piece])


def summed(call: Call, size: int = CHUNK) -> Sum | None:
    """How a loss of more than `size` elements adds up what single samples give, where these do not touch each other."""
    x = call.inputs[0]
    total = None if x is None or x.size <= size else call.op.summed(call.params)
    return total if total is not None and x is not None and call.op.rowwise(x.ndim, total.of) else None
