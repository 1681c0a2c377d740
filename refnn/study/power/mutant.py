"""A mutant: a right implementation with one small change, modelled on a bug that somebody has had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from refnn.ops import OPS

Array = Any  # of NumPy
Forward = Callable[..., Any]
Vjp = Callable[..., Any]
Pair = tuple[Forward, Vjp]

KINDS = ("wrong", "convention", "explained", "equivalent")


@dataclass(frozen=True, eq=False)
class Mutant:
    """One entry of the catalogue.

    `what` is the change in words, `bug` the issue (repository#number) or pull request (repository PR number) that it is
    modelled on, empty where it is our own. `forward` and `vjp` are what is changed; a missing half is that of the
    implementation that was mutated. `kind` is what a checker should say:

    - "wrong": it objects;
    - "convention": no objection; `what` is the name of the convention;
    - "explained": another algorithm, which loses digits; refnn objects and says which, by the name in `what`;
    - "equivalent": no objection, because nothing that is promised has changed; `why` says why.

    `dtype` is the one in which the change shows.
    """

    op: str
    bug: str
    what: str
    forward: Forward | None = None
    vjp: Vjp | None = None
    kind: str = "wrong"
    why: str = ""
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"mutant {self.what!r} of {self.op}: kind is {self.kind!r}, expected {', '.join(KINDS)}")
        if self.forward is None and self.vjp is None:
            raise ValueError(f"mutant {self.what!r} of {self.op} changes neither forward nor vjp")
        if self.kind == "equivalent" and not self.why:
            raise ValueError(f"mutant {self.what!r} of {self.op} is equivalent, but does not say why")

    @property
    def name(self) -> str:
        return f"{self.op}: {self.what}"


# --- how mutants are made --------------------------------------------------------------------------------------------


def in_float64(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` on float64 arrays, its results rounded to the dtype that came: nothing but the mutation is inexact."""

    def rounded(*arrays: Any, **params: Any) -> Any:
        dtype = next(a.dtype for a in arrays if a is not None and a.dtype.kind == "f")
        results = f(*map(_widened, arrays), **{k: _widened(v) for k, v in params.items()})
        if isinstance(results, tuple):
            return tuple(None if r is None else np.asarray(r).astype(dtype) for r in results)
        return np.asarray(results).astype(dtype)

    return rounded


def _widened(x: Any) -> Any:
    return x.astype(np.float64) if isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind == "f" else x


def own(op: str) -> Pair:
    """refnn's own implementation, in float64 and rounded once: that which most mutants change."""
    return in_float64(OPS[op]), in_float64(OPS[op].vjp)


def with_params(op: str, change: Callable[..., Mapping[str, Any]]) -> dict[str, Any]:
    """Forward and vjp, consistent with each other, under other parameters: `change(*arrays, **params)` gives those that
    are replaced."""
    forward, vjp = own(op)
    return {
        "forward": lambda *arrays, **p: forward(*arrays, **{**p, **change(*arrays, **p)}),
        "vjp": lambda g, *arrays, **p: vjp(g, *arrays, **{**p, **change(*arrays, **p)}),
    }


def regraded(op: str, change: Callable[..., Any]) -> Vjp:
    """The vjp whose gradients are `change(grads, g, *arrays, **params)` of the right ones."""

    def vjp(g: Array, *arrays: Any, **p: Any) -> Any:
        return change(OPS[op].vjp(g, *arrays, **p), g, *arrays, **p)

    return in_float64(vjp)


def elementwise(value: Callable[..., Array], slope: Callable[..., Array]) -> dict[str, Any]:
    """Forward and vjp of another function of single elements, consistent with each other."""
    return {"forward": in_float64(value), "vjp": sloped(slope)}


def sloped(slope: Callable[..., Array]) -> Vjp:
    """The vjp of a function of single elements, by its derivative."""
    return in_float64(lambda g, x, **p: (g * slope(x, **p),))


def narrow(x: Array) -> Array:
    """x in the next format with fewer digits: float32 for float64, bfloat16 for float32."""
    return x.astype(np.float32 if x.dtype == np.float64 else bfloat16)


def summed_narrowly(x: Array, axis: int) -> Array:
    """A running sum along an axis, kept, in a format with fewer digits than x has."""
    return np.add.accumulate(narrow(x), axis).take([-1], axis).astype(x.dtype)
