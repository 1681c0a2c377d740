"""Numbers on which float64 makes no rounding error, so that PyTorch's gradients are exact and compared as such."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from refnn.arithmetic.exact import Fractions
from refnn.implementations.torch import arguments
from refnn.networks.network import Network
from refnn.ops import find
from refnn.witnesses.torch import FUNCTIONS


def quarters(seed: int, *shape: int) -> np.ndarray:
    """Random multiples of 1/4 from -2 to 2, in float64."""
    return np.random.default_rng(seed).integers(-8, 9, shape) / 4


def fractions(arrays: Any) -> Any:
    """Floats as the fractions that they are; an array, or a dict of them. Integers stay what they are."""
    if isinstance(arrays, dict):
        return {name: fractions(x) for name, x in arrays.items()}
    return arrays if arrays.dtype.kind in "iu" else Fractions().array(arrays)


def autograd(
    net: Network, params: dict[str, np.ndarray], *inputs: np.ndarray, target: np.ndarray, loss: str
) -> dict[str, np.ndarray]:
    """PyTorch's gradient of the mean over the samples of the loss, as fractions: exact where its sums are."""
    leaves = {name: torch.tensor(v, requires_grad=True) for name, v in params.items()}
    values = {**leaves, **{name: torch.tensor(x) for name, x in zip(net.inputs, inputs, strict=True)}}
    for node in net.nodes:
        op, given = find(node.op), [values[name] for name in node.inputs]
        values[node.name] = FUNCTIONS[op.name](*given, **arguments({**op.defaults, **node.params}))
    FUNCTIONS[loss](values[net.nodes[-1].name], torch.tensor(target), reduction="sum").backward()
    return {name: fractions(v.grad.numpy()) / len(target) for name, v in leaves.items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Whether two sets of gradients are equal: fractions as numbers, floats in every bit and in their dtype."""
    return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)


def _same(x: np.ndarray, y: np.ndarray) -> bool:
    assert x.dtype == y.dtype, f"{x.dtype} and {y.dtype} are not compared"
    return x.shape == y.shape and (bool((x == y).all()) if x.dtype == object else x.tobytes() == y.tobytes())
