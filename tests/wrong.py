"""Implementations that are wrong on purpose, for the harness: mappings as `--refnn-impl module:object` takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

import refnn

OPS = ("linear", "log_softmax", "softmax", "tanh")


def right(op: str) -> tuple[Any, Any]:
    return refnn.ops[op], refnn.ops[op].vjp


def _changed(change: Any) -> dict[str, Any]:
    """refnn's own ops, with `change(op, results, inputs)` for the output and for the gradients."""

    def pair(op: str) -> tuple[Any, Any]:
        f, v = right(op)

        def forward(*inputs: Any, **params: Any) -> Any:
            return change(op, [f(*inputs, **params)], inputs)[0]

        def vjp(g: Any, *inputs: Any, **params: Any) -> Any:
            return tuple(change(op, [*v(g, *inputs, **params)], inputs))

        return forward, vjp

    return {op: pair(op) for op in OPS}


def _each(f: Any) -> dict[str, Any]:
    return _changed(lambda op, results, inputs: [None if r is None else f(r) for r in results])


def _pulled(f: Any) -> dict[str, Any]:
    """The forward is right, the gradients are not."""
    return {op: (right(op)[0], _each(f)[op][1]) for op in OPS}


def _last(results: list[Any]) -> Any:
    """What the call before was asked for."""
    _BEFORE.append(results)
    return _BEFORE.pop(0) if len(_BEFORE) > 1 else results


_BEFORE: list[Any] = []


def _scribble(x: np.ndarray, **params: Any) -> np.ndarray:
    y = refnn.softmax(x, **params)
    x[...] = 0
    return y


def _crash(*args: Any, **params: Any) -> Any:
    raise ZeroDivisionError("out of luck")


correct = {op: right(op) for op in OPS}
inputs_returned = _changed(lambda op, results, inputs: [inputs[0], *inputs[1:]][: len(results)])
nan_everywhere = _each(lambda r: np.full_like(r, np.nan))
zeros = _each(np.zeros_like)
ones = _each(np.ones_like)
infinities = _each(lambda r: np.full_like(r, np.inf))
zero_gradients = _pulled(np.zeros_like)
nan_gradients = _pulled(lambda r: np.full_like(r, np.nan))
negative_gradients = _pulled(lambda r: -r)
double_gradients = _pulled(lambda r: r * 2)
half_precision = _each(lambda r: r.astype(np.float16).astype(r.dtype))
one_part_in_a_thousand = _pulled(lambda r: (r * 1.001).astype(r.dtype))
wider = _each(lambda r: np.asarray(r, np.float64 if r.dtype == np.float32 else np.longdouble))
flat = _each(lambda r: np.ravel(r)[:, None])
lists = _each(lambda r: r.tolist())
nothing: dict[str, Any] = {op: (lambda *a, **k: None, lambda *a, **k: None) for op in OPS}
crash: dict[str, Any] = dict.fromkeys(OPS, (_crash, _crash))
stale = _each(_last)
no_gradients_at_all: dict[str, Any] = {op: (right(op)[0], lambda *a, **k: ()) for op in OPS}
scribbling: dict[str, Any] = {"softmax": (_scribble, right("softmax")[1])}
mean_dropped: dict[str, Any] = {"softmax": (right("softmax")[0], lambda g, x, **p: refnn.softmax(x, **p) * g)}
no_shift: dict[str, Any] = {
    "softmax": (
        lambda x, *, axis=-1: np.exp(x) / np.exp(x).sum(axis, keepdims=True),
        right("softmax")[1],
    )
}
forward_alone: dict[str, Any] = {op: (right(op)[0], None) for op in OPS}
softmax_alone: dict[str, Any] = {"softmax": right("softmax")}
empty: dict[str, Any] = {}


def rectified(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


class Asks:
    """A namespace that imports its parts when they are asked for."""

    __name__ = "Asks"

    def __getattr__(self, name: str) -> Any:
        raise ImportError("not here")


asks = Asks()
unknown_op: dict[str, Any] = {"sofmax": right("softmax")}
no_function: dict[str, Any] = {"softmax": 3}
