"""Noise: standard deviations against simulated roundings, shared errors, tiny numbers, biases."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from marks import in_every
from propagation import MAXIMA, PROPAGATED, differentiated

from refnn.arithmetic import BLOCK
from refnn.arithmetic.balls import Ball, Balls
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.noise import SUM_BLOCKS, Noise, Noisy, Term, _chain, _starts
from refnn.arithmetic.windows import Windows
from refnn.checking.check import false_alarm_line
from refnn.formats import FORMATS
from refnn.judging.cases import cases
from refnn.models import MODELS, Model, model
from refnn.op import Input, Op, Variant
from refnn.ops import OPS
from refnn.oracle.allowance import allowance, expected_error, worst_case
from refnn.study.tightness import EXCEPTIONS
from refnn.variants import alone

U32 = 2.0**-24
SHARP = "float32@correctly-rounded"


def rms(errors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(np.square(errors), axis=0))


def rounded(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32).astype(np.float64)


# --- shared errors ---------------------------------------------------------------------------------------------------


def test_what_descends_from_one_rounding_adds_as_magnitudes() -> None:
    ar = Noise(SHARP)
    x = ar.array([1.0, 3.0]) + ar.array([0.25, 5.0])
    one = x.std()
    together = ar.sum(Noisy(ar, np.stack([x.mid, x.mid]), ()), 0)
    assert not together.terms[0].roots & x.terms[0].roots
    doubled = x + x
    assert (doubled.std() >= 2 * one).all()
    independent = (ar.array([1.0, 3.0]) + ar.array([0.25, 5.0])) + x
    assert (independent.std() < doubled.std()).all()
    squared = x * x
    assert (squared.std() >= 2 * np.abs(x.mid) * one).all()


def test_softmax_gradient_is_not_treated_as_independent() -> None:
    """y and sum(g y) share the roundings of y: with one hot cotangent on a dominant entry they nearly double."""
    ar = Noise(SHARP)
    y = ar.array([[0.5, 0.25, 0.25]]) / ar.array([[1.1]])
    g = ar.array([[3.0, -1.0, 2.0]])
    s = ar.sum(g * y, 1, keepdims=True)
    shared = frozenset.intersection(*(frozenset().union(*(t.roots for t in v.terms)) for v in (y, s)))
    assert shared
    product = y * (g - s)
    own = np.abs(g.mid - s.mid) * y.std()
    through_sum = np.abs(y.mid) * s.std()
    assert (product.std() >= (own + through_sum) * (1 - U32)).all()
    assert (product.std() > np.hypot(own, through_sum)).all()


def test_the_softmax_gradient_keeps_its_standard_deviation() -> None:
    """Simulated: y is perturbed by independent roundings once, and used in both places."""
    rng = np.random.default_rng(0)
    y = np.array([0.7, 0.2, 0.1])
    g = np.array([5.0, -1.0, 2.0])
    draws = y * (1 + U32 * rng.uniform(-1, 1, (20_000, 3)))
    exact = y * (g - (g * y).sum())
    observed = rms(draws * (g - (g * draws).sum(1, keepdims=True)) - exact)
    ar = Noise(SHARP)
    noisy = Noisy(ar, y, (_fresh(ar, np.abs(y) * U32 / math.sqrt(3)),))
    predicted = (noisy * (ar.array(g) - ar.sum(ar.array(g) * noisy, 0, keepdims=True))).std()
    assert (observed <= predicted).all()
    independent = np.hypot(np.abs(g - (g * y).sum()) * y, y * np.sqrt(((g * y) ** 2).sum())) * U32 / math.sqrt(3)
    assert (predicted > independent * (1 - U32)).all()


def _fresh(ar: Noise, std: np.ndarray) -> object:
    return ar._rounded(np.ones_like(std), (), 0.0, std).terms[0]


def test_a_shared_error_does_not_average_out() -> None:
    """A sum of n products with one noisy factor: its error grows like n, not like sqrt(n)."""
    ar, n = Noise(SHARP), 400
    factor = ar.array([1.0]) + ar.array([0.1])
    signs = np.resize([1.0, -1.0], n)
    total = ar.sum(factor * ar.array(signs), 0).std()
    assert total >= n * factor.std()[0]
    apart = ar.sum(ar.array(signs) + ar.array(signs * 0.1), 0).std()
    assert 2 * apart < total


@pytest.mark.parametrize("select", [lambda x: x[1:], lambda x: x.T, lambda x: x.reshape(-1), lambda x: -x])
def test_moving_elements_keeps_their_deviations(select: object) -> None:
    ar = Noise(SHARP)
    x = ar.array(np.arange(1.0, 13).reshape(3, 4)) + ar.array(np.full((3, 4), 0.1))
    moved = select(x)  # type: ignore[operator]
    assert isinstance(moved, Noisy)
    assert (moved.std() == np.abs(select(x.std()))).all()  # type: ignore[operator]


# --- one primitive at a time: simulated -------------------------------------------------------------------------------


def test_what_was_independent_stays_so_where_it_moves() -> None:
    """A sum of equal elements has the same deviation in any order, which is below that of errors that are all alike."""
    ar = Noise("float32")
    x = ar.array(np.full((3, 4), 3.0)) * ar.array(np.full((3, 4), 0.3))
    exact, still, moved = (ar.sum(v).std() for v in (ar.array(x.mid), x, x.T.reshape(12)[::-1]))
    assert np.float32(moved) == np.float32(still)
    assert moved < math.hypot(exact, x.std().sum())


def test_a_term_that_may_be_left_out_is_a_bias_of_its_size() -> None:
    ar = Noise("float32")
    assert (ar.optional(ar.array([3.0, -4.0])).bias == [3.0, 4.0]).all()


@pytest.mark.parametrize("primitive", ["add", "product", "quotient", "three", "square"])
def test_deviations_of_arithmetic_are_those_of_real_roundings(primitive: str) -> None:
    """Float32 results on random operands: the root mean square of error/std is at most 1, and not far below."""
    rng = np.random.default_rng(1)
    a, b, c = (rounded(rng.uniform(1, 2, 50_000)) for _ in "abc")
    ar = Noise(SHARP)
    x, y, z = (ar.array(v) for v in (a, b, c))
    noisy, computed, exact = {
        "add": lambda: (x + y, rounded(a + b), a + b),
        "product": lambda: (x * y, rounded(a * b), a * b),
        "quotient": lambda: (x / y, rounded(a / b), a / b),
        "three": lambda: (ar.product(x, y, z), rounded(rounded(a * b) * c), a * b * c),
        "square": lambda: (x**2, rounded(a * a), a * a),
    }[primitive]()
    ratio = float(rms((computed - exact) / noisy.std()))
    assert 0.4 < ratio <= 1, ratio
    assert (np.abs(computed - exact) <= math.sqrt(6) * noisy.std() + noisy.bias).all()


def test_deviations_of_sums_and_dots_cover_every_order() -> None:
    rng = np.random.default_rng(2)
    a = rounded(rng.normal(size=(300, 200)))
    ar = Noise(SHARP)
    single, exact = a.astype(np.float32), a.sum(1)
    chain = single[:, 0].copy()
    for k in range(1, a.shape[1]):
        chain = chain + single[:, k]
    std = ar.sum(ar.array(a), 1).std()
    for computed in (chain, single.sum(1)):
        ratio = float(rms((computed.astype(np.float64) - exact) / std))
        assert 0.02 < ratio <= 1
    b = rounded(rng.normal(size=(200, 50)))
    dot = ar.dot(ar.array(a), ar.array(b)).std()
    error = (single @ b.astype(np.float32)).astype(np.float64) - a @ b
    assert 0.02 < float(rms(error / dot).max()) <= 1.2
    assert float(np.sqrt(np.mean((error / dot) ** 2))) <= 1


def test_noise_propagates_through_functions_by_their_slopes() -> None:
    rng = np.random.default_rng(3)
    points = {"exp": (1.5,), "log": (2.5,), "tanh": (0.75, -3.0), "expm1": (0.5, -3.0), "log1p": (0.5, -0.75)}
    points |= {"erf": (0.25, -2.0), "erfc": (-1.0, 5.0)}
    for name, x in ((name, x) for name, xs in points.items() for x in xs):
        ar = Noise("float64@correctly-rounded")
        std = 1e-7
        noisy = getattr(ar, name)(Noisy(ar, np.array([x]), (_fresh(ar, np.array([std])),)))
        observed = np.std(getattr(Floats(), name)(x + std * rng.normal(size=100_000)))
        assert observed <= noisy.std()[0] * 1.02
        assert noisy.std()[0] < 2 * observed


# --- propagation -----------------------------------------------------------------------------------------------------

MIXED = {name for name in PROPAGATED if "dot, then" in name or "dot and" in name or "of maxima" in name}  # bounds only


def patterns(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Independent variables everywhere, along one axis each, and one for all."""
    alone = [tuple(n if a == k else 1 for a, n in enumerate(shape)) for k in range(len(shape))]
    return list(dict.fromkeys([shape, *alone, (1,) * len(shape)]))


@pytest.mark.parametrize("name", PROPAGATED)
def test_deviations_and_biases_propagate_by_the_jacobian(name: str) -> None:
    """With the Jacobian by central differences. The slack of 2^-12 is no claim: it covers the differences and the
    roundings, which are a billionth of what propagates. Where an array has some variables that its entries share and
    some that they do not, refnn's deviation is a bound, up to the sum of magnitudes."""
    ar, (shapes, f) = Noise("float64@correctly-rounded"), PROPAGATED[name]
    mids, sizes, y, columns = differentiated(name)
    biased = f(ar, *(Noisy(ar, m, (), s) for m, s in zip(mids, sizes, strict=True)))
    bias = sum(c @ s.ravel() for c, s in zip(columns, sizes, strict=True)).reshape(y.shape)
    assert np.array_equal(biased.mid, y)
    assert (biased.bias >= bias * (1 - 2.0**-12)).all()
    assert name in MAXIMA or (biased.bias <= bias * (1 + 2.0**-12) + 2.0**-40).all()
    for pattern in zip(*(itertools.cycle(patterns(s)) for s in shapes), range(12), strict=False):
        noisy, squares = [], np.zeros(y.size)
        for n, (mid, size, column) in enumerate(zip(mids, sizes, columns, strict=True)):
            shape = pattern[n]
            noisy.append(Noisy(ar, mid, (Term(size, shape, frozenset((-1 - n,))),)))
            of = np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), mid.shape).ravel()
            for variable in range(math.prod(shape)):
                squares += (column[:, of == variable] @ size.ravel()[of == variable]) ** 2
        std, expected = f(ar, *noisy).std(), np.sqrt(squares).reshape(y.shape)
        assert (std >= expected * (1 - 2.0**-12)).all(), pattern
        independent = all(p == s for p, s in zip(pattern, shapes, strict=False))
        if name not in MIXED and (independent or (len(shapes) == 1 and math.prod(pattern[0]) == 1)):
            assert (std <= expected * (1 + 2.0**-12) + 2.0**-40).all(), pattern
        elif name not in MAXIMA:
            assert (std <= bias * (1 + 2.0**-12)).all(), pattern


# --- tiny and large numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-310, 1e-290, 1e-200, 1e-160, 1e150, 1e200])
def test_deviations_neither_vanish_nor_overflow(size: float) -> None:
    """Squares of such numbers leave the range of float64, their deviations must not."""
    ar, rng = Noise("float64"), np.random.default_rng(4)
    x = ar.array(rng.uniform(1, 2, (5, 300)) * size) + ar.array(rng.uniform(1, 2, (5, 300)) * size)
    u = FORMATS["float64"].unit_roundoff
    for value in (x, ar.sum(x, 1), ar.dot(x, ar.array(np.ones((300, 2)))), x * ar.array(np.full(300, 0.9))):
        std = value.std()
        assert np.isfinite(std).all()
        floor = np.abs(value.mid) * u / 4
        assert (std + value.bias >= floor).all()
        assert (std <= np.abs(value.mid) * u * 300 + 1e-322).all()


def test_a_deviation_that_underflows_is_there_when_a_factor_brings_it_back() -> None:
    """exp(-716) is subnormal in float64, and the rounding of -716 is worth 1e-13 of it: times 1e63 that matters."""
    ar = Noise("float64@correctly-rounded")
    z = ar.array([-704.0]) - ar.array([11.926072999999999])
    assert z.std()[0] > 0
    e = ar.exp(z) * ar.array([6e63])
    relative = (e.std() + e.bias) / np.abs(e.mid)
    true_error = 6e63 * np.exp(-715.926073) * 2.0**-53 * 716 / 2
    assert (e.std() + e.bias)[0] >= true_error
    assert relative[0] < 1


def test_a_deviation_does_not_vanish_beside_one_that_is_much_larger() -> None:
    """In a convolution, of which an image is no row of its own: the square of 1e-54 over 1e180 is zero. What two
    numbers that cancel bring along is most of the noise of their sum."""
    ar = Noise("float64")
    x = ar.array(np.array([[[1e180, 2e-39, -2e-39]]])) + ar.array(np.array([[[3e180, 1e-39, -1e-39]]]))
    y = ar.contract(Windows.over((3,), (2,)).correlate((1, 1, 2), 1), x, ar.array(np.array([[[1.0, 1.0]]])))
    assert y.mid[0, 0, 1] == 0 < x.std()[0, 0, 1] <= y.std()[0, 0, 1]


def test_zero_times_anything_has_no_deviation() -> None:
    ar = Noise("float64")
    x = (ar.array([1.0]) + ar.array([2.0])) * ar.array([0.0]) * ar.array([1e300])
    assert x.std()[0] == 0


# --- biases ----------------------------------------------------------------------------------------------------------


def test_library_errors_and_parameters_are_biases() -> None:
    for row, ulps in (("generic", 4.0), ("torch-cpu", 1.0), ("correctly-rounded", 0.5)):
        ar = Noise(f"float32@{row}")
        y = ar.exp(ar.array([1.0, 0.0]))
        beyond = (ulps - 0.5) * FORMATS["float32"].ulp(np.e)  # half an ulp is the rounding of the result
        assert beyond <= y.bias[0] <= 2 * beyond + 4 * FORMATS["float32"].smallest_subnormal
        assert y.std()[0] == np.e * (U32 / math.sqrt(3))
        assert (y.std()[1], y.bias[1] <= 4 * FORMATS["float32"].smallest_subnormal) == (0, True)  # exp(0) is exact
    assert Noise("float32").real(0.1).bias > 0
    assert Noise("float32").real(0.5).bias == 0


def test_a_bias_never_averages_out() -> None:
    ar, n = Noise("float32"), 1000
    e = ar.exp(ar.array(np.ones(n)))
    assert ar.sum(e, 0).bias >= n * e.bias[0]
    assert ar.dot(e.reshape(1, n), ar.array(np.ones((n, 1)))).bias >= n * e.bias[0]


def test_flushing_and_truncation_are_biases() -> None:
    tiny = FORMATS["float32"].smallest_normal
    for name, least in (("float32-ftz", tiny), ("float32", 2.0**-150)):
        ar = Noise(name)
        assert (ar.array([tiny]) * ar.array([0.7])).bias >= least
    plain, cut = Noise("float32"), Noise("tf32")
    one = np.ones((1, 50))
    assert plain.dot(plain.array(one), plain.array(one.T)).bias < 50 * 2.0**-10
    assert cut.dot(cut.array(one), cut.array(one.T)).bias >= 2 * 50 * 2.0**-10


# --- kinks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_product_may_lose_below_the_normal_range_and_all_to_one_side(dtype: str) -> None:
    """Ties to even: 1.5 and 2.5 times the smallest subnormal number both become twice it, so n losses add up."""
    fmt, n = FORMATS[dtype], 64
    ar, eta = Noise(dtype), fmt.smallest_subnormal
    a, b = np.full((1, n), eta, fmt.dtype), np.full((n, 1), 1.5, fmt.dtype)
    got = np.cumsum(a * b.T)[-1]
    lost = abs(float(got) / eta - 1.5 * n)
    assert lost == n / 2
    assert np.max(ar.dot(ar.array(a), ar.array(b)).bias) >= lost * eta
    # One alone is no more than one loss, so the line is not lifted for a whole sum.
    assert np.max(ar.dot(ar.array(a[:, :1]), ar.array(b[:1])).bias) <= 3 * eta


def test_a_loss_on_the_way_is_as_large_as_what_follows_makes_it() -> None:
    """1.5 eta rounds to 2 eta, and 2**100 later the loss is far above the normal range."""
    eta = FORMATS["float32"].smallest_subnormal
    factors = [np.float32(eta), np.float32(1.5), np.float32(2.0**100 + 2.0**80)]
    got = factors[0] * factors[1] * factors[2]
    lost = abs(float(got) - float(factors[0]) * float(factors[1]) * float(factors[2]))
    ar = Noise("float32")
    assert float(ar.product(*map(ar.array, factors)).bias) >= lost > 0.2 * float(got)
    # A half is exact, apart from numbers that have no half.
    assert float(np.max(ar.product(ar.array([eta]), over=2).bias)) >= eta / 2
    assert not np.any(ar.product(ar.array([eta]), 2).bias)


def test_one_operation_loses_once_whatever_its_factor_is() -> None:
    ar, loss = Noise("float32"), FORMATS["float32"].smallest_subnormal
    large = ar.array([2.0**20])
    assert np.max(ar.product(large, over=4).bias) == loss
    assert np.max(ar.product(large, ar.array([3.0])).bias) == loss
    assert np.max(ar.product(large, ar.array([3.0]), ar.array([0.5])).bias) == 2 * loss * 3 * 2**20  # may be the first
    assert not np.any(ar.product(large).bias)
    assert np.max((large + large).bias) == loss


def test_near_a_kink_both_sides_are_expected() -> None:
    ar = Noise("float32")
    x = ar.array([1.0, 1.0, 0.0, 2.0]) - ar.array([1.0, 1.0 + 1e-7, 0.0, 1.0])
    y = ar.branch(x, ar.array(np.full(4, 3.0)), ar.array(np.full(4, 1.0)))
    assert y.mid.tolist() == [1.0, 1.0, 1.0, 3.0]
    assert y.bias[3] == 0
    wide = Noisy(ar, np.array([1e-8]), (_fresh(ar, np.array([1e-8])),))
    assert ar.branch(wide, ar.array([3.0]), ar.array([1.0])).bias[0] == 2
    assert ar.relu(Noisy(ar, np.array([-1e-8]), (_fresh(ar, np.array([1e-8])),))).std()[0] > 0
    assert ar.relu(ar.array([-1.0]) + ar.array([-1.0])).std()[0] == 0


@pytest.mark.parametrize("where", ["relu", "branch", "branch at", "route", "route among"])
def test_a_kink_counts_within_ten_deviations_and_the_bias(where: str) -> None:
    """Both sides count up to a distance of 10 std + bias, to the left and to the right, and no farther."""
    ar = Noise("float64@correctly-rounded")
    std, bias, side = (
        np.array([2.0, 2.0, 0.0, 2.0]) * 2.0**-20,
        np.array([3.0, 0.0, 3.0, 3.0]) * 2.0**-20,
        [1, 1, 1, -1],
    )
    for factor, crossed in ((1 - 2.0**-20, True), (1 + 2.0**-20, False)):
        x = Noisy(ar, side * (10 * std + bias) * factor, (_fresh(ar, std),), bias)
        if where == "relu":
            found, expected = ar.relu(x).std() + ar.relu(x).bias > 0, (x.mid > 0) | crossed
        elif where == "branch":
            found, expected = ar.branch(x, ar.array([5.0]), ar.array([3.0])).bias == 2, np.full(4, crossed)
        elif where == "branch at":
            moved = Noisy(ar, x.mid + 1.0, x.terms, bias / 2)
            edge = Noisy(ar, np.ones(4), (), bias / 4)  # which counts twice
            found, expected = ar.branch(moved, ar.array([5.0]), ar.array([3.0]), at=edge).bias == 2, np.full(4, crossed)
        else:  # each entry beside an exact zero, and where some take part only beside a huge one that does not
            cells = 3 if "among" in where else 2
            beside = np.array([[1.0, 0.0, 0.0]])[:, :cells]
            own = Term(std[:, None] * beside, (4, 1), x.terms[0].roots)
            pair = Noisy(
                ar, np.array([[0, 0, 9.0]])[:, :cells] + x.mid[:, None] * beside, (own,), bias[:, None] * beside
            )
            among = np.tile([True, True, False], (4, 1)) if "among" in where else None
            routed = ar.route(ar.array(np.full(4, 7.0)), pair, 1, among)
            found = (routed.bias[:, :2] == 7).all(1)
            expected = np.full(4, crossed)
            assert not routed.bias[:, 2:].any()
        assert found.tolist() == expected.tolist()


# --- whole ops -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "dtype"), in_every(["float32", "float64"], OPS))
def test_the_expected_error_is_no_worse_than_the_worst(op: str, dtype: str) -> None:
    """A local deviation is at most 2/sqrt(3) of half an ulp, and nothing adds up faster than the worst case does."""
    checked, rules, fmt = 0, model(dtype), FORMATS[dtype]
    for case in cases(alone(OPS[op]), dtype, families=["normal", "tiny", "large"]):
        with np.errstate(all="ignore"):
            noise = expected_error(case.call(), rules)
            worst = worst_case(case.call(), rules).results
        for expected, bound in zip(noise, worst, strict=True):
            if expected is None or bound is None:
                continue
            std, bias = expected
            known = np.isfinite(bound[1]) & np.isfinite(bound[0]) & (np.abs(bound[0]) >= fmt.smallest_normal)
            assert (std[known] <= bound[1][known] * (2 / math.sqrt(3))).all(), case.id
            assert (bias[known] >= 0).all()
            checked += int(known.sum())
    assert checked > 500


DUST = 1024 * 2.0**-1074  # a worst case that is there only because it was rounded outward


def _beyond_losses(worst: np.ndarray, rules: Model) -> np.ndarray:
    """Worst cases above what losses below the normal range come to on random numbers."""
    return worst > 1024 * rules.compute.smallest_normal


@pytest.mark.parametrize(
    "name", ["float32", *(pytest.param(m, marks=pytest.mark.slow) for m in MODELS if m != "float32")]
)
@pytest.mark.parametrize("op", OPS)
def test_where_there_is_a_worst_case_there_is_an_expected_error(op: str, name: str) -> None:
    """In every family and class of algorithms: never NaN beside a finite worst case, and never nothing beside more than
    nothing. Where the worst case is above what the library and losses below the normal range are allowed, something is
    rounded, and the standard deviation itself is there; at kinks it may be a parameter, which is a bias, and
    a class that cancels may multiply one error by another, which is of second order.
    """
    rules, compared = model(name), 0
    for case in cases(alone(OPS[op]), rules.storage.name):
        for algorithm in ("accurate", *case.op.algorithms):
            given = (case.call(algorithm), rules)
            with np.errstate(all="ignore"):
                pairs = [*zip(expected_error(*given), worst_case(*given).results, strict=True)]
            for expected, bound in pairs:
                if expected is None or bound is None:
                    continue
                (std, library), worst = expected, bound[1]
                known = np.isfinite(worst)
                assert not np.isnan(std[known]).any(), (case.id, algorithm)
                assert not np.isnan(library[known]).any(), (case.id, algorithm)
                some = known & (worst > DUST)
                assert (std + library > 0)[some].all(), (case.id, algorithm)
                compared += int(some.sum())
                if name != "float32":
                    continue  # the host's functions in float64, storing and flushing widen the worst case alone
                rounded = (
                    known & _beyond_losses(worst, rules) & (worst > library * (1 + 512 * rules.compute.unit_roundoff))
                )
                assert (std > 0)[rounded].all() or case.family == "kinks" or algorithm != "accurate", case.id
    assert op in EXCEPTIONS or compared > 100


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(math.prod(shape)).standard_normal(shape, dtype=np.float32)


# Calls whose output, or a gradient, has that many elements in a row, an image or in all.
SIZED: dict[str, Callable[[int], tuple[str, tuple[np.ndarray | None, ...], dict[str, object]]]] = {
    "outputs of linear": lambda n: ("linear", (_normal(1, 3), _normal(n, 3), _normal(n)), {}),
    "outputs of two rows": lambda n: ("linear", (_normal(2, 3), _normal(n, 3), None), {}),
    "rows of linear": lambda n: ("linear", (_normal(n, 3), _normal(1, 3), None), {}),
    "inputs of linear": lambda n: ("linear", (_normal(2, n), _normal(2, n), None), {}),
    "cells of conv1d": lambda n: ("conv1d", (_normal(1, 2, n), _normal(2, 2, 3), None), {"padding": 1}),
    "images of conv1d": lambda n: ("conv1d", (_normal(n, 1, 2), _normal(1, 1, 2), None), {}),
    "channels of conv1d": lambda n: ("conv1d", (_normal(1, 1, 3), _normal(n, 1, 2), None), {}),
    "cells of conv2d": lambda n: ("conv2d", (_normal(1, 1, 2, n), _normal(1, 1, 2, 3), None), {}),
    "cells of conv_transpose1d": lambda n: ("conv_transpose1d", (_normal(1, 2, n), _normal(2, 1, 3), None), {}),
    "terms of softmax": lambda n: ("softmax", (_normal(2, n),), {"axis": -1}),
    "terms of logsumexp": lambda n: ("logsumexp", (_normal(2, n),), {}),
    "terms of a loss": lambda n: ("mse_loss", (_normal(n), _normal(n)), {"reduction": "mean"}),
    "classes": lambda n: ("cross_entropy", (_normal(2, n), np.array([0, n - 1])), {}),
    "cells of avg_pool1d": lambda n: ("avg_pool1d", (_normal(1, 1, n),), {"kernel_size": 3, "stride": 1}),
    "cells of max_pool1d": lambda n: ("max_pool1d", (_normal(1, 1, n),), {"kernel_size": 3, "stride": 1}),
    "elements": lambda n: ("gelu", (_normal(n),), {}),
}


@pytest.mark.parametrize("rules", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("call", SIZED)
def test_sizes_around_a_block_have_an_expected_error(call: str, rules: str) -> None:
    """BLOCK elements are taken at a time: one less, as many, one more, and two and a half as many."""
    for n in (BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK // 2):
        name, inputs, params = SIZED[call](n)
        arrays = tuple(x if x is None or x.dtype.kind == "i" else x.astype(model(rules).storage.dtype) for x in inputs)
        y = np.asarray(OPS[name](*arrays, **params))
        found = allowance(name, *arrays, cotangent=_normal(*y.shape).astype(y.dtype), model=rules, **params)
        for bound in (found.output, *found.grads):
            if bound is not None:
                assert (bound.expected > 0)[_beyond_losses(bound.worst, model(rules))].all(), n
                assert (bound.expected + bound.library > 0)[bound.worst > DUST].all(), n


@pytest.mark.parametrize("rules", ["float32", "float64@torch-cpu", "float16-each-op"])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "cross_entropy"])
def test_masked_entries_have_no_noise_and_the_others_keep_theirs(name: str, rules: str) -> None:
    """Minus infinity in a row is a mask: what is left has the expected error of the row without it."""
    dtype = model(rules).storage.dtype
    x = _normal(9, 9).astype(dtype)
    x[np.triu_indices(9, 1)] = -np.inf
    target, params = np.zeros(1, np.int64), {"reduction": "sum"} if name == "cross_entropy" else {}
    for row in range(9):
        given, short = x[row : row + 1], x[row : row + 1, : row + 1]
        g = _normal(1, 9).astype(dtype)
        g, cut = {"softmax": (g, g[:, : row + 1]), "log_softmax": (g * np.isfinite(given), g[:, : row + 1])}.get(
            name, (np.asarray(OPS[name](given, target, **params) if params else g[0, :1]),) * 2
        )
        more = (target,) if params else ()
        whole, part = (
            allowance(name, v, *more, cotangent=c, model=rules, **params) for v, c in ((given, g), (short, cut))
        )
        for a, b in ((whole.output, part.output), (whole.grads[0], part.grads[0])):
            assert a is not None
            assert b is not None
            finite = np.isfinite(a.worst)
            assert not np.isnan(a.expected[finite]).any()
            assert not np.isnan(a.library[finite]).any()
            assert a.expected.size == b.expected.size or not a.expected[0, row + 1 :].any()
            left = a.expected[0, : row + 1] if a.expected.ndim == 2 else a.expected
            # Partial sums are looked at where blocks end, which are other places in a longer row, and a sum of zeros
            # is counted as rounded again and again.
            assert (left >= b.expected / 2).all()
            assert (left <= a.worst.ravel()[: left.size] * (2 / math.sqrt(3)))[left > 0].all()


def test_the_expected_error_of_a_masked_record_is_that_of_its_rows() -> None:
    """A record of one's own that masks, as attention does: softmax of masked scores, times values."""
    keep = np.tril(np.ones((6, 6), bool))

    def weights(ar: Any, s: Any) -> Any:
        e = ar.where(keep, s, ar.array(np.full(s.shape, -np.inf)))
        e = ar.exp(e - ar.pivot(e, -1))
        return e / ar.sum(e, -1, keepdims=True)

    def vjp(ar: Any, g: Any, y: Any, s: Any, v: Any) -> Any:
        w, gw = weights(ar, s), ar.dot(g, v.T)
        return w * (gw - ar.sum(gw * w, -1, keepdims=True)), ar.dot(w.T, g)

    record = Op(
        name="masked",
        forward_definition=lambda ar, s, v: ar.dot(weights(ar, s), v),
        vjp_definition=vjp,
        inputs={"s": Input(), "v": Input()},
        validate=lambda inputs, params: None,
        variants=(Variant({"s": (6, 6), "v": (6, 3)}),),
    )
    found = allowance(record, _normal(6, 6), _normal(6, 3), cotangent=_normal(6, 3), model="float32")
    for bound in (found.output, *found.grads):
        assert bound is not None
        there = bound.worst > 1e-40  # beside losses below the normal range
        assert ((bound.expected > 0) == there).all()
        assert there.sum() >= 18


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_infinite_factors_leave_no_noise_where_they_do_not_arrive(dtype: str) -> None:
    """An infinite weight makes its own column infinite, and its zeros no NaN of the others."""
    ar = Noise(dtype)
    a, b = ar.array([[1.0, 0.3], [0.0, 0.7]]) + ar.array([[0.1, 0.1], [0.0, 0.1]]), ar.array([[np.inf, 0.1], [1, 0.2]])
    y = ar.dot(a, b, ar.array([0.1, 0.3]))
    assert np.isinf(y.mid[0, 0])
    assert np.isnan(y.mid[1, 0])
    assert (y.std() > 0).tolist() == [[False, True], [False, True]]
    assert np.isfinite(y.std() + y.bias).all()
    for z in (ar.array([np.inf, 1.0]) * (ar.array([0.1, 0.2]) + ar.array([0.1, 0.2])), ar.log(ar.array([0.0, 2.0]))):
        assert (z.std() > 0).tolist() == [False, True]
        assert np.isfinite(z.bias + (z + ar.array([0.3, 0.3])).std()).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_zeros_have_no_noise(dtype: str) -> None:
    """Not even with a term added to them; the sums beside them have."""
    ar = Noise(dtype)
    a, b, plus = ar.array([[0.0, 0.0], [1.0, 0.5]]), ar.array([[0.1], [0.3]]), ar.array([0.7])
    for given in (None, plus):
        assert (ar.dot(a, b, given).std()[:, 0] > 0).tolist() == [False, True]


def test_what_is_a_power_of_two_stays_one_wherever_it_moves() -> None:
    """Zeros, ones and powers of two round no product, negated, moved or selected; a third does."""
    x = np.full((3, 2), 1.1)
    for ar in (Noise("float32"), Balls("float32")):
        hot = ar.one_hot(np.array([1, 0]), 3, 1)
        pure = [-ar.lift(4), -ar.real(0.5), hot.T, (-hot).T.reshape(3, 2), hot[:, ::-1].T]
        for factor in (*pure, ar.real(1 / 3)):
            y = ar.product(factor, ar.array(x))
            size = y.rad if isinstance(y, Ball) else y.std()
            assert np.all(size < 2.0**-140) if factor in pure else np.all(size > 2.0**-30)


def test_exact_inputs_and_selections_have_no_noise() -> None:
    ar = Noise("float32")
    x = ar.array([1.0, -2.0])
    assert x.std().tolist() == [0.0, 0.0]
    for value in (ar.abs(x), ar.relu(x), -x, ar.where(np.array([True, False]), x, 0), x * 2):
        assert (value.std() == 0).all()


def test_storing_rounds_once_more_where_storage_is_narrower() -> None:
    for name, m in MODELS.items():
        ar = Noise(name)
        stored = ar.store(ar.array([1.5]))
        expected = 0.0 if m.storage == m.compute else 1.5 * (m.storage.unit_roundoff / math.sqrt(3))
        assert stored.std()[0] == expected


@pytest.mark.parametrize("name", ["bfloat16-each-op", "float16-each-op"])
def test_no_error_is_expected_of_a_sum_that_stagnates(name: str) -> None:
    """Added one by one, positive numbers below an ulp of their sum are lost. Until they are a few ulps, their roundings
    have a mean of zero; numbers of either sign stay so far longer."""
    ar, rng, dtype = Noise(name), np.random.default_rng(0), model(name).compute.dtype
    limit = round(0.5 / model(name).compute.unit_roundoff)
    for n in (limit // 8, limit // 2, 8 * limit):
        x = rng.uniform(size=(n, 1000)).astype(dtype)
        total = x[0]
        for row in x[1:]:
            total = (total + row).astype(dtype)
        exact, errors = x.astype(np.float64), total.astype(np.float64)
        std = ar.sum(ar.array(exact), 0).std()
        ratio = (errors - exact.sum(0)) / std
        if n < limit:
            assert abs(ratio.mean()) < 0.2
            assert np.abs(ratio).max() < 4
        else:
            assert np.isinf(std).all()
            assert (errors < 0.9 * exact.sum(0)).all()
            assert np.isinf(ar.dot(ar.array(exact.T[:3]), ar.array(exact[:, :3])).std()).all()
            apart = exact * rng.choice([-1.0, 1.0], size=x.shape)
            assert np.isinf(ar.sum(ar.array(apart), 0).std()).mean() < 0.5
            # What has no expected error has none after it, and not NaN, even times zero.
            none = ar.sum(ar.array(exact), 0) * ar.array(np.resize([0.0, 1.0], 1000))
            assert np.isinf(none.std()).tolist() == [False, True] * 500
            assert np.isinf(ar.dot(none.reshape(1, 1000), ar.array(np.resize([0.0, 1.0], (1000, 1)))).std()).all()


def test_the_line_falls_with_the_probability_and_grows_with_the_elements() -> None:
    lines = [false_alarm_line(p, n) for p, n in ((1e-2, 1), (1e-7, 1), (1e-7, 1000), (1e-7, 10**6))]
    assert lines == sorted(lines)
    assert 2.5 < lines[0] < 2.6
    with pytest.raises(ValueError, match="false_alarm is 0"):
        false_alarm_line(0, 10)


# --- what elementary functions are allowed ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROPAGATED)
def test_what_elementary_functions_are_allowed_is_in_the_bias_and_counted(name: str) -> None:
    """Of inputs that are exponentials, off by seven unit roundoffs and a rounding. Where one of several may come out,
    or products are added, nothing is counted; a further function has its own, which is no less."""
    ball, noisy = (
        PROPAGATED[name][1](ar, *(ar.exp(ar.array(np.log(m))) for m in differentiated(name)[0]))
        for ar in (Balls("float32"), Noise("float32"))
    )
    there = ball.mid != 0
    least = float(np.min(np.broadcast_to(noisy.bias, ball.shape)[there] / np.abs(ball.mid[there]) / U32))
    uncounted = name.split()[0].rstrip(",") in ("dot", "convolution", "grouped", "relu", "branch", "where")
    if name in ("exp", "log", "log1p", "erf"):
        assert 7 == ball.library <= least
    else:
        room = 0.0 if uncounted else least * 2.0**-44  # 512 roundings of float64 in all that leads to `least`
        assert abs(ball.library - (0.0 if uncounted else least)) <= room


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_the_partial_sums_in_closed_form_are_those_of_the_straight_lines(n: int) -> None:
    """Term by term: from both ends and as one block, a further term before or after all others, and the bridges."""
    rng = np.random.default_rng(n)
    starts = _starts(n, SUM_BLOCKS)
    ends = [*starts[1:], n]
    for further in (None, 0.0, -3.0, 40.0):
        x = rng.normal(size=n) + rng.choice([-1.0, 0.0, 1.0])
        pieces = [x[a:b] for a, b in zip(starts, ends, strict=True)]
        ways = []
        for way in (pieces, pieces[::-1], [x]):
            for first in (0.0,) if further is None else (0.0, further):
                at, total = first, sum((len(p) - 1) / 6 * (p * p).sum() for p in way)
                for p in way:
                    total += np.square(at + p.sum() * np.arange(1, len(p) + 1) / len(p)).sum()
                    at += p.sum()
                ways.append(total + (0 if further is None or first else (at + further) ** 2))
        bridges = sum((len(p) - 1) / 6 * (p * p).sum() for p in pieces)
        found = _chain([*map(len, pieces)], [p.sum() for p in pieces], bridges, (x * x).sum(), further)
        assert abs(found**2 - max(ways)) <= n * 2.0**-50 * max(ways)


def test_a_bias_that_no_product_joins_is_exact() -> None:
    """Of two columns, three cells apart, padding cuts both off: no cell of the output has a product."""
    x, weight, bias = np.ones((1, 1, 3, 2), np.float32), np.ones((1, 1, 1, 1), np.float32), np.ones(1, np.float32)
    found = allowance("conv_transpose2d", x, weight, bias, stride=3, padding=1, model="float32").output
    assert (np.asarray(found.expected) == 0).all() and (np.asarray(found.worst) == 0).all()
    joined = allowance("conv_transpose2d", x, weight, bias, stride=3, padding=0, model="float32").output
    assert (np.asarray(joined.expected) > 0).any()
