"""What several ops share: variants of elementwise ops and reductions of losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refnn.op import check_choice, check_same_shape

Array = Any

# 0-d, one element, a prime length beyond every SIMD width, unequal axes, an empty batch.
ELEMENTWISE: tuple[Mapping[str, Any], ...] = tuple(
    {"shapes": {"x": shape}, "params": {}} for shape in ((), (1,), (7,), (1021,), (3, 5, 7), (0, 4))
)
REDUCTIONS = ("none", "mean", "sum")


def any_array(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Elementwise ops take every shape."""


def each_element(ndim: int, params: Mapping[str, Any]) -> bool:
    return ndim > 0


def each_sample(ndim: int, params: Mapping[str, Any]) -> bool:
    """Losses of single samples, where they are not added up."""
    return ndim > 0 and params["reduction"] == "none"


def validate_pair(op: str) -> Any:
    """The rule of a loss of two arrays of one shape."""

    def validate(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        check_same_shape(op, inputs)
        check_choice(op, "reduction", params["reduction"], REDUCTIONS)

    return validate


def reduce(ar: Any, losses: Array, reduction: str, count: Any) -> Array:
    """The losses themselves, their sum, or their sum over `count`."""
    if reduction == "none":
        return losses
    total = ar.sum(losses)
    return total / count if reduction == "mean" else total
