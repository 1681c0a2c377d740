r"""Convolution over two spatial axes; the equations and the bounds are those of `refnn.ops._conv`.

    y_no,ij = b_o + sum_c sum_ab w_oc,ab x_nc,(s i - t + d a)(s j - l + d b)

x is (N, C, H, W) or (C, H, W), weight (O, C/groups, kH, kW), bias (O,) or None; the output is (N, O, H', W') or
(O, H', W') in the dtype of x, H' = floor((H + padding - d (kH - 1) - 1) / s) + 1. ValueError for shapes that do not
go together, for parameters out of range and where there is no output.

The classes `winograd`, `winograd 4x4` and `winograd 6x6` are F(2x2, 3x3), F(4x4, 3x3) and F(6x6, 3x3) for 3x3 kernels
with stride and dilation 1 (see `refnn.ops._winograd`).
"""

from refnn.op import Op
from refnn.ops import _conv
from refnn.ops._shared import product_rows
from refnn.ops._winograd import FOUR, SIX, TWO, winograd

conv2d = Op(
    name="conv2d",
    forward_definition=_conv.forward,
    vjp_definition=_conv.vjp,
    inputs=_conv.INPUTS,
    validate=_conv.validate("conv2d", 2),
    variants=(
        _conv.variant((2, 3, 13, 11), (5, 3, 3, 3), small=((1, 2, 4, 3), (2, 2, 3, 3)), padding=1),
        _conv.variant((2, 2, 6, 8), (3, 2, 3, 2), small=((1, 1, 4, 6), (2, 1, 3, 2)), stride=(2, 3), padding=(0, 1)),
        _conv.variant(
            (1, 2, 5, 6),
            (2, 2, 3, 2),
            small=((1, 2, 3, 4), (2, 2, 3, 2)),
            stride=2,
            dilation=(1, 2),
            padding=((1, 0), (0, 3)),
        ),
        _conv.variant((2, 1, 5, 6), (2, 1, 2, 4), small=((1, 1, 3, 5), (1, 1, 2, 4)), padding="same"),
        _conv.variant(
            (1, 1, 6, 13), (1, 1, 3, 5), False, small=((1, 1, 3, 5), (1, 1, 3, 5)), dilation=(2, 3), padding="same"
        ),
        _conv.variant((1, 2, 3, 4), (2, 2, 2, 3), small=((1, 2, 2, 2), (2, 2, 2, 3)), dilation=(1, 2), padding="full"),
        _conv.variant((2, 3, 6, 5), (6, 1, 3, 3), small=((1, 3, 4, 3), (6, 1, 3, 3)), stride=2, padding=1, groups=3),
        _conv.variant((1, 4, 5, 4), (6, 2, 3, 3), False, small=((1, 4, 5, 3), (6, 2, 3, 3)), dilation=(2, 1), groups=2),
        _conv.variant((3, 4, 3, 2), (5, 4, 1, 1), small=((2, 2, 3, 2), (3, 2, 1, 1)), padding="valid"),
        _conv.variant((1, 2, 2, 3), (2, 2, 5, 4), small=((1, 1, 2, 3), (1, 1, 5, 4)), padding=(2, 1)),
        _conv.variant((2, 6, 5), (3, 2, 3, 2), small=((2, 4, 3), (3, 2, 3, 2))),
        _conv.variant((0, 2, 5, 4), (3, 2, 3, 3)),
    ),
    algorithms={
        "winograd": winograd(TWO),
        "fft": (_conv.fft_forward, _conv.fft_vjp),
        "winograd 4x4": winograd(FOUR),
        "winograd 6x6": winograd(SIX),
    },
    special=(*product_rows(4, 4), *_conv.special(2)),
    equations=_conv.EQUATIONS,
    usual=_conv.usual(2),
)
