"""The certified limits: against numbers from independent code, NumPy's own arithmetic, mpmath, and PyTorch."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from marks import slow

import refnn
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.rounded import Rounded, correctly_rounded
from refnn.formats import FORMATS, Format
from refnn.limits.rules import RULES, TERMS
from refnn.limits.search import Edge, bisect, edge, edges, holds
from refnn.limits.softmaxes import SOFTMAXES, functions, limit_of
from refnn.limits.subjects import Probe, probe
from refnn.models import model

# Every operation in the format named: the models of the tables below.
EACH = {"float16": "float16-each-op", "bfloat16": "bfloat16-each-op", "float32": "float32", "float64": "float64"}
MODELS = (*EACH.values(), "float16", "bfloat16")

# Computed once by other code (400-bit balls, its own rounding and bisection), in the order of FORMATS. "last" or "next"
# says which side of an edge it is.
INDEPENDENT: dict[tuple[str, str], tuple[str, str, str, str]] = {
    ("exp-finite", "last"): ("0x1.62cp+3", "0x1.62p+6", "0x1.62e42ep+6", "0x1.62e42fefa39efp+9"),
    ("exp-finite", "next"): ("0x1.63p+3", "0x1.64p+6", "0x1.62e430p+6", "0x1.62e42fefa39f0p+9"),
    ("exp-nonzero", "last"): ("-0x1.154p+4", "-0x1.72p+6", "-0x1.9fe368p+6", "-0x1.74910d52d3051p+9"),
    ("exp-subnormal", "last"): ("-0x1.0ap+4", "-0x1.7p+6", "-0x1.9d1d9ep+6", "-0x1.74385446d71c3p+9"),
    ("exp-normal", "last"): ("-0x1.368p+3", "-0x1.5cp+6", "-0x1.5d589ep+6", "-0x1.6232bdd7abcd2p+9"),
    ("exp-one-below", "last"): ("-0x1p-12", "-0x1p-9", "-0x1p-25", "-0x1p-54"),
    ("exp-one-above", "last"): ("0x1.ffcp-12", "0x1.fep-9", "0x1.fffffep-25", "0x1.fffffffffffffp-54"),
    ("sigmoid-one", "next"): ("0x1.0a4p+3", "0x1.9p+2", "0x1.154246p+4", "0x1.2b708872320e2p+5"),
    ("tanh-one", "next"): ("0x1.208p+2", "0x1.bcp+1", "0x1.205968p+3", "0x1.30fc1931f09cap+4"),
    ("erf-one", "next"): ("0x1.4c4p+1", "0x1.1ap+1", "0x1.f5a88ap+1", "0x1.7afb48dc96627p+2"),
    ("sum-2", "last"): ("0x1.4c8p+3", "0x1.6p+6", "0x1.601e66p+6", "0x1.628b76e3a7b60p+9"),
    ("sum-10", "last"): ("0x1.19p+3", "0x1.58p+6", "0x1.59ae56p+6", "0x1.61bd74d3e849ap+9"),
    ("sum-1000", "last"): ("0x1.0b8p+2", "0x1.46p+6", "0x1.4742a4p+6", "0x1.5f6ffe9c719efp+9"),
    ("sum-50257", "last"): ("0x1.0f8p-2", "0x1.36p+6", "0x1.37977cp+6", "0x1.5d7a9971f3e8cp+9"),
    ("sum-128256", "last"): ("-0x1.58p-1", "0x1.32p+6", "0x1.33d81ep+6", "0x1.5d02add01834bp+9"),
    ("sum-of-ones", "next"): ("0x1p+11", "0x1p+8", "0x1p+24", "0x1p+53"),
}


@pytest.mark.parametrize("name", INDEPENDENT, ids="/".join)
def test_the_limits_agree_with_independent_code_to_the_bit(name: tuple[str, str]) -> None:
    for rules, expected in zip(EACH.values(), INDEPENDENT[name], strict=True):
        assert getattr(edge(name[0], rules), name[1]) == float.fromhex(expected), rules


# The gap at which -log(softmax(0, -gap)) becomes infinite, from the logarithm of half the smallest subnormal number or,
# flushed, of the smallest normal one; six digits, from the same independent code.
INFINITE = {
    "float32": 103.972,
    "float16-each-op": 17.3287,
    "bfloat16-each-op": 92.88,
    "float64": 745.133,
    "float32-ftz": 87.3365,
    "float16-each-op-ftz": 9.7041,
    "bfloat16-each-op-ftz": 87.3365,
    "float64-ftz": 708.396,
}


@pytest.mark.parametrize("rules", INFINITE)
def test_the_logarithm_of_softmax_becomes_infinite_where_the_probability_vanishes(rules: str) -> None:
    e = edge("log-of-softmax-finite", rules)
    unit = 10.0 ** -(6 - len(str(int(INFINITE[rules])))) if rules != "bfloat16-each-op" else 0.01
    assert e.last <= INFINITE[rules] + unit and e.next >= INFINITE[rules] - unit
    assert e.next - e.last == model(rules).storage.ulp(e.last)


def test_what_is_half_of_a_limit_or_twice_one_is_noticed() -> None:
    """The table is a witness only if it can contradict: a neighbour of each value does."""
    for (name, side), values in INDEPENDENT.items():
        for (dtype, rules), expected in zip(EACH.items(), values, strict=True):
            fmt = FORMATS[dtype]
            beside = fmt.number(fmt.index(float.fromhex(expected)) + 1)
            assert getattr(edge(name, rules), side) != beside


# --- bit patterns ----------------------------------------------------------------------------------------------------

formats = st.sampled_from([*FORMATS.values()])


def whole(fmt: Format) -> type:
    return {2: np.int16, 4: np.int32, 8: np.int64}[fmt.dtype.itemsize]


@settings(deadline=None)
@given(formats, st.integers(-(2**63), 2**63 - 1))
def test_the_order_of_numbers_is_that_of_their_bits(fmt: Format, bits: int) -> None:
    """NumPy and ml_dtypes as the witness: the bits of a magnitude, read as an integer."""
    pattern = np.array(bits % 2 ** (8 * fmt.dtype.itemsize - 1)).astype(whole(fmt))
    with np.errstate(invalid="ignore"):  # signalling NaN
        x = pattern.view(fmt.dtype).astype(np.float64)
    if not np.isnan(x):
        assert fmt.number(int(pattern)) == x and fmt.number(-int(pattern)) == -x
        assert fmt.index(float(x)) == pattern and fmt.index(-float(x)) == -pattern
        assert np.isinf(x) or fmt.number(int(pattern) + 1) > x


@pytest.mark.parametrize("x", [math.nan, 1e300, 1 + 2**-20, 1e-30])
def test_what_is_no_number_of_a_format_has_no_index(x: float) -> None:
    with pytest.raises(ValueError, match="no number of float16"):
        FORMATS["float16"].index(x)


RULE = {r.name: r for r in RULES}
LIGHT = sorted(RULE)


@settings(deadline=None)
@given(st.sampled_from(LIGHT), st.sampled_from([*MODELS, "float32-ftz", "float64-ftz"]), st.data())
def test_a_limit_is_the_only_place_where_the_answer_changes(name: str, rules: str, data: st.DataObject) -> None:
    """Any bit pattern on the near side answers yes, any on the far side no: bisection found all there is to find."""
    e, fmt = edge(name, rules), model(rules).storage
    start, end, last = fmt.index(max(RULE[name].start, -fmt.max)), fmt.index(math.copysign(fmt.max, e.next)), None
    last = fmt.index(e.last)
    inside = data.draw(st.integers(min(start, last), max(start, last)))
    assert holds(RULE[name], model(rules), fmt.number(inside))
    if math.isfinite(e.next):
        after = fmt.index(e.next)
        outside = data.draw(st.integers(min(after, end), max(after, end)))
        assert not holds(RULE[name], model(rules), fmt.number(outside))


@pytest.mark.parametrize(
    "name", ["exp-finite", "exp-nonzero", "naive-nonzero", "log-softmax-nonzero", "bce-of-sigmoid-finite"]
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_numbers_of_16_bits_are_on_their_side(name: str, dtype: str) -> None:
    """Every 31st number of the direction and the hundred about the edge."""
    e, fmt, rule = edge(name, EACH[dtype]), FORMATS[dtype], RULE[name]
    about = abs(fmt.index(e.last))
    places = sorted({*range(0, fmt.index(fmt.max) + 1, 31), *range(about - 50, about + 50)})
    answers = [holds(rule, model(EACH[dtype]), fmt.number(rule.direction * i)) for i in places]
    assert answers == [i <= about for i in places]


# --- correctly rounded arithmetic ------------------------------------------------------------------------------------


def numbers(fmt: Format) -> st.SearchStrategy[float]:
    top = fmt.index(fmt.max)
    return st.integers(-top, top).map(fmt.number)


@settings(deadline=None)
@given(formats.filter(lambda f: f.precision in (24, 53)), st.data())
def test_operators_round_as_the_processor_does(fmt: Format, data: st.DataObject) -> None:
    a, b = data.draw(numbers(fmt)), data.draw(numbers(fmt))
    ar, kind = Rounded(fmt.name), fmt.dtype.type
    x, y = ar.number(a), ar.number(b)
    with np.errstate(all="ignore"):
        expected = (kind(a) + kind(b), kind(a) - kind(b), kind(a) * kind(b), kind(a) / kind(b))
    assert [float(v).hex() for v in (x + y, x - y, x * y, x / y)] == [float(v).hex() for v in expected]


@settings(deadline=None)
@given(formats, st.data())
def test_operators_round_the_exact_result(fmt: Format, data: st.DataObject) -> None:
    a, b = data.draw(numbers(fmt)), data.draw(numbers(fmt))
    ar = Rounded(EACH[fmt.name])
    x, y = ar.number(a), ar.number(b)
    for got, exact in ((x + y, Fraction(a) + Fraction(b)), (x * y, Fraction(a) * Fraction(b))):
        assert float(got) == fmt.round(exact.numerator, 1 - exact.denominator.bit_length())


MP = {"exp": mpmath.exp, "expm1": mpmath.expm1, "log": mpmath.log, "log1p": mpmath.log1p, "tanh": mpmath.tanh}
MP |= {"erf": mpmath.erf, "erfc": mpmath.erfc}


@settings(deadline=None)
@given(st.sampled_from(sorted(MP)), formats, st.data())
@example("exp", FORMATS["float32"], None)
def test_functions_are_correctly_rounded(name: str, fmt: Format, data: st.DataObject | None) -> None:
    """mpmath as the witness: no number of the format is nearer."""
    low = {"log": 1, "log1p": fmt.index(-1.0) + 1}.get(name, fmt.index(-800.0 if fmt.precision == 53 else -100.0))
    x = 1.0 if data is None else fmt.number(data.draw(st.integers(low, -low if low < 0 else fmt.index(fmt.max))))
    got = correctly_rounded(name, x, fmt)
    with mpmath.workprec(3000):
        exact = MP[name](mpmath.mpf(x))
        if math.isinf(got):
            threshold = fmt.overflow_threshold
            assert abs(exact) * threshold.denominator >= threshold.numerator
            return
        error = abs(exact - mpmath.mpf(got))
        for beside in (fmt.number(fmt.index(got) - 1), fmt.number(fmt.index(got) + 1)):
            assert math.isinf(beside) or error <= abs(exact - mpmath.mpf(beside))


@pytest.mark.parametrize("name", ["exp", "expm1", "tanh", "erf", "erfc", "log", "log1p"])
def test_functions_have_their_limits_and_no_value_outside_their_domain(name: str) -> None:
    """As the C library has them, which Python's math asks."""
    outside = (-2.0, -1.0) if name.startswith("log") else ()
    for x in (-math.inf, -0.0, 0.0, math.inf, math.nan, *outside):
        try:
            expected = getattr(math, name)(x)
        except ValueError:  # where the library has NaN, or minus infinity at the end of the domain
            expected = -math.inf if x == (0 if name == "log" else -1) else math.nan
        assert str(correctly_rounded(name, x, FORMATS["float64"])) == str(expected), x  # of zeros the sign, too


def test_rounded_has_ieee_answers_where_python_raises() -> None:
    ar = Rounded("float32")
    zero, one, infinite = ar.number(0.0), ar.number(1.0), ar.number(math.inf)
    assert math.isnan(zero / zero) and one / zero == math.inf and one / -zero == -math.inf
    assert math.isnan(infinite - infinite) and math.isnan(infinite * zero) and math.isnan(infinite / infinite)
    rows = np.array([[0.0, -math.inf, math.nan], [1.0, math.nan, 2.0], [-math.inf, -math.inf, -math.inf]])
    x = ar.array(rows)
    functions = [[float(v) for v in f(x[0]).ravel()] for f in (ar.exp, ar.log, ar.tanh, ar.erf, ar.erfc, ar.log1p)]
    expected = [[1, 0], [-math.inf, math.nan], [0, -1], [0, -1], [1, 2], [0, math.nan]]
    assert str(functions) == str([[*map(float, e), math.nan] for e in expected])
    with np.errstate(invalid="ignore"):
        assert np.isnan(refnn.softmax.forward_definition(ar, x).astype(float)).all()


@pytest.mark.parametrize("dtype", FORMATS)
def test_flushing_takes_subnormal_numbers_for_zeros_of_their_sign(dtype: str) -> None:
    fmt = FORMATS[dtype]
    gradual, flushed = Rounded(EACH[dtype]), Rounded(f"{EACH[dtype]}-ftz")
    below = fmt.number(fmt.index(fmt.smallest_normal) - 1)
    assert gradual.number(-below) == -below and flushed.number(fmt.smallest_normal) == fmt.smallest_normal
    assert flushed.number(-below) == 0 and math.copysign(1, flushed.number(-below)) == -1
    assert edge("exp-nonzero", f"{EACH[dtype]}-ftz").last == edge("exp-normal", EACH[dtype]).last
    assert edge("exp-finite", f"{EACH[dtype]}-ftz").last == edge("exp-finite", EACH[dtype]).last


# --- what a limit says -----------------------------------------------------------------------------------------------

LOST = (
    "log-softmax-nonzero",
    "logsumexp-nonzero",
    "cross-entropy-nonzero",
    "log-1-exp-nonzero",
    "bce-of-sigmoid-nonzero",
)


@pytest.mark.parametrize("name", LOST)
@pytest.mark.parametrize("rules", MODELS)
def test_where_everything_is_lost_the_relative_error_is_one(name: str, rules: str) -> None:
    """And on the near side it is less, perhaps not by much: the true value is log(1 + exp(-|x|)) in all of them."""
    e, p = edge(name, rules), RULE[name].question
    assert isinstance(p, Probe)
    for x, whole in ((e.last, False), (e.next, True)):
        with mpmath.workprec(300):
            true = mpmath.log1p(mpmath.exp(-abs(mpmath.mpf(x))))
            got = abs(mpmath.mpf(probe(Rounded(rules), p, x)))
            assert (abs(got - true) >= true) == whole


@pytest.mark.parametrize("rules", MODELS)
@pytest.mark.parametrize("terms", TERMS)
def test_the_grey_zone_holds_what_orders_and_ulps_can_do(terms: int, rules: str) -> None:
    """Sums of equal terms in three orders, the terms a few ulps off: below the zone none overflows, above it all do."""
    chosen, e = model(rules), edge(f"sum-{terms}", rules)
    fmt, inner = chosen.storage, chosen.accumulate
    low, high = e.grey or (e.next, e.last)
    below, above = fmt.number(fmt.index(low) - 1), fmt.number(fmt.index(high) + 1)
    assert below <= e.last and e.next <= above
    for x, finite in ((below, True), (above, False)):
        term = correctly_rounded("exp", x, inner)
        for steps in (-4, 4):
            off = inner.number(inner.index(term) + steps) if math.isfinite(term) else term
            if math.isfinite(off):
                assert math.isfinite(pairwise(off, terms, inner)) == finite
                if terms <= 1000:
                    assert math.isfinite(sequential(off, terms, inner)) == finite


def rounded_sum(a: float, b: float, fmt: Format) -> float:
    if math.isinf(a) or math.isinf(b):
        return math.inf
    exact = Fraction(a) + Fraction(b)
    return fmt.round(exact.numerator, 1 - exact.denominator.bit_length())


def pairwise(term: float, count: int, fmt: Format) -> float:
    """The sum of equal terms by halves; equal halves are computed once."""
    if count == 1:
        return term
    small = pairwise(term, count // 2, fmt)
    return rounded_sum(small, small if count % 2 == 0 else pairwise(term, count - count // 2, fmt), fmt)


def sequential(term: float, count: int, fmt: Format) -> float:
    total = term
    for _ in range(count - 1):
        total = rounded_sum(total, term, fmt)
    return total


def test_a_sum_in_float16_has_a_grey_zone_and_a_long_one_a_wide_one() -> None:
    ten, many = edge("sum-10", "float16-each-op").grey, edge("sum-1000", "float16-each-op").grey
    assert ten is not None and many is not None and many[1] - many[0] > ten[1] - ten[0]


def test_an_unknown_limit_or_model_gets_a_sentence() -> None:
    with pytest.raises(LookupError, match="unknown limit 'exp-infinite'"):
        edge("exp-infinite", "float32")
    with pytest.raises(ValueError, match="float31"):
        edges("float31")
    with pytest.raises(ValueError, match="false at the start already"):
        bisect(FORMATS["float32"], lambda x: x > 1, 0.0, 1)


def test_every_rule_has_a_name_of_its_own_and_an_edge_of_neighbours() -> None:
    assert len(RULE) == len(RULES)
    for rules in MODELS:
        fmt = model(rules).storage
        for e in edges(rules):
            assert isinstance(e, Edge) and abs(fmt.index(e.next) - fmt.index(e.last)) == 1
            assert e.grey is None or e.grey[0] <= e.grey[1]


# --- four softmaxes --------------------------------------------------------------------------------------------------


def test_the_limits_of_the_sources_are_those_they_print() -> None:
    assert {d: limit_of(f) for d, f in FORMATS.items()} == {
        "float16": 11,
        "bfloat16": 88,
        "float32": 88,
        "float64": 709,
    }


@pytest.mark.system("S8")
def test_the_limits_of_the_audit() -> None:
    """Numbers of the audit of the sources, from other code: the last whose exponential is finite, or not zero, with its
    neighbour; the last that gives a normal number; the last of which M exponentials have a finite sum, to two decimals,
    which is ln(max) - ln M."""
    printed = {
        ("exp-finite", "float32"): (88.72283172607422, 88.72283935546875),
        ("exp-finite", "float64"): (709.782712893384, 709.7827128933841),
        ("exp-nonzero", "float32"): (-103.97207641601562, -103.97208404541016),
        ("exp-nonzero", "float64"): (-745.1332191019411, -745.1332191019412),
    }
    assert {(n, d): (edge(n, d).last, edge(n, d).next) for n, d in printed} == printed
    assert round(edge("exp-normal", "float32").last, 5) == -87.33654
    assert round(edge("exp-normal", "float64").last, 11) == -708.39641853226
    for dtype, ends in (("float32", (88.03, 86.42, 81.82)), ("float64", (709.09, 707.48, 702.87))):
        assert [round(edge(f"sum-{terms}", dtype).last, 2) for terms in (2, 10, 1000)] == [*ends]
        for terms, top in zip((2, 10, 1000), ends, strict=True):
            assert round(math.log(FORMATS[dtype].max) - math.log(terms), 2) == top


def test_scaling_changes_the_distribution() -> None:
    """Values of the audit of the sources, from other code."""
    scaled = functions("scaled")[0]
    first, second = np.array([1000.0, 999.0, 990.0]), np.array([-1000.0, -1001.0])
    assert np.round(scaled(first), 5).tolist() == [0.66981, 0.32964, 0.00056]
    assert np.round(refnn.softmax(first), 5).tolist() == [0.73103, 0.26893, 0.00003]
    assert scaled(first.astype(np.float32)).tolist() == [0, 0, 0]
    assert np.round(scaled(second.astype(np.float32)), 4).tolist() == np.float32([0.5220, 0.4780]).tolist()
    assert np.round(refnn.softmax(second), 4).tolist() == [0.7311, 0.2689]


def test_three_scores_at_the_limit_that_the_sources_print_overflow_the_sum() -> None:
    for dtype, score in ((np.float32, 88), (np.float64, 709)):
        scores = np.full(3, score, dtype)
        assert functions("naive")[0](scores).tolist() == [0, 0, 0]
        assert refnn.softmax(scores).tolist() == [dtype(1) / dtype(3)] * 3


def test_the_gradient_of_a_scaled_softmax_is_not_y_minus_t() -> None:
    """Scores scaled to 88, class 1: the loss and its gradient with the scale held constant, y - t of the scaled
    outputs, and the truth; values of the audit, from autograd."""
    (forward, vjp), ar = SOFTMAXES["scaled"], Floats()
    scores, t = np.array([1000.0, 999.0, 990.0]), np.array([0.0, 1.0, 0.0])
    y = forward(ar, scores, limit=88)
    (gradient,) = vjp(ar, -t / y, y, scores, limit=88)
    truth = refnn.cross_entropy.vjp(np.array(1.0), scores[None], t[None])[0][0]
    assert np.round([-np.log(y[1]), refnn.cross_entropy(scores[None], t[None])], 4).tolist() == [0.9341, 1.3133]
    assert np.round(gradient, 4).tolist() == [0.0378, -0.0534, 0.0157]
    assert np.round(y - t, 4).tolist() == [0.4291, -0.6071, 0.1780]
    assert np.round(truth, 4).tolist() == [0.7310, -0.7311, 0.0000]


@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize("dtype", slow(["float32", "float64"], "float64"))
def test_sound_softmaxes_conform_and_the_others_are_found_out(name: str, dtype: str) -> None:
    forward, pull = functions(name)
    report = refnn.check("softmax", forward=forward, vjp=pull, dtype=dtype)
    assert report.ok == (name in ("shifted", "online")), str(report)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(
    ("name", "rule", "row"),
    [
        ("naive", "naive-number", lambda x: (x, 0.0)),
        ("naive", "naive-nonzero", lambda x: (x, x)),
        ("naive", "naive-below", lambda x: (x, x)),
        ("scaled", "scaled-nonzero", lambda x: (x, x, x)),
    ],
)
def test_a_softmax_is_flagged_from_the_limit_on_and_not_before(dtype: str, name: str, rule: str, row: object) -> None:
    """One step on either side of where theory says; NumPy computes, with its own exp."""
    e = edge(rule, EACH[dtype])
    forward, pull = functions(name)
    for x, fine in ((e.last, True), (e.next, False)):
        x_row = np.array([row(x)]).astype(FORMATS[dtype].dtype)  # type: ignore[operator]
        g = np.array([[1.0, *[0.0] * (x_row.size - 1)]]).astype(x_row.dtype)
        for inputs in ((x_row,), (np.concatenate([np.zeros_like(x_row), x_row, -np.ones_like(x_row)]),)):
            cotangent = np.tile(g, (len(inputs[0]), 1))
            case = {"inputs": inputs, "cotangent": cotangent}
            report = refnn.check("softmax", forward=forward, vjp=pull, inputs=case, dtype=dtype, model=EACH[dtype])
            assert report.ok == fine, f"{x!r}: {report}"
            if not fine:
                assert {f.what for f in report.findings} >= {"output"}
                assert {f.index[0] for f in report.findings} == {len(inputs[0]) // 2}
