r"""Softsign, elementwise.

    y = x / (1 + |x|)                                      katsaros (softsign)
    dy/dx = 1 / (1 + |x|)^2

Any shape; the output has the shape and dtype of x. The gradient is divided by 1 + |x| twice: the square would overflow
where the result is still a number. The class `quotient rule` is what differentiating the quotient as it stands gives,
g / (1 + |x|) - g (|x| / (1 + |x|)) / (1 + |x|): the two terms cancel where |x| is large, and no digit is left from 1/u
on. At infinity the limits are 1, -1 and a zero slope; the formula gives infinity over infinity.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import ELEMENTWISE, any_array, each_element


def forward(ar, x):
    return x / ar.saved(1 + ar.abs(x))


def vjp(ar, g, y, x):
    d = ar.saved(1 + ar.abs(x))
    once = ar.saved(g / d)
    return (once / d,)


def quotient_rule(ar, g, y, x):
    a = ar.abs(x)
    d = ar.saved(1 + a)
    q = ar.saved(a / d)
    return (ar.saved(g / d) - ar.saved(ar.product(g, q, over=d)),)


softsign = Op(
    name="softsign",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=ELEMENTWISE,
    algorithms={"quotient rule": (forward, quotient_rule)},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), (1, nan), ((0, nan),), "the limits, or infinity over infinity"),
        Special((-inf,), (-1, nan), ((0, nan),), "likewise"),
        Special((0.0,), 0, (1,), "either sign of zero; the slope is 1"),
        Special((-0.0,), 0, (1,), "likewise"),
        Special((1.0,), 0.5, (nan,), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=each_element,
    equations=("katsaros (softsign)",),
)
