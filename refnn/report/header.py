"""The header of a report: what a run depends on. Two runs compare only where these agree."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any


def environment() -> dict[str, Any]:
    """Versions, processor and threads. Frameworks are named only if they are loaded: nothing is imported for this."""
    import numpy

    found = {
        "refnn": _version("refnn"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "numpy": numpy.__version__,
        "python-flint": _version("python-flint"),
    }
    for name in ("torch", "jax", "onnxruntime", "autograd"):
        if (framework := sys.modules.get(name)) is not None:
            found[name] = str(getattr(framework, "__version__", None) or _version(name))
    return found | {"cpu": _processor(), "cpu_features": _features(), "threads": _threads()}


def listed(about: Mapping[str, Any]) -> Iterator[str]:
    """What `environment` says as a list of Markdown, for pages of numbers; without the processor's features."""
    for key, value in about.items():
        if key != "cpu_features":
            yield f"- {key.replace('_', ' ')}: {value}"


def read_listed(page: str) -> dict[str, str]:
    """What `listed` wrote at the beginning of a page."""
    return dict(re.findall(r"^- ([^:]*): (.*)$", page.partition("\n## ")[0], re.MULTILINE))


def rows(header: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The header as pairs of strings to show, without what has a place of its own."""
    return [(k.replace("_", " "), _shown(v)) for k, v in header.items() if k not in _ELSEWHERE]


_ELSEWHERE = ("models", "notes", "traces", "ordinary", "unsupported")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_shown(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = (line.partition(":")[2].strip() for line in file if line.startswith(("model name", "Model")))
            if name := next(names, ""):
                return name
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "unknown"


def _features() -> list[str]:
    """What NumPy may dispatch to on this machine; empty where NumPy does not tell."""
    try:
        import numpy

        features = numpy._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
        return sorted(name for name, present in features.items() if present)
    except (AttributeError, ImportError):
        return []


def _threads() -> dict[str, int]:
    threads = {"cores": os.cpu_count() or 1}
    torch = sys.modules.get("torch")
    if hasattr(torch, "get_num_threads"):
        threads["torch"] = torch.get_num_threads()  # type: ignore[union-attr]
    return threads
