r"""Randomized leaky rectified linear unit with the slopes drawn by the caller, elementwise.

    y = x where x > 0, a x elsewhere                       katsaros (randomized ReLU)
    dy/dx = 1 where x > 0, a elsewhere

slope has the shape and dtype of x and holds one a for each element: PyTorch draws them uniformly from 1/8 to 1/3 while
training and takes their mean otherwise. There is no gradient for it. The output has the shape and dtype of x. At zero
the derivative is a convention: refnn takes a of the interval between a and 1, as PyTorch does.
"""

from math import inf, nan

from refnn.op import Input, Op, Special, Variant
from refnn.ops._shared import SHAPES, each_element
from refnn.refusals import check_same_shape


def forward(ar, x, slope):
    return ar.branch(x, x, slope * x)


def vjp(ar, g, y, x, slope):
    return ar.branch(x, g, slope * g), None


def validate(inputs, params):
    check_same_shape("rrelu", inputs)


rrelu = Op(
    name="rrelu",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input(), "slope": Input("slope", differentiable=False)},
    validate=validate,
    variants=tuple(Variant({"x": shape, "slope": shape}) for shape in SHAPES),
    kinks={"rrelu'(0)=slope": 0.0, "rrelu'(0)=1": 1.0},
    special=(
        Special((nan, 0.25), nan, (None, None), "NaN in gives NaN out"),
        Special((inf, 0.25), inf, (1, None), "the identity above 0"),
        Special((-inf, 0.25), -inf, (0.25, None), "a times minus infinity"),
        Special((0.0, 0.25), 0, ((0.25, 1), None), "either sign of zero; at the kink either declared one"),
        Special((-0.0, 0.25), 0, ((0.25, 1), None), "likewise"),
    ),
    rowwise=each_element,
    equations=("katsaros (randomized ReLU)",),
)
