r"""Gaussian error linear unit, elementwise.

    y = x Phi(x) = x/2 erfc(-x / sqrt 2)                   Hendrycks and Gimpel, arXiv:1606.08415
    dy/dx = Phi(x) + x phi(x),  phi(x) = exp(-x^2/2) / sqrt(2 pi)

With approximate="tanh" the normal distribution Phi is replaced by a logistic one, which is another function (by 5e-4):

    y = x/2 (1 + tanh(w/2)) = x sigmoid(w),  w = sqrt(8/pi) (x + 0.044715 x^3)
    dy/dx = sigmoid(w) + x w' e / (1 + e)^2,  e = exp(-|w|)

Any shape; the output has the shape and dtype of x. Both forwards are free of cancellation: the relative error grows
with the argument's own on the negative side (as u x^2, or u |w|), and with nothing else. The derivatives are zero near
x = -0.75, where their terms cancel: their bounds are absolute there. x w' e is grouped so that no factor overflows
before the fourth root of e makes it vanish. The class `sum` computes 2 Phi as 1 + erf(x / sqrt 2), or 1 + tanh(w/2),
which loses all digits on the negative side: its bound is absolute, a small number of u |x|. At minus infinity the
limits are zero; the formulas give NaN.
"""

from dataclasses import replace
from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops import sigmoid as _sigmoid
from refnn.ops._shared import ELEMENTWISE, each_element
from refnn.refusals import check_choice

_CUBIC = 0.044715


def forward(ar, x, *, approximate="none"):
    if approximate == "tanh":
        return x * _sigmoid.forward(ar, _argument(ar, x))
    half = x / 2
    return half * ar.erfc(-x * ar.constant("sqrt(1/2)"))


def vjp(ar, g, y, x, *, approximate="none"):
    if approximate == "none":
        return (g * (ar.erfc(-x * ar.constant("sqrt(1/2)")) / 2 + x * _density(ar, x)),)
    w = _argument(ar, x)
    root = ar.exp(-ar.abs(w) / 4)
    small = x * root
    square = root**2
    rise = ar.product(small, root, square + ar.product(3, ar.real(_CUBIC), small, small))
    slope = ar.product(2, ar.constant("sqrt(2/pi)"), rise, over=(1 + square**2) ** 2)
    return (g * (_sigmoid.forward(ar, w) + slope),)


def by_sum(ar, x, *, approximate="none"):
    half = x / 2
    return half * _twice(ar, x, approximate)


def by_sum_vjp(ar, g, y, x, *, approximate="none"):
    probability = _twice(ar, x, approximate) / 2
    if approximate == "none":
        return (g * (probability + x * _density(ar, x)),)
    rest = 1 - ar.tanh(_argument(ar, x) / 2) ** 2
    growth = 1 + ar.product(3, ar.real(_CUBIC), x**2)
    return (g * (probability + ar.product(x, rest, growth, ar.constant("sqrt(2/pi)"), over=2)),)


def _argument(ar, x):
    """w, as a product whose factors have one sign."""
    stretch = x * (1 + ar.real(_CUBIC) * x**2)
    scale = 2 * ar.constant("sqrt(2/pi)")
    return scale * stretch


def _density(ar, x):
    """phi(x)"""
    return ar.constant("sqrt(1/(2*pi))") * ar.exp(-(x**2) / 2)


def _twice(ar, x, approximate):
    """2 Phi(x) as a sum."""
    if approximate == "tanh":
        return 1 + ar.tanh(_argument(ar, x) / 2)
    return 1 + ar.erf(x * ar.constant("sqrt(1/2)"))


def validate(inputs, params):
    check_choice("gelu", "approximate", params["approximate"], ("none", "tanh"))


gelu = Op(
    name="gelu",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=tuple(replace(v, params={"approximate": a}) for a in ("none", "tanh") for v in ELEMENTWISE),
    algorithms={"sum": (by_sum, by_sum_vjp)},
    special=tuple(
        row
        for a in ({"approximate": "none"}, {"approximate": "tanh"})
        for row in (
            Special((nan,), nan, (None,), "NaN in gives NaN out", params=a),
            Special((inf,), inf, ((1, nan),), "the slope's limit, or infinity times 0", params=a),
            Special((-inf,), (0, nan), ((0, nan),), "the limits, or infinity times 0", params=a),
            Special((0.0,), 0, (0.5,), "either sign of zero", params=a),
            Special((-0.0,), 0, (0.5,), "likewise", params=a),
            Special((1.0,), None, (nan,), "NaN in the cotangent is handed on", params=a, cotangent=nan),
        )
    ),
    rowwise=each_element,
)
