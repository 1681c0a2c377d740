"""The losses, dropout, flatten and the penalty: what they refuse, and known mistakes that must be found."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.arithmetic.balls import Balls
from refnn.arithmetic.exact import Arb
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.noise import Noise
from refnn.arithmetic.pairs import Pairs
from refnn.arithmetic.symbols import Symbols
from refnn.op import Op

pytestmark = pytest.mark.usefixtures("shared_judges")

F32 = np.float32
ones, zeros = np.ones((2, 3), F32), np.zeros((2, 3), F32)
bce = refnn.binary_cross_entropy_with_logits

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "nll scalar": (lambda: refnn.nll_loss(F32(1), np.int64(0)), "nll_loss: input has shape ()"),
    "nll no class": (
        lambda: refnn.nll_loss(np.ones((2, 0), F32), np.zeros(2, int)),
        "nll_loss: input has shape (2, 0), expected at least one class on axis 1",
    ),
    "nll target": (lambda: refnn.nll_loss(ones, np.zeros(3, int)), "nll_loss: target has shape (3,), expected (2,)"),
    "nll class": (
        lambda: refnn.nll_loss(ones, np.array([0, 3])),
        "nll_loss: target holds the class 3, expected 0 to 2",
    ),
    "nll float target": (lambda: refnn.nll_loss(ones, zeros), "nll_loss: target has dtype float32, expected integer"),
    "nll weight": (
        lambda: refnn.nll_loss(ones, np.array([0, 1]), weight=np.ones(2, F32)),
        "nll_loss: weight has shape (2,), expected (3,), one for each class",
    ),
    "nll reduction": (lambda: refnn.nll_loss(ones, np.array([0, 1]), reduction="max"), "nll_loss: reduction is 'max'"),
    "l1 shapes": (lambda: refnn.l1_loss(ones, ones[0]), "l1_loss: input has shape (2, 3), target has shape (3,)"),
    "l1 reduction": (lambda: refnn.l1_loss(ones, ones, reduction="max"), "l1_loss: reduction is 'max'"),
    "l1 empty": (lambda: refnn.l1_loss(ones[:0], ones[:0]), "l1_loss: input has shape (0, 3), the mean of no element"),
    "smooth l1 beta": (
        lambda: refnn.smooth_l1_loss(ones, ones, beta=-1),
        "smooth_l1_loss: beta is -1, expected a finite",
    ),
    "smooth l1 NaN": (lambda: refnn.smooth_l1_loss(ones, ones, beta=math.nan), "smooth_l1_loss: beta is nan"),
    "smooth l1 infinite": (lambda: refnn.smooth_l1_loss(ones, ones, beta=math.inf), "smooth_l1_loss: beta is inf"),
    "bce shapes": (lambda: bce(ones, ones[0]), "binary_cross_entropy_with_logits: input has shape (2, 3), target has"),
    "bce weight": (
        lambda: bce(ones, ones, weight=np.ones(2, F32)),
        "weight has shape (2,), expected one that broadcasts to that of input, (2, 3)",
    ),
    "bce larger weight": (
        lambda: bce(ones, ones, pos_weight=np.ones((4, 2, 3), F32)),
        "pos_weight has shape (4, 2, 3), expected one that broadcasts to that of input, (2, 3)",
    ),
    "bce number": (lambda: bce(ones, ones, pos_weight=2.0), "pos_weight has shape 2.0, expected one that broadcasts"),
    "bce empty": (lambda: bce(ones[:0], ones[:0]), "the mean of no element is undefined"),
    "dropout p": (lambda: refnn.dropout(ones, ones, p=1.5), "dropout: p is 1.5, expected a probability from 0 to 1"),
    "dropout NaN": (lambda: refnn.dropout(ones, ones, p=math.nan), "dropout: p is nan"),
    "dropout mask": (lambda: refnn.dropout(ones, 2 * ones), "dropout: mask holds 2.0, expected zeros and ones"),
    "dropout shapes": (lambda: refnn.dropout(ones, ones[0]), "dropout: x has shape (2, 3), mask has shape (3,)"),
    "dropout dtypes": (lambda: refnn.dropout(ones, np.ones((2, 3))), "x is float32, mask is float64"),
    "flatten vector": (
        lambda: refnn.flatten(ones[0]),
        "flatten: start is 1, expected an integer from -1 to 0 for shape (3,)",
    ),
    "flatten float": (
        lambda: refnn.flatten(ones, start=1.0),
        "flatten: start is 1.0, expected an integer from -2 to 1",
    ),
    "penalty": (
        lambda: refnn.l2_penalty(ones, weight_decay=-0.1),
        "l2_penalty: weight_decay is -0.1, expected a finite",
    ),
    "no penalty": (lambda: refnn.l2_penalty(ones), "l2_penalty needs the parameter 'weight_decay'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_gets_one_sentence(what: str) -> None:
    call, sentence = REFUSED[what]
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


# --- values that can be told by hand ---------------------------------------------------------------------------------


def test_the_mean_over_no_sample_is_nan_and_its_gradient_zero() -> None:
    target, x = np.full(2, -100), ones
    assert np.isnan(refnn.nll_loss(x, target))
    assert (refnn.nll_loss.vjp(F32(1), x, target)[0] == 0).all()
    weight = -np.ones(3, F32)  # a sum of weights below zero divides as any other
    assert refnn.nll_loss(x, np.array([0, 1]), weight=weight) == -1


def test_the_ends_of_what_is_taken_are_taken() -> None:
    """Smoothing by all of it leaves the mean over the classes; no weight and no bend leave nothing and |x|."""
    x, target = np.array([[1.0, 2.0, 3.0]]), np.array([0])
    assert refnn.cross_entropy(x, target, label_smoothing=1.0) == np.mean(refnn.logsumexp(x, axis=1)) - 2
    assert refnn.cross_entropy(x, target, label_smoothing=0.0) == refnn.cross_entropy(x, target)
    assert refnn.l2_penalty(x, weight_decay=0.0) == 0
    assert refnn.smooth_l1_loss(x, 0 * x, beta=0.0, reduction="sum") == 6
    assert refnn.softshrink(x, lambd=0.0).tolist() == x.tolist()
    assert refnn.hardtanh(x, min_val=2.0, max_val=2.0).tolist() == [[2, 2, 2]]


def test_dropout_of_everything_and_of_nothing() -> None:
    x = np.array([1.5, -2.0, 3.0], F32)
    mask = np.array([1, 0, 1], F32)
    assert refnn.dropout(x, mask, p=1.0).tolist() == [0, 0, 0]
    gx, gm = refnn.dropout.vjp(x, x, mask, p=1.0)
    assert gx.tolist() == [0, 0, 0] and gm is None
    assert refnn.dropout(x, mask, p=0.0).tolist() == [1.5, 0, 3]
    assert refnn.dropout(x, mask, p=0.75).tolist() == [6, 0, 12]
    bound = refnn.allowance("dropout", x, mask, model="float32", p=0.75)
    # 1 - p is a power of two, so nothing rounds above the normal range.
    assert (bound.output.worst < np.finfo(F32).smallest_subnormal).all()


def test_targets_of_losses_have_gradients() -> None:
    x, t = np.array([2.0, -1.0], F32), np.array([0.0, 1.0], F32)
    for op in (refnn.l1_loss, refnn.smooth_l1_loss):
        gx, gt = op.vjp(F32(1), x, t)
        assert (gx == -gt).all() and (gx != 0).all()
    assert (bce.vjp(F32(1), x, t)[1] == -x / 2).all()


def test_a_sure_and_right_logit_keeps_its_loss_on_both_sides() -> None:
    """PyTorch's form gives 0 for the first."""
    x, t = np.array([-40.0, 40.0], F32), np.array([0.0, 1.0], F32)
    loss = bce(x, t, reduction="none")
    assert loss[0] == loss[1] > 0
    gx = bce.vjp(np.ones(2, F32), x, t, reduction="none")[0]
    assert gx[0] == -gx[1] > 0


def test_a_difference_from_one_is_rounded_once() -> None:
    """Every arithmetic takes 1 - p as the number that it is, where it has more digits than float64 holds."""
    value = 1 - Fraction(0.1)
    assert Fraction(float(value)) != value
    exact = Arb(128)
    with exact.working():
        assert exact.real(value) == exact.number(1) - exact.number(0.1)
    pair = Pairs().real(value)
    assert Fraction(float(pair.hi)) + Fraction(float(pair.lo)) == value
    assert Symbols().real(value) == Symbols().number(1) - Symbols().number(0.1)
    for dtype in ("float32", "float64"):
        ball = Balls(dtype).real(value)
        rounded = Fraction(float(Floats(np.dtype(dtype)).real(value)))
        assert abs(rounded - value) <= Fraction(float(ball.rad)) <= value / 2 ** (23 if dtype == "float32" else 52)
        assert Noise(dtype).real(value).bias > 0
    assert not Balls("float32").real(1 - Fraction(0.75)).rad


# --- known mistakes --------------------------------------------------------------------------------------------------


def nll_short_circuit(x: Any, target: Any, *, weight: Any, ignore_index: int, reduction: str) -> Any:
    """A mean whose weights do not add up to more than zero counts as no loss at all."""
    valid = target != ignore_index
    w = np.ones(x.shape[min(1, x.ndim - 1)], x.dtype) if weight is None else weight
    if reduction == "mean" and not np.sum(np.where(valid, w[valid * target], 0)) > 0:
        return x.dtype.type(0)
    return refnn.nll_loss(x, target, weight=weight, ignore_index=ignore_index, reduction=reduction)


def bce_by_magnitude(g: Any, input: Any, target: Any, **params: Any) -> Any:
    """Differentiated through |x|, with sign(0) = 0 and step(0) = 0: at 0 the gradient lacks a half."""
    gx, gt = bce.vjp(g, input, target, **params)
    less = bce.vjp(g, input, 0 * target + input.dtype.type(0.5), **{**params, "pos_weight": None})[0]
    return np.where(input == 0, less, gx).astype(gx.dtype), gt


def smooth_l1_divides_first(g: Any, input: Any, target: Any, *, beta: float, reduction: str) -> Any:
    d = input - target
    each = g / d.dtype.type(d.size) if reduction == "mean" else g
    slope = np.clip(d / d.dtype.type(beta), -1, 1)
    gx = (each * slope).astype(d.dtype)
    return gx, -gx


def dropout_unmasked(g: Any, x: Any, mask: Any, *, p: float) -> Any:
    return (g if p == 1 else g / x.dtype.type(1 - p)).astype(x.dtype), None


def dropout_zero_by_zero(x: Any, mask: Any, *, p: float) -> Any:
    return (mask * x / x.dtype.type(1 - p)).astype(x.dtype)


def l1_masked_by_product(g: Any, input: Any, target: Any, *, reduction: str) -> Any:
    """sign(d) as a quotient: 0/0 where the two are equal."""
    d = input - target
    each = g / d.dtype.type(d.size) if reduction == "mean" else g
    gx = (each * (d / np.abs(d))).astype(d.dtype)
    return gx, -gx


def nll_masked_by_product(g: Any, input: Any, target: Any, **params: Any) -> Any:
    """The mask multiplied instead of chosen, and by the logits' own values: 0 times infinity at other classes."""
    gx, _ = refnn.nll_loss.vjp(g, input, target, **params)
    return gx + 0 * input, None


MISTAKES: dict[str, tuple[Op, Any, Any, set[str]]] = {
    "negative weights short-circuited": (refnn.nll_loss, nll_short_circuit, None, {"violation", "special"}),
    "an untaken branch times zero": (refnn.nll_loss, None, nll_masked_by_product, {"special"}),
    "gradient at 0 through the magnitude": (bce, None, bce_by_magnitude, {"violation"}),
    "beta = 0 divided by": (refnn.smooth_l1_loss, None, smooth_l1_divides_first, {"violation"}),
    "scaled but not masked": (refnn.dropout, None, dropout_unmasked, {"violation"}),
    "0/0 at p = 1": (refnn.dropout, dropout_zero_by_zero, None, {"violation"}),
    "sign as a quotient": (refnn.l1_loss, None, l1_masked_by_product, {"violation"}),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_known_mistake_is_found(what: str) -> None:
    op, forward, vjp, expected = MISTAKES[what]
    report = refnn.check(op, forward=forward or op, vjp=vjp or op.vjp, dtype="float32")
    assert {f.verdict for f in report.unexpected} & expected, str(report)
    wrong = {f.what for f in report.unexpected}
    assert wrong <= ({"output"} if vjp is None else {f"grad[{n}]" for n in op.inputs})


@pytest.mark.parametrize("share", [0.5, 0.0, 1.0])
@pytest.mark.parametrize("name", ["l1_loss", "smooth_l1_loss"])
def test_conventions_of_the_absolute_error_are_named(name: str, share: float) -> None:
    def vjp(g: Any, input: Any, target: Any, *, reduction: str, beta: float = 0.0) -> Any:
        each = g / input.dtype.type(input.size) if reduction == "mean" else g
        sign = np.where(input == target, 2 * share - 1, np.sign(input - target))
        gx = (each * sign).astype(input.dtype)
        return gx, -gx

    where = {"beta": 0.0} if name == "smooth_l1_loss" else None
    report = refnn.check(name, forward=refnn.ops[name], vjp=vjp, dtype="float32", where=where, families=["grid"])
    assert report.ok, str(report)
    named = {f.name for f in report.findings}
    own = {k for k, v in refnn.ops[name].kinks.items() if v == share}
    assert named == own
    assert report.worst_ratio <= 1


def test_refnn_takes_its_own_first_convention() -> None:
    x = np.array([1.0, 2.0], F32)
    assert (refnn.l1_loss.vjp(F32(1), x, x)[0] == 0).all()
    t = refnn.truth("l1_loss", x, x, cotangent=F32(1))
    assert t.grads[0] is not None and (t.grads[0].value == 0).all()
    assert next(iter(refnn.l1_loss.kinks)) == "abs'(0)=0"
