"""Implementations under test, as functions of NumPy arrays: frameworks, programs, modules."""

from __future__ import annotations

from typing import Any


def adapter_for(framework: str) -> Any:
    """The module that runs a framework's functions. LookupError where it is unknown or not installed."""
    if framework != "torch":
        raise LookupError(f"unknown framework {framework!r}, known: torch")
    try:
        from refnn.implementations import torch as adapter
    except ImportError as e:
        raise LookupError(f"framework 'torch' is not installed ({e}): pip install 'refnn[torch]'") from e
    return adapter
