r"""Values above a threshold, and one constant for all others, elementwise.

    y = x where x > threshold, value elsewhere
    dy/dx = 1 where x > threshold, 0 elsewhere

Any shape; the output has the shape and dtype of x. At the threshold the output jumps, unless value is the threshold:
refnn takes value and the derivative 0, as PyTorch does; the values from above are accepted as a convention. Output and
gradient are selections: only parameters that the format does not hold are rounded.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import LONG, each_element, elementwise
from refnn.refusals import check_real


def forward(ar, x, *, threshold, value):
    return ar.branch(x, x, ar.real(value), at=ar.real(threshold))


def vjp(ar, g, y, x, *, threshold, value):
    return (ar.branch(x, g, 0, at=ar.real(threshold)),)


def validate(inputs, params):
    check_real("threshold", params, "threshold", "value")


_PARAMS = {"threshold": 0.5, "value": -2.0}

threshold = Op(
    name="threshold",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        *elementwise(points=(0.5,), threshold=0.5, value=-2.0),
        *elementwise(LONG, points=(0.0,), threshold=0.0, value=0.0),
        *elementwise(LONG, points=(-2.0,), threshold=-2.0, value=20.0),
        *elementwise(LONG, points=(1.0,), threshold=1.0, value=1.0),
    ),
    kinks={"threshold(threshold)=value": 0.0, "threshold(threshold)=x": 1.0},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out", _PARAMS),
        Special((inf,), inf, (1,), "the identity above the threshold", _PARAMS),
        Special((-inf,), -2, (0,), "the value below the threshold", _PARAMS),
        Special((-inf,), -2, ((0, nan),), "0, or 0 times NaN", _PARAMS, nan),
        Special((0.0,), -2, (0,), "the value below the threshold", _PARAMS),
        Special((-0.0,), -2, (0,), "likewise", _PARAMS),
        Special((0.5,), (-2, 0.5), ((0, 1),), "at the jump what holds on either side", _PARAMS),
    ),
    rowwise=each_element,
)
