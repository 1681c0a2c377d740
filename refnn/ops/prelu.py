r"""Parametric rectified linear unit: leaky_relu with a learned slope, one for all channels or one for each.

    y = x where x > 0, a_c x elsewhere                     katsaros (parametric ReLU)
    dy/dx = 1 where x > 0, a_c elsewhere
    dL/da_c = sum of g x over the elements of channel c where x <= 0

weight is (1,) for one slope or (C,) for one for each of the C channels, which lie on axis 1 of x; an x of fewer than
two axes has one channel. The output has the shape and dtype of x. At zero the derivative by x is a convention: refnn
takes a_c of the interval between a_c and 1, as PyTorch does. The gradient of the weight is a sum of products in any
order, fused or not; elements above zero are exact zeros in it.
"""

from math import inf, nan

from refnn.op import Input, Op, Special, Variant
from refnn.ops._shared import class_axis
from refnn.variants import ordinary


def _slopes(weight, x):
    """The weight as an array that broadcasts against x."""
    return weight.reshape([-1 if axis == class_axis(x.ndim) else 1 for axis in range(x.ndim)])


def forward(ar, x, weight):
    return ar.branch(x, x, _slopes(weight, x) * x)


def vjp(ar, g, y, x, weight):
    terms = ar.saved(ar.branch(x, 0, g * x))
    channels = tuple(axis for axis in range(x.ndim) if axis != 1) if weight.size != 1 else None
    return ar.branch(x, g, _slopes(weight, x) * g), ar.sum(terms, channels).reshape(*weight.shape)


def validate(inputs, params):
    x, weight = inputs["x"], inputs["weight"]
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.shape not in ((1,), (channels,)):
        raise ValueError(
            f"prelu: weight has shape {weight.shape}, expected (1,)"
            + (f" or ({channels},), one slope for each channel of x of shape {x.shape}" if channels != 1 else "")
        )


def _variant(shape, channels):
    return Variant({"x": shape, "weight": (channels,)})


prelu = Op(
    name="prelu",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input(), "weight": Input()},
    validate=validate,
    variants=(
        _variant((5, 7), 7),
        _variant((3, 1031), 1031),
        _variant((2, 4, 4), 4),
        _variant((3, 5, 2, 7), 5),
        _variant((131, 3), 1),
        _variant((1031,), 1),
        _variant((), 1),
        _variant((0, 3), 3),
    ),
    kinks={"prelu'(0)=weight": 0.0, "prelu'(0)=1": 1.0},
    special=(
        Special((nan, [0.25]), nan, (None, nan), "NaN in gives NaN out, and a NaN in the sum over x"),
        Special((inf, [0.25]), inf, (1, 0), "the identity above 0, where the slope has no part"),
        Special((-inf, [0.25]), -inf, (0.25, -inf), "a times minus infinity"),
        Special((-inf, [-2.0]), inf, (-2, -inf), "likewise"),
        Special((0.0, [0.25]), 0, ((0.25, 1), 0), "either sign of zero; at the kink either declared one"),
        Special((-0.0, [0.25]), 0, ((0.25, 1), 0), "likewise"),
        Special((-2.0, [nan]), nan, (nan, None), "a NaN slope is handed on"),
        Special((2.0, [nan]), 2, (1, None), "above 0 the slope is not looked at"),
        Special((-2.0, [inf]), -inf, (inf, -2), "the product with an infinite slope"),
        Special((-2.0, [-inf]), inf, (-inf, -2), "likewise"),
        Special((-inf, [0.0]), (0, nan), (0, -inf), "the constant 0, or 0 times minus infinity"),
        Special((-2.0, [-0.0]), 0, (0, -2), "either sign of zero"),
    ),
    equations=("katsaros (parametric ReLU)",),
    usual=lambda op: (
        *ordinary(op),
        _variant((2, 16, 8, 8), 16),
        _variant((2, 16, 8, 8), 1),
        _variant((2, 16, 7), 1),
        _variant((1, 3, 5, 2, 4), 3),
        _variant((12, 1), 1),
    ),
)
