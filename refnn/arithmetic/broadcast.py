"""Broadcasting in numbers of places: which element of an array stands where in the common shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Shape = tuple[int, ...]


def common(first: Shape, second: Shape) -> Shape:
    """The shape of two arrays that broadcast. ValueError says that they do not."""
    try:
        return np.broadcast_shapes(first, second)
    except ValueError:
        raise ValueError(f"shapes {first} and {second}, expected shapes that broadcast") from None


def places(own: Shape, shape: Shape) -> np.ndarray:
    """For each place of `shape`, in one row, which element of an array of the shape `own` stands there."""
    return np.broadcast_to(np.arange(math.prod(own)).reshape(own), shape).ravel()


def alike(found: np.ndarray) -> np.ndarray:
    """For each element, in a row of its own, the places where it stands."""
    count = int(found.max(initial=-1)) + 1
    return np.argsort(found, kind="stable").reshape(count, len(found) // max(count, 1))


def stretched(ar: Any, x: Any, shape: tuple[int, ...]) -> Any:
    """An array of an arithmetic in a shape that it broadcasts to, without a rounding."""
    return x if x.shape == shape else ar.where(np.broadcast_to(True, shape), x, 0)
