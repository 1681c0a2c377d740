r"""Literal loops as a witness of the forward: each formula as its source prints it, one number at a time, in mpmath.

Nothing is shared with the ops: no shift by a maximum, no cancellation-free form, no common sub-function. The results
are those of 60 decimal digits; twice as many give how far off they are. One op after the other makes more than 500
lines, which nobody reads at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import flint
import mpmath
import numpy as np
from mpmath import e, erf, erfc, exp, log, mpf, pi, sqrt

from refnn.op import Op

DIGITS = 60
Array = np.ndarray  # of mpf


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """y_j = sum_i x_i A_ji + b_j (torch.nn.Linear: y = x A^T + b), for each row of x."""
    y = np.empty((*x.shape[:-1], len(weight)), dtype=object)
    for *row, j in np.ndindex(y.shape):
        y[*row, j] = mpf(0)
        for i in range(x.shape[-1]):
            y[*row, j] += x[*row, i] * weight[j, i]
        if bias is not None:
            y[*row, j] += bias[j]
    return y


def add(x: Array, other: Array) -> Array:
    """out_i = input_i + other_i (torch.add)."""
    return _paired(lambda a, b: a + b, x, other)


def sub(x: Array, other: Array) -> Array:
    """out_i = input_i - other_i (torch.sub)."""
    return _paired(lambda a, b: a - b, x, other)


def mul(x: Array, other: Array) -> Array:
    """out_i = input_i * other_i (torch.mul)."""
    return _paired(lambda a, b: a * b, x, other)


def div(x: Array, other: Array) -> Array:
    """out_i = input_i / other_i (torch.div)."""
    return _paired(lambda a, b: a / b, x, other)


def _paired(of: Callable[[mpf, mpf], mpf], x: Array, other: Array) -> Array:
    """A function of two numbers where an axis of length 1, or none, stands for as many as the other array has."""
    rank = max(x.ndim, other.ndim)
    sizes = [(1,) * (rank - a.ndim) + a.shape for a in (x, other)]
    y = np.empty([n if m == 1 else m for m, n in zip(*sizes, strict=True)], dtype=object)
    for k in np.ndindex(y.shape):
        i, j = (tuple(0 if n == 1 else p for p, n in zip(k, s, strict=True)) for s in sizes)
        y[k] = of(x[i[rank - x.ndim :]], other[j[rank - other.ndim :]])
    return y


def matmul(x: Array, other: Array) -> Array:
    """torch.matmul: sum_p x_ip other_pj; a vector is a row on the left and a column on the right, and the axes before
    the last two broadcast."""
    if other.ndim == 1:
        return matmul(x, other[:, None])[..., 0]
    if x.ndim == 1:
        return matmul(x[None], other)[..., 0, :]
    batch = np.broadcast_shapes(x.shape[:-2], other.shape[:-2])
    y = np.empty((*batch, x.shape[-2], other.shape[-1]), dtype=object)
    left = np.broadcast_to(x, (*batch, *x.shape[-2:]))
    right = np.broadcast_to(other, (*batch, *other.shape[-2:]))
    for *b, i, j in np.ndindex(y.shape):
        y[*b, i, j] = mpf(0)
        for p in range(x.shape[-1]):
            y[*b, i, j] += left[*b, i, p] * right[*b, p, j]
    return y


def convolution(
    x: Array, weight: Array, bias: Array | None, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array:
    """torch.nn.Conv2d, for any number of spatial axes, with zeros written around the input:

        out(N_i, C_out_j) = bias(C_out_j) + sum_k weight(C_out_j, k) * input(N_i, k), * the cross-correlation

    and every group of outputs with its own group of inputs."""
    rank = weight.ndim - 2
    if x.ndim == rank + 1:
        return convolution(x[None], weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)[0]
    s, d = (v if isinstance(v, tuple) else (v,) * rank for v in (stride, dilation))
    shape, corner = list(x.shape), [0] * rank
    for a in range(rank):
        span = d[a] * (weight.shape[2 + a] - 1)
        if padding == "full":
            before = after = span
        elif padding == "same":
            before, after = span // 2, span - span // 2
        elif padding == "valid":
            before = after = 0
        else:
            on_axis = padding[a] if isinstance(padding, tuple) else padding
            before, after = on_axis if isinstance(on_axis, tuple) else (on_axis, on_axis)
        shape[2 + a] += before + after
        corner[a] = before
    padded = np.full(shape, mpf(0), dtype=object)
    for n, c, *q in np.ndindex(x.shape):
        padded[n, c, *(i + before for i, before in zip(q, corner, strict=True))] = x[n, c, *q]
    spatial = [(shape[2 + a] - d[a] * (weight.shape[2 + a] - 1) - 1) // s[a] + 1 for a in range(rank)]
    y = np.empty((len(x), len(weight), *spatial), dtype=object)
    for n, o, *p in np.ndindex(y.shape):
        y[n, o, *p] = mpf(0) if bias is None else bias[o]
        for k, *t in np.ndindex(weight.shape[1:]):
            c = o // (len(weight) // groups) * weight.shape[1] + k
            y[n, o, *p] += weight[o, k, *t] * padded[n, c, *(p[a] * s[a] + t[a] * d[a] for a in range(rank))]
    return y


def transposed_convolution(
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Array:
    """Every input stamps its kernel, times itself, onto the output, at its own place times the stride; then `padding`
    is cut off and the bias added. torch.nn.ConvTranspose2d gives the size, with output_padding at the far end."""
    rank = weight.ndim - 2
    if x.ndim == rank + 1:
        rest = {"stride": stride, "padding": padding, "output_padding": output_padding}
        return transposed_convolution(x[None], weight, bias, **rest, groups=groups, dilation=dilation)[0]
    s, d, extra = (v if isinstance(v, tuple) else (v,) * rank for v in (stride, dilation, output_padding))
    spatial = [(x.shape[2 + a] - 1) * s[a] + d[a] * (weight.shape[2 + a] - 1) + 1 + extra[a] for a in range(rank)]
    per_group = weight.shape[1]
    canvas = np.full((len(x), per_group * groups, *spatial), mpf(0), dtype=object)
    for n, c, *p in np.ndindex(x.shape):
        for k, *t in np.ndindex(weight.shape[1:]):
            o = c // (len(weight) // groups) * per_group + k
            canvas[n, o, *(p[a] * s[a] + t[a] * d[a] for a in range(rank))] += x[n, c, *p] * weight[c, k, *t]
    for a in range(rank):
        on_axis = padding[a] if isinstance(padding, tuple) else padding
        before, after = on_axis if isinstance(on_axis, tuple) else (on_axis, on_axis)
        canvas = canvas[(slice(None),) * (2 + a) + (slice(before, canvas.shape[2 + a] - after),)]
    for n, o, *q in np.ndindex(canvas.shape):
        canvas[n, o, *q] += mpf(0) if bias is None else bias[o]
    return canvas


def locally_connected2d(x: Array, weight: Array, bias: Array | None, *, stride: Any) -> Array:
    """A neuron for every place and feature, with weights of its own for its patch."""
    if x.ndim == 3:
        return locally_connected2d(x[None], weight, bias, stride=stride)[0]
    down, right = stride if isinstance(stride, tuple) else (stride, stride)
    out, channels, height, width, kernel_h, kernel_w = weight.shape
    y = np.empty((len(x), out, height, width), dtype=object)
    for n, o, i, j in np.ndindex(y.shape):
        y[n, o, i, j] = mpf(0) if bias is None else bias[o, i, j]
        for c, a, b in np.ndindex(channels, kernel_h, kernel_w):
            y[n, o, i, j] += weight[o, c, i, j, a, b] * x[n, c, i * down + a, j * right + b]
    return y


def relu(x: Array) -> Array:
    """max(0, x)"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = x[k] if x[k] > 0 else mpf(0)
    return y


def leaky_relu(x: Array, *, negative_slope: float) -> Array:
    """max(0, x) + negative_slope * min(0, x)"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = max(mpf(0), x[k]) + mpf(negative_slope) * min(mpf(0), x[k])
    return y


def prelu(x: Array, weight: Array) -> Array:
    """max(0, x) + weight * min(0, x), with the weight of the channel, which is the second axis."""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        a = weight[k[1]] if len(weight) > 1 else weight[0]
        y[k] = max(mpf(0), x[k]) + a * min(mpf(0), x[k])
    return y


def rrelu(x: Array, slope: Array) -> Array:
    """x if x >= 0, a x otherwise, with a drawn for each element."""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = x[k] if x[k] >= 0 else slope[k] * x[k]
    return y


def elu(x: Array, *, alpha: float) -> Array:
    """x if x > 0, alpha * (exp(x) - 1) if x <= 0"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = x[k] if x[k] > 0 else mpf(alpha) * (exp(x[k]) - 1)
    return y


def selu(x: Array) -> Array:
    """scale * (max(0, x) + min(0, alpha * (exp(x) - 1)))

    with the scale and alpha that keep mean 0 and variance 1 (Klambauer et al., arXiv:1706.02515, equation (14)),
    rounded to float64:

        alpha = -sqrt(2/pi) / (erfc(1/sqrt(2)) exp(1/2) - 1)
        scale = (1 - erfc(1/sqrt(2)) sqrt(e)) sqrt(2 pi)
                / sqrt(2 erfc(sqrt(2)) e^2 + pi erfc(1/sqrt(2))^2 e - 2 (2 + pi) erfc(1/sqrt(2)) sqrt(e) + pi + 2)
    """
    half, root2 = erfc(1 / sqrt(mpf(2))), sqrt(mpf(2))
    alpha = mpf(float(-sqrt(2 / pi) / (half * exp(mpf(1) / 2) - 1)))
    radicand = 2 * erfc(root2) * e**2 + pi * half**2 * e - 2 * (2 + pi) * half * sqrt(e) + pi + 2
    scale = mpf(float((1 - half * sqrt(e)) * sqrt(2 * pi) / sqrt(radicand)))
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = scale * (max(mpf(0), x[k]) + min(mpf(0), alpha * (exp(x[k]) - 1)))
    return y


def celu(x: Array, *, alpha: float) -> Array:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = max(mpf(0), x[k]) + min(mpf(0), mpf(alpha) * (exp(x[k] / mpf(alpha)) - 1))
    return y


def hardtanh(x: Array, *, min_val: float, max_val: float) -> Array:
    """max_val if x > max_val, min_val if x < min_val, x otherwise"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        if x[k] > max_val:
            y[k] = mpf(max_val)
        else:
            y[k] = mpf(min_val) if x[k] < min_val else x[k]
    return y


def clamp(x: Array, *, min: float | None, max: float | None) -> Array:
    """y_i = min(max(x_i, min_value_i), max_value_i) (torch.clamp)"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = x[k] if min is None or x[k] > min else mpf(min)
        y[k] = y[k] if max is None or y[k] < max else mpf(max)
    return y


def relu6(x: Array) -> Array:
    """min(max(0, x), 6)"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = min(max(mpf(0), x[k]), mpf(6))
    return y


def hardsigmoid(x: Array) -> Array:
    """0 if x <= -3, 1 if x >= +3, x / 6 + 1 / 2 otherwise"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        if x[k] <= -3:
            y[k] = mpf(0)
        else:
            y[k] = mpf(1) if x[k] >= 3 else x[k] / 6 + mpf(1) / 2
    return y


def hardswish(x: Array) -> Array:
    """x * ReLU6(x + 3) / 6 (Howard et al., arXiv:1905.02244)"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = x[k] * min(max(mpf(0), x[k] + 3), mpf(6)) / 6
    return y


def threshold(x: Array, *, threshold: float, value: float) -> Array:
    """x if x > threshold, value otherwise"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = x[k] if x[k] > threshold else mpf(value)
    return y


def softshrink(x: Array, *, lambd: float) -> Array:
    """sign(x) max(|x| - lambd, 0) (Donoho, IEEE Trans. Inf. Theory 41 (1995) 613)"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = mpmath.sign(x[k]) * max(abs(x[k]) - mpf(lambd), mpf(0))
    return y


def hardshrink(x: Array, *, lambd: float) -> Array:
    """x if x > lambd, x if x < -lambd, 0 otherwise"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = x[k] if x[k] > lambd or x[k] < -lambd else mpf(0)
    return y


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = 1 / (1 + exp(-x[k]))
    return y


def tanh(x: Array) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = (exp(x[k]) - exp(-x[k])) / (exp(x[k]) + exp(-x[k]))
    return y


def gelu(x: Array, *, approximate: str) -> Array:
    """x Phi(x), the normal distribution; or 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (torch.nn.GELU)."""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        if approximate == "none":
            y[k] = x[k] * (1 + erf(x[k] / sqrt(mpf(2)))) / 2
        else:
            w = sqrt(2 / pi) * (x[k] + mpf(0.044715) * x[k] * x[k] * x[k])
            y[k] = x[k] / 2 * (1 + (exp(w) - exp(-w)) / (exp(w) + exp(-w)))
    return y


def glu(x: Array, *, axis: int) -> Array:
    """a sigmoid(b), where a is the first half of x along the axis and b the second (torch.nn.GLU)."""
    half = x.shape[axis] // 2
    y = np.empty([half if a == axis % x.ndim else n for a, n in enumerate(x.shape)], dtype=object)
    for k in np.ndindex(y.shape):
        other = list(k)
        other[axis] += half
        y[k] = x[k] / (1 + exp(-x[*other]))
    return y


def logsigmoid(x: Array) -> Array:
    """log(1 / (1 + exp(-x)))"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = log(1 / (1 + exp(-x[k])))
    return y


def logsumexp(x: Array, *, axis: int, keepdims: bool) -> Array:
    """log(sum_j exp(x_ij)) along the axis (torch.logsumexp)."""
    axis %= x.ndim
    y = np.empty([1 if a == axis else n for a, n in enumerate(x.shape)], dtype=object)
    for k in np.ndindex(y.shape):
        total = mpf(0)
        for j in range(x.shape[axis]):
            total += exp(x[*k[:axis], j, *k[axis + 1 :]])
        y[k] = log(total)
    return y if keepdims else y.reshape(y.shape[:axis] + y.shape[axis + 1 :])


def mish(x: Array) -> Array:
    """x tanh(log(1 + exp(x))) (torch.nn.Mish)."""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        s = log(1 + exp(x[k]))
        y[k] = x[k] * (exp(s) - exp(-s)) / (exp(s) + exp(-s))
    return y


def silu(x: Array) -> Array:
    """x / (1 + exp(-x))"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = x[k] / (1 + exp(-x[k]))
    return y


def softplus(x: Array, *, beta: float, threshold: float | None) -> Array:
    """log(1 + exp(beta x)) / beta, or x where beta x > threshold (torch.nn.Softplus)."""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        linear = threshold is not None and mpf(beta) * x[k] > threshold
        y[k] = x[k] if linear else log(1 + exp(mpf(beta) * x[k])) / mpf(beta)
    return y


def softsign(x: Array) -> Array:
    """x / (1 + |x|)"""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = x[k] / (1 + (x[k] if x[k] > 0 else -x[k]))
    return y


def tanhshrink(x: Array) -> Array:
    """x - tanh(x)"""
    y = tanh(x)
    for k in np.ndindex(x.shape):
        y[k] = x[k] - y[k]
    return y


def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, *, normalized_shape: tuple[int, ...], eps: float
) -> Array:
    """(x - E[x]) / sqrt(Var[x] + eps) * weight + bias over the last axes (torch.nn.LayerNorm)."""
    y = np.empty(x.shape, dtype=object)
    batch = x.ndim - len(normalized_shape)
    for k in np.ndindex(x.shape):
        total, squares, count = mpf(0), mpf(0), 0
        for j in np.ndindex(normalized_shape):
            total, count = total + x[*k[:batch], *j], count + 1
        for j in np.ndindex(normalized_shape):
            squares += (x[*k[:batch], *j] - total / count) ** 2
        y[k] = (x[k] - total / count) / sqrt(squares / count + mpf(eps))
        if weight is not None:
            y[k] *= weight[k[batch:]]
        if bias is not None:
            y[k] += bias[k[batch:]]
    return y


def rms_norm(x: Array, weight: Array | None, *, normalized_shape: tuple[int, ...], eps: float) -> Array:
    """x / sqrt(E[x^2] + eps) * weight over the last axes (torch.nn.RMSNorm)."""
    y = np.empty(x.shape, dtype=object)
    batch = x.ndim - len(normalized_shape)
    for k in np.ndindex(x.shape):
        squares, count = mpf(0), 0
        for j in np.ndindex(normalized_shape):
            squares, count = squares + x[*k[:batch], *j] ** 2, count + 1
        y[k] = x[k] / sqrt(squares / count + mpf(eps))
        if weight is not None:
            y[k] *= weight[k[batch:]]
    return y


def softmax(x: Array, *, axis: int) -> Array:
    """exp(x_i) / sum_j exp(x_j) along the axis."""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        total = mpf(0)
        for j in range(x.shape[axis]):
            other = list(k)
            other[axis] = j
            total += exp(x[*other])
        y[k] = exp(x[k]) / total
    return y


def log_softmax(x: Array, *, axis: int) -> Array:
    """log(exp(x_i) / sum_j exp(x_j)) along the axis."""
    y = softmax(x, axis=axis)
    for k in np.ndindex(x.shape):
        y[k] = log(y[k])
    return y


def cross_entropy(
    input: Array,
    target: Array,
    *,
    weight: Array | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Array:
    """torch.nn.CrossEntropyLoss, for the class indices y_n or the probabilities y_nc of a sample n:

        l_n = -w_(y_n) log(exp(x_n,y_n) / sum_c exp(x_nc)) [y_n != ignore_index],  mean: sum_n l_n / sum_n w_(y_n) [...]
        l_n = -sum_c w_c log(exp(x_nc) / sum_i exp(x_ni)) y_nc,                    mean: sum_n l_n / N

    with smoothed targets (1 - eps) y_nc + eps / C (Szegedy et al., arXiv:1512.00567); y_nc is one-hot for an index.
    """
    axis = 0 if input.ndim == 1 else 1
    classes = input.shape[axis]
    shape = input.shape[:axis] + input.shape[axis + 1 :]
    eps = mpf(label_smoothing)
    losses, total, divisor = np.empty(shape, dtype=object), mpf(0), mpf(0)
    for n in np.ndindex(shape):
        losses[n] = mpf(0)
        if target.shape == shape and target[n] == ignore_index:
            continue
        normaliser = mpf(0)
        for c in range(classes):
            normaliser += exp(input[*n[:axis], c, *n[axis:]])
        for c in range(classes):
            if target.shape == shape:
                wanted = mpf(1) if c == target[n] else mpf(0)
            else:
                wanted = target[*n[:axis], c, *n[axis:]]
            smoothed = (1 - eps) * wanted + eps / classes
            share = mpf(1) if weight is None else mpf(float(weight[c]))
            losses[n] -= share * smoothed * log(exp(input[*n[:axis], c, *n[axis:]]) / normaliser)
        total += losses[n]
        if target.shape == shape and weight is not None:
            divisor += mpf(float(weight[target[n]]))
        else:
            divisor += 1
    if reduction == "none":
        return losses
    if reduction == "sum":
        return _scalar(total)
    return _scalar(total / divisor if divisor else mpf("nan"))


def nll_loss(input: Array, target: Array, *, weight: Array | None, ignore_index: int, reduction: str) -> Array:
    """torch.nn.NLLLoss: l_n = -w_(y_n) x_n,y_n [y_n != ignore_index], mean: sum_n l_n / sum_n w_(y_n) [...]"""
    losses, total, divisor = np.empty(target.shape, dtype=object), mpf(0), mpf(0)
    for n in np.ndindex(target.shape):
        losses[n] = mpf(0)
        if target[n] == ignore_index:
            continue
        share = mpf(1) if weight is None else mpf(float(weight[target[n]]))
        losses[n] = -share * (input[target[n]] if input.ndim == 1 else input[n[0], target[n], *n[1:]])
        total, divisor = total + losses[n], divisor + share
    if reduction == "none":
        return losses
    if reduction == "sum":
        return _scalar(total)
    return _scalar(total / divisor if divisor else mpf("nan"))


def l1_loss(input: Array, target: Array, *, reduction: str) -> Array:
    """l_n = |x_n - y_n|; their mean."""
    losses = np.empty(input.shape, dtype=object)
    for n in np.ndindex(input.shape):
        losses[n] = input[n] - target[n] if input[n] > target[n] else target[n] - input[n]
    return _reduced(losses, reduction)


def smooth_l1_loss(input: Array, target: Array, *, beta: float, reduction: str) -> Array:
    """torch.nn.SmoothL1Loss: 0.5 (x_n - y_n)^2 / beta if |x_n - y_n| < beta, |x_n - y_n| - 0.5 beta otherwise."""
    losses = np.empty(input.shape, dtype=object)
    for n in np.ndindex(input.shape):
        apart = mpmath.fabs(input[n] - target[n])
        if apart < beta:
            losses[n] = (input[n] - target[n]) ** 2 / (2 * mpf(beta))
        else:
            losses[n] = apart - mpf(beta) / 2
    return _reduced(losses, reduction)


def dropout(x: Array, mask: Array, *, p: float) -> Array:
    """x D / (1 - p); nothing is left of x for p = 1."""
    y = np.empty(x.shape, dtype=object)
    for k in np.ndindex(x.shape):
        y[k] = mpf(0) if p == 1 or mask[k] == 0 else x[k] / (1 - mpf(p))
    return y


def flatten(x: Array, *, start: int) -> Array:
    """The elements one after the other, last axis first, for each place in the axes before `start`."""
    start += x.ndim if start < 0 else 0
    kept = x.shape[:start]
    y = np.empty((*kept, len([*np.ndindex(x.shape[start:])])), dtype=object)
    for k in np.ndindex(kept):
        for i, rest in enumerate(np.ndindex(x.shape[start:])):
            y[*k, i] = x[*k, *rest]
    return y


def l2_penalty(x: Array, *, weight_decay: float) -> Array:
    """lambda/2 sum of squares."""
    total = mpf(0)
    for k in np.ndindex(x.shape):
        total += mpf(weight_decay) * x[k] * x[k] / 2
    return _scalar(total)


def binary_cross_entropy_with_logits(
    input: Array, target: Array, *, weight: Array | None, pos_weight: Array | None, reduction: str
) -> Array:
    """torch.nn.BCEWithLogitsLoss: l_n = -w_n (p_n y_n log sigma(x_n) + (1 - y_n) log(1 - sigma(x_n))); their mean."""
    losses = np.empty(input.shape, dtype=object)
    w, p = (np.broadcast_to(1.0 if v is None else v, input.shape) for v in (weight, pos_weight))
    for n in np.ndindex(input.shape):
        s = 1 / (1 + exp(-input[n]))
        losses[n] = mpf(float(p[n])) * target[n] * log(s) + (1 - target[n]) * log(1 - s)
        losses[n] *= -mpf(float(w[n]))
    return _reduced(losses, reduction)


def half_squared_error(input: Array, target: Array, *, reduction: str) -> Array:
    """l_n = 1/2 sum_j (y_nj - t_nj)^2; a batch counts their mean."""
    losses = np.empty(len(input), dtype=object)
    for n in range(len(input)):
        losses[n] = mpf(0)
        for j in np.ndindex(input.shape[1:]):
            losses[n] += (input[n, *j] - target[n, *j]) * (input[n, *j] - target[n, *j]) / 2
    return _reduced(losses, reduction)


def mse_loss(input: Array, target: Array, *, reduction: str) -> Array:
    """l_n = (x_n - y_n)^2, over all elements n; their mean."""
    losses = np.empty(input.shape, dtype=object)
    for n in np.ndindex(input.shape):
        losses[n] = (input[n] - target[n]) * (input[n] - target[n])
    return _reduced(losses, reduction)


def _starts(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> list[int]:
    """Where windows begin on an axis of n cells (torch.nn.MaxPool1d): every s cells from -p on, as long as they end
    inside the padded input; "when ceil_mode=True, sliding windows are allowed to go off-bounds if they start within the
    left padding or the input", for what the others left over."""
    starts, start, end = [], -p, -p - 1
    while start + d * (k - 1) < n + p:
        starts.append(start)
        start, end = start + s, start + d * (k - 1)
    if ceil_mode and end < n + p - 1 and start < n:
        starts.append(start)
    return starts


def _pool(
    rank: int,
    x: Array,
    combine: Callable[[list[Any], int], Any],
    *,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any = 1,
    ceil_mode: bool,
) -> Array:
    """`combine` of each window's cells and the number of those in the padding, for all channels and samples."""
    size = x.shape[-rank:]
    k, s, p, d = (
        [v] * rank if isinstance(v, int) else [*v]
        for v in (kernel_size, kernel_size if stride is None else stride, padding, dilation)
    )
    starts = [_starts(size[a], k[a], s[a], p[a], d[a], ceil_mode) for a in range(rank)]
    y = np.empty((*x.shape[:-rank], *map(len, starts)), dtype=object)
    for place in np.ndindex(y.shape):
        lead, o = place[:-rank], place[-rank:]
        cells, padded = [], 0
        for t in np.ndindex(*k):
            at = [starts[a][o[a]] + t[a] * d[a] for a in range(rank)]
            if all(0 <= at[a] < size[a] for a in range(rank)):
                cells.append(x[*lead, *at])
            elif all(at[a] < size[a] + p[a] for a in range(rank)):
                padded += 1
        y[place] = combine(cells, padded)
    return y


def max_pool(rank: int, x: Array, **placing: Any) -> Array:
    """out(N, C, o) = max over t of input(N, C, stride o + t), with implicit padding of minus infinity."""

    def largest(cells: list[Any], padded: int) -> Any:
        top = mpf("-inf")
        for v in cells:
            top = v if v > top else top
        return top

    return _pool(rank, x, largest, **placing)


def avg_pool(
    rank: int, x: Array, *, count_include_pad: bool, divisor_override: int | None = None, **placing: Any
) -> Array:
    """out(N, C, o) = 1/k sum over t of input(N, C, stride o + t), with implicit zeros as padding: in k or not."""

    def mean(cells: list[Any], padded: int) -> Any:
        total = mpf(0)
        for v in cells:
            total += v
        return total / (divisor_override or (len(cells) + padded if count_include_pad else len(cells)))

    return _pool(rank, x, mean, **placing)


def maxout(x: Array, *, groups: int) -> Array:
    """h_j = max over i of z_ij (Goodfellow et al., arXiv:1302.4389), z_ij being channel j (C / groups) + i."""
    each = x.shape[1] // groups
    y = np.empty((x.shape[0], groups, *x.shape[2:]), dtype=object)
    for n, j, *rest in np.ndindex(y.shape):
        y[n, j, *rest] = x[n, j * each, *rest]
        for i in range(1, each):
            z = x[n, j * each + i, *rest]
            y[n, j, *rest] = z if z > y[n, j, *rest] else y[n, j, *rest]
    return y


def _reduced(losses: Array, reduction: str) -> Array:
    if reduction == "none":
        return losses
    total, count = mpf(0), 0
    for n in np.ndindex(losses.shape):
        total, count = total + losses[n], count + 1
    return _scalar(total if reduction == "sum" else total / count)


def _each(of: Callable[[mpf], mpf]) -> Callable[[Array], Array]:
    """A function of one number, of each in turn (torch.exp and its like)."""

    def loop(x: Array) -> Array:
        y = np.empty(x.shape, dtype=object)
        for k in np.ndindex(x.shape):
            y[k] = of(x[k])
        return y

    return loop


def _scalar(value: mpf) -> Array:
    y = np.empty((), dtype=object)
    y[()] = value
    return y


# Op name -> the formula in loops. One line for each op.
FORWARDS: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {
        "abs": _each(lambda v: v if v > 0 else -v),
        "add": add,
        "asinh": _each(lambda v: log(v + sqrt(v * v + 1))),
        "atan": _each(lambda v: mpmath.asin(v / sqrt(1 + v * v))),
        "avg_pool1d": functools.partial(avg_pool, 1),
        "avg_pool2d": functools.partial(avg_pool, 2),
        "avg_pool3d": functools.partial(avg_pool, 3),
        "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
        "celu": celu,
        "clamp": clamp,
        "conv1d": convolution,
        "conv2d": convolution,
        "conv3d": convolution,
        "conv_transpose1d": transposed_convolution,
        "conv_transpose2d": transposed_convolution,
        "conv_transpose3d": transposed_convolution,
        "cos": _each(lambda v: (mpmath.expj(v) + mpmath.expj(-v)).real / 2),
        "cosh": _each(lambda v: (exp(v) + exp(-v)) / 2),
        "cross_entropy": cross_entropy,
        "div": div,
        "dropout": dropout,
        "elu": elu,
        "erf": _each(lambda v: mpmath.gammainc(mpf(0.5), 0, v * v) * mpmath.sign(v) / sqrt(pi)),
        "erfc": _each(lambda v: 1 - mpmath.gammainc(mpf(0.5), 0, v * v) * mpmath.sign(v) / sqrt(pi)),
        "exp": _each(lambda v: e**v),
        "exp2": _each(lambda v: mpf(2) ** v),
        "expm1": _each(lambda v: exp(v) - 1),
        "flatten": flatten,
        "gelu": gelu,
        "glu": glu,
        "half_squared_error": half_squared_error,
        "hardshrink": hardshrink,
        "hardsigmoid": hardsigmoid,
        "hardswish": hardswish,
        "hardtanh": hardtanh,
        "l1_loss": l1_loss,
        "l2_penalty": l2_penalty,
        "layer_norm": layer_norm,
        "leaky_relu": leaky_relu,
        "linear": linear,
        "locally_connected2d": locally_connected2d,
        "log": _each(lambda v: log(v)),
        "log10": _each(lambda v: log(v) / log(10)),
        "log1p": _each(lambda v: log(1 + v)),
        "log2": _each(lambda v: log(v) / log(2)),
        "log_softmax": log_softmax,
        "logsigmoid": logsigmoid,
        "logsumexp": logsumexp,
        "matmul": matmul,
        "max_pool1d": functools.partial(max_pool, 1),
        "max_pool2d": functools.partial(max_pool, 2),
        "max_pool3d": functools.partial(max_pool, 3),
        "maxout": maxout,
        "mish": mish,
        "mse_loss": mse_loss,
        "mul": mul,
        "neg": _each(lambda v: 0 - v),
        "nll_loss": nll_loss,
        "prelu": prelu,
        "reciprocal": _each(lambda v: v ** mpf(-1)),
        "relu": relu,
        "relu6": relu6,
        "rms_norm": rms_norm,
        "rrelu": rrelu,
        "rsqrt": _each(lambda v: v ** mpf(-0.5)),
        "selu": selu,
        "sigmoid": sigmoid,
        "sign": _each(lambda v: mpf((v > 0) - (v < 0))),
        "silu": silu,
        "sin": _each(lambda v: (mpmath.expj(v) - mpmath.expj(-v)).imag / 2),
        "sinh": _each(lambda v: (exp(v) - exp(-v)) / 2),
        "smooth_l1_loss": smooth_l1_loss,
        "softmax": softmax,
        "softplus": softplus,
        "softshrink": softshrink,
        "softsign": softsign,
        "sqrt": _each(lambda v: v ** mpf(0.5)),
        "square": _each(lambda v: v * v),
        "sub": sub,
        "tan": _each(lambda v: mpmath.sin(v) / mpmath.cos(v)),
        "tanh": tanh,
        "tanhshrink": tanhshrink,
        "threshold": threshold,
    }
)


def promised_bits(digits: int = DIGITS) -> int:
    """The bits that `digits` decimal digits hold."""
    return int(digits * np.log2(10.0))


def forward(
    op: Op, inputs: Sequence[np.ndarray | None], params: Mapping[str, Any], *, digits: int = DIGITS
) -> np.ndarray:
    """The output of an op as an array of arb balls.

    The result of `digits` digits differs from that of twice as many by its own rounding error, up to a part of
    10**-digits; the ball lies around the better result and has that difference as its radius.
    """
    function = FORWARDS[op.name]
    rounded, better = (_run(function, inputs, params, d) for d in (digits, 2 * digits))
    with flint.ctx.workdps(2 * digits):
        balls = np.frompyfunc(lambda a, b: flint.arb(b) + flint.arb(0, abs(flint.arb(b) - flint.arb(a)).upper()), 2, 1)
        return np.asarray(balls(rounded, better), dtype=object)


def _run(function: Callable[..., Array], inputs: Sequence[Any], params: Mapping[str, Any], digits: int) -> Array:
    with mpmath.workdps(digits):
        return function(*(x if x is None or x.dtype.kind in "biu" else _numbers(x) for x in inputs), **params)


def _numbers(x: np.ndarray) -> Array:
    """Floats as the same numbers in mpmath."""
    return np.asarray(np.frompyfunc(lambda v: mpf(float(v)), 1, 1)(x), dtype=object)
