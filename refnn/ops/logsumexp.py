r"""Logarithm of the sum of exponentials along one axis.

    y = log sum_k exp(a_k)                                 logarithm of the divisor in challa2023 (4)
    dL/da_j = g exp(a_j) / sum_k exp(a_k)                  g = dL/dy

Any shape with at least one axis, which disappears unless `keepdims`; the output has the dtype of x. The accurate class
is max a + log of the shifted sum. Its bound is absolute, u (|y| + sum_k s_k |a_k - max a| + n + ...) with the weights s
of softmax: where y is nearly zero the two terms cancel, and no relative accuracy is promised. The class `exp(x - y)`
differentiates with exp(a_j - y) from the rounded y, which costs u |y|; the class `online` rescales a running sum.

Where all entries are minus infinity, so is y, and the gradient is 0, not 0/0: nothing moves y to first order. An entry
of plus infinity has the limit 1 of its weight, and infinity over infinity in every formula; the others have 0.
"""

from dataclasses import replace
from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops import softmax as _softmax
from refnn.ops._shared import along_axis, kept, rescaled, usual_axes
from refnn.refusals import check_axis


def forward(ar, x, *, axis=-1, keepdims=False):
    return _shifted(ar, x, axis, keepdims, ar.exp)


def vjp(ar, g, y, x, *, axis=-1, keepdims=False):
    return _weighted(ar, g, x, axis, ar.exp)


def from_output(ar, g, y, x, *, axis=-1, keepdims=False):
    return (g.reshape(kept(x, axis)) * ar.saved(ar.exp(ar.saved(x - y.reshape(kept(x, axis))))),)


def online(ar, x, *, axis=-1, keepdims=False):
    return _shifted(ar, x, axis, keepdims, rescaled(ar, x.shape[axis]))


def online_vjp(ar, g, y, x, *, axis=-1, keepdims=False):
    return _weighted(ar, g, x, axis, rescaled(ar, x.shape[axis]))


def _shifted(ar, x, axis, keepdims, exp):
    top = ar.pivot(x, axis, finite=True)
    total = ar.saved(ar.sum(ar.saved(exp(ar.saved(x - top))), axis, keepdims=True))
    y = top + ar.saved(ar.log(total))
    return y if keepdims else y.reshape(tuple(n for a, n in enumerate(x.shape) if a != axis % x.ndim))


def _weighted(ar, g, x, axis, exp):
    e = exp(x - ar.pivot(x, axis, finite=True))
    total = ar.sum(e, axis, keepdims=True)
    # At least 1, or 0 where all entries are minus infinity.
    weights = ar.branch(2 * total, e / total, 0, at=1)
    return (g.reshape(kept(x, axis)) * weights,)


def validate(inputs, params):
    check_axis("logsumexp", inputs["x"], params["axis"])
    if not isinstance(params["keepdims"], bool):
        raise ValueError(f"logsumexp: keepdims is {params['keepdims']!r}, expected True or False")


logsumexp = Op(
    name="logsumexp",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=tuple(
        replace(v, params={**v.params, "keepdims": i % 2 == 1}) for i, v in enumerate(_softmax.softmax.variants)
    ),
    algorithms={"exp(x - y)": (forward, from_output), "online": (online, online_vjp)},
    special=along_axis(
        Special(([-inf, -inf],), -inf, ([0, 0],), "the logarithm of 0; nothing moves it to first order"),
        Special(([-inf],), -inf, ([0],), "likewise, of one entry"),
        Special(([inf],), inf, ([(1, nan)],), "the limit 1 of the weight, or infinity over infinity"),
        Special(([inf, 1.0],), inf, ([(1, nan), 0],), "likewise; what is finite has no weight beside infinity"),
        Special(([inf, -inf],), inf, ([(1, nan), 0],), "likewise"),
        Special(([inf, inf],), inf, ([(0.5, nan), (0.5, nan)],), "no limit, or an even share"),
        Special(([-inf, 1.0],), 1, ([0, 1],), "a term of 0"),
        Special(([nan, 1.0],), nan, ([None, nan],), "NaN in gives NaN out"),
        Special(([nan, -inf],), nan, ([None, (0, nan)],), "NaN in gives NaN out; a weight of 0, or 0 over NaN"),
    ),
    rowwise=_softmax.softmax.rowwise,
    equations=("challa2023 (4)",),
    usual=usual_axes(keepdims=(False, True)),
)
