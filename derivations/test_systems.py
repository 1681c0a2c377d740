"""The map of the systems is whole, and true in both directions; and what proves it can fail."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from derivations.systems import NUMBERS, ROOT, System, main, mutated, prove, systems

ENTRIES = systems()
EVERY = [pytest.param(s, id=s.number) for s in ENTRIES.values()]


def marked(path: Path) -> dict[str, set[str]]:
    """The test functions of a file, with the systems that `@pytest.mark.system` says each proves. Nothing is run."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            marks = [d for d in node.decorator_list if ast.unparse(d).startswith("pytest.mark.system")]
            found[node.name] = {ast.literal_eval(a) for d in marks if isinstance(d, ast.Call) for a in d.args}
            assert len(marks) < 2 and bool(marks) == bool(found[node.name]), f"{path.name}: the mark of {node.name}"
    return found


FILES = sorted(p for folder in ("tests", "derivations") for p in (ROOT / folder).rglob("test_*.py"))
TESTS = {p.relative_to(ROOT).as_posix(): marked(p) for p in FILES}


def test_every_system_has_an_entry() -> None:
    assert set(ENTRIES) == set(NUMBERS), f"{sorted(set(NUMBERS) - set(ENTRIES))} have no entry"


@pytest.mark.parametrize("system", EVERY)
def test_what_an_entry_names_exists(system: System) -> None:
    for name in filter(None, (system.module, system.example)):
        assert (ROOT / name).is_file(), f"{system.number} names {name}, which is no file"
    if system.network:
        folder = ROOT / "conformance" / "networks" / system.network
        assert folder.is_dir(), f"{system.number} names the network {system.network}, which conformance does not hold"
    for test in system.test:
        path, _, name = test.partition("::")
        function = name.partition("[")[0]
        assert function in TESTS.get(path, ()), f"{system.number} names {test}, which does not exist"
        assert system.number in TESTS[path][function], f'{test} does not carry @pytest.mark.system("{system.number}")'


@pytest.mark.parametrize("system", EVERY)
def test_the_mutant_is_another_program(system: System) -> None:
    assert mutated(system)


def test_every_mark_is_in_the_map() -> None:
    named = defaultdict(set)
    for system in ENTRIES.values():
        for test in system.test:
            named[test.partition("[")[0]].add(system.number)
    for path, functions in TESTS.items():
        for function, numbers in functions.items():
            lost = numbers - named[f"{path}::{function}"]
            assert not lost, (
                f"{path}::{function} is marked as the proof of {sorted(lost)}, but the map does not name it"
            )


def test_every_network_is_a_system() -> None:
    held = {p.name for p in (ROOT / "conformance" / "networks").iterdir() if p.is_dir()}
    lost = held - {s.network for s in ENTRIES.values()}
    assert not lost, f"conformance/networks holds {sorted(lost)}, which no system names"


# --- bad entries -----------------------------------------------------------------------------------------------------

GOOD = """
[S2]
name = "a layer"
sources = ["katsaros"]
module = "m.py"
test = "test_m.py::test_f"
mutant = ["2", "3"]
"""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("S2", "S81", "systems.toml has an entry 'S81', expected S1 to S80"),
        ("S2", "s2", "systems.toml has an entry 's2', expected S1 to S80"),
        ("module", "modul", "S2 has the field 'modul', expected name, sources, module, test, mutant, network, example"),
        ("module = ", "number = ", "S2 has the field 'number'"),
        ('module = "m.py"', "", "S2 has no module"),
        ('module = "m.py"', "module = 3", "S2 has the module 3, expected a text"),
        ('name = "a layer"', "name = ''", "S2 has no name"),
        ('"katsaros"', '"knuth"', "S2 has the source 'knuth', expected some of challa2023"),
        ('["katsaros"]', '"katsaros"', "S2 has the sources 'katsaros', expected a list of texts"),
        ('["2", "3"]', '["2"]', "S2 has a mutant of 1 texts, expected the old and the new one"),
        ('["2", "3"]', "[2, 3]", r"S2 has the mutant \[2, 3\], expected a list of texts"),
        ("[S2]", GOOD.replace("S2", "S10") + "[S2]", "in the order S10, S2, expected that of the numbers"),
    ],
)
def test_a_bad_entry_gets_one_sentence(old: str, new: str, sentence: str) -> None:
    assert systems(GOOD)["S2"].test == ("test_m.py::test_f",)
    with pytest.raises(ValueError, match=sentence):
        systems(GOOD.replace(old, new))


# --- the proof can fail ----------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project of one function, with a test that looks at it, one that does not, and one that is wrong."""
    (tmp_path / "m.py").write_text("def twice(x):\n    return 2 * x  # not 3 * x\n")
    (tmp_path / "test_m.py").write_text(
        "import m\n\n"
        "def test_looks():\n    assert m.twice(1) == 2\n\n"
        "def test_looks_away():\n    assert m.twice(0) == 0\n\n"
        "def test_is_wrong():\n    assert m.twice(1) == 4\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")  # as in this project
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def made(number: str, test: str, old: str = "return 2 *", new: str = "return 4 *") -> System:
    return System(number, "twice", ("katsaros",), "m.py", (f"test_m.py::{test}",), (old, new))


def test_what_proves_nothing_is_reported(checkout: Path) -> None:
    chosen = [
        made("S1", "test_looks"),
        made("S2", "test_looks_away"),
        made("S3", "test_is_wrong"),
        made("S4", "test_is_not_there"),
        made("S5", "test_looks", new="return 2.0 *"),
        made("S6", "test_looks", "def twice", "1 / 0\n\ndef twice"),
        made("S7", "test_looks", new="return 2 *"),
    ]
    # pytest's own last line ends with the time that it took.
    assert {system.number: re.sub(r" in [\d.]+s", "", why) for system, why in prove(chosen, checkout)} == {
        "S1": "",
        "S2": "test_m.py::test_looks_away does not notice 'return 4 *' (pytest ended with 0)",
        "S3": "test_m.py::test_is_wrong does not pass (pytest ended with 1: 1 failed)",
        "S4": "test_m.py::test_is_not_there does not pass "
        "(pytest ended with 4: (no match in any of [<Module test_m.py>]))",
        "S5": "test_m.py::test_looks does not notice 'return 2.0 *' (pytest ended with 0)",
        "S6": "test_m.py::test_looks does not notice '1 / 0\\n\\ndef twice' (pytest ended with 4)",
        "S7": "S7: 'return 2 *' in m.py changes no statement",
    }
    assert "return 2 *" in (checkout / "m.py").read_text(), "the checkout itself is mutated"


def test_what_takes_too_long_proves_nothing(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("derivations.systems.TIMEOUT", 2**-10)
    (proof,) = prove([made("S1", "test_looks")], checkout)
    assert proof[1] == f"test_m.py::test_looks does not pass (it took more than {2**-10} s: no output)"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("x", "y", "S1: 'x' stands 3 times in m.py, expected once"),
        ("return 5", "return 6", "S1: 'return 5' stands 0 times in m.py, expected once"),
        ("not 3", "no 3", "S1: 'no 3' in m.py changes no statement"),
        ("return 2 *", "return 2 +*", r"S1: m.py is no Python with 'return 2 \+\*' in it: invalid syntax"),
    ],
)
def test_a_mutant_that_is_none_gets_one_sentence(checkout: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        mutated(made("S1", "test_looks", old, new), checkout)


def test_the_command_says_how_many_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    two = [made("S1", "test_looks"), made("S2", "test_looks_away")]
    monkeypatch.setattr("derivations.systems.systems", lambda: {s.number: s for s in two})
    monkeypatch.setattr("derivations.systems.prove", lambda chosen: [(s, "fails" * (s == two[1])) for s in chosen])
    assert [main(["S1"]), main(["S1", "S2"]), main([]), main(["S99"])] == [0, 1, 1, 1]
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if "work" in line and "of" in line] == [
        "1 of 1 systems work",
        "1 of 2 systems work",
        "1 of 80 systems work",
    ]
    assert "no entry: S3, S4, S5" in out
    assert err == "S99 has no entry in systems.toml\n"
