"""Normalisations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import refnn
from refnn.study.power.mutant import Array, Mutant, Pair, in_float64, regraded

Params = Any


def _rows(shape: tuple[int, ...], x: Array) -> tuple[int, ...]:
    """The axes of a row."""
    return tuple(range(x.ndim - len(shape), x.ndim))


def _mapped(y: Array, weight: Array | None, bias: Array | None = None) -> Array:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def layer_norm(
    deviation: Callable[[Array, tuple[int, ...]], Array] = lambda x, axes: x.var(axes, keepdims=True),
    root: Callable[[Array, float], Array] = lambda v, eps: np.sqrt(v + eps),
) -> Callable[..., Array]:
    """Layer normalisation with another variance, or another root."""

    def forward(x: Array, weight: Array | None, bias: Array | None, *, normalized_shape: Any, eps: float) -> Array:
        axes = _rows(normalized_shape, x)
        centred = x - x.mean(axes, keepdims=True)
        with np.errstate(all="ignore"):
            return _mapped(centred / root(deviation(x, axes), eps), weight, bias)

    return in_float64(forward)


def unbiased(x: Array, axes: tuple[int, ...]) -> Array:
    """The variance over n - 1."""
    n = int(np.prod([x.shape[a] for a in axes]))
    return x.var(axes, keepdims=True) * (n / max(n - 1, 1))


def over_the_last_axis(
    x: Array, weight: Array | None, bias: Array | None, *, normalized_shape: Any, eps: float
) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return _mapped(centred / np.sqrt(x.var(-1, keepdims=True) + eps), weight, bias)


def of_layer_norm(pull: Callable[[Array, Array, Array, tuple[int, ...]], Array]) -> Any:
    """A vjp whose gradient of x is `pull` of h = g weight, the normalised rows, 1/sqrt(v + eps) and the axes."""

    def vjp(g: Array, x: Array, weight: Array | None, bias: Array | None, *, normalized_shape: Any, eps: float) -> Any:
        axes = _rows(normalized_shape, x)
        r = 1 / np.sqrt(x.var(axes, keepdims=True) + eps)
        right = refnn.layer_norm.vjp(g, x, weight, bias, normalized_shape=normalized_shape, eps=eps)
        return pull(_mapped(g, weight), (x - x.mean(axes, keepdims=True)) * r, r, axes), *right[1:]

    return in_float64(vjp)


def of_rms_norm(pull: Callable[[Array, Array, Array, tuple[int, ...]], Array]) -> Any:
    def vjp(g: Array, x: Array, weight: Array | None, *, normalized_shape: Any, eps: float) -> Any:
        axes = _rows(normalized_shape, x)
        r = 1 / np.sqrt(np.square(x).mean(axes, keepdims=True) + eps)
        right = refnn.rms_norm.vjp(g, x, weight, normalized_shape=normalized_shape, eps=eps)
        return pull(_mapped(g, weight), x * r, r, axes), *right[1:]

    return in_float64(vjp)


def rms_norm(root: Callable[[Array, float], Array]) -> Callable[..., Array]:
    def forward(x: Array, weight: Array | None, *, normalized_shape: Any, eps: float) -> Array:
        axes = _rows(normalized_shape, x)
        with np.errstate(all="ignore"):
            return _mapped(x / root(np.square(x).mean(axes, keepdims=True), eps), weight)

    return in_float64(forward)


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    return x.mean(axes, keepdims=True)


def _zero(grads: Any, which: int) -> Any:
    """The gradients, one of them forgotten."""
    return tuple(g if i != which or g is None else np.zeros_like(g) for i, g in enumerate(grads))


def _first_row(grads: Any, g: Array, normalized_shape: tuple[int, ...]) -> Any:
    """The gradient of the bias from the first row."""
    if grads[2] is None or not g.size:
        return grads
    return *grads[:2], g.reshape(-1, *normalized_shape)[0]


RIGHT: Mapping[str, Pair] = {}

MUTANTS = (
    Mutant("layer_norm", "", "the variance over n - 1", forward=layer_norm(unbiased)),
    Mutant("layer_norm", "", "eps outside of the root", forward=layer_norm(root=lambda v, eps: np.sqrt(v) + eps)),
    Mutant("layer_norm", "", "eps squared", forward=layer_norm(root=lambda v, eps: np.sqrt(v + eps * eps))),
    Mutant("layer_norm", "", "the last axis alone is normalised", forward=in_float64(over_the_last_axis)),
    Mutant(
        "layer_norm",
        "",
        "a gradient without the normalised row",
        vjp=of_layer_norm(lambda h, xh, r, axes: r * (h - _mean(h, axes))),
    ),
    Mutant(
        "layer_norm",
        "",
        "a gradient without the mean",
        vjp=of_layer_norm(lambda h, xh, r, axes: r * (h - xh * _mean(h * xh, axes))),
    ),
    Mutant("layer_norm", "", "a gradient of r g alone", vjp=of_layer_norm(lambda h, xh, r, axes: r * h)),
    Mutant(
        "layer_norm",
        "",
        "the weight left out of the gradient of x",
        vjp=regraded(
            "layer_norm",
            lambda grads, g, x, weight, bias, **p: (refnn.layer_norm.vjp(g, x, None, None, **p)[0], *grads[1:]),
        ),
    ),
    Mutant(
        "layer_norm",
        "",
        "no gradient for the weight",
        vjp=regraded("layer_norm", lambda grads, *_, **p: _zero(grads, 1)),
    ),
    Mutant(
        "layer_norm",
        "",
        "the bias's gradient of the first row",
        vjp=regraded(
            "layer_norm",
            lambda grads, g, x, weight, bias, *, normalized_shape, eps: _first_row(grads, g, normalized_shape),
        ),
    ),
    Mutant("rms_norm", "", "eps outside of the root", forward=rms_norm(lambda v, eps: np.sqrt(v) + eps)),
    Mutant("rms_norm", "", "no eps", forward=rms_norm(lambda v, eps: np.sqrt(v))),
    Mutant("rms_norm", "", "a gradient of r g alone", vjp=of_rms_norm(lambda h, xh, r, axes: r * h)),
    Mutant(
        "rms_norm",
        "",
        "a gradient that is centred",
        vjp=of_rms_norm(lambda h, xh, r, axes: r * (h - _mean(h, axes) - xh * _mean(h * xh, axes))),
    ),
    Mutant(
        "rms_norm", "", "no gradient for the weight", vjp=regraded("rms_norm", lambda grads, *_, **p: _zero(grads, 1))
    ),
)
