"""A definition in an arithmetic: its output and its gradients, whole or in pieces of independent rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from refnn.arithmetic import BLOCK
from refnn.op import Op, lift

CHUNK = 2 * BLOCK - 1  # elements that are evaluated at a time where rows are independent; more would be split again


Algorithm = tuple[Callable[..., Any], Callable[..., tuple[Any, ...]]]


def chunks(
    op: Op, inputs: Sequence[np.ndarray | None], params: Mapping[str, Any], g: np.ndarray | None, size: int = CHUNK
) -> Iterator[tuple[tuple[np.ndarray | None, ...], np.ndarray | None]]:
    """The inputs and the cotangent in pieces of about `size` elements, where the op's rows do not touch each other."""
    x = inputs[0]
    if x is None or x.size <= size or not op.rowwise(x.ndim, params):
        yield tuple(inputs), g
        return
    rows = max(1, size * x.shape[0] // x.size)
    for start in range(0, x.shape[0], rows):
        piece = slice(start, start + rows)
        yield tuple(None if v is None else v[piece] for v in inputs), None if g is None else g[piece]


def run(
    ar: Any,
    algorithm: Algorithm,
    inputs: Sequence[np.ndarray | None],
    params: Mapping[str, Any],
    g: np.ndarray | None,
) -> list[Any]:
    """[output, *gradients] of a definition in the arithmetic `ar`, as they are stored; no gradients without `g`."""
    forward, vjp = algorithm
    lifted = lift(ar, inputs)
    y = ar.store(forward(ar, *lifted, **params))
    if g is None:
        return [y]
    return [y, *(None if v is None else ar.store(v) for v in vjp(ar, ar.array(g), y, *lifted, **params))]
