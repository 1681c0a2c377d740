r"""Layer normalisation: each row less its mean, over its standard deviation.

    y = (x - m) r w + b,  m = mean x,  r = 1 / sqrt(mean (x - m)^2 + eps)      Ba, Kiros, Hinton, arXiv:1607.06450
    dL/dx = r (h - mean h - (x - m) r^2 mean(h (x - m))),  h = g w
    dL/dw = sum of g (x - m) r over the rows,  dL/db = sum of g

Rows are the last axes of x, whose lengths are normalized_shape; weight w and bias b have that shape, or are absent. The
output has the shape and dtype of x. The accurate class takes the variance in two passes, of x - m. It scales x - m, or
adds -m r to x r, as kernels that keep one scale and one shift a row do. Its bound grows with |m| r u, because m is
rounded: no row far from zero is centred better than that. Other classes are

    one pass      the variance as mean x^2 - m^2, and zero where that is negative: from |m| r = 1/sqrt(u) on no digit
                  of it is left
    sums of g x   the gradient as r h + x b + c, where b and c are made of sum(h x) and sum(h): terms cancel that are
                  |m| r times as large as what is left

Where a row is constant and eps is 0, the quotient is 0/0.
"""

from math import inf, nan

from refnn.op import Input, Op
from refnn.ops import _norm

NAMES = ("weight", "bias")


def _two_pass(ar, x, axes, eps):
    """The mean, the centred rows and their scale."""
    m = _norm.mean(ar, x, axes)
    d = x - m
    return m, d, _norm.inverse(ar, _norm.of_squares(ar, d, axes), eps)


def _one_pass(ar, x, axes, eps):
    m = _norm.mean(ar, x, axes)
    return m, x - m, _norm.inverse(ar, ar.relu(_norm.of_squares(ar, x, axes) - m**2), eps)


def _normed(ar, x, m, d, r, *factors):
    """(x - m) r, or x r - m r, times further factors."""
    return _norm.by_terms(ar, ar.product(d, r, *factors), ((x, r, *factors), 1), ((m, r, *factors), 1))


def _forward(moments):
    def forward(ar, x, weight=None, bias=None, *, normalized_shape, eps=1e-5):
        m, d, r = moments(ar, x, _norm.last(x, normalized_shape), eps)
        y = _normed(ar, x, m, d, r, *_norm.given(weight))
        return y if bias is None else y + bias

    return forward


def _saved(ar, x, axes, eps, moments):
    """What the forward hands to the vjp: the mean and the scale of a row, from which the vjp centres x again."""
    m, _, r = moments(ar, x, axes, eps)
    m = ar.saved(m)
    return m, x - m, ar.saved(r)


def _vjp(moments):
    def vjp(ar, g, y, x, weight=None, bias=None, *, normalized_shape, eps=1e-5):
        axes = _norm.last(x, normalized_shape)
        _, d, r = _saved(ar, x, axes, eps, moments)
        return (
            _norm.pulled(ar, g, d, r, weight, axes, centred=True),
            *_norm.affine(ar, g, d, r, weight, bias, axes),
        )

    return vjp


def by_sums(ar, g, y, x, weight=None, bias=None, *, normalized_shape, eps=1e-5):
    """r h + x b + c: r h is rounded in two products and two sums; x b, m b and r mean h in one and two."""
    axes = _norm.last(x, normalized_shape)
    m, d, r = _saved(ar, x, axes, eps, _two_pass)
    h = ar.product(g, *_norm.given(weight))
    db, ds = _norm.mean(ar, h, axes), _norm.mean(ar, h * x, axes)
    slope = ar.product(db * m - ds, r, r, r)
    centred = h - db
    terms = ((r, g, *_norm.given(weight)), 4), ((x, slope), 3), ((m, slope), 3), ((r, db), 3)
    gx = _norm.by_terms(ar, r * centred + d * slope, *terms)
    rest = tuple(a for a in range(x.ndim) if a not in axes)
    by_weight = None if weight is None else ar.sum(_normed(ar, x, m, d, r, g), rest)
    return gx, by_weight, None if bias is None else ar.sum(g, rest)


forward, vjp = _forward(_two_pass), _vjp(_two_pass)

layer_norm = Op(
    name="layer_norm",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input(), "weight": Input(optional=True), "bias": Input(optional=True)},
    validate=_norm.validate("layer_norm", NAMES),
    variants=_norm.variants(NAMES),
    algorithms={"one pass": (_forward(_one_pass), _vjp(_one_pass)), "sums of g x": (forward, by_sums)},
    special=_norm.special(
        True,
        (
            ([nan, 1.0], nan, nan, "NaN in gives NaN out, through the mean in every entry"),
            ([inf, 1.0], nan, nan, "infinity less an infinite mean, and an infinite deviation"),
            ([-inf, 1.0], nan, nan, "likewise"),
            ([2.0, 2.0], 0, 0, "a constant row; either sign of zero"),
        ),
    ),
    usual=_norm.usual(NAMES),
)
