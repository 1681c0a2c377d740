"""Which parameters of a test are slow: all of them together would take minutes. CI runs them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def slow(values: Sequence[str], *which: str) -> list[Any]:
    """Parameters of a test, those of `which` marked as slow."""
    return [pytest.param(v, marks=pytest.mark.slow) if v in which else v for v in values]


def slow_in_16_bits(names: Sequence[str]) -> list[Any]:
    """Dtypes or models, those of 16 bits and what is between marked as slow: not float32 and not float64."""
    return slow(names, *({*names} - {"float32", "float64"}))
