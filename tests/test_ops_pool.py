"""Pooling: numbers from the sources, where windows lie, what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.ops import _pool

# --- the sources -----------------------------------------------------------------------------------------------------

IMAGE = np.array(
    [
        [3.0, 3.0, 2.0, 1.0, 0.0],
        [0.0, 0.0, 1.0, 3.0, 1.0],
        [3.0, 1.0, 2.0, 2.0, 3.0],
        [2.0, 0.0, 0.0, 2.0, 2.0],
        [2.0, 0.0, 0.0, 0.0, 1.0],
    ]
)


@pytest.mark.system("S26", "S27", "S68")
def test_the_tables_of_the_lecture() -> None:
    """katsaros (pooling tables): windows of 3 x 3 with stride 1; the means are printed with one digit after the point.
    With stride 2 the corners remain."""
    means, maxima = (op(IMAGE[None], kernel_size=3, stride=1)[0] for op in (refnn.avg_pool2d, refnn.max_pool2d))
    assert means.round(1).tolist() == [[1.7, 1.7, 1.7], [1.0, 1.2, 1.8], [1.1, 0.8, 1.3]]
    assert (means == np.array([[15, 15, 15], [9, 11, 16], [10, 7, 12]]) / 9).all()
    assert maxima.tolist() == [[3, 3, 3], [3, 3, 3], [3, 2, 3]]
    for op, whole in ((refnn.avg_pool2d, means), (refnn.max_pool2d, maxima)):
        assert op(IMAGE[None], kernel_size=3, stride=2)[0].tolist() == whole[::2, ::2].tolist()


@pytest.mark.system("S68")
def test_two_by_two_windows_leave_a_quarter_of_the_activations() -> None:
    """katsaros: 16 values become 4."""
    x = np.arange(16.0).reshape(1, 4, 4)
    assert refnn.max_pool2d(x, kernel_size=2).tolist() == [[[5, 7], [13, 15]]]
    assert refnn.avg_pool2d(x, kernel_size=2).tolist() == [[[2.5, 4.5], [10.5, 12.5]]]


def test_pooling_is_invariant_to_shifts_inside_a_window_only() -> None:
    impulse = np.zeros((1, 8))
    pooled = []
    for at in (2, 3, 4):
        x = impulse.copy()
        x[0, at] = 1
        pooled.append(refnn.max_pool1d(x, kernel_size=2).tolist())
    assert pooled[0] == pooled[1] != pooled[2]


@pytest.mark.system("S68")
def test_channels_do_not_mix() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6))
    order = [2, 0, 1]
    for op in (refnn.max_pool2d, refnn.avg_pool2d):
        assert (op(x[:, order], kernel_size=(2, 3)) == op(x, kernel_size=(2, 3))[:, order]).all()


@pytest.mark.system("S26")
def test_maximum_pads_with_nothing_where_zeros_would_win() -> None:
    """katsaros pads with zeros, which are not neutral: of -1 everywhere the maximum is -1."""
    assert (refnn.max_pool2d(np.full((1, 4, 4), -1.0), kernel_size=3, stride=1, padding=1) == -1).all()


@pytest.mark.system("S26")
def test_the_first_of_equals_gets_the_gradient() -> None:
    """In scan order, row by row, as in the sources and in PyTorch; a cell under two windows gets the sum."""
    torch = pytest.importorskip("torch")
    x, g = np.array([[[1.0, 2.0, 2.0], [2.0, 0.0, 2.0]]]), np.array([[[3.0, 5.0]]])
    (gx,) = refnn.max_pool2d.vjp(g, x, kernel_size=2, stride=1)
    assert gx.tolist() == [[[0, 8, 0], [0, 0, 0]]]
    given = torch.from_numpy(x).requires_grad_()
    torch.nn.functional.max_pool2d(given, 2, 1).backward(torch.from_numpy(g))
    assert given.grad.tolist() == gx.tolist()


# --- where windows lie -----------------------------------------------------------------------------------------------


def test_windows_lie_where_pytorch_puts_them() -> None:
    """Every small axis, kernel, stride, padding, dilation and mode: the same number, or a refusal of both."""
    torch = pytest.importorskip("torch")
    accepted = refused = 0
    for n, k, s, d, ceil_mode in itertools.product(range(1, 7), range(1, 5), range(1, 4), (1, 2, 3), (False, True)):
        for p in range(k // 2 + 2):
            x = np.arange(1.0, n + 1)[None]
            params: dict[str, Any] = {"kernel_size": k, "stride": s, "padding": p, "ceil_mode": ceil_mode}
            ops = [("max_pool1d", {**params, "dilation": d})]
            if d == 1:
                ops += [("avg_pool1d", {**params, "count_include_pad": c}) for c in (False, True)]
            for name, given in ops:
                try:
                    expected = getattr(torch.nn.functional, name)(torch.from_numpy(x), **given).numpy()
                except RuntimeError:
                    refused += 1
                    with pytest.raises(ValueError, match=name):
                        refnn.ops[name](x, **given)
                    continue
                accepted += 1
                got = refnn.ops[name](x, **given)
                assert got.shape == expected.shape, (name, n, given)
                # One sum of a few small integers and one division round alike.
                assert (got == expected).all(), (name, n, given)
    assert accepted > 1000 and refused > 100


def test_axes_have_their_own_numbers() -> None:
    w = _pool.windows((2, 3, 9, 8), 2, (3, 2), None, (1, 0), (2, 3), True)
    assert (w.size, w.kernel, w.stride, w.dilation, w.before) == ((9, 8), (3, 2), (3, 2), (2, 3), (1, 0))
    assert w.count == (3, 3)


@pytest.mark.system("S27")
def test_what_is_counted_in_an_average() -> None:
    """5 cells, padding 1 and a window of 3 every 3: the last one begins at 5, counts cell 5 as padding, 6 and 7 not."""
    w = _pool.windows((6,), 1, 3, 3, 1, ceil_mode=True)
    assert w.count == (3,)
    assert _pool.divisors(w, True).tolist() == [3, 3, 2]
    assert _pool.divisors(w, False).tolist() == [2, 3, 1]
    assert _pool.divisors(w, True, -5) == -5
    assert _pool.divisors(_pool.windows((6,), 1, 3, 3, 0), False) == 3


def test_three_axes_are_one_axis_at_a_time() -> None:
    """Maxima, and means of full windows, are taken along one axis after the other."""
    x = np.random.default_rng(1).integers(-8, 8, (2, 4, 6, 8)).astype(np.float64)
    for three, one in ((refnn.max_pool3d, refnn.max_pool1d), (refnn.avg_pool3d, refnn.avg_pool1d)):
        whole, axis_by_axis = three(x, kernel_size=2), x
        for axis in (1, 2, 3):
            moved = np.moveaxis(axis_by_axis, axis, -1)
            pooled = one(moved.reshape(1, -1, moved.shape[-1]), kernel_size=2).reshape(*moved.shape[:-1], -1)
            axis_by_axis = np.moveaxis(pooled, -1, axis)
        assert (whole == axis_by_axis).all()


@pytest.mark.system("S77")
def test_maxout_takes_consecutive_channels() -> None:
    x = np.array([[1.0, 5.0, 3.0, -2.0, -7.0, -3.0]])
    assert refnn.maxout(x, groups=2).tolist() == [[5, -2]]
    assert refnn.maxout(x, groups=3).tolist() == [[5, 3, -3]]
    assert refnn.maxout(x, groups=6).tolist() == x.tolist()
    (gx,) = refnn.maxout.vjp(np.array([[2.0, 3.0]]), x, groups=2)
    assert gx.tolist() == [[0, 2, 0, 3, 0, 0]]


# --- what is refused -------------------------------------------------------------------------------------------------

Z = np.zeros
REFUSED: dict[str, tuple[str, Any, dict[str, Any], str]] = {
    "rank": ("max_pool1d", Z((1, 2, 3, 4)), {"kernel_size": 2}, "x has shape (1, 2, 3, 4), expected (N, C, length)"),
    "rank 2d": ("avg_pool2d", Z(5), {"kernel_size": 2}, "x has shape (5,), expected (N, C, height, width)"),
    "rank 3d": ("avg_pool3d", Z((2, 3)), {"kernel_size": 2}, "expected (N, C, depth, height, width)"),
    "no channel": ("max_pool1d", Z((2, 0, 4)), {"kernel_size": 2}, "no axis but N empty"),
    "no cell": ("avg_pool2d", Z((1, 1, 0, 4)), {"kernel_size": 2}, "no axis but N empty"),
    "kernel": ("max_pool2d", Z((1, 4, 4)), {"kernel_size": 0}, "kernel_size is 0, expected an integer or 2 of them"),
    "kernels": (
        "max_pool2d",
        Z((1, 4, 4)),
        {"kernel_size": (2, 2, 2)},
        "kernel_size is (2, 2, 2), expected an integer",
    ),
    "real": ("avg_pool1d", Z((1, 4)), {"kernel_size": 2.0}, "kernel_size is 2.0, expected an integer, at least 1"),
    "stride": (
        "max_pool1d",
        Z((1, 4)),
        {"kernel_size": 2, "stride": 0},
        "stride is 0, expected an integer, at least 1",
    ),
    "negative": (
        "max_pool1d",
        Z((1, 4)),
        {"kernel_size": 2, "padding": -1},
        "padding is -1, expected an integer, at lea",
    ),
    "dilation": ("max_pool1d", Z((1, 4)), {"kernel_size": 2, "dilation": 0}, "dilation is 0, expected an integer"),
    "padding": (
        "avg_pool1d",
        Z((1, 9)),
        {"kernel_size": 3, "padding": 2},
        "padding is 2, expected at most half of kern",
    ),
    "divisor": (
        "avg_pool2d",
        Z((1, 4, 4)),
        {"kernel_size": 2, "divisor_override": 0},
        "divisor_override is 0, expected",
    ),
    "real divisor": (
        "avg_pool2d",
        Z((1, 4, 4)),
        {"kernel_size": 2, "divisor_override": 2.5},
        "divisor_override is 2.5, expected an integer other than 0, or None",
    ),
    "too long": ("max_pool1d", Z((1, 4)), {"kernel_size": 3, "dilation": 2}, "no window fits: x has shape (1, 4) with"),
    "groups": ("maxout", Z((2, 6)), {"groups": 4}, "groups is 4, expected a divisor of the 6 channels"),
    "no groups": ("maxout", Z((2, 6)), {"groups": 0}, "groups is 0, expected a divisor"),
    "no channels": ("maxout", Z(4), {"groups": 1}, "x has shape (4,), expected (N, C, ...)"),
    "no kernel": ("max_pool1d", Z((1, 4)), {}, "max_pool1d needs the parameter 'kernel_size'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_gets_one_sentence(name: str) -> None:
    op, x, params, sentence = REFUSED[name]
    with pytest.raises((TypeError, ValueError)) as caught:
        refnn.ops[op](x, **params)
    assert str(caught.value).startswith(op)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "params"), [("max_pool2d", {"kernel_size": 3}), ("maxout", {"groups": 2})])
def test_selections_flag_one_ulp(name: str, params: dict[str, int]) -> None:
    """Maxima, and gradients of windows that do not overlap, are not rounded."""
    op = refnn.ops[name]
    x = np.random.default_rng(2).normal(size=(2, 4, 6, 6)).astype(np.float32)

    def moved(y: np.ndarray) -> np.ndarray:
        return np.nextafter(y, np.float32(np.inf))

    report = refnn.check(
        op,
        forward=lambda x, **p: moved(op(x, **p)),
        vjp=lambda g, x, **p: tuple(map(moved, op.vjp(g, x, **p))),
        inputs={"inputs": (x,), "params": params},
    )
    assert report.count("violation") == report.elements == x.size + op(x, **params).size
