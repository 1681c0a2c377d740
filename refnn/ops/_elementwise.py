"""Functions of single elements of one array: what their records have in common."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nan
from typing import Any

from refnn.arithmetic import Convention
from refnn.op import Half, Input, Op, Special
from refnn.ops._shared import any_array, each_element, elementwise


def unary(
    name: str,
    forward: Half,
    vjp: Half,
    special: tuple[Special, ...],
    *,
    within: tuple[float, float] = (-inf, inf),
    poles: tuple[float, ...] = (),
    points: tuple[float, ...] = (),
    algorithms: Mapping[str, tuple[Half, Half]] | None = None,
    kinks: Mapping[str, Convention] | None = None,
) -> Op:
    """The op of one array, any shape, whose elements do not depend on each other. `within` and `poles` are those of its
    input, `points` those where its formula changes."""
    return Op(
        name=name,
        forward_definition=forward,
        vjp_definition=vjp,
        inputs={"x": Input(within=within, poles=poles)},
        validate=any_array,
        variants=elementwise(points=points),
        algorithms=algorithms or {},
        kinks=kinks or {},
        special=special,
        rowwise=each_element,
    )


def table(*rows: tuple[float, Any, Any, str]) -> tuple[Special, ...]:
    """The table of special values of a function, of rows (x, its value, its slope, why). NaN in gives NaN out."""
    first = Special((nan,), nan, (None,), "NaN in gives NaN out")
    return (first, *(Special((x,), value, (slope,), why) for x, value, slope, why in rows))
