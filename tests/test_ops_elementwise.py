"""Functions of one number: their domain, their poles, and what is wrong with both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import refnn
from refnn.judging.cases import cases
from refnn.judging.families import inside, off_poles
from refnn.op import Input
from refnn.ops import OPS

DOMAINS = [name for name, op in OPS.items() if any(np.isfinite(i.within).any() for i in op.inputs.values())]


@pytest.mark.parametrize("name", DOMAINS)
def test_families_draw_from_the_domain(name: str) -> None:
    """And from all of it: near its ends and far from them."""
    low, high = OPS[name].inputs["x"].within
    drawn = [c.inputs[0] for c in cases(OPS[name], "float32") if c.family != "special"]
    numbers = np.concatenate([x[~np.isnan(x)].ravel() for x in drawn if x is not None]).astype(np.float64)
    assert numbers.min() == low and numbers.max() <= high
    assert (numbers > 1e30).any() and (np.abs(numbers - low) < 1e-6).sum() > 50


def test_what_is_outside_is_reflected() -> None:
    x = np.float32([-3, -0.5, 0.25, 7, -np.inf, np.nan])
    assert np.array_equal(inside(x, Input(within=(-1, np.inf))), np.float32([1, -0.5, 0.25, 7, np.inf, np.nan]), True)
    assert np.array_equal(inside(x, Input(within=(-1, 1))), np.float32([1, -0.5, 0.25, -1, 1, np.nan]), True)
    assert inside(x, Input()) is x
    assert off_poles(np.zeros(2, np.float32), Input(poles=(0.0,))).tolist() == [1, 1]


def test_an_empty_domain_is_refused() -> None:
    with pytest.raises(ValueError, match=r"within \(1.0, 0.0\), expected the least number and a greater one"):
        Input(within=(1.0, 0.0))


@pytest.mark.parametrize(
    ("slope", "ok"),
    [
        (lambda g, x: (-g / 2 / np.sqrt(x) / x,), True),  # at -0 minus infinity over minus zero
        (lambda g, x: (-g / 2 * np.power(1 / np.sqrt(x), 3),), True),  # the cube of minus infinity
        (lambda g, x: (np.where(x == 0, g, -g / 2 / np.sqrt(x) / x),), False),  # a number where there is none
    ],
)
def test_at_a_pole_either_infinity_may_be_right_and_no_number_is(slope: Any, ok: bool) -> None:
    report = refnn.check("rsqrt", vjp=slope, families=["zeros", "near"])
    assert report.ok == ok, str(report)


def test_a_root_of_what_is_negative_is_nan() -> None:
    for name in ("log", "sqrt", "rsqrt"):
        assert np.isnan(OPS[name](np.float32([-2.0]))).all()
        of_magnitude = refnn.check(name, forward=lambda x, name=name: OPS[name](np.abs(x)))
        assert {f.family for f in of_magnitude.findings if f.what == "output"} == {"special"}


def test_a_layer_with_a_pole_does_not_mix_samples() -> None:
    from refnn.teaching.schedules import store_all, sweep_by_sweep

    net = refnn.Network(
        [
            refnn.Node("a", "linear", ("x", "a.weight")),
            refnn.Node("r", "reciprocal", ("a",)),
            refnn.Node("b", "linear", ("r", "b.weight")),
        ]
    )
    params = {"a.weight": np.ones((2, 3)), "b.weight": np.ones((1, 2))}
    x, target = np.arange(1.0, 7.0).reshape(2, 3), np.zeros((2, 1))
    whole, single = (f(net, params, x, target=target, loss="mse_loss").grads for f in (store_all, sweep_by_sweep))
    assert all(np.array_equal(whole[n], single[n]) for n in whole)
