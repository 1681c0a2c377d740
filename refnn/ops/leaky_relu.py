r"""Leaky rectified linear unit, elementwise.

    y = x where x > 0, a x elsewhere, a = negative_slope   katsaros (leaky ReLU)
    dy/dx = 1 where x > 0, a elsewhere

Any shape; the output has the shape and dtype of x. `negative_slope` is any number, above 1 and below 0 included, so
this is not the maximum of x and a x. At zero the derivative is a convention: refnn takes a of the interval between a
and 1, as PyTorch does.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import LONG, any_array, each_element, elementwise


def forward(ar, x, *, negative_slope=0.01):
    return ar.branch(x, x, ar.real(negative_slope) * x)


def vjp(ar, g, y, x, *, negative_slope=0.01):
    return (ar.branch(x, g, ar.real(negative_slope) * g),)


leaky_relu = Op(
    name="leaky_relu",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=(
        *elementwise(),
        *(v for a in (0.25, 1.5, -0.3, 0.0) for v in elementwise((*LONG, (3, 5)), negative_slope=a)),
    ),
    kinks={"leaky_relu'(0)=negative_slope": 0.0, "leaky_relu'(0)=1": 1.0},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out", {"negative_slope": 0.25}),
        Special((inf,), inf, (1,), "the identity above 0", {"negative_slope": 0.25}),
        Special((-inf,), -inf, (0.25,), "a times minus infinity", {"negative_slope": 0.25}),
        Special((-inf,), inf, (-2,), "a times minus infinity", {"negative_slope": -2.0}),
        Special((-inf,), (0, nan), (0,), "the constant 0, or 0 times minus infinity", {"negative_slope": 0.0}),
        Special((-inf,), -inf, (nan,), "NaN in the cotangent is handed on", {"negative_slope": 0.25}, nan),
        Special(
            (0.0,), 0, ((0.25, 1),), "either sign of zero; at the kink either declared one", {"negative_slope": 0.25}
        ),
        Special((-0.0,), 0, ((0.25, 1),), "likewise", {"negative_slope": 0.25}),
    ),
    rowwise=each_element,
    equations=("katsaros (leaky ReLU)",),
)
