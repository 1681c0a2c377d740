"""Records of one's own, as they are written for today's networks: each is a few lines, conforms to itself and to what
NumPy makes of the same formula, and tells a planted mistake."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import refnn
from refnn import Input, Op, Variant

EPS = 1e-5


# --- add and normalise, as in Llama: y = h r w, h = x + residual, r = 1 / sqrt(mean h^2 + eps) -----------------------


def _root(ar: Any, h: Any) -> Any:
    return ar.rsqrt(ar.sum(h**2, -1, keepdims=True) / h.shape[-1] + ar.real(EPS))


def add_norm(ar: Any, x: Any, residual: Any, weight: Any) -> Any:
    h = x + residual
    return ar.product(h, _root(ar, h), weight)


def add_norm_vjp(ar: Any, g: Any, y: Any, x: Any, residual: Any, weight: Any) -> Any:
    h = x + residual
    r, gw = _root(ar, h), g * weight
    gh = r * (gw - ar.product(h, r, r, ar.sum(gw * h, -1, keepdims=True), over=h.shape[-1]))
    return gh, gh, ar.sum(ar.product(g, h, r), 0)


# --- gated units: y = f(a) b ------------------------------------------------------------------------------------------


def gated(op: Op) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(ar: Any, a: Any, b: Any) -> Any:
        return op.forward_definition(ar, a) * b

    def vjp(ar: Any, g: Any, y: Any, a: Any, b: Any) -> Any:
        return op.vjp_definition(ar, g * b, None, a)[0], g * op.forward_definition(ar, a)

    return forward, vjp


# --- focal loss of a logit, gamma = 2: q^2 softplus(-z), q = sigmoid(-z), z = (2t - 1) x -----------------------------


def focal(ar: Any, x: Any, target: Any) -> Any:
    z = x * (2 * target - 1)
    return refnn.sigmoid.forward_definition(ar, -z) ** 2 * refnn.softplus.forward_definition(ar, -z)


def focal_vjp(ar: Any, g: Any, y: Any, x: Any, target: Any) -> Any:
    sign = 2 * target - 1
    z = x * sign
    p, q = refnn.sigmoid.forward_definition(ar, z), refnn.sigmoid.forward_definition(ar, -z)
    slope = ar.product(2, p, refnn.softplus.forward_definition(ar, -z)) + q
    return -ar.product(g, sign, q, q, slope), None


# --- softmax among what a mask keeps; a row of which nothing is kept is zero ------------------------------------------


def masked_softmax(ar: Any, x: Any, mask: Any) -> Any:
    e = ar.where(mask, ar.exp(x - ar.max(x, -1, mask).reshape(*x.shape[:-1], 1)), 0)
    total = ar.where(mask.any(-1, keepdims=True), ar.sum(e, -1, keepdims=True), 1)
    return ar.where(mask, e / total, 0)


def masked_softmax_vjp(ar: Any, g: Any, y: Any, x: Any, mask: Any) -> Any:
    kept = ar.where(mask, g, 0)  # a cotangent that is left out touches nothing, not even as 0 times infinity
    return ar.where(mask, y * (kept - ar.sum(kept * y, -1, keepdims=True)), 0), None


# --- rotary position embedding: y = x cos + (-b, a) sin, x = (a, b) ---------------------------------------------------


def rotary(ar: Any, x: Any, cos: Any, sin: Any) -> Any:
    half = x.shape[-1] // 2
    return x * cos + ar.concatenate([-x[..., half:], x[..., :half]], -1) * sin


def rotary_vjp(ar: Any, g: Any, y: Any, x: Any, cos: Any, sin: Any) -> Any:
    half, gs = x.shape[-1] // 2, g * sin
    return g * cos + ar.concatenate([gs[..., half:], -gs[..., :half]], -1), None, None


def _decay(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.abs(x))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, 1, _decay(x)) / (1 + _decay(x))


def _numpy_add_norm(x: np.ndarray, residual: np.ndarray, weight: np.ndarray) -> np.ndarray:
    h = x + residual
    return h / np.sqrt(np.mean(h * h, -1, keepdims=True) + EPS).astype(x.dtype) * weight


_erfc = np.vectorize(math.erfc, otypes=[float])


def _numpy_focal(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    z = x * (2 * target - 1)
    return _sigmoid(-z) ** 2 * (np.maximum(-z, 0) + np.log1p(_decay(z)))


def _numpy_masked_softmax(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    e = np.where(mask, np.exp(x - x.max(-1, keepdims=True, where=mask, initial=-np.inf)), 0)
    return np.where(mask, e / e.sum(-1, keepdims=True), 0).astype(x.dtype)


def _numpy_rotary(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, turn: int = 1) -> np.ndarray:
    half = x.shape[-1] // 2
    return x * cos + np.concatenate([-turn * x[..., half:], turn * x[..., :half]], -1).astype(x.dtype) * sin


def _record(name: str, halves: tuple[Any, Any], inputs: dict[str, Input], *shapes: dict[str, Any]) -> Op:
    return Op(name, *halves, inputs=inputs, validate=lambda inputs, params: None, variants=tuple(map(Variant, shapes)))


BOTH = {"a": Input(), "b": Input()}
PAIR = [{"a": s, "b": s} for s in ((3, 5), (4, 33))]
GALLERY: dict[str, tuple[Op, Callable[..., np.ndarray], Callable[..., np.ndarray]]] = {
    "add_norm": (
        _record(
            "add_norm",
            (add_norm, add_norm_vjp),
            {"x": Input(), "residual": Input(), "weight": Input()},
            *({"x": (n, c), "residual": (n, c), "weight": (c,)} for n, c in ((3, 5), (4, 64))),
        ),
        _numpy_add_norm,
        lambda x, residual, weight: _numpy_add_norm(x, 0 * residual, weight),
    ),
    "swiglu": (
        _record("swiglu", gated(refnn.silu), BOTH, *PAIR),
        lambda a, b: a * _sigmoid(a) * b,
        lambda a, b: b * _sigmoid(b) * a,
    ),
    "geglu": (
        _record("geglu", gated(refnn.gelu), BOTH, *PAIR),
        lambda a, b: (a.astype(np.float64) * _erfc(-a / np.sqrt(2.0)) / 2).astype(a.dtype) * b,
        lambda a, b: refnn.gelu(a, approximate="tanh") * b,
    ),
    "masked_softmax": (
        _record(
            "masked_softmax",
            (masked_softmax, masked_softmax_vjp),
            {"x": Input(), "mask": Input("boolean", differentiable=False)},
            *({"x": s, "mask": s} for s in ((3, 5), (2, 3, 7), (4, 64))),
        ),
        _numpy_masked_softmax,
        lambda x, mask: _numpy_masked_softmax(np.where(mask, x, 0).astype(x.dtype), np.ones_like(mask)),
    ),
    "rotary": (
        _record(
            "rotary",
            (rotary, rotary_vjp),
            {"x": Input(), "cos": Input(differentiable=False), "sin": Input(differentiable=False)},
            *({"x": s, "cos": s[-2:], "sin": s[-2:]} for s in ((3, 6), (2, 5, 8), (2, 2, 7, 64))),
        ),
        _numpy_rotary,
        lambda x, cos, sin: _numpy_rotary(x, cos, sin, -1),
    ),
    "focal": (
        _record(
            "focal",
            (focal, focal_vjp),
            {"x": Input(), "target": Input("mask", differentiable=False)},
            *({"x": s, "target": s} for s in ((3, 5), (131,))),
        ),
        _numpy_focal,
        lambda x, target: _numpy_focal(x, target) * 2,
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", GALLERY)
def test_a_record_of_the_gallery_conforms_to_itself(name: str, dtype: str) -> None:
    op = GALLERY[name][0]
    report = refnn.check(op, forward=op, vjp=op.vjp, dtype=dtype)
    assert report.ok, str(report)


@pytest.mark.parametrize("name", GALLERY)
def test_numpys_own_formula_conforms_and_a_mistake_does_not(name: str) -> None:
    op, right, wrong = GALLERY[name]
    with np.errstate(all="ignore"):
        report = refnn.check(op, forward=right, dtype="float32")
        assert report.ok, str(report)
        assert not refnn.check(op, forward=wrong, dtype="float32").ok
