"""refnn: is my gradient right? Certified values, derived tolerances, named verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refnn.checking.check import assert_conforms, check
from refnn.judging.cases import case, cases
from refnn.networks.network import Network, Node
from refnn.op import Drawn, Input, Op, Special, Sum
from refnn.ops import OPS as ops
from refnn.ops import find
from refnn.oracle.allowance import allowance
from refnn.oracle.truth import truth
from refnn.report import Finding, Report


def vjp(op: str | Op, *inputs: Any, **params: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The output of `op` and its pullback: `(gx, ...) = pull(g)`, as often as needed; the forward runs once."""
    return find(op).pullback(*inputs, **params)


def __getattr__(name: str) -> Op:
    """refnn.softmax, refnn.linear, ...: the ops of the catalogue."""
    if name in ops:
        return ops[name]
    raise AttributeError(f"module 'refnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *ops})


__version__ = "0.1.0"
__all__ = [
    "Drawn",
    "Finding",
    "Input",
    "Network",
    "Node",
    "Op",
    "Report",
    "Special",
    "Sum",
    "allowance",
    "assert_conforms",
    "case",
    "cases",
    "check",
    "ops",
    "truth",
    "vjp",
    *ops,
]
