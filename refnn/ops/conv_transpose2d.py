r"""Transposed convolution over two axes, the gradient of `conv2d` in x; the bounds are those of `refnn.ops._conv`.

    y_no,q = b_o + sum_c sum_(p,t: s p - a + d t = q) w_co,t x_nc,p   katsaros (reverse convolution)

x is (N, C, H, W) or (C, H, W), weight (C, O/groups, kH, kW), bias (O,) or None; the output is (N, O, H', W') or
(O, H', W') in the dtype of x, H' = (H - 1) s - padding + d (kH - 1) + output_padding + 1. output_padding only says how
large the output is, and is smaller than the stride or the dilation. ValueError for shapes that do not go together, for
parameters out of range and where there is no output.
"""

from refnn.op import Op
from refnn.ops import _conv
from refnn.ops._shared import product_rows

conv_transpose2d = Op(
    name="conv_transpose2d",
    forward_definition=_conv.transposed_forward,
    vjp_definition=_conv.transposed_vjp,
    inputs=_conv.INPUTS,
    validate=_conv.transposed_validate("conv_transpose2d", 2),
    variants=(
        _conv.transposed_variant((2, 3, 13, 11), (3, 4, 3, 3), small=((1, 2, 2, 2), (2, 2, 3, 3)), stride=2, padding=1),
        _conv.transposed_variant(
            (2, 2, 4, 3),
            (2, 3, 3, 2),
            small=((1, 1, 2, 2), (1, 2, 3, 2)),
            stride=(2, 3),
            padding=(0, 1),
            output_padding=(1, 2),
        ),
        _conv.transposed_variant(
            (1, 2, 3, 2), (2, 2, 2, 3), small=((1, 1, 2, 2), (1, 2, 2, 3)), dilation=(3, 2), output_padding=(2, 0)
        ),
        _conv.transposed_variant(
            (1, 2, 3, 4), (2, 2, 3, 2), small=((1, 2, 3, 2), (2, 1, 3, 2)), stride=(1, 2), padding=((1, 2), (0, 1))
        ),
        _conv.transposed_variant(
            (1, 3, 3, 4), (3, 2, 2, 2), False, small=((1, 3, 1, 2), (3, 2, 2, 2)), groups=3, stride=2
        ),
        _conv.transposed_variant((2, 4, 2, 3), (4, 3, 2, 1), small=((1, 4, 2, 1), (4, 3, 2, 1)), groups=2),
        _conv.transposed_variant((3, 4, 3, 2), (4, 5, 1, 1), small=((1, 2, 3, 2), (2, 3, 1, 1))),
        _conv.transposed_variant((2, 3, 1), (2, 3, 2, 4), padding=1),
        _conv.transposed_variant((1, 2, 3, 2), (2, 3, 1, 1), stride=2),
        _conv.transposed_variant((0, 2, 5, 4), (2, 3, 3, 3)),
    ),
    algorithms={"fft": (_conv.transposed_fft_forward, _conv.transposed_fft_vjp)},
    special=(*product_rows(4, 4), *_conv.transposed_special(2)),
    equations=("katsaros (reverse convolution)",),
    usual=_conv.transposed_usual(2),
)
