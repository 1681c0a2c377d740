r"""Piecewise quadratic stand-in for silu, elementwise.

    y = x min(6, max(0, x + 3)) / 6 = 0 where x <= -3, x where x >= 3, x (x + 3) / 6 between
    dy/dx = 0 where x < -3, 1 where x > 3, (2 x + 3) / 6 between

Howard et al., Searching for MobileNetV3 (2019), section 5.2. Any shape; the output has the shape and dtype of x. The
accurate class goes by cases, so that nothing is rounded outside -3 to 3 and nothing overflows; 2 x is exact and 2 x + 3
loses no digit near its zero, -3/2. The class `textbook` forms the product x min(6, max(0, x + 3)) / 6 for every x,
which overflows from a sixth of the largest number on, and x/3 + 1/2, whose error is u/2 however small the result. The
class `x/6 + 1/2`, as ONNX defines the op, multiplies x by that, clipped to 0 and 1, which has such an error, too, and
differentiates as `textbook`. At -3 and 3 the derivative is a convention: refnn takes those from outside, 0 and 1, as
PyTorch does; those from inside are -1/2 and 3/2.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import any_array, between, each_element, elementwise


def forward(ar, x):
    return between(ar, x, -3, 3, ar.product(x, x + 3, over=6), 0, x)


def vjp(ar, g, y, x):
    return (between(ar, x, -3, 3, ar.product(g, 2 * x + 3, over=6), 0, g),)


def product(ar, x):
    d = x + 3
    return ar.product(x, ar.branch(d, 6, ar.relu(d), at=6), over=6)


def thirds(ar, g, y, x):
    return (between(ar, x, -3, 3, g * (x / 3 + ar.real(1) / 2), 0, g),)


def affine(ar, x):
    return between(ar, x, -3, 3, x * (x / 6 + ar.real(1) / 2), 0, x)


hardswish = Op(
    name="hardswish",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=elementwise(points=(-3.0, 3.0, -1.5)),
    algorithms={"textbook": (product, thirds), "x/6 + 1/2": (affine, thirds)},
    kinks={"hardswish'(3)=outside": 0.0, "hardswish'(3)=inside": 1.0},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), inf, (1,), "the identity from 3 on"),
        Special((-inf,), (0, nan), (0,), "0 up to -3, or minus infinity times 0"),
        Special((-inf,), (0, nan), ((0, nan),), "0, or 0 times NaN", cotangent=nan),
        Special((0.0,), 0, (0.5,), "either sign of zero; the slope is a half"),
        Special((-0.0,), 0, (0.5,), "likewise"),
        Special((3.0,), 3, ((1, 1.5),), "at the kink either declared convention"),
        Special((-3.0,), 0, ((0, -0.5),), "likewise"),
    ),
    rowwise=each_element,
)
