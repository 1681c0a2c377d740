"""Truth: certified against an independent evaluation, sharp, and honest where there is no real value."""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from flint import arb

import refnn
from refnn.arithmetic.exact import Arb
from refnn.formats import FORMATS, certified_round
from refnn.judging.cases import cases, smaller
from refnn.judging.judge import CLOSE
from refnn.models import model
from refnn.op import Op, Sum, Variant
from refnn.ops import OPS
from refnn.oracle.allowance import worst_case
from refnn.oracle.evaluate import CHUNK, Call, chunks, run, summed
from refnn.oracle.truth import Value, evaluate, refine
from refnn.variants import alone
from refnn.witnesses import record


def exact(value: Value, index: tuple[int, ...]) -> mpmath.mpf:
    return mpmath.mpf(float(value.value[index])) + mpmath.mpf(float(value.low[index]))


def test_softmax_to_sixty_digits() -> None:
    x, g = np.array([[1000.0, 999.0, 990.0]]), np.array([[1.0, 0.0, 0.0]])
    t = refnn.truth("softmax", x, cotangent=g, axis=-1)
    with mpmath.workdps(60):
        e = [mpmath.exp(mpmath.mpf(v) - 1000) for v in x[0]]
        y = [v / sum(e) for v in e]
        grads = [y[0] * ((1 if j == 0 else 0) - y[j]) for j in range(3)]
        for j in range(3):
            assert abs(exact(t.output, (0, j)) - y[j]) <= t.output.radius[0, j]
            assert abs(exact(t.grads[0], (0, j)) - grads[j]) <= t.grads[0].radius[0, j]
            assert float(t.output.value[0, j]) == float(y[j])


@pytest.mark.parametrize("name", OPS)
def test_truth_is_sharp_and_certain_on_every_family(name: str) -> None:
    checked = 0
    for c in cases(alone(OPS[name]), "float64", families=["normal", "wide", "subnormal", "zeros"]):
        t = refnn.truth(name, *c.inputs, cotangent=c.cotangent, **c.params)
        for v in (t.output, *t.grads):
            if v is not None and not np.isnan(v.value).any():
                open_ = ~v.certain
                if (pole := open_ & np.isinf(v.value)).any():
                    assert np.isin(c.inputs[0][pole], next(iter(OPS[name].inputs.values())).poles).all()
                    open_ &= ~pole
                assert (v.radius[open_] <= np.maximum(2.0**-90 * np.abs(v.value[open_]), 2.0**-1074)).all()
                # What stays open lies on the middle of two float64, or nearer to it than any precision tells: quotients
                # such as 7 (m + 1/2) / 7, differences such as 1 - exp(-10**90).
                value, low = np.abs(v.value[open_]), np.abs(v.low[open_])
                halves = [(np.nextafter(value, far) - value) / 2 for far in (0.0, np.inf)]
                assert (np.minimum(*(np.abs(np.abs(h) - low) for h in halves)) <= v.radius[open_]).all()
                assert (np.abs(v.low) <= 2.0**-53 * np.abs(v.value) + 2.0**-1074).all()
                checked += v.value.size
    assert checked > 500


def test_an_exact_zero_is_found_although_every_ball_has_a_width() -> None:
    """The gradient of softmax for a constant cotangent is zero, exactly."""
    t = refnn.truth("softmax", np.array([0.1, 0.2, 0.7]), cotangent=np.full(3, 1.5))
    assert (t.grads[0].value == 0).all()
    assert (t.grads[0].radius <= 2.0**-1074).all()


def test_rational_results_equal_fractions() -> None:
    x, w = np.array([[0.1, 1e-300, 3.0]]), np.array([[1e300, 7.0, -0.1]])
    t = refnn.truth("linear", x, w).output
    want = sum(Fraction(a) * Fraction(b) for a, b in zip(x[0], w[0], strict=True))
    assert Fraction(float(t.value[0, 0])) == Fraction(float(want))
    assert abs(Fraction(float(t.value[0, 0])) + Fraction(float(t.low[0, 0])) - want) <= Fraction(float(t.radius[0, 0]))


def hostile(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of every exponent, numbers whose products reach the smallest float64, and ordinary ones, side by side."""
    exponents = [rng.integers(-1074, 1023, shape), rng.integers(-560, -440, shape), rng.integers(-3, 10, shape)]
    significands = rng.uniform(1, 2, shape) * rng.choice([-1.0, 1.0], shape)
    return np.ldexp(significands, np.choose(rng.integers(3, size=shape), exponents))


def missed(values: Any, balls: Any) -> int:
    """How many numbers surely lie outside their radius, by balls that are far narrower than the smallest float64."""
    count = 0
    for v, b in zip(values, balls, strict=True):
        if v is None or b is None:
            assert v is None and b is None
            continue
        for i in np.ndindex(v.value.shape):
            ball = np.asarray(b, dtype=object)[i]
            if np.isfinite(v.radius[i]) and np.isfinite(v.value[i]) and ball.is_finite():
                count += abs(ball - float(v.value[i]) - float(v.low[i])) > float(v.radius[i])
    return count


@pytest.mark.parametrize("name", OPS)
def test_no_radius_is_lost_below_the_smallest_float64(name: str) -> None:
    """Whatever exponents the inputs have, in pairs and in Arb of each precision."""
    op, rng = smaller(OPS[name]), np.random.default_rng(0)
    ar = Arb(9000, convention=op.convention)
    for c in cases(alone(op), "float64", families=["normal"]):
        inputs = tuple(
            hostile(rng, x.shape) if declared.kind == "real" and x is not None else x
            for x, declared in zip(c.inputs, op.inputs.values(), strict=True)
        )
        for given, g in ((inputs, c.cotangent), (inputs, hostile(rng, c.cotangent.shape))):
            with ar.working():
                call = Call(op, given, c.params, g)
                balls = run(ar, call)
                for values in refine(call):
                    assert not missed(values, balls), c.id


@pytest.mark.parametrize("precision", [128, 320, 1280])
def test_radius_zero_is_said_of_what_is_exact_alone(precision: int) -> None:
    """Balls as they come, value and low of any size, the radius far below the smallest float64 or none at all."""
    rng, digest = np.random.default_rng(precision), sys.modules["refnn.oracle.truth"]._digest
    with Arb(precision).working():
        balls, exact = [], []
        for _ in range(3000):
            top, gap, width = (int(rng.integers(*ends)) for ends in ((-1200, 900), (40, precision - 1), (60, 3000)))
            middle = arb(int(rng.integers(1, 2**53))) * arb(2) ** (top - 53)
            rest = arb(int(rng.integers(-3, 4))) * arb(2) ** (top - gap)
            radius = arb(int(rng.integers(0, 3))) * arb(2) ** (top - width)
            balls.append(arb((middle + rest).mid(), radius))
            exact.append(radius.is_zero())
        found = digest(np.array(balls, dtype=object))
    with Arb(9000).working():
        for i, ball in enumerate(balls):
            value, low, radius = (float(v[i]) for v in (found.value, found.low, found.radius))
            left = abs(ball - value - low)
            assert left.abs_upper() <= radius, (ball, value, low, radius)
            assert (radius == 0) <= (exact[i] and left.is_zero())
    assert 100 < np.count_nonzero(found.radius == 0) < np.count_nonzero(exact)


def test_what_is_exact_is_certain_and_what_is_wide_is_not() -> None:
    digest = sys.modules["refnn.oracle.truth"]._digest
    with Arb(128).working():
        balls = [
            arb(0),
            arb(-3),
            arb(2) ** -1074,
            arb(1, 1),
            arb(0, 1),
            arb(0, arb(2) ** -1074),
            arb(0, arb(2) ** -1100),
        ]
        found = digest(np.array(balls, dtype=object))
    assert found.certain.tolist() == [True, True, True, False, False, False, True]
    assert found.value.tolist() == [0.0, -3.0, 2.0**-1074, 1.0, 0.0, 0.0, 0.0]


def test_a_side_that_a_ball_does_not_decide_is_the_union_of_both() -> None:
    ar = Arb(64)
    with ar.working():
        wide = ar.array(np.array([0.0, 1.0, -1.0, 0.0]))
        wide[3] = ar.number(1.0).union(ar.number(-1.0))
        found = ar.branch(wide, ar.array(np.full(4, 7.0)), ar.array(np.full(4, 5.0)))
        assert [ar.sign(v) for v in wide] == [0, 1, -1, None] and ar.kinks == 1
        assert [float(v.mid()) for v in found[:3]] == [5.0, 7.0, 5.0]
        assert found[3].contains(ar.number(5.0)) and found[3].contains(ar.number(7.0))


def test_overflow_is_infinite_and_nan_is_nan() -> None:
    big = np.array([1e200])
    assert refnn.truth("mse_loss", big, -big).output.value == np.inf
    t = refnn.truth("softmax", np.array([np.nan, 1.0]), cotangent=np.ones(2))
    assert np.isnan(t.output.value).all()
    assert refnn.truth("sigmoid", np.array([np.inf, -np.inf])).output.value.tolist() == [1.0, 0.0]
    ignored = refnn.truth("cross_entropy", np.ones((2, 3)), np.array([-100, -100]), cotangent=np.ones(()))
    assert np.isnan(ignored.output.value)
    assert (ignored.grads[0].value == 0).all() and ignored.grads[1] is None


def test_truth_in_pieces_is_truth_in_one() -> None:
    x = np.random.default_rng(0).normal(size=(CHUNK // 64 + 3, 64))
    op = OPS["softmax"]
    whole = evaluate(Call(op, (x,), {"axis": -1}, x), 128)
    for row in (0, CHUNK // 64 - 1, CHUNK // 64, len(x) - 1):
        single = evaluate(Call(op, (x[row : row + 1],), {"axis": -1}, x[row : row + 1]), 128)
        for a, b in zip(whole, single, strict=True):
            assert np.array_equal(a.value[row], b.value[0])


def test_certified_round_decides_or_says_that_it_cannot() -> None:
    f32 = FORMATS["float32"]
    assert certified_round(lambda p: arb(1) / 3, f32) == float(np.float32(1) / np.float32(3))
    with pytest.raises(ArithmeticError, match="undecided at 256 bits"):
        # 1 + 2**-24 is a midpoint of float32, and no ball around it with a width can say so.
        certified_round(lambda p: arb(1 + 2.0**-24, 2.0**-p), f32, cap=256)
    assert certified_round(lambda p: arb(0, 1), f32, exact_zero=True) == 0.0


def test_allowance_is_public_and_covers_an_evaluation() -> None:
    x = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
    g = np.cos(x)
    b = refnn.allowance("softmax", x, cotangent=g, axis=-1, model="float32")
    t = refnn.truth("softmax", x, cotangent=g, axis=-1)
    y, pull = refnn.vjp("softmax", x, axis=-1)
    for got, bound, value in ((y, b.output, t.output), (pull(g)[0], b.grads[0], t.grads[0])):
        error = np.abs(got.astype(np.float64) - value.value)
        assert (error <= bound.worst).all()
        assert (bound.expected < bound.worst).all() and (bound.expected > 0).all()
        assert bound.worst.shape == x.shape
    tighter = refnn.allowance("softmax", x, cotangent=g, axis=-1, model="float32@torch-cpu")
    assert (tighter.output.worst < b.output.worst).all()


@pytest.mark.parametrize("name", OPS)
def test_rows_that_do_not_touch_each_other_may_be_taken_one_by_one(name: str) -> None:
    """The output and the gradients of each row alone are those of the whole, and known where those are."""
    op, rules = OPS[name], model("float32")
    split = 0
    for c in cases(alone(OPS[name]), "float32", families=["normal", "wide"]):
        x = c.inputs[0]
        if x is None or not op.rowwise(x.ndim, c.params) or x.size > 1000:
            continue
        whole, pieces = worst_case(c.call(), rules), list(chunks(c.call(), size=1))
        found = [worst_case(piece, rules).results for piece in pieces]
        for results, parts in zip(whole.results, zip(*found, strict=True), strict=True):
            if results is not None:
                middle, worst = (np.concatenate([p[k] for p in parts if p is not None]) for k in (0, 1))
                # Sums may be added in another order, so each midpoint lies within CLOSE radii of the truth on its own.
                # The radii may differ: a bound that holds for a whole array is simpler than one for each element.
                with np.errstate(invalid="ignore"):
                    near = np.abs(middle - results[0]) <= CLOSE * (worst + results[1])
                unknown = np.isinf(worst) & np.isinf(results[1])
                assert (near | unknown | (middle == results[0])).all()  # infinities, too
                assert (np.isfinite(worst) == np.isfinite(results[1])).all()
        split += len(pieces) > 1
    drawn = [c.inputs[0] for c in cases(alone(OPS[name]), "float32", families=["normal"])]
    params = [c.params for c in cases(alone(OPS[name]), "float32", families=["normal"])]
    assert (split > 0) == any(op.rowwise(x.ndim, p) for x, p in zip(drawn, params, strict=True) if x is not None)


@pytest.mark.parametrize("name", OPS)
def test_rows_are_taken_one_by_one_wherever_they_do_not_touch(name: str) -> None:
    """Whether anything beside row k moves with the inputs and the cotangent of row k, for each of the first rows."""
    op, rng, checked = OPS[name], np.random.default_rng(0), 0
    if "other" in op.inputs:
        pytest.skip("which rows touch each other depends on the shapes, of which `rowwise` is not told")
    for c in cases(alone(OPS[name]), "float64", families=["normal"]):
        y = op(*c.inputs, **c.params)
        whole = [y, *op.vjp(c.cotangent, *c.inputs, **c.params)]
        lengths = {a.shape[:1] for a in (y, *c.inputs) if a is not None}
        if (
            len(lengths) > 1
            or not y.size
            or y.shape[:1] in ((), (1,))
            or any(x is None for x in c.inputs)
            or any(isinstance(v, np.ndarray) for v in c.params.values())
        ):
            continue  # no rows, one row, an absent input of which `rowwise` is not told, or parameters that are arrays
        beside = np.arange(len(y))
        touched = False
        for k in beside[:4]:
            moved = [None if x is None else x.copy() for x in c.inputs]
            for x, declared in zip(moved, op.inputs.values(), strict=True):
                if x is not None:
                    x[k] = x[k] + rng.normal(size=x[k].shape) if declared.kind == "real" else x[k - 1]
            g = c.cotangent.copy()
            g[k] += 1
            found = [op(*moved, **c.params), *op.vjp(g, *moved, **c.params)]
            touched |= not all(
                np.array_equal(a[beside != k], b[beside != k])
                for a, b in zip(whole, found, strict=True)
                if a is not None and b is not None
            )
        assert touched != op.rowwise(c.inputs[0].ndim, c.params), c.id
        checked += 1
    by_rows = {op.rowwise(c.inputs[0].ndim, c.params) for c in cases(alone(OPS[name]), "float64", families=["normal"])}
    assert checked or True not in by_rows


LOSSES = [n for n, op in OPS.items() if op.summed(op.defaults) is not None]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_many_samples_is_evaluated_sample_by_sample(name: str, reduction: str) -> None:
    """The same numbers as in one piece, in every variant: weights, smoothing and ignored samples included."""
    op, split = OPS[name], 0
    for c in cases(alone(OPS[name]), "float64", families=["normal"]):
        inputs, params = c.inputs, {**c.params, "reduction": reduction}
        if inputs[0] is None or inputs[0].size == 0:
            continue
        g = np.asarray(-1.375)
        call = Call(op, inputs, params, g)
        split += summed(call, 3) is not None
        found = [evaluate(call, 128, size=size) for size in (3, 1 << 30)]
        for pieces, whole in zip(*found, strict=True):
            assert (pieces is None) == (whole is None)
            if whole is not None:
                assert pieces.value.shape == whole.value.shape and whole.value.size
                sure = pieces.certain & whole.certain
                assert np.array_equal(pieces.value[sure], whole.value[sure], equal_nan=True)
                a, b = (
                    v.rows(~sure & np.isfinite(whole.value)) for v in (pieces, whole)
                )  # on a middle: either is near
                assert (np.abs((a.value - b.value) + (a.low - b.low)) <= a.radius + b.radius).all()
    assert split > 0


# --- losses around and above every piece, against exact sums of their own --------------------------------------------


def exponential(**fields: Any) -> Op:
    """A loss of one's own, exp(x - t), which says nothing of samples unless `fields` do."""

    def forward(ar: Any, input: Any, target: Any, *, reduction: str = "mean") -> Any:
        losses = ar.exp(input - target)
        if reduction == "none":
            return losses
        return {"mean": ar.sum(losses) / losses.size, "sum": ar.sum(losses)}[reduction]

    def vjp(ar: Any, g: Any, y: Any, input: Any, target: Any, *, reduction: str = "mean") -> Any:
        gx = ar.product(g, ar.exp(input - target), over=input.size if reduction == "mean" else None)
        return gx, -gx

    shapes = {"input": (5, 3), "target": (5, 3)}
    return Op(
        "exponential_loss",
        forward,
        vjp,
        {"input": refnn.Input(), "target": refnn.Input()},
        lambda inputs, params: None,
        tuple(Variant(shapes, {"reduction": r}) for r in ("mean", "sum", "none")),
        rowwise=lambda ndim, params: ndim > 0 and params["reduction"] == "none",
        **fields,
    )


def by_elements(params: Any) -> Sum | None:
    over = (lambda ar, input, target, **_: input.size) if params["reduction"] == "mean" else None
    return None if params["reduction"] == "none" else Sum({"reduction": "none"}, over)


@pytest.mark.parametrize("n", [CHUNK, CHUNK + 1, 2 * CHUNK + 1])
@pytest.mark.parametrize("fields", [{}, {"summed": by_elements}], ids=["whole", "summed"])
def test_a_loss_of_ones_own_has_no_secret_parameter(fields: dict[str, Any], n: int) -> None:
    """The mean of n times e is e, whether or not the record speaks of samples."""
    op = exponential(**fields)
    record.verify(op)
    for reduction, factor in (("mean", 1), ("sum", n)):
        t = refnn.truth(op, np.ones(n), np.zeros(n), cotangent=np.asarray(1.0), reduction=reduction)
        with mpmath.workdps(60):
            assert abs(exact(t.output, ()) - factor * mpmath.e) <= t.output.radius
            assert abs(exact(t.grads[0], (n - 1,)) - factor * mpmath.e / n) <= t.grads[0].radius[n - 1]


def test_a_large_loss_of_ones_own_conforms_to_itself() -> None:
    op, n = exponential(), CHUNK + 1
    x = np.random.default_rng(0).normal(size=n)
    report = refnn.check(op, forward=op, vjp=op.vjp, dtype="float64", inputs=(x, np.zeros(n)))
    assert report.ok
    assert report.elements > 2 * n


def _of_pair(loss: Any) -> Any:
    """The exact losses of two arrays, and how many they are."""

    def losses(x: np.ndarray, t: np.ndarray, **params: Any) -> Any:
        return [loss(Fraction(a), Fraction(b), **params) for a, b in zip(x.flat, t.flat, strict=True)], x.size

    return losses


def _smooth(a: Fraction, b: Fraction, beta: float) -> Fraction:
    d, edge = abs(a - b), Fraction(beta)
    return d * d / (2 * edge) if d < edge else d - edge / 2


def _entropy(x: np.ndarray, t: np.ndarray, weight: np.ndarray, ignore_index: int) -> Any:
    """-w (x_t - log sum exp x), which needs no shift in balls."""
    losses, total = [], arb(0)
    for row, k in zip(x, t, strict=True):
        if k != ignore_index:
            w, total = arb(float(weight[k])), total + float(weight[k])
            losses.append(w * (sum((arb(float(v)).exp() for v in row), arb(0)).log() - float(row[k])))
    return losses, total


def _log_likelihood(x: np.ndarray, t: np.ndarray, weight: np.ndarray, ignore_index: int) -> Any:
    kept = [(row[k], weight[k]) for row, k in zip(x, t, strict=True) if k != ignore_index]
    return [-Fraction(v) * Fraction(w) for v, w in kept], sum(Fraction(w) for _, w in kept)


def _binary(x: np.ndarray, t: np.ndarray) -> Any:
    """-t log s - (1 - t) log(1 - s), s the sigmoid of x."""

    def loss(a: float, b: float) -> Any:
        s = 1 / (1 + arb(-a).exp())
        return -b * s.log() - (1 - arb(b)) * (1 - s).log()

    return [loss(float(a), float(b)) for a, b in zip(x.flat, t.flat, strict=True)], x.size


EXACT: dict[str, tuple[Any, dict[str, Any]]] = {
    "mse_loss": (_of_pair(lambda a, b: (a - b) ** 2), {}),
    "l1_loss": (_of_pair(lambda a, b: abs(a - b)), {}),
    "smooth_l1_loss": (_of_pair(_smooth), {"beta": 0.3}),
    "half_squared_error": (lambda x, t: (_of_pair(lambda a, b: (a - b) ** 2 / 2)(x, t)[0], len(x)), {}),
    "nll_loss": (_log_likelihood, {"weight": np.linspace(0.1, 1.3, 8), "ignore_index": 2}),
    "cross_entropy": (_entropy, {"weight": np.linspace(0.1, 1.3, 8), "ignore_index": 1}),
    "binary_cross_entropy_with_logits": (_binary, {}),
}


def large(name: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Input, target and parameters of a loss."""
    rng, op = np.random.default_rng(shape[0]), OPS[name]
    x = np.ldexp(rng.normal(size=shape), rng.integers(-20, 5, shape))
    classes = op.inputs["target"].kind in ("classes", "target")
    target = rng.integers(0, shape[1], shape[0]) if classes else rng.uniform(size=shape)
    return x, target, {k: v[: shape[1]] if k == "weight" else v for k, v in EXACT[name][1].items()}


@pytest.mark.parametrize("shape", [(4681, 7), (4096, 8), (13001, 5)], ids=lambda s: str(math.prod(s)))
@pytest.mark.parametrize("name", LOSSES)
def test_losses_beyond_a_piece_are_the_exact_sums(name: str, shape: tuple[int, int]) -> None:
    """At the size that is one piece, one element above it and nearly twice that, in pairs and in Arb."""
    assert 4681 * 7 == CHUNK == 4096 * 8 - 1
    op, losses = OPS[name], EXACT[name][0]
    x, target, params = large(name, shape)
    with Arb(400).working():
        found, count = losses(x, target, **params)
        total = sum(found, 0 * found[0])
    for reduction in ("sum", "mean"):
        full = {**op.defaults, **params, "reduction": reduction}
        for output in (
            refnn.truth(op, x, target, **full).output,
            evaluate(Call(op, (x, target), full), 128)[0],
        ):
            assert output is not None
            value, low, radius = (v[()] for v in (output.value, output.low, output.radius))
            with Arb(400).working():
                want = total / count if reduction == "mean" else total
                if isinstance(want, Fraction):
                    left = abs(Fraction(value) + Fraction(low) - want)
                    assert left <= Fraction(radius) <= abs(want) / 2**80
                else:
                    assert abs(want - float(value) - float(low)) <= float(radius)
                    assert radius <= float(abs(want)) * 2.0**-80


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_beyond_a_piece_are_those_of_single_samples(name: str) -> None:
    """Of the mean, times what it divides by: of the first sample and of the last two, which another piece holds."""
    op = OPS[name]
    x, target, params = large(name, (4096, 8))
    with Arb(400).working():
        count = EXACT[name][0](x, target, **params)[1]
    full = {**op.defaults, **params, "reduction": "mean"}
    found = evaluate(Call(op, (x, target), full, np.asarray(1.0)), 128)[1]
    assert found is not None
    for row in (slice(0, 1), slice(4094, 4095), slice(4095, 4096)):
        alone = refnn.truth(op, x[row], target[row], cotangent=np.asarray(1.0), **{**full, "reduction": "sum"}).grads[0]
        mean, nonzero = found.rows(row), 0
        for i in np.ndindex(alone.value.shape):
            with Arb(400).working():
                one, many = (arb(arb(float(v.value[i])) + float(v.low[i]), float(v.radius[i])) for v in (alone, mean))
                divisor = arb(count.numerator) / count.denominator if isinstance(count, Fraction) else arb(count)
                assert one.overlaps(many * divisor)
                assert many.rad() <= abs(many.mid()) / 2**80
                nonzero += not many.contains(0)
        assert nonzero or target[row].tolist() == [params.get("ignore_index")]
