"""Layers as networks have them, on numbers as people have them.

The default cases of an op are small and odd, and drawn at random. Here are logits of ImageNet and of GPT's vocabulary,
layers of ResNet and of a transformer (cut where a check would take more than some seconds), on normal numbers, on
tenths, on bytes divided by 255 and on sorted numbers, which `refnn.check` gets as a user's inputs.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from refnn.formats import FORMATS
from refnn.study.power.mutant import Array

Shape = tuple[int, ...]

DATA: Mapping[str, Callable[[np.random.Generator, Shape], Array]] = MappingProxyType(
    {
        "normal": lambda rng, shape: rng.normal(size=shape),
        "tenths": lambda rng, shape: np.round(rng.uniform(size=shape), 1),
        "bytes / 255": lambda rng, shape: rng.integers(0, 256, shape) / 255,
        "sorted": lambda rng, shape: np.sort(rng.normal(size=shape), axis=None).reshape(shape),
    }
)
KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "float32": tuple(DATA),
        "float64": ("normal", "tenths"),
        "bfloat16": ("normal", "bytes / 255"),
        "float16": ("normal", "bytes / 255"),
    }
)


@dataclass(frozen=True)
class Layer:
    """An op at one size: the shape of its data (the first input), then what its other inputs are: "weights", "data",
    "bits", "classes" or "units", each with its shape, or None."""

    op: str
    shape: Shape
    others: tuple[tuple[str, Shape] | None, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shapes = [self.shape, *(o[1] for o in self.others if o is not None and o[0] == "weights")]
        given = [" with ".join("x".join(map(str, s)) for s in shapes[:2])]
        return f"{self.op} {', '.join(given + [f'{k} {v}' for k, v in self.params.items()])}"

    def case(self, dtype: str, data: str, seed: int) -> dict[str, Any]:
        """What `refnn.check` takes as inputs: of this kind of data, all else drawn with it. A loss that is one number
        has the cotangent 1."""
        rng = np.random.default_rng([seed, zlib.crc32(f"{self} {dtype} {data}".encode())])
        fmt = FORMATS[dtype]
        arrays: list[Any] = [DATA[data](rng, self.shape).astype(fmt.dtype)]
        for other in self.others:
            arrays.append(None if other is None else self._drawn(rng, *other, data, fmt.dtype))
        case: dict[str, Any] = {"inputs": tuple(arrays), "params": dict(self.params)}
        if self.params.get("reduction", "none") != "none":
            case["cotangent"] = np.ones((), fmt.dtype)
        return case

    def _drawn(self, rng: np.random.Generator, role: str, shape: Shape, data: str, dtype: Any) -> Array:
        if role == "classes":
            return rng.integers(0, self.shape[1], shape)
        if role == "bits":
            return (rng.random(shape) < 0.5).astype(dtype)
        if role == "units":
            return rng.random(shape).astype(dtype)
        if role == "data":
            return DATA[data](rng, shape).astype(dtype)
        return (rng.normal(size=shape) / math.sqrt(math.prod(shape[1:]))).astype(dtype)


def _weights(*shape: int) -> tuple[tuple[str, Shape], tuple[str, Shape]]:
    return ("weights", shape), ("weights", (shape[0],))


SMOOTH = ("gelu", "silu", "tanh", "sigmoid", "elu", "selu", "celu", "softplus", "logsigmoid", "mish", "softsign")
PIECES = ("relu", "hardswish", "hardsigmoid", "leaky_relu", "relu6", "hardtanh")
LOSSES = ("mse_loss", "l1_loss", "smooth_l1_loss", "half_squared_error")

LAYERS: tuple[Layer, ...] = (
    *(Layer(op, shape) for op in ("softmax", "log_softmax", "logsumexp") for shape in ((64, 1000), (256, 10))),
    Layer("softmax", (12, 64, 64)),  # the heads of GPT-2 on 64 tokens
    Layer("softmax", (1, 50_257)),
    Layer("log_softmax", (1, 50_257)),
    *(Layer("cross_entropy", (256, 10), (("classes", (256,)),), {"reduction": r}) for r in ("none", "sum", "mean")),
    Layer("cross_entropy", (64, 1000), (("classes", (64,)),), {"reduction": "mean"}),
    Layer("cross_entropy", (1, 50_257), (("classes", (1,)),), {"reduction": "sum"}),
    Layer("nll_loss", (256, 10), (("classes", (256,)),), {"reduction": "mean"}),
    Layer("linear", (64, 784), _weights(128, 784)),
    Layer("linear", (16, 768), _weights(3072, 768)),  # the MLP of GPT-2
    Layer("conv2d", (2, 3, 32, 32), _weights(32, 3, 3, 3), {"padding": 1}),  # the first layer on CIFAR
    Layer("conv2d", (1, 3, 56, 56), _weights(64, 3, 7, 7), {"stride": 2, "padding": 3}),  # ResNet's stem, a quarter
    Layer("conv2d", (1, 64, 28, 28), (("weights", (64, 64, 3, 3)), None), {"padding": 1}),  # ResNet, half a side
    Layer("conv2d", (1, 64, 28, 28), (("weights", (128, 64, 1, 1)), None), {"stride": 2}),
    Layer("conv1d", (2, 64, 100), _weights(64, 64, 3), {"padding": 1}),
    Layer("conv_transpose2d", (1, 32, 8, 8), (("weights", (32, 16, 4, 4)), None), {"stride": 2, "padding": 1}),
    Layer("max_pool2d", (1, 64, 32, 32), params={"kernel_size": 3, "stride": 2, "padding": 1}),
    Layer("max_pool2d", (1, 64, 32, 32), params={"kernel_size": 2}),
    Layer("avg_pool2d", (2, 512, 7, 7), params={"kernel_size": 7}),
    *(Layer(op, (32, 768)) for op in (*SMOOTH, *PIECES)),
    Layer("gelu", (32, 768), params={"approximate": "tanh"}),
    Layer("softplus", (32, 768), params={"beta": 2.5}),
    Layer("glu", (32, 1536)),
    Layer("prelu", (1, 64, 28, 28), (("weights", (64,)),)),
    Layer("dropout", (64, 512), (("bits", (64, 512)),), {"p": 0.1}),
    *(Layer(op, (64, 784), (("data", (64, 784)),), {"reduction": "mean"}) for op in LOSSES),
    Layer("binary_cross_entropy_with_logits", (256, 10), (("units", (256, 10)),), {"reduction": "mean"}),
    Layer("l2_penalty", (256, 256), params={"weight_decay": 1e-4}),
)


def cases(layer: Layer, dtype: str, seeds: tuple[int, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind of data, inputs of a check), for the kinds that are drawn in this dtype."""
    for seed in seeds:
        for data in KINDS[dtype]:
            yield data, layer.case(dtype, data, seed)
