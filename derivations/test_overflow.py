"""Softmax as challa2023 and challa2022 print it, and the way out of overflow that they take: what goes wrong."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from derivations.challa.overflow import (
    gradient_of_scaled,
    naive,
    range_of_a_sum,
    rounded,
    scaled,
    shifted,
    shown,
    true_softmax,
)


@pytest.mark.system("S7")
def test_the_sum_overflows_before_its_terms() -> None:
    """Three scores at the limit that the sources print; and M equal ones, a hundredth below and above where the claim
    says that their sum ends."""
    for dtype, score in ((np.float32, 88), (np.float64, 709)):
        assert naive([score] * 3, dtype).tolist() == [0, 0, 0]
        assert shifted([score] * 3, dtype).tolist() == [dtype(1) / dtype(3)] * 3
        for terms in (2, 10, 1000):
            last = range_of_a_sum.form(dtype.__name__, terms)
            assert naive([float(last)] * terms, dtype).min() > 0
            assert naive([float(last + Fraction(1, 100))] * terms, dtype).tolist() == [0] * terms


@pytest.mark.system("S7")
@pytest.mark.parametrize(
    ("scores", "dtype", "printed", "truth"),
    [
        ((1000, 999, 990), np.float64, ("0.66981", "0.32964", "0.00056"), ("0.73103", "0.26893", "0.00003")),
        ((1000, 999, 990), np.float32, ("0", "0", "0"), ("0.73103", "0.26893", "0.00003")),
        ((-1000, -1001), np.float32, ("0.5220", "0.4780"), ("0.7311", "0.2689")),
    ],
)
def test_scaled_scores_have_another_distribution(
    scores: tuple[int, ...], dtype: type, printed: tuple[str, ...], truth: tuple[str, ...]
) -> None:
    """Numbers of the audit of the sources, from other code; in float32 the scaled scores still overflow."""
    places = max(len(digits) - 2 for digits in truth)
    assert shown(scaled(scores, dtype), places) == tuple(map(Fraction, printed))
    assert shown(true_softmax(scores), places) == tuple(map(Fraction, truth))


@pytest.mark.system("S7")
def test_the_gradient_of_scaled_scores_is_not_y_minus_t() -> None:
    """Beside PyTorch's, with the scale held constant; and beside the y - t of the outputs and of the truth."""
    scores, hot = (1000, 999, 990), 1
    a = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    loss = -torch.log_softmax(a * (709 / a.detach().abs().max()), 0)[hot]
    (expected,) = torch.autograd.grad(loss, a)
    found = gradient_of_scaled(scores, hot, np.float64)
    assert shown(found) == shown(expected.numpy()) == tuple(map(Fraction, ("0.4749", "-0.4753", "0.0004")))
    t = np.eye(3)[hot]
    assert shown(scaled(scores, np.float64) - t) == tuple(map(Fraction, ("0.6698", "-0.6704", "0.0006")))
    assert shown(shifted(scores, np.float64) - t) == tuple(map(Fraction, ("0.7310", "-0.7311", "0.0000")))
    assert rounded(loss.item(), 4) != rounded(-np.log(shifted(scores, np.float64)[hot]), 4)
