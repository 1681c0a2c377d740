"""Backpropagation as it is written in C: arrays made once for the nodes of every layer, loops, one sample at a time.

A node stores, under the names of challa2023 (what a node stores); it is node j of layer n, i one of the layer before:

    B[j]            bias
    W[j, i]         weight from node i, the source's w_ij
    X[j]            output of the activation; of the input layer the sample
    dLa[j]          dl/da, the derivative of the activation included; dA in challa2022
    dW[j, i], dB[j] dl/dw and dl/db, summed over the samples of a batch
    D[j]            0 where dropout drops the node, 1/(1 - p) where it does not, with probability 1 - p; 1 without it

In a convolution j and i are channels, q a place along a channel, c a tap, and there are in the place of W, X and dLa

    fw[j, i, c]     filter from channel i, the source's fw_ijc
    fx[j, q], dFLa[j, q]

and D[j, q], but one B[j] for a channel. Max-pooling, which the source promises and leaves out, stores in their place

    fx[j, q], dFLa[j, q]
    switch[j, q]    the u at which fx_ju of the layer before is the maximum, the first of equals

With S samples, FS taps, stride s and p cells of padding before a channel, where fx is 0:

    a_j = b_j + sum_i w_ji x_i,  x_j = D_j g(a_j)                                       (8), (21)
    fa_jq = b_j + sum_i sum_c fw_jic fx_i,(sq+c-p),  fx_jq = D_jq g(fa_jq)              (32)
    fx_jq = max_c fx_j,(sq+c)                                       max-pooling

    dLa_j = y_j sum_i t_i - t_j                                     last layer          (16), (18)
    dLa_j = g'(a_j) D_j sum_i' dLa_i' w_i'j                         below dense         (26)
    dFLa_iu = g'(fa_iu) D_iu sum_j sum_(sq+c-p=u) dFLa_jq fw_jic    below convolution   (42)
    dFLa_ju = g'(fa_ju) D_ju sum_(switch_jq=u) dFLa_jq              below max-pooling
    dFLa_jq = g'(fa_jq) D_jq dLa_(Qj+q)                             below flatten       (33)
    dLa_(Qj+q) = sum_i' dLa_i' w_i',(Qj+q)                          flatten itself      (35)

    dW_ji += dLa_j x_i,  dB_j += dLa_j                                                  (26), (27)
    dW_jic += sum_q dFLa_jq fx_i,(sq+c-p),  dB_j += sum_q dFLa_jq                       (41), (43)
    w -= eta dW / S,  b -= eta dB / S                                                   (28), (29), (30)

The equations are challa2023's, as derivations/ERRATA.md corrects them. No a is stored: g' is computed from x. The
arrays hold floats of any dtype, or fractions (dtype object). A batch of gradient descent is

    x = source(64)
    hidden = dense(x, W1, B1)
    net = [x, hidden, dense(hidden, W2, B2, "softmax")]
    for sample, t in batch:
        forward(net, sample)
        delta(net, t)
        backward(net)
    update(net, rate, len(batch))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from refnn.arithmetic.windows import windows_over
from refnn.refusals import check_finite

Array = np.ndarray
Number = Any

# g(a), and what d = dl/dx becomes as dl/da, for the x = g(a) that is stored.
ACTIVATIONS: Mapping[str, tuple[Callable[[Number], Number], Callable[[Number, Number], Number]]] = {
    "relu": (lambda a: 0 if a <= 0 else a, lambda x, d: 0 if x <= 0 else d),
    "tanh": (lambda a: np.tanh(a), lambda x, d: d * (1 - x * x)),
    "identity": (lambda a: a, lambda x, d: d),
}


# --- what is stored --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Input:
    """Layer 0: X is (J,), or (channels, length) where a convolution comes next."""

    X: Array


@dataclass(frozen=True, eq=False)
class Dense:
    """A fully connected layer; g is its activation, "softmax" in the last layer if that is for cross-entropy."""

    B: Array
    W: Array
    X: Array
    dLa: Array
    dW: Array
    dB: Array
    D: Array
    g: str


@dataclass(frozen=True, eq=False)
class Conv:
    """A one-dimensional convolution, that is cross-correlation, of stride s with p cells of padding before."""

    B: Array
    fw: Array
    fx: Array
    dFLa: Array
    dW: Array
    dB: Array
    D: Array
    g: str
    s: int
    p: int


@dataclass(frozen=True, eq=False)
class MaxPool:
    """Maxima of so many taps along each channel, s apart: a layer without weights and activation."""

    fx: Array
    dFLa: Array
    switch: Array
    taps: int
    s: int


@dataclass(frozen=True, eq=False)
class Flatten:
    """Channels in one row, X[Q j + q] = fx[j, q]: a layer of its own, without weights and activation."""

    X: Array
    dLa: Array


Layer = Input | Dense | Conv | MaxPool | Flatten


def source(*shape: int, dtype: Any = np.float64) -> Input:
    """The layer that holds a sample."""
    return Input(np.zeros(shape, dtype))


def dense(below: Layer, W: Array, B: Array, g: str = "relu") -> Dense:
    """A layer with these weights (J, nodes below) and biases (J,), which are copied."""
    W, B, given = np.array(W), np.array(B), values(below).shape
    _check_activation("dense", g, *ACTIVATIONS, "softmax")
    if W.ndim != 2 or given != W.shape[1:]:
        raise ValueError(f"dense: W has shape {W.shape} and the layer below {given}, expected (J, I) and (I,)")
    if B.shape != W.shape[:1]:
        raise ValueError(f"dense: B has shape {B.shape} and W {W.shape}, expected a bias for each row of W")
    zero, one = np.zeros_like, np.ones_like
    return Dense(B=B, W=W, X=zero(B), dLa=zero(B), dW=zero(W), dB=zero(B), D=one(B), g=g)


def conv(below: Layer, fw: Array, B: Array, g: str = "relu", *, stride: int = 1, padding: int | str = 0) -> Conv:
    """A layer with these filters (J, channels below, taps) and biases (J,), which are copied.

    `padding` is a number of cells on either side, or "same": as many outputs as inputs, at stride 1.
    """
    fw, B, given = np.array(fw), np.array(B), values(below).shape
    _check_activation("conv", g, *ACTIVATIONS)
    if fw.ndim != 3 or len(given) != 2 or fw.shape[1] != given[0]:
        raise ValueError(f"conv: fw has shape {fw.shape} and the layer below {given}, expected (J, I, taps) and (I, Q)")
    if B.shape != fw.shape[:1]:
        raise ValueError(f"conv: B has shape {B.shape} and fw {fw.shape}, expected a bias for each filter")
    if stride < 1 or (padding == "same" and stride != 1):
        raise ValueError(f"conv: the stride is {stride}, expected 1 or more, and 1 with padding 'same'")
    taps, length = fw.shape[2], given[1]
    before, after = ((taps - 1) // 2, taps // 2) if padding == "same" else (int(padding), int(padding))
    if before < 0 or taps > before + length + after:
        raise ValueError(f"conv: padding is {padding}, expected 0 or more, so that {taps} taps fit on {length} values")
    fx = np.zeros((len(B), (before + length + after - taps) // stride + 1), B.dtype)
    zero, one = np.zeros_like, np.ones_like
    return Conv(B=B, fw=fw, fx=fx, dFLa=zero(fx), dW=zero(fw), dB=zero(B), D=one(fx), g=g, s=stride, p=before)


def max_pool(below: Layer, taps: int, *, stride: int | None = None) -> MaxPool:
    """Maxima of so many neighbours in a channel; they lie side by side if no stride is given."""
    x, s = values(below), taps if stride is None else stride
    if x.ndim != 2 or not 1 <= taps <= x.shape[1]:
        raise ValueError(
            f"max_pool: the layer below has shape {x.shape} and taps is {taps}, expected (I, Q) and 1 to Q"
        )
    if s < 1:
        raise ValueError(f"max_pool: the stride is {s}, expected 1 or more")
    fx = np.zeros((len(x), (x.shape[1] - taps) // s + 1), x.dtype)
    return MaxPool(fx=fx, dFLa=np.zeros_like(fx), switch=np.zeros(fx.shape, int), taps=taps, s=s)


def flatten(below: Layer) -> Flatten:
    """The channels of the layer below in one row."""
    x = values(below)
    if x.ndim != 2:
        raise ValueError(f"flatten: the layer below has shape {x.shape}, expected (channels, length)")
    return Flatten(np.zeros(x.size, x.dtype), np.zeros(x.size, x.dtype))


def values(layer: Layer) -> Array:
    """The X or fx of a layer."""
    return layer.fx if isinstance(layer, Conv | MaxPool) else layer.X


# --- forward ---------------------------------------------------------------------------------------------------------


def forward(net: Sequence[Layer], x: Array) -> Array:
    """Take a sample through the layers. What it returns is the X of the last, which the next sample overwrites."""
    if np.shape(x) != values(net[0]).shape:
        raise ValueError(f"the sample has shape {np.shape(x)} and layer 0 {values(net[0]).shape}")
    check_finite("the sample", np.asarray(x))
    values(net[0])[...] = x
    for below, layer in pairwise(net):
        if isinstance(layer, Dense):
            _dense_forward(values(below), layer)
        elif isinstance(layer, Conv):
            _conv_forward(values(below), layer)
        elif isinstance(layer, MaxPool):
            _pool_forward(values(below), layer)
        else:
            values(layer)[...] = values(below).reshape(-1)
    return values(net[-1])


def _dense_forward(x: Array, layer: Dense) -> None:
    for j in range(len(layer.X)):
        a = layer.B[j]
        for i in range(len(x)):
            a = a + layer.W[j, i] * x[i]
        layer.X[j] = a if layer.g == "softmax" else layer.D[j] * ACTIVATIONS[layer.g][0](a)
    if layer.g == "softmax":
        _softmax(layer.X)


def _softmax(X: Array) -> None:
    """y_j = e^(a_j - m) / sum_j' e^(a_j' - m), m = max a, in the place of a: (4), but it does not overflow."""
    m, total = max(X), 0
    for j in range(len(X)):
        X[j] = np.exp(X[j] - m)
        total = total + X[j]
    for j in range(len(X)):
        X[j] = X[j] / total


def _conv_forward(fx: Array, layer: Conv) -> None:
    channels, length = fx.shape
    for j, q in np.ndindex(layer.fx.shape):
        a = layer.B[j]
        for i in range(channels):
            for c in range(layer.fw.shape[2]):
                u = layer.s * q + c - layer.p
                if 0 <= u < length:
                    a = a + layer.fw[j, i, c] * fx[i, u]
        layer.fx[j, q] = layer.D[j, q] * ACTIVATIONS[layer.g][0](a)


def _pool_forward(fx: Array, layer: MaxPool) -> None:
    for j, q in np.ndindex(layer.fx.shape):
        top = layer.s * q
        for u in range(top + 1, layer.s * q + layer.taps):
            if fx[j, u] > fx[j, top] or fx[j, u] != fx[j, u]:  # NaN is above all
                top = u
        layer.switch[j, q], layer.fx[j, q] = top, fx[j, top]


# --- backward --------------------------------------------------------------------------------------------------------


def delta(net: Sequence[Layer], t: Array) -> None:
    """dLa of the last layer for the target t (J,) of the sample that has gone forward.

    The loss is cross-entropy after softmax, and half the squared error after the identity. Under softmax t need not sum
    to one.
    """
    last = net[-1]
    if not isinstance(last, Dense) or last.g not in ("softmax", "identity"):
        raise ValueError(f"the last layer is {_named(last)}, expected Dense with softmax or identity")
    if np.shape(t) != last.X.shape:
        raise ValueError(f"the target has shape {np.shape(t)} and the last layer {last.X.shape}")
    check_finite("the target", np.asarray(t))
    total = sum(t) if last.g == "softmax" else 1
    for j in range(len(t)):
        last.dLa[j] = last.X[j] * total - t[j]


def backward(net: Sequence[Layer], *, skip_dead: bool = False) -> int:
    """From dLa of the last layer to that of all others, adding to dW and dB what this sample gives.

    It reads nothing but what is stored, and returns how many products the sums for dLa took. `skip_dead` is the neat
    trick of challa2023, after (27): where ReLU gives 0, so is dLa, and needs no sum.
    """
    last = len(net) - 1
    for n, layer in enumerate(net[1:last], 1):
        g = layer.g if isinstance(layer, Dense | Conv) else "relu"
        if g == "softmax":
            raise ValueError(f"layer {n} has softmax, which only the last layer may have")
        if skip_dead and g != "relu":
            raise ValueError(f"layer {n} has {g}: only relu, whose slope is 0 where it is 0, has dead nodes")
    products = 0
    for n in range(last, 0, -1):
        below, layer = net[n - 1], net[n]
        if n < last:
            products += _deltas(layer, net[n + 1], skip_dead)
        if isinstance(layer, Dense):
            _dense_gradient(values(below), layer)
        elif isinstance(layer, Conv):
            _conv_gradient(values(below), layer)
    return products


def _deltas(layer: Layer, above: Layer, skip_dead: bool) -> int:
    """dLa or dFLa of a layer from that of the layer above; how many products it took."""
    products, x, dLa = 0, values(layer), deltas(layer)
    for place in np.ndindex(x.shape):
        if skip_dead and x[place] <= 0:
            dLa[place] = 0  # what is there is of the sample before; a layer without activation sees the mask of another
            continue
        d, count = _sum(above, place, x.shape)
        products += count
        if isinstance(layer, Dense | Conv):
            D = layer.D[place]
            d = 0 if D == 0 else ACTIVATIONS[layer.g][1](x[place] / D, D * d)
        dLa[place] = d
    return products


def deltas(layer: Layer) -> Array:
    """The dLa or dFLa of a layer."""
    if isinstance(layer, Input):
        raise ValueError("the layer of the sample has no dLa")
    return layer.dFLa if isinstance(layer, Conv | MaxPool) else layer.dLa


def _sum(above: Layer, place: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Number, int]:
    """dl/dx of the node at this place of a layer of this shape, and how many products it took."""
    total: Number = 0
    if isinstance(above, Dense):
        (j,) = place
        for i in range(len(above.dLa)):
            total = total + above.dLa[i] * above.W[i, j]
        return total, len(above.dLa)
    if isinstance(above, Conv):
        (i, u), (channels, Q) = place, above.dFLa.shape
        pairs = windows_over(u, Q, above.fw.shape[2], above.s, above.p)
        for j in range(channels):
            for q, c in pairs:
                total = total + above.dFLa[j, q] * above.fw[j, i, c]
        return total, channels * len(pairs)
    if isinstance(above, MaxPool):
        j, u = place
        for q, _ in windows_over(u, above.fx.shape[1], above.taps, above.s):
            if above.switch[j, q] == u:
                total = total + above.dFLa[j, q]
        return total, 0
    (j, q), (_, Q) = place, shape
    return deltas(above)[Q * j + q], 0


def taps_form(u: int, Q: int, FS: int, s: int = 1, p: int = 0) -> list[tuple[int, int]]:
    """The outputs q < Q and the taps c < FS that meet in input u, s q + c - p = u, by their taps: form B of challa2023
    (39), (40), (42) as corrected. Form A, by their outputs, is `windows_over`."""
    first, last = max(0, u + p - s * (Q - 1)), min(FS - 1, u + p)
    return [((u + p - c) // s, c) for c in range(first, last + 1) if (u + p - c) % s == 0]


def _dense_gradient(x: Array, layer: Dense) -> None:
    for j in range(len(layer.dLa)):
        layer.dB[j] += layer.dLa[j]
        for i in range(len(x)):
            layer.dW[j, i] += layer.dLa[j] * x[i]


def _conv_gradient(fx: Array, layer: Conv) -> None:
    channels, length = fx.shape
    for j, q in np.ndindex(layer.dFLa.shape):
        layer.dB[j] += layer.dFLa[j, q]
        for i in range(channels):
            for c in range(layer.fw.shape[2]):
                u = layer.s * q + c - layer.p
                if 0 <= u < length:
                    layer.dW[j, i, c] += layer.dFLa[j, q] * fx[i, u]


# --- update ----------------------------------------------------------------------------------------------------------


def update(net: Sequence[Layer], rate: Number, samples: int) -> None:
    """Move all weights and biases, now that every gradient of the batch is known, and make the gradients 0 again."""
    check_finite("the learning rate", np.asarray(rate))
    if samples < 1:
        raise ValueError(f"the batch has {samples} samples, expected at least 1")
    for layer in net:
        if isinstance(layer, Dense | Conv):
            w = layer.W if isinstance(layer, Dense) else layer.fw
            for parameter, change in ((w, layer.dW), (layer.B, layer.dB)):
                for place in np.ndindex(change.shape):
                    parameter[place] -= rate * change[place] / samples
                    change[place] = 0


def _named(layer: Layer) -> str:
    return type(layer).__name__ + (f" with {layer.g}" if isinstance(layer, Dense | Conv) else "")


def _check_activation(kind: str, g: str, *known: str) -> None:
    if g not in known:
        raise ValueError(f"{kind}: the activation is {g!r}, expected one of {', '.join(known)}")
