r"""Root mean square normalisation: each row over its root mean square.

    y = x r w,  r = 1 / sqrt(mean x^2 + eps)               Zhang and Sennrich, arXiv:1910.07467
    dL/dx = r (h - x r^2 mean(h x)),  h = g w
    dL/dw = sum of g x r over the rows

Rows are the last axes of x, whose lengths are normalized_shape; weight w has that shape, or is absent. The output has
the shape and dtype of x. Nothing cancels in the output; in the gradient h and x r^2 mean(h x) do. The sum of squares
overflows in float32 from 2e19 on.
"""

from math import inf, nan

from refnn.op import Input, Op
from refnn.ops import _norm

NAMES = ("weight",)


def forward(ar, x, weight=None, *, normalized_shape, eps=1e-5):
    axes = _norm.last(x, normalized_shape)
    return ar.product(x, _norm.inverse(ar, _norm.of_squares(ar, x, axes), eps), *_norm.given(weight))


def vjp(ar, g, y, x, weight=None, *, normalized_shape, eps=1e-5):
    axes = _norm.last(x, normalized_shape)
    r = ar.saved(_norm.inverse(ar, _norm.of_squares(ar, x, axes), eps))
    by_weight, _ = _norm.affine(ar, g, x, r, weight, None, axes)
    return _norm.pulled(ar, g, x, r, weight, axes, centred=False), by_weight


rms_norm = Op(
    name="rms_norm",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input(), "weight": Input(optional=True)},
    validate=_norm.validate("rms_norm", NAMES),
    variants=_norm.variants(NAMES),
    special=_norm.special(
        False,
        (
            ([nan, 1.0], nan, nan, "NaN in gives NaN out, through the mean in every entry"),
            ([inf, 1.0], [nan, 0], nan, "infinity times the inverse of an infinite root; the other vanishes"),
            ([-inf, 1.0], [nan, 0], nan, "likewise"),
            ([0.0, 0.0], 0, None, "either sign of zero; the slope is that of eps"),
        ),
    ),
    usual=_norm.usual(NAMES),
)
