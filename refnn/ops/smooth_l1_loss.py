r"""Absolute error with a quadratic bottom, as PyTorch defines it.

    l_i = d_i^2 / (2 beta)  where |d_i| < beta,  |d_i| - beta/2  elsewhere,  d = x - t
    dl_i/dx_i = d_i / beta  there,               sign(d_i)       elsewhere

input and target have one shape and dtype; `beta` is at least 0. Value and derivative are continuous at |d| = beta, so
there is no kink; with beta = 0 nothing is quadratic, and this is l1_loss with its kink and conventions. Reduction
"none" keeps the shape, "sum" adds, "mean" divides the sum by the number of elements. Near |d| = beta, where rounding
decides the side, the bound covers both formulas.
"""

from dataclasses import replace
from math import nan

from refnn.op import Input, Op, Special
from refnn.ops import l1_loss as _l1_loss
from refnn.ops._shared import by_samples, each_sample, every_element, pairs, reduce, usual_pairs, validate_pair


def forward(ar, input, target, *, beta=1.0, reduction="mean"):
    if beta == 0:
        return _l1_loss.forward(ar, input, target, reduction=reduction)
    d, edge = ar.saved(input - target), ar.real(beta)
    size = ar.abs(d)
    losses = ar.branch(size, size - edge / 2, ar.product(d, d, over=2 * edge), at=edge)
    return reduce(ar, ar.saved(losses, 2), reduction, input.size)


def vjp(ar, g, y, input, target, *, beta=1.0, reduction="mean"):
    if beta == 0:
        return _l1_loss.vjp(ar, g, y, input, target, reduction=reduction)
    d, edge = input - target, ar.real(beta)
    # The 1/N of a mean is a factor of its own: it may come before g and 1/beta make a small product large again.
    factors = (g, ar.real(1) / input.size) if reduction == "mean" else (g,)
    each, inner = ar.product(*factors), ar.product(d, *factors, over=edge)
    gx = ar.branch(d, each, ar.branch(d, inner, -each, at=-edge), at=edge)
    return gx, -gx


def validate(inputs, params):
    validate_pair("smooth_l1_loss")(inputs, params)
    if params["beta"] < 0:
        raise ValueError(f"smooth_l1_loss: beta is {params['beta']}, expected a finite number from 0 on")


def _variants(beta, *shapes):
    return tuple(replace(v, points=(0.0, beta, 2 * beta)) for v in pairs(shapes, beta=beta))


smooth_l1_loss = Op(
    name="smooth_l1_loss",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"input": Input(), "target": Input()},
    validate=validate,
    variants=(
        *_variants(1.0, (), (5, 3), (1031,)),
        *_variants(0.3, (3, 2, 5)),
        *_variants(2.5, (7, 11)),
        *_variants(0.0, (4, 3), (13,)),
    ),
    kinks=_l1_loss.l1_loss.kinks,
    special=(
        *_l1_loss.l1_loss.special[:8],
        *(replace(row, params={"beta": 0.0}) for row in _l1_loss.l1_loss.special),
        Special((0.0, 0.0), 0, (0, 0), "the bottom of the parabola"),
        Special((-0.0, -0.0), 0, (0, 0), "likewise"),
        Special((1.0, 0.0), 0.5, (1, -1), "the edge: both formulas agree"),
        Special((1.0, 2.0), 0.5, (-1, 1), "the other edge"),
        Special((0.5, 0.0), 0.125, (nan, nan), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=each_sample,
    summed=by_samples(every_element),
    usual=usual_pairs(beta=(1.0, 0.25, 0.0)),
)
