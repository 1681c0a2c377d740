"""Shapes: a definition run for the shapes of its results alone. Sums of products, which are all that costs more than a
few steps a number, are left out, and the numbers are zeros that take no memory."""

from __future__ import annotations

import numpy as np

from refnn.arithmetic.floats import Floats
from refnn.arithmetic.windows import Contraction

Array = np.ndarray


def zeros(shape: tuple[int, ...]) -> np.ndarray:
    """One zero, seen from every place of the shape."""
    return np.broadcast_to(np.float32(), shape)


class Shapes(Floats):
    """Floats without their products."""

    name = "Shapes"

    def __init__(self) -> None:
        super().__init__(np.float32)

    def dot(self, a: Array, b: Array, plus: Array | None = None) -> Array:
        return self._matmul(a, b)

    def contract(self, form: Contraction, a: Array, b: Array, plus: Array | None = None) -> Array:
        return form.apply(self._matmul, a, b)

    def _matmul(self, a: Array, b: Array) -> Array:
        if a.shape[-1] != b.shape[-2]:
            raise ValueError(f"arrays of shapes {a.shape} and {b.shape} have no product")
        return zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]))
