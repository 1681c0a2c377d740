r"""Hard shrinkage: small values become zero, elementwise.

    y = x where x > lambd or x < -lambd, 0 between
    dy/dx = 1 where x > lambd or x < -lambd, 0 between

Donoho, IEEE Trans. Inf. Theory 41 (1995) 613. Any shape; the output has the shape and dtype of x. `lambd` is any
number; from 0 downward this is the identity, whose derivative is 1 everywhere. At -lambd and lambd the output jumps:
refnn takes 0 and the derivative 0, as PyTorch does; the values from outside are accepted as a convention. Output and
gradient are selections: nothing is rounded but a lambd that the format does not hold.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import LONG, any_array, each_element, elementwise


def _outside(ar, x, kept, lambd):
    """`kept` where x is above lambd or below -lambd."""
    if lambd == 0:
        return kept
    edge = ar.real(lambd)
    return ar.branch(x, kept, ar.branch(-x, kept, 0, at=edge), at=edge)


def forward(ar, x, *, lambd=0.5):
    return _outside(ar, x, x, lambd)


def vjp(ar, g, y, x, *, lambd=0.5):
    return (_outside(ar, x, g, lambd),)


hardshrink = Op(
    name="hardshrink",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=(
        *elementwise(points=(-0.5, 0.5)),
        *elementwise(LONG, points=(-2.0, 2.0), lambd=2.0),
        *elementwise(LONG, points=(0.0,), lambd=0.0),
        *elementwise(LONG, points=(-0.5, 0.5), lambd=-0.5),
    ),
    kinks={"hardshrink(lambd)=0": 0.0, "hardshrink(lambd)=x": 1.0},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), inf, (1,), "the identity outside"),
        Special((-inf,), -inf, (1,), "likewise"),
        Special((inf,), inf, (nan,), "NaN in the cotangent is handed on where the slope is 1", cotangent=nan),
        Special((0.0,), 0, (0,), "either sign of zero; the slope is 0 between"),
        Special((-0.0,), 0, (0,), "likewise"),
        Special((0.0,), 0, ((0, nan),), "0, or 0 times NaN", cotangent=nan),
        Special((0.5,), (0, 0.5), ((0, 1),), "at the jump what holds on either side"),
        Special((-0.5,), (0, -0.5), ((0, 1),), "likewise"),
    ),
    rowwise=each_element,
)
