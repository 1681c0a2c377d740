"""Old import paths, for one version: `import refnn.train` is `import refnn.networks.train`, with a
DeprecationWarning."""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import MappingProxyType, ModuleType
from typing import Any

from refnn.op import Op, Variant

MOVED: Mapping[str, str] = MappingProxyType(
    {
        "adapters": "implementations",
        "boundaries": "limits.boundaries",
        "calculus": "teaching.calculus",
        "calibration": "study.calibration",
        "datasets": "networks.datasets",
        "equivariance": "teaching.equivariance",
        "fixtures": "suite.fixture",
        "inputs": "judging.cases",
        "judge": "judging.judge",
        "limits_page": "study.limits",
        "network": "networks.network",
        "perceptron": "teaching.perceptron",
        "power": "study.power",
        "protocol": "implementations.protocol",
        "pytest_plugin": "suite.pytest_plugin",
        "regime": "teaching.regime",
        "regression": "teaching.regression",
        "schedules": "teaching.schedules",
        "shapes": "networks.account",
        "storage": "teaching.storage",
        "support": "study.support",
        "svg": "report.svg",
        "tightness": "study.tightness",
        "train": "networks.train",
        "zoo": "networks.zoo",
    }
)


class Moved(MetaPathFinder, InspectLoader):
    """Finds a module of refnn under its old name, as an import and as `python -m` look for it."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return spec_from_loader(name, self) if _place(name) else None

    def is_package(self, name: str) -> bool:
        return hasattr(importlib.import_module(_place(name)), "__path__")

    def get_source(self, name: str) -> str:
        place = _place(name)
        return (
            "import importlib, runpy, sys, warnings\n"
            f"warnings.warn('{name} is {place} now', DeprecationWarning, stacklevel=2)\n"
            f"if __name__ == '__main__': runpy.run_module({place!r}, run_name='__main__')\n"
            f"else: sys.modules[__name__] = importlib.import_module({place!r})\n"
        )


def _place(name: str) -> str:
    """The full name that a module has now; empty where it is not one that moved."""
    package, _, rest = name.partition(".")
    first, dot, deeper = rest.partition(".")
    return f"refnn.{MOVED[first]}{dot}{deeper}" if package == "refnn" and first in MOVED else ""


def install() -> None:
    """Look for old names where nothing of the name is found."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.append(Moved())
        _accept_old_records()


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} is {new} now", DeprecationWarning, stacklevel=3)


def _accept_old_records() -> None:
    make, forward = Op.__init__, Op.forward

    @functools.wraps(make)
    def made(self: Op, *args: Any, **named: Any) -> None:
        for old, new in (("forward", "forward_definition"), ("classes", "algorithms")):
            if old in named:
                _warn(f"Op({old}=...)", f"Op({new}=...)")
                named[new] = named.pop(old)
        variants = named.get("variants", args[5] if len(args) > 5 else ())
        if any(isinstance(v, Mapping) for v in variants):
            _warn("a variant as a mapping", "refnn.Variant(shapes, params)")
            typed = tuple(Variant(**v) if isinstance(v, Mapping) else v for v in variants)
            args, named = (
                (args, {**named, "variants": typed}) if "variants" in named else ((*args[:5], typed, *args[6:]), named)
            )
        make(self, *args, **named)

    @functools.wraps(forward)
    def called(self: Op, *inputs: Any, **params: Any) -> Any:
        if inputs and hasattr(inputs[0], "branch"):  # an arithmetic
            _warn("op.forward(ar, ...)", "op.forward_definition(ar, ...)")
            return self.forward_definition(*inputs, **params)
        return forward(self, *inputs, **params)

    def classes(self: Op) -> Any:
        _warn("op.classes", "op.algorithms")
        return self.algorithms

    def item(self: Variant, name: str) -> Any:
        _warn(f"variant[{name!r}]", f"variant.{name}")
        return getattr(self, name)

    for owner, name, value in (
        (Op, "__init__", made),
        (Op, "forward", called),
        (Op, "classes", property(classes)),
        (Variant, "__getitem__", item),
    ):
        setattr(owner, name, value)
