"""The perceptron: what its rule promises, counted exactly on integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refnn.networks import datasets
from refnn.networks.train import Training, gradient_descent
from refnn.teaching.perceptron import mistakes_at_most, perceptron, respond

RIGHT = np.where(np.arange(400) % 20 >= 10, 1, -1)  # separates the cards: more light on the right, or on the left


def cards(size: int) -> tuple[np.ndarray, np.ndarray]:
    """All cards that F. Rosenblatt's machine was shown in 1958, 20x20 cells with one square on the left (-1) or on the
    right (1): (cards, 400) of zeros and ones, and their sides."""
    images, sides = [], []
    for left in range(20 - size + 1):
        for top in range(20 - size + 1):
            if left + size <= 10 or left >= 10:
                image = np.zeros((20, 20), np.int64)
                image[top : top + size, left : left + size] = 1
                images.append(image.ravel())
                sides.append(1 if left >= 10 else -1)
    return np.array(images), np.array(sides)


def learned(x: np.ndarray, target: np.ndarray, epochs: int, seed: int = 0) -> Training:
    zeros = {"w": np.zeros(x.shape[1], np.int64)}
    return gradient_descent(perceptron(x, target), zeros, len(x), rates=[1] * epochs, batch=1, seed=seed)


@pytest.mark.system("S43")
@pytest.mark.parametrize("size", [1, 2, 4, 7])
def test_the_mark_1_tells_left_from_right_with_no_more_mistakes_than_novikoff_allows(size: int) -> None:
    """400 inputs; all that the rule gets wrong in five rounds is at most (R |u| / g)^2 = (20/size)^2, exactly."""
    x, side = cards(size)
    assert x.shape[1] == 400
    bound = mistakes_at_most(x, side, RIGHT)
    assert bound * size**2 == 400
    for seed in range(3):
        done = learned(x, side, epochs=5, seed=seed)
        assert (respond(done.params["w"], x) == side).all() and done.epochs[-1] == 0
        assert done.params["w"].dtype == np.int64
        assert 0 < sum(done.trace) <= bound


@pytest.mark.system("S43")
def test_the_rule_written_out() -> None:
    """A loop over the samples in the order of the seed: a mistake adds t x, and nothing else changes w."""
    x, side = cards(3)
    w, mistakes, order = np.zeros(400, np.int64), [], np.random.default_rng(5)
    for k in np.concatenate([order.permutation(len(x)) for _ in range(2)]):
        wrong = (1 if sum(p * q for p, q in zip(w.tolist(), x[k].tolist(), strict=True)) > 0 else -1) != side[k]
        mistakes.append(int(wrong))
        if wrong:
            w = w + side[k] * x[k]
    done = learned(x, side, epochs=2, seed=5)
    assert [int(v) for v in done.trace] == mistakes and done.params["w"].tolist() == w.tolist()


def test_it_reads_digits() -> None:
    """Zeros and ones of the real digits, enlarged to 20x20: the weights that it finds separate them, and bound how
    often it was wrong until then."""
    digits, cells = datasets.digit_images(), np.arange(20) * 8 // 20
    few = digits.target < 2
    pixels = (digits.x[few, 0] * 16).astype(np.int64)
    x, target = pixels[:, cells][:, :, cells].reshape(-1, 400), np.where(digits.target[few] == 0, 1, -1)
    done = learned(x, target, epochs=3)
    assert (respond(done.params["w"], x) == target).all()
    assert 0 < sum(done.trace) <= mistakes_at_most(x, target, done.params["w"])


def test_what_no_line_separates_is_never_learned() -> None:
    x, target = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]), np.array([-1, 1, 1, -1])
    done = learned(x, target, epochs=50)
    assert all(done.epochs)
    with pytest.raises(ValueError, match=r"the margin t u.x of sample\[0\] is -1, expected a positive number"):
        mistakes_at_most(x, target, np.array([1, 1, 1]))


@pytest.mark.parametrize("target", [np.array([1, 0]), np.array([1, 2]), np.array([1.0, np.nan])])
def test_a_target_is_1_or_minus_1(target: Any) -> None:
    with pytest.raises(ValueError, match=r"perceptron: target\[1\] is (0|2|nan), expected 1 or -1"):
        perceptron(np.ones((2, 3)), target)


def test_every_row_has_a_target() -> None:
    with pytest.raises(ValueError, match=r"perceptron: x has shape \(2, 3\) and target \(1,\), expected \(m, n\) and"):
        perceptron(np.ones((2, 3)), np.array([1]))
    with pytest.raises(
        ValueError, match=r"mistakes_at_most: x has shape \(2, 3\), target \(2,\) and u \(2,\), expected"
    ):
        mistakes_at_most(np.ones((2, 3)), np.array([1, 1]), np.ones(2))


def test_every_input_has_a_weight() -> None:
    rule = perceptron(np.ones((2, 3)), np.array([1, -1]))
    with pytest.raises(
        ValueError, match=r"perceptron: x has shape \(2, 3\) and w \(2,\), expected \(m, n\) and \(n,\)"
    ):
        gradient_descent(rule, {"w": np.zeros(2)}, 2, rates=[1], batch=1)


def test_an_input_is_finite() -> None:
    with pytest.raises(ValueError, match=r"perceptron: x\[1, 2\] is nan, expected a finite number"):
        perceptron(np.array([[1, 1, 1], [1, 1, np.nan]]), np.array([1, -1]))
