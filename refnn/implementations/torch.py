"""PyTorch functions as implementations: they take and return NumPy arrays, and autograd gives the gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from refnn.implementations.framework import Framework
from refnn.judging.call import with_gradient
from refnn.judging.case import Case
from refnn.judging.groups import parameter
from refnn.judging.independence import varied
from refnn.models import default_model
from refnn.networks.network import Network, Node
from refnn.op import Op
from refnn.ops import find

BFLOAT16 = "bfloat16"  # NumPy knows it through ml_dtypes, so its bits travel as int16


def to_torch(x: np.ndarray) -> torch.Tensor:
    """A tensor of the values of x, with its strides (a stride of 0 included)."""
    if x.dtype.name == BFLOAT16:
        return torch.from_numpy(_writable(x.view(np.int16))).view(torch.bfloat16)
    return torch.from_numpy(_writable(x))


def _writable(x: np.ndarray) -> np.ndarray:
    """torch.from_numpy warns about read-only arrays, and refuses negative strides; nothing here writes to them."""
    if any(s < 0 for s in x.strides):
        x = x.copy()
    if x.flags.writeable:
        return x
    y = np.lib.stride_tricks.as_strided(x, writeable=False)
    if 0 in x.strides and x.size:
        base = np.array(x[tuple(slice(0, None if s else 1) for s in x.strides)])
        strides = [b if s else 0 for s, b in zip(x.strides, base.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(base, x.shape, strides)
    return np.array(y)


def to_numpy(x: torch.Tensor) -> np.ndarray:
    x = x.detach().cpu()
    if x.dtype == torch.bfloat16:
        from ml_dtypes import bfloat16

        return x.contiguous().view(torch.int16).numpy().view(bfloat16)
    return x.numpy(force=True)  # also of a gradient that is known to be zero, which has no memory


SPELLING = {"axis": "dim", "keepdims": "keepdim", "start": "start_dim"}
ABSENT = {"axis": None}  # all axes: sum and mean take no keepdim without a dim, and var has no gradient for dim=()


def _padded(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A convolution of PyTorch's. Paddings that it does not support are added to its input."""

    def convolution(
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        *,
        padding: Any = 0,
        dilation: Any = 1,
        **params: Any,
    ) -> torch.Tensor:
        if padding in ("same", "full"):  # PyTorch's own "same" warns of even kernels
            steps = dilation if isinstance(dilation, tuple) else (dilation,) * (weight.ndim - 2)
            reach = [d * (k - 1) for k, d in zip(weight.shape[2:], steps, strict=True)]
            padding = tuple((r, r) if padding == "full" else (r // 2, (r + 1) // 2) for r in reach)
        if isinstance(padding, tuple) and isinstance(padding[0], tuple):
            x, padding = F.pad(x, [cells for sides in reversed(padding) for cells in sides]), 0
        return f(x, weight, bias, padding=padding, dilation=dilation, **params)

    return convolution


def _cropped(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A transposed convolution of PyTorch's. Pairs of paddings, which it does not support, are cut off its output."""

    def convolution(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, **params: Any) -> Any:
        padding = params["padding"]
        if not (isinstance(padding, tuple) and isinstance(padding[0], tuple)):
            return f(x, weight, bias, **params)
        y = f(x, weight, bias, **{**params, "padding": 0})
        for axis, (before, after) in enumerate(padding, start=y.ndim - len(padding)):
            y = y.narrow(axis, before, y.shape[axis] - before - after)
        return y

    return convolution


# PyTorch's convolutions with the paddings that they do not have, for whoever asks what PyTorch computes. A check of one
# of PyTorch's own functions is of what that function takes (see `unsupported`).
SPELLED: Mapping[Callable[..., torch.Tensor], Callable[..., torch.Tensor]] = MappingProxyType(
    {f: _padded(f) for f in (F.conv1d, F.conv2d, F.conv3d)}
    | {f: _cropped(f) for f in (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)}
)


def _paddings(case: Case) -> str | None:
    """What a convolution of PyTorch's lacks: its documentation has one number, one for each axis, "valid" and "same"
    as a padding."""
    padding = case.params["padding"]
    if padding == "full" or (isinstance(padding, tuple) and isinstance(padding[0], tuple)):
        return parameter("padding", padding, 0)
    return None


# What functions of PyTorch's do not do of the op of their name, by their documentation.
LACKING: Mapping[Callable[..., torch.Tensor], Callable[[Case], str | None]] = MappingProxyType(
    dict.fromkeys(SPELLED, _paddings)
    | {f: lambda case: "a given mask: the function draws its own" for f in (F.dropout, torch.dropout)}
    | {f: lambda case: "given slopes: the function draws its own" for f in (F.rrelu, torch.rrelu)}
    | {F.cross_entropy: lambda case: "a class to ignore among probabilities" if _ignores_probabilities(case) else None}
)


def _ignores_probabilities(case: Case) -> bool:
    _, target = case.inputs
    return target is not None and target.dtype.kind not in "biu" and case.params["ignore_index"] >= 0


def unsupported(f: Callable[..., torch.Tensor], case: Case) -> str | None:
    """Why a function does not support a case, which is known before it is called; None if it may."""
    lacking = LACKING.get(f)
    return None if lacking is None else lacking(case)


def _call(f: Callable[..., torch.Tensor], arrays: Sequence[torch.Tensor]) -> torch.Tensor:
    """The output of a function whose gradients may be asked for."""
    for t in arrays:
        if t.is_floating_point():
            t.requires_grad_()
    return _output(f, arrays)


def _pull(
    f: Callable[..., torch.Tensor], arrays: Sequence[torch.Tensor], places: tuple[int, ...], g: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    leaves = [arrays[i].requires_grad_() for i in places]
    return torch.autograd.grad(_output(f, arrays), leaves, g)


def _output(f: Callable[..., torch.Tensor], arrays: Sequence[torch.Tensor]) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel lengths")  # which costs a copy
        # Of no slices at all; where one has too few elements, the op refuses the call.
        warnings.filterwarnings("ignore", r"var\(\): degrees of freedom is <= 0")
        y = f(*arrays)
    if not isinstance(y, torch.Tensor):
        raise TypeError(f"{f.__name__} returned a {type(y).__name__}, expected a torch.Tensor")
    return y


def second(op: Op, f: Callable[..., torch.Tensor]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """jvp(inputs, tangents, **params) by torch.func.jvp, and double(g, inputs, tangents, **params): the gradients of
    sum(tangents * vjp) by the cotangent and by each input, None where there is none."""

    def jvp(inputs: tuple[Any, ...], tangents: tuple[Any, ...], **params: Any) -> tuple[np.ndarray, np.ndarray]:
        bound = ARRAYS.bound(op, f, inputs, params)
        tensors = {i: to_torch(x) for i, x in enumerate(inputs) if x is not None}
        places = [i for i, t in enumerate(tangents) if t is not None]

        def of_some(*some: torch.Tensor) -> torch.Tensor:
            return _output(bound, [*{**tensors, **dict(zip(places, some, strict=True))}.values()])

        given = tuple(tensors[i] for i in places), tuple(to_torch(tangents[i]) for i in places)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)  # which torch.func calls itself
            y, dy, *_ = torch.func.jvp(of_some, *given)
        return to_numpy(y), to_numpy(dy)

    def double(g: np.ndarray, inputs: tuple[Any, ...], tangents: tuple[Any, ...], **params: Any) -> list[Any]:
        tensors = {i: to_torch(x) for i, x in enumerate(inputs) if x is not None}
        leaves = {i: tensors[i].requires_grad_() for i, want in enumerate(with_gradient(op, inputs)) if want}
        cotangent = to_torch(g).requires_grad_()
        y = _output(ARRAYS.bound(op, f, inputs, params), [*tensors.values()])
        grads = torch.autograd.grad(y, [*leaves.values()], cotangent, create_graph=True)
        # A gradient of zeros, as that of a step, has no graph of its own.
        grads = tuple(v if v.requires_grad else v + 0 * cotangent.sum() for v in grads)
        given = [to_torch(t) for t in tangents if t is not None]
        # Of what does not depend on the cotangent or on the inputs, as the gradient of a linear map, the gradient is 0.
        try:
            twice = torch.autograd.grad(
                grads, [cotangent, *leaves.values()], given, allow_unused=True, materialize_grads=True
            )
        except RuntimeError as e:
            if str(e).endswith("is not implemented"):
                raise NotImplementedError(str(e)) from e
            raise
        pulled = dict(zip(leaves, twice[1:], strict=True))
        return [to_numpy(twice[0]), *(to_numpy(pulled[i]) if i in pulled else None for i in range(len(inputs)))]

    return jvp, double


# --- modules ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """The inputs and results of one layer, as a case; `names` are the network's names for its results."""

    case: Case
    forward: Callable[..., Any]
    vjp: Callable[..., Any]
    names: dict[str, str]


@dataclass(frozen=True)
class Trace:
    """One forward and backward pass of a module: its results, and a step for each of its layers."""

    forward: Callable[..., Any]
    vjp: Callable[..., Any]
    steps: list[Step]


def trace(net: Network, module: torch.nn.Module, case: Case) -> Trace:
    """Run a module on a case of a network, and watch its layers through hooks.

    The module has the parameters of the case during the run, and its own again afterwards.
    """
    count = len(net.parameters)
    params = dict(zip(net.parameters, case.inputs[:count], strict=True))
    own = dict(module.named_parameters())
    if missing := [p for p in net.parameters if p not in own]:
        raise ValueError(f"the module has no parameter {missing[0]!r}, it has {', '.join(own) or 'none'}")
    saved = {n: (p.data, p.grad) for n, p in own.items()}
    layers = dict(module.named_modules())
    hasty = [layer for layer in layers.values() if getattr(layer, "inplace", False)]
    seen: dict[str, dict[str, Any]] = {n.name: {} for n in net.nodes if n.name in layers}
    hooks = [h for name in seen for h in _watch(layers[name], seen[name])]
    try:
        for layer in hasty:  # they would overwrite what is to be seen
            layer.inplace = False
        for n, p in own.items():
            p.grad = None
            if n in params:
                p.data = to_torch(np.array(params[n]))
        inputs = [to_torch(np.array(x)) for x in case.inputs[count:] if x is not None]
        for x in inputs:
            x.requires_grad_(x.is_floating_point())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Full backward hook is firing")  # of a layer whose inputs it does not see
            y = module(*inputs)
            y.backward(to_torch(np.array(case.cotangent)))
        pulled = {n: own[n].grad for n in net.parameters}
        grads = {n: None if t is None else to_numpy(t).copy() for n, t in pulled.items()}
    except Exception as e:
        failure = e

        def failed(*arrays: Any) -> Any:
            raise failure

        return Trace(failed, failed, [])
    finally:
        for h in hooks:
            h.remove()
        for layer in hasty:
            layer.inplace = True
        for n, p in own.items():
            p.data, p.grad = saved[n]
    output = to_numpy(y)
    whole = (*(grads[n] for n in net.parameters), *[None] * len(net.inputs))
    passed = [node for node in net.nodes if _is_whole(node, seen.get(node.name, {}), params)]
    steps = [_step(net, node, case, seen[node.name], params, grads) for node in passed]
    return Trace(lambda *_: output, lambda *_: whole, steps)


def _watch(layer: torch.nn.Module, seen: dict[str, Any]) -> list[Any]:
    def forward(_: Any, inputs: Any, output: Any) -> None:
        seen["inputs"] = [to_numpy(x).copy() for x in inputs]
        seen["output"] = to_numpy(output).copy()

    def backward(_: Any, grad_inputs: Any, grad_outputs: Any) -> None:
        seen["grads"] = [None if g is None else to_numpy(g).copy() for g in grad_inputs]
        seen["cotangent"] = to_numpy(grad_outputs[0]).copy()

    return [layer.register_forward_hook(forward), layer.register_full_backward_hook(backward)]


def _is_whole(node: Node, seen: dict[str, Any], params: dict[str, Any]) -> bool:
    """Whether the hooks saw all inputs of a layer. They do not see inputs that are passed by name."""
    return "cotangent" in seen and len(seen["inputs"]) == sum(name not in params for name in node.inputs)


def _step(
    net: Network, node: Node, case: Case, seen: dict[str, Any], params: dict[str, Any], grads: dict[str, Any]
) -> Step:
    op = find(node.op)
    values, pulled = list(seen["inputs"]), list(seen["grads"])
    for name in node.inputs[len(values) :]:
        values.append(params[name])
        pulled.append(grads[name])
    padding = [None] * (len(op.inputs) - len(values))
    output, every = seen["output"], (*pulled, *padding)
    step = Case(
        f"{case.id}/{node.name}",
        op,
        (*values, *padding),
        {**op.defaults, **node.params},
        seen["cotangent"],
        case.family,
        random=varied(*values, seen["cotangent"]),
    )
    names = {"output": node.name, **{f"grad[{s}]": f"grad[{n}]" for s, n in zip(op.inputs, node.inputs, strict=False)}}
    return Step(step, lambda *_, **__: output, lambda *_, **__: every, names)


# --- the record ------------------------------------------------------------------------------------------------------

ARRAYS = Framework(  # without what PyTorch offers for each op, which `refnn.witnesses.torch` knows
    name="torch",
    version=torch.__version__.partition("+")[0],
    ops={},
    array=to_torch,
    numpy=to_numpy,
    vjp=_pull,
    call=_call,
    model=lambda dtype: default_model(dtype, "torch"),
    dtypes=("float16", "bfloat16", "float32", "float64"),
    spelling=SPELLING,
    absent=ABSENT,
    unsupported=unsupported,
    homes=("torch.nn.functional", "torch"),
    second=second,
    trace=trace,
)
arguments = ARRAYS.arguments


def functions(op: Op, f: Callable[..., torch.Tensor]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """forward(*inputs, **params) and vjp(g, *inputs, **params) of a function of tensors."""
    forward, vjp = ARRAYS.functions(op, f)
    assert vjp is not None
    return forward, vjp
