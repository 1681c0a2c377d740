"""The catalogue: one module per op, found by name. Modules whose name begins with an underscore hold no op."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from refnn.op import Op


def _collect() -> Mapping[str, Op]:
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    ops = {n: getattr(importlib.import_module(f"{__name__}.{n}"), n) for n in names}
    if wrong := [n for n, op in ops.items() if not isinstance(op, Op) or op.name != n]:
        raise ImportError(f"refnn/ops/{wrong[0]}.py does not end in an Op named {wrong[0]!r}")
    return MappingProxyType(ops)


OPS: Mapping[str, Op] = _collect()


def find(op: str | Op) -> Op:
    """The op called `op` (or the op itself). LookupError names the nearest one."""
    if isinstance(op, Op):
        return op
    if op not in OPS:
        near = difflib.get_close_matches(str(op), OPS, 1, 0.5)
        raise LookupError(
            f"unknown op {op!r}" + (f", did you mean {near[0]!r}?" if near else f", known: {', '.join(OPS)}")
        )
    return OPS[op]
