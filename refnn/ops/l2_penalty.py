r"""Half the sum of squares times a factor: what weight decay adds to a loss.

    l = lambda/2 sum_i x_i^2                               cnnmath (weight decay)
    dl/dx_i = lambda x_i

x is any shape, the output a scalar; `weight_decay` is lambda, at least 0. It is added once a step, not once a sample.
The factor may come before or after the sum, and before or after the half.
"""

from math import inf, nan

from refnn.op import Input, Op, Special, Variant
from refnn.refusals import check_real


def forward(ar, x, *, weight_decay):
    return ar.product(ar.real(weight_decay), ar.saved(ar.sum(ar.saved(x**2))), over=2)


def vjp(ar, g, y, x, *, weight_decay):
    # 1/2 and 2 cancel, but an implementation may apply them in any grouping.
    return (ar.saved(ar.product(2, ar.real(weight_decay), x, g, over=2), 2),)


def validate(inputs, params):
    check_real("l2_penalty", params, "weight_decay")
    if params["weight_decay"] < 0:
        raise ValueError(f"l2_penalty: weight_decay is {params['weight_decay']}, expected a finite number from 0 on")


def _variant(shape, weight_decay):
    return Variant({"x": shape}, {"weight_decay": weight_decay})


l2_penalty = Op(
    name="l2_penalty",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        _variant((5, 7), 0.01),
        _variant((1031,), 0.0005),
        _variant((3, 2, 5), 1.0),
        _variant((4, 3), 0.0),
        _variant((), 0.1),
        _variant((0, 3), 0.3),
        _variant((257, 3), 1000.0),
    ),
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out", {"weight_decay": 0.5}),
        Special((inf,), inf, (inf,), "a square, and the slope of it", {"weight_decay": 0.5}),
        Special((-inf,), inf, (-inf,), "likewise", {"weight_decay": 0.5}),
        Special((0.0,), 0, (0,), "either sign of zero", {"weight_decay": 0.5}),
        Special((-0.0,), 0, (0,), "likewise", {"weight_decay": 0.5}),
        Special((inf,), nan, (nan,), "zero times infinity", {"weight_decay": 0.0}),
        Special((3.0,), 2.25, (nan,), "NaN in the cotangent is handed on", {"weight_decay": 0.5}, cotangent=nan),
    ),
    equations=("cnnmath (weight decay)",),
)
