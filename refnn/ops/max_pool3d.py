r"""Maximum over windows of three spatial axes.

    y[o] = max over t of x[o s - p + t d]      katsaros (max-pooling)
    dL/dx[u] = sum of dL/dy[o] over the windows o whose maximum is at u

s = stride (kernel_size if None), p = padding, d = dilation, each one number, or one for each axis. x is (N, C, depth,
height, width) or without N; the output keeps its dtype and has

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
    return _pool.maximum(ar, x, _pool.windows(x.shape, 3, kernel_size, stride, padding, dilation, ceil_mode))


def vjp(ar, g, y, x, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    return (_pool.maximum_vjp(ar, g, x, _pool.windows(x.shape, 3, kernel_size, stride, padding, dilation, ceil_mode)),)


max_pool3d = Op(
    name="max_pool3d",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=_pool.validate("max_pool3d", 3),
    variants=(
        _pool.variant((3, 2, 7, 8, 9), (1, 1, 3, 4, 4), kernel_size=(2, 3, 2), stride=(1, 2, 2)),
        _pool.variant((1, 1, 3, 4, 3), kernel_size=(2, 2, 1), stride=(2, 1, 2), padding=(1, 1, 0), ceil_mode=True),
        _pool.variant((2, 3, 2, 4), kernel_size=2, stride=1, dilation=(2, 1, 2)),
        _pool.variant((0, 1, 2, 3, 4), kernel_size=2),
    ),
    kinks=_pool.TIES,
    special=_pool.special(3, _pool.MAXIMA),
    rowwise=_pool.each_row(3),
    equations=("katsaros (max-pooling)",),
    usual=_pool.usual(3),
)
