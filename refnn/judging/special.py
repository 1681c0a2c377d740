"""Tables of special values: what an entry allows, and which slices a row is about."""

from __future__ import annotations

import math

import numpy as np


def broadcasts(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Whether an array of that shape gives one element for each place of the full one."""
    return len(shape) <= len(full) and all(n in (1, m) for n, m in zip(shape[::-1], full[::-1], strict=False))


def spread(into: np.ndarray, place: tuple[int, ...], entry: object, ndim: int) -> None:
    """An entry of a table of special values as a set for each element; what is said of a whole holds for its parts."""
    if isinstance(entry, list):
        for i, e in enumerate(entry):
            spread(into, (*place, i), e, ndim)
    elif len(place) < ndim:
        for i in range(into.shape[len(place)]):
            spread(into, (*place, i), entry, ndim)
    else:
        into[place] = entry if entry is None or isinstance(entry, tuple) else (entry,)


def kinds_of(x: np.ndarray) -> np.ndarray:
    """-inf, a finite number, inf, NaN as 0 to 3."""
    return np.where(np.isnan(x), 3, np.where(np.isinf(x), 1 + np.sign(x), 1)).astype(np.int64)


def slices(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """An array that has elements, as rows: a slice along these axes in each."""
    length = math.prod(x.shape[a] for a in axes)
    return np.moveaxis(x, axes, range(x.ndim - len(axes), x.ndim)).reshape(-1, length)


def signature(kinds: np.ndarray) -> np.ndarray:
    """For each slice along the last axis: whether there is a NaN, an infinity or several, anything but -inf."""
    return np.stack([(kinds == 3).any(-1), np.minimum((kinds == 2).sum(-1), 2), (kinds > 0).any(-1)], axis=-1).astype(
        np.int64
    )


def is_allowed(got: float, allowed: float | str, factor: float) -> bool:
    """Whether `got` is an allowed number times `factor`; "+0" and "-0" insist on the sign."""
    wanted = float(allowed) * factor
    if isinstance(allowed, str):
        return got == wanted and math.copysign(1.0, got) == math.copysign(1.0, wanted)
    return got == wanted or (math.isnan(got) and math.isnan(wanted))
