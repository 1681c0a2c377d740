"""How small an error in a gradient is noticed: refnn beside what people use today.

Every gradient is scaled by 1 + eps. Printed is the smallest eps of a ladder (1, 3, 10, 30, ... times 1e-16) at which a
checker objects, and whether it is silent at eps = 0. First of a convolution, where one gradient of the three is enough;
then of the digits networks as PyTorch computes them, where every parameter's gradient has to be noticed.

Run: python benchmarks/sensitivity.py > benchmarks/SENSITIVITY.md; `... sensitivity.py digits_cnn` for one table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

import refnn
from refnn.formats import FORMATS
from refnn.judging.network_cases import data_item
from refnn.report.header import environment, listed
from refnn.report.markdown import table
from refnn.study.power import score
from refnn.study.power.baselines import BASELINES, inside
from refnn.study.power.mutant import in_float64
from refnn.witnesses import torch as witness

LADDER = [m * 10.0**e for e in range(-16, 0) for m in (1, 3)]
DTYPES = ("float32", "float64")
FLOAT64_ONLY = "needs float64"
NO_GRADIENTS = "looks at no gradient"
NOT_COVERED = "does not cover float64"

# --- a convolution ---------------------------------------------------------------------------------------------------


def scaled_vjp(eps: float) -> Callable[..., Any]:
    """The vjp of conv2d, every gradient multiplied by 1 + eps and rounded once."""
    vjp = refnn.conv2d.vjp
    return in_float64(lambda *a, **p: tuple(None if v is None else v * (1 + eps) for v in vjp(*a, **p)))


def conv_objects(checker: score.Checker, eps: float, dtype: str) -> bool:
    """Whether a checker objects to more than it does of the right gradients."""

    def objections(eps: float) -> set[str]:
        return set(score.objections(checker, "conv2d", (refnn.conv2d, scaled_vjp(eps)), dtype))

    return bool(objections(eps) - (objections(0.0) if eps else set()))


def one_case(op: str, forward: Any, vjp: Any, dtype: str) -> bool:
    """refnn on one case of ordinary numbers alone: 2x3x13x11 with five kernels of 3x3."""
    first = next(refnn.cases(op, dtype, families=["normal"]))
    return refnn.check(op, forward=forward, vjp=vjp, inputs=[first], dtype=dtype).ok


# --- the digits networks ---------------------------------------------------------------------------------------------

NETWORKS = ("digits_mlp", "digits_odd", "digits_cnn")


def module(name: str = "digits_mlp") -> torch.nn.Module:
    """A digits network as a torch.nn.Module, with refnn's names."""
    return witness.module(refnn.Network.load(name))


@contextmanager
def scaled(model: torch.nn.Module, eps: float) -> Iterator[None]:
    """Every parameter's gradient comes out multiplied by 1 + eps, rounded once."""
    hooks = [p.register_hook(lambda g: (g.double() * (1 + eps)).to(g.dtype)) for p in model.parameters()]
    yield
    for h in hooks:
        h.remove()


def caught(net: refnn.Network, eps: float, dtype: str, *, part: str, whole: bool = False) -> set[str]:
    """The parameters whose scaled gradients are found, on a batch of 32 or on the whole training set: as violations
    "stepwise", or as suspects (or worse) "end to end". Both sets of weights must show it."""
    model, fmt = module(net.name), FORMATS[dtype]
    wanted = {"suspect", "violation"} if part == "end to end" else {"violation"}
    found = []
    for params in net.weights.values():
        item = data_item(net, fmt, whole=whole) | {"params": params}
        with scaled(model, eps):
            report = refnn.check(net, model, framework="torch", dtype=dtype, inputs=[item])
        found.append({f.what[5:-1] for f in report.findings if f.verdict in wanted and f.op == f"{net.name} {part}"})
    return set.intersection(*found) & set(net.parameters)


def compared(net: refnn.Network, eps: float, dtype: str, *, equal: Callable[[Any, Any], bool]) -> set[str]:
    """The parameters whose scaled gradients a comparison of arrays tells from the unscaled ones."""
    model = module(net.name)
    item = data_item(net, FORMATS[dtype])
    x = torch.from_numpy(item["inputs"][0])
    model.load_state_dict({k: torch.from_numpy(v) for k, v in net.weights["trained"].items()})
    model.to(x.dtype)
    y = model(x)
    g = torch.from_numpy(item["cotangent"](y.detach().numpy()))
    grads = torch.autograd.grad(y, list(model.parameters()), g)
    moved = [(grad.double() * (1 + eps)).to(grad.dtype) for grad in grads]
    return {n for n, a, b in zip(net.parameters, moved, grads, strict=True) if not equal(a, b)}


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    try:
        torch.testing.assert_close(a, b)
    except AssertionError:
        return False
    return True


def typed(absolute: float, relative: float) -> Callable[[torch.Tensor, torch.Tensor], bool]:
    return lambda a, b: inside(a.numpy(), b.numpy(), absolute, relative, nan_equal=True)


def gradcheck_objects(net: refnn.Network, eps: float, dtype: str, *, fast: bool) -> set[str]:
    """The parameters whose scaled gradients torch.autograd.gradcheck tells from finite differences (float64 only)."""
    model, objected = module(net.name).double(), set()
    x = torch.from_numpy(data_item(net, FORMATS["float64"])["inputs"][0][:4])
    model.load_state_dict({k: torch.from_numpy(v) for k, v in net.weights["trained"].items()})

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, p: torch.Tensor) -> torch.Tensor:
            return p.clone()

        @staticmethod
        def backward(ctx: Any, *g: torch.Tensor) -> Any:
            return g[0] * (1 + eps)

    for name, p in model.named_parameters():

        def loss(q: torch.Tensor, name: str = name) -> torch.Tensor:
            return torch.func.functional_call(model, {name: Scaled.apply(q)}, (x,))

        with torch.random.fork_rng():
            torch.manual_seed(0)
            if not torch.autograd.gradcheck(
                loss, (p.detach().clone().requires_grad_(),), raise_exception=False, fast_mode=fast
            ):
                objected.add(name)
    return objected


# --- the tables ------------------------------------------------------------------------------------------------------


def smallest(objects: Callable[[float], bool], at_all: Callable[[float], Any]) -> str:
    """The first step of the ladder at which a checker objects; `at_all` says whether it objects to anything."""
    silent = "silent at 0" if not at_all(0.0) else "objects at 0"
    low, high = 0, len(LADDER)
    while low < high:
        middle = (low + high) // 2
        if objects(LADDER[middle]):
            high = middle
        else:
            low = middle + 1
    return f"{LADDER[low]:.0e} ({silent})" if low < len(LADDER) else f"above {LADDER[-1]:.0e} ({silent})"


def of_conv() -> Iterator[tuple[str, Sequence[str]]]:
    checkers: Mapping[str, score.Checker] = {"refnn": score.refnn, "refnn, one case": one_case, **BASELINES}
    for name, checker in checkers.items():
        if name == "KernelBench":
            yield name, (NO_GRADIENTS, NO_GRADIENTS)
            continue
        cells = []
        for dtype in DTYPES:
            objects = partial(conv_objects, checker, dtype=dtype)
            bare = name.startswith("gradcheck") and dtype == "float32"
            try:
                cells.append(FLOAT64_ONLY if bare else smallest(objects, objects))
            except NotImplementedError:
                cells.append(NOT_COVERED)
        yield name, cells


def of_digits(name: str) -> Iterator[tuple[str, Sequence[str]]]:
    net = refnn.Network.load(name)
    images = "a batch" if name == "digits_cnn" else "1,438 images"  # all take a convolution minutes a look
    rows: Mapping[str, Callable[..., set[str]]] = {
        "refnn, stepwise, a batch: violation": partial(caught, part="stepwise"),
        f"refnn, end to end, {images}: suspect": partial(caught, part="end to end", whole=images != "a batch"),
        "gradcheck slow": partial(gradcheck_objects, fast=False),
        "gradcheck fast": partial(gradcheck_objects, fast=True),
        "assert_close": partial(compared, equal=close),
        "tinygrad": partial(compared, equal=typed(1e-4, 1e-3)),
        "Liger": partial(compared, equal=typed(1e-4, 1e-4)),
    }
    for name, found in rows.items():
        cells = []
        for dtype in DTYPES:
            if name.startswith("gradcheck") and dtype == "float32":
                cells.append(FLOAT64_ONLY)
                continue

            def noticed(eps: float, dtype: str = dtype, found: Callable[..., set[str]] = found) -> set[str]:
                return found(net, eps, dtype)

            cells.append(smallest(lambda eps, f=noticed: f(eps) == set(net.parameters), noticed))
        yield name, cells
    yield "KernelBench", (NO_GRADIENTS, NO_GRADIENTS)


def lines(chosen: Sequence[str]) -> Iterator[str]:
    """The page, table by table as it is measured; of these tables only, if any are named."""
    yield "# The smallest relative error in a gradient that is noticed"
    yield ""
    yield from listed(environment())
    yield ""
    yield "Written by `python benchmarks/sensitivity.py > benchmarks/SENSITIVITY.md`."
    yield " ".join((__doc__ or "").split("\n\n")[1].split())
    tables = {"conv2d": of_conv, **{name: partial(of_digits, name) for name in NETWORKS}}
    for title, rows in ((title, tables[title]()) for title in chosen or tables):
        yield ""
        yield f"## {title}"
        yield ""
        yield table(["checker", *DTYPES], ([name, *cells] for name, cells in rows))


def main() -> None:
    np.seterr(all="ignore")
    for line in lines(sys.argv[1:]):
        print(line, flush=True)


if __name__ == "__main__":
    main()
