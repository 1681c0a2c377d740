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

from math import inf, nan

from refnn.arithmetic.broadcast import common
from refnn.op import Input, Op, Special, Variant
from refnn.ops import _attention
from refnn.ops._shared import rescaled
from refnn.refusals import check_real


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


forward, vjp = _attention.algorithm(_attention.quotients)

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
        "online": _attention.algorithm(_attention.quotients, rescaled),
        "exp(s - logsumexp(s))": _attention.algorithm(_attention.from_logarithm, rescaled),
        "stored weights": _attention.algorithm(_attention.either, rescaled, lambda ar: ar.saved),
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
