r"""Mean over one axis, several, or all.

    y = 1/n sum_k x_k
    dL/dx_k = g / n                                        g = dL/dy

`axis` is an axis, a tuple of axes, or None for all; these axes disappear, or stay with length 1 if `keepdims`. The
output has the dtype of x. A mean of no element is refused. Either the sum is divided, or each term before it is added,
by n or times the rounded 1/n: the bound is (n + 1) u/n sum |x_k|, to first order.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops import _reduce


def forward(ar, x, *, axis=None, keepdims=False):
    return _reduce.average(ar, x, axis, keepdims)


def vjp(ar, g, y, x, *, axis=None, keepdims=False):
    return (ar.product(_reduce.spread(ar, g, x, axis), over=_reduce.count(x, axis)),)


def validate(inputs, params):
    x, axis = inputs["x"], params["axis"]
    _reduce.check_axes("mean", x, axis)
    if not _reduce.count(x, axis):
        raise ValueError(f"mean: axis {axis} of shape {x.shape} has no element, whose mean is undefined")


mean = Op(
    name="mean",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=_reduce.VARIANTS,
    special=(
        Special(([nan, 1.0],), nan, (0.5,), "NaN in gives NaN out; no gradient depends on it"),
        Special(([inf, 1.0],), inf, (0.5,), "an infinite term"),
        Special(([-inf, 1.0],), -inf, (0.5,), "likewise"),
        Special(([inf, inf],), inf, (0.5,), "infinities of one sign"),
        Special(([inf, -inf],), nan, (0.5,), "infinity less infinity"),
        Special(([0.0, -0.0],), "+0", (0.5,), "zeros of either sign add up to zero"),
        Special(([1.0, 2.0],), None, (nan,), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=_reduce.rowwise,
    usual=_reduce.usual(),
)
