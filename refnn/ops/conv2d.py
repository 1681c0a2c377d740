r"""Convolution over two spatial axes; the equations and the bounds are those of `refnn.ops._conv`.

    y_no,ij = b_o + sum_c sum_ab w_oc,ab x_nc,(s i - t + d a)(s j - l + d b)

x is (N, C, H, W) or (C, H, W), weight (O, C/groups, kH, kW), bias (O,) or None; the output is (N, O, H', W') or
(O, H', W') in the dtype of x, H' = floor((H + padding - d (kH - 1) - 1) / s) + 1. ValueError for shapes that do not
go together, for parameters out of range and where there is no output.

The class `winograd` is F(2x2, 3x3) for 3x3 kernels with stride and dilation 1 (Lavin and Gray, Fast Algorithms for
Convolutional Neural Networks, CVPR 2016): each 4x4 tile d of the padded x gives 2x2 outputs

    Y = A^T ((G w G^T) * (B^T d B)) A,  summed over channels before A,

the gradient of x likewise, from the kernels turned around and g, and that of the weight as
G^T ((B^T d B) * (A g A^T)) G, summed over tiles. Each transform is taken as one sum of products with the Kronecker
product of its two matrices, whose bound covers one axis after the other: no term passes more additions there, and
products with 0, 1 and 1/2 do not round. Other kernels are computed directly.
"""

from refnn.arithmetic.windows import Windows, per_axis, sides
from refnn.op import Op
from refnn.ops import _conv
from refnn.ops._shared import product_rows

_B = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))  # B^T
_G = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
_A = ((1, 1, 1, 0), (0, 1, -1, -1))  # A^T
_PLACES = [(p, q) for p in range(4) for q in range(4)]  # of a transformed tile
_TILES = [[[a * b for b in _B[q]] for a in _B[p]] for p, q in _PLACES]  # 16 kernels of 4x4
_OUTPUTS = [[[a[p] * b[q] for b in _A] for a in _A] for p, q in _PLACES]  # 16 kernels of 2x2
_KERNELS = [[a * b for a in _G[p] for b in _G[q]] for p, q in _PLACES]  # 16 x 9
_KERNELS_T = [list(column) for column in zip(*_KERNELS, strict=True)]


def _fast(weight, stride, padding, dilation):
    """Whether F(2x2, 3x3) applies; padding beyond that of "full" only adds outputs that are the bias."""
    plain = (*weight.shape[2:], *per_axis(stride, 2), *per_axis(dilation, 2)) == (3, 3, 1, 1, 1, 1)
    return plain and all(max(p) <= 2 for p in sides(padding, (3, 3), (1, 1)))


def _lay(size, padding):
    """The windows of the 4x4 tiles in x, of the transformed tiles, and of the 2x2 cells in the output."""
    w = Windows.over(size, (3, 3), padding=padding)
    tiles = ((w.count[0] + 1) // 2, (w.count[1] + 1) // 2)
    return (
        Windows(w.size, (4, 4), (2, 2), (1, 1), w.before, tiles),
        Windows(tiles, (1, 1), (1, 1), (1, 1), (0, 0), tiles),
        Windows(w.count, (2, 2), (2, 2), (1, 1), (0, 0), tiles),
    )


def _places_first(n):
    """n channels with 16 places each, as 16 places with n channels each."""
    return [c * 16 + i for i in range(16) for c in range(n)]


def _channels_first(n):
    return [i * n + c for c in range(n) for i in range(16)]


def _transformed(ar, tiles, x):
    """B^T d B of every tile, as (N, 16 C, *tiles)."""
    n = x.shape[1]
    kernels = ar.array([[k] for k in _TILES] * n)
    return ar.contract(tiles.correlate((16 * n, 1, 4, 4), n), x, kernels)[:, _places_first(n)]


def winograd_forward(ar, x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    if not _fast(weight, stride, padding, dilation):
        return _conv.forward(ar, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
    rows, lead = _conv.batched(x, weight)
    tiles, places, cells = _lay(rows.shape[2:], padding)
    out, channels = weight.shape[:2]
    kernels = ar.dot(ar.array(_KERNELS), weight.reshape(-1, 9).T).reshape(16 * out, channels, 1, 1)
    form = places.correlate((16 * out, channels, 1, 1), 16 * groups)
    products = ar.contract(form, _transformed(ar, tiles, rows), kernels)[:, _channels_first(out)]
    back = cells.spread((16 * out, 1, 2, 2), out)
    y = ar.contract(back, products, ar.array([[k] for k in _OUTPUTS] * out), _conv.column(bias, 2))
    return y.reshape(*lead, *y.shape[1:])


def winograd_vjp(ar, g, y, x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    if not _fast(weight, stride, padding, dilation):
        return _conv.vjp(ar, g, y, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
    (rows, _), (g, _) = _conv.batched(x, weight), _conv.batched(g, weight)
    tiles, places, cells = _lay(rows.shape[2:], padding)
    out, channels = weight.shape[:2]
    per_group = out // groups
    swapped = [
        (h * per_group + o) * channels + c for h in range(groups) for c in range(channels) for o in range(per_group)
    ]
    turned = weight.reshape(-1, 3, 3)[swapped][:, ::-1, ::-1].reshape(groups * channels, per_group, 3, 3)
    pads = [(2 - before, 2 - after) for before, after in sides(padding, (3, 3), (1, 1))]
    gx = winograd_forward(ar, g, turned, padding=pads, groups=groups)
    kernels = ar.array([[k] for k in _OUTPUTS] * out)
    spread = ar.contract(cells.correlate((16 * out, 1, 2, 2), out), g, kernels)[:, _places_first(out)]
    form = places.weigh((16 * out, channels, 1, 1), 16 * groups, rows.shape[0])
    gw = ar.dot(ar.array(_KERNELS_T), ar.contract(form, _transformed(ar, tiles, rows), spread).reshape(16, -1))
    return gx.reshape(*x.shape), gw.T.reshape(*weight.shape), _conv.bias_gradient(ar, g, bias)


conv2d = Op(
    name="conv2d",
    forward=_conv.forward,
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
    classes={"winograd": (winograd_forward, winograd_vjp), "fft": (_conv.fft_forward, _conv.fft_vjp)},
    special=(*product_rows(4, 4), *_conv.special(2)),
)
