"""The catalogue: one module per op, found by name. Modules whose name begins with an underscore hold no op.

The package is itself a mapping: refnn.ops["softmax"] is the op, refnn.ops.softmax the module that holds it.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import cast

from refnn.op import Op

_NAMES = tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


class Catalogue(ModuleType, Mapping[str, Op]):
    """The ops by name, sorted. A module is imported when its op is asked for: import refnn stays cheap."""

    def __getitem__(self, name: str) -> Op:
        if name not in _NAMES:
            raise KeyError(name)
        return _load(name)

    def __contains__(self, name: object) -> bool:
        return name in _NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)

    __eq__ = object.__eq__  # as of any module: tools keep modules in sets
    __hash__ = object.__hash__


sys.modules[__name__].__class__ = Catalogue
OPS = cast(Catalogue, sys.modules[__name__])


@cache
def _load(name: str) -> Op:
    op = getattr(importlib.import_module(f"{__name__}.{name}"), name, None)
    if not isinstance(op, Op) or op.name != name:
        raise ImportError(f"refnn/ops/{name}.py does not end in an Op named {name!r}")
    return op


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
