"""One run of a PyTorch module, call by call: what each function was given and gave, forward and backward.

A module runs as its user runs it, eagerly and with autograd. Each function of PyTorch that it calls is seen with its
arrays. Of each the cotangent that arrives and the gradients that leave are seen too, because what goes in and what
comes out passes through an identity that looks at its gradient. So a function of the user's own (a subclass of
torch.autograd.Function) is seen with the backward that it has: it is the network of what its forward calls.

torch.export would follow a backward that is the user's own by the forward alone, and refuses what depends on data.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from refnn.implementations.torch import to_numpy
from refnn.implementations.torch_modules import Refused
from refnn.implementations.torch_network import Seen, network_of
from refnn.implementations.torch_recorder import Recorder
from refnn.implementations.torch_watch import Watched
from refnn.networks.network import Network


@contextmanager
def _recording(recorder: Recorder, module: torch.nn.Module) -> Iterator[None]:
    """While it lasts, the recorder sees every function and knows in which layer it runs."""
    base: Any = torch.autograd.function._SingleLevelFunction  # whose `apply` a bound Function.apply calls, too

    def seen_apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        def run(*given: Any) -> Any:
            return super(base, cls).apply(*given, **kwargs)

        return run(*args) if cls is Watched else recorder.call_own(cls, run, args)

    def enter(layer: Any, _: Any) -> None:
        recorder.path.append(recorder.layers[id(layer)])

    def leave(layer: Any, _: Any, __: Any) -> None:
        recorder.path.pop()

    hooks = [h for m in module.modules() for h in (m.register_forward_pre_hook(enter), m.register_forward_hook(leave))]
    base.apply = classmethod(seen_apply)
    try:
        with recorder:
            yield
    finally:
        del base.apply
        for h in hooks:
            h.remove()


def names_of(module: torch.nn.Module, inputs: Sequence[Any]) -> tuple[str, ...]:
    """The names of the inputs: those of the parameters of the module's forward."""
    taken = list(inspect.signature(module.forward).parameters)
    plain = [n if n != "input" else "x" for n in taken[: len(inputs)]]
    return tuple(plain) if len(plain) == len(inputs) else tuple(f"x{i}" for i in range(len(inputs)))


def observe(
    module: torch.nn.Module,
    inputs: Sequence[Any],
    loss: Callable[..., torch.Tensor] | None = None,
    *,
    seed: int = 0,
    backward: bool = True,
) -> Seen:
    """Run a module on tensors, forward and backward from the loss of its outputs, and see each call.

    Without a loss it is half the sum of squares of the outputs. Gradients, buffers and the generator are afterwards as
    they were. RuntimeError says that the run that was seen gave other numbers than a plain one.
    """
    with torch.random.fork_rng(), _kept(module) as restore:
        torch.manual_seed(seed)
        fresh = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
        plain = [y.detach() for y in _outputs(module(*fresh))]  # with gradients, or other kernels would run
        restore()
        leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
        recorder = Recorder(module, leaves, names_of(module, inputs))
        torch.manual_seed(seed)
        with _recording(recorder, module):
            made = module(*leaves)
            made = recorder.current(made)
            outputs = _outputs(made)
            recorder.seen.outputs = [n for y in outputs if (n := recorder.named(y)) is not None]
            total = loss(made) if loss is not None else None
        if not all(torch.equal(a, b) or alike(a, b) for a, b in zip(plain, outputs, strict=True)):
            raise RuntimeError(
                f"check_model: {type(module).__name__} gave other numbers when it was watched; it may write into its "
                "values, or draw random numbers in another order"
            )
        if backward:
            roots = [y for y in outputs if y.requires_grad] if total is None else [total]
            if roots:
                torch.autograd.backward(roots, [y.detach() if total is None else torch.ones_like(y) for y in roots])
    return recorder.seen


@contextmanager
def _kept(module: torch.nn.Module) -> Iterator[Callable[[], None]]:
    """What puts the gradients of a module's parameters and its buffers back, and does so at the end."""
    grads = {p: p.grad for p in module.parameters()}
    buffers = {b: b.detach().clone() for b in module.buffers()}

    def restore() -> None:
        for p, g in grads.items():
            p.grad = g
        with torch.no_grad():
            for b, numbers in buffers.items():
                b.copy_(numbers)

    try:
        yield restore
    finally:
        restore()


def alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and np.array_equal(to_numpy(a), to_numpy(b), equal_nan=True)


def _outputs(made: Any) -> list[torch.Tensor]:
    found = [t for t in pytree.tree_leaves(made) if isinstance(t, torch.Tensor) and t.is_floating_point()]
    if not found:
        raise TypeError(f"check_model: the module returned a {type(made).__name__}, expected tensors of floats")
    return found


def network(module: Any, inputs: Any, *, name: str = "network") -> Network:
    """The network of a torch.nn.Module as it runs on these example tensors (a tuple).

    Its nodes are the functions of PyTorch that the forward calls. Parameters, buffers and constants become the weights
    "module". TypeError names all that has no op, each with its layer and its line in the source.
    """
    if not isinstance(module, torch.nn.Module):
        raise Refused(f"got a {type(module).__name__}, expected a torch.nn.Module")
    given = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    if odd := [type(x).__name__ for x in given if not isinstance(x, torch.Tensor)]:
        raise Refused(f"an example input is a {odd[0]}, expected tensors")
    seen = observe(module, given, backward=False)
    return network_of(seen, names_of(module, given), name)
