"""The ops of refnn as expressions: their own forward and vjp, run in symbols."""

from __future__ import annotations

from typing import Any

import refnn
from refnn.arithmetic.symbols import Symbols

Array = Any


def forward(op: str, *inputs: Array, **params: Any) -> Array:
    """The output of refnn's definition, as SymPy expressions."""
    definition = refnn.ops[op]
    return definition.forward(Symbols(), *inputs, **{**definition.defaults, **params})


def vjp(op: str, g: Array, *inputs: Array, **params: Any) -> tuple[Array | None, ...]:
    """The gradients of refnn's definition for the cotangent g, as SymPy expressions."""
    definition = refnn.ops[op]
    full = {**definition.defaults, **params}
    ar = Symbols()
    return definition.vjp_definition(ar, g, definition.forward(ar, *inputs, **full), *inputs, **full)
