"""The catalogue: one module per op, found by name. Modules whose name begins with an underscore hold no op."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping

from refnn.op import Op


class Catalogue(Mapping[str, Op]):
    """The ops by name, sorted. A module is imported when its op is asked for: import refnn stays cheap."""

    def __init__(self) -> None:
        self._ops: dict[str, Op | None] = dict.fromkeys(
            sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
        )

    def __getitem__(self, name: str) -> Op:
        if (op := self._ops[name]) is None:
            op = getattr(importlib.import_module(f"{__name__}.{name}"), name, None)
            if not isinstance(op, Op) or op.name != name:
                raise ImportError(f"refnn/ops/{name}.py does not end in an Op named {name!r}")
            self._ops[name] = op
        return op

    def __contains__(self, name: object) -> bool:
        return name in self._ops

    def __iter__(self) -> Iterator[str]:
        return iter(self._ops)

    def __len__(self) -> int:
        return len(self._ops)


OPS = Catalogue()


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
