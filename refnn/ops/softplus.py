r"""Softplus, elementwise: a smooth ReLU.

    y = log(1 + exp(beta x)) / beta                        katsaros (softplus)
    dy/dx = sigmoid(beta x)

With a number for `threshold` the function is PyTorch's piecewise one, y = x where beta x > threshold: it jumps there,
by log1p(exp(-threshold)) / beta, and on the point itself either side is a convention.

Any shape; the output has the shape and dtype of x. The accurate class is max(x, 0) + log1p(exp(-|beta x|)) / beta (the
minimum for beta < 0): terms of one sign, and no exponential above 1. The class `log1p(exp(x))` is log1p(exp(beta x)) /
beta, differentiated as e / (e + 1); without a threshold of its own it takes y = x where beta x > 20, as PyTorch does by
default, so it may leave out log1p(exp(-beta x)) there: harmless in float32, and up to 2e-9 in float64. For beta = 0
the quotient is infinite, and the slope 1/2.
"""

import math
from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops import sigmoid as _sigmoid
from refnn.ops._shared import ELEMENTWISE, each_element


def forward(ar, x, *, beta=1.0, threshold=None):
    z = ar.real(beta) * x
    y = _ramp(ar, x, beta) + _rest(ar, z, beta)
    return y if threshold is None else ar.branch(z, x, y, at=ar.real(threshold), kink="threshold")


def vjp(ar, g, y, x, *, beta=1.0, threshold=None):
    z = ar.real(beta) * x
    slope = g * _sigmoid.forward(ar, z)
    return (slope if threshold is None else ar.branch(z, g, slope, at=ar.real(threshold), kink="threshold"),)


def by_exp(ar, x, *, beta=1.0, threshold=None):
    z = ar.real(beta) * x
    y = ar.log1p(ar.exp(z)) / ar.real(beta)
    if threshold is None:
        return ar.branch(z, _ramp(ar, x, beta) + ar.optional(_rest(ar, z, beta)), y, at=_DEFAULT)
    return ar.branch(z, x, y, at=ar.real(threshold), kink="threshold")


def by_exp_vjp(ar, g, y, x, *, beta=1.0, threshold=None):
    z = ar.real(beta) * x
    e = ar.exp(z)
    slope = ar.product(g, e, over=e + 1)
    if threshold is None:
        return (ar.branch(z, g - ar.optional(g * _sigmoid.forward(ar, -z)), slope, at=_DEFAULT),)
    return (ar.branch(z, g, slope, at=ar.real(threshold), kink="threshold"),)


_DEFAULT = 20  # PyTorch's threshold


def _ramp(ar, x, beta):
    """max(beta x, 0) / beta, without a rounding."""
    side = int(math.copysign(1, beta))
    return side * ar.relu(side * x)


def _rest(ar, z, beta):
    return ar.log1p(ar.exp(-ar.abs(z))) / ar.real(beta)


def validate(inputs, params):
    threshold = params["threshold"]
    if threshold is not None and (not isinstance(threshold, int | float) or math.isnan(threshold)):
        raise ValueError(f"softplus: threshold is {threshold!r}, expected a number or None")


softplus = Op(
    name="softplus",
    forward=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        *ELEMENTWISE,
        {"shapes": {"x": (23,)}, "params": {}, "points": (_DEFAULT,)},
        {"shapes": {"x": (331,)}, "params": {"beta": 0.1}},
        {"shapes": {"x": (331,)}, "params": {"beta": -2.5}},
        {"shapes": {"x": (331,)}, "params": {"threshold": 20.0}, "points": (20.0,)},
        {"shapes": {"x": (331,)}, "params": {"threshold": 100.0}, "points": (100.0, 90.0)},
        {"shapes": {"x": (13, 5, 2)}, "params": {"threshold": 2.0}, "points": (2.0,)},
        {"shapes": {"x": (13, 5)}, "params": {"beta": -0.3, "threshold": -1.0}, "points": (1 / 0.3,)},
    ),
    classes={"log1p(exp(x))": (by_exp, by_exp_vjp)},
    kinks={"threshold=open": 0.0, "threshold=closed": 1.0},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), inf, (1,), "y = x on that side"),
        Special((-inf,), 0, (0,), "the limits"),
        Special((0.0,), None, (0.5,), "log 2 is rounded, and judged where zeros are; the slope is exact"),
        Special((-0.0,), None, (0.5,), "likewise"),
        Special((nan,), nan, (None,), "NaN is on neither side of the threshold", params={"threshold": 2.0}),
        Special((inf,), inf, (1,), "above the threshold", params={"threshold": 2.0}),
        Special((-inf,), -inf, (1,), "beta x is infinite: y = x", params={"beta": -2.0}),
        Special((inf,), 0, (0,), "the limits; either sign of zero", params={"beta": -2.0}),
        Special((3.0,), inf, (0.5,), "log 2 over 0; the logistic function of 0", params={"beta": 0.0}),
        Special((-3.0,), inf, (0.5,), "likewise", params={"beta": 0.0}),
    ),
    rowwise=each_element,
)
