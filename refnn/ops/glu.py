r"""Gated linear unit: one half of an axis, gated by the logistic function of the other.

    y = a sigmoid(b),  x = (a, b) along the axis           Dauphin et al., arXiv:1612.08083
    dL/da = g sigmoid(b)
    dL/db = g a sigmoid(b) sigmoid(-b) = g a e / (1 + e)^2,  e = exp(-|b|)

Any shape whose axis is even in length; the output has the dtype of x, and half the length. No exponential is above 1,
and nothing cancels. The class `exp(-x)` computes 1 / (1 + exp(-b)), which is zero where exp(-b) overflows, and
differentiates with s (1 - s), which loses all digits where b is large; the classes `exp2(-x log2 e)` and
`(1 + tanh(x/2))/2` take that class of sigmoid for both. Where the gate is 0 and the other half infinite,
both definitions give NaN.
"""

from math import inf, nan

from refnn.op import Input, Op, Special, Variant
from refnn.ops import sigmoid as _sigmoid
from refnn.refusals import check_axis
from refnn.variants import ordinary, pairwise


def forward(ar, x, *, axis=-1):
    a, b = _halves(x, axis)
    return (a * _sigmoid.forward(ar, b)).reshape(_half(x, axis))


def vjp(ar, g, y, x, *, axis=-1):
    a, b = _halves(x, axis)
    g = g.reshape(a.shape)
    e = ar.exp(-ar.abs(b))
    return (_joined(ar, x, axis, g * _sigmoid.forward(ar, b), ar.product(g, a, e, over=(1 + e) ** 2)),)


def by_exp(ar, x, *, axis=-1):
    a, b = _halves(x, axis)
    return ar.product(a, over=1 + ar.exp(-b)).reshape(_half(x, axis))


def gated(sigmoid):
    """The forward and the vjp from one value of the sigmoid."""

    def forward(ar, x, *, axis=-1):
        a, b = _halves(x, axis)
        return (a * sigmoid(ar, b)).reshape(_half(x, axis))

    def vjp(ar, g, y, x, *, axis=-1):
        a, b = _halves(x, axis)
        g = g.reshape(a.shape)
        s = ar.saved(sigmoid(ar, b))
        return (_joined(ar, x, axis, g * s, ar.saved(ar.product(g, a, s, ar.saved(1 - s)), 2)),)

    return forward, vjp


def _split(x, axis):
    """The shape of x with the axis in two: which half, and the place in it."""
    axis %= x.ndim
    return (*x.shape[:axis], 2, x.shape[axis] // 2, *x.shape[axis + 1 :])


def _halves(x, axis):
    whole, before = x.reshape(_split(x, axis)), (slice(None),) * (axis % x.ndim)
    return whole[(*before, slice(0, 1))], whole[(*before, slice(1, 2))]


def _half(x, axis):
    return tuple(n // 2 if a == axis % x.ndim else n for a, n in enumerate(x.shape))


def _joined(ar, x, axis, a, b):
    mask = [True, False]
    for _ in range(x.ndim - axis % x.ndim):
        mask = [[m] for m in mask]
    return ar.where(mask, a, b).reshape(x.shape)


def validate(inputs, params):
    x, axis = inputs["x"], params["axis"]
    check_axis("glu", x, axis)
    if x.shape[axis] % 2:
        raise ValueError(f"glu: axis {axis} of shape {x.shape} has the length {x.shape[axis]}, expected an even one")


glu = Op(
    name="glu",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        Variant({"x": (5, 14)}, {"axis": -1}, small={"x": (3, 4)}),
        Variant({"x": (6, 7)}, {"axis": 0}, small={"x": (4, 3)}),
        Variant({"x": (3, 10, 5)}, {"axis": 1}, small={"x": (3, 4, 2)}),
        Variant({"x": (2, 1026)}, {"axis": 1}, small={"x": (2, 6)}),
        Variant({"x": (2,)}, {"axis": -1}),
        Variant({"x": (0, 4)}, {"axis": -1}, small={"x": (0, 4)}),
    ),
    algorithms={
        "exp(-x)": (by_exp, gated(_sigmoid.by_exp)[1]),
        "exp2(-x log2 e)": gated(_sigmoid.by_exp2),
        "(1 + tanh(x/2))/2": gated(_sigmoid.by_tanh),
    },
    special=(
        Special(([1.0, inf],), [1], ([1, 0],), "an open gate; its slope is 0"),
        Special(([1.0, -inf],), [0], ([0, 0],), "a shut gate; its slope is 0"),
        Special(([inf, 0.0],), [inf], ([0.5, inf],), "half of infinity, and a slope in proportion"),
        Special(([inf, inf],), [inf], ([1, (0, nan)],), "an open gate; infinity times a slope of 0"),
        Special(([inf, -inf],), [nan], ([0, (0, nan)],), "infinity times 0 has no limit"),
        Special(([0.0, inf],), [0], ([1, 0],), "either sign of zero"),
        Special(([nan, 0.0],), [nan], ([None, nan],), "NaN in gives NaN out"),
        Special(([1.0, nan],), [nan], ([nan, None],), "likewise"),
        Special(([nan, -inf],), [nan], ([None, nan],), "a shut gate does not swallow NaN"),
    ),
    rowwise=lambda ndim, params: ndim > 1 and params["axis"] % ndim != 0,
    usual=lambda op: (
        *ordinary(op),
        Variant({"x": (32, 1032)}),
        Variant({"x": (2, 4, 64)}),
        *pairwise(
            op,
            {"x": ((10,), (4, 6), (2, 4, 8), (4, 6, 2, 8)), "axis": (-1, 0, 1, 2, -2)},
            lambda x, **params: Variant({"x": x}, params),
        ),
    ),
)
