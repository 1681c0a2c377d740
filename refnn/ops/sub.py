r"""Difference of two arrays, elementwise with broadcasting.

    y = x - other
    dL/dx = g,  dL/dother = -g, each summed over the axes along which its array was stretched

Any shapes that broadcast; the output has their common shape, and their dtype.
"""

from refnn.ops import _broadcast


def forward(ar, x, other):
    return x - other


def slopes(ar, g, y, x, other):
    return g, -g


sub = _broadcast.binary("sub", forward, slopes, _broadcast.sums(-1), saved=False)
