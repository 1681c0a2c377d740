r"""Logarithm of softmax along one axis.

    z_j = a_j - log sum_k exp(a_k)                         challa2023 (4), logarithm
    dL/da_j = g_j - exp(z_j) sum_k g_k

Any shape with at least one axis; the output has the shape and dtype of x. The accurate class is (a_j - max a) - log of
the shifted sum; its bound is absolute, u (|a_j - max a| + |z_j| + n + ...): where z_j is nearly zero no relative
accuracy is promised. The class `softmax` differentiates with exp(a_j - max a) / sum instead of exp(z_j).
"""

from refnn.op import Input, Op, check_axis
from refnn.ops import softmax as _softmax


def forward(ar, x, *, axis=-1):
    d = x - ar.pivot(x, axis)
    return d - ar.log(ar.sum(ar.exp(d), axis, keepdims=True))


def vjp(ar, g, y, x, *, axis=-1):
    return (g - ar.exp(y) * ar.sum(g, axis, keepdims=True),)


def from_softmax(ar, g, y, x, *, axis=-1):
    return (g - _softmax.forward(ar, x, axis=axis) * ar.sum(g, axis, keepdims=True),)


def validate(inputs, params):
    check_axis("log_softmax", inputs["x"], params["axis"])


log_softmax = Op(
    name="log_softmax",
    forward=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=_softmax.softmax.variants,
    classes={"softmax": (forward, from_softmax)},
    rowwise=_softmax.softmax.rowwise,
)
