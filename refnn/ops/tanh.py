r"""Hyperbolic tangent, elementwise.

    y = tanh(x)                                            katsaros (tanh)
    dy/dx = 1/cosh(x)^2 = 4 e / (1 + e)^2,  e = exp(-2|x|)

Any shape; the output has the shape and dtype of x. The second form of the derivative keeps all digits, because 2|x| is
exact and e at most 1. The class `textbook` computes 1 - y^2 from the rounded y: its error is u whatever the size of
the result, so no digit is left where |x| is large. The class `exp(2x)` does so from outputs that have such an absolute
error themselves, which is all of them near zero: from 2 sigmoid(2x) - 1 or 1 - 2 sigmoid(-2x), with either form of the
sigmoid, or from (1 - e) / (1 + e) with e = exp(-2 |x|), (e - 1) / (e + 1) with e = exp(2 |x|), or (e - d) / (e + d)
with e = exp(|x|) and d = exp(-|x|), and the sign of x.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops import sigmoid as _sigmoid
from refnn.ops._shared import ELEMENTWISE, any_array, each_element


def forward(ar, x):
    return ar.tanh(x)


def vjp(ar, g, y, x):
    e = ar.exp(-2 * ar.abs(x))
    return (ar.product(4, g, e, over=(1 + e) ** 2),)


def textbook(ar, g, y, x):
    return (g * (1 - y**2),)


def by_exp(ar, x):
    return ar.either(
        lambda: ar.either(lambda: 2 * _sigmoid.forward(ar, 2 * x) - 1, lambda: 1 - 2 * _sigmoid.forward(ar, -2 * x)),
        lambda: _quotient(ar, x),
    )


def _quotient(ar, x):
    size = ar.abs(x)

    def below():
        e = ar.exp(-2 * size)
        return (1 - e) / (1 + e)

    def above():
        e = ar.exp(2 * size)
        return (e - 1) / (e + 1)

    def both():
        e, d = ar.exp(size), ar.exp(-size)
        return (e - d) / (e + d)

    y = ar.either(below, lambda: ar.either(above, both))
    return ar.branch(x, y, -y)


tanh = Op(
    name="tanh",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=ELEMENTWISE,
    algorithms={
        "textbook": (forward, textbook),
        "exp(2x)": (by_exp, textbook),
    },
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), 1, (0,), "the limit, where the slope is 0"),
        Special((-inf,), -1, (0,), "likewise"),
        Special((0.0,), 0, (1,), "either sign of zero"),
        Special((-0.0,), 0, (1,), "likewise"),
    ),
    rowwise=each_element,
    equations=("katsaros (tanh)",),
)
