"""Convolutions, transposed convolutions, and the layer whose kernel differs from place to place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import refnn
from refnn.arithmetic.windows import Windows, per_axis, sides
from refnn.study.power.mutant import Array, Mutant, Pair, in_float64, narrow, regraded, with_params


def geometry(x: Array, weight: Array, p: Mapping[str, Any]) -> Windows:
    rank = weight.ndim - 2
    placing = {k: p[k] for k in ("stride", "padding", "dilation")}
    return Windows.over(x.shape[x.ndim - rank :], weight.shape[2:], **placing)


def all_groups(g: Array, x: Array, weight: Array, bias: Array | None, *, groups: int, **p: Any) -> Any:
    """The gradient of the weight from the channels of every group at once."""
    axis = x.ndim - (weight.ndim - 1)
    shape = x.shape
    parts = x.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    together = np.broadcast_to(parts.sum(axis, keepdims=True), parts.shape).reshape(shape)
    gx, _, gb = refnn.conv2d.vjp(g, x, weight, bias, groups=groups, **p)
    return gx, refnn.conv2d.vjp(g, together, weight, bias, groups=groups, **p)[1], gb


def same(kernel: tuple[int, ...], dilation: tuple[int, ...], *, before: bool = False) -> tuple[tuple[int, int], ...]:
    """Padding "same" as pairs; `before` puts the larger half there."""
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple(((r + 1) // 2, r // 2) if before else (r // 2, (r + 1) // 2) for r in reach)


def same_of_the_other_axis(
    x: Array, weight: Array, bias: Array | None, *, padding: Any, dilation: Any, **p: Any
) -> Any:
    """Padding "same" from each axis's kernel and the other's dilation."""
    if padding == "same":
        padding = same(weight.shape[2:], per_axis(dilation, 2)[::-1])
    return refnn.conv2d(x, weight, bias, padding=padding, dilation=dilation, **p)


def same_with_more_before(x: Array, weight: Array, bias: Any, *, padding: Any, dilation: Any, **p: Any) -> Any:
    kernel = weight.shape[2:]
    return {"padding": same(kernel, per_axis(dilation, len(kernel)), before=True)} if padding == "same" else {}


def without_the_rest(grads: Any, g: Array, x: Array, weight: Array, bias: Array | None, **p: Any) -> Any:
    """The gradient of x, zero where a transposed convolution without output padding does not reach: in the cells that
    are left over where the stride does not divide."""
    w = geometry(x, weight, p)
    gx = grads[0].copy()
    pads = sides(p["padding"], weight.shape[2:], w.dilation)
    for axis, (n, k, s, d, pad) in enumerate(zip(w.size, w.kernel, w.stride, w.dilation, pads, strict=True)):
        rest = (n + sum(pad) - d * (k - 1) - 1) % s
        if rest:
            np.moveaxis(gx, axis - len(w.size), 0)[-rest:] = 0
    return gx, *grads[1:]


def placed_otherwise(
    arrays: tuple[Array, ...], p: Mapping[str, Any], stride: tuple[int, ...] | None, dilation: tuple[int, ...] | None
) -> Any:
    """The gradients as if the same windows had another stride or dilation, none above the right one."""
    g, x, weight, bias = arrays
    w = geometry(x, weight, p)
    stride, dilation = stride or w.stride, dilation or w.dilation
    pads = sides(p["padding"], weight.shape[2:], w.dilation)
    lead = [(0, 0)] * (x.ndim - len(pads))
    padded = np.pad(x, [*lead, *pads])
    reach = [(c - 1) * s + d * (k - 1) + 1 for c, s, d, k in zip(w.count, stride, dilation, w.kernel, strict=True)]
    part: Any = (..., *(slice(0, r) for r in reach))
    placing = {"stride": stride, "dilation": dilation, "groups": p["groups"]}
    gx, gw, gb = refnn.ops[f"conv{len(reach)}d"].vjp(g, padded[part], weight, bias, **placing)
    whole = np.zeros_like(padded)
    whole[part] = gx
    inner: Any = (..., *(slice(a, a + n) for (a, _), n in zip(pads, w.size, strict=True)))
    return whole[inner], gw, gb


def with_stride_one(*arrays: Array, **p: Any) -> Any:
    return placed_otherwise(arrays, p, (1,) * (arrays[2].ndim - 2), None)


def undilated_in_groups(grads: Any, *arrays: Array, **p: Any) -> Any:
    """With groups, the gradient of the weight without dilation."""
    if p["groups"] == 1:
        return grads
    return grads[0], placed_otherwise(arrays, p, None, (1,) * (arrays[2].ndim - 2))[1], grads[2]


def unstrided_in_groups(grads: Any, *arrays: Array, **p: Any) -> Any:
    """With groups, the gradient of the weight without stride."""
    if p["groups"] == 1:
        return grads
    return grads[0], placed_otherwise(arrays, p, (1,) * (arrays[2].ndim - 2), None)[1], grads[2]


def windows_of(g: Array, weight: Array) -> int:
    """The number of windows in a sample."""
    return int(np.prod(g.shape[2 - weight.ndim :]))


def zero_tail(y: Array, extra: tuple[int, ...]) -> Array:
    """y with zeros in the cells that an output padding adds."""
    y = y.copy()
    for axis, cells in enumerate(extra):
        if cells:
            np.moveaxis(y, axis - len(extra), 0)[-cells:] = 0
    return y


def flipped(weight: Array) -> Array:
    return np.flip(weight, tuple(range(2, weight.ndim)))


def mirrored(op: str) -> dict[str, Any]:
    """Forward and vjp, consistent with each other, with the kernel the other way round."""

    def vjp(g: Array, x: Array, weight: Array, bias: Array | None, **p: Any) -> Any:
        gx, gw, gb = refnn.ops[op].vjp(g, x, flipped(weight), bias, **p)
        return gx, flipped(gw), gb

    return {
        "forward": in_float64(lambda x, w, b, **p: refnn.ops[op](x, flipped(w), b, **p)),
        "vjp": in_float64(vjp),
    }


def shared(weight: Array) -> Array:
    """The kernel of the first place at every place."""
    return np.broadcast_to(weight[:, :, :1, :1], weight.shape)


def shared_vjp(g: Array, x: Array, weight: Array, bias: Array | None, **p: Any) -> Any:
    grads: Any = refnn.locally_connected2d.vjp(g, x, shared(weight), bias, **p)
    gx, gw, gb = grads
    first = np.zeros_like(gw)
    first[:, :, :1, :1] = gw.sum((2, 3), keepdims=True)
    return gx, first, gb


RIGHT: Mapping[str, Pair] = {}

MUTANTS = (
    Mutant("conv2d", "pytorch/pytorch#51430", "every group's channels", vjp=in_float64(all_groups)),
    Mutant(
        "conv2d",
        "tinygrad/tinygrad PR17805",
        "the other axis's dilation",
        forward=in_float64(same_of_the_other_axis),
    ),
    *(
        Mutant(
            f"conv{r}d",
            "kornia/kornia#709",
            "the larger half of an odd padding before",
            **with_params(f"conv{r}d", same_with_more_before),
        )
        for r in (1, 2, 3)
    ),
    *(
        Mutant(
            f"conv{r}d",
            "mila-iqia/myia PR338",
            "zeros where the stride leaves a rest",
            vjp=regraded(f"conv{r}d", without_the_rest),
        )
        for r in (1, 2, 3)
    ),
    *(
        Mutant(f"conv{r}d", "enggen/Deep-Learning-Coursera#7", "a stride of 1", vjp=in_float64(with_stride_one))
        for r in (1, 2, 3)
    ),
    *(
        Mutant(
            f"conv{r}d",
            "tracel-ai/burn PR1891",
            "with groups, the weight's gradient without stride",
            vjp=regraded(f"conv{r}d", unstrided_in_groups),
        )
        for r in (1, 2, 3)
    ),
    *(
        Mutant(
            f"conv{r}d",
            "",
            "with groups, the weight's gradient without dilation",
            vjp=regraded(f"conv{r}d", undilated_in_groups),
        )
        for r in (1, 2, 3)
    ),
    Mutant(
        "conv2d",
        "sebgao/cTensor#3",
        "the weight's gradient averaged over samples and windows",
        vjp=regraded(
            "conv2d",
            lambda grads, g, x, w, b, **p: (grads[0], grads[1] / (g.size // w.shape[0] or 1), grads[2]),
        ),
    ),
    Mutant(
        "conv2d",
        "Oneflow-Inc/oneflow PR255",
        "gradients of weight and bias over the number of windows",
        vjp=regraded(
            "conv2d",
            lambda grads, g, x, w, b, **p: (
                grads[0],
                *(None if v is None else v / windows_of(g, w) for v in grads[1:]),
            ),
        ),
    ),
    Mutant(
        "conv2d",
        "",
        "x and weight rounded to a narrower format",
        forward=lambda x, w, b, **p: refnn.conv2d(narrow(x).astype(x.dtype), narrow(w).astype(w.dtype), b, **p),
    ),
    Mutant(
        "conv2d",
        "",
        "the bias's gradient of the first sample",
        vjp=in_float64(
            lambda g, x, w, b, **p: (
                *refnn.conv2d.vjp(g, x, w, b, **p)[:2],
                None if b is None else g.reshape(-1, *g.shape[-3:])[:1].sum((0, 2, 3)),
            )
        ),
    ),
    Mutant("conv1d", "", "the kernel mirrored", **mirrored("conv1d")),
    Mutant(
        "conv3d",
        "",
        "no gradient for the last tap",
        vjp=regraded(
            "conv3d",
            lambda grads, g, x, w, b, **p: (
                grads[0],
                np.where(np.arange(w.shape[-1]) < w.shape[-1] - 1, grads[1], 0),
                grads[2],
            ),
        ),
    ),
    Mutant(
        "conv3d",
        "",
        "gradients of the first two axes of the kernel swapped",
        vjp=regraded(
            "conv3d",
            lambda grads, g, x, w, b, **p: (
                grads[0],
                grads[1].swapaxes(2, 3).reshape(w.shape),
                grads[2],
            ),
        ),
    ),
    *(
        Mutant(
            f"conv_transpose{r}d",
            "apache/tvm PR5758",
            "output padding filled with zeros",
            forward=in_float64(
                lambda x, w, b, op=f"conv_transpose{r}d", r=r, **p: zero_tail(
                    refnn.ops[op](x, w, b, **p), per_axis(p["output_padding"], r)
                )
            ),
            vjp=in_float64(
                lambda g, x, w, b, op=f"conv_transpose{r}d", r=r, **p: refnn.ops[op].vjp(
                    zero_tail(g, per_axis(p["output_padding"], r)), x, w, b, **p
                )
            ),
        )
        for r in (1, 2, 3)
    ),
    Mutant("conv_transpose1d", "", "the kernel mirrored", **mirrored("conv_transpose1d")),
    Mutant(
        "conv_transpose2d",
        "",
        "the weight's gradient of each group in the next one",
        vjp=regraded(
            "conv_transpose2d",
            lambda grads, g, x, w, b, **p: (
                grads[0],
                np.roll(grads[1], w.shape[0] // p["groups"], 0) if p["groups"] > 1 else grads[1],
                grads[2],
            ),
        ),
    ),
    Mutant(
        "conv_transpose3d",
        "",
        "no bias",
        forward=in_float64(lambda x, w, b, **p: refnn.conv_transpose3d(x, w, None, **p)),
        vjp=regraded(
            "conv_transpose3d",
            lambda grads, g, x, w, b, **p: (*grads[:2], None if b is None else np.zeros_like(b)),
        ),
    ),
    Mutant(
        "locally_connected2d",
        "",
        "one kernel for all places",
        forward=in_float64(lambda x, w, b, **p: refnn.locally_connected2d(x, shared(w), b, **p)),
        vjp=in_float64(shared_vjp),
    ),
    Mutant(
        "locally_connected2d",
        "",
        "the weight's gradient averaged over the batch",
        vjp=regraded(
            "locally_connected2d",
            lambda grads, g, x, w, b, **p: (grads[0], grads[1] / (len(x) if x.ndim == 4 and len(x) else 1), grads[2]),
        ),
    ),
)
