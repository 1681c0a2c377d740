r"""Rectified linear unit, elementwise.

    x_j = max(0, a_j)                                      challa2023 (21)
    dL/da_j = dL/dx_j [a_j > 0]                            challa2023 (22), (26)

Any shape; the output has the shape and dtype of x. At zero the derivative is a convention: refnn takes 0 of the
interval [0, 1], as the sources and PyTorch do. Output and gradient are selections, so no rounding is allowed at all.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import ELEMENTWISE, any_array, each_element


def forward(ar, x):
    return ar.relu(x)


def vjp(ar, g, y, x):
    return (ar.branch(x, g, 0),)


relu = Op(
    name="relu",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=ELEMENTWISE,
    kinks={"relu'(0)=0": 0.0, "relu'(0)=1": 1.0, "relu'(0)=1/2": 0.5},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), inf, (1,), "the maximum of 0 and infinity; the slope is 1 above 0"),
        Special((-inf,), 0, (0,), "the maximum of 0 and minus infinity; the slope is 0 below 0"),
        Special((inf,), inf, (nan,), "NaN in the cotangent is handed on where the slope is 1", cotangent=nan),
        Special((-inf,), 0, ((0, nan),), "0, or 0 times NaN", cotangent=nan),
        Special((0.0,), 0, ((0, 1, 0.5),), "either sign of zero; at the kink any declared convention"),
        Special((-0.0,), 0, ((0, 1, 0.5),), "likewise"),
    ),
    rowwise=each_element,
    equations=("challa2023 (21)", "challa2023 (22)", "challa2023 (26)"),
)
