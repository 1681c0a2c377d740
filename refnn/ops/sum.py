r"""Sum over one axis, several, or all.

    y = sum_k x_k
    dL/dx_k = g                                            g = dL/dy

`axis` is an axis, a tuple of axes, or None for all; these axes disappear, or stay with length 1 if `keepdims`. The
output has the dtype of x. The sum of no element is 0. Any order of summation is inside, since no term passes more than
n - 1 additions: the bound is (n - 1) u sum |x_k|, to first order. A partial sum may overflow where the sum does not.
"""

from math import inf, nan

from refnn.op import Input, Op, Special, Variant
from refnn.ops import _reduce


def forward(ar, x, *, axis=None, keepdims=False):
    return _reduce.total(ar, x, axis, keepdims)


def vjp(ar, g, y, x, *, axis=None, keepdims=False):
    return (_reduce.spread(ar, g, x, axis),)


def validate(inputs, params):
    _reduce.check_axes("sum", inputs["x"], params["axis"])


sum = Op(
    name="sum",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(*_reduce.VARIANTS, Variant({"x": (0, 3)}, {"axis": 0})),
    special=(
        Special(([nan, 1.0],), nan, (1,), "NaN in gives NaN out; no gradient depends on it"),
        Special(([inf, 1.0],), inf, (1,), "an infinite term"),
        Special(([-inf, 1.0],), -inf, (1,), "likewise"),
        Special(([inf, inf],), inf, (1,), "infinities of one sign"),
        Special(([inf, -inf],), nan, (1,), "infinity less infinity"),
        Special(([0.0, -0.0],), "+0", (1,), "zeros of either sign add up to zero"),
        Special(([1.0, 2.0],), None, (nan,), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=_reduce.rowwise,
    usual=_reduce.usual(),
)
