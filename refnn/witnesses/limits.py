"""PyTorch's limits, measured: the same bisection over bit patterns, with PyTorch's functions in Rounded's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F

from refnn.formats import FORMATS, Format
from refnn.implementations.torch import to_numpy, to_torch
from refnn.limits.rules import RULES, Rule
from refnn.limits.search import bisect
from refnn.limits.subjects import Probe

ROWS = 67  # of a vector: several of the processor's vectors and a rest
LAYOUTS = ("single", "vector", "strided")

Function = Callable[[torch.Tensor], torch.Tensor]


def _to_class(target: int) -> Function:
    def loss(x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        return F.cross_entropy(rows, torch.full((len(rows),), target), reduction="none").reshape(*x.shape[:-1], 1)

    return loss


def _binary(target: float) -> Function:
    return lambda x: F.binary_cross_entropy_with_logits(x, torch.full_like(x, target), reduction="none")


# Functions of rows (the last axis), under the names of refnn.limits.rules.SUBJECTS.
FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "exp(x)": torch.exp,
        "sigmoid": torch.sigmoid,
        "sigmoid, textbook": torch.sigmoid,
        "1 / (1 + exp(-x))": lambda x: 1 / (1 + torch.exp(-x)),
        "softplus": F.softplus,
        "log(1 + exp(x))": lambda x: torch.log(1 + torch.exp(x)),
        "softmax": lambda x: F.softmax(x, -1),
        "naive softmax": lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True),
        "log_softmax": lambda x: F.log_softmax(x, -1),
        "log(softmax(x))": lambda x: torch.log(F.softmax(x, -1)),
        "logsumexp": lambda x: torch.logsumexp(x, -1, keepdim=True),
        "logsumexp, exp(x - y)": lambda x: torch.logsumexp(x, -1, keepdim=True),
        "log(sum(exp(x)))": lambda x: torch.log(torch.exp(x).sum(-1, keepdim=True)),
        "cross_entropy, target 0": _to_class(0),
        "cross_entropy, target 1": _to_class(1),
        "binary_cross_entropy_with_logits, target 0": _binary(0.0),
        "binary_cross_entropy_with_logits, target 1": _binary(1.0),
        "binary_cross_entropy_with_logits, target 1, textbook": _binary(1.0),
        "-log(sigmoid(x))": lambda x: -torch.log(torch.sigmoid(x)),
        "-log(1 - sigmoid(x))": lambda x: -torch.log(1 - torch.sigmoid(x)),
    }
)


@contextmanager
def flushing(on: bool) -> Iterator[None]:
    """Inside, subnormal numbers are flushed if `on`, and never after. RuntimeError where the processor cannot.

    PyTorch sets the mode of the calling thread alone, so that one does all the work.
    """
    threads = torch.get_num_threads()
    if not torch.set_flush_denormal(on):
        raise RuntimeError(f"torch.set_flush_denormal({on}) is not supported on this processor")
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


def arrange(row: np.ndarray, layout: str) -> torch.Tensor:
    """A row alone (a single number without any axis where the row is one), as each of many, or as every other element
    of a larger tensor."""
    if layout == "single":
        return to_torch(row)[0] if row.size == 1 else to_torch(row)
    rows = np.tile(np.repeat(row, 2), (ROWS, 1)) if layout == "strided" else np.tile(row, (ROWS, 1))
    return to_torch(rows)[:, ::2] if layout == "strided" else to_torch(rows)


def values(p: Probe, fmt: Format, x: float, layout: str, flush: bool) -> list[float]:
    """The numbers that PyTorch gives where the probe looks, one for each row."""
    row = np.array(p.row(x)).astype(fmt.dtype)
    tensor = arrange(row, layout)
    with flushing(flush):
        if p.gradient:
            tensor = tensor.detach().requires_grad_()
        y = FUNCTIONS[p.subject](tensor)
        if p.gradient:
            seed = torch.zeros(y.shape, dtype=y.dtype)
            seed.reshape(-1, max(1, y.shape[-1] if y.ndim else 1))[:, p.seed] = 1
            (y,) = torch.autograd.grad(y, tensor, seed)
    found = to_numpy(y)
    return [float(v) for v in found.reshape(1 if layout == "single" else ROWS, -1)[:, p.at]]


def measured(rule: Rule, dtype: str, layout: str = "vector", *, flush: bool = False) -> tuple[float, float] | None:
    """The neighbours (last, next) where PyTorch's own answer to the question of a rule changes, in any of the rows.
    None where the question is not about a function that it has."""
    p = rule.question
    if not isinstance(p, Probe) or p.subject not in FUNCTIONS:
        return None
    fmt = FORMATS[dtype]
    return bisect(fmt, lambda x: all(map(p.test, values(p, fmt, x, layout, flush))), rule.start, rule.direction)


def every(dtype: str, *, flush: bool = False) -> dict[str, dict[str, tuple[float, float]]]:
    """All limits of PyTorch's functions in one dtype: name -> layout -> (last, next)."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for rule in RULES:
        for layout in LAYOUTS:
            if (edge := measured(rule, dtype, layout, flush=flush)) is not None:
                found.setdefault(rule.name, {})[layout] = edge
    return found
