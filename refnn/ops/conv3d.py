r"""Convolution over three axes; the equations, the bounds and the class `fft` are those of `refnn.ops._conv`.

    y_no,p = b_o + sum_c sum_t w_oc,t x_nc,(s p - a + d t),  p and t triples

x is (N, C, D, H, W) or (C, D, H, W), weight (O, C/groups, kD, kH, kW), bias (O,) or None; the output is
(N, O, D', H', W') or (O, D', H', W') in the dtype of x, D' = floor((D + padding - d (kD - 1) - 1) / s) + 1. ValueError
for shapes that do not go together, for parameters out of range and where there is no output.
"""

from refnn.op import Op
from refnn.ops import _conv
from refnn.ops._shared import product_rows

conv3d = Op(
    name="conv3d",
    forward_definition=_conv.forward,
    vjp_definition=_conv.vjp,
    inputs=_conv.INPUTS,
    validate=_conv.validate("conv3d", 3),
    variants=(
        _conv.variant((2, 3, 7, 6, 5), (4, 3, 3, 2, 3), small=((1, 2, 2, 2, 3), (1, 2, 3, 2, 2)), padding=1),
        _conv.variant(
            (2, 2, 5, 4, 6),
            (3, 2, 2, 3, 1),
            False,
            small=((1, 1, 3, 4, 3), (2, 1, 2, 3, 1)),
            stride=2,
            padding=(1, 0, 1),
        ),
        _conv.variant(
            (2, 2, 4, 3, 5),
            (2, 2, 2, 3, 2),
            small=((1, 1, 2, 3, 2), (1, 1, 2, 3, 2)),
            dilation=(1, 2, 3),
            padding="same",
        ),
        _conv.variant(
            (1, 2, 2, 1, 3),
            (4, 1, 3, 2, 2),
            small=((1, 2, 1, 1, 3), (2, 1, 3, 2, 2)),
            stride=(2, 1, 1),
            dilation=(1, 1, 2),
            groups=2,
            padding=((1, 2), (1, 0), (0, 0)),
        ),
        _conv.variant((2, 3, 2, 4), (2, 2, 2, 1, 3), small=((2, 2, 2, 3), (2, 2, 2, 1, 3))),
        _conv.variant((1, 1, 2, 2, 7), (2, 1, 1, 2, 4), small=((1, 1, 2, 2, 7), (1, 1, 1, 2, 4)), stride=4),
        _conv.variant((0, 1, 2, 3, 2), (1, 1, 2, 2, 2)),
    ),
    algorithms={"fft": (_conv.fft_forward, _conv.fft_vjp)},
    special=(*product_rows(5, 5), *_conv.special(3)),
    equations=_conv.EQUATIONS,
    usual=_conv.usual(3),
)
