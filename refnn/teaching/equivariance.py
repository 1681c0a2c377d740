"""Shifts: where a layer of windows moves with its input, and where it does not notice.

A convolution is equivariant: shift the input, and the output shifts along (katsaros (equivariance)). That holds where
the windows see the same cells as before, and only if the shift is a multiple of the stride. Pooling is invariant, to
some extent: a cell that stays under the same windows may move (katsaros (pooling)). Both domains follow from where the
windows lie, and `commutes` finds by trial where a given function keeps to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from refnn.arithmetic.windows import Windows, windows_over

Array = Any


def shifted(x: Array, by: Sequence[int], *, fill: Any = 0) -> Array:
    """x (..., *spatial) with its content moved by so many cells along the spatial axes; `fill`, a number or an array
    of the shape of x, is what the cells hold that nothing moved to."""
    moved = np.array(np.broadcast_to(fill, x.shape), dtype=x.dtype)
    into: list[Any] = [...]
    source: list[Any] = [...]
    for b, n in zip(by, x.shape[x.ndim - len(by) :], strict=True):
        into.append(slice(max(0, b), max(0, n + min(0, b))))
        source.append(slice(max(0, -b), max(0, n - max(0, b))))
    moved[tuple(into)] = x[tuple(source)]
    return moved


def equivariant(w: Windows, by: Sequence[int]) -> np.ndarray:
    """The places of the output, as booleans, where a shift of the input shifts the output along, whatever the input
    holds and whatever moves in: their windows hold the same cells as the windows that many strides before did.

    Nowhere, if the shift is no multiple of the stride. Cells of padding are the same as others of padding only.
    """
    if any(b % s for b, s in zip(by, w.stride, strict=True)):
        return np.zeros(w.count, dtype=bool)
    earlier = replace(w, before=tuple(a + b for a, b in zip(w.before, by, strict=True)))
    same = np.all(w.inside == earlier.inside, axis=0)
    steps = [b // s for b, s in zip(by, w.stride, strict=True)]
    return same & shifted(np.ones(w.count, dtype=bool), steps, fill=False)


def invariant(w: Windows, by: Sequence[int]) -> np.ndarray:
    """The cells of the input, as booleans, whose content may move by `by` and stays under the same windows: a maximum
    over windows does not notice, if all else is less and the same everywhere."""
    kept = np.asarray(True)
    for b, n, *axis in zip(by, w.size, w.count, w.kernel, w.stride, w.before, w.dilation, strict=True):
        under = [{q for q, _ in windows_over(u, *axis)} for u in range(n)]
        stays = np.array([0 <= u + b < n and under[u] == under[u + b] for u in range(n)])
        kept = np.multiply.outer(kept, stays)
    return np.asarray(kept, dtype=bool)


def commutes(
    f: Callable[[Array], Array], x: Array, by: Sequence[int], steps: Sequence[int], *, fill: Any = 0
) -> np.ndarray:
    """Where f of x shifted by `by` is f(x) shifted by `steps`, exactly: booleans over the spatial axes of the output.

    `fill` moves into x. Places of the output that nothing moved to count as not so.
    """
    before, after = f(x), f(shifted(x, by, fill=fill))
    lead = tuple(range(after.ndim - len(by)))
    same = np.asarray(np.all(after == shifted(before, steps), axis=lead))
    return same & shifted(np.ones(same.shape, dtype=bool), steps, fill=False)
