"""Attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refnn.study.power.mutant import Array, Mutant, Pair, in_float64, regraded

OP = "scaled_dot_product_attention"
TILE = 16  # keys of a block of the mutants that go block by block


def _factor(query: Array, key: Array, value: Array, scale: float | None) -> float:
    return 1 / math.sqrt(query.shape[-1]) if scale is None else scale


def _seen(queries: int, keys: int) -> Array:
    return np.tri(queries, keys, dtype=bool)


def _softmax(s: Array) -> Array:
    """The weights of the scores of one query; those of a query that sees nothing are 0."""
    if (s == -np.inf).all():
        return np.zeros_like(s)
    e = np.exp(s - s.max())
    return e / e.sum()


def kernel(
    factor: Callable[[Array, Array, Array, float | None], float] = _factor,
    seen: Callable[[int, int], Array] = _seen,
    weights: Callable[[Array], Array] = _softmax,
    added: Callable[[Array, Array, float], Array] = lambda s, mask, c: c * s + mask,
    left_out: bool = True,
) -> Pair:
    """Attention query by query, forward and vjp: with another scale, another causal mask, other weights of the scores
    of a query, the mask added elsewhere, or with what is left out in the products, at weights of 0."""

    def of(query: Array, key: Array, value: Array, mask: Array | None, is_causal: bool, scale: float | None) -> Any:
        q, k, v = (x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:]) for x in (query, key, value))
        c = factor(query, key, value, scale)
        with np.errstate(all="ignore"):
            s = q @ k.swapaxes(1, 2)
            if mask is None:
                s = c * s
            else:
                whole = (*query.shape[:-1], key.shape[-2])
                s = added(s, np.broadcast_to(mask, whole).reshape(s.shape), c)
        keep = seen(*s.shape[1:]) if is_causal else np.ones(s.shape[1:], bool)
        return q, k, v, s, keep, c

    def row(s: Array, keep: Array) -> tuple[Array, Any]:
        """The weights of one query, and of which keys they are."""
        if not keep.any():
            return np.zeros(0), keep
        p = weights(s[keep])
        if left_out:
            return p, keep
        whole = np.zeros(len(s))
        whole[keep] = p
        return whole, slice(None)

    def forward(
        query: Array, key: Array, value: Array, mask: Array | None = None, *, is_causal: bool, scale: float | None
    ) -> Array:
        _, _, v, s, keep, _ = of(query, key, value, mask, is_causal, scale)
        y = np.zeros((*s.shape[:2], v.shape[2]))
        with np.errstate(all="ignore"):
            for b, i in np.ndindex(s.shape[:2]):
                p, own = row(s[b, i], keep[i])
                y[b, i] = p @ v[b, own]
        return y.reshape(*query.shape[:-1], value.shape[-1])

    def vjp(
        g: Array,
        query: Array,
        key: Array,
        value: Array,
        mask: Array | None = None,
        *,
        is_causal: bool,
        scale: float | None,
    ) -> Any:
        q, k, v, s, keep, c = of(query, key, value, mask, is_causal, scale)
        h = g.reshape(*s.shape[:2], v.shape[2])
        gq, gk, gv, gs = (np.zeros_like(x) for x in (q, k, v, s))
        with np.errstate(all="ignore"):
            for b, i in np.ndindex(s.shape[:2]):
                p, own = row(s[b, i], keep[i])
                slopes = v[b, own] @ h[b, i]
                ds = p * (slopes - p @ slopes)
                gs[b, i, own] = ds
                gq[b, i] = c * (ds @ k[b, own])
                gk[b, own] += c * np.outer(ds, q[b, i])
                gv[b, own] += np.outer(p, h[b, i])
        by_mask = None
        if mask is not None:
            by_mask = gs.reshape(*query.shape[:-1], key.shape[-2])
            added_axes = by_mask.ndim - mask.ndim
            axes = tuple(a for a in range(by_mask.ndim) if a < added_axes or mask.shape[a - added_axes] == 1)
            by_mask = by_mask.sum(axes).reshape(mask.shape)
        return gq.reshape(query.shape), gk.reshape(key.shape), gv.reshape(value.shape), by_mask

    return in_float64(forward), in_float64(vjp)


def _changed(**change: Any) -> dict[str, Any]:
    forward, vjp = kernel(**change)
    return {"forward": forward, "vjp": vjp}


def unshifted(s: Array) -> Array:
    e = np.exp(s.astype(np.float32))
    return np.asarray(e / e.sum())


def zero_over_zero(s: Array) -> Array:
    e = np.exp(s - s.max())
    return np.asarray(e / e.sum())


def without_the_last_tile(s: Array) -> Array:
    whole = len(s) - len(s) % TILE if len(s) > TILE else len(s)
    return np.concatenate([_softmax(s[:whole]), np.zeros(len(s) - whole)])


def not_rescaled(s: Array) -> Array:
    """The sum of earlier tiles is kept as it is where a later tile has a larger score."""
    total, top, found = 0.0, -np.inf, []
    for start in range(0, len(s), TILE):
        part = s[start : start + TILE]
        top = max(top, part.max())
        found.append(np.exp(part - top) if top > -np.inf else np.zeros_like(part))
        total += found[-1].sum()
    return np.concatenate(found) / total if total else _softmax(s)


def over_the_queries(
    query: Array, key: Array, value: Array, mask: Array | None = None, *, is_causal: bool, scale: float | None
) -> Array:
    """Weights that add up to 1 over the queries."""
    s = query @ key.swapaxes(-1, -2) * _factor(query, key, value, scale)
    s = s if mask is None else s + mask
    if is_causal:
        s = np.where(_seen(*s.shape[-2:]), s, -np.inf)
    with np.errstate(all="ignore"):
        e = np.exp(s - s.max(-2, keepdims=True)) if s.size else s
        return (e / e.sum(-2, keepdims=True)) @ value


def no_shared_term(
    grads: Any, g: Array, query: Array, key: Array, value: Array, mask: Any = None, *, is_causal: bool, scale: Any
) -> Any:
    """The gradients of query, key and mask from p times the slopes alone, without what all scores of a query share."""
    c = _factor(query, key, value, scale)
    s = query @ key.swapaxes(-1, -2) * c
    s = s if mask is None else s + mask
    if is_causal:
        s = np.where(_seen(*s.shape[-2:]), s, -np.inf)
    with np.errstate(all="ignore"):
        e = np.exp(s - s.max(-1, keepdims=True))
        ds = e / e.sum(-1, keepdims=True) * (g @ value.swapaxes(-1, -2))
        return c * (ds @ key), c * (ds.swapaxes(-1, -2) @ query), *grads[2:]


def _times(which: int, factor: Callable[[Array, float | None], float]) -> Any:
    """The gradients, one of them times a number."""

    def change(grads: Any, g: Array, query: Array, *rest: Any, is_causal: bool, scale: float | None) -> Any:
        return tuple(v if i != which or v is None else v * factor(query, scale) for i, v in enumerate(grads))

    return regraded(OP, change)


def _first_of_many(grads: Any, g: Array, query: Array, key: Array, value: Array, mask: Any = None, **_: Any) -> Any:
    """A stretched mask's gradient over the number of its terms."""
    if mask is None:
        return grads
    return *grads[:3], grads[3] * (mask.size / (query[..., 0].size * key.shape[-2]))


RIGHT: Mapping[str, Pair] = {OP: kernel()}

MUTANTS = (
    Mutant(OP, "", "no scale", **_changed(factor=lambda q, k, v, scale: 1.0 if scale is None else scale)),
    Mutant(
        OP,
        "",
        "the scale of the values' features",
        **_changed(factor=lambda q, k, v, scale: 1 / math.sqrt(v.shape[-1]) if scale is None else scale),
    ),
    Mutant(
        OP,
        "",
        "the scale of the number of keys",
        **_changed(factor=lambda q, k, v, scale: 1 / math.sqrt(k.shape[-2]) if scale is None else scale),
    ),
    Mutant(OP, "", "a given scale is not taken", **_changed(factor=lambda q, k, v, scale: _factor(q, k, v, None))),
    Mutant(OP, "", "a query sees one key too many", **_changed(seen=lambda n, m: np.tri(n, m, 1, dtype=bool))),
    Mutant(OP, "", "a query does not see its own key", **_changed(seen=lambda n, m: np.tri(n, m, -1, dtype=bool))),
    Mutant(
        OP,
        "",
        "the causal mask is aligned to the last key",
        **_changed(seen=lambda n, m: np.tri(n, m, m - n, dtype=bool)),
    ),
    Mutant(OP, "", "weights over the queries", forward=in_float64(over_the_queries)),
    Mutant(OP, "", "the mask is scaled, too", **_changed(added=lambda s, mask, c: c * (s + mask))),
    Mutant(OP, "", "scores are not shifted", **_changed(weights=unshifted)),
    Mutant(OP, "", "a query that sees nothing is 0/0", **_changed(weights=zero_over_zero)),
    Mutant(OP, "", "the last tile of keys is left out", **_changed(weights=without_the_last_tile)),
    Mutant(OP, "", "the running sum is not rescaled", **_changed(weights=not_rescaled)),
    Mutant(OP, "", "what is left out arrives as 0 times infinity", **_changed(left_out=False)),
    Mutant(OP, "", "no shared term in the gradient of the scores", vjp=regraded(OP, no_shared_term)),
    Mutant(
        OP,
        "",
        "the key's gradient is not scaled",
        vjp=_times(1, lambda q, scale: math.sqrt(q.shape[-1]) if scale is None else 1 / scale),
    ),
    Mutant(
        OP,
        "",
        "the query's gradient is scaled twice",
        vjp=_times(0, lambda q, scale: 1 / math.sqrt(q.shape[-1]) if scale is None else scale),
    ),
    Mutant(OP, "", "no gradient for the mask", vjp=_times(3, lambda q, scale: 0.0)),
    Mutant(OP, "", "a stretched mask's gradient is a mean", vjp=regraded(OP, _first_of_many)),
    Mutant(
        OP,
        "tinygrad/tinygrad PR2425",
        "one is added to every score of a query",
        **_changed(weights=lambda s: _softmax(s + 1)),
        kind="equivalent",
        why="weights depend on differences of scores alone",
    ),
)
