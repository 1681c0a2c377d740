"""PyTorch as a witness: the same function from another hand, and its gradients by autograd, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from refnn.implementations import torch as adapter
from refnn.judging.call import passed
from refnn.judging.case import Case
from refnn.networks.network import Network, Node, Params
from refnn.op import Op
from refnn.ops import find


def half_squared_error(input: torch.Tensor, target: torch.Tensor, *, reduction: str = "mean") -> torch.Tensor:
    """Half the sum of squares of each sample, composed of PyTorch's own operations: PyTorch has no such loss."""
    d = input - target
    squares = d * d  # not square(), whose backward doubles d before the half comes in, and overflows
    losses = (squares.flatten(1).sum(1) if squares.ndim > 1 else squares) / 2
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def dropout(x: torch.Tensor, mask: torch.Tensor, *, p: float = 0.5) -> torch.Tensor:
    """What `F.dropout` does with the mask that it draws: PyTorch takes none from its caller."""
    noise = torch.zeros((), dtype=x.dtype) if p == 1 else mask / (1 - p)
    return x * noise


def l2_penalty(x: torch.Tensor, *, weight_decay: float) -> torch.Tensor:
    """Half the weighted sum of squares, composed of PyTorch's own operations: PyTorch has no such loss."""
    return (x * x).sum() * (weight_decay / 2)


def maxout(x: torch.Tensor, *, groups: int) -> torch.Tensor:
    """The maximum of each of `groups` groups of consecutive channels: PyTorch has no function for it."""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]).max(2).values


def locally_connected2d(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, *, stride: Any = 1
) -> torch.Tensor:
    """PyTorch has no such layer: its own patches, and a sum for each place."""
    rows = x if x.ndim == 4 else x[None]
    out, _, height, width = weight.shape[:4]
    patches = F.unfold(rows, weight.shape[4:], stride=stride)  # (N, C * taps, places)
    kernels = weight.flatten(2, 3).permute(0, 1, 3, 4, 2).flatten(1, 3)  # (O, C * taps, places)
    y = torch.einsum("nkp,okp->nop", patches, kernels).reshape(-1, out, height, width)
    y = y if bias is None else y + bias
    return y if x.ndim == 4 else y[0]


def rrelu(x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """A leaky unit with given slopes, composed of PyTorch's own operations: PyTorch's rrelu draws its own."""
    return torch.where(x > 0, x, slope * x)


VERSION = adapter.ARRAYS.version

# Op name -> function of tensors, with PyTorch's parameter names. One line for each op.
FUNCTIONS: Mapping[str, Callable[..., torch.Tensor]] = MappingProxyType(
    {
        "abs": torch.abs,
        "add": torch.add,
        "asinh": torch.asinh,
        "atan": torch.atan,
        "avg_pool1d": F.avg_pool1d,
        "avg_pool2d": F.avg_pool2d,
        "avg_pool3d": F.avg_pool3d,
        "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
        "celu": F.celu,
        "clamp": torch.clamp,
        "conv1d": adapter.SPELLED[F.conv1d],
        "conv2d": adapter.SPELLED[F.conv2d],
        "conv3d": adapter.SPELLED[F.conv3d],
        "conv_transpose1d": adapter.SPELLED[F.conv_transpose1d],
        "conv_transpose2d": adapter.SPELLED[F.conv_transpose2d],
        "conv_transpose3d": adapter.SPELLED[F.conv_transpose3d],
        "cos": torch.cos,
        "cosh": torch.cosh,
        "cross_entropy": F.cross_entropy,
        "div": torch.div,
        "dropout": dropout,
        "elu": F.elu,
        "erf": torch.erf,
        "erfc": torch.erfc,
        "exp": torch.exp,
        "exp2": torch.exp2,
        "expm1": torch.expm1,
        "flatten": torch.flatten,
        "gelu": F.gelu,
        "glu": F.glu,
        "half_squared_error": half_squared_error,
        "hardshrink": F.hardshrink,
        "hardsigmoid": F.hardsigmoid,
        "hardswish": F.hardswish,
        "hardtanh": F.hardtanh,
        "l1_loss": F.l1_loss,
        "l2_penalty": l2_penalty,
        "layer_norm": F.layer_norm,
        "leaky_relu": F.leaky_relu,
        "linear": F.linear,
        "locally_connected2d": locally_connected2d,
        "log": torch.log,
        "log10": torch.log10,
        "log1p": torch.log1p,
        "log2": torch.log2,
        "log_softmax": F.log_softmax,
        "logsigmoid": F.logsigmoid,
        "logsumexp": torch.logsumexp,
        "matmul": torch.matmul,
        "max_pool1d": F.max_pool1d,
        "max_pool2d": F.max_pool2d,
        "max_pool3d": F.max_pool3d,
        "maxout": maxout,
        "mish": F.mish,
        "mse_loss": F.mse_loss,
        "mul": torch.mul,
        "neg": torch.neg,
        "nll_loss": F.nll_loss,
        "prelu": F.prelu,
        "reciprocal": torch.reciprocal,
        "relu": F.relu,
        "relu6": F.relu6,
        "rms_norm": F.rms_norm,
        "rrelu": rrelu,
        "rsqrt": torch.rsqrt,
        "selu": F.selu,
        "sigmoid": torch.sigmoid,
        "sign": torch.sign,
        "silu": F.silu,
        "sin": torch.sin,
        "sinh": torch.sinh,
        "smooth_l1_loss": F.smooth_l1_loss,
        "softmax": F.softmax,
        "softplus": F.softplus,
        "softshrink": F.softshrink,
        "softsign": F.softsign,
        "sqrt": torch.sqrt,
        "square": torch.square,
        "sub": torch.sub,
        "tan": torch.tan,
        "tanh": torch.tanh,
        "tanhshrink": F.tanhshrink,
        "threshold": F.threshold,
    }
)


class Layer(torch.nn.Module):
    """A node of a network: PyTorch's function for its op, with its parameters."""

    def __init__(self, node: Node, weights: Params) -> None:
        super().__init__()
        self.op, self.settings = node.op, adapter.arguments({**find(node.op).defaults, **node.params})
        for name in node.inputs:
            if name in weights:
                value = adapter.to_torch(np.array(weights[name]))
                self.register_parameter(name.rpartition(".")[2], torch.nn.Parameter(value))

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        function = FUNCTIONS[self.op]
        arrays, behind = passed(function, find(self.op), [*values, *self.parameters()], {}, adapter.SPELLING)
        return function(*arrays, **behind, **self.settings)

    def extra_repr(self) -> str:
        return ", ".join([self.op, *(f"{k}={v!r}" for k, v in self.settings.items())])


class Graph(torch.nn.Module):
    """The layers of a network in its order; `module` puts them in."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        values = dict(zip(self.net.inputs, inputs, strict=True))
        for node in self.net.nodes:
            arguments = [values[n] for n in node.inputs if n not in self.net.parameters]
            values[node.name] = self.get_submodule(node.name)(*arguments)
        return values[self.net.nodes[-1].name]


def module(net: Network) -> torch.nn.Module:
    """A network as a module: its nodes are layers under its own names, with the first of its sets of weights.

    ValueError where it has none.
    """
    weights = next(iter(net.weights.values()), {})
    if missing := [p for p in net.parameters if p not in weights]:
        raise ValueError(f"{net.name} has no weights that say what shape {missing[0]!r} has")
    made = Graph(net)
    for node in net.nodes:
        parent: torch.nn.Module = made
        *path, name = node.name.split(".")
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, torch.nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(name, Layer(node, weights))
    return made


def gradients(op: Op, case: Case) -> tuple[np.ndarray, tuple[np.ndarray | None, ...]]:
    """PyTorch's output for a case and its gradients, one entry an input (None where there is none), all float64."""
    forward, vjp = adapter.functions(op, FUNCTIONS[op.name])

    def widened(x: np.ndarray | None) -> np.ndarray | None:
        return x if x is None or x.dtype.kind in "biu" else x.astype(np.float64)

    inputs = [widened(x) for x in case.inputs]
    params = {k: widened(v) if isinstance(v, np.ndarray) else v for k, v in case.params.items()}
    return forward(*inputs, **params), vjp(widened(case.cotangent), *inputs, **params)


# What the entry point names.
TORCH = replace(adapter.ARRAYS, ops=FUNCTIONS, module=module)
