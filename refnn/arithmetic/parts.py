"""Parts of numbers: float64 arrays, or the float 0.0 for what is zero everywhere, and their evaluation in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from refnn.arithmetic import BLOCK

Part = np.ndarray | float
Mask = np.ndarray | bool  # a boolean array, or False for "nowhere"


def is_zero(part: object) -> bool:
    """Whether a part is known to be zero everywhere without a look at its elements."""
    return isinstance(part, float) and part == 0.0


def few(*operands: Any) -> bool:
    """Whether operands that need no broadcasting are too small for blocks. For small arrays this look is shorter than
    the one at the shape of the result."""
    shape = ()
    for x in operands:
        if not isinstance(x, float) and x.size != 1:
            if shape and x.shape != shape:
                return False
            shape = x.shape
    return math.prod(shape) < 2 * BLOCK


def in_blocks(f: Callable[..., Sequence[Any]], *operands: Any) -> Sequence[Any]:
    """The parts that an elementwise function gives, evaluated on pieces of large arrays: the same numbers, out of the
    cache instead of memory. Operands are whatever has a shape and is indexed like an array. A part that is zero, or
    False, in every piece stays so."""
    if few(*operands):
        return f(*operands)
    shape = np.broadcast_shapes(*map(np.shape, operands))
    if math.prod(shape) < 2 * BLOCK:
        return f(*operands)
    rows = max(1, BLOCK * shape[0] // math.prod(shape))
    whole: dict[int, np.ndarray] = {}
    for first in range(0, shape[0], rows):
        piece = slice(first, first + rows)
        parts = f(*(x[piece] if np.ndim(x) == len(shape) and x.shape[0] > 1 else x for x in operands))
        for i, part in enumerate(parts):
            if is_zero(part) or part is False:
                continue
            if i not in whole:
                whole[i] = np.zeros(shape, np.asarray(part).dtype)
            whole[i][piece] = part
    return [whole.get(i, part) for i, part in enumerate(parts)]
