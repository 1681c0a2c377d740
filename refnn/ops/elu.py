r"""Exponential linear unit, elementwise.

    y = x where x > 0, alpha (exp(x) - 1) elsewhere        katsaros (ELU)
    dy/dx = 1 where x > 0, alpha exp(x) elsewhere

Any shape; the output has the shape and dtype of x. `alpha` is any number. The exponential less one is expm1, which
keeps the digits of a small x. The class `textbook` takes the derivative from the rounded output, as y + alpha: its
error is u alpha whatever the size of the result. It, too, goes by the sign of x: that of y is the other one where
alpha is negative. The class `exp(x) - 1` differentiates likewise, after subtracting what was rounded: an absolute error
of about u alpha in the output, too. At zero the derivative is a convention unless alpha is 1: refnn takes alpha, as
PyTorch does.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import LONG, any_array, each_element, elementwise


def forward(ar, x, *, alpha=1.0):
    return ar.branch(x, x, ar.real(alpha) * ar.expm1(x))


def vjp(ar, g, y, x, *, alpha=1.0):
    return (ar.branch(x, g, ar.product(g, ar.real(alpha), ar.exp(x))),)


def textbook(ar, g, y, x, *, alpha=1.0):
    return (ar.branch(x, g, g * (y + ar.real(alpha))),)


def by_exp(ar, x, *, alpha=1.0):
    return ar.branch(x, x, ar.real(alpha) * (ar.exp(x) - 1))


elu = Op(
    name="elu",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=(
        *elementwise(points=(0.0,)),
        *(v for a in (0.3, -0.75, 2.5, 0.0) for v in elementwise(LONG, points=(0.0,), alpha=a)),
    ),
    algorithms={"textbook": (forward, textbook), "exp(x) - 1": (by_exp, textbook)},
    kinks={"elu'(0)=alpha": 0.0, "elu'(0)=1": 1.0},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), inf, (1,), "the identity above 0"),
        Special((-inf,), -1, (0,), "the limits of exp(x) - 1 and of its slope"),
        Special((-inf,), 2, (0,), "minus alpha, the limit for a negative alpha as well", {"alpha": -2.0}),
        Special((-inf,), -1, ((0, nan),), "0, or NaN in the cotangent times the slope", cotangent=nan),
        Special((0.0,), 0, (1,), "either sign of zero; no kink where alpha is 1"),
        Special((-0.0,), 0, (1,), "likewise"),
        Special((0.0,), 0, ((0.25, 1),), "at the kink either declared one", {"alpha": 0.25}),
    ),
    rowwise=each_element,
    equations=("katsaros (ELU)",),
)
