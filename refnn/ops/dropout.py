r"""Dropout with a given mask, scaled so that its mean over all masks is the identity.

    y_j = x_j m_j / (1 - p)                                challa2023 (variable D)
    dL/dx_j = g_j m_j / (1 - p)

x is any shape; mask holds zeros and ones in the shape and dtype of x, and has no gradient: whoever calls draws it. `p`
is the probability that an element is dropped, from 0 to 1. At p = 1 everything is dropped whatever the mask says, and
output and gradient are zero. The number 1 - p counts as rounded once, from its exact value; the class `rounded p`
rounds p first, which near p = 1 costs p/(1 - p) times as much.

A dropped element may be multiplied by zero or left out, so what is infinite or NaN may come out as NaN or as zero.
"""

from fractions import Fraction
from math import inf, nan

from refnn.op import Input, Op, Special, Variant
from refnn.ops._shared import each_element
from refnn.refusals import check_same_shape


def _kept(ar, p):
    return ar.real(1 - Fraction(p))


def _kept_of_rounded(ar, p):
    return 1 - ar.real(p)


def _scaled(ar, x, mask, p, kept):
    if p == 1:
        return 0 * x
    return ar.branch(
        2 * mask, ar.saved(ar.product(x, over=kept(ar, p))), 0, at=1
    )  # chosen, so that the mask rounds nothing


def forward(ar, x, mask, *, p=0.5):
    return _scaled(ar, x, mask, p, _kept)


def vjp(ar, g, y, x, mask, *, p=0.5):
    return _scaled(ar, g, mask, p, _kept), None


def forward_of_rounded(ar, x, mask, *, p=0.5):
    return _scaled(ar, x, mask, p, _kept_of_rounded)


def vjp_of_rounded(ar, g, y, x, mask, *, p=0.5):
    return _scaled(ar, g, mask, p, _kept_of_rounded), None


def validate(inputs, params):
    check_same_shape("dropout", inputs)
    if not 0 <= params["p"] <= 1:
        raise ValueError(f"dropout: p is {params['p']}, expected a probability from 0 to 1")
    mask = inputs["mask"]
    wrong = mask[(mask != 0) & (mask != 1)]
    if wrong.size:
        raise ValueError(f"dropout: mask holds {wrong[0]}, expected zeros and ones")


def _variant(shape, p):
    return Variant({"x": shape, "mask": shape}, {"p": p})


_LEFT_OUT = "left out, or multiplied by zero"

dropout = Op(
    name="dropout",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input(), "mask": Input("mask", differentiable=False)},
    validate=validate,
    variants=(
        _variant((1031,), 0.5),
        _variant((7, 5), 0.1),
        _variant((3, 5, 7), 0.9),
        _variant((11, 3), 0.999),
        _variant((13,), 0.0),
        _variant((4, 6), 1.0),
        _variant((), 0.25),
        _variant((0, 4), 0.3),
    ),
    algorithms={"rounded p": (forward_of_rounded, vjp_of_rounded)},
    special=(
        Special((nan, 1.0), nan, (None, None), "NaN in gives NaN out"),
        Special((nan, 0.0), (0, nan), (0, None), _LEFT_OUT),
        Special((0.0, 1.0), 0, (2, None), "either sign of zero"),
        Special((-0.0, 1.0), 0, (2, None), "likewise"),
        Special((inf, 1.0), inf, (2, None), "an infinity that is kept"),
        Special((-inf, 1.0), -inf, (2, None), "likewise"),
        Special((inf, 0.0), (0, nan), (0, None), _LEFT_OUT),
        Special((-inf, 0.0), (0, nan), (0, None), _LEFT_OUT),
        Special((3.0, 0.0), 0, ((0, nan), None), _LEFT_OUT, cotangent=nan),
        Special((3.0, 0.0), 0, ((0, nan), None), _LEFT_OUT, cotangent=inf),
        Special((3.0, 1.0), 6, (nan, None), "NaN in the cotangent is handed on", cotangent=nan),
        *(
            Special((x, m), (0, nan) if x != 3 else 0, (0, None), f"all is dropped: {_LEFT_OUT}", {"p": 1.0})
            for x in (3.0, inf, -inf, nan)
            for m in (0.0, 1.0)
        ),
        Special((3.0, 1.0), 0, ((0, nan), None), f"all is dropped: {_LEFT_OUT}", {"p": 1.0}, cotangent=nan),
    ),
    rowwise=each_element,
    equations=("challa2023 (variable D)",),
)
