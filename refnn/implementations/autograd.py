"""HIPS autograd: NumPy's functions as `autograd.numpy` has them, and their gradients by its tape."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from math import prod
from types import MappingProxyType
from typing import Any

import autograd
import autograd.numpy as anp
import autograd.scipy.special as special
import numpy as np
from autograd.scipy.signal import convolve

from refnn.implementations.framework import Framework, Function


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    y = anp.dot(x, weight.T)
    return y if bias is None else y + bias


def conv2d(x: Any, weight: Any, bias: Any = None) -> Any:
    """As in autograd's own example, of a convolution that turns the kernel."""
    rows = x if x.ndim == 4 else x[None]
    y = convolve(rows, weight[:, :, ::-1, ::-1], axes=([2, 3], [2, 3]), dot_axes=([1], [1]), mode="valid")
    y = y if bias is None else y + bias[:, None, None]
    return y if x.ndim == 4 else y[0]


def log_softmax(x: Any, *, axis: int = -1) -> Any:
    """As in autograd's own example of a classifier."""
    return x - special.logsumexp(x, axis=axis, keepdims=True)


OPS: MappingProxyType[str, Function] = MappingProxyType(
    {
        "conv2d": conv2d,
        "flatten": lambda x, *, start=1: anp.reshape(x, (*x.shape[:start], prod(x.shape[start:]))),
        "leaky_relu": lambda x, *, negative_slope=0.01: anp.where(x > 0, x, negative_slope * x),
        "linear": linear,
        "log_softmax": log_softmax,
        "logsigmoid": lambda x: -anp.logaddexp(0, -x),
        "logsumexp": lambda x, *, axis=-1, keepdims=False: special.logsumexp(x, axis=axis, keepdims=keepdims),
        "maxout": lambda x, *, groups: anp.max(anp.reshape(x, (len(x), groups, x.shape[1] // groups, *x.shape[2:])), 2),
        "mean": lambda x, *, axis=None, keepdims=False: anp.mean(x, axis=axis, keepdims=keepdims),
        "relu": lambda x: anp.maximum(x, 0),
        "sigmoid": lambda x: special.expit(x),
        "softplus": lambda x: anp.logaddexp(0, x),
        "sum": lambda x, *, axis=None, keepdims=False: anp.sum(x, axis=axis, keepdims=keepdims),
        "tanh": lambda x: anp.tanh(x),
        "var": lambda x, *, axis=None, keepdims=False, correction=1: anp.var(
            x, axis=axis, ddof=correction, keepdims=keepdims
        ),
    }
)


def _vjp(f: Function, arrays: Sequence[Any], places: tuple[int, ...], g: Any) -> Sequence[Any]:
    pull, _ = autograd.make_vjp(f, places)(*arrays)
    return pull(g)


AUTOGRAD = Framework(
    name="autograd",
    version=version("autograd"),
    ops=OPS,
    array=np.array,
    numpy=np.asarray,
    vjp=_vjp,
    conventions=MappingProxyType({"relu'(0)": "1/2, half to each of two equals", "ties of maxout": "split evenly"}),
)
