"""How small an error in a gradient is noticed: refnn beside torch.testing.assert_close and torch.autograd.gradcheck.

The gradient of every parameter of the digits network, computed by PyTorch, is scaled by 1 + eps. Printed is the
smallest eps of a ladder (1, 3, 10, 30, ... times 1e-16) at which each checker objects to every parameter's gradient;
beside it, whether it is silent at eps = 0. Run: python benchmarks/sensitivity.py
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

import refnn
from refnn.formats import FORMATS
from refnn.inputs import data_item
from refnn.witnesses import torch as witness

LADDER = [m * 10.0**e for e in range(-16, 0) for m in (1, 3)]


def module() -> torch.nn.Module:
    """The digits network as a torch.nn.Module, with refnn's names."""
    return witness.module(refnn.Network.load("digits_mlp"))


@contextmanager
def scaled(model: torch.nn.Module, eps: float) -> Iterator[None]:
    """Every parameter's gradient comes out multiplied by 1 + eps, rounded once."""
    hooks = [p.register_hook(lambda g: (g.double() * (1 + eps)).to(g.dtype)) for p in model.parameters()]
    yield
    for h in hooks:
        h.remove()


def caught(net: refnn.Network, eps: float, dtype: str, *, whole: bool) -> set[str]:
    """The parameters whose scaled gradients are found: as violations stepwise on a batch of 32, or as suspects (or
    worse) end to end on the whole training set. Both sets of weights must show it."""
    model, fmt = module(), FORMATS[dtype]
    wanted = {"suspect", "violation"} if whole else {"violation"}
    part = "end to end" if whole else "stepwise"
    found = []
    for params in net.weights.values():
        item = data_item(net, fmt, whole=whole) | {"params": params}
        with scaled(model, eps):
            report = refnn.check(net, model, framework="torch", dtype=dtype, inputs=[item])
        found.append({f.what[5:-1] for f in report.findings if f.verdict in wanted and f.op == f"{net.name} {part}"})
    return set.intersection(*found) & set(net.parameters)


def assert_close_objects(net: refnn.Network, eps: float, dtype: str) -> set[str]:
    """The parameters whose scaled gradients torch.testing.assert_close tells from the unscaled ones."""
    model, objected = module(), set()
    item = data_item(net, FORMATS[dtype])
    x = torch.from_numpy(item["inputs"][0])
    model.load_state_dict({k: torch.from_numpy(v) for k, v in net.weights["trained"].items()})
    model.to(x.dtype)
    y = model(x)
    g = torch.from_numpy(item["cotangent"](y.detach().numpy()))
    for name, grad in zip(net.parameters, torch.autograd.grad(y, list(model.parameters()), g), strict=True):
        try:
            torch.testing.assert_close((grad.double() * (1 + eps)).to(grad.dtype), grad)
        except AssertionError:
            objected.add(name)
    return objected


def gradcheck_objects(net: refnn.Network, eps: float, dtype: str) -> set[str]:
    """The parameters whose scaled gradients torch.autograd.gradcheck tells from finite differences (float64 only)."""
    model, objected = module().double(), set()
    x = torch.from_numpy(data_item(net, FORMATS["float64"])["inputs"][0][:4])
    model.load_state_dict({k: torch.from_numpy(v) for k, v in net.weights["trained"].items()})

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, p: torch.Tensor) -> torch.Tensor:
            return p.clone()

        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
            return g * (1 + eps)

    for name, p in model.named_parameters():

        def loss(q: torch.Tensor, name: str = name) -> torch.Tensor:
            return torch.func.functional_call(model, {name: Scaled.apply(q)}, (x,))

        with torch.random.fork_rng():
            torch.manual_seed(0)
            if not torch.autograd.gradcheck(
                loss, (p.detach().clone().requires_grad_(),), raise_exception=False, fast_mode=True
            ):
                objected.add(name)
    return objected


def smallest(objects: Callable[[float], set[str]], parameters: tuple[str, ...]) -> str:
    """The first step of the ladder at which every parameter is objected to; what happens at eps = 0."""
    silent = "silent at 0" if not objects(0.0) else "objects at 0"
    low, high = 0, len(LADDER)
    while low < high:
        middle = (low + high) // 2
        if objects(LADDER[middle]) == set(parameters):
            high = middle
        else:
            low = middle + 1
    return f"{LADDER[low]:.0e} ({silent})" if low < len(LADDER) else f"above {LADDER[-1]:.0e} ({silent})"


def main() -> None:
    net = refnn.Network.load("digits_mlp")
    rows = {
        "refnn, stepwise, batch of 32: violation": lambda d: lambda e: caught(net, e, d, whole=False),
        "refnn, end to end, 1,438 images: suspect": lambda d: lambda e: caught(net, e, d, whole=True),
        "torch.testing.assert_close, defaults": lambda d: lambda e: assert_close_objects(net, e, d),
        "torch.autograd.gradcheck, fast mode": lambda d: (
            (lambda e: gradcheck_objects(net, e, d)) if d == "float64" else None
        ),
    }
    print(
        f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads\n"
    )
    print("| checker | float32 | float64 |\n|---|---|---|")
    for label, make in rows.items():
        cells = []
        for dtype in ("float32", "float64"):
            objects = make(dtype)
            cells.append("needs float64" if objects is None else smallest(objects, net.parameters))
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
