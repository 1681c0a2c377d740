"""A toy framework, as small as one can be: arrays that remember how they were made, for the adapter of CONTRIBUTING."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__version__ = "3.1"


class Array:
    """Numbers, the arrays that they were made from, and what pulls a cotangent back to those."""

    def __init__(
        self, values: np.ndarray, parents: Sequence[Array] = (), pull: Callable[..., Any] | None = None
    ) -> None:
        self.values, self.parents, self.pull = np.array(values), parents, pull

    def __mul__(self, other: Array) -> Array:
        a, b = self.values, other.values
        return Array(a * b, (self, other), lambda g: (g * b, g * a))


def relu(x: Array) -> Array:
    return Array(np.maximum(x.values, 0), (x,), lambda g: (np.where(x.values > 0, g, np.zeros_like(g)),))


def hardtanh(x: Array, low: float = -1.0, high: float = 1.0) -> Array:
    inside = (x.values > low) & (x.values < high)
    return Array(np.clip(x.values, low, high), (x,), lambda g: (np.where(inside, g, np.zeros_like(g)),))


def gradients(y: Array, sources: Sequence[Array], g: Array) -> list[Array]:
    """Those of sum(g * y) by the sources."""
    found: dict[int, Any] = {}

    def visit(x: Array, g: Any) -> None:
        found[id(x)] = found.get(id(x), 0) + g
        for parent, d in zip(x.parents, x.pull(g) if x.pull else (), strict=True):
            visit(parent, d)

    visit(y, g.values)
    return [Array(found[id(s)]) for s in sources]
