"""Old import paths, for one version: `import refnn.train` is `import refnn.networks.train`, with a
DeprecationWarning."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import MappingProxyType, ModuleType

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
