"""A PyTorch module or a replacement of one as a whole: where it runs, and what it gives for the arrays of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from refnn.implementations.torch import to_numpy, to_torch
from refnn.implementations.torch_run import alike
from refnn.judging.call import Misbehaviour
from refnn.judging.cases import output_shape
from refnn.networks.network import Network
from refnn.op import Op

Array = np.ndarray


def placed(module: Any, inputs: Any, device: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """A module and its inputs on a device. TypeError says that they are none."""
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"check_model got a {type(module).__name__}, expected a torch.nn.Module")
    given = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    if odd := [type(x).__name__ for x in given if not isinstance(x, torch.Tensor)]:
        raise TypeError(f"check_model: an input is a {odd[0]}, expected tensors")
    return module.to(device), tuple(x.to(device) for x in given)


def compiled(module: torch.nn.Module) -> Any:
    """The module through torch.compile, which runs when it is called."""
    return torch.compile(module)


class Whole(NamedTuple):
    """An op of a whole network, its arrays, a cotangent, and what a run gave for them."""

    op: Op
    arrays: tuple[Array, ...]
    cotangent: Array
    output: Array
    grads: list[Array | None]


def end_to_end(net: Network, run: Callable[..., Any], given: Sequence[torch.Tensor], module: Any, seed: int) -> Whole:
    """The op of a network with the gradients that a run can have, its arrays, a cotangent, and what the run gives for
    them: the output and the gradients.

    The cotangent is drawn, because one that follows from the output, such as the output itself, is zero where a unit is
    dead, and hides the gradient there. The parameters are those of the module that have the names of the network's;
    what it lacks is as the network has it. Misbehaviour says what the run did instead of a result.
    """
    own = dict(module.named_parameters()) if isinstance(module, torch.nn.Module) else {}
    leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in given]
    output = _tried(lambda: run(*leaves))
    if not isinstance(output, torch.Tensor):
        raise Misbehaviour(f"it returned a {type(output).__name__}, expected a tensor")
    if any(not alike(before, after) for before, after in zip(given, leaves, strict=True)):
        raise Misbehaviour("it wrote into its inputs")
    named: dict[str, torch.Tensor] = {n: own[p] for n, p in net.about["torch"].items() if p in own}
    named |= dict(zip(net.inputs, leaves, strict=True))
    wanted = [n for n in (*net.parameters, *net.inputs) if n in named and named[n].requires_grad]
    op = net.differentiated(wanted)
    arrays = tuple(to_numpy(named[n]) if n in named else net.weights["module"][n] for n in op.inputs)
    y, dtype = to_numpy(output), op.dtype_of(arrays)
    if (shape := output_shape(op, arrays, {})) != y.shape or y.dtype != dtype:
        raise Misbehaviour(f"it returned {y.dtype} of shape {y.shape}, expected {dtype} of shape {shape}")
    g = np.random.default_rng(seed).standard_normal(y.shape).astype(dtype)
    found: Sequence[torch.Tensor | None] = [None] * len(wanted)
    if output.requires_grad:
        leaves = [named[n] for n in wanted]
        cotangent = to_torch(g).to(output.device)
        found = _tried(lambda: torch.autograd.grad(output, leaves, cotangent, allow_unused=True))
    # Of what does not depend on an input the gradient is 0.
    grads = {
        n: np.zeros(named[n].shape, dtype) if t is None else to_numpy(t) for n, t in zip(wanted, found, strict=True)
    }
    return Whole(op, arrays, g, y, [grads.get(n) for n in op.inputs])


def _tried(run: Callable[[], Any]) -> Any:
    """What a run gives. Misbehaviour says what it raised: what the oracle raises is no fault of the run."""
    try:
        return run()
    except Exception as e:
        raise Misbehaviour(f"it raised {type(e).__name__}: {e}") from e
