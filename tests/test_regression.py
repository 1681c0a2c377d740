"""Linear regression: exact identities, gradient descent against the normal equations, and the women of 1975."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy as sp
import torch

from refnn.networks.datasets import women_by_height
from refnn.networks.network import Network, Node
from refnn.networks.train import Params, gradient_descent, split, train
from refnn.teaching import regression
from refnn.teaching.regime import exact, regime
from refnn.teaching.regression import (
    distance_at_most,
    gradient,
    gradient_by_loop,
    hessian,
    in_intercept,
    in_slope,
    learn,
    least_squares,
    normal_equations,
    scaling,
    with_ones,
)

M, N = 6, 3


def quarters(seed: int, *shape: int) -> np.ndarray:
    """Exact random numbers from -2 to 2."""
    return exact(np.random.default_rng(seed).integers(-8, 9, shape)) / 4


X, Y = quarters(1, M, N), quarters(2, M)


# --- one feature -----------------------------------------------------------------------------------------------------


@pytest.mark.system("S32")
def test_the_objective_is_a_quadratic_in_either_parameter() -> None:
    """SymPy expands 1/(2m) sum (w x + b - y)^2 for four examples of any numbers."""
    w, b = sp.symbols("w b", real=True)
    x, y = (np.array(sp.symbols(f"{name}:4", real=True)) for name in "xy")
    objective = sp.expand(sum((w * p + b - q) ** 2 for p, q in zip(x, y, strict=True)) / 8)
    for quadratic, v in ((in_slope(x, y, b), w), (in_intercept(x, y, w), b)):
        c1, c2, c3 = (sp.sympify(c) for c in (quadratic.c1, quadratic.c2, quadratic.c3))
        assert sp.expand(objective - (c1 * v**2 + c2 * v + c3)) == 0
        assert not any(c.has(v) for c in (c1, c2, c3))
        value, slope = quadratic({"w": v})
        assert sp.expand(value - objective) == 0 and sp.expand(slope["w"] - sp.diff(objective, v)) == 0


@pytest.mark.system("S32")
def test_the_lowest_points_meet_where_the_normal_equations_say() -> None:
    """Each parameter is lowest where the other is; and one after the other they fall towards it, exactly."""
    x, y = X[:, 0], Y
    w, b = normal_equations(with_ones(x[:, None]), y)
    assert in_slope(x, y, b).lowest == w and in_intercept(x, y, w).lowest == b == sum(y - w * x) / M
    slope, intercept = Fraction(5), Fraction(-7)
    distances = []
    for _ in range(8):
        slope = in_slope(x, y, intercept).lowest
        intercept = in_intercept(x, y, slope).lowest
        distances.append(abs(slope - w) + abs(intercept - b))
    assert all(later < earlier for earlier, later in itertools.pairwise(distances))


def test_without_a_slope_to_learn() -> None:
    with pytest.raises(ValueError, match="c1 is 0, expected a positive number"):
        _ = in_slope(exact([0, 0]), exact([1, 2]), 0).lowest


# --- several features ------------------------------------------------------------------------------------------------


@pytest.mark.system("S37")
def test_the_bias_is_an_appended_weight() -> None:
    """With a one for each example, the last weight is the bias: gradients and whole runs are the same, exactly."""
    w, b = quarters(3, N), Fraction(3, 4)
    value, explicit = least_squares(X, Y)({"w": w, "b": b}, np.arange(M))
    appended, together = least_squares(with_ones(X), Y)({"w": np.array([*w, b])}, np.arange(M))
    assert with_ones(X).shape == (M, N + 1)
    assert (with_ones(X) @ [*w, b] == [sum(p * q for p, q in zip(row, w, strict=True)) + b for row in X]).all()
    assert value == appended and [*explicit["w"], explicit["b"]] == together["w"].tolist()
    two = gradient_descent(least_squares(X, Y), {"w": w, "b": b}, M, rates=[Fraction(1, 4)] * 3)
    one = gradient_descent(least_squares(with_ones(X), Y), {"w": np.array([*w, b])}, M, rates=[Fraction(1, 4)] * 3)
    assert [*two.params["w"], two.params["b"]] == one.params["w"].tolist() and two.trace == one.trace
    assert two.params["b"] != b


@pytest.mark.system("S40")
def test_loop_and_product_are_the_same_gradient() -> None:
    """In fractions, and to the bit where floats are exact; it is the mean, as autograd has it."""
    w = quarters(4, N)
    assert (gradient(X, Y, w) == gradient_by_loop(X, Y, w)).all()
    rng = np.random.default_rng(5)
    x, y, v = (rng.integers(-9, 10, shape).astype(np.float64) for shape in ((64, 5), (64,), (5,)))
    parameters = torch.tensor(v, requires_grad=True)
    (((torch.tensor(x) @ parameters - torch.tensor(y)) ** 2).sum() / 2 / 64).backward()  # type: ignore[no-untyped-call]
    assert parameters.grad is not None
    assert gradient(x, y, v).tolist() == gradient_by_loop(x, y, v).tolist() == parameters.grad.tolist()
    assert gradient(x, y, v).any() and x.flags.c_contiguous


def test_the_normal_equations_are_solved_exactly() -> None:
    for x, y in ((X, Y), (with_ones(X), Y), (np.array([[1, 2], [3, 4], [5, 7]]), np.array([1.5, 0.1, 2]))):
        w = normal_equations(x, y)
        assert not (exact(x).T @ (exact(x) @ w - exact(y))).any()
    with pytest.raises(ValueError, match=r"the columns of X, of shape \(2, 3\), are dependent"):
        normal_equations(np.ones((2, 3)), np.ones(2))


@pytest.mark.system("S41")
def test_gradient_descent_approaches_least_squares_as_its_factor_says() -> None:
    """In fractions, squared lengths: after k steps no further than factor^k times the first distance; and not at all
    where the rate is twice the threshold."""
    solution = normal_equations(with_ones(X), Y)
    start = {"w": quarters(6, N), "b": Fraction(1, 2)}
    h = hessian(X)
    assert h.tolist() == [[sum(p[i] * p[j] for p in with_ones(X)) / M for j in range(N + 1)] for i in range(N + 1)]
    rate = Fraction(round(1 / regime(h, 1).largest[1] * 64), 64)

    def distance(params: Params) -> Fraction:
        e = np.array([*params["w"], params["b"]]) - solution
        return e @ e

    factor = regime(h, rate).factor
    assert 0 < factor < 1
    before = distance(start)
    for steps in (1, 2, 9):
        learned = gradient_descent(least_squares(X, Y), start, M, rates=[rate] * steps)
        assert 0 < distance(learned.params) <= factor ** (2 * steps) * before
    away = gradient_descent(least_squares(X, Y), start, M, rates=[3 * rate] * 9)
    assert distance(away.params) > before


@pytest.mark.system("S41")
def test_both_parameters_move_from_the_old_ones_and_the_trace_is_the_objective() -> None:
    x, rate = X[:, 0], Fraction(1, 4)
    w, b, trace = Fraction(2), Fraction(-1), []
    for _ in range(3):
        u = [w * p + b - q for p, q in zip(x, Y, strict=True)]
        trace.append(sum(v**2 for v in u) / (2 * M))
        w, b = w - rate * sum(p * v for p, v in zip(x, u, strict=True)) / M, b - rate * sum(u) / M
    start = {"w": exact([2]), "b": Fraction(-1)}
    learned = gradient_descent(least_squares(x[:, None], Y), start, M, rates=[rate] * 3)
    assert (learned.params["w"].tolist(), learned.params["b"], learned.trace) == ([w], b, trace)


# --- the women of 1975 -----------------------------------------------------------------------------------------------


def test_the_data_are_the_15_rows() -> None:
    height, weight = women_by_height()
    assert height.tolist() == list(range(58, 73))
    assert weight.sum() == 2051 and (weight**2).sum() == 283_803 and height @ weight == 134_281


def test_least_squares_of_the_women_are_those_of_r() -> None:
    """R: lm(weight ~ height, women) prints -87.51667 and 3.45."""
    height, weight = women_by_height()
    slope, intercept = normal_equations(with_ones(height[:, None]), weight)
    assert (slope, intercept) == (Fraction(69, 20), Fraction(-5251, 60))
    assert (f"{float(intercept):.5f}", f"{float(slope):.2f}") == ("-87.51667", "3.45")


@pytest.mark.system("S41", "S42")
@pytest.mark.parametrize("rate", [0.5, 0.9, 1.25])
def test_gradient_descent_in_floats_is_as_near_as_contraction_and_roundings_allow(rate: float) -> None:
    height, weight = women_by_height()
    line = learn(height, weight, rate=rate, steps=60)
    slope, intercept = line.of_x(line.best)
    assert (slope, intercept) == (Fraction(69, 20), Fraction(-5251, 60))
    off = sum((line.learned - line.best) ** 2)
    assert off <= line.off_at_most**2
    # The bound is of use: it is far below what one more step from the start would change, and rounding is what is left.
    assert line.off_at_most < Fraction(1, 2**30) and off > 0
    at = learn(height, weight, rate=rate, steps=2)
    assert Fraction(1) < sum((at.learned - at.best) ** 2) <= at.off_at_most**2


@pytest.mark.parametrize("steps", [3, 20])
def test_the_bound_notices_a_slower_descent(steps: int) -> None:
    """Half the rate, or half the gradient of the bias: neither is inside the bound of the whole."""
    x, y = np.array([[-1.0], [1.0], [-1.0], [1.0]]), np.array([1.0, 3.0, 2.0, 5.0])
    solution = normal_equations(with_ones(x), y)
    objective = least_squares(x, y)

    def run(share: float, rate: float) -> tuple[Fraction, Fraction]:
        path = []

        def watched(params: Params, chosen: np.ndarray) -> Any:
            path.append(params)
            value, slopes = objective(params, chosen)
            return value, slopes | {"b": share * slopes["b"]}

        learned = gradient_descent(watched, {"w": np.zeros(1), "b": np.float64(0)}, 4, rates=[rate] * steps)
        off = sum((exact([*learned.params["w"], learned.params["b"]]) - solution) ** 2)
        return off, distance_at_most(x, y, path, 0.5) ** 2

    off, allowed = run(1, 0.5)
    assert off <= allowed
    for share, rate in ((1, 0.25), (0.5, 0.5)):
        off, allowed = run(share, rate)
        assert off > allowed


@pytest.mark.system("S42")
def test_the_pipeline_from_the_data_to_the_evaluation() -> None:
    """Split, model, loss, training, evaluation: the line of four fifths of the women names the weight of the others."""
    height, weight = women_by_height()
    examples, held_back = split(len(height), regression.SEED)
    line = learn(height[examples], weight[examples], rate=regression.RATE, steps=regression.STEPS)
    x, y = ([int(v) for v in column[examples]] for column in (height, weight))
    m, sx, sy = len(x), sum(x), sum(y)
    slope = Fraction(
        m * sum(p * q for p, q in zip(x, y, strict=True)) - sx * sy, m * sum(p * p for p in x) - sx * sx
    )  # fmt: skip
    assert line.of_x(line.best) == (slope, (sy - slope * sx) / m)
    assert sum((line.learned - line.best) ** 2) <= line.off_at_most**2
    missed = [abs(v) for v in line(height[held_back]) - weight[held_back]]
    guessed = [abs(sy / m - v) for v in weight[held_back]]
    assert len(missed) == 3 and max(missed) < min(guessed)
    assert not line.training.stopped and line.training.trace[-1] < line.training.trace[0] / 1000


def test_a_network_learns_the_same_line() -> None:
    """The ops `linear` and `half_squared_error` and `refnn.networks.train.train` are another evaluation of the same
    steps."""
    height, weight = women_by_height()
    line = learn(height, weight, rate=0.5, steps=60)
    z = ((height - line.centre) / line.scale)[:, None]
    net = Network([Node("fc", "linear", ("x", "fc.weight", "fc.bias"))], name="line")
    zeros = {"fc.weight": np.zeros((1, 1)), "fc.bias": np.zeros(1)}
    learned = train(net, zeros, z, weight[:, None], head="linear", rates=[0.5] * 60).params
    got = exact([learned["fc.weight"][0, 0], learned["fc.bias"][0]])
    assert sum((got - line.best) ** 2) <= line.off_at_most**2


def test_scaling_does_not_round() -> None:
    height, _ = women_by_height()
    centre, scale = scaling(height)
    assert (centre, scale) == (65, 4)
    assert all(Fraction(v) == Fraction(int(h) - 65, 4) for v, h in zip((height - 65) / 4, height, strict=True))


def test_raw_inches_need_a_tiny_rate() -> None:
    """you2022 regresses on inches; the source does not say at which rate."""
    height, weight = women_by_height()
    h = hessian(height[:, None])
    edge = 2 / regime(h, 1).largest[1]
    assert [regime(h, share * edge).name for share in (Fraction(49, 100), Fraction(99, 100), Fraction(101, 100))] == [
        "converges", "alternates", "diverges",
    ]  # fmt: skip
    zeros = {"w": np.zeros(1), "b": np.float64(0)}
    learned = gradient_descent(least_squares(height[:, None], weight), zeros, 15, rates=[float(edge) * 2] * 2000)
    assert learned.stopped.startswith("diverged in step") and math.isfinite(learned.params["b"])


# --- the command and what is refused ---------------------------------------------------------------------------------


@pytest.mark.system("S40")
def test_the_command_tells_the_whole_story(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    assert regression.main([str(tmp_path / "trace.svg")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        "data", "model", "regime", "training", "found", "exact", "distance", "evaluation", "speed",
    ]  # fmt: skip
    assert "converges at the learning rate 1/2" in lines[2] and "diverges at the learning rate 1/2" in lines[3]
    text = (tmp_path / "trace.svg").read_text(encoding="utf-8")
    assert all(f">{name}<" in text for name in ("converges at 0.5", "alternates at 1.5", "diverges at 2.0"))
    assert regression.main(["a", "b"]) == 1
    assert "takes at most one file, got 2" in capsys.readouterr().err


NAN = float("nan")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: learn(np.array([1.0, NAN]), np.ones(2), rate=0.5, steps=1), "x[1] is nan, expected a finite number"),
        (lambda: learn(np.array([1.0, 2]), np.array([NAN, 1]), rate=0.5, steps=1), "y[0] is nan, expected a finite"),
        (lambda: least_squares(np.array([[1.0, -np.inf]]), np.ones(1)), "x[0, 1] is -inf, expected a finite number"),
        (lambda: normal_equations(np.array([[NAN]]), np.ones(1)), "[0, 0] is nan, expected a finite number"),
        (lambda: learn(np.ones(3), np.ones(3), rate=0.5, steps=1), "x is 1.0 throughout, expected two different"),
        (lambda: least_squares(np.ones((3, 1)), np.ones(2)), "X has shape (3, 1) and y (2,), expected (m, n) and (m,)"),
        (lambda: least_squares(np.ones((0, 1)), np.ones(0)), "X has shape (0, 1) and y (0,), expected (m, n) and (m,)"),
        (lambda: gradient(np.ones((3, 2)), np.ones((3, 1)), np.ones(2)), "X has shape (3, 2) and y (3, 1), expected"),
        (lambda: gradient(np.ones((3, 2)), np.ones(3), np.ones(3)), "X has shape (3, 2) and w (3,), expected (m, n)"),
        (lambda: gradient_by_loop(np.ones((3, 2)), np.ones(4), np.ones(2)), "X has shape (3, 2) and y (4,), expected"),
        (lambda: gradient_by_loop(np.ones((3, 2)), np.ones(3), np.float64(1)), "X has shape (3, 2) and w (), expected"),
        (
            lambda: least_squares(np.ones((3, 2)), np.ones(3))({"w": np.ones(1)}, np.arange(3)),
            "X has shape (3, 2) and w (1,), expected (m, n) and (n,)",
        ),
        (lambda: normal_equations(np.ones((3, 1)), np.ones((3, 1))), "X has shape (3, 1) and y (3, 1), expected"),
        (lambda: with_ones(np.ones(3)), "X has shape (3,), expected (m, n)"),
        (lambda: hessian(np.ones(3)), "X has shape (3,), expected (m, n)"),
        (lambda: in_slope(np.ones(3), np.ones(1), 0), "x has shape (3,) and y (1,), expected (m,) and (m,), m at"),
        (lambda: in_intercept(np.ones(0), np.ones(0), 0), "x has shape (0,) and y (0,), expected (m,) and (m,), m at"),
        (lambda: learn(np.ones((3, 1)), np.ones((3, 1)), rate=0.5, steps=1), "x has shape (3, 1) and y (3, 1), expe"),
    ],
)
def test_bad_input_gets_one_sentence(call: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        call()
    assert sentence in str(caught.value)
