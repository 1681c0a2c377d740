"""Reductions: orders of summation as others write them, what each refuses, what is none of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import refnn
from refnn import Network, Node
from refnn.networks.account import fields

Array = np.ndarray
Axis = int | tuple[int, ...] | None


@pytest.mark.parametrize(
    ("op", "shape", "params", "sentence"),
    [
        (
            "sum",
            (2, 3),
            {"axis": 2},
            "sum: axis is 2, expected None, an integer from -2 to 1, or a tuple of them, for shape (2, 3)",
        ),
        (
            "sum",
            (2, 3),
            {"axis": ()},
            "sum: axis is (), expected None, an integer from -2 to 1, or a tuple of them, for shape (2, 3)",
        ),
        (
            "mean",
            (2, 3),
            {"axis": (0, 1.0)},
            "mean: axis is (0, 1.0), expected None, an integer from -2 to 1, or a tuple of them, for shape (2, 3)",
        ),
        ("sum", (), {"axis": 0}, "sum: axis is 0, expected None for shape ()"),
        ("mean", (2, 3), {"axis": (1, -1)}, "mean: axis is (1, -1), which names an axis of shape (2, 3) twice"),
        ("sum", (2, 3), {"keepdims": 1}, "sum: keepdims is 1, expected True or False"),
        ("mean", (0, 3), {"axis": 0}, "mean: axis 0 of shape (0, 3) has no element, whose mean is undefined"),
        ("var", (2, 3), {"correction": 0.5}, "var: correction is 0.5, expected an integer, at least 0"),
        (
            "var",
            (2, 3),
            {"axis": 0, "correction": 2},
            "var: correction is 2, expected less than 2, the number of elements along axis 0 of shape (2, 3): "
            "no degree of freedom is left",
        ),
        ("mean", (0, 3), {}, "mean: axis None of shape (0, 3) has no element, whose mean is undefined"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_sentence(op: str, shape: Any, params: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        refnn.ops[op](np.ones(shape), **params)


def test_a_sum_of_nothing_is_zero_and_has_a_gradient_of_nothing() -> None:
    x = np.ones((0, 3), np.float32)
    assert refnn.sum(x, axis=0).tolist() == [0, 0, 0] and refnn.sum(x) == 0
    assert refnn.sum.vjp(np.ones(3, np.float32), x, axis=0)[0].shape == (0, 3)
    assert refnn.mean(x, axis=1).shape == (0,)


def rows_of(x: Array, axis: Axis) -> tuple[Array, tuple[int, ...]]:
    """The slices of x as rows, and the axes."""
    axes = tuple(range(x.ndim)) if axis is None else tuple(a % x.ndim for a in np.atleast_1d(axis))
    rest = [a for a in range(x.ndim) if a not in axes]
    return x.transpose(*rest, *axes).reshape(int(np.prod([x.shape[a] for a in rest])), -1), axes


def reduction(of: Callable[[Array], Array]) -> Any:
    """A forward from a function of rows (slices, elements), which gives a number for each."""

    def forward(x: Array, *, axis: Axis, keepdims: bool, **params: Any) -> Array:
        rows, axes = rows_of(x, axis) if x.size else (np.zeros((0, 1), x.dtype), (x.ndim - 1 if axis == -1 else 0,))
        left = [n for a, n in enumerate(x.shape) if a not in axes]
        y = of(rows, **params) if x.size else np.zeros(left, x.dtype)
        return y.reshape([1 if a in axes else n for a, n in enumerate(x.shape)] if keepdims else left)

    return forward


def in_turn(rows: Array) -> Array:
    total = np.zeros(len(rows), rows.dtype)
    for column in rows.T:
        total = total + column
    return total


def in_halves(rows: Array) -> Array:
    while rows.shape[1] > 1:
        half = -(-rows.shape[1] // 2)
        rest = rows[:, half:]
        rows = np.concatenate([rows[:, : rest.shape[1]] + rest, rows[:, rest.shape[1] : half]], 1)
    return rows[:, 0]


def in_lanes(rows: Array) -> Array:
    """Eight running sums, as a vector unit has, and then their sum."""
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 8)))
    return in_turn(np.stack([in_turn(padded[:, lane::8]) for lane in range(8)], 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", [in_turn, in_halves, in_lanes])
def test_any_order_of_a_sum_conforms(order: Any, dtype: str) -> None:
    assert refnn.check("sum", forward=reduction(order), dtype=dtype).ok


@pytest.mark.parametrize("order", [in_turn, in_halves])
def test_a_mean_divides_its_sum_or_its_terms(order: Any) -> None:
    def first(rows: Array) -> Array:
        return order(rows * (1 / rows.dtype.type(rows.shape[1])))

    def last(rows: Array) -> Array:
        return order(rows) * (1 / rows.dtype.type(rows.shape[1]))

    for of in (first, last):
        assert refnn.check("mean", forward=reduction(of)).ok
    lossy = refnn.check("mean", forward=reduction(lambda rows: last(rows) * np.float32(1 + 2.0**-20)))
    assert lossy.verdict == "violation"


def test_a_lane_that_is_left_out_does_not_conform() -> None:
    report = refnn.check("sum", forward=reduction(lambda rows: in_lanes(rows[:, : max(8, rows.shape[1] // 8 * 8)])))
    assert report.verdict in ("violation", "special")


def test_the_bound_of_a_sum_is_that_of_its_length() -> None:
    """Of n ones, whose sum is exact in any order, (n - 1) u n is allowed, to first order, and not much more."""
    u = 2.0**-24
    for n in (2, 64, 4096):
        allowed = refnn.allowance("sum", np.ones(n, np.float32), model="float32").output.worst
        assert (n - 1) * u * n <= allowed <= (n - 1) * u * n * (1 + n * u) * (1 + 2.0**-30)


def two_passes(rows: Array, correction: int) -> Array:
    n = rows.dtype.type(rows.shape[1])
    d = rows - in_halves(rows)[:, None] / n
    return in_halves(d * d) / (n - rows.dtype.type(correction))


def welford(rows: Array, correction: int) -> Array:
    """A running mean and a running sum of squares, one element after the other (Welford, Technometrics 4, 1962)."""
    m, squares = np.zeros(len(rows), rows.dtype), np.zeros(len(rows), rows.dtype)
    for k, x in enumerate(rows.T, 1):
        d = x - m
        m = m + d / rows.dtype.type(k)
        squares = squares + d * (x - m)
    return squares / rows.dtype.type(rows.shape[1] - correction)


def one_pass(rows: Array, correction: int) -> Array:
    n = rows.dtype.type(rows.shape[1])
    m = in_halves(rows) / n
    return (in_halves(rows * rows) / n - m * m) * (n / (n - rows.dtype.type(correction)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("of", [two_passes, welford])
def test_two_passes_and_welfords_conform(of: Any, dtype: str) -> None:
    report = refnn.check("var", forward=reduction(of), dtype=dtype)
    assert report.ok, report
    lossy = reduction(lambda rows, correction: of(rows, correction) * rows.dtype.type(1 + 1 / 64))
    assert refnn.check("var", forward=lossy, dtype=dtype).verdict == "violation"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_pass_is_named(dtype: str) -> None:
    families = ("normal", "grid", "far", "offset", "sorted")
    report = refnn.check("var", forward=reduction(one_pass), dtype=dtype, families=families)
    assert {(f.verdict, f.name) for f in report.findings} == {("explained", "one pass")}, report


@pytest.mark.parametrize("spike", [0, 1, 100, 1023])
def test_after_a_spike_welfords_roundings_are_alike_and_inside(spike: int) -> None:
    x = np.random.default_rng(spike).normal(size=1024).astype(np.float32)
    x[spike] = 3e8
    y, exact = welford(x[None], 1)[0], refnn.truth("var", x).output.value
    bound = refnn.allowance("var", x, model="float32").output.worst
    assert abs(float(y) - exact) <= bound <= 2 * 1024 * 2.0**-24 * exact


def test_far_from_zero_one_pass_has_no_digit() -> None:
    x = (1e4 + np.random.default_rng(0).normal(size=64)).astype(np.float32)
    exact = refnn.truth("var", x).output.value
    two, one = (refnn.allowance("var", x, model="float32", algorithm=a).output.worst for a in ("accurate", "one pass"))
    assert two < 0.2 * exact and one > exact


def test_nearly_equal_numbers_are_not_suspect() -> None:
    """The mean of equal numbers is rounded, and a square of that error is no first-order effect."""
    for value in (0.1, 1 / 3, 1e10 / 7):
        x = np.full((5, 11), value, np.float32)
        x[:, 0] = np.nextafter(x[:, 0], np.float32(np.inf))
        for of in (two_passes, welford):
            report = refnn.check("var", forward=reduction(of), inputs={"inputs": (x,), "params": {"axis": 1}})
            assert report.ok, report


def _through_the_mean(g: Array, x: Array, *, axis: Axis, keepdims: bool, correction: int) -> tuple[Array]:
    """The gradient as automatic differentiation of two passes has it, where an infinity makes everything NaN."""
    axes = rows_of(x, axis)[1] if x.size else (0,)
    n = int(np.prod([x.shape[a] for a in axes]))
    over = g.reshape([1 if a in axes else n for a, n in enumerate(x.shape)]) if x.size else g.reshape(x.shape[0], 1)
    with np.errstate(all="ignore"):
        h = 2 * over * (x - x.mean(axes, keepdims=True)) / x.dtype.type(n - correction)
        return (h - h.mean(axes, keepdims=True),)


def test_what_the_table_says_of_a_slice_holds_over_several_axes() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    x[0, 1, 2] = np.inf
    for axis in ((0, 2), (1, 2), (0, 1), None, -1):
        given = {"inputs": (x,), "params": {"axis": axis}, "cotangent": np.ones(refnn.var(x, axis=axis).shape, "f4")}
        report = refnn.check("var", vjp=_through_the_mean, inputs=given)
        assert report.ok, report

        def spoilt(g: Array, x: Array, **params: Any) -> tuple[Array]:
            return (np.full_like(x, np.nan),)

        wrong = refnn.check("var", vjp=spoilt, inputs=given)
        assert wrong.ok == (axis is None)  # the slices without the infinity have no NaN


@pytest.mark.parametrize("op", ["sum", "mean", "var"])
def test_pytorchs_own_function_takes_every_axis(op: str) -> None:
    torch = pytest.importorskip("torch")
    for keepdims in (False, True):
        report = refnn.check(
            op, getattr(torch, op), framework="torch", where={"axis": None, "keepdims": keepdims}, families=["normal"]
        )
        assert report.ok and report.elements and not report.unsupported


def test_a_module_may_reduce() -> None:
    torch = pytest.importorskip("torch")

    class Scaled(torch.nn.Module):
        def __init__(self, **how: Any) -> None:
            super().__init__()
            self.how = how

        def forward(self, x: Any) -> Any:
            return torch.tanh(x).var(1, **self.how)

    for how, expected in (({}, {}), ({"unbiased": False}, {"correction": 0}), ({"correction": 2}, {"correction": 2})):
        net = Network.from_torch(Scaled(**how), (torch.ones(2, 4),))
        assert dict(net.nodes[-1].params) == {"axis": 1, **expected}

    class Pooled(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.relu(x).mean((2, 3)).sum(1, keepdim=True)

    net = Network.from_torch(Pooled(), (torch.ones(2, 3, 4, 4),))
    assert [(n.op, dict(n.params)) for n in net.nodes[1:]] == [
        ("mean", {"axis": (2, 3)}),
        ("sum", {"axis": 1, "keepdims": True}),
    ]


@pytest.mark.parametrize(
    ("axis", "expected"), [(None, (4, 5)), ((2, 3), (4, 5)), (3, (1, 5)), ((0, 1), (1, 1)), (-2, (4, 1))]
)
def test_a_value_sees_the_axes_that_are_reduced(axis: Axis, expected: tuple[int, ...]) -> None:
    node = Node("pooled", "mean", ("x",), {"axis": axis, "keepdims": True})
    net = Network([node], name="pool", inputs=("x",), shapes={"x": (3, 4, 5)})
    assert tuple(f.size for f in fields(net)["pooled"]) == expected
