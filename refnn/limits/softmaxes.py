r"""Four softmaxes side by side: three of them are found in the wild, and the one that the sources print breaks.

    naive      exp(a_j) / sum_k exp(a_k)                   challa2023 (4), as it stands
    scaled     naive of s a, s = min(1, limit / max |a|)   challa2023 and challa2022, against overflow; another function
    shifted    naive of a - max a                          the op softmax itself
    online     shifted, with a running maximum and a running sum, block by block (Milakov and Gimelshein,
               arXiv 1805.02867, 2018)

The class `online` of the op softmax bounds every online algorithm; here stands one. All are written in the primitives
of an arithmetic and share the vjp y_j (g_j - sum_k g_k y_k); that of `scaled` takes s for a constant, and is multiplied
by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from refnn.arithmetic.floats import Floats
from refnn.arithmetic.rounded import correctly_rounded
from refnn.formats import Format, format_of
from refnn.ops import OPS

BLOCK = 2  # so short that a row of three has two blocks

_shifted = OPS["softmax"]


def naive(ar, x, *, limit):
    e = ar.exp(x)
    return e / ar.sum(e, -1, keepdims=True)


def _scale(ar, x, limit):
    """`limit` over the largest magnitude, where that is beyond it."""
    top = ar.pivot(ar.abs(x), -1)
    return ar.branch(top, limit / top, 1, at=limit)


def scaled(ar, x, *, limit):
    return naive(ar, x * _scale(ar, x, limit), limit=limit)


def shifted(ar, x, *, limit):
    return _shifted.forward_definition(ar, x)


def online(ar, x, *, limit):
    top = ar.pivot(x[..., :BLOCK], -1)
    total = ar.sum(ar.exp(x[..., :BLOCK] - top), -1, keepdims=True)
    for start in range(BLOCK, x.shape[-1], BLOCK):
        block = x[..., start : start + BLOCK]
        before, own = top, ar.pivot(block, -1)
        top = ar.branch(own - before, own, before)
        total = total * ar.exp(before - top) + ar.sum(ar.exp(block - top), -1, keepdims=True)
    return ar.exp(x - top) / total


def vjp(ar, g, y, x, *, limit):
    return _shifted.vjp_definition(ar, g, y, x)


def scaled_vjp(ar, g, y, x, *, limit):
    (inner,) = _shifted.vjp_definition(ar, g, y, x)
    return (inner * _scale(ar, x, limit),)


SOFTMAXES: Mapping[str, tuple[Callable[..., Any], Callable[..., Any]]] = MappingProxyType(
    {
        "naive": (naive, vjp),
        "scaled": (scaled, scaled_vjp),
        "shifted": (shifted, vjp),
        "online": (online, vjp),
    }
)


def limit_of(fmt: Format) -> int:
    """The limit that the sources print, 709 for float64 and 88 for float32: the largest integer with a finite exp."""
    return next(n for n in range(fmt.emax + 1, 0, -1) if math.isfinite(correctly_rounded("exp", float(n), fmt)))


def functions(name: str) -> tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]:
    """forward(x, axis=-1) and vjp(g, x, axis=-1) of one of the four on NumPy arrays, every operation in their dtype:
    something that `refnn.check("softmax", ...)` can be given. LookupError for an unknown name."""
    if name not in SOFTMAXES:
        raise LookupError(f"softmax {name!r} is not one of {', '.join(SOFTMAXES)}")
    forward, pullback = SOFTMAXES[name]

    def run(x: np.ndarray, axis: int = -1) -> np.ndarray:
        ar = Floats(x.dtype, each_op=True)
        with np.errstate(all="ignore"):
            y = forward(ar, np.moveaxis(x, axis, -1), limit=limit_of(format_of(x.dtype)))
        return np.moveaxis(np.asarray(y, x.dtype), -1, axis)

    def pull(g: np.ndarray, x: np.ndarray, axis: int = -1) -> np.ndarray:
        ar = Floats(x.dtype, each_op=True)
        rows, cotangent = np.moveaxis(x, axis, -1), np.moveaxis(g, axis, -1)
        limit = limit_of(format_of(x.dtype))
        with np.errstate(all="ignore"):
            (gx,) = pullback(ar, cotangent, forward(ar, rows, limit=limit), rows, limit=limit)
        return np.moveaxis(np.asarray(gx, x.dtype), -1, axis)

    return run, pull
