r"""Mean over windows of three spatial axes.

    y[o] = 1/K sum over t of x[o s - p + t]      katsaros (average-pooling)
    dL/dx[u] = sum of dL/dy[o] / K[o] over the windows o that cover u

s = stride (kernel_size if None), p = padding, each one number, or one for each axis. x is (N, C, depth, height, width)
or without N; the output keeps its dtype and has floor((n + 2p - k) / s) + 1 windows along an axis of n cells. With
ceil_mode one more is taken where they leave a rest, if it starts inside the input or the padding before it. K counts
the cells of the window in the input, and with count_include_pad those in the padding too (at most half the kernel);
divisor_override, an integer other than 0, takes its place; what overhangs the padding never counts.

One sum in any order and one quotient, or the quotients first and their sum, each of them perhaps as a product with the
rounded 1/K: (1+u)^(n-1) - 1 of the sum of magnitudes for n cells, and 2u. The gradient is a sum over the windows that
cover the cell, and divides first or, where K is the same for all, last.
"""

from refnn.op import Input, Op
from refnn.ops import _pool


def forward(
    ar, x, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    w = _pool.windows(x.shape, 3, kernel_size, stride, padding, ceil_mode=ceil_mode)
    return _pool.average(ar, x, w, _pool.divisors(w, count_include_pad, divisor_override))


def vjp(
    ar, g, y, x, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    w = _pool.windows(x.shape, 3, kernel_size, stride, padding, ceil_mode=ceil_mode)
    return (_pool.average_vjp(ar, g, x, w, _pool.divisors(w, count_include_pad, divisor_override)),)


avg_pool3d = Op(
    name="avg_pool3d",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=_pool.validate("avg_pool3d", 3),
    variants=(
        _pool.variant((3, 2, 7, 8, 9), (1, 1, 3, 4, 4), kernel_size=(2, 3, 2), stride=(1, 2, 2)),
        _pool.variant(
            (1, 1, 3, 4, 3),
            kernel_size=(2, 2, 1),
            stride=(2, 1, 2),
            padding=(1, 1, 0),
            ceil_mode=True,
            count_include_pad=False,
        ),
        _pool.variant(
            (1, 1, 2, 4, 6),
            (1, 1, 1, 4, 4),
            kernel_size=(1, 3, 3),
            stride=(1, 2, 2),
            padding=(0, 1, 1),
            ceil_mode=True,
        ),
        _pool.variant((2, 3, 2, 4), kernel_size=2, stride=1, padding=1, count_include_pad=False, divisor_override=3),
        _pool.variant((0, 1, 2, 3, 4), kernel_size=2),
    ),
    special=_pool.special(3, _pool.MEANS),
    rowwise=_pool.each_row(3),
    equations=("katsaros (average-pooling)",),
    usual=_pool.usual(3),
)
