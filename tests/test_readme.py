"""What the README shows is true: its Python runs, its commands are those of CI."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from refnn.study.power import summary

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_python_runs(block: str) -> None:
    exec(compile(block, "README.md", "exec"), {})


def test_an_op_of_ones_own_is_checked_as_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [b for b in BLOCKS if "bias_silu" in b]
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert "violation: grad[bias]" in capsys.readouterr().out
    finding = next(f for f in names["report"].findings if f.verdict == "violation")
    again = {"op": names["bias_silu"], "f": names["kernel"], "v": lambda g, x, b: (g, g.sum(0))}
    exec(finding.replay, again)
    assert f"of {finding.case}" in (said := capsys.readouterr().out) and "\n    got      " in said


def test_there_is_python_to_run() -> None:
    assert len(BLOCKS) >= 3


def test_the_set_up_commands_stand_there_word_for_word() -> None:
    assert "    python -m pip install -c constraints.txt '.[report,torch]' && refnn report\n" in README
    assert "    python -m pip install -c constraints.txt -e '.[test]' && python -m pytest\n" in README


def test_the_files_it_names_exist() -> None:
    for path in re.findall(r"`((?:conformance|benchmarks|refnn)/[\w./-]+)`|\]\(([\w./-]+)\)", README):
        assert (ROOT / "".join(path)).exists(), path


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_architecture_is_one_click_away(page: str) -> None:
    assert "[ARCHITECTURE.md](ARCHITECTURE.md)" in (ROOT / page).read_text()


POWER = ROOT / "conformance" / "power"


@pytest.mark.parametrize("page", [ROOT / "README.md", POWER / "README.md"], ids=["README", "power"])
def test_the_scores_are_those_of_the_committed_runs(page: Path) -> None:
    """`python -m refnn.study.power.summary` would write the same tables again."""
    text = page.read_text()
    assert "<!-- scores -->\n\n| killed of 214 | refnn |" in text and "<!-- alarms -->\n\n" in text
    assert ("<!-- evasions -->\n\n| condition | evasions |" in text) == (page.parent == POWER)
    assert summary.renewed(text, summary.blocks()) == text


def test_the_tables_are_made_of_the_committed_runs() -> None:
    """By hand, from what `refnn power` wrote: of all mutants, for each checker in the order of the table."""
    made = summary.blocks()
    for name, title in (("first", "first score"), ("last", "last score, with new shapes for all")):
        (row,) = re.findall(r"\| \*\*all\*\* \|(.*)\|", (POWER / f"{name}.md").read_text())
        killed = re.findall(r"\*\*(\d+)/(\d+)\*\*", row)
        assert len(killed) >= 7
        shown = [k if n == "214" else f"{k} of {n}" for k, n in killed]
        assert f"| {title} | {' | '.join(shown)} |" in made["scores"]


RUN = """
| killed / wrong | refnn | assert_close | new |
|---|---|---|---|
| losses | 3/3 | 2/3 | 1/2 |
| **all** | **3/3** | **2/3** | **1/2** |
| objections to right implementations | 0/5 | 1/5 | 2/4 |
| seconds of processor time | 7 | 2 | 1 |
"""


def test_a_checker_that_is_new_is_blank_in_the_first_score_and_says_what_it_covers() -> None:
    early = "\n".join(line.rsplit("|", 2)[0] + "|" for line in RUN.split("\n") if line).replace("3/3", "2/3")
    assert summary.scores(early, RUN).split("\n") == [
        "",
        "| killed of 3 | refnn | assert_close | new |",
        "|---|---|---|---|",
        "| first score | 2 | 2 |  |",
        "| last score, with new shapes for all | 3 | 2 | 1 of 2 |",
        "| objections to right ones | 0 of 5 | 1 of 5 | 2 of 4 |",
        "| seconds of processor time | 7 | 2 | 1 |",
    ]
    assert summary.families(early, RUN).split("\n")[3:] == ["| losses | 3 | 2 | 2 | 3 | 2 |"]


def test_false_alarms_are_told_where_there_are_any() -> None:
    line = "**3 false alarms in 1,000 checks** of 20 right implementations of 2 ops (600 in float32, 400 in float64; 9)"
    assert summary.alarms(line) == (
        "\n3 false alarms in 1,000 checks of 20 right implementations (600 in float32, 400 in float64)."
    )
    with pytest.raises(ValueError, match=r"alarms\.md has no line"):
        summary.alarms("nothing")


@pytest.mark.parametrize("page", [ROOT / "README.md", POWER / "README.md"], ids=["README", "power"])
def test_counts_and_ratios_are_those_of_the_committed_runs(page: Path) -> None:
    text = " ".join(page.read_text().split())
    alarms, results = (POWER / "alarms.md").read_text(), (ROOT / "benchmarks" / "RESULTS.md").read_text()
    ((checks, pairs),) = re.findall(r"in ([\d,]+) checks\*\* of (\d+) right", alarms)
    (slow,) = re.findall(r"gradcheck slow \| (\d+) times", results)
    (fast,) = re.findall(r"gradcheck fast \| 1/([\d.]+) of", results)
    assert checks in text and f"{pairs} right implementations" in text
    assert f"{slow} times as fast as slow gradcheck" in text
    assert re.search(rf"and ({fast}|{float(fast):.0f}) times as slow|, {fast} times as slow", text)


def test_the_mutation_score_is_that_of_the_committed_run() -> None:
    text = " ".join((POWER / "README.md").read_text().split())
    page = (POWER / "mutation.md").read_text()
    ((drawn, killed, counted, score, low, high),) = re.findall(
        r"\*\*, not all: (\d+) mutants .* Killed: (\d+) of (\d+), \*\*([\d.]+)%\*\*; ([\d.]+)% to ([\d.]+)%", page
    )
    assert f"a sample of {drawn} mutants, {killed} are killed and {int(drawn) - int(counted)} change nothing" in text
    assert f"a score of {score} % ({low} % to {high} % at 95 % confidence)" in text


def rows(text: str) -> dict[str, list[str]]:
    """The rows of the tables of a page of Markdown, by their first cells."""
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {first: rest for first, *rest in cells}


def test_the_sensitivities_are_those_of_the_committed_run() -> None:
    """README.md has a table of it, conformance/power/README.md the four side by side, float32 / float64."""
    whole = (ROOT / "benchmarks" / "SENSITIVITY.md").read_text()
    tables = {part.split("\n")[0]: rows(part) for part in whole.split("\n## ")[1:]}
    assert list(tables) == ["conv2d", "digits_mlp", "digits_odd", "digits_cnn"]
    for label in tables["digits_mlp"].keys() - {"checker", "---"}:
        assert rows(README)[label] == tables["digits_mlp"][label]
    assert "objects at 0" not in whole
    shown = rows((POWER / "README.md").read_text())
    refnn = {"refnn, its default check": ("refnn",)}
    refnn |= {"refnn, one case; a batch stepwise": ("one case", "stepwise"), "refnn, end to end": ("end to end",)}
    others = ("gradcheck slow", "gradcheck fast", "assert_close", "tinygrad", "Liger")
    for label, parts in {**refnn, **{name: (name,) for name in others}}.items():
        for cell, table in zip(shown[label], tables.values(), strict=True):
            found = [cells for name, cells in table.items() if name.removeprefix("refnn, ").startswith(parts)]
            short = [c.split(" (")[0].replace("needs float64", "-") for c in found[0]] if found else []
            assert cell == " / ".join(short), label
