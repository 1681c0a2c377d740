r"""Maximum over windows of one spatial axis.

    y[o] = max over t of x[o s - p + t d]      katsaros (max-pooling)
    dL/dx[u] = sum of dL/dy[o] over the windows o whose maximum is at u

s = stride (kernel_size if None), p = padding, d = dilation. x is (N, C, length) or without N; the output keeps its
dtype and has

    floor((n + 2p - d (k - 1) - 1) / s) + 1

windows along an axis of n cells. With ceil_mode one more is taken where they leave a rest, if it starts inside the
input or the padding before it. Padding, at most half the kernel, never wins, not even against minus infinity: a window
that lies wholly in it gives minus infinity, and its gradient goes nowhere.

Where several cells of a window are its maximum, any weights that sum to one are sound; refnn sends all to the first in
scan order, as the sources and PyTorch do. The output is a selection, so no rounding is allowed; the gradient of a cell
is a sum over the windows that it is the maximum of, in any order: (1+u)^(m-1) - 1 for m windows over one cell.
"""

from refnn.op import Input, Op
from refnn.ops import _pool


def forward(ar, x, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    return _pool.maximum(ar, x, _pool.windows(x.shape, 1, kernel_size, stride, padding, dilation, ceil_mode))


def vjp(ar, g, y, x, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    return (_pool.maximum_vjp(ar, g, x, _pool.windows(x.shape, 1, kernel_size, stride, padding, dilation, ceil_mode)),)


max_pool1d = Op(
    name="max_pool1d",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=_pool.validate("max_pool1d", 1),
    variants=(
        _pool.variant((2, 3, 433), (1, 2, 7), kernel_size=3, stride=2),
        _pool.variant((2, 2, 7), kernel_size=3),
        _pool.variant((2, 1, 7), kernel_size=3, stride=2, padding=1, ceil_mode=True),
        _pool.variant((2, 6), kernel_size=2, stride=2, padding=1, ceil_mode=True),
        _pool.variant((1, 2, 8), kernel_size=3, stride=1, padding=1, dilation=2),
        _pool.variant((2, 1, 3), kernel_size=5, padding=2),
        _pool.variant((1, 1, 2), kernel_size=3, stride=2, ceil_mode=True),
        _pool.variant((2, 1, 8), kernel_size=(2,), stride=3, ceil_mode=True),
        _pool.variant((3, 1, 4), kernel_size=1),
        _pool.variant((1, 1, 17), (1, 1, 5), kernel_size=2, stride=2, padding=1, ceil_mode=True),
        _pool.variant((0, 2, 5), kernel_size=2),
    ),
    kinks=_pool.TIES,
    special=_pool.special(1, _pool.MAXIMA),
    rowwise=_pool.each_row(1),
    equations=("katsaros (max-pooling)",),
    usual=_pool.usual(1),
)
