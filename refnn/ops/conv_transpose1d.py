r"""Transposed convolution over one axis, the gradient of `conv1d` in x; the bounds are those of `refnn.ops._conv`.

    y_no,q = b_o + sum_c sum_(p,t: s p - a + d t = q) w_co,t x_nc,p   katsaros (reverse convolution)

x is (N, C, L) or (C, L), weight (C, O/groups, k), bias (O,) or None; the output is (N, O, L') or (O, L') in the dtype
of x, L' = (L - 1) s - padding + d (k - 1) + output_padding + 1, with output_padding smaller than s or d. ValueError
for shapes that do not go together, for parameters out of range and where there is no output.
"""

from refnn.op import Op
from refnn.ops import _conv
from refnn.ops._shared import product_rows

conv_transpose1d = Op(
    name="conv_transpose1d",
    forward_definition=_conv.transposed_forward,
    vjp_definition=_conv.transposed_vjp,
    inputs=_conv.INPUTS,
    validate=_conv.transposed_validate("conv_transpose1d", 1),
    variants=(
        _conv.transposed_variant((3, 5, 67), (5, 4, 5), small=((1, 2, 3), (2, 2, 5)), stride=2, padding=2),
        _conv.transposed_variant(
            (2, 3, 9), (3, 2, 4), small=((1, 2, 3), (2, 2, 4)), stride=3, padding=((2, 1),), output_padding=2
        ),
        _conv.transposed_variant((2, 2, 5), (2, 3, 3), small=((1, 2, 2), (2, 2, 3)), dilation=3, output_padding=1),
        _conv.transposed_variant((2, 4, 5), (4, 1, 3), small=((1, 4, 3), (4, 1, 3)), groups=4, padding=1),
        _conv.transposed_variant((1, 4, 5), (4, 3, 2), False, small=((1, 4, 2), (4, 3, 2)), groups=2, stride=3),
        _conv.transposed_variant((2, 7), (2, 3, 1)),
        _conv.transposed_variant((1, 2, 3), (2, 3, 1), stride=2),
        _conv.transposed_variant((0, 2, 5), (2, 3, 3)),
    ),
    algorithms={"fft": (_conv.transposed_fft_forward, _conv.transposed_fft_vjp)},
    special=(*product_rows(3, 3), *_conv.transposed_special(1)),
    equations=("katsaros (reverse convolution)",),
    usual=_conv.transposed_usual(1),
)
