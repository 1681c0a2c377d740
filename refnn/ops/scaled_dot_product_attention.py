r"""Scaled dot-product attention: each query's weighted mean of the values, by how well the keys fit it.

    y_i = sum_j p_ij v_j,  p_ij = exp(s_ij) / sum_k exp(s_ik),  s_ij = c q_i . k_j + m_ij    Vaswani et al.,
                                                                                        arXiv:1706.03762, (1)
    dL/dv_j = sum_i p_ij g_i
    ds_ij = p_ij (g_i . v_j - D_i),  D_i = sum_j p_ij g_i . v_j = g_i . y_i             FlashAttention, arXiv:2205.14135
    dL/dq_i = c sum_j ds_ij k_j,  dL/dk_j = c sum_i ds_ij q_i,  dL/dm = ds, summed along the axes that m lacks

query is (..., L, E), key (..., S, E), value (..., S, Ev); the axes before are alike. mask is added to the scores and
broadcasts to (..., L, S). With `is_causal` the query i sees the keys 0 to i alone, also where L and S differ; what it
does not see is left out and never touches the rest, not even as 0 times infinity. `scale` is c, and 1/sqrt(E) if it is
None. The output is (..., L, Ev) and has the dtype of the query.

A query whose scores are all minus infinity sees nothing: its weights, its output and its gradients are 0, as PyTorch
has them, not 0/0.

Kernels multiply the scores by c, or query and key by the root of c each, and take D from either sum. Classes are

    online                   the running maximum and sum of flash attention (see `rescaled`)
    exp(s - logsumexp(s))    the weights made again in the backward from the logarithm of their sum, as flash attention
                             saves it, and their exponentials rescaled
    stored weights           in 16 bits scores, weights and their gradients are stored between kernels
"""

import math
from math import inf, nan

import numpy as np

from refnn.arithmetic.broadcast import common
from refnn.arithmetic.windows import matrix_product
from refnn.op import Input, Op, Special, Variant
from refnn.ops._broadcast import summed_to
from refnn.ops._shared import rescaled
from refnn.refusals import check_real


def _matrices(x):
    """All matrices of an array along one axis."""
    return x.reshape((math.prod(x.shape[:-2]), *x.shape[-2:]))


def _seen(query, key, is_causal):
    """Which key takes part for which query, or None where all do."""
    return np.tri(query.shape[-2], key.shape[-2], dtype=bool)[None] if is_causal else None


def _dot(ar, a, b, seen=None):
    return ar.dot(a, b) if seen is None else ar.contract(matrix_product(a.shape, b.shape, seen), a, b)


def _factors(ar, scale, features):
    """The scale, and two numbers of one magnitude of which it is the product."""
    if scale is None:
        n = ar.real(float(features))
        c = ar.rsqrt(n, n)
        return c, ar.sqrt(c), ar.sqrt(c)
    root = ar.sqrt(ar.real(abs(scale)))
    return ar.real(scale), root, -root if scale < 0 else root


def _scores(ar, query, key, mask, scale, held):
    q, k = _matrices(query), _matrices(key).swapaxes(1, 2)
    c, r, signed = _factors(ar, scale, query.shape[-1])
    s = ar.either(lambda: held(ar.dot(q, k)) * c, lambda: ar.dot(held(q * r), held(k * signed)))
    if mask is None:
        return held(s)
    whole = (*query.shape[:-1], key.shape[-2])
    return held(_matrices(held(s).reshape(whole) + mask))


def _quotients(ar, s, seen, exp):
    """Exponentials over their sum. Those of finite scores are at most 1, and one of them is 1, however far off the
    scores are."""
    given = ar.sum(s, 2, keepdims=True)
    e = ar.confined(lambda: exp(s - ar.pivot(s, 2)), 0, 1, given)
    if seen is not None:
        e = ar.where(seen, e, 0)
    total = ar.confined(lambda: ar.sum(e, 2, keepdims=True), 1, s.shape[2], given)
    return ar.confined(lambda: e / total, 0, 1, given)


def _from_logarithm(ar, s, seen, exp):
    top = ar.pivot(s, 2)
    d = s - top
    e = exp(d)
    rest = ar.log(ar.sum(e if seen is None else ar.where(seen, e, 0), 2, keepdims=True))
    whole = top + rest
    p = ar.either(lambda: ar.exp(d - rest), lambda: ar.exp(s - whole))
    return p if seen is None else ar.where(seen, p, 0)


def _either_weights(ar, s, seen, exp):
    return ar.either(lambda: _quotients(ar, s, seen, exp), lambda: _from_logarithm(ar, s, seen, exp))


def _weights(ar, s, seen, of, exp):
    """The weights of scores, by one of the formulas above."""
    if seen is not None:  # the first key is always seen: in place of what is not, it changes no maximum
        s = ar.where(seen, s, s[:, :, :1])
    p = of(ar, s, seen, exp)
    # At least about 1, or 0 where all scores are minus infinity.
    total = ar.sum(ar.exp(s - ar.pivot(s, 2, finite=True)), 2, keepdims=True)
    return ar.branch(total, p, 0)


def _algorithm(of, exp_of=lambda ar, n: ar.exp, held_of=lambda ar: lambda x: x):
    """A forward and a vjp with weights by that formula, an exponential of so many scores, and what is stored."""

    def weights(ar, query, key, mask, is_causal, scale):
        held, exp = held_of(ar), exp_of(ar, key.shape[-2])
        s, seen = _scores(ar, query, key, mask, scale, held), _seen(query, key, is_causal)
        return held(_weights(ar, s, seen, of, exp)), seen, held

    def forward(ar, query, key, value, mask=None, *, is_causal=False, scale=None):
        p, seen, _ = weights(ar, query, key, mask, is_causal, scale)
        return _dot(ar, p, _matrices(value), seen).reshape((*query.shape[:-1], value.shape[-1]))

    def vjp(ar, g, y, query, key, value, mask=None, *, is_causal=False, scale=None):
        p, seen, held = weights(ar, query, key, mask, is_causal, scale)
        q, k, v, h = map(_matrices, (query, key, value, g))
        slopes = held(ar.dot(h, v.swapaxes(1, 2)))
        if seen is not None:
            slopes = ar.where(seen, slopes, 0)
        shared = ar.either(
            lambda: ar.sum(p * slopes, 2, keepdims=True), lambda: ar.sum(h * _matrices(y), 2, keepdims=True)
        )
        ds = held(p * (slopes - shared))
        if seen is not None:
            ds = ar.where(seen, ds, 0)
        turned = None if seen is None else seen.swapaxes(1, 2)
        c, r, signed = _factors(ar, scale, query.shape[-1])

        def scaled(a, b, seen):
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


def validate(inputs, params):
    name, (query, key, value, mask) = "scaled_dot_product_attention", inputs.values()
    for which, x, axes in (
        ("query", query, "(..., L, E)"),
        ("key", key, "(..., S, E)"),
        ("value", value, "(..., S, Ev)"),
    ):
        if x.ndim < 2 or 0 in x.shape[-2:]:
            raise ValueError(f"{name}: {which} has shape {x.shape}, expected {axes} with no empty axis")
    for which, x, shape in (
        ("key", key, (*query.shape[:-2], key.shape[-2], query.shape[-1])),
        ("value", value, (*query.shape[:-2], key.shape[-2], value.shape[-1])),
    ):
        if x.shape != shape:
            raise ValueError(f"{name}: {which} has shape {x.shape}, expected {shape} beside a query of {query.shape}")
    if params["scale"] is not None:
        check_real(name, params, "scale")
    if mask is None:
        return
    if params["is_causal"]:
        raise ValueError(f"{name}: mask and is_causal are both given, expected one of them")
    whole = (*query.shape[:-1], key.shape[-2])
    try:
        fits = common(mask.shape, whole) == whole
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: mask has shape {mask.shape}, expected one that broadcasts to the scores {whole}")


def _variant(query, keys, features=None, mask=None, **params):
    """Queries of that shape and so many keys, with values of so many features."""
    *batch, _, e = query
    return Variant(
        {"query": query, "key": (*batch, keys, e), "value": (*batch, keys, features or e), "mask": mask}, params
    )


def _row(q, k, v, m, y, grads, why):
    """Special values of one query of one feature and two keys, with a scale of 1."""
    return Special(
        ([[q]], [[x] for x in k], [[x] for x in v], None if m is None else [m]),
        [[y]],
        tuple(None if x is None else x for x in grads),
        why,
        {"scale": 1.0},
    )


forward, vjp = _algorithm(_quotients)

scaled_dot_product_attention = Op(
    name="scaled_dot_product_attention",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"query": Input(), "key": Input(), "value": Input(), "mask": Input(optional=True)},
    validate=validate,
    variants=(
        _variant((2, 3, 4), 5, 6),
        _variant((3, 4), 5, 2, mask=(3, 5)),
        _variant((2, 2, 3, 5), 4, 3, mask=(2, 1, 1, 4)),
        _variant((2, 5, 3), 4, is_causal=True),
        _variant((3, 5), 7, 2, is_causal=True),
        _variant((4, 3), 6, 2, scale=0.75),
        _variant((4, 1), 3, 2, scale=-0.5),
        _variant((3, 2), 1, 3),
        _variant((0, 3, 4), 5),
    ),
    algorithms={
        "online": _algorithm(_quotients, rescaled),
        "exp(s - logsumexp(s))": _algorithm(_from_logarithm, rescaled),
        "stored weights": _algorithm(_either_weights, rescaled, lambda ar: ar.saved),
    },
    special=(
        _row(0.0, (0, 0), (1, nan), None, nan, (nan, nan, 0.5, None), "a NaN value: 0.5 of it"),
        _row(nan, (1, 2), (1, 3), None, nan, (nan, nan, nan, None), "NaN in gives NaN out"),
        _row(0.0, (nan, 2), (1, 3), None, nan, (nan, nan, nan, None), "likewise, through the sum in every weight"),
        _row(0.0, (0, 0), (inf, 1), None, inf, (nan, nan, 0.5, None), "half of an infinite value"),
        _row(0.0, (0, 0), (inf, -inf), None, nan, (nan, nan, 0.5, None), "infinity less infinity"),
        _row(1.0, (inf, 1), (1, 3), None, nan, (nan, None, nan, None), "a score of infinity less itself"),
        _row(1.0, (-inf, 1), (2, 3), None, 3, (nan, 0, [[0], [1]], None), "a key of weight 0; 0 times infinity"),
        _row(1.0, (1, 2), (2, 3), (-inf, 0), 3, (0, 0, [[0], [1]], 0), "a key that is masked"),
        _row(1.0, (1, 2), (2, 3), (-inf, -inf), 0, (0, 0, 0, 0), "all keys are masked: nothing is seen"),
        _row(1.0, (1, 2), (2, 3), (nan, 0), nan, (nan, nan, nan, nan), "a NaN mask"),
        _row(1.0, (1, 2), (2, 3), (inf, 0), nan, (nan, nan, nan, nan), "a mask of infinity less itself"),
        Special(
            ([[0.0]], [[0.0], [nan]], [[2.0], [nan]], None),
            [[2]],
            (0, 0, [[1], [0]], None),
            "what is left out does not arrive",
            {"is_causal": True},
        ),
        Special(
            ([[0.0]], [[0.0], [inf]], [[2.0], [inf]], None),
            [[2]],
            (0, 0, [[1], [0]], None),
            "likewise, not as 0 times infinity",
            {"is_causal": True},
        ),
    ),
    usual=lambda op: (
        _variant((2, 4, 16, 16), 16, is_causal=True),
        _variant((1, 2, 33, 8), 65, mask=(33, 65)),
        _variant((1, 2, 16, 64), 48),
        _variant((2, 17, 9), 25, is_causal=True),
        _variant((1, 1, 64, 32), 64, scale=1.0),
        _variant((2, 1, 1, 16), 33),
    ),
)
