"""The cases of each op reach every side of each of its branches, and windows with one maximum and with several."""

from __future__ import annotations

import collections
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.arithmetic.floats import Floats
from refnn.judging.cases import cases
from refnn.judging.families import FAMILIES
from refnn.op import Op
from refnn.oracle.evaluate import run

SIDES = ("below", "on", "above")
MAXIMA = ("unique", "tied")
Counts = dict[str, collections.Counter[str]]


class Counting(Floats):
    """Floats that count, for each place in an op's definition that looks at a sign, the elements on every side."""

    name = "Counting"

    def __init__(self, dtype: Any, counts: Counts, **options: Any) -> None:
        super().__init__(dtype, **options)
        self.counts = counts

    def _place(self, names: Sequence[str]) -> collections.Counter[str]:
        """The counts of the line of the definition that asked."""
        frame = sys._getframe(2)
        while not frame.f_globals["__name__"].startswith("refnn.ops."):
            assert frame.f_back is not None
            frame = frame.f_back
        place = f"{frame.f_globals['__name__'].rpartition('.')[2]}.{frame.f_code.co_name}:{frame.f_lineno}"
        columns = [*frame.f_code.co_positions()][frame.f_lasti // 2]
        return self.counts.setdefault(f"{place}:{columns[2]}", collections.Counter(dict.fromkeys(names, 0)))

    def _sides(self, x: Any, at: Any = 0) -> None:
        counter = self._place(SIDES)
        for name, side in zip(SIDES, (x < at, x == at, x > at), strict=True):
            counter[name] += int(np.count_nonzero(side))

    def relu(self, x: Any) -> Any:
        self._sides(x)
        return super().relu(x)

    def abs(self, x: Any) -> Any:
        self._sides(x)
        return super().abs(x)

    def branch(self, x: Any, above: Any, below: Any, at: Any = 0, kink: str = "0") -> Any:
        self._sides(x, at)
        return super().branch(x, above, below, at, kink)

    def _tops(self, x: Any, axis: int, among: Any) -> None:
        counter = self._place(MAXIMA)
        if not x.size:
            return
        taking_part = x if among is None else np.where(among, x, -np.inf)
        tops = np.count_nonzero(taking_part == np.max(taking_part, axis=axis, keepdims=True), axis=axis)
        counter["unique"] += int(np.count_nonzero(tops == 1))
        counter["tied"] += int(np.count_nonzero(tops > 1))

    def max(self, x: Any, axis: int, among: Any = None) -> Any:
        self._tops(x, axis, among)
        return super().max(x, axis, among)

    def route(self, g: Any, x: Any, axis: int, among: Any = None) -> Any:
        self._tops(x, axis, among)
        return super().route(g, x, axis, among)


def counted(op: Op, families: Sequence[str] | None = None) -> Counts:
    """How many elements of an op's cases lie on each side of each place."""
    counts: Counts = {}
    for case in cases(op, "float32", families=families):
        for algorithm in ("accurate", *op.algorithms):
            ar = Counting(np.float32, counts, convention=op.convention)
            with np.errstate(all="ignore"):
                run(ar, replace(case, op=op).call(algorithm))
    return counts


def missed(counts: Counts) -> list[str]:
    """The sides that nothing reached."""
    return [f"{place} {side}" for place, sides in counts.items() for side, n in sides.items() if n == 0]


# Edges that no input can meet, by the place of the branch.
GAPS = {"logsumexp._weighted": "a sum of exponentials shifted by their maximum is at least 1, or 0: never 1/2"}


@pytest.mark.parametrize("name", refnn.ops)
def test_every_side_of_every_branch_is_reached(name: str) -> None:
    counts = counted(refnn.ops[name])
    print(f"{name}: { ({place: dict(sides) for place, sides in counts.items()}) }")
    # A mask holds 0 and 1 and nothing on the edge between them.
    masked = any(i.kind == "mask" for i in refnn.ops[name].inputs.values())
    gaps = {place for place in counts if masked or place.split(":")[0] in GAPS}
    assert not [side for side in missed(counts) if side not in {f"{place} on" for place in gaps}]
    assert bool(counts) >= bool(refnn.ops[name].kinks)  # a kink is some place


@pytest.mark.parametrize("name", ["relu6", "hardtanh", "hardswish", "softshrink", "hardshrink", "threshold"])
def test_a_kink_is_missed_without_the_families_that_aim_at_it(name: str) -> None:
    aimed = {"grid", "kinks", "limits", "near", "nonfinite", "special", "subnormal", "zeros"}
    assert all(side.endswith(" on") for side in missed(counted(refnn.ops[name], sorted({*FAMILIES} - aimed))))
    assert missed(counted(refnn.ops[name], sorted({*FAMILIES} - aimed)))


def test_a_side_is_missed_where_all_numbers_are_negative() -> None:
    assert any(side.endswith(" above") for side in missed(counted(refnn.relu, ["negative"])))


def test_ties_are_missed_on_random_numbers() -> None:
    assert any(side.endswith(" tied") for side in missed(counted(refnn.max_pool2d, ["normal"])))
    assert not missed(counted(refnn.max_pool2d))
