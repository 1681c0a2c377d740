"""Normalisations: kernels as others write them, what each loses, and what they must not lose."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import refnn

Array = np.ndarray
F32 = np.float32
FAMILIES = ("normal", "offset", "few", "grid", "limits", "spike", "wide")


def _rows(x: Array, shape: tuple[int, ...]) -> Array:
    return x.reshape(-1, int(np.prod(shape)))


def two_pass(rows: Array) -> tuple[Array, Array]:
    m = rows.mean(1)
    return m, np.square(rows - m[:, None]).mean(1)


def welford(rows: Array) -> tuple[Array, Array]:
    """A running mean and a running sum of squares, one element after the other (Welford, Technometrics 4, 1962)."""
    zero = rows.dtype.type(0)
    m, squares = np.full(len(rows), zero), np.full(len(rows), zero)
    for k, x in enumerate(rows.T, 1):
        d = x - m
        m = m + d / rows.dtype.type(k)
        squares = squares + d * (x - m)
    return m, squares / rows.dtype.type(rows.shape[1])


def one_pass(rows: Array) -> tuple[Array, Array]:
    m = rows.mean(1)
    return m, np.maximum(np.square(rows).mean(1) - np.square(m), 0)


def kernel(moments: Any, shifted: bool = False) -> tuple[Any, Any]:
    """A forward, and a vjp that takes r / n out of n h - sum h - xhat sum(h xhat), as CUDA kernels do."""

    def normed(x: Array, shape: tuple[int, ...], eps: float) -> tuple[Array, Array, Array]:
        rows = _rows(x, shape)
        m, v = moments(rows)
        r = 1 / np.sqrt(v + x.dtype.type(eps))
        return rows, m[:, None], r[:, None]

    def forward(x: Array, weight: Array, bias: Array, *, normalized_shape: Any, eps: float = 1e-5) -> Array:
        rows, m, r = normed(x, normalized_shape, eps)
        y = (rows * r - m * r if shifted else (rows - m) * r).reshape(x.shape)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    def vjp(g: Array, x: Array, weight: Array, bias: Array, *, normalized_shape: Any, eps: float = 1e-5) -> Any:
        rows, m, r = normed(x, normalized_shape, eps)
        xhat, n = (rows - m) * r, rows.dtype.type(rows.shape[1])
        h = _rows(g if weight is None else g * weight, normalized_shape)
        along = xhat * (h * xhat).sum(1, keepdims=True)
        gx = (1 / n) * r * (n * h - h.sum(1, keepdims=True) - along)
        each = _rows(g, normalized_shape)
        by_weight = None if weight is None else (each * xhat).sum(0).reshape(weight.shape)
        return gx.reshape(x.shape), by_weight, None if bias is None else each.sum(0).reshape(bias.shape)

    return forward, vjp


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("moments", [two_pass, welford])
def test_two_passes_and_welfords_conform(moments: Any, dtype: str) -> None:
    for shifted in (False, True):
        forward, vjp = kernel(moments, shifted)
        report = refnn.check("layer_norm", forward=forward, vjp=vjp, dtype=dtype, families=FAMILIES)
        assert report.ok, report


def test_one_pass_is_named_and_loses_every_digit_far_from_zero() -> None:
    forward, vjp = kernel(one_pass)
    report = refnn.check("layer_norm", forward=forward, vjp=vjp, dtype="float32", families=["normal", "grid", "far"])
    assert {(f.verdict, f.name) for f in report.findings} == {("explained", "one pass")}, report


def test_the_bound_grows_with_the_mean_and_not_faster() -> None:
    """A row at a distance of m standard deviations is known to about n m u, which is what a kernel's sums lose: three
    times, in x - m, in the variance, and for a scale and a shift of each row."""
    rng, n = np.random.default_rng(0), 64
    x, far = rng.normal(size=(4, n)), []
    for m in (0.0, 1e2, 1e4):
        bound = refnn.allowance("layer_norm", (x + m).astype(F32), normalized_shape=(n,), model="float32").output
        far.append(bound.worst.max())
    assert far[0] < 8 * n * 2.0**-24
    assert 50 < far[2] / far[1] < 200 and far[1] < 8 * n * 1e2 * 2.0**-24


def test_rows_of_one_element_give_the_bias_and_no_gradient() -> None:
    x, weight, bias, g = (np.array(v, F32) for v in ([[3.0], [-7.5e18]], [2.0], [0.1], [[1.0], [1.0]]))
    assert (refnn.layer_norm(x, weight, bias, normalized_shape=(1,)) == bias).all()
    gx, gw, gb = refnn.layer_norm.vjp(g, x, weight, bias, normalized_shape=(1,))
    assert (gx == 0).all() and (gw == 0).all() and gb == 2


def test_a_constant_row_without_eps_is_undefined_and_an_rms_of_zeros_is_too() -> None:
    row = np.full((1, 4), 3.0)
    with np.errstate(all="ignore"):
        assert np.isnan(refnn.layer_norm(row, normalized_shape=(4,), eps=0.0)).all()
        assert np.isnan(refnn.rms_norm(0 * row, normalized_shape=(4,), eps=0.0)).all()
    assert (refnn.layer_norm(row, normalized_shape=(4,)) == 0).all()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda x: refnn.layer_norm(x, normalized_shape=(5,)),
            "layer_norm: normalized_shape is (5,), expected the lengths of the last axes of x of shape (3, 4)",
        ),
        (
            lambda x: refnn.rms_norm(x, normalized_shape=4),
            "rms_norm: normalized_shape is 4, expected the lengths of the last axes of x of shape (3, 4)",
        ),
        (
            lambda x: refnn.layer_norm(x, normalized_shape=()),
            "layer_norm: normalized_shape is (), expected the lengths of the last axes of x of shape (3, 4)",
        ),
        (
            lambda x: refnn.layer_norm(x, x[0, :3], normalized_shape=(4,)),
            "layer_norm: weight has shape (3,), expected normalized_shape (4,)",
        ),
        (
            lambda x: refnn.rms_norm(x, normalized_shape=(4,), eps=-1.0),
            "rms_norm: eps is -1.0, expected 0 or more",
        ),
        (
            lambda x: refnn.layer_norm(x[:, :0], normalized_shape=(0,)),
            "layer_norm: normalized_shape is (0,), the mean of no element is undefined",
        ),
    ],
)
def test_what_does_not_go_together_is_said_in_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        call(np.ones((3, 4)))
