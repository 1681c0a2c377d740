"""Wrong on purpose: implementations with the bugs that frameworks have had, each of which a default check must find.

A mutant is written in NumPy, and what is mutated conforms before, so that nothing but its mutation is found. `kind`
says what must come out: "wrong" is found, "convention" is named and conforms, "equivalent" is not flagged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

import refnn

Array = np.ndarray
Forward = Callable[..., Any]
Vjp = Callable[..., Any]
FOUND = {"violation", "special", "error"}


@dataclass(frozen=True)
class Mutant:
    """`bug` is the issue or pull request that it is modelled on; a missing half is refnn's own."""

    op: str
    bug: str
    what: str
    forward: Forward | None = None
    vjp: Vjp | None = None
    kind: str = "wrong"
    dtype: str = "float32"


def in_float64(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` on float64 arrays, its results rounded to the dtype that came."""

    def rounded(*arrays: Any, **params: Any) -> Any:
        dtype = next(a.dtype for a in arrays if a is not None and a.dtype.kind == "f")
        wide = [a.astype(np.float64) if a is not None and a.dtype.kind == "f" else a for a in arrays]
        results = f(*wide, **params)
        if isinstance(results, tuple):
            return tuple(None if r is None else np.asarray(r).astype(dtype) for r in results)
        return np.asarray(results).astype(dtype)

    return rounded


# --- softmax, log_softmax --------------------------------------------------------------------------------------------


def softmax(x: Array, *, axis: int, shift: Callable[[Array, int], Any] | None = None) -> Array:
    shift = shift or (lambda x, axis: x.max(axis=axis, keepdims=True, initial=-np.inf))
    e = np.exp(x - shift(x, axis))
    return e / e.sum(axis=axis, keepdims=True)


def softmax_of(shift: Callable[[Array, int], Any]) -> Forward:
    """In the dtype that came: the overflow of its exponential is what is looked for."""
    return lambda x, *, axis: softmax(x, axis=axis, shift=shift)


def softmax_vjp(g: Array, x: Array, *, axis: int) -> Any:
    y = softmax(x, axis=axis)
    return (y * (g - (g * y).sum(axis=axis, keepdims=True)),)


def log_softmax(x: Array, *, axis: int) -> Array:
    d = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))


def log_softmax_vjp(g: Array, x: Array, *, axis: int) -> Any:
    return (g - softmax(x, axis=axis) * g.sum(axis=axis, keepdims=True),)


# --- cross_entropy ---------------------------------------------------------------------------------------------------


def column(weight: Array | None, z: Array, axis: int) -> Any:
    """The class weights along their axis."""
    return 1.0 if weight is None else weight.reshape([-1 if a == axis else 1 for a in range(z.ndim)])


def one_hot(target: Array, x: Array, axis: int) -> Array:
    return np.moveaxis(np.eye(x.shape[axis], dtype=x.dtype)[target], -1, axis)


def counted(target: Array, weight: Array | None, valid: Array) -> float:
    """What a mean divides by."""
    return float(valid.sum() if weight is None else weight[target[valid]].sum())


@dataclass(frozen=True)
class CrossEntropy:
    """Of class indices; each field is one place where implementations have gone wrong."""

    picked: Callable[[Array, Array, Array, int], Array] = lambda hit, wz, t, axis: np.take_along_axis(
        wz, np.expand_dims(t, axis), axis
    ).squeeze(axis)
    spread: Callable[[Array, Array, float, int], Array] = lambda own, total, eps, classes: (
        (1 - eps) * own + eps / classes * total
    )
    ignored: Callable[[Array, Array, Array, float, int], Array] = lambda valid, loss, total, eps, classes: np.where(
        valid, loss, 0.0
    )
    mean: Callable[[Array, float], Any] = lambda losses, count: np.divide(losses.sum(), losses.dtype.type(count))

    def forward(self, x: Array, target: Array, **p: Any) -> Any:
        if target.dtype.kind == "f":
            return refnn.cross_entropy(x, target, **p)
        axis = min(1, x.ndim - 1)
        classes, eps = x.shape[axis], p["label_smoothing"]
        valid = target != p["ignore_index"]
        t, z = np.where(valid, target, 0), log_softmax(x, axis=axis)
        weights = column(p["weight"], z, axis)
        wz = weights * z
        own = self.picked(one_hot(t, x, axis), wz, t, axis)
        loss = self.spread(own, wz.sum(axis), eps, classes) if eps else own
        losses = -self.ignored(valid, loss, wz.sum(axis), eps, classes)
        if p["reduction"] != "mean":
            return losses if p["reduction"] == "none" else losses.sum()
        return self.mean(losses, counted(target, p["weight"], valid))


def cross_entropy_vjp(
    g: Array,
    x: Array,
    target: Array,
    *,
    smoothed: Callable[..., Array] = lambda hit, eps, classes: (1 - eps) * hit + eps / classes,
    kept: Callable[[Array, Array], Array] = lambda valid, gx: np.where(valid, gx, 0.0),
    **p: Any,
) -> Any:
    if target.dtype.kind == "f":
        return refnn.cross_entropy.vjp(g, x, target, **p)
    axis = min(1, x.ndim - 1)
    valid = target != p["ignore_index"]
    t = np.where(valid, target, 0)
    hit = one_hot(t, x, axis)
    weights = column(p["weight"], x, axis)
    own = np.expand_dims(
        np.take_along_axis(weights * np.ones_like(x), np.expand_dims(t, axis), axis).squeeze(axis), axis
    )
    eps, classes = p["label_smoothing"], x.shape[axis]
    # Without weights 1 - eps and eps/C are one distribution; with them each part has weights of its own.
    q = (
        smoothed(hit, eps, classes) * weights
        if p["weight"] is None
        else (1 - eps) * hit * own + eps / classes * weights
    )
    if p["reduction"] == "mean":
        g = np.divide(g, g.dtype.type(counted(target, p["weight"], valid)))
    gq = (np.expand_dims(g, axis) if p["reduction"] == "none" else g) * q
    gx = softmax(x, axis=axis) * gq.sum(axis, keepdims=True) - gq
    return kept(np.expand_dims(valid, axis), gx), None


def off_target(own: Array, total: Array, eps: float, classes: int) -> Array:
    return (1 - eps) * own + eps / max(classes - 1, 1) * (total - own)


# --- pooling ---------------------------------------------------------------------------------------------------------


def axes_of(p: Mapping[str, Any], rank: int) -> list[tuple[int, int, int, int]]:
    """(kernel, stride, padding, dilation) of each axis."""
    values = [
        p["kernel_size"],
        p["kernel_size"] if p["stride"] is None else p["stride"],
        p["padding"],
        p.get("dilation", 1),
    ]
    return list(zip(*((v,) * rank if isinstance(v, int) else v for v in values), strict=True))


def taps(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool, *, keep: bool = False, shift: bool = True) -> Array:
    """(windows, k): the cell under each tap of one axis. `keep` keeps a last window that starts in the padding after
    the input, `shift` subtracts the padding."""
    room = n + 2 * p - d * (k - 1) - 1
    count = -(-room // s) + 1 if ceil_mode else room // s + 1
    if ceil_mode and not keep and (count - 1) * s >= n + p:
        count -= 1
    return np.arange(count)[:, None] * s - (p if shift else 0) + np.arange(k) * d


def cells(x: Array, rank: int, p: Mapping[str, Any], **how: bool) -> tuple[list[int], Array, Array]:
    """The windows along each axis; for each window the flat index under each tap, -1 outside the input; and whether
    it lies in the input or its padding."""
    size = x.shape[-rank:]
    index, within = np.zeros((1, 1), int), np.ones((1, 1), bool)
    inside = within
    counts = []
    for n, (k, s, pad, d) in zip(size, axes_of(p, rank), strict=True):
        c = taps(n, k, s, pad, d, p["ceil_mode"], **how)
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


def max_pool(rank: int, *, fill: float = -np.inf, **how: bool) -> Forward:
    def forward(x: Array, **p: Any) -> Array:
        counts, index, _ = cells(x, rank, p, **how)
        planes = planes_of(x, rank)
        padded = np.concatenate([planes, np.full((len(planes), 1), fill)], 1)
        return padded[:, index].max(-1).reshape(*x.shape[:-rank], *counts)

    return forward


def max_pool_vjp(rank: int, *, split: bool = False, shift: bool = True) -> Vjp:
    def vjp(g: Array, x: Array, **p: Any) -> Any:
        _, index, _ = cells(x, rank, p)
        planes = planes_of(x, rank)
        values = np.concatenate([planes, np.full((len(planes), 1), -np.inf)], 1)[:, index]
        top = (values == values.max(-1, keepdims=True)) | np.isnan(values)
        top &= index >= 0
        if not split:
            top &= np.cumsum(top, -1) == 1
        shares = np.where(top, (g.reshape(len(planes), len(index)) / np.maximum(top.sum(-1), 1))[..., None], 0.0)
        if not shift:
            index = np.clip(cells(x, rank, p, shift=False)[1], 0, planes.shape[1] - 1)
        return (added(shares, index, planes).reshape(x.shape),)

    return vjp


def added(shares: Array, index: Array, planes: Array) -> Array:
    """What each tap of each window gives, added to its cell; what lies in the padding is dropped."""
    total = np.zeros((len(planes), planes.shape[1] + 1))
    for plane, share in zip(total, shares, strict=True):
        np.add.at(plane, index, share)
    return total[:, :-1]


def divisor(index: Array, within: Array, p: Mapping[str, Any], *, overhang: bool = False) -> Array:
    if p.get("divisor_override"):
        return np.full(len(index), p["divisor_override"])
    if not p["count_include_pad"]:
        return (index >= 0).sum(-1)
    return np.full(len(index), index.shape[1]) if overhang else within.sum(-1)


def avg_pool(rank: int, *, overhang: bool = False) -> Forward:
    def forward(x: Array, **p: Any) -> Array:
        counts, index, within = cells(x, rank, p)
        planes = planes_of(x, rank)
        sums = np.concatenate([planes, np.zeros((len(planes), 1))], 1)[:, index].sum(-1)
        return (sums / divisor(index, within, p, overhang=overhang)).reshape(*x.shape[:-rank], *counts)

    return forward


def avg_pool_vjp(rank: int, *, shift: bool = True) -> Vjp:
    def vjp(g: Array, x: Array, **p: Any) -> Any:
        _, index, within = cells(x, rank, p)
        planes = planes_of(x, rank)
        shares = g.reshape(len(planes), len(index)) / divisor(index, within, p)
        placed = index if shift else cells(x, rank, p, shift=False)[1]
        return (
            added(np.broadcast_to(shares[..., None], (*shares.shape, index.shape[1])), placed, planes).reshape(x.shape),
        )

    return vjp


# --- losses and dropout ----------------------------------------------------------------------------------------------


def bce_vjp(g: Array, x: Array, t: Array, *, weight: Any, pos_weight: Any, reduction: str, at_zero: bool = True) -> Any:
    """By exp(-|x|). Differentiated through |x| and max(x, 0) with the derivative 0 at 0, sigma(0) is lost."""
    if pos_weight is not None:
        return refnn.binary_cross_entropy_with_logits.vjp(
            g, x, t, weight=weight, pos_weight=pos_weight, reduction=reduction
        )
    e = np.exp(-np.abs(x))
    # sigma(x) - t with sigma(-x) taken together with 1 - t: no digits cancel where sigma(x) is nearly 1 and so is t.
    slope = np.where(x > 0, (1 - t) - e / (1 + e), e / (1 + e) - t)
    scale = g * (1.0 if weight is None else weight) / (x.size if reduction == "mean" else 1)
    return np.where(at_zero | (x != 0), slope, -t) * scale, -x * scale


def smooth_l1_vjp(g: Array, x: Array, t: Array, *, beta: float, reduction: str, guarded: bool = True) -> Any:
    """Without the guard divided by beta before it is asked whether beta is 0."""
    d = x - t
    quadratic = (np.abs(d) < beta) if guarded else (np.abs(d) <= beta)
    slope = np.where(quadratic, d / np.float64(beta), np.sign(d))
    gx = slope * g / (x.size if reduction == "mean" else 1)
    return gx, -gx


def dropout(x: Array, mask: Array, *, p: float) -> Array:
    return np.zeros_like(x) if p == 1 else mask * x / (1 - p)


def dropout_vjp(g: Array, x: Array, mask: Array, *, p: float) -> Any:
    return dropout(g, mask, p=p), None


# --- convolution -----------------------------------------------------------------------------------------------------


def all_groups(g: Array, x: Array, weight: Array, bias: Array | None, *, groups: int, **p: Any) -> Any:
    """The gradient of the weight from the channels of every group at once."""
    axis = x.ndim - (weight.ndim - 1)
    shape = x.shape
    parts = x.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    together = np.broadcast_to(parts.sum(axis, keepdims=True), parts.shape).reshape(shape)
    gx, _, gb = refnn.conv2d.vjp(g, x, weight, bias, groups=groups, **p)
    return gx, refnn.conv2d.vjp(g, together, weight, bias, groups=groups, **p)[1], gb


def same_of_the_other_axis(
    x: Array, weight: Array, bias: Array | None, *, padding: Any, dilation: Any, **p: Any
) -> Any:
    """Padding "same" from each axis's kernel and the other's dilation."""
    if padding == "same":
        d = (dilation, dilation) if isinstance(dilation, int) else dilation
        reach = [b * (k - 1) for k, b in zip(weight.shape[2:], reversed(d), strict=True)]
        padding = tuple((r // 2, r - r // 2) for r in reach)
    return refnn.conv2d(x, weight, bias, padding=padding, dilation=dilation, **p)


# --- piecewise activations -------------------------------------------------------------------------------------------


def elu_vjp(g: Array, x: Array, *, alpha: float) -> Any:
    return (np.where(x > 0, g, g * alpha * np.exp(np.minimum(x, 0))),)


def elu_vjp_of_output(g: Array, x: Array, *, alpha: float) -> Any:
    """By the sign of the output, which is not that of x where alpha is negative."""
    y = np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
    return (np.where(y > 0, g, g * (y + alpha)),)


def elu_vjp_by_masks(g: Array, x: Array, *, alpha: float) -> Any:
    return (g * ((x > 0) + (x <= 0) * alpha * np.exp(x)),)


LAMBDA, ALPHA = 1.0507009873554805, 1.6732632423543772


def selu_vjp(g: Array, x: Array, *, scaled_again: bool = False) -> Any:
    """From the output lambda alpha (exp(x) - 1), which holds lambda already."""
    e = np.expm1(np.minimum(x, 0))
    below = (LAMBDA * ALPHA * e + ALPHA) * LAMBDA if scaled_again else LAMBDA * ALPHA * np.exp(np.minimum(x, 0))
    return (g * np.where(x > 0, LAMBDA, below),)


def hardsigmoid_vjp(g: Array, x: Array, *, lower: bool = True) -> Any:
    return (np.where((x < 3) & ((x > -3) | (not lower)), g / 6, 0.0),)


def closed_hardtanh_vjp(g: Array, x: Array, *, min_val: float, max_val: float) -> Any:
    return (np.where((x >= min_val) & (x <= max_val), g, 0.0),)


def prelu_on_the_last_axis(x: Array, weight: Array) -> Array:
    """Right wherever the weights do not fit there."""
    if x.ndim < 3 or weight.size == 1 or x.shape[-1] != weight.size:
        return refnn.prelu(x, weight)
    return np.where(x > 0, x, weight * x)


# --- smooth activations, logsumexp -----------------------------------------------------------------------------------


def logsumexp_vjp(g: Array, x: Array, *, axis: int, keepdims: bool) -> Any:
    """By exp(x - y), which is NaN where y is minus infinity."""
    y, g = refnn.logsumexp(x, axis=axis, keepdims=True), g if keepdims else np.expand_dims(g, axis)
    return (g * np.exp(x - y),)


def logsigmoid_vjp(g: Array, x: Array) -> Any:
    """Through min(x, 0) and |x|, both with the derivative 0 at 0."""
    e = np.exp(-np.abs(x))
    return (np.where(x == 0, 0.0, g * np.where(x > 0, e, 1.0) / (1 + e)),)


def softplus_vjp(g: Array, x: Array, *, beta: float, threshold: float | None, of_output: bool = False) -> Any:
    z = beta * x
    e = np.exp(-np.abs(z))
    slope = np.where(z > 0, 1.0, e) / (1 + e)
    if threshold is None:
        return (g * slope,)
    decided = np.maximum(z, 0) + np.log1p(e) if of_output else z
    return (g * np.where(decided > threshold, 1.0, slope),)


def softplus_vjp_by_reciprocal(g: Array, x: Array, *, beta: float, threshold: float | None) -> Any:
    """In the dtype that came: exp overflows, and infinity times zero is NaN."""
    kind = x.dtype.type
    e = np.exp(kind(beta) * x)
    slope = e * (1 / (e + 1))
    return (g * (slope if threshold is None else np.where(kind(beta) * x > threshold, kind(1), slope)),)


def silu_vjp(g: Array, x: Array) -> Any:
    e = np.exp(x)
    return (g * e * (1 + e + x) / (1 + e) ** 2,)


# --- the tables ------------------------------------------------------------------------------------------------------

# Op -> the implementation that is mutated, unmutated.
RIGHT: Mapping[str, tuple[Forward, Vjp]] = {
    "softmax": (softmax, softmax_vjp),
    "log_softmax": (log_softmax, log_softmax_vjp),
    "cross_entropy": (CrossEntropy().forward, cross_entropy_vjp),
    "binary_cross_entropy_with_logits": (refnn.binary_cross_entropy_with_logits, in_float64(bce_vjp)),
    "smooth_l1_loss": (refnn.smooth_l1_loss, in_float64(smooth_l1_vjp)),
    "elu": (refnn.elu, in_float64(elu_vjp)),
    "selu": (refnn.selu, in_float64(selu_vjp)),
    "hardsigmoid": (refnn.hardsigmoid, in_float64(hardsigmoid_vjp)),
    "softplus": (refnn.softplus, in_float64(softplus_vjp)),
    "dropout": (in_float64(dropout), in_float64(dropout_vjp)),
    "max_pool1d": (in_float64(max_pool(1)), in_float64(max_pool_vjp(1))),
    "max_pool2d": (in_float64(max_pool(2)), in_float64(max_pool_vjp(2))),
    "max_pool3d": (in_float64(max_pool(3)), in_float64(max_pool_vjp(3))),
    "avg_pool1d": (in_float64(avg_pool(1)), in_float64(avg_pool_vjp(1))),
    "avg_pool2d": (in_float64(avg_pool(2)), in_float64(avg_pool_vjp(2))),
    "avg_pool3d": (in_float64(avg_pool(3)), in_float64(avg_pool_vjp(3))),
}


def of_ranks(op: str, bug: str, what: str, forward: Any = None, vjp: Any = None, **more: Any) -> list[Mutant]:
    """A mutant of a pool over one, two and three axes."""
    return [
        Mutant(
            f"{op}{r}d",
            bug,
            what,
            forward=forward and in_float64(forward(r)),
            vjp=vjp and in_float64(vjp(r)),
            **more,
        )
        for r in (1, 2, 3)
    ]


def ce(**twist: Any) -> Forward:
    return CrossEntropy(**twist).forward


def ce_vjp(**twist: Any) -> Vjp:
    return lambda *arrays, **p: cross_entropy_vjp(*arrays, **twist, **p)


MUTANTS = (
    Mutant("softmax", "uTensor#175", "no shift", softmax_of(lambda x, axis: 0)),
    Mutant("softmax", "ROCm/AMDMIGraphX PR1290", "shifted by the first", softmax_of(lambda x, axis: x.take([0], axis))),
    Mutant(
        "softmax",
        "(pilot)",
        "a maximum that starts at 0",
        softmax_of(lambda x, axis: x.max(axis=axis, keepdims=True, initial=0)),
    ),
    Mutant("softmax", "(pilot)", "no gradient at all", vjp=lambda g, x, *, axis: (np.zeros_like(x),)),
    Mutant(
        "softmax",
        "tinygrad PR2425",
        "1 added to every score",
        in_float64(lambda x, *, axis: softmax(x + 1, axis=axis)),
        kind="equivalent",
    ),
    Mutant(
        "log_softmax",
        "mlpack#2360",
        "g - s for g - s sum g",
        vjp=in_float64(lambda g, x, *, axis: (g - softmax(x, axis=axis),)),
    ),
    Mutant(
        "cross_entropy",
        "optax PR1762",
        "0 times minus infinity",
        ce(picked=lambda hit, wz, t, axis: (hit * wz).sum(axis)),
    ),
    Mutant(
        "cross_entropy",
        "aprender PR2199",
        "(1 - eps)/C for eps/C",
        ce(spread=lambda own, total, eps, classes: (1 - eps) * own + (1 - eps) / classes * total),
    ),
    # Another convention of label smoothing elsewhere, but another function than the one that is checked.
    Mutant("cross_entropy", "pytorch#7455", "eps/(C - 1) off target", ce(spread=off_target)),
    Mutant(
        "cross_entropy",
        "tinygrad PR3570",
        "ignored samples are smoothed",
        ce(ignored=lambda valid, loss, total, eps, classes: np.where(valid, loss, eps / classes * total if eps else 0)),
    ),
    Mutant(
        "cross_entropy",
        "Liger PR198",
        "smoothing forgotten off target",
        vjp=ce_vjp(smoothed=lambda hit, eps, classes: (1 - eps) * hit),
    ),
    Mutant(
        "cross_entropy",
        "pytorch#116349",
        "0 where every sample is ignored",
        ce(
            mean=lambda losses, count: (
                np.divide(losses.sum(), losses.dtype.type(count)) if count > 0 else losses.sum() * 0
            )
        ),
    ),
    Mutant(
        "cross_entropy",
        "pytorch#11551",
        "ignored samples multiplied by 0",
        vjp=ce_vjp(kept=lambda valid, gx: valid * gx),
    ),
    Mutant(
        "binary_cross_entropy_with_logits",
        "pytorch PR2195",
        "no gradient of sigma at 0",
        vjp=in_float64(partial(bce_vjp, at_zero=False)),
    ),
    Mutant(
        "smooth_l1_loss", "pytorch#96813", "0/0 where beta is 0", vjp=in_float64(partial(smooth_l1_vjp, guarded=False))
    ),
    Mutant(
        "dropout",
        "numpy-ml#94",
        "scaled and not masked",
        vjp=in_float64(lambda g, x, mask, *, p: (g / np.float64(1 - p), None)),
    ),
    Mutant(
        "dropout", "trident PR89", "0/0 where p is 1", in_float64(lambda x, mask, *, p: mask * x / np.float64(1 - p))
    ),
    Mutant("conv2d", "pytorch#51430", "every group's channels", vjp=all_groups),
    Mutant("conv2d", "tinygrad PR17805", "the other axis's dilation", same_of_the_other_axis),
    Mutant(
        "tanh",
        "AiDotNet.Tensors PR594",
        "(e^2x - 1)/(e^2x + 1)",
        lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    ),
    Mutant("elu", "pytorch#47671", "by the sign of the output", vjp=in_float64(elu_vjp_of_output)),
    Mutant("elu", "jax#1052", "0 times infinity", vjp=elu_vjp_by_masks),
    Mutant("selu", "RubixML PR427", "scaled twice", vjp=in_float64(partial(selu_vjp, scaled_again=True))),
    Mutant("hardsigmoid", "pytorch#51408", "no lower mask", vjp=in_float64(partial(hardsigmoid_vjp, lower=False))),
    Mutant("hardtanh", "pytorch#120258", "hardtanh'(1)=closed", vjp=in_float64(closed_hardtanh_vjp), kind="convention"),
    # The gradient at a NaN itself is free, whatever the cotangent.
    Mutant(
        "relu6",
        "tt-metal#57455",
        "6 at NaN",
        vjp=lambda g, x: (np.where(np.isnan(x), np.float32(6), refnn.relu6.vjp(g, x)[0]),),
        kind="equivalent",
    ),
    Mutant("prelu", "FlagGems#4992", "weights along the last axis", prelu_on_the_last_axis),
    Mutant("logsumexp", "jax#6811", "nothing but minus infinity", vjp=logsumexp_vjp),
    Mutant("logsigmoid", "jax#2140", "no gradient at 0", vjp=in_float64(logsigmoid_vjp)),
    Mutant(
        "softplus", "pytorch#55587", "threshold on the output", vjp=in_float64(partial(softplus_vjp, of_output=True))
    ),
    Mutant("softplus", "tt-metal PR56397", "exp(x) * (1 / (exp(x) + 1))", vjp=softplus_vjp_by_reciprocal),
    Mutant("silu", "tensorflow#124835", "e (1 + e + x) / (1 + e)^2", vjp=silu_vjp, dtype="float64"),
    *of_ranks("avg_pool", "coremltools PR2844", "overhang counted", lambda r: avg_pool(r, overhang=True)),
    *of_ranks("avg_pool", "pytorch#188344", "padding forgotten", vjp=lambda r: avg_pool_vjp(r, shift=False)),
    *of_ranks("max_pool", "pytorch#45357", "a window that starts behind the input", lambda r: max_pool(r, keep=True)),
    *of_ranks("max_pool", "NNlib.jl#133", "indices without the padding", vjp=lambda r: max_pool_vjp(r, shift=False)),
    *of_ranks("max_pool", "CrypTen PR90", "zeros in the padding", lambda r: max_pool(r, fill=0.0)),
    *of_ranks("max_pool", "pytorch PR43519", "tie=split", vjp=lambda r: max_pool_vjp(r, split=True), kind="convention"),
)


@pytest.mark.parametrize("op", RIGHT)
def test_what_is_mutated_is_right(op: str) -> None:
    forward, vjp = RIGHT[op]
    report = refnn.check(op, forward=forward, vjp=vjp, dtype="float32")
    assert report.ok, str(report)


@pytest.mark.parametrize("m", MUTANTS, ids=lambda m: f"{m.op}: {m.what}")
def test_a_default_check_says_what_it_is(m: Mutant) -> None:
    op = refnn.ops[m.op]
    report = refnn.check(op, forward=m.forward or op, vjp=m.vjp or op.vjp, dtype=m.dtype)
    if m.kind == "wrong":
        mutated = "output" if m.forward else "grad"
        assert not [f for f in report.findings if "raised" in f.message]  # an accident, not the mutation
        found = {f.what for f in report.findings if f.verdict in FOUND}
        assert any(what.startswith(mutated) for what in found), str(report)
        assert all(what.startswith(mutated) for what in found), str(report)
        return
    assert report.ok, str(report)
    if m.kind == "convention":
        assert m.what in {f.name for f in report.findings if f.verdict == "convention"}
