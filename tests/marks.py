"""Which parameters of a test are slow: all of them together would take minutes, and CI runs them all. And which are run
in one process."""

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


def together(op: str, *values: Any, **kwargs: Any) -> Any:
    """A parameter of a test of one op: one process of pytest-xdist runs them all, so that what is known of the op is
    found once. The op itself, unless other values are given."""
    return pytest.param(*(values or (op,)), marks=pytest.mark.xdist_group(op), **kwargs)
