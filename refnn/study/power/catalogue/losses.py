"""Losses, of classes and of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import refnn
from refnn.study.power.catalogue.softmax import log_softmax, softmax
from refnn.study.power.mutant import Array, Forward, Mutant, Pair, in_float64, regraded, with_params

# --- of class indices ------------------------------------------------------------------------------------------------


def samples(target: Array, weight: Array | None, valid: Array) -> float:
    """What a mean divides by."""
    return float(valid.sum() if weight is None else weight[target[valid]].sum())


def divided(total: Array, count: float) -> Array:
    return np.divide(total, total.dtype.type(count))


@dataclass(frozen=True)
class CrossEntropy:
    """Of class indices, forward and vjp; each field is one place where implementations have gone wrong.

    `shares` gives the weights of the class itself and of every class, of eps and C. `by_product` picks the class by
    multiplying with 0 and 1, `smoothed_anyway` smooths ignored samples too, `masked_by_product` multiplies their
    gradients by 0. A mean is `mean(sum, count(target, weight, valid))`.
    """

    shares: Callable[[float, int], tuple[float, float]] = lambda eps, classes: (1 - eps, eps / classes)
    by_product: bool = False
    smoothed_anyway: bool = False
    masked_by_product: bool = False
    mean: Callable[[Array, float], Array] = divided
    count: Callable[[Array, Array | None, Array], float] = samples

    def forward(self, x: Array, target: Array, **p: Any) -> Any:
        if target.dtype.kind == "f":
            return refnn.cross_entropy(x, target, **p)
        axis, valid, hit, weights = self._parts(x, target, p)
        wz = weights * log_softmax(x, axis=axis)
        classes = np.expand_dims(np.where(valid, target, 0), axis)
        own = (hit * wz).sum(axis) if self.by_product else np.take_along_axis(wz, classes, axis).squeeze(axis)
        itself, each = self.shares(p["label_smoothing"], x.shape[axis])
        uniform = each * wz.sum(axis) if p["label_smoothing"] else 0.0
        losses = -np.where(valid, itself * own + uniform, uniform if self.smoothed_anyway else 0.0)
        if p["reduction"] != "mean":
            return losses if p["reduction"] == "none" else losses.sum()
        return self.mean(losses.sum(), self.count(target, p["weight"], valid))

    def vjp(self, g: Array, x: Array, target: Array, **p: Any) -> Any:
        if target.dtype.kind == "f":
            return refnn.cross_entropy.vjp(g, x, target, **p)
        axis, valid, hit, weights = self._parts(x, target, p)
        classes = np.expand_dims(np.where(valid, target, 0), axis)
        own = np.take_along_axis(weights * np.ones_like(x), classes, axis)
        itself: Any
        itself, each = self.shares(p["label_smoothing"], x.shape[axis])
        if self.smoothed_anyway:
            itself = np.expand_dims(np.where(valid, itself, 0.0), axis)
        q = itself * hit * own + (each * weights if p["label_smoothing"] else 0.0)
        if p["reduction"] == "mean":
            g = self.mean(g, self.count(target, p["weight"], valid))
        gq = (np.expand_dims(g, axis) if p["reduction"] == "none" else g) * q
        gx = softmax(x, axis=axis) * gq.sum(axis, keepdims=True) - gq
        counts = np.expand_dims(valid | (self.smoothed_anyway and p["label_smoothing"] > 0), axis)
        return (gx * counts if self.masked_by_product else np.where(counts, gx, 0.0)), None

    def _parts(self, x: Array, target: Array, p: Mapping[str, Any]) -> tuple[int, Array, Array, Any]:
        """The axis of the classes, which samples count, where their classes are, and the weights along their axis."""
        axis, valid = min(1, x.ndim - 1), target != p["ignore_index"]
        hit = np.moveaxis(np.eye(x.shape[axis], dtype=x.dtype)[np.where(valid, target, 0)], -1, axis)
        weight = p["weight"]
        column = 1.0 if weight is None else weight.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        return axis, valid, hit, column

    @property
    def consistent(self) -> dict[str, Any]:
        return {"forward": self.forward, "vjp": self.vjp}


def certain(x: Array, target: Array, **p: Any) -> Any:
    """The probability of the class is kept from falling below 1e-7, as it is where the softmax comes first."""
    y = np.clip(softmax(x, axis=min(1, x.ndim - 1)), 1e-7, 1.0)
    return refnn.nll_loss(np.log(y), target, **{k: p[k] for k in ("weight", "ignore_index", "reduction")})


def clipped(x: Array, target: Array, **p: Any) -> Any:
    if target.dtype.kind == "f" or p["label_smoothing"]:
        return refnn.cross_entropy(x, target, **p)
    return certain(x, target, **p)


def clipped_vjp(g: Array, x: Array, target: Array, **p: Any) -> Any:
    if target.dtype.kind == "f" or p["label_smoothing"]:
        return refnn.cross_entropy.vjp(g, x, target, **p)
    axis = min(1, x.ndim - 1)
    y = softmax(x, axis=axis)
    rest = {k: p[k] for k in ("weight", "ignore_index", "reduction")}
    gz, _ = refnn.nll_loss.vjp(g, np.log(np.clip(y, 1e-7, 1.0)), target, **rest)
    gy = np.where(y > 1e-7, gz / y, 0.0)
    return y * (gy - (gy * y).sum(axis, keepdims=True)), None


def summing_to_one(grads: Any, g: Array, x: Array, target: Array, **p: Any) -> Any:
    """Of probabilities: the gradient as if they summed to one."""
    if target.dtype.kind != "f" or p["weight"] is not None or p["label_smoothing"]:
        return grads
    axis = min(1, x.ndim - 1)
    scale = g / (x.size // x.shape[axis]) if p["reduction"] == "mean" else g
    scale = np.expand_dims(scale, axis) if p["reduction"] == "none" else scale
    return (softmax(x, axis=axis) - target) * scale, grads[1]


def by_weights(x: Array, target: Array, **p: Any) -> Any:
    """Of probabilities: the mean over the weights of the classes in proportion, where it is over the samples."""
    if target.dtype.kind != "f" or p["reduction"] != "mean":
        return refnn.cross_entropy(x, target, **p)
    return refnn.cross_entropy(x, target, **{**p, "reduction": "sum"}) / target.sum()


def scaled_nll(factor: Callable[[Array, Array | None, Array], float]) -> dict[str, Any]:
    """nll_loss whose mean, and its gradient, is multiplied by `factor(target, weight, valid)`."""

    def scale(target: Array, p: Mapping[str, Any]) -> float:
        return factor(target, p["weight"], target != p["ignore_index"]) if p["reduction"] == "mean" else 1.0

    return {
        "forward": in_float64(lambda x, t, **p: refnn.nll_loss(x, t, **p) * scale(t, p)),
        "vjp": in_float64(lambda g, x, t, **p: refnn.nll_loss.vjp(g * scale(t, p), x, t, **p)),
    }


# --- of two numbers --------------------------------------------------------------------------------------------------


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


def reduced(losses: Array, reduction: str) -> Any:
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()


def bce_of(loss: Callable[[Array, Array], Array]) -> Forward:
    """Forward of another loss of single elements, in the dtype that came; with pos_weight refnn's own."""

    def forward(x: Array, t: Array, *, weight: Any, pos_weight: Any, reduction: str) -> Any:
        if pos_weight is not None:
            return refnn.binary_cross_entropy_with_logits(
                x, t, weight=weight, pos_weight=pos_weight, reduction=reduction
            )
        losses = loss(x, t)
        return reduced(losses if weight is None else losses * weight, reduction)

    return forward


def shifted_wrongly(x: Array, t: Array) -> Array:
    """The shift has lost its sign: max(x, 0) for max(-x, 0)."""
    m = np.maximum(x, 0)
    return x - x * t + m + np.log(np.exp(-m) + np.exp(-x - m))


def clipped_twice(x: Array, t: Array) -> Array:
    """Probabilities that are clipped, and to which the same epsilon is added again."""
    e, p = x.dtype.type(1e-7), 1 / (1 + np.exp(-x))
    p = np.clip(p, e, 1 - e)
    return -(t * np.log(p + e) + (1 - t) * np.log(1 - p + e))


def positive_weight_of_all(x: Array, t: Array, *, pos_weight: Any, weight: Any, reduction: str) -> Any:
    """pos_weight as a weight of the whole loss, t (w - 1) + 1: right where t is 0 or 1."""
    bce = refnn.binary_cross_entropy_with_logits(x, t, weight=weight, reduction="none")
    return reduced(bce if pos_weight is None else bce * (t * (pos_weight - 1) + 1), reduction)


def smooth_l1_vjp(g: Array, x: Array, t: Array, *, beta: float, reduction: str, guarded: bool = True) -> Any:
    """Without the guard divided by beta before it is asked whether beta is 0."""
    d = x - t
    quadratic = (np.abs(d) < beta) if guarded else (np.abs(d) <= beta)
    slope = np.where(quadratic, d / np.float64(beta), np.sign(d))
    gx = slope * g / (x.size if reduction == "mean" else 1)
    return gx, -gx


def of_differences(loss: Callable[..., Array], slope: Callable[..., Array]) -> dict[str, Any]:
    """Another loss of d = x - t, and its gradient."""

    def forward(x: Array, t: Array, *, reduction: str, **p: Any) -> Any:
        return reduced(loss(x - t, **p), reduction)

    def vjp(g: Array, x: Array, t: Array, *, reduction: str, **p: Any) -> Any:
        gx = slope(x - t, **p) * g / (x.size if reduction == "mean" else 1)
        return gx, -gx

    return {"forward": in_float64(forward), "vjp": in_float64(vjp)}


def signed_smooth_l1(d: Array, *, beta: float) -> Array:
    return np.where(d < beta, d * d / 2 / np.float64(beta), np.abs(d) - beta / 2)


def in_one_block(x: Array, t: Array, *, reduction: str) -> Any:
    """The sum of the first 1024 squares: those of other blocks of threads are left out."""
    d = (x - t).ravel()[:1024]
    if reduction == "none":
        return (x - t) ** 2
    return (d * d).sum() / (x.size if reduction == "mean" else 1)


def scaled(op: str, factor: Callable[..., float]) -> dict[str, Any]:
    """Forward and vjp, consistent with each other, times `factor(*arrays, **params)`."""
    forward, vjp = refnn.ops[op], refnn.ops[op].vjp
    return {
        "forward": in_float64(lambda *a, **p: forward(*a, **p) * factor(*a, **p)),
        "vjp": in_float64(lambda g, *a, **p: vjp(g * factor(*a, **p), *a, **p)),
    }


RIGHT: Mapping[str, Pair] = {
    "cross_entropy": (CrossEntropy().forward, CrossEntropy().vjp),
    "binary_cross_entropy_with_logits": (refnn.binary_cross_entropy_with_logits, in_float64(bce_vjp)),
    "smooth_l1_loss": (refnn.smooth_l1_loss, in_float64(smooth_l1_vjp)),
}

MUTANTS = (
    Mutant(
        "cross_entropy", "google-deepmind/optax PR1762", "0 times minus infinity", CrossEntropy(by_product=True).forward
    ),
    Mutant(
        "cross_entropy",
        "paiml/aprender PR2199",
        "(1 - eps)/C for eps/C",
        **CrossEntropy(shares=lambda eps, c: (1 - eps, (1 - eps) / c)).consistent,
    ),
    # Another convention of label smoothing elsewhere, but another function than the one that is checked.
    Mutant(
        "cross_entropy",
        "pytorch/pytorch#7455",
        "eps/(C - 1) off target",
        **CrossEntropy(shares=lambda eps, c: (1 - eps - eps / max(c - 1, 1), eps / max(c - 1, 1))).consistent,
    ),
    Mutant(
        "cross_entropy",
        "fastai/fastai PR1814",
        "1 - eps C/(C - 1) for 1 - eps",
        **CrossEntropy(shares=lambda eps, c: (1 - eps * c / max(c - 1, 1), eps / c)).consistent,
    ),
    Mutant(
        "cross_entropy",
        "tinygrad/tinygrad PR3570",
        "ignored samples are smoothed",
        **CrossEntropy(smoothed_anyway=True).consistent,
    ),
    Mutant(
        "cross_entropy",
        "linkedin/Liger-Kernel PR198",
        "smoothing forgotten off target",
        vjp=CrossEntropy(shares=lambda eps, c: (1 - eps, 0.0)).vjp,
    ),
    Mutant(
        "cross_entropy",
        "pytorch/pytorch#116349",
        "0 where every sample is ignored",
        CrossEntropy(mean=lambda total, count: divided(total, count) if count else total * 0).forward,
    ),
    Mutant(
        "cross_entropy",
        "pytorch/pytorch PR64572",
        "0 where the weights do not sum to more than 0",
        **CrossEntropy(
            mean=lambda total, count: divided(total, count) if count > 0 or not np.isfinite(count) else total * 0
        ).consistent,
    ),
    Mutant(
        "cross_entropy",
        "EleutherAI/bergson PR344",
        "a weighted mean over the number of samples",
        **CrossEntropy(count=lambda target, weight, valid: float(valid.sum())).consistent,
    ),
    Mutant(
        "cross_entropy",
        "pytorch/pytorch#11551",
        "ignored samples multiplied by 0",
        vjp=CrossEntropy(masked_by_product=True).vjp,
    ),
    Mutant(
        "cross_entropy",
        "",
        "a probability of at least 1e-7",
        forward=in_float64(clipped),
        vjp=in_float64(clipped_vjp),
    ),
    Mutant("cross_entropy", "", "probabilities that sum to one", vjp=regraded("cross_entropy", summing_to_one)),
    Mutant("cross_entropy", "", "a mean over all probabilities", forward=in_float64(by_weights)),
    Mutant(
        "nll_loss",
        "torch/nn#985",
        "weights cancelled by their own mean",
        **with_params("nll_loss", lambda x, t, **p: {"weight": None} if p["reduction"] == "mean" else {}),
    ),
    Mutant(
        "nll_loss",
        "PaddlePaddle/PaddleSeg PR2360",
        "ignored samples count in the mean",
        **scaled_nll(lambda t, weight, valid: samples(t, weight, valid) / t.size if weight is None else 1.0),
    ),
    Mutant(
        "nll_loss",
        "",
        "no weights",
        vjp=in_float64(lambda g, x, t, **p: refnn.nll_loss.vjp(g, x, t, **{**p, "weight": None})),
    ),
    Mutant(
        "nll_loss",
        "",
        "g of the first sample for all",
        vjp=in_float64(
            lambda g, x, t, **p: refnn.nll_loss.vjp(np.broadcast_to(g.flat[0] if g.size else 0.0, g.shape), x, t, **p)
        ),
    ),
    Mutant(
        "binary_cross_entropy_with_logits",
        "pytorch/pytorch PR2195",
        "no gradient of sigma at 0",
        vjp=in_float64(partial(bce_vjp, at_zero=False)),
    ),
    Mutant(
        "binary_cross_entropy_with_logits",
        "pytorch/pytorch PR2221",
        "the shift has the wrong sign",
        forward=bce_of(shifted_wrongly),
    ),
    Mutant(
        "binary_cross_entropy_with_logits",
        "tensorflow/tensorflow PR41595",
        "epsilon twice",
        forward=bce_of(clipped_twice),
    ),
    Mutant(
        "binary_cross_entropy_with_logits",
        "paiml/aprender PR2204",
        "pos_weight of the whole loss",
        forward=in_float64(positive_weight_of_all),
    ),
    Mutant(
        "binary_cross_entropy_with_logits",
        "",
        "no gradient for the target",
        vjp=regraded("binary_cross_entropy_with_logits", lambda grads, g, x, t, **p: (grads[0], np.zeros_like(t))),
    ),
    Mutant(
        "smooth_l1_loss",
        "pytorch/pytorch#96813",
        "0/0 where beta is 0",
        vjp=in_float64(partial(smooth_l1_vjp, guarded=False)),
    ),
    Mutant(
        "smooth_l1_loss",
        "BobMcDear/attorch#13",
        "the signed difference below beta",
        **of_differences(signed_smooth_l1, lambda d, *, beta: np.where(d < beta, d / np.float64(beta), np.sign(d))),
    ),
    Mutant(
        "smooth_l1_loss",
        "pytorch/pytorch PR17447",
        "d^2/2 below beta, d - 1/2 above",
        **of_differences(
            lambda d, *, beta: np.where(np.abs(d) < beta, d * d / 2, np.abs(d) - 0.5),
            lambda d, *, beta: np.where(np.abs(d) < beta, d, np.sign(d)),
        ),
    ),
    Mutant(
        "smooth_l1_loss",
        "chainer/chainer PR1178",
        "the cotangent is not used",
        vjp=in_float64(lambda g, x, t, **p: refnn.smooth_l1_loss.vjp(np.ones_like(g), x, t, **p)),
    ),
    Mutant(
        "smooth_l1_loss",
        "",
        "the Huber loss, beta times as large",
        **scaled("smooth_l1_loss", lambda x, t, *, beta, reduction: beta),
    ),
    Mutant(
        "mse_loss",
        "f-dangel/backpack PR56",
        "the mean over the batch",
        **scaled("mse_loss", lambda x, t, *, reduction: x[0].size if reduction == "mean" and x.ndim > 1 else 1),
    ),
    Mutant(
        "mse_loss",
        "albertpumarola/GANimation#74",
        "the mean taken twice",
        vjp=regraded(
            "mse_loss",
            lambda grads, g, x, t, *, reduction: tuple(v / (x.size if reduction == "mean" else 1) for v in grads),
        ),
    ),
    Mutant(
        "mse_loss", "fangwei123456/spikingjelly#151", "the sum of one block of 1024", forward=in_float64(in_one_block)
    ),
    Mutant("mse_loss", "", "a result in float64", forward=lambda x, t, **p: np.float64(1) * refnn.mse_loss(x, t, **p)),
    Mutant("mse_loss", "", "no factor 2", vjp=regraded("mse_loss", lambda grads, *_, **p: tuple(v / 2 for v in grads))),
    Mutant(
        "mse_loss", "", "both gradients alike", vjp=regraded("mse_loss", lambda grads, *_, **p: (grads[0], grads[0]))
    ),
    Mutant(
        "l1_loss",
        "paiml/aprender PR2188",
        "no gradient at all",
        vjp=regraded("l1_loss", lambda grads, *_, **p: tuple(map(np.zeros_like, grads))),
    ),
    Mutant(
        "l1_loss",
        "pytorch/pytorch#7172",
        "abs'(0)=1",
        kind="convention",
        **of_differences(lambda d: np.abs(d), lambda d: np.where(d >= 0, 1.0, np.where(np.isnan(d), d, -1.0))),
    ),
    Mutant(
        "l1_loss",
        "",
        "the mean is not divided",
        vjp=regraded(
            "l1_loss",
            lambda grads, g, x, t, *, reduction: tuple(v * (x.size if reduction == "mean" else 1) for v in grads),
        ),
    ),
    Mutant(
        "half_squared_error",
        "",
        "the mean over all elements",
        **scaled(
            "half_squared_error",
            lambda x, t, *, reduction: 1 / x[0].size if reduction == "mean" and x.ndim > 1 else 1,
        ),
    ),
    Mutant(
        "half_squared_error",
        "",
        "the gradient rounded to half precision",
        vjp=regraded(
            "half_squared_error",
            lambda grads, *_, **p: tuple(v.astype(np.float16).astype(v.dtype) for v in grads),
        ),
    ),
    Mutant("l2_penalty", "", "no factor 1/2", **scaled("l2_penalty", lambda x, *, weight_decay: 2)),
    Mutant(
        "l2_penalty",
        "",
        "the gradient without the weight",
        vjp=in_float64(lambda g, x, *, weight_decay: (g * x,)),
    ),
)
