"""Implementations under test, as functions of NumPy arrays: frameworks, programs, modules."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from refnn.implementations.framework import Framework

GROUP = "refnn.frameworks"
# The frameworks that come with refnn, by entry points of its own. Here too, for a source tree that is run with the
# metadata of an older version.
OWN: Mapping[str, str] = MappingProxyType(
    {
        "autograd": "refnn.implementations.autograd:AUTOGRAD",
        "jax": "refnn.implementations.jax:JAX",
        "onnxruntime": "refnn.implementations.onnxruntime:ONNXRUNTIME",
        "torch": "refnn.witnesses.torch:TORCH",
    }
)


def known() -> dict[str, EntryPoint]:
    """The frameworks that have an adapter, by name, whether they are installed or not."""
    found = {name: EntryPoint(name, value, GROUP) for name, value in OWN.items()}
    return dict(sorted({**{e.name: e for e in entry_points(group=GROUP)}, **found}.items()))


def adapter_for(framework: str) -> Framework:
    """The record of a framework. LookupError, in a sentence, where it is unknown or not installed, or where its entry
    point names something else."""
    points = known()
    if framework not in points:
        raise LookupError(f"unknown framework {framework!r}, known: {', '.join(points)}")
    point = points[framework]
    try:
        adapter = point.load()
    except ImportError as e:
        what = f"'refnn[{framework}]'" if framework in OWN else getattr(point.dist, "name", framework)
        raise LookupError(f"framework {framework!r} is not installed ({e}): pip install {what}") from e
    except Exception as e:  # of a package that is broken
        raise LookupError(f"framework {framework!r}: loading {point.value!r} raised {type(e).__name__}: {e}") from e
    if not isinstance(adapter, Framework):
        raise LookupError(
            f"framework {framework!r}: {point.value!r} is a {type(adapter).__name__}, "
            "expected a refnn.implementations.framework.Framework"
        )
    return adapter


def frameworks() -> dict[str, str]:
    """The frameworks that have an adapter: the version of each, or why it cannot be used here. It imports them.

    >>> refnn.frameworks()
    {'autograd': ..., 'jax': ..., 'onnxruntime': ..., 'torch': ...}
    """
    found = {}
    for name in known():
        try:
            found[name] = adapter_for(name).version
        except LookupError as e:
            found[name] = str(e.args[0])
    return found
