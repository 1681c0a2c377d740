r"""Scaled exponential linear unit, elementwise.

    y = s x where x > 0, s alpha (exp(x) - 1) elsewhere    katsaros (SELU)
    dy/dx = s where x > 0, s alpha exp(x) elsewhere

Any shape; the output has the shape and dtype of x. s = 1.0507... and alpha = 1.6732... are those of Klambauer et al.,
Self-Normalizing Neural Networks (2017), as the float64 numbers nearest to them; s alpha may be rounded as one number,
since the product in any grouping has one rounding more. The exponential less one is expm1, which keeps the digits of a
small x. The class `textbook` takes the derivative from the rounded output, as y + s alpha; the class `exp(x) - 1` does
so after subtracting what was rounded, an absolute error of about u in the output, too. At zero the derivative is a
convention: refnn takes s alpha of the interval between s and s alpha, as PyTorch does.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import ELEMENTWISE, any_array, each_element

SCALE = 1.0507009873554804934193349852946
ALPHA = 1.6732632423543772848170429916717


def forward(ar, x):
    scale = ar.real(SCALE)
    return ar.branch(x, scale * x, ar.product(scale, ar.real(ALPHA), ar.expm1(x)))


def vjp(ar, g, y, x):
    scale = ar.real(SCALE)
    return (ar.branch(x, scale * g, ar.product(g, scale, ar.real(ALPHA), ar.exp(x))),)


def textbook(ar, g, y, x):
    scale = ar.real(SCALE)
    return (ar.branch(x, scale * g, g * (y + scale * ar.real(ALPHA))),)


def by_exp(ar, x):
    scale, alpha = ar.real(SCALE), ar.real(ALPHA)
    product = ar.either(
        lambda: ar.product(scale, alpha, ar.exp(x) - 1),
        lambda: scale * (alpha * ar.exp(x) - alpha),
    )
    return ar.branch(x, scale * x, product)


selu = Op(
    name="selu",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=ELEMENTWISE,
    algorithms={"textbook": (forward, textbook), "exp(x) - 1": (by_exp, textbook)},
    kinks={"selu'(0)=scale*alpha": 0.0, "selu'(0)=scale": 1.0},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), inf, (None,), "s times infinity; the slope s is no number of the formats"),
        Special((-inf,), None, (0,), "the limit, minus s alpha, is no number of the formats; its slope is 0"),
        Special((0.0,), 0, (None,), "either sign of zero; both one-sided slopes are no numbers of the formats"),
        Special((-0.0,), 0, (None,), "likewise"),
    ),
    rowwise=each_element,
    equations=("katsaros (SELU)",),
)
