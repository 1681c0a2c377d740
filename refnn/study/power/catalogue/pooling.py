"""Maxima and means over windows of one, two and three axes, and over groups of channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import refnn
from refnn.study.power.mutant import Array, Forward, Mutant, Pair, Vjp, in_float64

Taps = Callable[[int, int, int, int, int, bool], Array]
RANKS = (1, 2, 3)


def axes_of(p: Mapping[str, Any], rank: int) -> list[tuple[int, int, int, int]]:
    """(kernel, stride, padding, dilation) of each axis."""
    values = [
        p["kernel_size"],
        p["kernel_size"] if p["stride"] is None else p["stride"],
        p["padding"],
        p.get("dilation", 1),
    ]
    return list(zip(*((v,) * rank if isinstance(v, int) else v for v in values), strict=True))


def starts(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool, *, keep: bool = False) -> Array:
    """Where the windows of one axis begin, as a column. `keep` keeps a last window that starts in the padding after the
    input."""
    room = n + 2 * p - d * (k - 1) - 1
    count = -(-room // s) + 1 if ceil_mode else room // s + 1
    if ceil_mode and not keep and (count - 1) * s >= n + p:
        count -= 1
    return np.arange(count)[:, None] * s - p


def taps(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> Array:
    """(windows, k): the cell under each tap of one axis."""
    return starts(n, k, s, p, d, ceil_mode) + np.arange(k) * d


def kept_taps(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> Array:
    return starts(n, k, s, p, d, ceil_mode, keep=True) + np.arange(k) * d


def unshifted_taps(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> Array:
    return taps(n, k, s, p, d, ceil_mode) + p


def undilated_taps(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> Array:
    return starts(n, k, s, p, d, ceil_mode) + np.arange(k)


def clipped_taps(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> Array:
    """A window that begins in the padding is moved to the first cell, and dilated from there up to its end."""
    first = starts(n, k, s, p, d, ceil_mode)
    moved = np.maximum(first, 0) + np.arange(k) * d
    return np.where(moved <= first + d * (k - 1), moved, -1)


def cells(x: Array, rank: int, p: Mapping[str, Any], taps: Taps = taps) -> tuple[list[int], Array, Array]:
    """The windows along each axis; for each window the flat index under each tap, -1 outside the input; and whether
    it lies in the input or its padding."""
    size = x.shape[-rank:]
    index, within = np.zeros((1, 1), int), np.ones((1, 1), bool)
    inside = within
    counts = []
    for n, (k, s, pad, d) in zip(size, axes_of(p, rank), strict=True):
        c = taps(n, k, s, pad, d, p["ceil_mode"])
        counts.append(len(c))

        def joined(a: Array, b: Array, combine: Any) -> Array:
            table = combine(a[:, None, :, None], b[None, :, None, :])
            return np.asarray(table).reshape(len(a) * len(b), -1)

        index = joined(index * n, c, np.add)
        inside = joined(inside, (c >= 0) & (c < n), np.logical_and)
        within = joined(within, c < n + pad, np.logical_and)
    return counts, np.where(inside, index, -1), within


def planes_of(x: Array, rank: int) -> Array:
    return x.reshape(-1, int(np.prod(x.shape[-rank:])))


def max_pool(rank: int, *, fill: float = -np.inf, maximum: Callable[..., Array] = np.max, taps: Taps = taps) -> Forward:
    def forward(x: Array, **p: Any) -> Array:
        counts, index, _ = cells(x, rank, p, taps)
        planes = planes_of(x, rank)
        padded = np.concatenate([planes, np.full((len(planes), 1), fill)], 1)
        return maximum(padded[:, index], axis=-1).reshape(*x.shape[:-rank], *counts)

    return forward


def first(top: Array) -> Array:
    """The first of the cells that are the maximum of their window takes all."""
    return (top & (np.cumsum(top, -1) == 1)).astype(float)


def split(top: Array) -> Array:
    return top / np.maximum(top.sum(-1, keepdims=True), 1)


def every(top: Array) -> Array:
    return top.astype(float)


def max_pool_vjp(
    rank: int,
    *,
    share: Callable[[Array], Array] = first,
    taps: Taps = taps,
    placed: Callable[[Mapping[str, Any]], Taps] | None = None,
    assigned: bool = False,
) -> Vjp:
    """`share` divides a cotangent among maxima; `taps` says where windows look, `placed` where their gradients go;
    `assigned` writes a gradient where it is to be added."""

    def vjp(g: Array, x: Array, **p: Any) -> Any:
        _, index, _ = cells(x, rank, p, taps)
        planes = planes_of(x, rank)
        values = np.concatenate([planes, np.full((len(planes), 1), -np.inf)], 1)[:, index]
        top = (values == values.max(-1, keepdims=True)) | np.isnan(values)
        top &= index >= 0
        given = np.where(top, share(top) * g.reshape(len(planes), len(index), 1), 0.0)
        if placed is not None:
            index = np.clip(cells(x, rank, p, placed(p))[1], 0, planes.shape[1] - 1)
        return (added(given, index, planes, np.where(top, given, 0) != 0 if assigned else None).reshape(x.shape),)

    return vjp


def added(shares: Array, index: Array, planes: Array, assigned: Array | None = None) -> Array:
    """What each tap of each window gives, added to its cell (or, where `assigned`, in its place); what lies in the
    padding is dropped."""
    total = np.zeros((len(planes), planes.shape[1] + 1))
    for i, (plane, share) in enumerate(zip(total, shares, strict=True)):
        if assigned is None:
            np.add.at(plane, index, share)
        else:
            plane[index[assigned[i]]] = share[assigned[i]]
    return total[:, :-1]


Divisor = Callable[[Array, Array, Mapping[str, Any]], Array]


def divisor(index: Array, within: Array, p: Mapping[str, Any]) -> Array:
    if p.get("divisor_override"):
        return np.full(len(index), p["divisor_override"])
    return within.sum(-1) if p["count_include_pad"] else (index >= 0).sum(-1)


def with_overhang(index: Array, within: Array, p: Mapping[str, Any]) -> Array:
    """What hangs over the padding counts, too."""
    return divisor(index, np.ones_like(within), p)


def override_forgotten(index: Array, within: Array, p: Mapping[str, Any]) -> Array:
    """divisor_override is not looked at where padding does not count."""
    return divisor(index, within, p if p["count_include_pad"] else {**p, "divisor_override": None})


def padding_counted(index: Array, within: Array, p: Mapping[str, Any]) -> Array:
    return divisor(index, within, {**p, "count_include_pad": True})


def avg_pool(rank: int, *, divisor: Divisor = divisor) -> Forward:
    def forward(x: Array, **p: Any) -> Array:
        counts, index, within = cells(x, rank, p)
        planes = planes_of(x, rank)
        sums = np.concatenate([planes, np.zeros((len(planes), 1))], 1)[:, index].sum(-1)
        return (sums / divisor(index, within, p)).reshape(*x.shape[:-rank], *counts)

    return forward


def avg_pool_vjp(rank: int, *, divisor: Divisor = divisor, taps: Taps = taps) -> Vjp:
    def vjp(g: Array, x: Array, **p: Any) -> Any:
        _, index, within = cells(x, rank, p)
        planes = planes_of(x, rank)
        shares = g.reshape(len(planes), len(index)) / divisor(index, within, p)
        spread = np.broadcast_to(shares[..., None], (*shares.shape, index.shape[1]))
        return (added(spread, cells(x, rank, p, taps)[1], planes).reshape(x.shape),)

    return vjp


def dilated_as_the_first(p: Mapping[str, Any]) -> Taps:
    """The dilation of the first axis on every axis."""
    dilation = p["dilation"] if isinstance(p["dilation"], int) else p["dilation"][0]

    def taps(n: int, k: int, s: int, pad: int, d: int, ceil_mode: bool) -> Array:
        return starts(n, k, s, pad, d, ceil_mode) + np.arange(k) * dilation

    return taps


def first_nan(values: Array, axis: int) -> Array:
    """A running maximum that takes what is greater: NaN stays only where it comes first."""
    moved = np.moveaxis(values, axis, 0)
    best = moved[0]
    for v in moved[1:]:
        best = np.where(v > best, v, best)
    return best


def from_the_lowest(values: Array, axis: int) -> Array:
    """A running maximum that starts at a number, below which is minus infinity, and takes what is greater."""
    start = np.full_like(values.take([0], axis), np.finfo(np.float32).min)
    return first_nan(np.concatenate([start, values], axis), axis)


# --- maxout ----------------------------------------------------------------------------------------------------------


def interleaved(x: Array, groups: int) -> Array:
    """The channels in an order in which consecutive ones are those that are a group apart."""
    n, c, *rest = x.shape
    return x.reshape(n, c // groups, groups, *rest).swapaxes(1, 2).reshape(x.shape)


def returned(x: Array, groups: int) -> Array:
    """The channels in their own order again."""
    n, c, *rest = x.shape
    return x.reshape(n, groups, c // groups, *rest).swapaxes(1, 2).reshape(x.shape)


def maxout_to_every_maximum(g: Array, x: Array, *, groups: int) -> Any:
    parts = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    top = (parts == parts.max(2, keepdims=True, initial=-np.inf)) | np.isnan(parts)
    return (np.where(top, np.expand_dims(g, 2), 0.0).reshape(x.shape),)


# --- the tables ------------------------------------------------------------------------------------------------------

RIGHT: Mapping[str, Pair] = {
    **{f"max_pool{r}d": (in_float64(max_pool(r)), in_float64(max_pool_vjp(r))) for r in RANKS},
    **{f"avg_pool{r}d": (in_float64(avg_pool(r)), in_float64(avg_pool_vjp(r))) for r in RANKS},
}


def of_ranks(
    op: str,
    bug: str,
    what: str,
    forward: Callable[[int], Forward] | None = None,
    vjp: Callable[[int], Vjp] | None = None,
    ranks: tuple[int, ...] = RANKS,
    **more: Any,
) -> tuple[Mutant, ...]:
    """A mutant of a pool over one, two and three axes."""
    return tuple(
        Mutant(
            f"{op}{r}d",
            bug,
            what,
            forward=None if forward is None else in_float64(forward(r)),
            vjp=None if vjp is None else in_float64(vjp(r)),
            **more,
        )
        for r in ranks
    )


MUTANTS = (
    *of_ranks(
        "avg_pool",
        "apple/coremltools PR2844",
        "overhang counted",
        lambda r: avg_pool(r, divisor=with_overhang),
        lambda r: avg_pool_vjp(r, divisor=with_overhang),
    ),
    *of_ranks(
        "avg_pool",
        "tracel-ai/burn#5604",
        "overhang counted by the gradient",
        vjp=lambda r: avg_pool_vjp(r, divisor=with_overhang),
    ),
    *of_ranks(
        "avg_pool",
        "pytorch/executorch PR18616",
        "divisor_override forgotten without padding",
        lambda r: avg_pool(r, divisor=override_forgotten),
        lambda r: avg_pool_vjp(r, divisor=override_forgotten),
        ranks=(2, 3),
    ),
    *of_ranks(
        "avg_pool",
        "VeriSilicon/TIM-VX#423",
        "padding always counted",
        lambda r: avg_pool(r, divisor=padding_counted),
        lambda r: avg_pool_vjp(r, divisor=padding_counted),
    ),
    *of_ranks(
        "avg_pool",
        "pytorch/pytorch#188344",
        "padding forgotten",
        vjp=lambda r: avg_pool_vjp(r, taps=unshifted_taps),
    ),
    *of_ranks(
        "max_pool",
        "pytorch/pytorch#45357",
        "a window that starts behind the input",
        lambda r: max_pool(r, taps=kept_taps),
    ),
    *of_ranks(
        "max_pool",
        "FluxML/NNlib.jl#133",
        "indices without the padding",
        vjp=lambda r: max_pool_vjp(r, placed=lambda p: unshifted_taps),
    ),
    *of_ranks(
        "max_pool",
        "CanReader/FastNN#4",
        "no dilation",
        lambda r: max_pool(r, taps=undilated_taps),
        lambda r: max_pool_vjp(r, taps=undilated_taps),
    ),
    *of_ranks(
        "max_pool",
        "microsoft/onnxruntime#29637",
        "a dilated window is moved to the first cell",
        lambda r: max_pool(r, taps=clipped_taps),
        lambda r: max_pool_vjp(r, taps=clipped_taps),
    ),
    *of_ranks(
        "max_pool",
        "tracel-ai/burn PR4466",
        "the dilation of the first axis on all",
        vjp=lambda r: max_pool_vjp(r, placed=dilated_as_the_first),
        ranks=(2, 3),
    ),
    *of_ranks(
        "max_pool",
        "ahrefs/ocannl#512",
        "gradients of overlapping windows written over each other",
        vjp=lambda r: max_pool_vjp(r, assigned=True),
    ),
    *of_ranks(
        "max_pool",
        "facebookresearch/CrypTen PR90",
        "zeros in the padding",
        lambda r: max_pool(r, fill=0.0),
    ),
    *of_ranks(
        "max_pool",
        "pytorch/pytorch#7645",
        "NaN is passed over",
        lambda r: max_pool(r, maximum=np.fmax.reduce),
    ),
    *of_ranks(
        "max_pool",
        "tracel-ai/burn PR5662",
        "NaN counts only where it comes first",
        lambda r: max_pool(r, maximum=first_nan),
    ),
    *of_ranks(
        "max_pool",
        "tensorflow/tensorflow#2501",
        "a maximum that starts at the lowest number",
        lambda r: max_pool(r, maximum=from_the_lowest),
    ),
    *of_ranks(
        "max_pool",
        "",
        "the whole gradient to every maximum",
        vjp=lambda r: max_pool_vjp(r, share=every),
    ),
    *of_ranks(
        "max_pool",
        "pytorch/pytorch PR43519",
        "tie=split",
        vjp=lambda r: max_pool_vjp(r, share=split),
        kind="convention",
    ),
    Mutant(
        "maxout",
        "",
        "every k-th channel for consecutive ones",
        forward=lambda x, *, groups: refnn.maxout(interleaved(x, groups), groups=groups),
        vjp=lambda g, x, *, groups: (returned(refnn.maxout.vjp(g, interleaved(x, groups), groups=groups)[0], groups),),
    ),
    Mutant("maxout", "", "the whole gradient to every maximum", vjp=in_float64(maxout_to_every_maximum)),
)
