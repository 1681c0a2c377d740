r"""Transposed convolution over three axes, the gradient of `conv3d` in x; the bounds are those of `refnn.ops._conv`.

    y_no,q = b_o + sum_c sum_(p,t: s p - a + d t = q) w_co,t x_nc,p   katsaros (reverse convolution)

x is (N, C, D, H, W) or (C, D, H, W), weight (C, O/groups, kD, kH, kW), bias (O,) or None; the output is
(N, O, D', H', W') or (O, D', H', W') in the dtype of x, D' = (D - 1) s - padding + d (kD - 1) + output_padding + 1,
with output_padding smaller than s or d. ValueError for shapes that do not go together, for parameters out of range and
where there is no output.
"""

from refnn.op import Op
from refnn.ops import _conv
from refnn.ops._shared import product_rows

conv_transpose3d = Op(
    name="conv_transpose3d",
    forward_definition=_conv.transposed_forward,
    vjp_definition=_conv.transposed_vjp,
    inputs=_conv.INPUTS,
    validate=_conv.transposed_validate("conv_transpose3d", 3),
    variants=(
        _conv.transposed_variant(
            (2, 3, 6, 5, 7), (3, 4, 3, 2, 3), small=((1, 1, 2, 2, 2), (1, 2, 3, 2, 2)), stride=2, padding=1
        ),
        _conv.transposed_variant(
            (1, 2, 2, 3, 2),
            (2, 2, 2, 1, 3),
            small=((1, 1, 2, 2, 2), (1, 2, 2, 1, 3)),
            stride=(1, 3, 2),
            padding=((1, 0), (0, 0), (2, 1)),
            output_padding=(0, 1, 1),
        ),
        _conv.transposed_variant(
            (2, 4, 2, 1, 3),
            (4, 1, 2, 3, 2),
            False,
            small=((1, 2, 1, 1, 2), (2, 1, 2, 3, 2)),
            groups=2,
            dilation=(1, 2, 1),
        ),
        _conv.transposed_variant((2, 3, 2, 4), (2, 2, 2, 1, 3), small=((2, 1, 2, 2), (2, 2, 2, 1, 3))),
        _conv.transposed_variant((1, 2, 2, 3, 2), (2, 3, 1, 1, 1), small=((1, 2, 1, 2, 2), (2, 1, 1, 1, 1)), stride=2),
        _conv.transposed_variant((0, 1, 2, 3, 2), (1, 1, 2, 2, 2)),
    ),
    algorithms={"fft": (_conv.transposed_fft_forward, _conv.transposed_fft_vjp)},
    special=(*product_rows(5, 5), *_conv.transposed_special(3)),
    equations=("katsaros (reverse convolution)",),
    usual=_conv.transposed_usual(3),
)
