r"""Sign, elementwise.

    y = 1 if x > 0, -1 if x < 0, 0 if x = 0
    dy/dx = 0

Any shape; the output has the shape and dtype of x. The gradient is zero everywhere, also at the jump and whatever the
cotangent is, as PyTorch has it. Of NaN there is none; PyTorch says 0. Nothing is rounded.
"""

from math import inf, nan

from refnn.op import Special
from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.branch(x, 1, ar.branch(-x, -1, 0))


def vjp(ar, g, y, x):
    return (ar.branch(x, 0, 0),)


sign = unary(
    "sign",
    forward,
    vjp,
    (
        Special((nan,), (nan, 0), (None,), "NaN in gives NaN out; or 0, for it is neither above zero nor below"),
        *table(
            (inf, 1, 0, "the sign of an infinity"),
            (-inf, -1, 0, "likewise"),
            (0.0, 0, 0, "either sign of zero"),
            (-0.0, 0, 0, "likewise"),
        )[1:],
    ),
    points=(0.0,),
)
