r"""Logistic function, elementwise.

    y = 1 / (1 + exp(-x))                                  katsaros (sigmoid)
    dy/dx = y(x) y(-x) = e / (1 + e)^2,  e = exp(-|x|)

Any shape; the output has the shape and dtype of x. The forward is exp(min(x, 0)) / (1 + exp(-|x|)): no exponential
above 1, so nothing overflows and subnormal results are kept; its bound covers 1 / (1 + exp(-x)) wherever that does
not overflow, since both make one exponential, one addition and one quotient. The class `textbook` computes y (1 - y)
from the rounded y, which loses all digits where x is large and positive. The class `exp(-x)` does the same after
1 / (1 + exp(-x)): where exp(-x) overflows the output is zero, though the exact value is still a subnormal number. So
does the class `exp2(-x log2 e)`, whose argument is a rounded product: a relative error of 2 u |x| more where x is
negative. The class `(1 + tanh(x/2))/2` has an absolute error of about u, and no digit where x is large and negative.
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


def by_exp2(ar, x):
    return 1 / (1 + ar.exp(-in_binary(ar, x)))


def in_binary(ar, x):
    """x as the argument of an exponential that is taken as exp2 of its product with log2 e: the constant and the
    product are rounded."""
    return ar.inexact(x, (x,), lambda floor, x: 2 * x.clip(floor), lambda floor, x: x.clip(floor))


def by_tanh(ar, x):
    return (1 + ar.tanh(x / 2)) / 2


def textbook(ar, g, y, x):
    return (ar.saved(ar.product(g, y, ar.saved(1 - y))),)


sigmoid = Op(
    name="sigmoid",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=ELEMENTWISE,
    algorithms={
        "textbook": (forward, textbook),
        "exp(-x)": (by_exp, textbook),
        "exp2(-x log2 e)": (by_exp2, textbook),
        "(1 + tanh(x/2))/2": (by_tanh, textbook),
    },
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), 1, (0,), "the limit, where the slope is 0"),
        Special((-inf,), 0, (0,), "likewise"),
        Special((0.0,), 0.5, (0.25,), "exp(0) is exactly 1"),
        Special((-0.0,), 0.5, (0.25,), "likewise"),
    ),
    rowwise=each_element,
    equations=("katsaros (sigmoid)",),
)
