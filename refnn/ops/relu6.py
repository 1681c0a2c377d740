r"""Rectified linear unit clipped at 6, elementwise: hardtanh from 0 to 6.

    y = min(6, max(0, x)),   dy/dx = 1 where 0 < x < 6, 0 elsewhere

Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10 (2010). Any shape; the output has the shape and dtype of x.
At 0 and 6 the derivative is a convention: refnn takes 0, as PyTorch does, so that it is 1 on the open interval. Output
and gradient are selections, so no rounding is allowed at all.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops import hardtanh as _hardtanh
from refnn.ops._shared import any_array, each_element, elementwise


def forward(ar, x):
    return _hardtanh.forward(ar, x, min_val=0, max_val=6)


def vjp(ar, g, y, x):
    return _hardtanh.vjp(ar, g, y, x, min_val=0, max_val=6)


relu6 = Op(
    name="relu6",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=elementwise(points=(0.0, 6.0)),
    kinks={"relu6'(6)=open": 0.0, "relu6'(6)=closed": 1.0},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), 6, (0,), "the upper bound; the slope is 0 outside"),
        Special((-inf,), 0, (0,), "the lower bound; the slope is 0 outside"),
        Special((-inf,), 0, ((0, nan),), "0, or 0 times NaN", cotangent=nan),
        Special((3.0,), 3, (nan,), "NaN in the cotangent is handed on where the slope is 1", cotangent=nan),
        Special((0.0,), 0, ((0, 1),), "either sign of zero; at the kink either declared convention"),
        Special((-0.0,), 0, ((0, 1),), "likewise"),
        Special((6.0,), 6, ((0, 1),), "at the kink either declared convention"),
    ),
    rowwise=each_element,
)
