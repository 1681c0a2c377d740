"""The page about an implementation: every element is counted once, every kind of finding is there with its replay."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from test_report import failing, finding, result

from refnn.judging.cases import cases
from refnn.ops import OPS
from refnn.report import Report
from refnn.report.lines import loads

PAGE = Path(__file__).parents[1] / "conformance" / "pytorch-2.13.0-cpu.md"


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the table below a heading."""
    lines = text.split(f"## {heading}\n", 1)[1].split("\n## ")[0].splitlines()
    rows = [line for line in lines if line.startswith("|")][2:]
    return [[c.strip() for c in row.strip("|").split(" | ")] for row in rows]


def mixed() -> Report:
    report = failing()
    verdicts = {"exact": 1, "convention": 5, "explained": 7, "special": 2, "out_of_scope": 3}
    report.results.append(result("d/0", "grad[x]", op="tanh", verdicts=verdicts, seconds=1.5))
    report.findings += [
        finding("d/0", "convention", op="tanh", name="tanh'(0)=1", count=5),
        finding("d/0", "explained", op="tanh", name="textbook", ratio=2.0, got=0.5, count=6, replay="first"),
        finding("d/0", "explained", op="tanh", name="textbook", ratio=90.0, got=0.75, replay="second"),
        finding("d/0", "special", op="tanh", got=math.nan, ratio=math.nan, count=2, replay="third"),
    ]
    report.expected = {"d/0 grad[x] explained textbook": "it is y that is squared"}
    return report


def test_each_op_is_summed_up_in_a_row() -> None:
    text = mixed().to_findings()
    softmax, tanh = table(text, "By op")
    assert softmax == ["softmax", "30", "20.00%", "73.33%", "", "", "2 violation", ""]
    assert tanh == ["tanh", "15", "6.67%", "0.00%", "5 tanh'(0)=1", "7 textbook", "2 special", "3"]


def test_a_kind_is_shown_by_its_worst_with_reason_and_replay() -> None:
    text = mixed().to_findings()
    (explained,) = table(text, "What another algorithm explains")
    assert explained[:4] == ["tanh", "grad\\[x\\]", "explained \\[textbook\\]", "7 in float32"]
    assert "`0.75`" in explained[4] and "90 times the allowance" in explained[4]
    assert explained[5:] == ["it is y that is squared", "`second`"]
    violation, special = table(text, "What nothing explains")
    assert violation[0] == "softmax" and violation[5] == "**not expected**"
    assert special[2] == "special" and "`nan`" in special[4] and special[6] == "`third`"


def test_cases_elements_and_seconds_add_up() -> None:
    rows = table(mixed().to_findings(), "Cases and seconds")
    assert rows == [
        ["softmax", "float32", "2", "30", "0.8"],
        ["tanh", "float32", "1", "15", "1.5"],
        ["all", "", "3", "45", "2.2"],
    ]


def test_nothing_to_report_is_said() -> None:
    report = failing()
    report.findings.clear()
    assert report.to_findings().count("\nNothing.\n") == 2


def test_the_page_is_a_function_of_the_lines() -> None:
    report = mixed()
    assert loads(report.to_json()).to_findings() == report.to_findings()


# --- the committed page ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_the_committed_page_names_versions_and_the_processor(committed: str) -> None:
    for what in ("python", "numpy", "python-flint", "torch", "cpu"):
        assert f"\n| {what} | " in committed


def test_the_committed_counts_of_cases_are_those_of_the_ops(committed: str) -> None:
    written = {(op.replace("\\", ""), dtype): n for op, dtype, n, *_ in table(committed, "Cases and seconds")}
    pytest.importorskip("torch")
    from refnn.implementations.torch import unsupported
    from refnn.witnesses.torch import FUNCTIONS

    for op in OPS:
        for dtype in ("float32", "float64"):
            count = sum(unsupported(FUNCTIONS[op], c) is None for c in cases(op, dtype))
            assert written.get((op, dtype)) == f"{count:,}", f"{op} {dtype}: refnn report --out out; out/findings.md"


def test_a_committed_line_shows_its_finding_again(committed: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    rows = table(committed, "What nothing explains")
    (row,) = [r for r in rows if r[0] == "l1\\_loss" and r[1] == "grad\\[input\\]"]
    exec(row[6].strip("`"), {})
    assert "special: grad[input]" in capsys.readouterr().out


def test_every_committed_finding_has_a_reason_and_a_replay(committed: str) -> None:
    kinds = table(committed, "What another algorithm explains") + table(committed, "What nothing explains")
    assert len(kinds) > 5
    for row in kinds:
        assert row[6].startswith("`import refnn"), row
        assert row[5] != "**not expected**", row
