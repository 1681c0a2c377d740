"""The judge's finer points: certified rounding, the line of suspicion, findings gathered from many pieces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import judges
import numpy as np
import pytest

import refnn
from refnn.formats import FORMATS
from refnn.judging.cases import cases
from refnn.judging.judge import Judge
from refnn.judging.tally import Tally
from refnn.judging.verdict import NAMES
from refnn.models import model
from refnn.ops import OPS

HOSTILE = (0.0, 2.0**-60, 2.0**-40, 2.0**-25, 2.0**-20)  # how far from a midpoint, in units of the number


def judge(dtype: str) -> Judge:
    return Judge(next(cases("tanh", dtype, families=["normal"])), model(dtype), "accurate", 7.0)


@pytest.mark.parametrize("dtype", FORMATS)
def test_exact_is_certified_next_to_midpoints_too(dtype: str) -> None:
    """What is called exact is what Format.round says; casts through float32 get bfloat16 wrong there."""
    fmt, j = FORMATS[dtype], judge(dtype)
    rng = np.random.default_rng(0)
    certified = 0
    for _ in range(200):
        below = int(rng.integers(2 ** (fmt.precision - 1), 2**fmt.precision - 1))
        for offset in HOSTILE:
            for sign in (-1, 1):
                # A float64 near the middle of two neighbours; for float64 itself the middle is out of reach.
                value = (below + 0.5) * (1 + sign * offset) if fmt.precision < 53 else float(below)
                numerator, denominator = value.as_integer_ratio()
                right = fmt.round(numerator, 1 - denominator.bit_length())
                for got in (float(below), float(below + 1)):
                    claimed = j._correctly_rounded(np.array(got), np.array(value), np.array(0.0))
                    assert not (claimed and got != right), (got, value)
                    certified += bool(claimed)
    assert certified > 200


def test_nothing_is_exact_where_the_truth_is_wider_than_the_rounding() -> None:
    j = judge("float32")
    one = np.array(1.0)
    assert j._correctly_rounded(one, one, np.array(2.0**-30))
    assert not j._correctly_rounded(one, one, np.array(2.0**-23))
    assert not j._correctly_rounded(np.array(np.nan), one, np.array(0.0))


def test_codes_follow_the_order_of_verdicts() -> None:
    from refnn.report import OUT_OF_SCOPE, VERDICTS

    assert NAMES[: len(VERDICTS)] == VERDICTS
    assert NAMES[len(VERDICTS)] == OUT_OF_SCOPE


def test_findings_of_many_pieces_are_one_list_with_the_right_counts() -> None:
    x = np.linspace(-3, 3, 200_000, dtype=np.float32)
    wrong = np.tanh(x)
    wrong[::20_000] += np.float32(0.25)
    report = refnn.check("tanh", forward=lambda x: wrong, inputs=(x,))
    found = [f for f in report.findings if f.verdict == "violation"]
    assert report.count("violation") == 10
    assert sum(f.count for f in found) == 10
    assert len(found) == 3
    assert all(f.index[0] % 20_000 == 0 and f.inputs["x"] == x[f.index[0]] for f in found)
    assert [f.ratio for f in found] == sorted((f.ratio for f in found), reverse=True)
    assert report.elements == x.size


def test_the_histogram_counts_every_element_with_an_error() -> None:
    case = next(cases("softmax", "float32", families=["normal"]))
    op = case.op
    report = refnn.check(op, forward=op, vjp=op.vjp, inputs=case)
    for r in report.results:
        assert 0 < sum(r.histogram.values()) <= r.elements
        assert max(r.histogram) <= 0 and r.worst_ratio <= 2.0 ** (max(r.histogram) + 1)


def test_an_empty_result_has_no_verdicts() -> None:
    tally = Tally(("tanh/float32/normal/x=0x4", "tanh", "float32", "normal", "output"), FORMATS["float32"], "")
    assert tally.result().elements == 0 and tally.findings() == []


def test_a_class_explains_nothing_where_its_own_error_is_unbounded() -> None:
    """exp(x - y) with a rounded y of 1e38 may be anything: of that alone nothing is claimed or explained. Beside
    numbers of which the class does know something, garbage is no result of it."""

    def seven(g: Any, x: Any, **_: Any) -> Any:
        return (np.full_like(x, 7.0),)

    x = np.full((2, 3), 1e38, np.float32)
    garbage = refnn.check("logsumexp", vjp=seven, inputs=(x,))
    assert garbage.count("out_of_scope") == x.size and not garbage.findings and not garbage.ok
    x[1] = [1, 2, 3]
    garbage = refnn.check("logsumexp", vjp=seven, inputs=(x,))
    assert {f.verdict for f in garbage.findings} == {"violation"} and garbage.count("violation") == x.size


def test_no_class_makes_nan_of_an_infinity() -> None:
    """Classes whose own evaluation is infinity minus infinity do not excuse NaN where the loss is infinite."""
    found = cases(OPS["binary_cross_entropy_with_logits"], "float32", families=["nonfinite"])
    j = Judge(next(c for c in found if c.params["reduction"] == "none"), model("float32"), "accurate", 7.0)
    truth = j.worst.results[0][0]
    infinite = np.isinf(truth)
    assert infinite.sum() > 10
    assert (j.judge(0, truth).code[infinite] == NAMES.index("exact")).all()
    assert (j.judge(0, np.where(infinite, np.nan, truth)).code[infinite] == NAMES.index("special")).all()


@pytest.mark.parametrize("name", ["float32", "float32-ftz"])
def test_judges_share_what_depends_on_the_numbers_and_nothing_else(name: str) -> None:
    """The helper of the tests: other numbers under the same id, and other algorithms, get a judge of their own."""
    (case, *_) = cases("softmax", "float32", families=["normal"])
    other = replace(case, inputs=tuple(None if x is None else x + x for x in case.inputs))
    rules = model(name)
    first, again, wider = (judges.judge(case, rules, "accurate", line) for line in (1.0, 1.0, 2.0))
    assert first.worst is again.worst is wider.worst and (again.line, wider.line) == (1.0, 2.0)
    for asked, algorithm in ((other, "accurate"), (case, next(iter(case.op.algorithms)))):
        shared, own = judges.judge(asked, rules, algorithm, 1.0), Judge(asked, rules, algorithm, 1.0)
        y = np.asarray(asked.op(*asked.inputs, **asked.params), np.float64)
        for a, b in ((shared.judge(0, y), own.judge(0, y)), (shared.judge(0, 2 * y), own.judge(0, 2 * y))):
            assert a.code.tobytes() == b.code.tobytes() and a.expected.tobytes() == b.expected.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        first.worst.results[0][0][...] = 0  # type: ignore[index]
