r"""Convolution over one axis; the equations, the bounds and the class `fft` are those of `refnn.ops._conv`.

    y_no,p = b_o + sum_c sum_t w_oc,t x_nc,(s p - a + d t)

x is (N, C, L) or (C, L), weight (O, C/groups, k), bias (O,) or None; the output is (N, O, L') or (O, L') in the dtype
of x, L' = floor((L + padding - d (k - 1) - 1) / s) + 1. ValueError for shapes that do not go together, for parameters
out of range and where there is no output.
"""

from refnn.op import Op
from refnn.ops import _conv
from refnn.ops._shared import product_rows

conv1d = Op(
    name="conv1d",
    forward_definition=_conv.forward,
    vjp_definition=_conv.vjp,
    inputs=_conv.INPUTS,
    validate=_conv.validate("conv1d", 1),
    variants=(
        _conv.variant((3, 5, 131), (7, 5, 5), small=((1, 2, 6), (2, 2, 5)), padding=2),
        _conv.variant((2, 3, 20), (4, 3, 4), small=((2, 2, 9), (2, 2, 4)), stride=3, padding=((2, 1),)),
        _conv.variant((2, 2, 9), (3, 2, 4), small=((1, 2, 5), (2, 2, 4)), dilation=3, padding="same"),
        _conv.variant((2, 2, 5), (3, 2, 3), stride=2, dilation=3, padding="full"),
        _conv.variant((2, 4, 7), (4, 1, 3), groups=4, stride=2, padding=1),
        _conv.variant((1, 4, 7), (6, 2, 3), False, dilation=2, groups=2),
        _conv.variant((1, 2, 2), (2, 2, 5), padding=3),
        _conv.variant((3, 7), (2, 3, 1)),
        _conv.variant((1, 2, 15), (3, 2, 4), small=((1, 2, 7), (2, 2, 4)), stride=4),
        _conv.variant((0, 2, 5), (3, 2, 3)),
    ),
    algorithms={"fft": (_conv.fft_forward, _conv.fft_vjp)},
    special=(*product_rows(3, 3), *_conv.special(1)),
    equations=_conv.EQUATIONS,
    usual=_conv.usual(1),
)
