"""Which parameters of a test are slow: all of them together would take minutes, and CI runs them all. And which are run
in one process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from refnn.models import MODELS


def slow(values: Sequence[str], *which: str) -> list[Any]:
    """Parameters of a test, those of `which` marked as slow."""
    return [pytest.param(v, marks=pytest.mark.slow) if v in which else v for v in values]


# Ops whose sweeps are run in float64 by default, of those that are run at all (see SAMPLE): a sum, rows, a function.
FEW = ("linear", "softmax", "tanh")


def slow_in_16_bits(names: Sequence[str]) -> list[Any]:
    """Dtypes or models, those of 16 bits and what is between marked as slow: not float32 and not float64."""
    return slow(names, *({*names} - {"float32", "float64"}))


def in_every(dtypes: Sequence[str], ops: Iterable[str]) -> list[Any]:
    """Each of these ops in each of these dtypes, or models. Float32 is run by default, and float64 of a FEW ops. The
    rest is slow: the same is asked again of another format."""
    found = []
    for op in ops:
        for dtype in dtypes:
            usual = dtype == "float32" or (dtype == "float64" and op in FEW)
            found.append(together(op, op, dtype, marks=() if usual else pytest.mark.slow, id=f"{op}-{dtype}"))
    return found


def together(op: str, *values: Any, marks: Any = (), **kwargs: Any) -> Any:
    """A parameter of a test of one op: one process of pytest-xdist runs them all, so that what is known of the op is
    found once. The op itself, unless other values are given."""
    more = marks if isinstance(marks, tuple) else (marks,)
    return pytest.param(*(values or (op,)), marks=(pytest.mark.xdist_group(op), *more), **kwargs)


# The ops of which tests that sweep the whole catalogue run by default: functions, a kink, rows, sums, windows, ties,
# losses, several inputs. Of the others they are slow.
SAMPLE = frozenset(
    (
        "avg_pool1d",
        "conv1d",
        "dropout",
        "linear",
        "max_pool1d",
        "mse_loss",
        "prelu",
        "relu",
        "softmax",
        "softplus",
        "tanh",
    )
)
WHOLE = 15  # ops of a test that sweeps the catalogue


def sample_sweeps(items: Sequence[pytest.Item], catalogue: frozenset[str]) -> None:
    """Mark the tests of ops that are not of the sample as slow, where a test has a parameter for many of the ops. In a
    model that is neither float32 nor float64 they are exhaustive, too: CI leaves those out."""
    ops = {item: op_of(item, catalogue) for item in items}
    swept: dict[str, set[str]] = {}
    for item, op in ops.items():
        if op is not None:
            swept.setdefault(item.nodeid.split("[")[0], set()).add(op)
    for item, op in ops.items():
        if op is not None and op not in SAMPLE and len(swept[item.nodeid.split("[")[0]]) >= WHOLE:
            item.add_marker(pytest.mark.slow)
            if models(item) - {"float32", "float64"}:
                item.add_marker(pytest.mark.exhaustive)


def models(item: pytest.Item) -> set[str]:
    """The models, or dtypes, that parameters of a test name."""
    call = getattr(item, "callspec", None)
    named = (v for v in (() if call is None else call.params.values()) if isinstance(v, str))
    return {v for v in named if v.partition("@")[0].removesuffix("-ftz") in MODELS}


def op_of(item: pytest.Item, catalogue: frozenset[str]) -> str | None:
    """The op that a parameter of a test is, or is about."""
    call = getattr(item, "callspec", None)
    for value in () if call is None else call.params.values():
        name = getattr(value, "op", value)
        if isinstance(name, str) and name in catalogue:
            return name
    return None
