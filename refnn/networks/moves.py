"""Ops that move numbers and compute nothing: views, slices, permutations, concatenations, look-ups, masks that fill.

    y[i] = x_k[j]  or a constant           no rounding is allowed
    dL/dx_k[j] = the sum of dL/dy[i] over all i that took x_k[j], in any order

Which i took which j is known beforehand. Such an op is made for one call of a function: it has the call's shapes. The
class `stored sums` adds the terms of a gradient to an array in the storage format, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refnn.op import Input, Op, Variant

Array = Any
STORED = "stored sums"


@dataclass(frozen=True, eq=False)
class Places:
    """From where the elements of an output are.

    `source`, in the shape of the output, counts through the elements of all inputs, one input after the other; it is -1
    where the output holds the number of `constant`. Where `silent`, no gradient is handed on.
    """

    shapes: Sequence[tuple[int, ...]]
    source: np.ndarray
    constant: np.ndarray
    silent: np.ndarray

    def of(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the output is of input k, and of which of its elements (0 elsewhere)."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        first = sum(sizes[:k])
        taken = (self.source >= first) & (self.source < first + sizes[k])
        return taken, np.where(taken, self.source - first, 0)


def moving(name: str, inputs: Sequence[str], places: Places) -> Op:
    """The op of these inputs that moves numbers from place to place."""

    def forward(ar: Any, *arrays: Array) -> Array:
        y = None
        for k, x in enumerate(arrays):
            taken, element = places.of(k)
            if taken.any():
                moved = x.reshape(-1)[element]
                y = moved if taken.all() else ar.where(taken, moved, _constant(ar, places) if y is None else y)
        return _constant(ar, places) if y is None else y

    def pulled(total: Callable[[Any, Array], Array]) -> Callable[..., tuple[Array, ...]]:
        def vjp(ar: Any, g: Array, y: Array, *arrays: Array) -> tuple[Array, ...]:
            terms, shapes = g.reshape(-1), [x.shape for x in arrays]
            found = (places.of(k) for k in range(len(arrays)))
            return tuple(_adjoint(ar, terms, *f, s, places.silent, total) for f, s in zip(found, shapes, strict=True))

        return vjp

    def validate(arrays: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        for (n, x), shape in zip(arrays.items(), places.shapes, strict=True):
            if x.shape != tuple(shape):
                raise ValueError(f"{name}: {n} has shape {x.shape}, expected {tuple(shape)}, for which it was made")

    return Op(
        name=name,
        forward_definition=forward,
        vjp_definition=pulled(_total),
        algorithms={STORED: (forward, pulled(_stored))},
        inputs={n: Input() for n in inputs},
        validate=validate,
        variants=(Variant(dict(zip(inputs, map(tuple, places.shapes), strict=True))),),
    )


def _constant(ar: Any, places: Places) -> Array:
    return ar.array(places.constant)


def _total(ar: Any, terms: Array) -> Array:
    """The sum of each row, in any order."""
    return ar.sum(terms, 1)


def _stored(ar: Any, terms: Array) -> Array:
    """The sum of each row, term by term in the order of the output, each sum rounded to the storage format."""
    total = terms[:, 0]
    for k in range(1, terms.shape[1]):
        total = ar.saved(total + terms[:, k])
    return total


def _adjoint(
    ar: Any,
    g: Array,
    taken: np.ndarray,
    element: np.ndarray,
    shape: Any,
    silent: np.ndarray,
    add: Callable[[Any, Array], Array],
) -> Array:
    """The gradient of an input: elements that were taken equally often are summed together, with nothing added that is
    not there."""
    outputs = np.flatnonzero(taken & ~silent)
    elements = element.reshape(-1)[outputs]
    outputs = outputs[np.argsort(elements, kind="stable")]
    counts = np.bincount(elements, minlength=int(np.prod(shape)))
    ends = np.cumsum(counts)
    total: Array = None
    for count in np.unique(counts[counts > 0]):
        rows = np.flatnonzero(counts == count)
        terms = g[outputs[(ends[rows] - count)[:, None] + np.arange(count)]]
        sums = add(ar, terms) if count > 1 else terms.reshape(-1)
        place = np.zeros(len(counts), int)
        place[rows] = np.arange(len(rows))
        if len(rows) == len(counts):
            total = sums[place]
        else:
            total = ar.where(counts == count, sums[place], 0 if total is None else total)
    if total is None:
        total = ar.array(np.zeros(len(counts), np.float32))
    return total.reshape(shape)


CAST = Op(
    name="cast",
    forward_definition=lambda ar, x: x,
    vjp_definition=lambda ar, g, y, x: (g,),
    inputs={"x": Input()},
    validate=lambda inputs, params: None,
    variants=(Variant({"x": (5, 7)}),),
)
