r"""Logistic function, elementwise.

    y = 1 / (1 + exp(-x))                                  katsaros (sigmoid)
    dy/dx = y(x) y(-x) = e / (1 + e)^2,  e = exp(-|x|)

Any shape; the output has the shape and dtype of x. The forward is exp(min(x, 0)) / (1 + exp(-|x|)): no exponential
above 1, so nothing overflows and subnormal results are kept; its bound covers 1 / (1 + exp(-x)) wherever that does
not overflow, since both make one exponential, one addition and one quotient. The class `textbook` computes y (1 - y)
from the rounded y, which loses all digits where x is large and positive. The class `exp(-x)` does the same after
1 / (1 + exp(-x)): where exp(-x) overflows the output is zero, though the exact value is still a subnormal number.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import ELEMENTWISE, any_array, each_element


def forward(ar, x):
    return ar.exp(-ar.relu(-x)) / (1 + ar.exp(-ar.abs(x)))


def vjp(ar, g, y, x):
    e = ar.exp(-ar.abs(x))
    return (ar.product(g, e, over=(1 + e) ** 2),)


def by_exp(ar, x):
    return 1 / (1 + ar.exp(-x))


def textbook(ar, g, y, x):
    return (ar.product(g, y, 1 - y),)


sigmoid = Op(
    name="sigmoid",
    forward=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=ELEMENTWISE,
    classes={"textbook": (forward, textbook), "exp(-x)": (by_exp, textbook)},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), 1, (0,), "the limit, where the slope is 0"),
        Special((-inf,), 0, (0,), "likewise"),
        Special((0.0,), 0.5, (0.25,), "exp(0) is exactly 1"),
        Special((-0.0,), 0.5, (0.25,), "likewise"),
    ),
    rowwise=each_element,
)
