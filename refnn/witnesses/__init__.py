"""Witnesses: independent derivatives. They can contradict a hand-derived vjp, and never define it."""

from __future__ import annotations

import importlib
from typing import Any

from refnn.implementations import adapter_for


def torch_witness() -> Any:
    """The module of what is known of PyTorch: its function for each op, and its version. LookupError where PyTorch is
    not installed."""
    adapter_for("torch")
    return importlib.import_module("refnn.witnesses.torch")
