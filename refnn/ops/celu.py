r"""Continuously differentiable exponential linear unit, elementwise.

    y = max(0, x) + min(0, alpha (exp(x/alpha) - 1)) = x where x > 0, alpha (exp(x/alpha) - 1) elsewhere
    dy/dx = 1 where x > 0, exp(x/alpha) elsewhere

Barron, arXiv:1704.07483 (1). Any shape; the output has the shape and dtype of x. `alpha` is any number but 0: both
forms agree for a negative one, too, where the exponential grows without bound for x below 0. Both sides have the slope
1 at zero, so there is no kink. The exponential less one is expm1, which keeps the digits of a small x. The class
`scaled` takes the function for an ELU of x/alpha and multiplies its slope by alpha and by 1/alpha; the class `textbook`
takes the derivative from the rounded output, as 1 + y/alpha; the class `exp(x) - 1` does so after subtracting what was
rounded, an absolute error of about u alpha in the output, too.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import LONG, each_element, elementwise


def forward(ar, x, *, alpha=1.0):
    a = ar.real(alpha)
    return ar.branch(x, x, a * ar.expm1(x / a))


def vjp(ar, g, y, x, *, alpha=1.0):
    return (ar.branch(x, g, g * ar.exp(x / ar.real(alpha))),)


def scaled(ar, g, y, x, *, alpha=1.0):
    a = ar.real(alpha)
    return (ar.branch(x, g, ar.product(g, a, ar.exp(x / a), over=a)),)


def textbook(ar, g, y, x, *, alpha=1.0):
    return (ar.branch(x, g, g * (1 + y / ar.real(alpha))),)


def by_exp(ar, x, *, alpha=1.0):
    a = ar.real(alpha)
    return ar.branch(x, x, a * (ar.exp(x / a) - 1))


def validate(inputs, params):
    if params["alpha"] == 0:
        raise ValueError(f"celu: alpha is {params['alpha']!r}, expected any other number, since x is divided by it")


celu = Op(
    name="celu",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        *elementwise(points=(0.0,)),
        *(v for a in (0.3, -0.75, 2.5) for v in elementwise(LONG, points=(0.0,), alpha=a)),
    ),
    algorithms={"scaled": (forward, scaled), "textbook": (forward, textbook), "exp(x) - 1": (by_exp, textbook)},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), inf, (1,), "the identity above 0"),
        Special((-inf,), -1, (0,), "the limits of exp(x) - 1 and of its slope"),
        Special((-inf,), -inf, (inf,), "with a negative alpha the exponential grows without bound", {"alpha": -2.0}),
        Special((0.0,), 0, (1,), "either sign of zero; both sides have the slope 1"),
        Special((-0.0,), 0, (1,), "likewise"),
    ),
    rowwise=each_element,
)
