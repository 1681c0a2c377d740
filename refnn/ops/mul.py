r"""Product of two arrays, elementwise with broadcasting.

    y = x other
    dL/dx = g other,  dL/dother = g x, each summed over the axes along which its array was stretched

Any shapes that broadcast; the output has their common shape, and their dtype. A sum of products is rounded with each
product and each addition, in any order; what fuses them is inside.
"""

from math import inf, nan

from refnn.op import Special
from refnn.ops import _broadcast


def forward(ar, x, other):
    return x * other


def slopes(ar, g, y, x, other):
    return g * other, g * x


mul = _broadcast.binary(
    "mul",
    forward,
    slopes,
    (
        Special((nan, 2.0), nan, (2, nan), "NaN in gives NaN out"),
        Special((2.0, nan), nan, (nan, 2), "likewise"),
        Special((inf, 2.0), inf, (2, inf), "an infinite factor"),
        Special((-inf, 2.0), -inf, (2, -inf), "likewise"),
        Special((2.0, -inf), -inf, (-inf, 2), "likewise"),
        Special((-inf, -inf), inf, (-inf, -inf), "likewise"),
        Special((0.0, inf), nan, (inf, 0), "0 times infinity"),
        Special((-inf, 0.0), nan, (0, -inf), "likewise"),
        Special((-0.0, 2.0), "-0", (2, 0), "the sign of a product"),
        Special((2.0, -0.0), "-0", (0, 2), "likewise"),
        Special((1.0, 2.0), None, (nan, nan), "NaN in the cotangent is handed on", cotangent=nan),
    ),
)
