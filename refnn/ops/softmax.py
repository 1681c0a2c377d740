r"""Softmax along one axis: scores into a probability vector.

    y_j = exp(a_j) / sum_k exp(a_k)                        challa2023 (4)
    dy_i/da_j = y_j (delta_ij - y_i)                       challa2023 (5), (6)
    dL/da_j = y_j (g_j - sum_k g_k y_k)                    (5) contracted with g = dL/dy

Any shape with at least one axis; the output has the shape and dtype of x. The accurate class shifts by the maximum.
The arithmetic's own bound of these lines is, to first order and relative to y_j,
u (|a_j - max a| + sum_k y_k |a_k - max a| + n + 1) + 2K ulps of exp twice: the shift costs an entry its own distance
from the maximum and the weighted mean of all distances (compare Blanchard, Higham and Higham, IMA J. Numer. Anal. 41
(2021) 2311, who bound both by the largest distance). The class `online` rescales a running sum (see `rescaled`), and
the class `exp(x - logsumexp(x))` takes the exponential of the logarithm of softmax, whose absolute error, u |a_j| or
more, is a relative one then.

The class `stored exponentials` rounds them to the format of the result, where that is shorter than the one computed in.
"""

from math import inf, nan

from refnn.op import Input, Op, Special, Variant
from refnn.ops._shared import along_axis, rescaled, usual_axes
from refnn.refusals import check_axis


def forward(ar, x, *, axis=-1):
    e = ar.exp(x - ar.pivot(x, axis))
    return e / ar.sum(e, axis, keepdims=True)


def online(ar, x, *, axis=-1):
    e = rescaled(ar, x.shape[axis])(x - ar.pivot(x, axis))
    return e / ar.sum(e, axis, keepdims=True)


def of_logarithm(ar, x, *, axis=-1):
    top = ar.pivot(x, axis)
    d = x - top
    rest = ar.log(ar.sum(ar.exp(d), axis, keepdims=True))
    whole = top + rest
    return ar.either(lambda: ar.exp(d - rest), lambda: ar.exp(x - whole))


def stored(ar, x, *, axis=-1):
    e = ar.saved(ar.exp(x - ar.pivot(x, axis)))
    return e / ar.sum(e, axis, keepdims=True)


def vjp(ar, g, y, x, *, axis=-1):
    return (y * (g - ar.sum(g * y, axis, keepdims=True)),)


def validate(inputs, params):
    check_axis("softmax", inputs["x"], params["axis"])


softmax = Op(
    name="softmax",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        Variant({"x": (5, 7)}, {"axis": -1}),
        Variant({"x": (7, 5)}, {"axis": 0}),
        Variant({"x": (2, 11, 3)}, {"axis": 1}),
        Variant({"x": (1, 1031)}, {"axis": 1}),
        Variant({"x": (4,)}, {"axis": -1}),
        Variant({"x": (3, 1)}, {"axis": -1}),
        Variant({"x": (0, 3)}, {"axis": -1}),
    ),
    algorithms={
        "online": (online, vjp),
        "exp(x - logsumexp(x))": (of_logarithm, vjp),
        "stored exponentials": (stored, vjp),
    },
    special=along_axis(
        Special(([nan, 1.0, 2.0],), nan, ([None, nan, nan],), "NaN in gives NaN out, through the sum in every entry"),
        Special(
            ([-inf, 0.0, 0.0],), [0, 0.5, 0.5], ([0, 0, 0],), "a logit of minus infinity is a mask: its limit is 0"
        ),
        Special(([-inf, -inf],), nan, (nan,), "all masked: 0/0, and no limit; zeros would hide it"),
        Special(
            ([inf, 1.0, 2.0],),
            [(nan, 1), (nan, 0), (nan, 0)],
            ([(nan, 0)] * 3,),
            "the limit is 1 there and 0 elsewhere; with the shift inf - inf is NaN, without it inf/inf",
        ),
        Special(([inf, -inf],), [(nan, 1), (nan, 0)], ([(nan, 0)] * 2,), "likewise"),
        Special(([inf, inf],), nan, (nan,), "no limit: it depends on which one is faster"),
        Special(([0.0, 0.0],), 0.5, (nan,), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=lambda ndim, params: ndim > 1 and params["axis"] % ndim != 0,
    equations=("challa2023 (4)", "challa2023 (5)", "challa2023 (6)"),
    usual=usual_axes(),
)
