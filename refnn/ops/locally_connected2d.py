r"""Locally connected layer: a convolution whose kernels are not shared, one for each place of the output.

    y_no,p = b_o,p + sum_c sum_t w_oc,p,t x_nc,(s p + t)     katsaros (locally connected layer)
    dL/dw_oc,p,t = sum_n g_no,p x_nc,(s p + t),  dL/db_o,p = sum_n g_no,p
    dL/dx_nc,q = sum_o sum_(p,t: s p + t = q) g_no,p w_oc,p,t

with p and t pairs. x is (N, C, H, W) or (C, H, W), weight (O, C, H', W', kH, kW), bias (O, H', W') or None; the output
is (N, O, H', W') or (O, H', W') in the dtype of x, H' = floor((H - kH) / s) + 1. Sums in any order, so the bound is
that of `linear`. ValueError for shapes that do not go together.
"""

from refnn.arithmetic.windows import Windows
from refnn.op import Op
from refnn.ops import _conv
from refnn.ops._shared import product_rows


def _lay(x, weight, stride):
    """x with a batch axis, its shape before the channels, and the windows."""
    lead = x.shape[: x.ndim - 3]
    rows = x.reshape(-1, *x.shape[x.ndim - 3 :])
    return rows, lead, Windows.over(rows.shape[2:], weight.shape[4:], stride=stride)


def forward(ar, x, weight, bias=None, *, stride=1):
    rows, lead, w = _lay(x, weight, stride)
    y = ar.contract(w.correlate_unshared(weight.shape), rows, weight, bias)
    return y.reshape(*lead, *y.shape[1:])


def vjp(ar, g, y, x, weight, bias=None, *, stride=1):
    rows, _, w = _lay(x, weight, stride)
    g = g.reshape(-1, *weight.shape[:1], *w.count)
    return (
        ar.contract(w.spread_unshared(weight.shape), g, weight).reshape(*x.shape),
        ar.contract(w.weigh_unshared(weight.shape, rows.shape[0]), rows, g),
        None if bias is None else ar.sum(g, 0),
    )


def validate(inputs, params):
    x, weight = inputs["x"], inputs["weight"]
    if weight.ndim != 6:
        raise ValueError(
            f"locally_connected2d: weight has shape {weight.shape}, expected (out, in, out_h, out_w, kH, kW)"
        )
    _conv.check_shapes("locally_connected2d", inputs, 2, (weight.shape[0], *weight.shape[2:4]))
    _conv.check_per_axis("locally_connected2d", "stride", params["stride"], 2, 1)
    if weight.shape[1] != x.shape[-3]:
        raise ValueError(
            f"locally_connected2d: weight has shape {weight.shape} and x has {x.shape[-3]} channels, "
            f"expected weight to have as many on axis 1"
        )
    w = Windows.over(x.shape[-2:], weight.shape[4:], stride=params["stride"])
    if weight.shape[2:4] != w.count:
        raise ValueError(
            f"locally_connected2d: weight has shape {weight.shape}, expected kernels for {w.count} places on axes 2 "
            f"and 3, as x of shape {x.shape} has with stride {params['stride']}"
        )


def _variant(x, weight, bias=True, small=None, **params):
    return _conv.variant(x, weight, bias, small, lambda w, params: (w[0], *w[2:4]), **params)


locally_connected2d = Op(
    name="locally_connected2d",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs=_conv.INPUTS,
    validate=validate,
    variants=(
        _variant((2, 3, 13, 11), (4, 3, 6, 5, 3, 2), False, ((1, 2, 5, 3), (2, 2, 2, 2, 3, 1)), stride=2),
        _variant((2, 2, 5, 4), (3, 2, 3, 3, 3, 2), small=((2, 1, 4, 3), (1, 1, 2, 2, 3, 2))),
        _variant((2, 1, 6, 8), (2, 1, 2, 3, 3, 2), small=((1, 1, 5, 5), (2, 1, 2, 2, 3, 2)), stride=(2, 3)),
        _variant((3, 2, 3, 2), (2, 2, 3, 2, 1, 1), small=((2, 2, 1, 2), (2, 2, 1, 2, 1, 1))),
        _variant((2, 4, 3), (3, 2, 1, 1, 4, 3), small=((2, 2, 3), (2, 2, 1, 1, 2, 3))),
        _variant((0, 2, 3, 3), (2, 2, 2, 1, 2, 3)),
    ),
    special=product_rows(4, 6, 3),
    equations=("katsaros (locally connected layer)",),
    usual=lambda op: (
        _variant((2, 3, 10, 10), (4, 3, 8, 8, 3, 3)),
        _variant((3, 4, 6, 6), (4, 4, 3, 3, 2, 2), False, stride=2),
        _variant((1, 2, 7, 7), (3, 2, 2, 2, 3, 3), stride=3),
        _variant((2, 4, 5, 5), (8, 4, 5, 5, 1, 1)),
        _variant((2, 16, 4, 4), (16, 16, 2, 2, 3, 3)),
        _variant((4, 6, 5), (2, 4, 3, 4, 4, 2)),
        _variant((1, 9, 10, 10), (8, 9, 8, 8, 3, 3)),
    ),
)
