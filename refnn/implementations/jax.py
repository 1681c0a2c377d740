"""JAX: its functions compiled by XLA, as its users run them, and the gradients of jax.vjp.

A function is compiled for each shape and each set of parameters, and kept. 64 bits are enabled in the scope of a call
alone. XLA flushes subnormal numbers to zero on a processor, and so does the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from refnn.implementations._spell import each, overhang, pairs
from refnn.implementations.framework import Framework, Function

LETTERS = "DHW"


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    y = x @ weight.T
    return y if bias is None else y + bias


def conv(
    x: Any, weight: Any, bias: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    rank = weight.ndim - 2
    given = pairs(padding, weight.shape[2:], dilation)
    y = _general(x, weight, each(stride, rank), given, (1,) * rank, each(dilation, rank), groups)
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


def conv_transpose(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """A convolution of the input with zeros between, which is how XLA has it."""
    rank = weight.ndim - 2
    steps, extra = each(dilation, rank), each(output_padding, rank)
    cut = pairs(padding, weight.shape[2:], dilation)
    given = [
        (d * (k - 1) - before, d * (k - 1) - after + more)
        for d, k, (before, after), more in zip(steps, weight.shape[2:], cut, extra, strict=True)
    ]
    split = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    turned = jnp.flip(split.reshape(-1, *split.shape[2:]), range(2, 2 + rank))
    y = _general(x, turned, (1,) * rank, given, each(stride, rank), steps, groups)
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


def _general(x: Any, weight: Any, stride: Any, padding: Any, spread: Any, dilation: Any, groups: int) -> Any:
    rank = weight.ndim - 2
    axes = LETTERS[-rank:]
    rows = x if x.ndim == rank + 2 else x[None]
    y = lax.conv_general_dilated(
        rows,
        weight,
        stride,
        padding,
        lhs_dilation=spread,
        rhs_dilation=dilation,
        dimension_numbers=(f"NC{axes}", f"OI{axes}", f"NC{axes}"),
        feature_group_count=groups,
    )
    return y if x.ndim == rank + 2 else y[0]


def max_pool(
    rank: int,
    x: Any,
    *,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    kernel, steps = each(kernel_size, rank), each(dilation, rank)
    strides = kernel if stride is None else each(stride, rank)
    around = pairs(padding, kernel, dilation)
    if ceil_mode:
        around = overhang(x.shape[-rank:], kernel, strides, around, steps)
    return _windows(x, -jnp.inf, lax.max, kernel, strides, around, steps)


def avg_pool(
    rank: int,
    x: Any,
    *,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    kernel = each(kernel_size, rank)
    strides = kernel if stride is None else each(stride, rank)
    inside = pairs(padding, kernel, 1)
    around = overhang(x.shape[-rank:], kernel, strides, inside, (1,) * rank) if ceil_mode else inside
    sums = _windows(x, 0, lax.add, kernel, strides, around, (1,) * rank)
    if divisor_override is not None:
        return sums / divisor_override
    cells = np.ones(x.shape[-rank:], x.dtype)
    beyond = around
    if count_include_pad:
        cells = np.pad(cells, inside, constant_values=1)
        beyond = [(0, after - own) for (_, after), (_, own) in zip(around, inside, strict=True)]
    return sums / _windows(jnp.asarray(cells), 0, lax.add, kernel, strides, beyond, (1,) * rank)


def _windows(x: Any, start: Any, join: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    ahead = x.ndim - len(kernel)
    return lax.reduce_window(
        x,
        np.asarray(start, x.dtype),
        join,
        (*[1] * ahead, *kernel),
        (*[1] * ahead, *stride),
        [(0, 0)] * ahead + list(padding),
        window_dilation=(*[1] * ahead, *dilation),
    )


def gelu(x: Any, *, approximate: str = "none") -> Any:
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def flatten(x: Any, *, start: int = 1) -> Any:
    return jnp.reshape(x, (*x.shape[:start], prod(x.shape[start:])))


OPS: MappingProxyType[str, Function] = MappingProxyType(
    {
        **{f"avg_pool{n}d": partial(avg_pool, n) for n in (1, 2, 3)},
        "celu": jax.nn.celu,
        **{f"conv{n}d": conv for n in (1, 2, 3)},
        **{f"conv_transpose{n}d": conv_transpose for n in (1, 2, 3)},
        "elu": jax.nn.elu,
        "flatten": flatten,
        "gelu": gelu,
        "glu": jax.nn.glu,
        "hardsigmoid": jax.nn.hard_sigmoid,
        "hardswish": jax.nn.hard_swish,
        "hardtanh": jax.nn.hard_tanh,
        "leaky_relu": jax.nn.leaky_relu,
        "linear": linear,
        "log_softmax": jax.nn.log_softmax,
        "logsigmoid": jax.nn.log_sigmoid,
        "logsumexp": jax.nn.logsumexp,
        **{f"max_pool{n}d": partial(max_pool, n) for n in (1, 2, 3)},
        "mean": jnp.mean,
        "mish": jax.nn.mish,
        "relu": jax.nn.relu,
        "relu6": jax.nn.relu6,
        "selu": jax.nn.selu,
        "sigmoid": jax.nn.sigmoid,
        "silu": jax.nn.silu,
        "softmax": jax.nn.softmax,
        "softplus": jax.nn.softplus,
        "softsign": jax.nn.soft_sign,
        "sum": jnp.sum,
        "tanh": jnp.tanh,
        "var": jnp.var,
    }
)


@partial(jax.jit, static_argnums=0)
def _forward(f: Function, arrays: Sequence[Any]) -> Any:
    return f(*arrays)


@partial(jax.jit, static_argnums=(0, 2))
def _gradients(f: Function, arrays: Sequence[Any], places: tuple[int, ...], g: Any) -> Any:
    def of_some(*some: Any) -> Any:
        moved = dict(zip(places, some, strict=True))
        return f(*(moved.get(i, x) for i, x in enumerate(arrays)))

    _, pull = jax.vjp(of_some, *(arrays[i] for i in places))
    return pull(g)


def _in_64_bits(f: Callable[..., Any]) -> Callable[..., Any]:
    def scoped(*args: Any) -> Any:
        with jax.enable_x64(True):
            return f(*args)

    return scoped


JAX = Framework(
    name="jax",
    version=jax.__version__,
    ops=OPS,
    array=_in_64_bits(jnp.array),
    numpy=np.asarray,
    vjp=_in_64_bits(_gradients),
    call=_in_64_bits(_forward),
    model=lambda dtype: f"{dtype}-ftz",
    conventions=MappingProxyType(
        {
            "relu'(0)": "0",
            "ties of max_pool": "the first",
            "gelu": "approximate='tanh' is JAX's own default; refnn's, the exact one, is passed",
        }
    ),
    homes=("jax.nn", "jax.numpy"),
)
