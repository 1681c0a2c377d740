r"""Variance over one axis, several, or all.

    y = 1/(n - c) sum_k (x_k - m)^2,  m = 1/n sum_k x_k    c is `correction`: 1 for a sample, 0 for a whole population
    dL/dx_k = 2 g (x_k - m) / (n - c)                      g = dL/dy

`axis` is an axis, a tuple of axes, or None for all; these axes disappear, or stay with length 1 if `keepdims`. The
output has the dtype of x. Where no degree of freedom is left, n - c is zero or less, and the call is refused.

The accurate class takes two passes, of which the second sums (x - m)^2. Its bound grows with |m|, because m is rounded:
to first order it is (2 n |m| mean |x - m| + (n + 4) y) u, up to n / (n - c), of numbers of one sign. Of such numbers
Welford's variance is inside of it (see `refnn.ops._norm.of_squares`). The class `one pass` forms the variance from
sum x^2 and sum x, which cancel: it is off by some 2 n u mean x^2, so that from |m| = sqrt(y / u) on no digit is left,
and it may be negative. The gradient is that of two passes.
"""

from dataclasses import replace
from math import inf, nan

from refnn.op import Input, Op, Special, Variant
from refnn.ops import _reduce
from refnn.ops._shared import along_axis, axes_of


def _over_freedom(ar, squares, x, axis, correction):
    return ar.product(squares, over=_reduce.count(x, axis) - correction)


def forward(ar, x, *, axis=None, keepdims=False, correction=1):
    m = _reduce.average(ar, x, axis, True)
    d = x - m
    squares = ar.product(d, d)
    if x.ndim:
        squares = _alike(ar, _reduce.total(ar, squares, axis, keepdims), x, m, axis)
    return _over_freedom(ar, squares, x, axis, correction)


def _alike(ar, squares, x, m, axis):
    """The sum of squares, with what is to be expected where its roundings are not independent. The worst case has that.

    Where one number is far larger than all others, these are nothing beside m. Their squares are equal then, and so are
    the roundings when they are added. Where all numbers are nearly equal, x - m is not much more than the error of m,
    whose square is of no first order.
    """
    repeated = _repeated(axes_of(x.ndim, axis), _reduce.count(x, axis))
    for _ in range(ar.often(0, 1)):
        squares = ar.inexact(squares, (squares, x, m), lambda floor, *sizes: 0, repeated)
    return squares


def _repeated(axes, n):
    """Of the sizes of the sum, of x and of m: the sum as often as a number is nothing beside m, and n m^2 where the sum
    is nothing beside that."""

    def expected(floor, squares, x, m):
        nothing, whole = (m / (m + 2**20 * x)).sum(axes), n * (m * m).reshape(squares.shape)
        return nothing.reshape(squares.shape) * squares + whole / (1 + 2**40 * squares / whole)

    return expected


def one_pass(ar, x, *, axis=None, keepdims=False, correction=1):
    n, squares = _reduce.count(x, axis), _reduce.total(ar, ar.product(x, x), axis, keepdims) if x.ndim else x * x
    whole, m = (of(ar, x, axis, keepdims) for of in (_reduce.total, _reduce.average))
    return ar.either(
        lambda: _over_freedom(ar, squares - whole * m, x, axis, correction),
        lambda: ar.product(n, squares / n - m * m, over=n - correction),
    )


def vjp(ar, g, y, x, *, axis=None, keepdims=False, correction=1):
    d = ar.saved(x - ar.saved(_reduce.average(ar, x, axis, True)))
    slope = ar.product(2, _reduce.spread(ar, g, x, axis), d, over=_reduce.count(x, axis) - correction)
    return (ar.saved(slope, 2),)


def validate(inputs, params):
    x, axis, correction = inputs["x"], params["axis"], params["correction"]
    _reduce.check_axes("var", x, axis)
    if type(correction) is not int or correction < 0:
        raise ValueError(f"var: correction is {correction!r}, expected an integer, at least 0")
    n = _reduce.count(x, axis)
    if n <= correction:
        raise ValueError(
            f"var: correction is {correction}, expected less than {n}, the number of elements along axis {axis} of "
            f"shape {x.shape}: no degree of freedom is left"
        )


var = Op(
    name="var",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        *(
            replace(v, params={**v.params, "correction": 0}) if v.first == () or i % 2 else v
            for i, v in enumerate(_reduce.VARIANTS)
        ),
        Variant({"x": (3, 1)}, {"axis": 1, "correction": 0}),
    ),
    algorithms={"one pass": (one_pass, vjp)},
    special=along_axis(
        Special(([nan, 1.0],), nan, ([None, nan],), "NaN in gives NaN out, through the mean in every entry"),
        Special(
            ([inf, 1.0],), nan, ([nan, (-inf, nan)],), "an infinite mean: what is finite is infinitely far from it"
        ),
        Special(([-inf, 1.0],), nan, ([nan, (inf, nan)],), "likewise"),
        Special(([inf, inf, 1.0],), nan, ([nan, nan, (-inf, nan)],), "likewise"),
        Special(([inf, -inf],), nan, (nan,), "infinity less infinity"),
        Special(([-inf, -inf],), nan, (nan,), "likewise"),
        Special(([2.0, 2.0],), 0, (0,), "a constant slice; either sign of zero"),
        Special(([1.0, 2.0],), None, (nan,), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=_reduce.rowwise,
    usual=_reduce.usual(correction=(1, 0, 2)),
)
