r"""Logarithm of the logistic function, elementwise.

    y = -log(1 + exp(-x)) = min(x, 0) - log1p(exp(-|x|))
    dy/dx = sigmoid(-x)

Any shape; the output has the shape and dtype of x. Both terms are negative, no exponential is above 1 and log1p keeps
the small ones, so nothing cancels or overflows on either side. Other classes are

    log(1 + exp(-x))   -log(1 + exp(-x)), or min(x, 0) - log(1 + exp(-|x|)), which rounds 1 + e before the logarithm,
                       and the derivative as 1 - sigmoid(x): absolute errors of about u
    log(sigmoid(x))    log(1 / (1 + exp(-x))), minus infinity where exp(-x) overflows, and the same derivative
    exp(x)             the derivative as 1 / (1 + exp(x)), which is zero where that overflows
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops import sigmoid as _sigmoid
from refnn.ops._shared import ELEMENTWISE, any_array, each_element


def forward(ar, x):
    return -(ar.relu(-x) + ar.log1p(ar.exp(-ar.abs(x))))


def vjp(ar, g, y, x):
    e = ar.saved(ar.exp(-ar.abs(x)))
    return (ar.product(g, ar.branch(x, e, 1), over=1 + e),)


def by_log(ar, x):
    return ar.either(lambda: -(ar.relu(-x) + ar.log(1 + ar.exp(-ar.abs(x)))), lambda: -ar.log(1 + ar.exp(-x)))


def of_sigmoid(ar, x):
    return ar.log(_sigmoid.by_exp(ar, x))


def complement(ar, g, y, x):
    return (g * (1 - _sigmoid.forward(ar, x)),)


def by_exp_vjp(ar, g, y, x):
    return (g * _sigmoid.by_exp(ar, -x),)


logsigmoid = Op(
    name="logsigmoid",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=ELEMENTWISE,
    algorithms={
        "log(1 + exp(-x))": (by_log, complement),
        "log(sigmoid(x))": (of_sigmoid, complement),
        "exp(x)": (forward, by_exp_vjp),
    },
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), 0, (0,), "the limits, either sign of zero"),
        Special((-inf,), -inf, (1,), "y = x on that side"),
        Special((0.0,), None, (0.5,), "minus log 2 is rounded, and judged where zeros are; the slope is exact"),
        Special((-0.0,), None, (0.5,), "likewise"),
        Special((inf,), 0, (nan,), "0 times NaN is handed on", cotangent=nan),
    ),
    rowwise=each_element,
)
