r"""Mish, elementwise.

    y = x tanh(s),  s = softplus(x)                        Misra, arXiv:1908.08681
    dy/dx = tanh(s) + x sigmoid(x) / cosh(s)^2

Any shape; the output has the shape and dtype of x. Softplus is computed without cancellation, 1/cosh(s)^2 as
4 e / (1 + e)^2 with e = exp(-2 s), and no exponential is above 1, so results below the normal range are kept as far as
tanh(s) is. The derivative is zero near x = -1.192, where its two terms cancel: its bound is absolute there. The class
`log1p(exp(x))` computes s as such, 1/cosh(s)^2 as 1 - tanh(s)^2 and sigmoid(x) as 1 / (1 + exp(-x)); where exp(-x)
overflows the second term of its derivative vanishes, and the sign is wrong. At minus infinity the limits are zero; the
formulas give NaN.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops import sigmoid as _sigmoid
from refnn.ops import softplus as _softplus
from refnn.ops._shared import ELEMENTWISE, any_array, each_element


def forward(ar, x):
    return x * ar.tanh(_softplus.forward(ar, x))


def vjp(ar, g, y, x):
    s = _softplus.forward(ar, x)
    e = ar.exp(-2 * s)
    slope = ar.product(4, e, over=(1 + e) ** 2)
    return (g * (ar.tanh(s) + ar.product(x, _sigmoid.forward(ar, x), slope)),)


def by_exp(ar, x):
    return x * ar.tanh(ar.log1p(ar.exp(x)))


def by_exp_vjp(ar, g, y, x):
    t = ar.tanh(ar.log1p(ar.exp(x)))
    return (g * (t + ar.product(x, _sigmoid.by_exp(ar, x), 1 - t**2)),)


mish = Op(
    name="mish",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=ELEMENTWISE,
    algorithms={"log1p(exp(x))": (by_exp, by_exp_vjp)},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), inf, ((1, nan),), "the slope's limit, or infinity times 0"),
        Special((-inf,), (0, nan), ((0, nan),), "the limits, or infinity times 0"),
        Special((0.0,), 0, (None,), "either sign of zero; the slope 3/5 is rounded, and judged where zeros are"),
        Special((-0.0,), 0, (None,), "likewise"),
        Special((1.0,), None, (nan,), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=each_element,
)
