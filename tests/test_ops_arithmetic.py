"""Arithmetic that broadcasts, products of matrices: kernels in other orders conform, wrong shapes are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import refnn

ONES = np.ones


@pytest.mark.parametrize(
    ("op", "x", "other", "sentence"),
    [
        ("add", (2, 3), (2,), r"add: x and other have the shapes \(2, 3\) and \(2,\), expected shapes that broadcast"),
        ("matmul", (2, 3), (2, 3), r"x has shape \(2, 3\) and other \(2, 3\), expected 2 for the last axis of x"),
        ("matmul", (2, 2, 3), (3, 3, 2), "expected axes before the matrices that broadcast"),
        ("matmul", (), (3,), "expected at least one axis of each"),
        ("matmul", (2, 0), (0, 3), "expected no empty matrix"),
    ],
)
def test_shapes_that_do_not_go_together_are_refused(op: str, x: Any, other: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        refnn.ops[op](ONES(x), ONES(other))


def _in_blocks(x: np.ndarray, other: np.ndarray, size: int = 16) -> np.ndarray:
    """A product of matrices whose sums are made of blocks."""
    whole = x.shape[-1]
    left, right = (x[None] if x.ndim == 1 else x), (other[:, None] if other.ndim == 1 else other)
    parts = [left[..., i : i + size] @ right[..., i : i + size, :] for i in range(0, whole, size)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    total = total[..., 0, :] if x.ndim == 1 else total
    return total[..., 0] if other.ndim == 1 else total


def _unbroadcast(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Axis by axis from the last on: an order that NumPy's own sum does not take."""
    for axis in reversed(range(g.ndim)):
        kept = axis - (g.ndim - len(shape))
        if kept < 0 or (shape[kept] == 1 and g.shape[axis] != 1):
            g = np.add.reduce(g, axis=axis, keepdims=True)
    return g.reshape(shape)


def _vjp(g: np.ndarray, x: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    left, right = (x[None] if x.ndim == 1 else x), (other[:, None] if other.ndim == 1 else other)
    d = g[..., None, :] if x.ndim == 1 and other.ndim > 1 else g
    d = d[..., None] if other.ndim == 1 else d
    d = d.reshape(*np.broadcast_shapes(left.shape[:-2], right.shape[:-2]), left.shape[-2], right.shape[-1])
    by_left, by_right = d @ right.swapaxes(-1, -2), left.swapaxes(-1, -2) @ d
    return _unbroadcast(by_left, left.shape).reshape(x.shape), _unbroadcast(by_right, right.shape).reshape(other.shape)


def test_a_product_in_blocks_conforms_and_a_lost_block_does_not() -> None:
    report = refnn.check("matmul", forward=_in_blocks, vjp=_vjp)
    assert report.ok, str(report)

    def lossy(x: np.ndarray, other: np.ndarray) -> np.ndarray:
        whole = x.shape[-1] - x.shape[-1] % 16 or x.shape[-1]
        return _in_blocks(x[..., :whole], other[..., :whole, :] if other.ndim > 1 else other[:whole])

    assert refnn.check("matmul", forward=lossy, vjp=_vjp).verdict in ("violation", "special")


def test_sums_over_broadcast_axes_may_take_any_order() -> None:
    def vjp(g: np.ndarray, x: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _unbroadcast(g * other, x.shape), _unbroadcast(g * x, other.shape)

    assert refnn.check("mul", forward=np.multiply, vjp=vjp).ok
    unsummed = refnn.check("mul", forward=np.multiply, vjp=lambda g, x, other: (g * other, g * x))
    assert not unsummed.ok and unsummed.count("error")
