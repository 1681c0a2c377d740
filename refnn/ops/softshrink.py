r"""Soft shrinkage: all values moved toward zero by lambd, elementwise.

    y = x - lambd where x > lambd, x + lambd where x < -lambd, 0 between
    dy/dx = 0 where -lambd < x < lambd, 1 elsewhere

Donoho, IEEE Trans. Inf. Theory 41 (1995) 613. Any shape; the output has the shape and dtype of x. `lambd` is any number
from 0 on. At -lambd and lambd the derivative is a convention: refnn takes 0, as PyTorch does. With lambd = 0 this is
the identity, whose derivative is 1 at zero, too: no convention makes it 0.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import LONG, each_element, elementwise


def forward(ar, x, *, lambd=0.5):
    if lambd == 0:
        return x
    edge = ar.real(lambd)
    return ar.branch(x, x - edge, ar.branch(-x, x + edge, 0, at=edge), at=edge)


def vjp(ar, g, y, x, *, lambd=0.5):
    if lambd == 0:
        return (g,)
    edge = ar.real(lambd)
    return (ar.branch(x, g, ar.branch(-x, g, 0, at=edge), at=edge),)


def validate(inputs, params):
    if params["lambd"] < 0:
        raise ValueError(f"softshrink: lambd is {params['lambd']!r}, expected a number from 0 on")


softshrink = Op(
    name="softshrink",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        *elementwise(points=(-0.5, 0.5)),
        *elementwise(LONG, points=(-2.0, 2.0), lambd=2.0),
        *elementwise(LONG, points=(-0.3, 0.3), lambd=0.3),
        *elementwise(LONG, points=(0.0,), lambd=0.0),
    ),
    kinks={"softshrink'(lambd)=0": 0.0, "softshrink'(lambd)=1": 1.0},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), inf, (1,), "infinity less lambd"),
        Special((-inf,), -inf, (1,), "minus infinity and lambd"),
        Special((inf,), inf, (nan,), "NaN in the cotangent is handed on where the slope is 1", cotangent=nan),
        Special((0.0,), 0, (0,), "either sign of zero; the slope is 0 between"),
        Special((-0.0,), 0, (0,), "likewise"),
        Special((0.0,), 0, ((0, nan),), "0, or 0 times NaN", cotangent=nan),
        Special((0.5,), 0, ((0, 1),), "at the kink either declared convention"),
        Special((-0.5,), 0, ((0, 1),), "likewise"),
    ),
    rowwise=each_element,
)
