"""Which elements of the inputs each element of an output is computed from, so that a witness asks about many elements
at a time.

Curtis, Powell and Reid (IMA J. Appl. Math. 13 (1974) 117) find sparse Jacobians so: elements that no output shares are
moved together.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from refnn.arithmetic.exact import Array, Element, ObjectArrays
from refnn.op import Op

Place = tuple[str, tuple[int, ...]]  # an input, and an index in it


class Sources:
    """The places that a number is computed from. Whatever is done with two numbers needs the places of both, also where
    the result would not change, as in a product with zero."""

    def __init__(self, places: Iterable[Hashable] = ()) -> None:
        self.places = frozenset(places)

    def with_(self, other: Any, *more: Any) -> Sources:
        if isinstance(other, np.ndarray):
            return NotImplemented  # NumPy's operator, element by element
        return Sources(self.places.union(*(v.places for v in (other, *more) if isinstance(v, Sources))))

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = with_

    def __neg__(self) -> Sources:
        return self


class Reach(ObjectArrays):
    """Numbers that are known by the places which they come from, whatever their values are."""

    name = "Reach"

    def number(self, value: Element) -> Sources:
        return value if isinstance(value, Sources) else Sources()

    def array(self, x: Array) -> Array:
        return self._each(self.number, np.asarray(x))

    def constant(self, name: str) -> Element:
        return Sources()

    def _same(self, x: Array) -> Array:
        return x

    abs = relu = _same

    def function(self, name: str, x: Array, least: Array | None = None) -> Array:
        return x

    def branch(self, x: Array, above: Array | int, below: Array | int, at: Array | int = 0, kink: str = "0") -> Array:
        return self._each(lambda *four: self._largest([*four]), x, *map(self._lifted, (above, below, at)))

    def _largest(self, row: list[Element]) -> Sources:
        return Sources().with_(*row) if row else Sources()

    def _tops(self, row: list[Element], places: list[int]) -> tuple[list[int], bool]:
        return self._refuse("route")

    def pivot(self, x: Array, axis: int, finite: bool = False) -> Array:
        return np.expand_dims(self.max(x, axis), axis)


def reach(op: Op, inputs: Sequence[np.ndarray | None], params: Mapping[str, Any]) -> np.ndarray:
    """For each element of the output the set of places that its forward is computed from."""
    ar = Reach()
    lifted: list[np.ndarray | None] = []
    for name, x in zip(op.inputs, inputs, strict=True):
        if x is not None and x.dtype.kind not in "biu":
            places = np.empty(x.shape, dtype=object)
            for index in np.ndindex(x.shape):
                places[index] = Sources([(name, index)])
            x = places
        lifted.append(x)
    y = op.forward_definition(ar, *lifted, **params)
    return ar._each(lambda v: v.places, ar.array(y))


def apart(places: Sequence[Place], shared: Iterable[frozenset[Place]]) -> list[list[Place]]:
    """The places in groups, so that no two of a group are in one of the sets."""
    neighbours: dict[Place, set[Place]] = {p: set() for p in places}
    for together in shared:
        for p in together & neighbours.keys():
            neighbours[p] |= together
    groups: list[tuple[list[Place], set[Place]]] = []
    for p in places:
        group, taken = next(((g, t) for g, t in groups if p not in t), ([], set()))
        if not group:
            groups.append((group, taken))
        group.append(p)
        taken |= neighbours[p]
    return [group for group, _ in groups]
