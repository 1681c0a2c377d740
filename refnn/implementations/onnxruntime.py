"""ONNX Runtime: each op is a model of one node, run on the processor. It has no gradients, so the forward alone is
checked."""

from __future__ import annotations

from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
from onnx import helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidGraph
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

from refnn.implementations._spell import each, pairs
from refnn.implementations.framework import Framework, Function
from refnn.judging.case import Case

OPSET, IR = 23, 11  # of the models, which the oldest version that the extra asks for reads

onnxruntime.disable_telemetry_events()


def node(kind: str, *arrays: np.ndarray | None, **attributes: Any) -> np.ndarray:
    """The output of a model of one node. None is an input that is absent."""
    while arrays[-1] is None:  # an empty name at the end crashes ONNX Runtime in LayerNormalization
        arrays = arrays[:-1]
    declared = tuple(None if x is None else (x.dtype.name, x.ndim) for x in arrays)
    given = {f"x{i}": x for i, x in enumerate(arrays) if x is not None}
    return _session(kind, declared, tuple(attributes.items())).run(["y"], given)[0]


@lru_cache(maxsize=1024)
def _session(kind: str, declared: tuple[Any, ...], attributes: tuple[tuple[str, Any], ...]) -> Any:
    names = ["" if d is None else f"x{i}" for i, d in enumerate(declared)]
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(d[0])), [None] * d[1])
        for name, d in zip(names, declared, strict=True)
        if d is not None
    ]
    output = helper.make_tensor_value_info("y", inputs[0].type.tensor_type.elem_type, None)
    graph = helper.make_graph([helper.make_node(kind, names, ["y"], **dict(attributes))], kind, inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except (InvalidGraph, NoKernel) as e:  # the first where ONNX itself has no such op of the dtype
        raise NotImplementedError(f"{kind} of {declared[0][0]}") from e


def conv(
    kind: str,
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    **params: Any,
) -> Any:
    rank = weight.ndim - 2
    rows = x if x.ndim == rank + 2 else x[None]
    around = pairs(padding, weight.shape[2:], dilation)
    if "output_padding" in params:
        params["output_padding"] = each(params["output_padding"], rank)
    y = node(
        kind,
        rows,
        weight,
        bias,
        strides=each(stride, rank),
        pads=tuple(before for before, _ in around) + tuple(after for _, after in around),
        dilations=each(dilation, rank),
        group=groups,
        **params,
    )
    return y if x.ndim == rank + 2 else y[0]


def pool(
    kind: str,
    rank: int,
    x: Any,
    *,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    **params: Any,
) -> Any:
    kernel = each(kernel_size, rank)
    rows = x if x.ndim == rank + 2 else x[None]
    if kind == "MaxPool":
        params["dilations"] = each(params.pop("dilation"), rank)
    y = node(
        kind,
        rows,
        kernel_shape=kernel,
        strides=kernel if stride is None else each(stride, rank),
        pads=each(padding, rank) * 2,
        ceil_mode=int(ceil_mode),
        **{k: v for k, v in params.items() if v is not None},
    )
    return y if x.ndim == rank + 2 else y[0]


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """Gemm for two axes, which is how exporters write it; a product and a sum for others."""
    if x.ndim == 2:
        return node("Gemm", x, weight, bias, transB=1)
    y = node("MatMul", x, np.array(weight.T))
    return y if bias is None else node("Add", y, bias)


def reduction(kind: str, x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Without axes all of them are reduced."""
    return node(kind, x, None if axis is None else np.array(each(axis, 1)), keepdims=int(keepdims))


def layer_norm(x: Any, weight: Any = None, bias: Any = None, *, normalized_shape: Any, eps: float = 1e-5) -> Any:
    axes = each(normalized_shape, 1)
    scale = np.ones(axes, x.dtype) if weight is None else weight
    return node("LayerNormalization", x, scale, bias, axis=-len(axes), epsilon=eps)


def clip(x: Any, low: float, high: float) -> Any:
    return node("Clip", x, np.array(low, x.dtype), np.array(high, x.dtype))


def prelu(x: Any, weight: Any) -> Any:
    """Its slope goes with the last axes, and that of the op with axis 1."""
    return node("PRelu", x, weight.reshape(-1, *[1] * (x.ndim - 2)) if x.ndim > 1 else weight.reshape(x.ndim * (1,)))


def nll_loss(input: Any, target: Any, *, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Any:
    return node("NegativeLogLikelihoodLoss", input, target, weight, ignore_index=ignore_index, reduction=reduction)


def cross_entropy(
    input: Any, target: Any, *, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    return node("SoftmaxCrossEntropyLoss", input, target, weight, ignore_index=ignore_index, reduction=reduction)


OPS: MappingProxyType[str, Function] = MappingProxyType(
    {
        **{f"avg_pool{n}d": partial(pool, "AveragePool", n) for n in (1, 2, 3)},
        "celu": lambda x, *, alpha=1.0: node("Celu", x, alpha=float(alpha)),
        **{f"conv{n}d": partial(conv, "Conv") for n in (1, 2, 3)},
        **{f"conv_transpose{n}d": partial(conv, "ConvTranspose") for n in (1, 2, 3)},
        "cross_entropy": cross_entropy,
        "elu": lambda x, *, alpha=1.0: node("Elu", x, alpha=float(alpha)),
        "flatten": lambda x, *, start=1: node("Flatten", x, axis=start),
        "gelu": lambda x, *, approximate="none": node("Gelu", x, approximate=approximate),
        "hardshrink": lambda x, *, lambd=0.5: node("Shrink", x, bias=0.0, lambd=float(lambd)),
        "hardsigmoid": lambda x: node("HardSigmoid", x, alpha=1 / 6, beta=0.5),
        "hardswish": lambda x: node("HardSwish", x),
        "hardtanh": lambda x, *, min_val=-1.0, max_val=1.0: clip(x, min_val, max_val),
        "layer_norm": layer_norm,
        "leaky_relu": lambda x, *, negative_slope=0.01: node("LeakyRelu", x, alpha=float(negative_slope)),
        "linear": linear,
        "log_softmax": lambda x, *, axis=-1: node("LogSoftmax", x, axis=axis),
        "logsumexp": lambda x, *, axis=-1, keepdims=False: reduction(
            "ReduceLogSumExp", x, axis=axis, keepdims=keepdims
        ),
        **{f"max_pool{n}d": partial(pool, "MaxPool", n) for n in (1, 2, 3)},
        "mean": partial(reduction, "ReduceMean"),
        "mish": lambda x: node("Mish", x),
        "nll_loss": nll_loss,
        "prelu": prelu,
        "relu": lambda x: node("Relu", x),
        "relu6": lambda x: clip(x, 0, 6),
        "selu": lambda x: node("Selu", x),
        "sigmoid": lambda x: node("Sigmoid", x),
        "softmax": lambda x, *, axis=-1: node("Softmax", x, axis=axis),
        "softplus": lambda x: node("Softplus", x),
        "softshrink": lambda x, *, lambd=0.5: node("Shrink", x, bias=float(lambd), lambd=float(lambd)),
        "softsign": lambda x: node("Softsign", x),
        "sum": partial(reduction, "ReduceSum"),
        "tanh": lambda x: node("Tanh", x),
    }
)


def _unsupported(f: Function, case: Case) -> str | None:
    """What the specification of ONNX leaves out of an op."""
    if f is OPS["flatten"] and case.params["start"] != 1:
        return "flatten to other than two axes"
    if "output_padding" in case.params:
        extra, stride = (each(case.params[name], 3) for name in ("output_padding", "stride"))
        if any(more >= step for more, step in zip(extra, stride, strict=False)):
            return "output padding of a stride or more"
    if case.params.get("divisor_override") is not None:
        return "divisor override"
    if f in (OPS["cross_entropy"], OPS["nll_loss"]):
        _, target, *_ = case.inputs
        if target is not None and target.dtype.kind not in "biu":
            return "probabilities as target"
        if case.inputs[0] is not None and case.inputs[0].ndim < 2:
            return "unbatched input"
    return None


def _array(x: np.ndarray) -> np.ndarray:
    return np.array(x, order="C")


ONNXRUNTIME = Framework(
    name="onnxruntime",
    version=onnxruntime.__version__,
    ops=OPS,
    array=_array,
    numpy=np.asarray,
    unsupported=_unsupported,
    conventions=MappingProxyType({"hardsigmoid": "alpha and beta of a node are float32, whatever its input is"}),
)
