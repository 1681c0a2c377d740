r"""Clipping to an interval, elementwise.

    y = min(max_val, max(min_val, x))                      katsaros (hardtanh)
    dy/dx = 1 where min_val < x < max_val, 0 elsewhere

Any shape; the output has the shape and dtype of x. The bounds are any numbers with min_val at most max_val; where they
are equal the output is constant and the derivative zero. On the bounds of an interval the derivative is a convention:
refnn takes 0, as PyTorch does, so that it is 1 on the open interval; JAX takes the closed one. Output and gradient are
selections: only bounds that the format does not hold are rounded.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import LONG, between, each_element, elementwise


def forward(ar, x, *, min_val=-1.0, max_val=1.0):
    return between(ar, x, ar.real(min_val), ar.real(max_val), x, ar.real(min_val), ar.real(max_val))


def vjp(ar, g, y, x, *, min_val=-1.0, max_val=1.0):
    inside = 0 if min_val == max_val else g
    return (between(ar, x, ar.real(min_val), ar.real(max_val), inside, 0, 0),)


def validate(inputs, params):
    low, high = params["min_val"], params["max_val"]
    if not low <= high:
        raise ValueError(f"hardtanh: min_val is {low!r} and max_val {high!r}, expected min_val at most max_val")


hardtanh = Op(
    name="hardtanh",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        *elementwise(points=(-1.0, 1.0)),
        *elementwise(LONG, points=(-2.0, 0.5), min_val=-2.0, max_val=0.5),
    ),
    kinks={"hardtanh'(1)=open": 0.0, "hardtanh'(1)=closed": 1.0},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), 1, (0,), "the upper bound; the slope is 0 outside"),
        Special((-inf,), -1, (0,), "the lower bound; the slope is 0 outside"),
        Special((inf,), 1, ((0, nan),), "0, or 0 times NaN", cotangent=nan),
        Special((0.5,), 0.5, (nan,), "NaN in the cotangent is handed on where the slope is 1", cotangent=nan),
        Special((0.0,), 0, (1,), "either sign of zero"),
        Special((-0.0,), 0, (1,), "likewise"),
        Special((1.0,), 1, ((0, 1),), "at a bound either declared convention"),
        Special((-1.0,), -1, ((0, 1),), "likewise"),
    ),
    rowwise=each_element,
    equations=("katsaros (hardtanh)",),
)
