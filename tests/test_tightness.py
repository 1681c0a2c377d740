"""The committed table of tightness: it covers everything, it holds its floor, and a part of it is measured again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from refnn.arithmetic.floats import Floats
from refnn.arithmetic.sequential import Sequential
from refnn.judging.cases import cases
from refnn.judging.judge import Judge
from refnn.models import model
from refnn.ops import OPS
from refnn.study.hostile import long_axes
from refnn.study.tightness import (
    DEVIATIONS,
    DTYPES,
    EXCEPTIONS,
    FLOOR,
    LONG,
    Coverage,
    Row,
    against_sequential,
    coverage,
    coverage_of_sums,
    evaluated,
    measure,
    merged,
    page,
    recorded,
)

PAGE = Path(__file__).parents[1] / "conformance" / "tightness.md"


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    lines = text.split(f"## {heading}\n", 1)[1].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    body = lines[start + 1 :]
    end = next((i for i, line in enumerate(body) if not line.startswith("|")), len(body))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body[:end]]


@pytest.fixture(scope="module")
def committed() -> list[list[str]]:
    return table(PAGE.read_text(encoding="utf-8"), "By op, dtype and family")


def test_the_committed_table_covers_every_op_and_dtype(committed: list[list[str]]) -> None:
    seen = {(row[0], row[1], row[2]) for row in committed}
    for op in OPS:
        for dtype in DTYPES:
            assert (op, dtype, "NumPy") in seen
            if dtype in ("float32", "float64"):
                assert (op, dtype, "PyTorch") in seen
    for name, op in OPS.items():
        summed = bool(long_axes(op))
        assert all(((name, dtype, "sequential") in seen) == summed for dtype in DTYPES)


def test_every_row_reaches_the_floor_unless_it_is_excepted(committed: list[list[str]]) -> None:
    checked = 0
    for op, dtype, library, _, elements, worst, *_ in committed:
        if op in EXCEPTIONS:
            assert float(worst or 0) == 0
            continue
        assert int(elements) > 0  # whose allowance is not zero: few where most is selected, or one sum was built
        assert FLOOR <= float(worst) <= 1, f"{op} {dtype} {library} reaches {worst}"
        checked += 1
    assert checked >= 60
    assert set(EXCEPTIONS) <= set(OPS)
    assert all(f"- {op}: {reason}" in PAGE.read_text(encoding="utf-8") for op, reason in EXCEPTIONS.items())


def test_the_header_names_versions_and_the_processor() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for what in ("refnn", "python", "numpy", "python-flint", "torch", "cpu"):
        assert re.search(rf"^- {what}: \S", text, re.MULTILINE), what


@pytest.mark.parametrize("op", ["linear", "softmax", "tanh", "mse_loss"])
def test_a_part_is_measured_again(op: str, committed: list[list[str]]) -> None:
    """NumPy's rows in float32: the floor holds here too, and the number of elements is the committed one."""
    (row,) = measure(OPS[op], "float32", "NumPy")
    (line,) = [r for r in committed if r[:3] == [op, "float32", "NumPy"]]
    assert FLOOR <= row.worst <= 1
    assert row.elements > 20_000
    written = dict(zip(sorted(row.families), line[6:], strict=False))
    assert set(written) == set(row.families)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", [n for n, op in OPS.items() if long_axes(op)])
def test_long_sums_reach_the_floor_against_their_order(op: str, dtype: str) -> None:
    row = Row(op, dtype, "sequential", dtype)
    for case in against_sequential(OPS[op], dtype, LONG[0]):
        row.add(case, model(dtype), evaluated(Sequential)(case))
    assert row.elements > 0
    assert FLOOR <= row.worst <= 1


def test_sequential_sums_are_sequential() -> None:
    """The running sum of 1 and values just below u never moves; NumPy's pairwise one does."""
    for dtype in (np.float16, np.float32, np.float64):
        x = np.full(1000, np.finfo(dtype).eps / 2 * 0.9, dtype)
        x[0] = 1
        assert Sequential(dtype, each_op=True).sum(x) == 1
        assert Sequential(dtype, each_op=True).dot(x[None], np.ones((1000, 1), dtype)) == 1
        assert Floats(dtype, each_op=True).sum(x) > 1


@pytest.mark.parametrize("op", EXCEPTIONS)
def test_an_exception_flags_one_ulp(op: str) -> None:
    """Its own proof: its allowance is zero, so one ulp is a violation."""
    checked = 0
    for case in cases(op, "float32", families=["normal"]):
        judge = Judge(case, model("float32"), "accurate", 5.0)
        got = evaluated(Floats)(case)
        for which in (0, 1):
            exact = np.asarray(got[which])
            off = np.nextafter(exact, np.float32(np.inf)).astype(np.float64)
            assert (judge.judge(which, exact.astype(np.float64)).code == 0).all()
            wrong = judge.judge(which, off)
            assert (wrong.allowed == 0).all()
            assert (wrong.code > 3).all()
            checked += exact.size
    assert checked > 1000


def test_a_much_wider_bound_falls_below_the_floor() -> None:
    """So that the floor can fail: float32 results against the bound of bfloat16."""
    rules = model("float32")
    wide = Row("mse_loss", "float32", "NumPy", "bfloat16-each-op")
    own = Row("mse_loss", "float32", "NumPy", "float32")
    for case in cases("mse_loss", "float32", families=["normal"]):
        results = evaluated(Floats)(case)
        own.add(case, rules, results)
        wide.add(case, model("bfloat16-each-op"), results)
    assert own.worst >= FLOOR > wide.worst


@pytest.mark.parametrize("op", ["softmax", "linear", "mse_loss", "sigmoid"])
def test_noise_covers_correct_elements(op: str) -> None:
    found = coverage(OPS[op], "float32", 100_000)
    assert found.elements >= 100_000
    for k, n in zip(DEVIATIONS, found.beyond, strict=True):
        assert n <= Coverage.normal(k) * found.elements, f"{n} of {found.elements} beyond {k} standard deviations"
    assert found.beyond[0] > 0  # the line is not out of reach


@pytest.mark.parametrize("backwards", [False, True])
def test_noise_covers_long_sums_one_term_after_the_other(backwards: bool) -> None:
    """The order with the largest errors; a deviation that was only right on average would have too long a tail."""
    found = coverage_of_sums(200, 100_000, backwards=backwards)
    for k, n in zip(DEVIATIONS, found.beyond, strict=True):
        assert n <= Coverage.normal(k) * found.elements
    assert found.beyond[0] > 0


def test_the_committed_coverage_is_of_a_million_elements() -> None:
    rows = table(PAGE.read_text(encoding="utf-8"), "Coverage of the expected error")
    counts = {row[0]: int(row[1]) for row in rows if row[1]}
    assert sum(n for name, n in counts.items() if name.endswith("float32") and name.split()[0] in OPS) >= 1_000_000
    ops = [row for row in rows if row[0].split()[0] in OPS]
    assert len(ops) == 2 * (len(OPS) - len(EXCEPTIONS))
    for row in (row for row in rows if row[1]):
        for k, share in zip(DEVIATIONS, row[2:], strict=True):
            assert float(share) <= Coverage.normal(k), row


def test_the_page_is_complete_markdown() -> None:
    rows = measure(OPS["relu"], "float32", "NumPy") + measure(OPS["tanh"], "float32", "NumPy")
    text = page(rows, [Coverage("tanh float32", 10, (1, 0, 0, 0, 0))], {"cpu": "a processor", "cpu_features": ["X"]})
    assert [r[0] for r in table(text, "By op, dtype and family")] == ["relu", "tanh"]
    assert "a processor" in text
    assert "cpu_features" not in text


def test_a_page_can_be_read_back() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(*recorded(text)) == text


def test_the_rows_of_one_op_are_measured_without_the_others(tmp_path: Path) -> None:
    """They take the place of what the page said of it; nothing else moves, and the page says where they are from."""
    text = PAGE.read_text(encoding="utf-8")
    rows, _, about = recorded(text)
    new = [Row("relu", r.dtype, r.library, r.model, 7, {"normal": 0.0}, {0: 0.0}) for r in rows if r.op == "relu"]
    seen = Coverage("tanh float32", 100, (10, 0, 0, 0, 0))
    made = page(*merged(text, ["relu"], new, [seen], about))
    old, now = (table(t, "By op, dtype and family") for t in (text, made))
    assert [r[:3] for r in now] == [r[:3] for r in old]
    assert all((a == b) == (a[0] != "relu") for a, b in zip(old, now, strict=True))
    assert "| tanh float32 | 100 | 0.1 | 0 | 0 | 0 | 0 |" in made and "measured later, relu" not in made
    assert "\n- measured later, relu: cpu another" in page(
        *merged(text, ["relu"], new, [], {**about, "cpu": "another"})
    )
