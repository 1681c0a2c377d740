r"""Convolution, one definition for any number of spatial axes; "convolution" is cross-correlation, as in the sources.

    y_no,p = b_o + sum_c sum_t w_oc,t x_nc,(s p - a + d t)   cnnmath (convolution), katsaros (convolution); stride s,
                                                           dilation d, a cells of padding before, where x is 0
    dL/dw_oc,t = sum_n sum_p g_no,p x_nc,(s p - a + d t)     challa2023 (32), (34), (38), (41), for any s and a
    dL/dx_nc,q = sum_o sum_(p,t: s p - a + d t = q) g_no,p w_oc,t
                                                           challa2023 (39), (40) with the limits of p put right
    dL/db_o = sum_n sum_p g_no,p                             challa2023 (36), (43)

with c over the channels of o's group. The three sums of products are derivatives of each other (`Windows.correlate`,
`weigh` and `spread`), and the transposed convolution is the second-last line with x in the place of g.

The accurate class is the direct sum, in any order: ((1+u)^(k+1) - 1) (sum |w||x| + |b|) for k products, where padding
is no product. Infinity times padding may be left out or formed, and is NaN then.

The class `fft` multiplies Fourier transforms. None is written down here: the result is the direct sum, as inexact as
`refnn.arithmetic.transforms` says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from math import inf, nan

from refnn.arithmetic.transforms import TILE, Transformed
from refnn.arithmetic.windows import Windows, per_axis, sides
from refnn.op import Input, Special, Variant
from refnn.refusals import check_choice
from refnn.variants import pairwise

INPUTS: Mapping[str, Input] = {"x": Input(), "weight": Input(), "bias": Input(optional=True)}
PADDINGS = ("valid", "same", "full")
AXES = {1: "L", 2: "HW", 3: "DHW"}


# --- convolution -----------------------------------------------------------------------------------------------------

EQUATIONS = (
    "cnnmath (convolution)",
    "katsaros (convolution)",
    "challa2023 (32)",
    "challa2023 (34)",
    "challa2023 (38)",
    "challa2023 (41)",
    "challa2023 (39)",
    "challa2023 (40)",
    "challa2023 (36)",
    "challa2023 (43)",
)


def batched(x, weight):
    """x with a batch axis, and its shape before the channels."""
    sample = x.ndim - (weight.ndim - 1)
    return x.reshape(-1, *x.shape[sample:]), x.shape[:sample]


def column(bias, rank):
    """A bias as it is added to (N, O, *spatial)."""
    return None if bias is None else bias.reshape(-1, *[1] * rank)


def bias_gradient(ar, g, bias):
    return None if bias is None else ar.sum(g, (0, *range(2, g.ndim)))


def forward(ar, x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    rows, lead = batched(x, weight)
    w = Windows.over(rows.shape[2:], weight.shape[2:], stride=stride, padding=padding, dilation=dilation)
    y = ar.contract(w.correlate(weight.shape, groups), rows, weight, column(bias, w.rank))
    return y.reshape(*lead, *y.shape[1:])


def vjp(ar, g, y, x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    rows, _ = batched(x, weight)
    w = Windows.over(rows.shape[2:], weight.shape[2:], stride=stride, padding=padding, dilation=dilation)
    g, _ = batched(g, weight)
    return (
        ar.contract(w.spread(weight.shape, groups), g, weight).reshape(*x.shape),
        ar.contract(w.weigh(weight.shape, groups, rows.shape[0]), rows, g),
        bias_gradient(ar, g, bias),
    )


def transposed_forward(ar, x, weight, bias=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    rows, lead = batched(x, weight)
    rest = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    w = Windows.into(rows.shape[2:], weight.shape[2:], **rest)
    y = ar.contract(w.spread(weight.shape, groups), rows, weight, column(bias, w.rank))
    return y.reshape(*lead, *y.shape[1:])


def transposed_vjp(ar, g, y, x, weight, bias=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    rows, _ = batched(x, weight)
    rest = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    w = Windows.into(rows.shape[2:], weight.shape[2:], **rest)
    g, _ = batched(g, weight)
    return (
        ar.contract(w.correlate(weight.shape, groups), g, weight).reshape(*x.shape),
        ar.contract(w.weigh(weight.shape, groups, rows.shape[0]), g, rows),
        bias_gradient(ar, g, bias),
    )


# --- the class fft ---------------------------------------------------------------------------------------------------


def transforms(w, letters, groups):
    """The transforms of a convolution over these windows: the lengths of those that hold every output, and how many
    places there are at least, in tiles."""
    lengths = (
        n + before + (c - 1) * s + 2 * d * (k - 1)
        for n, before, c, s, d, k in zip(w.size, w.before, w.count, w.stride, w.dilation, w.kernel, strict=True)
    )
    places = math.prod(min(max(n, k), TILE) for n, k in zip(w.size, w.kernel, strict=True))
    return Transformed(letters, groups, tuple(2 ** n.bit_length() for n in lengths), places)


def transformed(ar, result, a, b, letters, w, groups):
    """`result`, the convolution of a and b that `letters` say (see Transformed), as inexact as by transforms."""
    form = transforms(w, letters, groups)
    return ar.inexact(result, (result, a, b), form.worst, form.expected, form.reach)


def fft_forward(ar, x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    rest = {"stride": stride, "padding": padding, "dilation": dilation}
    y = forward(ar, x, weight, bias, groups=groups, **rest)
    w = Windows.over(x.shape[2 - weight.ndim :], weight.shape[2:], **rest)
    return transformed(ar, y, x, weight, "ngc,goc->ngo", w, groups)


def fft_vjp(ar, g, y, x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    rest = {"stride": stride, "padding": padding, "dilation": dilation}
    gx, gw, gb = vjp(ar, g, y, x, weight, bias, groups=groups, **rest)
    w = Windows.over(x.shape[2 - weight.ndim :], weight.shape[2:], **rest)
    return (
        transformed(ar, gx, g, weight, "ngo,goc->ngc", w, groups),
        transformed(ar, gw, x, g, "ngc,ngo->goc", w, groups),
        gb,
    )


def transposed_fft_forward(ar, x, weight, bias=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    rest = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    y = transposed_forward(ar, x, weight, bias, groups=groups, **rest)
    w = Windows.into(x.shape[2 - weight.ndim :], weight.shape[2:], **rest)
    return transformed(ar, y, x, weight, "ngc,gco->ngo", w, groups)


def transposed_fft_vjp(ar, g, y, x, weight, bias=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    rest = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    gx, gw, gb = transposed_vjp(ar, g, y, x, weight, bias, groups=groups, **rest)
    w = Windows.into(x.shape[2 - weight.ndim :], weight.shape[2:], **rest)
    return (
        transformed(ar, gx, g, weight, "ngo,gco->ngc", w, groups),
        transformed(ar, gw, x, g, "ngc,ngo->gco", w, groups),
        gb,
    )


# --- what is wrong with a call ---------------------------------------------------------------------------------------


def check_per_axis(op, name, value, rank, least):
    """ValueError unless `value` is an integer from `least` on, or one for each spatial axis."""
    values = per_axis(value, rank)
    if len(values) != rank or not all(isinstance(v, int) and v >= least for v in values):
        each = "" if rank == 1 else f" or {rank} of them, one for each spatial axis"
        raise ValueError(f"{op}: {name} is {value!r}, expected an integer of at least {least}{each}")


def check_padding(op, padding, rank):
    """ValueError unless `padding` is a number of cells, one for each axis, or a pair (before, after) for each."""
    cells = per_axis(padding, rank)
    pairs = all(isinstance(p, (tuple, list)) and len(p) == 2 for p in cells)
    flat = [c for p in cells for c in p] if pairs else cells
    if len(cells) != rank or not all(isinstance(c, int) and c >= 0 for c in flat):
        raise ValueError(
            f"{op}: padding is {padding!r}, expected an integer of at least 0, {rank} of them, one for each spatial "
            f"axis, or {rank} pairs (before, after)"
        )


def check_shapes(op, inputs, rank, outputs):
    """ValueError unless x, weight and bias have the ranks that they need, and no empty axis but the batch.

    `outputs` is the number of output channels that a weight of some shape gives.
    """
    x, weight, bias = inputs["x"], inputs["weight"], inputs["bias"]
    spatial = ", ".join(AXES[rank])
    if x.ndim not in (rank + 1, rank + 2):
        raise ValueError(f"{op}: x has shape {x.shape}, expected (N, C, {spatial}) or (C, {spatial})")
    if 0 in x.shape[x.ndim - rank - 1 :]:
        raise ValueError(f"{op}: x has shape {x.shape}, expected no empty axis but the batch")
    if 0 in weight.shape:
        raise ValueError(f"{op}: weight has shape {weight.shape}, expected no empty axis")
    if bias is not None and bias.shape != outputs:
        raise ValueError(f"{op}: bias has shape {bias.shape}, expected {outputs}, one for each output channel")


def check_groups(op, groups, channels, what):
    """ValueError unless `groups` divides a number of channels."""
    if not isinstance(groups, int) or groups < 1 or channels % groups:
        raise ValueError(f"{op}: groups is {groups!r}, expected a divisor of {channels}, the {what}")


def check_weight(op, weight, rank, axes):
    if weight.ndim != rank + 2:
        spatial = ", ".join(f"k{a}" for a in AXES[rank])
        raise ValueError(f"{op}: weight has shape {weight.shape}, expected ({axes}, {spatial})")


def validate(op, rank):
    """The rules of a convolution over `rank` axes."""

    def check(inputs, params):
        x, weight, groups = inputs["x"], inputs["weight"], params["groups"]
        check_weight(op, weight, rank, "out, in/groups")
        check_shapes(op, inputs, rank, weight.shape[:1])
        check_per_axis(op, "stride", params["stride"], rank, 1)
        check_per_axis(op, "dilation", params["dilation"], rank, 1)
        if isinstance(params["padding"], str):
            check_choice(op, "padding", params["padding"], PADDINGS)
        else:
            check_padding(op, params["padding"], rank)
        if params["padding"] == "same" and set(per_axis(params["stride"], rank)) != {1}:
            raise ValueError(f"{op}: stride is {params['stride']}, expected 1 with padding 'same'")
        channels = x.shape[x.ndim - rank - 1]
        check_groups(op, groups, channels, "channels of x")
        check_groups(op, groups, weight.shape[0], "outputs of weight")
        if weight.shape[1] != channels // groups:
            raise ValueError(
                f"{op}: weight has shape {weight.shape} and x has {channels} channels in {groups} groups, "
                f"expected weight to have {channels // groups} on axis 1"
            )
        size, kernel = x.shape[x.ndim - rank :], weight.shape[2:]
        w = Windows.over(size, kernel, **{n: params[n] for n in ("stride", "padding", "dilation")})
        if min(w.count) < 1:
            pads = sides(params["padding"], kernel, w.dilation)
            padded = tuple(n + sum(p) for n, p in zip(size, pads, strict=True))
            reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, w.dilation, strict=True))
            raise ValueError(f"{op}: the kernel covers {reach} cells, expected at most {padded}, x with its padding")

    return check


def transposed_validate(op, rank):
    """The rules of a transposed convolution over `rank` axes."""

    def check(inputs, params):
        x, weight, groups = inputs["x"], inputs["weight"], params["groups"]
        check_weight(op, weight, rank, "in, out/groups")
        check_groups(op, groups, weight.shape[0], "inputs of weight")
        check_shapes(op, inputs, rank, (weight.shape[1] * groups,))
        check_per_axis(op, "stride", params["stride"], rank, 1)
        check_per_axis(op, "dilation", params["dilation"], rank, 1)
        check_per_axis(op, "output_padding", params["output_padding"], rank, 0)
        check_padding(op, params["padding"], rank)
        stride, dilation, extra = (per_axis(params[k], rank) for k in ("stride", "dilation", "output_padding"))
        if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
            raise ValueError(
                f"{op}: output_padding is {params['output_padding']}, expected less than stride {params['stride']} "
                f"or dilation {params['dilation']} on every axis"
            )
        if weight.shape[0] != x.shape[x.ndim - rank - 1]:
            raise ValueError(
                f"{op}: weight has shape {weight.shape} and x has {x.shape[x.ndim - rank - 1]} channels, "
                f"expected weight to have as many on axis 0"
            )
        placing = {n: params[n] for n in ("stride", "padding", "output_padding", "dilation")}
        w = Windows.into(x.shape[x.ndim - rank :], weight.shape[2:], **placing)
        if min(w.size) < 1:
            raise ValueError(f"{op}: the output would have {w.size} cells, expected at least 1 on every axis")

    return check


# --- records ---------------------------------------------------------------------------------------------------------


def variant(x, weight, bias=True, small=None, outputs=lambda weight, params: weight[:1], **params):
    """A variant of these shapes; `small` are those of x and weight where every element becomes a symbol, `outputs`
    gives the shape of the bias."""

    def shapes(x, weight):
        return {"x": x, "weight": weight, "bias": outputs(weight, params) if bias else None}

    return Variant(shapes(x, weight), params, small=shapes(*(small or (x, weight))))


def transposed_variant(x, weight, bias=True, small=None, **params):
    return variant(x, weight, bias, small, lambda weight, params: (weight[1] * params.get("groups", 1),), **params)


# Along each spatial axis: the cells of a small image; of one of 8 channels and of one of 144, which threads share.
SIDES = {1: (64, 4100, 256), 2: (8, 66, 16), 3: (4, 17, 6)}


def usual(rank):
    """Layers of ResNet, VGG, U-Net, MobileNet and ViT with fewer channels, large ones, and every two parameters."""

    def variants(op):
        side, wide, deep = SIDES[rank]
        stem, wider = (7, (5,)) if rank < 3 else (3, ())

        def image(n, channels, cells=side):
            return (n, channels, *(cells,) * rank)

        def weight(outputs, channels, cells):
            return (outputs, channels, *(cells,) * rank)

        yield variant(image(2, 8), weight(8, 8, 3), False, padding=1)
        yield variant(image(1, 3, 2 * side), weight(8, 3, stem), False, stride=2, padding=stem // 2)
        yield variant(image(2, 8), weight(16, 8, 1), False, stride=2)
        yield variant(image(5, 9), weight(10, 9, 3))
        yield variant(image(2, 16), weight(16, 1, 3), padding=1, groups=16)
        yield variant(image(2, 16), weight(16, 1, 3), False, stride=2, padding=1, groups=16)
        yield variant(image(1, 3, 2 * side), weight(16, 3, 4), stride=4)
        yield variant(image(2, 8), weight(8, 8, 2), stride=2)
        yield variant(image(2, 8), weight(8, 8, 4), False, stride=2, padding=1)
        yield variant(image(1, 1, side + 1), weight(6, 1, 3))
        yield variant(image(2, 16, 3), weight(10, 16, 3))
        yield variant(image(2, 4, 7), weight(8, 4, 2), stride=3)  # two rows are left over
        yield variant(image(1, 160, deep), weight(144, 160, 1))
        yield variant(image(1, 8, wide), weight(8, 8, 3), False, padding=1)
        if rank == 1:
            yield variant(image(2, 16, 33), weight(16, 1, 4), padding=((3, 0),), groups=16)  # causal, as in Mamba
        yield from pairwise(
            op,
            {
                "kernel": (3, 1, 2, *wider, "mixed"),
                "groups": (1, 2, 4),
                "stride": (1, 2, 3),
                "padding": (0, 1, 2, "same", "full", "sides"),
                "dilation": (1, 2),
                "bias": (True, False),
                "batch": (2, 1, None),
            },
            lambda **factors: _factored(variant, rank, **factors),
        )

    return variants


def transposed_usual(rank):
    """Layers of U-Net and DCGAN with fewer channels, large ones, and every two parameters."""

    def variants(op):
        side, wide, deep = SIDES[rank]
        wider = (5,) if rank < 3 else ()

        def image(n, channels, cells=side // 2):
            return (n, channels, *(cells,) * rank)

        def weight(channels, outputs, cells):
            return (channels, outputs, *(cells,) * rank)

        yield transposed_variant(image(2, 8), weight(8, 8, 2), stride=2)
        yield transposed_variant(image(2, 8), weight(8, 8, 4), False, stride=2, padding=1)
        yield transposed_variant(image(2, 8, side), weight(8, 8, 3), stride=2, padding=1, output_padding=1)
        yield transposed_variant(image(5, 9), weight(9, 10, 3), padding=1)
        yield transposed_variant(image(4, 16, 1), weight(16, 8, 4), False)
        yield transposed_variant(image(1, 160, deep), weight(160, 144, 1))
        channels = 4 // rank
        yield transposed_variant(image(1, channels, wide), weight(channels, channels, 2), stride=2)
        yield from pairwise(
            op,
            {
                "kernel": (3, 1, 2, *wider, "mixed"),
                "groups": (1, 2, 4),
                "stride": (1, 2, 3),
                "padding": (0, 1, 2, "sides"),
                "output_padding": (0, 1),
                "dilation": (1, 2),
                "bias": (True, False),
                "batch": (2, 1, None),
            },
            lambda **factors: _factored(transposed_variant, rank, **factors),
        )

    return variants


def _factored(make, rank, *, kernel, groups, padding, bias, batch, **params):
    """A variant of 4 channels; of kernel size "mixed", which differs along the axes, and with padding "sides", which
    differs before and after them. The small one has as few channels as its groups allow."""
    transposed = make is transposed_variant
    cells = (3, 1, 2)[:rank] if kernel == "mixed" else (kernel,) * rank
    padding = ((1, 0), (0, 2), (1, 1))[:rank] if padding == "sides" else padding

    def shapes(image, each, batch):
        inside, outside = (each, 1 if groups == 4 else each + 1)  # channels of each group
        x = (*(() if batch is None else (batch,)), inside * groups, *image[:rank])
        return x, ((inside * groups, outside) if transposed else (outside * groups, inside)) + cells

    image = (3, 2, 2) if transposed else (5, 4, 4) if rank == 3 else (8, 7)
    few = shapes((2, 2, 1) if transposed else (4, 3, 2), 1, batch and 1)
    return make(*shapes(image, max(4 // groups, 1), batch), bias, few, padding=padding, groups=groups, **params)


def _nested(values, depth):
    return [_nested(values, depth - 1)] if depth else values


def special(rank):
    """Infinity and NaN in a kernel (w, 1) that meets (padding, 1, padding): the first window gives 1, the second w."""
    return tuple(
        Special(
            (_nested([1.0], rank + 1), _nested([w, 1.0], rank + 1), None),
            _nested([(1, nan), w], rank + 1),
            (_nested([w], rank + 1), _nested([1, 1], rank + 1), None),
            "infinity or NaN times padding is left out, or formed and NaN",
            {"padding": (*[0] * (rank - 1), 1)},
        )
        for w in (inf, -inf, nan)
    )


def transposed_special(rank):
    """Infinity and NaN in a kernel (w, 1) that is put down once: w, and 1."""
    return tuple(
        Special(
            (_nested([1.0], rank + 1), _nested([w, 1.0], rank + 1), None),
            _nested([w, (1, nan)], rank + 1),
            (_nested([w], rank + 1), _nested([1, 1], rank + 1), None),
            "infinity or NaN times a zero put around x is left out, or formed and NaN",
        )
        for w in (inf, -inf, nan)
    )
