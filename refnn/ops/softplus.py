r"""Softplus, elementwise: a smooth ReLU.

    y = log(1 + exp(beta x)) / beta                        katsaros (softplus)
    dy/dx = sigmoid(beta x)

With a number for `threshold` the function is PyTorch's piecewise one, y = x where beta x > threshold: it jumps there,
by log1p(exp(-threshold)) / beta, and on the point itself either side is a convention.

Any shape; the output has the shape and dtype of x. The accurate class is max(x, 0) + log1p(exp(-|beta x|)) / beta (the
minimum for beta < 0), or (max(beta x, 0) + log1p(exp(-|beta x|))) / beta, which rounds beta x: terms of one sign, and
no exponential above 1. Other classes are

    log1p(exp(x))      log1p(exp(beta x)) / beta, differentiated as e / (e + 1)
    log(1 + exp(x))    log(1 + exp(beta x)) / beta, or (max(beta x, 0) + log(1 + exp(-|beta x|))) / beta, which rounds
                       1 + e before the logarithm: an absolute error of about u / beta, and a derivative as above
    exp(-x)            the derivative as 1 / (1 + exp(-beta x)), which is zero where that overflows

Without a threshold of their own the first two may take y = x where beta x > 20, as PyTorch does by default, and so
leave out log1p(exp(-beta x)) there: harmless in float32, and up to 2e-9 in float64. For beta = 0 the quotient is
infinite, and the slope 1/2.
"""

import math
from math import inf, nan

from refnn.op import Input, Op, Special, Variant
from refnn.ops import sigmoid as _sigmoid
from refnn.ops._shared import ELEMENTWISE, each_element
from refnn.variants import ordinary, pairwise


def forward(ar, x, *, beta=1.0, threshold=None):
    z, b = ar.real(beta) * x, ar.real(beta)
    y = ar.either(lambda: _ramp(ar, x, beta) + _rest(ar, z) / b, lambda: (ar.relu(z) + _rest(ar, z)) / b)
    return y if threshold is None else ar.branch(z, x, y, at=ar.real(threshold), kink="threshold")


def vjp(ar, g, y, x, *, beta=1.0, threshold=None):
    z = ar.real(beta) * x
    slope = g * _sigmoid.forward(ar, z)
    return (slope if threshold is None else ar.branch(z, g, slope, at=ar.real(threshold), kink="threshold"),)


def by_exp(ar, x, *, beta=1.0, threshold=None):
    z, b = ar.real(beta) * x, ar.real(beta)
    return _switched(ar, x, z, beta, threshold, lambda: ar.log1p(ar.exp(z)) / b)


def by_log(ar, x, *, beta=1.0, threshold=None):
    z, b = ar.real(beta) * x, ar.real(beta)

    def of_sum():
        return ar.either(lambda: (ar.relu(z) + ar.log(1 + ar.exp(-ar.abs(z)))) / b, lambda: ar.log(1 + ar.exp(z)) / b)

    return _switched(ar, x, z, beta, threshold, of_sum)


def _switched(ar, x, z, beta, threshold, formula):
    """The formula, or x above the threshold: without one of its own an implementation may have that of PyTorch."""
    y = formula()
    if threshold is not None:
        return ar.branch(z, x, y, at=ar.real(threshold), kink="threshold")
    above = ar.either(lambda: _ramp(ar, x, beta) + ar.optional(_rest(ar, z) / ar.real(beta)), lambda: y)
    return ar.branch(z, above, y, at=_DEFAULT)


def by_exp_vjp(ar, g, y, x, *, beta=1.0, threshold=None):
    z = ar.real(beta) * x
    e = ar.exp(z)
    slope = ar.product(g, e, over=e + 1)
    if threshold is None:
        return (ar.branch(z, g - ar.optional(g * _sigmoid.forward(ar, -z)), slope, at=_DEFAULT),)
    return (ar.branch(z, g, slope, at=ar.real(threshold), kink="threshold"),)


def logistic_vjp(ar, g, y, x, *, beta=1.0, threshold=None):
    z = ar.real(beta) * x
    slope = g * _sigmoid.by_exp(ar, z)
    return (slope if threshold is None else ar.branch(z, g, slope, at=ar.real(threshold), kink="threshold"),)


_DEFAULT = 20  # PyTorch's threshold


def _ramp(ar, x, beta):
    """max(beta x, 0) / beta, without a rounding."""
    side = int(math.copysign(1, beta))
    return side * ar.relu(side * x)


def _rest(ar, z):
    return ar.log1p(ar.exp(-ar.abs(z)))


def validate(inputs, params):
    threshold = params["threshold"]
    if threshold is not None and (not isinstance(threshold, int | float) or math.isnan(threshold)):
        raise ValueError(f"softplus: threshold is {threshold!r}, expected a number or None")


softplus = Op(
    name="softplus",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        *ELEMENTWISE,
        Variant({"x": (23,)}, points=(_DEFAULT,)),
        Variant({"x": (331,)}, {"beta": 0.1}),
        Variant({"x": (331,)}, {"beta": -2.5}),
        Variant({"x": (331,)}, {"threshold": 20.0}, points=(20.0,)),
        Variant({"x": (331,)}, {"threshold": 100.0}, points=(100.0, 90.0)),
        Variant({"x": (13, 5, 2)}, {"threshold": 2.0}, points=(2.0,)),
        Variant({"x": (13, 5)}, {"beta": -0.3, "threshold": -1.0}, points=(1 / 0.3,)),
    ),
    algorithms={
        "log1p(exp(x))": (by_exp, by_exp_vjp),
        "log(1 + exp(x))": (by_log, by_exp_vjp),
        "exp(-x)": (forward, logistic_vjp),
    },
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
    equations=("katsaros (softplus)",),
    usual=lambda op: (
        *ordinary(op),
        *pairwise(
            op,
            {"x": ((16,), (5, 8), (2, 3, 5), (2, 3, 4, 4)), "beta": (1.0, 0.5), "threshold": (None, 20.0)},
            lambda x, **params: Variant({"x": x}, params),
        ),
    ),
)
