"""The mutation score: what counts as a mutant, which tests it meets, and what the page says of it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("mutmut", reason="the benchmark extra is not installed")
pytest.importorskip("coverage", reason="the benchmark extra is not installed")

ROOT = Path(__file__).parents[1]


@pytest.fixture
def mutation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, over a tree of one function and its test."""
    spec = importlib.util.spec_from_file_location("mutation", ROOT / "benchmarks" / "mutation.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tree = tmp_path / "tree"
    (tree / "tests").mkdir(parents=True)
    (tree / "larger.py").write_text(
        'def larger(a: int, b: int) -> int:\n    if a < 0:\n        raise ValueError("a is negative")\n'
        "    return a if a > b else b\n"
    )
    (tree / "tests" / "test_code.py").write_text(
        "from larger import larger\n\ndef test_larger():\n    assert (larger(1, 2), larger(2, 1)) == (2, 2)\n"
    )
    monkeypatch.setattr(module, "ROOT", tree)
    return module


def test_what_no_test_could_see_is_no_mutant(mutation: ModuleType) -> None:
    changes = {(m.line, m.before, m.after) for m in mutation.mutants("larger.py")}
    assert (4, "> b", ">= b") in changes and (2, "< 0", "<= 0") in changes
    assert not any(line == 3 for line, *_ in changes), "the text of an error"


def test_a_kill_and_a_survivor_are_told_apart(mutation: ModuleType, tmp_path: Path) -> None:
    tree, every = mutation.Tree(tmp_path / "copy"), mutation.mutants("larger.py")
    found = {
        m.after: tree.failing(["tests/test_code.py::test_larger"], 60, "larger.py", make().code)
        for m, make in every.items()
        if m.line == 4
    }
    assert found[">= b"] == "", "either is the larger one where they are equal"
    assert found["a if (a > b) or True else b"] == "tests/test_code.py::test_larger"
    assert tree.failing(["tests/test_code.py::test_larger"], 60) == "", "and the change is taken back"


def test_a_mutant_that_cannot_be_imported_is_killed(mutation: ModuleType, tmp_path: Path) -> None:
    tree = mutation.Tree(tmp_path / "copy")
    assert tree.failing(["tests/test_code.py::test_larger"], 60, "larger.py", "1 / 0\n") == mutation.OUTSIDE


def test_the_page_counts_what_is_not_equivalent(mutation: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "EQUIVALENT", {"larger.py: x -> z": "they are one"})
    rows = [
        {"mutant": ["larger.py", 1, n, "x", after], "killer": killer, "seed": 3, "of": 99}
        for n, (after, killer) in enumerate([("y", "tests/test_code.py::t"), ("y", ""), ("z", "")])
    ]
    page = mutation.page(rows)
    assert "3 mutants of 99, drawn at random (seed 3). Killed: 1 of 2, **50.0%**" in page
    assert page.count("`x` -> `y`") == 1 and "`x` -> `z`: they are one" in page


def test_the_interval_is_that_of_the_committed_page(mutation: ModuleType) -> None:
    page = (ROOT / "conformance" / "power" / "mutation.md").read_text()
    ((killed, total, low, high),) = re.findall(r"Killed: (\d+) of (\d+), .*?; ([\d.]+)% to ([\d.]+)%", page)
    assert [f"{v:.1%}" for v in mutation.interval(int(killed), int(total))] == [f"{low}%", f"{high}%"]
    assert mutation.interval(0, 5)[0] == 0 and mutation.interval(5, 5)[1] == 1
