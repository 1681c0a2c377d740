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
CHUNK = 2 * BLOCK - 1  # elements at a time if rows are independent; more would be split again


@dataclass(frozen=True, eq=False)
class Call:
    """A call of an op on validated inputs and parameters, by one of its algorithms. Without a cotangent there are no
    gradients. Without a convention for kinks and ties the op's own holds."""

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
    """[output, *gradients] of a call in the arithmetic `ar`, rounded to storage; no gradients without a cotangent."""
    forward, vjp = call.definition
    lifted = lift(ar, call.inputs)
    y = ar.store(forward(ar, *lifted, **call.params))
    if call.cotangent is None:
        return [y]
    grads = vjp(ar, ar.array(call.cotangent), y, *lifted, **call.params)
    return [y, *(None if v is None else ar.store(v) for v in grads)]


def chunks(call: Call, size: int = CHUNK) -> Iterator[Call]:
    """The call in pieces of about `size` elements, if no row of the op depends on another; else the call as it is."""
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
    """How a loss of more than `size` elements is the sum of the losses of its samples; None where it is not, or where
    its samples depend on each other."""
    x = call.inputs[0]
    total = None if x is None or x.size <= size else call.op.summed(call.params)
    return total if total is not None and x is not None and call.op.rowwise(x.ndim, total.of) else None
