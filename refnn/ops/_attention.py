"""What attention is made of: scores, their weights by several formulas, and a forward and a vjp for each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from refnn.arithmetic.broadcast import up_to
from refnn.arithmetic.windows import matrix_product
from refnn.op import Half
from refnn.ops._broadcast import summed_to

Array = Any


def _matrices(x: Array) -> Array:
    """All matrices of an array along one axis."""
    return x.reshape((math.prod(x.shape[:-2]), *x.shape[-2:]))


def _seen(query: Array, key: Array, is_causal: bool) -> Array | None:
    """Which key takes part for which query, or None where all do."""
    return up_to(query.shape[-2], key.shape[-2])[None] if is_causal else None


def _left(ar: Any, seen: Array | None, x: Array) -> Array:
    """x where a key takes part, and 0 elsewhere."""
    return x if seen is None else ar.where(seen, x, 0)


def _dot(ar: Any, a: Array, b: Array, seen: Array | None = None) -> Array:
    return ar.dot(a, b) if seen is None else ar.contract(matrix_product(a.shape, b.shape, seen), a, b)


def _factors(ar: Any, scale: float | None, features: int) -> tuple[Array, Array, Array]:
    """The scale, and two numbers of one magnitude of which it is the product."""
    if scale is None:
        n = ar.real(float(features))
        c = ar.rsqrt(n, n)
        return c, ar.sqrt(c), ar.sqrt(c)
    root = ar.sqrt(ar.real(abs(scale)))
    return ar.real(scale), root, -root if _negative(scale) else root


def _negative(scale: float) -> bool:
    return scale < 0


def _scores(
    ar: Any, query: Array, key: Array, mask: Array | None, scale: float | None, held: Callable[[Array], Array]
) -> Array:
    q, k = _matrices(query), _matrices(key).swapaxes(1, 2)
    c, r, signed = _factors(ar, scale, query.shape[-1])
    s = ar.either(lambda: held(ar.dot(q, k)) * c, lambda: ar.dot(held(q * r), held(k * signed)))
    if mask is None:
        return held(s)
    whole = (*query.shape[:-1], key.shape[-2])
    return held(_matrices(held(s).reshape(whole) + mask))


def quotients(ar: Any, s: Array, seen: Array | None, exp: Callable[[Array], Array]) -> Array:
    """Exponentials over their sum. Those of finite scores are at most 1, and one of them is 1, however far off the
    scores are."""
    given = ar.sum(s, 2, keepdims=True)
    e = _left(ar, seen, ar.confined(lambda: exp(ar.below(s, 2, seen)), 0, 1, given))
    total = ar.confined(lambda: ar.sum(e, 2, keepdims=True), 1, s.shape[2], given)
    return ar.confined(lambda: e / total, 0, 1, given)


def from_logarithm(ar: Any, s: Array, seen: Array | None, exp: Callable[[Array], Array]) -> Array:
    """The exponential of the scores less the logarithm of the sum of their exponentials."""
    top = ar.pivot(s, 2)
    d = s - top
    rest = ar.log(ar.sum(_left(ar, seen, exp(d)), 2, keepdims=True))
    whole = top + rest
    return ar.either(lambda: ar.exp(d - rest), lambda: ar.exp(s - whole))


def either(ar: Any, s: Array, seen: Array | None, exp: Callable[[Array], Array]) -> Array:
    return ar.either(lambda: quotients(ar, s, seen, exp), lambda: from_logarithm(ar, s, seen, exp))


def _weights(ar: Any, s: Array, seen: Array | None, of: Callable[..., Array], exp: Callable[[Array], Array]) -> Array:
    """The weights of scores, by one of the formulas above."""
    if seen is not None:  # the first key is always seen: in place of what is not, it changes no maximum
        s = ar.where(seen, s, s[:, :, :1])
    p = of(ar, s, seen, exp)
    # At least about 1, or 0 where all scores are minus infinity.
    p = ar.branch(ar.sum(_left(ar, seen, ar.exp(ar.below(s, 2, seen, finite=True))), 2, keepdims=True), p, 0)
    return _left(ar, seen, p)


def algorithm(
    of: Callable[..., Array],
    exp_of: Callable[[Any, int], Any] = lambda ar, n: ar.exp,
    held_of: Callable[[Any], Any] = lambda ar: lambda x: x,
) -> tuple[Half, Half]:
    """A forward and a vjp with weights by that formula, an exponential of so many scores, and what is stored."""

    def weights(
        ar: Any, query: Array, key: Array, mask: Array | None, is_causal: bool, scale: float | None
    ) -> tuple[Array, Array | None, Any]:
        held, exp = held_of(ar), exp_of(ar, key.shape[-2])
        s, seen = _scores(ar, query, key, mask, scale, held), _seen(query, key, is_causal)
        return held(_weights(ar, s, seen, of, exp)), seen, held

    def forward(
        ar: Any, query: Array, key: Array, value: Array, mask: Any = None, *, is_causal: Any = False, scale: Any = None
    ) -> Array:
        p, seen, _ = weights(ar, query, key, mask, is_causal, scale)
        return _dot(ar, p, _matrices(value), seen).reshape((*query.shape[:-1], value.shape[-1]))

    def vjp(
        ar: Any,
        g: Array,
        y: Array,
        query: Array,
        key: Array,
        value: Array,
        mask: Any = None,
        *,
        is_causal: Any = False,
        scale: Any = None,
    ) -> tuple[Array, ...]:
        p, seen, held = weights(ar, query, key, mask, is_causal, scale)
        q, k, v, h = map(_matrices, (query, key, value, g))
        slopes = _left(ar, seen, held(ar.dot(h, v.swapaxes(1, 2))))
        shared = ar.either(
            lambda: ar.sum(ar.product(p, slopes), 2, keepdims=True),
            lambda: ar.sum(ar.product(h, _matrices(y)), 2, keepdims=True),
        )
        ds = _left(ar, seen, held(ar.product(p, slopes - shared)))
        turned = None if seen is None else seen.swapaxes(1, 2)
        c, r, signed = _factors(ar, scale, query.shape[-1])

        def scaled(a: Array, b: Array, seen: Array | None) -> Array:
            return ar.either(
                lambda: held(_dot(ar, a, b, seen)) * c, lambda: held(_dot(ar, a, held(b * r), seen)) * signed
            )

        by_mask = None
        if mask is not None:
            whole = (*query.shape[:-1], key.shape[-2])
            by_mask = summed_to(ar, ds.reshape(whole), whole, mask.shape, saved=True)
        return (
            scaled(ds, k, seen).reshape(query.shape),
            scaled(ds.swapaxes(1, 2), q, turned).reshape(key.shape),
            _dot(ar, p.swapaxes(1, 2), h, turned).reshape(value.shape),
            by_mask,
        )

    return forward, vjp
