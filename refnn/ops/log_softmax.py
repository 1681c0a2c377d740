r"""Logarithm of softmax along one axis.

    z_j = a_j - log sum_k exp(a_k)                         challa2023 (4), logarithm
    dL/da_j = g_j - exp(z_j) sum_k g_k

Any shape with at least one axis; the output has the shape and dtype of x. The accurate class is (a_j - max a) - log of
the shifted sum; its bound is absolute, u (|a_j - max a| + |z_j| + n + ...): where z_j is nearly zero no relative
accuracy is promised. The class `softmax` differentiates with exp(a_j - max a) / sum instead of exp(z_j); the class
`log(softmax)` takes the logarithm of that, too, which is minus infinity where softmax underflows; the class
`x - logsumexp(x)` adds max a before it subtracts, an error of u |max a|; the class `online` rescales a running sum (see
`rescaled`).
The class `stored sum` rounds the sum and its logarithm to the format of the results, where that is shorter than the one
computed in: of a probability near 1 no digit is left.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops import softmax as _softmax
from refnn.ops._shared import along_axis, rescaled, usual_axes
from refnn.refusals import check_axis


def forward(ar, x, *, axis=-1):
    d = x - ar.pivot(x, axis)
    return d - ar.log(ar.sum(ar.exp(d), axis, keepdims=True))


def vjp(ar, g, y, x, *, axis=-1):
    return (g - ar.exp(y) * ar.sum(g, axis, keepdims=True),)


def online(ar, x, *, axis=-1):
    d = x - ar.pivot(x, axis)
    return d - ar.log(ar.sum(rescaled(ar, x.shape[axis])(d), axis, keepdims=True))


def stored(ar, x, *, axis=-1):
    d = x - ar.pivot(x, axis)
    return d - ar.saved(ar.log(ar.saved(ar.sum(ar.exp(d), axis, keepdims=True))))


def from_softmax(ar, g, y, x, *, axis=-1):
    return (g - _softmax.forward(ar, x, axis=axis) * ar.sum(g, axis, keepdims=True),)


def of_softmax(ar, x, *, axis=-1):
    return ar.log(_softmax.forward(ar, x, axis=axis))


def less_logsumexp(ar, x, *, axis=-1):
    top = ar.pivot(x, axis)
    whole = top + ar.log(ar.sum(ar.exp(x - top), axis, keepdims=True))
    return x - whole


def validate(inputs, params):
    check_axis("log_softmax", inputs["x"], params["axis"])


log_softmax = Op(
    name="log_softmax",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=_softmax.softmax.variants,
    algorithms={
        "softmax": (forward, from_softmax),
        "log(softmax)": (of_softmax, from_softmax),
        "x - logsumexp(x)": (less_logsumexp, vjp),
        "online": (online, vjp),
        "stored sum": (stored, vjp),
    },
    special=along_axis(
        Special(([nan, 1.0, 2.0],), nan, ([None, nan, nan],), "NaN in gives NaN out, through the sum in every entry"),
        Special(([0.0, -inf],), [0, -inf], ([-1, 1],), "the logarithm of a masked entry; the gradients stay finite"),
        Special(([-inf, -inf],), nan, (nan,), "all masked: log(0/0)"),
        Special(
            ([inf, 0.0],),
            [(nan, 0), (nan, -inf)],
            ([(nan, -1), (nan, 1)],),
            "the limit is that of a mask on the other; inf - inf is NaN",
        ),
        Special(([inf, inf],), nan, (nan,), "no limit: it depends on which one is faster"),
        Special(([0.0, 0.0],), None, (nan,), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=_softmax.softmax.rowwise,
    equations=("challa2023 (4)",),
    usual=usual_axes(),
)
