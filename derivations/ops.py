"""The ops of refnn as expressions: their own forward and vjp, run in symbols, with refnn's own convention at kinks."""

from __future__ import annotations

from typing import Any

import refnn
from refnn.arithmetic.symbols import Symbols

Array = Any


def forward(op: str, *inputs: Array, **params: Any) -> Array:
    """The output of refnn's definition, as SymPy expressions."""
    definition = refnn.ops[op]
    return definition.forward_definition(_symbols(op), *inputs, **{**definition.defaults, **params})


def vjp(op: str, g: Array, *inputs: Array, kink: str | None = None, **params: Any) -> tuple[Array | None, ...]:
    """The gradients of refnn's definition for the cotangent g, as SymPy expressions.

    `kink` names another of its conventions than its own.
    """
    definition = refnn.ops[op]
    full = {**definition.defaults, **params}
    ar = _symbols(op, kink)
    return definition.vjp_definition(ar, g, definition.forward_definition(ar, *inputs, **full), *inputs, **full)


def _symbols(op: str, kink: str | None = None) -> Symbols:
    definition = refnn.ops[op]
    return Symbols(convention=definition.kinks[kink] if kink else definition.convention)
